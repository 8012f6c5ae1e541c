# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Blends in arrays: the functions for programs and notebooks."""

from __future__ import annotations

__all__ = ("IdentifiedBlends", "find_footprints", "identify_blends", "measure_features")

import os
from dataclasses import dataclass
from typing import Any

import astropy.units as u
import astropy.wcs
import numpy as np
from astropy.table import Table

from lsst.images import SkyProjection
from lsst.images.psfs import PointSpreadFunction
from lsst.pipe.base import InvalidQuantumError, NoWorkFound

from ._image_inputs import ImageInputs
from .blend_identification import BlendIdentificationTask
from .blend_identification_config import BlendIdentificationConfig
from .classifiers import find_classifier
from .errors import NoModelError
from .features import FEATURE_DOCS
from .features import measure_features as measure_rows
from .footprints import DetectionResult, FootprintConfig, adapt_to_image, detect
from .images.psf import summarize_psf
from .localizers import localizer_registry
from .model_package import ModelPackage
from .peak_matching import LIKELY
from .samples import FootprintSamples, SceneContext
from .tables import BlendTables


@dataclass(frozen=True, repr=False)
class IdentifiedBlends(BlendTables):
    """What was found in an image.

    Parameters
    ----------
    blend, blend_peak, blend_spans
        Tables of footprints, peaks and spans (`.tables`).
    segmentation : `numpy.ndarray`, shape (ny, nx), int32
        The ``footprint_id`` of each pixel, 0 for none.
    detection
        Footprints, and the images that they were made from.
    """

    segmentation: np.ndarray
    detection: DetectionResult

    def __repr__(self) -> str:
        p = np.asarray(self.blend["p_blended"], dtype=float)
        known = p[np.isfinite(p)]
        n_inferred = int(np.count_nonzero(self.blend_peak["is_inferred"]))
        text = f"{len(p)} footprint{'' if len(p) == 1 else 's'}, {len(self.blend_peak)} peaks"
        if n_inferred:
            text += f" ({n_inferred} of them inferred)"
        if known.size:
            text += f", {known.sum():.1f} blends expected"
        if known.size < p.size:
            text += f", {p.size - known.size} not classified"
        meta = self.blend.meta
        return f"<IdentifiedBlends: {text}; model {meta['model_' + meta['primary_classifier']]}>"

    def likely_peaks(self, least: float = LIKELY, *, inferred: bool | None = None) -> Table:
        """Give the peaks where a galaxy probably is, the most probable first.

        Parameters
        ----------
        least
            Least probability of a peak.
        inferred
            Only inferred peaks (`True`) or only detected ones (`False`); both by default.

        Returns
        -------
        peaks : `astropy.table.Table`
            Those rows of ``blend_peak``, by falling probability.  A peak without a probability, as all
            are where no localiser ran, is not among them.

        Raises
        ------
        ValueError
            Raised if ``least`` is no probability.
        """
        if not 0.0 <= least <= 1.0:
            raise ValueError(f"least is {least}; give a probability between 0 and 1")
        p = np.asarray(self.blend_peak["probability"], dtype=float)
        use = np.isfinite(p) & (p >= least)
        if inferred is not None:
            use &= np.asarray(self.blend_peak["is_inferred"], dtype=bool) == inferred
        rows = np.flatnonzero(use)
        return self.blend_peak[rows[np.argsort(-p[rows], kind="stable")]]


def identify_blends(
    image: Any,
    *,
    variance: Any = None,
    mask: Any = None,
    psf: PointSpreadFunction | np.ndarray | None = None,
    psf_fwhm: float | u.Quantity | None = None,
    pixel_scale: float | u.Quantity | None = None,
    wcs: astropy.wcs.WCS | SkyProjection[Any] | None = None,
    band: str | None = None,
    zero_point: float | None = None,
    subtract_background: bool | None = None,
    model: str | os.PathLike[str] | None = None,
    localizer: str | None = None,
    config: BlendIdentificationConfig | None = None,
) -> IdentifiedBlends:
    """Find footprints in an image and the probability that each is a blend.

    Parameters
    ----------
    image
        Two-dimensional image (ny, nx) of real numbers: a `numpy.ndarray` of
        any dtype and byte order, a masked array, a `~astropy.units.Quantity`,
        an `~astropy.nddata.NDData` or `~astropy.nddata.CCDData` with its mask,
        uncertainty, unit, WCS and PSF, or an `lsst.images` image, masked image
        or coadd with what it has.  It is not changed.
    variance
        Variance of the pixels (ny, nx), or one number for all, in the square
        of the image's unit; that of ``image`` if not given.  Without one the
        noise is estimated from the pixels.
    mask
        True, or not 0, for pixels to leave out (ny, nx), as in NumPy and
        photutils; in addition to those that ``image`` masks, and to those that
        are not finite.
    psf
        Image of the PSF, odd sides, its peak in the middle, any
        normalisation; or a PSF of `lsst.images`.  That of ``image`` if neither
        it nor ``psf_fwhm`` is given.
    psf_fwhm
        Full width at half maximum of the seeing, in pixels if it is a number;
        or a quantity in pixels or, with ``pixel_scale`` or a WCS, an angle.
        Stands for a Kolmogorov profile convolved with the pixel.
    pixel_scale
        Pixel size, in arcsec if it is a number; that of the WCS if not given.
    wcs
        Celestial WCS, for positions on the sky; that of ``image`` if not
        given.
    band
        Band of the image, such as ``"i"``; that of ``image``, or what its
        header calls the filter, if not given.  If it is not known it is taken
        for that of the model.
    zero_point
        AB magnitude of one unit of the pixels, for magnitudes and for a look
        whether the depth is one that the model knows; that of the unit, if it
        is one of flux density, if not given.
    subtract_background
        Whether the sky background is to be subtracted.  By default it is, as
        by ``blendid run``, but for masked images and coadds of `lsst.images`,
        which bring a variance along.
    model
        Name or path of a model package (``blendid models list``); the default
        of the configuration if not given.
    localizer
        Name of the localiser, which gives peaks their probabilities and
        infers others; ``"none"`` for the detected peaks alone, the default of
        the configuration if not given.
    config
        Configuration of the task, instead of ``model``, ``localizer`` and
        ``subtract_background``.

    Returns
    -------
    blends : `IdentifiedBlends`
        Tables of footprints, peaks and spans, and the label image.

    Raises
    ------
    TypeError
        Raised if the image is of no kind that is understood.
    ValueError
        Raised, with the remedy, if the image is not two-dimensional or holds
        no real numbers, if a plane does not fit it, if there is no PSF, or if
        no model fits.
    BlendIdentificationError
        Raised if nothing can be measured: no usable pixel, no noise, or a PSF
        without width.
    """
    _check_number("zero_point", zero_point)
    inputs = ImageInputs.make(image, variance, mask, psf, psf_fwhm, pixel_scale, wcs, band)
    if config is None:
        config = _make_config(model, localizer, subtract_background, inputs)
    elif model is not None or subtract_background is not None or localizer is not None:
        raise ValueError(
            "config= replaces model=, localizer= and subtract_background=; set these in the config"
        )
    _check_noise_source(config.footprints, inputs.has_variance)
    try:
        struct = BlendIdentificationTask(config=config).run(
            inputs.masked_image, psf=inputs.psf, band=inputs.band, zero_point=zero_point
        )
    except NoModelError as err:
        raise ValueError(
            f"{err.reason}; name one with model=, or give a config= with allowAnyBand, or another band="
        ) from err
    except (InvalidQuantumError, NoWorkFound) as err:  # What they mean to a pipeline does not matter here.
        raise ValueError(str(err)) from err
    return IdentifiedBlends(
        struct.blend,
        struct.blendPeak,
        struct.blendSpans,
        segmentation=struct.detection.segmentation,
        detection=struct.detection,
    )


def find_footprints(
    image: Any,
    *,
    variance: Any = None,
    mask: Any = None,
    psf: PointSpreadFunction | np.ndarray | None = None,
    psf_fwhm: float | u.Quantity | None = None,
    pixel_scale: float | u.Quantity | None = None,
    threshold: float | None = None,
    subtract_background: bool | None = None,
    config: FootprintConfig | None = None,
) -> DetectionResult:
    """Find footprints and their peaks, as `SourceDetectionTask` does, without classifying them.

    Parameters
    ----------
    image, variance, mask, psf, psf_fwhm, pixel_scale, subtract_background
        As for `identify_blends`.
    threshold
        Point-source S/N of a pixel of the smoothed image from which on it
        belongs to a footprint; 5 if not given.
    config
        All settings, instead of ``threshold`` and ``subtract_background``.

    Returns
    -------
    found : `.footprints.DetectionResult`
        ``segmentation`` (label image), ``footprints`` (columns of footprints
        and peaks) and the smoothed image.

    Raises
    ------
    TypeError, ValueError
        Raised as by `identify_blends`, and if no pixel can be searched.
    """
    _check_number("threshold", threshold, positive=True)
    inputs = ImageInputs.make(image, variance, mask, psf, psf_fwhm, pixel_scale, None, None)
    if config is None:
        config = FootprintConfig()
        adapt_to_image(config, has_variance=inputs.has_variance, has_sky=inputs.has_sky)
        if threshold is not None:
            config.thresholdValue = float(threshold)
        if subtract_background is not None:
            config.doSubtractBackground = subtract_background
    elif threshold is not None or subtract_background is not None:
        raise ValueError("config= replaces threshold= and subtract_background=; set these in the config")
    _check_noise_source(config, inputs.has_variance)
    summary = summarize_psf(inputs.psf, inputs.masked_image.bbox)
    return detect(inputs.masked_image, psf=summary, config=config)


def measure_features(
    found: DetectionResult | IdentifiedBlends, *, band: str | None = None, zero_point: float | None = None
) -> Table:
    """Measure the features that the classifier ``features`` looks at.

    Parameters
    ----------
    found
        What `find_footprints` or `identify_blends` returned.
    band
        Band of the image, if known.
    zero_point
        AB magnitude of one unit of the pixels, if known.

    Returns
    -------
    features : `astropy.table.Table`
        A row for each footprint: ``footprint_id`` and the features, float32,
        each with its description.

    Raises
    ------
    TypeError
        Raised if it is given something else, such as an image.
    ValueError
        Raised if the zero point is not finite.
    """
    detection = found.detection if isinstance(found, IdentifiedBlends) else found
    if not isinstance(detection, DetectionResult):
        raise TypeError(
            f"features are measured in what find_footprints or identify_blends returned, not in a "
            f"{type(found).__name__}"
        )
    _check_number("zero_point", zero_point)
    samples = FootprintSamples([detection], [SceneContext(band=band, zero_point=zero_point)])
    rows = np.array(measure_rows(samples))
    # Column by column, so that a table without rows has the same dtypes.
    table = Table({name: rows[:, k] for k, name in enumerate(FEATURE_DOCS)})
    for name, description in FEATURE_DOCS.items():
        table[name].description = description
    table.add_column(np.arange(1, len(rows) + 1, dtype=np.int32), name="footprint_id", index=0)
    table["footprint_id"].description = "Number of the footprint; its label in the segmentation."
    return table


def _make_config(
    model: str | os.PathLike[str] | None,
    localizer: str | None,
    subtract_background: bool | None,
    inputs: ImageInputs,
) -> BlendIdentificationConfig:
    """Make the config for one image."""
    config = BlendIdentificationConfig()
    adapt_to_image(config.footprints, has_variance=inputs.has_variance, has_sky=inputs.has_sky)
    if subtract_background is not None:
        config.footprints.doSubtractBackground = subtract_background
    if localizer is not None:
        if localizer != "none" and localizer not in localizer_registry:
            known = ", ".join(sorted(localizer_registry))
            raise ValueError(f"there is no localizer {localizer!r}; known are {known}, and none")
        config.localizer.name = None if localizer == "none" else localizer
    if model is not None:
        source = os.fspath(model)
        package = ModelPackage.read(source)
        find_classifier(package)
        config.classifiers.names = [package.classifier]
        config.classifiers[package.classifier].modelPackage = source
        config.primaryClassifier = package.classifier
    config.validate()
    return config


def _check_number(name: str, value: object, *, positive: bool = False) -> None:
    """Refuse what is no finite number."""
    if value is None:
        return
    known = isinstance(value, (int, float, np.integer, np.floating)) and bool(np.isfinite(value))
    if not known or (positive and not value > 0):  # type: ignore[operator]
        raise ValueError(f"{name} is {value}; give a {'positive' if positive else 'finite'} number")


def _check_noise_source(config: FootprintConfig, has_variance: bool) -> None:
    """Refuse a config that needs a variance that is not there."""
    if not has_variance and config.noiseSource == "variance" and config.thresholdType == "pixel_stdev":
        raise ValueError(
            "the config takes the noise from the variance, but there is none; give variance=, or set "
            "noiseSource of the footprints to 'clipped'"
        )
