"""The seed's `resnet_v2` and `resnet_arg_scope` on top of the tf-slim 1.1.0 package, which is older in four places.

TF-Slim in tensorflow/models has `spatial_squeeze`, the end points `global_pool` and `<scope>/spatial_squeeze`, and the arguments
`activation_fn` and `use_batch_norm` of `resnet_arg_scope`. Nothing is computed here that the package computes itself.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import tensorflow.compat.v1 as tf
from tf_slim import layers
from tf_slim.nets import resnet_utils, resnet_v2
from tf_slim.ops.arg_scope import arg_scope


def resnet_arg_scope(activation_fn: Any = tf.nn.relu, use_batch_norm: bool = True, **arguments: Any) -> Any:
    with arg_scope(resnet_utils.resnet_arg_scope(**arguments)):
        with arg_scope(
            [layers.conv2d],
            activation_fn=activation_fn,
            normalizer_fn=layers.batch_norm if use_batch_norm else None,
        ) as scope:
            return scope


def with_newer_end_points(
    net: Any, end_points: Any, scope: str, num_classes: int | None, global_pool: bool, spatial_squeeze: bool
) -> tuple[Any, Any]:
    """(net, end_points) of the package's net, squeezed and with the end points of the newer file in its order."""
    logits = end_points.pop(scope + "/logits", None)
    end_points.pop("predictions", None)
    newer = OrderedDict(end_points)
    if global_pool:
        newer["global_pool"] = tf.get_default_graph().get_tensor_by_name(scope + "/pool5:0")
    if num_classes is not None:
        newer[scope + "/logits"] = logits
        if spatial_squeeze:
            net = tf.squeeze(net, [1, 2], name="SpatialSqueeze")
            newer[scope + "/spatial_squeeze"] = net
        newer["predictions"] = layers.softmax(net, scope="predictions")
    return net, newer


def build(function: str, images: Any, blocks: list[list[Any]] | None, arguments: dict[str, Any]) -> tuple[Any, Any]:
    """Calls the package's `resnet_v2` (with blocks) or `resnet_v2_50` and so on with the newer file's arguments."""
    given = dict(arguments)
    spatial_squeeze = given.pop("spatial_squeeze", True)
    scope = given.setdefault("scope", function)
    if function == "resnet_v2":
        net, end_points = resnet_v2.resnet_v2(images, [resnet_v2.resnet_v2_block(*b) for b in blocks or ()], **given)
    else:
        net, end_points = getattr(resnet_v2, function)(images, **given)
    return with_newer_end_points(
        net, end_points, scope, given.get("num_classes"), given.get("global_pool", True), spatial_squeeze
    )
