# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

from __future__ import annotations

import numpy as np
import pytest
from lsst.images import Mask, MaskPlane, MaskSchema
from lsst.images import _mask as images_mask
from lsst.meas.blendid.images.masks import PLANE_NAMES, mask_to_bool


@pytest.fixture
def mask() -> Mask:
    planes = [MaskPlane(name, "") for name in ("NO_DATA", "SATURATED", "DETECTION_EDGE", "INEXACT_PSF")]
    # More planes than one byte holds, so that the last dimension is used.
    planes += [MaskPlane(f"EXTRA{i}", "") for i in range(8)]
    mask = Mask(0, schema=MaskSchema(planes), shape=(4, 6), yx0=(10, 20))
    selected = np.zeros((4, 6), dtype=bool)
    selected[1, 2] = True
    mask.set("SATURATED", selected)
    mask.set("EXTRA7", np.roll(selected, 1, axis=0))
    return mask


def test_rubin_and_own_names(mask: Mask) -> None:
    for name in ("SAT", "SATURATED"):
        selected, used, ignored = mask_to_bool(mask, [name])
        assert np.argwhere(selected).tolist() == [[1, 2]]
        assert (used, ignored) == ((name,), ())


def test_union_and_lacking_planes(mask: Mask) -> None:
    selected, used, ignored = mask_to_bool(mask, ["BAD", "SAT", "EXTRA7", "EDGE", "BAD"])
    assert np.argwhere(selected).tolist() == [[1, 2], [2, 2]]
    assert used == ("SAT", "EXTRA7", "EDGE")
    assert ignored == ("BAD",)


def test_no_planes(mask: Mask) -> None:
    selected, used, ignored = mask_to_bool(mask, [])
    assert selected.shape == (4, 6)
    assert not selected.any()
    assert (used, ignored) == ((), ())


def test_names_are_those_of_lsst_images() -> None:
    expected: dict[str, str] = {}
    for make in (
        images_mask.get_legacy_visit_image_mask_planes,
        images_mask.get_legacy_deep_coadd_mask_planes,
        images_mask.get_legacy_non_cell_coadd_mask_planes,
        images_mask.get_legacy_difference_image_mask_planes,
    ):
        expected |= {old: new.name for old, new in make().items() if old != new.name}
    assert PLANE_NAMES == expected
