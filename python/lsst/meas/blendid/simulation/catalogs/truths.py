# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The true galaxies of the scenes of Buchanan et al. 2022, and their sky split.

The ten training scenes of the paper (files ``scene_00.fits`` … ``scene_09.fits``,
from LLNL's gp_blendclass_singleband) hold the positions and i-band photon counts
of every galaxy of ten 2048 × 2048 fields of cosmoDC2, and of a margin of 98 pixels
around each, whose galaxies shine into the field. Some fields overlap in strips of
398 pixels (1–2, 3–5, 4–8, 7–8; two of the paper's own test scenes overlap 6 and
9), so that a random split would leak sky from training to test.

The fields of two splits share no galaxy. Some of them share an edge or a corner
(0–7, 0–8, 1–7, 5–6), and there the margin of one reaches into the field of the other:
2504, 697, 686 and 780 galaxies are in both files. So the margins are for drawing
only, and `read_truth_scene` leaves them out unless asked for them.
"""

from __future__ import annotations

__all__ = (
    "SKY_SPLIT",
    "TruthScene",
    "check_split",
    "find_truth_scene",
    "read_truth_scene",
    "split_of",
    "truth_folder",
)

import dataclasses
import os
import re
from pathlib import Path

import numpy as np
from astropy.table import Table

from ..errors import SimulationError, SplitError
from ..survey import Survey, get_survey
from .columns import in_field

SKY_SPLIT: dict[str, tuple[int, ...]] = {"train": (1, 2, 3, 5), "validation": (4, 7, 8), "test": (0, 6, 9)}
"""Scenes of each part; the fields of no two parts share sky, their margins do."""

FIELD_SIZE = 2048
"""Width and height of the field of a scene, pixels."""

DATA_VARIABLE = "BLENDID_DATA"
"""Environment variable with the folder that holds ``buchanan2022``."""


def split_of(scene: int | str | Path) -> str | None:
    """Find the part of the sky that a scene belongs to.

    Parameters
    ----------
    scene
        Number of a scene, or a file name that ends with ``scene_XX.fits``.

    Returns
    -------
    split
        "train", "validation" or "test"; `None` if it is not one of the ten scenes.
    """
    if isinstance(scene, (str, Path)):
        match = re.fullmatch(r"scene_(\d+)\.fits(?:\.gz|\.fz)?", Path(scene).name)
        if match is None:
            return None
        scene = int(match[1])
    return next((name for name, scenes in SKY_SPLIT.items() if scene in scenes), None)


def check_split(scene: int | str | Path, split: str) -> None:
    """Make sure that a scene belongs to a part of the sky.

    Parameters
    ----------
    scene
        Number or file of a scene.
    split
        "train", "validation" or "test".

    Raises
    ------
    SplitError
        Raised if it belongs to another part, or to none.
    """
    if split not in SKY_SPLIT:
        raise SplitError(f"unknown split {split!r}; known splits: {', '.join(SKY_SPLIT)}")
    # In code and not by convention: strips of the scenes overlap, and test sky must not be fitted.
    actual = split_of(scene)
    if actual != split:
        name = f"scene {scene}" if isinstance(scene, int) else Path(scene).name
        scenes = ", ".join(map(str, SKY_SPLIT[split]))
        raise SplitError(
            f"{name} belongs to {'no split' if actual is None else f'the {actual} sky'}; "
            f"the {split} sky is scenes {scenes}"
        )


def truth_folder(folder: str | Path | None = None) -> Path:
    """Find the folder of the truth files.

    Parameters
    ----------
    folder
        The folder itself or one that holds ``buchanan2022``; `None`: that of
        ``$BLENDID_DATA``.

    Returns
    -------
    folder
        An existing folder.

    Raises
    ------
    FileNotFoundError
        Raised if there is none.
    """
    if folder is None:
        value = os.environ.get(DATA_VARIABLE)
        if not value:
            raise FileNotFoundError(f"set {DATA_VARIABLE} to the folder with buchanan2022/scene_00.fits")
        folder = value
    folder = Path(folder)
    for candidate in (folder / "buchanan2022", folder):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(f"no folder {folder} with truth files scene_XX.fits")


def find_truth_scene(scene: int, folder: str | Path | None = None) -> Path:
    """Find the file of a scene.

    Parameters
    ----------
    scene
        Number of the scene, 0 to 9.
    folder
        As for `truth_folder`.

    Returns
    -------
    path
        An existing file.

    Raises
    ------
    SimulationError
        Raised if there is no scene of that number.
    FileNotFoundError
        Raised if the file is missing.
    """
    if split_of(scene) is None:
        raise SimulationError(f"unknown scene {scene}; truths exist for scenes 0 to 9")
    path = truth_folder(folder) / f"scene_{scene:02d}.fits"
    if not path.is_file():
        raise FileNotFoundError(f"truth file not found: {path}")
    return path


def read_truth_scene(
    scene: int | str | Path,
    *,
    folder: str | Path | None = None,
    split: str | None = None,
    survey: Survey | None = None,
    margin: bool = False,
) -> Table:
    """Read the true galaxies of a scene.

    Parameters
    ----------
    scene
        Number of a scene, or the path of its file.
    folder
        Where scenes given by number are; see `truth_folder`.
    split
        Part of the sky that the scene must belong to. Code that fits anything says
        "train" here, and cannot take a test strip by mistake. `None`: any.
    survey
        Zero point and exposure time (default: band i).
    margin
        Add the galaxies of the margin around the field. Drawing needs them; whoever
        fits anything must not use them, because they may be sky of another split.

    Returns
    -------
    galaxies
        Table with columns ``id`` (row in the file), ``x``, ``y`` (0-based pixels),
        ``mag`` (AB) and ``in_field`` (whether the nearest pixel is one of the field);
        ``meta["split"]`` says which part of the sky the field is.

    Raises
    ------
    SplitError
        Raised if the scene is not in ``split``.
    SimulationError
        Raised if columns are missing or photon counts are not positive.
    FileNotFoundError
        Raised if the file does not exist.
    """
    if split is not None:
        check_split(scene, split)
    path = find_truth_scene(scene, folder) if isinstance(scene, int) else Path(scene)
    if not path.is_file():
        raise FileNotFoundError(f"truth file not found: {path}")
    survey = get_survey("i") if survey is None else survey
    try:
        raw = Table.read(path, format="fits")
    except Exception as err:
        raise SimulationError(f"cannot read a table from {path}: {err}") from err
    missing = [name for name in ("x", "y", "n_photon_i") if name not in raw.colnames]
    if missing:
        raise SimulationError(f"{path} has no column {', '.join(missing)}; it has: {', '.join(raw.colnames)}")
    # The released files have photons, not magnitudes.
    photons = np.array(raw["n_photon_i"], dtype=np.float64)
    bad = ~(np.isfinite(photons) & (photons > 0))
    if bad.any():
        raise SimulationError(
            f"{path}: n_photon_i must be positive; {bad.sum()} rows are not (first: {np.argmax(bad)})"
        )
    table = Table()
    table["id"] = np.arange(len(raw), dtype=np.int64)
    table["x"] = np.array(raw["x"], dtype=np.float64)
    table["y"] = np.array(raw["y"], dtype=np.float64)
    table["mag"] = survey.photons_to_mag(photons)
    table["in_field"] = in_field(table["x"], table["y"], (FIELD_SIZE, FIELD_SIZE))
    table.meta["scene"] = path.name
    table.meta["split"] = split_of(path) or "unknown"
    return table if margin else table[np.asarray(table["in_field"])]


@dataclasses.dataclass(frozen=True)
class TruthScene:
    """One of the scenes whose truths were released with Buchanan et al. 2022.

    See `~lsst.meas.blendid.simulation.read_truth_scene`.
    """

    path: Path
    """File of the scene."""

    split: str | None = None
    """Part of the sky that the scene must belong to (`None`: any)."""

    @property
    def name(self) -> str:
        """Short name."""
        return self.path.stem

    def galaxies(self, size: tuple[int, int], survey: Survey, rng: np.random.Generator) -> Table:
        """Read the galaxies of the field and its margin; see `GalaxySource.galaxies`.

        Those of the margin, which may be sky of another split, are for drawing: the
        truth of a simulated scene has only what is centred in its image.

        Parameters
        ----------
        size
            Width and height of the field, at most 2048 pixels each.
        survey
            Converts photons to magnitudes, if it is that of band i.
        rng
            Not used.

        Returns
        -------
        galaxies
            Table with columns ``id``, ``x``, ``y`` (pixels), ``mag_i``, ``in_field``, and ``gamma1``,
            ``gamma2`` and ``kappa``, which are 0 so that the fluxes stay those of the file.

        Raises
        ------
        SimulationError
            Raised if the field is larger than the scene.
        """
        if max(size) > FIELD_SIZE:
            raise SimulationError(
                f"{self.path.name} covers {FIELD_SIZE} × {FIELD_SIZE} pixels, "
                f"less than the {size[0]} × {size[1]} asked for"
            )
        # Photons of the file are of band i, whatever band is simulated.
        of_band = survey if survey.band == "i" else get_survey("i")
        table = read_truth_scene(self.path, split=self.split, survey=of_band, margin=True)
        table.rename_column("mag", "mag_i")
        # The fluxes are what was seen: they must not be magnified.
        for name in ("gamma1", "gamma2", "kappa"):
            table[name] = np.zeros(len(table))
        return table
