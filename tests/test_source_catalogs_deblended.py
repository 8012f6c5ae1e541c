# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The look at what a deblender made of added peaks, on what it made of some."""

from __future__ import annotations

from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from lsst.meas.blendid.source_catalogs import find_failed_children, read_catalog


@pytest.fixture(scope="module")
def toy(shared_data: Path) -> dict[str, np.ndarray]:
    with np.load(shared_data / "afw_reference" / "deblend_toy.npz") as arrays:
        return dict(arrays)


def _check(toy: dict[str, np.ndarray], run: str, kind: str = "redistributed") -> set[int]:
    """Peak ids of the children that are flagged."""
    failed = find_failed_children(
        toy[f"{run}_parent"], chi2=toy[f"{run}_deblend_chi2"], flux=toy[f"{run}_flux_{kind}"]
    )
    return set(toy[f"{run}_deblend_peakId"][failed].tolist())


@pytest.mark.parametrize("kind", ["redistributed", "model"])
def test_good_children_are_not_flagged(toy: dict[str, np.ndarray], kind: str) -> None:
    """Without an added peak, with a true one, and with one on the detected peak, which splits the flux."""
    for run in ("base", "split", "duplicate"):
        assert _check(toy, run, kind) == set()


@pytest.mark.parametrize("kind", ["redistributed", "model"])
def test_a_fit_that_diverged_is_flagged_with_its_neighbour(toy: dict[str, np.ndarray], kind: str) -> None:
    """The true object, peak 6, lost its flux to the added one, 20; the other blend is fine."""
    assert _check(toy, "rim", kind) == {6, 20}


def test_the_places_whose_fit_diverged(toy: dict[str, np.ndarray]) -> None:
    """By the chi2 of their children: all 17 of 67 whose parent's is over 1e3, and none of the others."""
    probe = dict(zip(toy["probe_columns"].tolist(), toy["probe"].T, strict=True))
    parents = np.arange(1, 68)
    failed = find_failed_children(parents, chi2=probe["child_chi2"])
    np.testing.assert_array_equal(failed, probe["parent_chi2"] > 1e3)
    assert failed.sum() == 17


def test_a_catalogue_of_the_deblender(shared_data: Path) -> None:
    records = read_catalog(shared_data / "afw_reference" / "object_deblend_split.fits").records
    parent, chi2 = records.column("parent"), records.column("deblend_chi2")
    assert not find_failed_children(parent, chi2=chi2).any()
    chi2[parent != 0] *= 1e4
    np.testing.assert_array_equal(find_failed_children(parent, chi2=chi2), parent != 0)


def test_children_with_next_to_nothing() -> None:
    parent = np.array([0, 7, 7, 7, 9, 9])
    flux = np.array([1.0, 98.5, 1.5, np.nan, -3.0, 50.0])
    np.testing.assert_array_equal(
        find_failed_children(parent, flux=flux), [False, False, True, False, True, False]
    )
    total = np.array([1.0, 50.0, 50.0, 50.0, 5000.0, 5000.0])
    np.testing.assert_array_equal(
        find_failed_children(parent, flux=flux, footprint_flux=total),
        [False, False, False, False, True, True],
    )
    bands = np.stack([flux, np.full(6, np.nan), 2.0 * flux], axis=1)
    np.testing.assert_array_equal(
        find_failed_children(parent, flux=bands), find_failed_children(parent, flux=flux)
    )
    assert find_failed_children(parent, flux=flux, min_share=0.01).tolist() == [False] * 4 + [True, False]


@given(
    st.lists(st.tuples(st.integers(0, 4), st.floats(0, 1e5) | st.sampled_from([np.nan, np.inf])), max_size=12)
)
def test_chi2_against_a_loop(objects: list[tuple[int, float]]) -> None:
    parent = np.array([p for p, _ in objects], dtype=np.int64)
    failed = find_failed_children(parent, chi2=np.array([c for _, c in objects]))
    bad = {p for p, c in objects if c > 1e3}
    assert failed.tolist() == [p != 0 and p in bad for p, _ in objects]


def test_arrays_have_to_fit() -> None:
    parent = np.array([0, 1])
    for options in (
        {"chi2": np.zeros(3)},
        {"flux": np.zeros(3)},
        {"flux": np.zeros(2), "footprint_flux": 1.0},
    ):
        with pytest.raises(ValueError, match="has shape"):
            find_failed_children(parent, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="of no use without flux"):
        find_failed_children(parent, footprint_flux=np.zeros(2))
