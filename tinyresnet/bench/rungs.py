"""The rungs that `ladder.py` times: one convolution each way, and a bottleneck unit of which more and more is done in one kernel."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..backend import REFERENCE, Array

METHODS = {"our micro-kernel": "direct", "Winograd F(2x2)": "winograd 2x2", "Winograd F(4x4)": "winograd 4x4"}


class Fused(NamedTuple):
    """What of a unit its convolutions do themselves, and how the 3x3 one is done."""

    method: str
    bias: bool = False  # and ReLU
    shortcut: bool = False
    preact: bool = False


COLUMNS = "im2col and BLAS"
UNIT_RUNGS: dict[str, Fused | None] = {
    COLUMNS: None,
    "our micro-kernel": Fused("direct"),
    "Winograd F(2x2)": Fused("winograd 2x2"),
    "Winograd F(4x4)": Fused("winograd 4x4"),
    "+ bias and ReLU": Fused("winograd 4x4", bias=True),
    "+ shortcut": Fused("winograd 4x4", bias=True, shortcut=True),
    "+ preactivation": Fused("winograd 4x4", bias=True, shortcut=True, preact=True),
}


class Unit(NamedTuple):
    """A bottleneck unit for n maps of size x size x depth, with `narrow` channels inside; batch norm is folded, as in a frozen net."""

    n: int
    size: int
    depth: int
    narrow: int

    def flops(self) -> float:
        """Of all n maps, by direct convolution."""
        return 2.0 * self.n * self.size**2 * self.narrow * (2 * self.depth + 9 * self.narrow)

    def draw_images(self, rng: np.random.Generator) -> Array:
        """x [n, size, size, depth]."""
        return rng.standard_normal((self.n, self.size, self.size, self.depth), np.float32)

    def draw_weights(self, rng: np.random.Generator) -> dict[str, Array]:
        """Random, such that every map has values about as large as x."""
        d, m = self.depth, self.narrow
        shapes = {"w1": (1, 1, d, m), "w2": (3, 3, m, m), "w3": (1, 1, m, d)}
        found = {
            name: (shape[0] * shape[1] * shape[2] / 2) ** -0.5 * rng.standard_normal(shape, np.float32)
            for name, shape in shapes.items()
        }
        vectors = {"shift": d, "b1": m, "b2": m, "b3": d}
        found |= {name: 0.5 * rng.standard_normal(length, np.float32) for name, length in vectors.items()}
        return found | {"scale": rng.uniform(0.5, 1.5, d).astype(np.float32)}


class ColumnsUnit:
    """Plain NumPy: a column matrix and a product by the BLAS for each convolution, a new array for each operation."""

    def __init__(self, weights: dict[str, Array]) -> None:
        self.weights = weights

    def take(self, x: Array) -> None:
        """The input of the next call."""
        self.x = x

    def __call__(self) -> Array:
        w, conv2d = self.weights, REFERENCE["conv2d_forward"]
        net = np.maximum(self.x * w["scale"] + w["shift"], 0)
        net = np.maximum(conv2d(net, w["w1"])[0] + w["b1"], 0)
        net = np.maximum(conv2d(net, w["w2"])[0] + w["b2"], 0)
        return conv2d(net, w["w3"])[0] + w["b3"] + self.x  # type: ignore[no-any-return]


class Planned:
    """Steps that are written once and run at each call, on arrays that stay where they are."""

    def __init__(self) -> None:
        from ..kernels.cpu.plan import Plan

        self.plan = Plan(np.float32)

    def close(self) -> None:
        """Nothing more is added."""
        self.steps = self.plan.steps()

    def run(self) -> None:
        """All steps."""
        from ..kernels.cpu import threads

        threads.pool().run(self.steps, self.plan.scratch)

    def convolution(self, method: str, x: Array, w: Array, y: Array, **epilogue: Any) -> None:
        """The step y = convolution (SAME, stride 1) of x by w, which is prepared at once."""
        from ..kernels.cpu import plan_convolution
        from ..kernels.cpu.plan import Plan

        pad = w.shape[0] // 2
        g = plan_convolution.Geometry(*x.shape, *y.shape[1:], *w.shape[:2], 1, 1, 1, 1, pad, pad)
        packed = np.empty(plan_convolution.packed_size(method, g, x.dtype), x.dtype)
        before = Plan(x.dtype)
        plan_convolution.prepare_weights(before, method, g, w, packed)
        before.run()
        plan_convolution.convolve(self.plan, method, g, x, packed, y, plan_convolution.Epilogue(**epilogue))

    def pass_over(self, x: Array, y: Array, scale: Array, shift: Array, relu: bool) -> None:
        """The step y = scale * x + shift for each channel, then ReLU if asked for."""
        from ..kernels.cpu import elementwise, micro_kernel
        from ..kernels.cpu.plan import pieces
        from ..kernels.cpu.threads import get_num_threads

        n, c = x.size // x.shape[-1], x.shape[-1]
        self.plan.add(
            elementwise.scale_and_shift,
            **dict(x=x, y=y, n=n, c=c, scale=scale, shift=shift),
            flags=micro_kernel.RELU if relu else 0,
            tasks=pieces(n, -(-8192 // c), get_num_threads()),
        )

    def addition(self, a: Array, b: Array, y: Array) -> None:
        """The step y = a + b."""
        from ..kernels.cpu import elementwise
        from ..kernels.cpu.plan import pieces
        from ..kernels.cpu.threads import get_num_threads

        tasks = pieces(y.size, 8192, get_num_threads())
        self.plan.add(elementwise.elementwise, x=a, residual=b, y=y, n=y.size, b=elementwise.ADD, tasks=tasks)


class ConvolutionPlan(Planned):
    """One convolution of x, an array that is filled anew before each call."""

    def __init__(self, x: Array, w: Array, method: str) -> None:
        super().__init__()
        self.y = np.empty((*x.shape[:3], w.shape[3]), x.dtype)
        self.convolution(method, x, w, self.y)
        self.close()

    def __call__(self) -> Array:
        self.run()
        return self.y


class UnitPlan(Planned):
    """A unit on our kernels."""

    def __init__(self, fused: Fused, unit: Unit, weights: dict[str, Array]) -> None:
        super().__init__()
        wide, narrow = (unit.n, unit.size, unit.size, unit.depth), (unit.n, unit.size, unit.size, unit.narrow)
        self.x, self.y, self.preact = (np.empty(wide, np.float32) for _ in range(3))
        self.fused, self.weights = fused, weights
        inside = [np.empty(narrow, np.float32) for _ in range(4)]
        net = self._preactivated(inside[0], inside[1])
        net = self._activated(fused.method, net, "w2", "b2", inside[2], inside[3])
        self._finished(net)
        self.close()

    def _preactivated(self, y: Array, activated: Array) -> Array:
        w = self.weights
        if self.fused.preact:
            return self._activated("direct", self.x, "w1", "b1", y, activated, scale=w["scale"], shift=w["shift"])
        self.pass_over(self.x, self.preact, w["scale"], w["shift"], True)
        return self._activated("direct", self.preact, "w1", "b1", y, activated)

    def _activated(
        self, method: str, x: Array, w: str, bias: str, y: Array, activated: Array, **epilogue: Any
    ) -> Array:
        b = self.weights[bias]
        if self.fused.bias:
            self.convolution(method, x, self.weights[w], y, bias=b, relu=True, **epilogue)
            return y
        self.convolution(method, x, self.weights[w], y, **epilogue)
        self.pass_over(y, activated, np.ones_like(b), b, True)
        return activated

    def _finished(self, net: Array) -> None:
        w, b = self.weights["w3"], self.weights["b3"]
        if self.fused.shortcut:
            self.convolution("direct", net, w, self.y, bias=b, residual=self.x)
        elif self.fused.bias:
            self.convolution("direct", net, w, self.y, bias=b)
            self.addition(self.y, self.x, self.y)
        else:
            self.convolution("direct", net, w, self.y)
            self.pass_over(self.y, self.y, np.ones_like(b), b, False)
            self.addition(self.y, self.x, self.y)

    def take(self, x: Array) -> None:
        """The input of the next call."""
        self.x[...] = x

    def __call__(self) -> Array:
        self.run()
        return self.y


def unit_rung(rung: str, unit: Unit, weights: dict[str, Array]) -> Any:
    """`take(x)` gives it the input, a call gives the result. rung: of UNIT_RUNGS."""
    fused = UNIT_RUNGS[rung]
    return ColumnsUnit(weights) if fused is None else UnitPlan(fused, unit, weights)
