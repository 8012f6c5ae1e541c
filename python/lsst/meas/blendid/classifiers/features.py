# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.
"""Boosted trees on features of footprints.

The features are measured for all footprints of an image at once (`.features`), some of them of the field
that the image shows, so that one model can hold for galaxies, seeing and depths of many kinds.
"""

from __future__ import annotations

__all__ = ("FeaturesClassifier", "FeaturesConfig")

import hashlib
from typing import ClassVar

import numpy as np

from lsst.pex.config import Field, ListField, RangeField, registerConfigurable

from ..features import (
    FEATURE_DOCS,
    FEATURE_NAMES,
    FEATURES_VERSION,
    TWO_COMPONENT_COLUMNS,
    measure_features,
)
from ..labels import N_CLASSES
from ..samples import FootprintSamples
from ._tree_tuning import tune_trees
from .base import BlendClassifier, BlendClassifierConfig
from .fit_options import FitOptions
from .registry import classifier_registry
from .trees import (
    TREE_ARRAYS,
    TreeSettings,
    average_trees,
    fit_trees,
    nested_probabilities,
    predict_trees,
    raw_scores,
    validate_trees,
)
from .weighting import check_counts, prior_correction

_LEAST_OF_A_KIND = 10
"""Blended and other footprints that are needed at least."""


class FeaturesConfig(BlendClassifierConfig):
    """Config of `FeaturesClassifier`."""

    features: ListField[str] = ListField(
        doc="Names of the features, of those in FEATURE_DOCS.",
        dtype=str,
        default=list(FEATURE_NAMES),
        itemCheck=lambda x: x in FEATURE_DOCS,
    )
    learningRate = RangeField(
        doc="Factor on what each tree adds.",
        dtype=float,
        default=0.05,
        min=0.0,
        max=1.0,
        inclusiveMin=False,
        inclusiveMax=True,
    )
    iterations: Field[int] = Field(
        doc="Number of trees of each class, at most.",
        dtype=int,
        default=600,
        optional=False,
        check=lambda x: x > 0,
    )
    leaves: Field[int] = Field(
        doc="Leaves of a tree, at most.",
        dtype=int,
        default=31,
        optional=False,
        check=lambda x: 2 <= x <= 1000,
    )
    depth: Field[int] = Field(
        doc="Depth of a tree, at most.", dtype=int, default=8, optional=False, check=lambda x: x > 0
    )
    leastSamples: Field[int] = Field(
        doc="Footprints in a leaf, at least.", dtype=int, default=60, optional=False, check=lambda x: x > 0
    )
    regularization: Field[float] = Field(
        doc="L2 penalty on the values of leaves.",
        dtype=float,
        default=10.0,
        optional=False,
        check=lambda x: x >= 0.0,
    )
    featureShare = RangeField(
        doc="Share of the features that each split may look at.",
        dtype=float,
        default=0.3,
        min=0.0,
        max=1.0,
        inclusiveMin=False,
        inclusiveMax=True,
    )
    patience: Field[int] = Field(
        doc="Iterations without a better loss on validation footprints after which no more trees are made; "
        "0 for all.",
        dtype=int,
        default=30,
        optional=False,
        check=lambda x: x >= 0,
    )
    members: Field[int] = Field(
        doc="Models with other seeds whose scores are averaged.",
        dtype=int,
        default=1,
        optional=False,
        check=lambda x: 1 <= x <= 20,
    )

    def setDefaults(self) -> None:
        super().setDefaults()
        self.modelPackage = "features-i-1"

    def validate(self) -> None:
        super().validate()
        if not self.features:
            raise ValueError("features is empty; name one at least")
        if len(set(self.features)) != len(self.features):
            raise ValueError("features has repeated names")

    def tree_settings(self) -> TreeSettings:
        """Collect the settings of the fit.

        Returns
        -------
        settings
            The settings.
        """
        return TreeSettings(
            learning_rate=self.learningRate,
            iterations=self.iterations,
            leaves=self.leaves,
            depth=self.depth,
            least_samples=self.leastSamples,
            regularization=self.regularization,
            feature_share=self.featureShare,
            patience=self.patience,
        )


@registerConfigurable("features", classifier_registry)
class FeaturesClassifier(BlendClassifier):
    """P(N) by boosted trees on features of footprints.

    Parameters
    ----------
    *args, **kwargs
        As of `BlendClassifier`.
    """

    ConfigClass: ClassVar[type[BlendClassifierConfig]] = FeaturesConfig
    name: ClassVar[str] = "features"
    can_start: ClassVar[bool] = True
    inputs_version: ClassVar[int] = FEATURES_VERSION

    _trees: dict[str, np.ndarray] | None = None

    def _usable(self, x: np.ndarray) -> np.ndarray:
        """Rows that can be classified, bool of shape (n,).  Fits of two components do not suffice."""
        measured = [name not in TWO_COMPONENT_COLUMNS for name in self.config.features]
        return ~np.isnan(x[:, measured] if any(measured) else x).all(axis=1)

    def inputs(self, samples: FootprintSamples) -> np.ndarray:
        """Measure the features that the config names.

        Parameters
        ----------
        samples
            The n footprints.

        Returns
        -------
        features : `numpy.ndarray`, shape (n, features), float32
            The features; all of a row but fits of two components are NaN where the footprint has pixels
            that are not finite.
        """
        return measure_features(samples, list(self.config.features))

    def fit(
        self,
        samples: FootprintSamples,
        counts: np.ndarray,
        *,
        weights: np.ndarray | None = None,
        options: FitOptions | None = None,
    ) -> None:
        self.config.validate()
        options = FitOptions() if options is None else options
        counts = check_counts(samples, counts, weights)
        x = self.inputs(samples)
        use = self._usable(x)
        x, counts = x[use], counts[use]
        weights = None if weights is None else np.asarray(weights, dtype=np.float64)[use]
        self._require_both(counts)
        if options.start is not None:
            self._fine_tune(x, counts, weights, options)
        else:
            self._fit_new(x, counts, weights, options)
        self._record_prior(counts)

    def _require_both(self, counts: np.ndarray) -> None:
        """Refuse too few usable footprints of either kind."""
        blended = int(np.count_nonzero(counts > 1))
        least = min(blended, counts.size - blended)
        if least < _LEAST_OF_A_KIND:
            raise ValueError(
                f"{blended} of {counts.size} usable training footprints are blended; trees need at least "
                f"{_LEAST_OF_A_KIND} of both kinds: use more scenes"
            )

    def _fit_new(
        self, x: np.ndarray, counts: np.ndarray, weights: np.ndarray | None, options: FitOptions
    ) -> None:
        held_out = None
        if options.validation is not None:
            held_x = self.inputs(options.validation.samples)
            good = self._usable(held_x)
            held_out = held_x[good], np.asarray(options.validation.counts)[good]
        members = []
        self.history = {}
        for member in range(self.config.members):
            curves: dict[str, list[float]] = {}
            trees = fit_trees(
                x,
                counts,
                weights=weights,
                validation=held_out,
                settings=self.config.tree_settings(),
                seed=options.seed + member,
                history=curves,
                say=options.say,
            )
            members.append(trees)
            suffix = f"_{member}" if member else ""
            self.history |= {name + suffix: values for name, values in curves.items()}
        self._trees = average_trees(members)
        self._undo_weights(x, counts, weights)

    def _fine_tune(
        self, x: np.ndarray, counts: np.ndarray, weights: np.ndarray | None, options: FitOptions
    ) -> None:
        assert options.start is not None
        start = type(self).from_package(options.start)
        if list(start.config.features) != list(self.config.features):
            raise ValueError("the model to start from has other features; give this one the same config")
        assert start._trees is not None
        self._trees = tune_trees(start._trees, x, counts, weights=weights)
        self._undo_weights(x, counts, weights)
        options.say(f"fine-tuned on {counts.size} footprints")

    def _undo_weights(self, x: np.ndarray, counts: np.ndarray, weights: np.ndarray | None) -> None:
        """Take the probabilities of a fit with weights to the natural shares."""
        assert self._trees is not None
        if weights is not None:
            factors = _match_shares(raw_scores(self._trees, x), prior_correction(counts, weights), counts)
            self._trees = self._trees | {"class_factors": factors}

    def prepare(self, samples: FootprintSamples) -> bool:
        self.inputs(samples)
        return True

    def predict(self, samples: FootprintSamples) -> np.ndarray:
        self._require_model(self._trees is not None)
        assert self._trees is not None
        trees = self._trees
        x = self.inputs(samples)

        def predict(index: int) -> np.ndarray:
            rows = x[slice(*samples.offsets[index : index + 2])]
            probabilities = predict_trees(trees, rows)
            probabilities[~self._usable(rows)] = np.nan
            return probabilities

        # A model may be run twice, by itself and as a member of an ensemble.
        return np.concatenate([np.zeros((0, N_CLASSES)), *samples.find_each(self._key(), predict)])

    def _key(self) -> tuple[object, ...]:
        """What probabilities are kept under: all that they depend on."""
        assert self._trees is not None
        digest = hashlib.blake2b(digest_size=16)
        for name in TREE_ARRAYS:
            digest.update(np.ascontiguousarray(self._trees[name]).tobytes())
        return ("features probabilities", *self.config.features, digest.digest())

    def _get_state(self) -> dict[str, np.ndarray]:
        self._require_model(self._trees is not None)
        assert self._trees is not None
        return {name: self._trees[name] for name in TREE_ARRAYS}

    def _set_state(self, arrays: dict[str, np.ndarray]) -> None:
        trees = validate_trees(arrays)
        if int(trees["n_features"][0]) != len(self.config.features):
            raise ValueError(
                f"the trees have {int(trees['n_features'][0])} features, "
                f"the config names {len(self.config.features)}"
            )
        self._trees = trees


def _match_shares(scores: np.ndarray, factors: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Change factors on the odds of classes until the mean probabilities are the shares of the classes.

    Bayes' theorem alone corrects a fit with weights only as far as the fit follows the data.
    """
    share = np.bincount(np.minimum(counts, N_CLASSES - 1), minlength=N_CLASSES) / counts.size
    there = share > 0.0
    factors = np.array(factors, dtype=np.float64)
    for _ in range(200):
        mean = nested_probabilities(scores, factors).mean(axis=0)
        if np.abs(mean - share).max() < 1e-6:
            break
        factors[there] *= share[there] / mean[there]
        # Only their ratios matter.
        factors /= factors[there].max()
    return factors
