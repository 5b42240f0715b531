"""Batch norm on compiled kernels, alone and with the ReLU that follows."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ...backend import Array
from ...kernels.cpu import batch_norm, elementwise, threads
from ...kernels.cpu.micro_kernel import RELU
from ...kernels.cpu.plan import constants, pieces
from ...kernels.cpu.template import Operand, Template
from ..batch_norm import BatchNormInferenceSaved, BatchNormSaved, check_batch_norm
from ..batch_norm_inference_relu import BatchNormInferenceReluSaved
from ..batch_norm_relu import BatchNormReluSaved
from ..checks import check_gradient
from ..relu import ReluSaved
from .arrays import KEPT, dense, pixels_of, result
from .elementwise import relu_backward

PARTS = 32  # parts that the pixels are cut into for the sums, at most
FLOATS = 8192  # elements, the least that is worth a task


def _parts(pixels: int) -> int:
    """Into how many parts the pixels are cut: the same whatever the number of threads, so that the sums are the same to the last bit."""
    return int(max(1, min(PARTS, pixels // batch_norm.BLOCK)))


def _tasks(pixels: int, c: int) -> int:
    return int(pieces(pixels, -(-FLOATS // max(c, 1)), threads.get_num_threads()))


@lru_cache(KEPT)
def _training(n: int, c: int, epsilon: float, flags: int, dtype: str, workers: int) -> Template:
    """Of n pixels: operands x, gamma, beta, y, mean, var, inv_std, scale."""
    x, gamma, beta, y, mean, var, inv_std, scale = map(Operand, range(8))
    plan, parts = Template(dtype), _parts(n)
    sums = plan.room(parts * 2 * c, 8)
    shared = dict(x=x, n=n, c=c)
    plan.add(batch_norm.statistics, 2 * c * plan.dtype.itemsize, tasks=parts, sums=sums, **shared)
    statistics = dict(mean=mean, var=var, inv_std=inv_std, scale=scale)
    joined = dict(sums=sums, split=parts, gamma=gamma, value=epsilon, **shared, **statistics)
    plan.add(batch_norm.join_statistics, tasks=pieces(c, 64, workers), **joined)
    normalized = dict(y=y, mean=mean, scale=scale, beta=beta, flags=flags, **shared)
    plan.add(batch_norm.normalize, tasks=_tasks(n, c), **normalized)
    return plan.close()


def _normalized(x: Array, gamma: Array, beta: Array, epsilon: float, flags: int) -> tuple[Array, BatchNormSaved]:
    check_batch_norm(x, gamma=gamma, beta=beta)
    y, per_channel = result(x.shape, x), result((4, x.shape[-1]), x)
    mean, var, inv_std, scale = per_channel
    template = _training(*pixels_of(x), float(epsilon), flags, x.dtype.char, threads.get_num_threads())
    template.run(dense(x), dense(gamma), dense(beta), y, mean, var, inv_std, scale)
    return y, BatchNormSaved(x, gamma, mean, var, inv_std)


@lru_cache(KEPT)
def _gradient(n: int, c: int, relu: bool, constant: bool, dtype: str, workers: int) -> Template:
    """Of n pixels: operands x, dy, dx, mean, inv_std, scale, results [4, c], and beta with relu. See `_gradients`."""
    x, dy, dx, mean, inv_std, scale, results, beta = map(Operand, range(8))
    plan, parts = Template(dtype), _parts(n)
    sums = plan.room(parts * 2 * c, 8)
    shared: dict[str, Any] = dict(x=x, dy=dy, n=n, c=c, mean=mean, scale=scale, flags=0)
    if relu:
        shared |= dict(beta=beta, flags=RELU)
    plan.add(batch_norm.gradient_sums, 2 * c * plan.dtype.itemsize, tasks=parts, sums=sums, **shared)
    joined = dict(
        n=n, c=c, sums=sums, split=parts, scale=scale, inv_std=inv_std, column_sums=results, b=int(not constant)
    )
    plan.add(batch_norm.join_gradient_sums, tasks=pieces(c, 64, workers), **joined)
    if constant:  # dx does not depend on x at all, so that an infinite x spoils nothing
        zeros = constants(plan.dtype, 0, c)
        plan.add(elementwise.scale_and_shift, tasks=_tasks(n, c), x=dy, y=dx, n=n, c=c, scale=scale, shift=zeros)
    else:
        plan.add(batch_norm.input_gradient, tasks=_tasks(n, c), dx=dx, column_sums=results, **shared)
    return plan.close()


def _gradients(
    dy: Array, x: Array, gamma: Array, mean: Array, inv_std: Array, beta: Array | None, constant: bool = False
) -> tuple[Array, Array, Array]:
    """dx, dgamma, dbeta. beta: only where a ReLU follows, to see what it let pass. constant: mean and variance do not depend on x."""
    n, c = pixels_of(x)
    scale = np.ascontiguousarray(gamma * inv_std)
    dx, results = result(x.shape, x), result((4, c), x)
    template = _gradient(n, c, beta is not None, constant, x.dtype.char, threads.get_num_threads())
    per_channel = (dense(mean), dense(inv_std), dense(scale), results)
    template.run(dense(x), dense(dy), dx, *per_channel, *(() if beta is None else (dense(beta),)))
    return dx, results[0].copy(), results[1].copy()


def batch_norm_forward(x: Array, gamma: Array, beta: Array, epsilon: float = 1e-5) -> tuple[Array, BatchNormSaved]:
    """As ops.batch_norm_forward."""
    return _normalized(x, gamma, beta, epsilon, 0)


def batch_norm_backward(dy: Array, saved: BatchNormSaved) -> tuple[Array, Array, Array]:
    """As ops.batch_norm_backward."""
    check_gradient(dy, saved.x.shape, saved.x.dtype)
    return _gradients(dy, saved.x, saved.gamma, saved.mean, saved.inv_std, None)


def batch_norm_relu_forward(
    x: Array, gamma: Array, beta: Array, epsilon: float = 1e-5
) -> tuple[Array, BatchNormReluSaved]:
    """As ops.batch_norm_relu_forward."""
    y, saved = _normalized(x, gamma, beta, epsilon, RELU)
    return y, BatchNormReluSaved(saved, ReluSaved(y), beta)


def batch_norm_relu_backward(dy: Array, saved: BatchNormReluSaved) -> tuple[Array, Array, Array]:
    """As ops.batch_norm_relu_backward."""
    (x, gamma, mean, _, inv_std), _, beta = saved
    check_gradient(dy, x.shape, x.dtype)
    if beta is None:  # of another forward pass: it alone knows what its ReLU let pass
        return batch_norm_backward(relu_backward(dy, saved.relu), saved.batch_norm)
    return _gradients(dy, x, gamma, mean, inv_std, beta)


@lru_cache(KEPT)
def _inference(n: int, c: int, flags: int, dtype: str, workers: int) -> Template:
    """Of n pixels: operands x, y, mean, scale, beta."""
    plan = Template(dtype)
    fields = {name: Operand(i) for i, name in enumerate(("x", "y", "mean", "scale", "beta"))}
    plan.add(batch_norm.normalize, tasks=_tasks(n, c), n=n, c=c, flags=flags, **fields)
    return plan.close()


def _normalized_by_averages(
    x: Array, gamma: Array, beta: Array, mean: Array, var: Array, epsilon: float, flags: int
) -> tuple[Array, BatchNormInferenceSaved]:
    check_batch_norm(x, gamma=gamma, beta=beta, moving_mean=mean, moving_variance=var)
    inv_std = 1 / np.sqrt(var + float(epsilon))
    y, scale = result(x.shape, x), dense(np.ascontiguousarray(gamma * inv_std))
    template = _inference(*pixels_of(x), flags, x.dtype.char, threads.get_num_threads())
    template.run(dense(x), y, dense(mean), scale, dense(beta))
    return y, BatchNormInferenceSaved(x, gamma, mean, inv_std)


def batch_norm_inference_forward(
    x: Array, gamma: Array, beta: Array, moving_mean: Array, moving_variance: Array, epsilon: float = 1e-5
) -> tuple[Array, BatchNormInferenceSaved]:
    """As ops.batch_norm_inference_forward."""
    return _normalized_by_averages(x, gamma, beta, moving_mean, moving_variance, epsilon, 0)


def batch_norm_inference_relu_forward(
    x: Array, gamma: Array, beta: Array, moving_mean: Array, moving_variance: Array, epsilon: float = 1e-5
) -> tuple[Array, BatchNormInferenceReluSaved]:
    """As ops.batch_norm_inference_relu_forward."""
    y, saved = _normalized_by_averages(x, gamma, beta, moving_mean, moving_variance, epsilon, RELU)
    return y, BatchNormInferenceReluSaved(saved, ReluSaved(y))


def batch_norm_inference_backward(dy: Array, saved: BatchNormInferenceSaved) -> tuple[Array, Array, Array]:
    """As ops.batch_norm_inference_backward."""
    check_gradient(dy, saved.x.shape, saved.x.dtype)
    return _gradients(dy, saved.x, saved.gamma, saved.mean, saved.inv_std, None, constant=True)


def batch_norm_inference_relu_backward(dy: Array, saved: BatchNormInferenceReluSaved) -> tuple[Array, Array, Array]:
    """As ops.batch_norm_inference_relu_backward."""
    return batch_norm_inference_backward(relu_backward(dy, saved.relu), saved.batch_norm)
