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

__all__ = (
    "CountTableClassifier",
    "CountTableSettings",
    "PeaksClassifier",
    "PeaksConfig",
    "PeaksSettings",
)

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lsst.pex.config import registerConfigurable

from ..model_settings import ModelSettings, setting
from ..samples import FootprintSamples
from .base import N_CLASSES, BlendClassifier, BlendClassifierConfig, classifier_registry
from .fitting import FitOptions, LabelledSamples, prior_correction


@dataclass(frozen=True, kw_only=True)
class CountTableSettings(ModelSettings):
    """Settings of `CountTableClassifier`."""

    max_count: int = setting(
        6,
        "Footprints with this many or more share one row of the table of probabilities.",
        at_least=2,
        at_most=100,
    )


class CountTableClassifier(BlendClassifier):
    """P(N) is the shares that were seen in training among footprints with the same count.

    Parameters
    ----------
    *args, **kwargs
        As of `BlendClassifier`.
    """

    SettingsClass: ClassVar[type[ModelSettings]] = CountTableSettings
    # What is counted and what it means hardly depend on the band.
    needs_band: ClassVar[bool] = False

    @abstractmethod
    def count(self, samples: FootprintSamples) -> np.ndarray:
        """Count.

        Parameters
        ----------
        samples
            The n footprints.

        Returns
        -------
        counts : `numpy.ndarray`, shape (n,), int64
            A number from 0 for each.
        """

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {"table": (self.settings.max_count + 1, N_CLASSES)}

    def _fit(self, train: LabelledSamples, validation: LabelledSamples | None, options: FitOptions) -> None:
        counts, weights = train.counts, train.weights
        rows = np.minimum(self.count(train.samples), self.settings.max_count)
        cells = rows * N_CLASSES + np.minimum(counts, N_CLASSES - 1)
        shape = self._shapes()["table"]
        seen = np.bincount(cells, weights=weights, minlength=shape[0] * shape[1]).reshape(shape)
        seen = seen * prior_correction(counts, weights)
        seen *= len(counts) / seen.sum()
        # One pseudo-footprint of average composition per row: no probability is
        # exactly 0 or 1, and a number of peaks that was never seen gives the prior.
        seen = seen + seen.sum(axis=0) / seen.sum()
        self._state = {"table": seen / seen.sum(axis=1, keepdims=True)}

    def predict(self, samples: FootprintSamples) -> np.ndarray:
        table = self._learned()["table"]
        return table[np.minimum(self.count(samples), self.settings.max_count)]

    def _set_state(self, arrays: dict[str, np.ndarray]) -> None:
        super()._set_state(arrays)
        table = np.asarray(arrays["table"], dtype=np.float64)
        if not np.all(table >= 0.0) or not np.allclose(table.sum(axis=1), 1.0):
            raise ValueError("the table of probabilities has negative values or does not sum to 1")
        self._state = {"table": table}


class PeaksConfig(BlendClassifierConfig):
    """Config of `PeaksClassifier`."""

    def setDefaults(self) -> None:
        super().setDefaults()
        self.modelPackage = "peaks-2"


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
