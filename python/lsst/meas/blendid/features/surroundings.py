# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.
"""What the bright footprints around one look like: how irregular galaxies are in this image, and how sharp.

A knot on a galaxy and a galaxy behind it look alike; which is likelier depends on how many galaxies of the
image have knots, arms and the like.  A PSF that is not the one that is told shows in all sources alike.
"""

from __future__ import annotations

__all__ = ("SURROUNDINGS_COLUMNS", "measure_surroundings")

import numpy as np

from .columns import record_type

_N_NEIGHBORS = 50
"""Bright footprints that are looked at: enough for a median, and as many in small images as in large ones."""

_LEAST = 12
"""Bright footprints that an image must have."""

_BRIGHT = 60.0
"""S/N of the flux from which on a footprint shows its form."""

_MOST_PEAKS = 6.0
"""Numbers of peaks count up to this one, so that a large blend does not decide a mean."""

_WHICH = f"of the {_N_NEIGHBORS} nearest footprints with flux_snr over {_BRIGHT:g}"

SURROUNDINGS_COLUMNS: dict[str, str] = {
    "around_asymmetry": f"Median asymmetry {_WHICH}.",
    "around_symmetry": f"25 % quantile of the asymmetry {_WHICH}.",
    "around_size": f"10 % quantile of squared_size {_WHICH} [PSF sigma].",
    "around_sharpness": f"Median of peak_sharpness {_WHICH}.",
    "around_n_dog_fine": f"Mean of n_dog_fine_4, of {_MOST_PEAKS:g} at most, {_WHICH}.",
    "around_n_dog_mid": f"Mean of n_dog_mid_3, of {_MOST_PEAKS:g} at most, {_WHICH}.",
}
"""Name and description of each column of `measure_surroundings`."""


def measure_surroundings(features: np.ndarray, centroid: np.ndarray) -> np.ndarray:
    """Measure what the bright footprints around each are like.

    Takes records (n,) of features and centroids (n, 2) of the footprints of one image and gives records (n,)
    of `SURROUNDINGS_COLUMNS`, NaN where the image has too few bright ones.
    """
    from scipy.spatial import cKDTree

    n = len(features)
    out = np.full(n, np.nan, record_type(SURROUNDINGS_COLUMNS))
    # NaN, where pixels are not finite, is not bright.
    bright = np.flatnonzero((features["flux_snr"] > _BRIGHT) & np.isfinite(features["asymmetry"]))
    if len(bright) < _LEAST:
        return out
    k = min(_N_NEIGHBORS, len(bright) - 1)
    _, found = cKDTree(centroid[bright]).query(centroid, k=k + 1)
    # Without the footprint itself, which the other features tell of; else without the furthest.
    same = bright[found] == np.arange(n)[:, None]
    left_out = np.where(same.any(axis=1), same.argmax(axis=1), k)
    around = found[np.arange(k + 1) != left_out[:, None]].reshape(n, k)
    asymmetry = features["asymmetry"][bright][around]
    out["around_asymmetry"] = np.median(asymmetry, axis=1)
    out["around_symmetry"] = np.percentile(asymmetry, 25, axis=1)
    # Sizes of some are not known.
    size = features["squared_size"][bright]
    out["around_size"] = np.percentile(np.where(np.isfinite(size), size, np.inf)[around], 10, axis=1)
    out["around_sharpness"] = np.nanmedian(features["peak_sharpness"][bright][around], axis=1)
    for name in ("fine_4", "mid_3"):
        numbers = np.minimum(features[f"n_dog_{name}"][bright], _MOST_PEAKS)
        out[f"around_n_dog_{name[:-2]}"] = numbers[around].mean(axis=1)
    return out
