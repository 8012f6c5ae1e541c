# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""P(N) of footprints from something that is counted in them."""

from __future__ import annotations

__all__ = ("CountTableClassifier", "CountTableSettings")

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..model_settings import ModelSettings, setting
from ..samples import FootprintSamples
from .base import N_CLASSES, BlendClassifier
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
