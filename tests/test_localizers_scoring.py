# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of how objects are labelled and scored."""

from __future__ import annotations

import numpy as np
import pytest
from lsst.meas.blendid.classifiers.trees import TreeSettings
from lsst.meas.blendid.localizers.objects import list_objects
from lsst.meas.blendid.localizers.scoring import SCORER_ARRAYS, ObjectScorer, ScorerSettings, label_objects
from scipy.special import expit
from toy_objects import make_candidates, make_scene
from toy_samples import make_result

SETTINGS = ScorerSettings(
    trees=TreeSettings(learning_rate=0.1, n_trees=60, n_leaves=15, min_samples=20), n_folds=3
)


def make_objects(n: int = 12_000, seed: int = 1) -> dict[str, np.ndarray]:
    """Objects whose probability and error are known functions of their columns."""
    rng = np.random.default_rng(seed)
    columns = rng.normal(size=(n, 3)).astype(np.float32)
    p = expit(1.5 * columns[:, 0] - 0.5 + 0.5 * columns[:, 1])
    labels = rng.random(n) < p
    spread = np.tile([1.0, 2.0, 0.5], (n, 1))
    root = np.linalg.cholesky(np.array([[1.0, 0.5], [0.5, 2.0]]))
    # Errors are larger than the spread by a factor that depends on a column, and on the kind.
    detected = rng.random(n) < 0.5
    factor = np.exp(0.4 * columns[:, 2]) * np.where(detected, 1.0, 2.0)
    offset = (rng.normal(size=(n, 2)) @ root.T) * np.sqrt(factor)[:, None]
    offset[~labels] = np.nan
    return {
        "columns": columns,
        "labels": labels,
        "group": rng.integers(0, 9, n),
        "spread": spread,
        "offset": offset,
        "detected": detected,
        "has_candidate": np.ones(n, dtype=bool),
        "p": p,
        "factor": factor,
    }


def fit(made: dict[str, np.ndarray]) -> ObjectScorer:
    given = {k: v for k, v in made.items() if k not in ("p", "factor", "columns", "labels", "group")}
    scorer, _ = ObjectScorer.fit(
        made["columns"], made["labels"], made["group"], **given, settings=SETTINGS, seed=3
    )
    return scorer


@pytest.fixture(scope="module")
def made() -> dict[str, np.ndarray]:
    return make_objects()


@pytest.fixture(scope="module")
def scorer(made: dict[str, np.ndarray]) -> ObjectScorer:
    return fit(made)


def test_probabilities_out_of_fold_tell_what_others_get(made: dict[str, np.ndarray]) -> None:
    given = {k: v for k, v in made.items() if k not in ("p", "factor", "columns", "labels", "group")}
    scorer, p = ObjectScorer.fit(
        made["columns"], made["labels"], made["group"], **given, settings=SETTINGS, seed=3
    )
    other = make_objects(seed=2)

    def loss(p: np.ndarray, labels: np.ndarray) -> float:
        return -float(np.mean(np.log(np.where(labels, p, 1.0 - p))))

    elsewhere = loss(scorer.probabilities(other["columns"]), other["labels"])
    assert loss(p, made["labels"]) == pytest.approx(elsewhere, rel=0.03)
    # What it learned from looks better than it is.
    assert loss(scorer.probabilities(made["columns"]), made["labels"]) < 0.97 * loss(p, made["labels"])


def test_probabilities_are_those_that_objects_were_made_with(scorer: ObjectScorer) -> None:
    other = make_objects(seed=2)
    p = scorer.probabilities(other["columns"])
    assert np.sqrt(np.mean((p - other["p"]) ** 2)) < 0.06
    for low in np.arange(0.0, 1.0, 0.2):
        rows = (p >= low) & (p < low + 0.2)
        error = np.sqrt(0.25 / rows.sum())
        assert other["labels"][rows].mean() == pytest.approx(p[rows].mean(), abs=4 * error)


def test_ellipses_hold_their_share_whatever_the_column(scorer: ObjectScorer) -> None:
    other = make_objects(seed=2)
    flags = other["detected"], other["has_candidate"]
    xx, yy, xy = scorer.covariances(other["columns"], other["spread"], *flags).T
    error = np.log(xx / other["factor"])
    # Where columns are as unusual as one in thousands, their squares tell what few objects told.
    assert np.sqrt(np.mean(error**2)) < 0.12 and np.abs(error).max() < 0.6
    dx, dy = other["offset"].T
    square = (yy * dx**2 - 2.0 * xy * dx * dy + xx * dy**2) / (xx * yy - xy**2)
    for rows in (
        other["detected"],
        ~other["detected"],
        other["columns"][:, 2] > 0.7,
        other["columns"][:, 2] < -0.7,
    ):
        inside = square[rows & other["labels"]] < -2.0 * np.log(1.0 - 0.6827)
        # A little less in what they were fitted to.
        assert inside.mean() == pytest.approx(0.675, abs=0.03)


def test_arrays_make_the_same_scorer(scorer: ObjectScorer, made: dict[str, np.ndarray]) -> None:
    assert scorer.arrays.keys() == SCORER_ARRAYS.keys()
    again = ObjectScorer(scorer.arrays, 3)
    np.testing.assert_array_equal(again.probabilities(made["columns"]), scorer.probabilities(made["columns"]))
    with pytest.raises(ValueError, match="the trees have 3 features, objects have 5"):
        ObjectScorer(scorer.arrays, 5)
    for name in ("calibration", "error_center", "error_scale", "error_coefficients", "error_intercepts"):
        for wrong in (scorer.arrays[name][..., :-1], scorer.arrays[name] * np.nan):
            with pytest.raises(ValueError, match=name):
                ObjectScorer(scorer.arrays | {name: wrong}, 3)


def test_one_piece_of_sky_is_not_enough(made: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="one piece of sky"):
        fit(made | {"group": np.zeros(len(made["labels"]))})


def test_labels_are_the_galaxies_of_the_scene() -> None:
    result, galaxies, candidates = make_scene(seed=3, xy0=(70, 5))
    objects = list_objects(result, candidates, match_radius=1.5)
    is_true, offset = label_objects(result, objects, objects.probability, galaxies)
    # Detected peaks are at galaxies in this scene.
    assert is_true[objects.peak >= 0].mean() > 0.95
    distance = np.hypot(*offset[is_true].T)
    assert np.all(distance <= 2.5) and np.isnan(offset[~is_true]).all()
    nearest = np.hypot(objects.x[:, None] - galaxies[:, 0], objects.y[:, None] - galaxies[:, 1]).min(axis=1)
    assert np.all(nearest[is_true] <= distance + 1e-4)
    assert is_true.sum() <= len(galaxies)


def test_of_two_objects_at_one_galaxy_the_likelier_is_it() -> None:
    labels = np.zeros((30, 30), np.int32)
    labels[5:25, 5:25] = 1
    result = make_result(np.zeros((30, 30)), labels)
    candidates = make_candidates(
        np.zeros(2, int), np.array([10.0, 13.0]), np.array([12.0, 12.0]), np.array([0.3, 0.8]), 1
    )
    objects = list_objects(result, candidates, match_radius=1.5)
    is_true, offset = label_objects(result, objects, objects.probability, np.array([[11.2, 12.0, 9.0]]))
    assert objects.x.tolist() == [13.0, 10.0] and is_true.tolist() == [True, False]
    np.testing.assert_allclose(offset[0], [-1.8, 0.0])
    # Too far, outside of all footprints, or no galaxy at all.
    for galaxies in ([[20.0, 20.0, 9.0]], [[2.0, 2.0, 9.0]], np.zeros((0, 3))):
        assert not label_objects(result, objects, objects.probability, np.array(galaxies))[0].any()
