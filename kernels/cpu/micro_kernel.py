"""The micro-kernel: a small tile of a matrix product, whose running sums never leave the registers.

Everything that a ResNet spends its time in comes down to

    C[r, n] += A[r, k] * B[k, n]

for a few rows r and two registers' width of columns n. For each k it loads one row of B (two vectors), and for each r one number of A,
copied into every lane; rows x 2 multiplications with additions follow, each an instruction (FMA) on a whole vector. With 14 rows (AVX-512)
there are 28 sums, and 30 of 32 registers are in use; with 6 rows (AVX2) 12 sums, and 14 of 16. The more rows, the more often a loaded row
of B is used: loads are what a smaller tile would wait for. (Goto & van de Geijn 2008; BLIS, Van Zee & van de Geijn 2015.)

A's rows are found through a table of addresses, as the pixels under a convolution's kernel are: a table for every tap of the kernel, whose
entry for a pixel outside the image is the address of a row of zeros. So the same tile convolves with any kernel, stride, rate and
padding, and no column matrix is made, not even a small one. (The indirect convolution algorithm, Dukhan 2019.)
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .vectors import I64, Vectors, register_count

VECTORS = 2  # a tile is this many registers wide
UNROLL = 4  # so many k in one turn of the loop
BIAS, RELU, RESIDUAL = 1, 2, 4  # what happens to a tile before it is stored: `flags`


@functools.cache
def tile_rows() -> int:
    """The rows of a full tile: as many as leave registers for a row of B and a number of A."""
    return 14 if register_count() == 32 else 6


class Loop:
    """`for k in range(start, end, step)` around running sums, as LLVM wants it: each sum is a phi of before and after."""

    def __init__(self, builder: Any, start: Any, end: Any, step: int, carried: list[Any]) -> None:
        self.builder, self.step = builder, step
        before, self._head = builder.block, builder.append_basic_block("k")
        inside, self._after = builder.append_basic_block("k.body"), builder.append_basic_block("k.end")
        builder.branch(self._head)
        builder.position_at_end(self._head)
        self.k = builder.phi(I64)
        self.k.add_incoming(start, before)
        self.carried = [builder.phi(value.type) for value in carried]
        for phi, value in zip(self.carried, carried, strict=True):
            phi.add_incoming(value, before)
        builder.cbranch(builder.icmp_signed("<", self.k, end), inside, self._after)
        builder.position_at_end(inside)

    def close(self, carried: list[Any]) -> list[Any]:
        """Ends the body; the values after the loop."""
        self.k.add_incoming(self.builder.add(self.k, ir.Constant(I64, self.step)), self.builder.block)
        for phi, value in zip(self.carried, carried, strict=True):
            phi.add_incoming(value, self.builder.block)
        self.builder.branch(self._head)
        self.builder.position_at_end(self._after)
        return self.carried


def _products(v: Vectors, k: Any, step: int, rows: list[Any], b: Any, sums: list[Any]) -> list[Any]:
    """`step` of the k: every sum takes its product."""
    builder = v.builder
    a_offset, b_row = (
        builder.mul(k, v.integer(v.bytes_of_one)),
        builder.add(b, builder.mul(k, v.integer(VECTORS * v.bytes))),
    )
    addresses = [builder.add(row, a_offset) for row in rows]
    for u in range(step):
        columns = [v.load(v.move(b_row, (u * VECTORS + j) * v.bytes)) for j in range(VECTORS)]
        for i, address in enumerate(addresses):
            a = v.broadcast(v.move(address, u * v.bytes_of_one))
            for j, column in enumerate(columns):
                sums[i * VECTORS + j] = v.fma(a, column, sums[i * VECTORS + j])
    return sums


def _when(builder: Any, flags: Any, flag: int, change: Callable[[list[Any]], list[Any]], sums: list[Any]) -> list[Any]:
    """The sums after `change`, if the flag is set."""
    before, then, after = builder.block, builder.append_basic_block("then"), builder.append_basic_block("after")
    builder.cbranch(
        builder.icmp_signed("!=", builder.and_(flags, ir.Constant(I64, flag)), ir.Constant(I64, 0)), then, after
    )
    builder.position_at_end(then)
    changed, end = change(sums), builder.block
    builder.branch(after)
    builder.position_at_end(after)
    result = [builder.phi(value.type) for value in sums]
    for phi, old, new in zip(result, sums, changed, strict=True):
        phi.add_incoming(old, before)
        phi.add_incoming(new, end)
    return result


def _epilogue(v: Vectors, flags: Any, sums: list[Any], places: list[Any], bias: Any, residual: Any) -> list[Any]:
    """While the tile is in registers: the bias, the residual, ReLU, as `flags` say."""
    at = [v.move(place, j * v.bytes) for place in places for j in range(VECTORS)]

    def add_bias(sums: list[Any]) -> list[Any]:
        values = [v.load(v.move(bias, j * v.bytes)) for j in range(VECTORS)]
        return [v.add(value, values[i % VECTORS]) for i, value in enumerate(sums)]

    def add_residual(sums: list[Any]) -> list[Any]:
        return [v.add(value, v.load(v.builder.add(address, residual))) for value, address in zip(sums, at, strict=True)]

    sums = _when(v.builder, flags, BIAS, add_bias, sums)
    sums = _when(v.builder, flags, RESIDUAL, add_residual, sums)
    return _when(v.builder, flags, RELU, lambda sums: [v.max(value, v.zero) for value in sums], sums)


def _tile(rows: int) -> Any:
    """tile(like, taps, k, a, taps_apart, a_offset, b, c, c_offset, bias, residual, flags): `rows` rows of C.

    a: a table of taps x rows addresses, the tables of two taps `taps_apart` bytes apart; a_offset bytes after each address, k elements of
    A. b: the packed B, taps x k rows of two vectors, without gaps. c: a table of the rows' addresses in C, to which c_offset bytes are
    added. bias: two vectors; residual: how many bytes after C the residual lies.
    """

    @intrinsic
    def tile(typing_context, like, taps, k, a, taps_apart, a_offset, b, c, c_offset, bias, residual, flags):
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            _, taps, k, a, taps_apart, a_offset, b, c, c_offset, bias, residual, flags = args
            v = Vectors(builder, like)
            whole = builder.and_(k, v.integer(-UNROLL))
            b_tap = builder.mul(k, v.integer(VECTORS * v.bytes))
            outer = Loop(builder, v.integer(0), taps, 1, [*[v.zero] * (rows * VECTORS), a, b])
            *sums, table, b_here = outer.carried
            starts = [builder.add(v.load_address(v.move(table, 8 * i)), a_offset) for i in range(rows)]
            for begin, end, step in ((v.integer(0), whole, UNROLL), (whole, k, 1)):
                inner = Loop(builder, begin, end, step, sums)
                sums = inner.close(_products(v, inner.k, step, starts, b_here, list(inner.carried)))
            *sums, _, _ = outer.close([*sums, builder.add(table, taps_apart), builder.add(b_here, b_tap)])
            places = [builder.add(v.load_address(v.move(c, 8 * i)), c_offset) for i in range(rows)]
            for i, value in enumerate(_epilogue(v, flags, list(sums), places, bias, residual)):
                v.store(value, v.move(places[i // VECTORS], (i % VECTORS) * v.bytes))
            return context.get_dummy_value()

        return types.void(like, *[types.intp] * 11), generate

    return tile


tile_14, tile_8, tile_6, tile_4, tile_2, tile_1 = map(_tile, (14, 8, 6, 4, 2, 1))
