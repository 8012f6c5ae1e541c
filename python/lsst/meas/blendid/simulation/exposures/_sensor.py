# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""From the places of photons to electrons in pixels."""

from __future__ import annotations

__all__ = ("EDGE", "make_sensor")

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .._errors import SimulationError, import_galsim

EDGE = 4
"""Pixels at the border of an exposure that no photon may hit: charge does not diffuse
further, and GalSim's sensor must not lose electrons there."""

_TILE = 128
# The brightest pixel of a tile gets so many electrons between two updates of the shapes of pixels.
# In lsst_itl_32 an electron shrinks its own pixel by 9.0e-7 of the area (calculate_pixel_areas), so
# that a pixel is at most 0.1 % larger or smaller than it should be.
_ELECTRONS_PER_UPDATE = 1000


class Sensor(Protocol):
    """Collects photons."""

    diffusion: float
    """Standard deviation by which charge diffuses, pixels."""

    def collect(self, electrons: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
        """Add the electrons of photons to an image.

        Parameters
        ----------
        electrons
            Image, float32, shape (h, w), what is there before; changed in place.
        x, y
            Places of photons, pixels, at least `EDGE` from the border, shape (n,).
        """


def make_sensor(name: str, seed: int = 0) -> Sensor:
    """Make a sensor.

    Parameters
    ----------
    name
        GalSim's name of a silicon sensor, or "" for an ideal sensor.
    seed
        Seed of the diffusion of charge.

    Returns
    -------
    sensor
        The sensor.

    Raises
    ------
    SimulationError
        Raised if GalSim has no sensor of this name.
    MissingGalSimError
        Raised if GalSim is not installed and a silicon sensor is asked for.
    """
    return _SiliconSensor(name, seed) if name else _IdealSensor()


class _IdealSensor:
    """A photon gives an electron in the pixel where it arrives."""

    diffusion = 0.0

    def collect(self, electrons: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
        height, width = electrons.shape
        index = np.rint(y).astype(np.int64) * width + np.rint(x).astype(np.int64)
        electrons += np.bincount(index, minlength=height * width).reshape(height, width)


class _SiliconSensor:
    """GalSim's sensor, applied to parts of the image.

    Shapes of pixels take half a kilobyte a pixel, and an update of them, as charge
    builds up (brighter-fatter effect), takes time for each pixel of an image. Parts
    need less memory, and parts without bright sources need no update. A part is seen with
    the charge that was in it and around it before.
    """

    def __init__(self, name: str, seed: int) -> None:
        galsim = import_galsim()
        folder = Path(galsim.meta_data.share_dir) / "sensors"
        known = sorted(path.stem for path in folder.glob("*.cfg"))
        if name not in known:
            raise SimulationError(f"unknown sensor {name!r}; known sensors: {', '.join(known)}, or ''")
        self._galsim = galsim
        # The updates are asked for here, none is made by itself.
        self._silicon: Any = galsim.SiliconSensor(name, rng=galsim.BaseDeviate(seed), nrecalc=0)
        # Without wavelengths photons convert 1 µm below the surface; the charge diffuses on the
        # way through the rest.
        config = self._silicon.config
        thickness = float(config["SensorThickness"])
        step = self._silicon._calculate_diff_step() / float(config["PixelSizeX"])
        self.diffusion = float(step * np.sqrt((thickness - 1.0) / thickness))

    def collect(self, electrons: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
        height, width = electrons.shape
        columns = -(-width // _TILE)
        ix, iy = np.rint(x).astype(np.int32), np.rint(y).astype(np.int32)
        tile = (iy // _TILE) * columns + ix // _TILE
        order = np.argsort(tile.astype(np.uint16 if tile.max(initial=0) < 65536 else np.int64), kind="stable")
        starts = np.searchsorted(tile[order], np.arange(columns * -(-height // _TILE) + 1))
        image = self._galsim.ImageF(electrons, xmin=0, ymin=0)
        for number, (start, stop) in enumerate(zip(starts[:-1], starts[1:], strict=True)):
            if stop == start:
                continue
            rows = order[start:stop]
            x0, y0 = number % columns * _TILE, number // columns * _TILE
            part = image[
                self._galsim.BoundsI(
                    max(0, x0 - EDGE),
                    min(width, x0 + _TILE + EDGE) - 1,
                    max(0, y0 - EDGE),
                    min(height, y0 + _TILE + EDGE) - 1,
                )
            ]
            peak = np.bincount((iy[rows] - y0) * _TILE + ix[rows] - x0).max()
            steps = int(-(-peak // _ELECTRONS_PER_UPDATE))
            for i in range(steps):
                # Photons of a source are alike: each n-th of them is a part of the exposure's time.
                some = rows[i::steps]
                photons = self._galsim.PhotonArray(len(some), x=x[some], y=y[some], flux=1.0)
                self._silicon.accumulate(photons, part, resume=i > 0, recalc=i > 0)
