# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Small files that stand for many simulated skies: what to draw, and the seed that draws it again."""

from __future__ import annotations

__all__ = ("HELD_OUT_SEED", "SceneRecipe")

import dataclasses
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from .._files import atomic_path, irregular_kind
from .._suggest import did_you_mean
from .simulated import (
    ANY_BAND,
    DEFAULT_SIZES,
    CoaddProperties,
    SimulatedScene,
    like_scenes,
    randomized_scenes,
    simulated_scenes,
)

if TYPE_CHECKING:
    from ..simulation import Survey
    from ..simulation.config import SceneConfig

_KIND = "blendid-scene-recipe"
_FORMAT = 1
_LOOKS_LIKE_RECIPE = re.compile(rb'\A\s*\{.*"kind"\s*:\s*"blendid-scene-recipe"', re.DOTALL)
_HEAD = 4096
"""Bytes of a file that tell whether it is a recipe."""
_LARGEST = 1_000_000
"""Bytes that no recipe has."""
_SMALLEST_SIZE = 32
_MOST_SCENES = 100_000
"""More images than anybody simulates: a slip of the hand."""
_WIDEST_PSF = 10.0
_LARGEST_PIXEL = 2.0
HELD_OUT_SEED = 1_000_000
"""Far from the seeds of the skies, whatever their number."""
_WITHOUT_VARIATION = ("sizes", "psf_fwhm", "pixel_scale", "visits", "options")
"""Fields that set what varied skies draw for themselves."""
_ALWAYS_WRITTEN = ("skies", "seed")


@dataclass(frozen=True, kw_only=True)
class SceneRecipe:
    """Skies that are simulated when they are asked for, with the same pixels each time.

    Parameters
    ----------
    skies
        Number of skies of the built-in catalogue of galaxies.
    truths
        Scenes whose true galaxies are in files: numbers of those of Buchanan et al. 2022, or paths.
    vary
        Whether each sky has a survey, a PSF and galaxies of its own (`randomized_scenes`).
    sizes
        Galaxy sizes that each sky is drawn with, without ``vary``; by default cosmoDC2's, 1.6 times as
        large, and large.
    draws
        Times that each truth scene is drawn, and without ``vary`` each sky, with other shapes and noise.
    size
        Side of an image, pixels.
    band
        Band; ``any`` with ``vary`` for one of its own for each sky, which models are not told: what learns
        from them holds for any band.
    psf_fwhm
        Seeing FWHM, arcsec, without ``vary``; by default that of the survey.
    pixel_scale
        Size of a pixel, arcsec, without ``vary``; by default that of the survey.
    visits
        Exposures in a coadd, without ``vary``; by default those of the survey.
    seed
        Seed of everything.
    split
        Part of the sky ("train", "validation", "test") that the truth scenes must be of.
    options
        Overrides ``field=value`` of `.simulation.config.SceneConfig`, without ``vary``.

    Raises
    ------
    ValueError
        Raised if a field has a value that makes no sense, alone or with another one; the message names it.
    """

    skies: int = 16
    truths: tuple[int | str, ...] = ()
    vary: bool = False
    sizes: tuple[str, ...] = ()
    draws: int = 1
    size: int = 2048
    band: str = "i"
    psf_fwhm: float | None = None
    pixel_scale: float | None = None
    visits: int | None = None
    seed: int = 1
    split: str | None = None
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, least in (("skies", 0), ("draws", 1), ("size", _SMALLEST_SIZE), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}")
        if self.visits is not None and self.visits < 1:
            raise ValueError(f"visits must be at least 1, not {self.visits}")
        if self.psf_fwhm is not None and not 0.0 < self.psf_fwhm < _WIDEST_PSF:
            raise ValueError(
                f"psf_fwhm must be greater than 0 and less than {_WIDEST_PSF:g} arcsec, not {self.psf_fwhm:g}"
            )
        if self.pixel_scale is not None and not 0.0 < self.pixel_scale < _LARGEST_PIXEL:
            raise ValueError(
                f"pixel_scale must be greater than 0 and less than {_LARGEST_PIXEL:g} arcsec, not "
                f"{self.pixel_scale:g}"
            )
        if self.vary:
            for name in _WITHOUT_VARIATION:
                if getattr(self, name) not in (None, ()):
                    raise ValueError(f"with vary each sky draws what {name} sets; leave out one of them")
        if self.n_scenes > _MOST_SCENES:
            raise ValueError(f"these are {self.n_scenes} images; a recipe has {_MOST_SCENES} at the most")
        self._check_truths()
        self._check_sizes()
        # They refuse an unknown band, a seeing that pixels do not sample, and bad options.
        if self.band != ANY_BAND:
            self._make_survey()
        elif not self.vary:
            raise ValueError(f"band {ANY_BAND!r} is drawn for each sky: set vary, or name a band")
        self._make_config()

    def _check_truths(self) -> None:
        from ..simulation import SimulationError, check_split, split_of

        for truth in self.truths:
            if isinstance(truth, int) and split_of(truth) is None:
                raise SimulationError(f"truths: there is no scene {truth}; there are scenes 0 to 9")
            if self.split is not None:
                check_split(truth, self.split)
        if self.split is not None and not self.truths:
            raise ValueError("split is that of truths, of which there are none; leave it out")

    def _check_sizes(self) -> None:
        from ..simulation import SIZE_MODELS

        known = ("cosmodc2-galaxies", *SIZE_MODELS)
        for name in self.sizes:
            if name not in known:
                raise ValueError(
                    f"sizes: unknown {name!r}{did_you_mean(name, known)}; known: {', '.join(known)}"
                )

    @property
    def size_models(self) -> tuple[str, ...]:
        """Galaxy sizes that each sky is drawn with, without ``vary``."""
        return self.sizes or DEFAULT_SIZES

    @property
    def n_scenes(self) -> int:
        """Number of images."""
        if self.vary:
            return self.skies + len(self.truths) * self.draws
        return (self.skies + len(self.truths)) * len(self.size_models) * self.draws

    def scenes(self, folder: str | Path | None = None) -> list[SimulatedScene]:
        """List the scenes; nothing is simulated yet.

        Parameters
        ----------
        folder
            Folder of the truth scenes that are given by number (`.simulation.truth_folder`).

        Returns
        -------
        scenes
            ``n_scenes`` scenes.

        Raises
        ------
        FileNotFoundError
            Raised if there is no file of a truth scene.
        """
        truths = self._find_truths(folder)
        if self.vary:
            return self._varied_scenes(truths)
        found: list[SimulatedScene] = []
        for sources, skies in ((truths, 0), ([], self.skies)):
            if sources or skies:
                found += simulated_scenes(
                    sources,
                    n_scenes=skies,
                    size_models=self.size_models,
                    draws=self.draws,
                    size=self.size,
                    seed=self.seed + len(found),
                    split=self.split,
                    survey=self._make_survey(),
                )
        return [dataclasses.replace(scene, config=self._make_config()) for scene in found]

    def _varied_scenes(self, truths: list[Path]) -> list[SimulatedScene]:
        """Those of truths and of the catalogue in turn, as far as there are both."""
        n_truth = len(truths) * self.draws
        if not n_truth:
            return randomized_scenes(self.skies, seed=self.seed, size=self.size, band=self.band)
        pairs = randomized_scenes(
            2 * max(n_truth, self.skies),
            seed=self.seed,
            truths=truths,
            split=self.split,
            size=self.size,
            band=self.band,
        )
        return [scene for i, scene in enumerate(pairs) if i // 2 < (self.skies if i % 2 else n_truth)]

    def _find_truths(self, folder: str | Path | None) -> list[Path]:
        from ..simulation import find_truth_scene

        paths = [find_truth_scene(t, folder) if isinstance(t, int) else Path(t) for t in self.truths]
        for path in paths:
            if not path.is_file():
                raise FileNotFoundError(f"truth file not found: {path}")
        return paths

    def _make_survey(self) -> Survey:
        from ..simulation import PsfModel, get_survey

        survey = get_survey(self.band)
        if self.psf_fwhm is not None:
            survey = dataclasses.replace(survey, fwhm=self.psf_fwhm)
        if self.pixel_scale is not None:
            survey = dataclasses.replace(survey, pixel_scale=self.pixel_scale)
        PsfModel(survey.fwhm).check_sampling(survey.pixel_scale)
        if self.visits is not None:
            survey = dataclasses.replace(survey, n_exposures=self.visits)
        return survey

    def _make_config(self) -> SceneConfig | None:
        """Config of the scenes; `None` if it is the default one."""
        if not self.options:
            return None
        from .._config_options import apply_option, describe_field_error
        from ..simulation.config import SceneConfig

        config = SceneConfig()
        for option in self.options:
            apply_option(config, option)
        try:
            config.validate()
        except ValueError as err:
            raise ValueError(f"options do not work: {describe_field_error(err)}") from err
        return config

    def held_out(self, share: float) -> SceneRecipe:
        """Give other skies of the same kind, to stop early, to calibrate and to score a model on.

        Parameters
        ----------
        share
            Their number as a share of that of the skies and truth scenes.

        Returns
        -------
        recipe
            Skies of the built-in catalogue, one at least; none if the share is 0.
        """
        n = self.n_scenes if self.vary else self.skies + len(self.truths)
        return dataclasses.replace(
            self,
            skies=max(1, round(share * n)) if share > 0.0 else 0,
            truths=(),
            split=None,
            seed=self.seed + HELD_OUT_SEED,
        )

    def like(self, coadd: CoaddProperties) -> list[SimulatedScene]:
        """List as many skies with the seeing, noise and depth of a coadd.

        Parameters
        ----------
        coadd
            The coadd (`measure_coadd`).

        Returns
        -------
        scenes
            ``skies`` scenes of `like_scenes`, in the band of the coadd.

        Raises
        ------
        ValueError
            Raised if the recipe sets what the coadd is to tell, or has truth scenes.
        """
        for name in ("truths", *_WITHOUT_VARIATION):
            if getattr(self, name) not in (None, ()):
                raise ValueError(f"a recipe with {name} cannot be made like a coadd; leave out one of them")
        return like_scenes(coadd, self.skies, seed=self.seed, size=self.size)

    def to_dict(self) -> dict[str, Any]:
        """Describe the recipe in JSON-compatible values.

        Returns
        -------
        description
            Kind and format, the number of skies and the seed, and what differs from the default.
        """
        description: dict[str, Any] = {"kind": _KIND, "format": _FORMAT}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in _ALWAYS_WRITTEN or value != field.default:
                description[field.name] = list(value) if isinstance(value, tuple) else value
        return description

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> Self:
        """Make a recipe of what `to_dict` gave.

        Parameters
        ----------
        description
            The description.

        Returns
        -------
        recipe
            The recipe.

        Raises
        ------
        ValueError
            Raised if it is of another kind or format, or has an unknown field or a value of a wrong type.
        """
        if description.get("kind") != _KIND:
            raise ValueError(f'this is no recipe of skies, whose "kind" is "{_KIND}"')
        if (found := description.get("format")) != _FORMAT:
            raise ValueError(f"the format is {found!r}, and this version reads format {_FORMAT}")
        known = {field.name: field for field in dataclasses.fields(cls)}
        values = {name: value for name, value in description.items() if name not in ("kind", "format")}
        for name in values:
            if name not in known:
                raise ValueError(
                    f"there is no field {name!r}{did_you_mean(name, known)}; there are {', '.join(known)}"
                )
        return cls(**{name: _convert(known[name], value) for name, value in values.items()})

    def write(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write a JSON file, which may be edited; relative paths of truths in it are seen from its folder.

        Parameters
        ----------
        path
            The file.
        overwrite
            Whether a file that exists is replaced.

        Returns
        -------
        path
            The file.

        Raises
        ------
        FileExistsError
            Raised if the file exists and is not to be replaced.
        """
        path = Path(path)
        if path.exists() and not overwrite:
            raise FileExistsError(f"output exists already: {path}; remove it or choose another name")
        with atomic_path(path) as temporary:
            description = _move_truths(self.to_dict(), lambda truth: os.path.relpath(truth, path.parent))
            temporary.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        return path

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read the file of a recipe.

        Parameters
        ----------
        path
            The file.

        Returns
        -------
        recipe
            The recipe.

        Raises
        ------
        OSError
            Raised if the file cannot be read.
        ValueError
            Raised, with the name of the file, if it is no recipe, of another format, has a field that is
            unknown or makes no sense, or stands for no sky.
        """
        path = Path(path)
        if kind := irregular_kind(path):
            raise ValueError(f"{path} is {kind}, which may have no end; give a file")
        if path.stat().st_size > _LARGEST:
            raise ValueError(f"{path}: a recipe of skies has some hundred bytes; this is another file")
        try:
            description = json.loads(path.read_bytes(), object_pairs_hook=_unique)
            if not isinstance(description, dict):
                raise ValueError(f'this is no recipe of skies, whose "kind" is "{_KIND}"')
            recipe = cls.from_dict(_move_truths(description, lambda truth: os.path.join(path.parent, truth)))
        except json.JSONDecodeError as err:
            raise ValueError(f"{path}: line {err.lineno} is not JSON: {err.msg}") from err
        except (UnicodeDecodeError, RecursionError) as err:
            raise ValueError(f"{path}: this is no recipe of skies, but something else") from err
        except ValueError as err:
            raise ValueError(f"{path}: {err}") from err
        if not recipe.n_scenes:
            raise ValueError(f"{path}: there is no sky in it; set skies or truths")
        return recipe

    @classmethod
    def is_recipe(cls, path: str | Path) -> bool:
        """Tell from its first bytes whether a file means to be a recipe.

        Parameters
        ----------
        path
            Any path.

        Returns
        -------
        is_recipe
            Whether it is a file that looks like a recipe; `read` finds what may be wrong with it.
        """
        path = Path(path)
        try:
            if not path.is_file():
                return False
            with path.open("rb") as file:
                return _LOOKS_LIKE_RECIPE.match(file.read(_HEAD)) is not None
        except (OSError, ValueError):
            return False


def _move_truths(description: dict[str, Any], move: Callable[[str], str]) -> dict[str, Any]:
    """Say where truth files with relative paths are as seen from another folder."""
    truths = description.get("truths")
    if not isinstance(truths, list):
        return description
    moved = [
        os.path.normpath(move(one)) if isinstance(one, str) and not os.path.isabs(one) else one
        for one in truths
    ]
    return description | {"truths": moved}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Fields of a JSON object, each of which is given once."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {twice!r} is given twice")
    return fields


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, float) or _is_integer(value)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


_TYPES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "int": ("an integer", _is_integer),
    "int | None": ("an integer or null", lambda value: value is None or _is_integer(value)),
    "float | None": ("a number or null", lambda value: value is None or _is_number(value)),
    "bool": ("true or false", lambda value: isinstance(value, bool)),
    "str": ("text", _is_text),
    "str | None": ("text or null", lambda value: value is None or _is_text(value)),
    "tuple[str, ...]": (
        "a list of texts",
        lambda value: isinstance(value, list) and all(map(_is_text, value)),
    ),
    "tuple[int | str, ...]": (
        "a list of scene numbers and names of files",
        lambda value: isinstance(value, list) and all(_is_integer(v) or _is_text(v) for v in value),
    ),
}
"""What a value in a file must be, by the annotation of its field."""


def _convert(field: dataclasses.Field[Any], value: Any) -> Any:
    """Value of a field from that in a file; `ValueError` if it is of another type."""
    expected, fits = _TYPES[str(field.type)]
    if not fits(value):
        raise ValueError(f"{field.name} must be {expected}, not {json.dumps(value)[:80]}")
    return tuple(value) if isinstance(value, list) else value
