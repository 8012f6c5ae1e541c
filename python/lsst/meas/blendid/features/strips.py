# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""An image in strips, so that what features are measured on stays small and in the processor's cache."""

from __future__ import annotations

__all__ = ("split_into_strips",)

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..footprints import DetectionResult

_ROWS = 256
"""Rows that the first rows of the footprints of a strip span at most."""


def split_into_strips(result: DetectionResult, margin: int) -> Iterator[DetectionResult]:
    """Cut an image into strips of whole footprints.

    Parameters
    ----------
    result
        An image with footprints, numbered by their first row; if they are not, it comes back whole.
    margin
        Rows that each strip has above and below its footprints.

    Yields
    ------
    strip
        Image and footprints of each strip, in order, each footprint in one of them; without label image and
        other images.
    """
    top = result.footprints.bbox[:, 1]
    if top.size == 0 or np.any(np.diff(top) < 0):
        yield result
        return
    start = 0
    while start < top.size:
        end = int(np.searchsorted(top, int(top[start]) + _ROWS))
        yield _cut(result, start, end, margin)
        start = end


def _cut(result: DetectionResult, start: int, end: int, margin: int) -> DetectionResult:
    """Footprints ``start`` to ``end``, numbered anew, and the rows of the image around them."""
    old = result.footprints
    x0, y0 = old.xy0
    bbox = old.bbox[start:end]
    low = max(int(bbox[0, 1]) - y0 - margin, 0)
    high = int(bbox[:, 3].max()) - y0 + margin + 1
    first, last = np.searchsorted(old.spans[:, 0], [start + 1, end + 1])
    peak_start = old.peak_start[start : end + 1]
    spans = old.spans[first:last].copy()
    peaks = old.peaks[peak_start[0] : peak_start[-1]].copy()
    spans[:, 0] -= start
    peaks["footprint_id"] -= start
    footprints = dataclasses.replace(
        old.without_labels(),
        xy0=(x0, y0 + low),
        spans=spans,
        bbox=bbox,
        area=old.area[start:end],
        area_detected=old.area_detected[start:end],
        centroid=old.centroid[start:end],
        peaks=peaks,
        peak_start=peak_start - peak_start[0],
        ids=None,
        peak_ids=None,
    )
    return dataclasses.replace(
        result.without_planes(), footprints=footprints, image=result.image[low:high], xy0=footprints.xy0
    )
