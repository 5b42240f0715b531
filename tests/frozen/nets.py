"""Stores with no number at its initial value, and nets of several kinds to freeze."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tinyresnet import Variables, ops, resnet_v2
from tinyresnet.resnet_v2 import resnet_v2_block
from tinyresnet.slim import (
    arg_scope,
    batch_norm,
    conv2d,
    global_avg_pool,
    max_pool2d,
    relu,
    resize_bilinear,
    softmax,
    squeeze,
    variable_scope,
)

Net = Callable[..., Any]


def randomized(variables: Variables, seed: int = 0) -> Variables:
    """The same names and shapes: gamma and moving_variance positive and far from 1, beta, biases and moving_mean far from 0."""
    rng = np.random.default_rng(seed)
    for name, array in list(variables.items()):
        if name.endswith(("gamma", "moving_variance")):
            value = rng.uniform(0.3, 2, array.shape)
        elif array.ndim == 1:
            value = 0.5 * rng.standard_normal(array.shape)
        else:
            value = array
        variables[name] = value.astype(array.dtype)
    return variables


def store_for(net: Net, input_shape: tuple[int, ...], dtype: str = "float32", **keywords: Any) -> Variables:
    """A random store with all that the net asks for. The net must take `variables` and `is_training`."""
    variables = Variables()
    net(np.zeros((1, *input_shape[1:]), dtype), is_training=False, variables=variables, **keywords)
    return randomized(variables)


def pictures(shape: tuple[int, ...], dtype: str = "float32", seed: int = 1) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def relative_error(got: Any, wanted: Any) -> float:
    assert got.shape == wanted.shape
    assert got.dtype == wanted.dtype
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


def small_resnet(images: Any, num_classes: int | None = 5, units: int = 2, **keywords: Any) -> Any:
    """A ResNet v2 with all that the large ones have, in little."""
    blocks = [
        resnet_v2_block("block1", base_depth=4, num_units=units, stride=2),
        resnet_v2_block("block2", base_depth=6, num_units=units, stride=2),
        resnet_v2_block("block3", base_depth=6, num_units=units, stride=1),
    ]
    return resnet_v2.resnet_v2(images, blocks, num_classes, scope="small", **keywords)


def thin(*num_units: int) -> list[Any]:
    """In the place of resnet_v2._four_blocks: the depth of each member of the family, a sixteenth of its channels."""
    widths, strides = (4, 8, 16, 32), (2, 2, 2, 1)
    return [
        resnet_v2_block(f"block{i}", base_depth=width, num_units=units, stride=stride)
        for i, (width, units, stride) in enumerate(zip(widths, num_units, strides, strict=True), 1)
    ]


# ---- nets of one's own: images -> net, with what `freeze` passes them by name --------------------------------------------
def plain_convolutions(images: Any, *, variables: Variables, is_training: bool = False) -> Any:
    """No batch norm, biases only."""
    with variable_scope("mine", variables=variables):
        net, _ = conv2d(images, 6, 3, stride=2, scope="a")
        net, _ = conv2d(net, 5, [3, 1], padding="VALID", scope="b")
        return conv2d(net, 4, 1, activation_fn=None, scope="c")[0]


def no_biases(images: Any, *, variables: Variables, is_training: bool = False) -> Any:
    with variable_scope("mine", variables=variables):
        net, _ = conv2d(images, 6, 3, biases_initializer=None, scope="a")
        return conv2d(net, 4, 3, rate=2, biases_initializer=None, activation_fn=None, scope="b")


def pool_in_the_middle(images: Any, *, variables: Variables, is_training: bool = False) -> Any:
    with variable_scope("mine", variables=variables), arg_scope([batch_norm], is_training=is_training, scale=True):
        net, _ = conv2d(images, 6, 3, normalizer_fn=batch_norm, scope="a")
        net, _ = max_pool2d(net, 2)
        net, _ = batch_norm(net, activation_fn=relu, scope="norm")
        return conv2d(net, 4, 1, normalizer_fn=batch_norm, scope="b")[0]


def two_branches(images: Any, *, variables: Variables, is_training: bool = False) -> Any:
    """A short one and a long one, and the sum of both read by two layers."""
    with variable_scope("mine", variables=variables), arg_scope([batch_norm], is_training=is_training, scale=True):
        short, _ = conv2d(images, 6, 1, activation_fn=None, scope="short")
        long, _ = conv2d(images, 6, 3, normalizer_fn=batch_norm, scope="long1")
        long, _ = conv2d(long, 6, 3, normalizer_fn=batch_norm, activation_fn=None, scope="long2")
        both, _ = relu(ops.add(long, short))
        left, _ = conv2d(both, 3, 1, scope="left")
        right, _ = conv2d(both, 3, 3, scope="right")
        return ops.add(left, right), {}, None


def used_thrice(images: Any, *, variables: Variables, is_training: bool = False) -> Any:
    """One value read by a convolution, as its residual, and at the end."""
    with variable_scope("mine", variables=variables), arg_scope([batch_norm], is_training=is_training, scale=True):
        first, _ = conv2d(images, 4, 3, normalizer_fn=batch_norm, scope="a")
        net, _ = conv2d(first, 4, 3, activation_fn=None, scope="b")
        net = ops.add(net, first)
        net, _ = conv2d(net, 4, 1, scope="c")
        return ops.add(first, net)


def only_relu(images: Any) -> Any:
    return relu(images)


def nothing(images: Any) -> Any:
    return images


def segmentation(images: Any, *, variables: Variables, is_training: bool = False) -> Any:
    """A map of probabilities, as large as the pictures."""
    net, end_points, back = small_resnet(
        images,
        3,
        variables=variables,
        is_training=is_training,
        global_pool=False,
        spatial_squeeze=False,
        output_stride=8,
    )
    with variable_scope("small", variables=variables):
        net, _ = resize_bilinear(net, images.shape[1:3])
    return softmax(net), end_points, back


def classifier_head(images: Any, *, variables: Variables, is_training: bool = False) -> Any:
    """Vectors: squeezed in the middle, then batch norm, ReLU and softmax of a row each."""
    with variable_scope("mine", variables=variables), arg_scope([batch_norm], is_training=is_training, scale=True):
        net, _ = conv2d(images, 6, 3, scope="a")
        net, _ = global_avg_pool(net)
        net, _ = conv2d(net, 7, 1, activation_fn=None, scope="b")
        net, _ = squeeze(net)
        net, _ = batch_norm(net, activation_fn=relu, scope="norm")
        return softmax(net)


OWN_NETS: Mapping[str, Net] = {
    net.__name__: net
    for net in (
        plain_convolutions,
        no_biases,
        pool_in_the_middle,
        two_branches,
        used_thrice,
        segmentation,
        classifier_head,
    )
}
