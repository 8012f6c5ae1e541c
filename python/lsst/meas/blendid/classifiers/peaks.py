# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Peak counting: a footprint with two peaks is a blend.

What a pipeline does that trusts its peaks.  The probabilities are the shares
of N = 0, 1, 2, ... that were seen in training among footprints with as many
peaks.
"""

from __future__ import annotations

__all__ = ("PeaksClassifier", "PeaksConfig", "PeaksSettings")

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lsst.pex.config import registerConfigurable

from ..model_settings import ModelSettings, setting
from ..samples import FootprintSamples
from ._count_table import CountTableClassifier, CountTableSettings
from .base import BlendClassifierConfig
from .registry import classifier_registry


class PeaksConfig(BlendClassifierConfig):
    """Config of `PeaksClassifier`."""

    def setDefaults(self) -> None:
        super().setDefaults()
        self.modelPackage = "peaks-i-1"


@dataclass(frozen=True, kw_only=True)
class PeaksSettings(CountTableSettings):
    """Settings of `PeaksClassifier`."""

    threshold: float = setting(
        5.0, "Least significance (S/N in the smoothed image) of a peak that counts.", more_than=0.0
    )


@registerConfigurable("peaks", classifier_registry)
class PeaksClassifier(CountTableClassifier):
    """P(N) from the number of peaks.

    Parameters
    ----------
    *args, **kwargs
        As of `BlendClassifier`.
    """

    ConfigClass: ClassVar[type[BlendClassifierConfig]] = PeaksConfig
    SettingsClass: ClassVar[type[ModelSettings]] = PeaksSettings
    name: ClassVar[str] = "peaks"

    def count(self, samples: FootprintSamples) -> np.ndarray:
        """Count the peaks over the threshold.

        Parameters
        ----------
        samples
            The n footprints.

        Returns
        -------
        counts : `numpy.ndarray`, shape (n,), int64
            Number of peaks in each.
        """
        return samples.count_peaks(self.settings.threshold)

    def prepare(self, samples: FootprintSamples) -> bool:
        return True
