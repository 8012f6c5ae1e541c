# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests for pairs of real galaxies."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsst.meas.blendid.simulation import SimulationError
from lsst.meas.blendid.simulation.stamps import StampSet, StampSetError
from lsst.meas.blendid.simulation.stamps.coin import CENTRAL, COMPANION, CoinSettings, make_coin
from lsst.meas.blendid.simulation.stamps.real_galaxies import (
    HST_ZERO_POINT,
    IsolatedGalaxies,
    IsolatedGalaxy,
    open_real_galaxies,
    segment,
)

pytest.importorskip("galsim")

COUNTS = {"train": 30, "validation": 20, "test": 30}


@pytest.fixture(scope="module")
def cosmos(shared_data: Path) -> Path:
    folder = shared_data / "cosmos_real"
    if not folder.is_dir():
        pytest.skip(f"no galaxies of COSMOS in {shared_data}")
    return folder


@pytest.fixture(scope="module")
def coin(cosmos: Path) -> StampSet:
    return make_coin(cosmos, COUNTS, seed=3)


def _by_object(stamp_set: StampSet, column: str) -> tuple[np.ndarray, np.ndarray]:
    truth = stamp_set.truth
    first = np.asarray(truth["object"]) == 0
    return np.asarray(truth[column])[first], np.asarray(truth[column])[~first]


def test_set_has_the_numbers_of_the_paper(coin: StampSet) -> None:
    assert coin.images.shape == (80, 128, 128)
    assert coin.images.dtype == np.float32
    assert np.isfinite(coin.images).all()
    assert coin.is_blended.all()
    names, n = np.unique(np.asarray(coin.stamps["split"]).astype(str), return_counts=True)
    assert dict(zip(names.tolist(), n.tolist(), strict=True)) == COUNTS
    assert len(set(coin.stamps["stamp_id"])) == 80
    assert coin.pixel_scale == pytest.approx(0.03)


def test_pairs_are_of_similar_magnitude_and_of_two_galaxies(coin: StampSet) -> None:
    first, second = _by_object(coin, "mag")
    assert np.abs(first - second).max() <= 2.0
    assert max(first.max(), second.max()) <= 24.5
    one, other = _by_object(coin, "source_id")
    assert (one != other).all()


def test_no_galaxy_is_in_two_splits(coin: StampSet) -> None:
    sources = [set(coin.split(name).truth["source_id"].tolist()) for name in COUNTS]
    assert all(sources)
    assert sum(len(names) for names in sources) == len(set.union(*sources))


@pytest.mark.parametrize("rule", ["text", "released"])
def test_shift_is_in_its_range(cosmos: Path, rule: str) -> None:
    settings = CoinSettings(shift=rule)
    coin = make_coin(cosmos, {"train": 60}, settings=settings)
    radii = np.stack(_by_object(coin, "half_light_radius")) / coin.pixel_scale
    shift = np.hypot(coin.stamps["shift_x"], coin.stamps["shift_y"])
    large, small = radii.max(axis=0), radii.min(axis=0)
    assert (shift >= 0.5 * large - 1e-4).all()
    assert (shift <= 64.0).all()
    if rule == "released":
        assert (shift <= np.minimum(4.0 * small, 64.0) + 1e-4).all()
    else:
        assert (shift > 4.0 * small).any()
    assert np.abs(np.asarray(coin.stamps["separation"]) - shift).max() < 1.5


def test_truth_says_where_the_light_is(coin: StampSet) -> None:
    middle = np.stack([np.asarray(coin.truth[name]) for name in ("x", "y")], axis=1)
    first = np.asarray(coin.truth["object"]) == 0
    assert np.abs(middle[first] - 64.0).max() <= 0.5
    second = middle[~first] - np.stack([coin.stamps["shift_x"], coin.stamps["shift_y"]], axis=1)
    assert np.abs(second - 64.0).max() <= 0.5
    bits = coin.arrays["segmentation"]
    assert bits.dtype == np.uint8
    for k, bit in enumerate((CENTRAL, COMPANION)):
        inside = (bits & bit) > 0
        area = np.asarray(coin.truth["n_pixels"])[np.asarray(coin.truth["object"]) == k]
        np.testing.assert_array_equal(inside.sum(axis=(1, 2)), area)
    assert ((bits & CENTRAL) > 0)[:, 64, 64].mean() > 0.9
    # The stamp is brighter where a galaxy is.
    inside = bits > 0
    assert np.mean(coin.images[inside]) > 10.0 * abs(np.mean(coin.images[~inside]))


def test_fluxes_are_of_the_catalogue_and_of_the_image_alone(coin: StampSet) -> None:
    flux = np.asarray(coin.truth["flux"], dtype=float)
    np.testing.assert_allclose(
        flux, 10.0 ** (-0.4 * (np.asarray(coin.truth["mag"]) - HST_ZERO_POINT)), rtol=1e-5
    )
    ratio = np.asarray(coin.truth["flux_segment"], dtype=float) / flux
    assert 0.75 < np.median(ratio) < 1.05


def test_noise_is_what_the_table_says(cosmos: Path) -> None:
    for factor in (0.0, 1.0):
        settings = CoinSettings(noise_factor=factor)
        coin = make_coin(cosmos, {"test": 20}, settings=settings)
        for image, bits, sigma in zip(coin.images, coin.arrays["segmentation"], coin.noise, strict=True):
            border = np.concatenate([image[:16][bits[:16] == 0], image[-16:][bits[-16:] == 0]])
            assert 1.4826 * np.median(np.abs(border - np.median(border))) == pytest.approx(sigma, rel=0.12)


def test_stamps_do_not_depend_on_how_many_there_are(cosmos: Path, coin: StampSet) -> None:
    fewer = make_coin(cosmos, {"validation": 5, "test": 7}, seed=3)
    for name, n in (("validation", 5), ("test", 7)):
        np.testing.assert_array_equal(fewer.split(name).images, coin.split(name).images[:n])
    other = make_coin(cosmos, {"test": 7}, seed=4)
    assert not np.array_equal(other.images, fewer.split("test").images)


def test_isolated_stamps_have_one_galaxy(cosmos: Path) -> None:
    coin = make_coin(cosmos, {"train": 60}, settings=CoinSettings(isolated_share=0.5))
    n = np.asarray(coin.stamps["n_objects"])
    assert 15 < (n == 1).sum() < 45
    np.testing.assert_array_equal(coin.is_blended, n == 2)
    assert np.isnan(np.asarray(coin.stamps["separation"])[n == 1]).all()
    assert not (coin.arrays["segmentation"][n == 1] & COMPANION).any()
    assert len(coin.truth) == n.sum()


def test_binning_keeps_the_light(cosmos: Path) -> None:
    galaxies = open_real_galaxies(cosmos)
    galaxies = galaxies.select(galaxies.mag < 23.5)
    fine, coarse = (IsolatedGalaxies(galaxies, size=64, binning=b, seed=1) for b in (1, 2))
    for i in range(4):
        a, b = fine[i], coarse[i]
        assert a is not None
        assert b is not None
        assert b.flux == pytest.approx(a.flux, rel=0.1)
        psf = coarse.psf(i, 21)
        assert psf.sum() == pytest.approx(1.0, abs=1e-5)
        assert np.abs(np.array(np.unravel_index(psf.argmax(), psf.shape)) - 10).max() <= 1


def test_set_is_read_as_it_was_written(coin: StampSet, tmp_path: Path) -> None:
    coin.write(tmp_path / "coin")
    again = StampSet.read(tmp_path / "coin")
    np.testing.assert_array_equal(again.images, coin.images)
    np.testing.assert_array_equal(again.arrays["segmentation"], coin.arrays["segmentation"])
    assert again.metadata == json.loads(json.dumps(dict(coin.metadata)))


def test_progress_counts_to_the_end(cosmos: Path) -> None:
    calls: list[tuple[int, int]] = []
    make_coin(cosmos, {"test": 3}, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_segment_agrees_with_sep() -> None:
    """SExtractor without deblending finds the same pixels."""
    sep = pytest.importorskip("sep")
    rng = np.random.default_rng(1)
    noise = rng.normal(0.0, 1.0, (96, 96))
    y, x = np.mgrid[:96, :96]
    image = noise.copy()
    for cx, cy, flux, width in ((30, 30, 40.0, 4.0), (60, 66, 15.0, 2.5), (75, 20, 8.0, 6.0)):
        image += flux * np.exp(-0.5 * ((x - cx) ** 2 + (y - cy) ** 2) / width**2)
    labels = segment(image, noise)
    kernel = np.array([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]) / 16.0
    padded = np.pad(noise, 1, mode="edge")
    smooth = sum(kernel[j, i] * padded[j : j + 96, i : i + 96] for j in range(3) for i in range(3))
    _, expected = sep.extract(
        image,
        1.5 * float(np.std(smooth)),
        minarea=5,
        filter_kernel=kernel,
        filter_type="conv",
        deblend_cont=1.0,
        clean=False,
        segmentation_map=True,
    )
    inside = slice(8, -8)  # SEP takes nothing to be beyond the border
    np.testing.assert_array_equal((labels > 0)[inside, inside], (expected > 0)[inside, inside])


@given(st.integers(0, 7), st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.integers(-8, 8), st.integers(-8, 8))
def test_turned_galaxy_keeps_its_centre(k: int, fx: float, fy: float, dx: int, dy: int) -> None:
    """The offset turns with the image: first moments say so."""
    size = 16
    y, x = np.mgrid[: 2 * size + 1, : 2 * size + 1] - size
    # Light of two pixels beside the middle, with first moments fx and fy.
    image = np.zeros(x.shape)
    image[size, size] = 1.0 - abs(fx) - abs(fy)
    image[size, size + (1 if fx >= 0 else -1)] = abs(fx)
    image[size + (1 if fy >= 0 else -1), size] += abs(fy)
    galaxy = IsolatedGalaxy(image, image > 0.0, (fx, fy), 1.0, 1.0, 0)
    turned = galaxy.turned(k)
    assert turned.offset[0] == pytest.approx(float((turned.image * x).sum()), abs=1e-12)
    assert turned.offset[1] == pytest.approx(float((turned.image * y).sum()), abs=1e-12)
    stamp, _ = turned.cut(size, dx, dy)
    if max(abs(dx), abs(dy)) <= 6:
        sy, sx = np.mgrid[:size, :size]
        assert float((stamp * sx).sum()) == pytest.approx(8 + dx + turned.offset[0], abs=1e-9)
        assert float((stamp * sy).sum()) == pytest.approx(8 + dy + turned.offset[1], abs=1e-9)


@given(st.floats(0.5, 60.0), st.floats(0.5, 60.0))
def test_shift_range_is_that_of_the_published_pairs(a: float, b: float) -> None:
    released = CoinSettings(shift="released")
    low, high = released.shift_range(a, b)
    assert (low, high) == released.shift_range(b, a)
    assert high == min(4.0 * min(a, b), 64.0)
    assert low >= 0.5 * max(a, b)
    assert CoinSettings().shift_range(a, b) == (0.5 * max(a, b), 64.0)


def test_published_pairs_keep_to_the_range(shared_data: Path) -> None:
    """All of them lie in it but for those under the least shift of the text."""
    path = shared_data / "coindeblend" / "output_catalog.csv"
    if not path.is_file():
        pytest.skip(f"no catalogue of COIN in {shared_data}")
    table = np.genfromtxt(
        path, delimiter=",", names=True, usecols=("distance", "g1_rad", "g2_rad"), encoding="utf-8"
    )
    loose = CoinSettings(min_separation=1e-6, shift="released")
    limits = np.array(
        [loose.shift_range(a, b) for a, b in zip(table["g1_rad"], table["g2_rad"], strict=True)]
    )
    assert (table["distance"] >= limits[:, 0] - 1e-4).all()
    assert (table["distance"] <= limits[:, 1] + 1e-4).all()
    large = np.maximum(table["g1_rad"], table["g2_rad"])
    assert np.mean(table["distance"] >= 0.5 * large) == pytest.approx(0.981, abs=0.001)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 127}, "size must be even"),
        ({"binning": 0}, "binning must be 1 or more"),
        ({"max_mag_difference": float("nan")}, "max_mag_difference must be positive"),
        ({"min_separation": 0.0}, "min_separation must be positive"),
        ({"noise_factor": -1.0}, "noise_factor must not be negative"),
        ({"isolated_share": 1.5}, "isolated_share must be between 0 and 1"),
        ({"shift": "far"}, "shift must be text or released"),
        ({"split_shares": {"holdout": 1.0}}, "unknown split 'holdout'"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SimulationError, match=message):
        CoinSettings(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"holdout": 3}, "unknown split 'holdout'"),
        ({"test": -1}, "must not be negative"),
        ({"test": 0}, "nor all 0"),
    ],
)
def test_bad_counts_are_named(cosmos: Path, counts: dict[str, int], message: str) -> None:
    with pytest.raises(SimulationError, match=message):
        make_coin(cosmos, counts)


def test_too_few_galaxies_are_an_error(cosmos: Path) -> None:
    with pytest.raises(StampSetError, match="brighter than 15"):
        make_coin(cosmos, {"test": 1}, settings=CoinSettings(mag_limit=15.0))
    with pytest.raises(StampSetError, match="within 0.001 mag; use a larger catalogue"):
        make_coin(cosmos, {"test": 1}, settings=CoinSettings(max_mag_difference=0.001))
    with pytest.raises(SimulationError, match="split_shares gives it no galaxy"):
        make_coin(cosmos, {"train": 1}, settings=CoinSettings(split_shares={"test": 1.0}))
