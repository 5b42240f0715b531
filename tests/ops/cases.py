"""Every op with arguments worth trying, and what the on-paper loops make of them. The tests of tests/ops walk this table.

An op's arguments are `arrays` (it has a gradient for each), then `constants` (labels, moving averages: it has none), then
`options`. The entries keep away from kinks (a ReLU's 0, two equal entries in a pooling window): those have tests of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinyresnet import ops
from tinyresnet.ops import naive


class Case(NamedTuple):
    name: str
    op: str
    arrays: tuple[np.ndarray, ...]  # float64
    constants: tuple[np.ndarray, ...]
    options: dict[str, Any]

    def astype(self, dtype: Any) -> Case:
        """The floats in another dtype; labels stay integers."""
        constants = tuple(a if a.dtype.kind in "iu" else a.astype(dtype) for a in self.constants)
        return self._replace(arrays=tuple(a.astype(dtype) for a in self.arrays), constants=constants)


def rng_for(name: str) -> np.random.Generator:
    """A stream of its own for every name, the same in every run."""
    return np.random.default_rng([ord(letter) for letter in name])


def normal(name: str, *shape: int) -> np.ndarray:
    return rng_for(f"{name}{shape}").standard_normal(shape)


def away_from_zero(name: str, *shape: int) -> np.ndarray:
    x = normal(name, *shape)
    return x + 0.1 * np.sign(x)


def all_different(name: str, *shape: int) -> np.ndarray:
    """Multiples of 0.1 in random order: no two entries tie, none is near another."""
    size = int(np.prod(shape))
    return (rng_for(name).permutation(size).reshape(shape) - size // 2) * 0.1


def channels(name: str, c: int) -> tuple[np.ndarray, np.ndarray]:
    """gamma and beta, neither of them near 1 and 0."""
    return 1.5 + 0.5 * normal(name + "gamma", c), normal(name + "beta", c)


def conv2d_cases() -> list[Case]:
    table = [
        ("conv2d-same", (2, 5, 6, 3), (3, 3, 3, 4), {}),
        ("conv2d-same-even-stride2", (2, 6, 4, 2), (3, 3, 2, 3), {"stride": 2}),
        ("conv2d-valid-leftover", (1, 6, 7, 2), (3, 2, 2, 3), {"stride": (2, 3), "padding": "VALID"}),
        ("conv2d-rate2", (2, 7, 6, 2), (3, 3, 2, 2), {"rate": 2}),
        ("conv2d-explicit", (2, 4, 5, 2), (3, 3, 2, 3), {"stride": 2, "padding": ((2, 0), (1, 3))}),
        ("conv2d-1x1", (2, 4, 3, 3), (1, 1, 3, 5), {}),
        ("conv2d-1x1-stride2", (2, 5, 4, 3), (1, 1, 3, 2), {"stride": 2}),
        ("conv2d-1x1-unequal-strides", (2, 5, 7, 3), (1, 1, 3, 2), {"stride": (2, 3)}),
        ("conv2d-1x1-padded", (2, 3, 4, 3), (1, 1, 3, 2), {"padding": ((1, 0), (0, 2)), "rate": 2}),
        ("conv2d-root", (1, 10, 9, 3), (7, 7, 3, 2), {"stride": 2, "padding": ((3, 3), (3, 3))}),
        ("conv2d-everything", (2, 9, 8, 2), (2, 4, 2, 3), {"stride": (2, 1), "rate": (3, 2), "padding": "SAME"}),
    ]
    return [Case(n, "conv2d", (normal(n, *x), normal(n + "w", *w)), (), options) for n, x, w, options in table]


def batch_norm_cases() -> list[Case]:
    cases = []
    for op in ("batch_norm", "batch_norm_relu", "batch_norm_inference", "batch_norm_inference_relu"):
        for shape in ((3, 4, 5, 2), (7, 3)):
            name, c = f"{op}-rank{len(shape)}", shape[-1]
            moving = (normal(name + "mean", c), 0.5 + normal(name + "var", c) ** 2) if "inference" in op else ()
            x = 2 * normal(name, *shape) + 3
            cases.append(Case(name, op, (x, *channels(name, c)), moving, {"epsilon": 0.01}))
    return cases


def pooling_cases() -> list[Case]:
    table = [
        ("max_pool2d-pool1", (2, 6, 7, 2), {"kernel_size": 3, "stride": 2, "padding": "SAME"}),
        ("max_pool2d-valid", (2, 6, 7, 2), {"kernel_size": (2, 3)}),
        ("max_pool2d-explicit", (1, 5, 5, 3), {"kernel_size": 3, "stride": (3, 1), "padding": ((1, 1), (0, 2))}),
        ("max_pool2d-1x1", (2, 5, 4, 2), {"kernel_size": 1, "stride": 2}),
    ]
    cases = [Case(n, "max_pool2d", (all_different(n, *shape),), (), options) for n, shape, options in table]
    for factor in (1, 2, 3):
        name = f"subsample-{factor}"
        cases.append(Case(name, "subsample", (normal(name, 2, 5, 6, 3),), (), {"factor": factor}))
    return cases


def resize_cases() -> list[Case]:
    table = [
        ("resize_bilinear-up", (2, 3, 4, 2), (9, 7)),
        ("resize_bilinear-down", (2, 9, 7, 3), (4, 3)),
        ("resize_bilinear-up-and-down", (1, 3, 6, 2), (7, 4)),
        ("resize_bilinear-same", (2, 4, 3, 2), (4, 3)),
        ("resize_bilinear-from-one", (2, 1, 3, 2), (4, 5)),
        ("resize_bilinear-to-one", (2, 5, 4, 2), (1, 3)),
    ]
    return [Case(n, "resize_bilinear", (normal(n, *shape),), (), {"size": size}) for n, shape, size in table]


def loss_cases() -> list[Case]:
    rng = rng_for("labels")
    logits = 3 * normal("logits", 4, 5)
    pixels = normal("pixels", 2, 3, 2, 4)
    op = "softmax_cross_entropy"
    return [
        Case("loss", op, (logits,), (rng.integers(0, 5, 4),), {}),
        Case("loss-smoothed", op, (logits,), (rng.integers(0, 5, 4),), {"label_smoothing": 0.1}),
        Case("loss-pixels", op, (pixels,), (rng.integers(0, 4, (2, 3, 2)),), {"label_smoothing": 0.3}),
    ]


CASES: list[Case] = [
    *conv2d_cases(),
    Case("bias_add", "bias_add", (normal("bias_add", 2, 3, 4, 5), normal("bias", 5)), (), {}),
    Case("bias_add-rank2", "bias_add", (normal("bias_add2", 3, 5), normal("bias", 5)), (), {}),
    Case(
        "conv2d_bias_add",
        "conv2d_bias_add",
        (normal("conv2d_bias_add", 2, 5, 4, 3), normal("conv2d_bias_add_w", 3, 2, 3, 5), normal("bias", 5)),
        (),
        {"stride": (1, 2), "rate": 2, "padding": ((2, 2), (1, 0))},
    ),
    *batch_norm_cases(),
    Case("relu", "relu", (away_from_zero("relu", 2, 3, 4, 2),), (), {}),
    *pooling_cases(),
    Case("global_avg_pool", "global_avg_pool", (normal("global_avg_pool", 2, 3, 5, 4),), (), {}),
    Case("squeeze", "squeeze", (normal("squeeze", 3, 1, 1, 4),), (), {}),
    *resize_cases(),
    *loss_cases(),
]


# ---- the op as it is --------------------------------------------------------------------------------------------------
def as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def forward(case: Case, backend: Any) -> tuple[Any, Any]:
    """y, saved of the op on arrays of this back end."""
    arrays = [backend.array(a) for a in (*case.arrays, *case.constants)]
    return getattr(ops, f"{case.op}_forward")(*arrays, **case.options)


def backward(case: Case, dy: Any, saved: Any) -> tuple[Any, ...]:
    """One gradient for each of case.arrays."""
    return as_tuple(getattr(ops, f"{case.op}_backward")(dy, saved))


def upstream(case: Case, shape: tuple[int, ...]) -> np.ndarray:
    """A random gradient for the output, never all ones: a sum of batch norm's outputs does not depend on its input."""
    return normal(case.name + "dy", *shape).astype(case.arrays[0].dtype)


# ---- the same on paper ------------------------------------------------------------------------------------------------
def _naive_batch_norm_relu(dy: np.ndarray, x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, epsilon: float) -> Any:
    y, _, _ = naive.batch_norm_forward(x, gamma, beta, epsilon)
    return naive.batch_norm_backward(naive.relu_backward(dy, y), x, gamma, epsilon)


def _naive_batch_norm_inference_relu(
    dy: np.ndarray, x: np.ndarray, gamma: np.ndarray, *rest: Any, epsilon: float
) -> Any:
    beta, mean, var = rest
    y = naive.batch_norm_inference_forward(x, gamma, beta, mean, var, epsilon)
    return naive.batch_norm_inference_backward(naive.relu_backward(dy, y), x, gamma, mean, var, epsilon)


NAIVE_FORWARD: dict[str, Callable[..., np.ndarray]] = {
    "conv2d": naive.conv2d_forward,
    "bias_add": naive.bias_add_forward,
    "conv2d_bias_add": lambda x, w, b, **k: naive.bias_add_forward(naive.conv2d_forward(x, w, **k), b),
    "batch_norm": lambda *a, **k: naive.batch_norm_forward(*a, **k)[0],
    "batch_norm_relu": lambda *a, **k: naive.relu_forward(naive.batch_norm_forward(*a, **k)[0]),
    "batch_norm_inference": naive.batch_norm_inference_forward,
    "batch_norm_inference_relu": lambda *a, **k: naive.relu_forward(naive.batch_norm_inference_forward(*a, **k)),
    "relu": naive.relu_forward,
    "max_pool2d": naive.max_pool2d_forward,
    "subsample": naive.subsample_forward,
    "global_avg_pool": naive.global_avg_pool_forward,
    "squeeze": lambda x: np.array([x[n, 0, 0, c] for n, c in np.ndindex(x.shape[0], x.shape[3])], x.dtype).reshape(
        -1, x.shape[3]
    ),
    "resize_bilinear": naive.resize_bilinear_forward,
    "softmax_cross_entropy": naive.softmax_cross_entropy_forward,
}

NAIVE_BACKWARD: dict[str, Callable[..., Any]] = {
    "conv2d": naive.conv2d_backward,
    "bias_add": lambda dy, x, b: naive.bias_add_backward(dy),
    "conv2d_bias_add": lambda dy, x, w, b, **k: (*naive.conv2d_backward(dy, x, w, **k), naive.bias_add_backward(dy)[1]),
    "batch_norm": lambda dy, x, gamma, beta, epsilon: naive.batch_norm_backward(dy, x, gamma, epsilon),
    "batch_norm_relu": _naive_batch_norm_relu,
    "batch_norm_inference": lambda dy, x, gamma, beta, mean, var, epsilon: naive.batch_norm_inference_backward(
        dy, x, gamma, mean, var, epsilon
    ),
    "batch_norm_inference_relu": _naive_batch_norm_inference_relu,
    "relu": naive.relu_backward,
    "max_pool2d": naive.max_pool2d_backward,
    "subsample": naive.subsample_backward,
    "global_avg_pool": naive.global_avg_pool_backward,
    "squeeze": lambda dy, x: dy[:, None, None, :],
    "resize_bilinear": naive.resize_bilinear_backward,
    "softmax_cross_entropy": naive.softmax_cross_entropy_backward,
}


def on_paper(case: Case, dy: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
    """(y,) of the on-paper loops, or, given dy, the gradients."""
    if dy is None:
        return (NAIVE_FORWARD[case.op](*case.arrays, *case.constants, **case.options),)
    return as_tuple(NAIVE_BACKWARD[case.op](dy, *case.arrays, *case.constants, **case.options))


# ---- comparing --------------------------------------------------------------------------------------------------------
TOLERANCE = {np.dtype("float64"): 1e-9, np.dtype("float32"): 2e-5}


def assert_close(ours: Any, right: Any, what: str, tolerance: float | None = None) -> None:
    """Same shape and dtype, and no entry off by more than the tolerance times the largest entry of the right answer."""
    ours, right = np.asarray(ours), np.asarray(right)
    assert ours.shape == right.shape, f"{what}: shape {ours.shape}, should be {right.shape}"
    assert ours.dtype == right.dtype, f"{what}: dtype {ours.dtype}, should be {right.dtype}"
    if right.size == 0:
        return
    assert np.isfinite(ours).all(), f"{what}: not finite"
    scale = max(float(np.abs(right).max()), 1e-12)
    error = float(np.abs(ours - right).max()) / scale
    allowed = TOLERANCE[right.dtype] if tolerance is None else tolerance
    assert error <= allowed, f"{what}: off by {error:.3g} of the largest entry, allowed is {allowed:.3g}"
