# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Scenes to learn from: coadds whose true galaxies are known."""

from __future__ import annotations

__all__ = (
    "FAINTEST",
    "LabelledScenes",
    "Scene",
    "SceneSource",
    "Settings",
    "check_sky",
)

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..classifiers import LabelledSamples
from ..footprints import FootprintConfig
from ..images.psf import PsfSummary
from ..labels import counted_objects
from ..samples import FootprintSamples, SceneContext

if TYPE_CHECKING:
    from astropy.table import Table

    from lsst.images import MaskedImage


FAINTEST = 4.0
"""Point-source S/N of the faintest objects that a scene remembers: fainter ones count under no label."""

type Progress = Callable[[int, int], None]
"""Called with the number of scenes done and in all."""

type Settings = Sequence[FootprintConfig] | Callable[[Scene], FootprintConfig]
"""Settings of footprints that are dealt out to scenes in turn, or what gives those of a scene."""


@dataclass(frozen=True)
class Scene:
    """A coadd and what is in it.

    Parameters
    ----------
    name
        Name, unique among the scenes used together.
    sky
        Name of the piece of sky; the same for several noise draws of one.
    masked_image
        Image, mask and variance.
    psf
        Its PSF.
    truth
        Columns ``x``, ``y`` (parent pixels) and ``snr`` (point-source S/N from
        the sky alone).
    context
        Band, zero point and pixel scale.
    provenance
        JSON-compatible facts to keep with a model.
    labels
        Instead of a truth, numbers of galaxies that somebody gave footprints: columns ``x``, ``y``
        (parent pixels) and ``n_galaxies`` (`.label_tables.match_labels`).
    has_variance
        Whether the variance plane was measured.
    has_sky
        Whether the sky background may still be in the image; by default where there is no variance plane.
    notes
        What was assumed when it was read and decides the result.
    """

    name: str
    sky: str
    masked_image: MaskedImage
    psf: PsfSummary
    truth: Table
    context: SceneContext
    provenance: dict[str, Any]
    labels: Table | None = None
    has_variance: bool = True
    has_sky: bool | None = None
    notes: tuple[str, ...] = ()


class SceneSource(Protocol):
    """Something that a scene can be got from, when it is needed."""

    def load(self) -> Scene:
        """Make or read the scene."""


@dataclass(frozen=True, kw_only=True)
class LabelledScenes(LabelledSamples):
    """Footprints of scenes with their true numbers of galaxies, and what is known of the scenes.

    Parameters
    ----------
    samples, counts, weights, sky
        As of `.classifiers.LabelledSamples`.
    centers
        As there; by default those of the ``truths`` that count, and not known without these.
    inside
        Share of the galaxies over the S/N limit that lie in a footprint, for
        each scene.
    provenance
        JSON-compatible facts of each scene.
    footprints
        Settings that the footprints of each scene were made with.
    snr_min
        Galaxies fainter than this were not counted.
    truths
        Objects of each scene, wherever they are, down to `FAINTEST` or to ``snr_min`` if that is fainter:
        columns ``x``, ``y`` (parent pixels), ``snr``, and ``mag``, ``is_star`` and ``n_knots`` where they are
        known; `None` if there are none for some scene, as for stamps.
    n_unlabelled
        Number of footprints that were left out because nobody labelled them.
    notes
        What was assumed when scenes were read, and what was lost of their labels, a line each.
    skies
        Names of the pieces of sky, by the numbers in ``sky``; scenes without them cannot be joined.
    """

    sky: np.ndarray
    inside: tuple[float, ...]
    provenance: tuple[dict[str, Any], ...]
    footprints: tuple[FootprintConfig, ...]
    snr_min: float
    truths: tuple[Table, ...] | None = None
    n_unlabelled: int = 0
    notes: tuple[str, ...] = ()
    skies: tuple[str, ...] = ()

    @classmethod
    def join(cls, parts: Sequence[LabelledScenes]) -> LabelledScenes:
        """Put scenes that were labelled alike one after the other.

        Parameters
        ----------
        parts
            At least one.

        Returns
        -------
        labelled
            All of them; what is the same piece of sky by name has one number.
        """
        names = sorted({name for part in parts for name in part.skies})
        numbers = [np.array([names.index(name) for name in part.skies], dtype=np.int64) for part in parts]
        truths = tuple(table for part in parts for table in part.truths or ())
        return cls(
            samples=FootprintSamples.join([part.samples for part in parts]),
            counts=np.concatenate([part.counts for part in parts]),
            sky=np.concatenate([number[part.sky] for number, part in zip(numbers, parts, strict=True)]),
            inside=tuple(share for part in parts for share in part.inside),
            provenance=tuple(facts for part in parts for facts in part.provenance),
            footprints=tuple(config for part in parts for config in part.footprints),
            snr_min=parts[0].snr_min,
            truths=truths if all(part.truths is not None for part in parts) else None,
            n_unlabelled=sum(part.n_unlabelled for part in parts),
            notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
            skies=tuple(names),
        )

    def __post_init__(self) -> None:
        if self.centers is None and self.truths is not None:
            centers = [counted_objects(truth, self.snr_min).astype("f4") for truth in self.truths]
            object.__setattr__(self, "centers", tuple(centers))
        super().__post_init__()

    @property
    def mix(self) -> dict[str, float]:
        """Shares of blended, unblended and empty footprints (`dict` [`str`, `float`])."""
        n = max(len(self.counts), 1)
        return {
            "blended": float(np.count_nonzero(self.counts > 1) / n),
            "unblended": float(np.count_nonzero(self.counts == 1) / n),
            "empty": float(np.count_nonzero(self.counts == 0) / n),
        }


def check_sky(labelled: LabelledScenes, held_out: LabelledScenes | None = None) -> None:
    """Refuse to learn from what is kept for validation or tests.

    Parameters
    ----------
    labelled
        Scenes to learn from.
    held_out
        Scenes that the model is calibrated and scored on.

    Raises
    ------
    ValueError
        Raised if one of them belongs to the validation or the test split, or is of the same sky as one that
        is held out.
    """
    if held_out is not None and (both := sorted(set(labelled.skies) & set(held_out.skies))):
        raise ValueError(
            f"validation has sky that is learned from as well ({', '.join(both[:3])}"
            f"{' …' if len(both) > 3 else ''}); give scenes of other sky"
        )
    for scene in labelled.provenance:
        if scene.get("split") in ("validation", "test"):
            name = scene.get("truth", scene.get("source", "a scene"))
            raise ValueError(
                f"{name} belongs to the {scene['split']} split, which nothing may learn from; "
                "of the truth scenes, 1, 2, 3 and 5 are for training"
            )
