# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Models on images of others, beside labels by eye.

``hsc`` is a real single exposure.  ``decam`` is no real one, though a test data set of deepdisc: its header
tells that PhoSim, another simulator, drew it as DECam would see it, in g, r and z.  It has what scenes of the
package had not when its models were trained: spiral galaxies, diffraction spikes and cosmic rays.  No
catalogue of it is at hand.

`data/eye_labels.ecsv` tells how many objects are in each footprint, by eye and in two passes by one observer,
and at which pixel, so that labels join other footprints too: one that holds several of these pixels has the
sum of their objects.  What is drawn on top of each other is one to the eye; these are no true numbers.  Those
of ``hsc`` were not given blindly: some probabilities of its footprints were known from the documents.

The PSF of ``decam`` is 0.57 arcsec: the median of the Kolmogorov profiles, convolved with the pixel, that fit
18 isolated stars best (least squares, 0.54 to 0.59).  The wings of its stars are broader (Moffat, beta 2.2).
It is sharper than any PSF that the models of the package were trained on; as if it were 0.9 arcsec, they are
within their range.

A clean single is a star or a galaxy; one with structure is a spiral, is cut by the border, or has a cosmic
ray in it, which also may be all there is.  Their columns, and that of the blends, count what is on the wrong
side of p = .5.  Errors are from a bootstrap over footprints.

    python benchmarks/real_images.py --text doc/lsst.meas.blendid/measured/real_images.txt
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from gallery import save
from lsst.meas.blendid import IdentifiedBlends, identify_blends
from lsst.meas.blendid.evaluation.bootstrap import resampled_weights
from lsst.meas.blendid.evaluation.drawing import (
    BLENDED,
    INK,
    MUTED,
    SINGLE,
    asinh_stretch,
    new_figure,
    styled,
)
from lsst.meas.blendid.images import read_image
from lsst.meas.blendid.metrics import EPS, roc_auc
from matplotlib.figure import Figure

LABELS = Path(__file__).resolve().parent / "data" / "eye_labels.ecsv"
UNCLEAR = "?"
ALLOWED = {"label": ("0", "1", "2", UNCLEAR), "kind": ("star", "galaxy", "spiral", "artefact", "edge")}
CLEAN = ("star", "galaxy")
DEFAULT = "default"
"""Stands for the classifier that runs where no model is named."""
COUNTING = "n_peaks > 1"
COLUMNS, CELL, CAPTION, HEAD = 14, 0.72, 0.14, 0.34
"""Pictures in a line, and their side, the room below them and that above all of them, inches."""
MIN_SIDE, MARGIN = 20, 2
"""Side of the smallest picture, and room around a footprint, pixels."""
OUTLINE = "#ffffff"
MODELS = ("features-i-1", "features-2", "ensemble-i-1", "peaks-2")


@dataclass(frozen=True)
class LabelledImage:
    """An image that was looked at."""

    name: str
    """Its name in the table of labels."""
    path: str
    """Its file, beside the others of the data folder."""
    psf_fwhm: float
    """Seeing, arcsec."""
    pixel_scale: float
    """Pixel size, arcsec."""

    def read(self, folder: Path) -> dict[str, Any]:
        """Read it as arguments of `identify_blends` and `find_footprints`."""
        read = read_image(str(folder / self.path), psf_fwhm=self.psf_fwhm, pixel_scale=self.pixel_scale)
        # Plain images have their sky subtracted and their noise estimated, as by ``blendid run``.
        image = read.masked_image if read.has_variance else read.masked_image.image.array
        return {"image": image, "psf": read.psf, "pixel_scale": self.pixel_scale}

    def identify(self, folder: Path, model: str) -> IdentifiedBlends:
        """Run a model."""
        name = None if model == DEFAULT else model
        return identify_blends(**self.read(folder), model=name, localizer="none")


IMAGES = (
    LabelledImage("decam", "decam/img_r.fits", 0.57, 0.263),
    LabelledImage("hsc", "hsc/HSC-0908120-056-small.fits", 0.7, 0.167),
)
WIDER = 0.9
"""Width of the PSF at which `decam` is within what the models know, arcsec."""


def read_labels(path: Path = LABELS) -> Table:
    """Read the table of labels, or say what is wrong with it."""
    table = Table.read(path)
    missing = {"image", "x", "y", "first", "second", "label", "kind", "remark"} - set(table.colnames)
    if missing:
        raise ValueError(f"{path} lacks the columns {', '.join(sorted(missing))}")
    for column, values in {**ALLOWED, "first": ALLOWED["label"], "second": ALLOWED["label"]}.items():
        if odd := sorted(set(map(str, table[column])) - set(values)):
            raise ValueError(f"{path}: {column} is {', '.join(odd)}; allowed are {', '.join(values)}")
    return table


@dataclass(frozen=True)
class Joined:
    """Footprints with labels: their rows (n,) in the table of footprints, and what was seen in them."""

    rows: np.ndarray
    blended: np.ndarray
    clean: np.ndarray
    n_unclear: int
    n_lost: int
    """Labels that lie in no footprint."""


def join(segmentation: np.ndarray, labels: Table) -> Joined:
    """Give footprints the labels that lie in them; segmentation (ny, nx), 0 for none."""
    numbers = segmentation[np.asarray(labels["y"]), np.asarray(labels["x"])]
    inside = numbers > 0
    numbers, labels = numbers[inside], labels[inside]
    found, group = np.unique(numbers, return_inverse=True)
    text = np.asarray(labels["label"], dtype=str)
    unclear = text == UNCLEAR
    # Two or more are certain whatever else there is, and so is a blend where something unclear joins them.
    n = np.bincount(group, np.where(unclear, "1", text).astype(int), minlength=len(found))
    doubt = np.bincount(group, unclear, minlength=len(found)) > 0
    known = ~doubt | (n >= 2)
    clean = np.bincount(group, ~np.isin(labels["kind"], CLEAN), minlength=len(found)) == 0
    return Joined(found[known] - 1, n[known] >= 2, clean[known], int(np.sum(~known)), int(np.sum(~inside)))


@dataclass(frozen=True)
class Row:
    """Scores of a model on an image."""

    name: str
    n: int
    agreement: float
    clean: tuple[int, int]
    structured: tuple[int, int]
    missed: tuple[int, int]
    auc: float
    cross_entropy: float
    error: float

    def format(self) -> str:
        """Write a line."""
        shares = ("{} of {}".format(*pair) for pair in (self.clean, self.structured, self.missed))
        # Peak counts are no probabilities: one error makes their cross-entropy what EPS says.
        loss = "–" if np.isnan(self.cross_entropy) else f"{self.cross_entropy:.3f} ± {self.error:.3f}"
        return "{:26}{:>10.3f}{:>16}{:>16}{:>16}{:>8.3f}{:>18}".format(
            self.name, self.agreement, *shares, self.auc, loss
        )


HEADER = "{:26}{:>10}{:>16}{:>16}{:>16}{:>8}{:>18}".format(
    "", "agreement", "clean > .5", "structured > .5", "blends < .5", "AUC", "cross-entropy"
)


def score(name: str, p: np.ndarray, joined: Joined, *, certain: bool = False, draws: int = 1000) -> Row:
    """Compare probabilities (n,) with labels; ``certain`` ones, 0 or 1, have no cross-entropy."""
    use = np.isfinite(p)
    p, blended, clean = p[use], joined.blended[use], joined.clean[use]
    called = p > 0.5
    loss = -np.log(np.clip(np.where(blended, p, 1.0 - p), EPS, 1.0))
    mean, error = float("nan"), float("nan")
    if not certain:
        weights = resampled_weights(np.arange(len(p)), draws=draws)
        mean, error = float(loss.mean()), float((weights @ loss / weights.sum(axis=1)).std(ddof=1))

    def share(among: np.ndarray, wrong: np.ndarray) -> tuple[int, int]:
        return int(np.sum(among & wrong)), int(np.sum(among))

    return Row(
        name,
        len(p),
        float(np.mean(called == blended)),
        share(~blended & clean, called),
        share(~blended & ~clean, called),
        share(blended, ~called),
        roc_auc(p, blended),
        mean,
        error,
    )


def measure(image: LabelledImage, labels: Table, folder: Path, models: Sequence[str]) -> list[str]:
    """Run the models on an image; return lines."""
    labels = labels[labels["image"] == image.name]
    rows: list[Row] = []
    for model in models:
        blends = image.identify(folder, model)
        joined = join(blends.segmentation, labels)
        table = blends.blend[joined.rows]
        if not rows:
            counts = np.asarray(table["n_peaks"]) > 1
            rows.append(score(COUNTING, counts.astype(float), joined, certain=True))
        used = table.meta["model_" + table.meta["primary_classifier"]]
        name = f"{model}, {used}" if model == DEFAULT else model
        rows.append(score(name, np.asarray(table["p_blended"], dtype=float), joined))
    rows.sort(key=lambda row: row.name != COUNTING)
    outside = np.all(blends.blend["flag_outside_model_range"])
    return [
        f"{image.name}, PSF {image.psf_fwhm:g} arcsec{', beyond what models know' if outside else ''}: "
        f"{len(blends.blend)} footprints, of {len(joined.rows)} of which it is known whether they are blends "
        f"({np.sum(joined.blended)} are), {joined.n_unclear} unclear; {joined.n_lost} labels in no footprint",
        HEADER,
        *(row.format() for row in rows),
    ]


def colours(image: LabelledImage, folder: Path) -> np.ndarray:
    """Give g, r and z as brightnesses in [0, 1], red first: (ny, nx, 3)."""
    planes = []
    for band in "zrg":
        plane = fits.getdata(folder / image.path.replace("_r", f"_{band}")).astype(float)
        plane -= np.median(plane)
        planes.append(plane / (1.4826 * np.median(np.abs(plane))))
    # One stretch of the mean for all bands, which keeps colours: Lupton et al. (2004, PASP 116, 133).
    mean = np.mean(planes, axis=0)
    level = asinh_stretch(mean, 1.0, low=-1.0, high=150.0) / np.maximum(mean, 1.0)
    return np.clip(np.stack(planes, axis=-1) * level[..., None], 0.0, 1.0)


def square(box: Sequence[int]) -> tuple[int, int, int]:
    """Give corner and side of the square around a bounding box (x0, y0, x1, y1) with a margin, pixels."""
    side = max(box[2] - box[0], box[3] - box[1], MIN_SIDE - 2 * MARGIN) + 1 + 2 * MARGIN
    return (box[0] + box[2] + 1 - side) // 2, (box[1] + box[3] + 1 - side) // 2, side


@styled
def draw(image: LabelledImage, labels: Table, folder: Path, models: Sequence[str]) -> Figure:
    """Draw all footprints in colour, with what was seen in them and the probabilities of models."""
    labels = labels[labels["image"] == image.name]
    runs = [image.identify(folder, model) for model in models]
    segmentation, pixels = runs[0].segmentation, colours(image, folder)
    joined = join(segmentation, labels)
    rows = joined.rows[np.lexsort((joined.rows, ~joined.clean, joined.blended))]
    blended = dict(zip(joined.rows.tolist(), joined.blended.tolist(), strict=True))
    lines = -(-len(rows) // COLUMNS)
    figure = new_figure(COLUMNS * CELL, lines * (CELL + CAPTION) + HEAD)
    figure.set_layout_engine("none")
    width, height = figure.get_size_inches()
    names = " and ".join(models)
    figure.text(
        0.06 / width,
        1.0 - 0.17 / height,
        f"By eye single (blue) or blended (orange), and p by {names}; bold: on the other side of .5",
        fontsize=8,
        va="center",
    )
    for k, row in enumerate(rows):
        left, top = (k % COLUMNS) * CELL, height - HEAD - (k // COLUMNS) * (CELL + CAPTION)
        at = ((left + 0.04) / width, (top - CELL + 0.04) / height)
        axes = figure.add_axes((*at, (CELL - 0.08) / width, (CELL - 0.08) / height))
        x0, y0, side = square([int(runs[0].blend[f"bbox_{end}"][row]) for end in ("x0", "y0", "x1", "y1")])
        axes.imshow(pixels, origin="lower", interpolation="nearest")
        axes.contour(segmentation == row + 1, levels=[0.5], colors=[OUTLINE], linewidths=0.5)
        axes.set(xlim=(x0 - 0.5, x0 + side - 0.5), ylim=(y0 - 0.5, y0 + side - 0.5), xticks=[], yticks=[])
        axes.set_facecolor("black")
        for spine in axes.spines.values():
            spine.set(visible=True, color=BLENDED if blended[int(row)] else SINGLE, linewidth=1.6)
        for place, run in enumerate(runs):
            p = float(run.blend["p_blended"][row])
            wrong = (p > 0.5) != blended[int(row)]
            figure.text(
                (left + CELL * (place + 0.5) / len(runs)) / width,
                (top - CELL - 0.06) / height,
                f"{p:.2f}".lstrip("0"),
                fontsize=7,
                ha="center",
                va="center",
                color=INK if wrong else MUTED,
                weight="bold" if wrong else "normal",
            )
    return figure


def describe(labels: Table) -> list[str]:
    """Say how many labels there are, and how often the passes agree."""
    lines = []
    for name in dict.fromkeys(map(str, labels["image"])):
        of = labels[labels["image"] == name]
        counts = ", ".join(f"{value}: {np.sum(of['label'] == value)}" for value in ALLOWED["label"])
        same = int(np.sum(of["first"] == of["second"]))
        lines.append(f"{name}: objects {counts}; the passes agree for {same} of {len(of)}")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder that holds decam and hsc (default: $BLENDID_DATA)")
    parser.add_argument("--models", nargs="+", default=list(MODELS), help="names or paths of packages")
    parser.add_argument("--text", type=Path, help="file to write the tables to")
    parser.add_argument("--picture", type=Path, help="PNG of the footprints of decam, with p of two models")
    args = parser.parse_args()
    folder = args.data or (Path(os.environ["BLENDID_DATA"]) if "BLENDID_DATA" in os.environ else None)
    if folder is None or not all((folder / image.path).is_file() for image in IMAGES):
        print("the images are not at hand; give the folder that holds them with --data", file=sys.stderr)
        return 1
    labels = read_labels()
    blocks = [describe(labels)]
    for image in (IMAGES[0], replace(IMAGES[0], psf_fwhm=WIDER), *IMAGES[1:]):
        blocks.append(measure(image, labels, folder, args.models))
    text = "\n\n".join("\n".join(block) for block in blocks)
    print(text)
    if args.text is not None:
        args.text.write_text(text + "\n")
    if args.picture is not None:
        save(draw(IMAGES[0], labels, folder, args.models[:2]), args.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
