# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Use of every compiled loop on small images, so that all are compiled and kept.

A process of its own, started by ``blendid compile``.
"""

from __future__ import annotations

__all__ = ("make_pixels", "warm_up")

import logging
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from astropy.io import fits

from lsst.images import Box, Image, MaskedImage, MaskPlane, MaskSchema
from lsst.images.psfs import GaussianPointSpreadFunction

from ..blend_identification import BlendIdentificationTask
from ..model_package import ModelPackage, list_shipped
from ._config import make_config
from ._main import main

_SIZE, _SIGMA, _N_SOURCES = 256, 1.6, 60


def make_pixels(dtype: str = "float32") -> np.ndarray:
    """Draw Gaussian sources on white noise.

    Parameters
    ----------
    dtype
        Type of the pixels.

    Returns
    -------
    pixels
        Array of shape (256, 256).
    """
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:_SIZE, :_SIZE]
    pixels = rng.normal(size=(_SIZE, _SIZE))
    for x0, y0 in rng.uniform(10, _SIZE - 10, size=(_N_SOURCES, 2)):
        pixels += 30.0 * np.exp(-0.5 * ((x - x0) ** 2 + (y - y0) ** 2) / _SIGMA**2)
    return pixels.astype(dtype)


def _make_coadd() -> MaskedImage:
    """Make an image with mask and variance plane."""
    box = Box.from_shape((_SIZE, _SIZE))
    planes = [MaskPlane(name, name) for name in ("NO_DATA", "SATURATED")]
    coadd = MaskedImage(Image(make_pixels(), bbox=box), mask_schema=MaskSchema(planes))
    coadd.variance.array = np.ones((_SIZE, _SIZE), dtype=np.float32)
    coadd.mask.set("SATURATED", coadd.image.array > 60.0)
    return coadd


def warm_up() -> None:
    """Run commands and the task as users do."""
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
                ["simulate", *options, "--mode", "full", "--exposures", "2", "--seed", "2"],
                standalone_mode=False,
            )


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    sys.stdout = sys.stderr
    warm_up()
