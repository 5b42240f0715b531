"""A recorded case, rebuilt and run with tinyresnet on the active back end. Results lie as in the fixture, on the host."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np

from tests.peers.tf_slim import seeded
from tinyresnet import Variables, get_array_module, resnet_utils, resnet_v2, slim, to_device, to_host, watch
from tinyresnet.slim import arg_scope, variable_scope

Arrays = dict[str, np.ndarray]
Meta = dict[str, Any]


class Ours(NamedTuple):
    """groups: "net", "end_points", "gradients", "gradients_at", "moving", each name -> array. The rest as in `meta`."""

    groups: dict[str, Arrays]
    end_points: list[list[Any]]  # [name, shape] in order
    variables: list[list[Any]]  # [name, shape, trainable, carries L2] in order
    regularization_loss: float


def tanh(inputs: Any) -> Any:
    """An activation written by a user of the library: (net, back)."""
    y = get_array_module(inputs).tanh(inputs)
    return y, lambda dy: dy * (1 - y * y)


FUNCTIONS = {"relu": slim.relu, "tanh": tanh, "batch_norm": slim.batch_norm, None: None}


def resolved(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a case with the functions that its names stand for."""
    out = dict(arguments)
    for key in "activation_fn", "normalizer_fn":
        if key in out:
            out[key] = FUNCTIONS[out[key]]
    if "weights_regularizer" in out:
        out["weights_regularizer"] = slim.l2_regularizer(out["weights_regularizer"])
    return out


# ---- stores ------------------------------------------------------------------------------------------------------------
def seeded_variables(meta: Meta) -> Variables:
    """The values that the recorder gave to TF-Slim's variables."""
    arrays = {}
    for name, shape, *_ in meta["variables"]:
        mesh = meta.get("numbers") == "mesh"
        array = seeded.mesh(tuple(shape)) if mesh else seeded.variable(name, tuple(shape), meta["seed"])
        arrays[name] = to_device(array.astype(dtype_of(meta)))
    return Variables(arrays)


def dtype_of(meta: Meta) -> str:
    return meta.get("dtype", "float32")


def listed(variables: Variables) -> list[list[Any]]:
    trainable, regularized = set(variables.trainable), set(variables.regularized)
    return [[name, list(array.shape), name in trainable, name in regularized] for name, array in variables.items()]


def on_host(arrays: Any) -> Arrays:
    return {name: to_host(array) for name, array in arrays.items()}


def moving(variables: Variables) -> Arrays:
    return {name: to_host(array) for name, array in variables.items() if "/moving_" in name}


# ---- nets --------------------------------------------------------------------------------------------------------------
def call_net(meta: Meta, images: Any, variables: Variables, gradients: bool, make_block: Any = None) -> Any:
    make_block = make_block or resnet_v2.resnet_v2_block
    blocks = [[make_block(*block) for block in meta["blocks"]]] if meta["blocks"] else []
    chosen = meta.get("arg_scope")  # resnet_v2 has TF-Slim's defaults under it, so a case without it needs no arg_scope
    with arg_scope(resnet_utils.resnet_arg_scope(**resolved(chosen))) if chosen else nullcontext():
        function = getattr(resnet_v2, meta["function"])
        return function(images, *blocks, **meta["arguments"], variables=variables, gradients=gradients)


def run_net(meta: Meta, make_block: Any = None) -> Ours:
    """Forward, backward against the recorder's upstream gradient, and what the store holds then."""
    images = seeded.uniform("images", meta["seed"], tuple(meta["images"]))
    assert math.isclose(seeded.projection("inputs", images), meta["inputs_projection"], rel_tol=1e-9), "other images"
    variables = seeded_variables(meta)
    images = to_device(images.astype(dtype_of(meta)))
    net, end_points, back = call_net(meta, images, variables, gradients=True, make_block=make_block)
    dy = seeded.uniform("upstream gradient", meta["seed"], tuple(net.shape)).astype(dtype_of(meta))
    with watch(*meta.get("gradients_at", ())) as at:
        d_images = back(to_device(dy))
    groups = {
        "net": {"net": to_host(net)},
        "end_points": on_host(end_points),
        "gradients": on_host({"inputs": d_images, **variables.gradients}),
        "gradients_at": on_host(at),
        "moving": moving(variables),
    }
    shapes = [[name, list(array.shape)] for name, array in end_points.items()]
    return Ours(groups, shapes, listed(variables), variables.regularization_loss())


def run_structure(meta: Meta) -> tuple[list[int], list[list[Any]], list[list[Any]]]:
    """(shape of net, end points, variables in order of creation) of a net that makes its own variables."""
    variables = Variables()
    images = to_device(seeded.uniform("images", 0, tuple(meta["images"])))
    net, end_points, _ = call_net(meta, images, variables, gradients=False)
    return list(net.shape), [[name, list(array.shape)] for name, array in end_points.items()], listed(variables)


# ---- layers ------------------------------------------------------------------------------------------------------------
def subsampled_conv2d_same(
    inputs: Any, num_outputs: int, kernel_size: int, stride: int, rate: int = 1, scope: str = ""
) -> Any:
    chain = slim.Chain()
    net = chain.then(resnet_utils.conv2d_same(inputs, num_outputs, kernel_size, 1, rate=rate, scope=scope))
    return chain.then(resnet_utils.subsample(net, stride)), chain


def softmax(inputs: Any) -> Any:
    return slim.softmax(inputs), None


LAYERS: dict[str, tuple[Callable[..., Any], ...]] = {
    "conv2d": (slim.conv2d,),
    "conv2d_same": (resnet_utils.conv2d_same,),
    "conv2d_same then subsample": (subsampled_conv2d_same, resnet_utils.conv2d_same),  # two ways to the same numbers
    "subsample": (resnet_utils.subsample,),
    "max_pool2d": (slim.max_pool2d,),
    "batch_norm": (slim.batch_norm,),
    "softmax": (softmax,),
}


def layer_input(meta: Meta) -> np.ndarray:
    shape = tuple(meta["input"])
    if meta["numbers"] == "uniform":
        return seeded.uniform("inputs", meta["seed"], shape, meta["low"], meta.get("high", 1.0))
    return {"mesh": seeded.mesh, "count": seeded.count}[meta["numbers"]](shape)


def run_layer(meta: Meta, layer: Callable[..., Any]) -> Ours:
    inputs = layer_input(meta)
    assert math.isclose(seeded.projection("inputs", inputs), meta["inputs_projection"], rel_tol=1e-9), "other inputs"
    variables = seeded_variables(meta)
    with variable_scope("layer", variables=variables):
        net, back = layer(to_device(inputs), **resolved(meta["arguments"]))
    groups: dict[str, Arrays] = {"net": {"net": to_host(net)}, "moving": moving(variables)}
    if back is not None:
        dy = seeded.uniform("upstream gradient", meta["seed"], tuple(net.shape))
        d_inputs = back(to_device(dy))
        groups["gradients"] = on_host({"inputs": d_inputs, **variables.gradients})
    return Ours(groups, [], listed(variables), variables.regularization_loss())
