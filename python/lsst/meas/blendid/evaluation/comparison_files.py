# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Comparisons as files: JSON, ECSV and a Parquet table with a row for each footprint."""

from __future__ import annotations

__all__ = ("prediction_table", "score_table", "scores_document", "write_scores")

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._files import atomic_paths
from .section import Section

if TYPE_CHECKING:
    from astropy.table import Table


def _columns(names: Sequence[str]) -> dict[str, str]:
    """Column of each model: its name with what is no letter, digit, dot or hyphen replaced."""
    columns: dict[str, str] = {}
    for name in names:
        base = column = "p_blended_" + (re.sub(r"[^\w.-]+", "_", name).strip("_") or "model")
        number = 2
        while column in columns.values():
            column, number = f"{base}_{number}", number + 1
        columns[name] = column
    return columns


def prediction_table(sections: Sequence[Section]) -> Table:
    """Make a table of all footprints with their truth and a column ``p_blended_<model>`` for each model.

    With several labels the footprints are repeated.
    """
    from astropy.table import Table, vstack

    parts = []
    columns = _columns(list(dict.fromkeys(name for s in sections for name in s.comparison.rows)))
    for section in sections:
        labelled, samples = section.scored.labelled, section.scored.labelled.samples
        n = len(samples)
        first = samples.offsets[:-1][samples.scene_index]
        table = Table(
            {
                "group": np.full(n, section.scored.name),
                "scene": samples.scene_index.astype(np.int32),
                "band": np.array([c.band or "" for c in samples.contexts], dtype=str)[samples.scene_index],
                "sky": labelled.sky.astype(np.int32),
                "footprint_id": (np.arange(n) - first + 1).astype(np.int32),
                "x": samples.centroid[:, 0].astype(np.float32),
                "y": samples.centroid[:, 1].astype(np.float32),
                "area": samples.area,
                "n_peaks": samples.n_peaks.astype(np.int32),
                "snr_min": np.full(n, labelled.snr_min, dtype=np.float32),
                "n_true": labelled.counts.astype(np.int32),
            }
        )
        if section.truth is not None:
            table["magnitude"] = section.truth.magnitude
            table["second_snr"] = section.truth.second_snr
            table["separation"] = section.truth.separation
            table["n_stars"] = section.truth.n_stars
            table["n_clumpy"] = section.truth.n_clumpy
        for name, column in columns.items():
            if name in section.scored.predictions:
                table[column] = section.scored.p_blended(name).astype(np.float32)
        parts.append(table)
    joined = vstack(parts, metadata_conflicts="silent") if len(parts) > 1 else parts[0]
    for name, (unit, description) in _DESCRIPTIONS.items():
        if name in joined.colnames:
            joined[name].unit, joined[name].description = unit, description
    for name, column in columns.items():
        joined[column].description = f"P(blended) by {name}."
    return joined


_DESCRIPTIONS: dict[str, tuple[str | None, str]] = {
    "group": (None, "Kind of scenes."),
    "scene": (None, "Number of the scene in its group, from 0."),
    "band": (None, "Band of the scene; empty if unknown."),
    "sky": (None, "Number of the piece of sky in its group; noise draws of one sky share it."),
    "footprint_id": (None, "Number of the footprint in its scene, from 1."),
    "x": ("pix", "Column of the centroid, parent pixels."),
    "y": ("pix", "Row of the centroid, parent pixels."),
    "area": ("pix2", "Area after growth."),
    "n_peaks": (None, "Number of peaks."),
    "snr_min": (None, "Least point-source S/N of the objects that count."),
    "n_true": (None, "True number of objects."),
    "magnitude": ("mag", "Magnitude of the brightest object."),
    "second_snr": (None, "Point-source S/N of the second brightest."),
    "separation": ("pix", "Distance of the second brightest from the brightest."),
    "n_stars": (None, "Number of stars among the objects."),
    "n_clumpy": (None, "Number of galaxies with knots among them."),
}


def score_table(sections: Sequence[Section]) -> Table:
    """Make one table of all scores.

    The tables of `.comparison.Comparison`, with columns ``group`` and ``snr_min`` before, and ``n_blocks``
    and ``block_size`` that errors are from (0 for footprints) behind; ``meta["notes"]`` has what to beware
    of.
    """
    from astropy.table import vstack

    parts = []
    for section in sections:
        table = section.comparison.table()
        table.add_column(np.full(len(table), section.comparison.snr_min), index=0, name="snr_min")
        table.add_column(np.full(len(table), section.scored.name), index=0, name="group")
        table["n_blocks"] = section.comparison.n_blocks
        table["block_size"] = section.comparison.block_size or 0
        table.meta = {}
        parts.append(table)
    joined = vstack(parts) if len(parts) > 1 else parts[0]
    joined.meta = {
        "reference": sections[0].comparison.reference,
        "notes": [f"{s.title}: {note}" for s in sections for note in s.notes],
    }
    return joined


def _plain(value: float) -> float | None:
    """Number for JSON."""
    return round(value, 5) if math.isfinite(value) else None


def scores_document(sections: Sequence[Section], *, facts: dict[str, Any]) -> dict[str, Any]:
    """Describe all sections for JSON, after other facts such as versions and settings."""
    return facts | {
        "sections": [
            {
                "group": section.scored.name,
                "baselines": section.baseline,
                "notes": [str(note) for note in section.notes],
                "psf_sigma": [_plain(v) for v in section.psf_sigma],
                "depth": None if section.depth is None else [_plain(v) for v in section.depth],
                "scenes": list(section.scored.labelled.provenance),
            }
            | section.comparison.to_dict()
            | {"bins": {bins.key: bins.to_dict() for bins in section.bins}}
            | {
                "kinds": {
                    kind.kind: {
                        "n": kind.n,
                        "called_blended": {k: _plain(v) for k, v in kind.called_blended.items()},
                        "mean_p": {k: _plain(v) for k, v in kind.mean_p.items()},
                    }
                    for kind in section.kinds
                }
            }
            | ({} if section.peaks is None else {"peaks": section.peaks.to_dict()})
            for section in sections
        ]
    }


def write_scores(
    folder: Path, sections: Sequence[Section], *, facts: dict[str, Any], page: str | None = None
) -> tuple[Path, ...]:
    """Write ``scores.json``, ``scores.ecsv`` and ``predictions.parquet``, and ``report.html`` if given.

    Files of these names in the folder are replaced, all at once or none.
    """
    import pyarrow.parquet

    from lsst.daf.butler.formatters.parquet import astropy_to_arrow

    names = ("scores.json", "scores.ecsv", "predictions.parquet", "report.html")
    paths = tuple(folder / name for name in names[: 3 if page is None else 4])
    with atomic_paths(paths) as (document, table, predictions, *report):
        text = json.dumps(
            scores_document(sections, facts=facts), indent=1, ensure_ascii=False, allow_nan=False
        )
        document.write_text(text + "\n", encoding="utf-8")
        score_table(sections).write(table, format="ascii.ecsv")
        pyarrow.parquet.write_table(astropy_to_arrow(prediction_table(sections)), predictions)
        if page is not None:
            report[0].write_text(page, encoding="utf-8")
    return paths
