# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Where the pipelines are."""

from __future__ import annotations

__all__ = ("pipeline_uri",)


def pipeline_uri(name: str = "blendid.yaml") -> str:
    """Name a pipeline of ``pipelines/`` as ``pipetask`` and ``bps`` find it wherever the package is."""
    return f"resource://lsst.meas.blendid/pipelines/{name}"
