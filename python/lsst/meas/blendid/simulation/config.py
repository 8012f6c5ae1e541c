# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Settings of simulated coadds that are not those of the survey."""

from __future__ import annotations

__all__ = (
    "PSF_PROFILES",
    "ExposureConfig",
    "PopulationConfig",
    "PsfConfig",
    "SceneConfig",
    "StructureConfig",
    "VariationConfig",
)

from lsst.pex.config import ChoiceField, Config, ConfigField, Field, FieldValidationError, RangeField

from .defect_config import ArtifactConfig, SkyConfig, StarlightConfig, share_field

PSF_PROFILES: dict[str, str] = {
    "kolmogorov": "Turbulence of the atmosphere.",
    "moffat": "A power law in the wings, whose steepness is beta.",
    "optics": "Turbulence, convolved with the ring-shaped spot of a defocused telescope.",
    "double-gaussian": "A Gaussian core with a tenth of the light in a Gaussian of twice the width.  No "
    "training has this one: it is for tests of what a model does with a PSF of a kind that it does not know.",
}
"""Families of profiles, by name."""


class StructureConfig(Config):
    """Share of the galaxies that have structures, none of which is an object; by default none has any."""

    sersicFraction = share_field(
        "Share of the galaxies whose profiles are Sérsic's with indices of 0.5 to 6; half of them are of one "
        "piece, half a disc and a bulge."
    )
    barFraction = share_field("Share of the galaxies with a bar in the disc.")
    spiralFraction = share_field("Share of the galaxies with two to four spiral arms.")
    ringFraction = share_field("Share of the galaxies with a ring.")
    dustFraction = share_field("Share of the galaxies with a lane of dust along the major axis.")
    tailFraction = share_field("Share of the galaxies with a tidal tail.")
    edgeOnFraction = share_field(
        "Share of the galaxies whose disc is seen from the side, of axis ratios .1 to .25."
    )


class PopulationConfig(Config):
    """How the objects differ from those of the catalogue that they come from.

    With the defaults they do not: whoever trains on one population only
    should know it.
    """

    sizeScale = RangeField(
        dtype=float,
        doc="Factor on all galaxy radii. Galaxies in HST images are at i = 25 two to three times as large as "
        "those of cosmoDC2.",
        default=1.0,
        min=0.1,
        max=10.0,
        inclusiveMax=True,
    )
    sizeScatter = RangeField(
        dtype=float,
        doc="Standard deviation of log10 of a further random factor on the radii of each galaxy, dex.",
        default=0.0,
        min=0.0,
        max=1.0,
        inclusiveMax=True,
    )
    countsScale = RangeField(
        dtype=float,
        doc="Factor on the number of galaxies. From a list of galaxies, those to draw are picked at random; "
        "a factor over one repeats some at other places.",
        default=1.0,
        min=0.0,
        max=10.0,
        inclusiveMin=False,
        inclusiveMax=True,
    )
    clustering = RangeField(
        dtype=float,
        doc="Strength of the clustering of catalogues that draw positions; 0 puts galaxies at random.",
        default=1.0,
        min=0.0,
        max=5.0,
        inclusiveMax=True,
    )
    starDensity = RangeField(
        dtype=float,
        doc="Stars per arcmin² between starMagBright and starMagFaint in the reference band, beside those of "
        "the catalogue. A star counts as an object.",
        default=0.0,
        min=0.0,
    )
    starMagBright = Field[float](doc="Brightest of these stars, AB magnitude.", default=16.0)
    starMagFaint = Field[float](doc="Faintest of these stars, AB magnitude.", default=27.0)
    starSlope = RangeField(
        dtype=float,
        doc="Slope of the counts of these stars, d log10 N / d mag.",
        default=0.15,
        min=0.0,
        max=1.0,
    )
    clumpyFraction = share_field(
        "Share of the galaxies whose disc has knots of star formation. Knots are not objects."
    )
    clumpLight = share_field("Share of the light of a clumpy disc that is in its knots.", default=0.3)
    clumpNumber = RangeField(dtype=float, doc="Mean number of knots in a clumpy disc.", default=5.0, min=1.0)
    structures = ConfigField[StructureConfig](doc="Bars, arms, rings, dust and tails (mode fast).")
    brightDensity = RangeField(
        dtype=float,
        doc="Galaxies per arcmin² between brightMagBright and brightMagFaint in the reference band, as many "
        "of each magnitude, beside those of the catalogue.",
        default=0.0,
        min=0.0,
    )
    brightMagBright = Field[float](doc="Brightest of these galaxies, AB magnitude.", default=16.0)
    brightMagFaint = Field[float](doc="Faintest of these galaxies, AB magnitude.", default=22.0)
    mergerFraction = share_field(
        "Share of the galaxies brighter than magnitude 24 in the reference band that are merging with "
        "another one, which is an object of its own at 0.3 to 2 half-light radii and up to two magnitudes "
        "fainter."
    )
    doLensing = Field[bool](
        doc="Apply the shear and the convergence of the catalogue, where it has them?", default=True
    )

    def validate(self) -> None:
        """Check that the magnitudes of stars are in order."""
        super().validate()
        if not self.starMagBright < self.starMagFaint:
            raise FieldValidationError(
                type(self).starMagFaint,
                self,
                f"must be greater than starMagBright = {self.starMagBright:g}, not {self.starMagFaint:g}",
            )
        if not self.brightMagBright < self.brightMagFaint:
            raise FieldValidationError(
                type(self).brightMagFaint,
                self,
                f"must be greater than brightMagBright = {self.brightMagBright:g}, not "
                f"{self.brightMagFaint:g}",
            )


class PsfConfig(Config):
    """What PSF the coadd has, beside its FWHM, which the survey has for each band."""

    profile = ChoiceField[str](doc="Family of the profile.", default="kolmogorov", allowed=dict(PSF_PROFILES))
    beta = RangeField(
        dtype=float,
        doc="Steepness of the wings of a Moffat profile, which fall as r to the power of -2 beta.",
        default=3.5,
        min=1.5,
        max=20.0,
        inclusiveMax=True,
    )
    opticsShare = RangeField(
        dtype=float,
        doc="Diameter of the ring-shaped spot of profile optics in units of the FWHM of the turbulence.",
        default=0.5,
        min=0.0,
        max=2.0,
        inclusiveMin=False,
        inclusiveMax=True,
    )
    ellipticity = RangeField(
        dtype=float,
        doc="Reduced shear of the PSF, (a - b) / (a + b) of its axes.",
        default=0.0,
        min=0.0,
        max=0.3,
        inclusiveMax=True,
    )
    positionAngle = Field[float](
        doc="Angle of its major axis, degrees counter-clockwise from the x axis.", default=0.0
    )
    widthError = RangeField(
        dtype=float,
        doc="How much wider the PSF that the coadd tells is than that of its pixels, as a fraction.",
        default=0.0,
        min=-0.3,
        max=0.3,
        inclusiveMax=True,
    )


class VariationConfig(Config):
    """How PSF and depth vary from cell to cell of a coadd; by default they do not.

    The variation is a smooth random field on the sky, one value a cell.
    """

    fwhmScatter = RangeField(
        dtype=float,
        doc="Standard deviation of the FWHM of the PSF between cells, as a fraction of it.",
        default=0.0,
        min=0.0,
        max=0.3,
        inclusiveMax=True,
    )
    ellipticityScatter = RangeField(
        dtype=float,
        doc="Standard deviation of each component of the reduced shear of the PSF.",
        default=0.0,
        min=0.0,
        max=0.1,
        inclusiveMax=True,
    )
    depthScatter = RangeField(
        dtype=float,
        doc="Standard deviation of the number of exposures between cells, as a fraction of it.",
        default=0.0,
        min=0.0,
        max=0.5,
        inclusiveMax=True,
    )
    skyScatter = RangeField(
        dtype=float,
        doc="Standard deviation of the brightness of the sky between cells, as a fraction of it.",
        default=0.0,
        min=0.0,
        max=0.3,
        inclusiveMax=True,
    )
    scale = RangeField(
        dtype=float,
        doc="Length over which PSF and depth vary, in cells.",
        default=4.0,
        min=0.0,
        inclusiveMin=False,
    )


class ExposureConfig(Config):
    """How a coadd is made of single exposures, photon by photon."""

    fwhmScatter = RangeField(
        dtype=float,
        doc="Standard deviation of the seeing between exposures, as a fraction of it.",
        default=0.10,
        min=0.0,
        max=0.3,
        inclusiveMax=True,
    )
    skyScatter = RangeField(
        dtype=float,
        doc="Standard deviation of the brightness of the sky between exposures, as a fraction of it.",
        default=0.05,
        min=0.0,
        max=0.3,
        inclusiveMax=True,
    )
    doDither = Field[bool](
        doc="Shift each exposure by a random part of a pixel, and shift it back bilinearly?", default=True
    )
    sensor = Field[str](
        doc="GalSim's name of the model of the silicon sensor; empty for an ideal one.",
        default="lsst_itl_32",
    )


class SceneConfig(Config):
    """How a coadd is simulated."""

    mode = ChoiceField[str](
        doc="How the coadd is made.",
        default="fast",
        allowed={
            "fast": "Drawn at once: exact profiles, pixel-integrated PSF, Poisson noise of sky and sources.",
            "full": "The mean of single exposures, photon by photon, with the sensor's effects.",
        },
    )
    population = ConfigField[PopulationConfig](doc="How objects differ from those of their catalogue.")
    psf = ConfigField[PsfConfig](doc="Form of the PSF, and how well it is known (mode fast).")
    variation = ConfigField[VariationConfig](doc="How PSF and depth vary between cells (mode fast).")
    artifacts = ConfigField[ArtifactConfig](doc="What coaddition leaves of defects.")
    starlight = ConfigField[StarlightConfig](doc="Halos, spikes and masks of bright stars.")
    sky = ConfigField[SkyConfig](doc="The sky, what is left of it, and the correlation of the noise.")
    exposures = ConfigField[ExposureConfig](doc="Single exposures (mode full).")
    engine = ChoiceField[str](
        doc="What draws the galaxies in mode fast.",
        default="fourier",
        allowed={
            "fourier": "Transforms of many galaxies at once.",
            "galsim": "GalSim, one galaxy after another: the reference, an order of magnitude slower.",
        },
    )
    doSourceNoiseInVariance = Field[bool](
        doc="Add the Poisson noise of the sources to the variance plane, as Rubin's coadds have it? "
        "The pixels always have it.",
        default=True,
    )
    doSubtractBackground = Field[bool](
        doc="Subtract the clipped mean of the image? Without it, galaxies too faint to be detected leave a "
        "pedestal.",
        default=True,
    )

    def validate(self) -> None:
        """Check that the mode can do what is asked for."""
        super().validate()
        if self.mode == "full" and self.psf.toDict() != PsfConfig().toDict():
            raise FieldValidationError(
                type(self).psf,
                self,
                "the exposures of mode full have a round Kolmogorov PSF: leave psf as it is, or use mode "
                "fast",
            )
        if self.mode == "full" and any(self.population.structures.toDict().values()):
            raise FieldValidationError(
                PopulationConfig.structures,
                self.population,
                "photons of mode full are those of exponential discs, de Vaucouleurs bulges and knots: set "
                "the shares of structures to 0, or use mode fast",
            )
        varied = ("fwhmScatter", "ellipticityScatter", "depthScatter", "skyScatter")
        if self.mode == "full" and any(getattr(self.variation, name) > 0.0 for name in varied):
            raise FieldValidationError(
                type(self).mode,
                self,
                "the exposures of mode full cover the whole image: set the scatters of variation to 0, "
                "or use mode fast",
            )
        for field, value in (("noiseCorrelation", 1.0), ("overSubtraction", 0.0)):
            if self.mode == "full" and getattr(self.sky, field) != value:
                raise FieldValidationError(
                    getattr(SkyConfig, field),
                    self.sky,
                    f"works in mode fast only: set it to {value:g}, or use mode fast",
                )
