"""Where the time of a net goes: every step of a frozen net, and every op of a training step, timed by itself."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from .. import ops
from ..backend import use, use_backend
from ..extras import MissingExtra, require
from . import ours
from .architecture import Architecture, architecture
from .options import Options
from .results import OURS, CaseResult, Row

CONVOLUTIONS = {(7, 2): "7x7 convolution, stride 2", (3, 1): "3x3 convolution", (3, 2): "3x3 convolution, stride 2"}
POINTWISE, NORM, POOL, ADDITION, REST = "1x1 convolution", "batch norm, ReLU", "max pool", "residual addition", "rest"
KINDS = {
    "batch_norm_relu": NORM,
    "max_pool2d": POOL,
    "add": ADDITION,
    "bias_add": "bias",
    "subsample": "subsampled shortcut",
    "global_avg_pool": "global mean",
}
CONVOLUTION_OPS = ("conv2d", "conv2d_bias_add")
OUTSIDE = "between the ops"  # Python, variables, gradients that are added up, what is not watched


class Part(NamedTuple):
    """One step of a frozen net."""

    kind: str
    shape: str  # "56x56 64 -> 256": of the map that it makes
    flops: float  # of the planned batch, by direct convolution
    bytes: float  # of the maps and weights that it reads and writes, each counted once
    seconds: tuple[float, ...]  # one a round


class SharesCase(NamedTuple):
    """Of one net and batch. what: "frozen" or "training"."""

    what: str
    net: Architecture
    size: int
    batch: int

    @property
    def name(self) -> str:
        """As it is chosen."""
        return f"ladder/time/{self.what}/{self.net.scope}/{self.size}/b{self.batch}"

    @property
    def about(self) -> str:
        """What it is."""
        doing = "frozen inference" if self.what == "frozen" else "a training step"
        return f"where the time goes in {doing} of {self.net.scope}, {self.size}x{self.size}, batch {self.batch}"

    def measure(self, options: Options) -> CaseResult:
        """A row a kind, in ms an image; the largest first."""
        try:
            require("numba", "bench")
        except MissingExtra as why:
            return CaseResult(self.name, self.about, "ms/image", (), {OURS: str(why)})
        rounds = max(2, min(options.rounds, 7))
        kinds = self._frozen(rounds) if self.what == "frozen" else self._training(rounds)
        scale = 1e3 / self.batch
        rows = [Row(kind, tuple(scale * one for one in seconds), f"{OURS}, {kind}") for kind, seconds in kinds.items()]
        rows.sort(key=lambda row: -row.median)
        total = Row("together", tuple(map(sum, zip(*(row.samples for row in rows), strict=True))), f"{OURS}, together")
        return CaseResult(self.name, self.about, "ms/image", (*rows, total))

    def _frozen(self, rounds: int) -> dict[str, Any]:
        return _by_kind((part.kind, part.seconds) for part in frozen_parts(self.net, self.size, self.batch, rounds))

    def _training(self, rounds: int) -> dict[str, Any]:
        from .weights import variables_for

        variables, rng = variables_for(self.net), np.random.default_rng(0)
        images = rng.standard_normal((self.batch, self.size, self.size, 3), np.float32)
        labels = rng.integers(0, self.net.num_classes, self.batch)

        def step() -> None:
            variables.gradients.clear()
            logits, _, back = self.net(images, variables, is_training=True, input_gradient=False)
            _, saved = ops.softmax_cross_entropy_forward(logits, labels)
            back(ops.softmax_cross_entropy_backward(1.0, saved))

        with use_backend(ours.BACKEND):
            step()
            samples = [_watched_step(step) for _ in range(rounds)]
        kinds = sorted({kind for sample in samples for kind in sample})
        return {kind: tuple(sample.get(kind, 0.0) for sample in samples) for kind in kinds}


def shares_cases() -> list[SharesCase]:
    """Of resnet_v2_50 at 224."""
    return [SharesCase(what, architecture("resnet_v2_50"), 224, 8) for what in ("frozen", "training")]


def _by_kind(parts: Iterator[tuple[str, tuple[float, ...]]]) -> dict[str, Any]:
    kinds: dict[str, Any] = defaultdict(lambda: 0.0)
    for kind, seconds in parts:
        kinds[kind] = kinds[kind] + np.array(seconds)
    return dict(kinds)


# ---- ops of a training step ------------------------------------------------------------------------------------------------
def _watched_step(step: Callable[[], object]) -> dict[str, float]:
    """kind -> seconds, of one call."""
    seconds: dict[str, float] = defaultdict(float)
    with use(**dict(_watching(seconds))):
        began = time.perf_counter()
        step()
        seconds[OUTSIDE] = time.perf_counter() - began - sum(seconds.values())
    return dict(seconds)


def _watching(seconds: dict[str, float]) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Overrides that run what they replace, and note how long that took."""
    names = ("add", *(f"{op}_{half}" for op in (*CONVOLUTION_OPS, *KINDS) for half in ("forward", "backward")))
    for name in names:
        if hasattr(ops, name):
            yield name, _clocked(getattr(ops, name), name, seconds)


def _clocked(below: Callable[..., Any], name: str, seconds: dict[str, float]) -> Callable[..., Any]:
    op, _, half = name.rpartition("_")

    def clocked(*arguments: Any, **keywords: Any) -> Any:
        began = time.perf_counter()
        result = below(*arguments, **keywords)
        taken = time.perf_counter() - began
        if op in CONVOLUTION_OPS:
            saved = arguments[1] if half == "backward" else result[1]
            saved = getattr(saved, "conv2d", saved)  # of the composite with biases
            kind = CONVOLUTIONS.get((saved.w.shape[0], saved.stride[0]), POINTWISE)
        else:
            kind = KINDS.get(op or name, REST)
        seconds[f"{kind}, {half}" if op else kind] += taken
        return result

    return clocked


# ---- steps of a frozen net --------------------------------------------------------------------------------------------------
def frozen_parts(net: Architecture, size: int, batch: int, rounds: int) -> list[Part]:
    """Every step, run and timed one after the other as in a call. Needs Numba."""
    from ..frozen import freeze
    from .weights import variables_for

    shape = batch, size, size, 3
    with use_backend(ours.BACKEND):
        frozen = freeze(
            net.function, variables_for(net), input_shape=shape, num_classes=net.num_classes, **net.keywords()
        )
        images, out = (
            np.random.default_rng(0).standard_normal(shape, np.float32),
            np.empty(frozen.output_shape, np.float32),
        )
        frozen(images, out=out)
    run = frozen._executor()._free[0].program(batch).parts[0]  # type: ignore[attr-defined]
    seconds = [[_seconds(run, i) for i in range(len(run.steps))] for _ in range(rounds + 1)][1:]
    every = zip(run.steps, zip(*seconds, strict=True), strict=True)
    return [Part(*_what(step), tuple(taken)) for step, taken in every]


def _seconds(run: Any, i: int) -> float:
    from ..kernels.cpu import threads

    began = time.perf_counter()
    threads.pool().run(run.steps[i : i + 1], run.plan.scratch)
    return time.perf_counter() - began


def _what(step: Any) -> tuple[str, str, float, float]:
    """kind, shape, flops, bytes of a Step."""
    from ..kernels.cpu import convolution, elementwise, pooling, winograd

    named: dict[int, Any] = {
        one.address(np.dtype(np.float32)): one
        for one in (
            convolution.convolve,
            winograd.convolve,
            pooling.max_pool,
            pooling.global_mean,
            elementwise.subsample,
        )
    }
    kernel = named.get(int(step["kernel"]))
    n, h, width, c, oh, ow, k = (int(step[name]) for name in ("n", "h", "width", "c", "oh", "ow", "k"))
    if kernel in (convolution.convolve, winograd.convolve):
        taps = int(step["kh"] * step["kw"])
        kind = CONVOLUTIONS.get((int(step["kh"]), int(step["sh"])), POINTWISE)
        seen = n * min(h * width, oh * ow) if taps == 1 else n * h * width
        moved = seen * c + taps * c * k + n * oh * ow * k * (2 if step["residual"] else 1)
        return kind, f"{oh}x{ow} {c} -> {k}", 2.0 * n * oh * ow * taps * c * k, 4.0 * moved
    if kernel is pooling.max_pool:
        return (
            POOL,
            f"{oh}x{ow} {c}",
            float(n * oh * ow * c * step["kh"] * step["kw"]),
            4.0 * n * c * (h * width + oh * ow),
        )
    if kernel is elementwise.subsample:
        return KINDS["subsample"], f"{oh}x{ow} {c}", 0.0, 8.0 * n * oh * ow * c
    if kernel is pooling.global_mean:
        return KINDS["global_avg_pool"], f"{c}", 0.0, 0.0
    return REST, "", 0.0, 0.0
