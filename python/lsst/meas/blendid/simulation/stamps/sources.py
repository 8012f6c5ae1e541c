# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Where the galaxies of stamps come from: light profiles by number, cheap to send to processes."""

from __future__ import annotations

__all__ = (
    "ModelGalaxies",
    "ParametricCosmos",
    "RealCosmos",
    "StampSource",
    "has_parametric_fits",
)

import dataclasses
import functools
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from astropy.table import Table

from ..errors import SimulationError, import_galsim
from .real_galaxies import HST_ZERO_POINT, RealGalaxies, find_catalog
from .stamp_set import StampSetError


class StampSource(Protocol):
    """Galaxies with numbers from 0."""

    @property
    def name(self) -> str:
        """What they are."""

    def __len__(self) -> int: ...

    @property
    def ident(self) -> np.ndarray:
        """Identity of each galaxy, int64 of shape (n,)."""

    @property
    def mag(self) -> np.ndarray:
        """AB magnitude of each, float64 of shape (n,)."""

    @property
    def radius(self) -> np.ndarray:
        """Half-light radius of each, arcsec, NaN where not known, float64 of shape (n,)."""

    def profile(self, i: int) -> Any:
        """Make the light profile of a galaxy; a flux of 1 is `HST_ZERO_POINT`."""


@dataclasses.dataclass(frozen=True)
class ModelGalaxies:
    """Disc and bulge drawn from the galaxy model of the simulator; no galaxy is drawn twice."""

    disc_radius: np.ndarray
    bulge_radius: np.ndarray
    axis_ratio: np.ndarray
    bulge_axis_ratio: np.ndarray
    position_angle: np.ndarray
    bulge_fraction: np.ndarray
    radius: np.ndarray
    mag: np.ndarray
    size_model: str

    @classmethod
    def draw(
        cls, n: int, rng: np.random.Generator, *, mag_range: tuple[float, float], size_model: str
    ) -> ModelGalaxies:
        """Draw n galaxies between two magnitudes, which follow the counts of `CumulativeCounts`.

        ``size_model`` names the model of their sizes.
        """
        from ..catalogs.galaxies import complete_galaxies
        from ..catalogs.parametric import CumulativeCounts

        brightest, faintest = mag_range
        if not brightest < faintest:
            raise SimulationError(
                f"the magnitudes must go from bright to faint, not {brightest} to {faintest}"
            )
        counts = CumulativeCounts()
        low, high = float(counts(brightest)), float(counts(faintest))
        table = Table({"x": np.zeros(n), "y": np.zeros(n), "mag": counts.invert(rng.uniform(low, high, n))})
        complete = complete_galaxies(table, size_model, rng)
        columns = {
            field.name: np.asarray(complete[field.name], dtype=np.float64)
            for field in dataclasses.fields(cls)
            if field.name not in ("radius", "mag", "size_model")
        }
        radius = np.asarray(complete["half_light_radius"], dtype=np.float64)
        return cls(radius=radius, mag=np.asarray(table["mag"]), size_model=size_model, **columns)

    @property
    def name(self) -> str:
        return f"models-{self.size_model}"

    def __len__(self) -> int:
        return len(self.mag)

    @property
    def ident(self) -> np.ndarray:
        return np.arange(len(self), dtype=np.int64)

    def profile(self, i: int) -> Any:
        galsim = import_galsim()
        angle = float(self.position_angle[i]) * galsim.degrees
        parts = []
        for share, radius, ratio, n in (
            (1.0 - self.bulge_fraction[i], self.disc_radius[i], self.axis_ratio[i], 1.0),
            (self.bulge_fraction[i], self.bulge_radius[i], self.bulge_axis_ratio[i], 4.0),
        ):
            if share > 1e-4:
                part = galsim.Sersic(n=n, half_light_radius=float(radius), flux=float(share))
                parts.append(part.shear(q=float(ratio), beta=angle) if ratio < 1.0 else part)
        return galsim.Sum(parts).withFlux(10.0 ** (-0.4 * (self.mag[i] - HST_ZERO_POINT)))


def has_parametric_fits(folder: str | Path) -> bool:
    """Tell whether a catalogue of real galaxies comes with Sérsic fits."""
    path = find_catalog(folder)
    fits = path.with_name(path.stem + "_fits.fits")
    if not fits.is_file():
        return False
    table = Table.read(fits, hdu=1, format="fits")
    return {"sersicfit", "bulgefit"} <= {name.lower() for name in table.colnames}


@dataclasses.dataclass(frozen=True)
class ParametricCosmos:
    """Sérsic, or disc and bulge, fits of COSMOS galaxies, as `galsim.COSMOSCatalog` makes them."""

    path: Path
    ident: np.ndarray
    mag: np.ndarray
    radius: np.ndarray
    rows: np.ndarray

    @classmethod
    def open(cls, folder: str | Path, *, mag_range: tuple[float, float]) -> ParametricCosmos:
        """Open a catalogue with fits: galaxies with a good one (``exclusion_level="marginal"``).

        `StampSetError` if it has no fits, or no galaxy in the range of magnitudes.
        """
        path = find_catalog(folder)
        if not has_parametric_fits(path):
            raise StampSetError(
                f"{path.name} comes without parametric fits (columns sersicfit, bulgefit); use the whole "
                "COSMOS catalogue of galsim_download_cosmos, or the built-in models"
            )
        catalog = _open_cosmos(path)
        records = catalog.param_cat[catalog.orig_index]
        mag = np.asarray(records["mag_auto"], dtype=np.float64)
        rows = np.flatnonzero((mag >= mag_range[0]) & (mag <= mag_range[1]))
        if not rows.size:
            raise StampSetError(f"{path.name} has no galaxy between {mag_range[0]} and {mag_range[1]} mag")
        ident = np.asarray(records["IDENT"], dtype=np.int64)[rows]
        return cls(path, ident, mag[rows], np.asarray(records["hlr"], dtype=np.float64)[rows, 0], rows)

    @property
    def name(self) -> str:
        return f"parametric-{self.path.stem}"

    def __len__(self) -> int:
        return len(self.rows)

    def profile(self, i: int) -> Any:
        galaxy = _open_cosmos(self.path).makeGalaxy(int(self.rows[i]), gal_type="parametric")
        return galaxy.withFlux(10.0 ** (-0.4 * (self.mag[i] - HST_ZERO_POINT)))


@dataclasses.dataclass(frozen=True)
class RealCosmos:
    """Real galaxies of COSMOS without the PSF of HST."""

    galaxies: RealGalaxies

    @property
    def name(self) -> str:
        return self.galaxies.path.stem

    def __len__(self) -> int:
        return len(self.galaxies)

    @property
    def ident(self) -> np.ndarray:
        return self.galaxies.ident

    @property
    def mag(self) -> np.ndarray:
        return self.galaxies.mag

    @property
    def radius(self) -> np.ndarray:
        return self.galaxies.radius

    def profile(self, i: int) -> Any:
        return _cached_real(self.galaxies.path, int(self.galaxies.rows[i]), int(self.galaxies.ident[i]))


@functools.lru_cache(maxsize=2)
def _open_cosmos(path: Path) -> Any:
    galsim = import_galsim()
    return galsim.COSMOSCatalog(
        path.name, dir=str(path.parent), use_real=False, exclusion_level="marginal", preload=False
    )


@functools.lru_cache(maxsize=512)
def _cached_real(path: Path, row: int, ident: int) -> Any:
    # Making one costs ten times as much as drawing it again.
    one = RealGalaxies(path, np.array([row]), np.array([ident]), np.zeros(1), np.zeros(1))
    return one.galaxy(0)
