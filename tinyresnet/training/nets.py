"""The net of a config: one function from pictures to logits, whatever the task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import resnet_v2 as family
from ..backend import Array, to_device
from ..resnet_utils import conv2d_same, resnet_arg_scope
from ..resnet_v2 import resnet_v2, resnet_v2_block
from ..slim import Chain, Collect, Variables, arg_scope, conv2d, resize_bilinear, variable_scope
from .config import Config, NetConfig

Logits = tuple[Array, dict[str, Array], Callable[[Array], None] | None]


class Net:
    """A ResNet v2 as `config` describes it: `logits, end_points, back = net(images, variables, is_training=True)`.

    images [N, H, W, C], float32 or float64, normalised. logits [N, K]; for task segment [N, H, W, K], one row a pixel.
    back(d_logits) fills variables.gradients; it is None without gradients, which are made in training (or as `gradients` says).
    scope       the first part of every variable's name, as "resnet_v2_small"
    num_blocks  end points are <scope>/block1 to <scope>/block<num_blocks>; `collect` says which are kept
    """

    def __init__(self, config: Config, num_classes: int) -> None:
        self.config, self.num_classes = config, num_classes
        self.scope = config.net.name
        self.num_blocks = len(config.net.base_depths) if config.net.name == "resnet_v2_small" else 4

    def __call__(
        self,
        images: Array,
        variables: Variables,
        *,
        is_training: bool,
        collect: Collect = False,
        gradients: bool | None = None,
    ) -> Logits:
        """One pass; see the class. Raises ValueError for images that the net cannot take."""
        training, back = self.config.training, Chain()
        recorded = is_training if gradients is None else gradients
        said: dict[str, Any] = {
            "is_training": is_training,
            "collect": collect,
            "gradients": recorded,
            "variables": variables,
        }
        if self.config.task == "segment":
            said |= {
                "global_pool": False,
                "spatial_squeeze": False,
                "output_stride": self.config.net.output_stride or None,
            }
        with arg_scope(
            resnet_arg_scope(weight_decay=training.weight_decay, batch_norm_decay=training.batch_norm_decay)
        ):
            if self.scope == "resnet_v2_small":
                net, end_points, root_back, resnet_back = self._small(images, said)
                back.then((net, root_back))
            else:
                resnet = getattr(family, self.scope)
                net, end_points, resnet_back = resnet(images, self.num_classes, **said, input_gradient=False)
            back.then((net, resnet_back))
            if self.config.task == "segment":
                # The coarse map of logits, brought to the size of the pictures with its corners on theirs (DeepLab does so).
                with variable_scope(self.scope, variables=variables, gradients=recorded):
                    net = back.then(resize_bilinear(net, images.shape[1:3]))
        return net, end_points, _fills_gradients(back) if recorded else None

    def _small(self, images: Array, said: dict[str, Any]) -> tuple[Array, dict[str, Array], Any, Any]:
        """For small pictures: a 3x3 convolution in the place of conv1 (7x7, stride 2) and pool1, then any blocks."""
        small = self.config.net
        scope = variable_scope(
            self.scope, variables=said["variables"], gradients=said["gradients"], stop_gradient=images
        )
        # No batch norm and no ReLU yet: each unit of a ResNet v2 begins with both.
        with scope, arg_scope([conv2d], normalizer_fn=None, activation_fn=None):
            root, root_back = conv2d_same(images, small.root_channels, 3, small.root_stride, scope="conv1")
        if said.get("output_stride"):
            said = {**said, "output_stride": small.output_stride // small.root_stride}  # what the blocks have to reach
        net, end_points, resnet_back = resnet_v2(
            root, blocks_of(small), self.num_classes, include_root_block=False, scope=self.scope, **said
        )
        return net, end_points, root_back, resnet_back

    def create_variables(self, image_shape: tuple[int, int, int], seed: int, dtype: Any = np.float32) -> Variables:
        """A new store with every variable of the net at its initial value. image_shape (H, W, C)."""
        variables = Variables(seed=seed)
        self(to_device(np.zeros((1, *image_shape), dtype)), variables, is_training=False)
        return variables


def blocks_of(small: NetConfig) -> list[Any]:
    """The blocks of resnet_v2_small: block1, block2, ... with the widths, depths and strides of the config."""
    return [
        resnet_v2_block(f"block{i}", base_depth=base_depth, num_units=units, stride=stride)
        for i, (base_depth, units, stride) in enumerate(
            zip(small.base_depths, small.units, small.strides, strict=True), 1
        )
    ]


def _fills_gradients(back: Chain) -> Callable[[Array], None]:
    """`back` without what its first layer still gives: nobody needs the gradient of the pictures."""

    def fill(d_logits: Array) -> None:
        back(d_logits)

    return fill
