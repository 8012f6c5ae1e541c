# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Numbers of galaxies beyond P(blended) and P(N), learned by every training and added to older models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lsst.meas.blendid.classifiers import (
    LogisticClassifier,
    LogisticSettings,
    MuyGpsClassifier,
    MuyGpsSettings,
)
from lsst.meas.blendid.footprints import FootprintConfig
from lsst.meas.blendid.model_package import ModelPackage
from lsst.meas.blendid.training import LabelledScenes, shipped, train_classifier
from lsst.meas.blendid.training.__main__ import main
from lsst.meas.blendid.training.counts import add_counts
from lsst.meas.blendid.training.shipped import add_shipped_counts
from toy_samples import make_samples


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


def test_older_models_get_them() -> None:
    labelled = make_labelled()
    settings = MuyGpsSettings(n_neighbors=10, n_components=4, n_products=2, optimize_kernel=False)
    classifier = MuyGpsClassifier(settings=settings)
    classifier.fit(labelled)
    old = classifier.to_package("old", training={"label": "x"})
    assert old.metadata["counts"] is None
    new = add_counts(old, labelled)
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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    labelled = make_labelled()
    asked: list[tuple[object, ...]] = []

    def label(part: str, truths: object, n_scenes: int, prepare: object) -> LabelledScenes:
        asked.append((part, n_scenes))
        return labelled

    monkeypatch.setattr(shipped, "label_shipped", label)
    assert main(["--out", str(tmp_path), "--models", "logistic-i-1", "--counts-only"]) == 0
    assert asked == [("train", 48)]
    package = ModelPackage.read(str(tmp_path / "logistic-i-1.blendid"))
    assert package.metadata["training"]["counts"]["footprints"] == len(labelled.counts)
    before = ModelPackage.read("logistic-i-1")
    assert package.metadata["counts"] != before.metadata["counts"]
    np.testing.assert_array_equal(package.arrays["coefficients"], before.arrays["coefficients"])
    assert "logistic-i-1: 968 footprints" in capsys.readouterr().out
    assert main(["--out", str(tmp_path), "--models", "nothing", "--counts-only"]) == 1
    with pytest.raises(ValueError, match="no model of a classifier"):
        add_shipped_counts(tmp_path, models=["centers-localizer-i-1"])
    with pytest.raises(FileNotFoundError, match="output folder"):
        add_shipped_counts(tmp_path / "none")
