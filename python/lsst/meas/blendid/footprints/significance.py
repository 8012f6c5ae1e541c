# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Noise of the smoothed image, and signal to noise of its pixels."""

from __future__ import annotations

__all__ = (
    "border_slices",
    "check_scatter",
    "divide_by_root",
    "eligible_pixels",
    "estimate_noise",
    "make_significance",
    "make_smoothed",
    "noise_at",
    "significance_image",
    "smooth_variance",
)

import numpy as np

from .._jit import njit
from .config import FootprintConfig
from .noise import ClippedStatistics, NoiseEstimate, clipped_statistics
from .result import NoNoiseError
from .smoothing import dilate_square, smooth

_ENOUGH_PIXELS = 10_000
"""Pixels that it takes to tell correlated noise, whose measured scatter errs by a tenth with fewer."""


def border_slices(radius: int) -> list[tuple[slice, slice]]:
    """Slices of the four strips along the edges of an image, ``radius`` wide; none if it is 0."""
    if radius == 0:
        return []
    every = slice(None)
    return [
        (slice(None, radius), every),
        (slice(-radius, None), every),
        (every, slice(None, radius)),
        (every, slice(-radius, None)),
    ]


def smooth_variance(variance: np.ndarray, bad: np.ndarray | None, kernel: np.ndarray) -> np.ndarray | float:
    """Variance of the smoothed image if the noise of its pixels is independent.

    Parameters
    ----------
    variance
        Variance of each pixel ``(ny, nx)``.
    bad
        Pixels without a meaningful variance, bool ``(ny, nx)``; `None` if
        there are none.
    kernel
        One-dimensional smoothing kernel, ``(size,)``.

    Returns
    -------
    smoothed
        float32 ``(ny, nx)``, 0 in the border; a number if the variance is the
        same in all pixels, which saves a convolution.
    """
    # The first row decides in most cases, without a pass over the image.
    first = variance[0, 0]
    if bad is None and bool((variance[0] == first).all()) and bool((variance == first).all()):
        return float(first) * float((kernel**2).sum()) ** 2
    plane = np.asarray(variance, dtype=np.float32)
    if bad is not None:
        plane = np.where(bad, np.float32(0.0), plane)
    return smooth(plane, kernel**2)


def eligible_pixels(bad: np.ndarray, radius: int) -> np.ndarray:
    """Pixels at least a half-kernel away from bad ones and the edge.

    Parameters
    ----------
    bad
        Pixels without a value, bool ``(ny, nx)``.
    radius
        Half-width of the smoothing kernel [pixel].

    Returns
    -------
    eligible
        Bool ``(ny, nx)``.
    """
    near = dilate_square(bad, radius) if bad.any() else np.zeros(bad.shape, dtype=bool)
    for edge in border_slices(radius):
        near[edge] = True
    return np.logical_not(near, out=near)


def _smooth_divided(image: np.ndarray, bad: np.ndarray, kernel: np.ndarray, exponent: int) -> np.ndarray:
    """Divide an image by a power of two and smooth it, with 0 where a pixel is not eligible."""
    smoothed = smooth(np.ldexp(image, -exponent) if exponent else image, kernel)
    if bad.any():
        smoothed[dilate_square(bad, kernel.size // 2)] = 0.0
    return smoothed


def make_smoothed(
    image: np.ndarray, bad: np.ndarray, kernel: np.ndarray, exponent: int, *, rows: slice = slice(None)
) -> np.ndarray:
    """Smooth an image, with 0 where a pixel is not eligible.

    Parameters
    ----------
    image
        Background-subtracted image, bad pixels 0, float32 ``(ny, nx)``.
    bad
        Pixels without a value, bool ``(ny, nx)``.
    kernel
        One-dimensional smoothing kernel, ``(size,)``.
    exponent
        Binary exponent of what the image is divided by meanwhile.
    rows
        Rows that are wanted.

    Returns
    -------
    smoothed
        These rows, float32 ``(ny, nx)``.
    """
    first, last, _ = rows.indices(image.shape[0])
    # Rows within the reach of the kernel count too.
    low, high = max(first - kernel.size // 2, 0), last + kernel.size // 2
    smoothed = _smooth_divided(image[low:high], bad[low:high], kernel, exponent)[first - low : last - low]
    return np.ldexp(smoothed, exponent, out=smoothed) if exponent else smoothed


def make_significance(
    image: np.ndarray,
    variance: np.ndarray | None,
    bad: np.ndarray,
    kernel: np.ndarray,
    exponent: int,
    noise: NoiseEstimate,
    correct: bool,
) -> np.ndarray:
    """Signal to noise of each pixel of the smoothed image, from the image itself.

    Parameters
    ----------
    image, bad, kernel, exponent
        As for `make_smoothed`.
    variance
        Variance of each pixel of the divided image ``(ny, nx)``, if it is the
        source of the noise.
    noise, correct
        As for `significance_image`, of the divided image.

    Returns
    -------
    significance
        float32 ``(ny, nx)``, NaN where a pixel is not eligible.
    """
    significance = _smooth_divided(image, bad, kernel, exponent)
    smoothed_variance = None
    if variance is not None:
        smoothed_variance = smooth_variance(variance, bad if bad.any() else None, kernel)
    significance_image(significance, smoothed_variance, noise, correct, out=significance)
    significance[~eligible_pixels(bad, kernel.size // 2)] = np.nan
    return significance


@njit(nogil=True)
def _divide_by_root(image: np.ndarray, variance: np.ndarray, factor: float, out: np.ndarray) -> None:
    scale = np.float32(factor)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            v = variance[y, x]
            out[y, x] = image[y, x] * scale / np.sqrt(v) if v > 0 else np.float32(0.0)


def divide_by_root(
    image: np.ndarray, variance: np.ndarray, factor: float = 1.0, out: np.ndarray | None = None
) -> np.ndarray:
    """Divide an image by the root of its variance.

    Parameters
    ----------
    image, variance
        Image and variance, float32 ``(ny, nx)``.
    factor
        Factor on the image.
    out
        Where the result goes, which may be the image; a new array if `None`.

    Returns
    -------
    ratio
        float32 ``(ny, nx)``; 0 where the variance is 0.
    """
    out = np.empty(image.shape, np.float32) if out is None else out
    _divide_by_root(image, variance, factor, out)
    return out


def estimate_noise(
    image: np.ndarray,
    smoothed: np.ndarray,
    variance: np.ndarray | None,
    smoothed_variance: np.ndarray | float | None,
    skip: np.ndarray | None,
    kernel: np.ndarray,
    config: FootprintConfig,
    ratio: np.ndarray | None = None,
    near_skip: np.ndarray | None = None,
) -> NoiseEstimate:
    """Estimate the noise that a threshold is a multiple of.

    Parameters
    ----------
    image
        Background-subtracted image, float32 ``(ny, nx)``.
    smoothed
        The smoothed image, float32 ``(ny, nx)``.
    variance
        Variance plane ``(ny, nx)``, where it is the source of the noise.
    smoothed_variance
        From `smooth_variance`, likewise.
    skip
        Pixels to leave out, bool ``(ny, nx)``; `None` if there are none.
    kernel
        One-dimensional smoothing kernel.
    config
        Settings.
    ratio
        From `divide_by_root`, if it is at hand.
    near_skip
        ``skip`` dilated by the square kernel, if it is at hand.

    Returns
    -------
    noise : `NoiseEstimate`
        The noise.

    Raises
    ------
    NoNoiseError
        If the noise that the config asks for cannot be measured.

    Notes
    -----
    Undetected sources raise the scatter of the smoothed image more than that
    of the pixels, since they are as wide as the kernel. In four simulated
    ten-year coadds (white noise under the galaxies of three cosmoDC2 fields
    and of the parametric catalogue, i band, 0.7 arcsec) the clipped standard
    deviation of the smoothed image is 1.29 to 1.38 times that of the sky
    alone, the one of the pixels 1.06 to 1.09. The correlation is therefore
    measured in the lower tail, from the 2.28th to the 15.87th percentile
    (1.10 to 1.14 there): it is 1.03 to 1.05 instead of 1 with
    ``noiseSource="clipped"`` and 1.10 to 1.14 with the variance plane, which
    is why it is not applied unless asked for, or larger than undetected
    galaxies make it: 1.35 with ``noiseSource="clipped"`` in 400 exposures of
    large galaxies at 1.2 arcsec.

    What is measured on the pixels of a footprint is compared to ``sigma``.
    Where the noise is correlated it is that of white noise with the same
    scatter in the smoothed image, to which features and models are used.
    """
    radius = kernel.size // 2
    stdev = config.thresholdType == "stdev"
    smoothed_skip = near_skip
    if skip is not None and near_skip is None:
        smoothed_skip = dilate_square(skip, radius)
    white = float((kernel**2).sum())  # one-dimensional sum of squares: root of the two-dimensional one
    # Where the variance differs from pixel to pixel, so does the scatter: that of the ratio is the same.
    varies = isinstance(smoothed_variance, np.ndarray)
    if ratio is None and isinstance(smoothed_variance, np.ndarray):
        ratio = divide_by_root(smoothed, smoothed_variance)
    smooth_pixels = clipped_statistics(
        smoothed if ratio is None else ratio,
        smoothed_skip,
        margin=radius,
        n_iterations=3 if stdev else None,
    )
    if smoothed_variance is not None:
        assert variance is not None
        if isinstance(smoothed_variance, float):
            sigma, expected = float(np.sqrt(variance.flat[0])), float(np.sqrt(smoothed_variance))
        else:
            sigma, expected = _median_sigmas(variance, smoothed_variance, smoothed_skip, radius)
        source = "variance"
    else:
        pixels = clipped_statistics(image, skip, margin=radius)
        sigma, expected = pixels.gaussian_sigma, pixels.gaussian_sigma * white
        source = "clipped"
        if not sigma > 0.0:
            raise _no_noise(pixels)
    correlation = smooth_pixels.tail_sigma / (1.0 if varies else expected)
    measured = np.isfinite(correlation) and correlation > 0.0
    if (stdev and not smooth_pixels.sigma > 0.0) or (config.doCorrectCorrelatedNoise and not measured):
        raise _no_noise(smooth_pixels)
    is_correlated = correlation > config.maxNoiseCorrelation and smooth_pixels.n >= _ENOUGH_PIXELS
    if is_correlated and variance is not None:
        # Galaxies that are not detected, of which a variance plane does not know, are in the pixels, too.
        whole = image if isinstance(smoothed_variance, float) else divide_by_root(image, variance)
        pixels = clipped_statistics(whole, skip, margin=radius)
        excess = pixels.gaussian_sigma / (sigma if isinstance(smoothed_variance, float) else 1.0)
        is_correlated = correlation > config.maxNoiseCorrelation * max(excess, 1.0)
    # The variance plane is trusted unless the config says otherwise.
    correct = config.doCorrectCorrelatedNoise or (is_correlated and source == "clipped")
    if stdev:
        smoothed_sigma = smooth_pixels.sigma
    else:
        smoothed_sigma = expected * (correlation if correct else 1.0)
    if is_correlated and correct:
        sigma *= correlation
    return NoiseEstimate(
        sigma=float(sigma),
        smoothed_sigma=float(smoothed_sigma),
        correlation=float(correlation) if measured else float("nan"),
        source=source,
        is_correlated=bool(is_correlated),
        is_corrected=bool(correct),
    )


def _median_sigmas(
    variance: np.ndarray, smoothed_variance: np.ndarray, skip: np.ndarray | None, radius: int
) -> tuple[float, float]:
    """Roots of the medians of two variances, over a grid of the pixels not skipped, if there are any."""
    inner = (slice(radius, -radius or None),) * 2
    step = max(1, int(np.sqrt(variance.size / 200_000)))
    for stride, use_skip in ((step, True), (1, True), (1, False)):
        first, second = (v[inner][::stride, ::stride] for v in (variance, smoothed_variance))
        use = (first > 0.0) & (second > 0.0)
        if use_skip and skip is not None:
            use &= ~skip[inner][::stride, ::stride]
        if use.any():
            break
    return float(np.sqrt(np.median(first[use]))), float(np.sqrt(np.median(second[use])))


def check_scatter(image: np.ndarray, skip: np.ndarray | None) -> None:
    """Check that an image has noise, before a background makes one of a constant.

    Parameters
    ----------
    image
        Image, float32 ``(ny, nx)``.
    skip
        Pixels to leave out, bool ``(ny, nx)``; `None` if there are none.

    Raises
    ------
    NoNoiseError
        If more than half of the pixels have one value.
    """
    statistics = clipped_statistics(image, skip)
    if statistics.sigma == 0.0:
        raise _no_noise(statistics)


def _no_noise(statistics: ClippedStatistics) -> NoNoiseError:
    """The error for statistics without a width."""
    start = "the noise cannot be measured: "
    if statistics.n == 0:
        return NoNoiseError(
            start + "statsMask and bad pixels leave no pixel for it; take planes off statsMask"
        )
    return NoNoiseError(
        f"{start}more than half of the pixels have one value ({statistics.median:g}); "
        "set padding to NaN or mask it NO_DATA"
    )


def significance_image(
    smoothed: np.ndarray,
    smoothed_variance: np.ndarray | float | None,
    noise: NoiseEstimate,
    correct: bool,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Signal to noise of each pixel of the smoothed image.

    Parameters
    ----------
    smoothed
        Smoothed image, float32 ``(ny, nx)``.
    smoothed_variance
        Its variance, where it differs from pixel to pixel.
    noise
        Noise estimate.
    correct
        Whether the variance is to be corrected for correlated noise; the
        number in ``noise`` already is.
    out
        Where the result goes, which may be ``smoothed``; a new array if
        `None`.

    Returns
    -------
    significance
        float32 ``(ny, nx)``.
    """
    if isinstance(smoothed_variance, np.ndarray):
        return divide_by_root(smoothed, smoothed_variance, 1.0 / (noise.correlation if correct else 1.0), out)
    return np.multiply(smoothed, np.float32(1.0 / noise.smoothed_sigma), out=out)


def noise_at(
    x: np.ndarray,
    y: np.ndarray,
    smoothed_variance: np.ndarray | float | None,
    noise: NoiseEstimate,
    correct: bool,
) -> np.ndarray:
    """Noise of the smoothed image at pixels.

    Parameters
    ----------
    x, y
        Pixels, integer ``(k,)``.
    smoothed_variance, noise, correct
        As for `significance_image`.

    Returns
    -------
    sigma
        float64 ``(k,)``.
    """
    if isinstance(smoothed_variance, np.ndarray):
        scale = noise.correlation if correct else 1.0
        return np.sqrt(smoothed_variance[y, x].astype(float)) * scale
    return np.full(x.size, noise.smoothed_sigma)
