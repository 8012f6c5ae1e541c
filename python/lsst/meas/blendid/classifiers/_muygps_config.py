# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Config of the local Gaussian process."""

from __future__ import annotations

__all__ = ("MuyGpsConfig",)

from lsst.pex.config import ChoiceField, ConfigField, Field, ListField, RangeField

from ..cutouts import CutoutConfig
from ..features import FEATURE_DOCS, FEATURE_NAMES, TWO_COMPONENT_COLUMNS
from ._muygps_trend import TRENDS
from .base import BlendClassifierConfig


class MuyGpsConfig(BlendClassifierConfig):
    """Config of `.muygps.MuyGpsClassifier`."""

    cutout: ConfigField[CutoutConfig] = ConfigField(doc="How cutouts are made.", dtype=CutoutConfig)
    nComponents: Field[int] = Field(
        doc="Number of principal components of the cutouts.",
        dtype=int,
        default=8,
        optional=False,
        check=lambda x: x > 0,
    )
    features: ListField[str] = ListField(
        doc="Names of features beside the components, of those in FEATURE_DOCS; may be empty.",
        dtype=str,
        # Not the fits of two components, which take most of the time, nor what needs a zero point.
        default=[name for name in FEATURE_NAMES if name not in (*TWO_COMPONENT_COLUMNS, "depth")],
        itemCheck=lambda x: x in FEATURE_DOCS,
    )
    doRanks: Field[bool] = Field(
        doc="Replace each component and feature by the normal score of its rank?",
        dtype=bool,
        default=True,
        optional=False,
    )
    nCoordinates: Field[int] = Field(
        doc="Number of coordinates of the process: principal components of the inputs, scaled to the square "
        "root of their scatter; 0 for the inputs themselves.",
        dtype=int,
        default=12,
        optional=False,
        check=lambda x: x >= 0,
    )
    priorMean: ChoiceField[str] = ChoiceField(
        doc="Mean of the process before it sees its neighbours.",
        dtype=str,
        default="quadratic",
        optional=False,
        allowed=dict(TRENDS),
    )
    nProducts: Field[int] = Field(
        doc="Number of coordinates whose squares and products a quadratic mean has.",
        dtype=int,
        default=12,
        optional=False,
        check=lambda x: x > 0,
    )
    nNeighbors: Field[int] = Field(
        doc="Number of nearest training footprints that each is conditioned on, at most 1000.",
        dtype=int,
        default=50,
        optional=False,
        check=lambda x: 0 < x <= 1000,
    )
    nTrain: Field[int] = Field(
        doc="Number of training footprints that are kept, at most; drawn at random.",
        dtype=int,
        default=40_000,
        optional=False,
        check=lambda x: x > 0,
    )
    doBalance: Field[bool] = Field(
        doc="Keep as many blended as other footprints?  Probabilities refer to the natural shares anyway.",
        dtype=bool,
        default=False,
        optional=False,
    )
    nnMethod: ChoiceField[str] = ChoiceField(
        doc="How neighbours are found.",
        dtype=str,
        default="exact",
        optional=False,
        allowed={
            "exact": "All that are nearest.",
            "approximate": "Nearly all, by hnswlib through MuyGPyS, which must be installed.",
        },
    )
    smoothness = RangeField(
        doc="Smoothness of the Matern kernel, where the optimisation starts.",
        dtype=float,
        default=1.5,
        min=0.5,
        max=30.0,
        inclusiveMax=True,
    )
    lengthScale = RangeField(
        doc="Length scale, in units of the scatter of the first coordinate, where the optimisation starts.",
        dtype=float,
        default=4.0,
        min=0.0,
        inclusiveMin=False,
    )
    noise = RangeField(
        doc="Variance of the noise of a label in units of the kernel's, where the optimisation starts.",
        dtype=float,
        default=30.0,
        min=1e-10,
    )
    smoothnessBounds: ListField[float] = ListField(
        doc="Ends of the range of the smoothness.", dtype=float, default=[0.5, 5.0], length=2
    )
    lengthScaleBounds: ListField[float] = ListField(
        doc="Ends of the range of the length scale.", dtype=float, default=[0.03, 50.0], length=2
    )
    noiseBounds: ListField[float] = ListField(
        doc="Ends of the range of the noise.", dtype=float, default=[1e-6, 300.0], length=2
    )
    optimize: ListField[str] = ListField(
        doc="What MuyGPyS optimises, of smoothness, lengthScale and noise; empty for nothing, "
        "which needs no MuyGPyS.",
        dtype=str,
        default=["lengthScale", "noise"],
        itemCheck=lambda x: x in ("smoothness", "lengthScale", "noise"),
    )
    loss: ChoiceField[str] = ChoiceField(
        doc="What is minimised, of footprints that are left out in turn.",
        dtype=str,
        default="cross_entropy",
        optional=False,
        allowed={
            "cross_entropy": "Cross-entropy of the probability, with the best scale of the variance.",
            "lool": "Negative logarithm of the likelihood of the working labels.",
            "mse": "Mean squared error of the working labels.",
        },
    )
    optimizer: ChoiceField[str] = ChoiceField(
        doc="Optimisation of MuyGPyS.",
        dtype=str,
        default="lbfgs",
        optional=False,
        allowed={"lbfgs": "L-BFGS-B.", "bayes": "Bayesian optimisation."},
    )
    nBatch: Field[int] = Field(
        doc="Training footprints that the optimisation leaves out in turn.",
        dtype=int,
        default=2000,
        optional=False,
        check=lambda x: x > 0,
    )

    def setDefaults(self) -> None:
        super().setDefaults()
        self.modelPackage = "muygps-i-1"

    def validate(self) -> None:
        super().validate()
        if self.nComponents > self.cutout.size**2:
            raise ValueError(
                f"nComponents is {self.nComponents}, more than the {self.cutout.size**2} pixels of a cutout"
            )
        for name in ("features", "optimize"):
            if len(set(getattr(self, name))) != len(getattr(self, name)):
                raise ValueError(f"{name} has repeated names")
        n_inputs = self.nComponents + len(self.features)
        if self.nCoordinates > n_inputs:
            raise ValueError(f"nCoordinates is {self.nCoordinates}; there are {n_inputs} inputs only")
        if self.nTrain <= self.nNeighbors:
            raise ValueError(f"nTrain is {self.nTrain}, too few for nNeighbors = {self.nNeighbors}")
        for name, least in (("smoothness", 0.5), ("lengthScale", 1e-6), ("noise", 1e-10)):
            low, high = getattr(self, f"{name}Bounds")
            if not least <= low < high:
                raise ValueError(f"{name}Bounds are {low} and {high}; they must rise from {least:g} or more")
