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

__all__ = ("FEATURES", "FEATURES_VERSION", "LogisticClassifier", "LogisticConfig", "LogisticSettings")

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lsst.pex.config import registerConfigurable

from ..cutouts import CutoutSettings
from ..model_settings import ModelSettings, SettingsError, setting
from ..samples import FootprintSamples
from ._facts import FEATURES, FEATURES_VERSION
from ._logistic_fits import fit_centred, fit_forms, softmax, standardize
from .base import N_CLASSES, BlendClassifier, BlendClassifierConfig
from .fitting import FitOptions, LabelledSamples, prior_correction
from .registry import classifier_registry


class LogisticConfig(BlendClassifierConfig):
    """Config of `LogisticClassifier`."""

    def setDefaults(self) -> None:
        super().setDefaults()
        self.modelPackage = "logistic-i-1"


@dataclass(frozen=True, kw_only=True)
class LogisticSettings(ModelSettings):
    """Settings of `LogisticClassifier`."""

    cutout: CutoutSettings = setting(CutoutSettings(), "How cutouts are made.")
    n_components: int = setting(16, "Number of principal components.", at_least=1)
    features: tuple[str, ...] = setting(
        (
            "log_area",
            "log_area_detected",
            "log_significance",
            "log_second_significance",
            "n_peaks",
            "log_peaks",
            "one_peak",
            "sky_level",
        ),
        f"Numbers appended to the components; any of {', '.join(FEATURES)}.",
        choices=FEATURES,
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
    inputs_version: ClassVar[int] = FEATURES_VERSION

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
        columns = [FEATURES[name](samples) for name in self.settings.features]
        return np.column_stack([np.asarray(scores, dtype=np.float64), *columns])

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
                intercepts = intercepts + np.log(prior_correction(classes, weights))
                intercepts = _match_shares(inputs @ coefficients, intercepts, classes)
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
                intercepts = intercepts + np.log(prior_correction(classes, weights))
                intercepts = _match_shares(inputs @ coefficients, intercepts, classes)
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
        return softmax(self.inputs(samples) @ state["coefficients"] + state["intercepts"])

    def find_flags(self, samples: FootprintSamples) -> dict[str, np.ndarray]:
        return super().find_flags(samples) | samples.cutout_flags(self.settings.cutout)


def _match_shares(logits: np.ndarray, intercepts: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Shift intercepts until the mean probabilities are the shares of the classes.

    A fit without weights has this property at its maximum; one with weights has
    it only as far as its form is true, after the correction by Bayes' theorem.
    """
    share = np.bincount(classes, minlength=N_CLASSES) / len(classes)
    there = share > 0.0
    for _ in range(200):
        mean = softmax(logits + intercepts).mean(axis=0)
        if np.abs(mean - share).max() < 1e-9:
            break
        intercepts = intercepts.copy()
        intercepts[there] += np.log(share[there] / mean[there])
    return intercepts
