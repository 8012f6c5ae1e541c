# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Run ``blendid run`` on a small image, so that numba compiles and keeps its kernels."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import numpy as np
from astropy.io import fits
from lsst.meas.blendid.cli import main


def make_image(size: int = 256, n_sources: int = 60) -> np.ndarray:
    """Draw Gaussian sources on white noise: float32 of shape (size, size)."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:size, :size]
    image = rng.normal(size=(size, size))
    for x0, y0 in rng.uniform(10, size - 10, size=(n_sources, 2)):
        image += 30.0 * np.exp(-0.5 * ((x - x0) ** 2 + (y - y0) ** 2) / 1.6**2)
    return image.astype(np.float32)


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.fits"
        fits.writeto(path, make_image())
        options = ["--psf-fwhm", "0.7", "--pixel-scale", "0.2", "--out", folder]
        main(["run", str(path), *options], standalone_mode=False)
