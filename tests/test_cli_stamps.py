# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of ``blendid stamps``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from lsst.meas.blendid.cli import main
from lsst.meas.blendid.simulation.stamps import StampSet
from toy_stamps import write_catalog


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


def test_coin(tmp_path: Path, shared_data: Path) -> None:
    done = run(
        *("coin", "--cosmos", shared_data / "cosmos_real", "--out", tmp_path / "set"),
        *("--train", 2, "--validation", 2, "--test", 2),
    )
    assert done.exit_code == 0, done.output
    stamps = StampSet.read(tmp_path / "set")
    assert len(stamps) == 6 and stamps.size == 128 and "segmentation" in stamps.arrays
    assert stamps.is_blended.all()


def test_coin_with_single_galaxies(tmp_path: Path, shared_data: Path) -> None:
    done = run(
        *("coin", "--cosmos", shared_data / "cosmos_real", "--out", tmp_path / "set"),
        *("--train", 0, "--validation", 0, "--test", 12),
        *("--isolated-share", 0.5, "--shift", "released"),
    )
    assert done.exit_code == 0, done.output
    stamps = StampSet.read(tmp_path / "set")
    assert 0 < stamps.is_blended.sum() < 12
    assert stamps.metadata["settings"]["shift"] == "released"


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
