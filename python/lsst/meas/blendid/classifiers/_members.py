# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Classifiers inside the package of another one."""

from __future__ import annotations

__all__ = ("merge_flags", "pack_members", "unpack_members")

from collections.abc import Mapping, Sequence

import numpy as np

from .._package_format import FORMAT_NAME, FORMAT_VERSION, check_metadata
from ..model_package import ModelPackage, ModelPackageError

_SEPARATOR = "__"
"""Between the name of a member and that of one of its arrays."""


def merge_flags(*parts: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Flags of several classifiers by name, bool of shape (n,): set where one of them sets it."""
    flags: dict[str, np.ndarray] = {}
    for part in parts:
        for name, values in part.items():
            flags[name] = flags[name] | values if name in flags else values
    return flags


def pack_members(package: ModelPackage, members: Mapping[str, ModelPackage]) -> None:
    """Put packages by name into another one: metadata as ``members``, arrays with the name before theirs."""
    stored = {}
    for name, member in members.items():
        stored[name] = {k: v for k, v in member.metadata.items() if k not in ("format", "format_version")}
        package.arrays.update({f"{name}{_SEPARATOR}{k}": v for k, v in member.arrays.items()})
    package.metadata["members"] = stored


def unpack_members(
    package: ModelPackage, names: Sequence[str], *, optional: bool = False
) -> dict[str, ModelPackage]:
    """Take the packages of some members out of what `pack_members` made, by name.

    `ModelPackageError` if one is damaged, or missing and not ``optional``.
    """
    stored = package.metadata.get("members")
    if not isinstance(stored, dict):
        raise ModelPackageError(f"{package.source} has no members; train it anew")
    members = {}
    for name in names:
        metadata = stored.get(name)
        if metadata is None and optional:
            continue
        if not isinstance(metadata, dict) or not isinstance(metadata.get("classifier"), str):
            raise ModelPackageError(f"{package.source} lacks member {name!r}; train it anew")
        source = f"{package.source} (member {name!r})"
        check_metadata({"format": FORMAT_NAME, "format_version": FORMAT_VERSION, **metadata}, source)
        prefix = name + _SEPARATOR
        arrays = {k.removeprefix(prefix): v for k, v in package.arrays.items() if k.startswith(prefix)}
        members[name] = ModelPackage(metadata["classifier"], metadata, arrays, source)
    return members
