# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Reading coadds from files: lsst.images, lsst.afw and plain FITS.

`read_image` opens any of them without lsst.afw and returns an `InputImage`.
"""

from __future__ import annotations

__all__ = (
    "HduKey",
    "InputImage",
    "Notes",
    "PlaneFile",
    "PlaneSource",
    "ReadError",
    "image_scale",
    "projection_scale",
    "read_band",
    "read_image",
    "read_projection",
)

from ._headers import image_scale, projection_scale, read_band, read_projection
from ._input_image import HduKey, InputImage, Notes, PlaneFile, PlaneSource, ReadError
from ._read import read_image
