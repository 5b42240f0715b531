"""Cases of single layers, forward and backward, at the shapes that they have in resnet_v2_50."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .. import ops
from ..backend import Array, BackendUnavailable, use_backend
from . import ours
from .compare import Outputs, by_largest, by_norm
from .options import PEERS, Options
from .peers import offered, pytorch
from .results import OURS
from .rounds import Side
from .timed import Offer, Timed

TOLERANCE = 1e-4
BACK_THROUGH_RELU = 5e-3  # by length: of millions of inputs that are nearly zero a few fall on the other side of it


class Layer(NamedTuple):
    """An op of the table with its arguments after the arrays."""

    op: str  # "conv2d": the table has conv2d_forward and conv2d_backward
    arrays: Callable[[np.random.Generator], tuple[Array, ...]]  # x, and what else has a gradient
    arguments: dict[str, Any]
    torch: Callable[[Any, tuple[Any, ...]], Any]  # (torch, the arrays as tensors) -> the same in PyTorch
    flops: float | None = None  # of a forward pass
    has_relu: bool = False

    def draw(self, output: tuple[int, ...], rng: np.random.Generator) -> tuple[tuple[Array, ...], Array]:
        """The arrays, and an upstream gradient for an output of this shape."""
        return self.arrays(rng), rng.standard_normal(output, np.float32)


def layer_cases(name: str, about: str, layer: Layer, output: tuple[int, ...]) -> Iterator[Timed]:
    """Its forward and its backward. output: the shape of y, [N, OH, OW, K]."""
    for backward in (False, True):
        half = "backward" if backward else "forward"
        flops = None if layer.flops is None else layer.flops * (2 if backward else 1)
        yield Timed(
            f"layer/{name}/b{output[0]}/{half}",
            f"{about}, {half}, batch {output[0]}",
            "ms/image",
            output[0],
            flops,
            partial(layer.draw, output),
            partial(_offer, layer, backward),
            partial(_ours, layer, backward, "numpy"),
            by_norm(BACK_THROUGH_RELU, TOLERANCE) if backward and layer.has_relu else by_largest(TOLERANCE),
        )


def convolution(
    batch: int, size: int, channels: int, outputs: int, kernel: int, stride: int = 1, rate: int = 1
) -> tuple[Layer, tuple[int, ...]]:
    """Padded as conv2d_same does; and the shape of its output."""
    padding, after = (kernel - 1) * rate // 2, -(-size // stride)
    scale = (kernel * kernel * channels) ** -0.5

    def arrays(rng: np.random.Generator) -> tuple[Array, ...]:
        x = rng.standard_normal((batch, size, size, channels), np.float32)
        return x, scale * rng.standard_normal((kernel, kernel, channels, outputs), np.float32)

    said = {"stride": stride, "rate": rate, "padding": ((padding, padding), (padding, padding))}
    flops = 2.0 * batch * after**2 * kernel**2 * channels * outputs
    layer = Layer(
        "conv2d", arrays, said, lambda torch, t: torch.nn.functional.conv2d(*t, None, stride, padding, rate), flops
    )
    return layer, (batch, after, after, outputs)


def norm_relu(batch: int, size: int, channels: int) -> tuple[Layer, tuple[int, ...]]:
    """Batch norm by the batch, and ReLU."""
    shape = (batch, size, size, channels)

    def arrays(rng: np.random.Generator) -> tuple[Array, ...]:
        x = 0.5 + rng.standard_normal(shape, np.float32)
        return x, rng.uniform(0.5, 1.5, channels).astype(np.float32), rng.standard_normal(channels, np.float32)

    def in_torch(torch: Any, t: tuple[Any, ...]) -> Any:
        f = torch.nn.functional
        return f.relu(f.batch_norm(t[0], None, None, t[1], t[2], True, 0.0, 1e-5))

    return Layer("batch_norm_relu", arrays, {}, in_torch, has_relu=True), shape


def max_pool(batch: int, size: int, channels: int) -> tuple[Layer, tuple[int, ...]]:
    """pool1: 3x3, stride 2, SAME of an even size, which pads after the last pixel."""
    shape, after = (batch, size, size, channels), (batch, size // 2, size // 2, channels)

    def in_torch(torch: Any, t: tuple[Any, ...]) -> Any:
        f = torch.nn.functional
        return f.max_pool2d(f.pad(t[0], (0, 1, 0, 1), value=-float("inf")), 3, 2)

    said = {"kernel_size": 3, "stride": 2, "padding": "SAME"}
    return Layer("max_pool2d", lambda rng: (rng.standard_normal(shape, np.float32),), said, in_torch), after


# ---- who takes part --------------------------------------------------------------------------------------------------------
def _offer(layer: Layer, backward: bool, options: Options) -> Offer:
    peers = offered({"pytorch": lambda: _torch(layer, backward, options.threads)}, options)
    try:
        with use_backend(ours.BACKEND):
            return Offer([_ours(layer, backward, ours.BACKEND), *peers.sides], peers.left_out)
    except BackendUnavailable as why:
        return Offer(peers.sides, {OURS: str(why), **peers.left_out})


def _ours(layer: Layer, backward: bool, backend: str) -> Side:
    forward = getattr(ops, f"{layer.op}_forward")
    back = getattr(ops, f"{layer.op}_backward")

    def prepare(drawn: tuple[tuple[Array, ...], Array]) -> tuple[Any, ...]:
        arrays, dy = drawn
        if not backward:
            return arrays
        with use_backend(backend):
            return dy, forward(*arrays, **layer.arguments)[1]

    def run(prepared: tuple[Any, ...]) -> Any:
        with use_backend(backend):
            return back(*prepared) if backward else forward(*prepared, **layer.arguments)[0]

    return Side(f"{OURS}, {backend}", prepare, run, _named, OURS)


def _torch(layer: Layer, backward: bool, threads: int) -> list[Side]:
    torch = pytorch.torch_with(threads)

    def side(layout: str) -> Side:
        def prepare(drawn: tuple[tuple[Array, ...], Array]) -> Any:
            (x, *others), dy = drawn
            tensors = (pytorch.tensor_of(x, layout), *(_parameter(array, layout) for array in others))
            if not backward:
                return tensors
            for tensor in tensors:
                tensor.requires_grad_()
            return layer.torch(torch, tensors), tensors, pytorch.tensor_of(dy, layout)

        def run(prepared: Any) -> Any:
            if backward:
                return torch.autograd.grad(*prepared, retain_graph=True)
            with torch.inference_mode():
                return layer.torch(torch, prepared)

        return Side(f"{PEERS['pytorch']}, {layout}", prepare, run, _torch_named, PEERS["pytorch"])

    return [side(layout) for layout in pytorch.LAYOUTS]


def _parameter(array: Array, layout: str) -> Any:
    return pytorch.weights_of(array, layout) if array.ndim == 4 else pytorch.tensor_of(array, layout)


def _named(found: Any) -> Outputs:
    if not isinstance(found, tuple):
        return {"y or dx": found}
    return dict(zip(("dx", "dw or dgamma", "dbeta"), found, strict=False))


def _torch_named(found: Any) -> Outputs:
    if not isinstance(found, tuple):
        return _named(pytorch.array_of(found))
    dx, *others = found
    if not others:
        return _named(pytorch.array_of(dx))
    arrays = [g.permute(2, 3, 1, 0).numpy() if g.ndim == 4 else g.numpy() for g in others]
    return _named((pytorch.array_of(dx), *arrays))
