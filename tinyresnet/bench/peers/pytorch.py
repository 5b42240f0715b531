"""PyTorch, eager and compiled: the nets of the family in its functions, from the same variables."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...backend import Array
from ...extras import require
from ..architecture import Architecture, Unit, pool1_pads
from ..compare import Outputs
from ..options import PEERS
from ..rounds import Side
from . import EXTRA

LAYOUTS = ("channels_last", "contiguous")
DECAY, EPSILON = 0.997, 1e-5


def torch_with(threads: int) -> Any:
    """The module, with so many threads."""
    torch = require("torch", EXTRA)
    torch.set_num_threads(threads)
    return torch


def tensor_of(array: Array, layout: str) -> Any:
    """NHWC (or any other shape) -> a tensor NCHW in that layout; nothing is copied where it lies so already."""
    torch = require("torch", EXTRA)
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if array.ndim != 4:
        return tensor
    return tensor.permute(0, 3, 1, 2).contiguous(memory_format=_memory_format(layout))


def weights_of(array: Array, layout: str) -> Any:
    """[KH, KW, C, K] -> a tensor [K, C, KH, KW] in that layout, which shares no memory with the array."""
    torch = require("torch", EXTRA)
    return torch.from_numpy(array).permute(3, 2, 0, 1).clone(memory_format=_memory_format(layout))


def _memory_format(layout: str) -> Any:
    torch = require("torch", EXTRA)
    return torch.channels_last if layout == "channels_last" else torch.contiguous_format


def array_of(tensor: Any) -> Array:
    """NCHW -> NumPy NHWC; other shapes as they are."""
    tensor = tensor.detach()
    found: Array = (tensor.permute(0, 2, 3, 1) if tensor.ndim == 4 else tensor).numpy()
    return found


class TorchNet:
    """A net of the family. Batch norm normalises by the batch and moves its averages in training, else by the averages."""

    def __init__(
        self, architecture: Architecture, variables: Mapping[str, Array], layout: str, *, is_training: bool
    ) -> None:
        self.torch = require("torch", EXTRA)
        self.f = self.torch.nn.functional
        self.architecture, self.is_training = architecture, is_training
        self.units = tuple(architecture.units())
        self.tensors: dict[str, Any] = {}
        for name, value in variables.items():
            tensor = weights_of(value, layout) if value.ndim == 4 else self.torch.tensor(value)
            self.tensors[name] = tensor.requires_grad_(is_training and "/moving_" not in name)

    def conv(self, x: Any, scope: str, stride: int = 1, padding: int = 0, rate: int = 1) -> Any:
        t = self.tensors
        return self.f.conv2d(x, t[f"{scope}/weights"], t.get(f"{scope}/biases"), stride, padding, rate)

    def norm_relu(self, x: Any, scope: str) -> Any:
        t = self.tensors
        averages = t[f"{scope}/moving_mean"], t[f"{scope}/moving_variance"]
        affine = t[f"{scope}/gamma"], t[f"{scope}/beta"]
        return self.f.relu(self.f.batch_norm(x, *averages, *affine, self.is_training, 1 - DECAY, EPSILON))

    def unit(self, x: Any, unit: Unit) -> Any:
        scope, stride = unit.scope, unit.stride
        preact = self.norm_relu(x, f"{scope}/preact")
        if x.shape[1] == unit.depth:
            shortcut = x[:, :, ::stride, ::stride] if stride > 1 else x
        else:
            shortcut = self.conv(preact, f"{scope}/shortcut", stride)
        y = self.norm_relu(self.conv(preact, f"{scope}/conv1"), f"{scope}/conv1/BatchNorm")
        y = self.norm_relu(self.conv(y, f"{scope}/conv2", stride, unit.rate, unit.rate), f"{scope}/conv2/BatchNorm")
        return shortcut + self.conv(y, f"{scope}/conv3")

    def logits(self, images: Any) -> Any:
        """images [N, 3, H, W] -> [N, K], or a map [N, K, H', W']."""
        net = self.architecture.scope
        x = self.conv(images, f"{net}/conv1", 2, 3)
        pads = (*pool1_pads(x.shape[3]), *pool1_pads(x.shape[2]))  # PyTorch counts axes from the last
        x = self.f.max_pool2d(self.f.pad(x, pads, value=-math.inf), 3, 2)
        for unit in self.units:
            x = self.unit(x, unit)
        x = self.norm_relu(x, f"{net}/postnorm")
        if not self.architecture.global_pool:
            return self.conv(x, f"{net}/logits")
        return self.conv(x.mean((2, 3), keepdim=True), f"{net}/logits").flatten(1)

    def backward(self, logits: Any, labels: Any) -> Any:
        """The mean cross-entropy; the gradients are in the tensors afterwards."""
        loss = self.f.cross_entropy(logits, labels)
        for tensor in self.tensors.values():
            tensor.grad = None
        loss.backward()
        return loss

    def gradients(self) -> dict[str, Array]:
        """By name, as ours: [KH, KW, C, K] for weights."""
        found = {name: tensor.grad for name, tensor in self.tensors.items() if tensor.grad is not None}
        return {name: (g.permute(2, 3, 1, 0) if g.ndim == 4 else g).numpy() for name, g in found.items()}


def inference(
    architecture: Architecture,
    variables: Mapping[str, Array],
    threads: int,
    layouts: tuple[str, ...] = LAYOUTS,
    compiled: Callable[[Any], Any] | None = None,
) -> list[Side]:
    """A side a layout. `compiled` wraps the function that is called."""
    torch = torch_with(threads)

    def side(layout: str) -> Side:
        net = TorchNet(architecture, variables, layout, is_training=False)
        logits = compiled(net.logits) if compiled else net.logits

        def run(images: Any) -> Any:
            with torch.inference_mode():
                return logits(images)

        def outputs(logits: Any) -> Outputs:
            return {"logits": array_of(logits)}

        return Side(_name(layout, compiled), lambda images: tensor_of(images, layout), run, outputs, _peer(compiled))

    return [side(layout) for layout in layouts]


def training(
    architecture: Architecture,
    variables: Mapping[str, Array],
    threads: int,
    layouts: tuple[str, ...] = LAYOUTS,
    compiled: Callable[[Any], Any] | None = None,
) -> list[Side]:
    """Forward, cross-entropy, backward to every variable; inputs are (images, labels). A side a layout, as inference."""
    torch = torch_with(threads)

    def side(layout: str) -> Side:
        net = TorchNet(architecture, variables, layout, is_training=True)
        logits = compiled(net.logits) if compiled else net.logits

        def prepare(inputs: tuple[Array, Array]) -> Any:
            return tensor_of(inputs[0], layout), torch.from_numpy(inputs[1])

        def outputs(loss: Any) -> Outputs:
            return {"loss": np.asarray(float(loss.detach())), **net.gradients()}

        return Side(
            _name(layout, compiled), prepare, lambda inputs: net.backward(logits(inputs[0]), inputs[1]), outputs, _peer(compiled)
        )  # fmt: skip

    return [side(layout) for layout in layouts]


def compiling(sides: Callable[..., list[Side]], *arguments: Any, inputs: Any) -> list[Side]:
    """`sides` in channels_last with torch.compile, compiled at once for these inputs: one that fails must be known before anything
    is measured."""
    found = sides(*arguments, layouts=LAYOUTS[:1], compiled=require("torch", EXTRA).compile)
    for side in found:
        side.run(side.prepare(inputs))
    return found


def _peer(compiled: object) -> str:
    return PEERS["torch.compile" if compiled else "pytorch"]


def _name(layout: str, compiled: object) -> str:
    return PEERS["torch.compile"] if compiled else f"{PEERS['pytorch']}, {layout}"
