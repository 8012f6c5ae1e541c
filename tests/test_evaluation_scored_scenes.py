# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Models by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from lsst.meas.blendid.evaluation.scored_scenes import load_models
from lsst.meas.blendid.model_package import ModelPackage, ModelPackageError


def test_models_by_name_path_and_label(tmp_path: Path) -> None:
    package = ModelPackage.read("peaks-i-1")
    path = package.write(tmp_path / "a=b.blendid")
    found = load_models(["peaks-i-1", f"mine={path}", str(path)])
    assert [model.name for model in found] == ["peaks-i-1", "mine", "a=b"]
    with pytest.raises(ValueError, match="two models are called 'peaks-i-1'"):
        load_models(["peaks-i-1", "peaks-i-1"])
    with pytest.raises(ModelPackageError, match="unknown model 'none'"):
        load_models(["none"])
    foreign = ModelPackage("unheard-of", {**package.metadata, "classifier": "unheard-of"}, {})
    with pytest.raises(ValueError, match="'unheard-of', which is not"):
        load_models([str(foreign.write(tmp_path / "foreign.blendid"))])
