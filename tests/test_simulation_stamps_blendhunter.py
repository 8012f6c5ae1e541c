# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the stamps of BlendHunter."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.table import Table
from lsst.meas.blendid.simulation import SimulationError
from lsst.meas.blendid.simulation.stamps import (
    BlendHunterSettings,
    StampSet,
    StampSetError,
    make_blendhunter,
    make_blendhunter_real,
)
from lsst.meas.blendid.simulation.stamps.blendhunter import stamp_psf
from lsst.meas.blendid.simulation.stamps.sources import ParametricCosmos, has_parametric_fits
from toy_stamps import write_catalog


@pytest.fixture(scope="module")
def parametric() -> StampSet:
    """A small parametric set."""
    return make_blendhunter({"train": 120, "validation": 60, "test": 80}, seed=7)


def test_defaults_are_the_numbers_of_the_paper() -> None:
    settings = BlendHunterSettings()
    assert (settings.size, settings.padding, settings.pixel_scale) == (51, 7, 0.187)
    assert settings.noise_levels == (5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0)
    psf = stamp_psf(settings, np.zeros(4))
    assert psf.calculateFWHM() == pytest.approx(0.65, rel=1e-3)
    assert psf.flux == pytest.approx(1.0)


def test_set_is_what_was_asked_for(parametric: StampSet) -> None:
    assert parametric.images.shape == (260, 51, 51) and parametric.images.dtype == np.float32
    for name, n in (("train", 120), ("validation", 60), ("test", 80)):
        part = parametric.split(name)
        assert len(part) == n and part.is_blended.sum() == n // 2
    assert parametric.padded().size == 65
    assert np.array_equal(parametric.stamps["n_objects"] == 2, parametric.is_blended)
    assert len(parametric.truth) == 390
    assert (parametric.noise == 0).all() and np.isinf(parametric.truth["snr"]).all()


def test_no_galaxy_is_in_two_splits(parametric: StampSet) -> None:
    seen: set[int] = set()
    for name in ("train", "validation", "test"):
        ids = parametric.split(name).truth["source_id"].tolist()
        assert len(ids) == len(set(ids)), "a model galaxy was drawn twice"
        assert seen.isdisjoint(ids)
        seen |= set(ids)


def test_second_galaxy_is_anywhere(parametric: StampSet) -> None:
    truth = parametric.truth
    first, second = truth[truth["object"] == 0], truth[truth["object"] == 1]
    assert np.all(first["x"] == 25) and np.all(first["y"] == 25)
    for name in ("x", "y"):
        value = np.asarray(second[name])
        assert np.array_equal(value, np.rint(value)) and value.min() >= 0 and value.max() <= 50
        # Uniform over the stamp: a mean of 25 and a standard deviation of 14.7.
        assert value.mean() == pytest.approx(25.0, abs=5 * 14.7 / np.sqrt(len(value)))
        assert value.std() == pytest.approx(14.7, rel=0.2)
    separation = np.asarray(parametric.stamps["separation"])[parametric.is_blended]
    assert separation == pytest.approx(np.hypot(second["x"] - 25.0, second["y"] - 25.0))
    assert np.isnan(np.asarray(parametric.stamps["separation"])[~parametric.is_blended]).all()


def test_light_is_where_truth_says(parametric: StampSet) -> None:
    lone = parametric.select(~parametric.is_blended)
    grid = np.arange(51)
    flux = np.asarray(lone.truth["flux"])
    share = lone.images.sum(axis=(1, 2)) / flux
    assert np.median(share) == pytest.approx(0.97, abs=0.03)
    assert share.max() < 1.01
    total = lone.images.sum(axis=(1, 2))
    for axis in (1, 2):
        center = (lone.images.sum(axis=axis) * grid).sum(axis=1) / total
        assert center == pytest.approx(25.0, abs=0.05)
    zero_point = parametric.zero_point
    assert np.asarray(lone.truth["mag"]) == pytest.approx(zero_point - 2.5 * np.log10(flux), abs=1e-3)
    assert lone.truth["mag"].min() >= 20.0 and lone.truth["mag"].max() <= 25.2


def test_second_galaxy_is_drawn_at_its_place() -> None:
    settings = BlendHunterSettings(mag_range=(22.0, 22.1), blended_share=1.0)
    stamps = make_blendhunter({"test": 12}, settings=settings, seed=3)
    for i in range(len(stamps)):
        x, y = (int(stamps.truth[stamps.truth["stamp_id"] == i][c][1]) for c in ("x", "y"))
        if stamps.stamps["separation"][i] > 12:
            around = stamps.images[i, max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3]
            assert around.max() == stamps.images[i, y, x]
            assert stamps.images[i, y, x] > 0.3 * stamps.images[i, 25, 25] / 5


def test_same_seed_same_pixels_whatever_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"train": 4, "validation": 2, "test": 6}
    stamps = make_blendhunter(counts, seed=7)
    monkeypatch.setattr("lsst.meas.blendid.simulation.stamps.blendhunter._CHUNK", 5)
    seen: list[tuple[int, int]] = []
    again = make_blendhunter(
        counts, seed=7, processes=2, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(5, 12), (10, 12), (12, 12)]
    assert np.array_equal(again.images, stamps.images)
    assert not np.array_equal(make_blendhunter(counts, seed=8).images, stamps.images)


def test_flux_is_that_of_cfht() -> None:
    settings = BlendHunterSettings()
    # Mirrors of 3.58 and 2.4 m with obscurations of .38 and .33, and 300 s for 1 s.
    assert settings.flux_scale == pytest.approx(300.0 * 10.966 / 5.133, rel=1e-3)
    assert settings.zero_point == pytest.approx(25.94 + 2.5 * np.log10(settings.flux_scale))
    double = dataclasses.replace(settings, exposure_time=600.0)
    one, two = (make_blendhunter({"test": 2}, settings=s, seed=2).images for s in (settings, double))
    assert two == pytest.approx(2.0 * one, rel=1e-4, abs=1e-3)


def test_psf_is_sheared_stamp_by_stamp(monkeypatch: pytest.MonkeyPatch) -> None:
    # The numbers are drawn apart from the pixels, which take long.
    monkeypatch.setattr(
        "lsst.meas.blendid.simulation.stamps.blendhunter.draw_stamps",
        lambda source, plan, settings, **_: np.zeros((len(plan), 8, 8), dtype=np.float32),
    )
    stamps = make_blendhunter({"test": 300}, settings=BlendHunterSettings(size=8), seed=1).stamps
    for name in ("psf_g1_atmosphere", "psf_g2_atmosphere", "psf_g1_optics", "psf_g2_optics"):
        assert np.std(stamps[name]) == pytest.approx(0.01, rel=0.2)
    psf = stamp_psf(BlendHunterSettings(), np.array([0.05, 0.0, 0.05, 0.0]))
    moments = psf.drawImage(nx=101, ny=101, scale=0.05, method="no_pixel").FindAdaptiveMom()
    assert moments.observed_shape.g1 == pytest.approx(0.05, abs=0.005)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(SimulationError, match="unknown split 'exam'"):
        make_blendhunter({"exam": 3})
    with pytest.raises(SimulationError, match="nor all 0"):
        make_blendhunter({"test": 0})
    with pytest.raises(SimulationError, match="number of processes"):
        make_blendhunter({"test": 1}, processes=0)
    with pytest.raises(SimulationError, match="seed must not be negative"):
        make_blendhunter({"test": 1}, seed=-1)
    with pytest.raises(SimulationError, match="fwhm must be positive"):
        BlendHunterSettings(fwhm=0.0)
    with pytest.raises(SimulationError, match="must be whole"):
        make_blendhunter({"test": 2.7})  # type: ignore[dict-item]
    wrong: dict[str, Any] = {
        "beta": 1.0,
        "optics_shear": 1.0,
        "atmosphere_shear": float("nan"),
        "obscuration": 1.0,
        "size": 51.5,
    }
    for name, value in wrong.items():
        with pytest.raises(SimulationError, match=str(value)):
            BlendHunterSettings(**{name: value})
    with pytest.raises(SimulationError, match="between 0 and 1"):
        BlendHunterSettings(blended_share=1.5)
    with pytest.raises(SimulationError, match="bright to faint"):
        make_blendhunter({"test": 1}, settings=BlendHunterSettings(mag_range=(25.0, 20.0)))


def test_realistic_set_from_a_small_catalogue(tmp_path: Path) -> None:
    write_catalog(tmp_path, 7)
    counts = {"train": 6, "validation": 6, "test": 12}
    stamps = make_blendhunter_real(tmp_path, counts, seed=4)
    assert stamps.name == "blendhunter-real" and stamps.metadata["noise_levels"] == [14.5]
    owners = [set(stamps.split(name).truth["source_id"].tolist()) for name in counts]
    assert not owners[0] & owners[1] and not owners[0] & owners[2] and not owners[1] & owners[2]
    for i in np.flatnonzero(stamps.is_blended):
        pair = stamps.truth["source_id"][stamps.truth["stamp_id"] == i]
        assert len(set(pair.tolist())) == 2 or len(owners[0]) == 1
    lone = stamps.select(~stamps.is_blended)
    assert lone.images.sum(axis=(1, 2)) == pytest.approx(np.asarray(lone.truth["flux"]), rel=0.02)
    again = make_blendhunter_real(tmp_path, counts, seed=4, processes=2)
    assert np.array_equal(again.images, stamps.images)


def test_realistic_set_needs_galaxies(tmp_path: Path) -> None:
    write_catalog(tmp_path, 2)
    with pytest.raises(StampSetError, match="2 galaxies cannot be dealt out to 3 parts"):
        make_blendhunter_real(tmp_path, {"train": 2, "validation": 2, "test": 2})
    with pytest.raises(StampSetError, match="no galaxy between 10 and 12 mag"):
        make_blendhunter_real(tmp_path, {"test": 2}, settings=BlendHunterSettings(mag_range=(10, 12)))


def test_parametric_fits_of_the_whole_catalogue(tmp_path: Path) -> None:
    path = write_catalog(tmp_path, 6)
    assert not has_parametric_fits(tmp_path)
    with pytest.raises(StampSetError, match="without parametric fits"):
        make_blendhunter({"test": 2}, cosmos=tmp_path)
    n = 6
    sersic = np.tile([1.0, 8.0, 1.5, 0.6, 0.0, 0.0, 0.0, 0.3], (n, 1))
    fits_table = Table(
        {
            "IDENT": 1000 + np.arange(n),
            "mag_auto": np.linspace(22.0, 25.0, n),
            "flux_radius": np.full(n, 6.0),
            "zphot": np.full(n, 0.5),
            "sersicfit": sersic,
            "bulgefit": np.hstack([sersic, sersic]),
            "fit_status": np.ones((n, 5), dtype=int),
            "use_bulgefit": np.zeros(n, dtype=int),
            "viable_sersic": np.ones(n, dtype=int),
            "hlr": np.full((n, 3), 0.2),
            "flux": np.full((n, 4), 10.0),
        }
    )
    fits_table.write(tmp_path / (path.stem + "_fits.fits"), overwrite=True)
    Table(
        {
            "sn_ellip_gauss": np.full(n, 30.0),
            "min_mask_dist_pixels": np.full(n, 30.0),
            "average_mask_adjacent_pixel_count": np.zeros(n),
            "peak_image_pixel_count": np.ones(n),
            "dmag": np.array([0.0, 0.0, 0.0, 0.0, 0.0, 2.0]),
        }
    ).write(tmp_path / (path.stem + "_selection.fits"))
    source = ParametricCosmos.open(tmp_path, mag_range=(22.5, 25.0))
    assert source.ident.tolist() == [1001, 1002, 1003, 1004]
    profile = source.profile(1)
    assert profile.flux == pytest.approx(10.0 ** (-0.4 * (source.mag[1] - 25.94)))
    stamps = make_blendhunter({"train": 4, "test": 4}, cosmos=tmp_path, seed=2)
    assert not set(stamps.split("train").truth["source_id"]) & set(stamps.split("test").truth["source_id"])
    lone = stamps.select(~stamps.is_blended)
    assert lone.images.sum(axis=(1, 2)) == pytest.approx(np.asarray(lone.truth["flux"]), rel=0.05)


def test_real_cosmos(shared_data: Path) -> None:
    stamps = make_blendhunter_real(shared_data / "cosmos_real", {"test": 10}, seed=1)
    noisy = stamps.with_noise(14.5)
    assert np.median(noisy.truth["snr"]) > 10
    # The light of COSMOS galaxies is in the middle, and the edge of a lone stamp is all but empty.
    lone = stamps.select(~stamps.is_blended).images
    assert (lone[:, 20:31, 20:31].max(axis=(1, 2)) > 10 * np.abs(lone[:, :3]).max(axis=(1, 2))).mean() > 0.7
