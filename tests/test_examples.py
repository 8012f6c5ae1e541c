# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The notebooks are whole, have no outputs in them and run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))

# Cells share their names, as in a notebook; so does what the last expression of a cell would show.
DRIVER = """
import ast, json, sys
names = {"__name__": "__main__"}
for number, code in enumerate(json.load(open(sys.argv[1])), start=1):
    print(f"--- cell {number}", flush=True)
    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, f"cell {number}", "exec"), names)
    if last is not None:
        value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names)
        if value is not None:
            print(value, flush=True)
"""


def code_cells(path: Path) -> list[str]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_there_is_a_notebook() -> None:
    assert "identify_blends.ipynb" in {path.name for path in NOTEBOOKS}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_is_valid_and_without_outputs(path: Path) -> None:
    """The structure of format 4.5: https://nbformat.readthedocs.io/en/latest/format_description.html."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert set(notebook) == {"cells", "metadata", "nbformat", "nbformat_minor"}
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["metadata"]["kernelspec"]["language"] == "python"
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(ids) == len(set(ids))
    for cell in notebook["cells"]:
        keys = {"cell_type", "id", "metadata", "source"}
        if cell["cell_type"] == "code":
            keys |= {"execution_count", "outputs"}
            assert cell["execution_count"] is None
            assert cell["outputs"] == []
        else:
            assert cell["cell_type"] == "markdown"
        assert set(cell) == keys
        assert cell["source"] and all(isinstance(line, str) for line in cell["source"])
        assert all(line.endswith("\n") for line in cell["source"][:-1])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_runs(path: Path, tmp_path: Path) -> None:
    for package in ("matplotlib", "photutils"):
        pytest.importorskip(package, reason="the notebook uses it")
    (tmp_path / "cells.json").write_text(json.dumps(code_cells(path)))
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", DRIVER, "cells.json"],
        cwd=tmp_path,
        env=os.environ | {"MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    if path.name == "identify_blends.ipynb":
        assert "<IdentifiedBlends: " in done.stdout
        assert done.stdout.rstrip().endswith("True")
