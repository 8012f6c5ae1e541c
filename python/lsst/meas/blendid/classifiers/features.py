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

__all__ = ("FeaturesClassifier", "FeaturesConfig", "FeaturesSettings")

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lsst.pex.config import registerConfigurable

from .._arrays import digest_arrays
from ..features import (
    FEATURE_DOCS,
    FEATURE_NAMES,
    FEATURES_VERSION,
    TWO_COMPONENT_COLUMNS,
    measure_features,
)
from ..labels import N_CLASSES
from ..model_settings import ModelSettings, setting
from ..samples import FootprintSamples
from .base import BlendClassifier, BlendClassifierConfig, classifier_registry
from .fitting import FitOptions, LabelledSamples, natural_factors
from .novelty import novelty_columns
from .trees import (
    TREE_ARRAYS,
    TreeSettings,
    average_trees,
    fit_trees,
    nested_probabilities,
    predict_trees,
    raw_scores,
    tune_trees,
    validate_trees,
)

_LEAST_OF_A_KIND = 10
"""Blended and other footprints that are needed at least."""


class FeaturesConfig(BlendClassifierConfig):
    """Config of `FeaturesClassifier`."""

    def setDefaults(self) -> None:
        super().setDefaults()
        self.modelPackage = "features-2"


@dataclass(frozen=True, kw_only=True)
class FeaturesSettings(ModelSettings):
    """Settings of `FeaturesClassifier`."""

    old_names: ClassVar[Mapping[str, str | None]] = {
        "learningRate": "trees.learning_rate",
        "iterations": "trees.n_trees",
        "leaves": "trees.n_leaves",
        "depth": "trees.max_depth",
        "leastSamples": "trees.min_samples",
        "regularization": "trees.regularization",
        "featureShare": "trees.feature_share",
        "patience": "trees.patience",
        "members": "n_members",
    }

    features: tuple[str, ...] = setting(
        FEATURE_NAMES,
        "Names of the features, of those in FEATURE_DOCS.",
        choices=FEATURE_DOCS,
        unique=True,
        length=(1, 10_000),
    )
    trees: TreeSettings = setting(TreeSettings(n_trees=600), "Settings of the trees of each class.")
    n_members: int = setting(1, "Models with other seeds whose scores are averaged.", at_least=1, at_most=20)


@registerConfigurable("features", classifier_registry)
class FeaturesClassifier(BlendClassifier):
    """P(N) by boosted trees on features of footprints.

    Parameters
    ----------
    *args, **kwargs
        As of `BlendClassifier`.
    """

    ConfigClass: ClassVar[type[BlendClassifierConfig]] = FeaturesConfig
    SettingsClass: ClassVar[type[ModelSettings]] = FeaturesSettings
    name: ClassVar[str] = "features"
    inputs_version: ClassVar[int] = FEATURES_VERSION

    @property
    def novelty_columns(self) -> tuple[str, ...]:
        return novelty_columns(self.settings.features, self.columns["facts"])

    def _usable(self, x: np.ndarray) -> np.ndarray:
        """Rows that can be classified, bool of shape (n,).  Fits of two components do not suffice."""
        measured = [name not in TWO_COMPONENT_COLUMNS for name in self.settings.features]
        return ~np.isnan(x[:, measured] if any(measured) else x).all(axis=1)

    def inputs(self, samples: FootprintSamples) -> np.ndarray:
        """Measure the features that the settings name.

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
        return measure_features(samples, list(self.settings.features))

    def _fit(
        self, train: LabelledSamples, validation: LabelledSamples | None, options: FitOptions
    ) -> np.ndarray:
        use, x, counts, weights = self._take_usable(train)
        held_out = None
        if validation is not None:
            held_x = self.inputs(validation.samples)
            good = self._usable(held_x)
            held_out = held_x[good], validation.counts[good]
        members = []
        for member in range(self.settings.n_members):
            curves: dict[str, list[float]] = {}
            trees = fit_trees(
                x,
                counts,
                weights=weights,
                validation=held_out,
                settings=self.settings.trees,
                seed=options.seed + member,
                history=curves,
                say=options.say,
            )
            members.append(trees)
            suffix = f"_{member}" if member else ""
            self.history |= {name + suffix: values for name, values in curves.items()}
        self._state = _undo_weights(average_trees(members), x, counts, weights)
        return use

    def _fine_tune(
        self, train: LabelledSamples, validation: LabelledSamples | None, options: FitOptions
    ) -> None:
        """Change the values of leaves; the trees keep their form."""
        use, x, counts, weights = self._take_usable(train)
        tuned = tune_trees(self._learned(), x, counts, weights=weights)
        self._state = _undo_weights(tuned, x, counts, weights)
        self._record_prior(train.counts[use])
        options.say(f"fine-tuned on {counts.size} footprints")

    def _take_usable(
        self, train: LabelledSamples
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
        """Which footprints are usable, and features, counts and weights of these."""
        x = self.inputs(train.samples)
        use = self._usable(x)
        counts = train.counts[use]
        blended = int(np.count_nonzero(counts > 1))
        if min(blended, counts.size - blended) < _LEAST_OF_A_KIND:
            raise ValueError(
                f"{blended} of {counts.size} usable training footprints are blended; trees need at least "
                f"{_LEAST_OF_A_KIND} of both kinds: use more scenes"
            )
        return use, x[use], counts, None if train.weights is None else train.weights[use]

    def prepare(self, samples: FootprintSamples) -> bool:
        self.inputs(samples)
        return True

    def predict(self, samples: FootprintSamples) -> np.ndarray:
        trees = self._learned()
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
        trees = self._learned()
        digest = digest_arrays({name: trees[name] for name in TREE_ARRAYS})
        return ("features probabilities", *self.settings.features, digest)

    def _get_state(self) -> dict[str, np.ndarray]:
        trees = self._learned()
        return {name: trees[name] for name in TREE_ARRAYS}

    def _set_state(self, arrays: dict[str, np.ndarray]) -> None:
        trees = validate_trees(arrays)
        if int(trees["n_features"][0]) != len(self.settings.features):
            raise ValueError(
                f"the trees have {int(trees['n_features'][0])} features, "
                f"the settings name {len(self.settings.features)}"
            )
        self._state = trees


def _undo_weights(
    trees: dict[str, np.ndarray], x: np.ndarray, counts: np.ndarray, weights: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Take the probabilities of a fit with weights to the natural shares."""
    if weights is None:
        return trees
    p_n = nested_probabilities(raw_scores(trees, x))
    return trees | {"class_factors": natural_factors(p_n, counts, weights)}
