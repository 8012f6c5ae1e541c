# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Recipes of skies: the scenes that they stand for, and their files."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lsst.meas.blendid.simulation import SceneConfig, find_truth_scene, get_survey
from lsst.meas.blendid.training import SceneRecipe, like_scenes, randomized_scenes, simulated_scenes
from lsst.meas.blendid.training.simulated import CoaddProperties

EVERYTHING = SceneRecipe(
    skies=3,
    truths=(1, 2),
    sizes=("large", "cosmodc2-galaxies"),
    draws=2,
    size=300,
    band="r",
    psf_fwhm=0.9,
    visits=33,
    seed=7,
    split="train",
    options=("population.sizeScale=2", "variation.fwhmScatter=0.05"),
)


def test_varied_skies_are_randomized_scenes() -> None:
    assert SceneRecipe(vary=True, seed=4).scenes() == randomized_scenes(16, seed=4)
    small = SceneRecipe(skies=3, vary=True, size=300, band="z")
    assert small.scenes() == randomized_scenes(3, seed=1, size=300, band="z")


@pytest.mark.parametrize(("skies", "n_truths", "draws"), [(0, 2, 2), (3, 2, 1), (1, 2, 2), (6, 1, 1)])
def test_varied_skies_and_truths_in_turn(shared_data: Path, skies: int, n_truths: int, draws: int) -> None:
    """Of the pairs that randomised scenes come in, as many of either kind as are asked for."""
    paths = [find_truth_scene(number, shared_data) for number in (1, 2)[:n_truths]]
    recipe = SceneRecipe(skies=skies, truths=(1, 2)[:n_truths], draws=draws, vary=True, split="train")
    found = recipe.scenes(shared_data)
    assert len(found) == recipe.n_scenes == skies + n_truths * draws
    everything = randomized_scenes(2 * max(skies, n_truths * draws), seed=1, truths=paths, split="train")
    assert [s for s in found if s.source == "parametric"] == everything[1::2][:skies]
    assert [s for s in found if s.source != "parametric"] == everything[::2][: n_truths * draws]
    places = [everything.index(scene) for scene in found]
    assert places == sorted(places)


def test_without_variation(shared_data: Path) -> None:
    """Truths first, then skies with other seeds; each with every size, all of one survey and config."""
    survey = dataclasses.replace(get_survey("r"), fwhm=0.9, n_exposures=33)
    config = SceneConfig()
    config.population.sizeScale = 2.0
    config.variation.fwhmScatter = 0.05
    paths = [find_truth_scene(number, shared_data) for number in (1, 2)]
    settings: dict[str, Any] = {"size_models": EVERYTHING.sizes, "draws": 2, "size": 300, "survey": survey}
    expected = simulated_scenes(paths, seed=7, split="train", **settings)
    expected += simulated_scenes(n_scenes=3, seed=7 + len(expected), **settings)
    found = EVERYTHING.scenes(shared_data)
    assert found == [dataclasses.replace(scene, config=config) for scene in expected]
    assert len(found) == EVERYTHING.n_scenes == 20
    assert SceneRecipe(skies=2).scenes() == simulated_scenes(n_scenes=2, survey=get_survey("i"))
    files = dataclasses.replace(EVERYTHING, truths=tuple(map(str, paths)))
    assert files.scenes() == found


def test_like_a_coadd() -> None:
    coadd = CoaddProperties("coadd.fits", "r", 0.8, 0.2, 30.0, True)
    assert SceneRecipe(skies=3, seed=5, size=300).like(coadd) == like_scenes(coadd, 3, seed=5, size=300)
    with pytest.raises(ValueError, match="psf_fwhm"):
        SceneRecipe(psf_fwhm=0.8).like(coadd)


def test_held_out_skies_are_others() -> None:
    recipe = SceneRecipe(skies=10, vary=True, seed=3)
    held_out = recipe.held_out(0.2)
    assert held_out.scenes() == randomized_scenes(2, seed=1_000_003)
    assert recipe.held_out(0.01).n_scenes == 1
    assert recipe.held_out(0.0).scenes() == []
    # Of the truths only their number counts: what is held out must not be of their sky.
    other = EVERYTHING.held_out(0.4)
    assert (other.skies, other.truths, other.split, other.seed) == (2, (), None, 1_000_007)
    assert (other.sizes, other.psf_fwhm, other.options) == (
        EVERYTHING.sizes,
        EVERYTHING.psf_fwhm,
        EVERYTHING.options,
    )
    # A draw of a truth scene is one of its varied scenes.
    assert SceneRecipe(skies=0, truths=(1,), draws=10, vary=True).held_out(0.5).skies == 5


def test_pixels_are_those_of_the_recipe(tmp_path: Path) -> None:
    pytest.importorskip("galsim")
    recipe = SceneRecipe(
        skies=1, sizes=("large",), size=64, psf_fwhm=0.9, options=("population.sizeScale=2",)
    )
    read = SceneRecipe.read(recipe.write(tmp_path / "skies.json"))
    first, second = recipe.scenes()[0].load(), read.scenes()[0].load()
    np.testing.assert_array_equal(first.masked_image.image.array, second.masked_image.image.array)
    assert first.provenance == second.provenance
    assert first.provenance["settings"] == {"population.sizeScale": 2.0}
    simulated = recipe.scenes()[0].simulate()
    np.testing.assert_array_equal(simulated.coadd.image.array, first.masked_image.image.array)
    assert simulated.truth.meta["psf_fwhm"] == 0.9


@pytest.mark.parametrize("recipe", [SceneRecipe(), SceneRecipe(vary=True, draws=3), EVERYTHING])
def test_a_file_gives_the_recipe_back(tmp_path: Path, recipe: SceneRecipe) -> None:
    path = recipe.write(tmp_path / "skies.json")
    assert SceneRecipe.is_recipe(path)
    assert SceneRecipe.read(path) == recipe
    assert SceneRecipe.from_dict(recipe.to_dict()) == recipe
    written = json.loads(path.read_text())
    assert set(written) - {"kind", "format"} <= {field.name for field in dataclasses.fields(recipe)}
    assert {"skies", "seed"} <= set(written)
    with pytest.raises(FileExistsError, match=r"skies\.json"):
        SceneRecipe(skies=1).write(path)
    assert SceneRecipe.read(SceneRecipe(skies=1).write(path, overwrite=True)).skies == 1
    assert os.listdir(tmp_path) == ["skies.json"]


def test_a_file_says_what_is_not_the_default(tmp_path: Path) -> None:
    path = SceneRecipe(vary=True, seed=2).write(tmp_path / "skies.json")
    assert json.loads(path.read_text()) == {
        "kind": "blendid-scene-recipe",
        "format": 1,
        "skies": 16,
        "vary": True,
        "seed": 2,
    }


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"sky": 3}, "no field 'sky'.*there are skies, truths"),
        ({"skyes": 3}, "no field 'skyes'.*did you mean 'skies'"),
        ({"kind": "other"}, 'whose "kind" is'),
        ({"format": 2}, "format is 2, and this version reads format 1"),
        ({"format": None}, "format is None"),
        ({"skies": 3.0}, "skies must be an integer, not 3.0"),
        ({"skies": True}, "skies must be an integer, not true"),
        ({"skies": -1}, "skies must be at least 0"),
        ({"draws": 0}, "draws must be at least 1"),
        ({"size": 8}, "size must be at least 32"),
        ({"seed": "1"}, "seed must be an integer"),
        ({"vary": 1}, "vary must be true or false"),
        ({"band": 1}, "band must be text"),
        ({"band": "q"}, "q"),
        ({"psf_fwhm": "0.7"}, "psf_fwhm must be a number or null"),
        ({"psf_fwhm": float("nan")}, "psf_fwhm must be greater than 0"),
        ({"psf_fwhm": 0.2}, "undersampled"),
        ({"visits": 0}, "visits must be at least 1"),
        ({"sizes": "large"}, "sizes must be a list of texts"),
        ({"sizes": ["larg"]}, "unknown 'larg'.*did you mean 'large'"),
        ({"truths": [1.5]}, "truths must be a list of scene numbers"),
        ({"truths": [10]}, "no scene 10; there are scenes 0 to 9"),
        ({"truths": [0], "split": "train"}, "scene 0 belongs to the test sky"),
        ({"split": "train"}, "split is that of truths"),
        ({"vary": True, "visits": 3}, "with vary each sky draws what visits sets"),
        ({"vary": True, "options": ["engine=galsim"]}, "with vary each sky draws what options sets"),
        ({"options": ["population.sizeScal=2"]}, "no field.*did you mean 'sizeScale'"),
        ({"options": ["population.sizeScale=99"]}, "sizeScale"),
        ({"options": ["population.sizeScale"]}, "FIELD=VALUE"),
        ({"options": ["population.sizeScale=__import__('os').getpid()"]}, "population.sizeScale"),
        ({"options": ["mode=full", "variation.fwhmScatter=0.1"]}, "options do not work"),
        ({"skies": 0}, "no sky"),
    ],
)
def test_bad_recipes(tmp_path: Path, changes: dict[str, Any], match: str) -> None:
    path = tmp_path / "skies.json"
    path.write_text(json.dumps(SceneRecipe(skies=2).to_dict() | changes))
    with pytest.raises(ValueError, match=match) as caught:
        SceneRecipe.read(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "is_recipe", "match"),
    [
        (b"", False, "not JSON"),
        (b"SIMPLE  =", False, "not JSON"),
        (b"\xff\xfe\x00", False, "something else"),
        (b"[" * 100_000, False, "something else"),
        (b"[1, 2]", False, "no recipe"),
        (b"x" * 2_000_000, False, "another file"),
        (b'{"kind": "blendid-stamp-set"}', False, "no recipe"),
        # Meant to be one, with a slip.
        (b'{\n  "kind": "blendid-scene-recipe",\n  "format": 1,\n  "seed": 1,\n}', True, "line 5"),
        (
            b'{"kind": "blendid-scene-recipe", "format": 1, "seed": 1, "seed": 2}',
            True,
            "'seed' is given twice",
        ),
    ],
)
def test_other_files(tmp_path: Path, content: bytes, is_recipe: bool, match: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert SceneRecipe.is_recipe(path) is is_recipe
    with pytest.raises(ValueError, match=match) as caught:
        SceneRecipe.read(path)
    assert str(path) in str(caught.value)


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "nothing", Path("\0")):
        assert not SceneRecipe.is_recipe(path)
    with pytest.raises(ValueError, match="a pipe"):
        SceneRecipe.read(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError):
        SceneRecipe.read(tmp_path / "nothing")


def test_truths_that_are_missing(tmp_path: Path) -> None:
    recipe = SceneRecipe(skies=0, truths=(str(tmp_path / "scene_01.fits"),), split="train")
    with pytest.raises(FileNotFoundError, match=r"scene_01\.fits"):
        recipe.scenes()


def test_truth_files_are_found_from_the_folder_of_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the command runs that reads it."""
    (tmp_path / "work" / "truths").mkdir(parents=True)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "work" / "truths" / "mine.fits").write_bytes(b"")
    monkeypatch.chdir(tmp_path / "work")
    truths = ("truths/mine.fits", 3, "/elsewhere/theirs.fits")
    path = SceneRecipe(skies=0, truths=truths).write("../recipes/r.json")
    assert SceneRecipe.read(path).truths == ("../work/truths/mine.fits", *truths[1:])
    monkeypatch.chdir(tmp_path)
    assert SceneRecipe.read("recipes/r.json").truths[0] == "work/truths/mine.fits"


def test_more_images_than_anybody_simulates_are_refused() -> None:
    with pytest.raises(ValueError, match="these are 99999999999 images"):
        SceneRecipe(skies=99_999_999_999, vary=True)
