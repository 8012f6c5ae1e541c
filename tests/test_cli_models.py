# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The command line as a whole: help, version, how errors are reported."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from lsst.meas.blendid import ModelPackage
from lsst.meas.blendid.cli import main


def run(*args: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, list(args))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def package(tmp_path: Path) -> Path:
    metadata = {
        "name": "toy-1",
        "settings": {"threshold": 5.0},
        "inputs": {"bands": ["i"], "psf_sigma": [1.5, 1.7], "depth": None, "footprints": {"minPixels": 1}},
        "prior": {"blended": 0.37},
        "training": {"scenes": [{"source": 1}, {"source": 2}]},
        "validation": {"auc": 0.9},
        "versions": {},
    }
    path = tmp_path / "toy.blendid"
    ModelPackage("peaks", metadata, {"table": np.zeros((3, 5))}).write(path)
    return path


def test_models_show(package: Path) -> None:
    status, out, err = run("models", "show", str(package))
    assert (status, err) == (0, "")
    for text in (
        "toy-1: a model of the classifier peaks",
        "threshold: 5.0",
        "auc: 0.9",
        "table: 3 × 5 float64",
    ):
        assert text in out


def test_models_show_json(package: Path) -> None:
    status, out, _ = run("models", "show", str(package), "--json")
    assert status == 0
    assert json.loads(out)["prior"] == {"blended": 0.37}


def test_models_show_of_a_damaged_or_missing_package(package: Path) -> None:
    package.write_bytes(package.read_bytes()[:100])
    status, out, err = run("models", "show", str(package))
    assert (status, out) == (1, "")
    assert str(package) in err
    assert err.count("\n") == 1
    status, _, err = run("models", "show", "no-such-model")
    assert status == 1
    assert "no-such-model" in err


def test_models_list(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lsst.meas.blendid import model_package

    monkeypatch.setattr(model_package, "list_shipped", lambda: ("toy-1",))
    shipped = ModelPackage.read(package)
    monkeypatch.setattr(ModelPackage, "read", classmethod(lambda cls, name: shipped))
    status, out, err = run("models", "list")
    assert (status, err) == (0, "")
    assert out.splitlines()[1].split() == ["toy-1", "peaks", "i", "1.5", "to", "1.7", "any"]
    monkeypatch.setattr(model_package, "list_shipped", lambda: ())
    status, out, err = run("models", "list")
    assert (status, out) == (0, "")
    assert "train one" in err
