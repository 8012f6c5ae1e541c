# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Footprints to look at: which ones, cut out of their coadds, and galleries of them."""

from __future__ import annotations

__all__ = (
    "STAMP_SIZE",
    "Chosen",
    "Stamp",
    "cutout_gallery",
    "find_disagreements",
    "find_examples",
    "find_mistakes",
    "footprint_stamp",
    "make_stamp",
    "showable",
    "stamp_picture",
)

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..metrics import EPS
from .drawing import (
    INK,
    MARK,
    WIDTH,
    PeakMarks,
    asinh_stretch,
    cut_window,
    draw_outlines,
    draw_peaks,
    new_figure,
    rasterize_spans,
    show_image,
    styled,
)
from .scored_scenes import ScoredScenes

if TYPE_CHECKING:
    from astropy.table import Table
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_IN_ROW = 6
"""Stamps in a row of a gallery."""
STAMP_SIZE = 45
"""Side of a stamp, pixels; larger footprints are not shown."""
_STAMP_WIDTH = 1.6
"""Width of a figure of one stamp, inches."""
_WHITE = 60.0
"""Brightness that is drawn white in stamps, in units of the noise."""
_CLOSE = 25.0
"""Footprints nearer than this, in pixels, on one sky are taken for the same: noise draws repeat them."""


@dataclass(frozen=True)
class Stamp:
    """A footprint cut out of its coadd, ready to be drawn."""

    image: np.ndarray
    """Pixels `(s, s)`, NaN outside of the coadd."""
    noise: float
    """Noise of a pixel in the unit of the image."""
    xy0: tuple[int, int]
    """Parent pixel of the first element."""
    labels: np.ndarray
    """Footprint numbers `(s, s)`, 0 for none."""
    footprint_id: int
    """The footprint that the stamp is about; others in it are drawn faintly."""
    probability: float
    """Its probability of being a blend."""
    count: int | None = None
    """True number of galaxies in it, if known."""
    truth: np.ndarray | None = None
    """True positions ``(x, y)`` in parent pixels `(k, 2)`."""
    stars: np.ndarray | None = None
    """True positions of stars, which ``truth`` leaves out then."""
    peaks: PeakMarks | None = None
    """Peaks of the footprint."""
    name: str = ""
    """What to call it in the caption, if anything."""


def make_stamp(
    image: np.ndarray,
    noise: float,
    xy0: tuple[int, int],
    blend: Table,
    spans: Table,
    row: int,
    *,
    size: int = 45,
    peaks: Table | None = None,
) -> Stamp:
    """Cut the footprint in a row of ``blend`` out of its coadd (ny, nx), by the tables of the coadd alone."""
    entry = blend[row]
    x0 = (int(entry["bbox_x0"]) + int(entry["bbox_x1"]) + 1) // 2 - size // 2
    y0 = (int(entry["bbox_y0"]) + int(entry["bbox_y1"]) + 1) // 2 - size // 2
    window = (x0, y0, x0 + size - 1, y0 + size - 1)
    return Stamp(
        image=cut_window(np.asarray(image, dtype=np.float32), xy0, window),
        noise=noise,
        xy0=(x0, y0),
        labels=rasterize_spans(spans, window),
        footprint_id=int(entry["footprint_id"]),
        probability=float(entry["p_blended"]),
        peaks=None if peaks is None else PeakMarks.from_table(peaks, int(entry["footprint_id"])).shown(),
    )


@styled
def cutout_gallery(groups: Mapping[str, Sequence[Stamp]], *, columns: int = _IN_ROW) -> Figure:
    """Draw rows of footprints by title, all in one stretch, with their probability and true number."""
    rows = {title: list(stamps)[:columns] for title, stamps in groups.items() if len(stamps)}
    if not rows:
        raise ValueError("No footprint to show in the gallery: every group is empty.")
    gap, title_room, caption_room = 0.1, 0.34, 0.3
    side = (WIDTH - gap * (columns - 1)) / columns
    height = len(rows) * (side + title_room + caption_room)
    figure = new_figure(WIDTH, height)
    figure.set_layout_engine("none")
    top = height
    for title, stamps in rows.items():
        figure.text(0.0, (top - 0.06) / height, title, va="top", fontsize=11, fontweight="bold", color=INK)
        top -= title_room + side
        for index, stamp in enumerate(stamps):
            box = (index * (side + gap) / WIDTH, top / height, side / WIDTH, side / height)
            _draw_stamp(figure.add_axes(box), stamp)
        top -= caption_room
    return figure


@styled
def stamp_picture(stamp: Stamp) -> Figure:
    """Draw one footprint, without text."""
    figure = new_figure(_STAMP_WIDTH, _STAMP_WIDTH)
    figure.set_layout_engine("none")
    _draw_stamp(figure.add_axes((0.0, 0.0, 1.0, 1.0)), stamp)
    return figure


def _draw_stamp(axes: Axes, stamp: Stamp) -> None:
    from matplotlib.patheffects import withStroke

    size = stamp.image.shape[0]
    window = (stamp.xy0[0], stamp.xy0[1], stamp.xy0[0] + size - 1, stamp.xy0[1] + size - 1)
    show_image(axes, asinh_stretch(stamp.image, stamp.noise, high=_WHITE), window)
    shown = np.where(stamp.labels == stamp.footprint_id, 1, 0)
    # Neighbours are drawn faintly, as their probabilities are not what the stamp is about.
    others = np.where(stamp.labels != stamp.footprint_id, stamp.labels, 0)
    draw_outlines(
        axes, others, stamp.xy0, np.full(others.max(initial=0) + 1, np.nan), linewidth=0.6, alpha=0.5
    )
    draw_outlines(axes, shown, stamp.xy0, np.array([np.nan, stamp.probability]), linewidth=1.6)
    halo = [withStroke(linewidth=2.0, foreground="#10151b")]
    if stamp.peaks is not None:
        draw_peaks(axes, stamp.peaks, size=9.0)
    looks: list[tuple[np.ndarray | None, dict[str, Any]]] = [
        (stamp.truth, {"marker": "+", "ms": 6.5, "mew": 1.1, "color": MARK}),
        (stamp.stars, {"marker": "*", "ms": 6.5, "mew": 0.8, "color": MARK}),
    ]
    for positions, look in looks:
        if positions is not None and len(positions):
            axes.plot(*positions.T, ls="none", zorder=4, path_effects=halo, **look)
    text = f"p = {stamp.probability:.2f}" if np.isfinite(stamp.probability) else "not classified"
    if stamp.name:
        text = f"{stamp.name}      {text}"
    if stamp.count is not None:
        text += f"      true N = {stamp.count}"
    axes.text(0.5, -0.03, text, transform=axes.transAxes, ha="center", va="top", fontsize=9)


@dataclass(frozen=True)
class Chosen:
    """A footprint to show."""

    scored: ScoredScenes
    row: int


def showable(scored: ScoredScenes) -> np.ndarray:
    """Find the footprints whose stamp lies in the image and holds the whole footprint: bool (n,).

    Where images were dropped, nothing can be shown.
    """
    parts = []
    for result in scored.labelled.samples.results:
        footprints, (ny, nx) = result.footprints, result.image.shape
        low = footprints.bbox[:, :2] - np.array(result.xy0)
        high = footprints.bbox[:, 2:] - np.array(result.xy0)
        centre, half = (low + high) / 2, STAMP_SIZE / 2 + 1
        fits = np.all(high - low < STAMP_SIZE - 4, axis=1)
        parts.append(fits & np.all((centre > half) & (centre < np.array([nx, ny]) - half), axis=1))
    return np.concatenate(parts) if parts else np.zeros(0, dtype=bool)


def footprint_stamp(chosen: Chosen, probability: float) -> Stamp:
    """Cut a footprint out of its scene, with true positions and its peaks, for some P(blended)."""
    labelled = chosen.scored.labelled
    scene = int(labelled.samples.scene_index[chosen.row])
    result = labelled.samples.results[scene]
    row = chosen.row - int(labelled.samples.offsets[scene])
    footprints = result.footprints
    x0, y0 = ((footprints.bbox[row, :2] + footprints.bbox[row, 2:] + 1) // 2 - STAMP_SIZE // 2).tolist()
    window = (x0, y0, x0 + STAMP_SIZE - 1, y0 + STAMP_SIZE - 1)
    truth = stars = None
    if labelled.truths is not None:
        table = labelled.truths[scene]
        snr = np.asarray(table["snr"])
        position = np.column_stack([np.asarray(table[k], dtype=np.float64) for k in ("x", "y")])
        inside = np.all(
            np.abs(position - [x0 + STAMP_SIZE // 2, y0 + STAMP_SIZE // 2]) < STAMP_SIZE / 2, axis=1
        )
        inside &= snr >= labelled.snr_min
        star = (
            np.asarray(table["is_star"], dtype=bool)
            if "is_star" in table.colnames
            else np.zeros(len(snr), bool)
        )
        truth, stars = position[inside & ~star], position[inside & star]
    return Stamp(
        image=cut_window(result.image, result.xy0, window),
        noise=result.noise.sigma,
        xy0=(x0, y0),
        labels=cut_window(footprints.labels, footprints.xy0, window, fill=0),
        footprint_id=row + 1,
        probability=probability,
        count=int(labelled.counts[chosen.row]),
        truth=truth,
        stars=stars,
        peaks=_marks(chosen),
    )


def _marks(chosen: Chosen) -> PeakMarks:
    """Peaks of a footprint: those of the first localiser, if one was scored, else the detected ones."""
    for peaks in chosen.scored.peaks.values():
        if peaks.has_probabilities and peaks.is_inferred is not None:
            return PeakMarks.from_list(peaks, chosen.row).shown()
    samples = chosen.scored.labelled.samples
    scene = int(samples.scene_index[chosen.row])
    footprints, row = samples.results[scene].footprints, chosen.row - int(samples.offsets[scene])
    places = footprints.peaks[footprints.peak_start[row] : footprints.peak_start[row + 1]]
    return PeakMarks.from_positions(places["f_x"], places["f_y"])


def _pick(candidates: Sequence[tuple[float, Chosen]], count: int) -> list[Chosen]:
    """Take the first by falling score, no footprint twice."""
    taken: list[Chosen] = []
    seen: list[tuple[int, float, float]] = []
    for _, chosen in sorted(candidates, key=lambda pair: -pair[0]):
        if len(taken) == count:
            break
        x, y = chosen.scored.labelled.samples.centroid[chosen.row]
        sky = int(chosen.scored.labelled.sky[chosen.row])
        group = hash((chosen.scored.name, sky))
        if any(g == group and np.hypot(x - a, y - b) < _CLOSE for g, a, b in seen):
            continue
        seen.append((group, float(x), float(y)))
        taken.append(chosen)
    return taken


def find_mistakes(groups: Sequence[ScoredScenes], name: str) -> dict[str, list[Chosen]]:
    """Find the most confident mistakes of a model in scenes of all kinds.

    Gives footprints by a title for each sort, the worst first: those with one object and the greatest
    P(blended), and those with more and the least.  Only what is on the wrong side of one half is a mistake.
    """
    found: dict[str, list[Chosen]] = {}
    for title, blended in (("One object, called a blend", False), ("A blend, called one object", True)):
        candidates = []
        for scored in groups:
            p, counts = scored.p_blended(name), np.asarray(scored.labelled.counts)
            wrong = (1.0 - p if blended else p) > 0.5
            kind = counts > 1 if blended else counts == 1
            rows = np.flatnonzero(wrong & kind & showable(scored))
            score = np.abs(p[rows] - 0.5)
            # More than are shown, for repeats of one place are left out later.
            best = np.argsort(-score, kind="stable")[: 4 * _IN_ROW]
            candidates += [(float(score[k]), Chosen(scored, int(rows[k]))) for k in best]
        found[title] = _pick(candidates, _IN_ROW)
    return found


def find_disagreements(groups: Sequence[ScoredScenes], names: Sequence[str]) -> list[Chosen]:
    """Find the footprints with the largest standard deviation of the log-odds among models, largest first."""
    candidates = []
    for scored in groups:
        p = np.clip(np.stack([scored.p_blended(name) for name in names]), EPS, 1.0 - EPS)
        logit = np.log(p / (1.0 - p))
        # Beyond 1 in 100 it does not matter how sure.
        spread = np.std(np.clip(logit, -4.6, 4.6), axis=0)
        use = np.isfinite(spread) & showable(scored) & (spread > 0.0)
        rows = np.flatnonzero(use)
        best = rows[np.argsort(-spread[rows], kind="stable")[: 8 * _IN_ROW]]
        candidates += [(float(spread[row]), Chosen(scored, int(row))) for row in best]
    return _pick(candidates, 2 * _IN_ROW)


def find_examples(scored: ScoredScenes, name: str) -> dict[str, list[Chosen]]:
    """Draw footprints at random of those that a model is sure, unsure and wrong about.

    Gives footprints by a title for each kind, by rising P(blended).
    """
    # Always the same ones: a page that is made again shows what it showed.
    rng = np.random.default_rng(20)
    rows = np.flatnonzero(showable(scored) & np.isfinite(scored.p_blended(name)))
    p, counts = scored.p_blended(name)[rows], np.asarray(scored.labelled.counts)[rows]
    kinds = {
        "Called blends with confidence (p > 0.95)": p > 0.95,
        "Called single with confidence (p < 0.05)": p < 0.05,
        "Uncertain (0.3 < p < 0.7)": (p > 0.3) & (p < 0.7),
        "Confident and wrong": ((p > 0.9) & (counts == 1)) | ((p < 0.1) & (counts > 1)),
    }
    found = {}
    for title, chosen in kinds.items():
        # At random and not the surest: the page is to show what is usual.
        some = rng.permutation(np.flatnonzero(chosen))[:_IN_ROW]
        found[title] = [Chosen(scored, int(rows[k])) for k in some[np.argsort(p[some], kind="stable")]]
    return found
