# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""SEP as it was run against BlendHunter (Farrens et al. 2022, A&A 657, A98, Table 2).

SEP (Barbary 2016, https://doi.org/10.21105/joss.00058) is SExtractor as a library.
Settings and rules are those of its code
(https://github.com/CosmoStat/BlendHunter, ``scripts/sep_script.py``): threshold of 1.5
times the noise that SEP measures in the stamp, 32 deblending levels, contrast
0.005, positions within 2 pixels of the truth.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from lsst.meas.blendid._sep import (
    BLENDHUNTER_CONTRAST,
    BLENDHUNTER_LEVELS,
    BLENDHUNTER_THRESHOLD,
    extract,
    import_sep,
)
from lsst.meas.blendid.footprints import DetectionResult
from lsst.meas.blendid.peak_matching import PeakList
from lsst.meas.blendid.samples import FootprintSamples
from lsst.meas.blendid.simulation.stamps import StampSet, StampSetError

AGGRESSIVE_LEVELS = 64
"""Number of deblending levels of a run of SEP that splits wherever it can."""
AGGRESSIVE_CONTRAST = 1e-4
"""Least share of the flux for an object to be split in that run; BlendHunter's is fifty times as large."""

_SUB_OBJECTS = 1 << 16

PUBLISHED_SEP = {"blended": 0.91, "close": 0.69, "distant": 0.94}
"""Scores of SEP on realistic stamps as published."""

MISSED = -1
"""Label of a stamp in which nothing was found."""


@dataclasses.dataclass(frozen=True)
class SepBaseline:
    """What SEP makes of n stamps: 1 a blend, 0 none, `MISSED`, int8; and how much was found, int32."""

    label: np.ndarray
    n_detected: np.ndarray


@dataclasses.dataclass(frozen=True)
class SepScores:
    """Shares of stamps with the right label; NaN where there is no such stamp."""

    everything: float
    """Of all stamps."""

    isolated: float
    """Of stamps with one galaxy."""

    blended: float
    """Of blended stamps: "all" in the paper."""

    close: float
    """Of blended stamps with galaxies less than 10 pixels apart."""

    distant: float
    """Of the other blended stamps."""

    missed: float
    """Share of all stamps in which nothing was found; they count as wrong."""


def sep_baseline(
    stamp_set: StampSet,
    *,
    threshold: float = BLENDHUNTER_THRESHOLD,
    deblend_levels: int = BLENDHUNTER_LEVELS,
    deblend_contrast: float = BLENDHUNTER_CONTRAST,
    match_radius: float = 2.0,
    progress: Callable[[int, int], None] | None = None,
) -> SepBaseline:
    """Label stamps with noise by SEP with the settings and rules of the paper.

    The threshold is in units of the noise that SEP measures in the stamp, the ``match_radius`` in pixels.

    The true positions take part in the labels.  Each true galaxy gets the nearest
    object that no other has, within ``match_radius``.  A stamp is a blend if

    - two or more objects were found and every true galaxy has one, so that a lone
      galaxy beside which something else was found is called one too; or
    - an object that belongs to a true galaxy carries the flag of an object that was
      split off another, unless it is the only object of a stamp with two galaxies.

    These are the rules that ``sep_script.py`` has in mind.  It has slips that are not repeated here: where
    objects as many as galaxies were found and the second rule holds, a misspelt name keeps the label of
    the stamp before; an object can be given to two galaxies; and the middle of a stamp is taken half a
    pixel beside the galaxy.
    """
    sep = import_sep()
    if len(stamp_set) and not (stamp_set.noise > 0.0).all():
        raise StampSetError(f"the stamps of {stamp_set.name} have no noise; add some with with_noise()")
    n, owner = len(stamp_set), stamp_set.truth_rows
    truth = np.stack([np.asarray(stamp_set.truth[c], dtype=np.float64) for c in ("x", "y")], axis=1)
    ends = np.cumsum(np.bincount(owner, minlength=n))
    positions = np.split(truth[np.argsort(owner, kind="stable")], ends[:-1])
    label = np.zeros(n, dtype=np.int8)
    n_detected = np.zeros(n, dtype=np.int32)
    for i in range(n):
        # A copy of its own: SEP needs contiguous data in native byte order.
        image = np.array(stamp_set.images[i], dtype=np.float32, order="C")
        objects = extract(
            image,
            threshold,
            noise=sep.Background(image).globalrms,
            levels=deblend_levels,
            contrast=deblend_contrast,
        )
        n_detected[i] = len(objects)
        split_off = (objects["flag"] & sep.OBJ_MERGED) != 0
        found = np.stack([objects["x"], objects["y"]], axis=1)
        label[i] = _label(positions[i], found, split_off, match_radius)
        if progress is not None and ((i + 1) % 500 == 0 or i + 1 == n):
            progress(i + 1, n)
    return SepBaseline(label, n_detected)


def _label(truth: np.ndarray, found: np.ndarray, split_off: np.ndarray, radius: float) -> int:
    """Label a stamp from true and found positions, shapes (t, 2) and (m, 2)."""
    if not len(found):
        return MISSED
    distance = np.hypot(*(truth[:, None] - found[None]).transpose(2, 0, 1))
    free = np.ones(len(found), dtype=bool)
    match = np.full(len(truth), -1)
    for k in range(len(truth)):
        candidates = np.flatnonzero(free & (distance[k] < radius))
        if candidates.size:
            match[k] = candidates[np.argmin(distance[k, candidates])]
            free[match[k]] = False
    matched = match >= 0
    if len(found) >= 2:
        return int(matched.all() or split_off[match[matched]].any())
    return int(matched.all() and split_off[0])


def score_sep(stamp_set: StampSet, baseline: SepBaseline, *, close: float = 10.0) -> SepScores:
    """Score labels as the paper does; blends less than ``close`` pixels apart have a share of their own."""
    blended = stamp_set.is_blended
    right = baseline.label == blended
    separation = np.asarray(stamp_set.stamps["separation"], dtype=np.float64)
    near = blended & (separation < close)

    def share(rows: np.ndarray) -> float:
        return float(right[rows].mean()) if rows.any() else float("nan")

    return SepScores(
        everything=share(np.ones(len(right), dtype=bool)),
        isolated=share(~blended),
        blended=share(blended),
        close=share(near),
        distant=share(blended & ~near),
        missed=float((baseline.label == MISSED).mean()) if len(right) else float("nan"),
    )


def find_with_sep(
    samples: FootprintSamples,
    *,
    threshold: float = BLENDHUNTER_THRESHOLD,
    levels: int = BLENDHUNTER_LEVELS,
    contrast: float = BLENDHUNTER_CONTRAST,
) -> PeakList:
    """Take the objects that SEP finds in the images of footprints, without probabilities.

    Those whose centroid lies in a footprint, the brightest of each first; the threshold is per pixel, in
    units of the noise of a pixel.
    """

    def find(result: DetectionResult) -> PeakList:
        empty = np.zeros(0)
        if not len(result.footprints):
            return PeakList(empty.astype(np.int64), empty, empty, empty)
        objects = extract(
            result.image,
            threshold,
            noise=result.noise.sigma,
            levels=levels,
            contrast=contrast,
            sub_objects=_SUB_OBJECTS,
            pixels=max(result.image.size, 1),
        )
        x, y = (np.asarray(objects[name], dtype=np.float64) for name in ("x", "y"))
        x, y = x + result.xy0[0], y + result.xy0[1]
        owner = result.footprints.find_at(x, y)
        order = np.lexsort((-np.asarray(objects["flux"]), owner))
        order = order[owner[order] > 0]
        return PeakList(owner[order] - 1, x[order], y[order], np.full(len(order), np.nan))

    sizes = [len(result.footprints) for result in samples.results]
    return PeakList.join([find(result) for result in samples.results], sizes)
