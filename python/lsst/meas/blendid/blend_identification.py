# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The pipeline task."""

from __future__ import annotations

__all__ = (
    "BlendIdentificationConfig",
    "BlendIdentificationConnections",
    "BlendIdentificationTask",
)

import dataclasses
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np

import lsst.pipe.base.connectionTypes as cT
from lsst.images import Box, MaskedImage
from lsst.pex.config import ConfigField, Field
from lsst.pipe.base import (
    InputQuantizedConnection,
    InvalidQuantumError,
    NoWorkFound,
    OutputQuantizedConnection,
    PipelineTask,
    PipelineTaskConfig,
    PipelineTaskConnections,
    QuantumContext,
    Struct,
)

from .classifiers import BlendClassifier, classifier_registry
from .errors import NoFinitePixelsError, NoPsfError, UnusablePsfError
from .footprints import DetectionResult, FootprintConfig, NoUsablePixelsError, detect
from .footprints.smoothing import dilate_square
from .ids import SkyMapIdConfig
from .masks import mask_to_bool
from .model_package import ModelPackage
from .psf import PsfSummary, summarize_psf
from .samples import FootprintSamples, SceneContext
from .tables import make_tables

if TYPE_CHECKING:
    import pyarrow

    from lsst.images.psfs import PointSpreadFunction


class BlendIdentificationConnections(
    PipelineTaskConnections,
    dimensions=("skymap", "tract", "patch", "band"),
    defaultTemplates={"coaddName": "deep"},
):
    """Inputs and outputs of `BlendIdentificationTask`."""

    coadd = cT.Input(
        doc="Coadd to search.  A CellCoadd dataset is handed over whole, with its PSF.",
        name="{coaddName}_coadd",
        storageClass="MaskedImageV2",
        dimensions=("skymap", "tract", "patch", "band"),
    )
    modelPackages = cT.PrerequisiteInput(
        doc="Trained model packages of a band: columns 'classifier' and 'package' (the bytes of the file).",
        name="blend_model_packages",
        storageClass="ArrowTable",
        dimensions=("band",),
    )
    skyMap = cT.PrerequisiteInput(
        doc="Skymap, for the inner region of the tract.",
        name="skyMap",
        storageClass="SkyMap",
        dimensions=("skymap",),
    )
    blend = cT.Output(
        doc="Footprints with their blend probabilities.",
        name="{coaddName}_coadd_blend",
        storageClass="ArrowAstropy",
        dimensions=("skymap", "tract", "patch", "band"),
    )
    blendPeak = cT.Output(
        doc="Peaks of the footprints.",
        name="{coaddName}_coadd_blend_peak",
        storageClass="ArrowAstropy",
        dimensions=("skymap", "tract", "patch", "band"),
    )
    blendSpans = cT.Output(
        doc="Pixels of the footprints, as spans.",
        name="{coaddName}_coadd_blend_spans",
        storageClass="ArrowAstropy",
        dimensions=("skymap", "tract", "patch", "band"),
    )

    config: BlendIdentificationConfig

    def __init__(self, *, config: BlendIdentificationConfig | None = None) -> None:
        super().__init__(config=config)
        if config is None:
            return
        if config.useLegacyCoadd:
            self.coadd = dataclasses.replace(self.coadd, storageClass="ExposureF")
        if not config.useButlerModelPackages:
            del self.modelPackages
        if not config.useSkyMap:
            del self.skyMap


class BlendIdentificationConfig(PipelineTaskConfig, pipelineConnections=BlendIdentificationConnections):  # type: ignore[call-arg]
    """Configuration of `BlendIdentificationTask`."""

    footprints: ConfigField[FootprintConfig] = ConfigField(
        doc="How footprints and peaks are found.", dtype=FootprintConfig
    )
    classifiers = classifier_registry.makeField(
        doc="Classifiers that run, each with its own config.", default=["peaks", "logistic"], multi=True
    )
    primaryClassifier: Field[str] = Field(
        doc="Classifier that fills p_blended and p_n_*.", dtype=str, default="logistic"
    )
    maxPeaks: Field[int] = Field(
        doc="Footprints with more peaks are flagged too_many_peaks and not classified. "
        "The default is the limit above which Rubin's deblender gives up.",
        dtype=int,
        default=600,
        check=lambda x: x > 0,
    )
    maxMaskedFraction: Field[float] = Field(
        doc="Footprints with a larger share of pixels that could not be searched (masked, not finite, or too "
        "close to those or to the edge) are flagged no_data and not classified.",
        dtype=float,
        default=0.5,
        check=lambda x: 0 <= x <= 1,
    )
    useLegacyCoadd: Field[bool] = Field(
        doc="Read the coadd as an lsst.afw ExposureF (needs lsst.afw).", dtype=bool, default=False
    )
    useButlerModelPackages: Field[bool] = Field(
        doc="Take the model packages from the Butler instead of each classifier's modelPackage.",
        dtype=bool,
        default=False,
    )
    useSkyMap: Field[bool] = Field(
        doc="Read the skymap (needs lsst.skymap) to fill is_tract_inner; without it the column is true.",
        dtype=bool,
        default=False,
    )
    idGenerator: ConfigField[SkyMapIdConfig] = ConfigField(
        doc="How data IDs are packed into row IDs.", dtype=SkyMapIdConfig
    )

    def validate(self) -> None:  # noqa: D102  (inherited)
        super().validate()
        names = sorted(self.classifiers.names)
        if not names:
            raise ValueError("classifiers is empty; name at least one, for example 'logistic'")
        if self.primaryClassifier not in names:
            raise ValueError(
                f"primaryClassifier '{self.primaryClassifier}' is not among the classifiers {names}; "
                "add it to classifiers.names or name another"
            )
        if not self.useButlerModelPackages:
            for name in names:
                if classifier_registry[name].needs_package and not self.classifiers[name].modelPackage:
                    raise ValueError(
                        f"classifiers['{name}'].modelPackage is empty; give a name, path or URI, "
                        "or set useButlerModelPackages"
                    )


class BlendIdentificationTask(PipelineTask):
    """Find footprints in a coadd and the probability that each is a blend.

    Parameters
    ----------
    **kwargs
        As for `lsst.pipe.base.PipelineTask`.

    Raises
    ------
    ModelPackageError
        Raised if a configured model package cannot be read or does not fit
        the configuration.
    """

    ConfigClass = BlendIdentificationConfig
    _DefaultName = "blendIdentification"
    config: BlendIdentificationConfig

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # Models are read here, so that one that cannot work fails before any data are touched.
        self._classifiers: dict[str, BlendClassifier] | None = None
        if not self.config.useButlerModelPackages:
            self._classifiers = self._make_classifiers(None)

    def _make_classifiers(self, packages: Mapping[str, ModelPackage] | None) -> dict[str, BlendClassifier]:
        """Make the configured classifiers, from given packages or those that they name."""
        classifiers: dict[str, BlendClassifier] = {}
        # The registry keeps names as a set; the columns follow their sorted order.
        for name in sorted(self.config.classifiers.names):
            cls = classifier_registry[name]
            package = None if packages is None else packages.get(name)
            if packages is not None and package is None and cls.needs_package:
                raise InvalidQuantumError(
                    f"dataset blend_model_packages has no model for classifier '{name}', only for "
                    f"{sorted(packages)}; add it, or set useButlerModelPackages to False"
                )
            classifiers[name] = cls(self.config.classifiers[name], package=package)
        return classifiers

    def runQuantum(  # noqa: D102  (inherited)
        self,
        butlerQC: QuantumContext,
        inputRefs: InputQuantizedConnection,
        outputRefs: OutputQuantizedConnection,
    ) -> None:
        data_id = butlerQC.quantum.dataId
        assert data_id is not None, "quanta of this task have a data ID"
        inputs = butlerQC.get(inputRefs)
        coadd, psf = inputs["coadd"], None
        if self.config.useLegacyCoadd:
            from .afw import from_legacy_exposure

            coadd, psf = from_legacy_exposure(coadd)
        outputs = self.run(
            coadd,
            psf=psf,
            band=str(data_id["band"]),
            first_id=self.config.idGenerator.first_id(data_id),
            model_packages=_read_package_table(inputs["modelPackages"])
            if "modelPackages" in inputs
            else None,
            sky_map_tract=inputs["skyMap"][data_id["tract"]] if "skyMap" in inputs else None,
        )
        if len(outputs.blend) == 0:
            raise NoWorkFound(f"no footprint above the threshold in {data_id}")
        butlerQC.put(outputs, outputRefs)

    def run(
        self,
        coadd: MaskedImage,
        *,
        psf: PointSpreadFunction | np.ndarray | None = None,
        band: str | None = None,
        first_id: tuple[int, int] = (0, 1 << 63),
        model_packages: Mapping[str, ModelPackage] | None = None,
        sky_map_tract: Any = None,
    ) -> Struct:
        """Find footprints and classify them.

        Parameters
        ----------
        coadd
            Coadd, with a ``psf`` unless one is given.
        psf
            PSF, or the image of its kernel (odd, odd), normalised here.
        band
            Band of the coadd; its own if not given.  Where known, it has to
            be among those of the models.
        first_id
            ID offset and number of counters
            (`.ids.SkyMapIdConfig.first_id`).
        model_packages
            Model packages by classifier name, with ``useButlerModelPackages``.
        sky_map_tract
            ``TractInfo`` of the skymap, for ``is_tract_inner``.

        Returns
        -------
        struct : `lsst.pipe.base.Struct`
            ``blend``, ``blendPeak``, ``blendSpans`` (`astropy.table.Table`,
            see `.tables`) and ``detection`` (`.footprints.DetectionResult`).

        Raises
        ------
        NoPsfError
            Raised if there is no PSF.
        UnusablePsfError
            Raised if the PSF has no measurable width.
        NoFinitePixelsError
            Raised if no pixel can be searched.
        lsst.pipe.base.InvalidQuantumError
            Raised if a model is for other bands.
        lsst.pipe.base.NoWorkFound
            Raised if the whole coadd is NO_DATA.
        """
        start = time.perf_counter()
        if band is None:
            band = getattr(coadd, "band", None)
        classifiers = self._classifiers
        if classifiers is None or model_packages is not None:
            classifiers = self._make_classifiers(model_packages)
        _check_bands(classifiers, band)
        no_data, _, _ = mask_to_bool(coadd.mask, ["NO_DATA"])
        if no_data.size and no_data.all():
            raise NoWorkFound("every pixel of the coadd is NO_DATA")

        psf_summary = self._summarize_psf(coadd, psf)
        try:
            detection = detect(coadd, psf=psf_summary, config=self.config.footprints)
        except NoUsablePixelsError as err:
            raise NoFinitePixelsError(
                str(err),
                n_pixels=int(coadd.image.array.size),
                n_finite=int(np.isfinite(coadd.image.array).sum()),
            ) from err
        timings = {"psf": time.perf_counter() - start - sum(detection.timings.values()), **detection.timings}

        context = SceneContext(band=band, zero_point=_zero_point(coadd.unit), pixel_scale=None)
        samples = FootprintSamples([detection], [context])
        flags = self._find_flags(detection, classifiers, samples)
        probabilities = {}
        for name, classifier in classifiers.items():
            t0 = time.perf_counter()
            probabilities[name] = classifier.predict(samples)
            timings[f"classifier_{name}"] = time.perf_counter() - t0

        t0 = time.perf_counter()
        meta = self._table_metadata(detection, classifiers, band)
        tables = make_tables(
            detection,
            probabilities=probabilities,
            primary=self.config.primaryClassifier,
            flags=flags,
            projection=coadd.sky_projection,
            inner_box=_patch_inner_box(coadd),
            tract_inner=_tract_inner(sky_map_tract, detection, coadd),
            image_unit=coadd.unit,
            first_id=first_id,
            meta=meta,
        )
        timings["tables"] = time.perf_counter() - t0
        for key, value in meta.items():
            self.metadata[key] = value
        for stage, seconds in timings.items():
            self.metadata[f"seconds_{stage}"] = seconds
        self._log_summary(tables.blend)
        return Struct(
            blend=tables.blend,
            blendPeak=tables.blend_peak,
            blendSpans=tables.blend_spans,
            detection=detection,
        )

    def _summarize_psf(self, coadd: MaskedImage, psf: PointSpreadFunction | np.ndarray | None) -> PsfSummary:
        """Measure the PSF that is given or that the coadd carries."""
        if psf is None:
            psf = getattr(coadd, "psf", None)
        if psf is None:
            raise NoPsfError(
                f"the coadd ({type(coadd).__name__}) carries no PSF; give one with psf=, "
                "or --psf-fwhm on the command line",
                coadd_type=type(coadd).__name__,
            )
        try:
            return summarize_psf(psf, coadd.bbox)
        except ValueError as err:
            raise UnusablePsfError(f"the PSF cannot be used: {err}", psf_type=type(psf).__name__) from err

    def _find_flags(
        self,
        detection: DetectionResult,
        classifiers: Mapping[str, BlendClassifier],
        samples: FootprintSamples,
    ) -> dict[str, np.ndarray]:
        """Flags of the footprints, by name; a primary classifier adds its own."""
        footprints = detection.footprints
        n = len(footprints)
        unsearched = np.bincount(footprints.labels[~detection.eligible], minlength=n + 1)[1:]
        flags = {
            "edge": _touches_edge(detection),
            "masked": _touches_bad_pixels(detection),
            "no_data": unsearched > self.config.maxMaskedFraction * footprints.area,
            "too_many_peaks": footprints.n_peaks > self.config.maxPeaks,
        }
        for name, values in classifiers[self.config.primaryClassifier].find_flags(samples).items():
            flags[name] = flags[name] | values if name in flags else values
        if (outside := flags.get("outside_model_range")) is not None and outside.any():
            self.log.warning(
                "The coadd (PSF sigma %.2f pix, noise %.4g) is outside the range that the model of '%s' was "
                "trained on; its footprints are flagged outside_model_range.",
                detection.psf.sigma,
                detection.noise.sigma,
                self.config.primaryClassifier,
            )
        return flags

    def _table_metadata(
        self, detection: DetectionResult, classifiers: Mapping[str, BlendClassifier], band: str | None
    ) -> dict[str, str | int | float]:
        """Facts that are needed to interpret the tables, as flat metadata."""
        from . import __version__

        meta: dict[str, str | int | float] = {
            "blendid_version": __version__,
            "classifiers": ", ".join(classifiers),
            "primary_classifier": self.config.primaryClassifier,
            "band": band or "unknown",
            "prior": "natural",
        }
        for name, classifier in classifiers.items():
            meta[f"model_{name}"] = "none" if classifier.package is None else classifier.package.name
        meta.update(detection.metadata)
        return meta

    def _log_summary(self, blend: Any) -> None:
        """Say what was found."""
        classified = ~np.asarray(blend["flag"])
        self.log.info(
            "%d footprints, %d of them not classified; %.1f blends expected among the others.",
            len(blend),
            int((~classified).sum()),
            float(np.nansum(np.asarray(blend["p_blended"])[classified])),
        )


def _check_bands(classifiers: Mapping[str, BlendClassifier], band: str | None) -> None:
    """Refuse models for other bands, which no coadd of this run could fix."""
    for name, classifier in classifiers.items():
        package = classifier.package
        if band is not None and package is not None and not package.supports_band(band):
            raise InvalidQuantumError(
                f"model {package.name} of classifier '{name}' is for band {', '.join(package.bands)}, "
                f"the coadd is in band {band}; choose another model package"
            )


def _read_package_table(table: pyarrow.Table) -> dict[str, ModelPackage]:
    """Model packages from their Butler dataset."""
    missing = {"classifier", "package"} - set(table.column_names)
    if missing:
        raise InvalidQuantumError(f"dataset blend_model_packages lacks the columns {sorted(missing)}")
    return {row["classifier"]: ModelPackage.from_bytes(row["package"]) for row in table.to_pylist()}


def _zero_point(unit: u.UnitBase | None) -> float | None:
    """AB magnitude of one unit of flux density, `None` for other units."""
    if unit is None or not unit.is_equivalent(u.nJy):
        return None
    return float((1.0 * unit).to_value(u.ABmag))


def _patch_inner_box(coadd: MaskedImage) -> Box | None:
    """Inner region of the coadd's patch, if it knows one."""
    try:
        return coadd.patch.inner_bbox  # type: ignore[attr-defined]
    except AttributeError:
        return None


def _tract_inner(tract: Any, detection: DetectionResult, coadd: MaskedImage) -> np.ndarray | None:
    """Whether the centroids are in the inner region of a tract, `None` without a skymap."""
    if tract is None or coadd.sky_projection is None:
        return None
    centroid = detection.footprints.centroid
    sky = coadd.sky_projection.pixel_to_sky(x=centroid[:, 0], y=centroid[:, 1])
    return np.asarray(tract.inner_sky_region.contains(sky.ra.rad, sky.dec.rad))


def _cut_margin(detection: DetectionResult) -> int:
    """How close to a bad pixel or the edge a footprint comes that was cut by it, pixels.

    Nothing is detected within the kernel's half-width; a footprint that ends
    there because it was cut grows back by the growth.
    """
    return max(0, int(detection.metadata["kernel_size"]) // 2 + 1 - detection.growth)


def _touches_bad_pixels(detection: DetectionResult) -> np.ndarray:
    """Whether footprints may be cut by masked or non-finite pixels."""
    labels = detection.footprints.labels
    n = len(detection.footprints)
    if not detection.bad.any():
        return np.zeros(n, dtype=bool)
    near = dilate_square(detection.bad, _cut_margin(detection))
    return np.bincount(labels[near], minlength=n + 1)[1:] > 0


def _touches_edge(detection: DetectionResult) -> np.ndarray:
    """Whether footprints may be cut by the edge of the image."""
    n_y, n_x = detection.footprints.labels.shape
    x0, y0 = detection.footprints.xy0
    margin = max(0, _cut_margin(detection) - 1)
    bbox = detection.footprints.bbox
    return (
        (bbox[:, 0] <= x0 + margin)
        | (bbox[:, 1] <= y0 + margin)
        | (bbox[:, 2] >= x0 + n_x - 1 - margin)
        | (bbox[:, 3] >= y0 + n_y - 1 - margin)
    )
