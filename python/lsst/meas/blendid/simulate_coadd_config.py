# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Connections and configuration of the task that simulates coadds."""

from __future__ import annotations

__all__ = ("SimulateCoaddConfig", "SimulateCoaddConnections")

import lsst.pipe.base.connectionTypes as cT
from lsst.pex.config import ConfigField, Field, FieldValidationError
from lsst.pipe.base import PipelineTaskConfig, PipelineTaskConnections

from .simulation.config import SceneConfig


class SimulateCoaddConnections(
    PipelineTaskConnections,
    dimensions=("skymap", "tract", "patch", "band"),
    defaultTemplates={"coaddName": "deep"},
):
    """Inputs and outputs of `SimulateCoaddTask`."""

    tractSettings = cT.Input(
        doc="Where the patches of the tract lie, seeds, and how its coadds are simulated.",
        name="{coaddName}_coadd_sim_tract",
        storageClass="StructuredDataDict",
        dimensions=("skymap", "tract"),
    )
    catalog = cT.Input(
        doc="Galaxies and stars whose light reaches the patch, magnitudes of all bands.",
        name="{coaddName}_coadd_sim_catalog",
        storageClass="ArrowAstropy",
        dimensions=("skymap", "tract", "patch"),
    )
    coadd = cT.Output(
        doc="Simulated coadd.",
        name="{coaddName}_coadd",
        storageClass="CellCoadd",
        dimensions=("skymap", "tract", "patch", "band"),
    )
    truth = cT.Output(
        doc="Galaxies and stars whose centre lies in the coadd.",
        name="{coaddName}_coadd_truth",
        storageClass="ArrowAstropy",
        dimensions=("skymap", "tract", "patch", "band"),
    )

    config: SimulateCoaddConfig


class SimulateCoaddConfig(PipelineTaskConfig, pipelineConnections=SimulateCoaddConnections):  # type: ignore[call-arg]
    """Configuration of `SimulateCoaddTask`."""

    useTractSettings: Field[bool] = Field(
        doc="Simulate as the settings of the tract say, which blendid simulate wrote?  Otherwise scene and "
        "nExposures are used, but for the population, which is that of the catalogue.",
        dtype=bool,
        default=True,
    )
    scene: ConfigField[SceneConfig] = ConfigField(
        doc="How coadds are simulated, without useTractSettings.", dtype=SceneConfig
    )
    nExposures: Field[int] = Field(
        doc="Number of exposures of a coadd, without useTractSettings; by default that of the survey.",
        dtype=int,
        optional=True,
        check=lambda x: x > 0,
    )
    noiseSeed: Field[int] = Field(
        doc="Seed of the noise, for several draws of one sky; by default that of the tract.",
        dtype=int,
        optional=True,
        check=lambda x: x >= 0,
    )
    exposureFolder: Field[str] = Field(
        doc="Folder in which mode 'full' keeps its exposures, so that a quantum that is stopped goes on "
        "where it was; empty: they are not kept.",
        dtype=str,
        default="",
    )
    processes: Field[int] = Field(
        doc="Processes of one quantum that draw exposures in mode 'full'.",
        dtype=int,
        default=1,
        check=lambda x: x > 0,
    )

    def validate(self) -> None:
        super().validate()
        cls = type(self)
        if self.useTractSettings:
            changed = self.scene.toDict() != SceneConfig().toDict()
            if changed or self.nExposures is not None:
                name = "scene" if changed else "nExposures"
                raise FieldValidationError(
                    getattr(cls, name),
                    self,
                    f"{name} is set but would not be used; set useTractSettings to False",
                )
        elif self.scene.population.toDict() != SceneConfig().population.toDict():
            raise FieldValidationError(
                cls.scene,
                self,
                "scene.population is set but would not be used: the catalogue has been drawn already; "
                "give it to blendid simulate",
            )
