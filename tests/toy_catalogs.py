# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Small catalogues of sources in the layout of lsst.afw, written with Astropy, and tables that fit them."""

from __future__ import annotations

__all__ = ("ToyFootprint", "ToyPeak", "is_unchanged", "make_tables", "toy_hdus", "write_toy")

from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO

import numpy as np
from astropy.io import fits
from astropy.table import Table
from lsst.meas.blendid.flags import FLAGS
from lsst.meas.blendid.source_catalogs.peak_plan import PeakPlan
from lsst.meas.blendid.tables import PEAK_COLUMNS, SPAN_COLUMNS, BlendTables, blend_columns


def is_unchanged(plan: PeakPlan) -> bool:
    """Whether peaks stay as they are."""
    return bool(plan.kept.all()) and not plan.moved.any() and not len(plan.added)


@dataclass
class ToyPeak:
    """A peak of a toy catalogue; what tables say of it is there too."""

    id: int
    x: float
    y: float
    value: float = 10.0
    probability: float = 0.9
    significance: float = 20.0
    is_inferred: bool = False
    candidate: tuple[float, float] = (np.nan, np.nan)


@dataclass
class ToyFootprint:
    """A rectangle of pixels (inclusive), or others as spans (y, x0, x1), with peaks."""

    id: int
    box: tuple[int, int, int, int]
    peaks: list[ToyPeak] = field(default_factory=list)
    parent: int = 0
    sky: bool = False
    p_blended: float = 0.5
    pixels: list[tuple[int, int, int]] | None = None

    @property
    def spans(self) -> list[tuple[int, int, int]]:
        if self.pixels is not None:
            return self.pixels
        x0, y0, x1, y1 = self.box
        return [(y, x0, x1) for y in range(y0, y1 + 1)]


def _table(
    columns: Sequence[fits.Column], cards: Sequence[tuple], flags: Sequence[str] = ()
) -> fits.BinTableHDU:
    """A table with the keywords of lsst.afw."""
    hdu = fits.BinTableHDU.from_columns(columns)
    if flags:
        hdu.header["FLAGCOL"] = 1
        for i, name in enumerate(flags, start=1):
            hdu.header[f"TFLAG{i}"] = name
    for card in cards:
        hdu.header.append(card)
    return hdu


def _bits(values: np.ndarray) -> fits.Column:
    return fits.Column("flags", f"{values.shape[1]}X", array=values)


def toy_hdus(
    footprints: Sequence[ToyFootprint], *, peak_flags: Sequence[str] = ("merge_peak_i", "merge_peak_sky")
) -> fits.HDUList:
    """The catalogue with a record for each footprint, as HDUs."""
    n = len(footprints)
    own = [[p for p in f.peaks if not p.is_inferred] for f in footprints]
    spans = [f.spans for f in footprints]
    index = []
    n_spans = n_peaks = 0
    for i, (rows, peaks) in enumerate(zip(spans, own, strict=True)):
        index.append((2 * i + 2, 2, 0, n_spans, len(rows), "SpanSet", "lsst.afw.geom"))
        index.append((2 * i + 1, 1, 0, i, 1, "Footprint", "lsst.afw.detection"))
        index.append((2 * i + 1, 3, 1, n_peaks, len(peaks), "Footprint", "lsst.afw.detection"))
        n_spans, n_peaks = n_spans + len(rows), n_peaks + len(peaks)
    columns = list(zip(*index, strict=True)) or [[]] * 7
    flat = np.array([s for rows in spans for s in rows], dtype=np.int32).reshape(-1, 3)
    all_peaks = [(f, p) for f, peaks in zip(footprints, own, strict=True) for p in peaks]
    bits = np.zeros((len(all_peaks), len(peak_flags)), dtype=bool)
    for i, (f, _) in enumerate(all_peaks):
        bits[i, :2] = [not f.sky, f.sky]

    def peak_column(name: str, form: str, values: Sequence[float]) -> fits.Column:
        return fits.Column(name, form, array=np.array(values))

    version = ("HIERARCH AFW_TABLE_VERSION", 3)
    return fits.HDUList(
        [
            fits.PrimaryHDU(),
            _table(
                [
                    _bits(np.array([[f.sky] for f in footprints], dtype=bool).reshape(n, 1)),
                    fits.Column("id", "1K", array=np.array([f.id for f in footprints], dtype=np.int64)),
                    fits.Column("coord_ra", "1D", array=np.full(n, np.nan), unit="rad"),
                    fits.Column("coord_dec", "1D", array=np.full(n, np.nan), unit="rad"),
                    fits.Column(
                        "parent", "1K", array=np.array([f.parent for f in footprints], dtype=np.int64)
                    ),
                    fits.Column("footprint", "1J", array=2 * np.arange(n) + 1),
                ],
                [*(("TCCLS3", "Angle"), ("TCCLS4", "Angle")), ("AR_HDU", 3), version, ("AFW_TYPE", "SOURCE")],
                ["merge_footprint_sky"],
            ),
            _table(
                [
                    *(
                        fits.Column(name, "1J", array=np.array(columns[i], dtype=np.int32))
                        for i, name in enumerate(("id", "cat.archive", "cat.persistable", "row0", "nrows"))
                    ),
                    fits.Column("name", "64A", array=np.array(columns[5], dtype="S64")),
                    fits.Column("module", "64A", array=np.array(columns[6], dtype="S64")),
                ],
                [
                    ("EXTTYPE", "ARCHIVE_INDEX"),
                    ("EXTNAME", "ARCHIVE_INDEX"),
                    ("AR_CATN", 0),
                    ("AR_NCAT", 4),
                    version,
                ],
            ),
            _table(
                [fits.Column("id", "1J", array=2 * np.arange(n, dtype=np.int32) + 2)],
                [("EXTTYPE", "ARCHIVE_DATA"), ("AR_CATN", 1), ("EXTNAME", "Footprint"), version],
            ),
            _table(
                [fits.Column(name, "1J", array=flat[:, i]) for i, name in enumerate(("y", "x0", "x1"))],
                [("EXTTYPE", "ARCHIVE_DATA"), ("AR_CATN", 2), ("EXTNAME", "SpanSet"), version],
            ),
            _table(
                [
                    _bits(bits),
                    peak_column("id", "1K", [p.id for _, p in all_peaks]),
                    peak_column("f_x", "1E", [p.x for _, p in all_peaks]),
                    peak_column("f_y", "1E", [p.y for _, p in all_peaks]),
                    peak_column("i_x", "1J", [round(p.x) for _, p in all_peaks]),
                    peak_column("i_y", "1J", [round(p.y) for _, p in all_peaks]),
                    peak_column("peakValue", "1E", [p.value for _, p in all_peaks]),
                    peak_column("significance", "1D", [p.significance for _, p in all_peaks]),
                ],
                [
                    ("EXTTYPE", "ARCHIVE_DATA"),
                    ("AR_CATN", 3),
                    ("EXTVER", 2),
                    ("EXTNAME", "Footprint"),
                    version,
                ],
                peak_flags,
            ),
        ]
    )


def write_toy(footprints: Sequence[ToyFootprint], **options: Sequence[str]) -> bytes:
    """The catalogue as the content of a file."""
    stream = BytesIO()
    toy_hdus(footprints, **options).writeto(stream)
    return stream.getvalue()


def make_tables(
    footprints: Sequence[ToyFootprint], *, ids_of_catalog: bool = False, moved: bool = True
) -> BlendTables:
    """Tables of the parents with all their peaks, with counters or the identifiers of the catalogue."""
    parents = [f for f in footprints if f.parent == 0]
    peaks = [(i, p) for i, f in enumerate(parents) for p in f.peaks]
    peaks.sort(key=lambda pair: pair[1].is_inferred)
    blend, peak, spans = Table(), Table(), Table()
    for column in blend_columns(["features"]):
        blend[column.name] = np.full(len(parents), 0, column.dtype)
    ids = np.array(
        [f.id for f in parents] if ids_of_catalog else np.arange(1, len(parents) + 1), dtype=np.int64
    )
    blend["id"], blend["footprint_id"] = ids, np.arange(1, len(parents) + 1, dtype=np.int32)
    blend["p_blended"] = np.array([f.p_blended for f in parents], dtype=np.float32)
    blend["n_expected"] = np.array([1 + f.p_blended for f in parents], dtype=np.float32)
    for k, share in enumerate((0.1, 0.4, 0.3, 0.15, 0.05)):
        blend[f"p_n_{k}"] = np.full(len(parents), share, np.float32)
    blend[FLAGS[0].column] = np.arange(len(parents)) % 2 == 1
    for column in PEAK_COLUMNS:
        peak[column.name] = np.full(len(peaks), 0, column.dtype)
    peak["id"], peak["footprint_id"] = (
        ids[[i for i, _ in peaks]],
        np.array([i + 1 for i, _ in peaks], dtype=np.int32),
    )
    numbers = [p.id for _, p in peaks] if ids_of_catalog else range(1, len(peaks) + 1)
    peak["peak_id"] = np.array(list(numbers), dtype=np.int64)
    for axis in "xy":
        place = np.array([getattr(p, axis) for _, p in peaks], dtype=float)
        peak[f"f_{axis}"], peak[f"i_{axis}"] = place.astype(np.float32), np.rint(place).astype(np.int32)
        if moved:
            k = "xy".index(axis)
            peak[f"candidate_{axis}"] = np.array([p.candidate[k] for _, p in peaks], dtype=np.float32)
        else:
            # As tables of other programs may be.
            del peak[f"candidate_{axis}"]
    for name, attribute in (
        ("peak_value", "value"),
        ("significance",) * 2,
        ("probability",) * 2,
        ("is_inferred",) * 2,
    ):
        peak[name] = np.array([getattr(p, attribute) for _, p in peaks], dtype=peak[name].dtype)
    rows = [(i, *span) for i, f in enumerate(parents) for span in f.spans]
    columns = np.array(rows, dtype=np.int32).reshape(-1, 4)
    for column in SPAN_COLUMNS:
        spans[column.name] = np.zeros(len(columns), column.dtype)
    spans["id"], spans["footprint_id"] = ids[columns[:, 0]], columns[:, 0] + 1
    for k, name in enumerate(("y", "x0", "x1"), start=1):
        spans[name] = columns[:, k]
    return BlendTables(blend, peak, spans)
