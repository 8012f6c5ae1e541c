# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Baselines that every classifier is shown beside.

They are fitted in the same run on the same footprints, so that a score says
what a classifier adds to the size of a footprint and its peaks.
"""

from __future__ import annotations

__all__ = (
    "BASELINES",
    "SEP",
    "all_baselines",
    "area_and_peaks",
    "area_only",
    "baselines",
    "cross_fitted_baselines",
)

from collections.abc import Callable

import numpy as np

from ..classifiers import SepClassifier
from ..samples import FootprintSamples

PEAK_THRESHOLDS = (5.0, 7.0, 10.0, 20.0)
"""Significances over which `area_and_peaks` counts peaks."""

_MOST_PEAKS = 8
_FOLDS = 5
_SEED = 0


def _log_area(samples: FootprintSamples) -> np.ndarray:
    return np.log(np.maximum(samples.area, 1))[:, None]


def _areas_and_peaks(samples: FootprintSamples) -> np.ndarray:
    peaks = [samples.count_peaks(threshold) for threshold in PEAK_THRESHOLDS]
    return np.column_stack([samples.area, samples.area_detected, *peaks])


def _peaks(samples: FootprintSamples) -> np.ndarray:
    return np.minimum(samples.n_peaks, _MOST_PEAKS)[:, None]


def _fit_area(x: np.ndarray, blended: np.ndarray, new: np.ndarray) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression

    # Newton's method ends at the minimum, whatever the last bits of sums are.
    model = LogisticRegression(C=1e6, solver="newton-cholesky", tol=1e-9, max_iter=200)
    return model.fit(x, blended).predict_proba(new)[:, 1]


def _fit_areas_and_peaks(x: np.ndarray, blended: np.ndarray, new: np.ndarray) -> np.ndarray:
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        max_iter=150, learning_rate=0.06, max_leaf_nodes=15, min_samples_leaf=40, random_state=_SEED
    )
    return model.fit(x, blended).predict_proba(new)[:, 1]


def _fit_peaks(x: np.ndarray, blended: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Shares of blends among footprints with 0, 1, 2 … peaks; where there are few, towards that of all."""
    n = np.bincount(x[:, 0], minlength=_MOST_PEAKS + 1)
    share = (np.bincount(x[:, 0], blended, minlength=_MOST_PEAKS + 1) + blended.mean()) / (n + 1.0)
    return share[new[:, 0]]


type Baseline = tuple[
    Callable[[FootprintSamples], np.ndarray],
    Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
]
"""Inputs of a baseline, and its fit: from inputs, truths and new inputs to P(blended)."""

BASELINES: dict[str, Baseline] = {
    "5σ peaks": (_peaks, _fit_peaks),
    "area only": (_log_area, _fit_area),
    "area + peak counts": (_areas_and_peaks, _fit_areas_and_peaks),
}
"""Baselines that look at footprints and peaks alone."""


def _count_sep(samples: FootprintSamples) -> np.ndarray:
    return np.minimum(SepClassifier().count(samples), _MOST_PEAKS)[:, None]


SEP = "SEP deblending"
"""Name of the baseline that `all_baselines` has on demand."""


def all_baselines(sep: bool) -> dict[str, Baseline]:
    """List the baselines.

    Parameters
    ----------
    sep
        Whether SExtractor's deblending through SEP is among them: the share of blends among footprints
        with as many objects.  It looks at images, and needs SEP.

    Returns
    -------
    baselines
        By name.
    """
    return BASELINES | ({SEP: (_count_sep, _fit_peaks)} if sep else {})


def baselines(
    train: FootprintSamples, counts: np.ndarray, test: FootprintSamples, *, sep: bool = False
) -> dict[str, np.ndarray]:
    """P(blended) by all baselines.

    Parameters
    ----------
    train
        Footprints to fit.
    counts : `numpy.ndarray`, shape (len(train),)
        Their numbers of galaxies.
    test
        The n footprints to predict.
    sep
        As for `all_baselines`.

    Returns
    -------
    p : `dict` [`str`, `numpy.ndarray`]
        Arrays of shape (n,) by name of the baseline.

    Raises
    ------
    ValueError
        Raised if the footprints to fit are of one kind.
    """
    blended = _kinds(counts)
    return {name: fit(get(train), blended, get(test)) for name, (get, fit) in all_baselines(sep).items()}


def cross_fitted_baselines(
    samples: FootprintSamples,
    counts: np.ndarray,
    blocks: np.ndarray,
    *,
    sep: bool = False,
) -> dict[str, np.ndarray]:
    """P(blended) by all baselines, each footprint by a fit to others.

    Parameters
    ----------
    samples
        The n footprints.
    counts : `numpy.ndarray`, shape (n,)
        Their numbers of galaxies.
    blocks : `numpy.ndarray`, shape (n,)
        Block of sky of each, numbered from 0 (`.bootstrap.block_index`); blocks are not divided.
    sep
        As for `all_baselines`.

    Returns
    -------
    p : `dict` [`str`, `numpy.ndarray`]
        Arrays of shape (n,) by name of the baseline.

    Raises
    ------
    ValueError
        Raised if there are fewer than two blocks, or what is fitted to is of one kind.
    """
    _kinds(counts)
    n_blocks = int(blocks.max()) + 1 if len(blocks) else 0
    if n_blocks < 2:
        raise ValueError(
            "baselines need at least two blocks of sky to be fitted beside what they are scored on"
        )
    parts = min(_FOLDS, n_blocks)
    fold = (np.random.default_rng(_SEED).permutation(n_blocks) % parts)[blocks]
    found = {}
    for name, (get, fit) in all_baselines(sep).items():
        x = get(samples)
        p = np.full(len(x), np.nan)
        for k in range(parts):
            rest = fold != k
            if rest.all():
                continue
            p[~rest] = fit(x[rest], _kinds(np.asarray(counts)[rest]), x[~rest])
        found[name] = p
    return found


def _kinds(counts: np.ndarray) -> np.ndarray:
    """Whether each is blended, if not all are the same."""
    blended = np.asarray(counts) > 1
    if blended.all() or not blended.any():
        kind = "blended" if len(blended) and blended.all() else "unblended"
        raise ValueError(
            f"all {len(blended)} footprints that baselines are fitted to are {kind}; take more scenes"
        )
    return blended


def area_only(train: FootprintSamples, counts: np.ndarray, test: FootprintSamples) -> np.ndarray:
    """Fit P(blended) to the logarithm of the area by logistic regression, and predict it: (n,)."""
    return _fit_area(_log_area(train), np.asarray(counts) > 1, _log_area(test))


def area_and_peaks(train: FootprintSamples, counts: np.ndarray, test: FootprintSamples) -> np.ndarray:
    """Fit P(blended) to areas and numbers of peaks by boosted trees, and predict it: (n,)."""
    blended = np.asarray(counts) > 1
    return _fit_areas_and_peaks(_areas_and_peaks(train), blended, _areas_and_peaks(test))
