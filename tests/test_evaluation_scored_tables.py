# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tables of the task against the truth."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from astropy.table import Table
from lsst.meas.blendid.evaluation.peak_comparison import DETECTED
from lsst.meas.blendid.evaluation.scored_tables import LOCATED, CoaddTables, score_tables
from lsst.meas.blendid.evaluation.section import make_section
from lsst.meas.blendid.metrics import score
from toy_coadd_tables import make_coadds


@pytest.fixture(scope="module")
def coadds() -> list[CoaddTables]:
    return make_coadds()


def galaxies(coadd: CoaddTables) -> np.ndarray:
    """Pixels of the galaxies that count."""
    rows = coadd.truth[coadd.truth["snr"] >= 5.0]
    return np.rint(np.column_stack([rows["x"], rows["y"]]))


def count(coadd: CoaddTables, row: int) -> int:
    """Number of galaxies in a footprint, pixel by pixel."""
    mine = coadd.spans[coadd.spans["footprint_id"] == row + 1]
    return sum(
        bool(np.any((mine["y"] == y) & (mine["x0"] <= x) & (mine["x1"] >= x))) for x, y in galaxies(coadd)
    )


def test_galaxies_are_counted_as_by_brute_force(coadds: list[CoaddTables]) -> None:
    labelled = score_tables("demo", coadds, primary="logistic").labelled
    rows = [(coadd, row) for coadd in coadds for row in np.flatnonzero(coadd.is_inner)]
    assert len(rows) == len(labelled.counts)
    for k in range(0, len(rows), 7):
        assert labelled.counts[k] == count(*rows[k])
    assert labelled.skies == ("demo",) and not labelled.sky.any()
    assert labelled.samples.area_detected.sum() == sum(
        int(c.blend["area_detected"][c.is_inner].sum()) for c in coadds
    )


def test_overlaps_count_once(coadds: list[CoaddTables]) -> None:
    scored = score_tables("demo", coadds, primary="logistic")
    n = len(scored.labelled.counts)
    assert n == sum(int(c.blend["is_patch_inner"].sum()) for c in coadds) < sum(len(c.blend) for c in coadds)
    assert sum(scored.labelled.mix.values()) == pytest.approx(1.0)
    np.testing.assert_array_equal(
        scored.labelled.samples.n_peaks, np.concatenate([c.blend["n_peaks"][c.is_inner] for c in coadds])
    )


def test_share_of_galaxies_counts_each_once(coadds: list[CoaddTables]) -> None:
    shares = score_tables("demo", coadds, primary="logistic").labelled.inside
    for coadd, share in zip(coadds, shares, strict=True):
        x, y = galaxies(coadd).T
        inner = (x >= coadd.inner[0]) & (x <= coadd.inner[2])
        assert 0 < inner.sum() < len(x)
        inside = [
            bool(np.any((coadd.spans["y"] == b) & (coadd.spans["x0"] <= a) & (coadd.spans["x1"] >= a)))
            for a, b in zip(x[inner], y[inner], strict=True)
        ]
        assert share == pytest.approx(np.mean(inside))
    nobody = dataclasses.replace(coadds[0], truth=coadds[0].truth[:0])
    assert np.isnan(score_tables("demo", [nobody], primary="logistic").labelled.inside[0])


def test_every_classifier_is_scored(coadds: list[CoaddTables]) -> None:
    scored = score_tables("demo", coadds, primary="logistic")
    assert list(scored.predictions) == ["logistic", "peaks"]
    section = make_section(scored, (), reference="peaks", bootstrap=0)
    p = np.concatenate([c.blend["p_blended_peaks"][c.is_inner] for c in coadds]).astype(float)
    assert section.comparison["peaks"].scores == score(p, scored.labelled.counts)
    assert section.psf_sigma == (1.6, 1.6) and section.depth is not None
    assert [one.key for one in section.bins] == ["magnitude", "second_snr", "separation", "area"]
    magnitude = section.truth.magnitude  # type: ignore[union-attr]
    assert np.isnan(magnitude[scored.labelled.counts == 0]).all() and np.nanmin(magnitude) >= 22


def test_peaks_are_scored_where_they_have_probabilities(coadds: list[CoaddTables]) -> None:
    scored = score_tables("demo", coadds, primary="logistic")
    assert list(scored.peaks) == [LOCATED, DETECTED]
    located, samples = scored.peaks[LOCATED], scored.labelled.samples
    np.testing.assert_array_equal(np.bincount(located.footprint, minlength=len(samples)), samples.n_peaks)
    assert np.isnan(scored.peaks[DETECTED].probability).all()
    np.testing.assert_array_equal(
        scored.expected[LOCATED], np.concatenate([c.blend["n_expected"][c.is_inner] for c in coadds])
    )
    without = [dataclasses.replace(c, peaks=c.peaks.copy()) for c in coadds]
    for coadd in without:
        coadd.peaks["probability"] = np.nan
    assert not score_tables("demo", without, primary="logistic").peaks


def test_parts_of_tables_are_refused(coadds: list[CoaddTables]) -> None:
    coadd = coadds[0]
    with pytest.raises(ValueError, match="no tables of demo"):
        score_tables("demo", [], primary="logistic")
    with pytest.raises(ValueError, match="patch <0> are not numbered"):
        score_tables("demo", [dataclasses.replace(coadd, blend=coadd.blend[1:])], primary="logistic")
    some = coadd.spans[coadd.spans["footprint_id"] < len(coadd.blend)]
    with pytest.raises(ValueError, match="spans of"):
        score_tables("demo", [dataclasses.replace(coadd, spans=some)], primary="logistic")


def test_scores_need_both_kinds(coadds: list[CoaddTables]) -> None:
    truth = Table({"x": [5.0], "y": [60.0], "snr": [9.0], "mag": [24.0]})
    alone = score_tables("demo", [dataclasses.replace(coadds[0], truth=truth)], primary="logistic")
    with pytest.raises(ValueError, match="need both kinds|blended and unblended"):
        make_section(alone, (), reference=None, bootstrap=0)
