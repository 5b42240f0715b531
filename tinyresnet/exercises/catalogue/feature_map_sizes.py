"""feature_map_sizes: how large the picture is after each layer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, TypeAlias

from ..exercise import Case, Exercise, Mistake, Output, Rng
from ..language import Text

Layer: TypeAlias = tuple[int, int, int, str]  # kernel, stride, rate, padding

TASK = Text(
    en="""\
A picture goes through layers that slide a window over it (convolutions, poolings). How many pixels does it have along one
axis after each of them?

A window of `kernel` pixels, `rate` apart, reaches over (kernel - 1) * rate + 1 pixels: call that its extent. It moves
`stride` pixels at a time.

- VALID: no padding. As many windows as fit: floor((n - extent) / stride) + 1, which may be 0.
- SAME, TensorFlow's: padded so that there are ceil(n / stride) windows, whatever the kernel.

Write `feature_map_sizes(size, layers)`.

- `size`: an integer, the pixels of the input along the axis.
- `layers`: a list of (kernel, stride, rate, padding), padding "SAME" or "VALID", in the order in which the picture meets them.
- Return a list of integers: the size after each layer, as many as there are layers.
""",
    zh="""\
图像依次经过若干层，每层都用一个窗口在图上滑动（卷积或池化）。沿一个轴看，每层之后还有多少个像素？

窗口有 `kernel` 个像素，彼此相隔 `rate`，覆盖的范围是 (kernel - 1) * rate + 1 个像素，记作 extent。窗口每次移动 `stride` 个像素。

- VALID：不填充，能放下几个窗口就有几个：floor((n - extent) / stride) + 1，可以是 0。
- SAME（TensorFlow 的）：填充到恰好有 ceil(n / stride) 个窗口，与卷积核大小无关。

请写出 `feature_map_sizes(size, layers)`。

- `size`：整数，输入沿该轴的像素数。
- `layers`：由 (kernel, stride, rate, padding) 组成的列表，padding 为 "SAME" 或 "VALID"，顺序就是图像经过的顺序。
- 返回整数列表：每层之后的大小，有几层就有几个数。
""",
)


def feature_map_sizes(size: int, layers: list[Layer]) -> list[int]:
    """size, [(kernel, stride, rate, padding), ...] -> [size after each layer]"""
    raise NotImplementedError("feature_map_sizes is not written yet")


def answer(size: int, layers: list[Layer]) -> list[int]:
    """SAME: ceil(n / stride). VALID: floor((n - extent) / stride) + 1 with extent = (kernel - 1) * rate + 1."""
    sizes = []
    for kernel, stride, rate, padding in layers:
        if padding == "SAME":
            size = -(-size // stride)  # the ceiling, in integers
        else:
            size = (size - (kernel - 1) * rate - 1) // stride + 1
        sizes.append(size)
    return sizes


def by_counting(size: int, layers: list[Layer]) -> list[int]:
    """The same by letting the window slide: the number of places where it may begin."""
    sizes = []
    for kernel, stride, rate, padding in layers:
        last = size if padding == "SAME" else size - (kernel - 1) * rate  # it begins before this pixel
        size = len(range(0, last, stride))
        sizes.append(size)
    return sizes


def by_recursion(size: int, layers: list[Layer]) -> list[int]:
    """The same, the first layer and then the rest: both paddings are a ceiling, as TensorFlow's own formulas are."""
    if not layers:
        return []
    (kernel, stride, rate, padding), *rest = layers
    usable = size if padding == "SAME" else size - (kernel - 1) * rate
    after = math.ceil(usable / stride)
    return [after, *by_recursion(after, rest)]


_STEM: list[Layer] = [(7, 2, 1, "SAME"), (3, 2, 1, "SAME")]
_RESNET_50: list[Layer] = [*_STEM, (3, 2, 1, "SAME"), (3, 2, 1, "SAME"), (3, 2, 1, "SAME")]
_MIXED: list[Layer] = [(3, 2, 1, "VALID"), (4, 1, 2, "SAME"), (3, 1, 2, "VALID"), (2, 2, 1, "VALID"), (3, 2, 1, "SAME")]


def cases(rng: Rng, dtype: Any) -> Iterator[Case]:
    """ResNet-50 on three sizes whose results are printed elsewhere, all kinds of layers at once, and sizes drawn by chance."""
    yield Case(
        Text("ResNet-50's strided layers on 224 pixels", "ResNet-50 中带步长的各层，输入 224 像素"),
        (224, list(_RESNET_50)),
        expected=([112, 56, 28, 14, 7],),
        source="He et al. 2016, Deep Residual Learning for Image Recognition, table 1",
    )
    yield Case(
        Text("an odd size, 321 pixels", "奇数大小：321 像素"),
        (321, _RESNET_50[:4]),
        expected=([161, 81, 41, 21],),
        source="TF-Slim, resnet_v2.py: (size - 1) / output_stride + 1 for 321 = 10 * 32 + 1",
    )
    yield Case(
        Text("a VALID layer with rate 2 and an even kernel", "VALID、空洞率 2、偶数大小的卷积核"),
        (60, list(_MIXED)),
        expected=([29, 29, 25, 12, 6],),
        source="counted by hand",
    )
    yield Case(
        Text("layers of stride 3", "步长 3"),
        (22, [(3, 3, 1, "SAME"), (2, 3, 1, "VALID"), (1, 3, 1, "SAME")]),
        expected=([8, 3, 1],),
        source="counted by hand",
    )
    yield Case(
        Text("a VALID kernel larger than the map", "比特征图还大的 VALID 卷积核"),
        (2, [(3, 2, 1, "VALID")]),
        expected=([0],),
        source="counted by hand",
    )
    size = int(rng.integers(40, 90))
    layers: list[Layer] = [
        (int(rng.integers(2, 6)), int(rng.integers(1, 4)), int(rng.integers(1, 3)), str(rng.choice(["SAME", "VALID"])))
        for _ in range(3)
    ]
    yield Case(Text("a size and layers drawn by chance", "随机的大小与各层"), (size, layers))


def attempt(wrong: frozenset[str], size: int, layers: list[Layer]) -> list[int]:
    """`answer` with these mistakes made."""
    sizes = []
    n: float = size
    for kernel, stride, rate, padding in layers:
        if "size_not_carried" in wrong:
            n = size
        if "same_and_valid_exchanged" in wrong:
            padding = "VALID" if padding == "SAME" else "SAME"
        extent = (kernel - 1) * rate + 1
        if "rate_ignored" in wrong:
            extent = kernel
        if "extent_is_kernel_times_rate" in wrong:
            extent = kernel * rate
        if padding == "SAME":
            n = _same(wrong, n, kernel, stride, extent)
        else:
            places = (n - extent) / stride
            if "fractions_carried" not in wrong:
                places = math.ceil(places) if "valid_rounds_up" in wrong else math.floor(places)
            if "truncated" in wrong:
                places = int((n - extent) / stride)
            n = places if "plus_one_forgotten" in wrong else places + 1
        sizes.append(math.floor(n))
    if "input_size_listed_too" in wrong:
        sizes.insert(0, size)
    return sizes[-1:] if "only_the_last_size" in wrong else sizes


def _same(wrong: frozenset[str], n: float, kernel: int, stride: int, extent: int) -> float:
    """The size after a SAME layer, with these mistakes made."""
    if "same_keeps_the_size" in wrong:
        return n
    if "same_pads_half_the_kernel" in wrong:
        return (n + 2 * (kernel // 2) - extent) // stride + 1
    if "same_rounds_to_nearest" in wrong:
        return round(n / stride)
    return n // stride if "same_rounds_down" in wrong else math.ceil(n / stride)


_SAME_LINE = Text(
    "SAME: size = -(-size // stride)    # ceil(size / stride), whatever the kernel",
    "SAME：size = -(-size // stride)    # 即 ceil(size / stride)，与卷积核无关",
)
_VALID_LINE = Text(
    "VALID: size = (size - ((kernel - 1) * rate + 1)) // stride + 1",
    "VALID：size = (size - ((kernel - 1) * rate + 1)) // stride + 1",
)
_LOOP_LINE = Text(
    "for kernel, stride, rate, padding in layers: size = ... size ...; sizes.append(size)",
    "for kernel, stride, rate, padding in layers: size = ... size ...; sizes.append(size)",
)
_LINE = Text(f"{_SAME_LINE.en}\n{_VALID_LINE.en}", f"{_SAME_LINE.zh}\n{_VALID_LINE.zh}")
_CONCEPT = Text(
    "Count the places where a window may begin: every stride-th pixel. SAME lets it begin at any pixel of the picture, "
    "VALID only where the whole window still fits.",
    "数一数窗口可以从哪些位置开始：每隔 stride 个像素一个。SAME 允许从图中任何像素开始，VALID 只允许整个窗口放得下的位置。",
)
_CHAIN = Text(
    "Each layer sees what the layer before it left over, and gives one number.",
    "每一层看到的是上一层留下的大小，并且只给出一个数。",
)

MISTAKES = (
    Mistake(
        "same_rounds_down",
        Text(
            "SAME rounds down. On an odd size the last pixel has a window of its own, so it rounds up.",
            "SAME 向下取整了。大小为奇数时，最后一个像素也有自己的窗口，应向上取整。",
        ),
        _SAME_LINE,
    ),
    Mistake(
        "same_keeps_the_size",
        Text(
            "SAME is taken at its word: the size stays. That is so at stride 1 only.",
            "按字面理解 SAME，以为大小不变。只有步长为 1 时才如此。",
        ),
        _SAME_LINE,
    ),
    Mistake(
        "same_pads_half_the_kernel",
        Text(
            "SAME is computed as kernel // 2 pixels on both sides, as one pads in PyTorch. With a rate or an even kernel "
            "that is another number.",
            "把 SAME 当成两侧各填充 kernel // 2 个像素（PyTorch 的习惯）。有空洞率或卷积核大小为偶数时，结果不同。",
        ),
        _SAME_LINE,
    ),
    Mistake(
        "rate_ignored",
        Text(
            "VALID takes the window to be kernel pixels wide. With a rate it reaches further.",
            "VALID 中把窗口宽度当成 kernel 个像素，而有空洞率时窗口更宽。",
        ),
        _VALID_LINE,
    ),
    Mistake(
        "extent_is_kernel_times_rate",
        Text(
            "The extent is taken as kernel * rate. Between kernel pixels there are only kernel - 1 gaps.",
            "把 extent 算成了 kernel * rate。kernel 个像素之间只有 kernel - 1 个间隔。",
        ),
        _VALID_LINE,
    ),
    Mistake(
        "plus_one_forgotten",
        Text(
            "The + 1 of VALID is missing: (n - extent) // stride counts the moves of the window, not its places.",
            "VALID 少了 + 1：(n - extent) // stride 数的是窗口移动的次数，不是位置的个数。",
        ),
        _VALID_LINE,
    ),
    Mistake(
        "valid_rounds_up",
        Text(
            "VALID rounds up before the + 1, so that the last window hangs over the edge.",
            "VALID 在 + 1 之前向上取整，最后一个窗口超出了边缘。",
        ),
        _VALID_LINE,
    ),
    Mistake(
        "fractions_carried",
        Text(
            "The division of VALID is not rounded before the next layer: half pixels go on (/ in the place of //).",
            "VALID 的除法在进入下一层之前没有取整，半个像素被带了下去（应是 //，写成了 /）。",
        ),
        _VALID_LINE,
    ),
    Mistake(
        "size_not_carried",
        Text(
            "Every layer is computed from the size of the input and not from that of the layer before.",
            "每层都从最初的输入大小算起，没有用上一层的结果。",
        ),
        _LOOP_LINE,
        _CHAIN,
    ),
    Mistake(
        "input_size_listed_too",
        Text("The list begins with the size of the input.", "列表开头多了输入的大小。"),
        _LOOP_LINE,
        _CHAIN,
    ),
    Mistake(
        "only_the_last_size",
        Text("Only the last size is returned, not one for each layer.", "只返回了最后的大小，没有给出每一层的。"),
        _LOOP_LINE,
        _CHAIN,
    ),
    Mistake(
        "same_rounds_to_nearest",
        Text(
            "SAME is rounded to the nearest integer: round(n / stride). A last window that is only half on the picture "
            "still counts.",
            "SAME 四舍五入了：round(n / stride)。最后一个窗口哪怕只有一部分在图上，也要算。",
        ),
        _SAME_LINE,
    ),
    Mistake("same_and_valid_exchanged", Text("SAME and VALID are exchanged.", "SAME 与 VALID 弄反了。"), _LINE),
    Mistake(
        "truncated",
        Text(
            "int() cuts the fraction off, and so rounds a negative number up: where no window fits, one is counted. "
            "// rounds down.",
            "int() 去掉小数部分，所以负数是向上取整的：一个窗口也放不下时却数出了一个。应当用向下取整的 //。",
        ),
        _VALID_LINE,
    ),
)

EXERCISE = Exercise(
    name="feature_map_sizes",
    title=Text("Sizes of feature maps", "特征图的大小"),
    task=TASK,
    equation="SAME: ceil(n / stride); VALID: floor((n - ((kernel - 1) * rate + 1)) / stride) + 1",
    presupposes=(),
    notebook="00",
    minutes=10,
    stub=feature_map_sizes,
    answer=answer,
    also_right=(by_counting, by_recursion),
    outputs=(Output("sizes", "L", _CONCEPT, _LINE, kind="integers"),),
    cases=cases,
    attempt=attempt,
    mistakes=MISTAKES,
    imports=(),
)
