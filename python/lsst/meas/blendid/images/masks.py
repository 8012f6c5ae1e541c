# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Mask planes by Rubin's names, on masks of lsst.images."""

from __future__ import annotations

__all__ = ("PLANE_NAMES", "legacy_mask_planes", "mask_to_bool")

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from lsst.images import Mask, MaskPlane

PLANE_NAMES: dict[str, str] = {
    "SAT": "SATURATED",
    "INTRP": "INTERPOLATED",
    "CR": "COSMIC_RAY",
    "EDGE": "DETECTION_EDGE",
    "UNMASKEDNAN": "UNMASKED_NAN",
}
"""Names of `lsst.images` for the planes of lsst.afw that have another one there."""


def legacy_mask_planes(names: Iterable[str]) -> dict[str, MaskPlane]:
    """Give the planes of `lsst.images` for those of lsst.afw.

    Parameters
    ----------
    names
        Names of planes of lsst.afw, of any kind of image.

    Returns
    -------
    planes
        A plane for each name; one that lsst.images does not know keeps its
        name.
    """
    from lsst.images import (
        MaskPlane,
        get_legacy_difference_image_mask_planes,
        get_legacy_optional_mask_planes,
        get_legacy_template_mask_planes,
        get_legacy_visit_image_mask_planes,
    )

    known = (
        get_legacy_difference_image_mask_planes()
        | get_legacy_visit_image_mask_planes()
        | get_legacy_template_mask_planes()
        | get_legacy_optional_mask_planes()
    )
    return {name: known.get(name, MaskPlane(name, f"Mask plane {name} of lsst.afw.")) for name in names}


def mask_to_bool(mask: Mask, planes: Iterable[str]) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Select the pixels that have one of several mask planes set.

    Parameters
    ----------
    mask
        Mask, ``(ny, nx)``.
    planes
        Names of planes as lsst.afw or as lsst.images has them.

    Returns
    -------
    selected
        True where one of the planes is set, bool ``(ny, nx)``.
    used
        Planes that the mask has, by the names given.
    ignored
        Planes that it lacks.
    """
    names = set(mask.schema.names)
    used: list[str] = []
    ignored: list[str] = []
    selected = np.zeros((mask.bbox.y.size, mask.bbox.x.size), dtype=bool)
    for plane in dict.fromkeys(planes):
        name = plane if plane in names else PLANE_NAMES.get(plane, plane)
        if name not in names:
            ignored.append(plane)
            continue
        plane_pixels = mask.get(name)
        if plane_pixels.any():  # Memory of zeros that nobody wrote to takes no room.
            selected |= plane_pixels
        used.append(plane)
    return selected, tuple(used), tuple(ignored)
