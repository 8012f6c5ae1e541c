# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""SEP, that is SExtractor as a library (Barbary 2016, https://doi.org/10.21105/joss.00058)."""

from __future__ import annotations

__all__ = (
    "BLENDHUNTER_CONTRAST",
    "BLENDHUNTER_LEVELS",
    "BLENDHUNTER_THRESHOLD",
    "MissingSepError",
    "extract",
    "import_sep",
)

from typing import Any

import numpy as np

BLENDHUNTER_THRESHOLD = 1.5
"""Detection threshold of Farrens et al. 2022 (A&A 657, A98, Table 2), in units of the noise."""
BLENDHUNTER_LEVELS = 32
"""Number of deblending levels there."""
BLENDHUNTER_CONTRAST = 0.005
"""Least share of the flux there for an object to be split."""

MIN_AREA = 5
"""SEP's default of the least number of pixels of an object."""


class MissingSepError(ImportError):
    """Raised if SEP, an optional dependency, is needed and not installed."""


def import_sep() -> Any:
    """Import SEP where it is needed, or raise `MissingSepError`."""
    try:
        import sep
    except ImportError as err:
        raise MissingSepError(
            "this baseline needs SEP, which is not installed: pip install 'lsst-meas-blendid[baselines]'"
        ) from err
    return sep


def extract(
    image: np.ndarray,
    threshold: float,
    *,
    noise: float,
    min_area: int = MIN_AREA,
    levels: int = BLENDHUNTER_LEVELS,
    contrast: float = BLENDHUNTER_CONTRAST,
    sub_objects: int | None = None,
    pixels: int | None = None,
    segmentation: bool = False,
) -> Any:
    """Run SEP's detection with multi-threshold deblending on an image (ny, nx) without background.

    The threshold is in units of the noise; ``sub_objects`` and ``pixels`` are limits of SEP for this run:
    most objects that one may be split into, most pixels over the threshold.  Gives SEP's table of objects,
    with ``segmentation`` beside the segmentation map.
    """
    sep = import_sep()
    limits = sep.get_sub_object_limit(), sep.get_extract_pixstack()
    if sub_objects is not None:
        sep.set_sub_object_limit(sub_objects)
    if pixels is not None:
        sep.set_extract_pixstack(pixels)
    try:
        return sep.extract(
            # SEP needs contiguous data in native byte order.
            np.ascontiguousarray(image, dtype=np.float32),
            threshold,
            err=noise,
            minarea=min_area,
            deblend_nthresh=levels,
            deblend_cont=contrast,
            segmentation_map=segmentation,
        )
    finally:
        sep.set_sub_object_limit(limits[0])
        sep.set_extract_pixstack(limits[1])
