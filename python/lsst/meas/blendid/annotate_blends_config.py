# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Connections and configuration of the tasks that write blends back into catalogues."""

from __future__ import annotations

__all__ = (
    "AnnotateBlendsConfig",
    "AnnotateBlendsConnections",
    "AnnotateDetectionBlendsConfig",
    "AnnotateDetectionBlendsConnections",
    "BaseAnnotateBlendsConfig",
    "BaseAnnotateBlendsConnections",
)

import lsst.pipe.base.connectionTypes as cT
from lsst.pex.config import ConfigField, ListField
from lsst.pipe.base import PipelineTaskConfig, PipelineTaskConnections

from .ids import SUPPORTED_BANDS
from .source_catalogs import PeakEditConfig

_TABLES = {
    "blend": "Footprints with their blend probabilities.",
    "blend_peak": "Peaks of the footprints, with their probabilities.",
    "blend_spans": "Pixels of the footprints, as spans.",
}


def _table_input(name: str) -> cT.Input:
    """One of the tables of `.BlendIdentificationTask` of each band; there is none where nothing was found."""
    return cT.Input(
        doc=_TABLES[name],
        name=f"{{coaddName}}_coadd_{name}",
        storageClass="ArrowAstropy",
        dimensions=("skymap", "tract", "patch", "band"),
        multiple=True,
        minimum=0,
        deferLoad=True,
    )


class BaseAnnotateBlendsConnections(
    PipelineTaskConnections,
    dimensions=("skymap", "tract", "patch"),
    defaultTemplates={"coaddName": "deep"},
):
    """Inputs that all variants have: the tables of each band."""

    blend = _table_input("blend")
    blendPeak = _table_input("blend_peak")
    blendSpans = _table_input("blend_spans")


class BaseAnnotateBlendsConfig(PipelineTaskConfig, pipelineConnections=BaseAnnotateBlendsConnections):  # type: ignore[call-arg]
    """Configuration that all variants have."""

    peaks: ConfigField[PeakEditConfig] = ConfigField(
        doc="What becomes of the peaks of the catalogue.", dtype=PeakEditConfig
    )
    bands: ListField[str] = ListField(
        doc="Bands whose tables may be used: those of the first one that there are.",
        dtype=str,
        default=["i", "r", "z", "g", "y", "u"],
        itemCheck=lambda band: band in SUPPORTED_BANDS,
    )


class AnnotateBlendsConnections(BaseAnnotateBlendsConnections, dimensions=("skymap", "tract", "patch")):
    """Inputs and outputs of `.AnnotateBlendsTask`."""

    inputSchema = cT.InitInput(
        doc="Schema of the catalogue.", name="object_detection_merged_schema", storageClass="SourceCatalog"
    )
    inputPeakSchema = cT.InitInput(
        doc="Schema of its peaks.", name="object_detection_peak_schema", storageClass="PeakCatalog"
    )
    catalog = cT.Input(
        doc="Catalogue of detections merged across bands, with footprints.",
        name="object_detection_merged",
        storageClass="SourceCatalog",
        dimensions=("skymap", "tract", "patch"),
    )
    outputSchema = cT.InitOutput(
        doc="Schema of the annotated catalogue.",
        name="object_detection_merged_blendid_schema",
        storageClass="SourceCatalog",
    )
    outputPeakSchema = cT.InitOutput(
        doc="Schema of its peaks.", name="object_detection_peak_blendid_schema", storageClass="PeakCatalog"
    )
    annotated = cT.Output(
        doc="The catalogue with probabilities, and other peaks if these are asked for.",
        name="object_detection_merged_blendid",
        storageClass="SourceCatalog",
        dimensions=("skymap", "tract", "patch"),
    )


class AnnotateBlendsConfig(BaseAnnotateBlendsConfig, pipelineConnections=AnnotateBlendsConnections):  # type: ignore[call-arg]
    """Configuration of `.AnnotateBlendsTask`."""


class AnnotateDetectionBlendsConnections(
    BaseAnnotateBlendsConnections, dimensions=("skymap", "tract", "patch", "band")
):
    """Inputs and outputs of `.AnnotateDetectionBlendsTask`."""

    inputSchema = cT.InitInput(
        doc="Schema of the catalogue.", name="object_detection_schema", storageClass="SourceCatalog"
    )
    catalog = cT.Input(
        doc="Catalogue of the detections of a band, with footprints.",
        name="object_detection",
        storageClass="SourceCatalog",
        dimensions=("skymap", "tract", "patch", "band"),
    )
    outputSchema = cT.InitOutput(
        doc="Schema of the annotated catalogue.",
        name="object_detection_blendid_schema",
        storageClass="SourceCatalog",
    )
    annotated = cT.Output(
        doc="The catalogue with probabilities, and other peaks if these are asked for.",
        name="object_detection_blendid",
        storageClass="SourceCatalog",
        dimensions=("skymap", "tract", "patch", "band"),
    )


class AnnotateDetectionBlendsConfig(
    BaseAnnotateBlendsConfig,
    pipelineConnections=AnnotateDetectionBlendsConnections,  # type: ignore[call-arg]
):
    """Configuration of `.AnnotateDetectionBlendsTask`."""
