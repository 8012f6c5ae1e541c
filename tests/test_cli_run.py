# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""``blendid run`` from files to tables, with good and bad input."""

from __future__ import annotations

import gc
import gzip
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import astropy.io.fits
import numpy as np
import pytest
from astropy.table import Table
from click.testing import CliRunner
from lsst.images import Box, Image, MaskedImage, MaskPlane, MaskSchema
from lsst.images.serialization import write_archive
from lsst.meas.blendid.classifiers import (
    LabelledSamples,
    LogisticClassifier,
    LogisticSettings,
    classifier_registry,
)
from lsst.meas.blendid.cli import main
from lsst.meas.blendid.cli._common import CommandError, MisuseError
from lsst.meas.blendid.cli._config import apply_options, make_config
from lsst.meas.blendid.cli._run import loading
from lsst.meas.blendid.cutouts import CutoutSettings
from lsst.meas.blendid.images.psf import kolmogorov_kernel
from lsst.meas.blendid.model_package import ModelPackage
from lsst.meas.blendid.samples import FootprintSamples
from lsst.pex.config import Config, ListField
from toy_samples import make_toy

CONFIG = Path(__file__).resolve().parents[1] / "config"
SUFFIXES = (".blend.parquet", ".blend_peak.parquet", ".blend_spans.parquet")
SIGMA = 1.6
SOURCES = [(30.0, 30.0, 40.0), (80.0, 30.0, 20.0), (85.0, 34.0, 18.0), (50.0, 75.0, 12.0)]
WITH_PEAKS = ("--psf-fwhm", "0.7", "--pixel-scale", "0.2")
OPTIONS = (*WITH_PEAKS, "--localizer", "none")
"""Of runs that are about something else than where objects are."""


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Options that choose small models, so that the tests do not depend on those that ship."""
    folder = tmp_path_factory.mktemp("models")
    result, counts = make_toy()
    options: list[str] = []
    for name in ("peaks", "logistic"):
        cls = classifier_registry[name]
        classifier = cls(settings=cls.SettingsClass())
        classifier.fit(LabelledSamples(samples=FootprintSamples([result]), counts=counts))
        path = classifier.to_package(f"{name}-toy").write(folder / f"{name}.blendid")
        options += ["--model", str(path)]
    return tuple(options)


def make_pixels(seed: int = 1, shape: tuple[int, int] = (100, 120)) -> np.ndarray:
    """White noise and Gaussian point sources (x, y, S/N)."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    array = np.random.default_rng(seed).normal(0.0, 1.0, shape)
    for x0, y0, significance in SOURCES:
        profile = np.exp(-0.5 * ((x - x0) ** 2 + (y - y0) ** 2) / SIGMA**2) / (2.0 * np.pi * SIGMA**2)
        array += significance * np.sqrt(4.0 * np.pi) * SIGMA * profile
    return array.astype(np.float32)


def make_header(**cards: object) -> astropy.io.fits.Header:
    """Header of an image about which there is nothing to assume."""
    header = astropy.io.fits.Header()
    header.update(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=150.0, CRVAL2=2.0, CRPIX1=50.0, CRPIX2=50.0)
    header.update(CDELT1=-0.2 / 3600.0, CDELT2=0.2 / 3600.0, RADESYS="ICRS", FILTER="i")
    header.update(cards)
    return header


def write_plain(
    path: Path, data: np.ndarray | None = None, header: astropy.io.fits.Header | None = None
) -> str:
    pixels = make_pixels() if data is None else data
    astropy.io.fits.writeto(path, pixels, make_header() if header is None else header)
    return str(path)


def run(*args: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["run", *map(str, args)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def expected_names(*stems: str) -> list[str]:
    return sorted(stem + suffix for stem in stems for suffix in SUFFIXES)


@pytest.mark.parametrize("enabled", [True, False])
def test_loading_leaves_the_garbage_collector_as_it_was(
    enabled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(gc.isenabled()))
    try:
        if not enabled:
            gc.disable()
        with pytest.raises(KeyError), loading():
            assert not gc.isenabled()
            raise KeyError
        assert gc.isenabled() == enabled
    finally:
        gc.enable()
    # Before it may look again.
    assert frozen == [False]


def test_plain_image(tmp_path: Path, models: tuple[str, ...]) -> None:
    image, out = write_plain(tmp_path / "plain.fits"), tmp_path / "new" / "out"
    status, text, err = run(image, "--out", out, *WITH_PEAKS, *models)
    assert (status, err) == (0, "")
    assert text.startswith(f"{image}: 3 footprints, ")
    assert text.count("\n") == 1
    assert names(out) == expected_names("plain")
    blend = Table.read(out / "plain.blend.parquet")
    assert len(blend) == 3
    assert sorted(blend["n_peaks"]) == [1, 1, 2]
    assert not blend["flag"].any()
    assert np.isfinite(blend["p_blended"]).all()
    assert {"p_blended_peaks", "p_blended_logistic"} <= set(blend.colnames)
    np.testing.assert_allclose(blend["ra"], 150.0, atol=0.01)
    peaks = Table.read(out / "plain.blend_peak.parquet")
    assert np.isfinite(peaks["probability"]).all() and np.isfinite(peaks["xx"]).all()
    # Whatever is inferred, the sources themselves are detected.
    detected = peaks[~peaks["is_inferred"]]
    found = sorted(zip(detected["i_x"], detected["i_y"], strict=True))
    for (x, y), (x0, y0, _) in zip(found, sorted(SOURCES), strict=True):
        assert abs(x - x0) <= 1
        assert abs(y - y0) <= 1


def test_zero_point_that_is_given_makes_magnitudes(tmp_path: Path, models: tuple[str, ...]) -> None:
    """It goes before what the unit of the file tells; fluxes are in units of the pixels or in nJy."""
    header = make_header(BUNIT="nJy")
    image, out = write_plain(tmp_path / "plain.fits", header=header), tmp_path / "out"
    tables = {}
    for zero_point in (None, 27.0):
        more = () if zero_point is None else ("--zero-point", zero_point)
        status, _, err = run(image, "--out", out, *OPTIONS, *models, *more)
        assert (status, err) == (0, "")
        tables[zero_point] = Table.read(out / "plain.blend.parquet")
    told, given = tables[None], tables[27.0]
    assert told.meta["zero_point"] == pytest.approx(31.4, abs=1e-3) and given.meta["zero_point"] == 27.0
    assert np.isfinite(given["mag"]).all()
    np.testing.assert_allclose(given["mag"], told["mag"] - 31.4 + 27.0, atol=1e-4)


LOCALIZER_OF_5_SIGMA = (
    "Warning: The model of localizer 'centers' was trained on other footprints (thresholdValue: trained with "
    "5.0, now {}); its probabilities may not be calibrated.\n"
)


def read_peaks(folder: Path) -> Table:
    return Table.read(folder / "plain.blend_peak.parquet")


def test_localizer_is_chosen_by_name(tmp_path: Path, models: tuple[str, ...]) -> None:
    image, out = write_plain(tmp_path / "plain.fits"), tmp_path / "out"
    args = (image, "--out", out, *WITH_PEAKS, *models)
    tables = {}
    for name in ("none", "peaks", "centers"):
        status, _, err = run(*args, "--localizer", name)
        assert (status, err) == (0, "")
        tables[name] = read_peaks(out)
        blend = Table.read(out / "plain.blend.parquet")
        assert not blend["flag_no_localizer"].any()
    none, peaks, centers = (tables[name] for name in ("none", "peaks", "centers"))
    assert len(none) == len(peaks) == 4 <= len(centers)
    for column in ("probability", "xx", "yy", "xy"):
        assert np.isnan(none[column]).all()
    for table in (none, peaks, centers[:4]):
        assert not table["is_inferred"].any()
        for column in ("id", "peak_id", "i_x", "i_y", "f_x", "f_y", "significance"):
            np.testing.assert_array_equal(table[column], none[column])
    for table in (peaks, centers):
        assert ((table["probability"] >= 0.0) & (table["probability"] <= 1.0)).all()
    assert centers["is_inferred"][4:].all()
    # One is from thresholds and the other from a map; they are not one table under two names.
    assert not np.array_equal(peaks["xx"], centers["xx"][:4])
    assert centers.meta["localizer"] == "centers" and peaks.meta["localizer"] == "peaks"


def test_unknown_localizer_is_misuse(tmp_path: Path, models: tuple[str, ...]) -> None:
    image = write_plain(tmp_path / "plain.fits")
    known = "known are centers, peaks, regression, or none"
    for name, hint in (("center", " (did you mean 'centers'?)"), ("astrologer", "")):
        result = run(image, "--out", tmp_path / "out", *WITH_PEAKS, *models, "--localizer", name)
        assert result == (2, "", f"Error: unknown localizer '{name}'{hint}; {known}\n")
    option = ("--config-option", "localizer['astrologer'].minProbability=0.5")
    status, _, err = run(image, "--out", tmp_path / "out", *WITH_PEAKS, *models, *option)
    assert status == 2 and "there is no such localizer" in err and err.count("\n") == 1
    assert not list((tmp_path / "out").iterdir())


def test_options_of_the_localizer(tmp_path: Path, models: tuple[str, ...]) -> None:
    """A faint source in the wing of a bright one is inferred, unless more probability is asked for."""
    image, out = write_plain(tmp_path / "plain.fits"), tmp_path / "out"
    args = (image, "--out", out, *WITH_PEAKS, *models)
    lists = []
    for least in (0.0, 0.5, 1.0):
        assert run(*args, "--config-option", f"localizer.minProbability={least}")[0] == 0
        lists.append(read_peaks(out))
    n = [int(table["is_inferred"].sum()) for table in lists]
    assert n[0] > 0 == n[2] and n[0] >= n[1] >= n[2]
    for table in lists:
        assert (~table["is_inferred"]).sum() == 4
    named = ("--config-option", "localizer['centers'].minProbability=0.5")
    assert run(*args, *named)[0] == 0
    np.testing.assert_array_equal(read_peaks(out)["probability"], lists[1]["probability"])
    status, _, err = run(*args, "--config-option", "localizer.minProbability=1.5")
    assert status != 0 and "minProbability" in err and err.count("\n") == 1


def test_exposure_of_afw(tmp_path: Path, shared_data: Path, models: tuple[str, ...]) -> None:
    image = shared_data / "afw_reference" / "exposure.fits"
    status, _, err = run(image, "--out", tmp_path, *models)
    # The localiser that is shipped knows no image as shallow as this one.
    assert status == 0 and err.count("Warning") == 1 and "5-sigma depth 21.44 mag" in err
    assert "(localizer 'centers')" in err
    assert run(image, "--out", tmp_path, *models, "--localizer", "none")[::2] == (0, "")
    blend = Table.read(tmp_path / "exposure.blend.parquet")
    assert len(blend) > 10
    assert blend["bbox_x0"].min() >= 3000
    assert blend["bbox_y1"].max() < 7256
    np.testing.assert_allclose(blend["ra"], 55.0, atol=0.02)
    np.testing.assert_allclose(blend["dec"], -30.0, atol=0.02)


def test_old_exposure_asks_for_the_seeing(tmp_path: Path, shared_data: Path, models: tuple[str, ...]) -> None:
    image = shared_data / "hsc" / "HSC-0908120-056-small.fits"
    status, out, err = run(image, "--out", tmp_path, *models)
    assert (status, out) == (1, "")
    assert err == f"Error: {image}: has no PSF; give --psf-fwhm ARCSEC\n"
    status, out, err = run(image, "--out", tmp_path, "--psf-fwhm", 0.7, *models)
    note = "the band is not known (no FILTER or BAND card); that of the models is assumed"
    assert (status, err) == (0, f"{image}: {note}\n")
    assert len(Table.read(tmp_path / "HSC-0908120-056-small.blend.parquet")) > 5


def test_verbose_tells_what_was_assumed(tmp_path: Path, models: tuple[str, ...]) -> None:
    image = write_plain(tmp_path / "plain.fits")
    status, _, err = run(image, "--out", tmp_path / "out", *OPTIONS, *models, "-v")
    assert status == 0
    assert f"{image}: plain image, 100 × 120" in err
    assert f"{image}: no variance plane" in err


def test_warnings_of_the_task_name_the_image(tmp_path: Path, models: tuple[str, ...]) -> None:
    image = write_plain(tmp_path / "plain.fits")
    package = ModelPackage.read(models[1])
    package.metadata["inputs"]["psf_sigma"] = [3.0, 4.0]
    package.write(tmp_path / "wide.blendid")
    args = (
        image,
        "--out",
        tmp_path / "out",
        *OPTIONS,
        "--classifier",
        "peaks",
        "--model",
        tmp_path / "wide.blendid",
    )
    status, _, err = run(*args)
    assert status == 0
    assert err.startswith(f"Warning: {image}: The coadd")
    assert err.count("\n") == 1
    assert Table.read(tmp_path / "out" / "plain.blend.parquet")["flag_outside_model_range"].all()
    status, _, err = run(*args, "-v")
    assert f"\n{image}: 3 footprints" in err


def test_options_of_a_classifier(tmp_path: Path, models: tuple[str, ...]) -> None:
    from lsst.meas.blendid.cli._config import make_config

    config = make_config(
        options=["classifiers.peaks.priorBlended=0.05", "classifiers['peaks'].doCalibrate=False"]
    )
    assert config.classifiers["peaks"].priorBlended == 0.05
    assert config.classifiers["peaks"].doCalibrate is False
    image = write_plain(tmp_path / "plain.fits")
    options = ("--classifier", "peaks", "--config-option", "classifiers.peaks.priorBlended=0.05")
    status, _, err = run(image, "--out", tmp_path / "out", *OPTIONS, *models[:2], *options)
    assert status == 0, err
    table = Table.read(tmp_path / "out" / "plain.blend.parquet")
    assert table.meta["prior"] == "stated"


def test_one_classifier_and_options(tmp_path: Path, models: tuple[str, ...]) -> None:
    image = write_plain(tmp_path / "plain.fits")
    status, _, err = run(
        image,
        *("--out", tmp_path / "out", *WITH_PEAKS, *models[:2], "--classifier", "peaks"),
        *("--config-option", "footprints.thresholdValue=15", "--config-option", "maxPeaks=1"),
    )
    assert (status, err) == (0, LOCALIZER_OF_5_SIGMA.format("15.0"))
    blend = Table.read(tmp_path / "out" / "plain.blend.parquet")
    assert len(blend) == 2
    assert "p_blended_logistic" not in blend.colnames
    assert blend["flag_too_many_peaks"].sum() == 1
    assert np.isnan(blend["p_blended"][blend["flag"]]).all()


def test_image_without_footprints_has_empty_tables(tmp_path: Path, models: tuple[str, ...]) -> None:
    noise = np.random.default_rng(5).normal(size=(60, 60)).astype(np.float32)
    image = write_plain(tmp_path / "noise.fits", noise)
    status, out, err = run(image, "--out", tmp_path / "out", *OPTIONS, *models)
    assert (status, err) == (0, "")
    assert "noise.fits: 0 footprints" in out
    assert len(Table.read(tmp_path / "out" / "noise.blend.parquet")) == 0


def test_older_tables_are_replaced(tmp_path: Path, models: tuple[str, ...]) -> None:
    image, out = write_plain(tmp_path / "plain.fits"), tmp_path / "out"
    out.mkdir()
    for name in expected_names("plain"):
        (out / name).write_text("old")
    assert run(image, "--out", out, *OPTIONS, *models)[0] == 0
    assert names(out) == expected_names("plain")
    assert len(Table.read(out / "plain.blend.parquet")) == 3


# Bad input


def bad_files(folder: Path) -> dict[str, tuple[str, str]]:
    """Files that cannot be used: their path and a part of the message."""
    good = write_plain(folder / "good.fits")
    data = Path(good).read_bytes()
    (folder / "cut.fits").write_bytes(data[: len(data) // 2])
    (folder / "text.fits").write_text("nonsense")
    pixels = make_pixels()
    one_value = "the noise cannot be measured: more than half of the pixels have one value"
    return {
        "missing": (str(folder / "missing.fits"), "no such file"),
        "cut": (str(folder / "cut.fits"), "truncated"),
        "text": (str(folder / "text.fits"), "not a FITS file"),
        "cube": (write_plain(folder / "cube.fits", np.zeros((3, 9, 9), np.float32)), "3 axes"),
        "nan": (
            write_plain(folder / "nan.fits", np.full((50, 50), np.nan, np.float32)),
            "no pixel is finite",
        ),
        "flat": (write_plain(folder / "tiny.fits", np.zeros((1, 1), np.float32)), "tiny.fits"),
        "zeros": (write_plain(folder / "zeros.fits", np.zeros_like(pixels)), one_value),
        "quantised": (write_plain(folder / "quantised.fits", np.rint(pixels / 20.0) * 20.0), one_value),
        "integers": (
            write_plain(folder / "integers.fits", np.rint(pixels / 20.0).astype(np.int16)),
            one_value,
        ),
        "huge": (
            write_plain(folder / "huge.fits", pixels * 1e36),
            "are too large for single precision; multiply the image by a constant",
        ),
    }


def test_each_bad_file_is_one_line_and_does_not_stop_the_others(
    tmp_path: Path, models: tuple[str, ...]
) -> None:
    inputs, out = tmp_path / "in", tmp_path / "out"
    inputs.mkdir()
    bad = bad_files(inputs)
    last = write_plain(inputs / "last.fits", make_pixels(2))
    images = [str(inputs / "good.fits"), *(path for path, _ in bad.values()), last]
    status, text, err = run(*images, "--out", out, *OPTIONS, *models)
    assert status == 1
    assert text.count("footprints") == 2
    notes = [line for line in err.splitlines() if not line.startswith("Error")]
    assert all("taken for padding" in note for note in notes), notes
    lines = [line for line in err.splitlines() if line.startswith("Error")]
    assert len(lines) == len(bad) + 1
    for line, (path, match) in zip(lines, bad.values(), strict=False):
        assert path in line
        assert match in line
        assert "unexpected" not in line
    assert f"{len(bad)} of {len(images)} images failed" in lines[-1]
    for path, _ in bad.values():
        assert path in lines[-1]
    assert names(out) == expected_names("good", "last")


def test_inputs_with_one_stem_and_a_folder(tmp_path: Path, models: tuple[str, ...]) -> None:
    for name in ("g", "r"):
        (tmp_path / name).mkdir()
    first, second = write_plain(tmp_path / "g" / "x.fits"), write_plain(tmp_path / "r" / "x.fits")
    write_plain(tmp_path / "r" / "y.fits")
    out = tmp_path / "out"
    status, text, _ = run(first, second, first, tmp_path / "r", "--out", out, *OPTIONS, *models)
    assert status == 0
    assert names(out) == expected_names("g_x", "r_x", "y")
    assert [line.split(": ")[0] for line in text.splitlines()] == [first, second, f"{tmp_path}/r/y.fits"]
    status, text, err = run(out, "--out", tmp_path / "none", *OPTIONS, *models)
    assert (status, text, err) == (2, "", f"Error: {out}: there is no FITS file in this folder\n")
    assert not (tmp_path / "none").exists()


def test_hdu_in_brackets_or_with_a_version(tmp_path: Path, models: tuple[str, ...]) -> None:
    path, empty = tmp_path / "image.fits", np.zeros((100, 120), np.float32) + 1e-3
    hdus = [astropy.io.fits.ImageHDU(data, name="SCI", ver=i) for i, data in ((1, empty), (2, make_pixels()))]
    astropy.io.fits.HDUList([astropy.io.fits.PrimaryHDU(), *hdus]).writeto(path)
    out = tmp_path / "out"
    for args, name, stem in (
        ((f"{path}[2]",), f"{path}[2]", "image_2"),
        ((f"{path}[SCI,2]",), f"{path}[SCI,2]", "image_SCI_2"),
        ((path, "--hdu", "SCI,2"), str(path), "image"),
    ):
        status, text, _ = run(*args, "--out", out, *OPTIONS, *models)
        assert status == 0
        assert text.startswith(f"{name}: 3 footprints")
        assert (out / f"{stem}.blend.parquet").exists()
    status, text, err = run(f"{path}[SCI,3]", "--out", out, *OPTIONS, *models)
    assert (status, text) == (1, "")
    assert "has no HDU 'SCI,3'; it has 0 PRIMARY, 1 SCI, 2 SCI,2" in err


def test_planes_and_psf_by_option(tmp_path: Path, models: tuple[str, ...]) -> None:
    """A trail that a mask marks, noise from a weight in another file, and an image of the PSF."""
    pixels, mask = make_pixels(), np.zeros((100, 120), np.int16)
    pixels[:, 60] += 50.0
    mask[:, 54:67] = 8
    image = write_plain(tmp_path / "plain.fits", pixels + 300.0)
    astropy.io.fits.writeto(tmp_path / "mask.fits", mask)
    astropy.io.fits.writeto(tmp_path / "weight.fits", np.full((100, 120), 4e3, np.float32))
    astropy.io.fits.writeto(tmp_path / "psf.fits", kolmogorov_kernel(3.5, 40 + 1)[1:])
    out = tmp_path / "out"
    planes = ("--mask", tmp_path / "mask.fits", "--weight", tmp_path / "weight.fits")
    status, text, err = run(image, "--out", out, *planes, "--psf", tmp_path / "psf.fits[0]", *models)
    assert status == 0
    assert text.startswith(f"{image}: 3 footprints")
    assert err.count("\n") == 1
    assert err.startswith(f"{image}: weight: noise from {tmp_path}/weight.fits, taken as relative weight: ")
    blend = Table.read(out / "plain.blend.parquet")
    assert blend.meta["noise_source"] == "variance"
    assert not blend["flag_outside_model_range"].any()
    peaks = Table.read(out / "plain.blend_peak.parquet")
    assert not (abs(peaks["i_x"] - 60) < 5).any()
    assert run(image, "--out", out, *planes, *OPTIONS, *models, "--mask-bits", 4)[0] == 0
    peaks = Table.read(out / "plain.blend_peak.parquet")
    assert (abs(peaks["i_x"] - 60) < 5).any()
    write_plain(tmp_path / "other.fits")
    status, _, err = run(image, tmp_path / "other.fits", "--out", out, *planes, *OPTIONS, *models)
    assert (status, err.count("\n")) == (2, 1)
    assert "belongs to one image" in err


def test_what_decides_the_result_is_told_once(tmp_path: Path, models: tuple[str, ...]) -> None:
    images = [tmp_path / f"{name}.fits" for name in "abc"]
    for image in images:
        write_plain(image, header=astropy.io.fits.Header())
    args = (*images, "--out", tmp_path / "out", *OPTIONS, *models)
    no_wcs = "no celestial WCS: ra and dec are NaN"
    no_band = "the band is not known (no FILTER or BAND card); that of the models is assumed"
    expected = [f"{images[0]}: {no_wcs}", f"{images[0]}: {no_band}"]
    expected += [f"2 more images: {no_wcs}", f"2 more images: {no_band}"]
    status, _, err = run(*args)
    assert (status, err.splitlines()) == (0, expected)
    assert np.isnan(Table.read(tmp_path / "out" / "a.blend.parquet")["ra"]).all()
    _, _, err = run(*args, "-v")
    for image in images:
        assert err.count(f"{image}: {no_wcs}\n") == err.count(f"{image}: no variance plane") == 1


def test_things_without_end_are_refused(tmp_path: Path, models: tuple[str, ...]) -> None:
    image = write_plain(tmp_path / "plain.fits")
    for args in (
        ("/dev/zero", *OPTIONS, *models),
        (image, *OPTIONS, *models, "--mask", "/dev/zero"),
        (image, "--psf", "/dev/zero", *models),
        (image, *OPTIONS, "--model", "/dev/zero"),
        (image, *OPTIONS, *models, "--config", "/dev/zero"),
    ):
        status, out, err = run(*args, "--out", tmp_path / "out")
        assert (status, out, err.count("\n")) == (1, "", 1)
        assert "/dev/zero" in err
        assert "is a device" in err


def test_several_processes(tmp_path: Path, models: tuple[str, ...]) -> None:
    """Lines come in order, a bad image stops no other, and the tables are the same to the bit."""
    images = [write_plain(tmp_path / "large.fits", make_pixels(1, (600, 600)))]
    (tmp_path / "bad.fits").write_text("nonsense")
    images += [str(tmp_path / "bad.fits")]
    images += [write_plain(tmp_path / f"{name}.fits", make_pixels(2)) for name in "ab"]
    one, two = tmp_path / "one", tmp_path / "two"
    expected = run(*images, "--out", one, *OPTIONS, *models)
    status, text, err = run(*images, "--out", two, *OPTIONS, *models, "-j", 2)
    assert status == 1

    def strip(lines: str) -> list[str]:
        return [line.rpartition(", ")[0] for line in lines.splitlines()]

    assert strip(text) == strip(expected[1])
    assert err == expected[2]
    assert [line.split(":")[0] for line in text.splitlines()] == [images[0], *images[2:]]
    assert names(two) == names(one) == expected_names("large", "a", "b")
    for name in names(one):
        assert Table.read(one / name).pformat(max_lines=-1) == Table.read(two / name).pformat(max_lines=-1)


def test_output_that_cannot_be_written(tmp_path: Path, models: tuple[str, ...]) -> None:
    image = write_plain(tmp_path / "plain.fits")
    (tmp_path / "out").write_text("a file")
    status, out, err = run(image, "--out", tmp_path / "out", *OPTIONS, *models)
    assert (status, out) == (1, "")
    assert err.count("\n") == 1
    assert str(tmp_path / "out") in err
    assert (tmp_path / "out").read_text() == "a file"


def test_failure_while_writing_leaves_nothing(
    tmp_path: Path, models: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow.parquet

    def fail(table: object, path: object) -> None:
        Path(str(path)).write_text("half")
        raise OSError(28, "No space left on device", str(path))

    image, out = write_plain(tmp_path / "plain.fits"), tmp_path / "out"
    monkeypatch.setattr(pyarrow.parquet, "write_table", fail)
    status, _, err = run(image, "--out", out, *OPTIONS, *models)
    assert status == 1
    assert "No space left on device" in err
    assert err.count("\n") == 1
    assert names(out) == []


@pytest.mark.parametrize(
    ("args", "status", "match"),
    [
        (("--classifier", "nonsense"), 2, "unknown classifier 'nonsense'; known are"),
        (("--config-option", "nonsense"), 2, "not of the form"),
        (("--config-option", "footprints.nonsense=1"), 2, "footprints.nonsense"),
        (("--config-option", "footprints.thresholdValue=-1"), 2, "thresholdValue"),
        (("--config-option", "classifiers.nonsense.priorBlended=0.1"), 2, "unknown classifier 'nonsense'"),
        (("--config-option", "classifiers.peaks.nonsense=0.1"), 2, "there is no field"),
        (("--config-option", "classifiers.peaks.priorBlended=1"), 2, "priorBlended"),
        (("--config-option", "classifiers['peaks'].doCalibrate=maybe"), 2, "doCalibrate"),
        (("--config-option", "footprints.thresholdValue='a'"), 2, "thresholdValue"),
        (
            ("--config-option", "footprints=3"),
            2,
            "footprints is a group of fields; name one of them, as fo",
        ),
        (
            ("--config-option", "classifiers.peaks=3"),
            2,
            "classifiers.peaks is a group of fields; name one",
        ),
        (("--config-option", "classifiers=nonsense"), 2, "Unknown key 'nonsense'"),
        (
            ("--config-option", "localizer.minProbability=0.5"),
            2,
            "no localizer runs; choose one with --loc",
        ),
        (("--config-option", "primaryClassifier=nonsense"), 1, "the config does not work"),
        (("--config-option", "useLegacyCoadd=True"), 2, "useLegacyCoadd works in pipelines only"),
        (("--config-option", "useButlerModelPackages=True"), 2, "useButlerModelPackages works in pipelines"),
        (("--config-option", "useSkyMap=True"), 2, "useSkyMap works in pipelines only"),
        (("--config", "nonsense.py"), 1, "config file nonsense.py: no such file"),
        (("--config", "."), 1, "config file .: is a folder; give a file"),
        (("--model", "nonsense"), 1, "nonsense"),
        (("--psf-fwhm", "-1"), 2, "'--psf-fwhm': -1.0 is not in the range x>0.0"),
        (("--psf-fwhm", "inf"), 1, "PSF FWHM is inf arcsec"),
        (("--zero-point", "nan"), 2, "'--zero-point': nan is not finite"),
        (("--psf-fwhm", "wide"), 2, "wide"),
        (("--psf-fwhm", "700"), 1, "both in arcsec"),
        (("--hdu", "7"), 1, "has no HDU 7"),
    ],
)
def test_bad_options(
    tmp_path: Path, models: tuple[str, ...], args: tuple[str, ...], status: int, match: str
) -> None:
    image = write_plain(tmp_path / "plain.fits")
    got, out, err = run(image, "--out", tmp_path / "out", *OPTIONS, *models, *args)
    assert (got, out) == (status, "")
    assert match in err
    assert "unexpected" not in err
    assert not (tmp_path / "out").exists() or names(tmp_path / "out") == []


@pytest.mark.parametrize("option", ["classifiers=peaks", "classifiers.names=peaks", "classifiers=['peaks']"])
def test_what_runs_can_be_chosen_by_option(option: str) -> None:
    """A single name is a name and not its letters, and one may say none as for the options of the command."""
    config = make_config(options=[option, "primaryClassifier=peaks", "localizer=none"])
    assert list(config.classifiers.names) == ["peaks"] and config.localizer.name is None
    both = make_config(
        options=["classifiers=peaks, features", "primaryClassifier=peaks", "localizer.name=peaks"]
    )
    assert set(both.classifiers.names) == {"peaks", "features"} and both.localizer.name == "peaks"


def test_errors_of_config_files_are_told_as_python_tells_them(tmp_path: Path) -> None:
    path = tmp_path / "config.py"
    path.write_text("config.maxPeaks = many\n")
    with pytest.raises(CommandError, match=r"config.py: NameError: name 'many' is not defined$"):
        make_config(files=[str(path)])


def test_classifier_that_has_no_model(tmp_path: Path) -> None:
    image = write_plain(tmp_path / "plain.fits")
    status, _, err = run(image, "--out", tmp_path / "out", *OPTIONS, "--classifier", "sep")
    assert (status, err.count("\n")) == (1, 1)
    assert "--model in 'blendid run'), such as what 'blendid train --classifier sep' writes" in err


def test_damaged_model(tmp_path: Path, models: tuple[str, ...]) -> None:
    image, package = write_plain(tmp_path / "plain.fits"), tmp_path / "bad.blendid"
    package.write_bytes(Path(models[1]).read_bytes()[:-200])
    status, out, err = run(image, "--out", tmp_path / "out", *OPTIONS, "--model", package)
    assert (status, out) == (1, "")
    assert str(package) in err
    assert err.count("\n") == 1


def test_debug_shows_tracebacks_and_goes_on(tmp_path: Path, models: tuple[str, ...]) -> None:
    last = write_plain(tmp_path / "last.fits")
    images = (tmp_path / "no1.fits", tmp_path / "no2.fits", last)
    status, out, err = run(*images, "--out", tmp_path / "out", *OPTIONS, *models, "--debug")
    assert status == 1
    assert out.startswith(f"{last}: 3 footprints")
    assert err.count("ReadError: ") == 2
    assert err.count("Traceback (most recent call last):") >= 2
    for image in images[:2]:
        assert f"\nError: {image}: no such file; check the path\n" in err
    assert err.endswith(f"Error: 2 of 3 images failed: {images[0]}, {images[1]}\n")
    assert names(tmp_path / "out") == expected_names("last")


def test_image_without_data(tmp_path: Path, models: tuple[str, ...]) -> None:
    box = Box.from_shape((40, 50))
    masked = MaskedImage(
        Image(1.0, bbox=box, dtype=np.float32), mask_schema=MaskSchema([MaskPlane("NO_DATA", "")])
    )
    masked.mask.set("NO_DATA")
    write_archive(masked, tmp_path / "void.fits")
    status, out, err = run(tmp_path / "void.fits", "--out", tmp_path / "out", *OPTIONS, *models)
    assert (status, out) == (1, "")
    assert err.splitlines()[-1] == f"Error: {tmp_path}/void.fits: every pixel of the coadd is NO_DATA"
    # Options for plain images are not dropped silently.
    status, _, err = run(
        tmp_path / "void.fits", "--out", tmp_path / "out", "--mask-bits", 3, *OPTIONS, *models
    )
    assert status == 1
    assert "--mask-bits is for plain images, and this one brings its own planes; leave it out" in err


def test_names_that_look_like_uris(tmp_path: Path, models: tuple[str, ...]) -> None:
    image = write_plain(tmp_path / "a#b%20c?.d.fits")
    status, _, err = run(image, "--out", tmp_path / "out", *OPTIONS, *models)
    assert (status, err) == (0, "")
    assert names(tmp_path / "out") == expected_names("a#b%20c?.d")
    status, _, err = run(f"file://{tmp_path}/nothing.fits", "--out", tmp_path / "out", *OPTIONS, *models)
    assert (status, err) == (1, f"Error: file://{tmp_path}/nothing.fits: no such file; check the path\n")
    status, _, err = run("nonsense://x/y.fits", "--out", tmp_path / "out", *OPTIONS, *models)
    assert status == 1
    assert "cannot be fetched" in err


def test_output_is_named_without_the_suffixes_of_fits(tmp_path: Path, models: tuple[str, ...]) -> None:
    first = tmp_path / "a.fits.gz"
    first.write_bytes(gzip.compress(Path(write_plain(tmp_path / "b.FIT")).read_bytes()))
    status, _, err = run(first, tmp_path / "b.FIT", "--out", tmp_path / "out", *OPTIONS, *models)
    assert (status, err) == (0, "")
    assert names(tmp_path / "out") == expected_names("a", "b")


# The config


def test_config_of_images_without_variance(models: tuple[str, ...]) -> None:
    paths = models[1::2]
    assert make_config(models=paths).footprints.noiseSource == "variance"
    config = make_config(models=paths, has_variance=False)
    assert config.footprints.noiseSource == "clipped"
    assert config.footprints.doSubtractBackground
    # That is what the file for such images sets.
    from_file = make_config(models=paths, files=[str(CONFIG / "buchanan2022.py")])
    assert config.toDict() == from_file.toDict()
    config = make_config(models=paths, has_variance=False, options=["footprints.doSubtractBackground=False"])
    assert not config.footprints.doSubtractBackground
    with pytest.raises(CommandError, match="noiseSource=clipped"):
        make_config(models=paths, has_variance=False, options=["footprints.noiseSource=variance"])


def test_config_file(models: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "config.py"
    file.write_text("config.footprints.minPixels = 3\nconfig.footprints.noiseSource = 'clipped'\n")
    config = make_config(models=models[1::2], files=[str(file)], options=["footprints.minPixels=4"])
    assert config.footprints.minPixels == 4
    assert config.footprints.noiseSource == "clipped"
    # A file is applied over what is assumed about images without variance.
    file.write_text("config.footprints.thresholdValue = 6\n")
    config = make_config(models=models[1::2], files=[str(file)], has_variance=False)
    assert config.footprints.thresholdValue == 6
    assert config.footprints.noiseSource == "clipped"
    assert config.footprints.doSubtractBackground
    file.write_text("config.footprints.doSubtractBackground = False\n")
    config = make_config(models=models[1::2], files=[str(file)], has_variance=False)
    assert not config.footprints.doSubtractBackground
    with pytest.raises(CommandError, match="noiseSource=clipped"):
        make_config(models=models[1::2], files=[str(CONFIG / "rubin.py")], has_variance=False)
    file.write_text("config.useSkyMap = True\n")
    with pytest.raises(MisuseError, match="useSkyMap works in pipelines only"):
        make_config(models=models[1::2], files=[str(file)])
    file.write_text("config.nonsense = 3\n")
    with pytest.raises(CommandError, match=r"config\.py: AttributeError"):
        make_config(models=models[1::2], files=[str(file)])
    file.write_text("this is no Python\n")
    with pytest.raises(CommandError, match=r"config\.py: SyntaxError"):
        make_config(models=models[1::2], files=[str(file)])


@pytest.mark.parametrize("code", ["import sys\nsys.exit(0)", "raise SystemExit('no more')", "exit()"])
def test_config_file_that_ends_the_program(tmp_path: Path, models: tuple[str, ...], code: str) -> None:
    image, file = write_plain(tmp_path / "plain.fits"), tmp_path / "config.py"
    file.write_text(code)
    status, out, err = run(image, "--out", tmp_path / "out", *OPTIONS, *models, "--config", file)
    assert (status, out) == (1, "")
    assert f"config file {file}: " in err
    assert "sys.exit" in err
    assert err.count("\n") == 1


def test_config_file_and_image_without_variance(tmp_path: Path, models: tuple[str, ...]) -> None:
    image, file = write_plain(tmp_path / "plain.fits"), tmp_path / "config.py"
    file.write_text("config.footprints.thresholdValue = 6\n")
    chosen: list[str] = []
    for path in models[1::2]:
        package = ModelPackage.read(path)
        package.metadata["inputs"]["footprints"] = {"thresholdValue": 5.0}
        chosen += ["--model", str(package.write(tmp_path / Path(path).name))]
    status, out, err = run(image, "--out", tmp_path / "out", *WITH_PEAKS, *chosen, "--config", file)
    assert status == 0
    assert out.startswith(f"{image}: 3 footprints, ")
    # A model that was trained on other footprints says so once, whatever the image.
    lines = err.splitlines()
    assert len(lines) == len(set(lines)) == 3
    plugins = ("classifier 'logistic'", "classifier 'peaks'", "localizer 'centers'")
    for line, plugin in zip(sorted(lines), plugins, strict=True):
        assert line.startswith(f"Warning: The model of {plugin} was trained on other footprints")


def test_config_options_run_no_code(models: tuple[str, ...], tmp_path: Path) -> None:
    target = tmp_path / "made"
    code = f"__import__('pathlib').Path({str(target)!r}).write_text('x')"
    for option in (f"primaryClassifier={code}", f"footprints.minPixels={code}"):
        with pytest.raises((MisuseError, CommandError)):
            make_config(models=models[1::2], options=[option])
    assert not target.exists()


def test_options_in_the_help_work_and_keep_the_footprints(models: tuple[str, ...]) -> None:
    _, text, _ = run("--help")
    options = set(re.findall(r"[A-Za-z.]+=(?:[A-Z][a-z]+|[0-9.]*[0-9])\b", text))
    assert options
    config = make_config(models=models[1::2], options=sorted(options))
    # Models are trained on footprints made in one way; an example must not lead away from it.
    assert config.footprints.toDict() == make_config(models=models[1::2]).footprints.toDict()


def test_a_model_brings_its_settings(models: tuple[str, ...], tmp_path: Path) -> None:
    result, counts = make_toy()
    classifier = LogisticClassifier(settings=LogisticSettings(cutout=CutoutSettings(size=15)))
    classifier.fit(LabelledSamples(samples=FootprintSamples([result]), counts=counts))
    path = str(classifier.to_package("small").write(tmp_path / "small.blendid"))
    for model in (path, f"logistic={path}"):
        made = make_config(models=[models[1], model])
        assert made.classifiers["logistic"].modelPackage == path
        assert LogisticClassifier(made.classifiers["logistic"]).settings.cutout.size == 15
    with pytest.raises(MisuseError, match="is one of the classifier 'logistic', not 'peaks'"):
        make_config(models=[f"peaks={path}"])
    with pytest.raises(MisuseError, match="add --classifier logistic"):
        make_config(models=[path], classifiers=["peaks"])


def test_first_classifier_is_primary(models: tuple[str, ...]) -> None:
    config = make_config(models=models[1::2], classifiers=["logistic", "peaks", "logistic"])
    assert set(config.classifiers.names) == {"logistic", "peaks"}
    assert config.primaryClassifier == "logistic"
    assert make_config(models=models[1:2], classifiers=["peaks"]).primaryClassifier == "peaks"


# As a process


@pytest.mark.parametrize("jobs", [1, 2])
def test_interrupt(tmp_path: Path, models: tuple[str, ...], jobs: int) -> None:
    inputs, out = tmp_path / "in", tmp_path / "out"
    inputs.mkdir()
    images = [write_plain(inputs / f"image{i:03d}.fits", make_pixels(i, (400, 400))) for i in range(60)]
    command = [sys.executable, "-c", "from lsst.meas.blendid.cli import main; main()", "run", *images]
    process = subprocess.Popen(
        [*command, "--out", str(out), *OPTIONS, *models, "-j", str(jobs)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        start_new_session=True,
    )
    assert process.stdout is not None
    assert "image000.fits" in process.stdout.readline()
    # As a terminal does: to all processes.
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    for _ in range(200):  # The tracker of multiprocessing sees it a moment later.
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.1)
    else:
        pytest.fail("a process is left")
    assert process.returncode == 130
    assert err == "Interrupted; no half-written file was left behind.\n"
    done = names(out)
    assert 3 <= len(done) < 3 * len(images)
    for name in done:
        assert name.endswith(SUFFIXES)
        assert len(Table.read(out / name)) > 0


def test_progress_on_a_terminal(tmp_path: Path, models: tuple[str, ...]) -> None:
    images = [write_plain(tmp_path / f"{name}.fits") for name in "ab"]
    command = [sys.executable, "-c", "from lsst.meas.blendid.cli import main; main()", "run", *images]
    terminal, end = os.openpty()
    with open(terminal, "rb", buffering=0) as stream:
        process = subprocess.Popen(
            [*command, "--out", str(tmp_path / "out"), *OPTIONS, *models],
            stdout=subprocess.PIPE,
            stderr=end,
            text=True,
        )
        os.close(end)
        out, _ = process.communicate(timeout=300)
        shown = stream.read(65536).decode()
    assert process.returncode == 0
    assert "Images" in shown
    assert "2/2" in shown
    assert [line.split(":")[0] for line in out.splitlines()] == images


def test_process_exit_status(tmp_path: Path, models: tuple[str, ...]) -> None:
    image = write_plain(tmp_path / "plain.fits")
    script = Path(__file__).resolve().parents[1] / "bin" / "blendid"
    command = [
        sys.executable,
        str(script),
        "run",
        image,
        "--out",
        str(tmp_path / "out"),
        *WITH_PEAKS,
        *models,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert names(tmp_path / "out") == expected_names("plain")
    done = subprocess.run([*command, str(tmp_path / "no.fits")], capture_output=True, text=True)
    assert done.returncode == 1
    assert "1 of 2 images failed" in done.stderr
    assert "Traceback" not in done.stderr


class _Widths(Config):
    """Config of a plugin with a list of numbers."""

    widths: ListField[int] = ListField(doc="Widths.", dtype=int, default=[1])


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("footprints.excludeMaskPlanes=NO_DATA,SAT", ["NO_DATA", "SAT"]),
        ("footprints.excludeMaskPlanes= NO_DATA , SAT", ["NO_DATA", "SAT"]),
        ("footprints.excludeMaskPlanes=SAT", ["SAT"]),
        ("footprints.excludeMaskPlanes=", []),
        ("footprints.excludeMaskPlanes=['SAT']", ["SAT"]),
        ("footprints.excludeMaskPlanes=('SAT', 'BAD')", ["SAT", "BAD"]),
        ("widths=4,8", [4, 8]),
        ("widths=[4, 8]", [4, 8]),
        ("widths=", []),
    ],
)
def test_lists_may_be_written_with_commas(option: str, expected: list[object]) -> None:
    config: Any = make_config() if option.startswith("footprints") else _Widths()
    apply_options(config, [option])
    owner = config.footprints if option.startswith("footprints") else config
    assert list(getattr(owner, option.partition("=")[0].rpartition(".")[2])) == expected


def test_lists_of_other_things_are_refused() -> None:
    with pytest.raises(MisuseError, match="widths"):
        apply_options(_Widths(), ["widths=wide,narrow"])
