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

from typing import Any

import numpy as np

from ..classifiers import BlendClassifier, FitOptions, split_probabilities
from ..model_package import ModelPackage
from ..model_settings import ModelSettings
from .scenes import LabelledScenes, Progress
from .transfer import fine_tune
from .validation import describe_scores


def cross_validate(
    cls: type[BlendClassifier],
    labelled: LabelledScenes,
    folds: int,
    *,
    settings: ModelSettings,
    start: ModelPackage | None = None,
    options: FitOptions,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score a fit where there is no other sky to score it on.

    Parameters
    ----------
    cls
        Class of the classifier.
    labelled
        Footprints that it learns from.
    folds
        Number of folds, to which whole pieces of sky are dealt out.
    settings
        Its settings.
    start
        Model that is fine-tuned; `None` for fits from nothing.
    options
        Options of the fit.
    progress
        Called with the number of folds done and in all.

    Returns
    -------
    validation
        As of `.validation.validate`: the probabilities of each fold are those of a fit to the others.  Empty,
        with a line that says why, if the footprints do not suffice.
    """
    if cls.needs_centers and start is None:
        options.say(
            f"not cross-validated: {cls.name!r} learns from all pixels of an image, so that no part of it "
            "is new; of four coadds and more one is held out for scores"
        )
        return {}
    piece = np.unique(labelled.group_by_sky(folds), return_inverse=True)[1]
    n_pieces = int(piece.max(initial=-1)) + 1
    fold = (np.random.default_rng(options.seed).permutation(n_pieces) % folds)[piece]
    p = np.full(len(labelled.counts), np.nan)
    # Its checkpoints and lines are those of the fit to all.
    quiet = FitOptions(seed=options.seed)
    try:
        for k in range(folds):
            held_out = fold == k
            if held_out.any():
                others = labelled.select(~held_out)
                if start is not None:
                    model = fine_tune(start, others, settings=settings, options=quiet)
                else:
                    model = cls(settings=settings)
                    model.fit(others, options=quiet)
                p[held_out], _ = split_probabilities(model.probabilities(labelled.samples.select(held_out)))
            if progress is not None:
                progress(k + 1, folds)
    except ValueError as err:
        options.say(f"not cross-validated: without a fold of the sky, {err}")
        return {}
    return describe_scores(p, labelled, f"cross-validated: {folds} folds of pieces of sky", options.say)
