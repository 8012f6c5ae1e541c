# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Exposures written by lsst.afw, read without lsst.afw.

The pixels lie in three image HDUs: ``IMAGE``, ``MASK`` and ``VARIANCE``, told
by ``EXTNAME``, in files before 2016 only by ``EXTTYPE``, or by their order.
PSF, filter and photometric calibration lie in an archive of tables: an index
table says for each object its class and which rows of which table hold it.
Only what needs no compiled code is read of it: PSFs that are Gaussians or one
kernel, the filter and the photometric calibration.
"""

from __future__ import annotations

__all__ = (
    "AfwArchive",
    "LegacyPsfError",
    "UnreadablePsfError",
    "is_afw",
    "read_afw",
)

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import astropy.io.fits
import astropy.units as u
import numpy as np

from lsst.images import (
    Box,
    Mask,
    MaskedImage,
    MaskPlane,
    MaskSchema,
)
from lsst.images.psfs import GaussianPointSpreadFunction, PointSpreadFunction

from ._headers import parse_band, read_band, read_projection
from ._input_image import InputImage, Notes, ReadError
from ._pixels import find_unit, make_image, native_array, read_origin
from ._psf_sources import PsfSource
from .masks import legacy_mask_planes
from .psf import stack_kernels
from .zero_points import calibration_zero_point

_MAX_SIDE = 4096
"""Largest side of a kernel, pixels."""


class UnreadablePsfError(ValueError):
    """The file has no PSF, or one that cannot be read."""


class LegacyPsfError(UnreadablePsfError):
    """The PSF of the file needs lsst.afw."""


class AfwArchive:
    """Objects persisted beside the pixels of an lsst.afw exposure.

    Parameters
    ----------
    hdu_list
        The open file.
    """

    def __init__(self, hdu_list: astropy.io.fits.HDUList) -> None:
        self._hdu_list = hdu_list
        self._header = hdu_list[0].header
        self._first: int | None = None
        self._index: Any = None
        # AR_HDU counts from 1.
        first = self._header.get("AR_HDU")
        if isinstance(first, int) and 1 < first <= len(hdu_list) and not hdu_list[first - 1].is_image:
            self._first = first - 1
            self._index = hdu_list[self._first].data

    def _find(self, component: str) -> tuple[str, Any] | None:
        """Class name and rows of a component of the exposure."""
        archive_id = self._header.get(f"ARCHIVE_ID_{component}", self._header.get(f"{component}_ID"))
        return None if archive_id is None else self._get(archive_id)

    def _get(self, archive_id: int) -> tuple[str, Any] | None:
        """Class name and rows of an object."""
        if self._first is None:
            return None
        # Archives have few objects; a loop is quick enough.
        for entry in self._index:
            if entry["id"] == archive_id and entry["cat.persistable"] == 0:
                table = self._hdu_list[self._first + int(entry["cat.archive"])].data
                start = int(entry["row0"])
                return str(entry["name"]).strip(), table[start : start + int(entry["nrows"])]
        return None

    @property
    def psf_name(self) -> str | None:
        """Class of the PSF in the file (`str` or `None`)."""
        found = self._find("PSF")
        return None if found is None else found[0]

    def read_psf(self, box: Box) -> PointSpreadFunction | np.ndarray:
        """Read the PSF, valid in a box of parent pixels: the model, or its image (odd, odd).

        Raises `LegacyPsfError` if it is one that only lsst.afw reads, `UnreadablePsfError` if there is none
        or it is damaged.
        """
        found = self._find("PSF")
        if found is None:
            raise UnreadablePsfError("has no PSF")
        name, rows = found
        try:
            if name in ("GaussianPsf", "SingleGaussianPsf"):
                # Odd, as kernels of this package have a middle pixel.
                size = max(int(rows["dimensions_x"][0]), int(rows["dimensions_y"][0])) | 1
                return GaussianPointSpreadFunction(float(rows["sigma"][0]), bounds=box, stamp_size=size)
            if name == "DoubleGaussianPsf":
                return _double_gaussian(rows)
            if name == "KernelPsf":
                return self._read_kernel(int(rows["kernel"][0]))
        except LegacyPsfError:
            raise
        except (KeyError, IndexError, ValueError) as err:
            raise UnreadablePsfError(f"its {name} is damaged ({err})") from err
        raise LegacyPsfError(f"its PSF is a {name}")

    def _read_kernel(self, archive_id: int) -> np.ndarray:
        """Image of a kernel that is the same all over the image."""
        found = self._get(archive_id)
        if found is None:
            raise ValueError("its kernel is missing")
        name, rows = found
        width, height = int(rows["dimensions_x"][0]), int(rows["dimensions_y"][0])
        center = int(rows["center_x"][0]), int(rows["center_y"][0])
        if not (0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE):
            raise ValueError(f"its kernel has {width} × {height} pixels")
        if name == "FixedKernel":
            kernel = np.asarray(rows["image"][0], dtype=float).reshape(height, width)
        # With spatial functions it differs over the image, which one array cannot hold.
        elif name == "AnalyticKernel" and "spatialfunctions" not in rows.names:
            x, y = np.meshgrid(np.arange(width) - center[0], np.arange(height) - center[1])
            kernel = self._evaluate(int(rows["kernelfunction"][0]), x, y)
        else:
            raise LegacyPsfError(f"its PSF is a KernelPsf with a {name}")
        if not np.isfinite(kernel).all():
            raise ValueError("its kernel is not finite")
        return stack_kernels([kernel], [center])[0]

    def _evaluate(self, archive_id: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Values of a function of two variables, whatever its normalisation."""
        found = self._get(archive_id)
        if found is None:
            raise ValueError("the function of its kernel is missing")
        # The last letter says whether it gives single or double precision.
        name, rows = found[0][:-1], found[1]
        if name == "GaussianFunction2":
            sigma1, sigma2, angle = (float(rows[key][0]) for key in ("sigma1", "sigma2", "angle"))
            along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
            _check_widths(sigma1, sigma2)
            return np.exp(-0.5 * ((along / sigma1) ** 2 + (across / sigma2) ** 2))
        if name == "DoubleGaussianFunction2":
            sigma1, sigma2, b = (float(rows[key][0]) for key in ("sigma1", "sigma2", "ampl2"))
            return _two_gaussians(np.square(x) + np.square(y), sigma1, sigma2, b)
        raise LegacyPsfError(f"its PSF is a KernelPsf of a {found[0]}")

    def read_calibration(self) -> float | None:
        """Read the mean of the photometric calibration: nJy for one unit of the pixels, if the file tells."""
        found = self._find("PHOTOCALIB")
        if found is not None and found[0] == "PhotoCalib" and len(found[1]):
            return float(found[1]["calibrationMean"][0])
        # Files of the first layout have a card instead.
        flux = self._header.get("FLUXMAG0")
        if isinstance(flux, int | float) and flux > 0.0:
            # Counts of a source of magnitude 0.
            return float((0.0 * u.ABmag).to_value(u.nJy)) / float(flux)
        return None

    def read_band(self) -> str | None:
        """Read the band from the filter label: its short name, or what its physical filter tells."""
        found = self._find("FILTER")
        if found is not None and found[0] == "FilterLabel" and len(found[1]):
            row = found[1][0]
            # The first flag says whether the band is set, the second the physical filter.
            if bool(row["flags"][0]):
                return str(row["band"]).strip() or None
            if bool(row["flags"][1]):
                return parse_band(str(row["physical"]))
        return None


def _double_gaussian(rows: Any) -> np.ndarray:
    """Image of a DoubleGaussianPsf."""
    width, height = int(rows["dimensions_x"][0]) | 1, int(rows["dimensions_y"][0]) | 1
    x = np.arange(width) - width // 2
    y = np.arange(height) - height // 2
    r2 = np.add.outer(np.square(y), np.square(x)).astype(np.float64)
    image = _two_gaussians(r2, *(float(rows[key][0]) for key in ("sigma1", "sigma2", "b")))
    return image / image.sum()


def _two_gaussians(r2: np.ndarray, sigma1: float, sigma2: float, b: float) -> np.ndarray:
    """Unit central amplitude of the inner Gaussian, b of the outer one, which may have no width if b is 0."""
    _check_widths(sigma1, sigma2 if b != 0.0 else sigma1)
    image = np.exp(-0.5 * r2 / sigma1**2)
    return image + b * np.exp(-0.5 * r2 / sigma2**2) if b != 0.0 else image


def _check_widths(*sigmas: float) -> None:
    if not all(sigma > 0.0 for sigma in sigmas):
        raise ValueError(f"widths {' and '.join(f'{sigma:g}' for sigma in sigmas)} pixels")


_PLANES = ("IMAGE", "MASK", "VARIANCE")
_MAX_BIT = 63
_NO_DATA = MaskPlane("NO_DATA", "The pixel is marked in a mask without named planes.")


def is_afw(hdu_list: astropy.io.fits.HDUList) -> bool:
    """Whether an open file has an image with a mask or a variance beside it, as lsst.afw writes them."""
    planes = _find_planes(hdu_list)
    return "IMAGE" in planes and len(planes) > 1


def read_afw(
    hdu_list: astropy.io.fits.HDUList,
    name: str,
    psf_source: PsfSource,
    open_file: Callable[[str], AbstractContextManager[astropy.io.fits.HDUList]],
) -> InputImage:
    """Read an exposure or masked image, with the PSF of the file unless the user gave another.

    ``name`` is for messages; ``open_file`` opens another file by its path.  Raises `ReadError` if the planes
    do not fit together, or the PSF is missing or needs lsst.afw, which does not import.
    """
    notes = Notes()
    planes = _find_planes(hdu_list)
    hdu = planes["IMAGE"]
    array = native_array(hdu, "the image plane", name)
    x0, y0 = read_origin(hdu.header)
    box = Box.from_shape(array.shape, start=(y0, x0))
    sky = read_projection(hdu.header, box, notes, hdu_list)
    archive = AfwArchive(hdu_list)
    mean = archive.read_calibration()
    calibration = None if mean is None else calibration_zero_point(mean)
    # A calibration tells more than BUNIT.
    unit = find_unit(hdu.header, notes) if calibration is None else u.nJy if mean == 1.0 else None
    image = make_image(array, box, unit, sky.projection)
    mask = _read_mask(planes.get("MASK"), box, name, notes)

    variance = None
    if "VARIANCE" in planes:
        pixels = native_array(planes["VARIANCE"], "the variance plane", name)
        if pixels.shape != array.shape:
            raise ReadError(f"{name}: image {array.shape} and variance {pixels.shape} differ in shape")
        # Planes of zeros are written by programs that know no variance.
        if (pixels != 0.0).any():
            variance = make_image(pixels, box, None if image.unit is None else image.unit**2, None)
        else:
            notes.decide("the variance plane is zero everywhere: the noise is estimated from the pixels")
    else:
        notes.append("no variance plane: the noise is estimated from the pixels")

    psf: PointSpreadFunction | np.ndarray | None = psf_source.read(name, box, sky, notes, None, open_file)
    if psf is not None:
        if archive.psf_name is not None:
            notes.append(f"the {archive.psf_name} of the file is replaced by the given PSF")
    else:
        psf = _read_psf(archive, hdu_list.filename(), name, box)
    band = archive.read_band() or read_band([hdu.header, hdu_list[0].header], notes)
    return InputImage(
        masked_image=MaskedImage(image, mask=mask, variance=variance),
        psf=psf,
        band=band,
        kind="afw",
        has_variance=variance is not None,
        notes=notes,
        decisive=notes.decisive,
        calibration=calibration,
    )


def _read_psf(archive: AfwArchive, path: str | None, name: str, box: Box) -> PointSpreadFunction | np.ndarray:
    """Read the PSF of the file, by lsst.afw if nothing else can and it is there."""
    from ..afw import read_legacy_psf
    from ..errors import UnusablePsfError

    try:
        return archive.read_psf(box)
    except LegacyPsfError as err:
        problem = f"{name}: {err}"
        try:
            if path is None:
                raise ImportError
            return read_legacy_psf(path, box)
        except ImportError:
            raise ReadError(
                f"{problem}, which takes lsst.afw to compute, and that does not import here; give an image "
                "of it with --psf FILE or its width with --psf-fwhm ARCSEC, or run where lsst.afw imports"
            ) from err
        except UnusablePsfError as error:
            raise ReadError(f"{problem}: {error}; give --psf FILE or --psf-fwhm ARCSEC") from error
    except UnreadablePsfError as err:
        raise ReadError(f"{name}: {err}; give --psf-fwhm ARCSEC") from err


def _find_planes(hdu_list: astropy.io.fits.HDUList) -> dict[str, Any]:
    """Return the HDUs that hold image, mask and variance, by plane."""
    images = [h for h in hdu_list if h.is_image and h.header.get("NAXIS", 0) > 0]
    for key in ("EXTNAME", "EXTTYPE"):
        found: dict[str, Any] = {}
        for hdu in images:
            label = str(hdu.header.get(key, "")).strip().upper()
            if label in _PLANES and label not in found:
                found[label] = hdu
        if "IMAGE" in found and len(found) > 1:
            return found
    # Old files name no HDUs; their masks have cards of planes.
    if (
        len(images) == 3
        and images[1].header.get("BITPIX", 0) > 0
        and any(keyword.startswith("MP_") for keyword in images[1].header)
    ):
        return dict(zip(_PLANES, images, strict=True))
    return {}


def _read_mask(hdu: Any, box: Box, name: str, notes: Notes) -> Mask:
    """Read a mask, renaming its planes; planes that lsst.images does not know keep their name."""
    if hdu is None:
        notes.append("no mask plane: no pixel is masked")
        return Mask(0, schema=MaskSchema([]), bbox=box)
    bits = native_array(hdu, "the mask plane", name)
    if bits.shape != box.shape:
        raise ReadError(f"{name}: image {tuple(box.shape)} and mask {bits.shape} differ in shape")
    if bits.dtype.kind not in "iu":
        raise ReadError(f"{name}: the mask plane holds {bits.dtype}, not integers")
    legacy = MaskPlane.read_legacy(hdu.header, strip=False)
    planes: list[tuple[MaskPlane, int]] = []
    for (legacy_name, plane), bit in zip(legacy_mask_planes(legacy).items(), legacy.values(), strict=True):
        if isinstance(bit, bool) or not isinstance(bit, int) or not 0 <= bit <= _MAX_BIT:
            raise ReadError(f"{name}: mask plane {legacy_name} has bit {bit!r}, not 0 to {_MAX_BIT}")
        planes.append((plane, bit))
    if not planes and bits.any():
        notes.decide(
            f"the mask has no named planes (MP_ cards): its nonzero pixels "
            f"({100.0 * (bits != 0).mean():.2g} %) are taken for pixels without data"
        )
        mask = Mask(0, schema=MaskSchema([_NO_DATA]), bbox=box)
        mask.set("NO_DATA", bits != 0)
        return mask
    mask = Mask(0, schema=MaskSchema([plane for plane, _ in planes]), bbox=box)
    for plane, bit in planes:
        # A plane beyond the width of the stored integers is set nowhere.
        if bit < 8 * bits.dtype.itemsize:
            mask.set(plane.name, ((bits >> bit) & 1).astype(bool))
    return mask
