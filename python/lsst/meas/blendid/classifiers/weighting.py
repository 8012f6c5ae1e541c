# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What classifiers are fitted to: labels, weights, and the shares that weights must not change."""

from __future__ import annotations

__all__ = ("check_counts", "prior_correction")

import numpy as np

from ..labels import N_CLASSES
from ..samples import FootprintSamples


def check_counts(samples: FootprintSamples, counts: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Check what a classifier is to be fitted to.

    Parameters
    ----------
    samples
        The n footprints.
    counts : `numpy.ndarray`, shape (n,)
        Number of galaxies in each.
    weights : `numpy.ndarray`, shape (n,), or `None`
        Weights.

    Returns
    -------
    counts : `numpy.ndarray`, shape (n,), int64
        The counts.

    Raises
    ------
    ValueError
        Raised if lengths differ, counts are negative, weights are not finite
        and non-negative, or there are no blended or no unblended footprints.
    """
    counts = np.asarray(counts)
    if counts.shape != (len(samples),):
        raise ValueError(f"{counts.size} labels were given for {len(samples)} footprints")
    if counts.size and (not np.issubdtype(counts.dtype, np.integer) or counts.min() < 0):
        raise ValueError("labels must be numbers of galaxies: integers from 0")
    if weights is not None:
        weights = np.asarray(weights)
        if weights.shape != counts.shape or not np.all(np.isfinite(weights)) or np.any(weights < 0.0):
            raise ValueError("weights must be one finite number from 0 for each footprint")
    blended = int(np.count_nonzero(counts > 1))
    if blended in (0, counts.size):
        raise ValueError(
            f"{blended} of the {counts.size} training footprints are blended; "
            "both kinds are needed: use more scenes"
        )
    return counts.astype(np.int64)


def prior_correction(counts: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    r"""Factors that take the odds of a weighted fit to the natural shares of the classes.

    Parameters
    ----------
    counts : `numpy.ndarray`, shape (n,), int
        Numbers of galaxies.
    weights : `numpy.ndarray`, shape (n,), or `None`
        Weights of the fit.

    Returns
    -------
    factors : `numpy.ndarray`, shape (5,)
        Share of each class without weights over that with weights; 1 for a
        class that has none.

    Raises
    ------
    ValueError
        Raised if the weights of a class that is there are all 0.

    Notes
    -----
    By Bayes' theorem :math:`P(N | x) \propto P_w(N | x) \pi_N / \pi_{w,N}`
    (Saerens, Latinne & Decaestecker 2002, Neural Computation 14, 21, eq. 2.4).
    """
    classes = np.minimum(counts, N_CLASSES - 1)
    plain = np.bincount(classes, minlength=N_CLASSES).astype(np.float64)
    if weights is None:
        return np.ones(N_CLASSES)
    weighted = np.bincount(classes, weights=weights, minlength=N_CLASSES)
    if np.any((plain > 0.0) & ~(weighted > 0.0)):
        missing = ", ".join(map(str, np.flatnonzero((plain > 0.0) & ~(weighted > 0.0))))
        raise ValueError(f"all footprints with N = {missing} have weight 0; give some of them a weight")
    there = plain > 0.0
    factors = np.ones(N_CLASSES)
    factors[there] = plain[there] / plain.sum() / (weighted[there] / weighted.sum())
    return factors
