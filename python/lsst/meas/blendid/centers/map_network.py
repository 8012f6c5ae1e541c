# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The map network of a model, and what it reads in images: once an image for all that ask."""

from __future__ import annotations

__all__ = ("MapNetwork", "MapReading")

import dataclasses
import hashlib
from collections.abc import Mapping

import numpy as np

from ..samples import FootprintSamples
from .candidates import Candidates, find_candidates
from .inputs import (
    CONTEXT_NAMES,
    SCALAR_NAMES,
    keep_labels,
    keep_numbers,
    keep_planes,
    number_anew,
    standardize,
)
from .maps import MapWeights
from .network import N_STATES, NetworkShape, head_layers, weight_shapes
from .pooling import N_SUMS, pool_maps, tile_labels, tile_sums
from .views import join_maps, run_view


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

    Parameters
    ----------
    shape
        Size of the network.
    arrays
        Arrays of the model's package; those of the head are not looked at.

    Raises
    ------
    KeyError
        Raised if an array is missing.
    """

    def __init__(self, shape: NetworkShape, arrays: Mapping[str, np.ndarray]) -> None:
        self.shape = shape
        head = {f"{name}_{part}" for name in head_layers(shape) for part in ("kernel", "bias")}
        names = sorted(weight_shapes(shape).keys() - head)
        scales = ("context_center", "context_scale", "scalars_center", "scalars_scale")
        self._scales = {name: arrays[name] for name in scales}
        self._weights = MapWeights(shape, arrays)
        digest = hashlib.blake2b(repr(shape).encode(), digest_size=16)
        for name in (*names, *scales):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(arrays[name], dtype="<f4").tobytes())
        self.digest = digest.hexdigest()
        """Checksum of all that a reading depends on: networks of which it is the same read the same."""

    def read(self, samples: FootprintSamples, *, n_views: int) -> tuple[MapReading, ...]:
        """Run the network over images; the result is kept in the samples.

        Parameters
        ----------
        samples
            Footprints of images.
        n_views
            Views of an image, turned and mirrored, that are read.

        Returns
        -------
        readings
            One for each image.
        """
        key = ("centers reading", self.digest, n_views)
        return samples.find_each(key, lambda index: self.read_image(samples, index, n_views=n_views))

    def read_image(self, samples: FootprintSamples, index: int, *, n_views: int) -> MapReading:
        """Run the network over one image.

        Parameters
        ----------
        samples
            Footprints of images.
        index
            Index of the image.
        n_views
            As for `read`.

        Returns
        -------
        reading
            The reading.
        """
        context, scalars = standardize(samples, self._scales)
        planes, labels, numbers = (keep(samples)[index] for keep in (keep_planes, keep_labels, keep_numbers))
        result = samples.results[index]
        rows = slice(*samples.offsets[index : index + 2])
        n = len(scalars[rows])
        tiles, inside = tile_labels(number_anew(labels, numbers))
        # Nothing else is looked at.
        wanted = tiles > 0
        tiles_there, inside_there = tiles[wanted][None], inside[wanted][None]
        pooled = np.zeros((n_views, n, 3 * self.shape.embedding + N_SUMS), np.float32)
        sums, joined = np.zeros((n, 3)), np.zeros((*tiles.shape, N_STATES), np.float32)
        # Without footprints there is nothing to run the network for.
        if n > 0:
            views = []
            for view in range(n_views):
                embedding, logits = run_view(self._weights, planes, labels, context[index], wanted, view)
                pooled[view] = pool_maps(embedding[None], logits[None], tiles_there, inside_there, n)
                views.append(logits)
            mean = join_maps(views)
            sums = tile_sums(pool_maps(mean[None, :, :0], mean[None], tiles_there, inside_there, n))
            joined[wanted] = mean
        found = find_candidates(joined, tiles, inside, n, psf_sigma=result.psf.sigma)
        x0, y0 = result.xy0
        beside = np.hstack([scalars[rows], np.broadcast_to(context[index], (n, len(CONTEXT_NAMES)))])
        beside = np.broadcast_to(beside, (n_views, n, len(SCALAR_NAMES) + len(CONTEXT_NAMES)))
        return MapReading(
            np.concatenate([pooled, beside], axis=2),
            sums,
            dataclasses.replace(found, x=found.x + x0, y=found.y + y0),
        )
