# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What classifiers see: the footprints of one or many images, in one order."""

from __future__ import annotations

__all__ = ("FootprintSamples", "SceneContext")

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .cutouts import CutoutSettings, cutout_flags, extract_cutouts
from .footprints.result import select_footprints

if TYPE_CHECKING:
    from .footprints import DetectionResult


@dataclass(frozen=True)
class SceneContext:
    """Facts about an image that its pixels do not tell.

    Parameters
    ----------
    band
        Name of the band, if known.
    zero_point
        AB magnitude of one image unit (31.4 for nJy), if known.
    """

    band: str | None = None
    zero_point: float | None = None


class FootprintSamples:
    """The footprints of a sequence of images, one after the other.

    Parameters
    ----------
    results
        Images with their footprints.
    contexts
        What is known beside, one for each image.

    Raises
    ------
    ValueError
        Raised if there are not as many contexts as images.
    """

    def __init__(
        self, results: Sequence[DetectionResult], contexts: Sequence[SceneContext] | None = None
    ) -> None:
        self.results: tuple[DetectionResult, ...] = tuple(results)
        self.contexts: tuple[SceneContext, ...] = (
            tuple(SceneContext() for _ in self.results) if contexts is None else tuple(contexts)
        )
        if len(self.contexts) != len(self.results):
            raise ValueError(f"{len(self.contexts)} contexts were given for {len(self.results)} images")
        sizes = [len(result.footprints) for result in self.results]
        self._offsets = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)
        # Arrays by key for each image; those that were joined by row are views of one array.
        self._kept: dict[Hashable, list[np.ndarray]] = {}
        self._joined: dict[Hashable, np.ndarray] = {}
        self._by_row: set[Hashable] = set()
        """Keys of what has a row for each footprint."""
        self._found: tuple[dict[Hashable, Any], ...] = tuple({} for _ in self.results)
        """What was found in each image, by key."""

    def __len__(self) -> int:
        return int(self._offsets[-1])

    def _gather(self, get: Callable[[DetectionResult], np.ndarray], empty: np.ndarray) -> np.ndarray:
        """Concatenate an array over the images."""
        return np.concatenate([get(result) for result in self.results]) if self.results else empty

    @property
    def offsets(self) -> np.ndarray:
        """First row of each image and the total, int64 of shape (images + 1,)."""
        return self._offsets

    @property
    def scene_index(self) -> np.ndarray:
        """Image of each footprint: int64 of shape (n,), an index into ``results``."""
        return np.repeat(np.arange(len(self.results)), np.diff(self._offsets))

    @property
    def bbox(self) -> np.ndarray:
        """Bounding boxes [x0, y0, x1, y1], inclusive, parent pixels: int32 of shape (n, 4)."""
        return self._gather(lambda r: r.footprints.bbox, np.zeros((0, 4), dtype=np.int32))

    @property
    def centroid(self) -> np.ndarray:
        """Unweighted centroids [x, y], parent pixels: float64 of shape (n, 2)."""
        return self._gather(lambda r: r.footprints.centroid, np.zeros((0, 2)))

    @property
    def area(self) -> np.ndarray:
        """Number of pixels after growth: int32 of shape (n,)."""
        return self._gather(lambda r: r.footprints.area, np.zeros(0, dtype=np.int32))

    @property
    def area_detected(self) -> np.ndarray:
        """Number of pixels before growth: int32 of shape (n,)."""
        return self._gather(lambda r: r.footprints.area_detected, np.zeros(0, dtype=np.int32))

    @property
    def n_peaks(self) -> np.ndarray:
        """Number of peaks: int of shape (n,)."""
        return self._gather(lambda r: r.footprints.n_peaks, np.zeros(0, dtype=np.int64))

    @property
    def max_significance(self) -> np.ndarray:
        """Significance of the most significant peak: float of shape (n,), NaN without peak."""
        return self._gather(lambda r: r.footprints.max_significance, np.zeros(0, dtype=np.float32))

    @property
    def second_significance(self) -> np.ndarray:
        """Significance of the second-brightest peak: float32 of shape (n,), NaN with fewer than two."""

        def second(result: DetectionResult) -> np.ndarray:
            footprints = result.footprints
            values = np.full(len(footprints), np.nan, dtype=np.float32)
            several = np.diff(footprints.peak_start) > 1
            rows = footprints.peak_start[:-1][several] + 1
            values[several] = footprints.peaks["significance"][rows]
            return values

        return self._gather(second, np.zeros(0, dtype=np.float32))

    @property
    def psf_sigma(self) -> np.ndarray:
        """Adaptive-moment width of the PSF of each footprint's image, pixels: float64 of shape (n,)."""
        return self._gather(lambda r: np.full(len(r.footprints), r.psf.sigma), np.zeros(0))

    @property
    def sky_level(self) -> np.ndarray:
        """Median of the searched pixels outside footprints, in units of the pixel noise: float64 (n,).

        It is the same for all footprints of an image, and tells whether the
        light of undetected galaxies was subtracted with the background; 0 for
        an image that is all footprints.
        """
        return self._gather(lambda r: np.full(len(r.footprints), r.sky_level), np.zeros(0))

    def compute_each(
        self, key: Hashable, function: Callable[[DetectionResult, SceneContext], np.ndarray]
    ) -> list[np.ndarray]:
        """Compute an array for each image; the results are kept for the next call.

        Parameters
        ----------
        key
            What the arrays are kept under.
        function
            Gives the array of an image, of any shape.

        Returns
        -------
        arrays
            One for each image; do not write into them.
        """
        if key not in self._kept:
            arrays = []
            for result, context in zip(self.results, self.contexts, strict=True):
                if result.image.size == 0 and len(result.footprints):
                    raise ValueError(f"{key!r} was not prepared before the images were forgotten")
                arrays.append(function(result, context))
                # Several classifiers share it: one that writes would change what others see.
                arrays[-1].flags.writeable = False
            self._kept[key] = arrays
        return self._kept[key]

    def compute(
        self,
        key: Hashable,
        function: Callable[[DetectionResult, SceneContext], np.ndarray],
        empty: np.ndarray,
    ) -> np.ndarray:
        """Compute a row for each footprint; the result is kept for the next call.

        Parameters
        ----------
        key
            What the rows are kept under.
        function
            Gives the rows of an image, shape (footprints, ...).
        empty
            The result for no image, shape (0, ...).

        Returns
        -------
        rows : `numpy.ndarray`, shape (n, ...)
            Rows of all images; do not write into them.
        """
        if key not in self._joined:
            arrays = self.compute_each(key, function)
            joined = np.concatenate(arrays) if arrays else empty
            joined.flags.writeable = False
            self._joined[key] = joined
            self._by_row.add(key)
            # Views of it instead of what it was made of: half the memory.
            self._kept[key] = [joined[a:b] for a, b in zip(self._offsets, self._offsets[1:], strict=False)]
        return self._joined[key]

    def find_each[T](self, key: Hashable, function: Callable[[int], T]) -> tuple[T, ...]:
        """Find something in each image, once for all that ask.

        Parameters
        ----------
        key
            What it is kept under: all that it depends on beside the footprints.
        function
            Finds it in an image, of which it is given the index in ``results``.

        Returns
        -------
        found
            One for each image.  It is kept with these footprints, also by `alone`, `join` and
            `without_images`, but not by `select`.
        """
        for index, found in enumerate(self._found):
            if key not in found:
                found[key] = function(index)
        return tuple(found[key] for found in self._found)

    def alone(self, index: int) -> FootprintSamples:
        """Take one of the images.

        Parameters
        ----------
        index
            Index of the image in ``results``.

        Returns
        -------
        samples
            Its footprints.  What `find_each` finds there is known here, too.
        """
        samples = FootprintSamples([self.results[index]], [self.contexts[index]])
        samples._found = (self._found[index],)
        return samples

    def without_images(self) -> FootprintSamples:
        """Forget the images, most of the memory; what was computed of them is kept.

        Returns
        -------
        samples
            The same footprints with empty images and label images.
        """
        return self._with_results([result.without_images() for result in self.results])

    def without_planes(self) -> FootprintSamples:
        """Forget the images beside those that cutouts are made of; what was computed of them is kept.

        Returns
        -------
        samples
            The same footprints (`.footprints.DetectionResult.without_planes`).
        """
        return self._with_results([result.without_planes() for result in self.results])

    def _with_results(self, results: Sequence[DetectionResult]) -> FootprintSamples:
        """The same footprints with other images and with what was computed."""
        samples = FootprintSamples(results, self.contexts)
        samples._kept = {key: list(arrays) for key, arrays in self._kept.items()}
        samples._by_row = set(self._by_row)
        # What was found goes on, as it depends on footprints and not on which images are held.
        samples._found = self._found
        return samples

    def select(self, rows: np.ndarray) -> FootprintSamples:
        """Keep some of the footprints; what was computed of each with all others around stays.

        Parameters
        ----------
        rows : `numpy.ndarray`, shape (n,), bool
            The footprints to keep.

        Returns
        -------
        samples
            These footprints; images without any of them stay.

        Raises
        ------
        ValueError
            Raised if there is not one flag for each footprint.
        """
        rows = np.asarray(rows)
        if rows.dtype != np.bool_ or rows.shape != (len(self),):
            raise ValueError(f"{rows.size} flags were given to choose among {len(self)} footprints")
        chosen = [rows[a:b] for a, b in zip(self._offsets, self._offsets[1:], strict=False)]
        results = [select_footprints(result, use) for result, use in zip(self.results, chosen, strict=True)]
        samples = FootprintSamples(results, self.contexts)
        samples._kept = {
            key: [array[use] for array, use in zip(arrays, chosen, strict=True)]
            # What is kept by image has no rows to choose.
            if key in self._by_row
            else list(arrays)
            for key, arrays in self._kept.items()
        }
        samples._by_row = set(self._by_row)
        return samples

    @classmethod
    def join(cls, parts: Sequence[FootprintSamples]) -> FootprintSamples:
        """Put samples one after the other; what was computed of all of them is kept.

        Parameters
        ----------
        parts
            Samples.

        Returns
        -------
        samples
            All of them.
        """
        results = [result for part in parts for result in part.results]
        contexts = [context for part in parts for context in part.contexts]
        samples = cls(results, contexts)
        # What only some parts have would have to be computed without images for the others.
        common = set.intersection(*(set(part._kept) for part in parts)) if parts else set()
        samples._kept = {key: [array for part in parts for array in part._kept[key]] for key in common}
        samples._by_row = set().union(*(part._by_row for part in parts)) & common
        samples._found = tuple(found for part in parts for found in part._found)
        return samples

    def count_peaks(self, threshold: float) -> np.ndarray:
        """Count the peaks of at least some significance.

        Parameters
        ----------
        threshold
            Least significance of a peak that counts.

        Returns
        -------
        counts : `numpy.ndarray`, shape (n,), int64
            Number of peaks in each footprint.
        """

        def count(result: DetectionResult) -> np.ndarray:
            peaks = result.footprints.peaks
            chosen = peaks["footprint_id"][np.asarray(peaks["significance"], dtype=np.float64) >= threshold]
            return np.bincount(chosen, minlength=len(result.footprints) + 1)[1:]

        return self._gather(count, np.zeros(0, dtype=np.int64))

    def cutouts(self, settings: CutoutSettings) -> np.ndarray:
        """Cut out all footprints; the result is kept for the next call.

        Parameters
        ----------
        settings
            Size, centre and normalisation.

        Returns
        -------
        cutouts : `numpy.ndarray`, shape (n, s, s), float32
            Normalised cutouts; do not write into them.
        """
        empty = np.zeros((0, settings.size, settings.size), dtype=np.float32)
        return self.compute(
            ("cutouts", settings), lambda result, _context: extract_cutouts(result, settings), empty
        )

    def cutout_flags(self, settings: CutoutSettings) -> dict[str, np.ndarray]:
        """Flags of `.cutouts.cutout_flags`, over all images.

        Parameters
        ----------
        settings
            Size and centre.

        Returns
        -------
        flags : `dict` [`str`, `numpy.ndarray`]
            Bool arrays of shape (n,).
        """
        return {
            name: self._gather(lambda r, name=name: cutout_flags(r, settings)[name], np.zeros(0, dtype=bool))  # type: ignore[misc]
            for name in ("too_large",)
        }
