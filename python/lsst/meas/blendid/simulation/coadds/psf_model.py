# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The PSF of simulated coadds: a round profile of one of several families, sheared."""

from __future__ import annotations

__all__ = (
    "MIN_FWHM_PIXELS",
    "Modes",
    "PsfModel",
    "kernel_size",
)

import dataclasses
import functools
import math
from typing import Any

import numpy as np

from ..._suggest import did_you_mean
from ...images.psf import KOLMOGOROV_K0_FWHM, kolmogorov_kernel
from ..config import PSF_PROFILES
from ..errors import SimulationError, import_galsim
from .psf_profiles import (
    OBSCURATION,
    WIDE_FACTOR,
    WIDE_SHARE,
    RadialProfile,
    double_gaussian_sigma,
    make_profile,
    moffat_radius,
    optics_widths,
)

MIN_FWHM_PIXELS = 2.0
"""A PSF of fewer pixels is undersampled."""

_MAX_SHEAR = 0.5
_BETAS = (1.5, 20.0)


@dataclasses.dataclass(frozen=True)
class PsfModel:
    """A PSF with an ellipticity, before the pixel."""

    fwhm: float
    """FWHM of the round profile, arcsec."""

    g1: float = 0.0
    """Reduced shear along the x axis; positive stretches along x. The area is kept."""

    g2: float = 0.0
    """Reduced shear along the diagonal; positive stretches along x = y."""

    profile: str = "kolmogorov"
    """Family of the round profile, one of `PSF_PROFILES`."""

    beta: float = 3.5
    """Steepness of the wings of a Moffat profile."""

    optics_share: float = 0.5
    """Diameter of the ring of ``optics`` in units of the FWHM of the turbulence."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.fwhm) and self.fwhm > 0.0):
            raise SimulationError(f"the FWHM of the PSF must be positive and finite, not {self.fwhm}")
        if not math.hypot(self.g1, self.g2) <= _MAX_SHEAR:
            raise SimulationError(
                f"the shear of the PSF must be at most {_MAX_SHEAR:g}, not ({self.g1:g}, {self.g2:g})"
            )
        if self.profile not in PSF_PROFILES:
            raise SimulationError(
                f"unknown PSF profile {self.profile!r}{did_you_mean(self.profile, PSF_PROFILES)}; there are "
                f"{', '.join(PSF_PROFILES)}"
            )
        if not _BETAS[0] <= self.beta <= _BETAS[1]:
            raise SimulationError(
                f"beta of a Moffat profile must be {_BETAS[0]:g} to {_BETAS[1]:g}, not {self.beta}"
            )
        if not 0.0 < self.optics_share <= 2.0:
            raise SimulationError(
                f"the ring of the optics must be at most twice the seeing, not {self.optics_share} times"
            )

    @property
    def is_round(self) -> bool:
        """Whether there is no shear."""
        return self.g1 == 0.0 and self.g2 == 0.0

    @property
    def _radial(self) -> RadialProfile:
        return make_profile(self.profile, self.beta, self.optics_share)

    @property
    def stretch(self) -> float:
        """Semi-major axis in units of that of the round profile."""
        g = math.hypot(self.g1, self.g2)
        return math.sqrt((1.0 + g) / (1.0 - g))

    def wing(self, radius: np.ndarray) -> np.ndarray:
        """Light per arcsec² of a PSF of flux 1 in its wings, along its major axis.

        Parameters
        ----------
        radius
            Distances from the centre, arcsec, of more than about a FWHM.

        Returns
        -------
        light
            Of the same shape.
        """
        return self._radial.light(radius / (self.fwhm * self.stretch)) / self.fwhm**2

    def transform(self, kx: np.ndarray, ky: np.ndarray) -> np.ndarray:
        """Fourier transform of the profile.

        Parameters
        ----------
        kx, ky
            Wave numbers, radians/arcsec, of shapes that broadcast.

        Returns
        -------
        transform
            Real, 1 at zero.
        """
        norm = 1.0 / math.sqrt(1.0 - self.g1**2 - self.g2**2)
        along = norm * ((1.0 + self.g1) * kx + self.g2 * ky)
        across = norm * (self.g2 * kx + (1.0 - self.g1) * ky)
        if self.profile == "kolmogorov":
            # Faster than a table, and exact.
            k0 = KOLMOGOROV_K0_FWHM / self.fwhm
            return np.exp(-(((along**2 + across**2) / k0**2) ** (5.0 / 6.0)))
        return self._radial.transform(self.fwhm * np.hypot(along, across))

    def max_frequency(self, threshold: float) -> float:
        """Wave number beyond which the transform is below a threshold, in every direction.

        Parameters
        ----------
        threshold
            Value of the transform, between 0 and 1.

        Returns
        -------
        k
            Radians/arcsec.
        """
        if self.profile == "kolmogorov":
            return self.stretch * KOLMOGOROV_K0_FWHM / self.fwhm * (-math.log(threshold)) ** 0.6
        return self.stretch * self._radial.max_frequency(threshold) / self.fwhm

    def check_sampling(self, pixel_scale: float) -> None:
        """Raise for a PSF that pixels do not sample.

        Parameters
        ----------
        pixel_scale
            Size of a pixel, arcsec.

        Raises
        ------
        SimulationError
            Raised if the FWHM, or that along the minor axis, is less than
            `MIN_FWHM_PIXELS`.
        """
        fwhm = self.fwhm / self.stretch
        if not fwhm / pixel_scale >= MIN_FWHM_PIXELS * (1.0 - 1e-9):
            raise SimulationError(
                f"a PSF of FWHM {fwhm:g} arcsec is undersampled by pixels of {pixel_scale:g} arcsec; "
                f"at least {MIN_FWHM_PIXELS:g} pixels are needed: use smaller pixels or more seeing"
            )

    def kernel(self, pixel_scale: float, size: int = 41) -> np.ndarray:
        """Draw the PSF convolved with the pixel, centred on a pixel.

        Parameters
        ----------
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
            (`~lsst.meas.blendid.images.psf.kolmogorov_kernel`).
        """
        self.check_sampling(pixel_scale)
        return _kernel(self, pixel_scale, size).copy()

    def galsim(self, gsparams: Any = None) -> Any:
        """Make the profile with GalSim.

        Parameters
        ----------
        gsparams
            `galsim.GSParams` (default: those of GalSim).

        Returns
        -------
        profile : `galsim.GSObject`
            The profile, of flux 1.

        Raises
        ------
        MissingGalSimError
            Raised if GalSim is not installed.
        """
        galsim = import_galsim()
        if self.profile == "moffat":
            radius = self.fwhm * moffat_radius(self.beta)
            profile = galsim.Moffat(beta=self.beta, scale_radius=radius, gsparams=gsparams)
        elif self.profile == "optics":
            width, radius = (self.fwhm * value for value in optics_widths(self.optics_share))
            hole = galsim.TopHat(OBSCURATION * radius, flux=OBSCURATION**2, gsparams=gsparams)
            ring = (galsim.TopHat(radius, gsparams=gsparams) - hole) / (1.0 - OBSCURATION**2)
            profile = galsim.Convolve(galsim.Kolmogorov(fwhm=width), ring, gsparams=gsparams)
        elif self.profile == "double-gaussian":
            sigma = self.fwhm * double_gaussian_sigma()
            profile = galsim.Gaussian(sigma=sigma, flux=1.0 - WIDE_SHARE, gsparams=gsparams)
            profile += galsim.Gaussian(sigma=WIDE_FACTOR * sigma, flux=WIDE_SHARE, gsparams=gsparams)
        else:
            profile = galsim.Kolmogorov(fwhm=self.fwhm, gsparams=gsparams)
        return profile if self.is_round else profile.shear(g1=self.g1, g2=self.g2)


@dataclasses.dataclass(frozen=True)
class Modes:
    """Fourier modes of a square stamp, and PSF ⊗ pixel at them.

    Sampling folds frequencies beyond that of Nyquist back: a mode has aliases, at
    wave numbers that differ from its own by multiples of 2π over the pixel.
    """

    kx: np.ndarray
    """Wave numbers along x, radians/arcsec, shape (n // 2 + 1,)."""

    ky: np.ndarray
    """Along y, shape (n,), in the order of `numpy.fft.fftfreq`."""

    values: np.ndarray
    """Transform of PSF ⊗ pixel, shape (n, n // 2 + 1)."""

    alias_index: np.ndarray
    """Row and column of the mode that an alias folds to, shape (m, 2), int64."""

    alias_k: np.ndarray
    """Its wave numbers (x, y), shape (m, 2)."""

    alias_values: np.ndarray
    """Transform of PSF ⊗ pixel there, shape (m,)."""

    @classmethod
    def make(cls, psf: PsfModel, n: int, pixel_scale: float, threshold: float) -> Modes:
        """Compute the modes of a stamp of even width ``n``, pixels.

        Aliases count up to the wave number, along x and along y, beyond which the transform of the PSF is
        less than ``threshold``, as in GalSim.
        """
        # Half of the plane along x: images are real, and their transforms conjugate.
        fx, fy = np.fft.rfftfreq(n), np.fft.fftfreq(n)
        unit = 2.0 * math.pi / pixel_scale
        # In cycles per pixel from here on.
        top = psf.max_frequency(threshold) / unit
        # How often frequencies of the PSF wrap around.
        fold = math.ceil(top - 0.5)
        index, at, values = [], [], []
        for my in range(-fold, fold + 1):
            rows = np.flatnonzero(np.abs(fy + my) <= top)
            for mx in range(-fold, fold + 1):
                columns = np.flatnonzero(np.abs(fx + mx) <= top)
                if (mx == 0 and my == 0) or not len(rows) or not len(columns):
                    continue
                iy, ix = (v.ravel() for v in np.meshgrid(rows, columns, indexing="ij"))
                value = _pixel_transform(psf, fx[ix] + mx, fy[iy] + my, unit)
                # Those in the corners of the square are fainter still.
                kept = np.abs(value) > 1e-3 * threshold
                index.append(np.stack([iy, ix], axis=1)[kept])
                at.append(unit * np.stack([fx[ix] + mx, fy[iy] + my], axis=1)[kept])
                values.append(value[kept])
        return cls(
            unit * fx,
            unit * fy,
            _pixel_transform(psf, fx[None, :], fy[:, None], unit),
            np.concatenate(index) if index else np.zeros((0, 2), dtype=np.int64),
            np.concatenate(at) if at else np.zeros((0, 2)),
            np.concatenate(values) if values else np.zeros(0),
        )


@functools.lru_cache(maxsize=256)
def _kernel(psf: PsfModel, pixel_scale: float, size: int) -> np.ndarray:
    """Draw the image of `PsfModel.kernel`."""
    if psf.is_round and psf.profile == "kolmogorov":
        try:
            return kolmogorov_kernel(psf.fwhm / pixel_scale, size)
        except ValueError as err:
            raise SimulationError(str(err)) from None
    if size < 1 or size % 2 == 0:
        raise SimulationError(f"the size of a PSF image must be odd and positive, not {size}")
    # The periodic copies of the wings are three sizes away.
    n = 1 << math.ceil(math.log2(max(4 * size, 32.0 * psf.fwhm / pixel_scale)))
    modes = Modes.make(psf, n, pixel_scale, 1e-9)
    # Sampling at pixel centres adds the aliases, as of any image.
    spectrum = modes.values.copy()
    np.add.at(spectrum, (modes.alias_index[:, 0], modes.alias_index[:, 1]), modes.alias_values)
    full = np.fft.fftshift(np.fft.irfft2(spectrum, s=(n, n)))
    low = n // 2 - size // 2
    kernel = full[low : low + size, low : low + size]
    return kernel / kernel.sum()


def _pixel_transform(psf: PsfModel, fx: np.ndarray, fy: np.ndarray, unit: float) -> np.ndarray:
    """Transform of PSF ⊗ pixel at frequencies in cycles per pixel."""
    return psf.transform(unit * fx, unit * fy) * np.sinc(fx) * np.sinc(fy)


def kernel_size(fwhm: float, pixel_scale: float) -> int:
    """Width of the PSF images of a coadd: 8 FWHM (arcsec, before the pixel), odd, but at least 41 pixels."""
    return max(41, 2 * math.ceil(4.0 * fwhm / pixel_scale) + 1)
