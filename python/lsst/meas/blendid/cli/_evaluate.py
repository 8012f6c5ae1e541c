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
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
import numpy as np

from .._suggest import did_you_mean
from ._coadd_files import pair_coadds
from ._common import CommandError, MisuseError, announce, make_output_folder
from ._train_settings import SettingsOfRun, apply_overrides

if TYPE_CHECKING:
    from ..evaluation.peak_finders import PeakFinder
    from ..evaluation.scored_scenes import NamedModel, ScoredScenes
    from ..footprints import FootprintConfig
    from ..simulation.config import SceneConfig
    from ..simulation.stamps import StampSet
    from ..training import LabelledScenes, SceneSource, SimulatedScene

_FIRST_SEED = 5_000_000
"""Far from the first seeds of training: a parametric sky depends on its seed alone."""
_BASELINE_SEED = 6_000_000
_BASELINE_SCENES = 4
_SEP = "sep"
"""Name of the classifier that is a baseline here."""
OUTPUTS = ("report.html", "scores.json", "scores.ecsv", "predictions.parquet")


@dataclass(frozen=True)
class Request:
    """Options of the command."""

    models: tuple[str, ...]
    scenes: tuple[int, ...] | None
    split: str
    truths: str | None
    n_parametric: int | None
    n_dial: int | None
    coadds: tuple[str, ...]
    tables: tuple[str, ...]
    stamp_sets: tuple[str, ...]
    stamp_noise: tuple[float, ...]
    unit: Literal["stamp", "footprint"]
    baseline_scenes: tuple[int, ...] | None
    sep: bool
    reference: str
    labels: tuple[float, ...]
    sizes: tuple[str, ...]
    draws: int
    size: int
    band: str
    psf_fwhm: float | None
    pixel_scale: float | None
    visits: int | None
    seed: int
    noise: str | None
    bootstrap: int
    options: tuple[str, ...]
    any_band: bool
    jobs: int
    out: Path
    overwrite: bool

    @property
    def with_sep(self) -> bool:
        """Whether SExtractor's deblending is scored; it can be named as a model, which it does not need."""
        return self.sep or _SEP in self.models

    def check(self) -> None:
        """Find what is wrong before any work is done.

        Raises
        ------
        MisuseError
            Raised for options that make no sense together.
        CommandError
            Raised if files are missing or in the way.
        """
        kinds = {
            "--coadd": bool(self.coadds or self.tables),
            "--scenes": self.scenes is not None,
            "--parametric": self.n_parametric is not None,
            "--dial": self.n_dial is not None,
            "--stamps": bool(self.stamp_sets),
        }
        given = [name for name, one in kinds.items() if one]
        if len(given) > 1:
            raise MisuseError(f"{' and '.join(given)} exclude each other; evaluate them one after the other")
        if self.tables and not self.coadds:
            raise MisuseError("--truth goes with --coadd")
        if self.stamp_noise and not self.stamp_sets:
            raise MisuseError("--stamp-noise goes with --stamps")
        if self.visits is not None and (self.coadds or self.stamp_sets or self.n_dial is not None):
            raise MisuseError("--visits is for simulated scenes; --dial draws its own")
        if self.psf_fwhm is not None and (self.stamp_sets or self.n_dial is not None):
            raise MisuseError("--psf-fwhm is for simulated scenes and coadds; --dial draws its own")
        if self.baseline_scenes is not None and (self.coadds or self.stamp_sets or self.n_dial is not None):
            raise MisuseError("--baseline-scenes goes with --scenes and --parametric")
        if self.labels != (5.0,) and self.stamp_sets and self.unit == "stamp":
            raise MisuseError("stamps as a whole have one label; leave out --both-labels and --snr-min")
        if self.coadds:
            pair_coadds(self.coadds, self.tables, "truth")
        for folder in self.stamp_sets:
            if not (Path(folder) / "stamp_set.json").is_file():
                raise CommandError(f"{folder} is not a set of stamps: it has no stamp_set.json")
        make_output_folder(self.out)
        for name in OUTPUTS:
            if (self.out / name).exists() and not self.overwrite:
                raise CommandError(f"{self.out / name} exists; choose another --out or give --overwrite")


@dataclass(frozen=True)
class _Group:
    """Scenes of one kind and those that baselines are fitted to; none for cross-fitted ones."""

    name: str
    sources: Sequence[SceneSource]
    baseline: Sequence[SceneSource]
    baseline_text: str


def _configs(request: Request) -> tuple[SceneConfig, FootprintConfig | SettingsOfRun]:
    """Configs of the simulation and of the footprints; those of given coadds are as 'run' takes them."""
    from ..footprints import FootprintConfig
    from ..simulation.config import SceneConfig
    from ..training import clipped_footprints
    from ..training.stamps import stamp_footprints

    scene, prefix = SceneConfig(), "footprints."
    apply_overrides(scene, [option for option in request.options if not option.startswith(prefix)])
    options = [option.removeprefix(prefix) for option in request.options if option.startswith(prefix)]
    if request.coadds and request.noise is None:
        of_run = SettingsOfRun(tuple(options), None)
        of_run.check()
        return scene, of_run
    if request.stamp_sets:
        footprints = stamp_footprints()
    else:
        footprints = FootprintConfig() if request.noise == "variance" else clipped_footprints()
    apply_overrides(footprints, options)
    return scene, footprints


def _groups(request: Request, config: SceneConfig) -> list[_Group]:
    """What is to be scored, in the order of the report."""
    from ..simulation import SIZE_MODELS, find_truth_scene, get_survey
    from ..training import FileScene, randomized_scenes, simulated_scenes

    cross = "each footprint by a fit to the other blocks of sky of the same scenes"
    if request.coadds:
        files = [
            FileScene(coadd.path, table, request.psf_fwhm, request.pixel_scale, hdu=coadd.hdu)
            for coadd, table in pair_coadds(request.coadds, request.tables, "truth")
        ]
        return [_Group("coadds", files, (), cross)]
    if request.stamp_sets:
        return [_Group("stamps", (), (), "the training stamps of the same sets")]
    if request.n_dial is not None:
        dial, fit = (
            randomized_scenes(n, seed=first + request.seed, size=request.size, band=request.band)
            for n, first in ((request.n_dial, _FIRST_SEED), (max(request.n_dial, 8), _BASELINE_SEED))
        )
        return [_Group("dial", dial, fit, f"{len(fit)} other scenes of the dial")]
    survey = get_survey(request.band)
    if request.psf_fwhm is not None:
        survey = dataclasses.replace(survey, fwhm=request.psf_fwhm)
    if request.visits is not None:
        survey = dataclasses.replace(survey, n_exposures=request.visits)

    def simulate(
        numbers: Sequence[int], n: int, size_model: str, first: int, split: str | None
    ) -> list[SimulatedScene]:
        scenes = simulated_scenes(
            [find_truth_scene(number, request.truths) for number in numbers],
            n_scenes=n,
            size_models=[size_model],
            draws=request.draws,
            size=request.size,
            seed=first + 1000 * request.seed,
            split=split,
        )
        return [dataclasses.replace(scene, survey=survey, config=config) for scene in scenes]

    groups = []
    for k, size_model in enumerate(request.sizes):
        known = ("cosmodc2-galaxies", *SIZE_MODELS)
        if size_model not in known:
            hint = did_you_mean(size_model, known)
            raise MisuseError(f"unknown --sizes {size_model!r}{hint}; there are {', '.join(known)}")
        scored = simulate(
            request.scenes or (),
            request.n_parametric or 4,
            size_model,
            _FIRST_SEED + 100 * k,
            request.split if request.scenes else None,
        )
        numbers = request.baseline_scenes or ()
        baseline = simulate(
            numbers, _BASELINE_SCENES, size_model, _BASELINE_SEED + 100 * k, "train" if numbers else None
        )
        text = f"{len(baseline)} other scenes with the same galaxies, seeing and depth"
        groups.append(_Group(size_model, scored, baseline, text))
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
    request.check()

    from .. import __version__
    from ..evaluation.baselines import SEP
    from ..evaluation.report import render_comparison_report
    from ..evaluation.scored_scenes import load_models, make_finders
    from ..evaluation.section import make_section, write_scores
    from ..simulation.progress import stderr_progress

    start = time.perf_counter()
    named, localizers = _split_models(request)
    models = load_models(named)
    finders = make_finders(localizers, models)
    _check_reference(request, models)
    config, footprints = _configs(request)
    sections = []
    for group in _groups(request, config):
        for scored in _score(request, group, models, finders, footprints):
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
        return list(list_shipped("classifier")), list(list_shipped("localizer"))
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

    names, own = list(all_baselines(request.with_sep)), [model.name for model in models]
    if taken := [name for name in own if name in names]:
        raise MisuseError(f"{taken[0]!r} is the name of a baseline; give the model another LABEL=")
    if request.reference not in (*own, *names):
        raise MisuseError(f"--reference {request.reference!r} is none of {', '.join((*own, *names))}")


def _skip(request: Request) -> Callable[[str], None] | None:
    """What to do without a package that a model needs: nothing, if the model was asked for."""
    return None if request.models else lambda line: announce(f"Warning: {line}", err=True)


def _score(
    request: Request,
    group: _Group,
    models: Sequence[NamedModel],
    finders: Sequence[PeakFinder],
    footprints: FootprintConfig | SettingsOfRun,
) -> Iterator[ScoredScenes]:
    """Run models and baselines on scenes, with each label in turn."""
    from ..evaluation.scored_scenes import score_scenes
    from ..footprints import FootprintConfig
    from ..simulation.progress import stderr_progress

    if request.stamp_sets:
        assert isinstance(footprints, FootprintConfig)
        yield from _score_stamps(request, group, models, footprints)
        return
    first = request.labels[0]
    settings = [footprints] if isinstance(footprints, FootprintConfig) else footprints
    scored = score_scenes(
        group.name,
        group.sources,
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
    fit = None
    if group.baseline:
        fit = score_scenes(
            group.name,
            group.baseline,
            (),
            settings,
            snr_min=first,
            # SEP looks at the images.
            keep_images=request.with_sep,
            processes=request.jobs,
            progress=stderr_progress("Scenes for baselines"),
        )
    for label in request.labels:
        one = scored.relabelled(label)
        other = None if fit is None else fit.relabelled(label).labelled
        yield one.with_predictions(_baselines(request, one.labelled, other))


def _score_stamps(
    request: Request, group: _Group, models: Sequence[NamedModel], footprints: FootprintConfig
) -> Iterator[ScoredScenes]:
    """Run models on the test stamps of sets, and baselines fitted to their training stamps."""
    from ..evaluation.scored_scenes import score_labelled
    from ..simulation.progress import stderr_progress
    from ..training.stamps import label_stamps

    parts = {split: _stamps(request, split) for split in ("test", "train")}
    if not parts["test"]:
        raise CommandError(f"no stamps for tests in {', '.join(request.stamp_sets)}")
    planes = any(model.classifier.needs_planes for model in models)
    for label in request.labels:
        labelled = {
            split: label_stamps(
                sets,
                footprints,
                unit=request.unit,
                snr_min=label,
                keep_planes=planes and split == "test",
                progress=stderr_progress(f"Stamps for {'baselines' if split == 'train' else split}"),
            )
            for split, sets in parts.items()
            if sets
        }
        scored = score_labelled(
            group.name, labelled["test"], models, any_band=request.any_band, skip=_skip(request)
        )
        yield scored.with_predictions(_baselines(request, scored.labelled, labelled.get("train")))


def _stamps(request: Request, split: str) -> list[StampSet]:
    """Stamps of one part of the sets, with noise."""
    from ..simulation.stamps import StampSet
    from ..training.stamps import add_noise

    found: list[StampSet] = []
    for folder in request.stamp_sets:
        part = StampSet.read(folder).split(split)
        if not len(part):
            continue
        try:
            found += add_noise(part, request.stamp_noise)
        except ValueError as err:
            raise MisuseError(f"{folder}: {err}") from err
    return found


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
