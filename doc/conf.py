# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Sphinx configuration of the user guide."""

from __future__ import annotations

import sys
from importlib.metadata import version as distribution_version
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "_ext"))

project = "lsst.meas.blendid"
author = "The meas_blendid authors"
project_copyright = "the meas_blendid authors"
version = release = distribution_version("lsst-meas-blendid")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "numpydoc",
    "generated_tables",
]
# The tables in "measured" are written by benchmarks and included by pages.
exclude_patterns = ["_build", "lsst.meas.blendid/measured"]
default_role = "py:obj"
# Options such as --out are shown as they are typed.
smartquotes = False

# Classes are documented by their own docstrings; pex_config classes would list every inherited member.
numpydoc_show_class_members = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"
# Class attributes that the middleware makes, and methods that mean what they mean everywhere.
_MIDDLEWARE = (
    "ConfigClass",
    "ConnectionsClass",
    "ConnectionsConfigClass",
    "allConnections",
    "connections",
    "dimensions",
    "initInputs",
    "initOutputs",
    "inputs",
    "outputs",
    "prerequisiteInputs",
    "runQuantum",
    "saveLogOutput",
    "setDefaults",
    "validate",
)
autodoc_default_options = {"members": True, "exclude-members": ", ".join(_MIDDLEWARE)}

html_theme = "pydata_sphinx_theme"
html_title = "lsst.meas.blendid"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_show_sourcelink = False
html_sidebars = {"**": ["sidebar-nav-bs"]}
html_theme_options = {
    "show_prev_next": False,
    "navigation_depth": 3,
    "secondary_sidebar_items": ["page-toc"],
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
