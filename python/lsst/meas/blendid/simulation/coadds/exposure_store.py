# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Exposures that are kept, so that a run that was killed goes on where it was.

One FITS file an exposure: the electrons, compressed without loss (RICE_1), and a
table ``SETTINGS`` of names and values (JSON) of everything that they depend on. The
number of exposures is not among them: a deeper coadd goes on from a shallower one.
"""

from __future__ import annotations

__all__ = ("ExposureStore",)

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import astropy.io.fits
import numpy as np

from ..._files import atomic_path
from ..errors import SimulationError

type Setting = str | int | float | bool

# Name of the setting that is a digest of all galaxies.
_GALAXIES = "galaxies"


class ExposureStore:
    """The exposures of one coadd in a folder, which is made when the first one is written.

    ``settings`` are everything that an exposure depends on but its number.
    """

    def __init__(self, folder: str | Path, band: str, settings: dict[str, Setting]) -> None:
        self._folder = Path(folder)
        self._band = band
        self._settings = settings

    def path(self, index: int) -> Path:
        """Path of an exposure, whether it exists or not."""
        return self._folder / f"exposure-{self._band}-{index:04d}.fits"

    def check(self, shape: tuple[int, int]) -> set[int]:
        """Find the exposures that are kept, by number, and check their settings and shape (h, w).

        `SimulationError` if the folder is a file, an exposure cannot be read, or has other settings: the
        first one that differs is named, galaxies only if nothing else differs.
        """
        if self._folder.exists() and not self._folder.is_dir():
            raise SimulationError(f"the folder of exposures is a file: {self._folder}")
        found = set()
        for path in sorted(self._folder.glob(f"exposure-{self._band}-*.fits")):
            number = path.stem.rpartition("-")[2]
            if not number.isdecimal():
                continue
            with _open(path) as hdus:
                difference = _describe_difference(_read_settings(hdus), self._settings)
                if difference:
                    raise SimulationError(
                        f"kept exposure {path} was made with {difference}: "
                        "use those settings, or another folder for exposures"
                    )
                if hdus["ELECTRONS"].shape != shape:
                    raise SimulationError(f"kept exposure {path} is damaged: remove it to draw it again")
            found.add(int(number))
        return found

    def read(self, index: int) -> np.ndarray:
        """Read the electrons of an exposure, int32 of shape (h, w)."""
        with _open(self.path(index)) as hdus:
            return np.asarray(hdus["ELECTRONS"].data, dtype=np.int32)

    def write(self, index: int, electrons: np.ndarray) -> None:
        """Write the electrons of an exposure, int32 of shape (h, w); nobody ever sees half of it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        # A table and no header: names and values may be longer than cards.
        rows = [(name, json.dumps(value)) for name, value in self._settings.items()]
        width = [max(len(row[i]) for row in rows) for i in (0, 1)]
        table = np.array(rows, dtype=[("name", f"S{width[0]}"), ("value", f"S{width[1]}")])
        image = astropy.io.fits.CompImageHDU(electrons, name="ELECTRONS", compression_type="RICE_1")
        image.header["BUNIT"] = "electron"
        hdus = [astropy.io.fits.PrimaryHDU(), image, astropy.io.fits.BinTableHDU(table, name="SETTINGS")]
        with atomic_path(self.path(index)) as temporary:
            astropy.io.fits.HDUList(hdus).writeto(temporary, checksum=True)


@contextmanager
def _open(path: Path) -> Iterator[astropy.io.fits.HDUList]:
    """Open a file; whatever cannot be read in it is an error that names it."""
    try:
        with warnings.catch_warnings():
            # Of a file that is too short, and of a checksum that is wrong.
            warnings.simplefilter("error")
            # Astropy leaves a file open that it cannot read.
            with path.open("rb") as file, astropy.io.fits.open(file, memmap=False, checksum=True) as hdus:
                yield hdus
    except SimulationError:
        raise
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, Warning) as err:
        raise SimulationError(
            f"kept exposure {path} is damaged: remove it to draw it again ({err})"
        ) from None


def _describe_difference(was: dict[str, Setting], now: dict[str, Setting]) -> str:
    """Describe the first setting that differs; an empty string if none does."""
    # Most settings change the galaxies too, and their digest tells a reader nothing.
    for name in sorted((was.keys() | now.keys()) - {_GALAXIES}):
        if was.get(name) != now.get(name):
            return f"{name} = {json.dumps(was.get(name))}, not {json.dumps(now.get(name))}"
    same = was.get(_GALAXIES) == now.get(_GALAXIES)
    return "" if same else "other galaxies (catalogue, sizes or population)"


def _read_settings(hdus: astropy.io.fits.HDUList) -> dict[str, Setting]:
    return {str(row["name"]): json.loads(row["value"]) for row in hdus["SETTINGS"].data}
