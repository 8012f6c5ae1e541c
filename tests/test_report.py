# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tables against the truth, and the page that shows it."""

from __future__ import annotations

import base64
import os
import re
import struct
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st
from lsst.meas.blendid.evaluation._html import Page
from lsst.meas.blendid.evaluation.matching import MatchedCoadd, match_truth
from lsst.meas.blendid.evaluation.report import ReportFigure, make_figures, write_report
from lsst.meas.blendid.evaluation.summary import inner_column, summarize
from lsst.meas.blendid.footprints import FootprintSet
from lsst.meas.blendid.metrics import score
from scipy import ndimage

VOID = {"meta", "link", "img", "br"}


def make_coadd(seed: int, x0: int, inner_from: int, inner_to: int) -> MatchedCoadd:
    """Discs on a noisy field at (x0, 50), and tables of them with plausible probabilities."""
    rng = np.random.default_rng(seed)
    n, size = 150, 320
    x, y = rng.uniform(0, size - 1, (2, n))
    near = np.zeros((size, size), bool)
    near[np.rint(y).astype(int), np.rint(x).astype(int)] = True
    labels, n_found = ndimage.label(ndimage.distance_transform_edt(~near) <= 6, np.ones((3, 3)))
    footprints = FootprintSet.from_labels(labels.astype(np.int32), xy0=(x0, 50))
    truth = Table({"x": x + x0, "y": y + 50, "snr": rng.uniform(3, 50, n), "mag": rng.uniform(22, 27, n)})
    z = 1.2 * (footprints.area - 170) / 60 + rng.normal(size=n_found)
    p = (1 / (1 + np.exp(-z))).astype("f4")
    blend = Table(
        {
            "footprint_id": np.arange(1, n_found + 1, dtype="i4"),
            **{f"bbox_{k}": footprints.bbox[:, i] for i, k in enumerate(("x0", "y0", "x1", "y1"))},
            "area": footprints.area,
            "n_peaks": np.where(footprints.area > 170, 2, 1),
            "is_patch_inner": (footprints.centroid[:, 0] >= inner_from)
            & (footprints.centroid[:, 0] < inner_to),
            "is_tract_inner": np.ones(n_found, bool),
            "p_blended": p,
            "p_blended_logistic": p,
            "p_blended_peaks": np.where(footprints.area > 170, 0.9, 0.1).astype("f4"),
            "flag": np.zeros(n_found, bool),
            "flag_edge": np.zeros(n_found, bool),
        }
    )
    peaks = Table(
        {
            "footprint_id": np.arange(1, n_found + 1),
            "f_x": footprints.centroid[:, 0],
            "f_y": footprints.centroid[:, 1],
            "probability": np.full(n_found, np.nan),
        }
    )
    return match_truth(
        name=f"patch <{seed}>",
        image=rng.normal(size=labels.shape).astype("f4") + 10 * near,
        noise=1.0,
        xy0=(x0, 50),
        pixel_scale=0.2,
        blend=blend,
        peaks=peaks,
        spans=Table(footprints.spans, names=["footprint_id", "y", "x0", "x1"]),
        truth=truth,
        inner_box=(inner_from, 50, inner_to - 1, 50 + size - 1),
    )


@pytest.fixture(scope="module")
def coadds() -> list[MatchedCoadd]:
    return [make_coadd(0, 0, 0, 300), make_coadd(1, 280, 300, 600)]


@pytest.fixture(scope="module")
def page(coadds: list[MatchedCoadd], tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    summary = summarize(coadds, primary="logistic")
    write_report(
        path,
        summary,
        make_figures(coadds, summary),
        seconds={"growth & <more>": [0.2, 0.1], "peaks": [0.3, 0.1]},
        names=[coadd.name for coadd in coadds],
        n_pixels=102400,
        commands="pipetask run -d \"band='i'\" && echo <done>",
        usage="table[table['p'] > 0.5]",
        made_by="Written in a test.",
    )
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    return path.read_text(encoding="utf-8")


class _Balance(HTMLParser):
    """Collects attributes and sees whether every element is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def _parse(text: str) -> _Balance:
    parser = _Balance()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    return parser


def test_page_is_balanced_and_complete(page: str) -> None:
    parser = _parse(page)
    assert page.startswith("<!DOCTYPE html>")
    assert [tag for tag, _ in parser.seen if tag in ("h1", "title", "main")] == ["title", "main", "h1"]
    assert [attrs["lang"] for tag, attrs in parser.seen if tag == "html"] == ["en"]
    images = [attrs for tag, attrs in parser.seen if tag == "img"]
    assert len(images) == 6
    assert all(attrs["alt"] for attrs in images)


def test_page_needs_nothing_from_outside(page: str) -> None:
    parser = _parse(page)
    links = [attrs[key] for _, attrs in parser.seen for key in ("src", "href", "srcset") if key in attrs]
    assert links
    assert all(link is not None and link.startswith("data:") for link in links)
    without_images = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", page)
    assert not re.search(r"https?:|//[a-z]|@import|url\(|<script", without_images)


def test_page_shows_pictures(page: str) -> None:
    for match in re.finditer(r"data:image/png;base64,([A-Za-z0-9+/=]+)", page):
        png = base64.b64decode(match[1], validate=True)
        assert png[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = struct.unpack(">II", png[16:24])
        assert min(width, height) > 300


def test_page_escapes_text(page: str) -> None:
    assert "growth &amp; &lt;more&gt;" in page
    assert "patch &lt;0&gt;" in page
    assert "echo &lt;done&gt;" in page
    assert "table[table['p'] > 0.5]" in _parse(page).text


def test_page_shows_the_numbers(page: str, coadds: list[MatchedCoadd]) -> None:
    summary = summarize(coadds, primary="logistic")
    text = _parse(page).text
    assert f"{summary.n_footprints:,}" in text
    assert f"{summary.scores['logistic'].balanced_accuracy:.3f}" in text
    assert f"{summary.scores['peaks'].cross_entropy:.3f}" in text
    assert "0.500" in text  # the sum of the stages of the first coadd


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=40))
def test_any_text_can_be_written(text: str) -> None:
    page = Page(text, text)
    page.paragraph(f"**{text}** {{single|{text}}}")
    page.table([text], [[text]], strong=0)
    page.tiles([(text, text)])
    page.figures([(b"x", text, text)])
    page.code(text)
    parser = _parse(page.render())
    assert {tag for tag, _ in parser.seen} <= {
        "html", "head", "meta", "link", "title", "style", "body", "main", "header", "h1", "p", "span", "b",
        "div", "table", "thead", "tbody", "tr", "th", "td", "figure", "img", "figcaption", "pre", "code",
    }  # fmt: skip


def test_marks_become_elements() -> None:
    page = Page("t", "one **two** {blended|three} 2 ** 3")
    assert "2 ** 3" in page.render()
    page = Page("t", "one **two** {blended|three}")
    assert '<b>two</b> <span class="blended">three</span>' in page.render()


def test_page_that_cannot_be_written_leaves_nothing(coadds: list[MatchedCoadd], tmp_path: Path) -> None:
    summary = summarize(coadds, primary="logistic")
    (tmp_path / "report.html").mkdir()
    with pytest.raises(OSError):
        write_report(
            tmp_path / "report.html",
            summary,
            make_figures(coadds, summary),
            seconds={"a": [1.0]},
            names=["a"],
            n_pixels=1,
            commands="",
            usage="",
            made_by="",
        )
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_page_has_the_mode_that_the_user_wants(coadds: list[MatchedCoadd], tmp_path: Path, mask: int) -> None:
    summary = summarize(coadds, primary="logistic")
    figure = ReportFigure("x", b"x", "x", "x")
    names = ("overview", "footprints", "gallery", "reliability", "roc", "magnitude")
    old = os.umask(mask)
    try:
        write_report(
            tmp_path / "report.html",
            summary,
            dict.fromkeys(names, figure),
            seconds={"a": [1.0]},
            names=["a"],
            n_pixels=1,
            commands="",
            usage="",
            made_by="",
        )
    finally:
        os.umask(old)
    assert (tmp_path / "report.html").stat().st_mode & 0o777 == 0o666 & ~mask
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_matching_counts_galaxies_by_brute_force(coadds: list[MatchedCoadd]) -> None:
    coadd = coadds[1]
    truth = coadd.galaxies
    spans = coadd.spans
    for row in range(0, len(coadd.blend), 7):
        mine = spans[spans["footprint_id"] == row + 1]
        expected = 0
        for x, y in np.rint(truth):
            expected += int(np.any((mine["y"] == y) & (mine["x0"] <= x) & (mine["x1"] >= x)))
        assert coadd.counts[row] == expected
        assert np.isnan(coadd.brightest[row]) == (expected == 0)
    assert coadd.galaxy_inside.sum() == coadd.counts.sum()
    np.testing.assert_array_equal(coadd.galaxy_inner, np.rint(truth[:, 0]) >= 300)
    assert 0 < coadd.galaxy_inner.sum() < len(truth)
    assert np.nanmin(coadd.brightest) >= 22


def test_matching_refuses_parts_of_tables(coadds: list[MatchedCoadd]) -> None:
    c = coadds[0]
    truth = Table({"x": [5.0], "y": [60.0], "snr": [9.0], "mag": [24.0]})
    given = {
        "name": "patch 7", "image": c.image, "noise": 1.0, "xy0": c.xy0, "pixel_scale": 0.2, "peaks": c.peaks,
        "truth": truth,
    }  # fmt: skip
    with pytest.raises(ValueError, match="patch 7 are not numbered"):
        match_truth(blend=c.blend[1:], spans=c.spans, **given)
    some = c.spans[c.spans["footprint_id"] < len(c.blend)]
    with pytest.raises(ValueError, match="spans of"):
        match_truth(blend=c.blend, spans=some, **given)


def test_overlaps_count_once(coadds: list[MatchedCoadd]) -> None:
    summary = summarize(coadds, primary="logistic")
    assert summary.n_duplicates > 0
    assert summary.n_footprints == sum(int(c.blend["is_patch_inner"].sum()) for c in coadds)
    assert summary.n_footprints + summary.n_duplicates == sum(len(c.blend) for c in coadds)
    assert summary.empty + summary.single + summary.blended == pytest.approx(1.0)


def test_share_of_galaxies_counts_each_once(coadds: list[MatchedCoadd]) -> None:
    # Of the galaxies of the first coadd none is in a footprint, and of the second all in the overlap.
    first = MatchedCoadd(**{**vars(coadds[0]), "galaxy_inside": np.zeros_like(coadds[0].galaxy_inside)})
    n = len(coadds[1].galaxies)
    second = MatchedCoadd(
        **{**vars(coadds[1]), "galaxy_inside": ~coadds[1].galaxy_inner | (np.arange(n) % 4 == 0)}
    )
    inner = [coadd.galaxy_inner for coadd in (first, second)]
    expected = np.count_nonzero(second.galaxy_inside & inner[1]) / sum(map(np.count_nonzero, inner))
    assert summarize([first, second], primary="logistic").share_inside == pytest.approx(expected)
    # A coadd with few galaxies has little weight.
    few = {
        "galaxies": second.galaxies[:2],
        "galaxy_inside": np.ones(2, bool),
        "galaxy_inner": np.ones(2, bool),
    }
    share = summarize([first, MatchedCoadd(**{**vars(second), **few})], primary="logistic").share_inside
    assert share == pytest.approx(2 / (2 + np.count_nonzero(inner[0])))
    none = {
        "galaxies": np.zeros((0, 2)),
        "galaxy_inside": np.zeros(0, bool),
        "galaxy_inner": np.zeros(0, bool),
    }
    assert np.isnan(summarize([MatchedCoadd(**{**vars(first), **none})], primary="logistic").share_inside)


def test_all_galaxies_are_inner_without_neighbours() -> None:
    labels = np.zeros((9, 9), dtype=np.int32)
    labels[2:5, 2:5] = 1
    footprints = FootprintSet.from_labels(labels, xy0=(0, 0))
    matched = match_truth(
        name="alone",
        image=np.zeros((9, 9), dtype=np.float32),
        noise=1.0,
        xy0=(0, 0),
        pixel_scale=0.2,
        blend=Table({"footprint_id": [1]}),
        peaks=Table(),
        spans=Table(footprints.spans, names=["footprint_id", "y", "x0", "x1"]),
        truth=Table({"x": [3.0, 8.4], "y": [3.0, 0.0], "snr": [9.0, 9.0], "mag": [24.0, 25.0]}),
    )
    assert matched.galaxy_inner.tolist() == [True, True]
    assert matched.galaxy_inside.tolist() == [True, False]


def test_summary_scores_every_classifier(coadds: list[MatchedCoadd]) -> None:
    summary = summarize(coadds, primary="logistic")
    assert list(summary.scores) == ["logistic", "peaks"]
    p, counts = inner_column(coadds, "p_blended_peaks"), inner_column(coadds, "counts")
    assert summary.scores["peaks"] == score(p, counts)
    many = inner_column(coadds, "n_peaks") > 1
    assert summary.peak_recall == pytest.approx(many[counts > 1].mean())
    assert summary.peak_accuracy == pytest.approx(
        0.5 * (many[counts > 1].mean() + (~many)[counts == 1].mean())
    )


def test_summary_needs_both_kinds(coadds: list[MatchedCoadd]) -> None:
    with pytest.raises(ValueError, match="No coadd"):
        summarize([], primary="logistic")
    without_blends = MatchedCoadd(**{**vars(coadds[0]), "counts": np.ones_like(coadds[0].counts)})
    with pytest.raises(ValueError, match="one kind only"):
        summarize([without_blends], primary="logistic")


def test_gallery_survives_unclassified_footprints(coadds: list[MatchedCoadd]) -> None:
    coadd = coadds[0]
    blend = coadd.blend.copy()
    blend["p_blended"][::3] = np.nan
    broken = MatchedCoadd(**{**vars(coadd), "blend": blend})
    summary = summarize([broken], primary="logistic")
    assert summary.n_unclassified == int(np.isnan(blend["p_blended"][coadd.inner]).sum()) > 0
    figures = make_figures([broken], summary)
    assert all(figure.png for figure in figures.values())
