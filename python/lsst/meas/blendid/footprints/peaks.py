# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Peaks of the smoothed image: within the detected pixels, over a local background, of given footprints."""

from __future__ import annotations

__all__ = (
    "Peaks",
    "find_peaks",
    "measure_given",
    "refine_peaks",
    "replace_peaks",
)

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np

from .._jit import njit
from .background import estimate_background
from .components import Runs
from .config import FootprintConfig
from .footprint_set import PEAK_DTYPE, FootprintSet, sum_in_spans
from .significance import border_slices


@dataclass(frozen=True)
class Peaks:
    """Peaks before they belong to grown footprints, in array coordinates.

    Parameters
    ----------
    component
        1-based component that each peak is in, int32 ``(k,)``.
    x, y
        Pixel, int32 ``(k,)``.
    value
        Value of the image there, float32 ``(k,)``.
    fx, fy
        Position refined below a pixel, float64 ``(k,)``.
    """

    component: np.ndarray
    x: np.ndarray
    y: np.ndarray
    value: np.ndarray
    fx: np.ndarray
    fy: np.ndarray

    def select(self, keep: np.ndarray) -> Peaks:
        """Only the peaks where the mask ``keep`` ``(k,)`` is true (`Peaks`)."""
        return Peaks(*(getattr(self, f.name)[keep] for f in fields(self)))

    def join(self, other: Peaks) -> Peaks:
        """These peaks and others (`Peaks`)."""
        return Peaks(*(np.concatenate([getattr(self, f.name), getattr(other, f.name)]) for f in fields(self)))


@njit(nogil=True)
def _find_peaks(
    start: np.ndarray,
    x0: np.ndarray,
    x1: np.ndarray,
    component: np.ndarray,
    n_components: int,
    image: np.ndarray,
    margin: int,
    use_maximum: bool,
    holes: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Local maxima within runs, and the highest pixel of a component without one.

    None of them beside a pixel that was not searched, if there is a mask of those.
    """
    all_searched = holes.size == 0
    ny, nx = image.shape
    # Of a run at most every other pixel is a peak, and a component without one has its highest pixel.
    limit = n_components
    for i in range(x0.size):
        limit += (x1[i] - x0[i]) // 2 + 1
    out_c = np.empty(limit, np.int32)
    out_x = np.empty(limit, np.int32)
    out_y = np.empty(limit, np.int32)
    n = 0
    has_peak = np.zeros(n_components + 1, np.bool_)
    top = np.full(n_components + 1, -np.inf, np.float32)
    top_x = np.zeros(n_components + 1, np.int32)
    top_y = np.zeros(n_components + 1, np.int32)
    for y in range(ny):
        for i in range(start[y], start[y + 1]):
            c = component[i]
            for x in range(x0[i], x1[i] + 1):
                v = image[y, x]
                if v > top[c]:
                    top[c] = v
                    top_x[c] = x
                    top_y[c] = y
                if y < margin or y >= ny - margin or x < margin or x >= nx - margin:
                    continue
                # Of equal neighbours the first in raster order is the peak.
                if (
                    v > image[y, x - 1]
                    and v >= image[y, x + 1]
                    and v > image[y - 1, x - 1]
                    and v > image[y - 1, x]
                    and v > image[y - 1, x + 1]
                    and v >= image[y + 1, x - 1]
                    and v >= image[y + 1, x]
                    and v >= image[y + 1, x + 1]
                    and (all_searched or not holes[y - 1 : y + 2, x - 1 : x + 2].any())
                ):
                    out_c[n] = c
                    out_x[n] = x
                    out_y[n] = y
                    n += 1
                    has_peak[c] = True
    if use_maximum:
        for c in range(1, n_components + 1):
            if has_peak[c] or not top[c] > -np.inf:
                continue
            x, y = top_x[c], top_y[c]
            # Those within the margin of the image's edge stand in.
            inside = y >= margin and y < ny - margin and x >= margin and x < nx - margin
            if inside and not all_searched and holes[y - 1 : y + 2, x - 1 : x + 2].any():
                continue
            out_c[n] = c
            out_x[n] = x
            out_y[n] = y
            n += 1
    return out_c[:n].copy(), out_x[:n].copy(), out_y[:n].copy()


def find_peaks(
    runs: Runs,
    component: np.ndarray,
    n_components: int,
    image: np.ndarray,
    *,
    margin: int = 1,
    use_maximum: bool = True,
    holes: np.ndarray | None = None,
) -> Peaks:
    """Find the pixels of components without a greater one among their eight neighbours, in no order.

    ``component`` has that of each run, int32 (m,), from 1.  None lies within ``margin`` pixels of the edge of
    the image, float32 (ny, nx), or beside one of its ``holes``, pixels that were not searched.  With
    ``use_maximum`` a component without a peak, such as one that rises towards the edge, has its highest
    pixel.  Of neighbours with equal values only the first in raster order can be one.
    """
    c, x, y = _find_peaks(
        runs.start,
        runs.x0,
        runs.x1,
        component,
        n_components,
        image,
        max(margin, 1),
        use_maximum,
        np.zeros((0, 0), dtype=bool) if holes is None else holes,
    )
    return Peaks(c, x, y, image[y, x], x.astype(float), y.astype(float))


def refine_peaks(peaks: Peaks, image: np.ndarray) -> Peaks:
    """Refine the positions of peaks below a pixel, to within half a pixel; not on the edge of the image.

    The summit of the quadratic that fits the logarithm of the 3×3 pixels
    around, which is exact for a Gaussian; of their values where one of them is
    not positive. A summit more than half a pixel away along an axis, or none,
    is replaced by the summits of the parabolas along x and y.
    """
    ny, nx = image.shape
    x, y = peaks.x, peaks.y
    fx, fy = x.astype(float), y.astype(float)
    inside = (x > 0) & (x < nx - 1) & (y > 0) & (y < ny - 1)
    if not inside.any():
        return peaks
    px, py = x[inside].astype(np.int64), y[inside].astype(np.int64)
    offsets = np.arange(-1, 2)
    v = image[py[:, None, None] + offsets[:, None], px[:, None, None] + offsets].astype(float)
    positive = (v > 0.0).all(axis=(1, 2))
    # The logarithm of a Gaussian is a quadratic, so that its summit is exact.
    v[positive] = np.log(v[positive])
    gx = 0.5 * (v[:, 1, 2] - v[:, 1, 0])
    gy = 0.5 * (v[:, 2, 1] - v[:, 0, 1])
    hxx = v[:, 1, 2] - 2.0 * v[:, 1, 1] + v[:, 1, 0]
    hyy = v[:, 2, 1] - 2.0 * v[:, 1, 1] + v[:, 0, 1]
    hxy = 0.25 * (v[:, 2, 2] - v[:, 2, 0] - v[:, 0, 2] + v[:, 0, 0])
    determinant = hxx * hyy - hxy**2
    # A maximum has negative curvature along every direction: a saddle or a ridge has no summit.
    good = (hxx < 0.0) & (determinant > 0.0)
    safe = np.where(good, determinant, 1.0)
    dx = np.where(good, -(hyy * gx - hxy * gy) / safe, np.inf)
    dy = np.where(good, -(hxx * gy - hxy * gx) / safe, np.inf)
    far = (np.abs(dx) > 0.5) | (np.abs(dy) > 0.5)
    along_x = np.where(hxx < 0.0, -gx / np.where(hxx < 0.0, hxx, 1.0), 0.0)
    along_y = np.where(hyy < 0.0, -gy / np.where(hyy < 0.0, hyy, 1.0), 0.0)
    fx[inside] += np.clip(np.where(far, along_x, dx), -0.5, 0.5)
    fy[inside] += np.clip(np.where(far, along_y, dy), -0.5, 0.5)
    return replace(peaks, fx=fx, fy=fy)


def replace_peaks(
    peaks: Peaks,
    image: np.ndarray,
    smoothed: np.ndarray,
    bad: np.ndarray,
    runs: Runs,
    component: np.ndarray,
    noise_of: Callable[[np.ndarray, np.ndarray], np.ndarray],
    radius: int,
    config: FootprintConfig,
    holes: np.ndarray | None = None,
) -> Peaks:
    """Find the peaks of footprints with several again, over a temporary local background.

    The background is that of the image before smoothing, objects included but for clipping, from which bad
    pixels and the border are left out; ``smoothed`` is overwritten.  Peaks of footprints with at most
    ``nPeaksMaxSimple`` stay, and a footprint without a peak over its background keeps its brightest.
    ``noise_of`` gives the noise of the smoothed image at x and y; ``radius`` is half the kernel's width.
    """
    # The smoothed image is 0 in the border, where no background may be measured either.
    skip = bad.copy()
    for edge in border_slices(radius):
        skip[edge] = True
    mesh = estimate_background(image, skip, bin_size=config.tempLocalBackgroundBinSize)
    difference = mesh.subtract_from(smoothed, out=smoothed)
    n_components = int(component.max(initial=0))
    new = refine_peaks(
        find_peaks(
            runs, component, n_components, difference, margin=radius + 1, use_maximum=False, holes=holes
        ),
        difference,
    )
    over = (new.value >= config.thresholdValue * noise_of(new.x, new.y)) & (new.value > 0.0)
    counts = np.bincount(peaks.component, minlength=n_components + 1)
    new = new.select(over & (counts[new.component] > config.nPeaksMaxSimple))
    has_new = np.bincount(new.component, minlength=n_components + 1) > 0
    # Brightest first within each component.
    order = np.lexsort((-peaks.value, peaks.component))
    first = np.ones(order.size, dtype=bool)
    first[1:] = peaks.component[order][1:] != peaks.component[order][:-1]
    brightest = np.zeros(order.size, dtype=bool)
    brightest[order] = first
    simple = counts[peaks.component] <= config.nPeaksMaxSimple
    return peaks.select(simple | (brightest & ~has_new[peaks.component])).join(new)


def measure_given(
    given: FootprintSet,
    smoothed: np.ndarray,
    over: Runs,
    noise_at: Callable[[np.ndarray, np.ndarray], np.ndarray],
    *,
    exponent: int,
    xy0: tuple[int, int],
) -> FootprintSet:
    """Measure the peaks of given footprints, and how many of their pixels are over the threshold.

    The peaks get the values of the smoothed image (ny, nx), which was divided by 2 to the power of
    ``exponent``, and are sorted by them; a position that is a whole pixel, as lsst.afw gives it, is refined
    below a pixel.  Raises a ValueError if the footprints are those of an image of another size or place.
    """
    xy0 = (int(xy0[0]), int(xy0[1]))
    if given.shape != smoothed.shape or given.xy0 != xy0:
        raise ValueError(
            f"the given footprints are those of an image of shape {given.shape} at {given.xy0}, not of shape "
            f"{smoothed.shape} at {xy0}"
        )
    # The names of the catalogue travel with the peaks while they are sorted.
    names = PEAK_DTYPE.descr + ([] if given.peak_ids is None else [("peak_id", "i8")])
    table = np.zeros(len(given.peaks), names)
    for name in PEAK_DTYPE.names or ():
        table[name] = given.peaks[name]
    if given.peak_ids is not None:
        table["peak_id"] = given.peak_ids
    x, y = (table[f"i_{axis}"] - xy0[k] for k, axis in enumerate("xy"))
    value = smoothed[y, x]
    refined = refine_peaks(
        Peaks(table["footprint_id"], x, y, value, x.astype(float), y.astype(float)), smoothed
    )
    # Where nothing was searched the smoothed image is 0 and has no summit.
    whole = (table["f_x"] == table["i_x"]) & (table["f_y"] == table["i_y"]) & (value > 0.0)
    table["f_x"][whole] = refined.fx[whole] + xy0[0]
    table["f_y"][whole] = refined.fy[whole] + xy0[1]
    table["peak_value"] = np.ldexp(value, exponent)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        table["significance"] = np.where(value == 0.0, 0.0, value / noise_at(x, y))
    area = sum_in_spans(given, over.to_image()).astype(np.int32)
    return dataclasses.replace(given.with_peaks(table), area_detected=area)
