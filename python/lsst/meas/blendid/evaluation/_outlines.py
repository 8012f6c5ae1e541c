# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Geometry and brightness for pictures of footprints: windows, pixel-edge outlines, asinh stretch."""

from __future__ import annotations

__all__ = ("asinh_stretch", "cut_window", "outline_segments", "rasterize_spans")

import numpy as np


def asinh_stretch(
    image: np.ndarray, noise: float, *, low: float = -2.0, softening: float = 3.0, high: float | None = None
) -> np.ndarray:
    """Compress an image to brightnesses between 0 and 1, linear in the noise and logarithmic above it.

    The asinh scale of Lupton et al. (1999, AJ 118, 1406; 2004, PASP 116, 133).

    Parameters
    ----------
    image
        Image `(ny, nx)` in any unit; pixels that are not finite become 0.
    noise
        Noise of a pixel in the same unit, positive.
    low
        Value drawn black, in units of the noise.
    softening
        Value where the scale turns from linear to logarithmic, in units of
        the noise.
    high
        Value drawn white, in units of the noise; the 99.7th percentile of
        the image, but at least 20, if `None`.

    Returns
    -------
    brightness
        float32 array `(ny, nx)` in [0, 1].

    Raises
    ------
    ValueError
        If the noise is not positive and finite.
    """
    if not (np.isfinite(noise) and noise > 0.0):
        raise ValueError(f"The noise of the stretch is {noise}; it must be positive and finite.")
    scaled = np.asarray(image, dtype=np.float64) / noise
    finite = np.isfinite(scaled)
    if high is None:
        high = max(20.0, float(np.percentile(scaled[finite], 99.7))) if finite.any() else 20.0
    scaled = np.where(finite, np.clip(scaled, low, high), low)
    floor, ceiling = np.arcsinh(low / softening), np.arcsinh(high / softening)
    return ((np.arcsinh(scaled / softening) - floor) / (ceiling - floor)).astype(np.float32)


def cut_window(
    image: np.ndarray, xy0: tuple[int, int], window: tuple[int, int, int, int], fill: float = np.nan
) -> np.ndarray:
    """Cut a window out of an image, filling what lies outside of it.

    Parameters
    ----------
    image
        Image `(ny, nx)`.
    xy0
        Parent pixel ``(x, y)`` of its first element.
    window
        ``(x0, y0, x1, y1)`` in parent pixels, inclusive.
    fill
        Value of window pixels outside of the image.

    Returns
    -------
    cutout
        Array `(y1 - y0 + 1, x1 - x0 + 1)`.

    Raises
    ------
    ValueError
        If the window has no pixel.
    """
    x0, y0, x1, y1 = window
    if x1 < x0 or y1 < y0:
        raise ValueError(
            f"The window {window} has no pixel; give (x0, y0, x1, y1) with x0 <= x1 and y0 <= y1."
        )
    cutout = np.full((y1 - y0 + 1, x1 - x0 + 1), fill, dtype=image.dtype)
    ny, nx = image.shape
    ax, ay = max(x0 - xy0[0], 0), max(y0 - xy0[1], 0)
    bx, by = min(x1 - xy0[0] + 1, nx), min(y1 - xy0[1] + 1, ny)
    if ax < bx and ay < by:
        oy, ox = ay + xy0[1] - y0, ax + xy0[0] - x0
        cutout[oy : oy + by - ay, ox : ox + bx - ax] = image[ay:by, ax:bx]
    return cutout


def rasterize_spans(
    footprint_id: np.ndarray,
    y: np.ndarray,
    x0: np.ndarray,
    x1: np.ndarray,
    window: tuple[int, int, int, int],
) -> np.ndarray:
    """Draw spans into a label image.

    Parameters
    ----------
    footprint_id, y, x0, x1
        Columns of the span table, `(m,)` each; parent pixels, ``x0`` and
        ``x1`` inclusive.
    window
        ``(x0, y0, x1, y1)`` in parent pixels, inclusive.

    Returns
    -------
    labels
        int32 array `(y1 - y0 + 1, x1 - x0 + 1)`, 0 outside of all spans.

    Raises
    ------
    ValueError
        If the window has no pixel.
    """
    wx0, wy0, wx1, wy1 = window
    labels = cut_window(np.zeros((0, 0), dtype=np.int32), (0, 0), window, fill=0)
    ids, rows, start, stop = (np.asarray(column).astype(np.int64) for column in (footprint_id, y, x0, x1))
    inside = (rows >= wy0) & (rows <= wy1) & (stop >= wx0) & (start <= wx1)
    ids, rows = ids[inside], rows[inside] - wy0
    start, stop = np.maximum(start[inside], wx0) - wx0, np.minimum(stop[inside], wx1) - wx0
    length = stop - start + 1
    # One entry a pixel: the offset within its own span added to the start of the span.
    offset = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    labels[np.repeat(rows, length), np.repeat(start, length) + offset] = np.repeat(ids, length)
    return labels


def outline_segments(labels: np.ndarray, xy0: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Find the outlines of labelled regions along the edges of their pixels.

    Straight runs are one segment, so that a line collection draws them
    quickly and without gaps. Where two regions touch, each gets its own
    segment. A region that is cut by the border of the array has no outline
    there, which shows that it continues.

    Parameters
    ----------
    labels
        Label image `(ny, nx)`, 0 for none.
    xy0
        Parent pixel ``(x, y)`` of its first element.

    Returns
    -------
    segments
        float64 array `(k, 2, 2)`: start and end points ``(x, y)``, with the
        centre of a pixel at its integer index.
    footprint_id
        Label that each segment bounds, `(k,)`.
    """
    found_segments, found_ids = [], []
    # Horizontal edges first; vertical ones are those of the transposed image.
    for image, transposed in ((labels, False), (labels.T, True)):
        if image.shape[0] < 2:
            continue
        lower, upper = image[:-1], image[1:]
        differs = lower != upper
        for side in (lower, upper):
            owner = np.where(differs, side, 0)
            change = np.diff(owner, axis=1, prepend=0, append=0) != 0
            row, column = np.nonzero(change)
            if len(row) == 0:
                continue
            # Successive changes in a row bound runs of one owner; those of owner 0 are gaps.
            same_row = row[1:] == row[:-1]
            begin, end, line = column[:-1][same_row], column[1:][same_row], row[:-1][same_row]
            ids = owner[line, begin]
            keep = ids > 0
            begin, end, line, ids = begin[keep], end[keep], line[keep], ids[keep]
            along = np.stack([begin - 0.5, end - 0.5], axis=1)
            across = np.stack([line + 0.5, line + 0.5], axis=1)
            pair = (across, along) if transposed else (along, across)
            found_segments.append(np.stack(pair, axis=2))
            found_ids.append(ids)
    if not found_segments:
        return np.empty((0, 2, 2)), np.empty(0, dtype=labels.dtype)
    segments = np.concatenate(found_segments) + np.asarray(xy0, dtype=np.float64)
    return segments, np.concatenate(found_ids)
