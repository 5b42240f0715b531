"""The layers of a ResNet against PyTorch itself, on maps a few pixels wide: every width of resnet_v2_50's convolutions, norms and pools."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("numba")

from tests.kernels.bounds import RESULTS, allowed, backward_sizes, forward_sizes
from tests.kernels.checks import assert_near, away_from_the_kink, backward, forward, upstream, wide
from tests.ops.cases import Case, normal
from tests.ops.torch_ops import in_torch

SAME3 = {"padding": ((1, 1), (1, 1))}
LAYERS: list[tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ("conv1", (1, 30, 30, 3), (7, 7, 3, 64), {"stride": 2, "padding": ((3, 3), (3, 3))}),
    ("block1 conv1", (2, 7, 7, 256), (1, 1, 256, 64), {}),
    ("block1 conv2", (2, 14, 14, 64), (3, 3, 64, 64), {}),
    ("block1 conv3", (2, 7, 7, 64), (1, 1, 64, 256), {}),
    ("block1 conv2, stride 2", (2, 14, 14, 64), (3, 3, 64, 64), {"stride": 2, **SAME3}),
    ("block2 shortcut", (1, 7, 7, 256), (1, 1, 256, 512), {}),
    ("block2 conv2", (2, 7, 7, 128), (3, 3, 128, 128), {}),
    ("block3 conv1", (1, 7, 7, 512), (1, 1, 512, 256), {}),
    ("block3 conv2", (1, 7, 7, 256), (3, 3, 256, 256), {}),
    ("block3 conv2, rate 2", (1, 9, 9, 256), (3, 3, 256, 256), {"rate": 2}),
    ("block4 conv1", (1, 3, 3, 1024), (1, 1, 1024, 512), {}),
    ("block4 conv2", (1, 4, 4, 512), (3, 3, 512, 512), {}),
    ("block4 conv2, rate 4", (1, 9, 9, 128), (3, 3, 128, 128), {"rate": 4}),
    ("block4 conv3", (1, 3, 3, 512), (1, 1, 512, 2048), {}),
    ("logits", (4, 1, 1, 2048), (1, 1, 2048, 1000), {}),
]


def layers() -> list[Case]:
    cases = [Case(n, "conv2d", (normal(n, *x), normal(n + "w", *w)), (), options) for n, x, w, options in LAYERS]
    x, gamma, beta = 2 * normal("preact", 2, 7, 7, 256) + 1, 1.5 + 0.3 * normal("gamma", 256), normal("beta", 256)
    moving = normal("mean", 256), 0.5 + normal("var", 256) ** 2
    cases += [Case(op, op, (x, gamma, beta), (), {"epsilon": 1e-5}) for op in ("batch_norm", "batch_norm_relu")]
    cases.append(Case("batch_norm_inference", "batch_norm_inference", (x, gamma, beta), moving, {"epsilon": 1e-5}))
    pool1 = {"kernel_size": 3, "stride": 2, "padding": "SAME"}
    cases.append(Case("pool1", "max_pool2d", (normal("pool1", 2, 28, 27, 64),), (), pool1))
    cases.append(Case("shortcut", "subsample", (normal("shortcut", 2, 14, 13, 256),), (), {"factor": 2}))
    cases.append(Case("pool5", "global_avg_pool", (normal("pool5", 2, 7, 7, 2048),), (), {}))
    cases.append(Case("biases", "bias_add", (normal("biases", 2, 7, 7, 256), normal("b", 256)), (), {}))
    cases.append(Case("relu", "relu", (normal("relu", 2, 7, 7, 256),), (), {}))
    return cases


CASES = {case.name: case for case in layers()}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_layer(name: str, dtype: str) -> None:
    """PyTorch works in float64 on the numbers as `dtype` has them."""
    ours = CASES[name].astype(dtype)
    theirs = ours.astype("float64")
    y, saved = forward(ours)
    size = forward_sizes(ours.op, theirs.arrays, wide(saved)).get("y", 0.0)
    assert_near(y, in_torch(theirs)[0], bound(ours, "y"), size, f"{name} y")
    dy = away_from_the_kink(ours, upstream(ours, y), saved)
    gradients = backward(ours, dy, saved)
    sizes = backward_sizes(ours.op, wide(dy), theirs.arrays, wide(saved))
    for result, mine, right in zip(RESULTS[ours.op], gradients, in_torch(theirs, wide(dy)), strict=False):
        assert_near(mine, right, bound(ours, result), sizes.get(result, 0.0), f"{name} {result}")


def bound(case: Case, result: str) -> float:
    """As bounds.py has it; but two float64 sums in other orders are never exactly equal, and their means and deviations neither."""
    return max(allowed(case.op, result, case.arrays[0].dtype, case.arrays, case.options), 1e-14)
