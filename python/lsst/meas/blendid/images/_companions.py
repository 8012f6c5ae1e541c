# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Variance, weight and mask of a plain image: in HDUs beside it, in other files, or told by its counts."""

from __future__ import annotations

__all__ = (
    "AUXILIARY",
    "Companions",
    "counting_variance",
    "find_role",
    "read_companions",
)

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import astropy.io.fits
import astropy.units as u
import numpy as np
from scipy.special import pdtrc

from ._input_image import HduKey, Notes, PlaneFile, PlaneSource, ReadError
from ._pixels import find_hdu, native_array, parse_unit, show_hdu, squeezed_shape

_NAMES = {
    "variance": "VAR VARIANCE VARIMG VARMAP",
    "error": "ERR ERROR ERRORS SIGMA STD STDDEV RMS UNC UNCERT UNCERTAINTY NOISE",
    "inverse variance": "IVM IVAR INVVAR INVVARIANCE INVERSEVARIANCE",
    "weight": "WHT WGT WT WEIGHT WEIGHTS WEIGHTMAP",
    "mask": "DQ MSK MASK BPM BADPIX FLAG FLAGS QUALITY",
}
"""Usual names (EXTNAME) of the HDUs of each role, letters and digits only."""

_ROLES = {name: role for role, names in _NAMES.items() for name in names.split()}

_UTYPES = {
    "StdDevUncertainty": "error",
    "VarianceUncertainty": "variance",
    "InverseVariance": "inverse variance",
}
"""What astropy's CCDData writes as UTYPE into the HDU of its uncertainty."""

_NOISE_ROLES = ("variance", "error", "inverse variance", "weight")
"""In the order in which they are taken where a file has several."""

_OPTIONS = {"variance": "variance", "error": "error", "inverse variance": "weight", "weight": "weight"}
"""The option by which a user gives each."""

AUXILIARY = frozenset(("WCSDVARR", "D2IMARR", "WCSCORR", "PSF"))
"""Names of image HDUs that are read elsewhere."""

_BLOCK = 64
_MAX_BLOCKS = 400

_MATCHES = 0.1
"""Relative difference of two noises that are called equal."""

_DOUBTFUL = (0.3, 1.6)
"""Measured noise of the pixels over that of the variance plane: below, even correlated noise of drizzled
images is not that small."""


@dataclass(frozen=True)
class Companions:
    """What belongs to an image.

    Parameters
    ----------
    variance : `numpy.ndarray`, shape (ny, nx), or `None`
        Variance of each pixel, float32; NaN where there are no data.
    bad : `numpy.ndarray`, shape (ny, nx)
        Pixels without data, by the mask or the variance.
    used
        HDUs of the file that were read.
    """

    variance: np.ndarray | None
    bad: np.ndarray
    used: tuple[Any, ...]


@dataclass(frozen=True)
class _Plane:
    """An image that belongs to another, and what it is."""

    role: str
    array: np.ndarray
    label: str
    unit: str | None
    hdu: Any = None


def find_role(hdu: Any) -> str | None:
    """Tell by its name what an HDU is beside a science image; `None` if nothing of it.

    ``"variance"``, ``"error"``, ``"inverse variance"``, ``"weight"`` or ``"mask"``.
    """
    if (role := _UTYPES.get(str(hdu.header.get("UTYPE", "")).strip())) is not None:
        return role
    label = str(hdu.header.get("EXTNAME") or hdu.header.get("EXTTYPE") or hdu.header.get("IMAGETYP") or "")
    # Spelling differs from survey to survey: SCI_ERR, sci-err, Sci Err.
    words = [word for word in re.split(r"[^A-Z0-9]+", label.upper()) if word]
    role = _ROLES.get("".join(words))
    # As SCI_ERR or i_wht; a name like FLAG_IMAGE may be anything.
    return role if role is not None or len(words) != 2 else _ROLES.get(words[1])


def read_companions(
    hdu_list: astropy.io.fits.HDUList,
    science: Any,
    array: np.ndarray,
    name: str,
    notes: Notes,
    *,
    sources: dict[str, PlaneSource],
    mask_bits: int | None,
    automatic: bool,
    open_file: Callable[[str], AbstractContextManager[astropy.io.fits.HDUList]],
    bad: np.ndarray,
) -> Companions:
    """Read what belongs to an image (ny, nx) in an HDU, and note what was taken and what was not.

    ``sources`` is what the user gave, by role (``"variance"``, ``"error"``, ``"weight"``, ``"mask"``); HDUs
    with the usual names are looked for where nothing was given if ``automatic``.  ``mask_bits`` are those of
    the mask that count, by default all; ``bad`` (ny, nx) are pixels that are known to have no data.  Raises
    `ReadError` if the user gave something that cannot be used.
    """
    given = {role: source for role, source in sources.items() if source is not None}
    noise = [role for role in _NOISE_ROLES if given.get(role, False) is not False]
    if len(noise) > 1:
        raise ReadError(f"{name}: give one of --{' and --'.join(noise)}")
    if mask_bits is not None and mask_bits <= 0:
        raise ReadError(
            f"{name}: --mask-bits is {mask_bits}; it is the sum of the values of the bits that count"
        )
    # Looked up once: roles are told from the names of all HDUs together.
    found = _find_in_file(hdu_list, science, array.shape) if automatic else []
    planes: list[_Plane] = []
    for role in (*noise, "mask"):
        source = given.get(role)
        if source is not None and source is not False:
            planes.append(_read_given(hdu_list, role, source, array.shape, name, open_file))
    refused = [role for role in _NOISE_ROLES if given.get(role) is False]
    if not noise:
        # In the order of the roles: the first one is taken.
        of_noise = [(role, hdu) for role, hdu in found if role != "mask" and _OPTIONS[role] not in refused]
        planes += [_read_found(role, hdu, name) for role, hdu in of_noise[:1]]
    if "mask" not in given:
        planes += [_read_found(role, hdu, name) for role, hdu in found if role == "mask"]

    variance = None
    # That of the caller is for what was known before.
    bad = bad.copy()
    if mask_bits is not None and not any(plane.role == "mask" for plane in planes):
        notes.decide(f"there is no mask that --mask-bits {mask_bits} could choose from; --mask names one")
    for plane in planes:
        if plane.role == "mask":
            bad |= _read_mask(plane, mask_bits, name, notes)
    for plane in planes:
        if plane.role != "mask":
            variance = _read_variance(plane, array, bad, science, name, notes, given=bool(noise))
    if variance is not None:
        bad |= ~np.isfinite(variance)
    return Companions(variance, bad, tuple(plane.hdu for plane in planes if plane.hdu is not None))


def _find_in_file(
    hdu_list: astropy.io.fits.HDUList, science: Any, shape: tuple[int, ...]
) -> list[tuple[str, Any]]:
    """HDUs as large as the image, with their roles; those of its version, if any."""
    others = [
        hdu for hdu in hdu_list if hdu is not science and hdu.is_image and squeezed_shape(hdu.shape) == shape
    ]
    chosen: list[tuple[str, Any]] = []
    for role in (*_NOISE_ROLES, "mask"):
        same = [hdu for hdu in others if find_role(hdu) == role]
        # HST files have one error plane a chip, told apart by EXTVER.
        of_version = [hdu for hdu in same if hdu.ver == science.ver][:1]
        chosen += [(role, hdu) for hdu in of_version or (same if len(same) == 1 else [])]
    unit = parse_unit(science.header.get("BUNIT"))
    if unit is None or unit == u.dimensionless_unscaled or any(role != "mask" for role, _ in chosen):
        return chosen
    # Without a name, the unit may tell.
    for role, power in (("variance", 2), ("inverse variance", -2)):
        for hdu in others:
            if find_role(hdu) is None and parse_unit(hdu.header.get("BUNIT")) == unit**power:
                return [(role, hdu), *chosen]
    return chosen


def _read_found(role: str, hdu: Any, name: str) -> _Plane:
    """Read an HDU that was recognised."""
    label = f"HDU {hdu.name}" if hdu.name else "an HDU"
    return _Plane(role, native_array(hdu, f"the {role}", name), label, hdu.header.get("BUNIT"), hdu)


def _read_given(
    hdu_list: astropy.io.fits.HDUList,
    role: str,
    source: HduKey | PlaneFile,
    shape: tuple[int, ...],
    name: str,
    open_file: Callable[[str], AbstractContextManager[astropy.io.fits.HDUList]],
) -> _Plane:
    """Read what the user named."""
    if isinstance(source, PlaneFile):
        with open_file(source.path) as other:
            images = [hdu for hdu in other if hdu.is_image and len(squeezed_shape(hdu.shape)) == 2]
            hdu = (
                find_hdu(other, source.hdu, source.path)
                if source.hdu is not None
                else next(iter(images), None)
            )
            if hdu is None:
                raise ReadError(f"{source.path}: has no two-dimensional image to take the {role} from")
            plane = _Plane(
                _exact_role(role, hdu),
                native_array(hdu, f"the {role}", source.path),
                source.path,
                hdu.header.get("BUNIT"),
            )
    else:
        hdu = find_hdu(hdu_list, source, name)
        plane = _Plane(
            _exact_role(role, hdu),
            native_array(hdu, f"the {role}", name),
            f"HDU {show_hdu(source)}",
            hdu.header.get("BUNIT"),
            hdu,
        )
    if plane.array.shape != shape:
        raise ReadError(f"{name}: image {shape} and {role} {plane.array.shape} differ in shape")
    return plane


def _exact_role(role: str, hdu: Any) -> str:
    """Inverse variance, where a weight is called so."""
    return "inverse variance" if role == "weight" and find_role(hdu) == "inverse variance" else role


def _read_mask(plane: _Plane, bits: int | None, name: str, notes: Notes) -> np.ndarray:
    """Pixels that a mask marks as bad."""
    if bits is None:
        bad = plane.array != 0
        rule = "nonzero is bad; --mask-bits chooses"
    else:
        if plane.array.dtype.kind not in "iub":
            plane = _Plane(plane.role, np.nan_to_num(plane.array).astype(np.int64), plane.label, None)
        if bits >> (width := 8 * plane.array.itemsize):
            raise ReadError(f"{name}: --mask-bits is {bits}, but the mask of {plane.label} has {width} bits")
        bad = (plane.array & np.array(bits).astype(plane.array.dtype)) != 0
        rule = f"bits {bits}"
    share = bad.mean()
    if share == 1.0:
        raise ReadError(
            f"{name}: the mask of {plane.label} marks every pixel ({rule}); "
            "choose bits with --mask-bits, or leave it out with --mask none"
        )
    text = f"mask: {plane.label} marks {100.0 * share:.2g} % of the pixels ({rule})"
    if share > 0.5:
        notes.decide(f"{text}; --mask none leaves it out")
    else:
        notes.append(text)
    return bad


def _read_variance(
    plane: _Plane, array: np.ndarray, bad: np.ndarray, science: Any, name: str, notes: Notes, *, given: bool
) -> np.ndarray | None:
    """Turn an image of noise into variance, after a look at the noise of the pixels."""
    # In double precision, as inverses of large weights leave single precision.
    values = plane.array.astype(np.float64) * _unit_factor(plane, science)
    with np.errstate(all="ignore"):
        usable = np.isfinite(values) & (values > 0.0) & np.isfinite(array)
        if plane.role == "error":
            variance = values**2
        elif plane.role == "variance":
            variance = values
        else:
            variance = 1.0 / values
    usable &= np.isfinite(variance) & (variance > 0.0)
    variance[~usable] = np.nan
    if not usable.any():
        text = f"{plane.role}: {plane.label} is nowhere positive and finite"
        if given:
            raise ReadError(f"{name}: {text}; leave it out")
        notes.decide(f"{text} and is not used: the noise is estimated from the pixels")
        return None
    # Names are not trusted alone: weights of some surveys are inverse variances, those of others exposure
    # times.
    ratio = _measured_noise(array, variance, usable & ~bad)
    text = f"{plane.role}: noise from {plane.label}"
    if plane.role != "weight":
        if np.isfinite(ratio) and not _DOUBTFUL[0] <= ratio <= _DOUBTFUL[1]:
            notes.decide(
                f"{text}, but the pixels scatter {ratio:.3g} times as much; if it is something else, leave "
                f"it out with --{_OPTIONS[plane.role]} none"
            )
        else:
            notes.append(text)
    elif not np.isfinite(ratio):
        notes.decide(f"{text}, taken as inverse variance; the scatter of the pixels cannot be measured")
    elif abs(ratio - 1.0) <= _MATCHES:
        notes.append(f"{text}, which is inverse variance: the pixels scatter as it says")
    else:
        variance *= ratio**2
        notes.decide(
            f"{text}, taken as relative weight: the pixels scatter {ratio:.3g} times as much as for inverse "
            "variance, and the noise is scaled to them"
        )
    # Very small or large ones would not fit.
    fits = usable.any() and 1e-35 < np.nanmin(variance) and np.nanmax(variance) < 1e35
    return variance.astype(np.float32) if fits else variance


def _unit_factor(plane: _Plane, science: Any) -> float:
    """Factor to the unit of the image, where both have one that can be compared."""
    unit, other = parse_unit(science.header.get("BUNIT")), parse_unit(plane.unit)
    power = {"error": 1, "variance": 2, "inverse variance": -2}.get(plane.role)
    if unit is None or other is None or power is None or not other.is_equivalent(unit**power):
        return 1.0
    return float((1.0 * other).to_value(unit**power))


def _measured_noise(array: np.ndarray, variance: np.ndarray, usable: np.ndarray) -> float:
    """Scatter of pixels over their standard deviation: the median over blocks, of their median deviations."""
    ny, nx = array.shape
    corners = [(y, x) for y in range(0, ny, _BLOCK) for x in range(0, nx, _BLOCK)]
    scatters = []
    for y, x in corners[:: max(1, len(corners) // _MAX_BLOCKS)]:
        block = (slice(y, y + _BLOCK), slice(x, x + _BLOCK))
        keep = usable[block]
        if np.count_nonzero(keep) < min(100, 0.5 * usable.size):
            continue
        pixels = array[block][keep].astype(np.float64)
        scaled = (pixels - np.median(pixels)) / np.sqrt(variance[block][keep])
        # Median deviations, to which stars and galaxies contribute little.
        scatters.append(1.4826 * float(np.median(np.abs(scaled - np.median(scaled)))))
    scatters = [scatter for scatter in scatters if scatter > 0.0]
    return float(np.median(scatters)) if scatters else np.nan


_ZERO_SHARE = 0.5
"""Share of pixels that are 0 from which on the noise cannot be measured as scatter."""

_COUNT_BLOCK = 32

_CHANCE = 2.87e-7
"""Chance that a Gaussian is more than 5 sigma high."""


def counting_variance(array: np.ndarray, bad: np.ndarray, psf_sigma: float, notes: Notes) -> float | None:
    """Variance of a pixel of sparse photon counts (ny, nx); `None` if these are none.

    With some photons in the area of a PSF of width ``psf_sigma`` [pixel], their number is far from Gaussian;
    the variance is that of the Gaussian that reaches 5 sigma as seldom as the photons of the sky do.
    """
    good = array[~bad]
    if good.size == 0 or not np.count_nonzero(good == 0) > _ZERO_SHARE * good.size:
        return None
    if good.min() < 0 or good.max() == 0 or (good.dtype.kind == "f" and not (good == np.rint(good)).all()):
        return None
    means = []
    for y in range(0, array.shape[0], _COUNT_BLOCK):
        for x in range(0, array.shape[1], _COUNT_BLOCK):
            block = (slice(y, y + _COUNT_BLOCK), slice(x, x + _BLOCK))
            if (keep := ~bad[block]).mean() > 0.5:
                means.append(float(array[block][keep].astype(np.float64).mean()))
    # Sources are in some of the blocks only; with hardly a photon in any, they do not stand out.
    sky = (float(np.median(means)) if means else 0.0) or float(good.astype(np.float64).mean())
    area = 4.0 * np.pi * psf_sigma**2
    photons = sky * area
    n = int(np.ceil(photons))
    while pdtrc(n - 1, photons) > _CHANCE:
        n += 1
    # The background, a mode, is 0 and leaves the sky in.
    sigma = n / 5.0
    notes.decide(
        f"photon counts, {100.0 * np.count_nonzero(good == 0) / good.size:.0f} % of them 0: the noise is "
        f"that of {sky:.3g} counts a pixel, and the models were not trained on such images"
    )
    return sigma**2 / area
