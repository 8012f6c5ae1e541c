# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the program that fits the models of cosmoDC2's galaxies."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lsst.meas.blendid.simulation import SimulationError
from lsst.meas.blendid.simulation.catalogs.cosmodc2 import PopulationModel
from toy_tools import load_tool


@pytest.fixture(scope="module")
def fit(repo_root: Path) -> ModuleType:
    return load_tool(repo_root, "fit_cosmodc2")


def _write_sample(folder: Path, healpixels: tuple[int, ...], n: int = 150) -> None:
    """Galaxies whose spectra are flat in f_ν, brighter and larger when nearer."""
    folder.mkdir()
    for number in healpixels:
        rng = np.random.default_rng(number)
        redshift = rng.uniform(0.3, 2.5, n)
        level = 10.0 ** rng.uniform(7.5, 9.5, n)
        bulge = np.where(rng.uniform(size=n) < 0.3, 0.0, rng.uniform(0.05, 0.9, n))
        shape = np.ones(30) * rng.uniform(0.9, 1.1, (n, 30))
        parts = {"bulge": bulge, "disk": 0.6 * (1.0 - bulge), "knots": 0.4 * (1.0 - bulge)}
        columns = {"redshift": redshift, "redshift_hubble": redshift}
        columns |= {name: 0.01 * rng.standard_normal(n) for name in ("shear_1", "shear_2", "convergence")}
        for part, size in (("disk", 0.2), ("bulge", 0.12)):
            major = size * 10.0 ** (0.2 * rng.standard_normal(n))
            columns[f"size_{part}_true"] = major
            columns[f"size_minor_{part}_true"] = major * rng.uniform(0.2, 1.0, n)
        table = {name: pa.array(values) for name, values in columns.items()}
        for part, share in parts.items():
            table[f"sed_val_{part}"] = pa.array(list((level * share)[:, None] * shape))
        pq.write_table(pa.table(table), folder / f"galaxy_{number}.parquet")
        stars = {f"{name}mag": pa.array(20.0 + rng.uniform(0, 5, n)) for name in "ugrizy"}
        pq.write_table(pa.table(stars), folder / f"trilegal_{number}.parquet")


def test_magnitudes_are_those_of_the_spectra(fit: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("galsim")
    cosmology = pytest.importorskip("astropy.cosmology")
    _write_sample(tmp_path / "sample", (1,), 20)
    sample = fit.read_sample(tmp_path / "sample", (1,))
    table = pq.read_table(tmp_path / "sample" / "galaxy_1.parquet")
    seds = [np.array(table[f"sed_val_{part}"].to_pylist()) for part in ("bulge", "disk", "knots")]
    redshift = np.array(table["redshift"])
    distance = cosmology.FlatLambdaCDM(H0=71.0, Om0=0.2648, Ob0=0.0448).luminosity_distance(redshift)
    flux = np.mean(sum(seds), axis=1) * 4.4659e13 * (1 + redshift) / (4 * np.pi * distance.to_value("m") ** 2)
    expected = -2.5 * np.log10(flux * 1e26 / 3631.0)
    # The spectra are flat to 10 % in a bin.
    np.testing.assert_allclose(sample.values["mag_i"], expected, atol=0.12)
    share = seds[0].sum(axis=1) / sum(seds).sum(axis=1)
    np.testing.assert_allclose(sample.values["bulge_fraction"], share, atol=0.01)
    ratio = np.array(table["size_minor_disk_true"]) / np.array(table["size_disk_true"])
    np.testing.assert_allclose(sample.values["axis_ratio"], ratio)
    np.testing.assert_allclose(
        sample.values["disc_radius"], np.array(table["size_disk_true"]) * np.sqrt(ratio)
    )


def test_incomplete_samples_are_named(fit: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no file .*galaxy_9556.parquet"):
        fit.read_sample(tmp_path)
    pq.write_table(pa.table({"redshift": [1.0]}), tmp_path / "galaxy_9556.parquet")
    with pytest.raises(SimulationError, match="galaxy_9556.parquet has no column redshift_hubble, shear_1"):
        fit.read_sample(tmp_path)


def test_fit_recovers_a_distribution(
    fit: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The documented command, on a sample with known trends."""
    pytest.importorskip("sklearn")
    pytest.importorskip("galsim")
    _write_sample(tmp_path / "sample", (9556, 9683, 9684, 9812, 9813, 9940))
    fit.main(["--sample", str(tmp_path / "sample"), "--out", str(tmp_path / "model.json")])
    assert "log likelihood" in capsys.readouterr().out
    model = PopulationModel.from_json((tmp_path / "model.json").read_text(encoding="utf-8"))
    sample = fit.read_sample(tmp_path / "sample")
    sample = sample.select(sample.values["mag_i"] < fit.COMPLETE)
    assert isinstance(sample, fit.GalaxySample) and len(sample) == model.metadata["n_galaxies"]
    mag = np.repeat(sample.values["mag_i"], 20)
    drawn = model.draw(mag, np.random.default_rng(0))
    for name in ("redshift", "disc_radius", "bulge_radius", "axis_ratio"):
        assert np.median(drawn[name]) == pytest.approx(np.median(sample.values[name]), rel=0.08), name
    none = np.mean(sample.values["bulge_fraction"] < 1e-3)
    assert np.mean(drawn["bulge_fraction"] == 0.0) == pytest.approx(none, abs=0.05)
    # Nearer galaxies are brighter.
    trend = np.corrcoef(mag, drawn["redshift"])[0, 1]
    assert trend == pytest.approx(
        np.corrcoef(sample.values["mag_i"], sample.values["redshift"])[0, 1], abs=0.1
    )
