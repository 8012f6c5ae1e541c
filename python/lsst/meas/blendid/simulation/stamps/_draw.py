# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Draw planned stamps, in any number of processes."""

from __future__ import annotations

__all__ = ("Plan", "draw_stamps", "stamp_psf")

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ..._processes import map_in_order
from .._errors import import_galsim
from ._settings import BlendHunterSettings
from ._sources import StampSource

type Progress = Callable[[int, int], None]

_CHUNK = 200


@dataclasses.dataclass(frozen=True)
class Plan:
    """All that is random about stamps; stamp ``i`` is row ``i``.

    Parameters
    ----------
    first : `numpy.ndarray`, shape (n,), int64
        Galaxy in the middle, a number in the source.
    second : `numpy.ndarray`, shape (n,), int64
        Second galaxy, -1 for none.
    offset : `numpy.ndarray`, shape (n, 2), int64
        Of the second galaxy from the first, columns x and y, pixels.
    angles : `numpy.ndarray`, shape (n, 2)
        By which the two galaxies are turned, degrees.
    shears : `numpy.ndarray`, shape (n, 4)
        Components g1, g2 of the Kolmogorov, then of the Moffat.
    """

    first: np.ndarray
    second: np.ndarray
    offset: np.ndarray
    angles: np.ndarray
    shears: np.ndarray

    def __len__(self) -> int:
        return len(self.first)

    def rows(self, start: int, stop: int) -> Plan:
        """Take the stamps from ``start`` to ``stop``."""
        chunk = slice(start, stop)
        return Plan(*(getattr(self, field.name)[chunk] for field in dataclasses.fields(self)))


def stamp_psf(settings: BlendHunterSettings, shear: np.ndarray) -> Any:
    """Make the PSF of a stamp, without the pixel.

    Parameters
    ----------
    settings
        Widths.
    shear : `numpy.ndarray`, shape (4,)
        Components g1, g2 of the Kolmogorov, then of the Moffat.

    Returns
    -------
    psf : `galsim.GSObject`
        The PSF.
    """
    galsim = import_galsim()
    width = settings.fwhm / _relative_fwhm(settings.beta)
    atmosphere = galsim.Kolmogorov(fwhm=width).shear(g1=float(shear[0]), g2=float(shear[1]))
    optics = galsim.Moffat(beta=settings.beta, fwhm=width).shear(g1=float(shear[2]), g2=float(shear[3]))
    return galsim.Convolve(atmosphere, optics)


@functools.lru_cache
def _relative_fwhm(beta: float) -> float:
    """FWHM of a Kolmogorov convolved with a Moffat, both of FWHM 1."""
    galsim = import_galsim()
    both = galsim.Convolve(galsim.Kolmogorov(fwhm=1.0), galsim.Moffat(beta=beta, fwhm=1.0))
    return float(both.calculateFWHM())


def draw_stamps(
    source: StampSource,
    plan: Plan,
    settings: BlendHunterSettings,
    *,
    processes: int = 1,
    progress: Progress | None = None,
) -> np.ndarray:
    """Draw stamps without noise.

    Parameters
    ----------
    source
        The galaxies.
    plan
        What goes where.
    settings
        Size, PSF and flux scale.
    processes
        Number of processes.
    progress
        Called with the number of stamps drawn and in all.

    Returns
    -------
    images : `numpy.ndarray`, shape (n, s, s), float32
        The stamps, counts.
    """
    images = np.empty((len(plan), settings.size, settings.size), dtype=np.float32)
    starts = range(0, len(plan), _CHUNK)
    chunks = [plan.rows(start, start + _CHUNK) for start in starts]
    draw = functools.partial(_draw_chunk, source, settings)
    for start, drawn in zip(starts, map_in_order(draw, chunks, processes), strict=True):
        images[start : start + len(drawn)] = drawn
        if progress is not None:
            progress(start + len(drawn), len(plan))
    return images


def _draw_chunk(source: StampSource, settings: BlendHunterSettings, plan: Plan) -> np.ndarray:
    galsim = import_galsim()
    images = np.zeros((len(plan), settings.size, settings.size), dtype=np.float32)
    for i in range(len(plan)):
        psf = stamp_psf(settings, plan.shears[i])
        # One image for both galaxies, whose pixel (1, 1) is the first.
        image = galsim.Image(images[i], xmin=1, ymin=1, scale=settings.pixel_scale)
        for k, row in enumerate((int(plan.first[i]), int(plan.second[i]))):
            if row < 0:
                continue
            profile = source.profile(row).rotate(float(plan.angles[i, k]) * galsim.degrees)
            shift = plan.offset[i] if k else (0, 0)
            center = galsim.PositionD(*(1 + settings.size // 2 + int(d) for d in shift))
            galaxy = galsim.Convolve(profile * settings.flux_scale, psf)
            galaxy.drawImage(image=image, center=center, add_to_image=True)
    return images
