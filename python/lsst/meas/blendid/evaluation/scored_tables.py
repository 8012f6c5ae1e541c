# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What output tables say of coadds whose galaxies are known."""

from __future__ import annotations

__all__ = ("CoaddTables", "score_tables")

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..footprints import (
    PEAK_DTYPE,
    DetectionResult,
    FootprintConfig,
    FootprintSet,
    NoiseEstimate,
    spans_to_labels,
)
from ..images.psf import PsfSummary
from ..labels import SNR_MIN, counted_objects
from ..peak_matching import PeakList
from ..samples import FootprintSamples, SceneContext
from ..training import LabelledScenes
from .breakdown import summarize_truth
from .peak_comparison import DETECTED
from .scored_scenes import ScoredScenes

if TYPE_CHECKING:
    from astropy.table import Table

_PREFIX = "p_blended_"
LOCATED = "peaks of the tables"
"""Name of the peaks of the tables, the inferred ones among them."""


@dataclass(frozen=True)
class CoaddTables:
    """A coadd, the three tables that were made of it, and what is truly in it.

    The image is (ny, nx) with its noise per pixel in the same unit; ``xy0`` is the parent pixel (x, y) of its
    first element, and ``inner`` the first and last one (x0, y0, x1, y1) of the region that no other coadd has
    too.  The truth has columns ``x``, ``y`` (parent pixels), ``snr`` and, if known, ``mag``.
    """

    name: str
    image: np.ndarray
    noise: float
    xy0: tuple[int, int]
    psf: PsfSummary
    context: SceneContext
    inner: tuple[int, int, int, int]
    blend: Table
    peaks: Table
    spans: Table
    truth: Table

    @property
    def is_inner(self) -> np.ndarray:
        """Footprints that no other patch or tract has too, bool (n,)."""
        return np.asarray(self.blend["is_patch_inner"]) & np.asarray(self.blend["is_tract_inner"])


def score_tables(name: str, coadds: Sequence[CoaddTables], *, primary: str) -> ScoredScenes:
    """Take the footprints of tables, without those that a neighbour has too, and what is said of them.

    ``primary`` is the classifier that ``p_blended`` is of.  The coadds are of one tract, and show one sky.
    Raises a ValueError where tables are not whole or none is given.
    """
    if not coadds:
        raise ValueError(f"there are no tables of {name}")
    return ScoredScenes.join([_score(name, coadd, primary) for coadd in coadds])


def _score(name: str, coadd: CoaddTables, primary: str) -> ScoredScenes:
    inner, whole = coadd.is_inner, _restore(coadd)
    samples = FootprintSamples([whole], [coadd.context]).select(inner)
    footprints = samples.results[0].footprints
    counts = summarize_truth(footprints, coadd.truth, snr_min=SNR_MIN).counts
    labelled = LabelledScenes(
        samples=samples,
        counts=counts,
        sky=np.zeros(len(counts), dtype=np.int64),
        inside=(_share_inside(coadd, whole.footprints),),
        provenance=({"source": coadd.name},),
        # Tables do not tell the settings in full.
        footprints=(FootprintConfig(),),
        snr_min=SNR_MIN,
        truths=(coadd.truth,),
        skies=(name,),
    )
    columns = {primary: "p_blended"} | {
        column.removeprefix(_PREFIX): column
        for column in coadd.blend.colnames
        if column.startswith(_PREFIX) and column != _PREFIX + primary
    }
    predictions = {
        key: np.asarray(coadd.blend[column], dtype=np.float64)[inner] for key, column in columns.items()
    }
    peaks, expected = {}, {}
    if np.isfinite(np.asarray(coadd.peaks["probability"], dtype=float)).any():
        located, detected = _peak_lists(coadd)
        peaks = {LOCATED: located, DETECTED: detected}
        expected = {LOCATED: np.asarray(coadd.blend["n_expected"], dtype=np.float64)[inner]}
    nowhere = np.zeros(len(counts), dtype=bool)
    return ScoredScenes(name, labelled, predictions, dict.fromkeys(predictions, nowhere), peaks, expected)


def _restore(coadd: CoaddTables) -> DetectionResult:
    """The footprints of the tables with their image, as they were found."""
    blend, spans = coadd.blend, coadd.spans
    if not np.array_equal(np.asarray(blend["footprint_id"]), np.arange(1, len(blend) + 1)):
        raise ValueError(
            f"the footprints of {coadd.name} are not numbered from 1 without gaps; take whole tables"
        )
    columns = [np.asarray(spans[column]) for column in ("footprint_id", "y", "x0", "x1")]
    labels = spans_to_labels(np.stack(columns, axis=1), coadd.image.shape, coadd.xy0)
    if int(labels.max(initial=0)) != len(blend):
        raise ValueError(f"{coadd.name} has {len(blend)} footprints but spans of {labels.max(initial=0)}")
    rows = coadd.peaks[~np.asarray(coadd.peaks["is_inferred"], dtype=bool)]
    peaks = np.zeros(len(rows), PEAK_DTYPE)
    for field in PEAK_DTYPE.names or ():
        peaks[field] = rows[field]
    none = np.zeros((0, 0), dtype=np.float32)
    return DetectionResult(
        footprints=FootprintSet.from_labels(
            labels, xy0=coadd.xy0, peaks=peaks, area_detected=np.asarray(blend["area_detected"])
        ),
        image=np.nan_to_num(coadd.image),
        smoothed=none,
        significance=none,
        eligible=none,
        bad=none,
        noise=NoiseEstimate(coadd.noise, float("nan"), float("nan"), "variance"),
        sky_level=0.0,
        psf=coadd.psf,
        growth=0,
        metadata={},
        xy0=coadd.xy0,
        timings={},
    )


def _share_inside(coadd: CoaddTables, footprints: FootprintSet) -> float:
    """Share of the galaxies that count and lie in the inner region whose centre is in some footprint."""
    objects = counted_objects(coadd.truth)
    pixel = np.rint(objects[:, :2])
    inner = np.all((pixel >= np.asarray(coadd.inner[:2])) & (pixel <= np.asarray(coadd.inner[2:])), axis=1)
    if not inner.any():
        return float("nan")
    # All footprints: one whose middle is in the neighbour's region can hold a galaxy of this one.
    return float(np.mean(footprints.find_at(*objects[inner, :2].T) > 0))


def _peak_lists(coadd: CoaddTables) -> tuple[PeakList, PeakList]:
    """All peaks of the inner footprints with their probabilities, and the detected ones without."""
    number = np.cumsum(coadd.is_inner) - 1
    rows = coadd.peaks[coadd.is_inner[np.asarray(coadd.peaks["footprint_id"]) - 1]]
    rows = rows[np.argsort(np.asarray(rows["footprint_id"]), kind="stable")]
    inferred = np.asarray(rows["is_inferred"], dtype=bool)

    def make(rows: Table, probability: np.ndarray, told: np.ndarray | None) -> PeakList:
        return PeakList(
            number[np.asarray(rows["footprint_id"]) - 1],
            np.asarray(rows["f_x"], dtype=np.float64),
            np.asarray(rows["f_y"], dtype=np.float64),
            probability,
            told,
            np.column_stack([np.asarray(rows[k], dtype=np.float64) for k in ("xx", "yy", "xy")]),
            np.asarray(rows["mag"], dtype=np.float64),
        )

    detected = rows[~inferred]
    return (
        make(rows, np.asarray(rows["probability"], dtype=np.float64), inferred),
        make(detected, np.full(len(detected), np.nan), None),
    )
