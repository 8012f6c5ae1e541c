# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Every localiser of the package is trained by the command, and runs on what it learned from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from click.testing import CliRunner
from lsst.meas.blendid.cli import main
from lsst.meas.blendid.localizers import localizer_registry
from lsst.meas.blendid.model_package import ModelPackage
from toy_skies import write_skies
from toy_stamps import toy_stamps

pytest.importorskip("galsim", reason="GalSim, which draws the galaxies, is not installed")

SIZE = 1100
TREES = ("scorer.trees.n_trees=10", "scorer.trees.n_leaves=8", "scorer.trees.min_samples=10")
TINY: dict[str, tuple[str, ...]] = {
    "centers": TREES,
    "peaks": TREES,
    "regression": (*TREES, "n_hidden=8"),
}
"""Settings by localiser that make a fit a matter of seconds."""

BASE = ("--localizer", "peaks", "--out", "m.blendid")


def run(*args: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def options(*settings: str) -> list[str]:
    return [text for setting in settings for text in ("--set", setting)]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated coadd with its truth beside it."""
    folder = tmp_path_factory.mktemp("scene")
    status, _, err = run("simulate", "--out", folder, "--name", "small", "--size", SIZE, "--sizes", "1.6x")
    assert (status, err) == (0, "")
    return folder / "small.fits"


def test_all_localizers_of_this_package_are_here() -> None:
    own = {name for name in localizer_registry if localizer_registry[name].__module__.startswith("lsst.")}
    assert own == set(TINY)


@pytest.mark.parametrize("name", sorted(TINY))
def test_a_localizer_is_trained_by_the_command_and_run(name: str, scene: Path, tmp_path: Path) -> None:
    package = tmp_path / "new.blendid"
    status, out, err = run("train", scene, "--localizer", name, "--out", package, *options(*TINY[name]))
    assert status == 0, err
    assert out.startswith(f"{package}: trained on ")
    assert "1 coadd is too few to hold some out: its package has no scores" in err
    model = ModelPackage.read(package)
    assert (model.kind, model.classifier, model.name) == ("localizer", name, "new")
    training = model.metadata["training"]
    assert training["options"]["--localizer"] == name
    assert training["recipe"] == {"kind": "coadds"}
    assert set(training["seconds"]) == {"scenes", "fit"}
    status, _, err = run(
        *("run", scene, "--out", tmp_path, "--classifier", "peaks", "--localizer", name, "--model", package)
    )
    assert (status, err) == (0, "")
    blend, peaks = (Table.read(tmp_path / f"small.{kind}.parquet") for kind in ("blend", "blend_peak"))
    assert not np.any(blend["flag_outside_model_range"])
    probability = np.asarray(peaks["probability"])
    assert np.isfinite(probability).mean() > 0.9
    assert np.any(peaks["is_inferred"]) == (name != "peaks")
    total, expected = np.nansum(probability), np.nansum(blend["n_expected"])
    # Detected peaks may be too few for the expected objects.
    assert total <= 1.001 * expected
    assert total > (0.7 if name == "peaks" else 0.9) * expected


def test_scenes_are_simulated_and_scored(tmp_path: Path) -> None:
    skies = write_skies(tmp_path, skies=2, size=400)
    given = (skies, "-c", "validationShare=0.5", *options(*TREES))
    args = ("train", "--localizer", "peaks", "--out", tmp_path / "a.blendid", *given)
    status, out, err = run(*args)
    assert (status, err.count("too few")) == (0, 0), err
    assert "validation: cross-entropy of positions " in out
    package = ModelPackage.read(tmp_path / "a.blendid")
    scores = package.metadata["validation"]["scores"]
    # Three in four bright enough ones have a peak.
    assert 0.6 < scores["matched_share"] < 1.0
    # One sky, with both kinds of noise.
    assert len({one["seed"] for one in package.metadata["validation"]["scenes"]}) == 1
    # Another number of processes makes the same model.
    again = ("train", "--localizer", "peaks", "--out", tmp_path / "b" / "a.blendid", *given)
    assert run(*again, "--jobs", 2, "--checkpoints", tmp_path / "log")[0] == 0
    assert (tmp_path / "log" / "a.log.jsonl").is_file()
    packages = [package, ModelPackage.read(tmp_path / "b" / "a.blendid")]
    for one in packages:
        one.metadata["training"].pop("seconds")
    assert packages[0].to_bytes() == packages[1].to_bytes()


@pytest.mark.parametrize(
    ("args", "status", "match"),
    [
        (("--localizer", "peaks"), 2, "--localizer and --out"),
        (("--localizer", "nonsense", "--out", "m.blendid"), 2, "unknown localizer 'nonsense'"),
        (("--localizer", "peak", "--out", "m.blendid"), 2, "peaks"),
        ((*BASE, "--classifier", "peaks"), 2, "--classifier goes without --localizer"),
        ((*BASE, "--from", "peaks-localizer-i-1"), 2, "--from goes without --localizer"),
        ((*BASE, "a", "--labels", "b"), 2, "give --truth tables"),
        ((*BASE, "set"), 2, "which stamps do not tell"),
        ((*BASE, "-c", "calibration=beta"), 2, "-c calibration goes without --localizer"),
        ((*BASE, "-c", "nFolds=3"), 2, "-c nFolds goes without --localizer"),
        ((*BASE, "--set", "cutout.size=3"), 2, "cutout.size"),
        (
            ("--localizer", "centers", "--out", "m.blendid", "-c", "mapPackage=features-i-1"),
            2,
            "mapPackage 'features-i-1' is a model of classifier 'features'",
        ),
        (
            ("--localizer", "regression", "--out", "m.blendid", "-c", "embeddingPackage=no.blendid"),
            2,
            "no.blendid",
        ),
        (
            ("--from", "peaks-localizer-i-1", "--out", "m.blendid"),
            2,
            "leave out --from and give --localizer peaks",
        ),
        ((*BASE, "tiny.json"), 1, "galax"),
    ],
)
def test_bad_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], status: int, match: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_skies(tmp_path, "tiny.json", skies=1, size=40)
    toy_stamps(9, size=25).with_noise(20.0).write(tmp_path / "set")
    got, out, err = run("train", *args)
    assert (got, out) == (status, ""), err
    assert match in err
    assert "unexpected" not in err
    assert not (tmp_path / "m.blendid").exists()
