# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Growth of footprints by a disc or a diamond, on runs."""

from __future__ import annotations

__all__ = ("grow_apart", "grow_merged", "grow_runs", "growth_radius", "stencil_half_widths")

import numpy as np

from .._jit import njit
from .components import Runs, label_runs, paint_runs


def growth_radius(sigma: float, n_sigma: float) -> int:
    """Growth in pixels as `SourceDetectionTask` rounds it (`int`).

    Parameters
    ----------
    sigma
        Standard deviation of the PSF [pixel].
    n_sigma
        Growth in units of ``sigma``.
    """
    return int(n_sigma * sigma + 0.5)


def stencil_half_widths(radius: int, isotropic: bool = True) -> np.ndarray:
    """Half-widths of the rows of a stencil.

    Parameters
    ----------
    radius
        Radius [pixel].
    isotropic
        A disc, dx² + dy² ≤ radius², if true; otherwise a diamond,
        |dx| + |dy| ≤ radius.

    Returns
    -------
    half_widths
        Half-width of row ``dy - radius``, int64 ``(2 * radius + 1,)``.
    """
    dy = np.arange(-radius, radius + 1)
    if not isotropic:
        return radius - np.abs(dy)
    return np.floor(np.sqrt(radius**2 - dy**2)).astype(np.int64)


@njit(nogil=True)
def _grow_runs(
    start: np.ndarray, x0: np.ndarray, x1: np.ndarray, half_widths: np.ndarray, nx: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Dilate; the runs of a row are the ranges that widened runs of the rows around it cover."""
    ny = start.size - 1
    r = half_widths.size // 2
    out_start = np.zeros(ny + 1, np.int64)
    out_x0 = np.empty(x0.size * half_widths.size, np.int32)
    out_x1 = np.empty(x0.size * half_widths.size, np.int32)
    steps = np.zeros(nx + 1, np.int32)
    n = 0
    for y in range(ny):
        first, last = nx, -1
        for source in range(max(0, y - r), min(ny, y + r + 1)):
            w = half_widths[source - y + r]
            for i in range(start[source], start[source + 1]):
                a = max(0, x0[i] - w)
                b = min(nx - 1, x1[i] + w)
                steps[a] += 1
                steps[b + 1] -= 1
                first = min(first, a)
                last = max(last, b)
        depth = 0
        for x in range(first, last + 1):
            before = depth
            depth += steps[x]
            steps[x] = 0
            if before == 0 and depth > 0:
                out_x0[n] = x
            elif before > 0 and depth == 0:
                out_x1[n] = x - 1
                n += 1
        if last >= first:
            steps[last + 1] = 0
            out_x1[n] = last
            n += 1
        out_start[y + 1] = n
    return out_start, out_x0[:n].copy(), out_x1[:n].copy()


def grow_runs(runs: Runs, half_widths: np.ndarray) -> Runs:
    """Dilate runs by a stencil, within the image.

    Parameters
    ----------
    runs
        The runs.
    half_widths
        Stencil, from `stencil_half_widths`.

    Returns
    -------
    grown : `Runs`
        Runs of the dilated region.
    """
    if half_widths.size == 1:
        return runs
    start, x0, x1 = _grow_runs(runs.start, runs.x0, runs.x1, half_widths, runs.shape[1])
    return Runs(start, x0, x1, runs.shape)


def grow_merged(runs: Runs, half_widths: np.ndarray) -> tuple[Runs, np.ndarray]:
    """Grow runs; those that touch then, corners included, belong together.

    Parameters
    ----------
    runs
        Detected pixels.
    half_widths
        Stencil, from `stencil_half_widths`.

    Returns
    -------
    grown : `Runs`
        The grown runs.
    labels
        Footprint of each, int32 ``(m,)``: 1-based in raster order of first
        pixels.
    """
    grown = grow_runs(runs, half_widths)
    return grown, label_runs(grown)[0]


def grow_apart(runs: Runs, component: np.ndarray, half_widths: np.ndarray) -> np.ndarray:
    """Grow components that stay apart where they meet.

    Parameters
    ----------
    runs
        Detected pixels.
    component
        1-based component of each run, int32 ``(m,)``.
    half_widths
        Stencil, from `stencil_half_widths`.

    Returns
    -------
    labels
        Component of each pixel, int32 ``(ny, nx)``; one that several reach
        goes to the component with the nearest detected pixel.
    """
    seeds = paint_runs(runs, component)
    if len(runs) == 0:
        return seeds
    from scipy.ndimage import distance_transform_edt

    nearest = distance_transform_edt(seeds == 0, return_distances=False, return_indices=True)
    covered = grow_runs(runs, half_widths).to_image()
    return np.where(covered, seeds[nearest[0], nearest[1]], 0).astype(np.int32)
