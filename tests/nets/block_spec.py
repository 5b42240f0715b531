"""A block of a net, in words that both this project and its PyTorch twin can build from."""

from __future__ import annotations

from typing import NamedTuple


class BlockSpec(NamedTuple):
    """TF-Slim's resnet_v2_block(scope, base_depth, num_units, stride): the stride sits in the last unit."""

    scope: str
    base_depth: int
    num_units: int
    stride: int

    def strides(self) -> list[int]:
        return [1] * (self.num_units - 1) + [self.stride]
