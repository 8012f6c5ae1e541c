# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Comparisons as files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from lsst.meas.blendid.evaluation.comparison_files import prediction_table, score_table, write_scores
from lsst.meas.blendid.evaluation.section import Section, make_section
from toy_comparison import toy_scored


@pytest.fixture(scope="module")
def sections() -> list[Section]:
    scored = toy_scored()
    other = dataclasses.replace(scored.relabelled(4.0), name="toy")
    return [
        make_section(one, (), reference="noisy", bootstrap=8, baseline="nothing") for one in (scored, other)
    ]


def test_files(sections: list[Section], tmp_path: Path) -> None:
    paths = write_scores(tmp_path, sections, facts={"command": "x"})
    assert [path.name for path in paths] == ["scores.json", "scores.ecsv", "predictions.parquet"]
    document = json.loads(paths[0].read_text(encoding="utf-8"))
    assert document["command"] == "x"
    assert [s["snr_min"] for s in document["sections"]] == [5.0, 4.0]
    first = document["sections"][0]
    assert first["models"]["good"]["scores"]["auc"] == round(sections[0].comparison["good"].scores.auc, 6)
    assert set(first["bins"]) == {"magnitude", "second_snr", "separation", "area"}
    assert first["kinds"]["single stars"]["n"] > 0
    scores = Table.read(paths[1], format="ascii.ecsv")
    assert len(scores) == 2 * 3
    assert list(scores.colnames[:3]) == ["group", "snr_min", "model"]
    predictions = Table.read(paths[2])
    n = len(sections[0].scored.labelled.counts)
    assert len(predictions) == 2 * n
    np.testing.assert_array_equal(predictions["n_true"][:n], sections[0].scored.labelled.counts)
    np.testing.assert_allclose(
        predictions["p_blended_counts"][:n], sections[0].scored.p_blended("counts"), rtol=1e-6
    )
    assert predictions["footprint_id"].max() == n // 2
    assert predictions["p_blended_good"].description == "P(blended) by good."


def test_columns_of_odd_names() -> None:
    scored = toy_scored()
    p = scored.p_blended("good")
    scored = dataclasses.replace(scored, predictions={"5σ a+b": p, "5σ a b": p, "+": p})
    scored = dataclasses.replace(scored, labelled=dataclasses.replace(scored.labelled, truths=None))
    section = make_section(scored, (), reference=None, bootstrap=0)
    names = prediction_table([section]).colnames
    assert [name for name in names if name.startswith("p_")] == [
        "p_blended_5σ_a_b",
        "p_blended_5σ_a_b_2",
        "p_blended_model",
    ]
    assert "magnitude" not in names
    assert not section.kinds
    assert score_table([section]).colnames[3] == "n_missing"
