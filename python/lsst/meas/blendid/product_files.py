# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Footprints for other programs: regions for DS9 and label images."""

from __future__ import annotations

__all__ = ("outlines", "write_regions", "write_segmentation")

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from lsst.images import Box, SkyProjection

from ._colors import INFERRED_PEAK, are_shown, probability_color
from ._files import atomic_path
from .footprints import FootprintSet
from .tables import BlendTables

_SMALLEST, _LARGEST, _USUAL = 4, 9, 6
"""Sizes of points of probability 0, 1 and an unknown one, screen pixels."""


def outlines(footprints: FootprintSet) -> list[list[np.ndarray]]:
    """Find the outlines of footprints along the edges of their pixels.

    Parameters
    ----------
    footprints
        The n footprints.

    Returns
    -------
    polygons
        For each footprint the corners (x, y) of its outer outline, float64
        (k, 2), parent pixels, counterclockwise; several if it has parts that
        do not touch.  Holes have none.
    """
    x0, y0 = footprints.xy0
    found = []
    for label, (left, bottom, right, top) in enumerate(footprints.bbox, start=1):
        cut = footprints.labels[bottom - y0 : top - y0 + 1, left - x0 : right - x0 + 1] == label
        found.append([loop + (left - 0.5, bottom - 0.5) for loop in _trace(cut)])
    return found


def _trace(mask: np.ndarray) -> Iterator[np.ndarray]:
    """Outer outlines of a mask, with the lower left corner of its first pixel at (0, 0)."""
    padded = np.pad(mask, 1)
    # Edges by their start, with the mask at their left.  Diagonal neighbours belong together.
    edges: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for dy, dx, (ax, ay), (bx, by) in (
        (-1, 0, (0, 0), (1, 0)),
        (0, 1, (1, 0), (1, 1)),
        (1, 0, (1, 1), (0, 1)),
        (0, -1, (0, 1), (0, 0)),
    ):
        y, x = np.nonzero(mask & ~padded[1 + dy : 1 + dy + mask.shape[0], 1 + dx : 1 + dx + mask.shape[1]])
        for px, py in zip(x.tolist(), y.tolist(), strict=True):
            edges.setdefault((px + ax, py + ay), []).append((px + bx, py + by))
    while edges:
        start = next(iter(edges))
        loop, here, step = [start], start, (0, 0)
        while True:
            ends = edges[here]
            # Where two pixels touch at a corner, a turn to the right goes over to the other one.
            turn = [step[0] * (e[1] - here[1]) - step[1] * (e[0] - here[0]) for e in ends]
            end = ends.pop(int(np.argmin(turn)))
            if not ends:
                del edges[here]
            step, here = (end[0] - here[0], end[1] - here[1]), end
            if here == start:
                break
            loop.append(here)
        corners = np.array(loop, dtype=float)
        before, after = corners - np.roll(corners, 1, axis=0), np.roll(corners, -1, axis=0) - corners
        area = np.sum(corners[:, 0] * np.roll(corners[:, 1], -1) - corners[:, 1] * np.roll(corners[:, 0], -1))
        if area > 0.0:
            yield corners[(before != after).any(axis=1)]


def write_regions(
    path: str | os.PathLike[str],
    tables: BlendTables,
    footprints: FootprintSet,
    *,
    projection: SkyProjection[Any] | None = None,
) -> None:
    """Write footprints and peaks as a region file of SAOImage DS9.

    Footprints are polygons in the colour of ``p_blended``, from blue over
    white to orange, grey where it is NaN, with number and probability as
    text.  Detected peaks are crosses in the colour of their footprint, inferred
    ones of a probability of 0.1 or more pink diamonds with it as text; those with
    a probability are the smaller the less probable they are.  Tags group what
    belongs to a footprint, and detected and inferred peaks.

    Parameters
    ----------
    path
        File to write; an older one is replaced.
    tables
        Tables of the coadd.
    footprints
        Its footprints.
    projection
        Sky projection: positions are in ICRS then, and in pixels of the image
        without.

    Raises
    ------
    OSError
        Raised if the file cannot be written.
    """
    polygons = outlines(footprints)
    corners = [polygon for parts in polygons for polygon in parts]
    inferred = np.asarray(tables.blend_peak["is_inferred"], dtype=bool)
    peak_table = tables.blend_peak[are_shown(np.asarray(tables.blend_peak["probability"]), inferred)]
    peaks = np.stack([np.asarray(peak_table[name], dtype=float) for name in ("f_x", "f_y")], axis=1)
    places = _format_places(np.concatenate([*corners, peaks]), footprints.xy0, projection)
    probability = np.asarray(tables.blend["p_blended"], dtype=float)
    lines = [
        "# Region file format: DS9",
        'global width=1 font="helvetica 9 normal roman" select=1 edit=0 move=0 delete=1',
        "image" if projection is None else "icrs",
    ]
    start = 0
    for number, (parts, p) in enumerate(zip(polygons, probability, strict=True), start=1):
        text = f"{number}: not classified" if np.isnan(p) else f"{number}: {p:.2f}"
        for index, polygon in enumerate(parts):
            stop = start + len(polygon)
            label = f" text={{{text}}}" if index == 0 else ""
            tag = f"tag={{footprint {number}}}"
            lines.append(
                f"polygon({','.join(places[start:stop])}) # color={probability_color(p)}{label} {tag}"
            )
            start = stop
    for place, row in zip(places[start:], peak_table, strict=True):
        p, label = float(row["probability"]), row["footprint_id"]
        kind = "inferred" if row["is_inferred"] else "detected"
        size = _USUAL if np.isnan(p) else round(_SMALLEST + (_LARGEST - _SMALLEST) * p)
        look = f"point={'diamond' if row['is_inferred'] else 'cross'} {size}"
        color = INFERRED_PEAK if row["is_inferred"] else probability_color(probability[label - 1])
        text = f" text={{{p:.2f}}}" if row["is_inferred"] else ""
        tags = f"tag={{footprint {label}}} tag={{{kind} peak}}"
        lines.append(f"point({place}) # {look} color={color}{text} {tags}")
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="ascii")


def _format_places(
    places: np.ndarray, xy0: tuple[int, int], projection: SkyProjection[Any] | None
) -> list[str]:
    """Write positions (x, y), parent pixels, as DS9 reads them."""
    if projection is None or len(places) == 0:
        # DS9 counts pixels from 1.
        return [f"{x:.2f},{y:.2f}" for x, y in places - xy0 + 1.0]
    sky = projection.pixel_to_sky(x=places[:, 0], y=places[:, 1])
    return [f"{ra:.7f},{dec:.7f}" for ra, dec in zip(sky.ra.deg, sky.dec.deg, strict=True)]


def write_segmentation(
    path: str | os.PathLike[str],
    footprints: FootprintSet,
    *,
    projection: SkyProjection[Any] | None = None,
) -> None:
    """Write the label image: for each pixel the ``footprint_id``, 0 for none.

    Parameters
    ----------
    path
        FITS file to write, compressed without loss; an older one is replaced.
    footprints
        The footprints.
    projection
        Sky projection, for the WCS of the header.

    Raises
    ------
    OSError
        Raised if the file cannot be written.
    """
    import astropy.io.fits

    header = astropy.io.fits.Header()
    if projection is not None:
        box = Box.from_shape(footprints.labels.shape, start=footprints.xy0[::-1])
        wcs = projection.as_fits_wcs(box, allow_approximation=True)
        if wcs is not None:
            header = wcs.to_header(relax=True)
    x0, y0 = footprints.xy0
    header["LTV1"], header["LTV2"] = -float(x0), -float(y0)
    hdu = astropy.io.fits.CompImageHDU(
        np.ascontiguousarray(footprints.labels, dtype=np.int32),
        header=header,
        compression_type="GZIP_2",
        name="SEGMENTATION",
    )
    with atomic_path(path) as temporary:
        hdu.writeto(temporary)
