# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Straight lines of light with a Gaussian profile: diffraction spikes and trails of satellites."""

from __future__ import annotations

__all__ = ("add_line",)

import math

import numpy as np

from ..._jit import njit

# Light this many standard deviations from the axis is left out: 6e-7 of all.
_EDGE = 5.0


@njit(error_model="numpy")
def add_line(
    image: np.ndarray,
    x: float,
    y: float,
    angle: float,
    brightness: float,
    width: float,
    scale: float,
    spread: float,
    reach: float,
) -> None:
    """Add a line through a point (x, y) to an image, float64 (h, w), in place; lengths in pixels.

    At a distance t from the point, at most ``reach``, the light per length is ``brightness`` / (1 + (t /
    scale)²), and the standard deviation of the Gaussian across is √(width² + (t spread)²). ``angle`` and
    ``spread`` are in radians; an infinite scale makes a line of constant brightness.
    """
    cosine, sine = math.cos(angle), math.sin(angle)
    steep = abs(sine) > abs(cosine)
    # Step along the axis that the line is nearer to: columns, or rows.
    along, across = (sine, cosine) if steep else (cosine, sine)
    start, middle = (y, x) if steep else (x, y)
    n_along, n_across = (image.shape[0], image.shape[1]) if steep else (image.shape[1], image.shape[0])
    half = reach * abs(along)
    first = int(max(0.0, math.ceil(start - half)))
    last = int(min(n_along - 1.0, math.floor(start + half)))
    for i in range(first, last + 1):
        t = (i - start) / along
        sigma = math.sqrt(width * width + (t * spread) ** 2)
        ridge = middle + t * across
        margin = _EDGE * sigma / abs(along) + 1.0
        low = int(max(0.0, math.ceil(ridge - margin)))
        high = int(min(n_across - 1.0, math.floor(ridge + margin)))
        for j in range(low, high + 1):
            dx, dy = (j - x, i - y) if steep else (i - x, j - y)
            far = dx * cosine + dy * sine
            off = dy * cosine - dx * sine
            wide = width * width + (far * spread) ** 2
            value = brightness / (1.0 + (far / scale) ** 2)
            value *= math.exp(-0.5 * off * off / wide) / math.sqrt(2.0 * math.pi * wide)
            if steep:
                image[i, j] += value
            else:
                image[j, i] += value
