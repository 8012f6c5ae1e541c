# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests for SExtractor with hot and cold settings."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from benchmark_programs import load_benchmark
from hypothesis import given
from hypothesis import strategies as st
from lsst.meas.blendid._sep import MissingSepError
from lsst.meas.blendid.simulation.stamps import StampSet

sep = pytest.importorskip("sep")

program = load_benchmark("hot_cold")
COLD, HOT, PUBLISHED_RATES = program.COLD, program.HOT, program.PUBLISHED_RATES
cold_else_hot, cold_plus_hot, find_in_stamps = (
    program.cold_else_hot,
    program.cold_plus_hot,
    program.find_in_stamps,
)
detection_rates, rates_as_text, reweight = program.detection_rates, program.rates_as_text, program.reweight
hot_cold_report, read_published_pairs = program.hot_cold_report, program.read_published_pairs

SIZE, SIGMA, RADIUS = 128, 1.0, 4.0


def _image(sources: list[tuple[float, float, float]], seed: int = 0, width: float = 3.0) -> np.ndarray:
    """Draw Gaussians (x, y, peak) on noise."""
    y, x = np.mgrid[:SIZE, :SIZE]
    image = np.random.default_rng(seed).normal(0.0, SIGMA, (SIZE, SIZE))
    for cx, cy, peak in sources:
        image += peak * np.exp(-0.5 * ((x - cx) ** 2 + (y - cy) ** 2) / width**2)
    return image.astype(np.float32)


def _stamps(scenes: list[list[tuple[float, float, float]]]) -> StampSet:
    """Stamps of scenes whose first source is the central one."""
    n = len(scenes)
    ids = np.arange(n, dtype=np.int64)[::-1] + 5
    images = np.stack([_image(scene, seed=i) for i, scene in enumerate(scenes)])
    separation = [np.hypot(s[1][0] - s[0][0], s[1][1] - s[0][1]) if len(s) > 1 else np.nan for s in scenes]
    n_objects = np.array([len(s) for s in scenes], dtype=np.int32)
    stamps = Table(
        {
            "stamp_id": ids,
            "is_blended": n_objects > 1,
            "n_objects": n_objects,
            "separation": np.array(separation, dtype=np.float32),
            "split": np.full(n, "test"),
            "noise": np.full(n, SIGMA, dtype=np.float32),
            "realisation": np.zeros(n, dtype=np.int32),
            "psf_index": np.zeros(n, dtype=np.int32),
        }
    )
    rows = [
        (ids[i], k, 100 * k + (1 if x[2] > 10.0 else 2), x[0], x[1], x[2] * 2.0 * np.pi * 9.0)
        for i, scene in enumerate(scenes)
        for k, x in enumerate(scene)
    ]
    truth = Table(rows=rows, names=("stamp_id", "object", "source_id", "x", "y", "flux"))
    truth["mag"] = -2.5 * np.log10(truth["flux"])
    truth["snr"] = truth["flux"]
    truth["is_star"] = False
    truth["half_light_radius"] = RADIUS
    return StampSet("pairs", images, stamps, truth, np.ones((1, 1, 1), dtype=np.float32), 1.0)


def test_settings_are_those_of_the_paper() -> None:
    assert (COLD.threshold, COLD.min_area, COLD.deblend_contrast, COLD.deblend_thresholds) == (
        5.0,
        10,
        0.01,
        64,
    )
    assert (HOT.threshold, HOT.min_area, HOT.deblend_contrast, HOT.deblend_thresholds) == (4.0, 6, 0.0001, 64)
    assert sum(PUBLISHED_RATES.values()) == pytest.approx(1.0)


@pytest.mark.parametrize("detect", [cold_else_hot, cold_plus_hot])
def test_two_distant_galaxies_are_found_cold(detect: object) -> None:
    found = detect(_image([(64, 64, 30.0), (96, 80, 20.0)]))  # type: ignore[operator]
    assert len(found) == 2
    assert not found.hot.any()
    order = np.argsort(found.x)
    np.testing.assert_allclose(found.x[order], [64, 96], atol=0.5)
    np.testing.assert_allclose(found.y[order], [64, 80], atol=0.5)
    assert set(np.unique(found.segmentation)) == {0, 1, 2}
    for i in range(2):
        assert found.segmentation[round(found.y[i]), round(found.x[i])] == i + 1


def test_hot_run_is_taken_where_cold_finds_one() -> None:
    """A companion of less than a hundredth of the light is left to the hot run."""
    image = _image([(64, 64, 200.0), (64, 76, 8.0)])
    cold = cold_else_hot(image, hot=COLD)
    found = cold_else_hot(image)
    assert len(cold) == 1
    assert len(found) == 2
    assert found.hot.all()
    np.testing.assert_allclose(np.sort(found.y), [64.0, 76.0], atol=2.0)
    # GALAPAGOS never splits a cold source.
    both = cold_plus_hot(image)
    np.testing.assert_array_equal(both.hot, [False])


def test_hot_source_outside_of_cold_ones_is_added() -> None:
    image = _image([(32, 64, 12.0), (100, 64, 5.0)])
    cold, both = cold_plus_hot(image, hot=COLD), cold_plus_hot(image)
    assert len(cold) == 1
    assert len(both) == 2
    np.testing.assert_array_equal(both.hot, [False, True])
    assert both.x[1] == pytest.approx(100, abs=2.0)
    # Its pixels are added, those of the cold one stay.
    np.testing.assert_array_equal(both.segmentation == 1, cold.segmentation == 1)
    assert both.segmentation[64, 100] == 2


def test_enlarged_ellipse_decides_what_is_added() -> None:
    image = _image([(32, 64, 12.0), (100, 64, 5.0)])
    assert len(cold_plus_hot(image, enlarge=1.1)) == 2
    assert len(cold_plus_hot(image, enlarge=50.0)) == 1


def test_nothing_is_found_in_noise() -> None:
    for detect in (cold_else_hot, cold_plus_hot):
        found = detect(_image([]))
        assert len(found) == 0
        assert not found.segmentation.any()


def test_limit_of_sub_objects_is_put_back() -> None:
    before = sep.get_sub_object_limit()
    cold_else_hot(_image([(64, 64, 30.0)]))
    assert sep.get_sub_object_limit() == before


def test_stamps_get_the_codes_of_the_published_pairs() -> None:
    stamps = _stamps(
        [
            [(64, 64, 30.0), (96, 80, 60.0)],  # both
            [(64, 64, 30.0), (66, 64, 1.0)],  # the companion is lost
            [(64, 64, 0.1), (90, 64, 30.0)],  # the central galaxy is lost
            [(64, 64, 30.0), (96, 80, 20.0), (20, 20, 20.0)],  # three
            [(64, 64, 0.1), (90, 64, 0.1)],  # nothing
            [(64, 64, 30.0)],  # no pair
        ]
    )
    found = find_in_stamps(stamps)
    np.testing.assert_array_equal(found["detection"], [2, 0, 1, 3, -1, 0])
    np.testing.assert_array_equal(found["n_found"], [2, 1, 1, 3, 0, 1])
    np.testing.assert_array_equal(found["stamp_id"], stamps.stamps["stamp_id"])
    expected = 2.0 * np.pi * 9.0 * np.array([30.0, 60.0])
    # Light under the threshold, a fifth or less of the peak, is not counted.
    assert 0.8 * expected[0] < found["flux_central"][0] < expected[0]
    assert 0.8 * expected[1] < found["flux_companion"][0] < expected[1]
    assert np.isnan(found["flux_companion"][1])
    assert np.isnan(found["flux_central"][2])
    # The fainter galaxy of a pair sets the surface brightness, whatever the order of the numbers.
    np.testing.assert_allclose(
        found["surface_snr"][[0, 1, 5]], np.array([30.0, 1.0, 30.0]) * 9.0 / 16.0, rtol=1e-6
    )
    rates = detection_rates(found)
    assert rates["n"][0] == 4
    assert (rates["none"][0], rates["one"][0], rates["two"][0]) == (0.25, 0.5, 0.25)


def test_report_says_what_each_cut_does() -> None:
    scenes = [[(64.0, 64.0, 30.0), (64.0 + d, 64.0, 30.0)] for d in (3, 12, 25)]
    alone = _stamps([[(64.0, 64.0, 30.0)]] * 3)
    text = hot_cold_report(_stamps(scenes), alone=alone)
    assert text.startswith("Galaxies alone: none found in 0.0%, one source in 100.0%, more in 0.0%.")
    assert "All pairs (cold-else-hot)" in text
    assert "Moreover neither" in text
    assert "at the published" not in text


def test_bad_strategy_and_missing_radius_are_named() -> None:
    stamps = _stamps([[(64, 64, 30.0)]])
    with pytest.raises(ValueError, match="unknown strategy 'warm'; there are cold-else-hot, cold-plus-hot"):
        find_in_stamps(stamps, strategy="warm")  # type: ignore[arg-type]
    stamps.truth.remove_column("half_light_radius")
    with pytest.raises(ValueError, match="truth of pairs has no half_light_radius"):
        find_in_stamps(stamps)


def test_missing_sep_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sep", None)
    with pytest.raises(MissingSepError, match="pip install"):
        cold_else_hot(_image([]))


@given(
    st.lists(st.tuples(st.floats(0.0, 80.0), st.sampled_from([-1, 0, 1, 2, 3])), max_size=60),
)
def test_shares_sum_to_one(pairs: list[tuple[float, int]]) -> None:
    found = Table(
        {
            "n_objects": np.full(len(pairs), 2),
            "separation": np.array([p[0] for p in pairs], dtype=float),
            "detection": np.array([p[1] for p in pairs], dtype=int),
        }
    )
    rates = detection_rates(found)
    assert rates["n"][0] == len(pairs) == rates["n"][1:].sum()
    for row in rates:
        total = row["none"] + row["one"] + row["two"] + row["more"]
        assert np.isnan(total) if row["n"] == 0 else total == pytest.approx(1.0)
    # With its own separations a table gives its own shares.
    own = reweight(rates, rates)
    for name, share in own.items():
        assert np.isnan(share) if not pairs else share == pytest.approx(float(rates[name][0]))
    assert len(rates_as_text(rates).splitlines()) == 1 + len(rates)


def test_reweight_takes_the_separations_of_others() -> None:
    def table(separation: list[float], detection: list[int]) -> Table:
        found = Table({"n_objects": [2] * len(separation), "separation": separation, "detection": detection})
        return detection_rates(found)

    mine = table([3.0, 12.0, 12.0], [0, 2, 2])
    theirs = table([3.0, 3.0, 3.0, 12.0], [0, 0, 0, 2])
    assert reweight(mine, theirs)["one"] == pytest.approx(0.75)
    assert np.isnan(reweight(table([3.0], [0]), table([12.0], [0]))["one"])


@pytest.fixture(scope="module")
def published(shared_data: Path) -> Table:
    path = shared_data / "coindeblend" / "output_catalog.csv"
    if not path.is_file():
        pytest.skip(f"no catalogue of COIN in {shared_data}")
    return read_published_pairs(path)


def test_published_rates_are_recovered(published: Table) -> None:
    """75, 22 and 3 % in the paper, and by separation."""
    rates = detection_rates(published)
    assert rates["n"][0] == 4776
    for name, share in PUBLISHED_RATES.items():
        assert rates[name][0] == pytest.approx(share, abs=0.011)
    np.testing.assert_allclose(rates["one"][1:5], [0.96, 0.52, 0.116, 0.019], atol=0.005)


def test_codes_of_published_pairs_mean_what_the_fluxes_say(published: Table) -> None:
    """A galaxy that was not found has no flux."""
    detection = np.asarray(published["detection"])
    has = [~np.ma.getmaskarray(published[name]) for name in ("g1_flux_sex", "g2_flux_sex")]
    assert has[0][detection == 0].all()
    assert not has[1][detection == 0].any()
    assert has[1][detection == 1].all()
    assert not has[0][detection == 1].any()
    assert (has[0] & has[1])[detection >= 2].all()


def test_unreadable_published_pairs_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing.csv"):
        read_published_pairs(tmp_path / "nothing.csv")
    path = tmp_path / "other.csv"
    path.write_text("distance,colour\n1.0,2\n")
    with pytest.raises(ValueError, match="lacks detection"):
        read_published_pairs(path)
    path.write_text("distance,detection\n1.0,7\n")
    with pytest.raises(ValueError, match="has detection 7"):
        read_published_pairs(path)
