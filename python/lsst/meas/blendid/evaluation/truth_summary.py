# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What is truly in each footprint, beyond the number of galaxies."""

from __future__ import annotations

__all__ = ("TruthSummary", "recount", "summarize_scenes", "summarize_truth")

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..footprints import FootprintSet
from ..labels import counted_objects, owners

if TYPE_CHECKING:
    from astropy.table import Table

    from ..training import LabelledScenes


@dataclass(frozen=True)
class TruthSummary:
    """The objects that count in each of n footprints; arrays of shape (n,).

    What is not known, or does not exist, is NaN.
    """

    counts: np.ndarray
    """Number of objects, int32."""
    magnitude: np.ndarray
    """Magnitude of the brightest, float32."""
    second_snr: np.ndarray
    """Point-source S/N of the second brightest, float32."""
    separation: np.ndarray
    """Distance of the second brightest from the brightest, pixels, float32."""
    n_stars: np.ndarray
    """Number of stars among them, int32."""
    n_clumpy: np.ndarray
    """Number of galaxies with knots in their discs among them, int32."""

    @classmethod
    def join(cls, parts: Sequence[TruthSummary]) -> TruthSummary:
        """Put the footprints of several scenes one after the other.

        Parameters
        ----------
        parts
            At least one summary.

        Returns
        -------
        summary
            All of them.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def _values(truth: Table, name: str, default: float) -> np.ndarray:
    """Column as float64, or the default where there is none."""
    if name not in truth.colnames:
        return np.full(len(truth), default)
    return np.ma.filled(np.ma.asarray(truth[name]).astype(np.float64), np.nan)


def summarize_truth(footprints: FootprintSet, truth: Table, *, snr_min: float = 5.0) -> TruthSummary:
    """Sum up the objects of each footprint.

    Parameters
    ----------
    footprints
        The n footprints of a scene.
    truth
        Columns ``x``, ``y`` (parent pixels) and ``snr``; also ``mag``,
        ``is_star`` and ``n_knots`` where they are known.
    snr_min
        Fainter objects do not count.

    Returns
    -------
    summary
        Its ``counts`` are those of `.labels.count_galaxies`.

    Raises
    ------
    KeyError
        Raised if a column is missing.
    """
    for name in ("x", "y", "snr"):
        if name not in truth.colnames:
            raise KeyError(f"the truth table has no column {name!r}; it has {', '.join(truth.colnames)}")
    x, y, snr = (_values(truth, name, np.nan) for name in ("x", "y", "snr"))
    with np.errstate(invalid="ignore"):
        use = np.flatnonzero(np.isfinite(x) & np.isfinite(y) & (snr >= snr_min))
    owner = owners(footprints, x[use], y[use])
    use, owner = use[owner > 0], owner[owner > 0] - 1
    n = len(footprints)
    # Brightest first within each footprint.
    order = np.lexsort((-snr[use], owner))
    use, owner = use[order], owner[order]
    counts = np.bincount(owner, minlength=n)
    first = np.cumsum(counts) - counts
    one, two = np.flatnonzero(counts > 0), np.flatnonzero(counts > 1)
    magnitude, second_snr, separation = (np.full(n, np.nan, dtype=np.float32) for _ in range(3))
    magnitude[one] = _values(truth, "mag", np.nan)[use[first[one]]]
    bright, faint = use[first[two]], use[first[two] + 1]
    second_snr[two] = snr[faint]
    separation[two] = np.hypot(x[bright] - x[faint], y[bright] - y[faint])

    def number(name: str) -> np.ndarray:
        chosen = owner[_values(truth, name, 0.0)[use] > 0]
        return np.bincount(chosen, minlength=n).astype(np.int32)

    return TruthSummary(
        counts.astype(np.int32), magnitude, second_snr, separation, number("is_star"), number("n_knots")
    )


def summarize_scenes(labelled: LabelledScenes) -> TruthSummary | None:
    """Sum up the objects of the footprints of several scenes.

    Parameters
    ----------
    labelled
        The scenes.

    Returns
    -------
    summary
        The summary; `None` if the truth of a scene is not known.
    """
    if not labelled.truths:
        return None
    pairs = zip(labelled.samples.results, labelled.truths, strict=True)
    return TruthSummary.join(
        [summarize_truth(result.footprints, truth, snr_min=labelled.snr_min) for result, truth in pairs]
    )


def recount(labelled: LabelledScenes, snr_min: float) -> LabelledScenes:
    """Label the same footprints with another limit in S/N.

    Parameters
    ----------
    labelled
        Scenes whose truth is known.
    snr_min
        New limit, `.training.scenes.FAINTEST` or more.

    Returns
    -------
    labelled
        The same footprints with other counts and shares inside.
    """
    assert labelled.truths is not None
    counts, inside = [], []
    for result, truth in zip(labelled.samples.results, labelled.truths, strict=True):
        counts.append(summarize_truth(result.footprints, truth, snr_min=snr_min).counts)
        inside.append(float(counts[-1].sum()) / max(len(counted_objects(truth, snr_min)), 1))
    return dataclasses.replace(labelled, counts=np.concatenate(counts), inside=tuple(inside), snr_min=snr_min)
