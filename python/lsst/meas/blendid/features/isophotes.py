# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.
"""Isophotes of footprints: areas, parts and elongations at fractions of the main peak."""

from __future__ import annotations

__all__ = ("ISOPHOTE_COLUMNS", "measure_isophotes")

import numpy as np

from .._jit import njit
from .peaks import MainPeaks
from .planes import Planes

_FRACTIONS = (0.75, 0.5, 0.3, 0.15)
"""Levels, as fractions of the main peak; from the highest to the lowest."""

_LEAST = 2.0
"""S/N that no level is lower than."""


def _columns() -> dict[str, str]:
    columns: dict[str, str] = {}
    for f in _FRACTIONS:
        where = f"where the smoothed light is over {f:g} of the main peak (and S/N {_LEAST:g})"
        columns |= {
            f"iso_area_{f:g}": f"Area {where} [PSF sigma²].",
            f"iso_parts_{f:g}": f"Number of connected parts of the area {where}.",
            f"iso_ellipticity_{f:g}": f"As footprint_ellipticity, of the part with the peak {where}.",
            f"iso_spread_{f:g}": f"As footprint_spread, of the part with the peak {where}.",
            f"iso_offset_{f:g}": f"Distance of the centroid of that part from the peak, {where} [PSF sigma].",
        }
    return columns


ISOPHOTE_COLUMNS: dict[str, str] = _columns()
"""Name and description of each column of `measure_isophotes`."""


@njit()
def _fill(
    band: np.ndarray,
    labels: np.ndarray,
    label: int,
    level: float,
    code: int,
    x: int,
    y: int,
    seen: np.ndarray,
    stack: np.ndarray,
    sums: np.ndarray,
) -> None:  # pragma: no cover - compiled
    """Mark the 8-connected part that a pixel is in; ``sums`` (6,) gets its moments about that pixel."""
    sums[:] = 0.0
    stack[0, 0], stack[0, 1] = y, x
    seen[y, x] = code
    depth = 1
    while depth:
        depth -= 1
        cy, cx = stack[depth, 0], stack[depth, 1]
        dx, dy = float(cx - x), float(cy - y)
        sums[0] += 1.0
        sums[1] += dx
        sums[2] += dy
        sums[3] += dx * dx
        sums[4] += dy * dy
        sums[5] += dx * dy
        for ny in range(cy - 1, cy + 2):
            for nx in range(cx - 1, cx + 2):
                if labels[ny, nx] == label and seen[ny, nx] < code and band[ny, nx] >= level:
                    seen[ny, nx] = code
                    stack[depth, 0], stack[depth, 1] = ny, nx
                    depth += 1


@njit()
def _measure(
    band: np.ndarray,
    labels: np.ndarray,
    spans: np.ndarray,
    first: np.ndarray,
    area: np.ndarray,
    px: np.ndarray,
    py: np.ndarray,
    fx: np.ndarray,
    fy: np.ndarray,
    peak: np.ndarray,
    fractions: np.ndarray,
    least: float,
    sigma: float,
    seen: np.ndarray,
) -> np.ndarray:  # pragma: no cover - compiled
    n, n_levels = first.size - 1, fractions.size
    out = np.zeros((n, 5 * n_levels), np.float32)
    stack = np.empty((max(area.max(), 1), 2), np.int64)
    sums = np.empty(6)
    for i in range(n):
        for j in range(n_levels):
            level = max(fractions[j] * peak[i], least)
            row = out[i, 5 * j : 5 * j + 5]
            # What was seen at a higher level is looked at again.
            code = j + 1
            if not peak[i] >= level:
                continue
            _fill(band, labels, i + 1, level, code, px[i], py[i], seen, stack, sums)
            total, parts = sums[0], 1
            mx, my = sums[1] / sums[0], sums[2] / sums[0]
            # The second moments of a pixel's own square are 1/12.
            qxx = sums[3] / sums[0] - mx * mx + 1.0 / 12.0
            qyy = sums[4] / sums[0] - my * my + 1.0 / 12.0
            qxy = sums[5] / sums[0] - mx * my
            row[2] = np.sqrt((qxx - qyy) ** 2 + 4.0 * qxy**2) / (qxx + qyy)
            row[3] = (qxx + qyy) * 2.0 * np.pi / sums[0]
            row[4] = np.hypot(mx + px[i] - fx[i], my + py[i] - fy[i]) / sigma
            for k in range(first[i], first[i + 1]):
                y = spans[k, 1]
                for x in range(spans[k, 2], spans[k, 3] + 1):
                    if seen[y, x] < code and band[y, x] >= level:
                        _fill(band, labels, i + 1, level, code, x, y, seen, stack, sums)
                        total += sums[0]
                        parts += 1
            row[0] = total / sigma**2
            row[1] = parts
    return out


def measure_isophotes(planes: Planes, main: MainPeaks) -> np.ndarray:
    """Measure isophotes.

    Parameters
    ----------
    planes
        Images with n footprints.
    main
        The brightest place of each footprint.

    Returns
    -------
    columns : `numpy.ndarray`, shape (n, columns), float32
        `ISOPHOTE_COLUMNS`.
    """
    if main.x.size == 0:
        return np.zeros((0, len(ISOPHOTE_COLUMNS)), dtype=np.float32)
    lengths = planes.spans[:, 3] - planes.spans[:, 2] + 1
    area = np.bincount(planes.spans[:, 0] - 1, lengths, minlength=main.x.size).astype(np.int64)
    return _measure(
        planes.bands["psf"],
        planes.labels,
        planes.spans,
        planes.first,
        area,
        main.x,
        main.y,
        main.fx,
        main.fy,
        main.value,
        np.array(_FRACTIONS),
        _LEAST,
        planes.sigma,
        np.zeros(planes.labels.shape, dtype=np.uint8),
    )
