# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""A table as lsst.afw writes it into a FITS file, without lsst.afw.

The fields of such a table are columns, or flags that lie packed as bits in
the first column.  Nothing is interpreted that need not be: a table that is
read and written again has the same bytes, and one with more fields those that
lsst.afw would have written.
"""

from __future__ import annotations

__all__ = ("AfwField", "AfwTable", "CatalogError", "NewField")

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ._cards import (
    Entry,
    find_value,
    format_integer,
    format_string,
    join_entries,
    renumber,
    split_header,
    with_integer,
)

_BLOCK = 2880

_FIXED = ("XTENSION", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "PCOUNT", "GCOUNT", "TFIELDS")
"""Keywords that begin the header of a table."""

_COLUMN_KEYWORD = re.compile(r"^(T(?:TYPE|FORM|DOC|UNIT|CCLS|NULL|ZERO|SCAL|DISP|DIM))([1-9]\d*)$")
_FLAG_KEYWORD = re.compile(r"^(TFLAG|TFDOC)([1-9]\d*)$")

_FORMS = {
    **{"L": "i1", "B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"},
    **{"A": "S1", "C": ">c8", "M": ">c16", "P": ">i4", "Q": ">i8"},
}
"""NumPy dtypes of the formats of columns; P and Q are pairs of numbers."""

_FLAGS_COMMENT = "bits for all Flag fields; see also TFLAGn"


class CatalogError(ValueError):
    """Raised if a catalogue cannot be read, or lacks what is needed."""


@dataclass(frozen=True)
class AfwField:
    """A field of the schema of a table.

    Parameters
    ----------
    name
        Its name.
    is_flag
        Whether it is a flag, a bit of the first column, or a column.
    entries
        What the header says of it: keywords without the number of the column
        or flag, and the cards.
    """

    name: str
    is_flag: bool
    entries: tuple[tuple[str, Entry], ...] = field(repr=False)

    @property
    def form(self) -> str:
        """Format of a column, as in ``TFORMn``; empty for a flag."""
        return str(next((entry.value for prefix, entry in self.entries if prefix == "TFORM"), ""))


@dataclass(frozen=True)
class NewField:
    """A field to add to a table.

    Parameters
    ----------
    name, doc, unit
        As in the schema of lsst.afw; a unit may be empty.
    values
        A value for each row: bool makes a flag, float32, float64, int32 and
        int64 columns of their kind.
    """

    name: str
    doc: str
    values: np.ndarray
    unit: str = ""

    def to_field(self) -> AfwField:
        """Write it as a field of the schema.

        Returns
        -------
        field
            The field, with the entries that lsst.afw would write.

        Raises
        ------
        TypeError
            Raised for values of another type.
        """
        kind = self.values.dtype.kind + str(self.values.dtype.itemsize)
        if kind == "b1":
            made = [("TFLAG", format_string("TFLAG1", self.name))]
            made += [("TFDOC", format_string("TFDOC1", self.doc))] if self.doc else []
            return AfwField(self.name, True, tuple(made))
        forms = {"f4": "E", "f8": "D", "i4": "J", "i8": "K"}
        if kind not in forms:
            raise TypeError(f"field {self.name} has values of type {self.values.dtype}")
        made = [
            ("TTYPE", format_string("TTYPE1", self.name, "label for field")),
            ("TFORM", format_string("TFORM1", f"1{forms[kind]}", "format of field")),
        ]
        made += [("TDOC", format_string("TDOC1", self.doc))] if self.doc else []
        made += [("TUNIT", format_string("TUNIT1", self.unit))] if self.unit else []
        made.append(("TCCLS", format_string("TCCLS1", "Scalar", "Field template used by lsst.afw.table")))
        return AfwField(self.name, False, tuple(made))


@dataclass(frozen=True)
class AfwTable:
    """A binary table of lsst.afw: fields, rows, and what else its header says.

    Parameters
    ----------
    fields
        Fields of the schema in their order.
    rows
        The rows as in the file, structured, in its byte order; a column
        ``flags`` of bytes comes first if there are flags.
    fixed
        Entries that begin the header.
    flags_entries
        Entries about the column of the flags.
    rest
        The other entries.
    heap
        What columns of variable length point to.
    content
        The bytes that it was read from, as long as nothing changed.
    """

    fields: tuple[AfwField, ...]
    rows: np.ndarray
    fixed: tuple[Entry, ...] = field(repr=False)
    flags_entries: tuple[tuple[str, Entry], ...] = field(default=(), repr=False)
    rest: tuple[Entry, ...] = field(default=(), repr=False)
    heap: bytes = field(default=b"", repr=False)
    content: bytes | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all fields in the order of the schema."""
        return tuple(f.name for f in self.fields)

    @property
    def flag_names(self) -> tuple[str, ...]:
        """Names of the flags in the order of their bits."""
        return tuple(f.name for f in self.fields if f.is_flag)

    @classmethod
    def from_bytes(cls, header: str, data: bytes | memoryview, what: str) -> AfwTable:
        """Read a table.

        Parameters
        ----------
        header
            Text of the header.
        data
            Rows and heap.
        what
            What the table is, for errors.

        Returns
        -------
        table
            The table.

        Raises
        ------
        CatalogError
            Raised if header and data do not fit together.
        """
        entries = split_header(header)
        if find_value(entries, "XTENSION") != "BINTABLE":
            raise CatalogError(f"{what} is not a binary table")
        numbers = {k: find_value(entries, k) for k in ("NAXIS1", "NAXIS2", "PCOUNT", "TFIELDS")}
        flag_column = find_value(entries, "FLAGCOL") or 0
        # bool is an int to Python.
        if not all(type(v) is int and v >= 0 for v in (*numbers.values(), flag_column)):
            raise CatalogError(f"{what} has no valid size")
        width, n_rows, heap_size, n_columns = (int(str(v)) for v in numbers.values())
        fields, flags_entries, rest = _sort_entries(entries, int(str(flag_column)), what)
        dtype = _make_dtype(fields, flags_entries, what)
        if len(dtype.names or ()) != n_columns or dtype.itemsize != width:
            raise CatalogError(
                f"{what} has {n_columns} columns of {width} bytes that its header does not tell"
            )
        size = width * n_rows
        # FITS files come in blocks of 2880 bytes.
        padding = bytes(-(size + heap_size) % _BLOCK)
        # Before anything is read, as np.frombuffer would tell of buffers and not of the file.
        if len(data) < size + heap_size:
            raise CatalogError(f"{what} is cut off")
        return cls(
            fields=tuple(fields),
            rows=np.frombuffer(data, dtype, n_rows) if size else np.zeros(n_rows, dtype),
            fixed=tuple(e for e in entries if e.keyword in _FIXED),
            flags_entries=tuple(flags_entries),
            rest=tuple(rest),
            heap=bytes(data[size : size + heap_size]),
            content=b"".join([header.encode("ascii"), data[: size + heap_size], padding]),
        )

    def to_bytes(self) -> bytes:
        """Write the table.

        Returns
        -------
        content
            Header and data, both filled up to a multiple of 2880 bytes.
        """
        # What was not changed goes back byte by byte, comments and order of keywords included.
        if self.content is not None:
            return self.content
        sizes = {
            "NAXIS1": self.rows.dtype.itemsize,
            "NAXIS2": len(self.rows),
            "PCOUNT": len(self.heap),
            "TFIELDS": len(self.rows.dtype.names or ()),
        }
        entries = [with_integer(e, sizes[e.keyword]) if e.keyword in sizes else e for e in self.fixed]
        column, flag = 0, 0
        if self.flags_entries:
            column = 1
            entries += [
                e if prefix == "FLAGCOL" else renumber(e, prefix, 1) for prefix, e in self.flags_entries
            ]
        for one in self.fields:
            if one.is_flag:
                flag += 1
            else:
                column += 1
            entries += [renumber(e, prefix, flag if one.is_flag else column) for prefix, e in one.entries]
        for entry in self.rest:
            # The heap begins where the rows end, unless this says otherwise.
            moved = entry.keyword == "THEAP"
            entries.append(with_integer(entry, sizes["NAXIS1"] * len(self.rows)) if moved else entry)
        data = self.rows.tobytes() + self.heap
        return join_entries(entries) + data + bytes(-len(data) % _BLOCK)

    def column(self, name: str) -> np.ndarray:
        """Return the values of a column in the byte order of the machine.

        Parameters
        ----------
        name
            Name of the column.

        Returns
        -------
        values
            A value, or an array, for each row.

        Raises
        ------
        KeyError
            Raised if there is none of this name.
        """
        if name not in self.names or name in self.flag_names:
            raise KeyError(f"the table has no column {name!r}")
        # FITS is big-endian; kernels and searches want the machine's order.
        values = self.rows[name]
        return values.astype(values.dtype.newbyteorder("="))

    def flag(self, name: str) -> np.ndarray:
        """Return the values of a flag.

        Parameters
        ----------
        name
            Name of the flag.

        Returns
        -------
        values
            Bool, one for each row.

        Raises
        ------
        KeyError
            Raised if there is none of this name.
        """
        if name not in self.flag_names:
            raise KeyError(f"the table has no flag {name!r}")
        # Flags of lsst.afw are bits of one column, the first one the highest of the first byte.
        bit = self.flag_names.index(name)
        return (self.rows["flags"][:, bit // 8] >> (7 - bit % 8) & 1).astype(bool)

    def with_rows(self, rows: np.ndarray) -> AfwTable:
        """Replace the rows.

        Parameters
        ----------
        rows
            Rows of the same dtype.

        Returns
        -------
        table
            The table with these rows.
        """
        return replace(self, rows=np.ascontiguousarray(rows, dtype=self.rows.dtype), content=None)

    def make_rows(self, n: int) -> np.ndarray:
        """Make rows as lsst.afw does: numbers that are not integers are NaN, all else is zero.

        Parameters
        ----------
        n
            Their number.

        Returns
        -------
        rows
            The rows, of the dtype of those of the table.
        """
        rows = np.zeros(n, self.rows.dtype)
        for name in rows.dtype.names or ():
            if rows.dtype[name].base.kind == "f":
                rows[name] = np.nan
        return rows

    def without_fields(self, names: Sequence[str]) -> AfwTable:
        """Leave out fields.

        Parameters
        ----------
        names
            Names; those of no field are ignored.

        Returns
        -------
        table
            The table without them.
        """
        kept = [f for f in self.fields if f.name not in set(names)]
        if len(kept) == len(self.fields):
            return self
        return self._with_schema(kept, {})

    def with_fields(self, new: Sequence[NewField], *, before: str | None = None) -> AfwTable:
        """Add fields.

        Parameters
        ----------
        new
            The fields with a value for each row.
        before
            Name of a field that they come before; by default they come last.

        Returns
        -------
        table
            The table with them.

        Raises
        ------
        CatalogError
            Raised if one is there already.
        """
        if twice := {f.name for f in new} & set(self.names):
            raise CatalogError(f"the table has fields {', '.join(sorted(twice))} already")
        if not new:
            return self
        fields = list(self.fields)
        place = self.names.index(before) if before in self.names else len(fields)
        fields[place:place] = [f.to_field() for f in new]
        return self._with_schema(fields, {f.name: f.values for f in new})

    def _with_schema(self, fields: Sequence[AfwField], values: dict[str, np.ndarray]) -> AfwTable:
        """Make a table with other fields, whose values are given or those of this table."""
        flags = [f.name for f in fields if f.is_flag]
        entries = _flags_entries(self.flags_entries, len(flags))
        rows = np.zeros(len(self), _make_dtype(fields, entries, "the table"))
        for one in fields:
            if not one.is_flag:
                given = values.get(one.name)
                rows[one.name] = self.rows[one.name] if given is None else given
        if flags:
            bits = np.zeros((len(self), len(flags)), dtype=bool)
            for i, name in enumerate(flags):
                bits[:, i] = self.flag(name) if name not in values else values[name]
            rows["flags"] = np.packbits(bits, axis=1)
        return replace(self, fields=tuple(fields), rows=rows, flags_entries=entries, content=None)


def _sort_entries(
    entries: Sequence[Entry], flag_column: int, what: str
) -> tuple[list[AfwField], list[tuple[str, Entry]], list[Entry]]:
    """Tell entries about fields, about the column of flags and others apart."""
    about: dict[tuple[bool, int], list[tuple[str, Entry]]] = {}
    flags_entries: list[tuple[str, Entry]] = []
    rest = []
    for entry in entries:
        if entry.keyword in _FIXED:
            continue
        column, flag = _COLUMN_KEYWORD.match(entry.keyword), _FLAG_KEYWORD.match(entry.keyword)
        if entry.keyword == "FLAGCOL":
            flags_entries.append((entry.keyword, entry))
        elif column is not None and int(column[2]) == flag_column:
            flags_entries.append((column[1], entry))
        elif (found := column or flag) is not None:
            about.setdefault((flag is not None, int(found[2])), []).append((found[1], entry))
        else:
            rest.append(entry)
    fields = []
    for (is_flag, number), entries_of in about.items():
        name = next((e.value for prefix, e in entries_of if prefix in ("TTYPE", "TFLAG")), None)
        if not isinstance(name, str):
            raise CatalogError(f"{what} has no name for its {'flag' if is_flag else 'column'} {number}")
        fields.append((is_flag, number, AfwField(name.strip(), is_flag, tuple(entries_of))))
    for kind in (False, True):
        order = [number for is_flag, number, _ in fields if is_flag is kind]
        shift = 0 if kind or flag_column != 1 else 1
        if order != [i + 1 + shift for i in range(len(order))] or flag_column not in (0, 1):
            raise CatalogError(f"{what} has its columns in another order than lsst.afw writes them")
    names = [f.name for _, _, f in fields]
    if len(set(names)) != len(names):
        raise CatalogError(f"{what} has a field twice: {next(n for n in names if names.count(n) > 1)}")
    return [f for _, _, f in fields], flags_entries, rest


def _flags_entries(old: tuple[tuple[str, Entry], ...], n_flags: int) -> tuple[tuple[str, Entry], ...]:
    """What a header says of the column of flags."""
    if n_flags == 0:
        return ()
    form = ("TFORM", format_string("TFORM1", f"{n_flags}X", "format of field"))
    if old:
        return tuple(form if prefix == "TFORM" else (prefix, entry) for prefix, entry in old)
    return (
        ("TTYPE", format_string("TTYPE1", "flags", _FLAGS_COMMENT)),
        form,
        ("FLAGCOL", format_integer("FLAGCOL", 1, "Column number for the bitflags.")),
    )


def _make_dtype(
    fields: Sequence[AfwField], flags_entries: Sequence[tuple[str, Entry]], what: str
) -> np.dtype:
    """Layout of a row."""
    layout: list[tuple] = []
    if flags_entries:
        form = str(next((entry.value for prefix, entry in flags_entries if prefix == "TFORM"), ""))
        match = re.match(r"(\d*)X", form.strip())
        n_flags = sum(f.is_flag for f in fields)
        if match is None or int(match[1] or 1) != n_flags:
            raise CatalogError(f"{what} has {n_flags} flags, but {form!r} bits for them")
        layout.append(("flags", "u1", (-(-n_flags // 8),)))
    elif any(f.is_flag for f in fields):
        raise CatalogError(f"{what} has flags, but no column of their bits")
    for one in fields:
        if one.is_flag:
            continue
        match = re.match(r"(\d*)([A-Z])", one.form.strip())
        if match is None or match[2] not in _FORMS:
            raise CatalogError(f"{what} has a column {one.name} of an unknown format {one.form!r}")
        count = int(match[1] or 1)
        kind = _FORMS[match[2]]
        if match[2] == "A":
            layout.append((one.name, f"S{count}"))
        elif match[2] in "PQ":
            layout.append((one.name, kind, (2,)))
        else:
            layout.append((one.name, kind) if count == 1 else (one.name, kind, (count,)))
    return np.dtype(layout)
