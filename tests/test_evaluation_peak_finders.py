# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Peaks by several means in the same footprints."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from astropy.table import Table
from benchmark_programs import load_benchmark
from lsst.meas.blendid import find_footprints
from lsst.meas.blendid.classifiers import CentersClassifier
from lsst.meas.blendid.evaluation.peak_comparison import DETECTED, compare_peaks
from lsst.meas.blendid.evaluation.peak_finders import (
    CandidateFinder,
    find_detected,
    make_found,
    with_magnitudes,
)
from lsst.meas.blendid.footprints import DetectionResult
from lsst.meas.blendid.images.psf import kolmogorov_kernel
from lsst.meas.blendid.labels import N_CLASSES, count_galaxies
from lsst.meas.blendid.model_package import ModelPackage
from lsst.meas.blendid.peak_matching import PeakList, match_peaks
from lsst.meas.blendid.samples import FootprintSamples, SceneContext

ZERO_POINT = 31.4


def make_image(seed: int) -> tuple[DetectionResult, Table]:
    """Single sources and pairs of which the second is not so bright, at (300, -40), and their truth."""
    rng = np.random.default_rng(seed)
    pixels = rng.normal(0.0, 1.0, (240, 280))
    kernel = kolmogorov_kernel(3.5, 41)
    rows = []
    for i in range(20):
        x, y = 40 + 50 * (i % 5), 40 + 50 * (i // 5)
        flux = rng.uniform(400.0, 1500.0)
        for dx, dy, share in [(0, 0, 1.0), (5, -3, 0.5)][: 1 + i % 2]:
            pixels[y + dy - 20 : y + dy + 21, x + dx - 20 : x + dx + 21] += share * flux * kernel
            rows.append((x + dx + 300, y + dy - 40, share * flux / 7.0, 31.4 - 2.5 * np.log10(share * flux)))
    result = find_footprints(pixels.astype("f4"), psf_fwhm=3.5, subtract_background=False)
    footprints = dataclasses.replace(
        result.footprints,
        xy0=(300, -40),
        spans=result.footprints.spans + np.array([0, -40, 300, 300], np.int32),
        bbox=result.footprints.bbox + np.array([300, -40, 300, -40], np.int32),
        centroid=result.footprints.centroid + [300, -40],
        peaks=_move(result.footprints.peaks),
    )
    moved = dataclasses.replace(result.with_footprints(footprints), xy0=(300, -40))
    planes = {name: getattr(result, name) for name in ("smoothed", "significance", "eligible")}
    moved = dataclasses.replace(moved, **planes)
    return moved, Table(np.array(rows), names=("x", "y", "snr", "mag"))


def _move(peaks: np.ndarray) -> np.ndarray:
    peaks = peaks.copy()
    for prefix in "if":
        peaks[f"{prefix}_x"] += 300
        peaks[f"{prefix}_y"] -= 40
    return peaks


@pytest.fixture(scope="module")
def scenes() -> tuple[FootprintSamples, list[Table]]:
    pairs = [make_image(seed) for seed in (1, 2)]
    context = SceneContext("i", ZERO_POINT)
    return FootprintSamples([r for r, _ in pairs], [context, context]), [t for _, t in pairs]


def check_owners(peaks: PeakList, samples: FootprintSamples) -> None:
    """Each peak lies in its footprint."""
    offset = 0
    for result in samples.results:
        n = len(result.footprints)
        own = (peaks.footprint >= offset) & (peaks.footprint < offset + n)
        wanted = result.footprints.find_at(peaks.x[own], peaks.y[own]) - 1
        np.testing.assert_array_equal(peaks.footprint[own] - offset, wanted)
        offset += n
    assert np.all(peaks.footprint < offset)


def test_detected_peaks_and_the_truth(scenes: tuple[FootprintSamples, list[Table]]) -> None:
    samples, truths = scenes
    peaks = find_detected(samples)
    check_owners(peaks, samples)
    np.testing.assert_array_equal(np.bincount(peaks.footprint, minlength=len(samples)), samples.n_peaks)
    sky = np.repeat([0, 1], [len(r.footprints) for r in samples.results])
    found = make_found(samples, truths, sky, {DETECTED: peaks})
    counts = np.concatenate(
        [count_galaxies(r.footprints, t) for r, t in zip(samples.results, truths, strict=True)]
    )
    np.testing.assert_array_equal(np.bincount(found.galaxies.footprint, minlength=len(samples)), counts)
    comparison = compare_peaks(found, bootstrap=0)
    assert comparison[DETECTED].values["completeness"] > 0.6
    assert comparison[DETECTED].values["offset"] < 0.5


def test_magnitudes_are_those_of_the_sources(scenes: tuple[FootprintSamples, list[Table]]) -> None:
    samples, truths = scenes
    sky = np.zeros(len(samples), dtype=int)
    peaks = with_magnitudes(find_detected(samples), samples)
    found = make_found(samples, truths, sky, {DETECTED: peaks})
    matches = match_peaks(peaks, found.galaxies)
    assert peaks.magnitude is not None
    alone = matches.is_true & (np.bincount(found.galaxies.footprint)[peaks.footprint] == 1)
    gap = peaks.magnitude[alone] - found.galaxies.magnitude[matches.galaxy[alone]]
    assert alone.sum() > 15 and np.abs(gap).max() < 0.15 and abs(np.median(gap)) < 0.02
    unknown = FootprintSamples(samples.results, [SceneContext("i", None)] * 2)
    nothing = with_magnitudes(peaks, unknown).magnitude
    assert nothing is not None and np.isnan(nothing).all()


def test_peaks_out_of_the_searched_area_have_no_magnitude(
    scenes: tuple[FootprintSamples, list[Table]],
) -> None:
    samples, _ = scenes
    places = np.array([[-1000.0, 0.0], [300.0, -40.0]])
    peaks = PeakList(np.zeros(2, dtype=int), *places.T, np.full(2, 0.5))
    magnitude = with_magnitudes(peaks, samples).magnitude
    assert magnitude is not None and np.isnan(magnitude).all()


def test_sep(scenes: tuple[FootprintSamples, list[Table]]) -> None:
    pytest.importorskip("sep", reason="SEP is an optional baseline")
    samples, truths = scenes
    program = load_benchmark("blendhunter_sep")
    usual = program.find_with_sep(samples)
    hot = program.find_with_sep(
        samples, levels=program.AGGRESSIVE_LEVELS, contrast=program.AGGRESSIVE_CONTRAST
    )
    found = make_found(samples, truths, np.zeros(len(samples), dtype=int), {"usual": usual, "hot": hot})
    for peaks in (usual, hot):
        check_owners(peaks, samples)
        assert not peaks.has_probabilities
        assert match_peaks(peaks, found.galaxies).is_true.mean() > 0.8
    assert len(hot) >= len(usual)
    assert len(program.find_with_sep(samples, threshold=1e6)) == 0


def test_candidates(scenes: tuple[FootprintSamples, list[Table]]) -> None:
    samples, truths = scenes
    package = ModelPackage.read("centers-i-1")
    classifier = CentersClassifier.from_package(package)
    finder = CandidateFinder("mine", classifier)
    assert finder.name == "candidates of mine"
    peaks, expected = finder.find(samples)
    assert peaks.has_probabilities and expected is not None
    np.testing.assert_allclose(expected, classifier.probabilities(samples) @ np.arange(N_CLASSES))
    # They are in parent pixels, and nearly all galaxies have one that is likely.
    sky = np.zeros(len(samples), dtype=int)
    found = make_found(samples, truths, sky, {"it": peaks, DETECTED: find_detected(samples)})
    comparison = compare_peaks(found, bootstrap=0)
    values = comparison["it"].values
    assert values["likely_purity"] > 0.9 and values["likely_completeness"] > 0.6
    assert values["completeness"] >= comparison[DETECTED].values["completeness"]
