# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.
"""Surroundings of footprints, and the field that an image shows."""

from __future__ import annotations

__all__ = ("CONTEXT_COLUMNS", "NEIGHBOR_COLUMNS", "field_numbers", "measure_neighbors")

from typing import TYPE_CHECKING

import numpy as np

from ..model_package import point_source_depth

if TYPE_CHECKING:
    from ..footprints import DetectionResult
    from ..samples import SceneContext

NEIGHBOR_COLUMNS: dict[str, str] = {
    "nearest_footprint": "Distance of the centroid from that of the nearest footprint [PSF sigma].",
    "nearest_gap": "Least such distance less the radii of discs of the two areas [PSF sigma].",
    "neighbors": "Number of other footprints with their centroid within 40 PSF sigma.",
    "neighbor_cover": "Area of those footprints over that of the circle.",
}
"""Name and description of each column of `measure_neighbors`."""

_FAR = 100.0
"""Distance [PSF sigma] where a footprint has no neighbour any more."""

_REACH = 40.0
"""Radius of the surroundings [PSF sigma]."""

_SIGNIFICANCES = ((7.0, 15.0), (15.0, 40.0), (40.0, 150.0))
"""Ranges of S/N of isolated footprints that quantiles are taken of."""

_QUANTILES = (25, 50, 75)

_LEAST = 8
"""Footprints that quantiles are taken of at least."""


def _columns() -> dict[str, str]:
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


CONTEXT_COLUMNS: dict[str, str] = _columns()
"""Name and description of each number of `field_numbers`."""


def measure_neighbors(result: DetectionResult) -> np.ndarray:
    """Measure how near and how dense other footprints are.

    Parameters
    ----------
    result
        An image with its n footprints.

    Returns
    -------
    columns : `numpy.ndarray`, shape (n, columns), float32
        `NEIGHBOR_COLUMNS`.
    """
    from scipy.spatial import cKDTree

    footprints, sigma = result.footprints, float(result.psf.sigma)
    n = len(footprints)
    out = np.zeros((n, len(NEIGHBOR_COLUMNS)), dtype=np.float32)
    out[:, :2] = _FAR
    if n < 2:
        return out
    position = (footprints.centroid - np.asarray(footprints.xy0)) / sigma
    area = footprints.area / sigma**2
    radius = np.sqrt(area / np.pi)
    tree = cKDTree(position)
    distance, _ = tree.query(position, k=2)
    out[:, 0] = np.minimum(distance[:, 1], _FAR)
    pairs = tree.query_pairs(_REACH, output_type="ndarray")
    one, other = pairs[:, 0], pairs[:, 1]
    gap = np.hypot(*(position[one] - position[other]).T) - radius[one] - radius[other]
    for rows in (one, other):
        np.minimum.at(out[:, 1], rows, gap.astype(np.float32))
    out[:, 2] = np.bincount(one, minlength=n) + np.bincount(other, minlength=n)
    covered = np.bincount(one, area[other], minlength=n) + np.bincount(other, area[one], minlength=n)
    out[:, 3] = covered / (np.pi * _REACH**2)
    return out


def field_numbers(result: DetectionResult, context: SceneContext, light_size: np.ndarray) -> np.ndarray:
    """Compute `CONTEXT_COLUMNS`, float32 of shape (k,), from the sizes of the footprints' light."""
    footprints, sigma = result.footprints, float(result.psf.sigma)
    n = len(footprints)
    pixels = result.image.size
    depth = np.nan
    if context.zero_point is not None:
        depth = point_source_depth(result.noise.sigma, result.psf.image, context.zero_point)
    n_peaks = np.diff(footprints.peak_start)
    values = [
        sigma,
        depth,
        result.noise.correlation,
        result.sky_level,
        1e4 * n * sigma**2 / pixels,
        float(footprints.area.sum()) / pixels,
        float(np.mean(n_peaks > 1)) if n else np.nan,
    ]
    significance = np.asarray(footprints.max_significance)
    area = footprints.area_detected / sigma**2
    for low, high in _SIGNIFICANCES:
        chosen = (n_peaks == 1) & (significance >= low) & (significance < high)
        for q in _QUANTILES:
            enough = np.count_nonzero(chosen) >= _LEAST
            values.append(float(np.percentile(area[chosen], q)) if enough else np.nan)
            values.append(float(np.percentile(light_size[chosen], q)) if enough else np.nan)
    return np.array(values, dtype=np.float32)
