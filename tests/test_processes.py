# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of jobs in other processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lsst.meas.blendid._processes import LostProcessError, map_in_order


def square(job: int) -> tuple[int, int]:
    # The first jobs take longest.
    time.sleep(0.2 if job == 0 else 0.0)
    return job * job, os.getpid()


def fail(job: int) -> int:
    if job == 1:
        raise ValueError("no galaxy in job 1")
    return job


def die(job: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return job


def sleep(job: int) -> int:
    time.sleep(job)
    return job


def test_results_come_in_order() -> None:
    one = list(map_in_order(square, range(7), 1))
    two = list(map_in_order(square, range(7), 2))
    assert [value for value, _ in one] == [value for value, _ in two] == [i * i for i in range(7)]
    assert {pid for _, pid in one} == {os.getpid()}
    assert os.getpid() not in {pid for _, pid in two}
    assert list(map_in_order(square, [], 2)) == []


def test_error_of_a_job_comes_through() -> None:
    with pytest.raises(ValueError, match="no galaxy in job 1"):
        list(map_in_order(fail, range(4), 2))
    assert multiprocessing.active_children() == []


def test_process_that_is_killed() -> None:
    with pytest.raises(LostProcessError, match="use fewer processes"):
        list(map_in_order(die, range(3), 2))


def test_caller_that_stops_early_waits_for_nobody() -> None:
    results = map_in_order(sleep, [0, 600, 600, 600], 2)
    assert next(results) == 0
    start = time.monotonic()
    results.close()  # type: ignore[attr-defined]
    assert time.monotonic() - start < 60.0
    assert multiprocessing.active_children() == []


STOPPED_WHILE_SENDING = """
import pathlib
import sys
import time

from lsst.meas.blendid._processes import map_in_order


class Large:
    # Takes most of a second to send, from when the file is there.
    def __reduce__(self):
        pathlib.Path(sys.argv[1]).touch()
        return bytes, (bytes(400_000_000),)


def job(number):
    return Large() if number else b""


if __name__ == "__main__":
    results = map_in_order(job, list(range(6)), 2)
    next(results)
    while not pathlib.Path(sys.argv[1]).exists():
        time.sleep(0.01)
    time.sleep(float(sys.argv[2]))
    results.close()
"""


@pytest.mark.parametrize("delay", [0.4, 0.6, 0.8])
def test_a_process_that_is_stopped_while_it_sends_its_result_holds_nobody_up(
    tmp_path: Path, delay: float
) -> None:
    script = tmp_path / "program.py"
    script.write_text(STOPPED_WHILE_SENDING)
    command = [sys.executable, str(script), str(tmp_path / "sending"), str(delay)]
    assert subprocess.run(command, timeout=90, check=False).returncode == 0
