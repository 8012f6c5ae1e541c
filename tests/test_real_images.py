# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The labels by eye, and the program that compares models with them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from astropy.table import Table
from benchmark_programs import load_benchmark
from lsst.meas.blendid import find_footprints

SHAPES = {"decam": (512, 512), "hsc": (200, 200)}


@pytest.fixture(scope="module")
def program() -> ModuleType:
    pytest.importorskip("PIL", reason="Pillow, which writes the picture, is not installed")
    return load_benchmark("real_images")


def _labels(rows: list[tuple[int, int, str, str]]) -> Table:
    """Labels of one image: x, y, label, kind."""
    x, y, label, kind = zip(*rows, strict=True)
    return Table(
        {
            **{name: list(label) for name in ("first", "second", "label")},
            "image": ["decam"] * len(x),
            "x": list(x),
            "y": list(y),
            "kind": list(kind),
            "remark": [""] * len(x),
        }
    )


def test_table_is_sound(program: ModuleType) -> None:
    table = program.read_labels()
    assert set(table["image"]) == {image.name for image in program.IMAGES} == set(SHAPES)
    for name, (ny, nx) in SHAPES.items():
        x, y = (np.asarray(table[c][table["image"] == name]) for c in "xy")
        assert x.dtype.kind == y.dtype.kind == "i"
        assert x.min() >= 0 and y.min() >= 0 and x.max() < nx and y.max() < ny
        assert len(set(zip(x.tolist(), y.tolist(), strict=True))) == len(x)
    same = np.asarray(table["first"] == table["second"])
    assert np.all(table["label"][same] == table["first"][same])
    for row in table[~same]:
        assert row["label"] == program.UNCLEAR or "third look" in str(row["remark"])
    # Nothing real is a cosmic ray here.
    assert np.all(table["kind"][table["label"] == "0"] == "artefact")


def test_other_values_are_refused(program: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "labels.ecsv"
    _labels([(1, 1, "1", "star")]).write(path)
    assert len(program.read_labels(path)) == 1
    _labels([(1, 1, "3", "star")]).write(path, overwrite=True)
    with pytest.raises(ValueError, match="label is 3; allowed are 0, 1, 2"):
        program.read_labels(path)
    table = _labels([(1, 1, "1", "star")])
    table.remove_column("kind")
    table.write(path, overwrite=True)
    with pytest.raises(ValueError, match="lacks the columns kind"):
        program.read_labels(path)


def test_labels_of_one_footprint_are_summed(program: ModuleType) -> None:
    segmentation = np.zeros((8, 40), dtype=np.int32)
    for k in range(7):
        segmentation[2:6, 5 * k : 5 * k + 4] = k + 1
    joined = program.join(
        segmentation,
        _labels(
            [
                (0, 2, "1", "star"),
                (5, 2, "2", "galaxy"),
                (10, 2, "1", "galaxy"),
                (12, 3, "1", "galaxy"),
                (15, 2, "1", "galaxy"),
                (17, 3, "0", "artefact"),
                (20, 2, "?", "galaxy"),
                (25, 2, "?", "galaxy"),
                (27, 3, "1", "spiral"),
                (39, 7, "1", "star"),
            ]
        ),
    )
    assert joined.rows.tolist() == [0, 1, 2, 3, 5]  # Nobody labelled the seventh.
    assert joined.blended.tolist() == [False, True, True, False, True]
    assert joined.clean.tolist() == [True, True, True, False, False]
    assert (joined.n_unclear, joined.n_lost) == (1, 1)


def test_scores(program: ModuleType) -> None:
    p = np.array([0.1, 0.9, 0.8, 0.2, 0.6, np.nan])
    blended = np.array([False, False, True, True, False, True])
    clean = np.array([True, True, True, True, False, True])
    joined = program.Joined(np.arange(6), blended, clean, 0, 0)
    row = program.score("m", p, joined)
    assert (row.n, row.clean, row.structured, row.missed) == (5, (1, 2), (1, 1), (1, 2))
    assert row.agreement == pytest.approx(0.4)
    losses = -np.log([0.9, 0.1, 0.8, 0.2, 0.4])
    assert row.cross_entropy == pytest.approx(losses.mean())
    assert row.error == pytest.approx(losses.std() / np.sqrt(5), rel=0.15)
    # Of the six pairs of a blend and a single, 0.8 is above two singles and 0.2 above one.
    assert row.auc == pytest.approx(0.5)
    assert program.score("m", p, joined, certain=True).format().rstrip().endswith("–")


def test_labels_lie_in_footprints(program: ModuleType, shared_data: Path) -> None:
    table = program.read_labels()
    for image in (*program.IMAGES, dataclasses.replace(program.IMAGES[0], psf_fwhm=program.WIDER)):
        if not (shared_data / image.path).is_file():
            pytest.skip(f"{image.path} is not among the reference data")
        labels = table[table["image"] == image.name]
        found = find_footprints(**image.read(shared_data))
        assert found.segmentation.shape == SHAPES[image.name]
        joined = program.join(found.segmentation, labels)
        assert joined.n_lost <= 0.1 * len(labels)
        assert len(joined.rows) + joined.n_unclear >= 0.9 * found.segmentation.max()
