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
from typing import Any

import numpy as np

from .._colors import LEAST_SHOWN
from .._files import atomic_path
from ..flags import FLAGS
from ..footprints import DetectionResult
from ..model_package import point_source_depth
from ..peak_matching import LIKELY
from ..tables import BlendTables
from .drawing import Window, ellipse_shapes, to_png
from .gallery import Stamp, cutout_gallery, make_stamp
from .peak_scores import ELLIPSE
from .pictures import footprint_overlay, probability_map
from .plots import probability_histogram
from .report import render_page

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

    ``kind`` is what kind of file it is from; the zero point is the AB magnitude of its unit, the pixel
    scale in arcsec; ``notes`` say what was assumed or left out while reading, ``files`` what was written.
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
        # The dataclass is frozen.
        object.__setattr__(self, "p", np.asarray(self.tables.blend["p_blended"], dtype=float))


def write_image_report(path: str | os.PathLike[str], image: ReportedImage) -> None:
    """Write the page; a page of that name is replaced when the new one is complete."""
    meta, p = image.tables.blend.meta, image.p
    primary = str(meta["primary_classifier"])
    model = str(meta[f"model_{primary}"])
    # A classifier that learned nothing has no model to name.
    model = f"classifier {primary}" if model == "none" else f"model {model}"
    known = p[np.isfinite(p)]
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
    details: dict[str, Any] = {"histogram": None}
    if known.size:
        groups, size = _gallery(image)
        details = {
            "histogram": to_png(probability_histogram(p, np.asarray(image.tables.blend["n_peaks"]))),
            "gallery": to_png(cutout_gallery(groups, columns=_COLUMNS)) if groups else None,
            "gallery_side": f"{size} pixels"
            if image.pixel_scale is None
            else f"{size * image.pixel_scale:.0f}″",
            "ambiguous": _ambiguous(image),
            "inferred": _inferred(image) if inferred.any() else None,
        }
    page = render_page(
        "image.html",
        title=f"Blends in {image.name.rsplit('/', 1)[-1]}",
        lede=f"{_count(len(p), 'footprint')}, each with the probability that it holds more than one galaxy, "
        f"by the {model}. What is really there is not known here: the page does not tell how good the "
        "probabilities are, but what they rest on."
        if len(p)
        else "No footprint was found. Below is what was searched, and how.",
        numbers=tiles,
        has_inferred=bool(inferred.any()),
        least_shown=f"{LEAST_SHOWN:g}",
        assumptions=_assumptions(image),
        notes=[note[0].upper() + note[1:] for note in image.notes if note],
        flags=[
            [f.column, f"{n:,}", "not classified" if f.blocking else "warning", f.description]
            for f in FLAGS
            if (n := int(np.count_nonzero(image.tables.blend[f.column])))
        ],
        files="\n".join(image.files),
        footer=f"lsst.meas.blendid {meta['blendid_version']}",
        **_pictures(image),
        **details,
    )
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _shown(image: ReportedImage) -> np.ndarray:
    """The background-subtracted pixels, NaN where they were bad."""
    # Bad pixels are 0 in the image; drawn they would look like sky.
    return np.where(image.detection.bad, np.float32(np.nan), image.detection.image)


def _pictures(image: ReportedImage) -> dict[str, Any]:
    """Draw the whole image and an enlarged part of it, or all of a small one."""
    detection, tables = image.detection, image.tables
    noise, pixels = detection.noise.sigma, _shown(image)
    window, (ny, nx) = _zoom_window(image), pixels.shape
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
    whole = None
    # All of a small image is enlarged already.
    if max(nx, ny) > _SMALL:
        whole = to_png(
            probability_map(
                pixels, noise, detection.xy0, tables.blend, window=window, pixel_scale=image.pixel_scale
            )
        )
    return {"whole": whole, "overlay": to_png(overlay, dpi=168), "size": f"{nx:,} × {ny:,}"}


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
        # A window wider than the image has one place: around it.
        if size <= extent:
            return np.array([start - (extent - size) // 2])
        return np.linspace(start, start + size - extent, 1 + 2 * (size - 1) // extent).round().astype(int)

    # Half a window apart: no group of footprints is cut by all of them.
    best, most = (int(candidates(x0, nx, width)[0]), int(candidates(y0, ny, height)[0])), -1
    for left in candidates(x0, nx, width):
        for bottom in candidates(y0, ny, height):
            inside = (x >= left) & (x < left + width) & (y >= bottom) & (y < bottom + height)
            if inside.sum() > most:
                best, most = (int(left), int(bottom)), int(inside.sum())
    return (best[0], best[1], best[0] + width - 1, best[1] + height - 1)


def _ambiguous(image: ReportedImage) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a table of the footprints that are hardest to tell."""
    blend = image.tables.blend
    # Nearest to one half first; those that were not classified sort last and go.
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
    return header, cells


def _gallery(image: ReportedImage) -> tuple[dict[str, list[Stamp]], int]:
    """Cutouts of each kind, the clearest examples, and their side in pixels."""
    blend, detection, p = image.tables.blend, image.detection, image.p
    # Twelve FWHM of the PSF, an odd number of pixels.
    size = int(np.clip(28.0 * detection.psf.sigma, 31, 121)) // 2 * 2 + 1
    extent = np.maximum(blend["bbox_x1"] - blend["bbox_x0"], blend["bbox_y1"] - blend["bbox_y0"]) + 1
    # One that is cut off would tell less than nothing.
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


def _inferred(image: ReportedImage) -> dict[str, Any]:
    """Say what inferred peaks there are, and list the galaxies that are most probably there."""
    peaks = image.tables.blend_peak
    inferred = peaks[np.asarray(peaks["is_inferred"], dtype=bool)]
    p = np.nan_to_num(np.asarray(inferred["probability"], dtype=float))
    has_sky = np.isfinite(inferred["ra"]).any()
    header = ["footprint", "peak", "x", "y", *(["ra", "dec"] if has_sky else [])]
    header += ["error [pix]", "S/N", "detected peaks", "probability"]
    cells = []
    for entry in inferred[np.argsort(-p, kind="stable")[:_ROWS]]:
        cell = [str(entry["footprint_id"]), str(entry["peak_id"])]
        cell += [f"{entry['f_x']:.1f}", f"{entry['f_y']:.1f}"]
        cell += [f"{entry['ra']:.5f}", f"{entry['dec']:+.5f}"] if has_sky else []
        width, _, _ = ellipse_shapes(np.array([[entry["xx"], entry["yy"], entry["xy"]]]))
        # From the axis of the 68 % ellipse back to a standard deviation.
        error = float(width[0]) / (2.0 * np.sqrt(ELLIPSE))
        cell += [
            f"{v:.{digits}f}" if np.isfinite(v) else "–"
            for v, digits in ((error, 2), (float(entry["significance"]), 1))
        ]
        cell += [str(image.tables.blend["n_peaks"][entry["footprint_id"] - 1]), f"{entry['probability']:.3f}"]
        cells.append(cell)
    return {
        "n": _count(len(inferred), "inferred peak"),
        "likely": _count(int(np.sum(p > LIKELY)), "likely one"),
        "expected": f"{p.sum():,.1f}",
        "table": (header, cells),
    }


def _assumptions(image: ReportedImage) -> list[list[str]]:
    """Say what was read, measured and assumed: pairs of what it is about and a text."""
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
    return rows
