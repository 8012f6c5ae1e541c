# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

# The number of threads has to be set before the imports.
# ruff: noqa: E402

"""Time from coadd to tables on one core, as ratios to programs that detect and deblend.

Everything of the first part runs in one process: the task with its defaults, with each classifier alone and
no localiser, and the peers, all on the same image. Each is run once to start up (imports, compilation) and
then in turn with the others, so that whatever else the machine does meets all of them; the least processor
time of each counts. The second part runs ``blendid run`` in processes of their own, start-up included: with
its defaults, with the same classifiers and no localiser, and with the fast classifier and no localiser.

    python benchmarks/throughput.py [--size 2048] [--patches 2048 3400] [--repeats 3]
"""

from __future__ import annotations

import os

# Before anything starts threads.
for _name in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
    os.environ[f"{_name}_NUM_THREADS"] = "1"
for _name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ[_name] = "1"
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

import argparse
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lsst.images.cells import CellCoadd
from lsst.meas.blendid import BlendIdentificationTask
from lsst.meas.blendid.classifiers import classifier_registry
from lsst.meas.blendid.model_package import list_shipped
from lsst.meas.blendid.simulation import simulate_scene

DEFAULT = "task, defaults: peaks with probabilities"
SEP = "sep: background, detect, deblend"
PHOTUTILS = "photutils: the same"
TARGETS = {DEFAULT: 12.0, "features": 5.0, "muygps": 5.6, "cnn": 11.0, "centers": 19.0}
"""Most processor time, sep = 1: of the task, and of it with one classifier and no localiser."""

RUNS: dict[str, tuple[str, ...]] = {
    "defaults": (),
    "the same classifiers, no localizer": ("--localizer", "none"),
    "features, no localizer": ("--classifier", "features", "--localizer", "none"),
}
"""Options of ``blendid run``; without peaks that have a probability the last one is the fast choice."""
RUN_TARGET = 2.0
"""Most time of ``blendid run`` from start to end, that of the last of these = 1."""
MEMORY_TARGET = 2e9
"""Most memory of a process, bytes."""


@dataclass(frozen=True)
class Timed:
    """What one program took: least wall and processor seconds, and how many things it found."""

    wall: float
    cpu: float
    n: int


def make_task(classifier: str | None) -> BlendIdentificationTask:
    """Make the task with one classifier, its shipped model and no localiser; as it is by default for None."""
    config = BlendIdentificationTask.ConfigClass()
    if classifier is not None:
        config.classifiers.names = [classifier]
        config.primaryClassifier = classifier
        config.localizer.name = None
    return BlendIdentificationTask(config=config)


def run_sep(image: np.ndarray, sigma: float) -> int:
    """Background, detection and deblending by SExtractor's algorithms."""
    import sep

    background = sep.Background(image)
    return len(sep.extract(image - background, 1.5, err=sigma, minarea=5))


def run_photutils(image: np.ndarray, sigma: float) -> int:
    """Background, detection and deblending by photutils."""
    from astropy.convolution import convolve_fft
    from photutils.background import Background2D, MedianBackground
    from photutils.segmentation import SourceFinder, make_2dgaussian_kernel

    background = Background2D(image, (64, 64), filter_size=(3, 3), bkg_estimator=MedianBackground())
    smoothed = convolve_fft(image - background.background, make_2dgaussian_kernel(3.0, size=5))
    return int(SourceFinder(n_pixels=5)(smoothed, 1.5 * sigma).n_labels)


def time_in_turn(programs: Mapping[str, Callable[[], int]], repeats: int) -> dict[str, Timed]:
    """Run all programs once, then in turn as often as asked for; the fastest run of each counts."""
    found = {title: program() for title, program in programs.items()}
    times: dict[str, list[tuple[float, float]]] = {title: [] for title in programs}
    for _ in range(repeats):
        for title, program in programs.items():
            start = time.perf_counter(), time.process_time()
            program()
            times[title].append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return {
        title: Timed(min(wall for wall, _ in own), min(cpu for _, cpu in own), found[title])
        for title, own in times.items()
    }


def describe_stages(task: BlendIdentificationTask) -> str:
    """Seconds of the stages of the last run."""
    stages = {
        key.removeprefix("seconds_"): task.metadata[key]
        for key in task.metadata.names()
        if key.startswith("seconds_")
    }
    return ", ".join(f"{key} {value:.2f}" for key, value in stages.items() if value >= 0.02)


def judge(value: float, target: float | None) -> str:
    """Say whether a figure is no larger than asked for."""
    return "" if target is None else f"   at most {target:g}: {'met' if value <= target else 'MISSED'}"


def time_tasks(coadd: CellCoadd, names: list[str], repeats: int) -> None:
    """Print the table of the tasks and the peers."""
    image = np.ascontiguousarray(coadd.image.array, dtype=np.float32)
    sigma = float(np.sqrt(np.median(coadd.variance.array)))
    tasks = {DEFAULT: make_task(None)} | {name: make_task(name) for name in names}
    programs: dict[str, Callable[[], int]] = {
        title: lambda task=task: len(task.run(coadd).blend)  # type: ignore[misc]
        for title, task in tasks.items()
    }
    programs |= {SEP: lambda: run_sep(image, sigma), PHOTUTILS: lambda: run_photutils(image, sigma)}
    timed = time_in_turn(programs, repeats)
    unit = timed[SEP].cpu
    print(f"{'':42}{'cpu/sep':>9}{'cpu [s]':>9}{'wall [s]':>10}{'found':>8}   stages [s]")
    for title, own in timed.items():
        ratio = own.cpu / unit
        stages = describe_stages(tasks[title]) if title in tasks else ""
        verdict = judge(ratio, TARGETS.get(title))
        print(f"{title:42}{ratio:9.2f}{own.cpu:9.2f}{own.wall:10.2f}{own.n:8d}   {stages}{verdict}".rstrip())


_IMAGE = """
import sys
from lsst.meas.blendid.simulation import simulate_scene
size = int(sys.argv[2])
simulate_scene(size=(size, size), seed=1).coadd.write(sys.argv[1])
"""


_RUN = "from lsst.meas.blendid.cli import main; main()"


def run_process(command: list[str], environment: dict[str, str]) -> tuple[float, float, float, str]:
    """Run a command: wall and processor seconds, memory in bytes, and the last line that it wrote."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {output[-500:]}")
    unit = 1 if sys.platform == "darwin" else 1024
    last = output.strip().splitlines()[-1]
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit, last


def time_runs(size: int, repeats: int) -> None:
    """Print what ``blendid run`` takes as a process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "patch.fits"
        # In a process of its own: what this one holds would count as memory of its children.
        subprocess.run([sys.executable, "-c", _IMAGE, str(path), str(size)], check=True)
        command = [sys.executable, "-c", _RUN, "run", str(path), "--out", folder]
        # The first run writes the byte code of all modules, which an installation has, wherever this one
        # is told not to.
        environment = os.environ | {"PYTHONPYCACHEPREFIX": str(Path(folder) / "bytecode")}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        usages: dict[str, list[tuple[float, float, float, str]]] = {title: [] for title in RUNS}
        for _ in range(repeats + 1):
            for title, options in RUNS.items():
                usages[title].append(run_process([*command, *options], environment))
    print(f"\nblendid run, {size} × {size} pixels, start-up included, best of {repeats} after a first run")
    print(f"{'':42}{'cpu ratio':>10}{'cpu [s]':>9}{'wall [s]':>10}{'memory [GB]':>13}")
    best = {title: [min(column) for column in zip(*own[1:], strict=True)] for title, own in usages.items()}
    unit = list(best.values())[-1][1]
    for title, (wall, cpu, memory, line) in best.items():
        verdict = ""
        if title == "defaults":
            verdict = judge(cpu / unit, RUN_TARGET) + judge(memory / 1e9, MEMORY_TARGET / 1e9)
            found = line.replace(str(path), path.name)
        print(f"{title:42}{cpu / unit:10.2f}{cpu:9.2f}{wall:10.2f}{memory / 1e9:13.2f}{verdict}")
    print(found)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--size", type=int, default=2048, help="side of the image of the first part, pixels; 0 leaves it out"
    )
    parser.add_argument(
        "--patches", type=int, nargs="*", default=[2048, 3400], help="sides of those of the second"
    )
    parser.add_argument("--repeats", type=int, default=3, help="runs that are timed; the fastest counts")
    parser.add_argument("--classifiers", nargs="*", metavar="NAME", help="all that have a shipped model")
    args = parser.parse_args()
    logging.getLogger("lsst").setLevel(logging.ERROR)
    shipped = {name.rsplit("-", 2)[0] for name in list_shipped("classifier")}
    names = args.classifiers
    if names is None:
        names = [name for name in sorted(classifier_registry) if name in shipped]
    for size in args.patches:
        # First, while this process is small: what it holds counts as memory of its children.
        time_runs(size, args.repeats)
    if args.size:
        print(f"\n{args.size} × {args.size} pixels, one core, best of {args.repeats} after a first run")
        time_tasks(simulate_scene(size=(args.size, args.size), seed=1).coadd, names, args.repeats)
    return 0


if __name__ == "__main__":
    sys.exit(main())
