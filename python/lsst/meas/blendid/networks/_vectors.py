# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Pieces of loops in vectors of eight floats, for the kernels of `.convolution`.

A compiler that is left to itself neither keeps a block of a matrix product in registers nor the transforms
of a tile; so these are written as LLVM's vector instructions, which fit any processor.  Each becomes part of
the loop that uses it.  Arrays are one-dimensional, float32, and contiguous; places in them are counted in
floats.  None of this is checked.
"""

from __future__ import annotations

__all__ = (
    "BLOCK",
    "PANEL",
    "POINT",
    "ROWS",
    "VECTOR",
    "add_tile",
    "multiply",
    "multiply_one",
    "product",
    "transform_tile",
    "write_tile",
)

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

VECTOR = 8
"""Floats in a vector."""
PANEL = 16
"""Columns of a matrix that are multiplied at a time: two vectors."""
ROWS = 6
"""Rows of a product that are kept in registers: twelve of sixteen that AVX2 has."""
BLOCK = 24
"""Tiles that are worked on at a time, a multiple of `ROWS`."""
POINT = BLOCK * PANEL + 16
"""Floats between values at the 36 points of tiles, with a gap: they shall not fall on the same lines of the
cache."""

_FLOAT = ir.FloatType()
_FLOATS = ir.VectorType(_FLOAT, VECTOR)
_INDEX = ir.IntType(64)


class _Memory:
    """Loads and stores in one array."""

    def __init__(self, context: Any, builder: Any, kind: Any, value: Any) -> None:
        self._builder = builder
        self._start = context.make_array(kind)(context, builder, value).data

    def at(self, place: Any) -> _Pointer:
        """A place in it."""
        return _Pointer(self._builder, self._builder.gep(self._start, [place]))


class _Pointer:
    """Loads and stores a known number of elements, or one of the loop, behind a place."""

    def __init__(self, builder: Any, pointer: Any) -> None:
        self._builder, self._pointer = builder, pointer

    def _behind(self, offset: Any, kind: ir.Type) -> Any:
        offset = _INDEX(offset) if isinstance(offset, int) else offset
        pointer = self._builder.gep(self._pointer, [offset])
        return self._builder.bitcast(pointer, ir.PointerType(kind))

    def load(self, offset: Any = 0, kind: ir.Type = _FLOATS) -> Any:
        return self._builder.load(self._behind(offset, kind), align=8 if kind is _INDEX else 4)

    def store(self, value: Any, offset: Any = 0) -> None:
        self._builder.store(value, self._behind(offset, _FLOATS), align=4)


class _Arithmetic:
    """Operations on vectors, as the builder's instructions."""

    def __init__(self, builder: Any) -> None:
        self._builder = builder
        self.zero = ir.Constant(_FLOATS, [0.0] * VECTOR)

    def spread(self, number: Any) -> Any:
        """A vector of one number."""
        undefined = ir.Constant(_FLOATS, ir.Undefined)
        first = self._builder.insert_element(undefined, number, ir.Constant(ir.IntType(32), 0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), VECTOR), [0] * VECTOR)
        return self._builder.shuffle_vector(first, undefined, lanes)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """A b + c; b may be a number."""
        if isinstance(b, float):
            b = ir.Constant(_FLOATS, [b] * VECTOR)
        function = cgutils.get_or_insert_function(
            self._builder.module,
            ir.FunctionType(_FLOATS, [_FLOATS] * 3),
            f"llvm.fmuladd.v{VECTOR}f32",
        )
        return self._builder.call(function, [a, b, c])

    def add(self, a: Any, b: Any) -> Any:
        return self._builder.fadd(a, b)

    def sub(self, a: Any, b: Any) -> Any:
        return self._builder.fsub(a, b)

    def rectify(self, a: Any) -> Any:
        return self._builder.select(self._builder.fcmp_ordered(">", a, self.zero), a, self.zero)


def _transform_in(math: _Arithmetic, d: Sequence[Any]) -> list[Any]:
    """Six pixels to the values at six points: 0, 1, -1, 2, -2 and infinity (Lavin & Gray 2016)."""
    even, odd = math.fma(d[2], -4.0, d[4]), math.fma(d[1], -4.0, d[3])
    even2, odd2 = math.sub(d[4], d[2]), math.sub(d[3], d[1])
    return [
        math.fma(d[0], 4.0, math.fma(d[2], -5.0, d[4])),
        math.add(even, odd),
        math.sub(even, odd),
        math.fma(odd2, 2.0, even2),
        math.fma(odd2, -2.0, even2),
        math.fma(d[1], 4.0, math.fma(d[3], -5.0, d[5])),
    ]


def _transform_out(math: _Arithmetic, m: Sequence[Any]) -> list[Any]:
    """Products at six points to four pixels."""
    sum1, difference1 = math.add(m[1], m[2]), math.sub(m[1], m[2])
    sum2, difference2 = math.add(m[3], m[4]), math.sub(m[3], m[4])
    return [
        math.add(math.add(m[0], sum1), sum2),
        math.fma(difference2, 2.0, difference1),
        math.fma(sum2, 4.0, sum1),
        math.add(math.fma(difference2, 8.0, difference1), m[5]),
    ]


def _transpose(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _multiples(builder: Any, step: Any, n: int) -> list[Any]:
    return [builder.mul(step, _INDEX(i)) for i in range(n)]


@intrinsic  # type: ignore[misc]
def transform_tile(
    typingctx: Any, x: Any, rows: Any, row: Any, column: Any, step: Any, v: Any, place: Any
) -> Any:
    """Transform 6 x 6 pixels in eight channels.

    ``rows[row : row + 6]`` are places of rows in ``x``, ``column`` is the place of the first pixel in its
    row, ``step`` that of the next.  The 36 values go to ``v``, `POINT` apart.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, _, row, column, step, _, place = arguments
        pixels, starts, values = (
            _Memory(context, builder, signature.args[i], arguments[i]) for i in (0, 1, 5)
        )
        math, tile = _Arithmetic(builder), []
        steps, first = _multiples(builder, step, 6), starts.at(row)
        for r in range(6):
            line = pixels.at(builder.add(first.load(r, _INDEX), column))
            tile.append(_transform_in(math, [line.load(offset) for offset in steps]))
        columns = [_transform_in(math, column) for column in _transpose(tile)]
        flat, target = [value for line in _transpose(columns) for value in line], values.at(place)
        for point, value in enumerate(flat):
            target.store(value, point * POINT)
        return context.get_dummy_value()

    return types.void(x, rows, row, column, step, v, place), generate


def _make_output(add: bool) -> Callable[..., Any]:
    """Make `write_tile` or `add_tile`."""

    @intrinsic  # type: ignore[misc]
    def output(
        typingctx: Any,
        m: Any,
        place: Any,
        bias: Any,
        channel: Any,
        x: Any,
        rows: Any,
        row: Any,
        column: Any,
        step: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            _, place, _, channel, _, _, row, column, step = arguments
            products, biases, pixels, starts = (
                _Memory(context, builder, signature.args[i], arguments[i]) for i in (0, 2, 4, 5)
            )
            math, source = _Arithmetic(builder), products.at(place)
            half = [
                _transform_out(math, [source.load((6 * r + c) * POINT) for c in range(6)]) for r in range(6)
            ]
            tile = _transpose([_transform_out(math, column) for column in _transpose(half)])
            constant = biases.at(channel).load()
            steps, first = _multiples(builder, step, 4), starts.at(row)
            for r, line in enumerate(tile):
                target = pixels.at(builder.add(first.load(r, _INDEX), column))
                for offset, value in zip(steps, line, strict=True):
                    total = math.add(value, constant)
                    if add:
                        total = math.add(total, target.load(offset))
                    target.store(math.rectify(total), offset)
            return context.get_dummy_value()

        return types.void(m, place, bias, channel, x, rows, row, column, step), generate

    return output


write_tile = _make_output(False)
"""Transform 36 products in eight channels to 4 x 4 pixels, add ``bias[channel:]``, rectify, and write."""
add_tile = _make_output(True)
"""The same, added to the pixels that are there before it is rectified."""


def _start_sums(builder: Any, n_rows: int) -> list[list[Any]]:
    zero = _Arithmetic(builder).zero
    # Variables, which the compiler keeps in registers.
    return [[cgutils.alloca_once_value(builder, zero) for _ in range(2)] for _ in range(n_rows)]


def _add_products(builder: Any, factors: list[Any], columns: list[Any], sums: list[list[Any]]) -> None:
    """Add products of a number of each row and two vectors of a row of the matrix."""
    math = _Arithmetic(builder)
    for factor, pair in zip(factors, sums, strict=True):
        spread = math.spread(factor)
        for column, total in zip(columns, pair, strict=True):
            builder.store(math.fma(spread, column, builder.load(total)), total)


@intrinsic  # type: ignore[misc]
def product(typingctx: Any, v: Any, first: Any, n_blocks: Any, u: Any, panel: Any, m: Any, place: Any) -> Any:
    """Multiply six tiles of ``v`` with sixteen columns of ``u``; write them to ``m``.

    A tile has sixteen channels at ``first``, the next sixteen 36 `POINT` behind, and so on; the next tile is
    behind the first sixteen.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, first, n_blocks, _, panel, _, place = arguments
        left, right, result = (_Memory(context, builder, signature.args[i], arguments[i]) for i in (0, 3, 5))
        sums = _start_sums(builder, ROWS)
        with cgutils.for_range(builder, n_blocks) as loop:
            tiles = left.at(builder.add(first, builder.mul(loop.index, _INDEX(36 * POINT))))
            matrix = right.at(builder.add(panel, builder.mul(loop.index, _INDEX(PANEL * PANEL))))
            for channel in range(PANEL):
                factors = [tiles.load(PANEL * i + channel, _FLOAT) for i in range(ROWS)]
                columns = [matrix.load(PANEL * channel + i) for i in (0, VECTOR)]
                _add_products(builder, factors, columns, sums)
        target = result.at(place)
        for i, total in enumerate(total for pair in sums for total in pair):
            target.store(builder.load(total), VECTOR * i)
        return context.get_dummy_value()

    return types.void(v, first, n_blocks, u, panel, m, place), generate


def _make_multiply(n_rows: int) -> Callable[..., Any]:
    """Make `multiply` or `multiply_one`."""

    @intrinsic  # type: ignore[misc]
    def multiply(
        typingctx: Any,
        x: Any,
        rows: Any,
        segment: Any,
        n_segments: Any,
        first: Any,
        step: Any,
        length: Any,
        u: Any,
        panel: Any,
        bias: Any,
        channel: Any,
        out: Any,
        place: Any,
        stride: Any,
        is_added: Any,
        is_rectified: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            _, _, segment, n_segments, first, step, length, _, panel = arguments[:9]
            _, channel, _, place, stride, is_added, is_rectified = arguments[9:]
            left, starts, right, biases, pixels = (
                _Memory(context, builder, signature.args[i], arguments[i]) for i in (0, 1, 7, 9, 11)
            )
            math, sums = _Arithmetic(builder), _start_sums(builder, n_rows)
            steps = _multiples(builder, step, n_rows)
            with cgutils.for_range(builder, n_segments) as outer:
                place_in = builder.add(starts.at(builder.add(segment, outer.index)).load(0, _INDEX), first)
                rows = [left.at(builder.add(place_in, offset)) for offset in steps]
                matrix = right.at(
                    builder.add(panel, builder.mul(outer.index, builder.mul(length, _INDEX(PANEL))))
                )
                with cgutils.for_range(builder, length) as inner:
                    factors = [row.load(inner.index, _FLOAT) for row in rows]
                    at = builder.mul(inner.index, _INDEX(PANEL))
                    columns = [matrix.load(builder.add(at, _INDEX(i))) for i in (0, VECTOR)]
                    _add_products(builder, factors, columns, sums)
            constants = [biases.at(channel).load(i) for i in (0, VECTOR)]
            for offset, pair in zip(_multiples(builder, stride, n_rows), sums, strict=True):
                target = pixels.at(builder.add(place, offset))
                for i, total, constant in zip((0, VECTOR), pair, constants, strict=True):
                    value = math.add(builder.load(total), constant)
                    value = math.add(value, builder.select(is_added, target.load(i), math.zero))
                    target.store(builder.select(is_rectified, math.rectify(value), value), i)
            return context.get_dummy_value()

        kinds = (x, rows, segment, n_segments, first, step, length, u, panel, bias, channel, out, place)
        return types.void(*kinds, stride, is_added, is_rectified), generate

    return multiply


multiply = _make_multiply(ROWS)
"""Multiply six rows with sixteen columns.

A row is made of ``n_segments`` pieces of ``length``: at ``rows[segment], …`` in ``x``, plus ``first``, and
each row ``step`` after the one before.  The columns of ``u`` are at ``panel``; ``bias[channel:]`` is added
and, on request, what is there in ``out``, at ``place`` and each row ``stride`` after the one before; then it
is rectified, on request, and written there.
"""
multiply_one = _make_multiply(1)
"""The same for one row."""
