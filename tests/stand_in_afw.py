# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What this package asks of lsst.afw's catalogues, in a few lines of Python, where there is no lsst.afw.

Only what is called is here, with the same names and the same refusals: records of one schema are not assigned
to those of another, a footprint with peaks takes no other ones, whatever is not mapped is not copied.
"""

from __future__ import annotations

__all__ = ("install", "make_source_catalog")

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from lsst.meas.blendid.source_catalogs import CatalogFile

_MINIMAL_SOURCE = (
    ("id", np.int64),
    ("coord_ra", np.float64),
    ("coord_dec", np.float64),
    ("parent", np.int64),
)
_MINIMAL_PEAK = (
    *(("id", np.int64), ("f_x", np.float32), ("f_y", np.float32)),
    *(("i_x", np.int32), ("i_y", np.int32), ("peakValue", np.float32)),
)


class Schema:
    """Fields in their order; a key is the name of its field."""

    def __init__(self, fields: Iterable[tuple[str, Any, str]] = ()) -> None:
        self.fields = list(fields)

    def addField(self, name: str, type: Any, doc: str = "") -> str:
        assert name not in self.getNames(), f"there is a field {name}"
        self.fields.append((name, type, doc))
        return name

    def getNames(self) -> set[str]:
        return {name for name, *_ in self.fields}

    def find(self, name: str) -> SimpleNamespace:
        if name not in self.getNames():
            raise KeyError(name)
        return SimpleNamespace(key=name)

    def contains(self, other: Schema) -> bool:
        return self.fields[: len(other.fields)] == other.fields

    def __iter__(self) -> Iterator[SimpleNamespace]:
        for name, *_ in self.fields:
            yield SimpleNamespace(key=name, field=SimpleNamespace(getName=lambda name=name: name))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schema) and self.fields == other.fields

    __hash__ = None  # type: ignore[assignment]


class SchemaMapper:
    """Maps fields of one schema to those of the same name of another."""

    def __init__(self, schema: Schema, shareAliasMap: bool = False) -> None:
        assert shareAliasMap
        self._input, self._output, self.mapped = schema, Schema(), list[str]()

    def addMinimalSchema(self, minimal: Schema, doMap: bool) -> None:
        assert not self._output.fields, "minimal schema after other fields"
        assert self._input.contains(minimal) and doMap
        for name, *_ in minimal.fields:
            self.addMapping(name)

    def addMapping(self, key: str) -> None:
        (field,) = [field for field in self._input.fields if field[0] == key]
        self._output.addField(*field)
        self.mapped.append(key)

    def editOutputSchema(self) -> Schema:
        return self._output

    def getInputSchema(self) -> Schema:
        return self._input

    def getOutputSchema(self) -> Schema:
        return self._output


class Record:
    """A row."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self.values = {name: self._blank(kind) for name, kind, _ in schema.fields}
        self._footprint: Any = None

    @staticmethod
    def _blank(kind: Any) -> Any:
        if kind == "Flag":
            return False
        return np.nan if np.issubdtype(kind, np.floating) else 0

    def assign(self, other: Record, mapper: SchemaMapper) -> None:
        assert other._schema.contains(mapper.getInputSchema()), "unequal schemas between input and mapper"
        assert self._schema.contains(mapper.getOutputSchema()), "unequal schemas between output and mapper"
        for name in mapper.mapped:
            self.values[name] = other.values[name]
        self._footprint = other._footprint

    def set(self, key: str, value: Any) -> None:
        kinds = {name: kind for name, kind, _ in self._schema.fields}
        wanted = bool if kinds[key] == "Flag" else int if np.issubdtype(kinds[key], np.integer) else float
        assert isinstance(value, wanted), f"{key} is no {type(value)}"
        self.values[key] = value if kinds[key] == "Flag" else kinds[key](value)

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    __setitem__ = set

    def getFootprint(self) -> Any:
        return self._footprint

    def setFootprint(self, footprint: Any) -> None:
        self._footprint = footprint

    def getId(self) -> int:
        return int(self.values["id"])

    def setId(self, value: int) -> None:
        self.set("id", value)

    def getParent(self) -> int:
        return int(self.values["parent"])


def _add_accessors(names: dict[str, str]) -> None:
    for method, name in names.items():
        setattr(Record, f"get{method}", lambda self, name=name: self.values[name])
        setattr(Record, f"set{method}", lambda self, value, name=name: self.set(name, value))


_add_accessors({"Ix": "i_x", "Iy": "i_y", "Fx": "f_x", "Fy": "f_y", "PeakValue": "peakValue"})


class Catalog:
    """Rows of one schema."""

    minimal: Sequence[tuple[str, Any]] = ()

    def __init__(self, schema_or_table: Any) -> None:
        own = isinstance(schema_or_table, SimpleNamespace)
        self.schema = schema_or_table.schema if own else schema_or_table
        metadata: dict[str, Any] = {}
        self.table = (
            schema_or_table
            if own
            else SimpleNamespace(
                schema=self.schema,
                getMetadata=lambda: metadata,
                setMetadata=lambda new: metadata.update(new or {}),
            )
        )
        assert self.schema.contains(Schema((name, kind, "") for name, kind in self.minimal))
        self.rows: list[Record] = []

    def getSchema(self) -> Schema:
        return self.schema

    def reserve(self, n: int) -> None:
        pass

    def addNew(self) -> Record:
        self.rows.append(Record(self.schema))
        return self.rows[-1]

    def extend(self, records: Iterable[Record], mapper: SchemaMapper) -> None:
        for record in records:
            self.addNew().assign(record, mapper)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.rows)

    def __getitem__(self, i: int) -> Record:
        assert isinstance(i, int)
        return self.rows[i]


class SourceCatalog(Catalog):
    minimal = _MINIMAL_SOURCE


class PeakCatalog(Catalog):
    minimal = _MINIMAL_PEAK


class Footprint:
    """Spans with peaks."""

    def __init__(self, spans: Any, schema: Schema | None = None, region: Any = None) -> None:
        if isinstance(spans, Footprint):
            spans, schema, region, self.peaks = spans.spans, None, spans.region, spans.peaks
        else:
            self.peaks = PeakCatalog(schema)
        self.spans, self.region = spans, region

    def getRegion(self) -> Any:
        return self.region

    def setPeakCatalog(self, peaks: PeakCatalog) -> None:
        assert len(self.peaks) == 0, "cannot change the PeakCatalog unless it is empty"
        self.peaks = peaks

    def isHeavy(self) -> bool:
        return False


class HeavyFootprint(Footprint):
    """A footprint with pixels."""

    def __init__(self, footprint: Footprint) -> None:
        super().__init__(footprint)
        n = sum(span.getX1() - span.getX0() + 1 for span in self.spans)
        self.planes = {name: np.zeros(n) for name in ("Image", "Mask", "Variance")}

    def isHeavy(self) -> bool:
        return True

    def __getattr__(self, name: str) -> Callable[[], np.ndarray]:
        plane = name.removeprefix("get").removesuffix("Array")
        if plane not in ("Image", "Mask", "Variance"):
            raise AttributeError(name)
        return lambda: self.planes[plane]


def _minimal(fields: Sequence[tuple[str, Any]]) -> Callable[[], Schema]:
    return lambda: Schema((name, kind, "") for name, kind in fields)


def _make_table(schema: Schema) -> SimpleNamespace:
    metadata: dict[str, Any] = {}
    return SimpleNamespace(
        schema=schema, getMetadata=lambda: metadata, setMetadata=lambda new: metadata.update(new or {})
    )


def install(setitem: Callable[[dict, str, Any], None]) -> None:
    """Make the stand-ins importable, with ``monkeypatch.setitem``."""
    afw, table, detection = (ModuleType(f"lsst.afw{end}") for end in ("", ".table", ".detection"))
    table.SchemaMapper, table.SourceCatalog = SchemaMapper, SourceCatalog  # type: ignore[attr-defined]
    table.SourceTable = SimpleNamespace(make=_make_table, makeMinimalSchema=_minimal(_MINIMAL_SOURCE))  # type: ignore[attr-defined]
    detection.PeakCatalog, detection.Footprint = PeakCatalog, Footprint  # type: ignore[attr-defined]
    detection.PeakTable = SimpleNamespace(makeMinimalSchema=_minimal(_MINIMAL_PEAK))  # type: ignore[attr-defined]
    for module in (afw, table, detection):
        setitem(sys.modules, module.__name__, module)


def make_source_catalog(catalog: CatalogFile) -> SourceCatalog:
    """The catalogue of a file as stand-ins."""
    kinds = {"K": np.int64, "J": np.int32, "E": np.float32, "D": np.float64}
    footprints = catalog.footprints()

    def schema_of(table: Any, minimal: Sequence[tuple[str, Any]], without: str = "") -> Schema:
        schema = _minimal(minimal)()
        for field in table.fields:
            if field.name not in (without, *schema.getNames()):
                schema.addField(field.name, "Flag" if field.is_flag else kinds[field.form.strip()[-1]])
        return schema

    def fill(record: Record, table: Any, row: int) -> None:
        for name, kind, _ in record._schema.fields:
            if name in table.names:
                record.values[name] = (
                    bool(table.flag(name)[row]) if kind == "Flag" else kind(table.column(name)[row])
                )

    layout = catalog.peak_layout()
    made = []
    for number in range(footprints.n_footprints):
        table = catalog.archive[layout.table[number]]
        spans = [
            SimpleNamespace(getY=lambda y=y: y, getX0=lambda a=a: a, getX1=lambda b=b: b)
            for y, a, b in footprints.spans[footprints.spans[:, 0] == number, 1:].tolist()
        ]
        made.append(Footprint(spans, schema_of(table, _MINIMAL_PEAK), ("region", number)))
        for row in range(layout.start[number], layout.start[number] + layout.count[number]):
            fill(made[-1].peaks.addNew(), table, row)
    result = SourceCatalog(schema_of(catalog.records, _MINIMAL_SOURCE, "footprint"))
    result.table.setMetadata({"KEY": "value"})
    for row, number in enumerate(footprints.footprint.tolist()):
        record = result.addNew()
        fill(record, catalog.records, row)
        record.setFootprint(made[number] if number >= 0 else None)
    return result
