# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""One kind of scenes: what is worked out, what to beware of, and the files with it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.table import Table
from lsst.meas.blendid.classifiers import classifier_registry
from lsst.meas.blendid.evaluation.peak_comparison import DETECTED
from lsst.meas.blendid.evaluation.scored_scenes import NamedModel
from lsst.meas.blendid.evaluation.section import (
    Section,
    _known_sky,
    make_section,
    model_notes,
    prediction_table,
    score_table,
    scores_document,
    write_scores,
)
from lsst.meas.blendid.footprints import FootprintConfig
from lsst.meas.blendid.model_package import ModelPackage
from toy_comparison import toy_scored, with_peaks


def test_notes() -> None:
    scored = toy_scored()
    package = ModelPackage.read("peaks-i-1")
    metadata = json.loads(json.dumps(package.metadata))
    metadata["inputs"]["footprints"] = {"thresholdValue": 7.0}
    metadata["training"] = {
        "label": "galaxies with point-source S/N >= 4 from the sky alone",
        "scenes": [{"source": "parametric", "seed": 1}, {"source": "scene_03"}],
    }
    changed = ModelPackage(package.classifier, metadata, package.arrays)
    cls = classifier_registry[package.classifier]
    model = NamedModel("mine", cls.from_package(changed))
    n = len(scored.labelled.counts)
    p = np.full(n, 0.5)
    p[:3] = np.nan
    seen = dataclasses.replace(scored, predictions={"mine": p}, outside={"mine": np.arange(n) < n // 2})
    notes = model_notes(model, seen)
    assert len(notes) == 5
    assert {note.about for note in notes} == {"mine"}
    assert str(notes[0]).startswith("mine: 50 % of the footprints")
    assert "thresholdValue: trained with 7.0, now 5.0" in notes[1].text
    assert "another label" in notes[2].text
    assert "parametric-1" in notes[3].text
    assert "no probability for 3 footprints" in notes[4].text
    plain = NamedModel("mine", cls.from_package(package))
    quiet = dataclasses.replace(
        scored,
        predictions={"mine": np.full(n, 0.5)},
        outside={"mine": np.zeros(n, bool)},
        labelled=dataclasses.replace(
            scored.labelled,
            footprints=(FootprintConfig(),) * 2,
            provenance=({"source": "parametric", "seed": 5},) * 2,
        ),
    )
    assert model_notes(plain, quiet) == []


def test_peaks_are_scored_beside_the_detected_ones() -> None:
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
    # The faint ones are galaxies too under the other label.
    fainter = make_section(scored.relabelled(4.0), (), reference=None, bootstrap=0)
    assert fainter.peaks is not None and fainter.peaks.n_galaxies > section.peaks.n_galaxies


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
    assert "peaks" not in scores_document([section], facts={})["sections"][0]


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


@pytest.mark.parametrize(
    ("trained", "scored", "known"),
    [
        # The same sky by a recipe and in files, in whatever band and with whatever noise.
        ({"source": "parametric", "seed": 1}, {"image": "a.fits", "sky": "parametric-1"}, ["parametric-1"]),
        (
            {"image": "g.fits", "sky": "parametric-1"},
            {"image": "r.fits", "sky": "parametric-1"},
            ["parametric-1"],
        ),
        ({"source": "scene_03", "seed": 1}, {"source": "scene_03", "seed": 2}, ["scene_03"]),
        ({"image": "a.fits"}, {"image": "a.fits"}, ["a.fits"]),
        ({"source": "parametric", "seed": 1}, {"source": "parametric", "seed": 2}, []),
        # Files of other folders may be called alike.
        ({"image": "a.fits", "sky": "parametric-1"}, {"image": "a.fits", "sky": "parametric-2"}, []),
        ({"unit": "stamp", "source": "set"}, {"unit": "stamp", "source": "set"}, []),
        ("not a record", {"coadd": "deep_coadd"}, []),
    ],
)
def test_sky_that_was_learned_from_is_known(trained: Any, scored: dict[str, Any], known: list[str]) -> None:
    assert _known_sky([trained], [scored]) == known
