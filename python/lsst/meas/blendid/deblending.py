# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Footprints deblended with scarlet2, from the peaks that were found: one source at each.

scarlet2 (Melchior et al. 2026, https://doi.org/10.21105/joss.09646) makes the model and renders it; each
source is an exponential disc of free position, flux, size and shape, the least that a single band determines.
``scarlet2.Scene.fit`` compiles anew for every fit, which takes seconds.  Here the same optimiser, Adam, with
a falling step, is compiled once for each side of a stamp and number of sources.
"""

from __future__ import annotations

__all__ = (
    "BlendStamp",
    "DeblendedSources",
    "cut_stamp",
    "deblend_blends",
    "deblend_stamp",
    "peaks_to_deblend",
)

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import Table

from .footprints import DetectionResult
from .identify import IdentifiedBlends
from .source_catalogs import (
    CATALOG_PEAK_DTYPE,
    INFERRED_DTYPE,
    CatalogFootprints,
    PeakEditConfig,
    plan_peaks,
)

MAX_SHIFT = 1.5
"""A source stays within this distance of its peak along each axis, pixels."""
STEPS = 200
"""Steps of the optimiser."""

_SIDE = 32
_MARGIN = 4
# Width of the resolution that scarlet2 models images with, its own default, pixels.
_MODEL_SIGMA = 0.7
_FIRST_RADIUS = 1.5
_RATE = 0.1
_RADII = (0.3, 15.0)
# Sum of an exponential disc that is 1 at its half-light radius, in units of 2 pi times the square of that.
_DISC_SUM = 1.9017


@dataclass(frozen=True)
class BlendStamp:
    """A footprint with what a deblender has to know.

    Parameters
    ----------
    image
        Background-subtracted image, less the level of the sky outside footprints: a small one shifts the
        flux of faint galaxies a lot; float32 ``(n, n)``, n odd.
    weights
        Inverse variance, 0 for pixels that do not count: of other footprints, bad ones, and outside the
        image; float32 ``(n, n)``.
    psf
        The PSF, with sum 1 and odd sides, float32.
    x0, y0
        Parent coordinates of the first pixel.
    """

    image: np.ndarray
    weights: np.ndarray
    psf: np.ndarray
    x0: int
    y0: int


@dataclass(frozen=True)
class DeblendedSources:
    """The k sources of a stamp.

    Parameters
    ----------
    x, y
        Positions, parent pixels, float64 ``(k,)``.
    flux
        Fluxes in the unit of the image, float64 ``(k,)``.
    radius
        Half-light radii, geometric means of both axes, of the model, pixels, float64 ``(k,)``.  It is not
        sharp: scarlet2 models the image as a PSF with a sigma of 0.7 pixels would show it.
    e1, e2
        Ellipticity (1 - q²) / (1 + q²) of axis ratio q, along x and along the diagonal, float64 ``(k,)``.
    models
        Image of each as the stamp shows it, float32 ``(k, n, n)``.
    chi2
        Mean over the pixels that count of the squared residual over the variance.
    """

    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    radius: np.ndarray
    e1: np.ndarray
    e2: np.ndarray
    models: np.ndarray
    chi2: float

    def __len__(self) -> int:
        return len(self.x)


def peaks_to_deblend(blends: IdentifiedBlends, config: PeakEditConfig | None = None) -> Table:
    """Choose the peaks that a deblender is given: detected ones, and the likely ones of those inferred.

    Parameters
    ----------
    blends
        Footprints and peaks.
    config
        What is added, dropped and moved; by default peaks are added with the limits of `.PeakEditConfig`
        (a probability over 0.75, three pixels from other peaks) and the peak between two galaxies is moved.

    Returns
    -------
    peaks : `astropy.table.Table`
        Rows by footprint: ``footprint_id``; ``peak_id``; ``x`` and ``y``, parent pixels; ``probability``;
        ``is_inferred``; ``is_moved``.  The choice is that of `blendid annotate`.
    """
    if config is None:
        # By default as `blendid annotate` is used: without added peaks there is nothing to deblend better.
        config = PeakEditConfig()
        config.doAddPeaks = config.doMovePeaks = True
    table, footprints = blends.blend_peak, blends.detection.footprints
    inferred_row = np.flatnonzero(np.asarray(table["is_inferred"], dtype=bool))
    detected_row = np.flatnonzero(~np.asarray(table["is_inferred"], dtype=bool))
    detected_row = detected_row[np.argsort(np.asarray(table["footprint_id"])[detected_row], kind="stable")]

    def take(rows: np.ndarray, dtype: np.dtype) -> np.ndarray:
        peaks = np.zeros(len(rows), dtype)
        for name in dtype.names or ():
            if name in table.colnames:
                peaks[name] = np.asarray(table[name])[rows]
        peaks["footprint"] = np.asarray(table["footprint_id"])[rows] - 1
        peaks["id"] = np.asarray(table["peak_id"])[rows]
        return peaks

    n = len(footprints)
    spans = footprints.spans.copy()
    spans[:, 0] -= 1
    numbers = np.arange(n, dtype=np.int64)
    plan = plan_peaks(
        CatalogFootprints(
            record_id=numbers + 1,
            parent_id=np.zeros(n, np.int64),
            footprint=numbers,
            is_pseudo=np.zeros(n, dtype=bool),
            spans=spans,
            peaks=take(detected_row, CATALOG_PEAK_DTYPE),
            n_footprints=n,
        ),
        take(inferred_row, INFERRED_DTYPE),
        probability=np.asarray(table["probability"], dtype=float)[detected_row],
        candidate=np.column_stack(
            [np.asarray(table[f"candidate_{axis}"], dtype=float)[detected_row] for axis in "xy"]
        ),
        left_alone=np.zeros(n, dtype=bool),
        config=config,
    )
    old = plan.source >= 0
    rows = np.empty(len(plan.source), np.int64)
    rows[old] = detected_row[plan.source[old]]
    rows[~old] = inferred_row[plan.added[-1 - plan.source[~old]]]
    chosen = Table()
    chosen["footprint_id"] = np.asarray(table["footprint_id"])[rows]
    chosen["peak_id"] = np.asarray(table["peak_id"])[rows]
    for axis in "xy":
        place = np.asarray(table[f"f_{axis}"], dtype=float)[rows]
        place[old] = getattr(plan, f"f_{axis}")[plan.source[old]]
        chosen[axis] = place
    chosen["probability"] = np.asarray(table["probability"])[rows]
    chosen["is_inferred"] = ~old
    chosen["is_moved"] = old
    chosen["is_moved"][old] = plan.moved[plan.source[old]]
    return chosen


def cut_stamp(
    detection: DetectionResult, footprint_id: int, *, variance: np.ndarray | None = None
) -> BlendStamp:
    """Cut a footprint out of its image.

    Parameters
    ----------
    detection
        The image with its footprints, as `.find_footprints` returns it or `.IdentifiedBlends` holds it.
    footprint_id
        Number of the footprint, from 1.
    variance
        Variance of the pixels ``(ny, nx)``; the square of the image's noise by default.

    Returns
    -------
    stamp
        The footprint in the middle, on one of few sizes, so that few are to be compiled for.

    Raises
    ------
    ValueError
        Raised if there is no such footprint, if the images were dropped, or if the variance does not fit.
    """
    footprints = detection.footprints
    if not 1 <= footprint_id <= len(footprints):
        raise ValueError(
            f"there is no footprint {footprint_id}; they are numbered from 1 to {len(footprints)}"
        )
    if detection.image.shape != footprints.shape or detection.bad.shape != footprints.shape:
        raise ValueError("the images of the footprints were dropped; keep them to cut stamps")
    if variance is not None and np.shape(variance) != footprints.shape:
        raise ValueError(f"the variance has shape {np.shape(variance)}, the image {footprints.shape}")
    box = footprints.bbox[footprint_id - 1].astype(np.int64)
    longest = int(max(box[2] - box[0], box[3] - box[1])) + 1
    # Odd, and one of few sizes: each size is compiled once, which takes longer than a fit.
    side = -(-(longest + 2 * _MARGIN - 1) // _SIDE) * _SIDE + 1
    x0, y0 = (int(low + high + 1 - side) // 2 for low, high in (box[[0, 2]], box[[1, 3]]))
    image, weights = np.zeros((2, side, side), np.float32)
    ny, nx = footprints.shape
    left, top = x0 - footprints.xy0[0], y0 - footprints.xy0[1]
    rows = slice(max(top, 0), min(top + side, ny))
    columns = slice(max(left, 0), min(left + side, nx))
    inside = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
    # Undetected galaxies leave a level under the footprint that would be fitted as wings.
    image[inside] = detection.image[rows, columns] - detection.sky_level * detection.noise.sigma
    labels = footprints.labels[rows, columns]
    # Pixels of neighbours are left out rather than modelled.
    use = ((labels == 0) | (labels == footprint_id)) & ~detection.bad[rows, columns]
    if variance is None:
        weights[inside] = use / detection.noise.sigma**2
    else:
        pixel_variance = np.asarray(variance, dtype=np.float32)[rows, columns]
        use &= np.isfinite(pixel_variance) & (pixel_variance > 0.0)
        weights[inside] = np.divide(1.0, pixel_variance, out=np.zeros_like(pixel_variance), where=use)
    return BlendStamp(image, weights, detection.psf.image.astype(np.float32), x0, y0)


def deblend_stamp(stamp: BlendStamp, x: np.ndarray, y: np.ndarray, *, steps: int = STEPS) -> DeblendedSources:
    """Fit a source at each of k peaks, all at once.

    Parameters
    ----------
    stamp
        The footprint.
    x, y
        Peaks, parent pixels, ``(k,)``.  Sources stay within 1.5 pixels of them along each axis.
    steps
        Steps of the optimiser.

    Returns
    -------
    sources
        In the order of the peaks.

    Raises
    ------
    ImportError
        Raised, with the remedy, if scarlet2 is not installed.
    ValueError
        Raised if there is no peak, or if one does not lie in the stamp.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    side = stamp.image.shape[0]
    if not x.size or x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"a deblender needs one peak or more; x has shape {x.shape}, y has shape {y.shape}")
    place = np.column_stack([y - stamp.y0, x - stamp.x0])
    if not np.all((place >= -0.5) & (place < side - 0.5)):
        raise ValueError("a peak lies outside the stamp")
    # Numbers of sources that are compiled for; those beyond the peaks have no flux.
    n = len(x) if len(x) <= 2 else -(-len(x) // 4) * 4
    present = (np.arange(n) < len(x)).astype(np.float32)
    place = np.concatenate([place, np.full((n - len(x), 2), side // 2)]).astype(np.float32)
    pixel = np.clip(np.rint(place).astype(int), 0, side - 1)
    # What a source of the first radius would have whose image has this value in its middle.
    # Effective area of the PSF: the flux of a point source over its height.
    spread = 1.0 / float(np.sum(stamp.psf.astype(float) ** 2))
    floor = 1.0 / np.sqrt(stamp.weights.max(initial=1e-30))
    flux = np.maximum(stamp.image[pixel[:, 0], pixel[:, 1]], floor) * spread
    fit = _make_fit(side, stamp.psf.shape, stamp.psf.tobytes(), steps)
    values, models = fit(place, flux.astype(np.float32), present, stamp.image, stamp.weights)
    center, radius, shape = (np.asarray(v, dtype=float)[: len(x)] for v in values)
    models = np.asarray(models)[: len(x)]
    residual = stamp.weights * (stamp.image - models.sum(axis=0)) ** 2
    return DeblendedSources(
        x=center[:, 1] + stamp.x0,
        y=center[:, 0] + stamp.y0,
        flux=models.sum(axis=(1, 2), dtype=float),
        radius=radius,
        e1=shape[:, 0],
        e2=shape[:, 1],
        models=models,
        chi2=float(residual.sum() / max(np.count_nonzero(stamp.weights), 1)),
    )


def deblend_blends(
    blends: IdentifiedBlends,
    peaks: Table | None = None,
    *,
    variance: np.ndarray | None = None,
) -> Table:
    """Deblend the footprints of an image.

    Parameters
    ----------
    blends
        Footprints and peaks.
    peaks
        ``footprint_id``, ``x`` and ``y`` of the peaks, in any order; what `peaks_to_deblend` chooses by
        default.  Footprints without any are left out.
    variance
        Variance of the pixels ``(ny, nx)``; the square of the image's noise by default.

    Returns
    -------
    catalog : `astropy.table.Table`
        A row for each peak, by footprint: the columns of ``peaks``, its ``x`` and ``y`` replaced by the
        position of the source, with ``peak_x`` and ``peak_y`` as they were; ``flux`` in the unit of the
        image; ``radius``, pixels; ``e1``, ``e2``; ``chi2`` of the footprint (`DeblendedSources`).

    Raises
    ------
    ImportError, ValueError
        Raised as by `cut_stamp` and `deblend_stamp`.
    """
    peaks = peaks_to_deblend(blends) if peaks is None else peaks
    catalog = peaks[np.argsort(np.asarray(peaks["footprint_id"]), kind="stable")].copy()
    for axis in "xy":
        catalog[f"peak_{axis}"] = np.asarray(catalog[axis], dtype=float)
    measured = {
        name: np.full(len(catalog), np.nan) for name in ("x", "y", "flux", "radius", "e1", "e2", "chi2")
    }
    owner = np.asarray(catalog["footprint_id"])
    for footprint_id in np.unique(owner):
        rows = owner == footprint_id
        stamp = cut_stamp(blends.detection, int(footprint_id), variance=variance)
        sources = deblend_stamp(stamp, catalog["peak_x"][rows], catalog["peak_y"][rows])
        for name, values in measured.items():
            values[rows] = getattr(sources, name)
    for name, values in measured.items():
        catalog[name] = values
    return catalog


@functools.lru_cache(maxsize=64)
def _make_fit(
    side: int, psf_shape: tuple[int, int], psf: bytes, steps: int
) -> Callable[..., tuple[Any, Any]]:
    """Make the fit on stamps of a side, as a function that is compiled for each number of sources."""
    try:
        import equinox
        import jax
        import jax.numpy as jnp
        import optax
        import scarlet2
        from numpyro.distributions.transforms import biject_to
    except ImportError as err:
        raise ImportError(f"deblending needs scarlet2 ({err}); install the extra deblend") from err
    empty, template = _make_scene(side, np.frombuffer(psf, np.float32).reshape(1, *psf_shape))
    to_disk = biject_to(scarlet2.constraint.unit_disk)
    optimizer = optax.chain(
        optax.scale_by_adam(), optax.scale_by_learning_rate(optax.cosine_decay_schedule(_RATE, steps))
    )
    low, high = np.log(_RADII)

    def parameters(free: dict[str, Any], place: Any) -> tuple[Any, Any, Any, Any]:
        """Turn numbers without bounds into parameters of the sources."""
        center = place + MAX_SHIFT * jnp.tanh(free["shift"])
        radius = jnp.exp(low + (high - low) * jax.nn.sigmoid(free["radius"]))
        return center, jnp.exp(free["flux"]), radius, to_disk(free["shape"])

    def model(center: Any, value: Any, radius: Any, shape: Any) -> Any:
        """Evaluate the scene with the one source that it has."""
        scene = equinox.tree_at(
            lambda s: (
                s.sources[0].center,
                s.sources[0].spectrum,
                s.sources[0].morphology.size,
                s.sources[0].morphology.ellipticity,
            ),
            empty,
            (center, value[None], radius, shape),
        )
        return scene()

    def models(free: dict[str, Any], place: Any, present: Any) -> Any:
        center, flux, radius, shape = parameters(free, place)
        value = present * flux / (2.0 * jnp.pi * radius**2 * _DISC_SUM)
        # Not a scene with many sources, which takes the longer to compile the more there are.
        return jax.vmap(model)(center, value, radius, shape)

    @jax.jit
    def fit(place: Any, flux: Any, present: Any, image: Any, weights: Any) -> tuple[Any, Any]:
        # In units in which the noise is about 1.
        scale = jnp.sqrt(jnp.max(weights))
        scale = jnp.where(scale > 0.0, scale, 1.0)
        observation = equinox.tree_at(
            lambda o: (o.data, o.weights), template, (scale * image[None], weights[None] / scale**2)
        )

        def loss(free: dict[str, Any]) -> Any:
            return -observation.log_likelihood(models(free, place, present).sum(axis=0))

        def step(state: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], None]:
            free, memory = state
            update, memory = optimizer.update(jax.grad(loss)(free), memory, free)
            return (optax.apply_updates(free, update), memory), None

        first = float(np.log((np.log(_FIRST_RADIUS) - low) / (high - np.log(_FIRST_RADIUS))))
        free = {
            "shift": jnp.zeros_like(place),
            "flux": jnp.log(scale * flux),
            "radius": jnp.full_like(flux, first),
            # Off the round, where the shape has no gradient.
            "shape": jnp.full_like(place, 0.01),
        }
        (free, _), _ = jax.lax.scan(step, (free, optimizer.init(free)), None, length=steps)
        center, _, radius, shape = parameters(free, place)
        seen = jax.vmap(observation.render)(models(free, place, present))
        return (center, radius, shape), seen[:, 0] / scale

    return fit


def _make_scene(side: int, psf: np.ndarray) -> tuple[Any, Any]:
    """Make a scene of scarlet2 with one source in its middle, and an observation of it."""
    import jax.numpy as jnp
    import scarlet2

    validates = scarlet2.validation_utils.VALIDATION_SWITCH
    # There is nothing to validate yet, and it prints.
    scarlet2.set_validation(False)
    try:
        nothing = np.zeros((1, side, side), np.float32)
        observation = scarlet2.Observation(nothing, nothing, psf=psf, channels=[0])
        model_psf = scarlet2.GaussianPSF(_MODEL_SIGMA)
        frame = scarlet2.Frame(scarlet2.Box((1, side, side)), psf=model_psf, channels=[0])
        with scarlet2.Scene(frame) as scene:
            disc = scarlet2.SersicMorphology(
                jnp.array(1.0), jnp.array(_FIRST_RADIUS), jnp.zeros(2), shape=(side, side)
            )
            scarlet2.Source(jnp.full(2, float(side // 2)), jnp.ones(1), disc)
        observation.match(frame)
    finally:
        scarlet2.set_validation(validates)
    return scene, observation
