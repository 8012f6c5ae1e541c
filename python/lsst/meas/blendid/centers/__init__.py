# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Where the centres of galaxies are: a network over whole images, and what it tells of each footprint.

The network is a small U-Net that works at half resolution.  For each tile of 2 x 2 pixels it gives the
probabilities of five states, no centre or a centre in one of the four pixels, and an embedding.  A head
turns the embeddings and probabilities of the tiles of a footprint into P(N): the pixels of one smeared
centre are not independent, and the head learns that.
"""

__all__ = (
    "CENTER_COLUMNS",
    "CONTEXT_NAMES",
    "SCALAR_NAMES",
    "Candidates",
    "CropMaker",
    "MapNetwork",
    "MapReading",
    "NetworkSettings",
    "NetworkShape",
    "TrainingSettings",
    "build_head",
    "build_map_network",
    "compute_context",
    "compute_scalars",
    "count_probabilities",
    "describe_candidates",
    "find_candidates",
    "keep_labels",
    "keep_numbers",
    "keep_planes",
    "pool_maps",
    "tile_labels",
    "train_network",
    "tune_head",
    "weight_shapes",
)

from .candidates import (
    CENTER_COLUMNS,
    Candidates,
    count_probabilities,
    describe_candidates,
    find_candidates,
    pool_maps,
    tile_labels,
)
from .crops import CropMaker
from .inputs import (
    CONTEXT_NAMES,
    SCALAR_NAMES,
    compute_context,
    compute_scalars,
    keep_labels,
    keep_numbers,
    keep_planes,
)
from .map_network import MapNetwork, MapReading
from .network import NetworkSettings, NetworkShape, build_head, build_map_network, weight_shapes
from .training import TrainingSettings, train_network, tune_head
