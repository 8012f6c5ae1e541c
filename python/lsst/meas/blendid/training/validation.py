# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Scores of a model on footprints that it did not learn from, and its calibration there."""

from __future__ import annotations

__all__ = (
    "compare_to_start",
    "cross_validate",
    "describe_scores",
    "split_halves",
    "validate",
)

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from ..calibration import fit_calibration
from ..classifiers import BlendClassifier, FitOptions, split_probabilities
from ..metrics import score, score_one_peak
from ..model_package import ModelPackage
from ..model_settings import ModelSettings
from .fine_tuning import fine_tune
from .log import rounded
from .scenes import LabelledScenes, Progress


def split_halves(labelled: LabelledScenes) -> np.ndarray:
    """Split footprints into two halves by sky.

    Parameters
    ----------
    labelled
        The n footprints.

    Returns
    -------
    half : `numpy.ndarray`, shape (n,), bool
        False and true for every other piece of sky; of a single one, for its left and right half.
    """
    skies, index = np.unique(labelled.sky, return_inverse=True)
    if len(skies) > 1:
        return index % 2 == 1
    x = labelled.samples.centroid[:, 0]
    return x > np.median(x) if len(x) else np.zeros(0, dtype=bool)


def validate(
    classifier: BlendClassifier,
    labelled: LabelledScenes,
    calibration: str | None = None,
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Score a classifier, after its calibration if there is to be one.

    Parameters
    ----------
    classifier
        A fitted classifier; gets the calibration.
    labelled
        Footprints of sky that it did not learn from.
    calibration
        Method of `.calibration.fit_calibration`; `None` for none.
    say
        Called with a line if the footprints are too few to calibrate.

    Returns
    -------
    validation
        ``scores``, ``one_peak`` (scores of footprints with one peak; left out if there are not both kinds of
        them), and ``estimate``: what the scores were made of.  The calibration of the model is
        fitted on all footprints; the scores are those of each half of the sky with a calibration fitted on
        the other half, so that no footprint is scored with a calibration that has seen it.
    """
    say = say or (lambda _line: None)
    counts = labelled.counts
    if calibration is None or not _has_both_kinds(counts):
        p, _ = split_probabilities(classifier.probabilities(labelled.samples))
        return describe_scores(p, labelled, "as predicted", say)
    raw, _ = split_probabilities(classifier.predict(labelled.samples))
    half = split_halves(labelled)
    kinds = [np.count_nonzero((counts[rows] > 1) == kind) for rows in (half, ~half) for kind in (0, 1)]
    if min(kinds) < _LEAST:
        say(f"validation: fewer than {_LEAST} footprints of a kind in half of the sky; not calibrated")
        return validate(classifier, labelled, None, say)
    p = np.empty(raw.shape)
    for rows in (half, ~half):
        p[rows] = fit_calibration(raw[~rows], counts[~rows] > 1, calibration).apply(raw[rows])
    classifier.calibration = fit_calibration(raw, counts > 1, calibration)
    estimate = f"cross-fitted: each half of the sky with the {calibration} calibration of the other"
    return describe_scores(p, labelled, estimate, say)


def _has_both_kinds(counts: np.ndarray) -> bool:
    """Whether there are blended and unblended footprints to score."""
    return bool(np.any(counts > 1) and np.any(counts == 1))


def describe_scores(
    p: np.ndarray, labelled: LabelledScenes, estimate: str, say: Callable[[str], None]
) -> dict[str, Any]:
    """Score probabilities for a package.

    Parameters
    ----------
    p : `numpy.ndarray`, shape (n,)
        P(blended) of the footprints.
    labelled
        The footprints.
    estimate
        What the scores are made of.
    say
        Called with a line if the footprints are too few.

    Returns
    -------
    validation
        As of `validate`; empty if the footprints are too few.
    """
    counts = labelled.counts
    if not _has_both_kinds(counts):
        blended, single = np.count_nonzero(counts > 1), np.count_nonzero(counts == 1)
        say(f"validation: {blended} blended and {single} other footprints are too few for scores")
        return {}
    if not _has_both_kinds(counts[np.isfinite(p)]):
        say("validation: the footprints of one kind have no probabilities; no scores")
        return {}
    validation: dict[str, Any] = {
        "scores": rounded(dataclasses.asdict(score(p, counts))),
        "estimate": estimate,
    }
    one_peak = labelled.samples.n_peaks == 1
    if len(set((counts[one_peak & (counts > 0)] > 1).tolist())) == 2:
        validation["one_peak"] = rounded(
            dataclasses.asdict(score_one_peak(p, counts, labelled.samples.n_peaks))
        )
    return validation


def compare_to_start(
    validation: dict[str, Any], start: BlendClassifier, name: str, labelled: LabelledScenes
) -> dict[str, Any]:
    """Score the model that a fit went on from on the footprints that the new one was scored on.

    Parameters
    ----------
    validation
        Scores of the new model.
    start
        The model that it went on from.
    name
        Its name.
    labelled
        The footprints.

    Returns
    -------
    validation
        The same, with ``start``: the ``name`` and ``scores`` of that model.
    """
    if "scores" not in validation:
        return validation
    p, _ = split_probabilities(start.probabilities(labelled.samples))
    if not _has_both_kinds(labelled.counts[np.isfinite(p)]):
        return validation
    scores = rounded(dataclasses.asdict(score(p, labelled.counts)))
    return validation | {"start": {"name": name, "scores": scores}}


_LEAST = 10
"""Fewest footprints of each kind in a half to fit a calibration on."""


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
