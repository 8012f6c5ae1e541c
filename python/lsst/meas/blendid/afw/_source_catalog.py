# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Catalogues of lsst.afw: their footprints as arrays, and annotations written into them."""

from __future__ import annotations

__all__ = ("CatalogAnnotator", "read_source_catalog")

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..source_catalogs import (
    CATALOG_PEAK_DTYPE,
    PEAK_FIELDS,
    PSEUDO_FLAGS,
    RECORD_FIELDS,
    Annotation,
    CatalogFootprints,
    FieldDefinition,
    is_own_field,
)

if TYPE_CHECKING:
    try:
        from lsst.afw.detection import Footprint, PeakCatalog
        from lsst.afw.table import Schema, SchemaMapper, SourceCatalog
    except ImportError:
        type Footprint = Any  # type: ignore[no-redef]
        type PeakCatalog = Any  # type: ignore[no-redef]
        type Schema = Any  # type: ignore[no-redef]
        type SchemaMapper = Any  # type: ignore[no-redef]
        type SourceCatalog = Any  # type: ignore[no-redef]

_PROBABILITY, _INFERRED, _MOVED = (one.name for one in PEAK_FIELDS)


def _collect(catalog: SourceCatalog) -> tuple[list[Footprint], np.ndarray]:
    """Footprints of a catalogue, each once, and which of them each record has, -1 for none."""
    # A record can give its footprint only once that type is known, which lsst.afw.table alone does not bring.
    import lsst.afw.detection  # noqa: F401

    found: list[Footprint] = []
    places: dict[int, int] = {}
    of = np.full(len(catalog), -1, np.int64)
    for i, record in enumerate(catalog):
        footprint = record.getFootprint()
        if footprint is None:
            continue
        # An object of C++ has one of Python as long as there is a reference to that.
        if id(footprint) not in places:
            places[id(footprint)] = len(found)
            found.append(footprint)
        of[i] = places[id(footprint)]
    return found, of


def read_source_catalog(catalog: SourceCatalog) -> CatalogFootprints:
    """Give the footprints and peaks of a catalogue as `.source_catalogs.CatalogFile` does for a file."""
    found, of = _collect(catalog)
    spans, peaks = [], []
    for number, footprint in enumerate(found):
        spans += [(number, span.getY(), span.getX0(), span.getX1()) for span in footprint.spans]
        names = set(footprint.peaks.getSchema().getNames())
        for peak in footprint.peaks:
            marks = (
                bool(peak[name]) if name in names else False for name in (_INFERRED, _MOVED, "merge_peak_sky")
            )
            place = peak.getIx(), peak.getIy(), peak.getFx(), peak.getFy()
            peaks.append((number, peak.getId(), *place, peak.getPeakValue(), *marks))
    pseudo = np.zeros(len(catalog), dtype=bool)
    for name in set(PSEUDO_FLAGS) & set(catalog.schema.getNames()):
        pseudo |= np.array([bool(record[name]) for record in catalog], dtype=bool)
    return CatalogFootprints(
        record_id=np.array([record.getId() for record in catalog], dtype=np.int64),
        parent_id=np.array([record.getParent() for record in catalog], dtype=np.int64),
        footprint=of,
        is_pseudo=pseudo,
        spans=np.array(spans, dtype=np.int32).reshape(-1, 4),
        peaks=np.array(peaks, dtype=CATALOG_PEAK_DTYPE),
        n_footprints=len(found),
    )


class CatalogAnnotator:
    """Writes annotations into catalogues of one schema of records and one, or the usual one, of peaks."""

    def __init__(self, schema: Schema, peak_schema: Schema | None = None) -> None:
        from lsst.afw.detection import PeakTable
        from lsst.afw.table import SourceTable

        self._peak_minimal = PeakTable.makeMinimalSchema()
        self._mapper = _make_mapper(schema, SourceTable.makeMinimalSchema(), RECORD_FIELDS, is_own_field)
        self._peak_mappers: list[SchemaMapper] = []
        self._peak_mapper = self._find_peak_mapper(self._peak_minimal if peak_schema is None else peak_schema)

    @property
    def schema(self) -> Schema:
        """Schema of annotated records (`lsst.afw.table.Schema`)."""
        return self._mapper.getOutputSchema()

    @property
    def peak_schema(self) -> Schema:
        """Schema of annotated peaks (`lsst.afw.table.Schema`)."""
        return self._peak_mapper.getOutputSchema()

    def make_empty(self) -> tuple[SourceCatalog, PeakCatalog]:
        """Make catalogues of records and peaks without rows, by which pipelines pass schemas on."""
        from lsst.afw.detection import PeakCatalog
        from lsst.afw.table import SourceCatalog

        return SourceCatalog(self.schema), PeakCatalog(self.peak_schema)

    def _find_peak_mapper(self, schema: Schema) -> SchemaMapper:
        """Mapper of peaks of a schema; footprints of one catalogue may have several."""
        for mapper in self._peak_mappers:
            if mapper.getInputSchema() == schema:
                return mapper
        replaced = {one.name for one in PEAK_FIELDS}
        mapper = _make_mapper(schema, self._peak_minimal, PEAK_FIELDS, replaced.__contains__)
        self._peak_mappers.append(mapper)
        return mapper

    def annotate(self, catalog: SourceCatalog, annotation: Annotation) -> SourceCatalog:
        """Give a catalogue with the columns of an annotation, and other peaks if these are asked for."""
        from lsst.afw.table import SourceCatalog, SourceTable

        table = SourceTable.make(self.schema)
        table.setMetadata(catalog.table.getMetadata())
        annotated = SourceCatalog(table)
        annotated.reserve(len(catalog))
        annotated.extend(catalog, mapper=self._mapper)
        for one in RECORD_FIELDS:
            key = self.schema.find(one.name).key
            for record, value in zip(annotated, annotation.records[one.name].tolist(), strict=True):
                record.set(key, value)
        found, of = _collect(catalog)
        edited = self._edit_footprints(found, annotation)
        for record, number in zip(annotated, of.tolist(), strict=True):
            record.setFootprint(edited[number] if number >= 0 else None)
        return annotated

    def _edit_footprints(self, found: Sequence[Footprint], annotation: Annotation) -> list[Footprint]:
        """Footprints with annotated peaks, in the order of the plan."""
        plan = annotation.plan
        count = [len(footprint.peaks) for footprint in found]
        first = np.concatenate([[0], np.cumsum(count)])
        start = np.searchsorted(plan.footprint, np.arange(len(found) + 1))
        edited = []
        for number, footprint in enumerate(found):
            source = plan.source[start[number] : start[number + 1]]
            peaks = self._edit_peaks(footprint.peaks, int(first[number]), source.tolist(), annotation)
            edited.append(_replace_peaks(footprint, peaks))
        return edited

    def _edit_peaks(
        self, old: PeakCatalog, first: int, source: Sequence[int], annotation: Annotation
    ) -> PeakCatalog:
        """Peaks of a footprint; the first one that it had has a place in the annotation."""
        from lsst.afw.detection import PeakCatalog

        mapper = self._find_peak_mapper(old.getSchema())
        schema = mapper.getOutputSchema()
        probability, inferred, moved = (schema.find(one.name).key for one in PEAK_FIELDS)
        has_significance = "significance" in schema.getNames()
        peaks, plan, added = PeakCatalog(schema), annotation.plan, annotation.added
        for place in source:
            peak = peaks.addNew()
            if place >= 0:
                peak.assign(old[place - first], mapper)
                peak.set(probability, float(annotation.peaks[_PROBABILITY][place]))
                peak.set(inferred, bool(annotation.peaks[_INFERRED][place]))
                peak.set(moved, bool(annotation.peaks[_MOVED][place]))
                if plan.moved[place]:
                    _set_place(peak, plan.i_x[place], plan.i_y[place], plan.f_x[place], plan.f_y[place])
                continue
            row = added[-1 - place]
            peak.setId(int(row["id"]))
            peak.setPeakValue(float(row["peak_value"]))
            _set_place(peak, *(row[name] for name in ("i_x", "i_y", "f_x", "f_y")))
            peak.set(probability, float(row["probability"]))
            peak.set(inferred, True)
            if has_significance:
                peak["significance"] = float(row["significance"])
        return peaks


def _make_mapper(
    schema: Schema, minimal: Schema, new: Sequence[FieldDefinition], is_replaced: Callable[[str], bool]
) -> SchemaMapper:
    """Map a schema to one with more fields, without those that these replace."""
    from lsst.afw.table import SchemaMapper

    mapper = SchemaMapper(schema, True)
    mapper.addMinimalSchema(minimal, True)
    minimal_names = set(minimal.getNames())
    for item in schema:
        name = item.field.getName()
        if name not in minimal_names and not is_replaced(name):
            mapper.addMapping(item.key)
    output = mapper.editOutputSchema()
    for one in new:
        output.addField(one.name, type="Flag" if one.dtype == "bool" else np.float32, doc=one.description)
    return mapper


def _set_place(peak: Any, i_x: int, i_y: int, f_x: float, f_y: float) -> None:
    """Move a peak."""
    peak.setIx(int(i_x))
    peak.setIy(int(i_y))
    peak.setFx(float(f_x))
    peak.setFy(float(f_y))


def _replace_peaks(footprint: Footprint, peaks: PeakCatalog) -> Footprint:
    """Make a footprint with other peaks; a heavy one keeps its pixels."""
    from lsst.afw.detection import Footprint

    made = Footprint(footprint.spans, peaks.getSchema(), footprint.getRegion())
    made.setPeakCatalog(peaks)
    if not footprint.isHeavy():
        return made
    heavy = type(footprint)(made)
    for plane in ("Image", "Mask", "Variance"):
        getattr(heavy, f"get{plane}Array")()[:] = getattr(footprint, f"get{plane}Array")()
    return heavy
