"""The exercises, a file each, in the order in which they are taught."""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..exercise import Exercise

NAMES = (
    "feature_map_sizes",
    "conv2d_loops",
    "im2col",
    "col2im",
    "conv2d_same_padding",
    "relu_backward",
    "bias_add_backward",
    "conv2d_weights_gradient",
    "conv2d_input_gradient",
    "conv2d_backward",
    "conv2d_bias_add_backward",
    "atrous_conv2d",
    "find_the_bug_convolution",
    "batch_norm_graph",
    "batch_norm_one_line",
    "batch_norm_backward",
    "fool_all_ones",
    "moving_average",
    "batch_norm_inference",
    "batch_norm_inference_backward",
    "batch_norm_relu_backward",
    "batch_norm_inference_relu_backward",
    "find_the_bug_batch_norm",
    "max_pool2d_backward",
    "max_pool_ties",
    "subsample_backward",
    "global_avg_pool_backward",
    "squeeze_backward",
    "softmax",
    "softmax_cross_entropy_backward",
    "resize_bilinear_backward",
    "bottleneck_backward",
    "stack_blocks_rates",
    "receptive_field",
    "weight_decay",
    "momentum_step",
)


@functools.cache
def load(name: str) -> Exercise:
    """The exercise of this name, one of NAMES."""
    exercise: Exercise = importlib.import_module(f".{name}", __name__).EXERCISE
    return exercise
