# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What comes in: coadds from files, their PSFs, mask planes and units.

`read_image` opens files of lsst.images and lsst.afw and plain FITS, without lsst.afw, and returns an
`InputImage`.  The names here are loaded when they are first used: most of the package needs the PSF, the
masks or the zero points only, which are modules of their own (`.psf`, `.masks`, `.zero_points`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._headers import image_scale, projection_scale, read_band, read_projection
    from ._input_image import HduKey, InputImage, Notes, PlaneFile, PlaneSource, ReadError
    from ._read import read_image

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

_HOME = {
    **dict.fromkeys(("image_scale", "projection_scale", "read_band", "read_projection"), "_headers"),
    **dict.fromkeys(
        ("HduKey", "InputImage", "Notes", "PlaneFile", "PlaneSource", "ReadError"), "_input_image"
    ),
    "read_image": "_read",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        import importlib

        return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
