# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Made-up peaks whose probabilities and ellipses are right, that tests of their scores share."""

from __future__ import annotations

import numpy as np
from astropy.table import vstack
from lsst.meas.blendid.evaluation.peak_comparison import DETECTED, FoundPeaks
from lsst.meas.blendid.peak_matching import GalaxyList, PeakList
from lsst.meas.blendid.tables import BlendTables

STEP = 60
"""Distance of neighbouring footprints, pixels."""
DISTANCE = 8.0
"""Distance of the galaxies of a footprint, pixels: none can be taken for another."""
SCATTER = 0.35
"""Scatter of the positions of peaks along their longer axis, pixels."""


def make_found(n_side: int = 30, *, seed: int = 4) -> FoundPeaks:
    """Footprints on a grid with 0 to 3 galaxies, detected peaks, and a list with calibrated probabilities.

    Parameters
    ----------
    n_side
        Footprints along each side.
    seed
        Seed.
    """
    rng = np.random.default_rng(seed)
    n = n_side**2
    x, y = np.arange(n) % n_side * STEP + 30.0, np.arange(n) // n_side * STEP + 30.0
    turn = rng.uniform(0.0, np.pi, n)
    galaxies, detected, calibrated = [], [], []
    expected = np.zeros(n)
    for row in range(n):
        # Places where there may be a galaxy, and the probability that there is one.
        places = rng.choice([1, 2, 3], p=[0.6, 0.3, 0.1])
        p = np.where(rng.random(places) < 0.6, rng.uniform(0.9, 1.0, places), rng.uniform(0.05, 0.95, places))
        expected[row] = p.sum()
        snr = np.sort(rng.uniform(5.0, 60.0, places))[::-1]
        for k in range(places):
            at = np.array(
                [x[row] + DISTANCE * k * np.cos(turn[row]), y[row] + DISTANCE * k * np.sin(turn[row])]
            )
            # An ellipse with half of the scatter across, turned by an angle.
            angle = rng.uniform(0.0, np.pi)
            axes = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
            covariance = axes.T @ np.diag([SCATTER**2, (0.5 * SCATTER) ** 2]) @ axes
            seen = at + rng.multivariate_normal(np.zeros(2), covariance)
            is_there = rng.random() < p[k]
            if is_there:
                galaxies.append((row, *at, snr[k], 31.0 - 2.5 * np.log10(snr[k])))
            has_peak = k == 0 or (is_there and rng.random() < 0.5)
            ellipse = (covariance[0, 0], covariance[1, 1], covariance[0, 1])
            calibrated.append((row, *seen, p[k], not has_peak, *ellipse, 25.0 + k))
            if has_peak:
                detected.append((row, *(at + rng.normal(0.0, SCATTER, 2))))
    g, d, c = np.array(galaxies), np.array(detected), np.array(calibrated)
    lists = {
        DETECTED: PeakList(
            d[:, 0].astype(int), d[:, 1], d[:, 2], np.full(len(d), np.nan), np.zeros(len(d), dtype=bool)
        ),
        "calibrated": PeakList(
            c[:, 0].astype(int), c[:, 1], c[:, 2], c[:, 3], c[:, 4] > 0.0, c[:, 5:8], c[:, 8]
        ),
        "no ellipse": PeakList(c[:, 0].astype(int), c[:, 1], c[:, 2], c[:, 3] ** 2),
    }
    return FoundPeaks(
        lists,
        GalaxyList(g[:, 0].astype(int), *g[:, 1:].T),
        np.bincount(lists[DETECTED].footprint, minlength=n),
        {"calibrated": expected, "no ellipse": 0.8 * expected},
        x,
        y,
        np.zeros(n, dtype=np.int64),
    )


def with_inferred(tables: BlendTables, *, share: float = 0.4, seed: int = 5) -> BlendTables:
    """Give all peaks probabilities and ellipses, and some footprints an inferred peak beside their first one.

    Parameters
    ----------
    tables
        Tables of an image; inferred peaks that they have are forgotten.
    share
        Share of the footprints that get an inferred peak.
    seed
        Seed.
    """
    rng = np.random.default_rng(seed)
    detected = tables.blend_peak[~np.asarray(tables.blend_peak["is_inferred"])]
    detected["probability"][:] = rng.uniform(0.3, 1.0, len(detected))
    _, first = np.unique(detected["footprint_id"], return_index=True)
    inferred = detected[first[rng.random(len(first)) < share]]
    angle = rng.uniform(0.0, 2.0 * np.pi, len(inferred))
    for name, step in (("x", 3.0 * np.cos(angle)), ("y", 3.0 * np.sin(angle))):
        inferred[f"f_{name}"] += step
        inferred[f"i_{name}"][:] = np.rint(inferred[f"f_{name}"])
    inferred["probability"][:] = rng.uniform(0.2, 0.95, len(inferred))
    inferred["is_inferred"][:] = True
    inferred["significance"] *= 0.7
    inferred["peak_id"][:] = int(np.max(detected["peak_id"], initial=-1)) + 1 + np.arange(len(inferred))
    peaks = vstack([detected, inferred])
    peaks.meta = detected.meta
    xx, yy = rng.uniform(0.05, 0.6, (2, len(peaks)))
    for name, values in (
        ("xx", xx),
        ("yy", yy),
        ("xy", rng.uniform(-0.5, 0.5, len(peaks)) * np.sqrt(xx * yy)),
    ):
        peaks[name][:] = values
    return BlendTables(tables.blend, peaks, tables.blend_spans)
