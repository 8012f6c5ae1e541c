# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of convolutional networks, small ones on made-up footprints."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lsst.meas.blendid.classifiers import (
    CnnClassifier,
    CnnConfig,
    CnnSettings,
    FitOptions,
    LabelledSamples,
    classifier_registry,
    paper_settings,
)
from lsst.meas.blendid.classifiers._cnn_inputs import VIEWS, Scaling, turn, turn_at_random
from lsst.meas.blendid.classifiers._cnn_networks import build_modern_network, build_paper_network
from lsst.meas.blendid.classifiers.cnn import CnnTrainingSettings, _hold_out
from lsst.meas.blendid.cutouts import CutoutSettings
from lsst.meas.blendid.model_package import ModelPackage, ModelPackageError
from lsst.meas.blendid.model_settings import SettingsError
from lsst.meas.blendid.networks import CheckpointError, MissingKerasError, get_arrays, set_arrays
from lsst.meas.blendid.samples import FootprintSamples
from toy_samples import make_result, make_samples

_FEATURES = ("area", "n_peaks", "max_significance", "second_significance", "psf_sigma")


def make_settings(*, width: int = 4, **training: Any) -> CnnSettings:
    """A network that learns in a second."""
    values: dict[str, Any] = {"batch_size": 50, "epochs": 3, "learning_rate": 0.005}
    return CnnSettings(
        cutout=dataclasses.replace(CnnSettings().cutout, size=17),
        features=_FEATURES,
        width=width,
        training=CnnTrainingSettings(**(values | training)),
    )


def make_paper_settings(**training: Any) -> CnnSettings:
    settings = paper_settings()
    values: dict[str, Any] = {"batch_size": 50, "epochs": 3}
    return dataclasses.replace(
        settings, training=dataclasses.replace(settings.training, **(values | training))
    )


def make_labelled(n_side: int, *, seed: int = 0) -> LabelledSamples:
    samples, counts = make_samples(n_side, seed=seed)
    return LabelledSamples(samples=samples, counts=counts)


@pytest.fixture(scope="module")
def toys() -> LabelledSamples:
    return make_labelled(16)


@pytest.fixture(scope="module")
def others() -> LabelledSamples:
    return make_labelled(12, seed=5)


@pytest.fixture(scope="module")
def modern(toys: LabelledSamples) -> CnnClassifier:
    classifier = CnnClassifier(settings=make_settings())
    classifier.fit(toys, options=FitOptions(seed=3))
    return classifier


@pytest.fixture(scope="module")
def paper(toys: LabelledSamples) -> CnnClassifier:
    classifier = CnnClassifier(settings=make_paper_settings())
    classifier.fit(toys)
    return classifier


def learned_weights(classifier: CnnClassifier) -> dict[str, np.ndarray]:
    """Weights of the network by name."""
    arrays = classifier.to_package().arrays
    return {k.removeprefix("weights_"): v for k, v in arrays.items() if k.startswith("weights_")}


def test_it_is_registered() -> None:
    assert classifier_registry["cnn"] is CnnClassifier


def test_paper_network_is_that_of_the_paper() -> None:
    network = build_paper_network(1)
    layers = [
        (
            type(layer).__name__,
            *(
                getattr(layer, name)
                for name in ("filters", "units", "kernel_size", "pool_size", "strides", "padding", "rate")
                if hasattr(layer, name)
            ),
            getattr(getattr(layer, "activation", None), "__name__", ""),
        )
        for layer in network.layers
    ]
    assert layers == [
        ("Conv2D", 128, (3, 3), (1, 1), "valid", "relu"),
        ("MaxPooling2D", (2, 2), (2, 2), "valid", ""),
        ("Conv2D", 64, (3, 3), (1, 1), "valid", "relu"),
        ("MaxPooling2D", (2, 2), (2, 2), "valid", ""),
        ("Flatten", ""),
        ("Dense", 800, "relu"),
        ("Dropout", 0.2, ""),
        ("Dense", 400, "relu"),
        ("Dropout", 0.2, ""),
        ("Dense", 200, "relu"),
        ("Dense", 2, "softmax"),
    ]
    assert network.input_shape == (None, 23, 23, 1)
    # (9 + 1) 128 + (9 128 + 1) 64 + (1024 + 1) 800 + (800 + 1) 400 + (400 + 1) 200 + (200 + 1) 2
    assert network.count_params() == 1_296_074
    training = paper_settings().training
    assert (training.batch_size, training.learning_rate, training.schedule) == (200, 1e-3, "constant")


def test_shapes_and_seeds_of_the_modern_network() -> None:
    network = build_modern_network(32, 3, 2, 5, 1, width=4)
    assert [tuple(t.shape) for t in network.inputs] == [(None, 32, 32, 3), (None, 2)]
    assert network.output_shape == (None, 5)
    assert [tuple(t.shape) for t in build_modern_network(33, 3, 0, 5, 1).inputs] == [(None, 33, 33, 3)]
    first, again, other = (get_arrays(build_modern_network(16, 3, 2, 5, seed)) for seed in (1, 1, 2))
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])
    assert any((value != other[name]).any() for name, value in first.items())


def test_modern_network_learns(modern: CnnClassifier, others: LabelledSamples) -> None:
    samples, counts = others.samples, others.counts
    p = modern.predict(samples)
    assert p.shape == (len(samples), 5)
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
    assert np.mean((p[:, 2:].sum(axis=1) > 0.5) == (counts > 1)) > 0.8
    assert set(modern.history) == {"loss", "val_loss", "val_accuracy"}
    assert modern.history["loss"][-1] < 0.8 * modern.history["loss"][0]


def test_paper_network_learns(paper: CnnClassifier, others: LabelledSamples) -> None:
    samples, counts = others.samples, others.counts
    p = paper.predict(samples)
    assert p.shape == (len(samples),)
    assert np.mean((p > 0.5) == (counts > 1)) > 0.7


@pytest.mark.parametrize("name", ["modern", "paper"])
def test_package_gives_the_same_numbers(
    name: str, others: LabelledSamples, request: pytest.FixtureRequest
) -> None:
    classifier = request.getfixturevalue(name)
    samples = others.samples
    package = ModelPackage.from_bytes(classifier.to_package("m").to_bytes())
    again = CnnClassifier.from_package(package)
    np.testing.assert_array_equal(again.predict(samples), classifier.predict(samples))
    assert again.to_package("m").to_bytes() == classifier.to_package("m").to_bytes()
    counts = make_samples(16)[1]
    share = np.bincount(np.minimum(counts, 4), minlength=5) / len(counts)
    np.testing.assert_allclose(package.metadata["prior"]["n"], share, atol=0.02)


def test_prediction_is_that_of_keras(modern: CnnClassifier, others: LabelledSamples) -> None:
    samples = others.samples
    inputs = modern._read(samples)
    feed = [inputs.images.astype(np.float32), modern._scaling.apply(inputs.features)]
    network = modern._build(0)
    set_arrays(network, learned_weights(modern))
    expected = np.asarray(network.predict(feed, verbose=0), dtype=np.float64) * modern._prior_factors
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(modern.predict(samples), expected, atol=1e-6)
    few = FootprintSamples([samples.results[1]], [samples.contexts[1]])
    np.testing.assert_allclose(modern.predict(few), expected[-len(few) :], atol=1e-6)


def test_views_are_averaged(modern: CnnClassifier, others: LabelledSamples) -> None:
    inputs = modern._read(others.samples)
    each = [modern._run(modern._network, inputs, (view,)) for view in VIEWS[:4]]
    assert np.abs(each[0] - each[1]).max() > 1e-4
    config = CnnConfig()
    config.views = 4
    averaging = CnnClassifier.from_package(modern.to_package("m"), config)
    np.testing.assert_allclose(averaging.predict(others.samples), np.mean(each, axis=0), atol=1e-6)


def test_views_are_the_symmetries_of_a_square() -> None:
    image = np.arange(9.0).reshape(1, 3, 3, 1)
    seen = {turn(image, view).tobytes() for view in VIEWS}
    turned = {np.rot90(i, k, axes=(1, 2)).tobytes() for i in (image, image.swapaxes(1, 2)) for k in range(4)}
    assert seen == turned and len(seen) == 8
    np.testing.assert_array_equal(turn(image, VIEWS[0]), image)
    many = np.repeat(image, 200, axis=0)
    random = turn_at_random(many, np.random.default_rng(1))
    assert {one[None].tobytes() for one in random} == seen
    np.testing.assert_array_equal(many[150], image[0])


def test_channels_of_the_modern_network(toys: LabelledSamples) -> None:
    samples = toys.samples
    images = CnnClassifier(settings=make_settings())._read(samples).images
    assert images.shape == (len(samples), 17, 17, 3) and images.dtype == np.float16
    np.testing.assert_allclose(images[..., 0], samples.cutouts(make_settings().cutout), rtol=1e-3, atol=1e-3)
    # The toy has one image for both, and noise of one.
    np.testing.assert_allclose(images[..., 1], images[..., 0], atol=2e-3)
    result, box = samples.results[0], samples.bbox[8]
    x0, y0 = (box[0] + box[2]) // 2 - 8, (box[1] + box[3]) // 2 - 8
    inside = result.footprints.labels[y0 : y0 + 17, x0 : x0 + 17] == 9
    np.testing.assert_array_equal(images[8, ..., 2], inside)


def test_scaling_of_features() -> None:
    rng = np.random.default_rng(4)
    features = np.column_stack([rng.lognormal(3.0, 2.0, 400), np.full(400, 0.1), rng.normal(size=400)])
    features[5, 2] = np.nan
    scaling = Scaling.fit(features)
    scaled = scaling.apply(features)
    assert np.abs(scaled).max() <= 6.0 and scaled[5, 2] == 0.0
    np.testing.assert_allclose(scaled.mean(axis=0), 0.0, atol=0.02)
    np.testing.assert_allclose(scaled.std(axis=0), [1.0, 0.0, 1.0], atol=0.02)
    np.testing.assert_array_equal(scaling.apply(np.array([[np.nan, 1e30, -1e30]])), [[0.0, 6.0, -6.0]])
    # Nothing but NaN is no reason to fail.
    never_told = Scaling.fit(features * np.nan)
    np.testing.assert_array_equal(never_told.apply(features * np.nan), 0.0)
    # And a network that never saw a feature is not shown it later.
    np.testing.assert_allclose(never_told.apply(features[:5]), 0.0, atol=1e-20)


def test_half_precision_moves_no_probability(
    toys: LabelledSamples,
    others: LabelledSamples,
    paper: CnnClassifier,
) -> None:
    exact = CnnClassifier(settings=make_paper_settings(storage="float32"))
    exact.fit(toys)
    np.testing.assert_allclose(paper.predict(others.samples), exact.predict(others.samples), atol=1e-3)
    sizes = [len(c.to_package("m").to_bytes()) for c in (paper, exact)]
    assert sizes[0] < 0.51 * sizes[1] and sizes[0] < 3_000_000


def test_interrupted_fit_goes_on(
    modern: CnnClassifier,
    toys: LabelledSamples,
    others: LabelledSamples,
    tmp_path: Path,
) -> None:
    lines: list[str] = []

    def stop(line: str) -> None:
        if line.startswith("epoch 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        CnnClassifier(settings=make_settings()).fit(
            toys, options=FitOptions(seed=3, folder=tmp_path, report=stop)
        )
    classifier = CnnClassifier(settings=make_settings())
    classifier.fit(toys, options=FitOptions(seed=3, folder=tmp_path, report=lines.append))
    assert [line.split(":")[0] for line in lines[1:]] == ["epoch 3/3"]
    np.testing.assert_allclose(classifier.predict(others.samples), modern.predict(others.samples), atol=1e-4)
    # It is not taken for that of other data, seeds or settings.
    shuffled = dataclasses.replace(toys, counts=np.roll(toys.counts, 1))
    for settings, labelled, seed, match in [
        (make_settings(), toys, 4, "seed was 3 and is 4"),
        (make_settings(), shuffled, 3, "data was '"),
        (make_settings(batch_size=40), toys, 3, "settings was .*batch_size"),
    ]:
        with pytest.raises(CheckpointError, match=match):
            CnnClassifier(settings=settings).fit(labelled, options=FitOptions(seed=seed, folder=tmp_path))
    with pytest.raises(CheckpointError, match="validation was '"):
        CnnClassifier(settings=make_settings()).fit(toys, others, FitOptions(seed=3, folder=tmp_path))


def test_early_stopping_looks_at_the_validation(toys: LabelledSamples) -> None:
    """Labels that are the opposite are missed the more, the more is learned."""
    samples, counts = toys.samples, toys.counts
    wrong = dataclasses.replace(toys, counts=np.where(counts > 1, 1, 2))
    classifier = CnnClassifier(settings=make_settings(epochs=8, patience=2))
    classifier.fit(toys, wrong)
    assert len(classifier.history["val_loss"]) < 8
    best = int(np.argmin(classifier.history["val_loss"]))
    p = np.clip(classifier.predict(samples)[:, 2:].sum(axis=1), 1e-7, 1.0)
    loss = -np.where(wrong.counts > 1, np.log(p), np.log1p(-p)).mean()
    assert loss == pytest.approx(classifier.history["val_loss"][best], abs=0.01)
    # What the network learns from is all of the samples then.
    assert classifier._prior["blended"] == pytest.approx(np.mean(counts > 1), abs=1e-6)


def test_whole_images_are_held_out() -> None:
    scene = np.repeat(np.arange(20), 7)
    chosen = _hold_out(scene, 1)
    assert len(np.unique(scene[chosen])) == 2 and np.isin(scene[~chosen], scene[chosen]).sum() == 0
    assert _hold_out(np.zeros(100, dtype=int), 1).sum() == 10
    assert (_hold_out(scene, 1) == chosen).all() and (_hold_out(scene, 2) != chosen).any()


@pytest.mark.parametrize(
    "settings", [make_settings(balance=True, epochs=6), make_paper_settings(balance=True, epochs=6)]
)
def test_weights_do_not_move_the_share_of_blends(
    settings: CnnSettings,
    toys: LabelledSamples,
    others: LabelledSamples,
) -> None:
    counts = toys.counts
    classifier = CnnClassifier(settings=settings)
    classifier.fit(dataclasses.replace(toys, weights=np.where(counts > 1, 6.0, 1.0)))
    p = classifier.predict(others.samples)
    p = p if p.ndim == 1 else p[:, 2:].sum(axis=1)
    share = np.mean(counts > 1)
    assert p.mean() == pytest.approx(share, abs=0.1)
    # Half of the weight was on blends: the odds of the fit moved by that of the share.
    factors = classifier._prior_factors
    blended, single = (factors[1], factors[0]) if len(factors) == 2 else (factors[2], factors[1])
    assert blended / single == pytest.approx(share / (1.0 - share), rel=0.05)


def test_all_of_one_number_without_weight_is_refused(toys: LabelledSamples) -> None:
    classifier = CnnClassifier(settings=make_settings(epochs=1))
    with pytest.raises(ValueError, match="N = 3 have weight 0"):
        classifier.fit(dataclasses.replace(toys, weights=np.where(toys.counts == 3, 0.0, 1.0)))


def test_fine_tuning_changes_the_dense_layers(modern: CnnClassifier, others: LabelledSamples) -> None:
    start = modern.to_package("m")
    tuned = CnnClassifier.from_package(start)
    tuned.settings = make_settings(epochs=2, learning_rate=0.01)
    tuned.fine_tune(others)
    before, after = learned_weights(modern), learned_weights(tuned)
    changed = {name for name, value in after.items() if np.abs(value - before[name]).max() > 1e-3}
    assert changed and all(name.startswith(("dense", "output")) for name in changed)
    assert all(np.array_equal(after[name], before[name]) for name in before if name.startswith("conv"))
    # It starts where the other ended, and has no early stopping without validation.
    assert set(tuned.history) == {"loss"} and tuned.history["loss"][0] < 0.9 * modern.history["loss"][0]
    assert start.to_bytes() == modern.to_package("m").to_bytes()
    prior = tuned.to_package().metadata["prior"]
    assert prior["blended"] == pytest.approx(np.mean(others.counts > 1), abs=1e-6)


def test_only_the_training_may_change_when_it_is_tuned() -> None:
    assert CnnClassifier.tunable == ("training",)


def test_row_with_nan_is_nan_alone(modern: CnnClassifier, toys: LabelledSamples) -> None:
    samples = toys.samples
    image = np.array(samples.results[0].image)
    labels = samples.results[0].footprints.labels
    image[labels == 7] = np.nan
    result = make_result(image, labels, peaks=samples.results[0].footprints.peaks)
    p = modern.predict(FootprintSamples([result], samples.contexts[:1]))
    assert np.flatnonzero(np.isnan(p).all(axis=1)).tolist() == [6] and np.isfinite(p).sum() == 5 * (
        len(p) - 1
    )


def test_no_footprints(modern: CnnClassifier, paper: CnnClassifier) -> None:
    empty = make_result(np.zeros((40, 40)), np.zeros((40, 40), np.int32))
    for samples in (FootprintSamples([]), FootprintSamples([empty])):
        assert modern.predict(samples).shape == (0, 5) and paper.predict(samples).shape == (0,)
        assert all(flag.shape == (0,) for flag in modern.find_flags(samples).values())


def test_prepared_samples_need_no_images(modern: CnnClassifier, others: LabelledSamples) -> None:
    samples = others.samples
    fresh = FootprintSamples(samples.results, samples.contexts)
    assert modern.prepare(fresh)
    np.testing.assert_array_equal(modern.predict(fresh.without_images()), modern.predict(samples))


def test_without_model(others: LabelledSamples) -> None:
    for call in (lambda c: c.predict(others.samples), lambda c: c.to_package()):
        with pytest.raises(RuntimeError, match="'cnn' has no model"):
            call(CnnClassifier(settings=make_settings()))


def test_only_training_needs_keras(
    modern: CnnClassifier, toys: LabelledSamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = modern.to_package("m")
    monkeypatch.setitem(sys.modules, "keras", None)
    again = CnnClassifier.from_package(package)
    np.testing.assert_array_equal(again.predict(toys.samples), modern.predict(toys.samples))
    with pytest.raises(MissingKerasError, match="need Keras, which is not installed: pip install"):
        CnnClassifier(settings=make_settings()).fit(toys)


def test_bad_training_sets(toys: LabelledSamples) -> None:
    classifier = CnnClassifier(settings=make_settings())
    with pytest.raises(ValueError, match="0 of the 512 training footprints are blended"):
        classifier.fit(dataclasses.replace(toys, counts=np.ones_like(toys.counts)))
    with pytest.raises(ValueError, match="in batches of 300: .*a smaller training.batch_size"):
        CnnClassifier(settings=make_settings(batch_size=300)).fit(toys)
    # Both kinds are there, but one of them cannot be used.
    lost, _ = make_samples(8, seed=2)
    labels = np.where(lost.scene_index == 0, 2, 1)
    lost.results[0].image[:] = np.nan
    with pytest.raises(ValueError, match="usable training footprints are all of one kind"):
        CnnClassifier(settings=make_settings(batch_size=10)).fit(LabelledSamples(samples=lost, counts=labels))
    blank = make_labelled(1, seed=3)
    for result in blank.samples.results:
        result.image[:] = np.nan
    with pytest.raises(ValueError, match="none of the validation footprints is usable"):
        CnnClassifier(settings=make_settings()).fit(toys, blank)


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("weights_conv_1_kernel", None, "lacks array 'weights_conv_1_kernel'"),
        ("weights_conv_1_kernel", np.zeros((3, 3, 2, 4)), r"conv_1_kernel has shape \(3, 3, 2, 4\)"),
        ("weights_output_bias", np.full(5, np.inf), "output_bias is not finite"),
        ("prior_factors", np.zeros(5), "prior_factors"),
        ("feature_scale", np.array([1.0, 1.0, 1.0, 1.0, 0.0]), "feature_scale is not positive"),
        ("feature_center", np.zeros(4), r"feature_center has shape \(4,\), not \(5,\)"),
    ],
)
def test_unusable_arrays_are_refused(
    modern: CnnClassifier, name: str, value: np.ndarray | None, match: str
) -> None:
    package = modern.to_package("m")
    arrays = {k: v for k, v in (package.arrays | {name: value}).items() if v is not None}
    with pytest.raises(ModelPackageError, match=match):
        CnnClassifier.from_package(dataclasses.replace(package, arrays=arrays))


@pytest.mark.parametrize("name", ["modern", "paper"])
def test_shapes_are_known_without_keras(name: str, request: pytest.FixtureRequest) -> None:
    classifier = request.getfixturevalue(name)
    arrays = classifier._learned().items()
    # Those of the features are none of the network.
    made = {key: array.shape for key, array in arrays if not key.startswith("feature_")}
    assert classifier._shapes() == made


@pytest.mark.parametrize(("width", "seen"), [(4000, True), (10**9, True), (0, False), (None, False)])
def test_no_network_is_made_before_its_size_was_checked(
    modern: CnnClassifier, monkeypatch: pytest.MonkeyPatch, width: int | None, seen: bool
) -> None:
    """A small file that claims a large network takes neither memory nor time."""

    def build(*args: object, **options: object) -> None:
        raise AssertionError("a network was made")

    package = modern.to_package("m")
    metadata = package.metadata | {"settings": package.metadata["settings"] | {"width": width}}
    monkeypatch.setattr("lsst.meas.blendid.classifiers.cnn.CutoutNetwork", build)
    match = "weights_conv_1_kernel has shape" if seen else "width"
    with pytest.raises(ModelPackageError, match=match):
        CnnClassifier.from_package(dataclasses.replace(package, metadata=metadata))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"architecture": "resnet"}, "architecture is 'resnet'; it can be one of buchanan2022, modern"),
        ({"features": ("luck",)}, "features is 'luck'"),
        ({"features": ("area", "area")}, "features has repeated names"),
        ({"cutout": CutoutSettings(size=11)}, "cutout.size is 11; .*needs at least 16"),
        (
            {"architecture": "buchanan2022"},
            r"takes cutouts of 23 pixels and no features: set cutout\.size=23 and features= as well",
        ),
    ],
)
def test_settings_that_cannot_work(change: dict[str, Any], match: str) -> None:
    with pytest.raises(SettingsError, match=match):
        dataclasses.replace(make_settings(), **change)


def test_settings_of_the_paper_by_option() -> None:
    """As the message about them says."""
    options = ["architecture=buchanan2022", "cutout.size=23", "features="]
    settings = CnnSettings().with_options(options)
    assert settings.features == () and settings.cutout.size == paper_settings().cutout.size


@pytest.mark.parametrize("name", ["modern", "paper"])
def test_package_of_format_1_gives_the_same(
    name: str, others: LabelledSamples, request: pytest.FixtureRequest
) -> None:
    classifier = request.getfixturevalue(name)
    package = classifier.to_package("m")
    settings = package.metadata.pop("settings")
    training = settings.pop("training")
    cutout = settings.pop("cutout")
    cutout["zeroOutside"] = cutout.pop("zero_outside")
    old = {"batch_size": "batchSize", "learning_rate": "learningRate"}
    package.metadata["config"] = (
        settings
        | {old.get(key, key): value for key, value in training.items()}
        | {f"cutout.{key}": value for key, value in cutout.items()}
        | {"views": 1}
    )
    again = CnnClassifier.from_package(package)
    assert again.settings == classifier.settings
    np.testing.assert_array_equal(again.predict(others.samples), classifier.predict(others.samples))
