# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.
"""What is learned from and scored on: parts of the sky, seeds, and what is held out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest
from astropy.table import Table
from lsst.meas.blendid.cli._common import MisuseError
from lsst.meas.blendid.cli._data import pair_coadds
from lsst.meas.blendid.footprints import FootprintConfig
from lsst.meas.blendid.training import FileScene, SceneData, SceneRecipe, StampData, clipped_footprints
from lsst.meas.blendid.training.data import FEWEST_TO_SPLIT, FIRST_SEEDS, Role, _take_with_each
from lsst.meas.blendid.training.simulated import CoaddProperties, SimulatedScene
from toy_stamps import toy_stamps

ROLES: tuple[Role, ...] = ("train", "validation", "test", "baseline")
LIKE = CoaddProperties("folder/coadd.fits", "r", 0.8, 0.2, 30.0, True)


def seeds(data: SceneData | None) -> set[int]:
    """Seeds of the scenes of data."""
    assert data is not None
    return {one.seed for one in data.sources if isinstance(one, SimulatedScene)}


def given(folder: Path, skies: Sequence[int | None]) -> SceneData:
    """Coadds that are not there, with truth tables of simulated skies, or (None) of unknown ones."""
    scenes = []
    for i, sky in enumerate(skies):
        truth = Table({"x": [1.0], "y": [1.0], "snr": [9.0]})
        if sky is not None:
            truth.meta.update({"source": "parametric", "seed": sky, "noise_seed": i})
        truth.write(folder / f"{i}.truth.ecsv", overwrite=True)
        scenes.append(FileScene(folder / f"{i}.fits", folder / f"{i}.truth.ecsv"))
    return SceneData(sources=scenes, facts={"kind": "coadds"})


@pytest.mark.parametrize("like", [None, LIKE])
@pytest.mark.parametrize("vary", [False, True])
def test_no_two_roles_share_a_seed(vary: bool, like: CoaddProperties | None) -> None:
    """Also with the same recipe, and with what is held out of it."""
    recipe = SceneRecipe(skies=30, vary=vary, seed=3)
    found = {role: SceneData.simulated([recipe], role=role, like=like) for role in ROLES}
    sets: dict[str, set[int]] = {role: seeds(data) for role, data in found.items()}
    learned, held_out = found["train"].hold_out(0.2)
    assert seeds(learned) == sets["train"]
    sets["held out"] = seeds(held_out)
    # Skies that are held out and those that are named for it are of one part.
    del sets["validation"]
    names = list(sets)
    for i, name in enumerate(names):
        assert sets[name]
        for other in names[:i]:
            assert not sets[name] & sets[other], (name, other)
    assert not found["train"].is_given


@pytest.mark.parametrize("role", ROLES)
def test_a_seed_cannot_reach_the_next_role(role: Role) -> None:
    """The greatest seed that is taken ends below that of the others; one more is refused."""
    recipe = SceneRecipe(skies=10, sizes=("large",), seed=1_000_000 - 10)
    found = seeds(SceneData.simulated([recipe], role=role))
    assert min(found) >= FIRST_SEEDS[role]
    assert all(max(found) < first for first in FIRST_SEEDS.values() if first > FIRST_SEEDS[role])
    with pytest.raises(ValueError, match="seed 999991 of a recipe of 10 images is too large.*smaller seed"):
        SceneData.simulated([dataclasses.replace(recipe, seed=recipe.seed + 1)], role=role)


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        ("train", {"train"}),
        ("validation", {"validation"}),
        ("test", {"test", "validation"}),
        ("baseline", {"train"}),
    ],
)
def test_truth_scenes_are_of_the_part_of_the_role(
    role: Role, allowed: set[str], shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BLENDID_DATA", str(shared_data))
    scenes = {"train": 1, "validation": 4, "test": 0}
    for split, number in scenes.items():
        recipe = SceneRecipe(skies=0, truths=(number,), split=split)
        if split in allowed:
            data = SceneData.simulated([recipe], role=role)
            splits = {one.split for one in data.sources if isinstance(one, SimulatedScene)}
            assert splits == {split}
        else:
            with pytest.raises(ValueError, match=rf"a recipe for {split} \(split\) is not for {role}"):
                SceneData.simulated([recipe], role=role)


def test_facts_make_the_scenes_again() -> None:
    recipes = [SceneRecipe(skies=2, seed=4), SceneRecipe(skies=3, vary=True)]
    data = SceneData.simulated(recipes)
    again = [scene for one in data.facts["recipes"] for scene in SceneRecipe.from_dict(one).scenes()]
    assert again == data.sources and data.facts["kind"] == "simulated"
    learned, held_out = data.hold_out(0.5)
    assert held_out is not None and held_out.role == "validation"
    assert learned.facts["validation"] == held_out.facts["recipes"]
    assert [one.skies for one in held_out.recipes] == [1, 2]
    like = SceneData.simulated([SceneRecipe(skies=2)], like=LIKE)
    assert like.facts["kind"] == "like"
    # Of a file its name, and not where it lies.
    assert like.facts["coadd"]["name"] == "coadd.fits"


@pytest.mark.parametrize(("n", "share", "n_held"), [(4, 0.2, 1), (5, 0.2, 1), (10, 0.2, 2), (4, 0.5, 2)])
def test_given_coadds_are_held_out(tmp_path: Path, n: int, share: float, n_held: int) -> None:
    data = given(tmp_path, [None] * n)
    learned, held_out = data.hold_out(share)
    assert held_out is not None and data.is_given and held_out.is_given
    assert len(held_out.sources) == n_held == held_out.facts["held_out"]
    kept = [*learned.sources, *held_out.sources]
    assert len(kept) == n and all(one in kept for one in data.sources)
    assert (learned.role, held_out.role) == ("train", "validation")


def test_bands_and_draws_of_a_sky_are_held_out_together(tmp_path: Path) -> None:
    data = given(tmp_path, [7, 8, 9, 10, 11] * 3)
    learned, held_out = data.hold_out(0.2)
    assert held_out is not None
    assert (len(learned.sources), len(held_out.sources)) == (12, 3)
    assert len(set(held_out.skies)) == 1 and not set(held_out.skies) & set(learned.skies)


@pytest.mark.parametrize("skies", [[None] * (FEWEST_TO_SPLIT - 1), [1, 2, 3] * 2, [5] * 6])
def test_too_few_skies_are_not_split(tmp_path: Path, skies: list[int | None]) -> None:
    data = given(tmp_path, skies)
    assert data.hold_out(0.2) == (data, None)


def test_nothing_is_held_out_unasked(tmp_path: Path) -> None:
    for data in (given(tmp_path, [None] * 9), SceneData.simulated([SceneRecipe(skies=9)])):
        assert data.hold_out(0.0) == (data, None)


def test_labels_are_of_the_sky_of_their_image() -> None:
    assert FileScene("a.fits", labels="a.labels.ecsv").find_sky() == "a.fits"


def test_few_scenes_are_taken_with_each_of_the_settings() -> None:
    scenes = SceneData.simulated([SceneRecipe(skies=1, sizes=("large",))]).sources
    kinds = [clipped_footprints(), FootprintConfig()]
    assert kinds[0] != kinds[1]
    assert _take_with_each(scenes, kinds) == ([scenes[0], scenes[0]], kinds)
    # Settings that are there twice for their weight count once.
    assert _take_with_each(scenes, [*kinds, kinds[0]])[1] == kinds
    assert _take_with_each([*scenes] * 2, kinds) == ([*scenes] * 2, kinds)


def test_parts_of_stamp_sets(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    toy_stamps(40).with_noise(10.0).write(folder)
    stamps = StampData(folders=(str(folder),))
    learned, held_out = stamps.hold_out(0.2)
    assert learned is stamps and held_out is not None and held_out.role == "validation"
    assert stamps.hold_out(0.0) == (stamps, None)
    assert stamps.added_noise == {}
    toy_stamps(40).with_noise(10.0).split("train").write(tmp_path / "train")
    only = StampData(folders=(str(tmp_path / "train"),))
    assert only.hold_out(0.2) == (only, None)
    with pytest.raises(ValueError, match="no stamps for test in .*train"):
        dataclasses.replace(only, role="test").label([FootprintConfig()])


def test_stamps_without_noise_name_their_folder(tmp_path: Path) -> None:
    toy_stamps(40).write(tmp_path / "clean")
    stamps = StampData(folders=(str(tmp_path / "clean"),))
    with pytest.raises(ValueError, match="clean: .*have no noise"):
        stamps.select("train")
    noisy = dataclasses.replace(stamps, noise=(5.0, 9.0))
    assert noisy.select("train") is not None and noisy.added_noise == {}
    one, two = (StampData(folders=(str(tmp_path / "clean"),), noise=n)._read() for n in ((5.0,), (5.0, 9.0)))
    assert 2 * sum(map(len, one)) == sum(map(len, two))


@pytest.mark.parametrize("kind", ["truths", "labels"])
def test_a_coadd_is_not_its_own_table(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a.fits").touch()
    with pytest.raises(MisuseError, match=r"there is no table a\.(truth|labels)\.parquet"):
        pair_coadds([str(tmp_path / "a.fits")], **{kind: [str(tmp_path)]})
    (tmp_path / "a.csv").touch()
    (pair,) = pair_coadds([str(tmp_path / "a.fits")], **{kind: [str(tmp_path)]})
    assert pair.table == str(tmp_path / "a.csv")
