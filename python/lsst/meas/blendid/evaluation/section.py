# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Scenes with their scores, breakdowns and peaks: one section of a report, and all of them as files."""

from __future__ import annotations

__all__ = (
    "Note",
    "Section",
    "make_section",
    "model_notes",
    "prediction_table",
    "score_table",
    "scores_document",
    "write_scores",
)

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._files import atomic_paths
from ..model_package import point_source_depth
from ..training.simulated import name_sky
from ..training.stamps import learned_stamps
from .breakdown import Bins, KindScores, TruthSummary, bin_scores, kind_scores, summarize_scenes
from .comparison import Comparison, compare
from .peak_comparison import DETECTED, PeakComparison, compare_peaks
from .peak_finders import make_found
from .scored_scenes import NamedModel, ScoredScenes

if TYPE_CHECKING:
    from astropy.table import Table


class Note(NamedTuple):
    """What to beware of: a text that begins with what it is about."""

    about: str
    """Name of a model, or nothing."""
    text: str

    def __str__(self) -> str:
        return self.about + self.text


@dataclass(frozen=True)
class Section:
    """One kind of scenes with one label."""

    scored: ScoredScenes
    comparison: Comparison
    truth: TruthSummary | None
    """What is in the footprints, if known."""
    bins: tuple[Bins, ...]
    kinds: tuple[KindScores, ...]
    """Stars and clumpy galaxies apart; empty if there are none."""
    psf_sigma: tuple[float, float]
    """Narrowest and widest PSF, pixels."""
    depth: tuple[float, float] | None
    """Shallowest and deepest 5-sigma point-source depth, AB magnitudes, if known."""
    baseline: str
    """What the baselines were fitted to."""
    notes: tuple[Note, ...]
    """What to beware of."""
    peaks: PeakComparison | None = None
    """Peaks with probabilities beside the detected ones, if there are some."""

    @property
    def title(self) -> str:
        """Name of the scenes, with the label; stamps as a whole have one of their own."""
        # Stamps were made with one object or two: no limit in S/N chose.
        if all(scene.get("unit") == "stamp" for scene in self.scored.labelled.provenance):
            return self.scored.name
        return f"{self.scored.name}, S/N ≥ {self.comparison.snr_min:g}"


def make_section(
    scored: ScoredScenes,
    models: Sequence[NamedModel],
    *,
    reference: str | None,
    bootstrap: int = 200,
    baseline: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Section:
    """Work out scores, bins and notes of labelled footprints with the predictions of models and baselines.

    ``models`` are those that are no baselines, ``baseline`` says what these were fitted to.  Raises a
    ValueError if the footprints are of one kind only.
    """
    labelled, truth = scored.labelled, summarize_scenes(scored.labelled)
    comparison = compare(
        labelled, scored.predictions, reference=reference, bootstrap=bootstrap, progress=progress
    )
    p = {name: scored.p_blended(name) for name in scored.predictions}
    # Of scenes with smooth galaxies alone the table would have one row of each class, which the scores have
    # already.
    kinds: tuple[KindScores, ...] = ()
    if truth is not None and (truth.n_stars.any() or truth.n_clumpy.any()):
        kinds = tuple(kind_scores(p, labelled.counts, truth))
    samples = labelled.samples
    cautions = [] if comparison.caution is None else [Note("", comparison.caution)]
    sigmas = [result.psf.sigma for result in samples.results]
    depths = [
        point_source_depth(result.noise.sigma, result.psf.image, context.zero_point)
        for result, context in zip(samples.results, samples.contexts, strict=True)
        if context.zero_point is not None
    ]
    return Section(
        scored,
        comparison,
        truth,
        tuple(bin_scores(p, samples, labelled.counts, truth)),
        kinds,
        (min(sigmas), max(sigmas)),
        # A range of some scenes would pass for that of all.
        (min(depths), max(depths)) if len(depths) == len(sigmas) else None,
        baseline,
        tuple(cautions + [note for model in models for note in model_notes(model, scored)]),
        _compare_peaks(scored, bootstrap),
    )


def _compare_peaks(scored: ScoredScenes, bootstrap: int) -> PeakComparison | None:
    """Score the peaks of scenes whose galaxies are known, the detected ones first."""
    labelled = scored.labelled
    if labelled.truths is None or not scored.peaks or not labelled.counts.any():
        return None
    # Detected peaks set the purity that others are compared at.
    names = sorted(scored.peaks, key=lambda name: name != DETECTED)
    found = make_found(
        labelled.samples,
        labelled.truths,
        labelled.sky,
        {name: scored.peaks[name] for name in names},
        expected=scored.expected,
        snr_min=labelled.snr_min,
    )
    return compare_peaks(found, bootstrap=bootstrap)


def model_notes(model: NamedModel, scored: ScoredScenes) -> list[Note]:
    """Say where a model is used for what it was not made for, a sentence each.

    Another band, other seeing or depth, other footprints, another label, sky that it was trained on,
    footprints that it did not classify.
    """
    package, labelled = model.package, scored.labelled
    notes: list[str] = []
    # Scenes of unknown band are taken at their word: they may be of any.
    bands = {context.band for context in labelled.samples.contexts if context.band is not None}
    if others := sorted(band for band in bands if not package.supports_band(band)):
        notes.append(
            f" is for band {', '.join(package.bands)} and was applied to band "
            f"{', '.join(others)}: its probabilities are not calibrated there."
        )
    outside = float(np.mean(scored.outside[model.name]))
    if outside > 0.0:
        notes.append(
            f": {100.0 * outside:.0f} % of the footprints lie in images with another seeing "
            f"or depth than it was trained on ({_range('PSF σ', package.inputs.get('psf_sigma'), ' pix')}, "
            f"{_range('depth', package.inputs.get('depth'), ' mag')})."
        )
    differences = sorted(
        {d for config in labelled.footprints for d in package.footprint_differences(config.toDict())}
    )
    if differences:
        notes.append(f": footprints are made with other settings ({'; '.join(differences)}).")
    label = str(package.metadata.get("training", {}).get("label", ""))
    # With a space behind, as S/N >= 5 begins S/N >= 5.5.
    if "S/N >= " in label and f"S/N >= {labelled.snr_min:g} " not in f"{label} ":
        notes.append(f" was trained on another label ({label}): its probabilities are not for this one.")
    known = _known_sky(package.metadata.get("training", {}).get("scenes", []), labelled.provenance)
    if known:
        notes.append(f" was trained on some of this sky ({', '.join(known)}): its scores flatter it.")
    missing = int(np.count_nonzero(~np.isfinite(scored.p_blended(model.name))))
    if missing:
        notes.append(f" gives no probability for {missing:,} footprints, which its scores leave out.")
    whole = any(scene.get("unit") == "stamp" for scene in scored.labelled.provenance)
    if whole and package is not None and not learned_stamps(package):
        notes.append(
            ": trained on footprints of images; its probabilities are not calibrated on stamps as a whole."
        )
    return [Note(model.name, text) for text in notes]


def _range(name: str, limits: Any, unit: str) -> str:
    """Write a trained range."""
    if not limits:
        return f"any {name}"
    return f"{name} {limits[0]:.2f} to {limits[1]:.2f}{unit}"


def _known_sky(trained: Any, scored: Sequence[dict[str, Any]]) -> list[str]:
    """Names of scenes whose sky a model was trained on."""

    def name(scene: Any) -> str | None:
        if not isinstance(scene, dict) or "unit" in scene:
            return None
        # A simulated sky is the same in files and without; else the name of the file tells, as far as it can.
        found = scene.get("sky") or name_sky({"seed": None, "noise_seed": None} | scene) or scene.get("image")
        return None if found is None else str(found)

    mine = {name(scene) for scene in (trained if isinstance(trained, list) else [])}
    return sorted({found for scene in scored if (found := name(scene)) is not None and found in mine})


def _columns(names: Sequence[str]) -> dict[str, str]:
    """Column of each model: its name with what is no letter, digit, dot or hyphen replaced."""
    columns: dict[str, str] = {}
    for name in names:
        base = column = "p_blended_" + (re.sub(r"[^\w.-]+", "_", name).strip("_") or "model")
        number = 2
        # Different names may have the same letters.
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
    # In all sections the same columns: a model that skipped one has NaN there.
    columns = _columns(list(dict.fromkeys(name for s in sections for name in s.comparison.rows)))
    for section in sections:
        labelled, samples = section.scored.labelled, section.scored.labelled.samples
        n = len(samples)
        # Footprints count from 1 in each scene, as in its label image.
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
    # JSON has neither NaN nor infinity.
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

    # Together or not at all: scores beside the predictions of an earlier run would mislead.
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
