# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What comes out of the footprint construction, and some of its footprints."""

from __future__ import annotations

__all__ = (
    "DetectionResult",
    "NoNoiseError",
    "NoUsablePixelsError",
    "select_footprints",
)

import dataclasses
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..images.psf import PsfSummary
from .components import Runs
from .footprint_set import FootprintSet

if TYPE_CHECKING:
    from .noise import NoiseEstimate

# Rows of the smoothed image at a time where there is no room for all: 40 MB of a coadd of 10,000 columns.
_STRIP_ROWS = 1024


class NoUsablePixelsError(ValueError):
    """Raised if no pixel of an image can be searched."""


class NoNoiseError(NoUsablePixelsError):
    """Raised if the noise of an image cannot be measured."""


class _Plane:
    """Field of a dataclass that holds an image, or a function that makes it when it is asked for.

    One that was made is given again as long as anybody holds it, and takes no memory after that.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._key, self._last = f"_{name}", f"_last_{name}"

    def __get__(self, instance: DetectionResult | None, owner: type) -> np.ndarray:
        if instance is None:  # A dataclass asks for the default; there is none.
            raise AttributeError(self._key)
        value = instance.__dict__[self._key]
        if not callable(value):
            return value
        last = instance.__dict__.get(self._last)
        plane = None if last is None else last()
        if plane is None:
            plane = value()
            instance.__dict__[self._last] = weakref.ref(plane)
        return plane

    def __set__(self, instance: DetectionResult, value: np.ndarray | Callable[[], np.ndarray]) -> None:
        instance.__dict__[self._key] = value


@dataclass(frozen=True, repr=False, kw_only=True)
class DetectionResult:
    """Footprints, and the images that they were made from.

    Parameters
    ----------
    footprints
        Footprints and peaks, in parent pixels.
    image
        Background-subtracted image, bad pixels 0, float32 ``(ny, nx)``.
        ``smoothed``, ``significance`` and ``eligible`` are computed from it
        when they are asked for and not held by anybody who asked before, as
        they would take twice its memory; do not write into them.  They may be
        given as arrays or as functions that make them.
    smoothed
        The image convolved with the Gaussian of the PSF's width, 0 where not
        eligible, float32 ``(ny, nx)``.
    significance
        Signal to noise of the smoothed image, NaN where not eligible, float32
        ``(ny, nx)``.
    eligible
        Pixels that were searched: not within reach of the kernel of a bad
        pixel or of the edge, bool ``(ny, nx)``.
    bad
        Pixels that were excluded or are not finite, bool ``(ny, nx)``.
    noise
        Noise of the image.
    sky_level
        Median of the eligible pixels outside footprints, in units of the
        pixel noise; 0 if there are none.
    psf
        Width of the PSF.
    growth
        Growth of the footprints [pixel].
    metadata
        Settings and counts, for task metadata.
    xy0
        Parent coordinates of the first pixel.
    timings
        Seconds of each stage.
    runs
        Pixels over the threshold, if they are at hand.
    """

    footprints: FootprintSet
    image: np.ndarray
    smoothed: _Plane = _Plane()
    significance: _Plane = _Plane()
    eligible: _Plane = _Plane()
    bad: np.ndarray
    noise: NoiseEstimate
    sky_level: float
    psf: PsfSummary
    growth: int
    metadata: dict[str, int | float | str]
    xy0: tuple[int, int]
    timings: dict[str, float]
    runs: Runs | None = None

    def __getstate__(self) -> dict[str, object]:
        # Other processes make planes of their own.
        return {name: value for name, value in self.__dict__.items() if not name.startswith("_last_")}

    @property
    def detected(self) -> np.ndarray:
        """Pixels over the threshold, before growth, bool ``(ny, nx)``."""
        if self.runs is not None:
            return self.runs.to_image()
        # NaN, where nothing was searched, compares as false.
        return self.significance >= float(self.metadata["threshold"])

    def smoothed_strips(self) -> Iterator[tuple[int, np.ndarray]]:
        """Give the smoothed image in strips, for which there is room where there is none for all of it.

        Yields
        ------
        first : `int`
            First row of the strip.
        rows
            Rows of ``smoothed``, float32 ``(n_rows, nx)``; fewer at the end.
        """
        smoothed = self.__dict__["_smoothed"]
        for first in range(0, self.image.shape[0], _STRIP_ROWS):
            rows = slice(first, first + _STRIP_ROWS)
            yield first, smoothed(rows=rows) if callable(smoothed) else smoothed[rows]

    def __repr__(self) -> str:
        footprints = self.footprints
        return (
            f"<DetectionResult: {len(footprints)} footprints with {len(footprints.peaks)} peaks, noise "
            f"{self.noise.sigma:.4g} per pixel, PSF sigma {self.psf.sigma:.3g} pixels>"
        )

    @property
    def segmentation(self) -> np.ndarray:
        """Footprint of each pixel, 0 for none: int32 ``(ny, nx)``."""
        return self.footprints.labels

    def without_planes(self) -> DetectionResult:
        """Drop the images beside the one that cutouts are made of, most of the memory.

        Returns
        -------
        result
            The same with empty ``smoothed``, ``significance``, ``eligible`` and ``bad``.
        """
        none = np.zeros((0, 0))
        return replace(
            self,
            smoothed=none,
            significance=none,
            eligible=none.astype(bool),
            bad=none.astype(bool),
            runs=None,
        )

    def with_footprints(self, footprints: FootprintSet) -> DetectionResult:
        """Replace the footprints; the images stay, computed or not.

        Parameters
        ----------
        footprints
            Footprints of the same image.

        Returns
        -------
        result
            The same images with these footprints.
        """
        planes = {name: self.__dict__[f"_{name}"] for name in ("smoothed", "significance", "eligible")}
        return replace(self, footprints=footprints, **planes)

    def without_images(self) -> DetectionResult:
        """Drop all images, the label image included.

        Returns
        -------
        result
            The same with empty arrays; spans and peaks of the footprints stay.
        """
        return replace(
            self.without_planes(),
            image=np.zeros((0, 0), dtype=np.float32),
            footprints=self.footprints.without_labels(),
        )


def select_footprints(result: DetectionResult, rows: np.ndarray) -> DetectionResult:
    """Keep some footprints of an image, by a flag for each, bool (n,); they are renumbered in the same order.

    The images stay as they are; the footprints may lack a label image.
    """
    old = result.footprints
    rows = np.asarray(rows)
    if rows.dtype != np.bool_ or rows.shape != (len(old),):
        raise ValueError(f"{rows.size} flags were given to choose among {len(old)} footprints")
    # New number of each old one, 0 for those that go.
    numbers = np.concatenate([[0], np.cumsum(rows) * rows]).astype(np.int32)
    spans, peaks = old.spans.copy(), old.peaks.copy()
    spans[:, 0] = numbers[spans[:, 0]]
    peaks["footprint_id"] = numbers[peaks["footprint_id"]]
    kept = peaks["footprint_id"] > 0
    peaks = peaks[kept]
    start = np.searchsorted(peaks["footprint_id"], np.arange(1, int(rows.sum()) + 2))
    footprints = dataclasses.replace(
        old,
        label_image=None,
        spans=spans[spans[:, 0] > 0],
        bbox=old.bbox[rows],
        area=old.area[rows],
        area_detected=old.area_detected[rows],
        centroid=old.centroid[rows],
        peaks=peaks,
        peak_start=start.astype(np.int64),
        ids=None if old.ids is None else old.ids[rows],
        peak_ids=None if old.peak_ids is None else old.peak_ids[kept],
    )
    return result.with_footprints(footprints)
