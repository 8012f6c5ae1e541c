# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of coadds of single exposures."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st
from lsst.meas.blendid.images.psf import kolmogorov_kernel
from lsst.meas.blendid.simulation import SimulationError, Survey, get_survey
from lsst.meas.blendid.simulation.coadds.exposures import (
    ExposureStack,
    add_undithered,
    effective_kernel,
    expose,
    noise_covariance,
    plan_exposures,
)
from lsst.meas.blendid.simulation.config import ExposureConfig

pytest.importorskip("galsim")


def make_survey(n: float, **settings: Any) -> Survey:
    values: dict[str, Any] = {"n_exposures": n, **settings}
    return dataclasses.replace(get_survey("i"), **values)


def make_config(**settings: Any) -> ExposureConfig:
    config = ExposureConfig()
    config.sensor = ""
    config.update(**settings)
    return config


def make_galaxies(n: int = 20, size: int = 60, seed: int = 1) -> Table:
    rng = np.random.default_rng(seed)
    radius = rng.uniform(0.1, 0.4, n)
    return Table(
        {
            "x": rng.uniform(0, size, n),
            "y": rng.uniform(0, size, n),
            "flux": rng.uniform(100.0, 3000.0, n),
            "disc_radius": radius,
            "bulge_radius": 0.6 * radius,
            "axis_ratio": rng.uniform(0.3, 1.0, n),
            "bulge_axis_ratio": rng.uniform(0.5, 1.0, n),
            "position_angle": rng.uniform(0.0, 180.0, n),
            "bulge_fraction": rng.uniform(0.0, 1.0, n),
        }
    )


def make_star(x: float, y: float, flux: float) -> Table:
    zero = dict.fromkeys(("disc_radius", "bulge_radius", "position_angle", "bulge_fraction"), 0.0)
    return Table([{"x": x, "y": y, "flux": flux, "axis_ratio": 1.0, "bulge_axis_ratio": 1.0} | zero])


def run(n: int = 4, **kwargs: Any) -> ExposureStack:
    options: dict[str, Any] = {"size": (60, 50), "survey": make_survey(n), "config": make_config(), "seed": 3}
    return expose(kwargs.pop("galaxies", make_galaxies()), **(options | kwargs))


@pytest.mark.slow
def test_same_pixels_for_any_number_of_processes(tmp_path: Path) -> None:
    config = make_config(sensor="lsst_itl_32")
    one = run(3, config=config)
    other = run(3, config=config, processes=2, folder=tmp_path / "kept")
    for name in ("image", "variance", "kernel"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert one.image.shape == (50, 60)
    assert one.image.dtype == one.variance.dtype == np.float32
    assert not np.array_equal(run(1).image, run(1, seed=4).image)


def test_kept_exposures_are_not_drawn_again(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    first = run(2, folder=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "exposure-i-0000.fits",
        "exposure-i-0001.fits",
    ]
    stamp = (tmp_path / "exposure-i-0001.fits").stat().st_mtime_ns
    (tmp_path / "exposure-i-0000.fits").unlink()
    deeper = run(4, folder=tmp_path, progress=lambda done, total: calls.append((done, total)))
    np.testing.assert_array_equal(deeper.image, run(4).image)
    assert list(deeper.table["kept"]) == [False, True, False, False]
    assert (tmp_path / "exposure-i-0001.fits").stat().st_mtime_ns == stamp
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    # A shallower coadd of the same exposures.
    np.testing.assert_array_equal(run(2, folder=tmp_path).image, first.image)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"seed": 4}, "seed = 3, not 4"),
        ({"config": make_config(sensor="lsst_itl_8")}, 'sensor = "", not "lsst_itl_8"'),
        ({"config": make_config(skyScatter=0.0)}, "skyScatter = 0.05, not 0.0"),
        ({"survey": make_survey(4, fwhm=0.8)}, "fwhm = 0.7, not 0.8"),
        ({"size": (50, 60)}, "height = 50, not 60"),
        ({"galaxies": make_galaxies(seed=2)}, "other galaxies"),
        ({"galaxies": make_galaxies(seed=2), "seed": 4}, "seed = 3, not 4"),
    ],
)
def test_exposures_of_other_settings(tmp_path: Path, change: dict[str, Any], name: str) -> None:
    run(2, folder=tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(SimulationError, match=f"exposure-i-0000.fits was made with {name}"):
        run(4, folder=tmp_path, **change)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_bands_share_a_folder(tmp_path: Path) -> None:
    run(1, folder=tmp_path)
    stack = run(1, folder=tmp_path, survey=make_survey(1, band="r"))
    assert len(list(tmp_path.iterdir())) == 2
    assert not np.array_equal(stack.image, run(1).image)


def test_plan() -> None:
    survey = make_survey(4000)
    table = plan_exposures(survey, make_config(), 1)
    assert np.mean(table["fwhm"]) == pytest.approx(0.7, rel=0.01)
    assert np.std(table["fwhm"]) == pytest.approx(0.07, rel=0.05)
    sky = survey.sky_electrons / 4000
    assert sky == pytest.approx(1026.0, abs=1.0)
    assert np.mean(table["sky"]) == pytest.approx(sky, rel=0.01)
    assert np.std(table["sky"]) == pytest.approx(0.05 * sky, rel=0.05)
    for name in ("dx", "dy"):
        assert table[name].min() >= -0.5
        assert table[name].max() < 0.5
        assert np.std(table[name]) == pytest.approx(1.0 / np.sqrt(12.0), rel=0.05)
    # The first exposures are those of a shallower coadd.
    assert (table[:7] == plan_exposures(make_survey(7), make_config(), 1)).all()
    plain = plan_exposures(make_survey(5), make_config(doDither=False, fwhmScatter=0.0, skyScatter=0.0), 1)
    assert set(plain["dx"]) == set(plain["dy"]) == {0.0}
    assert set(plain["fwhm"]) == {0.7}


@pytest.mark.parametrize("dither", [True, False])
def test_noise_of_the_sky(dither: bool) -> None:
    survey = make_survey(20)
    config = make_config(doDither=dither)
    stack = run(galaxies=make_star(150.0, 150.0, 0.0), size=(300, 300), survey=survey, config=config)
    image = stack.image.astype(np.float64)
    assert image.mean() == pytest.approx(0.0, abs=5.0 * survey.sky_sigma / 300.0)
    for i in range(3):
        for j in range(3):
            measured = (image * np.roll(image, (i - 1, j - 1), (0, 1)))[1:-1, 1:-1].mean()
            assert measured / stack.sky_variance == pytest.approx(
                stack.covariance[i, j] / stack.sky_variance, abs=0.025
            )
    # About 4/9 of that without interpolation.
    ratio = stack.sky_variance / survey.sky_sigma**2
    assert ratio == pytest.approx(4.0 / 9.0 if dither else 1.0, rel=0.25 if dither else 0.05)
    np.testing.assert_allclose(stack.variance, stack.sky_variance, rtol=0.03)


def test_variance_of_a_source() -> None:
    # Smooth where it is looked at, so that seeing and dither do not change it.
    galaxy = make_galaxies(1)
    galaxy["x"], galaxy["y"], galaxy["flux"], galaxy["disc_radius"] = 0.0, 0.0, 150_000.0, 4.0
    galaxy["bulge_fraction"], galaxy["axis_ratio"] = 0.0, 1.0
    survey = make_survey(2, sky_brightness=24.0)
    stacks = [run(galaxies=galaxy, size=(30, 30), survey=survey, seed=seed) for seed in range(60)]
    pixels = np.array([stack.image[8:28, 8:28] for stack in stacks], dtype=np.float64)
    variance = np.mean([stack.variance[8:28, 8:28] for stack in stacks])
    assert variance > 1.5 * stacks[0].sky_variance
    assert pixels.var(axis=0).mean() == pytest.approx(variance, rel=0.04)


@pytest.mark.parametrize(("sensor", "n"), [("", 12), ("lsst_itl_32", 12)])
def test_kernel_is_the_image_of_a_star(sensor: str, n: int) -> None:
    # In the whole coadd; faint enough per exposure for the sensor not to widen it.
    survey = make_survey(n)
    flux = 20_000.0 * n / survey.electrons_per_njy
    # Where it is in its pixel does not matter to the kernel, and so not to the sum of nine stars.
    stars = [make_star(30.0 + 60.0 * i, 30.0 + 60.0 * j, flux) for i in range(3) for j in range(3)]
    galaxies = Table(np.concatenate([np.asarray(star) for star in stars]))
    stack = run(galaxies=galaxies, size=(180, 180), survey=survey, config=make_config(sensor=sensor))
    cut = [
        stack.image[60 * j + 10 : 60 * j + 51, 60 * i + 10 : 60 * i + 51] for i in range(3) for j in range(3)
    ]
    sigma = np.sqrt(np.mean([stack.variance[10:51, 10:51]], axis=0) / 9.0)
    # The kernel leaves out light beyond its 41 pixels.
    mean = np.mean(cut, axis=0, dtype=np.float64)
    inside = np.s_[12:29, 12:29]
    scale = (mean * stack.kernel)[inside].sum() / (stack.kernel**2)[inside].sum()
    chi = ((mean - scale * stack.kernel) / sigma)[inside]
    assert np.mean(chi**2) == pytest.approx(1.0, abs=0.35)
    assert scale == pytest.approx(flux, rel=0.03)
    # It is wider than that of the atmosphere alone.
    assert stack.kernel[20, 20] < 0.055


def test_flux_is_conserved() -> None:
    galaxies = make_galaxies(5, 20)
    galaxies["x"] += 90.0
    galaxies["y"] += 90.0
    galaxies["flux"] *= 100.0
    stack = run(galaxies=galaxies, size=(200, 200), survey=make_survey(3))
    total = galaxies["flux"].sum()
    noise = 200.0 * np.sqrt(stack.sky_variance * 9.0 / 4.0)
    # A hundredth is in the wings of the PSF, beyond the image.
    assert stack.image.sum(dtype=np.float64) == pytest.approx(0.995 * total, abs=0.005 * total + 4.0 * noise)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"size": (0, 10)}, "size of an image must be positive"),
        ({"processes": 0}, "number of processes must be positive"),
        ({"seed": -1}, "seed must not be negative"),
        ({"config": make_config(sensor="film")}, "unknown sensor 'film'"),
        ({"survey": make_survey(2.5)}, "whole number"),
        ({"galaxies": Table({"x": [1.0]})}, "galaxy table"),
    ],
)
def test_bad_input(tmp_path: Path, change: dict[str, Any], match: str) -> None:
    with pytest.raises(SimulationError, match=match):
        run(folder=tmp_path / "new", **change)
    assert not (tmp_path / "new").exists()


_SCRIPT = """
import multiprocessing, signal, sys, time
sys.path.insert(0, {tests!r})
from test_simulation_exposures import long_run

def show(done, total):
    print(*[child.pid for child in multiprocessing.active_children()], flush=True)
    # The others are at their next exposures; the run cannot come to its end.
    time.sleep(600)

if __name__ == "__main__":
    # A shell has its background jobs ignore Ctrl-C, and what they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    long_run({folder!r}, 2, show)
"""


def long_run(folder: str, processes: int, progress: Any = None) -> ExposureStack:
    return run(8, size=(300, 300), folder=folder, processes=processes, progress=progress)


@pytest.fixture(scope="module")
def whole() -> ExposureStack:
    """What a run that is not stopped makes."""
    return run(8, size=(300, 300))


def is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_run_that_is_stopped_goes_on(tmp_path: Path, number: signal.Signals, whole: ExposureStack) -> None:
    folder = tmp_path / "kept"
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(_SCRIPT).format(tests=str(Path(__file__).parent), folder=str(folder)))
    process = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    children = [int(pid) for pid in process.stdout.readline().split()]
    assert len(children) == 2
    os.kill(process.pid, number)
    process.communicate(timeout=60)
    assert process.returncode != 0
    end = time.monotonic() + 30.0
    while any(is_alive(pid) for pid in children) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(is_alive(pid) for pid in children)
    n_kept = len(list(folder.glob("exposure-*.fits")))
    assert len(list(folder.iterdir())) == n_kept
    assert 1 <= n_kept < 8
    stack = long_run(str(folder), 1)
    assert stack.table["kept"].sum() == n_kept
    np.testing.assert_array_equal(stack.image, whole.image)


shifts = st.floats(-0.5, 0.5, exclude_max=True)


@given(shifts, shifts)
def test_a_plane_comes_back_where_it_was(dx: float, dy: float) -> None:
    y, x = np.mgrid[0:12, 0:15].astype(np.float64)
    # As the camera sees it: what is at (x, y) of the sky is at (x + 3 + dx, y + 3 + dy).
    exposure = 5.0 + 2.0 * (x - 3 - dx) - 3.0 * (y - 3 - dy)
    total = np.zeros((6, 9))
    add_undithered(total, exposure, dx, dy, 3)
    np.testing.assert_allclose(total, 5.0 + 2.0 * x[:6, :9] - 3.0 * y[:6, :9], atol=1e-9)


def test_without_dither_pixels_are_copied_and_added() -> None:
    exposure = np.random.default_rng(1).poisson(100.0, (9, 11)).astype(np.int32)
    total = np.ones((5, 7))
    add_undithered(total, exposure, 0.0, 0.0, 2)
    np.testing.assert_array_equal(total, 1.0 + exposure[2:7, 2:9])


@given(shifts, shifts)
def test_undoing_a_dither_conserves_flux(dx: float, dy: float) -> None:
    exposure = np.zeros((20, 20))
    exposure[8:12, 8:12] = np.arange(16.0).reshape(4, 4)
    total = np.zeros((16, 16))
    add_undithered(total, exposure, dx, dy, 2)
    assert total.sum() == pytest.approx(exposure.sum())


@pytest.mark.parametrize(("dx", "dy"), [(0.0, 0.0), (0.3, -0.2), (-0.5, 0.25)])
def test_covariance_is_that_of_noise(dx: float, dy: float) -> None:
    exposure = np.random.default_rng(2).standard_normal((604, 604))
    out = np.zeros((600, 600))
    add_undithered(out, exposure, dx, dy, 2)
    expected = noise_covariance(dx, dy)
    for i in range(3):
        for j in range(3):
            other = np.roll(out, (i - 1, j - 1), (0, 1))
            assert (out * other)[2:-2, 2:-2].mean() == pytest.approx(expected[i, j], abs=0.01)
    assert expected.sum() == pytest.approx(1.0)


def test_mean_covariance_of_many_dithers() -> None:
    rng = np.random.default_rng(3)
    mean = np.mean([noise_covariance(*rng.uniform(-0.5, 0.5, 2)) for _ in range(20000)], axis=0)
    axis = np.array([1.0, 4.0, 1.0]) / 6.0
    np.testing.assert_allclose(mean, axis[:, None] * axis[None, :], atol=3e-3)


def test_kernel_without_dither_is_the_plain_one() -> None:
    zero = np.zeros(1)
    kernel = effective_kernel(np.array([3.5]), zero, zero, size=41)
    np.testing.assert_allclose(kernel, kolmogorov_kernel(3.5, 41), atol=1e-6)


def test_kernel_is_that_of_an_undithered_star() -> None:
    dx, dy = 0.3, -0.45
    sharp = kolmogorov_kernel(3.5, 61)
    fy, fx = np.meshgrid(np.fft.fftfreq(61), np.fft.fftfreq(61), indexing="ij")
    # A well sampled star that is moved by the dither.
    moved = np.fft.ifft2(np.fft.fft2(sharp) * np.exp(-2j * np.pi * (fx * dx + fy * dy))).real
    total = np.zeros((41, 41))
    add_undithered(total, moved, dx, dy, 10)
    kernel = effective_kernel(np.array([3.5]), np.array([dx]), np.array([dy]), size=41)
    np.testing.assert_allclose(kernel, total / total.sum(), atol=2e-5)
    assert np.abs(kernel - kolmogorov_kernel(3.5, 41)).max() > 1e-3


def test_kernel_is_the_mean_over_exposures() -> None:
    fwhm, dx, dy = np.array([3.0, 4.0]), np.array([0.1, -0.4]), np.array([0.2, 0.3])
    both = effective_kernel(fwhm, dx, dy, diffusion=0.4, size=101)
    each = [
        effective_kernel(fwhm[i : i + 1], dx[i : i + 1], dy[i : i + 1], diffusion=0.4, size=101)
        for i in (0, 1)
    ]
    # To the light outside of the stamp, which differs.
    np.testing.assert_allclose(both, np.mean(each, axis=0), atol=2e-5)
    y, x = np.mgrid[-50:51, -50:51]
    assert (both * x).sum() == pytest.approx(0.0, abs=1e-3)
    assert (both * y).sum() == pytest.approx(0.0, abs=1e-3)
