# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Simulated coadds: galaxy catalogue → scene → coadd and truth, also in a Butler."""

from __future__ import annotations

from .._progress import stderr_progress
from .catalogs.catalog import GalaxySource, TableSource, as_source, make_catalog
from .catalogs.catalog_files import FileSource, read_catalog
from .catalogs.galaxies import SIZE_MODELS, SizeModel, complete_galaxies, get_size_model
from .catalogs.observed import observe
from .catalogs.parametric import CumulativeCounts, ParametricCatalog, count_pairs
from .catalogs.sky_catalogs import SkyCatalogSource
from .catalogs.truths import (
    SKY_SPLIT,
    TruthScene,
    check_split,
    find_truth_scene,
    read_truth_scene,
    split_of,
    truth_folder,
)
from .coadds.coadd import simulate_patch, simulate_scene
from .coadds.exposures import ExposureStack, expose
from .coadds.psf_model import PsfModel
from .coadds.render import draw_galaxies
from .coadds.simulated_coadd import SimulatedCoadd
from .config import ExposureConfig, PopulationConfig, SceneConfig, VariationConfig
from .defect_config import ArtifactConfig, SkyConfig, StarlightConfig
from .errors import MissingGalSimError, SimulationError, SplitError
from .survey import BANDS, Survey, get_survey, mag_to_njy, njy_to_mag

__all__ = (
    "BANDS",
    "SIZE_MODELS",
    "SKY_SPLIT",
    "ArtifactConfig",
    "CumulativeCounts",
    "ExposureConfig",
    "ExposureStack",
    "FileSource",
    "GalaxySource",
    "MissingGalSimError",
    "ParametricCatalog",
    "PopulationConfig",
    "PsfModel",
    "SceneConfig",
    "SimulatedCoadd",
    "SimulationError",
    "SizeModel",
    "SkyCatalogSource",
    "SkyConfig",
    "SplitError",
    "StarlightConfig",
    "Survey",
    "TableSource",
    "TruthScene",
    "VariationConfig",
    "as_source",
    "check_split",
    "complete_galaxies",
    "count_pairs",
    "draw_galaxies",
    "expose",
    "find_truth_scene",
    "get_size_model",
    "get_survey",
    "mag_to_njy",
    "make_catalog",
    "njy_to_mag",
    "observe",
    "read_catalog",
    "read_truth_scene",
    "simulate_patch",
    "simulate_scene",
    "split_of",
    "stderr_progress",
    "truth_folder",
)
