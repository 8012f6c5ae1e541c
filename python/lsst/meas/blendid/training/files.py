# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Scenes in files: coadds with tables of what is in them."""

from __future__ import annotations

__all__ = ("FileScene", "complete_truth", "read_truth")

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..images.psf import PsfSummary, summarize_psf
from ..labels import matched_snr
from ..samples import SceneContext
from .label_tables import as_numbers, check_rows, read_labels, read_table
from .scenes import Scene

if TYPE_CHECKING:
    from astropy.table import Table

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

    def __post_init__(self) -> None:
        if (self.truth is None) == (self.labels is None):
            raise ValueError(f"{self.image}: give a truth table or a table of labels, one of them")

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
        facts: dict[str, Any] = {"image": Path(self.image).name}
        if self.labels is not None:
            labels, truth = read_labels(self.labels), Table({name: np.zeros(0) for name in ("x", "y", "snr")})
            facts["labels"] = Path(self.labels).name
        else:
            assert self.truth is not None
            labels, truth = None, read_truth(self.truth)
            complete_truth(truth, str(self.truth), psf, read.masked_image, read.has_variance)
            facts["truth"] = Path(self.truth).name
        return Scene(
            name=str(self.image),
            sky=str(self.image),
            masked_image=read.masked_image,
            psf=psf,
            truth=truth,
            context=SceneContext(band=read.band, zero_point=read.find_zero_point(scale)),
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
