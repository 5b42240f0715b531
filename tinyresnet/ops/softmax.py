"""Softmax, and its cross-entropy as one op: together they are stable, and their gradient is a difference."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..backend import Array, get_array_module, op
from .checks import FLOATS, check_array, shape_text


@op
def softmax(x: Array) -> Array:
    """y = exp(x) / sum(exp(x)) over the last axis, which sums to 1. x, y [..., K], float32 or float64. No backward of its own."""
    check_array("x", x, ("...", "K"))
    e = get_array_module(x).exp(x - x.max(-1, keepdims=True))  # the largest exponent is 0: nothing overflows
    y: Array = e / e.sum(-1, keepdims=True)
    return y


class SoftmaxCrossEntropySaved(NamedTuple):
    """What softmax_cross_entropy_backward needs."""

    probabilities: Array  # [..., K]
    targets: Array  # [..., K]: the smoothed one-hot rows


def _check_labels(labels: Array, logits: Array) -> None:
    if not (hasattr(labels, "shape") and hasattr(labels, "dtype")):
        raise TypeError(
            f"labels must be an array of integers {shape_text(logits.shape[:-1])}, not {type(labels).__name__}"
        )
    if labels.dtype.kind not in "iu":
        raise ValueError(f"labels must be integers (the number of each class), not {labels.dtype}")
    if labels.shape != logits.shape[:-1]:
        raise ValueError(
            f"labels must have shape {shape_text(logits.shape[:-1])}, one for each row of logits, not {shape_text(labels.shape)}"
        )
    k = logits.shape[-1]
    if isinstance(labels, np.ndarray) and labels.size and not (0 <= labels.min() and labels.max() < k):
        # only on the host: to look at values on a device the program would stop and wait for it
        raise ValueError(
            f"labels must be 0 to {k - 1} for logits of {k} classes, but they go from {labels.min()} to {labels.max()}"
        )


@op
def softmax_cross_entropy_forward(
    logits: Array, labels: Array, label_smoothing: float = 0.0
) -> tuple[Array, SoftmaxCrossEntropySaved]:
    """loss = mean over rows of -sum_k t_k log p_k, with p = softmax(logits) and t = (1 - s) onehot(label) + s / K.

    logits [..., K], float32 or float64 (pixels have labels too); labels [...] integers 0 to K-1;
    label_smoothing s from 0 to 1 (Szegedy et al. 2016, section 7). Returns a 0-d loss; 0 for an empty batch. Raises ValueError.
    Labels outside 0 to K-1 are refused on the host; on a device, where looking would mean waiting, the loss is NaN.
    """
    check_array("logits", logits, ("...", "K"))
    _check_labels(labels, logits)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing must be from 0 to 1, not {label_smoothing!r}")
    xp, k = get_array_module(logits), logits.shape[-1]
    z = logits - logits.max(-1, keepdims=True)
    log_p = z - xp.log(xp.exp(z).sum(-1, keepdims=True))
    onehot = (labels[..., None] == xp.arange(k)).astype(logits.dtype)  # [..., K]
    onehot /= onehot.sum(-1, keepdims=True)  # 1, or 0/0 for a label that is no class
    s = float(label_smoothing)
    targets = onehot * (1 - s) + s / k
    loss = -(targets * log_p).sum() / rows(logits)
    return loss, SoftmaxCrossEntropySaved(xp.exp(log_p), targets)


@op
def softmax_cross_entropy_backward(dy: Any, saved: SoftmaxCrossEntropySaved) -> Array:
    """dy, the gradient of the loss (a number, mostly 1) -> dlogits [..., K] = (p - t) * dy / rows."""
    p, t = saved
    if hasattr(dy, "dtype"):
        if dy.shape != () or dy.dtype.name not in FLOATS:
            raise ValueError(
                f"dy must be one number, a float as the loss is, not {dy.dtype} of shape {shape_text(dy.shape)}"
            )
        dy = dy.astype(p.dtype)  # a NumPy float64 number would make float32 gradients float64
    elif not isinstance(dy, (int, float)):
        raise TypeError(f"dy must be a number, as the loss is one, not {type(dy).__name__}")
    dlogits: Array = (p - t) * (dy / rows(p))
    return dlogits


def rows(logits: Array) -> int:
    """How many rows the mean is over; 1 for an empty batch, whose loss is 0 and not 0/0."""
    count: int = logits.size // logits.shape[-1]
    return max(count, 1)
