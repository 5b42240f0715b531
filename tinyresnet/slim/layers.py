"""TF-Slim's layers, each with its pullback: `net, back = conv2d(net, 64, 3)`. TF-Slim: layers.py.

Arguments, their order and their defaults are TF-Slim's. An activation function is a layer as well: it returns (net, back).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from .. import ops
from ..backend import Array, get_array_module
from ..ops.checks import CHANNELS_LAST, IMAGES, Pair, check_array, positive_int, positive_pair, shape_text
from ..ops.windows import Pads
from .arg_scope import add_arg_scope, current_arg_scope
from .initializers import Initializer, L2Regularizer, ones_initializer, xavier_initializer, zeros_initializer
from .pullbacks import Chain, pullback
from .variable_scope import VariableScope, current_scope, variable_scope

Layer: TypeAlias = tuple[Array, Any]  # (net, back): a Pullback, or None where gradients are not recorded
Activation: TypeAlias = Callable[[Array], Layer]


def collect_named_outputs(collection: Any, alias: str, output: Array, back: Any) -> Layer:
    """Puts `output` into `collection` under `alias` (a dict, or None for nowhere); its pullback can be watched under that name.

    TF-Slim: slim.utils.collect_named_outputs.
    """
    if collection is not None:
        collection[alias] = output
    return output, pullback(back, output, alias)


def relu(inputs: Array) -> Layer:
    """max(inputs, 0). inputs [...], float32 or float64. TensorFlow: tf.nn.relu."""
    net, saved = ops.relu_forward(inputs)
    return net, pullback(lambda d_net: ops.relu_backward(d_net, saved), net)


def bias_add(
    inputs: Array,
    biases_initializer: Initializer = zeros_initializer,
    biases_regularizer: L2Regularizer | None = None,
    trainable: bool = True,
) -> Layer:
    """Adds the `biases` [C] of the scope this is called in. inputs [..., C]. TF-Slim: slim.bias_add."""
    sc = current_scope()
    if sc is None:
        raise ValueError("bias_add has no scope of its own: call it inside variable_scope(...)")
    check_array("inputs", inputs, CHANNELS_LAST)
    biases = _biases(sc, inputs, inputs.shape[-1:], biases_initializer, biases_regularizer, trainable)
    net, saved = ops.bias_add_forward(inputs, biases)

    def back(d_net: Array) -> Array:
        d_inputs, d_biases = ops.bias_add_backward(d_net, saved)
        sc.add_gradient("biases", d_biases)
        return d_inputs

    return net, pullback(back, net)


def _convolve(sc: VariableScope, inputs: Array, weights: Array, biases: Array | None, **geometry: Any) -> Layer:
    """The convolution with the `weights` [KH, KW, C, K] of scope sc, and its `biases` [K], if any. geometry: stride, rate, padding."""
    saved: Any
    if biases is None:
        net, saved = ops.conv2d_forward(inputs, weights, **geometry)
        saved = _without_input_gradient(saved) if inputs is sc.stop_gradient else saved
    else:
        net, saved = ops.conv2d_bias_add_forward(inputs, weights, biases, **geometry)
        if inputs is sc.stop_gradient:
            saved = saved._replace(conv2d=_without_input_gradient(saved.conv2d))

    def back(d_net: Array) -> Array | None:
        if biases is None:
            d_inputs, d_weights = ops.conv2d_backward(d_net, saved)
        else:
            d_inputs, d_weights, d_biases = ops.conv2d_bias_add_backward(d_net, saved)
            sc.add_gradient("biases", d_biases)
        sc.add_gradient("weights", d_weights)
        return d_inputs

    return net, pullback(back, net)


def _biases(
    sc: VariableScope,
    inputs: Array,
    shape: tuple[int, ...],
    initializer: Initializer,
    regularizer: L2Regularizer | None,
    trainable: bool,
) -> Array:
    return sc.variable("biases", shape, initializer, inputs.dtype, trainable=trainable, regularizer=regularizer)


def _without_input_gradient(saved: Any) -> Any:
    """Nobody asks for d(inputs); what an override of conv2d saved is its own, and stays as it is."""
    return saved._replace(input_gradient=False) if isinstance(saved, ops.Conv2DSaved) else saved


def _check_functions(**functions: Any) -> None:
    for name, function in functions.items():
        if function is not None and not callable(function):
            raise TypeError(f"{name} must be a function or None, not {function!r}")


def _checked_layer(name: str, result: Any) -> Layer:
    """A function that a caller passes in is a layer as well; one that gives an array alone has no way back."""
    if not (isinstance(result, tuple) and len(result) == 2 and (result[1] is None or callable(result[1]))):
        raise TypeError(
            f"{name} must be a layer, which returns (net, back), as slim.relu does; it returned {type(result).__name__}"
        )
    return result[0], result[1]


def _nothing_between(params: dict[str, Any]) -> bool:
    """Whether nobody asks for what lies between conv2d's batch norm and its activation: another activation, or an end point."""
    said = {**current_arg_scope().get(batch_norm, {}), **params}
    return "activation_fn" not in said and "outputs_collections" not in said


@add_arg_scope
def conv2d(
    inputs: Array,
    num_outputs: int,
    kernel_size: int | Pair | list[int],
    stride: int | Pair = 1,
    padding: str | Pads = "SAME",
    data_format: str | None = None,
    rate: int | Pair = 1,
    activation_fn: Activation | None = relu,
    normalizer_fn: Callable[..., Layer] | None = None,
    normalizer_params: Mapping[str, Any] | None = None,
    weights_initializer: Initializer = xavier_initializer(),  # noqa: B008 (a pure function)
    weights_regularizer: L2Regularizer | None = None,
    biases_initializer: Initializer | None = zeros_initializer,
    biases_regularizer: L2Regularizer | None = None,
    reuse: bool | None = None,
    outputs_collections: Any = None,
    trainable: bool = True,
    scope: str | None = None,
) -> Layer:
    """Convolution, then normalizer_fn (or biases where there is none), then activation_fn. TF-Slim: slim.conv2d.

    inputs [N, H, W, C], float32 or float64 -> net [N, OH, OW, num_outputs]. stride, rate, padding: as ops.conv2d_forward, so
    padding may also be ((top, bottom), (left, right)). data_format: None or "NHWC". Variables: <scope>/weights, <scope>/biases;
    the default scope is Conv. biases_initializer=None leaves the biases out. Raises ValueError.
    """
    with variable_scope(scope, "Conv", reuse) as sc:
        check_array("inputs", inputs, IMAGES)
        _check_data_format(data_format)
        _check_functions(
            activation_fn=activation_fn,
            normalizer_fn=normalizer_fn,
            weights_initializer=weights_initializer,
            biases_initializer=biases_initializer,
        )
        kernel = positive_pair("kernel_size", kernel_size)
        shape = (*kernel, inputs.shape[-1], positive_int("num_outputs", num_outputs))
        weights = sc.variable(
            "weights", shape, weights_initializer, inputs.dtype, trainable=trainable, regularizer=weights_regularizer
        )
        biases = None
        if normalizer_fn is None and biases_initializer is not None:
            biases = _biases(sc, inputs, shape[-1:], biases_initializer, biases_regularizer, trainable)
        back = Chain()
        net = back.then(_convolve(sc, inputs, weights, biases, stride=stride, rate=rate, padding=padding))
        params = dict(normalizer_params or {})
        if normalizer_fn is batch_norm and _nothing_between(
            params
        ):  # one layer, so that batch norm and ReLU can be one op
            net = back.then(batch_norm(net, activation_fn=activation_fn, **params))
            activation_fn = None
        elif normalizer_fn is not None:
            net = back.then(_checked_layer("normalizer_fn", normalizer_fn(net, **params)))
        if activation_fn is not None:
            net = back.then(_checked_layer("activation_fn", activation_fn(net)))
        return collect_named_outputs(outputs_collections, sc.name, net, back)


def _update_moving_averages(sc: VariableScope, decay: float, count: int, mean: Array, var: Array) -> None:
    """moving <- moving - (1 - decay) * (moving - batch). The variance it takes is the unbiased one, as TensorFlow's fused op has it."""
    unbiased = var * (count / max(count - 1, 1))  # count: values per channel
    for leaf, batch in (("moving_mean", mean), ("moving_variance", unbiased)):
        moving = sc.variables[f"{sc.name}/{leaf}"]
        sc.update(leaf, moving - (moving - batch) * (1 - float(decay)))


@add_arg_scope
def batch_norm(
    inputs: Array,
    decay: float = 0.999,
    center: bool = True,
    scale: bool = False,
    epsilon: float = 0.001,
    activation_fn: Activation | None = None,
    is_training: bool = True,
    reuse: bool | None = None,
    outputs_collections: Any = None,
    trainable: bool = True,
    scope: str | None = None,
) -> Layer:
    """Batch norm, then activation_fn. TF-Slim: slim.batch_norm.

    inputs [..., C], float32 or float64 -> net of the same shape. In training it normalises by the batch and *replaces* the moving
    averages in the store at once (TF-Slim's updates_collections=None); else it normalises by them. center: with beta; scale:
    with gamma. decay: of the averages, 0 to 1. Variables: <scope>/{gamma, beta, moving_mean, moving_variance}; default scope
    BatchNorm. Raises ValueError, also for a training batch without any value.
    """
    with variable_scope(scope, "BatchNorm", reuse) as sc:
        _check_batch_norm(inputs, decay, epsilon, is_training)
        xp, c, dtype = get_array_module(inputs), inputs.shape[-1:], inputs.dtype
        gamma = sc.variable("gamma", c, ones_initializer, dtype, trainable=trainable) if scale else xp.ones(c, dtype)
        beta = sc.variable("beta", c, zeros_initializer, dtype, trainable=trainable) if center else xp.zeros(c, dtype)
        mean = sc.variable("moving_mean", c, zeros_initializer, dtype, trainable=False)
        var = sc.variable("moving_variance", c, ones_initializer, dtype, trainable=False)
        net: Array
        saved: Any
        norm_backward: Callable[[Array, Any], tuple[Array, Array, Array]]
        if is_training and activation_fn is relu:  # the composite: both in one op
            net, saved = ops.batch_norm_relu_forward(inputs, gamma, beta, epsilon=epsilon)
            norm_backward, batch, activation_fn = ops.batch_norm_relu_backward, saved.batch_norm, None
        elif is_training:
            net, saved = ops.batch_norm_forward(inputs, gamma, beta, epsilon=epsilon)
            norm_backward, batch = ops.batch_norm_backward, saved
        elif activation_fn is relu:
            net, saved = ops.batch_norm_inference_relu_forward(inputs, gamma, beta, mean, var, epsilon=epsilon)
            norm_backward, batch, activation_fn = ops.batch_norm_inference_relu_backward, None, None
        else:
            net, saved = ops.batch_norm_inference_forward(inputs, gamma, beta, mean, var, epsilon=epsilon)
            norm_backward, batch = ops.batch_norm_inference_backward, None
        if batch is not None:
            _update_moving_averages(sc, decay, inputs.size // c[0], batch.mean, batch.var)

        def norm_back(d_net: Array) -> Array:
            d_inputs, d_gamma, d_beta = norm_backward(d_net, saved)
            if scale:
                sc.add_gradient("gamma", d_gamma)
            if center:
                sc.add_gradient("beta", d_beta)
            return d_inputs

        back = Chain()
        net = back.then((net, pullback(norm_back, net)))
        if activation_fn is not None:
            net = back.then(_checked_layer("activation_fn", activation_fn(net)))
        return collect_named_outputs(outputs_collections, sc.name, net, back)


def _check_batch_norm(inputs: Array, decay: float, epsilon: float, is_training: bool) -> None:
    check_array("inputs", inputs, CHANNELS_LAST)
    if not 0 <= decay <= 1:
        raise ValueError(f"decay must be from 0 to 1, not {decay!r}")
    if not epsilon >= 0:
        raise ValueError(f"epsilon must be >= 0, not {epsilon!r}")
    if is_training and not inputs.size:
        raise ValueError(f"inputs of shape {shape_text(inputs.shape)} have no values to take a mean and a variance of")


@add_arg_scope
def max_pool2d(
    inputs: Array,
    kernel_size: int | Pair | list[int],
    stride: int | Pair = 2,
    padding: str = "VALID",
    data_format: str | None = None,
    outputs_collections: Any = None,
    scope: str | None = None,
) -> Layer:
    """Max pooling. inputs [N, H, W, C] -> net [N, OH, OW, C]. Raises ValueError. TF-Slim: slim.max_pool2d."""
    with variable_scope(scope, "MaxPool2D") as sc:
        check_array("inputs", inputs, IMAGES)
        _check_data_format(data_format)
        net, saved = ops.max_pool2d_forward(
            inputs, positive_pair("kernel_size", kernel_size), stride=stride, padding=padding
        )
        return collect_named_outputs(
            outputs_collections, sc.name, net, lambda d_net: ops.max_pool2d_backward(d_net, saved)
        )


def global_avg_pool(inputs: Array) -> Layer:
    """The mean of each feature map. inputs [N, H, W, C] -> net [N, 1, 1, C]. TF-Slim: tf.reduce_mean(net, [1, 2], keep_dims=True)."""
    net, saved = ops.global_avg_pool_forward(inputs)
    return net, pullback(lambda d_net: ops.global_avg_pool_backward(d_net, saved), net)


def squeeze(inputs: Array) -> Layer:
    """inputs [N, 1, 1, C] -> net [N, C]. Raises ValueError on a larger map. TF-Slim: tf.squeeze(net, [1, 2])."""
    net, saved = ops.squeeze_forward(inputs)
    return net, pullback(lambda d_net: ops.squeeze_backward(d_net, saved), net)


def resize_bilinear(inputs: Array, size: int | Pair) -> Layer:
    """inputs [N, H, W, C] -> net [N, OH, OW, C], size = (OH, OW), corners on corners. Raises ValueError.

    TensorFlow: tf.compat.v1.image.resize_bilinear(inputs, size, align_corners=True).
    """
    net, saved = ops.resize_bilinear_forward(inputs, size)
    return net, pullback(lambda d_net: ops.resize_bilinear_backward(d_net, saved), net)


def softmax(logits: Array, scope: str | None = None) -> Array:
    """Probabilities over the last axis, [..., K]; a look at the net, so it has no pullback: ops.softmax_cross_entropy trains it.

    `scope` names nothing here and is taken because TF-Slim's has it. TF-Slim: slim.softmax.
    """
    return ops.softmax(logits)


def _check_data_format(data_format: str | None) -> None:
    if data_format not in (None, "NHWC"):
        raise ValueError(f'data_format must be None or "NHWC", the only layout here, not {data_format!r}')
