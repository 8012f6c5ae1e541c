# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Configuration of the footprint construction."""

from __future__ import annotations

__all__ = ("FootprintConfig", "adapt_to_image")

from lsst.pex.config import ChoiceField, Config, Field, FieldValidationError, ListField, RangeField


class FootprintConfig(Config):
    """How footprints and peaks are made from an image.

    Fields that `lsst.meas.algorithms.SourceDetectionConfig` also has bear its
    names and mean the same; the defaults are those for Rubin's coadds, where
    the background is already subtracted and the variance plane is trusted.
    """

    thresholdValue = RangeField(
        dtype=float,
        doc="Threshold for detecting footprints, in units of the noise of the smoothed image.",
        default=5.0,
        min=0.0,
        inclusiveMin=False,
    )
    thresholdType = ChoiceField[str](
        doc="Noise that thresholdValue multiplies.",
        default="pixel_stdev",
        allowed={
            "pixel_stdev": "Standard deviation of each pixel of the smoothed image, from noiseSource.",
            "stdev": "One number: the clipped standard deviation of the smoothed image.",
        },
    )
    includeThresholdMultiplier = RangeField(
        dtype=float,
        doc="A footprint is kept only if one of its pixels reaches this times thresholdValue.",
        default=1.0,
        min=1.0,
    )
    minPixels = RangeField(
        dtype=int,
        doc="Footprints with fewer pixels over the threshold than this, before growth, are left out.",
        default=1,
        min=1,
    )
    nSigmaToGrow = RangeField(
        dtype=float,
        doc="Grow footprints by int(nSigmaToGrow * sigma + 0.5) pixels, sigma that of the PSF; 0 for none.",
        default=2.4,
        min=0.0,
        max=100.0,
    )
    isotropicGrow = Field[bool](
        doc="Grow with a disc? If not, with a diamond (Manhattan metric).",
        default=True,
    )
    combinedGrow = Field[bool](
        doc="Merge footprints that touch after growth? If not, each keeps its own, and a pixel that several "
        "reach belongs to the one with the nearest pixel over the threshold.",
        default=True,
    )
    nSigmaForKernel = RangeField(
        dtype=float,
        doc="Full width of the Gaussian smoothing kernel in units of its sigma, rounded up to an odd number.",
        default=7.0,
        min=1.0,
        max=100.0,
    )
    statsMask = ListField[str](
        doc="Mask planes to leave out of noise and background statistics.",
        default=["BAD", "SAT", "EDGE", "NO_DATA"],
    )
    excludeMaskPlanes = ListField[str](
        doc="Mask planes to leave out of statistics and, widened by the smoothing kernel, out of detection. "
        "Growth may re-enter them. EDGE, in coadds that were searched before, marks the half-kernel border "
        "that is left out here in any case, and would widen it a second time.",
        default=["NO_DATA"],
    )
    doKeepPeaksAtHoles = Field[bool](
        doc="Keep maxima that border on pixels that were not searched (masked, not finite or within reach of "
        "the kernel of such pixels)? Where the smoothed image breaks off, a star with a masked core "
        "has a ring of them. SourceDetectionTask keeps them.",
        default=False,
    )
    noiseSource = ChoiceField[str](
        doc="Where the noise of a pixel comes from.",
        default="variance",
        allowed={
            "variance": "The variance plane.",
            "clipped": "The variance of the image, clipped iteratively at 3 sigma. Outskirts of galaxies are "
            "part of it: in simulated ten-year coadds its root is 1.05 to 1.13 times the noise of the sky.",
        },
    )
    doCorrectCorrelatedNoise = Field[bool](
        doc="Multiply the noise of the smoothed image by the measured correlation: its scatter over what "
        "uncorrelated noise would give. It is recorded in any case, as NaN where it cannot be measured.",
        default=False,
    )
    maxNoiseCorrelation = RangeField(
        dtype=float,
        doc="Beyond this correlation, which undetected galaxies alone do not make, noise counts as "
        "correlated, as in drizzled images. Without a variance plane (noiseSource 'clipped') it is then "
        "corrected as by doCorrectCorrelatedNoise; with one, footprints are flagged correlated_noise. "
        "A large number for never. It takes 10,000 pixels to tell.",
        default=1.4,
        min=1.0,
    )
    doSubtractBackground = Field[bool](
        doc="Estimate and subtract the sky background? Not for coadds that already had it subtracted.",
        default=False,
    )
    backgroundBinSize = RangeField(
        dtype=int,
        doc="Side of the boxes of the background mesh [pixel].",
        default=128,
        min=8,
    )
    backgroundFilterSize = RangeField(
        dtype=int,
        doc="Side of the median filter over the boxes of the background mesh; odd, 1 for none.",
        default=3,
        min=1,
    )
    doTempLocalBackground = Field[bool](
        doc="Subtract a local background for finding the peaks of footprints with more than nPeaksMaxSimple, "
        "against noise peaks in the wings of bright objects? The footprints themselves do not change.",
        default=False,
    )
    tempLocalBackgroundBinSize = RangeField(
        dtype=int,
        doc="Side of the boxes of the temporary local background [pixel].",
        default=64,
        min=8,
    )
    nPeaksMaxSimple = RangeField(
        dtype=int,
        doc="Footprints with at most this many peaks keep them under doTempLocalBackground.",
        default=1,
        min=0,
    )

    def validate(self) -> None:
        """Check what single fields cannot.

        Raises
        ------
        lsst.pex.config.FieldValidationError
            If fields contradict each other.
        """
        super().validate()
        if self.backgroundFilterSize % 2 == 0:
            raise FieldValidationError(
                FootprintConfig.backgroundFilterSize,
                self,
                f"backgroundFilterSize={self.backgroundFilterSize} must be odd.",
            )


def adapt_to_image(config: FootprintConfig, *, has_variance: bool, has_sky: bool | None = None) -> None:
    """Take noise and background as ``blendid run`` does for an image, unless somebody says otherwise.

    Parameters
    ----------
    config
        Default settings, for a coadd with variance plane; changed in place.
    has_variance
        Whether the image has a variance plane.  Without one the noise is estimated from the pixels, as in
        ``config/buchanan2022.py``.
    has_sky
        Whether the sky background may still be in the image and is subtracted; by default where there is no
        variance plane.
    """
    if not has_variance:
        config.noiseSource = "clipped"
    if not has_variance if has_sky is None else has_sky:
        config.doSubtractBackground = True
