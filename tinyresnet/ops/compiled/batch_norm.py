"""Batch norm on compiled kernels, alone and with the ReLU that follows."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend import Array
from ...kernels.cpu import batch_norm, elementwise, threads
from ...kernels.cpu.micro_kernel import RELU
from ...kernels.cpu.plan import Plan, constants, pieces
from ..batch_norm import BatchNormInferenceSaved, BatchNormSaved, check_batch_norm
from ..batch_norm_inference_relu import BatchNormInferenceReluSaved
from ..batch_norm_relu import BatchNormReluSaved
from ..checks import check_gradient
from ..relu import ReluSaved
from .arrays import dense, pixels_of, result
from .elementwise import relu_backward

PARTS = 32  # parts that the pixels are cut into for the sums, at most
FLOATS = 8192  # elements, the least that is worth a task


def _parts(pixels: int) -> int:
    """Into how many parts the pixels are cut: the same whatever the number of threads, so that the sums are the same to the last bit."""
    return int(max(1, min(PARTS, pixels // batch_norm.BLOCK)))


def _tasks(pixels: int, c: int) -> int:
    return int(pieces(pixels, -(-FLOATS // max(c, 1)), threads.get_num_threads()))


def _normalized(x: Array, gamma: Array, beta: Array, epsilon: float, flags: int) -> tuple[Array, BatchNormSaved]:
    check_batch_norm(x, gamma=gamma, beta=beta)
    source, (n, c) = dense(x), pixels_of(x)
    y, per_channel = result(x.shape, x), result((4, c), x)
    mean, var, inv_std, scale = per_channel
    plan, parts = Plan(x.dtype), _parts(n)
    sums = np.empty((parts, 2, c))
    shared = dict(x=source, n=n, c=c)
    plan.add(batch_norm.statistics, 2 * c * x.itemsize, tasks=parts, sums=sums, **shared)
    statistics = dict(mean=mean, var=var, inv_std=inv_std, scale=scale)
    tasks = pieces(c, 64, threads.get_num_threads())
    plan.add(
        batch_norm.join_statistics,
        tasks=tasks,
        sums=sums,
        split=parts,
        gamma=dense(gamma),
        value=float(epsilon),
        **shared,
        **statistics,
    )
    plan.add(
        batch_norm.normalize, tasks=_tasks(n, c), y=y, mean=mean, scale=scale, beta=dense(beta), flags=flags, **shared
    )
    plan.run()
    return y, BatchNormSaved(x, gamma, mean, var, inv_std)


def _gradients(
    dy: Array, x: Array, gamma: Array, mean: Array, inv_std: Array, beta: Array | None, constant: bool = False
) -> tuple[Array, Array, Array]:
    """dx, dgamma, dbeta. beta: only where a ReLU follows, to see what it let pass. constant: mean and variance do not depend on x."""
    n, c = pixels_of(x)
    source, scale = dense(x), np.ascontiguousarray(gamma * inv_std)
    dx, results = result(x.shape, x), result((4, c), x)
    plan, parts = Plan(x.dtype), _parts(n)
    sums = np.empty((parts, 2, c))
    shared: dict[str, Any] = dict(x=source, dy=dense(dy), n=n, c=c, mean=dense(mean), scale=scale, flags=0)
    if beta is not None:
        shared |= dict(beta=dense(beta), flags=RELU)
    plan.add(batch_norm.gradient_sums, 2 * c * x.itemsize, tasks=parts, sums=sums, **shared)
    joined = dict(
        n=n, c=c, sums=sums, split=parts, scale=scale, inv_std=dense(inv_std), column_sums=results, b=int(not constant)
    )
    plan.add(batch_norm.join_gradient_sums, tasks=pieces(c, 64, threads.get_num_threads()), **joined)
    if constant:  # dx does not depend on x at all, so that an infinite x spoils nothing
        zeros = constants(x.dtype, 0, c)
        plan.add(elementwise.scale_and_shift, tasks=_tasks(n, c), x=dense(dy), y=dx, n=n, c=c, scale=scale, shift=zeros)
    else:
        plan.add(batch_norm.input_gradient, tasks=_tasks(n, c), dx=dx, column_sums=results, **shared)
    plan.run()
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


def _normalized_by_averages(
    x: Array, gamma: Array, beta: Array, mean: Array, var: Array, epsilon: float, flags: int
) -> tuple[Array, BatchNormInferenceSaved]:
    check_batch_norm(x, gamma=gamma, beta=beta, moving_mean=mean, moving_variance=var)
    inv_std = 1 / np.sqrt(var + float(epsilon))
    source, (n, c) = dense(x), pixels_of(x)
    y, scale, plan = result(x.shape, x), np.ascontiguousarray(gamma * inv_std), Plan(x.dtype)
    fields = dict(x=source, y=y, n=n, c=c, mean=dense(mean), scale=scale, beta=dense(beta), flags=flags)
    plan.add(batch_norm.normalize, tasks=_tasks(n, c), **fields)
    plan.run()
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
