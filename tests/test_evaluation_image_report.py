# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The page of one image: what it tells of peaks."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from lsst.meas.blendid import IdentifiedBlends, identify_blends
from lsst.meas.blendid.evaluation.image_report import ReportedImage, write_image_report
from lsst.meas.blendid.images.psf import kolmogorov_kernel
from lsst.meas.blendid.peak_matching import LIKELY
from toy_peaks import with_inferred


@pytest.fixture(scope="module")
def blends() -> IdentifiedBlends:
    """Pairs and single sources on noise."""
    rng = np.random.default_rng(12)
    pixels = rng.normal(0.0, 1.0, (260, 260))
    kernel = kolmogorov_kernel(3.5, 41)
    for i in range(25):
        x, y = 30 + 46 * (i % 5), 30 + 46 * (i // 5)
        for k in range(1 + i % 2):
            dx, dy = x + 4 * k, y - 3 * k
            pixels[dy - 20 : dy + 21, dx - 20 : dx + 21] += rng.uniform(300.0, 900.0) * kernel
    return identify_blends(pixels.astype("f4"), psf_fwhm=3.5, model="peaks-i-1", localizer="none")


def write(blends: IdentifiedBlends, tables: object, path: Path) -> str:
    """Text of the page of these tables."""
    image = ReportedImage("IMAGE.fits", "plain FITS", tables, blends.detection)  # type: ignore[arg-type]
    write_image_report(path, image)
    return re.sub(r'"data:image/png;base64,[^"]*"', '""', path.read_text(encoding="utf-8"))


def test_inferred_peaks_are_listed(blends: IdentifiedBlends, tmp_path: Path) -> None:
    tables = with_inferred(blends)
    page = write(blends, tables, tmp_path / "x.html")
    peaks = tables.blend_peak
    inferred = peaks[peaks["is_inferred"]]
    assert f"<b>{len(peaks) - len(inferred)}</b><span>detected peaks" in page
    likely = np.count_nonzero(inferred["probability"] > LIKELY)
    assert f"<b>{likely}</b><span>likely galaxies without a peak (p over {LIKELY:g})" in page
    assert "A pink diamond is an inferred peak" in page
    section = page[page.index("Galaxies without a peak of their own") :]
    section = section[: section.index("<h2>")]
    assert f"{inferred['probability'].sum():.1f} galaxies expected among all" in section
    cells = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", section)][1:]
    best = inferred[np.argsort(-inferred["probability"])][:12]
    assert [row[-1] for row in cells] == [f"{p:.3f}" for p in best["probability"]]
    assert [row[:2] for row in cells] == [
        [str(f), str(k)] for f, k in zip(best["footprint_id"], best["peak_id"], strict=True)
    ]
    # Without positions on the sky: footprint, peak, x, y, error.
    for row, peak in zip(cells, best, strict=True):
        matrix = [[peak["xx"], peak["xy"]], [peak["xy"], peak["yy"]]]
        assert row[4] == f"{np.sqrt(np.linalg.eigvalsh(matrix)[1]):.2f}"


def test_without_inferred_peaks_nothing_is_said_of_them(blends: IdentifiedBlends, tmp_path: Path) -> None:
    page = write(blends, blends, tmp_path / "x.html")
    # In the legend of the cutouts only.
    assert page.count("inferred") == 1 and "detected peaks</span>" in page


def test_inferred_peaks_without_ellipse_and_significance(blends: IdentifiedBlends, tmp_path: Path) -> None:
    tables = with_inferred(blends)
    peaks = tables.blend_peak.copy()
    for name in ("xx", "yy", "xy", "significance"):
        peaks[name][:] = np.nan
    page = write(blends, dataclasses.replace(tables, blend_peak=peaks), tmp_path / "x.html")
    assert "<td>–</td><td>–</td>" in page and "nan" not in page


def test_localizer_is_named(blends: IdentifiedBlends, tmp_path: Path) -> None:
    assert "Localiser" not in write(blends, blends, tmp_path / "x.html")
    blend = blends.blend.copy()
    blend.meta |= {"localizer": "mine", "model_of_localizer": "mine-i-1"}
    page = write(blends, dataclasses.replace(with_inferred(blends), blend=blend), tmp_path / "x.html")
    assert "<td>Localiser mine</td><td>model mine-i-1</td>" in page
