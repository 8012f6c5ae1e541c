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

__all__ = ("PeaksClassifier", "PeaksConfig")

from typing import ClassVar

import numpy as np

from lsst.pex.config import Field, registerConfigurable

from ..samples import FootprintSamples
from .base import N_CLASSES, BlendClassifier, BlendClassifierConfig
from .fit_options import FitOptions
from .registry import classifier_registry
from .weighting import check_counts, prior_correction


class PeaksConfig(BlendClassifierConfig):
    """Config of `PeaksClassifier`."""

    threshold: Field[float] = Field(
        doc="Least significance (S/N in the smoothed image) of a peak that counts.",
        dtype=float,
        default=5.0,
        optional=False,
        check=lambda x: x > 0.0,
    )
    maxCount: Field[int] = Field(
        doc="Footprints with this many peaks or more share one row of the table of probabilities.",
        dtype=int,
        default=6,
        optional=False,
        check=lambda x: 2 <= x <= 100,
    )

    def setDefaults(self) -> None:
        super().setDefaults()
        self.modelPackage = "peaks-i-1"


@registerConfigurable("peaks", classifier_registry)
class PeaksClassifier(BlendClassifier):
    """P(N) from the number of peaks.

    Parameters
    ----------
    *args, **kwargs
        As of `BlendClassifier`.
    """

    ConfigClass: ClassVar[type[BlendClassifierConfig]] = PeaksConfig
    name: ClassVar[str] = "peaks"

    _table: np.ndarray | None = None
    """P(N | number of peaks), shape (maxCount + 1, 5)."""

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
        return samples.count_peaks(self.config.threshold)

    def fit(
        self,
        samples: FootprintSamples,
        counts: np.ndarray,
        *,
        weights: np.ndarray | None = None,
        options: FitOptions | None = None,
    ) -> None:
        counts = check_counts(samples, counts, weights)
        self._record_prior(counts)
        rows = np.minimum(self.count(samples), self.config.maxCount)
        cells = rows * N_CLASSES + np.minimum(counts, N_CLASSES - 1)
        shape = (self.config.maxCount + 1, N_CLASSES)
        seen = np.bincount(cells, weights=weights, minlength=shape[0] * shape[1]).reshape(shape)
        seen = seen * prior_correction(counts, weights)
        seen *= len(counts) / seen.sum()
        # One pseudo-footprint of average composition per row: no probability is
        # exactly 0 or 1, and a number of peaks that was never seen gives the prior.
        seen = seen + seen.sum(axis=0) / seen.sum()
        self._table = seen / seen.sum(axis=1, keepdims=True)

    def prepare(self, samples: FootprintSamples) -> bool:
        return True

    def predict(self, samples: FootprintSamples) -> np.ndarray:
        self._require_model(self._table is not None)
        assert self._table is not None
        return self._table[np.minimum(self.count(samples), self.config.maxCount)]

    def _get_state(self) -> dict[str, np.ndarray]:
        self._require_model(self._table is not None)
        assert self._table is not None
        return {"table": self._table}

    def _set_state(self, arrays: dict[str, np.ndarray]) -> None:
        table = np.asarray(arrays["table"], dtype=np.float64)
        if table.shape != (self.config.maxCount + 1, N_CLASSES):
            raise ValueError(f"the table of probabilities has shape {table.shape}")
        if not np.all(table >= 0.0) or not np.allclose(table.sum(axis=1), 1.0):
            raise ValueError("the table of probabilities has negative values or does not sum to 1")
        self._table = table
