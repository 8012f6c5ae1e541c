# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Postage stamps: the data sets of other systems that identify blends."""

from __future__ import annotations

from .blendhunter import BlendHunterSettings, make_blendhunter, make_blendhunter_real
from .coin import CoinSettings, make_coin
from .mosaic import make_mosaic, tile_labels
from .real_galaxies import RealGalaxies, open_real_galaxies
from .stamp_set import SPLITS, StampSet, StampSetError, check_output, write_noisy

__all__ = (
    "SPLITS",
    "BlendHunterSettings",
    "CoinSettings",
    "RealGalaxies",
    "StampSet",
    "StampSetError",
    "check_output",
    "make_blendhunter",
    "make_blendhunter_real",
    "make_coin",
    "make_mosaic",
    "open_real_galaxies",
    "tile_labels",
    "write_noisy",
)
