# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Footprints of a catalogue as those of an image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from lsst.meas.blendid.footprints import FootprintConfig, build_footprints
from lsst.meas.blendid.images.psf import PsfSummary
from lsst.meas.blendid.source_catalogs import (
    CatalogError,
    CatalogFootprints,
    GivenFootprints,
    make_footprint_set,
    parse_catalog,
    read_catalog,
)
from toy_catalogs import ToyFootprint, ToyPeak, write_toy


def _read(footprints: Sequence[ToyFootprint]) -> CatalogFootprints:
    return parse_catalog(write_toy(footprints), "toy").footprints()


def _make(
    footprints: Sequence[ToyFootprint], shape: tuple[int, int] = (50, 60), xy0: tuple[int, int] = (0, 0)
) -> GivenFootprints:
    return make_footprint_set(_read(footprints), shape, xy0)


def test_identifiers_are_kept() -> None:
    """Footprints are numbered by their first pixel, peaks by their value once they have one."""
    made = _make(
        [
            ToyFootprint(300, (30, 10, 40, 20), [ToyPeak(7, 35, 15)]),
            ToyFootprint(200, (5, 2, 15, 8), [ToyPeak(9, 10, 5, value=3), ToyPeak(4, 8, 4, value=8)]),
        ]
    )
    footprints = made.footprints
    assert footprints.ids is not None and footprints.peak_ids is not None
    assert footprints.ids.tolist() == [200, 300]
    assert made.record.tolist() == [1, 0]
    assert footprints.bbox.tolist() == [[5, 2, 15, 8], [30, 10, 40, 20]]
    assert footprints.peak_ids.tolist() == [4, 9, 7]
    assert footprints.n_peaks.tolist() == [2, 1]
    assert made.describe() == ""


def test_parent_pixels() -> None:
    made = _make(
        [ToyFootprint(1, (3000, 7000, 3010, 7005), [ToyPeak(1, 3002, 7003)])], (20, 30), (2995, 6990)
    )
    assert made.footprints.xy0 == (2995, 6990)
    assert made.footprints.bbox.tolist() == [[3000, 7000, 3010, 7005]]
    assert made.footprints.labels[10, 5] == 1 and made.footprints.labels.sum() == 66


def test_footprints_at_the_edge() -> None:
    made = _make(
        [
            ToyFootprint(1, (-5, -5, 10, 10), [ToyPeak(1, -2, 5), ToyPeak(2, 4, 5)]),
            ToyFootprint(2, (55, 40, 80, 60), [ToyPeak(3, 58, 45)]),
            ToyFootprint(3, (100, 0, 120, 10), [ToyPeak(4, 110, 5)]),
            ToyFootprint(4, (20, 60, 30, 70), [ToyPeak(5, 25, 65)]),
        ]
    )
    footprints = made.footprints
    assert footprints.ids is not None and footprints.ids.tolist() == [1, 2]
    assert footprints.bbox.tolist() == [[0, 0, 10, 10], [55, 40, 59, 49]]
    assert footprints.peak_ids is not None and footprints.peak_ids.tolist() == [2, 3]
    assert (made.n_outside, made.n_cut, made.n_covered, made.n_peaks_left_out) == (2, 2, 0, 1)
    assert made.describe() == (
        "2 lie outside the image, 2 are cut by its edge, 1 peaks are not in what is left of theirs"
    )


def test_footprints_that_overlap() -> None:
    """A pixel belongs to the first footprint that has it."""
    made = _make(
        [
            ToyFootprint(1, (10, 10, 20, 20), [ToyPeak(1, 15, 15)]),
            ToyFootprint(2, (15, 5, 30, 20), [ToyPeak(2, 18, 12), ToyPeak(3, 25, 12)]),
            ToyFootprint(3, (12, 12, 14, 14), [ToyPeak(4, 13, 13)]),
        ]
    )
    footprints = made.footprints
    assert footprints.ids is not None and footprints.ids.tolist() == [2, 1]
    assert footprints.area.tolist() == [16 * 16 - 6 * 11, 11 * 11]
    assert footprints.peak_ids is not None and footprints.peak_ids.tolist() == [3, 1]
    assert (made.n_outside, made.n_covered, made.n_peaks_left_out) == (0, 1, 1)


def test_only_parents_count() -> None:
    made = _make(
        [
            ToyFootprint(1, (10, 10, 20, 20), [ToyPeak(1, 15, 15)]),
            ToyFootprint(2, (10, 10, 15, 20), [ToyPeak(1, 15, 15)], parent=1),
            ToyFootprint(3, (30, 10, 40, 20), []),
        ]
    )
    assert made.footprints.ids is not None and made.footprints.ids.tolist() == [1, 3]
    assert made.footprints.n_peaks.tolist() == [1, 0]
    assert np.isnan(made.footprints.max_significance[1])


def test_ids_that_repeat_are_refused() -> None:
    with pytest.raises(CatalogError, match="several records with the id 5; renumber them"):
        _make([ToyFootprint(5, (0, 0, 5, 5)), ToyFootprint(5, (10, 0, 15, 5))])


@pytest.mark.parametrize("footprints", [[], [ToyFootprint(1, (-9, -9, -2, -2))]])
def test_nothing_in_the_image(footprints: list[ToyFootprint]) -> None:
    made = _make(footprints)
    assert len(made.footprints) == len(made.footprints.peaks) == 0
    assert made.n_outside == len(footprints)


_BOX = st.tuples(st.integers(-12, 30), st.integers(-12, 30), st.integers(0, 15), st.integers(0, 15))


@settings(max_examples=40)
@given(st.lists(_BOX, max_size=6), st.integers(-5, 5), st.integers(-5, 5))
def test_pixels_are_those_of_the_catalogue(boxes: list, x0: int, y0: int) -> None:
    """Against an image that is painted pixel by pixel."""
    toys = [
        ToyFootprint(i + 1, (x, y, x + w, y + h), [ToyPeak(i + 1, x, y)])
        for i, (x, y, w, h) in enumerate(boxes)
    ]
    made = _make(toys, (20, 25), (x0, y0))
    wanted = np.zeros((20, 25), int)
    for y in range(20):
        for x in range(25):
            owners = [
                i + 1 for i, (a, b, w, h) in enumerate(boxes) if a <= x + x0 <= a + w and b <= y + y0 <= b + h
            ]
            wanted[y, x] = owners[0] if owners else 0
    footprints = made.footprints
    assert footprints.ids is not None and footprints.peak_ids is not None
    painted = np.concatenate([[0], footprints.ids])[footprints.labels]
    np.testing.assert_array_equal(painted, wanted)
    kept = {
        i + 1
        for i, (x, y, *_) in enumerate(boxes)
        if 0 <= x - x0 < 25 and 0 <= y - y0 < 20 and wanted[y - y0, x - x0] == i + 1
    }
    assert set(footprints.peak_ids.tolist()) == kept
    n_all = len(boxes)
    assert len(footprints) + made.n_outside + made.n_covered == n_all


def test_detection_judges_the_footprints_of_the_pipeline(shared_data: Path) -> None:
    """Those that Rubin's own task found in an image give what is found in it here, with its identifiers."""
    with np.load(shared_data / "afw_reference" / "source_detection.npz") as arrays:
        image, variance, bad, sigma = (arrays[k] for k in ("image", "variance", "bad", "psf_sigma"))
    psf = PsfSummary(np.ones((1, 1)), *[float(sigma)] * 3, 0.0, 1)
    config = FootprintConfig()
    config.doKeepPeaksAtHoles = True
    found = build_footprints(image, psf=psf, config=config, variance=variance, excluded=bad)
    catalog = read_catalog(shared_data / "afw_reference" / "source_catalog.fits").footprints()
    made = make_footprint_set(catalog, image.shape)
    given_ = build_footprints(
        image, psf=psf, config=config, variance=variance, excluded=bad, given_footprints=made.footprints
    )
    one, two = found.footprints, given_.footprints
    for name in ("spans", "bbox", "area", "area_detected", "centroid", "peaks", "peak_start"):
        np.testing.assert_array_equal(getattr(two, name), getattr(one, name), err_msg=name)
    assert found.noise == given_.noise
    np.testing.assert_array_equal(given_.smoothed, found.smoothed)
    assert (found.metadata["footprint_source"], given_.metadata["footprint_source"]) == (
        "threshold",
        "catalog",
    )
    assert two.ids is not None and two.peak_ids is not None
    own = {int(p["id"]): (p["i_x"], p["i_y"], catalog.record_id[p["footprint"]]) for p in catalog.peaks}
    for peak, number in zip(two.peaks, two.peak_ids.tolist(), strict=True):
        assert own[number] == (peak["i_x"], peak["i_y"], two.ids[peak["footprint_id"] - 1])


def test_given_footprints_have_to_be_those_of_the_image() -> None:
    made = _make([ToyFootprint(1, (10, 10, 20, 20), [ToyPeak(1, 15, 15)])])
    psf = PsfSummary(np.ones((1, 1)), 1.6, 1.6, 1.6, 0.0, 1)
    image = np.random.default_rng(1).normal(size=(50, 60)).astype(np.float32)
    for options in ({"xy0": (1, 0)}, {}):
        part = image if options else image[:-1]
        with pytest.raises(ValueError, match="given footprints are those of an image of shape"):
            build_footprints(
                part, psf=psf, variance=np.ones_like(part), given_footprints=made.footprints, **options
            )


def test_peaks_where_nothing_was_searched() -> None:
    """In bad pixels and near the edge peaks have no significance, and keep their place."""
    toys = [
        ToyFootprint(1, (0, 0, 20, 20), [ToyPeak(1, 1, 1), ToyPeak(2, 12.25, 14.5)]),
        ToyFootprint(2, (30, 20, 45, 40), [ToyPeak(3, 40, 30)]),
    ]
    rng = np.random.default_rng(1)
    image = rng.normal(size=(50, 60)).astype(np.float32)
    image[10:19, 8:17] += 30.0
    bad = np.zeros(image.shape, dtype=bool)
    bad[25:35, 35:45] = True
    psf = PsfSummary(np.ones((1, 1)), 1.6, 1.6, 1.6, 0.0, 1)
    result = build_footprints(
        image, psf=psf, variance=np.ones_like(image), excluded=bad, given_footprints=_make(toys).footprints
    )
    peaks, ids = result.footprints.peaks, result.footprints.peak_ids
    assert ids is not None and ids.tolist() == [2, 1, 3]
    assert (peaks["significance"][0] > 50) and peaks["significance"][2] == 0.0
    # Positions of fractions of a pixel are the catalogue's.
    assert (peaks["f_x"][0], peaks["f_y"][0]) == (12.25, 14.5)
    assert (peaks["f_x"][2], peaks["f_y"][2]) == (40, 30)
    assert result.footprints.area_detected[1] == 0 < result.footprints.area_detected[0] < 21 * 21
