# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The detected peaks, with the probability that peaks like them turned out to be galaxies.

What a pipeline has that trusts its peaks, but told how far: by their significance, their rank and the
footprint.  It infers no peaks and needs no network.
"""

from __future__ import annotations

__all__ = ("PeaksLocalizer", "PeaksLocalizerConfig")

from collections.abc import Mapping
from typing import ClassVar

from lsst.pex.config import registerConfigurable

from ..centers import CONTEXT_NAMES
from ..samples import FootprintSamples
from .base import BlendLocalizerConfig, localizer_registry
from .object_localizer import ObjectLocalizer


class PeaksLocalizerConfig(BlendLocalizerConfig):
    """Config of `PeaksLocalizer`."""

    def setDefaults(self) -> None:
        super().setDefaults()
        self.modelPackage = "peaks-localizer-i-1"


@registerConfigurable("peaks", localizer_registry)
class PeaksLocalizer(ObjectLocalizer):
    """Detected peaks with probabilities.

    Parameters
    ----------
    *args, **kwargs
        As of `BlendLocalizer`.
    """

    ConfigClass: ClassVar[type[BlendLocalizerConfig]] = PeaksLocalizerConfig
    name: ClassVar[str] = "peaks"
    known_columns: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **ObjectLocalizer.known_columns,
        "objects": (
            "log_significance",
            "significance_ratio",
            "significance_rank",
            "n_objects",
            "nearest_distance",
            "nearest_log_significance",
            "brighter_distance",
            "log_area",
            "log_area_detected",
            "n_peaks",
            "log_max_significance",
            "rim_distance",
            *CONTEXT_NAMES,
        ),
    }

    def find_candidates(self, samples: FootprintSamples) -> tuple[None, ...]:
        return tuple(None for _ in samples.results)
