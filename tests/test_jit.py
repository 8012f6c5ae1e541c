# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Compilation with and without a folder for its cache."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from lsst.meas.blendid._jit import njit

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
import toy_package.kernels as kernels
print(kernels.total(np.arange(5.0)), bool(kernels.total._cache.cache_path) if sys.argv[2] == "1" else "")
"""

KERNELS = """
from lsst.meas.blendid._jit import njit

@njit(nogil=True)
def total(values):
    s = 0.0
    for v in values:
        s += v
    return s
"""


def run_toy(folder: Path, writable: bool) -> str:
    package = folder / "toy_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "kernels.py").write_text(KERNELS)
    env = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    if not writable:
        # Also the superuser cannot make a folder in a file.
        (package / "__pycache__").touch()
        (folder / "file").touch()
        env |= {"HOME": str(folder / "file" / "home"), "XDG_CACHE_HOME": str(folder / "file" / "cache")}
    command = [sys.executable, "-B", "-c", SCRIPT, str(folder), "1" if writable else "0"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_cached_where_possible(tmp_path: Path) -> None:
    assert run_toy(tmp_path, writable=True) == "10.0 True"
    assert list((tmp_path / "toy_package" / "__pycache__").glob("*.nbc"))


def test_works_without_a_folder_for_the_cache(tmp_path: Path) -> None:
    assert run_toy(tmp_path, writable=False) == "10.0"


def test_other_failures_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: object) -> None:
        raise RuntimeError("no compiler")

    monkeypatch.setattr("numba.njit", refuse)
    with pytest.raises(RuntimeError, match="no compiler"):
        njit()(lambda: None)


def test_every_kernel_falls_back(repo_root: Path) -> None:
    package = repo_root / "python" / "lsst" / "meas" / "blendid"
    direct = [
        path.name
        for path in package.rglob("*.py")
        if "import numba" in path.read_text() and path.name != "_jit.py"
    ]
    assert direct == []
