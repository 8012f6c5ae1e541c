# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Config and settings of the local Gaussian process."""

from __future__ import annotations

__all__ = ("KernelSettings", "MuyGpsConfig", "MuyGpsSettings")

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ..cutouts import CutoutSettings
from ..features import FEATURE_DOCS, FEATURE_NAMES, TWO_COMPONENT_COLUMNS
from ..model_settings import ModelSettings, SettingsError, setting
from ._muygps_trend import TRENDS
from .base import BlendClassifierConfig


class MuyGpsConfig(BlendClassifierConfig):
    """Config of `.muygps.MuyGpsClassifier`."""

    def setDefaults(self) -> None:
        super().setDefaults()
        self.modelPackage = "muygps-i-1"


@dataclass(frozen=True, kw_only=True)
class KernelSettings(ModelSettings):
    """Hyper-parameters of the kernel."""

    smoothness: float = setting(1.5, "Smoothness of the Matern kernel.", at_least=0.5, at_most=30.0)
    length_scale: float = setting(
        4.0, "Length scale, in units of the scatter of the first coordinate.", more_than=0.0
    )
    noise: float = setting(30.0, "Variance of the noise of a label in units of the kernel's.", at_least=1e-10)


@dataclass(frozen=True, kw_only=True)
class MuyGpsSettings(ModelSettings):
    """Settings of `.muygps.MuyGpsClassifier`."""

    old_names: ClassVar[Mapping[str, str | None]] = {
        "smoothness": "kernel.smoothness",
        "lengthScale": "kernel.length_scale",
        "noise": "kernel.noise",
        "doRanks": "use_ranks",
        "doBalance": None,
        "nnMethod": None,
        "loss": None,
        "optimizer": None,
        "optimize": None,
        "smoothnessBounds": None,
        "lengthScaleBounds": None,
        "noiseBounds": None,
    }

    cutout: CutoutSettings = setting(CutoutSettings(), "How cutouts are made.")
    n_components: int = setting(8, "Number of principal components of the cutouts.", at_least=1)
    features: tuple[str, ...] = setting(
        # Not the fits of two components, which take most of the time, nor what needs a zero point.
        tuple(name for name in FEATURE_NAMES if name not in (*TWO_COMPONENT_COLUMNS, "depth")),
        "Names of features beside the components, of those in FEATURE_DOCS; may be empty.",
        choices=FEATURE_DOCS,
        unique=True,
    )
    use_ranks: bool = setting(
        True, "Whether each component and feature is replaced by the normal score of its rank."
    )
    n_coordinates: int = setting(
        12,
        "Number of coordinates of the process: principal components of the inputs, scaled to the square "
        "root of their scatter; 0 for the inputs themselves.",
        at_least=0,
    )
    prior_mean: str = setting(
        "quadratic", "Mean of the process before it sees its neighbours.", choices=TRENDS
    )
    n_products: int = setting(
        12, "Number of coordinates whose squares and products a quadratic mean has.", at_least=1
    )
    n_neighbors: int = setting(
        50,
        "Number of nearest training footprints that each is conditioned on.",
        at_least=1,
        at_most=1000,
    )
    n_train: int = setting(
        40_000, "Number of training footprints that are kept, at most; drawn at random.", at_least=1
    )
    kernel: KernelSettings = setting(KernelSettings(), "The kernel, where the optimisation starts.")
    optimize_kernel: bool = setting(
        True, "Whether MuyGPyS optimises length scale and noise; without, MuyGPyS is not needed."
    )
    n_batch: int = setting(2000, "Training footprints that the optimisation leaves out in turn.", at_least=1)

    def check(self) -> None:
        if self.n_components > self.cutout.size**2:
            raise SettingsError(
                f"n_components is {self.n_components}, more than the {self.cutout.size**2} pixels of a cutout"
            )
        n_inputs = self.n_components + len(self.features)
        if self.n_coordinates > n_inputs:
            raise SettingsError(f"n_coordinates is {self.n_coordinates}; there are {n_inputs} inputs only")
        if self.n_train <= self.n_neighbors:
            raise SettingsError(f"n_train is {self.n_train}, too few for n_neighbors = {self.n_neighbors}")
