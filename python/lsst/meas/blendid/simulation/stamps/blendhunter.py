# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The stamps of BlendHunter (Farrens et al. 2022, A&A 657, A98, https://arxiv.org/abs/2110.08180).

Stamps like those of the Canada-France Imaging Survey: one galaxy in the middle, and in
half of them a second one anywhere.  Further numbers are taken from its code and
the plots in it (https://github.com/CosmoStat/BlendHunter): the second galaxy is off by whole pixels,
uniformly over the stamp; the frame of zeros is put on before the noise, which
fills it; a noise level has ten realisations; the realistic set has 10,000 stamps of
each kind, all for tests.
"""

from __future__ import annotations

__all__ = (
    "BlendHunterSettings",
    "Plan",
    "draw_stamps",
    "make_blendhunter",
    "make_blendhunter_real",
    "stamp_psf",
)

import dataclasses
import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from ..._processes import map_in_order
from ..._progress import ProgressCallback
from ..errors import SimulationError, import_galsim
from ..random_streams import check_seed, random_stream
from .real_galaxies import HST_ZERO_POINT, deal_out, open_real_galaxies
from .sources import ModelGalaxies, ParametricCosmos, RealCosmos, StampSource
from .stamp_set import SPLITS, StampSet, StampSetError, check_counts

_PSF_SIZE = 41
_COUNTS = {"train": 36000, "validation": 36000, "test": 8000}
_COUNTS_REAL = {"train": 0, "validation": 0, "test": 20000}
_CHUNK = 200


@dataclasses.dataclass(frozen=True)
class BlendHunterSettings:
    """Numbers of the paper.

    The paper gives the PSF as a Moffat of β = 4.765 convolved with a Kolmogorov,
    0.65 arcsec in the mean; here both have the same FWHM, and the whole is
    0.65 arcsec in every stamp.
    """

    size: int = 51
    """Width of a stamp, pixels."""

    padding: int = 7
    """Width of the frame around a stamp, pixels."""

    pixel_scale: float = 0.187
    """Size of a pixel of MegaCam, arcsec."""

    fwhm: float = 0.65
    """FWHM of the whole PSF before the pixel, arcsec."""

    beta: float = 4.765
    """Exponent of the Moffat (Trujillo et al. 2001)."""

    atmosphere_shear: float = 0.01
    """Standard deviation of each component of the shear of the Kolmogorov part, a draw per stamp."""

    optics_shear: float = 0.01
    """The same of the Moffat part, chosen here."""

    exposure_time: float = 300.0
    """Exposure that fluxes are for, seconds."""

    diameter: float = 3.58
    """Diameter of the mirror of CFHT, m."""

    obscuration: float = 0.38
    """Diameter of the central obscuration in units of that of the mirror."""

    mag_range: tuple[float, float] = (20.0, 25.2)
    """Brightest and faintest F814W magnitude; 25.2 is the limit of the larger COSMOS catalogue
    of GalSim."""

    blended_share: float = 0.5
    """Share of stamps with two galaxies."""

    noise_levels: tuple[float, ...] = (5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0)
    """Standard deviations of the noise per pixel, counts."""

    n_realisations: int = 10
    """Number of noise draws a level."""

    real_noise: float = 14.5
    """Noise of the realistic stamps, that of the survey's images."""

    def __post_init__(self) -> None:
        whole = isinstance(self.size, int) and isinstance(self.padding, int)
        if not whole or self.size < 8 or self.padding < 0:
            raise SimulationError(f"stamps of {self.size} pixels padded by {self.padding} cannot be made")
        for name in ("pixel_scale", "fwhm", "exposure_time", "diameter"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise SimulationError(f"{name} must be positive and finite, not {getattr(self, name)}")
        # A Moffat of less has no finite flux.
        if not (math.isfinite(self.beta) and self.beta > 1.1):
            raise SimulationError(f"beta must be over 1.1 and finite, not {self.beta}")
        for name in ("atmosphere_shear", "optics_shear"):
            # Five standard deviations are less than the shear of 1 that there cannot be.
            if not 0.0 <= getattr(self, name) <= 0.1:
                raise SimulationError(f"{name} must be between 0 and 0.1, not {getattr(self, name)}")
        if not 0.0 <= self.obscuration < 1.0:
            raise SimulationError(f"obscuration must be from 0 to less than 1, not {self.obscuration}")
        if not 0.0 <= self.blended_share <= 1.0:
            raise SimulationError(f"blended_share must be between 0 and 1, not {self.blended_share}")

    @property
    def flux_scale(self) -> float:
        """Counts for one count per second of HST (mirror 2.4 m, obscuration 0.33)."""
        # Fluxes of the COSMOS catalogue are counts per second of HST.
        area = self.diameter**2 * (1.0 - self.obscuration**2) / (2.4**2 * (1.0 - 0.33**2))
        return area * self.exposure_time

    @property
    def zero_point(self) -> float:
        """AB magnitude of one count."""
        return HST_ZERO_POINT + 2.5 * math.log10(self.flux_scale)


def make_blendhunter(
    counts: Mapping[str, int] | None = None,
    *,
    cosmos: str | Path | None = None,
    size_model: str = "1.6x",
    settings: BlendHunterSettings | None = None,
    seed: int = 1,
    processes: int = 1,
    progress: ProgressCallback | None = None,
) -> StampSet:
    """Make the parametric set.

    Parameters
    ----------
    counts
        Number of stamps in each split (default: 36,000, 36,000 and 8,000).
    cosmos
        Folder of a COSMOS catalogue with parametric fits, as the paper used (the
        whole catalogue of ``galsim_download_cosmos`` has them).  Without it galaxies are
        drawn from the simulator's own model of discs and bulges, with the number
        counts of the same magnitudes.
    size_model
        Sizes of the model galaxies; the default is nearest to the sizes of COSMOS.
    settings
        Everything else (default: the numbers of the paper).
    seed
        Seed of everything, noise included.
    processes
        Number of processes; the pixels do not depend on it.
    progress
        Called with the number of stamps drawn and in all.

    Returns
    -------
    stamp_set
        Stamps without noise; take ``padded()`` and ``with_noise(sigma, realisation)``
        of it.  No galaxy is in two splits.

    Raises
    ------
    SimulationError
        Raised if the settings make no sense or there are too few galaxies.
    MissingGalSimError
        Raised if GalSim is not installed.
    """
    settings = settings or BlendHunterSettings()
    complete = _check_run(_COUNTS if counts is None else counts, seed, processes)
    rng = random_stream(seed, 11)
    source: StampSource
    if cosmos is None:
        n = sum(_n_galaxies(complete, settings).values())
        source = ModelGalaxies.draw(n, rng, mag_range=settings.mag_range, size_model=size_model)
    else:
        source = ParametricCosmos.open(cosmos, mag_range=settings.mag_range)
    return _make("blendhunter", source, complete, settings, seed, processes, progress)


def make_blendhunter_real(
    cosmos: str | Path,
    counts: Mapping[str, int] | None = None,
    *,
    settings: BlendHunterSettings | None = None,
    seed: int = 1,
    processes: int = 1,
    progress: ProgressCallback | None = None,
) -> StampSet:
    """Make the realistic set, of real galaxies with the PSF of HST replaced by that of CFHT.

    Parameters
    ----------
    cosmos
        Folder of a COSMOS catalogue: the whole one, or a part of it.
    counts
        Number of stamps in each split (default: 20,000 for tests).
    settings, seed, processes, progress
        As for `make_blendhunter`.

    Returns
    -------
    stamp_set
        Stamps without noise but that of HST, which is a hundredth of the survey's.

    Raises
    ------
    SimulationError
        Raised if the settings make no sense or there are too few galaxies.
    MissingGalSimError
        Raised if GalSim is not installed.

    Notes
    -----
    A stamp turns its galaxies by random angles, so that a catalogue of few galaxies gives
    many different stamps; but they show those few galaxies alone.
    """
    settings = settings or BlendHunterSettings()
    complete = _check_run(_COUNTS_REAL if counts is None else counts, seed, processes)
    galaxies = open_real_galaxies(cosmos)
    brightest, faintest = settings.mag_range
    inside = (galaxies.mag >= brightest) & (galaxies.mag <= faintest)
    if not inside.any():
        raise StampSetError(f"{galaxies.path.name} has no galaxy between {brightest} and {faintest} mag")
    source = RealCosmos(galaxies.select(inside))
    return _make("blendhunter-real", source, complete, settings, seed, processes, progress)


def _check_run(counts: Mapping[str, int], seed: int, processes: int) -> dict[str, int]:
    check_seed(seed)
    if processes < 1:
        raise SimulationError(f"the number of processes must be positive, not {processes}")
    return check_counts(counts)


def _n_blended(counts: dict[str, int], settings: BlendHunterSettings) -> dict[str, int]:
    return {name: round(settings.blended_share * n) for name, n in counts.items()}


def _n_galaxies(counts: dict[str, int], settings: BlendHunterSettings) -> dict[str, int]:
    blended = _n_blended(counts, settings)
    return {name: n + blended[name] for name, n in counts.items()}


def _each_as_often(n: int, part: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw galaxies of a part in random order, each as often as any other but for one time."""
    # Round after round, so that no galaxy comes far more often than another by chance.
    rounds = [rng.permutation(part) for _ in range(-(-n // len(part)))] if n else []
    return np.concatenate([np.zeros(0, dtype=np.int64), *rounds])[:n]


def _other_than(
    rows: np.ndarray, partner: np.ndarray, part: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Replace galaxies that are their own partner by another one of the part, if it has one."""
    same = np.flatnonzero(rows == partner)
    if len(part) > 1:
        # By a step that is not a whole turn: any other galaxy, each as likely.
        step = rng.integers(1, len(part), len(same))
        rows[same] = part[(np.searchsorted(part, rows[same]) + step) % len(part)]
    return rows


def _make(
    name: str,
    source: StampSource,
    counts: dict[str, int],
    settings: BlendHunterSettings,
    seed: int,
    processes: int,
    progress: ProgressCallback | None,
) -> StampSet:
    # One stream a purpose; every random number is drawn here, so that processes only draw pixels.
    rng = random_stream(seed, 12)
    parts = deal_out(len(source), _n_galaxies(counts, settings), seed)
    blended_counts = _n_blended(counts, settings)
    half = settings.size // 2
    split, blended, first, second = [], [], [], []
    for key in SPLITS:
        n = counts[key]
        if not n:
            continue
        is_blended = np.zeros(n, dtype=bool)
        # Exactly the share that is asked for, not about.
        is_blended[rng.permutation(n)[: blended_counts[key]]] = True
        rows = _each_as_often(n + blended_counts[key], parts[key], rng)
        partner = np.full(n, -1, dtype=np.int64)
        partner[is_blended] = _other_than(rows[n:], rows[:n][is_blended], parts[key], rng)
        split.append(np.full(n, key))
        blended.append(is_blended)
        first.append(rows[:n])
        second.append(partner)
    is_blended = np.concatenate(blended)
    n = len(is_blended)
    # Drawn for all stamps, so that which are blended changes nothing else.
    offset = rng.integers(-half, settings.size - half, size=(n, 2))
    offset[~is_blended] = 0
    angles = rng.uniform(0.0, 360.0, size=(n, 2))
    shears = rng.normal(size=(n, 4)) * np.repeat([settings.atmosphere_shear, settings.optics_shear], 2)
    plan = Plan(np.concatenate(first), np.concatenate(second), offset, angles, shears)
    images = draw_stamps(source, plan, settings, processes=processes, progress=progress)
    stamps = Table(
        {
            "stamp_id": np.arange(n, dtype=np.int64),
            "is_blended": is_blended,
            "n_objects": (1 + is_blended).astype(np.int32),
            "separation": np.where(is_blended, np.hypot(*offset.T), np.nan).astype(np.float32),
            "split": np.concatenate(split).astype(str),
            "noise": np.zeros(n, dtype=np.float32),
            "realisation": np.full(n, -1, dtype=np.int32),
            "psf_index": np.zeros(n, dtype=np.int32),
            **{f"psf_g{i % 2 + 1}_{('atmosphere', 'optics')[i // 2]}": shears[:, i] for i in range(4)},
        }
    )
    psf = stamp_psf(settings, np.zeros(4)).drawImage(nx=_PSF_SIZE, ny=_PSF_SIZE, scale=settings.pixel_scale)
    kernel = psf.array[None] / psf.array.sum(dtype=np.float64)
    metadata = {
        "source": source.name,
        "settings": dataclasses.asdict(settings),
        "noise_levels": list(settings.noise_levels if name == "blendhunter" else (settings.real_noise,)),
        "n_realisations": settings.n_realisations if name == "blendhunter" else 1,
        "reference": "Farrens et al. 2022, A&A 657, A98",
    }
    return StampSet(
        name=name,
        images=images,
        stamps=stamps,
        truth=_make_truth(source, plan, stamps, settings),
        psf=kernel.astype(np.float32),
        pixel_scale=settings.pixel_scale,
        zero_point=settings.zero_point,
        seed=seed,
        padding=settings.padding,
        metadata=metadata,
    )


def _make_truth(source: StampSource, plan: Plan, stamps: Table, settings: BlendHunterSettings) -> Table:
    """A row per galaxy, the first of each stamp before the second."""
    is_blended = np.asarray(stamps["is_blended"])
    stamp = np.concatenate([np.arange(len(plan)), np.flatnonzero(is_blended)])
    number = np.repeat([0, 1], [len(plan), int(is_blended.sum())])
    order = np.lexsort((number, stamp))
    stamp, number = stamp[order], number[order]
    row = np.where(number == 0, plan.first[stamp], plan.second[stamp])
    offset = np.where(number[:, None] == 0, 0, plan.offset[stamp])
    mag = np.asarray(source.mag, dtype=np.float64)[row]
    truth = Table(
        {
            "stamp_id": stamp.astype(np.int64),
            "object": number.astype(np.int32),
            "source_id": np.asarray(source.ident, dtype=np.int64)[row],
            "x": (settings.size // 2 + offset[:, 0]).astype(np.float64),
            "y": (settings.size // 2 + offset[:, 1]).astype(np.float64),
            "flux": (10.0 ** (-0.4 * (mag - settings.zero_point))).astype(np.float32),
            "mag": mag.astype(np.float32),
            "snr": np.full(len(row), np.inf, dtype=np.float32),
            "is_star": np.zeros(len(row), dtype=bool),
            "half_light_radius": np.asarray(source.radius, dtype=np.float32)[row],
            "rotation": plan.angles[stamp, number].astype(np.float32),
        }
    )
    truth["half_light_radius"].unit = "arcsec"
    truth["rotation"].unit = "deg"
    return truth


@dataclasses.dataclass(frozen=True)
class Plan:
    """All that is random about n stamps; stamp ``i`` is row ``i``.

    ``first`` and ``second`` (n,) are numbers of galaxies in the source, -1 for no second one; ``offset``
    (n, 2) that of the second from the first along x and y, pixels; ``angles`` (n, 2) those by which the two
    are turned, degrees; ``shears`` (n, 4) the components g1, g2 of the Kolmogorov, then of the Moffat.
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
    """Make the PSF of a stamp, a `galsim.GSObject` without the pixel; ``shear`` is a row of `Plan.shears`."""
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
    progress: ProgressCallback | None = None,
) -> np.ndarray:
    """Draw planned stamps without noise, counts, float32 of shape (n, s, s), in any number of processes."""
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
