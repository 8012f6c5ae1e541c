# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import astropy.io.fits
import numpy as np
import pytest
from lsst.meas.blendid.cli import _stages, main


class Terminal(io.StringIO):
    """A stream that says whether it is a terminal."""

    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


@pytest.fixture
def image(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    pixels = rng.normal(0.0, 1.0, (300, 300)).astype(np.float32)
    y, x = np.mgrid[:300, :300]
    for row, column in rng.integers(20, 280, (20, 2)):
        pixels += 15.0 * np.exp(-0.5 * ((x - column) ** 2 + (y - row) ** 2) / 1.8**2).astype(np.float32)
    astropy.io.fits.writeto(tmp_path / "sky.fits", pixels)
    return tmp_path / "sky.fits"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_stages_are_shown_on_a_terminal_only(
    image: Path, monkeypatch: pytest.MonkeyPatch, is_terminal: bool
) -> None:
    stream = Terminal(is_terminal)
    monkeypatch.setattr(_stages, "_PATIENCE", 0.0)
    monkeypatch.setattr(_stages, "_PAUSE", 0.0)
    monkeypatch.setattr(sys, "stderr", stream)
    main(
        [
            *("run", str(image), "--psf-fwhm", "0.7", "--pixel-scale", "0.2"),
            *("--classifier", "features", "--localizer", "none"),
            "--out",
            str(image.parent / "out"),
        ],
        standalone_mode=False,
    )
    text = stream.getvalue()
    stages = re.findall(r"sky\.fits: ([a-z ]+)(?=[,\r])", text)
    for stage in ("read", "background", "smooth", "peaks", "features", "tables"):
        assert (stage in stages) == is_terminal, text
    assert bool(re.search(r"sky\.fits: features, about \d+ s left", text)) == is_terminal
    assert ("\r\033[K" in text) == is_terminal
