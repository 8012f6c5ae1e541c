# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""P(N) of footprints from something that is counted in them."""

from __future__ import annotations

__all__ = ("CountTableClassifier", "CountTableConfig")

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from lsst.pex.config import Field

from .._arrays import check_array
from ..samples import FootprintSamples
from .base import N_CLASSES, BlendClassifier, BlendClassifierConfig
from .fit_options import FitOptions
from .weighting import check_counts, prior_correction


class CountTableConfig(BlendClassifierConfig):
    """Config of `CountTableClassifier`."""

    maxCount: Field[int] = Field(
        doc="Footprints with this many or more share one row of the table of probabilities.",
        dtype=int,
        default=6,
        optional=False,
        check=lambda x: 2 <= x <= 100,
    )


class CountTableClassifier(BlendClassifier):
    """P(N) is the shares that were seen in training among footprints with the same count.

    Parameters
    ----------
    *args, **kwargs
        As of `BlendClassifier`.
    """

    # What is counted and what it means hardly depend on the band.
    needs_band: ClassVar[bool] = False

    _table: np.ndarray | None = None
    """P(N | count), shape (maxCount + 1, 5)."""

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

    def predict(self, samples: FootprintSamples) -> np.ndarray:
        self._require_model(self._table is not None)
        assert self._table is not None
        return self._table[np.minimum(self.count(samples), self.config.maxCount)]

    def _get_state(self) -> dict[str, np.ndarray]:
        self._require_model(self._table is not None)
        assert self._table is not None
        return {"table": self._table}

    def _set_state(self, arrays: dict[str, np.ndarray]) -> None:
        check_array("table", arrays["table"], (self.config.maxCount + 1, N_CLASSES))
        table = np.asarray(arrays["table"], dtype=np.float64)
        if not np.all(table >= 0.0) or not np.allclose(table.sum(axis=1), 1.0):
            raise ValueError("the table of probabilities has negative values or does not sum to 1")
        self._table = table
