# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Flags of footprints that any classifier would have."""

from __future__ import annotations

__all__ = ("find_footprint_flags",)

import numpy as np

from .footprints import DetectionResult
from .footprints.smoothing import dilate_square


def find_footprint_flags(
    detection: DetectionResult, *, max_peaks: int, max_masked_fraction: float
) -> dict[str, np.ndarray]:
    """Find which footprints may be cut, lack data or have too many peaks.

    Parameters
    ----------
    detection
        An image with its n footprints.
    max_peaks
        More peaks are too many.
    max_masked_fraction
        Largest share of pixels that were not searched.

    Returns
    -------
    flags : `dict` [`str`, `numpy.ndarray`]
        Bool arrays of shape (n,): ``edge``, ``masked``, ``no_data`` and
        ``too_many_peaks`` (`.flags.FLAGS`).
    """
    footprints = detection.footprints
    unsearched = _count(detection, ~detection.eligible)
    return {
        "edge": _is_cut_by_edge(detection),
        "masked": _is_cut_by_bad_pixels(detection),
        "no_data": unsearched > max_masked_fraction * footprints.area,
        "too_many_peaks": footprints.n_peaks > max_peaks,
    }


def _count(detection: DetectionResult, selected: np.ndarray) -> np.ndarray:
    """Number of selected pixels (bool, (ny, nx)) in each footprint, shape (n,)."""
    n = len(detection.footprints)
    return np.bincount(detection.footprints.labels[selected], minlength=n + 1)[1:]


def _detected(detection: DetectionResult) -> np.ndarray:
    """Pixels over the threshold, bool (ny, nx)."""
    # NaN, where nothing was searched, compares as false.
    return detection.significance >= float(detection.metadata["threshold"])


def _is_cut_by_bad_pixels(detection: DetectionResult) -> np.ndarray:
    """Whether pixels over the threshold border on those that bad pixels kept from being searched."""
    if not detection.bad.any():
        return np.zeros(len(detection.footprints), dtype=bool)
    reach = int(detection.metadata["kernel_size"]) // 2
    return _count(detection, _detected(detection) & dilate_square(detection.bad, reach + 1)) > 0


def _is_cut_by_edge(detection: DetectionResult) -> np.ndarray:
    """Whether pixels over the threshold border on the rim that is not searched, or growth on the edge."""
    labels = detection.footprints.labels
    reach = int(detection.metadata["kernel_size"]) // 2
    rim = np.zeros(labels.shape, dtype=bool)
    for line in (reach, labels.shape[0] - 1 - reach):
        rim[line] = True
    for line in (reach, labels.shape[1] - 1 - reach):
        rim[:, line] = True
    cut = np.zeros(labels.shape, dtype=bool)
    cut[rim] = detection.significance[rim] >= float(detection.metadata["threshold"])
    cut[[0, -1]] = True
    cut[:, [0, -1]] = True
    return _count(detection, cut) > 0
