# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""``blendid train``: fit a classifier and write it as a model package."""

from __future__ import annotations

__all__ = ("train",)

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from ._common import CommandError, MisuseError, common_options, describe_error, make_output_folder

if TYPE_CHECKING:
    from ..classifiers import BlendClassifierConfig
    from ..footprints import FootprintConfig
    from ..model_package import ModelPackage
    from ..training import LabelledScenes, SceneSource


_LARGEST_CUTOUT = 51


class _Numbers(click.ParamType):
    """Numbers of scenes separated by commas."""

    name = "N,N,…"

    def convert(
        self, value: str | tuple[int, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(int(text) for text in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of scene numbers such as 1,2,3,5", param, ctx)


@click.command()
@click.option("--classifier", metavar="NAME", help="Classifier to train: logistic, peaks, or a plugin's.")
@click.option(
    "-o",
    "--out",
    "path",
    metavar="PACKAGE",
    type=click.Path(path_type=Path),
    help="File to write; its name, which ends with .blendid, becomes that of the model.",
)
@click.option(
    "--parametric",
    "n_parametric",
    type=click.IntRange(min=1),
    metavar="N",
    help="Simulate N skies from the built-in catalogue; 4 if nothing else is given.",
)
@click.option(
    "--scenes",
    type=_Numbers(),
    help="Simulate these truth scenes of Buchanan et al. 2022 (of 1,2,3,5, the training sky).",
)
@click.option("--validation-scenes", type=_Numbers(), help="Truth scenes to score the model on (of 4,7,8).")
@click.option("--truths", metavar="DIR", help="Folder of the truth scenes; by default that of $BLENDID_DATA.")
@click.option(
    "--coadd", "coadds", metavar="FITS", multiple=True, help="Learn from this coadd; repeat for several."
)
@click.option(
    "--truth",
    "tables",
    metavar="TABLE",
    multiple=True,
    help="Its true galaxies: columns x, y (parent pixels), snr or flux; one for each --coadd, in order.",
)
@click.option(
    "--psf-fwhm", metavar="ARCSEC", type=float, help="Seeing FWHM of the coadds, if they have no PSF."
)
@click.option("--pixel-scale", metavar="ARCSEC", type=float, help="Pixel size of the coadds without WCS.")
@click.option(
    "--stamps",
    "stamp_sets",
    metavar="DIR",
    multiple=True,
    help="Learn from the training stamps of this set of 'blendid stamps', and score the model on its "
    "validation stamps; repeat for several.",
)
@click.option(
    "--test-stamps",
    "test_sets",
    metavar="DIR",
    multiple=True,
    help="Tell how the model does on the test stamps of this set; repeat for several.",
)
@click.option(
    "--noise",
    "levels",
    metavar="SIGMA",
    multiple=True,
    type=click.FloatRange(min=0.0, min_open=True),
    help="Noise per pixel to add to stamps that have none; repeat to take each stamp with several.",
)
@click.option(
    "--unit",
    type=click.Choice(["stamp", "footprint"]),
    default="stamp",
    show_default=True,
    help="What of stamps is classified: each as a whole, or the footprints in it, as in coadds.",
)
@click.option(
    "--sizes",
    metavar="MODEL",
    multiple=True,
    default=("cosmodc2", "1.6x", "large"),
    show_default=True,
    help="Galaxy sizes to simulate each sky with; repeat for several.",
)
@click.option(
    "--draws", type=click.IntRange(min=1), default=1, show_default=True, help="Noise draws of each."
)
@click.option(
    "--size", type=click.IntRange(min=32), default=2048, show_default=True, help="Side of a simulated scene."
)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="First seed.")
@click.option(
    "--config-option",
    "options",
    metavar="K=V",
    multiple=True,
    help="Override of a field of the classifier's config, such as cutout.size=31, or of the footprints, "
    "such as footprints.noiseSource=variance.",
)
@click.option("--overwrite", is_flag=True, help="Replace an older file of that name.")
@click.option(
    "--shipped",
    "shipped_folder",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Instead of all this make the models that come with the package, from fixed seeds.",
)
@common_options
def train(
    classifier: str | None,
    path: Path | None,
    n_parametric: int | None,
    scenes: tuple[int, ...] | None,
    validation_scenes: tuple[int, ...] | None,
    truths: str | None,
    coadds: tuple[str, ...],
    tables: tuple[str, ...],
    psf_fwhm: float | None,
    pixel_scale: float | None,
    stamp_sets: tuple[str, ...],
    test_sets: tuple[str, ...],
    levels: tuple[float, ...],
    unit: Literal["stamp", "footprint"],
    sizes: tuple[str, ...],
    draws: int,
    size: int,
    seed: int,
    options: tuple[str, ...],
    overwrite: bool,
    shipped_folder: Path | None,
) -> None:
    """Train a classifier and write it as a model package.

    It learns from simulated skies, from given coadds whose galaxies are
    known, or from stamps.  Use the model with 'blendid run --model PACKAGE'.

    \b
    Examples:
      blendid train --classifier logistic --out my.blendid
      blendid train --classifier logistic --out my.blendid --scenes 1,2,3,5 --validation-scenes 4,7,8
      blendid train --classifier peaks --out my.blendid --coadd a.fits --truth a.truth.parquet
      blendid train --classifier logistic --out my.blendid --stamps bh --noise 15 --test-stamps coin
      blendid train --shipped models
    """  # noqa: D301
    if shipped_folder is not None:
        if classifier is not None or path is not None:
            raise click.UsageError("--shipped goes without --classifier and --out")
        _train_shipped(shipped_folder, truths)
        return
    if classifier is None or path is None:
        raise click.UsageError("--classifier and --out are needed")
    _check_output(path, overwrite)
    kinds = [bool(coadds or tables), scenes is not None, n_parametric is not None, bool(stamp_sets)]
    if sum(kinds) > 1:
        raise click.UsageError("--coadd, --scenes, --parametric and --stamps exclude each other")
    if (test_sets or levels) and not stamp_sets:
        raise click.UsageError("--test-stamps and --noise go with --stamps")
    for folder in (*stamp_sets, *test_sets):
        if not (Path(folder) / "stamp_set.json").is_file():
            raise CommandError(f"{folder} is not a set of stamps: it has no stamp_set.json")
    if stamp_sets and validation_scenes:
        raise click.UsageError("--validation-scenes goes without --stamps, which have their own")
    if len(coadds) != len(tables):
        raise MisuseError(f"{len(coadds)} --coadd and {len(tables)} --truth; each coadd needs its truth")

    from ..classifiers import classifier_registry
    from ..simulation import find_truth_scene
    from ..simulation.progress import stderr_progress
    from ..training import FileScene, simulated_scenes, train_classifier

    if classifier not in classifier_registry:
        raise MisuseError(
            f"unknown classifier {classifier!r}; known are {', '.join(sorted(classifier_registry))}"
        )
    config, footprints = _make_configs(classifier, options, for_stamps=bool(stamp_sets))
    start = time.perf_counter()
    if stamp_sets:
        stamps = _Stamps(levels, unit, footprints)
        learn = stamps.label(stamp_sets, "train")
        if learn is None:
            raise CommandError(f"no stamps for training in {', '.join(stamp_sets)}")
        if unit == "stamp" and not any(option.startswith("cutout.size=") for option in options):
            _look_at_stamps(config, learn)
        package = train_classifier(
            classifier,
            learn,
            validation=stamps.label(stamp_sets, "validation"),
            config=config,
            model_name=path.name.removesuffix(".blendid"),
        )
        _write(package, path, start)
        for folder in test_sets:
            click.echo(stamps.test(package, folder))
        return

    def simulate(numbers: Sequence[int], first_seed: int, split: str | None) -> Sequence[SceneSource]:
        return simulated_scenes(
            [find_truth_scene(number, truths) for number in numbers],
            n_scenes=n_parametric or 4,
            size_models=sizes,
            draws=draws,
            size=size,
            seed=first_seed,
            split=split,
        )

    sources: Sequence[SceneSource]
    if coadds:
        sources = [
            FileScene(coadd, table, psf_fwhm, pixel_scale)
            for coadd, table in zip(coadds, tables, strict=True)
        ]
    else:
        sources = simulate(scenes or (), seed, "train" if scenes else None)
    # Far from the seeds of the training scenes, whatever their number.
    validation = simulate(validation_scenes, seed + 1_000_000, "validation") if validation_scenes else None

    package = train_classifier(
        classifier,
        sources,
        validation=validation,
        config=config,
        footprints=footprints,
        model_name=path.name.removesuffix(".blendid"),
        progress=stderr_progress("Scenes"),
    )
    _write(package, path, start)


def _write(package: ModelPackage, path: Path, start: float) -> None:
    """Write a model and say what it is."""
    package.write(path)
    training = package.metadata["training"]
    click.echo(
        f"{path}: trained on {training['n_footprints']} footprints, {time.perf_counter() - start:.1f} s"
    )
    if scores := package.metadata["validation"].get("scores"):
        click.echo(
            f"validation: balanced accuracy {scores['balanced_accuracy']}, "
            f"cross-entropy {scores['cross_entropy']}"
        )


def _check_output(path: Path, overwrite: bool) -> None:
    """Refuse an output that could not be written or used after minutes of training."""
    if not path.name.removesuffix(".blendid") or not path.name.endswith(".blendid"):
        raise MisuseError(f"--out {path}: the name of a model package ends with .blendid")
    if path.is_dir():
        raise MisuseError(f"--out {path} is a folder; give the file to write")
    if path.exists() and not overwrite:
        raise CommandError(f"{path} exists; choose another --out or give --overwrite")
    make_output_folder(path.parent)


@dataclass(frozen=True)
class _Stamps:
    """How sets of stamps are made use of."""

    levels: tuple[float, ...]
    unit: Literal["stamp", "footprint"]
    footprints: FootprintConfig

    def label(self, folders: Sequence[str], split: str) -> LabelledScenes | None:
        """Label one part of sets; None if it has no stamps."""
        from ..simulation.progress import stderr_progress
        from ..simulation.stamps import StampSet
        from ..training.stamps import label_stamps

        sets: list[StampSet] = []
        for folder in folders:
            part = StampSet.read(folder).split(split)
            if (part.noise > 0.0).any() or not len(part):
                sets.append(part)
            elif self.levels:
                sets += [part.with_noise(sigma) for sigma in self.levels]
            else:
                raise MisuseError(f"the stamps of {folder} have no noise; give --noise SIGMA")
        if not any(len(part) for part in sets):
            return None
        progress = stderr_progress(f"Stamps for {split}")
        return label_stamps(sets, self.footprints, unit=self.unit, progress=progress)

    def test(self, package: ModelPackage, folder: str) -> str:
        """Say how a model does on the test stamps of a set."""
        import numpy as np

        from ..classifiers import classifier_registry, split_probabilities
        from ..evaluation.metrics import score

        labelled = self.label([folder], "test")
        if labelled is None:
            raise CommandError(f"no stamps for tests in {folder}")
        model = classifier_registry[package.classifier].from_package(package)
        p, _ = split_probabilities(model.probabilities(labelled.samples))
        kinds = {"one": labelled.counts == 1, "more": labelled.counts > 1}
        right = [
            f"{np.mean((p[rows] > 0.5) == (name == 'more')):.1%} of {rows.sum()} with {name}"
            for name, rows in kinds.items()
            if rows.any()
        ]
        both = len(right) == len(kinds)
        auc = f"; AUC {score(p, labelled.counts).auc:.3f}" if both else ""
        return f"{folder}: right for {', '.join(right) or 'no ' + self.unit + ' with a galaxy'}{auc}"


def _look_at_stamps(config: Any, stamps: LabelledScenes) -> None:
    """Make cutouts as large as stamps, up to a size whose pixels can still be decomposed in seconds."""
    if hasattr(config, "cutout"):
        config.cutout.size = min(int(stamps.samples.area.max() ** 0.5) // 2 * 2 + 1, _LARGEST_CUTOUT)


def _make_configs(
    classifier: str, options: Sequence[str], *, for_stamps: bool
) -> tuple[BlendClassifierConfig, FootprintConfig]:
    """Make the configs of classifier and footprints from options."""
    from ..classifiers import classifier_registry
    from ..training import clipped_footprints
    from ..training.stamps import stamp_footprints
    from ._config import apply_options

    config = classifier_registry[classifier].ConfigClass()
    footprints = stamp_footprints() if for_stamps else clipped_footprints()
    prefix = "footprints."
    apply_options(config, [option for option in options if not option.startswith(prefix)])
    apply_options(
        footprints, [option.removeprefix(prefix) for option in options if option.startswith(prefix)]
    )
    for one in (config, footprints):
        try:
            one.validate()
        except ValueError as err:
            raise CommandError(f"the config does not work: {describe_error(err)}") from err
    return config, footprints


def _train_shipped(folder: Path, truths: str | None) -> None:
    """Make the models that come with the package."""
    make_output_folder(folder)

    from ..training import train_shipped_models

    train_shipped_models(folder, truths, report=click.echo)
