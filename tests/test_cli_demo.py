# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The demonstration, from simulated sky to report."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from lsst.daf.butler import Butler
from lsst.meas.blendid.cli import main
from lsst.meas.blendid.cli._common import CommandError, MisuseError
from lsst.meas.blendid.cli.demo import MARKER, DemoFolder, _format_command, _run_pipetask

demo_module = sys.modules["lsst.meas.blendid.cli.demo"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _demo(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["demo", *arguments])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """One run on tiny patches."""
    pytest.importorskip("galsim", reason="the demo simulates with GalSim")
    pytest.importorskip("matplotlib", reason="the demo draws figures")
    work = tmp_path_factory.mktemp("demo") / "work"
    return work, _demo("--work", str(work), "--size", "320")


def test_demo_runs_from_sky_to_report(finished: tuple[Path, Result]) -> None:
    work, result = finished
    assert result.exit_code == 0, result.output
    assert {p.name for p in work.iterdir()} == {
        MARKER, "repo", "figures", "pipetask.log", "report.html",
    }  # fmt: skip
    assert {p.stem for p in (work / "figures").iterdir()} == {
        "overview", "footprints", "gallery", "reliability", "roc", "confusion", "bins",
        "peak_curves", "peak_bins", "peak_reliability",
    }  # fmt: skip
    assert "Executed 2 quanta successfully" in (work / "pipetask.log").read_text()


def test_demo_prints_command_and_summary(finished: tuple[Path, Result]) -> None:
    work, result = finished
    assert "pipetask run" in result.output
    assert "--register-dataset-types" in result.output
    with Butler.from_config(str(work / "repo"), collections="blends") as butler:
        tables = [
            butler.get("deep_coadd_blend", skymap="blendid_demo", tract=0, patch=patch, band="i")
            for patch in (0, 1)
        ]
    inner = sum(int(np.sum(t["is_patch_inner"] & t["is_tract_inner"])) for t in tables)
    assert f"{inner:,} footprints ({sum(map(len, tables)) - inner} more in overlaps" in result.output
    for name in ("ensemble", "peaks", "5σ peaks", "area only", "area + peak counts"):
        assert re.search(rf"^{re.escape(name)} +0\.\d+ ± ", result.output, re.MULTILINE), name
    assert "all stages" in result.output
    assert f"{inner:,}" in (work / "report.html").read_text()


def test_existing_demo_is_kept_unless_told(finished: tuple[Path, Result]) -> None:
    work, _ = finished
    before = (work / "report.html").read_bytes()
    result = _demo("--work", str(work))
    assert result.exit_code == 2
    assert "--overwrite" in result.output
    assert (work / "report.html").read_bytes() == before


def test_foreign_folder_is_never_emptied(here: Path) -> None:
    (here / "blendid-demo").mkdir()
    (here / "blendid-demo" / "thesis.tex").write_text("years of work")
    result = _demo("--overwrite")
    assert result.exit_code == 2
    assert "thesis.tex" in result.output
    assert (here / "blendid-demo" / "thesis.tex").read_text() == "years of work"


NAMES = ("repo", "figures", "pipetask.log", "report.html")


def _folder(path: Path) -> DemoFolder:
    return DemoFolder(path, NAMES)


def _tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_folder_without_marker_is_never_emptied(here: Path) -> None:
    # A Butler and figures of the user's own have the same names.
    (here / "mywork" / "repo").mkdir(parents=True)
    (here / "mywork" / "repo" / "butler.yaml").write_text("real data")
    (here / "mywork" / "figures").mkdir()
    before = _tree(here)
    for options in ([], ["--overwrite"]):
        result = _demo("--work", "mywork", *options)
        assert result.exit_code == 2
        assert MARKER in result.output
        assert "mywork" in result.output
        assert result.output.count("\n") == 1
        assert _tree(here) == before


def test_overwrite_removes_an_earlier_demo(here: Path) -> None:
    work = here / "work"
    _folder(work).prepare(overwrite=False)
    assert _tree(work) == {MARKER}
    _folder(work).prepare(overwrite=False)  # There is nothing yet to overwrite.
    (work / "repo").mkdir()
    (work / "repo" / "data").write_text("old")
    (work / "report.html").write_text("old")
    with pytest.raises(MisuseError, match="--overwrite"):
        _folder(work).prepare(overwrite=False)
    assert _tree(work) == {MARKER, "repo", "repo/data", "report.html"}
    _folder(work).prepare(overwrite=True)
    assert _tree(work) == {MARKER}
    (work / "thesis.tex").write_text("years of work")
    with pytest.raises(MisuseError, match=r"thesis\.tex"):
        _folder(work).prepare(overwrite=True)


def test_overwrite_follows_no_link(here: Path) -> None:
    (here / "elsewhere").mkdir()
    (here / "elsewhere" / "data").write_text("kept")
    work = here / "blendid-demo"
    _folder(work).prepare(overwrite=False)
    (work / "repo").symlink_to(here / "elsewhere")
    _folder(work).prepare(overwrite=True)
    assert (here / "elsewhere" / "data").read_text() == "kept"
    assert _tree(work) == {MARKER}
    # Nor does the marker of another folder count.
    (here / "linked" / "repo").mkdir(parents=True)
    (here / "linked" / MARKER).symlink_to(work / MARKER)
    with pytest.raises(MisuseError, match="no demo made"):
        _folder(here / "linked").prepare(overwrite=True)
    assert (here / "linked" / "repo").is_dir()


def test_folder_that_cannot_be_used_is_left_as_it_was(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "file").write_text("")
    before = _tree(here)
    with pytest.raises(CommandError, match=r"file cannot be read \(Not a directory\)"):
        _folder(here / "file").prepare(overwrite=True)
    assert _tree(here) == before

    def fail(path: Path, *args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(CommandError, match="No space left on device"):
        _folder(here / "a" / "b").prepare(overwrite=False)
    assert _tree(here) == before


def test_folder_that_cannot_be_made(here: Path) -> None:
    (here / "file").write_text("")
    result = _demo("--work", "file/below")
    assert result.exit_code == 1
    assert "--work" in result.output


def _interrupted(work: Path, size: int, seed: int) -> None:
    """Stand-in for the work that is interrupted in the midst of it."""
    (work / "repo").mkdir()
    (work / "repo" / "half").write_text("half")
    (work / "pipetask.log").write_text("half")
    raise KeyboardInterrupt


@pytest.mark.parametrize("work", ["blendid-demo", "new/and/deeper"])
def test_interrupt_leaves_nothing(here: Path, monkeypatch: pytest.MonkeyPatch, work: str) -> None:
    monkeypatch.setattr(demo_module, "_run", _interrupted)
    assert _demo("--work", work).exit_code == 130
    assert list(here.iterdir()) == []


def test_interrupt_removes_only_what_the_run_made(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_module, "_run", _interrupted)
    (here / "empty").mkdir()
    assert _demo("--work", "empty").exit_code == 130
    assert _tree(here) == {"empty"}

    def also_writes(work: Path, size: int, seed: int) -> None:
        (work.parent / "notes").write_text("written by someone else meanwhile")
        _interrupted(work, size, seed)

    monkeypatch.setattr(demo_module, "_run", also_writes)
    assert _demo("--work", "new/work").exit_code == 130
    assert _tree(here) == {"empty", "new", "new/notes"}


def test_failure_of_the_pipeline_names_the_log(here: Path) -> None:
    command = [sys.executable, "-c", "print('all well', flush=True); raise SystemExit('the coadd is gone')"]
    with pytest.raises(demo_module.CommandError) as caught:
        _run_pipetask(command, here / "pipetask.log")
    assert "status 1" in caught.value.message
    assert "the coadd is gone" in caught.value.message
    assert "pipetask.log" in caught.value.message
    assert "all well" in (here / "pipetask.log").read_text()


def test_missing_extra_is_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "galsim" else object())
    result = _demo()
    assert result.exit_code == 1
    assert "galsim" in result.output
    assert "matplotlib" not in result.output
    assert list(here.iterdir()) == []


def test_command_can_be_pasted() -> None:
    text = _format_command(["pipetask", "run", "-b", "a folder/repo", "-d", "band='i'", "--flag"])
    assert text == "pipetask run \\\n    -b 'a folder/repo' \\\n    -d \"band='i'\" \\\n    --flag"
