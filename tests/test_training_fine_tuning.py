# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Going on from a model, labels with gaps, and calibration on held-out footprints."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table
from lsst.meas.blendid.classifiers import (
    EnsembleClassifier,
    FitOptions,
    LabelledSamples,
    LogisticClassifier,
    LogisticSettings,
    PeaksClassifier,
    classifier_registry,
    split_probabilities,
)
from lsst.meas.blendid.classifiers.peaks import CountTableSettings
from lsst.meas.blendid.footprints import FootprintConfig
from lsst.meas.blendid.metrics import score
from lsst.meas.blendid.model_package import ModelPackage, ModelPackageError
from lsst.meas.blendid.model_settings import setting
from lsst.meas.blendid.samples import FootprintSamples, SceneContext
from lsst.meas.blendid.training import (
    FileScene,
    LabelledScenes,
    choose_settings,
    fine_tune,
    footprint_settings,
    read_labels,
    settings_of_image,
    settings_of_model,
    train_classifier,
)
from lsst.meas.blendid.training.fine_tuning import check_tunable
from lsst.meas.blendid.training.label_tables import UNKNOWN, describe_rows, explain_losses, match_labels
from lsst.meas.blendid.training.log import find_versions
from lsst.meas.blendid.training.validation import split_halves, validate
from toy_samples import make_toy


def labelled(seeds: list[int], *, band: str = "i", merge: bool = False) -> LabelledScenes:
    """Toy scenes; with merge, of another kind of sky, in which what was two galaxies is one."""
    toys = [make_toy(12, seed=seed) for seed in seeds]
    counts = np.concatenate([c for _, c in toys])
    if merge:
        counts = np.where(counts == 2, 1, counts)
    return LabelledScenes(
        samples=FootprintSamples([r for r, _ in toys], [SceneContext(band, 31.4)] * len(toys)),
        counts=counts,
        sky=np.repeat(np.arange(len(toys)), [len(c) for _, c in toys]),
        inside=(0.9,) * len(toys),
        provenance=tuple({"source": f"toy-{seed}"} for seed in seeds),
        footprints=tuple(footprint_settings("clipped") * len(toys)),
        snr_min=5.0,
    )


SMALL = LogisticSettings(n_components=4)


@pytest.fixture(scope="module")
def package() -> ModelPackage:
    return train_classifier("logistic", labelled([1, 2, 3, 4]), settings=SMALL, model_name="old")


def loss(model: LogisticClassifier | PeaksClassifier, test: LabelledScenes) -> float:
    p, _ = split_probabilities(model.probabilities(test.samples))
    return score(p, test.counts).natural_cross_entropy


def test_logistic_goes_on_from_a_model(package: ModelPackage) -> None:
    few, test = labelled([10], merge=True), labelled([20, 21, 22], merge=True)
    use = np.arange(len(few.counts)) < 60
    few = few.select(use)
    lines: list[str] = []
    new = train_classifier("logistic", few, start=package, options=FitOptions(report=lines.append))
    assert new.metadata["training"]["start"] == "old"
    assert lines and "towards the model" in lines[0]
    models = [LogisticClassifier.from_package(one) for one in (package, new)]
    before, after = (loss(model, test) for model in models)
    scratch = LogisticClassifier.from_package(train_classifier("logistic", few, settings=SMALL))
    assert after < before - 0.05
    assert after < loss(scratch, test)
    # The shares that it refers to are those of the labels.
    assert new.metadata["prior"]["blended"] == pytest.approx(np.mean(few.counts > 1), abs=1e-6)


def test_others_are_calibrated_anew() -> None:
    old = train_classifier("peaks", labelled([1, 2, 3]))
    few, test = labelled([10], merge=True), labelled([20, 21, 22], merge=True)
    lines: list[str] = []
    new = train_classifier("peaks", few, start=old, options=FitOptions(report=lines.append))
    assert new.metadata["calibration"]["method"] == "platt"
    assert any("calibrated anew" in line for line in lines)
    assert loss(PeaksClassifier.from_package(new), test) < loss(PeaksClassifier.from_package(old), test)
    for name, array in old.arrays.items():
        np.testing.assert_array_equal(new.arrays[name], array)


def test_starts_that_do_not_fit(package: ModelPackage) -> None:
    few = labelled([10])
    with pytest.raises(ModelPackageError, match="is a model for band i, the labels are of band r"):
        fine_tune(package, labelled([10], band="r"))
    other = dataclasses.replace(few, footprints=(FootprintConfig(),))
    with pytest.raises(ModelPackageError, match="was trained on other footprints .*now .*variance"):
        fine_tune(package, other)
    with pytest.raises(ModelPackageError, match="^n_components: other settings than those that .* none can"):
        fine_tune(package, few, settings=LogisticSettings(n_components=5))
    one = dataclasses.replace(few, counts=np.ones_like(few.counts))
    for start in (package, train_classifier("peaks", few)):
        with pytest.raises(ValueError, match="both kinds are needed"):
            fine_tune(start, one)


def test_settings_of_a_model(package: ModelPackage) -> None:
    (one,) = settings_of_model(package)
    assert one.toDict() == footprint_settings("clipped")[0].toDict()
    bare = dataclasses.replace(
        package, metadata=package.metadata | {"inputs": {"footprints": {"minPixels": 3}}}
    )
    assert [s.minPixels for s in settings_of_model(bare)] == [3] * 4
    for field, value, match in (
        ("footprints", {"nonsense": 3}, "no field 'nonsense'"),
        ("footprints", {"minPixels": "few"}, "minPixels"),
        ("footprint_variants", [{"noiseSource": "moon"}], "moon"),
    ):
        strange = dataclasses.replace(
            package, metadata=package.metadata | {"inputs": package.inputs | {field: value}}, source="x"
        )
        with pytest.raises(ModelPackageError, match=f"^x was trained on footprints of .*{match}") as err:
            settings_of_model(strange)
        assert "\n" not in str(err.value)
    both = footprint_settings()
    assert [s.noiseSource for s in both] == ["clipped", "clipped", "variance", "variance"]
    with pytest.raises(ValueError, match="noise is 'quiet'"):
        footprint_settings("quiet")


def test_footprint_differences_know_the_combinations(package: ModelPackage) -> None:
    both = dataclasses.replace(package, metadata=package.metadata | {"inputs": dict(package.inputs)})
    clipped, variance = footprint_settings("clipped")[0].toDict(), footprint_settings("variance")[0].toDict()
    assert both.footprint_differences(clipped) == []
    assert len(both.footprint_differences(variance)) == 1
    both.inputs["footprint_variants"] = [
        {"noiseSource": c["noiseSource"], "doSubtractBackground": c["doSubtractBackground"]}
        for c in (clipped, variance)
    ]
    assert both.footprint_differences(clipped) == both.footprint_differences(variance) == []
    # A background that is subtracted leaves an image as one that had none.
    assert both.footprint_differences(variance | {"doSubtractBackground": True}) == []
    # Neither is what was trained on.
    (text,) = both.footprint_differences(clipped | {"doSubtractBackground": False})
    assert " or " in text and "now noiseSource='clipped', doSubtractBackground=False" in text


def test_labels_with_gaps(tmp_path: Path) -> None:
    result, counts = make_toy(4, seed=5, xy0=(50, 20))
    middle = result.footprints.centroid
    table = Table({"x": middle[:, 0], "y": middle[:, 1], "n_galaxies": MaskedColumn(counts)})
    np.testing.assert_array_equal(match_labels(result.footprints, table), counts)
    table["n_galaxies"].mask[[0, 3]] = True
    table["n_galaxies"][5] = -1
    table["x"][7] = -1e4
    expected = counts.copy()
    expected[[0, 3, 5, 7]] = UNKNOWN
    np.testing.assert_array_equal(match_labels(result.footprints, table), expected)
    # Twice the same is no matter, two that differ are nothing.
    table.add_row({"x": middle[8, 0] + 1.0, "y": middle[8, 1], "n_galaxies": counts[8]})
    table.add_row({"x": middle[9, 0], "y": middle[9, 1] + 1.0, "n_galaxies": counts[9] + 1})
    expected[9] = UNKNOWN
    np.testing.assert_array_equal(match_labels(result.footprints, table), expected)
    table.write(tmp_path / "labels.ecsv")
    again = match_labels(result.footprints, read_labels(tmp_path / "labels.ecsv"))
    np.testing.assert_array_equal(again, expected)
    table["n_galaxies"] = table["n_galaxies"] + 0.5
    table.write(tmp_path / "halves.ecsv")
    with pytest.raises(ValueError, match="integers from 0"):
        read_labels(tmp_path / "halves.ecsv")
    with pytest.raises(ValueError, match="one of them"):
        FileScene("a.fits", "b", labels="c")
    with pytest.raises(ValueError, match="one of them"):
        FileScene("a.fits")


def test_settings_of_a_start_are_those_that_run_takes(package: ModelPackage) -> None:
    clipped, variance = (settings_of_image(has_variance=one) for one in (False, True))
    assert choose_settings(package, clipped, "a.fits").toDict() == clipped.toDict()
    match = "run' finds in a.fits .noiseSource='variance'.*--noise clipped"
    with pytest.raises(ModelPackageError, match=match):
        choose_settings(package, variance, "a.fits")


def test_lost_labels_are_told_with_reason_and_rows() -> None:
    (result, counts) = make_toy(5, seed=3)
    middle = result.footprints.centroid
    table = Table({"x": middle[:, 0], "y": middle[:, 1], "n_galaxies": counts.astype(float)})
    assert explain_losses(result.footprints, table, "t") is None
    table["n_galaxies"][[0, 2]] = np.nan
    table["x"][1] -= 1e6
    table["x"][3], table["y"][3] = result.xy0
    table.add_row({"x": middle[9, 0], "y": middle[9, 1], "n_galaxies": counts[9] + 1})
    n = len(table)
    assert explain_losses(result.footprints, table, "t") == (
        f"t: {n - 6} of {n} labels are used; 2 without a number: rows 0, 2 (from 0); 1 outside of the image: "
        "row 1 (from 0); 1 in no footprint: row 3 (from 0); 2 in a footprint with labels that differ: "
        f"rows 9, {n - 1} (from 0)"
    )
    assert describe_rows(np.arange(9)) == "rows 0, 1, 2, 3, 4, … (9 rows, from 0)"


def test_scores_do_not_see_their_own_calibration() -> None:
    """With labels at random, a calibration of the other half can not look better than chance."""
    model = LogisticClassifier(settings=SMALL)
    train = labelled([1, 2])
    model.fit(train)
    held = labelled([30, 31, 32, 33])
    random = dataclasses.replace(held, counts=np.random.default_rng(3).permutation(held.counts))
    share = float(np.mean(random.counts > 1))
    floor = -share * np.log(share) - (1 - share) * np.log(1 - share)
    found = validate(model, random, "isotonic")
    assert found["scores"]["natural_cross_entropy"] > floor
    assert found["estimate"].startswith("cross-fitted: each half of the sky with the isotonic")
    assert model.calibration is not None and model.calibration.method == "isotonic"


def test_a_fit_is_cross_validated_by_pieces_of_sky(package: ModelPackage) -> None:
    """One image is enough, and the score is one on footprints that were not learned from."""
    one, more = labelled([10]), labelled([20, 21, 22])
    new = train_classifier("logistic", one, settings=SMALL, folds=4)
    validation = new.metadata["validation"]
    assert validation["estimate"] == "cross-validated: 4 folds of pieces of sky"
    assert "start" not in validation
    own, other = (loss(LogisticClassifier.from_package(new), test) for test in (one, more))
    found = validation["scores"]["natural_cross_entropy"]
    assert own < found and abs(found - other) < 0.1
    # Labels without meaning cannot be predicted, however well they are fitted.
    shuffled = dataclasses.replace(one, counts=np.random.default_rng(5).permutation(one.counts))
    scores = train_classifier("logistic", shuffled, settings=SMALL, folds=4).metadata["validation"]["scores"]
    assert scores["auc"] < 0.65
    # The model that is gone on from is scored on the same footprints.
    validation = train_classifier("logistic", one, start=package, folds=4).metadata["validation"]
    before = validation["start"]
    assert before["name"] == "old" and before["scores"]["n"] == validation["scores"]["n"]
    p, _ = split_probabilities(LogisticClassifier.from_package(package).probabilities(one.samples))
    assert before["scores"]["auc"] == pytest.approx(score(p, one.counts).auc, abs=1e-6)
    assert train_classifier("logistic", one, settings=SMALL).metadata["validation"] == {}


def test_too_few_footprints_for_folds_are_told() -> None:
    lines: list[str] = []
    few = labelled([10])
    rows = np.zeros(len(few.counts), dtype=bool)
    rows[np.flatnonzero(few.counts > 1)[:1]] = rows[np.flatnonzero(few.counts == 1)[:40]] = True
    few = few.select(rows)
    new = train_classifier("logistic", few, settings=SMALL, folds=4, options=FitOptions(report=lines.append))
    assert new.metadata["validation"] == {}
    assert lines[-1].startswith("not cross-validated: without a fold of the sky, ")


def test_calibration_goes_into_the_package() -> None:
    package = train_classifier(
        "logistic",
        labelled([1, 2, 3]),
        validation=labelled([30, 31], merge=True),
        settings=SMALL,
        calibration="beta",
        facts={"recipe": {"kind": "toy"}},
    )
    assert package.metadata["calibration"]["method"] == "beta"
    assert package.metadata["training"]["recipe"] == {"kind": "toy"}
    model, test = LogisticClassifier.from_package(package), labelled([20, 21, 22], merge=True)
    calibrated = loss(model, test)
    model.config.doCalibrate = False
    assert calibrated < loss(model, test)
    # The estimate in the package is one of what it does on other sky.
    assert package.metadata["validation"]["scores"]["natural_cross_entropy"] == pytest.approx(
        calibrated, abs=0.1
    )


def test_too_few_to_calibrate_or_to_score() -> None:
    model, train = LogisticClassifier(settings=SMALL), labelled([1, 2])
    model.fit(train)
    held = labelled([30])
    lines: list[str] = []
    rows = np.flatnonzero(held.counts > 1)[3:]
    use = np.ones(len(held.counts), dtype=bool)
    use[rows] = False
    few = held.select(use)
    found = validate(model, few, "beta", lines.append)
    assert found["estimate"] == "as predicted" and model.calibration is None
    assert "not calibrated" in lines[0]
    none = dataclasses.replace(few, counts=np.minimum(few.counts, 1))
    assert validate(model, none, "beta", lines.append) == {}
    assert "too few for scores" in lines[1]


def test_halves_are_of_the_sky() -> None:
    several = labelled([1, 2, 3])
    np.testing.assert_array_equal(split_halves(several), several.sky == 1)
    one = labelled([1])
    half = split_halves(one)
    x = one.samples.centroid[:, 0]
    assert 0.4 < half.mean() < 0.6 and x[half].min() > x[~half].max()


def test_versions_are_those_that_a_classifier_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "keras", sys)
    assert "keras" in find_versions("cnn")
    assert "keras" not in find_versions("logistic")
    assert {"numpy", "numba", "scipy", "scikit-learn", "lsst-meas-blendid"} <= set(find_versions("logistic"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Settings(CountTableSettings):
    """Settings of the training and another one."""

    steps: int = setting(3, "How long.")
    width: int = setting(2, "How wide.")


class _Starting(PeaksClassifier):
    """Stands for one that may be trained further in other steps."""

    SettingsClass = _Settings
    name = "starting"
    tunable = ("steps",)

    def count(self, samples: FootprintSamples) -> np.ndarray:
        return samples.n_peaks

    def _fine_tune(
        self, train: LabelledSamples, validation: LabelledSamples | None, options: FitOptions
    ) -> None:
        self._record_prior(train.counts)


def test_settings_of_the_training_may_differ_from_those_of_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(classifier_registry._dict, "starting", _Starting)
    few = labelled([10])
    old = _Starting(settings=_Settings())
    old.fit(few)
    old.fit_calibration(few.samples, few.counts)
    start = old.to_package("old")
    tuned = fine_tune(start, few, settings=_Settings(steps=7))
    assert tuned.settings.steps == 7
    # It is another model, which is not calibrated, and has no range yet.
    assert tuned.calibration is None and tuned.package is None
    with pytest.raises(ModelPackageError, match=r"^width: other settings .* none, only steps, can be set"):
        fine_tune(start, few, settings=_Settings(width=5))


def test_a_trained_ensemble_has_its_members() -> None:
    """Others, which no package keeps the names of, are refused."""
    start = ModelPackage.read("ensemble-i-1")
    settings = EnsembleClassifier.settings_from_package(start)
    assert check_tunable(start, settings) == settings
    with pytest.raises(
        ModelPackageError, match="^member_packages: other settings than those that .*ensemble-i-1"
    ):
        check_tunable(start, dataclasses.replace(settings, member_packages=("centers-i-1", "features-i-1")))
