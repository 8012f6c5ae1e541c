# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Which footprints of a comparison to look at: confident mistakes, and where models disagree."""

from __future__ import annotations

__all__ = ("Chosen", "find_disagreements", "find_mistakes", "footprint_stamp", "showable")

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..metrics import EPS
from ._outlines import cut_window
from ._peak_marks import PeakMarks
from .gallery import Stamp
from .scored_scenes import ScoredScenes

STAMP_SIZE = 45
"""Side of a stamp, pixels; larger footprints are not shown."""
_CLOSE = 25.0
"""Footprints nearer than this, in pixels, on one sky are taken for the same: noise draws repeat them."""


@dataclass(frozen=True)
class Chosen:
    """A footprint to show."""

    scored: ScoredScenes
    row: int


def showable(scored: ScoredScenes) -> np.ndarray:
    """Find the footprints whose stamp lies in the image and holds the whole footprint.

    Parameters
    ----------
    scored
        Scenes with their images; where those were dropped nothing can be shown.

    Returns
    -------
    rows
        bool array `(n,)`.
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
    """Cut a footprint out of its scene.

    Parameters
    ----------
    chosen
        The footprint.
    probability
        P(blended), for the colour of its outline.

    Returns
    -------
    stamp
        The cutout, with true positions and the footprint's peaks.
    """
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
    own = footprints.peaks[footprints.peak_start[row] : footprints.peak_start[row + 1]]
    return PeakMarks.from_positions(own["f_x"], own["f_y"])


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


def find_mistakes(groups: Sequence[ScoredScenes], name: str, *, count: int = 6) -> dict[str, list[Chosen]]:
    """Find the most confident mistakes of a model.

    Parameters
    ----------
    groups
        Scenes of all kinds.
    name
        The model.
    count
        Number of mistakes of each sort.

    Returns
    -------
    mistakes
        Footprints by a title for each sort, the worst first: those with one object and the greatest
        P(blended), and those with more and the least.  Only what is on the wrong side of one half
        is a mistake.
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
            best = np.argsort(-score, kind="stable")[: 4 * count]
            candidates += [(float(score[k]), Chosen(scored, int(rows[k]))) for k in best]
        found[title] = _pick(candidates, count)
    return found


def find_disagreements(
    groups: Sequence[ScoredScenes], names: Sequence[str], *, count: int = 12
) -> list[Chosen]:
    """Find the footprints that models disagree on most.

    Parameters
    ----------
    groups
        Scenes of all kinds.
    names
        The models.
    count
        Number of footprints.

    Returns
    -------
    chosen
        Footprints with the largest standard deviation of the log-odds among the models, the largest first.
    """
    candidates = []
    for scored in groups:
        p = np.clip(np.stack([scored.p_blended(name) for name in names]), EPS, 1.0 - EPS)
        logit = np.log(p / (1.0 - p))
        # Beyond 1 in 100 it does not matter how sure.
        spread = np.std(np.clip(logit, -4.6, 4.6), axis=0)
        use = np.isfinite(spread) & showable(scored) & (spread > 0.0)
        rows = np.flatnonzero(use)
        best = rows[np.argsort(-spread[rows], kind="stable")[: 4 * count]]
        candidates += [(float(spread[row]), Chosen(scored, int(row))) for row in best]
    return _pick(candidates, count)
