# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Connections, configuration and pipelines of the tasks that write blends back; what they do to catalogues of
lsst.afw is in test_afw_source_catalog.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from lsst.meas.blendid import AnnotateBlendsConfig, AnnotateDetectionBlendsConfig
from lsst.pex.config import FieldValidationError
from lsst.pipe.base import Pipeline
from lsst.pipe.base.pipelineIR import PipelineIR

PIPELINES = Path(__file__).resolve().parents[1] / "pipelines"
TABLES = {"deep_coadd_blend", "deep_coadd_blend_peak", "deep_coadd_blend_spans"}


def test_annotating_is_the_default() -> None:
    peaks = AnnotateBlendsConfig().peaks
    assert (peaks.doAddPeaks, peaks.doDropPeaks, peaks.doMovePeaks) == (False, False, False)
    assert (peaks.minSeparation, peaks.minAddSignificance, peaks.moveRadius) == (3.0, 5.0, 6.0)
    assert 0.5 <= peaks.minAddProbability < 1.0
    assert (peaks.maxPeaks, peaks.maxFootprintArea, peaks.maxAreaTimesPeaks) == (
        600,
        2_000_000,
        1_000_000_000,
    )


def test_bands_are_checked() -> None:
    config = AnnotateBlendsConfig()
    config.bands = ["r", "N921"]
    with pytest.raises(FieldValidationError, match="not a band"):
        config.bands = ["i", "not a band"]


def test_connections_of_the_merged_catalogue() -> None:
    """Nothing is written under the name of what is read."""
    config = AnnotateBlendsConfig()
    connections = config.connections.ConnectionsClass(config=config)
    assert connections.dimensions == {"skymap", "tract", "patch"}
    inputs = {connections.allConnections[n].name for n in (*connections.inputs, *connections.initInputs)}
    outputs = {connections.allConnections[n].name for n in (*connections.outputs, *connections.initOutputs)}
    assert inputs == TABLES | {
        *("object_detection_merged", "object_detection_merged_schema", "object_detection_peak_schema"),
    }
    assert outputs == {
        *("object_detection_merged_blendid", "object_detection_merged_blendid_schema"),
        "object_detection_peak_blendid_schema",
    }
    for name in ("blend", "blendPeak", "blendSpans"):
        table = connections.allConnections[name]
        # A patch without tables still goes on to the deblender.
        assert (table.minimum, table.multiple, table.deferLoad) == (0, True, True)


def test_connections_of_the_catalogue_of_a_band() -> None:
    config = AnnotateDetectionBlendsConfig()
    connections = config.connections.ConnectionsClass(config=config)
    assert connections.dimensions == {"skymap", "tract", "patch", "band"}
    assert connections.catalog.name == "object_detection"
    assert connections.annotated.name == "object_detection_blendid"
    assert set(connections.initInputs) == {"inputSchema"} and set(connections.initOutputs) == {"outputSchema"}


def test_the_pipeline_of_the_task_alone() -> None:
    graph = Pipeline.fromFile(str(PIPELINES / "annotate.yaml")).to_graph()
    assert list(graph.tasks) == ["annotateBlends"]


@pytest.mark.parametrize("add", [False, True])
def test_the_ingredient_of_the_data_release_pipeline(add: bool) -> None:
    """The footprints that are judged are those that are written back."""
    pipeline = Pipeline.fromFile(str(PIPELINES / "ingredients" / "drp_deblend.yaml"))
    if add:
        pipeline.addConfigOverride("parameters", "blendid_add_peaks", True)
    tasks = pipeline.to_graph().tasks
    assert set(tasks) == {"blendIdentification", "annotateBlends"}
    judged = {e.dataset_type_name for e in tasks["blendIdentification"].iter_all_inputs()}
    assert {"object_detection_merged", "deep_coadd"} <= judged
    written = {e.dataset_type_name for e in tasks["blendIdentification"].iter_all_outputs()}
    read = {e.dataset_type_name for e in tasks["annotateBlends"].iter_all_inputs()}
    assert TABLES <= written and TABLES | {"object_detection_merged"} <= read
    peaks = tasks["annotateBlends"].config.peaks
    assert (peaks.doAddPeaks, peaks.doMovePeaks) == (add, add)


_DRP = """
description: What drp_pipe has between detection and deblending.
tasks:
  mergeObjectDetection:
    class: lsst.pipe.tasks.mergeDetections.MergeDetectionsTask
  deconvolve:
    class: lsst.meas.extensions.scarlet.deconvolveExposureTask.DeconvolveExposureTask
    config:
      connections.coadd: deep_coadd
      connections.catalog: object_detection_merged
  deblendCoaddFootprints:
    class: lsst.pipe.tasks.deblendCoaddSourcesPipeline.DeblendCoaddSourcesMultiTask
    config:
      connections.inputSchema: object_detection_merged_schema
      connections.peakSchema: object_detection_peak_schema
      connections.mergedDetections: object_detection_merged
"""


def test_both_tasks_of_the_data_release_pipeline_are_repointed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their classes are not installed, so that only the files are looked at."""
    (tmp_path / "pipelines" / "LSSTCam").mkdir(parents=True)
    (tmp_path / "pipelines" / "LSSTCam" / "DRP.yaml").write_text(_DRP)
    monkeypatch.setenv("DRP_PIPE_DIR", str(tmp_path))
    pipeline = PipelineIR.from_uri(str(PIPELINES / "drp_deblend.yaml"))
    config = {
        label: {key: value for part in task.to_primitives().get("config", []) for key, value in part.items()}
        for label, task in pipeline.tasks.items()
    }
    assert config["deconvolve"] == {
        "connections.coadd": "deep_coadd",
        "connections.catalog": "object_detection_merged_blendid",
    }
    assert config["deblendCoaddFootprints"] == {
        "connections.inputSchema": "object_detection_merged_schema",
        "connections.peakSchema": "object_detection_peak_blendid_schema",
        "connections.mergedDetections": "object_detection_merged_blendid",
    }
    assert {"mergeObjectDetection", "blendIdentification", "annotateBlends"} <= set(config)
    subset = set(pipeline.labeled_subsets["blendid-deblend"].subset)
    assert subset == {"blendIdentification", "annotateBlends", "deconvolve", "deblendCoaddFootprints"}
