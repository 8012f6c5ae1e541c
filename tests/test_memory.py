# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import astropy.io.fits
import numpy as np
import pytest

SIZES = (1024, 3072)
"""Sides of two images: what their runs differ by is what pixels take, without the part of the libraries."""

TABLES = 1.5
"""Bytes a pixel for tables and strips of features, on top of three times the image.

Strips have as many rows in an image of any height: their share is larger in these images than in large ones.
"""

_RUN = "from lsst.meas.blendid.cli import main; main()"


def write_image(path: Path, side: int, planes: str) -> float:
    """Write an image with twelve sources in 128² pixels and return its bytes a pixel."""
    rng = np.random.default_rng(side)
    image = rng.normal(0.0, 1.0, (side, side)).astype(np.float32)
    y, x = np.mgrid[-8:9, -8:9]
    source = np.exp(-0.5 * (x**2 + y**2) / 1.8**2).astype(np.float32)
    for row, column in rng.integers(8, side - 8, (12 * side**2 // 128**2, 2)):
        image[row - 8 : row + 9, column - 8 : column + 9] += 6.0 * rng.pareto(1.5) * source
    hdus = [astropy.io.fits.PrimaryHDU(image)]
    if planes == "plain":
        hdus[0].data[rng.random(image.shape) < 1e-4] = np.nan
    if planes == "variance and mask":
        variance = np.broadcast_to(np.linspace(0.9, 1.1, side, dtype=np.float32), image.shape)
        mask = (rng.random(image.shape) < 1e-4).astype(np.uint8)
        hdus += [astropy.io.fits.ImageHDU(np.array(variance), name="VAR")]
        hdus += [astropy.io.fits.ImageHDU(mask, name="MASK")]
    astropy.io.fits.HDUList(hdus).writeto(path)
    return float(sum(hdu.data.dtype.itemsize for hdu in hdus))


WITHOUT_MAP = ("--classifier", "features", "--classifier", "peaks", "--localizer", "none")
"""What needs no network."""

LARGEST = 3400
"""Side of a coadd of Rubin's."""


_LAUNCHER = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[2:], stdout=open(sys.argv[1], "w"), stderr=subprocess.STDOUT)
_, status, usage = os.wait4(process.pid, 0)
process.returncode = os.waitstatus_to_exitcode(status)
print(process.returncode, usage.ru_maxrss)
"""
"""Runs a command from a small process: a process starts as a copy of its parent, whose memory counts."""


def peak_memory(path: Path, options: tuple[str, ...] = ()) -> int:
    """Largest resident memory of ``blendid run`` on an image, bytes."""
    command = [sys.executable, "-c", _RUN, "run", str(path), "--psf-fwhm", "0.7", "--pixel-scale", "0.2"]
    command += [*options, "--out", str(path.parent / "tables")]
    log = path.with_suffix(".log")
    launched = subprocess.run(
        [sys.executable, "-I", "-c", _LAUNCHER, str(log), *command],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    status, size = (int(word) for word in launched.stdout.split())
    assert status == 0, log.read_text()
    return size * (1 if sys.platform == "darwin" else 1024)


def memory_by_size(folder: Path, planes: str, options: tuple[str, ...] = ()) -> tuple[list[int], float]:
    """Largest memory on images of both sizes, and the bytes a pixel of the images themselves."""
    peaks = []
    for side in SIZES:
        path = folder / f"{side}.fits"
        size = write_image(path, side, planes)
        # Compilation, if there is any, takes memory of its own.
        peak_memory(path, options) if not peaks else None
        peaks.append(peak_memory(path, options))
    return peaks, size


pytestmark = pytest.mark.skipif(not hasattr(os, "wait4"), reason="the memory of a process is not known here")


@pytest.mark.parametrize("planes", ["plain", "variance and mask"])
def test_run_without_a_map_takes_three_times_the_image(tmp_path: Path, planes: str) -> None:
    peaks, size = memory_by_size(tmp_path, planes, WITHOUT_MAP)
    slope = (peaks[1] - peaks[0]) / (SIZES[1] ** 2 - SIZES[0] ** 2)
    assert slope < 3.0 * size + TABLES


def test_run_takes_less_than_two_gigabytes(tmp_path: Path) -> None:
    """With all that runs by default, the map of centres among it."""
    peaks, _ = memory_by_size(tmp_path, "variance and mask")
    slope = (peaks[1] - peaks[0]) / (SIZES[1] ** 2 - SIZES[0] ** 2)
    assert peaks[1] + slope * (LARGEST**2 - SIZES[1] ** 2) < 2e9
    # All layers of the network for the whole image at once would be far more.
    assert slope < 100.0
