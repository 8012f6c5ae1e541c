# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Globally unique identifiers of table rows.

The layout of the 63 bits is that of the Rubin pipelines: release, data ID
packed as by ``lsst.skymap.packers.SkyMapDimensionPacker``, counter from 1
(``lsst.meas.base.FullIdGenerator``).  Neither package is needed here.
"""

from __future__ import annotations

__all__ = ("SUPPORTED_BANDS", "SkyMapIdConfig", "row_ids")

import numpy as np

from lsst.daf.butler import DataCoordinate
from lsst.pex.config import Config, Field, ListField

SUPPORTED_BANDS: tuple[str, ...] = (
    *"ugrizyUBGVRIZYJHK",
    *(f"N{d}" for d in (387, 515, 656, 816, 921, 1010)),
    *(f"N{d}" for d in (419, 540, 708, 964)),
)
"""Bands in the order in which SkyMapDimensionPacker numbers them, from 1
(0 is no band)."""


class SkyMapIdConfig(Config):
    """How a data ID and a row counter are packed into one integer."""

    releaseId: Field[int] = Field(
        doc="Identifier of a data release to embed in the IDs; zero for none.",
        dtype=int,
        default=0,
        check=lambda x: x >= 0,
    )
    nReleases: Field[int] = Field(
        doc="Number of releases to reserve space for.", dtype=int, default=64, check=lambda x: x > 0
    )
    bands: ListField[str] = ListField(
        doc="Bands in the order of their packed numbers, which start at 1.",
        dtype=str,
        default=list(SUPPORTED_BANDS),
    )
    nTracts: Field[int] = Field(
        doc="One more than the largest tract ID; None takes it from the skymap's dimension record.",
        dtype=int,
        default=None,
        optional=True,
    )
    nPatches: Field[int] = Field(
        doc="One more than the largest patch ID; None takes it from the skymap's dimension record.",
        dtype=int,
        default=None,
        optional=True,
    )

    def validate(self) -> None:
        super().validate()
        if self.releaseId >= self.nReleases:
            raise ValueError(f"releaseId {self.releaseId} does not fit into nReleases {self.nReleases}")

    def first_id(self, data_id: DataCoordinate) -> tuple[int, int]:
        """Compute the ID that precedes the first row of a data ID.

        Parameters
        ----------
        data_id
            Data ID with tract, patch, band and, unless ``nTracts`` and
            ``nPatches`` are set, the dimension record of its skymap.

        Returns
        -------
        offset
            What is added to a counter that starts at 1.
        n_counters
            First counter that no longer fits.

        Raises
        ------
        ValueError
            Raised if the band, tract or patch does not fit.
        """
        n_tracts, n_patches = self.nTracts, self.nPatches
        if n_tracts is None or n_patches is None:
            record = data_id.records["skymap"]
            if record is None:
                raise ValueError(
                    f"data ID {data_id} has no skymap record; set idGenerator.nTracts and nPatches"
                )
            n_tracts = record.tract_max if n_tracts is None else n_tracts
            n_patches = record.patch_nx_max * record.patch_ny_max if n_patches is None else n_patches
        tract, patch, band = int(data_id["tract"]), int(data_id["patch"]), str(data_id["band"])
        if not 0 <= tract < n_tracts or not 0 <= patch < n_patches:
            raise ValueError(
                f"tract {tract}, patch {patch} do not fit into {n_tracts} tracts, {n_patches} patches"
            )
        if band not in self.bands:
            raise ValueError(f"band {band!r} has no number; add it to the end of idGenerator.bands")
        n_bands = len(self.bands) + 1
        packed = patch + n_patches * (tract + n_tracts * (self.bands.index(band) + 1))
        data_id_bits = (n_tracts * n_patches * n_bands - 1).bit_length()
        counter_bits = 63 - data_id_bits - (self.nReleases - 1).bit_length()
        if counter_bits < 16:
            raise ValueError(
                f"only {counter_bits} bits are left for the row counter; reduce nTracts or nReleases"
            )
        catalog_id = packed + (self.releaseId << data_id_bits)
        return catalog_id << counter_bits, 1 << counter_bits


def row_ids(n_rows: int, offset: int = 0, n_counters: int = 1 << 63) -> np.ndarray:
    """Make the IDs of the rows of one table.

    Parameters
    ----------
    n_rows
        Number of rows.
    offset, n_counters
        As given by `SkyMapIdConfig.first_id`; for files without a data ID the
        counter alone.

    Returns
    -------
    ids : `numpy.ndarray`, shape (n_rows,), int64
        IDs, counters from 1.

    Raises
    ------
    ValueError
        Raised if there are more rows than counters.
    """
    if n_rows >= n_counters:
        raise ValueError(f"{n_rows} rows do not fit into {n_counters} counters")
    return np.arange(1, n_rows + 1, dtype=np.int64) + offset
