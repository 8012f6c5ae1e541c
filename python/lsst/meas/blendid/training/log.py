# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What a model package tells about its training."""

from __future__ import annotations

__all__ = ("describe_inputs", "describe_training", "find_versions", "rounded", "summarize_scenes")

import importlib.metadata
import sys
from typing import Any

import numpy as np

from ..model_package import point_source_depth
from ..trained_plugin import TrainedPlugin
from .scenes import LabelledScenes
from .settings import VARIANT_FIELDS

_COMMON_FIELDS = (
    "combinedGrow",
    "includeThresholdMultiplier",
    "isotropicGrow",
    "minPixels",
    "nSigmaForKernel",
    "nSigmaToGrow",
    "thresholdType",
    "thresholdValue",
)
"""Settings that make a footprint another one; kept with a model if all scenes had the same."""

_LIBRARIES = ("numpy", "scipy", "scikit-learn", "numba")
_LIBRARIES_OF = {
    "cnn": ("keras", "tensorflow", "torch", "jax"),
    "centers": ("keras", "tensorflow", "torch", "jax"),
    "muygps": ("MuyGPyS",),
}
"""Libraries that all classifiers are fitted with, and those of some."""


def find_versions(name: str) -> dict[str, str]:
    """Find the versions of what a model was made with.

    Parameters
    ----------
    name
        Name of the classifier.

    Returns
    -------
    versions
        Versions by name of the distribution; optional libraries of the classifier only if they are loaded.
    """
    names = ["lsst-meas-blendid", *_LIBRARIES]
    # The backends of Keras exclude each other, so only those in use.
    names += [library for library in _LIBRARIES_OF.get(name, ()) if library in sys.modules]
    versions = {}
    for library in names:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            versions[library] = "unknown"
    return versions


def rounded(values: dict[str, Any]) -> dict[str, Any]:
    """Round numbers for JSON.

    Parameters
    ----------
    values
        Values by name.

    Returns
    -------
    values
        Floats to six digits, `None` for those that are not finite.
    """
    return {
        k: (round(v, 6) if np.isfinite(v) else None) if isinstance(v, float) else v for k, v in values.items()
    }


def summarize_scenes(labelled: LabelledScenes, *, with_settings: bool = True) -> list[dict[str, Any]]:
    """Give the facts of scenes that go into a package.

    Parameters
    ----------
    labelled
        The scenes.
    with_settings
        Keep the settings of simulated scenes, most of the text?  A recipe that names the seeds tells them
        as well.

    Returns
    -------
    scenes
        JSON-compatible, one record for each.
    """
    return [
        {k: v for k, v in scene.items() if with_settings or k != "settings"} for scene in labelled.provenance
    ]


def describe_training(labelled: LabelledScenes, classifier: TrainedPlugin) -> dict[str, Any]:
    """Say what was learned from, and how the fit went.

    Parameters
    ----------
    labelled
        What was learned from.
    classifier
        After the fit.

    Returns
    -------
    description
        JSON-compatible, without the scenes; curves of the fit as ``history`` if there are some.
    """
    inside = [share for share in labelled.inside if np.isfinite(share)]
    description: dict[str, Any] = {
        "label": f"galaxies with point-source S/N >= {labelled.snr_min:g} from the sky alone",
        "n_footprints": len(labelled.counts),
        "n_unlabelled": labelled.n_unlabelled,
        "mix": rounded(labelled.mix),
        "inside": round(float(np.mean(inside)), 6) if inside else None,
    }
    if len(inside) < len(labelled.inside):
        description["label"] = "given numbers of galaxies"
    if classifier.history:
        description["history"] = {
            name: [
                None if value is None or not np.isfinite(value) else float(f"{value:.6g}") for value in curve
            ]
            for name, curve in classifier.history.items()
        }
    return description


def describe_inputs(labelled: LabelledScenes) -> dict[str, Any]:
    """Find the bands, settings and ranges that a model holds for.

    Parameters
    ----------
    labelled
        What it was trained on.

    Returns
    -------
    inputs
        ``bands``, ``footprints`` (settings that all scenes have), ``footprint_variants`` (the
        combinations of the others), ``psf_sigma`` and ``depth`` as in `.model_package.ModelPackage`.
    """
    samples = labelled.samples
    bands = sorted({context.band for context in samples.contexts if context.band is not None})
    if any(context.band is None for context in samples.contexts):
        bands = []
    sigmas = [result.psf.sigma for result in samples.results]
    depths = [
        point_source_depth(result.noise.sigma, result.psf.image, context.zero_point)
        for result, context in zip(samples.results, samples.contexts, strict=True)
        if context.zero_point is not None
    ]
    settings = [config.toDict() for config in labelled.footprints]
    common = {
        name: settings[0][name]
        for name in _COMMON_FIELDS
        if all(s[name] == settings[0][name] for s in settings)
    }
    variants: list[dict[str, Any]] = []
    for one in settings:
        variant = {name: one[name] for name in VARIANT_FIELDS}
        if variant not in variants:
            variants.append(variant)
    return {
        "bands": bands,
        "footprints": common,
        "footprint_variants": variants,
        "psf_sigma": [round(min(sigmas), 4), round(max(sigmas), 4)],
        "depth": [round(min(depths), 3), round(max(depths), 3)] if len(depths) == len(sigmas) else None,
    }
