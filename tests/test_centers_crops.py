# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from lsst.meas.blendid.centers.crops import CropMaker, check_centers, tile_states
from lsst.meas.blendid.centers.inputs import CONTEXT_NAMES, SCALAR_NAMES
from lsst.meas.blendid.centers.network import IGNORED

N_SCALARS = len(SCALAR_NAMES)


def make_maker(
    size: int = 40, crop: int = 16, n_segments: int = 12, batch: int = 3, **changes: Any
) -> CropMaker:
    """One scene of 5 x 5 footprints of one pixel each; the planes show where the centres are."""
    labels = np.zeros((size, size), np.uint16)
    centers, boxes = [], []
    for i in range(25):
        x, y = 8 * (i % 5) + 3, 8 * (i // 5) + 2
        if x < size and y < size:
            boxes.append((x, y, x, y))
            labels[y, x] = len(boxes)
            centers.append((x + 0.3, y - 0.2, 10.0 + i))
    n = len(boxes)
    planes = np.zeros((size, size, 2), np.float16)
    for k, (x, y, _) in enumerate(centers):
        planes[round(y), round(x)] = k + 1
    scalars = np.zeros((n, N_SCALARS), np.float32)
    scalars[:, 0] = np.arange(1, n + 1)
    values: dict[str, Any] = {
        "planes": [planes],
        "labels": [labels],
        "numbers": [np.arange(1, n + 1)],
        "bboxes": [np.array(boxes)],
        "classes": [np.arange(n) % 5],
        "weights": [np.arange(n) + 0.5],
        "scalars": [scalars],
        "context": np.full((1, len(CONTEXT_NAMES)), 2.0, np.float32),
        "centers": [np.array(centers)],
    } | changes
    return CropMaker(**values, batch=batch, crop=crop, n_segments=n_segments)


def test_crops_fit_together_however_they_are_turned() -> None:
    maker = make_maker()
    rng = np.random.default_rng(1)
    places = set()
    for _ in range(20):
        inputs, truth = maker.make(rng)
        for k in range(3):
            image, states = inputs["planes"][k, ..., 0], truth["tiles"][k]
            y, x = np.nonzero(image)
            places.add((tuple(y), tuple(x)))
            assert np.array_equal(inputs["planes"][k, ..., 2] > 0, image > 0)
            # The state of a tile is the pixel of the centre in it.
            expected = np.zeros((8, 8))
            expected[y // 2, x // 2] = 1 + 2 * (y % 2) + x % 2
            assert np.array_equal(states, expected)
            # Numbers of the footprint of a tile belong to the footprint there.
            segment = inputs["segment"][k, y // 2, x // 2]
            assert np.array_equal(inputs["scalars"][k, segment, 0], image[y, x])
            assert np.array_equal(truth["counts"][k, segment, 0], (image[y, x] - 1) % 5)
            assert np.array_equal(truth["counts"][k, segment, 1], image[y, x] - 0.5)
            assert np.count_nonzero(truth["counts"][k, :, 0] > IGNORED) == len(y)
            inside = inputs["inside"][k, y // 2, x // 2]
            assert np.array_equal(inside.argmax(axis=1), 2 * (y % 2) + x % 2)
            assert np.all(inside.sum(axis=1) == 1)
    assert len(places) > 20


def test_same_random_numbers_give_the_same_crops() -> None:
    one, two = (make_maker().make(np.random.default_rng(5)) for _ in range(2))
    for a, b in zip(one, two, strict=True):
        assert all(np.array_equal(a[k], b[k]) for k in a)


def test_cut_footprints_are_not_counted() -> None:
    labels = np.zeros((20, 20), np.int32)
    labels[3:17, 3:17] = 1
    labels[0, 0] = 2
    maker = make_maker(
        labels=[labels],
        planes=[np.zeros((20, 20, 2), np.float16)],
        numbers=[np.array([1, 2])],
        bboxes=[np.array([[3, 3, 16, 16], [0, 0, 0, 0]])],
        classes=[np.array([1, 2])],
        weights=[np.ones(2)],
        scalars=[np.zeros((2, N_SCALARS))],
        crop=16,
        batch=30,
    )
    inputs, truth = maker.make(np.random.default_rng(0))
    whole = [set(row[row >= 0]) for row in truth["counts"][..., 0]]
    assert {1} in whole and {2} in whole and set() in whole
    for k in range(30):
        # Tiles of the cut footprint point nowhere.
        if 1 not in whole[k]:
            here = inputs["inside"][k].sum(axis=-1) > 0
            assert np.count_nonzero(inputs["segment"][k][here] != 12) == (2 in whole[k])


def test_image_smaller_than_a_crop() -> None:
    maker = make_maker(size=12)
    inputs, truth = maker.make(np.random.default_rng(2))
    for k in range(3):
        assert np.count_nonzero(inputs["planes"][k, ..., 0]) == 4
        assert np.count_nonzero(truth["tiles"][k]) == 4
        assert np.count_nonzero(truth["counts"][k, :, 0] > IGNORED) == 4


def test_more_footprints_than_there_is_room_for() -> None:
    inputs, truth = make_maker(crop=40, n_segments=6).make(np.random.default_rng(2))
    assert np.all(truth["counts"][..., 0] > IGNORED)
    assert np.all(np.count_nonzero(inputs["segment"].reshape(3, -1) < 6, axis=1) == 6)
    assert np.count_nonzero(truth["tiles"][0]) == 25


def test_footprints_that_were_not_chosen() -> None:
    """They are in the mask, and nothing is learned from them."""
    all_of = make_maker()
    some = make_maker(
        numbers=[np.array([2, 25])],
        bboxes=[all_of._bboxes[0][[1, 24]]],
        classes=[np.array([3, 4])],
        weights=[np.ones(2)],
        scalars=[np.zeros((2, N_SCALARS))],
        crop=40,
        batch=1,
    )
    inputs, truth = some.make(np.random.default_rng(1))
    assert np.count_nonzero(inputs["planes"][0, ..., 2]) == 25
    assert list(truth["counts"][0, :3, 0]) == [3, 4, IGNORED]
    for segment, mark in ((0, 2), (1, 25)):
        i, j = np.argwhere(inputs["segment"][0] == segment)[0]
        assert inputs["planes"][0, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, 0].max() == mark
    assert np.count_nonzero(inputs["segment"][0] < 12) == 2


def test_depth_is_hidden_at_times() -> None:
    maker, rng = make_maker(batch=50), np.random.default_rng(4)
    context = maker.make(rng)[0]["context"]
    depth = CONTEXT_NAMES.index("depth")
    assert 0 < np.count_nonzero(context[:, depth] == 0.0) < 20
    assert np.all(np.delete(context, depth, axis=1) == 2.0)


def test_the_brightest_centre_of_a_tile_counts() -> None:
    centers = np.array([[4.0, 4.0, 50.0], [5.0, 5.0, 5.0], [9.0, 8.0, 5.0], [8.0, 9.0, 50.0]])
    maker = make_maker(size=16, centers=[centers], crop=16, batch=20)
    states = maker.make(np.random.default_rng(0))[1]["tiles"]
    assert np.all(np.count_nonzero(states, axis=(1, 2)) == 2)
    # Turned back, only one of the two pixels is there: those of each tile are opposite corners.
    assert set(np.unique(states)) == {0, 1, 2, 3, 4}
    plain = tile_states(np.array([5, 4]), np.array([5, 4]), 8)
    assert plain[2, 2] == 1 and np.count_nonzero(plain) == 1


def test_check_centers() -> None:
    good = np.zeros((2, 3))
    centers = (good, np.zeros((0, 3)))
    assert check_centers(centers) is centers
    with pytest.raises(ValueError, match="learns from true positions: use scenes with truth tables"):
        check_centers(None)
    with pytest.raises(ValueError, match=r"columns x, y and S/N; an array of shape \(2, 2\)"):
        check_centers((good[:, :2],))
    with pytest.raises(ValueError, match="finite columns"):
        check_centers((good + np.nan,))
