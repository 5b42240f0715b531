"""Nets that nobody would draw: random steps on random earlier values, for what no list of cases would think of.

A net is made of a seed alone. Its steps call ops with random constants; it may branch, use a value often or never, add a value to itself,
activate twice, end in the middle or give back a value that is read again inside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinyresnet import ops

Step = Callable[[list[Any]], Any]


class RandomNet(NamedTuple):
    """`net(images)` -> (result, None), a function as `freeze` takes it."""

    input_shape: tuple[int, int, int, int]
    dtype: str
    steps: list[Step]
    output: int
    squeezed: bool
    words: list[str]  # what each step is, for the message of a failing test

    def __call__(self, images: Any) -> Any:
        values = [images]
        for step in self.steps:
            values.append(step(values))
        net = values[self.output]
        return (ops.squeeze_forward(net)[0] if self.squeezed else net), None

    def images(self, n: int, seed: int = 0) -> Any:
        return np.random.default_rng([seed, n]).standard_normal((n, *self.input_shape[1:])).astype(self.dtype)


def random_net(seed: int, dtype: str = "float64") -> RandomNet:
    """6 to 22 steps; the same for the same seed, whatever the dtype."""
    rng = np.random.default_rng([77, seed])
    shape = (int(rng.integers(1, 4)), *(int(i) for i in rng.integers(1, 12, 2)), int(rng.integers(1, 6)))
    builder = _Builder(rng, shape[1:], dtype)
    for _ in range(rng.integers(6, 23)):
        builder.step()
    last = len(builder.shapes) - 1
    output = int(rng.choice([last, last, last, rng.integers(0, last + 1)]))
    squeezed = builder.shapes[output][:2] == (1, 1) and bool(rng.integers(2))
    return RandomNet(shape, dtype, builder.steps, output, squeezed, builder.words)


class _Builder:
    def __init__(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> None:
        self.rng, self.dtype = rng, dtype
        self.shapes: list[tuple[int, ...]] = [shape]
        self.steps: list[Step] = []
        self.words: list[str] = []

    def step(self) -> None:
        kinds = ["conv", "conv", "conv1x1", "conv1x1", "batch_norm", "batch_norm", "relu", "relu", "relu", "add", "add"]
        kind = str(
            self.rng.choice(
                [*kinds, "unit", "unit", "unit", "unit", "bias", "pool", "subsample", "resize", "gap", "softmax"]
            )
        )
        back = int(min(self.rng.geometric(0.6), len(self.shapes)))  # mostly the last value, sometimes an older one
        i = len(self.shapes) - back
        step = getattr(self, f"_{kind}")(i)
        if step is not None:
            y = step([np.zeros((0, *shape), self.dtype) for shape in self.shapes])
            self.shapes.append(y.shape[1:])
            self.steps.append(step)
            self.words.append(f"{len(self.steps)} = {kind}({i}) {y.shape[1:]}")

    def _normal(self, *shape: int, scale: float = 1.0) -> Any:
        return (scale * self.rng.standard_normal(shape)).astype(self.dtype)

    def _conv(self, i: int, kernel: int = 0) -> Step | None:
        h, w, c = self.shapes[i]
        kernel = kernel or int(self.rng.integers(2, 4))
        weights = self._normal(kernel, kernel, c, int(self.rng.integers(1, 7)), scale=(kernel * kernel * c) ** -0.5)
        stride = 1 if self.rng.integers(4) else int(self.rng.integers(2, 4))
        rate = 1 if self.rng.integers(3) else 2
        paddings: list[Any] = ["SAME", "SAME", ((kernel - 1, 1), (0, kernel))]
        if min(h, w) > (kernel - 1) * rate:
            paddings.append("VALID")
        elif kernel > 1:
            paddings.pop()
        padding = paddings[self.rng.integers(len(paddings))]
        return lambda values: ops.conv2d_forward(values[i], weights, stride, rate, padding)[0]

    def _conv1x1(self, i: int) -> Step | None:
        weights = self._normal(1, 1, self.shapes[i][2], int(self.rng.integers(1, 7)))
        padding = "SAME" if self.rng.integers(8) else ((1, 0), (0, 1))
        return lambda values: ops.conv2d_forward(values[i], weights, 1, 1, padding)[0]

    def _batch_norm(self, i: int) -> Step:
        c = self.shapes[i][2]
        variance = self.rng.uniform(0.1, 2, c).astype(self.dtype)
        constants = self._normal(c), self._normal(c), self._normal(c), variance
        return lambda values: ops.batch_norm_inference_forward(values[i], *constants, epsilon=0.25)[0]

    def _bias(self, i: int) -> Step:
        bias = self._normal(self.shapes[i][2])
        return lambda values: ops.bias_add_forward(values[i], bias)[0]

    def _relu(self, i: int) -> Step:
        return lambda values: ops.relu_forward(values[i])[0]

    def _add(self, i: int) -> Step | None:
        """To any value of that shape, itself among them."""
        alike = [j for j, shape in enumerate(self.shapes) if shape == self.shapes[i]]
        j = int(self.rng.choice(alike))
        return lambda values: ops.add(values[j], values[i])

    def _unit(self, i: int) -> Step:
        """A residual unit: what a convolution makes of one value, with or without biases and ReLUs, added to one of that shape."""
        h, w, c = self.shapes[i]
        alike = [j for j, shape in enumerate(self.shapes) if shape[:2] == (h, w)]
        j = int(self.rng.choice(alike))
        weights, bias = self._normal(1, 1, c, self.shapes[j][2], scale=c**-0.5), self._normal(self.shapes[j][2])
        flip, has_bias, before, after = (bool(chance) for chance in self.rng.integers(2, size=4))

        def step(values: list[Any]) -> Any:
            x = ops.relu_forward(values[i])[0] if before else values[i]
            y = ops.conv2d_forward(x, weights)[0]
            y = ops.bias_add_forward(y, bias)[0] if has_bias else y
            y = ops.add(y, values[j]) if flip else ops.add(values[j], y)
            return ops.relu_forward(y)[0] if after else y

        return step

    def _pool(self, i: int) -> Step | None:
        size, stride = int(self.rng.integers(1, 4)), int(self.rng.integers(1, 3))
        return lambda values: ops.max_pool2d_forward(values[i], size, stride, "SAME")[0]

    def _subsample(self, i: int) -> Step:
        factor = int(self.rng.integers(1, 4))
        return lambda values: ops.subsample_forward(values[i], factor)[0]

    def _resize(self, i: int) -> Step:
        size = (int(self.rng.integers(1, 9)), int(self.rng.integers(1, 9)))
        return lambda values: ops.resize_bilinear_forward(values[i], size)[0]

    def _gap(self, i: int) -> Step:
        return lambda values: ops.global_avg_pool_forward(values[i])[0]

    def _softmax(self, i: int) -> Step:
        return lambda values: ops.softmax(values[i])
