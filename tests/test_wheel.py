# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What is there after ``pip install`` of a wheel, away from any source tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="folders of the package are links")

PIPETASK = "import sys; from lsst.ctrl.mpexec.cli.pipetask import main; sys.exit(main())"


def run(*command: str | Path, folder: Path) -> str:
    """Run a program away from the source tree; its output."""
    hidden = ("PYTHONPATH", "MEAS_BLENDID_DIR")
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    done = subprocess.run(
        [str(word) for word in command], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, repo_root: Path) -> Path:
    """Folder of programs of an environment that has the wheel and what it depends on."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.dist-info")
    for name in ("python", "pipelines", "config"):
        shutil.copytree(repo_root / name, source / name, symlinks=True, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE", "COPYRIGHT"):
        shutil.copy(repo_root / name, source)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, source, folder=folder)
    shutil.rmtree(source)
    (wheel,) = folder.glob("*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "bare", folder=folder)
    python = folder / "bare" / "bin" / "python"
    run(*pip, "--python", python, "install", "-q", "--no-deps", "--no-index", wheel, folder=folder)
    # The other packages, but not this one: links to source trees are not followed from here.
    where = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=folder)
    (Path(where.strip()) / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    package = run(python, "-c", "import lsst.meas.blendid as b; print(b.__file__)", folder=folder)
    assert package.startswith(str(folder / "bare"))
    return python.parent


@pytest.mark.parametrize("name", ["blendid.yaml", "simulate.yaml", "ingredients/drp.yaml"])
def test_pipelines_are_there(installed: Path, repo_root: Path, name: str) -> None:
    code = (
        "import sys; from lsst.resources import ResourcePath\n"
        "print(ResourcePath(sys.argv[1]).read().decode(), end='')"
    )
    uri = f"resource://lsst.meas.blendid/pipelines/{name}"
    text = run(installed / "python", "-c", code, uri, folder=installed)
    assert text == (repo_root / "pipelines" / name).read_text()


def test_pipetask_takes_pipeline_and_config(installed: Path) -> None:
    base = Path(run(installed / "blendid", "where", folder=installed).strip())
    assert base.is_relative_to(installed.parent)
    uri = "resource://lsst.meas.blendid/pipelines/blendid.yaml"
    text = run(
        *(installed / "python", "-c", PIPETASK, "build", "-p", uri),
        *("-C", f"blendIdentification:{base}/config/buchanan2022.py"),
        *("--show", "config=blendIdentification::footprints.noiseSource"),
        folder=installed,
    )
    assert "footprints.noiseSource='clipped'" in text


def test_command_of_the_wheel(installed: Path) -> None:
    models = run(installed / "blendid", "models", "list", folder=installed)
    assert "features-2" in models and "features-i-1" in models


def test_config_of_bps(installed: Path) -> None:
    pytest.importorskip("lsst.ctrl.bps")
    code = (
        "from lsst.ctrl.bps import BpsConfig; from lsst.resources import ResourcePath\n"
        "uri = BpsConfig('resource://lsst.meas.blendid/config/bps_parsl.yaml')['pipelineYaml']\n"
        "print(ResourcePath(uri).exists())"
    )
    assert run(installed / "python", "-c", code, folder=installed) == "True\n"
