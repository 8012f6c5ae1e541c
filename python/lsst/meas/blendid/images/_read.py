# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Opening a file, recognising its layout and reading it: by lsst.images here, or by another reader."""

from __future__ import annotations

__all__ = (
    "is_lsst_images",
    "read_image",
    "read_lsst_images",
)

import gzip
import io
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import IO

import astropy.io.fits
import numpy as np
from astropy.utils.exceptions import AstropyWarning

from lsst.images import MaskedImage
from lsst.images.psfs import PointSpreadFunction
from lsst.images.serialization import ArchiveReadError, read_archive
from lsst.resources import ResourcePath, ResourcePathExpression

from .._files import irregular_kind
from ._afw import is_afw, read_afw
from ._headers import SkyPlacement, projection_scale, read_band
from ._input_image import HduKey, InputImage, Notes, PlaneFile, PlaneSource, ReadError
from ._pixels import check_pixels
from ._plain import read_plain
from ._psf_sources import PsfSource


def is_lsst_images(hdu_list: astropy.io.fits.HDUList) -> bool:
    """Whether an open file was written by lsst.images, which puts its schema into ``DATAMODL``."""
    return "DATAMODL" in hdu_list[0].header


def _open_stream(path: str) -> IO[bytes]:
    """Open a file, unpacked if it is compressed as a whole."""
    stream = open(path, "rb")
    if stream.read(2) != b"\x1f\x8b":
        stream.seek(0)
        return stream
    with stream:
        stream.seek(0)
        with gzip.GzipFile(fileobj=stream) as unpacked:
            # The parts of an archive are read in any order, which gzip does badly.
            return io.BytesIO(unpacked.read())


def read_lsst_images(
    path: str,
    name: str,
    psf_source: PsfSource,
    header: astropy.io.fits.Header,
    open_file: Callable[[str], AbstractContextManager[astropy.io.fits.HDUList]],
) -> InputImage:
    """Read any masked image that lsst.images has a schema for; a coadd or visit image keeps its class.

    ``psf_source`` is where the PSF comes from, by default the file; the primary header may tell the band.
    Raises `ReadError` if the file holds something else than a masked image, or the PSF is missing.
    """
    # A stream, as a path would be taken for a URI.
    with _open_stream(path) as stream:
        obj = read_archive(stream, format="fits")
    if not isinstance(obj, MaskedImage):
        raise ReadError(
            f"{name}: holds an lsst.images {type(obj).__name__}; "
            "a MaskedImage, VisitImage or CellCoadd is needed (or --hdu IMAGE for its bare pixels)"
        )
    notes = Notes()
    sky = SkyPlacement()
    if obj.sky_projection is not None:
        sky = SkyPlacement(obj.sky_projection, projection_scale(obj.sky_projection, obj.bbox))
    else:
        notes.decide("no celestial WCS: ra and dec are NaN")
    psf: PointSpreadFunction | np.ndarray | None = psf_source.read(
        name, obj.bbox, sky, notes, None, open_file
    )
    if psf is not None:
        if getattr(type(obj), "psf", None) is not None:
            notes.append("the PSF of the file is replaced by the given one")
    else:
        try:
            psf = getattr(obj, "psf", None)
        except ArchiveReadError as err:
            raise ReadError(f"{name}: its PSF cannot be read ({err}); give --psf-fwhm ARCSEC") from err
        if psf is None:
            raise ReadError(f"{name}: a {type(obj).__name__} has no PSF; give --psf-fwhm ARCSEC")
    band = getattr(obj, "band", None)
    return InputImage(
        masked_image=obj,
        psf=psf,
        band=band if isinstance(band, str) and band else read_band([header], notes),
        kind="lsst.images",
        has_variance=True,
        notes=notes,
        decisive=notes.decisive,
    )


def read_image(
    uri: ResourcePathExpression,
    *,
    psf_fwhm: float | None = None,
    pixel_scale: float | None = None,
    hdu: HduKey | None = None,
    psf: HduKey | PlaneFile | None = None,
    variance: PlaneSource = None,
    error: PlaneSource = None,
    weight: PlaneSource = None,
    mask: PlaneSource = None,
    mask_bits: int | None = None,
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
    psf
        Image of the PSF instead of ``psf_fwhm``: another file, or an HDU of
        this one if it is plain.
    variance, error, weight
        One of them: variance, standard deviation, or inverse variance of the
        pixels of a plain image, the last up to a factor, which is taken from
        the pixels.
    mask
        Mask of a plain image.
    mask_bits
        Sum of the values of the bits of the mask that mark bad pixels; by
        default all.

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
    for label, value in (("PSF FWHM", psf_fwhm), ("pixel scale", pixel_scale)):
        if value is not None and not 0.0 < value < float("inf"):
            raise ReadError(f"{label} is {value:g} arcsec; it must be positive and finite")
    if psf is not None and psf_fwhm is not None:
        raise ReadError("give --psf-fwhm or an image of the PSF, not both")
    planes: dict[str, PlaneSource] = {"variance": variance, "error": error, "weight": weight, "mask": mask}
    psf_source = PsfSource(psf_fwhm, pixel_scale, psf)
    with _local_path(uri) as (path, name), _read_errors(name):
        with _open(path, name) as hdu_list:
            by_lsst_images = is_lsst_images(hdu_list)
            has_layout = by_lsst_images or is_afw(hdu_list)
            if hdu is not None or not has_layout:
                image = read_plain(
                    hdu_list,
                    name,
                    psf_source,
                    hdu,
                    planes=planes,
                    mask_bits=mask_bits,
                    # The masks of these layouts mark more than what is bad.
                    automatic=not has_layout,
                    open_file=_open_other,
                )
                return check_pixels(image, name)
            given = [role for role, source in planes.items() if source is not None]
            given += [] if mask_bits is None else ["mask-bits"]
            if given:
                raise ReadError(
                    f"{name}: --{given[0]} is for plain images, and this one brings its own planes; "
                    "leave it out, or choose the pixels with --hdu"
                )
            if psf is not None and not isinstance(psf, PlaneFile):
                raise ReadError(f"{name}: --psf must be a file here; it is none of the plain images")
            if not by_lsst_images:
                return check_pixels(read_afw(hdu_list, name, psf_source, _open_other), name)
            header = hdu_list[0].header
        return check_pixels(read_lsst_images(path, name, psf_source, header, _open_other), name)


@contextmanager
def _open_other(uri: str) -> Iterator[astropy.io.fits.HDUList]:
    """Open a file that belongs to an image."""
    with _local_path(uri) as (path, name), _read_errors(name), _open(path, name) as hdu_list:
        yield hdu_list


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
    """Open a file, read all headers and refuse it if pixels are cut off, of which astropy only warns."""
    if kind := irregular_kind(path):
        raise ReadError(f"{name}: is {kind}, which may have no end; copy it into a file")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            hdu_list = astropy.io.fits.open(path, mode="readonly")
        except OSError as err:
            if "Empty or corrupt" in str(err) and _is_compressed(path):
                raise EOFError from err
            raise
        try:
            len(hdu_list)
        except BaseException:
            hdu_list.close()
            raise
    with hdu_list:
        if any("truncated" in str(warning.message) for warning in caught) and _lacks_pixels(hdu_list, path):
            raise ReadError(f"{name}: is truncated; copy or download it again")
        yield hdu_list


def _is_compressed(path: str) -> bool:
    """Whether a file starts as gzip, bzip2 or xz do."""
    with open(path, "rb") as stream:
        return stream.read(6).startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ"))


def _lacks_pixels(hdu_list: astropy.io.fits.HDUList, path: str) -> bool:
    """Whether more is missing at the end of a file than what fills its last block up."""
    last = hdu_list[-1]
    end = last.fileinfo()["datLoc"] + last.size
    return os.path.getsize(path) < end


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
