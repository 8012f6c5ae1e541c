# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Errors of the simulator."""

from __future__ import annotations

__all__ = (
    "MissingGalSimError",
    "SimulationError",
    "SplitError",
    "import_galsim",
)

from typing import Any


class SimulationError(ValueError):
    """A scene that cannot be simulated: bad catalogue, setting or output."""


class SplitError(SimulationError):
    """A scene that does not belong to the part of the sky that was asked for."""


class MissingGalSimError(ImportError):
    """GalSim, an optional dependency, is needed and not installed."""


def import_galsim() -> Any:
    """Import the module ``galsim`` where it is needed; `MissingGalSimError` if it is not installed."""
    try:
        import galsim
    except ImportError as err:
        raise MissingGalSimError(
            "simulation needs GalSim, which is not installed: pip install 'lsst-meas-blendid[sim]'"
        ) from err
    return galsim
