# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Stamps to train on and to test with."""

from __future__ import annotations

__all__ = ("Stamps", "look_at_stamps")

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ._common import CommandError, MisuseError

if TYPE_CHECKING:
    from ..footprints import FootprintConfig
    from ..model_package import ModelPackage
    from ..training import LabelledScenes

_LARGEST_CUTOUT = 51


@dataclass(frozen=True)
class Stamps:
    """How sets of stamps are made use of.

    Parameters
    ----------
    levels
        Noise to add to stamps that have none; that which their set names if empty.
    unit
        What is classified, "stamp" or "footprint".
    footprints
        Settings of the footprints.
    snr_min
        Fainter galaxies do not count in footprints.
    say
        Called with a line that the user should know, once for each line.
    """

    levels: tuple[float, ...]
    unit: Literal["stamp", "footprint"]
    footprints: FootprintConfig
    snr_min: float = 5.0
    say: Callable[[str], None] = print

    def label(self, folders: Sequence[str], split: str) -> LabelledScenes | None:
        """Label one part of sets.

        Parameters
        ----------
        folders
            Folders of the sets.
        split
            Part of them.

        Returns
        -------
        labelled
            Its footprints; `None` if it has no stamps.

        Raises
        ------
        MisuseError
            Raised if stamps have no noise and none is to be added.
        """
        from ..simulation.progress import stderr_progress
        from ..simulation.stamps import StampSet
        from ..training.stamps import add_noise, label_stamps

        sets: list[StampSet] = []
        for folder in folders:
            part = StampSet.read(folder).split(split)
            try:
                noisy = add_noise(part, self.levels)
            except ValueError as err:
                raise MisuseError(f"{folder}: {err}") from err
            if not (part.noise > 0.0).any() and not self.levels and len(part):
                levels = ", ".join(f"{one.noise[0]:g}" for one in noisy)
                self.say(
                    f"{folder}: noise of {levels} is added, as the set names it (--stamp-noise for another)"
                )
            sets += noisy
        if not any(len(part) for part in sets):
            return None
        progress = stderr_progress(f"Stamps for {split}")
        return label_stamps(sets, self.footprints, unit=self.unit, snr_min=self.snr_min, progress=progress)

    def test(self, package: ModelPackage, folder: str) -> str:
        """Say how a model does on the test stamps of a set.

        Parameters
        ----------
        package
            The model.
        folder
            Folder of the set.

        Returns
        -------
        text
            A line.

        Raises
        ------
        CommandError
            Raised if it has none.
        """
        import numpy as np

        from ..classifiers import find_classifier, split_probabilities
        from ..metrics import score

        labelled = self.label([folder], "test")
        if labelled is None:
            raise CommandError(f"no stamps for tests in {folder}")
        model = find_classifier(package).from_package(package)
        p, _ = split_probabilities(model.probabilities(labelled.samples))
        kinds = {"one": labelled.counts == 1, "more": labelled.counts > 1}
        right = [
            f"{np.mean((p[rows] > 0.5) == (name == 'more')):.1%} of {rows.sum()} with {name}"
            for name, rows in kinds.items()
            if rows.any()
        ]
        both = len(right) == len(kinds)
        auc = f"; AUC {score(p, labelled.counts).auc:.3f}" if both else ""
        return f"{folder}: right for {', '.join(right) or 'no ' + self.unit + ' with a galaxy'}{auc}"


def look_at_stamps(settings: Any, stamps: LabelledScenes) -> Any:
    """Make cutouts as large as stamps, up to a size whose pixels can still be decomposed in seconds.

    Parameters
    ----------
    settings
        Settings of a classifier.
    stamps
        The stamps.

    Returns
    -------
    settings
        The settings, with other cutouts if they have any.
    """
    if not hasattr(settings, "cutout"):
        return settings
    size = min(int(stamps.samples.area.max() ** 0.5) // 2 * 2 + 1, _LARGEST_CUTOUT)
    return dataclasses.replace(settings, cutout=dataclasses.replace(settings.cutout, size=size))
