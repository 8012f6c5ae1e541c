# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The command that writes probabilities and peaks into a catalogue."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from lsst.meas.blendid import write_tables
from lsst.meas.blendid.cli import main
from lsst.meas.blendid.source_catalogs import parse_catalog, read_catalog
from toy_catalogs import ToyFootprint, ToyPeak, make_tables, write_toy

FOOTPRINTS = [
    ToyFootprint(
        100,
        (0, 0, 30, 20),
        [
            ToyPeak(7, 10, 10, probability=0.95, candidate=(9.2, 10.1)),
            ToyPeak(9, 25, 12, value=5, probability=0.02),
            ToyPeak(50, 14, 10, value=8, probability=0.8, is_inferred=True),
            ToyPeak(51, 12, 16, value=7, probability=0.4, is_inferred=True),
        ],
    ),
    ToyFootprint(101, (40, 0, 60, 20), [ToyPeak(8, 50, 10)]),
]


def run(*args: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["annotate", *map(str, args)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A catalogue and the stem of its tables."""
    (tmp_path / "merged.fits").write_bytes(write_toy(FOOTPRINTS))
    (tmp_path / "tables").mkdir()
    write_tables(make_tables(FOOTPRINTS), tmp_path / "tables", "coadd")
    return tmp_path / "merged.fits", tmp_path / "tables" / "coadd"


def test_annotating_is_the_default(files: tuple[Path, Path], tmp_path: Path) -> None:
    status, out, err = run(*files, "--out", tmp_path / "out.fits")
    assert (status, err) == (0, "")
    assert "2 of 2 records matched by pixels, 3 of 3 peaks with a probability ->" in out
    catalog = read_catalog(tmp_path / "out.fits")
    assert catalog.records.column("blendid_p_blended").tolist() == [0.5, 0.5]
    np.testing.assert_array_equal(catalog.footprints().peaks, read_catalog(files[0]).footprints().peaks)
    probability = catalog.archive[2].column("blendid_peak_probability")
    np.testing.assert_array_equal(probability, np.array([0.95, 0.02, 0.9], np.float32))


def test_peaks_are_added_moved_and_dropped(files: tuple[Path, Path], tmp_path: Path) -> None:
    options = ("--add-peaks", "--move-peaks", "--drop-below", "0.05")
    status, out, _ = run(*files, "--out", tmp_path / "out.fits", *options)
    assert status == 0
    assert "1 dropped, 1 moved, 1 added" in out
    peaks = read_catalog(tmp_path / "out.fits").footprints().peaks
    assert peaks["id"].tolist() == [7, 10, 8]
    assert peaks["f_x"].tolist() == [np.float32(9.2), 14.0, 50.0]
    assert peaks["is_moved"].tolist() == [True, False, False]
    assert peaks["is_inferred"].tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("options", "added"),
    [
        (("--min-probability", "0.3"), 2),
        (("--min-probability", "0.85"), 0),
        (("--min-separation", "4.5"), 0),
        (("--min-significance", "30"), 0),
        (("--max-peaks", "2"), 0),
    ],
)
def test_limits_are_those_of_the_options(
    files: tuple[Path, Path], tmp_path: Path, options: tuple[str, str], added: int
) -> None:
    status, _, _ = run(*files, "--out", tmp_path / "out.fits", "--add-peaks", *options)
    assert status == 0
    assert read_catalog(tmp_path / "out.fits").footprints().peaks["is_inferred"].sum() == added


@pytest.mark.parametrize(
    "name", ["coadd.blend.parquet", "coadd.blend_peak.parquet", "coadd.blend_spans.parquet"]
)
def test_tables_are_named_by_any_of_their_files(files: tuple[Path, Path], tmp_path: Path, name: str) -> None:
    output = tmp_path / "new" / "out.fits"
    assert run(files[0], files[1].parent / name, "--out", output)[0] == 0
    assert output.exists()


def test_compressed_files(files: tuple[Path, Path], tmp_path: Path) -> None:
    assert run(*files, "--out", tmp_path / "one.fits.gz")[0] == 0
    assert run(tmp_path / "one.fits.gz", files[1], "--out", tmp_path / "two.fits")[0] == 0
    one, two = (read_catalog(tmp_path / name).to_bytes() for name in ("one.fits.gz", "two.fits"))
    assert one == two


def test_no_input_is_overwritten(files: tuple[Path, Path], tmp_path: Path) -> None:
    before = files[0].read_bytes()
    for output in (files[0], tmp_path / "tables" / ".." / "merged.fits", f"{files[1]}.blend.parquet"):
        status, _, err = run(*files, "--out", output, "--overwrite")
        assert status == 2
        assert "is one of the files that are read; give another name" in err
    assert files[0].read_bytes() == before


def test_an_older_file_is_replaced_on_request(files: tuple[Path, Path], tmp_path: Path) -> None:
    output = tmp_path / "out.fits"
    output.write_text("old")
    status, _, err = run(*files, "--out", output)
    assert (status, output.read_text()) == (1, "old")
    assert "is there already; give another name, or --overwrite" in err
    assert run(*files, "--out", output, "--overwrite")[0] == 0
    assert len(parse_catalog(output.read_bytes(), "it")) == 2


@pytest.mark.parametrize(
    ("args", "status", "text"),
    [
        (
            ("merged.fits", "tables/other", "--out", "o.fits"),
            1,
            "other.blend.parquet: no such file; 'blendid run'",
        ),
        (
            ("merged.fits", ".", "--out", "o.fits"),
            2,
            "there are no tables in .; 'blendid run' writes them",
        ),
        (("merged.fits", "merged.fits", "--out", "o.fits"), 2, "is none of the tables of 'blendid run'"),
        (("none.fits", "tables/coadd", "--out", "o.fits"), 1, "none.fits: no such file; check the path"),
        (
            ("merged.fits", "tables/coadd", "--out", "merged.fits/o.fits"),
            1,
            "output folder merged.fits cannot be written (is a file)",
        ),
        (
            ("merged.fits", "tables/coadd", "--out", "o.fits", "--min-probability", "0.4"),
            2,
            "without --add-peaks",
        ),
        (("merged.fits", "tables/coadd", "--out", "o.fits", "--move-peaks"), 2, "without --add-peaks"),
        (
            ("merged.fits", "tables/coadd", "--out", "o.fits", "--drop-below", "1.4"),
            2,
            "1.4 is not in the range",
        ),
        (("merged.fits", "tables/coadd"), 2, "Missing option '-o' / '--out'"),
    ],
)
def test_misuse_and_failures(
    files: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    args: tuple[str, ...],
    status: int,
    text: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    found, _, err = run(*args)
    assert found == status, err
    assert text in err
    assert not (tmp_path / "o.fits").exists()


def test_damaged_inputs_are_told(files: tuple[Path, Path], tmp_path: Path) -> None:
    content = files[0].read_bytes()
    files[0].write_bytes(content[: len(content) // 2])
    status, _, err = run(*files, "--out", tmp_path / "o.fits")
    assert status == 1 and err.count("\n") == 1
    assert "merged.fits: is damaged" in err
    files[0].write_bytes(content)
    path = Path(f"{files[1]}.blend_peak.parquet")
    path.write_bytes(path.read_bytes()[:100])
    status, _, err = run(*files, "--out", tmp_path / "o.fits")
    assert status == 1 and err.count("\n") == 1
    assert "tables " in err
    assert list(tmp_path.glob("*o.fits*")) == []


def test_tables_of_another_catalogue_are_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    other = [ToyFootprint(f.id, f.box, [ToyPeak(p.id, p.x, p.y + 4) for p in f.peaks]) for f in FOOTPRINTS]
    write_tables(make_tables(other), tmp_path / "tables", "other")
    status, _, err = run(files[0], tmp_path / "tables" / "other", "--out", tmp_path / "o.fits")
    assert status == 1
    assert "the tables belong to another catalogue: only 0 of their" in err
