"""A net of the family as an ONNX model, written node by node from its variables: what ONNX Runtime and OpenVINO are given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...backend import Array
from ...extras import require
from ..architecture import Architecture, Unit, pool1_pads
from . import EXTRA

OPSET, IR_VERSION = 17, 8  # old enough for every runtime of these years
EPSILON = 1e-5


class _Graph:
    """Nodes in order; each method adds one and returns the name of its output."""

    def __init__(self, variables: Mapping[str, Array]) -> None:
        self.onnx = require("onnx", EXTRA)
        self.variables = variables
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def node(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        output = f"{kind}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, name: str) -> str:
        """The variable of this name; weights [KH, KW, C, K] as [K, C, KH, KW]."""
        value = self.variables[name]
        array = np.ascontiguousarray(value.transpose(3, 2, 0, 1) if value.ndim == 4 else value)
        self.constants[name] = self.onnx.numpy_helper.from_array(array, name)
        return name

    def conv(self, x: str, scope: str, stride: int = 1, padding: int = 0, rate: int = 1) -> str:
        inputs = [x, self.constant(f"{scope}/weights")]
        if f"{scope}/biases" in self.variables:
            inputs.append(self.constant(f"{scope}/biases"))
        return self.node("Conv", inputs, strides=[stride] * 2, pads=[padding] * 4, dilations=[rate] * 2)

    def norm_relu(self, x: str, scope: str) -> str:
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        normed = self.node(
            "BatchNormalization", [x, *(self.constant(f"{scope}/{name}") for name in names)], epsilon=EPSILON
        )
        return self.node("Relu", [normed])

    def unit(self, x: str, channels: int, unit: Unit) -> str:
        scope, stride = unit.scope, unit.stride
        preact = self.norm_relu(x, f"{scope}/preact")
        shortcut = x
        if channels != unit.depth:
            shortcut = self.conv(preact, f"{scope}/shortcut", stride)
        elif stride > 1:  # every stride-th pixel, as TF-Slim says it
            shortcut = self.node("MaxPool", [x], kernel_shape=[1, 1], strides=[stride] * 2)
        y = self.norm_relu(self.conv(preact, f"{scope}/conv1"), f"{scope}/conv1/BatchNorm")
        y = self.norm_relu(self.conv(y, f"{scope}/conv2", stride, unit.rate, unit.rate), f"{scope}/conv2/BatchNorm")
        return self.node("Add", [shortcut, self.conv(y, f"{scope}/conv3")])

    def net(self, architecture: Architecture, size: tuple[int, int]) -> str:
        name = architecture.scope
        x = self.conv("images", f"{name}/conv1", 2, 3)
        (top, bottom), (left, right) = (pool1_pads(-(-side // 2)) for side in size)
        x = self.node("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[top, left, bottom, right])
        channels = 64
        for unit in architecture.units():
            x, channels = self.unit(x, channels, unit), unit.depth
        x = self.norm_relu(x, f"{name}/postnorm")
        if not architecture.global_pool:
            return self.conv(x, f"{name}/logits")
        return self.node("Flatten", [self.conv(self.node("GlobalAveragePool", [x]), f"{name}/logits")], axis=1)


def onnx_model(
    architecture: Architecture, variables: Mapping[str, Array], input_shape: tuple[int, int, int, int]
) -> bytes:
    """The serialised model: "images" float32 [N, 3, H, W] -> "logits" [N, K] or [N, K, H', W']. input_shape: [N, H, W, 3].

    Batch norm is left as nodes of its own: each runtime folds as it likes. Raises MissingExtra without the package onnx.
    """
    graph = _Graph(variables)
    helper, float32 = graph.onnx.helper, graph.onnx.TensorProto.FLOAT
    n, h, w, c = input_shape
    output = graph.net(architecture, (h, w))
    graph.nodes.append(helper.make_node("Identity", [output], ["logits"]))
    made = helper.make_graph(
        graph.nodes,
        architecture.scope,
        [helper.make_tensor_value_info("images", float32, [n, c, h, w])],
        [helper.make_tensor_value_info("logits", float32, None)],
        list(graph.constants.values()),
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    serialised: bytes = model.SerializeToString()
    return serialised


def nchw(images: Array) -> Array:
    """[N, H, W, C] -> a copy [N, C, H, W], the layout of ONNX."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def nhwc(array: Array) -> Array:
    """[N, C, H, W] -> [N, H, W, C]; other shapes as they are."""
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array
