# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""How often SExtractor finds one, two or more sources in pairs of galaxies, here and as published.

The published pairs are those of Boucaud et al. 2020 (MNRAS 491, 2481,
https://arxiv.org/abs/1905.01324).
"""

from __future__ import annotations

__all__ = (
    "PUBLISHED_RATES",
    "SEPARATION_BINS",
    "detection_rates",
    "hot_cold_report",
    "rates_as_text",
    "read_published_pairs",
    "reweight",
)

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from astropy.table import Table

from ..simulation.stamps.stamp_set import StampSet
from ._sextractor import find_in_stamps

PUBLISHED_RATES = {"two": 0.75, "one": 0.22, "more": 0.03}
"""Shares of the test pairs in which SExtractor found two galaxies, one, and more, as the paper has them."""

SEPARATION_BINS = (0.0, 5.0, 10.0, 15.0, 20.0, 30.0, np.inf)
"""Limits of the separations that rates are given for, pixels."""

BRIGHT_ENOUGH = 2.0
"""Mean surface brightness within the half-light radius, in the noise per pixel, over which no pair goes
without a source."""

_SHARES = {"none": (-1,), "one": (0, 1), "two": (2,), "more": (3,)}


def detection_rates(found: Table, *, bins: Sequence[float] = SEPARATION_BINS) -> Table:
    """Count how often one, two or more sources are found in pairs.

    Parameters
    ----------
    found
        Table of `find_in_stamps` or `read_published_pairs`; stamps that are no pairs are left out.
    bins
        Limits of the separations, pixels, from small to large.

    Returns
    -------
    rates
        A row for all pairs and one for each range: ``low``, ``high`` (pixels; 0 and
        infinity in the first row), ``n``, and the shares ``none``, ``one``, ``two``, ``more``,
        which sum to 1 (NaN where there is no pair).
    """
    pairs = found[np.asarray(found["n_objects"]) == 2]
    separation, detection = (np.asarray(pairs[name]) for name in ("separation", "detection"))
    rows = []
    for low, high in [(0.0, np.inf), *zip(bins[:-1], bins[1:], strict=True)]:
        codes = detection[(separation >= low) & (separation < high)]
        n = len(codes)
        shares = [float(np.isin(codes, which).mean()) if n else np.nan for which in _SHARES.values()]
        rows.append((low, high, n, *shares))
    return Table(rows=rows, names=("low", "high", "n", *_SHARES))


def reweight(rates: Table, reference: Table) -> dict[str, float]:
    """Give pairs the separations of others.

    Parameters
    ----------
    rates, reference
        Tables of `detection_rates` with the same ranges.

    Returns
    -------
    shares : `dict` [`str`, `float`]
        Shares ``none``, ``one``, ``two`` and ``more``: those of ``rates`` in each range, weighted by the
        pairs in ``reference``.  Ranges without a pair in ``rates`` are left out.
    """
    have = np.asarray(rates["n"])[1:] > 0
    weight = np.where(have, np.asarray(reference["n"], dtype=np.float64)[1:], 0.0)
    if not weight.sum() > 0.0:
        return dict.fromkeys(_SHARES, float("nan"))
    weight /= weight.sum()
    return {name: float(weight[have] @ np.asarray(rates[name])[1:][have]) for name in _SHARES}


def rates_as_text(rates: Table) -> str:
    """Lay a table of `detection_rates` out for people.

    Parameters
    ----------
    rates
        The table.

    Returns
    -------
    text
        Lines with shares in per cent and, for those of one source, the binomial error.
    """
    lines = [f"{'separation':>12} {'pairs':>6} {'none %':>7} {'one %':>12} {'two %':>7} {'more %':>7}"]
    for i, row in enumerate(rates):
        low, high, n = float(row["low"]), float(row["high"]), int(row["n"])
        name = "all" if i == 0 else f"{low:g} and more" if np.isinf(high) else f"{low:g}-{high:g} px"
        none, one, two, more = (100.0 * float(row[share]) for share in _SHARES)
        if n:
            error = np.sqrt(one * (100.0 - one) / n)
            spread = f"{one:.1f} ± {error:.1f}"
            lines.append(f"{name:>12} {n:6d} {none:7.1f} {spread:>12} {two:7.1f} {more:7.1f}")
        else:
            lines.append(f"{name:>12} {n:6d} {'-':>7} {'-':>12} {'-':>7} {'-':>7}")
    return "\n".join(lines)


def read_published_pairs(path: str | Path) -> Table:
    """Read the pairs that COIN published.

    Parameters
    ----------
    path
        ``paper_plots/output_catalog.csv`` of https://github.com/aboucaud/coindeblend.

    Returns
    -------
    pairs
        Its rows, in which ``detection`` is 0 if the central galaxy alone was found, 1 if its companion
        alone, 2 if both, 3 if more; with ``separation`` (pixels; its ``distance``) and ``n_objects``, 2.

    Raises
    ------
    FileNotFoundError
        Raised if there is no such file.
    ValueError
        Raised if it lacks a column or has a detection that is not known.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    table = Table.read(path, format="ascii.csv")
    missing = [name for name in ("distance", "detection") if name not in table.colnames]
    if missing:
        raise ValueError(f"{path} is not the catalogue of COIN: it lacks {', '.join(missing)}")
    strange = sorted(set(np.unique(table["detection"]).tolist()) - {0, 1, 2, 3})
    if strange:
        raise ValueError(f"{path} has detection {strange[0]}; 0 to 3 are known")
    table["separation"] = np.asarray(table["distance"], dtype=np.float64)
    table["n_objects"] = np.full(len(table), 2, dtype=np.int32)
    return table


def hot_cold_report(
    pairs: StampSet,
    *,
    alone: StampSet | None = None,
    published: str | Path | None = None,
    strategy: Literal["cold-else-hot", "cold-plus-hot"] = "cold-else-hot",
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """Run SExtractor on pairs, and say why its rates are what they are.

    Parameters
    ----------
    pairs
        Stamps of `.make_coin`.
    alone
        Stamps of the same galaxies without companion (``isolated_share`` of 1); tells which
        galaxies SExtractor takes for one source.
    published
        ``output_catalog.csv`` of COIN, to set beside.
    strategy, progress
        As for `find_in_stamps`.

    Returns
    -------
    text
        Tables of all pairs; of those whose two galaxies are bright enough to be found;
        of those whose galaxies moreover are not taken for several sources when alone; and of the
        published pairs.  With the latter, each also gives the shares that its pairs would have with
        the separations of those.

    Raises
    ------
    MissingSepError
        Raised if SEP is not installed.
    """
    found = find_in_stamps(pairs, strategy=strategy, progress=progress)
    bright = np.asarray(found["surface_snr"]) >= BRIGHT_ENOUGH
    parts = [
        (f"All pairs ({strategy})", found),
        (f"Both galaxies of {BRIGHT_ENOUGH:g} times the noise per pixel within R", found[bright]),
    ]
    lines = []
    if alone is not None:
        single, (none, one, more) = _found_once(alone, strategy)
        parts.append(
            ("Moreover neither taken for several sources when alone", found[bright & _all_in(pairs, single)])
        )
        lines.append(
            f"Galaxies alone: none found in {none:.1%}, one source in {one:.1%}, more in {more:.1%}."
        )
    reference = None if published is None else detection_rates(read_published_pairs(published))
    for title, table in parts:
        rates = detection_rates(table)
        lines += ["", title, rates_as_text(rates)]
        if reference is not None:
            shares = reweight(rates, reference)
            values = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
            lines.append(f"at the published separations: {values}")
    if reference is not None:
        lines += ["", "Published pairs (CANDELS)", rates_as_text(reference)]
    return "\n".join(lines).lstrip("\n")


def _found_once(
    alone: StampSet, strategy: Literal["cold-else-hot", "cold-plus-hot"]
) -> tuple[np.ndarray, tuple[float, float, float]]:
    """Galaxies that are not shredded in 19 of 20 stamps; shares of none, one and more of all galaxies."""
    found = find_in_stamps(alone, strategy=strategy)
    central = alone.truth[np.asarray(alone.truth["object"]) == 0]
    by_stamp = dict(zip(central["stamp_id"].tolist(), central["source_id"].tolist(), strict=True))
    source = np.array([by_stamp[i] for i in found["stamp_id"].tolist()])
    names, index = np.unique(source, return_inverse=True)
    n = np.asarray(found["n_found"])
    of_galaxy = np.bincount(index)
    none, one, more = (np.bincount(index, weights=which) / of_galaxy for which in (n == 0, n == 1, n > 1))
    return names[more < 0.05], (float(none.mean()), float(one.mean()), float(more.mean()))


def _all_in(stamp_set: StampSet, sources: np.ndarray) -> np.ndarray:
    """Stamps all of whose galaxies are of those."""
    outside = ~np.isin(np.asarray(stamp_set.truth["source_id"]), sources)
    bad = np.unique(np.asarray(stamp_set.truth["stamp_id"])[outside])
    return ~np.isin(np.asarray(stamp_set.stamps["stamp_id"]), bad)
