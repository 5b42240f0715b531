"""Floor 4: ResNet v2, the pre-activation ResNet of He et al. 2016, "Identity Mappings in Deep Residual Networks".

TF-Slim: nets/resnet_v2.py, function by function; docs/resnet_v2.md explains each. Where TF-Slim returns (net, end_points), these
return (net, end_points, back): back(d_net) gives d(inputs) and adds the gradient of every variable to `variables.gradients`.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from . import ops
from .backend import Array
from .ops.checks import IMAGES, check_array, positive_int, shape_text
from .resnet_utils import Block, conv2d_same, resnet_arg_scope, stack_blocks_dense, subsample
from .slim import (
    ArgScope,
    Chain,
    Collect,
    EndPoints,
    Layer,
    Pullback,
    Variables,
    add_arg_scope,
    arg_scope,
    batch_norm,
    collect_named_outputs,
    conv2d,
    current_scope,
    global_avg_pool,
    max_pool2d,
    pullback,
    relu,
    softmax,
    squeeze,
    under,
    variable_scope,
)

Net = tuple[Array, dict[str, Array], "Pullback | None"]


@add_arg_scope
def bottleneck(
    inputs: Array,
    depth: int,
    depth_bottleneck: int,
    stride: int,
    rate: int = 1,
    outputs_collections: Any = None,
    scope: str | None = None,
) -> Layer:
    """A unit: shortcut(x) + conv3(conv2(conv1(preact(x)))), where preact is batch norm and ReLU. TF-Slim: resnet_v2.bottleneck.

    inputs [N, H, W, C] -> [N, ceil(H / stride), ceil(W / stride), depth]. 1x1 convolutions lead to depth_bottleneck channels and back
    to depth; the 3x3 between them has the stride and the atrous rate. The shortcut is `inputs` itself (subsampled) if C == depth,
    else a 1x1 convolution of preact. He et al. 2016, equation 1 with f = identity, figure 4 (e).
    """
    with variable_scope(scope, "bottleneck_v2") as sc:
        check_array("inputs", inputs, IMAGES)
        depth_in = inputs.shape[-1]
        preact, preact_back = batch_norm(inputs, activation_fn=relu, scope="preact")
        if depth == depth_in:
            shortcut, shortcut_back = subsample(inputs, stride, "shortcut")
        else:
            shortcut, shortcut_back = conv2d(
                preact, depth, [1, 1], stride=stride, normalizer_fn=None, activation_fn=None, scope="shortcut"
            )

        residual, conv1_back = conv2d(preact, depth_bottleneck, [1, 1], stride=1, scope="conv1")
        residual, conv2_back = conv2d_same(residual, depth_bottleneck, 3, stride, rate=rate, scope="conv2")
        residual, conv3_back = conv2d(
            residual, depth, [1, 1], stride=1, normalizer_fn=None, activation_fn=None, scope="conv3"
        )

        output = ops.add(shortcut, residual)

        def back(d_output: Array) -> Any:  # read it upwards: the forward pass in a mirror
            d_residual = conv3_back(d_output)  # an addition hands its gradient to both sides
            d_residual = conv2_back(d_residual)
            d_preact = conv1_back(d_residual)
            d_shortcut = shortcut_back(d_output)
            if depth == depth_in:
                return ops.add(preact_back(d_preact), d_shortcut)  # the branches left at `inputs`
            return preact_back(ops.add(d_preact, d_shortcut))  # the branches left at `preact`

        return collect_named_outputs(outputs_collections, sc.name, output, back)


def resnet_v2(
    inputs: Array,
    blocks: Sequence[Block],
    num_classes: int | None = None,
    is_training: bool = True,
    global_pool: bool = True,
    output_stride: int | None = None,
    include_root_block: bool = True,
    spatial_squeeze: bool = True,
    reuse: bool | None = None,
    scope: str | None = None,
    *,
    variables: Variables | None = None,
    collect: Collect = True,
    gradients: bool | None = None,
    input_gradient: bool = True,
) -> Net:
    """A ResNet v2 of these blocks -> (net, end_points, back). TF-Slim: resnet_v2.resnet_v2; docs/resnet_v2.md has every argument.

    inputs [N, H, W, C], float32 or float64. net: [N, num_classes] logits; without spatial_squeeze [N, 1, 1, num_classes]; without
    global_pool a map [N, H', W', num_classes], H' = ceil(H / output_stride); without num_classes (None or 0) the features.
    include_root_block: begin with conv1 (7x7, stride 2) and pool1. variables: the store (None: the process's own);
    collect: which end points to keep, True, False or names; gradients: whether to make `back`, else None (default: as the enclosing
    scope says, or is_training); input_gradient=False: `back` skips d(inputs) and gives None. Raises ValueError.
    """
    num_classes = _check_arguments(inputs, num_classes, output_stride)
    end_points, recorded = EndPoints(collect), _recorded(gradients, is_training)
    no_gradient = None if input_gradient else inputs
    with (
        variable_scope(
            scope, "resnet_v2", reuse, variables=variables, gradients=recorded, stop_gradient=no_gradient
        ) as sc,
        arg_scope(under(_default_arg_scope())),
        arg_scope([conv2d, bottleneck, stack_blocks_dense], outputs_collections=end_points),
        arg_scope([batch_norm], is_training=is_training),
    ):
        net, back = inputs, Chain()
        if include_root_block:
            if output_stride is not None:
                if output_stride % 4 != 0:
                    raise ValueError("The output_stride needs to be a multiple of 4.")
                output_stride //= 4
            with arg_scope([conv2d], activation_fn=None, normalizer_fn=None):  # the first unit's preact has both
                net = back.then(conv2d_same(net, 64, 7, stride=2, scope="conv1"))
            net = back.then(max_pool2d(net, [3, 3], stride=2, scope="pool1"))
        net = back.then(stack_blocks_dense(net, blocks, output_stride))
        net = back.then(batch_norm(net, activation_fn=relu, scope="postnorm"))  # the last unit ended with neither
        if global_pool:
            net = back.then(collect_named_outputs(end_points, "global_pool", *global_avg_pool(net)))
        if num_classes:
            net = back.then(conv2d(net, num_classes, [1, 1], activation_fn=None, normalizer_fn=None, scope="logits"))
            if spatial_squeeze:
                net = back.then(collect_named_outputs(end_points, sc.name + "/spatial_squeeze", *_spatial_squeeze(net)))
            if end_points.wants("predictions"):
                end_points["predictions"] = softmax(net, scope="predictions")
        return net, end_points.finish(), pullback(back if input_gradient else lambda d_net: _nothing(back(d_net)), net)


def _check_arguments(inputs: Array, num_classes: int | None, output_stride: int | None) -> int:
    """What can be said before anything is computed. Returns num_classes with 0 for None."""
    check_array("inputs", inputs, IMAGES)
    if min(inputs.shape) < 1:
        raise ValueError(
            "inputs must have at least one image, of at least 1x1 pixels and one channel, [N, H, W, C]; "
            f"their shape is {shape_text(inputs.shape)}"
        )
    if output_stride is not None:
        positive_int("output_stride", output_stride)
    try:
        classes = operator.index(0 if num_classes is None else num_classes)
    except TypeError:
        classes = -1
    if classes < 0 or isinstance(num_classes, bool):
        raise ValueError(f"num_classes must be an integer >= 0 or None (0 and None: no logits), not {num_classes!r}")
    return classes


def _recorded(gradients: bool | None, is_training: bool) -> bool:
    """Whether to make pullbacks: as the argument says, else the enclosing scope, else in training only."""
    outer = current_scope()
    said = gradients if gradients is not None or outer is None else outer.gradients
    return bool(is_training if said is None else said)


def _default_arg_scope() -> ArgScope:
    """resnet_arg_scope(), to be put under the caller's. Its normalizer_params say what [batch_norm] says as well, and would win
    over a caller's `arg_scope([batch_norm], ...)`: left out."""
    scope = resnet_arg_scope()
    return {**scope, conv2d: {name: value for name, value in scope[conv2d].items() if name != "normalizer_params"}}


def _spatial_squeeze(logits: Array) -> Layer:
    if logits.shape[1:3] != (1, 1):
        raise ValueError(
            f"spatial_squeeze=True needs logits [N, 1, 1, num_classes], but they are {shape_text(logits.shape)}: "
            "set spatial_squeeze=False for a map, or global_pool=True for one vector an image"
        )
    return squeeze(logits)


def _nothing(_: Any) -> None:
    """input_gradient=False: whatever the first layer still gave is not d(inputs)."""


def resnet_v2_block(scope: str, base_depth: int, num_units: int, stride: int) -> Block:
    """A block of `num_units` bottleneck units; the *last* one has the stride. TF-Slim: resnet_v2.resnet_v2_block.

    base_depth: the bottleneck's channels; the units' depth is 4 times that (He et al. 2015, table 1). Raises ValueError.
    """
    base_depth, num_units = positive_int("base_depth", base_depth), positive_int("num_units", num_units)
    unit = {"depth": base_depth * 4, "depth_bottleneck": base_depth}
    return Block(
        scope,
        bottleneck,
        [{**unit, "stride": 1}] * (num_units - 1) + [{**unit, "stride": positive_int("stride", stride)}],
    )


def _four_blocks(*num_units: int) -> list[Block]:
    """What the members of the family differ in is how many units each block has (He et al. 2015, table 1)."""
    return [
        resnet_v2_block("block1", base_depth=64, num_units=num_units[0], stride=2),
        resnet_v2_block("block2", base_depth=128, num_units=num_units[1], stride=2),
        resnet_v2_block("block3", base_depth=256, num_units=num_units[2], stride=2),
        resnet_v2_block("block4", base_depth=512, num_units=num_units[3], stride=1),
    ]


def resnet_v2_50(
    inputs: Array,
    num_classes: int | None = None,
    is_training: bool = True,
    global_pool: bool = True,
    output_stride: int | None = None,
    spatial_squeeze: bool = True,
    reuse: bool | None = None,
    scope: str | None = "resnet_v2_50",
    *,
    variables: Variables | None = None,
    collect: Collect = True,
    gradients: bool | None = None,
    input_gradient: bool = True,
) -> Net:
    """ResNet-50 v2: blocks of 3, 4, 6, 3 units. Arguments, result and errors as resnet_v2. TF-Slim: resnet_v2.resnet_v2_50."""
    return resnet_v2(
        inputs,
        _four_blocks(3, 4, 6, 3),
        num_classes,
        is_training,
        global_pool,
        output_stride,
        include_root_block=True,
        spatial_squeeze=spatial_squeeze,
        reuse=reuse,
        scope="resnet_v2_50" if scope is None else scope,
        variables=variables,
        collect=collect,
        gradients=gradients,
        input_gradient=input_gradient,
    )


def resnet_v2_101(
    inputs: Array,
    num_classes: int | None = None,
    is_training: bool = True,
    global_pool: bool = True,
    output_stride: int | None = None,
    spatial_squeeze: bool = True,
    reuse: bool | None = None,
    scope: str | None = "resnet_v2_101",
    *,
    variables: Variables | None = None,
    collect: Collect = True,
    gradients: bool | None = None,
    input_gradient: bool = True,
) -> Net:
    """ResNet-101 v2: blocks of 3, 4, 23, 3 units. Arguments, result and errors as resnet_v2. TF-Slim: resnet_v2.resnet_v2_101."""
    return resnet_v2(
        inputs,
        _four_blocks(3, 4, 23, 3),
        num_classes,
        is_training,
        global_pool,
        output_stride,
        include_root_block=True,
        spatial_squeeze=spatial_squeeze,
        reuse=reuse,
        scope="resnet_v2_101" if scope is None else scope,
        variables=variables,
        collect=collect,
        gradients=gradients,
        input_gradient=input_gradient,
    )


def resnet_v2_152(
    inputs: Array,
    num_classes: int | None = None,
    is_training: bool = True,
    global_pool: bool = True,
    output_stride: int | None = None,
    spatial_squeeze: bool = True,
    reuse: bool | None = None,
    scope: str | None = "resnet_v2_152",
    *,
    variables: Variables | None = None,
    collect: Collect = True,
    gradients: bool | None = None,
    input_gradient: bool = True,
) -> Net:
    """ResNet-152 v2: blocks of 3, 8, 36, 3 units. Arguments, result and errors as resnet_v2. TF-Slim: resnet_v2.resnet_v2_152."""
    return resnet_v2(
        inputs,
        _four_blocks(3, 8, 36, 3),
        num_classes,
        is_training,
        global_pool,
        output_stride,
        include_root_block=True,
        spatial_squeeze=spatial_squeeze,
        reuse=reuse,
        scope="resnet_v2_152" if scope is None else scope,
        variables=variables,
        collect=collect,
        gradients=gradients,
        input_gradient=input_gradient,
    )


def resnet_v2_200(
    inputs: Array,
    num_classes: int | None = None,
    is_training: bool = True,
    global_pool: bool = True,
    output_stride: int | None = None,
    spatial_squeeze: bool = True,
    reuse: bool | None = None,
    scope: str | None = "resnet_v2_200",
    *,
    variables: Variables | None = None,
    collect: Collect = True,
    gradients: bool | None = None,
    input_gradient: bool = True,
) -> Net:
    """ResNet-200 v2: blocks of 3, 24, 36, 3 units. Arguments, result and errors as resnet_v2. TF-Slim: resnet_v2.resnet_v2_200."""
    return resnet_v2(
        inputs,
        _four_blocks(3, 24, 36, 3),
        num_classes,
        is_training,
        global_pool,
        output_stride,
        include_root_block=True,
        spatial_squeeze=spatial_squeeze,
        reuse=reuse,
        scope="resnet_v2_200" if scope is None else scope,
        variables=variables,
        collect=collect,
        gradients=gradients,
        input_gradient=input_gradient,
    )


default_image_size = 224  # pixels a side, of the images that the published weights were trained on
_net: Any
for _net in (resnet_v2, resnet_v2_50, resnet_v2_101, resnet_v2_152, resnet_v2_200):
    _net.default_image_size = default_image_size
