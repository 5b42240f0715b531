"""Cases of whole nets: frozen and unfrozen inference, and a training step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..backend import BackendUnavailable
from ..slim import Variables
from . import ours
from .architecture import Architecture, architecture
from .compare import by_largest, by_norm
from .options import Options
from .peers import offered, onnx_runtime, openvino, pytorch
from .peers.onnx_graph import onnx_model
from .results import OURS
from .rounds import Side
from .timed import Offer, Timed

# Convolutions that multiply less (Winograd's) and sums in another order: a net of 50 layers magnifies both.
LOGITS, LOSS, GRADIENTS = 1e-3, 1e-3, 0.2

Builder = Callable[[], list[Side]]
Shape = tuple[int, int, int, int]


def net_cases(
    name: str, kind: str, size: int, batches: tuple[int, ...], output_stride: int | None = None
) -> list[Timed]:
    """kind: "frozen", "unfrozen" or "training"."""
    return [net_case(name, kind, size, batch, output_stride) for batch in batches]


def net_case(name: str, kind: str, size: int, batch: int, output_stride: int | None) -> Timed:
    """One batch of images of size x size."""
    net, shape = architecture(name, output_stride), (batch, size, size, 3)
    strided = "" if output_stride is None else f"-os{output_stride}"
    about = f"{name}, {ABOUT[kind]}, {size}x{size}, batch {batch}"
    if output_stride is not None:
        about += f", output_stride {output_stride}, a map of {net.num_classes} logits"
    is_training = kind == "training"
    flops = net.training_flops(size) if is_training else net.flops(size)
    reference = ours.training if is_training else ours.unfrozen
    return Timed(
        f"{kind}/{name}/{size}{strided}/b{batch}",
        about,
        "ms/image",
        batch,
        float(batch * flops),
        partial(_images_and_labels if is_training else _images, shape, net.num_classes),
        partial(OFFERS[kind], net, shape),
        lambda: reference(net, _variables(net), "numpy"),
        by_norm(GRADIENTS, LOSS) if is_training else by_largest(LOGITS),
    )


def _images(shape: Shape, _: int, rng: np.random.Generator) -> Any:
    return rng.standard_normal(shape, np.float32)


def _images_and_labels(shape: Shape, num_classes: int, rng: np.random.Generator) -> Any:
    return rng.standard_normal(shape, np.float32), rng.integers(0, num_classes, shape[0])


_made: dict[Architecture, Variables] = {}


def _variables(net: Architecture) -> Variables:
    """A copy of the net's variables: a training step changes the moving averages of its own. Those of one net are kept."""
    if net not in _made:
        from .weights import variables_for

        _made.clear()
        _made[net] = variables_for(net)
    return Variables(_made[net])


# ---- who takes part --------------------------------------------------------------------------------------------------------
def _frozen(net: Architecture, shape: Shape, options: Options) -> Offer:
    variables = _variables(net)
    eager = _eager(pytorch.inference, net, variables, options, np.zeros(shape, np.float32))
    chosen = {"onnxruntime", "openvino"} & set(options.peers)
    model = partial(onnx_model, net, variables, shape)
    runtimes: dict[str, Builder] = {
        "onnxruntime": lambda: onnx_runtime.inference(model(), options.threads),
        "openvino": lambda: openvino.inference(model(), options.threads),
    }
    return _with_ours(
        lambda: ours.frozen(net, variables, shape), offered({**eager, **(runtimes if chosen else {})}, options)
    )


def _unfrozen(net: Architecture, shape: Shape, options: Options) -> Offer:
    variables = _variables(net)
    eager = _eager(pytorch.inference, net, variables, options, np.zeros(shape, np.float32))
    return _with_ours(lambda: ours.unfrozen(net, variables), offered(eager, options))


def _training(net: Architecture, shape: Shape, options: Options) -> Offer:
    inputs = np.zeros(shape, np.float32), np.zeros(shape[0], np.int64)
    eager = _eager(pytorch.training, net, _variables(net), options, inputs)
    return _with_ours(lambda: ours.training(net, _variables(net)), offered(eager, options))


def _eager(
    sides: Callable[..., list[Side]], net: Architecture, variables: Variables, options: Options, inputs: Any
) -> dict[str, Builder]:
    arguments = net, variables, options.threads
    return {
        "pytorch": lambda: sides(*arguments),
        "torch.compile": lambda: pytorch.compiling(sides, *arguments, inputs=inputs),
    }


def _with_ours(build: Callable[[], Side], peers: Offer) -> Offer:
    try:
        return Offer([build(), *peers.sides], peers.left_out)
    except (ours.NotThere, BackendUnavailable) as why:
        return Offer(peers.sides, {OURS: str(why), **peers.left_out})


OFFERS = {"frozen": _frozen, "unfrozen": _unfrozen, "training": _training}
ABOUT = {"frozen": "frozen inference", "unfrozen": "inference without a plan", "training": "a training step"}
