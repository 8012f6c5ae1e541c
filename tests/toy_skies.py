# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Recipes of skies that are small enough to be simulated in a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lsst.meas.blendid.training import SceneRecipe


def write_skies(folder: Path, name: str = "skies.json", **fields: Any) -> Path:
    """Write a recipe of skies that differ in galaxies, seeing and depth, unless fields say otherwise."""
    fixed = "sizes" in fields or "psf_fwhm" in fields or "visits" in fields or "options" in fields
    return SceneRecipe(**({"vary": not fixed} | fields)).write(folder / name, overwrite=True)
