# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Scenes in Butler repositories: coadds with truth tables beside them."""

from __future__ import annotations

__all__ = ("ButlerScene", "find_butler_scenes")

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..images import image_scale
from ..images.psf import summarize_psf
from ..images.zero_points import ab_zero_point
from ..samples import SceneContext
from .files import complete_truth
from .scenes import Scene

if TYPE_CHECKING:
    from lsst.daf.butler import Butler, DatasetRef


@dataclasses.dataclass(frozen=True)
class ButlerScene:
    """A coadd and its truth table in a Butler repository.

    Parameters
    ----------
    root
        Root of the repository, or its configuration.
    coadd
        The coadd: anything that is read as an `lsst.images.MaskedImage` with a PSF.
    truth
        Its truth table, columns as in `.files.FileScene`.
    """

    root: str
    coadd: DatasetRef
    truth: DatasetRef

    def load(self) -> Scene:
        """Read the scene.

        Returns
        -------
        scene
            The scene.

        Raises
        ------
        ValueError
            Raised if the coadd is no image with a PSF, or the truth lacks columns.
        """
        from lsst.daf.butler import Butler
        from lsst.images import MaskedImage

        with Butler.from_config(self.root) as butler:
            coadd, truth = butler.get(self.coadd), butler.get(self.truth)
        name = _describe(self.coadd)
        psf_of_coadd = getattr(coadd, "psf", None)
        if not isinstance(coadd, MaskedImage) or psf_of_coadd is None:
            raise ValueError(
                f"{name} is a {type(coadd).__name__}, not an image of lsst.images with a PSF; "
                "write it to a file and give that with --coadd"
            )
        psf = summarize_psf(psf_of_coadd, coadd.bbox)
        missing = [column for column in ("x", "y") if column not in truth.colnames]
        if missing:
            raise ValueError(
                f"{_describe(self.truth)} lacks {', '.join(missing)}; it has {', '.join(truth.colnames)}"
            )
        complete_truth(truth, _describe(self.truth), psf, coadd, True)
        data_id = {key: value for key, value in self.coadd.dataId.mapping.items()}
        band = data_id.get("band", getattr(coadd, "band", None))
        return Scene(
            name=name,
            # Neighbours in one tract share a strip of sky, but bands of a patch all of it.
            sky=f"{data_id.get('skymap')}-{data_id.get('tract')}-{data_id.get('patch')}",
            masked_image=coadd,
            psf=psf,
            truth=truth,
            context=SceneContext(
                band=None if band is None else str(band),
                zero_point=ab_zero_point(coadd.unit, image_scale(coadd)),
            ),
            provenance={"coadd": name, "truth": self.truth.datasetType.name, "run": self.coadd.run}
            | ({"split": str(truth.meta["split"])} if truth.meta.get("split") else {}),
        )


def _describe(ref: DatasetRef) -> str:
    """Name of a dataset: its type and data ID."""
    return f"{ref.datasetType.name} " + ", ".join(f"{k} {v}" for k, v in ref.dataId.mapping.items())


def find_butler_scenes(
    root: str | Path,
    collections: str | Sequence[str],
    *,
    where: str = "",
    coadd_dataset: str = "deep_coadd",
    truth_dataset: str | None = None,
) -> list[ButlerScene]:
    """Find the coadds in a Butler repository that have a truth table.

    Parameters
    ----------
    root
        Root of the repository.
    collections
        Collections to search, a sequence or one string with commas.
    where
        Butler expression that chooses among the coadds, such as ``"tract = 9813 AND band = 'i'"``.
    coadd_dataset
        Dataset type of the coadds.
    truth_dataset
        Dataset type of the truth tables (``<coadd_dataset>_truth`` if `None`).

    Returns
    -------
    scenes
        The coadds, sorted by data ID.

    Raises
    ------
    FileNotFoundError
        Raised if there is no repository.
    ValueError
        Raised if there is no coadd, or one of them has no truth table.
    """
    from lsst.daf.butler import Butler, EmptyQueryResultError

    names = collections.split(",") if isinstance(collections, str) else list(collections)
    truth_dataset = f"{coadd_dataset}_truth" if truth_dataset is None else truth_dataset
    try:
        opened = Butler.from_config(str(root), collections=names)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no Butler repository {root}") from None
    with opened as butler:
        try:
            coadds = _query(butler, coadd_dataset, where)
            truths = _query(butler, truth_dataset, where)
        except EmptyQueryResultError as err:
            raise ValueError(f"{root}: {' '.join(str(err).split())}") from None
    if not coadds:
        chosen = f" where {where}" if where else ""
        raise ValueError(f"{root} has no {coadd_dataset} in {', '.join(names)}{chosen}")
    without = [key for key in coadds if key not in truths]
    if without:
        raise ValueError(
            f"{len(without)} of the {len(coadds)} coadds have no {truth_dataset}, such as "
            f"{_describe(coadds[without[0]])}: leave them out with --where, or name the truths' dataset type"
        )
    return [ButlerScene(str(root), coadds[key], truths[key]) for key in sorted(coadds, key=str)]


def _query(butler: Butler, dataset: str, where: str) -> dict[Any, DatasetRef]:
    """Datasets by data ID, those of the first collection that has them."""
    from lsst.daf.butler import MissingCollectionError, MissingDatasetTypeError

    try:
        refs = butler.query_datasets(dataset, where=where, find_first=True, explain=False, limit=None)
    except MissingDatasetTypeError:
        raise ValueError(f"the repository has no dataset type {dataset!r}") from None
    except MissingCollectionError as err:
        raise ValueError(" ".join(str(err).split())) from None
    return {tuple(sorted(ref.dataId.mapping.items())): ref for ref in refs}
