# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Pictures of coadds with their footprints."""

from __future__ import annotations

import numpy as np
from lsst.meas.blendid._colors import INFERRED_PEAK
from lsst.meas.blendid.evaluation.drawing import probability_colormap
from lsst.meas.blendid.evaluation.pictures import footprint_overlay, patch_overview
from matplotlib.colors import to_hex
from toy_coadd_tables import toy_coadd_tables


def test_overlay_colours_outlines_and_peaks() -> None:
    image, blend, peaks, spans = toy_coadd_tables()
    figure = footprint_overlay(image, 1.0, (100, 200), blend, peaks, spans, pixel_scale=0.2)
    lines, dots = figure.axes[0].collections
    colours = {tuple(np.round(colour, 4)) for colour in lines.get_colors()}
    assert colours == {tuple(np.round(probability_colormap()(float(np.float32(p))), 4)) for p in (0.1, 0.9)}
    np.testing.assert_allclose(dots.get_array(), [0.1, 0.9, 0.9], rtol=1e-6)
    np.testing.assert_array_equal(dots.get_offsets(), np.stack([peaks["f_x"], peaks["f_y"]], axis=1))
    # A peak that is probably nothing is a small dot.
    sizes = dots.get_sizes()
    assert sizes[0] == sizes[1] > 2.0 * sizes[2]
    figure.canvas.draw()


def test_overlay_shows_inferred_peaks_otherwise() -> None:
    image, blend, peaks, spans = toy_coadd_tables()
    peaks["is_inferred"] = [False, False, True]
    figure = footprint_overlay(image, 1.0, (100, 200), blend, peaks, spans)
    _, dots, diamonds = figure.axes[0].collections
    assert len(dots.get_offsets()) == 2
    np.testing.assert_array_equal(diamonds.get_offsets(), [[145.0, 230.0]])
    assert to_hex(diamonds.get_edgecolors()[0]) == INFERRED_PEAK
    assert len(diamonds.get_facecolors()) == 0
    figure.canvas.draw()


def test_overlay_leaves_out_what_is_outside_of_the_window() -> None:
    image, blend, peaks, spans = toy_coadd_tables()
    figure = footprint_overlay(image, 1.0, (100, 200), blend, peaks, spans, window=(100, 200, 119, 214))
    lines, dots = figure.axes[0].collections
    assert len(dots.get_offsets()) == 1
    assert len({tuple(colour) for colour in lines.get_colors()}) == 1


def test_overview_lays_coadds_side_by_side() -> None:
    # Each column of the toy is repeated, so that the mosaic of 2640 columns is averaged down by three.
    image = np.repeat(toy_coadd_tables()[0], 24, axis=1)
    figure = patch_overview(
        [image, image], [1.0, 1.0], [(0, 0), (1200, 0)], ["a", "b"], window=(5, 5, 20, 20)
    )
    shown = figure.axes[0].images[0].get_array()
    assert shown.shape == (image.shape[0] // 3, (1200 + image.shape[1]) // 3)
    assert [text.get_text() for text in figure.axes[0].texts] == ["a", "b"]
    # Two borders, one shared strip, one frame.
    assert len(figure.axes[0].patches) == 4
