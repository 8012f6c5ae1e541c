# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The PSF of an image: from a seeing, or an image of it in a file."""

from __future__ import annotations

__all__ = (
    "PsfSource",
    "make_psf",
    "prepare_psf",
)

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import astropy.io.fits
import numpy as np
from scipy.ndimage import shift

from lsst.images import Box

from ._headers import SkyPlacement
from ._input_image import HduKey, Notes, PlaneFile, ReadError
from ._pixels import find_hdu, native_array, squeezed_shape
from .psf import FWHM_PIXELS, adaptive_sigma, kolmogorov_kernel

_OFF_CENTRE = 0.05
"""Distance of the PSF from the middle of a pixel that is mended, pixels."""

_RIM = 0.02
"""Level on the rim, as a share of the peak, from which on it is told."""


def prepare_psf(array: np.ndarray, name: str, notes: Notes) -> np.ndarray:
    """Make a kernel, sum 1 and odd sides, of the image of a PSF: its centre in that of the middle pixel.

    ``name`` is for messages, and what was done is noted.  Raises `ReadError` if it is no image of a PSF.
    """
    psf = array.astype(np.float64)
    if not np.isfinite(psf).all():
        raise ReadError(f"{name}: the PSF has pixels that are not finite; set them to 0")
    if min(psf.shape) < 3:
        raise ReadError(
            f"{name}: a PSF of {psf.shape[1]} × {psf.shape[0]} pixels is too small; give at least 3 × 3"
        )
    if not psf.sum() > 0.0 or not psf.max() > 0.0:
        raise ReadError(
            f"{name}: the PSF has no positive sum; give an image of a star without its background"
        )
    y, x = _centre(psf)
    whole_y, whole_x = round(y), round(x)
    if max(abs(y - whole_y), abs(x - whole_x)) > _OFF_CENTRE:
        # By cubic splines: of a sampled PSF little is lost, and a kernel off its middle would move every
        # peak.
        psf = shift(psf, (whole_y - y, whole_x - x), order=3, mode="constant")
        notes.append(
            f"the PSF of {name} is moved by ({whole_x - x:.2f}, {whole_y - y:.2f}) pixels onto a pixel"
        )
    # As much as is known on all four sides.
    half = min(whole_y, whole_x, psf.shape[0] - 1 - whole_y, psf.shape[1] - 1 - whole_x)
    if half < 1:
        raise ReadError(
            f"{name}: the brightest pixel of the PSF is on its rim; give an image with it in the middle"
        )
    if psf.shape != (2 * half + 1, 2 * half + 1):
        psf = psf[whole_y - half : whole_y + half + 1, whole_x - half : whole_x + half + 1]
        notes.append(f"the PSF of {name} is cut to {2 * half + 1} × {2 * half + 1} pixels about its centre")
    psf = psf / psf.sum()
    try:
        sigma = adaptive_sigma(psf)
    except ValueError as err:
        raise ReadError(f"{name}: cannot be used as a PSF: {err}") from err
    # A wider one has no wings to measure a sky level on.
    if 2.0 * sigma > half:
        raise ReadError(
            f"{name}: the PSF is too wide for its image: a sigma of {sigma:.2f} pixels in {2 * half + 1} × "
            f"{2 * half + 1}; give a larger one, without background"
        )
    rim = np.concatenate([psf[0], psf[-1], psf[:, 0], psf[:, -1]])
    level = float(np.median(rim) / psf.max())
    if abs(level) > _RIM:
        notes.decide(
            f"the PSF of {name} has {100.0 * level:.1f} % of its peak on the rim; it may hold background, or "
            "be cut"
        )
    notes.append(f"PSF from {name}: sigma {sigma:.3f} pixels")
    return psf


def _centre(psf: np.ndarray) -> tuple[float, float]:
    """Centroid (y, x) of the core, under a Gaussian weight that follows it."""
    peak = np.unravel_index(int(np.argmax(psf)), psf.shape)
    y, x = (float(c) for c in peak)
    # The width of the weight is that of the core, by the area over half of the peak.
    width = max(1.0, float(np.sqrt(np.count_nonzero(psf > 0.5 * psf.max()) / np.pi)))
    # Weighted, as the plain centroid goes wherever the background leans.
    grid_y, grid_x = np.mgrid[: psf.shape[0], : psf.shape[1]]
    for _ in range(50):
        weight = psf * np.exp(-0.5 * ((grid_y - y) ** 2 + (grid_x - x) ** 2) / width**2)
        total = weight.sum()
        if not total > 0.0:
            break
        # The weighted shift is about half of the real one.
        dy, dx = (2.0 * float((weight * (grid - c)).sum() / total) for grid, c in ((grid_y, y), (grid_x, x)))
        y, x = (float(np.clip(c + d, 0, n - 1)) for c, d, n in ((y, dy, psf.shape[0]), (x, dx, psf.shape[1])))
        if max(abs(dy), abs(dx)) < 1e-6:
            break
    return y, x


def make_psf(
    name: str, psf_fwhm: float, pixel_scale: float | None, sky: SkyPlacement, notes: Notes
) -> np.ndarray:
    """Draw a Kolmogorov PSF of a seeing [arcsec] convolved with the pixel: sum 1, odd sides.

    ``pixel_scale`` [arcsec] is the user's, taken instead of that of the WCS; a difference is noted.  Raises
    `ReadError` if there is no pixel size or the width in pixels is absurd.
    """
    wcs_scale = sky.pixel_scale
    scale = pixel_scale if pixel_scale is not None else wcs_scale
    if scale is None:
        why = "has no WCS to take the pixel scale from"
        if sky.problem is not None:
            why = f"its WCS cannot be used ({sky.problem})"
        raise ReadError(f"{name}: {why}; give --pixel-scale ARCSEC")
    if pixel_scale is not None and wcs_scale is not None and abs(pixel_scale / wcs_scale - 1.0) > 0.02:
        notes.decide(
            f"the WCS has pixels of {wcs_scale:.4g} arcsec; the given {pixel_scale:g} arcsec are used"
        )
    # Rounded, so that the kernel does not depend on the last digits of a WCS.
    fwhm = round(psf_fwhm / scale, 6)
    if not FWHM_PIXELS[0] <= fwhm <= FWHM_PIXELS[1]:
        raise ReadError(
            f"{name}: a PSF FWHM of {psf_fwhm:g} arcsec is {fwhm:.3g} pixels of {scale:.4g} arcsec, not "
            f"{FWHM_PIXELS[0]:g} to {FWHM_PIXELS[1]:g}; check --psf-fwhm and --pixel-scale, both in arcsec"
        )
    return kolmogorov_kernel(fwhm)


@dataclass(frozen=True)
class PsfSource:
    """Where the user says that the PSF comes from.

    Parameters
    ----------
    fwhm
        Seeing in arcsec.
    pixel_scale
        Pixel size in arcsec; by default that of the WCS.
    image
        Image of the PSF: another file, or an HDU of the same.
    """

    fwhm: float | None = None
    pixel_scale: float | None = None
    image: HduKey | PlaneFile | None = None

    def read(
        self,
        name: str,
        box: Box,
        sky: SkyPlacement,
        notes: Notes,
        hdu_list: astropy.io.fits.HDUList | None,
        open_file: Callable[[str], AbstractContextManager[astropy.io.fits.HDUList]],
    ) -> np.ndarray | None:
        """Read or make the PSF of a box of pixels: a kernel of sum 1 and odd sides, `None` if there is none.

        The HDU ``PSF`` of an open file is taken where the user gave nothing; what was done is noted.  Raises
        `ReadError` if what was given cannot be used.
        """
        if self.fwhm is not None:
            return make_psf(name, self.fwhm, self.pixel_scale, sky, notes)
        if isinstance(self.image, PlaneFile):
            with open_file(self.image.path) as other:
                hdu = self._find(other, self.image.hdu, self.image.path)
                return prepare_psf(native_array(hdu, "the PSF", self.image.path), self.image.path, notes)
        if hdu_list is None:
            return None
        if self.image is not None:
            hdu = self._find(hdu_list, self.image, name)
        else:
            found = [h for h in hdu_list if h.is_image and h.name.upper() == "PSF" and len(h.shape) == 2]
            if not found:
                return None
            hdu = found[0]
            # An HDU of that name as large as the image is something else.
            if min(hdu.shape) >= min(box.shape):
                return None
        return prepare_psf(native_array(hdu, "the PSF", name), f"HDU {hdu.name}".strip(), notes)

    @staticmethod
    def _find(hdu_list: astropy.io.fits.HDUList, key: HduKey | None, name: str) -> Any:
        """HDU with the image of the PSF."""
        if key is not None:
            return find_hdu(hdu_list, key, name)
        images = [h for h in hdu_list if h.is_image and len(squeezed_shape(h.shape)) == 2]
        if not images:
            kind = "a model of PSFEx" if any(h.name == "PSF_DATA" for h in hdu_list) else "no image"
            raise ReadError(f"{name}: holds {kind}; --psf needs a two-dimensional image of the PSF")
        return images[0]
