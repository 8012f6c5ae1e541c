# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Output tables put beside their coadd and what is truly in it."""

from __future__ import annotations

__all__ = ("MatchedCoadd", "match_truth")

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..footprints import FootprintSet, spans_to_labels
from ..labels import count_galaxies

if TYPE_CHECKING:
    from astropy.table import Table


@dataclass(frozen=True)
class MatchedCoadd:
    """A coadd, the three tables that were made of it, and the truth of each footprint."""

    name: str
    """What to call it, for example ``patch 0``."""
    image: np.ndarray
    """Pixels `(ny, nx)`."""
    noise: float
    """Typical noise of a pixel, in the unit of the image."""
    xy0: tuple[int, int]
    """Parent pixel ``(x, y)`` of the first element."""
    pixel_scale: float
    """Side of a pixel, arcsec."""
    blend: Table
    """A row per footprint `(n,)`."""
    peaks: Table
    """A row per peak."""
    spans: Table
    """A row per span."""
    galaxies: np.ndarray
    """Positions ``(x, y)`` of the galaxies that count, parent pixels `(m, 2)`."""
    galaxy_inside: np.ndarray
    """Whether the centre of each is in some footprint, bool `(m,)`."""
    galaxy_inner: np.ndarray
    """Whether each lies in the inner region, so that no other coadd has it too, bool `(m,)`."""
    counts: np.ndarray
    """True number of galaxies of each footprint, int32 `(n,)`."""
    brightest: np.ndarray
    """Magnitude of the brightest of them `(n,)`, NaN where there is none."""

    @property
    def inner(self) -> np.ndarray:
        """Rows that no other patch or tract has too, bool `(n,)`."""
        return np.asarray(self.blend["is_patch_inner"]) & np.asarray(self.blend["is_tract_inner"])


def match_truth(
    *,
    name: str,
    image: np.ndarray,
    noise: float,
    xy0: tuple[int, int],
    pixel_scale: float,
    blend: Table,
    peaks: Table,
    spans: Table,
    truth: Table,
    inner_box: tuple[int, int, int, int] | None = None,
    snr_min: float = 5.0,
) -> MatchedCoadd:
    """Count the true galaxies of each footprint of a table.

    Parameters
    ----------
    name
        What to call the coadd.
    image
        Its pixels `(ny, nx)`.
    noise
        Typical noise of a pixel, in the unit of the image.
    xy0
        Parent pixel ``(x, y)`` of the first element.
    pixel_scale
        Side of a pixel, arcsec.
    blend, peaks, spans
        The three tables; rows of ``blend`` are in the order of
        ``footprint_id``, from 1 without gaps.
    truth
        Table with columns ``x``, ``y`` (parent pixels), ``snr`` (point-source
        S/N) and ``mag``.
    inner_box
        First and last pixel ``(x0, y0, x1, y1)``, parent pixels, of the region
        that no other coadd has too; all of the image by default.
    snr_min
        Fainter galaxies do not count.

    Returns
    -------
    matched
        Everything together.

    Raises
    ------
    ValueError
        If footprints are missing from one of the tables, or a span lies
        outside of the image.
    KeyError
        If the truth lacks a column.
    """
    if not np.array_equal(np.asarray(blend["footprint_id"]), np.arange(1, len(blend) + 1)):
        raise ValueError(f"the footprints of {name} are not numbered from 1 without gaps; match whole tables")
    columns = [np.asarray(spans[column]) for column in ("footprint_id", "y", "x0", "x1")]
    labels = spans_to_labels(np.stack(columns, axis=1), image.shape, xy0)
    footprints = FootprintSet.from_labels(labels, xy0=xy0)
    if len(footprints) != len(blend):
        raise ValueError(f"{name} has {len(blend)} footprints but spans of {len(footprints)}")
    counts = count_galaxies(footprints, truth, snr_min=snr_min)

    bright = truth[np.asarray(truth["snr"]) >= snr_min]
    position = np.stack([np.asarray(bright["x"], dtype=float), np.asarray(bright["y"], dtype=float)], axis=1)
    pixel = np.rint(position).astype(np.int64) - np.asarray(xy0)
    within = np.all((pixel >= 0) & (pixel < labels.shape[::-1]), axis=1)
    position, pixel = position[within], pixel[within]
    owner = labels[pixel[:, 1], pixel[:, 0]]
    brightest = np.full(len(blend) + 1, np.inf)
    np.minimum.at(brightest, owner, np.asarray(bright["mag"], dtype=float)[within])
    brightest[np.isinf(brightest)] = np.nan
    return MatchedCoadd(
        name=name,
        image=image,
        noise=noise,
        xy0=xy0,
        pixel_scale=pixel_scale,
        blend=blend,
        peaks=peaks,
        spans=spans,
        galaxies=position,
        galaxy_inside=owner > 0,
        galaxy_inner=_in_box(pixel + np.asarray(xy0), inner_box),
        counts=counts,
        brightest=brightest[1:],
    )


def _in_box(pixel: np.ndarray, box: tuple[int, int, int, int] | None) -> np.ndarray:
    """Whether pixels ``(x, y)`` `(m, 2)` lie in a box, its edges included; in none given, all do."""
    if box is None:
        return np.ones(len(pixel), dtype=bool)
    return np.asarray(np.all((pixel >= np.asarray(box[:2])) & (pixel <= np.asarray(box[2:])), axis=1))
