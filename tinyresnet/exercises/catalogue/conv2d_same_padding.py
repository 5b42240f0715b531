"""conv2d_same_padding: why TF-Slim pads by hand before a convolution with a stride."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from ...ops.checks import Pair
from ..exercise import Case, Exercise, Mistake, Output, Rng
from ..language import Text

TASK = Text(
    en="""\
Along one axis, TensorFlow's SAME pads as little as it needs for ceil(size / stride) windows, half before and half after;
where the number is odd, the odd pixel goes after.

    extent = (kernel - 1) * rate + 1
    total = max((ceil(size / stride) - 1) * stride + extent - size, 0)

So with a stride the padding depends on the size: 3x3 at stride 2 pads (0, 1) on an even size and (1, 1) on an odd one, and
the windows lie elsewhere.
TF-Slim's `conv2d_same` therefore pads by hand: extent - 1 pixels for every size and every stride, half before and the rest
after, and then convolves VALID.

Write `conv2d_same_padding(size, kernel, stride, rate)`, all integers >= 1.

- Return two pairs: (before, after) of conv2d_same, and (before, after) of SAME.
""",
    zh="""\
沿一个轴看，TensorFlow 的 SAME 只填充恰好够放 ceil(size / stride) 个窗口的像素，前后各一半；总数为奇数时，多出的一个放在后面。

    extent = (kernel - 1) * rate + 1
    total = max((ceil(size / stride) - 1) * stride + extent - size, 0)

所以步长大于 1 时，填充取决于图像大小：3x3、步长 2，在偶数大小上填充 (0, 1)，在奇数大小上填充 (1, 1)，窗口的位置也就不同。
TF-Slim 的 `conv2d_same` 因此自己填充：不论大小和步长，总共 extent - 1 个像素，一半在前、其余在后，再做 VALID 卷积。

请写出 `conv2d_same_padding(size, kernel, stride, rate)`，参数都是 >= 1 的整数。

- 返回两对数：conv2d_same 的 (before, after)，以及 SAME 的 (before, after)。
""",
)


def conv2d_same_padding(size: int, kernel: int, stride: int, rate: int) -> tuple[Pair, Pair]:
    """size, kernel, stride, rate -> (before, after) of conv2d_same, (before, after) of SAME"""
    raise NotImplementedError("conv2d_same_padding is not written yet")


def answer(size: int, kernel: int, stride: int, rate: int) -> tuple[Pair, Pair]:
    """conv2d_same: extent - 1 in all. SAME: what the last of ceil(size / stride) windows lacks."""
    by_hand = (kernel - 1) * rate
    total = max((-(-size // stride) - 1) * stride + by_hand + 1 - size, 0)
    return (by_hand // 2, by_hand - by_hand // 2), (total // 2, total - total // 2)


def by_remainder(size: int, kernel: int, stride: int, rate: int) -> tuple[Pair, Pair]:
    """The same as TensorFlow's documentation has it: whether the stride divides the size."""
    extent = kernel + (kernel - 1) * (rate - 1)
    total = max(extent - (size % stride or stride), 0)
    before, same_before = math.floor((extent - 1) / 2), math.floor(total / 2)
    return (before, extent - 1 - before), (same_before, total - same_before)


def pixel_by_pixel(size: int, kernel: int, stride: int, rate: int) -> tuple[Pair, Pair]:
    """The same by adding zeros, after and before in turn, until the windows fit."""

    def grow(windows: int, step: int) -> Pair:
        before = after = 0
        while len(range(0, before + size + after - (kernel - 1) * rate, step)) < windows:
            before, after = (before, after + 1) if before == after else (before + 1, after)
        return before, after

    return grow(size, 1), grow(math.ceil(size / stride), stride)


_EXPLAINED = "TF-Slim, resnet_v2_test.py, testConv2DSameEven and testConv2DSameOdd: its tables come out with these only"


def cases(rng: Rng, dtype: Any) -> Iterator[Case]:
    """TF-Slim's tables, ResNet's stem, rates, even kernels, a stride larger than the kernel, and numbers drawn by chance."""
    for args, pads, about, source in (
        ((4, 3, 2, 1), ((1, 1), (0, 1)), Text("4 pixels, kernel 3, stride 2", "4 像素，3x3，步长 2"), _EXPLAINED),
        ((5, 3, 2, 1), ((1, 1), (1, 1)), Text("5 pixels, kernel 3, stride 2", "5 像素，3x3，步长 2"), _EXPLAINED),
        ((224, 7, 2, 1), ((3, 3), (2, 3)), Text("ResNet's stem on 224 pixels", "ResNet 的首层，224 像素"), "by hand"),
        ((9, 3, 1, 2), ((2, 2), (2, 2)), Text("9 pixels, kernel 3, stride 1, rate 2", "步长 1，空洞率 2"), "by hand"),
        ((8, 3, 2, 2), ((2, 2), (1, 2)), Text("8 pixels, kernel 3, stride 2, rate 2", "步长 2，空洞率 2"), "by hand"),
        ((7, 4, 1, 1), ((1, 2), (1, 2)), Text("an even kernel, stride 1", "偶数大小的卷积核，步长 1"), "by hand"),
        (
            (6, 1, 2, 1),
            ((0, 0), (0, 0)),
            Text("a kernel of 1 with stride 2, which needs no padding", "1x1，步长 2：不填充"),
            "by hand",
        ),
    ):
        yield Case(about, args, expected=pads, source=source)
    for _ in range(3):
        drawn = tuple(int(rng.integers(low, high)) for low, high in ((5, 40), (1, 8), (1, 4), (1, 4)))
        yield Case(Text("numbers drawn by chance", "随机的参数"), drawn)


def attempt(wrong: frozenset[str], size: int, kernel: int, stride: int, rate: int) -> tuple[Pair, Pair]:
    """`answer` with these mistakes made."""
    if "rate_ignored" in wrong:
        rate = 1
    extent = kernel * rate if "extent_is_kernel_times_rate" in wrong else (kernel - 1) * rate + 1
    windows = size // stride if "same_rounds_down" in wrong else -(-size // stride)
    if "one_window_too_many" in wrong:
        windows += 1
    total = (windows - 1) * stride + extent - size
    if "negative_padding" not in wrong:
        total = max(total, 0)
    if "same_does_not_look_at_the_size" in wrong:
        total = extent - 1
    if "stride_subtracted_always" in wrong:
        total = max(extent - stride, 0)
    by_hand = extent if "one_pixel_too_many" in wrong else extent - 1
    ours, same = _halves(wrong, by_hand), _halves(wrong, total)
    if "half_the_kernel" in wrong:
        ours = (kernel // 2, kernel // 2)
    return ours, same


def _halves(wrong: frozenset[str], total: int) -> Pair:
    """`total` pixels before and after, with these mistakes made."""
    before, after = total // 2, total - total // 2
    if "odd_pixel_before" in wrong:
        return after, before
    if "odd_pixel_on_both_sides" in wrong:
        return after, after
    return (before, before) if "odd_pixel_lost" in wrong else (before, after)


_SAME_LINE = Text(
    "total = max((-(-size // stride) - 1) * stride + extent - size, 0); SAME: (total // 2, total - total // 2)",
    "total = max((-(-size // stride) - 1) * stride + extent - size, 0)；SAME：(total // 2, total - total // 2)",
)
_HAND_LINE = Text(
    "total = (kernel - 1) * rate; conv2d_same: (total // 2, total - total // 2)",
    "total = (kernel - 1) * rate；conv2d_same：(total // 2, total - total // 2)",
)
_HALF_LINE = Text("before, after = total // 2, total - total // 2", "before, after = total // 2, total - total // 2")
_EXTENT_LINE = Text("extent = (kernel - 1) * rate + 1", "extent = (kernel - 1) * rate + 1")
_HAND = Text(
    "What conv2d_same pads may depend on the kernel and the rate only: then the same weights see the same pixels "
    "whatever the size and the stride, and stride 2 is stride 1 with every other result left out.",
    "conv2d_same 的填充只能取决于卷积核与空洞率：这样不论大小和步长，同样的权重看到同样的像素，步长 2 就等于步长 1 再隔一个取一个。",
)
_SAME = Text(
    "SAME asks where the last window ends: it begins at (ceil(size / stride) - 1) * stride and is extent wide. What lies "
    "beyond the picture is padding, and it is never negative.",
    "SAME 要看最后一个窗口在哪里结束：它从 (ceil(size / stride) - 1) * stride 开始，宽 extent。超出图像的部分就是填充，且不会是负数。",
)

MISTAKES = (
    Mistake(
        "same_does_not_look_at_the_size",
        Text(
            "SAME is given the padding of stride 1, extent - 1. With a stride it pads less, and how much depends on the size.",
            "给 SAME 用了步长 1 时的填充 extent - 1。有步长时它填充得更少，具体多少取决于图像大小。",
        ),
        _SAME_LINE,
    ),
    Mistake(
        "stride_subtracted_always",
        Text(
            "SAME's total is taken as extent - stride, which holds only if the stride divides the size.",
            "SAME 的总数取成了 extent - stride，只有步长整除图像大小时才成立。",
        ),
        _SAME_LINE,
    ),
    Mistake(
        "same_rounds_down",
        Text(
            "The number of windows of SAME is rounded down; it is ceil(size / stride).",
            "SAME 的窗口个数向下取整了，应为 ceil(size / stride)。",
        ),
        _SAME_LINE,
    ),
    Mistake(
        "negative_padding",
        Text(
            "max(..., 0) is missing: with a stride larger than the kernel the padding comes out negative.",
            "漏了 max(..., 0)：步长大于卷积核时，填充成了负数。",
        ),
        _SAME_LINE,
    ),
    Mistake(
        "odd_pixel_before",
        Text(
            "The odd pixel stands before. TensorFlow puts it after (ONNX calls the other way SAME_LOWER).",
            "多出的一个像素放在了前面。TensorFlow 放在后面（放在前面的做法，ONNX 叫 SAME_LOWER）。",
        ),
        _HALF_LINE,
    ),
    Mistake(
        "odd_pixel_on_both_sides",
        Text(
            "The odd pixel is added on both sides, so that the padding is symmetric: one pixel too many.",
            "多出的一个像素两边都加了，填充对称了，却多了一个。",
        ),
        _HALF_LINE,
    ),
    Mistake(
        "odd_pixel_lost",
        Text(
            "Both sides get total // 2: of an odd number one pixel is lost.",
            "两侧都是 total // 2：总数为奇数时少了一个像素。",
        ),
        _HALF_LINE,
    ),
    Mistake(
        "rate_ignored",
        Text(
            "The rate is left out: the kernel is taken to be kernel pixels wide.",
            "没有考虑空洞率：以为窗口只有 kernel 个像素宽。",
        ),
        _EXTENT_LINE,
    ),
    Mistake(
        "extent_is_kernel_times_rate",
        Text(
            "The extent is taken as kernel * rate. Between kernel pixels there are only kernel - 1 gaps.",
            "把 extent 算成了 kernel * rate。kernel 个像素之间只有 kernel - 1 个间隔。",
        ),
        _EXTENT_LINE,
    ),
    Mistake(
        "one_pixel_too_many",
        Text(
            "conv2d_same pads extent pixels, not extent - 1: at stride 1 the output would be a pixel larger than the picture.",
            "conv2d_same 填充了 extent 个像素而不是 extent - 1：步长 1 时输出会比输入大一个像素。",
        ),
        _HAND_LINE,
    ),
    Mistake(
        "half_the_kernel",
        Text(
            "conv2d_same is given kernel // 2 on both sides, PyTorch's habit. It is right for odd kernels at rate 1 only.",
            "conv2d_same 两侧各填充 kernel // 2（PyTorch 的习惯）。只有奇数卷积核且空洞率为 1 时才对。",
        ),
        _HAND_LINE,
    ),
    Mistake(
        "one_window_too_many",
        Text(
            "total is ceil(size / stride) * stride + extent - size. From the first window to the last there is one "
            "step less than there are windows.",
            "total 写成了 ceil(size / stride) * stride + extent - size。从第一个窗口到最后一个窗口，步数比窗口数少一。",
        ),
        _SAME_LINE,
    ),
)

EXERCISE = Exercise(
    name="conv2d_same_padding",
    title=Text("SAME, and what conv2d_same pads", "SAME 与 conv2d_same 的填充"),
    task=TASK,
    equation="conv2d_same: total = (kernel - 1) * rate; SAME: total = max((ceil(size / stride) - 1) * stride + extent - size, 0)",
    presupposes=("feature_map_sizes",),
    notebook="04",
    minutes=15,
    stub=conv2d_same_padding,
    answer=answer,
    also_right=(by_remainder, pixel_by_pixel),
    outputs=(
        Output("conv2d_same", "S", _HAND, _HAND_LINE, kind="integers"),
        Output("same", "S", _SAME, _SAME_LINE, kind="integers"),
    ),
    cases=cases,
    attempt=attempt,
    mistakes=MISTAKES,
    imports=(),
)
