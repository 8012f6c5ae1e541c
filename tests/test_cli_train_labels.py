# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""``blendid train`` on a plain image with the tables of truths and labels that users have at first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from click.testing import CliRunner
from lsst.meas.blendid.cli import main
from lsst.meas.blendid.model_package import ModelPackage

SIGMA = 1.9
"""Of the PSF, pixels."""


def run(*args: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of 64 stars, a third of them with another, without unit, WCS or variance."""
    folder = tmp_path_factory.mktemp("plain")
    rng, size, rows = np.random.default_rng(20), 512, []
    image = rng.normal(0.0, 1.0, (size, size))
    y, x = np.mgrid[:size, :size]
    for x0 in range(40, 480, 60):
        for y0 in range(40, 480, 60):
            a, b = x0 + rng.uniform(-5, 5), y0 + rng.uniform(-5, 5)
            rows.append((a, b, rng.uniform(8, 60)))
            if rng.uniform() < 0.35:
                rows.append((a + rng.uniform(-6, 6), b + rng.uniform(-6, 6), rng.uniform(5, 40)))
    for a, b, flux in rows:
        image += flux * np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * SIGMA**2))
    fits.PrimaryHDU(image.astype("f4")).writeto(folder / "c.fits")
    truth = Table(rows=rows, names=("x", "y", "snr"))
    truth["snr"] *= 2.0 * np.sqrt(np.pi) * SIGMA
    truth.write(folder / "c.truth.ecsv")
    return folder


def train(folder: Path, package: Path, *args: object) -> tuple[int, str, str]:
    seeing = ("--psf-fwhm", 2.3548 * SIGMA, "--pixel-scale", 1, folder / "c.fits")
    return run("train", "--out", package, *seeing, *args)


@pytest.fixture(scope="module")
def model(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    package = tmp_path_factory.mktemp("model") / "first.blendid"
    status, out, err = train(
        folder, package, "--classifier", "peaks", "--truth", folder / "c.truth.ecsv", "-c", "nFolds=3"
    )
    assert status == 0, err
    assert "(cross-validated: 3 folds of pieces of sky)" in out
    return package


def test_the_default_classifier_is_trained_with_default_settings(folder: Path, tmp_path: Path) -> None:
    """And the model holds for the image, in which 'run' measures the noise and the background."""
    package = tmp_path / "m.blendid"
    status, out, err = train(folder, package, "--classifier", "features", "--truth", folder / "c.truth.ecsv")
    assert status == 0, err
    assert "validation: " in out and ", AUC " in out
    args = ("--psf-fwhm", 2.3548 * SIGMA, "--pixel-scale", 1, "--model", package)
    status, out, err = run("run", folder / "c.fits", "--out", tmp_path, "--classifier", "features", *args)
    assert status == 0
    assert "trained on other footprints" not in err and "outside the range" not in err
    blend = Table.read(tmp_path / "c.blend.parquet")
    assert len(blend) > 50 and not np.any(blend["flag_outside_model_range"])


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [
        ("snr", np.nan, "column snr is not a number in row 3 (from 0)"),
        ("x", np.nan, "column x is not a finite number in row 3 (from 0)"),
        ("y", np.inf, "column y is not a finite number in row 3 (from 0)"),
        ("snr", None, "column snr is not a number in row 3 (from 0)"),
    ],
)
def test_rows_without_numbers_are_named(
    folder: Path, tmp_path: Path, column: str, value: float | None, text: str
) -> None:
    truth = Table.read(folder / "c.truth.ecsv")
    if value is None:
        mask = np.arange(len(truth)) == 3
        truth[column] = MaskedColumn(truth[column], mask=mask)
    else:
        truth[column][3] = value
    truth.write(tmp_path / "bad.ecsv")
    package = tmp_path / "m.blendid"
    status, out, err = train(folder, package, "--classifier", "peaks", "--truth", tmp_path / "bad.ecsv")
    assert (status, out) == (1, "")
    assert err == f"Error: {tmp_path / 'bad.ecsv'}: {text}; give these rows their values, or leave them out\n"
    assert not package.exists()
    # The same in what is evaluated.
    args = (folder / "c.fits", "--psf-fwhm", 2.3548 * SIGMA, "--pixel-scale", 1)
    args += ("--truth", tmp_path / "bad.ecsv", "--model", "peaks-i-1")
    status, out, err = run("evaluate", "--out", tmp_path / "report", *args)
    assert (status, out) == (1, "")
    assert text in err


def test_labels_as_users_have_them_first(folder: Path, model: Path, tmp_path: Path) -> None:
    """Each has one line that says what is wrong."""
    truth = Table.read(folder / "c.truth.ecsv")
    ones = Table({"x": truth["x"], "y": truth["y"], "n_galaxies": np.ones(len(truth), int)})
    beside, sextractor, lost = ones.copy(), ones.copy(), ones.copy()
    beside["x"] += 30
    beside["y"] += 30
    sextractor.rename_columns(["x", "y"], ["X_IMAGE", "Y_IMAGE"])
    lost["x"] = lost["x"].astype(float)
    lost["x"][5] = np.nan
    for name, table, match in (
        ("ones", ones, "0 of 6"),
        ("two", ones[:2], "without label were left out), and both kinds are needed"),
        ("beside", beside, "can be used: labels of "),
        ("sextractor", sextractor, "lacks x, y; it has X_IMAGE, Y_IMAGE, n_galaxies"),
        ("lost", lost, "column x is not a finite number in row 5 (from 0)"),
        ("none", ones[:0], "all 0 labels are missing"),
    ):
        table.write(tmp_path / f"{name}.ecsv")
        args = ("--from", model, "--labels", tmp_path / f"{name}.ecsv")
        status, out, err = train(folder, tmp_path / "m.blendid", *args)
        assert (status, out) == (1, ""), name
        assert match in err and err.count("\n") == 1 and "unexpected" not in err, err
    truth[:0].write(tmp_path / "empty.ecsv")
    args = ("--classifier", "logistic", "--truth", tmp_path / "empty.ecsv")
    status, out, err = train(folder, tmp_path / "m.blendid", *args)
    assert (status, out) == (1, "")
    assert "footprints to learn from are blended" in err and err.count("\n") == 1


def test_lost_labels_and_a_worse_model_are_told(folder: Path, model: Path, tmp_path: Path) -> None:
    truth = Table.read(folder / "c.truth.ecsv")
    # What was one galaxy is said to be two and the other way round at random.
    numbers = np.random.default_rng(1).permutation(np.where(np.arange(len(truth)) % 3 == 0, 2.0, 1.0))
    labels = Table({"x": truth["x"], "y": truth["y"], "n_galaxies": numbers})
    labels["n_galaxies"][:2] = np.nan
    labels["x"][4] = 5000.0
    labels["x"][7], labels["y"][7] = 1.0, 1.0
    labels.write(tmp_path / "labels.ecsv")
    package = tmp_path / "m.blendid"
    status, out, err = train(folder, package, "--from", model, "--labels", tmp_path / "labels.ecsv")
    assert status == 0, err
    assert f" of {len(labels)} labels are used; 2 without a number: rows 0, 1 (from 0); " in err
    assert "1 outside of the image: row 4 (from 0); 1 in no footprint: row 7 (from 0)" in err
    assert "first on the same footprints: balanced accuracy " in out
    validation = ModelPackage.read(package).metadata["validation"]
    now, then = (v["scores"]["cross_entropy"] for v in (validation, validation["start"]))
    warned = (
        f"Warning: the new model is worse than first here (cross-entropy {now:.4f}, was {then:.4f})" in err
    )
    assert warned == (now > then)
    # Labels that say the opposite of what the model has learned: going on is better.
    for name, flip in (("right", False), ("opposite", True)):
        one = Table({"x": truth["x"], "y": truth["y"], "n_galaxies": np.ones(len(truth))})
        distance = np.hypot(*(np.asarray(truth[k])[:, None] - np.asarray(truth[k]) for k in ("x", "y")))
        pairs = np.count_nonzero(distance < 12.0, axis=1) > 1
        one["n_galaxies"] = np.where(pairs != flip, 2, 1)
        one.write(tmp_path / f"{name}.ecsv")
        args = ("--from", model, "--labels", tmp_path / f"{name}.ecsv", "--overwrite")
        status, out, err = train(folder, package, *args)
        assert status == 0
        if flip:
            assert "Warning" not in err
