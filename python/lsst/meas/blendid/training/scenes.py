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
    "FileScene",
    "LabelledScenes",
    "Scene",
    "SceneSource",
    "SimulatedScene",
    "label_scenes",
    "read_truth",
)

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..footprints import FootprintConfig, detect
from ..labels import count_galaxies, matched_snr
from ..psf import PsfSummary, summarize_psf
from ..samples import FootprintSamples, SceneContext, ab_zero_point

if TYPE_CHECKING:
    from astropy.table import Table

    from lsst.images import MaskedImage

    from ..simulation import GalaxySource, SizeModel, Survey
    from ..simulation.config import SceneConfig

type Progress = Callable[[int, int], None]
"""Called with the number of scenes done and in all."""

type Prepare = Callable[[FootprintSamples], bool]
"""Called with the footprints of a scene; tells whether the images may be forgotten."""


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
    """

    name: str
    sky: str
    masked_image: MaskedImage
    psf: PsfSummary
    truth: Table
    context: SceneContext
    provenance: dict[str, Any]


class SceneSource(Protocol):
    """Something that a scene can be got from, when it is needed."""

    def load(self) -> Scene:
        """Make or read the scene."""


@dataclass(frozen=True)
class SimulatedScene:
    """A scene to simulate.

    Parameters
    ----------
    source
        Source of galaxies: ``"parametric"``, the number or file of a truth
        scene, a table.
    size_model
        Galaxy sizes (`.simulation.SIZE_MODELS`).
    seed
        Seed of shapes and noise, and of the positions of the parametric
        catalogue.
    size
        Width and height, pixels.
    split
        Part of the sky that a truth scene must belong to ("train",
        "validation", "test").
    survey
        Band, or settings of a survey.
    config
        How the coadd is simulated: objects, variation of PSF and depth, artefacts (default:
        none of that).
    processes
        Processes that draw exposures, if the coadd is made of such.
    """

    source: GalaxySource | Table | str | Path | int = "parametric"
    size_model: str | SizeModel = "cosmodc2-galaxies"
    seed: int = 1
    size: tuple[int, int] = (2048, 2048)
    split: str | None = None
    survey: str | Survey = "i"
    config: SceneConfig | None = None
    processes: int = 1

    def load(self) -> Scene:
        """Simulate the scene.

        Returns
        -------
        scene
            The scene.

        Raises
        ------
        .simulation.SimulationError
            Raised if the settings make no sense.
        """
        from ..simulation import get_survey, simulate_scene
        from ..simulation.survey import AB_ZERO_POINT_NJY

        survey = get_survey(self.survey) if isinstance(self.survey, str) else self.survey
        simulated = simulate_scene(
            self.source,
            size=self.size,
            seed=self.seed,
            size_model=self.size_model,
            band=survey,
            split=self.split,
            config=self.config,
            processes=self.processes,
        )
        source, size_model = (simulated.truth.meta[name] for name in ("source", "size_model"))
        settings = simulated.truth.meta["settings"]
        coadd = simulated.coadd
        return Scene(
            name=f"{source}-{size_model}-{self.seed}",
            # A parametric sky is another one for every seed.
            sky=f"{source}-{self.seed}" if source == "parametric" else source,
            masked_image=coadd,
            psf=summarize_psf(coadd.psf, coadd.bbox),
            truth=simulated.truth,
            context=SceneContext(band=survey.band, zero_point=AB_ZERO_POINT_NJY),
            provenance={
                "source": source,
                "size_model": size_model,
                "seed": self.seed,
                "size": list(self.size),
                "split": simulated.truth.meta["split"],
                "band": survey.band,
            }
            | ({"settings": settings} if settings else {}),
        )


@dataclass(frozen=True)
class FileScene:
    """A scene in files.

    Parameters
    ----------
    image
        Coadd: any file that `.readers.read_image` reads.
    truth
        Table (FITS, ECSV, Parquet, CSV) with the columns ``x``, ``y`` (parent
        pixels) and ``snr`` or ``flux`` (image units).
    psf_fwhm, pixel_scale
        Seeing and pixel size in arcsec, for files without.
    """

    image: str | Path
    truth: str | Path
    psf_fwhm: float | None = None
    pixel_scale: float | None = None

    def load(self) -> Scene:
        """Read the scene.

        Returns
        -------
        scene
            The scene.

        Raises
        ------
        .readers.ReadError
            Raised if the image cannot be read.
        ValueError
            Raised if the truth cannot be read or lacks columns.
        """
        from ..readers import read_image

        read = read_image(str(self.image), psf_fwhm=self.psf_fwhm, pixel_scale=self.pixel_scale)
        psf = summarize_psf(read.psf, read.masked_image.bbox)
        truth = read_truth(self.truth)
        if "snr" not in truth.colnames:
            sigma = (
                float(np.sqrt(np.nanmedian(read.masked_image.variance.array)))
                if read.has_variance
                else np.nan
            )
            if "flux" not in truth.colnames or not np.isfinite(sigma):
                raise ValueError(
                    f"{self.truth}: needs a column 'snr', or 'flux' beside a coadd with variance"
                )
            truth["snr"] = matched_snr(np.asarray(truth["flux"]), psf.image, sigma)
        return Scene(
            name=str(self.image),
            sky=str(self.image),
            masked_image=read.masked_image,
            psf=psf,
            truth=truth,
            context=SceneContext(band=read.band, zero_point=ab_zero_point(read.masked_image.unit)),
            provenance={"image": Path(self.image).name, "truth": Path(self.truth).name}
            | ({"split": str(truth.meta["split"])} if "split" in truth.meta else {}),
        )


def read_truth(path: str | Path) -> Table:
    """Read a table of true galaxies.

    Parameters
    ----------
    path
        FITS, ECSV, CSV or Parquet file with the columns ``x`` and ``y``.

    Returns
    -------
    truth
        The table.

    Raises
    ------
    ValueError
        Raised, with the name of the file, if it cannot be read or lacks the
        columns.
    """
    from astropy.table import Table

    try:
        truth = Table.read(str(path))
    except Exception as err:
        # Each format fails with classes of its own.
        reason = "no such file" if isinstance(err, FileNotFoundError) else " ".join(str(err).split())[:200]
        raise ValueError(f"cannot read the truth table {path}: {reason}") from None
    missing = [name for name in ("x", "y") if name not in truth.colnames]
    if missing:
        raise ValueError(
            f"{path}: the truth table lacks {', '.join(missing)}; it has {', '.join(truth.colnames)}"
        )
    return truth


@dataclass(frozen=True)
class LabelledScenes:
    """Footprints of scenes with their true numbers of galaxies.

    Parameters
    ----------
    samples
        The n footprints.
    counts
        Number of galaxies in each, int of shape (n,).
    sky
        Piece of sky of each, int of shape (n,): the same for several noise
        draws of one sky.
    inside
        Share of the galaxies over the S/N limit that lie in a footprint, for
        each scene.
    provenance
        JSON-compatible facts of each scene.
    footprints
        Settings that the footprints of each scene were made with.
    snr_min
        Galaxies fainter than this were not counted.
    centers
        Objects of each scene that count, wherever they are: float32 of shape (m, 3), x, y (parent
        pixels) and point-source S/N; `None` if they are not known, as for stamps.
    """

    samples: FootprintSamples
    counts: np.ndarray
    sky: np.ndarray
    inside: tuple[float, ...]
    provenance: tuple[dict[str, Any], ...]
    footprints: tuple[FootprintConfig, ...]
    snr_min: float
    centers: tuple[np.ndarray, ...] | None = None

    @property
    def mix(self) -> dict[str, float]:
        """Shares of blended, unblended and empty footprints (`dict` [`str`, `float`])."""
        n = max(len(self.counts), 1)
        return {
            "blended": float(np.count_nonzero(self.counts > 1) / n),
            "unblended": float(np.count_nonzero(self.counts == 1) / n),
            "empty": float(np.count_nonzero(self.counts == 0) / n),
        }


def label_scenes(
    sources: Sequence[SceneSource],
    footprints: Sequence[FootprintConfig],
    *,
    snr_min: float = 5.0,
    keep_planes: bool = True,
    prepare: Prepare | None = None,
    progress: Progress | None = None,
) -> LabelledScenes:
    """Find and label the footprints of scenes.

    Parameters
    ----------
    sources
        The scenes; they are loaded one after the other.
    footprints
        Settings of the footprints, dealt out to the scenes in turn.
    snr_min
        Fainter galaxies do not count.
    keep_planes
        Keep the smoothed image and the masks of each scene; cutouts do not
        need them, and they are most of the memory.
    prepare
        Computes and keeps what will be needed of each scene, such as
        ``BlendClassifier.prepare``; if it returns `True`, all images of the scene are forgotten then.
    progress
        Called after each scene.

    Returns
    -------
    labelled
        The footprints with their labels.

    Raises
    ------
    ValueError
        Raised if there is no scene or no setting.
    """
    if not sources or not footprints:
        raise ValueError("no scene was given to learn from; give coadds with truth tables, or simulate some")
    parts: list[FootprintSamples] = []
    centers: list[np.ndarray] = []
    counts: list[np.ndarray] = []
    skies: list[str] = []
    inside: list[float] = []
    provenance: list[dict[str, Any]] = []
    for i, source in enumerate(sources):
        scene = source.load()
        config = footprints[i % len(footprints)]
        result = detect(scene.masked_image, psf=scene.psf, config=config)
        found = count_galaxies(result.footprints, scene.truth, snr_min=snr_min)
        counted = np.asarray(scene.truth["snr"]) >= snr_min
        centers.append(
            np.column_stack([np.asarray(scene.truth[k])[counted] for k in ("x", "y", "snr")]).astype("f4")
        )
        part = FootprintSamples([result], [scene.context])
        if prepare is not None and prepare(part):
            part = part.without_images()
        elif not keep_planes:
            part = FootprintSamples([result.without_planes()], [scene.context])
        parts.append(part)
        counts.append(found)
        skies.append(scene.sky)
        inside.append(float(found.sum()) / max(len(centers[-1]), 1))
        provenance.append(
            scene.provenance | {"noise": config.noiseSource, "background": bool(config.doSubtractBackground)}
        )
        if progress is not None:
            progress(i + 1, len(sources))
    names = sorted(set(skies))
    sky = np.repeat([names.index(s) for s in skies], [len(c) for c in counts])
    return LabelledScenes(
        FootprintSamples.join(parts),
        np.concatenate(counts),
        sky.astype(np.int64),
        tuple(inside),
        tuple(provenance),
        # Copies: a config that the caller changes later must not change what was done.
        tuple(copy.deepcopy(footprints[i % len(footprints)]) for i in range(len(sources))),
        snr_min,
        tuple(centers),
    )
