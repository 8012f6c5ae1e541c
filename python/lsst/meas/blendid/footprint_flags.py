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

from .fluxes import are_cores_unresolved
from .footprints import DetectionResult
from .footprints.smoothing import dilate_square

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
        ``no_data``, ``too_many_peaks`` and ``bright_star`` (`.flags.FLAGS`).
    """
    footprints = detection.footprints
    cut, core_missing = _find_cut_by_bad_pixels(detection)
    unsearched = _count(detection, ~detection.eligible)
    return {
        "edge": _is_cut_by_edge(detection),
        "masked": cut,
        "core_missing": core_missing,
        "no_data": unsearched > max_masked_fraction * footprints.area,
        "too_many_peaks": footprints.n_peaks > max_peaks,
        "bright_star": _is_bright_star(detection, saturated),
    }


def _count(detection: DetectionResult, selected: np.ndarray) -> np.ndarray:
    """Number of selected pixels (bool, (ny, nx)) in each footprint, shape (n,)."""
    n = len(detection.footprints)
    return np.bincount(detection.footprints.labels[selected], minlength=n + 1)[1:]


def _is_bright_star(detection: DetectionResult, saturated: np.ndarray | None) -> np.ndarray:
    """Whether the main peak is bright and unresolved, or pixels are saturated."""
    bright = detection.footprints.max_significance >= _BRIGHT_SIGNIFICANCE
    star = bright & are_cores_unresolved(detection)
    return star if saturated is None else star | (_count(detection, saturated) > 0)


def _find_cut_by_bad_pixels(detection: DetectionResult) -> tuple[np.ndarray, np.ndarray]:
    """Whether pixels over the threshold border on those that bad pixels kept from being searched.

    Also whether the brightest of them does, bool (n,) each: what lies under the bad pixels is brighter still.
    """
    labels, smoothed = detection.footprints.labels, detection.smoothed
    n = len(detection.footprints)
    if not detection.bad.any():
        return np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    border = dilate_square(detection.bad, _kernel_reach(detection) + 1)
    # NaN, where nothing was searched, compares as false.
    border &= detection.significance >= float(detection.metadata["threshold"])
    highest = np.full(n + 1, -np.inf)
    np.maximum.at(highest, labels[border], smoothed[border].astype(float))
    cut = highest[1:] > -np.inf
    rest = np.full(n + 1, -np.inf)
    # Pixels that were not searched are 0 in the smoothed image.
    touched = highest > -np.inf
    touched[0] = False
    inside = touched[labels] & ~border
    np.maximum.at(rest, labels[inside], smoothed[inside].astype(float))
    return cut, cut & (highest >= rest)[1:]


def _is_cut_by_edge(detection: DetectionResult) -> np.ndarray:
    """Whether pixels over the threshold border on the rim that is not searched, or growth on the edge."""
    labels, significance = detection.footprints.labels, detection.significance
    threshold, reach = float(detection.metadata["threshold"]), _kernel_reach(detection)
    cut = np.zeros(len(detection.footprints) + 1, dtype=bool)
    for direction in (1, -1):
        for axis in (0, 1):
            lines, values = (np.moveaxis(a, axis, 0)[::direction] for a in (labels, significance))
            cut[lines[0]] = True
            cut[lines[reach][values[reach] >= threshold]] = True
    return cut[1:]


def _kernel_reach(detection: DetectionResult) -> int:
    """Half-width of the smoothing kernel, which is the width of the rim that is not searched, pixels."""
    return int(detection.metadata["kernel_size"]) // 2
