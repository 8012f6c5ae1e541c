# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What is measured of footprints in their image: fluxes of them and of their peaks, and flags."""

from __future__ import annotations

__all__ = (
    "are_cores_unresolved",
    "find_footprint_flags",
    "find_profile_mismatches",
    "footprint_fluxes",
    "peak_fluxes",
)

import numpy as np
from scipy import ndimage

from .._jit import njit
from .footprint_set import sum_in_spans
from .result import DetectionResult
from .significance import dilate_square, gaussian_kernel

_MIN_SHARPNESS = 0.85
"""Share of a point source's curvature that a core must have to count as unresolved.  A Gaussian galaxy as
wide as the PSF has two thirds, one half as wide .89, which bright ones rarely are; a star has .86 where the
given seeing is 15 % too small."""


def footprint_fluxes(detection: DetectionResult) -> np.ndarray:
    """Sum the pixels of each footprint.

    Parameters
    ----------
    detection
        An image with its n footprints.

    Returns
    -------
    fluxes : `numpy.ndarray`, shape (n,)
        Sums over the background-subtracted image, bad pixels 0, in its unit.
    """
    return sum_in_spans(detection.footprints, detection.image)


def peak_fluxes(detection: DetectionResult, peaks: np.ndarray | None = None) -> np.ndarray:
    """Give the flux of a point source that alone would make the smoothed image what it is at each peak.

    Parameters
    ----------
    detection
        An image with its peaks.
    peaks : `numpy.ndarray`, shape (k,), optional
        Structured array with the columns of `.PEAK_DTYPE`, in parent pixels; the detected peaks
        by default.

    Returns
    -------
    fluxes : `numpy.ndarray`, shape (k,)
        In the unit of the image.  Light of close neighbours is part of it.
    """
    peaks = detection.footprints.peaks if peaks is None else peaks
    height, curvature = _response(detection)
    offset = (peaks["f_x"] - peaks["i_x"]) ** 2 + (peaks["f_y"] - peaks["i_y"]) ** 2
    # The smoothed image of a point source is nearly Gaussian, and highest between the pixels.
    return peaks["peak_value"].astype(float) / height * np.exp(0.5 * curvature.mean() * offset)


def are_cores_unresolved(detection: DetectionResult, asked: np.ndarray | None = None) -> np.ndarray:
    """Tell which footprints are as sharp at their most significant peak as a point source.

    The curvature of the logarithm of the smoothed image, which does not depend on where in its pixel a source
    lies, is compared with that of the PSF along both axes.

    Parameters
    ----------
    detection
        An image with its n footprints.
    asked : `numpy.ndarray`, shape (n,), bool, optional
        The footprints to look at; all by default.

    Returns
    -------
    unresolved : `numpy.ndarray`, shape (n,), bool
        False for others, for footprints without peak, or where a pixel next to the peak is not positive.
    """
    footprints = detection.footprints
    unresolved = np.zeros(len(footprints), dtype=bool)
    has = np.flatnonzero((footprints.n_peaks > 0) if asked is None else asked & (footprints.n_peaks > 0))
    if not has.size:
        return unresolved
    _, expected = _response(detection)
    first = footprints.peaks[footprints.peak_start[has]]
    x, y = first["i_x"] - detection.xy0[0], first["i_y"] - detection.xy0[1]
    ny, nx = detection.image.shape
    within = (x > 0) & (x < nx - 1) & (y > 0) & (y < ny - 1)
    has, x, y = has[within], x[within], y[within]
    steps = np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])
    x, y = x + steps[:, :1], y + steps[:, 1:]
    values = np.zeros(x.shape)
    for first, rows in detection.smoothed_strips():
        here = (y >= first) & (y < first + len(rows))
        values[here] = rows[y[here] - first, x[here]]
    good = (values > 0.0).all(axis=0)
    centre, right, left, above, below = np.log(np.where(good, values, 1.0))
    sharp = (2.0 * centre - right - left > _MIN_SHARPNESS * expected[0]) & (
        2.0 * centre - above - below > _MIN_SHARPNESS * expected[1]
    )
    unresolved[has] = good & sharp
    return unresolved


def _response(detection: DetectionResult) -> tuple[float, np.ndarray]:
    """What smoothing makes of a point source of unit flux in the middle of a pixel.

    Its height there, and how much its logarithm is curved per squared pixel along x and y; NaN for an image
    of a PSF that is not positive in its middle.
    """
    psf = detection.psf.image
    kernel = gaussian_kernel(detection.psf.sigma, int(detection.metadata["kernel_size"]))
    # A frame of zeros, so that the kernel fits around the middle of the PSF and one pixel beside it.
    reach = kernel.size // 2 + 1
    padded = np.pad(psf, reach)
    cy, cx = (n // 2 for n in padded.shape)

    def at(dx: int, dy: int) -> float:
        half = kernel.size // 2
        part = padded[cy + dy - half : cy + dy + half + 1, cx + dx - half : cx + dx + half + 1]
        return float(kernel @ part @ kernel)

    values = np.array([at(*step) for step in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))])
    if not (values > 0.0).all():
        return np.nan, np.full(2, np.nan)
    centre, right, left, above, below = np.log(values)
    return float(values[0]), np.array([2.0 * centre - right - left, 2.0 * centre - above - below])


_BRIGHT_SIGNIFICANCE = 200.0
"""Point-source S/N from which on the wings of a star stand above the noise beyond its core."""


def find_footprint_flags(
    detection: DetectionResult,
    *,
    max_peaks: int,
    max_masked_fraction: float,
    saturated: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Find which footprints may be cut, lack data, have too many peaks or belong to a bright star.

    Parameters
    ----------
    detection
        An image with its n footprints.
    max_peaks
        More peaks are too many.
    max_masked_fraction
        Largest share of pixels that were not searched.
    saturated
        Saturated pixels, bool (ny, nx), if they are marked.

    Returns
    -------
    flags : `dict` [`str`, `numpy.ndarray`]
        Bool arrays of shape (n,): ``edge``, ``masked``, ``core_missing``,
        ``no_data``, ``too_many_peaks``, ``correlated_noise``,
        ``profile_mismatch`` and ``bright_star`` (`.measurements.FLAGS`).
    """
    footprints = detection.footprints
    detected = detection.detected
    cut, core_missing = _find_cut_by_bad_pixels(detection, detected)
    unsearched = footprints.area - sum_in_spans(footprints, detection.eligible)
    return {
        "edge": _is_cut_by_edge(detection, detected),
        "masked": cut,
        "core_missing": core_missing,
        "no_data": unsearched > max_masked_fraction * footprints.area,
        "too_many_peaks": footprints.n_peaks > max_peaks,
        "correlated_noise": np.full(
            len(footprints), detection.noise.is_correlated and not detection.noise.is_corrected
        ),
        "profile_mismatch": find_profile_mismatches(detection),
        "bright_star": _is_bright_star(detection, saturated),
    }


def _is_bright_star(detection: DetectionResult, saturated: np.ndarray | None) -> np.ndarray:
    """Whether the main peak is bright and unresolved, or pixels are saturated."""
    bright = detection.footprints.max_significance >= _BRIGHT_SIGNIFICANCE
    star = are_cores_unresolved(detection, bright)
    return star if saturated is None else star | (sum_in_spans(detection.footprints, saturated) > 0)


@njit(nogil=True)
def _find_highest(
    rows: np.ndarray, first: int, spans: np.ndarray, x0: int, y0: int, border: np.ndarray, out: np.ndarray
) -> None:
    """Highest value in some rows of an image, of each footprint's pixels in (out[0]) and outside a border."""
    for i in range(spans.shape[0]):
        y = spans[i, 1] - y0
        if y < first or y >= first + rows.shape[0]:
            continue
        for x in range(spans[i, 2] - x0, spans[i, 3] - x0 + 1):
            k = 0 if border[y, x] else 1
            out[k, spans[i, 0] - 1] = max(out[k, spans[i, 0] - 1], rows[y - first, x])


def _find_cut_by_bad_pixels(
    detection: DetectionResult, detected: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Whether pixels over the threshold border on those that bad pixels kept from being searched.

    Also whether the brightest of them does, bool (n,) each: what lies under the bad pixels is brighter still.
    """
    footprints = detection.footprints
    if not detection.bad.any():
        return np.zeros(len(footprints), dtype=bool), np.zeros(len(footprints), dtype=bool)
    border = dilate_square(detection.bad, _kernel_reach(detection) + 1)
    border &= detected
    # Pixels that were not searched are 0 in the smoothed image.
    highest = np.full((2, len(footprints)), -np.inf)
    for first, rows in detection.smoothed_strips():
        _find_highest(rows, first, footprints.spans, *footprints.xy0, border, highest)
    cut = highest[0] > -np.inf
    return cut, cut & (highest[0] >= highest[1])


def _is_cut_by_edge(detection: DetectionResult, detected: np.ndarray) -> np.ndarray:
    """Whether pixels over the threshold border on the rim that is not searched, or growth on the edge."""
    reach = _kernel_reach(detection)
    rim = np.zeros(detected.shape, dtype=bool)
    for k in (reach, -1 - reach):
        rim[k], rim[:, k] = detected[k], detected[:, k]
    ny, nx = detected.shape
    x0, y0 = detection.xy0
    first, last = detection.footprints.bbox[:, :2], detection.footprints.bbox[:, 2:]
    grown = (first == (x0, y0)).any(axis=1) | (last == (x0 + nx - 1, y0 + ny - 1)).any(axis=1)
    return grown | (sum_in_spans(detection.footprints, rim) > 0)


def _kernel_reach(detection: DetectionResult) -> int:
    """Half-width of the smoothing kernel, which is the width of the rim that is not searched, pixels."""
    return int(detection.metadata["kernel_size"]) // 2


_LEAST_SIGNIFICANCE = 100.0
"""Point-source S/N under which wings are lost in the noise."""

_RINGS = (1.0, 2.0, 3.0, 4.0)
"""Radii that bound the core, the flank, and the ring in the wings, in units of the PSF's sigma."""

# The flank and the ring over those of the PSF fitted to the core: 1.0 to 1.33 and 1.5 to 3.2 for stars whose
# PSF is taken 15 % too narrow, is sheared by 8 % or has the wings of a Moffat profile of beta = 2.5. Galaxies
# with such a flank have a brighter ring.
_STAR_FLANK, _COMPACT_FLANK = 1.1, 1.35
_LEAST_RING, _STAR_RING = 1.5, 3.2
_RING_ERRORS = 2.5

_CHUNK = 1000
"""Sources that are looked at together."""


def find_profile_mismatches(detection: DetectionResult) -> np.ndarray:
    """Find bright, compact sources that the PSF doesn't explain.

    Parameters
    ----------
    detection
        An image with its n footprints.

    Returns
    -------
    mismatch : `numpy.ndarray`, shape (n,), bool
        Whether the core at the most significant peak is like that of a star,
        and the median of a ring in its wings is more than the PSF has there.
        False where bad pixels or the edge are within that ring.
    """
    footprints = detection.footprints
    mismatch = np.zeros(len(footprints), dtype=bool)
    half = int(np.ceil(_RINGS[-1] * detection.psf.sigma)) + 1
    rows = np.flatnonzero(footprints.max_significance >= _LEAST_SIGNIFICANCE)
    peaks = footprints.peaks[footprints.peak_start[rows]]
    x, y = peaks["i_x"] - detection.xy0[0], peaks["i_y"] - detection.xy0[1]
    ny, nx = detection.image.shape
    inside = (x >= half) & (x < nx - half) & (y >= half) & (y < ny - half)
    rows, peaks, x, y = rows[inside], peaks[inside], x[inside], y[inside]
    kernel = _cut_kernel(detection.psf.image, half)
    # Few at a time, so that the windows take little memory also where bright sources are many.
    for start in range(0, len(rows), _CHUNK):
        some = slice(start, start + _CHUNK)
        good = ~_cut_windows(detection.bad, x[some], y[some], half).any(axis=(1, 2))
        chosen = np.arange(len(rows))[some][good]
        pixels = (
            _cut_windows(detection.image, x[chosen], y[chosen], half).astype(float) / detection.noise.sigma
        )
        offset = np.stack(
            [peaks[f"f_{axis}"][chosen].astype(float) - peaks[f"i_{axis}"][chosen] for axis in "yx"]
        )
        mismatch[rows[chosen]] = _are_mismatches(pixels, kernel, offset, detection.psf.sigma)
    return mismatch


def _cut_windows(image: np.ndarray, x: np.ndarray, y: np.ndarray, half: int) -> np.ndarray:
    """Squares around n pixels that are at least ``half`` from the edge, (n, 2 half + 1, 2 half + 1)."""
    size = 2 * half + 1
    return np.lib.stride_tricks.sliding_window_view(image, (size, size))[y - half, x - half]


def _cut_kernel(image: np.ndarray, half: int) -> np.ndarray:
    """The middle of a PSF image, zero beyond it, (2 half + 1, 2 half + 1)."""
    grow = [max(0, half - size // 2) for size in image.shape]
    padded = np.pad(image, [(g, g) for g in grow])
    cy, cx = (size // 2 for size in padded.shape)
    return padded[cy - half : cy + half + 1, cx - half : cx + half + 1]


def _are_mismatches(pixels: np.ndarray, kernel: np.ndarray, offset: np.ndarray, sigma: float) -> np.ndarray:
    """Compare core, flank and ring of n sources with those of a PSF of the width ``sigma``, shape (n,).

    Pixels (n, size, size) are in units of the noise; offsets (2, n) of the sources from their middle are in
    the order (y, x).
    """
    half = kernel.shape[0] // 2
    grid = np.mgrid[-half : half + 1, -half : half + 1][:, np.newaxis] - offset[:, :, np.newaxis, np.newaxis]
    model = ndimage.map_coordinates(kernel, grid + half, order=3, mode="nearest")
    radius = np.hypot(*grid) / sigma
    core, flank, ring = (
        (radius >= low) & (radius < high)
        for low, high in ((0.0, _RINGS[0]), (_RINGS[0], _RINGS[1]), (_RINGS[2], _RINGS[3]))
    )
    # What makes a ratio that is not finite is no mismatch.
    with np.errstate(divide="ignore", invalid="ignore"):
        heights, flanks = (
            (pixels * model).sum(axis=(1, 2), where=part) / (model**2).sum(axis=(1, 2), where=part)
            for part in (core, flank)
        )
        expected = heights * _medians(model, ring)
        excess = _medians(pixels, ring) - expected
        ratio, steepness = 1.0 + excess / expected, flanks / heights
    # A median errs by 1.25 times as much as a mean.
    error = 1.25 / np.sqrt(ring.sum(axis=(1, 2)))
    seen = (
        (expected > 0.0) & np.isfinite(steepness) & (excess > _RING_ERRORS * error) & (ratio >= _LEAST_RING)
    )
    return seen & ((steepness < _STAR_FLANK) | ((steepness < _COMPACT_FLANK) & (ratio < _STAR_RING)))


def _medians(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Median of the chosen pixels of each of n windows, shape (n,)."""
    n, (count, height, width) = chosen.sum(axis=(1, 2)), chosen.shape
    ordered = np.sort(np.where(chosen, values, np.inf).reshape(count, height * width), axis=1)
    row = np.arange(count)
    return 0.5 * (ordered[row, (n - 1) // 2] + ordered[row, n // 2])
