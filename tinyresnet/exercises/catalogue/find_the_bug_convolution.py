"""find_the_bug_convolution: a backward pass that is right most of the time. Name what is wrong, and mend it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ... import ops
from ...backend import Array
from ...ops import Conv2DSaved
from ..exercise import Case, Exercise, Mistake, Output, Rng
from ..language import Text
from . import conv2d_backward
from .conv2d_weights_gradient import Geometry, problem

NAME = "crop_on_the_wrong_side"

TASK = Text(
    en="""\
`wrong_conv2d_backward`, above your function, has one bug. A net of SAME convolutions that uses it trains well on pictures of
225x225 pixels, and worse than it should on 224x224. A gradient check of a 3x3 convolution with conv2d_same's padding finds
nothing, at any size; with SAME and stride 2 it does, at even sizes.

Find the bug, and return its name, and the gradients as they should be. The name is one of these:

- "kernel_flipped": the kernel is turned by 180 degrees
- "weights_not_transposed": dy is multiplied by w[i, j] and not by its transpose
- "kh_kw_swapped": the kernel's rows and columns are interchanged
- "overlaps_overwritten": where windows overlap, only the last one counts
- "stride_ignored": dy goes back to neighbouring pixels
- "rate_ignored": the taps lie one pixel apart
- "crop_on_the_wrong_side": the padding is cut off as if before were after
- "dw_batch_mean": dw is divided by the number of images

Write `find_the_bug_convolution(dy, saved)`; the arguments are those of conv2d_backward.

- Return name (a string), dx [N, H, W, C] and dw [KH, KW, C, K], of dy's dtype.
""",
    zh="""\
你的函数上方的 `wrong_conv2d_backward` 有一处错误。卷积都用 SAME 的网络用它训练，在 225x225 的图像上一切正常，在 224x224 上却不如预期。
对采用 conv2d_same 填充的 3x3 卷积做梯度检验，无论多大的图都查不出问题；换成 SAME、步长 2，大小为偶数时就能查出来。

请找出错误，返回它的名字，以及改正后的梯度。名字是以下之一：

- "kernel_flipped"：卷积核旋转了 180 度
- "weights_not_transposed"：dy 乘的是 w[i, j]，而不是它的转置
- "kh_kw_swapped"：卷积核的行与列互换了
- "overlaps_overwritten"：窗口重叠处只剩最后一个的贡献
- "stride_ignored"：dy 被还给了相邻的像素
- "rate_ignored"：卷积核各位置只相隔一个像素
- "crop_on_the_wrong_side"：切掉填充时前后弄反了
- "dw_batch_mean"：dw 除以了图像的个数

请写出 `find_the_bug_convolution(dy, saved)`，参数与 conv2d_backward 相同。

- 返回 name（字符串）、dx [N, H, W, C] 与 dw [KH, KW, C, K]，数据类型与 dy 相同。
""",
)


def wrong_conv2d_backward(dy: Array, saved: Conv2DSaved) -> tuple[Array, Array]:
    """dy [N, OH, OW, K] -> dx [N, H, W, C], dw [KH, KW, C, K], with a bug"""
    (kh, kw, _, _), (_, h, v, _) = saved.w.shape, saved.x.shape
    (top, bottom), (left, right) = saved.pads
    (sh, sw), (rh, rw), (_, oh, ow, _) = saved.stride, saved.rate, dy.shape
    x = np.pad(saved.x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    dx, dw = np.zeros_like(x), np.zeros_like(saved.w)
    for i in range(kh):
        for j in range(kw):
            rows = slice(i * rh, i * rh + sh * (oh - 1) + 1, sh)
            cols = slice(j * rw, j * rw + sw * (ow - 1) + 1, sw)
            dw[i, j] = np.tensordot(x[:, rows, cols], dy, axes=((0, 1, 2), (0, 1, 2)))
            dx[:, rows, cols] += dy @ saved.w[i, j].T
    return dx[:, bottom : bottom + h, right : right + v], dw


def find_the_bug_convolution(dy: Array, saved: Conv2DSaved) -> tuple[str, Array, Array]:
    """dy [N, OH, OW, K] -> name of the bug, dx [N, H, W, C], dw [KH, KW, C, K]"""
    raise NotImplementedError("find_the_bug_convolution is not written yet")


def answer(dy: Array, saved: Conv2DSaved) -> tuple[str, Array, Array]:
    """x begins at (top, left) of the padded picture. With the padding made part of x there is nothing left to crop wrongly; then crop."""
    (_, h, v, _), ((top, _), (left, _)) = saved.x.shape, saved.pads
    padded = np.pad(saved.x, ((0, 0), *saved.pads, (0, 0)))
    d_padded, dw = wrong_conv2d_backward(dy, saved._replace(x=padded, pads=((0, 0), (0, 0))))
    return "crop_on_the_wrong_side", d_padded[:, top : top + h, left : left + v], dw


def mended(dy: Array, saved: Conv2DSaved) -> tuple[str, Array, Array]:
    """The same as most will write it: the given function, with another last line."""
    (kh, kw, _, _), (_, h, v, _) = saved.w.shape, saved.x.shape
    (top, bottom), (left, right) = saved.pads
    (sh, sw), (rh, rw), (_, oh, ow, _) = saved.stride, saved.rate, dy.shape
    x = np.pad(saved.x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    dx, dw = np.zeros_like(x), np.zeros_like(saved.w)
    for i in range(kh):
        for j in range(kw):
            rows = slice(i * rh, i * rh + sh * (oh - 1) + 1, sh)
            cols = slice(j * rw, j * rw + sw * (ow - 1) + 1, sw)
            dw[i, j] = np.tensordot(x[:, rows, cols], dy, axes=((0, 1, 2), (0, 1, 2)))
            dx[:, rows, cols] += dy @ saved.w[i, j].T
    return "crop_on_the_wrong_side", dx[:, top : top + h, left : left + v], dw


def written_anew(dy: Array, saved: Conv2DSaved) -> tuple[str, Array, Array]:
    """The same without the given function, with the loops over the output's pixels."""
    return (NAME, *conv2d_backward.window_by_window(dy, saved))


SAME_ON_EVEN = Geometry(
    (1, 4, 6, 2),
    (3, 3, 2, 2),
    (2, 2),
    (1, 1),
    ((0, 1), (0, 1)),
    Text("SAME padding, stride 2, even size", "SAME，步长 2，偶数大小"),
)
BY_HAND = Geometry(
    (2, 4, 3, 2),
    (3, 3, 2, 2),
    (2, 2),
    (1, 1),
    ((1, 1), (1, 1)),
    Text("conv2d_same's padding, stride 2", "conv2d_same 的填充，步长 2"),
)
ODD_PADDING = Geometry(
    (2, 4, 3, 1),
    (2, 2, 1, 2),
    (1, 1),
    (3, 3),
    ((1, 2), (1, 2)),
    Text("a 2x2 kernel, rate 3, an odd padding", "2x2，空洞率 3：填充总数为奇数"),
)
VALID = Geometry(
    (2, 4, 3, 1),
    (2, 2, 1, 2),
    (2, 2),
    (1, 1),
    ((0, 0), (0, 0)),
    Text("images without padding, stride 2", "不填充，步长 2"),
)


def cases(rng: Rng, dtype: Any) -> Iterator[Case]:
    """Where the bug shows, where it does not, and where a crop that begins at 0 is wrong as well."""
    for geometry in (SAME_ON_EVEN, BY_HAND, ODD_PADDING, VALID):
        dy, saved = problem(rng, dtype, geometry)
        yield Case(
            geometry.about, (dy, saved), expected=(NAME, *ops.conv2d_backward(dy, saved)), source="ops.conv2d_backward"
        )


def attempt(wrong: frozenset[str], dy: Array, saved: Conv2DSaved) -> tuple[str, Array, Array]:
    """`answer` with these mistakes made."""
    named = [name for name in NOT_IT if f"named_{name}" in wrong]
    _, dx, dw = _mended(wrong, dy, saved)
    return (*named, NAME)[0], dx, dw


def _mended(wrong: frozenset[str], dy: Array, saved: Conv2DSaved) -> tuple[str, Array, Array]:
    """The gradients, mended in the wrong way."""
    if "not_mended" in wrong:
        return (NAME, *wrong_conv2d_backward(dy, saved))
    (_, h, v, _), ((top, bottom), (left, right)) = saved.x.shape, saved.pads
    padded = np.pad(saved.x, ((0, 0), *saved.pads, (0, 0)))
    d_padded, dw = wrong_conv2d_backward(dy, saved._replace(x=padded, pads=((0, 0), (0, 0))))
    if "dw_changed_too" in wrong:
        turned = np.pad(saved.x, ((0, 0), (bottom, top), (right, left), (0, 0)))
        dw = wrong_conv2d_backward(dy, saved._replace(x=turned, pads=((0, 0), (0, 0))))[1]
    if "padding_kept" in wrong:
        return NAME, d_padded, dw
    if "crop_to_minus_zero" in wrong:
        return NAME, d_padded[:, top:-bottom, left:-right], dw
    if "crop_off_by_one" in wrong:
        top, left = 0, 0
    if "crop_at_the_end" in wrong:
        top, left = top + bottom, left + right
    if "rows_mended_only" in wrong:
        left = right
    return NAME, d_padded[:, top : top + h, left : left + v], dw


# The other names of the list, and what in the given function speaks against each.
NOT_IT = {
    "kernel_flipped": Text(
        "dy is scattered with w[i, j] to the pixels that tap (i, j) saw: no flip is needed, and there is none.",
        "dy 经 w[i, j] 散布到位置 (i, j) 当时看到的像素上：不需要翻转，代码里也没有翻转。",
    ),
    "weights_not_transposed": Text(
        "The line with dx multiplies by saved.w[i, j].T: it is transposed.",
        "dx 那一行乘的是 saved.w[i, j].T：已经转置了。",
    ),
    "kh_kw_swapped": Text(
        "i goes with the rows and j with the columns, in dx and in dw.", "dx 与 dw 中，i 都对应行，j 都对应列。"
    ),
    "overlaps_overwritten": Text("The line with dx has +=: overlaps add up.", "dx 那一行用的是 +=：重叠处是相加的。"),
    "stride_ignored": Text(
        "The slices of rows and cols step by sh and sw. That the bug shows at stride 2 has another reason: what SAME pads there.",
        "rows 与 cols 的切片步长是 sh 与 sw。错误在步长 2 时出现另有原因：看看那时 SAME 怎样填充。",
    ),
    "rate_ignored": Text("The slices begin at i * rh and j * rw.", "切片从 i * rh 与 j * rw 开始。"),
    "dw_batch_mean": Text("dw is the whole sum; nothing divides it.", "dw 是完整的和，没有除以任何数。"),
}
_NAME_LINE = Text(f'return "{NAME}", dx, dw', f'return "{NAME}", dx, dw')
_CROP_LINE = Text(
    "return dx[:, top : top + h, left : left + v]    # not bottom, not right",
    "return dx[:, top : top + h, left : left + v]    # 不是 bottom，也不是 right",
)
_DW_LINE = Text("dw as wrong_conv2d_backward computes it", "dw 就用 wrong_conv2d_backward 算出的")
_NAME_CONCEPT = Text(
    "Ask where the two cases differ. conv2d_same pads as much before as after; SAME with stride 2 pads (1, 1) on an odd "
    "size, and (0, 1) on an even one. Which line treats before and after differently?",
    "想一想两种情形差在哪里。conv2d_same 前后填充一样多；SAME 步长 2 时，奇数大小填充 (1, 1)，偶数大小填充 (0, 1)。"
    "哪一行对前后的处理不同？",
)
_CROP = Text(
    "In the padded picture, x has `top` rows of zeros above it. So it begins at row top, and so does its gradient.",
    "在填充后的图中，x 上方有 top 行 0。所以 x 从第 top 行开始，它的梯度也一样。",
)
_DW = Text(
    "dw is made from the padded picture, and there the padding stands where it should: it was right already.",
    "dw 由填充后的图算出，那里的填充位置是对的：它本来就没错。",
)

MISTAKES = (
    *(
        Mistake(
            f"named_{name}",
            Text(f'"{name}" is not the bug. {why.en}', f'"{name}" 不是这里的错误。{why.zh}'),
            _NAME_LINE,
            _NAME_CONCEPT,
        )
        for name, why in NOT_IT.items()
    ),
    Mistake(
        "not_mended",
        Text("dx is still what the wrong function returns.", "dx 仍是错误函数返回的结果。"),
        _CROP_LINE,
        _CROP,
    ),
    Mistake(
        "rows_mended_only",
        Text(
            "The rows are cropped at top, but the columns still at right.", "行从 top 开始裁剪了，列却仍从 right 开始。"
        ),
        _CROP_LINE,
        _CROP,
    ),
    Mistake(
        "crop_off_by_one",
        Text(
            "The crop begins at 0. For SAME with stride 2 on an even size that is right, and nowhere else.",
            "裁剪从 0 开始。只有 SAME、步长 2、偶数大小时才对。",
        ),
        _CROP_LINE,
        _CROP,
    ),
    Mistake(
        "crop_at_the_end",
        Text(
            "The crop takes the last rows and columns (dx[:, -h:, -v:]): it begins at top + bottom.",
            "裁剪取了最后的行与列（dx[:, -h:, -v:]）：从 top + bottom 开始了。",
        ),
        _CROP_LINE,
        _CROP,
    ),
    Mistake(
        "crop_to_minus_zero",
        Text(
            "The crop ends at -bottom and -right. Where there is no padding after, that is 0, and top:-0 is empty.",
            "裁剪以 -bottom、-right 结尾。后侧没有填充时它等于 0，而 top:-0 什么也取不到。",
        ),
        _CROP_LINE,
        _CROP,
    ),
    Mistake(
        "padding_kept",
        Text(
            "The padding is not cut off: dx is as large as the padded picture.", "没有切掉填充：dx 与填充后的图一样大。"
        ),
        _CROP_LINE,
        _CROP,
    ),
    Mistake(
        "dw_changed_too",
        Text(
            "dw was changed too: x is padded with before and after interchanged. dw was right.",
            "把 dw 也改了：x 的填充前后互换。dw 本来是对的。",
        ),
        _DW_LINE,
        _DW,
    ),
)

EXERCISE = Exercise(
    name="find_the_bug_convolution",
    title=Text("Find the bug: a convolution's backward", "找错误：卷积的反向传播"),
    task=TASK,
    equation="dW = X^T dY; dX = dY W^T, with X = im2col(x) and dx = col2im(dX)",
    presupposes=("conv2d_backward", "conv2d_same_padding"),
    notebook="05",
    minutes=15,
    stub=find_the_bug_convolution,
    answer=answer,
    also_right=(mended, written_anew),
    outputs=(
        Output("name", "", _NAME_CONCEPT, _NAME_LINE, kind="text"),
        Output("dx", "NHWC", _CROP, _CROP_LINE),
        Output("dw", "IJCK", _DW, _DW_LINE),
    ),
    cases=cases,
    attempt=attempt,
    mistakes=MISTAKES,
    given=(wrong_conv2d_backward,),
)
