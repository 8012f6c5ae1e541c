# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of ``blendid stamps``."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from lsst.meas.blendid.cli import main
from lsst.meas.blendid.model_package import ModelPackage
from lsst.meas.blendid.simulation.stamps import StampSet
from toy_stamps import toy_stamps, write_catalog


def run(*arguments: object) -> Result:
    """Run the command."""
    return CliRunner().invoke(main, ["stamps", *map(str, arguments)])


def test_parametric(tmp_path: Path) -> None:
    out = tmp_path / "set"
    few = ("--train", 4, "--validation", 2, "--test", 2)
    done = run("blendhunter", "--out", out, *few, "--noise", 5, "--noise", 14.5, "--realisations", 2)
    assert done.exit_code == 0, done.output
    assert "8 stamps of 51 pixels, 4 with two galaxies" in done.output
    stamps = StampSet.read(out)
    for sigma in (5, 14.5):
        for k in range(2):
            noisy = np.load(out / f"noisy_{sigma:g}_{k}.npy")
            assert noisy.shape == (8, 65, 65)
            assert np.array_equal(noisy, stamps.padded().with_noise(sigma, k).images)
    again = run("blendhunter", "--out", out, *few)
    assert again.exit_code == 1 and "give --overwrite" in again.output
    assert (out / "noisy_5_0.npy").is_file()
    assert run("blendhunter", "--out", out, *few, "--overwrite").exit_code == 0
    assert not (out / "noisy_5_0.npy").exists()
    assert np.array_equal(StampSet.read(out).images, stamps.images)


def test_realistic(tmp_path: Path) -> None:
    (tmp_path / "cosmos").mkdir()
    write_catalog(tmp_path / "cosmos", 6)
    done = run("blendhunter-real", "--cosmos", tmp_path / "cosmos", "--out", tmp_path / "set", "--test", 4)
    assert done.exit_code == 0, done.output
    stamps = StampSet.read(tmp_path / "set")
    assert len(stamps) == 4 and set(stamps.stamps["split"]) == {"test"}


def test_pairs_of_coin_alone_as_in_the_paper(tmp_path: Path, shared_data: Path) -> None:
    done = run(
        *("coin", "--cosmos", shared_data / "cosmos_real", "--out", tmp_path / "set"),
        *("--train", 2, "--validation", 2, "--test", 2, "--isolated-share", 0, "--shift", "released"),
    )
    assert done.exit_code == 0, done.output
    stamps = StampSet.read(tmp_path / "set")
    assert len(stamps) == 6 and stamps.size == 128 and "segmentation" in stamps.arrays
    assert stamps.is_blended.all()
    assert stamps.metadata["settings"]["shift"] == "released"


def test_the_default_set_of_coin_is_trained_on_and_evaluated(tmp_path: Path, shared_data: Path) -> None:
    """With isolated galaxies, and with the noise that the set has."""
    folder, package = tmp_path / "coin", tmp_path / "m.blendid"
    done = run(
        *("coin", "--cosmos", shared_data / "cosmos_real", "--out", folder),
        *("--train", 60, "--validation", 40, "--test", 40),
    )
    assert done.exit_code == 0, done.output
    is_blended = StampSet.read(folder).is_blended
    assert 0.3 < is_blended.mean() < 0.7
    for classifier, options in (("sep", ()), ("logistic", ("n_components=3",))):
        done = CliRunner().invoke(
            main,
            [
                *("train", str(folder), "--classifier", classifier, "--out", str(package), "--overwrite"),
                *("-c", "calibration=none"),
                *(text for option in options for text in ("--set", option)),
            ],
        )
        assert done.exit_code == 0, done.output
        assert "validation: balanced accuracy " in done.stdout
    args = (folder, "--model", package, "--model", "logistic-i-1", "--model", "sep")
    args += ("--out", tmp_path / "report", "--bootstrap", 0)
    done = CliRunner().invoke(main, ["evaluate", *map(str, args)])
    assert done.exit_code == 0, done.output
    assert "SEP deblending" in done.stdout
    # The one was trained on stamps, the other on the footprints of coadds.
    notes = [line for line in done.stderr.splitlines() if "not calibrated on stamps" in line]
    assert len(notes) == 1 and "logistic-i-1: trained on footprints of images" in notes[0]


def test_sep_alone_needs_no_model(tmp_path: Path) -> None:
    toy_stamps(60, size=41).with_noise(20.0).write(tmp_path / "set")
    args = (tmp_path / "set", "--model", "sep", "--out", tmp_path / "report", "--bootstrap", 0)
    done = CliRunner().invoke(main, ["evaluate", *map(str, args)])
    assert done.exit_code == 0, done.output
    assert "SEP deblending" in done.stdout


def test_noise_is_that_which_the_set_names(tmp_path: Path) -> None:
    """Each stamp gets one of its levels, if no other is asked for."""
    clean = toy_stamps(90, size=25, separation=7.0)
    clean.write(tmp_path / "unnamed")
    dataclasses.replace(clean, metadata={"noise_levels": [10.0, 20.0]}).write(tmp_path / "named")
    base = ("train", "--classifier", "peaks", "-c", "calibration=none", "--overwrite")
    for args, levels in (
        (("named",), {10.0, 20.0}),
        (("named", "-c", "stampNoise=15"), {15.0}),
    ):
        package = tmp_path / "m.blendid"
        words = (*base, "--out", package, tmp_path / args[0], *args[1:])
        done = CliRunner().invoke(main, [str(word) for word in words])
        assert done.exit_code == 0, done.output
        assert ("noise of 10, 20 is added, as the set names it" in done.stderr) == (len(levels) == 2)
        training = ModelPackage.read(package).metadata["training"]
        assert {scene["stamp_noise"][0] for scene in training["scenes"]} == levels
        # Not each stamp with each of them.
        assert training["n_footprints"] == 30
    words = (*base, "--out", tmp_path / "m.blendid", tmp_path / "unnamed")
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == 1 and "have no noise; give -c stampNoise=SIGMA" in done.stderr
    # Noise that images were written with is the noise of the set.
    done = run(
        *(
            "blendhunter",
            "--out",
            tmp_path / "bh",
            "--noise",
            15,
            "--train",
            2,
            "--validation",
            0,
            "--test",
            0,
        )
    )
    assert done.exit_code == 0, done.output
    assert StampSet.read(tmp_path / "bh").metadata["noise_levels"] == [15.0]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("blendhunter", "--train", 0, "--validation", 0, "--test", 0), 2, "there is no stamp to make"),
        (("blendhunter", "--train", -1), 2, "train"),
        (("blendhunter", "--noise", 0), 2, "noise"),
        (("blendhunter", "--sizes", "huge"), 1, "huge"),
        (("blendhunter", "--cosmos", "nowhere", "--test", 2), 1, "there is no folder nowhere"),
        (("blendhunter-real", "--test", 2), 2, "--cosmos"),
        (("blendhunter-real", "--cosmos", ".", "--test", 2), 1, "and has none"),
        (("coin", "--cosmos", "nowhere"), 1, "there is no folder nowhere"),
        (("coin", "--cosmos", ".", "--isolated-share", 1.5), 2, "isolated-share"),
        (("coin", "--cosmos", ".", "--shift", "far"), 2, "shift"),
    ],
)
def test_errors(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[object, ...],
    status: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*arguments, "--out", tmp_path / "set")
    assert done.exit_code == status
    assert message in done.output
    assert "Traceback" not in done.output
    assert not list(tmp_path.iterdir())


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    done = run("blendhunter", "--out", tmp_path, "--test", 2, "--overwrite")
    assert done.exit_code == 1 and "is no set of stamps" in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
