# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Scenes of kinds that no training has: real galaxies, another clustering, broader sizes.

Models are scored on them, and never learn from them.  Of real galaxies these are the 100 of HST COSMOS that
come with the BlendingToolKit: they take the places and fluxes of simulated ones, so that the truth is that of
the simulation.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import galsim
import numpy as np
from astropy.table import Table
from lsst.meas.blendid.images.psf import summarize_psf
from lsst.meas.blendid.samples import SceneContext
from lsst.meas.blendid.simulation import Survey
from lsst.meas.blendid.simulation.catalogs.parametric import CumulativeCounts
from lsst.meas.blendid.simulation.coadds.psf_model import PsfModel
from lsst.meas.blendid.simulation.coadds.render import draw_galaxies
from lsst.meas.blendid.simulation.stamps.real_galaxies import (
    HST_PIXEL,
    IsolatedGalaxies,
    IsolatedGalaxy,
    open_real_galaxies,
)
from lsst.meas.blendid.simulation.survey import AB_ZERO_POINT_NJY, get_survey
from lsst.meas.blendid.training import Scene, SimulatedScene
from scipy import ndimage

FAINTEST = 25.2
"""Fainter galaxies stay as they are simulated: the catalogue has hardly any, and none is resolved."""
BRIGHTEST = 22.0
"""Brighter ones as well: of the hundred two are brighter, and a fainter one with more flux is too small."""
_BINNING = 2
"""HST pixels of 0.03 arcsec in one of the images of galaxies, along a side."""
_STAMP = 100
"""Half-width of these images, pixels of 0.06 arcsec."""
_GROWTH = 5
"""Pixels that the light of a galaxy is taken to reach beyond its segment."""
_NEAREST = 8
"""Galaxies nearest in magnitude that one is chosen from."""


@dataclasses.dataclass(frozen=True)
class RealScene:
    """A simulated scene whose brighter galaxies are replaced by real ones.

    Parameters
    ----------
    scene
        The scene, with a round PSF that is the same everywhere.
    folder
        Folder of the catalogue of real galaxies.
    """

    scene: SimulatedScene
    folder: Path

    def load(self) -> Scene:
        """Simulate the scene and exchange the light of its galaxies."""
        survey = self.scene.survey
        survey = get_survey(survey) if isinstance(survey, str) else survey
        simulated = self.scene.simulate()
        truth = simulated.truth
        chosen = (truth["mag"] > BRIGHTEST) & (truth["mag"] < FAINTEST) & ~np.asarray(truth["is_star"])
        pixels = simulated.coadd.image.array
        height, width = pixels.shape
        old = draw_galaxies(
            truth[chosen],
            size=(width, height),
            psf=PsfModel(survey.fwhm),
            pixel_scale=survey.pixel_scale,
            noise=survey.sky_sigma,
        )
        pixels += (
            draw_real(truth[chosen], (height, width), survey, self.folder, self.scene.seed) - old
        ).astype(np.float32)
        meta = truth.meta
        return Scene(
            name=f"real-{meta['source']}-{self.scene.seed}",
            sky=f"{meta['source']}-{self.scene.seed}",
            masked_image=simulated.coadd,
            psf=summarize_psf(simulated.coadd.psf, simulated.coadd.bbox),
            truth=truth,
            context=SceneContext()
            if self.scene.for_any_band
            else SceneContext(meta["band"], AB_ZERO_POINT_NJY),
            provenance={"source": "HST COSMOS galaxies", "seed": self.scene.seed},
        )


@functools.lru_cache(maxsize=1)
def read_galaxies(folder: Path) -> list[tuple[float, IsolatedGalaxy]]:
    """Magnitudes and images of the galaxies that can be isolated from their neighbours."""
    galaxies = open_real_galaxies(folder)
    isolated = IsolatedGalaxies(galaxies, size=_STAMP, binning=_BINNING, seed=1)
    found = ((float(galaxies.mag[i]), isolated[i]) for i in range(len(galaxies)))
    return [(mag, galaxy) for mag, galaxy in found if galaxy is not None]


def _as_profile(galaxy: IsolatedGalaxy) -> galsim.GSObject:
    """A galaxy of flux 1 with the PSF of HST, a tenth of an arcsecond wide, its centre of light at 0."""
    own = ndimage.binary_dilation(galaxy.segment, iterations=_GROWTH)
    # Without an edge: the noise that is left fades out with the mask.
    weight = ndimage.gaussian_filter(own.astype(np.float64), 2.0)
    # No more of the image than there is light in, with its middle where it was.
    reach = int(np.abs(np.argwhere(weight > 1e-3) - _STAMP).max()) + 1
    part = slice(max(_STAMP - reach, 0), _STAMP + reach + 1)
    scale = _BINNING * HST_PIXEL
    image = galsim.ImageD((galaxy.image * weight)[part, part], scale=scale)
    x, y = galaxy.offset
    return galsim.InterpolatedImage(image, flux=1.0, x_interpolant="cubic").shift(-scale * x, -scale * y)


def draw_real(rows: Table, shape: tuple[int, int], survey: Survey, folder: Path, seed: int) -> np.ndarray:
    """Draw a real galaxy of about the magnitude of each row, turned at random, with the flux of the row.

    Parameters
    ----------
    rows
        Galaxies with ``x``, ``y`` [pixels of the image], ``mag`` and ``flux``.
    shape
        Height and width of the image.
    survey
        Seeing and pixels.
    folder
        Folder of the catalogue.
    seed
        Seed of the choice.

    Returns
    -------
    image : `numpy.ndarray`, float64 of ``shape``
        The light, in the unit of the fluxes.
    """
    rng = np.random.default_rng([seed, 88])
    known = read_galaxies(folder)
    mags = np.array([mag for mag, _ in known])
    profiles = [_as_profile(galaxy) for _, galaxy in known]
    psf = galsim.Kolmogorov(fwhm=survey.fwhm)
    image = np.zeros(shape)
    canvas = galsim.ImageD(image, xmin=0, ymin=0, scale=survey.pixel_scale)
    half = round(_STAMP * _BINNING * HST_PIXEL / survey.pixel_scale)
    for x, y, mag, flux in zip(*(np.asarray(rows[name]) for name in ("x", "y", "mag", "flux")), strict=True):
        near = np.argsort(np.abs(mags - mag))[:_NEAREST]
        profile = profiles[int(rng.choice(near))].rotate(rng.uniform(0.0, 360.0) * galsim.degrees)
        bounds = galsim.BoundsI(round(x) - half, round(x) + half, round(y) - half, round(y) + half)
        if (bounds := bounds & canvas.bounds).isDefined():
            galsim.Convolve(profile, psf).withFlux(float(flux)).drawImage(
                canvas[bounds], center=galsim.PositionD(float(x), float(y)), add_to_image=True
            )
    return image


@dataclasses.dataclass(frozen=True)
class CompactGroups:
    """Galaxies with the counts of cosmoDC2 of which half lie in compact round groups.

    The groups of the training are wide and cusped, a surface density that goes as r^-1.13 out to 25 arcsec;
    these are Gaussians of ``radius`` arcsec with a number of members that is the same for all magnitudes
    (Thomas 1949, Biometrika 36, 18).
    """

    share: float = 0.5
    members: float = 8.0
    radius: float = 2.5

    @property
    def name(self) -> str:
        """Name of the source."""
        return "compact-groups"

    def galaxies(self, size: tuple[int, int], survey: Survey, rng: np.random.Generator) -> Table:
        """Draw positions [pixels] and magnitudes in i, as `~lsst.meas.blendid.simulation.GalaxySource`."""
        counts, margin = CumulativeCounts(), 100.0
        low = np.array([-margin, -margin])
        extent = np.array(size, dtype=np.float64) + 2.0 * margin
        area = float(np.prod(extent)) * survey.pixel_scale**2 / 3600.0
        first, last = counts(17.5), counts(29.0)
        n = int(rng.poisson((last - first) * area))
        places = low + extent * rng.uniform(size=(n, 2))
        member = rng.uniform(size=n) < self.share
        groups = max(1, round(n * self.share / self.members))
        middle = extent * rng.uniform(size=(groups, 2))
        own = middle[rng.integers(0, groups, int(member.sum()))]
        own += rng.normal(0.0, self.radius / survey.pixel_scale, own.shape)
        places[member] = low + own % extent
        table = Table()
        table["x"], table["y"] = places.T
        table["mag_i"] = counts.invert(rng.uniform(first, last, n))
        return table


def real_scenes(scenes: Sequence[SimulatedScene], folder: Path) -> list[RealScene]:
    """The same scenes with real galaxies."""
    return [RealScene(scene, folder) for scene in scenes]
