# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

from __future__ import annotations

import weakref
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsst.images import Image, Mask, MaskedImage, MaskPlane, MaskSchema
from lsst.meas.blendid.footprints import (
    DetectionResult,
    FootprintConfig,
    NoNoiseError,
    NoUsablePixelsError,
    build_footprints,
    detect,
    spans_to_labels,
)
from lsst.meas.blendid.images.psf import PsfSummary
from scipy import ndimage

EIGHT = np.ones((3, 3), dtype=bool)


def gaussian_psf(sigma: float) -> PsfSummary:
    return PsfSummary(np.ones((1, 1)), sigma, sigma, sigma, 0.0, 1)


PSF = gaussian_psf(1.6)
RADIUS = 5  # half of its kernel of 11 pixels


def make_config(**fields: object) -> FootprintConfig:
    config = FootprintConfig()
    config.update(**fields)
    config.validate()
    return config


def star_field(
    shape: tuple[int, int] = (220, 260), n: int = 120, seed: int = 3, sigma: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian stars on white noise; image and variance."""
    rng = np.random.default_rng(seed)
    points = np.zeros(shape)
    y, x = rng.integers(0, shape[0], n), rng.integers(0, shape[1], n)
    np.add.at(points, (y, x), 10 ** rng.uniform(1.2, 3.0, n))
    image = ndimage.gaussian_filter(points, 1.6) + rng.normal(0.0, sigma, shape)
    return image.astype(np.float32), np.full(shape, sigma**2, np.float32)


def check_consistency(result: DetectionResult) -> None:
    """What holds for every result, whatever the image."""
    footprints, config_growth = result.footprints, result.growth
    labels = footprints.labels
    shape = labels.shape
    x0, y0 = result.xy0
    n = len(footprints)
    assert labels.max(initial=0) == n
    for plane in (result.image, result.smoothed, result.significance, result.eligible, result.bad):
        assert plane.shape == shape
    assert np.isfinite(result.image).all()
    assert np.isfinite(result.smoothed).all()
    np.testing.assert_array_equal(np.isnan(result.significance), ~result.eligible)
    assert not (result.eligible & result.bad).any()
    assert not result.image[result.bad].any()
    # Each pixel that was found is in a footprint, and what it was found from is within reach.
    found = result.significance >= np.float32(result.metadata["threshold"])
    assert (labels[found] > 0).all()
    reach = ndimage.binary_dilation(found, EIGHT, iterations=config_growth) if config_growth else found
    assert (reach | (labels == 0)).all()
    np.testing.assert_array_equal(spans_to_labels(footprints.spans, shape, result.xy0), labels)
    assert footprints.area.sum() == np.count_nonzero(labels)
    assert footprints.area_detected.sum() == np.count_nonzero(found)
    assert (footprints.area_detected >= 1).all()
    # Peaks are in their footprints, one in each that no hole cuts, over the threshold, brightest first.
    peaks = footprints.peaks
    beside = ndimage.binary_dilation(~result.eligible, EIGHT) & found if result.bad.any() else found & False
    assert ((footprints.n_peaks >= 1) | np.isin(np.arange(n) + 1, labels[beside])).all()
    ids = labels[peaks["i_y"] - y0, peaks["i_x"] - x0]
    np.testing.assert_array_equal(ids, peaks["footprint_id"])
    assert found[peaks["i_y"] - y0, peaks["i_x"] - x0].all()
    assert (np.abs(peaks["f_x"] - peaks["i_x"]) <= 0.5).all()
    assert (np.abs(peaks["f_y"] - peaks["i_y"]) <= 0.5).all()
    for a, b in zip(footprints.peak_start[:-1], footprints.peak_start[1:], strict=True):
        assert (np.diff(peaks["peak_value"][a:b]) <= 0).all()
    for key, value in result.metadata.items():
        assert isinstance(value, int | float | str), key


@given(
    seed=st.integers(0, 2**32 - 1),
    ny=st.integers(11, 60),
    nx=st.integers(11, 60),
    sigma=st.sampled_from([0.5, 1.6, 2.1]),
    bad=st.sampled_from([0.0, 0.002, 0.02, 0.3, 1.0]),
    kind=st.sampled_from(["normal", "cauchy", "constant", "integers", "huge"]),
    fields=st.fixed_dictionaries(
        {
            "noiseSource": st.sampled_from(["clipped", "variance"]),
            "thresholdType": st.sampled_from(["pixel_stdev", "stdev"]),
            "doSubtractBackground": st.booleans(),
            "doCorrectCorrelatedNoise": st.booleans(),
            "doTempLocalBackground": st.booleans(),
            "doKeepPeaksAtHoles": st.booleans(),
            "isotropicGrow": st.booleans(),
            "combinedGrow": st.booleans(),
            "nSigmaToGrow": st.sampled_from([0.0, 2.4]),
            "thresholdValue": st.sampled_from([0.5, 2.0, 5.0]),
            "backgroundBinSize": st.sampled_from([8, 128]),
            "tempLocalBackgroundBinSize": st.just(16),
        }
    ),
    origin=st.tuples(st.integers(-5000, 5000), st.integers(-5000, 5000)),
)
def test_any_image(seed, ny, nx, sigma, bad, kind, fields, origin) -> None:
    rng = np.random.default_rng(seed)
    shape = (ny, nx)
    image = {
        "normal": lambda: rng.normal(5.0, 2.0, shape),
        "cauchy": lambda: rng.standard_cauchy(shape),
        "constant": lambda: np.full(shape, rng.choice([0.0, 1.0, -3.0])),
        "integers": lambda: rng.integers(0, 3, shape),
        "huge": lambda: rng.choice([1e-38, 1e29, -1e29, 1e35, np.inf], shape, p=[0.6, 0.1, 0.1, 0.1, 0.1]),
    }[kind]()
    image = image.astype(rng.choice([np.float32, np.float64, ">f4"]))
    image[rng.random(shape) < bad] = rng.choice([np.nan, np.inf, -np.inf])
    variance = rng.uniform(0.1, 4.0, shape) if seed % 2 else np.full(shape, 1.3)
    variance[rng.random(shape) < bad / 2] = rng.choice([0.0, -1.0, np.nan, np.inf])
    excluded = rng.random(shape) < bad / 2
    config = make_config(**fields)
    try:
        result = build_footprints(
            image,
            psf=gaussian_psf(sigma),
            config=config,
            variance=variance,
            excluded=excluded if seed % 3 else None,
            stats_excluded=rng.random(shape) < bad if seed % 5 else None,
            xy0=origin,
        )
    except NoNoiseError:
        # Rightly so only if the noise comes from the pixels, or all are masked for statistics.
        asked = "variance" not in fields.values() or "stdev" in fields.values()
        assert asked or fields["doCorrectCorrelatedNoise"] or bad == 1.0
        assert kind != "normal" or bad > 0.0 or min(shape) < 20
        return
    except NoUsablePixelsError:
        # Rightly so only if something is missing, or the kernel does not fit.
        assert bad > 0.0 or kind == "huge" or min(shape) < 15
        return
    check_consistency(result)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"noiseSource": "clipped"},
        {"noiseSource": "clipped", "doSubtractBackground": True, "backgroundBinSize": 64},
        {"thresholdType": "stdev"},
        {"combinedGrow": False},
        {"doTempLocalBackground": True},
    ],
)
def test_star_field(fields: dict[str, object]) -> None:
    image, variance = star_field()
    result = build_footprints(image, psf=PSF, config=make_config(**fields), variance=variance, xy0=(7, -3))
    check_consistency(result)
    assert 30 < len(result.footprints) < 110
    assert result.growth == 4
    assert result.noise.sigma == pytest.approx(1.0, rel=0.15)


def test_labels_match_scipy_and_sep() -> None:
    sep = pytest.importorskip("sep")
    image, variance = star_field(n=400)
    result = build_footprints(image, psf=PSF, config=make_config(nSigmaToGrow=0.0), variance=variance)
    significance = np.where(result.eligible, result.significance, 0.0).astype(np.float32)
    expected, n = ndimage.label(significance >= 5.0, EIGHT)
    np.testing.assert_array_equal(result.footprints.labels, expected)
    assert n > 80
    _, segments = sep.extract(
        significance, 5.0, minarea=1, filter_kernel=None, deblend_cont=1.0, clean=False, segmentation_map=True
    )
    np.testing.assert_array_equal(segments > 0, expected > 0)
    pairs = np.unique(np.stack([segments.ravel(), expected.ravel()]), axis=1)
    assert pairs.shape[1] == n + 1


def test_growth_matches_scipy() -> None:
    image, variance = star_field()
    result = build_footprints(image, psf=PSF, variance=variance)
    y, x = np.mgrid[-4:5, -4:5]
    grown = ndimage.binary_dilation(result.significance >= 5.0, x**2 + y**2 <= 16)
    np.testing.assert_array_equal(result.footprints.labels, ndimage.label(grown, EIGHT)[0])


def test_significance_is_that_of_a_point_source() -> None:
    # A star of flux F in noise s has F / (s sqrt(4 pi) sigma) under the kernel of its own width.
    image = np.zeros((61, 61), np.float32)
    y, x = np.mgrid[:61, :61]
    image += 400 * np.exp(-0.5 * ((x - 30.25) ** 2 + (y - 29.6) ** 2) / 1.6**2) / (2 * np.pi * 1.6**2)
    variance = np.full(image.shape, 4.0)
    result = build_footprints(image, psf=PSF, variance=variance, xy0=(1000, 2000))
    peaks = result.footprints.peaks
    assert len(peaks) == 1
    assert peaks["significance"][0] == pytest.approx(400 / (2 * np.sqrt(4 * np.pi) * 1.6), rel=0.03)
    assert (peaks["f_x"][0], peaks["f_y"][0]) == pytest.approx((1030.25, 2029.6), abs=0.02)
    assert (peaks["i_x"][0], peaks["i_y"][0]) == (1030, 2030)


def test_constant_and_nearly_constant_variance_agree() -> None:
    image, variance = star_field()
    same = build_footprints(image, psf=PSF, variance=variance)
    variance[-1, -1] *= 1.0001
    other = build_footprints(image, psf=PSF, variance=variance)
    np.testing.assert_allclose(same.significance, other.significance, rtol=1e-5)
    np.testing.assert_array_equal(same.footprints.labels, other.footprints.labels)


def test_variance_is_used_per_pixel() -> None:
    image, variance = star_field(sigma=1.0)
    variance[:, 130:] *= 100.0
    result = build_footprints(image, psf=PSF, variance=variance)
    left, right = (
        np.count_nonzero(result.footprints.labels[:, s]) for s in (slice(0, 120), slice(140, None))
    )
    assert right < 0.5 * left


def test_bad_pixels_are_widened_by_the_kernel_and_growth_may_reenter() -> None:
    image, variance = star_field(n=0)
    image[100:103, 100:103] = 1000.0
    image[150, 60] = np.nan
    excluded = np.zeros(image.shape, dtype=bool)
    excluded[100:110, 110] = True
    result = build_footprints(image, psf=PSF, variance=variance, excluded=excluded)
    expected = ndimage.binary_dilation(result.bad, np.ones((11, 11)))
    expected[:RADIUS] = expected[-RADIUS:] = expected[:, :RADIUS] = expected[:, -RADIUS:] = True
    np.testing.assert_array_equal(result.eligible, ~expected)
    assert result.metadata["n_nonfinite_pixels"] == 1
    assert result.metadata["n_excluded_pixels"] == 10
    assert (result.footprints.labels[100:103, 105:109] > 0).any()


def test_small_footprints_are_counted() -> None:
    image, variance = star_field()
    everything = build_footprints(image, psf=PSF, config=make_config(nSigmaToGrow=0.0), variance=variance)
    large = build_footprints(
        image, psf=PSF, config=make_config(nSigmaToGrow=0.0, minPixels=8), variance=variance
    )
    n_small = int((everything.footprints.area < 8).sum())
    assert n_small > 0
    assert large.metadata["n_dropped_below_min_pixels"] == n_small
    assert len(large.footprints) + n_small == len(everything.footprints)


def test_correlation_correction_divides_significance() -> None:
    image, variance = star_field()
    image = ndimage.shift(image, (0.5, 0.5), order=1, mode="wrap")
    plain = build_footprints(image, psf=PSF, variance=variance)
    corrected = build_footprints(
        image, psf=PSF, variance=variance, config=make_config(doCorrectCorrelatedNoise=True)
    )
    assert plain.noise.correlation == corrected.noise.correlation != 1.0
    ratio = plain.significance[plain.eligible] / corrected.significance[plain.eligible]
    np.testing.assert_allclose(ratio, plain.noise.correlation, rtol=1e-5)


def test_pedestal_needs_the_background() -> None:
    image, _ = star_field((300, 300))
    image += 500.0
    config = make_config(noiseSource="clipped", doSubtractBackground=True, backgroundBinSize=64)
    result = build_footprints(image, psf=PSF, config=config)
    check_consistency(result)
    assert result.metadata["background_mean"] == pytest.approx(500.0, abs=0.5)
    assert 30 < len(result.footprints)


@pytest.mark.parametrize("edge", ["left", "right", "top", "corner"])
def test_gradient_beside_a_masked_border(edge: str) -> None:
    rng = np.random.default_rng(17)
    y, x = np.mgrid[:1024, :1024]
    image = rng.normal(0.0, 1.0, (1024, 1024)) + 0.005 * x + 0.003 * y
    inside = {
        "left": x >= 384,
        "right": x < 640,
        "top": y < 650,
        "corner": (x >= 384) | (y >= 384),
    }[edge]
    image[~inside] = np.nan
    config = make_config(noiseSource="clipped", doSubtractBackground=True)
    result = build_footprints(image, psf=PSF, config=config)
    assert len(result.footprints) == 0
    # What is left of the gradient within 40 pixels of the mask.
    rim = inside & ndimage.binary_dilation(~inside, iterations=40)
    assert abs(result.image[rim].mean()) < 0.05
    assert np.abs(ndimage.gaussian_filter(result.image, 30.0)[rim]).max() < 0.25


@pytest.mark.parametrize("fields", [{}, {"thresholdType": "stdev"}, {"doSubtractBackground": True}])
def test_padding_is_not_searched_for_sources(fields: dict[str, object]) -> None:
    image, variance = star_field()
    image[:, 100:] = 0.0
    with pytest.raises(NoNoiseError, match=r"more than half of the pixels have one value \(0\)"):
        build_footprints(image, psf=PSF, config=make_config(noiseSource="clipped", **fields))
    with pytest.raises(NoNoiseError, match="more than half"):
        config = make_config(doCorrectCorrelatedNoise=True)
        build_footprints(image, psf=PSF, config=config, variance=variance)
    image[:, 100:] = np.nan
    config = make_config(noiseSource="clipped")
    assert build_footprints(image, psf=PSF, config=config).noise.sigma == pytest.approx(1.0, rel=0.15)


@pytest.mark.parametrize("uneven", [False, True])
def test_empty_image_with_variance(uneven: bool) -> None:
    variance = np.full((60, 70), 4.0)
    variance[:, 35:] += 5.0 * uneven
    result = build_footprints(np.zeros((60, 70)), psf=PSF, variance=variance)
    assert len(result.footprints) == 0
    assert np.isnan(result.noise.correlation)
    assert np.isnan(result.metadata["noise_correlation"])
    assert 2.0 <= result.noise.sigma <= 3.0
    assert result.sky_level == 0.0


def test_high_pedestal_in_double_precision() -> None:
    image, variance = star_field((300, 300), n=60)
    config = make_config(noiseSource="clipped", doSubtractBackground=True, backgroundBinSize=64)
    low = build_footprints(image, psf=PSF, config=config)
    high = build_footprints(image.astype(float) + 1e8, psf=PSF, config=config)
    assert high.noise.sigma == pytest.approx(low.noise.sigma, rel=1e-3)
    assert len(high.footprints) == len(low.footprints)
    assert high.metadata["background_mean"] == pytest.approx(1e8, abs=1.0)
    masked = np.ma.masked_invalid(np.where(image > 30.0, np.nan, image.astype(float) + 1e8))
    assert build_footprints(masked, psf=PSF, config=config).noise.sigma == pytest.approx(1.0, rel=0.1)
    for fields in ({}, {"noiseSource": "clipped"}):
        with pytest.raises(ValueError, match=r"level of 1e\+08 is too high .*doSubtractBackground"):
            build_footprints(
                image.astype(float) + 1e8, psf=PSF, config=make_config(**fields), variance=variance
            )


def test_masked_arrays_are_honoured() -> None:
    image, variance = star_field(n=0)
    image[100:103, 100:103] = 1000.0
    mask = np.zeros(image.shape, dtype=bool)
    mask[95:108, 95:108] = True
    result = build_footprints(np.ma.array(image, mask=mask), psf=PSF, variance=variance)
    np.testing.assert_array_equal(result.bad, mask)
    assert len(result.footprints) == 0
    result = build_footprints(image, psf=PSF, variance=np.ma.array(variance, mask=mask))
    np.testing.assert_array_equal(result.bad, mask)
    integers = np.ma.array(np.rint(image * 10).astype(np.int32), mask=mask)
    assert len(build_footprints(integers, psf=PSF, variance=variance * 100).footprints) == 0


def test_inputs_are_not_changed() -> None:
    image, variance = star_field()
    excluded = np.zeros(image.shape, dtype=bool)
    excluded[50:60, 50:60] = True
    image[20, 20] = np.nan
    copies = [a.copy() for a in (image, variance, excluded)]
    config = make_config(doSubtractBackground=True)
    build_footprints(image, psf=PSF, config=config, variance=variance, excluded=excluded)
    for array, copy in zip((image, variance, excluded), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((3, 20, 20)), "two dimensions"),
        (np.zeros(20), "two dimensions"),
        (np.zeros((0, 20)), "empty"),
        (np.zeros((20, 20), complex), "real numbers"),
    ],
)
def test_wrong_images(image: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_footprints(image, psf=PSF, variance=np.ones(image.shape))


@pytest.mark.parametrize("sigma", [0.0, -1.0, np.nan, np.inf])
def test_wrong_psf(sigma: float) -> None:
    with pytest.raises(ValueError, match="sigma must be positive"):
        build_footprints(np.zeros((30, 30)), psf=gaussian_psf(sigma), variance=np.ones((30, 30)))


def test_wrong_planes() -> None:
    image = np.zeros((30, 30))
    with pytest.raises(ValueError, match="variance has shape"):
        build_footprints(image, psf=PSF, variance=np.ones((30, 31)))
    with pytest.raises(ValueError, match="excluded has shape"):
        build_footprints(image, psf=PSF, variance=image + 1, excluded=np.zeros((3, 3), dtype=bool))
    with pytest.raises(ValueError, match="needs a variance plane"):
        build_footprints(image, psf=PSF)


def test_no_usable_pixels() -> None:
    ones = np.ones((30, 30))
    every = np.ones((30, 30), dtype=bool)
    with pytest.raises(NoUsablePixelsError, match="no pixel of the image is finite"):
        build_footprints(ones * np.nan, psf=PSF, variance=ones)
    with pytest.raises(NoUsablePixelsError, match="not excluded"):
        build_footprints(ones, psf=PSF, variance=ones, excluded=every)
    with pytest.raises(NoUsablePixelsError, match="variance is nowhere positive"):
        build_footprints(ones, psf=PSF, variance=-ones)
    with pytest.raises(NoUsablePixelsError, match="smaller than the smoothing kernel"):
        build_footprints(ones[:9], psf=PSF, variance=ones[:9])
    with pytest.raises(NoNoiseError, match="statsMask"):
        build_footprints(ones, psf=PSF, variance=ones, stats_excluded=every)
    some = np.zeros((30, 30), dtype=bool)
    some[::8, ::8] = True
    with pytest.raises(NoUsablePixelsError, match="farther from bad pixels"):
        build_footprints(ones, psf=PSF, variance=ones, excluded=some)


def test_config_is_checked() -> None:
    with pytest.raises(ValueError, match="must be odd"):
        make_config(backgroundFilterSize=4)


def test_planes_are_made_again_only_if_nobody_holds_them() -> None:
    image, variance = star_field()
    result = build_footprints(image, psf=PSF, variance=variance)
    for name in ("smoothed", "significance", "eligible"):
        held = getattr(result, name)
        assert getattr(result, name) is held
        mark = weakref.ref(held)
        copy = held.copy()
        del held
        assert mark() is None
        np.testing.assert_array_equal(getattr(result, name), copy)
    # A worker process gets the recipe, not the plane that somebody holds here.
    held = result.significance
    other = ForkingPickler.loads(ForkingPickler.dumps(result))
    np.testing.assert_array_equal(other.significance, held)
    assert other.significance is not held


def test_detect_reads_mask_planes_and_origin() -> None:
    image, variance = star_field()
    schema = MaskSchema([MaskPlane(name, "") for name in ("NO_DATA", "SATURATED")])
    mask = Mask(0, schema=schema, shape=image.shape, yx0=(-40, 3000))
    holes = np.zeros(image.shape, dtype=bool)
    holes[100:110, 100:140] = True
    mask.set("NO_DATA", holes)
    mask.set("SATURATED", np.roll(holes, 30, axis=0))
    masked = MaskedImage(Image(image, yx0=(-40, 3000)), mask=mask, variance=Image(variance, yx0=(-40, 3000)))
    result = detect(masked, psf=PSF)
    check_consistency(result)
    assert result.xy0 == (3000, -40)
    np.testing.assert_array_equal(result.bad, holes)
    assert result.metadata["excluded_mask_planes"] == "NO_DATA"
    assert result.metadata["stats_mask_planes"] == "SAT,NO_DATA"
    assert result.metadata["lacking_mask_planes"] == "BAD,EDGE"
    assert result.footprints.bbox[:, 0].min() >= 3000
    assert result.footprints.bbox[:, 1].min() >= -40
