# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""From scenes to labelled footprints."""

from __future__ import annotations

__all__ = ("Prepare", "PrepareAll", "label_scenes")

import copy
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._processes import map_in_order
from ..footprints import FootprintConfig, detect
from ..labels import count_galaxies, counted_objects
from ..samples import FootprintSamples
from .label_tables import UNKNOWN, explain_losses, match_labels
from .scenes import FAINTEST, LabelledScenes, Progress, Scene, SceneSource, Settings

if TYPE_CHECKING:
    from astropy.table import Table

_TRUTH_COLUMNS = ("x", "y", "snr", "mag", "is_star", "n_knots")

type Prepare = Callable[[FootprintSamples], bool]
"""Called with the footprints of a scene; tells whether the images may be forgotten."""


@dataclass(frozen=True)
class PrepareAll:
    """Computes what several models need of the pixels; other processes can get it."""

    prepares: Sequence[Prepare]

    def __call__(self, samples: FootprintSamples) -> bool:
        """Prepare for each, and forget the images if all can do without."""
        return all([prepare(samples) for prepare in self.prepares])


def label_scenes(
    sources: Sequence[SceneSource],
    footprints: Settings,
    *,
    snr_min: float = 5.0,
    keep_planes: bool = True,
    prepare: Prepare | None = None,
    processes: int = 1,
    progress: Progress | None = None,
) -> LabelledScenes:
    """Find and label the footprints of scenes.

    Parameters
    ----------
    sources
        The scenes; they are loaded one after the other.
    footprints
        Settings of the footprints, dealt out to the scenes in turn; to scenes without a variance
        plane, those that do not need one.  Or a function that gives the settings of a scene.
    snr_min
        Fainter galaxies do not count.
    keep_planes
        Keep the smoothed image and the masks of each scene; cutouts do not
        need them, and they are most of the memory.
    prepare
        Computes and keeps what will be needed of each scene, such as
        ``BlendClassifier.prepare``; if it returns `True`, all images of the scene are forgotten then.
    processes
        Number of processes that scenes are loaded and searched in; the result is the same for any.  With
        several, all that is given has to be such that another process can get it (`pickle`).
    progress
        Called after each scene.

    Returns
    -------
    labelled
        The footprints with their labels.

    Raises
    ------
    ValueError
        Raised if there is no scene or no setting, or if no setting works without variance plane for
        a scene that has none.
    """
    if not sources or not footprints:
        raise ValueError("no scene was given to learn from; give coadds with truth tables, or simulate some")
    label = _Labeller(footprints, snr_min, keep_planes, prepare)
    found: list[tuple[SceneSource, LabelledScenes]] = []
    lost: list[str] = []
    for i, (one, loss) in enumerate(map_in_order(label, list(enumerate(sources)), processes)):
        # A scene is listed once for each of the settings, and may not be one that all can search.
        if not any(sources[i] is source and one.footprints == other.footprints for source, other in found):
            found.append((sources[i], one))
            lost += [] if loss is None else [loss]
        if progress is not None:
            progress(i + 1, len(sources))
    labelled = LabelledScenes.join([one for _, one in found])
    if labelled.n_unlabelled and not len(labelled.counts):
        raise ValueError(
            f"none of the {labelled.n_unlabelled} footprints has a label that can be used: {'; '.join(lost)}"
        )
    return dataclasses.replace(labelled, notes=tuple(dict.fromkeys([*labelled.notes, *lost])))


@dataclass(frozen=True)
class _Labeller:
    """Finds and labels the footprints of the scene of a number."""

    footprints: Settings
    snr_min: float
    keep_planes: bool
    prepare: Prepare | None

    def __call__(self, job: tuple[int, SceneSource]) -> tuple[LabelledScenes, str | None]:
        """Give the scene, and a line on the labels that could not be used."""
        index, source = job
        scene = source.load()
        config = copy.deepcopy(_choose_settings(self.footprints, index, scene))
        result = detect(scene.masked_image, psf=scene.psf, config=config)
        true, lost = counted_objects(scene.truth, self.snr_min), None
        if scene.labels is not None:
            counts = match_labels(result.footprints, scene.labels)
            lost = explain_losses(result.footprints, scene.labels, f"labels of {scene.name}")
        else:
            counts = count_galaxies(result.footprints, scene.truth, snr_min=self.snr_min)
        samples = FootprintSamples([result], [scene.context])
        if self.prepare is not None and self.prepare(samples):
            samples = samples.without_images()
        elif not self.keep_planes:
            samples = samples.without_planes()
        known = counts != UNKNOWN
        if not known.all():
            # After what depends on the neighbours was computed.
            samples, counts = samples.select(known), counts[known]
        n_unlabelled = int(np.count_nonzero(~known))
        labelled = scene.labels is not None
        scenes = LabelledScenes(
            samples=samples,
            counts=counts,
            sky=np.zeros(len(counts), dtype=np.int64),
            inside=(float("nan") if labelled else float(counts.sum()) / max(len(true), 1),),
            provenance=(
                scene.provenance
                | {"noise": config.noiseSource, "background": bool(config.doSubtractBackground)}
                | ({"unlabelled": n_unlabelled} if n_unlabelled else {}),
            ),
            footprints=(config,),
            snr_min=self.snr_min,
            truths=None if labelled else (_remember(scene.truth, self.snr_min),),
            n_unlabelled=n_unlabelled,
            notes=tuple(f"{scene.name}: {note}" for note in scene.notes),
            skies=(scene.sky,),
        )
        return scenes, lost


def _remember(truth: Table, snr_min: float) -> Table:
    """What a scene keeps of its truth: the objects that may count, and what is of use of each."""
    with np.errstate(invalid="ignore"):
        use = np.ma.filled(np.ma.asarray(truth["snr"]).astype(np.float64), np.nan) >= min(snr_min, FAINTEST)
    return truth[[name for name in _TRUTH_COLUMNS if name in truth.colnames]][use]


def _choose_settings(footprints: Settings, i: int, scene: Scene) -> FootprintConfig:
    """Footprint settings of a scene: dealt out in turn, among those that it can be searched with."""
    if callable(footprints):
        return footprints(scene)
    if not scene.has_variance:
        footprints = [config for config in footprints if config.noiseSource != "variance"]
        if not footprints:
            raise ValueError(
                f"{scene.name} has no variance plane to take the noise from; take it from the pixels "
                "(noiseSource clipped)"
            )
    return footprints[i % len(footprints)]
