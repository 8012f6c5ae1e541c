# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.
"""Small inputs made after public reports of bugs in other programs, run by command."""

from __future__ import annotations

import runpy
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import Table
from click.testing import CliRunner
from lsst.meas.blendid.cli import main

type MakeCase = Callable[[str], Path]


@pytest.fixture
def make_case(shared_cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeCase:
    """Run a program and return the folder of what it wrote."""

    def make(name: str) -> Path:
        (script,) = shared_cases.glob(f"{name}_*.py")
        folder = tmp_path / name
        monkeypatch.setattr(sys, "argv", [str(script), str(folder)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            runpy.run_path(str(script), run_name="__main__")
        return folder

    return make


def run(
    folder: Path, *args: object, fwhm: float = 0.8, scale: float | None = 0.2, config: str | None = None
) -> tuple[str, str]:
    """Run on all files of a folder, or those that are given; standard output and error."""
    images = [str(arg) for arg in args] or [str(folder)]
    options = ["--psf-fwhm", str(fwhm), *(() if scale is None else ("--pixel-scale", str(scale)))]
    command = ["run", *images, "--out", str(folder / "out"), "--classifier", "peaks", *options]
    command += ["--localizer", "none", *(() if config is None else ("-c", config))]
    result = CliRunner().invoke(main, command)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "unexpected" not in result.stderr
    return result.stdout, result.stderr


def read(folder: Path, stem: str, table: str = "blend") -> Table:
    return Table.read(folder / "out" / f"{stem}.{table}.parquet")


def check_positions(folder: Path, stem: str, truth: str) -> None:
    """Compare the positions of peaks with astropy's, to a hundredth of an arcsecond."""
    x, y, ra, dec = np.loadtxt(folder / truth).T
    peaks = read(folder, stem, "blend_peak")
    found = SkyCoord(peaks["ra"], peaks["dec"], unit="deg")
    scale = np.inf
    for i in range(len(x)):
        distance = np.hypot(peaks["f_x"] - x[i], peaks["f_y"] - y[i])
        nearest = int(np.argmin(distance))
        assert distance[nearest] < 0.5
        # The peak is some hundredths of a pixel off, of up to 0.4 arcsec.
        error = found[nearest].separation(SkyCoord(ra[i], dec[i], unit="deg")).arcsec
        assert error < 0.4 * distance[nearest] + 0.01
        scale = min(scale, error)
    assert scale < 0.1


def test_polynomials_of_scamp(make_case: MakeCase) -> None:
    folder = make_case("02")
    _, err = run(folder, scale=None)
    for stem in ("tan_pv", "tpv"):
        check_positions(folder, stem, f"{stem}.txt")
    assert "tan_pv.fits: the WCS is not standard" in err
    assert "1 more image: the WCS is not standard" in err
    # Read alike, whatever astropy makes of the one with few terms.
    for small, large in zip(read(folder, "tan_pv_small")["ra"], read(folder, "tpv")["ra"], strict=True):
        assert abs(small - large) < 0.1


def test_distortion_by_tables(make_case: MakeCase) -> None:
    folder = make_case("03")
    _, err = run(folder, fwhm=0.2, scale=None)
    check_positions(folder, "flc", "truth.txt")
    assert "up to 44.7 pixels off; ra and dec follow astropy" in err


def test_padding_after_lossy_compression(make_case: MakeCase) -> None:
    folder = make_case("05")
    run(folder)
    tables = [read(folder, stem) for stem in ("nan", "dither2", "dither1")]
    assert len(tables[0]) == len(tables[1]) > 10
    # The padding of the last was turned into small numbers in a part of it.
    assert abs(len(tables[2]) - len(tables[0])) <= 1
    for table in tables:
        assert table["bbox_x1"].min() > 130


def test_photon_counts(make_case: MakeCase) -> None:
    folder = make_case("07")
    _, err = run(folder)
    assert "padding" not in err
    assert "photon counts, 97 % of them 0" in err
    assert len(read(folder, "counts_float")) == len(read(folder, "counts_int")) > 15
    assert len(read(folder, "counts_float")) <= 25


def test_layouts_of_arrays(make_case: MakeCase, capsys: pytest.CaptureFixture[str]) -> None:
    make_case("09")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 12
    assert len({line[10:].strip() for line in lines}) == 1
    assert "footprints" in lines[0]


def test_two_depths_with_weight(make_case: MakeCase) -> None:
    folder = make_case("11")
    _, err = run(folder)
    blend = read(folder, "drz")
    assert len(blend) > 20
    assert (blend["x"] < 345).all()
    assert blend.meta["noise_source"] == "variance"
    assert "WHT" not in err


def test_units(make_case: MakeCase) -> None:
    folder = make_case("12")
    # Models for any band know of no depth.
    run(folder, config="classifiers.peaks.modelPackage=peaks-i-1")
    for magnitude, outside in (("26", False), ("22", True)):
        for unit in ("nJy", "uJy", "mJy", "Jy", "nanomaggy", "nanomaggies", "nmgy", "MJysr"):
            blend = read(folder, f"m{magnitude}_{unit}")
            assert len(blend) > 10
            assert (blend["flag_outside_model_range"] == outside).all(), unit
        assert not read(folder, f"m{magnitude}_none")["flag_outside_model_range"].any()


def test_degenerate_and_swapped_axes(make_case: MakeCase) -> None:
    folder = make_case("13")
    _, err = run(folder, scale=None)
    for stem in ("axes4_data2", "axes4_data4", "ra0", "swapped", "pole"):
        check_positions(folder, stem, f"{stem}.txt")
    assert "WCS" not in err


def test_missing_padding_of_the_file(make_case: MakeCase) -> None:
    folder = make_case("14")
    _, err = run(folder)
    counts = {len(read(folder, stem)) for stem in ("whole", "unpadded", "trailing")}
    assert len(counts) == 1
    assert counts.pop() > 5
    assert "really_cut.fits: is truncated" in err


def test_small_and_long_images(make_case: MakeCase) -> None:
    """Warnings are errors here."""
    folder = make_case("16")
    out, err = run(folder)
    assert out.count(": 1 footprint,") == 6
    for stem in ("s1x1", "s1x500"):
        assert f"{stem}.fits: the image of shape" in err


def test_mask_and_weight_of_a_tile(make_case: MakeCase) -> None:
    folder = make_case("17")
    run(folder)
    peaks = read(folder, "tile", "blend_peak")
    assert 10 < len(peaks) < 20
    distance = np.abs(peaks["i_y"] - 0.4 * peaks["i_x"] - 100.0) / np.hypot(1.0, 0.4)
    assert distance.min() > 6.0
    assert not (read(folder, "tile")["p_blended"] > 0.99).any()


def test_image_that_is_not_first(make_case: MakeCase) -> None:
    folder = make_case("18")
    _, err = run(folder)
    stems = ("vector_first", "preview_first", "cube_first", "dq_first")
    assert {len(read(folder, stem)) for stem in stems} == {9}
    assert "the image is HDU 2 SCI; HDU 1 CON (200 × 200 × 3) of the file is not used" in err


def test_habits_of_cfitsio(make_case: MakeCase) -> None:
    folder = make_case("19")
    names = ("image.fits[1]", "image.fits[SCI]", "image.fits[SCI,1]", "UPPER.FIT", "odd.fts", "noext")
    out, _ = run(folder, *(folder / name for name in (*names, "with blank #1.fits")))
    assert out.count(": 1 footprint,") == 7
    for stem in ("image_1", "image_SCI", "image_SCI_1", "UPPER", "odd", "noext", "with blank #1"):
        assert len(read(folder, stem)) == 1


def test_frame_of_sdss(make_case: MakeCase) -> None:
    folder = make_case("22")
    _, err = run(folder, fwhm=1.4, scale=None)
    for stem in ("frame-r", "frame-x", "plain"):
        check_positions(folder, stem, "truth.txt")
    assert "cut.fits.bz2: is truncated" in err


def test_blank_pixels_of_compressed_integers(make_case: MakeCase) -> None:
    folder = make_case("23")
    run(folder)
    nan, blank, zblank = (read(folder, stem) for stem in ("nan", "blank", "zblank"))
    assert len(nan) > 10
    for name in blank.colnames:
        np.testing.assert_array_equal(blank[name], zblank[name])
    # Rounded to integers they are not quite the same pixels.
    assert len(blank) == len(nan)
    for name in ("bbox_x0", "bbox_y0", "bbox_x1", "bbox_y1"):
        np.testing.assert_allclose(blank[name], nan[name], atol=2)
