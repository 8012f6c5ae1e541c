# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Sets of stamps as folders of plain files."""

from __future__ import annotations

__all__ = ("check_output", "read_set", "write_noisy", "write_set")

import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from lsst.daf.butler.formatters.parquet import arrow_to_astropy, astropy_to_arrow

from ..._files import atomic_path
from .stamp_set import StampSet, StampSetError

_FORMAT = 1
_HEADER = "stamp_set.json"


def write_set(stamp_set: StampSet, folder: str | Path, *, overwrite: bool = False) -> Path:
    """Write a set; see `StampSet.write`.

    Parameters
    ----------
    stamp_set
        The set.
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
    from pyarrow import parquet

    folder = check_output(folder, overwrite=overwrite)
    header = {
        "format": _FORMAT,
        "name": stamp_set.name,
        "pixel_scale": stamp_set.pixel_scale,
        "zero_point": None if np.isnan(stamp_set.zero_point) else stamp_set.zero_point,
        "seed": stamp_set.seed,
        "padding": stamp_set.padding,
        "arrays": sorted(stamp_set.arrays),
        "metadata": dict(stamp_set.metadata),
    }
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        np.save(temporary / "images.npy", np.asarray(stamp_set.images, dtype=np.float32))
        np.save(temporary / "psf.npy", np.asarray(stamp_set.psf, dtype=np.float32))
        for key, array in stamp_set.arrays.items():
            np.save(temporary / f"{key}.npy", array)
        parquet.write_table(astropy_to_arrow(stamp_set.stamps), temporary / "stamps.parquet")
        parquet.write_table(astropy_to_arrow(stamp_set.truth), temporary / "truth.parquet")
        (temporary / _HEADER).write_text(json.dumps(header, indent=1) + "\n")
        temporary.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def read_set(folder: str | Path) -> StampSet:
    """Read a set; see `StampSet.read`.

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
        As for `StampSet.read`.
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
        return StampSet(
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
