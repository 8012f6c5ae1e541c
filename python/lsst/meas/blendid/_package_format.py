# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The file format of a model package: metadata and arrays as the bytes of a zip file."""

from __future__ import annotations

__all__ = (
    "FORMAT_NAME",
    "FORMAT_VERSION",
    "ModelPackageError",
    "array_from_bytes",
    "array_to_bytes",
    "check_metadata",
    "pack",
    "parse_metadata",
    "shorten",
    "unpack",
)

import io
import json
import math
import re
import sys
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from .calibration import calibration_from_dict
from .labels import N_CLASSES

FORMAT_NAME = "lsst.meas.blendid model package"
FORMAT_VERSION = 2
"""Of version 1 the settings are a ``config`` with the names of pex_config."""
_METADATA_NAME = "metadata.json"
_ARRAY_FOLDER = "arrays/"
_LOCAL_HEADER = 30
"""Size of what precedes the name and the content of a member of a zip file, bytes."""
_MOST_METADATA = 8 * 1024**2
"""Largest metadata that are parsed, bytes: parsed they take many times as much."""
_LONGEST = 60
"""What is found in a package is quoted with at most so many characters."""
_LARGEST = sys.float_info.max
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)
_KINDS = ("classifier", "localizer")
"""What a model can be one of."""
_REQUIRED: dict[str, type] = {
    "name": str,
    "classifier": str,
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
    # Not by the version, which members inside of another package do not tell.
    if not isinstance(metadata.get("settings", metadata.get("config")), dict):
        raise ModelPackageError(f"{source}: metadata 'settings' is missing or no dict; train it anew")
    if metadata.get("kind", "classifier") not in _KINDS:
        raise ModelPackageError(
            f"{source} is a model of a {shorten(metadata['kind'])}, this release knows those of "
            f"{', '.join(_KINDS)}: upgrade lsst-meas-blendid"
        )
    _check_inputs(metadata["inputs"], source)
    _check_prior(metadata["prior"], source)
    if metadata.get("calibration") is not None:
        try:
            calibration_from_dict(metadata["calibration"])
        except ValueError as err:
            raise ModelPackageError(f"{source}: metadata calibration: {err}; train it anew") from None
    scenes = [metadata[part].get("scenes", []) for part in ("training", "validation")]
    if not all(map(_is_list_of_dicts, scenes)):
        raise ModelPackageError(f"{source}: metadata scenes is no list of dicts; train it anew")


def _check_prior(prior: dict[str, Any], source: str) -> None:
    """Raise unless the prior is made of shares."""
    blended, shares = prior.get("blended"), prior.get("n")
    if blended is not None and not _is_share(blended):
        raise ModelPackageError(
            f"{source}: metadata prior.blended is {shorten(blended)}, not null or a share from 0 to 1; "
            "train it anew"
        )
    if shares is None:
        return
    known = isinstance(shares, list) and len(shares) == N_CLASSES and all(map(_is_share, shares))
    # They are rounded.
    if not known or abs(sum(shares) - 1.0) > 1e-3:
        raise ModelPackageError(
            f"{source}: metadata prior.n is {shorten(shares)}, not null or {N_CLASSES} shares with sum 1; "
            "train it anew"
        )


def _check_inputs(inputs: dict[str, Any], source: str) -> None:
    """Raise unless the definition of the inputs has the known form."""
    bands = inputs.get("bands")
    if not isinstance(bands, list) or not all(isinstance(band, str) for band in bands):
        raise ModelPackageError(f"{source}: metadata inputs.bands is no list of names; train it anew")
    if not isinstance(inputs.get("footprints", {}), dict):
        raise ModelPackageError(f"{source}: metadata inputs.footprints is no dict; train it anew")
    if not _is_list_of_dicts(inputs.get("footprint_variants") or []):
        raise ModelPackageError(
            f"{source}: metadata inputs.footprint_variants is no list of dicts; train it anew"
        )
    version = inputs.get("version", 1)
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise ModelPackageError(f"{source}: metadata inputs.version is no integer from 1; train it anew")
    for name in ("psf_sigma", "depth"):
        limits = inputs.get(name)
        if limits is None:
            continue
        numbers = isinstance(limits, list) and len(limits) == 2 and all(_is_finite(v) for v in limits)
        if not numbers or limits[0] > limits[1]:
            raise ModelPackageError(
                f"{source}: metadata inputs.{name} is {shorten(limits)}, not null or [low, high]; "
                "train it anew"
            )


def _is_list_of_dicts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _is_share(value: object) -> bool:
    return _is_finite(value) and 0.0 <= value <= 1.0  # type: ignore[operator]


def shorten(value: object) -> str:
    """Text of what somebody wrote into a package, which may be long."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _is_finite(value: object) -> bool:
    # Not math.isfinite, for which an integer may be too large.
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    return known and -_LARGEST <= value <= _LARGEST  # type: ignore[operator]


def pack(metadata: bytes, arrays: Mapping[str, np.ndarray]) -> bytes:
    """Make the zip file of metadata (JSON) and arrays; the same content gives the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(_METADATA_NAME, _ZIP_DATE), metadata)
        for key in sorted(arrays):
            name = f"{_ARRAY_FOLDER}{key}.npy"
            archive.writestr(zipfile.ZipInfo(name, _ZIP_DATE), array_to_bytes(arrays[key], key))
    return buffer.getvalue()


def unpack(data: bytes, source: str, max_bytes: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read metadata and arrays back, and check them."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _read_archive(archive, source, max_bytes)
    except ModelPackageError:
        raise
    except Exception as err:
        # Damage can surface in zipfile, json, and the parser of .npy headers, as errors of many kinds.
        reason = " ".join(str(err).split())[:200] or type(err).__name__
        raise ModelPackageError(
            f"{source} is not a model package or is damaged ({reason}); copy it again or train a new one"
        ) from None


def _read_archive(
    archive: zipfile.ZipFile, source: str, max_bytes: int
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    members = archive.infolist()
    total = sum(info.file_size for info in members)
    if total > max_bytes:
        raise ModelPackageError(
            f"{source} unpacks to {total} bytes, more than the {max_bytes} allowed; it is no model package"
        )
    names = [info.filename for info in members]
    if _METADATA_NAME not in names:
        raise ModelPackageError(f"{source} has no {_METADATA_NAME}: it is not a model package")
    for info in members:
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 0x1:
            raise ModelPackageError(
                f"{source} has {info.filename!r} compressed or encrypted, as no model package has"
            )
    if len(set(names)) != len(names):
        raise ModelPackageError(f"{source} has several members of one name, as no model package has")
    # The members must fill all that is before the directory: one whose entry is damaged would be skipped.
    if (
        sum(_LOCAL_HEADER + len(info.filename.encode()) + info.file_size for info in members)
        != archive.start_dir
    ):
        raise ValueError("the directory of the file does not list all of its members")
    if (size := archive.getinfo(_METADATA_NAME).file_size) > _MOST_METADATA:
        raise ModelPackageError(
            f"{source} has {size} bytes of metadata, more than the {_MOST_METADATA} allowed; "
            "it is no model package"
        )
    metadata = parse_metadata(archive.read(_METADATA_NAME), source)
    arrays: dict[str, np.ndarray] = {}
    for name in names:
        match = re.fullmatch(_ARRAY_FOLDER + r"(\w+)\.npy", name)
        if match:
            arrays[match[1]] = array_from_bytes(archive.read(name), name)
        elif name != _METADATA_NAME:
            raise ModelPackageError(f"{source} contains {name!r}, which no model package has")
    return metadata, arrays


def parse_metadata(text: bytes | str, source: str) -> dict[str, Any]:
    """Read metadata from JSON and check them."""

    def number(digits: str) -> float | int:
        # JSON has no numbers that are not finite.
        value = float(digits)
        if not math.isfinite(value):
            raise ValueError(f"number {shorten(digits)} in {_METADATA_NAME}")
        return int(digits) if re.fullmatch(r"-?\d+", digits) else value

    metadata = json.loads(text, parse_float=number, parse_int=number, parse_constant=number)
    check_metadata(metadata, source)
    return metadata


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
