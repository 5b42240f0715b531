"""How far a result of the `numba` back end may be from the reference: one table, and what its numbers are relative to.

An error is measured against the largest entry of the float64 reference. Where terms cancel, that entry may be as small as one likes (a
convolution with one output pixel; dx of a batch norm over one value), so no measure is smaller than `size`: what an entry would be if its
terms had random signs. Statistics and images that a batch norm has centred are measured against what they were before.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

FLOAT64 = 1e-11  # every op and result

# In float32: 6e-8 is one rounding.
EXACT = 0.0  # nothing is computed: copied, compared, masked
ONE_ROUNDING = 1.2e-7
SUM = 2e-6  # a sum of up to some thousand products; PyTorch's float32 convolutions need as much
WINOGRAD = 3e-5  # F(4x4): its transforms multiply by up to 8 and cancel again
WINOGRAD_DW = 1e-5

FLOAT32: dict[tuple[str, str], float] = {
    ("conv2d", "y"): SUM,
    ("conv2d", "dx"): SUM,
    ("conv2d", "dw"): SUM,
    ("conv2d 3x3", "y"): WINOGRAD,  # stride 1, any rate
    ("conv2d 3x3", "dx"): WINOGRAD,
    ("conv2d 3x3", "dw"): WINOGRAD_DW,
    ("batch_norm", "y"): 4e-6,  # the mean is rounded, then divided by a standard deviation that is
    ("batch_norm", "dx"): 4e-6,
    ("batch_norm", "dgamma"): 4e-6,
    ("batch_norm", "dbeta"): SUM,
    ("batch_norm", "mean"): SUM,
    ("batch_norm", "var"): 4e-6,
    ("batch_norm", "inv_std"): 4e-6,
    ("batch_norm_inference", "y"): 1e-6,
    ("batch_norm_inference", "dx"): 1e-6,
    ("batch_norm_inference", "dgamma"): 4e-6,
    ("batch_norm_inference", "dbeta"): SUM,
    ("batch_norm_inference", "inv_std"): 4e-7,
    ("conv2d_bias_add", "y"): 3e-5,
    ("conv2d_bias_add", "dx"): 3e-5,
    ("conv2d_bias_add", "dw"): 1e-5,
    ("conv2d_bias_add", "db"): SUM,
    ("relu", "y"): EXACT,
    ("relu", "dx"): EXACT,
    ("bias_add", "y"): ONE_ROUNDING,
    ("bias_add", "dx"): EXACT,
    ("bias_add", "db"): SUM,
    ("add", "y"): ONE_ROUNDING,
    ("max_pool2d", "y"): EXACT,
    ("max_pool2d", "dx"): 1e-6,  # a pixel may win in many windows
    ("subsample", "y"): EXACT,
    ("subsample", "dx"): EXACT,
    ("global_avg_pool", "y"): SUM,
    ("global_avg_pool", "dx"): 4e-7,
}
RESULTS = {  # of the backward half
    "conv2d": ("dx", "dw"),
    "batch_norm": ("dx", "dgamma", "dbeta"),
    "batch_norm_relu": ("dx", "dgamma", "dbeta"),
    "batch_norm_inference": ("dx", "dgamma", "dbeta"),
    "batch_norm_inference_relu": ("dx", "dgamma", "dbeta"),
    "conv2d_bias_add": ("dx", "dw", "db"),
    "relu": ("dx",),
    "bias_add": ("dx", "db"),
    "max_pool2d": ("dx",),
    "subsample": ("dx",),
    "global_avg_pool": ("dx",),
}
HOT = ("add", *RESULTS)  # every op that has kernels


def one(value: Any) -> bool:
    return value in (1, (1, 1), [1, 1])


def row_of(op: str, arrays: tuple[np.ndarray, ...], options: dict[str, Any]) -> str:
    """Which rows of the table hold for this call."""
    if op in ("batch_norm_relu", "batch_norm_inference_relu"):
        return op.removesuffix("_relu")
    by_winograd = op == "conv2d" and arrays[1].shape[:2] == (3, 3) and one(options.get("stride", 1))
    return "conv2d 3x3" if by_winograd else op


def allowed(
    op: str, result: str, dtype: np.dtype[Any], arrays: tuple[np.ndarray, ...], options: dict[str, Any]
) -> float:
    """The bound for this result of this call; what is not in the table must be exact (shapes, winners, what is only handed on)."""
    bound = FLOAT32.get((row_of(op, arrays, options), result), EXACT)
    return bound if dtype.name == "float32" or bound == EXACT else FLOAT64


# ---- what the bounds are relative to ------------------------------------------------------------------------------------
def rms(a: np.ndarray) -> float:
    return math.sqrt(float(np.mean(np.square(a, dtype=np.float64)))) if a.size else 0.0


def largest(a: np.ndarray) -> float:
    return float(np.abs(a).max()) if a.size else 0.0


def batch_norm_sizes(arrays: tuple[np.ndarray, ...], saved: Any) -> dict[str, float]:
    x, gamma, beta = arrays[:3]
    inner = getattr(saved, "batch_norm", saved)
    steepest = largest(gamma * inner.inv_std)
    spread = largest(x - inner.mean)
    return {
        "y": largest(beta) + steepest * max(largest(x), largest(inner.mean)),
        "mean": largest(x),
        "var": spread * spread
        + 1e-7 * largest(x) ** 2,  # of equal values it is 0, and in float32 the square of a rounding
        "steepest": steepest,
    }


def forward_sizes(op: str, arrays: tuple[np.ndarray, ...], saved: Any) -> dict[str, float]:
    """For y and what is saved: the least that an error is divided by."""
    if op == "conv2d":
        x, w = arrays
        return {"y": rms(x) * rms(w) * math.sqrt(w[..., 0].size)}
    if op.startswith("batch_norm"):
        return batch_norm_sizes(arrays, saved)
    if op == "global_avg_pool":
        x = arrays[0]
        return {"y": rms(x) / math.sqrt(max(x.shape[1] * x.shape[2], 1))}
    return {}


def backward_sizes(op: str, dy: np.ndarray, arrays: tuple[np.ndarray, ...], saved: Any) -> dict[str, float]:
    """For the gradients: the least that an error is divided by."""
    pixels = math.sqrt(max(dy.size // max(dy.shape[-1], 1), 1)) if dy.ndim else 1.0
    if op == "conv2d":
        x, w = arrays
        return {
            "dx": rms(dy) * rms(w) * math.sqrt(w[:, :, 0, :].size),
            "dw": rms(dy) * rms(x) * pixels,
        }
    if op.startswith("batch_norm"):
        inner = getattr(saved, "batch_norm", saved)
        normal = largest((arrays[0] - inner.mean) * inner.inv_std)
        return {
            "dx": batch_norm_sizes(arrays, saved)["steepest"] * rms(dy),
            "dgamma": rms(dy) * pixels * max(normal, 1.0),
            "dbeta": rms(dy) * pixels,
        }
    return {"db": rms(dy) * pixels}
