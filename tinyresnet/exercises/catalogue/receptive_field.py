"""receptive_field: how much of the picture a pixel of a deep layer sees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

from ..exercise import Case, Exercise, Mistake, Output, Rng
from ..language import Text

Layer: TypeAlias = tuple[int, int, int]  # kernel, stride, rate

TASK = Text(
    en="""\
A pixel of the last feature map was computed from a patch of the picture. How many pixels wide is this patch (the receptive
field), and by how many pixels do the patches of two neighbours differ (the jump)?

Write `receptive_field(layers)`, along one axis.

- `layers`: a list of (kernel, stride, rate), convolutions or poolings, the one nearest to the picture first.
- Return two integers: size, jump. Without layers a pixel sees itself: size 1, jump 1.

Think of one layer: its kernel - 1 gaps are `rate` pixels wide, counted in pixels of the layer's input, and those are `jump`
pixels of the picture apart. Padding plays no part.
""",
    zh="""\
最后一张特征图上的一个像素，由图像中的一小块算出。这一块（感受野）有多少个像素宽？相邻两个像素的感受野又错开多少个像素（称为 jump）？

请写出 `receptive_field(layers)`，只看一个轴。

- `layers`：由 (kernel, stride, rate) 组成的列表，卷积或池化，离图像最近的在最前。
- 返回两个整数：size、jump。没有任何层时，一个像素只看到自己：size 为 1，jump 为 1。

先想一层：卷积核的 kernel - 1 个间隔各宽 `rate` 个像素，这里数的是该层输入的像素，而它们在原图中相隔 `jump` 个像素。与填充无关。
""",
)


def receptive_field(layers: list[Layer]) -> tuple[int, int]:
    """[(kernel, stride, rate), ...] -> size, jump"""
    raise NotImplementedError("receptive_field is not written yet")


def answer(layers: list[Layer]) -> tuple[int, int]:
    """size += (kernel - 1) * rate * jump; jump *= stride."""
    size = jump = 1
    for kernel, stride, rate in layers:
        size += (kernel - 1) * rate * jump
        jump *= stride
    return size, jump


def from_the_end(layers: list[Layer]) -> tuple[int, int]:
    """The same backwards: m neighbouring outputs of a layer need (m - 1) * stride + extent inputs. One, and then two."""

    def needed(pixels: int) -> int:
        for kernel, stride, rate in reversed(layers):
            pixels = (pixels - 1) * stride + (kernel - 1) * rate + 1
        return pixels

    return needed(1), needed(2) - needed(1)


def by_following(layers: list[Layer]) -> tuple[int, int]:
    """The same by following the first and the last tap of output pixels 0 and 1 down to the picture."""
    first, last, second = 0, 0, 1
    for kernel, stride, rate in layers[::-1]:
        first, last, second = first * stride, last * stride + (kernel - 1) * rate, second * stride
    return last - first + 1, second - first


def _resnet_50() -> list[Layer]:
    """Every layer of resnet_v2_50 with a window of more than a pixel or a stride: root, and the 3x3 of 3, 4, 6, 3 units."""
    layers: list[Layer] = [(7, 2, 1), (3, 2, 1)]
    for units, last_stride in ((3, 2), (4, 2), (6, 2), (3, 1)):
        layers += [(3, 1, 1)] * (units - 1) + [(3, last_stride, 1)]  # TF-Slim: the last unit has the stride
    return layers


def cases(rng: Rng, dtype: Any) -> Iterator[Case]:
    """Numbers that stand in papers, rates, even kernels, and layers drawn by chance."""
    for layers, size, jump, about, source in (
        ([], 1, 1, Text("no layers", "没有任何层"), "by definition"),
        (
            [(3, 1, 1)] * 3,
            7,
            1,
            Text("three layers of 3x3", "三个 3x3"),
            "Simonyan and Zisserman 2015, section 2.3: three 3x3 see as much as one 7x7",
        ),
        (
            _resnet_50(),
            483,
            32,
            Text("resnet_v2_50", "resnet_v2_50"),
            "Araujo et al. 2019, Computing Receptive Fields of Convolutional Neural Networks, table of TF-Slim's nets",
        ),
        (
            [(3, 1, 1), (3, 1, 2), (3, 1, 4)],
            15,
            1,
            Text("layers of rates 1, 2, 4", "空洞率 1、2、4"),
            "Yu and Koltun 2016, Multi-Scale Context Aggregation by Dilated Convolutions, figure 1",
        ),
        (
            [(4, 2, 1), (3, 3, 2), (2, 1, 3)],
            4 + 4 * 2 + 3 * 6,
            6,
            Text("layers of strides 2 and 3, with rates", "步长 2 与 3，带空洞率"),
            "by hand",
        ),
    ):
        yield Case(about, (list(layers),), expected=(size, jump), source=source)
    drawn: list[Layer] = [
        (int(rng.integers(1, 6)), int(rng.integers(1, 4)), int(rng.integers(1, 4)))
        for _ in range(int(rng.integers(2, 6)))
    ]
    yield Case(Text("layers drawn by chance", "随机的各层"), (drawn,))


def attempt(wrong: frozenset[str], layers: list[Layer]) -> tuple[int, int]:
    """`answer` with these mistakes made."""
    size, jump = (0, 1) if "starts_at_zero" in wrong else (1, 1)
    for kernel, stride, rate in layers[::-1] if "last_layer_first" in wrong else layers:
        if "rate_ignored" in wrong:
            rate = 1
        grown = kernel * rate if "extent_is_kernel_times_rate" in wrong else (kernel - 1) * rate + 1
        gaps = kernel * rate if "kernel_not_its_gaps" in wrong else grown - 1
        before = jump
        jump = jump + stride - 1 if "strides_added" in wrong else jump * stride
        if "rate_in_the_jump" in wrong:
            jump *= rate
        step = jump if "jump_updated_first" in wrong else before
        if "extent_added" in wrong:
            gaps = grown
        if "jump_forgotten" in wrong:
            step = 1
        if "own_stride_only" in wrong:
            step = stride
        size = size * grown if "extents_multiplied" in wrong else size + gaps * step
    if "jump_of_the_last_layer" in wrong:
        jump = layers[-1][1] if layers else 1
    return size, jump


_SIZE_LINE = Text(
    "size += (kernel - 1) * rate * jump    # with the jump before this layer",
    "size += (kernel - 1) * rate * jump    # 用这一层之前的 jump",
)
_JUMP_LINE = Text("jump *= stride", "jump *= stride")
_START_LINE = Text("size = jump = 1", "size = jump = 1")
_ORDER_LINE = Text(
    "for kernel, stride, rate in layers:    # from the picture upwards",
    "for kernel, stride, rate in layers:    # 从图像开始往上",
)
_SIZE = Text(
    "A layer adds its gaps to what one pixel saw already: kernel - 1 gaps, each rate pixels of its input wide, and "
    "neighbours of its input lie jump pixels of the picture apart.",
    "每一层在一个像素已看到的范围上再加上它的间隔：kernel - 1 个，每个宽 rate 个输入像素，而输入中相邻的像素在原图中相隔 jump。",
)
_JUMP = Text(
    "Neighbours of the output are stride pixels of the input apart, and each of these is jump pixels of the picture: strides multiply.",
    "输出中相邻的像素在输入中相隔 stride，而输入的每一步又是原图的 jump 个像素：步长相乘。",
)

MISTAKES = (
    Mistake(
        "jump_updated_first",
        Text(
            "The jump is multiplied by the layer's own stride before it is used. The kernel lies on the layer's input, "
            "where the old jump counts.",
            "先乘了本层的步长再用 jump。卷积核放在本层的输入上，应当用之前的 jump。",
        ),
        _SIZE_LINE,
    ),
    Mistake(
        "jump_forgotten",
        Text(
            "The gaps are counted in pixels of the layer's input and not of the picture: the factor jump is missing.",
            "间隔数的是本层输入的像素，没有换算成原图的像素：漏了因子 jump。",
        ),
        _SIZE_LINE,
    ),
    Mistake(
        "own_stride_only",
        Text(
            "The gaps are multiplied by the layer's own stride in the place of the product of those before it.",
            "间隔乘的是本层自己的步长，而不是之前各层步长的乘积。",
        ),
        _SIZE_LINE,
    ),
    Mistake(
        "rate_ignored",
        Text("The rate is left out: the gaps are rate pixels wide.", "没有考虑空洞率：每个间隔宽 rate 个像素。"),
        _SIZE_LINE,
    ),
    Mistake(
        "kernel_not_its_gaps",
        Text(
            "kernel stands in the place of kernel - 1: a 1x1 would enlarge the field.",
            "写成了 kernel 而不是 kernel - 1：那样 1x1 也会扩大感受野。",
        ),
        _SIZE_LINE,
    ),
    Mistake(
        "extent_is_kernel_times_rate",
        Text(
            "The extent is taken as kernel * rate. Between kernel pixels there are only kernel - 1 gaps.",
            "把窗口宽度算成了 kernel * rate。kernel 个像素之间只有 kernel - 1 个间隔。",
        ),
        _SIZE_LINE,
    ),
    Mistake(
        "extents_multiplied",
        Text(
            "The extents of the layers are multiplied: three 3x3 would see 27 pixels, not 7. Windows overlap, so only the gaps add up.",
            "把各层的窗口宽度相乘了：那样三个 3x3 会看到 27 个像素，而不是 7 个。窗口互相重叠，只有间隔相加。",
        ),
        _SIZE_LINE,
    ),
    Mistake(
        "starts_at_zero",
        Text(
            "size begins at 0. Without layers a pixel sees itself: 1.",
            "size 从 0 开始。没有任何层时，一个像素看到自己：应为 1。",
        ),
        _START_LINE,
    ),
    Mistake(
        "last_layer_first",
        Text(
            "The layers are walked from the last to the first with the formula for the other direction.",
            "从最后一层往前走，用的却是从前往后的公式。",
        ),
        _ORDER_LINE,
    ),
    Mistake(
        "strides_added",
        Text("The strides are added up; they multiply.", "把步长相加了，应当相乘。"),
        _JUMP_LINE,
        _JUMP,
    ),
    Mistake(
        "rate_in_the_jump",
        Text(
            "The jump is multiplied by the rate as well. A rate spreads the kernel, and leaves neighbours where they are.",
            "jump 也乘了空洞率。空洞率拉开的是卷积核，相邻输出的位置不变。",
        ),
        _JUMP_LINE,
        _JUMP,
    ),
    Mistake(
        "jump_of_the_last_layer",
        Text(
            "The jump returned is the last layer's stride, not the product of all.",
            "返回的 jump 是最后一层的步长，而不是所有步长的乘积。",
        ),
        _JUMP_LINE,
        _JUMP,
    ),
    Mistake(
        "extent_added",
        Text(
            "The whole extent (kernel - 1) * rate + 1 is added, not what it is more than the one pixel seen already.",
            "加上了整个覆盖范围 (kernel - 1) * rate + 1，而不是比已看到的那一个像素多出的部分。",
        ),
        _SIZE_LINE,
        _SIZE,
    ),
)

EXERCISE = Exercise(
    name="receptive_field",
    title=Text("The receptive field", "感受野"),
    task=TASK,
    equation="size_l = size_{l-1} + (kernel_l - 1) * rate_l * jump_{l-1}; jump_l = jump_{l-1} * stride_l",
    presupposes=("feature_map_sizes",),
    notebook="09",
    minutes=15,
    stub=receptive_field,
    answer=answer,
    also_right=(from_the_end, by_following),
    outputs=(
        Output("size", "", _SIZE, _SIZE_LINE, kind="integers"),
        Output("jump", "", _JUMP, _JUMP_LINE, kind="integers"),
    ),
    cases=cases,
    attempt=attempt,
    mistakes=MISTAKES,
    imports=(),
)
