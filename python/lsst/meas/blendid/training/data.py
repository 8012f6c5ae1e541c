# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What models learn from and are scored on: skies to simulate, coadds with known galaxies, sets of stamps."""

from __future__ import annotations

__all__ = ("SceneData", "StampData")

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .coadds import ButlerScene, FileScene
from .labelling import Prepare, label_scenes
from .scene_recipe import HELD_OUT_SEED, SceneRecipe
from .scenes import LabelledScenes, Progress, SceneSource, Settings
from .stamps import add_noise, find_noise_levels, label_stamps

if TYPE_CHECKING:
    from ..simulation.stamps import StampSet
    from .simulated import CoaddProperties

type Role = Literal["train", "validation", "test", "baseline"]
"""What data are for: baselines are fitted to skies of their own."""

FIRST_SEEDS: dict[Role, int] = {
    "train": 0,
    "validation": HELD_OUT_SEED,
    "test": 5 * HELD_OUT_SEED,
    "baseline": 6 * HELD_OUT_SEED,
}
"""What the seed of a recipe is counted from.  A parametric sky depends on its seed alone, so that no sky that
was learned from is scored, whatever the recipes, whose own seeds end before the next of these numbers."""

_SPLITS: dict[Role, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation",),
    "test": ("test", "validation"),
    "baseline": ("train",),
}
"""Parts of the sky that truth scenes may be of; of the first where their recipe does not tell."""

FEWEST_TO_SPLIT = 4
"""Of coadds of fewer pieces of sky none is held out."""


@dataclass(frozen=True, kw_only=True)
class SceneData:
    """Scenes: skies that are simulated when they are needed, or coadds that are read.

    Parameters
    ----------
    sources
        The scenes; none of them is simulated or read yet.
    facts
        What they are, JSON-compatible; for simulated ones enough to make them again.
    recipes
        Recipes that they are simulated by; none for coadds that were given.
    like
        Coadd whose seeing, noise and depth the simulated ones have.
    role
        What they are for.
    """

    sources: Sequence[SceneSource]
    facts: dict[str, Any]
    recipes: tuple[SceneRecipe, ...] = ()
    like: CoaddProperties | None = None
    role: Role = "train"

    @classmethod
    def simulated(
        cls,
        recipes: Sequence[SceneRecipe],
        *,
        role: Role = "train",
        like: CoaddProperties | None = None,
    ) -> SceneData:
        """Make the scenes of recipes.

        Parameters
        ----------
        recipes
            At least one.
        role
            What they are for: their truth scenes must be of this part of the sky, and their seeds are counted
            from a number of its own.
        like
            Coadd that gives seeing, noise and depth instead of the recipes.

        Returns
        -------
        data
            The scenes.

        Raises
        ------
        ValueError
            Raised if truth scenes are of another part of the sky, or are to look like a coadd, or if the seed
            is so large that skies would be those of another role.
        """
        made = []
        for recipe in recipes:
            if recipe.seed + recipe.n_scenes > HELD_OUT_SEED:
                raise ValueError(
                    f"seed {recipe.seed} of a recipe of {recipe.n_scenes} images is too large: seeds from "
                    f"{HELD_OUT_SEED} on are of skies that models are scored on; give a smaller seed"
                )
            split = recipe.split
            if recipe.truths:
                split = split or _SPLITS[role][0]
                if split not in _SPLITS[role]:
                    raise ValueError(
                        f"a recipe for {split} (split) is not for {role}: take truth scenes of the other sky"
                    )
            made.append(dataclasses.replace(recipe, seed=recipe.seed + FIRST_SEEDS[role], split=split))
        return cls._make(made, role, like)

    @classmethod
    def _make(cls, recipes: Sequence[SceneRecipe], role: Role, like: CoaddProperties | None) -> SceneData:
        """Scenes of recipes as they are."""
        scenes: list[SceneSource] = []
        for recipe in recipes:
            scenes += recipe.scenes() if like is None else recipe.like(like)
        facts: dict[str, Any] = {
            "kind": "simulated" if like is None else "like",
            "recipes": [recipe.to_dict() for recipe in recipes],
        }
        if like is not None:
            facts["coadd"] = like.to_dict() | {"name": Path(like.name).name}
        return cls(sources=scenes, facts=facts, recipes=tuple(recipes), like=like, role=role)

    @property
    def is_given(self) -> bool:
        """Whether they are coadds that were given (`bool`)."""
        return not self.recipes

    @functools.cached_property
    def skies(self) -> list[str]:
        """Names of the pieces of sky of given coadds, one for each (`list` [`str`]).

        Bands and draws of one sky have the same: what is learned from in one is not news in another.
        """
        # A source of somebody else's may tell no sky before it is loaded.
        return [
            one.find_sky() if isinstance(one, FileScene | ButlerScene) else str(i)
            for i, one in enumerate(self.sources)
        ]

    def hold_out(self, share: float) -> tuple[SceneData, SceneData | None]:
        """Find scenes that a model can be calibrated and scored on.

        Parameters
        ----------
        share
            How many, as a share of these: as many more skies, or so many of the given coadds.

        Returns
        -------
        train, validation
            What remains to learn from, and other sky; `None` if there is none: for a share of 0, or of given
            coadds of fewer than `FEWEST_TO_SPLIT` pieces of sky.

        Raises
        ------
        ValueError
            Raised if the truth of a given coadd cannot be read.
        """
        if share <= 0.0:
            return self, None
        if self.recipes:
            others = [recipe.held_out(share) for recipe in self.recipes]
            held_out = self._make(others, "validation", self.like)
            facts = self.facts | {"validation": held_out.facts["recipes"]}
            return dataclasses.replace(self, facts=facts), held_out
        if len(self.sources) < FEWEST_TO_SPLIT:
            return self, None
        names = list(dict.fromkeys(self.skies))
        n_all = len(names)
        if n_all < FEWEST_TO_SPLIT:
            return self, None
        n = max(1, round(share * n_all))
        # Evenly from all of them, so that the held-out ones are not all of one corner of a tract.
        held = {names[round((i + 0.5) * n_all / n - 0.5)] for i in range(n)}
        train: list[SceneSource] = []
        validation: list[SceneSource] = []
        for one, sky in zip(self.sources, self.skies, strict=True):
            (validation if sky in held else train).append(one)
        facts = self.facts | {"held_out": len(validation)}
        return (
            dataclasses.replace(self, sources=train, facts=facts),
            dataclasses.replace(self, sources=validation, facts=facts, role="validation"),
        )

    def label(
        self,
        footprints: Settings,
        *,
        snr_min: float = 5.0,
        keep_planes: bool = True,
        prepare: Prepare | None = None,
        processes: int = 1,
        progress: Progress | None = None,
    ) -> LabelledScenes:
        """Find and label the footprints.

        Parameters
        ----------
        footprints, snr_min, keep_planes, prepare, processes, progress
            As of `.labelling.label_scenes`.

        Returns
        -------
        labelled
            The footprints.

        Raises
        ------
        ValueError
            Raised as by `.labelling.label_scenes`.
        """
        scenes, settings = self.sources, footprints
        # Of simulated skies to learn from there may be too few as well, but each is another piece of sky.
        if self.is_given or self.role != "train":
            scenes, settings = _take_with_each(scenes, settings)
        return label_scenes(
            scenes,
            settings,
            snr_min=snr_min,
            keep_planes=keep_planes,
            prepare=prepare,
            processes=processes,
            progress=progress,
        )


def _take_with_each(
    scenes: Sequence[SceneSource], settings: Settings
) -> tuple[Sequence[SceneSource], Settings]:
    """Take each of a few scenes with each of the settings, so that none of these is left out."""
    if callable(settings) or len(scenes) >= len(settings):
        return scenes, settings
    kinds = [one for i, one in enumerate(settings) if one not in settings[:i]]
    return [scene for scene in scenes for _ in kinds], kinds


@dataclass(frozen=True, kw_only=True)
class StampData:
    """Stamps of one part of sets.

    Parameters
    ----------
    folders
        Folders of the sets.
    role
        Their part.
    noise
        Noise per pixel to add to stamps that have none, each stamp with each; what the sets name if empty.
    unit
        What is classified: stamps as a whole, or the footprints in them.
    """

    folders: tuple[str, ...]
    role: Role = "train"
    noise: tuple[float, ...] = ()
    unit: Literal["stamp", "footprint"] = "stamp"

    is_given = True

    @property
    def facts(self) -> dict[str, Any]:
        """What they are, JSON-compatible (`dict`)."""
        return {"kind": "stamps", "unit": self.unit}

    @property
    def added_noise(self) -> dict[str, list[float]]:
        """Noise that is added as sets name it, by their folders (`dict` [`str`, `list` [`float`]])."""
        from ..simulation.stamps import StampSet

        if self.noise:
            return {}
        found = {}
        for folder in self.folders:
            part = StampSet.read(folder).split(self.role)
            if len(part) and not (part.noise > 0.0).any():
                found[folder] = find_noise_levels(part)
        return found

    def select(self, role: Role) -> StampData | None:
        """Take another part of the sets.

        Parameters
        ----------
        role
            The part.

        Returns
        -------
        data
            Its stamps; `None` if there are none.

        Raises
        ------
        ValueError
            Raised, with the folder, if stamps have no noise and none is to be added.
        """
        data = dataclasses.replace(self, role=role)
        return data if data._read() else None

    def hold_out(self, share: float) -> tuple[StampData, StampData | None]:
        """Find the stamps that a model can be calibrated and scored on.

        Parameters
        ----------
        share
            0 for none; sets tell themselves which and how many.

        Returns
        -------
        train, validation
            The parts of the sets; `None` if they have no stamps for validation.

        Raises
        ------
        ValueError
            Raised as by `select`.
        """
        return self, self.select("validation") if share > 0.0 else None

    def _read(self) -> list[StampSet]:
        """Stamps of the part, with noise."""
        from ..simulation.stamps import StampSet

        found: list[StampSet] = []
        for folder in self.folders:
            part = StampSet.read(folder).split(self.role)
            if not len(part):
                continue
            try:
                found += add_noise(part, self.noise)
            except ValueError as err:
                raise ValueError(f"{folder}: {err}") from err
        return found

    def label(
        self,
        footprints: Settings,
        *,
        snr_min: float = 5.0,
        keep_planes: bool = True,
        prepare: Prepare | None = None,
        processes: int = 1,
        progress: Progress | None = None,
    ) -> LabelledScenes:
        """Turn the stamps into labelled footprints.

        Parameters
        ----------
        footprints
            Settings of the footprints; the first of them, since stamps are searched at one go.
        snr_min, keep_planes, progress
            As of `.stamps.label_stamps`.
        prepare, processes
            Of no use here: a mosaic of stamps is small, and searched in seconds.

        Returns
        -------
        labelled
            The footprints.

        Raises
        ------
        ValueError
            Raised if there is no stamp, or stamps have no noise and none is to be added.
        """
        assert not callable(footprints)
        sets, settings = self._read(), footprints[0]
        if not sets:
            raise ValueError(f"there are no stamps for {self.role} in {', '.join(self.folders)}")
        return label_stamps(
            sets, settings, unit=self.unit, snr_min=snr_min, keep_planes=keep_planes, progress=progress
        )
