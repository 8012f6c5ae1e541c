# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Sky background on a mesh of clipped boxes, interpolated to each pixel."""

from __future__ import annotations

__all__ = (
    "BackgroundMesh",
    "estimate_background",
    "fill_missing",
)

from dataclasses import dataclass

import numpy as np

from .._jit import njit


def fill_missing(values: np.ndarray, n_rings: int) -> np.ndarray:
    """Continue the values of boxes (ny, nx) into those without one, NaN, ring after ring.

    Each gets the plane through the known ones of the 5×5 around it (level in a direction in which these do
    not extend), so that a gradient continues under a mask; boxes beyond ``n_rings`` get the median.
    """
    known = ~np.isnan(values)
    median = float(np.median(values[known]))
    filled = np.where(known, values, 0.0)
    ny, nx = values.shape
    shifts = [(j, i) for j in range(-2, 3) for i in range(-2, 3)]
    for _ in range(n_rings):
        if known.all():
            return filled
        # Weight 0 stands for unknown boxes and for those beyond the edge alike.
        padded = np.pad(filled, 2)
        weight = np.pad(known.astype(float), 2)
        # Sums over the window of 1, x, y, xx, xy, yy, v, xv, yv; filled is 0 where nothing is known.
        sums = np.zeros((9, ny, nx))
        near = np.zeros((ny, nx), dtype=bool)
        for y, x in shifts:
            window = (slice(2 + y, 2 + y + ny), slice(2 + x, 2 + x + nx))
            w, v = weight[window], padded[window]
            sums += np.array([w, x * w, y * w, x * x * w, x * y * w, y * y * w, v, x * v, y * v])
            if max(abs(y), abs(x)) == 1:
                # Only boxes that touch a known one are filled in this ring; the others wait for it.
                near |= w > 0.0
        new = near & ~known
        n, sx, sy, sxx, sxy, syy, sv, sxv, syv = sums[:, new]
        mx, my, mv = sx / n, sy / n, sv / n
        moments = np.array([[sxx - n * mx * mx, sxy - n * mx * my], [sxy - n * mx * my, syy - n * my * my]])
        # The pseudo-inverse gives no slope along a direction in which all known boxes lie on one line.
        inverse = np.linalg.pinv(moments.transpose(2, 0, 1), rcond=1e-6, hermitian=True)
        slope = np.einsum("kij,jk->ik", inverse, np.array([sxv - n * mx * mv, syv - n * my * mv]))
        filled[new] = mv - slope[0] * mx - slope[1] * my
        known = known | new
    return np.where(known, filled, median)


@dataclass(frozen=True)
class BackgroundMesh:
    """Background in boxes.

    Parameters
    ----------
    values
        Background of each box, float64 ``(n_boxes_y, n_boxes_x)``.
    sigma
        Clipped standard deviation of each box, same shape; NaN where a box had
        no good pixel, or so few that it was filled from its neighbours.
    centers_y, centers_x
        Centres of the boxes in array coordinates, ``(n_boxes_y,)`` and
        ``(n_boxes_x,)``.
    shape
        ``(ny, nx)`` of the image.
    """

    values: np.ndarray
    sigma: np.ndarray
    centers_y: np.ndarray
    centers_x: np.ndarray
    shape: tuple[int, int]

    def subtract_from(self, image: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Subtract the interpolated background.

        Parameters
        ----------
        image
            Image, float32 of ``shape``.
        out
            Where the result goes; a new array if `None`.

        Returns
        -------
        difference
            ``image`` minus the background, float32.
        """
        ny, nx = self.shape
        # First along y at the columns of the boxes, then along x in each row of pixels: the full spline is
        # never held.
        columns = _evaluate_pieces(*_akima_pieces(self.centers_y, self.values.T, ny))
        coefficients, starts = _akima_pieces(self.centers_x, columns.T, nx)
        result = np.empty_like(image) if out is None else out
        _subtract_cubic(image, coefficients, starts, result)
        return result


@njit(nogil=True)
def _select(values: np.ndarray, first: int, last: int, k: int) -> float:
    """Hoare's selection: the k-th smallest of values[first:last + 1]; reorders them."""
    while first < last:
        pivot = values[(first + last) // 2]
        i, j = first, last
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if k <= j:
            last = j
        elif k >= i:
            first = i
        else:
            break
    return values[k]


@njit(nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _clipped_sums(
    values: np.ndarray, n: int, low: float, high: float, zero: float
) -> tuple[int, float, float]:
    """Count, sum and sum of squares about ``zero`` of the values in [low, high]."""
    lo, hi, z = np.float32(low), np.float32(high), np.float32(zero)
    count = np.float32(0.0)
    s1 = np.float32(0.0)
    s2 = np.float32(0.0)
    for i in range(n):
        v = values[i]
        # By multiplication and not by a branch, which compilers turn into vector instructions; differences
        # from a value in the middle of the data keep single precision good enough.
        inside = np.float32(1.0) if (v >= lo) & (v <= hi) else np.float32(0.0)
        d = (v - z) * inside
        count += inside
        s1 += d
        s2 += d * d
    return int(count), float(s1), float(s2)


@njit(nogil=True)
def _mesh_statistics(
    image: np.ndarray,
    skip: np.ndarray,
    use_skip: bool,
    edges_y: np.ndarray,
    edges_x: np.ndarray,
    stride: int,
    n_iterations: int,
) -> np.ndarray:
    """Clipped mean, median and sigma of boxes, and share of good pixels, (4, n_boxes_y, n_boxes_x)."""
    n_by, n_bx = edges_y.size - 1, edges_x.size - 1
    out = np.full((4, n_by, n_bx), np.nan)
    size = 1
    for i in range(n_by):
        for j in range(n_bx):
            size = max(size, (edges_y[i + 1] - edges_y[i]) * (edges_x[j + 1] - edges_x[j]))
    buffer = np.empty(size, np.float32)
    scratch = np.empty(size, np.float32)
    # Bins of 0.012 sigma, about what the median of a box of 128² pixels errs by, and interpolated: no box
    # needs to be sorted.
    histogram = np.empty(512, np.int64)
    for i in range(n_by):
        for j in range(n_bx):
            n = 0
            for y in range(edges_y[i], edges_y[i + 1]):
                if use_skip:
                    for x in range(edges_x[j], edges_x[j + 1]):
                        # Written in any case and kept by moving on, without a branch that depends on the
                        # data.
                        buffer[n] = image[y, x]
                        n += not skip[y, x]
                else:
                    width = edges_x[j + 1] - edges_x[j]
                    buffer[n : n + width] = image[y, edges_x[j] : edges_x[j + 1]]
                    n += width
            out[3, i, j] = n / ((edges_y[i + 1] - edges_y[i]) * (edges_x[j + 1] - edges_x[j]))
            if n == 0:
                continue
            # First guess: median and interquartile range of every stride-th pixel.
            m = 0
            for k in range(0, n, stride):
                scratch[m] = buffer[k]
                m += 1
            middle = float(_select(scratch, 0, m - 1, m // 2))
            # The first selection has left what is below the median before it, so that quartiles are medians
            # of halves.
            q1 = _select(scratch, 0, m // 2, m // 4)
            q3 = _select(scratch, m // 2, m - 1, (3 * m) // 4)
            mean, sigma = middle, 0.741301 * (q3 - q1)
            low = high = middle
            last_count = -1
            for _ in range(n_iterations):
                low, high = mean - 3.0 * sigma, mean + 3.0 * sigma
                count, s1, s2 = _clipped_sums(buffer, n, low, high, middle)
                # Nothing more is clipped; the next round would give the same.
                if count == 0 or count == last_count:
                    break
                last_count = count
                delta = s1 / count
                mean = middle + delta
                sigma = np.sqrt(max(s2 / count - delta * delta, 0.0))
            # Median of what is left, from a histogram of it.
            median = middle
            if last_count > 0 and high > low:
                histogram[:] = 0
                scale = np.float32(histogram.size / (high - low))
                lo, hi = np.float32(low), np.float32(high)
                for k in range(n):
                    v = buffer[k]
                    if v >= lo and v <= hi:
                        histogram[min(int((v - lo) * scale), histogram.size - 1)] += 1
                half = 0.5 * last_count
                below = 0
                for k in range(histogram.size):
                    if below + histogram[k] >= half:
                        median = low + (k + (half - below) / histogram[k]) / scale
                        break
                    below += histogram[k]
            out[0, i, j] = mean
            out[1, i, j] = median
            out[2, i, j] = sigma
    return out


@njit(nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _subtract_cubic(image: np.ndarray, coefficients: np.ndarray, starts: np.ndarray, out: np.ndarray) -> None:
    """Subtract a piecewise cubic in x from each row.

    coefficients (ny, n_pieces, 4) about the first pixel of each piece, starts (n_pieces + 1,) those pixels.
    """
    ny = image.shape[0]
    for y in range(ny):
        for p in range(starts.size - 1):
            c0 = np.float32(coefficients[y, p, 0])
            c1 = np.float32(coefficients[y, p, 1])
            c2 = np.float32(coefficients[y, p, 2])
            c3 = np.float32(coefficients[y, p, 3])
            start = starts[p]
            for k in range(starts[p + 1] - start):
                t = np.float32(k)
                out[y, start + k] = image[y, start + k] - (c0 + t * (c1 + t * (c2 + t * c3)))


def _akima_slopes(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Derivative at each knot of Akima's spline (1970, J. ACM 17, 589) along the last axis of y."""
    if x.size == 1:
        return np.zeros_like(y)
    m = np.diff(y, axis=-1) / np.diff(x)
    if x.size == 2:
        return np.concatenate([m, m], axis=-1)
    # Two slopes beyond each end on a parabola through the last three points, as the paper has them.
    before = 2.0 * m[..., :1] - m[..., 1:2]
    after = 2.0 * m[..., -1:] - m[..., -2:-1]
    m = np.concatenate([2.0 * before - m[..., :1], before, m, after, 2.0 * after - m[..., -1:]], axis=-1)
    left = np.abs(m[..., 1:-2] - m[..., :-3])
    right = np.abs(m[..., 3:] - m[..., 2:-1])
    total = left + right
    # Where slopes do not change on either side the weights are 0/0; the paper takes their mean.
    flat = total == 0.0
    weighted = right * m[..., 1:-2] + left * m[..., 2:-1]
    even = 0.5 * (m[..., 1:-2] + m[..., 2:-1])
    return np.where(flat, even, weighted / np.where(flat, 1.0, total))


def _akima_pieces(x: np.ndarray, y: np.ndarray, n_pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Cubics of Akima's spline through values (n, k) at increasing knots (k,), for pixels 0 … n_pixels - 1.

    One a piece between knots and one beyond each end, where value, slope and curvature continue, as in
    `lsst.afw.math.Interpolate`.  Gives the coefficients (n, k + 1, 4) of powers 0 … 3 of the distance from
    the first pixel of the piece, and these first pixels with ``n_pixels``, int64 (k + 2,).
    """
    slope = _akima_slopes(x, y)
    c = np.zeros((y.shape[0], x.size + 1, 4))
    c[:, 0, 0], c[:, 0, 1] = y[:, 0], slope[:, 0]
    c[:, 1:, 0], c[:, 1:, 1] = y, slope
    if x.size > 1:
        h = np.diff(x)
        rise = np.diff(y, axis=1) / h
        # Hermite's cubic: values and slopes at both knots.
        c[:, 1:-1, 2] = (3.0 * rise - 2.0 * slope[:, :-1] - slope[:, 1:]) / h
        c[:, 1:-1, 3] = (slope[:, :-1] + slope[:, 1:] - 2.0 * rise) / h**2
        c[:, 0, 2] = c[:, 1, 2]
        c[:, -1, 2] = c[:, -2, 2] + 3.0 * c[:, -2, 3] * h[-1]
    first = np.concatenate([[0], np.ceil(x).astype(np.int64)])
    knots = np.concatenate([x[:1], x])
    # From the knot to the first pixel of the piece, so that the loop over pixels counts from 0 in single
    # precision.
    s = first - knots
    shifted = np.empty_like(c)
    shifted[..., 0] = c[..., 0] + s * (c[..., 1] + s * (c[..., 2] + s * c[..., 3]))
    shifted[..., 1] = c[..., 1] + s * (2.0 * c[..., 2] + 3.0 * s * c[..., 3])
    shifted[..., 2] = c[..., 2] + 3.0 * s * c[..., 3]
    shifted[..., 3] = c[..., 3]
    return shifted, np.append(first, n_pixels)


def _evaluate_pieces(coefficients: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Values of `_akima_pieces` at every pixel, ``(n, n_pixels)``."""
    pixel = np.arange(starts[-1])
    piece = np.searchsorted(starts[1:-1], pixel, side="right")
    t = pixel - starts[piece]
    c = coefficients[:, piece]
    return c[..., 0] + t * (c[..., 1] + t * (c[..., 2] + t * c[..., 3]))


def _median_filter(values: np.ndarray, size: int) -> np.ndarray:
    """Median in a square window; values ``(n, m)`` without NaN.

    Beyond the edge the values continue antisymmetrically, so that a gradient stays one.
    """
    if size == 1:
        return values
    padded = values
    for axis, n in enumerate(values.shape):
        width = [(size // 2, size // 2) if i == axis else (0, 0) for i in range(2)]
        if n > 1:
            padded = np.pad(padded, width, mode="reflect", reflect_type="odd")
        else:
            padded = np.pad(padded, width, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size))
    return np.median(windows, axis=(2, 3))


def _box_edges(n_pixels: int, bin_size: int) -> np.ndarray:
    """Edges of about equal boxes of at most ``bin_size``, as `lsst.afw.math.Background` places them."""
    n_boxes = -(-n_pixels // bin_size)
    return (np.arange(n_boxes + 1) * n_pixels + n_boxes // 2) // n_boxes


def estimate_background(
    image: np.ndarray,
    skip: np.ndarray | None = None,
    *,
    bin_size: int = 128,
    filter_size: int = 1,
    statistic: str = "mean",
    stride: int = 1,
    n_iterations: int = 3,
) -> BackgroundMesh:
    """Estimate the background in boxes.

    Parameters
    ----------
    image
        Image, float32 ``(ny, nx)``, finite wherever it is not skipped.
    skip
        True for pixels to leave out, bool ``(ny, nx)``.
    bin_size
        Largest side of a box [pixel].
    filter_size
        Side of the median filter over boxes; 1 for none.
    statistic
        ``"mean"`` after clipping at 3 sigma, or ``"mode"``: 2.5 median -
        1.5 mean, the median where the two differ by more than 0.3 sigma, as
        SExtractor does (Bertin & Arnouts 1996, section 4.1).
    stride
        Every how many-th pixel is used for the first guess of a box, its
        median and interquartile range; the clipping is over all.
    n_iterations
        Number of clipping steps at most.

    Returns
    -------
    mesh : `BackgroundMesh`
        Background in boxes. A box with less than a quarter of the good pixels
        of the fullest one continues the plane through its neighbours.

    Raises
    ------
    ValueError
        If no box has a good pixel, or for an unknown statistic.
    """
    if statistic not in ("mean", "mode"):
        raise ValueError(f"unknown background statistic {statistic!r}; use 'mean' or 'mode'")
    ny, nx = image.shape
    edges_y, edges_x = _box_edges(ny, bin_size), _box_edges(nx, bin_size)
    mask = skip if skip is not None else np.zeros((1, 1), dtype=bool)
    mean, median, sigma, share = _mesh_statistics(
        image, mask, skip is not None, edges_y, edges_x, stride, n_iterations
    )
    values = mean
    if statistic == "mode":
        # Where mean and median differ by more than 0.3 sigma the box is crowded, and the mode would
        # overshoot.
        values = np.where(np.abs(mean - median) < 0.3 * sigma, 2.5 * median - 1.5 * mean, median)
    # A few good pixels tell little, and not of the middle of their box.
    missing = share < 0.25 * share.max()
    if np.isnan(values).all():
        raise ValueError("no pixel is left to estimate the background from; check the masks")
    if missing.any():
        sigma = np.where(missing, np.nan, sigma)
        # A spline reaches two boxes beyond the two around a pixel, the median filter half its side more.
        values = fill_missing(np.where(missing, np.nan, values), 5 + filter_size // 2)
    return BackgroundMesh(
        values=_median_filter(values, filter_size),
        sigma=sigma,
        # Middle of the pixels of a box, whose centres lie at integers.
        centers_y=0.5 * (edges_y[:-1] + edges_y[1:] - 1.0),
        centers_x=0.5 * (edges_x[:-1] + edges_x[1:] - 1.0),
        shape=(ny, nx),
    )
