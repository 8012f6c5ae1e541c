# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Scores on the very footprints that are learned from, each predicted by a fit that has not seen it."""

from __future__ import annotations

__all__ = ("cross_validate",)

import dataclasses
from typing import Any

import numpy as np

from ..classifiers import BlendClassifier, BlendClassifierConfig, FitOptions, split_probabilities
from .scenes import LabelledScenes, Progress
from .transfer import fine_tune
from .validation import describe_scores


def cross_validate(
    cls: type[BlendClassifier],
    config: BlendClassifierConfig,
    labelled: LabelledScenes,
    options: FitOptions,
    folds: int,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score a fit where there is no other sky to score it on.

    Parameters
    ----------
    cls
        Class of the classifier.
    config
        Its config.
    labelled
        Footprints that it learns from.
    options
        Options of the fit.
    folds
        Number of folds, to which whole pieces of sky are dealt out.
    progress
        Called with the number of folds done and in all.

    Returns
    -------
    validation
        As of `.validation.validate`: the probabilities of each fold are those of a fit to the others.  Empty,
        with a line that says why, if the footprints do not suffice.
    """
    if cls.needs_centers and options.start is None:
        options.say(
            f"not cross-validated: {cls.name!r} learns from all pixels of an image, so that no part of it "
            "is new; of four coadds and more one is held out for scores"
        )
        return {}
    piece = np.unique(options.deal_by(labelled.samples, folds), return_inverse=True)[1]
    n_pieces = int(piece.max(initial=-1)) + 1
    fold = (np.random.default_rng(options.seed).permutation(n_pieces) % folds)[piece]
    p = np.full(len(labelled.counts), np.nan)
    try:
        for k in range(folds):
            held_out = fold == k
            if held_out.any():
                model = _fit(cls, config, labelled, options, ~held_out)
                p[held_out], _ = split_probabilities(model.probabilities(labelled.samples.select(held_out)))
            if progress is not None:
                progress(k + 1, folds)
    except ValueError as err:
        options.say(f"not cross-validated: without a fold of the sky, {err}")
        return {}
    return describe_scores(p, labelled, f"cross-validated: {folds} folds of pieces of sky", options.say)


def _fit(
    cls: type[BlendClassifier],
    config: BlendClassifierConfig,
    labelled: LabelledScenes,
    options: FitOptions,
    rows: np.ndarray,
) -> BlendClassifier:
    """Fit to some of the footprints."""
    some = dataclasses.replace(
        labelled, samples=labelled.samples.select(rows), counts=labelled.counts[rows], sky=labelled.sky[rows]
    )
    chosen = dataclasses.replace(
        options,
        sky=some.sky,
        natural=None if options.natural is None else options.natural[rows],
        folder=None,
        report=None,
    )
    if options.start is not None:
        return fine_tune(cls, config, some, chosen)
    model = cls(config)
    model.fit(some.samples, some.counts, options=chosen)
    return model
