# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Scenes that no training has, and the program that scores models on them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from benchmark_programs import load_benchmark

pytest.importorskip("galsim", reason="GalSim, which draws the galaxies, is not installed")

from lsst.meas.blendid.simulation import get_survey
from lsst.meas.blendid.simulation.catalogs.parametric import ParametricCatalog, count_pairs
from lsst.meas.blendid.training import SimulatedScene


@pytest.fixture(scope="module")
def program() -> ModuleType:
    return load_benchmark("where_it_holds")


def test_real_galaxies_have_the_light_and_the_places_of_simulated_ones(
    program: ModuleType, shared_data: Path
) -> None:
    folder = shared_data / "cosmos_real"
    if not folder.is_dir():
        pytest.skip(f"no galaxies of HST COSMOS in {folder}")
    scene = SimulatedScene("parametric", "cosmodc2", 5, (300, 300))
    plain, real = scene.load(), program.RealScene(scene, folder).load()
    assert real.sky == plain.sky and np.array_equal(real.truth["flux"], plain.truth["flux"])
    one, two = (np.asarray(s.masked_image.image.array, dtype=float) for s in (plain, real))
    chosen = (plain.truth["mag"] > 22.0) & (plain.truth["mag"] < 25.2)
    assert chosen.sum() > 20
    sigma = get_survey("i").sky_sigma
    # Another form, and the same light around each galaxy that is alone.
    assert np.abs(two - one).max() > 5.0 * sigma
    differences = []
    for row in plain.truth[chosen]:
        x, y = round(float(row["x"])), round(float(row["y"]))
        if min(x, y) < 20 or max(x, y) > 279:
            continue
        part = (slice(y - 20, y + 21), slice(x - 20, x + 21))
        differences.append((two[part] - one[part]).sum() / float(row["flux"]))
    assert abs(np.median(differences)) < 0.1


def test_compact_groups_have_the_counts_and_more_pairs(program: ModuleType) -> None:
    survey, size = get_survey("i"), (1500, 1500)
    groups = program.CompactGroups().galaxies(size, survey, np.random.default_rng(1))
    usual = ParametricCatalog(clustering=0.0).galaxies(size, survey, np.random.default_rng(1))
    bright = [np.asarray(t["mag_i"]) < 25.0 for t in (groups, usual)]
    assert bright[0].sum() == pytest.approx(bright[1].sum(), rel=0.2)
    edges = np.array([0.0, 20.0])
    excess = [
        count_pairs(t["x"][b], t["y"][b], edges, size).excess[0]
        for t, b in zip((groups, usual), bright, strict=True)
    ]
    assert excess[0] > excess[1] + 0.1


def test_stars_are_alone_and_as_bright_as_asked_for(program: ModuleType) -> None:
    scene, ratio = program.star_scene({}, 3)
    truth = scene.simulate().truth
    assert len(truth) == 100 and truth["is_star"].all()
    np.testing.assert_allclose(np.sort(truth["snr"]), np.sort(ratio), rtol=0.05)


def test_sections_print_their_tables(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        program,
        "GRID",
        {"band": {"g": "g"}, "seeing": {"1": 1.0}, "visits": {"9": 9}, "sizes": {"s": "1.6x"}},
    )
    monkeypatch.setattr(program, "PROFILES", {"kolmogorov": {}})
    text = tmp_path / "tables.txt"
    options = ["--models", "features-i-1", "--sections", "grid", "stars", "novelty", "--size", "500"]
    monkeypatch.setattr(sys, "argv", ["where_it_holds.py", *options, "--text", str(text)])
    assert program.main() == 0
    lines = text.read_text().splitlines()
    assert capsys.readouterr().out.strip() == "\n".join(lines).strip()
    (row,) = (line for line in lines if line.startswith("g 1 9 s"))
    assert 0.0 < float(row.split()[7]) < 0.7
    assert any(line.startswith("features-i-1: slopes") for line in lines)
    assert "features-i-1 does not tell its novelty" in lines
    stars = [line for line in lines if line.startswith("kolmogorov, told")]
    assert len(stars) == 2 and all("mean 0.0" in line for line in stars)


@pytest.mark.parametrize("form", ["ellipticals", "spirals"])
def test_bright_galaxies_are_alone_and_as_bright_as_asked_for(program: ModuleType, form: str) -> None:
    truth = program.bright_scene(program.BRIGHT[form], 3).simulate().truth
    # What is drawn on them is no object.
    assert len(truth) == 100 and not truth["is_star"].any()
    assert truth["snr"].min() == pytest.approx(1000.0, rel=0.1)
    assert truth["snr"].max() == pytest.approx(10_000.0, rel=0.1)
    assert truth["half_light_radius"].max() <= 4.0
