# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Width of a PSF, and a PSF for an image that has none."""

from __future__ import annotations

__all__ = (
    "FWHM_PIXELS",
    "KOLMOGOROV_K0_FWHM",
    "PsfSummary",
    "adaptive_sigma",
    "kolmogorov_kernel",
    "sample_places",
    "stack_kernels",
    "summarize_psf",
)

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from lsst.images import Box
    from lsst.images.psfs import PointSpreadFunction

KOLMOGOROV_K0_FWHM = 2.92070060777
"""FWHM of a Kolmogorov profile times the wave number k0 of its transform exp(-(k/k0)^(5/3)), from the
profile by quadrature."""

_TOLERANCE = 1e-9
_MAX_ITERATIONS = 100

# Largest image that a kernel is cut from; it takes a second and some hundred MB.
_MAX_FIELD = 4096

FWHM_PIXELS = (0.8, 60.0)
"""Least and largest seeing that can be used [pixel]."""

_SAMPLED_SIGMA = 1.15
"""Width [pixel] under which sums over pixels stand badly for the integrals of adaptive moments."""

_WORST_FIT = 0.2
"""Largest share of the squared pixels of a PSF that a Gaussian may leave."""

_DECIMALS = 6
"""Decimals that widths [pixel] are rounded to: so many are the same whoever computes the kernel, and what is
measured in units of the width is then the same too."""

_LEAST_SIGMA = 0.4
"""Width [pixel] under which a star cannot be told from a single hot pixel."""


@dataclass(frozen=True)
class PsfSummary:
    """A PSF as one kernel and its width.

    Parameters
    ----------
    image
        Mean kernel with sum 1, float64, odd sides.
    sigma
        Determinant radius of the adaptive moments [pixel]; the mean over the
        places where the PSF was evaluated, rounded to a millionth.
    sigma_min, sigma_max, sigma_std
        Spread of it over those places.
    n_cells
        Number of those places.
    """

    image: np.ndarray
    sigma: float
    sigma_min: float
    sigma_max: float
    sigma_std: float
    n_cells: int


def _adaptive_sigmas(stack: np.ndarray) -> np.ndarray:
    """Determinant radii of a stack of images ``(n, ny, nx)``; NaN where there is no solution."""
    n, ny, nx = stack.shape
    y = np.arange(ny, dtype=float)[:, None]
    x = np.arange(nx, dtype=float)
    # First weight: 2 pixels wide, about the middle of the image.
    cx, cy = np.full(n, 0.5 * (nx - 1)), np.full(n, 0.5 * (ny - 1))
    mxx, myy, mxy = np.full(n, 4.0), np.full(n, 4.0), np.zeros(n)
    ok = np.ones(n, dtype=bool)
    with np.errstate(all="ignore"):
        for _ in range(_MAX_ITERATIONS):
            det = mxx * myy - mxy**2
            ok &= (det > 1e-6) & (mxx > 0.0) & np.isfinite(det)
            dx, dy = x - cx[:, None, None], y - cy[:, None, None]
            a, b, c = (v[:, None, None] for v in (myy / det, mxx / det, -mxy / det))
            w = stack * np.exp(-0.5 * (a * dx**2 + b * dy**2 + 2.0 * c * dx * dy))
            total = w.sum(axis=(1, 2))
            wx, wy = w * dx, w * dy
            shift_x, shift_y = wx.sum(axis=(1, 2)) / total, wy.sum(axis=(1, 2)) / total
            sxx = (wx * dx).sum(axis=(1, 2)) / total
            syy = (wy * dy).sum(axis=(1, 2)) / total
            sxy = (wx * dy).sum(axis=(1, 2)) / total
            # For a Gaussian image the inverse of its moments is that of the weighted ones less the weight's.
            sdet = sxx * syy - sxy**2
            ixx, iyy, ixy = syy / sdet - myy / det, sxx / sdet - mxx / det, -sxy / sdet + mxy / det
            idet = ixx * iyy - ixy**2
            new = np.where(idet > 0.0, np.array([iyy, ixx, -ixy]) / idet, 2.0 * np.array([sxx, syy, sxy]))
            # The centroid's weighted shift underestimates the real one by half.
            step = np.abs(new - np.array([mxx, myy, mxy])).max(axis=0) / (mxx + myy)
            step = np.maximum(step, np.hypot(shift_x, shift_y))
            mxx, myy, mxy = new
            cx, cy = cx + 2.0 * shift_x, cy + 2.0 * shift_y
            if not (step[ok] > _TOLERANCE).any():
                break
        det = mxx * myy - mxy**2
        converged = ok & (step < 1e-4) & (det > 1e-6)
        return np.where(converged, np.abs(det) ** 0.25, np.nan)


def _gaussian_sigma(image: np.ndarray) -> float:
    """Determinant radius of the pixel-sampled elliptical Gaussian that fits an image best; NaN if none does.

    That Gaussian has the adaptive moments where pixels are small against it.
    """
    import scipy.optimize

    ny, nx = image.shape
    y, x = np.mgrid[:ny, :nx]
    peak_y, peak_x = np.unravel_index(int(np.argmax(image)), image.shape)
    norm = (image**2).sum()

    def misfit(p: np.ndarray) -> float:
        # Inverse of exp(2 p0) exp([[p1, p2], [p2, -p1]]), whose determinant is exp(4 p0).
        e = float(np.hypot(p[1], p[2]))
        c, s = np.cosh(e), np.sinh(e) / e if e > 0.0 else 1.0
        dx, dy = x - p[3], y - p[4]
        r2 = (c - s * p[1]) * dx**2 + (c + s * p[1]) * dy**2 - 2.0 * s * p[2] * dx * dy
        model = np.exp(-0.5 * r2 * np.exp(-2.0 * p[0]))
        return 1.0 - (image * model).sum() ** 2 / max(float((model**2).sum()) * norm, 1e-300)

    # A first guess from the noise-equivalent area, which is 4 pi sigma².
    sigma = np.sqrt(image.sum() ** 2 / norm / (4.0 * np.pi))
    start = np.array([np.log(sigma), 0.0, 0.0, peak_x, peak_y])
    steps = np.vstack([start, start + np.diag([0.2, 0.1, 0.1, 0.1, 0.1])])
    with np.errstate(all="ignore"):
        fit = scipy.optimize.minimize(
            misfit,
            start,
            method="Nelder-Mead",
            options={"initial_simplex": steps, "xatol": 1e-6, "fatol": 1e-12, "maxiter": 2000},
        )
        return float(np.exp(fit.x[0])) if fit.fun < _WORST_FIT else float("nan")


def _widths(stack: np.ndarray) -> np.ndarray:
    """Determinant radii of a stack of images (n, ny, nx) of sum 1; a ValueError if one has none."""
    sigmas = _adaptive_sigmas(stack)
    for i in np.flatnonzero(~(sigmas > _SAMPLED_SIGMA)):
        fitted = _gaussian_sigma(stack[i])
        if fitted < _LEAST_SIGMA:
            raise ValueError(
                f"the PSF has a sigma of {fitted:.2g} pixels; under {_LEAST_SIGMA:g} a star cannot be told "
                "from a single hot pixel: check the width of the PSF and the pixel scale"
            )
        if fitted < _SAMPLED_SIGMA:
            sigmas[i] = fitted
    if not (sigmas > 0.0).all():
        raise ValueError("the PSF has no width: its adaptive moments do not converge or vanish")
    return sigmas


def adaptive_sigma(image: np.ndarray) -> float:
    """Determinant radius of the adaptive moments of an image.

    The moments are those of the elliptical Gaussian that, as a weight, gives
    moments that match itself (Bernstein & Jarvis 2002, AJ 123, 583; Hirata &
    Seljak 2003, MNRAS 343, 459), summed over pixels without interpolation. A
    PSF narrower than 1.15 pixels, for which these sums fail, has the width of
    the pixel-sampled Gaussian that fits it best, which is the same thing for
    wider ones.

    Parameters
    ----------
    image
        Image of a PSF, ``(ny, nx)``, finite.

    Returns
    -------
    sigma
        Fourth root of the determinant of the moments [pixel].

    Raises
    ------
    ValueError
        If the image is not two-dimensional or not finite, has no positive sum,
        or has no width, or one under 0.4 pixels.
    """
    array = np.asarray(image, dtype=float)
    if array.ndim != 2:
        raise ValueError(f"a PSF image has two dimensions, not {array.ndim}")
    if array.size == 0 or not np.isfinite(array).all():
        raise ValueError("the PSF image is empty or has values that are not finite")
    if not array.sum() > 0.0:
        raise ValueError("the PSF image has no positive sum")
    return float(_widths(array[None] / array.sum())[0])


def kolmogorov_kernel(fwhm_pixels: float, size: int | None = None) -> np.ndarray:
    """Image of a Kolmogorov PSF convolved with the pixel.

    The transform of the profile is exp(-(k/k0)^(5/3)) (Fried 1966, JOSA 56,
    1372), k0 that of `KOLMOGOROV_K0_FWHM`, times the sinc functions of the
    pixel, sampled and inverted.

    Parameters
    ----------
    fwhm_pixels
        FWHM of the profile before the pixel [pixel], at most 60.
    size
        Side of the image, odd, at most 511; by default 8 FWHM, which holds
        99.2 % of the light, but at least 25.

    Returns
    -------
    kernel
        float64 ``(size, size)``, sum 1, centred on the middle pixel.

    Raises
    ------
    ValueError
        If the FWHM is not positive and finite, the size not odd, or one of them
        too large.
    """
    if not (np.isfinite(fwhm_pixels) and fwhm_pixels > 0.0):
        raise ValueError(f"the PSF's FWHM must be positive and finite, not {fwhm_pixels} pixels")
    if fwhm_pixels > FWHM_PIXELS[1]:
        raise ValueError(
            f"the PSF's FWHM is {fwhm_pixels:g} pixels; at most {FWHM_PIXELS[1]:g} are supported: check the "
            "pixel scale, or bin the image"
        )
    if size is None:
        size = max(25, 2 * int(np.ceil(4.0 * fwhm_pixels)) + 1)
    if size < 1 or size % 2 == 0:
        raise ValueError(f"the size of a PSF image must be odd and positive, not {size}")
    if size > _MAX_FIELD // 8:
        raise ValueError(f"the size of a PSF image is at most {_MAX_FIELD // 8 - 1} pixels, not {size}")
    # A field wide enough that the periodic copies of the r^-11/3 wings do not matter.
    n = 1 << int(np.ceil(np.log2(max(8 * size, 64.0 * fwhm_pixels))))
    # Frequencies beyond Nyquist fold back when the profile is sampled at pixel centres.
    result = np.zeros((n, n // 2 + 1))
    base_y, base_x = np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)
    fold = 2 if fwhm_pixels < 4.0 else 1 if fwhm_pixels < 9.0 else 0
    for iy in range(-fold, fold + 1):
        for ix in range(-fold, fold + 1):
            fy, fx = base_y + iy, base_x + ix
            k = 2.0 * np.pi * np.hypot(fx, fy)
            k0 = KOLMOGOROV_K0_FWHM / fwhm_pixels
            result += np.exp(-((k / k0) ** (5.0 / 3.0))) * np.sinc(fx) * np.sinc(fy)
    full = np.fft.fftshift(np.fft.irfft2(result, s=(n, n)))
    c, r = n // 2, size // 2
    kernel = full[c - r : c + r + 1, c - r : c + r + 1]
    return kernel / kernel.sum()


def sample_places(area: Box, n: int = 3) -> list[tuple[float, float]]:
    """Give the places where a PSF that varies is evaluated.

    Parameters
    ----------
    area
        Pixels of the image.
    n
        Places along each side.

    Returns
    -------
    places
        (x, y) of the centres of n × n equal parts, parent pixels.
    """
    fractions = (np.arange(n) + 0.5) / n
    x = area.x.start + fractions * (area.x.size - 1)
    y = area.y.start + fractions * (area.y.size - 1)
    return [(float(px), float(py)) for py in y for px in x]


def stack_kernels(kernels: Sequence[np.ndarray], centers: Sequence[tuple[int, int]]) -> np.ndarray:
    """Bring kernels of different sizes to one size, with zeros around them.

    Parameters
    ----------
    kernels
        Images ``(ny, nx)``, finite.
    centers
        Index (x, y) of the pixel of each that its centre is in; it may lie outside.

    Returns
    -------
    stack
        float64 ``(n, odd, odd)``, the centres in the middle.

    Raises
    ------
    ValueError
        Raised if there is none, or one is no image.
    """
    if not kernels:
        raise ValueError("there is no kernel")
    half_x = half_y = 0
    for kernel, (x, y) in zip(kernels, centers, strict=True):
        if kernel.ndim != 2 or kernel.size == 0:
            raise ValueError(f"a PSF image has two dimensions, not shape {kernel.shape}")
        half_x = max(half_x, x, kernel.shape[1] - 1 - x)
        half_y = max(half_y, y, kernel.shape[0] - 1 - y)
    if max(half_x, half_y) > _MAX_FIELD // 2:
        raise ValueError(f"a PSF image has sides of at most {_MAX_FIELD} pixels")
    stack = np.zeros((len(kernels), 2 * half_y + 1, 2 * half_x + 1))
    for image, kernel, (x, y) in zip(stack, kernels, centers, strict=True):
        image[half_y - y :, half_x - x :][: kernel.shape[0], : kernel.shape[1]] = kernel
    return stack


def _kernel_stack(psf: PointSpreadFunction | np.ndarray, bbox: Box | None) -> np.ndarray:
    """Kernels at the places that represent a PSF, ``(n, ny, nx)``."""
    if isinstance(psf, np.ndarray):
        if psf.ndim not in (2, 3) or len(psf) == 0:
            raise ValueError(f"a PSF image has two dimensions, several have three, not shape {psf.shape}")
        return np.asarray(psf, dtype=float).reshape(-1, *psf.shape[-2:])
    from lsst.images.cells import CellPointSpreadFunction
    from lsst.images.psfs import GaussianPointSpreadFunction, PointSpreadFunction

    if isinstance(psf, CellPointSpreadFunction):
        cells = psf if bbox is None else psf[bbox.intersection(psf.bounds.bbox)]
        indices = [i for i in cells.bounds.cell_indices() if i not in cells.bounds.missing]
        if not indices:
            raise ValueError("the PSF has no cell in this image")
        return np.array([cells[i].array for i in indices], dtype=float)
    if isinstance(psf, PointSpreadFunction):
        area = psf.bounds.bbox if bbox is None else bbox
        places = sample_places(area, 1 if isinstance(psf, GaussianPointSpreadFunction) else 3)
        return np.array([psf.compute_kernel_image(x=x, y=y).array for x, y in places], dtype=float)
    raise TypeError(f"a PSF is a PointSpreadFunction or an array, not a {type(psf).__name__}")


def summarize_psf(psf: PointSpreadFunction | np.ndarray, bbox: Box | None = None) -> PsfSummary:
    """Measure the width of a PSF.

    Parameters
    ----------
    psf
        PSF of an image, or a kernel with odd sides, or several ``(n, odd, odd)`` that represent
        it. The cells of a `~lsst.images.cells.CellPointSpreadFunction` that overlap ``bbox`` are
        averaged, a Gaussian is evaluated once, any other on a 3×3 grid.
    bbox
        Image area to represent; that of the PSF if `None`.

    Returns
    -------
    summary : `PsfSummary`
        Mean kernel and width, and the spread of the width.

    Raises
    ------
    ValueError
        If the kernel is not a finite two-dimensional image of odd sides with a
        positive sum and a width of at least 0.4 pixels.
    """
    stack = _kernel_stack(psf, bbox)
    if stack.shape[1] % 2 == 0 or stack.shape[2] % 2 == 0:
        raise ValueError(f"a PSF kernel must have odd sides, not {stack.shape[1:]}")
    if not np.isfinite(stack).all():
        raise ValueError("the PSF kernel has values that are not finite")
    sums = stack.sum(axis=(1, 2))
    if not (sums > 0.0).all():
        raise ValueError("the PSF kernel has no positive sum")
    stack = stack / sums[:, None, None]
    sigmas = np.round(_widths(stack), _DECIMALS)
    constant = bool((sigmas == sigmas[0]).all())
    same = constant and bool((stack == stack[0]).all())
    return PsfSummary(
        # The mean of equal numbers may differ from them in the last bit.
        image=stack[0] if same else stack.mean(axis=0),
        sigma=float(sigmas[0] if constant else np.round(sigmas.mean(), _DECIMALS)),
        sigma_min=float(sigmas.min()),
        sigma_max=float(sigmas.max()),
        sigma_std=0.0 if constant else float(sigmas.std()),
        n_cells=len(sigmas),
    )
