"""Every case by its name, and which of them are meant by a pattern."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Protocol

from .demo import demo_case
from .first_call import FirstCallCase
from .ladder import ladder_cases
from .layers import convolution, layer_cases, max_pool, norm_relu
from .memory import MemoryCase
from .nets import net_case, net_cases
from .options import Options
from .peak import PeakCase
from .results import CaseResult
from .roofline import RooflineCase
from .shares import shares_cases
from .timed import Timed

BATCHES = (1, 8, 32)


class Case(Protocol):
    """Something to measure."""

    @property
    def name(self) -> str: ...
    @property
    def about(self) -> str: ...
    def measure(self, options: Options) -> CaseResult: ...


def all_cases() -> list[Case]:
    """In the order in which they run."""
    nets = [
        *net_cases("resnet_v2_50", "frozen", 224, BATCHES),
        *net_cases("resnet_v2_101", "frozen", 224, (1,)),
        *net_cases("resnet_v2_50", "frozen", 321, BATCHES, output_stride=16),
        *net_cases("resnet_v2_50", "frozen", 321, BATCHES, output_stride=8),
        *net_cases("resnet_v2_50", "unfrozen", 224, BATCHES),
        *net_cases("resnet_v2_101", "unfrozen", 224, (1,)),
        *net_cases("resnet_v2_50", "unfrozen", 321, (8,), output_stride=16),
        *net_cases("resnet_v2_50", "unfrozen", 321, (8,), output_stride=8),
        *net_cases("resnet_v2_50", "training", 224, (8, 32)),
    ]
    layers = [case for batch in BATCHES for case in _layers(batch)]
    memory = [
        *(MemoryCase("resnet_v2_50", "frozen", 224, batch) for batch in BATCHES),
        MemoryCase("resnet_v2_50", "unfrozen", 224, 8),
        MemoryCase("resnet_v2_50", "training", 224, 8),
    ]
    first = [FirstCallCase("resnet_v2_50", kind, 224) for kind in ("unfrozen", "frozen", "loaded", "training")]
    ladder: list[Case] = [*ladder_cases(), RooflineCase(), *shares_cases()]
    return [PeakCase(), *nets, *layers, demo_case(), *memory, *first, *ladder]


def quick_cases() -> list[Case]:
    """Small, so that all together take seconds: for a look at whether everything works, and for continuous integration."""
    return [
        PeakCase(),
        net_case("resnet_v2_tiny", "frozen", 33, 2, None),
        net_case("resnet_v2_tiny", "frozen", 49, 2, 8),
        net_case("resnet_v2_tiny", "unfrozen", 33, 2, None),
        net_case("resnet_v2_tiny", "training", 64, 4, None),
        *_small_layers(2),
        demo_case(),
        MemoryCase("resnet_v2_tiny", "unfrozen", 33, 2),
    ]


def _layers(batch: int) -> Iterator[Timed]:
    for size, narrow in ((56, 64), (28, 128), (14, 256), (7, 512)):
        for channels, outputs in ((4 * narrow, narrow), (narrow, 4 * narrow)):
            name, about = f"{size}-{channels}-{outputs}", f"1x1 convolution {channels} -> {outputs}, {size}x{size}"
            yield from layer_cases(f"1x1/{name}", about, *convolution(batch, size, channels, outputs, 1))
        about = f"3x3 convolution of {narrow} channels, {size}x{size}"
        yield from layer_cases(f"3x3/{size}-{narrow}", about, *convolution(batch, size, narrow, narrow, 3))
        if size > 7:
            strided = convolution(batch, size, narrow, narrow, 3, stride=2)
            yield from layer_cases(f"3x3-stride2/{size}-{narrow}", f"{about}, stride 2", *strided)
        norm_about = f"batch norm and ReLU of {4 * narrow} channels, {size}x{size}"
        yield from layer_cases(f"norm-relu/{size}-{4 * narrow}", norm_about, *norm_relu(batch, size, 4 * narrow))
    for size, narrow, rate in ((21, 512, 2), (41, 256, 2), (41, 512, 4)):  # of 321x321 at output_stride 16 and 8
        about = f"atrous 3x3 convolution of {narrow} channels, {size}x{size}, rate {rate}"
        atrous = convolution(batch, size, narrow, narrow, 3, rate=rate)
        yield from layer_cases(f"3x3-rate{rate}/{size}-{narrow}", about, *atrous)
    stem = convolution(batch, 224, 3, 64, 7, stride=2)
    yield from layer_cases("7x7-stride2/224-3-64", "conv1: 7x7 convolution 3 -> 64, 224x224, stride 2", *stem)
    yield from layer_cases("max-pool/112-64", "pool1: 3x3, 64 channels, 112x112, stride 2", *max_pool(batch, 112, 64))


def _small_layers(batch: int) -> Iterator[Timed]:
    yield from layer_cases("1x1/9-12-20", "1x1 convolution 12 -> 20, 9x9", *convolution(batch, 9, 12, 20, 1))
    yield from layer_cases("3x3/9-12", "3x3 convolution of 12 channels, 9x9", *convolution(batch, 9, 12, 12, 3))
    strided = convolution(batch, 9, 12, 12, 3, stride=2)
    yield from layer_cases("3x3-stride2/9-12", "3x3 convolution of 12 channels, 9x9, stride 2", *strided)
    atrous = convolution(batch, 9, 12, 12, 3, rate=2)
    yield from layer_cases("3x3-rate2/9-12", "atrous 3x3 convolution of 12 channels, 9x9, rate 2", *atrous)
    stem = convolution(batch, 33, 3, 16, 7, stride=2)
    yield from layer_cases("7x7-stride2/33-3-16", "7x7 convolution 3 -> 16, 33x33, stride 2", *stem)
    yield from layer_cases("norm-relu/9-20", "batch norm and ReLU of 20 channels, 9x9", *norm_relu(batch, 9, 20))
    yield from layer_cases("max-pool/16-8", "max pool 3x3, 8 channels, 16x16, stride 2", *max_pool(batch, 16, 8))


def chosen(cases: Sequence[Case], patterns: Sequence[str]) -> list[Case]:
    """Those that a pattern fits, `*` for any letters: "frozen/*/b8", "layer/3x3/*". Raises ValueError for one that fits none."""
    for pattern in patterns:
        if not any(fnmatchcase(case.name, pattern) for case in cases):
            near = difflib.get_close_matches(pattern, [case.name for case in cases], n=3)
            hint = f"; did you mean {', '.join(near)}?" if near else "; `tinyresnet bench --list` shows all"
            raise ValueError(f"--only must name cases, and {pattern!r} fits none{hint}")
    return [case for case in cases if any(fnmatchcase(case.name, pattern) for pattern in patterns)]
