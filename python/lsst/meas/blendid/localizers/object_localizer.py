# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What localisers share that score objects: the peaks and candidates of footprints, each with its columns."""

from __future__ import annotations

__all__ = ("ObjectLocalizer", "ObjectLocalizerSettings")

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from ..centers import CONTEXT_NAMES, Candidates
from ..centers.inputs import compute_context
from ..classifiers import FitOptions, LabelledSamples
from ..footprints import DetectionResult
from ..model_settings import ModelSettings, setting
from ..peak_matching import GalaxyList
from ..samples import FootprintSamples, SceneContext
from .base import BlendLocalizer, BlendLocalizerSettings, Positions
from .consistency import TailFactor, several_mean
from .objects import OBJECT_COLUMNS, Objects, describe_objects, list_objects
from .scoring import ObjectScorer, ScorerSettings, label_objects

_FLOOR = 0.02
"""Variance of the position of a very bright peak [PSF sigma²]: half a tenth of a pixel, rounded profiles."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObjectLocalizerSettings(BlendLocalizerSettings):
    """Settings of localisers that score objects."""

    old_names: ClassVar[Mapping[str, str | None]] = {
        "nTrees": "scorer.trees.n_trees",
        "nLeaves": "scorer.trees.n_leaves",
        "learningRate": "scorer.trees.learning_rate",
        "minSamples": "scorer.trees.min_samples",
    }

    scorer: ScorerSettings = setting(ScorerSettings(), "How objects are scored.")


@dataclasses.dataclass(frozen=True)
class _Described:
    """Objects of an image with their columns, their covariances before scaling, and the priority of each."""

    objects: Objects
    columns: np.ndarray
    spread: np.ndarray
    priority: np.ndarray


class ObjectLocalizer(BlendLocalizer):
    """Base class of localisers that score objects.

    Parameters
    ----------
    config, settings, package
        As of `BlendLocalizer`.
    """

    SettingsClass: ClassVar[type[ModelSettings]] = ObjectLocalizerSettings
    known_columns: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "objects": OBJECT_COLUMNS,
        "images": CONTEXT_NAMES,
    }

    _scorer: ObjectScorer | None = None
    _tail: TailFactor | None = None

    @abstractmethod
    def find_candidates(self, samples: FootprintSamples) -> tuple[Candidates | None, ...]:
        """Find candidates beside the detected peaks: for each image, in parent pixels, or `None` for none."""

    def _key(self) -> tuple[object, ...]:
        """What objects are kept under: all that they depend on."""
        return ("objects", self.name, self.settings.match_radius, self.columns["objects"])

    def _describe(self, samples: FootprintSamples) -> tuple[_Described, ...]:
        """Objects of each image, once for all that ask."""
        found: tuple[Candidates | None, ...] | None = None

        def describe(index: int) -> _Described:
            nonlocal found
            if found is None:
                found = self.find_candidates(samples)
            return self._describe_image(samples.results[index], samples.contexts[index], found[index])

        return samples.find_each(self._key(), describe)

    def _describe_image(
        self, result: DetectionResult, context: SceneContext, candidates: Candidates | None
    ) -> _Described:
        objects = list_objects(result, candidates, match_radius=self.settings.match_radius)
        significance = _significance_at(result, objects)
        columns = describe_objects(result, context, objects, significance, self.columns["objects"])
        # The error of the position of a peak in noise falls with its significance (King 1983, PASP 95, 163).
        s = np.maximum(np.where(np.isfinite(significance), significance, 0.0), 1.0)
        variance = result.psf.sigma**2 * (1.0 / s**2 + _FLOOR)
        alone = np.column_stack([variance, variance, np.zeros(len(s))])
        spread = np.where(np.isfinite(objects.spread), objects.spread, alone)
        # Of detected peaks without a candidate the brighter ones, after all candidates.
        priority = np.where(objects.has_candidate, objects.probability, -1.0 / s)
        return _Described(objects, columns, spread, priority)

    def prepare(self, samples: FootprintSamples) -> bool:
        # Of the images alone, so that what a map keeps of them is forgotten again.
        described = self._describe(FootprintSamples(samples.results, samples.contexts))
        samples.find_each(self._key(), lambda index: described[index])
        compute_context(samples)
        return True

    def _fit(self, train: LabelledSamples, galaxies: Sequence[np.ndarray], options: FitOptions) -> None:
        samples = train.samples
        described = self._describe(samples)
        group = train.group_by_sky(self.settings.scorer.n_folds)
        parts = []
        for i, (one, true) in enumerate(zip(described, galaxies, strict=True)):
            result, rows = samples.results[i], slice(*samples.offsets[i : i + 2])
            label, offset = label_objects(result, one.objects, one.priority, true)
            parts.append(
                (
                    one.columns,
                    label,
                    group[rows][one.objects.row],
                    one.spread,
                    offset,
                    one.objects.peak >= 0,
                    one.objects.has_candidate,
                )
            )
        columns, labels, groups, spread, offsets, detected, has = (
            np.concatenate(arrays) for arrays in zip(*parts, strict=True)
        )
        share = labels.mean() if len(labels) else 0.0
        options.say(f"{len(labels)} objects, {share:.3f} of them galaxies")
        row = np.concatenate(
            [offset + one.objects.row for offset, one in zip(samples.offsets[:-1], described, strict=True)]
        )
        self._scorer, probability = ObjectScorer.fit(
            columns,
            labels,
            groups,
            spread=spread,
            offset=offsets,
            detected=detected,
            has_candidate=has,
            min_probability=self.config.minProbability,
            settings=self.settings.scorer,
            seed=options.seed,
            history=self.history,
            say=options.say,
        )
        # Those that will be peaks: all detected ones, and others that are probable enough.
        kept = detected | (probability >= self.config.minProbability)
        order = np.argsort(row[kept], kind="stable")
        start = np.searchsorted(row[kept][order], np.arange(len(samples) + 1))
        counts = np.concatenate([_count(r, g) for r, g in zip(samples.results, galaxies, strict=True)])
        self._tail = TailFactor.fit(
            several_mean(probability[kept][order], start), self._numbers_of_image(samples), counts
        )
        self._state = self._scorer.arrays | self._tail.arrays

    def locate(self, samples: FootprintSamples) -> tuple[Positions, ...]:
        self._learned()
        assert self._scorer is not None
        found = []
        for one in self._describe(samples):
            objects = one.objects
            xx, yy, xy = self._scorer.covariances(
                one.columns, one.spread, objects.peak >= 0, objects.has_candidate
            ).T
            found.append(
                Positions(
                    objects.row.astype(np.int32),
                    objects.x,
                    objects.y,
                    self._scorer.probabilities(one.columns),
                    xx,
                    yy,
                    xy,
                    candidate_x=objects.candidate_x,
                    candidate_y=objects.candidate_y,
                )
            )
        return tuple(found)

    def expect_several(self, samples: FootprintSamples, mean: np.ndarray) -> np.ndarray:
        self._learned()
        assert self._tail is not None
        return self._tail.predict(mean, self._numbers_of_image(samples))

    def _numbers_of_image(self, samples: FootprintSamples) -> np.ndarray:
        """Numbers of the image of each footprint, float32 of shape (n, columns)."""
        chosen = [CONTEXT_NAMES.index(name) for name in self.columns["images"]]
        return compute_context(samples)[samples.scene_index][:, chosen]

    def _set_state(self, arrays: dict[str, np.ndarray]) -> None:
        self._scorer = ObjectScorer(arrays, len(self.columns["objects"]))
        self._tail = TailFactor(arrays, len(self.columns["images"]))
        self._state = self._scorer.arrays | self._tail.arrays


def _count(result: DetectionResult, galaxies: np.ndarray) -> np.ndarray:
    """Number of galaxies in each footprint."""
    true = GalaxyList.from_places(result.footprints, galaxies)
    return np.bincount(true.footprint, minlength=len(result.footprints))


def _significance_at(result: DetectionResult, objects: Objects) -> np.ndarray:
    """Significance of the smoothed image at objects: that of a detected peak, or of the pixel."""
    values = np.full(len(objects), np.nan)
    detected = objects.peak >= 0
    values[detected] = result.footprints.peaks["significance"][objects.peak[detected]]
    others = np.flatnonzero(~detected)
    if others.size:
        ny, nx = result.image.shape
        # The mean of tiles at a rim may be a fraction of a pixel outside of it.
        x = np.clip(np.rint(objects.x[others]).astype(np.int64) - result.xy0[0], 0, nx - 1)
        y = np.clip(np.rint(objects.y[others]).astype(np.int64) - result.xy0[1], 0, ny - 1)
        values[others] = result.significance[y, x]
    return values
