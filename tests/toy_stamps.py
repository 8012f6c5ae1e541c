# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Small sets of stamps that need no GalSim, and a small catalogue of galaxies that it reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from lsst.meas.blendid.simulation.stamps import StampSet
from lsst.meas.blendid.simulation.stamps.real_galaxies import HST_ZERO_POINT


def toy_stamps(
    n: int = 12,
    *,
    size: int = 41,
    flux: float = 4000.0,
    separation: float = 14.0,
    zero_point: float = 30.0,
    padding: int = 3,
) -> StampSet:
    """Gaussian galaxies, every second stamp with two of them, a third of the stamps in each split."""
    grid = np.arange(size, dtype=np.float64)
    middle = size // 2

    def blob(x: float, y: float) -> np.ndarray:
        profile = np.exp(-0.5 * np.square((grid[:, None] - y) / 1.8) - 0.5 * np.square((grid - x) / 1.8))
        return flux * profile / profile.sum()

    images = np.zeros((n, size, size), dtype=np.float32)
    rows = []
    for i in range(n):
        offsets = [(0.0, 0.0)] + [(separation * np.cos(i), separation * np.sin(i))] * (i % 2)
        for k, (dx, dy) in enumerate(offsets):
            images[i] += blob(middle + dx, middle + dy)
            rows.append((i, k, 100 * i + k, middle + dx, middle + dy))
    truth = Table(rows=rows, names=("stamp_id", "object", "source_id", "x", "y"))
    truth["flux"] = np.full(len(truth), flux, dtype=np.float32)
    truth["mag"] = (zero_point - 2.5 * np.log10(truth["flux"])).astype(np.float32)
    truth["snr"] = np.full(len(truth), np.inf, dtype=np.float32)
    truth["is_star"] = np.zeros(len(truth), dtype=bool)
    blended = np.arange(n) % 2 == 1
    stamps = Table(
        {
            "stamp_id": np.arange(n, dtype=np.int64),
            "is_blended": blended,
            "n_objects": (1 + blended).astype(np.int32),
            "separation": np.where(blended, separation, np.nan).astype(np.float32),
            "split": np.array(["train", "validation", "test"])[np.arange(n) * 3 // max(n, 1)],
            "noise": np.zeros(n, dtype=np.float32),
            "realisation": np.full(n, -1, dtype=np.int32),
            "psf_index": np.zeros(n, dtype=np.int32),
        }
    )
    kernel = np.exp(-0.5 * (np.square(np.arange(-7, 8))[:, None] + np.square(np.arange(-7, 8))) / 1.8**2)
    psf = (kernel / kernel.sum())[None].astype(np.float32)
    return StampSet(
        "toy",
        images,
        stamps,
        truth,
        psf,
        pixel_scale=0.2,
        zero_point=zero_point,
        seed=5,
        padding=padding,
        metadata={"note": "toy"},
        arrays={"segmentation": (images > 1.0).astype(np.uint8)},
    )


def write_catalog(folder: Path, n: int = 5) -> Path:
    """Write a catalogue of Gaussian galaxies as GalSim reads it."""
    grid = np.arange(-20, 21) * 0.03

    def blob(sigma: float) -> np.ndarray:
        profile = np.exp(-0.5 * np.square(grid / sigma))
        return np.outer(profile, profile).astype(np.float32) / profile.sum() ** 2

    flux = 10.0 + np.arange(n)
    images = [fits.PrimaryHDU()] + [fits.ImageHDU(f * blob(0.12)) for f in flux]
    fits.HDUList(images).writeto(folder / "galaxies.fits")
    fits.HDUList([fits.PrimaryHDU()] + [fits.ImageHDU(blob(0.05)) for _ in flux]).writeto(
        folder / "psfs.fits"
    )
    table = Table(
        {
            "IDENT": 1000 + np.arange(n),
            "MAG": HST_ZERO_POINT - 2.5 * np.log10(flux),
            "BAND": ["F814W"] * n,
            "WEIGHT": np.ones(n),
            "GAL_FILENAME": ["galaxies.fits"] * n,
            "PSF_FILENAME": ["psfs.fits"] * n,
            "GAL_HDU": 1 + np.arange(n),
            "PSF_HDU": 1 + np.arange(n),
            "PIXEL_SCALE": np.full(n, 0.03),
            "NOISE_MEAN": np.zeros(n),
            "NOISE_VARIANCE": np.full(n, 1e-6),
            "stamp_flux": flux,
        }
    )
    path = folder / "real_galaxy_catalog_25.2.fits"
    table.write(path)
    Table({"flux_radius": np.full(n, 6.0)}).write(folder / "real_galaxy_catalog_25.2_fits.fits")
    return path
