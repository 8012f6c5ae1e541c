# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What a localiser is.

A localiser gives, for the footprints of an image, positions with the probability that a galaxy which counts
is there.  Packages can add their own: a subclass of `BlendLocalizer` behind an entry point of the group
``lsst.meas.blendid.localizers``.
"""

from __future__ import annotations

__all__ = (
    "ENTRY_POINT_GROUP",
    "localizer_registry",
    "find_localizer",
    "BlendLocalizer",
    "BlendLocalizerConfig",
    "BlendLocalizerSettings",
    "Positions",
)

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lsst.pex.config import Field, RangeField

from ..classifiers import FitOptions, LabelledSamples
from ..model_settings import ModelSettings, setting
from ..plugin_registry import PluginRegistry
from ..samples import FootprintSamples
from ..trained_plugin import TrainedPlugin, TrainedPluginConfig


class BlendLocalizerConfig(TrainedPluginConfig):
    """Config that all localisers have."""

    minProbability = RangeField(
        doc="Least probability of a position without a detected peak from which on it becomes an inferred "
        "peak.  It is small, because the probabilities of a footprint's peaks add up to the number of "
        "objects in it; choose among the peaks by their probability.",
        dtype=float,
        default=0.02,
        min=0.0,
        max=1.0,
        inclusiveMax=True,
    )
    maxInferredPeaks: Field[int] = Field(
        doc="Most inferred peaks of a footprint; of more the least probable ones are left out, and the "
        "footprint is flagged too_many_candidates.",
        dtype=int,
        default=600,
        optional=False,
        check=lambda x: x >= 0,
    )


@dataclass(frozen=True, kw_only=True)
class BlendLocalizerSettings(ModelSettings):
    """Settings that all localisers have."""

    match_radius: float = setting(
        1.5,
        "Largest distance between a detected peak and a position that mean the same object, PSF sigma.",
        more_than=0.0,
    )


@dataclass(frozen=True)
class Positions:
    """Positions in the n footprints of an image where an object may be, sorted by footprint.

    Parameters
    ----------
    row : `numpy.ndarray`, shape (m,), int32
        Footprint of each, from 0, in rising order.
    x, y : `numpy.ndarray`, shape (m,), float64
        Positions, parent pixels.
    probability : `numpy.ndarray`, shape (m,), float64
        Probability that an object which counts is there and at none of the other positions.
    xx, yy, xy : `numpy.ndarray`, shape (m,), float64
        Covariance of the position, pix²; NaN where it is not known.
    candidate_x, candidate_y : `numpy.ndarray`, shape (m,), float64, optional
        Where the localiser would put the object if no peak had been detected, where that is not the position;
        NaN where it does not know.

    Raises
    ------
    ValueError
        Raised if lengths differ, rows are not in order, or a probability is none.
    """

    row: np.ndarray
    x: np.ndarray
    y: np.ndarray
    probability: np.ndarray
    xx: np.ndarray
    yy: np.ndarray
    xy: np.ndarray
    candidate_x: np.ndarray | None = None
    candidate_y: np.ndarray | None = None

    def __post_init__(self) -> None:
        m = len(self.row)
        for name in ("x", "y", "probability", "xx", "yy", "xy", "candidate_x", "candidate_y"):
            if getattr(self, name) is None:
                continue
            if np.shape(getattr(self, name)) != (m,):
                raise ValueError(f"{name} has shape {np.shape(getattr(self, name))} for {m} positions")
        if m and (np.any(np.diff(self.row) < 0) or self.row[0] < 0):
            raise ValueError("the positions are not sorted by footprint")
        # Written so that NaN is refused, too.
        if not np.all((self.probability >= 0.0) & (self.probability <= 1.0)):
            raise ValueError("some probabilities are not in [0, 1]")

    def __len__(self) -> int:
        return len(self.row)


class BlendLocalizer(TrainedPlugin, ABC):
    """Base class of localisers.

    Parameters
    ----------
    config, settings, package
        As of `.trained_plugin.TrainedPlugin`.

    Notes
    -----
    A subclass has a ``name``, `_fit` and `locate`; one that learns something also ``_shapes``.
    """

    kind: ClassVar[str] = "localizer"
    ConfigClass: ClassVar[type[BlendLocalizerConfig]] = BlendLocalizerConfig
    SettingsClass: ClassVar[type[ModelSettings]] = BlendLocalizerSettings

    def fit(self, train: LabelledSamples, options: FitOptions | None = None) -> None:
        """Learn from footprints whose galaxies are known.

        Parameters
        ----------
        train
            Footprints to learn from, with their galaxies (``centers``).
        options
            Seed and more; the default ones if `None`.

        Raises
        ------
        ValueError
            Raised if the galaxies are not known, or there is too little to learn from.
        """
        if train.centers is None:
            raise ValueError("the places of the galaxies are not known; give scenes with truth tables")
        with self._unchanged_on_error():
            self.history, self.package = {}, None
            self._fit(train, train.centers, FitOptions() if options is None else options)

    @abstractmethod
    def _fit(self, train: LabelledSamples, galaxies: Sequence[np.ndarray], options: FitOptions) -> None:
        """Learn; what is learned goes into ``_state``."""

    @abstractmethod
    def locate(self, samples: FootprintSamples) -> tuple[Positions, ...]:
        """Find where objects may be.

        Parameters
        ----------
        samples
            Footprints of images.

        Returns
        -------
        positions
            For each image, at most one position for each object.

        Raises
        ------
        RuntimeError
            Raised if there is no model.
        """

    def expect_several(self, samples: FootprintSamples, mean: np.ndarray) -> np.ndarray:
        """Expect the number of objects of footprints that hold at least four.

        Parameters
        ----------
        samples
            The n footprints, all of each image.
        mean : `numpy.ndarray`, shape (n,)
            Mean of N given N >= 4 if the peaks are independent (`.localizers.several_mean`).

        Returns
        -------
        expected : `numpy.ndarray`, shape (n,), float64
            Mean of N given N >= 4.  Here that of independent peaks.
        """
        return mean


ENTRY_POINT_GROUP = "lsst.meas.blendid.localizers"
"""Entry-point group of localisers; the name of an entry point is that of the localiser, its object
a subclass of `BlendLocalizer`."""

localizer_registry: PluginRegistry[BlendLocalizer] = PluginRegistry(
    "localizer",
    BlendLocalizer,  # type: ignore[type-abstract]
    BlendLocalizerConfig,
    ENTRY_POINT_GROUP,
)
"""Localisers that tell where objects are, by name."""

find_localizer = localizer_registry.find
"""Find the localiser that a model is one of (`.plugin_registry.PluginRegistry.find`)."""
