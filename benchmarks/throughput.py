# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

# The number of threads has to be set before the imports.
# ruff: noqa: E402

"""Time from coadd to tables with each classifier on one core, beside programs that count peaks.

Everything of the first part runs in one process: each task is run once to start up (imports,
compilation, graphs of a network) and then timed; the peers see the same image. The second part runs
``blendid run`` with its default models on a larger image as a process of its own, start-up included.

    python benchmarks/throughput.py [--size 2048] [--patch 3400] [--repeats 3]
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
from collections.abc import Callable
from pathlib import Path

import numpy as np
from lsst.images.cells import CellCoadd
from lsst.meas.blendid import BlendIdentificationTask
from lsst.meas.blendid.classifiers import classifier_registry
from lsst.meas.blendid.model_package import list_shipped
from lsst.meas.blendid.simulation import simulate_scene

TARGETS = {"features": 0.8, "muygps": 0.9, "cnn": 1.8, "centers": 3.0}
"""Most processor seconds for 2048² pixels."""
PATCH_TARGET = (6.0, 2e9)
"""Most seconds and bytes for 3400² pixels with the default model, start-up included."""


def make_task(classifier: str) -> BlendIdentificationTask:
    """Make the task with one classifier and its shipped model."""
    config = BlendIdentificationTask.ConfigClass()
    config.classifiers.names = [classifier]
    config.primaryClassifier = classifier
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


def best(function: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Least wall and processor seconds of a function that has run once already."""
    wall, cpu = [], []
    for _ in range(repeats):
        start = time.perf_counter(), time.process_time()
        function()
        wall.append(time.perf_counter() - start[0])
        cpu.append(time.process_time() - start[1])
    return min(wall), min(cpu)


def time_classifiers(coadd: CellCoadd, names: list[str], repeats: int) -> None:
    """Print the table of the classifiers and the peers."""
    print(f"{'classifier':34}{'wall [s]':>10}{'cpu [s]':>9}{'footprints':>12}{'per s':>9}   stages [s]")
    for name in names:
        task = make_task(name)
        n = len(task.run(coadd).blend)
        wall, cpu = best(lambda task=task: task.run(coadd), repeats)  # type: ignore[misc]
        stages = {
            key.removeprefix("seconds_"): task.metadata[key]
            for key in task.metadata.names()
            if key.startswith("seconds_")
        }
        detail = ", ".join(f"{key} {value:.2f}" for key, value in stages.items() if value >= 0.02)
        target = TARGETS.get(name)
        verdict = "" if target is None else f"   target {target:g}: {'met' if cpu <= target else 'MISSED'}"
        print(f"{name:34}{wall:10.2f}{cpu:9.2f}{n:12d}{n / wall:9.0f}   {detail}{verdict}")
    image = np.ascontiguousarray(coadd.image.array, dtype=np.float32)
    sigma = float(np.sqrt(np.median(coadd.variance.array)))
    for title, peer in (
        ("sep: background, detect, deblend", run_sep),
        ("photutils: the same", run_photutils),
    ):
        try:
            n = peer(image, sigma)
        except ImportError as err:
            print(f"{title:34} not installed: {err}")
            continue
        wall, cpu = best(lambda peer=peer: peer(image, sigma), repeats)  # type: ignore[misc]
        print(f"{title:34}{wall:10.2f}{cpu:9.2f}{n:12d}{n / wall:9.0f}")


_IMAGE = """
import sys
from lsst.meas.blendid.simulation import simulate_scene
size = int(sys.argv[2])
simulate_scene(size=(size, size), seed=1).coadd.write(sys.argv[1])
"""


_RUN = "from lsst.meas.blendid.cli import main; main()"


def time_patch(size: int, repeats: int) -> None:
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
        usages = []
        for _ in range(repeats + 1):
            start = time.perf_counter()
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
            )
            assert process.stdout is not None
            output = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                raise RuntimeError(f"{' '.join(command)} failed: {output[-500:]}")
            unit = 1 if sys.platform == "darwin" else 1024
            usages.append((time.perf_counter() - start, usage.ru_maxrss * unit))
    wall, peak = min(usages[1:])
    met = wall <= PATCH_TARGET[0] and peak <= PATCH_TARGET[1]
    print(
        f"blendid run, default models, {size} × {size}: {wall:.2f} s with start-up, {peak / 1e9:.2f} GB "
        f"(first run {usages[0][0]:.1f} s); target {PATCH_TARGET[0]:g} s, {PATCH_TARGET[1] / 1e9:g} GB: "
        f"{'met' if met else 'MISSED'}"
    )
    print(output.strip().splitlines()[-1].replace(str(path), path.name))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=2048, help="side of the image of the first part, pixels")
    parser.add_argument("--patch", type=int, default=3400, help="side of that of the second; 0 leaves it out")
    parser.add_argument("--repeats", type=int, default=3, help="runs that are timed; the fastest counts")
    parser.add_argument("--classifiers", nargs="+", metavar="NAME", help="all that have a shipped model")
    args = parser.parse_args()
    logging.getLogger("lsst").setLevel(logging.ERROR)
    shipped = {name.rsplit("-", 2)[0] for name in list_shipped("classifier")}
    names = args.classifiers or [name for name in sorted(classifier_registry) if name in shipped]
    if args.patch:
        # First, while this process is small: what it holds counts as memory of its children.
        time_patch(args.patch, args.repeats)
    print(f"\n{args.size} × {args.size} pixels, one core, best of {args.repeats} after a first run")
    time_classifiers(simulate_scene(size=(args.size, args.size), seed=1).coadd, names, args.repeats)
    return 0


if __name__ == "__main__":
    sys.exit(main())
