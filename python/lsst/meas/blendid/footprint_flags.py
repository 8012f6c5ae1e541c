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

from ._jit import njit
from .fluxes import are_cores_unresolved
from .footprints import DetectionResult
from .footprints.footprint_set import sum_in_spans
from .footprints.smoothing import dilate_square
from .profile_mismatch import find_profile_mismatches

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
        ``profile_mismatch`` and ``bright_star`` (`.flags.FLAGS`).
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
