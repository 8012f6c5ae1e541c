# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""A classifier that comes from another package: footprints over an area are blended."""

from __future__ import annotations

__all__ = ("AreaClassifier", "AreaConfig")

from typing import ClassVar

import numpy as np
from lsst.meas.blendid.classifiers import (
    BlendClassifier,
    BlendClassifierConfig,
    FitOptions,
    LabelledSamples,
)
from lsst.meas.blendid.samples import FootprintSamples
from lsst.pex.config import Field


class AreaConfig(BlendClassifierConfig):
    """Config of `AreaClassifier`."""

    middle: Field[float] = Field(
        doc="Area with even chances, pixels.", dtype=float, default=150.0, check=lambda x: x > 0.0
    )


class AreaClassifier(BlendClassifier):
    """P(blended) that grows with the area."""

    ConfigClass: ClassVar[type[BlendClassifierConfig]] = AreaConfig
    name: ClassVar[str] = "area"
    needs_package: ClassVar[bool] = False

    def _fit(self, train: LabelledSamples, validation: LabelledSamples | None, options: FitOptions) -> None:
        """Learn nothing."""

    def predict(self, samples: FootprintSamples) -> np.ndarray:
        """Give area / (area + middle)."""
        area = samples.area.astype(np.float64)
        return area / (area + self.config.middle)
