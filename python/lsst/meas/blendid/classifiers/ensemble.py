# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Several trained classifiers as one: what each sees and says, stacked and calibrated.

Classifiers that see footprints in different ways make different mistakes.  Their probabilities, the
footprint features and what they know beside (such as the best candidates of a map of centres) go into
stackers that are fitted to footprints which no member learned from.  A model has its members inside: one
file is all that it needs.
"""

from __future__ import annotations

__all__ = ("EnsembleClassifier", "EnsembleConfig", "EnsembleSettings")

import copy
import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from lsst.pex.config import ChoiceField, registerConfigurable

from .._package_format import array_to_bytes
from ..calibration import CALIBRATION_METHODS, fit_calibration
from ..features import FEATURE_NAMES, FEATURES_VERSION, measure_features
from ..features.facts import FACTS_VERSION, measure_facts
from ..footprints import DetectionResult
from ..model_package import ModelPackage, ModelPackageError, RangeViolation
from ..model_settings import ModelSettings, SettingsError, setting
from ..samples import FootprintSamples, SceneContext
from ._members import merge_flags, pack_members, unpack_members
from ._stack import StackInputs, StackSettings, fit_stack, member_columns, predict_stack, validate_stack
from .base import N_CLASSES, BlendClassifier, BlendClassifierConfig, classifier_registry, find_classifier
from .fitting import FitOptions, LabelledSamples
from .novelty import novelty_columns

_PRESENT = ("settings", "config", "columns", "prior", "calibration", "counts", "novelty")
"""What of a package is the state of the model; the rest tells where it came from."""

_FIRST_CONDITIONS = ("psf_sigma", "depth", "density", "multi_peak_share", "size_15_50", "size_40_50")
"""Those of packages that do not name theirs."""

_CONDITIONS = (
    *_FIRST_CONDITIONS,
    *("noise_correlation", "around_asymmetry", "around_symmetry", "around_size", "around_n_dog_fine"),
)
"""Features of the field that calibration may depend on: where galaxies are irregular or the PSF is wrong, the
same logit says less."""

_LOGARITHMIC = ("psf_sigma", "density")
"""Conditions that count by their logarithm."""


@runtime_checkable
class Describes(Protocol):
    """A classifier that knows more of a footprint than its probabilities."""

    def describe(self, samples: FootprintSamples) -> np.ndarray:
        """Give numbers for each footprint, shape (n, k), of one model always the same; NaN for none."""


class EnsembleConfig(BlendClassifierConfig):
    """Config of `EnsembleClassifier`."""

    views: ChoiceField[int] = ChoiceField(
        doc="Turned and mirrored images that members average over if they can, such as `centers` (test-time "
        "augmentation); each takes as long as the first one.",
        dtype=int,
        allowed={n: f"{n} views" for n in (1, 2, 4, 8)},
        default=1,
        optional=False,
    )

    def setDefaults(self) -> None:
        super().setDefaults()
        self.modelPackage = "ensemble-i-1"


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnsembleSettings(ModelSettings):
    """Settings of `EnsembleClassifier`."""

    old_names: ClassVar[Mapping[str, str | None]] = {
        "nFolds": "stack.n_folds",
        "nTrees": "stack.trees.n_trees",
        "nLeaves": "stack.trees.n_leaves",
        "learningRate": "stack.trees.learning_rate",
        "minSamples": "stack.trees.min_samples",
        "regularization": "stack.regularization",
    }

    members: tuple[str, ...] = setting(
        ("centers", "features"),
        "Classifiers that are put together, by name.",
        unique=True,
        length=(1, 100),
    )
    member_packages: tuple[str, ...] = setting(
        (),
        "Trained model of each member, in any order; names of shipped ones, paths or URIs.  A trained "
        "ensemble has its members inside.",
        stored=False,
    )
    use_features: bool = setting(True, "Whether the stackers see the footprint features, too.")
    stack: StackSettings = setting(StackSettings(), "Settings of the stackers.")
    calibration: str = setting(
        "beta",
        "Calibration, fitted to predictions out of fold (see `.calibration.Calibration`).",
        choices=CALIBRATION_METHODS,
    )

    def check(self) -> None:
        if "ensemble" in self.members:
            raise SettingsError("members: an ensemble cannot be a member of itself")
        for name in self.members:
            if name not in classifier_registry:
                raise SettingsError(f"members: {classifier_registry.describe_unknown(name)}")


@registerConfigurable("ensemble", classifier_registry)
class EnsembleClassifier(BlendClassifier):
    """P(N) by stacking.

    Parameters
    ----------
    config, settings, package
        As of `BlendClassifier`.
    members
        Trained members by name, for a fit; those of ``settings.member_packages`` if `None`.  They average
        over as many views as ``config.views`` says, whatever their own configs do.

    Raises
    ------
    ModelPackageError
        Raised, beside what `BlendClassifier` raises it for, if a member's model cannot be used.
    """

    ConfigClass: ClassVar[type[BlendClassifierConfig]] = EnsembleConfig
    SettingsClass: ClassVar[type[ModelSettings]] = EnsembleSettings
    name: ClassVar[str] = "ensemble"
    needs_planes: ClassVar[bool] = True
    known_columns: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **BlendClassifier.known_columns,
        "features": FEATURE_NAMES,
        "conditions": _CONDITIONS,
    }
    inputs_version: ClassVar[int] = 100 * FEATURES_VERSION + FACTS_VERSION

    def __init__(
        self,
        config: BlendClassifierConfig | None = None,
        *,
        settings: ModelSettings | None = None,
        package: ModelPackage | None = None,
        members: Mapping[str, BlendClassifier] | None = None,
    ) -> None:
        self._members: dict[str, BlendClassifier] = {}
        self._digest: str | None = None
        self._layout = np.zeros(0, dtype=np.int64)
        super().__init__(config, settings=settings, package=package)
        if self.package is None:
            given = self._read_members(self.settings.member_packages) if members is None else members
            self._members = {
                name: self._with_views(given[name]) for name in self.settings.members if name in given
            }

    def _read_members(self, packages: Sequence[str]) -> dict[str, BlendClassifier]:
        """Trained members from packages of their own."""
        found: dict[str, BlendClassifier] = {}
        for name in packages:
            package = ModelPackage.read(name)
            if package.classifier not in self.settings.members:
                raise ModelPackageError(
                    f"{package.source} is a model of classifier {package.classifier!r}, which is none of the "
                    f"members {', '.join(self.settings.members)}"
                )
            found[package.classifier] = find_classifier(package).from_package(package)
        return found

    def _make_member(self, package: ModelPackage) -> BlendClassifier:
        return self._with_views(find_classifier(package).from_package(package))

    def _with_views(self, member: BlendClassifier) -> BlendClassifier:
        """The same model with the views of the ensemble: what stackers learn from is what they will see."""
        if "views" in member.config.toDict():
            member = copy.copy(member)
            member.config = member.config.copy()
            member.config.views = self.config.views
        return member

    @property
    def members(self) -> dict[str, BlendClassifier]:
        """Trained members by name."""
        return dict(self._members)

    def _require_members(self) -> None:
        missing = [name for name in self.settings.members if name not in self._members]
        if missing:
            raise RuntimeError(
                f"classifier {self.name!r} has no trained member {', '.join(map(repr, missing))}: "
                "name a model of each member in member_packages"
            )

    def check_fit(self, *, goes_on: bool = False) -> None:
        if goes_on:
            return  # A model has its members inside.
        missing = [name for name in self.settings.members if name not in self._members]
        if missing:
            raise ValueError(
                f"the classifier {self.name!r} is put together from trained models, and has none of "
                f"{', '.join(map(repr, missing))}: name one of each, as in "
                "--set member_packages=centers-i-1,features-i-1"
            )

    def _load(self, package: ModelPackage) -> None:
        self._check_package(package)
        self._members, self._digest = {}, None
        names = self.settings_from_package(package).members
        for name, member in unpack_members(package, names).items():
            if member.classifier != name:
                raise ModelPackageError(f"{package.source} lacks member {name!r}; train it anew")
            self._members[name] = self._make_member(member)
        super()._load(package)

    def to_package(self, name: str = "unnamed", **metadata: Any) -> ModelPackage:
        package = super().to_package(name, **metadata)
        pack_members(package, {member: self._own_package(member) for member in self._members})
        return package

    def prepare(self, samples: FootprintSamples) -> bool:
        missing = [name for name in self.settings.members if name not in self._members]
        if not missing:
            # Of the images alone, so that what the members keep of them is forgotten again.
            self._gather(samples, share=False)
        return not missing

    def _key(self) -> tuple[object, ...]:
        """What inputs are kept under: all that they depend on."""
        if self._digest is None:
            digest = hashlib.sha256()
            for name in self.settings.members:
                member, package = self._members[name], self._own_package(name)
                model = [
                    name,
                    member.settings.to_dict(),
                    package.inputs.get("version"),
                    package.metadata.get("calibration"),
                ]
                model += [package.metadata[k] for k in ("counts", "columns") if package.metadata.get(k)]
                digest.update(json.dumps(model, sort_keys=True).encode())
                for key in sorted(package.arrays):
                    digest.update(key.encode() + array_to_bytes(package.arrays[key], key))
            self._digest = digest.hexdigest()
        columns = tuple(self.columns.items())
        return ("ensemble", self.settings.use_features, self.config.views, columns, self._digest)

    def _own_package(self, name: str) -> ModelPackage:
        """Package of a member as it is now: what it was read from may have been calibrated since.

        What is told of its training and its scores is that of the package it was read from, if there is one.
        """
        member = self._members[name]
        package = member.to_package()
        if member.package is not None:
            package.metadata.update({k: v for k, v in member.package.metadata.items() if k not in _PRESENT})
        return package

    @property
    def novelty_columns(self) -> tuple[str, ...]:
        features = self.columns["features"] if self.settings.use_features else ()
        return novelty_columns(features, self.columns["facts"])

    def _measure_novelty(self, samples: FootprintSamples, columns: Sequence[str]) -> np.ndarray:
        """They are among the inputs, which are kept when images are forgotten."""
        inputs, names = self.inputs(samples), self.columns["facts"]
        table = inputs.facts
        if self.settings.use_features and not set(columns) <= set(names):
            names = self.columns["features"]
            table = inputs.columns[:, -len(names) :]
        return table[:, [names.index(name) for name in columns]].astype(np.float64)

    def _gather(self, samples: FootprintSamples, *, share: bool) -> np.ndarray:
        """Rows of inputs, float32; ``share`` what members compute with whoever else has the samples."""
        # One image after the other.
        images = (samples if len(samples.results) == 1 else samples.alone(i) for i in count())

        def gather(result: DetectionResult, context: SceneContext) -> np.ndarray:
            return self._measure(next(images) if share else FootprintSamples([result], [context]))

        rows = samples.compute(self._key(), gather, np.zeros((0, 0), dtype=np.float32))
        # Kept beside the rows, which another ensemble of the same members may have made.
        self._layout = samples.compute_each((*self._key(), "layout"), lambda _r, _c: self._layout.copy())[0]
        return rows

    def _measure(self, samples: FootprintSamples) -> np.ndarray:
        """Columns of the members, facts and columns of the trees side by side."""
        members, columns = [], []
        for name in self.settings.members:
            member = self._members[name]
            members.append(member_columns(np.asarray(member.probabilities(samples), dtype=np.float64)))
            if isinstance(member, Describes):
                described = np.asarray(member.describe(samples))
                # Not -1 columns, which no rows tell nothing of.
                columns.append(described.reshape(len(samples), *described.shape[1:] or (1,)))
        facts = np.column_stack([measure_facts(samples, self.columns["facts"]), np.log(samples.psf_sigma)])
        if self.settings.use_features:
            columns.append(measure_features(samples, self.columns["features"]))
        widths = [block.shape[1] for block in (*members, facts)]
        self._layout = np.array(widths, dtype=np.int64)
        return np.hstack([*members, facts, *columns]).astype(np.float32)

    def inputs(self, samples: FootprintSamples) -> StackInputs:
        """Gather what the stackers see.

        Parameters
        ----------
        samples
            The n footprints.

        Returns
        -------
        inputs
            Columns of the n footprints.

        Raises
        ------
        RuntimeError
            Raised if a member is missing.
        """
        self._require_members()
        rows = self._gather(samples, share=True)
        edges = np.cumsum(self._layout)
        n_members = int(edges[-2])
        facts, columns = rows[:, n_members : int(edges[-1])], rows[:, int(edges[-1]) :]
        conditions = facts[:, -1:].astype(np.float64)
        if self.settings.use_features:
            names, chosen = self.columns["features"], self.columns["conditions"]
            features = columns[:, -len(names) :]
            conditions = features[:, [names.index(name) for name in chosen]].astype(np.float64)
            with np.errstate(divide="ignore", invalid="ignore"):
                conditions = np.where(np.isin(chosen, _LOGARITHMIC), np.log(conditions), conditions)
        return StackInputs(rows[:, :n_members], (0, *map(int, edges[:-2])), facts, columns, conditions)

    def _fit(
        self, train: LabelledSamples, validation: LabelledSamples | None, options: FitOptions
    ) -> np.ndarray:
        samples, counts = train.samples, train.counts
        inputs = self.inputs(samples)
        use = inputs.usable
        if not use.any():
            raise ValueError("the members have probabilities for none of the footprints")
        self._state, blended, self.history = fit_stack(
            inputs.rows(use),
            counts[use],
            train.group_by_sky(self.settings.stack.n_folds)[use],
            settings=self.settings.stack,
            weights=None if train.weights is None else train.weights[use],
            seed=options.seed,
            say=options.say,
        )
        self.calibration = fit_calibration(blended, counts[use] > 1, self.settings.calibration)
        return use

    def _fine_tune(
        self, train: LabelledSamples, validation: LabelledSamples | None, options: FitOptions
    ) -> None:
        """Calibrate anew: few footprints of another kind cannot teach stackers, but what these mean."""
        # Without weights, which never say what share is blended.
        self.fit_calibration(train.samples, train.counts, method="platt")

    def predict(self, samples: FootprintSamples) -> np.ndarray:
        stack = self._learned()
        if not samples.results:
            return np.zeros((0, N_CLASSES))
        return predict_stack(stack, self.inputs(samples))

    def find_violations(self, result: DetectionResult, context: SceneContext) -> tuple[RangeViolation, ...]:
        found: dict[tuple[str, str], RangeViolation] = {}
        for violation in super().find_violations(result, context) + tuple(
            v for member in self._members.values() for v in member.find_violations(result, context)
        ):
            # One quantity is told once, with the range that suits the mixture and all members.
            other = found.setdefault((violation.quantity, violation.unit), violation)
            low, high = max(violation.low, other.low), min(violation.high, other.high)
            found[violation.quantity, violation.unit] = dataclasses.replace(other, low=low, high=high)
        return tuple(found.values())

    def find_flags(self, samples: FootprintSamples) -> dict[str, np.ndarray]:
        members = self._members.values()
        return merge_flags(super().find_flags(samples), *(member.find_flags(samples) for member in members))

    def _choose_columns(self, named: object) -> dict[str, tuple[str, ...]]:
        if isinstance(named, dict):
            return super()._choose_columns({"conditions": list(_FIRST_CONDITIONS)} | named)
        return super()._choose_columns(named) | {"conditions": _FIRST_CONDITIONS}

    def _set_state(self, arrays: dict[str, np.ndarray]) -> None:
        conditions = self.columns["conditions"]
        if self.settings.use_features and (missing := set(conditions) - set(self.columns["features"])):
            raise ValueError(f"its columns of features lack {', '.join(sorted(missing))}")
        n_conditions = len(conditions) if self.settings.use_features else 1
        self._state = validate_stack(arrays, n_members=len(self.settings.members), n_conditions=n_conditions)
