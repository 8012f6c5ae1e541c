# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The simulation task: in process, with pipetask, and against the command.

Batches are those of `test_pipeline`, which simulates in one.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.table import Table
from click.testing import CliRunner
from lsst.daf.butler import Butler
from lsst.meas.blendid import SimulateCoaddConfig, SimulateCoaddTask
from lsst.meas.blendid.cli import main
from lsst.meas.blendid.simulation.config import SceneConfig
from lsst.meas.blendid.simulation.tracts.tract import TractLayout, TractSimulation, make_tract_catalog
from lsst.pex.config import FieldValidationError
from lsst.pipe.base import InvalidQuantumError
from lsst.pipe.base.simple_pipeline_executor import SimplePipelineExecutor

OPTIONS = ("--size", "64", "--overlap", "16", "--patches", "2", "--bands", "gi", "--seed", "3")
SETTINGS = ("-c", "variation.fwhmScatter=0.05", "-c", "artifacts.badColumnDensity=1")


def _blendid(*words: str | Path) -> str:
    result = CliRunner().invoke(main, ["simulate", *(str(w) for w in words)])
    assert result.exit_code == 0, result.output
    return result.stdout


def _command(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of the environment that runs the tests, as a user would."""
    environment = dict(os.environ)
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    result = subprocess.run(
        [str(w) for w in words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=500
    )
    assert result.returncode == 0, f"{words} exited {result.returncode}:\n{result.stdout}\n{result.stderr}"
    return result


def _read(repo: Path, collection: str) -> dict[tuple[int, str], tuple[Any, Table]]:
    with Butler.from_config(str(repo), collections=collection) as butler:
        return {
            (int(ref.dataId["patch"]), str(ref.dataId["band"])): (
                butler.get(ref),
                butler.get("deep_coadd_truth", ref.dataId),
            )
            for ref in butler.query_datasets("deep_coadd")
        }


def _assert_same(first: dict[tuple[int, str], Any], second: dict[tuple[int, str], Any]) -> None:
    assert first.keys() == second.keys()
    for key, (coadd, truth) in first.items():
        for plane in ("image", "variance", "mask"):
            one, two = (getattr(c, plane).array for c in (coadd, second[key][0]))
            np.testing.assert_array_equal(one, two, err_msg=f"{key} {plane}")
        x = coadd.bbox.x.min + 40
        one, two = (c.psf.compute_kernel_image(x=x, y=20).array for c in (coadd, second[key][0]))
        np.testing.assert_array_equal(one, two)
        assert truth.colnames == second[key][1].colnames
        for name in truth.colnames:
            np.testing.assert_array_equal(truth[name], second[key][1][name], err_msg=f"{key} {name}")


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with catalogues and the coadds that the command makes of them in one process."""
    path = tmp_path_factory.mktemp("simulate") / "repo"
    _blendid("--butler", path, *OPTIONS, *SETTINGS)
    return path


@pytest.fixture(scope="module")
def coadds(repo: Path) -> dict[tuple[int, str], tuple[Any, Table]]:
    found = _read(repo, "simulated")
    assert len(found) == 4
    assert any(coadd.mask.array.any() for coadd, _ in found.values())
    return found


def test_pipetask(repo: Path, coadds: dict[tuple[int, str], Any], tmp_path: Path) -> None:
    """The command that is printed for a repository that was prepared, in two processes."""
    prepared = tmp_path / "prepared"
    out = _blendid("--butler", prepared, *OPTIONS, *SETTINGS, "--prepare", "--bands", "g", "-j", "2")
    words = shlex.split(out.split("Make the coadds with")[1].replace("\\\n", " "))
    assert words[:4] == ["pipetask", "run", "-j", "2"]
    _command(*words, cwd=tmp_path)
    expected = {key: value for key, value in coadds.items() if key[1] == "g"}
    _assert_same(expected, _read(prepared, "simulated_coadds"))


def _execute(repo: Path, name: str, config: SimulateCoaddConfig | None = None) -> str:
    """Run the task in process on one patch and return the collection with what it wrote."""
    butler = SimplePipelineExecutor.prep_butler(str(repo), ["simulated"], name)
    where = "patch = 1 AND band = 'g' AND skymap = 'blendid_2x1_64_16'"
    executor = SimplePipelineExecutor.from_task_class(SimulateCoaddTask, config, where=where, butler=butler)
    executor.run(register_dataset_types=True)
    run = butler.run
    butler.close()
    assert run is not None
    return run


def test_in_process(repo: Path, coadds: dict[tuple[int, str], Any]) -> None:
    run = _execute(repo, "serial")
    _assert_same({(1, "g"): coadds[1, "g"]}, _read(repo, run))
    with Butler.from_config(str(repo), collections=run) as butler:
        (ref,) = butler.query_datasets("simulateCoadd_metadata")
        metadata = butler.get(ref)["simulateCoadd"]
    assert metadata["band"] == "g" and metadata["mode"] == "fast" and metadata["seed"] == 3
    assert metadata["n_objects"] == len(coadds[1, "g"][1])


def test_another_draw_of_the_noise(repo: Path, coadds: dict[tuple[int, str], Any]) -> None:
    config = SimulateCoaddConfig()
    config.noiseSeed = 11
    coadd, truth = _read(repo, _execute(repo, "noise", config))[1, "g"]
    first, first_truth = coadds[1, "g"]
    assert np.mean(coadd.image.array == first.image.array) < 0.1
    np.testing.assert_array_equal(truth["flux"], first_truth["flux"])


def test_own_settings(repo: Path) -> None:
    config = SimulateCoaddConfig()
    config.useTractSettings = False
    config.nExposures = 5
    coadd, _ = _read(repo, _execute(repo, "shallow", config))[1, "g"]
    assert not coadd.mask.array.any()
    simulation = TractSimulation(TractLayout("s"), n_exposures=5)
    expected = simulation.survey("g").sky_sigma ** 2
    assert np.median(coadd.variance.array) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(("n_exposures", "logged"), [(1, []), (12, [2, 4, 6, 8, 10])])
def test_exposures_are_logged(caplog: pytest.LogCaptureFixture, n_exposures: int, logged: list[int]) -> None:
    scene = SceneConfig()
    scene.mode, scene.exposures.sensor = "full", ""
    layout = TractLayout("s", patch_size=48, overlap=0)
    simulation, catalog = make_tract_catalog(TractSimulation(layout, n_exposures=n_exposures, scene=scene))
    task = SimulateCoaddTask(config=SimulateCoaddConfig())
    with caplog.at_level("INFO", logger=task.log.name):
        task.run(simulation.to_dict(), catalog, patch=0, band="i")
    *lines, last = [record.getMessage() for record in caplog.records if record.name == task.log.name]
    assert [line.split(" exposures, ")[0] for line in lines] == [f"{n} of {n_exposures}" for n in logged]
    assert all(re.search(r", \d+:\d\d:\d\d left\.$", line) for line in lines)
    assert "objects in the coadd, simulated in" in last


def test_settings_that_would_be_ignored_are_refused() -> None:
    for change in ({"nExposures": 3}, {"scene.mode": "full"}):
        config = SimulateCoaddConfig()
        for name, value in change.items():
            target: Any = config.scene if name.startswith("scene.") else config
            setattr(target, name.removeprefix("scene."), value)
        with pytest.raises(FieldValidationError, match="useTractSettings"):
            config.validate()
        config.useTractSettings = False
        config.validate()
    config.scene.population.sizeScale = 2.0
    with pytest.raises(FieldValidationError, match="blendid simulate"):
        config.validate()


def test_what_cannot_work() -> None:
    simulation, catalog = make_tract_catalog(TractSimulation(TractLayout("s", patch_size=64, overlap=0)))
    settings = simulation.to_dict()
    task = SimulateCoaddTask(config=SimulateCoaddConfig())
    with pytest.raises(InvalidQuantumError, match="unknown band 'q'"):
        task.run(settings, catalog, patch=0, band="q")
    with pytest.raises(InvalidQuantumError, match="no patch 7"):
        task.run(settings, catalog, patch=7, band="i")
    with pytest.raises(InvalidQuantumError, match="another version"):
        task.run({"layout": {}}, catalog, patch=0, band="i")
    lacking = catalog.copy()
    lacking.remove_column("mag_i")
    with pytest.raises(InvalidQuantumError, match="mag_i"):
        task.run(settings, lacking, patch=0, band="i")


def test_patch_without_galaxies(repo: Path) -> None:
    simulation, catalog = make_tract_catalog(TractSimulation(TractLayout("s", patch_size=64, overlap=0)))
    task = SimulateCoaddTask(config=SimulateCoaddConfig())
    outputs = task.run(simulation.to_dict(), catalog[:0], patch=0, band="i")
    assert len(outputs.truth) == 0
    assert np.std(outputs.coadd.image.array) == pytest.approx(simulation.survey("i").sky_sigma, rel=0.05)
