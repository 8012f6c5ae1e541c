# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Numbers that sum up how well the footprints of several coadds were classified."""

from __future__ import annotations

__all__ = ("Summary", "inner_column", "summarize")

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..metrics import OnePeakScores, Scores, roc_auc, score, score_one_peak
from .matching import MatchedCoadd


@dataclass(frozen=True)
class Summary:
    """Numbers of several coadds together; footprints and galaxies of overlaps are counted once."""

    n_footprints: int
    """Footprints in inner regions."""
    n_duplicates: int
    """Footprints left out because a neighbour's inner region holds them."""
    n_unclassified: int
    """Footprints, of the first, without a probability."""
    n_edge: int
    """Footprints, of the first, flagged at an edge."""
    empty: float
    """Share of footprints with N = 0."""
    single: float
    """Share of footprints with N = 1."""
    blended: float
    """Share of footprints with N > 1."""
    expected_blended: float
    """Share that the probabilities add up to."""
    share_inside: float
    """Share of the galaxies that count, in inner regions, whose centre is in
    some footprint; NaN if there is none."""
    primary: str
    """Name of the classifier that ``p_blended`` is of."""
    scores: dict[str, Scores]
    """Scores by classifier, the primary one first."""
    one_peak: dict[str, OnePeakScores]
    """Scores of the footprints with exactly one peak, by classifier."""
    peak_recall: float
    """Share of blends that have more than one peak."""
    peak_false_rate: float
    """Share of single galaxies that have more than one peak."""
    area_auc: float
    """Area under the ROC curve of the footprint area alone."""

    @property
    def peak_accuracy(self) -> float:
        """Balanced accuracy of calling what has more than one peak a blend."""
        return 0.5 * (self.peak_recall + 1.0 - self.peak_false_rate)


def summarize(coadds: Sequence[MatchedCoadd], *, primary: str) -> Summary:
    """Compute the numbers of several coadds together.

    Parameters
    ----------
    coadds
        The coadds.
    primary
        Name of the classifier that ``p_blended`` is of.

    Returns
    -------
    summary
        The numbers.

    Raises
    ------
    ValueError
        If there is no coadd, or no blended or no single footprint.
    """
    if not coadds:
        raise ValueError("No coadd to summarize.")
    counts, n_peaks = inner_column(coadds, "counts"), inner_column(coadds, "n_peaks")
    if not (counts > 1).any() or not (counts == 1).any():
        raise ValueError(
            f"Both blends and single galaxies are needed; the truth of {len(counts)} has one kind only."
        )
    probabilities = {primary: inner_column(coadds, "p_blended")}
    for column in coadds[0].blend.colnames:
        if column.startswith("p_blended_") and (name := column.removeprefix("p_blended_")) != primary:
            probabilities[name] = inner_column(coadds, column)
    p = probabilities[primary]
    occupied = counts > 0
    inside = np.concatenate([c.galaxy_inside[c.galaxy_inner] for c in coadds])
    return Summary(
        n_footprints=len(counts),
        n_duplicates=sum(len(c.blend) for c in coadds) - len(counts),
        n_unclassified=int(np.count_nonzero(~np.isfinite(p))),
        n_edge=int(np.count_nonzero(inner_column(coadds, "flag_edge"))),
        empty=float(np.mean(counts == 0)),
        single=float(np.mean(counts == 1)),
        blended=float(np.mean(counts > 1)),
        expected_blended=float(np.nanmean(p)),
        share_inside=float(np.mean(inside)) if len(inside) else float("nan"),
        primary=primary,
        scores={name: score(values, counts) for name, values in probabilities.items()},
        one_peak={name: score_one_peak(values, counts, n_peaks) for name, values in probabilities.items()},
        peak_recall=float(np.mean(n_peaks[counts > 1] > 1)),
        peak_false_rate=float(np.mean(n_peaks[counts == 1] > 1)),
        area_auc=roc_auc(inner_column(coadds, "area")[occupied], counts[occupied] > 1),
    )


def inner_column(coadds: Sequence[MatchedCoadd], name: str) -> np.ndarray:
    """Gather a value per footprint of several coadds, without the footprints that a neighbour has too.

    Parameters
    ----------
    coadds
        The coadds.
    name
        Name of a column of their table, or of an attribute with a value per
        footprint.

    Returns
    -------
    values
        The values `(n,)`, coadd by coadd.
    """
    parts = []
    for coadd in coadds:
        values = coadd.blend[name] if name in coadd.blend.colnames else getattr(coadd, name)
        parts.append(np.asarray(values)[coadd.inner])
    return np.concatenate(parts)
