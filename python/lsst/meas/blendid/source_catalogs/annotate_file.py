# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Writing an annotation into a catalogue that was read without lsst.afw."""

from __future__ import annotations

__all__ = ("annotate_catalog_file", "apply_annotation")

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..tables import BlendTables
from .afw_table import AfwTable, CatalogError, NewField
from .annotation import Annotation, annotate_footprints
from .catalog_file import FOOTPRINT_COLUMN, CatalogFile
from .columns import PEAK_FIELDS, RECORD_FIELDS, FieldDefinition, is_own_field
from .config import PeakEditConfig


def annotate_catalog_file(
    catalog: CatalogFile, tables: BlendTables | None, config: PeakEditConfig | None = None
) -> tuple[CatalogFile, Annotation]:
    """Annotate a catalogue.

    Parameters
    ----------
    catalog
        The catalogue.
    tables
        Tables of its coadd.
    config
        What becomes of the peaks; by default they are annotated only.

    Returns
    -------
    annotated
        The catalogue with more columns, and with other peaks if these are
        asked for; columns of an earlier annotation are replaced.
    annotation
        What was done.

    Raises
    ------
    CatalogError
        Raised if the tables belong to something else, or the catalogue is
        damaged.
    """
    try:
        annotation = annotate_footprints(catalog.footprints(), tables, config)
    except CatalogError as err:
        text = str(err)
        raise CatalogError(text if text.startswith(catalog.name) else f"{catalog.name}: {text}") from err
    return apply_annotation(catalog, annotation), annotation


def apply_annotation(catalog: CatalogFile, annotation: Annotation) -> CatalogFile:
    """Write an annotation into a catalogue.

    Parameters
    ----------
    catalog
        The catalogue.
    annotation
        What it is told.

    Returns
    -------
    annotated
        The catalogue with it.
    """
    records = catalog.records.without_fields([name for name in catalog.records.names if is_own_field(name)])
    records = records.with_fields(_make_fields(RECORD_FIELDS, annotation.records), before=FOOTPRINT_COLUMN)
    catalog = replace(catalog, records=records)
    if catalog.index is None:
        return catalog

    layout, plan, added = catalog.peak_layout(), annotation.plan, annotation.added
    footprint = np.concatenate([layout.footprint, added["footprint"]])
    source = np.where(plan.source < 0, len(layout.row) - 1 - plan.source, plan.source)
    start, count = layout.start.copy(), layout.count.copy()
    tables: dict[int, AfwTable] = {}
    for place in np.unique(layout.table).tolist():
        table = catalog.archive[place]
        old = np.flatnonzero(layout.table[layout.footprint] == place)
        new = np.flatnonzero(layout.table[added["footprint"]] == place)
        # New rows lie behind those that there are, until all are put in order.
        row = np.full(len(footprint), -1, np.int64)
        row[old], row[len(layout.row) + new] = layout.row[old], len(table) + np.arange(len(new))
        chosen = np.flatnonzero(layout.table[plan.footprint] == place)
        order, *own = layout.rearrange(place, len(table), plan.footprint[chosen], row[source[chosen]])
        start[layout.table == place], count[layout.table == place] = own
        tables[place] = _edit_peaks(table, annotation, old, row[old], added[new], order)
    return catalog.with_peak_tables(tables, start, count)


def _edit_peaks(
    table: AfwTable,
    annotation: Annotation,
    peaks: np.ndarray,
    rows: np.ndarray,
    added: np.ndarray,
    order: np.ndarray,
) -> AfwTable:
    """Annotate a table of peaks, whose rows are given, move and add some, and put them in order."""
    plan, n = annotation.plan, len(table)
    values: dict[str, np.ndarray] = {}
    for one in PEAK_FIELDS:
        blank: np.ndarray = np.full(n + len(added), np.nan, np.float32)
        if one.dtype == "bool":
            blank = np.zeros(n + len(added), dtype=bool)
            if one.name in table.flag_names:
                blank[:n] = table.flag(one.name)
        blank[rows] = annotation.peaks[one.name][peaks]
        values[one.name] = blank
    values[PEAK_FIELDS[0].name][n:] = added["probability"]
    values[PEAK_FIELDS[1].name][n:] = True

    table = table.with_rows(np.concatenate([table.rows, table.make_rows(len(added))]))
    edited = table.rows.copy()
    moved = plan.moved[peaks]
    for name in ("i_x", "i_y", "f_x", "f_y"):
        edited[name][rows[moved]] = getattr(plan, name)[peaks[moved]]
        edited[name][n:] = added[name]
    edited["id"][n:], edited["peakValue"][n:] = added["id"], added["peak_value"]
    if "significance" in table.names:
        edited["significance"][n:] = added["significance"]
    table = table.with_rows(edited).without_fields([one.name for one in PEAK_FIELDS])
    table = table.with_fields(_make_fields(PEAK_FIELDS, values))
    return table.with_rows(table.rows[order])


def _make_fields(definitions: Sequence[FieldDefinition], values: Mapping[str, np.ndarray]) -> list[NewField]:
    """Fields with their values."""
    return [NewField(one.name, one.description, values[one.name]) for one in definitions]
