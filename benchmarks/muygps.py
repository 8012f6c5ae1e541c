# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Time the posterior of the local Gaussian process beside MuyGPyS as it comes, on one core.

``python benchmarks/muygps.py --train 40000 --queries 2000`` prints a table: footprints a second of the
neighbour search, of the kernel and of the solution, ours and MuyGPyS's in the same process, and the largest
difference of means and variances. The points are made here; the settings are those of Buchanan et al. 2022
(smoothness 10, length scale 20, noise 3e-6, 50 neighbours, 8 coordinates) and others that optimisation
finds.
"""

from __future__ import annotations

import argparse
import platform
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from lsst.meas.blendid.classifiers._muygps_neighbors import NeighborIndex
from lsst.meas.blendid.classifiers._muygps_posterior import (
    MaternTable,
    _fill_kernel,
    find_posterior,
)
from threadpoolctl import threadpool_limits

SETTINGS = ((8, 10.0, 20.0, 3e-6), (8, 1.5, 5.0, 5.0), (12, 1.5, 5.0, 5.0), (12, 0.9, 5.0, 5.0))
"""Coordinates, smoothness, length scale, noise."""


def make_points(n: int, dimensions: int, seed: int) -> np.ndarray:
    """Clustered points with less and less scatter along the axes, as principal components have.

    Parameters
    ----------
    n
        Number of points.
    dimensions
        Number of coordinates.
    seed
        Of the random numbers.

    Returns
    -------
    points
        float32 ``(n, dimensions)``.
    """
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(0).normal(size=(20, dimensions))
    points = centers[rng.integers(0, 20, n)] + 0.7 * rng.normal(size=(n, dimensions))
    return (points / np.sqrt(np.arange(1, dimensions + 1))).astype(np.float32)


def best(function: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Least processor time of a function [s], and what it gives."""
    times, result = [], None
    for _ in range(repeats):
        start = time.process_time()
        result = function()
        times.append(time.process_time() - start)
    return min(times), result


def time_kernel(
    index: NeighborIndex, rows: np.ndarray, squared: np.ndarray, kernel: MaternTable, repeats: int
) -> float:
    """Time filling the matrices [s], called one by one, which adds a little to each."""
    m, k = rows.shape
    local = [np.ascontiguousarray(index.points[r].T) for r in rows]
    flat = np.empty(k * (k + 1) // 2)
    bits, matrix = flat.view(np.int64), np.zeros((k, k + 2))
    matrix[np.arange(k), np.arange(k)] = 1.1
    inverse = 1.0 / kernel.length_scale**2

    def fill() -> None:
        for i in range(m):
            _fill_kernel(local[i], squared[i], inverse, kernel.rows, flat, bits, matrix)

    return best(fill, repeats)[0]


def run(dimensions: int, smoothness: float, length: float, noise: float, args: argparse.Namespace) -> None:
    """Time one setting and print its rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from MuyGPyS.gp import MuyGPS
        from MuyGPyS.gp.deformation import Isotropy, l2
        from MuyGPyS.gp.hyperparameter import Parameter
        from MuyGPyS.gp.kernels import Matern
        from MuyGPyS.gp.noise import HomoscedasticNoise
        from MuyGPyS.neighbors import NN_Wrapper

    points, queries = make_points(args.train, dimensions, 1), make_points(args.queries, dimensions, 2)
    rng = np.random.default_rng(3)
    labels = np.where(np.sin(3.0 * points[:, 0]) + rng.normal(0.0, 0.5, len(points)) > 0.0, 1.0, -1.0)
    n, k = len(queries), args.neighbors

    index = NeighborIndex.build(points)
    kernel = MaternTable.make(smoothness, length)
    targets = labels[index.order]
    rows, squared = index.query(queries, k)
    find_posterior(index.points, targets, rows[:2], squared[:2], kernel, noise)
    t_near, (rows, squared) = best(lambda: index.query(queries, k), args.repeats)
    t_solve, (mean, variance) = best(
        lambda: find_posterior(index.points, targets, rows, squared, kernel, noise), args.repeats
    )
    t_fill = time_kernel(index, rows, squared, kernel, args.repeats)

    wide, wide_queries = points.astype(float), queries.astype(float)
    search = NN_Wrapper(wide, k, nn_method="exact", algorithm="kd_tree", n_jobs=1)
    m_near, (neighbors, _) = best(lambda: search.get_nns(wide_queries), args.repeats)
    model = MuyGPS(
        kernel=Matern(
            smoothness=Parameter(smoothness), deformation=Isotropy(l2, length_scale=Parameter(length))
        ),
        noise=HomoscedasticNoise(noise),
    )

    def fill() -> tuple[np.ndarray, ...]:
        crosswise, pairwise, near = model.make_predict_tensors(
            np.arange(n), neighbors, wide_queries, wide, labels
        )
        return model.kernel(pairwise), model.kernel(crosswise), near

    m_fill, (covariance, cross, near) = best(fill, args.repeats)
    m_solve, posterior = best(
        lambda: (
            model.posterior_mean(covariance, cross, near),
            model.posterior_variance(covariance, cross),
        ),
        args.repeats,
    )
    print(
        f"{dimensions:2d} coordinates, smoothness {smoothness:g}, length scale {length:g}, noise {noise:g}: "
        f"differences {np.abs(mean - posterior[0]).max():.1e} (mean), "
        f"{np.abs(variance - posterior[1]).max():.1e} (variance)"
    )
    m_total, t_total = m_near + m_fill + m_solve, t_near + t_solve
    for name, near_time, fill_time, solve_time, total in (
        ("MuyGPyS", m_near, m_fill, m_solve, m_total),
        ("ours", t_near, min(t_fill, t_solve), max(t_solve - t_fill, 1e-9), t_total),
    ):
        print(
            f"  {name:8s} neighbours {n / near_time:9,.0f}/s   kernel {n / fill_time:9,.0f}/s   "
            f"solve {n / solve_time:9,.0f}/s   all {n / total:9,.0f}/s"
        )
    print(f"  {m_total / t_total:.1f} times as fast", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--train", type=int, default=40_000, help="training footprints")
    parser.add_argument("--queries", type=int, default=2_000, help="footprints to classify")
    parser.add_argument("--neighbors", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    print(
        f"{args.train} training footprints, {args.neighbors} neighbours, {args.queries} queries; "
        f"processor seconds of one thread, least of {args.repeats}; {platform.processor() or 'processor'}, "
        f"Python {platform.python_version()}, NumPy {np.__version__}"
    )
    with threadpool_limits(limits=1):
        for setting in SETTINGS:
            run(*setting, args)


if __name__ == "__main__":
    main()
