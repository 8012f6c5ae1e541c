# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Catalogues of sources with footprints, as lsst.afw persists them: read, annotated and written with
Astropy alone.

The logic works on arrays (`CatalogFootprints`), so that it is the same for
catalogues in files and for those of lsst.afw.
"""

from __future__ import annotations

from .afw_table import AfwField, AfwTable, CatalogError, NewField
from .annotation import Annotation, annotate_catalog_file, annotate_footprints, apply_annotation
from .catalog_file import CatalogFile, parse_catalog, read_catalog
from .catalog_footprints import (
    CATALOG_PEAK_DTYPE,
    PSEUDO_FLAGS,
    CatalogFootprints,
    GivenFootprints,
    make_footprint_set,
)
from .columns import CATALOG_FLAGS, PEAK_FIELDS, RECORD_FIELDS, FieldDefinition, is_own_field
from .deblended import find_failed_children
from .join import CatalogJoin, join_tables
from .peak_plan import INFERRED_DTYPE, REFUSALS, PeakEditConfig, PeakPlan, plan_peaks

__all__ = (
    "CATALOG_FLAGS",
    "CATALOG_PEAK_DTYPE",
    "INFERRED_DTYPE",
    "PEAK_FIELDS",
    "PSEUDO_FLAGS",
    "RECORD_FIELDS",
    "REFUSALS",
    "AfwField",
    "AfwTable",
    "Annotation",
    "CatalogError",
    "CatalogFile",
    "CatalogFootprints",
    "CatalogJoin",
    "FieldDefinition",
    "GivenFootprints",
    "NewField",
    "PeakEditConfig",
    "PeakPlan",
    "annotate_catalog_file",
    "annotate_footprints",
    "apply_annotation",
    "find_failed_children",
    "is_own_field",
    "join_tables",
    "make_footprint_set",
    "parse_catalog",
    "plan_peaks",
    "read_catalog",
)
