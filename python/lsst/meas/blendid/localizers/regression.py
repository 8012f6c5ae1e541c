# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Positions by regression on an embedding of the footprint.

The coordinates of one, two or three objects are regressed on the principal components of the cutout and what
else a model of the classifier ``logistic`` sees of a footprint; how many there are is that model's P(N).  It
is the reference that maps of centres are to beat, and there where no map is.
"""

from __future__ import annotations

__all__ = ("RegressionLocalizer", "RegressionLocalizerConfig", "RegressionLocalizerSettings")

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from lsst.pex.config import Field, registerConfigurable

from .._arrays import check_array, digest_arrays
from ..centers import Candidates
from ..classifiers import FitOptions, LabelledSamples, LogisticClassifier
from ..model_package import ModelPackage, ModelPackageError
from ..model_settings import ModelSettings, setting
from ..samples import FootprintSamples
from .base import BlendLocalizerConfig, localizer_registry
from .object_localizer import ObjectLocalizer, ObjectLocalizerSettings

_MOST = 3
"""Most objects whose coordinates are regressed."""
_FEWEST = 40
"""Least number of footprints with as many objects that a regression is fitted to."""


class RegressionLocalizerConfig(BlendLocalizerConfig):
    """Config of `RegressionLocalizer`."""

    embeddingPackage: Field[str] = Field(
        doc="Model of the classifier logistic whose inputs footprints are embedded by: name of a shipped "
        "one, path or URI.  It must be the one that the localiser was trained with.",
        dtype=str,
        default="logistic-i-1",
        optional=False,
    )

    def setDefaults(self) -> None:
        super().setDefaults()
        self.modelPackage = "regression-localizer-i-1"


@dataclass(frozen=True, kw_only=True)
class RegressionLocalizerSettings(ObjectLocalizerSettings):
    """Settings of `RegressionLocalizer`."""

    n_hidden: int = setting(64, "Neurons of the hidden layer.", at_least=1)


@registerConfigurable("regression", localizer_registry)
class RegressionLocalizer(ObjectLocalizer):
    """Positions from regressors of coordinates.

    Parameters
    ----------
    *args, **kwargs
        As of `BlendLocalizer`.

    Raises
    ------
    ModelPackageError
        Raised, beside what `BlendLocalizer` raises it for, if the model of the embedding cannot be used or
        is not the one that the localiser was trained with.
    """

    ConfigClass: ClassVar[type[BlendLocalizerConfig]] = RegressionLocalizerConfig
    SettingsClass: ClassVar[type[ModelSettings]] = RegressionLocalizerSettings
    name: ClassVar[str] = "regression"

    _embedding: LogisticClassifier | None = None
    _regressors: dict[str, np.ndarray] | None = None

    @property
    def embedding(self) -> LogisticClassifier:
        """The classifier whose inputs are the embedding; its model is read when it is first asked for."""
        if self._embedding is None:
            package = ModelPackage.read(self.config.embeddingPackage)
            if (package.kind, package.classifier) != ("classifier", LogisticClassifier.name):
                raise ModelPackageError(
                    f"embeddingPackage {self.config.embeddingPackage!r} is a model of {package.kind} "
                    f"{package.classifier!r}; name one of the classifier 'logistic'"
                )
            self._embedding = LogisticClassifier.from_package(package)
        return self._embedding

    def check_fit(self, *, goes_on: bool = False) -> None:
        assert self.embedding is not None

    def _digest(self) -> str:
        """Checksum of what the embedding depends on."""
        arrays = self.embedding.to_package().arrays
        return digest_arrays({name: arrays[name] for name in sorted(arrays)}, dtype="<f8")

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the arrays of the regressors."""
        n_inputs = len(self.embedding.settings.features) + self.embedding.settings.n_components
        hidden = self.settings.n_hidden
        shapes: dict[str, tuple[int, ...]] = {}
        for k in range(1, _MOST + 1):
            shapes |= {
                f"hidden{k}_kernel": (n_inputs, hidden),
                f"hidden{k}_bias": (hidden,),
                f"places{k}_kernel": (hidden, 2 * k),
                f"places{k}_bias": (2 * k,),
                f"variance{k}": (k,),
            }
        return shapes

    def _middle(self, samples: FootprintSamples) -> np.ndarray:
        """Middle of each footprint's box, which coordinates are counted from: shape (n, 2)."""
        bbox = samples.bbox.astype(np.float64)
        return 0.5 * (bbox[:, :2] + bbox[:, 2:])

    def prepare(self, samples: FootprintSamples) -> bool:
        # Objects are listed after the fit of the regressors, and need the significance at them.
        return False

    def _fit(self, train: LabelledSamples, galaxies: Sequence[np.ndarray], options: FitOptions) -> None:
        # Objects are listed where the regressors say that they are.
        self._regressors = self._fit_regressors(train.samples, galaxies, options)
        super()._fit(train, galaxies, options)
        self._state = self._learned() | self._regressors

    def _fit_regressors(
        self, samples: FootprintSamples, galaxies: Sequence[np.ndarray], options: FitOptions
    ) -> dict[str, np.ndarray]:
        """Regress the coordinates of as many objects as there are, the brightest first."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPRegressor

        rows, places = [], []
        for i, result in enumerate(samples.results):
            true = np.asarray(galaxies[i], dtype=np.float64).reshape(-1, 3)
            owner = result.footprints.find_at(true[:, 0], true[:, 1])
            order = np.lexsort((-true[:, 2], owner))
            order = order[owner[order] > 0]
            rows.append(owner[order] - 1 + samples.offsets[i])
            places.append(true[order, :2])
        row, place = np.concatenate(rows), np.concatenate(places)
        counts = np.bincount(row, minlength=len(samples))
        first = np.cumsum(counts) - counts
        inputs = self.embedding.inputs(samples)
        offset = (place - self._middle(samples)[row]) / samples.psf_sigma[row, None]
        finite = np.isfinite(inputs).all(axis=1)
        found: dict[str, np.ndarray] = {}
        for k in range(1, _MOST + 1):
            use = np.flatnonzero(finite & (counts == k))
            if len(use) < _FEWEST:
                raise ValueError(
                    f"{len(use)} footprints have {k} objects, at least {_FEWEST} are needed; use more scenes"
                )
            target = offset[first[use, None] + np.arange(k)].reshape(len(use), 2 * k)
            model = MLPRegressor(
                hidden_layer_sizes=(self.settings.n_hidden,),
                early_stopping=True,
                max_iter=300,
                random_state=options.seed,
            )
            with warnings.catch_warnings():
                # Of few footprints it may still gain a little at the end, which does no harm.
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(inputs[use], target)
            left = (model.predict(inputs[use]).reshape(target.shape) - target).reshape(-1, k, 2)
            found |= {
                f"hidden{k}_kernel": model.coefs_[0],
                f"hidden{k}_bias": model.intercepts_[0],
                f"places{k}_kernel": model.coefs_[1],
                f"places{k}_bias": model.intercepts_[1],
                f"variance{k}": np.maximum(np.square(left).mean(axis=(0, 2)), 1e-4),
            }
            options.say(
                f"{k} objects: {len(use)} footprints, variance {found[f'variance{k}'].round(3)} sigma²"
            )
        return found

    def find_candidates(self, samples: FootprintSamples) -> tuple[Candidates | None, ...]:
        state = self._learned() if self._regressors is None else self._regressors
        inputs = self.embedding.inputs(samples)
        p_n = np.asarray(self.embedding.predict(samples))
        middle, sigma = self._middle(samples), samples.psf_sigma
        usable = np.isfinite(inputs).all(axis=1) & np.isfinite(p_n).all(axis=1)
        inputs, p_n = np.where(usable[:, None], inputs, 0.0), np.where(usable[:, None], p_n, 0.0)
        # P(N >= k): with what probability there is a k-th object.
        at_least = np.cumsum(p_n[:, ::-1], axis=1)[:, ::-1]
        chosen = np.minimum(np.argmax(p_n, axis=1).clip(1), _MOST)
        parts = []
        for k in range(1, _MOST + 1):
            rows = np.flatnonzero(usable & (chosen == k))
            hidden = np.maximum(inputs[rows] @ state[f"hidden{k}_kernel"] + state[f"hidden{k}_bias"], 0.0)
            places = (hidden @ state[f"places{k}_kernel"] + state[f"places{k}_bias"]).reshape(len(rows), k, 2)
            places = middle[rows, None] + places * sigma[rows, None, None]
            variance = state[f"variance{k}"] * sigma[rows, None] ** 2
            p = at_least[rows, 1 : k + 1]
            parts.append(
                np.column_stack([np.repeat(rows, k), places.reshape(-1, 2), p.ravel(), variance.ravel()])
            )
        table = np.concatenate(parts)
        table = table[np.lexsort((-table[:, 3], table[:, 0]))]
        found: list[Candidates | None] = []
        for i in range(len(samples.results)):
            a, b = samples.offsets[i : i + 2]
            part = table[(table[:, 0] >= a) & (table[:, 0] < b)]
            row = (part[:, 0] - a).astype(np.int32)
            x, y, p, variance = part[:, 1:].astype(np.float32).T
            start = np.searchsorted(row, np.arange(b - a + 1)).astype(np.int64)
            found.append(Candidates(row, x, y, p, p, x, y, variance, variance, np.zeros_like(x), start))
        return tuple(found)

    def _get_metadata(self) -> dict[str, Any]:
        return super()._get_metadata() | {"embedding": self._digest()}

    def _set_metadata(self, metadata: dict[str, Any]) -> None:
        super()._set_metadata(metadata)
        if metadata.get("embedding") != self._digest():
            raise ModelPackageError(
                f"model {metadata['name']!r} was trained with the embedding of another model than "
                f"{self.config.embeddingPackage!r}; name that one in embeddingPackage"
            )

    def _set_state(self, arrays: dict[str, np.ndarray]) -> None:
        regressors = {name: np.asarray(arrays[name], dtype=np.float64) for name in self._shapes()}
        for name, shape in self._shapes().items():
            check_array(name, regressors[name], shape, positive=name.startswith("variance"))
        super()._set_state(arrays)
        self._regressors, self._state = regressors, self._learned() | regressors
