# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""A comparison of models as a self-contained HTML page."""

from __future__ import annotations

__all__ = ("render_comparison_report",)

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ._html import Page
from .comparison_gallery import find_disagreements, find_mistakes, footprint_stamp
from .comparison_plots import bin_panels, confusion_panels, reliability_panels, roc_panels
from .comparison_section import Section
from .comparison_table import METRICS, format_difference, format_value
from .gallery import cutout_gallery, stamp_picture
from .peak_section import add_peaks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAIN = (
    "balanced_accuracy",
    "cross_entropy",
    "auc",
    "calibration_slope",
    "ece",
    "one_peak_auc",
    "one_peak_recall_1",
    "one_peak_recall_5",
)
_REST = ("accuracy_blended", "accuracy_unblended", "natural_cross_entropy", "calibration_intercept")
_DIFFERENCES = (
    "balanced_accuracy",
    "cross_entropy",
    "auc",
    "natural_cross_entropy",
    "one_peak_auc",
    "one_peak_recall_5",
)


def render_comparison_report(
    sections: Sequence[Section], models: Sequence[str], *, command: str, made_by: str
) -> str:
    """Make the page.

    Parameters
    ----------
    sections
        Kinds of scenes, in the order of the page; those whose scenes have images give the pictures.
    models
        Names of the models that are no baselines.
    command
        Command that was run, as one would type it.
    made_by
        Last line of the page.

    Returns
    -------
    page
        HTML.
    """
    comparison = sections[0].comparison
    n = sum(s.comparison.n_footprints for s in sections if s.comparison.snr_min == comparison.snr_min)
    quiet = [name for name in comparison.rows if name not in models]
    page = Page(
        "Which model knows a blend?",
        f"{len(models)} {'model' if len(models) == 1 else 'models'} beside {len(quiet)} baselines on the "
        f"same {n:,} footprints, set against what is really there.",
    )
    _tiles(page, sections, models, n)
    _how_to_read(page, sections)
    _scenes(page, sections)
    for section in sections:
        page.heading(section.title if len(sections) > 1 else "Scores")
        _scores(page, section)
        _figures(page, section, quiet)
        _kinds(page, section)
        if section.peaks is not None:
            add_peaks(page, section.peaks, to_png=_to_png)
    _galleries(page, sections, models)
    page.heading("How it was made")
    page.code(command)
    page.paragraph(
        "Beside this page, **scores.json** and **scores.ecsv** hold every number with its errors and "
        "differences, and **predictions.parquet** has a row for each footprint."
    )
    page.footer(made_by)
    return page.render()


def _tiles(page: Page, sections: Sequence[Section], models: Sequence[str], n: int) -> None:
    best = min(models, key=lambda name: _mean([s.comparison[name].scores.cross_entropy for s in sections]))
    rows = [section.comparison[best] for section in sections]
    page.tiles(
        [
            (f"{n:,}", "footprints"),
            (
                _span([row.scores.cross_entropy for row in rows], 3),
                f"cross-entropy of {best}{', the least' if len(models) > 1 else ''}",
            ),
            (_span([row.scores.balanced_accuracy for row in rows], 3), "its balanced accuracy"),
            (_span([row.one_peak.auc for row in rows], 3), "its AUC for one-peak footprints"),
            (_span([row.scores.calibration_slope for row in rows], 2), "its calibration slope"),
        ]
    )


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("inf")


def _span(values: Sequence[float], digits: int) -> str:
    """A number, or the range of several."""
    finite = [value for value in values if np.isfinite(value)]
    if not finite:
        return "–"
    low, high = f"{min(finite):.{digits}f}", f"{max(finite):.{digits}f}"
    return low if low == high else f"{low}–{high}"


def _how_to_read(page: Page, sections: Sequence[Section]) -> None:
    comparison = sections[0].comparison
    page.heading("What is compared")
    page.paragraph(
        "A footprint is blended when more than one object in it is bright enough to count. Accuracies, "
        "cross-entropy and the area under the ROC curve (AUC) leave out empty footprints and give "
        "{blended|blends} and {single|single objects} equal weight: probabilities are moved to an even prior "
        "first. Calibration and the natural cross-entropy are of all footprints as they come. A fair coin "
        "scores 0.5 and 0.693."
    )
    page.paragraph(
        "**One-peak** scores are of the footprints with exactly one peak, the unrecognised blends: what "
        "counts peaks sees nothing there. Recall is the share of their blends that is found when 1 % or 5 % "
        "of their single objects are called blends."
    )
    if comparison.n_draws:
        page.paragraph(
            f"Errors are standard deviations over {comparison.n_draws} resamples of {_units(sections)}. "
            f"Differences are from **{comparison.reference}**, in the same resamples: much that two "
            "models share cancels. Those that differ from zero with 95 % confidence are set in bold, where "
            "there are enough blocks of sky and footprints of both kinds to say so."
        )


def _units(sections: Sequence[Section]) -> str:
    """What was drawn, with the numbers."""
    kinds = {f"{s.comparison.n_blocks:,} {s.comparison.units}": None for s in sections}
    return " and of ".join(kinds)


def _scenes(page: Page, sections: Sequence[Section]) -> None:
    rows = []
    for section in sections:
        comparison = section.comparison
        one_peak = next(iter(comparison.rows.values())).one_peak
        rows.append(
            [
                section.title,
                f"{comparison.n_scenes}",
                f"{comparison.n_footprints:,}",
                *(f"{100 * comparison.mix[kind]:.1f} %" for kind in ("blended", "unblended", "empty")),
                f"{100 * comparison.inside:.0f} %" if np.isfinite(comparison.inside) else "–",
                f"{one_peak.n:,}",
                f"{100 * one_peak.blended_share:.1f} %" if one_peak.n else "–",
                _span(section.psf_sigma, 2),
                "–" if section.depth is None else _span(section.depth, 2),
            ]
        )
    header = [
        "",
        "scenes",
        "footprints",
        "{blended|blended}",
        "{single|single}",
        "empty",
        "objects inside",
        "with one peak",
        "blended of these",
        "PSF σ [pix]",
        "depth [mag]",
    ]
    page.table(header, rows)
    fits = "; ".join(dict.fromkeys(f"{s.scored.name}, {s.baseline}" for s in sections))
    page.paragraph(
        "Objects inside: share of those that count whose centre lies in some footprint. Depth: 5σ, point "
        f"source. What the baselines were fitted to: {fits}."
    )
    notes = list(
        dict.fromkeys(
            f"{s.scored.name}: {note}" if len(sections) > 1 else note for s in sections for note in s.notes
        )
    )
    page.notes(notes)


def _cell(section: Section, name: str, key: str) -> str:
    metric = next(m for m in METRICS if m.key == key)
    row = section.comparison[name]
    text = format_value(row.value(key), metric.digits)
    error = row.errors.get(key)
    if error is None or not np.isfinite(error):
        return text
    return f"{text} {{error|± {format_value(error, metric.digits)}}}"


def _scores(page: Page, section: Section) -> None:
    comparison = section.comparison
    labels = {metric.key: metric.label for metric in METRICS}
    for keys in (_MAIN, _REST):
        page.table(
            ["", *(labels[key] for key in keys)],
            [[name, *(_cell(section, name, key) for key in keys)] for name in comparison.rows],
        )
    if comparison.reference is None or len(comparison.rows) < 2:
        return
    page.subheading(f"Paired differences from {comparison.reference}")
    digits = {metric.key: metric.digits for metric in METRICS}
    rows = []
    for name, row in comparison.rows.items():
        if name == comparison.reference:
            continue
        cells = [name]
        for key in _DIFFERENCES:
            difference = row.differences.get(key)
            text, _, error = format_difference(difference, digits[key]).partition(" ± ")
            text = f"**{text}**" if difference is not None and difference.certain else text
            cells.append(f"{text} {{error|± {error}}}" if error else text)
        difference = row.differences.get("cross_entropy")
        base = comparison[comparison.reference].scores.cross_entropy
        cells.append(
            "–" if difference is None else f"{100.0 * difference.value / base:+.1f} %".replace("-", "−")
        )
        rows.append(cells)
    page.table(["", *(labels[key] for key in _DIFFERENCES), "cross-entropy, relative"], rows)


def _figures(page: Page, section: Section, quiet: Sequence[str]) -> None:
    scored = section.scored
    counts, n_peaks = scored.labelled.counts, scored.labelled.samples.n_peaks
    p = {name: scored.p_blended(name) for name in scored.predictions}
    page.figures(
        [
            (
                _to_png(roc_panels(p, counts, n_peaks, quiet=quiet)),
                "**Ranking.** Blends recognised against single objects taken for blends, on a logarithmic "
                "scale. Grey lines at the right mark the rates of 1 % and 5 % at which the recall of "
                "one-peak blends is stated; the numbers in the legends are areas under the curves.",
                "Receiver operating characteristics of all models.",
            )
        ]
    )
    page.figures(
        [
            (
                _to_png(reliability_panels(p, counts > 1)),
                "**Calibration.** Among footprints given a probability p, the share p should be blends: "
                "points should lie on the diagonal. Bars are 68 % binomial intervals; the grey columns show "
                "how many footprints there are, on a logarithmic scale.",
                "Reliability curve of each model.",
            )
        ]
    )
    page.figures(
        [
            (
                _to_png(confusion_panels(scored.predictions, p, counts)),
                "**Confusion.** Of the footprints with the true number of objects at the left, the share, in "
                "per cent, that is called what stands below: the most probable number, or blended or not "
                "where a model gives no number. {single|Blue} and {blended|orange} cells are right about "
                "what is a blend.",
                "Confusion matrix of each model.",
            )
        ]
    )
    if section.bins:
        page.figures(
            [
                (
                    _to_png(bin_panels(section.bins, list(p), quiet=quiet)),
                    "**Where it is hard.** Balanced accuracy, or the share of blends that is recognised "
                    "where only blends have the quantity, with one threshold for all: an even prior. Below "
                    "each bin the number of footprints in it. The second is the second-brightest object that "
                    "counts.",
                    "Accuracy in bins of magnitude, companion and area.",
                )
            ]
        )


def _kinds(page: Page, section: Section) -> None:
    if not section.kinds:
        return
    page.subheading("Stars, and clumpy galaxies")
    page.paragraph(
        "Share of each kind that is called a blend at an even prior; mean probability in brackets. A clumpy "
        "galaxy has bright knots in its disc: it is one object that looks like several."
    )
    names = list(section.comparison.rows)
    rows = [
        [
            f"{{{'blended' if kind.blended else 'single'}|{kind.kind}}}",
            f"{kind.n:,}",
            *(f"{100 * kind.called_blended[name]:.0f} % ({kind.mean_p[name]:.2f})" for name in names),
        ]
        for kind in section.kinds
    ]
    page.table(["", "footprints", *names], rows)


def _galleries(page: Page, sections: Sequence[Section], models: Sequence[str]) -> None:
    # One label: pictures of the same footprints would be shown twice.
    groups = [s.scored for s in sections if s.comparison.snr_min == sections[0].comparison.snr_min]
    several = len(groups) > 1
    page.heading("The most confident mistakes")
    page.paragraph(
        "The worst first. Circles are detected peaks and diamonds inferred ones, the smaller the less "
        "probable; crosses are the true centres of galaxies and stars those of stars that count: the models "
        "saw none of them. Those outside of the outline do not count for it."
        + (" Scenes of all kinds together." if several else "")
    )
    for name in models:
        stamps = {
            title: [footprint_stamp(c, float(c.scored.p_blended(name)[c.row])) for c in chosen]
            for title, chosen in find_mistakes(groups, name).items()
        }
        page.subheading(name)
        if not any(stamps.values()):
            page.paragraph("No mistake can be shown: every footprint that fits a stamp was called right.")
            continue
        page.figures(
            [
                (
                    _to_png(cutout_gallery(stamps), dpi=120),
                    "",
                    f"Footprints that {name} was sure about and got wrong.",
                )
            ]
        )
    names = list(models)
    reference = sections[0].comparison.reference
    if len(names) < 2 and reference is not None and reference not in names:
        names.append(reference)
    if len(names) < 2:
        return
    page.heading("Where models disagree most")
    page.paragraph(
        "Footprints with the largest scatter of the log-odds among the models; odds beyond 100 to 1 count as "
        "100 to 1. P(blended) of each, {single|blue} below one half and {blended|orange} above it, with "
        "a tick where that is right."
    )
    rows = []
    for chosen in find_disagreements(groups, names):
        count = int(chosen.scored.labelled.counts[chosen.row])
        p = [float(chosen.scored.p_blended(name)[chosen.row]) for name in names]
        cells = [f"{count}", f"{int(chosen.scored.labelled.samples.n_peaks[chosen.row])}"]
        if several:
            cells.insert(0, chosen.scored.name)
        for value in p:
            text = f"{{{'blended' if value > 0.5 else 'single'}|{value:.2f}}}"
            cells.append(f"{text} ✓" if (value > 0.5) == (count > 1) else f"{text} ✗")
        picture = _to_png(stamp_picture(footprint_stamp(chosen, float(np.mean(p)))), dpi=120)
        rows.append((picture, f"Footprint with {count} objects.", cells))
    page.cutouts(["", *(["scenes"] if several else []), "true N", "peaks", *names], rows)


def _to_png(figure: Figure, dpi: int = 150) -> bytes:
    """PNG file of a figure with a palette of 255 colours, a third of the size."""
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    buffer.seek(0)
    small = io.BytesIO()
    # By frequency: the default loses the few pixels of marks and thin lines.
    palette = Image.open(buffer).convert("RGB").quantize(255, method=Image.Quantize.MAXCOVERAGE)
    palette.save(small, format="png", optimize=True)
    return small.getvalue()
