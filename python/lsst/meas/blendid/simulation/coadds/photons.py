# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Photons of galaxies and stars, one by one, and the sensor that makes electrons of them.

A photon starts at a random place of its galaxy, is moved by the lens and by the
atmosphere, and arrives at a place of the focal plane. Radii are drawn from tables
of the inverse of the curve of growth:

- exponential disc and de Vaucouleurs bulge: the regularised incomplete gamma
  functions P(2, r / r_s) and P(8, b (r / r_e)^¼) with P(8, b) = ½ (Graham & Driver
  2005, PASA 22, 118, eq. 2, for n = 1 and 4);
- Kolmogorov atmosphere, of transform exp(-(k/k₀)^(5/3)) (Fried 1966, JOSA 56, 1372):
  the Hankel integral of the transform within 6 / k₀, its power series in 1/r beyond.

No profile is cut, but the table ends where a share of 1e-9 of the light is left:
at 1,000 half-light radii of a bulge.
"""

from __future__ import annotations

__all__ = (
    "BORDER",
    "RadiusTables",
    "make_radius_tables",
    "make_sensor",
    "make_sources",
    "shoot_photons",
)

import dataclasses
import functools
import hashlib
import math
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from astropy.table import Table

from ..._jit import njit
from ...images.psf import KOLMOGOROV_K0_FWHM
from ..catalogs.galaxies import BULGE_B
from ..errors import SimulationError, import_galsim
from .render import OPTIONAL_COLUMNS, REQUIRED_COLUMNS, Profiles

# Tables: uniform in the square root of the light within, to this share; then in the logarithm
# of the light beyond.
_CORE = 0.9
_CORE_NODES = 4096
_TAIL_NODES = 4096
_LEFT = 1e-9

BORDER = 4
"""Pixels at the border of an exposure that no photon may hit: charge does not diffuse
further, and GalSim's sensor must not lose electrons there."""

_TILE = 128
# The brightest pixel of a tile gets so many electrons between two updates of the shapes of pixels.
# In lsst_itl_32 an electron shrinks its own pixel by 9.0e-7 of the area (calculate_pixel_areas), so
# that a pixel is at most 0.1 % larger or smaller than it should be.
_ELECTRONS_PER_UPDATE = 1000


@dataclasses.dataclass(frozen=True)
class RadiusTables:
    """Radii at given shares of the light, rows disc, bulge, atmosphere.

    Those of the disc in units of the scale radius, those of the bulge of the
    half-light radius, those of the atmosphere of the FWHM.
    """

    core: np.ndarray
    """Uniform in √(light within), 0 to √0.9, shape (3, n)."""

    tail: np.ndarray
    """Uniform in ln(light beyond), 0.1 to 1e-9, shape (3, n)."""


def make_sources(galaxies: Table) -> tuple[Profiles, str]:
    """Check a table of galaxies: what `shoot_photons` takes, and a digest of the columns it is made of."""
    sources = Profiles.from_table(galaxies)
    if not sources.is_plain:
        raise SimulationError(
            "the catalogue has structures or Sérsic indices, whose photons cannot be shot: use mode fast, or "
            "leave out their columns"
        )
    digest = hashlib.sha256()
    for name in (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS):
        if name in galaxies.colnames:
            digest.update(name.encode())
            digest.update(np.asarray(galaxies[name], dtype=np.float64).tobytes())
    return sources, digest.hexdigest()[:16]


def shoot_photons(
    sources: Profiles,
    n_disc: np.ndarray,
    n_bulge: np.ndarray,
    *,
    pixel_scale: float,
    fwhm: float,
    box: tuple[float, float, float, float],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw where photons arrive: x and y in pixels, shape (n_photons,), those of one source together.

    ``n_disc`` and ``n_bulge``, shape (n,), are the photons of each source; pixel scale and the FWHM of the
    atmosphere are in arcsec; photons outside of ``box``, least and greatest x, then y, pixels, are dropped.
    """
    # Radii from a table are many times faster than solving for each photon.
    tables = make_radius_tables()
    total = int(n_disc.sum() + n_bulge.sum())
    x, y = np.empty(total), np.empty(total)
    n = _shoot(
        sources.x,
        sources.y,
        np.asarray(n_disc, dtype=np.int64),
        np.asarray(n_bulge, dtype=np.int64),
        sources.forms,
        pixel_scale,
        fwhm,
        np.array(box, dtype=np.float64),
        tables.core,
        tables.tail,
        rng,
        x,
        y,
    )
    return x[:n], y[:n]


@functools.lru_cache(maxsize=1)
def make_radius_tables() -> RadiusTables:
    """Radii within which a share of the light of disc, bulge and atmosphere is."""
    from scipy.special import gammainccinv, gammaincinv

    within = np.linspace(0.0, math.sqrt(_CORE), _CORE_NODES) ** 2
    beyond = np.exp(np.linspace(math.log(1.0 - _CORE), math.log(_LEFT), _TAIL_NODES))
    core = np.empty((3, _CORE_NODES))
    tail = np.empty((3, _TAIL_NODES))
    core[0], tail[0] = gammaincinv(2.0, within), gammainccinv(2.0, beyond)
    core[1] = (gammaincinv(8.0, within) / BULGE_B) ** 4
    tail[1] = (gammainccinv(8.0, beyond) / BULGE_B) ** 4
    r, left = kolmogorov_growth()
    core[2] = np.interp(np.sqrt(within), np.sqrt(1.0 - left), r)
    tail[2] = np.exp(np.interp(np.log(beyond), np.log(left[:0:-1]), np.log(r[:0:-1])))
    core[2] /= KOLMOGOROV_K0_FWHM
    tail[2] /= KOLMOGOROV_K0_FWHM
    return RadiusTables(core=core, tail=tail)


def kolmogorov_growth() -> tuple[np.ndarray, np.ndarray]:
    """Curve of growth of a Kolmogorov profile: radii in units of 1/k₀ from 0, and the light beyond them.

    The light within r is ∫ r J₁(kr) exp(-k^(5/3)) dk. With ∫ tᵃ J₁(t) dt = 2ᵃ Γ(1 + a/2) /
    Γ(1 - a/2) (Abramowitz & Stegun 1964, eq. 11.4.16) for each term of the exponential,
    the light beyond is the asymptotic series -Σ (-1)ⁿ/n! (2/r)ᵃ Γ(1 + a/2) / Γ(1 - a/2),
    a = 5n/3.
    """
    from scipy.special import gamma, j1, rgamma

    near = np.linspace(0.0, 12.0, 2401)
    # exp(-k^(5/3)) is 1e-19 at the end.
    nodes, weights = np.polynomial.legendre.leggauss(400)
    k, weights = 4.9 * (nodes + 1.0), 4.9 * weights
    damped = weights * np.exp(-(k ** (5.0 / 3.0)))
    left_near = np.array([1.0 - (r * j1(k * r) * damped).sum() for r in near])
    far = np.geomspace(12.0, 1e6, 4000)[1:]
    left_far = np.zeros_like(far)
    for n in range(1, 7):
        a = 5.0 * n / 3.0
        left_far -= (
            (-1.0) ** n / math.factorial(n) * (2.0 / far) ** a * gamma(1.0 + a / 2.0) * rgamma(1.0 - a / 2.0)
        )
    return np.concatenate([near, far]), np.concatenate([left_near, left_far])


@njit()
def _radius(u: float, core: np.ndarray, tail: np.ndarray, tail_scale: float) -> float:
    """Radius with a share u of the light within."""
    if u < _CORE:
        t = math.sqrt(u / _CORE) * (core.size - 1)
        i = min(int(t), core.size - 2)
        return core[i] + (t - i) * (core[i + 1] - core[i])
    t = min(math.log((1.0 - u) / (1.0 - _CORE)) * tail_scale, tail.size - 1.0)
    i = min(int(t), tail.size - 2)
    return tail[i] + (t - i) * (tail[i + 1] - tail[i])


@njit()
def _shoot(
    x0: np.ndarray,
    y0: np.ndarray,
    n_disc: np.ndarray,
    n_bulge: np.ndarray,
    forms: np.ndarray,
    pixel_scale: float,
    fwhm: float,
    box: np.ndarray,
    core: np.ndarray,
    tail: np.ndarray,
    rng: np.random.Generator,
    x: np.ndarray,
    y: np.ndarray,
) -> int:
    """Fill x and y; return how many are in the box."""
    tail_scale = (tail.shape[1] - 1) / math.log(_LEFT / (1.0 - _CORE))
    kept = 0
    for i in range(x0.size):
        for part in range(2):
            n = n_disc[i] if part == 0 else n_bulge[i]
            xx, xy, yy = forms[i, 4 * part + 1], forms[i, 4 * part + 2], forms[i, 4 * part + 3]
            # Any L with L Lᵀ = Q maps a round profile onto the same image; this is Cholesky's.
            a = math.sqrt(max(xx, 0.0)) / pixel_scale
            c = xy / (a * pixel_scale**2) if a > 0.0 else 0.0
            d = math.sqrt(max(yy / pixel_scale**2 - c * c, 0.0))
            for _ in range(n):
                r = fwhm / pixel_scale * _radius(rng.random(), core[2], tail[2], tail_scale)
                angle = 2.0 * math.pi * rng.random()
                px = x0[i] + r * math.cos(angle)
                py = y0[i] + r * math.sin(angle)
                if a > 0.0:
                    r = _radius(rng.random(), core[part], tail[part], tail_scale)
                    angle = 2.0 * math.pi * rng.random()
                    u, v = r * math.cos(angle), r * math.sin(angle)
                    px += a * u
                    py += c * u + d * v
                if box[0] <= px < box[1] and box[2] <= py < box[3]:
                    x[kept] = px
                    y[kept] = py
                    kept += 1
    return kept


class Sensor(Protocol):
    """Collects photons."""

    diffusion: float
    """Standard deviation by which charge diffuses, pixels."""

    def collect(self, electrons: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
        """Add the electrons of photons to an image, float32 of shape (h, w), changed in place.

        Photons are at x and y, pixels of shape (n,), at least `BORDER` from the border.
        """


def make_sensor(name: str, seed: int = 0) -> Sensor:
    """Make GalSim's silicon sensor of a name, ``seed`` that of its diffusion; an ideal one for no name."""
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
                    max(0, x0 - BORDER),
                    min(width, x0 + _TILE + BORDER) - 1,
                    max(0, y0 - BORDER),
                    min(height, y0 + _TILE + BORDER) - 1,
                )
            ]
            peak = np.bincount((iy[rows] - y0) * _TILE + ix[rows] - x0).max()
            steps = int(-(-peak // _ELECTRONS_PER_UPDATE))
            for i in range(steps):
                # Photons of a source are alike: each n-th of them is a part of the exposure's time.
                some = rows[i::steps]
                photons = self._galsim.PhotonArray(len(some), x=x[some], y=y[some], flux=1.0)
                self._silicon.accumulate(photons, part, resume=i > 0, recalc=i > 0)
