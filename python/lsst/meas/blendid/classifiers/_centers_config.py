# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Config of the centre network."""

from __future__ import annotations

__all__ = ("CentersConfig",)

from lsst.pex.config import ChoiceField, Field, ListField, RangeField

from .base import BlendClassifierConfig


class CentersConfig(BlendClassifierConfig):
    """Config of `CentersClassifier`."""

    widths: ListField[int] = ListField(
        doc="Channels of the network at half resolution, a quarter, and so on.",
        dtype=int,
        default=[32, 64, 96, 128],
        itemCheck=lambda x: x > 0,
        minLength=1,
        # Images are filled up to multiples of 2 to this power.
        maxLength=8,
    )
    blocks: ListField[int] = ListField(
        doc="Residual blocks at each resolution on the way down; on the way up there is one.",
        dtype=int,
        default=[1, 1, 1, 1],
        itemCheck=lambda x: 0 < x <= 32,
        minLength=1,
    )
    embedding: RangeField = RangeField(
        doc="Channels that footprints are pooled from.", dtype=int, default=24, min=1
    )
    hidden: ListField[int] = ListField(
        doc="Widths of the layers of the counting head.",
        dtype=int,
        default=[128, 64],
        itemCheck=lambda x: x > 0,
    )
    views: ChoiceField[int] = ChoiceField(
        doc="Views of an image, turned and mirrored, that predictions are averaged over.",
        dtype=int,
        allowed={
            1: "the image as it is",
            2: "and turned by half and mirrored",
            4: "and mirrored, and turned by half",
            8: "all, with quarter turns",
        },
        default=2,
        optional=False,
    )
    steps: RangeField = RangeField(doc="Number of training steps.", dtype=int, default=32000, min=1)
    stepsPerEpoch: RangeField = RangeField(
        doc="Steps between checkpoints, and between looks at the validation data.",
        dtype=int,
        default=1000,
        min=1,
    )
    batchSize: RangeField = RangeField(doc="Crops in a training step.", dtype=int, default=6, min=1)
    cropSize: RangeField = RangeField(
        doc="Side of a crop [pixel], a multiple of 2 to the number of resolutions.",
        dtype=int,
        default=256,
        min=2,
    )
    maxFootprints: RangeField = RangeField(
        doc="Most footprints of a crop that are learned from.", dtype=int, default=128, min=1
    )
    learningRate: RangeField = RangeField(
        doc="Largest learning rate.", dtype=float, default=1.5e-3, min=0.0, inclusiveMin=False
    )
    warmupSteps: RangeField = RangeField(
        doc="Steps until the largest learning rate.", dtype=int, default=300, min=0
    )
    restarts: ListField[int] = ListField(
        doc="Steps after which the learning rate, which falls to 0, rises and falls anew.",
        dtype=int,
        default=[16000],
        itemCheck=lambda x: x > 0,
    )
    weightDecay: RangeField = RangeField(
        doc="Decay of the weights, times the learning rate.", dtype=float, default=0.01, min=0.0
    )
    averaging: RangeField = RangeField(
        doc="Momentum of the running mean of the weights, for each step.",
        dtype=float,
        default=0.999,
        min=0.0,
        max=1.0,
        inclusiveMax=False,
    )
    tileWeight: RangeField = RangeField(
        doc="Weight of the loss of the places of centres, beside that of the numbers in footprints.",
        dtype=float,
        default=0.2,
        min=0.0,
    )
    blendedWeight: RangeField = RangeField(
        doc="Weight of the cross-entropy of blended or not, beside that of P(N).",
        dtype=float,
        default=1.0,
        min=0.0,
    )
    doMixedPrecision: Field[bool] = Field(
        doc="Train the inner layers in bfloat16?  Nearly twice as fast on processors that have it; "
        "prediction has 32 bits in any case.",
        dtype=bool,
        default=True,
    )

    def setDefaults(self) -> None:
        super().setDefaults()
        self.modelPackage = "centers-i-1"

    def validate(self) -> None:
        super().validate()
        if len(self.blocks) != len(self.widths):
            raise ValueError(f"blocks has {len(self.blocks)} numbers, widths {len(self.widths)}")
        stride = 2 ** len(self.widths)
        if self.cropSize % stride:
            raise ValueError(f"cropSize is {self.cropSize}, not a multiple of {stride}")
        if self.warmupSteps >= self.steps:
            raise ValueError(f"warmupSteps is {self.warmupSteps}, not less than steps, {self.steps}")
