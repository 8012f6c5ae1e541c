# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What was found in one image, as a self-contained HTML page; there is no truth to set it against."""

from __future__ import annotations

__all__ = ("ReportedImage", "write_image_report")

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .._colors import LEAST_SHOWN
from .._files import atomic_path
from ..flags import FLAGS
from ..footprints import DetectionResult
from ..model_package import point_source_depth
from ..peak_matching import LIKELY
from ..tables import BlendTables
from ._canvas import Window, to_png
from ._html import Page
from ._peak_marks import ellipse_shapes
from .gallery import Stamp, cutout_gallery, make_stamp
from .peak_scores import ELLIPSE
from .pictures import footprint_overlay, probability_map
from .plots import probability_histogram

_COLUMNS = 6
"""Cutouts in a row of the gallery."""
_ZOOM = (420, 300)
"""Columns and rows of the part of the image that is enlarged."""
_SMALL = 640
"""Longest side of an image that is shown in outlines as a whole."""
_ROWS = 12
"""Rows of the table of ambiguous footprints."""


@dataclass(frozen=True)
class ReportedImage:
    """An image and what was found in it.

    Parameters
    ----------
    name
        Name of the image.
    kind
        What kind of file it is from.
    tables
        Its tables.
    detection
        Its footprints, with the images that they were made from.
    zero_point
        AB magnitude of one of its units, if known.
    pixel_scale
        Pixel size in arcsec, if known.
    notes
        What was assumed or left out while reading.
    files
        What was written.
    seconds
        How long it took.
    """

    name: str
    kind: str
    tables: BlendTables
    detection: DetectionResult
    zero_point: float | None = None
    pixel_scale: float | None = None
    notes: Sequence[str] = ()
    files: Sequence[str] = ()
    seconds: float | None = None
    p: np.ndarray = field(init=False)
    """Probabilities, NaN where a footprint was not classified."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "p", np.asarray(self.tables.blend["p_blended"], dtype=float))


def write_image_report(path: str | os.PathLike[str], image: ReportedImage) -> None:
    """Write the page; a page of that name is replaced when the new one is complete.

    Parameters
    ----------
    path
        HTML file to write.
    image
        The image and what was found in it.

    Raises
    ------
    OSError
        Raised if the file cannot be written.
    """
    meta, p = image.tables.blend.meta, image.p
    primary = str(meta["primary_classifier"])
    model = str(meta[f"model_{primary}"])
    model = f"classifier {primary}" if model == "none" else f"model {model}"
    known = p[np.isfinite(p)]
    page = Page(
        f"Blends in {image.name.rsplit('/', 1)[-1]}",
        f"{_count(len(p), 'footprint')}, each with the probability that it holds more than one galaxy, by "
        f"the {model}. What is really there is not known here: the page does not tell how good the "
        "probabilities are, but what they rest on."
        if len(p)
        else "No footprint was found. Below is what was searched, and how.",
    )
    inferred = np.asarray(image.tables.blend_peak["is_inferred"], dtype=bool)
    tiles = [
        (f"{len(p):,}", "footprints"),
        (f"{np.count_nonzero(~inferred):,}", "detected peaks"),
    ]
    if inferred.any():
        likely = np.asarray(image.tables.blend_peak["probability"])[inferred] > LIKELY
        tiles.append((f"{np.count_nonzero(likely):,}", f"likely galaxies without a peak (p over {LIKELY:g})"))
    if known.size:
        tiles += [
            (f"{known.sum():,.1f}", f"blends expected ({100 * known.mean():.1f} %)"),
            (f"{np.count_nonzero(known > 0.5):,}", "more likely a blend than not"),
            (f"{np.count_nonzero((known > 0.2) & (known < 0.8)):,}", "uncertain (p from 0.2 to 0.8)"),
        ]
    tiles.append((f"{len(p) - known.size:,}", "not classified"))
    page.tiles(tiles)
    _add_pictures(page, image)
    if known.size:
        _add_ambiguous(page, image)
        _add_inferred(page, image)
        _add_histogram(page, image)
    _add_assumptions(page, image)
    _add_flags(page, image)
    if image.files:
        page.heading("Where it is")
        page.code("\n".join(image.files))
    page.footer(f"lsst.meas.blendid {meta['blendid_version']}")
    with atomic_path(path) as temporary:
        temporary.write_text(page.render(), encoding="utf-8")


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _shown(image: ReportedImage) -> np.ndarray:
    """The background-subtracted pixels, NaN where they were bad."""
    return np.where(image.detection.bad, np.float32(np.nan), image.detection.image)


def _add_pictures(page: Page, image: ReportedImage) -> None:
    """Show the whole image and an enlarged part of it, or all of a small one."""
    detection, tables = image.detection, image.tables
    noise, pixels = detection.noise.sigma, _shown(image)
    window = _zoom_window(image)
    overlay = footprint_overlay(
        pixels,
        noise,
        detection.xy0,
        tables.blend,
        tables.blend_peak,
        tables.blend_spans,
        window=window,
        pixel_scale=image.pixel_scale,
    )
    page.heading("The image")
    explanation = (
        "An outline follows the pixels of its footprint, a dot marks a peak. Colour is the probability of a "
        "blend: {single|blue} for one galaxy, {blended|orange} for more, white where it cannot be told, grey "
        "where it was not classified."
    )
    if np.any(tables.blend_peak["is_inferred"]):
        explanation += (
            " A pink diamond is an inferred peak: no local maximum, but a galaxy may be there. Dots and "
            "diamonds are the smaller the less probable a galaxy is; inferred peaks of less than "
            f"{LEAST_SHOWN:g} are left out."
        )
    ny, nx = pixels.shape
    if max(nx, ny) > _SMALL:
        whole = probability_map(
            pixels,
            noise,
            detection.xy0,
            tables.blend,
            window=window,
            pixel_scale=image.pixel_scale,
        )
        page.figures(
            [
                (
                    to_png(whole),
                    f"**All of it**, {nx:,} × {ny:,} pixels, asinh stretch. A dot "
                    "is a footprint in the colour of its probability; the dashed frame is enlarged below.",
                    "The image with a dot for each footprint.",
                )
            ]
        )
        title = "**The busiest part.** "
    else:
        title = f"**All of it**, {nx:,} × {ny:,} pixels, asinh stretch. "
    page.figures([(to_png(overlay, dpi=168), title + explanation, "Outlines of footprints over the image.")])


def _zoom_window(image: ReportedImage) -> Window:
    """Window with the most classified footprints, all of a small image; it may extend beyond a narrow one."""
    x0, y0 = image.detection.xy0
    ny, nx = image.detection.image.shape
    width, height = _ZOOM
    if max(nx, ny) <= _SMALL:
        # Not higher than wide, so that the picture fits on a screen.
        columns = max(nx, ny)
        left = x0 - (columns - nx) // 2
        return (left, y0, left + columns - 1, y0 + ny - 1)
    known = np.isfinite(image.p)
    x, y = np.asarray(image.tables.blend["x"])[known], np.asarray(image.tables.blend["y"])[known]

    def candidates(start: int, size: int, extent: int) -> np.ndarray:
        if size <= extent:
            return np.array([start - (extent - size) // 2])
        return np.linspace(start, start + size - extent, 1 + 2 * (size - 1) // extent).round().astype(int)

    best, most = (int(candidates(x0, nx, width)[0]), int(candidates(y0, ny, height)[0])), -1
    for left in candidates(x0, nx, width):
        for bottom in candidates(y0, ny, height):
            inside = (x >= left) & (x < left + width) & (y >= bottom) & (y < bottom + height)
            if inside.sum() > most:
                best, most = (int(left), int(bottom)), int(inside.sum())
    return (best[0], best[1], best[0] + width - 1, best[1] + height - 1)


def _add_ambiguous(page: Page, image: ReportedImage) -> None:
    """Show the footprints that are hardest to tell, and others to compare them with."""
    page.heading("Hard and easy ones")
    page.paragraph(
        "The first row is where the pixels allow both; the others are the ends of the scale. Circles are "
        "detected peaks, diamonds inferred ones, numbers are the footprint_id of the tables."
    )
    groups, size = _gallery(image)
    if groups:
        side = f"{size} pixels" if image.pixel_scale is None else f"{size * image.pixel_scale:.0f}″"
        page.figures(
            [
                (
                    to_png(cutout_gallery(groups, columns=_COLUMNS)),
                    f"Cutouts of {side} on a side, all in one stretch. Larger footprints are not shown.",
                    "Rows of cutouts with their probabilities.",
                )
            ]
        )
    blend = image.tables.blend
    rows = np.argsort(np.abs(image.p - 0.5), kind="stable")[:_ROWS]
    rows = rows[np.isfinite(image.p[rows])]
    has_sky, has_mag = np.isfinite(blend["ra"]).any(), np.isfinite(blend["mag"]).any()
    has_counts = np.isfinite(blend["n_expected"]).any()
    header = ["footprint", "x", "y", *(["ra", "dec"] if has_sky else []), "peaks", "S/N"]
    header += [*(["mag"] if has_mag else []), "probability", *(["objects expected"] if has_counts else [])]
    cells = []
    for entry in blend[rows]:
        cell = [str(entry["footprint_id"]), f"{entry['x']:.1f}", f"{entry['y']:.1f}"]
        cell += [f"{entry['ra']:.5f}", f"{entry['dec']:+.5f}"] if has_sky else []
        cell += [str(entry["n_peaks"]), f"{entry['max_significance']:.1f}"]
        cell += [f"{entry['mag']:.2f}"] if has_mag else []
        cell += [f"{entry['p_blended']:.3f}", *([f"{entry['n_expected']:.2f}"] if has_counts else [])]
        cells.append(cell)
    page.subheading("The most ambiguous of all")
    page.table(header, cells)


def _gallery(image: ReportedImage) -> tuple[dict[str, list[Stamp]], int]:
    """Cutouts of each kind, the clearest examples, and their side in pixels."""
    blend, detection, p = image.tables.blend, image.detection, image.p
    size = int(np.clip(28.0 * detection.psf.sigma, 31, 121)) // 2 * 2 + 1
    extent = np.maximum(blend["bbox_x1"] - blend["bbox_x0"], blend["bbox_y1"] - blend["bbox_y0"]) + 1
    fits = np.asarray(extent) < size - 2
    n_peaks = np.asarray(blend["n_peaks"])
    hidden = _most_probable_inferred(image)
    kinds = {
        "Most ambiguous": (np.abs(p - 0.5), fits & (p > 0.1) & (p < 0.9)),
        "Most probable blends with a single peak": (-p, fits & (n_peaks == 1) & (p > 0.5)),
        "Most probable inferred peaks": (-hidden, fits & (hidden > 0.0)),
        "Most probable blends": (-p, fits & (n_peaks > 1) & (p > 0.5)),
        "Least probable blends": (p, fits & (p < 0.5)),
        "Least probable blends with several peaks": (p, fits & (n_peaks > 1) & (p < 0.5)),
        "Not classified": (-np.asarray(blend["area"], dtype=float), fits & ~np.isfinite(p)),
    }
    pixels, groups = _shown(image), {}
    for title, (order, chosen) in kinds.items():
        rows = np.flatnonzero(chosen)
        rows = rows[np.argsort(order[rows], kind="stable")][:_COLUMNS]
        stamps = []
        for row in rows:
            stamp = make_stamp(
                pixels,
                detection.noise.sigma,
                detection.xy0,
                blend,
                image.tables.blend_spans,
                int(row),
                size=size,
                peaks=image.tables.blend_peak,
            )
            stamps.append(dataclasses.replace(stamp, name=f"#{blend['footprint_id'][row]}"))
        if stamps:
            groups[title] = stamps
    return groups, size


def _most_probable_inferred(image: ReportedImage) -> np.ndarray:
    """Probability of the most probable inferred peak of each footprint, 0 where there is none."""
    peaks = image.tables.blend_peak
    p = np.nan_to_num(np.asarray(peaks["probability"], dtype=float))
    most = np.zeros(len(image.p))
    rows = np.asarray(peaks["footprint_id"]) - 1
    np.maximum.at(most, rows, np.where(np.asarray(peaks["is_inferred"], dtype=bool), p, 0.0))
    return most


def _add_inferred(page: Page, image: ReportedImage) -> None:
    """List the galaxies that are most probably where no peak was detected."""
    peaks = image.tables.blend_peak
    inferred = peaks[np.asarray(peaks["is_inferred"], dtype=bool)]
    if not len(inferred):
        return
    p = np.nan_to_num(np.asarray(inferred["probability"], dtype=float))
    page.subheading("Galaxies without a peak of their own")
    page.paragraph(
        f"{_count(len(inferred), 'inferred peak')}, {_count(int(np.sum(p > LIKELY)), 'likely one')}, "
        f"{p.sum():,.1f} galaxies expected among all. A deblender that is given the detected peaks alone "
        "loses these. Below are the most probable ones; the error is that of the position along the longer "
        "axis of its ellipse, one sigma."
    )
    has_sky = np.isfinite(inferred["ra"]).any()
    header = ["footprint", "peak", "x", "y", *(["ra", "dec"] if has_sky else [])]
    header += ["error [pix]", "S/N", "detected peaks", "probability"]
    cells = []
    for entry in inferred[np.argsort(-p, kind="stable")[:_ROWS]]:
        cell = [str(entry["footprint_id"]), str(entry["peak_id"])]
        cell += [f"{entry['f_x']:.1f}", f"{entry['f_y']:.1f}"]
        cell += [f"{entry['ra']:.5f}", f"{entry['dec']:+.5f}"] if has_sky else []
        width, _, _ = ellipse_shapes(np.array([[entry["xx"], entry["yy"], entry["xy"]]]))
        error = float(width[0]) / (2.0 * np.sqrt(ELLIPSE))
        cell += [
            f"{v:.{digits}f}" if np.isfinite(v) else "–"
            for v, digits in ((error, 2), (float(entry["significance"]), 1))
        ]
        cell += [str(image.tables.blend["n_peaks"][entry["footprint_id"] - 1]), f"{entry['probability']:.3f}"]
        cells.append(cell)
    page.table(header, cells)


def _add_histogram(page: Page, image: ReportedImage) -> None:
    page.heading("The probabilities")
    n_peaks = np.asarray(image.tables.blend["n_peaks"])
    page.figures(
        [
            (
                to_png(probability_histogram(image.p, n_peaks)),
                "**How they are distributed.** Counts are logarithmic. Counting peaks would call all on the "
                "left single and all on the right blended.",
                "Histograms of the probabilities.",
            )
        ]
    )


def _add_assumptions(page: Page, image: ReportedImage) -> None:
    """Say what was read, measured and assumed."""
    detection = image.detection
    meta, facts = image.tables.blend.meta, detection.metadata
    scale, psf = image.pixel_scale, detection.psf
    unit = image.tables.blend_peak["peak_value"].unit
    ny, nx = detection.image.shape
    rows = [
        ["File", image.name],
        [
            "Image",
            f"{nx:,} × {ny:,} pixels, {image.kind}, first pixel ({detection.xy0[0]}, {detection.xy0[1]})",
        ],
        ["Band", str(meta["band"])],
        ["Unit", str(unit) or "none"],
        ["AB zero point", "not known" if image.zero_point is None else f"{image.zero_point:.3f}"],
        ["Pixel", "size not known" if scale is None else f"{scale:.4g}″"],
    ]
    width = f"sigma {psf.sigma:.3f} pixels, as a Gaussian FWHM {2.3548 * psf.sigma:.2f} pixels"
    if scale is not None:
        width += f" or {2.3548 * psf.sigma * scale:.2f}″"
    if psf.n_cells > 1:
        width += f"; {psf.sigma_min:.3f} to {psf.sigma_max:.3f} pixels over {psf.n_cells} places"
    rows.append(["PSF", width])
    sources = {"variance": "the variance plane", "clipped": "the clipped scatter of the pixels"}
    source = sources.get(detection.noise.source, detection.noise.source)
    noise = f"{detection.noise.sigma:.4g} per pixel, from {source}"
    if detection.noise.is_correlated and detection.noise.is_corrected:
        noise += ", times the noise correlation"
    if image.zero_point is not None:
        depth = point_source_depth(detection.noise.sigma, psf.image, image.zero_point)
        noise += f"; a point source of 5σ has {depth:.2f} mag"
    rows.append(["Noise", noise])
    if np.isfinite(detection.noise.correlation):
        text = f"{detection.noise.correlation:.2f} (1 for noise that is independent by pixel)"
        if detection.noise.is_corrected:
            text += "; thresholds and significances are corrected for it"
        elif detection.noise.is_correlated:
            text += "; thresholds and significances are not corrected for it"
        rows.append(["Noise correlation", text])
    background = facts.get("background_mean")
    rows.append(
        [
            "Background",
            "not subtracted" if background is None else f"subtracted, {background:.4g} in the mean",
        ]
    )
    rows.append(
        [
            "Footprints",
            f"pixels over {facts['threshold']}σ of the smoothed image, grown by {detection.growth} pixels",
        ]
    )
    n_bad = int(np.count_nonzero(detection.bad))
    planes = str(facts.get("excluded_mask_planes", ""))
    rows.append(
        [
            "Left out",
            f"{n_bad:,} pixels ({100 * n_bad / detection.bad.size:.1f} %), not finite"
            + (f" or masked {planes.replace(',', ', ')}" if planes else ""),
        ]
    )
    for name in str(meta["classifiers"]).split(", "):
        primary = ", fills p_blended" if name == meta["primary_classifier"] else ""
        rows.append(
            [
                f"Classifier {name}",
                f"model {meta[f'model_{name}']}, prior {meta.get(f'prior_{name}', 'not told')}, calibration "
                f"{meta.get(f'calibration_{name}', 'not told')}{primary}",
            ]
        )
    localizer = str(meta.get("localizer", "none"))
    if localizer != "none":
        rows.append([f"Localiser {localizer}", f"model {meta.get('model_of_localizer', 'none')}"])
    if image.seconds is not None:
        rows.append(["Time", f"{image.seconds:.1f} s to read and classify"])
    page.heading("What was assumed")
    page.facts(rows)
    page.notes([note[0].upper() + note[1:] for note in image.notes if note])


def _add_flags(page: Page, image: ReportedImage) -> None:
    blend = image.tables.blend
    rows = [
        [f.column, f"{n:,}", "not classified" if f.blocking else "warning", f.description]
        for f in FLAGS
        if (n := int(np.count_nonzero(blend[f.column])))
    ]
    page.heading("Flags")
    if rows:
        page.facts(rows, ["flag", "footprints", "kind", "meaning"])
    else:
        page.paragraph("No footprint has a flag.")
