# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""``blendid simulate`` and ``blendid train``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from click.testing import CliRunner
from lsst.meas.blendid.cli import main
from lsst.meas.blendid.images import read_image
from lsst.meas.blendid.model_package import ModelPackage
from lsst.meas.blendid.simulation.stamps import StampSet, make_mosaic
from toy_stamps import toy_stamps

SIZE = 256
BASE = ("--classifier", "logistic", "--out", "m.blendid")


@pytest.fixture(autouse=True)
def _galsim() -> None:
    pytest.importorskip("galsim", reason="GalSim, which draws the galaxies, is not installed")


PEAKS = ("--classifier", "peaks", "--localizer", "none")
"""Options of the fastest run."""


def run(*args: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Image of a small simulated scene, with its truth beside it."""
    folder = tmp_path_factory.mktemp("scene")
    status, _, err = run("simulate", "--out", folder, "--name", "small", "--size", SIZE, "--sizes", "large")
    assert (status, err) == (0, "")
    return folder / "small.fits"


def test_simulate(scene: Path) -> None:
    assert names(scene.parent) == ["small.fits", "small.truth.parquet"]
    image = read_image(scene)
    assert image.kind == "lsst.images"
    assert image.band == "i"
    assert image.masked_image.bbox.shape == (SIZE, SIZE)
    truth = Table.read(scene.with_name("small.truth.parquet"))
    assert {"x", "y", "snr", "mag", "flux"} <= set(truth.colnames)
    brightest = truth[np.argmax(truth["snr"])]
    x, y = round(brightest["x"]), round(brightest["y"])
    assert image.masked_image.image.array[y, x] > 5.0 * np.sqrt(image.masked_image.variance.array[y, x])


def test_simulate_names_files_by_the_options_and_spares_older_ones(tmp_path: Path) -> None:
    args = ("simulate", "--out", tmp_path, "--size", 64, "--seed", 5, "--noise-seed", 2)
    status, out, _ = run(*args)
    assert status == 0
    assert "galaxies_cosmodc2-galaxies_i_5_2.fits: " in out
    before = (tmp_path / "galaxies_cosmodc2-galaxies_i_5_2.fits").read_bytes()
    status, out, err = run(*args)
    assert (status, out) == (1, "")
    assert err.count("\n") == 1
    assert "--overwrite" in err
    assert run(*args, "--overwrite")[0] == 0
    assert len(names(tmp_path)) == 2
    assert len(before) == (tmp_path / "galaxies_cosmodc2-galaxies_i_5_2.fits").stat().st_size


def test_simulate_a_truth_scene(tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    args = ("simulate", "--out", tmp_path, "--scene", 3, "--size", 64)
    monkeypatch.setenv("BLENDID_DATA", str(shared_data))
    assert run(*args)[0] == 0
    assert names(tmp_path) == [
        "scene_03_cosmodc2-galaxies_i_1.fits",
        "scene_03_cosmodc2-galaxies_i_1.truth.parquet",
    ]
    monkeypatch.delenv("BLENDID_DATA")
    status, _, err = run(*args, "--overwrite")
    assert status == 1
    assert "BLENDID_DATA" in err


@pytest.mark.parametrize(
    ("args", "status", "match"),
    [
        (("--scene", "17"), 2, "17"),
        (("--scene", "1", "--truth", "a.fits"), 2, "exclude each other"),
        (("--truth", "no.fits"), 1, "no.fits: no such file"),
        (("--sizes", "huge"), 1, "unknown size model 'huge'"),
        (("--band", "q"), 1, "unknown band 'q'"),
        (("--name", "a/b"), 2, "a/b"),
        (("--size", "3"), 2, "3"),
    ],
)
def test_simulate_with_bad_options(tmp_path: Path, args: tuple[str, ...], status: int, match: str) -> None:
    got, out, err = run("simulate", "--out", tmp_path, *args)
    assert (got, out) == (status, "")
    assert match in err
    assert "unexpected" not in err
    assert names(tmp_path) == []


def test_train_from_files_and_run(scene: Path, tmp_path: Path) -> None:
    package = tmp_path / "my.blendid"
    truth = scene.with_name("small.truth.parquet")
    args = ("train", "--classifier", "peaks", "--out", package, "--coadd", scene, "--truth", truth)
    status, out, err = run(*args, "--config-option", "footprints.noiseSource=variance")
    assert status == 0
    assert "1 coadd is too few to hold some out" in err and err.count("\n") == 1
    assert f"{package}: trained on " in out
    model = ModelPackage.read(package)
    assert model.name == "my"
    assert model.classifier == "peaks"
    assert model.bands == ("i",)
    status, out, err = run("run", scene, "--out", tmp_path, *PEAKS, "--model", package)
    assert (status, err) == (0, "")
    blend = Table.read(tmp_path / "small.blend.parquet")
    assert len(blend) > 10
    assert np.isfinite(blend["p_blended"]).all()
    status, out, err = run(*args)
    assert (status, out) == (1, "")
    assert "--overwrite" in err


def test_train_from_the_built_in_catalogue_twice_gives_the_same_model(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        status, _, err = run(
            *("train", "--classifier", "logistic", "--out", tmp_path / name / "m.blendid", "--parametric", 2),
            *("--size", SIZE, "--no-dial", "--sizes", "large", "--set", "cutout.size=15"),
            *("--seed", 3, "--calibration", "none"),
        )
        # Two such small skies may well teach nothing, which is told.
        assert status == 0 and ("of no use here" in err or not err)
    packages = [ModelPackage.read(tmp_path / name / "m.blendid") for name in ("a", "b")]
    for package in packages:
        # Nothing else depends on the machine or the hour.
        assert set(package.metadata["training"].pop("seconds")) == {"scenes", "fit"}
    assert packages[0].to_bytes() == packages[1].to_bytes()
    assert packages[0].metadata["settings"]["cutout"]["size"] == 15
    assert packages[0].metadata["training"]["recipe"]["kind"] == "one universe"


@pytest.mark.parametrize(
    ("args", "status", "match"),
    [
        ((), 2, "--classifier and --out"),
        (("--classifier", "logistic"), 2, "--classifier and --out"),
        (("--classifier", "nonsense", "--out", "m.blendid"), 2, "unknown classifier 'nonsense'"),
        (("--classifier", "logistic", "--out", "m.txt"), 2, "ends with .blendid"),
        ((*BASE, "--coadd", "a"), 2, "each coadd needs its truth"),
        ((*BASE, "--scenes", "1,a"), 2, "1,a"),
        ((*BASE, "--like", "a", "--scenes", "1"), 2, "exclude"),
        ((*BASE, "--coadd", "a", "--truth", "b", "--parametric", "1"), 2, "exclude"),
        ((*BASE, "--butler", "a", "--collections", "b", "--like", "c"), 2, "exclude"),
        ((*BASE, "--butler", "a"), 2, "--butler needs --collections"),
        ((*BASE, "--butler", "a", "--collections", "b"), 1, "there is no Butler repository a"),
        ((*BASE, "--where", "a"), 2, "go with --butler"),
        ((*BASE, "--sizes", "large"), 2, "go with --no-dial"),
        ((*BASE, "--like", "a", "--no-dial"), 2, "not with --like"),
        ((*BASE, "--like", "a"), 1, "a: no such file"),
        ((*BASE, "--zero-point", "27"), 2, "goes with --like"),
        ((*BASE, "--coadd", "a", "--truth", "b", "--band", "r"), 2, "goes with simulated scenes"),
        ((*BASE, "--coadd", "a", "--truth", "b", "--labels", "c"), 2, "exclude each other"),
        ((*BASE, "--coadd", "a", "--labels", "b", "--labels", "c"), 2, "each coadd needs its labels"),
        ((*BASE, "--band", "q", "--parametric", "1"), 1, "unknown band 'q'"),
        ((*BASE, "--noise", "quiet"), 2, "quiet"),
        ((*BASE, "--calibration", "magic"), 2, "magic"),
        ((*BASE, "--from", "logistic-i-9"), 1, "unknown model 'logistic-i-9'"),
        ((*BASE, "--from", "peaks-i-1"), 2, "is a model of the classifier 'peaks', not 'logistic'"),
        (("--from", "peaks-i-1"), 2, "--from and --out"),
        ((*BASE, "--config-option", "nonsense=1"), 2, "'nonsense=1': settings of a classifier are given by"),
        (
            ("--classifier", "features", "--out", "m.blendid", "-c", "iterations=100"),
            2,
            "--set trees.n_trees=100",
        ),
        ((*BASE, "--set", "nonsense=1"), 2, "--set nonsense: there is no such setting"),
        (
            ("--classifier", "logistic", "--out", "m.blendid", "--coadd", "a", "--truth", "b"),
            1,
            "a: no such file",
        ),
    ],
)
def test_train_with_bad_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], status: int, match: str
) -> None:
    monkeypatch.chdir(tmp_path)
    got, out, err = run("train", *args)
    assert (got, out) == (status, "")
    assert match in err
    assert "unexpected" not in err
    assert names(tmp_path) == []


def test_train_keeps_to_the_training_sky(
    tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    args = ("train", "--classifier", "peaks", "--out", "m.blendid", "--truths", shared_data)
    status, _, err = run(*args, "--scenes", "0")
    assert status == 1
    assert "1, 2, 3, 5" in err
    assert names(tmp_path) == []


@pytest.fixture
def stamp_sets(tmp_path: Path) -> tuple[Path, Path]:
    """Stamps without noise, and others of another size with their own."""
    toy_stamps(90, size=25, separation=7.0).write(tmp_path / "clean")
    toy_stamps(60, size=41).with_noise(20.0).write(tmp_path / "noisy")
    return tmp_path / "clean", tmp_path / "noisy"


@pytest.mark.parametrize("classifier", ["peaks", "logistic"])
def test_train_on_stamps_and_test_on_others(
    tmp_path: Path, stamp_sets: tuple[Path, Path], classifier: str
) -> None:
    clean, noisy = stamp_sets
    for k, (train, test) in enumerate([(clean, noisy), (noisy, clean)]):
        package = tmp_path / f"{k}.blendid"
        status, out, err = run(
            *("train", "--classifier", classifier, "--out", package, "--stamps", train),
            *("--test-stamps", test, "--stamp-noise", 10, "--stamp-noise", 20, "--calibration", "none"),
            *("--set", "n_components=3") * (classifier == "logistic"),
        )
        assert (status, err) == (0, "")
        n = 30 if test == clean else 10  # of each kind in a third of the stamps, clean ones with two noises
        line = next(line for line in out.splitlines() if line.startswith(f"{test}: right for "))
        assert f"of {n} with one, " in line and f"of {n} with more; AUC " in line
        model = ModelPackage.read(package)
        assert model.metadata["validation"]["scores"]["balanced_accuracy"] > 0.9
        assert len(model.metadata["training"]["scenes"]) == (2 if train == clean else 1)
        if classifier == "logistic":
            assert model.metadata["settings"]["cutout"]["size"] == (25 if train == clean else 41)


def test_a_model_of_footprints_in_stamps_runs_on_their_mosaic(
    tmp_path: Path, stamp_sets: tuple[Path, Path]
) -> None:
    _, noisy = stamp_sets
    package = tmp_path / "m.blendid"
    options = ("--stamps", noisy, "--unit", "footprint", "--test-stamps", noisy, "--calibration", "none")
    status, out, err = run("train", "--classifier", "peaks", "--out", package, *options)
    assert (status, err) == (0, "")
    assert f"{noisy}: right for " in out
    image, _ = make_mosaic(StampSet.read(noisy).split("test")).write(tmp_path / "mosaic.fits")
    status, out, err = run("run", image, "--out", tmp_path, *PEAKS, "--model", package)
    assert status == 0, err
    blend = Table.read(tmp_path / "mosaic.blend.parquet")
    assert len(blend) >= 20 and np.isfinite(blend["p_blended"]).all()


def test_bad_stamps_are_named(tmp_path: Path, stamp_sets: tuple[Path, Path]) -> None:
    clean, noisy = stamp_sets
    base = ("train", "--classifier", "peaks", "--out", tmp_path / "m.blendid")
    one_part = StampSet.read(noisy)
    one_part.select(np.asarray(one_part.stamps["split"]).astype(str) == "test").write(tmp_path / "tests")
    for args, status, match in (
        (("--stamps", clean), 2, "have no noise; give --stamp-noise"),
        (("--stamps", tmp_path / "none"), 1, "none is not a set of stamps"),
        (("--stamps", noisy, "--test-stamps", tmp_path), 1, "is not a set of stamps"),
        (("--stamps", tmp_path / "tests"), 1, "no stamps for training"),
        (("--stamp-noise", 3), 2, "go with --stamps"),
        (("--stamps", noisy, "--parametric", 1), 2, "exclude each other"),
        (("--stamps", noisy, "--validation-scenes", 4), 2, "goes without --stamps"),
        (("--stamps", noisy, "--stamp-noise", 0), 2, "0"),
        (("--stamps", noisy, "--noise", "clipped"), 2, "goes without --stamps"),
    ):
        got, out, err = run(*base, *args)
        assert (got, out) == (status, ""), err
        assert match in err and "unexpected" not in err
    assert not (tmp_path / "m.blendid").exists()
