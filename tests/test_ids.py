# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the packing of data IDs into row IDs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsst.meas.blendid.ids import SUPPORTED_BANDS, SkyMapIdConfig, row_ids


class _DataId(dict):
    """The part of a data ID that matters here."""

    records: dict[str, Any]


def _data_id(tract: int, patch: int, band: str = "i", n_tracts: int = 100, n_side: int = 10) -> Any:
    data_id = _DataId(tract=tract, patch=patch, band=band)
    data_id.records = {
        "skymap": SimpleNamespace(tract_max=n_tracts, patch_nx_max=n_side, patch_ny_max=n_side)
    }
    return data_id


def test_layout_is_that_of_the_rubin_packer() -> None:
    """The packed integer of lsst.skymap, worked out by hand, and 63 bits in all."""
    # bands: None, u, g, r, i, … so i is number 4; 28 bands with None.
    packed = 7 + 100 * 3 + 4 * 100 * 100
    bits = (28 * 100 * 100 - 1).bit_length()
    counter_bits = 63 - 6 - bits
    offset, n_counters = SkyMapIdConfig().first_id(_data_id(3, 7))
    assert offset == packed << counter_bits
    assert n_counters == 1 << counter_bits
    config = SkyMapIdConfig()
    config.releaseId = 5
    offset, _ = config.first_id(_data_id(3, 7))
    assert offset == (packed + (5 << bits)) << counter_bits


@given(
    st.lists(
        st.tuples(st.integers(0, 99), st.integers(0, 99), st.sampled_from(SUPPORTED_BANDS)),
        min_size=2,
        max_size=20,
        unique=True,
    )
)
def test_ids_do_not_collide(keys: list[tuple[int, int, str]]) -> None:
    config = SkyMapIdConfig()
    ids = np.concatenate([row_ids(50, *config.first_id(_data_id(*key))) for key in keys])
    assert len(np.unique(ids)) == len(ids)
    assert ids.min() > 0


def test_row_ids() -> None:
    assert row_ids(3).tolist() == [1, 2, 3]
    assert row_ids(0).dtype == np.int64
    assert row_ids(2, 10, 4).tolist() == [11, 12]
    with pytest.raises(ValueError, match="4 rows do not fit"):
        row_ids(4, 0, 4)


@pytest.mark.parametrize(
    ("data_id", "message"),
    [
        (_data_id(100, 0), "tract 100"),
        (_data_id(0, 100), "patch 100"),
        (_data_id(0, 0, "nir"), "band 'nir'"),
        (_data_id(0, 0, n_tracts=1 << 40), "bits are left"),
    ],
)
def test_what_does_not_fit_is_refused(data_id: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SkyMapIdConfig().first_id(data_id)


def test_validate() -> None:
    config = SkyMapIdConfig()
    config.releaseId = 64
    with pytest.raises(ValueError, match="nReleases"):
        config.validate()
