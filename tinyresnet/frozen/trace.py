"""Which ops a net consists of: it is run once on arrays that have a shape and no numbers.

(It is run a second time on other hollow arrays: a net whose way depends on the numbers in them is found out by going another way.)

Under `use(...)` every op is replaced by a recorder. That asks the op itself for the shape of its result, by calling it with a batch of
no images, writes down a node, and hands on a `Traced` array: a shape with nothing in it. Since every array between the images and the
net is an op's result, the nodes are the whole net. Code that computes with such an array outside the ops is told so at once.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any, NoReturn

import numpy as np

from .. import ops
from ..backend import REFERENCE, Array, use, use_backend
from ..ops.checks import shape_text
from ..slim import current_scope
from .graph import (
    IMAGES,
    Add,
    Affine,
    Conv2D,
    GlobalAvgPool,
    Graph,
    Map,
    MaxPool2D,
    Node,
    Relu,
    ResizeBilinear,
    Softmax,
    Subsample,
    Value,
)
from .weights import Weights

ADVICE = (
    "a net can be frozen if every array between the images and the result is made by an op: use ops.add, ops.relu_forward, slim's "
    "layers, ..., or freeze the part before it and do the rest in your own code"
)
TRAINING_ONLY = ("batch_norm_forward", "batch_norm_relu_forward", "softmax_cross_entropy_forward")
HOLLOW = (np.nan, 1.0)  # the one number in the memory of all arrays, of the first run and of the second


class Traced(np.ndarray):
    """The result of an op in a traced net: shape and dtype of an array, and one number as its memory.

    Ops take it. Whatever else is done with it (arithmetic, slices, reshape) raises a ValueError, there where it is done.
    """

    value: Value
    made_by: str
    tracer: Tracer

    @classmethod
    def of(cls, tracer: Tracer, value: Value, shape: tuple[int, ...], made_by: str) -> Traced:
        """An array of this shape that takes no memory."""
        hollow = np.full(1, tracer.hollow, tracer.dtype)
        array = cls.__new__(cls, shape, hollow.dtype, hollow, 0, (0,) * len(shape))
        array.flags.writeable = False
        array.tracer, array.value, array.made_by = tracer, value, made_by
        return array

    def __array_finalize__(self, origin: Any) -> None:
        if isinstance(origin, Traced):
            origin._refuse("a view or a copy was made")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **_: Any) -> NoReturn:
        self._among(inputs)._refuse(f"numpy.{ufunc.__name__} was called")

    def __array_function__(self, function: Any, *_: Any) -> NoReturn:
        self._refuse(f"numpy.{function.__name__} was called")

    def __repr__(self) -> str:
        return f"<traced: {self.made_by}, {shape_text(self.shape)} {self.dtype}>"

    __str__ = __repr__

    def _among(self, inputs: tuple[Any, ...]) -> Traced:
        return next((item for item in inputs if isinstance(item, Traced)), self)

    def _refuse(self, what: str) -> NoReturn:
        raise ValueError(f"freeze: {what} on {self.made_by} ({shape_text(self.shape)}), outside the ops: {ADVICE}")


class Tracer:
    """Collects the nodes while the net runs."""

    def __init__(
        self, input_shape: tuple[int, int, int, int], dtype: str, hollow: float, check: Callable[[], None]
    ) -> None:
        self.input_shape, self.dtype, self.hollow, self.check = input_shape, dtype, hollow, check
        self.nodes: list[Node] = []
        self.shapes: dict[Value, Map] = {IMAGES: input_shape[1:]}
        self.images = Traced.of(self, IMAGES, input_shape, "the images")

    def value_of(self, op: str, argument: str, array: Any) -> Value:
        """The value that this argument of an op is. Raises ValueError if it is none: the tracer does not know where it comes from."""
        if isinstance(array, Traced) and array.tracer is self:
            return array.value
        raise ValueError(
            f"freeze: {_where(op)} is given {argument} ({_describe(array)}) that no op has made of the images: {ADVICE}"
        )

    def constants(self, op: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """The other arguments of an op, which must not depend on the images."""
        for name, value in arguments.items():
            if isinstance(value, Traced):
                raise ValueError(
                    f"freeze: {_where(op)} is given {value.made_by} as {name}, which has to be the same for all images"
                )
        return arguments

    def new_value(self, shape: Map) -> Value:
        """The number of the next value."""
        value = len(self.shapes)
        self.shapes[value] = shape
        return value

    def result_of(self, value: Value, shape: tuple[int, ...], op: str) -> Traced:
        """What an op hands on: `shape` is that of the empty batch."""
        return Traced.of(self, value, (self.input_shape[0], *shape[1:]), f"the result of {_where(op)}")


def _where(op: str) -> str:
    scope = current_scope()
    return f"{op.removesuffix('_forward')} in {scope.name}" if scope else op.removesuffix("_forward")


def _describe(array: Any) -> str:
    return f"{array.dtype} {shape_text(array.shape)}" if isinstance(array, np.ndarray) else type(array).__name__


def trace(
    net: Callable[[Array], Any],
    input_shape: tuple[int, int, int, int],
    dtype: str,
    name: str = "net",
    check: Callable[[], None] = lambda: None,
) -> Graph:
    """The graph of `net`, a function of images [N, H, W, C] that gives an array, or a tuple whose first item it is.

    Nothing is computed. `check` is called at each op, and may raise. Raises ValueError for a net that is in training mode, computes with
    arrays outside the ops, or gives what is no op's result; and what the ops and the net itself raise.
    """
    around = current_scope()
    counted = dict(around.default_names) if around else {}
    first = _traced(net, input_shape, dtype, name, check, HOLLOW[0])
    if around:  # the second run asks for the same default names
        around.default_names.clear()
        around.default_names.update(counted)
    second = _traced(net, input_shape, dtype, name, check, HOLLOW[1])
    if not _alike(first, second):
        raise ValueError(
            "freeze: the net looks at the numbers in its arrays: it went two ways, or used two constants, for two batches of images, "
            f"and a frozen net has one way for all. {ADVICE[0].upper()}{ADVICE[1:]}"
        )
    return first


def _alike(a: Graph, b: Graph) -> bool:
    """Whether two runs recorded the same nodes with the same constants."""
    if (len(a.nodes), a.shapes, a.output, a.output_shape) != (len(b.nodes), b.shapes, b.output, b.output_shape):
        return False
    for one, other in zip(a.nodes, b.nodes, strict=True):
        if type(one) is not type(other):
            return False
        for field in fields(one):
            x, y = getattr(one, field.name), getattr(other, field.name)
            if isinstance(x, Weights):
                same = x.same_as(y)
            else:
                same = np.array_equal(x, y, equal_nan=True) if isinstance(x, np.ndarray) else x == y
            if not same:
                return False
    return True


def _traced(
    net: Callable[[Array], Any],
    input_shape: tuple[int, int, int, int],
    dtype: str,
    name: str,
    check: Callable[[], None],
    hollow: float,
) -> Graph:
    tracer = Tracer(input_shape, dtype, hollow, check)
    recorders = {op: _recorder(tracer, op, node_of) for op, node_of in NODE_OF.items()}
    refusers = {op: _refuser(op) for op in REFERENCE if op in TRAINING_ONLY or op.endswith("_backward")}
    with use_backend("numpy"), use(**recorders, **refusers):
        result = net(tracer.images)
    output = result[0] if isinstance(result, tuple) and result else result
    if not (isinstance(output, Traced) and output.tracer is tracer):
        raise ValueError(f"freeze: the net's result ({_describe(output)}) is not made by an op of the images: {ADVICE}")
    return Graph(name, input_shape, dtype, tuple(tracer.nodes), tracer.shapes, output.value, output.shape)


def _recorder(tracer: Tracer, op: str, node_of: Callable[..., Node] | None) -> Callable[..., Any]:
    """What stands in the place of the op: it has its arguments, and gives a Traced result."""
    signature = inspect.signature(REFERENCE[op])

    def record(*args: Any, **kwargs: Any) -> Any:
        tracer.check()
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        given = bound.arguments
        values = {name: tracer.value_of(op, name, given[name]) for name in (("a", "b") if op == "add" else ("x",))}
        constants = tracer.constants(op, {name: item for name, item in given.items() if name not in values})
        empty = {name: np.empty((0, *given[name].shape[1:]), tracer.dtype) for name in values}
        answer = getattr(ops, op)(**empty, **constants)  # inside an override the name means the op itself
        y, saved = answer if isinstance(answer, tuple) else (answer, None)
        if node_of is None:  # squeeze: the same numbers at the same place
            value = values["x"]
        else:
            c = y.shape[-1]
            value = tracer.new_value((*y.shape[1:3], c) if y.ndim == 4 else (1, 1, c))
            scope = current_scope()
            tracer.nodes.append(node_of(saved, y=value, name=scope.name if scope else "", **values, **constants))
        traced = tracer.result_of(value, y.shape, op)
        return (traced, saved) if isinstance(answer, tuple) else traced

    return record


def _refuser(op: str) -> Callable[..., NoReturn]:
    """In the place of an op that only training has."""

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise ValueError(
            f"freeze: {_where(op)} ({op}) belongs to training, and a frozen net is for inference: "
            "is_training=False must reach every layer (a net function that takes is_training is given it)"
        )

    return refuse


# ---- the node of each op: what the op saved for its backward pass has the geometry, worked out -----------------------------
def _conv2d(saved: Any, *, w: Array, stride: Any, rate: Any, padding: Any, **place: Any) -> Node:
    return Conv2D(w=Weights(w), stride=saved.stride, rate=saved.rate, pads=saved.pads, **place)


def _bias_add(saved: Any, *, b: Array, **place: Any) -> Node:
    return Affine(scale=None, shift=b.astype(np.float64), **place)


def _batch_norm(
    saved: Any,
    *,
    gamma: Array,
    beta: Array,
    moving_mean: Array,
    moving_variance: Array,
    epsilon: float,
    **place: Any,
) -> Node:
    """gamma * (x - mean) / sqrt(var + epsilon) + beta = scale * x + shift, both in float64 until all is folded."""
    scale = gamma / np.sqrt(moving_variance.astype(np.float64) + float(epsilon))
    return Affine(scale=scale, shift=beta - moving_mean * scale, **place)


def _max_pool2d(saved: Any, *, kernel_size: Any, stride: Any, padding: Any, **place: Any) -> Node:
    return MaxPool2D(kernel=saved.windows.kernel, stride=saved.windows.stride, pads=saved.windows.pads, **place)


def _subsample(saved: Any, *, factor: int, **place: Any) -> Node:
    return Subsample(factor=saved.factor, **place)


NODE_OF: dict[str, Callable[..., Node] | None] = {
    "conv2d_forward": _conv2d,
    "bias_add_forward": _bias_add,
    "batch_norm_inference_forward": _batch_norm,
    "relu_forward": lambda saved, **place: Relu(**place),
    "max_pool2d_forward": _max_pool2d,
    "add": lambda saved, **place: Add(**place),
    "subsample_forward": _subsample,
    "global_avg_pool_forward": lambda saved, **place: GlobalAvgPool(**place),
    "squeeze_forward": None,
    "resize_bilinear_forward": lambda saved, *, size, **place: ResizeBilinear(**place),
    "softmax": lambda saved, **place: Softmax(**place),
}
