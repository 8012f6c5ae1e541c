# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Catalogues of lsst.afw: with lsst.afw itself where it imports, and on stand-ins with the same methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lsst.meas.blendid import AnnotateBlendsConfig, AnnotateBlendsTask, AnnotateDetectionBlendsTask
from lsst.meas.blendid.afw import CatalogAnnotator, read_source_catalog
from lsst.meas.blendid.errors import CatalogUnusableError
from lsst.meas.blendid.source_catalogs import (
    PEAK_FIELDS,
    RECORD_FIELDS,
    CatalogFile,
    PeakEditConfig,
    annotate_catalog_file,
    annotate_footprints,
    parse_catalog,
    read_catalog,
)
from lsst.meas.blendid.tables import BlendTables
from stand_in_afw import HeavyFootprint, install, make_source_catalog
from toy_catalogs import ToyFootprint, ToyPeak, is_unchanged, make_tables, write_toy

type Reader = Callable[[CatalogFile], Any]

try:
    import lsst.afw.table as afw_table
except ImportError:
    afw_table = None
needs_afw = pytest.mark.skipif(
    afw_table is None, reason="lsst.afw is not installed; it comes with the LSST Science Pipelines only"
)


@pytest.fixture(params=["stand-in", pytest.param("lsst.afw", marks=needs_afw)])
def read(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Reader:
    """Turns a catalogue in a file into one of lsst.afw."""
    if request.param == "stand-in":
        install(monkeypatch.setitem)
        return make_source_catalog

    def read_with_afw(catalog: CatalogFile) -> Any:
        catalog.write(tmp_path / "catalog.fits")
        return afw_table.SourceCatalog.readFits(str(tmp_path / "catalog.fits"))

    return read_with_afw


FOOTPRINTS = [
    ToyFootprint(
        100,
        (0, 0, 30, 20),
        [
            ToyPeak(7, 10, 10, probability=0.95, candidate=(9.25, 10.5)),
            ToyPeak(9, 25, 12, value=5, probability=0.02),
            ToyPeak(50, 14, 10, value=8, probability=0.8, is_inferred=True),
        ],
    ),
    ToyFootprint(101, (40, 0, 60, 20), [ToyPeak(8, 50, 10)], sky=True),
    ToyFootprint(102, (70, 0, 80, 20), [ToyPeak(11, 75, 10), ToyPeak(51, 72, 5, value=99, is_inferred=True)]),
    ToyFootprint(103, (90, 0, 100, 20), []),
]


def _config(**options: object) -> PeakEditConfig:
    config = PeakEditConfig()
    for name, value in options.items():
        setattr(config, name, value)
    return config


EDITS = [
    {},
    {"doAddPeaks": True},
    {"doAddPeaks": True, "doMovePeaks": True, "doDropPeaks": True},
]


def _toy(footprints: Sequence[ToyFootprint] = FOOTPRINTS) -> CatalogFile:
    return parse_catalog(write_toy(footprints), "toy")


def _assert_same(one: Any, two: Any) -> None:
    for name in ("record_id", "parent_id", "footprint", "is_pseudo", "spans", "peaks", "n_footprints"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)


def test_footprints_are_those_of_the_file(read: Reader) -> None:
    _assert_same(read_source_catalog(read(_toy())), _toy().footprints())


@pytest.mark.parametrize(
    "name",
    [
        "afw_reference/source_catalog.fits",
        "afw_reference/merged_split.fits",
        "afw_reference/object_deblend_split.fits",
    ],
)
def test_footprints_of_real_catalogues(read: Reader, shared_data: Path, name: str) -> None:
    catalog = read_catalog(shared_data / name)
    _assert_same(read_source_catalog(read(catalog)), catalog.footprints())


@pytest.mark.parametrize("options", EDITS, ids=["annotate", "add", "add, move and drop"])
def test_annotations_are_those_of_the_file(read: Reader, options: dict[str, object]) -> None:
    """Record by record and peak by peak what the reader without lsst.afw writes."""
    config, tables = _config(**options), make_tables(FOOTPRINTS)
    wanted, annotation = annotate_catalog_file(_toy(), tables, config)
    source = read(_toy())
    peak_schema = source[0].getFootprint().peaks.getSchema()
    annotator = CatalogAnnotator(source.schema, peak_schema)
    annotated = annotator.annotate(source, annotate_footprints(read_source_catalog(source), tables, config))
    _assert_same(read_source_catalog(annotated), wanted.footprints())
    for field in RECORD_FIELDS:
        values = [record[field.name] for record in annotated]
        np.testing.assert_array_equal(np.array(values, field.dtype), annotation.records[field.name])
    table = wanted.archive[2]
    peaks = [peak for record in annotated for peak in record.getFootprint().peaks]
    assert len(peaks) == len(table)
    for name in table.names:
        stored = table.flag(name) if name in table.flag_names else table.column(name)
        np.testing.assert_array_equal(
            np.array([peak[name] for peak in peaks], stored.dtype), stored, err_msg=name
        )
    # What came in stays as it was.
    _assert_same(read_source_catalog(source), _toy().footprints())
    assert not {f.name for f in RECORD_FIELDS} & set(source.schema.getNames())


def test_annotating_twice_replaces_the_columns(read: Reader) -> None:
    tables, config = make_tables(FOOTPRINTS), _config(doAddPeaks=True)
    catalog = read(_toy())
    for _ in range(2):
        annotator = CatalogAnnotator(catalog.schema, catalog[0].getFootprint().peaks.getSchema())
        annotation = annotate_footprints(read_source_catalog(catalog), tables, config)
        catalog = annotator.annotate(catalog, annotation)
    assert is_unchanged(annotation.plan)
    records, peaks = annotator.make_empty()
    for schema, fields in ((records.schema, RECORD_FIELDS), (peaks.schema, PEAK_FIELDS)):
        names = [item.field.getName() for item in schema]
        assert names[-len(fields) :] == [f.name for f in fields]
        assert len(set(names)) == len(names)
    assert [peak["blendid_peak_inferred"] for peak in catalog[0].getFootprint().peaks] == [False, True, False]


def test_records_share_and_lack_footprints(read: Reader) -> None:
    catalog = read(_toy())
    catalog[2].setFootprint(catalog[0].getFootprint())
    catalog[3].setFootprint(None)
    footprints = read_source_catalog(catalog)
    assert footprints.footprint.tolist() == [0, 1, 0, -1]
    annotator = CatalogAnnotator(catalog.schema, catalog[0].getFootprint().peaks.getSchema())
    annotated = annotator.annotate(catalog, annotate_footprints(footprints, None))
    _assert_same(read_source_catalog(annotated), footprints)


def test_heavy_footprints_keep_their_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch.setitem)
    catalog = make_source_catalog(_toy())
    heavy = HeavyFootprint(catalog[0].getFootprint())
    heavy.planes["Image"][:] = np.arange(31 * 21)
    catalog[0].setFootprint(heavy)
    annotator = CatalogAnnotator(catalog.schema, heavy.peaks.getSchema())
    annotated = annotator.annotate(catalog, annotate_footprints(read_source_catalog(catalog), None))
    made = annotated[0].getFootprint()
    assert made is not heavy and made.isHeavy()
    np.testing.assert_array_equal(made.getImageArray(), np.arange(31 * 21))
    assert len(made.peaks) == 2 and "blendid_peak_moved" in made.peaks.getSchema().getNames()


def _task(catalog: Any, **options: object) -> AnnotateBlendsTask:
    config = AnnotateBlendsConfig()
    for name, value in options.items():
        setattr(config.peaks, name, value)
    peaks = catalog[0].getFootprint().peaks
    return AnnotateBlendsTask(config=config, initInputs={"inputSchema": catalog, "inputPeakSchema": peaks})


def test_the_task_annotates(read: Reader, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    catalog = read(_toy())
    task = _task(catalog, doAddPeaks=True)
    result = task.run(catalog, make_tables(FOOTPRINTS))
    assert [record["blendid_p_blended"] for record in result.annotated] == [0.5] * 4
    assert [len(record.getFootprint().peaks) for record in result.annotated] == [3, 1, 2, 0]
    assert task.metadata["n_peaks_added"] == 2 and task.metadata["n_matched"] == 4
    assert "4 of 4 records matched by pixels" in caplog.text
    assert task.outputSchema.schema == result.annotated.schema
    assert task.outputPeakSchema.schema == result.annotated[0].getFootprint().peaks.getSchema()


def test_the_task_without_tables(read: Reader) -> None:
    catalog = read(_toy())
    result = _task(catalog, doAddPeaks=True).run(catalog, None)
    assert all(record["blendid_flag_no_match"] for record in result.annotated)
    assert [len(record.getFootprint().peaks) for record in result.annotated] == [2, 1, 1, 0]


def test_the_task_refuses_tables_of_something_else(read: Reader) -> None:
    catalog = read(_toy())
    other = [
        ToyFootprint(f.id, f.box, [ToyPeak(p.id, p.x + 5, p.y + 5) for p in f.peaks]) for f in FOOTPRINTS
    ]
    with pytest.raises(CatalogUnusableError, match="belong to another catalogue") as caught:
        _task(catalog).run(catalog, make_tables(other))
    assert caught.value.metadata == {"n_records": 4}


def test_the_task_takes_the_first_band_that_has_tables(read: Reader) -> None:
    catalog, tables = read(_toy()), make_tables(FOOTPRINTS)

    class Handle:
        def __init__(self, band: str, name: str) -> None:
            self.dataId, self._name = {"band": band}, name

        def get(self) -> Any:
            return self.dataId["band"], getattr(tables, self._name)

    def inputs(*bands: str) -> dict[str, list[Handle]]:
        names = {"blend": "blend", "blendPeak": "blend_peak", "blendSpans": "blend_spans"}
        return {key: [Handle(band, name) for band in bands] for key, name in names.items()}

    task = _task(catalog)
    found = task._read_tables(inputs("g", "r", "z"))
    assert isinstance(found, BlendTables)
    assert found.blend == ("r", tables.blend)
    incomplete = inputs("g", "r")
    del incomplete["blendSpans"][1]
    found = task._read_tables(incomplete)
    assert found is not None and found.blend_peak[0] == "g"
    assert task.metadata["band"] == "g"
    assert task._read_tables({}) is None
    assert task._read_tables(inputs("N921")) is None


def test_the_variant_of_one_band(read: Reader) -> None:
    catalog = read(_toy())
    task = AnnotateDetectionBlendsTask(initInputs={"inputSchema": catalog})
    assert {f.name for f in PEAK_FIELDS} <= set(task.outputPeakSchema.schema.getNames())
    result = task.run(catalog, make_tables(FOOTPRINTS))
    names = result.annotated[0].getFootprint().peaks.getSchema().getNames()
    assert {"merge_peak_i", "blendid_peak_probability"} <= set(names)


@needs_afw
@pytest.mark.parametrize("options", EDITS, ids=["annotate", "add", "add, move and drop"])
@pytest.mark.parametrize("name", ["afw_reference/source_catalog.fits", "afw_reference/merged_base.fits"])
def test_lsst_afw_writes_the_same_bytes(
    shared_data: Path, tmp_path: Path, name: str, options: dict[str, object]
) -> None:
    """The catalogue annotated in memory and written by lsst.afw, and the one that was edited as a file."""
    catalog, config = read_catalog(shared_data / name), _config(**options)
    footprints = catalog.footprints()
    toys = []
    for number, record in enumerate(footprints.record_of_footprint):
        own = footprints.peaks[footprints.peaks["footprint"] == number]
        peaks = [
            ToyPeak(int(p["id"]), float(p["f_x"]), float(p["f_y"]), probability=0.05 * (int(p["id"]) % 20))
            for p in own
        ]
        x, y = footprints.spans[np.searchsorted(footprints.spans[:, 0], number)][[2, 1]]
        peaks.append(ToyPeak(0, float(x), float(y), value=400.0, probability=0.875, is_inferred=True))
        toys.append(ToyFootprint(int(footprints.record_id[record]), tuple(footprints.bbox[number]), peaks))
    tables = make_tables(toys)
    wanted, annotation = annotate_catalog_file(catalog, tables, config)
    source = afw_table.SourceCatalog.readFits(str(shared_data / name))
    annotator = CatalogAnnotator(source.schema, source[0].getFootprint().peaks.getSchema())
    annotated = annotator.annotate(source, annotate_footprints(read_source_catalog(source), tables, config))
    annotated.writeFits(str(tmp_path / "afw.fits"))
    assert (tmp_path / "afw.fits").read_bytes() == wanted.to_bytes()
    assert len(annotation.plan.added) > 0 or not options
    # And the other way round: lsst.afw reads what was written without it.
    wanted.write(tmp_path / "astropy.fits")
    again = afw_table.SourceCatalog.readFits(str(tmp_path / "astropy.fits"))
    _assert_same(read_source_catalog(again), wanted.footprints())
    assert again.schema == annotated.schema


@needs_afw
def test_schemas_are_written_as_the_reference(shared_data: Path, tmp_path: Path) -> None:
    """The schema of peaks that a pipeline passes on, but for the mark of moved peaks."""
    from lsst.afw.detection import PeakCatalog

    reference = PeakCatalog.readFits(str(shared_data / "afw_reference" / "peak_schema_annotated.fits"))
    annotator = CatalogAnnotator(afw_table.SourceTable.makeMinimalSchema(), reference.schema)
    names = [item.field.getName() for item in annotator.peak_schema]
    assert names == [*(item.field.getName() for item in reference.schema), "blendid_peak_moved"]
