# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The program of the shipped models, and what the shipped models tell of how they were made."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from lsst.meas.blendid.classifiers import (
    LogisticClassifier,
    LogisticSettings,
)
from lsst.meas.blendid.footprints import FootprintConfig
from lsst.meas.blendid.model_package import ModelPackage, list_shipped
from lsst.meas.blendid.samples import FootprintSamples
from lsst.meas.blendid.simulation import SplitError, find_truth_scene
from lsst.meas.blendid.training import LabelledScenes, SimulatedScene, randomized_scenes, train_classifier
from toy_samples import make_samples
from toy_tools import load_tool


@pytest.fixture(scope="module")
def recipe(repo_root: Path) -> ModuleType:
    return load_tool(repo_root, "train_shipped_models")


def make_labelled(n_side: int = 22) -> LabelledScenes:
    samples, numbers = make_samples(n_side)
    # Toy images have hardly any with four galaxies.
    numbers = np.where(numbers >= 3, numbers + np.arange(len(numbers)) % 3, numbers)
    return LabelledScenes(
        samples=samples,
        counts=numbers,
        sky=samples.scene_index,
        inside=(1.0, 1.0),
        provenance=({"split": "train"}, {"split": "train"}),
        footprints=(FootprintConfig(), FootprintConfig()),
        snr_min=5.0,
    )


SMALL = LogisticSettings(n_components=4)


def test_training_learns_them() -> None:
    labelled = make_labelled()
    package = train_classifier("logistic", labelled, settings=SMALL)
    assert sorted(package.metadata["counts"]) == ["tail"]
    classifier = LogisticClassifier.from_package(package)
    tail = labelled.counts >= 4
    mean = classifier.tail_mean(labelled.samples)[tail].mean()
    assert mean == pytest.approx(labelled.counts[tail].mean(), rel=1e-6)
    # A fine-tuning takes them from the model that it starts from.
    few = make_labelled(8)
    tuned = train_classifier("logistic", few, start=package)
    assert tuned.metadata["counts"] == package.metadata["counts"]


@pytest.mark.parametrize(
    "name",
    ["peaks-i-1", "logistic-i-1", "muygps-i-1", "cnn-i-1", "features-i-1", "centers-i-1", "ensemble-i-1"],
)
def test_shipped_models_tell_them(name: str) -> None:
    """A model of a classifier gives P(N), and the mean of large N."""
    package = ModelPackage.read(name)
    assert "tail" in package.metadata["counts"]
    assert ("shares" in package.metadata["counts"]) == (package.classifier == "muygps")


@dataclasses.dataclass(frozen=True)
class Noted:
    """Prepares nothing, and notes in a file that it was asked; other processes can get it."""

    path: Path

    def __call__(self, samples: FootprintSamples) -> bool:
        with self.path.open("a") as file:
            file.write(f"{len(samples)}\n")
        return True


@pytest.mark.parametrize("processes", [1, 2])
def test_scenes_are_made_once_for_all_models(
    recipe: ModuleType, repo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    # Other processes import the program as well.
    monkeypatch.syspath_prepend(str(repo_root / "tools"))

    def scenes(part: str, truths: object, n_scenes: int) -> list[SimulatedScene]:
        made = randomized_scenes(n_scenes if part != "validation" else 4, seed=3, band="any", size=150)
        asked.append((part, len(made)))
        return made

    asked: list[tuple[str, int]] = []
    monkeypatch.setattr(recipe, "shipped_scenes", scenes)
    monkeypatch.setattr(recipe, "_MIXED", 4)
    few = {
        "features-2": recipe.ShippedModel("features", n_scenes=3),
        "peaks-2": recipe.ShippedModel("peaks", n_scenes=1, validation_step=3),
    }
    monkeypatch.setattr(recipe, "SHIPPED_MODELS", few)
    learners = [recipe._Learner(name, few[name], Noted(tmp_path / name)) for name in few]
    train = recipe.label_shipped("train", None, learners, processes)
    held_out = recipe.label_shipped("validation", None, learners, processes)
    assert asked == [("train", 3), ("validation", 4)]
    lines = {name: len((tmp_path / name).read_text().split()) for name in few}
    assert lines == {"features-2": 3 + 4, "peaks-2": 1 + 2}
    chosen = recipe._take(train, "train", learners[1])
    assert len(chosen.provenance) == 1 and chosen.provenance == train[0].provenance
    assert len(recipe._take(train, "train", learners[0]).counts) == sum(len(one.counts) for one in train)
    held = recipe._take(held_out, "validation", learners[1])
    assert held.provenance == (*held_out[0].provenance, *held_out[3].provenance)


def test_program_makes_what_needs_each_other(
    recipe: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From scenes to packages of a classifier and an ensemble of it, each from its part of the scenes."""
    seeds = {"train": 5, "stack": 6, "validation": 7}
    parts: list[str] = []

    def scenes(part: str, truths: object, n_scenes: int) -> list[SimulatedScene]:
        parts.append(part)
        return randomized_scenes(n_scenes, seed=seeds[part], band="any", size=400)

    monkeypatch.setattr(recipe, "shipped_scenes", scenes)
    monkeypatch.setattr(recipe, "_settings", lambda part, n_scenes: [FootprintConfig()] * n_scenes)
    few = {
        "logistic-2": recipe.ShippedModel("logistic", n_scenes=4, calibration="platt"),
        "features-2": recipe.ShippedModel("features", n_scenes=4),
        "ensemble-2": recipe.ShippedModel(
            "ensemble", n_scenes=5, part="stack", calibration=None, members=("features-2",)
        ),
    }
    monkeypatch.setattr(recipe, "SHIPPED_MODELS", few)
    assert recipe.main(["--out", str(tmp_path)]) == 0
    assert parts == ["train", "validation", "stack", "validation"]
    for name, made in few.items():
        package = ModelPackage.read(str(tmp_path / f"{name}.blendid"))
        assert package.metadata["name"] == name and package.classifier == made.classifier
        assert len(package.metadata["training"]["scenes"]) == made.n_scenes
        assert package.inputs["bands"] == []
        assert np.isfinite(package.metadata["validation"]["scores"]["cross_entropy"])
    # One alone, whose member lies there.
    parts.clear()
    assert recipe.main(["--out", str(tmp_path), "--models", "ensemble-2"]) == 0
    assert parts == ["stack", "validation"]
    assert "ensemble-2: simulating scenes" in capsys.readouterr().out
    assert recipe.main(["--out", str(tmp_path), "--models", "nothing"]) == 1
    assert "no such model is shipped: nothing" in capsys.readouterr().err


def test_shipped_models_train_on_training_sky_only(recipe: ModuleType, shared_data: Path) -> None:
    skies: dict[str, set[str]] = {}
    for split in ("train", "validation"):
        scenes = recipe.shipped_scenes(split, shared_data)
        from_truths = [s for s in scenes if s.source != "parametric"]
        skies[split] = {Path(str(s.source)).name for s in from_truths}
        assert all(s.split == split for s in from_truths)
    assert skies["train"] == {f"scene_0{i}.fits" for i in (1, 2, 3, 5)}
    assert skies["validation"] == {f"scene_0{i}.fits" for i in (4, 7, 8)}
    with pytest.raises(SplitError, match="test sky"):
        SimulatedScene(find_truth_scene(0, shared_data), split="train", size=(300, 300)).load()


@pytest.mark.parametrize("name", list_shipped())
def test_shipped_models_were_made_by_the_documented_program(
    recipe: ModuleType, name: str, shared_data: Path
) -> None:
    package, made = ModelPackage.read(name), recipe.SHIPPED_MODELS.get(name)
    scenes = package.metadata["training"]["scenes"]
    # Models of the first generation, of band i, are from a domain that is no more drawn.
    assert made is not None or name.endswith("-i-1")
    if made is not None:
        assert (package.kind, package.classifier) == (made.kind, made.classifier)
        expected = recipe.shipped_scenes(made.part, shared_data, n_scenes=made.n_scenes)
        assert [scene["seed"] for scene in scenes] == [scene.seed for scene in expected]
    # Drawn scenes are of no part of the sky, and those of truths of the right one.
    assert {scene["split"] for scene in scenes} <= {"train", "none"}
    held_out = package.metadata["validation"]["scenes"]
    assert {scene["split"] for scene in held_out} <= {"validation", "none"}
    assert {scene["seed"] for scene in scenes}.isdisjoint(scene["seed"] for scene in held_out)


def test_command_without_truths_is_one_clear_line(
    recipe: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("BLENDID_DATA", raising=False)
    assert recipe.main(["--out", str(tmp_path)]) == 1
    assert "BLENDID_DATA" in capsys.readouterr().err
    assert recipe.main(["--out", str(tmp_path / "none"), "--truths", str(tmp_path)]) == 1
    assert "output folder does not exist" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
