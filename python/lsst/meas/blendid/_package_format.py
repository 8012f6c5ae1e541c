# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Parts of a model package: its metadata, and arrays as bytes."""

from __future__ import annotations

__all__ = (
    "FORMAT_NAME",
    "FORMAT_VERSION",
    "ModelPackageError",
    "array_from_bytes",
    "array_to_bytes",
    "check_metadata",
)

import io
import math
import re

import numpy as np

FORMAT_NAME = "lsst.meas.blendid model package"
FORMAT_VERSION = 1
_REQUIRED: dict[str, type] = {
    "name": str,
    "classifier": str,
    "config": dict,
    "inputs": dict,
    "prior": dict,
    "training": dict,
    "validation": dict,
    "versions": dict,
}


class ModelPackageError(ValueError):
    """A model package that is missing, damaged, foreign, newer or does not fit."""


def check_metadata(metadata: object, source: str) -> None:
    """Raise unless metadata have the form that this release knows."""
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT_NAME:
        raise ModelPackageError(f"{source} is not a model package of lsst.meas.blendid")
    version = metadata.get("format_version")
    if not isinstance(version, int) or version < 1:
        raise ModelPackageError(f"{source} has format version {version!r}; an integer from 1 was expected")
    if version > FORMAT_VERSION:
        raise ModelPackageError(
            f"{source} has format version {version}, this release reads up to {FORMAT_VERSION}: "
            "upgrade lsst-meas-blendid or use an older package"
        )
    for key, kind in _REQUIRED.items():
        if not isinstance(metadata.get(key), kind):
            raise ModelPackageError(
                f"{source}: metadata {key!r} is missing or no {kind.__name__}; train it anew"
            )
    bands = metadata["inputs"].get("bands")
    if not isinstance(bands, list) or not all(isinstance(band, str) for band in bands):
        raise ModelPackageError(f"{source}: metadata inputs.bands is no list of names; train it anew")


def array_to_bytes(array: np.ndarray, name: str) -> bytes:
    """One array as .npy, little endian and contiguous."""
    array = np.asarray(array)
    if not re.fullmatch(r"\w+", name) or array.dtype.kind not in "biuf":
        raise ModelPackageError(f"array {name!r} of dtype {array.dtype} cannot go into a model package")
    buffer = io.BytesIO()
    np.lib.format.write_array(
        buffer,
        np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C"),
        version=(1, 0),
        allow_pickle=False,
    )
    return buffer.getvalue()


def array_from_bytes(data: bytes, name: str) -> np.ndarray:
    """Read .npy without trusting the size that its header claims."""
    stream = io.BytesIO(data)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError(f"{name} has an unknown version")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.kind not in "biuf" or fortran_order:
        raise ValueError(f"{name} is not a plain array of numbers")
    if math.prod(shape) * dtype.itemsize != len(data) - stream.tell():
        raise ValueError(f"{name} is cut off")
    array = np.frombuffer(data, dtype=dtype, offset=stream.tell()).reshape(shape)
    return array.astype(dtype.newbyteorder("="))
