# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Which peaks a deblender is given, what it sees of a footprint, and what scarlet2 makes of it."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.meas.blendid import IdentifiedBlends, find_footprints
from lsst.meas.blendid.deblending import (
    BlendStamp,
    cut_stamp,
    deblend_blends,
    deblend_stamp,
    peaks_to_deblend,
)
from lsst.meas.blendid.footprints import DetectionResult
from lsst.meas.blendid.source_catalogs import PeakEditConfig

SIGMA = 1.5
NOISE = 1.0
XY = {"a": (40.0, 40.0), "b": (46.0, 41.0), "c": (90.0, 30.0), "edge": (60.0, 1.0), "near": (75.0, 15.0)}


def gaussian(shape: tuple[int, int], x: float, y: float, sigma: float) -> np.ndarray:
    rows, columns = np.indices(shape, dtype=float)
    return np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2.0 * sigma**2)) / (2.0 * np.pi * sigma**2)


def disc(shape: tuple[int, int], x: float, y: float, radius: float, fine: int = 5) -> np.ndarray:
    """Image of an exponential disc of flux 1 and its half-light radius through the PSF, from fine pixels."""
    from scipy.ndimage import gaussian_filter

    step = (np.arange(fine) - (fine - 1) / 2) / fine
    rows = (np.arange(shape[0])[:, None] + step).ravel()[:, None] - y
    columns = (np.arange(shape[1])[:, None] + step).ravel()[None, :] - x
    profile = np.exp(-1.67835 * np.hypot(rows, columns) / radius)
    seen = gaussian_filter(profile, fine * SIGMA)
    binned = seen.reshape(shape[0], fine, shape[1], fine).sum(axis=(1, 3))
    return binned / (2.0 * np.pi * (radius / 1.67835) ** 2 * fine**2)


@pytest.fixture(scope="module")
def detection() -> DetectionResult:
    """An image with a blend of two, a single galaxy, one at the edge, and one near that."""
    shape = (80, 120)
    image = np.random.default_rng(3).normal(0.3, NOISE, shape)
    for name, flux in {"a": 900.0, "b": 600.0, "c": 700.0, "edge": 400.0, "near": 200.0}.items():
        image += flux * gaussian(shape, *XY[name], SIGMA)
    psf = gaussian((25, 25), 12.0, 12.0, SIGMA)
    return find_footprints(image, variance=NOISE**2, psf=psf / psf.sum(), subtract_background=False)


def find(detection: DetectionResult, name: str) -> int:
    x, y = (round(v) for v in XY[name])
    return int(detection.footprints.labels[y, x])


def add_peaks(detection: DetectionResult, *inferred: dict[str, float]) -> IdentifiedBlends:
    """Make tables of the detected peaks and of inferred ones."""
    detected = detection.footprints.peaks
    table = Table({name: detected[name] for name in detected.dtype.names})
    table["peak_id"] = np.arange(1, len(table) + 1)
    table["probability"] = 0.95
    table["is_inferred"] = False
    table["candidate_x"] = table["candidate_y"] = np.nan
    for row in inferred:
        place = {"i_x": round(row["f_x"]), "i_y": round(row["f_y"])}
        usual = {"significance": 12.0, "peak_value": 3.0, "is_inferred": True, "peak_id": len(table) + 1}
        table.add_row({"candidate_x": np.nan, "candidate_y": np.nan} | usual | place | row)
    none = Table()
    return IdentifiedBlends(none, table, none, segmentation=detection.segmentation, detection=detection)


def test_likely_inferred_peaks_are_added(detection: DetectionResult) -> None:
    number = find(detection, "c")
    place = {"footprint_id": number, "f_x": 94.0, "f_y": 30.5}
    n = len(detection.footprints.peaks)
    for change, added in (
        ({"probability": 0.9}, True),
        ({"probability": 0.6}, False),
        ({"probability": 0.9, "f_x": 92.0}, False),
        ({"probability": 0.9, "significance": 4.0}, False),
    ):
        chosen = peaks_to_deblend(add_peaks(detection, place | change))
        assert len(chosen) == n + added
        assert np.all(np.diff(chosen["footprint_id"]) >= 0)
        own = chosen[chosen["footprint_id"] == number]
        assert own["is_inferred"].tolist() == [False] + [True] * added
        if added:
            assert (own["x"][1], own["y"][1], own["peak_id"][1]) == (94.0, 30.5, n + 1)
        assert not chosen["is_moved"].any()


def test_the_peak_between_two_galaxies_is_moved(detection: DetectionResult) -> None:
    number = find(detection, "c")
    blends = add_peaks(detection, {"footprint_id": number, "f_x": 92.5, "f_y": 30.0, "probability": 0.9})
    row = int(np.flatnonzero(blends.blend_peak["footprint_id"] == number)[0])
    blends.blend_peak["candidate_x"][row], blends.blend_peak["candidate_y"][row] = 88.5, 30.0
    own = peaks_to_deblend(blends)
    own = own[own["footprint_id"] == number]
    assert sorted(zip(own["x"], own["is_moved"], strict=True)) == [(88.5, True), (92.5, False)]
    config = PeakEditConfig()
    config.doAddPeaks = True
    # It stays where it is, and the other one is too close.
    stays = peaks_to_deblend(blends, config)
    assert np.count_nonzero(stays["footprint_id"] == number) == 1 and not stays["is_moved"].any()


def test_stamp_holds_the_footprint(detection: DetectionResult) -> None:
    number = find(detection, "a")
    assert number == find(detection, "b") != find(detection, "c")
    stamp = cut_stamp(detection, number)
    side = len(stamp.image)
    x0, y0, x1, y1 = detection.footprints.bbox[number - 1]
    assert side % 2 == 1 and stamp.image.shape == stamp.weights.shape == (side, side)
    assert stamp.x0 <= x0 - 4 and x1 + 4 < stamp.x0 + side
    assert stamp.y0 <= y0 - 4 and y1 + 4 < stamp.y0 + side
    sky = detection.sky_level * detection.noise.sigma
    assert sky == pytest.approx(0.3, abs=0.1)
    assert stamp.image[40 - stamp.y0, 40 - stamp.x0] == pytest.approx(detection.image[40, 40] - sky, rel=1e-5)
    np.testing.assert_allclose(stamp.weights[40 - stamp.y0, 40 - stamp.x0], NOISE**-2, rtol=1e-5)
    assert stamp.psf.sum() == pytest.approx(1.0, abs=1e-5)


def test_stamp_leaves_out_what_does_not_count(detection: DetectionResult) -> None:
    stamp = cut_stamp(detection, find(detection, "edge"))
    assert stamp.y0 < 0 and not stamp.weights[: -stamp.y0].any() and not stamp.image[: -stamp.y0].any()
    rows, columns = np.indices(stamp.weights.shape)
    inside = rows + stamp.y0 >= 0
    labels = detection.footprints.labels[(rows + stamp.y0)[inside], (columns + stamp.x0)[inside]]
    other = (labels > 0) & (labels != find(detection, "edge"))
    np.testing.assert_array_equal(stamp.weights[inside] > 0.0, ~other)
    assert other.any()
    variance = np.full(detection.footprints.shape, 4.0)
    variance[5, 60] = np.nan
    own = cut_stamp(detection, find(detection, "edge"), variance=variance)
    assert own.weights[5 - own.y0, 60 - own.x0] == 0.0
    assert own.weights.max() == 0.25


def test_stamps_that_cannot_be_cut_are_refused(detection: DetectionResult) -> None:
    for number in (0, len(detection.footprints) + 1):
        with pytest.raises(ValueError, match=f"no footprint {number}; they are numbered from 1"):
            cut_stamp(detection, number)
    with pytest.raises(ValueError, match="variance has shape"):
        cut_stamp(detection, 1, variance=np.ones((3, 3)))
    with pytest.raises(ValueError, match="keep them to cut stamps"):
        cut_stamp(detection.without_planes(), 1)


def make_stamp(
    *sources: tuple[float, float, float, float], noise: float = 0.3, scale: float = 1.0
) -> BlendStamp:
    """Make a stamp with discs of x, y, flux and radius; its first pixel is (100, 200)."""
    image = np.random.default_rng(5).normal(0.0, noise, (33, 33))
    for x, y, flux, radius in sources:
        image += flux * disc(image.shape, x - 100, y - 200, radius)
    psf = gaussian((25, 25), 12.0, 12.0, SIGMA)
    weights = np.full(image.shape, (scale * noise) ** -2, np.float32)
    return BlendStamp((scale * image).astype(np.float32), weights, psf.astype(np.float32), 100, 200)


def test_peaks_that_cannot_be_are_refused() -> None:
    stamp = make_stamp()
    none = np.zeros(0)
    with pytest.raises(ValueError, match="one peak or more"):
        deblend_stamp(stamp, none, none)
    with pytest.raises(ValueError, match="outside the stamp"):
        deblend_stamp(stamp, np.array([110.0]), np.array([90.0]))


def test_without_scarlet2_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scarlet2", None)
    with pytest.raises(ImportError, match="install the extra deblend"):
        deblend_stamp(make_stamp(), np.array([110.0]), np.array([210.0]), steps=1)


needs_scarlet2 = pytest.mark.usefixtures("_scarlet2")
PAIR = ((113.3, 215.6, 800.0, 2.0), (118.8, 217.1, 500.0, 1.5))
X, Y = np.array([113.0, 119.0]), np.array([216.0, 217.0])


@pytest.fixture(scope="module")
def _scarlet2() -> None:
    pytest.importorskip("scarlet2", reason="scarlet2, of the extra deblend, is not installed")


@needs_scarlet2
def test_two_discs_are_told_apart() -> None:
    stamp = make_stamp(*PAIR)
    sources = deblend_stamp(stamp, X, Y)
    np.testing.assert_allclose(sources.flux, [800.0, 500.0], rtol=0.05)
    np.testing.assert_allclose(sources.x, [113.3, 118.8], atol=0.1)
    np.testing.assert_allclose(sources.y, [215.6, 217.1], atol=0.1)
    # Of the model, which is not sharp.
    assert np.all(sources.radius > [2.0, 1.5]) and np.all(sources.radius < [2.6, 2.1])
    assert np.hypot(sources.e1, sources.e2).max() < 0.2
    assert sources.chi2 == pytest.approx(1.0, abs=0.15)
    np.testing.assert_allclose(sources.models.sum(axis=(1, 2)), sources.flux, rtol=1e-5)
    # The fluxes of these models that linear least squares give are those that they have.
    root = np.sqrt(stamp.weights).ravel().astype(float)
    design = (sources.models.reshape(2, -1).astype(float) * root).T
    best = np.linalg.lstsq(design, stamp.image.ravel() * root, rcond=None)[0]
    np.testing.assert_allclose(best, 1.0, atol=0.01)


@needs_scarlet2
def test_one_peak_takes_the_light_of_both() -> None:
    sources = deblend_stamp(make_stamp(*PAIR), X[:1], Y[:1])
    assert len(sources) == 1 and sources.flux[0] > 950.0
    # It stays near its peak, and is stretched towards the other.
    assert abs(sources.x[0] - X[0]) <= 1.5 and sources.e1[0] > 0.2


@needs_scarlet2
def test_unit_and_order_do_not_matter() -> None:
    sources = deblend_stamp(make_stamp(*PAIR), X, Y)
    swapped = deblend_stamp(make_stamp(*PAIR, scale=1000.0), X[::-1], Y[::-1])
    np.testing.assert_allclose(swapped.flux[::-1], 1000.0 * sources.flux, rtol=1e-3)
    np.testing.assert_allclose(swapped.x[::-1], sources.x, atol=1e-2)
    assert swapped.chi2 == pytest.approx(sources.chi2, rel=1e-3)


@needs_scarlet2
@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.floats(-40.0, 40.0), st.floats(0.0, 0.7), st.integers(0, 2**32 - 1))
def test_any_image_gives_numbers(level: float, share: float, seed: int) -> None:
    """Whatever is in a stamp, also negative light, dead pixels, and nothing at all."""
    rng = np.random.default_rng(seed)
    stamp = make_stamp()
    weights = stamp.weights * (rng.uniform(size=stamp.weights.shape) >= share)
    stamp = BlendStamp(stamp.image + np.float32(level), weights, stamp.psf, stamp.x0, stamp.y0)
    sources = deblend_stamp(stamp, X, Y)
    for values in (sources.x, sources.y, sources.flux, sources.radius, sources.e1, sources.e2):
        assert np.isfinite(values).all()
    assert np.abs(sources.x - X).max() <= 1.5 + 1e-4 and np.hypot(sources.e1, sources.e2).max() < 1.0


@needs_scarlet2
def test_catalogue_has_a_row_for_each_peak(detection: DetectionResult) -> None:
    blends = add_peaks(detection)
    number = find(detection, "a")
    peaks = Table(
        {"footprint_id": [find(detection, "c"), number, number], "x": [90, 46, 40], "y": [30, 41, 40]}
    )
    catalog = deblend_blends(blends, peaks)
    assert catalog["footprint_id"].tolist() == sorted(peaks["footprint_id"])
    flux = {(row["peak_x"], row["peak_y"]): row["flux"] for row in catalog}
    for name, true in {"a": 900.0, "b": 600.0, "c": 700.0}.items():
        assert flux[XY[name]] == pytest.approx(true, rel=0.1)
    assert np.isfinite(catalog["chi2"]).all() and {"radius", "e1", "e2"} <= set(catalog.colnames)
    assert peaks.colnames == ["footprint_id", "x", "y"] and peaks["x"][0] == 90
    assert len(deblend_blends(blends, peaks[:0])) == 0
