# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Connections and configuration of the pipeline task."""

from __future__ import annotations

__all__ = ("BlendIdentificationConfig", "BlendIdentificationConnections")

import dataclasses
from typing import Any

import lsst.pipe.base.connectionTypes as cT
from lsst.pex.config import ConfigField, Field, FieldValidationError, RangeField
from lsst.pipe.base import PipelineTaskConfig, PipelineTaskConnections

from .classifiers import classifier_registry
from .footprints import FootprintConfig
from .ids import SkyMapIdConfig
from .localizers import localizer_registry
from .model_package import ModelPackageError, require_model


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
        doc="Trained model packages of a band: columns 'classifier' (name of the classifier, or of the "
        "localiser for its model) and 'package' (the bytes of the file).",
        name="blend_model_packages",
        storageClass="ArrowTable",
        dimensions=("band",),
        # A band without models must not keep the others from running.
        minimum=0,
    )
    skyMap = cT.Input(
        doc="Skymap, for the inner region of the tract.",
        name="skyMap",
        storageClass="SkyMap",
        dimensions=("skymap",),
    )
    catalog = cT.Input(
        doc="Catalogue whose footprints and peaks are judged, instead of those that are found in the coadd.",
        name="object_detection_merged",
        storageClass="SourceCatalog",
        dimensions=("skymap", "tract", "patch"),
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
        if not config.useCatalogFootprints:
            del self.catalog
        elif config.catalogHasBand:
            self.catalog = dataclasses.replace(self.catalog, dimensions=("skymap", "tract", "patch", "band"))


class BlendIdentificationConfig(PipelineTaskConfig, pipelineConnections=BlendIdentificationConnections):  # type: ignore[call-arg]
    """Configuration of `BlendIdentificationTask`."""

    footprints: ConfigField[FootprintConfig] = ConfigField(
        doc="How footprints and peaks are found.", dtype=FootprintConfig
    )
    classifiers = classifier_registry.makeField(
        doc="Classifiers that run, each with its own config.",
        default=["ensemble", "features", "peaks"],
        multi=True,
    )
    primaryClassifier: Field[str] = Field(
        doc="Classifier that fills p_blended and p_n_*.", dtype=str, default="ensemble"
    )
    localizer = localizer_registry.makeField(
        doc="What tells where objects are and how probable each is, with its own config; None for the "
        "detected peaks alone, without probabilities.",
        default="centers",
        optional=True,
    )
    maxPeaks: Field[int] = Field(
        doc="Footprints with more peaks are flagged too_many_peaks and not classified. "
        "The default is the limit above which Rubin's deblender gives up.",
        dtype=int,
        default=600,
        check=lambda x: x > 0,
    )
    maxNovelty = RangeField(
        doc="Footprints with a greater novelty are flagged outside_model_range: minus log10 of the share of "
        "training footprints that are as unusual, so that of footprints like those of training one in a "
        "thousand is flagged by default.",
        dtype=float,
        default=3.0,
        min=0.0,
    )
    maxMaskedFraction: Field[float] = Field(
        doc="Footprints with a larger share of pixels that could not be searched (masked, not finite, or too "
        "close to those or to the edge) are flagged no_data and not classified.",
        dtype=float,
        default=0.5,
        check=lambda x: 0 <= x <= 1,
    )
    allowAnyBand: Field[bool] = Field(
        doc="Apply models to coadds of bands that they were not trained in?  Their rows are flagged "
        "other_band.",
        dtype=bool,
        default=False,
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
        doc="Read the skymap (needs lsst.skymap) for the inner regions of tract and patch; without "
        "it is_tract_inner is true everywhere, and so is is_patch_inner unless the coadd knows its patch.",
        dtype=bool,
        default=False,
    )
    useCatalogFootprints: Field[bool] = Field(
        doc="Judge the footprints and peaks of a catalogue (needs lsst.afw) instead of those that are "
        "found in the coadd? The tables then have its identifiers of records and peaks.",
        dtype=bool,
        default=False,
    )
    catalogHasBand: Field[bool] = Field(
        doc="Is the catalogue of useCatalogFootprints one of each band, such as object_detection? If not, it "
        "is one for all bands.",
        dtype=bool,
        default=False,
    )
    idGenerator: ConfigField[SkyMapIdConfig] = ConfigField(
        doc="How data IDs are packed into row IDs.", dtype=SkyMapIdConfig
    )

    def validate(self) -> None:
        super().validate()
        cls = type(self)
        names = sorted(self.classifiers.names)
        if not names:
            raise FieldValidationError(
                cls.classifiers, self, "classifiers is empty; name at least one, for example 'ensemble'"
            )
        if self.primaryClassifier not in names:
            raise FieldValidationError(
                cls.primaryClassifier,
                self,
                f"primaryClassifier '{self.primaryClassifier}' is not among the classifiers {names}; "
                "add it to classifiers.names or name another",
            )
        if self.useButlerModelPackages:
            return
        for name in names:
            sources = _list_sources(self.classifiers[name])
            if classifier_registry[name].needs_package and not sources:
                raise FieldValidationError(
                    cls.classifiers,
                    self,
                    f"classifiers['{name}'].modelPackage is empty; give a name, path or URI (--model in "
                    f"'blendid run'), such as what 'blendid train --classifier {name}' writes, or set "
                    "useButlerModelPackages in a pipeline",
                )
            _require_models(f"classifiers['{name}']", sources)
        if (localizer := self.localizer.name) is not None:
            sources = _list_sources(self.localizer.active)
            if localizer_registry[localizer].needs_package and not sources:
                raise FieldValidationError(
                    cls.localizer,
                    self,
                    f"localizer['{localizer}'].modelPackage is empty; give a name, path or URI, or set "
                    "localizer to None to have no probabilities of peaks",
                )
            _require_models(f"localizer['{localizer}']", sources)


def _list_sources(config: Any) -> dict[str, str]:
    """Models that the config of a classifier or localiser names, by field."""
    by_band = {f"modelPackages['{band}']": source for band, source in config.modelPackages.items()}
    named = {"modelPackage": config.modelPackage, **by_band}
    return {field: source for field, source in named.items() if source}


def _require_models(owner: str, sources: dict[str, str]) -> None:
    """Make sure that there are these models, as far as that can be told here."""
    for field, source in sources.items():
        try:
            require_model(source)
        except ModelPackageError as err:
            raise ModelPackageError(f"{owner}.{field}: {err}") from None
