# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

r"""Fit the models of galaxies and stars to the sample that skycatalogs carries.

.. code-block:: text

    pip download --no-deps skycatalogs && unzip skycatalogs-*.whl 'skycatalogs/data/ci_sample/*'
    python -m lsst.meas.blendid.simulation.catalogs.fit_cosmodc2 \
        --sample skycatalogs/data/ci_sample --out FILE

It needs scikit-learn and GalSim (for the throughput of the bands), takes a minute, and prints
how the galaxies of two healpixels compare with a model that was fitted to the other four; the
model that it writes is fitted to all six. The same figures are in the file.
"""

from __future__ import annotations

__all__ = ("choose_components", "compare", "fit_galaxies", "fit_stars", "main")

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ._cosmodc2_sample import HEALPIXELS, GalaxySample, read_sample, read_stars
from ._mixture import NODES, ConditionalMixture
from ._size_models import composite_radius
from .cosmodc2 import (
    GALAXY_VARIABLES,
    LOGIT_LIMIT,
    PIVOT,
    REDSHIFT_SLOPE,
    SIZE_SLOPE,
    STAR_VARIABLES,
    UniverseModel,
)

HELD_OUT: tuple[int, ...] = (9813, 9940)
"""Healpixels that the check is made on."""

COMPLETE = 28.3
"""Galaxies fainter in *i* are left out: the sample (r < 29) has only their blue ones."""

_CANDIDATES = (8, 12, 16, 20, 24)
_STAR_COMPONENTS = 8
_RIDGE = 1e-3
_BINS = ((20.0, 24.0), (24.0, 25.0), (25.0, 26.0), (26.0, 27.0), (27.0, 28.0))
_CHECKED = ("half_light_radius", "axis_ratio", "bulge_fraction", "redshift", "g_r", "r_i", "i_z")


def galaxy_values(sample: GalaxySample) -> np.ndarray:
    """Take the properties of galaxies to the variables of the model.

    Parameters
    ----------
    sample
        Galaxies, n of them.

    Returns
    -------
    values
        Shape (n, 14): the *i* magnitude and `GALAXY_VARIABLES`.
    """
    v = sample.values

    def logit(fraction: np.ndarray) -> np.ndarray:
        fraction = np.clip(fraction, 1e-12, 1.0 - 1e-12)
        return np.clip(np.log(fraction / (1.0 - fraction)), -LOGIT_LIMIT, LOGIT_LIMIT)

    columns = _colors(v) | {
        "log_redshift": np.log10(v["redshift"]) - REDSHIFT_SLOPE * (v["mag_i"] - PIVOT),
        "log_disc_radius": np.log10(v["disc_radius"]) - SIZE_SLOPE * (v["mag_i"] - PIVOT),
        "log_bulge_ratio": np.log10(v["bulge_radius"] / v["disc_radius"]),
        "logit_axis_ratio": logit(v["axis_ratio"]),
        "logit_bulge_axis_ratio": logit(v["bulge_axis_ratio"]),
        "logit_bulge_fraction": logit(v["bulge_fraction"]),
        "log_gamma": np.log10(np.maximum(np.hypot(v["gamma1"], v["gamma2"]), 1e-5)),
        "kappa": v["kappa"],
    }
    return np.stack([v["mag_i"], *(columns[name] for name in GALAXY_VARIABLES)], axis=1)


def _colors(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: values[f"mag_{name[0]}"] - values[f"mag_{name[2]}"] for name in STAR_VARIABLES}


def _quantiles(values: np.ndarray) -> np.ndarray:
    """Values at the nodes, shape (1 + D, 61)."""
    from scipy.stats import norm

    return np.asarray(np.quantile(values, norm.cdf(NODES), axis=0).T)


def _normalise(values: np.ndarray, quantiles: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Take values to normal deviates, spreading equal ones (no bulge) over those that they share."""
    from scipy.stats import norm

    out = np.empty_like(values)
    for i, nodes in enumerate(quantiles):
        first = np.searchsorted(nodes, values[:, i], side="left")
        last = np.searchsorted(nodes, values[:, i], side="right") - 1
        tied = last > first
        # Nodes of equal value are told apart by a hair.
        out[:, i] = np.interp(values[:, i], nodes + 1e-12 * np.arange(len(nodes)), NODES)
        low = np.where(first == 0, 0.0, norm.cdf(NODES[np.minimum(first, len(NODES) - 1)]))
        high = np.where(last == len(NODES) - 1, 1.0, norm.cdf(NODES[np.maximum(last, 0)]))
        share = low + (high - low) * rng.uniform(size=len(values))
        out[tied, i] = norm.ppf(np.clip(share[tied], 1e-4, 1.0 - 1e-4))
    return out


def _fit(values: np.ndarray, variables: tuple[str, ...], n_components: int, seed: int) -> ConditionalMixture:
    """Fit a mixture to magnitudes and properties, shape (n, 1 + D)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    quantiles = _quantiles(values)
    data = _normalise(values, quantiles, np.random.default_rng(seed))
    mixture = GaussianMixture(n_components, reg_covar=_RIDGE, n_init=4, max_iter=300, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(data)
    mag = np.sort(values[:, 0])
    return ConditionalMixture(
        variables=variables,
        # Ten galaxies lie beyond each end.
        mag_range=(float(mag[9]), float(mag[-10])),
        quantiles=quantiles,
        weights=mixture.weights_,
        means=mixture.means_,
        covariances=mixture.covariances_,
    )


def fit_galaxies(sample: GalaxySample, n_components: int, *, seed: int = 0) -> ConditionalMixture:
    """Fit the model of galaxies.

    Parameters
    ----------
    sample
        Galaxies.
    n_components
        Number of Gaussians.
    seed
        Seed of the starting points.

    Returns
    -------
    model
        The model.
    """
    return _fit(galaxy_values(sample), GALAXY_VARIABLES, n_components, seed)


def fit_stars(magnitudes: dict[str, np.ndarray], *, seed: int = 0) -> ConditionalMixture:
    """Fit the model of the colours of stars.

    Parameters
    ----------
    magnitudes
        Columns ``mag_u`` … ``mag_y`` of stars, shape (n,).
    seed
        Seed of the starting points.

    Returns
    -------
    model
        The model.
    """
    colors = _colors(magnitudes)
    values = np.stack([magnitudes["mag_i"], *(colors[name] for name in STAR_VARIABLES)], axis=1)
    return _fit(values, STAR_VARIABLES, _STAR_COMPONENTS, seed)


def choose_components(sample: GalaxySample, candidates: Sequence[int] = _CANDIDATES) -> dict[int, float]:
    """Measure how likely the galaxies of a healpixel are under the model of the others.

    Parameters
    ----------
    sample
        Galaxies of two healpixels or more.
    candidates
        Numbers of Gaussians.

    Returns
    -------
    likelihood
        Mean log likelihood of the normal deviates of a galaxy given its magnitude, for each candidate.
    """
    values = galaxy_values(sample)
    numbers = np.unique(sample.healpixel)
    scores: dict[int, list[np.ndarray]] = {k: [] for k in candidates}
    for number in numbers:
        held = sample.healpixel == number
        for k in candidates:
            model = fit_galaxies(sample.select(~held), k)
            data = _normalise(values[held], model.quantiles, np.random.default_rng(0))
            scores[k].append(
                _log_likelihood(data, model, slice(None)) - _log_likelihood(data, model, slice(1))
            )
    return {k: float(np.mean(np.concatenate(parts))) for k, parts in scores.items()}


def _log_likelihood(data: np.ndarray, model: ConditionalMixture, part: slice) -> np.ndarray:
    """Log density of rows in some of the variables, shape (n,)."""
    from scipy.special import logsumexp
    from scipy.stats import multivariate_normal

    logs = [
        np.log(w) + multivariate_normal(m[part], c[part, part]).logpdf(data[:, part])
        for w, m, c in zip(model.weights, model.means, model.covariances, strict=True)
    ]
    return np.asarray(logsumexp(logs, axis=0))


def compare(
    sample: GalaxySample, model: UniverseModel, *, copies: int = 20, seed: int = 0
) -> list[dict[str, Any]]:
    """Compare galaxies with those that a model draws at the same magnitudes.

    Parameters
    ----------
    sample
        Galaxies that the model was not fitted to.
    model
        The model.
    copies
        Galaxies drawn for each one.
    seed
        Seed of the draws.

    Returns
    -------
    rows
        One for each bin of magnitude that has galaxies and each property: median of the sample and of
        the draws, and the distance and probability of a Kolmogorov-Smirnov test.
    """
    from scipy.stats import ks_2samp

    mag = np.repeat(sample.values["mag_i"], copies)
    drawn = model.draw(mag, np.random.default_rng(seed))
    ratio = drawn["bulge_radius"] / drawn["disc_radius"]
    drawn["half_light_radius"] = drawn["disc_radius"] * composite_radius(drawn["bulge_fraction"], ratio)
    real, mock = sample.values | _colors(sample.values), drawn | _colors(drawn)
    rows = []
    for low, high in _BINS:
        one = (real["mag_i"] >= low) & (real["mag_i"] < high)
        other = (mag >= low) & (mag < high)
        if not one.any():
            continue
        for name in _CHECKED:
            test = ks_2samp(real[name][one], mock[name][other])
            rows.append(
                {
                    "mag": [low, high],
                    "n": int(one.sum()),
                    "property": name,
                    "sample": round(float(np.median(real[name][one])), 4),
                    "model": round(float(np.median(mock[name][other])), 4),
                    "ks": round(float(test.statistic), 3),
                    "p": round(float(test.pvalue), 3),
                }
            )
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit the models, write them and print the check.

    Parameters
    ----------
    arguments
        Of the command line.
    """
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sample", required=True, type=Path, help="folder ci_sample of skycatalogs")
    parser.add_argument("--out", required=True, type=Path, help="file to write, JSON")
    options = parser.parse_args(arguments)
    sample = read_sample(options.sample)
    sample = sample.select(sample.values["mag_i"] < COMPLETE)
    stars = fit_stars(read_stars(options.sample))
    held = np.isin(sample.healpixel, HELD_OUT)
    scores = choose_components(sample.select(~held))
    best = max(scores, key=lambda k: scores[k])
    print("log likelihood by number of Gaussians:", {k: round(v, 3) for k, v in scores.items()})
    check = compare(sample.select(held), UniverseModel(fit_galaxies(sample.select(~held), best), stars, {}))
    for row in check:
        low, high = row["mag"]
        print(
            f"{low:.0f}–{high:.0f} {row['n']:4d} {row['property']:18s} sample {row['sample']:7.3f} "
            f"model {row['model']:7.3f} KS {row['ks']:.3f} (p = {row['p']:.3f})"
        )
    metadata = {
        "source": "cosmoDC2 v1.1.4 and TRILEGAL as sampled in the PyPI package skycatalogs (BSD-3-Clause)",
        "healpixels": list(HEALPIXELS),
        "n_galaxies": len(sample),
        "mag_i_max": COMPLETE,
        "n_components": best,
        "log_likelihood": {str(k): round(v, 3) for k, v in scores.items()},
        "held_out": list(HELD_OUT),
        "check": check,
    }
    model = UniverseModel(fit_galaxies(sample, best), stars, metadata)
    options.out.write_text(model.to_json(), encoding="utf-8")


if __name__ == "__main__":
    main()
