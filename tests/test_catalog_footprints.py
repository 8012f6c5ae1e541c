# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Footprints of a catalogue through task and command, and back into the catalogue by their identifiers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import astropy.io.fits
import astropy.units as u
import numpy as np
import pytest
from click.testing import CliRunner
from lsst.images import Box, Image, MaskedImage, MaskPlane, MaskSchema
from lsst.images.psfs import GaussianPointSpreadFunction
from lsst.meas.blendid import BlendIdentificationConfig, BlendIdentificationTask, BlendTables, read_tables
from lsst.meas.blendid.cli import main
from lsst.meas.blendid.errors import CatalogUnusableError
from lsst.meas.blendid.source_catalogs import (
    CatalogFootprints,
    PeakEditConfig,
    annotate_footprints,
    parse_catalog,
    read_catalog,
)
from lsst.pipe.base import NoWorkFound
from toy_catalogs import ToyFootprint, ToyPeak, write_toy

X0, Y0 = 3000, 7000
SIGMA = 1.6
FOOTPRINTS = [
    ToyFootprint(330712481796, (3070, 7015, 3100, 7050), [ToyPeak(40, 3080, 7030), ToyPeak(36, 3085, 7034)]),
    ToyFootprint(330712481793, (3018, 7018, 3042, 7042), [ToyPeak(12, 3030, 7030)]),
    ToyFootprint(330712481801, (2990, 7060, 3010, 7080), [ToyPeak(90, 3003, 7070)], sky=True),
    ToyFootprint(330712481900, (5000, 7060, 5010, 7080), [ToyPeak(91, 5003, 7070)]),
]


def _pixels() -> np.ndarray:
    y, x = np.mgrid[:100, :120]
    array = np.random.default_rng(3).normal(0.0, 1.0, (100, 120))
    for x0, y0, significance in ((30, 30, 40), (80, 30, 20), (85, 34, 18), (50, 75, 9)):
        profile = np.exp(-0.5 * ((x - x0) ** 2 + (y - y0) ** 2) / SIGMA**2) / (2 * np.pi * SIGMA**2)
        array += significance * np.sqrt(4 * np.pi) * SIGMA * profile
    return array.astype(np.float32)


def _read(footprints: Sequence[ToyFootprint]) -> CatalogFootprints:
    return parse_catalog(write_toy(footprints), "toy").footprints()


@pytest.fixture(scope="module")
def task() -> BlendIdentificationTask:
    config = BlendIdentificationConfig()
    config.classifiers.names = ["peaks"]
    config.primaryClassifier = "peaks"
    config.localizer.name = "peaks"
    return BlendIdentificationTask(config=config)


@pytest.fixture
def image() -> MaskedImage:
    box = Box.from_shape((100, 120), start=(Y0, X0))
    image = Image(_pixels(), bbox=box, unit=u.nJy)
    return MaskedImage(image, mask_schema=MaskSchema([MaskPlane("NO_DATA", "none")]))


def _run(task: BlendIdentificationTask, image: MaskedImage, catalog: CatalogFootprints) -> BlendTables:
    psf = GaussianPointSpreadFunction(SIGMA, bounds=image.bbox, stamp_size=25)
    struct = task.run(image, psf=psf, band="i", catalog=catalog)
    return BlendTables(struct.blend, struct.blendPeak, struct.blendSpans)


def test_the_task_judges_the_footprints_of_a_catalogue(
    task: BlendIdentificationTask, image: MaskedImage, caplog: pytest.LogCaptureFixture
) -> None:
    tables = _run(task, image, _read(FOOTPRINTS))
    # In the order of their first pixels.
    assert tables.blend["id"].tolist() == [330712481796, 330712481793, 330712481801]
    assert tables.blend["footprint_id"].tolist() == [1, 2, 3]
    assert tables.blend["n_peaks"].tolist() == [2, 1, 1]
    assert tables.blend["bbox_x0"].tolist() == [3070, 3018, 3000]
    peaks = tables.blend_peak[~np.asarray(tables.blend_peak["is_inferred"])]
    assert {int(i): int(n) for i, n in zip(peaks["peak_id"], peaks["id"], strict=True)} == {
        40: 330712481796, 36: 330712481796, 12: 330712481793, 90: 330712481801,
    }  # fmt: skip
    assert (np.asarray(peaks["significance"])[:3] > 10).all()
    assert set(tables.blend_spans["id"].tolist()) == set(tables.blend["id"].tolist())
    assert np.isfinite(tables.blend["p_blended"]).all()
    assert tables.blend.meta["footprint_source"] == "catalog"
    assert "Of the catalogue's 4 footprints 1 lie outside the image, 1 are cut by its edge." in caplog.text


def test_tables_go_back_by_their_identifiers(task: BlendIdentificationTask, image: MaskedImage) -> None:
    catalog = _read(FOOTPRINTS)
    tables = _run(task, image, catalog)
    annotation = annotate_footprints(catalog, tables)
    assert annotation.join.by_id and annotation.join.is_same.tolist() == [True, True, True, False]
    assert annotation.records["blendid_flag_no_match"].tolist() == [False, False, False, True]
    wanted = {int(i): p for i, p in zip(tables.blend["id"], tables.blend["p_blended"], strict=True)}
    assert annotation.records["blendid_p_blended"][:3].tolist() == [wanted[f.id] for f in FOOTPRINTS[:3]]
    own = np.asarray(tables.blend_peak["peak_id"])[annotation.join.peak_row[:4]]
    assert own.tolist() == [40, 36, 12, 90]
    assert annotation.join.peak_row[4] == -1


def test_catalogues_that_cannot_be_used(task: BlendIdentificationTask, image: MaskedImage) -> None:
    twice = [*FOOTPRINTS, ToyFootprint(FOOTPRINTS[0].id, (3000, 7000, 3005, 7005))]
    with pytest.raises(CatalogUnusableError, match="several records with the id 330712481796") as caught:
        _run(task, image, _read(twice))
    assert caught.value.metadata == {"n_records": 5}
    for footprints in ([], FOOTPRINTS[3:]):
        with pytest.raises(NoWorkFound, match="none of the catalogue's . footprints lies in the image"):
            _run(task, image, _read(footprints))


def test_the_catalogue_is_an_input_on_request() -> None:
    config = BlendIdentificationConfig()
    connections = config.connections.ConnectionsClass
    assert "catalog" not in connections(config=config).inputs
    config.useCatalogFootprints = True
    catalog = connections(config=config).catalog
    assert (catalog.name, catalog.storageClass) == ("object_detection_merged", "SourceCatalog")
    assert set(catalog.dimensions) == {"skymap", "tract", "patch"}
    config.catalogHasBand = True
    config.connections.catalog = "object_detection"
    catalog = connections(config=config).catalog
    assert catalog.name == "object_detection"
    assert set(catalog.dimensions) == {"skymap", "tract", "patch", "band"}


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """An image and a catalogue; those of the array's own pixels."""
    header = astropy.io.fits.Header()
    header.update(FILTER="i", LTV1=-float(X0), LTV2=-float(Y0))
    astropy.io.fits.writeto(tmp_path / "image.fits", _pixels(), header)
    (tmp_path / "merged.fits").write_bytes(write_toy(FOOTPRINTS))
    return tmp_path / "image.fits", tmp_path / "merged.fits"


def _command(*args: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, [*map(str, args)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


OPTIONS = ("--psf-fwhm", "0.7", "--pixel-scale", "0.2", "--classifier", "peaks", "--localizer", "peaks")


def test_the_commands_from_an_image_to_an_annotated_catalogue(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    image, catalog = files
    status, out, _ = _command("run", image, "--out", tmp_path, *OPTIONS, "--footprints", catalog)
    assert status == 0
    assert "3 footprints" in out
    tables = read_tables(tmp_path, "image")
    assert tables.blend["id"].tolist() == [330712481796, 330712481793, 330712481801]
    status, out, err = _command("annotate", catalog, tmp_path / "image", "--out", tmp_path / "out.fits")
    assert (status, err) == (0, "")
    assert "3 of 4 records matched by id" in out
    annotated = read_catalog(tmp_path / "out.fits")
    assert np.isfinite(annotated.records.column("blendid_p_blended")).tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("none.fits", "none.fits: no such file; check the path"),
        ("image.fits", "image.fits: has no table after its first HDU"),
        ("far.fits", "image.fits: none of the catalogue's 1 footprints lies in the image"),
    ],
)
def test_catalogues_that_the_command_refuses(
    files: tuple[Path, Path], tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / "far.fits").write_bytes(write_toy(FOOTPRINTS[3:]))
    out = tmp_path / "tables"
    status, _, err = _command("run", files[0], "--out", out, *OPTIONS, "--footprints", tmp_path / name)
    assert status == 1
    assert text in err
    assert not list(out.iterdir())


@pytest.mark.parametrize(("zero_point", "ids"), [(30.5, [6, 16]), (29.6, [6])], ids=["deep", "shallow"])
def test_pairs_with_one_peak_get_the_other_one(shared_data: Path, zero_point: float, ids: list[int]) -> None:
    """From the image of a band to the peaks that a deblender is given, with the default localiser.

    Of ten objects two have no peak.  Each gets one within 1.5 pixels, nothing else is added, and the peaks
    between the two go where their own galaxies are, unless there are two places for that.  At none of the 17
    places whose peak makes the fit of a deblender diverge there is a probable one.
    """
    folder = shared_data / "afw_reference"
    with np.load(folder / "deblend_toy.npz") as arrays:
        toy = dict(arrays)
    origin = int(toy["xy0"][0]), int(toy["xy0"][1])
    box = Box.from_shape(toy["image_i"].shape, start=origin[::-1])
    image = MaskedImage(
        Image(toy["image_i"].copy(), bbox=box), mask_schema=MaskSchema([MaskPlane("NO_DATA", "none")])
    )
    image.variance.array[...] = 1.0
    catalog = read_catalog(folder / "merged_base.fits").footprints()
    config = BlendIdentificationConfig()
    config.classifiers.names = ["centers"]
    config.primaryClassifier = "centers"
    psf = GaussianPointSpreadFunction(float(toy["psf_sigma"][2]), bounds=box, stamp_size=41)
    # Zero points that make the depth one that the model knows.
    struct = BlendIdentificationTask(config=config).run(
        image, psf=psf, band="i", catalog=catalog, zero_point=zero_point
    )
    tables = BlendTables(struct.blend, struct.blendPeak, struct.blendSpans)
    edits = PeakEditConfig()
    edits.doAddPeaks = edits.doMovePeaks = True
    annotation = annotate_footprints(catalog, tables, edits)
    assert annotation.join.by_id

    added = annotation.added
    hidden = np.array([[1150.0, 2060.0], [1154.0, 2157.0]])
    places = np.stack([added["f_x"], added["f_y"]], axis=1)
    distance = np.hypot(*(places[:, np.newaxis] - hidden).T)
    assert distance.shape == (2, 2) and sorted(distance.argmin(axis=0)) == [0, 1]
    assert (distance.min(axis=0) < 1.5).all()
    moved = np.flatnonzero(annotation.plan.moved)
    assert catalog.peaks["id"][moved].tolist() == ids
    for i, true in zip(moved, np.array([[1153.0, 2061.0], [1150.0, 2160.0]])[: len(ids)], strict=True):
        before = np.hypot(*(np.array([catalog.peaks["f_x"][i], catalog.peaks["f_y"][i]]) - true))
        after = np.hypot(*(np.array([annotation.plan.f_x[i], annotation.plan.f_y[i]]) - true))
        assert after < 0.5 and after <= before + 0.1
    diverged = toy["probe"][toy["probe"][:, list(toy["probe_columns"]).index("parent_chi2")] > 1e3, :2]
    inferred = annotation.inferred[annotation.inferred["probability"] > 0.5]
    assert len(diverged) == 17
    near = np.hypot(
        inferred["f_x"][:, np.newaxis] - diverged[:, 0], inferred["f_y"][:, np.newaxis] - diverged[:, 1]
    )
    assert near.min() > 3.0
