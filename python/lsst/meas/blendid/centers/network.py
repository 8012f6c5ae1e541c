# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The centre network: a small U-Net over the whole image, a head that counts in each footprint, and their
losses.
"""

from __future__ import annotations

__all__ = (
    "IGNORED",
    "N_PLANES",
    "N_STATES",
    "NetworkShape",
    "balanced_loss",
    "build_head",
    "build_map_network",
    "build_training_network",
    "head_layers",
    "make_losses",
    "pooled_size",
    "weight_shapes",
)

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..labels import N_CLASSES
from ..model_settings import ModelSettings, SettingsError, setting
from .candidates import N_SUMS
from .inputs import CONTEXT_NAMES, SCALAR_NAMES

N_PLANES = 3
"""Planes of the network: image, significance, and what belongs to a footprint."""
IGNORED = -1
"""Class of a row of a batch that stands for no footprint."""
N_STATES = 5
"""States of a tile of 2 x 2 pixels: no centre, or one in pixel (0, 0), (0, 1), (1, 0), (1, 1) [y, x]."""
_FEWEST_CENTERS = 10.0
"""Added to the number of centres in a batch, so that empty crops weigh no more than others."""


@dataclass(frozen=True)
class NetworkSettings(ModelSettings):
    """Size of a network."""

    widths: tuple[int, ...] = setting(
        (32, 64, 96, 128),
        "Channels of the network at half resolution, a quarter, and so on.",
        at_least=1,
        # Images are filled up to multiples of 2 to this power.
        length=(1, 8),
    )
    blocks: tuple[int, ...] = setting(
        (1, 1, 1, 1),
        "Residual blocks at each resolution on the way down; on the way up there is one.",
        at_least=1,
        at_most=32,
    )
    embedding: int = setting(24, "Channels that footprints are pooled from.", at_least=1)
    hidden: tuple[int, ...] = setting((128, 64), "Widths of the layers of the counting head.", at_least=1)

    def check(self) -> None:
        if len(self.blocks) != len(self.widths):
            raise SettingsError(f"blocks has {len(self.blocks)} numbers, widths {len(self.widths)}")

    @property
    def stride(self) -> int:
        """Sides of images must be multiples of this, pixels."""
        return 2 ** len(self.widths)


@dataclass(frozen=True)
class NetworkShape(NetworkSettings):
    """Size of a network, with the names of the numbers that it is given of an image and of a footprint."""

    # Not in the digest of a model, which is of what is shown: its weights fit one set of numbers only.
    context: tuple[str, ...] = field(default=CONTEXT_NAMES, repr=False)
    scalars: tuple[str, ...] = field(default=SCALAR_NAMES, repr=False)


def pooled_size(shape: NetworkShape) -> int:
    """Number of inputs of the head."""
    return 3 * shape.embedding + N_SUMS + len(shape.scalars) + len(shape.context)


def head_layers(shape: NetworkShape) -> list[str]:
    """Names of the layers of the head, from the inputs on."""
    return [*(f"count{i}" for i in range(len(shape.hidden))), "count_logits"]


def weight_shapes(shape: NetworkShape) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights of both parts by name, without Keras."""
    widths = shape.widths
    shapes: dict[str, tuple[int, ...]] = {}

    def add(name: str, *kernel: int, outputs: int | None = None) -> None:
        shapes[f"{name}_kernel"] = kernel
        shapes[f"{name}_bias"] = (kernel[-1] if outputs is None else outputs,)

    add("stem", 4, 4, N_PLANES, widths[0])
    add("stem_context", len(shape.context), widths[0])
    for level, (width, blocks) in enumerate(zip(widths, shape.blocks, strict=True)):
        names = [f"down{level}_{i}" for i in range(blocks)]
        if level > 0:
            add(f"down{level}", 2, 2, widths[level - 1], width)
        if level < len(widths) - 1:
            # The kernel of a transposed convolution has its outputs before its inputs.
            add(f"up{level}", 2, 2, width, widths[level + 1], outputs=width)
            names.append(f"up{level}_0")
        for name in names:
            add(f"{name}a", 3, 3, width, width)
            add(f"{name}b", 3, 3, width, width)
    add("embedding", 1, 1, widths[0], shape.embedding)
    add("tiles", 1, 1, widths[0], N_STATES)
    sizes = [pooled_size(shape), *shape.hidden, N_CLASSES]
    for name, inputs, outputs in zip(head_layers(shape), sizes, sizes[1:], strict=False):
        add(name, inputs, outputs)
    return shapes


def build_map_network(keras: Any, shape: NetworkShape, *, seed: int = 1, mixed: bool = False) -> Any:
    """Build the part that runs over an image.

    The Keras model takes planes (batch, ny, nx, 3) and context (batch, 9); it gives the embedding (batch,
    ny / 2, nx / 2, embedding), not negative, and logits of the tiles (batch, ny / 2, nx / 2, 5).  With
    ``mixed`` the inner layers compute in bfloat16; weights, the first layer and the outputs keep 32 bits.
    """
    layers = keras.layers
    normal = _normal(keras, seed)
    inner: dict[str, Any] = {"dtype": "mixed_bfloat16" if mixed else "float32"}
    plain: dict[str, Any] = {"dtype": "float32"}

    def block(x: Any, width: int, name: str) -> Any:
        y = layers.Conv2D(
            width, 3, padding="same", activation="relu", kernel_initializer=normal(), name=f"{name}a", **inner
        )(x)
        # Zeros: each block starts as the identity, so that no normalisation is needed.
        y = layers.Conv2D(width, 3, padding="same", kernel_initializer="zeros", name=f"{name}b", **inner)(y)
        x = layers.Add(name=f"{name}_add", **inner)([x, y])
        return layers.Activation("relu", name=f"{name}_relu", **inner)(x)

    planes = keras.Input((None, None, N_PLANES), name="planes")
    context = keras.Input((len(shape.context),), name="context")
    levels = len(shape.widths)
    x = layers.Conv2D(
        shape.widths[0], 4, strides=2, padding="same", kernel_initializer=normal(), name="stem", **plain
    )(planes)
    bias = layers.Dense(shape.widths[0], kernel_initializer="zeros", name="stem_context", **plain)(context)
    bias = layers.Reshape((1, 1, shape.widths[0]), name="stem_spread", **plain)(bias)
    x = layers.Activation("relu", name="stem_relu", **plain)(layers.Add(name="stem_add", **plain)([x, bias]))
    kept = []
    for level, (width, n_blocks) in enumerate(zip(shape.widths, shape.blocks, strict=True)):
        if level > 0:
            kept.append(x)
            x = layers.Conv2D(
                width,
                2,
                strides=2,
                activation="relu",
                kernel_initializer=normal(),
                name=f"down{level}",
                **inner,
            )(x)
        for i in range(n_blocks):
            x = block(x, width, f"down{level}_{i}")
    for level in range(levels - 2, -1, -1):
        width = shape.widths[level]
        x = layers.Conv2DTranspose(
            width, 2, strides=2, kernel_initializer=normal(), name=f"up{level}", **inner
        )(x)
        x = layers.Add(name=f"up{level}_skip", **inner)([x, kept[level]])
        x = layers.Activation("relu", name=f"up{level}_relu", **inner)(x)
        x = block(x, width, f"up{level}_0")
    embedding = layers.Conv2D(
        shape.embedding, 1, activation="relu", kernel_initializer=normal(), name="embedding", **plain
    )(x)
    tiles = layers.Conv2D(
        N_STATES,
        1,
        kernel_initializer=keras.initializers.RandomNormal(0.0, 0.02, seed=seed),
        # About the share of pixels that have a centre: exp(-6.5) are 135 galaxies an arcmin² at 0.2" a pixel.
        bias_initializer=lambda shape, dtype=None: keras.ops.array([6.5] + [0.0] * (N_STATES - 1), dtype),
        name="tiles",
        **plain,
    )(x)
    return keras.Model([planes, context], [embedding, tiles], name="centers")


def _normal(keras: Any, seed: int) -> Callable[[], Any]:
    """Makes initialisers of He et al. 2015 (arXiv:1502.01852), each with a seed of its own."""
    seeds = np.random.default_rng(seed)
    return lambda: keras.initializers.HeNormal(seed=int(seeds.integers(2**31)))


def build_head(keras: Any, shape: NetworkShape, *, seed: int = 1) -> Any:
    """Build the part that counts, a Keras model from (..., footprints, inputs) to logits (..., 5)."""
    normal = _normal(keras, seed)
    x = inputs = keras.Input((None, pooled_size(shape)), name="pooled")
    names = head_layers(shape)
    for name, width in zip(names, shape.hidden, strict=False):
        dense = keras.layers.Dense(
            width, activation="relu", kernel_initializer=normal(), name=name, dtype="float32"
        )
        x = dense(x)
    logits = keras.layers.Dense(N_CLASSES, kernel_initializer=normal(), name=names[-1], dtype="float32")(x)
    return keras.Model(inputs, logits, name="count")


def build_training_network(
    keras: Any, maps: Any, head: Any, *, batch: int, crop: int, n_segments: int
) -> Any:
    """Join both parts for training on ``batch`` crops of ``crop`` pixels, ``n_segments`` footprints at most.

    The Keras model takes planes, context, ``segment`` (batch, crop / 2, crop / 2): number of the footprint
    of each tile, ``n_segments`` for none; ``inside`` (batch, crop / 2, crop / 2, 4): which of its pixels
    belong to it; ``scalars`` (batch, n_segments, 7).  It gives logits of ``tiles`` and ``counts``.
    """
    ops = keras.ops
    side = crop // 2

    class Pool(keras.layers.Layer):
        def call(self, embedding: Any, tiles: Any, segment: Any, inside: Any) -> Any:
            width = embedding.shape[-1]
            first = ops.reshape(ops.arange(batch, dtype="int32") * (n_segments + 1), (batch, 1))
            index = ops.reshape(ops.reshape(segment, (batch, side * side)) + first, (-1,))
            total = batch * (n_segments + 1)

            def gather(values: Any, how: str = "sum") -> Any:
                values = ops.reshape(values, (batch * side * side, -1))
                function = ops.segment_sum if how == "sum" else ops.segment_max
                pooled = function(values, index, num_segments=total)
                return ops.reshape(pooled, (batch, n_segments + 1, -1))[:, :n_segments]

            p = ops.sum(ops.softmax(tiles, axis=-1)[..., 1:] * inside, axis=-1, keepdims=True)
            some = ops.minimum(ops.sum(inside, axis=-1, keepdims=True), 1.0)
            sums = gather(ops.concatenate([embedding, p, ops.square(p), p * (1.0 - p), some], axis=-1))
            largest = ops.maximum(gather(ops.concatenate([embedding, p], axis=-1), "max"), 0.0)
            summed, number = sums[..., :width], ops.maximum(sums[..., width + 3 :], 1.0)
            return ops.concatenate(
                [
                    ops.log1p(summed),
                    largest[..., :width],
                    summed / number,
                    ops.log1p(sums[..., width : width + 2]),
                    largest[..., width:],
                    ops.log1p(sums[..., width + 2 : width + 3]),
                ],
                axis=-1,
            )

    planes = keras.Input(batch_shape=(batch, crop, crop, N_PLANES), name="planes")
    context = keras.Input(batch_shape=(batch, len(CONTEXT_NAMES)), name="context")
    segment = keras.Input(batch_shape=(batch, side, side), dtype="int32", name="segment")
    inside = keras.Input(batch_shape=(batch, side, side, 4), name="inside")
    scalars = keras.Input(batch_shape=(batch, n_segments, len(SCALAR_NAMES)), name="scalars")
    embedding, tiles = maps([planes, context])
    pooled = Pool(name="pool", dtype="float32")(embedding, tiles, segment, inside)
    spread = keras.layers.RepeatVector(n_segments, name="spread")(context)
    counts = head(keras.layers.Concatenate(name="join")([pooled, scalars, spread]))
    inputs = {"planes": planes, "context": context, "segment": segment, "inside": inside, "scalars": scalars}
    return keras.Model(inputs, {"tiles": tiles, "counts": counts}, name="training")


def make_losses(keras: Any, *, blended_weight: float) -> dict[str, Callable[[Any, Any], Any]]:
    """Losses of both outputs, by name.

    ``tiles`` is the cross-entropy of the states of all tiles, for each true centre; ``counts`` the mean
    cross-entropy of P(N) over footprints, and ``blended_weight`` times that of blended or not.
    """
    ops = keras.ops

    def tiles(truth: Any, logits: Any) -> Any:
        states = ops.cast(truth, "int32")
        logits = ops.cast(logits, "float32")
        loss = -ops.sum(ops.one_hot(states, 5, dtype="float32") * ops.log_softmax(logits, axis=-1))
        return loss / (ops.sum(ops.cast(states > 0, "float32")) + _FEWEST_CENTERS)

    def counts(truth: Any, logits: Any) -> Any:
        classes = ops.cast(truth[..., 0], "int32")
        weights = ops.where(classes > IGNORED, truth[..., 1], 0.0)
        log_p = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
        known = ops.maximum(classes, 0)
        loss = -ops.sum(ops.one_hot(known, 5, dtype="float32") * log_p, axis=-1)
        single, blended = ops.logsumexp(log_p[..., :2], axis=-1), ops.logsumexp(log_p[..., 2:], axis=-1)
        loss = loss - blended_weight * ops.where(known > 1, blended, single)
        return ops.sum(weights * loss) / ops.maximum(ops.sum(weights), 1.0)

    return {"tiles": tiles, "counts": counts}


def balanced_loss(p: np.ndarray, counts: np.ndarray) -> float:
    """Cross-entropy at even prior of P(blended) (n,) under the natural one, given numbers of galaxies (n,).

    Empty footprints are left out.  Blended and unblended ones have half the weight each; 0 if all are
    empty, and the plain cross-entropy if one kind is missing.
    """
    p, blended = p[counts > 0], counts[counts > 0] > 1
    if not blended.size:
        return 0.0
    share = float(blended.mean())
    p = np.clip(p, 1e-6, 1.0 - 1e-6)
    if not 0.0 < share < 1.0:
        return float(-np.log(np.where(blended, p, 1.0 - p)).mean())
    odds = p / (1.0 - p) * (1.0 - share) / share
    loss = np.where(blended, np.log1p(1.0 / odds), np.log1p(odds))
    return float(0.5 * (loss[blended].mean() + loss[~blended].mean()))
