"""Floor 1: arrays in, arrays out. One file an op, forward and backward next to each other; no scopes, no variables, no state.

    y, saved = conv2d_forward(x, w, stride=1, rate=1, padding="SAME")    # saved: what backward needs, nothing more
    dx, dw   = conv2d_backward(dy, saved)

Images are NHWC, weights HWIO, float32 or float64. An op never writes to its inputs. Each name can be replaced, see backend.use.
`ops.naive` (not imported here) holds the loops one would write on paper.
"""

from .add import add
from .batch_norm import (
    BatchNormInferenceSaved,
    BatchNormSaved,
    batch_norm_backward,
    batch_norm_forward,
    batch_norm_inference_backward,
    batch_norm_inference_forward,
)
from .batch_norm_inference_relu import (
    BatchNormInferenceReluSaved,
    batch_norm_inference_relu_backward,
    batch_norm_inference_relu_forward,
)
from .batch_norm_relu import BatchNormReluSaved, batch_norm_relu_backward, batch_norm_relu_forward
from .bias_add import BiasAddSaved, bias_add_backward, bias_add_forward
from .conv2d import Conv2DSaved, conv2d_backward, conv2d_forward
from .conv2d_bias_add import Conv2DBiasAddSaved, conv2d_bias_add_backward, conv2d_bias_add_forward
from .global_avg_pool import GlobalAvgPoolSaved, global_avg_pool_backward, global_avg_pool_forward
from .max_pool2d import MaxPool2DSaved, max_pool2d_backward, max_pool2d_forward
from .relu import ReluSaved, relu_backward, relu_forward
from .resize_bilinear import ResizeBilinearSaved, resize_bilinear_backward, resize_bilinear_forward
from .softmax import (
    SoftmaxCrossEntropySaved,
    softmax,
    softmax_cross_entropy_backward,
    softmax_cross_entropy_forward,
)
from .squeeze import SqueezeSaved, squeeze_backward, squeeze_forward
from .subsample import SubsampleSaved, subsample_backward, subsample_forward

__all__ = [
    "BatchNormInferenceReluSaved",
    "BatchNormInferenceSaved",
    "BatchNormReluSaved",
    "BatchNormSaved",
    "BiasAddSaved",
    "Conv2DBiasAddSaved",
    "Conv2DSaved",
    "GlobalAvgPoolSaved",
    "MaxPool2DSaved",
    "ReluSaved",
    "ResizeBilinearSaved",
    "SoftmaxCrossEntropySaved",
    "SqueezeSaved",
    "SubsampleSaved",
    "add",
    "batch_norm_backward",
    "batch_norm_forward",
    "batch_norm_inference_backward",
    "batch_norm_inference_forward",
    "batch_norm_inference_relu_backward",
    "batch_norm_inference_relu_forward",
    "batch_norm_relu_backward",
    "batch_norm_relu_forward",
    "bias_add_backward",
    "bias_add_forward",
    "conv2d_backward",
    "conv2d_bias_add_backward",
    "conv2d_bias_add_forward",
    "conv2d_forward",
    "global_avg_pool_backward",
    "global_avg_pool_forward",
    "max_pool2d_backward",
    "max_pool2d_forward",
    "relu_backward",
    "relu_forward",
    "resize_bilinear_backward",
    "resize_bilinear_forward",
    "softmax",
    "softmax_cross_entropy_backward",
    "softmax_cross_entropy_forward",
    "squeeze_backward",
    "squeeze_forward",
    "subsample_backward",
    "subsample_forward",
]
