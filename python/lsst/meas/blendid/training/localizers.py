# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Fitting one localiser, and writing down what it was fitted to."""

from __future__ import annotations

__all__ = ("score_localizer", "train_localizer")

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..calibration import fit_calibration
from ..classifiers import FitOptions
from ..localizers import BlendLocalizer, BlendLocalizerConfig, localizer_registry
from ..model_package import ModelPackage
from ..model_settings import ModelSettings
from ..peak_matching import GalaxyList, PeakList, match_peaks
from .labelling import label_scenes
from .log import describe_inputs, describe_training, find_versions, rounded, summarize_scenes
from .scenes import LabelledScenes, Progress, SceneSource, Settings, check_sky
from .settings import footprint_settings


def train_localizer(
    name: str,
    scenes: Sequence[SceneSource] | LabelledScenes,
    *,
    config: BlendLocalizerConfig | None = None,
    settings: ModelSettings | None = None,
    footprints: Settings | None = None,
    model_name: str | None = None,
    validation: LabelledScenes | None = None,
    options: FitOptions | None = None,
    facts: dict[str, Any] | None = None,
    progress: Progress | None = None,
) -> ModelPackage:
    """Train a localiser on scenes whose galaxies are known.

    Parameters
    ----------
    name
        Name of the localiser.
    scenes
        The scenes; those that are labelled must have their images, or what the localiser prepared of them.
    config
        Its config, which names what it builds on; the default one if `None`.
    settings
        Its settings; the default ones if `None`.
    footprints
        Settings of the footprints, for scenes that are not labelled yet (`.label_scenes`).
    model_name
        Name of the model.
    validation
        Other scenes to score it on, labelled in the same way.
    options
        Seed and the like; pieces of sky are those of the scenes.
    facts
        JSON-compatible facts to keep with what the package tells about its training; if there is a
        ``recipe`` among them, the settings of single scenes are left out.
    progress
        Called with the number of scenes done and in all.

    Returns
    -------
    package
        The trained model.

    Raises
    ------
    KeyError
        Raised if there is no localiser of that name.
    ValueError
        Raised if there are no scenes, their galaxies are not known, one of them belongs to the validation or
        the test split, validation scenes are of the same sky, or as by `BlendLocalizer.fit`.
    """
    if name not in localizer_registry:
        raise KeyError(localizer_registry.describe_unknown(name))
    cls = localizer_registry[name]
    localizer = cls(config, settings=cls.SettingsClass() if settings is None else settings)
    labelled = (
        scenes
        if isinstance(scenes, LabelledScenes)
        else label_scenes(
            scenes,
            footprint_settings() if footprints is None else footprints,
            prepare=localizer.prepare,
            progress=progress,
        )
    )
    check_sky(labelled, validation)
    options = FitOptions() if options is None else options
    localizer.fit(labelled, options)
    training = describe_training(labelled, localizer) | {"seed": options.seed}
    facts = facts or {}
    with_settings = "recipe" not in facts
    training["scenes"] = summarize_scenes(labelled, with_settings=with_settings)
    scores = {} if validation is None else score_localizer(localizer, validation)
    if validation is not None:
        scores["scenes"] = summarize_scenes(validation, with_settings=with_settings)
    return localizer.to_package(
        model_name or f"{name}-localizer-trained",
        inputs=describe_inputs(labelled),
        training=training | facts,
        validation=scores,
        versions=find_versions(name),
    )


_INSIDE_SQUARED = -2.0 * np.log(1.0 - 0.6827)
"""Squared radius of the ellipse that holds 68 % of a two-dimensional normal distribution."""


def score_localizer(localizer: BlendLocalizer, labelled: LabelledScenes) -> dict[str, Any]:
    """Score a localiser on scenes that it did not learn from.

    Parameters
    ----------
    localizer
        The trained localiser.
    labelled
        The scenes, with their images or what the localiser prepared of them.

    Returns
    -------
    scores
        ``scores``: natural ``cross_entropy``, ``calibration_slope`` and ``calibration_intercept`` of the
        probabilities of positions, ``expected_share``: their sum over the number of galaxies that a position
        is matched with (`.peak_matching.match_peaks`), ``matched_share``: that number over that of the
        galaxies in footprints, and ``inside_ellipse``: share of them in the 68 % ellipse of their position.
    """
    p, is_true, square, n_galaxies = [], [], [], 0
    found = localizer.locate(labelled.samples)
    for result, positions, galaxies in zip(
        labelled.samples.results, found, labelled.centers or (), strict=True
    ):
        true = GalaxyList.from_places(result.footprints, galaxies)
        peaks = PeakList(positions.row.astype(np.int64), positions.x, positions.y, positions.probability)
        matches = match_peaks(peaks, true)
        rows = np.flatnonzero(matches.is_true)
        which = matches.galaxy[rows]
        dx, dy = true.x[which] - positions.x[rows], true.y[which] - positions.y[rows]
        xx, yy, xy = positions.xx[rows], positions.yy[rows], positions.xy[rows]
        square.append((yy * dx**2 - 2.0 * xy * dx * dy + xx * dy**2) / (xx * yy - xy**2))
        p.append(positions.probability)
        is_true.append(matches.is_true)
        n_galaxies += len(true)
    joined, truth, squares = np.concatenate(p), np.concatenate(is_true), np.concatenate(square)
    clipped = np.clip(joined, 1e-6, 1.0 - 1e-6)
    both = 0 < np.count_nonzero(truth) < len(truth)
    slope, intercept = fit_calibration(joined, truth, "platt").parameters if both else (np.nan, np.nan)
    known = squares[np.isfinite(squares)]
    return {
        "scores": rounded(
            {
                "cross_entropy": -float(np.mean(np.log(np.where(truth, clipped, 1.0 - clipped)))),
                "calibration_slope": float(slope),
                "calibration_intercept": float(intercept),
                "expected_share": float(joined.sum() / max(truth.sum(), 1)),
                "matched_share": float(truth.sum() / max(n_galaxies, 1)),
                "inside_ellipse": float(np.mean(known < _INSIDE_SQUARED)) if len(known) else np.nan,
            }
        )
    }
