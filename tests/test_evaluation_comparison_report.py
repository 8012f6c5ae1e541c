# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The page and the files of a comparison, and the footprints that it shows."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from lsst.meas.blendid.classifiers import classifier_registry
from lsst.meas.blendid.evaluation._html import Page
from lsst.meas.blendid.evaluation.comparison_files import prediction_table, score_table, write_scores
from lsst.meas.blendid.evaluation.comparison_gallery import (
    STAMP_SIZE,
    find_disagreements,
    find_mistakes,
    footprint_stamp,
    showable,
)
from lsst.meas.blendid.evaluation.comparison_plots import (
    bin_panels,
    confusion_panels,
    reliability_panels,
    roc_panels,
)
from lsst.meas.blendid.evaluation.comparison_report import render_comparison_report
from lsst.meas.blendid.evaluation.comparison_section import Section, make_section, model_notes
from lsst.meas.blendid.evaluation.scored_scenes import NamedModel, load_models
from lsst.meas.blendid.footprints import FootprintConfig
from lsst.meas.blendid.model_package import ModelPackage, ModelPackageError
from PIL import Image
from toy_comparison import toy_scored


@pytest.fixture(scope="module")
def sections() -> list[Section]:
    scored = toy_scored()
    other = dataclasses.replace(scored.relabelled(4.0), name="toy")
    return [
        make_section(one, (), reference="noisy", bootstrap=8, baseline="nothing") for one in (scored, other)
    ]


@pytest.fixture(scope="module")
def page(sections: list[Section]) -> str:
    made_by = "by <me>"
    page = render_comparison_report(
        sections, ["good", "counts"], command="blendid evaluate <x>", made_by=made_by
    )
    assert len(page) < 3_000_000
    return page


def test_page_is_self_contained(page: str) -> None:
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    assert not re.search(r"url\(|@import|<script", page)


def test_page_has_all_parts(page: str, sections: list[Section]) -> None:
    for section in sections:
        assert section.title in page
    text = re.sub(r"<[^>]+>", "", page)
    for title in ("The most confident mistakes", "Where models disagree most", "Stars, and clumpy galaxies"):
        assert title in text
    row = sections[0].comparison["good"]
    assert f"{row.scores.auc:.4f}" in text
    assert f"± {row.errors['auc']:.4f}" in text
    assert "Paired differences from noisy" in text
    # Four figures a section, a gallery for each model, and a picture for each disagreement.
    assert page.count("<img") == 2 * 4 + 2 + 12
    assert "blendid evaluate &lt;x&gt;" in page
    assert "by &lt;me&gt;" in page


def test_pictures_keep_the_colour_of_marks(page: str) -> None:
    """Crosses are few pixels, and a palette of few colours would lose theirs."""
    import base64

    start = page.index("The most confident mistakes")
    data = re.search(r'base64,([^"]+)"', page[start:])
    assert data is not None
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data[1]))).convert("RGB")).astype(int)
    mark = np.array([0x7D, 0xF2, 0xC4])
    assert np.abs(pixels - mark).sum(axis=2).min() < 30


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


def test_mistakes_are_the_most_confident_ones() -> None:
    scored = toy_scored()
    p, counts = scored.p_blended("good"), scored.labelled.counts
    use = showable(scored)
    assert 0 < np.count_nonzero(use) < len(use)
    single, blended = find_mistakes([scored], "good", count=5).values()
    assert len(single) == len(blended) == 5
    assert all(counts[c.row] == 1 and use[c.row] for c in single)
    assert all(counts[c.row] > 1 and use[c.row] for c in blended)
    assert p[single[0].row] == p[use & (counts == 1)].max()
    assert p[blended[0].row] == p[use & (counts > 1)].min()
    assert np.all(np.diff([p[c.row] for c in single]) <= 0.0)
    assert np.all(np.diff([p[c.row] for c in blended]) >= 0.0)


def test_no_mistake_twice_and_none_that_is_right() -> None:
    scored = toy_scored()
    again = dataclasses.replace(scored)
    rows = [c.row for c in find_mistakes([scored, again], "good", count=6)["A blend, called one object"]]
    assert len(rows) == len(set(rows)) == 6
    right = np.where(scored.labelled.counts > 1, 0.9, 0.1)
    perfect = dataclasses.replace(scored, predictions={"good": right})
    assert not any(find_mistakes([perfect], "good").values())
    assert not showable(toy_scored(images=False)).any()


def test_disagreements() -> None:
    scored = toy_scored()
    found = find_disagreements([scored], ["good", "noisy"], count=4)
    p = np.clip([scored.p_blended(name) for name in ("good", "noisy")], 0.01, 0.99)
    gap = np.abs(np.diff(np.log(p / (1.0 - p)), axis=0)[0])
    assert gap[found[0].row] == pytest.approx(gap[showable(scored)].max(), rel=0.01)
    assert find_disagreements([scored], ["good", "good"]) == []


def test_stamp() -> None:
    scored = toy_scored()
    chosen = find_disagreements([scored], ["good", "noisy"], count=1)[0]
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


def test_plots_of_many_models(sections: list[Section]) -> None:
    scored = toy_scored()
    many = {f"model {k}": scored.p_blended("good") for k in range(11)}
    counts = scored.labelled.counts
    assert len(reliability_panels(many, counts > 1).axes) >= 11
    figure = roc_panels(many, counts, scored.labelled.samples.n_peaks, quiet=["model 3"])
    assert [len(axes.lines) for axes in figure.axes] == [11, 13]
    figure = roc_panels(many, np.ones_like(counts), scored.labelled.samples.n_peaks)
    assert [len(axes.lines) for axes in figure.axes] == [0, 2]
    shares = confusion_panels(
        {"counts": scored.predictions["counts"]}, {"counts": scored.p_blended("counts")}, counts
    )
    rows = np.reshape([float(t.get_text()) for t in shares.axes[0].texts], (-1, 5))
    np.testing.assert_allclose(rows.sum(axis=1), 100.0, atol=2.5)
    assert len(bin_panels(sections[0].bins, ["good"]).axes) == 4


def test_models_by_name_path_and_label(tmp_path: Path) -> None:
    package = ModelPackage.read("peaks-i-1")
    path = package.write(tmp_path / "a=b.blendid")
    found = load_models(["peaks-i-1", f"mine={path}", str(path)])
    assert [model.name for model in found] == ["peaks-i-1", "mine", "a=b"]
    with pytest.raises(ValueError, match="two models are called 'peaks-i-1'"):
        load_models(["peaks-i-1", "peaks-i-1"])
    with pytest.raises(ModelPackageError, match="unknown model 'none'"):
        load_models(["none"])
    foreign = ModelPackage("unheard-of", {**package.metadata, "classifier": "unheard-of"}, {})
    with pytest.raises(ValueError, match="'unheard-of', which is not"):
        load_models([str(foreign.write(tmp_path / "foreign.blendid"))])


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
    assert "50 % of the footprints" in notes[0]
    assert "thresholdValue: trained with 7.0, now 5.0" in notes[1]
    assert "another label" in notes[2]
    assert "parametric sky 1" in notes[3]
    assert "no probability for 3 footprints" in notes[4]
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


def test_page_parts() -> None:
    page = Page("t", "l")
    page.notes([])
    page.subheading("a < b")
    page.notes(["**x**: y & z"])
    page.cutouts(["", "N"], [(b"png", 'an "alt"', ["{single|1} {error|± 2}"])])
    text = page.render()
    assert "<h3>a &lt; b</h3>" in text
    assert text.count('<ul class="notes">') == 1
    assert "<b>x</b>: y &amp; z" in text
    assert 'alt="an &quot;alt&quot;"' in text
    assert '<span class="error">± 2</span>' in text
