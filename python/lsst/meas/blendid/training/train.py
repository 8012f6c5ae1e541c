# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Fitting one classifier, and writing down what it was fitted to."""

from __future__ import annotations

__all__ = ("train_classifier",)

from collections.abc import Sequence
from typing import Any

from ..classifiers import FitOptions, classifier_registry
from ..footprints import FootprintConfig
from ..model_package import ModelPackage
from ..model_settings import ModelSettings
from .fine_tuning import fine_tune
from .labelling import label_scenes
from .log import describe_inputs, describe_training, find_versions, summarize_scenes
from .scenes import LabelledScenes, Progress, SceneSource, Settings, check_sky
from .settings import footprint_settings
from .validation import compare_to_start, cross_validate, validate


def train_classifier(
    name: str,
    scenes: Sequence[SceneSource] | LabelledScenes,
    *,
    validation: Sequence[SceneSource] | LabelledScenes | None = None,
    settings: ModelSettings | None = None,
    start: ModelPackage | None = None,
    footprints: FootprintConfig | Settings | None = None,
    snr_min: float | None = None,
    model_name: str | None = None,
    options: FitOptions | None = None,
    calibration: str | None = None,
    folds: int = 0,
    facts: dict[str, Any] | None = None,
    progress: Progress | None = None,
) -> ModelPackage:
    """Fit a classifier to scenes.

    Parameters
    ----------
    name
        Name of the classifier in the registry.
    scenes
        Scenes to learn from, or their labelled footprints.
    validation
        Scenes of other sky to score it on; the scores go into the package.
    settings
        Settings of the classifier; its defaults, or those of ``start``, if `None`.
    start
        Model to go on from: it is fine-tuned (`.fine_tuning.fine_tune`) instead of a fit from nothing.
    footprints
        Settings of the footprints, or several that are dealt out to the scenes in turn, or a function that
        gives those of a scene; `footprint_settings` for both kinds of noise if `None`.  Labelled scenes have
        theirs, which validation scenes then get too.
    snr_min
        Fainter galaxies do not count (5 if `None`).  Labelled scenes have
        theirs.
    model_name
        Name of the model; by default ``<classifier>-trained``.
    options
        Seed, folder of checkpoints and the like.
    calibration
        Fit this calibration (`.calibration.CALIBRATION_METHODS`) on the validation scenes and put it
        into the package; the scores are then cross-fitted (`.validation.validate`).
    folds
        Without validation scenes, number of folds of sky to score the fit with, each by a fit to the others
        (`.validation.cross_validate`); 0 for no scores.
    facts
        JSON-compatible facts to keep with what the package tells about its training; if there is a
        ``recipe`` among them, the settings of single scenes are left out.
    progress
        Called with the number of scenes done and in all, and then with that of folds.

    Returns
    -------
    package
        The trained model.

    Raises
    ------
    KeyError
        Raised if there is no classifier of that name.
    ValueError
        Raised if there are no scenes, one of them belongs to the validation or
        the test split, validation scenes are of the same sky, the footprints are all of one kind, or
        ``footprints`` or ``snr_min`` are given for scenes that are labelled.
    """
    if name not in classifier_registry:
        raise KeyError(classifier_registry.describe_unknown(name))
    cls = classifier_registry[name]
    if settings is None:
        settings = cls.SettingsClass() if start is None else cls.settings_from_package(start)
    if isinstance(scenes, LabelledScenes):
        if footprints is not None or snr_min is not None:
            raise ValueError(
                "labelled scenes have their footprint settings and S/N limit already; "
                "leave out footprints and snr_min, or label the scenes with them"
            )
        kinds: Settings = list(scenes.footprints)
        snr_min = scenes.snr_min
    else:
        if footprints is None:
            footprints = footprint_settings()
        kinds = [footprints] if isinstance(footprints, FootprintConfig) else footprints
        snr_min = 5.0 if snr_min is None else snr_min
    n_train = 0 if isinstance(scenes, LabelledScenes) else len(scenes)
    n_total = n_train + (
        0 if validation is None or isinstance(validation, LabelledScenes) else len(validation)
    )

    def label(sources: Sequence[SceneSource] | LabelledScenes, done: int) -> LabelledScenes:
        if isinstance(sources, LabelledScenes):
            return sources
        report = None if progress is None else lambda i, _n: progress(done + i, n_total)
        return label_scenes(
            sources,
            kinds,
            snr_min=snr_min,
            keep_planes=cls.needs_planes,
            prepare=preparer.prepare,
            progress=report,
        )

    preparer = cls(settings=settings)
    labelled = label(scenes, 0)
    check_sky(labelled)
    held_out = None if validation is None else label(validation, n_train)
    check_sky(labelled, held_out)
    options = FitOptions() if options is None else options
    if start is not None:
        classifier = fine_tune(start, labelled, validation=held_out, settings=settings, options=options)
    else:
        classifier = cls(settings=settings)
        classifier.fit(labelled, held_out, options)
        classifier.fit_counts(labelled)
        classifier.fit_novelty(labelled, options.seed)
    if held_out is not None:
        scores = validate(classifier, held_out, calibration, options.say)
    elif folds > 1:
        scores = cross_validate(
            cls, labelled, folds, settings=settings, start=start, options=options, progress=progress
        )
    else:
        scores = {}
    if start is not None:
        scores = compare_to_start(
            scores, cls.from_package(start), start.name, labelled if held_out is None else held_out
        )
    facts = facts or {}
    with_settings = "recipe" not in facts
    training = describe_training(labelled, classifier) | {"seed": options.seed}
    training["scenes"] = summarize_scenes(labelled, with_settings=with_settings)
    if held_out is not None:
        scores["scenes"] = summarize_scenes(held_out, with_settings=with_settings)
    if start is not None:
        training["start"] = start.name
    return classifier.to_package(
        model_name or f"{name}-trained",
        inputs=describe_inputs(labelled),
        training=training | facts,
        validation=scores,
        versions=find_versions(name),
    )
