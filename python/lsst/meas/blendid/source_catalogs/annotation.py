# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Annotating a catalogue: what its records and peaks get, from tables, and the file with it."""

from __future__ import annotations

__all__ = (
    "Annotation",
    "annotate_catalog_file",
    "annotate_footprints",
    "apply_annotation",
)

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..tables import BlendTables
from .afw_table import AfwTable, CatalogError, NewField
from .catalog_file import FOOTPRINT_COLUMN, CatalogFile
from .catalog_footprints import CatalogFootprints
from .columns import CATALOG_FLAGS, PEAK_FIELDS, PREFIX, RECORD_FIELDS, FieldDefinition, is_own_field
from .join import CatalogJoin, join_tables
from .peak_plan import INFERRED_DTYPE, PeakEditConfig, PeakPlan, describe_refusals, find_skipped, plan_peaks


@dataclass(frozen=True)
class Annotation:
    """What is written to a catalogue of n records with k peaks.

    Parameters
    ----------
    records
        Values of `.columns.RECORD_FIELDS`, ``(n,)`` each.
    peaks
        Values of `.columns.PEAK_FIELDS` for the peaks of the catalogue,
        ``(k,)`` each.
    plan
        What becomes of the peaks.
    inferred
        The inferred peaks (`.peak_plan.INFERRED_DTYPE`).
    join
        Which rows of the tables belong to which records.
    """

    records: dict[str, np.ndarray]
    peaks: dict[str, np.ndarray]
    plan: PeakPlan
    inferred: np.ndarray
    join: CatalogJoin

    @property
    def added(self) -> np.ndarray:
        """The inferred peaks that are added, with their identifiers in the catalogue."""
        added = self.inferred[self.plan.added].copy()
        added["id"] = self.plan.added_id
        return added

    def describe(self) -> str:
        """Say in one sentence what was done.

        Returns
        -------
        text
            How many records were matched, and peaks added, dropped and moved.
        """
        plan, matched = self.plan, self.join.row >= 0
        text = f"{matched.sum()} of {len(matched)} records matched by {'id' if self.join.by_id else 'pixels'}"
        known = np.isfinite(self.peaks[PEAK_FIELDS[0].name])
        text += f", {known.sum()} of {len(known)} peaks with a probability"
        for n, done in (
            ((~plan.kept).sum(), "dropped"),
            (plan.moved.sum(), "moved"),
            (len(plan.added), "added"),
        ):
            text += f", {n} {done}" if n else ""
        asked = plan.refusal[(plan.refusal != "not_asked") & (plan.refusal != "improbable")]
        refused = describe_refusals(asked)
        return f"{text}; not added: {refused}" if refused else text


def annotate_footprints(
    footprints: CatalogFootprints, tables: BlendTables | None, config: PeakEditConfig | None = None
) -> Annotation:
    """Find out what a catalogue is told.

    Parameters
    ----------
    footprints
        Records, footprints and peaks of the catalogue.
    tables
        Tables of its coadd; `None` if there are none, so that nothing is
        known about any record.
    config
        What becomes of the peaks; by default they are annotated only.

    Returns
    -------
    annotation
        Values for the columns, and the new peaks.

    Raises
    ------
    CatalogError
        Raised if the tables belong to something else, or lack what is needed.
    """
    config = PeakEditConfig() if config is None else config
    n, peaks = len(footprints), footprints.peaks
    if tables is None:
        none = np.zeros(0, np.int64)
        join = CatalogJoin(
            np.full(n, -1), np.zeros(n, dtype=bool), np.full(len(peaks), -1), none, none, by_id=False
        )
        inferred, probability = np.zeros(0, INFERRED_DTYPE), np.full(len(peaks), np.nan)
        candidate = np.full((len(peaks), 2), np.nan)
    else:
        join = join_tables(footprints, tables)
        inferred = _read_inferred(join, tables)
        probability = _take(tables.blend_peak["probability"], join.peak_row)
        candidate = _read_candidates(join, tables, config)

    record = footprints.record_of_footprint
    untouched = (
        footprints.is_pseudo | footprints.has_children | footprints.is_repeated | ~footprints.is_parent
    )
    left_alone = np.zeros(footprints.n_footprints, dtype=bool)
    has = footprints.footprint >= 0
    # A footprint that several records share stays if one of them must not change.
    left_alone[footprints.footprint[has & untouched]] = True
    # Sky objects have a peak on empty sky, which nothing may be added to.
    left_alone[peaks["footprint"][peaks["is_sky"]]] = True
    left_alone |= find_skipped(footprints, config)
    plan = plan_peaks(
        footprints,
        inferred,
        probability=probability,
        candidate=candidate,
        left_alone=left_alone,
        config=config,
    )
    refused = np.zeros(footprints.n_footprints, dtype=bool)
    # Those that are improbable, or lie in no footprint, are no news to a deblender.
    mentioned = np.isin(plan.refusal, ("faint", "close", "too_many", "left_alone"))
    refused[inferred["footprint"][mentioned]] = True

    def of_record(values: np.ndarray) -> np.ndarray:
        """What is true of the footprint of each record."""
        result = np.zeros(n, dtype=bool)
        result[has] = values[footprints.footprint[has]]
        return result

    edits = config.doAddPeaks or config.doDropPeaks
    annotation_flags = {
        "no_match": (join.row < 0) & footprints.is_parent & ~footprints.is_repeated,
        "child": ~footprints.is_parent,
        "repeated_id": footprints.is_repeated,
        "other_footprint": (join.row >= 0) & ~join.is_same,
        "no_peak": ~of_record(footprints.n_peaks > 0),
        "left_alone": of_record(left_alone) & footprints.is_parent if edits else np.zeros(n, dtype=bool),
        "peaks_refused": of_record(refused),
    }
    assert len(record) == footprints.n_footprints
    return Annotation(
        records=_make_record_values(join, tables, annotation_flags),
        peaks={
            PEAK_FIELDS[0].name: probability.astype(np.float32),
            PEAK_FIELDS[1].name: peaks["is_inferred"].copy(),
            PEAK_FIELDS[2].name: peaks["is_moved"] | plan.moved,
        },
        plan=plan,
        inferred=inferred,
        join=join,
    )


def _take(column: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Values of some rows of a column, NaN for row -1."""
    values = np.full(len(rows), np.nan)
    known = rows >= 0
    values[known] = np.asarray(column)[rows[known]]
    return values


def _read_inferred(join: CatalogJoin, tables: BlendTables) -> np.ndarray:
    """Inferred peaks of the tables."""
    table = tables.blend_peak
    inferred = np.zeros(len(join.inferred_row), INFERRED_DTYPE)
    inferred["footprint"] = join.inferred_footprint
    inferred["id"] = np.asarray(table["peak_id"])[join.inferred_row]
    for name in ("i_x", "i_y", "f_x", "f_y", "peak_value", "significance", "probability"):
        inferred[name] = np.asarray(table[name])[join.inferred_row]
    return inferred


_CANDIDATE_COLUMNS = ("candidate_x", "candidate_y")


def _read_candidates(join: CatalogJoin, tables: BlendTables, config: PeakEditConfig) -> np.ndarray:
    """Where the objects of detected peaks were inferred to be, NaN where that is not known."""
    table = tables.blend_peak
    if not set(_CANDIDATE_COLUMNS) <= set(table.colnames):
        if config.doMovePeaks and config.doAddPeaks:
            raise CatalogError(
                f"the blend_peak table has no column {', '.join(_CANDIDATE_COLUMNS)}, so peaks cannot be "
                "moved; repeat 'blendid run', or leave doMovePeaks off"
            )
        return np.full((len(join.peak_row), 2), np.nan)
    return np.stack([_take(table[name], join.peak_row) for name in _CANDIDATE_COLUMNS], axis=1)


def _make_record_values(
    join: CatalogJoin, tables: BlendTables | None, annotation_flags: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Values of the columns of records."""
    known, n = join.row >= 0, len(join.row)
    ours = {f"{PREFIX}flag_{name}": values for name, values in annotation_flags.items()}
    values: dict[str, np.ndarray] = {}
    for one in RECORD_FIELDS:
        # Fields bear the name of the column of the tables behind the prefix.
        column = one.name.removeprefix(PREFIX)
        if one.name in ours:
            values[one.name] = ours[one.name]
        elif one.dtype == "bool":
            values[one.name] = np.zeros(n, dtype=bool)
            if tables is not None and column in tables.blend.colnames:
                values[one.name][known] = np.asarray(tables.blend[column], dtype=bool)[join.row[known]]
        elif tables is not None and column in tables.blend.colnames:
            values[one.name] = _take(tables.blend[column], join.row).astype(np.float32)
        else:
            values[one.name] = np.full(n, np.nan, np.float32)
    # After the columns, as the general flag of the footprint may be set already.
    for flag in CATALOG_FLAGS:
        if flag.blocking:
            values[f"{PREFIX}flag"] |= annotation_flags[flag.name]
    return values


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
