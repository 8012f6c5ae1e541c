# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Making the models that come with this package, from fixed seeds.

``python -m lsst.meas.blendid.training --truths FOLDER --out FOLDER`` does it.
"""

from __future__ import annotations

__all__ = ("SHIPPED_MODELS", "shipped_scenes", "train_shipped_models")

from collections.abc import Callable
from pathlib import Path

from ..footprints import FootprintConfig
from ..model_package import SUFFIX
from .scenes import SimulatedScene, label_scenes
from .train import clipped_footprints, simulated_scenes, train_classifier

SHIPPED_MODELS: dict[str, str] = {"peaks-i-1": "peaks", "logistic-i-1": "logistic"}
"""Classifier of each model that is shipped."""

_SEEDS = {"train": 20_000, "validation": 30_000}
_DRAWS = {"train": 3, "validation": 1}


def shipped_scenes(split: str, truths: str | Path | None = None) -> list[SimulatedScene]:
    """List the scenes that shipped models are trained or validated on.

    Parameters
    ----------
    split
        "train" or "validation".
    truths
        Folder of the truths of Buchanan et al. 2022 (that of
        ``$BLENDID_DATA`` if `None`).

    Returns
    -------
    scenes
        All truth scenes of that part of the sky with all galaxy sizes.

    Raises
    ------
    FileNotFoundError
        Raised if the truths are not there.
    """
    from ..simulation import SKY_SPLIT, find_truth_scene

    paths = [find_truth_scene(scene, truths) for scene in SKY_SPLIT[split]]
    return simulated_scenes(paths, draws=_DRAWS[split], seed=_SEEDS[split], split=split)


def _footprint_settings() -> tuple[FootprintConfig, FootprintConfig]:
    """Noise from the clipped variance and from the variance plane: the models are to hold for both."""
    return clipped_footprints(), FootprintConfig()


def train_shipped_models(
    out: str | Path,
    truths: str | Path | None = None,
    *,
    report: Callable[[str], None] | None = None,
) -> list[Path]:
    """Train the models that come with this package.

    Parameters
    ----------
    out
        Folder to write them to.
    truths
        As for `shipped_scenes`.
    report
        Called with a line for each step.

    Returns
    -------
    paths
        Files that were written.

    Raises
    ------
    FileNotFoundError
        Raised if the truths or the folder are not there.
    """
    say = report if report is not None else lambda _line: None
    if not Path(out).is_dir():
        raise FileNotFoundError(f"output folder does not exist: {out}")
    settings = _footprint_settings()
    labelled = {}
    for split in ("train", "validation"):
        scenes = shipped_scenes(split, truths)
        say(f"{split}: {len(scenes)} scenes")
        labelled[split] = label_scenes(scenes, settings, keep_planes=False)
    paths = []
    for model, classifier in SHIPPED_MODELS.items():
        package = train_classifier(
            classifier,
            labelled["train"],
            validation=labelled["validation"],
            model_name=model,
        )
        paths.append(package.write(Path(out) / f"{model}{SUFFIX}"))
        scores = package.metadata["validation"]["scores"]
        accuracy, loss = scores["balanced_accuracy"], scores["cross_entropy"]
        say(f"{paths[-1]}: balanced accuracy {accuracy}, cross-entropy {loss} at even prior")
    return paths
