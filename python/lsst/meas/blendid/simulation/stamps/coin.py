# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The stamps of COIN (Boucaud et al. 2020, MNRAS 491, 2481, https://arxiv.org/abs/1905.01324).

Pairs of real galaxies on stamps of 128 × 128 pixels: one in the middle, one shifted by whole
pixels, of nearly the same magnitude.  What the paper leaves open follows the code that made
its images (https://github.com/aboucaud/candels-blender) and its published pairs
(``paper_plots/output_catalog.csv`` of https://github.com/aboucaud/coindeblend).

The galaxies of the paper are of CANDELS in F160W, 0.06 arcsec per pixel; those here are of
COSMOS in F814W, 0.03 arcsec per pixel, with a PSF as many pixels wide (0.11 against 0.18 arcsec).
"""

from __future__ import annotations

__all__ = (
    "CENTRAL",
    "COMPANION",
    "CoinSettings",
    "make_coin",
)

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from astropy.table import Table

from ..._progress import ProgressCallback
from ...labels import matched_snr
from ..errors import SimulationError
from ..random_streams import check_seed, random_stream
from .real_galaxies import (
    HST_PIXEL,
    HST_ZERO_POINT,
    SEGMENTATION_THRESHOLD,
    IsolatedGalaxies,
    IsolatedGalaxy,
    RealGalaxies,
    open_real_galaxies,
    turn,
)
from .stamp_set import SPLITS, StampSet, StampSetError, check_counts

CENTRAL = 1
"""Bit of the array ``segmentation`` where the galaxy in the middle is."""

COMPANION = 2
"""Bit of the array ``segmentation`` where the shifted galaxy is."""

_COUNTS = {"train": 9800, "validation": 4200, "test": 6000}
_PSF_SIZE = 41
_TRIES = 1000
_MOST = 10_000_000


@dataclasses.dataclass(frozen=True)
class CoinSettings:
    """Numbers of the paper and of the code that made its images."""

    size: int = 128
    """Width of a stamp, pixels, even."""

    binning: int = 1
    """Number of HST pixels of 0.03 arcsec along a pixel of the stamps.  With 1 the galaxies and the PSF
    are as many pixels wide as those of CANDELS; 2 gives the 0.06 arcsec of CANDELS."""

    mag_limit: float = 24.5
    """Faintest F814W magnitude.  The published pairs end at H = 23.0, which is 24 to 25 in F814W for
    galaxies near redshift 1."""

    max_mag_difference: float = 2.0
    """Largest difference of the two magnitudes."""

    min_separation: float = 0.5
    """Least shift in units of the larger of the two half-light radii."""

    shift: Literal["text", "released"] = "text"
    """Rule of the shift.  The text of the paper has any from ``min_separation`` radii to half a stamp
    (``text``).  All published pairs, to which the published rates belong, lie between the larger radius
    and the lesser of four times the smaller radius and half a stamp; where the larger radius is beyond
    that upper end, between 0.8 of it and itself (``released``)."""

    noise_factor: float = 1.0
    """White noise that is added to each galaxy, in units of its own (candels-blender adds as much again)."""

    isolated_share: float = 0.0
    """Share of stamps that have no second galaxy: none in the paper, half by default of
    ``blendid stamps coin``, as a classifier of stamps needs both kinds."""

    split_shares: Mapping[str, float] = dataclasses.field(
        default_factory=lambda: {"train": 0.49, "validation": 0.21, "test": 0.30}
    )
    """Share of the galaxies that each split draws from: 30 % for tests, and 30 % of the others for
    validation."""

    def __post_init__(self) -> None:
        if self.size < 16 or self.size % 2:
            raise SimulationError(f"size must be even and at least 16, not {self.size}")
        if self.binning < 1:
            raise SimulationError(f"binning must be 1 or more, not {self.binning}")
        if math.isnan(self.mag_limit):
            raise SimulationError("mag_limit must be a magnitude, not nan")
        for name in ("max_mag_difference", "min_separation"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0.0):
                raise SimulationError(f"{name} must be positive and finite, not {getattr(self, name)}")
        if not (math.isfinite(self.noise_factor) and self.noise_factor >= 0.0):
            raise SimulationError(f"noise_factor must not be negative, not {self.noise_factor}")
        if not 0.0 <= self.isolated_share <= 1.0:
            raise SimulationError(f"isolated_share must be between 0 and 1, not {self.isolated_share}")
        if self.shift not in ("text", "released"):
            raise SimulationError(f"shift must be text or released, not {self.shift!r}")
        unknown = sorted(set(self.split_shares) - set(SPLITS))
        if unknown:
            raise SimulationError(
                f"unknown split {unknown[0]!r} in split_shares; there are {', '.join(SPLITS)}"
            )

    @property
    def pixel_scale(self) -> float:
        """Size of a pixel of the stamps, arcsec."""
        return HST_PIXEL * self.binning

    def shift_range(self, radius1: float, radius2: float) -> tuple[float, float]:
        """Range of the shift of a pair.

        Parameters
        ----------
        radius1, radius2
            Half-light radii, pixels.

        Returns
        -------
        low, high
            Least and largest shift, pixels; there is none if the first is larger.
        """
        small, large = sorted((radius1, radius2))
        least, half = self.min_separation * large, self.size / 2
        if self.shift == "text":
            return least, half
        high = min(4.0 * small, half)
        low = large if large < high else 0.8 * high
        return max(low, least), high


def make_coin(
    cosmos: str | Path,
    counts: Mapping[str, int] | None = None,
    *,
    settings: CoinSettings | None = None,
    seed: int = 1,
    progress: ProgressCallback | None = None,
) -> StampSet:
    """Make the set.

    Parameters
    ----------
    cosmos
        Folder of a COSMOS catalogue of real galaxies: the whole one, or a part of it.
    counts
        Number of stamps in each split (default: 9,800, 4,200 and 6,000: 20,000 of which 30 % are
        for tests, and 30 % of the others for validation).
    settings
        Everything else (default: the numbers of the paper).
    seed
        Seed of everything.
    progress
        Called with the number of stamps made and in all.

    Returns
    -------
    stamp_set
        Stamps in counts per second with the noise of HST and what is added to it.  A stamp is a
        function of the seed and its ``stamp_id``.  No galaxy is in two splits.  Flux and magnitude of
        the truth are those of the catalogue; ``flux_segment`` is the sum of the image of the galaxy
        alone in its segmentation, of ``n_pixels`` pixels; ``x`` and ``y`` are the centre of that light.
        ``arrays["segmentation"]`` (uint8) has the bits `CENTRAL` and `COMPANION` where each galaxy alone
        is over 1.5 standard deviations of the smoothed noise.

    Raises
    ------
    StampSetError
        Raised if there are too few galaxies for the splits, or none that make a pair.
    SimulationError
        Raised if the counts make no sense.
    MissingGalSimError
        Raised if GalSim is not installed.

    Notes
    -----
    A galaxy is seen in eight orientations, turned by quarters and mirrored, which needs no interpolation;
    but a catalogue of few galaxies shows those few alone.
    """
    settings = settings or CoinSettings()
    check_seed(seed)
    counts = check_counts(_COUNTS if counts is None else counts)
    if max(counts.values()) > _MOST:
        raise SimulationError(f"a split can have {_MOST} stamps at most: {counts}")
    galaxies = open_real_galaxies(cosmos)
    usable = np.isfinite(galaxies.radius) & (galaxies.radius > 0.0) & (galaxies.mag <= settings.mag_limit)
    if not usable.any():
        raise StampSetError(
            f"{galaxies.path.name} has no galaxy with a radius that is brighter than {settings.mag_limit} mag"
        )
    bare = [name for name in SPLITS if counts[name] and not settings.split_shares.get(name, 0.0) > 0.0]
    if bare:
        raise SimulationError(
            f"{counts[bare[0]]} {bare[0]} stamps are wanted and split_shares gives it no galaxy"
        )
    # All splits take part in the deal, so that a galaxy is of the same split whatever is made.
    parts = galaxies.select(usable).split(settings.split_shares, seed)

    n, s = sum(counts.values()), settings.size
    images, segmentation = np.empty((n, s, s), dtype=np.float32), np.zeros((n, s, s), dtype=np.uint8)
    stamps: list[dict[str, Any]] = []
    truth: list[dict[str, Any]] = []
    psfs = _Psfs()
    for k, name in enumerate(SPLITS):
        if not counts[name]:
            continue
        maker = _PairMaker(parts[name], settings, seed, name)
        for j in range(counts[name]):
            # Numbers of a split do not depend on how many stamps the others have.
            pair = maker.draw(k * _MOST + j)
            row = len(stamps)
            images[row], segmentation[row] = pair.image, pair.segmentation
            index = psfs.add(pair.psf_key, maker)
            stamps.append({**pair.stamp, "psf_index": index})
            for record in pair.truth:
                snr = matched_snr(np.array([record["flux"]]), psfs.images[index], pair.stamp["noise"])[0]
                truth.append({**record, "snr": snr})
            if progress is not None:
                progress(row + 1, n)
    return StampSet(
        name="coin",
        images=images,
        stamps=_to_table(stamps),
        truth=_to_table(truth),
        psf=np.stack(psfs.images),
        pixel_scale=settings.pixel_scale,
        zero_point=HST_ZERO_POINT,
        seed=seed,
        metadata={
            "source": galaxies.path.stem,
            "settings": dataclasses.asdict(settings),
            "n_galaxies": {name: len(part) for name, part in parts.items()},
            "segmentation_threshold": SEGMENTATION_THRESHOLD,
            "segmentation_bits": {"central": CENTRAL, "companion": COMPANION},
        },
        arrays={"segmentation": segmentation},
    )


@dataclasses.dataclass(frozen=True)
class _Pair:
    image: np.ndarray
    segmentation: np.ndarray
    stamp: dict[str, Any]
    truth: list[dict[str, Any]]
    psf_key: tuple[str, int, int]


class _PairMaker:
    """Draws the stamps of one split."""

    def __init__(self, galaxies: RealGalaxies, settings: CoinSettings, seed: int, split: str) -> None:
        self.galaxies, self.settings, self.seed, self.split = galaxies, settings, seed, split
        self.isolated = IsolatedGalaxies(galaxies, size=settings.size, binning=settings.binning, seed=seed)
        self.radius = galaxies.radius / settings.pixel_scale
        difference = np.abs(galaxies.mag[:, None] - galaxies.mag) <= settings.max_mag_difference
        np.fill_diagonal(difference, False)
        self.partners = [np.flatnonzero(row) for row in difference]
        if settings.isolated_share < 1.0 and not difference.any():
            raise StampSetError(
                f"the {len(galaxies)} galaxies for the {split} stamps have no two within "
                f"{settings.max_mag_difference} mag; use a larger catalogue or a fainter mag_limit"
            )

    def draw(self, stamp_id: int) -> _Pair:
        """Draw a stamp, a function of the seed and its number."""
        settings = self.settings
        rng = random_stream(self.seed, 22, stamp_id)
        alone = rng.uniform() < settings.isolated_share
        # Not all that is drawn makes a pair: radii may leave no room for a shift, images may show no source.
        for _ in range(_TRIES):
            first = int(rng.integers(len(self.galaxies)))
            chosen, shifts = [first], [(0, 0)]
            if not alone:
                if not self.partners[first].size:
                    continue
                second = int(rng.choice(self.partners[first]))
                shift = _draw_shift(*settings.shift_range(self.radius[first], self.radius[second]), rng)
                if shift is None:
                    continue
                chosen.append(second)
                shifts.append(shift)
            found = [self.isolated[i] for i in chosen]
            if all(galaxy is not None for galaxy in found):
                orientations = rng.integers(8, size=len(chosen)).tolist()
                return self._combine(stamp_id, chosen, [g for g in found if g], orientations, shifts, rng)
        raise StampSetError(f"no pair of galaxies for the {self.split} stamps fits the settings")

    def _combine(
        self,
        stamp_id: int,
        chosen: list[int],
        found: list[IsolatedGalaxy],
        orientations: list[int],
        shifts: list[tuple[int, int]],
        rng: np.random.Generator,
    ) -> _Pair:
        settings, middle = self.settings, self.settings.size // 2
        shape = (settings.size, settings.size)
        image, segmentation = np.zeros(shape), np.zeros(shape, dtype=np.uint8)
        truth: list[dict[str, Any]] = []
        for k, (i, alone, orientation, (dx, dy)) in enumerate(
            zip(chosen, found, orientations, shifts, strict=True)
        ):
            galaxy = alone.turned(orientation)
            part, inside = galaxy.cut(settings.size, dx, dy)
            image += part
            segmentation |= np.where(inside, CENTRAL << k, 0).astype(np.uint8)
            mag = float(self.galaxies.mag[i])
            truth.append(
                {
                    "stamp_id": stamp_id,
                    "object": np.int32(k),
                    "source_id": np.int64(self.galaxies.ident[i]),
                    "x": middle + dx + galaxy.offset[0],
                    "y": middle + dy + galaxy.offset[1],
                    "flux": np.float32(10.0 ** (-0.4 * (mag - HST_ZERO_POINT))),
                    "mag": np.float32(mag),
                    "is_star": False,
                    "half_light_radius": np.float32(self.galaxies.radius[i]),
                    "flux_segment": np.float32(galaxy.flux),
                    "n_pixels": np.int32(inside.sum()),
                    "orientation": np.int32(orientation),
                }
            )
        variance = sum(galaxy.sigma**2 for galaxy in found)
        if settings.noise_factor > 0.0:
            image += settings.noise_factor * math.sqrt(variance) * rng.standard_normal(shape)
        pair = len(chosen) == 2
        separation = math.hypot(truth[-1]["x"] - truth[0]["x"], truth[-1]["y"] - truth[0]["y"])
        either, both = np.count_nonzero(segmentation), np.count_nonzero(segmentation == (CENTRAL | COMPANION))
        stamp = {
            "stamp_id": np.int64(stamp_id),
            "is_blended": pair,
            "n_objects": np.int32(len(chosen)),
            "separation": np.float32(separation if pair else math.nan),
            "split": self.split,
            "noise": np.float32(math.sqrt(variance * (1.0 + settings.noise_factor**2))),
            "realisation": np.int32(0),
            "shift_x": np.int32(shifts[-1][0]),
            "shift_y": np.int32(shifts[-1][1]),
            "overlap": np.float32(both / either),
        }
        return _Pair(image, segmentation, stamp, truth, (self.split, chosen[0], orientations[0]))


class _Psfs:
    """PSFs of the galaxies in the middle, each once."""

    def __init__(self) -> None:
        self.images: list[np.ndarray] = []
        self._index: dict[tuple[str, int, int], int] = {}

    def add(self, key: tuple[str, int, int], maker: _PairMaker) -> int:
        if key not in self._index:
            self._index[key] = len(self.images)
            _, i, orientation = key
            self.images.append(turn(maker.isolated.psf(i, _PSF_SIZE), orientation))
        return self._index[key]


def _draw_shift(low: float, high: float, rng: np.random.Generator) -> tuple[int, int] | None:
    """Draw whole pixels uniformly in a ring, None if hardly a pixel is in it."""
    edge = math.floor(high)
    for _ in range(100):
        dx, dy = rng.integers(-edge, edge + 1, size=2).tolist()
        if low <= math.hypot(dx, dy) <= high:
            return dx, dy
    return None


def _to_table(rows: list[dict[str, Any]]) -> Table:
    return Table({name: np.array([row[name] for row in rows]) for name in rows[0]})
