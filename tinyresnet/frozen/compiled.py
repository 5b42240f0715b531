"""The folded graph as one list of Steps for the compiled kernels: what a frozen net is on back end `numba`.

Weights are brought into the kernels' order once. The Steps for a batch size are written when it is first asked for, with every address in
them but those of the images and of the result, which are filled in at each call. A call then is: take a set of buffers, fill in two
addresses, run the list. Calls at the same time have a set each.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..backend import Array, use_backend
from ..kernels.cpu import elementwise, plan_convolution, pooling, threads
from ..kernels.cpu.convolution import PANEL_BYTES
from ..kernels.cpu.micro_kernel import RELU
from ..kernels.cpu.plan import Plan, address, constants, pieces
from ..kernels.cpu.plan_convolution import DIRECT, LAID_OUT, Epilogue, Geometry
from . import buffers
from .graph import IMAGES, Add, Affine, Conv2D, GlobalAvgPool, Graph, MaxPool2D, Node, Relu, Subsample, Value
from .plain import compute

SMALLEST = 8192  # elements of a task that does no more than read and write them
MARK = 1 << 60  # larger than any address
IMAGES_MARK, OUT_MARK = MARK, 2 * MARK
# What a field may be made of, by how often MARK is in it: (images, result) addresses. (A residual is given as its way from y.)
COMBINATIONS = {1: (1, 0), 2: (0, 1), -2: (0, -1), -1: (1, -1)}


class Compiled:
    """Runs the graph on kernels, for any number of images up to the planned one. Any number of threads may call it at a time."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._packed = {node.y: _pack(graph, node) for node in graph.nodes if isinstance(node, Conv2D)}
        first = _Buffers(graph, self._packed)
        first.program(graph.batch)
        self._free = [first]

    def __call__(self, images: Array, out: Array) -> None:
        """images [n, H, W, C] -> out, of the result's shape."""
        try:
            mine = self._free.pop()
        except IndexError:  # all are in use: one more call at a time than ever before
            mine = _Buffers(self._graph, self._packed)
        try:
            mine.program(len(images)).run(images, out)
        finally:
            self._free.append(mine)


def geometry(graph: Graph, node: Conv2D, n: int) -> Geometry:
    """The kernels' words for the convolution of n images."""
    return Geometry(
        n, *graph.shapes[node.x], *graph.shapes[node.y][:2], node.w.shape[3],
        *node.w.shape[:2], *node.stride, *node.rate, node.pads[0][0], node.pads[1][0],
    )  # fmt: skip


class _Packed(NamedTuple):
    """How a convolution is done, and its weights as that way reads them."""

    method: str
    weights: Array


def _pack(graph: Graph, node: Conv2D) -> _Packed:
    """By the way that is the quickest for the planned batch. Smaller ones go the same way: an image's result does not depend on how
    many there are, and there is one form of the weights."""
    g, dtype = geometry(graph, node, graph.batch), np.dtype(graph.dtype)
    method = plan_convolution.choose(g, dtype.itemsize, True)
    weights = np.empty(plan_convolution.packed_size(method, g, dtype), dtype)
    plan = Plan(dtype)
    plan_convolution.prepare_weights(plan, method, g, node.w.get(), weights)
    plan.run()
    if method in (DIRECT, LAID_OUT):
        node.w.replace(functools.partial(_unpacked, weights, node.w.shape))
    else:  # transformed, and so not exactly to be brought back
        node.w.settle()
    return _Packed(method, weights)


def _unpacked(packed: Array, shape: tuple[int, ...]) -> Array:
    """The weights [KH, KW, C, K] from their panels, [panels, KH * KW, C, columns]: the last panel is filled up with zeros."""
    *kernel, c, k = shape
    columns = PANEL_BYTES // packed.itemsize
    panels = packed.reshape(-(-k // columns), prod(kernel), c, columns)
    return np.ascontiguousarray(panels.transpose(1, 2, 0, 3).reshape(prod(kernel), c, -1)[:, :, :k]).reshape(shape)


class _Buffers:
    """The memory of one call at a time, and the programs that run in it."""

    def __init__(self, graph: Graph, packed: dict[Value, _Packed]) -> None:
        self.graph, self.packed = graph, packed
        self.memory = _aligned(buffers.plan(graph, graph.batch).size)
        self._programs: dict[tuple[int, int], _Program] = {}

    def program(self, n: int) -> _Program:
        """The one for n images and as many threads as there are now."""
        key = (n, threads.get_num_threads())
        if key not in self._programs:
            self._programs[key] = _Program(self, n)
        return self._programs[key]


def _aligned(size: int) -> Array:
    memory = np.empty(size + buffers.ALIGNMENT, np.uint8)
    start = -address(memory) % buffers.ALIGNMENT
    return memory[start : start + size]


class _Open(NamedTuple):
    """A field of a Step: base + of_images * (address of the images) + of_out * (address of the result)."""

    step: int
    field: str
    base: int
    of_images: int
    of_out: int


class _Run:
    """Steps that run one after the other without Python. Fields that hold a caller's address stand open until the call."""

    def __init__(self, dtype: Any) -> None:
        self.plan = Plan(dtype)

    def close(self) -> None:
        """Nothing more is added: makes the array of Steps, and finds the open fields in it."""
        self.steps = self.plan.steps()
        self._open: list[_Open] = []
        for field in self.steps.dtype.names:
            if self.steps.dtype[field] == np.int64:
                marks = (self.steps[field] + MARK // 2) // MARK
                for step in np.flatnonzero(marks):
                    base = self.steps[field][step] - marks[step] * MARK
                    self._open.append(_Open(int(step), field, int(base), *COMBINATIONS[int(marks[step])]))

    def __call__(self, images: Array, out: Array) -> None:
        here, there = address(images), address(out)
        for step, field, base, of_images, of_out in self._open:
            self.steps[field][step] = base + of_images * here + of_out * there
        threads.pool().run(self.steps, self.plan.scratch)


class _Program:
    """What is done for n images, in the memory of one set of buffers: lists of Steps, and between them nodes that no kernel has."""

    def __init__(self, room: _Buffers, n: int) -> None:
        self.room, self.n, self.graph = room, n, room.graph
        self.dtype = np.dtype(self.graph.dtype)
        self.places = buffers.plan(self.graph, n).places
        self.parts: list[Callable[[Array, Array], None]] = []
        for node in self.graph.nodes:
            if type(node) in STEPS_OF:
                self._add_steps(node)
            else:
                self.parts.append(lambda images, out, node=node: self._compute(node, images, out))  # type: ignore[misc]
        for part in self.parts:
            if isinstance(part, _Run):
                part.close()

    def run(self, images: Array, out: Array) -> None:
        """images [n, H, W, C] -> out."""
        if self.graph.output == IMAGES:
            out[...] = images.reshape(out.shape)
        for part in self.parts:
            part(images, out)

    def _add_steps(self, node: Node) -> None:
        if not (self.parts and isinstance(self.parts[-1], _Run)):
            self.parts.append(_Run(self.dtype))
        run = self.parts[-1]
        assert isinstance(run, _Run)
        STEPS_OF[type(node)](self, run.plan, node)

    def address(self, value: Value) -> int:
        """Of a value; a mark for the images and the result, whose addresses are known when they come."""
        if value == IMAGES:
            return IMAGES_MARK
        if value == self.graph.output:
            return OUT_MARK
        return int(address(self.room.memory)) + self.places[value].offset

    def size(self, value: Value) -> int:
        """How many elements it has."""
        return self.n * prod(self.graph.shapes[value])

    def array(self, value: Value, images: Array, out: Array) -> Array:
        """A value as an array [n, H, W, C]."""
        shape = (self.n, *self.graph.shapes[value])
        if value == IMAGES:
            return images
        if value == self.graph.output:
            return out.reshape(shape)
        start = self.places[value].offset
        size = prod(shape) * self.dtype.itemsize
        return self.room.memory[start : start + size].view(self.dtype).reshape(shape)

    def _compute(self, node: Node, images: Array, out: Array) -> None:
        values = {value: self.array(value, images, out) for value in node.reads}
        with use_backend("numba"):  # which hides a `use(...)` of the caller
            self.array(node.y, images, out)[...] = compute(node, values, self.graph)


# ---- the Steps of each kind of node --------------------------------------------------------------------------------------
def _conv2d(program: _Program, plan: Plan, node: Conv2D) -> None:
    g, (method, weights) = geometry(program.graph, node, program.n), program.room.packed[node.y]
    residual = None if node.residual is None else program.address(node.residual)
    epilogue = Epilogue(node.bias, residual, node.relu, node.scale, node.shift)
    plan_convolution.convolve(plan, method, g, program.address(node.x), weights, program.address(node.y), epilogue)


def _affine(program: _Program, plan: Plan, node: Affine) -> None:
    c = program.graph.shapes[node.x][-1]
    pixels = program.size(node.x) // c
    scale = constants(plan.dtype, 1, c) if node.scale is None else node.scale
    plan.add(
        elementwise.scale_and_shift,
        **_places(program, node),
        n=pixels,
        c=c,
        scale=scale,
        shift=node.shift,
        flags=RELU if node.relu else 0,
        tasks=pieces(pixels, SMALLEST // c, threads.get_num_threads()),
    )


def _places(program: _Program, node: Any) -> dict[str, int]:
    return {"x": program.address(node.x), "y": program.address(node.y)}


def _elementwise(plan: Plan, count: int, **fields: int) -> None:
    plan.add(elementwise.elementwise, n=count, tasks=pieces(count, SMALLEST, threads.get_num_threads()), **fields)


def _relu(program: _Program, plan: Plan, node: Relu) -> None:
    _elementwise(plan, program.size(node.y), b=elementwise.RELU_FORWARD, **_places(program, node))


def _add(program: _Program, plan: Plan, node: Add) -> None:
    a, b, y = (program.address(value) for value in (node.a, node.b, node.y))
    _elementwise(plan, program.size(node.y), b=elementwise.ADD, x=a, residual=b, y=y)
    if node.relu:
        _elementwise(plan, program.size(node.y), b=elementwise.RELU_FORWARD, x=y, y=y)


def _maps(program: _Program, node: Any) -> dict[str, int]:
    (h, width, c), (oh, ow, _) = program.graph.shapes[node.x], program.graph.shapes[node.y]
    return {**_places(program, node), "n": program.n, "h": h, "width": width, "c": c, "oh": oh, "ow": ow}


def _rows(program: _Program, node: Any) -> int:
    """Into how many tasks to cut the rows of y."""
    _, ow, c = program.graph.shapes[node.y]
    rows = program.n * program.graph.shapes[node.y][0]
    return int(pieces(rows, SMALLEST // (ow * c), threads.get_num_threads()))


def _max_pool2d(program: _Program, plan: Plan, node: MaxPool2D) -> None:
    (kh, kw), (sh, sw), ((top, _), (left, _)) = node.kernel, node.stride, node.pads
    plan.add(
        pooling.max_pool,
        **_maps(program, node),
        kh=kh,
        kw=kw,
        sh=sh,
        sw=sw,
        top=top,
        left=left,
        tasks=_rows(program, node),
    )


def _subsample(program: _Program, plan: Plan, node: Subsample) -> None:
    plan.add(elementwise.subsample, **_maps(program, node), sh=node.factor, tasks=_rows(program, node))


def _global_avg_pool(program: _Program, plan: Plan, node: GlobalAvgPool) -> None:
    h, width, c = program.graph.shapes[node.x]
    activation = {} if node.scale is None else {"scale": node.scale, "shift": node.shift}
    plan.add(
        pooling.global_mean,
        c * (plan.dtype.itemsize + 8) + 64,
        **_places(program, node),
        **activation,
        h=h * width,
        c=c,
        tasks=program.n,
    )


STEPS_OF: dict[type[Node], Callable[[_Program, Plan, Any], None]] = {
    Conv2D: _conv2d,
    Affine: _affine,
    Relu: _relu,
    Add: _add,
    MaxPool2D: _max_pool2d,
    Subsample: _subsample,
    GlobalAvgPool: _global_avg_pool,
}
