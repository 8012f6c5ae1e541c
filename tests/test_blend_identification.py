# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the task without a Butler."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import astropy.units as u
import numpy as np
import pytest
from lsst.images import Box, Image, MaskedImage, MaskPlane, MaskSchema
from lsst.images.psfs import GaussianPointSpreadFunction
from lsst.meas.blendid import BlendIdentificationConfig, BlendIdentificationTask, ModelPackage
from lsst.meas.blendid.blend_identification import BlendIdentificationConnections
from lsst.meas.blendid.classifiers import BlendClassifier, classifier_registry
from lsst.meas.blendid.errors import NoFinitePixelsError, NoPsfError, UnusablePsfError
from lsst.meas.blendid.model_package import ModelPackageError
from lsst.pex.config import FieldValidationError
from lsst.pipe.base import AlgorithmError, InvalidQuantumError, NoWorkFound

SIGMA = 1.6
PLANES = ("NO_DATA", "SATURATED", "DETECTION_EDGE")


def _psf(box: Box) -> GaussianPointSpreadFunction:
    return GaussianPointSpreadFunction(SIGMA, bounds=box, stamp_size=25)


def _make_image(
    sources: list[tuple[float, float, float]], shape: tuple[int, int] = (100, 120), seed: int = 3
) -> MaskedImage:
    """White noise of 1 nJy and Gaussian point sources (x, y, S/N)."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    array = np.random.default_rng(seed).normal(0, 1, shape)
    for x0, y0, significance in sources:
        profile = np.exp(-0.5 * ((x - x0) ** 2 + (y - y0) ** 2) / SIGMA**2) / (2 * np.pi * SIGMA**2)
        array += significance * np.sqrt(4 * np.pi) * SIGMA * profile
    box = Box.from_shape(shape)
    image = Image(array.astype(np.float32), bbox=box, unit=u.nJy)
    return MaskedImage(image, mask_schema=MaskSchema([MaskPlane(p, p) for p in PLANES]))


@pytest.fixture(scope="module")
def image() -> MaskedImage:
    return _make_image([(30, 30, 40), (80, 30, 20), (85, 34, 18), (50, 75, 9)])


@pytest.fixture(scope="module")
def task() -> BlendIdentificationTask:
    return BlendIdentificationTask(config=BlendIdentificationConfig())


def test_run(task: BlendIdentificationTask, image: MaskedImage) -> None:
    result = task.run(image, psf=_psf(image.bbox), band="i")
    blend = result.blend
    assert len(blend) == 3
    assert not blend["flag"].any()
    assert ((blend["p_blended"] > 0) & (blend["p_blended"] < 1)).all()
    assert np.array_equal(blend["p_blended"], blend["p_blended_logistic"])
    pair = np.argmax(blend["n_peaks"])
    assert blend["n_peaks"][pair] == 2
    assert blend["p_blended_peaks"][pair] > 0.5 > np.delete(np.asarray(blend["p_blended_peaks"]), pair).max()
    assert len(result.blendPeak) == 4
    for stage in ("psf", "tables", "classifier_logistic", "classifier_peaks"):
        assert task.metadata[f"seconds_{stage}"] >= 0
    for key in ("blendid_version", "classifiers", "model_logistic", "prior", "psf_sigma", "noise_sigma"):
        assert blend.meta[key] == task.metadata[key]
    assert blend.meta["psf_sigma"] == pytest.approx(SIGMA, rel=0.01)


def test_same_input_same_output(task: BlendIdentificationTask, image: MaskedImage) -> None:
    first, second = (task.run(image, psf=_psf(image.bbox)) for _ in range(2))
    for name in ("blend", "blendPeak", "blendSpans"):
        one, two = getattr(first, name), getattr(second, name)
        assert all(np.array_equal(one[c], two[c], equal_nan=one[c].dtype.kind == "f") for c in one.colnames)


def test_psf_of_the_coadd_is_used(task: BlendIdentificationTask, image: MaskedImage) -> None:
    class WithPsf(MaskedImage):
        psf = _psf(image.bbox)
        band = "i"

    coadd = WithPsf(image.image, mask=image.mask, variance=image.variance)
    assert len(task.run(coadd).blend) == 3


def test_edge_and_masked_pixels_are_flagged(task: BlendIdentificationTask) -> None:
    """Only what may be cut is flagged, not what merely lies near a mask."""
    image = _make_image([(30, 30, 40), (80, 6, 40), (60, 75, 40), (100, 60, 40)])
    masked = np.zeros(image.image.array.shape, dtype=bool)
    masked[25:36, 22] = True
    image.mask.set("NO_DATA", masked)
    image.image.array[masked] = 1e6
    image.image.array[75, 74] = np.nan
    image.image.array[60, 86] = np.nan
    blend = task.run(image, psf=_psf(image.bbox)).blend
    position = {tuple(p): k for k, p in enumerate(np.rint(np.stack([blend["x"], blend["y"]], 1) / 10) * 10)}
    assert len(position) == 4
    assert blend["flag_edge"].sum() == 1 and blend["flag_edge"][position[80, 10]]
    assert blend["flag_masked"].sum() == 1 and blend["flag_masked"][position[30, 30]]
    assert np.isfinite(blend["p_blended"]).all()


def test_mostly_masked_footprint_is_not_classified() -> None:
    config = BlendIdentificationConfig()
    config.maxMaskedFraction = 0.2
    image = _make_image([(30, 30, 40), (80, 60, 40)])
    # Rows 29 to 39 are out of reach; what is left of the source grows into them.
    image.image.array[34, 26:35] = np.nan
    blend = BlendIdentificationTask(config=config).run(image, psf=_psf(image.bbox)).blend
    assert blend["flag"].sum() >= 1
    assert np.array_equal(blend["flag"], blend["flag_no_data"])
    assert np.array_equal(np.isnan(blend["p_blended"]), blend["flag"])
    config.maxMaskedFraction = 1.0
    assert not BlendIdentificationTask(config=config).run(image, psf=_psf(image.bbox)).blend["flag"].any()


def test_too_many_peaks(image: MaskedImage) -> None:
    config = BlendIdentificationConfig()
    config.maxPeaks = 1
    blend = BlendIdentificationTask(config=config).run(image, psf=_psf(image.bbox)).blend
    assert np.array_equal(blend["flag_too_many_peaks"], blend["n_peaks"] > 1)
    assert np.array_equal(blend["flag"], blend["n_peaks"] > 1)


def test_outside_the_model_range_warns_once(
    task: BlendIdentificationTask, image: MaskedImage, caplog: pytest.LogCaptureFixture
) -> None:
    psf = GaussianPointSpreadFunction(4.0, bounds=image.bbox, stamp_size=51)
    with caplog.at_level(logging.WARNING):
        blend = task.run(image, psf=psf).blend
    assert len(blend) and blend["flag_outside_model_range"].all() and not blend["flag"].any()
    assert sum("outside the range" in r.message for r in caplog.records) == 1


def test_no_psf(task: BlendIdentificationTask, image: MaskedImage) -> None:
    with pytest.raises(NoPsfError, match="carries no PSF") as info:
        task.run(image)
    assert isinstance(info.value, AlgorithmError)
    assert info.value.metadata == {"coadd_type": "MaskedImage"}


def test_unusable_psf(task: BlendIdentificationTask, image: MaskedImage) -> None:
    with pytest.raises(UnusablePsfError):
        task.run(image, psf=np.zeros((21, 21)))


def test_no_finite_pixel(task: BlendIdentificationTask) -> None:
    image = _make_image([])
    image.image.array[...] = np.nan
    with pytest.raises(NoFinitePixelsError) as info:
        task.run(image, psf=_psf(image.bbox))
    assert info.value.metadata == {"n_pixels": 12000, "n_finite": 0}


def test_no_data_at_all_is_no_work(task: BlendIdentificationTask) -> None:
    image = _make_image([])
    image.mask.set("NO_DATA", np.ones(image.image.array.shape, dtype=bool))
    with pytest.raises(NoWorkFound, match="NO_DATA"):
        task.run(image, psf=_psf(image.bbox))


def test_nothing_detected_gives_empty_tables(task: BlendIdentificationTask) -> None:
    image = _make_image([])
    image.image.array[...] = 0
    result = task.run(image, psf=_psf(image.bbox))
    assert [len(t) for t in (result.blend, result.blendPeak, result.blendSpans)] == [0, 0, 0]


def test_model_for_another_band(task: BlendIdentificationTask, image: MaskedImage) -> None:
    with pytest.raises(InvalidQuantumError, match="for band i, the coadd is in band u"):
        task.run(image, psf=_psf(image.bbox), band="u")


def test_tract_inner(task: BlendIdentificationTask, image: MaskedImage) -> None:
    """Without a sky projection there is no telling, and the column is true."""
    tract = SimpleNamespace(inner_sky_region=SimpleNamespace(contains=lambda ra, dec: ra > 1e9))
    assert task.run(image, psf=_psf(image.bbox), sky_map_tract=tract).blend["is_tract_inner"].all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"primaryClassifier": "cnn"}, "'cnn' is not among"),
        ({"classifiers": []}, "classifiers is empty"),
        ({"modelPackage": ""}, "modelPackage is empty"),
        ({"threshold": -5.0}, "thresholdValue"),
    ],
)
def test_config_that_cannot_work(settings: dict[str, Any], message: str) -> None:
    config = BlendIdentificationConfig()
    with pytest.raises((ValueError, FieldValidationError), match=message):
        if "primaryClassifier" in settings:
            config.primaryClassifier = settings["primaryClassifier"]
        if "classifiers" in settings:
            config.classifiers.names = settings["classifiers"]
        if "modelPackage" in settings:
            config.classifiers["logistic"].modelPackage = settings["modelPackage"]
        if "threshold" in settings:
            config.footprints.thresholdValue = settings["threshold"]
        config.validate()


def test_unknown_classifier() -> None:
    with pytest.raises((KeyError, FieldValidationError), match="astrologer"):
        BlendIdentificationConfig().classifiers.names = ["astrologer"]


def test_unfitting_model_fails_at_construction() -> None:
    config = BlendIdentificationConfig()
    config.classifiers["logistic"].modelPackage = "no-such-model"
    with pytest.raises(ModelPackageError, match="no-such-model"):
        BlendIdentificationTask(config=config)
    config.classifiers["logistic"].modelPackage = "peaks-i-1"
    with pytest.raises(ModelPackageError, match="logistic"):
        BlendIdentificationTask(config=config)


def test_models_from_the_butler(image: MaskedImage) -> None:
    config = BlendIdentificationConfig()
    config.useButlerModelPackages = True
    config.classifiers["logistic"].modelPackage = ""
    task = BlendIdentificationTask(config=config)
    packages = {name: ModelPackage.read(f"{name}-i-1") for name in ("peaks", "logistic")}
    blend = task.run(image, psf=_psf(image.bbox), model_packages=packages).blend
    expected = (
        BlendIdentificationTask(config=BlendIdentificationConfig()).run(image, psf=_psf(image.bbox)).blend
    )
    assert np.array_equal(blend["p_blended"], expected["p_blended"])
    with pytest.raises(InvalidQuantumError, match="no model for classifier 'logistic'"):
        task.run(image, psf=_psf(image.bbox), model_packages={"peaks": packages["peaks"]})


def test_a_classifier_that_gives_nan_is_flagged(image: MaskedImage) -> None:
    class Undecided(BlendClassifier):
        name = "undecided"
        needs_package = False

        def fit(self, samples: Any, counts: np.ndarray, *, weights: np.ndarray | None = None) -> None:
            raise NotImplementedError

        def predict(self, samples: Any) -> np.ndarray:
            return np.where(samples.n_peaks > 1, np.nan, 0.25)

    classifier_registry.register("undecided", Undecided)
    try:
        config = BlendIdentificationConfig()
        config.classifiers.names = ["undecided"]
        config.primaryClassifier = "undecided"
        blend = BlendIdentificationTask(config=config).run(image, psf=_psf(image.bbox)).blend
    finally:
        del classifier_registry._dict["undecided"]
    assert np.array_equal(blend["flag"], blend["n_peaks"] > 1)
    assert np.array_equal(blend["flag_classifier_failed"], blend["n_peaks"] > 1)


def test_connections_follow_the_config() -> None:
    config = BlendIdentificationConfig()
    connections = BlendIdentificationConnections(config=config)
    assert connections.coadd.storageClass == "MaskedImageV2"
    assert not connections.prerequisiteInputs
    config.useLegacyCoadd = True
    config.useButlerModelPackages = True
    config.useSkyMap = True
    connections = BlendIdentificationConnections(config=config)
    assert connections.coadd.storageClass == "ExposureF"
    assert connections.prerequisiteInputs == {"modelPackages", "skyMap"}
