# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Every classifier of the package is trained by the command, and runs on what it learned from."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from click.testing import CliRunner
from lsst.meas.blendid.classifiers import classifier_registry
from lsst.meas.blendid.cli import main
from lsst.meas.blendid.footprints import FootprintConfig, detect
from lsst.meas.blendid.images import read_image
from lsst.meas.blendid.images.psf import summarize_psf
from lsst.meas.blendid.model_package import ModelPackage
from toy_skies import write_skies

pytest.importorskip("galsim", reason="GalSim, which draws the galaxies, is not installed")

SIZE = 512
KERAS = "tensorflow"

TINY: dict[str, tuple[str, ...]] = {
    "peaks": (),
    "sep": (),
    "logistic": ("n_components=4", "cutout.size=15"),
    "muygps": (
        *("n_neighbors=10", "n_components=4", "cutout.size=15", "n_products=2"),
        "optimize_kernel=false",
    ),
    "features": ("trees.n_trees=20", "trees.min_samples=5"),
    "cnn": ("width=2", "training.epochs=1", "cutout.size=17", "training.batch_size=20"),
    "centers": (
        *("network.widths=4,6", "network.blocks=1,1", "network.embedding=4", "network.hidden=8"),
        *("training.crop_size=64", "training.steps=4", "training.steps_per_epoch=2"),
        *("training.warmup_steps=1", "training.batch_size=2", "training.mixed_precision=false"),
    ),
    "hierarchy": ("member=peaks",),
    "ensemble": (
        "members=peaks,logistic",
        *("stack.trees.n_trees=5", "stack.trees.min_samples=5", "stack.n_folds=2"),
    ),
}
"""Settings by classifier that make a fit a matter of seconds."""

NEEDS = {"sep": "sep", "cnn": KERAS, "centers": KERAS}
"""Libraries that are not installed everywhere."""


def run(*args: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def options(*settings: str) -> list[str]:
    return [text for setting in settings for text in ("--set", setting)]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated coadd with its truth, and with labels of two thirds of its footprints beside it."""
    folder = tmp_path_factory.mktemp("scene")
    status, _, err = run("simulate", "--out", folder, "--name", "small", "--size", SIZE, "--sizes", "1.6x")
    assert (status, err) == (0, "")
    read = read_image(folder / "small.fits")
    image = read.masked_image
    found = detect(image, psf=summarize_psf(read.psf, image.bbox), config=FootprintConfig()).footprints
    truth = Table.read(folder / "small.truth.parquet")
    x, y = (np.rint(np.asarray(truth[k])).astype(int) for k in ("x", "y"))
    inside = (np.asarray(truth["snr"]) >= 5.0) & (x >= 0) & (x < SIZE) & (y >= 0) & (y < SIZE)
    numbers = np.bincount(found.labels[y[inside], x[inside]], minlength=len(found) + 1)[1:]
    peaks = found.peaks[found.peak_start[:-1]]
    labels = Table({"x": peaks["f_x"], "y": peaks["f_y"], "n_galaxies": numbers})
    labels[np.arange(len(labels)) % 3 > 0].write(folder / "labels.ecsv")
    return folder / "small.fits"


@pytest.fixture(scope="module")
def members(scene: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Trained members of the ensemble."""
    folder = tmp_path_factory.mktemp("members")
    files = [folder / f"{name}.blendid" for name in ("peaks", "logistic")]
    for file in files:
        args = ("train", scene, "--classifier", file.stem, "--out", file)
        status, _, err = run(*args, *options(*TINY[file.stem]))
        assert status == 0, err
    return ",".join(map(str, files))


def test_all_classifiers_of_this_package_are_here() -> None:
    own = {name for name in classifier_registry if classifier_registry[name].__module__.startswith("lsst.")}
    assert own == set(TINY)


def check_run(scene: Path, package: Path, folder: Path, name: str) -> None:
    """Run a model on a coadd that it holds for."""
    args = ("--classifier", name, "--model", package, "--localizer", "none")
    status, _, err = run("run", scene, "--out", folder, *args)
    assert (status, err) == (0, "")
    blend = Table.read(folder / "small.blend.parquet")
    assert len(blend) > 50
    assert np.isfinite(blend["p_blended"]).mean() > 0.9
    assert not np.any(blend["flag_outside_model_range"])


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TINY))
def test_a_classifier_is_trained_by_the_command_and_run(
    name: str, scene: Path, members: str, tmp_path: Path
) -> None:
    for library in (NEEDS[name],) if name in NEEDS else ():
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{library} is not installed")
    chosen = options(*TINY[name], *((f"member_packages={members}",) if name == "ensemble" else ()))
    new, like, further = (tmp_path / f"{kind}.blendid" for kind in ("new", "like", "further"))
    # Of the coadd itself.
    status, out, err = run("train", scene, "--classifier", name, "--out", new, *chosen)
    assert status == 0, err
    assert out.startswith(f"{new}: trained on ")
    assert ModelPackage.read(new).classifier == name
    check_run(scene, new, tmp_path, name)
    # Of scenes like it.
    skies = write_skies(tmp_path, skies=2, size=300)
    status, out, err = run("train", skies, "--classifier", name, "--out", like, "--like", scene, *chosen)
    assert status == 0, err
    check_run(scene, like, tmp_path, name)
    # From a model, with a few labels.
    labelled = (scene, "--labels", scene.with_name("labels.ecsv"))
    status, out, err = run("train", "--from", like, "--out", further, *labelled)
    assert status == 0, err
    assert ModelPackage.read(further).metadata["training"]["start"] == "like"
    check_run(scene, further, tmp_path, name)
