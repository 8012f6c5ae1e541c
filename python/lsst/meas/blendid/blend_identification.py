# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The pipeline task."""

from __future__ import annotations

__all__ = ("BlendIdentificationTask",)

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lsst.images import Box, MaskedImage
from lsst.pipe.base import (
    InputQuantizedConnection,
    InvalidQuantumError,
    NoWorkFound,
    OutputQuantizedConnection,
    PipelineTask,
    QuantumContext,
    Struct,
)

from ._progress import report_progress
from .band_models import BandModels
from .blend_identification_config import BlendIdentificationConfig
from .classifiers import BlendClassifier, split_probabilities
from .errors import (
    BlendIdentificationError,
    CatalogUnusableError,
    NoFinitePixelsError,
    NoNoiseMeasuredError,
    NoPsfError,
    UnusablePsfError,
)
from .footprints import DetectionResult, FootprintSet, NoNoiseError, NoUsablePixelsError, detect
from .footprints.measurements import find_footprint_flags
from .images import image_scale
from .images.masks import mask_to_bool
from .images.psf import PsfSummary, summarize_psf
from .images.zero_points import ab_zero_point
from .localizers import BlendLocalizer, expected_counts, locate_peaks
from .located_peaks import LocatedPeaks
from .model_package import ModelPackage, ModelPackageError, RangeViolation
from .samples import FootprintSamples, SceneContext
from .source_catalogs import CatalogError, CatalogFootprints, make_footprint_set
from .tables import find_blocked, make_tables
from .trained_plugin import TrainedPlugin

if TYPE_CHECKING:
    import pyarrow

    from lsst.images.psfs import PointSpreadFunction
    from lsst.sphgeom import Region


class BlendIdentificationTask(PipelineTask):
    """Find footprints in a coadd and the probability that each is a blend.

    Parameters
    ----------
    **kwargs
        As for `lsst.pipe.base.PipelineTask`.

    Raises
    ------
    ModelPackageError
        Raised if a configured model package cannot be read or used.
    """

    ConfigClass = BlendIdentificationConfig
    _DefaultName = "blendIdentification"
    config: BlendIdentificationConfig

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # Models are read here, so that one that cannot work fails before any data are touched.
        self._models: BandModels | None = None
        if not self.config.useButlerModelPackages:
            self._models = self._make_models(None)

    def _make_models(
        self, packages: Mapping[str, ModelPackage] | None, localizer_package: ModelPackage | None = None
    ) -> BandModels:
        """Make the configured classifiers and localiser, from given packages or those that they name."""
        models = BandModels(self.config, packages, localizer_package)
        for what, plugin in models:
            if differences := self._footprint_differences(plugin):
                self.log.warning(
                    "The model of %s was trained on other footprints (%s); its probabilities may not be "
                    "calibrated.",
                    what,
                    "; ".join(differences),
                )
        return models

    @property
    def models(self) -> BandModels:
        """Classifiers and their models by band (`.band_models.BandModels`)."""
        if self._models is None:
            raise InvalidQuantumError("useButlerModelPackages is set, but no model packages were given")
        return self._models

    def _footprint_differences(self, plugin: TrainedPlugin) -> list[str]:
        """Footprint settings that are not those that a model was trained with."""
        if plugin.package is None:
            return []
        return plugin.package.footprint_differences(self.config.footprints.toDict())

    def runQuantum(
        self,
        butlerQC: QuantumContext,
        inputRefs: InputQuantizedConnection,
        outputRefs: OutputQuantizedConnection,
    ) -> None:
        data_id = butlerQC.quantum.dataId
        assert data_id is not None, "quanta of this task have a data ID"
        band = str(data_id["band"])
        if self._models is not None:
            # Nothing needs to be read in a band without models.
            self._models.select(band)
        try:
            first_id = self.config.idGenerator.first_id(data_id)
        except ValueError as err:
            raise InvalidQuantumError(str(err)) from err
        inputs = butlerQC.get(inputRefs)
        coadd = inputs["coadd"]
        catalog = None
        if self.config.useCatalogFootprints:
            from .afw import read_source_catalog

            catalog = read_source_catalog(inputs["catalog"])
        tract = inputs["skyMap"][data_id["tract"]] if self.config.useSkyMap else None
        packages: Mapping[str, ModelPackage] | None = None
        localizer_package = None
        if self.config.useButlerModelPackages:
            # There is no dataset for a band without models.
            table = inputs.get("modelPackages")
            packages, localizers = ({}, {}) if table is None else _read_package_table(table)
            localizer_package = localizers.get(self.config.localizer.name)
        try:
            psf, zero_point = None, None
            if self.config.useLegacyCoadd:
                from .afw import from_legacy_exposure

                coadd, psf, zero_point = from_legacy_exposure(coadd)
            outputs = self.run(
                coadd,
                psf=psf,
                band=band,
                zero_point=zero_point,
                first_id=first_id,
                catalog=catalog,
                model_packages=packages,
                localizer_package=localizer_package,
                patch_inner_box=(
                    None if tract is None else Box.from_legacy(tract[data_id["patch"]].getInnerBBox())
                ),
                tract_inner_region=None if tract is None else tract.inner_sky_region,
            )
        except BlendIdentificationError as err:
            # The executor keeps the task's metadata in the log dataset, not the error's.
            self.metadata.set_dict("failure", err.metadata)
            raise
        if len(outputs.blend) == 0:
            raise NoWorkFound(f"no footprint above the threshold in {data_id}")
        butlerQC.put(outputs, outputRefs)

    def run(
        self,
        coadd: MaskedImage,
        *,
        psf: PointSpreadFunction | np.ndarray | None = None,
        band: str | None = None,
        zero_point: float | None = None,
        first_id: tuple[int, int] = (0, 1 << 63),
        catalog: CatalogFootprints | None = None,
        model_packages: Mapping[str, ModelPackage] | None = None,
        localizer_package: ModelPackage | None = None,
        patch_inner_box: Box | None = None,
        tract_inner_region: Region | None = None,
        overwrite: bool = False,
    ) -> Struct:
        """Find footprints and classify them.

        Parameters
        ----------
        coadd
            Coadd, with a ``psf`` unless one is given.
        psf
            PSF, or the image of its kernel (odd, odd), or such images from several places of the coadd
            (n, odd, odd); normalised here.
        band
            Band of the coadd; its own if not given.  If it is not known, it is
            assumed to be that of the models.
        zero_point
            AB magnitude of one unit of the pixels; by default that of their
            unit, if it is one of flux density (by solid angle: if the coadd
            has a sky projection).
        first_id
            ID offset and number of counters
            (`.ids.SkyMapIdConfig.first_id`).
        catalog
            Footprints and peaks to judge (`.source_catalogs`) instead of those
            that are found in the coadd; the tables have its identifiers then.
        model_packages
            Model packages by classifier name; needed with
            ``useButlerModelPackages``.
        localizer_package
            Model of the localiser, beside these; without it peaks have no
            probabilities.
        patch_inner_box
            Inner region of the patch, parent pixels; that of ``coadd.patch``
            if not given.
        tract_inner_region
            Inner region of the tract on the sky.
        overwrite
            Whether the pixels of the coadd may become those of ``detection``,
            without background and bad pixels, which saves a copy.

        Returns
        -------
        struct : `lsst.pipe.base.Struct`
            ``blend``, ``blendPeak``, ``blendSpans`` (`astropy.table.Table`,
            see `.tables`) and ``detection`` (`.footprints.DetectionResult`).

        Raises
        ------
        CatalogUnusableError
            Raised if records of the catalogue have the same identifier.
        NoPsfError
            Raised if there is no PSF.
        UnusablePsfError
            Raised if the PSF has no measurable width.
        NoFinitePixelsError
            Raised if no pixel can be searched.
        NoNoiseMeasuredError
            Raised if the noise cannot be measured.
        NoModelError
            Raised if there is no model for the band.
        lsst.pipe.base.InvalidQuantumError
            Raised if given model packages do not fit the configuration, or if
            a classifier or the localiser gives something that is no
            probability.
        lsst.pipe.base.NoWorkFound
            Raised if the whole coadd is NO_DATA, or no footprint of the
            catalogue lies in it.
        """
        if band is None:
            band = getattr(coadd, "band", None)
        models = self._get_models(model_packages, localizer_package)
        classifiers, localizer = models.select(band), models.select_localizer(band)
        if coadd.mask.bbox.area and mask_to_bool(coadd.mask, ["NO_DATA"])[0].all():
            raise NoWorkFound("every pixel of the coadd is NO_DATA")

        given = None if catalog is None else self._take_footprints(catalog, coadd)
        start = time.perf_counter()
        psf_summary = _summarize_psf(coadd, psf)
        timings = {"psf": time.perf_counter() - start}
        detection = self._detect(coadd, psf_summary, overwrite, given)
        timings |= detection.timings

        if zero_point is None:
            zero_point = ab_zero_point(coadd.unit, image_scale(coadd))
        context = SceneContext(band=band, zero_point=zero_point)
        samples = FootprintSamples([detection], [context])
        # Held until peaks are located, so that they are made once for all who ask.
        held: tuple[np.ndarray, ...] = ()
        if localizer is not None or any(classifier.needs_planes for classifier in classifiers.values()):
            held = detection.significance, detection.eligible
        saturated, marked, _ = mask_to_bool(coadd.mask, ["SAT"])
        flags = self._find_flags(detection, classifiers, localizer, samples, saturated if marked else None)
        p_blended: dict[str, np.ndarray] = {}
        p_n = None
        for name, classifier in classifiers.items():
            start = time.perf_counter()
            report_progress(f"classifier {name}")
            p_blended[name], p_n_of_this = _predict(name, classifier, samples)
            if name == self.config.primaryClassifier:
                p_n = p_n_of_this
            timings[f"classifier_{name}"] = time.perf_counter() - start

        start = time.perf_counter()
        novelty = self._judge_novelty(classifiers[self.config.primaryClassifier], samples, flags)
        timings["novelty"] = time.perf_counter() - start

        start = time.perf_counter()
        located, n_expected = None, None
        if localizer is not None:
            report_progress(f"localizer {localizer.name}")
            usable = ~find_blocked(flags, p_blended[self.config.primaryClassifier])
            located, n_expected = self._locate(localizer, samples, p_n, usable)
            flags["too_many_candidates"] = located.too_many
        elif self.config.localizer.name is not None:
            self.log.warning(
                "The localizer '%s' has no model for band %s: peaks have no probabilities, and none are "
                "inferred; name one in its modelPackages.",
                self.config.localizer.name,
                band,
            )
            flags["no_localizer"] = np.ones(len(samples), dtype=bool)
        if n_expected is None and p_n is not None:
            n_expected = expected_counts(p_n, classifiers[self.config.primaryClassifier].tail_mean(samples))
        timings["localizer"] = time.perf_counter() - start
        del held

        start = time.perf_counter()
        report_progress("tables")
        inner_box = _patch_inner_box(coadd) if patch_inner_box is None else patch_inner_box
        if inner_box is None:
            self.log.verbose("The inner region of the patch is not known; is_patch_inner is true everywhere.")
        meta = self._table_metadata(detection, classifiers, localizer, band)
        if zero_point is not None:
            meta["zero_point"] = zero_point
        tables = make_tables(
            detection,
            p_blended=p_blended,
            primary=self.config.primaryClassifier,
            p_n=p_n,
            n_expected=n_expected,
            novelty=novelty,
            located=located,
            flags=flags,
            projection=coadd.sky_projection,
            inner_box=inner_box,
            tract_inner_region=tract_inner_region,
            image_unit=coadd.unit,
            zero_point=zero_point,
            first_id=first_id,
            meta=meta,
        )
        timings["tables"] = time.perf_counter() - start
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

    def _locate(
        self,
        localizer: BlendLocalizer,
        samples: FootprintSamples,
        p_n: np.ndarray | None,
        usable: np.ndarray,
    ) -> tuple[LocatedPeaks, np.ndarray | None]:
        """Peaks with probabilities, and the expected numbers of objects."""
        try:
            return locate_peaks(localizer, samples, p_n=p_n, usable=usable)
        except ValueError as err:
            raise InvalidQuantumError(
                f"localizer '{localizer.name}' does not give positions with probabilities: {err}"
            ) from err

    def _get_models(
        self, packages: Mapping[str, ModelPackage] | None, localizer_package: ModelPackage | None
    ) -> BandModels:
        """Give the models read at construction, or make classifiers of the given packages."""
        if packages is None:
            return self.models
        try:
            return self._make_models(packages, localizer_package)
        except ModelPackageError as err:
            raise InvalidQuantumError(str(err)) from err

    def _take_footprints(self, catalog: CatalogFootprints, coadd: MaskedImage) -> FootprintSet:
        """Take the footprints of a catalogue for those of a coadd."""
        box = coadd.bbox
        try:
            given = make_footprint_set(catalog, (box.y.size, box.x.size), (box.x.start, box.y.start))
        except CatalogError as err:
            raise CatalogUnusableError(str(err), n_records=len(catalog)) from err
        if len(given.footprints) == 0:
            raise NoWorkFound(f"none of the catalogue's {catalog.n_footprints} footprints lies in the image")
        if left_out := given.describe():
            self.log.warning("Of the catalogue's %d footprints %s.", catalog.n_footprints, left_out)
        return given.footprints

    def _detect(
        self, coadd: MaskedImage, psf: PsfSummary, overwrite: bool, given: FootprintSet | None
    ) -> DetectionResult:
        """Find footprints; what makes that impossible becomes an error of this task."""
        try:
            return detect(
                coadd,
                psf=psf,
                config=self.config.footprints,
                overwrite=overwrite,
                given_footprints=given,
            )
        except NoUsablePixelsError as err:
            # Counts go to the task's metadata, where a run over a survey looks for reasons.
            finite = np.isfinite(coadd.image.array)
            error = NoNoiseMeasuredError if isinstance(err, NoNoiseError) else NoFinitePixelsError
            raise error(str(err), n_pixels=int(finite.size), n_finite=int(finite.sum())) from err

    def _find_flags(
        self,
        detection: DetectionResult,
        classifiers: Mapping[str, BlendClassifier],
        localizer: BlendLocalizer | None,
        samples: FootprintSamples,
        saturated: np.ndarray | None,
    ) -> dict[str, np.ndarray]:
        """Flags by name: those of any footprint, and those of the primary classifier and the localiser."""
        flags = find_footprint_flags(
            detection,
            max_peaks=self.config.maxPeaks,
            max_masked_fraction=self.config.maxMaskedFraction,
            saturated=saturated,
        )
        self._tell_of_correlated_noise(detection)
        plugins: dict[str, TrainedPlugin] = {f"'{name}'": one for name, one in classifiers.items()}
        # Flags of other classifiers say nothing about p_blended.
        asked = [f"'{self.config.primaryClassifier}'"]
        if localizer is not None:
            asked.append(f"localizer '{localizer.name}'")
            plugins[asked[-1]] = localizer
        outside: dict[str, TrainedPlugin] = {}
        for name, plugin in plugins.items():
            found = plugin.find_flags(samples)
            if found.get("outside_model_range", np.zeros(0, dtype=bool)).any():
                outside[name] = plugin
            if name in asked:
                if self._footprint_differences(plugin):
                    found["outside_model_range"] = np.ones(len(samples), dtype=bool)
                for key, values in found.items():
                    flags[key] = flags[key] | values if key in flags else values
        if outside:
            self.log.warning(
                "The coadd is outside the range that models were trained on: %s; train one that fits, or "
                "beware of these probabilities.",
                _describe_violations(detection, samples.contexts[0], outside),
            )
        return flags

    def _judge_novelty(
        self, primary: BlendClassifier, samples: FootprintSamples, flags: dict[str, np.ndarray]
    ) -> np.ndarray:
        """Novelty of n footprints, (n,), with the flag of those that are unlike the training's."""
        novelty = np.asarray(primary.novelty(samples), dtype=np.float64)
        if novelty.shape != (len(samples),):
            raise InvalidQuantumError(
                f"classifier '{self.config.primaryClassifier}' gave a novelty of shape {novelty.shape} for "
                f"{len(samples)} footprints"
            )
        with np.errstate(invalid="ignore"):
            unlike = novelty > self.config.maxNovelty
        flags["outside_model_range"] = flags["outside_model_range"] | unlike
        share, usual = float(np.mean(unlike)) if len(unlike) else 0.0, 10.0**-self.config.maxNovelty
        # A few are expected; so many would be a chance of less than one in a thousand.
        if np.count_nonzero(unlike) > usual * len(unlike) + 3.0 * np.sqrt(usual * len(unlike)) + 3.0:
            self.log.warning(
                "%.1f %% of the footprints are unlike those that the primary model learned from, where %.2g "
                "%% would be usual: they have a novelty over %g and flag_outside_model_range; beware of "
                "their probabilities.",
                100.0 * share,
                100.0 * usual,
                self.config.maxNovelty,
            )
        return novelty

    def _tell_of_correlated_noise(self, detection: DetectionResult) -> None:
        """Say that the noise is correlated, and what was or can be done about it."""
        noise = detection.noise
        if not noise.is_correlated:
            return
        if noise.is_corrected:
            done = "thresholds and significances were corrected for that"
        else:
            done = (
                "its footprints are flagged correlated_noise; set footprints.doCorrectCorrelatedNoise, "
                "or beware of false footprints and blends"
            )
        self.log.warning(
            "The noise is correlated, as by drizzling: smoothed by the PSF it scatters %.2f times as much as "
            "white noise; %s.",
            noise.correlation,
            done,
        )

    def _table_metadata(
        self,
        detection: DetectionResult,
        classifiers: Mapping[str, BlendClassifier],
        localizer: BlendLocalizer | None,
        band: str | None,
    ) -> dict[str, str | int | float]:
        """Facts that are needed to interpret the tables, as flat metadata."""
        # Here, as the version of an installation is looked up in files.
        from . import __version__

        meta: dict[str, str | int | float] = {
            "blendid_version": __version__,
            "classifiers": ", ".join(classifiers),
            "primary_classifier": self.config.primaryClassifier,
            "band": band or "unknown",
            "localizer": "none" if localizer is None else localizer.name,
        }
        if localizer is not None and localizer.package is not None:
            meta["model_of_localizer"] = localizer.package.name
        for name, classifier in classifiers.items():
            package = classifier.package
            meta[f"model_{name}"] = "none" if package is None else package.name
            description = classifier.describe_probabilities()
            if name == self.config.primaryClassifier:
                # Of p_blended, which is that of this classifier.
                meta |= {key: description[key] for key in ("prior", "calibration")}
            # Of the others under their names.
            meta |= {f"{key}_{name}": value for key, value in description.items()}
            if package is not None and (shares := package.metadata["prior"].get("n")):
                meta[f"training_shares_{name}"] = ", ".join(f"{share:.4f}" for share in shares)
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


def _summarize_psf(coadd: MaskedImage, psf: PointSpreadFunction | np.ndarray | None) -> PsfSummary:
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


def _predict(
    name: str, classifier: BlendClassifier, samples: FootprintSamples
) -> tuple[np.ndarray, np.ndarray | None]:
    """P(N > 1) of shape (n,) and P(N) of shape (n, 5), if given, after a check of what a plugin may do."""
    # Plugins of other packages may return anything; what they must is checked once, here.
    prediction = np.asarray(classifier.probabilities(samples))
    if prediction.shape[:1] != (len(samples),):
        raise InvalidQuantumError(
            f"classifier '{name}' gave an array of shape {prediction.shape} for {len(samples)} footprints"
        )
    try:
        return split_probabilities(prediction)
    except ValueError as err:
        raise InvalidQuantumError(f"classifier '{name}' does not give probabilities: {err}") from err


def _describe_violations(
    detection: DetectionResult, context: SceneContext, plugins: Mapping[str, TrainedPlugin]
) -> str:
    """Say which quantities are out of which range, and of which classifiers or localiser."""
    by_violation: dict[RangeViolation | None, list[str]] = {}
    for name, plugin in plugins.items():
        # A plugin may set the flag for reasons of its own.
        for violation in plugin.find_violations(detection, context) or (None,):
            by_violation.setdefault(violation, []).append(name)
    parts = []
    for violation, names in by_violation.items():
        listed = ", ".join(names)
        if violation is None:
            parts.append(f"so says {listed}")
            continue
        v, unit = violation, violation.unit
        parts.append(f"{v.quantity} {v.value:.2f} {unit}, not {v.low:.2f} to {v.high:.2f} {unit} ({listed})")
    return "; ".join(parts)


def _read_package_table(
    table: pyarrow.Table,
) -> tuple[dict[str, ModelPackage], dict[str, ModelPackage]]:
    """Model packages of classifiers and of localisers from their Butler dataset."""
    missing = {"classifier", "package"} - set(table.column_names)
    if missing:
        raise InvalidQuantumError(f"dataset blend_model_packages lacks the columns {sorted(missing)}")
    packages: tuple[dict[str, ModelPackage], dict[str, ModelPackage]] = {}, {}
    try:
        for row in table.to_pylist():
            package = ModelPackage.from_bytes(row["package"], f"package '{row['classifier']}'")
            packages[package.kind == "localizer"][row["classifier"]] = package
        return packages
    except ModelPackageError as err:
        raise InvalidQuantumError(f"dataset blend_model_packages: {err}") from err


def _patch_inner_box(coadd: MaskedImage) -> Box | None:
    """Inner region of the coadd's patch, if it knows one."""
    try:
        patch = coadd.patch  # type: ignore[attr-defined]
    except AttributeError:
        # Images other than CellCoadds have no such attribute, CellCoadds without a patch raise it.
        return None
    return patch.inner_bbox
