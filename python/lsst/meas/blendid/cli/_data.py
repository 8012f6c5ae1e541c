# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What ``train`` and ``evaluate`` learn from and score on: DATA of a command line, and how it is labelled."""

from __future__ import annotations

__all__ = (
    "DataOptions",
    "LabelledCoadd",
    "SettingsOfRun",
    "apply_overrides",
    "check_data_options",
    "data_options",
    "open_data",
    "pair_coadds",
    "split_overrides",
)

import functools
import glob
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._common import CommandError, MisuseError
from ._inputs import ImageInput, find_inputs, split_hdu
from ._options import Decorator, butler_options, image_options

if TYPE_CHECKING:
    from ..footprints import FootprintConfig
    from ..model_package import ModelPackage
    from ..training import LabelConfig, Scene, SceneData, StampData
    from ..training.data import Role
    from ..training.simulated import CoaddProperties

_FOOTPRINTS = "footprints."
"""What options of ``-c`` begin with that are of the footprints."""


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """What was named as DATA, and where what belongs to it is."""

    data: tuple[str, ...]
    tables: tuple[str, ...]
    labels: tuple[str, ...]
    collections: str | None
    where: str
    psf_fwhm: float | None
    pixel_scale: float | None
    zero_point: float | None

    @property
    def describes_images(self) -> bool:
        """Whether something is told that image files may lack (`bool`)."""
        return any(value is not None for value in (self.psf_fwhm, self.pixel_scale, self.zero_point))

    def select(self, data: Sequence[str]) -> DataOptions:
        """Take other data, whose tables lie beside them."""
        return replace(self, data=tuple(data), tables=(), labels=())


def data_options(*, labels: bool) -> Decorator:
    """Make a decorator that adds the argument DATA and its options to a command.

    Parameters
    ----------
    labels
        Whether the command can do with labels that somebody gave to footprints, and needs no true galaxies.

    Returns
    -------
    decorator
        Decorator of its function, which gets all of them as ``data``.
    """
    options: list[Decorator] = [
        click.argument("data", metavar="[DATA]...", nargs=-1),
        click.option(
            "--truth",
            "tables",
            metavar="TABLE",
            multiple=True,
            help="True galaxies of given coadds: columns x, y (parent pixels), snr or flux; also mag, "
            "is_star and n_knots, if known.  One for each coadd, in order, or a folder or a pattern; by "
            "default the table STEM.truth.* beside each coadd STEM.fits.",
        ),
        click.option(
            "--labels",
            metavar="TABLE",
            multiple=True,
            help="Instead of true galaxies, numbers of galaxies of some of the footprints: columns x, y (a "
            "pixel of the footprint) and n_galaxies; footprints without are left out.  Files as for --truth, "
            "by default STEM.labels.*.",
        ),
        butler_options,
        image_options,
    ]
    if not labels:
        del options[2]

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def call(**values: Any) -> None:
            values = {"labels": (), **values}
            mine = {one.name: values.pop(one.name) for one in fields(DataOptions) if one.name in values}
            function(data=DataOptions(**mine), **values)

        decorated: Callable[..., None] = call
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate


def check_data_options(
    o: DataOptions, config: LabelConfig, *, others: Sequence[str] = (), like: bool = False
) -> None:
    """Refuse options that are of no use to any of the data.

    Parameters
    ----------
    o
        DATA and their options.
    config
        How they are labelled.
    others
        Further data, for validation or baselines, that options may be about.
    like
        Whether simulated skies are made like a coadd.

    Raises
    ------
    MisuseError
        Raised if options are of no use, or one is missing.
    CommandError
        Raised if one of the data does not exist.
    """
    kinds = [_find_kind(text, o) for text in o.data]
    all_kinds = {*kinds, *(_find_kind(text, o) for text in others)}
    default = type(config)()
    changed = {name for name in config.keys() if getattr(config, name) != getattr(default, name)}
    for names, given, useful in (
        ("--truth and --labels go with coadds", o.tables or o.labels, _COADDS in kinds),
        (
            "--collections and --where go with Butler repositories",
            o.collections or o.where,
            _BUTLER in all_kinds,
        ),
        ("-c stampNoise and stampUnit go with sets of stamps", changed & _STAMP_FIELDS, _STAMPS in kinds),
        (
            "-c coaddDataset and truthDataset go with Butler repositories",
            changed & _BUTLER_FIELDS,
            _BUTLER in all_kinds,
        ),
        ("--like goes with skies that are simulated", like, set(kinds) <= {_RECIPE}),
        (
            "--psf-fwhm, --pixel-scale and --zero-point go with coadds (simulated skies get theirs by "
            "'blendid simulate')",
            o.describes_images,
            like or _COADDS in all_kinds,
        ),
    ):
        if given and not useful:
            found = f"{', '.join(o.data)} is {kinds[0]}" if o.data else "none are named as DATA"
            raise MisuseError(f"{names}, and {found}")
    if o.tables and o.labels:
        raise MisuseError("--truth and --labels exclude each other")
    if _BUTLER in all_kinds and not o.collections:
        repository = next(text for text in (*o.data, *others) if _find_kind(text, o) == _BUTLER)
        raise MisuseError(f"{repository} is a Butler repository: name its --collections")


def open_data(
    o: DataOptions, config: LabelConfig, role: Role, *, like: CoaddProperties | None = None
) -> SceneData | StampData:
    """Find out what DATA are, without simulating or reading images.

    Parameters
    ----------
    o
        At least one of a file that ``blendid simulate --recipe`` wrote, a coadd, folder or pattern of coadds,
        a Butler repository, or a set of stamps; all of one kind.
    config
        Which datasets, and how stamps are used.
    role
        What they are for.
    like
        Coadd that simulated skies are made like.

    Returns
    -------
    data
        Scenes, or stamps.

    Raises
    ------
    MisuseError
        Raised if they are of several kinds, or of one that is of no use for the role.
    CommandError
        Raised if one does not exist, or there are no stamps for it.
    ValueError
        Raised if they cannot be read, or are of sky that is kept for something else.
    """
    kinds = {text: _find_kind(text, o) for text in o.data}
    if len(set(kinds.values())) > 1:
        told = ", ".join(f"{text} is {kind}" for text, kind in kinds.items())
        raise MisuseError(f"DATA of several kinds ({told}): take one, and go on from its model with --from")
    kind = next(iter(kinds.values()))
    if kind == _STAMPS:
        return _open_stamps(o, config, role)
    if kind == _RECIPE:
        return _open_recipes(o, role, like)
    return _open_butler(o, config) if kind == _BUTLER else _open_coadds(o)


_STAMPS, _RECIPE, _BUTLER, _COADDS = "a set of stamps", "a recipe of skies", "a Butler repository", "coadds"
_STAMP_FIELDS = {"stampNoise", "stampUnit"}
_BUTLER_FIELDS = {"coaddDataset", "truthDataset"}


def _find_kind(text: str, o: DataOptions) -> str:
    """Kind of one of the DATA."""
    from ..training import SceneRecipe

    path = Path(os.path.expanduser(text))
    if (path / "stamp_set.json").is_file():
        return _STAMPS
    # What is wrong with one that is damaged is told by its reader; no coadd has such a name.
    if SceneRecipe.is_recipe(path) or (path.suffix == ".json" and path.is_file()):
        return _RECIPE
    if (path / "butler.yaml").is_file() or path.name == "butler.yaml":
        return _BUTLER
    file, _ = split_hdu(text)
    local = os.path.expanduser(file)
    if os.path.lexists(local) or glob.glob(local, recursive=True):
        return _COADDS
    # A repository can also be a label or a URI, which collections tell.
    if o.collections:
        return _BUTLER
    if "://" in file:
        return _COADDS
    reason = "no file fits this pattern" if glob.has_magic(local) else "no such file or folder"
    raise CommandError(f"{text}: {reason}")


def _open_stamps(o: DataOptions, config: LabelConfig, role: Role) -> StampData:
    from ..training import StampData

    if role == "baseline":
        raise MisuseError(f"{', '.join(o.data)}: sets of stamps are no baseline of scenes")
    unit: Any = config.stampUnit
    stamps = StampData(folders=o.data, role=role, noise=tuple(config.stampNoise), unit=unit)
    if stamps.select(role) is None:
        raise CommandError(f"there are no stamps for {role} in {', '.join(o.data)}")
    return stamps


def _open_recipes(o: DataOptions, role: Role, like: CoaddProperties | None) -> SceneData:
    from ..training import SceneData, SceneRecipe

    recipes = [SceneRecipe.read(os.path.expanduser(path)) for path in o.data]
    return SceneData.simulated(recipes, role=role, like=like)


def _open_butler(o: DataOptions, config: LabelConfig) -> SceneData:
    from ..training import SceneData, find_butler_scenes

    if len(o.data) > 1:
        raise MisuseError(f"{', '.join(o.data)}: give one Butler repository at a time")
    assert o.collections is not None
    scenes = find_butler_scenes(
        o.data[0],
        o.collections,
        where=o.where,
        coadd_dataset=config.coaddDataset,
        truth_dataset=config.truthDataset,
    )
    facts = {
        "kind": "butler",
        "repository": Path(o.data[0]).name,
        "collections": o.collections,
        "where": o.where,
        "coadd_dataset": config.coaddDataset,
    }
    return SceneData(sources=scenes, facts=facts)


def _open_coadds(o: DataOptions) -> SceneData:
    from ..training import FileScene, SceneData

    scenes = [
        FileScene(
            one.image.path,
            None if one.has_labels else one.table,
            o.psf_fwhm,
            o.pixel_scale,
            one.table if one.has_labels else None,
            one.image.hdu,
            o.zero_point,
        )
        for one in pair_coadds(o.data, o.tables, o.labels)
    ]
    return SceneData(sources=scenes, facts={"kind": "coadds"})


def split_overrides(options: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split the options of ``-c`` into those of the footprints, without their prefix, and the others."""
    return (
        [one.removeprefix(_FOOTPRINTS) for one in options if one.startswith(_FOOTPRINTS)],
        [one for one in options if not one.startswith(_FOOTPRINTS)],
    )


def apply_overrides(config: Any, options: Sequence[str]) -> None:
    """Apply options to a config and see whether it works.

    Parameters
    ----------
    config
        Changed in place.
    options
        Overrides ``field=value``.

    Raises
    ------
    CommandError
        Raised if the result does not work.
    """
    from ._config import apply_options, validate_config

    apply_options(config, options)
    validate_config(config)


@dataclass(frozen=True)
class SettingsOfRun:
    """Gives the settings of footprints of a scene: those that ``blendid run`` takes for its image.

    Parameters
    ----------
    options
        Overrides of single fields.
    start
        Model that is gone on from, whose other settings are taken.
    """

    options: tuple[str, ...]
    start: ModelPackage | None

    def __call__(self, scene: Scene) -> FootprintConfig:
        """Give the settings of a scene."""
        return self.choose(scene.name, has_variance=scene.has_variance, has_sky=scene.has_sky)

    def choose(self, name: str, *, has_variance: bool, has_sky: bool | None) -> FootprintConfig:
        """Give the settings of an image.

        Parameters
        ----------
        name
            Its name, for messages.
        has_variance
            Whether it has a variance plane.
        has_sky
            Whether the sky background may still be in it.

        Returns
        -------
        settings
            The settings.
        """
        from ..training import choose_settings, settings_of_image

        settings = settings_of_image(has_variance=has_variance, has_sky=has_sky)
        if self.start is not None:
            settings = choose_settings(self.start, settings, name)
        apply_overrides(settings, self.options)
        return settings

    def check(self) -> None:
        """Refuse bad options before any coadd is read."""
        from ..training import settings_of_image

        apply_overrides(settings_of_image(has_variance=True), self.options)


_TABLE = re.compile(r"\.(parquet|ecsv|csv|fits|fit)$", re.IGNORECASE)
"""What the name of a table ends with."""

_NAMED_TABLE = re.compile(rf"\.(truth|labels){_TABLE.pattern}", re.IGNORECASE)
"""What the name of a table ends with that is no coadd, though it may be FITS."""


@dataclass(frozen=True)
class LabelledCoadd:
    """A coadd, and the table that tells what is in it: true galaxies, or labels of footprints."""

    image: ImageInput
    table: str
    has_labels: bool


def pair_coadds(
    coadds: Sequence[str], truths: Sequence[str] = (), labels: Sequence[str] = ()
) -> list[LabelledCoadd]:
    """Find the coadds that a user means, and the table of each.

    Parameters
    ----------
    coadds
        Files, folders and patterns.
    truths, labels
        As many files as coadds, in their order; or folders and patterns, in which the table of a coadd STEM
        is the one called ``STEM.truth.*`` (``STEM.labels.*``) or ``STEM.*``.  Without any, that called
        ``STEM.truth.*`` beside each coadd, or else ``STEM.labels.*``.

    Returns
    -------
    pairs
        Coadds with their tables.

    Raises
    ------
    MisuseError
        Raised if there is no coadd, or one has no table, or several.
    """
    found = find_inputs(coadds)
    images = [image for image in found if not _NAMED_TABLE.search(image.path)]
    if found and not images:
        raise MisuseError(f"{', '.join(coadds)}: there are tables, but no coadd")
    kind, tables = ("labels", labels) if labels else ("truth", truths)
    if not tables:
        return [_look_beside(image) for image in images]
    if any(_is_many(table) for table in tables):
        files = [file for table in tables for file in _expand(table)]
        tables = [_choose(image, files, kind, f"among the --{kind}") for image in images]
    elif len(tables) != len(images):
        coadd = "1 coadd" if len(images) == 1 else f"{len(images)} coadds"
        raise MisuseError(f"{coadd} and {len(tables)} --{kind}; each coadd needs its {kind}")
    return [
        LabelledCoadd(image, table, kind == "labels") for image, table in zip(images, tables, strict=True)
    ]


def _is_many(argument: str) -> bool:
    local = os.path.expanduser(argument)
    return os.path.isdir(local) or (glob.has_magic(local) and not os.path.lexists(local))


def _expand(argument: str) -> list[str]:
    """Tables of a folder or a pattern; anything else as it is."""
    local = os.path.expanduser(argument)
    if os.path.isdir(local):
        return [os.path.join(argument, name) for name in sorted(os.listdir(local)) if _TABLE.search(name)]
    return sorted(glob.glob(local, recursive=True)) if _is_many(argument) else [argument]


def _look_beside(image: ImageInput) -> LabelledCoadd:
    """Take the table that lies beside a coadd."""
    folder = os.path.dirname(image.path)
    local = os.path.expanduser(folder) or "."
    names = sorted(os.listdir(local)) if os.path.isdir(local) else []
    files = [os.path.join(folder, name) for name in names if _NAMED_TABLE.search(name)]
    stem = f"{_own_stem(image)}.labels"
    has_labels = any(_TABLE.sub("", os.path.basename(file)) == stem for file in files)
    try:
        return LabelledCoadd(image, _choose(image, files, "truth", "beside it"), False)
    except MisuseError:
        # Labels are somebody's guess at the truth, which comes first.
        if not has_labels:
            raise
        return LabelledCoadd(image, _choose(image, files, "labels", "beside it"), True)


def _own_stem(image: ImageInput) -> str:
    """Start of the name of a coadd; its ``stem`` may have been made unique among several."""
    return re.split(r"\.(fits|fit|fts)\b", os.path.basename(image.path), maxsplit=1, flags=re.IGNORECASE)[0]


def _choose(image: ImageInput, files: Sequence[str], kind: str, where: str) -> str:
    """Table of a coadd among files."""
    stem = _own_stem(image)
    by_name: dict[str, list[str]] = {f"{stem}.{kind}": [], stem: []}
    for file in files:
        name = _TABLE.sub("", os.path.basename(file))
        if os.path.abspath(os.path.expanduser(file)) == os.path.abspath(os.path.expanduser(image.path)):
            continue  # The folder has the coadd as well, whose name is STEM.fits.
        if _TABLE.search(file) and name in by_name:
            by_name[name].append(file)
    found = by_name[f"{stem}.{kind}"] or by_name[stem]
    if len(found) == 1:
        return found[0]
    if found:
        raise MisuseError(
            f"{image.name}: several tables {where}, {', '.join(found)}; name one for each coadd"
        )
    raise MisuseError(
        f"{image.name}: there is no table {stem}.{kind}.parquet, .ecsv, .csv or .fits {where}; each coadd "
        f"needs its {kind} (--{kind})"
    )
