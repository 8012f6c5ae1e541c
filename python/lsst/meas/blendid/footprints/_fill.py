# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Values for the boxes of a mesh that have none."""

from __future__ import annotations

__all__ = ("fill_missing",)

import numpy as np


def fill_missing(values: np.ndarray, n_rings: int) -> np.ndarray:
    """Continue the values of boxes into those without one.

    Boxes are filled ring after ring, each with the plane through the known
    ones of the 5×5 around it (level in a direction in which these do not
    extend), so that a gradient continues under a mask.

    Parameters
    ----------
    values
        Values, NaN where one is missing but not everywhere, ``(ny, nx)``.
    n_rings
        How many rings to fill so; boxes beyond get the median.

    Returns
    -------
    filled
        Values without NaN, ``(ny, nx)``.
    """
    known = ~np.isnan(values)
    median = float(np.median(values[known]))
    filled = np.where(known, values, 0.0)
    ny, nx = values.shape
    shifts = [(j, i) for j in range(-2, 3) for i in range(-2, 3)]
    for _ in range(n_rings):
        if known.all():
            return filled
        padded = np.pad(filled, 2)
        weight = np.pad(known.astype(float), 2)
        # Sums over the window of 1, x, y, xx, xy, yy, v, xv, yv; filled is 0 where nothing is known.
        sums = np.zeros((9, ny, nx))
        near = np.zeros((ny, nx), dtype=bool)
        for y, x in shifts:
            window = (slice(2 + y, 2 + y + ny), slice(2 + x, 2 + x + nx))
            w, v = weight[window], padded[window]
            sums += np.array([w, x * w, y * w, x * x * w, x * y * w, y * y * w, v, x * v, y * v])
            if max(abs(y), abs(x)) == 1:
                near |= w > 0.0
        new = near & ~known
        n, sx, sy, sxx, sxy, syy, sv, sxv, syv = sums[:, new]
        mx, my, mv = sx / n, sy / n, sv / n
        moments = np.array([[sxx - n * mx * mx, sxy - n * mx * my], [sxy - n * mx * my, syy - n * my * my]])
        inverse = np.linalg.pinv(moments.transpose(2, 0, 1), rcond=1e-6, hermitian=True)
        slope = np.einsum("kij,jk->ik", inverse, np.array([sxv - n * mx * mv, syv - n * my * mv]))
        filled[new] = mv - slope[0] * mx - slope[1] * my
        known = known | new
    return np.where(known, filled, median)
