# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""P(N) from yes-or-no questions, each answered by a classifier of its own.

A classifier that tells blended from unblended footprints is taught four questions: whether there is more than
one galaxy; of those without, whether there is one; of those with, whether there are more than two; and of
these, whether there are more than three.  Each question is asked only where the answers before leave it open,
so that the products of the answers are probabilities whatever the answers are (nested dichotomies; Frank &
Kramer 2004, Proc. ICML 21, 39), and P(blended) is that of the classifier itself.
"""

from __future__ import annotations

__all__ = ("QUESTIONS", "HierarchyClassifier", "HierarchySettings", "combine_answers")

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from lsst.pex.config import registerConfigurable

from ..model_package import ModelPackage, ModelPackageError
from ..model_settings import ModelSettings, SettingsError, setting
from ..samples import FootprintSamples
from ._members import merge_flags, pack_members, unpack_members
from .base import BlendClassifier, BlendClassifierConfig, classifier_registry, split_probabilities
from .fitting import FitOptions, LabelledSamples


@dataclasses.dataclass(frozen=True)
class Question:
    """A question about the number of galaxies N.

    Parameters
    ----------
    low, high
        Footprints that it is about have N from ``low`` to ``high``.
    more_than
        The answer is yes for a larger N than this.
    """

    low: int
    high: int
    more_than: int

    def ask(self, labelled: LabelledSamples) -> LabelledSamples:
        """Take the footprints that it is about, with numbers that make a classifier of blends answer it.

        These are 2 for yes and 1 for no.
        """
        some = labelled.select((labelled.counts >= self.low) & (labelled.counts <= self.high))
        answers = np.where(some.counts > self.more_than, 2, 1)
        return dataclasses.replace(some, counts=answers, centers=None)


_ANY = np.iinfo(np.int64).max

QUESTIONS: dict[str, Question] = {
    "several": Question(0, _ANY, 1),
    "one": Question(0, 1, 0),
    "three": Question(2, _ANY, 2),
    "four": Question(3, _ANY, 3),
}
"""The questions, by a name that says of what number N is at least if the answer is yes."""

_LEAST = 10
"""Fewest footprints with either answer that a question is learned from; else their share answers it."""


def combine_answers(answers: Mapping[str, np.ndarray]) -> np.ndarray:
    """P(N), float64 (n, 5), from the probabilities (n,) of yes to each of `QUESTIONS`; NaN where one is."""
    several, one, three, four = (np.asarray(answers[name], dtype=np.float64) for name in QUESTIONS)
    p = np.column_stack(
        [
            (1.0 - several) * (1.0 - one),
            (1.0 - several) * one,
            several * (1.0 - three),
            several * three * (1.0 - four),
            several * three * four,
        ]
    )
    return np.where(np.isfinite(p).all(axis=1, keepdims=True), p, np.nan)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HierarchySettings(ModelSettings):
    """Settings of `HierarchyClassifier`."""

    member: str = setting("logistic", "Classifier that answers the questions, with its default settings.")
    member_settings: ModelSettings | None = setting(
        None,
        "Other settings of it; only from Python.  A trained hierarchy has its members inside, and theirs.",
        stored=False,
    )

    def check(self) -> None:
        if self.member not in classifier_registry:
            raise SettingsError(f"member: {classifier_registry.describe_unknown(self.member)}")
        member = classifier_registry[self.member]
        if self.member in ("hierarchy", "ensemble") or member.needs_centers:
            raise SettingsError(
                f"member: {self.member!r} does not learn from labels of footprints alone and cannot answer "
                "questions about them; take one that does, such as 'muygps'"
            )
        if self.member_settings is not None and type(self.member_settings) is not member.SettingsClass:
            raise SettingsError(f"member_settings are no {member.SettingsClass.__name__}")


@registerConfigurable("hierarchy", classifier_registry)
class HierarchyClassifier(BlendClassifier):
    """P(N) by a hierarchy of classifiers with two classes.

    Parameters
    ----------
    config, settings, package
        As of `BlendClassifier`.
    """

    SettingsClass: ClassVar[type[ModelSettings]] = HierarchySettings
    name: ClassVar[str] = "hierarchy"
    # As far as its member does.
    needs_planes: ClassVar[bool] = True

    def __init__(
        self,
        config: BlendClassifierConfig | None = None,
        *,
        settings: ModelSettings | None = None,
        package: ModelPackage | None = None,
    ) -> None:
        self._members: dict[str, BlendClassifier] = {}
        self._shares: dict[str, float] = {}
        """Share of yes, for questions that no classifier could be taught."""
        super().__init__(config, settings=settings, package=package)

    def _new_member(self) -> BlendClassifier:
        cls = classifier_registry[self.settings.member]
        return cls(settings=self.settings.member_settings or cls.SettingsClass())

    def check_fit(self, *, goes_on: bool = False) -> None:
        # Fine-tuning calibrates what the members say; none of them is fitted.
        if not goes_on:
            self._new_member().check_fit()

    def prepare(self, samples: FootprintSamples) -> bool:
        # All members have the same settings.
        return self._new_member().prepare(samples)

    @classmethod
    def settings_from_package(cls, package: ModelPackage) -> HierarchySettings:
        settings: HierarchySettings = super().settings_from_package(package)
        first = unpack_members(package, ["several"])["several"]
        if first.classifier != settings.member:
            raise ModelPackageError(f"{package.source} lacks member 'several'; train it anew")
        cls_of_member = classifier_registry[settings.member]
        return dataclasses.replace(settings, member_settings=cls_of_member.settings_from_package(first))

    def _fit(self, train: LabelledSamples, validation: LabelledSamples | None, options: FitOptions) -> None:
        # What depends on all footprints of an image has to be there before some are chosen.
        self.prepare(train.samples)
        if validation is not None:
            self.prepare(validation.samples)
        self._members, self._shares = {}, {}
        for name, question in QUESTIONS.items():
            asked = question.ask(train)
            n_yes = np.count_nonzero(asked.blended)
            if name != "several" and min(n_yes, len(asked.counts) - n_yes) < _LEAST:
                # One more of each, so that no answer is certain.
                self._shares[name] = float((n_yes + 1) / (len(asked.counts) + 2))
                options.say(f"{name}: {len(asked.counts)} footprints are too few to learn from")
                continue
            options.say(f"{name}: {len(asked.counts)} footprints, {n_yes} with yes")
            held_out = None if validation is None else question.ask(validation)
            if held_out is not None and len(np.unique(held_out.blended)) < 2:
                # There is nothing to stop early by.
                held_out = None
            member = self._new_member()
            member.fit(asked, held_out, _in_folder(options, name))
            self._members[name] = member
            self.history |= {f"{name}_{curve}": values for curve, values in member.history.items()}
        self._state = {"shares": np.array([self._shares.get(name, np.nan) for name in QUESTIONS])}

    def predict(self, samples: FootprintSamples) -> np.ndarray:
        self._learned()
        answers = {name: np.full(len(samples), share) for name, share in self._shares.items()}
        for name, member in self._members.items():
            answers[name], _ = split_probabilities(member.predict(samples))
        return combine_answers(answers)

    def find_flags(self, samples: FootprintSamples) -> dict[str, np.ndarray]:
        flags = super().find_flags(samples)
        if "several" not in self._members:
            return flags
        return merge_flags(flags, self._members["several"].find_flags(samples))

    def _load(self, package: ModelPackage) -> None:
        self._check_package(package)
        packages = unpack_members(package, list(QUESTIONS), optional=True)
        # Members come before the rest is read: which questions have none tells what shares are there.
        member = self.settings_from_package(package).member
        self._members = {}
        for name, packed in packages.items():
            if packed.classifier != member:
                raise ModelPackageError(f"{package.source} lacks member {name!r}; train it anew")
            self._members[name] = classifier_registry[member].from_package(packed)
        super()._load(package)

    def to_package(self, name: str = "unnamed", **metadata: Any) -> ModelPackage:
        package = super().to_package(name, **metadata)
        pack_members(package, {key: member.to_package(key) for key, member in self._members.items()})
        return package

    def _set_state(self, arrays: dict[str, np.ndarray]) -> None:
        shares = np.asarray(arrays["shares"], dtype=np.float64)
        if shares.shape != (len(QUESTIONS),):
            raise ValueError(f"shares has shape {shares.shape}, not {(len(QUESTIONS),)}")
        known = dict(zip(QUESTIONS, map(float, shares), strict=True))
        self._state = {"shares": shares}
        self._shares = {name: share for name, share in known.items() if name not in self._members}
        if "several" in self._shares or not all(0.0 < share < 1.0 for share in self._shares.values()):
            raise ValueError("shares do not answer the questions that no member answers")


def _in_folder(options: FitOptions, name: str) -> FitOptions:
    """Options of the fit of one question, with a folder of its own."""
    if options.folder is None:
        return options
    folder = options.folder / name
    folder.mkdir(parents=True, exist_ok=True)
    return dataclasses.replace(options, folder=folder)
