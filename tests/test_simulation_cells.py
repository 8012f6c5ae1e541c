# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the cells of a patch, and of PSF and depth in each."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.images import YX, Box
from lsst.images.cells import CellGrid, PatchDefinition
from lsst.meas.blendid.simulation import SimulationError, get_survey
from lsst.meas.blendid.simulation.coadds.cells import (
    CellConditions,
    cell_size_for,
    cells_of,
    conditions_of,
    is_varied,
)
from lsst.meas.blendid.simulation.coadds.psf_model import PsfModel
from lsst.meas.blendid.simulation.config import PsfConfig, VariationConfig


def _patch(x0: int, y0: int, nx: int, ny: int, cell: YX) -> PatchDefinition:
    box = Box.from_shape((ny * cell.y, nx * cell.x), start=(y0, x0))
    return PatchDefinition(
        id=0, index=YX(y=0, x=0), inner_bbox=box, cells=CellGrid(bbox=box, cell_shape=cell)
    )


@given(
    x0=st.integers(-500, 500),
    y0=st.integers(-500, 500),
    nx=st.integers(1, 5),
    ny=st.integers(1, 5),
    width=st.integers(1, 20),
    height=st.integers(1, 20),
)
def test_cells_tile_the_patch(x0: int, y0: int, nx: int, ny: int, width: int, height: int) -> None:
    patch = _patch(x0, y0, nx, ny, YX(y=height, x=width))
    cells = list(cells_of(patch, patch.outer_bbox))
    assert [c.index.as_tuple() for c in cells] == [(i, j) for i in range(ny) for j in range(nx)]
    seen = np.zeros((ny * height, nx * width), dtype=int)
    for cell in cells:
        seen[cell.y, cell.x] += 1
        assert (cell.bbox.x.start, cell.bbox.y.start) == (x0 + cell.x.start, y0 + cell.y.start)
        assert cell.key == (cell.x.start, cell.y.start)
    assert (seen == 1).all()


def test_a_shared_cell_is_the_same_in_both_patches() -> None:
    tract = Box.factory[-20:200, 10:300]
    one = {str(c.bbox): c for c in cells_of(_patch(10, -20, 4, 4, YX(y=20, x=30)), tract)}
    two = {str(c.bbox): c for c in cells_of(_patch(70, 20, 4, 4, YX(y=20, x=30)), tract)}
    shared = one.keys() & two.keys()
    assert len(shared) == 4
    for box in shared:
        assert (one[box].place, one[box].key) == (two[box].place, two[box].key)


@pytest.mark.parametrize(
    ("size", "cell"), [(1500, 150), (2048, 256), (256, 256), (64, 64), (97, 97), (509, 509)]
)
def test_cell_sizes_divide(size: int, cell: int) -> None:
    assert cell_size_for(size) == cell and size % cell == 0


NAMES = ("fwhm", "g1", "g2", "n_exposures", "sky_factor")


def _config(**settings: float) -> VariationConfig:
    config = VariationConfig(**settings)
    config.validate()
    return config


ALL = _config(fwhmScatter=0.1, ellipticityScatter=0.03, depthScatter=0.2, skyScatter=0.1)


def test_nothing_varies_by_default() -> None:
    survey = get_survey("i")
    found = conditions_of((3.5, 7.5), survey, VariationConfig(), 1)
    assert found == CellConditions(survey.fwhm, 0.0, 0.0, survey.n_exposures, 1.0)
    assert found.psf == found.told_psf == PsfModel(survey.fwhm)
    assert found.survey(survey) == survey
    assert not is_varied(VariationConfig())
    for name in ("fwhmScatter", "ellipticityScatter", "depthScatter", "skyScatter"):
        assert is_varied(_config(**{name: 0.01}))


def test_the_psf_has_the_form_that_is_asked_for() -> None:
    survey, config = get_survey("i"), PsfConfig()
    config.profile, config.beta, config.opticsShare = "moffat", 2.5, 0.7
    config.ellipticity, config.positionAngle, config.widthError = 0.1, 60.0, -0.05
    found = conditions_of((3.5, 7.5), survey, VariationConfig(), 1, config)
    expected = PsfModel(0.7, 0.1 * np.cos(2 * np.pi / 3), 0.1 * np.sin(2 * np.pi / 3), "moffat", 2.5, 0.7)
    assert dataclasses.astuple(found.psf) == pytest.approx(dataclasses.astuple(expected))
    assert found.told_psf == dataclasses.replace(found.psf, fwhm=0.7 * 0.95)
    # What varies is added; no shear is so large that there is no such PSF.
    config.ellipticity = 0.3
    varied = [
        conditions_of((0.5, 0.5), survey, _config(ellipticityScatter=0.1), s, config) for s in range(99)
    ]
    shears = np.array([np.hypot(one.g1, one.g2) for one in varied])
    assert shears.std() > 0.05 and shears.max() <= 0.45 + 1e-9


def test_scatter_is_what_was_asked_for() -> None:
    """Over seeds, at one place."""
    survey = get_survey("i")
    found = [conditions_of((2.5, 9.5), survey, ALL, seed) for seed in range(600)]
    values = {name: np.array([getattr(c, name) for c in found]) for name in NAMES}
    expected = {
        "fwhm": (survey.fwhm, 0.1 * survey.fwhm),
        "g1": (0.0, 0.03),
        "g2": (0.0, 0.03),
        "n_exposures": (survey.n_exposures, 0.2 * survey.n_exposures),
        "sky_factor": (1.0, 0.1),
    }
    for name, (mean, scatter) in expected.items():
        assert values[name].mean() == pytest.approx(mean, abs=4 * scatter / np.sqrt(600))
        assert values[name].std() == pytest.approx(scatter, rel=0.12)
    # Of five quantities no two are the same.
    table = np.corrcoef([values[name] for name in NAMES])
    assert np.abs(table - np.eye(5)).max() < 4 / np.sqrt(600)


def test_fields_are_smooth_over_their_scale() -> None:
    """Correlation exp(-d²/2) at a distance of d scales."""
    survey, distances = get_survey("i"), np.array([0.0, 0.5, 1.0, 2.0])
    for scale in (2.0, 6.0):
        config = _config(fwhmScatter=0.1, scale=scale)
        fwhm = np.array(
            [
                [conditions_of((5.5 + scale * d, 1.5), survey, config, seed).fwhm for d in distances]
                for seed in range(500)
            ]
        )
        correlation = np.corrcoef(fwhm.T)[0]
        np.testing.assert_allclose(correlation, np.exp(-0.5 * distances**2), atol=0.15)


def test_bands_have_fields_of_their_own() -> None:
    survey = get_survey("i")
    other = dataclasses.replace(survey, band="r")
    pairs = [[conditions_of((1.5, 1.5), s, ALL, seed).fwhm for s in (survey, other)] for seed in range(300)]
    assert np.corrcoef(np.array(pairs).T)[0, 1] == pytest.approx(0.0, abs=4 / np.sqrt(300))


@settings(deadline=None, max_examples=100)
@given(
    x=st.floats(-1e4, 1e4),
    y=st.floats(-1e4, 1e4),
    seed=st.integers(0, 2**40),
    scatter=st.tuples(st.floats(0, 0.3), st.floats(0, 0.1), st.floats(0, 0.5), st.floats(0, 0.3)),
    scale=st.floats(0.1, 1e3),
)
def test_any_conditions_can_be_drawn(
    x: float, y: float, seed: int, scatter: tuple[float, float, float, float], scale: float
) -> None:
    survey = get_survey("i")
    config = _config(
        fwhmScatter=scatter[0],
        ellipticityScatter=scatter[1],
        depthScatter=scatter[2],
        skyScatter=scatter[3],
        scale=scale,
    )
    found = conditions_of((x, y), survey, config, seed)
    assert found == conditions_of((x, y), survey, config, seed)
    found.psf.check_sampling(survey.pixel_scale)
    local = found.survey(survey)
    assert isinstance(found.n_exposures, int) and found.n_exposures >= 1
    assert np.isfinite(local.sky_sigma) and local.sky_sigma > 0.0
    assert local.sky_electrons == pytest.approx(
        survey.sky_electrons * found.sky_factor * found.n_exposures / survey.n_exposures
    )


def test_poor_sampling_is_left_to_be_reported() -> None:
    """A survey whose PSF is undersampled is not mended in silence."""
    sharp = dataclasses.replace(get_survey("i"), fwhm=0.3)
    assert conditions_of((0.5, 0.5), sharp, VariationConfig(), 1).fwhm == 0.3


def test_negative_seed() -> None:
    with pytest.raises(SimulationError, match="negative"):
        conditions_of((0.5, 0.5), get_survey("i"), ALL, -1)
