# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Compare the built-in galaxies with those of cosmoDC2: counts, properties and pairs.

.. code-block:: text

    python benchmarks/galaxies.py --truths FOLDER [--sample skycatalogs/data/ci_sample] [--fields N]

Counts and pairs are those of the positions of N fields (default 100, a few minutes), properties those of
the first twelve of them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from astropy.table import Table
from lsst.meas.blendid.simulation import (
    SKY_SPLIT,
    CumulativeCounts,
    ParametricCatalog,
    get_survey,
    read_truth_scene,
)
from lsst.meas.blendid.simulation.catalogs.catalog import make_catalog
from lsst.meas.blendid.simulation.catalogs.parametric import PairCounts, count_pairs

SIZE = 2048
AREA = (SIZE * 0.2 / 60.0) ** 2
EDGES = np.array([0.5, 1.0, 2.0, 3.0, 5.0, 7.0, 10.0]) / 0.2
LIMITS = (24.0, 25.3, 26.0, 27.0, 28.0)
PROPERTIES = ("half_light_radius", "axis_ratio", "bulge_fraction", "redshift")


def _inside(table: Table) -> Table:
    x, y = np.asarray(table["x"]), np.asarray(table["y"])
    return table[(x > -0.5) & (x < SIZE - 0.5) & (y > -0.5) & (y < SIZE - 0.5)]


def _pairs(tables: list[Table], name: str, limit: float) -> tuple[PairCounts, np.ndarray]:
    """Pairs of all fields, and the error of their excess from the scatter between fields."""
    parts = []
    for table in tables:
        bright = table[np.asarray(table[name]) < limit]
        parts.append(count_pairs(bright["x"], bright["y"], EDGES, (SIZE, SIZE)))
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total, np.std([part.excess for part in parts], axis=0, ddof=1) / np.sqrt(len(parts))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--truths", type=Path, required=True, help="folder with buchanan2022")
    parser.add_argument("--sample", type=Path, help="folder ci_sample of skycatalogs")
    parser.add_argument("--fields", type=int, default=100, help="fields to draw")
    options = parser.parse_args()
    survey = get_survey("i")
    catalog = ParametricCatalog(mag_faint=28.6, margin=0)
    fields = [
        _inside(catalog.galaxies((SIZE, SIZE), survey, np.random.default_rng(seed)))
        for seed in range(options.fields)
    ]
    sets = {
        split: [read_truth_scene(scene, folder=options.truths, split=split) for scene in SKY_SPLIT[split]]
        for split in ("train", "validation")
    }

    print("galaxies per arcmin² brighter than a magnitude: mean (scatter between fields, %)")
    print(f"{'i':>5s} {'asked for':>10s} {'drawn':>14s} {'training':>14s} {'validation':>14s}")
    for limit in (22.0, 23.0, 24.0, 25.0, 25.3, 26.0, 26.5, 27.0, 28.0, 28.5):
        row = f"{limit:5.1f} {float(CumulativeCounts()(limit)):10.1f}"
        for name, tables in (("mag_i", fields), ("mag", sets["train"]), ("mag", sets["validation"])):
            n = np.array([np.sum(np.asarray(table[name]) < limit) for table in tables]) / AREA
            row += f" {n.mean():7.1f} ({100 * n.std(ddof=1) / n.mean():4.1f})"
        print(row)

    if options.sample is not None:
        # What the shipped model was fitted to is read by the program that fits it.
        sys.path.append(str(Path(__file__).resolve().parents[1] / "tools"))
        from fit_cosmodc2 import read_sample

        real = read_sample(options.sample).values
        drawn = [
            make_catalog(None, size=(SIZE, SIZE), survey=survey, seed=seed, size_model="cosmodc2-galaxies")
            for seed in range(min(options.fields, 12))
        ]
        mock = {name: np.concatenate([np.asarray(t[name]) for t in drawn]) for name in ("mag_i", *PROPERTIES)}
        print("\nmedians: sample / model; n, scatter of radii (dex), share without bulge")
        for low in range(22, 28):
            one, two = ((v["mag_i"] >= low) & (v["mag_i"] < low + 1) for v in (real, mock))
            row = f"{low}–{low + 1} {one.sum():5d}"
            for name in PROPERTIES:
                row += f"  {name} {np.median(real[name][one]):.3f} / {np.median(mock[name][two]):.3f}"
            radius, bulge = "half_light_radius", "bulge_fraction"
            pair = [(real, one), (mock, two)]
            row += "  scatter " + " / ".join(f"{np.std(np.log10(v[radius][k])):.2f}" for v, k in pair)
            row += "  none " + " / ".join(f"{np.mean(v[bulge][k] < 2e-4):.2f}" for v, k in pair)
            print(row)

    print("\nexcess of pairs over random places, by separation in arcsec")
    bins = zip(EDGES[:-1] * 0.2, EDGES[1:] * 0.2, strict=True)
    print(" " * 18 + "".join(f"{f'{low:g}–{high:g}':>16s}" for low, high in bins))
    for limit in LIMITS:
        for label, name, tables in (
            ("training", "mag", sets["train"]),
            ("validation", "mag", sets["validation"]),
            ("drawn", "mag_i", fields),
        ):
            counts, error = _pairs(tables, name, limit)
            values = "".join(f"{w:9.3f} ±{e:5.3f}" for w, e in zip(counts.excess, error, strict=True))
            print(f"i < {limit:4.1f} {label:10s}{values}")


if __name__ == "__main__":
    main()
