"""im2col: every window as a row, so that a convolution becomes one matrix product."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ...backend import Array
from ...ops.checks import Pair
from ...ops.windows import Pads
from ..exercise import Case, Exercise, Mistake, Output, Rng
from ..language import Text

TASK = Text(
    en="""\
Lay the pixels under every window side by side. Then a convolution is one matrix product, `col.reshape(-1, KH*KW*C) @ w.reshape(-1, K)`.

    col[n, p, q, i, j, c] = x[n, p*stride + i - top, q*stride + j - left, c]

with zeros where that is outside x.

- `x` [N, H, W, C], images.
- `kernel`: (KH, KW). `stride`: an integer, for both axes. `pads`: ((top, bottom), (left, right)).
- Return col [N, OH, OW, KH, KW, C] of x's dtype, with OH = (H + top + bottom - KH) // stride + 1 and OW likewise.

Two loops are enough: for each (i, j), all windows at once.
""",
    zh="""\
把每个窗口下的像素并排放好，卷积就成了一次矩阵乘法：`col.reshape(-1, KH*KW*C) @ w.reshape(-1, K)`。

    col[n, p, q, i, j, c] = x[n, p*stride + i - top, q*stride + j - left, c]

落在 x 之外的位置为 0。

- `x` [N, H, W, C]：图像。
- `kernel`：(KH, KW)。`stride`：整数，两个轴相同。`pads`：((top, bottom), (left, right))。
- 返回 col [N, OH, OW, KH, KW, C]，数据类型与 x 相同，其中 OH = (H + top + bottom - KH) // stride + 1，OW 同理。

两重循环就够了：对每个 (i, j)，一次处理所有窗口。
""",
)


def im2col(x: Array, kernel: Pair, stride: int, pads: Pads) -> Array:
    """x [N, H, W, C] -> col [N, OH, OW, KH, KW, C]"""
    raise NotImplementedError("im2col is not written yet")


def answer(x: Array, kernel: Pair, stride: int, pads: Pads) -> Array:
    """col[:, p, q, i, j] = the padded x at (p*stride + i, q*stride + j)."""
    padded = np.pad(x, ((0, 0), *pads, (0, 0)))
    (n, h, w, c), (kh, kw) = padded.shape, kernel
    oh, ow = (h - kh) // stride + 1, (w - kw) // stride + 1
    col = np.empty((n, oh, ow, kh, kw, c), x.dtype)
    for i in range(kh):
        for j in range(kw):
            rows = slice(i, i + stride * (oh - 1) + 1, stride)
            cols = slice(j, j + stride * (ow - 1) + 1, stride)
            col[:, :, :, i, j] = padded[:, rows, cols]
    return col


def by_views(x: Array, kernel: Pair, stride: int, pads: Pads) -> Array:
    """The same without a copy of the windows: NumPy's strides repeat the pixels."""
    padded = np.pad(x, ((0, 0), *pads, (0, 0)))
    every = sliding_window_view(padded, kernel, axis=(1, 2))[:, ::stride, ::stride]  # [N, OH, OW, C, KH, KW]
    return every.transpose(0, 1, 2, 4, 5, 3)


def by_index(x: Array, kernel: Pair, stride: int, pads: Pads) -> Array:
    """The same with arrays of row and column numbers."""
    padded = np.pad(x, ((0, 0), *pads, (0, 0)))
    oh, ow = ((padded.shape[1 + axis] - kernel[axis]) // stride + 1 for axis in (0, 1))
    rows = stride * np.arange(oh)[:, None] + np.arange(kernel[0])  # [OH, KH]
    cols = stride * np.arange(ow)[:, None] + np.arange(kernel[1])  # [OW, KW]
    picked: Array = padded[:, rows[:, None, :, None], cols[None, :, None, :]]
    return picked


def window_by_window(x: Array, kernel: Pair, stride: int, pads: Pads) -> Array:
    """The same with the loops over the windows."""
    padded = np.pad(x, ((0, 0), *pads, (0, 0)))
    (kh, kw), (_, h, w, _) = kernel, padded.shape
    rows = [
        np.stack([padded[:, p : p + kh, q : q + kw] for q in range(0, w - kw + 1, stride)], axis=1)
        for p in range(0, h - kh + 1, stride)
    ]
    return np.stack(rows, axis=1)


def cases(rng: Rng, dtype: Any) -> Iterator[Case]:
    """Strides, paddings that differ on all sides, rows left over, and a row of pixels that can be read by eye."""
    for shape, kernel, stride, pads, about in (
        ((2, 5, 4, 1), (3, 3), 1, ((1, 1), (1, 1)), Text("3x3 windows, padding 1", "3x3，填充 1")),
        (
            (2, 4, 7, 1),
            (2, 3),
            2,
            ((0, 1), (2, 0)),
            Text("a kernel 2x3, stride 2, unequal padding", "2x3 卷积核，步长 2，各边填充不等"),
        ),
        (
            (2, 4, 3, 2),
            (2, 2),
            2,
            ((0, 0), (0, 0)),
            Text("2x2 windows side by side, a column left over", "2x2 互不重叠，剩下一列"),
        ),
    ):
        yield Case(about, (rng.standard_normal(shape).astype(dtype), kernel, stride, pads))
    row = np.arange(1, 6).astype(dtype).reshape(1, 1, 5, 1)
    col = np.array([[0, 1, 2], [2, 3, 4], [4, 5, 0]], dtype).reshape(1, 1, 3, 1, 3, 1)
    about = Text("the row 1 2 3 4 5, windows of 3, stride 2, padding 1", "一行 1 2 3 4 5，窗口 3，步长 2，填充 1")
    yield Case(about, (row, (1, 3), 2, ((0, 0), (1, 1))), expected=(col,), source="written down by hand")


def attempt(wrong: frozenset[str], x: Array, kernel: Pair, stride: int, pads: Pads) -> Array:
    """`answer` with these mistakes made."""
    if "pads_swapped" in wrong:
        pads = (pads[0][::-1], pads[1][::-1])
    if "rows_and_columns_padded_alike" in wrong:
        pads = (pads[0], pads[0])
    if "pads_exchanged" in wrong:
        pads = pads[::-1]
    if "pads_ignored" in wrong:
        pads = ((0, 0), (0, 0))
    padded = np.pad(x, ((0, 0), *pads, (0, 0)), mode="edge" if "edges_repeated" in wrong else "constant")
    one = 0 if "plus_one_forgotten" in wrong else 1
    oh, ow = ((padded.shape[1 + axis] - kernel[axis]) // stride + one for axis in (0, 1))
    step, tap = (1, stride) if "stride_on_the_tap" in wrong else (stride, 1)
    if "stride_ignored" in wrong:
        step = 1
    rows = step * np.arange(oh)[:, None] + tap * np.arange(kernel[0])  # [OH, KH]
    cols = step * np.arange(ow)[:, None] + tap * np.arange(kernel[1])  # [OW, KW]
    rows, cols = rows.clip(max=padded.shape[1] - 1), cols.clip(max=padded.shape[2] - 1)
    col: Array = padded[:, rows[:, None, :, None], cols[None, :, None, :]]  # [N, OH, OW, KH, KW, C]
    if "row_column_swapped" in wrong:
        room = np.pad(padded, ((0, 0), (0, kernel[1]), (0, kernel[0]), (0, 0)))
        rows, cols = (
            step * np.arange(count)[:, None] + tap * np.arange(k) for count, k in ((oh, kernel[1]), (ow, kernel[0]))
        )
        col = room[:, rows[:, None, None, :], cols[None, :, :, None]]
    if "kernel_flipped" in wrong:
        col = col[:, :, :, ::-1, ::-1]
    if "first_image_only" in wrong:
        col = col * (np.arange(len(x)) == 0).reshape(-1, 1, 1, 1, 1, 1).astype(x.dtype)
    if "kh_kw_swapped" in wrong:
        col = col.swapaxes(3, 4)
    if "channels_before_the_window" in wrong:
        col = col.transpose(0, 1, 2, 5, 3, 4)
    return col


_LINE = Text(
    "col[:, :, :, i, j] = padded[:, i : i + stride*(OH-1) + 1 : stride, j : j + stride*(OW-1) + 1 : stride]",
    "col[:, :, :, i, j] = padded[:, i : i + stride*(OH-1) + 1 : stride, j : j + stride*(OW-1) + 1 : stride]",
)
_PAD_LINE = Text(
    "padded = np.pad(x, ((0, 0), pads[0], pads[1], (0, 0)))    # zeros; the batch and the channels get none",
    "padded = np.pad(x, ((0, 0), pads[0], pads[1], (0, 0)))    # 填 0；批次轴与通道轴不填充",
)
_SIZE_LINE = Text("OH = (H + top + bottom - KH) // stride + 1", "OH = (H + top + bottom - KH) // stride + 1")
_CONCEPT = Text(
    "im2col computes nothing, it only copies: fix one tap (i, j) of the kernel, and what all windows see through it is "
    "the picture, shifted by (i, j) and thinned out by the stride.",
    "im2col 不做计算，只做复制：固定卷积核的一个位置 (i, j)，所有窗口透过它看到的，就是平移 (i, j) 再按步长抽取的图像。",
)
_PAD_CONCEPT = Text(
    "Padding moves the picture: row h of x is row h + top of the padded one.",
    "填充会移动图像：x 的第 h 行是填充后的第 h + top 行。",
)
_ORDER = Text(
    "The axes of col are those of w, in w's order: only then do col.reshape(-1, KH*KW*C) and w.reshape(-1, K) meet number by number.",
    "col 后三个轴的顺序必须与 w 相同：这样 col.reshape(-1, KH*KW*C) 与 w.reshape(-1, K) 才能逐个对上。",
)

MISTAKES = (
    Mistake(
        "stride_ignored",
        Text(
            "There are as many windows as the stride asks for, but they lie one pixel apart.",
            "窗口的个数符合步长，但它们之间只隔一个像素。",
        ),
        _LINE,
    ),
    Mistake(
        "stride_on_the_tap",
        Text(
            "The stride multiplies i and j, not p and q: that spreads the kernel (that is a rate) and leaves the windows one pixel apart.",
            "步长乘到了 i、j 上，而不是 p、q 上：卷积核被拉开（那是空洞率），窗口却只隔一个像素。",
        ),
        _LINE,
    ),
    Mistake(
        "kernel_flipped",
        Text(
            "The taps stand in reverse order, as in the convolution of mathematics.",
            "窗口内的位置次序颠倒了，如同数学中的卷积。",
        ),
        _LINE,
        _ORDER,
    ),
    Mistake(
        "kh_kw_swapped",
        Text(
            "The axes of the window are interchanged: [..., KW, KH, C] for [..., KH, KW, C].",
            "窗口的两个轴互换了：[..., KW, KH, C]，应为 [..., KH, KW, C]。",
        ),
        _LINE,
        _ORDER,
    ),
    Mistake(
        "channels_before_the_window",
        Text(
            "The channels stand before the window, [..., C, KH, KW], as in code for NCHW (Caffe, CS231n).",
            "通道排在窗口之前：[..., C, KH, KW]，这是 NCHW 代码（Caffe、CS231n）的次序。",
        ),
        _LINE,
        _ORDER,
    ),
    Mistake(
        "pads_ignored",
        Text("x is not padded at all.", "完全没有对 x 填充。"),
        _PAD_LINE,
        _PAD_CONCEPT,
    ),
    Mistake(
        "pads_swapped",
        Text(
            "The zeros for after stand before, and the other way round: (bottom, top) for (top, bottom).",
            "前后两侧的填充弄反了：把 (top, bottom) 当成了 (bottom, top)。",
        ),
        _PAD_LINE,
        _PAD_CONCEPT,
    ),
    Mistake(
        "rows_and_columns_padded_alike",
        Text(
            "Rows and columns get the same padding, pads[0]. The columns have their own, pads[1].",
            "行与列用了同样的填充 pads[0]，而列应当用 pads[1]。",
        ),
        _PAD_LINE,
        _PAD_CONCEPT,
    ),
    Mistake(
        "edges_repeated",
        Text(
            "The padding repeats the pixels at the edge (mode='edge'), where zeros are asked for.",
            "填充时重复了边缘像素（mode='edge'），而这里要求填 0。",
        ),
        _PAD_LINE,
        _PAD_CONCEPT,
    ),
    Mistake(
        "plus_one_forgotten",
        Text(
            "The output is a row and a column of windows short: the + 1 of its size is missing.",
            "少了一行一列窗口：计算大小时漏了 + 1。",
        ),
        _SIZE_LINE,
    ),
    Mistake(
        "first_image_only",
        Text(
            "Only the windows of the first image are filled in; the others stay zero.",
            "只填了第一幅图像的窗口，其余仍是 0。",
        ),
        _LINE,
    ),
    Mistake(
        "pads_exchanged",
        Text(
            "pads[0] and pads[1] are exchanged: (top, bottom) is height's, (left, right) is width's.",
            "pads[0] 与 pads[1] 用反了：(top, bottom) 属于高，(left, right) 属于宽。",
        ),
        _PAD_LINE,
        _PAD_CONCEPT,
    ),
    Mistake(
        "row_column_swapped",
        Text(
            "i was added to the column and j to the row: each window is read along its columns first.",
            "把 i 加到了列上，把 j 加到了行上：每个窗口成了先沿列读取。",
        ),
        _LINE,
        _ORDER,
    ),
)

EXERCISE = Exercise(
    name="im2col",
    title=Text("im2col: windows as rows", "im2col：把窗口排成行"),
    task=TASK,
    equation="col[n,p,q,i,j,c] = x[n, p*stride + i - top, q*stride + j - left, c]",
    presupposes=("conv2d_loops",),
    notebook="03",
    minutes=15,
    stub=im2col,
    answer=answer,
    also_right=(by_views, by_index, window_by_window),
    outputs=(Output("col", "NPQIJC", _CONCEPT, _LINE, may_be_input=True),),
    cases=cases,
    attempt=attempt,
    mistakes=MISTAKES,
)
