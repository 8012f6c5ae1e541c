# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Pipeline tasks that write blends back into the catalogues of the pipelines."""

from __future__ import annotations

__all__ = ("AnnotateBlendsTask", "AnnotateDetectionBlendsTask", "BaseAnnotateBlendsTask")

from collections.abc import Iterable, Mapping
from typing import Any

from lsst.daf.butler import DeferredDatasetHandle
from lsst.pipe.base import (
    InputQuantizedConnection,
    OutputQuantizedConnection,
    PipelineTask,
    QuantumContext,
    Struct,
)

from .annotate_blends_config import (
    AnnotateBlendsConfig,
    AnnotateDetectionBlendsConfig,
    BaseAnnotateBlendsConfig,
)
from .errors import BlendIdentificationError, CatalogUnusableError
from .source_catalogs import Annotation, CatalogError, annotate_footprints
from .tables import BlendTables


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
