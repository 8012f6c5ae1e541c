# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Calibrated probabilities that detections in coadds are blends.

Public names are loaded when they are first used, so that importing the
package stays cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .annotate_blends import (
        AnnotateBlendsConfig,
        AnnotateBlendsTask,
        AnnotateDetectionBlendsConfig,
        AnnotateDetectionBlendsTask,
    )
    from .blend_identification import BlendIdentificationTask
    from .blend_identification_config import BlendIdentificationConfig, BlendIdentificationConnections
    from .classifiers import BlendClassifier, classifier_registry
    from .footprints import DetectionResult, FootprintConfig, FootprintSet, build_footprints
    from .identify import IdentifiedBlends, find_footprints, identify_blends, measure_features
    from .model_package import ModelPackage
    from .simulate_coadd import SimulateCoaddConfig, SimulateCoaddConnections, SimulateCoaddTask
    from .table_files import read_tables, write_tables
    from .tables import BlendTables

__all__ = (
    "IdentifiedBlends",
    "find_footprints",
    "identify_blends",
    "measure_features",
    "AnnotateBlendsConfig",
    "AnnotateBlendsTask",
    "AnnotateDetectionBlendsConfig",
    "AnnotateDetectionBlendsTask",
    "BlendIdentificationConfig",
    "BlendIdentificationConnections",
    "BlendIdentificationTask",
    "BlendClassifier",
    "classifier_registry",
    "DetectionResult",
    "FootprintConfig",
    "FootprintSet",
    "build_footprints",
    "ModelPackage",
    "SimulateCoaddConfig",
    "SimulateCoaddConnections",
    "SimulateCoaddTask",
    "BlendTables",
    "read_tables",
    "write_tables",
    "__version__",
)

_HOME = {
    "IdentifiedBlends": "identify",
    "find_footprints": "identify",
    "identify_blends": "identify",
    "measure_features": "identify",
    "AnnotateBlendsConfig": "annotate_blends",
    "AnnotateBlendsTask": "annotate_blends",
    "AnnotateDetectionBlendsConfig": "annotate_blends",
    "AnnotateDetectionBlendsTask": "annotate_blends",
    "BlendIdentificationConfig": "blend_identification_config",
    "BlendIdentificationConnections": "blend_identification_config",
    "BlendIdentificationTask": "blend_identification",
    "BlendClassifier": "classifiers",
    "classifier_registry": "classifiers",
    "DetectionResult": "footprints",
    "FootprintConfig": "footprints",
    "FootprintSet": "footprints",
    "build_footprints": "footprints",
    "ModelPackage": "model_package",
    "SimulateCoaddConfig": "simulate_coadd",
    "SimulateCoaddConnections": "simulate_coadd",
    "SimulateCoaddTask": "simulate_coadd",
    "BlendTables": "tables",
    "read_tables": "table_files",
    "write_tables": "table_files",
}


def _version() -> str:
    """Version of the installed distribution, or the one that scons wrote."""
    import importlib.metadata

    try:
        return importlib.metadata.version("lsst-meas-blendid")
    except importlib.metadata.PackageNotFoundError:
        try:
            from .version import __version__ as version  # type: ignore[import-not-found,unused-ignore]
        except ImportError:
            return "unknown"
        return str(version)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name in _HOME:
        import importlib

        return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
