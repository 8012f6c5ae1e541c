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
    "CONTEXT_COLUMNS",
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
from ..model_package import point_source_depth
from .columns import as_table, join_records, name_columns, record_type
from .core import CORE_COLUMNS, measure_core
from .geometry import GEOMETRY_COLUMNS, NEIGHBOR_COLUMNS, measure_geometry, measure_neighbors
from .light import ISOPHOTE_COLUMNS, LIGHT_COLUMNS, measure_isophotes, measure_light
from .peaks import PEAK_COLUMNS, measure_peaks
from .planes import make_planes, plane_margin, split_into_strips
from .surroundings import SURROUNDINGS_COLUMNS, measure_surroundings
from .two_component import TWO_COMPONENT_COLUMNS, TWO_COMPONENT_DOCS, two_component_test

if TYPE_CHECKING:
    from ..footprints import DetectionResult
    from ..samples import FootprintSamples, SceneContext

FEATURES_VERSION = 1
"""Counted up whenever a feature changes its meaning: a model fits one version only."""

_SIGNIFICANCES = ((7.0, 15.0), (15.0, 40.0), (40.0, 150.0))
"""Ranges of S/N of isolated footprints that quantiles are taken of."""

_QUANTILES = (25, 50, 75)

_LEAST = 8
"""Footprints that quantiles are taken of at least."""


def _context_columns() -> dict[str, str]:
    columns = {
        "psf_sigma": "Adaptive-moment width of the PSF [pixel].",
        "depth": "5σ depth for point sources [AB mag]; NaN if the zero point is not known.",
        "noise_correlation": "Scatter of the smoothed image over that expected of the pixels' noise.",
        "sky_level": "Median of the sky over the noise of a pixel.",
        "density": "Footprints per 10,000 PSF sigma² of the image.",
        "cover": "Share of the image that footprints cover.",
        "multi_peak_share": "Share of the footprints that have several peaks.",
    }
    for low, high in _SIGNIFICANCES:
        which = f"of footprints with one peak of S/N {low:g} to {high:g}"
        for q in _QUANTILES:
            columns[f"area_{low:g}_{q}"] = (
                f"{q} % quantile of the area over the threshold {which} [PSF sigma²]."
            )
            columns[f"size_{low:g}_{q}"] = f"{q} % quantile of light_size {which} [PSF sigma]."
    return columns


CONTEXT_COLUMNS: dict[str, str] = _context_columns()
"""Name and description of each number of the field that an image shows."""

_ALONE: dict[str, str] = {
    **GEOMETRY_COLUMNS,
    **PEAK_COLUMNS,
    **LIGHT_COLUMNS,
    **CORE_COLUMNS,
    **ISOPHOTE_COLUMNS,
}
_MEASURED: dict[str, str] = {**_ALONE, **NEIGHBOR_COLUMNS, **SURROUNDINGS_COLUMNS, **CONTEXT_COLUMNS}

CONTEXT_FEATURES: tuple[str, ...] = (*CONTEXT_COLUMNS, *SURROUNDINGS_COLUMNS)
"""Features of the field, the same for all footprints of an image or nearly so."""

FEATURE_DOCS: dict[str, str] = {**_MEASURED, **TWO_COMPONENT_DOCS}
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
    """Table of the features that do not depend on other footprints, and which footprints are unusable."""
    planes = make_planes(result)
    peaks, main = measure_peaks(result, planes)
    columns = [
        measure_geometry(result, planes),
        peaks,
        measure_light(planes, main),
        measure_core(planes, main, result.psf.image),
        measure_isophotes(planes, main),
    ]
    return join_records(columns), planes.unusable


def _field_numbers(result: DetectionResult, context: SceneContext, light_size: np.ndarray) -> np.ndarray:
    """Compute a record of `CONTEXT_COLUMNS`, of shape (1,), also from the sizes of the footprints' light."""
    footprints, sigma = result.footprints, float(result.psf.sigma)
    n = len(footprints)
    pixels = result.image.size
    depth = np.nan
    if context.zero_point is not None:
        depth = point_source_depth(result.noise.sigma, result.psf.image, context.zero_point)
    n_peaks = np.diff(footprints.peak_start)
    out = np.full(1, np.nan, record_type(CONTEXT_COLUMNS))
    out["psf_sigma"] = sigma
    out["depth"] = depth
    out["noise_correlation"] = result.noise.correlation
    out["sky_level"] = result.sky_level
    # Per area of the PSF, so that fields of other seeing compare.
    out["density"] = 1e4 * n * sigma**2 / pixels
    out["cover"] = float(footprints.area.sum()) / pixels
    if n:
        out["multi_peak_share"] = np.mean(n_peaks > 1)
    significance = np.asarray(footprints.max_significance)
    area = footprints.area_detected / sigma**2
    for low, high in _SIGNIFICANCES:
        # Isolated objects of one range of S/N: their sizes tell the seeing and the kind of galaxies, whatever
        # is blended.
        chosen = (n_peaks == 1) & (significance >= low) & (significance < high)
        # Quantiles of fewer say little; NaN stands for what an image does not tell.
        if np.count_nonzero(chosen) >= _LEAST:
            for q in _QUANTILES:
                out[f"area_{low:g}_{q}"] = np.percentile(area[chosen], q)
                out[f"size_{low:g}_{q}"] = np.percentile(light_size[chosen], q)
    return out


def _measure(result: DetectionResult, context: SceneContext) -> np.ndarray:
    """All but the two-component test, float32 of shape (n, k)."""
    report_progress("features")
    parts, done = [], 0
    # In strips, as padded planes of all scales take several times the memory of the image.
    for strip in split_into_strips(result, plane_margin(float(result.psf.sigma))):
        parts.append(_measure_alone(strip))
        done += len(strip.footprints)
        report_progress("features", done / max(len(result.footprints), 1))
    # Tables, for NumPy copies records field by field.
    alone, unusable = (np.concatenate(part) for part in zip(*parts, strict=True))
    named = name_columns(_ALONE, alone)
    field = as_table(_field_numbers(result, context, named["light_size"]))
    table = np.hstack(
        [
            alone,
            as_table(measure_neighbors(result)),
            as_table(measure_surroundings(named, result.footprints.centroid)),
            np.broadcast_to(field, (len(alone), len(CONTEXT_COLUMNS))),
        ]
    )
    table[unusable] = np.nan
    return table


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
    blocks: dict[tuple[str, ...], np.ndarray] = {}
    wanted = set(names)
    # All of a block or nothing: what is kept serves whoever asks next, and single columns cost as much as the
    # block.
    if wanted & set(_MEASURED):
        empty = np.zeros((0, len(_MEASURED)), dtype=np.float32)
        blocks[tuple(_MEASURED)] = samples.compute("features", _measure, empty)
    if wanted & set(TWO_COMPONENT_COLUMNS):
        empty = np.zeros((0, len(TWO_COMPONENT_COLUMNS)), dtype=np.float32)
        blocks[TWO_COMPONENT_COLUMNS] = samples.compute(
            "two_component", lambda result, _: two_component_test(result), empty
        )
    if not blocks:
        return np.zeros((len(samples), 0), dtype=np.float32)
    table = next(iter(blocks.values())) if len(blocks) == 1 else np.hstack(list(blocks.values()))
    measured = [name for block in blocks for name in block]
    return table if list(names) == measured else table[:, [measured.index(name) for name in names]]
