"""Batch normalisation (Ioffe & Szegedy 2015): of a batch in training, by moving averages in inference."""

from __future__ import annotations

from typing import NamedTuple

from ..backend import Array, get_array_module, op
from .checks import CHANNELS_LAST, check_array, check_gradient, check_like
from .sums import sum_over_pixels


class BatchNormSaved(NamedTuple):
    """What batch_norm_backward needs. The layer makes its moving averages of `mean` and `var`."""

    x: Array  # [..., C]
    gamma: Array  # [C]
    mean: Array  # [C], of the batch
    var: Array  # [C], of the batch, biased: divided by the number of values
    inv_std: Array  # [C], 1 / sqrt(var + epsilon)


class BatchNormInferenceSaved(NamedTuple):
    """What batch_norm_inference_backward needs."""

    x: Array  # [..., C]
    gamma: Array  # [C]
    mean: Array  # [C], the moving one
    inv_std: Array  # [C], of the moving variance


def check_batch_norm(x: Array, **per_channel: Array) -> None:
    """x [..., C] of floats; gamma, beta, and the moving averages [C] of the same dtype."""
    check_array("x", x, CHANNELS_LAST)
    for name, value in per_channel.items():
        check_like(name, value, x.shape[-1:], x.dtype, "as x has channels")


def values_per_channel(x: Array) -> int:
    """How many values a channel has; 1 for an empty batch, so that its statistics are zeros and not 0/0."""
    count: int = x.size // max(x.shape[-1], 1)
    return max(count, 1)


@op
def batch_norm_forward(x: Array, gamma: Array, beta: Array, epsilon: float = 1e-5) -> tuple[Array, BatchNormSaved]:
    """y = gamma * (x - mean) / sqrt(var + epsilon) + beta, with mean and (biased) var of each channel over the batch.

    x, y [..., C], float32 or float64; gamma, beta [C] of the same dtype. Raises ValueError. Ioffe & Szegedy 2015, algorithm 1.
    """
    check_batch_norm(x, gamma=gamma, beta=beta)
    n = values_per_channel(x)
    mean = sum_over_pixels(x) / n
    y = x - mean
    var = sum_over_pixels(y * y) / n  # of the centred values: E[x^2] - mean^2 would cancel
    inv_std = 1 / get_array_module(x).sqrt(var + float(epsilon))
    y *= gamma * inv_std
    y += beta
    return y, BatchNormSaved(x, gamma, mean, var, inv_std)


@op
def batch_norm_backward(dy: Array, saved: BatchNormSaved) -> tuple[Array, Array, Array]:
    """dy [..., C] -> dx [..., C], dgamma [C], dbeta [C].

    With xhat = (x - mean) / sqrt(var + epsilon), and mean(.) over the n values of a channel:
    dx = gamma * inv_std * (dy - mean(dy) - xhat * mean(dy * xhat)): the two means are there because mean and var depend on every x.
    """
    x, gamma, mean, _, inv_std = saved
    check_gradient(dy, x.shape, x.dtype)
    n = values_per_channel(x)
    xhat = x - mean
    xhat *= inv_std
    dbeta = sum_over_pixels(dy)
    dgamma = sum_over_pixels(dy * xhat)
    dx = xhat  # in place from here: dy - mean(dy) - xhat * mean(dy * xhat)
    dx *= dgamma / -n
    dx += dy
    dx -= dbeta / n
    dx *= gamma * inv_std
    return dx, dgamma, dbeta


@op
def batch_norm_inference_forward(
    x: Array, gamma: Array, beta: Array, moving_mean: Array, moving_variance: Array, epsilon: float = 1e-5
) -> tuple[Array, BatchNormInferenceSaved]:
    """y = gamma * (x - moving_mean) / sqrt(moving_variance + epsilon) + beta: one scale and one shift for each channel.

    x, y [..., C], float32 or float64; the others [C] of the same dtype. Raises ValueError.
    """
    check_batch_norm(x, gamma=gamma, beta=beta, moving_mean=moving_mean, moving_variance=moving_variance)
    inv_std = 1 / get_array_module(x).sqrt(moving_variance + float(epsilon))
    y = x - moving_mean
    y *= gamma * inv_std
    y += beta
    return y, BatchNormInferenceSaved(x, gamma, moving_mean, inv_std)


@op
def batch_norm_inference_backward(dy: Array, saved: BatchNormInferenceSaved) -> tuple[Array, Array, Array]:
    """dy [..., C] -> dx [..., C], dgamma [C], dbeta [C]. The averages are constants here: dx = gamma * inv_std * dy."""
    x, gamma, mean, inv_std = saved
    check_gradient(dy, x.shape, x.dtype)
    xhat = (x - mean) * inv_std
    return dy * (gamma * inv_std), sum_over_pixels(dy * xhat), sum_over_pixels(dy)
