# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Images written by lsst.images."""

from __future__ import annotations

__all__ = ("is_lsst_images", "read_lsst_images")

import gzip
import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import IO

import astropy.io.fits
import numpy as np

from lsst.images import MaskedImage
from lsst.images.psfs import PointSpreadFunction
from lsst.images.serialization import ArchiveReadError, read_archive

from ._band import read_band
from ._input_image import InputImage, Notes, ReadError
from ._pixels import PsfSource
from ._wcs import SkyPlacement, projection_scale


def is_lsst_images(hdu_list: astropy.io.fits.HDUList) -> bool:
    """Whether an open file was written by lsst.images, which puts its schema into ``DATAMODL``."""
    return "DATAMODL" in hdu_list[0].header


def _open(path: str) -> IO[bytes]:
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
    """Read any masked image that lsst.images has a schema for.

    Parameters
    ----------
    path
        Path of the file.
    name
        Its name, for messages.
    psf_source
        Where the PSF comes from; by default the file.
    header
        Primary header, which may tell the band.
    open_file
        Opens another file by its path.

    Returns
    -------
    image
        The image; a coadd or visit image keeps its class.

    Raises
    ------
    ReadError
        Raised if the file holds something else than a masked image, or the
        PSF is missing.
    """
    # A stream, as a path would be taken for a URI.
    with _open(path) as stream:
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
