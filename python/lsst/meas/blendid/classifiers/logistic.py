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

__all__ = ("FEATURES", "FEATURES_VERSION", "LogisticClassifier", "LogisticConfig")

from typing import ClassVar

import numpy as np

from lsst.pex.config import ConfigField, Field, ListField, registerConfigurable

from .._arrays import check_array
from ..cutouts import CutoutConfig
from ..samples import FootprintSamples
from ._centred_regression import fit_centred
from ._facts import FEATURES, FEATURES_VERSION
from ._multinomial import fit_forms, softmax, standardize
from .base import N_CLASSES, BlendClassifier, BlendClassifierConfig
from .fit_options import FitOptions
from .registry import classifier_registry
from .weighting import check_counts, prior_correction


class LogisticConfig(BlendClassifierConfig):
    """Config of `LogisticClassifier`."""

    cutout: ConfigField[CutoutConfig] = ConfigField(doc="How cutouts are made.", dtype=CutoutConfig)
    nComponents: Field[int] = Field(
        doc="Number of principal components.", dtype=int, default=16, optional=False, check=lambda x: x > 0
    )
    features: ListField[str] = ListField(
        doc=f"Numbers appended to the components; any of {', '.join(FEATURES)}.",
        dtype=str,
        default=[
            "log_area",
            "log_area_detected",
            "log_significance",
            "log_second_significance",
            "n_peaks",
            "log_peaks",
            "one_peak",
            "sky_level",
        ],
        itemCheck=lambda x: x in FEATURES,
    )
    regularization: Field[float] = Field(
        doc="Inverse strength of the L2 penalty (C of scikit-learn), on standardised inputs.",
        dtype=float,
        default=1.0,
        optional=False,
        check=lambda x: x > 0.0,
    )

    def setDefaults(self) -> None:
        super().setDefaults()
        self.modelPackage = "logistic-i-1"

    def validate(self) -> None:
        super().validate()
        if self.nComponents > self.cutout.size**2:
            raise ValueError(
                f"nComponents is {self.nComponents}, more than the {self.cutout.size**2} pixels of a cutout"
            )
        if len(set(self.features)) != len(self.features):
            raise ValueError(f"features has repeated names: {', '.join(self.features)}")


@registerConfigurable("logistic", classifier_registry)
class LogisticClassifier(BlendClassifier):
    """P(N) by multinomial logistic regression on principal components.

    Parameters
    ----------
    *args, **kwargs
        As of `BlendClassifier`.
    """

    ConfigClass: ClassVar[type[BlendClassifierConfig]] = LogisticConfig
    name: ClassVar[str] = "logistic"
    can_start: ClassVar[bool] = True
    inputs_version: ClassVar[int] = FEATURES_VERSION

    _state: dict[str, np.ndarray] | None = None

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the learned arrays."""
        pixels, k = self.config.cutout.size**2, self.config.nComponents
        inputs = k + len(self.config.features)
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
        return samples.cutouts(self.config.cutout).reshape(len(samples), self.config.cutout.size**2)

    def _append_features(self, scores: np.ndarray, samples: FootprintSamples) -> np.ndarray:
        """Scores of the components and features side by side: float64 of shape (n, inputs)."""
        columns = [FEATURES[name](samples) for name in self.config.features]
        return np.column_stack([np.asarray(scores, dtype=np.float64), *columns])

    def fit(
        self,
        samples: FootprintSamples,
        counts: np.ndarray,
        *,
        weights: np.ndarray | None = None,
        options: FitOptions | None = None,
    ) -> None:
        from sklearn.decomposition import PCA
        from threadpoolctl import threadpool_limits

        self.config.validate()
        counts = check_counts(samples, counts, weights)
        if options is not None and options.start is not None:
            self._fit_further(samples, counts, weights, options)
            return
        pixels = self._pixels(samples)
        use = np.isfinite(pixels).all(axis=1)
        if np.count_nonzero(use) <= self.config.nComponents:
            raise ValueError(
                f"{np.count_nonzero(use)} usable footprints are too few "
                f"for {self.config.nComponents} components; give more, or set nComponents to fewer"
            )
        classes = np.minimum(counts, N_CLASSES - 1)[use]
        weights = None if weights is None else np.asarray(weights, dtype=np.float64)[use]
        # One thread: the sums are then made in one order, and the result is the
        # same to the bit every time.
        with threadpool_limits(limits=1):
            pca = PCA(self.config.nComponents, svd_solver="covariance_eigh").fit(
                pixels[use].astype(np.float64)
            )
            mean, components = pca.mean_.astype(np.float32), pca.components_.astype(np.float32)
            inputs = self._append_features((pixels - mean) @ components.T, samples)[use]
            finite = np.isfinite(inputs).all(axis=1)
            inputs, classes = inputs[finite], classes[finite]
            weights = None if weights is None else weights[finite]
            center, scale = standardize(inputs)
            inputs = (inputs - center) / scale
            coefficients, intercepts = fit_forms(inputs, classes, self.config.regularization, weights)
            if weights is not None:
                intercepts = intercepts + np.log(prior_correction(classes, weights))
                intercepts = _match_shares(inputs @ coefficients, intercepts, classes)
        self._record_prior(counts[use][finite])
        self._state = {
            "pixel_mean": mean,
            "components": components,
            "input_mean": center,
            "input_scale": scale,
            "coefficients": coefficients,
            "intercepts": intercepts,
        }

    def _fit_further(
        self, samples: FootprintSamples, counts: np.ndarray, weights: np.ndarray | None, options: FitOptions
    ) -> None:
        """Fit to a few labels, drawn towards a trained model, whose components and scales stay."""
        from threadpoolctl import threadpool_limits

        assert options.start is not None
        old = type(self).from_package(options.start, self.config)
        assert old._state is not None
        with threadpool_limits(limits=1):
            inputs = old.inputs(samples)
            finite = np.isfinite(inputs).all(axis=1)
            if not finite.any():
                raise ValueError(
                    f"none of the {len(counts)} footprints is usable: all have pixels or "
                    "features that are not finite"
                )
            inputs, classes = inputs[finite], np.minimum(counts, N_CLASSES - 1)[finite]
            weights = None if weights is None else np.asarray(weights, dtype=np.float64)[finite]
            coefficients, intercepts, strength = fit_centred(
                inputs,
                classes,
                old._state["coefficients"],
                old._state["intercepts"],
                weights=weights,
                seed=options.seed,
            )
            if weights is not None:
                intercepts = intercepts + np.log(prior_correction(classes, weights))
                intercepts = _match_shares(inputs @ coefficients, intercepts, classes)
        options.say(f"logistic: {len(classes)} footprints, penalty {strength:g} towards {options.start.name}")
        self._record_prior(counts[finite])
        self._state = old._state | {"coefficients": coefficients, "intercepts": intercepts}

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
        self._require_model(self._state is not None)
        assert self._state is not None
        scores = (self._pixels(samples) - self._state["pixel_mean"]) @ self._state["components"].T
        inputs = self._append_features(scores, samples)
        return (inputs - self._state["input_mean"]) / self._state["input_scale"]

    def prepare(self, samples: FootprintSamples) -> bool:
        samples.cutouts(self.config.cutout)
        return True

    def predict(self, samples: FootprintSamples) -> np.ndarray:
        inputs = self.inputs(samples)
        assert self._state is not None
        return softmax(inputs @ self._state["coefficients"] + self._state["intercepts"])

    def find_flags(self, samples: FootprintSamples) -> dict[str, np.ndarray]:
        return super().find_flags(samples) | samples.cutout_flags(self.config.cutout)

    def _get_state(self) -> dict[str, np.ndarray]:
        self._require_model(self._state is not None)
        assert self._state is not None
        return dict(self._state)

    def _set_state(self, arrays: dict[str, np.ndarray]) -> None:
        state = {name: arrays[name] for name in self._shapes()}
        for name, shape in self._shapes().items():
            check_array(name, state[name], shape, positive=name == "input_scale")
        self._state = state


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
