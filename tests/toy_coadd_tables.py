# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Small images and their tables."""

from __future__ import annotations

import numpy as np
from astropy.table import Table
from lsst.meas.blendid.evaluation.scored_tables import CoaddTables
from lsst.meas.blendid.footprints import FootprintSet, labels_to_spans
from lsst.meas.blendid.images.psf import PsfSummary, kolmogorov_kernel
from lsst.meas.blendid.samples import SceneContext
from scipy import ndimage


def toy_coadd_tables() -> tuple[np.ndarray, Table, Table, Table]:
    """A 40 x 60 image at (100, 200) with two footprints, p = 0.1 and 0.9."""
    labels = np.zeros((40, 60), np.int32)
    labels[5:12, 5:15] = 1
    labels[20:34, 30:50] = 2
    spans = labels_to_spans(labels, (100, 200))
    blend = Table(
        {
            "footprint_id": [1, 2],
            "bbox_x0": [105, 130],
            "bbox_y0": [205, 220],
            "bbox_x1": [114, 149],
            "bbox_y1": [211, 233],
            "p_blended": np.array([0.1, 0.9], "f4"),
        }
    )
    peaks = Table(
        {
            "footprint_id": [1, 2, 2],
            "f_x": [109.0, 135.0, 145.0],
            "f_y": [208.0, 225.0, 230.0],
            "probability": np.array([np.nan, np.nan, 0.25], "f4"),
        }
    )
    image = np.random.default_rng(3).normal(size=labels.shape).astype("f4") + 20 * (labels > 0)
    return image, blend, peaks, Table(spans, names=["footprint_id", "y", "x0", "x1"])


def make_coadd(seed: int, x0: int, inner_from: int, inner_to: int) -> CoaddTables:
    """Discs on a noisy field at (x0, 50), and tables of them with plausible probabilities."""
    rng = np.random.default_rng(seed)
    n, size = 150, 320
    x, y = rng.uniform(0, size - 1, (2, n))
    near = np.zeros((size, size), bool)
    near[np.rint(y).astype(int), np.rint(x).astype(int)] = True
    labels, n_found = ndimage.label(ndimage.distance_transform_edt(~near) <= 6, np.ones((3, 3)))
    footprints = FootprintSet.from_labels(labels.astype(np.int32), xy0=(x0, 50))
    truth = Table({"x": x + x0, "y": y + 50, "snr": rng.uniform(3, 50, n), "mag": rng.uniform(22, 27, n)})
    z = 1.2 * (footprints.area - 170) / 60 + rng.normal(size=n_found)
    p = (1 / (1 + np.exp(-z))).astype("f4")
    several = footprints.area > 170
    blend = Table(
        {
            "footprint_id": np.arange(1, n_found + 1, dtype="i4"),
            **{f"bbox_{k}": footprints.bbox[:, i] for i, k in enumerate(("x0", "y0", "x1", "y1"))},
            "area": footprints.area,
            "area_detected": footprints.area // 2,
            "n_peaks": np.where(several, 2, 1),
            "n_expected": 1.0 + p,
            "is_patch_inner": (footprints.centroid[:, 0] >= inner_from)
            & (footprints.centroid[:, 0] < inner_to),
            "is_tract_inner": np.ones(n_found, bool),
            "p_blended": p,
            "p_blended_logistic": p,
            "p_blended_peaks": np.where(several, 0.9, 0.1).astype("f4"),
        }
    )
    # Detected ones first, as in tables: one of each footprint, and a second of large ones.
    own = np.concatenate([np.arange(n_found), np.flatnonzero(several)])
    first = footprints.spans[np.searchsorted(footprints.spans[:, 0], own + 1)]
    column, row = np.where(np.arange(len(own)) < n_found, first[:, 2], first[:, 3]), first[:, 1]
    peaks = Table(
        {
            "footprint_id": (own + 1).astype("i4"),
            "i_x": column,
            "i_y": row,
            "f_x": column.astype("f4"),
            "f_y": row.astype("f4"),
            "peak_value": np.ones(len(own), "f4"),
            "significance": np.full(len(own), 9.0, "f4"),
            "probability": rng.uniform(0.3, 1.0, len(own)).astype("f4"),
            "is_inferred": np.zeros(len(own), bool),
            "mag": rng.uniform(22, 27, len(own)),
            **{name: np.full(len(own), 0.3) for name in ("xx", "yy")},
            "xy": np.zeros(len(own)),
        }
    )
    kernel = kolmogorov_kernel(3.5, 41)
    return CoaddTables(
        name=f"patch <{seed}>",
        image=rng.normal(size=labels.shape).astype("f4") + 10 * near,
        noise=1.0,
        xy0=(x0, 50),
        psf=PsfSummary(kernel, 1.6, 1.6, 1.6, 0.0, 1),
        context=SceneContext("i", 31.4),
        inner=(inner_from, 50, inner_to - 1, 50 + size - 1),
        blend=blend,
        peaks=peaks,
        spans=Table(footprints.spans, names=["footprint_id", "y", "x0", "x1"]),
        truth=truth,
    )


def make_coadds() -> list[CoaddTables]:
    """Two that share a strip of 40 pixels."""
    return [make_coadd(0, 0, 0, 300), make_coadd(1, 280, 300, 600)]
