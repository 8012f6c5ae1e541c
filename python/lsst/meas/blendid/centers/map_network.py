# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The map network of a model, and what it reads in images: once an image for all that ask.

An image may be read turned and mirrored as well (test-time augmentation): what is in it does not depend on
how it is turned, what a network says of it does a little, and the mean over such views is better than each.
"""

from __future__ import annotations

__all__ = (
    "N_VIEWS",
    "MapNetwork",
    "MapReading",
    "join_maps",
    "run_view",
    "turn",
)

import dataclasses
from collections.abc import Mapping

import numpy as np
from scipy.special import softmax

from .._arrays import digest_arrays
from ..footprints import DetectionResult
from ..samples import FootprintSamples
from .candidates import Candidates, find_candidates, pool_maps, tile_labels, tile_sums
from .inputs import keep_labels, keep_numbers, keep_planes, relabel, standardize
from .maps import MapWeights, run_maps
from .network import N_STATES, NetworkShape, head_layers, weight_shapes

_VIEWS = ((0, False), (2, True), (0, True), (2, False), (1, False), (3, True), (1, True), (3, False))
"""Quarter turns, and whether the image is mirrored after them; the first four keep the shape of an image."""
N_VIEWS = len(_VIEWS)
"""Number of views that there are; the first is the image as it is."""

_STATES = np.arange(1, N_STATES).reshape(2, 2)
"""State of a tile that has its centre in each of its pixels."""


def turn(array: np.ndarray, turns: int, mirrored: bool) -> np.ndarray:
    """An image (ny, nx, ...) after quarter turns, as of `numpy.rot90`, and then mirrored: no copy."""
    array = np.rot90(array, turns)
    return array[:, ::-1] if mirrored else array


def run_view(
    weights: MapWeights,
    planes: np.ndarray,
    labels: np.ndarray,
    context: np.ndarray,
    wanted: np.ndarray,
    view: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Run the network over a turned and mirrored image, ``view`` of `N_VIEWS`, as `.maps.run_maps` does.

    The embedding and logits that it gives are of the tiles as they were, in the same order.
    """
    if view == 0:
        return run_maps(weights, planes, labels, context, wanted)
    # Tiles have to stay what they are, so sides must be even before the image is turned.
    ny, nx = labels.shape
    if ny % 2 or nx % 2:
        even = ((0, ny % 2), (0, nx % 2))
        planes, labels = np.pad(planes, (*even, (0, 0))), np.pad(labels, even)
    numbers = np.zeros(wanted.shape, np.int32)
    numbers[wanted] = np.arange(np.count_nonzero(wanted))
    planes, labels, numbers, seen = (turn(a, *_VIEWS[view]) for a in (planes, labels, numbers, wanted))
    maps = run_maps(weights, planes, labels, context, seen)
    order = numbers[seen]
    embedding, logits = (np.empty_like(array) for array in maps)
    states = np.zeros(N_STATES, dtype=np.intp)
    states[turn(_STATES, *_VIEWS[view]).ravel()] = _STATES.ravel()
    embedding[order], logits[order] = maps[0], maps[1][:, states]
    return embedding, logits


def join_maps(total: np.ndarray, n_views: int) -> np.ndarray:
    """Logarithms of the mean of probabilities, float32, from their sum (..., 5) over views."""
    return np.log(np.maximum(total / np.float32(n_views), np.float32(1e-12)))


@dataclasses.dataclass(frozen=True)
class MapReading:
    """What a map network reads in an image with n footprints.

    Parameters
    ----------
    inputs
        Inputs of the head from each view: float32 of shape (views, n, k).
    sums
        Sum, sum of squares and largest of the probabilities of each footprint's tiles, from all views:
        float64 of shape (n, 3).
    candidates
        Candidates for centres, from all views, in parent pixels.
    """

    inputs: np.ndarray
    sums: np.ndarray
    candidates: Candidates


class MapNetwork:
    """The part of a model of the centre network that runs over images.

    ``arrays`` are those of the model's package, of which the head's are not looked at; `KeyError` if one is
    missing.
    """

    def __init__(self, shape: NetworkShape, arrays: Mapping[str, np.ndarray]) -> None:
        self.shape = shape
        head = {f"{name}_{part}" for name in head_layers(shape) for part in ("kernel", "bias")}
        names = sorted(weight_shapes(shape).keys() - head)
        scales = ("context_center", "context_scale", "scalars_center", "scalars_scale")
        self._scales = {name: arrays[name] for name in scales}
        self._weights = MapWeights(shape, arrays)
        self.digest = digest_arrays(
            {name: arrays[name] for name in (*names, *scales)}, repr(shape), dtype="<f4"
        )
        """Checksum of all that a reading depends on: networks of which it is the same read the same."""

    def read(self, samples: FootprintSamples, *, n_views: int) -> tuple[MapReading, ...]:
        """Run the network over images, each turned and mirrored in ``n_views`` ways.

        What was read is kept in the samples: no view of an image is run twice, whoever asks, and for how
        many views.
        """
        courses = samples.find_each(("centers", self.digest), lambda _index: _Course())
        return tuple(self._go_on(samples, i, n_views, course) for i, course in enumerate(courses))

    def read_once(self, samples: FootprintSamples, *, n_views: int) -> tuple[MapReading, ...]:
        """Run the network over images as `read` does, and keep nothing."""
        return tuple(self._go_on(samples, i, n_views, _Course()) for i in range(len(samples.results)))

    def _go_on(self, samples: FootprintSamples, index: int, n_views: int, course: _Course) -> MapReading:
        """Run the views of an image that were not run yet."""
        if n_views not in course.readings:
            course = course if len(course.pooled) < n_views else _Course()
            planes, labels, numbers = (
                keep(samples)[index] for keep in (keep_planes, keep_labels, keep_numbers)
            )
            context, scalars = standardize(samples, self._scales, self.shape.context, self.shape.scalars)
            beside = scalars[slice(*samples.offsets[index : index + 2])]
            beside = np.hstack([beside, np.broadcast_to(context[index], (len(beside), context.shape[1]))])
            tiles, inside = tile_labels(relabel(labels, numbers))
            # Nothing else is looked at.
            wanted = tiles > 0
            while len(course.pooled) < n_views:
                maps = self._run(planes, labels, context[index], wanted, view=len(course.pooled))
                course.add(*maps, tiles, inside, beside)
                n = len(course.pooled)
                # Few numbers of views are usual, of which others may ask for the smaller ones.
                if n == n_views or n & (n - 1) == 0:
                    course.readings[n] = course.make_reading(tiles, inside, samples.results[index])
        return course.readings[n_views]

    def _run(
        self, planes: np.ndarray, labels: np.ndarray, context: np.ndarray, wanted: np.ndarray, *, view: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Embedding and logits of some tiles from one view."""
        if wanted.any():
            return run_view(self._weights, planes, labels, context, wanted, view)
        return np.zeros((0, self.shape.embedding), np.float32), np.zeros((0, N_STATES), np.float32)


class _Course:
    """How far the views of an image were read."""

    def __init__(self) -> None:
        self.pooled: list[np.ndarray] = []
        """Inputs of the head from each view, of shape (n, k)."""
        self.readings: dict[int, MapReading] = {}
        """What was read, by number of views."""
        self._joined = self._total = np.zeros(0, np.float32)

    def add(
        self,
        embedding: np.ndarray,
        logits: np.ndarray,
        tiles: np.ndarray,
        inside: np.ndarray,
        beside: np.ndarray,
    ) -> None:
        """Add the maps of another view, of the tiles that belong to footprints."""
        wanted = tiles > 0
        tiles, inside = tiles[wanted][None], inside[wanted][None]
        pooled = pool_maps(embedding[None], logits[None], tiles, inside, len(beside))
        self.pooled.append(np.hstack([pooled, beside]))
        p = softmax(logits, axis=-1)
        self._total = p if len(self.pooled) == 1 else self._total + p
        self._joined = logits if len(self.pooled) == 1 else join_maps(self._total, len(self.pooled))

    def make_reading(self, tiles: np.ndarray, inside: np.ndarray, result: DetectionResult) -> MapReading:
        """What all views together say."""
        wanted, n = tiles > 0, len(self.pooled[0])
        logits = self._joined[None]
        pooled = pool_maps(logits[..., :0], logits, tiles[wanted][None], inside[wanted][None], n)
        whole = np.zeros((*tiles.shape, N_STATES), np.float32)
        whole[wanted] = self._joined
        found = find_candidates(whole, tiles, inside, n, psf_sigma=result.psf.sigma)
        x0, y0 = result.xy0
        found = dataclasses.replace(found, x=found.x + x0, y=found.y + y0)
        return MapReading(np.stack(self.pooled), tile_sums(pooled), found)
