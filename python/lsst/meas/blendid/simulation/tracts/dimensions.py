# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Dimension records of simulated tracts, which lsst.skymap would write for its skymaps."""

from __future__ import annotations

__all__ = ("register_dimensions",)

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from lsst.daf.butler import Butler
from lsst.daf.butler.registry import ConflictingDefinitionError
from lsst.images import XY, Box, SkyProjection, TractFrame
from lsst.images.cells import PatchDefinition
from lsst.sphgeom import ConvexPolygon, LonLat, UnitVector3d

from .._errors import SimulationError


def _region(projection: SkyProjection[TractFrame], box: Box) -> ConvexPolygon:
    """Sky region of a box of pixels, outer edges included."""
    x = np.array([box.x.min - 0.5, box.x.max + 0.5, box.x.max + 0.5, box.x.min - 0.5])
    y = np.array([box.y.min - 0.5, box.y.min - 0.5, box.y.max + 0.5, box.y.max + 0.5])
    sky = projection.pixel_to_sky(XY(x=x, y=y))
    return ConvexPolygon(
        [UnitVector3d(LonLat.fromDegrees(ra, dec)) for ra, dec in zip(sky.ra.deg, sky.dec.deg, strict=True)]
    )


def register_dimensions(
    butler: Butler,
    projection: SkyProjection[TractFrame],
    patches: Iterable[PatchDefinition],
    *,
    bands: Iterable[str] = ("i",),
    instrument: str = "BlendidSim",
) -> None:
    """Insert the dimension records that datasets of patches and bands need.

    Parameters
    ----------
    butler
        A writeable Butler. Records that exist already with the same values are left
        alone.
    projection
        Projection of the tract; names the skymap and the tract.
    patches
        The patches of the tract.
    bands
        Names of the bands. A band exists in a Butler through a physical filter only:
        one ``<band>_sim`` is made for each.
    instrument
        Name of the instrument that owns the filters.

    Raises
    ------
    SimulationError
        Raised, and nothing is changed, if a record exists with other values: another
        layout of patches under the same name of a skymap.
    """
    patches = tuple(patches)
    frame = projection.pixel_frame
    layout = f"{frame.skymap} {frame.tract} {frame.bbox} " + " ".join(str(p) for p in patches)
    records: list[tuple[str, dict[str, Any]]] = [
        (
            "instrument",
            {
                "name": instrument,
                "visit_max": 1,
                "exposure_max": 1,
                "detector_max": 1,
                "class_name": "lsst.pipe.base.Instrument",
            },
        )
    ]
    for band in bands:
        records.append(
            ("physical_filter", {"instrument": instrument, "name": f"{band}_sim", "band": band}),
        )
    # The hash is that of the whole layout, so that another one of the same name differs here already.
    records.append(
        (
            "skymap",
            {
                "name": frame.skymap,
                "hash": hashlib.sha1(layout.encode(), usedforsecurity=False).digest(),
                "tract_max": frame.tract + 1,
                "patch_nx_max": max(p.index.x for p in patches) + 1,
                "patch_ny_max": max(p.index.y for p in patches) + 1,
            },
        )
    )
    region = _region(projection, frame.bbox)
    records.append(("tract", {"skymap": frame.skymap, "id": frame.tract, "region": region}))
    for p in patches:
        record = {
            "skymap": frame.skymap,
            "tract": frame.tract,
            "id": p.id,
            "cell_x": p.index.x,
            "cell_y": p.index.y,
            "region": _region(projection, p.outer_bbox),
        }
        records.append(("patch", record))
    with butler.transaction():
        for element, record in records:
            try:
                butler.registry.syncDimensionData(element, record)
            except ConflictingDefinitionError:
                name = record.get("name", record.get("id"))
                raise SimulationError(
                    f"the repository has another {element} {name!r} already (skymap {frame.skymap!r}): "
                    "give the skymap another name, or use another repository"
                ) from None
