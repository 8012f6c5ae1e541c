# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""A simulated tract: where its patches lie and how they are made.

The patches are those of a skymap's tract in all that a coadd knows of them: they
share one pixel grid and one projection, their outer boxes overlap, their inner boxes
tile the tract without overlap.

A `TractSimulation` and the catalogue of a patch (`TractSimulation.patch_catalog`)
are all that the pixels of a patch depend on: a command, a pipeline and a batch
system that have them make the same.
"""

from __future__ import annotations

__all__ = (
    "TractLayout",
    "TractSimulation",
    "make_patches",
    "make_tract_catalog",
)

import dataclasses
import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from lsst.images import YX, Box, SkyProjection, TractFrame
from lsst.images.cells import CellGrid, PatchDefinition
from lsst.pex.config import Config

from ..._progress import ProgressCallback
from ..catalogs.catalog import GalaxySource, as_source, make_catalog
from ..catalogs.galaxies import SizeModel
from ..catalogs.sky_field import check_place
from ..coadds.cells import cell_size_for
from ..coadds.coadd import simulate_patch
from ..coadds.simulated_coadd import DEFAULT_CENTER, SimulatedCoadd, make_sky_projection
from ..coadds.sky import brightened
from ..coadds.starlight import has_starlight, starlight_reach
from ..config import SceneConfig
from ..errors import SimulationError
from ..survey import BANDS, Survey, get_survey, mag_to_njy


def make_patches(n: tuple[int, int], size: int, overlap: int) -> tuple[PatchDefinition, ...]:
    """Lay out the patches of a tract whose first pixel is (0, 0).

    Parameters
    ----------
    n
        Number of patches along x and y.
    size
        Width of the outer box of each, pixels.
    overlap
        Width of the strip that neighbours share, pixels; even.

    Returns
    -------
    patches
        Row by row, numbered as lsst.skymap does (``index.y * n_x + index.x``). Inner
        boxes meet in the middle of the strips and reach the edge of the tract.

    Raises
    ------
    SimulationError
        Raised if the numbers make no layout.
    """
    if min(n) < 1 or size < 1:
        raise SimulationError(f"need at least one patch of at least one pixel, not {n} of {size}")
    if overlap < 0 or overlap % 2 or (overlap > size // 2):
        raise SimulationError(
            f"the overlap of patches must be even and at most half of their size of {size}, not {overlap}"
        )
    step = size - overlap
    # Cells of neighbours coincide, as in Rubin's coadds, if their width divides both.
    common = math.gcd(size, overlap)
    cell = cell_size_for(common) if common >= 16 else cell_size_for(size)
    half = overlap // 2
    patches = []
    for iy in range(n[1]):
        for ix in range(n[0]):
            outer = Box.from_shape((size, size), start=(iy * step, ix * step))
            lo_y = outer.y.start + (half if iy > 0 else 0)
            hi_y = outer.y.stop - (half if iy < n[1] - 1 else 0)
            lo_x = outer.x.start + (half if ix > 0 else 0)
            hi_x = outer.x.stop - (half if ix < n[0] - 1 else 0)
            patches.append(
                PatchDefinition(
                    id=iy * n[0] + ix,
                    index=YX(y=iy, x=ix),
                    inner_bbox=Box.factory[lo_y:hi_y, lo_x:hi_x],
                    cells=CellGrid(bbox=outer, cell_shape=YX(y=cell, x=cell)),
                )
            )
    return tuple(patches)


@dataclasses.dataclass(frozen=True)
class TractLayout:
    """Where a tract and its patches lie.

    Raises
    ------
    SimulationError
        Raised if the middle is no position on the sky.
    """

    skymap: str
    """Name of the skymap."""

    tract: int = 0
    """Number of the tract."""

    n_patches: tuple[int, int] = (1, 1)
    """Number of patches along x and y."""

    patch_size: int = 2048
    """Width of the outer box of a patch, pixels."""

    overlap: int = 128
    """Width of the strip that neighbours share, pixels."""

    center: tuple[float, float] = DEFAULT_CENTER
    """ICRS right ascension and declination of the middle, degrees."""

    pixel_scale: float = 0.2
    """Size of a pixel, arcsec."""

    def __post_init__(self) -> None:
        check_place(self.center, "the middle of a tract")

    @functools.cached_property
    def patches(self) -> tuple[PatchDefinition, ...]:
        """The patches, in the order of their numbers (`make_patches`)."""
        return make_patches(self.n_patches, self.patch_size, self.overlap)

    @property
    def bbox(self) -> Box:
        """Box of the tract; its first pixel is (0, 0)."""
        step = self.patch_size - self.overlap
        width, height = (n * step + self.overlap for n in self.n_patches)
        return Box.factory[0:height, 0:width]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the tract, pixels."""
        return self.bbox.x.size, self.bbox.y.size

    @functools.cached_property
    def projection(self) -> SkyProjection[TractFrame]:
        """Tangent-plane projection of the tract."""
        return make_sky_projection(
            self.bbox,
            skymap=self.skymap,
            tract=self.tract,
            pixel_scale=self.pixel_scale,
            center=self.center,
        )


@dataclasses.dataclass(frozen=True)
class TractSimulation:
    """All that the coadds of a tract depend on besides its catalogue."""

    layout: TractLayout
    """Where the patches lie."""

    seed: int = 1
    """Seed of catalogue, PSF and depth."""

    noise_seed: int | None = None
    """Seed of the noise (`None`: ``seed``)."""

    n_exposures: int | None = None
    """Number of exposures of a coadd (`None`: that of the survey)."""

    scene: SceneConfig = dataclasses.field(default_factory=SceneConfig)
    """How coadds are simulated. The population is that of the catalogue."""

    origin: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Where the catalogue comes from; kept in the metadata of truth tables."""

    psf_fwhm: float | None = None
    """Seeing FWHM in arcsec, of all bands (`None`: that of the survey)."""

    def survey(self, band: str) -> Survey:
        """Settings of a band.

        Parameters
        ----------
        band
            Its name.

        Returns
        -------
        survey
            The settings.

        Raises
        ------
        SimulationError
            Raised if the band is unknown.
        """
        survey = get_survey(band)
        changes: dict[str, Any] = {
            "n_exposures": self.n_exposures,
            "fwhm": self.psf_fwhm,
            "pixel_scale": self.layout.pixel_scale,
        }
        return dataclasses.replace(survey, **{k: v for k, v in changes.items() if v is not None})

    def patch(self, number: int) -> PatchDefinition:
        """Get a patch.

        Parameters
        ----------
        number
            Its number.

        Returns
        -------
        patch
            The patch.

        Raises
        ------
        SimulationError
            Raised if the tract has no such patch.
        """
        if not 0 <= number < len(self.layout.patches):
            raise SimulationError(f"the tract has {len(self.layout.patches)} patches, and no patch {number}")
        return self.layout.patches[number]

    def patch_catalog(self, catalog: Table, number: int) -> Table:
        """Pick the objects whose light can reach a patch.

        Parameters
        ----------
        catalog
            Complete catalogue, ``x`` and ``y`` in pixels of the tract.
        number
            Number of the patch.

        Returns
        -------
        catalog
            Its rows within reach of the outer box.

        Notes
        -----
        An object reaches 100 pixels, sixty half-light radii, where a de Vaucouleurs
        profile is at 5e-10 of its centre, and as far as the wing of a Kolmogorov PSF,
        ∝ r^(−11/3), is above 0.002 of the noise of the sky in any band: 300 pixels
        at magnitude 16. Stars reach as far as their halos and spikes do.
        """
        box = self.patch(number).outer_bbox
        mags = [
            np.asarray(catalog[name], float)
            for name in (f"mag_{b}" for b in BANDS)
            if name in catalog.colnames
        ]
        # In the brightest band, so that all bands have the same objects.
        brightest = np.min(mags, axis=0, initial=99.0) if mags else np.full(len(catalog), 16.0)
        reach = 100.0 + 60.0 * np.asarray(catalog["half_light_radius"], float) / self.layout.pixel_scale
        # A wing that falls as r^(-11/3) reaches flux^(3/11) as far.
        reach += 300.0 * 10.0 ** (0.4 * 3.0 / 11.0 * (16.0 - brightest))
        if has_starlight(self.scene.starlight):
            stars = np.asarray(catalog["is_star"], dtype=bool)
            reach[stars] = np.maximum(reach[stars], self._starlight_reach(catalog[stars]))
        x, y = (np.asarray(catalog[name], float) for name in ("x", "y"))
        near = (x > box.x.min - reach) & (x < box.x.max + reach)
        near &= (y > box.y.min - reach) & (y < box.y.max + reach)
        return catalog[near]

    def _starlight_reach(self, stars: Table) -> np.ndarray:
        """Greatest distance in any band to which halos and spikes of stars reach, pixels, (n,)."""
        reach = np.zeros(len(stars))
        for band in BANDS:
            if f"mag_{band}" not in stars.colnames:
                continue
            survey = brightened(self.survey(band), self.scene.sky.brightness)
            reaches = starlight_reach(
                mag_to_njy(stars[f"mag_{band}"]),
                self.scene.starlight,
                fwhm=survey.fwhm,
                pixel_scale=self.layout.pixel_scale,
                noise=survey.sky_sigma,
            )
            reach = np.maximum(reach, reaches.max(axis=1))
        return reach

    def simulate(
        self,
        catalog: Table,
        number: int,
        band: str,
        *,
        processes: int = 1,
        exposure_folder: str | Path | None = None,
        progress: ProgressCallback | None = None,
    ) -> SimulatedCoadd:
        """Simulate a patch in a band.

        Parameters
        ----------
        catalog
            Catalogue of the patch (`patch_catalog`). It may be empty: then the coadd
            is sky and noise.
        number
            Number of the patch.
        band
            Name of the band.
        processes, exposure_folder, progress
            See `~lsst.meas.blendid.simulation.simulate_patch`.

        Returns
        -------
        simulated
            Coadd and truth.

        Raises
        ------
        SimulationError
            Raised for an unknown band or patch, a catalogue that lacks columns, and
            settings that do not work.
        """
        survey = self.survey(band)
        # Butler and Parquet lose the metadata of a table.
        catalog = catalog.copy(copy_data=False)
        catalog.meta = {**self.origin, "population": self.scene.population.toDict()}
        return simulate_patch(
            catalog,
            self.patch(number),
            self.layout.projection,
            survey,
            seed=self.seed,
            noise_seed=self.noise_seed,
            config=self.scene,
            processes=processes,
            exposure_folder=exposure_folder,
            progress=progress,
        )

    def to_dict(self) -> dict[str, Any]:
        """Write it down.

        Returns
        -------
        settings
            Numbers, strings, lists and dictionaries, as `from_dict` reads them.
        """
        layout = {
            k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self.layout).items()
        }
        return {
            "layout": layout,
            "seed": self.seed,
            "noise_seed": self.noise_seed,
            "n_exposures": self.n_exposures,
            "scene": self.scene.toDict(),
            "origin": dict(self.origin),
            # Left out where it is not set, as it was in repositories of older versions.
            **({} if self.psf_fwhm is None else {"psf_fwhm": self.psf_fwhm}),
        }

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> TractSimulation:
        """Read what `to_dict` wrote.

        Parameters
        ----------
        settings
            The settings.

        Returns
        -------
        simulation
            The simulation.

        Raises
        ------
        SimulationError
            Raised if something is missing or unknown.
        """
        try:
            # JSON has no tuples.
            layout: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in settings["layout"].items()
            }
            scene = SceneConfig()
            _set_fields(scene, settings["scene"])
            scene.validate()
            return cls(
                TractLayout(**layout),
                settings["seed"],
                settings["noise_seed"],
                settings["n_exposures"],
                scene,
                dict(settings["origin"]),
                settings.get("psf_fwhm"),
            )
        except (KeyError, TypeError, AttributeError) as err:
            raise SimulationError(
                f"the settings of the tract cannot be read ({type(err).__name__}: {err}); "
                "were they written by another version of this package?"
            ) from err


def _set_fields(config: Config, values: Mapping[str, Any]) -> None:
    """Set the fields of a config, and of those in it."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            _set_fields(getattr(config, name), value)
        # Fields that are set are recorded with where it was done; defaults need no record.
        elif getattr(config, name) != value:
            setattr(config, name, value)


def make_tract_catalog(
    simulation: TractSimulation,
    source: GalaxySource | Table | str | Path | int | None = None,
    *,
    band: str = "i",
    size_model: str | SizeModel = "cosmodc2-galaxies",
    split: str | None = None,
    center: tuple[float, float] | None = None,
) -> tuple[TractSimulation, Table]:
    """Make the catalogue of a whole tract.

    Parameters
    ----------
    simulation
        The tract, with seed and population.
    source
        Where the galaxies come from (`~lsst.meas.blendid.simulation.as_source`).
    band
        Band of magnitudes that do not say theirs.
    size_model, split
        See `~lsst.meas.blendid.simulation.make_catalog`.
    center
        ICRS right ascension and declination of the middle of the tract, degrees; by
        default that of the source, if it has one.

    Returns
    -------
    simulation
        The tract, in its place and with the origin of the catalogue.
    catalog
        The catalogue.

    Raises
    ------
    SimulationError
        Raised for a bad source or setting, or if no galaxy lies in the tract.
    """
    galaxies = as_source(source, split=split)
    if center is None and callable(getattr(galaxies, "field_center", None)):
        center = galaxies.field_center()  # type: ignore[attr-defined]
    layout = dataclasses.replace(simulation.layout, center=center or DEFAULT_CENTER)
    if center is not None and any(f.name == "center" for f in _fields(galaxies)):
        galaxies = dataclasses.replace(galaxies, center=center)  # type: ignore[type-var]
    catalog = make_catalog(
        galaxies,
        size=layout.size,
        survey=get_survey(band),
        seed=simulation.seed,
        size_model=size_model,
        population=simulation.scene.population,
        split=split,
    )
    # The others are among the settings of the tract.
    origin = {key: value for key, value in catalog.meta.items() if key not in ("seed", "population")}
    return dataclasses.replace(simulation, layout=layout, origin=origin), catalog


def _fields(value: object) -> tuple[dataclasses.Field[object], ...]:
    return dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
