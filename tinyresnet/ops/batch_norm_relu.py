"""A composite: batch norm and the ReLU that follows it, which every pre-activation unit starts with.

The plain body calls its two parts, no more. It is an op of its own so that a kernel can do both in one pass over memory.
"""

from __future__ import annotations

from typing import NamedTuple

from ..backend import Array, op
from .batch_norm import BatchNormSaved, batch_norm_backward, batch_norm_forward
from .relu import ReluSaved, relu_backward, relu_forward


class BatchNormReluSaved(NamedTuple):
    """What batch_norm_relu_backward needs."""

    batch_norm: BatchNormSaved
    relu: ReluSaved
    # [C], from a kernel that made both: where its ReLU passed can be computed again from x, which is cheaper than reading y.
    # None from the plain body, whose parts may have been replaced.
    beta: Array | None = None


@op(parts=("batch_norm_forward", "relu_forward"))
def batch_norm_relu_forward(
    x: Array, gamma: Array, beta: Array, epsilon: float = 1e-5
) -> tuple[Array, BatchNormReluSaved]:
    """y = max(batch_norm(x), 0). Arguments and errors as batch_norm_forward."""
    normed, batch_norm_saved = batch_norm_forward(x, gamma, beta, epsilon=epsilon)
    y, relu_saved = relu_forward(normed)
    return y, BatchNormReluSaved(batch_norm_saved, relu_saved)


@op(parts=("batch_norm_backward", "relu_backward"))
def batch_norm_relu_backward(dy: Array, saved: BatchNormReluSaved) -> tuple[Array, Array, Array]:
    """dy [..., C] -> dx [..., C], dgamma [C], dbeta [C]."""
    return batch_norm_backward(relu_backward(dy, saved.relu), saved.batch_norm)
