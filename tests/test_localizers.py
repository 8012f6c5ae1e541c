# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of localisers: what they learn, what they give, and their packages."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import sys
import types
from typing import Any, ClassVar

import numpy as np
import pytest
from lsst.meas.blendid.centers import Candidates
from lsst.meas.blendid.classifiers import ENTRY_POINT_GROUP as CLASSIFIER_GROUP
from lsst.meas.blendid.classifiers import FitOptions, LabelledSamples, find_classifier
from lsst.meas.blendid.localizers import (
    ENTRY_POINT_GROUP,
    BlendLocalizer,
    BlendLocalizerConfig,
    CentersLocalizer,
    CentersLocalizerConfig,
    PeaksLocalizer,
    Positions,
    RegressionLocalizer,
    RegressionLocalizerSettings,
    find_localizer,
    localizer_registry,
    locate_peaks,
)
from lsst.meas.blendid.localizers.object_localizer import ObjectLocalizer, ObjectLocalizerSettings
from lsst.meas.blendid.localizers.scoring import ScorerSettings
from lsst.meas.blendid.model_package import ModelPackage, ModelPackageError
from lsst.meas.blendid.samples import FootprintSamples
from toy_objects import make_samples
from toy_samples import make_result
from toy_samples import make_samples as make_counts


class ToyLocalizer(ObjectLocalizer):
    """Scores given candidates."""

    name: ClassVar[str] = "toy"
    candidates: ClassVar[dict[int, Candidates]] = {}

    def find_candidates(self, samples: FootprintSamples) -> tuple[Candidates, ...]:
        return tuple(self.candidates[id(result)] for result in samples.results)


def make_scorer(**values: Any) -> ScorerSettings:
    usual = ScorerSettings().trees
    return ScorerSettings(trees=dataclasses.replace(usual, **values))


SETTINGS = ObjectLocalizerSettings(scorer=make_scorer(n_trees=40, n_leaves=8, min_samples=10))


def label(samples: FootprintSamples, galaxies: list[np.ndarray]) -> LabelledSamples:
    """Footprints with their galaxies; a localiser counts these by itself."""
    counts = np.zeros(len(samples), dtype=int)
    return LabelledSamples(samples=samples, counts=counts, centers=tuple(galaxies))


@pytest.fixture(scope="module")
def learned() -> tuple[ToyLocalizer, FootprintSamples, list[np.ndarray]]:
    samples, galaxies, candidates = make_samples(12)
    ToyLocalizer.candidates = {id(r): c for r, c in zip(samples.results, candidates, strict=True)}
    localizer = ToyLocalizer(settings=SETTINGS)
    localizer.fit(label(samples, galaxies), FitOptions(seed=2))
    return localizer, samples, galaxies


def test_probabilities_add_up_to_the_number_of_galaxies(
    learned: tuple[ToyLocalizer, FootprintSamples, list[np.ndarray]],
) -> None:
    localizer, samples, galaxies = learned
    found = localizer.locate(samples)
    assert len(found) == 12 and all(isinstance(one, Positions) for one in found)
    total = sum(one.probability.sum() for one in found)
    assert total == pytest.approx(sum(map(len, galaxies)), rel=0.06)
    # Every detected peak is there, at its place.
    peaks = samples.results[0].footprints.peaks
    places = set(zip(found[0].x, found[0].y, strict=True))
    assert places >= set(zip(peaks["f_x"], peaks["f_y"], strict=True))
    assert all((one.xx > 0).all() and (one.xx * one.yy > one.xy**2).all() for one in found)


def test_package_gives_the_same_numbers(
    learned: tuple[ToyLocalizer, FootprintSamples, list[np.ndarray]],
) -> None:
    localizer, samples, _ = learned
    package = ModelPackage.from_bytes(localizer.to_package("toy").to_bytes())
    assert (package.kind, package.classifier) == ("localizer", "toy")
    again = ToyLocalizer.from_package(package)
    for mine, theirs in zip(localizer.locate(samples), again.locate(samples), strict=True):
        np.testing.assert_array_equal(mine.probability, theirs.probability)
        np.testing.assert_array_equal(mine.xy, theirs.xy)
    assert again.to_package("toy").to_bytes() == package.to_bytes()
    assert again.settings == SETTINGS
    # What is chosen when it runs is no part of it.
    config = BlendLocalizerConfig()
    config.minProbability, config.maxInferredPeaks = 0.3, 5
    chosen = ToyLocalizer.from_package(package, config)
    assert chosen.to_package("toy").to_bytes() == package.to_bytes()
    with pytest.raises(ValueError, match="give no others beside it"):
        ToyLocalizer(settings=SETTINGS, package=package)
    with pytest.raises(ModelPackageError, match="one of the localizer 'toy'; one of a classifier"):
        find_classifier(package)
    with pytest.raises(ModelPackageError, match="needs the localizer 'toy', which is not there"):
        find_localizer(package)
    with pytest.raises(ModelPackageError, match="model of localizer 'toy', not of 'peaks'"):
        PeaksLocalizer(package=package)


def test_peaks_and_counts_agree(
    learned: tuple[ToyLocalizer, FootprintSamples, list[np.ndarray]],
) -> None:
    localizer, samples, _ = learned
    one = FootprintSamples(samples.results[:1], samples.contexts[:1])
    n = len(one)
    p_n = np.random.default_rng(1).dirichlet([0.3, 3.0, 2.0, 0.3, 0.1], n)
    usable = np.arange(n) % 7 > 0
    located, expected = locate_peaks(localizer, one, p_n=p_n, usable=usable)
    assert expected is not None
    row = located.peaks["footprint_id"] - 1
    total = np.bincount(row, np.nan_to_num(located.peaks["probability"]), minlength=n)
    assert np.isnan(located.peaks["probability"][~usable[row]]).all()
    assert not located.peaks["is_inferred"][~usable[row]].any()
    # Where there are enough peaks, they add up to the expected number, which P(N) makes.
    room = np.bincount(row, minlength=n) > p_n[:, 1:] @ np.arange(1, 5) + 0.3
    np.testing.assert_allclose(total[usable & room], expected[usable & room], atol=1e-6)
    np.testing.assert_allclose(expected, p_n @ np.arange(5), atol=0.5)
    # Without P(N) the peaks tell the number.
    located, alone = locate_peaks(localizer, one, p_n=None, usable=usable)
    assert alone is not None
    total = np.bincount(row, np.nan_to_num(located.peaks["probability"]), minlength=n)
    np.testing.assert_allclose(alone[usable], total[usable])


def test_bad_training_sets() -> None:
    samples, galaxies, candidates = make_samples(2)
    ToyLocalizer.candidates |= {id(r): c for r, c in zip(samples.results, candidates, strict=True)}
    localizer = ToyLocalizer(settings=SETTINGS)
    with pytest.raises(ValueError, match="1 tables of galaxies were given for 2 images"):
        localizer.fit(label(samples, galaxies[:1]))
    with pytest.raises(ValueError, match="all or none"):
        localizer.fit(label(samples, [np.zeros((0, 3))] * 2))
    with pytest.raises(ValueError, match="places of the galaxies are not known; give scenes with truth"):
        localizer.fit(LabelledSamples(samples=samples, counts=np.ones(len(samples), dtype=int)))
    with pytest.raises(RuntimeError, match=r"localizer 'toy' has no model: set config\.modelPackage"):
        localizer.locate(samples)


def test_peaks_alone() -> None:
    samples, galaxies, _ = make_samples(8)
    # Some peaks are at no galaxy.
    galaxies = [g[g[:, 2] > 20.0] for g in galaxies]
    settings = ObjectLocalizerSettings(scorer=make_scorer(n_trees=30, min_samples=10))
    localizer = PeaksLocalizer(settings=settings)
    localizer.fit(label(samples, galaxies))
    found = localizer.locate(samples)
    for one, result in zip(found, samples.results, strict=True):
        np.testing.assert_array_equal(one.x, result.footprints.peaks["f_x"])
        np.testing.assert_array_equal(one.row, result.footprints.peaks["footprint_id"] - 1)
    p = np.concatenate([one.probability for one in found])
    faint = np.concatenate([r.footprints.peaks["significance"] < 20.0 for r in samples.results])
    assert p[faint].mean() < 0.3 < 0.9 < p[~faint].mean()


def test_regression_finds_where_one_object_is() -> None:
    samples, counts = make_counts(30)
    galaxies = []
    rng = np.random.default_rng(4)
    for result, (a, b) in zip(
        samples.results, zip(samples.offsets, samples.offsets[1:], strict=False), strict=True
    ):
        table = []
        for k in range(b - a):
            x, y = result.footprints.centroid[k]
            own = [p for p in result.footprints.peaks if p["footprint_id"] == k + 1]
            for j in range(min(counts[a + k], 3)):
                place = (own[j]["f_x"], own[j]["f_y"]) if j < len(own) else (x, y) + rng.normal(0.0, 2.0, 2)
                table.append((*place, 50.0 - j))
        galaxies.append(np.array(table, np.float32))
    settings = RegressionLocalizerSettings(n_hidden=16, scorer=make_scorer(n_trees=20, min_samples=20))
    localizer = RegressionLocalizer(settings=settings)
    localizer.fit(label(samples, galaxies), FitOptions(seed=1))
    candidates = localizer.find_candidates(samples)
    assert len(candidates) == len(samples.results)
    one = candidates[0]
    assert one is not None and np.all(np.diff(one.row) >= 0)
    n = np.diff(one.start)
    assert n.min() >= 1 and n.max() <= 3
    package = ModelPackage.from_bytes(localizer.to_package("r").to_bytes())
    again = RegressionLocalizer.from_package(package)
    for mine, theirs in zip(localizer.locate(samples), again.locate(samples), strict=True):
        np.testing.assert_allclose(mine.probability, theirs.probability)
    damaged = ModelPackage(package.classifier, package.metadata | {"embedding": "other"}, package.arrays)
    with pytest.raises(ModelPackageError, match="embedding of another model"):
        RegressionLocalizer.from_package(damaged)


@pytest.mark.parametrize("name", ["centers", "peaks", "regression"])
def test_shipped_localizers_work_on_any_footprints(name: str) -> None:
    samples, _, _ = make_samples(1)
    localizer = localizer_registry[name]()
    assert localizer.package is not None and localizer.package.kind == "localizer"
    (found,) = localizer.locate(samples)
    assert len(found) and found.row[-1] < len(samples)
    empty = FootprintSamples(
        [make_result(np.zeros((60, 60)), np.zeros((60, 60), np.int32))], samples.contexts[:1]
    )
    (none,) = localizer.locate(empty)
    assert len(none) == 0 and localizer.locate(FootprintSamples([])) == ()


def test_map_of_another_model_is_refused(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    config = CentersLocalizerConfig()
    package = ModelPackage.read(config.modelPackage)
    other = ModelPackage(package.classifier, package.metadata | {"map": "0" * 32}, package.arrays)
    # Another model of the map is the remedy, and not another fit.
    match = "^model 'centers-localizer-i-1' was trained with the map .* 'centers-i-1'; name that one in map"
    with pytest.raises(ModelPackageError, match=match):
        CentersLocalizer(config, package=other)
    config.mapPackage = "peaks-i-1"
    with pytest.raises(ModelPackageError, match="is a model of classifier 'peaks'; name one"):
        CentersLocalizer(config)


def test_plugins_are_found_by_their_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("blendid_toy_localizers")
    module.Good = type("Good", (PeaksLocalizer,), {"name": "good"})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(localizer_registry, "_dict", dict(localizer_registry._dict))
    assert ENTRY_POINT_GROUP == "lsst.meas.blendid.localizers" != CLASSIFIER_GROUP
    point = importlib.metadata.EntryPoint("good", f"{module.__name__}:Good", ENTRY_POINT_GROUP)
    assert localizer_registry.register_entry_points([point]) == ("good",)
    assert issubclass(localizer_registry["good"], BlendLocalizer)
    bad = importlib.metadata.EntryPoint("bad", f"{module.__name__}:Good", ENTRY_POINT_GROUP)
    with pytest.warns(RuntimeWarning, match="blend localizer plugin 'bad'.*calls itself 'good'"):
        assert localizer_registry.register_entry_points([bad]) == ()
