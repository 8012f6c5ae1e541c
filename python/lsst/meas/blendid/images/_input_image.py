# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What the readers return, and the error that they raise."""

from __future__ import annotations

__all__ = ("HduKey", "InputImage", "Notes", "PlaneFile", "PlaneSource", "ReadError")

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from lsst.images import MaskedImage
from lsst.images.psfs import PointSpreadFunction

from .zero_points import ab_zero_point

type HduKey = int | str | tuple[str, int]
"""An HDU: its index, its ``EXTNAME``, or ``EXTNAME`` and ``EXTVER``."""


@dataclass(frozen=True)
class PlaneFile:
    """An image in another file than the one that it belongs to.

    Parameters
    ----------
    path
        Path of the file.
    hdu
        HDU; by default the first two-dimensional image.
    """

    path: str
    hdu: HduKey | None = None


type PlaneSource = HduKey | PlaneFile | Literal[False] | None
"""Where a variance, a mask, … comes from: an HDU of the same file, another file, `False` for nowhere, `None`
for what is found by its usual name."""


class ReadError(ValueError):
    """A file that cannot be used; the message names it and says what to do."""


@dataclass(frozen=True)
class InputImage:
    """An image read from a file, ready for the task.

    Parameters
    ----------
    masked_image
        Image, mask and variance in parent pixels, with the sky projection if
        the file has one.  The concrete type is kept, so that a coadd stays a
        `~lsst.images.cells.CellCoadd`.
    psf
        The PSF of the file, or an image of it, shape (odd, odd), or several at different places, (n, odd,
        odd).
    band
        Short name of the band, if the file tells it.
    kind
        Which layout the file has.
    has_variance
        Whether the variance plane was measured.  If not it is filled with 1
        and the noise has to be estimated from the pixels.
    notes
        What was assumed or left out while reading, a sentence each.
    decisive
        Those of the notes that decide the result, which a user should see without asking.
    calibration
        AB magnitude of one unit of the pixels by the photometric calibration of the file, if it has one.
    """

    masked_image: MaskedImage
    psf: PointSpreadFunction | np.ndarray
    band: str | None
    kind: Literal["lsst.images", "afw", "plain"]
    has_variance: bool
    notes: list[str] = field(default_factory=list)
    decisive: list[str] = field(default_factory=list)
    calibration: float | None = None

    def find_zero_point(self, pixel_scale: float | None = None) -> float | None:
        """Tell the AB magnitude of one unit of the pixels.

        Parameters
        ----------
        pixel_scale
            Pixel size in arcsec, needed for units by solid angle.

        Returns
        -------
        zero_point
            That of the photometric calibration, else that of the unit; `None` if neither tells it.
        """
        if self.calibration is not None:
            return self.calibration
        return ab_zero_point(self.masked_image.unit, pixel_scale)

    @property
    def has_sky(self) -> bool:
        """Whether the sky background may still be in the pixels (`bool`)."""
        return self.kind == "plain" or not self.has_variance


class Notes(list[str]):
    """Notes about a file that is read.

    Attributes
    ----------
    decisive : `list` [`str`]
        Those that decide the result.
    """

    def __init__(self) -> None:
        super().__init__()
        self.decisive: list[str] = []

    def decide(self, text: str) -> None:
        """Add a note that decides the result.

        Parameters
        ----------
        text
            What it says.
        """
        self.append(text)
        self.decisive.append(text)
