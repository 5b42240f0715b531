"""The gradient check of every op, as a table: the first thing `make demo` prints."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from . import ops
from .backend import REFERENCE, Array, to_device
from .gradcheck import GradientReport, check_gradients

Rng = np.random.Generator


class Case(NamedTuple):
    """An op with arguments to check it on; `arrays` are the ones that have gradients."""

    names: tuple[str, ...]
    arrays: tuple[Array, ...]
    arguments: dict[str, Any] = {}
    constants: tuple[Array, ...] = ()  # further arrays, after `arrays`, that have none


def _normal(rng: Rng, *shape: int, around: float = 0.0) -> Array:
    return around + rng.standard_normal(shape)


def _batch_norm(rng: Rng) -> Case:
    return Case(
        ("x", "gamma", "beta"), (_normal(rng, 3, 5, 4, 3, around=2), _normal(rng, 3, around=1), _normal(rng, 3))
    )


def _batch_norm_inference(rng: Rng) -> Case:
    return _batch_norm(rng)._replace(constants=(_normal(rng, 3), rng.uniform(0.5, 2, 3)))


def _conv2d_bias_add(rng: Rng) -> Case:
    arrays = (_normal(rng, 2, 5, 4, 3), _normal(rng, 3, 3, 3, 4), _normal(rng, 4))
    return Case(("x", "w", "b"), arrays, {"rate": 2})


CASES: dict[str, Callable[[Rng], Case]] = {
    "conv2d": lambda rng: Case(
        ("x", "w"), (_normal(rng, 2, 6, 5, 3), _normal(rng, 3, 3, 3, 4)), {"stride": 2, "padding": ((1, 1), (1, 1))}
    ),
    "bias_add": lambda rng: Case(("x", "b"), (_normal(rng, 2, 4, 3, 5), _normal(rng, 5))),
    "batch_norm": _batch_norm,
    "batch_norm_inference": _batch_norm_inference,
    "batch_norm_relu": _batch_norm,
    "batch_norm_inference_relu": _batch_norm_inference,
    "conv2d_bias_add": _conv2d_bias_add,
    "relu": lambda rng: Case(("x",), (_normal(rng, 2, 4, 3, 5),)),
    "max_pool2d": lambda rng: Case(("x",), (_normal(rng, 2, 6, 5, 3),), {"kernel_size": 3, "stride": 2, "padding": "SAME"}),
    "subsample": lambda rng: Case(("x",), (_normal(rng, 2, 5, 4, 3),), {"factor": 2}),
    "global_avg_pool": lambda rng: Case(("x",), (_normal(rng, 2, 4, 3, 5),)),
    "squeeze": lambda rng: Case(("x",), (_normal(rng, 3, 1, 1, 5),)),
    "resize_bilinear": lambda rng: Case(("x",), (_normal(rng, 2, 4, 3, 5),), {"size": (9, 7)}),
    "softmax_cross_entropy": lambda rng: Case(("logits",), (_normal(rng, 4, 6),), {"label_smoothing": 0.1}, (rng.integers(0, 6, 4),)),
}  # fmt: skip


def op_pairs() -> tuple[str, ...]:
    """The names of all ops that have a forward and a backward, as registered."""
    return tuple(name.removesuffix("_forward") for name in REFERENCE if name.endswith("_forward"))


def check_op(name: str, *, mode: str = "projection", seed: int = 0) -> GradientReport:
    """check_gradients of `ops.NAME_forward` with `ops.NAME_backward`, whichever implementations are in force.

    Raises ValueError for a name that has no pair of ops.
    """
    if name not in CASES:
        raise ValueError(f"{name!r} is no op with a forward and a backward; there are {', '.join(CASES)}")
    case = CASES[name](np.random.default_rng(seed))
    forward, backward = getattr(ops, f"{name}_forward"), getattr(ops, f"{name}_backward")

    def fn(*arrays: Array) -> tuple[Array, Callable[[Array], Any]]:
        y, saved = forward(*arrays, *map(to_device, case.constants), **case.arguments)
        return y, lambda dy: backward(dy, saved)

    return check_gradients(fn, *case.arrays, mode=mode, seed=seed, names=case.names)


class GradientTable(NamedTuple):
    """The reports of all ops with their times in seconds. `str(table)` is the table; `passed` is True if every one passed."""

    reports: dict[str, GradientReport]
    seconds: dict[str, float]

    @property
    def passed(self) -> bool:
        """Whether every op passed."""
        return all(report.passed for report in self.reports.values())

    def __str__(self) -> str:
        rows = [f"{'op':<24}{'gradient of':<13}{'error / largest':>16}   {'':<14}{'time':>8}"]
        for name, report in self.reports.items():
            for i, argument in enumerate(report.arguments):
                first = (name, f"{self.seconds[name] * 1e3:.1f} ms") if i == 0 else ("", "")
                rows.append(
                    f"{first[0]:<24}{argument.name:<13}{argument.error:>16.1e}   {argument.status:<14}{first[1]:>8}"
                )
        wrong = [
            f"{name}: {argument}"
            for name, report in self.reports.items()
            for argument in report.arguments
            if argument.status != "ok"
        ]
        return "\n".join([*rows, *wrong])


def gradient_table(names: tuple[str, ...] | None = None, *, mode: str = "projection", seed: int = 0) -> GradientTable:
    """Checks these ops, or all of them. Raises ValueError for an unknown name."""
    reports, seconds = {}, {}
    for name in dict.fromkeys([*CASES, *op_pairs()]) if names is None else names:
        start = time.perf_counter()
        reports[name] = check_op(name, mode=mode, seed=seed)
        seconds[name] = time.perf_counter() - start
    return GradientTable(reports, seconds)
