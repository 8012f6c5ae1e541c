# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""A set of postage stamps with what is in each: images, PSFs, labels and truth; and its files."""

from __future__ import annotations

__all__ = (
    "SPLITS",
    "StampSet",
    "StampSetError",
    "check_counts",
    "check_output",
    "write_noisy",
)

import dataclasses
import json
import math
import operator
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from lsst.daf.butler.formatters.parquet import arrow_to_astropy, astropy_to_arrow

from ..._files import atomic_path
from ...labels import matched_snr
from ..errors import SimulationError

SPLITS = ("train", "validation", "test")
"""Names of the parts of a set, none of which shares a source galaxy with another."""

_STAMP_COLUMNS = (
    "stamp_id",
    "is_blended",
    "n_objects",
    "separation",
    "split",
    "noise",
    "realisation",
    "psf_index",
)
_FORMAT = 1
_HEADER = "stamp_set.json"
_TRUTH_COLUMNS = ("stamp_id", "object", "source_id", "x", "y", "flux", "mag", "snr", "is_star")


class StampSetError(SimulationError):
    """Raised for a set of stamps that is inconsistent, or a folder that cannot be used as one."""


@dataclasses.dataclass(frozen=True)
class StampSet:
    """Stamps of one size, with labels and truth.

    Parameters
    ----------
    name
        What the set is, for example ``blendhunter``.
    images : `numpy.ndarray`, shape (n, s, s), float32
        The stamps, image units.  A stamp is free of noise where ``noise`` is 0.
    stamps
        A row per stamp: ``stamp_id`` (int64, unique among stamps of one
        realisation), ``is_blended`` (bool), ``n_objects`` (int32),
        ``separation`` (float32, pixels between the two centres, NaN where
        there is one), ``split`` (one of `SPLITS`), ``noise`` (float32,
        standard deviation per pixel in the image, image units),
        ``realisation`` (int32, -1 without noise), ``psf_index`` (int32); and
        whatever else describes a stamp.
    truth
        A row per galaxy: ``stamp_id``; ``object`` (0 is the central one);
        ``source_id`` (int64, the galaxy in its catalogue; unique among
        catalogues only); ``x``, ``y`` (pixels of the stamp, the centre of the first
        pixel is 0); ``flux`` (image units); ``mag``; ``snr`` (matched-filter
        S/N of a point source of that flux, infinite without noise);
        ``is_star``; and whatever else describes a galaxy.
    psf : `numpy.ndarray`, shape (m, k, k), float32, k odd
        PSFs with their pixel, of sum 1.
    pixel_scale
        Size of a pixel, arcsec.
    zero_point
        AB magnitude of one image unit; NaN if not known.
    seed
        What the noise of the set is drawn from.
    padding
        Width of the frame that `padded` puts around a stamp, pixels.
    metadata
        JSON-compatible facts about how the set was made.
    arrays
        Further arrays with a row per stamp, for example segmentations.

    Raises
    ------
    StampSetError
        Raised if shapes or columns do not fit each other.
    """

    name: str
    images: np.ndarray
    stamps: Table
    truth: Table
    psf: np.ndarray
    pixel_scale: float
    zero_point: float = float("nan")
    seed: int = 1
    padding: int = 0
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = self.images.shape
        if len(shape) != 3 or shape[1] != shape[2] or not shape[1]:
            raise StampSetError(f"the stamps of {self.name} have the shape {shape}, not (n, s, s)")
        if self.images.dtype.kind != "f":
            raise StampSetError(f"the stamps of {self.name} are {self.images.dtype}, not floating-point")
        self._check_numbers()
        if self.psf.ndim != 3 or self.psf.shape[1] != self.psf.shape[2] or self.psf.shape[1] % 2 == 0:
            raise StampSetError(f"the PSFs of {self.name} have shape {self.psf.shape}, not (m, k, k), k odd")
        tables = (("stamps", self.stamps, _STAMP_COLUMNS), ("truth", self.truth, _TRUTH_COLUMNS))
        for kind, table, needed in tables:
            missing = [column for column in needed if column not in table.colnames]
            if missing:
                raise StampSetError(f"the {kind} table of {self.name} lacks {', '.join(missing)}")
        lengths = {"rows": len(self.stamps)} | {f"rows in {key}": len(a) for key, a in self.arrays.items()}
        for kind, length in lengths.items():
            if length != shape[0]:
                raise StampSetError(f"{self.name} has {shape[0]} stamps and {length} {kind}")
        if shape[0]:
            self._check_tables()

    def _check_numbers(self) -> None:
        """Refuse settings that a damaged header could hold."""
        for key, value in (("seed", self.seed), ("padding", self.padding)):
            if not isinstance(value, int | np.integer) or value < 0:
                raise StampSetError(f"the {key} of {self.name} is {value!r}, not an integer from 0 on")
        scale, zero_point = self.pixel_scale, self.zero_point
        if not (isinstance(scale, int | float) and math.isfinite(scale) and scale > 0.0):
            raise StampSetError(f"the pixel_scale of {self.name} is {scale!r}, not positive and finite")
        if not isinstance(zero_point, int | float) or math.isinf(zero_point):
            raise StampSetError(f"the zero_point of {self.name} is {zero_point!r}, no magnitude")
        if not isinstance(self.metadata, Mapping):
            raise StampSetError(f"the metadata of {self.name} is {self.metadata!r}, no mapping")

    def _check_tables(self) -> None:
        """Refuse tables that contradict each other; there is a stamp."""
        kinds = {"stamp_id": "iu", "n_objects": "iu", "psf_index": "iu", "is_blended": "b", "noise": "fiu"}
        columns = {key: np.asarray(self.stamps[key]) for key in kinds}
        for key, kind in kinds.items():
            if columns[key].dtype.kind not in kind:
                raise StampSetError(f"column {key} of the stamps of {self.name} is {columns[key].dtype}")
        ids, n_objects, index, is_blended, noise = columns.values()
        if ids.min() < 0 or len(np.unique(ids)) < len(ids):
            raise StampSetError(f"the stamp_id of {self.name} are not unique, or negative")
        if index.min() < 0 or index.max() >= len(self.psf):
            raise StampSetError(f"{self.name} has {len(self.psf)} PSFs; psf_index goes to {index.max()}")
        if not (np.isfinite(self.psf).all() and (self.psf.sum(axis=(1, 2)) > 0.0).all()):
            raise StampSetError(f"{self.name} has a PSF that is not finite, or whose sum is not positive")
        if not np.isfinite(noise).all() or noise.min() < 0.0:
            raise StampSetError(f"the noise of {self.name} is not finite, or negative")
        unknown = sorted(set(np.unique(np.asarray(self.stamps["split"]).astype(str)).tolist()) - set(SPLITS))
        if unknown:
            raise StampSetError(f"{self.name} has a split {unknown[0]!r}; there are {', '.join(SPLITS)}")
        wrong = np.flatnonzero(is_blended != (n_objects > 1))
        if wrong.size:
            raise StampSetError(f"stamp {ids[wrong[0]]} of {self.name}: is_blended contradicts n_objects")
        owners = np.asarray(self.truth["stamp_id"])
        strange = owners[~np.isin(owners, ids)]
        if strange.size:
            raise StampSetError(f"the truth of {self.name} names stamp {strange[0]}, which there is none of")
        wrong = np.flatnonzero(np.bincount(self.truth_rows, minlength=len(ids)) != n_objects)
        if wrong.size:
            first, n = ids[wrong[0]], n_objects[wrong[0]]
            raise StampSetError(f"stamp {first} of {self.name} has {n} galaxies, but not {n} rows of truth")
        for key in ("x", "y", "flux"):
            value = np.asarray(self.truth[key])
            if value.dtype.kind not in "fiu" or not np.isfinite(value).all():
                raise StampSetError(f"column {key} of the truth of {self.name} is not all finite numbers")
        snr = np.asarray(self.truth["snr"])
        # It is infinite where there is no noise.
        if snr.dtype.kind not in "fiu" or np.isnan(snr).any():
            raise StampSetError(f"column snr of the truth of {self.name} has rows that are no numbers")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> int:
        """Width of a stamp, pixels, without padding (`int`)."""
        return int(self.images.shape[1])

    @property
    def is_blended(self) -> np.ndarray:
        """Label of each stamp, bool of shape (n,)."""
        return np.asarray(self.stamps["is_blended"], dtype=bool)

    @property
    def noise(self) -> np.ndarray:
        """Standard deviation per pixel in each stamp, image units, float of shape (n,)."""
        return np.asarray(self.stamps["noise"], dtype=np.float64)

    @property
    def truth_rows(self) -> np.ndarray:
        """Row of ``stamps`` that each row of ``truth`` belongs to, int64 of shape (n_truth,)."""
        ids = np.asarray(self.stamps["stamp_id"])
        order = np.argsort(ids)
        return np.asarray(order[np.searchsorted(ids, self.truth["stamp_id"], sorter=order)])

    def select(self, rows: np.ndarray) -> StampSet:
        """Take some of the stamps, with their truth.

        Parameters
        ----------
        rows : `numpy.ndarray`
            Bool of shape (n,), or indices.

        Returns
        -------
        subset
            The stamps in the order of ``rows``; the truth in its own order.
        """
        rows = np.asarray(rows)
        if rows.dtype == bool:
            rows = np.flatnonzero(rows)
        stamps = self.stamps[rows]
        return dataclasses.replace(
            self,
            images=np.asarray(self.images[rows]),
            stamps=stamps,
            truth=self.truth[np.isin(self.truth["stamp_id"], stamps["stamp_id"])],
            arrays={key: np.asarray(array[rows]) for key, array in self.arrays.items()},
        )

    def split(self, name: str) -> StampSet:
        """Take the stamps of one part.

        Parameters
        ----------
        name
            One of `SPLITS`.

        Returns
        -------
        subset
            Its stamps.

        Raises
        ------
        StampSetError
            Raised if there is no such part.
        """
        if name not in SPLITS:
            raise StampSetError(f"unknown split {name!r}; there are {', '.join(SPLITS)}")
        return self.select(np.asarray(self.stamps["split"]).astype(str) == name)

    def with_noise(self, sigma: float, realisation: int = 0) -> StampSet:
        """Add Gaussian noise.

        The noise of a stamp is a function of the seed of the set, ``sigma``,
        ``realisation`` and ``stamp_id`` alone: the same pixels whatever other
        stamps are drawn with it.

        Parameters
        ----------
        sigma
            Standard deviation per pixel, image units.
        realisation
            Number of the draw.

        Returns
        -------
        noisy
            The stamps with noise; their truth has the S/N in that noise.

        Raises
        ------
        StampSetError
            Raised if the noise is not positive or the stamps have noise already.
        """
        if not (np.isfinite(sigma) and sigma > 0.0):
            raise StampSetError(f"the noise must be positive and finite, not {sigma}")
        if realisation < 0:
            raise StampSetError(f"the number of a realisation must not be negative, not {realisation}")
        if np.any(self.noise > 0.0):
            raise StampSetError(f"{self.name} has noise already; take the set without")
        # Keys are whole numbers: draws of levels that differ by .001 are independent.
        level = round(1000.0 * sigma)
        shape = self.images.shape[1:]
        images = np.array(self.images, dtype=np.float32)
        for i, stamp_id in enumerate(np.asarray(self.stamps["stamp_id"]).tolist()):
            key = np.random.SeedSequence(self.seed, spawn_key=(level, realisation, stamp_id))
            # By name: the noise of a set must not change with what default_rng is.
            noise = np.random.Generator(np.random.SFC64(key)).standard_normal(shape, dtype=np.float32)
            images[i] += np.float32(sigma) * noise
        stamps, truth = self.stamps.copy(), self.truth.copy()
        stamps["noise"] = np.full(len(stamps), sigma, dtype=np.float32)
        stamps["realisation"] = np.full(len(stamps), realisation, dtype=np.int32)
        truth["snr"] = self._snr(sigma)
        return dataclasses.replace(self, images=images, stamps=stamps, truth=truth)

    def _snr(self, sigma: float) -> np.ndarray:
        """Matched-filter S/N of each galaxy with the PSF of its stamp."""
        index = np.asarray(self.stamps["psf_index"])[self.truth_rows]
        per_flux = np.array([matched_snr(np.ones(1), kernel, sigma)[0] for kernel in self.psf])
        return (np.asarray(self.truth["flux"], dtype=np.float64) * per_flux[index]).astype(np.float32)

    def padded(self) -> StampSet:
        """Put the frame around the stamps, zeros that noise added later fills.

        Returns
        -------
        padded
            Stamps of ``size + 2 padding`` pixels, positions of the truth shifted by
            ``padding``, and no frame left to put on.
        """
        frame = (self.padding, self.padding)
        truth = self.truth.copy()
        truth["x"] = truth["x"] + self.padding
        truth["y"] = truth["y"] + self.padding
        return dataclasses.replace(
            self,
            images=np.pad(np.asarray(self.images), ((0, 0), frame, frame)),
            truth=truth,
            padding=0,
            arrays={
                key: np.pad(array, ((0, 0),) * (array.ndim - 2) + (frame, frame))
                if array.shape[-2:] == self.images.shape[1:]
                else array
                for key, array in self.arrays.items()
            },
        )

    def write(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write the set as plain files in a folder of its own.

        ``images.npy``, ``psf.npy`` and an .npy file for each further array;
        ``stamps.parquet`` and ``truth.parquet``; ``stamp_set.json``.

        Parameters
        ----------
        folder
            The folder; it must not exist, or be such a set that is to be replaced.
        overwrite
            Whether a set that exists is replaced.

        Returns
        -------
        folder
            The same.

        Raises
        ------
        FileExistsError
            Raised if the folder exists and is not to be replaced, or is no set of stamps.
        FileNotFoundError
            Raised if its parent does not exist.
        """
        from pyarrow import parquet

        folder = check_output(folder, overwrite=overwrite)
        header = {
            "format": _FORMAT,
            "name": self.name,
            "pixel_scale": self.pixel_scale,
            "zero_point": None if np.isnan(self.zero_point) else self.zero_point,
            "seed": self.seed,
            "padding": self.padding,
            "arrays": sorted(self.arrays),
            "metadata": dict(self.metadata),
        }
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            np.save(temporary / "images.npy", np.asarray(self.images, dtype=np.float32))
            np.save(temporary / "psf.npy", np.asarray(self.psf, dtype=np.float32))
            for key, array in self.arrays.items():
                np.save(temporary / f"{key}.npy", array)
            parquet.write_table(astropy_to_arrow(self.stamps), temporary / "stamps.parquet")
            parquet.write_table(astropy_to_arrow(self.truth), temporary / "truth.parquet")
            (temporary / _HEADER).write_text(json.dumps(header, indent=1) + "\n")
            temporary.chmod(0o755)
            if folder.exists():
                shutil.rmtree(folder)
            os.replace(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return folder

    @classmethod
    def read(cls, folder: str | Path) -> StampSet:
        """Read a set that `write` wrote; the images are mapped, not loaded.

        Parameters
        ----------
        folder
            Its folder.

        Returns
        -------
        stamp_set
            The set.

        Raises
        ------
        StampSetError
            Raised if the folder holds no set of stamps, or one of another format.
        """
        from pyarrow import parquet

        folder = Path(folder)
        header_path = folder / _HEADER
        if not header_path.is_file():
            raise StampSetError(f"{folder} is not a set of stamps: it has no {header_path.name}")
        try:
            header = json.loads(header_path.read_text())
            if header["format"] != _FORMAT:
                raise StampSetError(f"it has the format {header['format']}; this version reads {_FORMAT}")
            outside = [key for key in header["arrays"] if Path(key).name != key]
            if outside:
                raise StampSetError(f"it names an array {outside[0]!r}, which is not in the folder")
            return cls(
                name=header["name"],
                images=np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False),
                stamps=arrow_to_astropy(parquet.read_table(folder / "stamps.parquet")),
                truth=arrow_to_astropy(parquet.read_table(folder / "truth.parquet")),
                psf=np.load(folder / "psf.npy", allow_pickle=False),
                pixel_scale=header["pixel_scale"],
                zero_point=float("nan") if header["zero_point"] is None else header["zero_point"],
                seed=header["seed"],
                padding=header["padding"],
                metadata=header["metadata"],
                arrays={
                    key: np.load(folder / f"{key}.npy", mmap_mode="r", allow_pickle=False)
                    for key in header["arrays"]
                },
            )
        except StampSetError as err:
            raise StampSetError(f"cannot use the set of stamps {folder}: {err}") from None
        except (EOFError, OSError, KeyError, TypeError, ValueError) as err:
            reason = " ".join(str(err).split())
            raise StampSetError(f"cannot read the set of stamps {folder}: {reason}; make it anew") from None


def check_counts(counts: Mapping[str, int]) -> dict[str, int]:
    """Complete the numbers of stamps of some splits with 0 for the others.

    `SimulationError` for an unknown split, a number that is not whole or is negative, or no stamp at all.
    """
    unknown = sorted(set(counts) - set(SPLITS))
    if unknown:
        raise SimulationError(f"unknown split {unknown[0]!r}; there are {', '.join(SPLITS)}")
    try:
        complete = {name: operator.index(counts.get(name, 0)) for name in SPLITS}
    except TypeError:
        raise SimulationError(f"the numbers of stamps must be whole: {dict(counts)}") from None
    if min(complete.values()) < 0 or not any(complete.values()):
        raise SimulationError(f"the numbers of stamps must not be negative, nor all 0: {complete}")
    return complete


def check_output(folder: str | Path, *, overwrite: bool) -> Path:
    """See whether a set can be written, before it is made.

    Parameters
    ----------
    folder, overwrite
        As for `StampSet.write`.

    Returns
    -------
    folder
        The same.

    Raises
    ------
    FileExistsError
        As for `StampSet.write`.
    FileNotFoundError
        As for `StampSet.write`.
    """
    folder = Path(folder)
    if not folder.parent.is_dir():
        raise FileNotFoundError(f"output folder does not exist: {folder.parent}")
    if folder.exists():
        files = list(folder.iterdir()) if folder.is_dir() else []
        if (folder / _HEADER).is_file():
            if not overwrite:
                raise FileExistsError(f"{folder} exists; choose another name, or have it replaced")
            others = [f.name for f in files if f.name != _HEADER and f.suffix not in (".npy", ".parquet")]
            if others:
                raise FileExistsError(
                    f"{folder} holds more than a set of stamps, {others[0]}; move that first"
                )
        elif files or not folder.is_dir():
            raise FileExistsError(f"{folder} exists and is no set of stamps; choose another name")
    return folder


def write_noisy(stamp_set: StampSet, folder: str | Path, sigma: float, realisation: int = 0) -> Path:
    """Write one noise draw of padded stamps as a plain array, a part at a time.

    Parameters
    ----------
    stamp_set
        Stamps without noise.
    folder
        Folder of the set.
    sigma, realisation
        As for `StampSet.with_noise`.

    Returns
    -------
    path
        ``noisy_<sigma>_<realisation>.npy``, float32 of shape (n, s + 2 padding,
        s + 2 padding), the images of ``stamp_set.padded().with_noise(…)``.
    """
    path = Path(folder) / f"noisy_{sigma:g}_{realisation}.npy"
    width = stamp_set.size + 2 * stamp_set.padding
    with atomic_path(path) as temporary:
        out = np.lib.format.open_memmap(
            temporary, mode="w+", dtype=np.float32, shape=(len(stamp_set), width, width)
        )
        for start in range(0, len(stamp_set), 2000):
            rows = np.arange(start, min(start + 2000, len(stamp_set)))
            out[rows[0] : rows[-1] + 1] = (
                stamp_set.select(rows).padded().with_noise(sigma, realisation).images
            )
        out.flush()
        del out
    return path
