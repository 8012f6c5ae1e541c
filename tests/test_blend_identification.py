# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the task without a Butler."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from typing import Any, cast

import astropy.units as u
import astropy.wcs
import lsst.sphgeom
import numpy as np
import pytest
from lsst.images import Box, GeneralFrame, Image, MaskedImage, MaskPlane, MaskSchema, SkyProjection
from lsst.images.psfs import GaussianPointSpreadFunction
from lsst.meas.blendid import (
    BlendIdentificationConfig,
    BlendIdentificationConnections,
    BlendIdentificationTask,
    ModelPackage,
)
from lsst.meas.blendid.classifiers import BlendClassifier, classifier_registry, find_classifier
from lsst.meas.blendid.errors import (
    NoFinitePixelsError,
    NoModelError,
    NoNoiseMeasuredError,
    NoPsfError,
    UnusablePsfError,
)
from lsst.meas.blendid.images.zero_points import ab_zero_point
from lsst.meas.blendid.localizers import BlendLocalizer, Positions, localizer_registry
from lsst.meas.blendid.model_package import ModelPackageError
from lsst.meas.blendid.samples import FootprintSamples
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


def _config() -> BlendIdentificationConfig:
    """Classifiers whose models are small."""
    config = BlendIdentificationConfig()
    config.classifiers.names = ["peaks", "logistic"]
    config.primaryClassifier = "logistic"
    return config


@pytest.fixture(scope="module")
def image() -> MaskedImage:
    return _make_image([(30, 30, 40), (80, 30, 20), (85, 34, 18), (50, 75, 9)])


@pytest.fixture(scope="module")
def task() -> BlendIdentificationTask:
    return BlendIdentificationTask(config=_config())


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
    peaks = result.blendPeak
    inferred = np.asarray(peaks["is_inferred"])
    assert (~inferred).sum() == blend["n_peaks"].sum() == 4
    # Detected peaks come first, with their ids; what is inferred beside such clear ones is hardly probable.
    assert not inferred[:4].any() and peaks["peak_id"].tolist() == list(range(1, len(peaks) + 1))
    probability = np.asarray(peaks["probability"])
    assert probability[:4].min() > 0.9 and probability[inferred].max(initial=0.0) < 0.2
    xx, yy, xy = (np.asarray(peaks[name]) for name in ("xx", "yy", "xy"))
    assert (xx > 0).all() and (yy > 0).all() and (xx * yy > xy**2).all()
    for stage in ("psf", "tables", "classifier_logistic", "classifier_peaks", "localizer"):
        assert task.metadata[f"seconds_{stage}"] >= 0
    for key in ("blendid_version", "classifiers", "model_logistic", "prior", "psf_sigma", "noise_sigma"):
        assert blend.meta[key] == task.metadata[key]
    assert blend.meta["psf_sigma"] == pytest.approx(SIGMA, rel=0.01)


def test_tables_say_what_their_probabilities_mean(image: MaskedImage) -> None:
    config = _config()
    natural = BlendIdentificationTask(config=config).run(image, psf=_psf(image.bbox), band="i").blend
    config.classifiers["logistic"].priorBlended = 0.1
    stated = BlendIdentificationTask(config=config).run(image, psf=_psf(image.bbox), band="i").blend
    assert (natural.meta["prior"], stated.meta["prior"]) == ("natural", "stated")
    assert 0.3 < natural.meta["prior_blended_logistic"] < 0.5
    assert stated.meta["prior_blended_logistic"] == 0.1
    assert stated.meta["prior_peaks"] == "natural"
    assert (stated["p_blended"] < natural["p_blended"]).all()
    np.testing.assert_array_equal(stated["p_blended_peaks"], natural["p_blended_peaks"])
    for name, calibration in (("peaks", "none"), ("logistic", "beta")):
        assert natural.meta[f"calibration_{name}"] == calibration
        shares = [float(share) for share in natural.meta[f"training_shares_{name}"].split(", ")]
        assert sum(shares) == pytest.approx(1.0, abs=5e-4)
        if calibration == "none":
            # A calibration takes them to the share of the footprints that it was fitted to.
            assert sum(shares[2:]) == pytest.approx(natural.meta[f"prior_blended_{name}"], abs=2e-4)


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
    # Rows 32 to 42 are out of reach; what is left of the source grows into them.
    image.image.array[37, 26:35] = np.nan
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


def test_one_warning_says_what_is_outside_the_range_of_which_model(
    image: MaskedImage, caplog: pytest.LogCaptureFixture
) -> None:
    # Models for any band tell no depth.
    config = _config_of_i()
    config.classifiers["peaks"].modelPackage = "peaks-i-1"
    task, package = BlendIdentificationTask(config=config), ModelPackage.read("logistic-i-1")
    (low, high), (shallow, deep) = package.inputs["psf_sigma"], package.inputs["depth"]
    psf = GaussianPointSpreadFunction(4.0, bounds=image.bbox, stamp_size=51)
    with caplog.at_level(logging.WARNING):
        blend = task.run(image, psf=psf).blend
    assert len(blend) and blend["flag_outside_model_range"].all() and not blend["flag"].any()
    (message,) = (r.message for r in caplog.records if "outside the range" in r.message)
    assert f"PSF sigma 4.00 pix, not {low:.2f} to {high:.2f} pix ('logistic', 'peaks')" in message
    # This wide a PSF makes the same noise as shallow as the models like it.
    assert "depth" not in message and "noise" not in message
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        blend = task.run(image, psf=_psf(image.bbox)).blend
    assert blend["flag_outside_model_range"].all()
    (message,) = (r.message for r in caplog.records if "outside the range" in r.message)
    # White noise of 1 nJy under a Gaussian of 1.6 pixels.
    depth = 31.4 - 2.5 * np.log10(5.0 * np.sqrt(4.0 * np.pi) * SIGMA)
    assert (
        f"5-sigma depth {depth:.2f} mag, not {shallow:.2f} to {deep:.2f} mag ('logistic', 'peaks')" in message
    )
    assert "PSF" not in message


@pytest.mark.parametrize(
    ("unit", "scale", "factor"),
    [
        (u.nmgy, None, 1 / 3630.78),
        (u.MJy / u.sr, 0.2, 1e-15 / (0.2 / 206264.806) ** 2),
        (u.uJy, None, 1e-3),
        (u.MJy / u.sr, None, 1e-15),
        (None, None, 1.0),
    ],
)
def test_depth_is_known_in_every_unit(
    task: BlendIdentificationTask,
    image: MaskedImage,
    unit: u.UnitBase | None,
    scale: float | None,
    factor: float,
) -> None:
    """Deeper than all training in any unit of flux density; not told for others."""
    array = (image.image.array * factor).astype(np.float32)
    other = MaskedImage(Image(array, bbox=image.bbox, unit=unit), mask=image.mask)
    other.variance.array[...] = np.float32(factor**2)
    blend = task.run(other, psf=_psf(image.bbox), zero_point=ab_zero_point(unit, scale)).blend
    known = unit is not None and (scale is not None or unit != u.MJy / u.sr)
    assert len(blend) == 3 and np.array_equal(blend["flag_outside_model_range"], [known] * 3)


def test_footprints_unlike_those_trained_on(image: MaskedImage, caplog: pytest.LogCaptureFixture) -> None:
    config = _config()
    config.classifiers.names = ["logistic"]
    config.footprints.thresholdValue = 7.0
    with caplog.at_level(logging.WARNING):
        blend = BlendIdentificationTask(config=config).run(image, psf=_psf(image.bbox)).blend
    assert "thresholdValue: trained with 5.0, now 7.0" in caplog.records[0].message
    assert len(blend) and blend["flag_outside_model_range"].all()


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


def test_noise_that_cannot_be_measured() -> None:
    config = BlendIdentificationConfig()
    config.footprints.noiseSource = "clipped"
    image = _make_image([])
    image.image.array[:, :80] = 0
    with pytest.raises(NoNoiseMeasuredError, match="noise") as info:
        BlendIdentificationTask(config=config).run(image, psf=_psf(image.bbox))
    assert info.value.metadata["n_finite"] == 12000


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


def _config_of_i() -> BlendIdentificationConfig:
    """With a model for i alone."""
    config = _config()
    config.classifiers["logistic"].modelPackage = "logistic-i-1"
    return config


def _run(config: BlendIdentificationConfig, image: MaskedImage, band: str | None) -> Any:
    return BlendIdentificationTask(config=config).run(image, psf=_psf(image.bbox), band=band).blend


def test_band_without_a_model_is_no_work(image: MaskedImage) -> None:
    task = BlendIdentificationTask(config=_config_of_i())
    with pytest.raises(NoModelError) as info:
        task.run(image, psf=_psf(image.bbox), band="u")
    assert isinstance(info.value, NoWorkFound)
    assert str(info.value) == (
        "classifier 'logistic' has no model for band u (logistic-i-1 is for i); name one in "
        "classifiers['logistic'].modelPackages['u'], leave the classifier out there with "
        "classifiers['logistic'].modelPackages['u'] = '', or set allowAnyBand"
    )


def test_counting_peaks_needs_no_band(image: MaskedImage) -> None:
    config = _config_of_i()
    config.classifiers.names = ["peaks"]
    config.primaryClassifier = "peaks"
    in_u, in_i = _run(config, image, "u"), _run(config, image, "i")
    assert np.array_equal(in_u["p_blended"], in_i["p_blended"]) and not in_u["flag_other_band"].any()


def test_any_band_is_flagged(image: MaskedImage) -> None:
    config = _config_of_i()
    config.allowAnyBand = True
    in_i, in_u = _run(config, image, "i"), _run(config, image, "u")
    assert np.array_equal(in_u["p_blended"], in_i["p_blended"])
    assert in_u["flag_other_band"].all() and not in_u["flag"].any()
    assert not in_i["flag_other_band"].any()
    # A band that is not known is assumed to be that of the model.
    assert not _run(config, image, None)["flag_other_band"].any()


@pytest.fixture(scope="module")
def r_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model for r that was trained with another setting than the shipped one for i."""
    package = ModelPackage.read("logistic-i-1")
    package.metadata["name"] = "logistic-r"
    package.metadata["inputs"]["bands"] = ["r"]
    package.metadata["settings"]["regularization"] = 2.5
    package.arrays["intercepts"] = package.arrays["intercepts"] + [0.0, 0.0, 1.0, 1.0, 1.0]
    return str(package.write(tmp_path_factory.mktemp("models") / "r.blendid"))


def test_each_band_has_its_model(image: MaskedImage, r_model: str) -> None:
    config = _config_of_i()
    config.classifiers["logistic"].modelPackages = {"r": r_model}
    task = BlendIdentificationTask(config=config)
    tables = {band: task.run(image, psf=_psf(image.bbox), band=band).blend for band in "ir"}
    assert {b: t.meta["model_logistic"] for b, t in tables.items()} == {
        "i": "logistic-i-1",
        "r": "logistic-r",
    }
    assert (tables["r"]["p_blended"] > tables["i"]["p_blended"]).all()
    assert np.array_equal(tables["i"]["p_blended"], _run(_config_of_i(), image, "i")["p_blended"])
    with pytest.raises(NoModelError, match="no model for band u"):
        task.run(image, psf=_psf(image.bbox), band="u")
    # What is chosen when a model runs holds for all of them, and the usual model is not needed.
    config.classifiers["logistic"].priorBlended = 0.01
    config.classifiers["logistic"].modelPackage = ""
    stated = _run(config, image, "r")
    assert (stated["p_blended"] < tables["r"]["p_blended"]).all()
    with pytest.raises(NoModelError, match=r"no model for band i; name one in .*\['i'\]"):
        _run(config, image, "i")


def test_classifier_left_out_in_a_band(image: MaskedImage) -> None:
    config = _config_of_i()
    config.primaryClassifier = "peaks"
    config.classifiers["logistic"].modelPackages = {"u": ""}
    assert "p_blended_logistic" not in _run(config, image, "u").colnames
    assert "p_blended_logistic" in _run(config, image, "i").colnames
    config.primaryClassifier = "logistic"
    with pytest.raises(NoModelError, match="band u is left out"):
        _run(config, image, "u")


def test_model_named_for_a_band_that_it_is_not_for(image: MaskedImage) -> None:
    config = _config_of_i()
    config.classifiers["logistic"].modelPackages = {"g": "logistic-i-1"}
    with pytest.raises(ModelPackageError, match=r"modelPackages\['g'\]: logistic-i-1 is for band i; .*for g"):
        BlendIdentificationTask(config=config)
    config.allowAnyBand = True
    assert _run(config, image, "g")["flag_other_band"].all()
    config.classifiers["logistic"].modelPackages = {"g": "peaks-i-1"}
    with pytest.raises(ModelPackageError, match=r"modelPackages\['g'\].*is a model of classifier 'peaks'"):
        BlendIdentificationTask(config=config)


@pytest.mark.parametrize("field", ["modelPackage", "modelPackages"])
@pytest.mark.parametrize(
    ("source", "message"),
    [("no-such-model", "unknown model 'no-such-model': give one of"), ("no/model.blendid", "no such file")],
)
def test_a_missing_model_is_told_by_the_config(field: str, source: str, message: str) -> None:
    config = _config()
    if field == "modelPackage":
        config.classifiers["logistic"].modelPackage = source
    else:
        config.classifiers["logistic"].modelPackages["z"] = source
    with pytest.raises(ModelPackageError, match=message) as info:
        config.validate()
    assert str(info.value).startswith(f"classifiers['logistic'].{field}") and "logistic-2" in str(info.value)


def test_persisted_config_keeps_its_models() -> None:
    config = _config()
    config.classifiers["logistic"].modelPackages = {"r": "logistic-i-1", "u": ""}
    config.allowAnyBand = True
    stream = io.StringIO()
    config.saveToStream(stream)
    back = BlendIdentificationConfig()
    back.loadFromString(stream.getvalue())
    assert back == config
    assert dict(back.classifiers["logistic"].modelPackages) == {"r": "logistic-i-1", "u": ""}


def test_inner_regions(task: BlendIdentificationTask, image: MaskedImage) -> None:
    """Centroids in the given box of the patch and the given region of the sky are inner."""
    wcs = astropy.wcs.WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [150.0, 2.0]
    wcs.wcs.crpix = [1.0, 1.0]
    wcs.wcs.cdelt = [-0.2 / 3600, 0.2 / 3600]
    projection = SkyProjection.from_fits_wcs(wcs, GeneralFrame(unit=u.pix))
    coadd = MaskedImage(image.image, mask=image.mask, variance=image.variance, sky_projection=projection)
    # The tract ends 60 pixels north of the first row.
    region = lsst.sphgeom.Box(
        lsst.sphgeom.LonLat.fromDegrees(149.0, 1.0),
        lsst.sphgeom.LonLat.fromDegrees(151.0, 2.0 + 60 * 0.2 / 3600),
    )
    inner = Box.factory[0:100, 0:60]
    blend = task.run(coadd, psf=_psf(image.bbox), patch_inner_box=inner, tract_inner_region=region).blend
    assert 0 < blend["is_patch_inner"].sum() < 3 and 0 < blend["is_tract_inner"].sum() < 3
    assert np.array_equal(blend["is_patch_inner"], blend["x"] < 59.5)
    assert np.array_equal(blend["is_tract_inner"], blend["y"] < 60)
    # Without a projection there is no telling; without footprints there is nothing to tell.
    assert task.run(image, psf=_psf(image.bbox), tract_inner_region=region).blend["is_tract_inner"].all()
    blank = coadd.copy()
    blank.image.array[...] = 0
    assert len(task.run(blank, psf=_psf(image.bbox), tract_inner_region=region).blend) == 0


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
            config.classifiers["features"].modelPackage = settings["modelPackage"]
        if "threshold" in settings:
            config.footprints.thresholdValue = settings["threshold"]
        config.validate()


def test_unknown_classifier() -> None:
    with pytest.raises((KeyError, FieldValidationError), match="astrologer"):
        BlendIdentificationConfig().classifiers.names = ["astrologer"]


def test_unfitting_model_fails_at_construction() -> None:
    config = _config()
    config.classifiers["logistic"].modelPackage = "no-such-model"
    with pytest.raises(ModelPackageError, match="no-such-model"):
        BlendIdentificationTask(config=config)
    config.classifiers["logistic"].modelPackage = "peaks-i-1"
    with pytest.raises(ModelPackageError, match="logistic"):
        BlendIdentificationTask(config=config)


def test_models_from_the_butler(image: MaskedImage) -> None:
    config = _config()
    config.useButlerModelPackages = True
    config.classifiers["logistic"].modelPackage = ""
    task = BlendIdentificationTask(config=config)
    packages = {name: ModelPackage.read(f"{name}-2") for name in ("peaks", "logistic")}
    blend = task.run(image, psf=_psf(image.bbox), model_packages=packages).blend
    expected = BlendIdentificationTask(config=_config()).run(image, psf=_psf(image.bbox)).blend
    assert np.array_equal(blend["p_blended"], expected["p_blended"])
    with pytest.raises(
        NoModelError, match="'logistic' has no model.*add it to the dataset blend_model_packages"
    ):
        task.run(image, psf=_psf(image.bbox), model_packages={"peaks": packages["peaks"]})
    with pytest.raises(InvalidQuantumError, match="no model packages"):
        task.run(image, psf=_psf(image.bbox))
    packages["logistic"].metadata["settings"]["cutout"]["size"] = 21
    with pytest.raises(InvalidQuantumError, match="unusable arrays"):
        BlendIdentificationTask(config=config).run(image, psf=_psf(image.bbox), model_packages=packages)


@pytest.fixture
def run_plugin(image: MaskedImage) -> Iterator[Callable[..., Any]]:
    """Run the task with a classifier that gives what a function of the samples gives."""

    def run(predict: Callable[[Any], np.ndarray], novelty: Callable[[Any], np.ndarray] | None = None) -> Any:
        class Plugin(BlendClassifier):
            name = "plugin"
            needs_package = False

            def _fit(self, train: Any, validation: Any, options: Any) -> None:
                raise NotImplementedError

            def predict(self, samples: Any) -> np.ndarray:
                return predict(samples)

            def novelty(self, samples: Any) -> np.ndarray:
                return super().novelty(samples) if novelty is None else novelty(samples)

        classifier_registry.register("plugin", Plugin)
        config = BlendIdentificationConfig()
        config.classifiers.names = ["plugin"]
        config.primaryClassifier = "plugin"
        config.localizer.name = None
        return BlendIdentificationTask(config=config).run(image, psf=_psf(image.bbox)).blend

    yield run
    del classifier_registry._dict["plugin"]


def test_a_classifier_that_gives_nan_is_flagged(run_plugin: Callable[..., Any]) -> None:
    blend = run_plugin(lambda samples: np.where(samples.n_peaks > 1, np.nan, 0.25))
    # A plugin need not know what is novel.
    assert np.isnan(blend["novelty"]).all() and not blend["flag_outside_model_range"].any()
    assert np.array_equal(blend["flag"], blend["n_peaks"] > 1)
    assert np.array_equal(blend["flag_classifier_failed"], blend["n_peaks"] > 1)


def test_novel_footprints_are_flagged(
    run_plugin: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    def predict(samples: Any) -> np.ndarray:
        return np.full(len(samples), 0.25)

    with caplog.at_level(logging.WARNING):
        blend = run_plugin(predict, lambda samples: np.where(samples.n_peaks > 1, 3.1, 2.9))
    assert np.array_equal(blend["flag_outside_model_range"], blend["n_peaks"] > 1)
    np.testing.assert_allclose(blend["novelty"], np.where(blend["n_peaks"] > 1, 3.1, 2.9), rtol=1e-6)
    # One of three may be chance, all of them are not; the flag warns, and blocks nothing.
    assert not any("unlike those" in record.message for record in caplog.records)
    assert np.isfinite(blend["p_blended"]).all()


def test_an_image_of_novel_footprints_warns(caplog: pytest.LogCaptureFixture) -> None:
    class Plugin:
        def novelty(self, samples: Any) -> np.ndarray:
            return np.full(len(samples), 5.0)

    flags = {"outside_model_range": np.zeros(20, dtype=bool)}
    task = BlendIdentificationTask(config=_config())
    with caplog.at_level(logging.WARNING):
        task._judge_novelty(cast(Any, Plugin()), cast(Any, range(20)), flags)
    assert flags["outside_model_range"].all()
    assert "100.0 % of the footprints are unlike those" in caplog.text and "where 0.1 %" in caplog.text


def test_a_novelty_of_another_length_is_refused(run_plugin: Callable[..., Any]) -> None:
    with pytest.raises(InvalidQuantumError, match="novelty of shape"):
        run_plugin(lambda samples: np.full(len(samples), 0.5), lambda samples: np.zeros(1))


def test_a_row_with_one_nan_is_not_classified(run_plugin: Callable[..., Any]) -> None:
    def predict(samples: Any) -> np.ndarray:
        p_n = np.full((len(samples), 5), 0.2)
        p_n[0, 0] = np.nan
        return p_n

    blend = run_plugin(predict)
    assert blend["flag"].tolist() == [True, False, False]
    assert np.isnan(blend["p_blended"][0]) and np.isnan(blend["p_n_4"][0])


@pytest.mark.parametrize(
    "predict",
    [
        lambda samples: np.full(len(samples), 3.7),
        lambda samples: np.full((len(samples), 5), 0.9),
        lambda samples: np.full((len(samples), 3), 1 / 3),
        lambda samples: np.full(len(samples) + 1, 0.5),
    ],
)
def test_what_is_no_probability_is_refused(
    run_plugin: Callable[..., Any], predict: Callable[[Any], np.ndarray]
) -> None:
    with pytest.raises(InvalidQuantumError, match="classifier 'plugin'"):
        run_plugin(predict)


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
    # A graph takes a dataset in one way only: the skymap is an input of all tasks of the pipelines.
    assert connections.prerequisiteInputs == {"modelPackages"} and "skyMap" in connections.inputs


def _sum_by_footprint(result: Any) -> np.ndarray:
    """Sum of the probabilities of the peaks of each footprint, NaN counting as nothing."""
    peaks = result.blendPeak
    return np.bincount(
        np.asarray(peaks["footprint_id"]),
        np.nan_to_num(np.asarray(peaks["probability"], dtype=np.float64)),
        minlength=len(result.blend) + 1,
    )[1:]


def test_probabilities_of_peaks_add_up_to_the_expected_number() -> None:
    """Also in a footprint with more than one inferred peak, and in none that is not classified."""
    rng = np.random.default_rng(12)
    places = [
        (x + rng.uniform(-3, 3), y + rng.uniform(-3, 3)) for x in (40, 100, 160) for y in (40, 100, 160)
    ]
    sources = [(x, y, 30.0) for x, y in places]
    # The last three pairs are so wide that both are detected.
    pairs = zip(places, [3.5] * 6 + [7.0] * 3, np.linspace(5, 30, 9), strict=True)
    sources += [(x + dx, y + 1.5, significance) for (x, y), dx, significance in pairs]
    image = _make_image(sources, (200, 200))
    result = BlendIdentificationTask(config=_config()).run(image, psf=_psf(image.bbox), band="i")
    blend, peaks = result.blend, result.blendPeak
    assert len(blend) == 9 and peaks["is_inferred"].sum() > 3
    p_n = np.stack([blend[f"p_n_{n}"] for n in range(5)], axis=1).astype(np.float64)
    # N >= 4 counts as four or more.
    assert np.all(blend["n_expected"] >= p_n @ np.arange(5) - 1e-5)
    total = _sum_by_footprint(result)
    n_peaks = np.bincount(peaks["footprint_id"], minlength=10)[1:]
    room = n_peaks > blend["n_expected"] + 0.1
    assert room.sum() >= 5
    np.testing.assert_allclose(total[room], blend["n_expected"][room], atol=1e-4)
    assert np.all(total <= blend["n_expected"] + 1e-4)
    config = _config()
    config.maxPeaks = 1
    result = BlendIdentificationTask(config=config).run(image, psf=_psf(image.bbox), band="i")
    flagged = np.asarray(result.blend["flag"])
    assert 0 < flagged.sum() < 9 and np.isnan(result.blend["n_expected"][flagged]).all()
    of_flagged = flagged[np.asarray(result.blendPeak["footprint_id"]) - 1]
    assert np.array_equal(np.isnan(result.blendPeak["probability"]), of_flagged)
    assert not result.blendPeak["is_inferred"][of_flagged].any()


def _assert_without_probabilities(result: Any) -> None:
    peaks = result.blendPeak
    assert len(peaks) == result.blend["n_peaks"].sum() == 4 and not peaks["is_inferred"].any()
    for name in ("probability", "xx", "yy", "xy"):
        assert np.isnan(peaks[name]).all()
    assert np.isfinite(result.blend["p_blended"]).all() and not result.blend["flag"].any()
    assert result.blend.meta["localizer"] == "none" and "model_of_localizer" not in result.blend.meta


def test_localizer_may_be_off(image: MaskedImage, caplog: pytest.LogCaptureFixture) -> None:
    config = _config()
    config.localizer.name = None
    with caplog.at_level(logging.WARNING):
        result = BlendIdentificationTask(config=config).run(image, psf=_psf(image.bbox), band="i")
    _assert_without_probabilities(result)
    assert not result.blend["flag_no_localizer"].any()
    assert not any("localizer" in r.message for r in caplog.records)
    # P(N) tells the number all the same; of four or more, the classifier knows how many there are.
    p_n = np.stack([result.blend[f"p_n_{n}"] for n in range(5)], axis=1)
    package = ModelPackage.read(config.classifiers[config.primaryClassifier].modelPackage)
    classifier = find_classifier(package).from_package(package)
    tail = classifier.tail_mean(FootprintSamples([result.detection]))
    assert (tail > 4.0).all()
    expected = p_n[:, :4] @ np.arange(4) + p_n[:, 4] * tail
    np.testing.assert_allclose(result.blend["n_expected"], expected, rtol=1e-5)


def test_band_without_a_localizer_is_classified(
    image: MaskedImage, r_model: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = _config()
    config.classifiers["logistic"].modelPackages = {"r": r_model}
    task = BlendIdentificationTask(config=config)
    with caplog.at_level(logging.WARNING):
        result = task.run(image, psf=_psf(image.bbox), band="r")
    _assert_without_probabilities(result)
    assert result.blend["flag_no_localizer"].all()
    (message,) = (r.message for r in caplog.records if "localizer" in r.message)
    assert "'centers' has no model for band r" in message and "modelPackages" in message
    caplog.clear()
    # In its own band nothing is amiss; nor where the config leaves it out, or any band will do.
    with_localizer = task.run(image, psf=_psf(image.bbox), band="i")
    assert not with_localizer.blend["flag_no_localizer"].any()
    assert with_localizer.blend.meta["localizer"] == "centers"
    assert with_localizer.blend.meta["model_of_localizer"] == "centers-localizer-i-1"
    config.allowAnyBand = True
    anywhere = BlendIdentificationTask(config=config).run(image, psf=_psf(image.bbox), band="r")
    assert np.isfinite(anywhere.blendPeak["probability"]).all()
    assert not anywhere.blend["flag_no_localizer"].any()


@pytest.fixture
def run_localizer(image: MaskedImage) -> Iterator[Callable[..., Any]]:
    """Run the task with a localiser that gives detected peaks what a function of their number gives."""

    def run(probability: Callable[[int], np.ndarray], shift: float = 0.0, row: int = 0) -> Any:
        class Plugin(BlendLocalizer):
            name = "plugin"
            needs_package = False

            def _fit(self, train: Any, galaxies: Any, options: Any) -> None:
                raise NotImplementedError

            def locate(self, samples: Any) -> tuple[Positions, ...]:
                peaks = samples.results[0].footprints.peaks
                p, nothing = probability(len(peaks)), np.full(len(peaks), np.nan)
                place = peaks["f_x"].astype(float) + shift, peaks["f_y"].astype(float)
                return (Positions(peaks["footprint_id"] - 1 + row, *place, p, nothing, nothing, nothing),)

        localizer_registry._dict.pop("plugin", None)
        localizer_registry.register("plugin", Plugin)
        config = _config()
        config.localizer.name = "plugin"
        return BlendIdentificationTask(config=config).run(image, psf=_psf(image.bbox))

    yield run
    localizer_registry._dict.pop("plugin", None)


def test_a_localizer_of_a_plugin_runs(run_localizer: Callable[..., Any]) -> None:
    result = run_localizer(lambda n: np.full(n, 0.7))
    assert len(result.blendPeak) == 4 and (result.blendPeak["probability"] > 0.0).all()
    assert np.isnan(result.blendPeak["xx"]).all() and result.blend.meta["localizer"] == "plugin"
    # Farther than the matching radius, but in the footprint, they are other objects.
    result = run_localizer(lambda n: np.full(n, 0.7), shift=2.5)
    assert result.blendPeak["is_inferred"].sum() >= 3
    assert (~result.blendPeak["is_inferred"]).sum() == 4


@pytest.mark.parametrize(
    ("probability", "row"),
    [
        (lambda n: np.full(n, np.nan), 0),
        (lambda n: np.append(np.full(n - 1, 0.5), np.nan), 0),
        (lambda n: np.full(n, 1.2), 0),
        (lambda n: np.full(n + 1, 0.5), 0),
        (lambda n: np.full(n, 0.5), 7),
    ],
)
def test_what_is_no_position_with_a_probability_is_refused(
    run_localizer: Callable[..., Any], probability: Callable[[int], np.ndarray], row: int
) -> None:
    with pytest.raises(InvalidQuantumError, match="localizer 'plugin' does not give positions with"):
        run_localizer(probability, row=row)
