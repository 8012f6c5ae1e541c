# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lsst.meas.blendid.centers import CENTER_COLUMNS
from lsst.meas.blendid.classifiers import (
    CentersClassifier,
    CentersConfig,
    CentersSettings,
    FitOptions,
    LabelledSamples,
    classifier_registry,
)
from lsst.meas.blendid.model_package import ModelPackage, ModelPackageError
from lsst.meas.blendid.model_settings import SettingsError
from lsst.meas.blendid.networks import CheckpointError, MissingKerasError
from lsst.meas.blendid.samples import FootprintSamples, SceneContext
from toy_centers import make_labelled, make_scene, make_scenes, make_settings
from toy_samples import make_result


@pytest.fixture(scope="module")
def scenes() -> LabelledSamples:
    return make_labelled(2)


def make_untrained(**settings: Any) -> CentersClassifier:
    return CentersClassifier(settings=make_settings(**settings))


@pytest.fixture(scope="module")
def fitted(scenes: LabelledSamples) -> CentersClassifier:
    classifier = make_untrained(
        steps=180, steps_per_epoch=60, learning_rate=0.01, warmup_steps=10, crop_size=64, max_footprints=20
    )
    classifier.fit(scenes, make_labelled(1, seed=5), FitOptions(seed=2))
    return classifier


def test_registered() -> None:
    assert classifier_registry["centers"] is CentersClassifier


def test_fit_learns(fitted: CentersClassifier) -> None:
    samples, counts, _ = make_scenes(2, seed=7)
    p_n = fitted.predict(samples)
    assert p_n.shape == (len(samples), 5)
    assert p_n.sum(axis=1) == pytest.approx(1.0)
    blended = p_n[:, 2:].sum(axis=1)
    assert blended[counts > 1].mean() > blended[counts <= 1].mean() + 0.15
    assert set(fitted.history) == {"loss", "counts_loss", "tiles_loss", "validation_loss"}
    assert len(fitted.history["loss"]) == 3
    # A model that knows nothing has log(2).
    assert fitted.history["validation_loss"][-1] < 0.65


def test_package_gives_the_same(fitted: CentersClassifier, scenes: LabelledSamples, tmp_path: Path) -> None:
    samples = scenes.samples
    path = fitted.to_package("toy").write(tmp_path / "toy.blendid")
    again = CentersClassifier.from_package(ModelPackage.read(path))
    assert np.array_equal(again.predict(samples), fitted.predict(samples))
    assert np.array_equal(again.describe(samples), fitted.describe(samples), equal_nan=True)
    assert again.to_package("toy").to_bytes() == fitted.to_package("toy").to_bytes()


def test_prepared_samples_need_no_images(fitted: CentersClassifier) -> None:
    samples, _, _ = make_scenes(1, seed=3)
    expected = fitted.predict(samples)
    fresh, _, _ = make_scenes(1, seed=3)
    assert fitted.prepare(fresh)
    bare = fresh.without_images()
    assert np.array_equal(fitted.predict(bare), expected)
    with pytest.raises(ValueError, match="was not prepared"):
        fitted.predict(make_scenes(1, seed=3)[0].without_images())


def test_images_do_not_depend_on_each_other(fitted: CentersClassifier) -> None:
    samples, _, _ = make_scenes(2, seed=4)
    each = [FootprintSamples([r], [c]) for r, c in zip(samples.results, samples.contexts, strict=True)]
    alone = np.concatenate([fitted.predict(s) for s in each])
    assert fitted.predict(samples) == pytest.approx(alone, abs=1e-6)
    joined = FootprintSamples.join(each)
    assert np.array_equal(fitted.describe(joined)[:, :3], fitted.describe(samples)[:, :3])


@pytest.mark.parametrize("forget", [False, True])
def test_chosen_footprints_are_as_they_were_among_all(fitted: CentersClassifier, forget: bool) -> None:
    samples, _, _ = make_scenes(2, seed=4)
    everything, columns = fitted.predict(samples), fitted.describe(samples)
    fitted.prepare(samples)
    rows = np.zeros(len(samples), dtype=bool)
    rows[[3, 4, 20, len(samples) - 2]] = True
    some = (samples.without_images() if forget else samples).select(rows)
    assert fitted.predict(some) == pytest.approx(everything[rows], abs=1e-6)
    assert np.allclose(fitted.describe(some), columns[rows], atol=1e-5, equal_nan=True)


def test_candidates_are_where_galaxies_are(fitted: CentersClassifier) -> None:
    result, counts, centers = make_scene(6, seed=11, xy0=(500, -200))
    samples = FootprintSamples([result], [SceneContext("i", 31.4)])
    (found,) = fitted.find_candidates(samples)
    assert len(found.start) == len(samples) + 1
    single = np.flatnonzero((counts == 1) & (np.diff(found.start) > 0))
    assert single.size > 5
    best = found.start[single]
    distance = np.hypot(found.x[best][:, None] - centers[:, 0], found.y[best][:, None] - centers[:, 1]).min(
        axis=1
    )
    assert np.median(distance) < 2.0
    box = samples.bbox[found.row]
    assert np.all(
        (found.x >= box[:, 0]) & (found.x <= box[:, 2]) & (found.y >= box[:, 1]) & (found.y <= box[:, 3])
    )


def test_describe(fitted: CentersClassifier, scenes: LabelledSamples) -> None:
    samples = scenes.samples
    columns = fitted.describe(samples)
    assert columns.shape == (len(samples), len(CENTER_COLUMNS)) and columns.dtype == np.float32
    p_n = columns[:, CENTER_COLUMNS.index("center_p_n_0") : CENTER_COLUMNS.index("center_p_n_4") + 1]
    assert p_n == pytest.approx(fitted.predict(samples), abs=1e-6)
    found = fitted.find_candidates(samples)
    first = found[1].probability[found[1].start[:-1][np.diff(found[1].start) > 0]]
    rows = np.flatnonzero(np.diff(found[1].start) > 0) + samples.offsets[1]
    assert columns[rows, 0] == pytest.approx(first)


def test_no_footprints_and_no_images(fitted: CentersClassifier) -> None:
    empty = make_result(np.ones((30, 21)), np.zeros((30, 21), int))
    samples = FootprintSamples([empty])
    assert fitted.predict(samples).shape == (0, 5)
    assert fitted.describe(samples).shape == (0, len(CENTER_COLUMNS))
    assert np.array_equal(fitted.find_candidates(samples)[0].start, [0])
    assert fitted.predict(FootprintSamples([])).shape == (0, 5)


def test_odd_sizes_and_bad_pixels(fitted: CentersClassifier) -> None:
    result, _, _ = make_scene(2, seed=1, extra=3)
    assert result.image.shape == (35, 35)
    image, significance = result.image.copy(), result.significance.copy()
    image[5:8, 5:8] = np.nan
    significance[:3] = np.nan
    broken = dataclasses.replace(result, image=image, significance=significance)
    one, two = (fitted.predict(FootprintSamples([r])) for r in (result, broken))
    assert np.isfinite(two).all()
    assert one.shape == two.shape and not np.allclose(one[0], two[0])


def test_fit_goes_on_from_its_checkpoint(scenes: LabelledSamples, tmp_path: Path) -> None:
    samples, counts, centers = scenes.samples, scenes.counts, scenes.centers
    assert centers is not None
    options = FitOptions(seed=4, folder=tmp_path)
    first = make_untrained()
    first.fit(scenes, options=options)
    lines: list[str] = []
    second = make_untrained()
    second.fit(scenes, options=dataclasses.replace(options, report=lines.append))
    assert any(line.startswith("going on after epoch 2") for line in lines)
    assert np.array_equal(first.predict(samples), second.predict(samples))
    assert first.history == second.history
    moved = (centers[0] + 1.0, *centers[1:])
    changes: list[tuple[str, dict[str, Any], LabelledSamples | None, int]] = [
        ("seed was 4 and is 5", {}, None, 5),
        ("data was", {"counts": np.roll(counts, 1)}, None, 4),
        ("centers was", {"centers": moved}, None, 4),
        ("weights was None", {"weights": np.ones(len(counts))}, None, 4),
        ("validation was None", {}, make_labelled(2, seed=9), 4),
    ]
    for match, change, validation, seed in changes:
        with pytest.raises(CheckpointError, match=f"another training .*{match}"):
            make_untrained().fit(
                dataclasses.replace(scenes, **change), validation, dataclasses.replace(options, seed=seed)
            )
    with pytest.raises(CheckpointError, match="another training .*settings was .*tile_weight"):
        make_untrained(tile_weight=0.5).fit(scenes, options=options)


def test_weights_of_footprints_do_not_change_the_prior(scenes: LabelledSamples) -> None:
    blends = scenes.counts > 1
    classifier = make_untrained(
        steps=60, steps_per_epoch=60, learning_rate=0.01, crop_size=64, max_footprints=20
    )
    classifier.fit(dataclasses.replace(scenes, weights=np.where(blends, 20.0, 1.0)))
    blended = classifier.predict(scenes.samples)[:, 2:].sum(axis=1)
    assert blended.mean() == pytest.approx(blends.mean(), abs=0.2)


def test_fine_tuning_wins_back_a_shift(fitted: CentersClassifier) -> None:
    samples, counts, _ = make_scenes(2, seed=21)
    # In the other survey, most that look like one galaxy are two.
    shifted = np.where(counts == 1, 2, counts)
    start = fitted.to_package("start")
    tuned = CentersClassifier.from_package(start)
    # It needs no places of galaxies.
    tuned.fine_tune(LabelledSamples(samples=samples, counts=shifted))
    assert tuned.to_package().metadata["prior"]["blended"] == pytest.approx(np.mean(shifted > 1), abs=1e-6)
    fresh, other, _ = make_scenes(2, seed=22)
    other = np.where(other == 1, 2, other)
    losses = []
    for classifier in (fitted, tuned):
        p_n = classifier.predict(fresh)
        losses.append(-np.log(p_n[np.arange(len(other)), other] + 1e-9).mean())
    assert losses[1] < 0.7 * losses[0]
    assert set(tuned.history) == {"freedom", "cross_validation_loss"}
    # The map network is as it was.
    assert np.array_equal(tuned.describe(fresh)[:, 0], fitted.describe(fresh)[:, 0])


def test_errors_of_fit(scenes: LabelledSamples) -> None:
    classifier = make_untrained()
    with pytest.raises(ValueError, match="learns from true positions"):
        classifier.fit(dataclasses.replace(scenes, centers=None))
    with pytest.raises(ValueError, match="0 of the .* training footprints are blended"):
        classifier.fit(dataclasses.replace(scenes, counts=np.ones_like(scenes.counts)))
    nothing = FootprintSamples([make_result(np.ones((8, 8)), np.zeros((8, 8), int))])
    validation = LabelledSamples(samples=nothing, counts=np.zeros(0, int))
    with pytest.raises(ValueError, match="validation images have no footprints"):
        classifier.fit(scenes, validation)
    with pytest.raises(RuntimeError, match="has no model"):
        classifier.predict(scenes.samples)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["network.blocks=1"], "network.blocks has 1 numbers, widths 4"),
        (["training.crop_size=30"], r"training\.crop_size is 30, not a multiple of 16"),
        (["training.steps=8"], r"training\.warmup_steps is 300, not less than steps, 8"),
        (["training.averaging=1"], r"training\.averaging is 1\.0; it has to be less than 1"),
        (["network.widths="], r"network\.widths has 0 values"),
    ],
)
def test_settings_that_cannot_work(options: list[str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        CentersSettings().with_options(options)


def test_package_of_format_1_gives_the_same(fitted: CentersClassifier, scenes: LabelledSamples) -> None:
    package = fitted.to_package("m")
    settings = package.metadata.pop("settings")
    package.metadata["config"] = {
        old: settings[name.partition(".")[0]][name.partition(".")[2]]
        for old, name in CentersSettings.old_names.items()
        if name is not None
    }
    assert package.metadata["config"]["cropSize"] == 64
    again = CentersClassifier.from_package(package)
    assert again.settings == fitted.settings
    assert np.array_equal(again.predict(scenes.samples), fitted.predict(scenes.samples))


def test_damaged_package(fitted: CentersClassifier) -> None:
    package = fitted.to_package("damaged")
    package.arrays["stem_kernel"] = package.arrays["stem_kernel"][:2]
    with pytest.raises(ModelPackageError, match="stem_kernel has shape"):
        CentersClassifier.from_package(package)
    package = fitted.to_package("damaged")
    del package.arrays["tiles_bias"]
    with pytest.raises(ModelPackageError, match="lacks array 'tiles_bias'"):
        CentersClassifier.from_package(package)
    package = fitted.to_package("damaged")
    package.arrays["context_scale"] = np.zeros_like(package.arrays["context_scale"])
    with pytest.raises(ModelPackageError, match="not positive"):
        CentersClassifier.from_package(package)


def test_only_training_needs_keras(
    fitted: CentersClassifier, scenes: LabelledSamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = scenes.samples
    package = fitted.to_package("toy")
    monkeypatch.setitem(sys.modules, "keras", None)
    classifier = CentersClassifier.from_package(package)
    assert np.array_equal(classifier.predict(samples), fitted.predict(samples))
    classifier.check_fit(goes_on=True)
    match = r"pip install 'lsst-meas-blendid\[tensorflow\]'"
    with pytest.raises(MissingKerasError, match=match):
        make_untrained().check_fit()
    with pytest.raises(MissingKerasError, match=match):
        make_untrained().fit(scenes)


def test_views_are_averaged(fitted: CentersClassifier, scenes: LabelledSamples) -> None:
    samples, counts = scenes.samples, scenes.counts
    package = fitted.to_package("m")
    assert "views" not in package.metadata["settings"]
    p_n = {}
    for views in (1, 2, 8):
        config = CentersConfig()
        config.views = views
        classifier = CentersClassifier.from_package(package, config)
        p_n[views] = classifier.predict(samples)
        assert p_n[views].sum(axis=1) == pytest.approx(1.0)
        columns = classifier.describe(samples)[:, CENTER_COLUMNS.index("center_p_n_0") :][:, :5]
        assert columns == pytest.approx(p_n[views], abs=1e-6)
    assert 0.0 < np.abs(p_n[2] - p_n[1]).mean() < 0.1
    true = np.minimum(counts, 4)
    loss = {views: -np.log(p[np.arange(len(true)), true]).mean() for views, p in p_n.items()}
    assert loss[8] < loss[1]
