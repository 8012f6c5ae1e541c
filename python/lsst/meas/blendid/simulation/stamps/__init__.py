# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Postage stamps: the data sets of other systems that identify blends."""

from __future__ import annotations

from ._stamp_files import check_output, write_noisy
from .blendhunter import BlendHunterSettings, make_blendhunter, make_blendhunter_real
from .coin import CoinSettings, make_coin
from .real_galaxies import RealGalaxies, open_real_galaxies
from .stamp_set import SPLITS, StampSet, StampSetError

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
    "open_real_galaxies",
    "write_noisy",
)
