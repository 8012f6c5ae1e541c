# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of cutouts, against slicing in plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.meas.blendid.cutouts import CutoutSettings, cutout_flags, extract_cutouts, normalize_cutouts
from lsst.meas.blendid.footprints import PEAK_DTYPE
from lsst.meas.blendid.model_settings import SettingsError
from toy_samples import make_result, make_toy


def slow_cutout(image: np.ndarray, inside: np.ndarray | None, cx: int, cy: int, size: int) -> np.ndarray:
    """One cutout by padding and slicing."""
    half = size // 2
    source = image if inside is None else np.where(inside, image, 0.0)
    padded = np.pad(source, half + size)
    return padded[cy + size : cy + 2 * size, cx + size : cx + 2 * size]


@given(
    st.integers(0, 10_000),
    st.sampled_from([1, 5, 9, 23]),
    st.booleans(),
    st.sampled_from(["bbox", "centroid"]),
)
@settings(max_examples=60, deadline=None)
def test_pixels_are_those_of_the_image(seed: int, size: int, zero_outside: bool, center: str) -> None:
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(3, 40)), int(rng.integers(3, 40)))
    image = rng.normal(size=shape).astype(np.float32)
    raw = np.where(rng.random(shape) < 0.6, rng.integers(0, 4, shape), 0)
    labels = np.searchsorted(np.unique(np.append(raw, 0)), raw).astype(np.int32)
    xy0 = (int(rng.integers(-50, 50)), int(rng.integers(-50, 50)))
    result = make_result(image, labels, xy0=xy0)
    how = CutoutSettings(size=size, normalization="none", zero_outside=zero_outside, center=center)
    cutouts = extract_cutouts(result, how)
    footprints = result.footprints
    assert cutouts.shape == (len(footprints), size, size) and cutouts.dtype == np.float32
    for i in range(len(footprints)):
        if center == "bbox":
            cx, cy = (footprints.bbox[i, :2].astype(int) + footprints.bbox[i, 2:]) // 2
        else:
            cx, cy = np.rint(footprints.centroid[i]).astype(int)
        inside = labels == i + 1 if zero_outside else None
        expected = slow_cutout(image, inside, cx - xy0[0], cy - xy0[1], size)
        np.testing.assert_array_equal(cutouts[i], expected)


def test_peak_is_centred() -> None:
    result, _ = make_toy(6, xy0=(1000, -500))
    cutouts = extract_cutouts(result, CutoutSettings(center="peak", normalization="none"))
    footprints = result.footprints
    has_peak = footprints.n_peaks > 0
    first = footprints.peaks[footprints.peak_start[:-1][has_peak]]
    expected = result.image[first["i_y"] + 500, first["i_x"] - 1000]
    np.testing.assert_array_equal(cutouts[has_peak, 11, 11], expected)
    assert not has_peak.all()
    by_bbox = extract_cutouts(result, CutoutSettings(normalization="none"))
    np.testing.assert_array_equal(cutouts[~has_peak], by_bbox[~has_peak])


def test_normalizations() -> None:
    result, _ = make_toy(6, sigma=3.0)
    raw = extract_cutouts(result, CutoutSettings(normalization="none"))
    flat = raw.reshape(len(raw), -1)
    snr = extract_cutouts(result, CutoutSettings(normalization="snr"))
    np.testing.assert_allclose(snr, raw / 3.0, rtol=1e-6)
    asinh = extract_cutouts(result, CutoutSettings(normalization="asinh"))
    np.testing.assert_allclose(asinh, np.arcsinh(raw / 3.0), rtol=1e-5)
    l2 = extract_cutouts(result, CutoutSettings(normalization="l2"))
    np.testing.assert_allclose(l2, raw / np.linalg.norm(flat, axis=1)[:, None, None], rtol=1e-5)
    peak = extract_cutouts(result, CutoutSettings(normalization="max"))
    np.testing.assert_allclose(peak.max(axis=(1, 2)), 1.0, rtol=1e-6)


@pytest.mark.parametrize("normalization", ["l2", "max"])
def test_cutout_without_scale_is_zero_and_nan_stays(normalization: str) -> None:
    cutouts = np.stack([np.zeros((3, 3)), -np.ones((3, 3)), np.full((3, 3), np.nan)]).astype(np.float32)
    out = normalize_cutouts(cutouts, normalization, 1.0)
    assert not out[0].any() and np.isnan(out[2]).all()
    assert np.isfinite(out[1]).all() and (out[1].any() == (normalization == "l2"))


@pytest.mark.parametrize("normalization", ["snr", "asinh", "l2", "max"])
def test_layout_does_not_matter(normalization: str) -> None:
    cutouts = np.random.default_rng(2).normal(5.0, 1.0, (4, 5, 5)).astype(np.float32)
    expected = normalize_cutouts(cutouts.copy(), normalization, 2.0)
    transposed = np.ascontiguousarray(cutouts.transpose(2, 1, 0)).transpose(2, 1, 0)
    for other in (transposed, np.repeat(cutouts, 2, axis=0)[::2], cutouts.astype(float)):
        np.testing.assert_allclose(normalize_cutouts(other, normalization, 2.0), expected, rtol=1e-6)
    assert normalize_cutouts(cutouts, normalization, 2.0) is cutouts


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan")])
def test_noise_must_be_positive(sigma: float) -> None:
    with pytest.raises(ValueError, match="pixel noise"):
        normalize_cutouts(np.ones((1, 3, 3), np.float32), "snr", sigma)


def test_unknown_normalization() -> None:
    with pytest.raises(ValueError, match="unknown normalization 'z'"):
        normalize_cutouts(np.ones((1, 3, 3), np.float32), "z", 1.0)


def test_no_footprints() -> None:
    result = make_result(np.zeros((10, 10)), np.zeros((10, 10), np.int32))
    assert extract_cutouts(result).shape == (0, 23, 23)
    assert cutout_flags(result)["too_large"].shape == (0,)


def test_too_large_is_flagged_but_cut() -> None:
    labels = np.zeros((60, 60), np.int32)
    labels[10:33, 5:28] = 1  # 23 x 23
    labels[40, 5:29] = 2  # 24 x 1
    result = make_result(np.ones((60, 60)), labels)
    assert cutout_flags(result)["too_large"].tolist() == [False, True]
    assert extract_cutouts(result, CutoutSettings(normalization="none")).sum(axis=(1, 2)).tolist() == [
        529.0,
        23.0,
    ]


@pytest.mark.parametrize(
    ("field", "value"),
    [("size", 22), ("size", -1), ("size", 257), ("center", "moon"), ("normalization", "x")],
)
def test_settings_refuse(field: str, value: object) -> None:
    with pytest.raises(SettingsError, match=f"^{field} is"):
        CutoutSettings(**{field: value})  # type: ignore[arg-type]


def test_peaks_dtype_is_the_one_used_here() -> None:
    assert {"footprint_id", "i_x", "i_y", "significance"} <= set(PEAK_DTYPE.names or ())
