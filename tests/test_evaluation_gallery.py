# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Which footprints are shown, and how."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from lsst.meas.blendid._colors import DETECTED_PEAK, INFERRED_PEAK
from lsst.meas.blendid.evaluation.gallery import (
    STAMP_SIZE,
    Chosen,
    cutout_gallery,
    find_disagreements,
    find_examples,
    find_mistakes,
    footprint_stamp,
    make_stamp,
    showable,
)
from matplotlib.colors import to_hex
from toy_coadd_tables import toy_coadd_tables
from toy_comparison import toy_scored, with_peaks


def test_stamps_hold_their_footprint() -> None:
    image, blend, _, spans = toy_coadd_tables()
    stamp = make_stamp(image, 1.0, (100, 200), blend, spans, 0, size=21)
    assert stamp.image.shape == stamp.labels.shape == (21, 21)
    assert (stamp.labels == 1).sum() == 70
    # It reaches over the edge of the image.
    assert np.isnan(stamp.image).any()
    figure = cutout_gallery({"one": [stamp] * 9, "none": []}, columns=4)
    assert len(figure.axes) == 4
    assert figure.axes[0].texts[0].get_text() == "p = 0.10"
    figure.canvas.draw()


def test_stamps_show_the_peaks_of_their_footprint() -> None:
    image, blend, peaks, spans = toy_coadd_tables()
    peaks["is_inferred"] = [False, False, True]
    stamp = make_stamp(image, 1.0, (100, 200), blend, spans, 1, size=31, peaks=peaks)
    assert stamp.peaks is not None and stamp.peaks.x.tolist() == [135.0, 145.0]
    figure = cutout_gallery({"one": [stamp]})
    rings, diamonds = figure.axes[0].collections[-2:]
    assert [to_hex(c.get_edgecolors()[0]) for c in (rings, diamonds)] == [DETECTED_PEAK, INFERRED_PEAK]
    assert [c.get_offsets().tolist() for c in (rings, diamonds)] == [[[135.0, 225.0]], [[145.0, 230.0]]]
    figure.canvas.draw()


def test_empty_gallery_is_refused() -> None:
    with pytest.raises(ValueError, match="every group is empty"):
        cutout_gallery({"none": []})


def test_mistakes_are_the_most_confident_ones() -> None:
    scored = toy_scored()
    p, counts = scored.p_blended("good"), scored.labelled.counts
    use = showable(scored)
    assert 0 < np.count_nonzero(use) < len(use)
    single, blended = find_mistakes([scored], "good").values()
    assert len(single) == len(blended) == 6
    assert all(counts[c.row] == 1 and use[c.row] for c in single)
    assert all(counts[c.row] > 1 and use[c.row] for c in blended)
    assert p[single[0].row] == p[use & (counts == 1)].max()
    assert p[blended[0].row] == p[use & (counts > 1)].min()
    assert np.all(np.diff([p[c.row] for c in single]) <= 0.0)
    assert np.all(np.diff([p[c.row] for c in blended]) >= 0.0)


def test_no_mistake_twice_and_none_that_is_right() -> None:
    scored = toy_scored()
    again = dataclasses.replace(scored)
    rows = [c.row for c in find_mistakes([scored, again], "good")["A blend, called one object"]]
    assert len(rows) == len(set(rows)) == 6
    right = np.where(scored.labelled.counts > 1, 0.9, 0.1)
    perfect = dataclasses.replace(scored, predictions={"good": right})
    assert not any(find_mistakes([perfect], "good").values())
    assert not showable(toy_scored(images=False)).any()


def test_disagreements() -> None:
    scored = toy_scored()
    found = find_disagreements([scored], ["good", "noisy"])
    p = np.clip([scored.p_blended(name) for name in ("good", "noisy")], 0.01, 0.99)
    gap = np.abs(np.diff(np.log(p / (1.0 - p)), axis=0)[0])
    assert gap[found[0].row] == pytest.approx(gap[showable(scored)].max(), rel=0.01)
    assert find_disagreements([scored], ["good", "good"]) == []


def test_stamp() -> None:
    scored = toy_scored()
    chosen = find_disagreements([scored], ["good", "noisy"])[0]
    stamp = footprint_stamp(chosen, 0.3)
    samples = scored.labelled.samples
    result = samples.results[samples.scene_index[chosen.row]]
    assert stamp.image.shape == stamp.labels.shape == (STAMP_SIZE, STAMP_SIZE)
    x0, y0 = stamp.xy0
    np.testing.assert_array_equal(stamp.image, result.image[y0 : y0 + STAMP_SIZE, x0 : x0 + STAMP_SIZE])
    assert np.count_nonzero(stamp.labels == stamp.footprint_id) == samples.area[chosen.row]
    assert stamp.truth is not None and stamp.stars is not None and stamp.peaks is not None
    inside = sum(
        stamp.labels[round(y) - y0, round(x) - x0] == stamp.footprint_id
        for x, y in np.concatenate([stamp.truth, stamp.stars])
    )
    assert inside == scored.relabelled(5.0).labelled.counts[chosen.row]
    assert len(stamp.peaks) == samples.n_peaks[chosen.row]


def test_stamps_of_a_comparison_show_the_peaks_of_a_localizer() -> None:
    scored = with_peaks(toy_scored())
    row = int(np.argmax(np.asarray(scored.labelled.samples.n_peaks) > 1))
    plain = footprint_stamp(Chosen(toy_scored(), row), 0.5).peaks
    shown = footprint_stamp(Chosen(scored, row), 0.5).peaks
    assert plain is not None and shown is not None and len(plain) > 1
    np.testing.assert_array_equal(plain.x, shown.x)
    assert np.isnan(plain.probability).all()
    sure = scored.peaks["sure"]
    np.testing.assert_array_equal(shown.probability, sure.probability[sure.footprint == row])
    # One that is inferred and hardly probable is left out.
    inferred = np.arange(len(sure)) == np.flatnonzero(sure.footprint == row)[0]
    other = dataclasses.replace(sure, is_inferred=inferred, probability=np.where(inferred, 0.05, 0.9))
    fewer = footprint_stamp(Chosen(dataclasses.replace(scored, peaks={"sure": other}), row), 0.5).peaks
    assert fewer is not None and len(fewer) == len(plain) - 1


def test_examples_are_of_each_kind() -> None:
    scored = toy_scored()
    p = scored.p_blended("good").copy()
    p[::7] = np.nan
    scored = dataclasses.replace(scored, predictions={"good": p})
    counts, use = scored.labelled.counts, showable(scored)
    sure, single, unsure, wrong = find_examples(scored, "good").values()
    assert [len(chosen) for chosen in (sure, single, unsure, wrong)] == [6] * 4
    for chosen, low, high in ((sure, 0.95, 1.0), (single, 0.0, 0.05), (unsure, 0.3, 0.7)):
        values = [p[c.row] for c in chosen]
        assert low <= min(values) and max(values) <= high and values == sorted(values)
    assert all((p[c.row] > 0.9) == (counts[c.row] == 1) != (p[c.row] < 0.1) for c in wrong)
    assert all(use[c.row] for c in (*sure, *single, *unsure, *wrong))
    assert [c.row for c in sure] == [c.row for c in next(iter(find_examples(scored, "good").values()))]
