# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The archive of tables in which lsst.afw keeps the parts of an exposure.

An index table says for each object its class and which rows of which table
hold it.  Only what needs no compiled code is read: Gaussian and
double-Gaussian PSFs and the filter.
"""

from __future__ import annotations

__all__ = ("AfwArchive", "UnreadablePsfError")

from typing import Any

import astropy.io.fits
import numpy as np

from lsst.images import Box
from lsst.images.psfs import GaussianPointSpreadFunction, PointSpreadFunction

from ._band import parse_band


class UnreadablePsfError(ValueError):
    """The file has no PSF, or one that needs lsst.afw."""


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
        if archive_id is None or self._first is None:
            return None
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
        """Read the PSF.

        Parameters
        ----------
        box
            Parent pixels of the image, where the PSF is valid.

        Returns
        -------
        psf
            The model, or its image of shape (odd, odd) and sum 1.

        Raises
        ------
        UnreadablePsfError
            Raised if there is none, or none that can be read.
        """
        found = self._find("PSF")
        if found is None:
            raise UnreadablePsfError("has no PSF")
        name, rows = found
        try:
            if name == "GaussianPsf":
                size = max(int(rows["dimensions_x"][0]), int(rows["dimensions_y"][0])) | 1
                return GaussianPointSpreadFunction(float(rows["sigma"][0]), bounds=box, stamp_size=size)
            if name == "DoubleGaussianPsf":
                return _double_gaussian(rows)
        except (KeyError, IndexError, ValueError) as err:
            raise UnreadablePsfError(f"its {name} is damaged ({err})") from err
        raise UnreadablePsfError(f"its PSF is a {name}, which only lsst.afw reads")

    def read_band(self) -> str | None:
        """Read the short name of the band.

        Returns
        -------
        band
            From the filter label: its band, or what its physical filter tells.
        """
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
    """Image of a DoubleGaussianPsf: unit central amplitude of the inner Gaussian, b of the outer one."""
    width, height = int(rows["dimensions_x"][0]) | 1, int(rows["dimensions_y"][0]) | 1
    sigma1, sigma2, b = (float(rows[key][0]) for key in ("sigma1", "sigma2", "b"))
    if sigma1 <= 0.0 or (b != 0.0 and sigma2 <= 0.0):
        raise ValueError(f"widths {sigma1:g} and {sigma2:g} pixels")
    x = np.arange(width) - width // 2
    y = np.arange(height) - height // 2
    r2 = np.add.outer(np.square(y), np.square(x)).astype(np.float64)
    image = np.exp(-0.5 * r2 / sigma1**2)
    if b != 0.0:
        image += b * np.exp(-0.5 * r2 / sigma2**2)
    return image / image.sum()
