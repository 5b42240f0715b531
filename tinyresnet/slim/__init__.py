"""Floor 2: the part of TF-Slim that ResNet needs. A layer is TF-Slim's line plus its pullback: `net, back = conv2d(net, 64, 3)`."""

from .arg_scope import ArgScope, add_arg_scope, arg_scope, current_arg_scope, under
from .end_points import Collect, EndPoints, watch
from .initializers import (
    L2Regularizer,
    l2_regularizer,
    ones_initializer,
    truncated_normal,
    variance_scaling_initializer,
    xavier_initializer,
    zeros_initializer,
)
from .layers import (
    Activation,
    Layer,
    batch_norm,
    bias_add,
    collect_named_outputs,
    conv2d,
    global_avg_pool,
    max_pool2d,
    relu,
    resize_bilinear,
    softmax,
    squeeze,
)
from .pullbacks import Back, Chain, Pullback, pullback
from .variable_scope import VariableScope, current_scope, recording, variable_scope
from .variables import Variables, default_variables, reset_default_variables

__all__ = [
    "Activation",
    "ArgScope",
    "Back",
    "Chain",
    "Collect",
    "EndPoints",
    "L2Regularizer",
    "Layer",
    "Pullback",
    "VariableScope",
    "Variables",
    "add_arg_scope",
    "arg_scope",
    "batch_norm",
    "bias_add",
    "collect_named_outputs",
    "conv2d",
    "current_arg_scope",
    "current_scope",
    "default_variables",
    "global_avg_pool",
    "l2_regularizer",
    "max_pool2d",
    "ones_initializer",
    "pullback",
    "recording",
    "relu",
    "reset_default_variables",
    "resize_bilinear",
    "softmax",
    "squeeze",
    "truncated_normal",
    "under",
    "variable_scope",
    "variance_scaling_initializer",
    "watch",
    "xavier_initializer",
    "zeros_initializer",
]
