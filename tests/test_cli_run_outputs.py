# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What ``blendid run`` writes besides and instead of Parquet tables, by command."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import astropy.io.fits
import astropy.wcs
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import Table
from click.testing import CliRunner
from lsst.meas.blendid.cli import main
from lsst.meas.blendid.images.psf import kolmogorov_kernel
from lsst.meas.blendid.table_files import read_tables
from PIL import Image

NOISE = 5.0
SOURCES = [(40, 50, 2000.0), (100, 48, 4500.0), (107, 51, 3500.0), (150, 110, 1500.0), (60, 120, 150_000.0)]
SHAPE = (160, 200)


def make_header() -> astropy.io.fits.Header:
    header = astropy.io.fits.Header()
    for key, value in {
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CUNIT1": "deg", "CUNIT2": "deg", "CRPIX1": 100.5,
        "CRPIX2": 80.5, "CRVAL1": 150.1, "CRVAL2": 2.2, "CD1_1": -0.2 / 3600, "CD1_2": 0.0, "CD2_1": 0.0,
        "CD2_2": 0.2 / 3600, "BUNIT": "nJy", "RADESYS": "ICRS",
    }.items():  # fmt: skip
        header[key] = value
    header["FILTER"] = "i"
    return header


def make_pixels() -> np.ndarray:
    """White noise, four sources of which two share a footprint, and a bright star."""
    kernel = kolmogorov_kernel(3.5, 61)
    padded = np.zeros((SHAPE[0] + 60, SHAPE[1] + 60))
    for x, y, flux in SOURCES:
        padded[y : y + 61, x : x + 61] += flux * kernel
    noise = np.random.default_rng(8).normal(0.0, NOISE, SHAPE)
    return (padded[30:-30, 30:-30] + noise).astype(np.float32)


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file in the working folder."""
    monkeypatch.chdir(tmp_path)
    astropy.io.fits.writeto("IMAGE.fits", make_pixels(), make_header())
    return "IMAGE.fits"


def run(*args: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["run", *map(str, args), "--psf-fwhm", "0.7", "--out", "OUT"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def code_blocks(page: Path, section: str) -> list[str]:
    """Python code of a section of a page."""
    text = page.read_text(encoding="utf-8")
    start = re.search(rf"^{re.escape(section)}\n=+$", text, re.MULTILINE)
    assert start is not None
    rest = text[start.end() :]
    end = re.search(r"^[^\n]+\n(=+)$", rest, re.MULTILINE)
    rest = rest[: end.start()] if end else rest
    blocks = re.findall(r"^\.\. code-block:: python\n\n((?:   .*\n|\n)+)", rest, re.MULTILINE)
    return [re.sub(r"^   ", "", block, flags=re.MULTILINE) for block in blocks]


def true_sky() -> SkyCoord:
    x, y, _ = np.array(SOURCES).T
    return astropy.wcs.WCS(make_header()).pixel_to_world(x, y)


def test_peaks_have_sky_positions_and_fluxes(image: str) -> None:
    status, _, err = run(image)
    assert (status, err) == (0, "")
    blend = Table.read("OUT/IMAGE.blend.parquet")
    peaks = Table.read("OUT/IMAGE.blend_peak.parquet")
    sky = SkyCoord(peaks["ra"], peaks["dec"])
    nearest, distance, _ = true_sky().match_to_catalog_sky(sky)
    assert distance.arcsec.max() < 0.1
    assert peaks["flux"].unit == blend["flux"].unit == "nJy"
    for k in (0, 3, 4):  # The others lie close together.
        row = peaks[nearest[k]]
        # The noise that is estimated from these pixels is a few per cent too large.
        assert abs(row["flux"] - SOURCES[k][2]) < 3.0 * row["flux"] / row["significance"] + 0.01 * row["flux"]
        assert row["mag"] == pytest.approx(31.4 - 2.5 * np.log10(row["flux"]), abs=1e-4)
    star = peaks["footprint_id"][nearest[4]]
    assert blend["footprint_id"][blend["flag_bright_star"]].tolist() == [star]
    assert not blend["flag"][blend["flag_bright_star"]].any()


def test_join_to_objects_as_documented(image: str, repo_root: Path) -> None:
    assert run(image)[0] == 0
    page = repo_root / "doc" / "lsst.meas.blendid" / "tables.rst"
    (reading,) = code_blocks(page, "Reading")
    (join,) = code_blocks(page, "Join them to an Object table")
    assert len([line for line in join.splitlines() if line and "import" not in line]) == 5
    sky = true_sky()
    elsewhere = sky[0].directional_offset_by(0.0, 5.0 * sky[0].ra.unit / 3600)
    ra, dec = np.append(sky.ra.deg, elsewhere.ra.deg), np.append(sky.dec.deg, elsewhere.dec.deg)
    names: dict[str, Any] = {"objects": Table({"coord_ra": ra, "coord_dec": dec})}
    exec(reading, names)
    exec(join, names)
    blend, found = names["blend"], np.asarray(names["objects"]["p_blended"])
    assert np.isfinite(found[:5]).all() and np.isnan(found[5])
    labels = [
        int(np.argmin(np.hypot(blend["x"] - x, blend["y"] - y))) for x, y, _ in (SOURCES[0], SOURCES[3])
    ]
    np.testing.assert_array_equal(found[[0, 3]], np.asarray(blend["p_blended"])[labels])
    assert found[1] == found[2]


def test_run_names_what_it_wrote_and_the_model(image: str) -> None:
    status, out, _ = run(image)
    assert status == 0
    assert out.count("\n") == 1
    assert out.endswith("; model ensemble-i-1 -> OUT/IMAGE.blend{,_peak,_spans}.parquet\n")
    status, out, _ = run(image, "--format", "ecsv", "--regions", "--segmentation", "--classifier", "peaks")
    assert status == 0
    names = "OUT/IMAGE.blend{,_peak,_spans}.ecsv, IMAGE.blend.reg, IMAGE.blend_segmentation.fits"
    assert out.endswith(f"; model peaks-2 -> {names}\n")


@pytest.mark.parametrize("format", ["parquet", "fits", "ecsv"])
def test_format(image: str, format: str) -> None:
    assert run(image, "--format", format)[0] == 0
    names = sorted(path.name for path in Path("OUT").iterdir())
    assert names == [f"IMAGE.{name}.{format}" for name in ("blend", "blend_peak", "blend_spans")]
    tables = read_tables("OUT", "IMAGE")
    assert len(tables.blend) == 4
    assert np.isfinite(tables.blend["p_blended"]).all()
    assert tables.blend.meta["model_features"] == "features-2"


def test_unknown_format_is_misuse(image: str) -> None:
    status, _, err = run(image, "--format", "csv")
    assert status == 2
    assert "'csv' is not one of 'parquet', 'fits', 'ecsv'" in err


def test_regions_and_segmentation(image: str) -> None:
    assert run(image, "--regions", "--segmentation")[0] == 0
    blend = Table.read("OUT/IMAGE.blend.parquet")
    lines = Path("OUT/IMAGE.blend.reg").read_text().splitlines()
    assert lines[2] == "icrs"
    assert sum(line.startswith("polygon(") for line in lines) == len(blend)
    peaks = Table.read("OUT/IMAGE.blend_peak.parquet")
    assert (~peaks["is_inferred"]).sum() == blend["n_peaks"].sum() == 5
    # Those that are hardly probable are in the table alone.
    shown = ~peaks["is_inferred"] | (peaks["probability"] >= 0.1)
    assert sum(line.startswith("point(") for line in lines) == np.count_nonzero(shown)
    with astropy.io.fits.open("OUT/IMAGE.blend_segmentation.fits") as hdus:
        labels, wcs = hdus[1].data, astropy.wcs.WCS(hdus[1].header)
    assert np.bincount(labels.ravel())[1:].tolist() == blend["area"].tolist()
    sky = SkyCoord(blend["ra"], blend["dec"])
    x, y = wcs.world_to_pixel(sky)
    np.testing.assert_allclose(x, blend["x"], atol=1e-3)
    np.testing.assert_allclose(y, blend["y"], atol=1e-3)
    # The products lie in the folder of the images: another run of the folder leaves them alone.
    Path("OUT/IMAGE2.fits").write_bytes(Path(image).read_bytes())
    status, out, _ = run("OUT", "--regions", "--segmentation")
    assert status == 0
    assert out.count("footprints") == 1


def test_regions_without_wcs_are_in_pixels(image: str) -> None:
    astropy.io.fits.writeto("bare.fits", make_pixels())
    status, _, err = run("bare.fits", "--pixel-scale", "0.2", "--regions", "--segmentation")
    assert status == 0, err
    assert Path("OUT/bare.blend.reg").read_text().splitlines()[2] == "image"


def read_page(path: str) -> str:
    """A page, after a look whether all elements end and nothing is fetched from elsewhere."""
    text = Path(path).read_text(encoding="utf-8")

    class Checker(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag not in ("meta", "link", "img"):
                self.open.append(tag)
            for name, value in attrs:
                assert name not in ("src", "href") or str(value).startswith("data:")

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert "url(" not in text and "<script" not in text
    return text


def pictures(text: str) -> list[tuple[int, int]]:
    """Sizes of the pictures of a page."""
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    return [Image.open(io.BytesIO(base64.b64decode(data))).size for data in found]


def test_report(image: str) -> None:
    pytest.importorskip("matplotlib", reason="the page has figures")
    status, out, err = run(image, "--report", "--classifier", "features", "--classifier", "peaks")
    assert (status, err) == (0, "")
    assert out.endswith("-> OUT/IMAGE.blend{,_peak,_spans}.parquet, IMAGE.blend.html\n")
    page = read_page("OUT/IMAGE.blend.html")
    tables = read_tables("OUT", "IMAGE")
    assert "<h1>Blends in IMAGE.fits</h1>" in page
    assert "4 footprints, each with the probability" in page
    # Outlines over all of it, cutouts, histogram.
    assert len(pictures(page)) == 3
    for number in tables.blend["footprint_id"]:
        assert f"<td>{number}</td>" in page
    for text in (
        "model features-2",
        "model peaks-2",
        "31.400",
        "0.2″",
        "No variance plane",
        "flag_bright_star",
    ):
        assert text in page
    assert f"{tables.blend.meta['noise_sigma']:.4g} per pixel, from the clipped scatter" in page
    assert "flag_too_many_peaks" not in page  # Only those that are set.
    assert "OUT/IMAGE.blend{,_peak,_spans}.parquet" in page


def test_report_of_a_large_image_shows_it_whole_and_enlarged(image: str) -> None:
    pytest.importorskip("matplotlib", reason="the page has figures")
    astropy.io.fits.writeto("long.fits", np.tile(make_pixels(), (1, 5)))
    astropy.io.fits.writeto("high.fits", np.tile(make_pixels(), (5, 1)))
    status, _, err = run(
        "long.fits", "high.fits", "--pixel-scale", "0.2", "--report", "--classifier", "peaks"
    )
    assert status == 0, err
    for name in ("long", "high"):
        sizes = pictures(read_page(f"OUT/{name}.blend.html"))
        assert len(sizes) == 4
        # No picture is much higher than a screen.
        assert all(height < 1.5 * width for width, height in sizes)


def test_report_of_nothing_and_of_what_is_not_classified(image: str) -> None:
    pytest.importorskip("matplotlib", reason="the page has figures")
    astropy.io.fits.writeto("noise.fits", np.random.default_rng(2).normal(0.0, 1.0, (90, 80)))
    options = ("--pixel-scale", "0.2", "--report", "--classifier", "peaks")
    assert run("noise.fits", *options)[0] == 0
    assert "No footprint was found" in read_page("OUT/noise.blend.html")
    astropy.io.fits.writeto("pair.fits", make_pixels()[20:90, 60:145])
    status, out, _ = run("pair.fits", *options, "--config-option", "maxPeaks=1")
    assert status == 0
    assert "1 footprint, 1 not classified" in out
    page = read_page("OUT/pair.blend.html")
    assert "flag_too_many_peaks" in page
    assert "The probabilities" not in page


def test_report_tells_what_was_done_about_correlated_noise(image: str) -> None:
    pytest.importorskip("matplotlib", reason="the page has figures")
    noise = np.random.default_rng(3).normal(0.0, 1.0, (151, 151))
    astropy.io.fits.writeto("drizzled.fits", sum(np.roll(noise, (i // 3, i % 3), (0, 1)) for i in range(9)))
    astropy.io.fits.writeto("variance.fits", np.full((151, 151), 9.0))
    options = ("--pixel-scale", "0.2", "--report", "--classifier", "peaks")
    assert run("drizzled.fits", *options)[0] == 0
    page = read_page("OUT/drizzled.blend.html")
    assert "per pixel, from the clipped scatter of the pixels, times the noise correlation" in page
    assert "thresholds and significances are corrected for it" in page
    assert run("drizzled.fits", "--variance", "variance.fits", *options)[0] == 0
    page = read_page("OUT/drizzled.blend.html")
    assert "3 per pixel, from the variance plane<" in page
    assert "thresholds and significances are not corrected for it" in page


def test_report_without_matplotlib(image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    status, out, err = run(image, "--report")
    assert (status, out) == (1, "")
    told = "Error: --report needs jinja2 and matplotlib; install what is missing with pip install "
    assert err == f"{told}'lsst-meas-blendid[plots]'\n"
    assert not Path("OUT").exists()
