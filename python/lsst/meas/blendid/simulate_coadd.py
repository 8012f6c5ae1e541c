# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The pipeline task that simulates coadds."""

from __future__ import annotations

__all__ = (
    "SimulateCoaddConfig",
    "SimulateCoaddConnections",
    "SimulateCoaddTask",
)

import dataclasses
import datetime
import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import lsst.pipe.base.connectionTypes as cT
from lsst.pex.config import ConfigField, Field, FieldValidationError
from lsst.pipe.base import (
    InputQuantizedConnection,
    InvalidQuantumError,
    OutputQuantizedConnection,
    PipelineTask,
    PipelineTaskConfig,
    PipelineTaskConnections,
    QuantumContext,
    Struct,
)

from .simulation.config import SceneConfig

if TYPE_CHECKING:
    from astropy.table import Table


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


class SimulateCoaddTask(PipelineTask):
    """Simulate the coadd of a patch in one band.

    Parameters
    ----------
    **kwargs
        As for `lsst.pipe.base.PipelineTask`.

    Notes
    -----
    A patch without galaxies, at the edge of a catalogue say, gets a coadd too: sky and
    noise, and a truth table without rows.
    """

    ConfigClass = SimulateCoaddConfig
    _DefaultName = "simulateCoadd"
    config: SimulateCoaddConfig

    def runQuantum(
        self,
        butlerQC: QuantumContext,
        inputRefs: InputQuantizedConnection,
        outputRefs: OutputQuantizedConnection,
    ) -> None:
        data_id = butlerQC.quantum.dataId
        assert data_id is not None, "quanta of this task have a data ID"
        inputs = butlerQC.get(inputRefs)
        outputs = self.run(
            inputs["tractSettings"], inputs["catalog"], patch=int(data_id["patch"]), band=str(data_id["band"])
        )
        butlerQC.put(outputs, outputRefs)

    def run(self, tractSettings: Mapping[str, Any], catalog: Table, *, patch: int, band: str) -> Struct:
        """Simulate a coadd.

        Parameters
        ----------
        tractSettings
            Settings of the tract
            (`~lsst.meas.blendid.simulation.tracts.tract.TractSimulation.to_dict`).
        catalog
            Catalogue of the patch, ``x`` and ``y`` in pixels of the tract.
        patch
            Number of the patch.
        band
            Name of the band.

        Returns
        -------
        struct : `lsst.pipe.base.Struct`
            ``coadd`` (`lsst.images.cells.CellCoadd`) and ``truth``
            (`astropy.table.Table`).

        Raises
        ------
        lsst.pipe.base.InvalidQuantumError
            Raised if the band is unknown or the settings do not work.
        """
        # Here, because the simulation needs GalSim in some of its modes and takes a while to import.
        from .simulation import SimulationError
        from .simulation.tracts.tract import TractSimulation
        from .simulation.tracts.tract_jobs import patch_folder

        start = time.perf_counter()
        try:
            simulation = TractSimulation.from_dict(tractSettings)
            if not self.config.useTractSettings:
                scene = cast("SceneConfig", self.config.scene.copy())
                scene.population = simulation.scene.population
                simulation = dataclasses.replace(simulation, scene=scene, n_exposures=self.config.nExposures)
            if self.config.noiseSeed is not None:
                simulation = dataclasses.replace(simulation, noise_seed=self.config.noiseSeed)
            folder = self.config.exposureFolder
            simulated = simulation.simulate(
                catalog,
                patch,
                band,
                processes=self.config.processes,
                exposure_folder=patch_folder(folder, simulation, patch) if folder else None,
                progress=_ProgressLog(self.log) if simulation.scene.mode == "full" else None,
            )
        except SimulationError as err:
            # Other data of the same kind would not help: all of it was made by settings.
            raise InvalidQuantumError(str(err)) from err
        seconds = time.perf_counter() - start
        truth = simulated.truth
        self.metadata["band"] = band
        self.metadata["mode"] = simulation.scene.mode
        for key in ("seed", "noise_seed", "n_exposures", "background"):
            self.metadata[key] = truth.meta[key]
        self.metadata["n_objects"] = len(truth)
        self.metadata["seconds_simulation"] = seconds
        self.log.info("%d objects in the coadd, simulated in %.1f s.", len(truth), seconds)
        return Struct(coadd=simulated.coadd, truth=truth)


class _ProgressLog:
    """Logs about every tenth of the exposures, with the time that the others will take.

    Parameters
    ----------
    log
        Where to.
    """

    def __init__(self, log: logging.LoggerAdapter[logging.Logger]) -> None:
        self._log = log
        self._last = (0, time.perf_counter())

    def __call__(self, done: int, total: int) -> None:
        last, then = self._last
        # The last one is told of with the coadd.
        if done == total or 10 * (done - last) < total:
            return
        now = time.perf_counter()
        self._last = (done, now)
        # The pace of late, because exposures that were kept come at once.
        left = datetime.timedelta(seconds=round((now - then) / (done - last) * (total - done)))
        self._log.info("%d of %d exposures, %s left.", done, total, left)
