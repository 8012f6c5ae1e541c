# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""``blendid train``: fit a classifier or a localiser and write it as a model package."""

from __future__ import annotations

__all__ = ("train",)

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .._suggest import did_you_mean
from ._common import CommandError, MisuseError, announce, common_options
from ._train_checks import check_fit, check_options, check_output
from ._train_log import TrainingLog, check_checkpoints
from ._train_options import TrainOptions, train_options

if TYPE_CHECKING:
    from ..classifiers import FitOptions
    from ..footprints import FootprintConfig
    from ..model_package import ModelPackage
    from ..model_settings import ModelSettings
    from ..plugin_registry import PluginRegistry
    from ..trained_plugin import TrainedPlugin
    from ..training import LabelledScenes, SceneSource
    from ..training.scenes import Settings
    from ._train_sources import Sources


@click.command()
@train_options
@common_options
def train(o: TrainOptions) -> None:
    """Train a classifier, or a localizer, and write it as a model package.

    It learns from simulated skies, from given coadds whose galaxies are
    known, in files or in a Butler repository, or from stamps.  Use the model
    with 'blendid run --model PACKAGE'.

    Simulated scenes are each of a universe of its own, so that one model holds
    for many sizes of galaxies, seeings and depths; --like makes a model for
    one coadd instead, and --from goes on from a model with a few labels.

    \b
    Examples:
      blendid train --classifier logistic --out my.blendid
      blendid train --classifier features --out my.blendid --scenes 1,2,3,5 --validation-scenes 4,7,8
      blendid train --classifier features --out patch.blendid --like coadd.fits
      blendid train --from my.blendid --out hsc.blendid --coadd hsc.fits --labels labels.ecsv
      blendid train --classifier cnn --out cnn.blendid --checkpoints work --log work
      blendid train --classifier logistic --out my.blendid --butler REPO --collections sim
      blendid train --classifier peaks --out my.blendid --coadd a.fits --truth a.truth.parquet
      blendid train --classifier logistic --out my.blendid --stamps bh --stamp-noise 15 --test-stamps coin
      blendid train --localizer centers --out my-localizer.blendid
    """  # noqa: D301
    if o.path is None or (o.classifier is None and o.localizer is None and o.start is None):
        raise click.UsageError(
            "--classifier and --out are needed, or --localizer and --out, or --from and --out"
        )
    check_options(o)
    check_output(o.path, o.overwrite)
    for folder in (*o.stamp_sets, *o.test_sets):
        if not (Path(folder) / "stamp_set.json").is_file():
            raise CommandError(f"{folder} is not a set of stamps: it has no stamp_set.json")
    try:
        (_ClassifierTraining(o) if o.localizer is None else _LocalizerTraining(o)).run()
    except KeyboardInterrupt:
        if o.checkpoints is not None:
            announce(
                f"Checkpoints are in {o.checkpoints}; repeat the command to go on from the last one.",
                err=True,
            )
        raise


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
        from ..model_package import ModelPackage
        from ._train_settings import apply_overrides

        self.o = o
        self.begin = time.perf_counter()
        self.start = None if o.start is None else ModelPackage.read(o.start)
        self.cls: Any = self._choose()
        self.config: Any = self.cls.ConfigClass()
        apply_overrides(self.config, _own_options(self.cls, o.config_options))
        self.settings = _choose_settings(self.cls, self.start, o.settings)
        # All that could stop the fit after hours of simulation.
        self.untrained = self.cls(self.config, settings=self.settings)
        check_fit(self.untrained, goes_on=self.start is not None)

    @abstractmethod
    def _choose(self) -> type[TrainedPlugin]:
        """Find what is to be trained."""

    @abstractmethod
    def _make_package(
        self, learn: LabelledScenes, held_out: LabelledScenes | None, facts: dict[str, Any]
    ) -> ModelPackage:
        """Fit, and score."""

    @abstractmethod
    def _tell_scores(self, package: ModelPackage) -> None:
        """Show how good the model is."""

    def _check_footprints(self, learn: LabelledScenes) -> None:
        """Refuse footprints that nothing can be learned from, before the fit says so in its own words."""

    def run(self) -> None:
        """Find the scenes, fit, and write the package."""
        o = self.o
        options = self.o.given | {f"--{self.cls.kind}": self.cls.name, "--seed": o.seed}
        # Refuse what cannot work before anything is written.
        sources = None if o.stamp_sets else self._find_sources()
        settings = self._footprint_settings(sources)
        resumed = o.checkpoints is not None and check_checkpoints(o.checkpoints, options)
        self.log = TrainingLog(o.model_name, o.log, options)
        if resumed:
            self.log.say(f"going on from the checkpoints in {o.checkpoints}, as far as there are some")
        if sources is None:
            assert not callable(settings)
            self._run_on_stamps(settings[0], options)
            return
        for note in sources.notes:
            self.log.say(note)
        from ..simulation.progress import stderr_progress
        from ..training import label_scenes
        from ._train_settings import Preparation

        labelled: list[LabelledScenes | None] = []
        with self.log.stage("scenes"):
            for (scenes, kinds), label in (
                # Of simulated scenes there may be too few, too, but each is another piece of sky.
                (
                    _deal_to_few(sources.train, settings) if sources.given else (sources.train, settings),
                    "Scenes",
                ),
                (_deal_to_few(sources.validation, settings), "Validation scenes"),
            ):
                if not scenes:
                    labelled.append(None)
                    continue
                labelled.append(
                    label_scenes(
                        scenes,
                        kinds,
                        snr_min=o.snr_min,
                        keep_planes=self.needs_planes,
                        prepare=Preparation(self.untrained),
                        processes=o.jobs,
                        progress=stderr_progress(label),
                    )
                )
        learn, validation = labelled
        assert learn is not None
        self._check_footprints(learn)
        for note in (*learn.notes, *(() if validation is None else validation.notes)):
            self.log.say(note)
        if learn.n_unlabelled:
            self.log.say(
                f"{learn.n_unlabelled} footprints without label were left out; {len(learn.counts)} have one"
            )
        self._fit(learn, validation, options, sources.recipe, sources.caveat)

    def _find_sources(self) -> Sources:
        from ._train_sources import find_sources

        return find_sources(self.o)

    def _footprint_settings(self, sources: Sources | None) -> Settings:
        """Make the settings of footprints, from those of the start, the scenes and the options."""
        from ..training import footprint_settings, settings_of_model
        from ..training.stamps import stamp_footprints
        from ._train_settings import SettingsOfRun, apply_overrides

        o = self.o
        options = [one.removeprefix(_PREFIX) for one in o.config_options if one.startswith(_PREFIX)]
        chosen = [one.partition("=")[2] for one in options if one.startswith("noiseSource=")]
        settings: list[FootprintConfig]
        if o.stamp_sets:
            settings = [stamp_footprints()]
        elif o.noise or chosen:
            noise = o.noise or chosen[-1]
            settings = footprint_settings(noise if noise in ("clipped", "variance") else "both")
        elif sources is not None and (sources.given or sources.like is not None):
            of_run = SettingsOfRun(tuple(options), self.start)
            of_run.check()
            if sources.like is None:
                return of_run
            has_variance, has_sky = sources.like
            return [of_run.choose(o.like or "", has_variance=has_variance, has_sky=has_sky)]
        else:
            settings = footprint_settings() if self.start is None else settings_of_model(self.start)
        for one in settings:
            apply_overrides(one, options)
        return settings

    def _fit_options(self) -> FitOptions:
        from ..classifiers import FitOptions

        return FitOptions(seed=self.o.seed, folder=self.o.checkpoints, report=self.log.say)

    def _fit(
        self,
        learn: LabelledScenes,
        held_out: LabelledScenes | None,
        options: dict[str, Any],
        recipe: dict[str, Any],
        caveat: str = "",
    ) -> ModelPackage:
        """Fit, and write the package."""
        with self.log.stage("fit"):
            package = self._make_package(learn, held_out, {"recipe": recipe, "options": options})
        package.metadata["training"]["seconds"] = self.log.seconds
        assert self.o.path is not None
        package.write(self.o.path)
        training = package.metadata["training"]
        click.echo(
            f"{self.o.path}: trained on {training['n_footprints']} footprints, "
            f"{time.perf_counter() - self.begin:.1f} s"
        )
        if caveat:
            self.log.say(caveat)
        self._tell_scores(package)
        self.log.finish(package)
        return package

    def _run_on_stamps(self, footprints: FootprintConfig, options: dict[str, Any]) -> None:
        """Train on stamps, and tell how well it does on the test stamps of sets."""
        from ._train_stamps import Stamps, look_at_stamps

        o = self.o
        said: set[str] = set()

        def say_once(line: str) -> None:
            if line not in said:
                said.add(line)
                self.log.say(line)

        stamps = Stamps(o.levels, o.unit, footprints, o.snr_min, say_once)
        with self.log.stage("stamps"):
            learn = stamps.label(o.stamp_sets, "train")
            if learn is None:
                raise CommandError(f"no stamps for training in {', '.join(o.stamp_sets)}")
            held_out = stamps.label(o.stamp_sets, "validation")
        if (
            o.unit == "stamp"
            and self.start is None
            and not any(option.startswith("cutout.size=") for option in o.settings)
        ):
            self.settings = look_at_stamps(self.settings, learn)
        package = self._fit(learn, held_out, options, {"kind": "stamps", "unit": o.unit})
        for folder in o.test_sets:
            click.echo(stamps.test(package, folder))


class _ClassifierTraining(_Training):
    """Trains a classifier."""

    def __init__(self, o: TrainOptions) -> None:
        from ..training.fine_tuning import check_tunable

        super().__init__(o)
        self.needs_planes = self.cls.needs_planes
        if self.start is not None:
            # A model that cannot be used is refused here, and not after minutes.
            self.cls.from_package(self.start)
            check_tunable(self.start, self.settings)
        elif self.cls.needs_centers and (o.labels or o.stamp_sets):
            raise MisuseError(
                f"the classifier {self.cls.name!r} learns from the places of galaxies, which "
                f"{'--labels' if o.labels else '--stamps'} do not tell: give --truth tables, or go on from a "
                "model with --from"
            )

    def _choose(self) -> type[TrainedPlugin]:
        from ..classifiers import classifier_registry

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
        return _find_plugin(classifier_registry, "classifier", name)

    def _check_footprints(self, learn: LabelledScenes) -> None:
        _check_kinds(learn)

    def _make_package(
        self, learn: LabelledScenes, held_out: LabelledScenes | None, facts: dict[str, Any]
    ) -> ModelPackage:
        from ..simulation.progress import stderr_progress
        from ..training import train_classifier

        return train_classifier(
            self.cls.name,
            learn,
            validation=held_out,
            settings=self.settings,
            start=self.start,
            model_name=self.o.model_name,
            options=self._fit_options(),
            calibration=None if self.o.calibration == "none" else self.o.calibration,
            folds=self.o.folds,
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


class _LocalizerTraining(_Training):
    """Trains a localiser."""

    def _choose(self) -> type[TrainedPlugin]:
        from ..localizers import localizer_registry

        assert self.o.localizer is not None
        return _find_plugin(localizer_registry, "localizer", self.o.localizer)

    def _make_package(
        self, learn: LabelledScenes, held_out: LabelledScenes | None, facts: dict[str, Any]
    ) -> ModelPackage:
        from ..training import train_localizer

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


_PREFIX = "footprints."


def _find_plugin(registry: PluginRegistry[Any], kind: str, name: str) -> type[TrainedPlugin]:
    """Find a classifier or localiser of a name."""
    if name not in registry:
        known = ", ".join(sorted(registry))
        raise MisuseError(f"unknown {kind} {name!r}{did_you_mean(name, registry)}; known are {known}")
    found: type[TrainedPlugin] = registry[name]
    return found


def _own_options(cls: type[TrainedPlugin], options: Sequence[str]) -> list[str]:
    """Overrides that are not of the footprints; a fit of a classifier looks at none of its config."""
    own = [one for one in options if not one.startswith(_PREFIX)]
    if own and cls.kind == "classifier":
        name, _, value = own[0].partition("=")
        now = cls.SettingsClass.old_names.get(name)
        hint = f"--set {now}={value}" if now else "--set NAME=VALUE"
        raise MisuseError(
            f"config option {own[0]!r}: settings of a classifier are given by {hint}; --config-option is for "
            f"fields of the footprints, such as {_PREFIX}thresholdValue=6"
        )
    return own


def _choose_settings(
    cls: type[TrainedPlugin], start: ModelPackage | None, options: Sequence[str]
) -> ModelSettings:
    """Settings of a fit: the default ones or those of a model, with what ``--set`` changes."""
    from ..model_settings import SettingsError

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


def _deal_to_few(scenes: Sequence[SceneSource], settings: Settings) -> tuple[Sequence[SceneSource], Settings]:
    """Take each of a few scenes with each of the settings, so that none of these is left out."""
    if callable(settings):
        return scenes, settings
    kinds = [one for i, one in enumerate(settings) if one not in settings[:i]]
    if len(scenes) >= len(settings):
        return scenes, settings
    return [scene for scene in scenes for _ in kinds], kinds
