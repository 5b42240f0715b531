"""The ops of back end `numba`: each checks its arguments as the plain one does, and then writes Steps for kernels/cpu.

`KERNELS` maps the name of an op's half to it. An op that is not here runs its plain function.
"""

from __future__ import annotations

from collections.abc import Callable

from . import batch_norm, conv2d, elementwise, pooling

KERNELS: dict[str, Callable[..., object]] = {
    "add": elementwise.add,
    "batch_norm_backward": batch_norm.batch_norm_backward,
    "batch_norm_forward": batch_norm.batch_norm_forward,
    "batch_norm_inference_backward": batch_norm.batch_norm_inference_backward,
    "batch_norm_inference_forward": batch_norm.batch_norm_inference_forward,
    "batch_norm_inference_relu_backward": batch_norm.batch_norm_inference_relu_backward,
    "batch_norm_inference_relu_forward": batch_norm.batch_norm_inference_relu_forward,
    "batch_norm_relu_backward": batch_norm.batch_norm_relu_backward,
    "batch_norm_relu_forward": batch_norm.batch_norm_relu_forward,
    "bias_add_backward": elementwise.bias_add_backward,
    "bias_add_forward": elementwise.bias_add_forward,
    "conv2d_backward": conv2d.conv2d_backward,
    "conv2d_bias_add_backward": conv2d.conv2d_bias_add_backward,
    "conv2d_bias_add_forward": conv2d.conv2d_bias_add_forward,
    "conv2d_forward": conv2d.conv2d_forward,
    "global_avg_pool_backward": pooling.global_avg_pool_backward,
    "global_avg_pool_forward": pooling.global_avg_pool_forward,
    "max_pool2d_backward": pooling.max_pool2d_backward,
    "max_pool2d_forward": pooling.max_pool2d_forward,
    "relu_backward": elementwise.relu_backward,
    "relu_forward": elementwise.relu_forward,
    "subsample_backward": elementwise.subsample_backward,
    "subsample_forward": elementwise.subsample_forward,
}
