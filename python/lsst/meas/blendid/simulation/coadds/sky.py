# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The sky of a coadd: its brightness, what background subtraction leaves and takes, and correlated noise."""

from __future__ import annotations

__all__ = (
    "add_correlated_noise",
    "brightened",
    "filter_loss",
    "over_subtraction",
    "sky_residual",
)

import dataclasses
import math

import numpy as np

from ..random_streams import add_poisson_noise
from ..survey import Survey

_CLIP_SIGMA = 5.0
"""Pixels of a background map count with this many standard deviations at most: detected ones are masked."""


def brightened(survey: Survey, factor: float) -> Survey:
    """Give a survey a sky that is brighter by a factor; its read noise stays."""
    if factor == 1.0:
        return survey
    return dataclasses.replace(survey, sky_brightness=survey.sky_brightness - 2.5 * math.log10(factor))


def sky_residual(shape: tuple[int, int], amplitude: float, rng: np.random.Generator) -> np.ndarray:
    """Make a residual of large scales, (h, w), of mean 0: highest minus lowest value is ``amplitude``.

    A plane and a parabola along another direction, each with 30 to 70 % of the sum.
    """
    height, width = shape
    # From -1 to 1 over the longer side.
    size = 0.5 * max(height, width)
    y = ((np.arange(height) - 0.5 * (height - 1)) / size)[:, None]
    x = ((np.arange(width) - 0.5 * (width - 1)) / size)[None, :]
    one, two = rng.uniform(0.0, 2.0 * np.pi, 2)
    share = rng.uniform(0.3, 0.7)
    residual = share * (np.cos(one) * x + np.sin(one) * y)
    residual = residual + (1.0 - share) * (np.cos(two) * x + np.sin(two) * y) ** 2
    spread = float(np.ptp(residual))
    # An image of one pixel has no gradient.
    scale = amplitude / spread if spread > 0.0 else 0.0
    return np.asarray(scale * (residual - residual.mean()))


def over_subtraction(light: np.ndarray, noise: float, size: int) -> np.ndarray:
    """Make the background map, (h, w), that the light of sources, (h, w), leads to, in the unit of the light.

    Means of squares of ``size`` pixels, in which pixels count with five times the noise at most, less the
    median of all squares; cubic splines between the middles of the squares, constant beyond the outermost.
    """
    clipped = np.minimum(light, _CLIP_SIGMA * noise)
    starts = [np.arange(0, n, size) for n in light.shape]
    mesh = np.add.reduceat(np.add.reduceat(clipped, starts[0], axis=0), starts[1], axis=1)
    counts = [np.diff(np.append(start, n)) for start, n in zip(starts, light.shape, strict=True)]
    mesh /= counts[0][:, None] * counts[1][None, :]
    mesh -= np.median(mesh)
    rows, columns = (
        _spline_matrix(start + 0.5 * (count - 1), n)
        for start, count, n in zip(starts, counts, light.shape, strict=True)
    )
    return np.asarray(rows @ mesh @ columns.T)


def _spline_matrix(nodes: np.ndarray, n: int) -> np.ndarray:
    """Weights of values at nodes, increasing, for a cubic spline at the pixels 0 to n - 1, (n, n_nodes)."""
    from scipy.interpolate import make_interp_spline

    if len(nodes) == 1:
        return np.ones((n, 1))
    spline = make_interp_spline(nodes, np.eye(len(nodes)), k=min(3, len(nodes) - 1))
    # A cubic that is continued beyond the outermost nodes runs away.
    return np.asarray(spline(np.clip(np.arange(n), nodes[0], nodes[-1])))


def _correlation_weights(correlation: float) -> np.ndarray:
    """Kernel (a, 1 - 2a, a), of square sum 1, whose product along x and y gives noise a correlation.

    It keeps the variance of a pixel, and multiplies the noise of a sum over many pixels by the sum of its
    weights in two dimensions, 1 / (1 - 4a + 6a²).
    """
    a = (4.0 - math.sqrt(16.0 - 24.0 * (1.0 - 1.0 / correlation))) / 12.0
    kernel = np.array([a, 1.0 - 2.0 * a, a])
    return kernel / math.sqrt(float((kernel**2).sum()))


def add_correlated_noise(
    expected: np.ndarray, key: np.uint64, x0: int, y0: int, correlation: float
) -> np.ndarray:
    """Draw numbers of a mean and variance, float64 (h, w), whose noise is correlated by a factor.

    Poisson noise in units of its standard deviation is convolved and scaled back, so that each pixel keeps
    its variance. ``key``, ``x0`` and ``y0`` as for `.random_streams.add_poisson_noise`: overlapping images
    agree but for a border of one pixel, beyond which the mean is taken for that of the border.
    """
    from scipy.ndimage import convolve1d

    mean = np.pad(expected, 1, mode="edge")
    pull = mean.copy()
    # The kernel reaches a pixel beyond the image, where the stream is that of the neighbouring image.
    add_poisson_noise(pull, key, x0 - 1, y0 - 1)
    pull -= mean
    pull /= np.sqrt(np.maximum(mean, 1e-300))
    weights = _correlation_weights(correlation)
    for axis in (0, 1):
        pull = convolve1d(pull, weights, axis=axis)
    return np.asarray(expected + np.sqrt(expected) * pull[1:-1, 1:-1])


def filter_loss(kernel: np.ndarray, correlation: float) -> float:
    """Error of the flux of a PSF-matched filter, (n, n), in correlated noise over that in white noise.

    With the covariance C of pixels it is √(Σ φ C φ) / (σ √(Σ φ²)); C is the convolution with the kernel,
    twice.
    """
    if correlation == 1.0:
        return 1.0
    from scipy.signal import convolve2d

    weights = _correlation_weights(correlation)
    smoothed = convolve2d(kernel, np.outer(weights, weights))
    return math.sqrt(float((smoothed**2).sum()) / float((kernel**2).sum()))
