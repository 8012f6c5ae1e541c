# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Simulated coadds: galaxy catalogue → scene → coadd and truth, also in a Butler."""

from __future__ import annotations

from ._errors import MissingGalSimError, SimulationError, SplitError
from .catalog import CumulativeCounts, GalaxySource, ParametricCatalog, TableSource, TruthScene, as_source
from .coadd import SimulatedCoadd, simulate_patch, simulate_scene
from .galaxies import SIZE_MODELS, SizeModel, complete_galaxies, get_size_model
from .progress import stderr_progress
from .psf_model import PsfModel, kolmogorov_psf
from .render import draw_galaxies
from .survey import BANDS, Survey, get_survey, mag_to_njy, njy_to_mag
from .truths import SKY_SPLIT, check_split, find_truth_scene, read_truth_scene, split_of, truth_folder

__all__ = (
    "BANDS",
    "SIZE_MODELS",
    "SKY_SPLIT",
    "CumulativeCounts",
    "GalaxySource",
    "MissingGalSimError",
    "ParametricCatalog",
    "PsfModel",
    "SimulatedCoadd",
    "SimulationError",
    "SizeModel",
    "SplitError",
    "Survey",
    "TableSource",
    "TruthScene",
    "as_source",
    "check_split",
    "complete_galaxies",
    "draw_galaxies",
    "find_truth_scene",
    "get_size_model",
    "get_survey",
    "kolmogorov_psf",
    "mag_to_njy",
    "njy_to_mag",
    "read_truth_scene",
    "simulate_patch",
    "simulate_scene",
    "split_of",
    "stderr_progress",
    "truth_folder",
)
