# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What a fit gets: footprints with their labels, and how it is run."""

from __future__ import annotations

__all__ = ("FitOptions", "LabelledSamples", "natural_factors", "prior_correction")

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from ..labels import N_CLASSES
from ..samples import FootprintSamples

_SHARE_ERROR = 1e-9
"""Largest difference of a mean probability from the share of its class."""

_MOST_STEPS = 200
"""Steps after which a correction is as good as it gets."""


@dataclass(frozen=True, kw_only=True)
class LabelledSamples:
    """Footprints, and what is truly in them.

    Parameters
    ----------
    samples
        The n footprints, with the natural shares of blended, unblended and empty ones.
    counts
        Number of galaxies in each, int of shape (n,).
    centers
        True objects of each image that count, wherever they are: float32 of shape (m, 3), x, y (parent
        pixels) and point-source S/N.  `None` if they are not known.
    weights
        Weights of the footprints, float64 of shape (n,), such as for balancing; all the same if `None`.  They
        say what a fit has to get right, and never what share is blended: probabilities refer to the shares
        in the footprints without weights (`prior_correction`).
    sky
        Piece of sky of each footprint, int of shape (n,): several images may show one piece.  `None` if each
        image shows another.

    Raises
    ------
    ValueError
        Raised if something has not one value for each footprint or image, if counts are negative, or weights
        are not finite or negative.
    """

    samples: FootprintSamples
    counts: np.ndarray
    centers: tuple[np.ndarray, ...] | None = None
    weights: np.ndarray | None = None
    sky: np.ndarray | None = None

    def __post_init__(self) -> None:
        n, counts = len(self.samples), np.asarray(self.counts)
        if counts.shape != (n,):
            raise ValueError(f"{counts.size} labels were given for {n} footprints")
        if n and (not np.issubdtype(counts.dtype, np.integer) or counts.min() < 0):
            raise ValueError("labels must be numbers of galaxies: integers from 0")
        object.__setattr__(self, "counts", counts.astype(np.int64))
        if self.weights is not None:
            weights = np.asarray(self.weights, dtype=np.float64)
            # Written so that NaN is refused, too.
            if weights.shape != (n,) or not np.all((weights >= 0.0) & np.isfinite(weights)):
                raise ValueError("weights must be one finite number from 0 for each footprint")
            object.__setattr__(self, "weights", weights)
        if self.sky is not None:
            sky = np.asarray(self.sky)
            if sky.shape != (n,):
                raise ValueError(f"{sky.size} pieces of sky were given for {n} footprints")
            object.__setattr__(self, "sky", sky)
        if self.centers is not None and len(self.centers) != len(self.samples.results):
            raise ValueError(
                f"{len(self.centers)} tables of galaxies were given for {len(self.samples.results)} images"
            )

    @property
    def blended(self) -> np.ndarray:
        """Which footprints hold more than one galaxy, bool of shape (n,)."""
        return self.counts > 1

    def select(self, rows: np.ndarray) -> Self:
        """Take some of the footprints.

        Parameters
        ----------
        rows : `numpy.ndarray`, shape (n,), bool
            Which ones.

        Returns
        -------
        some
            These, of the same images.
        """
        return dataclasses.replace(
            self,
            samples=self.samples.select(rows),
            counts=self.counts[rows],
            **{
                name: None if (values := getattr(self, name)) is None else values[rows]
                for name in ("weights", "sky")
            },
        )

    def require_both(self) -> None:
        """Refuse footprints of one kind.

        Raises
        ------
        ValueError
            Raised if there are no blended or no unblended footprints.
        """
        blended = int(np.count_nonzero(self.blended))
        if blended in (0, len(self.counts)):
            raise ValueError(
                f"{blended} of the {len(self.counts)} training footprints are blended; "
                "both kinds are needed: use more scenes"
            )

    def group_by_sky(self, least: int) -> np.ndarray:
        """Tell what has to be held out together, for folds that know nothing of each other.

        Parameters
        ----------
        least
            Least number of groups that is of use.

        Returns
        -------
        group : `numpy.ndarray`, shape (n,), int
            Piece of sky of each footprint, or its image if the pieces are not known.  If these are too few,
            each of them is cut into squares, at least four times ``least`` together.
        """
        sky = self.samples.scene_index if self.sky is None else self.sky
        n = len(np.unique(sky))
        return sky if n >= least or n == 0 else _cut_sky(self.samples.centroid, sky, 4 * least)


@dataclass(frozen=True)
class FitOptions:
    """How a fit is run; nothing of it changes what the best model is.

    Parameters
    ----------
    seed
        Seed of all that is random.
    folder
        Folder for checkpoints.  A fit that finds there one of its own goes on from it.
    report
        Called with one line about each step (an epoch, say).
    """

    seed: int = 1
    folder: Path | None = None
    report: Callable[[str], None] | None = None

    def say(self, line: str) -> None:
        """Report a line, if anybody listens.

        Parameters
        ----------
        line
            The line.
        """
        if self.report is not None:
            self.report(line)


def _cut_sky(position: np.ndarray, sky: np.ndarray, least: int) -> np.ndarray:
    """Cut pieces of sky, in which footprints have positions of shape (n, 2), into ``least`` squares or more.

    Images of one piece have the same pixels, so that a footprint is in the same square in all of them.
    """
    pieces, index = np.unique(sky, return_inverse=True)
    side = math.ceil(math.sqrt(least / len(pieces)))
    low = np.full((len(pieces), 2), np.inf)
    high = np.full((len(pieces), 2), -np.inf)
    np.minimum.at(low, index, position)
    np.maximum.at(high, index, position)
    share = (position - low[index]) / np.maximum(high - low, 1.0)[index]
    cell = np.clip((side * share).astype(np.int64), 0, side - 1)
    return np.unique((index * side + cell[:, 0]) * side + cell[:, 1], return_inverse=True)[1]


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
    known = plain > 0.0
    factors = np.ones(N_CLASSES)
    factors[known] = plain[known] / plain.sum() / (weighted[known] / weighted.sum())
    return factors


def natural_factors(p_n: np.ndarray, counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Factors on the odds of N, (5,), that take P(N) of a weighted fit, (n, 5), to the natural shares.

    A fit without weights has mean probabilities that are the shares of the classes at its maximum; one with
    weights has them after Bayes' theorem (`prior_correction`) only as far as its form is true.
    """
    share = np.bincount(np.minimum(counts, N_CLASSES - 1), minlength=N_CLASSES) / len(counts)
    known, factors = share > 0.0, prior_correction(counts, weights)
    for _ in range(_MOST_STEPS):
        p = p_n * factors
        mean = (p / p.sum(axis=1, keepdims=True)).mean(axis=0)
        if np.abs(mean - share).max() < _SHARE_ERROR:
            break
        factors[known] *= share[known] / mean[known]
        # Only their ratios matter.
        factors /= factors[known].max()
    return factors
