# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the ensemble, with members that need no network."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from lsst.meas.blendid.classifiers import (
    BlendClassifier,
    EnsembleClassifier,
    EnsembleConfig,
    EnsembleSettings,
    LabelledSamples,
    LogisticClassifier,
    PeaksClassifier,
    PeaksConfig,
    _stack,
    split_probabilities,
)
from lsst.meas.blendid.classifiers._stack import (
    StackInputs,
    StackSettings,
    deal_folds,
    fit_stack,
    member_columns,
    predict_stack,
    validate_stack,
)
from lsst.meas.blendid.classifiers.ensemble import Describes
from lsst.meas.blendid.classifiers.trees import TreeSettings
from lsst.meas.blendid.metrics import calibration_line, score
from lsst.meas.blendid.model_package import ModelPackage, ModelPackageError
from lsst.meas.blendid.model_settings import SettingsError
from lsst.meas.blendid.samples import FootprintSamples, SceneContext
from scipy.special import expit, logit
from toy_samples import make_result, make_samples, make_toy


def make_scenes(n: int, *, n_side: int = 10, seed: int = 100) -> tuple[FootprintSamples, np.ndarray]:
    """Toy images of different sky, and the numbers of galaxies."""
    pairs = [make_toy(n_side, seed=seed + k) for k in range(n)]
    samples = FootprintSamples([r for r, _ in pairs], [SceneContext(band="i")] * n)
    return samples, np.concatenate([c for _, c in pairs])


def make_labelled(n: int, **fields: Any) -> LabelledSamples:
    samples, counts = make_scenes(n)
    return LabelledSamples(samples=samples, counts=counts, **fields)


def make_members() -> dict[str, BlendClassifier]:
    """Two trained members, of toy images 0 and 1."""
    samples, counts = make_samples(12)
    members: dict[str, BlendClassifier] = {}
    for name, cls in (("peaks", PeaksClassifier), ("logistic", LogisticClassifier)):
        members[name] = cls(settings=cls.SettingsClass())
        members[name].fit(LabelledSamples(samples=samples, counts=counts))
    return members


def make_settings(*, n_trees: int = 40, **settings: Any) -> EnsembleSettings:
    stack = StackSettings(n_folds=3, trees=TreeSettings(n_trees=n_trees, min_samples=10))
    return EnsembleSettings(**({"members": ("peaks", "logistic"), "stack": stack} | settings))


@pytest.fixture(scope="module")
def fitted() -> EnsembleClassifier:
    classifier = EnsembleClassifier(settings=make_settings(), members=make_members())
    classifier.fit(make_labelled(6))
    return classifier


def test_prediction_is_a_distribution(fitted: EnsembleClassifier) -> None:
    samples, counts = make_scenes(2, seed=200)
    p, p_n = split_probabilities(fitted.probabilities(samples))
    assert p_n is not None and p_n.shape == (len(samples), 5)
    np.testing.assert_allclose(p_n.sum(axis=1), 1.0)
    assert np.isfinite(p).all() and p[counts > 1].mean() > p[counts == 1].mean() + 0.2


def test_it_is_better_than_its_members(fitted: EnsembleClassifier) -> None:
    samples, counts = make_scenes(6, seed=300)
    loss = score(split_probabilities(fitted.probabilities(samples))[0], counts).cross_entropy
    for member in fitted.members.values():
        p, _ = split_probabilities(member.probabilities(samples))
        assert loss < score(p, counts).cross_entropy


def test_package_holds_all(fitted: EnsembleClassifier, tmp_path: Path) -> None:
    """One file gives the same numbers, bytes and members; the members' own files are not needed."""
    samples, _ = make_scenes(2, seed=200)
    path = fitted.to_package("m").write(tmp_path / "m.blendid")
    again = EnsembleClassifier.from_package(ModelPackage.read(path))
    np.testing.assert_array_equal(again.probabilities(samples), fitted.probabilities(samples))
    assert again.to_package("m").to_bytes() == path.read_bytes()
    assert list(again.members) == ["peaks", "logistic"]
    # Where members came from is not kept.
    assert "member_packages" not in again.to_package("m").metadata["settings"]
    assert again.settings == make_settings()


def test_folds_are_of_different_sky(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images of the same sky are held out together."""
    samples, counts = make_scenes(6)
    sky = np.array([4, 4, 7, 7, 9, 9])[samples.scene_index]
    seen: list[np.ndarray] = []
    deal = _stack.deal_folds

    def spy(scenes: np.ndarray, folds: int, seed: int) -> np.ndarray:
        seen.append(scenes)
        return deal(scenes, folds, seed)

    monkeypatch.setattr(_stack, "deal_folds", spy)
    classifier = EnsembleClassifier(settings=make_settings(), members=make_members())
    classifier.fit(LabelledSamples(samples=samples, counts=counts, sky=sky))
    np.testing.assert_array_equal(seen[0], sky)
    # Two pieces of sky are too few for three folds: they are cut, and no part of the one is with the other.
    two = np.minimum(sky, 7)
    classifier.fit(LabelledSamples(samples=samples, counts=counts, sky=two))
    assert len(np.unique(seen[1])) >= 3
    assert all(len(np.unique(two[seen[1] == part])) == 1 for part in np.unique(seen[1]))


def test_members_from_packages(fitted: EnsembleClassifier, tmp_path: Path) -> None:
    paths = [
        str(member.to_package(name).write(tmp_path / f"{name}.blendid"))
        for name, member in reversed(make_members().items())
    ]
    classifier = EnsembleClassifier(settings=make_settings(member_packages=tuple(paths)))
    classifier.fit(make_labelled(6))
    samples, _ = make_scenes(2, seed=200)
    # Matrix products of the members may differ in the last bits of float32 with where arrays lie in memory.
    np.testing.assert_allclose(
        classifier.predict(samples)[:, 2:].sum(axis=1), fitted.predict(samples)[:, 2:].sum(axis=1), rtol=1e-4
    )
    with pytest.raises(ModelPackageError, match="'peaks', which is none of the members logistic"):
        EnsembleClassifier(settings=make_settings(members=("logistic",), member_packages=tuple(paths)))


def test_members_are_packed_as_they_are() -> None:
    """Also one that was calibrated since it was read; where it came from is told all the same."""
    samples, counts = make_samples(12, seed=9)
    members = {
        name: type(member).from_package(member.to_package(name, training={"label": name}))
        for name, member in make_members().items()
    }
    for member in members.values():
        member.fit_calibration(samples, np.where(counts == 2, 1, counts))
    classifier = EnsembleClassifier(settings=make_settings(), members=members)
    classifier.fit(make_labelled(6))
    again = EnsembleClassifier.from_package(classifier.to_package("m"))
    np.testing.assert_array_equal(again.probabilities(samples), classifier.probabilities(samples))
    assert again.members["logistic"].package is not None
    assert again.members["logistic"].package.metadata["training"] == {"label": "logistic"}


def test_last_bits_of_members_hardly_matter(
    fitted: EnsembleClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another processor rounds the members' sums in another way."""
    measure, rng = EnsembleClassifier._measure, np.random.default_rng(0)

    def touch(self: EnsembleClassifier, samples: FootprintSamples) -> np.ndarray:
        rows = measure(self, samples)
        return np.where(rng.random(rows.shape) < 0.5, rows, np.nextafter(rows, np.float32(np.inf)))

    monkeypatch.setattr(EnsembleClassifier, "_measure", touch)
    classifier = EnsembleClassifier(settings=make_settings(), members=fitted.members)
    classifier.fit(make_labelled(6))
    monkeypatch.undo()
    samples, _ = make_scenes(2, seed=200)
    p_n, touched = fitted.predict(samples), classifier.predict(samples)
    np.testing.assert_allclose(touched[:, 2:].sum(axis=1), p_n[:, 2:].sum(axis=1), rtol=1e-4)
    # Of the few footprints with three galaxies and more one that crosses a threshold makes another tree.
    assert np.abs(touched - p_n).mean() < 0.01


def test_numbers_of_galaxies_are_as_many_as_told(fitted: EnsembleClassifier) -> None:
    samples, counts = make_scenes(6, seed=300)
    p_n = fitted.predict(samples)
    np.testing.assert_allclose(p_n.sum(axis=1), 1.0)
    for k in range(5):
        there = np.count_nonzero(np.minimum(counts, 4) == k)
        assert abs(p_n[:, k].sum() - there) < 5.0 * np.sqrt((p_n[:, k] * (1.0 - p_n[:, k])).sum()) + 2.0
    # They know more than how common each number is.
    rows, number = np.arange(len(counts)), np.minimum(counts, 4)
    share = np.bincount(number, minlength=5) / len(counts)
    for several in (counts > 1, counts < 2):
        told = (
            p_n[rows, number][several] / np.where(counts > 1, p_n[:, 2:].sum(1), p_n[:, :2].sum(1))[several]
        )
        usual = share[number[several]] / share[np.unique(number[several])].sum()
        assert np.log(told).mean() > np.log(usual).mean()


def test_what_was_never_seen_is_next_to_impossible() -> None:
    samples, counts = make_scenes(6)
    classifier = EnsembleClassifier(settings=make_settings(), members=make_members())
    classifier.fit(LabelledSamples(samples=samples, counts=np.clip(counts, 1, 2)))
    p_n = classifier.predict(samples)
    assert p_n[:, [0, 3, 4]].max() < 1e-9 and np.isfinite(p_n).all()


def test_missing_members() -> None:
    scenes = make_labelled(3)
    none = EnsembleClassifier(settings=make_settings())
    with pytest.raises(RuntimeError, match=r"no trained member 'peaks', 'logistic': .*member_packages"):
        none.fit(scenes)
    with pytest.raises(ValueError, match=r"none of 'peaks', 'logistic'.*--set member_packages="):
        none.check_fit()
    none.check_fit(goes_on=True)
    one = {"peaks": make_members()["peaks"]}
    with pytest.raises(RuntimeError, match="no trained member 'logistic'"):
        EnsembleClassifier(settings=make_settings(), members=one).fit(scenes)
    with pytest.raises(ModelPackageError, match="unknown model 'nowhere'"):
        EnsembleClassifier(settings=make_settings(member_packages=("nowhere",)))
    untaught = EnsembleClassifier(settings=make_settings(), members=make_members())
    untaught.check_fit()
    with pytest.raises(RuntimeError, match="has no model"):
        untaught.predict(scenes.samples)


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"members": ("peaks", "peaks")}, "repeated names"),
        ({"members": ("peaks", "ensemble")}, "^members: .*member of itself"),
        ({"members": ()}, "members has 0 values"),
        ({"calibration": "plat"}, "calibration is 'plat'.*did you mean 'platt'"),
    ],
)
def test_bad_settings(fields: dict[str, object], match: str) -> None:
    with pytest.raises(SettingsError, match=match):
        make_settings(**fields)


def test_package_of_format_1_gives_the_same(fitted: EnsembleClassifier) -> None:
    package = fitted.to_package("m")
    del package.metadata["settings"]
    package.metadata["config"] = {
        "members": ["peaks", "logistic"],
        "memberPackages": [],
        "useFeatures": True,
        "nFolds": 3,
        "nTrees": 40,
        "nLeaves": 31,
        "learningRate": 0.05,
        "minSamples": 10,
        "regularization": 1.0,
        "calibration": "beta",
    }
    again = EnsembleClassifier.from_package(package)
    assert again.settings == fitted.settings
    samples, _ = make_scenes(1, seed=200)
    np.testing.assert_array_equal(again.probabilities(samples), fitted.probabilities(samples))


def test_bad_packages(fitted: EnsembleClassifier) -> None:
    def change(arrays: dict[str, np.ndarray] | None = None, **metadata: object) -> ModelPackage:
        good = fitted.to_package("m")
        chosen = good.arrays if arrays is None else arrays
        return ModelPackage("ensemble", good.metadata | metadata, chosen, "a file")

    good = fitted.to_package("m")
    members = good.metadata["members"]
    newer = members["logistic"] | {"inputs": members["logistic"]["inputs"] | {"version": 99}}
    for package, match in [
        (change(members=None), "a file has no members"),
        (change(members={"peaks": members["peaks"]}), "lacks member 'logistic'"),
        (
            change(members=members | {"logistic": newer}),
            r"a file \(member 'logistic'\) was trained on version 99",
        ),
        (
            change(members=members | {"peaks": {"classifier": "peaks"}}),
            r"a file \(member 'peaks'\): metadata",
        ),
        (change(members=members | {"peaks": members["logistic"]}), "lacks member 'peaks'"),
        (change({k: v for k, v in good.arrays.items() if k != "join"}), "lacks array 'join'"),
        (change({k: v for k, v in good.arrays.items() if k != "logistic__components"}), "lacks array"),
        (change(good.arrays | {"join": good.arrays["join"][1:]}), "join has shape"),
        (change(good.arrays | {"condition_scale": 0.0 * good.arrays["condition_scale"]}), "condition_scale"),
        (change(good.arrays | {"slopes": good.arrays["slopes"][1:]}), "slopes has shape"),
        (change(good.arrays | {"scale": 0.0 * good.arrays["scale"]}), "scale is not positive"),
        (
            change({k: v for k, v in good.arrays.items() if k != "trees_baseline"}),
            "lacks array 'trees_baseline'",
        ),
        (change(good.arrays | {"trees_n_features": np.array([3])}), "feature"),
    ]:
        with pytest.raises(ModelPackageError, match=match):
            EnsembleClassifier.from_package(package)


def test_footprints_that_a_member_cannot_classify(fitted: EnsembleClassifier) -> None:
    """They are NaN, and flagged as the member flags them."""
    size = 60
    y, x = np.mgrid[:size, : 2 * size]
    image = np.random.default_rng(0).normal(size=x.shape)
    labels = np.zeros(image.shape, np.int32)
    for i in range(2):
        radius = np.hypot(x - size * i - 30, y - 30)
        image += 50.0 * np.exp(-0.5 * (radius / 1.6) ** 2)
        labels[radius < 8] = i + 1
    image[28:32, 28:32] = np.nan
    samples = FootprintSamples([make_result(image, labels)])
    broken = make_samples(2)[0]
    assert np.isfinite(fitted.predict(broken)).all()
    members = fitted.members

    class Half(PeaksClassifier):
        def predict(self, samples: FootprintSamples) -> np.ndarray:
            p = super().predict(samples)
            p[0] = np.nan
            return p

    half = Half.from_package(members["peaks"].to_package())
    classifier = EnsembleClassifier(settings=make_settings(), members=members | {"peaks": half})
    classifier._state = fitted._state
    p = classifier.predict(make_samples(2)[0])
    # The first of each image, as each goes through on its own.
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(p).all(axis=1)), broken.offsets[:-1])
    assert np.isnan(p).any(axis=1).sum() == 2
    assert set(fitted.find_flags(samples)) >= {"outside_model_range", "too_large"}


def test_flags_of_members_are_its_own(fitted: EnsembleClassifier) -> None:
    members = make_members()
    inputs = {"psf_sigma": [3.0, 4.0], "bands": [], "footprints": {}, "depth": None}
    members["peaks"] = PeaksClassifier.from_package(members["peaks"].to_package(inputs=inputs))
    classifier = EnsembleClassifier(settings=make_settings(), members=members)
    samples, _ = make_samples(3)
    assert classifier.find_flags(samples)["outside_model_range"].all()
    assert not fitted.find_flags(samples)["outside_model_range"].any()


def test_no_footprints(fitted: EnsembleClassifier) -> None:
    empty = make_result(np.random.default_rng(0).normal(size=(40, 40)), np.zeros((40, 40), np.int32))
    for samples in (FootprintSamples([]), FootprintSamples([empty])):
        assert fitted.predict(samples).shape == (0, 5)


def test_images_may_be_forgotten_after_preparation(fitted: EnsembleClassifier) -> None:
    samples, _ = make_scenes(2, seed=200)
    assert fitted.prepare(samples)
    bare = samples.without_images()
    np.testing.assert_array_equal(fitted.predict(bare), fitted.predict(make_scenes(2, seed=200)[0]))
    assert not EnsembleClassifier(settings=make_settings()).prepare(make_scenes(1)[0])


class Seer(PeaksClassifier):
    """A member that knows the answer, and does not use it for its probabilities."""

    answers: ClassVar[dict[int, np.ndarray]] = {}

    def describe(self, samples: FootprintSamples) -> np.ndarray:
        truth = [self.answers[id(result)] for result in samples.results]
        return np.concatenate([*truth, np.zeros(0)])[:, None]


def test_descriptions_of_members_are_used() -> None:
    members = make_members()
    seer = Seer(package=members["peaks"].to_package())
    assert isinstance(seer, Describes) and not isinstance(members["logistic"], Describes)
    samples, counts = make_scenes(8)
    for result, part in zip(samples.results, np.split(counts, samples.offsets[1:-1]), strict=True):
        Seer.answers[id(result)] = part.astype(float)
    classifier = EnsembleClassifier(
        settings=make_settings(use_features=False), members=members | {"peaks": seer}
    )
    classifier.fit(LabelledSamples(samples=samples, counts=counts))
    p, _ = split_probabilities(classifier.probabilities(samples))
    assert score(p, counts).balanced_accuracy > 0.99


class AroundConfig(PeaksConfig):
    """Config of a classifier that looks at turned images."""

    views = EnsembleConfig.views


class AroundClassifier(PeaksClassifier):
    """Has views."""

    ConfigClass = AroundConfig


def test_members_have_the_views_of_the_ensemble() -> None:
    """Whether they were given or read, so that the stackers see in use what they were fitted to."""
    members = make_members()
    around = AroundClassifier(package=members["peaks"].to_package())
    config = EnsembleConfig()
    config.views = 4
    classifier = EnsembleClassifier(config, settings=make_settings(), members=members | {"peaks": around})
    assert classifier.members["peaks"].config.views == 4
    assert around.config.views == 1
    samples, _ = make_scenes(1)
    np.testing.assert_array_equal(classifier.members["peaks"].predict(samples), around.predict(samples))


def test_unknown_members_are_refused() -> None:
    with pytest.raises(
        SettingsError, match=r"^members: unknown classifier 'centres' \(did you mean 'centers'"
    ):
        EnsembleSettings(members=("centres", "features"))


def test_fine_tuning_calibrates_anew(fitted: EnsembleClassifier) -> None:
    """With other galaxies the old probabilities are off, those calibrated on a few footprints less."""
    samples, counts = make_scenes(8, seed=400)
    rng = np.random.default_rng(0)
    # Elsewhere most galaxies of blends are too faint to count.
    counts = np.where((counts > 1) & (rng.random(len(counts)) < 0.6), 1, counts)
    few = FootprintSamples(samples.results[:3], samples.contexts[:3])
    n = len(few)
    tuned = EnsembleClassifier.from_package(fitted.to_package("m"))
    tuned.fine_tune(LabelledSamples(samples=few, counts=counts[:n]))
    # What probabilities refer to is that of the calibration; without it they are what they were.
    assert tuned.describe_probabilities()["prior_blended"] == pytest.approx(np.mean(counts[:n] > 1), abs=1e-6)
    assert tuned.to_package().metadata["prior"] == fitted.to_package().metadata["prior"]
    weighted = EnsembleClassifier.from_package(fitted.to_package("m"))
    weighted.fine_tune(
        LabelledSamples(samples=few, counts=counts[:n], weights=np.where(counts[:n] > 1, 10.0, 1.0))
    )
    assert weighted.describe_probabilities() == tuned.describe_probabilities()
    np.testing.assert_array_equal(tuned.predict(samples), fitted.predict(samples))
    losses = [
        score(split_probabilities(c.probabilities(samples))[0][n:], counts[n:]).natural_cross_entropy
        for c in (fitted, tuned)
    ]
    assert losses[1] < losses[0] - 0.02
    again = EnsembleClassifier.from_package(tuned.to_package("t"))
    np.testing.assert_array_equal(again.probabilities(samples), tuned.probabilities(samples))


def test_bad_training_sets() -> None:
    classifier = EnsembleClassifier(settings=make_settings(), members=make_members())
    labelled = make_labelled(2)
    with pytest.raises(ValueError, match="2 images cannot be dealt out to 3 folds"):
        _stack.deal_folds(np.array([0, 0, 1, 1]), 3, 1)
    with pytest.raises(ValueError, match="0 of the 200 training footprints are blended"):
        classifier.fit(dataclasses.replace(labelled, counts=np.ones_like(labelled.counts)))


def test_weights_do_not_move_the_prior(fitted: EnsembleClassifier) -> None:
    samples, counts = make_scenes(6)
    # With weights scikit-learn takes long for the bins of each column; the features have 182.
    weighted = EnsembleClassifier(
        settings=make_settings(n_trees=10, use_features=False), members=make_members()
    )
    weighted.fit(LabelledSamples(samples=samples, counts=counts, weights=np.where(counts > 1, 5.0, 1.0)))
    p, _ = split_probabilities(weighted.probabilities(samples))
    assert p.mean() == pytest.approx(np.mean(counts > 1), abs=0.03)
    assert weighted.to_package().metadata["prior"] == fitted.to_package().metadata["prior"]


def test_it_does_not_load_a_network() -> None:
    """Nor scikit-learn, unless it is fitted."""
    program = (
        "import sys; from lsst.meas.blendid.classifiers import EnsembleClassifier as E; E.ConfigClass(); "
        "E.SettingsClass();"
        "assert not {'keras', 'tensorflow', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# What is below tests the stackers alone.


def make_inputs(n: int = 6000, seed: int = 0) -> tuple[StackInputs, np.ndarray, np.ndarray]:
    """Two members that each know one half of what there is to know."""
    rng = np.random.default_rng(seed)
    one, two = rng.normal(0.0, 1.5, (2, n))
    counts = np.where(rng.random(n) < expit(one + two), 2, 1)
    counts = np.where((counts == 2) & (rng.random(n) < 0.3), 3, counts)
    members = np.column_stack([one, two])
    facts = rng.normal(size=(n, 1))
    return (
        StackInputs(members, (0, 1), facts, rng.normal(size=(n, 2)), rng.normal(size=(n, 2))),
        counts,
        rng.integers(0, 30, n),
    )


SETTINGS = StackSettings(n_folds=3, trees=TreeSettings(n_trees=60, learning_rate=0.1))


def test_stack_finds_the_sum_of_what_members_know() -> None:
    inputs, counts, scenes = make_inputs()
    arrays, out_of_fold, history = fit_stack(inputs, counts, scenes, settings=SETTINGS)
    assert len(history) == 3
    fresh, truth, _ = make_inputs(seed=1)
    p_n = predict_stack(arrays, fresh)
    np.testing.assert_allclose(p_n.sum(axis=1), 1.0)
    best = expit(fresh.members.sum(axis=1))
    np.testing.assert_allclose(p_n[:, 2:].sum(axis=1), best, atol=0.12)
    assert np.sqrt(np.mean((p_n[:, 2:].sum(axis=1) - best) ** 2)) < 0.03
    assert np.mean(p_n[:, 3]) == pytest.approx(np.mean(truth == 3), abs=0.02)
    # Out of fold it is as good as on fresh footprints, and no better.
    blended = counts > 1
    own = -np.log(np.where(blended, out_of_fold, 1.0 - out_of_fold)).mean()
    new = -np.log(np.where(truth > 1, p_n[:, 2:].sum(axis=1), p_n[:, :2].sum(axis=1))).mean()
    assert own == pytest.approx(new, abs=0.025)


def test_stack_is_reproducible() -> None:
    inputs, counts, scenes = make_inputs(1500)
    one, two = (fit_stack(inputs, counts, scenes, settings=SETTINGS, seed=5)[0] for _ in range(2))
    assert one.keys() == two.keys() and all(np.array_equal(one[k], two[k]) for k in one)


def test_slope_may_depend_on_conditions() -> None:
    """Members that are too sure in some images, and not sure enough in others, are put right there."""
    rng = np.random.default_rng(0)
    n = 12_000
    members = rng.normal(0.0, 1.5, (n, 1))
    condition = np.where(rng.random(n) < 0.5, -1.0, 1.0)
    truth = np.where(condition < 0.0, 0.5, 1.5) * members[:, 0]
    counts = np.where(rng.random(n) < expit(truth), 2, 1)
    conditions = np.column_stack([condition, np.full(n, np.nan)])
    nothing = np.zeros((n, 1))
    inputs = StackInputs(members, (0,), nothing, nothing.astype(np.float32), conditions)
    arrays, _, _ = fit_stack(inputs, counts, rng.integers(0, 30, n), settings=SETTINGS)
    p = predict_stack(arrays, inputs)[:, 2:].sum(axis=1)
    for side in (-1.0, 1.0):
        slope, intercept = calibration_line(p[condition == side], counts[condition == side] > 1)
        assert slope == pytest.approx(1.0, abs=0.06) and intercept == pytest.approx(0.0, abs=0.06)
    assert (
        validate_stack(arrays, n_members=1, n_conditions=arrays["condition_center"].size).keys()
        == arrays.keys()
    )


def test_folds_are_of_whole_images() -> None:
    scenes = np.repeat(np.arange(10), 7)
    fold = deal_folds(scenes, 3, 1)
    assert all(len(set(fold[scenes == s])) == 1 for s in range(10))
    assert sorted(np.bincount(fold) // 7) == [3, 3, 4]
    assert not np.array_equal(fold, deal_folds(scenes, 3, 2))


def test_member_columns() -> None:
    p_n = np.array([[0.1, 0.4, 0.25, 0.2, 0.05], [0.0, 1.0, 0.0, 0.0, 0.0], [np.nan] * 5])
    columns = member_columns(p_n)
    np.testing.assert_allclose(columns[0], [0.0, np.log(0.25), np.log(0.8), np.log(0.2)])
    assert np.isfinite(columns[1]).all() and np.isnan(columns[2]).all()
    np.testing.assert_allclose(member_columns(np.array([0.2, 0.0, 1.0]))[:, 0], [logit(0.2), -12.0, 12.0])
