# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Crops of images, from random places and turned at random, with what is true of them."""

from __future__ import annotations

__all__ = ("CropMaker", "check_centers")

from collections.abc import Sequence

import numpy as np

from .candidates import tile_labels
from .inputs import CONTEXT_NAMES, SCALAR_NAMES
from .map_network import turn
from .network import IGNORED, N_PLANES

_UNKNOWN_DEPTH = 0.1
"""Share of the crops that are shown without their depth, as images without zero point are."""


def check_centers(centers: tuple[np.ndarray, ...] | None) -> tuple[np.ndarray, ...]:
    """Refuse to train without the true objects of each image, finite and of shape (m, 3) each."""
    if centers is None:
        raise ValueError(
            "classifier 'centers' learns from true positions: use scenes with truth tables (from Python, "
            "LabelledSamples.centers), or go on from a model (--from), which needs numbers of galaxies only"
        )
    for table in map(np.asarray, centers):
        if table.ndim != 2 or table.shape[1] != 3 or not np.all(np.isfinite(table)):
            raise ValueError(
                "true centres must have the finite columns x, y and S/N; "
                f"an array of shape {table.shape} was given"
            )
    return centers


def tile_states(x: np.ndarray, y: np.ndarray, size: int) -> np.ndarray:
    """State of each tile of a crop, int64 (size / 2, size / 2): 0, or 1 plus the number of a centre's pixel.

    ``x`` and ``y`` are pixels of centres, int64 (m,), each later one more important; those outside are left
    out.
    """
    here = (x >= 0) & (x < size) & (y >= 0) & (y < size)
    states = np.zeros((size // 2, size // 2), np.int64)
    # Of several values for one element, NumPy keeps the last.
    states[y[here] // 2, x[here] // 2] = 1 + 2 * (y[here] % 2) + x[here] % 2
    return states


class CropMaker:
    """Makes batches of crops; lists have an array for each scene.

    Parameters
    ----------
    planes
        Images, (ny, nx, 2).
    labels
        Label images, (ny, nx).
    numbers
        Number of each footprint in the label image, (n,).
    bboxes
        Boxes of the footprints in pixels of the arrays, [x0, y0, x1, y1] inclusive, (n, 4).
    classes
        min(N, 4) of the footprints, (n,).
    weights
        Weights of the footprints, (n,).
    scalars
        Standardised numbers of the footprints, (n, 7).
    context
        Standardised numbers of all scenes, (scenes, 9).
    centers
        x, y (pixels of the arrays) and S/N of the true objects, (m, 3).
    batch, crop
        Crops in a batch, and their side in pixels.
    n_segments
        Most footprints in a crop; if there are more, some are left out at random.
    """

    def __init__(
        self,
        planes: Sequence[np.ndarray],
        labels: Sequence[np.ndarray],
        numbers: Sequence[np.ndarray],
        bboxes: Sequence[np.ndarray],
        classes: Sequence[np.ndarray],
        weights: Sequence[np.ndarray],
        scalars: Sequence[np.ndarray],
        context: np.ndarray,
        centers: Sequence[np.ndarray],
        *,
        batch: int,
        crop: int,
        n_segments: int,
    ) -> None:
        self.batch, self.crop, self.n_segments = batch, crop, n_segments
        self._planes, self._labels, self._bboxes, self._classes = planes, labels, bboxes, classes
        self._weights, self._scalars, self._context = weights, scalars, context
        self._numbers = numbers
        self._largest = [int(array.max(initial=0)) for array in labels]
        # By brightness: the brightest in a tile is the last one.
        self._centers = [
            np.rint(table[np.argsort(table[:, 2], kind="stable"), :2]).astype(np.int64) for table in centers
        ]
        areas = np.array([array.size for array in labels], dtype=np.float64)
        self._share = areas / areas.sum()

    def make(self, rng: np.random.Generator) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Make a batch: inputs of `.network.build_training_network`, and the truth, both by name.

        The truth has ``tiles``, the state of each tile, (batch, crop / 2, crop / 2), and ``counts``, class
        and weight of each footprint that lies in the crop as a whole, (batch, n_segments, 2), `IGNORED` for
        rows without one.
        """
        b, s, h, n = self.batch, self.crop, self.crop // 2, self.n_segments
        inputs = {
            "planes": np.zeros((b, s, s, N_PLANES), np.float32),
            "context": np.zeros((b, len(CONTEXT_NAMES)), np.float32),
            "segment": np.full((b, h, h), n, np.int32),
            "inside": np.zeros((b, h, h, 4), np.float32),
            "scalars": np.zeros((b, n, len(SCALAR_NAMES)), np.float32),
        }
        truth = {
            "tiles": np.zeros((b, h, h), np.float32),
            "counts": np.full((b, n, 2), float(IGNORED), np.float32),
        }
        for k in range(b):
            scene = int(rng.choice(len(self._share), p=self._share))
            self._fill(scene, rng, {n: a[k] for n, a in inputs.items()}, {n: a[k] for n, a in truth.items()})
        return inputs, truth

    def _fill(
        self,
        scene: int,
        rng: np.random.Generator,
        inputs: dict[str, np.ndarray],
        truth: dict[str, np.ndarray],
    ) -> None:
        """Fill in one crop."""
        size = self.crop
        image = self._labels[scene].shape
        # An image that is smaller than a crop lies somewhere in it.
        y0, x0 = (int(rng.integers(min(0, n - size), max(0, n - size) + 1)) for n in image)
        turns, flip = int(rng.integers(4)), bool(rng.integers(2))
        cut = tuple(slice(max(a, 0), min(a + size, n)) for a, n in zip((y0, x0), image, strict=True))
        target = tuple(slice(c.start - a, c.stop - a) for a, c in zip((y0, x0), cut, strict=True))
        planes = np.zeros((size, size, N_PLANES), np.float32)
        labels = np.zeros((size, size), np.int32)
        labels[target] = self._labels[scene][cut]
        planes[(*target, slice(0, N_PLANES - 1))] = self._planes[scene][cut]
        planes[..., N_PLANES - 1] = labels > 0
        x, y = self._centers[scene].T - np.array([[x0], [y0]])
        for _ in range(turns):
            # As `turn` does: a pixel goes from (y, x) to (last - x, y).
            y, x = size - 1 - x, y
        if flip:
            x = size - 1 - x
        planes, labels = turn(planes, turns, flip), turn(labels, turns, flip)
        inputs["planes"][:] = planes
        inputs["context"][:] = self._context[scene]
        if rng.random() < _UNKNOWN_DEPTH:
            inputs["context"][CONTEXT_NAMES.index("depth")] = 0.0
        truth["tiles"][:] = tile_states(x, y, size)
        box = self._bboxes[scene]
        whole = (box[:, 0] >= x0) & (box[:, 1] >= y0) & (box[:, 2] < x0 + size) & (box[:, 3] < y0 + size)
        chosen = np.flatnonzero(whole)
        if chosen.size > self.n_segments:
            chosen = rng.choice(chosen, self.n_segments, replace=False)
        number = np.full(self._largest[scene] + 1, self.n_segments, np.int32)
        number[self._numbers[scene][chosen]] = np.arange(chosen.size)
        tiles, inputs["inside"][:] = tile_labels(np.ascontiguousarray(labels))
        inputs["segment"][:] = number[tiles]
        inputs["scalars"][: chosen.size] = self._scalars[scene][chosen]
        truth["counts"][: chosen.size, 0] = self._classes[scene][chosen]
        truth["counts"][: chosen.size, 1] = self._weights[scene][chosen]
