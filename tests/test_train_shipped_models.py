# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The recipe of the shipped models, and the numbers of galaxies that models learn after their fit."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from lsst.meas.blendid.classifiers import (
    LogisticClassifier,
    LogisticSettings,
    MuyGpsClassifier,
    MuyGpsSettings,
)
from lsst.meas.blendid.footprints import FootprintConfig
from lsst.meas.blendid.model_package import ModelPackage, list_shipped
from lsst.meas.blendid.simulation import SplitError, find_truth_scene
from lsst.meas.blendid.training import LabelledScenes, SimulatedScene, train_classifier
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


def test_older_models_get_them(recipe: ModuleType) -> None:
    labelled = make_labelled()
    settings = MuyGpsSettings(n_neighbors=10, n_components=4, n_products=2, optimize_kernel=False)
    classifier = MuyGpsClassifier(settings=settings)
    classifier.fit(labelled)
    old = classifier.to_package("old", training={"label": "x"})
    assert old.metadata["counts"] is None
    new = recipe.add_counts(old, labelled)
    assert sorted(new.metadata["counts"]) == ["shares", "tail"]
    assert new.metadata["training"] == {
        "label": "x",
        "counts": {"scenes": 2, "footprints": len(labelled.counts)},
    }
    assert new.arrays.keys() == old.arrays.keys()
    for name, array in old.arrays.items():
        np.testing.assert_array_equal(new.arrays[name], array)
    # P(blended) stays what it was.
    before = MuyGpsClassifier.from_package(old).probabilities(labelled.samples)
    after = MuyGpsClassifier.from_package(ModelPackage.from_bytes(new.to_bytes())).probabilities(
        labelled.samples
    )
    assert before.ndim == 1
    np.testing.assert_allclose(after[:, 2:].sum(axis=1), before, atol=1e-12)


@pytest.mark.parametrize(
    "name",
    ["peaks-i-1", "logistic-i-1", "muygps-i-1", "cnn-i-1", "features-i-1", "centers-i-1", "ensemble-i-1"],
)
def test_shipped_models_tell_them(name: str) -> None:
    """A model of a classifier gives P(N), and the mean of large N."""
    package = ModelPackage.read(name)
    assert "tail" in package.metadata["counts"]
    assert ("shares" in package.metadata["counts"]) == (package.classifier == "muygps")


def test_command_adds_them_to_a_folder(
    recipe: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    labelled = make_labelled()
    asked: list[tuple[object, ...]] = []

    def label(part: str, truths: object, n_scenes: int, prepare: object, processes: int) -> LabelledScenes:
        asked.append((part, n_scenes))
        return labelled

    monkeypatch.setattr(recipe, "label_shipped", label)
    before = ModelPackage.read("logistic-i-1")
    before.write(tmp_path / "logistic-2.blendid")
    assert recipe.main(["--out", str(tmp_path), "--models", "logistic-2", "--counts-only"]) == 0
    assert asked == [("train", 48)]
    package = ModelPackage.read(str(tmp_path / "logistic-2.blendid"))
    assert package.metadata["training"]["counts"]["footprints"] == len(labelled.counts)
    assert package.metadata["counts"] != before.metadata["counts"]
    np.testing.assert_array_equal(package.arrays["coefficients"], before.arrays["coefficients"])
    assert "logistic-2: 968 footprints" in capsys.readouterr().out
    assert recipe.main(["--out", str(tmp_path), "--models", "nothing", "--counts-only"]) == 1
    with pytest.raises(ValueError, match="no model of a classifier"):
        recipe.add_shipped_counts(tmp_path, models=["centers-localizer-2"])
    with pytest.raises(FileNotFoundError, match="output folder"):
        recipe.add_shipped_counts(tmp_path / "none")


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
