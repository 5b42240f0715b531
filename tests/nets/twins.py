"""Runs the same net here and in PyTorch, and lays everything it gives side by side under one name each.

A result is a flat dict: "net", "d images", "end point <name>", "gradient at <name>", "gradient <variable>", "variable <variable>".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tests.nets.specs import SCOPE, NetSpec, Result, named, on_host
from tests.nets.torch_twin import Twin, nhwc, torch
from tinyresnet import Variables, watch
from tinyresnet.resnet_utils import Block
from tinyresnet.resnet_v2 import resnet_v2


def upstream(net: Any, seed: int = 0) -> np.ndarray:
    """A random gradient for the net's output."""
    return (
        np.random.default_rng([seed, 3]).standard_normal(tuple(net.shape)).astype(str(net.dtype).removeprefix("torch."))
    )


def watchable(end_points: Mapping[str, Any]) -> list[str]:
    """The end points that a gradient comes past: all but the predictions, which hang off to the side."""
    return [name for name in end_points if name != "predictions"]


def run_ours(
    backend: Any,
    spec: NetSpec,
    variables: Variables,
    *,
    is_training: bool = True,
    blocks: Sequence[Block] | None = None,
    seed: int = 0,
) -> Result:
    """Forward and back under a random upstream gradient; `variables` has the moving averages and gradients afterwards."""
    dtype = str(next(iter(variables.values())).dtype)
    images = backend.array(spec.random_images(seed, dtype))
    net, end_points, back = resnet_v2(
        images, spec.ours() if blocks is None else blocks, spec.num_classes, is_training, scope=SCOPE, variables=variables,
        gradients=True, **spec.options,
    )  # fmt: skip
    d_net = (
        np.ascontiguousarray(np.moveaxis(upstream_like_twin(net, seed), 1, -1))
        if net.ndim == 4
        else upstream(net, seed)
    )
    with watch(*watchable(end_points)) as at:
        d_images = back(backend.array(d_net))
    return {
        "net": backend.host(net),
        **named("end point", backend.host(end_points)),
        "d images": backend.host(d_images),
        **named("gradient at", backend.host(dict(at))),
        **named("gradient", backend.host(variables.gradients)),
        **named("variable", on_host(backend, variables)),
    }


def upstream_like_twin(net: Any, seed: int) -> np.ndarray:
    """PyTorch's net is NCHW: the same numbers for both."""
    n, h, w, c = net.shape
    return np.random.default_rng([seed, 3]).standard_normal((n, c, h, w)).astype(str(net.dtype))


def run_twin(
    spec: NetSpec, variables: Mapping[str, np.ndarray], *, is_training: bool = True, seed: int = 0, **knobs: float
) -> Result:
    twin = Twin(variables, is_training=is_training, **knobs)
    dtype = str(next(iter(variables.values())).dtype)
    images = torch.tensor(spec.random_images(seed, dtype), requires_grad=True)
    net = twin.resnet_v2(images, spec.blocks, spec.num_classes, scope=SCOPE, **spec.options)
    net.backward(torch.tensor(upstream(net, seed)))
    at = {name: nhwc(twin.end_points[name].grad) for name in watchable(twin.end_points)}
    return {
        "net": nhwc(net),
        **named("end point", {name: nhwc(x) for name, x in twin.end_points.items()}),
        "d images": images.grad.numpy(),
        **named("gradient at", at),
        **named("gradient", twin.gradients()),
        **named("variable", twin.arrays()),
    }
