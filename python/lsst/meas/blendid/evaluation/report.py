# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What tables say against the truth, as figures and a self-contained HTML page."""

from __future__ import annotations

__all__ = ("ReportFigure", "make_figures", "write_report")

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .._files import atomic_path
from ..calibration import move_prior
from ._canvas import to_png
from ._html import Page
from .gallery import Stamp, cutout_gallery, make_stamp
from .matching import MatchedCoadd
from .pictures import Window, footprint_overlay, patch_overview
from .plots import accuracy_by_magnitude, reliability_diagram, roc_curve
from .summary import Summary, inner_column

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STAMP_SIZE = 45
"""Side of a gallery stamp, pixels; larger footprints are not shown there."""


@dataclass(frozen=True)
class ReportFigure:
    """A figure and what to say about it."""

    name: str
    """File name without suffix."""
    png: bytes
    """The picture."""
    caption: str
    """Caption, with the marks of the page."""
    alt: str
    """Text for who cannot see it."""


def make_figures(
    coadds: Sequence[MatchedCoadd], summary: Summary, *, band: str = "i"
) -> dict[str, ReportFigure]:
    """Draw all figures.

    Parameters
    ----------
    coadds
        The coadds; the first is the one that is shown enlarged.
    summary
        Their numbers.
    band
        Band of the coadds.

    Returns
    -------
    figures
        The figures by name, in the order of the page.
    """
    first, window = coadds[0], _zoom_window(coadds[0])
    counts, p = inner_column(coadds, "counts"), inner_column(coadds, "p_blended")
    known = counts > 0
    curves = {summary.primary: p[known]}
    for name in summary.scores:
        if name != summary.primary:
            curves[name] = inner_column(coadds, f"p_blended_{name}")[known]
    curves["area only"] = inner_column(coadds, "area")[known].astype(float)
    called = move_prior(np.clip(p, 1e-7, 1.0 - 1e-7), summary.scores[summary.primary].prior, 0.5) > 0.5

    brightest = np.where(known & np.isfinite(p), inner_column(coadds, "brightest"), np.nan)

    overview = patch_overview(
        [c.image for c in coadds],
        [c.noise for c in coadds],
        [c.xy0 for c in coadds],
        [c.name for c in coadds],
        window=window,
    )
    overlay = footprint_overlay(
        first.image,
        first.noise,
        first.xy0,
        first.blend,
        first.peaks,
        first.spans,
        window=window,
        pixel_scale=first.pixel_scale,
    )
    width, side = window[2] - window[0] + 1, _STAMP_SIZE * first.pixel_scale
    made: list[tuple[str, Figure, str, str]] = [
        (
            "overview",
            overview,
            f"**What was searched.** Coadds in {band} band as a skymap lays them out; "
            "the shaded strip shows the same sky in both, and its footprints count once. "
            "The dashed frame is enlarged in the next figure.",
            "Coadds side by side with an overlapping strip.",
        ),
        (
            "footprints",
            overlay,
            f"**Footprints and peaks.** {width * first.pixel_scale:.0f}″ across, asinh stretch. An outline "
            "follows the pixels of its footprint, a dot marks a peak, a diamond one that was inferred, the "
            "smaller the less probable a galaxy is there. Colour is the probability of a "
            "blend: {single|blue} for one galaxy, {blended|orange} for more, white where it cannot be "
            "told.",
            "Coadd cutout with coloured outlines of footprints.",
        ),
        (
            "gallery",
            cutout_gallery(_gallery(coadds)),
            f"**Sure, unsure and wrong.** Footprints drawn at random from each kind, {side:.0f}″ on a side. "
            "Circles are detected peaks, diamonds inferred ones. Crosses are the true centres of galaxies "
            "with a point-source S/N of 5 or more; the classifier did not see them. Galaxies outside of the "
            "outline do not count for it.",
            "Rows of footprint cutouts with probabilities and true numbers of galaxies.",
        ),
        (
            "reliability",
            reliability_diagram(p, counts > 1),
            "**Calibration.** Among footprints given a probability p, the share p should be blends. "
            "Bars are 68 % binomial intervals; below, the number of footprints of each bin.",
            "Reliability diagram.",
        ),
        (
            "roc",
            roc_curve(
                curves,
                counts[known] > 1,
                operating_points={"more than one 5σ peak": (summary.peak_false_rate, summary.peak_recall)},
            ),
            "**Ranking.** Blends recognised against single galaxies taken for blends, as the threshold on p "
            "moves. The square is the usual rule: a blend has more than one peak.",
            "Receiver operating characteristic.",
        ),
        (
            "magnitude",
            accuracy_by_magnitude(brightest, counts > 1, called, band=band),
            "**By brightness.** Share of the single galaxies and of the blends that are recognised, "
            "against the brightest galaxy in the footprint. What is more likely than not once both kinds "
            "weigh the same is called a blend; bars are 68 % binomial intervals.",
            "Accuracy by magnitude.",
        ),
    ]
    # At this resolution 4 x 4 dots make a pixel of the enlarged coadd.
    return {
        name: ReportFigure(name, to_png(figure, dpi=168), caption, alt) for name, figure, caption, alt in made
    }


def write_report(
    path: Path,
    summary: Summary,
    figures: Mapping[str, ReportFigure],
    *,
    seconds: Mapping[str, Sequence[float]],
    names: Sequence[str],
    n_pixels: int,
    commands: str,
    usage: str,
    made_by: str,
) -> None:
    """Write the page; a page of that name is replaced when the new one is complete.

    Parameters
    ----------
    path
        HTML file to write.
    summary
        The numbers.
    figures
        The figures by name, as `make_figures` returns them.
    seconds
        Seconds that each stage of the task took, coadd by coadd.
    names
        Names of the coadds.
    n_pixels
        Pixels of each coadd.
    commands
        Commands that were run, as one would type them.
    usage
        How to read the tables, as Python code.
    made_by
        Last line of the page.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    s, scores = summary, summary.scores[summary.primary]
    one_peak = summary.one_peak[summary.primary]
    totals = [sum(stage) for stage in zip(*seconds.values(), strict=True)]
    page = Page(
        "Which detections are blends?",
        f"{s.n_footprints:,} footprints of simulated coadds, each with the probability that it holds more "
        "than one galaxy, set against what is really there.",
    )
    page.tiles(
        [
            (f"{s.n_footprints:,}", "footprints"),
            (f"{100 * s.blended:.1f} %", "are truly blends"),
            (f"{100 * s.expected_blended:.1f} %", "expected from the probabilities"),
            (f"{scores.balanced_accuracy:.3f}", "balanced accuracy"),
            (f"{scores.cross_entropy:.3f}", "cross-entropy, balanced"),
            (f"{min(totals):.2f} s", "in the task for a coadd, once warm"),
        ]
    )
    page.heading("The coadds")
    page.paragraph(
        "A detection pipeline outlines every patch of pixels above its threshold: a footprint. Galaxies that "
        "lie close together on the sky share one, and a catalogue that takes it for a single object gets "
        "their fluxes and shapes wrong. Here every footprint gets a number between 0 and 1 to decide by."
    )
    page.paragraph(
        f"In truth, {{single|{100 * s.single:.1f} % hold one galaxy}}, "
        f"{{blended|{100 * s.blended:.1f} % more than one}} and {100 * s.empty:.1f} % none that is bright "
        f"enough to count; {100 * s.share_inside:.0f} % of the galaxies that do count lie in some "
        f"footprint. {s.n_duplicates:,} further footprints lie in the outer part of a patch where its "
        "neighbour’s inner part holds them, and are left out of all numbers."
    )
    _add(page, figures, "overview")
    _add(page, figures, "footprints")
    page.heading("One by one")
    page.paragraph(
        "Large, lobed footprints with several peaks are easy, and so are small round ones. In between, the "
        "pixels allow both, and a probability near one half is the honest answer. Where a confident "
        "answer is wrong, it is mostly for a faint or very close second galaxy that leaves no trace."
    )
    _add(page, figures, "gallery")
    page.heading("How good are the probabilities?")
    page.paragraph(
        f"The primary classifier is **{s.primary}**. Accuracies and the cross-entropy give blends and single "
        "galaxies equal weight, and leave out empty footprints; calibration is measured on all footprints "
        f"as they come. A fair coin scores 0.5 and 0.693. Of the {one_peak.n:,} occupied footprints with "
        f"exactly one peak, where counting peaks sees nothing, {100 * one_peak.blended_share:.0f} % are "
        f"blends nevertheless; the area under the ROC curve among those alone is {one_peak.auc:.3f}."
    )
    _score_table(page, s)
    _add(page, figures, "reliability", "roc")
    page.paragraph(
        "Bright galaxies fill large footprints that usually hold others as well, so one that is alone "
        "tends to be taken for a blend; among the faintest, it is the companion that is hard to see."
    )
    _add(page, figures, "magnitude")
    page.heading("How long it took")
    page.paragraph(
        f"Seconds in the task for {n_pixels / 1e6:.1f} million pixels each, without reading and writing "
        "files. The first coadd also pays for loading compiled code."
    )
    page.table(
        ["Stage", *names],
        [[stage, *(f"{value:.3f}" for value in values)] for stage, values in seconds.items()]
        + [["all stages", *(f"{value:.3f}" for value in totals)]],
        strong=len(seconds),
    )
    page.heading("How it was made, and where it is")
    page.paragraph("The same pipeline runs on any Butler repository with coadds:")
    page.code(commands)
    page.paragraph("The tables are ordinary Butler datasets, Parquet on disk:")
    page.code(usage)
    page.footer(made_by)
    with atomic_path(path) as temporary:
        temporary.write_text(page.render(), encoding="utf-8")


def _add(page: Page, figures: Mapping[str, ReportFigure], *names: str) -> None:
    page.figures([(figures[n].png, figures[n].caption, figures[n].alt) for n in names])


def _score_table(page: Page, summary: Summary) -> None:
    rows = []
    for name, scores in summary.scores.items():
        rows.append(
            [
                name,
                f"{scores.balanced_accuracy:.3f}",
                f"{scores.accuracy_blended:.3f}",
                f"{scores.accuracy_unblended:.3f}",
                f"{scores.cross_entropy:.3f}",
                f"{scores.auc:.3f}",
                f"{scores.calibration_slope:.2f}",
                f"{scores.ece:.3f}",
            ]
        )
    rows.append(
        [
            "more than one 5σ peak",
            f"{summary.peak_accuracy:.3f}",
            f"{summary.peak_recall:.3f}",
            f"{1.0 - summary.peak_false_rate:.3f}",
            *["–"] * 4,
        ]
    )
    rows.append(["area only", "–", "–", "–", "–", f"{summary.area_auc:.3f}", "–", "–"])
    header = [
        "",
        "balanced accuracy",
        "{blended|blends} recognised",
        "{single|singles} recognised",
        "cross-entropy",
        "area under ROC",
        "calibration slope",
        "calibration error, noise subtracted",
    ]
    page.table(header, rows, strong=0)


def _zoom_window(coadd: MatchedCoadd, width: int = 420, height: int = 300) -> Window:
    """Window in the middle of a coadd."""
    ny, nx = coadd.image.shape
    width, height = min(width, nx), min(height, ny)
    x0, y0 = coadd.xy0[0] + (nx - width) // 2, coadd.xy0[1] + (ny - height) // 2
    return (x0, y0, x0 + width - 1, y0 + height - 1)


def _gallery(coadds: Sequence[MatchedCoadd], columns: int = 6, seed: int = 20) -> dict[str, list[Stamp]]:
    """Footprints drawn at random from each kind, each small enough for a stamp and away from edges."""
    rng = np.random.default_rng(seed)
    candidates = [(c, row) for c in range(len(coadds)) for row in np.flatnonzero(_showable(coadds[c]))]
    p = np.array([coadds[c].blend["p_blended"][row] for c, row in candidates], dtype=float)
    counts = np.array([coadds[c].counts[row] for c, row in candidates], dtype=int)
    kinds = {
        "Called blends with confidence (p > 0.95)": p > 0.95,
        "Called single with confidence (p < 0.05)": p < 0.05,
        "Uncertain (0.3 < p < 0.7)": (p > 0.3) & (p < 0.7),
        "Confident and wrong": ((p > 0.9) & (counts == 1)) | ((p < 0.1) & (counts > 1)),
    }
    groups = {}
    for title, chosen in kinds.items():
        rows = rng.permutation(np.flatnonzero(chosen))[:columns]
        stamps = []
        for index in rows[np.argsort(p[rows], kind="stable")]:
            c, row = candidates[index]
            coadd = coadds[c]
            stamps.append(
                make_stamp(
                    coadd.image,
                    coadd.noise,
                    coadd.xy0,
                    coadd.blend,
                    coadd.spans,
                    row,
                    size=_STAMP_SIZE,
                    count=int(coadd.counts[row]),
                    truth=coadd.galaxies,
                    peaks=coadd.peaks,
                )
            )
        groups[title] = stamps
    if not any(groups.values()):
        raise ValueError(
            "No footprint is small enough and far enough from the edges to be shown in the gallery."
        )
    return groups


def _showable(coadd: MatchedCoadd) -> np.ndarray:
    """Rows in inner regions whose stamp lies within the coadd and holds the whole footprint."""
    blend = coadd.blend
    ny, nx = coadd.image.shape
    low = (
        np.stack([np.asarray(blend["bbox_x0"]), np.asarray(blend["bbox_y0"])]) - np.array(coadd.xy0)[:, None]
    )
    high = (
        np.stack([np.asarray(blend["bbox_x1"]), np.asarray(blend["bbox_y1"])]) - np.array(coadd.xy0)[:, None]
    )
    centre, half = (low + high) / 2, _STAMP_SIZE / 2 + 1
    fits = np.all(high - low < _STAMP_SIZE - 4, axis=0)
    within = np.all((centre > half) & (centre < np.array([[nx], [ny]]) - half), axis=0)
    return coadd.inner & fits & within & np.isfinite(np.asarray(blend["p_blended"], dtype=float))
