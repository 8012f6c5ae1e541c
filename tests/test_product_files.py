# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Region files and label images."""

from __future__ import annotations

import re
from pathlib import Path

import astropy.io.fits
import astropy.units as u
import astropy.wcs
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import Table
from lsst.images import GeneralFrame, SkyProjection
from lsst.meas.blendid._colors import INFERRED_PEAK, PROBABILITY_STOPS, UNKNOWN, probability_color
from lsst.meas.blendid.footprints import FootprintSet
from lsst.meas.blendid.product_files import outlines, write_regions, write_segmentation
from lsst.meas.blendid.tables import BlendTables, make_tables
from matplotlib.path import Path as Polygon
from toy_peaks import with_inferred
from toy_samples import make_toy

XY0 = (1000, -50)


def make_labels(*pixels: str) -> np.ndarray:
    """Label image, the first row at the bottom."""
    return np.array([[int(c) for c in row] for row in pixels[::-1]], np.int32)


def area(polygon: np.ndarray) -> float:
    x, y = polygon.T
    return float(0.5 * np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))


@pytest.fixture(scope="module")
def projection() -> SkyProjection:
    wcs = astropy.wcs.WCS(
        {
            "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 50.0, "CRPIX2": 60.0,
            "CRVAL1": 0.001, "CRVAL2": 60.0, "CDELT1": -0.2 / 3600, "CDELT2": 0.2 / 3600,
        }
    )  # fmt: skip
    return SkyProjection.from_fits_wcs(wcs, GeneralFrame(unit=u.pix), x0=XY0[0], y0=XY0[1])


@pytest.fixture(scope="module")
def found() -> tuple[FootprintSet, BlendTables]:
    detection, _ = make_toy(3, xy0=XY0)
    detection.metadata["kernel_size"] = 11
    n = len(detection.footprints)
    p = np.linspace(0.0, 1.0, n)
    tables = make_tables(
        detection, p_blended={"a": p}, primary="a", flags={"too_many_peaks": np.arange(n) == 2}
    )
    return detection.footprints, tables


def test_outline_of_single_pixels_and_corners() -> None:
    labels = make_labels("0020", "1100", "0010")
    # Counterclockwise, and two pixels that touch at a corner are one polygon.
    ((first,), (second,)) = outlines(FootprintSet.from_labels(labels, xy0=(10, 20)))
    assert area(first) == 3.0
    assert area(second) == 1.0
    assert sorted(map(tuple, second)) == [(11.5, 21.5), (11.5, 22.5), (12.5, 21.5), (12.5, 22.5)]
    assert len(first) == 8


def test_straight_edges_have_no_corners_and_holes_no_outline() -> None:
    labels = make_labels("1111", "1001", "1001", "1111")
    ((outline,),) = outlines(FootprintSet.from_labels(labels))
    assert sorted(map(tuple, outline)) == [(-0.5, -0.5), (-0.5, 3.5), (3.5, -0.5), (3.5, 3.5)]
    # A separate footprint in the hole has its own.
    labels[1:3, 1:3] = 2
    assert [area(p) for parts in outlines(FootprintSet.from_labels(labels)) for p in parts] == [16.0, 4.0]


@pytest.mark.parametrize("seed", range(5))
def test_outlines_hold_exactly_their_pixels(seed: int) -> None:
    """Random blobs against matplotlib's test of points in polygons, holes filled."""
    from scipy.ndimage import binary_fill_holes, label

    mask = np.random.default_rng(seed).random((25, 31)) < 0.45
    labels, n = label(mask, structure=np.ones((3, 3)))
    y, x = np.mgrid[:25, :31]
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    polygons = outlines(FootprintSet.from_labels(labels.astype(np.int32)))
    assert len(polygons) == n
    for number, parts in enumerate(polygons, start=1):
        (outline,) = parts
        filled = binary_fill_holes(labels == number)
        # A hole that is closed by corners alone is outside for the one and inside for the other.
        inside = Polygon(np.concatenate([outline, outline[:1]])).contains_points(points).reshape(25, 31)
        assert (inside >= (labels == number)).all()
        assert (inside <= binary_fill_holes(labels == number, structure=np.ones((3, 3))) | filled).all()


def test_colors() -> None:
    for p, color in PROBABILITY_STOPS:
        assert probability_color(p) == color
    assert probability_color(float("nan")) == UNKNOWN
    assert probability_color(0.125) == "#66b0ff"


def read_regions(path: Path) -> tuple[str, list[tuple[str, np.ndarray, str]]]:
    """Coordinate system, and shape, positions and properties of each region."""
    lines = path.read_text(encoding="ascii").splitlines()
    assert lines[0] == "# Region file format: DS9"
    regions = []
    for line in lines[3:]:
        match = re.fullmatch(r"(polygon|point)\(([^)]*)\) # (.*)", line)
        assert match, line
        regions.append((match[1], np.array(match[2].split(","), dtype=float).reshape(-1, 2), match[3]))
    return lines[2], regions


def test_regions_in_pixels(found: tuple[FootprintSet, BlendTables], tmp_path: Path) -> None:
    footprints, tables = found
    write_regions(tmp_path / "x.reg", tables, footprints)
    system, regions = read_regions(tmp_path / "x.reg")
    assert system == "image"
    polygons = [r for r in regions if r[0] == "polygon"]
    assert [area(r[1]) for r in polygons] == footprints.area.tolist()
    # DS9 counts from 1, from the first pixel of the file.
    for (_, places, text), box, number in zip(polygons, footprints.bbox, range(1, 10), strict=True):
        assert places.min(axis=0).tolist() == [box[0] - XY0[0] + 0.5, box[1] - XY0[1] + 0.5]
        assert f"tag={{footprint {number}}}" in text
    assert "color=#3f9bff text={1: 0.00}" in polygons[0][2]
    assert f"color={UNKNOWN} text={{3: not classified}}" in polygons[2][2]
    assert "color=#ff7a14 text={9: 1.00}" in polygons[8][2]
    points = [r for r in regions if r[0] == "point"]
    assert len(points) == len(footprints.peaks)
    first = np.array([footprints.peaks["f_x"][0], footprints.peaks["f_y"][0]])
    assert points[0][1][0] == pytest.approx(first - XY0 + 1.0)


def test_regions_tell_inferred_peaks_and_probabilities(
    found: tuple[FootprintSet, BlendTables], tmp_path: Path
) -> None:
    footprints, tables = found
    tables = with_inferred(tables)
    write_regions(tmp_path / "x.reg", tables, footprints)
    _, regions = read_regions(tmp_path / "x.reg")
    points = [text for kind, _, text in regions if kind == "point"]
    assert len(points) == len(tables.blend_peak)
    inferred = np.asarray(tables.blend_peak["is_inferred"])
    assert 0 < inferred.sum() < len(inferred)
    sizes = []
    for text, row in zip(points, tables.blend_peak, strict=True):
        match = re.fullmatch(
            r"point=(\w+) (\d+) color=(\S+)(?: text={([\d.]+)})? tag={(.*)} tag={(.*)}", text
        )
        assert match, text
        assert match[1] == ("diamond" if row["is_inferred"] else "cross")
        assert (match[3] == INFERRED_PEAK) == row["is_inferred"]
        assert match[4] == (f"{row['probability']:.2f}" if row["is_inferred"] else None)
        assert match[5] == f"footprint {row['footprint_id']}"
        assert match[6] == ("inferred peak" if row["is_inferred"] else "detected peak")
        sizes.append(int(match[2]))
    order = np.argsort(tables.blend_peak["probability"])
    assert np.all(np.diff(np.array(sizes)[order]) >= 0) and min(sizes) < max(sizes)


def test_regions_on_the_sky(
    found: tuple[FootprintSet, BlendTables], projection: SkyProjection, tmp_path: Path
) -> None:
    footprints, tables = found
    write_regions(tmp_path / "pix.reg", tables, footprints)
    write_regions(tmp_path / "sky.reg", tables, footprints, projection=projection)
    system, regions = read_regions(tmp_path / "sky.reg")
    assert system == "icrs"
    _, in_pixels = read_regions(tmp_path / "pix.reg")
    for (kind, sky, text), (same, pixels, also) in zip(regions, in_pixels, strict=True):
        assert (kind, text) == (same, also)
        assert ((sky[:, 0] >= 0.0) & (sky[:, 0] < 360.0)).all()
        x, y = projection.sky_to_pixel(SkyCoord(sky[:, 0], sky[:, 1], unit="deg"))
        np.testing.assert_allclose(np.stack([x, y], axis=1) - XY0 + 1.0, pixels, atol=0.01)


def test_segmentation(
    found: tuple[FootprintSet, BlendTables], projection: SkyProjection, tmp_path: Path
) -> None:
    footprints, _ = found
    write_segmentation(tmp_path / "seg.fits", footprints, projection=projection)
    with astropy.io.fits.open(tmp_path / "seg.fits") as hdus:
        assert isinstance(hdus[1], astropy.io.fits.CompImageHDU)
        np.testing.assert_array_equal(hdus["SEGMENTATION"].data, footprints.labels)
        header = hdus["SEGMENTATION"].header
        assert (header["LTV1"], header["LTV2"]) == (-1000.0, 50.0)
        sky = astropy.wcs.WCS(header).pixel_to_world(3.0, 7.0)
    expected = projection.pixel_to_sky(x=np.array([1003.0]), y=np.array([-43.0]))
    assert sky.separation(expected)[0].arcsec < 1e-5
    size = (tmp_path / "seg.fits").stat().st_size
    assert size < footprints.labels.nbytes
    write_segmentation(tmp_path / "plain.fits", footprints)
    assert not astropy.wcs.WCS(astropy.io.fits.getheader(tmp_path / "plain.fits", 1)).has_celestial


def test_no_footprint(tmp_path: Path) -> None:
    footprints = FootprintSet.from_labels(np.zeros((20, 30), np.int32))
    empty = {"p_blended": np.zeros(0)}
    peaks = {name: np.zeros(0) for name in ("f_x", "f_y", "probability", "is_inferred")}
    tables = BlendTables(Table(empty), Table(peaks | {"footprint_id": np.zeros(0, int)}), Table())
    write_regions(tmp_path / "x.reg", tables, footprints)
    assert len((tmp_path / "x.reg").read_text().splitlines()) == 3
    write_segmentation(tmp_path / "seg.fits", footprints)
    assert not astropy.io.fits.getdata(tmp_path / "seg.fits", 1).any()
