# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What the centre network sees of an image and of its footprints.

Planes are pixels; the context is a few numbers that tell what galaxies, seeing and depth an image has;
scalars are a few numbers of each footprint.
"""

from __future__ import annotations

__all__ = (
    "CONTEXT_NAMES",
    "SCALAR_NAMES",
    "compute_context",
    "compute_planes",
    "compute_scalars",
    "count_scatters",
    "keep_labels",
    "keep_numbers",
    "keep_planes",
    "measure_context",
    "relabel",
    "standard_scale",
    "standardize",
)

import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from .._arrays import NEVER_TOLD
from ..features.facts import measure_facts
from ..footprints import DetectionResult
from ..model_package import point_source_depth
from ..samples import FootprintSamples, SceneContext

CONTEXT_NAMES = (
    "psf_sigma",
    "depth",
    "footprint_density",
    "covered_share",
    "sky_level",
    "size_faint",
    "size_middle",
    "size_bright",
    "size_bright_upper",
)
"""Numbers of an image: width of the PSF [pixel]; point-source depth [mag]; log10 of the footprints in an
area of 10,000 PSF sigma²; area of the footprints over that of the searched pixels; sky level [noise sigma],
-0.2 to 0.5; log10 of the area before growth [PSF sigma²] of footprints with one peak, its median at three
levels of significance and its upper quartile at the highest.  NaN where an image does not tell."""

SCALAR_NAMES = (
    "log_area",
    "log_area_detected",
    "log_significance",
    "log_second_significance",
    "n_peaks",
    "log_peaks",
    "one_peak",
)
"""Numbers of a footprint, of `.features.facts.FACTS`."""

_LEVELS = ((6.0, 10.0), (10.0, 20.0), (20.0, 60.0))
"""Significances of the footprints whose sizes tell those of galaxies: faint, middle and bright ones."""
_SKY_RANGE = (-0.2, 0.5)
"""Sky levels beyond are taken as these: an image that is mostly footprints has hardly any sky."""
_FEWEST = 10
"""Least number of footprints that a median size is measured on."""
_LIMIT = 4.0
"""Standardised context beyond this is taken as this."""


def compute_planes(result: DetectionResult) -> np.ndarray:
    """Inverse hyperbolic sine of the image over its noise, and of the significance: float16 (ny, nx, 2).

    Pixels that are not finite are 0.  `ValueError` if the significance is missing, or the noise of an image
    with footprints is not positive.
    """
    noise = float(result.noise.sigma)
    known = np.isfinite(noise) and noise > 0.0
    if len(result.footprints) and not known:
        raise ValueError(f"pixel noise is {noise}; the network needs it positive")
    planes = np.empty((*result.image.shape, 2), dtype=np.float16)
    if result.significance.shape != result.image.shape:
        raise ValueError(
            "the significance image is missing: keep the planes of the images, or prepare them first"
        )
    with np.errstate(invalid="ignore"):
        planes[..., 0] = np.arcsinh(result.image * np.float32(1.0 / noise if known else 0.0))
        planes[..., 1] = np.arcsinh(result.significance)
    if result.bad.shape == result.image.shape:
        planes[result.bad, 0] = 0.0
    planes[~np.isfinite(planes)] = 0.0
    return planes


def keep_planes(samples: FootprintSamples) -> list[np.ndarray]:
    """`compute_planes` of each image, kept in the samples."""
    return samples.compute_each("centers planes", lambda result, _context: compute_planes(result))


def keep_labels(samples: FootprintSamples) -> list[np.ndarray]:
    """Label image of each image, uint16 or int32 (ny, nx) with 0 for none, kept in the samples."""

    def get(result: DetectionResult, _context: SceneContext) -> np.ndarray:
        small = len(result.footprints) < np.iinfo(np.uint16).max
        return np.array(result.footprints.labels, dtype=np.uint16 if small else np.int32)

    return samples.compute_each("centers labels", get)


def keep_numbers(samples: FootprintSamples) -> list[np.ndarray]:
    """Number of each footprint in `keep_labels`, int32 (n,) for each image, kept in the samples.

    They are not 1 to n if some of the footprints were chosen later (`FootprintSamples.select`); the others
    still are in the label images.
    """

    def get(result: DetectionResult, _context: SceneContext) -> np.ndarray:
        return np.arange(1, len(result.footprints) + 1, dtype=np.int32)

    numbers = samples.compute("centers numbers", get, np.zeros(0, np.int32))
    return [numbers[a:b] for a, b in zip(samples.offsets, samples.offsets[1:], strict=False)]


def relabel(labels: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Label image with 1 to n for the footprints whose labels ``numbers`` (n,) has, and 0 for others."""
    largest = int(labels.max(initial=0))
    if largest <= len(numbers) and np.array_equal(numbers, np.arange(1, len(numbers) + 1)):
        return labels
    new = np.zeros(max(largest, int(numbers.max(initial=0))) + 1, np.int32)
    new[numbers] = np.arange(1, len(numbers) + 1)
    return new[labels]


def measure_context(result: DetectionResult, context: SceneContext) -> np.ndarray:
    """`CONTEXT_NAMES` of an image, float32 (9,): what kind of sky it shows.

    They follow from the table of footprints.  `.features.CONTEXT_FEATURES` are more of the same kind, for
    which the image has to be smoothed and the light of all footprints measured.
    """
    footprints = result.footprints
    variance = result.psf.sigma**2
    values = dict.fromkeys(CONTEXT_NAMES, np.nan)
    values["psf_sigma"] = result.psf.sigma
    values["sky_level"] = float(np.clip(result.sky_level, *_SKY_RANGE))
    if context.zero_point is not None:
        values["depth"] = point_source_depth(result.noise.sigma, result.psf.image, context.zero_point)
    pixels = max(int(np.count_nonzero(result.eligible)), 1)
    values["covered_share"] = float(footprints.area.sum(dtype=np.int64)) / pixels
    values["footprint_density"] = np.log10(1e4 * variance * (len(footprints) + 0.5) / pixels)
    sizes = np.log10(np.maximum(footprints.area_detected, 1) / variance)
    significance = np.where(footprints.n_peaks == 1, footprints.max_significance, 0.0)
    for name, (low, high) in zip(("size_faint", "size_middle", "size_bright"), _LEVELS, strict=True):
        chosen = sizes[(significance >= low) & (significance < high)]
        if chosen.size >= _FEWEST:
            values[name] = np.median(chosen)
            if name == "size_bright":
                values["size_bright_upper"] = np.percentile(chosen, 75.0)
    return np.array(list(values.values()), dtype=np.float32)


def compute_context(samples: FootprintSamples) -> np.ndarray:
    """`measure_context` of all images, float32 (images, 9), kept in the samples."""
    rows = samples.compute_each("centers context", measure_context)
    return np.array(rows, dtype=np.float32).reshape(len(rows), len(CONTEXT_NAMES))


def compute_scalars(samples: FootprintSamples) -> np.ndarray:
    """`SCALAR_NAMES` of n footprints, float32 (n, 7), all finite."""
    return measure_facts(samples, SCALAR_NAMES).astype(np.float32)


def standardize(
    samples: FootprintSamples,
    state: Mapping[str, np.ndarray],
    context_names: Sequence[str] = CONTEXT_NAMES,
    scalar_names: Sequence[str] = SCALAR_NAMES,
) -> tuple[np.ndarray, np.ndarray]:
    """Standardised context, float32 (images, numbers), and scalars, float32 (n, numbers).

    ``state`` has ``context_center``, ``context_scale``, ``scalars_center`` and ``scalars_scale`` of the
    training footprints (`standard_scale`).  The context is 0, the mean, for what an image does not tell,
    and at most 4 scatters away from it: no training image showed more.  The names are those that there were
    in the training.
    """
    context = compute_context(samples)[:, [CONTEXT_NAMES.index(name) for name in context_names]]
    scalars = compute_scalars(samples)[:, [SCALAR_NAMES.index(name) for name in scalar_names]]
    context = count_scatters(context, state["context_center"], state["context_scale"], limit=_LIMIT)
    scalars = (scalars - state["scalars_center"]) / state["scalars_scale"]
    return context.astype(np.float32), scalars.astype(np.float32)


def count_scatters(values: np.ndarray, center: np.ndarray, scale: np.ndarray, *, limit: float) -> np.ndarray:
    """How many scatters columns (n, k) are from their means (`standard_scale`); 0 for NaN, at most ``limit``.

    What is further away than the limit was never seen, and is taken as this far.
    """
    scatters = (values - center) / scale
    return np.clip(np.where(np.isfinite(scatters), scatters, 0.0), -limit, limit)


def standard_scale(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scatter of what is finite of columns (n, k), float32 (k,); 1 for a scatter of 0.

    A column without any finite number has a scatter so large that no value of it will ever count: a network
    that was never told has not learned what it means.
    """
    with warnings.catch_warnings():
        # A column without any finite number.
        warnings.simplefilter("ignore", RuntimeWarning)
        center, scale = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    told = np.isfinite(center)
    scale = np.where(told, np.where(scale > 1e-3, scale, 1.0), NEVER_TOLD)
    return np.where(told, center, 0.0).astype(np.float32), scale.astype(np.float32)
