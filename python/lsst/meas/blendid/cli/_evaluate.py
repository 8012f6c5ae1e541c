# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What ``blendid evaluate`` does once its options are understood."""

from __future__ import annotations

__all__ = ("Request", "run_evaluation")

import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from ._common import CommandError, MisuseError, announce, make_output_folder
from ._data import DataOptions, SettingsOfRun, apply_overrides, check_data_options, open_data, split_overrides

if TYPE_CHECKING:
    from ..evaluation.peak_finders import PeakFinder
    from ..evaluation.scored_scenes import NamedModel, ScoredScenes
    from ..footprints import FootprintConfig
    from ..training import LabelConfig, LabelledScenes, SceneData, SceneRecipe, StampData

_N_SKIES = 4
_N_VARIED = 8
"""Skies that baselines are fitted to; more where each is another one."""
_SEED = 1000
_BOTH_LABELS = (5.0, 4.0)
"""Least S/N of the galaxies that count, for --both-labels."""
_SEP = "sep"
"""Name of the classifier that is a baseline here."""
OUTPUTS = ("report.html", "scores.json", "scores.ecsv", "predictions.parquet")


@dataclass(frozen=True)
class Request:
    """Options of the command."""

    data: DataOptions
    baseline: tuple[str, ...]
    models: tuple[str, ...]
    reference: str
    both_labels: bool
    bootstrap: int
    config_options: tuple[str, ...]
    any_band: bool
    jobs: int
    out: Path
    overwrite: bool

    @property
    def with_sep(self) -> bool:
        """Whether SExtractor's deblending is scored, a model that needs no package."""
        return _SEP in self.models

    def make_config(self) -> LabelConfig:
        """Make the config of the labels.

        Raises
        ------
        MisuseError
            Raised for options that are not understood or make no sense.
        """
        from ..training import LabelConfig

        config = LabelConfig()
        apply_overrides(config, split_overrides(self.config_options)[1])
        if self.both_labels and config.snrMin != LabelConfig().snrMin:
            raise MisuseError("--both-labels scores with S/N 5 and 4; leave out one of it and -c snrMin")
        if config.noise == "both":
            raise MisuseError("-c noise=both is for training; scores are with one of clipped and variance")
        return config

    def check_output(self) -> None:
        """Refuse an output that could not be written, before any work is done.

        Raises
        ------
        CommandError
            Raised if files are in the way.
        """
        make_output_folder(self.out)
        for name in OUTPUTS:
            if (self.out / name).exists() and not self.overwrite:
                raise CommandError(f"{self.out / name} exists; choose another --out or give --overwrite")


@dataclass(frozen=True)
class _Group:
    """Data of one section of the report, and those that baselines are fitted to; `None` to cross-fit."""

    name: str
    data: SceneData | StampData
    baseline: SceneData | StampData | None
    baseline_text: str


def _find_footprints(
    request: Request, config: LabelConfig, data: SceneData | StampData
) -> FootprintConfig | SettingsOfRun:
    """Settings of the footprints; those of given coadds are as 'run' takes them."""
    from ..footprints import FootprintConfig
    from ..training import StampData, clipped_footprints
    from ..training.stamps import stamp_footprints

    options, _ = split_overrides(request.config_options)
    if isinstance(data, StampData):
        footprints = stamp_footprints()
    elif data.is_given and config.noise is None:
        of_run = SettingsOfRun(tuple(options), None)
        of_run.check()
        return of_run
    else:
        footprints = FootprintConfig() if config.noise == "variance" else clipped_footprints()
    apply_overrides(footprints, options)
    return footprints


def _make_groups(request: Request, config: LabelConfig) -> list[_Group]:
    """What is to be scored, in the order of the report."""
    from ..training import FileScene, LabelConfig, SceneRecipe, StampData

    baseline = None
    if request.baseline:
        others = open_data(request.data.select(request.baseline), config, "baseline")
        assert not isinstance(others, StampData)
        baseline = others
    if not request.data.data:
        return _simulated_groups("", SceneRecipe(skies=_N_SKIES, seed=_SEED), baseline)
    data = open_data(request.data, config, "test")
    if isinstance(data, StampData):
        if baseline is not None:
            raise MisuseError("--baseline goes without sets of stamps, which have their own")
        if data.unit == "stamp" and (request.both_labels or config.snrMin != LabelConfig().snrMin):
            raise MisuseError("stamps as a whole have one label; leave out --both-labels and -c snrMin")
        return [_Group("stamps", data, data.select("train"), "the training stamps of the same sets")]
    if data.is_given:
        if labels := [one.labels for one in data.sources if isinstance(one, FileScene) and one.labels]:
            raise MisuseError(f"{labels[0]}: scores need true galaxies, a table STEM.truth.* or --truth")
        cross = "each footprint by a fit to the other blocks of sky of the same scenes"
        return [
            _Group(
                "coadds",
                data,
                baseline,
                cross if baseline is None else f"{len(baseline.sources)} other scenes",
            )
        ]
    groups = []
    for path in request.data.data:
        name = f"{Path(path).stem}, " if len(request.data.data) > 1 else ""
        groups += _simulated_groups(name, SceneRecipe.read(os.path.expanduser(path)), baseline)
    return groups


def _simulated_groups(prefix: str, recipe: SceneRecipe, baseline: SceneData | None) -> list[_Group]:
    """Sections of a recipe: one for each galaxy size, or one of skies that differ in all."""
    from ..training import SceneData

    parts = (
        [recipe]
        if recipe.vary
        else [
            # Other skies for each size, as far as they are drawn.
            dataclasses.replace(recipe, sizes=(size,), seed=recipe.seed + max(100, recipe.n_scenes) * k)
            for k, size in enumerate(recipe.size_models)
        ]
    )
    groups = []
    for part in parts:
        fit, text = baseline, "" if baseline is None else f"{len(baseline.sources)} other scenes"
        if fit is None:
            n = max(part.skies, _N_VARIED) if part.vary else _N_SKIES
            others = dataclasses.replace(part, skies=n, truths=(), split=None, draws=1)
            fit = SceneData.simulated([others], role="baseline")
            same = "ranges of galaxies, seeing and depth" if part.vary else "galaxies, seeing and depth"
            text = f"{len(fit.sources)} other scenes with the same {same}"
        name = f"{prefix}{'varied' if part.vary else part.sizes[0]}"
        groups.append(_Group(name, SceneData.simulated([part], role="test"), fit, text))
    return groups


def run_evaluation(request: Request, command: str) -> None:
    """Score models and write the tables and the report.

    Parameters
    ----------
    request
        What to do.
    command
        The command as it was typed, for the report.
    """
    config = request.make_config()
    check_data_options(request.data, config, others=request.baseline)
    request.check_output()

    from .. import __version__
    from .._progress import stderr_progress
    from ..evaluation.baselines import SEP
    from ..evaluation.report import render_comparison_report
    from ..evaluation.scored_scenes import load_models, make_finders
    from ..evaluation.section import make_section, write_scores

    start = time.perf_counter()
    groups = _make_groups(request, config)
    named, localizers = _split_models(request)
    models = load_models(named)
    finders = make_finders(localizers, models)
    _check_reference(request, models)
    sections = []
    for group in groups:
        footprints = _find_footprints(request, config, group.data)
        for scored in _score(request, config, group, models, finders, footprints):
            models = [model for model in models if model.name in scored.predictions]
            section = make_section(
                scored,
                models,
                reference=request.reference,
                bootstrap=request.bootstrap,
                baseline=group.baseline_text,
                progress=stderr_progress("Scores"),
            )
            sections.append(section)
            comparison = section.comparison
            scenes = f"{comparison.n_scenes} scene{'' if comparison.n_scenes == 1 else 's'}"
            announce(f"{section.title}: {comparison.n_footprints} footprints of {scenes}")
            click.echo(comparison.format())
            if section.peaks is not None:
                click.echo(section.peaks.format())
            for note in section.notes:
                announce(f"Warning: {note}", err=True)
    facts = {"command": command, "version": __version__}
    made_by = f"lsst.meas.blendid {__version__}, {time.perf_counter() - start:.0f} s"
    page = render_comparison_report(
        sections, [model.name for model in models] or [SEP], command=command, made_by=made_by
    )
    paths = write_scores(request.out, sections, facts=facts, page=page)
    announce(f"{paths[-1]}: {time.perf_counter() - start:.1f} s")


def _split_models(request: Request) -> tuple[list[str], list[str]]:
    """Models of classifiers and of localisers that are to be scored."""
    from ..evaluation.scored_scenes import split_label
    from ..model_package import ModelPackage, list_shipped

    if not request.models:
        current = (list(list_shipped(kind, current=True)) for kind in ("classifier", "localizer"))
        return next(current), next(current)
    named: dict[str, list[str]] = {"classifier": [], "localizer": []}
    for text in request.models:
        if text != _SEP:
            named[ModelPackage.read(split_label(text)[1]).kind].append(text)
    if named["localizer"] and not named["classifier"]:
        raise MisuseError(
            "the peaks of a localiser agree with P(N) of a classifier; name a --model of one as well"
        )
    return named["classifier"], named["localizer"]


def _check_reference(request: Request, models: Sequence[NamedModel]) -> None:
    """Refuse a reference that there will be no scores of, and models that are called as a baseline."""
    from ..evaluation.baselines import all_baselines

    names, scored = list(all_baselines(request.with_sep)), [model.name for model in models]
    if taken := [name for name in scored if name in names]:
        raise MisuseError(f"{taken[0]!r} is the name of a baseline; give the model another LABEL=")
    if request.reference not in (*scored, *names):
        raise MisuseError(f"--reference {request.reference!r} is none of {', '.join((*scored, *names))}")


def _skip(request: Request) -> Callable[[str], None] | None:
    """What to do without a package that a model needs: nothing, if the model was asked for."""
    return None if request.models else lambda line: announce(f"Warning: {line}", err=True)


def _score(
    request: Request,
    config: LabelConfig,
    group: _Group,
    models: Sequence[NamedModel],
    finders: Sequence[PeakFinder],
    footprints: FootprintConfig | SettingsOfRun,
) -> Iterator[ScoredScenes]:
    """Run models and baselines, with each label in turn."""
    from .._progress import stderr_progress
    from ..evaluation.scored_scenes import score_labelled, score_scenes
    from ..footprints import FootprintConfig
    from ..training import StampData

    labels = _BOTH_LABELS if request.both_labels else (config.snrMin,)
    settings = [footprints] if isinstance(footprints, FootprintConfig) else footprints
    if isinstance(group.data, StampData):
        # Stamps are labelled anew for each limit: they keep no truth that could be counted again.
        planes = any(model.classifier.needs_planes for model in models)
        for label in labels:
            labelled = group.data.label(
                settings, snr_min=label, keep_planes=planes, progress=stderr_progress("Stamps for tests")
            )
            fit = (
                None
                if group.baseline is None
                else group.baseline.label(
                    settings,
                    snr_min=label,
                    keep_planes=False,
                    progress=stderr_progress("Stamps for baselines"),
                )
            )
            scored = score_labelled(
                group.name, labelled, models, any_band=request.any_band, skip=_skip(request)
            )
            yield scored.with_predictions(_baselines(request, scored.labelled, fit))
        return
    first = labels[0]
    scored = score_scenes(
        group.name,
        group.data.sources,
        models,
        settings,
        finders=finders,
        snr_min=first,
        any_band=request.any_band,
        processes=request.jobs,
        skip=_skip(request),
        progress=stderr_progress(f"Scenes of {group.name}"),
    )
    for note in scored.labelled.notes:
        announce(note, err=True)
    others = None
    if group.baseline is not None:
        assert not isinstance(group.baseline, StampData)
        others = score_scenes(
            group.name,
            group.baseline.sources,
            (),
            settings,
            snr_min=first,
            # SEP looks at the images.
            keep_images=request.with_sep,
            processes=request.jobs,
            progress=stderr_progress("Scenes for baselines"),
        )
    for label in labels:
        one = scored.relabelled(label)
        other = None if others is None else others.relabelled(label).labelled
        yield one.with_predictions(_baselines(request, one.labelled, other))


def _baselines(
    request: Request, labelled: LabelledScenes, fit: LabelledScenes | None
) -> dict[str, np.ndarray]:
    """Predictions of the baselines."""
    from ..evaluation.baselines import baselines, cross_fitted_baselines
    from ..evaluation.bootstrap import choose_units

    if fit is not None:
        return baselines(fit.samples, fit.counts, labelled.samples, sep=request.with_sep)
    x, y = labelled.samples.centroid.T
    units = choose_units(x, y, labelled.sky)
    return cross_fitted_baselines(labelled.samples, labelled.counts, units.index, sep=request.with_sep)
