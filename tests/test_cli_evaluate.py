# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""``blendid evaluate``."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import astropy.io.fits
import pytest
from astropy.table import Table
from click.testing import CliRunner
from lsst.meas.blendid.classifiers import PeaksClassifier
from lsst.meas.blendid.cli import main
from lsst.meas.blendid.cli._data import pair_coadds
from lsst.meas.blendid.images import read_image
from lsst.meas.blendid.model_package import ModelPackage
from lsst.meas.blendid.simulation.tracts.demo import make_demo_repository
from lsst.meas.blendid.training import SceneRecipe
from toy_skies import write_skies
from toy_stamps import toy_stamps

FILES = ["predictions.parquet", "report.html", "scores.ecsv", "scores.json"]


@pytest.fixture(autouse=True)
def _galsim() -> None:
    pytest.importorskip("galsim", reason="GalSim, which draws the galaxies, is not installed")


def run(*args: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["evaluate", *(str(arg) for arg in args)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def fails(status: int, *args: object) -> str:
    """Check that the command fails with one line and return it."""
    code, out, err = run(*args)
    assert (code, out) == (status, ""), err
    lines = err.strip().splitlines()
    # Misuse that click finds comes with the usage before.
    assert len([line for line in lines if line.startswith("Error: ")]) == 1, err
    assert "Traceback" not in err
    return lines[-1]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    """Options for two small skies with large galaxies."""
    skies = write_skies(tmp_path_factory.mktemp("skies"), skies=2, size=400, sizes=("large",))
    return (skies, "--bootstrap", 5)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Two sizes and both labels, with stars and clumpy galaxies."""
    folder = tmp_path_factory.mktemp("evaluated")
    options = ("population.starDensity=20", "population.clumpyFraction=0.5")
    skies = write_skies(
        tmp_path_factory.mktemp("skies"), skies=2, size=400, sizes=("large", "cosmodc2"), options=options
    )
    status, out, err = run(
        *(skies, "--out", folder, "--bootstrap", 5, "--both-labels", "--model", "sep"),
        *("--model", "logistic-i-1", "--model", "other=peaks-i-1", "--reference", "other"),
    )
    assert status == 0, err
    assert "Warning: logistic-i-1 was trained on another label" in err
    return folder, out


def test_writes_everything(evaluated: tuple[Path, str]) -> None:
    folder, out = evaluated
    assert sorted(path.name for path in folder.iterdir()) == FILES
    for title in ("large, S/N ≥ 5", "large, S/N ≥ 4", "cosmodc2, S/N ≥ 5", "cosmodc2, S/N ≥ 4"):
        assert f"{title}: " in out
    document = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    assert [(s["group"], s["snr_min"]) for s in document["sections"]] == [
        ("large", 5.0),
        ("large", 4.0),
        ("cosmodc2", 5.0),
        ("cosmodc2", 4.0),
    ]
    names = ["logistic-i-1", "other", "5σ peaks", "area only", "area + peak counts", "SEP deblending"]
    for section in document["sections"]:
        assert list(section["models"]) == names
        assert section["reference"] == "other"
        assert section["kinds"]["single stars"]["n"] > 0
        assert section["kinds"]["single galaxies, clumpy"]["n"] > 0
    faint, bright = (document["sections"][k]["mix"]["blended"] for k in (1, 0))
    assert faint > bright
    table = Table.read(folder / "predictions.parquet")
    assert {"p_blended_logistic-i-1", "p_blended_other", "n_stars"} <= set(table.colnames)


def test_spares_older_files(evaluated: tuple[Path, str], small: tuple[object, ...]) -> None:
    assert "--overwrite" in fails(1, "--out", evaluated[0], *small)


def test_conditions_change_the_scenes_and_out_of_range_is_said(tmp_path: Path) -> None:
    skies = write_skies(tmp_path, "narrow.json", skies=1, size=500, sizes=("large",), psf_fwhm=1.7, visits=20)
    args = ("--bootstrap", 5, "--model", "peaks-i-1", "-c", "noise=variance")
    status, _, err = run(skies, "--out", tmp_path, *args)
    assert status == 0, err
    assert "100 % of the footprints lie in images with another seeing or depth" in err
    section = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))["sections"][0]
    assert section["psf_sigma"][0] == pytest.approx(1.6 * 1.7 / 0.7, rel=0.05)
    assert section["scenes"][0]["noise"] == "variance"
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "another seeing or depth" in report
    # One piece of sky of 500 x 500 pixels is too small for errors that can be trusted.
    caution = "There is too little sky for 20 blocks of it: errors are from resamples of the"
    assert f"Warning: {caution}" in err and caution in report
    assert section["caution"].startswith(caution) and section["block_size"] is None
    table = Table.read(tmp_path / "scores.ecsv", format="ascii.ecsv")
    assert any(caution in note for note in table.meta["notes"])
    assert not table["auc_difference_certain"].any() and set(table["block_size"]) == {0}


def test_a_localizer_needs_a_classifier(tmp_path: Path, small: tuple[object, ...]) -> None:
    told = fails(2, "--out", tmp_path, *small, "--model", "centers-localizer-i-1")
    assert "name a --model of one as well" in told


def test_peaks_of_localizers_and_candidates(tmp_path: Path, small: tuple[object, ...]) -> None:
    models = ("--model", "mine=centers-localizer-i-1", "--model", "centers-i-1", "--model", "peaks-i-1")
    status, out, err = run("--out", tmp_path, *small, *models)
    assert status == 0, err
    lines = out.splitlines()
    assert sum(line.startswith("candidates of centers-i-1  ") for line in lines) == 1
    section = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))["sections"][0]
    lists = section["peaks"]["lists"]
    assert list(lists) == ["5σ peaks", "mine", "candidates of centers-i-1"]
    for name in ("mine", "candidates of centers-i-1"):
        assert lists[name]["scores"]["slope"] > 0.5
        assert lists[name]["scores"]["completeness"] > lists["5σ peaks"]["scores"]["completeness"]
    # The probabilities of a localiser agree with P(N) of a model, and it has errors of positions.
    assert abs(lists["mine"]["scores"]["sum_excess"]) < 0.02
    assert 0.4 < lists["mine"]["scores"]["ellipse"] < 0.9
    assert lists["5σ peaks"]["scores"]["purity"] == section["peaks"]["purity"]
    magnitudes = section["peaks"]["bins"]["magnitude"]["lists"]
    assert all(sum(magnitudes[name]["n_peaks"]) > 0 for name in lists)
    assert "Which galaxies are found, and where" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def coadds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with two coadds and their true galaxies."""
    folder = tmp_path_factory.mktemp("coadds")
    for name, seed, band in (("a", "1", "i"), ("b", "2", "i"), ("red", "3", "r")):
        where = folder / "red" if band == "r" else folder
        args = ("--out", str(where), "--name", name, "--size", "600", "--seed", seed, "--band", band)
        made = CliRunner().invoke(main, ["simulate", *args])
        assert made.exit_code == 0, made.stderr
    return folder


def test_coadds_with_truth(coadds: Path, tmp_path: Path) -> None:
    """A folder is the same as the files in it, also in two processes."""
    args = ("--model", "logistic-i-1", "--bootstrap", 5)
    named = (coadds / "a.fits", coadds / "b.fits")
    tables = []
    for out, which in (
        ("files", (*named, "--truth", coadds / "a.truth.parquet", "--truth", coadds / "b.truth.parquet")),
        ("folder", (coadds, "--jobs", 2)),
    ):
        status, text, err = run(*args, *which, "--out", tmp_path / out)
        assert (status, err) == (0, "")
        assert "coadds, S/N ≥ 5: " in text and "footprints of 2 scenes" in text
        tables.append((tmp_path / out / "predictions.parquet").read_bytes())
        assert tables[0] == tables[-1]
    assert set(Table.read(tmp_path / "files" / "predictions.parquet")["band"]) == {"i"}
    section = json.loads((tmp_path / "folder" / "scores.json").read_text(encoding="utf-8"))["sections"][0]
    assert section["models"]["area only"]["scores"]["auc"] > 0.7
    assert section["bins"]["magnitude"]["n_blended"]
    assert [scene["image"] for scene in section["scenes"]] == ["a.fits", "b.fits"]


def test_coadds_are_searched_as_run_does_and_what_is_assumed_is_told(coadds: Path, tmp_path: Path) -> None:
    """Noise from the variance plane where there is one; else from the pixels, without the background."""
    shutil.copy(coadds / "a.fits", tmp_path / "a.fits")
    shutil.copy(coadds / "a.truth.parquet", tmp_path / "a.truth.parquet")
    astropy.io.fits.writeto(tmp_path / "b.fits", read_image(tmp_path / "a.fits").masked_image.image.array)
    Table.read(coadds / "a.truth.parquet")["x", "y", "snr"].write(tmp_path / "b.truth.parquet")
    args = (tmp_path, "--psf-fwhm", 0.7, "--pixel-scale", 0.2, "--bootstrap", 0)
    noises = {}
    for name, more in (("as run", ()), ("clipped", ("-c", "noise=clipped"))):
        out = tmp_path / name
        status, _, err = run("--out", out, *args, "--model", "peaks-i-1", *more)
        assert status == 0, err
        assert "b.fits: no celestial WCS: ra and dec are NaN" in err
        (section,) = json.loads((out / "scores.json").read_text(encoding="utf-8"))["sections"]
        noises[name] = [(scene["noise"], scene["background"]) for scene in section["scenes"]]
    assert noises == {"as run": [("variance", False), ("clipped", True)], "clipped": [("clipped", True)] * 2}


def test_coadds_and_truths_by_pattern_and_folder(coadds: Path) -> None:
    expected = [(str(coadds / f"{name}.fits"), str(coadds / f"{name}.truth.parquet")) for name in "ab"]
    for images, tables in (
        (["[ab].fits"], ["*.truth.parquet"]),
        (["a.fits", "b.fits"], [""]),
        (["b.fits", "a.fits"], [""]),
        # By their names, not in their order.
        (["b.fits", "a.fits"], ["*.truth.parquet"]),
        (["a.fits", "b.fits"], ["a.truth.parquet", "b.truth.parquet"]),
    ):
        pairs = pair_coadds([str(coadds / one) for one in images], [str(coadds / one) for one in tables])
        assert not any(one.has_labels for one in pairs)
        found = [(one.image.path, one.table) for one in pairs]
        assert sorted(found) == expected and found[0][0].endswith(
            "b.fits" if images[0] == "b.fits" else "a.fits"
        )


def test_another_band(coadds: Path, tmp_path: Path) -> None:
    """It is refused, with the remedy; or measured, and said so."""
    args = (coadds / "red", "--model", "logistic-i-1", "--bootstrap", 5)
    assert "see how it does there with --any-band" in fails(1, "--out", tmp_path / "no", *args)
    status, _, err = run("--out", tmp_path / "out", *args, "--any-band")
    note = "logistic-i-1 is for band i and was applied to band r: its probabilities are not calibrated there."
    assert status == 0 and f"Warning: {note}" in err
    section = json.loads((tmp_path / "out" / "scores.json").read_text(encoding="utf-8"))["sections"][0]
    assert note in section["notes"]
    assert 0.5 < section["models"]["logistic-i-1"]["scores"]["auc"] < 1.0
    assert note[12:] in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert set(Table.read(tmp_path / "out" / "predictions.parquet")["band"]) == {"r"}


def test_full_disk_leaves_all_files_or_none(
    coadds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_text

    def fill(path: Path, text: str, **options: Any) -> int:
        if path.name != "report.html":
            return write(path, text, **options)
        write(path, text[:1000], **options)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    args = ("--out", tmp_path, coadds, "--model", "peaks-i-1", "--bootstrap", 0, "--overwrite")
    for name in FILES:
        (tmp_path / name).write_text("old")
    monkeypatch.setattr(Path, "write_text", fill)
    code, _, err = run(*args)
    assert code == 1 and "No space left on device" in err
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(FILES, "old")


def test_stamps(tmp_path: Path) -> None:
    toy_stamps(120, size=41).with_noise(20.0).write(tmp_path / "set")
    toy_stamps(30, size=41).write(tmp_path / "clean")
    args = (tmp_path / "set", "--model", "logistic-i-1", "--bootstrap", 0)
    status, out, err = run("--out", tmp_path / "out", *args)
    assert status == 0, err
    # The third of them that is for tests.
    assert "stamps: 40 footprints of 1 scene\n" in out
    assert "have one label" in fails(2, "--out", tmp_path / "other", *args, "--both-labels")
    line = fails(1, "--out", tmp_path / "other", tmp_path / "clean", "--model", "peaks-i-1")
    assert "give -c stampNoise=SIGMA" in line
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == FILES


def test_truth_scenes(tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLENDID_DATA", str(shared_data))
    base = {"skies": 0, "size": 400, "sizes": ("large",)}
    skies = write_skies(tmp_path, truths=(6,), **base)
    other = write_skies(tmp_path, "other.json", truths=(1, 2), **base)
    args = ("--bootstrap", 0, "--model", "peaks-i-1")
    out = tmp_path / "out"
    status, _, err = run(skies, "--out", out, "--baseline", other, *args)
    assert status == 0, err
    section = json.loads((out / "scores.json").read_text(encoding="utf-8"))["sections"][0]
    assert [scene["split"] for scene in section["scenes"]] == ["test"]
    assert section["baselines"].startswith("2 other scenes")
    # The validation sky is scored if the recipe says that it is meant, that for training never.
    line = fails(1, write_skies(tmp_path, truths=(4,), **base), "--out", tmp_path / "other", *args)
    assert "0, 6, 9" in line
    line = fails(1, skies, "--baseline", skies, "--out", tmp_path / "other", *args)
    assert "1, 2, 3, 5" in line
    training = write_skies(tmp_path, truths=(1,), split="train", **base)
    assert "is not for test" in fails(1, training, "--out", tmp_path / "other", *args)
    validation = write_skies(tmp_path, truths=(4,), split="validation", **base)
    assert run(validation, "--out", tmp_path / "validation", *args)[0] == 0


def test_several_recipes_with_sections_of_their_own(tmp_path: Path) -> None:
    """Skies that vary have one section, and no section sees skies that training sees."""
    varied = write_skies(tmp_path, "varied.json", skies=2, size=300)
    large = write_skies(tmp_path, "two.json", skies=1, size=300, sizes=("large", "1.6x"))
    args = ("--bootstrap", 0, "--model", "peaks-i-1", "--baseline", large)
    status, out, err = run(varied, large, "--out", tmp_path / "out", *args)
    assert status == 0, err
    for title in ("varied, varied, S/N ≥ 5: ", "two, large, S/N ≥ 5: ", "two, 1.6x, S/N ≥ 5: "):
        assert title in out
    sections = json.loads((tmp_path / "out" / "scores.json").read_text(encoding="utf-8"))["sections"]
    learned = {scene.seed for path in (varied, large) for scene in SceneRecipe.read(path).scenes()}
    scored = [scene["seed"] for section in sections for scene in section["scenes"]]
    assert len(set(scored)) == 4 and not learned & set(scored)


def test_coadds_of_a_butler_repository(tmp_path: Path) -> None:
    repository = tmp_path / "repo"
    make_demo_repository(repository, patches=1, patch_size=500, size_model="large")
    args = ("--out", tmp_path / "out", "--bootstrap", 0, "--model", "peaks-i-1")
    status, out, err = run(repository, "--collections", "demo", *args)
    assert status == 0, err
    assert "coadds, S/N ≥ 5: " in out
    assert "name its --collections" in fails(2, repository, *args, "--overwrite")


def test_misuse(tmp_path: Path, small: tuple[object, ...]) -> None:
    out = ("--out", tmp_path / "out")
    bare = tmp_path / "a.fits"
    assert "no such file" in fails(1, *out, bare)
    bare.write_bytes(b"")
    assert "each coadd needs its truth" in fails(2, *out, bare)
    line = fails(2, *out, bare, "--truth", "a.csv", "--truth", "b.csv")
    assert "1 coadd and 2 --truth; each coadd needs its truth" in line
    assert "none are named as DATA" in fails(2, *out, "--truth", "a.csv")
    assert "leave out one of it" in fails(2, *out, *small, "--both-labels", "-c", "snrMin=4")
    assert "blendid simulate --recipe" in fails(2, *out, "--visits", 3)
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "a.fits").write_bytes(b"")
    assert "DATA of several kinds" in fails(2, *out, *small, tmp_path / "bare")
    assert "is for training" in fails(2, *out, *small, "-c", "noise=both")
    assert "is none of peaks-i-1, 5σ peaks" in fails(
        2, *out, *small, "--model", "peaks-i-1", "--reference", "x"
    )
    assert "name of a baseline" in fails(2, *out, *small, "--model", "area only=peaks-i-1")


def test_stamps_are_no_baseline_of_scenes(tmp_path: Path, small: tuple[object, ...]) -> None:
    toy_stamps(9, size=25).with_noise(20.0).write(tmp_path / "set")
    args = ("--out", tmp_path / "out", *small, "--baseline", tmp_path / "set")
    assert "sets of stamps are no baseline of scenes" in fails(2, *args)


def test_failures(tmp_path: Path, small: tuple[object, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    out = ("--out", tmp_path / "out")
    assert "unknown model 'none'" in fails(1, *out, *small, "--model", "none")
    assert "no FITS file in this folder" in fails(2, *out, tmp_path)
    assert "two models are called" in fails(1, *out, *small, "--model", "peaks-i-1", "--model", "peaks-i-1")
    monkeypatch.setenv("BLENDID_DATA", str(tmp_path))
    truths = write_skies(tmp_path, skies=0, truths=(0,), sizes=("large",))
    assert "scene_00.fits" in fails(1, *out, truths)
    package = ModelPackage.read("peaks-i-1")
    metadata = json.loads(json.dumps(package.metadata))
    metadata["inputs"]["bands"] = ["r"]
    red = ModelPackage(package.classifier, metadata, package.arrays).write(tmp_path / "red.blendid")
    line = fails(1, *out, *small, "--model", red)
    assert "model red is for band r, and the scenes are of band i" in line


def test_a_labelled_path_may_have_an_equals_sign(tmp_path: Path, small: tuple[object, ...]) -> None:
    (tmp_path / "run=1").mkdir()
    path = ModelPackage.read("peaks-i-1").write(tmp_path / "run=1" / "own.blendid")
    status, out, err = run("--out", tmp_path / "out", *small, "--model", f"mine={path}")
    assert status == 0, err
    assert "mine" in out and "own" not in out


def test_package_that_is_not_installed(
    tmp_path: Path, small: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def predict(*_args: object) -> None:
        raise ImportError("needs Keras, which is not installed")

    monkeypatch.setattr(PeaksClassifier, "predict", predict)
    args = ("--out", tmp_path, *small)
    line = fails(1, *args, "--model", "peaks-i-1")
    assert "model peaks-i-1: needs Keras, which is not installed" in line
    shipped = ("logistic-i-1", "peaks-i-1")
    monkeypatch.setattr(
        "lsst.meas.blendid.model_package.list_shipped",
        lambda kind=None, current=False: () if kind == "localizer" else shipped,
    )
    status, out, err = run(*args)
    assert status == 0, err
    assert "Warning: model peaks-i-1 was left out: needs Keras" in err
    assert "logistic-i-1" in out
    assert "peaks-i-1" not in out


def test_no_footprint_and_one_kind(tmp_path: Path) -> None:
    out = ("--out", tmp_path / "out", "--model", "peaks-i-1")
    skies = write_skies(tmp_path, skies=1, size=200, sizes=("large",))
    line = fails(1, skies, *out, "-c", "footprints.thresholdValue=100000")
    assert "no footprint was found in large" in line
    line = fails(1, write_skies(tmp_path, skies=1, size=40, sizes=("large",), seed=3000), *out)
    assert "are unblended; take more scenes" in line
