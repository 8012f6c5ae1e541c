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
large enough, and transforms the whole stack back; it is an order of magnitude
faster. Both sample the image of the pixel-integrated profile at the pixel centres.
"""

from __future__ import annotations

__all__ = ("ProgressCallback", "draw_galaxies", "kolmogorov_psf")

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from astropy.table import Table

from ..psf import kolmogorov_kernel
from ._errors import SimulationError, import_galsim

type ProgressCallback = Callable[[int, int], None]
"""Called with the number of galaxies drawn and their total."""

# Kolmogorov PSF: transform exp(-(k/k0)^(5/3)); k0 times the FWHM is the number of `.psf.kolmogorov_kernel`.
_K0_TIMES_FWHM = 2.992934 * 0.975865
# A PSF of fewer pixels is undersampled: frequencies that the stamps do not have would matter.
_MIN_FWHM_PIXELS = 2.5
# Its wings: I(r) → 0.142316 k0^(-5/3) r^(-11/3), from the first term of the transform.
_WING = 0.142316
# Scale radius of an exponential disc of half-light radius 1.
_DISC_SCALE = 1.0 / 1.6783469900166605
# A stamp ends where the surface brightness of its galaxy is this share of the noise.
_EDGE = 0.005
_STAMPS = (32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048)
_BATCH_PIXELS = 1 << 21


def kolmogorov_psf(fwhm: float, pixel_scale: float, size: int = 41) -> np.ndarray:
    """Draw a Kolmogorov PSF convolved with the pixel, centred on a pixel.

    Parameters
    ----------
    fwhm
        FWHM before the pixel, arcsec.
    pixel_scale
        Size of a pixel, arcsec.
    size
        Width of the image, odd, pixels.

    Returns
    -------
    image
        Image of shape (size, size), float64, with sum 1.

    Raises
    ------
    SimulationError
        Raised if the size is not odd, or the PSF is undersampled or too wide
        (`~lsst.meas.blendid.psf.kolmogorov_kernel`).
    """
    _check_sampling(fwhm, pixel_scale)
    try:
        return kolmogorov_kernel(fwhm / pixel_scale, size)
    except ValueError as err:
        raise SimulationError(str(err)) from None


def _check_sampling(fwhm: float, pixel_scale: float) -> None:
    """Raise for a PSF that pixels of this size do not sample."""
    if not fwhm / pixel_scale >= _MIN_FWHM_PIXELS * (1.0 - 1e-9):
        raise SimulationError(
            f"a PSF of FWHM {fwhm:g} arcsec is undersampled by pixels of {pixel_scale:g} arcsec; "
            f"at least {_MIN_FWHM_PIXELS:g} pixels are needed: use smaller pixels or more seeing"
        )


def draw_galaxies(
    galaxies: Table,
    *,
    size: tuple[int, int],
    fwhm: float,
    pixel_scale: float,
    noise: float,
    engine: str = "fourier",
    progress: ProgressCallback | None = None,
) -> np.ndarray:
    """Draw galaxies and stars into one image.

    Parameters
    ----------
    galaxies
        Complete table (see `~lsst.meas.blendid.simulation.galaxies.complete_galaxies`),
        ``x`` and ``y`` relative to the first pixel of the image.
    size
        Width and height of the image, pixels.
    fwhm
        FWHM of the Kolmogorov PSF, arcsec.
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
        Raised for an engine that does not exist, or a PSF narrower than 2.5
        pixels.
    MissingGalSimError
        Raised if GalSim is not installed.
    """
    _check_sampling(fwhm, pixel_scale)
    galsim = import_galsim()
    image = np.zeros((size[1], size[0]))
    if engine == "galsim":
        _draw_with_galsim(galsim, image, galaxies, fwhm, pixel_scale, progress)
    elif engine == "fourier":
        _draw_with_fourier(image, galaxies, fwhm, pixel_scale, noise, progress)
    else:
        raise SimulationError(f"unknown drawing engine {engine!r}; known engines: fourier, galsim")
    return image


def _draw_with_galsim(
    galsim: Any,
    image: np.ndarray,
    galaxies: Table,
    fwhm: float,
    pixel_scale: float,
    progress: ProgressCallback | None,
) -> None:
    """Add galaxies to ``image`` with GalSim, one by one."""
    gsparams = galsim.GSParams(folding_threshold=1e-4, maxk_threshold=1e-4, maximum_fft_size=16384)
    psf = galsim.Kolmogorov(fwhm=fwhm, gsparams=gsparams)
    canvas = galsim.ImageD(image, xmin=0, ymin=0, scale=pixel_scale)
    for i, row in enumerate(galaxies):
        if row["is_star"]:
            profile = psf * row["flux"]
        else:
            angle = row["position_angle"] * galsim.degrees
            disc = galsim.Exponential(half_light_radius=row["disc_radius"], flux=1.0 - row["bulge_fraction"])
            bulge = galsim.DeVaucouleurs(half_light_radius=row["bulge_radius"], flux=row["bulge_fraction"])
            both = disc.shear(q=row["axis_ratio"], beta=angle)
            both += bulge.shear(q=row["bulge_axis_ratio"], beta=angle)
            profile = galsim.Convolve(both * row["flux"], psf, gsparams=gsparams)
        n = profile.getGoodImageSize(pixel_scale)
        x, y = float(row["x"]), float(row["y"])
        ix, iy = round(x), round(y)
        bounds = galsim.BoundsI(ix - n // 2, ix + n // 2, iy - n // 2, iy + n // 2) & canvas.bounds
        if bounds.isDefined():
            profile.drawImage(image=canvas[bounds], center=galsim.PositionD(x, y), add_to_image=True)
        if progress is not None and (i % 500 == 499 or i == len(galaxies) - 1):
            progress(i + 1, len(galaxies))


def _draw_with_fourier(
    image: np.ndarray,
    galaxies: Table,
    fwhm: float,
    pixel_scale: float,
    noise: float,
    progress: ProgressCallback | None,
) -> None:
    """Add galaxies to ``image``, those of one stamp size at a time."""
    import scipy.fft

    from ._kernels import add_stamps, fill_transforms

    parameters = _transform_parameters(galaxies)
    x, y = np.asarray(galaxies["x"], dtype=np.float64), np.asarray(galaxies["y"], dtype=np.float64)
    ix, iy = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
    stamp = _stamp_sizes(galaxies, fwhm, pixel_scale, noise)
    table, table_start, table_step = _bulge_table()
    done = 0
    for n in np.unique(stamp):
        rows = np.flatnonzero(stamp == n)
        psf = _psf_transform(int(n), fwhm, pixel_scale)
        kx = 2.0 * np.pi * np.fft.rfftfreq(n, pixel_scale)
        ky = 2.0 * np.pi * np.fft.fftfreq(n, pixel_scale)
        for part in np.array_split(rows, max(1, math.ceil(len(rows) * int(n) ** 2 / _BATCH_PIXELS))):
            dx, dy = (x - ix)[part] * pixel_scale, (y - iy)[part] * pixel_scale
            spectrum = np.empty((len(part), len(ky), len(kx)), dtype=np.complex64)
            fill_transforms(spectrum, parameters[part], dx, dy, kx, ky, psf, table, table_start, table_step)
            stamps = scipy.fft.irfft2(spectrum, s=(n, n), overwrite_x=True)
            add_stamps(image, stamps, ix[part], iy[part])
            done += len(part)
            if progress is not None:
                progress(done, len(galaxies))


def _psf_transform(n: int, fwhm: float, pixel_scale: float) -> np.ndarray:
    """Transform of PSF ⊗ pixel on the half-plane grid of `numpy.fft.rfft2`, (n, n // 2 + 1)."""
    fx, fy = np.fft.rfftfreq(n), np.fft.fftfreq(n)
    k = 2.0 * np.pi / pixel_scale * np.hypot(fx[None, :], fy[:, None])
    k0 = _K0_TIMES_FWHM / fwhm
    return np.exp(-((k / k0) ** (5.0 / 3.0))) * np.sinc(fx)[None, :] * np.sinc(fy)[:, None]


def _transform_parameters(galaxies: Table) -> np.ndarray:
    """Parameters of the transforms of galaxies.

    Returns
    -------
    parameters
        Shape (n, 8): flux of the disc; its scale radii along the major and minor
        axis; flux of the bulge; its half-light radii along the axes; cosine and sine
        of the position angle. A star is a disc of radius 0.
    """
    col = {name: np.asarray(galaxies[name], dtype=np.float64) for name in galaxies.colnames}
    disc_axis, bulge_axis = np.sqrt(col["axis_ratio"]), np.sqrt(col["bulge_axis_ratio"])
    angle = np.deg2rad(col["position_angle"])
    return np.stack(
        [
            col["flux"] * (1.0 - col["bulge_fraction"]),
            col["disc_radius"] * _DISC_SCALE / disc_axis,
            col["disc_radius"] * _DISC_SCALE * disc_axis,
            col["flux"] * col["bulge_fraction"],
            col["bulge_radius"] / bulge_axis,
            col["bulge_radius"] * bulge_axis,
            np.cos(angle),
            np.sin(angle),
        ],
        axis=1,
    )


def _stamp_sizes(galaxies: Table, fwhm: float, pixel_scale: float, noise: float) -> np.ndarray:
    """Width of the stamp of each galaxy, pixels, shape (n,).

    At half the width the sum of the PSF's wing, and of the disc and the bulge along
    the major axis, is at most `_EDGE` of the noise.
    """
    p = _transform_parameters(galaxies)
    flux = p[:, 0] + p[:, 3]
    wing = _WING * (_K0_TIMES_FWHM / fwhm) ** (-5.0 / 3.0)
    out = np.full(len(p), _STAMPS[-1])
    left = np.ones(len(p), dtype=bool)
    for n in _STAMPS:
        # The PSF widens the profiles by about its own width.
        r = 0.5 * n * pixel_scale
        inner = max(r - 0.5 * fwhm, 0.1 * r)
        bright = flux * wing * inner ** (-11.0 / 3.0)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            disc = p[:, 0] / (2.0 * np.pi * p[:, 1] * p[:, 2]) * np.exp(-inner / p[:, 1])
            # De Vaucouleurs: I(r) = L b^8 / (8! π r_e²) exp(-b (r/r_e)^¼), b = 7.66925.
            norm = 7.66924944**8 / (math.factorial(8) * math.pi)
            bulge = p[:, 3] * norm / (p[:, 4] * p[:, 5]) * np.exp(-7.66924944 * (inner / p[:, 4]) ** 0.25)
        bright = bright + np.nan_to_num(disc, nan=0.0, posinf=0.0) + np.nan_to_num(bulge, nan=0.0, posinf=0.0)
        fits = left & (bright * pixel_scale**2 <= _EDGE * noise)
        out[fits] = n
        left &= ~fits
    return out


@functools.lru_cache
def _bulge_table() -> tuple[np.ndarray, float, float]:
    """Transform of a de Vaucouleurs profile of flux 1 and half-light radius 1.

    Returns
    -------
    values, start, step
        Values, shape (n,), at ln k = start + i · step; below the table it is 1.
    """
    galsim = import_galsim()
    profile = galsim.DeVaucouleurs(half_light_radius=1.0)
    ln_k = np.linspace(math.log(1e-4), math.log(1e5), 4096)
    values = np.array([profile.kValue(math.exp(v), 0.0).real for v in ln_k])
    return values, float(ln_k[0]), float(ln_k[1] - ln_k[0])
