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
    "PANEL",
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

_FLOAT = ir.FloatType()
_FLOATS = ir.VectorType(_FLOAT, VECTOR)
_INDEX = ir.IntType(64)
_ROWS = 6
"""Rows of a product that are kept in registers: twelve of sixteen that AVX2 has."""


class _Memory:
    """Loads and stores in one array."""

    def __init__(self, context: Any, builder: Any, kind: Any, value: Any) -> None:
        self._builder = builder
        self._start = context.make_array(kind)(context, builder, value).data

    def _at(self, place: Any, kind: ir.Type) -> Any:
        pointer = self._builder.gep(self._start, [place])
        return self._builder.bitcast(pointer, ir.PointerType(kind))

    def load(self, place: Any, kind: ir.Type = _FLOATS) -> Any:
        return self._builder.load(self._at(place, kind), align=8 if kind is _INDEX else 4)

    def store(self, value: Any, place: Any) -> None:
        self._builder.store(value, self._at(place, _FLOATS), align=4)


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


def _places(builder: Any, start: Any, step: Any, n: int) -> list[Any]:
    places = [start]
    for _ in range(n - 1):
        places.append(builder.add(places[-1], step))
    return places


@intrinsic  # type: ignore[misc]
def transform_tile(
    typingctx: Any, x: Any, rows: Any, row: Any, column: Any, step: Any, v: Any, place: Any, stride: Any
) -> Any:
    """Transform 6 x 6 pixels in eight channels.

    ``rows[row : row + 6]`` are places of rows in ``x``, ``column`` is the place of the first pixel in its
    row, ``step`` that of the next.  The 36 values go to ``v``, ``stride`` apart.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, _, row, column, step, _, place, stride = arguments
        pixels, starts, values = (
            _Memory(context, builder, signature.args[i], arguments[i]) for i in (0, 1, 5)
        )
        math, tile = _Arithmetic(builder), []
        for r in _places(builder, row, _INDEX(1), 6):
            start = builder.add(starts.load(r, _INDEX), column)
            tile.append(_transform_in(math, [pixels.load(p) for p in _places(builder, start, step, 6)]))
        columns = [_transform_in(math, column) for column in _transpose(tile)]
        flat = [value for line in _transpose(columns) for value in line]
        for value, p in zip(flat, _places(builder, place, stride, 36), strict=True):
            values.store(value, p)
        return context.get_dummy_value()

    return types.void(x, rows, row, column, step, v, place, stride), generate


def _make_output(add: bool) -> Callable[..., Any]:
    """Make `write_tile` or `add_tile`."""

    @intrinsic  # type: ignore[misc]
    def output(
        typingctx: Any,
        m: Any,
        place: Any,
        stride: Any,
        bias: Any,
        channel: Any,
        x: Any,
        rows: Any,
        row: Any,
        column: Any,
        step: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            _, place, stride, _, channel, _, _, row, column, step = arguments
            products, biases, pixels, starts = (
                _Memory(context, builder, signature.args[i], arguments[i]) for i in (0, 3, 5, 6)
            )
            math = _Arithmetic(builder)
            at = iter(_places(builder, place, stride, 36))
            half = [_transform_out(math, [products.load(next(at)) for _ in range(6)]) for _ in range(6)]
            tile = _transpose([_transform_out(math, column) for column in _transpose(half)])
            constant = biases.load(channel)
            for r, line in zip(_places(builder, row, _INDEX(1), 4), tile, strict=True):
                start = builder.add(starts.load(r, _INDEX), column)
                for p, value in zip(_places(builder, start, step, 4), line, strict=True):
                    total = math.add(value, constant)
                    if add:
                        total = math.add(total, pixels.load(p))
                    pixels.store(math.rectify(total), p)
            return context.get_dummy_value()

        return types.void(m, place, stride, bias, channel, x, rows, row, column, step), generate

    return output


write_tile = _make_output(False)
"""Transform 36 products in eight channels to 4 x 4 pixels, add ``bias[channel:]``, rectify, and write."""
add_tile = _make_output(True)
"""The same, added to the pixels that are there before it is rectified."""


def _emit_sums(
    builder: Any,
    left: _Memory,
    places: list[Any],
    length: Any,
    right: _Memory,
    panel: Any,
    sums: list[list[Any]],
) -> None:
    """Add products of rows at ``places`` and sixteen columns to ``sums``, two vectors for each row."""
    math = _Arithmetic(builder)
    with cgutils.for_range(builder, length) as loop:
        at = builder.add(panel, builder.mul(loop.index, _INDEX(PANEL)))
        columns = [right.load(at), right.load(builder.add(at, _INDEX(VECTOR)))]
        for place, pair in zip(places, sums, strict=True):
            factor = math.spread(left.load(builder.add(place, loop.index), _FLOAT))
            for column, total in zip(columns, pair, strict=True):
                builder.store(math.fma(factor, column, builder.load(total)), total)


def _start_sums(builder: Any, n_rows: int) -> list[list[Any]]:
    zero = _Arithmetic(builder).zero
    # Variables, which the compiler keeps in registers.
    return [[cgutils.alloca_once_value(builder, zero) for _ in range(2)] for _ in range(n_rows)]


@intrinsic  # type: ignore[misc]
def product(
    typingctx: Any, v: Any, first: Any, step: Any, length: Any, u: Any, panel: Any, m: Any, place: Any
) -> Any:
    """Multiply six rows of ``v``, ``step`` apart, with sixteen columns of ``u``; write them to ``m``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, first, step, length, _, panel, _, place = arguments
        left, right, result = (_Memory(context, builder, signature.args[i], arguments[i]) for i in (0, 4, 6))
        sums = _start_sums(builder, _ROWS)
        _emit_sums(builder, left, _places(builder, first, step, _ROWS), length, right, panel, sums)
        flat = [total for pair in sums for total in pair]
        for total, p in zip(flat, _places(builder, place, _INDEX(VECTOR), len(flat)), strict=True):
            result.store(builder.load(total), p)
        return context.get_dummy_value()

    return types.void(v, first, step, length, u, panel, m, place), generate


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
            with cgutils.for_range(builder, n_segments) as loop:
                start = builder.add(starts.load(builder.add(segment, loop.index), _INDEX), first)
                begin = builder.add(panel, builder.mul(loop.index, builder.mul(length, _INDEX(PANEL))))
                _emit_sums(builder, left, _places(builder, start, step, n_rows), length, right, begin, sums)
            constants = [biases.load(builder.add(channel, _INDEX(i))) for i in (0, VECTOR)]
            for start, pair in zip(_places(builder, place, stride, n_rows), sums, strict=True):
                ends = _places(builder, start, _INDEX(VECTOR), 2)
                for p, total, constant in zip(ends, pair, constants, strict=True):
                    value = math.add(builder.load(total), constant)
                    there = builder.select(is_added, pixels.load(p), math.zero)
                    value = math.add(value, there)
                    value = builder.select(is_rectified, math.rectify(value), value)
                    pixels.store(value, p)
            return context.get_dummy_value()

        kinds = (x, rows, segment, n_segments, first, step, length, u, panel, bias, channel, out, place)
        return types.void(*kinds, stride, is_added, is_rectified), generate

    return multiply


multiply = _make_multiply(_ROWS)
"""Multiply six rows with sixteen columns.

A row is made of ``n_segments`` pieces of ``length``: at ``rows[segment], …`` in ``x``, plus ``first``, and
each row ``step`` after the one before.  The columns of ``u`` are at ``panel``; ``bias[channel:]`` is added
and, on request, what is there in ``out``, at ``place`` and each row ``stride`` after the one before; then it
is rectified, on request, and written there.
"""
multiply_one = _make_multiply(1)
"""The same for one row."""
