# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Where the pipeline files of this package lie."""

from __future__ import annotations

__all__ = ("pipeline_path",)

import os
import sys
from pathlib import Path


def pipeline_path(name: str = "blendid.yaml") -> Path:
    """Find a pipeline file in the EUPS product, the source tree or the installed prefix.

    Parameters
    ----------
    name
        File name in ``pipelines/``.

    Returns
    -------
    path
        The existing file.

    Raises
    ------
    FileNotFoundError
        Raised if there is no such file.
    """
    roots = []
    if product_dir := os.environ.get("MEAS_BLENDID_DIR"):
        roots.append(Path(product_dir))
    roots.append(Path(__file__).resolve().parents[4])
    roots.append(Path(sys.prefix) / "share" / "lsst-meas-blendid")
    for root in roots:
        if (path := root / "pipelines" / name).is_file():
            return path
    looked = ", ".join(str(root / "pipelines") for root in roots)
    raise FileNotFoundError(f"{name} not found in {looked}; set MEAS_BLENDID_DIR to the product's folder")
