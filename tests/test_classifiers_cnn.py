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
    FitOptions,
    LabelledSamples,
    classifier_registry,
)
from lsst.meas.blendid.classifiers._cnn_inputs import VIEWS, Scaling, read_inputs, turn, turn_at_random
from lsst.meas.blendid.classifiers._cnn_networks import build_modern_network, build_paper_network
from lsst.meas.blendid.classifiers.cnn import _hold_out
from lsst.meas.blendid.model_package import ModelPackage, ModelPackageError
from lsst.meas.blendid.networks import CheckpointError, MissingKerasError, get_arrays, set_arrays
from lsst.meas.blendid.samples import FootprintSamples
from lsst.pex.config import FieldValidationError
from toy_samples import make_result, make_samples

_FEATURES = ["area", "n_peaks", "max_significance", "second_significance", "psf_sigma"]


def make_config(**fields: Any) -> CnnConfig:
    """A network that learns in a second."""
    config = CnnConfig()
    config.modelPackage = ""
    config.cutout.size = 17
    config.features = _FEATURES
    config.width, config.batchSize, config.epochs, config.learningRate = 4, 50, 3, 0.005
    for name, value in fields.items():
        setattr(config, name, value)
    return config


def make_paper_config(**fields: Any) -> CnnConfig:
    config = CnnConfig()
    config.modelPackage = ""
    config.set_paper()
    config.batchSize, config.epochs = 50, 3
    for name, value in fields.items():
        setattr(config, name, value)
    return config


@pytest.fixture(scope="module")
def toys() -> tuple[FootprintSamples, np.ndarray]:
    return make_samples(16)


@pytest.fixture(scope="module")
def others() -> tuple[FootprintSamples, np.ndarray]:
    return make_samples(12, seed=5)


@pytest.fixture(scope="module")
def modern(toys: tuple[FootprintSamples, np.ndarray]) -> CnnClassifier:
    classifier = CnnClassifier(make_config())
    classifier.fit(*toys, options=FitOptions(seed=3))
    return classifier


@pytest.fixture(scope="module")
def paper(toys: tuple[FootprintSamples, np.ndarray]) -> CnnClassifier:
    classifier = CnnClassifier(make_paper_config())
    classifier.fit(*toys)
    return classifier


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
    config = CnnConfig()
    config.set_paper()
    assert (config.batchSize, config.learningRate, config.schedule) == (200, 1e-3, "constant")


def test_shapes_and_seeds_of_the_modern_network() -> None:
    network = build_modern_network(32, 3, 2, 5, 1, width=4)
    assert [tuple(t.shape) for t in network.inputs] == [(None, 32, 32, 3), (None, 2)]
    assert network.output_shape == (None, 5)
    assert [tuple(t.shape) for t in build_modern_network(33, 3, 0, 5, 1).inputs] == [(None, 33, 33, 3)]
    first, again, other = (get_arrays(build_modern_network(16, 3, 2, 5, seed)) for seed in (1, 1, 2))
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])
    assert any((value != other[name]).any() for name, value in first.items())


def test_modern_network_learns(modern: CnnClassifier, others: tuple[FootprintSamples, np.ndarray]) -> None:
    samples, counts = others
    p = modern.predict(samples)
    assert p.shape == (len(samples), 5)
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
    assert np.mean((p[:, 2:].sum(axis=1) > 0.5) == (counts > 1)) > 0.8
    assert set(modern.history) == {"loss", "val_loss", "val_accuracy"}
    assert modern.history["loss"][-1] < 0.8 * modern.history["loss"][0]


def test_paper_network_learns(paper: CnnClassifier, others: tuple[FootprintSamples, np.ndarray]) -> None:
    samples, counts = others
    p = paper.predict(samples)
    assert p.shape == (len(samples),)
    assert np.mean((p > 0.5) == (counts > 1)) > 0.7


@pytest.mark.parametrize("name", ["modern", "paper"])
def test_package_gives_the_same_numbers(
    name: str, others: tuple[FootprintSamples, np.ndarray], request: pytest.FixtureRequest
) -> None:
    classifier = request.getfixturevalue(name)
    samples, _ = others
    package = ModelPackage.from_bytes(classifier.to_package("m").to_bytes())
    again = CnnClassifier.from_package(package)
    np.testing.assert_array_equal(again.predict(samples), classifier.predict(samples))
    assert again.to_package("m").to_bytes() == classifier.to_package("m").to_bytes()
    counts = make_samples(16)[1]
    share = np.bincount(np.minimum(counts, 4), minlength=5) / len(counts)
    np.testing.assert_allclose(package.metadata["prior"]["n"], share, atol=0.02)


def test_prediction_is_that_of_keras(
    modern: CnnClassifier, others: tuple[FootprintSamples, np.ndarray]
) -> None:
    samples, _ = others
    inputs = read_inputs(samples, modern.config)
    feed = [inputs.images.astype(np.float32), modern._scaling.apply(inputs.features)]
    network = modern._build(0)
    set_arrays(network, modern._weights)
    expected = np.asarray(network.predict(feed, verbose=0), dtype=np.float64) * modern._prior_factors
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(modern.predict(samples), expected, atol=1e-6)
    few = FootprintSamples([samples.results[1]], [samples.contexts[1]])
    np.testing.assert_allclose(modern.predict(few), expected[-len(few) :], atol=1e-6)


def test_views_are_averaged(modern: CnnClassifier, others: tuple[FootprintSamples, np.ndarray]) -> None:
    inputs = read_inputs(others[0], modern.config)
    each = [modern._run(modern._network, inputs, (view,)) for view in VIEWS[:4]]
    assert np.abs(each[0] - each[1]).max() > 1e-4
    averaging = CnnClassifier.from_package(modern.to_package("m"))
    averaging.config.views = 4
    np.testing.assert_allclose(averaging.predict(others[0]), np.mean(each, axis=0), atol=1e-6)


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


def test_channels_of_the_modern_network(toys: tuple[FootprintSamples, np.ndarray]) -> None:
    samples, _ = toys
    images = read_inputs(samples, make_config()).images
    assert images.shape == (len(samples), 17, 17, 3) and images.dtype == np.float16
    config = make_config()
    np.testing.assert_allclose(images[..., 0], samples.cutouts(config.cutout), rtol=1e-3, atol=1e-3)
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
    np.testing.assert_array_equal(Scaling.fit(features * np.nan).apply(features * np.nan), 0.0)


def test_half_precision_moves_no_probability(
    toys: tuple[FootprintSamples, np.ndarray],
    others: tuple[FootprintSamples, np.ndarray],
    paper: CnnClassifier,
) -> None:
    exact = CnnClassifier(make_paper_config(storage="float32"))
    exact.fit(*toys)
    np.testing.assert_allclose(paper.predict(others[0]), exact.predict(others[0]), atol=1e-3)
    sizes = [len(c.to_package("m").to_bytes()) for c in (paper, exact)]
    assert sizes[0] < 0.51 * sizes[1] and sizes[0] < 3_000_000


def test_interrupted_fit_goes_on(
    modern: CnnClassifier,
    toys: tuple[FootprintSamples, np.ndarray],
    others: tuple[FootprintSamples, np.ndarray],
    tmp_path: Path,
) -> None:
    lines: list[str] = []

    def stop(line: str) -> None:
        if line.startswith("epoch 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        CnnClassifier(make_config()).fit(*toys, options=FitOptions(seed=3, folder=tmp_path, report=stop))
    classifier = CnnClassifier(make_config())
    classifier.fit(*toys, options=FitOptions(seed=3, folder=tmp_path, report=lines.append))
    assert [line.split(":")[0] for line in lines[1:]] == ["epoch 3/3"]
    np.testing.assert_allclose(classifier.predict(others[0]), modern.predict(others[0]), atol=1e-4)
    # It is not taken for that of other data, seeds or settings.
    samples, counts = toys
    for config, labels, seed, match in [
        (make_config(), counts, 4, "seed was 3 and is 4"),
        (make_config(), np.roll(counts, 1), 3, "data was '"),
        (make_config(batchSize=40), counts, 3, "config was .*batchSize"),
    ]:
        with pytest.raises(CheckpointError, match=match):
            CnnClassifier(config).fit(samples, labels, options=FitOptions(seed=seed, folder=tmp_path))
    held_out = FitOptions(seed=3, folder=tmp_path, validation=LabelledSamples(*others))
    with pytest.raises(CheckpointError, match="validation was '"):
        CnnClassifier(make_config()).fit(samples, counts, options=held_out)


def test_early_stopping_looks_at_the_validation(toys: tuple[FootprintSamples, np.ndarray]) -> None:
    """Labels that are the opposite are missed the more, the more is learned."""
    samples, counts = toys
    wrong = LabelledSamples(samples, np.where(counts > 1, 1, 2))
    classifier = CnnClassifier(make_config(epochs=8, patience=2))
    classifier.fit(samples, counts, options=FitOptions(validation=wrong))
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
    "config", [make_config(balance=True, epochs=6), make_paper_config(balance=True, epochs=6)]
)
def test_weights_do_not_move_the_share_of_blends(
    config: CnnConfig,
    toys: tuple[FootprintSamples, np.ndarray],
    others: tuple[FootprintSamples, np.ndarray],
) -> None:
    samples, counts = toys
    classifier = CnnClassifier(config)
    classifier.fit(samples, counts, weights=np.where(counts > 1, 6.0, 1.0))
    p = classifier.predict(others[0])
    p = p if p.ndim == 1 else p[:, 2:].sum(axis=1)
    share = np.mean(counts > 1)
    assert p.mean() == pytest.approx(share, abs=0.1)
    # Half of the weight was on blends: the odds of the fit moved by that of the share.
    factors = classifier._prior_factors
    blended, single = (factors[1], factors[0]) if len(factors) == 2 else (factors[2], factors[1])
    assert blended / single == pytest.approx(share / (1.0 - share), rel=0.05)


def test_weights_make_another_fit(modern: CnnClassifier, toys: tuple[FootprintSamples, np.ndarray]) -> None:
    samples, counts = toys
    classifier = CnnClassifier(make_config(epochs=1))
    with pytest.raises(ValueError, match="N = 3 have weight 0"):
        classifier.fit(samples, counts, weights=np.where(counts == 3, 0.0, 1.0))
    with pytest.raises(ValueError, match="weights must be"):
        classifier.fit(samples, counts, weights=np.ones(3))


def test_fine_tuning_changes_the_dense_layers(
    modern: CnnClassifier, others: tuple[FootprintSamples, np.ndarray]
) -> None:
    samples, counts = others
    start = modern.to_package("m")
    tuned = CnnClassifier(make_config(epochs=2, learningRate=0.01))
    tuned.fit(samples, counts, options=FitOptions(start=start))
    before, after = modern._weights, tuned._weights
    changed = {name for name, value in after.items() if np.abs(value - before[name]).max() > 1e-3}
    assert changed and all(name.startswith(("dense", "output")) for name in changed)
    assert all(np.array_equal(after[name], before[name]) for name in before if name.startswith("conv"))
    # It starts where the other ended, and has no early stopping without validation.
    assert set(tuned.history) == {"loss"} and tuned.history["loss"][0] < 0.9 * modern.history["loss"][0]
    assert start.to_bytes() == modern.to_package("m").to_bytes()


def test_fine_tuning_needs_a_network_of_its_kind(
    modern: CnnClassifier, paper: CnnClassifier, others: tuple[FootprintSamples, np.ndarray]
) -> None:
    package = modern.to_package("m")
    cut = dataclasses.replace(package, arrays=package.arrays | {"prior_factors": np.ones(2)})
    foreign = dataclasses.replace(package, classifier="peaks")
    old = dataclasses.replace(
        package, metadata=package.metadata | {"inputs": package.metadata["inputs"] | {"version": 7}}
    )
    for start, config, match in [
        (package, make_config(width=5), "has another width: the fit cannot start from it"),
        (paper.to_package("m"), make_config(), "has another architecture"),
        (foreign, make_config(), "is a model of classifier 'peaks'"),
        (old, make_config(), "version 7 of the inputs"),
        (cut, make_config(), "has unusable arrays"),
    ]:
        with pytest.raises(ModelPackageError, match=match):
            CnnClassifier(config).fit(*others, options=FitOptions(start=start))


def test_row_with_nan_is_nan_alone(modern: CnnClassifier, toys: tuple[FootprintSamples, np.ndarray]) -> None:
    samples, _ = toys
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


def test_prepared_samples_need_no_images(
    modern: CnnClassifier, others: tuple[FootprintSamples, np.ndarray]
) -> None:
    samples, _ = others
    fresh = FootprintSamples(samples.results, samples.contexts)
    assert modern.prepare(fresh)
    np.testing.assert_array_equal(modern.predict(fresh.without_images()), modern.predict(samples))


def test_without_model(others: tuple[FootprintSamples, np.ndarray]) -> None:
    for call in (lambda c: c.predict(others[0]), lambda c: c.to_package()):
        with pytest.raises(RuntimeError, match="'cnn' has no model"):
            call(CnnClassifier(make_config()))


def test_only_training_needs_keras(
    modern: CnnClassifier, toys: tuple[FootprintSamples, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    package = modern.to_package("m")
    monkeypatch.setitem(sys.modules, "keras", None)
    again = CnnClassifier.from_package(package)
    np.testing.assert_array_equal(again.predict(toys[0]), modern.predict(toys[0]))
    with pytest.raises(MissingKerasError, match="need Keras, which is not installed: pip install"):
        CnnClassifier(make_config()).fit(*toys)


def test_bad_training_sets(toys: tuple[FootprintSamples, np.ndarray]) -> None:
    samples, counts = toys
    classifier = CnnClassifier(make_config())
    with pytest.raises(ValueError, match="0 of the 512 training footprints are blended"):
        classifier.fit(samples, np.ones_like(counts))
    with pytest.raises(ValueError, match="too few to train a network in batches of 300: use more scenes"):
        CnnClassifier(make_config(batchSize=300)).fit(samples, counts)
    # Both kinds are there, but one of them cannot be used.
    lost, labels = make_samples(8, seed=2)
    labels = np.where(lost.scene_index == 0, 2, 1)
    lost.results[0].image[:] = np.nan
    with pytest.raises(ValueError, match="usable training footprints are all of one kind"):
        CnnClassifier(make_config(batchSize=10)).fit(lost, labels)
    blank, numbers = make_samples(1, seed=3)
    for result in blank.results:
        result.image[:] = np.nan
    with pytest.raises(ValueError, match="none of the validation footprints is usable"):
        options = FitOptions(validation=LabelledSamples(blank, numbers))
        CnnClassifier(make_config()).fit(samples, counts, options=options)


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
    made = {key: array.shape for key, array in classifier._weights.items()}
    assert classifier._shapes() == made


@pytest.mark.parametrize(("width", "seen"), [(4000, True), (10**9, True), (0, False), (None, False)])
def test_no_network_is_made_before_its_size_was_checked(
    modern: CnnClassifier, monkeypatch: pytest.MonkeyPatch, width: int | None, seen: bool
) -> None:
    """A small file that claims a large network takes neither memory nor time."""

    def build(*args: object, **options: object) -> None:
        raise AssertionError("a network was made")

    package = modern.to_package("m")
    metadata = package.metadata | {"config": package.config | {"width": width}}
    monkeypatch.setattr("lsst.meas.blendid.classifiers.cnn.CutoutNetwork", build)
    match = "weights_conv_1_kernel has shape" if seen else "width"
    with pytest.raises(ModelPackageError, match=match):
        CnnClassifier.from_package(dataclasses.replace(package, metadata=metadata))


def test_config_refuses() -> None:
    with pytest.raises(FieldValidationError):
        make_config(architecture="resnet")
    with pytest.raises(FieldValidationError):
        make_config(features=["luck"])
    with pytest.raises(ValueError, match="repeated names: area"):
        make_config(features=["area", "area"]).validate()
    config = make_config()
    config.cutout.size = 11
    with pytest.raises(ValueError, match="needs at least 16"):
        config.validate()
    with pytest.raises(
        ValueError, match=r"takes cutouts of 23 pixels and no features: set cutout\.size = 23"
    ):
        make_config(architecture="buchanan2022").validate()
    make_paper_config().validate()
