# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Renders of the parts of the sky, the same for all programs that score models on them."""

from __future__ import annotations

__all__ = ("label", "list_scenes", "read_models")

from collections.abc import Sequence

from lsst.meas.blendid.classifiers import BlendClassifier
from lsst.meas.blendid.evaluation.scored_scenes import load_models
from lsst.meas.blendid.simulation import SIZE_MODELS, SKY_SPLIT, Survey, find_truth_scene
from lsst.meas.blendid.training import (
    LabelledScenes,
    SceneSource,
    SimulatedScene,
    clipped_footprints,
    label_scenes,
    simulated_scenes,
)
from lsst.meas.blendid.training.labelling import PrepareAll

_SEEDS = {"train": 1_000, "validation": 2_000, "test": 3_000}


def list_scenes(
    split: str,
    size_model: str,
    draws: int,
    truths: str | None,
    *,
    survey: str | Survey = "i",
    size: int = 2048,
    shift: int = 0,
) -> list[SimulatedScene]:
    """Renders of each truth of one part of the sky with galaxies of one size; ``shift`` gives other ones."""
    paths = [find_truth_scene(scene, truths) for scene in SKY_SPLIT[split]]
    seed = _SEEDS[split] + 100 * list(SIZE_MODELS).index(size_model) + shift
    return simulated_scenes(
        paths, size_models=[size_model], draws=draws, seed=seed, split=split, size=size, survey=survey
    )


def label(
    scenes: Sequence[SceneSource], models: Sequence[BlendClassifier], processes: int = 1
) -> LabelledScenes:
    """Find and label the footprints of scenes, with the clipped noise; keep what the models need."""
    prepare = PrepareAll([model.prepare for model in models])
    return label_scenes(scenes, [clipped_footprints()], prepare=prepare, processes=processes)


def read_models(names: Sequence[str]) -> dict[str, BlendClassifier]:
    """Trained classifiers by name, of names or paths."""
    return {model.name: model.classifier for model in load_models(names)}
