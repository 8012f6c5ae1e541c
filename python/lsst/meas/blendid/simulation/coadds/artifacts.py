# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Defects that coaddition leaves: saturated cores, cosmic rays, hot pixels, bad columns, satellite trails.

All but the trails are made cell by cell, as the input exposures of a cell are its own: a
column, a track or a bleed ends with its cell. A trail crosses the tract.
"""

from __future__ import annotations

__all__ = (
    "ARTIFACT_PLANES",
    "TRAIL_PLANES",
    "add_artifacts",
    "add_trails",
    "artifact_mask_planes",
    "has_artifacts",
)

import math
from typing import TYPE_CHECKING

import numpy as np

from lsst.images import Box

from ..defect_config import ArtifactConfig
from ..errors import SimulationError
from ..survey import Survey
from .lines import add_line

if TYPE_CHECKING:
    from lsst.images import MaskPlane

ARTIFACT_PLANES: tuple[str, ...] = (
    "BAD",
    "COSMIC_RAY",
    "INEXACT_PSF",
    "INTERPOLATED",
    "REJECTED",
    "SATURATED",
)
"""Mask planes that `add_artifacts` may set, by their names in `lsst.images`."""

TRAIL_PLANES: tuple[str, ...] = ("CLIPPED", "REJECTED", "INEXACT_PSF")
"""Mask planes of a trail: CLIPPED implies REJECTED, and that INEXACT_PSF."""

_MAX_BLEED = 30
"""Longest bleed on either side of a core, pixels: exposures at other angles bleed
elsewhere, so that only the beginnings of the trails add up."""

# Cosmic rays: straight tracks of minimum-ionising muons (Groom 2002, Exp. Astron. 14, 45), whose
# most probable loss in silicon is 76 e/µm, in 100 µm with pixels of 10 µm as LSSTCam has.
_ELECTRONS_PER_MICRON = 76.0
_THICKNESS_MICRON = 100.0
_PIXEL_MICRON = 10.0
_DIFFUSION_PIXELS = 0.6
"""Spread of charge that drifts through the whole sensor; less from below the top."""

_LANDAU_SCALE = 0.1
_PACKETS = 512
_MAX_TRACK = 100.0
_MIN_MASKED_ELECTRONS = 20.0

# Peaks of hot pixels and trails in units of the noise of the sky; logarithms are uniform.
_HOT_LEVELS = (3.0, 300.0)
_TRAIL_LEVELS = (0.5, 10.0)
# Widths of trails in units of the FWHM: satellites are out of focus, by some arcsec in low orbits (Tyson et
# al. 2020, AJ 160, 226).
_TRAIL_WIDTHS = (1.0, 3.0)
_MIN_MASKED_SIGMA = 0.1


def artifact_mask_planes() -> list[MaskPlane]:
    """Describe each of `ARTIFACT_PLANES` as Rubin's coadds do."""
    from lsst.images import get_legacy_deep_coadd_mask_planes, get_legacy_non_cell_coadd_mask_planes

    known = get_legacy_non_cell_coadd_mask_planes() | get_legacy_deep_coadd_mask_planes()
    by_name = {plane.name: plane for plane in known.values()}
    return [by_name[name] for name in ARTIFACT_PLANES]


def has_artifacts(config: ArtifactConfig) -> bool:
    """Tell whether there is anything to add."""
    densities = (
        config.badColumnDensity,
        config.cosmicRayDensity,
        config.hotPixelDensity,
        config.trailDensity,
    )
    return bool(config.doSaturation or max(densities) > 0.0)


def add_artifacts(
    image: np.ndarray,
    variance: np.ndarray,
    expected: np.ndarray,
    *,
    survey: Survey,
    config: ArtifactConfig,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Add defects to a cell: the pixels to set of each of `ARTIFACT_PLANES`, bool (h, w).

    ``image`` and ``variance``, nJy and nJy², floating point of shape (h, w), are changed in place;
    ``expected`` are the mean photo-electrons of sky and sources in the whole coadd. The draws of one kind
    of defect do not depend on the rate of another.

    *Saturation* (SATURATED): where one exposure collects more than ``fullWell``
    electrons the pixel stays at that, in all exposures as they are alike; the rest
    of the charge fills up the pixels above and below it, half each, for 30 pixels at
    most.

    *Cosmic rays* (COSMIC_RAY): straight muon tracks in one exposure that were not
    taken out, so that their charge, some 76 electrons per µm, is in the sum. Zenith
    angles have the density cos²θ sin θ.

    *Hot pixels* (BAD): light in one pixel, or in four that share it as those of an image that was shifted
    bilinearly do.

    Of rays and hot pixels the mask has ``maskedFraction``, in the mean.

    *Bad columns* (BAD): one to three columns from a random row to the end of the cell.
    In half of them no exposure is good: pixels are interpolated between the next
    good columns (INTERPOLATED). In the others 10 to 60 % of the exposures are
    missing, and the noise is higher by that.

    As in Rubin's coadds SATURATED implies REJECTED, and that INEXACT_PSF.
    """
    if not (image.ndim == 2 and image.shape == variance.shape == expected.shape):
        raise SimulationError(
            "artefacts need image, variance and expected electrons of one shape, not "
            f"{image.shape}, {variance.shape} and {expected.shape}"
        )
    if image.dtype.kind != "f" or variance.dtype.kind != "f":
        raise SimulationError(
            f"artefacts need a floating-point image and variance, not {image.dtype} and {variance.dtype}"
        )
    planes = {name: np.zeros(image.shape, dtype=bool) for name in ARTIFACT_PLANES}
    # A stream for each kind, drawn whether it is used or not.
    ray_rng, column_rng, hot_rng, known_rng = (
        np.random.default_rng(rng.integers(0, 2**32, 4)) for _ in range(4)
    )
    if image.size == 0:
        return planes
    if config.doSaturation:
        saturated = _saturate(image, expected, survey, config.fullWell)
        for name in ("SATURATED", "REJECTED", "INEXACT_PSF"):
            planes[name] |= saturated
    area = image.size * survey.pixel_scale**2 / 3600.0
    if config.cosmicRayDensity > 0.0:
        n_rays = int(ray_rng.poisson(config.cosmicRayDensity * area))
        known = known_rng.uniform(size=n_rays) < config.maskedFraction
        charge, masked = _cosmic_rays(image.shape, known, ray_rng)
        image += charge / survey.electrons_per_njy
        planes["COSMIC_RAY"] |= masked >= _MIN_MASKED_ELECTRONS
    if config.hotPixelDensity > 0.0:
        n_hot = int(hot_rng.poisson(config.hotPixelDensity * area))
        level, planes["BAD"] = _hot_pixels(image.shape, n_hot, config.maskedFraction, hot_rng)
        image += level * survey.sky_sigma
    if config.badColumnDensity > 0.0:
        dead, kept = _bad_columns(image.shape, int(column_rng.poisson(config.badColumnDensity)), column_rng)
        lossy = kept < 1.0
        noise = np.sqrt(variance * (1.0 / kept - 1.0)) * column_rng.standard_normal(image.shape)
        image += noise
        variance /= kept
        _interpolate(image, variance, dead)
        planes["BAD"] |= dead | lossy
        planes["INTERPOLATED"] |= dead
        planes["REJECTED"] |= lossy
        planes["INEXACT_PSF"] |= lossy
    return planes


def _saturate(image: np.ndarray, expected: np.ndarray, survey: Survey, full_well: float) -> np.ndarray:
    """Clip ``image`` and let it bleed along columns; the pixels concerned, bool (h, w)."""
    charge = expected / survey.n_exposures
    saturated = charge > full_well
    if not saturated.any():
        return saturated
    added = np.zeros(image.shape)
    touched = saturated.copy()
    for x in np.flatnonzero(saturated.any(axis=0)):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], saturated[:, x].astype(np.int8), [0]])))
        for start, stop in zip(edges[::2], edges[1::2], strict=True):
            half = 0.5 * float((charge[start:stop, x] - full_well).sum())
            for rows in (
                np.arange(start - 1, max(start - 1 - _MAX_BLEED, -1), -1),
                np.arange(stop, min(stop + _MAX_BLEED, len(image))),
            ):
                room = np.maximum(full_well - charge[rows, x] - added[rows, x], 0.0)
                before = np.cumsum(room) - room
                given = np.clip(half - before, 0.0, room)
                added[rows, x] += given
                touched[rows, x] |= given > 0.0
    per_exposure = survey.n_exposures / survey.electrons_per_njy
    sky = survey.sky_electrons / survey.n_exposures
    full = saturated | (charge + added >= full_well * (1.0 - 1e-9))
    image += added * per_exposure
    image[full] = (full_well - sky) * per_exposure
    return touched


def add_trails(
    image: np.ndarray,
    bbox: Box,
    tract_bbox: Box,
    *,
    survey: Survey,
    config: ArtifactConfig,
    rng: np.random.Generator,
) -> np.ndarray:
    """Add the trails of satellites that cross a tract to one of its images; the masked pixels, bool (h, w).

    ``image``, nJy, float64, covers ``bbox`` and is changed in place. Lines of random direction and distance
    from the middle of the tract; those that hit a convex image of perimeter P are ``trailDensity`` P / π
    (Crofton). The profile across is a Gaussian; the photon noise of a trail is left out.
    """
    radius = 0.5 * math.hypot(tract_bbox.x.size, tract_bbox.y.size)
    n = int(rng.poisson(config.trailDensity * 2.0 * radius * survey.pixel_scale / 60.0))
    angle, offset = rng.uniform(0.0, np.pi, n), rng.uniform(-radius, radius, n)
    level = survey.sky_sigma * _TRAIL_LEVELS[0] * (_TRAIL_LEVELS[1] / _TRAIL_LEVELS[0]) ** rng.uniform(size=n)
    width = survey.fwhm / survey.pixel_scale / math.sqrt(8.0 * math.log(2.0)) * rng.uniform(*_TRAIL_WIDTHS, n)
    known = rng.uniform(size=n) < config.maskedFraction
    x = 0.5 * (tract_bbox.x.min + tract_bbox.x.max) - bbox.x.min - offset * np.sin(angle)
    y = 0.5 * (tract_bbox.y.min + tract_bbox.y.max) - bbox.y.min + offset * np.cos(angle)
    masked = np.zeros(image.shape)
    for is_known, canvas in ((False, image), (True, masked)):
        for i in np.flatnonzero(known == is_known):
            brightness = level[i] * math.sqrt(2.0 * math.pi) * width[i]
            add_line(canvas, x[i], y[i], angle[i], brightness, width[i], np.inf, 0.0, 2.0 * radius)
    image += masked
    return np.asarray(masked >= _MIN_MASKED_SIGMA * survey.sky_sigma)


def _hot_pixels(
    shape: tuple[int, ...], n: int, masked_fraction: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Light of ``n`` hot pixels in units of the noise of the sky, and those to mask, bool: two of (h, w)."""
    height, width = shape
    level, masked = np.zeros(shape), np.zeros(shape, dtype=bool)
    x, y = rng.integers(0, width, n), rng.integers(0, height, n)
    peak = _HOT_LEVELS[0] * (_HOT_LEVELS[1] / _HOT_LEVELS[0]) ** rng.uniform(size=n)
    # Shares of the next column and row; none for pixels that nothing was shifted into.
    dx, dy = np.where(rng.uniform(size=n) < 0.5, 0.0, rng.uniform(size=(2, n)))
    known = rng.uniform(size=n) < masked_fraction
    for row in (0, 1):
        for column in (0, 1):
            share = (dx if column else 1.0 - dx) * (dy if row else 1.0 - dy)
            use = (share > 0.0) & (x + column < width) & (y + row < height)
            at = (y + row)[use], (x + column)[use]
            np.add.at(level, at, (share * peak)[use])
            masked[at] |= known[use]
    return level, masked


def _cosmic_rays(
    shape: tuple[int, ...], known: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Electrons of tracks with the middle in the cell, all and ``known``, bool (n,), ones: two of (h, w)."""
    height, width = shape
    n = len(known)
    charge = np.zeros(shape)
    if n == 0:
        return charge, charge
    # Density of cos θ ∝ cos²θ; the track is cut where it would be longer than any.
    cosine = rng.uniform(size=n) ** (1.0 / 3.0)
    depth = _THICKNESS_MICRON / _PIXEL_MICRON
    length = np.minimum(depth * np.sqrt(1.0 / cosine**2 - 1.0), _MAX_TRACK)
    angle = rng.uniform(0.0, 2.0 * np.pi, n)
    x0 = rng.uniform(-0.5, width - 0.5, n)
    y0 = rng.uniform(-0.5, height - 0.5, n)
    path = np.hypot(length, depth) * _PIXEL_MICRON
    along = rng.uniform(0.0, 1.0, (n, _PACKETS))
    # Minus the log of the square of a normal number is Moyal's form of Landau's law.
    z = np.maximum(np.abs(rng.standard_normal((n, 16))), 1e-4)
    energy = np.maximum(1.0 + _LANDAU_SCALE * -2.0 * np.log(z), 0.1)
    weight = np.take_along_axis(energy, (16 * along).astype(np.int64), axis=1)
    electrons = weight * (path * _ELECTRONS_PER_MICRON / _PACKETS)[:, None]
    # Charge set free at the top of the sensor drifts furthest and spreads most.
    spread = _DIFFUSION_PIXELS * np.sqrt(along)
    x = x0[:, None] + (along - 0.5) * (length * np.cos(angle))[:, None]
    y = y0[:, None] + (along - 0.5) * (length * np.sin(angle))[:, None]
    x = np.rint(x + spread * rng.standard_normal(x.shape)).astype(np.int64)
    y = np.rint(y + spread * rng.standard_normal(y.shape)).astype(np.int64)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    np.add.at(charge, (y[inside], x[inside]), electrons[inside])
    if known.all():
        return charge, charge
    masked = np.zeros(shape)
    inside &= known[:, None]
    np.add.at(masked, (y[inside], x[inside]), electrons[inside])
    return charge, masked


def _bad_columns(shape: tuple[int, ...], n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Pixels that no exposure has, bool (h, w), and share of exposures kept, (h, w)."""
    height, width = shape
    dead = np.zeros(shape, dtype=bool)
    kept = np.ones(shape)
    for _ in range(n):
        x = int(rng.integers(0, width))
        columns = slice(x, x + int(rng.choice((1, 2, 3), p=(0.8, 0.15, 0.05))))
        row = int(rng.integers(0, height))
        # Charge is read out towards either end of the column.
        rows = slice(row, None) if rng.uniform() < 0.5 else slice(None, row + 1)
        lost = rng.uniform(0.1, 0.6)
        if rng.uniform() < 0.5:
            dead[rows, columns] = True
        else:
            kept[rows, columns] = np.minimum(kept[rows, columns], 1.0 - lost)
    return dead, kept


def _interpolate(image: np.ndarray, variance: np.ndarray, dead: np.ndarray) -> None:
    """Replace dead pixels by what lies between the next good ones of their rows.

    A row that has none is left as it is.
    """
    columns = np.arange(image.shape[1])
    for y in np.flatnonzero(dead.any(axis=1) & ~dead.all(axis=1)):
        bad = dead[y]
        good = columns[~bad]
        x = columns[bad]
        right = np.searchsorted(good, x)
        lo = good[np.maximum(right - 1, 0)]
        hi = good[np.minimum(right, len(good) - 1)]
        t = np.clip((x - lo) / np.maximum(hi - lo, 1), 0.0, 1.0)
        # Outside of the outermost good columns both ends are the same pixel.
        t = np.where(right == 0, 0.0, np.where(right == len(good), 1.0, t))
        lo, hi = np.where(right == 0, hi, lo), np.where(right == len(good), lo, hi)
        image[y, bad] = (1.0 - t) * image[y, lo] + t * image[y, hi]
        variance[y, bad] = (1.0 - t) ** 2 * variance[y, lo] + t**2 * variance[y, hi]
