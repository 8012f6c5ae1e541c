# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What a fit may use beside footprints and labels: validation, places of galaxies, checkpoints, a start."""

from __future__ import annotations

__all__ = ("FitOptions", "LabelledSamples")

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..model_package import ModelPackage
from ..samples import FootprintSamples


@dataclass(frozen=True)
class LabelledSamples:
    """Footprints, and what is truly in them.

    Parameters
    ----------
    samples
        The n footprints.
    counts
        Number of galaxies in each, int of shape (n,).
    centers
        True objects of each image that count, float32 of shape (m, 3): x, y (parent pixels) and
        point-source S/N.  `None` if they are not known.

    Raises
    ------
    ValueError
        Raised if there is not one number for each footprint.
    """

    samples: FootprintSamples
    counts: np.ndarray
    centers: tuple[np.ndarray, ...] | None = None

    def __post_init__(self) -> None:
        if np.shape(self.counts) != (len(self.samples),):
            raise ValueError(f"{np.size(self.counts)} labels were given for {len(self.samples)} footprints")


@dataclass(frozen=True)
class FitOptions:
    """What a fit may use, each only as far as a classifier has a use for it.

    Parameters
    ----------
    centers
        True objects of each training image, as in `LabelledSamples`.
    sky
        Piece of sky of each training footprint, int of shape (n,): several images may show one piece.
        `None` if each image shows another.
    natural
        Training footprints that are as those that a model is for, bool of shape (n,); the others are learned
        from, but probabilities refer to these, where a classifier calibrates itself.  All if `None`.
    validation
        Labelled footprints of other sky: for early stopping, and never to learn from.
    seed
        Seed of all that is random.
    folder
        Folder for checkpoints.  A fit that finds there one of its own goes on from it.
    report
        Called with one line about each step (an epoch, say).
    start
        Model to go on from: a fine-tuning instead of a fit from nothing.
    more
        Gives further training data for the epoch of a number, for classifiers that can go on with new
        scenes all the time.
    """

    centers: tuple[np.ndarray, ...] | None = None
    sky: np.ndarray | None = None
    natural: np.ndarray | None = None
    validation: LabelledSamples | None = None
    seed: int = 1
    folder: Path | None = None
    report: Callable[[str], None] | None = None
    start: ModelPackage | None = None
    more: Callable[[int], LabelledSamples] | None = field(default=None, repr=False)

    def deal_by(self, samples: FootprintSamples, least: int) -> np.ndarray:
        """Tell what has to be held out together, for folds that know nothing of each other.

        Parameters
        ----------
        samples
            The n training footprints.
        least
            Least number of groups that is of use.

        Returns
        -------
        group : `numpy.ndarray`, shape (n,), int
            Piece of sky of each footprint, or its image if the pieces are not known.  If these are too few,
            each of them is cut into squares, at least four times ``least`` together.

        Raises
        ------
        ValueError
            Raised if there is not one piece of sky for each footprint.
        """
        if self.sky is not None and np.shape(self.sky) != (len(samples),):
            raise ValueError(f"{np.size(self.sky)} pieces of sky were given for {len(samples)} footprints")
        sky = samples.scene_index if self.sky is None else np.asarray(self.sky)
        n = len(np.unique(sky))
        return sky if n >= least or n == 0 else _cut_sky(samples.centroid, sky, 4 * least)

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
