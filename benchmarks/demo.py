# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Run ``blendid demo`` and print what it takes: seconds of each step, processor time, peak memory.

``python benchmarks/demo.py`` runs it in a temporary folder. With ``--picture
doc/images/demo.png`` the figure of the footprints is also kept, with few
colours, as the picture of the README.
"""

from __future__ import annotations

import argparse
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_STEPS = {
    "Drawing": "simulate the coadds, write the repository",
    "Its": "pipetask run",
    "Reading": "read the tables, count galaxies",
    "Making": "figures and report",
}


def save_picture(source: Path, target: Path) -> None:
    """Keep a figure with few colours: greys, and those of the probabilities, full and half as bright.

    Parameters
    ----------
    source
        PNG file.
    target
        PNG file to write.
    """
    import numpy as np
    from lsst.meas.blendid.evaluation.drawing import probability_colormap
    from PIL import Image

    colours = 255 * probability_colormap()(np.linspace(0.0, 1.0, 80))[:, :3]
    greys = np.repeat(np.linspace(0.0, 255.0, 40)[:, None], 3, axis=1)
    levels = np.concatenate([greys, colours, 0.5 * colours]).astype(np.uint8)
    palette = Image.new("P", (1, 1))
    palette.putpalette(levels.tobytes())
    with Image.open(source) as image:
        # No dithering: it would add noise to flat colours and double the size.
        few = image.convert("RGB").quantize(palette=palette, dither=Image.Dither.NONE)
    few.save(target, optimize=True)


def main() -> int:
    """Run, and print the table.

    Returns
    -------
    status
        0 if the demonstration ran.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=2048, help="side of a patch [pixel]")
    parser.add_argument("--picture", type=Path, help="PNG file to keep the figure of the footprints in")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "demo"
        command = [str(Path(sys.executable).with_name("blendid")), "demo"]
        start = time.perf_counter()
        result = subprocess.run(
            [*command, "--work", str(work), "--size", str(arguments.size)], capture_output=True, text=True
        )
        wall = time.perf_counter() - start
        if result.returncode != 0:
            print(result.stdout + result.stderr, file=sys.stderr)
            return 1
        report = (work / "report.html").stat().st_size
        if arguments.picture is not None:
            arguments.picture.parent.mkdir(parents=True, exist_ok=True)
            save_picture(work / "figures" / "footprints.png", arguments.picture)

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"blendid demo, two patches of {arguments.size} x {arguments.size} pixels")
    print(f"Python {platform.python_version()} on {platform.machine()}\n")
    print(f"{'step':<44}{'seconds':>10}")
    for text, seconds in re.findall(
        r"^(\S[^\n]*?) \.\.\.\n(?:  \D[^\n]*\n)*?  ([\d.]+) s$", result.stdout, re.M
    ):
        print(f"{_STEPS.get(text.split()[0], text):<44}{float(seconds):>10.1f}")
    print(f"{'all, start-up included':<44}{wall:>10.1f}")
    print(f"{'processor time':<44}{used.ru_utime + used.ru_stime:>10.1f}\n")
    print(f"peak memory of a process   {used.ru_maxrss / 1024**2:8.2f} GiB")
    print(f"report                     {report / 1e6:8.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
