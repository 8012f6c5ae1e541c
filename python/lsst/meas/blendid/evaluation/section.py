# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""All that is worked out for one kind of scenes, and what to beware of."""

from __future__ import annotations

__all__ = ("Note", "Section", "make_section", "model_notes")

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..model_package import point_source_depth
from ..training.stamps import learned_stamps
from .breakdown import Bins, KindScores, TruthSummary, bin_scores, kind_scores, summarize_scenes
from .comparison import Comparison, compare
from .peak_comparison import DETECTED, PeakComparison, compare_peaks
from .peak_finders import make_found
from .scored_scenes import NamedModel, ScoredScenes


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
        if not isinstance(scene, dict):
            return None
        if "image" in scene:
            return str(scene["image"])
        if scene.get("source") == "parametric":
            # The built-in catalogue is another one for each seed.
            return f"parametric sky {scene.get('seed')}"
        return None if scene.get("source") is None or "unit" in scene else str(scene["source"])

    mine = {name(scene) for scene in (trained if isinstance(trained, list) else [])}
    return sorted({found for scene in scored if (found := name(scene)) is not None and found in mine})
