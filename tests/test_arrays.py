# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the checks of arrays that were read."""

from __future__ import annotations

import numpy as np
import pytest
from lsst.meas.blendid._arrays import check_array, digest_arrays


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32])
def test_good_arrays_pass(dtype: type) -> None:
    check_array("a", np.ones((2, 3), dtype), (2, 3), positive=True)
    check_array("a", np.zeros((0, 3), dtype), (0, 3), positive=True)
    check_array("a", -np.ones((), dtype), ())


def test_number_that_is_missing_is_nan() -> None:
    array = np.array([1.0, np.nan])
    check_array("a", array, (2,), missing=True)
    with pytest.raises(ValueError, match="a is not finite"):
        check_array("a", array, (2,))
    with pytest.raises(ValueError, match="a is not finite"):
        check_array("a", np.array([1.0, np.inf]), (2,), missing=True)


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_number_that_is_not_positive(value: float) -> None:
    array = np.array([1.0, value])
    check_array("a", array, (2,))
    with pytest.raises(ValueError, match="a is not positive"):
        check_array("a", array, (2,), positive=True)


def test_another_shape() -> None:
    with pytest.raises(ValueError, match=r"a has shape \(2,\), not \(2, 1\)"):
        check_array("a", np.full(2, np.nan), (2, 1))


@pytest.mark.parametrize("missing", [False, True])
def test_number_beyond_single_precision(missing: bool) -> None:
    for value in (1e300, -1e39):
        with pytest.raises(ValueError, match="a is not finite"):
            check_array("a", np.array([1.0, value]), (2,), missing=missing)
    check_array("a", np.array([1.0, 3e38]), (2,), missing=missing)


def test_digest_tells_names_numbers_and_facts_apart() -> None:
    arrays = {"a": np.arange(3.0), "b": np.ones(2)}
    digest = digest_arrays(arrays)
    assert len(digest) == 32 and digest == digest_arrays({k: v.copy() for k, v in arrays.items()})
    others = (
        {"a": arrays["a"], "c": arrays["b"]},
        {"a": arrays["a"] + 1e-16, "b": arrays["b"] + 1e-15},
        {"a": arrays["a"].astype(np.float32), "b": arrays["b"]},
    )
    assert digest not in {digest_arrays(other) for other in others} | {digest_arrays(arrays, "fact")}
    # As numbers of one type: in which order bytes lie on a machine does not matter.
    swapped = {name: array.astype(">f8") for name, array in arrays.items()}
    assert digest_arrays(swapped, dtype="<f8") == digest_arrays(arrays, dtype="<f8")
