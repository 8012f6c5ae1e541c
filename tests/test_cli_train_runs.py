# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""``blendid train``: sources of scenes, going on from a model, checkpoints and logs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from click.testing import CliRunner
from lsst.meas.blendid.classifiers import (
    BlendClassifierConfig,
    FitOptions,
    LabelledSamples,
    PeaksClassifier,
    classifier_registry,
)
from lsst.meas.blendid.classifiers.peaks import CountTableSettings
from lsst.meas.blendid.cli import main
from lsst.meas.blendid.footprints import detect
from lsst.meas.blendid.images import read_image
from lsst.meas.blendid.images.psf import summarize_psf
from lsst.meas.blendid.model_package import ModelPackage
from lsst.meas.blendid.model_settings import setting
from lsst.meas.blendid.simulation.tracts.demo import make_demo_repository
from lsst.meas.blendid.training import clipped_footprints
from toy_skies import write_skies

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
    """A small simulated coadd, with its truth and with labels of its footprints beside it."""
    folder = tmp_path_factory.mktemp("scene")
    status, _, err = run("simulate", "--out", folder, "--name", "small", "--size", 400, "--sizes", "large")
    assert (status, err) == (0, "")
    path = folder / "small.fits"
    read = read_image(path)
    image = read.masked_image
    found = detect(image, psf=summarize_psf(read.psf, image.bbox), config=clipped_footprints())
    truth = Table.read(folder / "small.truth.parquet")
    peaks = found.footprints.peaks[found.footprints.peak_start[:-1]]
    x, y = (np.rint(np.asarray(truth[k])).astype(int) for k in ("x", "y"))
    inside = (np.asarray(truth["snr"]) >= 5.0) & (x >= 0) & (x < 400) & (y >= 0) & (y < 400)
    numbers = np.bincount(found.footprints.labels[y[inside], x[inside]], minlength=len(found.footprints) + 1)
    labels = Table({"x": peaks["f_x"], "y": peaks["f_y"], "n_galaxies": numbers[1:].astype(float)})
    labels["n_galaxies"][::3] = np.nan
    labels.write(folder / "labels.ecsv")
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of skies that differ in galaxies, seeing and depth."""
    path = tmp_path_factory.mktemp("model") / "small.blendid"
    skies = write_skies(path.parent, skies=5, size=360)
    options = ("--set", "n_components=4")
    status, out, err = run("train", skies, "--classifier", "logistic", "--out", path, *options)
    assert (status, err) == (0, "")
    assert out.startswith(f"{path}: trained on ") and "cross-fitted" in out
    return path


def test_the_package_tells_all(model: Path) -> None:
    package = ModelPackage.read(model)
    training = package.metadata["training"]
    skies = {"kind": "blendid-scene-recipe", "format": 1, "vary": True, "size": 360}
    assert training["recipe"] == {
        "kind": "simulated",
        "recipes": [skies | {"skies": 5, "seed": 1}],
        "validation": [skies | {"skies": 1, "seed": 1_000_001}],
    }
    assert training["options"] == {
        "--classifier": "logistic",
        "DATA": ["skies.json"],
        "--set": ["n_components=4"],
        "--seed": 1,
    }
    # Clipped and variance noise are dealt out so that both get scenes of each kind.
    assert [s["noise"] for s in training["scenes"]] == ["clipped"] * 2 + ["variance"] * 2 + ["clipped"]
    assert all("settings" not in s for s in training["scenes"])
    assert len(package.inputs["footprint_variants"]) == 2
    # Few scenes are of another depth, and fewer of another seeing.
    low, high = package.inputs["depth"]
    assert high > low + 0.5
    assert set(training["seconds"]) == {"scenes", "fit"}
    assert package.metadata["calibration"]["method"] == "beta"
    assert package.metadata["validation"]["estimate"].startswith("cross-fitted")
    assert {"numpy", "scipy", "scikit-learn", "numba"} < set(package.metadata["versions"])


def test_models_show_summarises_scenes(model: Path) -> None:
    status, out, _ = run("models", "show", model)
    assert status == 0
    assert "  scenes: 5\n" in out
    assert "    noise: 3 × clipped, 2 × variance\n" in out
    assert len(out.splitlines()) < 120
    assert max(map(len, out.splitlines())) < 200


@pytest.mark.parametrize(("noise", "warned"), [("clipped", True), ("variance", False), ("both", False)])
def test_a_model_of_another_noise_is_flagged(scene: Path, tmp_path: Path, noise: str, warned: bool) -> None:
    """The coadd has a variance plane, which 'run' takes the noise from."""
    package = tmp_path / "m.blendid"
    # Of "both" a single coadd is taken with each.
    args = ("train", scene, "--classifier", "peaks", "--out", package, "-c", f"noise={noise}")
    assert run(*args)[0] == 0
    status, _, err = run("run", scene, "--out", tmp_path, *PEAKS, "--model", package)
    assert status == 0
    assert (
        "on other footprints (trained with doSubtractBackground=True, noiseSource='clipped', now" in err
    ) == warned
    blend = Table.read(tmp_path / "small.blend.parquet")
    assert np.asarray(blend["flag_outside_model_range"]).all() == warned


def test_train_from_a_butler_repository(tmp_path: Path) -> None:
    repository = tmp_path / "repo"
    make_demo_repository(repository, patches=2, patch_size=300, overlap=20, size_model="large")
    package = tmp_path / "m.blendid"
    base = (
        "train",
        "--classifier",
        "peaks",
        "--out",
        package,
        repository,
        "--collections",
        "demo",
    )
    status, out, err = run(*base, "--where", "patch = 1")
    assert status == 0, err
    training = ModelPackage.read(package).metadata["training"]
    assert [s["coadd"].split()[0] for s in training["scenes"]] == ["deep_coadd"]
    assert training["recipe"]["collections"] == "demo" and training["recipe"]["repository"] == "repo"
    for args, match in (
        (("--where", "patch = 7"), "has no deep_coadd in demo where patch = 7"),
        (("-c", "coaddDataset=other"), "no dataset type 'other'"),
        (("-c", "truthDataset=deep_coadd_sim_catalog"), "have no deep_coadd_sim_catalog"),
        (("--collections", "none"), "none"),
        (("--where", "nonsense ="), "nonsense"),
    ):
        status, out, err = run(*base, "--overwrite", *args)
        assert (status, out) == (1, ""), err
        assert match in err and "unexpected" not in err and err.count("\n") == 1


def test_like_a_coadd(scene: Path, tmp_path: Path) -> None:
    package = tmp_path / "like.blendid"
    args = ("train", "--classifier", "peaks", "--out", package, "--like", scene)
    status, _, err = run(*args, write_skies(tmp_path, skies=3, size=300))
    assert status == 0
    assert f"{scene}: band i, seeing 0.70" in err and "from the variance plane" in err
    model = ModelPackage.read(package)
    recipe = model.metadata["training"]["recipe"]
    assert recipe["kind"] == "like" and recipe["coadd"]["name"] == "small.fits"
    assert recipe["coadd"]["fwhm"] == pytest.approx(0.7, abs=0.003)
    assert {s["noise"] for s in model.metadata["training"]["scenes"]} == {"variance"}
    assert model.inputs["psf_sigma"][1] < 1.07 * model.inputs["psf_sigma"][0]
    # So the coadd is in its range.
    status, _, err = run("run", scene, "--out", tmp_path, *PEAKS, "--model", package)
    assert (status, err) == (0, "")


def test_go_on_with_some_labels(scene: Path, model: Path, tmp_path: Path) -> None:
    package = tmp_path / "further.blendid"
    labels = scene.with_name("labels.ecsv")
    args = ("train", "--from", model, "--out", package, scene, "--labels", labels)
    status, out, err = run(*args, "-c", "noise=clipped")
    assert status == 0
    table = Table.read(labels)
    known = int(np.isfinite(table["n_galaxies"]).sum())
    assert f"{len(table) - known} footprints without label were left out; {known} have one" in err
    assert "towards the model" in err
    new, old = ModelPackage.read(package), ModelPackage.read(model)
    assert new.settings == old.settings and new.metadata["training"]["start"] == "small"
    assert new.metadata["training"]["n_footprints"] == known
    assert new.metadata["training"]["n_unlabelled"] == len(table) - known
    assert new.metadata["training"]["label"] == "given numbers of galaxies"
    np.testing.assert_array_equal(new.arrays["components"], old.arrays["components"])
    assert not np.array_equal(new.arrays["coefficients"], old.arrays["coefficients"])
    assert new.metadata["prior"]["blended"] != old.metadata["prior"]["blended"]


def test_labels_and_starts_that_cannot_be_used(scene: Path, model: Path, tmp_path: Path) -> None:
    labels = Table.read(scene.with_name("labels.ecsv"))
    empty, one, far, text = (labels.copy() for _ in range(4))
    empty["n_galaxies"] = -1.0
    one["n_galaxies"] = np.where(np.isfinite(labels["n_galaxies"]), 1.0, np.nan)
    far["x"] += 10_000
    text.replace_column("n_galaxies", ["two"] * len(text))
    package = tmp_path / "m.blendid"
    for k, (table, match) in enumerate(
        (
            (empty, f"all {len(labels)} labels are missing"),
            (one, "and both kinds are needed"),
            (far, "has a label that can be used: labels of"),
            (text, "must be numbers of galaxies"),
            (labels[["x", "y"]], "lacks n_galaxies"),
        )
    ):
        file = tmp_path / f"{k}.ecsv"
        table.write(file)
        args = ("train", "--from", model, "--out", package, scene, "--labels", file)
        status, out, err = run(*args)
        assert (status, out) == (1, ""), err
        assert match in err.splitlines()[-1] and "unexpected" not in err
    good = (scene, "--labels", scene.with_name("labels.ecsv"))
    newer = ModelPackage.read(model)
    newer.metadata["inputs"]["version"] = 99
    newer.write(tmp_path / "newer.blendid")
    red = ModelPackage.read(model)
    red.metadata["inputs"]["bands"] = ["r"]
    red.write(tmp_path / "red.blendid")
    for args, match in (
        (("--from", tmp_path / "newer.blendid", *good), "was trained on version 99 of the inputs"),
        (("--from", tmp_path / "red.blendid", *good), "is a model for band r, the labels are of band i"),
        (
            ("--from", model, *good, "--config-option", "footprints.thresholdValue=7"),
            "was trained on other footprints (thresholdValue: trained with 5.0, now 7.0)",
        ),
        (("--from", model, *good, "--set", "n_components=5"), "n_components: other settings than"),
    ):
        status, out, err = run("train", "--out", package, *args)
        assert (status, out) == (1, ""), err
        assert match in err and "unexpected" not in err
    # What the model alone tells is told before any scene is read.
    lost = (tmp_path / "no.fits", "--labels", tmp_path / "no.ecsv")
    status, out, err = run("train", "--out", package, "--from", tmp_path / "newer.blendid", *lost)
    assert (status, out) == (1, "")
    assert "was trained on version 99 of the inputs" in err and err.count("\n") == 1
    assert not package.exists()


def test_missing_libraries_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any scene is simulated."""
    for name, library, extra in (("sep", "sep", "baselines"), ("muygps", "MuyGPyS", "muygps")):
        monkeypatch.setitem(sys.modules, library, None)
        status, out, err = run("train", "--classifier", name, "--out", tmp_path / "m.blendid")
        assert (status, out) == (1, "")
        assert f"pip install 'lsst-meas-blendid[{extra}]'" in err and err.count("\n") == 1
        assert "unexpected" not in err
    assert names(tmp_path) == []


@pytest.mark.parametrize("hidden", ["keras", "tensorflow"])
def test_networks_are_not_trained_without_keras(hidden: str, tmp_path: Path) -> None:
    """Before any scene is simulated."""
    program = (
        "import sys\n"
        "class Hidden:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] == {hidden!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Hidden())\n"
        "from lsst.meas.blendid.cli import main\n"
        f"main(['train', '--classifier', 'centers', '--out', {str(tmp_path / 'm.blendid')!r}])\n"
    )
    mine = {k: v for k, v in os.environ.items() if not k.startswith(("TF_", "KERAS_"))}
    done = subprocess.run([sys.executable, "-c", program], env=mine, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: neural networks need Keras, which is not installed: ") or (
        hidden == "tensorflow" and "whose backend 'tensorflow' cannot be imported" in done.stderr
    )
    assert done.stderr.endswith("pip install 'lsst-meas-blendid[tensorflow]'\n")
    assert done.stderr.count("\n") == 1 and names(tmp_path) == []


def test_the_library_of_muygps_is_needed_only_to_optimise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "MuyGPyS", None)
    cls = classifier_registry["muygps"]
    untrained = cls(settings=cls.SettingsClass())
    with pytest.raises(ImportError, match="MuyGPyS"):
        untrained.check_fit()
    untrained.check_fit(goes_on=True)
    cls(settings=cls.SettingsClass(optimize_kernel=False)).check_fit()


def test_each_classifier_says_itself_what_a_fit_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings of one name mean different things in different classifiers, and in those of plugins."""

    @dataclass(frozen=True, kw_only=True)
    class Settings(CountTableSettings):
        members: int = setting(3, "Nothing that an ensemble has.")

    class Needy(PeaksClassifier):
        SettingsClass = Settings
        name = "needy"

        def check_fit(self, *, goes_on: bool = False) -> None:
            raise ValueError("needy has no magic wand: give it one")

    monkeypatch.setitem(classifier_registry._dict, "needy", Needy)
    status, out, err = run("train", "--classifier", "needy", "--out", tmp_path / "m.blendid")
    assert (status, out, err) == (2, "", "Error: needy has no magic wand: give it one\n")


def test_an_ensemble_needs_a_model_of_each_member(model: Path, tmp_path: Path) -> None:
    args = ("train", "--classifier", "ensemble", "--out", tmp_path / "m.blendid")
    status, out, err = run(*args)
    assert (status, out) == (2, "")
    assert "has none of 'centers', 'features'" in err and "member_packages=" in err and err.count("\n") == 1
    members = ("--set", "members=peaks,logistic", "--set", f"member_packages={model}")
    status, out, err = run(*args, *members)
    assert (status, out) == (2, "")
    assert "has none of 'peaks': " in err
    status, out, err = run(*args, *members[2:])
    assert (status, out) == (1, "")
    assert "is a model of classifier 'logistic', which is none of the members centers, features" in err
    assert names(tmp_path) == []


class _SlowClassifier(PeaksClassifier):
    """Stands for one that learns in steps: reports, keeps checkpoints, and can be told when to stop."""

    name = "slow"
    stop_at = 99

    def _fit(self, train: LabelledSamples, validation: LabelledSamples | None, options: FitOptions) -> None:
        assert options.folder is not None and validation is not None
        file = options.folder / "step"
        done = int(file.read_text()) if file.exists() else 0
        for step in range(done + 1, 5):
            if step == self.stop_at:
                raise KeyboardInterrupt
            file.write_text(str(step))
            options.say(f"epoch {step}")
            self.history.setdefault("loss", []).append(1.0 / step)
            self.history.setdefault("validation_loss", []).append(1.0 / step + 0.1)
        super()._fit(train, validation, options)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> type[_SlowClassifier]:
    monkeypatch.setitem(classifier_registry._dict, "slow", _SlowClassifier)
    assert issubclass(_SlowClassifier.ConfigClass, BlendClassifierConfig)
    return _SlowClassifier


def test_an_interrupted_training_goes_on(
    slow: type[_SlowClassifier], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    package, work = tmp_path / "m.blendid", tmp_path / "work"
    args = ("train", "--classifier", "slow", "--out", package)
    args += (write_skies(tmp_path, skies=2, size=300), "--checkpoints", work)
    monkeypatch.setattr(slow, "stop_at", 3)
    status, out, err = run(*args)
    assert (status, out) == (130, "")
    lines = err.splitlines()
    assert lines[:2] == ["epoch 1", "epoch 2"]
    assert f"Checkpoints are in {work}; repeat the command" in lines[2]
    assert (work / "step").read_text() == "2" and not package.exists()
    monkeypatch.setattr(slow, "stop_at", 99)
    # Another command does not take what is not its own.
    status, _, err = run(*args, "--seed", 2)
    assert status == 1
    assert "are of a command with another --seed" in err
    status, out, err = run(*args)
    assert status == 0
    assert err.splitlines()[0].startswith("going on from the checkpoints")
    assert "epoch 3" in err and "epoch 2" not in err
    training = ModelPackage.read(package).metadata["training"]
    assert training["history"] == {"loss": [0.333333, 0.25], "validation_loss": [0.433333, 0.35]}
    assert names(work) == ["m.log.jsonl", "m.loss.png", "run.json", "step"]
    records = [json.loads(line) for line in (work / "m.log.jsonl").read_text().splitlines()]
    assert [r["event"] for r in records].count("start") == 2
    assert records[-1]["event"] == "end" and records[-1]["training"]["history"] == training["history"]


@pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")
def test_ctrl_c_ends_with_130(tmp_path: Path) -> None:
    """A real process, interrupted while it simulates."""
    script = Path(__file__).resolve().parents[1] / "bin" / "blendid"
    work = tmp_path / "work"
    args = [
        sys.executable,
        "-c",
        # Where the tests themselves run with Ctrl-C ignored.
        "import runpy, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')",
        str(script),
        "train",
        "--classifier",
        "peaks",
        "--out",
        str(tmp_path / "m.blendid"),
    ]
    args += ["--checkpoints", str(work), str(write_skies(tmp_path, skies=50))]

    process = subprocess.Popen(args, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    for _ in range(600):
        if (work / "run.json").exists() or process.poll() is not None:
            break
        time.sleep(0.1)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert out == ""
    assert "Checkpoints are in" in err and "Interrupted" in err and "Traceback" not in err
    assert names(tmp_path) == ["skies.json", "work"]


def test_the_text_log_alone_without_curves(scene: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    args = ("train", scene, "--classifier", "peaks", "--out", tmp_path / "m.blendid", "--checkpoints", work)
    assert run(*args)[0] == 0
    assert names(work) == ["m.log.jsonl", "run.json"]


def test_galaxies_down_to_another_snr(scene: Path, tmp_path: Path) -> None:
    shares = []
    for limit in (3, 8):
        package = tmp_path / f"{limit}.blendid"
        args = ("train", scene, "--classifier", "peaks", "--out", package, "-c", f"snrMin={limit}")
        assert run(*args)[0] == 0
        training = ModelPackage.read(package).metadata["training"]
        assert f"S/N >= {limit} " in training["label"]
        shares.append(training["mix"]["blended"])
    assert shares[0] > shares[1]


def test_a_model_that_learned_nothing_is_told(scene: Path, tmp_path: Path) -> None:
    """Trees that need more footprints than there are have no branch, and give all of them one value."""
    options = (scene, "--set", "trees.min_samples=10000", "--set", "trees.n_trees=5")
    status, out, err = run("train", "--classifier", "features", "--out", tmp_path / "a.blendid", *options)
    assert status == 0
    assert "cross-entropy 0.69" in out or "cross-entropy 0.7" in out
    assert (
        "Warning: the model is of no use here: p = 0.5 for all footprints has a cross-entropy of 0.6931"
        in err
    )


def test_folders_patterns_and_several_processes(scene: Path, tmp_path: Path) -> None:
    """The tables of true galaxies are found by the names of coadds, and other processes change nothing."""
    folder = tmp_path / "scenes"
    folder.mkdir()
    truth = Table.read(scene.with_name("small.truth.parquet"))["x", "y", "snr"]
    truth.meta.clear()
    inputs = []
    for k in range(3):
        shutil.copy(scene, folder / f"s{k}.fits")
        # Another limit for each, so that a wrong table would show.
        truth[np.asarray(truth["snr"]) > 5.0 * k].write(folder / f"s{k}.truth.fits")
        inputs += [folder / f"s{k}.fits", "--truth", folder / f"s{k}.truth.fits"]
    tables = tmp_path / "tables"
    shutil.copytree(folder, tables)
    base = ("train", "--classifier", "logistic", "--set", "n_components=4", "-c", "nFolds=0")
    ways = {
        "listed": inputs,
        "folder": [folder],
        "pattern": [f"{folder}/s?.fits", "--truth", f"{folder}/*.truth.fits"],
        "apart": [f"{folder}/s?.fits", "--truth", tables, "-j", 2],
    }
    packages = {}
    for name, args in ways.items():
        status, _, err = run(*base, "--out", tmp_path / f"{name}.blendid", *args)
        assert status == 0, err
        packages[name] = ModelPackage.read(tmp_path / f"{name}.blendid")
    for name, package in packages.items():
        training, expected = (p.metadata["training"] for p in (package, packages["listed"]))
        assert training["scenes"] == expected["scenes"], name
        for key, array in packages["listed"].arrays.items():
            np.testing.assert_array_equal(package.arrays[key], array)
    (folder / "s1.truth.fits").unlink()
    shutil.copy(folder / "s0.truth.fits", tables / "s0.fits")
    for args, match in (
        ((folder,), "s1.fits: there is no table s1.truth.parquet"),
        (
            (folder, "--truth", folder / "s0.truth.fits"),
            "3 coadds and 1 --truth; each coadd needs",
        ),
        (("--truth", folder), "--truth and --labels go with coadds, and none are named as DATA"),
        ((tmp_path / "tables" / "*.truth.fits",), "there are tables, but no coadd"),
    ):
        status, out, err = run(*base, "--out", tmp_path / "m.blendid", *args)
        assert (status, out) == (2, ""), args
        assert match in err and err.count("\n") == 1, err


def test_held_out_coadds(scene: Path, tmp_path: Path) -> None:
    """Of five given coadds one is kept for the scores."""
    args = []
    for k in range(5):
        copy = tmp_path / f"{k}.fits"
        shutil.copy(scene, copy)
        # Without its metadata nothing tells that the truth is of one sky.
        truth = Table.read(scene.with_name("small.truth.parquet"))["x", "y", "snr"]
        truth.meta.clear()
        truth.write(tmp_path / f"{k}.truth.ecsv")
        args.append(copy)
    package = tmp_path / "m.blendid"
    status, out, err = run("train", "--classifier", "peaks", "--out", package, *args)
    assert (status, err) == (0, "")
    metadata = ModelPackage.read(package).metadata
    # The noise is that of the variance plane, which 'run' takes for them.
    for part in ("training", "validation"):
        assert {s["noise"] for s in metadata[part]["scenes"]} == {"variance"}
    used = [s["image"] for s in metadata["training"]["scenes"]]
    held = [s["image"] for s in metadata["validation"]["scenes"]]
    assert held == ["2.fits"] and used == ["0.fits", "1.fits", "3.fits", "4.fits"]
    assert "validation: " in out
