# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Opening a file, recognising its layout and handing it to the right reader."""

from __future__ import annotations

__all__ = ("read_image",)

import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import astropy.io.fits
from astropy.utils.exceptions import AstropyWarning

from lsst.resources import ResourcePath, ResourcePathExpression

from ._afw import is_afw, read_afw
from ._input_image import InputImage, ReadError
from ._lsst_images import is_lsst_images, read_lsst_images
from ._pixels import check_pixels
from ._plain import read_plain


def read_image(
    uri: ResourcePathExpression,
    *,
    psf_fwhm: float | None = None,
    pixel_scale: float | None = None,
    hdu: int | str | tuple[str, int] | None = None,
) -> InputImage:
    """Read a FITS image with whatever mask, variance, PSF and WCS it has.

    Parameters
    ----------
    uri
        A file, or any URI that `lsst.resources` reads: an image written by
        lsst.images, an exposure written by lsst.afw (with or without
        ``EXTNAME`` cards), or a plain two-dimensional FITS image.
    psf_fwhm
        Full width at half maximum of the seeing in arcsec, taken as a
        Kolmogorov profile convolved with the pixel.  Needed where the file
        has no PSF that can be read; replaces the one of the file otherwise.
    pixel_scale
        Pixel size in arcsec; by default that of the file's WCS.
    hdu
        Index, ``EXTNAME``, or ``EXTNAME`` and ``EXTVER`` of the HDU to read as a plain image.

    Returns
    -------
    image
        The image with its PSF.

    Raises
    ------
    ReadError
        Raised, with one line that names the file and the remedy, if the file
        is missing, not readable, not FITS, truncated or of an unknown layout,
        if its pixels cannot be used (not two-dimensional, empty, nowhere
        finite, negative variance), and if the PSF or the pixel scale is
        missing.
    """
    for name, value in (("PSF FWHM", psf_fwhm), ("pixel scale", pixel_scale)):
        if value is not None and not 0.0 < value < float("inf"):
            raise ReadError(f"{name} is {value:g} arcsec; it must be positive and finite")
    with _local_path(uri) as (path, name), _read_errors(name):
        with _open(path, name) as hdu_list:
            if hdu is not None or not is_lsst_images(hdu_list):
                if hdu is None and is_afw(hdu_list):
                    image = read_afw(hdu_list, name, psf_fwhm, pixel_scale)
                else:
                    image = read_plain(hdu_list, name, psf_fwhm, pixel_scale, hdu)
                return check_pixels(image, name)
        return check_pixels(read_lsst_images(path, name, psf_fwhm, pixel_scale), name)


@contextmanager
def _local_path(uri: ResourcePathExpression) -> Iterator[tuple[str, str]]:
    """Path of a local copy of a file, and its name for messages."""
    # A path is no URI: it may hold '#' and '%'.
    if isinstance(uri, (str, Path)) and "://" not in str(uri):
        path = os.path.expanduser(str(uri))
        yield path, path
        return
    with ExitStack() as stack:
        try:
            resource = ResourcePath(uri)
            local = stack.enter_context(resource.as_local())
        except FileNotFoundError as err:
            raise ReadError(f"{uri}: no such file; check the path") from err
        except Exception as err:  # Each scheme has its own library with its own errors.
            raise ReadError(f"{uri}: cannot be fetched ({' '.join(str(err).split())[:300]})") from err
        yield local.ospath, str(uri)


@contextmanager
def _open(path: str, name: str) -> Iterator[astropy.io.fits.HDUList]:
    """Open a file, read all headers and refuse it if it is cut short, of which astropy only warns."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        hdu_list = astropy.io.fits.open(path, mode="readonly")
        try:
            len(hdu_list)
        except BaseException:
            hdu_list.close()
            raise
    with hdu_list:
        if any("truncated" in str(warning.message) for warning in caught):
            raise ReadError(f"{name}: is truncated; copy or download it again")
        yield hdu_list


@contextmanager
def _read_errors(name: str) -> Iterator[None]:
    """Turn what can go wrong in a file into a `ReadError` that names it."""
    try:
        with warnings.catch_warnings():
            # Blemishes of headers (odd units, obsolete WCS cards) are not for the user to mend.
            warnings.simplefilter("ignore", AstropyWarning)
            yield
    except ReadError:
        raise
    except FileNotFoundError as err:
        raise ReadError(f"{name}: no such file; check the path") from err
    except IsADirectoryError as err:
        raise ReadError(f"{name}: is a folder; give the FITS files in it") from err
    except PermissionError as err:
        raise ReadError(f"{name}: no permission to read it; change its mode or owner") from err
    except EOFError as err:
        raise ReadError(f"{name}: is truncated; copy or download it again") from err
    except MemoryError as err:
        raise ReadError(f"{name}: does not fit into memory") from err
    except Exception as err:
        # Damaged files fail anywhere in the FITS and JSON parsers, with any class.
        text = " ".join(str(err).split()) or type(err).__name__
        if "SIMPLE" in text or "Empty or corrupt" in text:
            raise ReadError(f"{name}: is not a FITS file; convert it to FITS") from err
        raise ReadError(
            f"{name}: is damaged or not supported ({text[:300]}); copy or download it again"
        ) from err
