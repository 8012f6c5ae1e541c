# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Which inferred peaks a deblender bears, and what becomes of the others of a catalogue, by what settings."""

from __future__ import annotations

__all__ = (
    "INFERRED_DTYPE",
    "REFUSALS",
    "PeakEditConfig",
    "PeakPlan",
    "plan_peaks",
)

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lsst.pex.config import Config, Field, RangeField

from ..peak_matching import LIKELY
from .afw_table import CatalogError
from .catalog_footprints import CatalogFootprints


class PeakEditConfig(Config):
    """What becomes of the peaks of a catalogue.

    By default they are annotated and nothing else.  The limits are those of
    Rubin's deblender, as of 2026, and of what it was seen to bear.
    """

    doAddPeaks: Field[bool] = Field(
        doc="Add inferred peaks to the footprints of the catalogue?", dtype=bool, default=False
    )
    minAddProbability = RangeField(
        doc="Only inferred peaks of a larger probability are added.  Of those over the default nine in ten "
        "or more are galaxies, for each size of galaxies that was simulated.",
        dtype=float,
        default=LIKELY,
        min=0.0,
        max=1.0,
    )
    minSeparation = RangeField(
        doc="Only inferred peaks that lie at least this far from every other peak are added [pixel]: on or "
        "next to a peak the flux is split evenly between the two.",
        dtype=float,
        default=3.0,
        min=0.0,
    )
    minAddSignificance = RangeField(
        doc="Only inferred peaks with at least this point-source S/N of the coadd at their pixel are added: "
        "where there is no light the fit of the deblender can diverge, and takes the real objects along.",
        dtype=float,
        default=5.0,
        min=0.0,
    )
    doDropPeaks: Field[bool] = Field(
        doc="Drop peaks of small probability from the footprints of the catalogue? The most probable one of "
        "a footprint always stays.",
        dtype=bool,
        default=False,
    )
    maxDropProbability = RangeField(
        doc="Peaks of a smaller probability are dropped.", dtype=float, default=0.1, min=0.0, max=1.0
    )
    doMovePeaks: Field[bool] = Field(
        doc="Move a detected peak onto the place that its galaxy was inferred at when a peak is added closer "
        "than moveRadius? The one peak of two close galaxies lies between them. It keeps its id. Not onto a "
        "place with another probable peak closer than minSeparation.",
        dtype=bool,
        default=False,
    )
    moveRadius = RangeField(
        doc="Detected peaks that are closer than this to an added one are moved [pixel].",
        dtype=float,
        default=6.0,
        min=0.0,
    )
    maxPeaks = RangeField(
        doc="Footprints with more peaks are left as they are, and none gets more: the deblender skips them "
        "(maxNumberOfPeaks), and their objects would be lost.",
        dtype=int,
        default=600,
        min=1,
    )
    maxFootprintArea = RangeField(
        doc="Footprints whose bounding box has more pixels are left as they are, as the deblender skips them "
        "[pixel^2]; 0 for no limit.",
        dtype=int,
        default=2_000_000,
        min=0,
    )
    maxFootprintSize = RangeField(
        doc="The same for the longer side of the bounding box [pixel]; 0 for no limit.",
        dtype=int,
        default=0,
        min=0,
    )
    maxAreaTimesPeaks = RangeField(
        doc="The same for the pixels of the bounding box times the number of peaks; 0 for no limit.",
        dtype=int,
        default=1_000_000_000,
        min=0,
    )


INFERRED_DTYPE = np.dtype(
    [
        ("footprint", "i8"),
        ("id", "i8"),
        ("i_x", "i4"),
        ("i_y", "i4"),
        ("f_x", "f4"),
        ("f_y", "f4"),
        ("peak_value", "f4"),
        ("significance", "f4"),
        ("probability", "f4"),
    ]
)
"""An inferred peak: the footprint of the catalogue that it lies in, -1 for none, its identifier in the
tables, its pixel and position, value and point-source S/N of the smoothed coadd there, its probability."""

REFUSALS = {
    "not_asked": "with doAddPeaks off",
    "improbable": "not more probable than minAddProbability",
    "outside": "in no footprint of the catalogue",
    "left_alone": "in a footprint that is left as it is",
    "faint": "point-source S/N under minAddSignificance",
    "close": "closer than minSeparation to another peak",
    "too_many": "one peak more than maxPeaks or maxAreaTimesPeaks allows",
}
"""Why an inferred peak was not added."""

_LARGEST_ID = np.iinfo(np.int32).max
"""Identifiers are 32-bit integers in the deblender's catalogue."""


@dataclass(frozen=True)
class PeakPlan:
    """What becomes of the k peaks of a catalogue and m inferred ones.

    Parameters
    ----------
    kept
        Whether a peak of the catalogue stays, bool ``(k,)``.
    moved
        Whether it is moved, bool ``(k,)``.
    i_x, i_y
        Its pixel, int32 ``(k,)``.
    f_x, f_y
        Its position, float32 ``(k,)``.
    added
        The inferred peaks that are added, int64 ``(a,)``.
    added_id
        Their identifiers in the catalogue, int64 ``(a,)``.
    refusal
        Why an inferred peak is not added (`REFUSALS`), empty if it is, ``(m,)``.
    footprint, source
        The new peaks by footprint, in their order: footprint, and place among
        those of the catalogue, or -1 - place in ``added``; int64 ``(n,)``.
    """

    kept: np.ndarray
    moved: np.ndarray
    i_x: np.ndarray
    i_y: np.ndarray
    f_x: np.ndarray
    f_y: np.ndarray
    added: np.ndarray
    added_id: np.ndarray
    refusal: np.ndarray
    footprint: np.ndarray
    source: np.ndarray


def plan_peaks(
    footprints: CatalogFootprints,
    inferred: np.ndarray,
    *,
    probability: np.ndarray,
    candidate: np.ndarray,
    left_alone: np.ndarray,
    config: PeakEditConfig,
) -> PeakPlan:
    """Decide which peaks are added, dropped and moved.

    Parameters
    ----------
    footprints
        Footprints of the catalogue with their k peaks.
    inferred
        Inferred peaks, structured array of `INFERRED_DTYPE` ``(m,)``.
    probability
        Probability of each peak of the catalogue, NaN where it is not known,
        ``(k,)``.
    candidate
        Where the galaxy of each peak was inferred to be, x and y, NaN where
        that is not known, ``(k, 2)``.
    left_alone
        Footprints whose peaks stay as they are, bool ``(f,)``; those that the
        deblender would skip are added to them.
    config
        What is done, and the limits.

    Returns
    -------
    plan
        What becomes of the peaks.  Added peaks come before the first one
        that is fainter, and the others keep their order.

    Raises
    ------
    CatalogError
        Raised if there is no identifier left for an added peak.
    """
    editor = _Editor(footprints, inferred, probability, candidate, left_alone, config)
    if config.doDropPeaks:
        editor.drop()
    if config.doAddPeaks:
        editor.add()
    return editor.finish()


class _Editor:
    """The peaks while it is being decided what becomes of them."""

    def __init__(
        self,
        footprints: CatalogFootprints,
        inferred: np.ndarray,
        probability: np.ndarray,
        candidate: np.ndarray,
        left_alone: np.ndarray,
        config: PeakEditConfig,
    ) -> None:
        self._footprints, self._inferred, self._config = footprints, inferred, config
        self._probability, self._candidate = np.asarray(probability, float), np.asarray(candidate, float)
        self._left_alone = left_alone | find_skipped(footprints, config)
        peaks = footprints.peaks
        # Peaks are sorted by footprint, so that those of one are a slice.
        self._start = np.searchsorted(peaks["footprint"], np.arange(footprints.n_footprints + 1))
        self._kept = np.ones(len(peaks), dtype=bool)
        self._moved = np.zeros(len(peaks), dtype=bool)
        self._place = {name: peaks[name].copy() for name in ("i_x", "i_y", "f_x", "f_y")}
        self._added: list[int] = []
        self._refusal = np.full(len(inferred), "not_asked", dtype=object)
        # Where a peak that is moved would go to, if that is a pixel of its footprint.
        self._can_move = np.isfinite(self._candidate).all(axis=1) & ~self._left_alone[peaks["footprint"]]
        if config.doMovePeaks and self._can_move.any():
            which = np.flatnonzero(self._can_move)
            x, y = np.rint(self._candidate[which]).astype(np.int64).T
            self._can_move[which] = footprints.contain(peaks["footprint"][which], x, y)
            self._can_move[which] &= ~self._are_unsure(which)

    def _are_unsure(self, peaks: np.ndarray) -> np.ndarray:
        """Whether another probable inferred peak is so close to the place that a peak would be moved to.

        Then one of the two is too many, and which of them is where the object is cannot be told.
        """
        inferred, config = self._inferred, self._config
        probable = inferred[inferred["probability"] > config.minAddProbability]
        unsure = np.zeros(len(peaks), dtype=bool)
        for i, peak in enumerate(peaks):
            candidates = probable[probable["footprint"] == self._footprints.peaks["footprint"][peak]]
            places = np.stack([candidates["f_x"], candidates["f_y"]], axis=1).astype(float)
            unsure[i] = not _are_apart(places, self._candidate[peak], config.minSeparation)
        return unsure

    def drop(self) -> None:
        """Drop peaks of small probability, but never the most probable one of a footprint."""
        peaks = self._footprints.peaks
        small = self._probability < self._config.maxDropProbability
        small &= ~self._left_alone[peaks["footprint"]]
        for number in np.unique(peaks["footprint"][small]):
            rows = np.arange(self._start[number], self._start[number + 1])
            # A footprint without a peak makes the deblender fail.
            if small[rows].all():
                # Equally probable ones are told apart by their order, in which the brightest is first.
                small[rows[np.argmax(self._probability[rows])]] = False
        self._kept &= ~small

    def add(self) -> None:
        """Add inferred peaks, the brightest first."""
        inferred, config = self._inferred, self._config
        probable = inferred["probability"] > config.minAddProbability
        inside = inferred["footprint"] >= 0
        inside[inside] = self._footprints.contain(
            *(inferred[name][inside] for name in ("footprint", "i_x", "i_y"))
        )
        free = inside.copy()
        free[inside] = ~self._left_alone[inferred["footprint"][inside]]
        bright = inferred["significance"] >= config.minAddSignificance
        # From the mildest reason to the strongest: the last one that fails is told.
        tests = {"faint": bright, "left_alone": free, "outside": inside, "improbable": probable}
        for reason, passed in tests.items():
            self._refusal[~passed] = reason
        possible = np.flatnonzero(probable & inside & free & bright)
        if not len(possible):
            return
        # The brightest first; of equally bright ones the more probable.
        few = inferred[possible]
        keys = few["probability"], few["significance"], _as_brightness(few["peak_value"])
        possible = possible[np.lexsort([*(-key for key in keys), few["footprint"]])]
        # Of the box, which is what the deblender allocates for each peak.
        area = np.prod(self._footprints.bbox[:, 2:] - self._footprints.bbox[:, :2] + 1, axis=1)
        numbers, first = np.unique(inferred["footprint"][possible], return_index=True)
        for number, rows in zip(numbers, np.split(possible, first[1:]), strict=True):
            self._add_to(int(number), rows, int(area[number]))

    def _add_to(self, number: int, candidates: np.ndarray, area: int) -> None:
        """Add inferred peaks to a footprint."""
        config, inferred = self._config, self._inferred
        rows = np.arange(self._start[number], self._start[number + 1])
        rows = rows[self._kept[rows]]
        detected = np.stack([self._place["f_x"][rows], self._place["f_y"][rows]], axis=1).astype(float)
        added = np.zeros((0, 2))
        for row in candidates:
            place = np.array([inferred["f_x"][row], inferred["f_y"][row]], dtype=float)
            # Counted with the new one: the deblender skips the whole parent over its limit.
            n = len(rows) + len(added) + 1
            if n > config.maxPeaks or 0 < config.maxAreaTimesPeaks < area * n:
                self._refusal[row] = "too_many"
                continue
            moves = self._find_moves(rows, detected, place)
            # Where the others are if this one is added.
            here = np.where(moves[:, np.newaxis], self._candidate[rows], detected)
            # The deblender shares the flux of two sources on one place evenly, without an error.
            if not _are_apart(np.concatenate([here, added]), place, config.minSeparation):
                self._refusal[row] = "close"
                continue
            self._refusal[row] = ""
            self._added.append(int(row))
            self._move(rows[moves])
            detected, added = here, np.concatenate([added, place[np.newaxis]])

    def _find_moves(self, rows: np.ndarray, detected: np.ndarray, place: np.ndarray) -> np.ndarray:
        """Which detected peaks would move if a peak were added at a place, bool; each moves once."""
        config = self._config
        if not config.doMovePeaks:
            return np.zeros(len(rows), dtype=bool)
        near = np.hypot(*(detected - place).T) < config.moveRadius
        moves = near & self._can_move[rows] & ~self._moved[rows]
        # Not onto another peak.
        moved_places = np.where(moves[:, np.newaxis], self._candidate[rows], detected)
        for i in np.flatnonzero(moves):
            moves[i] = _are_apart(np.delete(moved_places, i, axis=0), moved_places[i], config.minSeparation)
        return moves

    def _move(self, peaks: np.ndarray) -> None:
        """Move peaks onto their candidates."""
        self._moved[peaks] = True
        for k, axis in enumerate("xy"):
            self._place[f"f_{axis}"][peaks] = self._candidate[peaks, k]
            self._place[f"i_{axis}"][peaks] = np.rint(self._candidate[peaks, k]).astype(np.int32)

    def finish(self) -> PeakPlan:
        """Number the added peaks and put all in order."""
        peaks, added = self._footprints.peaks, np.array(self._added, dtype=np.int64)
        kept = np.flatnonzero(self._kept)
        footprint = np.concatenate([peaks["footprint"][kept], self._inferred["footprint"][added]])
        # Negative numbers for added peaks, so that one array tells of both.
        source = np.concatenate([kept, -1 - np.arange(len(added))])
        rank = _find_ranks(peaks, kept, self._inferred[added])
        order = np.lexsort((rank, footprint))
        return PeakPlan(
            kept=self._kept,
            moved=self._moved,
            added=added,
            added_id=_number_peaks(peaks["id"], self._inferred["id"], added),
            refusal=self._refusal.astype(str),
            footprint=footprint[order],
            source=source[order],
            **self._place,
        )


def find_skipped(footprints: CatalogFootprints, config: PeakEditConfig) -> np.ndarray:
    """Find the footprints that the deblender would skip: bool (f,)."""
    box = footprints.bbox
    # By the bounding box, which is what a deblender holds in memory.
    sides = box[:, 2:] - box[:, :2] + 1
    area, n_peaks = np.prod(sides, axis=1), footprints.n_peaks
    skipped = n_peaks > config.maxPeaks
    if config.maxFootprintArea:
        skipped |= area > config.maxFootprintArea
    if config.maxFootprintSize:
        skipped |= sides.max(axis=1, initial=0) > config.maxFootprintSize
    if config.maxAreaTimesPeaks:
        skipped |= area * n_peaks > config.maxAreaTimesPeaks
    return skipped


def _as_brightness(values: np.ndarray) -> np.ndarray:
    """Values by which peaks are sorted, the least for those that are not numbers."""
    return np.where(np.isnan(values), -np.inf, values.astype(float))


def _are_apart(places: np.ndarray, place: np.ndarray, least: float) -> bool:
    """Whether a place is far enough from others."""
    return not np.any(np.hypot(*(places - place).T) < least)


def _find_ranks(peaks: np.ndarray, kept: np.ndarray, added: np.ndarray) -> np.ndarray:
    """Ranks of kept and added peaks within their footprints.

    Those of the catalogue keep their order; each added one comes before the first that is fainter.
    """
    ranks = [np.arange(len(kept)) + 0.5]
    footprint, value = peaks["footprint"][kept], _as_brightness(peaks["peak_value"][kept])
    first = np.searchsorted(footprint, added["footprint"], side="left")
    last = np.searchsorted(footprint, added["footprint"], side="right")
    brightness = _as_brightness(added["peak_value"])
    place = np.empty(len(added))
    for i, (start, stop) in enumerate(zip(first, last, strict=True)):
        fainter = np.flatnonzero(value[start:stop] < brightness[i])
        place[i] = start + (fainter[0] if fainter.size else stop - start)
    # Several in one gap come in the order in which they were added, which is by brightness.
    ranks.append(place + np.arange(len(added)) / (2.0 * len(added) + 1.0))
    return np.concatenate(ranks)


def _number_peaks(ids: np.ndarray, inferred_ids: np.ndarray, added: np.ndarray) -> np.ndarray:
    """Identifiers of added peaks: those of the tables where all of these are new to the catalogue and fit,
    else those that follow the largest of the catalogue.
    """
    largest = int(ids.max(initial=0))
    of_tables = inferred_ids[added].astype(np.int64)
    fit = len(inferred_ids) == 0 or (inferred_ids.min() > largest and inferred_ids.max() <= _LARGEST_ID)
    if fit and len(np.unique(inferred_ids)) == len(inferred_ids):
        return of_tables
    if largest + len(added) > _LARGEST_ID:
        raise CatalogError(
            f"the largest peak id of the catalogue is {largest}: none is left for added peaks, as the "
            "deblender keeps 32 bits; renumber the peaks"
        )
    return largest + 1 + np.arange(len(added), dtype=np.int64)


def describe_refusals(refusal: Sequence[str]) -> str:
    """Say how many inferred peaks were not added, and why, the most frequent reason first; empty if none."""
    reasons, counts = np.unique([r for r in refusal if r], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return ", ".join(f"{counts[i]} {REFUSALS[str(reasons[i])]}" for i in order)
