# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Settings of what makes coadds dirty: defects, the light of bright stars, and the sky."""

from __future__ import annotations

__all__ = (
    "ArtifactConfig",
    "SkyConfig",
    "StarlightConfig",
)

from lsst.pex.config import Config, Field, RangeField


def share_field(doc: str, *, default: float = 0.0) -> RangeField:
    """Make the field of a share, by default none."""
    return RangeField(dtype=float, doc=doc, default=default, min=0.0, max=1.0, inclusiveMax=True)


class ArtifactConfig(Config):
    """What coaddition leaves of defects; by default nothing."""

    badColumnDensity = RangeField(
        dtype=float,
        doc="Masked columns (BAD) per cell. A column ends with its cell, whose exposures are its own.",
        default=0.0,
        min=0.0,
    )
    cosmicRayDensity = RangeField(
        dtype=float, doc="Tracks of cosmic rays (CR) per arcmin² that coaddition left.", default=0.0, min=0.0
    )
    doSaturation = Field[bool](doc="Clip and mask (SAT) the cores of stars and galaxies?", default=False)
    fullWell = RangeField(
        dtype=float,
        doc="Electrons in a pixel of one exposure that saturate it.",
        default=100_000.0,
        min=0.0,
        inclusiveMin=False,
    )
    hotPixelDensity = RangeField(
        dtype=float,
        doc="Hot pixels (BAD) per arcmin² that coaddition left, of 3 to 300 times the noise of the sky; half "
        "of them are shared by up to four pixels, as resampling does.",
        default=0.0,
        min=0.0,
    )
    trailDensity = RangeField(
        dtype=float,
        doc="Trails of satellites (CLIPPED) that cross the tract: their length per area, arcmin per arcmin². "
        "In a square of side a, 1.27 times this times a are seen: 0.15 gives 1.3 in a patch of 6.8 arcmin. "
        "Their peaks are what rejection left, 0.5 to 10 times the noise of the sky.",
        default=0.0,
        min=0.0,
    )
    maskedFraction = share_field(
        "Share of the cosmic rays, hot pixels and trails that the mask has; the others are in the image "
        "only.",
        default=1.0,
    )


class StarlightConfig(Config):
    """Light of bright stars beyond the PSF of the coadd, and their mask; by default there is none.

    Shares are of the flux of the star, and come on top of it: calibrations are tied to the light within some
    arcseconds.
    """

    haloFraction = share_field(
        "Light of the halo (aureole) within haloRadius, as a share of that of the star. Deep wide-field "
        "images have some per cent (King 1971, PASP 83, 199; Slater et al. 2009, PASP 121, 1267; Sandin "
        "2014, A&A 567, A97)."
    )
    haloSlope = RangeField(
        dtype=float,
        doc="The surface brightness of the halo falls as the radius to the power of minus this: 2 in King "
        "(1971), up to 3 in others.",
        default=2.0,
        min=1.5,
        max=4.0,
        inclusiveMax=True,
    )
    haloCore = RangeField(
        dtype=float,
        doc="Radius within which the halo is flat, arcsec.",
        default=3.0,
        min=0.5,
    )
    haloRadius = RangeField(
        dtype=float, doc="Radius at which the halo ends, arcsec.", default=60.0, min=0.0, inclusiveMin=False
    )
    ghostFraction = share_field(
        "Light of the flat disc of reflections between detector, filter and lenses, as a share of that "
        "of the star (Slater et al. 2009)."
    )
    ghostRadius = RangeField(
        dtype=float, doc="Radius of this disc, arcsec.", default=25.0, min=0.0, inclusiveMin=False
    )
    spikeFraction = share_field(
        "Light of the four diffraction spikes together, as a share of that of the star."
    )
    spikeAngle = Field[float](
        doc="Direction of one of the spikes, degrees counter-clockwise from the x axis.", default=45.0
    )
    spikeSpread = RangeField(
        dtype=float,
        doc="Standard deviation of the directions of the exposures of the coadd, degrees; the spikes of a "
        "camera that turns between exposures fan out.",
        default=0.0,
        min=0.0,
        max=20.0,
        inclusiveMax=True,
    )
    spikeScale = RangeField(
        dtype=float,
        doc="Distance at which a spike has half of its brightness, arcsec; beyond it falls as the inverse "
        "square. A vane of width w has it at wavelength / (√2 π w): 2 arcsec at 750 nm are 1.7 cm.",
        default=2.0,
        min=0.0,
        inclusiveMin=False,
    )
    maskRadius = RangeField(
        dtype=float,
        doc="Radius of the circle (BRIGHT_OBJECT) that masks a star of magnitude maskMag, arcsec; 0 masks "
        "none. The first masks of HSC had 10 (Coupon et al. 2018, PASJ 70, S7, replaced them).",
        default=0.0,
        min=0.0,
    )
    maskMag = Field[float](
        doc="Faintest stars that are masked, AB magnitude in the band of the image.", default=18.0
    )
    maskSlope = RangeField(
        dtype=float,
        doc="Growth of the radius with brightness, d log10 radius / d mag: 0.08 is that of the first masks "
        "of HSC between magnitudes 18 and 12.",
        default=0.08,
        min=0.0,
        max=0.4,
        inclusiveMax=True,
    )


class SkyConfig(Config):
    """The sky of a coadd and its noise; by default dark, flat and white."""

    brightness = RangeField(
        dtype=float,
        doc="Factor on the brightness of the sky. Read noise stays, so that a small one gives coadds that "
        "are limited by the noise of their sources.",
        default=1.0,
        min=0.01,
        max=10.0,
        inclusiveMax=True,
    )
    gradient = RangeField(
        dtype=float,
        doc="What background subtraction left of large scales, a plane and a parabola of random directions: "
        "highest minus lowest value in the image, in units of the noise of a pixel of the sky.",
        default=0.0,
        min=0.0,
    )
    overSubtraction = share_field(
        "Share of the light of stars and galaxies that a background map takes away (mode fast): bright "
        "ones lie in bowls."
    )
    backgroundSize = RangeField(
        dtype=int, doc="Width of the squares of that background map, pixels.", default=128, min=8
    )
    noiseCorrelation = RangeField(
        dtype=float,
        doc="Noise of a sum over many pixels in units of that of white noise of the same variance of a pixel "
        "(mode fast): resampled coadds have correlated noise.",
        default=1.0,
        min=1.0,
        max=1.5,
        inclusiveMax=True,
    )
