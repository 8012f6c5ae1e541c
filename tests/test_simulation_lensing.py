# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of shear and magnification."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsst.meas.blendid.simulation import SimulationError
from lsst.meas.blendid.simulation.catalogs.lensing import magnification, reduced_shear

SMALL = st.floats(-0.3, 0.3)


@given(SMALL, SMALL, SMALL)
def test_reduced_shear_and_magnification_are_those_of_the_matrix(
    gamma1: float, gamma2: float, kappa: float
) -> None:
    matrix = np.array([[1 - kappa - gamma1, -gamma2], [-gamma2, 1 - kappa + gamma1]])
    mu = magnification(np.array([gamma1]), np.array([gamma2]), np.array([kappa]))
    np.testing.assert_allclose(mu, 1 / np.linalg.det(matrix), rtol=1e-12)
    g1, g2 = reduced_shear(np.array([gamma1]), np.array([gamma2]), np.array([kappa]))
    # The unit circle becomes an ellipse of axis ratio (1 − g) / (1 + g).
    stretch = np.linalg.svd(np.linalg.inv(matrix), compute_uv=False)
    g = np.hypot(g1, g2)[0]
    assert stretch[1] / stretch[0] == pytest.approx((1 - g) / (1 + g), abs=1e-12)


def test_lensing_of_galsim() -> None:
    """The same matrix as GalSim's, sign of the shear included."""
    galsim = pytest.importorskip("galsim")
    values = (np.array([0.08]), np.array([-0.03]), np.array([0.1]))
    g1, g2 = reduced_shear(*values)
    mu = magnification(*values)
    profile = galsim.Gaussian(sigma=1.0).lens(g1[0], g2[0], mu[0])
    inverse = np.linalg.inv(np.array([[0.82, 0.03], [0.03, 0.98]]))
    np.testing.assert_allclose(profile.jac, inverse, atol=1e-12)


def test_impossible_values_name_their_rows() -> None:
    zero = np.zeros(4)
    with pytest.raises(
        SimulationError, match=r"'kappa' must be less than 1; 2 of 4 rows are not \(rows 1, 3\)"
    ):
        magnification(zero, zero, np.array([0.0, 1.0, 0.5, 7.0]))
    with pytest.raises(SimulationError, match=r"reduced shear less than 1; 1 of 4 rows are not \(rows 2\)"):
        reduced_shear(np.array([0.0, 0.0, 0.5, 0.0]), zero, np.full(4, 0.6))
    for position, name in enumerate(("gamma1", "gamma2", "kappa")):
        values = [zero, zero, zero]
        values[position] = np.array([0.0, np.nan, 0.0, np.inf])
        with pytest.raises(SimulationError, match=rf"'{name}' must be finite; 2 of 4 rows"):
            magnification(*values)
