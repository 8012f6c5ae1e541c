# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Pictures of simulated scenes and stamps for the user guide.

Everything is drawn from fixed seeds. The outlines are those of footprints at 5 sigma of
the variance plane: orange around more than one true galaxy of S/N >= 5, blue around one,
grey around none. The stamps of real galaxies need HST COSMOS images in
``$BLENDID_DATA/cosmos_real``.

    python benchmarks/gallery.py --out doc/images
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table, vstack
from lsst.meas.blendid import identify_blends
from lsst.meas.blendid.evaluation.drawing import (
    INK,
    MARK,
    MUTED,
    asinh_stretch,
    draw_outlines,
    new_figure,
    show_image,
    styled,
)
from lsst.meas.blendid.evaluation.footprint_cards import choose_footprints, footprint_cards
from lsst.meas.blendid.footprints import FootprintConfig, detect
from lsst.meas.blendid.images.masks import mask_to_bool
from lsst.meas.blendid.images.psf import summarize_psf
from lsst.meas.blendid.labels import count_galaxies
from lsst.meas.blendid.simulation import SimulatedCoadd, get_survey, make_catalog, simulate_scene
from lsst.meas.blendid.simulation.config import SceneConfig
from lsst.meas.blendid.simulation.stamps import StampSet
from lsst.meas.blendid.simulation.stamps.blendhunter import make_blendhunter, make_blendhunter_real
from lsst.meas.blendid.simulation.stamps.coin import CENTRAL, COMPANION, make_coin
from lsst.meas.blendid.training import ANY_BAND, randomized_scenes
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from scipy import ndimage

DPI = 100
GAP, TITLE, CAPTION = 10, 24, 44
"""Pixels between panels, above them and below them."""
SEEDS = {
    "bands": 8,
    "population": 20,
    "bright": 6,
    "modes": 5,
    "footprints": 11,
    "stars": 5,
    "sky": 6,
    "noise": 12,
    "domain": 31,
}
"""Fields that show what a picture is about."""


class Sheet:
    """A figure of panels whose pixels are whole numbers of image pixels.

    Parameters
    ----------
    rows, columns
        Number of panels.
    width, height
        Size of a panel, pixels of the figure.
    caption
        Room below each panel, pixels.
    """

    def __init__(self, rows: int, columns: int, width: int, height: int, *, caption: int = 0) -> None:
        self.rows, self.columns, self.panel, self.caption = rows, columns, (width, height), caption
        self.width = columns * width + (columns - 1) * GAP
        self.height = rows * (height + TITLE + caption) + (rows - 1) * GAP
        self.figure: Figure = new_figure(self.width / DPI, self.height / DPI)
        self.figure.set_layout_engine("none")
        self._used = 0

    def add(self, title: str, note: str = "") -> Axes:
        """Add the next panel."""
        row, column = divmod(self._used, self.columns)
        self._used += 1
        width, height = self.panel
        x = column * (width + GAP)
        top = row * (height + TITLE + self.caption + GAP) + TITLE
        y = self.height - top - height
        axes = self.figure.add_axes(
            (x / self.width, y / self.height, width / self.width, height / self.height)
        )
        self.figure.text(
            x / self.width,
            (y + height + 6) / self.height,
            title,
            fontsize=10.5,
            fontweight="bold",
            color=INK,
            va="bottom",
        )
        if note:
            self.figure.text(
                (x + width) / self.width,
                (y + height + 6) / self.height,
                note,
                fontsize=9,
                color=MUTED,
                va="bottom",
                ha="right",
            )
        return axes


def make(source: Any = None, *, size: tuple[int, int] = (300, 300), seed: int = 5, **kwargs: Any) -> Any:
    """Simulate a small scene."""
    return simulate_scene(source, size=size, seed=seed, **kwargs)


def scene_config(**groups: dict[str, Any]) -> SceneConfig:
    """Make a config: ``population={"starDensity": 10}`` and so on."""
    config = SceneConfig()
    for group, fields in groups.items():
        getattr(config, group).update(**fields)
    return config


def sky_sigma(scene: SimulatedCoadd) -> float:
    """Noise of a pixel of the sky, nJy."""
    return float(scene.truth.meta["sky_sigma"])


def show(
    axes: Axes, scene: SimulatedCoadd, *, outlines: bool = True, config: FootprintConfig | None = None
) -> None:
    """Draw a scene with its footprints."""
    coadd = scene.coadd
    x0, y0 = coadd.bbox.x.min, coadd.bbox.y.min
    window = (x0, y0, coadd.bbox.x.max, coadd.bbox.y.max)
    show_image(axes, asinh_stretch(coadd.image.array, sky_sigma(scene), high=60.0), window)
    if outlines:
        result = detect(coadd, psf=summarize_psf(coadd.psf, coadd.bbox), config=config)
        counts = count_galaxies(result.footprints, scene.truth)
        probability = np.array([np.nan, *np.choose(np.minimum(counts, 2), [np.nan, 0.0, 1.0])])
        draw_outlines(axes, result.footprints.labels, (x0, y0), probability, linewidth=0.9)
    axes.set_xlim(x0 - 0.5, window[2] + 0.5)
    axes.set_ylim(y0 - 0.5, window[3] + 0.5)


@styled
def sizes() -> Figure:
    """One sky with galaxies of different sizes."""
    sheet = Sheet(2, 2, 480, 480)
    names = {
        "cosmodc2": "sizes fitted to cosmoDC2",
        "cosmodc2-galaxies": "joint distribution of cosmoDC2",
        "1.6x": "larger",
        "large": "nearer to HST",
    }
    for name, note in names.items():
        show(sheet.add(name, note), make(size=(240, 240), size_model=name))
    return sheet.figure


@styled
def bands() -> Figure:
    """One field in six bands, and in colours."""
    sheet = Sheet(2, 4, 400, 400)
    scenes = {
        band: make(size=(180, 180), seed=SEEDS["bands"], band=band, size_model="cosmodc2-galaxies")
        for band in "ugrizy"
    }
    for band, scene in scenes.items():
        show(sheet.add(band, depth(scene)), scene, outlines=False)
    # Red, green and blue; galaxies are faint in g.
    for names, weights in (("irg", (0.8, 1.0, 1.4)), ("yzi", (1.0, 1.0, 1.2))):
        axes = sheet.add("".join(reversed(names)), "colours")
        axes.imshow(
            colours([scenes[band] for band in names], weights), origin="lower", interpolation="nearest"
        )
        axes.set_axis_off()
    return sheet.figure


def depth(scene: SimulatedCoadd) -> str:
    """Magnitude of a point source of S/N 5."""
    truth = scene.truth
    ratio = np.median(np.asarray(truth["flux"]) / np.asarray(truth["snr"]))
    return f"5σ at {31.4 - 2.5 * np.log10(5.0 * ratio):.1f}"


def colours(scenes: Sequence[SimulatedCoadd], weights: Sequence[float]) -> np.ndarray:
    """Red, green and blue, as Lupton et al. (2004, PASP 116, 133): the stretch keeps the colours."""
    planes = np.stack([s.coadd.image.array for s in scenes], axis=-1) * np.array(weights)
    # The middle band sets the scale.
    noise = sky_sigma(scenes[1])
    mean = planes.mean(axis=-1, keepdims=True)
    stretched = asinh_stretch(mean, noise, low=0.5, softening=3.0, high=100.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        rgb = np.where(mean > 0.0, planes * stretched / mean, 0.0)
    peak = np.maximum(rgb.max(axis=-1, keepdims=True), 1.0)
    return np.clip(rgb / peak, 0.0, 1.0)


@styled
def population() -> Figure:
    """What can be changed about the objects."""
    sheet = Sheet(2, 3, 400, 400)
    populations = {
        ("as they are", ""): {},
        ("sizes × 2", "sizeScale=2"): {"sizeScale": 2.0},
        ("counts × 2", "countsScale=2"): {"countsScale": 2.0},
        ("clustering × 3", "clustering=3"): {"clustering": 3.0},
        ("stars", "starDensity=60"): {"starDensity": 60.0},
        ("clumpy discs", "clumpyFraction=1, clumpLight=0.5"): {
            "clumpyFraction": 1.0,
            "clumpLight": 0.5,
            "sizeScale": 2.0,
        },
    }
    for (title, note), fields in populations.items():
        scene = make(size=(200, 200), seed=SEEDS["population"], config=scene_config(population=fields))
        show(sheet.add(title, note), scene)
    return sheet.figure


STRUCTURES: dict[str, dict[str, float]] = {
    "plain": {},
    "bar": {"bar_fraction": 0.25},
    "two arms": {"arm_fraction": 0.45, "n_arms": 2},
    "three arms": {"arm_fraction": 0.45, "n_arms": 3},
    "barred spiral": {"bar_fraction": 0.15, "arm_fraction": 0.45, "n_arms": 2},
    "ring": {"ring_fraction": 0.25},
    "dust lane": {"dust_depth": 0.45, "axis_ratio": 0.5},
    "edge-on": {"axis_ratio": 0.15},
    "knots": {"n_knots": 8, "knot_fraction": 0.35},
    "tidal tail": {"tail_fraction": 0.18},
    "Sérsic n = 0.5": {"disc_sersic": 0.5, "bulge_fraction": 0.0},
    "merger": {"tail_fraction": 0.12},
}
"""Columns of the catalogue that the galaxies of the picture have."""
STRUCTURE_IDS = {"two arms": 8, "three arms": 13, "barred spiral": 13, "tidal tail": 6, "merger": 21}
"""Numbers of galaxies, which decide on the forms of their structures, that show what they are."""


def structured(kind: str, width: int, mag: float, radius: float) -> Table:
    """Catalogue of one galaxy in the middle of a field of a width in pixels; of a merger, of two."""
    middle = 0.5 * width
    galaxy = {
        "id": STRUCTURE_IDS.get(kind, 3),
        "x": middle,
        "y": middle,
        "mag_i": mag,
        "half_light_radius": radius,
        "axis_ratio": 0.8,
        "bulge_axis_ratio": 0.9,
        "bulge_fraction": 0.1,
        "position_angle": 30.0,
        "kappa": 0.0,
    } | STRUCTURES[kind]
    rows = [galaxy]
    if kind == "merger":
        shift = 1.3 * radius / 0.2
        second = {"id": 40, "x": middle + shift, "y": middle + 0.7 * shift, "mag_i": mag + 0.8}
        rows.append(galaxy | second | {"half_light_radius": 0.6 * radius, "axis_ratio": 0.5})
    return Table(rows)


@styled
def structures() -> Figure:
    """Galaxies with one structure each, without noise and as a coadd shows a fainter one."""
    sheet = Sheet(4, 6, 150, 150)
    # So many exposures that no noise is seen.
    deep = replace(get_survey("i"), n_exposures=200_000)
    for kind in STRUCTURES:
        scene = make(structured(kind, 120, 17.0, 2.6), size=(120, 120), band=deep)
        image = scene.coadd.image.array
        axes = sheet.add(kind)
        show_image(axes, asinh_stretch(image, 0.015 * float(image.max()), high=60.0), (0, 0, 119, 119))
        scene = make(structured(kind, 60, 20.0, 1.2), size=(60, 60))
        show(sheet.add("", "i = 20"), scene, outlines=False)
    return sheet.figure


@styled
def bright() -> Figure:
    """A field, and the same with bright galaxies and mergers."""
    sheet = Sheet(1, 2, 440, 440)
    show(sheet.add("as it is"), make(size=(400, 400), seed=SEEDS["bright"]))
    config = scene_config(population={"brightDensity": 8.0, "mergerFraction": 0.3})
    shares = ("bar", "spiral", "ring", "dust", "tail")
    config.population.structures.update(sersicFraction=0.5, **{f"{name}Fraction": 0.4 for name in shares})
    note = "brightDensity=8, mergerFraction=0.3"
    show(sheet.add("bright galaxies", note), make(size=(400, 400), seed=SEEDS["bright"], config=config))
    return sheet.figure


@styled
def variation() -> Figure:
    """Seeing, ellipticity and depth that vary from cell to cell."""
    fields = {"fwhmScatter": 0.08, "ellipticityScatter": 0.03, "depthScatter": 0.25, "skyScatter": 0.05}
    scene = make(size=(1500, 1500), config=scene_config(variation=fields))
    sheet = Sheet(1, 3, 420, 420, caption=CAPTION)
    coadd = scene.coadd
    shape = coadd.patch.cells.grid_size
    rows, columns = int(shape.i), int(shape.j)
    cell = coadd.patch.cells.cell_shape
    noise = np.empty((rows, columns))
    moments = np.empty((rows, columns, 3))
    variance = coadd.variance.array
    for i in range(rows):
        for j in range(columns):
            part = variance[i * cell.y : (i + 1) * cell.y, j * cell.x : (j + 1) * cell.x]
            # The sky alone: sources add to the variance.
            noise[i, j] = np.sqrt(part.min())
            moments[i, j] = second_moments(coadd.psf, (j + 0.5) * cell.x, (i + 0.5) * cell.y)
    xx, yy, xy = np.moveaxis(moments, -1, 0)
    fwhm = 2.3548 * (xx * yy - xy**2) ** 0.25 * 0.2
    axes = sheet.add("seeing and its ellipticity", "pixel included")
    mapped(sheet, axes, fwhm, "FWHM of the Gaussian of the same moments [arcsec]")
    total = xx + yy
    e1, e2 = (xx - yy) / total, 2.0 * xy / total
    angle, length = 0.5 * np.arctan2(e2, e1), 5.0 * np.hypot(e1, e2)
    y, x = np.mgrid[:rows, :columns]
    for sign in (-1.0, 1.0):
        dx, dy = sign * length * np.cos(angle), sign * length * np.sin(angle)
        axes.plot([x.ravel(), (x + dx).ravel()], [y.ravel(), (y + dy).ravel()], color="white", lw=1.2)
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(-0.5, rows - 0.5)
    axes = sheet.add("noise", "of the sky")
    mapped(sheet, axes, noise, "standard deviation of a pixel [nJy]")
    axes = sheet.add("image", f"{rows} × {columns} cells")
    step = 3
    height, width = (n // step * step for n in coadd.image.array.shape)
    small = coadd.image.array[:height, :width].reshape(height // step, step, -1, step).mean(axis=(1, 3))
    show_image(
        axes, asinh_stretch(small * step, sky_sigma(scene)), (0, 0, width // step - 1, height // step - 1)
    )
    return sheet.figure


@styled
def psf() -> Figure:
    """A star in each family of PSFs, an elliptical one, one that is told too wide; profiles of all."""
    families: dict[tuple[str, str], dict[str, Any]] = {
        ("kolmogorov", ""): {},
        ("moffat", "beta=2.5"): {"profile": "moffat", "beta": 2.5},
        ("optics", "opticsShare=1"): {"profile": "optics", "opticsShare": 1.0},
        ("double-gaussian", "for tests"): {"profile": "double-gaussian"},
        ("elliptical", "ellipticity=0.1"): {"ellipticity": 0.1, "positionAngle": 30.0},
        ("told too wide", "widthError=0.1: residual"): {"widthError": 0.1},
    }
    sheet = Sheet(2, 4, 300, 300)
    star = Table({"x": [30.0], "y": [30.0], "mag_i": [18.5], "is_star": [True]})
    curves: dict[str, np.ndarray] = {}
    for (title, note), fields in families.items():
        scene = make(star, size=(61, 61), config=scene_config(psf=fields))
        image, sigma = scene.coadd.image.array, sky_sigma(scene)
        told = np.asarray(scene.coadd.psf.compute_kernel_image(x=30, y=30).array, dtype=float)
        half = len(told) // 2
        if "widthError" in fields:
            inner = slice(30 - half, 31 + half)
            residual = image.astype(float)
            residual[inner, inner] -= float(scene.truth["flux"][0]) * told
            axes = sheet.add(title, note)
            axes.imshow(residual / sigma, origin="lower", cmap="RdBu_r", vmin=-60.0, vmax=60.0)
            axes.set_axis_off()
            continue
        show_image(sheet.add(title, note), asinh_stretch(image, sigma, high=600.0), (0, 0, 60, 60))
        curves[title] = told[half, half:] / told[half, half]
    axes = sheet.figure.add_axes((0.56, 0.075, 0.43, 0.36))
    for title, curve in curves.items():
        if title != "elliptical":
            axes.semilogy(0.2 * np.arange(len(curve)), curve, label=title, lw=1.6)
    axes.set_ylim(1e-5, 1.5)
    axes.set_xlabel("radius [arcsec]", fontsize=9)
    axes.set_ylabel("light over that in the middle", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=8.5, frameon=False)
    return sheet.figure


@styled
def domain() -> Figure:
    """Scenes as they are drawn for training."""
    sheet = Sheet(2, 5, 236, 236)
    for scene in randomized_scenes(24, seed=SEEDS["domain"], band=ANY_BAND, size=472)[3:23:2]:
        survey, config = scene.survey, scene.config
        assert not isinstance(survey, str) and config is not None
        note = f"{survey.fwhm:.2f}″, {survey.pixel_scale:.2f}″/px, {survey.n_exposures} visits"
        simulated = scene.simulate()
        pixels = simulated.coadd.image.array
        small = pixels.reshape(236, 2, 236, 2).mean(axis=(1, 3))
        window = (0, 0, 235, 235)
        axes = sheet.add(survey.band, note)
        show_image(axes, asinh_stretch(small, 0.5 * sky_sigma(simulated), high=120.0), window)
    return sheet.figure


def second_moments(psf: Any, x: float, y: float) -> tuple[float, float, float]:
    """Moments of a PSF with the weight of a Gaussian, from xx, yy and xy."""
    image = np.asarray(psf.compute_kernel_image(x=x, y=y).array, dtype=float)
    half = np.array(image.shape) // 2
    v, u = np.mgrid[-half[0] : half[0] + 1, -half[1] : half[1] + 1]
    xx = yy = 2.5
    xy = 0.0
    for _ in range(50):
        determinant = xx * yy - xy**2
        weight = image * np.exp(-0.5 * (yy * u**2 - 2.0 * xy * u * v + xx * v**2) / determinant)
        total = weight.sum()
        # The weight halves the moments of a Gaussian of the same width.
        xx, yy, xy = (2.0 * float((weight * w).sum() / total) for w in (u * u, v * v, u * v))
    return xx, yy, xy


def mapped(sheet: Sheet, axes: Axes, values: np.ndarray, label: str) -> None:
    """Draw a map of cells with its colour bar below."""
    picture = axes.imshow(values, origin="lower", cmap="viridis", interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    box = axes.get_position()
    bar = sheet.figure.add_axes((box.x0, box.y0 - 10 / sheet.height, box.width, 6 / sheet.height))
    sheet.figure.colorbar(picture, cax=bar, orientation="horizontal")
    bar.tick_params(labelsize=8, length=2, pad=1)
    bar.set_xlabel(label, fontsize=8.5, labelpad=1)


PLANES = {
    "BAD": "#ff7a14",
    "SATURATED": "#e8308c",
    "COSMIC_RAY": "#7df2c4",
    "INTERPOLATED": "#3f9bff",
    "CLIPPED": "#ffd84a",
    "BRIGHT_OBJECT": "#b58cff",
}
"""Mask planes to show and their colours."""


def show_planes(axes: Axes, scene: SimulatedCoadd, planes: Sequence[str]) -> None:
    """Draw a scene with some of its mask planes and their names."""
    show(axes, scene, outlines=False)
    shape = scene.coadd.image.array.shape
    for row, plane in enumerate(planes):
        color = PLANES[plane]
        pixels, _, _ = mask_to_bool(scene.coadd.mask, [plane])
        overlay = np.zeros((*shape, 4))
        overlay[pixels] = (*to_rgb(color), 0.35 if plane == "BRIGHT_OBJECT" else 0.75)
        axes.imshow(overlay, origin="lower", interpolation="nearest", zorder=2)
        step = shape[0] / 24.0
        label = axes.text(
            0.02 * shape[1],
            shape[0] - step * (0.6 + row),
            plane,
            color=color,
            fontsize=9.5,
            va="top",
            zorder=3,
        )
        label.set(fontweight="bold", path_effects=[withStroke(linewidth=4.0, foreground="#10151b")])


@styled
def artifacts() -> Figure:
    """What coaddition leaves of defects, in the mask and not."""
    fields = {
        "badColumnDensity": 2.0,
        "cosmicRayDensity": 25.0,
        "hotPixelDensity": 25.0,
        "trailDensity": 1.2,
        "doSaturation": True,
    }
    stars = {"starDensity": 12.0, "starMagBright": 13.0, "starMagFaint": 18.0}
    sheet = Sheet(1, 3, 420, 420)
    for number, share in enumerate((1.0, 0.5)):
        config = scene_config(artifacts=fields | {"maskedFraction": share}, population=stars)
        scene = make(size=(300, 300), config=config)
        if number == 0:
            show(sheet.add("image"), scene, outlines=False)
        note = "maskedFraction=1" if share == 1.0 else "maskedFraction=0.5"
        axes = sheet.add("all masked" if share == 1.0 else "half masked", note)
        show_planes(axes, scene, ("BAD", "SATURATED", "COSMIC_RAY", "INTERPOLATED", "CLIPPED"))
    return sheet.figure


@styled
def stars() -> Figure:
    """Light of bright stars: what the PSF has, and what it has not."""
    catalog = make_catalog(
        "parametric",
        size=(400, 400),
        survey=get_survey("i"),
        seed=SEEDS["stars"],
        size_model="cosmodc2-galaxies",
    )
    places = {12.5: (265.0, 255.0), 14.0: (90.0, 310.0), 15.5: (105.0, 90.0), 16.5: (335.0, 75.0)}
    bright = catalog[: len(places)].copy()
    for row, (mag, place) in enumerate(places.items()):
        bright["x"][row], bright["y"][row] = place
        bright["mag_i"][row] = mag
    bright["is_star"], bright["n_knots"], bright["kappa"] = True, 0, 0.0
    bright["gamma1"] = bright["gamma2"] = 0.0
    bright["id"] = np.asarray(catalog["id"]).max() + 1 + np.arange(len(bright))
    catalog = vstack([catalog, bright], metadata_conflicts="silent")
    light = {"haloFraction": 0.05, "spikeFraction": 0.02, "ghostFraction": 0.006}
    settings: dict[tuple[str, str], dict[str, Any]] = {
        ("saturated cores that bleed", "magnitudes 12.5 to 16.5"): {},
        ("halo, spikes and ghost", "5 %, 2 % and 0.6 % of the light"): light,
        ("masks", "maskRadius=10"): light | {"maskRadius": 10.0},
    }
    sheet = Sheet(1, 3, 400, 400)
    for (title, note), fields in settings.items():
        scene = make(
            catalog, size=(400, 400), config=scene_config(artifacts={"doSaturation": True}, starlight=fields)
        )
        axes = sheet.add(title, note)
        if title == "masks":
            show_planes(axes, scene, ("BRIGHT_OBJECT", "SATURATED"))
        else:
            show(axes, scene, outlines=False)
    return sheet.figure


@styled
def sky() -> Figure:
    """What background subtraction leaves and takes, and noise of pixels and of coadds."""
    sheet = Sheet(2, 3, 400, 400)
    source = {"population": {"starDensity": 1.0, "starMagBright": 15.0, "starMagFaint": 17.0}}
    settings: dict[tuple[str, str], dict[str, Any]] = {
        ("as it is", "smoothed, −1.5σ to 1.5σ"): {},
        ("residual", "gradient=3"): {"gradient": 3.0},
        ("over-subtraction", "overSubtraction=1"): {"overSubtraction": 1.0},
    }
    for (title, note), fields in settings.items():
        scene = make(size=(800, 800), seed=SEEDS["sky"], config=scene_config(**source, sky=fields))
        smoothed = ndimage.gaussian_filter(scene.coadd.image.array, 5.0)[::2, ::2]
        limit = 1.5 * sky_sigma(scene)
        axes = sheet.add(title, note)
        axes.imshow(smoothed, origin="lower", cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
        axes.set_axis_off()
    noises: dict[tuple[str, str], dict[str, Any]] = {
        ("white noise", "smoothed, −0.8σ to 1.6σ"): {},
        ("correlated noise", "noiseCorrelation=1.5"): {"noiseCorrelation": 1.5},
        ("a dark sky", "brightness=0.01"): {"brightness": 0.01},
    }
    for (title, note), fields in noises.items():
        scene = make(size=(100, 100), seed=SEEDS["noise"], config=scene_config(sky=fields))
        axes = sheet.add(title, note)
        if "brightness" in fields:
            show(axes, scene, outlines=False)
            continue
        # As the detection sees it.
        smoothed = ndimage.gaussian_filter(scene.coadd.image.array / sky_sigma(scene), 1.5)
        axes.imshow(smoothed, origin="lower", cmap="gray", vmin=-0.8, vmax=1.6, interpolation="nearest")
        axes.set_axis_off()
    return sheet.figure


@styled
def modes() -> Figure:
    """The same field drawn at once and photon by photon."""
    full, correct = SceneConfig(), FootprintConfig()
    full.mode = "full"
    correct.doCorrectCorrelatedNoise = True
    scenes = [make(size=(200, 200), seed=SEEDS["modes"], config=config) for config in (SceneConfig(), full)]
    sheet = Sheet(1, 3, 400, 400)
    show(sheet.add("fast"), scenes[0])
    show(sheet.add("full", "100 exposures"), scenes[1], config=correct)
    axes = sheet.add("full − fast", "−5σ to 5σ")
    difference = scenes[1].coadd.image.array - scenes[0].coadd.image.array
    limit = 5.0 * sky_sigma(scenes[0])
    axes.imshow(difference, origin="lower", cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    axes.set_axis_off()
    return sheet.figure


def counts(n: int, split: str = "test") -> dict[str, int]:
    """A few stamps of one split."""
    return {name: n if name == split else 0 for name in ("train", "validation", "test")}


def pick(stamps: StampSet, single: int, blended: int) -> list[int]:
    """Take the first single galaxies and the first blends."""
    which = stamps.is_blended
    return [*np.flatnonzero(~which)[:single], *np.flatnonzero(which)[:blended]]


def stamp_row(sheet: Sheet, stamps: StampSet, rows: Sequence[int], title: str) -> None:
    """Draw stamps in a row, with the centres of their galaxies."""
    for number, row in enumerate(rows):
        label = "two galaxies" if stamps.is_blended[row] else "one galaxy"
        axes = sheet.add(title if number == 0 else "", label)
        size = stamps.size
        noise = max(float(stamps.noise[row]), 1e-6)
        show_image(axes, asinh_stretch(stamps.images[row], noise, high=40.0), (0, 0, size - 1, size - 1))
        truth = stamps.truth[np.asarray(stamps.truth["stamp_id"]) == stamps.stamps["stamp_id"][row]]
        axes.plot(truth["x"], truth["y"], "+", ms=7, mew=1.1, color=MARK)
        axes.set_xlim(-0.5, size - 0.5)
        axes.set_ylim(-0.5, size - 0.5)


@styled
def blendhunter() -> Figure:
    """Stamps of BlendHunter."""
    sheet = Sheet(3, 6, 195, 195)
    parametric = make_blendhunter(counts(40), seed=2).padded()
    rows = pick(parametric, 2, 4)
    for noise in (5.0, 35.0):
        stamp_row(sheet, parametric.with_noise(noise), rows, f"σ = {noise:g}")
    realistic = make_blendhunter_real(data_folder() / "cosmos_real", counts(40), seed=2).padded()
    realistic = realistic.with_noise(14.5)
    stamp_row(sheet, realistic, pick(realistic, 2, 4), "COSMOS")
    return sheet.figure


@styled
def coin() -> Figure:
    """Stamps of COIN with the segmentation of each galaxy alone."""
    sheet = Sheet(2, 4, 256, 256)
    stamps = make_coin(data_folder() / "cosmos_real", counts(8, "train"), seed=3)
    for row in range(8):
        axes = sheet.add("", f"separation {stamps.stamps['separation'][row]:.0f} px")
        window = (0, 0, stamps.size - 1, stamps.size - 1)
        show_image(axes, asinh_stretch(stamps.images[row], float(stamps.noise[row]), high=25.0), window)
        for bit, probability in ((CENTRAL, 0.0), (COMPANION, 1.0)):
            labels = (np.asarray(stamps.arrays["segmentation"][row]) & bit > 0).astype(int)
            draw_outlines(axes, labels, (0, 0), np.array([np.nan, probability]), linewidth=1.0)
        axes.set_xlim(-0.5, stamps.size - 0.5)
        axes.set_ylim(-0.5, stamps.size - 0.5)
    return sheet.figure


def footprints() -> Figure:
    """Footprints with their peaks and P(N), as ``blendid show`` draws them."""
    scene = make("parametric", size=(500, 500), seed=SEEDS["footprints"], size_model="1.6x")
    found = identify_blends(scene.coadd)
    pixels, xy0 = found.detection.image, found.detection.xy0
    return footprint_cards(
        pixels, found.detection.noise.sigma, xy0, found, choose_footprints(found, 6).tolist()
    )


def data_folder() -> Path:
    """Folder of the public data."""
    folder = os.environ.get("BLENDID_DATA")
    if not folder:
        raise FileNotFoundError("set BLENDID_DATA to the folder that has cosmos_real, galaxies of HST COSMOS")
    return Path(folder)


PICTURES: dict[str, Callable[[], Figure]] = {
    "sim_sizes": sizes,
    "sim_bands": bands,
    "sim_population": population,
    "sim_psf": psf,
    "sim_domain": domain,
    "sim_structures": structures,
    "sim_bright": bright,
    "sim_variation": variation,
    "sim_artifacts": artifacts,
    "sim_stars": stars,
    "sim_sky": sky,
    "sim_modes": modes,
    "stamps_blendhunter": blendhunter,
    "stamps_coin": coin,
    "show": footprints,
}


def save(figure: Figure, path: Path) -> None:
    """Write a figure with few greys and at most 256 colours, which makes noise compress."""
    from PIL import Image

    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(np.int64)  # type: ignore[attr-defined]
    grey = (pixels.max(axis=-1) - pixels.min(axis=-1) <= 4)[..., None]
    step = np.where(grey, 9.0, 17.0)
    pixels = np.rint(np.rint(pixels / step) * step).clip(0, 255).astype(np.uint8)
    # The greatest steps stop short of white.
    pixels[pixels > 246] = 255
    image = Image.fromarray(pixels)
    if len(np.unique(pixels.reshape(-1, 3), axis=0)) > 256:
        image = image.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE)
    else:
        image = image.convert("P", palette=Image.Palette.ADAPTIVE, colors=256)
    image.save(path, optimize=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the PNG files")
    parser.add_argument("--only", nargs="+", choices=list(PICTURES), default=list(PICTURES))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.only:
        start = time.perf_counter()
        path = args.out / f"{name}.png"
        try:
            figure = PICTURES[name]()
        except FileNotFoundError as err:
            print(f"error: {err}", file=sys.stderr)
            return 1
        figure.set_dpi(DPI)
        save(figure, path)
        seconds = time.perf_counter() - start
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB, {seconds:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
