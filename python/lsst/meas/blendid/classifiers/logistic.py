# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""PCA of cutouts and logistic regression.

The linear classifier of Buchanan et al. 2022: principal components of the
cutouts and L2-regularised logistic regression.  A norm of one throws away how
bright and how large a footprint is, so a few numbers that keep it can be
appended to the components.  scikit-learn fits; prediction is plain NumPy.
"""

from __future__ import annotations

__all__ = ("LogisticClassifier", "LogisticConfig", "LogisticSettings")

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import softmax

from lsst.pex.config import registerConfigurable

from ..cutouts import CutoutSettings
from ..features.facts import FACT_NAMES, FACTS_VERSION, measure_facts
from ..model_settings import ModelSettings, SettingsError, setting
from ..samples import FootprintSamples
from ._logistic_fits import fit_centred, fit_forms, standardize
from .base import N_CLASSES, BlendClassifier, BlendClassifierConfig, classifier_registry
from .fitting import FitOptions, LabelledSamples, natural_factors


class LogisticConfig(BlendClassifierConfig):
    """Config of `LogisticClassifier`."""

    def setDefaults(self) -> None:
        super().setDefaults()
        self.modelPackage = "logistic-2"


@dataclass(frozen=True, kw_only=True)
class LogisticSettings(ModelSettings):
    """Settings of `LogisticClassifier`."""

    cutout: CutoutSettings = setting(CutoutSettings(), "How cutouts are made.")
    n_components: int = setting(16, "Number of principal components.", at_least=1)
    features: tuple[str, ...] = setting(
        FACT_NAMES,
        f"Numbers appended to the components; any of {', '.join(FACT_NAMES)}.",
        choices=FACT_NAMES,
        unique=True,
    )
    regularization: float = setting(
        1.0,
        "Inverse strength of the L2 penalty (C of scikit-learn), on standardised inputs.",
        more_than=0.0,
    )

    def check(self) -> None:
        if self.n_components > self.cutout.size**2:
            raise SettingsError(
                f"n_components is {self.n_components}, more than the {self.cutout.size**2} pixels of a cutout"
            )


@registerConfigurable("logistic", classifier_registry)
class LogisticClassifier(BlendClassifier):
    """P(N) by multinomial logistic regression on principal components.

    Parameters
    ----------
    *args, **kwargs
        As of `BlendClassifier`.
    """

    ConfigClass: ClassVar[type[BlendClassifierConfig]] = LogisticConfig
    SettingsClass: ClassVar[type[ModelSettings]] = LogisticSettings
    name: ClassVar[str] = "logistic"
    positive: ClassVar[tuple[str, ...]] = ("input_scale",)
    inputs_version: ClassVar[int] = FACTS_VERSION

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        pixels, k = self.settings.cutout.size**2, self.settings.n_components
        inputs = k + len(self.settings.features)
        return {
            "pixel_mean": (pixels,),
            "components": (k, pixels),
            "input_mean": (inputs,),
            "input_scale": (inputs,),
            "coefficients": (inputs, N_CLASSES),
            "intercepts": (N_CLASSES,),
        }

    def _pixels(self, samples: FootprintSamples) -> np.ndarray:
        """Cutouts as rows: float32 of shape (n, s * s)."""
        return samples.cutouts(self.settings.cutout).reshape(len(samples), self.settings.cutout.size**2)

    def _append_features(self, scores: np.ndarray, samples: FootprintSamples) -> np.ndarray:
        """Scores of the components and features side by side: float64 of shape (n, inputs)."""
        facts = measure_facts(samples, self.settings.features)
        return np.column_stack([np.asarray(scores, dtype=np.float64), facts])

    def _fit(
        self, train: LabelledSamples, validation: LabelledSamples | None, options: FitOptions
    ) -> np.ndarray:
        from sklearn.decomposition import PCA
        from threadpoolctl import threadpool_limits

        samples, weights = train.samples, train.weights
        pixels = self._pixels(samples)
        use = np.isfinite(pixels).all(axis=1)
        if np.count_nonzero(use) <= self.settings.n_components:
            raise ValueError(
                f"{np.count_nonzero(use)} usable footprints are too few "
                f"for {self.settings.n_components} components; give more, or set n_components to fewer"
            )
        classes = np.minimum(train.counts, N_CLASSES - 1)[use]
        weights = None if weights is None else weights[use]
        # One thread: the sums are then made in one order, and the result is the
        # same to the bit every time.
        with threadpool_limits(limits=1):
            pca = PCA(self.settings.n_components, svd_solver="covariance_eigh").fit(
                pixels[use].astype(np.float64)
            )
            mean, components = pca.mean_.astype(np.float32), pca.components_.astype(np.float32)
            inputs = self._append_features((pixels - mean) @ components.T, samples)[use]
            finite = np.isfinite(inputs).all(axis=1)
            inputs, classes = inputs[finite], classes[finite]
            weights = None if weights is None else weights[finite]
            center, scale = standardize(inputs)
            inputs = (inputs - center) / scale
            coefficients, intercepts = fit_forms(inputs, classes, self.settings.regularization, weights)
            if weights is not None:
                p_n = softmax(inputs @ coefficients + intercepts, axis=1)
                intercepts = intercepts + np.log(natural_factors(p_n, classes, weights))
        use[use] = finite
        self._state = {
            "pixel_mean": mean,
            "components": components,
            "input_mean": center,
            "input_scale": scale,
            "coefficients": coefficients,
            "intercepts": intercepts,
        }
        return use

    def _fine_tune(
        self, train: LabelledSamples, validation: LabelledSamples | None, options: FitOptions
    ) -> None:
        """Draw the coefficients towards those of the model, whose components and scales stay."""
        from threadpoolctl import threadpool_limits

        old = self._learned()
        with threadpool_limits(limits=1):
            inputs = self.inputs(train.samples)
            finite = np.isfinite(inputs).all(axis=1)
            if not finite.any():
                raise ValueError(
                    f"none of the {len(train.counts)} footprints is usable: all have pixels or "
                    "features that are not finite"
                )
            inputs, classes = inputs[finite], np.minimum(train.counts, N_CLASSES - 1)[finite]
            weights = None if train.weights is None else train.weights[finite]
            coefficients, intercepts, strength = fit_centred(
                inputs,
                classes,
                old["coefficients"],
                old["intercepts"],
                weights=weights,
                seed=options.seed,
            )
            if weights is not None:
                p_n = softmax(inputs @ coefficients + intercepts, axis=1)
                intercepts = intercepts + np.log(natural_factors(p_n, classes, weights))
        options.say(f"logistic: {len(classes)} footprints, penalty {strength:g} towards the model")
        self._record_prior(train.counts[finite])
        self._state = old | {"coefficients": coefficients, "intercepts": intercepts}

    def inputs(self, samples: FootprintSamples) -> np.ndarray:
        """Compute the standardised inputs of the regression.

        Parameters
        ----------
        samples
            The n footprints.

        Returns
        -------
        inputs : `numpy.ndarray`, shape (n, components + features), float64
            Components and features, standardised as in training.

        Raises
        ------
        RuntimeError
            Raised if there is no model.
        """
        state = self._learned()
        scores = (self._pixels(samples) - state["pixel_mean"]) @ state["components"].T
        inputs = self._append_features(scores, samples)
        return (inputs - state["input_mean"]) / state["input_scale"]

    def prepare(self, samples: FootprintSamples) -> bool:
        samples.cutouts(self.settings.cutout)
        return True

    def predict(self, samples: FootprintSamples) -> np.ndarray:
        state = self._learned()
        return softmax(self.inputs(samples) @ state["coefficients"] + state["intercepts"], axis=1)

    def find_flags(self, samples: FootprintSamples) -> dict[str, np.ndarray]:
        return super().find_flags(samples) | samples.cutout_flags(self.settings.cutout)
