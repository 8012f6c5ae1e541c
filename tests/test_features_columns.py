# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.
"""Tests of single features, against plain NumPy, SciPy, SEP and photutils."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage as nd
import sep
from lsst.meas.blendid.features import FEATURE_NAMES, measure_features
from lsst.meas.blendid.features.columns import (
    as_table,
    flatten_columns,
    join_records,
    name_columns,
    record_type,
)
from lsst.meas.blendid.features.planes import BANDS, make_planes
from lsst.meas.blendid.footprints import DetectionResult
from lsst.meas.blendid.footprints.significance import kernel_size
from lsst.meas.blendid.samples import FootprintSamples
from photutils.segmentation import SegmentationImage, SourceCatalog
from scipy.spatial import ConvexHull
from toy_samples import make_result, make_toy

SIGMA = 1.6
EIGHT = np.ones((3, 3), dtype=int)


@pytest.fixture(scope="module")
def scene() -> DetectionResult:
    """Random galaxies of several widths, and footprints of any shape around them."""
    rng = np.random.default_rng(11)
    ny, nx = 150, 190
    y, x = np.mgrid[:ny, :nx]
    image = np.zeros((ny, nx))
    for _ in range(45):
        cx, cy = rng.uniform(0, nx), rng.uniform(0, ny)
        a, b, angle = rng.uniform(1.6, 5.0), rng.uniform(1.6, 2.5), rng.uniform(0, np.pi)
        u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        v = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
        image += 10.0 ** rng.uniform(0.7, 1.8) * np.exp(-0.5 * ((u / a) ** 2 + (v / b) ** 2))
    image += rng.normal(size=image.shape)
    over = nd.gaussian_filter(image, SIGMA) > 1.0
    labels, _ = nd.label(nd.binary_dilation(over, iterations=3), EIGHT)
    return make_result(image, labels.astype(np.int32))


@pytest.fixture(scope="module")
def table(scene: DetectionResult) -> dict[str, np.ndarray]:
    values = measure_features(FootprintSamples([scene]))
    return {name: values[:, j].astype(float) for j, name in enumerate(FEATURE_NAMES)}


@pytest.fixture(scope="module")
def smoothed(scene: DetectionResult) -> dict[str, np.ndarray]:
    return {name: crop(plane, scene) for name, plane in make_planes(scene).bands.items()}


def test_columns_are_written_by_field_and_read_by_name() -> None:
    first = {"area": "Area.", "counts": {"n_3": "Over 3.", "n_5": "Over 5."}, "top": {"top_psf": "Highest."}}
    second = {"size": "Size."}
    assert list(flatten_columns(first)) == ["area", "n_3", "n_5", "top_psf"]
    assert flatten_columns(first)["n_5"] == "Over 5."
    records, levels = np.zeros(4, record_type(first)), np.zeros((4, 2), record_type(second))
    records["area"], records["top"] = np.arange(4), 9.0
    records["counts"][:, 1] = 5.0
    levels["size"][:, 1] = 2.0
    table = join_records([records, levels])
    assert table.shape == (4, 6) and table.dtype == np.float32
    named = name_columns(flatten_columns(first) | {"size_a": "", "size_b": ""}, table)
    np.testing.assert_array_equal(named["area"], np.arange(4))
    for name, value in (("n_3", 0.0), ("n_5", 5.0), ("top_psf", 9.0), ("size_a", 0.0), ("size_b", 2.0)):
        np.testing.assert_array_equal(named[name], np.full(4, value))
    assert np.shares_memory(as_table(records), records) and np.shares_memory(named, table)
    assert join_records([records[:0], levels[:0]]).shape == (0, 6)


def crop(plane: np.ndarray, scene: DetectionResult) -> np.ndarray:
    pad = (plane.shape[0] - scene.image.shape[0]) // 2
    return np.asarray(plane[pad:-pad, pad:-pad], dtype=float)


def main_peak(band: np.ndarray, inside: np.ndarray) -> tuple[int, int, float, float]:
    """Highest local maximum of a footprint (or pixel, without one), refined along x and y."""
    ny, nx = band.shape
    top = (nd.maximum_filter(band, 3, mode="constant", cval=-np.inf) == band) & inside & (band > 0)
    y, x = np.unravel_index(np.argmax(np.where(top if top.any() else inside, band, -np.inf)), band.shape)
    wide = np.pad(band, 1)
    fine = []
    for low, high, at in (
        (wide[y + 1, x], wide[y + 1, x + 2], x),
        (wide[y, x + 1], wide[y + 2, x + 1], y),
    ):
        curvature = low - 2.0 * band[y, x] + high
        shift = 0.5 * (low - high) / curvature if curvature < 0 else 0.0
        fine.append(at + np.clip(shift, -0.5, 0.5))
    return int(x), int(y), fine[0], fine[1]


def footprints(scene: DetectionResult) -> list[np.ndarray]:
    return [scene.footprints.labels == i + 1 for i in range(len(scene.footprints))]


def axis_numbers(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvalues and axes of second moments, and offsets from the centroid."""
    d = np.stack([x - np.average(x, weights=w), y - np.average(y, weights=w)])
    values, axes = np.linalg.eigh((w * d) @ d.T / w.sum())
    return values, axes, d


def test_planes_are_smoothed_images_in_units_of_their_noise(scene: DetectionResult) -> None:
    planes = make_planes(scene)
    spot = np.zeros((101, 101))
    spot[50, 50] = 1.0
    impulse = make_planes(make_result(spot, np.ones(spot.shape, np.int32)))

    def smooth(image: np.ndarray, width: float) -> np.ndarray:
        radius = max(kernel_size(width * SIGMA, 7.0), 3) // 2
        return nd.gaussian_filter(image, width * SIGMA, radius=radius, mode="constant")

    assert set(planes.bands) == set(BANDS)
    for name, (narrow, wide) in BANDS.items():
        image = scene.image.astype(float)
        expected = smooth(image, narrow) - (0.0 if wide is None else smooth(image, wide))
        response = crop(impulse.bands[name], impulse_result := make_result(spot, np.ones_like(spot, int)))
        assert impulse_result.image.shape == response.shape
        # White noise of unit width keeps it.
        assert np.sum(response**2) == pytest.approx(1.0, rel=1e-5)
        kernel = smooth(spot, narrow) - (0.0 if wide is None else smooth(spot, wide))
        expected /= np.sqrt(np.sum(kernel**2))
        np.testing.assert_allclose(crop(planes.bands[name], scene), expected, atol=2e-4 * expected.max())


def test_geometry(scene: DetectionResult, table: dict[str, np.ndarray]) -> None:
    for i, inside in enumerate(footprints(scene)):
        y, x = np.nonzero(inside)
        width, height = np.ptp(x) + 1, np.ptp(y) + 1
        padded = np.pad(inside, 1).astype(int)
        perimeter = np.abs(np.diff(padded, axis=0)).sum() + np.abs(np.diff(padded, axis=1)).sum()
        values, _, _ = axis_numbers(x, y, np.ones(x.size))
        values = values + 1.0 / 12.0
        corners = np.concatenate([np.stack([x + dx, y + dy], axis=1) for dx in (0, 1) for dy in (0, 1)])
        expected = {
            "area": x.size / SIGMA**2,
            "bbox_long": max(width, height) / SIGMA,
            "bbox_short": min(width, height) / SIGMA,
            "bbox_fill": x.size / (width * height),
            "footprint_ellipticity": (values[1] - values[0]) / values.sum(),
            "footprint_spread": values.sum() * 2.0 * np.pi / x.size,
            "compactness": 4.0 * np.pi * x.size / perimeter**2,
            "perimeter_excess": perimeter / (2 * (width + height)),
            "convexity": x.size / ConvexHull(corners).volume,
        }
        for name, value in expected.items():
            assert table[name][i] == pytest.approx(value, rel=1e-5, abs=1e-5), name
    # Concave footprints are among them.
    assert table["convexity"].min() < 0.8 and table["perimeter_excess"].max() > 1.0


@pytest.mark.parametrize("band", list(BANDS))
def test_peaks(
    scene: DetectionResult, table: dict[str, np.ndarray], smoothed: dict[str, np.ndarray], band: str
) -> None:
    plane = smoothed[band]
    # Planes go on beyond the edge of the image.
    planes = make_planes(scene)
    wide = np.asarray(planes.bands[band], dtype=float)
    local = crop(nd.maximum_filter(wide, 3) == wide, scene).astype(bool) & (plane > 0)
    thresholds = [n for n in FEATURE_NAMES if n.startswith(f"n_{band}_") and n.rsplit("_", 1)[1].isdigit()]
    assert len(thresholds) >= 4
    several = 0
    for i, inside in enumerate(footprints(scene)):
        y, x = np.nonzero(local & inside)
        order = np.argsort(-plane[y, x])
        y, x = y[order], x[order]
        value = plane[y, x]
        for name in thresholds:
            assert table[name][i] == np.count_nonzero(value >= float(name.rsplit("_", 1)[1])), name
        best = np.pad(value, (0, 3))
        for j, name in enumerate(("first", "second", "third")):
            assert table[f"{name}_{band}"][i] == pytest.approx(best[j], rel=1e-5, abs=1e-6)
        if value.size > 1:
            several += 1
            assert table[f"ratio_{band}"][i] == pytest.approx(value[1] / value[0], rel=1e-5)
            distance = np.hypot(x[1] - x[0], y[1] - y[0])
            assert table[f"separation_{band}"][i] == pytest.approx(distance / SIGMA, rel=1e-5)
            f = np.linspace(0.0, 1.0, int(np.ceil(2 * distance)) + 1)
            line = nd.map_coordinates(plane, [y[0] + f * (y[1] - y[0]), x[0] + f * (x[1] - x[0])], order=1)
            assert table[f"saddle_{band}"][i] == pytest.approx(line.min() / value[1], rel=1e-3, abs=1e-3)
        else:
            assert [table[f"{k}_{band}"][i] for k in ("ratio", "separation", "saddle")] == [0.0, 0.0, 1.0]
    assert several > 5


def test_fluxes_and_apertures(
    scene: DetectionResult, table: dict[str, np.ndarray], smoothed: dict[str, np.ndarray]
) -> None:
    pixels = scene.image.astype(float)
    for i, inside in enumerate(footprints(scene)):
        total, n = pixels[inside].sum(), inside.sum()
        assert table["flux"][i] == pytest.approx(total, rel=1e-4)
        assert table["flux_snr"][i] == pytest.approx(total / np.sqrt(n), rel=1e-4)
        assert table["surface_brightness"][i] == pytest.approx(total / n, rel=1e-4)
        assert table["brightest_pixel"][i] == pytest.approx(pixels[inside].max(), rel=1e-5)
        x, y, fx, fy = main_peak(smoothed["psf"], inside)
        assert table["peak_sharpness"][i] == pytest.approx(
            smoothed["fine"][y, x] / smoothed["psf"][y, x], rel=1e-4
        )
        own = np.where(inside, pixels, 0.0)
        sums = {}
        for r in (1.0, 2.0, 3.0, 4.5, 6.5):
            # One sample per pixel: whole pixels by their centre, as here.
            sums[r], _, _ = sep.sum_circle(own, [fx], [fy], r * SIGMA, subpix=1)
            assert table[f"share_{r:g}"][i] == pytest.approx(
                float(np.clip(sums[r][0] / total, -2.0, 5.0)), rel=2e-3, abs=1e-3
            )
        members, _, _ = sep.sum_circle(inside.astype(float), [fx], [fy], 3.0 * SIGMA, subpix=1)
        assert table["aperture_snr"][i] == pytest.approx(
            float(sums[3.0][0] / np.sqrt(members[0])), rel=2e-3, abs=1e-3
        )


def test_moments_of_light(
    scene: DetectionResult, table: dict[str, np.ndarray], smoothed: dict[str, np.ndarray]
) -> None:
    light = np.maximum(smoothed["psf"], 0.0)
    for i, inside in enumerate(footprints(scene)):
        y, x = np.nonzero(inside)
        w = light[inside]
        values, axes, d = axis_numbers(x, y, w)
        assert table["light_size"][i] == pytest.approx(np.sqrt(values.sum() / 2) / SIGMA, rel=1e-4)
        assert table["light_ellipticity"][i] == pytest.approx(
            (values[1] - values[0]) / values.sum(), rel=1e-3, abs=1e-4
        )
        along = axes.T @ d
        for j, name in enumerate(("minor", "major")):
            third, fourth = (np.average(along[j] ** k, weights=w) for k in (3, 4))
            assert table[f"skewness_{name}"][i] == pytest.approx(
                abs(third) / values[j] ** 1.5, rel=1e-2, abs=1e-3
            )
            assert table[f"kurtosis_{name}"][i] == pytest.approx(fourth / values[j] ** 2, rel=1e-3)
        cx, cy = np.average(x, weights=w), np.average(y, weights=w)
        _, _, fx, fy = main_peak(smoothed["psf"], inside)
        assert table["light_offset"][i] == pytest.approx(
            np.hypot(cx - fx, cy - fy) / SIGMA, rel=1e-3, abs=1e-4
        )
        offset = np.hypot(cx - x.mean(), cy - y.mean()) / SIGMA
        assert table["footprint_offset"][i] == pytest.approx(offset, rel=1e-3, abs=1e-4)
        squared, _, _ = axis_numbers(x, y, w**2)
        assert table["squared_size"][i] == pytest.approx(np.sqrt(squared.sum() / 2) / SIGMA, rel=1e-4)


def test_sizes_are_those_of_photutils(
    scene: DetectionResult, table: dict[str, np.ndarray], smoothed: dict[str, np.ndarray]
) -> None:
    catalog = SourceCatalog(np.maximum(smoothed["psf"], 0.0), SegmentationImage(scene.footprints.labels))
    a, b = catalog.semimajor_axis.value, catalog.semiminor_axis.value
    np.testing.assert_allclose(table["light_size"], np.sqrt((a**2 + b**2) / 2) / SIGMA, rtol=1e-3)
    np.testing.assert_allclose(
        table["light_ellipticity"], (a**2 - b**2) / (a**2 + b**2), rtol=2e-3, atol=1e-3
    )


def test_asymmetry(
    scene: DetectionResult, table: dict[str, np.ndarray], smoothed: dict[str, np.ndarray]
) -> None:
    for i, inside in enumerate(footprints(scene)):
        own = np.where(inside, smoothed["psf"], 0.0)
        _, _, fx, fy = main_peak(smoothed["psf"], inside)
        tx, ty = int(np.rint(2 * fx)), int(np.rint(2 * fy))
        y, x = np.nonzero(inside)
        oy, ox = ty - y, tx - x
        there = (oy >= 0) & (oy < own.shape[0]) & (ox >= 0) & (ox < own.shape[1])
        other, paired = np.zeros(x.size), np.zeros(x.size, bool)
        other[there], paired[there] = own[oy[there], ox[there]], inside[oy[there], ox[there]]
        difference = own[y, x] - other
        noise = np.where(paired, 2.0, 1.0).sum()
        expected = (np.sum(difference**2) - noise) / max(np.sum(own[y, x] ** 2), 0.5 * noise)
        assert table["asymmetry"][i] == pytest.approx(expected, rel=1e-3, abs=1e-4)
        best = np.argmax(difference)
        assert table["asymmetry_peak"][i] == pytest.approx(difference[best] / np.sqrt(2), rel=1e-4)
        distance = np.hypot(x[best] - tx / 2, y[best] - ty / 2) / SIGMA
        assert table["asymmetry_distance"][i] == pytest.approx(distance, rel=1e-4)
        light = np.maximum(own[y, x], 0).sum()
        assert table["asymmetry_share"][i] == pytest.approx(np.maximum(difference, 0).sum() / light, rel=1e-3)


@pytest.mark.parametrize("window", [1.5, 3.0])
def test_windows(
    scene: DetectionResult, table: dict[str, np.ndarray], smoothed: dict[str, np.ndarray], window: float
) -> None:
    tag = f"{window:g}"
    for i, inside in enumerate(footprints(scene)):
        _, _, fx, fy = main_peak(smoothed["psf"], inside)
        y, x = np.nonzero(inside)
        z = ((x - fx) + 1j * (y - fy)) / SIGMA
        near = np.abs(z) <= 3.0 * window
        z = z[near]
        weight = np.exp(-0.5 * np.abs(z) ** 2 / window**2)
        w = weight * scene.image[inside][near]
        total = w.sum()
        assert table[f"window_snr_{tag}"][i] == pytest.approx(total / np.sqrt(np.sum(weight**2)), rel=1e-3)

        def mean(values: np.ndarray, w: np.ndarray = w, total: float = total) -> complex:
            return complex((w * values).sum() / total)

        size = mean(np.abs(z) ** 2).real
        expected = {
            "size": size,
            "shift": abs(mean(z)),
            "ellipticity": min(abs(mean(z**2)) / size, 2.0),
            "m31": abs(mean(z * np.abs(z) ** 2)),
            "m33": abs(mean(z**3)),
            "m40": np.clip(mean(np.abs(z) ** 4).real / size**2, 0.0, 20.0),
            "m44": abs(mean(z**4)),
        }
        for name, value in expected.items():
            assert table[f"window_{name}_{tag}"][i] == pytest.approx(value, rel=5e-3, abs=2e-3), name


def test_isophotes(
    scene: DetectionResult, table: dict[str, np.ndarray], smoothed: dict[str, np.ndarray]
) -> None:
    band, most = smoothed["psf"], 0
    for i, inside in enumerate(footprints(scene)):
        x0, y0, fx, fy = main_peak(band, inside)
        for f in (0.75, 0.5, 0.3, 0.15):
            level = max(f * band[y0, x0], 2.0)
            parts, n = nd.label((band >= level) & inside, EIGHT)
            own = parts == parts[y0, x0]
            y, x = np.nonzero(own)
            values, _, _ = axis_numbers(x, y, np.ones(x.size))
            values = values + 1.0 / 12.0
            assert table[f"iso_parts_{f:g}"][i] == n
            most = max(most, n)
            assert table[f"iso_area_{f:g}"][i] == pytest.approx((parts > 0).sum() / SIGMA**2, rel=1e-5)
            assert table[f"iso_ellipticity_{f:g}"][i] == pytest.approx(
                (values[1] - values[0]) / values.sum(), abs=1e-5
            )
            assert table[f"iso_spread_{f:g}"][i] == pytest.approx(values.sum() * 2 * np.pi / x.size, rel=1e-5)
            offset = np.hypot(x.mean() - fx, y.mean() - fy) / SIGMA
            assert table[f"iso_offset_{f:g}"][i] == pytest.approx(offset, rel=1e-3, abs=1e-4)
    assert most >= 3


def test_neighbors() -> None:
    result, _ = make_toy(6, seed=2)
    table = measure_features(
        FootprintSamples([result]), ["nearest_footprint", "nearest_gap", "neighbors", "neighbor_cover"]
    )
    centroid, area = result.footprints.centroid / SIGMA, result.footprints.area / SIGMA**2
    distance = np.hypot(*(centroid[:, None] - centroid).T)
    np.fill_diagonal(distance, np.inf)
    radius = np.sqrt(area / np.pi)
    np.testing.assert_allclose(table[:, 0], distance.min(axis=1), rtol=1e-5)
    near = distance <= 40.0
    np.testing.assert_array_equal(table[:, 2], near.sum(axis=1))
    np.testing.assert_allclose(table[:, 3], near @ area / (np.pi * 40.0**2), rtol=1e-5)
    gap = np.where(near, distance - radius[:, None] - radius, 100.0)
    np.testing.assert_allclose(table[:, 1], gap.min(axis=1), rtol=1e-4)


def test_star_and_galaxy_leave_nothing_of_their_own_profile() -> None:
    """One source alone: what is left is small; a second one beside it is found where it is."""
    y, x = np.mgrid[:61, :61]
    psf = make_toy(2)[0].psf.image
    star = np.zeros((61, 61))
    star[30 - 12 : 30 + 13, 30 - 12 : 30 + 13] = psf * 2000.0
    galaxy = 40.0 * np.exp(-0.5 * (((x - 30) / 3.2) ** 2 + ((y - 30) / 2.2) ** 2))
    pair = galaxy + 20.0 * np.exp(-0.5 * ((x - 30) ** 2 + (y - 35) ** 2) / SIGMA**2)
    labels = np.where((x - 30) ** 2 + (y - 30) ** 2 < 12**2, 1, 0).astype(np.int32)
    names = ["gauss_residual", "gauss_distance", "gauss_across", "star_residual", "star_share", "first_psf"]
    rows = {
        name: dict(
            zip(
                names, measure_features(FootprintSamples([make_result(image, labels)]), names)[0], strict=True
            )
        )
        for name, image in (("star", star), ("galaxy", galaxy), ("pair", pair))
    }
    assert rows["star"]["star_residual"] < 0.02 * rows["star"]["first_psf"]
    assert rows["star"]["star_share"] < 0.02
    assert rows["galaxy"]["gauss_residual"] < 0.03 * rows["galaxy"]["first_psf"]
    assert rows["galaxy"]["star_residual"] > 0.1 * rows["galaxy"]["first_psf"]
    assert rows["pair"]["gauss_residual"] > 0.15 * rows["pair"]["first_psf"]
    assert rows["pair"]["gauss_distance"] == pytest.approx(5.0 / SIGMA, abs=1.2)
