# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Pipeline tasks that write blends back into the catalogues of the pipelines."""

from __future__ import annotations

__all__ = (
    "AnnotateBlendsConfig",
    "AnnotateBlendsConnections",
    "AnnotateBlendsTask",
    "AnnotateDetectionBlendsConfig",
    "AnnotateDetectionBlendsConnections",
    "AnnotateDetectionBlendsTask",
    "BaseAnnotateBlendsConfig",
    "BaseAnnotateBlendsConnections",
    "BaseAnnotateBlendsTask",
)

from collections.abc import Iterable, Mapping
from typing import Any

import lsst.pipe.base.connectionTypes as cT
from lsst.daf.butler import DeferredDatasetHandle
from lsst.pex.config import ConfigField, ListField
from lsst.pipe.base import (
    InputQuantizedConnection,
    OutputQuantizedConnection,
    PipelineTask,
    PipelineTaskConfig,
    PipelineTaskConnections,
    QuantumContext,
    Struct,
)

from .errors import BlendIdentificationError, CatalogUnusableError
from .ids import SUPPORTED_BANDS
from .source_catalogs import Annotation, CatalogError, PeakEditConfig, annotate_footprints
from .tables import BlendTables

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


class BaseAnnotateBlendsTask(PipelineTask):
    """Write probabilities, and perhaps inferred peaks, into a catalogue of sources with footprints.

    Parameters
    ----------
    initInputs
        Schemas of the catalogue, ``inputSchema``, and of its peaks,
        ``inputPeakSchema``, each as an empty catalogue.
    **kwargs
        As for `lsst.pipe.base.PipelineTask`.

    Raises
    ------
    ImportError
        Raised if there is no lsst.afw.
    """

    ConfigClass = BaseAnnotateBlendsConfig
    _DefaultName = "baseAnnotateBlends"
    config: BaseAnnotateBlendsConfig

    def __init__(self, *, initInputs: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(initInputs=initInputs, **kwargs)
        from .afw import CatalogAnnotator

        peaks = initInputs.get("inputPeakSchema")
        self._annotator = CatalogAnnotator(
            initInputs["inputSchema"].schema, None if peaks is None else peaks.schema
        )
        self.outputSchema, self.outputPeakSchema = self._annotator.make_empty()

    def runQuantum(
        self,
        butlerQC: QuantumContext,
        inputRefs: InputQuantizedConnection,
        outputRefs: OutputQuantizedConnection,
    ) -> None:
        inputs = butlerQC.get(inputRefs)
        tables = self._read_tables(inputs)
        try:
            outputs = self.run(inputs["catalog"], tables)
        except BlendIdentificationError as err:
            # The executor keeps the task's metadata in the log dataset, not the error's.
            self.metadata.set_dict("failure", err.metadata)
            raise
        butlerQC.put(outputs, outputRefs)

    def _read_tables(self, inputs: Mapping[str, Iterable[DeferredDatasetHandle]]) -> BlendTables | None:
        """Read the tables of the first band that has them."""
        names = ("blend", "blendPeak", "blendSpans")
        by_band: dict[str, dict[str, DeferredDatasetHandle]] = {}
        for name in names:
            for handle in inputs.get(name, ()):
                by_band.setdefault(str(handle.dataId["band"]), {})[name] = handle
        for band in self.config.bands:
            found = by_band.get(band, {})
            if set(found) == set(names):
                self.metadata["band"] = band
                return BlendTables(*(found[name].get() for name in names))
        self.log.warning(
            "There are no tables of any of the bands %s; the catalogue gets the columns, and nothing is "
            "known about its records.",
            ", ".join(self.config.bands),
        )
        return None

    def run(self, catalog: Any, tables: BlendTables | None) -> Struct:
        """Annotate a catalogue.

        Parameters
        ----------
        catalog : `lsst.afw.table.SourceCatalog`
            The catalogue; it is not changed.
        tables
            Tables of its coadd; `None` if there are none, so that nothing is
            known about its records.

        Returns
        -------
        struct : `lsst.pipe.base.Struct`
            ``annotated`` (`lsst.afw.table.SourceCatalog`), the catalogue with
            more columns, and ``annotation`` (`.source_catalogs.Annotation`).

        Raises
        ------
        CatalogUnusableError
            Raised if the tables belong to another catalogue.
        """
        from .afw import read_source_catalog

        try:
            annotation = annotate_footprints(read_source_catalog(catalog), tables, self.config.peaks)
        except CatalogError as err:
            raise CatalogUnusableError(str(err), n_records=len(catalog)) from err
        self._tell(annotation)
        return Struct(annotated=self._annotator.annotate(catalog, annotation), annotation=annotation)

    def _tell(self, annotation: Annotation) -> None:
        """Say what was done, and keep the numbers."""
        plan = annotation.plan
        self.metadata["n_records"] = len(annotation.join.row)
        self.metadata["n_matched"] = int((annotation.join.row >= 0).sum())
        self.metadata["matched_by_id"] = int(annotation.join.by_id)
        self.metadata["n_peaks"] = len(plan.kept)
        self.metadata["n_peaks_added"] = len(plan.added)
        self.metadata["n_peaks_dropped"] = int((~plan.kept).sum())
        self.metadata["n_peaks_moved"] = int(plan.moved.sum())
        self.metadata["n_inferred"] = len(annotation.inferred)
        self.log.info("%s.", annotation.describe())


class AnnotateBlendsTask(BaseAnnotateBlendsTask):
    """Write probabilities, and perhaps inferred peaks, into the merged catalogue before deblending."""

    ConfigClass = AnnotateBlendsConfig
    _DefaultName = "annotateBlends"
    config: AnnotateBlendsConfig


class AnnotateDetectionBlendsTask(BaseAnnotateBlendsTask):
    """Write probabilities, and perhaps inferred peaks, into the catalogue of the detections of a band."""

    ConfigClass = AnnotateDetectionBlendsConfig
    _DefaultName = "annotateDetectionBlends"
    config: AnnotateDetectionBlendsConfig
