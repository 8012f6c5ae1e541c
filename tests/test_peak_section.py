# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tables and figures of peaks on a page, and how peaks get there."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from lsst.meas.blendid.evaluation._canvas import to_png
from lsst.meas.blendid.evaluation._html import Page
from lsst.meas.blendid.evaluation.comparison_files import scores_document
from lsst.meas.blendid.evaluation.comparison_gallery import Chosen, footprint_stamp
from lsst.meas.blendid.evaluation.comparison_report import render_comparison_report
from lsst.meas.blendid.evaluation.comparison_section import make_section
from lsst.meas.blendid.evaluation.peak_comparison import DETECTED, PeakComparison, compare_peaks
from lsst.meas.blendid.evaluation.peak_finders import find_detected
from lsst.meas.blendid.evaluation.peak_plots import (
    peak_bin_panels,
    peak_curve_panels,
    peak_reliability_panels,
)
from lsst.meas.blendid.evaluation.peak_section import add_peaks
from lsst.meas.blendid.evaluation.scored_scenes import ScoredScenes
from toy_comparison import toy_scored
from toy_peaks import make_found

pytest.importorskip("matplotlib", reason="the page has figures")


@pytest.fixture(scope="module")
def comparison() -> PeakComparison:
    return compare_peaks(make_found(20), bootstrap=8)


def cells(page: str) -> list[list[list[str]]]:
    """Rows of the tables of a page."""
    return [
        [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", table)[1:]]
        for table in re.findall(r"<table>(.*?)</table>", page)
    ]


def test_tables_have_what_is_known_of_each_list(comparison: PeakComparison) -> None:
    page = Page("title", "lede")
    add_peaks(page, comparison, to_png=to_png)
    text = page.render()
    assert text.count("<img") == 3
    found, probabilities, splits = cells(text)
    names = [DETECTED, "calibrated", "no ellipse"]
    assert [row[0] for row in found] == [row[0] for row in splits] == names
    # Detected peaks have no probabilities that could be right or wrong.
    assert [row[0] for row in probabilities] == names[1:]
    row = comparison["calibrated"]
    assert found[1][2].startswith(f"{row.values['completeness']:.3f} <span")
    assert f"± {row.errors['completeness']:.3f}" in found[1][2]
    assert found[0][-1] == found[2][-1] == "–"
    assert probabilities[0][1].startswith(f"{row.values['slope']:.3f}")
    assert f"as pure as the detected peaks, {comparison.purity:.3f}" in text
    assert f"{comparison.n_galaxies:,} galaxies that count" in text


def test_curves_end_at_the_scores(comparison: PeakComparison) -> None:
    figure = peak_curve_panels(comparison)
    left, right = figure.axes
    lines = {line.get_label(): line for line in left.lines}
    values = comparison[DETECTED].values
    assert lines[DETECTED].get_xydata().tolist() == [[values["purity"], values["completeness"]]]
    for name in ("calibrated", "no ellipse"):
        row = comparison[name]
        assert row.curve is not None
        np.testing.assert_array_equal(lines[name].get_xdata(), row.curve.purity)
        points = lines[name].get_xydata()
        wanted = [row.values["purity"], row.values["completeness"]]
        assert np.abs(points - wanted).sum(axis=1).min() < 1e-12
    assert len([line for line in right.lines if len(line.get_xdata())]) == 4
    figure.canvas.draw()


def test_reliability_and_bins(comparison: PeakComparison) -> None:
    figure = peak_reliability_panels(comparison)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["calibrated", "no ellipse"]
    figure.canvas.draw()
    figure = peak_bin_panels(comparison)
    assert len(figure.axes) == 4
    labels = [text.get_text() for text in figure.axes[2].get_xticklabels()]
    separation = comparison.bins[1]
    assert labels[-1] == f"alone\n{separation.n_galaxies[-1]:,}"
    assert figure.axes[3].get_xticklabels()[-1].get_text().startswith("first\n")
    line = next(line for line in figure.axes[2].lines if line.get_label() == "calibrated")
    some = separation.n_galaxies >= 10
    np.testing.assert_array_equal(line.get_ydata()[some], separation.completeness["calibrated"][some])
    assert np.isnan(line.get_ydata()[~some]).all()
    figure.canvas.draw()


def test_detected_peaks_alone_have_no_calibration() -> None:
    found = make_found(8)
    alone = compare_peaks(dataclasses.replace(found, lists={DETECTED: found.lists[DETECTED]}), bootstrap=0)
    page = Page("title", "lede")
    add_peaks(page, alone, to_png=to_png)
    assert page.render().count("<img") == 2


def with_peaks(scored: ScoredScenes) -> ScoredScenes:
    """Scenes whose detected peaks have probabilities in a second list."""
    detected = find_detected(scored.labelled.samples)
    rng = np.random.default_rng(3)
    sure = dataclasses.replace(detected, probability=rng.uniform(0.2, 1.0, len(detected)))
    expected = {"sure": np.bincount(detected.footprint, minlength=len(scored.labelled.counts)).astype(float)}
    return dataclasses.replace(scored, peaks={"sure": sure, DETECTED: detected}, expected=expected)


def test_peaks_are_on_the_page_of_a_comparison() -> None:
    scored = with_peaks(toy_scored())
    section = make_section(scored, (), reference=None, bootstrap=5)
    assert section.peaks is not None and list(section.peaks.rows) == [DETECTED, "sure"]
    assert section.peaks.n_galaxies == scored.labelled.counts.sum()
    detected, sure = (section.peaks[name].values for name in (DETECTED, "sure"))
    assert 0.0 < detected["purity"] < 1.0
    # The same peaks: with the purity of all of them, all of them.
    assert sure["completeness"] == detected["completeness"] and np.isfinite(sure["sum_excess"])
    document = scores_document([section], facts={})
    assert document["sections"][0]["peaks"]["lists"]["sure"]["n_peaks"] == section.peaks["sure"].n_peaks
    page = render_comparison_report([section], ["good"], command="x", made_by="y")
    assert "Which galaxies are found, and where" in page
    # The faint ones are galaxies too under the other label.
    fainter = make_section(scored.relabelled(4.0), (), reference=None, bootstrap=0)
    assert fainter.peaks is not None and fainter.peaks.n_galaxies > section.peaks.n_galaxies


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


def test_without_truth_or_probabilities_nothing_is_said_of_peaks() -> None:
    scored = toy_scored()
    assert make_section(scored, (), reference=None, bootstrap=0).peaks is None
    section = make_section(
        dataclasses.replace(with_peaks(scored), labelled=dataclasses.replace(scored.labelled, truths=None)),
        (),
        reference=None,
        bootstrap=0,
    )
    assert section.peaks is None
    page = render_comparison_report([section], ["good"], command="x", made_by="y")
    assert "Which galaxies are found" not in page
    assert "peaks" not in scores_document([section], facts={})["sections"][0]
