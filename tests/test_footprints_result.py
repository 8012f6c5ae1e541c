# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Some of the footprints of an image, with what was computed of all of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.meas.blendid.cutouts import CutoutSettings
from lsst.meas.blendid.footprints import FootprintSet, spans_to_labels
from lsst.meas.blendid.footprints.result import select_footprints
from lsst.meas.blendid.samples import FootprintSamples
from toy_samples import make_toy

RESULT = make_toy(4, seed=3, xy0=(100, -50))[0]


@given(st.lists(st.booleans(), min_size=16, max_size=16))
@settings(deadline=None, max_examples=30)
def test_the_rest_is_what_is_made_of_its_labels(rows: list[bool]) -> None:
    use = np.array(rows)
    chosen = select_footprints(RESULT, use)
    numbers = np.concatenate([[0], np.cumsum(use) * use]).astype(np.int32)
    peaks = RESULT.footprints.peaks.copy()
    peaks["footprint_id"] = numbers[peaks["footprint_id"]]
    expected = FootprintSet.from_labels(
        numbers[RESULT.footprints.labels],
        xy0=RESULT.xy0,
        peaks=peaks[peaks["footprint_id"] > 0],
        area_detected=RESULT.footprints.area_detected[use],
    )
    for name in ("labels", "spans", "bbox", "area", "area_detected", "centroid", "peaks", "peak_start"):
        np.testing.assert_array_equal(getattr(chosen.footprints, name), getattr(expected, name), err_msg=name)
    np.testing.assert_array_equal(chosen.image, RESULT.image)
    # The same without label image.
    bare = select_footprints(RESULT.without_images(), use).footprints
    painted = spans_to_labels(bare.spans, RESULT.footprints.labels.shape, RESULT.xy0)
    np.testing.assert_array_equal(painted, expected.labels)


def test_what_was_computed_stays() -> None:
    config = CutoutSettings()
    parts = [FootprintSamples([make_toy(4, seed=seed)[0]]) for seed in (1, 2)]
    for part in parts:
        part.cutouts(config)
        part.compute_each("scale", lambda result, _context: np.array([float(len(result.footprints))]))
        # A number that depends on all footprints of the image.
        part.compute("share", lambda r, _c: r.footprints.area / r.footprints.area.sum(), np.zeros(0))
    samples = FootprintSamples.join([part.without_images() for part in parts])
    whole = {"cutouts": samples.cutouts(config), "share": _share(samples)}
    use = np.random.default_rng(1).random(len(samples)) < 0.4
    chosen = samples.select(use)
    assert len(chosen) == use.sum() and len(chosen.results) == 2
    np.testing.assert_array_equal(chosen.cutouts(config), whole["cutouts"][use])
    np.testing.assert_array_equal(_share(chosen), whole["share"][use])
    np.testing.assert_array_equal(chosen.area, samples.area[use])
    np.testing.assert_array_equal(chosen.n_peaks, samples.n_peaks[use])
    np.testing.assert_array_equal(chosen.scene_index, samples.scene_index[use])
    scales = chosen.compute_each("scale", lambda _r, _c: np.zeros(1))
    assert [s.tolist() for s in scales] == [[16.0], [16.0]]
    # A choice among them.
    again = chosen.select(np.arange(len(chosen)) % 2 == 0)
    np.testing.assert_array_equal(again.cutouts(config), whole["cutouts"][use][::2])


def _share(samples: FootprintSamples) -> np.ndarray:
    return samples.compute("share", lambda _r, _c: pytest.fail("computed anew"), np.zeros(0))


@pytest.mark.parametrize("rows", [np.ones(3, dtype=bool), np.arange(16)])
def test_flags_must_fit(rows: np.ndarray) -> None:
    with pytest.raises(ValueError, match="to choose among 16 footprints"):
        select_footprints(RESULT, rows)
    with pytest.raises(ValueError, match="to choose among 16 footprints"):
        FootprintSamples([RESULT]).select(rows)
