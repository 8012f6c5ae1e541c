# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the local Gaussian process, against MuyGPyS, scipy and an exhaustive search."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import warnings
from typing import Any

import lsst.meas.blendid.classifiers.muygps as muygps_module
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.meas.blendid.classifiers import FitOptions, LabelledSamples
from lsst.meas.blendid.classifiers._muygps_fit import (
    LATENT_UNIT,
    Link,
    Trend,
    choose_rows,
    drop_self,
    fit_link,
    fit_trend,
    working_labels,
)
from lsst.meas.blendid.classifiers._muygps_inputs import InputMap
from lsst.meas.blendid.classifiers._muygps_neighbors import NeighborIndex
from lsst.meas.blendid.classifiers._muygps_posterior import MaternTable, find_posterior, matern
from lsst.meas.blendid.classifiers.muygps import KernelSettings, MuyGpsClassifier, MuyGpsSettings
from lsst.meas.blendid.metrics import score
from lsst.meas.blendid.model_package import ModelPackage, ModelPackageError
from lsst.meas.blendid.model_settings import SettingsError
from lsst.meas.blendid.samples import FootprintSamples
from scipy.special import ndtr, ndtri
from toy_samples import make_samples, make_toy

FEATURES = ("area", "area_detected", "n_peaks", "max_significance")


def make_settings(**values: Any) -> MuyGpsSettings:
    usual: dict[str, Any] = {
        "features": FEATURES,
        "n_coordinates": 0,
        "prior_mean": "none",
        "optimize_kernel": False,
        "kernel": KernelSettings(length_scale=5.0, noise=1.0),
    }
    return MuyGpsSettings(**(usual | values))


def label_toy(n_side: int, seed: int = 0) -> LabelledSamples:
    samples, counts = make_samples(n_side, seed=seed)
    return LabelledSamples(samples=samples, counts=counts)


def fit_toy(n_side: int = 16, seed: int = 0, **values: Any) -> MuyGpsClassifier:
    classifier = MuyGpsClassifier(settings=make_settings(**values))
    classifier.fit(label_toy(n_side, seed))
    return classifier


def make_points(n: int, d: int, seed: int) -> np.ndarray:
    """Clustered points with less and less scatter along the axes, float32."""
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(0).normal(size=(20, d))
    points = centers[rng.integers(0, 20, n)] + 0.7 * rng.normal(size=(n, d))
    return (points / np.sqrt(np.arange(1, d + 1))).astype(np.float32)


# --- neighbours -----------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 700), d=st.integers(1, 21), k=st.integers(1, 60), seed=st.integers(0, 1000))
def test_neighbors_are_those_of_an_exhaustive_search(n: int, d: int, k: int, seed: int) -> None:
    k = min(k, n)
    points, queries = make_points(n, d, seed), make_points(20, d, seed + 1)
    index = NeighborIndex.build(points)
    rows, squared = index.query(queries, k)
    all_squared = np.square(queries[:, None, :].astype(float) - points[None].astype(float)).sum(axis=2)
    np.testing.assert_allclose(np.sort(squared, axis=1), np.sort(all_squared, axis=1)[:, :k], rtol=1e-12)
    given_rows = index.order[rows]
    assert all(len(set(row)) == k for row in given_rows)
    np.testing.assert_allclose(np.take_along_axis(all_squared, given_rows, axis=1), squared, rtol=1e-12)
    np.testing.assert_array_equal(index.points, points[index.order])


def test_neighbors_among_points_at_one_place() -> None:
    points = np.repeat(make_points(5, 3, 1), 200, axis=0)
    index = NeighborIndex.build(points)
    rows, squared = index.query(points[:1], 50)
    assert np.all(squared == 0.0)
    assert len(set(rows[0])) == 50


def test_query_that_is_not_finite_has_no_neighbors() -> None:
    index = NeighborIndex.build(make_points(100, 3, 1))
    queries = make_points(4, 3, 2)
    queries[1, 2], queries[2, 0] = np.nan, np.inf
    rows, squared = index.query(queries, 5)
    assert (rows[1:3] == -1).all() and np.isnan(squared[1:3]).all()
    assert (rows[[0, 3]] >= 0).all() and np.isfinite(squared[[0, 3]]).all()


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.zeros((0, 2)), "shape"),
        (np.zeros(3), "shape"),
        (np.array([[1.0, np.nan]]), "not finite"),
        (np.array([[1.0, 1e16]]), "beyond"),
    ],
)
def test_points_that_cannot_be_searched(points: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NeighborIndex.build(points)


def test_too_few_points_or_other_dimensions() -> None:
    index = NeighborIndex.build(make_points(10, 3, 1))
    with pytest.raises(ValueError, match="11 neighbours were asked for; there are 10"):
        index.query(make_points(2, 3, 1), 11)
    with pytest.raises(ValueError, match="positions have shape"):
        index.query(make_points(2, 4, 1), 3)


def test_drop_self_leaves_out_the_point_or_the_farthest() -> None:
    neighbors = np.array([[4, 0, 2], [5, 6, 7]])
    squared = np.array([[0.1, 0.0, 0.3], [0.2, 0.9, 0.4]])
    rows, distances = drop_self(neighbors, squared, np.array([0, 1]))
    np.testing.assert_array_equal(rows, [[4, 2], [5, 7]])
    np.testing.assert_array_equal(distances, [[0.1, 0.3], [0.2, 0.4]])


# --- kernel and posterior -------------------------------------------------------------------------------


@pytest.mark.parametrize("smoothness", [0.5, 0.8, 1.5, 2.5, 7.3, 10.0, 30.0])
def test_table_is_the_kernel(smoothness: float) -> None:
    squared = 10.0 ** np.random.default_rng(1).uniform(-20.0, 4.0, 20_000)
    table = MaternTable.make(smoothness, 1.0)
    np.testing.assert_allclose(table(squared), matern(squared, smoothness), rtol=0.0, atol=2e-12)
    np.testing.assert_array_equal(table(np.array([0.0, 1e300])), [1.0, 0.0])
    longer = MaternTable.make(smoothness, 3.0)
    np.testing.assert_allclose(longer(9.0 * squared), table(squared), rtol=0.0, atol=1e-12)


def test_kernels_of_half_integer_smoothness() -> None:
    """Rasmussen & Williams 2006, eqs 4.17 and 4.18."""
    r = np.linspace(1e-6, 12.0, 500)
    np.testing.assert_allclose(matern(r**2, 0.5), np.exp(-r), atol=1e-13)
    t = np.sqrt(3.0) * r
    np.testing.assert_allclose(matern(r**2, 1.5), (1.0 + t) * np.exp(-t), atol=1e-13)
    t = np.sqrt(5.0) * r
    np.testing.assert_allclose(matern(r**2, 2.5), (1.0 + t + t**2 / 3.0) * np.exp(-t), atol=1e-13)


@pytest.mark.parametrize(("smoothness", "length"), [(0.4, 1.0), (31.0, 1.0), (1.0, 0.0), (1.0, np.nan)])
def test_kernel_out_of_range(smoothness: float, length: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        MaternTable.make(smoothness, length)


@settings(max_examples=25, deadline=None)
@given(
    d=st.integers(1, 18),
    k=st.integers(1, 53),
    smoothness=st.floats(0.5, 12.0),
    length=st.floats(0.1, 20.0),
    seed=st.integers(0, 1000),
)
def test_posterior_solves_the_equations(d: int, k: int, smoothness: float, length: float, seed: int) -> None:
    """Against matrices written out, with a noise of its own for each point."""
    rng = np.random.default_rng(seed)
    points, queries = make_points(60, d, seed).astype(float), make_points(7, d, seed + 1).astype(float)
    targets, noise = rng.normal(size=60), rng.uniform(0.1, 2.0, 60)
    neighbors = np.array([rng.permutation(60)[:k] for _ in queries])
    squared = np.square(points[neighbors] - queries[:, None, :]).sum(axis=2)
    kernel = MaternTable.make(smoothness, length)
    mean, variance = find_posterior(points, targets, neighbors, squared, kernel, noise)
    for i, rows in enumerate(neighbors):
        gaps = np.square(points[rows][:, None, :] - points[rows][None]).sum(axis=2) / length**2
        covariance = matern(np.maximum(gaps, 1e-30), smoothness)
        np.fill_diagonal(covariance, 1.0 + noise[rows])
        crosswise = matern(np.maximum(squared[i], 1e-30) / length**2, smoothness)
        weights = np.linalg.solve(covariance, crosswise)
        np.testing.assert_allclose(mean[i], weights @ targets[rows], rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(variance[i], 1.0 - weights @ crosswise, rtol=1e-8, atol=1e-9)


def test_noise_must_be_positive() -> None:
    points = make_points(4, 2, 1).astype(float)
    rows, squared = NeighborIndex.build(points).query(points, 2)
    with pytest.raises(ValueError, match="noise must be finite and positive"):
        find_posterior(points, np.ones(4), rows, squared, MaternTable.make(1.5, 1.0), 0.0)


@pytest.mark.parametrize(
    ("smoothness", "length", "noise"), [(10.0, 20.0, 3e-6), (2.5, 3.0, 0.05), (0.9, 4.0, 0.5)]
)
def test_posterior_is_that_of_muygpys(smoothness: float, length: float, noise: float) -> None:
    """1,000 queries on 40,000 rows; the first settings are those of Buchanan et al. 2022."""
    pytest.importorskip("MuyGPyS", reason="MuyGPyS is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from MuyGPyS.gp import MuyGPS
        from MuyGPyS.gp.deformation import Isotropy, l2
        from MuyGPyS.gp.hyperparameter import Parameter
        from MuyGPyS.gp.kernels import Matern
        from MuyGPyS.gp.noise import HomoscedasticNoise
        from MuyGPyS.neighbors import NN_Wrapper

    points, queries = make_points(40_000, 8, 1), make_points(1_000, 8, 2)
    rng = np.random.default_rng(3)
    labels = np.where(np.sin(3.0 * points[:, 0]) + rng.normal(0.0, 0.5, len(points)) > 0.0, 1.0, -1.0)
    index = NeighborIndex.build(points)
    rows, squared = index.query(queries, 50)
    mean, variance = find_posterior(
        index.points, labels[index.order], rows, squared, MaternTable.make(smoothness, length), noise
    )

    wide, wide_queries = points.astype(float), queries.astype(float)
    neighbors, _ = NN_Wrapper(wide, 50, nn_method="exact", algorithm="kd_tree", n_jobs=1).get_nns(
        wide_queries
    )
    assert np.array_equal(np.sort(neighbors, axis=1), np.sort(index.order[rows], axis=1))
    model = MuyGPS(
        kernel=Matern(
            smoothness=Parameter(smoothness), deformation=Isotropy(l2, length_scale=Parameter(length))
        ),
        noise=HomoscedasticNoise(noise),
    )
    crosswise, pairwise, near = model.make_predict_tensors(
        np.arange(len(queries)), neighbors, wide_queries, wide, labels
    )
    covariance, cross = model.kernel(pairwise), model.kernel(crosswise)
    np.testing.assert_allclose(mean, model.posterior_mean(covariance, cross, near), rtol=0.0, atol=1e-6)
    np.testing.assert_allclose(variance, model.posterior_variance(covariance, cross), rtol=0.0, atol=1e-6)


# --- inputs, trend and link -----------------------------------------------------------------------------


def test_inputs_are_normal_scores_of_ranks() -> None:
    rng = np.random.default_rng(1)
    pixels, features = rng.normal(size=(3000, 9)).astype(np.float32), rng.lognormal(size=(3000, 2))
    features[:, 1] = rng.integers(0, 3, 3000)
    chosen = InputMap.fit(
        pixels, features, n_components=2, n_coordinates=3, ranks=True, may_lack=[False, True], rng=rng
    )
    inputs = chosen.inputs(pixels, features)
    assert inputs.shape == (3000, 4)
    shares = (np.argsort(np.argsort(features[:, 0])) + 0.5) / 3000
    middle = np.abs(shares - 0.5) < 0.45
    np.testing.assert_allclose(inputs[middle, 2], ndtri(shares[middle]), atol=0.05)
    # Equal features have equal scores, larger ones larger.
    assert len(np.unique(inputs[:, 3])) == 3
    assert np.all(np.diff([inputs[features[:, 1] == v, 3][0] for v in range(3)]) > 0.0)
    coordinates = chosen.coordinates(inputs)
    covariance = np.cov(coordinates.T)
    np.testing.assert_allclose(covariance - np.diag(np.diag(covariance)), 0.0, atol=1e-5)
    scatter = np.linalg.eigvalsh(np.cov(inputs.T))[::-1] ** 0.5
    np.testing.assert_allclose(np.diag(covariance), scatter[:3] / scatter[0], atol=1e-3)
    # A missing feature is the median where it may be missing, and leaves no inputs where not.
    features[0, 1], features[1, 0] = np.nan, np.nan
    lacking = chosen.inputs(pixels[:2], features[:2])
    assert lacking[0, 3] == chosen.inputs(pixels[:1], np.array([[1.0, 1.0]]))[0, 3]
    assert np.isnan(lacking[1, 2])


def test_working_labels_without_trend_are_plus_and_minus_one() -> None:
    labels, noise = working_labels(np.zeros(2), np.array([True, False]))
    np.testing.assert_allclose(labels, [1.0, -1.0], rtol=1e-12)
    np.testing.assert_allclose(noise, 1.0, rtol=1e-12)


def test_working_labels_have_no_mean_and_the_noise_given() -> None:
    latent = np.array([-2.0, -0.5, 1.5])
    up, noise = working_labels(latent, np.ones(3, dtype=bool))
    down, _ = working_labels(latent, np.zeros(3, dtype=bool))
    p = ndtr(latent)
    np.testing.assert_allclose(p * up + (1.0 - p) * down, 0.0, atol=1e-12)
    np.testing.assert_allclose(p * up**2 + (1.0 - p) * down**2, noise, rtol=1e-12)


def test_regression_is_that_of_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(1)
    x = rng.normal(size=(2000, 3))
    blended = rng.random(2000) < 1.0 / (1.0 + np.exp(-(x[:, 0] + x[:, 1] * x[:, 2])))
    trend = Trend.fit("quadratic", x, x[:, 1:], blended, None, n_products=2, rng=rng)
    design = np.column_stack([x, x[:, 1] ** 2, x[:, 1] * x[:, 2], x[:, 2] ** 2])
    reference = LogisticRegression(C=0.1, tol=1e-8, max_iter=1000).fit(design, blended)
    p = reference.predict_proba(design)[:, 1]
    np.testing.assert_allclose(ndtr(trend.latent(x, x[:, 1:])), p, atol=1e-4)


@pytest.mark.parametrize("plain", [True, False])
def test_link_finds_the_scale_that_is_true(plain: bool) -> None:
    rng = np.random.default_rng(1)
    n = 40_000
    mean, variance = rng.normal(0.0, 0.6, n), rng.uniform(0.1, 0.4, n)
    latent = rng.normal(0.0, 1.0, n)
    true = Link(1.7, 1.0, 0.0, True) if plain else Link(1.2, 0.8, -0.3, False)
    blended = rng.random(n) < true(latent, mean, variance)
    link = fit_link(latent, mean, variance, blended, np.ones(n), plain=plain, fit_offset=not plain)
    np.testing.assert_allclose(link(latent, mean, variance), true(latent, mean, variance), atol=0.02)
    if plain:
        np.testing.assert_allclose(link.sigma, 1.7, rtol=0.03)
        assert (link.slope, link.offset) == (1.0, 0.0)


def test_link_with_trend_is_the_mean_over_a_gaussian() -> None:
    latent, mean, variance, sigma = 0.4, -0.3, 0.25, 1.5
    draws = np.random.default_rng(1).normal(latent + LATENT_UNIT * mean, sigma * np.sqrt(variance), 400_000)
    p = Link(sigma, 1.0, 0.0, False)(*(np.array([v]) for v in (latent, mean, variance)))
    np.testing.assert_allclose(p, ndtr(draws).mean(), atol=2e-3)


# --- classifier -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain() -> MuyGpsClassifier:
    return fit_toy()


@pytest.mark.parametrize("trend", ["none", "quadratic"])
def test_toy_is_learned(trend: str) -> None:
    classifier = fit_toy(prior_mean=trend, n_products=3)
    other, counts = make_samples(14, seed=5)
    p = classifier.predict(other)
    assert p.shape == (len(other),)
    scores = score(p, counts)
    assert scores.auc > 0.9
    assert scores.cross_entropy < 0.4
    # Natural shares: probabilities are right on average.
    assert abs(p.mean() - np.mean(counts > 1)) < 0.06


def test_package_round_trip(plain: MuyGpsClassifier) -> None:
    other, _ = make_samples(6, seed=3)
    package = ModelPackage.from_bytes(plain.to_package("toy").to_bytes())
    again = MuyGpsClassifier.from_package(package)
    np.testing.assert_array_equal(again.predict(other), plain.predict(other))
    assert package.metadata["prior"]["blended"] == pytest.approx(plain._prior["blended"])


def test_package_round_trip_with_trend_and_coordinates() -> None:
    classifier = fit_toy(prior_mean="quadratic", n_coordinates=5, n_products=4, n_neighbors=20)
    other, _ = make_samples(6, seed=3)
    again = MuyGpsClassifier.from_package(classifier.to_package())
    np.testing.assert_array_equal(again.predict(other), classifier.predict(other))


def test_fit_is_reproducible(plain: MuyGpsClassifier) -> None:
    arrays = plain._get_state()
    again = fit_toy()._get_state()
    assert arrays.keys() == again.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, again[name], err_msg=name)


def test_footprint_is_classified_the_same_alone_and_in_company(plain: MuyGpsClassifier) -> None:
    parts = [make_toy(6, seed=s)[0] for s in (50, 51)]
    both = plain.predict(FootprintSamples(parts))
    alone = np.concatenate([plain.predict(FootprintSamples([part])) for part in parts])
    np.testing.assert_array_equal(both, alone)


def test_prepared_samples_need_no_images(plain: MuyGpsClassifier) -> None:
    samples, _ = make_samples(6, seed=3)
    expected = plain.predict(samples)
    fresh, _ = make_samples(6, seed=3)
    assert plain.prepare(fresh)
    np.testing.assert_array_equal(plain.predict(fresh.without_images()), expected)


def test_footprint_with_unusable_pixels_is_nan(plain: MuyGpsClassifier) -> None:
    result, _ = make_toy(6, seed=3)
    image = result.image.copy()
    y, x = np.argwhere(result.footprints.labels == 8)[10]
    image[y, x] = np.nan
    p = plain.predict(FootprintSamples([dataclasses.replace(result, image=image)]))
    assert np.isnan(p[7])
    assert np.isfinite(np.delete(p, 7)).all()


def test_no_footprints(plain: MuyGpsClassifier) -> None:
    assert plain.predict(FootprintSamples([])).shape == (0,)


@pytest.mark.parametrize("trend", ["none", "quadratic"])
def test_weights_do_not_change_the_shares(trend: str) -> None:
    train = label_toy(16)
    classifier = MuyGpsClassifier(settings=make_settings(prior_mean=trend, n_products=3))
    classifier.fit(dataclasses.replace(train, weights=np.where(train.blended, 4.0, 1.0)))
    other, other_counts = make_samples(14, seed=5)
    assert abs(classifier.predict(other).mean() - np.mean(other_counts > 1)) < 0.06


def test_row_without_weight_is_not_kept() -> None:
    train = label_toy(8)
    weights = np.ones(len(train.counts))
    weights[::2] = 0.0
    classifier = MuyGpsClassifier(settings=make_settings(n_neighbors=10))
    classifier.fit(dataclasses.replace(train, weights=weights))
    assert len(classifier._labels) == np.count_nonzero(weights)


def test_fine_tuning_moves_towards_the_new_footprints(plain: MuyGpsClassifier) -> None:
    """Labels of another definition: two galaxies count as one."""
    samples, counts = make_samples(16, seed=7)
    shifted = np.maximum(counts - 1, 0)
    tuned = MuyGpsClassifier.from_package(plain.to_package())
    tuned.fine_tune(LabelledSamples(samples=samples, counts=shifted))
    assert len(tuned._labels) == len(plain._labels) + len(samples)
    other, other_counts = make_samples(14, seed=5)
    truth = np.maximum(other_counts - 1, 0)
    before, after = (score(c.predict(other), truth).natural_cross_entropy for c in (plain, tuned))
    assert after < 0.8 * before
    # The model that it began with is as it was.
    np.testing.assert_array_equal(plain._get_state()["labels"], fit_toy()._get_state()["labels"])


def test_weights_count_in_fine_tuning_too(plain: MuyGpsClassifier) -> None:
    samples, counts = make_samples(8, seed=7)
    weights = np.where(np.arange(len(counts)) % 2, 0.0, np.where(counts > 1, 2.0, 1.0))
    tuned = MuyGpsClassifier.from_package(plain.to_package())
    tuned.fine_tune(LabelledSamples(samples=samples, counts=counts, weights=weights))
    assert len(tuned._labels) == len(plain._labels) + np.count_nonzero(weights)
    ratio = np.unique(np.round(tuned._relative_noise / plain._relative_noise[0], 4))
    # Without a trend all labels have one noise, which the weights divide; their mean does not count.
    mean = weights[weights > 0.0].mean()
    np.testing.assert_allclose(ratio, sorted({1.0, round(mean, 4), round(mean / 2.0, 4)}), atol=2e-4)


def test_hyper_parameters_are_optimised_by_muygpys() -> None:
    pytest.importorskip("MuyGPyS", reason="MuyGPyS is not installed")
    lines: list[str] = []
    other, other_counts = make_samples(14, seed=5)
    start = KernelSettings(length_scale=0.6, noise=1e-3)
    scores = {}
    for optimize in (False, True):
        settings = make_settings(optimize_kernel=optimize, n_batch=150, n_neighbors=20, kernel=start)
        classifier = MuyGpsClassifier(settings=settings)
        classifier.fit(label_toy(12), options=FitOptions(report=lines.append))
        scores[optimize] = score(classifier.predict(other), other_counts).natural_cross_entropy
    assert sum(line.startswith("MuyGPyS: ") for line in lines) == 1
    assert scores[True] < scores[False]
    assert classifier._kernel.smoothness == start.smoothness
    assert 0.03 <= classifier._kernel.length_scale <= 50.0
    assert 1e-6 <= classifier._noise <= 300.0


def test_prediction_loads_no_muygpys(plain: MuyGpsClassifier, tmp_path: object) -> None:
    path = f"{tmp_path}/toy.blendid"
    plain.to_package("toy").write(path)
    program = (
        "import sys\n"
        "from lsst.meas.blendid.classifiers.muygps import MuyGpsClassifier\n"
        "from lsst.meas.blendid.model_package import ModelPackage\n"
        "from lsst.meas.blendid.samples import FootprintSamples\n"
        f"c = MuyGpsClassifier.from_package(ModelPackage.read({path!r}))\n"
        "c.predict(FootprintSamples([]))\n"
        "print(sorted(n for n in ('MuyGPyS', 'sklearn') if n in sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- bad input ------------------------------------------------------------------------------------------


def test_muygpys_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] == "MuyGPyS"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "MuyGPyS", None)
    classifier = MuyGpsClassifier(settings=make_settings(optimize_kernel=True))
    for ask in (classifier.check_fit, lambda: classifier.fit(label_toy(8))):
        with pytest.raises(ModuleNotFoundError, match=r"lsst-meas-blendid\[muygps\].*optimize_kernel=false"):
            ask()
    # Fine-tuning optimises nothing.
    classifier.check_fit(goes_on=True)


def test_fewer_footprints_than_neighbors() -> None:
    with pytest.raises(ValueError, match="32 usable footprints are too few for 50 neighbours"):
        fit_toy(4)


def test_one_class() -> None:
    train = label_toy(8)
    with pytest.raises(ValueError, match="both kinds are needed"):
        MuyGpsClassifier(settings=make_settings()).fit(
            dataclasses.replace(train, counts=np.ones_like(train.counts))
        )


def test_no_model() -> None:
    with pytest.raises(RuntimeError, match="has no model"):
        MuyGpsClassifier(settings=make_settings()).predict(FootprintSamples([]))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n_components": 600}, "n_components is 600, more than the 529 pixels"),
        ({"features": ("area", "area")}, "features has repeated names"),
        ({"features": ("flavour",)}, "features is 'flavour'"),
        ({"prior_mean": "linear"}, "prior_mean is 'linear'; it can be one of none, quadratic"),
        ({"n_coordinates": 30}, "there are 12 inputs only"),
        ({"n_train": 50}, "n_train is 50, too few for n_neighbors = 50"),
    ],
)
def test_settings_that_cannot_be(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        make_settings(**values)


def test_config_of_format_1_makes_the_same_settings() -> None:
    settings = make_settings(n_neighbors=20)
    config = {
        "features": list(FEATURES),
        "nCoordinates": 0,
        "priorMean": "none",
        "nNeighbors": 20,
        "smoothness": 1.5,
        "lengthScale": 5.0,
        "noise": 1.0,
        # What there is no longer a choice of.
        "nnMethod": "exact",
        "optimizer": "L_BFGS_B",
        "loss": "cross_entropy",
        "optimize": [],
        "noiseBounds": [1e-6, 300.0],
        "doBalance": False,
    }
    assert MuyGpsSettings.from_config(config) == dataclasses.replace(settings, optimize_kernel=True)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("points", lambda a: a[:, :-1]),
        ("points", lambda a: a * np.float32(np.nan)),
        ("labels", lambda a: a[:-1]),
        ("relative_noise", lambda a: -a),
        ("hyper_parameters", lambda a: a[:-1]),
        ("hyper_parameters", lambda a: a * 0.0),
        ("components", lambda a: a[:-1]),
        ("knots", lambda a: a[::-1]),
        ("knots", lambda a: a[:0]),
        ("trend", lambda a: np.ones(3)),
        ("trend", lambda a: np.ones(())),
        ("points", lambda a: np.ones((), np.float32)),
        ("axes", lambda a: a[:, 1:]),
        ("fill", lambda a: a[1:]),
        ("fill", lambda a: np.full_like(a, np.inf)),
    ],
)
def test_damaged_package(plain: MuyGpsClassifier, name: str, change: object) -> None:
    package = plain.to_package("toy")
    arrays = dict(package.arrays)
    arrays[name] = change(arrays[name])  # type: ignore[operator]
    with pytest.raises(ModelPackageError, match="unusable arrays"):
        MuyGpsClassifier.from_package(dataclasses.replace(package, arrays=arrays))
    del arrays[name]
    with pytest.raises(ModelPackageError, match=f"lacks array '{name}'"):
        MuyGpsClassifier.from_package(dataclasses.replace(package, arrays=arrays))


def test_rows_that_are_kept() -> None:
    rng = np.random.default_rng(1)
    blended = np.arange(100) % 4 == 0
    weights = (np.arange(100) < 60).astype(float)
    rows = choose_rows(blended, weights, rng, n_train=40, n_neighbors=5)
    assert len(rows) == 40 and rows.max() < 60 and np.all(np.diff(rows) > 0)
    with pytest.raises(ValueError, match="5 footprints are too few for 5 neighbours"):
        choose_rows(blended, (np.arange(100) < 5).astype(float), rng, n_train=40, n_neighbors=5)
    with pytest.raises(ValueError, match="the 25 footprints that are kept are all of one kind"):
        choose_rows(blended, blended.astype(float), rng, n_train=40, n_neighbors=5)


def test_folds_are_of_pieces_of_sky(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[np.ndarray] = []

    def listen(*args: Any, **kwargs: Any) -> Any:
        seen.append(args[5])
        return fit_trend(*args, **kwargs)

    monkeypatch.setattr(muygps_module, "fit_trend", listen)
    samples, counts = make_samples(8)
    sky = np.arange(len(samples)) % 5
    for pieces in (sky, None):
        MuyGpsClassifier(settings=make_settings()).fit(
            LabelledSamples(samples=samples, counts=counts, sky=pieces)
        )
    assert np.array_equal(seen[0], sky)
    # Two images are too few for the folds: each is cut, and no part of the one is with the other.
    assert len(np.unique(seen[1])) >= 5
    assert all(len(np.unique(samples.scene_index[seen[1] == part])) == 1 for part in np.unique(seen[1]))
