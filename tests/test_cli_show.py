# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""``blendid show``, and which footprints it chooses."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import astropy.io.fits
import numpy as np
import pytest
from astropy.table import Table
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from lsst.meas.blendid import read_tables, write_tables
from lsst.meas.blendid.cli import main
from lsst.meas.blendid.evaluation.drawing import PeakMarks
from lsst.meas.blendid.evaluation.footprint_cards import (
    _spread_out,
    choose_footprints,
    footprint_cards,
    probability_density,
)
from lsst.meas.blendid.images.psf import kolmogorov_kernel
from lsst.meas.blendid.tables import BlendTables
from PIL import Image
from toy_peaks import with_inferred

pytest.importorskip("matplotlib", reason="the command draws figures")

SEEING = ("--psf-fwhm", "0.7", "--pixel-scale", "0.2", "--classifier", "peaks", "--localizer", "none")


def call(*args: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def make_pixels() -> np.ndarray:
    rng = np.random.default_rng(21)
    pixels = rng.normal(0.0, 2.0, (220, 240)) + 700.0
    kernel = kolmogorov_kernel(3.5, 41)
    for i in range(16):
        x, y = 30 + 50 * (i % 4), 30 + 50 * (i // 4)
        pixels[y - 20 : y + 21, x - 20 : x + 21] += rng.uniform(400.0, 2000.0) * kernel
    return pixels.astype("f4")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with IMAGE.fits, an image of two HDUs, and tables of both with inferred peaks."""
    folder = tmp_path_factory.mktemp("show")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        pixels = make_pixels()
        astropy.io.fits.writeto("IMAGE.fits", pixels)
        hdus = [astropy.io.fits.PrimaryHDU(), astropy.io.fits.ImageHDU(pixels, name="DEEP")]
        astropy.io.fits.HDUList(hdus).writeto("two.fits")
        status, _, err = call("run", "IMAGE.fits", *SEEING, "--out", "OUT")
        assert status == 0, err
        tables = read_tables("OUT", "IMAGE")
        assert tables.blend.meta["image"] == "IMAGE.fits"
        write_tables(with_inferred(tables), "OUT", "IMAGE")
        status, _, err = call("run", "two.fits[DEEP]", *SEEING, "--out", "HDU", "--format", "fits")
        assert status == 0, err
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it as the working folder."""
    shutil.copytree(made, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def fails(status: int, *args: object) -> str:
    """Check that the command fails with one line and return it."""
    code, out, err = call("show", *args)
    assert (code, out) == (status, ""), err
    assert err.startswith("Error: ") and err.count("\n") == 1
    return err.removeprefix("Error: ").strip()


def test_default_picture(here: Path) -> None:
    status, out, err = call("show", "OUT/IMAGE")
    assert (status, err) == (0, "")
    tables = read_tables("OUT", "IMAGE")
    chosen = ", ".join(map(str, choose_footprints(tables, 6)))
    assert out == f"footprints {chosen} of IMAGE.fits -> OUT/IMAGE.blend.png\n"
    with Image.open("OUT/IMAGE.blend.png") as picture:
        assert picture.width == 14 * 150 and picture.format == "PNG"
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    # Inferred peaks are there in their colour.
    assert np.any(np.abs(pixels - [0xFF, 0x9B, 0xE8]).sum(axis=2) < 12)


def test_named_footprints_and_files(here: Path) -> None:
    status, out, _ = call("show", "OUT/IMAGE", "--footprint", 3, "-f", 1, "-f", 3, "--out", "new/a.png")
    assert (status, out) == (0, "footprints 3, 1 of IMAGE.fits -> new/a.png\n")
    for stem in ("OUT", "OUT/IMAGE.blend.parquet"):
        status, out, _ = call("show", stem, "-f", 2, "--out", "b.svg")
        assert (status, out) == (0, "footprint 2 of IMAGE.fits -> b.svg\n")
    assert Path("b.svg").read_text(encoding="utf-8").startswith("<?xml")
    first = Path("new/a.png").read_bytes()
    assert call("show", "OUT/IMAGE", "-f", 3, "-f", 1, "--out", "new/a.png")[0] == 0
    assert Path("new/a.png").read_bytes() == first


def test_image_is_found_again(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its HDU, in the folder of the tables, or where it is said to be."""
    status, out, err = call("show", "HDU/two_DEEP", "-n", 2)
    assert status == 0, err
    assert " of two.fits -> HDU/two_DEEP.blend.png" in out
    shutil.move("IMAGE.fits", "OUT/IMAGE.fits")
    assert call("show", "OUT/IMAGE", "-f", 1)[1] == "footprint 1 of OUT/IMAGE.fits -> OUT/IMAGE.blend.png\n"
    shutil.move("OUT/IMAGE.fits", "moved.fits")
    told = fails(1, "OUT/IMAGE", "-f", 1)
    assert told == "IMAGE.fits, which the tables are of, is not there; name it with --image FILE"
    assert call("show", "OUT/IMAGE", "-f", 1, "--image", "moved.fits")[0] == 0
    assert call("show", "OUT/IMAGE", "-f", 1, "--image", "two.fits[DEEP]")[0] == 0
    assert "nowhere.fits" in fails(1, "OUT/IMAGE", "-f", 1, "--image", "nowhere.fits")


def test_other_image(here: Path) -> None:
    astropy.io.fits.writeto("small.fits", make_pixels()[:20, :20])
    told = fails(1, "OUT/IMAGE", "-f", 12, "--image", "small.fits")
    assert told == "the image has no pixel of footprint 12; is it the one that it was found in?"


def test_bad_input_is_one_line(here: Path) -> None:
    n = len(read_tables("OUT", "IMAGE").blend)
    assert (
        fails(1, "OUT/IMAGE", "-f", n + 1)
        == f"there is no footprint {n + 1} in OUT/IMAGE; there are 1 to {n}"
    )
    assert fails(1, "OUT/none").endswith("none.blend.parquet: no such file; 'blendid run' writes it")
    Path("EMPTY").mkdir()
    assert fails(2, "EMPTY") == "there are no tables in EMPTY; 'blendid run' writes them"
    shutil.copy("HDU/two_DEEP.blend.fits", "OUT")
    assert "tables of 2 images; name one" in fails(2, "OUT")
    Path("OUT/two_DEEP.blend.fits").unlink()
    assert "a.jpg" in fails(2, "OUT", "--out", "a.jpg")
    assert "--number" in fails(2, "OUT", "-f", 1, "-n", 3)
    assert "24 at most" in fails(2, "OUT", *(arg for _ in range(25) for arg in ("-f", 1)))
    shutil.copy("HDU/two_DEEP.blend.fits", "OUT/IMAGE.blend.fits")
    both = "OUT has IMAGE.blend.parquet and IMAGE.blend.fits; name the one that is meant"
    assert fails(2, "OUT/IMAGE") == both
    Path("OUT/IMAGE.blend.fits").unlink()
    peaks = Path("OUT/IMAGE.blend_peak.parquet")
    peaks.write_bytes(peaks.read_bytes()[:200])
    assert fails(1, "OUT/IMAGE").startswith("tables OUT/IMAGE: ")
    Path("OUT/IMAGE.blend_peak.parquet").unlink()
    assert "IMAGE.blend_peak.parquet: no such file" in fails(1, "OUT/IMAGE")


def test_tables_without_footprints_and_without_image(here: Path) -> None:
    tables = read_tables("OUT", "IMAGE")
    empty = BlendTables(*(t[:0] for t in (tables.blend, tables.blend_peak, tables.blend_spans)))
    write_tables(empty, ".", "empty")
    assert fails(1, "empty") == "no footprint was found in empty; there is nothing to show"
    for table in (tables.blend, tables.blend_peak, tables.blend_spans):
        del table.meta["image"], table.meta["noise_sigma"]
    write_tables(tables, ".", "bare")
    assert "--image FILE" in fails(1, "bare")
    # The scatter of the pixels stands for the noise.
    assert call("show", "bare", "--image", "IMAGE.fits", "-n", 1)[0] == 0


def test_show_without_matplotlib(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert fails(1, "OUT/IMAGE").startswith("show needs matplotlib; install it with pip install")


def make_tables(p: list[float], hidden: dict[int, float], n_peaks: list[int]) -> BlendTables:
    """Tables of footprints with these probabilities, some with an inferred peak."""
    n = len(p)
    blend = Table({"footprint_id": np.arange(1, n + 1), "p_blended": p, "n_peaks": n_peaks})
    peaks = Table(
        {
            "footprint_id": [*range(1, n + 1), *hidden],
            "probability": [0.9] * n + list(hidden.values()),
            "is_inferred": [False] * n + [True] * len(hidden),
        }
    )
    return BlendTables(blend, peaks, Table())


def test_choice_is_of_hidden_galaxies_and_of_doubt() -> None:
    tables = make_tables(
        [0.1, 0.55, 0.9, np.nan, 0.3, 0.2], {3: 0.7, 1: 0.6, 4: 0.95, 5: 0.3}, [1, 1, 1, 2, 1, 1]
    )
    # By turns; 4 has several peaks and comes after those with one, 5 has one that is not likely.
    assert choose_footprints(tables, 4).tolist() == [3, 2, 1, 5]
    assert choose_footprints(tables, 6).tolist() == [3, 2, 1, 5, 4, 6]
    assert choose_footprints(tables, 99).tolist() == [3, 2, 1, 5, 4, 6]
    assert choose_footprints(make_tables([0.2, 0.5], {}, [1, 1]), 2).tolist() == [2, 1]


def test_density_is_the_number_of_galaxies() -> None:
    marks = PeakMarks(
        np.array([20.0, 31.0, 25.0, 25.0]),
        np.array([22.0, 30.0, 25.0, 25.0]),
        np.array([0.9, 0.4, np.nan, 0.8]),
        np.zeros(4, dtype=bool),
        np.array([[0.5, 0.2, 0.1], [1.5, 2.0, -0.8], [0.1, 0.1, 0.0], [np.nan] * 3]),
    )
    density = probability_density(marks, (0, 0, 49, 49))
    assert density.shape == (200, 200)
    # What lacks a probability or an ellipse is left out.
    assert density.sum() / 16.0 == pytest.approx(1.3, abs=1e-3)
    y, x = np.unravel_index(np.argmax(density), density.shape)
    assert (x - 1.5) / 4.0 == pytest.approx(20.0, abs=0.3) and (y - 1.5) / 4.0 == pytest.approx(22.0, abs=0.3)
    assert not probability_density(marks.select(np.zeros(4, dtype=bool)), (0, 0, 9, 9)).any()


@given(st.lists(st.floats(0.0, 100.0), max_size=8))
def test_labels_are_moved_apart_and_not_farther_than_need_be(places: list[float]) -> None:
    rising = np.sort(places)
    moved = _spread_out(rising, 10.0)
    assert np.all(np.diff(moved) >= 10.0 - 1e-9)
    if np.all(np.diff(rising) >= 10.0):
        np.testing.assert_allclose(moved, rising)
    # What least squares gives under these constraints, in another way: minima of maxima of means.
    flat = rising - 10.0 * np.arange(len(rising))
    n = len(flat)
    wanted = [
        max(min(float(np.mean(flat[i : j + 1])) for j in range(k, n)) for i in range(k + 1)) for k in range(n)
    ]
    np.testing.assert_allclose(moved - 10.0 * np.arange(n), wanted, atol=1e-9)


def test_cards(made: Path) -> None:
    tables = read_tables(made / "OUT", "IMAGE")
    blend = tables.blend.copy()
    blend["p_n_2"][1], blend["p_blended"][1] = np.nan, np.nan
    tables = dataclasses.replace(tables, blend=blend)
    pixels = make_pixels()
    pixels[:25] = np.nan
    figure = footprint_cards(pixels, 2.0, (0, 0), tables, [2, 5])
    assert len(figure.axes) == 6
    texts = [text.get_text() for text in figure.texts]
    assert texts[0] == "#2   not classified" and texts[2].startswith("#5   P(blend) = ")
    assert figure.axes[2].texts[0].get_text() == "no P(N)"
    bars = [bar.get_height() for bar in figure.axes[5].patches]
    np.testing.assert_allclose(bars, [tables.blend[f"p_n_{k}"][4] for k in range(5)])
    own = tables.blend_peak[tables.blend_peak["footprint_id"] == 5]
    labels = {text.get_text() for text in figure.axes[3].texts}
    assert labels == {f"{p:.2f}" for p in own["probability"]}
    assert len(figure.axes[4].patches) == len(own)
    with pytest.raises(ValueError, match="no footprint 900"):
        footprint_cards(pixels, 2.0, (0, 0), tables, [900])
    with pytest.raises(ValueError, match="no footprint was given"):
        footprint_cards(pixels, 2.0, (0, 0), tables, [])
    with pytest.raises(ValueError, match="no pixel of footprint 5"):
        footprint_cards(pixels, 2.0, (5000, 0), tables, [5])
