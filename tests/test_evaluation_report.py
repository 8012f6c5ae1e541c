# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The pages of a comparison and of the demo."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
import struct

import jinja2
import numpy as np
import pytest
from html_pages import parse, tables
from hypothesis import given
from hypothesis import strategies as st
from lsst.meas.blendid.evaluation.peak_comparison import DETECTED, PeakComparison, compare_peaks
from lsst.meas.blendid.evaluation.report import (
    Cell,
    draw_demo,
    render_comparison_report,
    render_demo_report,
    render_page,
)
from lsst.meas.blendid.evaluation.scored_tables import score_tables
from lsst.meas.blendid.evaluation.section import Section, make_section
from PIL import Image
from toy_coadd_tables import make_coadds
from toy_comparison import toy_scored, with_peaks
from toy_peaks import make_found


def fill(text: str) -> str:
    """A page with the same text in all places."""
    return render_page(
        "image.html",
        title=text,
        lede=text,
        footer=text,
        numbers=[(text, text)],
        whole=None,
        overlay=b"x",
        size=text,
        has_inferred=False,
        histogram=None,
        assumptions=[[text, Cell(text, error=text), Cell(text, kind="single"), Cell(text, strong=True)]],
        notes=[text],
        flags=[[text] * 4],
        files=text,
    )


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=40))
def test_any_text_can_be_written(text: str) -> None:
    parser = parse(fill(text))
    allowed = (
        "html head meta link title style body main header h1 h2 p span b div table thead tbody tr th td "
        "figure img figcaption pre code ul li footer"
    )
    assert {tag for tag, _ in parser.seen} <= set(allowed.split())


def test_text_is_escaped_and_cells_are_marked() -> None:
    page = fill('a < b & "c"')
    assert "<h1>a &lt; b &amp; &#34;c&#34;</h1>" in page
    assert '<span class="error">± a &lt; b' in page and '<span class="single">a &lt; b' in page
    assert "<td><b>a &lt; b" in page
    # As often as it was given, the title twice.
    assert parse(page).text.count('a < b & "c"') == 2 + 2 + 2 + 1 + 5 + 1 + 4 + 1


def test_what_lacks_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError, match="'lede' is undefined"):
        render_page("base.html", title="t", footer="f")


pytest.importorskip("matplotlib", reason="the pages have figures")


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


@pytest.fixture(scope="module")
def demo() -> tuple[str, Section]:
    coadds = make_coadds()
    scored = score_tables("demo", coadds, primary="logistic")
    baseline = {"area only": np.clip(scored.labelled.samples.area / 400.0, 0.01, 0.99)}
    section = make_section(scored.with_predictions(baseline), (), reference="area only", bootstrap=5)
    figures = draw_demo(section, coadds, "logistic", pixel_scale=0.2)
    page = render_demo_report(
        section,
        coadds,
        "logistic",
        figures,
        seconds={"growth & <more>": [0.2, 0.1], "peaks": [0.3, 0.1]},
        pixel_scale=0.2,
        commands="pipetask run -d \"band='i'\" && echo <done>",
        usage="table[table['p'] > 0.5]",
        made_by="Written in a test.",
    )
    return page, section


def test_pages_are_self_contained(page: str, demo: tuple[str, Section]) -> None:
    for text in (page, demo[0]):
        parser = parse(text)
        assert text.startswith("<!DOCTYPE html>")
        assert [tag for tag, _ in parser.seen if tag in ("h1", "title", "main")] == ["title", "main", "h1"]
        assert [attrs["lang"] for tag, attrs in parser.seen if tag == "html"] == ["en"]
        images = [attrs for tag, attrs in parser.seen if tag == "img"]
        assert images and all(attrs["alt"] for attrs in images)
        links = [attrs[key] for _, attrs in parser.seen for key in ("src", "href", "srcset") if key in attrs]
        assert links and all(link is not None and link.startswith("data:") for link in links)
        without_images = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", text)
        assert not re.search(r"https?:|//[a-z]|@import|url\(|<script", without_images)


def test_pages_show_pictures(demo: tuple[str, Section]) -> None:
    found = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", demo[0])
    # Coadds, footprints, gallery; four of the classifiers and three of the peaks.
    assert len(found) == 10
    for match in found:
        png = base64.b64decode(match, validate=True)
        assert png[:8] == b"\x89PNG\r\n\x1a\n"
        assert min(struct.unpack(">II", png[16:24])) > 300


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
    start = page.index("The most confident mistakes")
    data = re.search(r'base64,([^"]+)"', page[start:])
    assert data is not None
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data[1]))).convert("RGB")).astype(int)
    mark = np.array([0x7D, 0xF2, 0xC4])
    assert np.abs(pixels - mark).sum(axis=2).min() < 30


def test_demo_escapes_text(demo: tuple[str, Section]) -> None:
    page, _ = demo
    assert "growth &amp; &lt;more&gt;" in page
    assert "patch &lt;0&gt;" in page
    assert "echo &lt;done&gt;" in page
    assert "table[table['p'] > 0.5]" in parse(page).text


def test_demo_shows_the_numbers(demo: tuple[str, Section]) -> None:
    page, section = demo
    text, comparison = parse(page).text, section.comparison
    assert list(comparison.rows) == ["logistic", "peaks", "area only"]
    assert f"{comparison.n_footprints:,}" in text
    assert f"{comparison['logistic'].scores.balanced_accuracy:.4f}" in text
    assert f"{comparison['peaks'].scores.cross_entropy:.4f}" in text
    assert "all stages" in text and "0.500" in text  # the sum of the stages of the first coadd
    # Colours of classifiers, grey of baselines: the order of the legend is that of the table.
    scores = next(rows for rows in tables(page) if rows[0][0] == "logistic")
    assert [row[0] for row in scores] == list(comparison.rows)


def test_demo_needs_something_to_show() -> None:
    coadds = make_coadds()
    for coadd in coadds:
        coadd.blend["p_blended"][::3] = np.nan
    scored = score_tables("demo", coadds, primary="logistic")
    section = make_section(scored, (), reference=None, bootstrap=0)
    assert all(draw_demo(section, coadds, "logistic", pixel_scale=0.2).values())
    samples = scored.labelled.samples.without_images()
    nothing = dataclasses.replace(scored, labelled=dataclasses.replace(scored.labelled, samples=samples))
    with pytest.raises(ValueError, match="no footprint is small enough"):
        draw_demo(dataclasses.replace(section, scored=nothing), coadds, "logistic", pixel_scale=0.2)


@pytest.fixture(scope="module")
def comparison() -> PeakComparison:
    return compare_peaks(make_found(20), bootstrap=8)


def page_of(section: Section, comparison: PeakComparison | None) -> str:
    """What a page tells of peaks."""
    one = dataclasses.replace(section, peaks=comparison)
    page = render_comparison_report([one], ["good"], command="x", made_by="y")
    start = page.find("Which galaxies are found, and where")
    return "" if start < 0 else page[start : page.index("The most confident mistakes")]


def test_tables_have_what_is_known_of_each_list(sections: list[Section], comparison: PeakComparison) -> None:
    text = page_of(sections[0], comparison)
    assert text.count("<img") == 3
    found, probabilities, splits = tables(text)
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


def test_detected_peaks_alone_have_no_calibration(sections: list[Section]) -> None:
    found = make_found(8)
    alone = compare_peaks(dataclasses.replace(found, lists={DETECTED: found.lists[DETECTED]}), bootstrap=0)
    assert page_of(sections[0], alone).count("<img") == 2
    assert page_of(sections[0], None) == ""


def test_peaks_are_on_the_page_of_a_comparison() -> None:
    section = make_section(with_peaks(toy_scored()), (), reference=None, bootstrap=0)
    assert "Which galaxies are found, and where" in page_of(section, section.peaks)
