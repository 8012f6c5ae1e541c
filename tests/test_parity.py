# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The same footprints and peaks as `lsst.meas.algorithms.SourceDetectionTask`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from lsst.meas.blendid.footprints import DetectionResult, FootprintConfig, build_footprints, spans_to_labels
from lsst.meas.blendid.images.psf import PsfSummary
from scipy import ndimage

RUNS: dict[str, dict[str, object]] = {
    "default": {},
    "nogrow": {"nSigmaToGrow": 0.0},
    "manhattan": {"isotropicGrow": False},
    "stdev": {"thresholdType": "stdev"},
    "thresh10": {"thresholdValue": 10.0},
    "templocal": {"doTempLocalBackground": True},
}


def gaussian(sigma: float) -> PsfSummary:
    return PsfSummary(np.ones((1, 1)), sigma, sigma, sigma, 0.0, 1)


def matching_footprints(result: DetectionResult, spans: np.ndarray) -> tuple[int, int]:
    """Reference footprints with one of ours of IoU >= 0.99 each way, and all of them."""
    labels = result.footprints.labels
    reference = spans_to_labels(spans, labels.shape, result.xy0)
    n, n_reference = int(labels.max()), int(reference.max())
    common = np.zeros((n + 1, n_reference + 1))
    np.add.at(common, (labels.ravel(), reference.ravel()), 1)
    union = common.sum(axis=1)[:, None] + common.sum(axis=0) - common
    iou = (common / union)[1:, 1:]
    good = iou >= 0.99
    one_to_one = good.any(axis=0) & (good.sum(axis=0) == 1)
    return int(one_to_one.sum()), n_reference


def matching_peaks(result: DetectionResult, peaks: np.ndarray) -> int:
    """Reference peaks at the pixel of one of ours whose significance differs by less than 1 %."""
    ours = {(int(p["i_x"]), int(p["i_y"])): float(p["significance"]) for p in result.footprints.peaks}
    return sum(
        (int(p[1]), int(p[2])) in ours and abs(ours[int(p[1]), int(p[2])] / p[6] - 1) < 0.01 for p in peaks
    )


def run_reference(shared_data: Path, run: str) -> tuple[DetectionResult, np.ndarray, np.ndarray]:
    config = FootprintConfig()
    config.update(doKeepPeaksAtHoles=True, **RUNS[run])
    with np.load(shared_data / "afw_reference" / "source_detection.npz") as data:
        result = build_footprints(
            data["image"],
            psf=gaussian(float(data["psf_sigma"])),
            config=config,
            variance=data["variance"],
            excluded=data["bad"],
            stats_excluded=data["bad"],
        )
        return result, data[f"{run}_spans"], data[f"{run}_peaks"]


@pytest.mark.parametrize("run", list(RUNS))
def test_footprints_and_peaks(shared_data: Path, run: str) -> None:
    result, spans, peaks = run_reference(shared_data, run)
    good, n = matching_footprints(result, spans)
    assert good >= 0.995 * n
    assert abs(len(result.footprints) - n) <= 0.005 * n
    share = 0.95 if run == "templocal" else 0.99
    assert matching_peaks(result, peaks) >= share * len(peaks)
    assert abs(len(result.footprints.peaks) - len(peaks)) <= (1 - share) * len(peaks)


@pytest.mark.parametrize("run", ["default", "nogrow", "manhattan", "thresh10"])
def test_pixels_are_identical(shared_data: Path, run: str) -> None:
    result, spans, _ = run_reference(shared_data, run)
    labels = result.footprints.labels
    np.testing.assert_array_equal(labels > 0, spans_to_labels(spans, labels.shape) > 0)


def test_peaks_belong_to_the_same_footprints(shared_data: Path) -> None:
    result, spans, peaks = run_reference(shared_data, "default")
    reference = spans_to_labels(spans, result.footprints.labels.shape)
    for p in result.footprints.peaks:
        first = reference[p["i_y"], p["i_x"]]
        brightest = result.footprints.peaks[result.footprints.peak_start[p["footprint_id"] - 1]]
        assert reference[brightest["i_y"], brightest["i_x"]] == first
    assert np.bincount(peaks[:, 0].astype(int)).max() == result.footprints.n_peaks.max()


def test_peaks_along_masked_areas_are_the_same(shared_data: Path) -> None:
    result, _, peaks = run_reference(shared_data, "default")
    half = result.metadata["kernel_size"] // 2
    rim = ndimage.binary_dilation(result.bad, np.ones((2 * half + 3,) * 2)) & result.eligible
    own = {(int(p["i_x"]), int(p["i_y"])) for p in result.footprints.peaks if rim[p["i_y"], p["i_x"]]}
    reference = {(int(p[1]), int(p[2])) for p in peaks if rim[int(p[2]), int(p[1])]}
    assert own == reference
    assert len(own) > 5


def test_real_exposure(shared_data: Path) -> None:
    with fits.open(shared_data / "hsc" / "HSC-0908120-056-small.fits") as hdus:
        image, variance = hdus[1].data, hdus[3].data
    with np.load(shared_data / "afw_reference" / "hsc_detection.npz") as data:
        result = build_footprints(
            image,
            psf=gaussian(float(data["sigma"])),
            variance=variance,
            xy0=(int(data["xy0"][0]), int(data["xy0"][1])),
        )
        spans, peaks = data["spans"], data["peaks"]
    assert matching_footprints(result, spans) == (16, 16)
    assert len(result.footprints.peaks) == len(peaks) == matching_peaks(result, peaks)
