"""Floor 3: what all ResNets share. TF-Slim: nets/resnet_utils.py, function by function; docs/resnet_utils.md explains each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from . import ops
from .backend import Array
from .ops.checks import IMAGES, Pair, check_array, positive_int
from .slim import (
    Activation,
    ArgScope,
    Chain,
    Layer,
    add_arg_scope,
    arg_scope,
    batch_norm,
    collect_named_outputs,
    conv2d,
    l2_regularizer,
    max_pool2d,
    pullback,
    relu,
    variable_scope,
    variance_scaling_initializer,
)


class Block(NamedTuple):
    """A stage of a ResNet: `unit_fn(net, **arguments)` for each entry of `args`, inside scope `scope`. TF-Slim: resnet_utils.Block.

    args: a list of dicts, one a unit; for the bottleneck unit {"depth": 256, "depth_bottleneck": 64, "stride": 1}.
    """

    scope: str
    unit_fn: Callable[..., Layer]
    args: Sequence[Mapping[str, Any]]


def subsample(inputs: Array, factor: int, scope: str | None = None) -> Layer:
    """Every factor-th pixel. inputs [N, H, W, C] -> [N, ceil(H / factor), ceil(W / factor), C]; `inputs` itself for factor 1.

    Raises ValueError. TF-Slim: resnet_utils.subsample, whose `scope` names an operation of the graph, and nothing here.
    """
    check_array("inputs", inputs, IMAGES)
    if positive_int("factor", factor) == 1:
        return inputs, pullback(lambda d_net: d_net, inputs)
    net, saved = ops.subsample_forward(inputs, factor)
    return net, pullback(lambda d_net: ops.subsample_backward(d_net, saved), net)


def conv2d_same(
    inputs: Array, num_outputs: int, kernel_size: int, stride: int, rate: int = 1, scope: str | None = None
) -> Layer:
    """A convolution whose padding does not depend on the size of the image. TF-Slim: resnet_utils.conv2d_same.

    For stride 1 it is SAME. For a larger one it pads (KE - 1) pixels, KE = kernel_size + (kernel_size - 1) * (rate - 1), half of
    them before, and then convolves VALID: the result is SAME at stride 1, subsampled. (SAME with a stride pads an even image
    after its last pixel only, which shifts what each output pixel sees.)
    inputs [N, H, W, C] -> [N, ceil(H / stride), ceil(W / stride), num_outputs]. Takes conv2d's arg_scope. Raises ValueError.
    """
    stride, rate = positive_int("stride", stride), positive_int("rate", rate)
    if stride == 1:
        return conv2d(inputs, num_outputs, kernel_size, stride=1, rate=rate, padding="SAME", scope=scope)
    pad_total = (positive_int("kernel_size", kernel_size) - 1) * rate
    pads: Pair = (pad_total // 2, pad_total - pad_total // 2)
    return conv2d(inputs, num_outputs, kernel_size, stride=stride, rate=rate, padding=(pads, pads), scope=scope)


class _Stride:
    """How dense the net still is: stack_blocks_dense's arithmetic."""

    def __init__(self, output_stride: int | None) -> None:
        self.output_stride = None if output_stride is None else positive_int("output_stride", output_stride)
        self.current, self.rate = 1, 1  # the product of the strides taken; of those not taken

    def reached(self) -> bool:
        return self.current == self.output_stride

    def take(self, stride: int) -> int:
        """The stride for a layer that asks for `stride`: that, or 1 once output_stride is reached, and then the rate grows."""
        if self.reached():
            self.rate *= stride
            return 1
        self.current *= stride
        if self.output_stride is not None and self.current > self.output_stride:
            raise ValueError("The target output_stride cannot be reached.")
        return stride


def _checked_blocks(blocks: Sequence[Block]) -> Sequence[Block]:
    if not isinstance(blocks, Sequence) or not all(isinstance(block, Block) for block in blocks):
        raise TypeError(
            f"blocks must be a list of Block(scope, unit_fn, args), as resnet_v2_block makes them, not {blocks!r:.200}"
        )
    return blocks


@add_arg_scope
def stack_blocks_dense(
    net: Array,
    blocks: Sequence[Block],
    output_stride: int | None = None,
    store_non_strided_activations: bool = False,
    outputs_collections: Any = None,
) -> Layer:
    """Block after block, unit after unit, as dense as `output_stride` asks. TF-Slim: resnet_utils.stack_blocks_dense.

    net [N, H, W, C] -> [N, ceil(H / output_stride), ceil(W / output_stride), depth of the last block]. Once the strides taken
    multiply to output_stride (None: never), a unit that asks for stride s gets stride 1, and every convolution after it is s
    times as atrous: the same weights go on seeing the same pixels (Chen et al. 2017, DeepLab, section 3.1). End points: <scope>
    of each block; store_non_strided_activations has them before the block's stride instead of after it.
    Raises ValueError if output_stride cannot be reached.
    """
    stride, back = _Stride(output_stride), Chain()
    for block in _checked_blocks(blocks):
        with variable_scope(block.scope, "block") as sc:
            block_stride, block_back = 1, Chain()
            for i, unit in enumerate(block.args):
                unit_stride = positive_int("stride", unit.get("stride", 1))
                if store_non_strided_activations and i == len(block.args) - 1:
                    block_stride, unit_stride = unit_stride, 1  # the stride moves from the last unit to the block's end
                    unit = {**unit, "stride": 1}
                with variable_scope(f"unit_{i + 1}"):
                    if stride.reached():
                        net = block_back.then(block.unit_fn(net, rate=stride.rate, **{**unit, "stride": 1}))
                        stride.take(unit_stride)
                    else:
                        stride.take(unit_stride)
                        net = block_back.then(block.unit_fn(net, rate=1, **unit))
            net = back.then(collect_named_outputs(outputs_collections, sc.name, net, block_back))
            net = back.then(subsample(net, stride.take(block_stride)))
    if output_stride is not None and not stride.reached():
        raise ValueError("The target output_stride cannot be reached.")
    return net, pullback(back, net)


def resnet_arg_scope(
    weight_decay: float = 0.0001,
    batch_norm_decay: float = 0.997,
    batch_norm_epsilon: float = 1e-5,
    batch_norm_scale: bool = True,
    activation_fn: Activation | None = relu,
    use_batch_norm: bool = True,
) -> ArgScope:
    """The defaults of a ResNet, for `with arg_scope(resnet_arg_scope(...)):`. TF-Slim: resnet_utils.resnet_arg_scope.

    weight_decay: L2 on `weights`; batch_norm_decay, _epsilon, _scale (with gamma); activation_fn after each convolution;
    use_batch_norm=False: biases in place of batch norm in the convolutions. Pooling is SAME, so that feature maps align.
    """
    batch_norm_params = {"decay": batch_norm_decay, "epsilon": batch_norm_epsilon, "scale": batch_norm_scale}
    with (
        arg_scope(
            [conv2d],
            weights_regularizer=l2_regularizer(weight_decay),
            weights_initializer=variance_scaling_initializer(),
            activation_fn=activation_fn,
            normalizer_fn=batch_norm if use_batch_norm else None,
            normalizer_params=batch_norm_params,
        ),
        arg_scope([batch_norm], **batch_norm_params),
        arg_scope([max_pool2d], padding="SAME") as scope,
    ):
        return scope
