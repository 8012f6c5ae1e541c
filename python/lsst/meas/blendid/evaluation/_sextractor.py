# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""SExtractor with its hot and cold settings on pairs of galaxies, as COIN ran it.

Boucaud et al. 2020 (MNRAS 491, 2481, https://arxiv.org/abs/1905.01324), Table 3; what was
done with the two settings is in their code (``analysis/sextractor_analysis.py`` of
https://github.com/aboucaud/coindeblend).  SExtractor is `sep` there, and here.
"""

from __future__ import annotations

__all__ = (
    "COLD",
    "HOT",
    "Detections",
    "SExtractorSettings",
    "cold_else_hot",
    "cold_plus_hot",
    "find_in_stamps",
)

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from astropy.table import Table

from .._sep import extract, import_sep
from ..simulation.stamps.stamp_set import StampSet


@dataclasses.dataclass(frozen=True)
class SExtractorSettings:
    """Settings of a run of SExtractor."""

    threshold: float
    """Detection threshold per pixel, in the noise of the whole stamp (``DETECT_THRESH``)."""

    min_area: int
    """Least number of pixels (``DETECT_MINAREA``)."""

    deblend_contrast: float
    """Least share of the light of a branch (``DEBLEND_MINCONT``)."""

    deblend_thresholds: int = 64
    """Number of levels (``DEBLEND_NTHRESH``)."""


COLD = SExtractorSettings(threshold=5.0, min_area=10, deblend_contrast=0.01)
"""For bright, large sources, which it does not shred (Table 3)."""

HOT = SExtractorSettings(threshold=4.0, min_area=6, deblend_contrast=0.0001)
"""For faint sources and close pairs (Table 3)."""

ENLARGE = 1.1
"""Factor of the Kron ellipses of cold sources within which hot ones are dropped (GALAPAGOS)."""

_SUB_OBJECTS = 8192
"""A galaxy of high S/N can have more parts than the 1024 by default."""


@dataclasses.dataclass(frozen=True)
class Detections:
    """Sources found in a stamp.

    Parameters
    ----------
    x, y : `numpy.ndarray`, shape (n,), float64
        Centres, pixels of the stamp.
    flux : `numpy.ndarray`, shape (n,), float64
        Isophotal fluxes, image units.
    hot : `numpy.ndarray`, shape (n,), bool
        Which sources come from the hot run.
    segmentation : `numpy.ndarray`, shape (h, w), int32
        1 to n where a source is, 0 elsewhere.
    """

    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    hot: np.ndarray
    segmentation: np.ndarray

    def __len__(self) -> int:
        return len(self.x)


def cold_else_hot(
    image: np.ndarray, *, cold: SExtractorSettings = COLD, hot: SExtractorSettings = HOT
) -> Detections:
    """Detect as COIN did: cold, and hot instead where cold finds fewer than two sources.

    Parameters
    ----------
    image : `numpy.ndarray`, shape (h, w)
        Stamp.
    cold, hot
        Settings of the two runs.

    Returns
    -------
    detections
        Sources of one of the two runs.

    Raises
    ------
    MissingSepError
        Raised if SEP is not installed.
    """
    sep = import_sep()
    image, rms = _prepare(sep, image)
    sources, labels = _extract(image, rms, cold)
    is_hot = len(sources) < 2
    if is_hot:
        sources, labels = _extract(image, rms, hot)
    return _detections(sources, np.full(len(sources), is_hot), labels)


def cold_plus_hot(
    image: np.ndarray,
    *,
    cold: SExtractorSettings = COLD,
    hot: SExtractorSettings = HOT,
    enlarge: float = ENLARGE,
) -> Detections:
    """Detect as GALAPAGOS does: cold, and those hot sources that lie outside of all cold ones.

    Barden et al. 2012 (MNRAS 422, 449), section 3.1 after Rix et al. 2004 (ApJS 152, 163): a hot source
    is kept if its centre is outside of the Kron ellipse of each cold source, enlarged.  It gets the
    pixels that no cold source has.  Such a catalogue never splits a cold source.

    Parameters
    ----------
    image : `numpy.ndarray`, shape (h, w)
        Stamp.
    cold, hot
        Settings of the two runs.
    enlarge
        Factor of the ellipses.

    Returns
    -------
    detections
        Cold sources, then hot ones.

    Raises
    ------
    MissingSepError
        Raised if SEP is not installed.
    """
    sep = import_sep()
    image, rms = _prepare(sep, image)
    first, labels = _extract(image, rms, cold)
    second, hot_labels = _extract(image, rms, hot)
    keep = np.ones(len(second), dtype=bool)
    for source, radius in zip(first, _kron_radii(sep, image, first), strict=True):
        dx, dy = second["x"] - source["x"], second["y"] - source["y"]
        squared = source["cxx"] * dx**2 + source["cyy"] * dy**2 + source["cxy"] * dx * dy
        keep &= squared > (enlarge * radius) ** 2
    kept = np.flatnonzero(keep)
    labels = labels.copy()
    for k, row in enumerate(kept):
        labels[(hot_labels == row + 1) & (labels == 0)] = len(first) + 1 + k
    sources = np.concatenate([first, second[kept]])
    return _detections(sources, np.arange(len(sources)) >= len(first), labels)


def find_in_stamps(
    stamp_set: StampSet,
    *,
    strategy: Literal["cold-else-hot", "cold-plus-hot"] = "cold-else-hot",
    progress: Callable[[int, int], None] | None = None,
) -> Table:
    """Run the baseline on stamps.

    Parameters
    ----------
    stamp_set
        Stamps with noise and the galaxy that counts as central in the middle.
    strategy
        ``cold-else-hot`` (COIN) or ``cold-plus-hot`` (GALAPAGOS).
    progress
        Called with the number of stamps done and in all.

    Returns
    -------
    found
        A row per stamp: ``stamp_id``; ``n_objects`` in truth; ``separation`` (pixels); ``n_found``;
        ``n_hot``, those of the hot run; ``detection`` as in the pairs that COIN published: -1 nothing
        found, 0 the central galaxy alone, 1 its companion alone, 2 both, 3 more than two sources;
        ``flux_central``, ``flux_companion`` (image units, NaN if not found); ``surface_snr``, the mean
        surface brightness within the half-light radius of the fainter galaxy, per pixel and in the noise
        of the stamp.
        With two or more sources the one nearest to the middle is the central galaxy and the brightest
        other one the companion; a single one is the central galaxy if it is within half a half-light
        radius of the middle.

    Raises
    ------
    ValueError
        Raised if there is no such strategy, or the truth has no radii.
    MissingSepError
        Raised if SEP is not installed.
    """
    detectors = {"cold-else-hot": cold_else_hot, "cold-plus-hot": cold_plus_hot}
    if strategy not in detectors:
        raise ValueError(f"unknown strategy {strategy!r}; there are {', '.join(detectors)}")
    import_sep()
    n, middle = len(stamp_set), (stamp_set.size - 1) / 2.0
    radius, surface_snr = _truth_of_stamps(stamp_set)
    n_found, n_hot, detection = (np.zeros(n, dtype=np.int32) for _ in range(3))
    fluxes = np.full((n, 2), np.nan)
    for i in range(n):
        found = detectors[strategy](np.asarray(stamp_set.images[i]))
        n_found[i], n_hot[i] = len(found), np.count_nonzero(found.hot)
        detection[i], fluxes[i] = _identify(found, middle, radius[i])
        if progress is not None:
            progress(i + 1, n)
    out = Table(stamp_set.stamps["stamp_id", "n_objects", "separation"])
    out["n_found"], out["n_hot"], out["detection"] = n_found, n_hot, detection
    out["flux_central"], out["flux_companion"] = fluxes[:, 0], fluxes[:, 1]
    out["surface_snr"] = surface_snr
    out.meta = {"strategy": strategy}
    return out


def _prepare(sep: Any, image: np.ndarray) -> tuple[np.ndarray, float]:
    """Stamp as SEP takes it, and its noise.  COIN does not subtract the background."""
    image = np.ascontiguousarray(image, dtype=np.float32)
    return image, float(sep.Background(image).globalrms)


def _extract(image: np.ndarray, rms: float, settings: SExtractorSettings) -> tuple[np.ndarray, np.ndarray]:
    return extract(
        image,
        settings.threshold,
        noise=rms,
        min_area=settings.min_area,
        levels=settings.deblend_thresholds,
        contrast=settings.deblend_contrast,
        sub_objects=_SUB_OBJECTS,
        segmentation=True,
    )


def _kron_radii(sep: Any, image: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """SExtractor's ``KRON_RADIUS``, with the ``PHOT_AUTOPARAMS 2.5,3.5`` of its default."""
    shape = (sources["x"], sources["y"], sources["a"], sources["b"], sources["theta"])
    radius = np.asarray(sep.kron_radius(image, *shape, 6.0)[0])
    return np.maximum(2.5 * np.where(np.isfinite(radius), radius, 0.0), 3.5)


def _detections(sources: np.ndarray, hot: np.ndarray, labels: np.ndarray) -> Detections:
    x, y, flux = (np.asarray(sources[name], dtype=np.float64) for name in ("x", "y", "flux"))
    return Detections(x, y, flux, hot, np.asarray(labels, dtype=np.int32))


def _identify(found: Detections, middle: float, radius: float) -> tuple[int, tuple[float, float]]:
    """Say which source is which galaxy: the code of ``detection`` and the two fluxes."""
    if not len(found):
        return -1, (np.nan, np.nan)
    distance = np.hypot(found.x - middle, found.y - middle)
    central = int(np.argmin(distance))
    flux = float(found.flux[central])
    if len(found) == 1:
        return (0, (flux, np.nan)) if distance[0] < 0.5 * radius else (1, (np.nan, flux))
    others = np.delete(found.flux, central)
    return min(len(found), 3), (flux, float(others.max()))


def _truth_of_stamps(stamp_set: StampSet) -> tuple[np.ndarray, np.ndarray]:
    """Half-light radius of the central galaxy, pixels, and ``surface_snr``, of each stamp."""
    truth = stamp_set.truth
    if "half_light_radius" not in truth.colnames:
        raise ValueError(
            f"the truth of {stamp_set.name} has no half_light_radius, which tells galaxies apart"
        )
    row = stamp_set.truth_rows
    radii = np.asarray(truth["half_light_radius"], dtype=np.float64) / stamp_set.pixel_scale
    with np.errstate(divide="ignore"):
        mean = np.asarray(truth["flux"], dtype=np.float64) / 2.0 / (np.pi * radii**2) / stamp_set.noise[row]
    radius, surface_snr = np.zeros(len(stamp_set)), np.full(len(stamp_set), np.inf)
    central = np.asarray(truth["object"]) == 0
    radius[row[central]] = radii[central]
    np.minimum.at(surface_snr, row, mean)
    return radius, surface_snr
