# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Bars, spiral arms, rings, tails and dust lanes of galaxies: what a disc is not smooth in.

A structure is no object: it is light of the disc, put elsewhere in it as elliptical Gaussians, and never has
a row in a catalogue or a truth table.  Where these lie depends on a seed and on the number of the galaxy
alone, so that all bands, patches and processes draw the same ones.  The total light of a galaxy stays what it
is.
"""

from __future__ import annotations

__all__ = (
    "DEFAULT_STRUCTURE",
    "check_structures",
    "draw_structures",
    "fill_structures",
    "split_structures",
)

import numpy as np
from astropy.table import Table, vstack

from ..config import StructureConfig
from ..random_streams import check_seed
from .columns import STRUCTURE_COLUMNS, check_column, refuse_rows
from .observed import DISC_B, dim_rows, hashed_uniform, through_lens

DEFAULT_STRUCTURE = {"disc_sersic": 1.0, "bulge_sersic": 4.0, "n_arms": 2}
"""What a galaxy has where a column is missing, if not 0."""

_FRACTIONS = ("bar_fraction", "arm_fraction", "ring_fraction", "tail_fraction")

# Indices that are drawn: each needs a table of its transform.
_DISC_INDICES = (0.5, 0.7, 1.0, 1.3)
_INDICES = (0.5, 0.7, 1.0, 1.3, 1.6, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0)

# Bars have a tenth to a third of the light (Gadotti 2011, MNRAS 415, 3308), arms up to half of that of the
# disc, inner and outer rings a tenth to a third (Comerón et al. 2014, A&A 562, A121), tails of mergers some
# per cent to a sixth.
_RANGES = {
    "bar_fraction": (0.1, 0.3),
    "arm_fraction": (0.15, 0.5),
    "ring_fraction": (0.1, 0.35),
    "tail_fraction": (0.04, 0.18),
    "dust_depth": (0.2, 0.45),
}
_MOST = 0.8
"""Largest share of all structures together in the light of a disc."""

_LEAST_RADIUS = 0.3
"""Half-light radius of a disc, arcsec, under which nothing of its structure is seen."""

_EDGE_ON = (0.1, 0.25)
"""Axis ratios of discs that are seen from the side."""

_SCALE_RADIUS = 1.0 / DISC_B
"""Of an exponential disc, in units of its half-light radius."""

_GAUSSIAN_RADIUS = 1.17741002
"""Half-light radius of a Gaussian, in units of its standard deviation."""

# First counters of the random numbers of each kind; knots have those from 0 on.
_FIRST = {"bar": 1 << 20, "arm": 2 << 20, "ring": 3 << 20, "tail": 4 << 20}
_ARM_STEPS, _RING_STEPS, _TAIL_STEPS = 16, 28, 14

type Parts = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Of k Gaussians of g galaxies, each of shape (g, k): share of the structure, place along the major and the
minor axis of the disc seen face-on, in its half-light radii, standard deviation along and across the
direction to the middle of the disc."""


def fill_structures(table: Table, like: Table) -> None:
    """Add the columns of structures that another table has, for galaxies and stars without any."""
    for name in STRUCTURE_COLUMNS:
        if name in like.colnames and name not in table.colnames:
            table[name] = np.full(len(table), DEFAULT_STRUCTURE.get(name, 0.0), like[name].dtype)


def draw_structures(catalog: Table, config: StructureConfig, rng: np.random.Generator) -> None:
    """Give galaxies of a complete catalogue structures; without any in ``config`` nothing is added."""
    shares = {
        "bar_fraction": config.barFraction,
        "arm_fraction": config.spiralFraction,
        "ring_fraction": config.ringFraction,
        "tail_fraction": config.tailFraction,
        "dust_depth": config.dustFraction,
    }
    if not (any(shares.values()) or config.edgeOnFraction or config.sersicFraction):
        return
    n = len(catalog)
    is_galaxy = ~np.asarray(catalog["is_star"], dtype=bool)
    # All is drawn for all, so that the share of one kind leaves the others as they are.
    chance, size = rng.uniform(size=(len(shares), n)), rng.uniform(size=(len(shares), n))
    for i, (name, share) in enumerate(shares.items()):
        low, high = _RANGES[name]
        has = is_galaxy & (chance[i] < share)
        catalog[name] = np.where(has, low + (high - low) * size[i], 0.0)
    catalog["n_arms"] = rng.choice((2, 3, 4), n, p=(0.7, 0.15, 0.15)).astype(np.int32)
    edge_on = is_galaxy & (rng.uniform(size=n) < config.edgeOnFraction)
    thin = _EDGE_ON[0] + (_EDGE_ON[1] - _EDGE_ON[0]) * rng.uniform(size=n)
    # The major axis stays as it is: radii are circularised.
    flatter = np.where(edge_on, np.sqrt(np.minimum(thin / np.asarray(catalog["axis_ratio"]), 1.0)), 1.0)
    for name in ("half_light_radius", "disc_radius"):
        catalog[name] *= flatter
    catalog["axis_ratio"] = np.where(edge_on, thin, catalog["axis_ratio"])
    other = is_galaxy & (rng.uniform(size=n) < config.sersicFraction)
    disc, bulge = rng.choice(_DISC_INDICES, n), rng.choice(_INDICES[2:], n)
    # Half of these are of one piece.
    whole, single = other & (rng.uniform(size=n) < 0.5), rng.choice(_INDICES, n)
    for name, drawn in (("disc_sersic", disc), ("bulge_sersic", np.where(whole, single, bulge))):
        catalog[name] = np.where(other, drawn, DEFAULT_STRUCTURE[name])
    catalog["bulge_fraction"] = np.where(whole, 1.0, catalog["bulge_fraction"])
    catalog["bulge_radius"] = np.where(whole, catalog["half_light_radius"], catalog["bulge_radius"])
    catalog["bulge_axis_ratio"] = np.where(whole, catalog["axis_ratio"], catalog["bulge_axis_ratio"])


def split_structures(drawn: Table, seed: int, *, pixel_scale: float = 0.2, least_flux: float = 0.0) -> Table:
    """Split structures from their discs, for rows to draw as `.observed.split_knots` gives them.

    Discs have less light then, and more where dust takes some; their structures follow after all rows, each a
    Gaussian with the ``id`` of its galaxy and ``is_knot``. ``pixel_scale`` is in arcsec. Galaxies fainter
    than ``least_flux``, in the unit of ``flux``, stay smooth.
    """
    check_seed(seed)
    if not set(STRUCTURE_COLUMNS) & set(drawn.colnames):
        return drawn
    rows = drawn.copy()
    fill_structures(rows, Table({name: [DEFAULT_STRUCTURE.get(name, 0.0)] for name in STRUCTURE_COLUMNS}))
    shares = np.stack([check_column(rows, name, low=0.0, high=1.0) for name in _FRACTIONS])
    depth = check_column(rows, "dust_depth", low=0.0, high=0.5)
    bulge = np.asarray(rows["bulge_fraction"], dtype=np.float64)
    resolved = ~np.asarray(rows["is_star"], dtype=bool) & (np.asarray(rows["disc_radius"]) >= _LEAST_RADIUS)
    resolved &= (bulge < 1.0) & (np.asarray(rows["flux"]) >= least_flux)
    shares = np.where(resolved, shares, 0.0)
    shares *= np.minimum(1.0, _MOST / np.maximum(shares.sum(axis=0), 1e-9))
    left = 1.0 - shares.sum(axis=0)
    # What dust takes is a Gaussian along the major axis; the disc is brighter by it, so that the sum stays.
    taken = np.where(resolved, depth, 0.0) * left * _LANE_HEIGHT / _SCALE_RADIUS
    parts = []
    makers = {"bar": _make_bar, "arm": _make_arms, "ring": _make_ring, "tail": _make_tail}
    for (kind, make), share in zip(makers.items(), shares, strict=True):
        if len(chosen := np.flatnonzero(share > 0.0)):
            made = make(rows[chosen], seed, _FIRST[kind])
            parts.append(_as_rows(rows[chosen], share[chosen], made, pixel_scale))
    if len(chosen := np.flatnonzero(taken > 0.0)):
        parts.append(_as_rows(rows[chosen], -taken[chosen], _make_lane(len(chosen)), pixel_scale))
    disc = (1.0 - bulge) * (left + taken)
    dim_rows(rows, bulge + disc)
    rows["bulge_fraction"] = bulge / np.maximum(bulge + disc, 1e-300)
    return vstack([rows, *parts], metadata_conflicts="silent")


def _random(rows: Table, first: int, n: int, seed: int) -> np.ndarray:
    """Uniform numbers of each row, (rows, n), that depend on its number alone."""
    return hashed_uniform(np.asarray(rows["id"])[:, None], first + np.arange(n)[None, :], seed)


def _lumps(uniform: np.ndarray, scatter: float) -> np.ndarray:
    """Factors of mean about 1 that scatter like a lognormal number, of uniform ones."""
    return np.exp(scatter * 3.46 * (uniform - 0.5))


def _shared(weight: np.ndarray) -> np.ndarray:
    """Weights of each row over their sum."""
    return weight / weight.sum(axis=1, keepdims=True)


def _make_bar(rows: Table, seed: int, first: int) -> Parts:
    """Seven Gaussians in a line."""
    u = _random(rows, first, 2, seed)
    angle, length = np.pi * u[:, :1], 0.5 + 0.6 * u[:, 1:]
    along = np.linspace(-1.0, 1.0, 7)[None, :] * length
    weight = np.broadcast_to(np.array([0.6, 0.9, 1.0, 1.1, 1.0, 0.9, 0.6]), along.shape)
    x, y = along * np.cos(angle), along * np.sin(angle)
    return _shared(weight), x, y, np.broadcast_to(0.2 * length, x.shape), np.broadcast_to(0.13, x.shape)


def _make_arms(rows: Table, seed: int, first: int) -> Parts:
    """Logarithmic spirals of lumps whose brightness falls like the disc's."""
    n = np.clip(np.asarray(rows["n_arms"], dtype=np.int64), 2, 4)[:, None]
    steps, arms = _ARM_STEPS, 4
    u = _random(rows, first, 3 + 3 * arms * steps, seed)
    turn, pitch = 2.0 * np.pi * u[:, :1], np.deg2rad(10.0 + 22.0 * u[:, 1:2])
    hand = np.where(u[:, 2:3] < 0.5, -1.0, 1.0)
    lump, dr, da = (u[:, 3 + i * arms * steps : 3 + (i + 1) * arms * steps] for i in range(3))
    arm, step = np.arange(arms * steps) // steps, np.arange(arms * steps) % steps
    radius = 0.45 * (2.6 / 0.45) ** (step / (steps - 1.0)) * (1.0 + 0.12 * (dr - 0.5))
    phase = turn + 2.0 * np.pi * arm / n + hand * np.log(radius / 0.45) / np.tan(pitch) + 0.15 * (da - 0.5)
    weight = radius * np.exp(-radius / _SCALE_RADIUS) * _lumps(lump, 0.5)
    width = 0.1 + 0.08 * radius
    # As long as the way to the next one, so that tightly wound arms are arms and no beads.
    way = 0.45 * radius * np.log(2.6 / 0.45) / (steps - 1.0) / np.tan(pitch)
    weight = np.where(arm < n, weight, 0.0)
    return _shared(weight), radius * np.cos(phase), radius * np.sin(phase), width, np.hypot(width, way)


def _make_ring(rows: Table, seed: int, first: int) -> Parts:
    """Lumps on a circle."""
    u = _random(rows, first, 2 + _RING_STEPS, seed)
    radius = 0.7 + 0.9 * u[:, :1]
    phase = 2.0 * np.pi * (u[:, 1:2] + np.arange(_RING_STEPS)[None, :] / _RING_STEPS)
    width = np.broadcast_to(0.13 * radius, phase.shape)
    return _shared(_lumps(u[:, 2:], 0.3)), radius * np.cos(phase), radius * np.sin(phase), width, width


def _make_tail(rows: Table, seed: int, first: int) -> Parts:
    """Lumps along an arc that leaves the disc, wider and fainter outwards."""
    u = _random(rows, first, 3 + _TAIL_STEPS, seed)
    at = np.linspace(0.0, 1.0, _TAIL_STEPS)[None, :]
    radius = 1.2 + (1.5 + 2.5 * u[:, 1:2]) * at
    phase = 2.0 * np.pi * u[:, :1] + 2.4 * (u[:, 2:3] - 0.5) * at
    width = 0.18 + 0.07 * radius
    return (
        _shared((1.2 - at) * _lumps(u[:, 3:], 0.3)),
        radius * np.cos(phase),
        radius * np.sin(phase),
        1.3 * width,
        width,
    )


_LANE_HEIGHT = 0.18
"""Standard deviation of a lane of dust across the major axis, in half-light radii of the face-on disc."""


def _make_lane(n: int) -> Parts:
    """A Gaussian along the major axis, as long as the disc has a scale radius: it is nowhere darker than the
    disc is bright, if it takes less than half of the light in the middle.
    """
    one = np.ones((n, 1))
    # Along the direction to the middle, which for something right of it is the major axis.
    return one, 1e-6 * one, 0.0 * one, _SCALE_RADIUS * one, _LANE_HEIGHT * one


def _as_rows(parents: Table, share: np.ndarray, parts: Parts, pixel_scale: float) -> Table:
    """Rows to draw of the Gaussians of a kind, ``share`` (g,) of the light of the discs of ``parents``."""
    weight, u, v, radial, tangential = (np.broadcast_to(part, parts[0].shape) for part in parts)
    kept = weight.ravel() != 0.0
    row = np.repeat(np.arange(len(parents)), weight.shape[1])[kept]
    weight, u, v, radial, tangential = (a.ravel()[kept] for a in (weight, u, v, radial, tangential))
    table = parents[row]
    angle = np.arctan2(v, u)
    c, s = np.cos(angle), np.sin(angle)
    # Covariance in the disc seen face-on, then inclined, then turned.
    xx, yy = (radial * c) ** 2 + (tangential * s) ** 2, (radial * s) ** 2 + (tangential * c) ** 2
    xy = (radial**2 - tangential**2) * c * s
    radius, ratio = (np.asarray(table[name], dtype=np.float64) for name in ("disc_radius", "axis_ratio"))
    major, minor = radius / np.sqrt(ratio), radius * np.sqrt(ratio)
    xx, xy, yy = xx * major**2, xy * major * minor, yy * minor**2
    middle, spread = 0.5 * (xx + yy), np.hypot(0.5 * (xx - yy), xy)
    longest, shortest = np.sqrt(middle + spread), np.sqrt(np.maximum(middle - spread, 1e-12))
    turn = np.deg2rad(np.asarray(table["position_angle"], dtype=np.float64))
    along, across = major * u, minor * v
    dx, dy = through_lens(
        table, np.cos(turn) * along - np.sin(turn) * across, np.sin(turn) * along + np.cos(turn) * across
    )
    table["x"] = np.asarray(table["x"], dtype=np.float64) + dx / pixel_scale
    table["y"] = np.asarray(table["y"], dtype=np.float64) + dy / pixel_scale
    bulge = np.asarray(table["bulge_fraction"], dtype=np.float64)
    dim_rows(table, share[row] * (1.0 - bulge) * weight)
    table["position_angle"] = np.rad2deg(turn + 0.5 * np.arctan2(2.0 * xy, xx - yy))
    table["axis_ratio"] = np.clip(shortest / longest, 0.02, 1.0)
    table["disc_radius"] = _GAUSSIAN_RADIUS * np.sqrt(longest * shortest)
    table["disc_sersic"] = 0.5
    table["bulge_fraction"], table["bulge_radius"] = 0.0, 0.0
    table["is_knot"] = True
    return table


def check_structures(catalog: Table) -> None:
    """Refuse structures of a user's table that make no sense; rows are named."""
    for name in _FRACTIONS:
        if name in catalog.colnames:
            check_column(catalog, name, low=0.0, high=1.0)
    if "dust_depth" in catalog.colnames:
        check_column(catalog, "dust_depth", low=0.0, high=0.5)
    for name in ("disc_sersic", "bulge_sersic"):
        if name in catalog.colnames:
            check_column(catalog, name, low=0.5, high=6.0)
    if "n_arms" in catalog.colnames:
        arms = check_column(catalog, "n_arms", low=0.0, high=4.0)
        refuse_rows(arms != np.rint(arms), "column 'n_arms' must be a whole number")
