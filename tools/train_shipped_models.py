# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Train the models that come with the package, from fixed seeds.

    python tools/train_shipped_models.py --truths FOLDER --out FOLDER [--checkpoints FOLDER]

The truths of Buchanan et al. 2022 give the training and the validation sky.  `SHIPPED_MODELS` is the recipe:
which scenes each model learns from, and which models it is put together from.  Scenes are simulated once for
all models that learn from them, which takes about 16 GB of memory where all are made.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsst.meas.blendid._processes import map_in_order
from lsst.meas.blendid.classifiers import FitOptions, classifier_registry
from lsst.meas.blendid.footprints import FootprintConfig
from lsst.meas.blendid.localizers import localizer_registry
from lsst.meas.blendid.model_package import SUFFIX, ModelPackage
from lsst.meas.blendid.model_settings import ModelSettings
from lsst.meas.blendid.training import (
    ANY_BAND,
    DomainRanges,
    LabelledScenes,
    SimulatedScene,
    clipped_footprints,
    footprint_settings,
    label_scenes,
    randomized_scenes,
    simulated_scenes,
    train_classifier,
    train_localizer,
)
from lsst.meas.blendid.training.domain import GalaxyRanges, SurveyRanges
from lsst.meas.blendid.training.labelling import Prepare, PrepareAll


@dataclass(frozen=True)
class ShippedModel:
    """How a model that is shipped is made.

    Parameters
    ----------
    classifier
        Name of the classifier, or of the localiser.
    n_scenes
        Number of scenes that it learns from, from the first.
    part
        Part of the scenes that these are of: "train", or "stack" for a model that learns from the
        predictions of others, which must not have seen the scenes.
    calibration
        Calibration that is fitted to the validation scenes, if any.
    members
        Models that it is put together from.
    kind
        "classifier" or "localizer".
    validation_step
        Of the validation scenes every so many are used.
    """

    classifier: str
    n_scenes: int
    part: str = "train"
    calibration: str | None = "beta"
    members: tuple[str, ...] = ()
    kind: str = "classifier"
    validation_step: int = 1


SHIPPED_MODELS: dict[str, ShippedModel] = {
    "peaks-2": ShippedModel("peaks", n_scenes=600, calibration=None),
    "logistic-2": ShippedModel("logistic", n_scenes=240),
    "muygps-2": ShippedModel("muygps", n_scenes=160),
    "cnn-2": ShippedModel("cnn", n_scenes=120),
    "features-2": ShippedModel("features", n_scenes=600),
    # Which looks at all of validation after each epoch.
    "centers-2": ShippedModel("centers", n_scenes=240, validation_step=5),
    "ensemble-2": ShippedModel(
        "ensemble",
        part="stack",
        n_scenes=176,
        calibration=None,
        members=("centers-2", "features-2"),
    ),
    # Of scenes that the map has not learned from.
    "centers-localizer-2": ShippedModel("centers", part="stack", n_scenes=352, kind="localizer"),
    "peaks-localizer-2": ShippedModel("peaks", part="stack", n_scenes=176, kind="localizer"),
    "regression-localizer-2": ShippedModel(
        "regression", part="stack", n_scenes=8, kind="localizer", validation_step=6
    ),
}
"""The models that are shipped, in the order in which they are made."""

_SEEDS = {"train": 41_000, "stack": 43_000, "validation": 52_000, "validation mixture": 53_000}
_VALIDATION_DRAWS = 1
_MIXED = 60
"""Validation scenes of the mixture that models learn from, beside those of the sky as it is."""

_SMOOTHER = GalaxyRanges(smooth_share=0.6)
_PLAIN = DomainRanges(survey=SurveyRanges(nominal_share=1.0), galaxies=_SMOOTHER, clean_share=1.0)
"""A clean survey at its usual seeing and depth."""
_CLEAN = DomainRanges(survey=SurveyRanges(nominal_share=0.0), galaxies=_SMOOTHER, clean_share=1.0)
"""Clean surveys of any seeing and depth."""


def shipped_scenes(part: str, truths: str | Path | None = None, n_scenes: int = 224) -> list[SimulatedScene]:
    """List the scenes that shipped models are made with.

    Parameters
    ----------
    part
        "train": scenes in all bands, half of the whole domain and half of clean surveys, about half of them
        with the galaxies of the training sky.  "stack": others like them, all of the parametric
        catalogue.  "validation": the validation sky in i with three sizes of galaxies at the usual seeing
        and depth, and scenes like those of training.
    truths
        Folder of the truths of Buchanan et al. 2022 (that of ``$BLENDID_DATA`` if `None`).
    n_scenes
        Number of scenes of the first two.

    Returns
    -------
    scenes
        The scenes; nothing is simulated yet.

    Raises
    ------
    FileNotFoundError
        Raised if the truths are not there.
    """
    from lsst.meas.blendid.simulation import SKY_SPLIT, find_truth_scene

    if part == "stack":
        return _mix_scenes(n_scenes, _SEEDS[part])
    paths = [find_truth_scene(scene, truths) for scene in SKY_SPLIT[part]]
    if part == "train":
        return _mix_scenes(n_scenes, _SEEDS[part], paths, part)
    usual = simulated_scenes(paths, draws=_VALIDATION_DRAWS, seed=_SEEDS[part], split=part)
    return [
        *(dataclasses.replace(scene, for_any_band=True) for scene in usual),
        *_mix_scenes(_MIXED, _SEEDS["validation mixture"], paths, part),
    ]


def _mix_scenes(
    n_scenes: int, seed: int, truths: Sequence[Path] = (), split: str | None = None
) -> list[SimulatedScene]:
    """List scenes of the domain, a quarter each of them plain and clean ones, so that the first are like all.

    Breadth must not cost where surveys are as they should be.
    """

    def draw(n: int, first: int, ranges: DomainRanges | None) -> list[SimulatedScene]:
        return randomized_scenes(
            n, seed=seed + first, band=ANY_BAND, truths=truths, split=split, ranges=ranges
        )

    n_clean = n_scenes // 4
    n_plain = (n_scenes - n_clean) // 3
    plain, others = draw(n_plain, 500, _PLAIN), draw(n_scenes - n_clean - n_plain, 0, None)
    return _weave(_weave(others, plain, 3), draw(n_clean, 700, _CLEAN), 4)


def _weave[Item](many: Sequence[Item], few: Sequence[Item], step: int) -> list[Item]:
    """Put the few among the many, so that every so many are one of them."""
    from_many, from_few = iter(many), iter(few)
    return [next(from_few if i % step == step - 1 else from_many) for i in range(len(many) + len(few))]


def _settings(part: str, n_scenes: int) -> Sequence[FootprintConfig]:
    """Settings of the footprints of each scene: models are to hold for both kinds of noise."""
    n_mixed = n_scenes if part != "validation" else _MIXED
    both, n_clean = footprint_settings("both"), n_mixed // 4
    # Both for each kind of scenes, and the same ones however many scenes there are.
    many, few = ([both[i % len(both)] for i in range(n)] for n in (n_mixed - n_clean, n_clean))
    mixed = _weave(many, few, 4)
    return [clipped_footprints()] * (n_scenes - n_mixed) + mixed


@dataclass(frozen=True)
class _Learner:
    """A model to be made, as long as scenes are labelled: what it needs of them."""

    name: str
    recipe: ShippedModel
    prepare: Prepare

    def learns_from(self, part: str, index: int) -> bool:
        """Whether the scene of a number is one of its own."""
        if part == "validation":
            return index % self.recipe.validation_step == 0
        return index < self.recipe.n_scenes


@dataclass(frozen=True)
class _Labeller:
    """Simulates and labels the scene of a number; goes to each process once, with the models."""

    part: str
    learners: Sequence[_Learner]

    def __call__(self, job: tuple[int, SimulatedScene, FootprintConfig]) -> LabelledScenes:
        index, scene, settings = job
        chosen = [learner.prepare for learner in self.learners if learner.learns_from(self.part, index)]
        return label_scenes([scene], [settings], prepare=PrepareAll(chosen))


def label_shipped(
    part: str, truths: str | Path | None, learners: Sequence[_Learner], processes: int = 1
) -> list[LabelledScenes]:
    """Simulate and label the scenes of one part, once for all the models that learn from it.

    Parameters
    ----------
    part, truths
        As for `shipped_scenes`.
    learners
        The models; each gets what it needs prepared in the scenes that are its own.
    processes
        Processes that simulate scenes; the result does not depend on it.

    Returns
    -------
    labelled
        Footprints without images, for each scene.
    """
    scenes = shipped_scenes(part, truths, max(learner.recipe.n_scenes for learner in learners))
    settings = _settings(part, len(scenes))
    jobs = [(i, scene, config) for i, (scene, config) in enumerate(zip(scenes, settings, strict=True))]
    return list(map_in_order(_Labeller(part, learners), jobs, processes))


def _take(parts: Sequence[LabelledScenes], part: str, learner: _Learner) -> LabelledScenes:
    """The scenes of one model."""
    return LabelledScenes.join([one for i, one in enumerate(parts) if learner.learns_from(part, i)])


def _check_names(models: Sequence[str] | None, out: Path) -> None:
    """Refuse names that are none of shipped models, and a folder that is not there."""
    if not out.is_dir():
        raise FileNotFoundError(f"output folder does not exist: {out}")
    unknown = sorted(set(models or ()) - set(SHIPPED_MODELS))
    if unknown:
        names = ", ".join(unknown)
        raise ValueError(f"no such model is shipped: {names}; there are {', '.join(SHIPPED_MODELS)}")


def _choose_settings(recipe: ShippedModel, folder: Path) -> ModelSettings:
    """Settings of a model: the default ones, with the members."""
    settings: Any = classifier_registry[recipe.classifier].SettingsClass()
    if "depth" in getattr(settings, "features", ()):
        # A magnitude says something else in every band.
        settings = dataclasses.replace(
            settings, features=tuple(name for name in settings.features if name != "depth")
        )
    if not recipe.members:
        return settings
    return dataclasses.replace(
        settings,
        members=tuple(SHIPPED_MODELS[name].classifier for name in recipe.members),
        member_packages=tuple(str(folder / f"{name}{SUFFIX}") for name in recipe.members),
    )


def _localizer_config(recipe: ShippedModel, folder: Path) -> Any:
    """Config of a localiser; its map or embedding is of a model in the folder, or of the shipped one."""
    config: Any = localizer_registry[recipe.classifier].ConfigClass()
    for field in ("mapPackage", "embeddingPackage"):
        path = folder / f"{getattr(config, field, '')}{SUFFIX}"
        if path.exists():
            setattr(config, field, str(path))
    return config


def _make_learner(name: str, folder: Path) -> _Learner:
    """What a model needs of its scenes."""
    recipe = SHIPPED_MODELS[name]
    if recipe.kind == "localizer":
        cls = localizer_registry[recipe.classifier]
        localizer = cls(_localizer_config(recipe, folder), settings=cls.SettingsClass())
        return _Learner(name, recipe, localizer.prepare)
    classifier = classifier_registry[recipe.classifier](settings=_choose_settings(recipe, folder))
    return _Learner(name, recipe, classifier.prepare)


def _train(
    learner: _Learner, train: LabelledScenes, validation: LabelledScenes, folder: Path, options: FitOptions
) -> ModelPackage:
    """Train one model on its scenes."""
    name, recipe = learner.name, learner.recipe
    if recipe.kind == "localizer":
        return train_localizer(
            recipe.classifier,
            train,
            config=_localizer_config(recipe, folder),
            model_name=name,
            validation=validation,
            options=options,
        )
    return train_classifier(
        recipe.classifier,
        train,
        validation=validation,
        settings=_choose_settings(recipe, folder),
        model_name=name,
        options=options,
        calibration=recipe.calibration,
    )


def train_shipped_models(
    out: str | Path,
    truths: str | Path | None = None,
    *,
    models: Sequence[str] | None = None,
    checkpoints: str | Path | None = None,
    processes: int = 1,
    report: Callable[[str], None] | None = None,
) -> list[Path]:
    """Train the models that come with this package.

    Parameters
    ----------
    out
        Folder to write them to.
    truths
        As for `shipped_scenes`.
    models
        Names of those to make; all if `None`.  Members of an ensemble that are not made have to be
        in the folder.
    checkpoints
        Folder for the checkpoints of those that train for long; they go on from there.
    processes
        Processes that simulate scenes.
    report
        Called with a line for each step.

    Returns
    -------
    paths
        Files that were written.

    Raises
    ------
    FileNotFoundError
        Raised if the truths or the folder are not there.
    ValueError
        Raised if a name is not one of a shipped model.
    """
    say = report if report is not None else lambda _line: None
    out = Path(out)
    _check_names(models, out)
    paths = []
    # Models that are put together come after their members, so parts one after the other.
    for part in ("train", "stack"):
        names = [
            name
            for name, recipe in SHIPPED_MODELS.items()
            if recipe.part == part and (models is None or name in models)
        ]
        if not names:
            continue
        start = time.perf_counter()
        learners = [_make_learner(name, out) for name in names]
        say(f"{', '.join(names)}: simulating scenes")
        scenes = label_shipped(part, truths, learners, processes)
        held_out = label_shipped("validation", truths, learners, processes)
        say(f"{len(scenes)} scenes and {len(held_out)} for validation: {time.perf_counter() - start:.0f} s")
        for learner in learners:
            start = time.perf_counter()
            folder = None if checkpoints is None else Path(checkpoints) / learner.name
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
            train, validation = _take(scenes, part, learner), _take(held_out, "validation", learner)
            say(f"{learner.name}: {len(train.counts)} footprints to learn from")
            options = FitOptions(seed=1, folder=folder, report=say)
            package = _train(learner, train, validation, out, options)
            paths.append(package.write(out / f"{learner.name}{SUFFIX}"))
            scores = package.metadata["validation"]["scores"]
            told = [f"{key} {scores[key]}" for key in ("balanced_accuracy", "cross_entropy") if key in scores]
            say(f"{paths[-1]}: {', '.join(told)}, {time.perf_counter() - start:.0f} s")
    return paths


def main(arguments: Sequence[str] | None = None) -> int:
    """Train the shipped models.

    Parameters
    ----------
    arguments
        Command-line arguments; those of the process if `None`.

    Returns
    -------
    status
        Exit status.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--truths", help="folder that holds buchanan2022/scene_00.fits (default: $BLENDID_DATA)"
    )
    parser.add_argument("--out", required=True, help="existing folder to write the models to")
    parser.add_argument("--models", nargs="+", metavar="NAME", help="models to make (default: all)")
    parser.add_argument("--checkpoints", help="folder for checkpoints, from which a killed run goes on")
    parser.add_argument(
        "-j", "--jobs", type=int, default=1, help="processes that simulate scenes; models do not depend on it"
    )
    options = parser.parse_args(arguments)

    def say(line: str) -> None:
        print(line, flush=True)

    try:
        train_shipped_models(
            options.out,
            options.truths,
            models=options.models,
            checkpoints=options.checkpoints,
            processes=options.jobs,
            report=say,
        )
    except (OSError, ValueError) as err:
        print(f"error: {err}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
