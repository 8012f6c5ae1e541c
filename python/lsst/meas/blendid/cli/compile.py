# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""``blendid compile``: loops compiled once for all users of an installation."""

from __future__ import annotations

__all__ = ("compile",)

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from ._common import CommandError, common_options, get_settings, make_output_folder


@click.command()
@common_options
def compile() -> None:
    """Compile all loops once, for every user of this installation.

    Without it, each user waits for half a minute or more when something runs for the
    first time; and in each process where compiled code cannot be kept.

    The code is kept beside the source, or in the folder that the environment
    variable NUMBA_CACHE_DIR names, and used from there although users cannot
    write to it. It fits any processor of this kind (x86-64 with AVX2, or all of
    them if this one has no AVX2), this version of Python and of numba.

    \b
    Examples:
      blendid compile
      NUMBA_CACHE_DIR=/shared/blendid-cache blendid compile
    """  # noqa: D301
    package = Path(__file__).resolve().parents[1]
    named = os.environ.get("NUMBA_CACHE_DIR")
    make_output_folder(Path(named) if named else package / "__pycache__")
    start = time.perf_counter()
    if not named:
        for path in package.rglob("__pycache__/*.nb[ci]"):
            path.unlink()  # Of other versions; whoever runs them at this moment has loaded them.
    target = _find_target()
    click.echo(f"Compiling for {target}; this takes a minute or two")
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {
            "NUMBA_CPU_NAME": target,
            "NUMBA_CPU_FEATURES": "",
            # Code that this user has already would not be written again.
            "XDG_CACHE_HOME": home,
        }
        command = [sys.executable, "-m", f"{__package__}._warm_up"]
        done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        if get_settings().debug:
            click.echo(done.stderr, err=True)
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise CommandError(f"loops could not be compiled: {last} (--debug shows more)")
    folder = Path(named) if named else package
    n_files = sum(1 for _ in folder.rglob("*.nbc"))
    click.echo(f"{folder}: {n_files} files of compiled code, {time.perf_counter() - start:.0f} s")


def _find_target() -> str:
    """Target that code is compiled for."""
    from numba.core.codegen import get_host_cpu_features

    from .._jit_cache import portable_target

    return portable_target(get_host_cpu_features())
