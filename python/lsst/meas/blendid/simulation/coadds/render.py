# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Drawing of galaxies into an image, without noise.

Two engines give the same image. ``galsim`` draws one galaxy after another with
`galsim.GSObject.drawImage`. ``fourier``, the default, evaluates the product of the
transforms of galaxy, PSF and pixel for many galaxies at once on stamps that are just
large enough, and transforms the whole stack back; it is two orders of magnitude
faster. Both sample the image of the pixel-integrated profile at the pixel centres.
"""

from __future__ import annotations

__all__ = (
    "EDGE",
    "REFERENCE_THRESHOLD",
    "ProgressCallback",
    "draw_galaxies",
    "draw_profiles",
    "draw_with_galsim",
)

import math
from collections.abc import Callable

import numpy as np
from astropy.table import Table

from .._errors import SimulationError, import_galsim
from ..catalogs.lensing import magnification, reduced_shear
from ._profiles import Profiles, bulge_table
from .psf_model import Modes, PsfModel

type ProgressCallback = Callable[[int, int], None]
"""Called with the number of galaxies drawn and their total."""

REFERENCE_THRESHOLD = 1e-4
"""``folding_threshold`` and ``maxk_threshold`` of GalSim that images of GalSim are drawn with."""

EDGE = 0.001
"""A stamp ends where the light of its galaxy in a pixel is this share of the noise."""

# GalSim draws a Kolmogorov profile up to the frequency where its transform is this.
_TRANSFORM_ACCURACY = 1e-5
_BATCH_PIXELS = 1 << 19


def draw_galaxies(
    galaxies: Table,
    *,
    size: tuple[int, int],
    psf: PsfModel,
    pixel_scale: float,
    noise: float,
    engine: str = "fourier",
    progress: ProgressCallback | None = None,
) -> np.ndarray:
    """Draw galaxies and stars into one image.

    Parameters
    ----------
    galaxies
        Table of `~lsst.meas.blendid.simulation.catalogs.galaxies.observe`, ``x`` and ``y`` relative to
        the first pixel of the image. Rows with ``is_star`` are points; ``gamma1``, ``gamma2`` and
        ``kappa`` shear the others.
    size
        Width and height of the image, pixels.
    psf
        The PSF, before the pixel.
    pixel_scale
        Size of a pixel, arcsec.
    noise
        Noise per pixel in the unit of ``flux``; errors of drawing stay well below it.
    engine
        "fourier" or "galsim".
    progress
        Called now and then with the number of galaxies done and in all.

    Returns
    -------
    image
        Image of shape (height, width), float64, in the unit of ``flux``.

    Raises
    ------
    SimulationError
        Raised for an engine that does not exist, a PSF narrower than 2.5 pixels, a column
        that is missing or has bad values, or a shear or convergence that is not weak.
    MissingGalSimError
        Raised if GalSim is not installed.
    """
    psf.check_sampling(pixel_scale)
    profiles = Profiles.from_table(galaxies)
    if engine == "galsim":
        return draw_with_galsim(galaxies, size=size, psf=psf, pixel_scale=pixel_scale, progress=progress)
    if engine != "fourier":
        raise SimulationError(f"unknown drawing engine {engine!r}; known engines: fourier, galsim")
    # The transform of bulges comes from it.
    import_galsim()
    image = np.zeros((size[1], size[0]))
    stamps = profiles.stamp_sizes(psf, pixel_scale, EDGE * noise)
    draw_profiles(image, profiles, stamps, psf, pixel_scale, progress)
    return image


def draw_with_galsim(
    galaxies: Table,
    *,
    size: tuple[int, int],
    psf: PsfModel,
    pixel_scale: float,
    threshold: float = REFERENCE_THRESHOLD,
    progress: ProgressCallback | None = None,
) -> np.ndarray:
    """Draw galaxies with GalSim, one by one.

    Parameters
    ----------
    galaxies, size, psf, pixel_scale, progress
        See `draw_galaxies`.
    threshold
        ``folding_threshold`` and ``maxk_threshold`` of GalSim.

    Returns
    -------
    image
        Image of shape (height, width), float64, in the unit of ``flux``.

    Raises
    ------
    MissingGalSimError
        Raised if GalSim is not installed.
    """
    galsim = import_galsim()
    image = np.zeros((size[1], size[0]))
    gsparams = galsim.GSParams(folding_threshold=threshold, maxk_threshold=threshold, maximum_fft_size=32768)
    seeing = psf.galsim(gsparams)
    canvas = galsim.ImageD(image, xmin=0, ymin=0, scale=pixel_scale)
    lensed = "kappa" in galaxies.colnames
    for i, row in enumerate(galaxies):
        if row["is_star"]:
            profile = seeing * row["flux"]
        else:
            angle = row["position_angle"] * galsim.degrees
            disc = galsim.Exponential(half_light_radius=row["disc_radius"], flux=1.0 - row["bulge_fraction"])
            bulge = galsim.DeVaucouleurs(half_light_radius=row["bulge_radius"], flux=row["bulge_fraction"])
            both = disc.shear(q=row["axis_ratio"], beta=angle)
            both += bulge.shear(q=row["bulge_axis_ratio"], beta=angle)
            if lensed:
                shear = row["gamma1"], row["gamma2"], row["kappa"]
                g1, g2 = (float(g[0]) for g in reduced_shear(*shear))
                # The flux of the table is the lensed one.
                both = both.shear(g1=g1, g2=g2).dilate(math.sqrt(float(magnification(*shear)[0])))
            profile = galsim.Convolve(both * row["flux"], seeing, gsparams=gsparams)
        n = profile.getGoodImageSize(pixel_scale)
        x, y = float(row["x"]), float(row["y"])
        ix, iy = round(x), round(y)
        bounds = galsim.BoundsI(ix - n // 2, ix + n // 2, iy - n // 2, iy + n // 2) & canvas.bounds
        if bounds.isDefined():
            profile.drawImage(image=canvas[bounds], center=galsim.PositionD(x, y), add_to_image=True)
        if progress is not None and (i % 500 == 499 or i == len(galaxies) - 1):
            progress(i + 1, len(galaxies))
    return image


def draw_profiles(
    image: np.ndarray,
    profiles: Profiles,
    stamps: np.ndarray,
    psf: PsfModel,
    pixel_scale: float,
    progress: ProgressCallback | None = None,
) -> None:
    """Add galaxies to an image by transforms, those of one stamp size at a time.

    Parameters
    ----------
    image
        Added to; shape (height, width), float64.
    profiles
        The galaxies, positions relative to the first pixel. Those whose stamp does not reach
        the image cost nothing.
    stamps
        Width of the stamp of each, even, pixels, shape (n,).
    psf
        The PSF.
    pixel_scale
        Size of a pixel, arcsec.
    progress
        Called now and then with the number of galaxies done and in all.
    """
    import scipy.fft

    from ._kernels import add_stamps, fill_transforms

    height, width = image.shape
    ix, iy = np.rint(profiles.x).astype(np.int64), np.rint(profiles.y).astype(np.int64)
    half = stamps // 2
    reaches = (ix - half < width) & (ix + half > 0) & (iy - half < height) & (iy + half > 0)
    total = int(np.count_nonzero(reaches))
    done = 0
    for n in np.unique(stamps[reaches]).tolist():
        rows = np.flatnonzero(reaches & (stamps == n))
        modes = Modes.make(psf, n, pixel_scale, _TRANSFORM_ACCURACY)
        for part in np.array_split(rows, max(1, math.ceil(len(rows) * n**2 / _BATCH_PIXELS))):
            spectrum = np.empty((len(part), n, n // 2 + 1), dtype=np.complex128)
            fill_transforms(
                spectrum,
                profiles.forms[part],
                (profiles.x - ix)[part] * pixel_scale,
                (profiles.y - iy)[part] * pixel_scale,
                modes.kx,
                modes.ky,
                modes.values,
                modes.alias_index,
                modes.alias_k,
                modes.alias_values,
                *bulge_table(),
            )
            add_stamps(image, scipy.fft.irfft2(spectrum, s=(n, n), overwrite_x=True), ix[part], iy[part])
            done += len(part)
            if progress is not None:
                progress(done, total)
