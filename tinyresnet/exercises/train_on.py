"""Put the learner's function into a whole ResNet, and see whether it learns as it does with ours."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from .. import ops
from ..backend import Array, use, use_backend
from ..data import digits
from ..optimizers import SGD
from ..resnet_v2 import resnet_v2, resnet_v2_block
from ..slim import Variables
from .exercise import Function
from .language import Text

PICTURES = 32


class TrainedOn(NamedTuple):
    """Both trainings: the loss after every step, and seconds a step."""

    names: tuple[str, ...]
    mine: list[float]
    ours: list[float]
    seconds: float
    our_seconds: float

    def __str__(self) -> str:
        named = ", ".join(self.names)
        rows = [f"{'step':>6}{'yours':>12}{'ours':>12}"]
        shown = sorted({0, 1, 2, len(self.mine) // 2, len(self.mine) - 1})
        rows += [f"{i + 1:>6}{self.mine[i]:>12.5f}{self.ours[i]:>12.5f}" for i in shown if i < len(self.mine)]
        mine, ours = f"{self.seconds * 1e3:.0f} ms", f"{self.our_seconds * 1e3:.0f} ms"
        tail = Text(
            f"a small ResNet on {PICTURES} pictures, with your {named}: {mine} a step, with ours {ours}",
            f"在 {PICTURES} 张图片上训练小型 ResNet，用你的 {named}：每步 {mine}，用我们的：{ours}",
        )
        return "\n".join([*rows, str(tail)])

    def __repr__(self) -> str:
        return str(self)


def train_on(*, steps: int = 12, **overrides: Function) -> TrainedOn:
    """Trains a small ResNet v2 on 32 pictures of digits, once on these functions and once on ours: `train_on(relu_backward=mine)`.

    Everything else is the plain NumPy op, in float32. Nothing limits the functions here: check them first.
    Raises ValueError for a name that is no op, and whatever the functions raise.
    """
    if not overrides:
        raise ValueError("train_on: give at least one function, as in train_on(relu_backward=mine)")
    if steps < 1:
        raise ValueError(f"steps must be an integer >= 1, not {steps!r}")
    pixels, labels, _, _ = digits()
    images, labels = pixels[:PICTURES].astype(np.float32) / 16, labels[:PICTURES]
    images = images.reshape(PICTURES, 8, 8, 1) - images.mean()
    with use_backend("numpy"):
        ours, our_seconds = _losses(images, labels, steps)
        with use(**overrides):
            mine, seconds = _losses(images, labels, steps)
    return TrainedOn(tuple(overrides), mine, ours, seconds, our_seconds)


def _losses(images: Array, labels: Array, steps: int) -> tuple[list[float], float]:
    blocks = [
        resnet_v2_block("block1", base_depth=4, num_units=2, stride=2),
        resnet_v2_block("block2", base_depth=8, num_units=1, stride=1),
    ]
    variables, optimizer, losses = Variables(seed=0), SGD(momentum=0.9), []
    start = time.perf_counter()
    for _ in range(steps):
        variables.gradients.clear()
        logits, _, back = resnet_v2(
            images, blocks, num_classes=10, variables=variables, collect=False, input_gradient=False
        )
        loss, saved = ops.softmax_cross_entropy_forward(logits, labels)
        assert back is not None  # a net in training has one
        back(ops.softmax_cross_entropy_backward(1.0, saved))
        optimizer.apply(variables, variables.gradients, 0.05)
        losses.append(float(loss))
    return losses, (time.perf_counter() - start) / steps
