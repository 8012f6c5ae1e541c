# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of labels, against a loop over galaxies."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.meas.blendid.footprints import FootprintSet
from lsst.meas.blendid.labels import count_galaxies, counted_objects, matched_snr, paper_counts, paper_psf
from toy_samples import make_result


def make_footprints(seed: int, xy0: tuple[int, int] = (0, 0)) -> FootprintSet:
    rng = np.random.default_rng(seed)
    raw = np.where(rng.random((20, 30)) < 0.7, rng.integers(0, 6, (20, 30)), 0)
    labels = np.searchsorted(np.unique(np.append(raw, 0)), raw).astype(np.int32)
    return make_result(np.zeros((20, 30)), labels, xy0=xy0).footprints


@given(st.integers(0, 10_000), st.integers(0, 60), st.booleans(), st.sampled_from(["rint", "truncate"]))
@settings(max_examples=60, deadline=None)
def test_counts_agree_with_a_loop(seed: int, n: int, one_per_pixel: bool, position: str) -> None:
    rng = np.random.default_rng(seed)
    xy0 = (int(rng.integers(-100, 100)), int(rng.integers(-100, 100)))
    footprints = make_footprints(seed, xy0)
    truth = Table(
        {
            "x": rng.uniform(xy0[0] - 3, xy0[0] + 33, n),
            "y": rng.uniform(xy0[1] - 3, xy0[1] + 23, n),
            "snr": rng.uniform(0, 10, n),
        }
    )
    expected = np.zeros(len(footprints), int)
    seen = set()
    for row in truth:
        if row["snr"] < 5.0:
            continue
        pixel = tuple(round(v) if position == "rint" else int(v) for v in (row["x"], row["y"]))
        i, j = pixel[1] - xy0[1], pixel[0] - xy0[0]
        if not (0 <= i < 20 and 0 <= j < 30) or (one_per_pixel and pixel in seen):
            continue
        seen.add(pixel)
        if footprints.labels[i, j]:
            expected[footprints.labels[i, j] - 1] += 1
    counts = count_galaxies(footprints, truth, one_per_pixel=one_per_pixel, position=position)  # type: ignore[arg-type]
    assert counts.dtype == np.int32
    np.testing.assert_array_equal(counts, expected)


def test_limit_and_bad_rows() -> None:
    labels = np.ones((5, 5), np.int32)
    footprints = make_result(np.zeros((5, 5)), labels).footprints
    truth = Table({"x": [1.0, 1.0, np.nan, 2.0, 3.0], "y": [1.0] * 5, "snr": [5.0, 4.99, 9.0, np.nan, 4.5]})
    assert count_galaxies(footprints, truth).tolist() == [1]
    assert count_galaxies(footprints, truth, snr_min=4.0).tolist() == [3]


def test_objects_that_count() -> None:
    truth = Table(
        {"x": [1.0, 2.0, np.nan, 4.0, 5.0], "y": [-9.0] * 5, "snr": [5.0, 4.9, 9.0, np.nan, 7.0]}, masked=True
    )
    truth["y"].mask[4] = True
    assert counted_objects(truth).tolist() == [[1.0, -9.0, 5.0]]
    assert counted_objects(truth[:0]).shape == (0, 3)


def test_no_footprints_and_no_galaxies() -> None:
    none = make_result(np.zeros((5, 5)), np.zeros((5, 5), np.int32)).footprints
    truth = Table({"x": [1.0], "y": [1.0], "snr": [9.0]})
    assert count_galaxies(none, truth).shape == (0,)
    assert count_galaxies(make_footprints(1), truth[:0]).sum() == 0


def test_missing_column_is_named() -> None:
    with pytest.raises(KeyError, match="'snr'.*it has x, y"):
        count_galaxies(make_footprints(1), Table({"x": [1.0], "y": [1.0]}))


def test_unknown_position() -> None:
    with pytest.raises(ValueError, match="floor"):
        count_galaxies(make_footprints(1), Table(), position="floor")  # type: ignore[arg-type]


def test_matched_snr_is_that_of_the_matched_filter() -> None:
    rng = np.random.default_rng(4)
    psf = paper_psf(3.5)
    flux, sigma = 300.0, 2.0
    noisy = flux * psf + rng.normal(0.0, sigma, (4000, *psf.shape))
    estimates = (noisy * psf).sum(axis=(1, 2)) / np.square(psf).sum()
    assert matched_snr(np.array([flux]), psf * 7.0, sigma)[0] == pytest.approx(
        flux / estimates.std(), rel=0.03
    )


def test_paper_psf_against_theory() -> None:
    kernel = paper_psf(3.5)
    sigma = 3.5 / 2.35482
    assert np.square(kernel).sum() == pytest.approx(1.0 / (4.0 * np.pi * sigma**2), rel=1e-5)
    assert kernel[11, 11 + 2] / kernel[11, 11] == pytest.approx(np.exp(-2.0 / sigma**2), rel=1e-5)


@pytest.mark.parametrize(
    ("psf", "sigma"), [(np.zeros((3, 3)), 1.0), (np.ones((3, 3)), 0.0), (np.ones((3, 3)), np.nan)]
)
def test_matched_snr_refuses(psf: np.ndarray, sigma: float) -> None:
    with pytest.raises(ValueError, match="needed"):
        matched_snr(np.ones(1), psf, sigma)


@pytest.mark.parametrize("fwhm", [0.0, np.inf, np.nan])
def test_paper_psf_refuses(fwhm: float) -> None:
    with pytest.raises(ValueError, match="positive and finite fwhm"):
        paper_psf(fwhm)


def test_paper_counts_truncates_and_merges() -> None:
    labels = np.zeros((5, 5), np.int32)
    labels[1, 1] = 1
    footprints = make_result(np.zeros((5, 5)), labels).footprints
    bright = 100.0
    truth = Table({"x": [1.1, 1.9, 0.9], "y": [1.5, 1.0, 1.0], "flux": [bright] * 3})
    assert paper_counts(footprints, truth, sky_sigma=1.0).tolist() == [1]
    truth["snr"] = 100.0
    assert count_galaxies(footprints, truth).tolist() == [1]
    # Limits bracket S/N = 5 of a Gaussian of FWHM 0.7 arcsec at 0.2 arcsec per pixel.
    limit = 5.0 / np.sqrt(np.square(paper_psf(3.5)).sum())
    truth["flux"] = [limit * 1.01, limit * 0.99, limit * 1.01]
    truth["x"] = [1.1, 1.9, 4.0]
    assert paper_counts(footprints, truth, sky_sigma=1.0).tolist() == [1]
    assert paper_counts(footprints, truth, sky_sigma=1.05).tolist() == [0]
    with pytest.raises(ValueError, match="pixel_scale"):
        paper_counts(footprints, truth, sky_sigma=1.0, pixel_scale=0.0)


def test_paper_counts_on_fine_pixels() -> None:
    # FWHM 20 pixels, of which a kernel of 25 pixels would hold only 73 %.
    footprints = make_result(np.zeros((5, 5)), np.ones((5, 5), np.int32)).footprints
    sigma = 20.0 / 2.35482
    limit = 5.0 * np.sqrt(4.0 * np.pi) * sigma
    truth = Table({"x": [1.0, 3.0], "y": [1.0, 1.0], "flux": [limit * 1.01, limit * 0.99]})
    assert paper_counts(footprints, truth, sky_sigma=1.0, pixel_scale=0.035).tolist() == [1]
    assert paper_psf(3.5).shape == (23, 23)
    assert paper_psf(20.0).shape == (121, 121)


@pytest.mark.parametrize("column", ["x", "y", "snr", "flux"])
def test_masked_rows_do_not_count(column: str) -> None:
    footprints = make_result(np.zeros((5, 5)), np.ones((5, 5), np.int32)).footprints
    truth = Table(
        {"x": [1, 2, 3], "y": [1.0, 2.0, 3.0], "snr": [9.0, 9.0, 9.0], "flux": [1e4, 1e4, 1e4]}, masked=True
    )
    truth[column].mask[1] = True
    if column != "flux":
        assert count_galaxies(footprints, truth).tolist() == [2]
    if column != "snr":
        assert paper_counts(footprints, truth, sky_sigma=1.0).tolist() == [2]
