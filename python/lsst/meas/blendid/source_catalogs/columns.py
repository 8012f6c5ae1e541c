# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Columns and flags that a catalogue gets."""

from __future__ import annotations

__all__ = ("CATALOG_FLAGS", "PEAK_FIELDS", "PREFIX", "RECORD_FIELDS", "FieldDefinition", "is_own_field")

import re
from dataclasses import dataclass

from ..flags import FLAGS, FlagDefinition
from ..labels import N_CLASSES
from ..tables import BLEND_COLUMNS

PREFIX = "blendid_"
"""What the names of all columns of this package begin with."""


@dataclass(frozen=True)
class FieldDefinition:
    """A field that a catalogue gets.

    Parameters
    ----------
    name
        Its name.
    dtype
        ``f4`` or ``bool``.
    description
        What it holds.
    """

    name: str
    dtype: str
    description: str


CATALOG_FLAGS: tuple[FlagDefinition, ...] = (
    FlagDefinition(
        "no_match",
        "No footprint of the tables is this one or shares half of its pixels, as where it lies outside their "
        "image: nothing is known about it.",
        blocking=True,
    ),
    FlagDefinition(
        "child", "The record is a child of a deblended one; its peak has a probability.", blocking=True
    ),
    FlagDefinition(
        "repeated_id",
        "Another record of the catalogue has the same id: what belongs to which cannot be told.",
        blocking=True,
    ),
    FlagDefinition(
        "other_footprint",
        "The footprint of the tables has other pixels than that of the catalogue.",
        blocking=False,
    ),
    FlagDefinition(
        "no_peak",
        "The record has no footprint, or one without peaks, which a deblender fails on.",
        blocking=False,
    ),
    FlagDefinition(
        "left_alone",
        "The peaks were left as they are: the deblender would skip the record for its peaks or size, it is "
        "no detection (sky objects), or it has children already.",
        blocking=False,
    ),
    FlagDefinition(
        "peaks_refused",
        "An inferred peak that is probable enough was not added, as a deblender would not bear it.",
        blocking=False,
    ),
)
"""What a record of a catalogue has to beware of, beside the flags of its footprint."""


def _record_fields() -> tuple[FieldDefinition, ...]:
    """Fields of records: columns of the footprint table, and its flags."""
    described = {column.name: _without_quotes(column.description) for column in BLEND_COLUMNS}
    names = ("p_blended", *(f"p_n_{k}" for k in range(N_CLASSES)), "n_expected", "novelty")
    general = "Nothing is known about the record as a blend; the other flags say why."
    return (
        *(FieldDefinition(PREFIX + name, "f4", described[name]) for name in names),
        FieldDefinition(f"{PREFIX}flag", "bool", general),
        *(
            FieldDefinition(PREFIX + flag.column, "bool", _without_quotes(flag.description))
            for flag in (*FLAGS, *CATALOG_FLAGS)
        ),
    )


def _without_quotes(text: str) -> str:
    """Replace apostrophes, at which lsst.afw cuts texts of several cards when it reads them."""
    return text.replace("'", "`")


RECORD_FIELDS = _record_fields()
"""Fields that the records get."""

PEAK_FIELDS = (
    FieldDefinition(f"{PREFIX}peak_probability", "f4", "probability that an object is there"),
    FieldDefinition(f"{PREFIX}peak_inferred", "bool", "peak was inferred, not detected"),
    FieldDefinition(
        f"{PREFIX}peak_moved", "bool", "detected peak was moved to where its object was inferred"
    ),
)
"""Fields that the peaks get."""

_OWN = re.compile(rf"{PREFIX}(p_blended|p_n_\d+|n_expected|novelty|flag(_\w+)?)")


def is_own_field(name: str) -> bool:
    """Tell whether a field of a record is one that an annotation of any version adds, and replaces.

    Parameters
    ----------
    name
        Its name.

    Returns
    -------
    own
        False too for those of peaks, which travel into the records of a
        deblended catalogue.
    """
    return _OWN.fullmatch(name) is not None
