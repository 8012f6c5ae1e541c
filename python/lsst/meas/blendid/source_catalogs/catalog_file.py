# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Catalogues of sources with footprints in FITS files, as lsst.afw persists them, without lsst.afw.

The first extension holds the records, the last column of which numbers their
footprints.  An archive follows: an index of objects, each of which owns rows
of tables: a footprint one of spans (a span set of its own), one of peaks, and
one of pixels if it is a heavy one.
"""

from __future__ import annotations

__all__ = ("CatalogFile", "parse_catalog", "read_catalog")

import gzip
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import astropy.io.fits
import numpy as np
from astropy.utils.data import get_readable_fileobj

from .._files import atomic_path, irregular_kind
from .afw_table import AfwTable, CatalogError
from .catalog_footprints import CATALOG_PEAK_DTYPE, PSEUDO_FLAGS, CatalogFootprints, PeakLayout

FOOTPRINT_COLUMN = "footprint"
"""Column of the records that numbers their footprints; lsst.afw writes it last."""

_PEAK_COLUMNS = ("id", "i_x", "i_y", "f_x", "f_y", "peakValue")
_MARKS = {
    "is_inferred": "blendid_peak_inferred",
    "is_moved": "blendid_peak_moved",
    "is_sky": "merge_peak_sky",
}


@dataclass(frozen=True)
class _Blocks:
    """Rows that objects of an archive own: the table, the first row and their number."""

    table: np.ndarray
    start: np.ndarray
    count: np.ndarray


@contextmanager
def _telling(name: str) -> Iterator[None]:
    """Turn what can go wrong in a damaged file into one line that names it."""
    try:
        yield
    except CatalogError:
        raise
    except MemoryError as err:
        raise CatalogError(f"{name}: does not fit into memory") from err
    except Exception as err:  # The parsers of headers and tables fail anywhere, with any class.
        text = " ".join(str(err).split()) or type(err).__name__
        raise CatalogError(f"{name}: is damaged ({text[:200]}); copy it again") from err


@dataclass(frozen=True)
class CatalogFile:
    """A catalogue of sources as it lies in a file.

    Parameters
    ----------
    name
        What it is called in messages.
    head
        Bytes before the records: the primary HDU.
    records
        The records.
    index
        Index of the archive; `None` without footprints.
    archive
        Tables of the archive.
    tail
        Bytes behind it.
    """

    name: str
    head: bytes = field(repr=False)
    records: AfwTable
    index: AfwTable | None = None
    archive: tuple[AfwTable, ...] = ()
    tail: bytes = field(default=b"", repr=False)

    def __len__(self) -> int:
        return len(self.records)

    def to_bytes(self) -> bytes:
        """Write the catalogue.

        Returns
        -------
        content
            Bytes of the file.
        """
        tables = (self.records,) if self.index is None else (self.records, self.index, *self.archive)
        return b"".join([self.head, *(table.to_bytes() for table in tables), self.tail])

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the catalogue to a file; nobody sees half of it.

        Parameters
        ----------
        path
            The file, compressed if it ends with ``.gz``; an older one is replaced.

        Raises
        ------
        OSError
            Raised if it cannot be written.
        """
        content = self.to_bytes()
        # Without a time, so that the same catalogue gives the same file.
        if str(path).endswith(".gz"):
            content = gzip.compress(content, mtime=0)
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)

    def footprints(self) -> CatalogFootprints:
        """Return the footprints and peaks as arrays.

        Returns
        -------
        footprints
            The footprints, in the order of the first records that have them.

        Raises
        ------
        CatalogError
            Raised if records are not those of sources, or the archive is
            damaged or of an lsst.afw that is too old.
        """
        with _telling(self.name):
            footprint, archive_ids = self._number_footprints()
            pseudo = np.zeros(len(self), dtype=bool)
            for name in PSEUDO_FLAGS:
                if name in self.records.flag_names:
                    pseudo |= self.records.flag(name)
            return CatalogFootprints(
                record_id=self.records.column("id").astype(np.int64),
                parent_id=self.records.column("parent").astype(np.int64),
                footprint=footprint,
                is_pseudo=pseudo,
                spans=self._read_spans(archive_ids),
                peaks=self._read_peaks(archive_ids),
                n_footprints=len(archive_ids),
            )

    def _number_footprints(self) -> tuple[np.ndarray, np.ndarray]:
        """Footprint of each record, -1 for none, and the archive's identifier of each footprint."""
        if not {"id", "parent"} <= set(self.records.names):
            raise CatalogError(f"{self.name}: its records are no sources; give a SourceCatalog of lsst.afw")
        archive_id = np.zeros(len(self), np.int64)
        if self.index is not None and FOOTPRINT_COLUMN in self.records.names:
            archive_id = self.records.column(FOOTPRINT_COLUMN).astype(np.int64)
        # Records may share a footprint: each is read once.
        unique, first, inverse = np.unique(archive_id, return_index=True, return_inverse=True)
        order = np.argsort(first)
        # lsst.afw writes 0 for a record without a footprint.
        order = order[unique[order] != 0]
        rank = np.full(len(unique), -1, np.int64)
        rank[order] = np.arange(len(order))
        return rank[inverse.reshape(len(self))], unique[order]

    def _find(self, archive_ids: np.ndarray, catalog: int) -> _Blocks:
        """Find the rows that objects own as their n-th catalogue; table -1 where there are none."""
        index, n_tables = self.index, len(self.archive)
        none = np.full(len(archive_ids), -1, np.int64)
        if index is None or not len(archive_ids):
            return _Blocks(none, none, none)
        # The index of lsst.afw's archives: object, number of its catalogue, table, first row, number of rows.
        names = ("id", "cat.persistable", "cat.archive", "row0", "nrows")
        ids, number, table, start, count = (index.column(name).astype(np.int64) for name in names)
        mine = np.flatnonzero((number == catalog) & (table >= 1))
        mine = mine[np.argsort(ids[mine], kind="stable")]
        place = np.searchsorted(ids[mine], archive_ids)
        found = np.zeros(len(archive_ids), dtype=bool)
        within = place < len(mine)
        found[within] = ids[mine[place[within]]] == archive_ids[within]
        rows = mine[place[found]]
        lengths = np.array([len(t) for t in self.archive], np.int64)
        # Rows are looked up without further checks below: a damaged index must not read those of others.
        if np.any(table[rows] > n_tables) or np.any((start[rows] < 0) | (count[rows] < 0)):
            raise CatalogError(self._damaged("its index names rows that are not there"))
        if np.any(start[rows] + count[rows] > lengths[table[rows] - 1]):
            raise CatalogError(self._damaged("its index names rows that are not there"))
        blocks = _Blocks(none.copy(), none.copy(), none.copy())
        blocks.table[found], blocks.start[found], blocks.count[found] = (
            table[rows] - 1,
            start[rows],
            count[rows],
        )
        return blocks

    def _damaged(self, reason: str) -> str:
        """Say that the archive is damaged."""
        return f"{self.name}: the archive of its footprints is damaged ({reason}); copy the file again"

    def _require(self, archive_ids: np.ndarray, catalog: int) -> _Blocks:
        """Find rows that every object has."""
        blocks = self._find(archive_ids, catalog)
        if np.any(blocks.table < 0):
            missing = archive_ids[np.argmin(blocks.table)]
            raise CatalogError(self._damaged(f"footprint {missing} is not in it"))
        return blocks

    def _read_spans(self, archive_ids: np.ndarray) -> np.ndarray:
        """Spans (footprint, y, x0, x1) of footprints."""
        blocks = self._require(archive_ids, 0)
        # A footprint names its span set; one of before 2016 has the spans itself.
        named = np.array(["x0" not in table.names for table in self.archive], dtype=bool)
        by_name = named[blocks.table] if len(archive_ids) else np.zeros(0, dtype=bool)
        if by_name.any():
            if np.any(blocks.count[by_name] != 1):
                raise CatalogError(self._damaged("a footprint has no spans"))
            sets = np.zeros(by_name.sum(), np.int64)
            for table in np.unique(blocks.table[by_name]):
                if "id" not in self.archive[table].names:
                    raise CatalogError(self._damaged("a footprint has no spans"))
                mine = blocks.table[by_name] == table
                sets[mine] = self.archive[table].column("id")[blocks.start[by_name][mine]]
            # The identifier of the span set leads to its rows.
            other = self._require(sets, 0)
            for name in ("table", "start", "count"):
                getattr(blocks, name)[by_name] = getattr(other, name)
        spans = np.zeros((int(blocks.count.sum()), 4), np.int32)

        def take(table: AfwTable, numbers: np.ndarray, rows: np.ndarray, out: np.ndarray) -> None:
            if not {"y", "x0", "x1"} <= set(table.names):
                raise CatalogError(self._damaged("a footprint has no spans"))
            spans[out, 0] = numbers
            for k, name in enumerate(("y", "x0", "x1"), start=1):
                spans[out, k] = table.rows[name][rows]

        self._gather(blocks, take)
        return spans

    def _read_peaks(self, archive_ids: np.ndarray) -> np.ndarray:
        """Peaks of footprints."""
        blocks = self._require(archive_ids, 1)
        peaks = np.zeros(int(blocks.count.sum()), CATALOG_PEAK_DTYPE)

        def take(table: AfwTable, numbers: np.ndarray, rows: np.ndarray, out: np.ndarray) -> None:
            if lacking := [name for name in _PEAK_COLUMNS if name not in table.names]:
                raise CatalogError(
                    f"{self.name}: its peaks have no {', '.join(lacking)}, as those of an old lsst.afw; read "
                    "it with lsst.afw and write it again"
                )
            peaks["footprint"][out] = numbers
            for name in _PEAK_COLUMNS:
                peaks["peak_value" if name == "peakValue" else name][out] = table.rows[name][rows]
            for name, flag in _MARKS.items():
                if flag in table.flag_names:
                    peaks[name][out] = table.flag(flag)[rows]

        self._gather(blocks, take)
        return peaks

    def _gather(
        self, blocks: _Blocks, take: Callable[[AfwTable, np.ndarray, np.ndarray, np.ndarray], None]
    ) -> None:
        """Call a function with each table, the blocks that have rows of it, these rows, and where they go."""
        number = np.repeat(np.arange(len(blocks.count)), blocks.count)
        ends = np.cumsum(blocks.count)
        rows = np.arange(len(number)) - np.repeat(ends - blocks.count - blocks.start, blocks.count)
        # Few tables and many footprints: rows of one table are taken at once.
        for table in np.unique(blocks.table):
            out = np.flatnonzero(blocks.table[number] == table)
            take(self.archive[table], number[out], rows[out], out)

    def peak_layout(self) -> PeakLayout:
        """Tell where in the archive the peaks of the footprints lie.

        Returns
        -------
        layout
            Tables and rows, in the order of `footprints`.
        """
        _, archive_ids = self._number_footprints()
        blocks = self._require(archive_ids, 1)
        return PeakLayout(archive_ids, blocks.table, blocks.start, blocks.count)

    def with_peak_tables(
        self, tables: Mapping[int, AfwTable], start: np.ndarray, count: np.ndarray
    ) -> CatalogFile:
        """Replace tables of peaks, and tell which of their rows footprints have.

        Parameters
        ----------
        tables
            New tables by their place in ``archive``.
        start, count
            First row and number of rows of each footprint, in the order of
            `footprints`.

        Returns
        -------
        catalog
            The catalogue with these peaks.
        """
        index = self.index
        if index is None:
            return self
        layout = self.peak_layout()
        archive = tuple(tables.get(i, table) for i, table in enumerate(self.archive))
        # The bytes that were read are shared and not writeable.
        rows = index.rows.copy()
        order = np.argsort(layout.archive_id)
        entries = np.flatnonzero((rows["cat.persistable"] == 1) & np.isin(rows["id"], layout.archive_id))
        mine = order[np.searchsorted(layout.archive_id[order], rows["id"][entries])]
        rows["row0"][entries], rows["nrows"][entries] = start[mine], count[mine]
        return replace(self, index=index.with_rows(rows), archive=archive)


def read_catalog(path: str | os.PathLike[str]) -> CatalogFile:
    """Read a catalogue of sources that lsst.afw wrote.

    Parameters
    ----------
    path
        The file; it may be compressed as a whole.

    Returns
    -------
    catalog
        The catalogue.

    Raises
    ------
    CatalogError
        Raised, with one line that names the file and the remedy, if there is
        none, or it is no catalogue of sources, cut off or damaged.
    """
    name = os.fspath(path)
    if kind := irregular_kind(path):
        raise CatalogError(f"{name}: is {kind}, which may have no end; copy it into a file")
    if os.path.isdir(path):
        raise CatalogError(f"{name}: is a folder; name the catalogue in it")
    try:
        with get_readable_fileobj(name, encoding="binary") as stream:
            content = stream.read()
    except FileNotFoundError as err:
        raise CatalogError(f"{name}: no such file; check the path") from err
    except PermissionError as err:
        raise CatalogError(f"{name}: no permission to read it; change its mode or owner") from err
    except (OSError, EOFError) as err:
        raise CatalogError(f"{name}: cannot be read ({' '.join(str(err).split())}); copy it again") from err
    return parse_catalog(content, name)


def parse_catalog(content: bytes, name: str) -> CatalogFile:
    """Read a catalogue of sources from the content of its file.

    Parameters
    ----------
    content
        Content of the file.
    name
        What it is called in messages.

    Returns
    -------
    catalog
        The catalogue.

    Raises
    ------
    CatalogError
        Raised as by `read_catalog`.
    """
    if not content.startswith(b"SIMPLE  ="):
        raise CatalogError(f"{name}: is not a FITS file; give a SourceCatalog that lsst.afw wrote")
    with _telling(name):
        return _parse(content, name)


def _parse(content: bytes, name: str) -> CatalogFile:
    """Read a catalogue from the content of a FITS file."""
    hdus = _split(content)
    if len(hdus) < 2 or hdus[1].header.get("XTENSION", "").strip() != "BINTABLE":
        raise CatalogError(
            f"{name}: has no table after its first HDU; give a SourceCatalog that lsst.afw wrote"
        )
    kind = hdus[1].header.get("AFW_TYPE")
    if kind != "SOURCE":
        found = "was not written by lsst.afw" if kind is None else f"holds records of type {kind}"
        raise CatalogError(f"{name}: {found}; give a SourceCatalog that lsst.afw wrote")
    tables = [_make_table(hdu, f"{name}: HDU {number}") for number, hdu in enumerate(hdus[1:2], start=1)]
    first = hdus[1].header.get("AR_HDU")
    head, end = content[: hdus[1].start], hdus[1].end
    if first is None:
        if "SPANCOL" in hdus[1].header:
            raise CatalogError(
                f"{name}: has its footprints in columns, as an old lsst.afw wrote them; read it with "
                "lsst.afw and write it again"
            )
        return CatalogFile(name, head, tables[0], tail=content[end:])
    # AR_HDU counts from 1.
    if first != 3 or len(hdus) < 3 or hdus[2].header.get("EXTTYPE", "").strip() != "ARCHIVE_INDEX":
        raise CatalogError(f"{name}: is damaged (there is no archive after its records); copy it again")
    n_tables = hdus[2].header.get("AR_NCAT", 0)
    if not isinstance(n_tables, int) or not 1 <= n_tables <= len(hdus) - 2:
        raise CatalogError(f"{name}: is damaged (tables of its archive are missing); copy it again")
    tables += [
        _make_table(hdu, f"{name}: HDU {number}")
        for number, hdu in enumerate(hdus[2 : 2 + n_tables], start=2)
    ]
    needed = {"id", "cat.archive", "cat.persistable", "row0", "nrows"}
    if not needed <= set(tables[1].names):
        raise CatalogError(f"{name}: is damaged (the index of its archive lacks columns); copy it again")
    end = hdus[1 + n_tables].end
    return CatalogFile(name, head, tables[0], tables[1], tuple(tables[2:]), content[end:])


@dataclass(frozen=True)
class _Hdu:
    """A part of a FITS file: its header, its data, and where it begins and ends."""

    header: astropy.io.fits.Header
    text: str
    data: memoryview
    start: int
    end: int


def _split(content: bytes) -> list[_Hdu]:
    """Split the content of a FITS file."""
    hdus = []
    start = 0
    while start < len(content):
        text = _header_text(content, start)
        if text is None:
            break
        header = astropy.io.fits.Header.fromstring(text)
        begin = start + len(text)
        size = header.data_size
        end = begin + header.data_size_padded
        if begin + size > len(content):
            raise ValueError("it is cut off")
        hdus.append(
            _Hdu(header, text, memoryview(content)[begin : begin + size], start, min(end, len(content)))
        )
        start = end
    return hdus


def _header_text(content: bytes, start: int) -> str | None:
    """Text of the header that begins at a place, `None` where none begins."""
    block = 2880
    if content[start : start + 9] not in (b"SIMPLE  =", b"XTENSION="):
        return None
    for stop in range(start + block, len(content) + 1, block):
        cards = content[stop - block : stop]
        if any(cards[i : i + 80].rstrip() == b"END" for i in range(0, block, 80)):
            return content[start:stop].decode("ascii")
    raise ValueError("a header has no end")


def _make_table(hdu: _Hdu, what: str) -> AfwTable:
    """Read a table."""
    return AfwTable.from_bytes(hdu.text, hdu.data, what)
