"""Every op in PyTorch's functions, NHWC outside and NCHW inside: an oracle that shares nothing with this project."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.ops.cases import Case

torch = pytest.importorskip("torch", reason="PyTorch, the oracle of the op tests, is not installed")
F = torch.nn.functional


def both(value: Any) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


def pads_for(x: Any, kernel: tuple[int, int], stride: Any, rate: Any, padding: Any) -> list[int]:
    """[left, right, top, bottom], as F.pad takes them; x is NCHW."""
    if padding == "VALID":
        return [0, 0, 0, 0]
    if padding != "SAME":
        return [*padding[1], *padding[0]]
    pads = []
    for axis in (1, 0):
        size, step, span = x.shape[2 + axis], both(stride)[axis], (kernel[axis] - 1) * both(rate)[axis] + 1
        total = max((math.ceil(size / step) - 1) * step + span - size, 0)
        pads += [total // 2, total - total // 2]
    return pads


def nchw(x: Any) -> Any:
    return x.permute(0, 3, 1, 2).contiguous()


def nhwc(x: Any) -> Any:
    return x.permute(0, 2, 3, 1)


def conv2d(x: Any, w: Any, stride: Any = 1, rate: Any = 1, padding: Any = "SAME") -> Any:
    x = F.pad(nchw(x), pads_for(nchw(x), (w.shape[0], w.shape[1]), stride, rate, padding))
    return nhwc(F.conv2d(x, w.permute(3, 2, 0, 1), stride=both(stride), dilation=both(rate)))


def batch_norm(x: Any, gamma: Any, beta: Any, epsilon: float) -> Any:
    flat = x.reshape(-1, x.shape[-1])
    return F.batch_norm(flat, None, None, gamma, beta, True, 0.0, epsilon).reshape(x.shape)


def batch_norm_inference(x: Any, gamma: Any, beta: Any, mean: Any, var: Any, epsilon: float) -> Any:
    flat = x.reshape(-1, x.shape[-1])
    return F.batch_norm(flat, mean, var, gamma, beta, False, 0.0, epsilon).reshape(x.shape)


def max_pool2d(x: Any, kernel_size: Any, stride: Any = 2, padding: Any = "VALID") -> Any:
    kernel = both(kernel_size)
    x = F.pad(nchw(x), pads_for(nchw(x), kernel, stride, 1, padding), value=-math.inf)
    return nhwc(F.max_pool2d(x, kernel, both(stride)))


def softmax_cross_entropy(logits: Any, labels: Any, label_smoothing: float = 0.0) -> Any:
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), label_smoothing=label_smoothing)


TORCH: dict[str, Callable[..., Any]] = {
    "conv2d": conv2d,
    "bias_add": torch.add,
    "batch_norm": batch_norm,
    "batch_norm_relu": lambda *a, **k: F.relu(batch_norm(*a, **k)),
    "batch_norm_inference": batch_norm_inference,
    "batch_norm_inference_relu": lambda *a, **k: F.relu(batch_norm_inference(*a, **k)),
    "conv2d_bias_add": lambda x, w, b, **k: conv2d(x, w, **k) + b,
    "relu": F.relu,
    "max_pool2d": max_pool2d,
    "subsample": lambda x, factor: nhwc(F.max_pool2d(nchw(x), 1, factor)),  # as TF-Slim has it: a 1x1 max pool
    "global_avg_pool": lambda x: nhwc(F.adaptive_avg_pool2d(nchw(x), 1)),
    "squeeze": lambda x: x.squeeze((1, 2)),
    "resize_bilinear": lambda x, size: nhwc(F.interpolate(nchw(x), size, mode="bilinear", align_corners=True)),
    "softmax_cross_entropy": softmax_cross_entropy,
}


def in_torch(case: Case, dy: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
    """(y,), or, given dy, the gradients: the counterpart of `cases.on_paper`."""
    arrays = [torch.tensor(a, requires_grad=True) for a in case.arrays]
    y = TORCH[case.op](*arrays, *map(torch.tensor, case.constants), **case.options)
    if dy is None:
        return (y.detach().numpy(),)
    y.backward(torch.tensor(dy))
    return tuple(a.grad.numpy() for a in arrays)
