# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the registry and of plugins."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import astropy.io.fits
import numpy as np
import pytest
from lsst.meas.blendid.classifiers import (
    ENTRY_POINT_GROUP,
    PeaksClassifier,
    PeaksConfig,
    classifier_registry,
)
from lsst.pex.config import Config, FieldValidationError


class SelectConfig(Config):
    classifiers = classifier_registry.makeField("Classifiers to run.", multi=True, default=["peaks"])


@pytest.fixture
def plugin() -> Iterator[types.ModuleType]:
    """A module with plugins, good and bad; the registry is as before afterwards."""
    module = types.ModuleType("blendid_toy_plugins")
    module.Good = type("Good", (PeaksClassifier,), {"name": "good"})  # type: ignore[attr-defined]
    module.Misnamed = type("Misnamed", (PeaksClassifier,), {"name": "other"})  # type: ignore[attr-defined]
    module.number = 3  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    before = dict(classifier_registry._dict)
    yield module
    del sys.modules[module.__name__]
    classifier_registry._dict.clear()
    classifier_registry._dict.update(before)


def entry_point(name: str, value: str) -> importlib.metadata.EntryPoint:
    return importlib.metadata.EntryPoint(name, value, ENTRY_POINT_GROUP)


def test_built_in_classifiers() -> None:
    assert {"peaks", "logistic"} <= set(classifier_registry)
    assert classifier_registry["peaks"] is PeaksClassifier
    assert len(classifier_registry) == len(list(classifier_registry))
    config = PeaksConfig()
    assert classifier_registry["peaks"](config=config).config is config


def test_selection_in_a_config_file() -> None:
    config = SelectConfig()
    config.loadFromString(
        "config.classifiers.names = ['peaks', 'logistic']\nconfig.classifiers['peaks'].priorBlended = 0.3"
    )
    assert set(config.classifiers.names) == {"peaks", "logistic"}
    assert config.classifiers["peaks"].priorBlended == 0.3
    with pytest.raises(FieldValidationError, match="nonsense"):
        config.classifiers.names = ["nonsense"]


def test_plugin_is_found_by_name(plugin: types.ModuleType) -> None:
    point = entry_point("good", f"{plugin.__name__}:Good")
    assert classifier_registry.register_entry_points([point]) == ("good",)
    config = SelectConfig()
    config.classifiers.names = ["good", "peaks"]
    assert isinstance(config.classifiers["good"], PeaksConfig)
    # A second look changes nothing.
    assert classifier_registry.register_entry_points([point]) == ()


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("lost", "no_such_module_here:Thing", "'lost'.*ModuleNotFoundError"),
        ("lost", "blendid_toy_plugins:Nothing", "'lost'.*AttributeError"),
        ("number", "blendid_toy_plugins:number", "'number'.*not a subclass of BlendClassifier"),
        ("misnamed", "blendid_toy_plugins:Misnamed", "'misnamed'.*calls itself 'other'"),
        ("peaks", "blendid_toy_plugins:Good", "'peaks'.*calls itself 'good'"),
    ],
)
def test_broken_plugin_is_named_and_the_others_work(
    plugin: types.ModuleType, name: str, value: str, match: str
) -> None:
    points = [entry_point(name, value), entry_point("good", f"{plugin.__name__}:Good")]
    with pytest.warns(RuntimeWarning, match=match) as caught:
        assert classifier_registry.register_entry_points(points) == ("good",)
    assert len(caught) == 1
    assert classifier_registry["peaks"] is PeaksClassifier


def test_plugins_are_loaded_at_the_first_look(
    plugin: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def find(group: str) -> list[importlib.metadata.EntryPoint]:
        asked.append(group)
        return [entry_point("good", f"{plugin.__name__}:Good")]

    monkeypatch.setattr(importlib.metadata, "entry_points", find)
    monkeypatch.setattr(classifier_registry, "_looked_for_plugins", False)
    assert "peaks" in classifier_registry and asked == []
    assert "good" in classifier_registry and "nonsense" not in classifier_registry
    assert asked == [ENTRY_POINT_GROUP]


def _install(site: Path, code: str) -> None:
    """What pip would put there for a package with a classifier."""
    (site / "blendid_bad_plugin.py").write_text(code)
    info = site / "blendid_bad_plugin-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: blendid-bad-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\nastrologer = blendid_bad_plugin:Thing\n")


def _run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """``blendid run`` on a small image, in an environment that has the package in the folder."""
    if not (folder / "sky.fits").exists():
        pixels = np.random.default_rng(1).normal(0.0, 1.0, (100, 100)).astype(np.float32)
        pixels[49:52, 49:52] += 40.0
        astropy.io.fits.writeto(folder / "sky.fits", pixels)
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    program = "from lsst.meas.blendid.cli import main; main()"
    options = ("--out", "out", "--psf-fwhm", "0.7", "--pixel-scale", "0.2")
    return subprocess.run(
        [sys.executable, "-c", program, "run", "sky.fits", *options, *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import sys\nsys.exit()\n", "SystemExit: it ends the program (sys.exit)"),
        ("import no_such_module_here\n", "ModuleNotFoundError: No module named 'no_such_module_here'"),
    ],
)
def test_plugin_that_cannot_be_imported_is_one_line(tmp_path: Path, code: str, reason: str) -> None:
    """A command that looks at all classifiers says which was left out, and goes on."""
    _install(tmp_path, code)
    result = _run(tmp_path, "--classifier", "fortune")
    warning, error = result.stderr.splitlines()
    assert warning == (
        "Warning: blend classifier plugin 'astrologer' (blendid_bad_plugin:Thing) was left out: " + reason
    )
    assert error.startswith("Error: unknown classifier 'fortune'; known are ") and result.returncode == 2


def test_plugin_that_ends_the_program_ends_no_other_command(tmp_path: Path) -> None:
    _install(tmp_path, "raise SystemExit('no licence')\n")
    result = _run(tmp_path, "--classifier", "peaks")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "sky.blend.parquet").exists()
