# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What convolutional networks see of footprints: images and scaled features."""

from __future__ import annotations

__all__ = (
    "CHANNELS",
    "VIEWS",
    "CnnInputs",
    "Scaling",
    "make_images",
    "read_inputs",
    "turn",
    "turn_at_random",
)

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from .._arrays import NEVER_TOLD, check_array, digest_arrays
from ..cutouts import CutoutSettings, extract_cutouts
from ..features import measure_features
from ..footprints import DetectionResult
from ..samples import FootprintSamples

CHANNELS = {"buchanan2022": 1, "modern": 3}
"""Number of images of each footprint."""

VIEWS = (
    (False, False, False),
    (False, True, True),
    (False, True, False),
    (False, False, True),
    (True, False, False),
    (True, True, True),
    (True, True, False),
    (True, False, True),
)
"""The symmetries of a square: whether axes are swapped, then y is flipped, then x."""

_CLIP = 6.0
"""Scaled features are cut at so many standard deviations."""


@dataclasses.dataclass(frozen=True)
class CnnInputs:
    """What a network sees of n footprints: float16 images (n, s, s, channels), float32 features (n, k)."""

    images: np.ndarray
    features: np.ndarray

    def finite(self) -> np.ndarray:
        """Rows that can be classified, bool of shape (n,)."""
        good = np.ones(len(self.images), dtype=bool)
        if self.features.shape[1]:
            good &= np.isfinite(self.features).any(axis=1)
        for first in range(0, len(good), 4096):
            some = slice(first, first + 4096)
            good[some] &= np.isfinite(self.images[some]).all(axis=(1, 2, 3))
        return good

    def take(self, rows: np.ndarray) -> CnnInputs:
        """Choose rows."""
        return CnnInputs(self.images[rows], self.features[rows])

    def digest(self, *more: np.ndarray) -> str:
        """Hash of all numbers, and of those of other arrays."""
        arrays = {
            f"{k} {a.shape} {a.dtype.str}": a for k, a in enumerate((self.images, self.features, *more))
        }
        return digest_arrays(arrays)


def make_images(result: DetectionResult, architecture: str, cutout: CutoutSettings) -> np.ndarray:
    """Cut out what a network sees of each footprint.

    Parameters
    ----------
    result
        An image with its n footprints.
    architecture
        Name of the network.
    cutout
        How the first channel is made.

    Returns
    -------
    images : `numpy.ndarray`, shape (n, s, s, channels), float16
        The cutout; for the modern network also the inverse hyperbolic sine of the smoothed image's
        signal-to-noise ratio, and 1 within the footprint and 0 outside.
    """
    planes = [extract_cutouts(result, cutout)]
    if CHANNELS[architecture] > 1:
        window = dataclasses.replace(cutout, normalization="none", zero_outside=False)
        inside = dataclasses.replace(window, zero_outside=True)
        significance = np.nan_to_num(result.significance, nan=0.0, posinf=0.0, neginf=0.0)
        smoothed = dataclasses.replace(result, image=np.arcsinh(significance))
        ones = dataclasses.replace(result, image=np.ones(result.image.shape, dtype=np.float32))
        planes += [extract_cutouts(smoothed, window), extract_cutouts(ones, inside)]
    limit = float(np.finfo(np.float16).max)
    return np.clip(np.stack(planes, axis=-1), -limit, limit).astype(np.float16)


def read_inputs(
    samples: FootprintSamples, architecture: str, cutout: CutoutSettings, features: Sequence[str]
) -> CnnInputs:
    """Collect what a network of some architecture sees of n footprints; the samples keep it."""
    images = samples.compute(
        ("cnn", architecture, cutout),
        lambda result, _context: make_images(result, architecture, cutout),
        np.zeros((0, cutout.size, cutout.size, CHANNELS[architecture]), dtype=np.float16),
    )
    if not features:
        return CnnInputs(images, np.zeros((len(samples), 0), dtype=np.float32))
    return CnnInputs(images, measure_features(samples, features))


@dataclasses.dataclass(frozen=True)
class Scaling:
    r"""How k features become inputs of a network.

    The input is :math:`(\operatorname{arcsinh}(f/u) - c) / s`: features with long tails get the range
    of the others.  One that is NaN becomes 0, the mean.

    Parameters
    ----------
    unit, center, scale
        u, c and s: float64 of shape (k,).
    """

    unit: np.ndarray
    center: np.ndarray
    scale: np.ndarray

    @classmethod
    def fit(cls, features: np.ndarray) -> Scaling:
        """Choose it from features (n, k): u is the median of what is not 0, c and s are mean and scatter.

        A feature that no footprint has will not count if another one has it: the network never saw it.
        """
        unit, center, scale = (np.ones(features.shape[1]) for _ in range(3))
        for i, column in enumerate(features.T.astype(np.float64)):
            column = column[np.isfinite(column)]
            sizes = np.abs(column[column != 0.0])
            unit[i] = np.median(sizes) if sizes.size else 1.0
            if column.size:
                values = np.arcsinh(column / unit[i])
                center[i] = values.mean()
                # The scatter of a feature that is one number is one of rounding errors.
                scale[i] = values.std() if values.std() > 1e-6 else 1.0
            else:
                scale[i] = NEVER_TOLD
        return cls(unit, center, scale)

    def apply(self, features: np.ndarray) -> np.ndarray:
        """Scale features (n, k): float32."""
        values = (np.arcsinh(features / self.unit) - self.center) / self.scale
        return np.clip(np.nan_to_num(values, nan=0.0), -_CLIP, _CLIP).astype(np.float32)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Arrays for a model package."""
        return {f"feature_{f.name}": getattr(self, f.name) for f in dataclasses.fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], k: int) -> Scaling:
        """Take the arrays of a package; `KeyError` or `ValueError` if they are not there or do not fit."""
        values = []
        for name in ("feature_unit", "feature_center", "feature_scale"):
            check_array(name, arrays[name], (k,), positive=name != "feature_center")
            values.append(arrays[name])
        return cls(*values)


def turn(images: np.ndarray, view: tuple[bool, bool, bool]) -> np.ndarray:
    """Show images (n, s, s, c) in one of `VIEWS`."""
    transpose, flip_y, flip_x = view
    seen = images.swapaxes(1, 2) if transpose else images
    return seen[:, :: -1 if flip_y else 1, :: -1 if flip_x else 1]


def turn_at_random(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Show each of images (n, s, s, c) in one of `VIEWS`."""
    images = images.copy()
    choice = rng.integers(0, len(VIEWS), len(images))
    for i, view in enumerate(VIEWS):
        images[choice == i] = turn(images[choice == i], view)
    return images
