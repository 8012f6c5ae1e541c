# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Drawing of galaxies into an image, without noise.

Two engines give the same image. ``galsim`` draws one galaxy after another with
`galsim.GSObject.drawImage`. ``fourier``, the default, evaluates the product of the
transforms of galaxy, PSF and pixel for many galaxies at once on stamps that are just
large enough, and transforms the whole stack back; it is two orders of magnitude
faster. Both sample the image of the pixel-integrated profile at the pixel centres.
"""

from __future__ import annotations

__all__ = (
    "EDGE",
    "OPTIONAL_COLUMNS",
    "REFERENCE_THRESHOLD",
    "REQUIRED_COLUMNS",
    "STAMP_SIZES",
    "Profiles",
    "add_stamps",
    "draw_galaxies",
    "draw_profiles",
    "draw_with_galsim",
    "fill_transforms",
    "sersic_table",
    "tabulate",
)

import dataclasses
import functools
import math

import numpy as np
from astropy.table import Table

from ..._jit import njit
from ..._progress import ProgressCallback
from ..catalogs.columns import check_column
from ..catalogs.galaxies import BULGE_B
from ..catalogs.observed import magnification, reduced_shear
from ..errors import SimulationError, import_galsim
from .psf_model import Modes, PsfModel

REQUIRED_COLUMNS = (
    "x",
    "y",
    "flux",
    "disc_radius",
    "bulge_radius",
    "axis_ratio",
    "bulge_axis_ratio",
    "position_angle",
    "bulge_fraction",
)
"""Columns that a table of galaxies must have."""

OPTIONAL_COLUMNS = ("gamma1", "gamma2", "kappa", "is_star", "is_knot", "disc_sersic", "bulge_sersic")
"""Columns that are zero where they are missing, but for the Sérsic indices: 1 of discs, 4 of bulges."""

STAMP_SIZES = (32, 40, 48, 64, 80, 96, 128, 160, 192, 256, 320, 384, 512, 768, 1024, 1536, 2048, 4096)
"""Widths that stamps have, pixels."""

# Scale radius of an exponential disc of half-light radius 1.
_DISC_SCALE = 1.0 / 1.6783469900166605
_BULGE_NORM = BULGE_B**8 / (math.factorial(8) * math.pi)

REFERENCE_THRESHOLD = 1e-4
"""``folding_threshold`` and ``maxk_threshold`` of GalSim that images of GalSim are drawn with."""

EDGE = 0.001
"""A stamp ends where the light of its galaxy in a pixel is this share of the noise."""

# GalSim draws a Kolmogorov profile up to the frequency where its transform is this.
_TRANSFORM_ACCURACY = 1e-5
_INDICES = {"disc_sersic": 1.0, "bulge_sersic": 4.0}
_PLAIN = np.array(list(_INDICES.values()))
_GAUSSIAN = 0.5
_GAUSSIAN_VARIANCE = 0.5 / math.log(2.0)
"""Variance of a Gaussian of half-light radius 1."""

_BATCH_PIXELS = 1 << 19


@dataclasses.dataclass(frozen=True)
class Profiles:
    """Centres and forms of galaxies.

    Lensing and the ellipse map a round profile of radius 1 linearly onto the sky; if L is
    that map, the form is Q = L Lᵀ, and the transform of the component at k is that of
    the round one at √(kᵀ Q k). A point has Q = 0.
    """

    x: np.ndarray
    """Column of the centre, pixels, shape (n,)."""

    y: np.ndarray
    """Row of the centre, pixels, shape (n,)."""

    forms: np.ndarray
    """Shape (n, 8): flux of the disc, and xx, xy, yy of its form, arcsec²; the same of the bulge.
    Radius 1 is the scale radius of an exponential disc, and the half-light radius of all else."""

    sersic: np.ndarray
    """Shape (n, 2): Sérsic index of disc and bulge, 1 and 4 by default."""

    def __len__(self) -> int:
        return len(self.x)

    def shifted(self, dx: float, dy: float) -> Profiles:
        """Move all centres by (dx, dy) pixels."""
        return Profiles(self.x + dx, self.y + dy, self.forms, self.sersic)

    @property
    def is_plain(self) -> bool:
        """Whether all are exponential discs and de Vaucouleurs bulges without anything dark."""
        return bool(np.all(self.sersic == _PLAIN) and np.all(self.forms[:, [0, 4]] >= 0.0))

    @classmethod
    def from_table(cls, galaxies: Table) -> Profiles:
        """Convert a table as `observe` gives it: `REQUIRED_COLUMNS` and any of `OPTIONAL_COLUMNS`.

        ``x`` and ``y`` are in pixels, ``flux`` is magnified, radii and shapes are before lensing. Stars, and
        components of no radius, are points. `SimulationError` names rows that are bad, or not weakly lensed.
        """
        n = len(galaxies)
        dark = "is_knot" in galaxies.colnames

        def column(name: str) -> np.ndarray:
            if name in OPTIONAL_COLUMNS and name not in galaxies.colnames:
                return np.full(n, _INDICES.get(name, 0.0))
            # Dust takes light away.
            not_negative = name == "flux" and not dark or name.endswith(("_radius", "_fraction"))
            return check_column(
                galaxies, name, low=0.0 if not_negative else -np.inf, positive=name.endswith("axis_ratio")
            )

        gamma1, gamma2, kappa = column("gamma1"), column("gamma2"), column("kappa")
        g1, g2 = reduced_shear(gamma1, gamma2, kappa)
        # The inverse of the Jacobian matrix of the lens (Bartelmann & Schneider 2001, eq. 3.11).
        size = 1.0 / ((1.0 - kappa) * (1.0 - g1**2 - g2**2))
        lens = np.empty((n, 2, 2))
        lens[:, 0, 0], lens[:, 1, 1] = size * (1.0 + g1), size * (1.0 - g1)
        lens[:, 0, 1] = lens[:, 1, 0] = size * g2
        angle = np.deg2rad(column("position_angle"))
        turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], axis=1)
        # Forms are covariance-like matrices of ellipses, which shear, turn and convolve by products and sums.
        base = lens @ turn.reshape(n, 2, 2)
        flux, bulge = column("flux"), column("bulge_fraction")
        point = np.zeros(n, dtype=bool)
        if "is_star" in galaxies.colnames:
            point |= np.asarray(galaxies["is_star"], dtype=bool)
        sersic = np.column_stack([column(name) for name in _INDICES])
        forms = np.empty((n, 8))
        # Half-light radii of exponential discs to scale radii, whose transform has a closed form.
        of_disc = np.where(sersic[:, 0] == 1.0, _DISC_SCALE, 1.0)
        components = (
            (0, 1.0 - bulge, "disc_radius", "axis_ratio", of_disc),
            (4, bulge, "bulge_radius", "bulge_axis_ratio", np.ones(n)),
        )
        for at, share, radius_name, ratio_name, scale in components:
            radius = np.where(point, 0.0, column(radius_name) * scale)
            ratio = np.where(point, 1.0, column(ratio_name))
            axes = np.stack([radius / np.sqrt(ratio), radius * np.sqrt(ratio)], axis=1)
            matrix = base * axes[:, None, :]
            form = matrix @ matrix.transpose(0, 2, 1)
            forms[:, at] = flux * share
            forms[:, at + 1], forms[:, at + 2], forms[:, at + 3] = form[:, 0, 0], form[:, 0, 1], form[:, 1, 1]
        return cls(column("x"), column("y"), forms, sersic)

    @property
    def flux(self) -> np.ndarray:
        """Flux of each, shape (n,)."""
        return self.forms[:, 0] + self.forms[:, 4]

    def stamp_sizes(self, psf: PsfModel, pixel_scale: float, limit: float) -> np.ndarray:
        """Width of the stamp that holds each galaxy, one of `STAMP_SIZES`, shape (n,).

        At half the width the light in a pixel, the sum of the PSF's wing and of disc and bulge along their
        major axes, is at most ``limit``. Pixel scale in arcsec.
        """
        disc_flux, disc_a, disc_area = self._axes(0)
        bulge_flux, bulge_a, bulge_area = self._axes(4)
        disc_flux, bulge_flux, flux = np.abs(disc_flux), np.abs(bulge_flux), np.abs(self.flux)
        disc, bulge = (_SersicLight.of(index) for index in self.sersic.T)
        fwhm = psf.fwhm * psf.stretch
        out = np.full(len(self), STAMP_SIZES[-1])
        left = np.arange(len(self))
        for n in STAMP_SIZES:
            # The PSF widens the profiles by about its own width.
            r = 0.5 * n * pixel_scale
            inner = max(r - 0.5 * fwhm, 0.1 * r)
            bright = flux[left] * float(psf.wing(np.asarray(inner)))
            bright += disc_flux[left] / disc_area[left] * disc.at(inner / disc_a[left], left)
            bright += bulge_flux[left] / bulge_area[left] * bulge.at(inner / bulge_a[left], left)
            fits = bright * pixel_scale**2 <= limit
            out[left[fits]] = n
            left = left[~fits]
            if not len(left):
                break
        return out

    def _axes(self, at: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Flux, semi-major axis and product of the axes of a component; points are made tiny."""
        flux, xx, xy, yy = self.forms[:, at : at + 4].T
        major = 0.5 * (xx + yy) + np.hypot(0.5 * (xx - yy), xy)
        area = np.sqrt(np.maximum(xx * yy - xy**2, 0.0))
        return flux, np.sqrt(np.maximum(major, 1e-8)), np.maximum(area, 1e-8)


@dataclasses.dataclass(frozen=True)
class _SersicLight:
    """Light per unit of area of profiles of flux 1 and radius 1, norm · exp(-b r^(1/n)), all of shape (m,).

    Radius 1 is the scale radius of an exponential disc, and the half-light radius of all else.
    """

    norm: np.ndarray
    b: np.ndarray
    power: np.ndarray

    @classmethod
    def of(cls, index: np.ndarray) -> _SersicLight:
        """Those of Sérsic indices (Graham & Driver 2005, eq. 1 and 4)."""
        from scipy.special import gamma, gammaincinv

        b = gammaincinv(2.0 * index, 0.5)
        norm = b ** (2.0 * index) / (2.0 * np.pi * index * gamma(2.0 * index))
        disc, bulge = index == 1.0, index == 4.0
        b = np.where(disc, 1.0, np.where(bulge, BULGE_B, b))
        norm = np.where(disc, 0.5 / np.pi, np.where(bulge, _BULGE_NORM, norm))
        return cls(norm, b, 1.0 / index)

    def at(self, radius: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Light of some rows at a radius each, shape (rows,)."""
        return self.norm[rows] * np.exp(-self.b[rows] * radius ** self.power[rows])


_LN_K = np.linspace(math.log(1e-4), math.log(1e5), 4096)
"""Wave numbers at which transforms are tabulated: in the logarithm they are smooth enough for lines."""


_TABLE_START, _TABLE_STEP = 2.0 * float(_LN_K[0]), 2.0 * float(_LN_K[1] - _LN_K[0])
"""Logarithm of the square of the first of them, and the step to the next."""


@functools.lru_cache(maxsize=64)
def sersic_table(index: float) -> np.ndarray:
    """Transform of a Sérsic profile of flux 1 and half-light radius 1, shape (4096,), at `_LN_K`."""
    galsim = import_galsim()
    if index == _PLAIN[1]:
        profile = galsim.DeVaucouleurs(half_light_radius=1.0)
    else:
        profile = galsim.Sersic(index, half_light_radius=1.0)
    # It has no closed form but for a few indices.
    return np.array([profile.kValue(math.exp(v), 0.0).real for v in _LN_K])


def tabulate(sersic: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tables of all indices that occur, (tables, 4096), and which each component takes, int64 (n, 2).

    An exponential disc takes none, -1, nor does a Gaussian, -2.
    """
    indices = np.union1d(np.unique(sersic), _PLAIN[1:])
    indices = indices[(indices != 1.0) & (indices != _GAUSSIAN)]
    which = np.searchsorted(indices, sersic)
    which[sersic == 1.0], which[sersic == _GAUSSIAN] = -1, -2
    return np.stack([sersic_table(float(index)) for index in indices]), which.astype(np.int64)


def draw_galaxies(
    galaxies: Table,
    *,
    size: tuple[int, int],
    psf: PsfModel,
    pixel_scale: float,
    noise: float,
    engine: str = "fourier",
    progress: ProgressCallback | None = None,
) -> np.ndarray:
    """Draw galaxies and stars into one image.

    Parameters
    ----------
    galaxies
        Table of `~lsst.meas.blendid.simulation.observe`, ``x`` and ``y`` relative to
        the first pixel of the image. Rows with ``is_star`` are points; ``gamma1``, ``gamma2`` and
        ``kappa`` shear the others.
    size
        Width and height of the image, pixels.
    psf
        The PSF, before the pixel.
    pixel_scale
        Size of a pixel, arcsec.
    noise
        Noise per pixel in the unit of ``flux``; errors of drawing stay well below it.
    engine
        "fourier" or "galsim".
    progress
        Called now and then with the number of galaxies done and in all.

    Returns
    -------
    image
        Image of shape (height, width), float64, in the unit of ``flux``.

    Raises
    ------
    SimulationError
        Raised for an engine that does not exist, a PSF narrower than 2 pixels, a column
        that is missing or has bad values, or a shear or convergence that is not weak.
    MissingGalSimError
        Raised if GalSim is not installed.
    """
    psf.check_sampling(pixel_scale)
    profiles = Profiles.from_table(galaxies)
    if engine == "galsim":
        return draw_with_galsim(galaxies, size=size, psf=psf, pixel_scale=pixel_scale, progress=progress)
    if engine != "fourier":
        raise SimulationError(f"unknown drawing engine {engine!r}; known engines: fourier, galsim")
    # The transform of bulges comes from it.
    import_galsim()
    image = np.zeros((size[1], size[0]))
    stamps = profiles.stamp_sizes(psf, pixel_scale, EDGE * noise)
    draw_profiles(image, profiles, stamps, psf, pixel_scale, progress)
    return image


def draw_with_galsim(
    galaxies: Table,
    *,
    size: tuple[int, int],
    psf: PsfModel,
    pixel_scale: float,
    threshold: float = REFERENCE_THRESHOLD,
    progress: ProgressCallback | None = None,
) -> np.ndarray:
    """Draw galaxies with GalSim, one by one; arguments and image as for `draw_galaxies`.

    ``threshold`` is the ``folding_threshold`` and ``maxk_threshold`` of GalSim.
    """
    galsim = import_galsim()
    image = np.zeros((size[1], size[0]))
    gsparams = galsim.GSParams(folding_threshold=threshold, maxk_threshold=threshold, maximum_fft_size=32768)
    seeing = psf.galsim(gsparams)
    canvas = galsim.ImageD(image, xmin=0, ymin=0, scale=pixel_scale)
    lensed = "kappa" in galaxies.colnames
    for i, row in enumerate(galaxies):
        if row["is_star"]:
            profile = seeing * row["flux"]
        else:
            angle = row["position_angle"] * galsim.degrees
            share = row["bulge_fraction"]
            parts = []
            ratios = {"disc": "axis_ratio", "bulge": "bulge_axis_ratio"}
            for kind, flux in (("disc", 1.0 - share), ("bulge", share)):
                # One of no light may have no radius.
                if flux > 0.0:
                    name = f"{kind}_sersic"
                    index = row[name] if name in galaxies.colnames else _INDICES[name]
                    part = galsim.Sersic(float(index), half_light_radius=row[f"{kind}_radius"], flux=flux)
                    parts.append(part.shear(q=row[ratios[kind]], beta=angle))
            both = galsim.Sum(parts)
            if lensed:
                shear = row["gamma1"], row["gamma2"], row["kappa"]
                g1, g2 = (float(g[0]) for g in reduced_shear(*shear))
                # The flux of the table is the lensed one.
                both = both.shear(g1=g1, g2=g2).dilate(math.sqrt(float(magnification(*shear)[0])))
            profile = galsim.Convolve(both * row["flux"], seeing, gsparams=gsparams)
        n = profile.getGoodImageSize(pixel_scale)
        x, y = float(row["x"]), float(row["y"])
        ix, iy = round(x), round(y)
        bounds = galsim.BoundsI(ix - n // 2, ix + n // 2, iy - n // 2, iy + n // 2) & canvas.bounds
        if bounds.isDefined():
            profile.drawImage(image=canvas[bounds], center=galsim.PositionD(x, y), add_to_image=True)
        if progress is not None and (i % 500 == 499 or i == len(galaxies) - 1):
            progress(i + 1, len(galaxies))
    return image


def draw_profiles(
    image: np.ndarray,
    profiles: Profiles,
    stamps: np.ndarray,
    psf: PsfModel,
    pixel_scale: float,
    progress: ProgressCallback | None = None,
) -> None:
    """Add galaxies to an image, float64 of shape (h, w), by transforms, those of one stamp size at a time.

    Positions are relative to the first pixel; galaxies whose stamp, ``stamps`` pixels wide, even, shape (n,),
    does not reach the image cost nothing.
    """
    import scipy.fft

    height, width = image.shape
    ix, iy = np.rint(profiles.x).astype(np.int64), np.rint(profiles.y).astype(np.int64)
    half = stamps // 2
    reaches = (ix - half < width) & (ix + half > 0) & (iy - half < height) & (iy + half > 0)
    total = int(np.count_nonzero(reaches))
    tables, which = tabulate(profiles.sersic)
    done = 0
    # Galaxies of one stamp size share their modes, and are transformed in one stack.
    for n in np.unique(stamps[reaches]).tolist():
        rows = np.flatnonzero(reaches & (stamps == n))
        modes = Modes.make(psf, n, pixel_scale, _TRANSFORM_ACCURACY)
        # In batches, as stacks of the largest stamps would take gigabytes.
        for part in np.array_split(rows, max(1, math.ceil(len(rows) * n**2 / _BATCH_PIXELS))):
            spectrum = np.empty((len(part), n, n // 2 + 1), dtype=np.complex128)
            fill_transforms(
                spectrum,
                profiles.forms[part],
                (profiles.x - ix)[part] * pixel_scale,
                (profiles.y - iy)[part] * pixel_scale,
                modes.kx,
                modes.ky,
                modes.values,
                modes.alias_index,
                modes.alias_k,
                modes.alias_values,
                tables,
                which[part],
            )
            add_stamps(image, scipy.fft.irfft2(spectrum, s=(n, n), overwrite_x=True), ix[part], iy[part])
            done += len(part)
            if progress is not None:
                progress(done, total)


@njit(error_model="numpy", inline="always")
def _component(flux: float, q2: float, tables: np.ndarray, which: int) -> float:
    """Transform of a round profile of radius 1 at a wave number whose square is ``q2``."""
    if which == -1:
        # Of an exponential disc: (1 + k²h²) to the power of -3/2.
        t = 1.0 + q2
        return flux / (t * math.sqrt(t))
    if which == -2:
        return flux * math.exp(-0.5 * _GAUSSIAN_VARIANCE * q2)
    value = 1.0
    if q2 > 0.0:
        at = (math.log(q2) - _TABLE_START) / _TABLE_STEP
        if at > 0.0:
            m = min(int(at), tables.shape[1] - 2)
            w = min(at - m, 1.0)
            value = (1.0 - w) * tables[which, m] + w * tables[which, m + 1]
    return flux * value


@njit(error_model="numpy", inline="always")
def _profile(form: np.ndarray, kx: float, ky: float, tables: np.ndarray, which: np.ndarray) -> float:
    """Transform of disc and bulge at one wave number; see `fill_transforms` for the arguments."""
    q2 = form[1] * kx * kx + 2.0 * form[2] * kx * ky + form[3] * ky * ky
    value = _component(form[0], q2, tables, which[0])
    if form[4] > 0.0:
        q2 = form[5] * kx * kx + 2.0 * form[6] * kx * ky + form[7] * ky * ky
        value += _component(form[4], q2, tables, which[1])
    return value


@njit(error_model="numpy")
def fill_transforms(
    out: np.ndarray,
    forms: np.ndarray,
    dx: np.ndarray,
    dy: np.ndarray,
    kx: np.ndarray,
    ky: np.ndarray,
    psf: np.ndarray,
    alias_index: np.ndarray,
    alias_k: np.ndarray,
    alias_psf: np.ndarray,
    tables: np.ndarray,
    which: np.ndarray,
) -> None:
    """Fill the transforms of galaxies, complex of shape (n, n_ky, n_kx), centred on the first pixel.

    ``forms`` as in `Profiles`; ``dx`` and ``dy`` are the offsets of the centres from the first pixel, arcsec,
    shape (n,); then come the fields of `Modes`, and what `tabulate` gives.
    """
    n_x = len(kx)
    cos_x = np.empty(n_x)
    sin_x = np.empty(n_x)
    for g in range(out.shape[0]):
        form = forms[g]
        # Phases of shifts are products of those along x and y, which saves most sines and cosines.
        for j in range(n_x):
            cos_x[j] = math.cos(kx[j] * dx[g])
            sin_x[j] = -math.sin(kx[j] * dx[g])
        for i in range(len(ky)):
            cos_y = math.cos(ky[i] * dy[g])
            sin_y = -math.sin(ky[i] * dy[g])
            for j in range(n_x):
                value = psf[i, j] * _profile(form, kx[j], ky[i], tables, which[g])
                out[g, i, j] = complex(
                    value * (cos_x[j] * cos_y - sin_x[j] * sin_y),
                    value * (cos_x[j] * sin_y + sin_x[j] * cos_y),
                )
        for m in range(len(alias_psf)):
            x, y = alias_k[m, 0], alias_k[m, 1]
            value = alias_psf[m] * _profile(form, x, y, tables, which[g])
            phase = x * dx[g] + y * dy[g]
            out[g, alias_index[m, 0], alias_index[m, 1]] += complex(
                value * math.cos(phase), -value * math.sin(phase)
            )


@njit()
def add_stamps(image: np.ndarray, stamps: np.ndarray, ix: np.ndarray, iy: np.ndarray) -> None:
    """Add periodic stamps, (n, m, m) with m even, whose centre is element [0, 0], to an image (h, w).

    ``ix`` and ``iy``, shape (n,), are the pixels of the centres, possibly outside of the image.
    """
    m = stamps.shape[1]
    half = m // 2
    height, width = image.shape
    for g in range(stamps.shape[0]):
        y_start, y_stop = max(0, iy[g] - half), min(height, iy[g] - half + m)
        x_start, x_stop = max(0, ix[g] - half), min(width, ix[g] - half + m)
        for y in range(y_start, y_stop):
            sy = (y - iy[g] + m) % m
            for x in range(x_start, x_stop):
                image[y, x] += stamps[g, sy, (x - ix[g] + m) % m]
