# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What is truly in footprints, and how models do on parts: by brightness, companion and kind of object."""

from __future__ import annotations

__all__ = (
    "KINDS",
    "Bins",
    "KindScores",
    "TruthSummary",
    "bin_names",
    "bin_scores",
    "kind_scores",
    "recount",
    "summarize_scenes",
    "summarize_truth",
)

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..calibration import move_prior
from ..footprints import FootprintSet
from ..labels import counted_objects
from ..metrics import EPS

if TYPE_CHECKING:
    from astropy.table import Table

    from ..samples import FootprintSamples
    from ..training import LabelledScenes

_EDGES: dict[str, tuple[str, tuple[float, ...]]] = {
    "magnitude": ("magnitude of the brightest", (-np.inf, 20.0, 21.0, 22.0, 23.0, 24.0, 25.0, 26.0, np.inf)),
    "second_snr": ("S/N of the second", (0.0, 6.0, 8.0, 10.0, 15.0, 20.0, 40.0, np.inf)),
    "separation": ("separation of the second [pix]", (0.0, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0, np.inf)),
    "area": ("area [pix²]", (0.0, 100.0, 125.0, 150.0, 200.0, 300.0, 500.0, 1000.0, np.inf)),
}
"""Name and edges of the bins of each quantity; the lower edge belongs to a bin."""


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
        """Put the footprints of several scenes, at least one, one after the other."""
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
        # Comparisons with NaN are false: objects without S/N do not count.
        use = np.flatnonzero(np.isfinite(x) & np.isfinite(y) & (snr >= snr_min))
    owner = footprints.find_at(x[use], y[use])
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
    # From the brightest: that is the peak that hides the other.
    separation[two] = np.hypot(x[bright] - x[faint], y[bright] - y[faint])

    def number(name: str) -> np.ndarray:
        chosen = owner[_values(truth, name, 0.0)[use] > 0]
        return np.bincount(chosen, minlength=n).astype(np.int32)

    return TruthSummary(
        counts.astype(np.int32), magnitude, second_snr, separation, number("is_star"), number("n_knots")
    )


def summarize_scenes(labelled: LabelledScenes) -> TruthSummary | None:
    """Sum up the objects of the footprints of several scenes; `None` if the truth is not known."""
    if not labelled.truths:
        return None
    pairs = zip(labelled.samples.results, labelled.truths, strict=True)
    return TruthSummary.join(
        [summarize_truth(result.footprints, truth, snr_min=labelled.snr_min) for result, truth in pairs]
    )


def recount(labelled: LabelledScenes, snr_min: float) -> LabelledScenes:
    """Label the same footprints, of scenes whose truth is known, with another limit in S/N.

    The limit is `.training.scenes.FAINTEST` or more.
    """
    assert labelled.truths is not None
    counts, inside = [], []
    for result, truth in zip(labelled.samples.results, labelled.truths, strict=True):
        counts.append(summarize_truth(result.footprints, truth, snr_min=snr_min).counts)
        inside.append(float(counts[-1].sum()) / max(len(counted_objects(truth, snr_min)), 1))
    return dataclasses.replace(
        labelled,
        counts=np.concatenate(counts),
        inside=tuple(inside),
        snr_min=snr_min,
        # What follows from the others is found anew.
        centers=None,
    )


def bin_names(edges: np.ndarray) -> list[str]:
    """Name bins by edges (bins + 1,), the outer ones infinite or 0: ``"20–21"``, ``"< 20"``, ``"≥ 26"``."""
    names = []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        if not np.isfinite(high):
            names.append(f"≥ {low:g}")
        elif not np.isfinite(low) or low == 0.0:
            names.append(f"< {high:g}")
        else:
            names.append(f"{low:g}–{high:g}")
    return names


@dataclass(frozen=True)
class Bins:
    """Scores in bins of one quantity; arrays of shape (bins,), NaN where there is nothing to score."""

    key: str
    label: str
    edges: np.ndarray
    """Edges `(bins + 1,)`; the outer ones may be infinite."""
    n_blended: np.ndarray
    n_single: np.ndarray
    recognised: dict[str, np.ndarray]
    """Share of the blends that are called so, by model."""
    kept: dict[str, np.ndarray]
    """Share of the single objects that are called so, by model."""
    blended_loss: dict[str, np.ndarray]
    """Mean -log of the probability of being blended, of the blends, at an even prior."""
    single_loss: dict[str, np.ndarray]
    """Mean -log of the probability of not being blended, of the single objects."""

    def names(self) -> list[str]:
        """Name the bins, such as ``"20–21"``."""
        return bin_names(self.edges)

    def to_dict(self) -> dict[str, Any]:
        """Describe them for JSON; what is not finite is `None`."""

        def plain(values: np.ndarray) -> list[float | None]:
            return [round(float(v), 5) if np.isfinite(v) else None for v in values]

        return {
            "label": self.label,
            "edges": plain(self.edges),
            "n_blended": self.n_blended.tolist(),
            "n_single": self.n_single.tolist(),
            "models": {
                name: {
                    "recognised": plain(self.recognised[name]),
                    "kept": plain(self.kept[name]),
                    "blended_loss": plain(self.blended_loss[name]),
                    "single_loss": plain(self.single_loss[name]),
                }
                for name in self.recognised
            },
        }


@dataclass(frozen=True)
class KindScores:
    """What models make of one kind of footprint."""

    kind: str
    n: int
    blended: bool
    """Whether footprints of this kind are blends."""
    called_blended: dict[str, float]
    """Share called blended once both classes weigh the same, by model."""
    mean_p: dict[str, float]
    """Mean P(blended), by model."""


def _even(p: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Probabilities at an even prior, NaN where there is none; as in `.metrics.score`."""
    # The prior is that of footprints with an object; empty ones are neither kind.
    use = np.isfinite(p) & (counts > 0)
    return move_prior(np.clip(p, EPS, 1.0 - EPS), float(np.mean(counts[use] > 1)), 0.5)


def _means(values: np.ndarray, index: np.ndarray, n_bins: int) -> np.ndarray:
    """Mean of finite values in each bin; an index of -1 is in none."""
    # bincount with weights is a grouped mean without a loop over bins.
    use = (index >= 0) & np.isfinite(values)
    n = np.bincount(index[use], minlength=n_bins)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.bincount(index[use], values[use], minlength=n_bins) / n


def bin_scores(
    predictions: Mapping[str, np.ndarray],
    samples: FootprintSamples,
    counts: np.ndarray,
    truth: TruthSummary | None,
) -> list[Bins]:
    """Score models in bins of what is true of the footprints, and of their area.

    Parameters
    ----------
    predictions
        P(blended) of shape (n,) by name of the model; rows with NaN are left out.
    samples
        The n footprints.
    counts : `numpy.ndarray`, shape (n,)
        True number of objects in each.
    truth
        What is in them; `None` if unknown, for areas alone.

    Returns
    -------
    bins
        Bins of each quantity that is known.  A footprint is called blended if its
        probability at the prior that is even over all footprints is over one half: the same
        threshold in all bins.
    """
    counts = np.asarray(counts)
    found = []
    even = {name: _even(np.asarray(p, dtype=np.float64), counts) for name, p in predictions.items()}
    for key, (label, edges) in _EDGES.items():
        if key == "area":
            values = samples.area.astype(np.float64)
        elif truth is None:
            continue
        else:
            values = np.asarray(getattr(truth, key), dtype=np.float64)
        if not np.isfinite(values).any():
            continue
        limits = np.asarray(edges)
        n_bins = len(limits) - 1
        # Beyond the outermost edges there is nothing or the open end of a bin.
        index = np.clip(np.searchsorted(limits, values, side="right") - 1, 0, n_bins - 1)
        index = np.where(np.isfinite(values) & (counts > 0), index, -1)
        one, more = np.where(counts == 1, index, -1), np.where(counts > 1, index, -1)
        recognised, kept, blended_loss, single_loss = {}, {}, {}, {}
        for name, q in even.items():
            called = np.where(np.isfinite(q), (q > 0.5).astype(np.float64), np.nan)
            recognised[name] = _means(called, more, n_bins)
            kept[name] = 1.0 - _means(called, one, n_bins)
            # The two kinds apart, as the share of blends differs from bin to bin.
            blended_loss[name] = _means(-np.log(q), more, n_bins)
            single_loss[name] = _means(-np.log1p(-q), one, n_bins)
        found.append(
            Bins(
                key,
                label,
                limits,
                np.bincount(more[more >= 0], minlength=n_bins),
                np.bincount(one[one >= 0], minlength=n_bins),
                recognised,
                kept,
                blended_loss,
                single_loss,
            )
        )
    return found


KINDS: tuple[tuple[str, bool], ...] = (
    ("single galaxies, smooth", False),
    ("single galaxies, clumpy", False),
    ("single stars", False),
    ("galaxy–galaxy blends", True),
    ("star–galaxy blends", True),
    ("star–star blends", True),
)
"""Kinds of footprints, and whether they are blends."""


def kind_scores(
    predictions: Mapping[str, np.ndarray], counts: np.ndarray, truth: TruthSummary
) -> list[KindScores]:
    """Score models on stars, star-galaxy blends and clumpy galaxies apart.

    Parameters
    ----------
    predictions
        P(blended) of shape (n,) by name of the model; rows with NaN are left out.
    counts : `numpy.ndarray`, shape (n,)
        True number of objects in each footprint.
    truth
        What is in them.

    Returns
    -------
    kinds
        Those of `KINDS` that there are.
    """
    counts = np.asarray(counts)
    single, blended = counts == 1, counts > 1
    stars, clumpy = truth.n_stars, truth.n_clumpy > 0
    rows = (
        single & (stars == 0) & ~clumpy,
        single & (stars == 0) & clumpy,
        single & (stars > 0),
        blended & (stars == 0),
        blended & (stars > 0) & (stars < counts),
        blended & (stars == counts),
    )
    even = {name: _even(np.asarray(p, dtype=np.float64), counts) for name, p in predictions.items()}
    found = []
    for (kind, is_blend), use in zip(KINDS, rows, strict=True):
        if not use.any():
            continue
        called, mean = {}, {}
        for name, p in predictions.items():
            known = use & np.isfinite(p)
            called[name] = float(np.mean(even[name][known] > 0.5)) if known.any() else float("nan")
            mean[name] = float(np.mean(np.asarray(p)[known])) if known.any() else float("nan")
        found.append(KindScores(kind, int(np.count_nonzero(use)), is_blend, called, mean))
    return found
