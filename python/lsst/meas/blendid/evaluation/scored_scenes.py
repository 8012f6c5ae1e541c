# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What models say about scenes whose true galaxies are known."""

from __future__ import annotations

__all__ = (
    "NamedModel",
    "ScoredScenes",
    "load_models",
    "make_finders",
    "score_labelled",
    "score_scenes",
    "split_label",
)

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .._processes import map_in_order
from ..classifiers import (
    BlendClassifier,
    CentersClassifier,
    EnsembleClassifier,
    find_classifier,
    split_probabilities,
)
from ..localizers import find_localizer
from ..model_package import SUFFIX, ModelPackage
from ..peak_matching import PeakList
from ..samples import FootprintSamples
from ..training import LabelledScenes, SceneSource, label_scenes
from ..training.scenes import Settings
from .breakdown import recount
from .peak_comparison import DETECTED
from .peak_finders import CandidateFinder, LocalizerFinder, PeakFinder, find_detected, with_magnitudes


@dataclass(frozen=True)
class NamedModel:
    """A trained model and what it is called here."""

    name: str
    classifier: BlendClassifier

    @property
    def package(self) -> ModelPackage:
        """Where it comes from."""
        assert self.classifier.package is not None
        return self.classifier.package


@dataclass(frozen=True)
class ScoredScenes:
    """Labelled footprints of scenes of one kind with the predictions of models."""

    name: str
    """What the scenes have in common."""
    labelled: LabelledScenes
    predictions: dict[str, np.ndarray]
    """P(blended) `(n,)` or P(N) `(n, 5)` by name of the model."""
    outside: dict[str, np.ndarray]
    """Whether a footprint's image is out of the range that the model was trained on, bool `(n,)`."""
    peaks: dict[str, PeakList] = field(default_factory=dict)
    """Peaks by name of what found them, the detected ones among them; empty if none has probabilities."""
    expected: dict[str, np.ndarray] = field(default_factory=dict)
    """Number of objects that P(N) expects `(n,)`, for those of these lists that come with it."""

    @classmethod
    def join(cls, parts: Sequence[ScoredScenes]) -> ScoredScenes:
        """Put scenes with labels of one kind together.

        Parameters
        ----------
        parts
            At least one.

        Returns
        -------
        scored
            All of them; what some scene lacks is left out.
        """
        first, sizes = parts[0], [len(part.labelled.counts) for part in parts]

        def common(name: str) -> dict[str, list[Any]]:
            dicts = [getattr(part, name) for part in parts]
            # What one scene lacks would leave footprints without a value.
            return {key: [d[key] for d in dicts] for key in dicts[0] if all(key in d for d in dicts)}

        # A list of peaks makes sense beside the others alone.
        lists = common("peaks") if all(part.peaks.keys() == first.peaks.keys() for part in parts) else {}
        return cls(
            first.name,
            LabelledScenes.join([part.labelled for part in parts]),
            {name: np.concatenate(values) for name, values in common("predictions").items()},
            {name: np.concatenate(values) for name, values in common("outside").items()},
            {name: PeakList.join(values, sizes) for name, values in lists.items()},
            {name: np.concatenate(values) for name, values in common("expected").items() if name in lists},
        )

    def p_blended(self, name: str) -> np.ndarray:
        """P(blended) of a model.

        Parameters
        ----------
        name
            Its name.

        Returns
        -------
        p
            float64 array `(n,)`.
        """
        return split_probabilities(self.predictions[name])[0]

    def relabelled(self, snr_min: float) -> ScoredScenes:
        """Label the same footprints with another limit in S/N.

        Parameters
        ----------
        snr_min
            Fainter objects do not count; 4 or more.

        Returns
        -------
        scored
            The same footprints and predictions.

        Raises
        ------
        ValueError
            Raised if the limit is another one and the truth is not known.
        """
        if snr_min == self.labelled.snr_min:
            return self
        if self.labelled.truths is None:
            raise ValueError(f"the objects of {self.name} are not known, and one label is all there is")
        return dataclasses.replace(self, labelled=recount(self.labelled, snr_min))

    def with_predictions(self, more: dict[str, np.ndarray]) -> ScoredScenes:
        """Add predictions.

        Parameters
        ----------
        more
            By name of the model.

        Returns
        -------
        scored
            The same scenes with them after the others.
        """
        return dataclasses.replace(self, predictions=self.predictions | more)


def load_models(specifications: Sequence[str]) -> list[NamedModel]:
    """Read models.

    Parameters
    ----------
    specifications
        Each the name of a shipped model, a path or a URI, or one of these after ``LABEL=``.  Without
        label a model is called by its file.

    Returns
    -------
    models
        The models, in that order.

    Raises
    ------
    ModelPackageError
        Raised if one cannot be read or used.
    ValueError
        Raised if two have the same name, or a classifier is not known.
    """
    models: list[NamedModel] = []
    for text in specifications:
        label, where = split_label(text)
        package = ModelPackage.read(where)
        classifier = find_classifier(package)
        # Not the name inside the package: two files may be of one training.
        name = label or Path(where).name.removesuffix(SUFFIX)
        if any(model.name == name for model in models):
            raise ValueError(f"two models are called {name!r}; give one a label of its own: LABEL={where}")
        models.append(NamedModel(name, classifier.from_package(package)))
    return models


def make_finders(localizers: Sequence[str], models: Sequence[NamedModel]) -> list[PeakFinder]:
    """List what tells where galaxies are.

    Parameters
    ----------
    localizers
        Models of localisers: each the name of a shipped one, a path or a URI, or one of these after
        ``LABEL=``.
    models
        Models of classifiers.

    Returns
    -------
    finders
        One for each localiser, whose peaks agree with the P(N) of the ensemble if that is among the models,
        else of the first of them; and the candidates of each model that has a map of centres.

    Raises
    ------
    ModelPackageError
        Raised if a model cannot be read or used.
    ValueError
        Raised if two have the same name.
    """
    # The ensemble's P(N) is the best that there is.
    order = sorted(models, key=lambda model: model.classifier.name != EnsembleClassifier.name)
    finders: list[PeakFinder] = []
    for text in localizers:
        label, where = split_label(text)
        package = ModelPackage.read(where)
        name = label or Path(where).name.removesuffix(SUFFIX)
        if any(finder.name == name for finder in finders):
            raise ValueError(f"two localisers are called {name!r}; give one a label: LABEL={where}")
        localizer = find_localizer(package).from_package(package)
        finders.append(LocalizerFinder(name, localizer, order[0].classifier if order else None))
    finders += [
        CandidateFinder(model.name, model.classifier)
        for model in models
        if isinstance(model.classifier, CentersClassifier)
    ]
    return finders


def split_label(text: str) -> tuple[str, str]:
    """Divide what names a model.

    Parameters
    ----------
    text
        The name of a shipped model, a path or a URI, or one of these after ``LABEL=``.

    Returns
    -------
    label, where
        The label, empty if there is none, and the rest.
    """
    # A file whose name has an equals sign is a file.
    label, equals, where = text.partition("=")
    return (label, where) if equals and not Path(text).is_file() else ("", text)


class _Predictor:
    """Runs models on the footprints of one scene after the other."""

    def __init__(
        self, models: Sequence[NamedModel], skip: Callable[[str], None] | None, any_band: bool
    ) -> None:
        # A copy, as models that cannot run are taken out on the way.
        self._models = list(models)
        self._skip = skip
        self._any_band = any_band
        self._parts: dict[str, list[np.ndarray]] = {model.name: [] for model in models}
        self._outside: dict[str, list[np.ndarray]] = {model.name: [] for model in models}

    def __call__(self, samples: FootprintSamples) -> bool:
        """Predict; the images are needed later."""
        for model in list(self._models):
            for context in () if self._any_band else samples.contexts:
                if context.band is not None and not model.package.supports_band(context.band):
                    raise ValueError(
                        f"model {model.name} is for band {', '.join(model.package.bands)}, "
                        f"and the scenes are of band {context.band}; leave it out, take other scenes, or see "
                        "how it does there with --any-band"
                    )
            try:
                self._parts[model.name].append(np.asarray(model.classifier.probabilities(samples)))
            except ImportError as err:
                if self._skip is None:
                    raise type(err)(f"model {model.name}: {err}") from err
                self._skip(f"model {model.name} was left out: {err}")
                self._models.remove(model)
                continue
            self._outside[model.name].append(model.classifier.find_flags(samples)["outside_model_range"])
        return False

    @property
    def predictions(self) -> dict[str, np.ndarray]:
        return {model.name: np.concatenate(self._parts[model.name]) for model in self._models}

    @property
    def outside(self) -> dict[str, np.ndarray]:
        return {model.name: np.concatenate(self._outside[model.name]) for model in self._models}


@dataclass(frozen=True)
class _Scenes:
    """Finds and labels the footprints of one scene, and runs models on them: here or in another process."""

    name: str
    models: Sequence[NamedModel]
    finders: Sequence[PeakFinder]
    snr_min: float
    keep_images: bool
    may_skip: bool
    any_band: bool

    def __call__(self, job: tuple[SceneSource, Settings]) -> tuple[ScoredScenes, list[str]]:
        """Give what was found, and a line on each model that was left out."""
        source, footprints = job
        skipped = list[str]()
        predictor = _Predictor(self.models, skipped.append if self.may_skip else None, self.any_band)
        peaks: dict[str, PeakList] = {}
        expected: dict[str, np.ndarray] = {}

        def run(samples: FootprintSamples) -> bool:
            predictor(samples)
            for finder in self.finders:
                try:
                    peaks[finder.name], number = finder.find(samples)
                    if number is not None:
                        expected[finder.name] = number
                except ImportError as err:
                    if not self.may_skip:
                        raise type(err)(f"{finder.name}: {err}") from err
                    skipped.append(f"{finder.name} were left out: {err}")
            if peaks:
                peaks[DETECTED] = find_detected(samples)
                for key, found in peaks.items():
                    peaks[key] = found if found.magnitude is not None else with_magnitudes(found, samples)
            return not self.keep_images

        labelled = label_scenes([source], footprints, snr_min=self.snr_min, keep_planes=False, prepare=run)
        if labelled.n_unlabelled:
            # Peaks are numbered by footprints of which some were left out.
            peaks, expected = {}, {}
        scored = ScoredScenes(self.name, labelled, predictor.predictions, predictor.outside, peaks, expected)
        return scored, skipped


def score_scenes(
    name: str,
    sources: Sequence[SceneSource],
    models: Sequence[NamedModel],
    footprints: Settings,
    *,
    finders: Sequence[PeakFinder] = (),
    snr_min: float = 5.0,
    keep_images: bool = True,
    any_band: bool = False,
    processes: int = 1,
    skip: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ScoredScenes:
    """Load scenes, find and label their footprints, and run models on them.

    Parameters
    ----------
    name
        What the scenes have in common.
    sources
        The scenes; they are loaded one after the other.
    models
        The models; none for labels alone.
    footprints
        Settings of the footprints, dealt out to the scenes in turn, or a function that gives those of a
        scene.
    finders
        What finds peaks with probabilities (`make_finders`).
    snr_min
        Fainter objects do not count.
    keep_images
        Keep the image and the label image of each scene, for pictures.
    any_band
        Run models on scenes of other bands than theirs, too.
    processes
        Number of processes, each with a scene at a time; the result is the same.
    skip
        Called with a line for each model that needs a package which is not installed; it is left
        out then.  By default that is an error.
    progress
        Called with the number of scenes done and in all.

    Returns
    -------
    scored
        Footprints, truth and predictions.

    Raises
    ------
    ImportError
        Raised if a model needs a package that is not installed.
    ValueError
        Raised if there is no scene, a model is for another band, or no footprint is found.
    """
    if not sources or not footprints:
        raise ValueError("no scene was given to score models on")
    parts, skipped = list[ScoredScenes](), list[str]()
    # A scene a job: images of all scenes would not fit into memory at once.
    jobs = [
        (source, footprints if callable(footprints) else [footprints[i % len(footprints)]])
        for i, source in enumerate(sources)
    ]
    work = _Scenes(name, models, finders, snr_min, keep_images, skip is not None, any_band)
    for part, lines in map_in_order(work, jobs, processes):
        parts.append(part)
        # Each process tells of the same model.
        skipped += [line for line in lines if line not in skipped]
        if progress is not None:
            progress(len(parts), len(sources))
    if skip is not None:
        for line in skipped:
            skip(line)
    scored = ScoredScenes.join(parts)
    if not len(scored.labelled.samples):
        raise ValueError(f"no footprint was found in {name}; there is nothing to score")
    return scored


def score_labelled(
    name: str,
    labelled: LabelledScenes,
    models: Sequence[NamedModel],
    *,
    any_band: bool = False,
    skip: Callable[[str], None] | None = None,
) -> ScoredScenes:
    """Run models on footprints that are labelled, such as stamps.

    Parameters
    ----------
    name
        What they have in common.
    labelled
        The footprints with all images that the models need.
    models
        The models.
    any_band, skip
        As for `score_scenes`.

    Returns
    -------
    scored
        Footprints and predictions.

    Raises
    ------
    ImportError
        Raised if a model needs a package that is not installed.
    ValueError
        Raised if there is no footprint, or a model is for another band.
    """
    if not len(labelled.samples):
        raise ValueError(f"no footprint was found in {name}; there is nothing to score")
    predictor = _Predictor(models, skip, any_band)
    predictor(labelled.samples)
    return ScoredScenes(name, labelled, predictor.predictions, predictor.outside)
