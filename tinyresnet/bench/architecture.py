"""A net as its peers build it: its units with their strides and rates, and how many operations it takes.

Written from TF-Slim's rules a second time, so that a peer's net does not come out of the code that it is compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from .. import resnet_v2 as family
from ..backend import Array
from ..resnet_v2 import resnet_v2, resnet_v2_block
from ..slim import Variables


class Unit(NamedTuple):
    """A bottleneck unit: 1x1 to depth / 4 channels, 3x3 with the stride and the atrous rate, 1x1 to `depth`."""

    scope: str
    depth: int
    stride: int
    rate: int


class Convolution(NamedTuple):
    """One convolution of a net: `kernel` x `kernel` over `channels`, to `size` x `size` pixels of `outputs` channels."""

    kernel: int
    channels: int
    outputs: int
    size: int

    def flops(self) -> int:
        """Of one image; a multiplication and an addition are two."""
        return 2 * self.kernel**2 * self.channels * self.outputs * self.size**2


class Architecture(NamedTuple):
    """A net of the family, as it is called: `architecture(images, variables, is_training=False)`."""

    scope: str
    function: Callable[..., Any]
    blocks: tuple[tuple[int, int, int], ...]  # base depth, units, stride of the last unit
    num_classes: int = 1000
    output_stride: int | None = None
    global_pool: bool = True  # False: a row of logits for each pixel of the last map

    def __call__(self, images: Array, variables: Variables, **keywords: Any) -> Any:
        """(logits, end_points, back) of our net; no end points are kept. images [N, H, W, 3]."""
        return self.function(
            images, self.num_classes, variables=variables, collect=False, **self.keywords(), **keywords
        )

    def keywords(self) -> dict[str, Any]:
        """What the net function is told besides num_classes."""
        return {
            "output_stride": self.output_stride,
            "global_pool": self.global_pool,
            "spatial_squeeze": self.global_pool,
        }

    def units(self) -> Iterator[Unit]:
        """In order; once output_stride is reached, a stride turns into a rate for all units after it."""
        reached = None if self.output_stride is None else self.output_stride // 4  # conv1 and pool1 have taken 4
        nominal = 1
        for number, (base_depth, units, last_stride) in enumerate(self.blocks, 1):
            for unit in range(1, units + 1):
                stride = last_stride if unit == units else 1
                dense = reached is not None and nominal >= reached
                rate = nominal // reached if dense and reached is not None else 1
                name = f"{self.scope}/block{number}/unit_{unit}/bottleneck_v2"
                yield Unit(name, 4 * base_depth, 1 if dense else stride, rate)
                nominal *= stride

    def convolutions(self, size: int) -> Iterator[Convolution]:
        """Every convolution that an image of size x size goes through."""
        size = -(-size // 2)
        yield Convolution(7, 3, 64, size)
        size, channels = -(-size // 2), 64
        for unit in self.units():
            narrow, after = unit.depth // 4, -(-size // unit.stride)
            if channels != unit.depth:
                yield Convolution(1, channels, unit.depth, after)
            yield Convolution(1, channels, narrow, size)
            yield Convolution(3, narrow, narrow, after)
            yield Convolution(1, narrow, unit.depth, after)
            size, channels = after, unit.depth
        yield Convolution(1, channels, self.num_classes, 1 if self.global_pool else size)

    def flops(self, size: int) -> int:
        """Of one image's forward pass, by direct convolution, without batch norm, ReLU and pooling (1 % of it)."""
        return sum(convolution.flops() for convolution in self.convolutions(size))

    def training_flops(self, size: int) -> int:
        """Forward, d(input) and d(weights) take the same each; d(images) is not asked for."""
        first = next(self.convolutions(size))
        return 3 * self.flops(size) - first.flops()


def pool1_pads(size: int) -> tuple[int, int]:
    """SAME of a 3x3 window with stride 2, before and after: nothing before an even number of pixels."""
    total = max(2 * (-(-size // 2) - 1) + 3 - size, 0)
    return total // 2, total - total // 2


def resnet_v2_tiny(
    inputs: Array, num_classes: int | None = None, is_training: bool = True, **keywords: Any
) -> family.Net:
    """For the quick benchmark: the family's layers, thin and few."""
    blocks = [resnet_v2_block(f"block{i}", *block) for i, block in enumerate(TINY.blocks, 1)]
    return resnet_v2(inputs, blocks, num_classes, is_training, **{"scope": TINY.scope, **keywords})


def _member(units: tuple[int, int, int, int], name: str) -> Architecture:
    blocks = tuple(zip((64, 128, 256, 512), units, (2, 2, 2, 1), strict=True))
    return Architecture(name, getattr(family, name), blocks)


TINY = Architecture("resnet_v2_tiny", resnet_v2_tiny, ((4, 2, 2), (8, 2, 2), (12, 1, 1)), num_classes=10)
ARCHITECTURES = {
    "resnet_v2_tiny": TINY,
    "resnet_v2_50": _member((3, 4, 6, 3), "resnet_v2_50"),
    "resnet_v2_101": _member((3, 4, 23, 3), "resnet_v2_101"),
}


def architecture(name: str, output_stride: int | None = None) -> Architecture:
    """A member by its name. With an output_stride it is a net for dense prediction: a map of 21 logits, as for Pascal VOC."""
    found = ARCHITECTURES[name]
    if output_stride is None:
        return found
    return found._replace(output_stride=output_stride, num_classes=21, global_pool=False)
