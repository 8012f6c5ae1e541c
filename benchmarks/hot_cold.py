# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""SExtractor with its hot and cold settings on pairs of galaxies, as COIN ran it, and its published rates.

Boucaud et al. 2020 (MNRAS 491, 2481, https://arxiv.org/abs/1905.01324), Table 3; what was
done with the two settings is in their code (``analysis/sextractor_analysis.py`` of
https://github.com/aboucaud/coindeblend).  SExtractor is `sep` there, and here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from astropy.table import Table
from lsst.meas.blendid._sep import extract, import_sep
from lsst.meas.blendid.simulation.stamps import StampSet


@dataclasses.dataclass(frozen=True)
class SExtractorSettings:
    """Settings of a run of SExtractor."""

    threshold: float
    """Detection threshold per pixel, in the noise of the whole stamp (``DETECT_THRESH``)."""

    min_area: int
    """Least number of pixels (``DETECT_MINAREA``)."""

    deblend_contrast: float
    """Least share of the light of a branch (``DEBLEND_MINCONT``)."""

    deblend_thresholds: int = 64
    """Number of levels (``DEBLEND_NTHRESH``)."""


COLD = SExtractorSettings(threshold=5.0, min_area=10, deblend_contrast=0.01)
"""For bright, large sources, which it does not shred (Table 3)."""

HOT = SExtractorSettings(threshold=4.0, min_area=6, deblend_contrast=0.0001)
"""For faint sources and close pairs (Table 3)."""

ENLARGE = 1.1
"""Factor of the Kron ellipses of cold sources within which hot ones are dropped (GALAPAGOS)."""

_SUB_OBJECTS = 8192
"""A galaxy of high S/N can have more parts than the 1024 by default."""


@dataclasses.dataclass(frozen=True)
class Detections:
    """Sources found in a stamp: centres in its pixels, isophotal fluxes in its unit, float64 (n,).

    ``hot`` tells which come from the hot run, bool (n,); ``segmentation`` has 1 to n where a source
    is and 0 elsewhere, int32 (h, w).
    """

    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    hot: np.ndarray
    segmentation: np.ndarray

    def __len__(self) -> int:
        return len(self.x)


def cold_else_hot(
    image: np.ndarray, *, cold: SExtractorSettings = COLD, hot: SExtractorSettings = HOT
) -> Detections:
    """Detect in a stamp (h, w) as COIN did: cold, and hot instead where cold finds fewer than two."""
    sep = import_sep()
    image, rms = _prepare(sep, image)
    sources, labels = _extract(image, rms, cold)
    is_hot = len(sources) < 2
    if is_hot:
        sources, labels = _extract(image, rms, hot)
    return _detections(sources, np.full(len(sources), is_hot), labels)


def cold_plus_hot(
    image: np.ndarray,
    *,
    cold: SExtractorSettings = COLD,
    hot: SExtractorSettings = HOT,
    enlarge: float = ENLARGE,
) -> Detections:
    """Detect in a stamp (h, w) as GALAPAGOS does: cold, and those hot sources outside of all cold ones.

    Barden et al. 2012 (MNRAS 422, 449), section 3.1 after Rix et al. 2004 (ApJS 152, 163): a hot source
    is kept if its centre is outside of the Kron ellipse of each cold source, times ``enlarge``.  It gets the
    pixels that no cold source has.  Such a catalogue never splits a cold source.
    """
    sep = import_sep()
    image, rms = _prepare(sep, image)
    first, labels = _extract(image, rms, cold)
    second, hot_labels = _extract(image, rms, hot)
    keep = np.ones(len(second), dtype=bool)
    for source, radius in zip(first, _kron_radii(sep, image, first), strict=True):
        dx, dy = second["x"] - source["x"], second["y"] - source["y"]
        squared = source["cxx"] * dx**2 + source["cyy"] * dy**2 + source["cxy"] * dx * dy
        keep &= squared > (enlarge * radius) ** 2
    kept = np.flatnonzero(keep)
    labels = labels.copy()
    for k, row in enumerate(kept):
        labels[(hot_labels == row + 1) & (labels == 0)] = len(first) + 1 + k
    sources = np.concatenate([first, second[kept]])
    return _detections(sources, np.arange(len(sources)) >= len(first), labels)


def find_in_stamps(
    stamp_set: StampSet,
    *,
    strategy: Literal["cold-else-hot", "cold-plus-hot"] = "cold-else-hot",
    progress: Callable[[int, int], None] | None = None,
) -> Table:
    """Run the baseline on stamps with noise whose central galaxy is in the middle.

    Gives a row per stamp: ``stamp_id``; ``n_objects`` in truth; ``separation`` (pixels); ``n_found``;
    ``n_hot``, those of the hot run; ``detection`` as in the pairs that COIN published: -1 nothing
    found, 0 the central galaxy alone, 1 its companion alone, 2 both, 3 more than two sources;
    ``flux_central``, ``flux_companion`` (image units, NaN if not found); ``surface_snr``, the mean
    surface brightness within the half-light radius of the fainter galaxy, per pixel and in the noise
    of the stamp.
    With two or more sources the one nearest to the middle is the central galaxy and the brightest
    other one the companion; a single one is the central galaxy if it is within half a half-light
    radius of the middle.
    """
    detectors = {"cold-else-hot": cold_else_hot, "cold-plus-hot": cold_plus_hot}
    if strategy not in detectors:
        raise ValueError(f"unknown strategy {strategy!r}; there are {', '.join(detectors)}")
    import_sep()
    n, middle = len(stamp_set), (stamp_set.size - 1) / 2.0
    radius, surface_snr = _truth_of_stamps(stamp_set)
    n_found, n_hot, detection = (np.zeros(n, dtype=np.int32) for _ in range(3))
    fluxes = np.full((n, 2), np.nan)
    for i in range(n):
        found = detectors[strategy](np.asarray(stamp_set.images[i]))
        n_found[i], n_hot[i] = len(found), np.count_nonzero(found.hot)
        detection[i], fluxes[i] = _identify(found, middle, radius[i])
        if progress is not None:
            progress(i + 1, n)
    out = Table(stamp_set.stamps["stamp_id", "n_objects", "separation"])
    out["n_found"], out["n_hot"], out["detection"] = n_found, n_hot, detection
    out["flux_central"], out["flux_companion"] = fluxes[:, 0], fluxes[:, 1]
    out["surface_snr"] = surface_snr
    out.meta = {"strategy": strategy}
    return out


def _prepare(sep: Any, image: np.ndarray) -> tuple[np.ndarray, float]:
    """Stamp as SEP takes it, and its noise.  COIN does not subtract the background."""
    image = np.ascontiguousarray(image, dtype=np.float32)
    return image, float(sep.Background(image).globalrms)


def _extract(image: np.ndarray, rms: float, settings: SExtractorSettings) -> tuple[np.ndarray, np.ndarray]:
    return extract(
        image,
        settings.threshold,
        noise=rms,
        min_area=settings.min_area,
        levels=settings.deblend_thresholds,
        contrast=settings.deblend_contrast,
        sub_objects=_SUB_OBJECTS,
        segmentation=True,
    )


def _kron_radii(sep: Any, image: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """SExtractor's ``KRON_RADIUS``, with the ``PHOT_AUTOPARAMS 2.5,3.5`` of its default."""
    shape = (sources["x"], sources["y"], sources["a"], sources["b"], sources["theta"])
    radius = np.asarray(sep.kron_radius(image, *shape, 6.0)[0])
    return np.maximum(2.5 * np.where(np.isfinite(radius), radius, 0.0), 3.5)


def _detections(sources: np.ndarray, hot: np.ndarray, labels: np.ndarray) -> Detections:
    x, y, flux = (np.asarray(sources[name], dtype=np.float64) for name in ("x", "y", "flux"))
    return Detections(x, y, flux, hot, np.asarray(labels, dtype=np.int32))


def _identify(found: Detections, middle: float, radius: float) -> tuple[int, tuple[float, float]]:
    """Say which source is which galaxy: the code of ``detection`` and the two fluxes."""
    if not len(found):
        return -1, (np.nan, np.nan)
    distance = np.hypot(found.x - middle, found.y - middle)
    central = int(np.argmin(distance))
    flux = float(found.flux[central])
    if len(found) == 1:
        return (0, (flux, np.nan)) if distance[0] < 0.5 * radius else (1, (np.nan, flux))
    others = np.delete(found.flux, central)
    return min(len(found), 3), (flux, float(others.max()))


def _truth_of_stamps(stamp_set: StampSet) -> tuple[np.ndarray, np.ndarray]:
    """Half-light radius of the central galaxy, pixels, and ``surface_snr``, of each stamp."""
    truth = stamp_set.truth
    if "half_light_radius" not in truth.colnames:
        raise ValueError(
            f"the truth of {stamp_set.name} has no half_light_radius, which tells galaxies apart"
        )
    row = stamp_set.truth_rows
    radii = np.asarray(truth["half_light_radius"], dtype=np.float64) / stamp_set.pixel_scale
    with np.errstate(divide="ignore"):
        mean = np.asarray(truth["flux"], dtype=np.float64) / 2.0 / (np.pi * radii**2) / stamp_set.noise[row]
    radius, surface_snr = np.zeros(len(stamp_set)), np.full(len(stamp_set), np.inf)
    central = np.asarray(truth["object"]) == 0
    radius[row[central]] = radii[central]
    np.minimum.at(surface_snr, row, mean)
    return radius, surface_snr


PUBLISHED_RATES = {"two": 0.75, "one": 0.22, "more": 0.03}
"""Shares of the test pairs in which SExtractor found two galaxies, one, and more, as the paper has them."""

SEPARATION_BINS = (0.0, 5.0, 10.0, 15.0, 20.0, 30.0, np.inf)
"""Limits of the separations that rates are given for, pixels."""

BRIGHT_ENOUGH = 2.0
"""Mean surface brightness within the half-light radius, in the noise per pixel, over which no pair goes
without a source."""

_SHARES = {"none": (-1,), "one": (0, 1), "two": (2,), "more": (3,)}


def detection_rates(found: Table, *, bins: Sequence[float] = SEPARATION_BINS) -> Table:
    """Count how often one, two or more sources are found in pairs, by ranges of separation (pixels).

    Gives a row for all pairs and one for each range: ``low``, ``high`` (0 and infinity in the first row),
    ``n``, and the shares ``none``, ``one``, ``two``, ``more``, which sum to 1 (NaN where there is no pair).
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
    """Give pairs the separations of others, from two tables of `detection_rates` with the same ranges.

    The shares of ``rates`` in each range are weighted by the pairs in ``reference``; ranges without a pair in
    ``rates`` are left out.
    """
    have = np.asarray(rates["n"])[1:] > 0
    weight = np.where(have, np.asarray(reference["n"], dtype=np.float64)[1:], 0.0)
    if not weight.sum() > 0.0:
        return dict.fromkeys(_SHARES, float("nan"))
    weight /= weight.sum()
    return {name: float(weight[have] @ np.asarray(rates[name])[1:][have]) for name in _SHARES}


def rates_as_text(rates: Table) -> str:
    """Lay rates out in lines: shares in per cent and, for those of one source, the binomial error."""
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
    """Read the pairs that COIN published, ``paper_plots/output_catalog.csv`` of its code.

    Adds ``separation`` (pixels; its ``distance``) and ``n_objects``, 2; ``detection`` is 0 if the central
    galaxy alone was found, 1 if its companion alone, 2 if both, 3 if more.
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
    """Run SExtractor on the pairs of a set and say why its rates are what they are.

    Tables of all pairs; of those whose two galaxies are bright enough to be found; with ``alone``, stamps of
    the same galaxies without companion, of those whose galaxies moreover are not taken for several sources
    when alone; and of the ``published`` pairs.  With the latter, each also gives the shares that its pairs
    would have with the separations of those.
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
