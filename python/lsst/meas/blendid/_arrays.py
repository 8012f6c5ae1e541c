# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Checks of arrays that were read from model packages, and what tells arrays apart."""

from __future__ import annotations

__all__ = ("NEVER_TOLD", "check_array", "digest_arrays")

import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import DTypeLike

NEVER_TOLD = 1e30
"""Scatter of an input that is not known of anything in a training, as in images without zero point: whatever
it is later, it is no scatter away from the mean, and so says nothing to who has not learned what it means."""


def check_array(
    name: str,
    array: np.ndarray,
    shape: tuple[int, ...],
    *,
    positive: bool = False,
    missing: bool = False,
) -> None:
    """Raise a ValueError for an array of another shape, or with numbers that are not finite in float32.

    They have to be ``positive`` if asked; NaN may stand for a ``missing`` one.
    """
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, not {shape}")
    # Whatever is computed with them afterwards, none becomes infinite by being rounded to 32 bits.
    if array.dtype.kind == "f" and array.size:
        with np.errstate(invalid="ignore"):
            largest = np.nanmax(np.abs(array), initial=0.0)
        if largest > np.finfo(np.float32).max or not (missing or np.all(np.isfinite(array))):
            raise ValueError(f"{name} is not finite")
    if positive and np.any(array <= 0.0):
        raise ValueError(f"{name} is not positive")


def digest_arrays(
    arrays: Mapping[str, np.ndarray], facts: str = "", *, dtype: DTypeLike | None = None
) -> str:
    """Hash arrays with their names, in this order and as numbers of a type, and a text: 32 hex digits.

    Model packages hold such digests, as that of an embedding: the bytes that go into it stay what they are.
    """
    value = hashlib.blake2b(facts.encode(), digest_size=16)
    for name, array in arrays.items():
        value.update(name.encode())
        value.update(np.ascontiguousarray(array, dtype=dtype).tobytes())
    return value.hexdigest()
