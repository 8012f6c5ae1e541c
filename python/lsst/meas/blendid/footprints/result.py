# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What comes out of the footprint construction."""

from __future__ import annotations

__all__ = ("DetectionResult", "NoNoiseError", "NoUsablePixelsError")

from dataclasses import dataclass, replace

import numpy as np

from ..psf import PsfSummary
from .footprint_set import FootprintSet
from .noise import NoiseEstimate


class NoUsablePixelsError(ValueError):
    """Raised if no pixel of an image can be searched."""


class NoNoiseError(NoUsablePixelsError):
    """Raised if the noise of an image cannot be measured."""


@dataclass(frozen=True, repr=False)
class DetectionResult:
    """Footprints, and the images that they were made from.

    Parameters
    ----------
    footprints
        Footprints and peaks, in parent pixels.
    image
        Background-subtracted image, bad pixels 0, float32 ``(ny, nx)``.
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
    """

    footprints: FootprintSet
    image: np.ndarray
    smoothed: np.ndarray
    significance: np.ndarray
    eligible: np.ndarray
    bad: np.ndarray
    noise: NoiseEstimate
    sky_level: float
    psf: PsfSummary
    growth: int
    metadata: dict[str, int | float | str]
    xy0: tuple[int, int]
    timings: dict[str, float]

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
            self, smoothed=none, significance=none, eligible=none.astype(bool), bad=none.astype(bool)
        )

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
