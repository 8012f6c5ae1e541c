# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

r"""Fit the models of galaxies and stars that are shipped to the sample of cosmoDC2 that skycatalogs carries.

.. code-block:: text

    pip download --no-deps skycatalogs && unzip skycatalogs-*.whl 'skycatalogs/data/ci_sample/*'
    python tools/fit_cosmodc2.py --sample skycatalogs/data/ci_sample --out FILE

It needs scikit-learn and GalSim (for the throughput of the bands), takes a minute, and prints
how the galaxies of two healpixels compare with a model that was fitted to the other four; the
model that it writes is fitted to all six. The same figures are in the file, which is
``simulation/catalogs/data/cosmodc2.json`` of the package.

The sample (``skycatalogs/data/ci_sample``) has 500 galaxies, drawn at random from all with r < 29, of
each of six healpixels. The fluxes beside them are not used: they are 0 for all galaxies at z > 1.67 (a
third of the sample, most of the faint ones), lensed, and dimmed by the dust of the Milky Way. Each galaxy
has its spectrum, however, in 30 bins of wavelength for bulge, disc and knots, from which AB magnitudes and
the share of the bulge are taken here. These *r* magnitudes end at 29.0, as those do by which cosmoDC2 was
cut.
"""

from __future__ import annotations

import argparse
import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lsst.meas.blendid.simulation import SimulationError, njy_to_mag
from lsst.meas.blendid.simulation.catalogs.columns import FILTERS
from lsst.meas.blendid.simulation.catalogs.cosmodc2 import (
    GALAXY_VARIABLES,
    LOGIT_LIMIT,
    NODES,
    PIVOT,
    REDSHIFT_SLOPE,
    SIZE_SLOPE,
    STAR_VARIABLES,
    ConditionalMixture,
    PopulationModel,
)
from lsst.meas.blendid.simulation.catalogs.galaxies import composite_radius
from lsst.meas.blendid.simulation.errors import import_galsim

HEALPIXELS: tuple[int, ...] = (9556, 9683, 9684, 9812, 9813, 9940)
"""Healpixels of the sample (nside 32, ring) that were drawn at random."""

# Edges of the bins of the spectra, Å at rest (galaxy_1.3.0.yaml of the sample).
_EDGES = np.array(
    [
        *(1000, 1246, 1552, 1933, 2407, 2998, 3184, 3381, 3590, 3812, 4048, 4299, 4565, 4848, 5148, 5467),
        *(5806, 6166, 6548, 6954, 7385, 7843, 8329, 8846, 9395, 9978, 11467, 13177, 15143, 17402, 19998),
    ],
    dtype=np.float64,
)
# Spectra are in this many W/Hz (SCHEMA.md of LSSTDESC/gcr-catalogs).
_WATT_PER_HZ = 4.4659e13
_METRES_PER_MPC = 3.085677581491367e22
# Cosmology of cosmoDC2 (Korytov et al. 2019, section 2).
_COSMOLOGY = {"H0": 71.0, "Om0": 0.2648, "Ob0": 0.0448}
_COMPONENTS = ("bulge", "disk", "knots")

HELD_OUT: tuple[int, ...] = (9813, 9940)
"""Healpixels that the check is made on."""

COMPLETE = 28.3
"""Galaxies fainter in *i* are left out: the sample (r < 29) has only their blue ones."""

_CANDIDATES = (8, 12, 16, 20, 24)
_STAR_COMPONENTS = 8
_RIDGE = 1e-3
_SEED = 0
# Galaxies that the model draws for each one of the sample, to compare them.
_COPIES = 20
_BINS = ((20.0, 24.0), (24.0, 25.0), (25.0, 26.0), (26.0, 27.0), (27.0, 28.0))
_CHECKED = ("half_light_radius", "axis_ratio", "bulge_fraction", "redshift", "g_r", "r_i", "i_z")


@dataclasses.dataclass(frozen=True)
class GalaxySample:
    """Galaxies of cosmoDC2 before lensing, n of them."""

    healpixel: np.ndarray
    """Healpixel of each galaxy, shape (n,)."""

    values: dict[str, np.ndarray]
    """Properties, shape (n,), by the names of `.galaxies.GALAXY_COLUMNS`."""

    def __len__(self) -> int:
        return len(self.healpixel)

    def select(self, rows: np.ndarray) -> GalaxySample:
        """Take some of the galaxies, by a mask of shape (n,) or row numbers."""
        return GalaxySample(self.healpixel[rows], {name: v[rows] for name, v in self.values.items()})


def read_sample(folder: str | Path, healpixels: Sequence[int] = HEALPIXELS) -> GalaxySample:
    """Read ``galaxy_<healpixel>.parquet`` of a folder and compute magnitudes.

    Radii are circularised, √(major · minor); the half-light radius is that of the sum of bulge and disc;
    the bulge fraction is that of the flux in band i, knots being part of the disc.
    """
    import pyarrow.parquet as pq

    names = ["redshift", "redshift_hubble", "shear_1", "shear_2", "convergence"]
    names += [f"size_{minor}{part}_true" for part in ("bulge", "disk") for minor in ("", "minor_")]
    names += [f"sed_val_{part}" for part in _COMPONENTS]
    columns: dict[str, list[Any]] = {name: [] for name in names}
    healpixel = []
    for number in healpixels:
        path = Path(folder) / f"galaxy_{number}.parquet"
        if not path.is_file():
            raise FileNotFoundError(f"no file {path}; unpack the wheel of skycatalogs there")
        table = pq.read_table(path)
        missing = [name for name in names if name not in table.column_names]
        if missing:
            raise SimulationError(f"{path} has no column {', '.join(missing)}")
        for name in names:
            columns[name].append(np.array(table[name].to_pylist(), dtype=np.float64))
        healpixel.append(np.full(len(table), number))
    data = {name: np.concatenate(parts) for name, parts in columns.items()}

    flux = {band: _fluxes(data, band) for band in FILTERS}
    disc = np.sqrt(data["size_disk_true"] * data["size_minor_disk_true"])
    bulge = np.sqrt(data["size_bulge_true"] * data["size_minor_bulge_true"])
    fraction = flux["i"]["bulge"] / sum(flux["i"].values())
    values = {f"mag_{band}": njy_to_mag(sum(flux[band].values())) for band in FILTERS}
    values |= {
        "redshift": data["redshift"],
        "disc_radius": disc,
        "bulge_radius": bulge,
        "half_light_radius": disc * composite_radius(fraction, bulge / disc),
        "axis_ratio": data["size_minor_disk_true"] / data["size_disk_true"],
        "bulge_axis_ratio": data["size_minor_bulge_true"] / data["size_bulge_true"],
        "bulge_fraction": fraction,
        "gamma1": data["shear_1"],
        "gamma2": data["shear_2"],
        "kappa": data["convergence"],
    }
    return GalaxySample(np.concatenate(healpixel), values)


def read_stars(folder: str | Path, healpixels: Sequence[int] = HEALPIXELS) -> dict[str, np.ndarray]:
    """Read ``trilegal_<healpixel>.parquet``: columns ``mag_u`` … ``mag_y``, AB, shape (n,)."""
    import pyarrow.parquet as pq

    columns: dict[str, list[np.ndarray]] = {name: [] for name in FILTERS}
    for number in healpixels:
        path = Path(folder) / f"trilegal_{number}.parquet"
        if not path.is_file():
            raise FileNotFoundError(f"no file {path}; unpack the wheel of skycatalogs there")
        table = pq.read_table(path, columns=[f"{name}mag" for name in FILTERS])
        for name in FILTERS:
            columns[name].append(np.array(table[f"{name}mag"], dtype=np.float64))
    return {f"mag_{name}": np.concatenate(parts) for name, parts in columns.items()}


def _fluxes(data: dict[str, np.ndarray], band: str) -> dict[str, np.ndarray]:
    """Fluxes in a band of each part of the galaxies, nJy, shape (n,).

    The AB flux is ∫ f_ν T dλ/λ / ∫ T dλ/λ over the throughput T, which is GalSim's, with
    f_ν(λ) = (1 + z) L_ν(λ / (1 + z)) / (4π d_L²), without dust in the Milky Way and before lensing.
    """
    from astropy.cosmology import FlatLambdaCDM

    galsim = import_galsim()
    bandpass = galsim.Bandpass(f"LSST_{band}.dat", wave_type="nm")
    wave = np.arange(10.0 * bandpass.blue_limit, 10.0 * bandpass.red_limit, 2.0)
    weight = np.asarray(bandpass(wave / 10.0)) / wave
    weight /= weight.sum()
    redshift = data["redshift"]
    distance = FlatLambdaCDM(**_COSMOLOGY).luminosity_distance(data["redshift_hubble"]).value
    scale = _WATT_PER_HZ * (1.0 + redshift) / (4.0 * np.pi * (distance * _METRES_PER_MPC) ** 2)
    cumulative = np.concatenate([[0.0], np.cumsum(weight)])
    edges = _EDGES * (1.0 + redshift[:, None])
    # Share of the band in each bin of the spectrum.
    share = np.diff(np.interp(edges, np.append(wave, wave[-1] + 2.0), cumulative), axis=1)
    # 1 W/m²/Hz is 1e35 nJy.
    return {part: (share * data[f"sed_val_{part}"]).sum(axis=1) * scale * 1e35 for part in _COMPONENTS}


def galaxy_values(sample: GalaxySample) -> np.ndarray:
    """The *i* magnitude and `GALAXY_VARIABLES` of galaxies, shape (n, 14)."""
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


def _fit(values: np.ndarray, variables: tuple[str, ...], n_components: int) -> ConditionalMixture:
    """Fit a mixture to magnitudes and properties, shape (n, 1 + D)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    quantiles = _quantiles(values)
    data = _normalise(values, quantiles, np.random.default_rng(_SEED))
    mixture = GaussianMixture(n_components, reg_covar=_RIDGE, n_init=4, max_iter=300, random_state=_SEED)
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


def fit_galaxies(sample: GalaxySample, n_components: int) -> ConditionalMixture:
    """Fit a mixture of Gaussians to the properties of galaxies."""
    return _fit(galaxy_values(sample), GALAXY_VARIABLES, n_components)


def fit_stars(magnitudes: dict[str, np.ndarray]) -> ConditionalMixture:
    """Fit a mixture of Gaussians to the colours of stars, whose magnitudes have shape (n,) each."""
    colors = _colors(magnitudes)
    values = np.stack([magnitudes["mag_i"], *(colors[name] for name in STAR_VARIABLES)], axis=1)
    return _fit(values, STAR_VARIABLES, _STAR_COMPONENTS)


def choose_components(sample: GalaxySample) -> dict[int, float]:
    """Measure how likely the galaxies of a healpixel are under the model of the others.

    Gives the mean log likelihood of the normal deviates of a galaxy given its magnitude, for each number of
    Gaussians.
    """
    values = galaxy_values(sample)
    numbers = np.unique(sample.healpixel)
    scores: dict[int, list[np.ndarray]] = {k: [] for k in _CANDIDATES}
    for number in numbers:
        held = sample.healpixel == number
        for k in _CANDIDATES:
            model = fit_galaxies(sample.select(~held), k)
            data = _normalise(values[held], model.quantiles, np.random.default_rng(_SEED))
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


def compare(sample: GalaxySample, model: PopulationModel) -> list[dict[str, Any]]:
    """Compare galaxies with those that a model draws at the same magnitudes.

    A row for each bin of magnitude that has galaxies and each property: median of the sample and of the
    draws, and the distance and probability of a Kolmogorov-Smirnov test.
    """
    from scipy.stats import ks_2samp

    mag = np.repeat(sample.values["mag_i"], _COPIES)
    drawn = model.draw(mag, np.random.default_rng(_SEED))
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
    """Fit the models, write them and print the check."""
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
    check = compare(sample.select(held), PopulationModel(fit_galaxies(sample.select(~held), best), stars, {}))
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
    model = PopulationModel(fit_galaxies(sample, best), stars, metadata)
    options.out.write_text(model.to_json(), encoding="utf-8")


if __name__ == "__main__":
    main()
