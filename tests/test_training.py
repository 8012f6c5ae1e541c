# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of training on small simulated scenes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import astropy.units as u
import astropy.wcs
import numpy as np
import pytest
from astropy.table import Table
from lsst.images import Box, GeneralFrame, Image, MaskedImage, MaskPlane, MaskSchema, SkyProjection
from lsst.meas.blendid import BlendIdentificationConfig, BlendIdentificationTask
from lsst.meas.blendid.classifiers import (
    FitOptions,
    LabelledSamples,
    LogisticClassifier,
    LogisticSettings,
    PeaksClassifier,
    classifier_registry,
    split_probabilities,
)
from lsst.meas.blendid.footprints import FootprintConfig
from lsst.meas.blendid.labels import count_galaxies
from lsst.meas.blendid.metrics import score
from lsst.meas.blendid.samples import FootprintSamples
from lsst.meas.blendid.simulation import find_truth_scene
from lsst.meas.blendid.training import (
    FileScene,
    LabelledScenes,
    Scene,
    SimulatedScene,
    clipped_footprints,
    label_scenes,
    measure_coadd,
    read_truth,
    simulated_scenes,
    train_classifier,
)


@dataclasses.dataclass(frozen=True)
class _Given:
    """A scene that is there already."""

    scene: Scene

    def load(self) -> Scene:
        return self.scene


def small_scenes(n: int = 2, seed: int = 1) -> list[SimulatedScene]:
    return simulated_scenes(n_scenes=n, size_models=["cosmodc2"], size=400, seed=seed)


@pytest.fixture(scope="module")
def labelled() -> LabelledScenes:
    return label_scenes(small_scenes(), [clipped_footprints()])


SMALL = LogisticSettings(n_components=4)


def test_labels_are_those_of_the_truth(labelled: LabelledScenes) -> None:
    for i, source in enumerate(small_scenes()):
        scene = source.load()
        rows = slice(*labelled.samples.offsets[i : i + 2])
        footprints = labelled.samples.results[i].footprints
        np.testing.assert_array_equal(labelled.counts[rows], count_galaxies(footprints, scene.truth))
        bright = np.count_nonzero(np.asarray(scene.truth["snr"]) >= 5.0)
        assert labelled.inside[i] == pytest.approx(labelled.counts[rows].sum() / bright)
    assert sum(labelled.mix.values()) == pytest.approx(1.0)
    assert 0.2 < labelled.mix["blended"] < 0.6 and 0.6 < labelled.inside[0] < 1.0
    assert len(np.unique(labelled.sky)) == 2


@pytest.mark.parametrize("name", ["peaks", "logistic"])
def test_same_seeds_give_the_same_bytes(name: str, labelled: LabelledScenes) -> None:
    settings = SMALL if name == "logistic" else None
    validation = small_scenes(1, seed=77)
    first = train_classifier(name, small_scenes(), validation=validation, settings=settings)
    again = train_classifier(name, labelled, validation=validation, settings=settings)
    assert first.to_bytes() == again.to_bytes()
    other = train_classifier(name, small_scenes(seed=5), validation=validation, settings=settings)
    assert other.to_bytes() != first.to_bytes()


def test_package_tells_what_it_was_trained_on(labelled: LabelledScenes) -> None:
    calls: list[tuple[int, int]] = []
    package = train_classifier(
        "peaks",
        small_scenes(),
        validation=small_scenes(1, seed=77),
        model_name="mine",
        snr_min=4.0,
        progress=lambda i, n: calls.append((i, n)),
    )
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert package.name == "mine" and package.bands == ("i",)
    assert package.inputs["footprints"]["thresholdValue"] == 5.0
    psf_sigma = labelled.samples.results[0].psf.sigma
    assert not package.find_violations(psf_sigma=psf_sigma)
    assert package.find_violations(psf_sigma=1.3 * psf_sigma)
    low, high = package.inputs["depth"]
    assert 25.5 < low <= high < 27.5
    training = package.metadata["training"]
    assert training["label"].startswith("galaxies with point-source S/N >= 4 ")
    assert [s["seed"] for s in training["scenes"]] == [1, 2]
    assert training["scenes"][0]["noise"] == "clipped" and training["scenes"][0]["background"] is True
    assert set(package.metadata["versions"]) == {
        *("lsst-meas-blendid", "numba", "numpy", "scikit-learn", "scipy")
    }
    assert package.inputs["footprint_variants"] == [{"noiseSource": "clipped", "doSubtractBackground": True}]
    scores = package.metadata["validation"]["scores"]
    scene = label_scenes(small_scenes(1, seed=77), [clipped_footprints()], snr_min=4.0)
    p, _ = split_probabilities(PeaksClassifier.from_package(package).predict(scene.samples))
    assert scores["cross_entropy"] == pytest.approx(score(p, scene.counts).cross_entropy, abs=1e-6)


def test_settings_are_dealt_out_and_only_common_ones_kept() -> None:
    coarse = FootprintConfig()
    coarse.nSigmaToGrow = 0.0
    package = train_classifier("peaks", small_scenes(), footprints=[clipped_footprints(), coarse])
    assert "nSigmaToGrow" not in package.inputs["footprints"]
    assert package.inputs["footprints"]["thresholdType"] == "pixel_stdev"
    assert [s["noise"] for s in package.metadata["training"]["scenes"]] == ["clipped", "variance"]


def test_settings_are_those_that_the_footprints_were_made_with() -> None:
    """Whatever is passed or changed after labelling."""
    fine = clipped_footprints()
    fine.nSigmaToGrow = 1.0
    fine.thresholdValue = 7.0
    scenes = label_scenes(small_scenes(), [fine], snr_min=8.0)
    fine.thresholdValue = 5.0
    package = train_classifier("peaks", scenes, validation=small_scenes(1, seed=77))
    assert package.inputs["footprints"]["thresholdValue"] == 7.0
    assert package.inputs["footprints"]["nSigmaToGrow"] == 1.0
    assert package.metadata["training"]["label"].startswith("galaxies with point-source S/N >= 8 ")
    # Validation scenes get the same.
    other = label_scenes(small_scenes(1, seed=77), scenes.footprints, snr_min=8.0)
    p, _ = split_probabilities(PeaksClassifier.from_package(package).predict(other.samples))
    expected = score(p, other.counts)
    assert package.metadata["validation"]["scores"]["auc"] == pytest.approx(expected.auc, abs=1e-6)
    for given in ({"footprints": clipped_footprints()}, {"snr_min": 5.0}):
        with pytest.raises(ValueError, match="labelled scenes have their footprint settings"):
            train_classifier("peaks", scenes, **given)  # type: ignore[arg-type]


def test_parametric_scenes_are_all_other_skies() -> None:
    scenes = simulated_scenes(n_scenes=2, size_models=["cosmodc2", "large"], size=64, seed=3)
    assert len({s.load().sky for s in scenes}) == len(scenes) == 4


def test_trained_classifier_beats_chance_on_other_sky(labelled: LabelledScenes) -> None:
    package = train_classifier("logistic", labelled, settings=SMALL)
    other = label_scenes(small_scenes(2, seed=50), [clipped_footprints()], keep_planes=False)
    p, _ = split_probabilities(LogisticClassifier.from_package(package).predict(other.samples))
    assert score(p, other.counts).auc > 0.9


def test_what_was_prepared_is_kept_with_the_image() -> None:
    """Though the planes that it was made of go."""

    def highest(samples: FootprintSamples) -> np.ndarray:
        return samples.compute(
            "highest", lambda r, _: np.full(len(r.footprints), np.nanmax(r.significance)), np.zeros(0)
        )

    def prepare(samples: FootprintSamples) -> bool:
        highest(samples)
        return False

    found = label_scenes(small_scenes(), [clipped_footprints()], keep_planes=False, prepare=prepare)
    assert all(r.significance.size == 0 and r.image.size > 0 for r in found.samples.results)
    values = highest(found.samples)
    assert values.shape == found.counts.shape and np.all(values > 5.0)


def test_scenes_from_files(tmp_path: Path, labelled: LabelledScenes) -> None:
    from lsst.meas.blendid.simulation import simulate_scene

    image, truth = simulate_scene("parametric", size=(400, 400), seed=1, size_model="cosmodc2").write(
        tmp_path / "a.fits"
    )
    found = label_scenes([FileScene(image, truth)], [clipped_footprints()])
    rows = slice(*labelled.samples.offsets[:2])
    np.testing.assert_array_equal(found.counts, labelled.counts[rows])
    assert found.samples.contexts[0].band == "i" and found.samples.contexts[0].zero_point == 31.4
    scene = FileScene(image, truth, zero_point=27.5).load()
    assert scene.context.zero_point == 27.5
    # Its sky is known by its truth, so that draws of one are not taken for others.
    assert scene.sky == SimulatedScene(size=(400, 400), seed=1).load().sky == "parametric-1"
    # Without S/N it is made from the fluxes and the sky noise.
    table = read_truth(truth)
    table.remove_column("snr")
    table.write(tmp_path / "b.ecsv")
    table.meta.clear()
    table.write(tmp_path / "d.ecsv")
    assert FileScene(image, tmp_path / "d.ecsv").load().sky == str(image)
    again = label_scenes([FileScene(image, tmp_path / "b.ecsv")], [clipped_footprints()])
    assert np.mean(again.counts == found.counts) > 0.97
    table.remove_column("flux")
    table.write(tmp_path / "c.ecsv")
    with pytest.raises(ValueError, match=r"c\.ecsv: needs a column 'snr'"):
        FileScene(image, tmp_path / "c.ecsv").load()


@pytest.mark.parametrize(("number", "split"), [(0, "test"), (7, "validation")])
def test_nothing_learns_from_sky_that_is_kept(
    tmp_path: Path, shared_data: Path, number: int, split: str
) -> None:
    from lsst.meas.blendid.simulation import simulate_scene

    source = find_truth_scene(number, shared_data)
    scene = SimulatedScene(source, size=(300, 300))
    message = f"scene_0{number}.* belongs to the {split} split"
    with pytest.raises(ValueError, match=message):
        train_classifier("peaks", [scene])
    # Files tell where they come from as well, and other scenes beside them do not help.
    image, truth = simulate_scene(source, size=(300, 300)).write(tmp_path / f"scene_0{number}.fits")
    other = SimulatedScene(find_truth_scene(2, shared_data), size=(300, 300))
    with pytest.raises(ValueError, match=message):
        train_classifier("peaks", [other, FileScene(image, truth)])
    train_classifier("peaks", [other], validation=[FileScene(image, truth)])


def test_truth_tables_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing\.ecsv: no such file"):
        read_truth(tmp_path / "nothing.ecsv")
    (tmp_path / "junk.fits").write_bytes(b"junk")
    with pytest.raises(ValueError, match=r"cannot read the truth table .*junk\.fits"):
        read_truth(tmp_path / "junk.fits")
    Table({"x": [1.0], "mag": [2.0]}).write(tmp_path / "no_y.ecsv")
    with pytest.raises(ValueError, match="lacks y; it has x, mag"):
        read_truth(tmp_path / "no_y.ecsv")
    for name, columns in (
        ("text", {"x": ["left"], "y": [1.0]}),
        ("pairs", {"x": [1.0], "y": [[1.0, 2.0]]}),
        ("words", {"x": [1.0], "y": [1.0], "snr": ["high"]}),
    ):
        Table(columns).write(tmp_path / f"{name}.ecsv")
        with pytest.raises(ValueError, match=rf"{name}\.ecsv: column \w+ of the truth table has no numbers"):
            read_truth(tmp_path / f"{name}.ecsv")


def test_galaxies_without_a_place_are_left_out(tmp_path: Path) -> None:
    """Of the numbers and of the centres alike."""
    scene = small_scenes(1)[0].load()
    whole = label_scenes([_Given(scene)], [clipped_footprints()])
    gaps = scene.truth.copy()
    gaps["x"][::3] = np.nan
    holes = label_scenes([_Given(dataclasses.replace(scene, truth=gaps))], [clipped_footprints()])
    assert whole.centers is not None and holes.centers is not None
    assert 0 < len(holes.centers[0]) < len(whole.centers[0])
    assert np.isfinite(holes.centers[0]).all()
    assert holes.counts.sum() < whole.counts.sum()
    known = np.isfinite(gaps["x"]) & (np.asarray(gaps["snr"]) >= 5.0)
    expected = np.column_stack([np.asarray(scene.truth[k])[known] for k in ("x", "y", "snr")])
    np.testing.assert_array_equal(holes.centers[0], expected.astype("f4"))


def listen(labelled: LabelledScenes) -> LabelledSamples:
    """What a classifier is told when it is trained."""
    seen: list[LabelledSamples] = []

    class Listener(PeaksClassifier):
        name = "listener"

        def _fit(
            self, train: LabelledSamples, validation: LabelledSamples | None, options: FitOptions
        ) -> None:
            seen.append(train)
            super()._fit(train, validation, options)

    classifier_registry.register("listener", Listener)
    try:
        train_classifier("listener", labelled)
    finally:
        del classifier_registry._dict["listener"]
    return seen[0]


def test_folds_get_to_know_the_pieces_of_sky(labelled: LabelledScenes) -> None:
    sky = listen(labelled).sky
    assert sky is not None
    np.testing.assert_array_equal(sky, labelled.sky)


def test_bad_requests() -> None:
    with pytest.raises(KeyError, match="unknown classifier 'magic'; known are .*logistic, .*peaks"):
        train_classifier("magic", small_scenes())
    with pytest.raises(ValueError, match="no scene was given"):
        train_classifier("peaks", [])


def test_seeds_of_scenes_are_all_different() -> None:
    scenes = simulated_scenes(n_scenes=2, draws=3, seed=10)
    assert sorted(s.seed for s in scenes) == list(range(10, 10 + 2 * 3 * 3))
    assert {s.size_model for s in scenes} == {"cosmodc2", "1.6x", "large"}


def test_depth_of_coadds_by_solid_angle(tmp_path: Path) -> None:
    """The model learns the depth that the task will compare, which takes the pixel size."""
    wcs = astropy.wcs.WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [150.0, 2.0], [50.0, 50.0]
    wcs.wcs.cdelt = [-0.2 / 3600.0, 0.2 / 3600.0]
    box = Box.from_shape((100, 100))
    sky = SkyProjection.from_fits_wcs(wcs, GeneralFrame(unit=u.pix), pixel_bounds=box)
    pixels = np.random.default_rng(1).normal(size=(100, 100)).astype(np.float32)
    coadd = MaskedImage(
        Image(pixels, bbox=box, unit=u.MJy / u.sr, sky_projection=sky),
        mask_schema=MaskSchema([MaskPlane("NO_DATA", "")]),
        variance=Image(np.ones((100, 100), np.float32), bbox=box, unit=(u.MJy / u.sr) ** 2),
    )
    coadd.write(str(tmp_path / "a.fits"))
    Table({"x": [50.0], "y": [50.0], "snr": [9.0]}).write(tmp_path / "a.ecsv")
    scene = FileScene(tmp_path / "a.fits", tmp_path / "a.ecsv", psf_fwhm=0.7).load()
    config = BlendIdentificationConfig()
    config.classifiers.names = [config.primaryClassifier]
    struct = BlendIdentificationTask(config=config).run(scene.masked_image, psf=scene.psf.image)
    assert scene.context.zero_point == pytest.approx(struct.blend.meta["zero_point"], abs=1e-6)
    assert measure_coadd(tmp_path / "a.fits", psf_fwhm=0.7).noise_sigma == pytest.approx(
        (1.0 * u.MJy / u.sr * (0.2 * u.arcsec) ** 2).to_value(u.nJy), rel=0.01
    )
