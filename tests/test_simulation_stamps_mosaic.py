# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of stamps as the cells of a coadd."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from lsst.meas.blendid.simulation.stamps import StampSetError, make_mosaic, tile_labels
from lsst.meas.blendid.simulation.stamps.mosaic import tile_origins
from toy_stamps import toy_stamps


@pytest.mark.parametrize("n", [1, 2, 7])
def test_mosaic_holds_each_stamp_where_truth_says(n: int) -> None:
    stamps = toy_stamps(n, size=25, separation=6.0).with_noise(1.0)
    mosaic = make_mosaic(stamps, gap=6)
    image = mosaic.coadd.image.array
    unit = 10.0 ** (0.4 * (31.4 - 30.0))
    for i, (x, y) in enumerate(tile_origins(stamps, 6)):
        assert image[y : y + 25, x : x + 25] == pytest.approx(stamps.images[i] * unit, rel=1e-5, abs=1e-3)
    assert np.asarray(mosaic.coadd.variance.array) == pytest.approx(unit**2, rel=1e-5)
    labels = tile_labels(stamps, gap=6)
    assert labels.shape == image.shape
    x, y = (np.rint(np.asarray(mosaic.truth[c])).astype(int) for c in ("x", "y"))
    assert np.array_equal(labels[y, x] - 1, np.asarray(mosaic.truth["stamp_id"]))
    assert np.asarray(mosaic.truth["flux"]) == pytest.approx(4000.0 * unit, rel=1e-5)
    assert np.asarray(mosaic.truth["mag"]) == pytest.approx(
        31.4 - 2.5 * np.log10(mosaic.truth["flux"]), abs=1e-3
    )
    # The gaps have noise of the same size.
    assert np.std(image[labels == 0]) == pytest.approx(unit, rel=0.1)


def test_mosaic_has_a_cell_and_a_psf_for_each_stamp() -> None:
    stamps = toy_stamps(4).with_noise(1.0)
    other = np.roll(stamps.psf, 1, axis=1)
    table = stamps.stamps.copy()
    table["psf_index"] = np.array([0, 1, 0, 1], dtype=np.int32)
    stamps = dataclasses.replace(stamps, psf=np.concatenate([stamps.psf, other]), stamps=table)
    mosaic = make_mosaic(stamps)
    assert mosaic.coadd.psf.compute_kernel_image(x=20, y=20).array == pytest.approx(stamps.psf[0], abs=1e-6)
    assert mosaic.coadd.psf.compute_kernel_image(x=70, y=20).array == pytest.approx(other[0], abs=1e-6)


def test_mosaic_needs_noise_and_sense() -> None:
    with pytest.raises(StampSetError, match="have no noise"):
        make_mosaic(toy_stamps())
    noisy = toy_stamps(4).with_noise(1.0)
    with pytest.raises(StampSetError, match="gap between stamps"):
        make_mosaic(noisy, gap=-1)
    with pytest.raises(StampSetError, match="no stamp to lay out"):
        make_mosaic(noisy.select(np.zeros(0, dtype=int)))
