# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Stamps as the cells of one coadd, so that whatever works on coadds works on stamps."""

from __future__ import annotations

__all__ = (
    "make_mosaic",
    "tile_labels",
    "tile_origins",
)

import math

import numpy as np
from astropy.table import Table

from lsst.images import XY, YX, Box, SkyProjection, TractFrame
from lsst.images.cells import CellGrid, PatchDefinition

from ..coadds.simulated_coadd import SimulatedCoadd, make_coadd, make_sky_projection
from ..random_streams import random_stream
from ..survey import mag_to_njy
from .stamp_set import StampSet, StampSetError


def tile_origins(stamp_set: StampSet, gap: int) -> np.ndarray:
    """Column and row in a mosaic of the first pixel of each stamp, int64 of shape (n, 2)."""
    index, columns = np.arange(len(stamp_set)), _n_columns(stamp_set)
    return (stamp_set.size + gap) * np.stack([index % columns, index // columns], axis=1) + gap // 2


def tile_labels(stamp_set: StampSet, *, gap: int = 8) -> np.ndarray:
    """Make the label image of a mosaic.

    Parameters
    ----------
    stamp_set, gap
        As for `make_mosaic`.

    Returns
    -------
    labels : `numpy.ndarray`, shape (height, width), int32
        Stamp ``i`` is ``i + 1`` over the whole of it, gaps are 0.
    """
    columns, pitch, size = _n_columns(stamp_set), stamp_set.size + gap, stamp_set.size
    rows = math.ceil(len(stamp_set) / columns)
    labels = np.zeros((rows * pitch, columns * pitch), dtype=np.int32)
    for i, (x, y) in enumerate(tile_origins(stamp_set, gap)):
        labels[y : y + size, x : x + size] = i + 1
    return labels


def make_mosaic(stamp_set: StampSet, *, gap: int = 8) -> SimulatedCoadd:
    """Lay stamps out as tiles of one coadd, a cell each, in as many columns as rows.

    Parameters
    ----------
    stamp_set
        Stamps with noise.
    gap
        Pixels of noise alone between neighbours; a tile has half of them on each side.

    Returns
    -------
    simulated
        Coadd in nJy (in image units, if the zero point is not known) and truth in
        its pixels, with ``stamp_id``.  Tiles beyond the last stamp are noise alone.

    Raises
    ------
    StampSetError
        Raised if there is no stamp, or if stamps have no noise.
    """
    if not len(stamp_set):
        raise StampSetError(f"{stamp_set.name} has no stamp to lay out")
    sigma = stamp_set.noise
    if not (sigma > 0.0).all():
        raise StampSetError(f"the stamps of {stamp_set.name} have no noise; add some with with_noise()")
    if gap < 0:
        raise StampSetError(f"the gap between stamps must not be negative, not {gap}")
    columns = _n_columns(stamp_set)
    rows = math.ceil(len(stamp_set) / columns)
    size, pitch = stamp_set.size, stamp_set.size + gap
    unit = 1.0 if math.isnan(stamp_set.zero_point) else float(mag_to_njy(stamp_set.zero_point))
    tiles = np.full(rows * columns, np.median(sigma))
    tiles[: len(stamp_set)] = sigma
    sigma_map = np.kron(tiles.reshape(rows, columns), np.ones((pitch, pitch))).astype(np.float32)
    rng = random_stream(stamp_set.seed, 3)
    image = rng.standard_normal(sigma_map.shape, dtype=np.float32) * sigma_map
    # Noise first, everywhere: the gaps and the tiles beyond the last stamp must be sky, not zeros.
    origins = tile_origins(stamp_set, gap)
    for i, (x, y) in enumerate(origins):
        image[y : y + size, x : x + size] = stamp_set.images[i]

    bbox = Box.from_shape(image.shape, start=(0, 0))
    grid = CellGrid(bbox=bbox, cell_shape=YX(y=pitch, x=pitch))
    psf_index = np.zeros(rows * columns, dtype=np.int64)
    psf_index[: len(stamp_set)] = np.asarray(stamp_set.stamps["psf_index"])
    kernels = np.asarray(stamp_set.psf, dtype=np.float64)[psf_index].reshape(
        rows, columns, *stamp_set.psf.shape[1:]
    )
    projection = make_sky_projection(
        bbox, skymap="blendid_stamps", tract=0, pixel_scale=stamp_set.pixel_scale
    )
    coadd = make_coadd(
        image * np.float32(unit),
        (sigma_map * np.float32(unit)) ** 2,
        kernels,
        PatchDefinition(id=0, index=YX(y=0, x=0), inner_bbox=bbox, cells=grid),
        projection,
        str(stamp_set.metadata.get("band", "i")),
    )
    return SimulatedCoadd(coadd, _mosaic_truth(stamp_set, origins, unit, projection))


def _n_columns(stamp_set: StampSet) -> int:
    """Tiles in a row, which make a mosaic about square."""
    return max(math.ceil(math.sqrt(len(stamp_set))), 1)


def _mosaic_truth(
    stamp_set: StampSet, origins: np.ndarray, unit: float, projection: SkyProjection[TractFrame]
) -> Table:
    """Truth in pixels of the mosaic and nJy."""
    truth = stamp_set.truth.copy()
    tile = stamp_set.truth_rows
    truth["x"] = np.asarray(truth["x"], dtype=np.float64) + origins[tile, 0]
    truth["y"] = np.asarray(truth["y"], dtype=np.float64) + origins[tile, 1]
    sky = projection.pixel_to_sky(XY(x=np.asarray(truth["x"]), y=np.asarray(truth["y"])))
    truth["ra"], truth["dec"] = sky.ra.deg, sky.dec.deg
    truth["flux"] = np.asarray(truth["flux"]) * np.float32(unit)
    truth["id"] = np.arange(len(truth), dtype=np.int64)
    truth.meta.update(
        {
            "source": stamp_set.name,
            "split": "none",
            "seed": stamp_set.seed,
            "band": str(stamp_set.metadata.get("band", "i")),
        }
    )
    return truth
