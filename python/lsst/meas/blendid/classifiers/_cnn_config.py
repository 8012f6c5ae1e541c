# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Config and settings of convolutional networks."""

from __future__ import annotations

__all__ = ("CnnConfig", "CnnSettings", "CnnTrainingSettings", "paper_settings")

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from lsst.pex.config import ChoiceField

from ..cutouts import CutoutSettings
from ..features import CONTEXT_FEATURES, FEATURE_NAMES, REFERENCE_FEATURES
from ..model_settings import ModelSettings, SettingsError, setting
from ._cnn_networks import PAPER_SIZE
from .base import BlendClassifierConfig

_LEAST_SIZE = 16
"""Least side of the modern network's cutouts, pixels."""


class CnnConfig(BlendClassifierConfig):
    """Config of `CnnClassifier`."""

    views: ChoiceField[int] = ChoiceField(
        doc="How many flips and turns of a cutout a probability is the mean of.",
        dtype=int,
        default=1,
        optional=False,
        allowed={1: "As it is.", 2: "And turned by 180 degrees.", 4: "All flips.", 8: "All flips and turns."},
    )

    def setDefaults(self) -> None:
        super().setDefaults()
        self.modelPackage = "cnn-i-1"


@dataclass(frozen=True, kw_only=True)
class CnnTrainingSettings(ModelSettings):
    """How a network is trained; nothing of it changes the form of the weights."""

    dropout: float = setting(
        0.2,
        "Share of the outputs of dense layers that are dropped in training.",
        at_least=0.0,
        at_most=0.9,
    )
    augment: bool = setting(True, "Whether cutouts are flipped and turned at random.")
    balance: bool = setting(
        False,
        "Whether blended and other footprints have the same weight.  Probabilities are moved back to the "
        "natural shares.",
    )
    batch_size: int = setting(200, "Footprints in a step.", at_least=1)
    epochs: int = setting(12, "Number of epochs at most.", at_least=1)
    patience: int = setting(
        4, "Stop after so many epochs that did not lower the cross-entropy of the validation.", at_least=1
    )
    learning_rate: float = setting(1e-3, "Learning rate of Adam, at the start.", more_than=0.0)
    schedule: str = setting(
        "cosine",
        "How the learning rate changes: not at all (constant), or it falls to zero as half a cosine over the "
        "epochs (cosine).",
        choices=("constant", "cosine"),
    )
    storage: str = setting(
        "float16",
        "Numbers that weights are kept as: half precision, half the size, or single precision.",
        choices=("float16", "float32"),
    )


@dataclass(frozen=True, kw_only=True)
class CnnSettings(ModelSettings):
    """Settings of `CnnClassifier`."""

    old_names: ClassVar[Mapping[str, str | None]] = {
        "batchSize": "training.batch_size",
        "learningRate": "training.learning_rate",
        "views": None,
    } | {
        name: f"training.{name}"
        for name in ("augment", "balance", "dropout", "epochs", "patience", "schedule", "storage")
    }

    architecture: str = setting(
        "modern",
        "Which network: that of Buchanan et al. 2022 on cutouts of 23x23 pixels, P(blended) (buchanan2022), "
        "or a smaller one on cutouts with smoothed image and mask, and on features, P(N) (modern).",
        choices=("buchanan2022", "modern"),
    )
    cutout: CutoutSettings = setting(
        CutoutSettings(size=33, normalization="asinh", zero_outside=False), "How cutouts are made."
    )
    features: tuple[str, ...] = setting(
        (*REFERENCE_FEATURES, *CONTEXT_FEATURES),
        "Numbers that the modern network takes beside cutouts, of those in FEATURE_DOCS.",
        choices=FEATURE_NAMES,
        unique=True,
    )
    width: int = setting(
        16,
        "Kernels of the first convolution of the modern network; the other layers are in proportion.",
        at_least=1,
    )
    training: CnnTrainingSettings = setting(CnnTrainingSettings(), "How the network is trained.")

    def check(self) -> None:
        if self.architecture == "buchanan2022":
            if self.cutout.size != PAPER_SIZE or len(self.features):
                raise SettingsError(
                    f"architecture 'buchanan2022' takes cutouts of {PAPER_SIZE} pixels and no features: set "
                    f"cutout.size={PAPER_SIZE} and features= as well (from Python: paper_settings()), or "
                    "choose 'modern'"
                )
        elif self.cutout.size < _LEAST_SIZE:
            raise SettingsError(
                f"cutout.size is {self.cutout.size}; architecture 'modern' needs at least {_LEAST_SIZE}"
            )


def paper_settings() -> CnnSettings:
    """Make the settings of the network and the training of Buchanan et al. 2022.

    Returns
    -------
    settings
        The settings.  The cutouts keep the absolute signal-to-noise ratio, which those of the paper, of norm
        one (``normalization="l2"``), did not.
    """
    return CnnSettings(
        architecture="buchanan2022",
        cutout=CutoutSettings(size=PAPER_SIZE, normalization="asinh"),
        features=(),
        training=CnnTrainingSettings(augment=False, schedule="constant"),
    )
