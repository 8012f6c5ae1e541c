# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Peaks of large footprints over a temporary local background."""

from __future__ import annotations

__all__ = ("replace_peaks",)

from collections.abc import Callable

import numpy as np

from .background import estimate_background
from .components import Runs
from .config import FootprintConfig
from .peaks import Peaks, find_peaks, refine_peaks
from .significance import border_slices


def replace_peaks(
    peaks: Peaks,
    image: np.ndarray,
    smoothed: np.ndarray,
    bad: np.ndarray,
    runs: Runs,
    component: np.ndarray,
    noise_of: Callable[[np.ndarray, np.ndarray], np.ndarray],
    radius: int,
    config: FootprintConfig,
    holes: np.ndarray | None = None,
) -> Peaks:
    """Find the peaks of footprints with several anew, over a temporary local background.

    The background is that of the image before smoothing, objects included but
    for clipping, from which bad pixels and the border are left out. A
    footprint without a peak over it keeps its brightest.

    Parameters
    ----------
    peaks
        Peaks of the smoothed image.
    image, smoothed
        Image before and after smoothing, float32 ``(ny, nx)``; the latter is
        overwritten.
    bad
        Pixels without a value, bool ``(ny, nx)``.
    runs
        Detected pixels.
    component
        1-based component of each run, int32 ``(m,)``.
    noise_of
        Gives the noise of the smoothed image at pixels from their x and y.
    radius
        Half-width of the smoothing kernel [pixel].
    config
        Settings.
    holes
        As for `.peaks.find_peaks`.

    Returns
    -------
    peaks : `Peaks`
        Peaks of footprints with at most ``nPeaksMaxSimple``, unchanged, and
        the new ones of the others, with values over the background.
    """
    skip = bad.copy()
    for edge in border_slices(radius):
        skip[edge] = True
    mesh = estimate_background(image, skip, bin_size=config.tempLocalBackgroundBinSize)
    difference = mesh.subtract_from(smoothed, out=smoothed)
    n_components = int(component.max(initial=0))
    new = refine_peaks(
        find_peaks(
            runs, component, n_components, difference, margin=radius + 1, use_maximum=False, holes=holes
        ),
        difference,
    )
    over = (new.value >= config.thresholdValue * noise_of(new.x, new.y)) & (new.value > 0.0)
    counts = np.bincount(peaks.component, minlength=n_components + 1)
    new = new.select(over & (counts[new.component] > config.nPeaksMaxSimple))
    has_new = np.bincount(new.component, minlength=n_components + 1) > 0
    order = np.lexsort((-peaks.value, peaks.component))
    first = np.ones(order.size, dtype=bool)
    first[1:] = peaks.component[order][1:] != peaks.component[order][:-1]
    brightest = np.zeros(order.size, dtype=bool)
    brightest[order] = first
    simple = counts[peaks.component] <= config.nPeaksMaxSimple
    return peaks.select(simple | (brightest & ~has_new[peaks.component])).join(new)
