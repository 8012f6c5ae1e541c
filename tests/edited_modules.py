# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Modules with new columns written into their source, each before all others, as somebody would add them."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from pathlib import Path
from typing import Any

PACKAGE = "lsst.meas.blendid."
EDITS: dict[str, tuple[tuple[str, str], ...]] = {
    "features.geometry": (
        ('    "nearest_footprint": ', '    "new_neighbor": "New.",'),
        ('    out["nearest_footprint"] = out', '    out["new_neighbor"] = 5.0; '),
    ),
    "features.measure": (
        ('        "psf_sigma": ', '"new_field": "New.",'),
        ('    out["psf_sigma"] = ', '    out["new_field"] = 6.0; '),
    ),
    "features.facts": (('    "log_area": ', '"new_fact": lambda s: s.area,'),),
    "classifiers.count_model": (('    "log_peaks": ', '"new_of_tail": lambda s: s.area,'),),
    "centers.inputs": (
        ('    "psf_sigma",', '"new_of_image",'),
        ('    "log_area",', '"new_fact",'),
    ),
    "centers.candidates": (
        ('    "center_p1",', '"center_new",'),
        ('        "center_sum_p": ', '"center_new": p_n[:, 0],'),
    ),
    "localizers.objects": (
        ('"is_detected", "has', '"is_new",'),
        ('        "is_detected": ', '"is_new": detected,'),
    ),
}
"""Text of a module, of which there is one, and what is written before it."""


class EditedSource(importlib.machinery.SourceFileLoader):
    """Loads a module whose source was edited."""

    def get_code(self, fullname: str) -> Any:
        text = Path(self.path).read_text()
        for before, new in EDITS[fullname.removeprefix(PACKAGE)]:
            assert text.count(before) == 1, f"{fullname} has {text.count(before)} times: {before}"
            indent = before[: len(before) - len(before.lstrip())]
            text = text.replace(before, indent + new.lstrip() + before.lstrip())
        return compile(text, self.path, "exec")


class EditedModules(importlib.abc.MetaPathFinder):
    """Finds these modules."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        if fullname.removeprefix(PACKAGE) not in EDITS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        assert spec is not None and spec.origin is not None
        spec.loader = EditedSource(fullname, spec.origin)
        return spec


def install() -> None:
    """Have these modules imported with their edits, from now on."""
    sys.meta_path.insert(0, EditedModules())
