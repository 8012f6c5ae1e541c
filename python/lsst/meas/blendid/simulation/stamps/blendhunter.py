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

__all__ = ("BlendHunterSettings", "make_blendhunter", "make_blendhunter_real")

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from astropy.table import Table

from .._errors import SimulationError
from .._random import random_stream
from ._counts import check_counts, check_seed
from ._draw import Plan, Progress, draw_stamps, stamp_psf
from ._settings import BlendHunterSettings
from ._sources import ModelGalaxies, ParametricCosmos, RealCosmos, StampSource
from .real_galaxies import deal_out, open_real_galaxies
from .stamp_set import SPLITS, StampSet, StampSetError

_PSF_SIZE = 41
_COUNTS = {"train": 36000, "validation": 36000, "test": 8000}
_COUNTS_REAL = {"train": 0, "validation": 0, "test": 20000}


def make_blendhunter(
    counts: Mapping[str, int] | None = None,
    *,
    cosmos: str | Path | None = None,
    size_model: str = "1.6x",
    settings: BlendHunterSettings | None = None,
    seed: int = 1,
    processes: int = 1,
    progress: Progress | None = None,
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
    progress: Progress | None = None,
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
    rounds = [rng.permutation(part) for _ in range(-(-n // len(part)))] if n else []
    return np.concatenate([np.zeros(0, dtype=np.int64), *rounds])[:n]


def _other_than(
    rows: np.ndarray, partner: np.ndarray, part: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Replace galaxies that are their own partner by another one of the part, if it has one."""
    same = np.flatnonzero(rows == partner)
    if len(part) > 1:
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
    progress: Progress | None,
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
