# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""``blendid run`` on images of bands with and without a model."""

from __future__ import annotations

from pathlib import Path

import astropy.io.fits
import numpy as np
import pytest
from astropy.table import Table
from click.testing import CliRunner
from lsst.meas.blendid import ModelPackage
from lsst.meas.blendid.cli import main
from test_cli_run import OPTIONS, make_pixels, run


@pytest.fixture(scope="module")
def coadd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small coadd in r."""
    folder = tmp_path_factory.mktemp("coadd")
    options = ("--out", str(folder), "--size", "128", "--bands", "r", "--name", "sky", "--seed", "3")
    assert CliRunner().invoke(main, ["simulate", *options]).exit_code == 0
    return folder / "sky.fits"


def _model_of_r(folder: Path, classifier: str) -> str:
    package = ModelPackage.read(f"{classifier}-i-1")
    package.metadata["name"] = f"{classifier}-r"
    package.metadata["inputs"]["bands"] = ["r"]
    return str(package.write(folder / f"{classifier}-r.blendid"))


def _blend(folder: Path) -> Table:
    return Table.read(folder / "sky.blend.parquet")


def test_a_named_model_runs_beside_the_usual_classifiers(coadd: Path, tmp_path: Path) -> None:
    status, text, err = run(coadd, "--out", tmp_path, "--model", _model_of_r(tmp_path, "features"))
    assert status == 0 and "footprints" in text
    assert "Error" not in err
    # Counting peaks needs no band; the mixture and the localiser have no model of this one.
    assert err.count("left out") == 1 and err.count("localizer") == 1
    assert f"{coadd}: classifier 'ensemble' has no model for band r; it is left out\n" in err
    assert f"Warning: {coadd}: The localizer 'centers' has no model for band r: peaks have no prob" in err
    blend = _blend(tmp_path)
    assert np.array_equal(blend["p_blended"], blend["p_blended_features"])
    assert np.isfinite(blend["p_blended_peaks"]).all() and not blend["flag_other_band"].any()
    assert "p_blended_ensemble" not in blend.colnames and blend["flag_no_localizer"].all()


def test_a_usual_classifier_never_fails_a_named_model(coadd: Path, tmp_path: Path) -> None:
    status, _, err = run(coadd, "--out", tmp_path, "--model", _model_of_r(tmp_path, "peaks"))
    assert status == 0
    blend = _blend(tmp_path)
    assert f"{coadd}: classifier 'ensemble' has no model for band r; it is left out\n" in err
    assert "p_blended_ensemble" not in blend.colnames
    # For any band.
    assert np.isfinite(blend["p_blended_features"]).any()
    assert np.array_equal(blend["p_blended"], blend["p_blended_peaks"])


@pytest.mark.parametrize(
    ("named", "name"),
    [
        ((), "ensemble"),
        (("--classifier", "centers"), "centers"),
        (("--model", "features-i-1"), "features"),
        (("--model", "ensemble-i-1"), "ensemble"),
    ],
)
def test_a_band_without_a_model_is_one_line(
    coadd: Path, tmp_path: Path, named: tuple[str, ...], name: str
) -> None:
    status, text, err = run(coadd, "--out", tmp_path, *named)
    assert (status, text) == (1, "")
    assert err.endswith(
        f"Error: {coadd}: classifier '{name}' has no model for band r ({name}-i-1 is for i); "
        "name one with --model, run others with --classifier, or use --any-band\n"
    )
    assert not list(tmp_path.iterdir())


def test_classifier_that_needs_no_band(coadd: Path, tmp_path: Path) -> None:
    assert run(coadd, "--out", tmp_path, "--classifier", "peaks")[0] == 0
    assert not _blend(tmp_path)["flag_other_band"].any()


def test_any_band(coadd: Path, tmp_path: Path) -> None:
    status, _, err = run(coadd, "--out", tmp_path, "--any-band")
    assert status == 0 and "assumed" not in err
    blend = _blend(tmp_path)
    assert (
        len(blend) > 5 and blend["flag_other_band"].all() and np.isfinite(blend["p_blended_features"]).any()
    )


def test_a_band_that_is_not_known_is_assumed(tmp_path: Path) -> None:
    image = tmp_path / "sky.fits"
    astropy.io.fits.writeto(image, make_pixels())
    status, _, err = run(image, "--out", tmp_path, *OPTIONS)
    assert status == 0
    assert f"{image}: the band is not known (no FILTER or BAND card); that of the models is assumed\n" in err
    assert not _blend(tmp_path)["flag_other_band"].any()


def test_a_plain_image_in_another_band(tmp_path: Path) -> None:
    """The same as for a coadd of that band."""
    header = astropy.io.fits.Header({"FILTER": "r"})
    astropy.io.fits.writeto(tmp_path / "sky.fits", make_pixels(), header)
    status, _, err = run(tmp_path / "sky.fits", "--out", tmp_path, *OPTIONS)
    assert status == 1 and "classifier 'ensemble' has no model for band r (ensemble-i-1 is for i)" in err
    assert run(tmp_path / "sky.fits", "--out", tmp_path, *OPTIONS, "--any-band")[0] == 0
    assert _blend(tmp_path)["flag_other_band"].all()


@pytest.mark.parametrize(
    ("unit", "factor"), [("nJy", 1.0), ("nmgy", 3630.78), ("MJy/sr", 1e15 * (0.2 / 206264.806) ** 2)]
)
def test_depth_is_checked_in_any_unit(tmp_path: Path, unit: str, factor: float) -> None:
    """The same image in units of flux density; 1 nJy a pixel is deeper than all training."""
    header = astropy.io.fits.Header({"BUNIT": unit})
    astropy.io.fits.writeto(tmp_path / "sky.fits", make_pixels() / np.float32(factor), header)
    status, _, err = run(tmp_path / "sky.fits", "--out", tmp_path, *OPTIONS)
    assert status == 0 and _blend(tmp_path)["flag_outside_model_range"].all()
    (line,) = (line for line in err.splitlines() if "outside the range" in line)
    # A mixture has the range that all its parts have; models for any band have none.
    assert "5-sigma depth 27.67 mag, not 24.88 to 27.09 mag ('ensemble')" in line
    assert line.count("5-sigma depth") == 1
