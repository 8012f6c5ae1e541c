# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of folders of real galaxies, with a small catalogue made here and the real one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st
from lsst.meas.blendid.simulation.stamps import StampSetError, open_real_galaxies
from lsst.meas.blendid.simulation.stamps.real_galaxies import HST_ZERO_POINT, deal_out, find_catalog
from toy_stamps import write_catalog


def test_catalogue_is_read(tmp_path: Path) -> None:
    path = write_catalog(tmp_path)
    galaxies = open_real_galaxies(tmp_path)
    assert galaxies.path == path and len(galaxies) == 5
    assert galaxies.ident.tolist() == [1000, 1001, 1002, 1003, 1004]
    assert galaxies.radius == pytest.approx(0.18)
    assert galaxies.galaxy(2).flux == pytest.approx(12.0, rel=1e-3)
    assert galaxies.image(2).sum() == pytest.approx(12.0, rel=1e-4)
    part = galaxies.select(np.array([3]))
    assert part.ident.tolist() == [1003]
    assert part.galaxy(0).flux == pytest.approx(13.0, rel=1e-3)
    assert len(open_real_galaxies(path)) == 5


def test_galaxy_has_lost_the_psf_of_hubble(tmp_path: Path) -> None:
    import galsim

    write_catalog(tmp_path)
    seen = galsim.Convolve(open_real_galaxies(tmp_path).galaxy(0), galsim.Gaussian(sigma=0.3))
    image = seen.drawImage(nx=61, ny=61, scale=0.1, method="no_pixel")
    expected = np.sqrt(0.12**2 - 0.05**2 + 0.3**2) / 0.1
    assert image.FindAdaptiveMom().moments_sigma == pytest.approx(expected, rel=0.01)


def test_cuts_of_the_whole_catalogue_are_applied(tmp_path: Path) -> None:
    write_catalog(tmp_path)
    Table(
        {
            "sn_ellip_gauss": [30.0, 5.0, 30.0, 30.0, 30.0],
            "min_mask_dist_pixels": [20.0, 20.0, 3.0, 3.0, 20.0],
            "average_mask_adjacent_pixel_count": [1.0, 1.0, 0.9, 0.1, 1.0],
            "peak_image_pixel_count": [1.0, 1.0, 1.0, 1.0, 0.0],
        }
    ).write(tmp_path / "real_galaxy_catalog_25.2_selection.fits")
    assert open_real_galaxies(tmp_path).ident.tolist() == [1000, 1003, 1004]


def test_errors_name_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(StampSetError, match="there is no folder"):
        open_real_galaxies(tmp_path / "none")
    with pytest.raises(StampSetError, match="and has none"):
        find_catalog(tmp_path)
    path = write_catalog(tmp_path)
    (tmp_path / "psfs.fits").unlink()
    with pytest.raises(StampSetError, match="names psfs.fits, which is not in"):
        open_real_galaxies(tmp_path)
    Table({"IDENT": [1]}).write(path, overwrite=True)
    with pytest.raises(StampSetError, match="it lacks MAG"):
        open_real_galaxies(tmp_path)
    path.write_text("nothing")
    with pytest.raises(StampSetError, match="cannot read"):
        open_real_galaxies(tmp_path)
    path.with_name("real_galaxy_catalog_23.5.fits").write_text("")
    with pytest.raises(StampSetError, match=r"and has real_galaxy_catalog_23\.5\.fits, real"):
        find_catalog(tmp_path)


@given(
    st.integers(3, 200),
    st.tuples(*[st.floats(0.0, 10.0) for _ in range(3)]).filter(lambda s: sum(s) > 0.1),
    st.integers(0, 5),
)
def test_dealing_out_uses_every_galaxy_once(n: int, shares: tuple[float, ...], seed: int) -> None:
    parts = deal_out(n, dict(zip("abc", shares, strict=True)), seed)
    assert np.array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(n))
    for name, share in zip("abc", shares, strict=True):
        assert (len(parts[name]) > 0) == (share > 0)
        assert abs(len(parts[name]) - n * share / sum(shares)) <= 3


def test_fewer_galaxies_than_parts() -> None:
    with pytest.raises(StampSetError, match="2 galaxies cannot be dealt out to 3 parts"):
        deal_out(2, {"a": 1, "b": 1, "c": 1}, 1)


def test_real_cosmos(shared_data: Path) -> None:
    galaxies = open_real_galaxies(shared_data / "cosmos_real")
    assert len(galaxies) == 100
    assert 20.0 < galaxies.mag.min() < galaxies.mag.max() < 26.0
    mag = HST_ZERO_POINT - 2.5 * np.log10([galaxies.galaxy(i).flux for i in range(20)])
    assert np.median(mag - galaxies.mag[:20]) == pytest.approx(0.0, abs=0.1)
    parts = galaxies.split({"train": 9, "validation": 9, "test": 2}, 3)
    assert [len(parts[name]) for name in ("train", "validation", "test")] == [45, 45, 10]
