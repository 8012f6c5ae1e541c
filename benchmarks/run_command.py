# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Time and memory of ``blendid run`` as a process, beside peers that only detect.

Each program is started anew on one core with one thread, reads a plain
2048 × 2048 FITS image of a simulated coadd and writes its table.  The first
run of ``blendid`` starts with empty caches of the user, so that it also compiles Python code, and loops
where ``blendid compile`` was not called; the others find the caches.  Programs run in turn, so that
whatever else the machine does meets all of them.

    python benchmarks/run_command.py [--size N] [--repeats N]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

SEP = "sep: background + extract + deblend"
LOGISTIC = "blendid run --classifier logistic, no localizer"
TARGET_RATIO = 10.0
"""Most time of the lightest run of ``blendid``, that of the process of sep = 1."""
TARGET_BYTES = 1e9
"""Most memory of it."""

_IMAGE = """
import sys
import astropy.io.fits
from lsst.meas.blendid.simulation import simulate_scene
size = int(sys.argv[2])
astropy.io.fits.writeto(sys.argv[1], simulate_scene(size=(size, size), seed=1).coadd.image.array)
"""

_SEP = """
import sys
import numpy as np
import sep
from astropy.io import fits
from astropy.table import Table
data = np.ascontiguousarray(fits.getdata(sys.argv[1]).astype(np.float32))
background = sep.Background(data)
found = sep.extract(data - background, 1.5, err=background.globalrms, minarea=5)
Table(found).write(sys.argv[2], format="fits", overwrite=True)
print(len(found))
"""

_PHOTUTILS = """
import sys
from astropy.convolution import convolve
from astropy.io import fits
from photutils.background import Background2D, MedianBackground
from photutils.segmentation import SourceCatalog, SourceFinder, make_2dgaussian_kernel
data = fits.getdata(sys.argv[1]).astype(float)
background = Background2D(data, (64, 64), filter_size=(3, 3), bkg_estimator=MedianBackground())
data -= background.background
smoothed = convolve(data, make_2dgaussian_kernel(3.0, size=5))
segments = SourceFinder(npixels=5, progress_bar=False)(smoothed, 1.5 * background.background_rms)
SourceCatalog(data, segments, convolved_data=smoothed).to_table().write(sys.argv[2], overwrite=True)
print(segments.nlabels)
"""


@dataclass(frozen=True)
class Usage:
    """What one process took.

    Parameters
    ----------
    wall, cpu
        Seconds from start to end, and of the processor.
    peak
        Largest resident memory, bytes.
    output
        Its last line.
    """

    wall: float
    cpu: float
    peak: float
    output: str


def measure(command: list[str], environment: dict[str, str]) -> Usage:
    """Run a command on one core and measure it.

    Parameters
    ----------
    command
        The command.
    environment
        Its environment.

    Returns
    -------
    usage
        Time and memory.

    Raises
    ------
    RuntimeError
        Raised if it fails.
    """

    def one_core() -> None:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

    with tempfile.TemporaryFile("w+") as stream:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=stream, stderr=subprocess.STDOUT, env=environment, preexec_fn=one_core
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        stream.seek(0)
        output = stream.read().strip()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command[:4])} failed: {output[-500:]}")
    unit = 1 if sys.platform == "darwin" else 1024
    last = output.splitlines()[-1] if output else ""
    return Usage(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit, last)


def has_module(name: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(name) is not None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=2048, help="side of the image, pixels")
    parser.add_argument("--repeats", type=int, default=5, help="runs with warm caches; the fastest counts")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = folder / "plain.fits"
        # In a process of its own: what this one holds would count as memory of its children.
        subprocess.run([sys.executable, "-c", _IMAGE, str(image), str(options.size)], check=True)
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        environment |= {
            "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
            "NUMBA_CACHE_DIR": str(folder / "numba"),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "NUMBA_NUM_THREADS": "1",
        }
        blendid = [sys.executable, "-c", "from lsst.meas.blendid.cli import main; main()"]
        run = [*blendid, "run", str(image), "--psf-fwhm", "0.7", "--pixel-scale", "0.2", "--out", str(folder)]
        light = ["--classifier", "logistic", "--localizer", "none"]
        programs = {
            "blendid --help": [*blendid, "--help"],
            "blendid run, defaults": run,
            "blendid run --localizer none": [*run, "--localizer", "none"],
            LOGISTIC: [*run, *light],
        }
        table = str(folder / "table.fits")
        programs[SEP] = [sys.executable, "-c", _SEP, str(image), table]
        if has_module("photutils"):
            programs["photutils: background + detect + deblend"] = [
                *(sys.executable, "-c", _PHOTUTILS, str(image), str(folder / "table.ecsv"))
            ]
        first = measure(run, environment)
        usages: dict[str, list[Usage]] = {title: [] for title in programs}
        for _ in range(options.repeats + 1):
            for title, command in programs.items():
                usages[title].append(measure(command, environment))
    rows = {title: min(own[1:], key=lambda usage: usage.cpu) for title, own in usages.items()}

    print(f"{options.size} × {options.size} pixels, one core, best of {options.repeats}")
    print(
        f"{'':48s} {'cpu/sep':>8s} {'cpu [s]':>9s} {'wall [s]':>9s} {'peak [MB]':>10s} {'peak / image':>13s}"
    )
    pixels = 4.0 * options.size**2
    for title, usage in {"blendid run, first after installation": first, **rows}.items():
        memory = f"{usage.peak / 1e6:10.0f} {usage.peak / pixels:13.1f}"
        ratio = usage.cpu / rows[SEP].cpu
        print(f"{title:48s} {ratio:8.1f} {usage.cpu:9.2f} {usage.wall:9.2f} {memory}")
    lightest = rows[LOGISTIC]
    print(lightest.output.removeprefix(f"{image}: "))
    met = lightest.cpu <= TARGET_RATIO * rows[SEP].cpu and lightest.peak <= TARGET_BYTES
    verdict = "met" if met else "MISSED"
    print(f"{LOGISTIC}: at most {TARGET_RATIO:g} times sep and {TARGET_BYTES / 1e9:g} GB: {verdict}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
