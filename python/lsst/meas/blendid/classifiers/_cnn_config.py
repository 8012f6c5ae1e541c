# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Settings of convolutional networks."""

from __future__ import annotations

__all__ = ("TRAINING_FIELDS", "CnnConfig")

from lsst.pex.config import ChoiceField, ConfigField, Field, ListField, RangeField

from ..cutouts import CutoutConfig
from ..features import CONTEXT_FEATURES, FEATURE_NAMES, REFERENCE_FEATURES
from ._cnn_networks import PAPER_SIZE
from .base import BlendClassifierConfig

_LEAST_SIZE = 16
"""Least side of the modern network's cutouts, pixels."""

TRAINING_FIELDS = (
    "augment",
    "balance",
    "batchSize",
    "dropout",
    "epochs",
    "learningRate",
    "patience",
    "schedule",
    "storage",
    "views",
)
"""Settings that do not change the form of the weights: a network can start from one with others."""


class CnnConfig(BlendClassifierConfig):
    """Config of `CnnClassifier`."""

    architecture: ChoiceField[str] = ChoiceField(
        doc="Which network.",
        dtype=str,
        default="modern",
        optional=False,
        allowed={
            "buchanan2022": "That of Buchanan et al. 2022, on cutouts of 23x23 pixels: P(blended).",
            "modern": "A smaller one, on cutouts with smoothed image and mask, and on features: P(N).",
        },
    )
    cutout: ConfigField[CutoutConfig] = ConfigField(doc="How cutouts are made.", dtype=CutoutConfig)
    features: ListField[str] = ListField(
        doc="Numbers that the modern network takes beside cutouts: names of `.features.FEATURE_DOCS`.",
        dtype=str,
        default=[*REFERENCE_FEATURES, *CONTEXT_FEATURES],
        itemCheck=lambda x: x in FEATURE_NAMES,
    )
    width: Field[int] = Field(
        doc="Kernels of the first convolution of the modern network; the other layers are in proportion.",
        dtype=int,
        default=16,
        optional=False,
        check=lambda x: x > 0,
    )
    dropout = RangeField(
        doc="Share of the outputs of dense layers that are dropped in training.",
        dtype=float,
        default=0.2,
        optional=False,
        min=0.0,
        max=0.9,
    )
    views: ChoiceField[int] = ChoiceField(
        doc="How many flips and turns of a cutout a probability is the mean of.",
        dtype=int,
        default=1,
        optional=False,
        allowed={1: "As it is.", 2: "And turned by 180 degrees.", 4: "All flips.", 8: "All flips and turns."},
    )
    augment: Field[bool] = Field(
        doc="Flip and turn cutouts at random in training?", dtype=bool, default=True, optional=False
    )
    balance: Field[bool] = Field(
        doc="Give blended and other footprints the same weight in training?  Probabilities are moved back "
        "to the natural shares.",
        dtype=bool,
        default=False,
        optional=False,
    )
    batchSize: Field[int] = Field(
        doc="Footprints in a step of training.", dtype=int, default=200, optional=False, check=lambda x: x > 0
    )
    epochs: Field[int] = Field(
        doc="Number of epochs at most.", dtype=int, default=12, optional=False, check=lambda x: x > 0
    )
    patience: Field[int] = Field(
        doc="Stop after so many epochs that did not lower the cross-entropy of the validation.",
        dtype=int,
        default=4,
        optional=False,
        check=lambda x: x > 0,
    )
    learningRate: Field[float] = Field(
        doc="Learning rate of Adam, at the start.",
        dtype=float,
        default=1e-3,
        optional=False,
        check=lambda x: x > 0.0,
    )
    schedule: ChoiceField[str] = ChoiceField(
        doc="How the learning rate changes.",
        dtype=str,
        default="cosine",
        optional=False,
        allowed={"constant": "Not at all.", "cosine": "It falls to zero as half a cosine over the epochs."},
    )
    storage: ChoiceField[str] = ChoiceField(
        doc="Numbers that weights are kept as.",
        dtype=str,
        default="float16",
        optional=False,
        allowed={"float16": "Half precision: half the size.", "float32": "Single precision."},
    )

    def setDefaults(self) -> None:
        super().setDefaults()
        self.modelPackage = "cnn-i-1"
        self.cutout.size = 33
        self.cutout.normalization = "asinh"
        self.cutout.zeroOutside = False

    def set_paper(self) -> None:
        """Choose the network and the training of Buchanan et al. 2022.

        The cutouts keep the absolute signal-to-noise ratio, which theirs, of norm one, did not; set
        ``cutout.normalization = "l2"`` for these.
        """
        self.architecture = "buchanan2022"
        self.cutout.size = PAPER_SIZE
        self.cutout.normalization = "asinh"
        self.cutout.zeroOutside = True
        self.features = []
        self.augment = False
        self.schedule = "constant"

    def validate(self) -> None:
        super().validate()
        if self.architecture == "buchanan2022":
            if self.cutout.size != PAPER_SIZE or len(self.features):
                raise ValueError(
                    f"architecture 'buchanan2022' takes cutouts of {PAPER_SIZE} pixels and no features: "
                    f"set cutout.size = {PAPER_SIZE} and features = [] (set_paper() does), or choose 'modern'"
                )
        elif self.cutout.size < _LEAST_SIZE:
            raise ValueError(
                f"cutout.size is {self.cutout.size}; architecture 'modern' needs at least {_LEAST_SIZE}"
            )
        repeated = sorted({name for name in self.features if list(self.features).count(name) > 1})
        if repeated:
            raise ValueError(f"features has repeated names: {', '.join(repeated)}")
