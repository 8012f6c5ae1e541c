# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Independent jobs in other processes, results in order."""

from __future__ import annotations

__all__ = ("LostProcessError", "map_in_order")

import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

# Seconds that a process has to remove its temporary files.
_PATIENCE = 20.0

_function: Callable[[Any], Any] | None = None


class LostProcessError(RuntimeError):
    """A process ended before its job was done."""


def map_in_order[Job, Result](
    function: Callable[[Job], Result], jobs: Sequence[Job], processes: int
) -> Iterator[Result]:
    """Yield the results of jobs, done in several processes, in the order of the jobs; in this one for 1.

    When the caller stops early, also by Ctrl-C, the other processes are stopped in the middle of their jobs.
    They stop too when this process is killed.  A new process imports the main module of the program again,
    which must do nothing by being imported, as with all of `multiprocessing`; the function goes to each once.
    Raises `LostProcessError` if a process ends before its job is done, as when memory runs out.
    """
    if processes <= 1 or len(jobs) <= 1:
        for job in jobs:
            yield function(job)
        return
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(
        min(processes, len(jobs)), mp_context=context, initializer=_start, initargs=(function,)
    )
    finished = False
    try:
        pending: deque[Future[Any]] = deque()
        left = iter(jobs)
        for _ in range(len(jobs)):
            # Few results wait for their turn: they may be large.
            while len(pending) < 2 * processes and (some := next(left, None)) is not None:
                pending.append(executor.submit(_call, some))
            yield pending.popleft().result()
        finished = True
    except BrokenProcessPool:
        raise LostProcessError(
            "a process ended before its work was done: if memory ran out, use fewer processes; a script that "
            "starts processes needs a line if __name__ == '__main__'"
        ) from None
    finally:
        if finished:
            executor.shutdown()
        else:
            results = getattr(executor, "_result_queue", None)
            executor.shutdown(wait=False, cancel_futures=True)
            children = set(multiprocessing.active_children()) - others
            for child in children:
                child.terminate()
            for child in children:
                child.join(_PATIENCE)
                child.kill()
                child.join()
            # One that was stopped while it sent a result leaves half of it, and the thread of the executor
            # waits for the rest, also when this process ends, as long as anybody could still send it.
            if results is not None:
                results._writer.close()


def _start(function: Callable[[Any], Any]) -> None:
    """Set a new process up."""
    global _function
    _function = function
    # Ctrl-C in a terminal reaches all processes; the first one stops the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
    _use_one_thread()
    # Not before: there is nothing to remove yet, and the executor would print where it was left.
    signal.signal(signal.SIGTERM, _stop)


def _use_one_thread() -> None:
    """Keep libraries, those that are loaded and those to come, from starting threads in each process."""
    from threadpoolctl import threadpool_limits

    os.environ["OMP_NUM_THREADS"] = "1"
    threadpool_limits(limits=1)
    if galsim := sys.modules.get("galsim"):
        galsim.set_omp_threads(1)


def _stop(number: int, frame: Any) -> None:
    """Leave what is being done, so that temporary files are removed on the way."""
    raise SystemExit(1)


def _call(job: Any) -> Any:
    assert _function is not None
    try:
        return _function(job)
    except SystemExit:
        # The executor would take it for a result.
        os._exit(1)
