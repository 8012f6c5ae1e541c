# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Coadds that are there, with their true galaxies or labels: in files, or in a Butler repository."""

from __future__ import annotations

__all__ = (
    "ButlerScene",
    "FileScene",
    "complete_truth",
    "find_butler_scenes",
    "read_truth",
)

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..images import image_scale
from ..images.psf import PsfSummary, summarize_psf
from ..images.zero_points import ab_zero_point
from ..labels import matched_snr
from ..samples import SceneContext
from .label_tables import as_numbers, check_rows, read_labels, read_table
from .scenes import Scene
from .simulated import name_sky

if TYPE_CHECKING:
    from astropy.table import Table

    from lsst.daf.butler import Butler, DatasetRef
    from lsst.images import MaskedImage


@dataclass(frozen=True)
class FileScene:
    """A scene in files.

    Parameters
    ----------
    image
        Coadd: any file that `.images.read_image` reads.
    truth
        Table (FITS, ECSV, Parquet, CSV) with the columns ``x``, ``y`` (parent
        pixels) and ``snr`` or ``flux`` (image units).
    psf_fwhm, pixel_scale
        Seeing and pixel size in arcsec, for files without.
    labels
        Instead of the truth a table with the columns ``x``, ``y`` (parent pixels) and ``n_galaxies``: labels
        of some of the footprints (`.label_tables.read_labels`).
    hdu
        HDU of the image, as `.images.read_image` takes it.
    zero_point
        AB magnitude of one unit of the pixels; by default as the file tells.

    Raises
    ------
    ValueError
        Raised if there is a truth and labels, or none of them.
    """

    image: str | Path
    truth: str | Path | None = None
    psf_fwhm: float | None = None
    pixel_scale: float | None = None
    labels: str | Path | None = None
    hdu: int | str | tuple[str, int] | None = None
    zero_point: float | None = None

    def __post_init__(self) -> None:
        if (self.truth is None) == (self.labels is None):
            raise ValueError(f"{self.image}: give a truth table or a table of labels, one of them")

    def find_sky(self) -> str:
        """Name the piece of sky, as `load` does, without reading the image.

        Returns
        -------
        sky
            The name.

        Raises
        ------
        ValueError
            Raised if the truth cannot be read or lacks columns.
        """
        return self._name_sky(None if self.truth is None else read_truth(self.truth))

    def _name_sky(self, truth: Table | None) -> str:
        # Draws and bands of one simulated sky are the same sky.
        return (None if truth is None else name_sky(truth.meta)) or str(self.image)

    def load(self) -> Scene:
        """Read the scene.

        Returns
        -------
        scene
            The scene.

        Raises
        ------
        .images.ReadError
            Raised if the image cannot be read.
        ValueError
            Raised if the truth cannot be read or lacks columns.
        """
        from astropy.table import Table

        from ..images import image_scale, read_image

        read = read_image(str(self.image), hdu=self.hdu, psf_fwhm=self.psf_fwhm, pixel_scale=self.pixel_scale)
        psf = summarize_psf(read.psf, read.masked_image.bbox)
        scale = image_scale(read.masked_image) if self.pixel_scale is None else self.pixel_scale
        zero_point = read.find_zero_point(scale) if self.zero_point is None else self.zero_point
        facts: dict[str, Any] = {"image": Path(self.image).name}
        if self.labels is not None:
            labels, truth = read_labels(self.labels), Table({name: np.zeros(0) for name in ("x", "y", "snr")})
            facts["labels"] = Path(self.labels).name
        else:
            assert self.truth is not None
            labels, truth = None, read_truth(self.truth)
            complete_truth(truth, str(self.truth), psf, read.masked_image, read.has_variance)
            facts["truth"] = Path(self.truth).name
            if (simulated := name_sky(truth.meta)) is not None:
                facts["sky"] = simulated
        return Scene(
            name=str(self.image),
            sky=self._name_sky(truth),
            masked_image=read.masked_image,
            psf=psf,
            truth=truth,
            context=SceneContext(band=read.band, zero_point=zero_point),
            provenance=facts | ({"split": str(truth.meta["split"])} if "split" in truth.meta else {}),
            labels=labels,
            has_variance=read.has_variance,
            has_sky=read.has_sky,
            notes=tuple(read.decisive),
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
    return read_table(path, "truth table", ("x", "y"))


def complete_truth(
    truth: Table, name: str, psf: PsfSummary, masked_image: MaskedImage, has_variance: bool
) -> None:
    """Check a table of true galaxies, and add the S/N if it has fluxes only.

    Parameters
    ----------
    truth
        Table with a column ``snr`` or ``flux`` (image units); changed in place.
    name
        Its name, for messages.
    psf, masked_image, has_variance
        The coadd, and whether its variance plane was measured.

    Raises
    ------
    ValueError
        Raised if it has neither, or fluxes beside a coadd without variance, or rows without position, S/N or
        flux: such a galaxy could only be left out, and its footprint would be labelled wrongly.
    """
    check_rows(truth, ("x", "y"), name)
    if "snr" in truth.colnames:
        check_rows(truth, ("snr",), name)
        return
    sigma = float(np.sqrt(np.nanmedian(masked_image.variance.array))) if has_variance else np.nan
    if "flux" not in truth.colnames or not np.isfinite(sigma):
        raise ValueError(f"{name}: needs a column 'snr', or 'flux' beside a coadd with variance")
    check_rows(truth, ("flux",), name)
    truth["snr"] = matched_snr(as_numbers(truth, "flux"), psf.image, sigma)


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
        Its truth table, columns as in `FileScene`.
    """

    root: str
    coadd: DatasetRef
    truth: DatasetRef

    def find_sky(self) -> str:
        """Name the piece of sky; bands of a patch have the same, neighbours in a tract share a strip only.

        Returns
        -------
        sky
            The name.
        """
        place = (str(self.coadd.dataId.mapping.get(name)) for name in ("skymap", "tract", "patch"))
        # Simulated repositories have the same skymap, and other sky.
        return f"{self.root} {'-'.join(place)}"

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
                "write it to a file and name that as DATA"
            )
        psf = summarize_psf(psf_of_coadd, coadd.bbox)
        missing = [column for column in ("x", "y") if column not in truth.colnames]
        if missing:
            raise ValueError(
                f"{_describe(self.truth)} lacks {', '.join(missing)}; it has {', '.join(truth.colnames)}"
            )
        complete_truth(truth, _describe(self.truth), psf, coadd, True)
        band = self.coadd.dataId.mapping.get("band", getattr(coadd, "band", None))
        return Scene(
            name=name,
            sky=self.find_sky(),
            masked_image=coadd,
            psf=psf,
            truth=truth,
            context=SceneContext(
                band=None if band is None else str(band),
                zero_point=ab_zero_point(coadd.unit, image_scale(coadd)),
            ),
            provenance={"coadd": name, "truth": self.truth.datasetType.name, "run": self.coadd.run}
            | ({"sky": simulated} if (simulated := name_sky(truth.meta)) is not None else {})
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
