# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

r"""Posterior mean and variance of a local Gaussian process, one small system a query.

The process of Muyskens et al. 2021 (arXiv:2104.14581, eqs 3.4 and 3.5): the
posterior at a point given its nearest training points only,

.. math::
    \mu = k^T (K + \epsilon I)^{-1} y, \qquad v = 1 - k^T (K + \epsilon I)^{-1} k,

with a Matern kernel.  Here the Bessel function is interpolated, and one
Cholesky factorisation of the matrix with k and y as further columns gives both.
"""

from __future__ import annotations

__all__ = ("MaternTable", "find_posterior")

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, kve

from .._jit import njit

_BITS = 5
"""Intervals in each octave of the squared distance: 2**5."""
_DEGREE = 6
"""Degree of the polynomial of an interval; with its middle it fills a cache line."""
_FIRST, _LAST = -90, 12
"""Octaves of the squared distance: the kernel is 1 below, and nothing above."""
_FAST = {"contract", "reassoc", "nsz"}


def matern(squared: np.ndarray, smoothness: float) -> np.ndarray:
    r"""Evaluate the Matern kernel of unit length by its Bessel function.

    Parameters
    ----------
    squared : `numpy.ndarray`
        Squared distances, positive.
    smoothness
        Its parameter :math:`\nu`, at least 0.5.

    Returns
    -------
    kernel : `numpy.ndarray`
        :math:`2^{1-\nu} / \Gamma(\nu) \, t^\nu K_\nu(t)` with
        :math:`t = \sqrt{2 \nu} r` (Rasmussen & Williams 2006, eq. 4.14).
    """
    t = np.sqrt(2.0 * smoothness * np.asarray(squared, dtype=np.float64))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        log = (1.0 - smoothness) * np.log(2.0) - gammaln(smoothness) + smoothness * np.log(t) - t
        kernel = kve(smoothness, t) * np.exp(log)
    # For t so small that the Bessel function overflows, its product with the power is 1.
    return np.where(np.isfinite(kernel), kernel, 1.0)


@dataclass(frozen=True)
class MaternTable:
    """A Matern kernel as polynomials of the squared distance.

    Parameters
    ----------
    smoothness
        Its parameter, 0.5 to 30.
    length_scale
        Its length.
    rows : `numpy.ndarray`, shape (intervals, 8)
        Middle of each interval of the squared distance in squared lengths, and
        the coefficients of a polynomial about it, the constant first.

    Notes
    -----
    Intervals are equal parts of octaves, so that the kernel's branch point at
    0 is equally far from all in units of their width, 1/65 of the distance:
    polynomials of degree 6 then hold to about 65**-7 / 2**6, below 1e-14
    (Trefethen 2013, Approximation Theory and Approximation Practice, theorem
    8.2).  The condition number of the systems, up to neighbours / noise,
    multiplies such errors.
    """

    smoothness: float
    length_scale: float
    rows: np.ndarray

    @classmethod
    def make(cls, smoothness: float, length_scale: float) -> MaternTable:
        """Tabulate a kernel.

        Parameters
        ----------
        smoothness
            Its parameter, 0.5 to 30.
        length_scale
            Its length.

        Returns
        -------
        table : `MaternTable`
            The table.

        Raises
        ------
        ValueError
            Raised if a parameter is out of range.
        """
        if not 0.5 <= smoothness <= 30.0:
            raise ValueError(f"smoothness is {smoothness}; it must be 0.5 to 30")
        if not (np.isfinite(length_scale) and length_scale > 0.0):
            raise ValueError(f"length scale is {length_scale}; it must be positive")
        parts = 1 << _BITS
        octave = 2.0 ** np.arange(_FIRST, _LAST, dtype=np.float64)[:, None]
        width = (octave / parts).repeat(parts, axis=1).ravel()
        middle = (octave * (1.0 + (np.arange(parts) + 0.5) / parts)).ravel()
        nodes = np.cos(np.pi * (np.arange(_DEGREE + 1) + 0.5) / (_DEGREE + 1))
        values = matern(middle[:, None] + 0.5 * width[:, None] * nodes, smoothness)
        coefficients = np.linalg.solve(np.vander(nodes, increasing=True), values.T).T
        coefficients /= (0.5 * width[:, None]) ** np.arange(_DEGREE + 1)
        # The powers of the narrowest intervals overflow nothing: 2**-96 to the sixth is 1e-173.
        return cls(float(smoothness), float(length_scale), np.column_stack([middle, coefficients]))

    def __call__(self, squared: np.ndarray) -> np.ndarray:
        """Evaluate the kernel.

        Parameters
        ----------
        squared : `numpy.ndarray`, shape (n,)
            Squared distances.

        Returns
        -------
        kernel : `numpy.ndarray`, shape (n,)
            The kernel; 1 at 0.
        """
        scaled = np.asarray(squared, dtype=np.float64) / self.length_scale**2
        _evaluate(scaled, scaled.view(np.int64), scaled.size, self.rows)
        return scaled


@njit(nogil=True, fastmath=_FAST, error_model="numpy")
def _evaluate(  # pragma: no cover - compiled
    squared: np.ndarray, bits: np.ndarray, n: int, rows: np.ndarray
) -> None:
    """Replace the first n scaled squared distances, ``bits`` their bit patterns, by the kernel."""
    least = (1023 + _FIRST) << _BITS
    for j in range(n):
        s = squared[j]
        # The exponent and the leading bits of the mantissa are the number of the interval.
        t = (bits[j] >> (52 - _BITS)) - least
        t = min(max(t, 0), rows.shape[0] - 1)
        u = s - rows[t, 0]
        p = rows[t, 7]
        p = p * u + rows[t, 6]
        p = p * u + rows[t, 5]
        p = p * u + rows[t, 4]
        p = p * u + rows[t, 3]
        p = p * u + rows[t, 2]
        p = p * u + rows[t, 1]
        squared[j] = p if (s > 2.0**_FIRST) and (s < 2.0**_LAST) else (1.0 if s < 1.0 else 0.0)


@njit(nogil=True, fastmath=_FAST, error_model="numpy")
def _fill_kernel(  # pragma: no cover - compiled
    local: np.ndarray,
    crosswise: np.ndarray,
    inverse: float,
    rows: np.ndarray,
    flat: np.ndarray,
    bits: np.ndarray,
    matrix: np.ndarray,
) -> None:
    """Write the covariance above its diagonal, and the crosswise one as a further column.

    ``local`` has the neighbours' coordinates (d, k) and ``crosswise`` their squared distances from
    the query; ``flat`` is scratch of k (k + 1) / 2 numbers and ``bits`` the same memory.
    """
    dimensions, k = local.shape
    n = 0
    for i in range(k - 1):
        m = k - 1 - i
        out = flat[n : n + m]
        for j in range(m):
            out[j] = 0.0
        a = 0
        while a + 4 <= dimensions:
            q0, q1, q2, q3 = local[a, i], local[a + 1, i], local[a + 2, i], local[a + 3, i]
            x0, x1 = local[a, i + 1 :], local[a + 1, i + 1 :]
            x2, x3 = local[a + 2, i + 1 :], local[a + 3, i + 1 :]
            for j in range(m):
                d0, d1, d2, d3 = x0[j] - q0, x1[j] - q1, x2[j] - q2, x3[j] - q3
                out[j] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)
            a += 4
        while a < dimensions:
            q0, x0 = local[a, i], local[a, i + 1 :]
            for j in range(m):
                d0 = x0[j] - q0
                out[j] += d0 * d0
            a += 1
        n += m
    for j in range(k):
        flat[n + j] = crosswise[j]
    n += k
    for j in range(n):
        flat[j] *= inverse
    _evaluate(flat, bits, n, rows)
    n = 0
    for i in range(k):
        for j in range(i + 1, k):
            matrix[i, j] = flat[n]
            n += 1
    for i in range(k):
        matrix[i, k] = flat[n + i]


@njit(nogil=True, fastmath=_FAST, error_model="numpy")
def _solve(matrix: np.ndarray, k: int, width: int) -> None:  # pragma: no cover - compiled
    """Factorise the upper triangle of the first k columns as U^T U, and apply U^-T to the others."""
    first = 0
    while first < k:
        size = min(4, k - first)
        for p in range(first, first + size):
            row = matrix[p]
            for q in range(first, p):
                factor = matrix[q, p]
                other = matrix[q]
                for j in range(p, width):
                    row[j] -= factor * other[j]
            scale = 1.0 / np.sqrt(row[p])
            for j in range(p, width):
                row[j] *= scale
        # Four rows at a time are taken off the rest, so that it goes through memory a quarter as often.
        if size == 4:
            r0, r1, r2, r3 = matrix[first], matrix[first + 1], matrix[first + 2], matrix[first + 3]
            for i in range(first + 4, k):
                row = matrix[i]
                f0, f1, f2, f3 = r0[i], r1[i], r2[i], r3[i]
                for j in range(i, width):
                    row[j] -= (f0 * r0[j] + f1 * r1[j]) + (f2 * r2[j] + f3 * r3[j])
        first += size


@njit(nogil=True, error_model="numpy")
def _posterior(  # pragma: no cover - compiled
    points: np.ndarray,
    targets: np.ndarray,
    neighbors: np.ndarray,
    squared: np.ndarray,
    inverse: float,
    noise: np.ndarray,
    rows: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Posterior means and variances; NaN for a query whose first neighbour is -1."""
    m, k = neighbors.shape
    dimensions = points.shape[1]
    mean, variance = np.full(m, np.nan), np.full(m, np.nan)
    local = np.empty((dimensions, k))
    flat = np.empty(k * (k + 1) // 2)
    bits = flat.view(np.int64)
    matrix = np.zeros((k, k + 2))
    for i in range(m):
        if neighbors[i, 0] < 0:
            continue
        for j in range(k):
            row = neighbors[i, j]
            matrix[j, j] = 1.0 + noise[row]
            matrix[j, k + 1] = targets[row]
            for a in range(dimensions):
                local[a, j] = points[row, a]
        _fill_kernel(local, squared[i], inverse, rows, flat, bits, matrix)
        _solve(matrix, k, k + 2)
        total, reduction = 0.0, 0.0
        for j in range(k):
            total += matrix[j, k] * matrix[j, k + 1]
            reduction += matrix[j, k] * matrix[j, k]
        mean[i], variance[i] = total, 1.0 - reduction
    return mean, variance


def find_posterior(
    points: np.ndarray,
    targets: np.ndarray,
    neighbors: np.ndarray,
    squared: np.ndarray,
    kernel: MaternTable,
    noise: float | np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Compute posterior means and variances.

    Parameters
    ----------
    points : `numpy.ndarray`, shape (n, d), float64
        Training points.
    targets : `numpy.ndarray`, shape (n,)
        Values there.
    neighbors : `numpy.ndarray`, shape (m, k), int64
        Rows of the training points that each of the m queries is conditioned
        on; -1 for a query without.
    squared : `numpy.ndarray`, shape (m, k), float64
        Their squared distances from the query.
    kernel
        Prior covariance.
    noise : `float` or `numpy.ndarray`, shape (n,)
        Variance of the noise of the targets, positive, in units of the prior's.

    Returns
    -------
    mean, variance : `numpy.ndarray`, shape (m,)
        Of the posterior; NaN for a query without neighbours.

    Raises
    ------
    ValueError
        Raised if the noise is not positive.
    """
    noises = np.ascontiguousarray(np.broadcast_to(np.asarray(noise, dtype=np.float64), len(points)))
    if not (np.isfinite(noises) & (noises > 0.0)).all():
        raise ValueError("the noise must be finite and positive")
    return _posterior(
        np.ascontiguousarray(points, dtype=np.float64),
        np.ascontiguousarray(targets, dtype=np.float64),
        neighbors,
        squared,
        1.0 / kernel.length_scale**2,
        noises,
        kernel.rows,
    )
