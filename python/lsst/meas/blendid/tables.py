# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The three output tables: footprints, their peaks and their spans.

Column definitions here make the tables, the schema page of the user guide and
the schema test.
"""

from __future__ import annotations

__all__ = (
    "BLEND_COLUMNS",
    "PEAK_COLUMNS",
    "SPAN_COLUMNS",
    "BlendTables",
    "Column",
    "blend_columns",
    "find_blocked",
    "make_tables",
)

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from astropy.table import Table

from lsst.images import Box, SkyProjection

from .flags import FLAGS, flag_names
from .footprints import DetectionResult
from .footprints.measurements import footprint_fluxes, peak_fluxes
from .ids import row_ids
from .images.zero_points import NJY_ZERO_POINT, to_magnitudes
from .labels import N_CLASSES
from .located_peaks import LocatedPeaks

if TYPE_CHECKING:
    from lsst.sphgeom import Region


@dataclass(frozen=True)
class Column:
    """Definition of one table column.

    Parameters
    ----------
    name
        Column name.
    dtype
        NumPy dtype string.
    unit
        Unit as an astropy string; empty for dimensionless; ``image`` for the
        unit of the coadd's pixels; ``flux`` for nJy, or for the unit of the
        pixels where their zero point is not known.  In the tables, dimensionless integers and
        booleans have no unit at all: `astropy.table.QTable` would turn
        identifiers with one into floating-point numbers that collide.
    description
        What it holds.
    """

    name: str
    dtype: str
    unit: str
    description: str


_IDS = (
    Column(
        "id",
        "i8",
        "",
        "Unique identifier of the footprint: packed data ID and counter, or that of the record where "
        "footprints come from a catalogue.",
    ),
    Column("footprint_id", "i4", "", "Number of the footprint in its coadd, from 1; its label in the image."),
)

_BLEND_HEAD = (
    *_IDS,
    Column("bbox_x0", "i4", "pix", "First column of the bounding box, inclusive."),
    Column("bbox_y0", "i4", "pix", "First row of the bounding box, inclusive."),
    Column("bbox_x1", "i4", "pix", "Last column of the bounding box, inclusive."),
    Column("bbox_y1", "i4", "pix", "Last row of the bounding box, inclusive."),
    Column("area", "i4", "pix2", "Number of pixels after growth."),
    Column("area_detected", "i4", "pix2", "Number of pixels over the threshold, before growth."),
    Column("x", "f8", "pix", "Unweighted centroid of the grown footprint, column."),
    Column("y", "f8", "pix", "Unweighted centroid of the grown footprint, row."),
    Column("ra", "f8", "deg", "Right ascension (ICRS) of the centroid; NaN without WCS."),
    Column("dec", "f8", "deg", "Declination (ICRS) of the centroid; NaN without WCS."),
    Column(
        "is_patch_inner",
        "bool",
        "",
        "The centroid is in the inner region of the patch; true where that is not known.",
    ),
    Column(
        "is_tract_inner",
        "bool",
        "",
        "The centroid is in the inner region of the tract; true if no skymap was read.",
    ),
    Column("n_peaks", "i4", "", "Number of detected peaks."),
    Column("max_significance", "f4", "", "Largest point-source S/N of the footprint's peaks."),
    Column("p_blended", "f4", "", "P(N > 1) by the primary classifier, natural prior; NaN if flagged."),
)
_BLEND_TAIL = (
    *(
        Column(
            f"p_n_{k}",
            "f4",
            "",
            f"Probability that {'at least ' if k == N_CLASSES - 1 else ''}{k} objects are centred in the "
            "footprint, by the primary classifier; NaN where it gives none.",
        )
        for k in range(N_CLASSES)
    ),
    Column("n_expected", "f4", "", "Expected number of objects; NaN without P(N)."),
    Column(
        "novelty",
        "f4",
        "",
        "How unlike the footprints that the primary model learned from: minus log10 of the share of these "
        "that are as unusual; NaN for a model that does not tell.",
    ),
    Column("flux", "f4", "flux", "Sum of the footprint's pixels less the background, without bad ones."),
    Column("mag", "f4", "mag", "AB magnitude of flux; NaN without zero point or if flux is not positive."),
    Column("flag", "bool", "", "The footprint was not classified; the other flags say why."),
    *(Column(f.column, "bool", "", f.description) for f in FLAGS),
)


def blend_columns(classifiers: Sequence[str]) -> tuple[Column, ...]:
    """Columns of the footprint table.

    Parameters
    ----------
    classifiers
        Names of the classifiers that run, in order.

    Returns
    -------
    columns
        Definitions in the order of the table.
    """
    return (
        *_BLEND_HEAD,
        *(
            Column(f"p_blended_{name}", "f4", "", f"P(N > 1) by the classifier '{name}', natural prior.")
            for name in classifiers
        ),
        *_BLEND_TAIL,
    )


BLEND_COLUMNS = (
    *_BLEND_HEAD,
    Column("p_blended_<classifier>", "f4", "", "P(N > 1) by each classifier that ran, natural prior."),
    *_BLEND_TAIL,
)
"""Columns of the footprint table, for documentation."""

PEAK_COLUMNS = (
    *_IDS,
    Column(
        "peak_id",
        "i8",
        "",
        "Identifier of the peak, unique in the table and not related to id: detected peaks by footprint, the "
        "brightest first, then inferred ones.  Where footprints come from a catalogue detected ones have its "
        "identifiers, and inferred ones the numbers after its largest.",
    ),
    Column("i_x", "i4", "pix", "Column of the peak's pixel."),
    Column("i_y", "i4", "pix", "Row of the peak's pixel."),
    Column("f_x", "f4", "pix", "Column of the peak, refined below a pixel."),
    Column("f_y", "f4", "pix", "Row of the peak, refined below a pixel."),
    Column("peak_value", "f4", "image", "Value of the smoothed image at the peak's pixel."),
    Column("significance", "f4", "", "Point-source S/N at the peak's pixel."),
    Column(
        "probability",
        "f4",
        "",
        "Probability that an object which counts is there; those of a footprint add up to n_expected.  NaN "
        "where no localiser ran or the footprint is not classified.",
    ),
    Column("is_inferred", "bool", "", "The peak was inferred by a localiser, not detected."),
    Column("ra", "f8", "deg", "Right ascension (ICRS) of the refined position; NaN without WCS."),
    Column("dec", "f8", "deg", "Declination (ICRS) of the refined position; NaN without WCS."),
    Column(
        "flux",
        "f4",
        "flux",
        "Flux of a point source there: the smoothed image over what smoothing leaves of the PSF.  It is that "
        "of the core for a galaxy, and holds light of close neighbours; its error from the sky is flux / "
        "significance.",
    ),
    Column("mag", "f4", "mag", "AB magnitude of flux; NaN without zero point or if flux is not positive."),
    Column("xx", "f4", "pix2", "Variance of f_x as the position of the object; NaN where it is not known."),
    Column("yy", "f4", "pix2", "Variance of f_y as the position of the object; NaN where it is not known."),
    Column("xy", "f4", "pix2", "Covariance of f_x and f_y; NaN where it is not known."),
    Column(
        "candidate_x",
        "f4",
        "pix",
        "Column of the place where the localiser would put the object if no peak had been detected; NaN "
        "where it knows of none.",
    ),
    Column("candidate_y", "f4", "pix", "Row of that place."),
)

SPAN_COLUMNS = (
    *_IDS,
    Column("y", "i4", "pix", "Row of the span."),
    Column("x0", "i4", "pix", "First column of the span, inclusive."),
    Column("x1", "i4", "pix", "Last column of the span, inclusive."),
)


@dataclass(frozen=True)
class BlendTables:
    """The output of one coadd.

    Parameters
    ----------
    blend
        A row per footprint (`blend_columns`).
    blend_peak
        A row per peak (`PEAK_COLUMNS`).
    blend_spans
        A row per span (`SPAN_COLUMNS`).
    """

    blend: Table
    blend_peak: Table
    blend_spans: Table


def _build(
    columns: Sequence[Column],
    data: Mapping[str, np.ndarray],
    units: Mapping[str, u.UnitBase | None],
    meta: dict,
) -> Table:
    """Make a table with exactly the defined columns, dtypes, units and descriptions.

    Units that depend on the coadd are given by name.
    """
    table = Table(meta=meta)
    for column in columns:
        values = np.asarray(data[column.name]).astype(column.dtype)
        table[column.name] = values
        if column.unit in units:
            table[column.name].unit = units[column.unit] or u.dimensionless_unscaled
        elif column.unit or values.dtype.kind == "f":
            table[column.name].unit = u.Unit(column.unit)
        table[column.name].description = column.description
    return table


def _sky(
    projection: SkyProjection[Any] | None, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Sky positions in degrees, NaN without a projection."""
    if projection is None or len(x) == 0:
        return np.full(len(x), np.nan), np.full(len(x), np.nan)
    sky = projection.pixel_to_sky(x=x, y=y)
    return sky.ra.deg, sky.dec.deg


def _inside(box: Box | None, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether positions lie in the pixels of a box; true everywhere without a box."""
    if box is None:
        return np.ones(len(x), dtype=bool)
    return (x >= box.x.min - 0.5) & (x < box.x.max + 0.5) & (y >= box.y.min - 0.5) & (y < box.y.max + 0.5)


def _number_peaks(given: np.ndarray | None, n: int, first_id: tuple[int, int]) -> np.ndarray:
    """Identifiers of peaks: those of a catalogue for the first ones, if given, and the numbers after."""
    if given is None:
        return row_ids(n, *first_id)
    more = int(given.max(initial=0)) + 1 + np.arange(n - len(given), dtype=np.int64)
    return np.concatenate([given, more])


def _inside_region(region: Region | None, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Whether positions (degrees) lie in a region of the sky; true where that cannot be told."""
    inside = np.ones(len(ra), dtype=bool)
    known = np.isfinite(ra) & np.isfinite(dec)
    if region is not None and known.any():
        inside[known] = region.contains(np.deg2rad(ra[known]), np.deg2rad(dec[known]))
    return inside


def find_blocked(flags: Mapping[str, np.ndarray], p_blended: np.ndarray) -> np.ndarray:
    """Tell which footprints are left unclassified.

    Parameters
    ----------
    flags
        Arrays of shape (n,), by flag name without prefix; absent ones are false.
    p_blended : `numpy.ndarray`, shape (n,)
        P(N > 1) of the primary classifier.

    Returns
    -------
    blocked : `numpy.ndarray`, shape (n,), bool
        Those with a blocking flag, or without a finite probability.
    """
    # A probability that is not finite is none, whatever the reason.
    blocked = ~np.isfinite(p_blended)
    for flag in FLAGS:
        if flag.blocking and flag.name in flags:
            blocked = blocked | flags[flag.name]
    return blocked


def make_tables(
    result: DetectionResult,
    *,
    p_blended: Mapping[str, np.ndarray],
    primary: str,
    p_n: np.ndarray | None = None,
    n_expected: np.ndarray | None = None,
    novelty: np.ndarray | None = None,
    located: LocatedPeaks | None = None,
    flags: Mapping[str, np.ndarray],
    projection: SkyProjection[Any] | None = None,
    inner_box: Box | None = None,
    tract_inner_region: Region | None = None,
    image_unit: u.UnitBase | None = None,
    zero_point: float | None = None,
    first_id: tuple[int, int] = (0, 1 << 63),
    meta: Mapping[str, Any] | None = None,
) -> BlendTables:
    """Assemble the output tables of one coadd.

    Parameters
    ----------
    result
        Footprints with their peaks, n of them.
    p_blended
        For each classifier P(N > 1), shape (n,).
    primary
        The classifier that fills the column ``p_blended``.
    p_n : `numpy.ndarray`, shape (n, 5), optional
        Its P(N), if it gives that.
    n_expected : `numpy.ndarray`, shape (n,), optional
        Expected number of objects; from ``p_n`` if not given, counting the last class as 4.
    novelty : `numpy.ndarray`, shape (n,), optional
        How unlike those of training footprints are; NaN if not given.
    located
        Peaks with their probabilities; the detected ones without if not given.
    flags
        Arrays of shape (n,), by flag name without prefix; absent ones are
        false.  A footprint with a blocking one, or without a finite primary
        probability, gets ``flag`` and NaN probabilities.
    projection
        Sky projection of the coadd.
    inner_box
        Inner region of the patch in parent pixels; none for files.
    tract_inner_region
        Inner region of the tract on the sky; none without a skymap.
    image_unit
        Unit of the coadd's pixels.
    zero_point
        AB magnitude of one of that unit, if known: fluxes are in nJy then.
    first_id
        ID offset and number of counters, as given by
        `.ids.SkyMapIdConfig.first_id`.
    meta
        Table metadata, the same for all three tables.

    Returns
    -------
    tables
        The three tables.

    Raises
    ------
    KeyError
        Raised if ``primary`` is not in ``p_blended``, or a flag is not in
        `.flags.FLAGS`.
    """
    footprints = result.footprints
    n = len(footprints)
    if unknown := set(flags) - set(flag_names()):
        raise KeyError(f"unknown flags {sorted(unknown)}; known are {', '.join(flag_names())}")
    # Every flag is a column, also those that nothing set, so that tables of all coadds can be stacked.
    all_flags = {f.name: np.asarray(flags.get(f.name, np.zeros(n, dtype=bool))) for f in FLAGS}
    all_flags["classifier_failed"] = all_flags["classifier_failed"] | ~np.isfinite(p_blended[primary])
    blocked = find_blocked(all_flags, p_blended[primary])
    # Before the columns are made: a blocked row must not keep a number anywhere.
    blended = {name: np.where(blocked, np.nan, p) for name, p in p_blended.items()}
    p_n = np.full((n, N_CLASSES), np.nan) if p_n is None else np.where(blocked[:, np.newaxis], np.nan, p_n)
    if n_expected is None:
        n_expected = p_n @ np.arange(N_CLASSES)
    peaks = (LocatedPeaks.without_localizer(result) if located is None else located).peaks

    # nJy where the zero point is known, as in Rubin's tables; the unit of the image where not.
    to_flux = 1.0 if zero_point is None else 10.0 ** (0.4 * (NJY_ZERO_POINT - zero_point))
    flux_zero_point = None if zero_point is None else NJY_ZERO_POINT
    flux, peak_flux = footprint_fluxes(result) * to_flux, peak_fluxes(result, peaks) * to_flux

    # Footprints of a catalogue keep its identifiers, by which the tables are joined with it.
    ids = row_ids(n, *first_id) if footprints.ids is None else footprints.ids
    x, y = footprints.centroid[:, 0], footprints.centroid[:, 1]
    ra, dec = _sky(projection, x, y)
    blend = {
        "id": ids,
        "footprint_id": np.arange(1, n + 1),
        **{f"bbox_{corner}": footprints.bbox[:, k] for k, corner in enumerate(("x0", "y0", "x1", "y1"))},
        "area": footprints.area,
        "area_detected": footprints.area_detected,
        "x": x,
        "y": y,
        "ra": ra,
        "dec": dec,
        "is_patch_inner": _inside(inner_box, x, y),
        "is_tract_inner": _inside_region(tract_inner_region, ra, dec),
        "n_peaks": footprints.n_peaks,
        "max_significance": footprints.max_significance,
        "p_blended": blended[primary],
        **{f"p_blended_{name}": values for name, values in blended.items()},
        **{f"p_n_{k}": p_n[:, k] for k in range(N_CLASSES)},
        "n_expected": np.where(blocked, np.nan, n_expected),
        # Also where nothing was classified: it may say why.
        "novelty": np.full(n, np.nan) if novelty is None else novelty,
        "flux": flux,
        "mag": to_magnitudes(flux, flux_zero_point),
        "flag": blocked,
        **{f.column: all_flags[f.name] for f in FLAGS},
    }
    n_peaks = len(peaks)
    peak_ra, peak_dec = _sky(projection, peaks["f_x"], peaks["f_y"])
    peak = {
        "id": ids[peaks["footprint_id"] - 1],
        "footprint_id": peaks["footprint_id"],
        "peak_id": _number_peaks(footprints.peak_ids, n_peaks, first_id),
        **{name: peaks[name] for name in ("i_x", "i_y", "f_x", "f_y", "peak_value", "significance")},
        **{name: peaks[name] for name in ("probability", "is_inferred", "xx", "yy", "xy")},
        **{name: peaks[name] for name in ("candidate_x", "candidate_y")},
        "ra": peak_ra,
        "dec": peak_dec,
        "flux": peak_flux,
        "mag": to_magnitudes(peak_flux, flux_zero_point),
    }
    spans = footprints.spans
    span = {
        "id": ids[spans[:, 0] - 1],
        **{name: spans[:, k] for k, name in enumerate(("footprint_id", "y", "x0", "x1"))},
    }
    # A copy for each table: metadata of Astropy's tables are theirs.
    common = dict(meta or {})
    units = {"image": image_unit, "flux": image_unit if zero_point is None else u.nJy}
    return BlendTables(
        _build(blend_columns(list(p_blended)), blend, units, dict(common)),
        _build(PEAK_COLUMNS, peak, units, dict(common)),
        _build(SPAN_COLUMNS, span, units, dict(common)),
    )
