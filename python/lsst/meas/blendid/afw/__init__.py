# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Everything that deals with lsst.afw objects; nothing else in this package does."""

from __future__ import annotations

from ._exposure import LegacyCoadd, from_legacy_exposure, from_legacy_psf, read_legacy_psf
from ._source_catalog import CatalogAnnotator, read_source_catalog

__all__ = (
    "CatalogAnnotator",
    "LegacyCoadd",
    "from_legacy_exposure",
    "from_legacy_psf",
    "read_legacy_psf",
    "read_source_catalog",
)
