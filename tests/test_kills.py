# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The program that kills commands, on a small one and on some that it must find at fault."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from types import ModuleType

import pytest
from benchmark_programs import load_benchmark

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="there is no /proc here")


@pytest.fixture(scope="module")
def kills() -> ModuleType:
    return load_benchmark("kills")


def test_simulate_is_whole_and_can_be_repeated(kills: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("galsim", reason="GalSim, which draws the galaxies, is not installed")
    command = kills._blendid("simulate", "--out", "out", "--name", "x", "--size", "64", "--overwrite")
    case = dataclasses.replace(kills.CASES["simulate"], command=command, replaces=False)
    said: list[str] = []
    counts = kills.measure(case, 1, 3, tmp_path, said.append)
    assert said == []
    assert counts["whole"] == counts["same when repeated"] == 1
    assert counts["killed"] + counts["ended before"] == 1 and not counts["processes that lingered"]


BURN = "import time; end = time.process_time() + {}\nwhile time.process_time() < end: pass\n"


def of_script(kills: ModuleType, script: str, *, replaces: bool = False) -> object:
    return kills.Case(
        "script",
        lambda seed: (sys.executable, "-c", f"seed = {seed}\n{script}"),
        lambda folder: (folder / "out").mkdir(),
        kills.read_folder,
        lambda _name: "all",
        replaces,
    )


def test_half_files_are_found(kills: ModuleType, tmp_path: Path) -> None:
    script = (
        "f = open('out/a.json', 'w'); f.write('{'); f.flush()\n" + BURN.format(0.5) + "f.write('\"x\": 1}')"
    )
    said: list[str] = []
    counts = kills.measure(of_script(kills, script), 3, 1, tmp_path, said.append)
    assert counts["whole"] < 3 and counts["killed"] > 0
    assert all("not whole" in line for line in said) and len(said) == 3 - counts["whole"]
    assert counts["same when repeated"] == 3


def test_mixtures_of_old_and_new_are_found(kills: ModuleType, tmp_path: Path) -> None:
    script = (
        "open('out/a', 'w').write(str(seed))\n" + BURN.format(0.5) + "open('out/b', 'w').write(str(seed))"
    )
    said: list[str] = []
    counts = kills.measure(of_script(kills, script, replaces=True), 6, 1, tmp_path, said.append)
    assert any("set 'all' is neither old nor new" in line for line in said)
    assert counts["same when repeated"] == 6


def test_what_is_not_mended_by_repeating_is_found(kills: ModuleType, tmp_path: Path) -> None:
    script = (
        "import os\nif os.path.exists('out/lock'): raise SystemExit('locked')\nopen('out/lock', 'w')\n"
        + BURN.format(0.4)
        + "os.remove('out/lock'); open('out/a', 'w').write('x')"
    )
    said: list[str] = []
    counts = kills.measure(of_script(kills, script), 3, 1, tmp_path, said.append)
    assert counts["same when repeated"] < 3
    assert any("repeated, exits 1: locked" in line for line in said)
