# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Pages that need nothing from outside: comparisons of models, and what the demo found."""

from __future__ import annotations

__all__ = (
    "Cell",
    "draw_demo",
    "draw_section",
    "render_comparison_report",
    "render_demo_report",
    "render_page",
)

import base64
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .comparison import METRICS, format_difference, format_value
from .drawing import BLENDED, GRID, INK, MUTED, PAPER, SINGLE, Window, to_png
from .gallery import (
    STAMP_SIZE,
    Chosen,
    cutout_gallery,
    find_disagreements,
    find_examples,
    find_mistakes,
    footprint_stamp,
    stamp_picture,
)
from .peak_comparison import PeakComparison
from .peak_scores import PEAK_METRICS
from .pictures import footprint_overlay, patch_overview
from .plots import (
    bin_panels,
    confusion_panels,
    peak_bin_panels,
    peak_curve_panels,
    peak_reliability_panels,
    reliability_panels,
    roc_panels,
)
from .scored_scenes import ScoredScenes
from .scored_tables import CoaddTables
from .section import Section

_TEMPLATES = Path(__file__).with_name("templates")
_COLOURS = {
    "single": SINGLE,
    "blended": BLENDED,
    "ink": INK,
    "muted": MUTED,
    "grid": GRID,
    "paper": PAPER,
}


class Cell(NamedTuple):
    """A cell of a table that is more than a text."""

    text: str
    error: str = ""
    """Error of the number, without sign."""
    kind: str = ""
    """``single`` or ``blended``, for the colour of that class."""
    strong: bool = False


def render_page(template: str, **values: Any) -> str:
    """Fill a template of the folder ``templates``: text is escaped, and a value that lacks is an error."""
    import jinja2

    # Undefined names are errors: a page with a hole would go unnoticed.
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["base64"] = lambda png: base64.b64encode(png).decode("ascii")
    environment.globals["colours"] = _COLOURS
    return environment.get_template(template).render(values)


type _Table = tuple[Sequence[str | Cell], Sequence[Sequence[str | Cell]]]
"""Header and rows."""

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
_FOUND = (
    "purity",
    "completeness",
    "fainter",
    "fainter_one_peak",
    "offset",
    "likely_purity",
    "likely_completeness",
    "inferred_purity",
)
_PROBABILITIES = ("slope", "intercept", "ece", "ellipse", "sum_excess", "sum_rms", "expected_excess")
_SPLITS = ("singles_split", "pairs_split")
_LABELS = {metric.key: metric.label for metric in METRICS}
_DIGITS = {metric.key: metric.digits for metric in METRICS}


def draw_section(section: Section, quiet: Sequence[str]) -> dict[str, bytes | None]:
    """Draw the figures of a section as PNG files by name; `None` for what it does not have."""
    scored = section.scored
    counts, n_peaks = scored.labelled.counts, scored.labelled.samples.n_peaks
    p = {name: scored.p_blended(name) for name in scored.predictions}
    figures: dict[str, Any] = {
        "reliability": reliability_panels(p, counts > 1),
        "roc": roc_panels(p, counts, n_peaks, quiet=quiet),
        "confusion": confusion_panels(scored.predictions, p, counts),
        "bins": bin_panels(section.bins, list(p), quiet=quiet) if section.bins else None,
    }
    if section.peaks is not None:
        some = any(row.curve is not None for row in section.peaks.rows.values())
        figures |= {
            "peak_curves": peak_curve_panels(section.peaks),
            "peak_bins": peak_bin_panels(section.peaks),
            "peak_reliability": peak_reliability_panels(section.peaks) if some else None,
        }
    return {
        # With a palette, as these are lines on white, and there are many.
        name: None if figure is None else to_png(figure, palette=True)
        for name, figure in figures.items()
    }


def _describe(section: Section, figures: Mapping[str, bytes | None]) -> dict[str, Any]:
    """What the template of a section is filled with."""
    comparison = section.comparison
    return {
        "title": section.title,
        "reference": comparison.reference,
        "scores": [_scores(section, keys) for keys in (_MAIN, _REST)],
        "differences": _differences(section),
        "kinds": _kinds(section),
        "figures": figures,
        "peaks": None if section.peaks is None else _describe_peaks(section.peaks, figures),
    }


def _cell(value: float, error: float, digits: int) -> str | Cell:
    text = format_value(value, digits)
    return Cell(text, format_value(error, digits)) if math.isfinite(error) else text


def _scores(section: Section, keys: Sequence[str]) -> _Table:
    """Scores with their errors, a row for each model."""
    rows = [
        [name, *(_cell(row.value(key), row.errors.get(key, math.nan), _DIGITS[key]) for key in keys)]
        for name, row in section.comparison.rows.items()
    ]
    return ["", *(_LABELS[key] for key in keys)], rows


def _differences(section: Section) -> _Table | None:
    """Paired differences from the reference, if there is one."""
    comparison = section.comparison
    if comparison.reference is None or len(comparison.rows) < 2:
        return None
    # Cross-entropies are read relative to each other: 0.01 is much at 0.15 and little at 0.4.
    base = comparison[comparison.reference].scores.cross_entropy
    rows: list[list[str | Cell]] = []
    for name, row in comparison.rows.items():
        if name == comparison.reference:
            continue
        cells: list[str | Cell] = [name]
        for key in _DIFFERENCES:
            difference = row.differences.get(key)
            text, _, error = format_difference(difference, _DIGITS[key]).partition(" ± ")
            cells.append(Cell(text, error, strong=difference is not None and difference.certain))
        difference = row.differences.get("cross_entropy")
        relative = math.nan if difference is None else 100.0 * difference.value / base
        cells.append(f"{relative:+.1f} %".replace("-", "−") if math.isfinite(relative) else "–")
        rows.append(cells)
    return ["", *(_LABELS[key] for key in _DIFFERENCES), "cross-entropy, relative"], rows


def _kinds(section: Section) -> _Table | None:
    """Shares of stars and clumpy galaxies that are called blends, if there are some."""
    if not section.kinds:
        return None
    names = list(section.comparison.rows)
    rows: list[list[str | Cell]] = [
        [
            Cell(kind.kind, kind="blended" if kind.blended else "single"),
            f"{kind.n:,}",
            *(f"{100 * kind.called_blended[name]:.0f} % ({kind.mean_p[name]:.2f})" for name in names),
        ]
        for kind in section.kinds
    ]
    return ["", "footprints", *names], rows


def _describe_peaks(peaks: PeakComparison, figures: Mapping[str, bytes | None]) -> dict[str, Any]:
    """What the template of peaks is filled with."""

    def table(keys: Sequence[str]) -> _Table:
        metrics = [next(metric for metric in PEAK_METRICS if metric.key == key) for key in keys]
        rows = [
            [name, *(_cell(row.values[m.key], row.errors.get(m.key, math.nan), m.digits) for m in metrics)]
            for name, row in peaks.rows.items()
            # A list without probabilities has no row among scores of these.
            if any(math.isfinite(row.values[key]) for key in keys)
        ]
        return ["", *(metric.label for metric in metrics)], rows

    return {
        "n_galaxies": f"{peaks.n_galaxies:,}",
        "radius": f"{peaks.radius:g}",
        "likely": f"{peaks.likely:g}",
        "purity": f"{peaks.purity:.3f}" if math.isfinite(peaks.purity) else None,
        "found": table(_FOUND),
        "probabilities": table(_PROBABILITIES),
        "splits": table(_SPLITS),
        "figures": figures,
    }


def render_comparison_report(
    sections: Sequence[Section], models: Sequence[str], *, command: str, made_by: str
) -> str:
    """Make the page of a comparison.

    Those sections whose scenes have images give the pictures; ``models`` are those that are no baselines,
    ``command`` is what was run, as one would type it, and ``made_by`` the last line.
    """
    comparison = sections[0].comparison
    n = sum(s.comparison.n_footprints for s in sections if s.comparison.snr_min == comparison.snr_min)
    quiet = [name for name in comparison.rows if name not in models]
    # By the mean over sections, which no single kind of scenes decides.
    best = min(models, key=lambda name: _mean([s.comparison[name].scores.cross_entropy for s in sections]))
    rows = [section.comparison[best] for section in sections]
    # One label: pictures of the same footprints would be shown twice.
    groups = [s.scored for s in sections if s.comparison.snr_min == comparison.snr_min]
    several = len(sections) > 1
    return render_page(
        "comparison.html",
        title="Which model knows a blend?",
        lede=f"{len(models)} {'model' if len(models) == 1 else 'models'} beside {len(quiet)} baselines on "
        f"the same {n:,} footprints, set against what is really there.",
        footer=made_by,
        numbers=[
            (f"{n:,}", "footprints"),
            (
                _span([row.scores.cross_entropy for row in rows], 3),
                f"cross-entropy of {best}{', the least' if len(models) > 1 else ''}",
            ),
            (_span([row.scores.balanced_accuracy for row in rows], 3), "its balanced accuracy"),
            (_span([row.one_peak.auc for row in rows], 3), "its AUC for one-peak footprints"),
            (_span([row.scores.calibration_slope for row in rows], 2), "its calibration slope"),
        ],
        n_draws=comparison.n_draws,
        units=" and of ".join(
            dict.fromkeys(f"{s.comparison.n_blocks:,} {s.comparison.units}" for s in sections)
        ),
        reference=comparison.reference,
        scenes=_scenes(sections),
        baselines="; ".join(dict.fromkeys(f"{s.scored.name}, {s.baseline}" for s in sections)),
        notes=list(
            dict.fromkeys((s.scored.name if several else "", note) for s in sections for note in s.notes)
        ),
        sections=[_describe(section, draw_section(section, quiet)) for section in sections],
        mistakes=[(name, _mistakes(groups, name)) for name in models],
        disagreements=_disagreements(groups, models, comparison.reference),
        several=len(groups) > 1,
        command=command,
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


def _scenes(sections: Sequence[Section]) -> _Table:
    """What the scenes are, a row for each section."""
    rows: list[list[str | Cell]] = []
    for section in sections:
        comparison = section.comparison
        one_peak = next(iter(comparison.rows.values())).one_peak
        rows.append(
            [
                section.title,
                f"{comparison.n_scenes}",
                f"{comparison.n_footprints:,}",
                *(f"{100 * comparison.mix[kind]:.1f} %" for kind in ("blended", "unblended", "empty")),
                f"{100 * comparison.inside:.0f} %" if np.isfinite(comparison.inside) else "–",
                f"{one_peak.n:,}",
                f"{100 * one_peak.blended_share:.1f} %" if one_peak.n else "–",
                _span(section.psf_sigma, 2),
                "–" if section.depth is None else _span(section.depth, 2),
            ]
        )
    header: list[str | Cell] = [
        "",
        "scenes",
        "footprints",
        Cell("blended", kind="blended"),
        Cell("single", kind="single"),
        "empty",
        "objects inside",
        "with one peak",
        "blended of these",
        "PSF σ [pix]",
        "depth [mag]",
    ]
    return header, rows


def _stamps(groups: Mapping[str, Sequence[Chosen]], name: str) -> bytes | None:
    """Gallery of footprints with the P(blended) of a model, if there are any."""
    if not any(groups.values()):
        return None
    stamps = {
        title: [footprint_stamp(c, float(c.scored.p_blended(name)[c.row])) for c in chosen]
        for title, chosen in groups.items()
    }
    return to_png(cutout_gallery(stamps), dpi=120, palette=True)


def _mistakes(groups: Sequence[ScoredScenes], name: str) -> bytes | None:
    return _stamps(find_mistakes(groups, name), name)


def _disagreements(
    groups: Sequence[ScoredScenes], models: Sequence[str], reference: str | None
) -> tuple[Sequence[str], Sequence[tuple[bytes, str, Sequence[str | Cell]]]] | None:
    """Footprints that models disagree on; a single model is set beside the reference."""
    names = list(models)
    if len(names) < 2 and reference is not None and reference not in names:
        names.append(reference)
    if len(names) < 2:
        return None
    rows = []
    for chosen in find_disagreements(groups, names):
        labelled = chosen.scored.labelled
        count = int(labelled.counts[chosen.row])
        p = [float(chosen.scored.p_blended(name)[chosen.row]) for name in names]
        cells: list[str | Cell] = [f"{count}", f"{int(labelled.samples.n_peaks[chosen.row])}"]
        if len(groups) > 1:
            cells.insert(0, chosen.scored.name)
        for value in p:
            is_right = (value > 0.5) == (count > 1)
            cells.append(
                Cell(f"{value:.2f} {'✓' if is_right else '✗'}", kind="blended" if value > 0.5 else "single")
            )
        picture = to_png(stamp_picture(footprint_stamp(chosen, float(np.mean(p)))), dpi=120, palette=True)
        rows.append((picture, f"Footprint with {count} objects.", cells))
    return ["", *(["scenes"] if len(groups) > 1 else []), "true N", "peaks", *names], rows


def draw_demo(
    section: Section, coadds: Sequence[CoaddTables], primary: str, *, pixel_scale: float
) -> dict[str, bytes | None]:
    """Draw all figures of the demo as PNG files by name, with a part of the first coadd enlarged.

    Raises a ValueError if no footprint can be shown.
    """
    first, window = coadds[0], _middle(coadds[0])
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
        pixel_scale=pixel_scale,
    )
    gallery = _stamps(find_examples(section.scored, primary), primary)
    if gallery is None:
        raise ValueError("no footprint is small enough and far enough from the edges to be shown")
    # At this resolution 4 x 4 dots make a pixel of the enlarged coadd.
    figures = {
        name: to_png(figure, dpi=168) for name, figure in (("overview", overview), ("footprints", overlay))
    }
    quiet = [name for name in section.comparison.rows if name not in _classifiers(section)]
    return {**figures, "gallery": gallery, **draw_section(section, quiet)}


def _classifiers(section: Section) -> list[str]:
    """Models whose probabilities come with the tables, unlike those of baselines."""
    return list(section.scored.outside)


def _middle(coadd: CoaddTables) -> Window:
    """Window in the middle of a coadd, small enough to see its pixels."""
    ny, nx = coadd.image.shape
    width, height = min(420, nx), min(300, ny)
    x0, y0 = coadd.xy0[0] + (nx - width) // 2, coadd.xy0[1] + (ny - height) // 2
    return (x0, y0, x0 + width - 1, y0 + height - 1)


def render_demo_report(
    section: Section,
    coadds: Sequence[CoaddTables],
    primary: str,
    figures: Mapping[str, bytes | None],
    *,
    seconds: Mapping[str, Sequence[float]],
    pixel_scale: float,
    commands: str,
    usage: str,
    made_by: str,
) -> str:
    """Make the page of the demo: what was searched, a comparison with its models, and how long it took.

    ``figures`` are those of `draw_demo`; ``seconds`` has each stage of the task, coadd by coadd; ``usage`` is
    code that reads the tables.
    """
    comparison, row = section.comparison, section.comparison[primary]
    mix, p = comparison.mix, section.scored.p_blended(primary)
    totals = [sum(stage) for stage in zip(*seconds.values(), strict=True)]
    window = _middle(coadds[0])
    return render_page(
        "demo.html",
        title="Which detections are blends?",
        lede=f"{comparison.n_footprints:,} footprints of simulated coadds, each with the probability that it "
        "holds more than one galaxy, set against what is really there.",
        footer=made_by,
        numbers=[
            (f"{comparison.n_footprints:,}", "footprints"),
            (f"{100 * mix['blended']:.1f} %", "are truly blends"),
            (f"{100 * np.nanmean(p):.1f} %", "expected from the probabilities"),
            (f"{row.scores.balanced_accuracy:.3f}", "balanced accuracy"),
            (f"{row.scores.cross_entropy:.3f}", "cross-entropy, balanced"),
            (f"{min(totals):.2f} s", "in the task for a coadd, once warm"),
        ],
        single=f"{100 * mix['unblended']:.1f}",
        blended=f"{100 * mix['blended']:.1f}",
        empty=f"{100 * mix['empty']:.1f}",
        inside=f"{100 * comparison.inside:.0f}",
        n_duplicates=f"{sum(len(c.blend) for c in coadds) - comparison.n_footprints:,}",
        band=coadds[0].context.band,
        width=f"{(window[2] - window[0] + 1) * pixel_scale:.0f}",
        side=f"{STAMP_SIZE * pixel_scale:.0f}",
        primary=primary,
        n_one_peak=f"{row.one_peak.n:,}",
        one_peak_blended=f"{100 * row.one_peak.blended_share:.0f}",
        one_peak_auc=f"{row.one_peak.auc:.3f}",
        section=_describe(section, figures),
        figures=figures,
        megapixels=f"{coadds[0].image.size / 1e6:.1f}",
        seconds=(
            ["Stage", *(coadd.name for coadd in coadds)],
            [[stage, *(f"{value:.3f}" for value in values)] for stage, values in seconds.items()]
            + [[Cell("all stages", strong=True), *(Cell(f"{t:.3f}", strong=True) for t in totals)]],
        ),
        commands=commands,
        usage=usage,
    )
