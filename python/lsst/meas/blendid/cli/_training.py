# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What ``blendid train`` does once its options are understood."""

from __future__ import annotations

__all__ = ("ClassifierTraining", "LocalizerTraining")

import dataclasses
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from .._progress import stderr_progress
from .._suggest import did_you_mean
from ..classifiers import FitOptions, classifier_registry
from ..localizers import localizer_registry
from ..model_package import ModelPackage
from ..model_settings import ModelSettings, SettingsError
from ..training import (
    LabelledScenes,
    SceneData,
    SceneRecipe,
    StampData,
    TrainingConfig,
    footprint_settings,
    measure_coadd,
    settings_of_model,
    train_classifier,
    train_localizer,
)
from ..training.data import FEWEST_TO_SPLIT
from ..training.fine_tuning import check_tunable
from ..training.stamps import stamp_footprints
from ._common import CommandError, MisuseError, describe_error
from ._data import SettingsOfRun, apply_overrides, check_data_options, open_data, split_overrides
from ._train_log import TrainingLog, check_checkpoints
from .train import TrainOptions

if TYPE_CHECKING:
    from ..footprints import FootprintConfig
    from ..plugin_registry import PluginRegistry
    from ..samples import FootprintSamples
    from ..trained_plugin import TrainedPlugin
    from ..training.scenes import Settings
    from ..training.simulated import CoaddProperties

_N_SKIES = 16
"""Skies that are simulated without DATA."""

_LARGEST_CUTOUT = 51
"""Pixels; larger cutouts take minutes to be decomposed."""


class _Training(ABC):
    """One training run.

    Parameters
    ----------
    o
        Options that make sense together.
    """

    needs_planes = True
    """Whether what is trained looks at other images than the one that cutouts are made of."""

    def __init__(self, o: TrainOptions) -> None:
        self.o = o
        self.begin = time.perf_counter()
        self.start = None if o.start is None else ModelPackage.read(o.start)
        self.cls: Any = self._choose()
        self.footprint_options, others = split_overrides(o.config_options)
        names = tuple(TrainingConfig._fields)
        self.training = TrainingConfig()
        apply_overrides(self.training, [one for one in others if one.partition("=")[0].strip() in names])
        self.config: Any = self.cls.ConfigClass()
        self._configure([one for one in others if one.partition("=")[0].strip() not in names])
        self.settings = _choose_settings(self.cls, self.start, o.settings)
        # All that could stop the fit after hours of simulation.
        self.untrained = self.cls(self.config, settings=self.settings)
        _check_fit(self.untrained, goes_on=self.start is not None)

    @abstractmethod
    def _choose(self) -> type[TrainedPlugin]:
        """Find what is to be trained."""

    @abstractmethod
    def _configure(self, options: Sequence[str]) -> None:
        """Take the options of ``-c`` that are neither of the training nor of the footprints."""

    @abstractmethod
    def _make_package(
        self, learn: LabelledScenes, held_out: LabelledScenes | None, facts: dict[str, Any]
    ) -> ModelPackage:
        """Fit, and score."""

    @abstractmethod
    def _tell_scores(self, package: ModelPackage) -> None:
        """Show how good the model is."""

    @abstractmethod
    def _explain_no_scores(self) -> str:
        """Say what follows if nothing is held out."""

    def _check_data(self, data: SceneData | StampData) -> None:
        """Refuse data that nothing can be learned from, before they are read."""

    def _check_footprints(self, learn: LabelledScenes) -> None:
        """Refuse footprints that nothing can be learned from, before the fit says so in its own words."""

    def run(self) -> None:
        """Find the data, fit, and write the package."""
        o = self.o
        options = o.given | {f"--{self.cls.kind}": self.cls.name, "--seed": o.seed}
        # Refuse what cannot work before anything is written.
        check_data_options(o.data, self.training, others=o.validation, like=o.like is not None)
        like = self._measure_like()
        data = self._find_data(like)
        self._check_data(data)
        train, held_out = self._split(data)
        settings = self._footprint_settings(data, like)
        resumed = o.checkpoints is not None and check_checkpoints(o.checkpoints, options)
        self.log = TrainingLog(o.model_name, o.checkpoints, options)
        if resumed:
            self.log.say(f"going on from the checkpoints in {o.checkpoints}, as far as there are some")
        self._tell(data, held_out, like)
        with self.log.stage("scenes"):
            learn = self._label(train, settings, "Scenes")
            validation = None if held_out is None else self._label(held_out, settings, "Validation scenes")
        self._check_footprints(learn)
        for note in (*learn.notes, *(() if validation is None else validation.notes)):
            self.log.say(note)
        if learn.n_unlabelled:
            self.log.say(
                f"{learn.n_unlabelled} footprints without label were left out; {len(learn.counts)} have one"
            )
        if isinstance(data, StampData):
            self._look_at_stamps(learn)
        recipe = train.facts
        if held_out is not None and o.validation:
            recipe = recipe | {"validation": held_out.facts}
        facts = {"recipe": recipe, "options": options}
        self._fit(learn, validation, facts, self._find_caveat(data, held_out))

    def _find_caveat(self, data: SceneData | StampData, held_out: SceneData | StampData | None) -> str:
        """What the user should know of the model of given coadds if none of these was held out."""
        if isinstance(data, StampData) or not data.is_given or held_out is not None:
            return ""
        n, n_skies = len(data.sources), len(set(data.skies))
        reason = "no coadd is held out"
        if n_skies < FEWEST_TO_SPLIT:
            of_sky = "" if n_skies == n else f" of {n_skies} {'piece' if n_skies == 1 else 'pieces'} of sky"
            reason = f"{'1 coadd is' if n == 1 else f'{n} coadds{of_sky} are'} too few to hold some out"
        return f"{reason}: {self._explain_no_scores()}"

    def _measure_like(self) -> CoaddProperties | None:
        """Measure the coadd that skies are to be simulated like."""
        o = self.o
        if o.like is None:
            return None
        reading = {name: getattr(o.data, name) for name in ("psf_fwhm", "pixel_scale", "zero_point")}
        return measure_coadd(o.like, **reading)

    def _find_data(self, like: CoaddProperties | None) -> SceneData | StampData:
        """Find what is learned from."""
        if self.o.data.data:
            return open_data(self.o.data, self.training, "train", like=like)
        recipe = SceneRecipe(skies=_N_SKIES, vary=True, seed=self.o.seed)
        return SceneData.simulated([recipe], like=like)

    def _split(
        self, data: SceneData | StampData
    ) -> tuple[SceneData | StampData, SceneData | StampData | None]:
        """Find what the model is calibrated and scored on."""
        o = self.o
        if o.validation and self.training.validationShare != TrainingConfig().validationShare:
            raise MisuseError("-c validationShare goes without --validation, which names what is held out")
        if not o.validation:
            return data.hold_out(self.training.validationShare)
        if isinstance(data, StampData):
            raise MisuseError("--validation goes without sets of stamps, which have their own")
        held_out = open_data(o.data.select(o.validation), self.training, "validation")
        if isinstance(held_out, StampData):
            raise MisuseError(f"--validation {', '.join(o.validation)}: stamps go with a model of stamps")
        return data, held_out

    def _footprint_settings(self, data: SceneData | StampData, like: CoaddProperties | None) -> Settings:
        """Make the settings of footprints, from those of the start, the data and the options."""
        options = self.footprint_options
        chosen = [one.partition("=")[2] for one in options if one.partition("=")[0] == "noiseSource"]
        noise = self.training.noise or (chosen[-1] if chosen else None)
        settings: list[FootprintConfig]
        if isinstance(data, StampData):
            if self.training.noise is not None:
                raise MisuseError("-c noise goes without sets of stamps, whose noise is known")
            settings = [stamp_footprints()]
        elif noise is not None:
            settings = footprint_settings(noise if noise in ("clipped", "variance") else "both")
        elif data.is_given or like is not None:
            of_run = SettingsOfRun(tuple(options), self.start)
            of_run.check()
            if like is None:
                return of_run
            return [of_run.choose(like.name, has_variance=like.has_variance, has_sky=like.has_sky)]
        else:
            settings = footprint_settings() if self.start is None else settings_of_model(self.start)
        for one in settings:
            apply_overrides(one, options)
        return settings

    def _tell(
        self,
        data: SceneData | StampData,
        held_out: SceneData | StampData | None,
        like: CoaddProperties | None,
    ) -> None:
        """Say what of the data the user should know."""
        if like is not None:
            depth = "?" if like.noise_sigma is None else f"{like.noise_sigma:.4g} nJy"
            source = "variance plane" if like.has_variance else "pixels"
            self.log.say(
                f"{like.name}: band {like.band}, seeing {like.fwhm:.3f} arcsec, noise {depth} per pixel of "
                f"{like.pixel_scale:.3f} arcsec (from the {source})"
            )
            if like.noise_sigma is None:
                self.log.say(
                    f"{like.name} has no unit of flux, so its depth is not known: the scenes get that of the "
                    f"survey in band {like.band}; give --zero-point MAG (AB magnitude of one unit) to have "
                    "its own"
                )
        if isinstance(data, StampData):
            for part in (data, held_out):
                for folder, levels in part.added_noise.items() if isinstance(part, StampData) else ():
                    self.log.say(
                        f"{folder}: noise of {', '.join(f'{one:g}' for one in levels)} is added, as the set "
                        "names it (-c stampNoise for another)"
                    )

    def _label(self, data: SceneData | StampData, settings: Settings, title: str) -> LabelledScenes:
        """Find and label footprints."""
        return data.label(
            settings,
            snr_min=self.training.snrMin,
            keep_planes=self.needs_planes,
            prepare=_Preparation(self.untrained),
            processes=self.o.jobs,
            progress=stderr_progress(title),
        )

    def _look_at_stamps(self, stamps: LabelledScenes) -> None:
        """Make cutouts as large as stamps that are taken as a whole, up to a size that is decomposed fast."""
        chosen = any(option.startswith("cutout.size=") for option in self.o.settings)
        settings: Any = self.settings
        cutout = getattr(settings, "cutout", None)
        if self.training.stampUnit != "stamp" or self.start is not None or chosen or cutout is None:
            return
        size = min(int(stamps.samples.area.max() ** 0.5) // 2 * 2 + 1, _LARGEST_CUTOUT)
        self.settings = dataclasses.replace(settings, cutout=dataclasses.replace(cutout, size=size))

    def _fit_options(self) -> FitOptions:
        return FitOptions(seed=self.o.seed, folder=self.o.checkpoints, report=self.log.say)

    def _fit(
        self, learn: LabelledScenes, held_out: LabelledScenes | None, facts: dict[str, Any], caveat: str
    ) -> None:
        """Fit, and write the package."""
        with self.log.stage("fit"):
            package = self._make_package(learn, held_out, facts)
        package.metadata["training"]["seconds"] = self.log.seconds
        package.write(self.o.path)
        n = package.metadata["training"]["n_footprints"]
        click.echo(f"{self.o.path}: trained on {n} footprints, {time.perf_counter() - self.begin:.1f} s")
        if caveat:
            self.log.say(caveat)
        self._tell_scores(package)
        self.log.finish(package)


class ClassifierTraining(_Training):
    """Trains a classifier."""

    def __init__(self, o: TrainOptions) -> None:
        super().__init__(o)
        self.needs_planes = self.cls.needs_planes
        if self.start is not None:
            # A model that cannot be used is refused here, and not after minutes.
            self.cls.from_package(self.start)
            check_tunable(self.start, self.settings)

    def _choose(self) -> type[TrainedPlugin]:
        name = self.o.classifier
        if self.start is not None:
            if self.start.kind != "classifier":
                raise MisuseError(
                    f"{self.o.start} is a model of a {self.start.kind}, which learns anew from scenes: leave "
                    f"out --from and give --{self.start.kind} {self.start.classifier}"
                )
            if name not in (None, self.start.classifier):
                raise MisuseError(
                    f"{self.o.start} is a model of the classifier {self.start.classifier!r}, not {name!r}; "
                    "leave out --classifier"
                )
            name = self.start.classifier
        assert name is not None
        return _find_plugin(classifier_registry, name)

    def _configure(self, options: Sequence[str]) -> None:
        """Refuse them: a fit of a classifier looks at none of its config."""
        if not options:
            return
        name, _, value = options[0].partition("=")
        now = self.cls.SettingsClass.find_renamed(name)
        hint = f"--set {now}={value}" if now else "--set NAME=VALUE"
        if not now and (meant := did_you_mean(name, TrainingConfig._fields)):
            raise MisuseError(f"config option {options[0]!r}: there is no field {name!r}{meant}")
        raise MisuseError(
            f"config option {options[0]!r}: settings of a classifier are given by {hint}; --config-option is "
            f"for {', '.join(TrainingConfig._fields)}, and for fields of the footprints, such as "
            "footprints.thresholdValue=6"
        )

    def _check_data(self, data: SceneData | StampData) -> None:
        if self.start is None and self.cls.needs_centers and (told := _tells_no_places(data)):
            raise MisuseError(
                f"the classifier {self.cls.name!r} learns from the places of galaxies, which {told} do not "
                "tell: give --truth tables, or go on from a model with --from"
            )

    def _check_footprints(self, learn: LabelledScenes) -> None:
        _check_kinds(learn)

    def _explain_no_scores(self) -> str:
        scores = "its scores are cross-validated" if self.training.nFolds else "its package has no scores"
        # A model that is gone on from is calibrated by going on.
        return f"{'' if self.start else 'the model is not calibrated, and '}{scores}"

    def _make_package(
        self, learn: LabelledScenes, held_out: LabelledScenes | None, facts: dict[str, Any]
    ) -> ModelPackage:
        return train_classifier(
            self.cls.name,
            learn,
            validation=held_out,
            settings=self.settings,
            start=self.start,
            model_name=self.o.model_name,
            options=self._fit_options(),
            calibration=None if self.training.calibration == "none" else self.training.calibration,
            folds=self.training.nFolds,
            facts=facts,
            progress=stderr_progress("Cross-validation"),
        )

    def _tell_scores(self, package: ModelPackage) -> None:
        """Show the scores, beside those of the model that it went on from."""
        validation = package.metadata["validation"]
        scores = validation.get("scores")
        if not scores:
            return
        click.echo(f"validation: {_describe(scores)} ({validation['estimate']})")
        before = validation.get("start")
        if before is None:
            if scores["cross_entropy"] >= math.log(2.0):
                self.log.say(
                    "Warning: the model is of no use here: p = 0.5 for all footprints has a cross-entropy of "
                    f"{math.log(2.0):.4f}; give it more footprints, or take another classifier"
                )
            return
        click.echo(f"{before['name']} on the same footprints: {_describe(before['scores'])}")
        now, then = scores["cross_entropy"], before["scores"]["cross_entropy"]
        if now > then:
            self.log.say(
                f"Warning: the new model is worse than {before['name']} here (cross-entropy {now:.4f}, was "
                f"{then:.4f}): give more labels, or keep {before['name']}"
            )


class LocalizerTraining(_Training):
    """Trains a localiser."""

    def _choose(self) -> type[TrainedPlugin]:
        assert self.o.localizer is not None
        return _find_plugin(localizer_registry, self.o.localizer)

    def _configure(self, options: Sequence[str]) -> None:
        apply_overrides(self.config, options)
        for name in ("calibration", "nFolds"):
            if any(one.partition("=")[0].strip() == name for one in self.o.config_options):
                raise MisuseError(
                    f"-c {name} goes without --localizer, whose probabilities are calibrated in its fit and "
                    "scored on what is held out"
                )

    def _check_data(self, data: SceneData | StampData) -> None:
        if told := _tells_no_places(data):
            raise MisuseError(
                f"a localizer learns from the places of galaxies, which {told} do not tell: give coadds with "
                "--truth tables"
            )

    def _explain_no_scores(self) -> str:
        return "its package has no scores"

    def _make_package(
        self, learn: LabelledScenes, held_out: LabelledScenes | None, facts: dict[str, Any]
    ) -> ModelPackage:
        return train_localizer(
            self.cls.name,
            learn,
            validation=held_out,
            config=self.config,
            settings=self.settings,
            model_name=self.o.model_name,
            options=self._fit_options(),
            facts=facts,
        )

    def _tell_scores(self, package: ModelPackage) -> None:
        """Show the scores, if scenes were held out."""
        scores = package.metadata["validation"].get("scores")
        if not scores:
            return
        names = {
            "cross_entropy": "cross-entropy of positions",
            "calibration_slope": "calibration slope",
            "matched_share": "share of galaxies with a position",
            "inside_ellipse": "share of them in the ellipse of 68 %",
        }
        told = [f"{text} {scores[name]:.4f}" for name, text in names.items() if scores[name] is not None]
        click.echo(f"validation: {', '.join(told)}")


def _tells_no_places(data: SceneData | StampData) -> str:
    """What of the data has numbers of galaxies only."""
    if isinstance(data, StampData):
        return "stamps"
    return "--labels" if any(getattr(one, "labels", None) for one in data.sources) else ""


class _Preparation:
    """Computes what is needed of the pixels of a scene; another process makes the plugin anew.

    Parameters
    ----------
    plugin
        The classifier or localiser before its fit.
    """

    def __init__(self, plugin: TrainedPlugin) -> None:
        self._plugin = plugin

    def __call__(self, samples: FootprintSamples) -> bool:
        """Prepare the footprints of a scene."""
        return self._plugin.prepare(samples)

    def __reduce__(self) -> tuple[Any, ...]:
        plugin = self._plugin
        return _prepare_anew, (plugin.kind, plugin.name, plugin.config, plugin.settings)


def _prepare_anew(kind: str, name: str, config: Any, settings: ModelSettings) -> _Preparation:
    cls: Any = (classifier_registry if kind == "classifier" else localizer_registry)[name]
    return _Preparation(cls(config, settings=settings))


def _find_plugin(registry: PluginRegistry[Any], name: str) -> type[TrainedPlugin]:
    """Find a classifier or localiser of a name."""
    if name not in registry:
        raise MisuseError(registry.describe_unknown(name))
    found: type[TrainedPlugin] = registry[name]
    return found


def _choose_settings(
    cls: type[TrainedPlugin], start: ModelPackage | None, options: Sequence[str]
) -> ModelSettings:
    """Settings of a fit: the default ones or those of a model, with what ``--set`` changes."""
    settings: ModelSettings = cls.SettingsClass() if start is None else cls.settings_from_package(start)
    try:
        return settings.with_options(options)
    except SettingsError as err:
        raise MisuseError(f"--set {err}") from err


def _describe(scores: dict[str, Any]) -> str:
    """Say how good a model is."""
    names = {"balanced_accuracy": "balanced accuracy", "cross_entropy": "cross-entropy", "auc": "AUC"}
    return ", ".join(f"{text} {scores[name]:.4f}" for name, text in names.items())


def _check_kinds(learn: LabelledScenes) -> None:
    """Refuse footprints of one kind, with what became of their labels."""
    blended, n = int((learn.counts > 1).sum()), len(learn.counts)
    if 0 < blended < n:
        return
    left_out = f" ({learn.n_unlabelled} without label were left out)" if learn.n_unlabelled else ""
    lost = f"; {'; '.join(learn.notes)}" if learn.notes else ""
    raise CommandError(
        f"{blended} of {n} footprints to learn from are blended{left_out}, and both kinds are needed: give "
        f"more scenes or labels{lost}"
    )


def _check_fit(plugin: TrainedPlugin, *, goes_on: bool) -> None:
    """Refuse to start what lacks something that it is fitted with."""
    try:
        plugin.check_fit(goes_on=goes_on)
    except ValueError as err:
        raise MisuseError(describe_error(err)) from err
    except ImportError as err:
        raise CommandError(describe_error(err)) from err
