# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""``blendid compile``: loops compiled once for all users of an installation."""

from __future__ import annotations

__all__ = ("compile", "make_pixels", "warm_up")

import logging
import os
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from ._common import CommandError, common_options, get_settings, make_output_folder

if TYPE_CHECKING:
    from lsst.images import MaskedImage

_SIZE, _SIGMA, _N_SOURCES = 256, 1.6, 60
"""Side and PSF sigma of the images that loops are compiled with, pixels, and their number of sources."""


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
        command = [sys.executable, "-m", f"{__name__}"]
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

    from .._jit import portable_target

    return portable_target(get_host_cpu_features())


def make_pixels(dtype: str = "float32") -> np.ndarray:
    """Draw Gaussian sources on white noise, shape (256, 256)."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:_SIZE, :_SIZE]
    pixels = rng.normal(size=(_SIZE, _SIZE))
    for x0, y0 in rng.uniform(10, _SIZE - 10, size=(_N_SOURCES, 2)):
        pixels += 30.0 * np.exp(-0.5 * ((x - x0) ** 2 + (y - y0) ** 2) / _SIGMA**2)
    return pixels.astype(dtype)


def _make_coadd() -> MaskedImage:
    """Make an image with mask and variance plane."""
    from lsst.images import Box, Image, MaskedImage, MaskPlane, MaskSchema

    box = Box.from_shape((_SIZE, _SIZE))
    planes = [MaskPlane(name, name) for name in ("NO_DATA", "SATURATED")]
    coadd = MaskedImage(Image(make_pixels(), bbox=box), mask_schema=MaskSchema(planes))
    coadd.variance.array = np.ones((_SIZE, _SIZE), dtype=np.float32)
    coadd.mask.set("SATURATED", coadd.image.array > 60.0)
    return coadd


def warm_up() -> None:
    """Use every loop on small images, as users do: the work of the process that `compile` starts."""
    from astropy.io import fits

    from lsst.images.psfs import GaussianPointSpreadFunction

    from ..blend_identification import BlendIdentificationTask
    from ..model_package import ModelPackage, list_shipped
    from ._config import make_config
    from ._main import main

    shipped = {ModelPackage.read(name).classifier for name in list_shipped("classifier")}
    classifiers = sorted(shipped)
    for options in (
        [],
        ["footprints.doCorrectCorrelatedNoise=True", "footprints.doTempLocalBackground=True"],
    ):
        for localizer in sorted(ModelPackage.read(name).classifier for name in list_shipped("localizer")):
            config = make_config(
                classifiers=classifiers, localizer=localizer, options=options, has_variance=True
            )
            coadd = _make_coadd()
            psf = GaussianPointSpreadFunction(_SIGMA, bounds=coadd.bbox, stamp_size=25)
            BlendIdentificationTask(config=config).run(coadd, psf=psf, band="i")
            # That all run beside one of the localisers is enough.
            classifiers = ["features"]
    with tempfile.TemporaryDirectory() as folder:
        for dtype in ("float32", "float64"):
            path = Path(folder) / f"{dtype}.fits"
            fits.writeto(path, make_pixels(dtype))
            options = ["--psf-fwhm", "0.7", "--pixel-scale", "0.2", "--out", folder]
            for name in shipped:
                options += ["--classifier", name]
            main(["run", str(path), *options], standalone_mode=False)
        if find_spec("galsim") is not None:
            options = ["--size", str(_SIZE), "--out", folder]
            main(["simulate", *options], standalone_mode=False)
            main(
                ["simulate", *options, "--mode", "full", "--visits", "2", "--seed", "2"],
                standalone_mode=False,
            )


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    sys.stdout = sys.stderr
    warm_up()
