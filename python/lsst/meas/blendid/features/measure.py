# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.
"""All features of footprints, and which there are."""

from __future__ import annotations

__all__ = (
    "CONTEXT_FEATURES",
    "FEATURES_VERSION",
    "FEATURE_DOCS",
    "FEATURE_NAMES",
    "REFERENCE_FEATURES",
    "measure_features",
)

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .._progress import report_progress
from .._suggest import did_you_mean
from .core import CORE_COLUMNS, measure_core
from .geometry import GEOMETRY_COLUMNS, measure_geometry
from .isophotes import ISOPHOTE_COLUMNS, measure_isophotes
from .light import LIGHT_COLUMNS, measure_light
from .peaks import PEAK_COLUMNS, measure_peaks
from .planes import make_planes, plane_margin
from .strips import split_into_strips
from .surroundings import CONTEXT_COLUMNS, NEIGHBOR_COLUMNS, field_numbers, measure_neighbors
from .two_component import TWO_COMPONENT_COLUMNS, TWO_COMPONENT_DOCS, two_component_test

if TYPE_CHECKING:
    from ..footprints import DetectionResult
    from ..samples import FootprintSamples, SceneContext

FEATURES_VERSION = 1
"""Counted up whenever a feature changes its meaning: a model fits one version only."""

_MEASURED: dict[str, str] = {
    **GEOMETRY_COLUMNS,
    **PEAK_COLUMNS,
    **LIGHT_COLUMNS,
    **CORE_COLUMNS,
    **ISOPHOTE_COLUMNS,
    **NEIGHBOR_COLUMNS,
}

CONTEXT_FEATURES: tuple[str, ...] = tuple(CONTEXT_COLUMNS)
"""Features that are the same for all footprints of an image."""

FEATURE_DOCS: dict[str, str] = {**_MEASURED, **CONTEXT_COLUMNS, **TWO_COMPONENT_DOCS}
"""What each feature is, with its unit."""

FEATURE_NAMES: tuple[str, ...] = tuple(FEATURE_DOCS)
"""All features, in the order of `measure_features`."""

REFERENCE_FEATURES: tuple[str, ...] = (
    *("area", "area_detected", "bbox_long", "bbox_short", "bbox_fill"),
    *("footprint_ellipticity", "compactness", "convexity"),
    *("n_peaks", "max_significance", "second_significance"),
    *(f"n_psf_{t}" for t in (3, 5, 8, 12)),
    *("ratio_psf", "separation_psf", "saddle_psf"),
    *(f"n_fine_{t}" for t in (3, 5, 8)),
    *("n_dog_fine_3", "n_dog_fine_5", "n_dog_mid_3", "n_dog_mid_5", "n_dog_wide_3", "n_dog_wide_5"),
    *("first_dog_mid", "second_dog_mid", "separation_dog_mid"),
    *("flux", "flux_snr", "surface_brightness", "brightest_pixel", "peak_sharpness"),
    *("light_size", "light_ellipticity", "skewness_major", "skewness_minor", "kurtosis_major"),
    *("kurtosis_minor", "light_offset", "footprint_offset"),
    *("share_1", "share_2", "share_3", "concentration", "asymmetry", "asymmetry_peak"),
)
"""The 49 features of a plain set, without the field, fits or fine comparisons: a yardstick for the others."""


def _measure_alone(result: DetectionResult) -> tuple[np.ndarray, np.ndarray]:
    """Features that do not depend on other footprints, and which footprints are unusable."""
    planes = make_planes(result)
    peaks, main = measure_peaks(result, planes)
    columns = [
        measure_geometry(result, planes),
        peaks,
        measure_light(planes, main),
        measure_core(planes, main, result.psf.image),
        measure_isophotes(planes, main),
    ]
    return np.hstack(columns), planes.unusable


def _measure(result: DetectionResult, context: SceneContext) -> np.ndarray:
    """All but the two-component test, float32 of shape (n, k)."""
    report_progress("features")
    parts, done = [], 0
    for strip in split_into_strips(result, plane_margin(float(result.psf.sigma))):
        parts.append(_measure_alone(strip))
        done += len(strip.footprints)
        report_progress("features", done / max(len(result.footprints), 1))
    alone, unusable = (np.concatenate(part) for part in zip(*parts, strict=True))
    size = alone[:, list(_MEASURED).index("light_size")]
    field = np.broadcast_to(
        field_numbers(result, context, size), (len(result.footprints), len(CONTEXT_COLUMNS))
    )
    columns = np.hstack([alone, measure_neighbors(result), field])
    columns[unusable] = np.nan
    return columns


def measure_features(samples: FootprintSamples, names: Sequence[str] = FEATURE_NAMES) -> np.ndarray:
    """Measure features of footprints; the result is kept in the samples for the next call.

    Parameters
    ----------
    samples
        The n footprints.
    names
        Features; only what they need is computed.

    Returns
    -------
    features : `numpy.ndarray`, shape (n, features), float32
        The features; do not write into them.  NaN is what an image does not tell, such as its depth
        without a zero point.

    Raises
    ------
    KeyError
        Raised if there is no feature of that name.
    ValueError
        Raised if the noise of an image is not positive.
    """
    if unknown := [name for name in names if name not in FEATURE_DOCS]:
        raise KeyError(
            f"unknown feature {unknown[0]!r}{did_you_mean(unknown[0], FEATURE_DOCS)}; FEATURE_DOCS lists all"
        )
    blocks: list[np.ndarray] = []
    there: list[str] = []
    wanted = set(names)
    if wanted - set(TWO_COMPONENT_COLUMNS):
        there += [*_MEASURED, *CONTEXT_FEATURES]
        empty = np.zeros((0, len(there)), dtype=np.float32)
        blocks.append(samples.compute("features", _measure, empty))
    if wanted & set(TWO_COMPONENT_COLUMNS):
        there += TWO_COMPONENT_COLUMNS
        empty = np.zeros((0, len(TWO_COMPONENT_COLUMNS)), dtype=np.float32)
        blocks.append(samples.compute("two_component", lambda result, _: two_component_test(result), empty))
    if not blocks:
        return np.zeros((len(samples), 0), dtype=np.float32)
    if list(names) == there:
        return blocks[0] if len(blocks) == 1 else np.hstack(blocks)
    place = {name: (b, c) for b, c, name in _places(blocks, there)}
    return np.column_stack([blocks[place[n][0]][:, place[n][1]] for n in names])


def _places(blocks: list[np.ndarray], there: list[str]) -> list[tuple[int, int, str]]:
    """Block and column of each name."""
    pairs = [(b, c) for b, block in enumerate(blocks) for c in range(block.shape[1])]
    return [(b, c, name) for (b, c), name in zip(pairs, there, strict=True)]
