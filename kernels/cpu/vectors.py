"""The machine's vector registers: how wide they are, and how to write instructions for them.

Numba compiles loops, and its compiler LLVM turns many of them into vector instructions by itself, but not reliably, and never so
that 28 running sums stay in registers. So the innermost loops are written here as LLVM instructions, through a handful of words:
load, store, fma. Everything above them is ordinary Numba code.

A kernel must not fix its element type or its width. Both come from here: the type from an argument `like` (a pointer that is never
followed), the width from the machine. `v.lanes` elements fit into one register: 16 float32 with AVX-512, 8 with AVX2, 4 with NEON or SSE.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

I64 = ir.IntType(64)
LINE = 64  # bytes of a cache line
# Numba's type -> LLVM's, and its bytes
ELEMENTS = {types.float32: (ir.FloatType(), 4), types.float64: (ir.DoubleType(), 8)}


@functools.cache
def features() -> frozenset[str]:
    """What the processor offers, as LLVM calls it ("avx2", "fma"), after NUMBA_CPU_NAME and NUMBA_CPU_FEATURES had their say."""
    _, _, text = cpu_target.target_context.codegen().magic_tuple()
    return frozenset(part[1:] for part in text.split(",") if part.startswith("+"))


@functools.cache
def register_bits() -> int:
    """512 with AVX-512, 256 with AVX, else 128: SSE2, NEON, or whatever LLVM makes of four numbers where there is neither."""
    return 512 if "avx512f" in features() else 256 if "avx" in features() else 128


@functools.cache
def register_count() -> int:
    """How many vector registers there are: 32 with AVX-512 and on ARM, 16 on other x86 processors."""
    triple, _, _ = cpu_target.target_context.codegen().magic_tuple()
    return 32 if register_bits() == 512 or triple.startswith(("aarch64", "arm64")) else 16


class Vectors:
    """Writes instructions for vectors of `lanes` elements, or for single elements (lanes=1: the rest of a row).

    Addresses are plain integers, in bytes, as they are in the kernels.
    """

    def __init__(self, builder: Any, like: types.CPointer, lanes: int | None = None) -> None:
        self.element, self.bytes_of_one = ELEMENTS[like.dtype]
        self.lanes = lanes or register_bits() // (8 * self.bytes_of_one)
        self.bytes = self.lanes * self.bytes_of_one
        self.type = ir.VectorType(self.element, self.lanes) if self.lanes > 1 else self.element
        self.builder = builder
        self.zero = self.constant(0.0)

    def constant(self, value: float) -> Any:
        """`value` in every lane."""
        return ir.Constant(self.type, [value] * self.lanes if self.lanes > 1 else value)

    def integer(self, value: int) -> Any:
        """An integer known at compile time."""
        return ir.Constant(I64, value)

    def move(self, address: Any, by: int) -> Any:
        """The address `by` bytes further."""
        return self.builder.add(address, self.integer(by)) if by else address

    def load(self, address: Any) -> Any:
        """The vector at this address, which need not be aligned."""
        value = self.builder.load(self.builder.inttoptr(address, self.type.as_pointer()))
        value.align = self.bytes_of_one
        return value

    def store(self, value: Any, address: Any) -> None:
        """The vector to this address."""
        self.builder.store(value, self.builder.inttoptr(address, self.type.as_pointer())).align = self.bytes_of_one

    def load_address(self, address: Any) -> Any:
        """The integer at this address: an entry of a table of addresses."""
        return self.builder.load(self.builder.inttoptr(address, I64.as_pointer()))

    def broadcast(self, address: Any) -> Any:
        """The one element at this address, in every lane."""
        one = self.builder.load(self.builder.inttoptr(address, self.element.as_pointer()))
        one.align = self.bytes_of_one
        if self.lanes == 1:
            return one
        undefined = ir.Constant(self.type, ir.Undefined)
        first = self.builder.insert_element(undefined, one, ir.Constant(ir.IntType(32), 0))
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(first, undefined, everywhere)

    def prefetch(self, address: Any) -> None:
        """Asks for the cache line of an address that will be read, and does not wait for it."""
        i32, pointer = ir.IntType(32), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, i32, i32, i32])
        function = cgutils.get_or_insert_function(self.builder.module, kind, "llvm.prefetch.p0")
        to_read, near, data = (ir.Constant(i32, number) for number in (0, 3, 1))
        self.builder.call(function, [self.builder.inttoptr(address, pointer), to_read, near, data])

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """a * b + c: one instruction where there is one, else two."""
        name = f"llvm.fmuladd.{f'v{self.lanes}' if self.lanes > 1 else ''}f{8 * self.bytes_of_one}"
        kind = ir.FunctionType(self.type, [self.type] * 3)
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), [a, b, c])

    def add(self, a: Any, b: Any) -> Any:
        """a + b."""
        return self.builder.fadd(a, b)

    def sub(self, a: Any, b: Any) -> Any:
        """a - b."""
        return self.builder.fsub(a, b)

    def mul(self, a: Any, b: Any) -> Any:
        """a * b."""
        return self.builder.fmul(a, b)

    def max(self, a: Any, b: Any) -> Any:
        """The larger one; a NaN in `a` stays, as in numpy.maximum (b is a number)."""
        return self.where(self.builder.fcmp_unordered(">=", a, b), a, b)

    def greater(self, a: Any, b: Any) -> Any:
        """A mask: a > b."""
        return self.builder.fcmp_ordered(">", a, b)

    def where(self, mask: Any, a: Any, b: Any) -> Any:
        """`a` where the mask holds, else `b`."""
        return self.builder.select(mask, a, b)


@intrinsic
def prefetch(typing_context: Any, like: Any, address: Any) -> Any:
    """Vectors.prefetch, to be read from, for kernels."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        Vectors(builder, like).prefetch(args[1])
        return context.get_dummy_value()

    return types.void(like, types.intp), generate


class Place:
    """An argument of a row operation: a place in memory that moves along the row."""

    element_bytes: int | None = None  # of the row's own type

    def __init__(self, v: Vectors, address: Any) -> None:
        self._v, self._address = v, address

    def load(self) -> Any:
        """The vector that stands here."""
        return self._v.load(self._address)

    def store(self, value: Any) -> None:
        """Puts a vector here."""
        self._v.store(value, self._address)

    def beyond(self, bytes: Any) -> Place:
        """The place so many bytes from here."""
        return Place(self._v, self._v.builder.add(self._address, bytes))


class Double(Place):
    """A place of float64 numbers, whatever type the row has: where sums are kept."""

    element_bytes = 8

    def add(self, value: Any) -> None:
        """Adds a vector of the row's type to what stands here."""
        builder, lanes = self._v.builder, self._v.lanes
        kind = ir.VectorType(ir.DoubleType(), lanes) if lanes > 1 else ir.DoubleType()
        pointer = builder.inttoptr(self._address, kind.as_pointer())
        old = builder.load(pointer)
        old.align = 8
        wide = value if self._v.element == ir.DoubleType() else builder.fpext(value, kind)
        builder.store(builder.fadd(old, wide), pointer).align = 8


class Byte(Place):
    """A place of small integers, one byte each: which tap of a window won."""

    element_bytes = 1

    def _type(self) -> Any:
        return ir.VectorType(ir.IntType(8), self._v.lanes) if self._v.lanes > 1 else ir.IntType(8)

    def constant(self, value: Any) -> Any:
        """An integer in every lane."""
        builder, kind = self._v.builder, self._type()
        one = builder.trunc(value, ir.IntType(8))
        if self._v.lanes == 1:
            return one
        first = builder.insert_element(ir.Constant(kind, ir.Undefined), one, ir.Constant(ir.IntType(32), 0))
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), self._v.lanes), [0] * self._v.lanes)
        return builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), everywhere)

    def load(self) -> Any:
        """The bytes that stand here."""
        value = self._v.builder.load(self._v.builder.inttoptr(self._address, self._type().as_pointer()))
        value.align = 1
        return value

    def store(self, value: Any) -> None:
        """Puts bytes here."""
        self._v.builder.store(value, self._v.builder.inttoptr(self._address, self._type().as_pointer())).align = 1


Pixel: TypeAlias = "Value"  # the three kinds of arguments of a column operation
Channel: TypeAlias = "Value"
Sum: TypeAlias = "Value"
PLACES = {"Place": Place, "Double": Double, "Byte": Byte}


def _loop(builder: Any, start: Any, end: Any, step: int, body: Callable[[Any], None]) -> Any:
    """for i in range(start, end - step + 1, step): body(i). Returns where it stopped."""
    before, head = builder.block, builder.append_basic_block("row")
    inside, after = builder.append_basic_block("row.body"), builder.append_basic_block("row.end")
    builder.branch(head)
    builder.position_at_end(head)
    i = builder.phi(I64)
    i.add_incoming(start, before)
    beyond = builder.add(i, ir.Constant(I64, step))
    builder.cbranch(builder.icmp_signed("<=", beyond, end), inside, after)
    builder.position_at_end(inside)
    body(i)
    i.add_incoming(beyond, builder.block)
    builder.branch(head)
    builder.position_at_end(after)
    return i


def _turns(builder: Any, like: types.CPointer, unrolled: int) -> list[tuple[int, Vectors]]:
    """How a row is walked: some whole vectors at a time, a vector, four elements, an element."""
    whole = Vectors(builder, like)
    turns = [(unrolled, whole)] if unrolled > 1 else []
    return [
        *turns,
        (1, whole),
        *([(1, Vectors(builder, like, 4))] if whole.lanes > 4 else []),
        (1, Vectors(builder, like, 1)),
    ]


def _here(v: Vectors, kind: str, value: Any, element: Any) -> Any:
    """An argument at element number `element` of the row; an integer as it is."""
    if kind not in PLACES:
        return value
    place = PLACES[kind]
    return place(v, v.builder.add(value, v.builder.mul(element, v.integer(place.element_bytes or v.bytes_of_one))))


def row_operation(body: Callable[..., None], unrolled: int = 4) -> Any:
    """Makes a loop over a row of n elements of the few lines for one vector.

        @row_operation
        def add(v, y: Place, a: Place, b: Place):
            y.store(v.add(a.load(), b.load()))

    gives `add(like, n, (y, a, b))` for kernels, with addresses for y, a and b: `unrolled` vectors at a time, then one at a time, then
    the last elements four by four and one by one. An argument that is no Place is an integer (a distance in bytes) and stays as it is.
    """
    kinds = [parameter.annotation for parameter in inspect.signature(body).parameters.values()][1:]
    count = len(kinds)

    def typed(typing_context: Any, like: Any, n: Any, arguments: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            _, n, packed = args
            values = cgutils.unpack_tuple(builder, packed, count)
            position: Any = ir.Constant(I64, 0)
            for vectors, v in _turns(builder, like, unrolled):

                def one(i: Any, v: Vectors = v, vectors: int = vectors) -> None:
                    for u in range(vectors):
                        element = builder.add(i, v.integer(u * v.lanes))
                        body(v, *(_here(v, kind, value, element) for kind, value in zip(kinds, values, strict=True)))

                position = _loop(builder, position, n, vectors * v.lanes, one)
            return context.get_dummy_value()

        return types.void(like, types.intp, types.UniTuple(types.intp, count)), generate

    typed.__name__ = typed.__qualname__ = body.__name__
    return intrinsic(typed)


class Value:
    """An argument of a column operation: a vector, to be read, and set, as `.value`."""

    def __init__(self, value: Any, store: Callable[[Any], None] | None = None) -> None:
        self.value = value
        self.store = store


def _strip(
    v: Vectors, body: Callable[..., None], kinds: list[str], vectors: int, rows: Any, apart: Any, addresses: list[Any]
) -> None:
    """A column operation for `vectors` vectors of channels, over all pixels."""
    strips = [
        (kind, v.move(address, u * v.bytes))
        for u in range(vectors)
        for kind, address in zip(kinds, addresses, strict=True)
    ]
    fixed = [v.load(address) if kind == "Channel" else None for kind, address in strips]
    state = [v.load(address) for kind, address in strips if kind == "Sum"]
    b = v.builder
    before, head, inside, after = (
        b.block,
        *(b.append_basic_block(name) for name in ("pixels", "pixel", "pixels.end")),
    )
    b.branch(head)
    b.position_at_end(head)
    row, offset = b.phi(I64), b.phi(I64)
    phis = [b.phi(v.type) for _ in state]
    for phi, value in zip((row, offset, *phis), (v.integer(0), v.integer(0), *state), strict=True):
        phi.add_incoming(value, before)
    b.cbranch(b.icmp_signed("<", row, rows), inside, after)
    b.position_at_end(inside)
    sums, results = iter(phis), []
    for u in range(vectors):
        values = []
        for (kind, address), vector in zip(
            strips[u * len(kinds) : (u + 1) * len(kinds)], fixed[u * len(kinds) :], strict=False
        ):
            at = b.add(address, offset)
            if kind == "Pixel":
                values.append(Value(v.load(at), functools.partial(v.store, address=at)))
            else:
                values.append(Value(vector if kind == "Channel" else next(sums)))
        body(v, *values)
        results += [value.value for kind, value in zip(kinds, values, strict=True) if kind == "Sum"]
    for phi, value in zip(
        (row, offset, *phis), (b.add(row, v.integer(1)), b.add(offset, apart), *results), strict=True
    ):
        phi.add_incoming(value, b.block)
    b.branch(head)
    b.position_at_end(after)
    for phi, address in zip(phis, (address for kind, address in strips if kind == "Sum"), strict=True):
        v.store(phi, address)


def column_operation(body: Callable[..., None]) -> Any:
    """Makes a loop over pixels of the few lines for one vector of channels; sums over the pixels stay in registers.

        @column_operation
        def sums(v, total: Sum, x: Pixel):
            total.value = v.add(total.value, x.value)

    gives `sums(like, n, rows, apart, (total, x))`: for n channels and `rows` pixels, `apart` bytes from one to the next. A Pixel is
    loaded anew for each pixel (and may be stored to), a Channel once, a Sum is loaded, changed by every pixel, and stored.
    """
    kinds = [parameter.annotation for parameter in inspect.signature(body).parameters.values()][1:]

    def typed(typing_context: Any, like: Any, n: Any, rows: Any, apart: Any, arguments: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            _, n, rows, apart, packed = args
            addresses = cgutils.unpack_tuple(builder, packed, len(kinds))
            position: Any = ir.Constant(I64, 0)
            for vectors, v in _turns(builder, like, 4):

                def strip(i: Any, v: Vectors = v, vectors: int = vectors) -> None:
                    offset = builder.mul(i, v.integer(v.bytes_of_one))
                    here = [builder.add(address, offset) for address in addresses]
                    _strip(v, body, kinds, vectors, rows, apart, here)

                position = _loop(builder, position, n, vectors * v.lanes, strip)
            return context.get_dummy_value()

        return types.void(like, types.intp, types.intp, types.intp, types.UniTuple(types.intp, len(kinds))), generate

    typed.__name__ = typed.__qualname__ = body.__name__
    return intrinsic(typed)


def block_operation(body: Callable[..., None]) -> Any:
    """A row operation of so many instructions that one vector at a time is enough: the transforms of a tile."""
    return row_operation(body, 1)


def total(v: Vectors, terms: Sequence[tuple[float, Any]]) -> Any:
    """The sum of factor * vector over the terms, with as few instructions as the factors 0, 1 and -1 allow."""
    result = None
    for factor, vector in sorted((term for term in terms if term[0]), key=lambda term: term[0] != 1):
        if result is None:
            result = vector if factor == 1 else v.mul(vector, v.constant(factor))
        elif factor in (1, -1):
            result = v.add(result, vector) if factor == 1 else v.sub(result, vector)
        else:
            result = v.fma(vector, v.constant(factor), result)
    return v.zero if result is None else result
