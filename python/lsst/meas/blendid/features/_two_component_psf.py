# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""A PSF as a sum of concentric elliptical Gaussians, so that convolution is addition of moments."""

from __future__ import annotations

__all__ = ("PsfMixture", "fit_psf_mixture")

from dataclasses import dataclass

import numpy as np

# Start: shares and squared scales (in units of the moments) of the core, the shoulder and the wing of a
# Kolmogorov profile.
_START_SHARES = (0.55, 0.38, 0.07)
_START_SCALES = (0.75, 1.5, 5.0)
_ITERATIONS = 30


@dataclass(frozen=True)
class PsfMixture:
    """Sum of Gaussians with one centre and moments that are multiples of the same.

    Parameters
    ----------
    moments
        xx, xy, yy of the adaptive moments [pixel²], float64 ``(3,)``.
    shares
        Flux of each Gaussian, sum 1, float64 ``(g,)``.
    scales
        Moments of each Gaussian in units of ``moments``, float64 ``(g,)``.
    """

    moments: np.ndarray
    shares: np.ndarray
    scales: np.ndarray

    def draw(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Evaluate at offsets from the centre.

        Parameters
        ----------
        x, y
            Offsets [pixel], arrays of one shape.

        Returns
        -------
        values
            Flux per pixel, for a total flux of 1.
        """
        xx, xy, yy = self.moments
        det = xx * yy - xy * xy
        q = (yy * x * x - 2.0 * xy * x * y + xx * y * y) / det
        parts = (
            share / (2.0 * np.pi * scale * np.sqrt(det)) * np.exp(-0.5 * q / scale)
            for share, scale in zip(self.shares, self.scales, strict=True)
        )
        return np.sum(list(parts), axis=0)


def _adaptive_moments(image: np.ndarray, x: np.ndarray, y: np.ndarray, sigma: float) -> np.ndarray:
    """Moments xx, xy, yy of the Gaussian that matches an image about the origin (Hirata & Seljak 2003).

    Parameters
    ----------
    image
        Kernel ``(ny, nx)``.
    x, y
        Offsets of its pixels.
    sigma
        First guess of the width.

    Returns
    -------
    moments
        xx, xy, yy; those of a round Gaussian of width ``sigma`` where there is no solution.
    """
    moments = np.array([sigma * sigma, 0.0, sigma * sigma])
    for _ in range(100):
        xx, xy, yy = moments
        det = xx * yy - xy * xy
        weighted = image * np.exp(-0.5 * (yy * x * x - 2.0 * xy * x * y + xx * y * y) / det)
        total = weighted.sum()
        if total <= 0.0:
            return np.array([sigma * sigma, 0.0, sigma * sigma])
        new = 2.0 * np.array([(weighted * v).sum() for v in (x * x, x * y, y * y)]) / total
        if not np.isfinite(new).all() or new[0] * new[2] - new[1] ** 2 <= 1e-6 or new[0] <= 0.0:
            return np.array([sigma * sigma, 0.0, sigma * sigma])
        change = np.abs(new - moments).max()
        moments = new
        if change < 1e-9 * sigma * sigma:
            break
    return moments


def fit_psf_mixture(image: np.ndarray, sigma: float) -> PsfMixture:
    """Fit a sum of three Gaussians to a PSF by Gauss–Newton steps.

    Parameters
    ----------
    image
        Kernel with sum 1 and odd sides, centred on its middle pixel, float ``(ny, nx)``.
    sigma
        Width of it [pixel], the first guess.

    Returns
    -------
    mixture
        The fit; a single Gaussian of width ``sigma`` where none converges.
    """
    image = np.asarray(image, dtype=np.float64)
    y, x = np.indices(image.shape, dtype=np.float64)
    x -= (image.shape[1] - 1) // 2
    y -= (image.shape[0] - 1) // 2
    moments = _adaptive_moments(image, x, y, sigma)
    xx, xy, yy = moments
    det = xx * yy - xy * xy
    # In units of the moments the kernel is round, and a profile of q.
    q = ((yy * x * x - 2.0 * xy * x * y + xx * y * y) / det).ravel()
    inside = q < 64.0
    q, target = q[inside], image.ravel()[inside] * 2.0 * np.pi * np.sqrt(det)

    shares, logs = np.array(_START_SHARES), np.log(_START_SCALES)
    damping = 1e-3
    profiles, residual = _evaluate(q, target, shares, logs)
    for _ in range(_ITERATIONS):
        scales = np.exp(logs)
        slopes = profiles * shares * (0.5 * q[:, None] / scales - 1.0)
        jacobian = np.concatenate([profiles, slopes], axis=1)
        normal = jacobian.T @ jacobian
        normal[np.diag_indices(6)] *= 1.0 + damping
        step = np.linalg.lstsq(normal, jacobian.T @ residual, rcond=None)[0]
        new_shares, new_logs = shares + step[:3], np.clip(logs + step[3:], -3.0, 4.0)
        new_profiles, new_residual = _evaluate(q, target, new_shares, new_logs)
        before, after = residual @ residual, new_residual @ new_residual
        if after < before and (new_shares > 0.0).all():
            shares, logs, profiles, residual = new_shares, new_logs, new_profiles, new_residual
            damping *= 0.3
            if before - after < 1e-8 * before:
                break
        else:
            damping *= 10.0
    total = shares.sum()
    if not (np.isfinite(total) and np.isfinite(logs).all() and total > 0.0):
        return PsfMixture(np.array([sigma**2, 0.0, sigma**2]), np.ones(1), np.ones(1))
    return PsfMixture(moments, shares / total, np.exp(logs))


def _evaluate(
    q: np.ndarray, target: np.ndarray, shares: np.ndarray, logs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Profile of each Gaussian for unit flux ``(m, 3)``, and target minus their sum ``(m,)``."""
    scales = np.exp(logs)
    profiles = np.exp(-0.5 * q[:, None] / scales) / scales
    return profiles, target - profiles @ shares
