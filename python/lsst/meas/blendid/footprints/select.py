# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Some of the footprints of an image."""

from __future__ import annotations

__all__ = ("select_footprints",)

import dataclasses

import numpy as np

from .result import DetectionResult


def select_footprints(result: DetectionResult, rows: np.ndarray) -> DetectionResult:
    """Keep some of the footprints of an image; the images stay as they are.

    Parameters
    ----------
    result
        Image with n footprints, with or without label image.
    rows : `numpy.ndarray`, shape (n,), bool
        The footprints to keep.

    Returns
    -------
    result
        The same with these footprints, numbered anew in the same order.

    Raises
    ------
    ValueError
        Raised if there is not one flag for each footprint.
    """
    old = result.footprints
    rows = np.asarray(rows)
    if rows.dtype != np.bool_ or rows.shape != (len(old),):
        raise ValueError(f"{rows.size} flags were given to choose among {len(old)} footprints")
    # New number of each old one, 0 for those that go.
    numbers = np.concatenate([[0], np.cumsum(rows) * rows]).astype(np.int32)
    spans, peaks = old.spans.copy(), old.peaks.copy()
    spans[:, 0] = numbers[spans[:, 0]]
    peaks["footprint_id"] = numbers[peaks["footprint_id"]]
    kept = peaks["footprint_id"] > 0
    peaks = peaks[kept]
    start = np.searchsorted(peaks["footprint_id"], np.arange(1, int(rows.sum()) + 2))
    footprints = dataclasses.replace(
        old,
        label_image=None,
        spans=spans[spans[:, 0] > 0],
        bbox=old.bbox[rows],
        area=old.area[rows],
        area_detected=old.area_detected[rows],
        centroid=old.centroid[rows],
        peaks=peaks,
        peak_start=start.astype(np.int64),
        ids=None if old.ids is None else old.ids[rows],
        peak_ids=None if old.peak_ids is None else old.peak_ids[kept],
    )
    return result.with_footprints(footprints)
