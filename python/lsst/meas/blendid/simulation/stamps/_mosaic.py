# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Stamps as the cells of one coadd, so that whatever works on coadds works on stamps."""

from __future__ import annotations

__all__ = ("make_mosaic", "tile_labels", "tile_origins")

import math

import astropy.units as u
import numpy as np
from astropy.table import Table

from lsst.images import XY, YX, Box, Image, Mask, MaskSchema, get_legacy_deep_coadd_mask_planes
from lsst.images.cells import CellCoadd, CellGrid, CellGridBounds, CellPointSpreadFunction, PatchDefinition

from .._random import random_stream
from ..coadds.coadd import SimulatedCoadd
from ..coadds.projection import make_sky_projection
from ..survey import mag_to_njy
from .stamp_set import StampSet, StampSetError


def tile_origins(stamp_set: StampSet, columns: int | None = None, *, gap: int = 8) -> np.ndarray:
    """Where the first pixel of each stamp is in a mosaic.

    Parameters
    ----------
    stamp_set, columns, gap
        As for `make_mosaic`.

    Returns
    -------
    origins : `numpy.ndarray`, shape (n, 2), int64
        Columns x and y, pixels.
    """
    columns = _columns(stamp_set, columns)
    index = np.arange(len(stamp_set))
    return (stamp_set.size + gap) * np.stack([index % columns, index // columns], axis=1) + gap // 2


def tile_labels(stamp_set: StampSet, columns: int | None = None, *, gap: int = 8) -> np.ndarray:
    """Label image of a mosaic: stamp ``i`` is ``i + 1`` over the whole of it, gaps are 0.

    Parameters
    ----------
    stamp_set, columns, gap
        As for `make_mosaic`.

    Returns
    -------
    labels : `numpy.ndarray`, shape (height, width), int32
        The labels.
    """
    columns = _columns(stamp_set, columns)
    pitch, size = stamp_set.size + gap, stamp_set.size
    rows = math.ceil(len(stamp_set) / columns)
    labels = np.zeros((rows * pitch, columns * pitch), dtype=np.int32)
    for i, (x, y) in enumerate(tile_origins(stamp_set, columns, gap=gap)):
        labels[y : y + size, x : x + size] = i + 1
    return labels


def make_mosaic(stamp_set: StampSet, columns: int | None = None, *, gap: int = 8) -> SimulatedCoadd:
    """Lay stamps out as tiles of one coadd, a cell each.

    Parameters
    ----------
    stamp_set
        Stamps with noise.
    columns
        Number of tiles in a row (default: as many as rows).
    gap
        Pixels of noise alone between neighbours; a tile has half of them on each side.

    Returns
    -------
    simulated
        Coadd in nJy (in image units, if the zero point is not known) and truth in
        its pixels.  Tiles beyond the last stamp are noise alone.

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
    columns = _columns(stamp_set, columns)
    rows = math.ceil(len(stamp_set) / columns)
    size, pitch = stamp_set.size, stamp_set.size + gap
    unit = 1.0 if math.isnan(stamp_set.zero_point) else float(mag_to_njy(stamp_set.zero_point))
    tiles = np.full(rows * columns, np.median(sigma))
    tiles[: len(stamp_set)] = sigma
    sigma_map = np.kron(tiles.reshape(rows, columns), np.ones((pitch, pitch))).astype(np.float32)
    rng = random_stream(stamp_set.seed, 3)
    image = rng.standard_normal(sigma_map.shape, dtype=np.float32) * sigma_map
    origins = tile_origins(stamp_set, columns, gap=gap)
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
    schema = MaskSchema(list(get_legacy_deep_coadd_mask_planes().values()))
    coadd = CellCoadd(
        Image(image * np.float32(unit), bbox=bbox, unit=u.nJy),
        mask=Mask(0, schema=schema, bbox=bbox),
        variance=Image((sigma_map * np.float32(unit)) ** 2, bbox=bbox, unit=u.nJy**2),
        sky_projection=projection,
        band=str(stamp_set.metadata.get("band", "i")),
        psf=CellPointSpreadFunction(kernels, CellGridBounds(grid=grid, bbox=bbox)),
        patch=PatchDefinition(id=0, index=YX(y=0, x=0), inner_bbox=bbox, cells=grid),
    )
    return SimulatedCoadd(coadd, _mosaic_truth(stamp_set, origins, unit, projection))


def _columns(stamp_set: StampSet, columns: int | None) -> int:
    if columns is None:
        return max(math.ceil(math.sqrt(len(stamp_set))), 1)
    if columns < 1:
        raise StampSetError(f"the number of columns must be positive, not {columns}")
    return columns


def _mosaic_truth(stamp_set: StampSet, origins: np.ndarray, unit: float, projection: object) -> Table:
    """Truth in pixels of the mosaic and nJy."""
    truth = stamp_set.truth.copy()
    tile = stamp_set.truth_rows
    truth["x"] = np.asarray(truth["x"], dtype=np.float64) + origins[tile, 0]
    truth["y"] = np.asarray(truth["y"], dtype=np.float64) + origins[tile, 1]
    sky = projection.pixel_to_sky(XY(x=np.asarray(truth["x"]), y=np.asarray(truth["y"])))  # type: ignore[attr-defined]
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
