"""A composite: batch norm by moving averages, and the ReLU that follows it."""

from __future__ import annotations

from typing import NamedTuple

from ..backend import Array, op
from .batch_norm import BatchNormInferenceSaved, batch_norm_inference_backward, batch_norm_inference_forward
from .relu import ReluSaved, relu_backward, relu_forward


class BatchNormInferenceReluSaved(NamedTuple):
    """What batch_norm_inference_relu_backward needs."""

    batch_norm: BatchNormInferenceSaved
    relu: ReluSaved


@op(parts=("batch_norm_inference_forward", "relu_forward"))
def batch_norm_inference_relu_forward(
    x: Array, gamma: Array, beta: Array, moving_mean: Array, moving_variance: Array, epsilon: float = 1e-5
) -> tuple[Array, BatchNormInferenceReluSaved]:
    """y = max(batch_norm_inference(x), 0). Arguments and errors as batch_norm_inference_forward."""
    normed, batch_norm_saved = batch_norm_inference_forward(
        x, gamma, beta, moving_mean, moving_variance, epsilon=epsilon
    )
    y, relu_saved = relu_forward(normed)
    return y, BatchNormInferenceReluSaved(batch_norm_saved, relu_saved)


@op(parts=("batch_norm_inference_backward", "relu_backward"))
def batch_norm_inference_relu_backward(dy: Array, saved: BatchNormInferenceReluSaved) -> tuple[Array, Array, Array]:
    """dy [..., C] -> dx [..., C], dgamma [C], dbeta [C]."""
    return batch_norm_inference_backward(relu_backward(dy, saved.relu), saved.batch_norm)
