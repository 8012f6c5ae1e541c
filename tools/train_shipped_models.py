# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Train the models that come with the package, from fixed seeds.

    python tools/train_shipped_models.py --truths FOLDER --out FOLDER [--checkpoints FOLDER]
    python tools/train_shipped_models.py --counts-only --out FOLDER

The truths of Buchanan et al. 2022 give the training and the validation sky.  `SHIPPED_MODELS` is the recipe:
which scenes each model learns from, and which models it is put together from.
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

from lsst.meas.blendid.classifiers import FitOptions, classifier_registry, find_classifier
from lsst.meas.blendid.footprints import FootprintConfig
from lsst.meas.blendid.localizers import localizer_registry
from lsst.meas.blendid.model_package import SUFFIX, ModelPackage
from lsst.meas.blendid.model_settings import ModelSettings
from lsst.meas.blendid.samples import FootprintSamples
from lsst.meas.blendid.training import (
    ANY_BAND,
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
from lsst.meas.blendid.training.labelling import Prepare


@dataclass(frozen=True)
class ShippedModel:
    """How a model that is shipped is made.

    Parameters
    ----------
    classifier
        Name of the classifier, or of the localiser.
    part
        Part of the scenes that it learns from: "train", or "stack" for a model that learns from the
        predictions of others, which must not have seen the scenes.
    n_scenes
        Number of them, from the first.
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
    part: str = "train"
    n_scenes: int = 224
    calibration: str | None = "beta"
    members: tuple[str, ...] = ()
    kind: str = "classifier"
    validation_step: int = 1


SHIPPED_MODELS: dict[str, ShippedModel] = {
    "peaks-2": ShippedModel("peaks", calibration=None),
    "logistic-2": ShippedModel("logistic"),
    "muygps-2": ShippedModel("muygps", n_scenes=128),
    "cnn-2": ShippedModel("cnn", n_scenes=96),
    "features-2": ShippedModel("features"),
    "centers-2": ShippedModel("centers"),
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

_CLASSIFIERS = [name for name, recipe in SHIPPED_MODELS.items() if recipe.kind == "classifier"]

_SEEDS = {"train": 41_000, "stack": 43_000, "validation": 52_000, "validation randomized": 53_000}
_VALIDATION_DRAWS = 1
_RANDOMIZED = 30
_COUNT_SCENES = 48
"""Training scenes that numbers of galaxies are learned from: half of them with the clustering of the sky."""


def shipped_scenes(part: str, truths: str | Path | None = None, n_scenes: int = 224) -> list[SimulatedScene]:
    """List the scenes that shipped models are made with.

    Parameters
    ----------
    part
        "train": randomised scenes in all bands, every other one with the galaxies of the training sky.
        "stack": others, all of the parametric catalogue.
        "validation": the validation sky in i with three sizes of galaxies at the usual seeing and depth, and
        randomised scenes.
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
        return randomized_scenes(n_scenes, seed=_SEEDS[part], band=ANY_BAND)
    paths = [find_truth_scene(scene, truths) for scene in SKY_SPLIT[part]]
    if part == "train":
        return randomized_scenes(n_scenes, seed=_SEEDS[part], band=ANY_BAND, truths=paths, split=part)
    usual = simulated_scenes(paths, draws=_VALIDATION_DRAWS, seed=_SEEDS[part], split=part)
    return [
        *(dataclasses.replace(scene, for_any_band=True) for scene in usual),
        *randomized_scenes(
            _RANDOMIZED, seed=_SEEDS["validation randomized"], band=ANY_BAND, truths=paths, split=part
        ),
    ]


def _settings(part: str, n_scenes: int) -> Sequence[FootprintConfig]:
    """Settings of the footprints of each scene: models are to hold for both kinds of noise."""
    both = footprint_settings("both")
    if part != "validation":
        return both
    n_random = _RANDOMIZED
    return [clipped_footprints()] * (n_scenes - n_random) + [both[i % len(both)] for i in range(n_random)]


def label_shipped(
    part: str, truths: str | Path | None, n_scenes: int, prepare: Prepare, step: int = 1, processes: int = 1
) -> LabelledScenes:
    """Simulate and label the scenes of one part.

    Parameters
    ----------
    part, truths, n_scenes
        As for `shipped_scenes`.
    prepare
        As for `~lsst.meas.blendid.training.label_scenes`.
    step
        Only every so many of the scenes are used.
    processes
        Processes that simulate scenes; the result does not depend on it.

    Returns
    -------
    labelled
        Footprints without images.
    """
    scenes = shipped_scenes(part, truths, n_scenes)
    settings = _settings(part, len(scenes))
    # As many settings as scenes, so that each keeps its own.
    every = [settings[i % len(settings)] for i in range(len(scenes))]
    return label_scenes(scenes[::step], every[::step], prepare=prepare, processes=processes)


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


def _train_localizer(
    name: str,
    recipe: ShippedModel,
    folder: Path,
    truths: str | Path | None,
    processes: int,
    say: Callable[[str], None],
) -> ModelPackage:
    """Train a localiser; its map or embedding is of a model in the folder, or of the shipped one."""
    config: Any = localizer_registry[recipe.classifier].ConfigClass()
    for field in ("mapPackage", "embeddingPackage"):
        path = folder / f"{getattr(config, field, '')}{SUFFIX}"
        if path.exists():
            setattr(config, field, str(path))
    say(f"{name}: simulating {recipe.n_scenes} scenes")
    cls = localizer_registry[recipe.classifier]
    prepare = cls(config, settings=cls.SettingsClass()).prepare
    labelled = label_shipped(recipe.part, truths, recipe.n_scenes, prepare, processes=processes)
    return train_localizer(
        recipe.classifier,
        labelled,
        config=config,
        model_name=name,
        validation=label_shipped(
            "validation", truths, recipe.n_scenes, prepare, recipe.validation_step, processes
        ),
        options=FitOptions(seed=1, report=say),
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
    for name, recipe in SHIPPED_MODELS.items():
        if models is not None and name not in models:
            continue
        start = time.perf_counter()
        if recipe.kind == "localizer":
            package = _train_localizer(name, recipe, out, truths, processes, say)
            paths.append(package.write(out / f"{name}{SUFFIX}"))
            say(f"{paths[-1]}: {time.perf_counter() - start:.0f} s in all")
            continue
        settings = _choose_settings(recipe, out)
        classifier = classifier_registry[recipe.classifier](settings=settings)
        say(f"{name}: simulating {recipe.n_scenes} scenes")
        train = label_shipped(recipe.part, truths, recipe.n_scenes, classifier.prepare, processes=processes)
        say(f"{name}: {len(train.counts)} footprints to learn from, {time.perf_counter() - start:.0f} s")
        validation = label_shipped(
            "validation", truths, recipe.n_scenes, classifier.prepare, processes=processes
        )
        folder = None if checkpoints is None else Path(checkpoints) / name
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        package = train_classifier(
            recipe.classifier,
            train,
            validation=validation,
            settings=settings,
            model_name=name,
            options=FitOptions(seed=1, folder=folder, report=say),
            calibration=recipe.calibration,
        )
        paths.append(package.write(out / f"{name}{SUFFIX}"))
        scores = package.metadata["validation"]["scores"]
        accuracy, loss = scores["balanced_accuracy"], scores["cross_entropy"]
        say(
            f"{paths[-1]}: balanced accuracy {accuracy}, cross-entropy {loss} at even prior, "
            f"{time.perf_counter() - start:.0f} s in all"
        )
    if made := [name for name in _CLASSIFIERS if models is None or name in models]:
        add_shipped_counts(out, truths, models=made, processes=processes, report=say)
    return paths


def add_counts(package: ModelPackage, labelled: LabelledScenes) -> ModelPackage:
    """Learn what `.classifiers.BlendClassifier.fit_counts` does for a trained model; all else of it stays.

    Parameters
    ----------
    package
        Model of a classifier.
    labelled
        Labelled footprints; what the model computes from pixels has to be there if it gives P(blended) alone.

    Returns
    -------
    package
        The model with the mean of N if it is at least 4, and P(N).

    Raises
    ------
    ModelPackageError
        Raised if it is a model of something else.
    """
    classifier = find_classifier(package).from_package(package)
    classifier.fit_counts(labelled)
    metadata = dict(package.metadata)
    metadata["counts"] = classifier.to_package().metadata["counts"]
    metadata["training"] = metadata["training"] | {
        "counts": {"scenes": len(labelled.provenance), "footprints": len(labelled.counts)}
    }
    return ModelPackage(package.classifier, metadata, package.arrays, package.source)


@dataclass(frozen=True)
class _PrepareAll:
    """Computes what several classifiers need of the pixels; other processes can get it."""

    classifiers: Sequence[Any]

    def __call__(self, samples: FootprintSamples) -> bool:
        return all([classifier.prepare(samples) for classifier in self.classifiers])


def add_shipped_counts(
    out: str | Path,
    truths: str | Path | None = None,
    *,
    models: Sequence[str] | None = None,
    n_scenes: int = _COUNT_SCENES,
    processes: int = 1,
    report: Callable[[str], None] | None = None,
) -> list[Path]:
    """Learn the numbers of galaxies (`add_counts`) of shipped classifiers, the same way for all.

    Parameters
    ----------
    out
        Folder to write them to; models that lie there are taken, instead of the shipped ones.
    truths
        As for `shipped_scenes`.
    models
        Names of the models; all classifiers if `None`.
    n_scenes
        Number of the training scenes to learn from, from the first.
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
        Raised if a name is not one of a shipped classifier's model.
    """
    say = report if report is not None else lambda _line: None
    out = Path(out)
    _check_names(models, out)
    if others := sorted(set(models or ()) - set(_CLASSIFIERS)):
        raise ValueError(f"{', '.join(others)}: no model of a classifier")
    names = [name for name in _CLASSIFIERS if models is None or name in models]
    packages = {
        name: ModelPackage.read(str(path) if (path := out / f"{name}{SUFFIX}").exists() else name)
        for name in names
    }
    classifiers = [find_classifier(package).from_package(package) for package in packages.values()]
    # The others look at what is known without pixels.
    prepare = _PrepareAll([classifier for classifier in classifiers if not classifier.gives_counts])
    start = time.perf_counter()
    say(f"numbers of galaxies: simulating {n_scenes} scenes")
    labelled = label_shipped("train", truths, n_scenes, prepare, processes=processes)
    paths = []
    for name, package in packages.items():
        paths.append(add_counts(package, labelled).write(out / f"{name}{SUFFIX}"))
    say(f"{', '.join(names)}: {len(labelled.counts)} footprints, {time.perf_counter() - start:.0f} s in all")
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
    parser.add_argument(
        "--counts-only",
        action="store_true",
        help="train none, but learn the numbers of galaxies beyond P(N) anew, of models in the folder or of "
        "the shipped ones; all else of them stays",
    )
    options = parser.parse_args(arguments)

    def say(line: str) -> None:
        print(line, flush=True)

    try:
        if options.counts_only:
            add_shipped_counts(
                options.out, options.truths, models=options.models, processes=options.jobs, report=say
            )
            return 0
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
