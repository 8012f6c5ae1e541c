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
from lsst.meas.blendid.simulation.tracts.demo import make_demo_repository
from toy_skies import write_skies
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
    args = ("train", scene, "--truth", truth, "--classifier", "peaks", "--out", package)
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
    skies = write_skies(tmp_path, skies=2, size=SIZE, sizes=("large",), seed=3)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        status, _, err = run(
            *("train", skies, "--classifier", "logistic", "--out", tmp_path / name / "m.blendid"),
            *("--set", "cutout.size=15", "--seed", 3, "-c", "calibration=none"),
        )
        # Two such small skies may well teach nothing, which is told.
        assert status == 0 and ("of no use here" in err or not err)
    packages = [ModelPackage.read(tmp_path / name / "m.blendid") for name in ("a", "b")]
    for package in packages:
        # Nothing else depends on the machine or the hour.
        assert set(package.metadata["training"].pop("seconds")) == {"scenes", "fit"}
    assert packages[0].to_bytes() == packages[1].to_bytes()
    assert packages[0].metadata["settings"]["cutout"]["size"] == 15
    assert packages[0].metadata["training"]["recipe"]["recipes"][0]["sizes"] == ["large"]


@pytest.mark.parametrize(
    ("args", "status", "match"),
    [
        ((), 2, "--classifier and --out"),
        (("--classifier", "logistic"), 2, "--classifier and --out"),
        (("--classifier", "nonsense", "--out", "m.blendid"), 2, "unknown classifier 'nonsense'"),
        (("--classifier", "logistic", "--out", "m.txt"), 2, "ends with .blendid"),
        ((*BASE, "a"), 1, "a: no such file or folder"),
        ((*BASE, "no*.fits"), 1, "no*.fits: no file fits this pattern"),
        ((*BASE, "bare.fits"), 2, "each coadd needs its truth"),
        ((*BASE, "skies.json", "set"), 2, "skies.json is a recipe of skies, set is a set of stamps"),
        ((*BASE, "skies.json", "--truth", "b"), 2, "go with coadds, and skies.json is a recipe of skies"),
        ((*BASE, "skies.json", "--psf-fwhm", "1"), 2, "go with coadds (simulated skies get theirs by"),
        ((*BASE, "repo"), 2, "repo is a Butler repository: name its --collections"),
        ((*BASE, "a", "--collections", "b"), 1, "there is no Butler repository a"),
        ((*BASE, "a", "--collections", "b", "--truth", "c"), 2, "go with coadds"),
        ((*BASE, "skies.json", "--where", "a"), 2, "go with Butler repositories"),
        ((*BASE, "--where", "a"), 2, "and none are named as DATA"),
        ((*BASE, "--like", "a"), 1, "a: no such file"),
        ((*BASE, "--zero-point", "27"), 2, "and none are named as DATA"),
        ((*BASE, "bare.fits", "--truth", "b", "--labels", "c"), 2, "exclude each other"),
        ((*BASE, "bare.fits", "--labels", "b", "--labels", "c"), 2, "each coadd needs its labels"),
        ((*BASE, "damaged.json"), 1, "damaged.json"),
        ((*BASE, "set", "--validation", "skies.json"), 2, "goes without sets of stamps"),
        (
            (*BASE, "skies.json", "-c", "stampNoise=3"),
            2,
            "stampNoise and stampUnit go with sets of stamps",
        ),
        ((*BASE, "bare.fits", "--truth", "b", "-c", "truthDataset=a"), 2, "go with Butler repositories"),
        ((*BASE, "--seed", "1000000"), 1, "seed 1000000 of a recipe of 16 images is too large"),
        ((*BASE, "skies.json", "--validation", "set"), 2, "stamps go with a model of stamps"),
        ((*BASE, "-c", "noise=quiet"), 2, "quiet"),
        ((*BASE, "-c", "calibration=magic"), 2, "magic"),
        ((*BASE, "-c", "nFolds=1"), 1, "leaves nothing to learn from"),
        ((*BASE, "--coadd", "a"), 2, "no option --coadd any more: name coadds, folders or patterns as DATA"),
        ((*BASE, "--dial"), 2, "blendid simulate --recipe skies.json --vary"),
        ((*BASE, "--from", "logistic-i-9"), 1, "unknown model 'logistic-i-9'"),
        ((*BASE, "--from", "peaks-i-1"), 2, "is a model of the classifier 'peaks', not 'logistic'"),
        (("--from", "peaks-i-1"), 2, "--from and --out"),
        ((*BASE, "--config-option", "wand=1"), 2, "'wand=1': settings of a classifier are given by"),
        ((*BASE, "-c", "nComponents=5"), 2, "are given by --set n_components=5"),
        (
            ("--classifier", "features", "--out", "m.blendid", "-c", "iterations=100"),
            2,
            "--set trees.n_trees=100",
        ),
        ((*BASE, "-c", "snrmin=4"), 2, "(did you mean 'snrMin'?)"),
        (
            (*BASE, "skies.json", "--validation", "skies.json", "-c", "validationShare=0.4"),
            2,
            "goes without --validation",
        ),
        ((*BASE, "-c", "stampNoise=3"), 2, "go with sets of stamps, and none are named as DATA"),
        ((*BASE, "--set", "nonsense=1"), 2, "--set nonsense: there is no such setting"),
        (
            ("--classifier", "logistic", "--out", "m.blendid", "bare.fits", "--truth", "b"),
            1,
            "bare.fits",
        ),
    ],
)
def test_train_with_bad_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], status: int, match: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_skies(tmp_path, skies=2, size=SIZE)
    toy_stamps(9, size=25).with_noise(20.0).write(tmp_path / "set")
    (tmp_path / "bare.fits").write_bytes(b"")
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "butler.yaml").write_text("")
    (tmp_path / "damaged.json").write_text('{"kind": "blendid-scene-recipe", "format": 1, "skies": "two"}')
    before = names(tmp_path)
    got, out, err = run("train", *args)
    assert (got, out) == (status, ""), err
    # Click shows a long line in pieces.
    assert match in " ".join(err.split())
    assert "unexpected" not in err
    assert names(tmp_path) == before


def test_train_keeps_to_the_training_sky(
    tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if a recipe does not tell which sky its scenes are of, and what is held out is of another."""
    monkeypatch.setenv("BLENDID_DATA", str(shared_data))
    args = ("train", "--classifier", "peaks", "--out", tmp_path / "m.blendid")
    for data, match in (
        ((write_skies(tmp_path, "test.json", skies=0, truths=(0,)),), "1, 2, 3, 5"),
        ((write_skies(tmp_path, "tests.json", skies=0, truths=(0,), split="test"),), "is not for train"),
        (
            (
                *(write_skies(tmp_path, skies=1), "--validation"),
                write_skies(tmp_path, "more.json", skies=0, truths=(1,)),
            ),
            "4, 7, 8",
        ),
    ):
        status, out, err = run(*args, *data)
        assert (status, out) == (1, ""), err
        assert match in err
    assert not (tmp_path / "m.blendid").exists()


def test_what_is_held_out_can_be_named(tmp_path: Path) -> None:
    """Its skies are other ones, though both are by the same recipe."""
    skies = write_skies(tmp_path, skies=2, size=SIZE)
    package = tmp_path / "m.blendid"
    status, _, err = run("train", skies, "--validation", skies, "--classifier", "peaks", "--out", package)
    assert status == 0, err
    metadata = ModelPackage.read(package).metadata
    learned, held_out = ({s["seed"] for s in metadata[part]["scenes"]} for part in ("training", "validation"))
    assert len(learned) == len(held_out) == 2 and not learned & held_out
    assert metadata["training"]["recipe"]["validation"]["recipes"][0]["seed"] == 1_000_001


def test_what_is_held_out_can_be_of_another_kind(tmp_path: Path) -> None:
    """Options are of use to all that is named."""
    repository = tmp_path / "repo"
    make_demo_repository(repository, patches=1, patch_size=300, size_model="large")
    package = tmp_path / "m.blendid"
    args = ("train", write_skies(tmp_path, skies=2, size=SIZE), "--classifier", "peaks", "--out", package)
    status, _, err = run(*args, "--validation", repository)
    assert status == 2 and "repo is a Butler repository: name its --collections" in err
    status, _, err = run(*args, "--validation", repository, "--collections", "demo")
    assert status == 0, err
    validation = ModelPackage.read(package).metadata["validation"]["scenes"]
    assert {scene["coadd"].split()[0] for scene in validation} == {"deep_coadd"}


def test_a_folder_of_simulated_coadds_is_learned_from(tmp_path: Path) -> None:
    """What 'blendid simulate --out' writes has the pixels that training by the recipe sees."""
    recipe = write_skies(tmp_path, skies=2, size=SIZE, sizes=("large",))
    args = ("--skies", 2, "--size", SIZE, "--sizes", "large")
    assert run("simulate", "--out", tmp_path / "scenes", *args)[0] == 0
    found = []
    for name, data in (("a", recipe), ("b", tmp_path / "scenes")):
        package = tmp_path / f"{name}.blendid"
        options = ("-c", "validationShare=0", "-c", "noise=variance", "-c", "nFolds=0")
        status, _, err = run("train", data, "--classifier", "peaks", "--out", package, *options)
        assert status == 0, err
        found.append(ModelPackage.read(package))
    # What is scored on the one is known to be learned from in the other.
    by_recipe, by_file = (one.metadata["training"]["scenes"] for one in found)
    assert [f"parametric-{scene['seed']}" for scene in by_recipe] == [scene["sky"] for scene in by_file]
    for key, array in found[0].arrays.items():
        np.testing.assert_array_equal(found[1].arrays[key], array)


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
            *("train", train, "--classifier", classifier, "--out", package),
            *("-c", "stampNoise=10,20", "-c", "calibration=none"),
            *("--set", "n_components=3") * (classifier == "logistic"),
        )
        assert (status, err) == (0, "")
        status, out, err = run(
            *("evaluate", test, "--out", tmp_path / f"report{k}", "--model", package, "--bootstrap", 0),
            *("-c", "stampNoise=10,20"),
        )
        assert status == 0, err
        # A third of the stamps, clean ones with two noises.
        assert f"stamps: {60 if test == clean else 20} footprints of " in out
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
    options = ("-c", "stampUnit=footprint", "-c", "calibration=none")
    status, out, err = run("train", noisy, "--classifier", "peaks", "--out", package, *options)
    assert (status, err) == (0, "")
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
        ((clean,), 1, "have no noise; give -c stampNoise=SIGMA"),
        ((tmp_path / "none",), 1, "no such file or folder"),
        ((tmp_path / "tests",), 1, "no stamps for train"),
        ((noisy, "-c", "stampNoise=0"), 2, "0"),
        ((noisy, "-c", "noise=clipped"), 2, "goes without sets of stamps"),
    ):
        got, out, err = run(*base, *args)
        assert (got, out) == (status, ""), err
        assert match in err and "unexpected" not in err
    assert not (tmp_path / "m.blendid").exists()


@pytest.mark.parametrize(
    ("text", "match"), [("{", "line 1 is not JSON"), ('{"a": 1}', "this is no recipe of skies")]
)
def test_damaged_recipes_are_not_taken_for_coadds(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "skies.json"
    path.write_text(text)
    package = tmp_path / "m.blendid"
    status, out, err = run("train", path, "--classifier", "peaks", "--out", package)
    assert (status, out) == (1, "")
    assert f"{path}: {match}" in err and err.count("\n") == 1
    assert not package.exists()
