"""col2im: im2col backwards. A pixel that many windows saw collects from all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...backend import Array
from ...ops.checks import Pair
from ...ops.windows import Pads
from ..exercise import Case, Exercise, Mistake, Output, Rng
from ..language import Text
from .im2col import answer as windows_of

TASK = Text(
    en="""\
im2col copies pixels into windows:

    col[n, p, q, i, j, c] = x[n, p*stride + i - top, q*stride + j - left, c]

Write the way back for a gradient. A pixel was copied once for every window that saw it, so its gradient is the sum over all
these copies; what was copied from the padding is dropped.
This is the transpose of im2col: sum(im2col(x) * dcol) = sum(x * col2im(dcol)) for every x.

- `dcol` [N, OH, OW, KH, KW, C]: the gradient of the loss with respect to col.
- `shape`: (N, H, W, C), the shape of x. `stride`: an integer, for both axes. `pads`: ((top, bottom), (left, right)).
- Return dx [N, H, W, C] of dcol's dtype. Rows and columns of x that no window saw have gradient 0.
""",
    zh="""\
im2col 把像素复制到各个窗口里：

    col[n, p, q, i, j, c] = x[n, p*stride + i - top, q*stride + j - left, c]

请写出梯度的回程。一个像素被多少个窗口看到，就被复制了多少次，所以它的梯度是所有这些副本的梯度之和；从填充处复制来的则丢掉。
这就是 im2col 的转置：对任意 x，都有 sum(im2col(x) * dcol) = sum(x * col2im(dcol))。

- `dcol` [N, OH, OW, KH, KW, C]：损失对 col 的梯度。
- `shape`：(N, H, W, C)，x 的形状。`stride`：整数，两个轴相同。`pads`：((top, bottom), (left, right))。
- 返回 dx [N, H, W, C]，数据类型与 dcol 相同。没有任何窗口看到的行与列，梯度为 0。
""",
)


def col2im(dcol: Array, shape: tuple[int, int, int, int], stride: int, pads: Pads) -> Array:
    """dcol [N, OH, OW, KH, KW, C] -> dx [N, H, W, C]"""
    raise NotImplementedError("col2im is not written yet")


def answer(dcol: Array, shape: tuple[int, int, int, int], stride: int, pads: Pads) -> Array:
    """dx[h, w] = the sum of dcol[p, q, i, j] over all that were copied from there."""
    (n, h, w, c), ((top, bottom), (left, right)) = shape, pads
    _, oh, ow, kh, kw, _ = dcol.shape
    dx = np.zeros((n, top + h + bottom, left + w + right, c), dcol.dtype)
    for i in range(kh):
        for j in range(kw):
            rows = slice(i, i + stride * (oh - 1) + 1, stride)
            cols = slice(j, j + stride * (ow - 1) + 1, stride)
            dx[:, rows, cols] += dcol[:, :, :, i, j]
    return dx[:, top : top + h, left : left + w]


def window_by_window(dcol: Array, shape: tuple[int, int, int, int], stride: int, pads: Pads) -> Array:
    """The same with the loops over the windows, each added as a whole."""
    (n, h, w, c), (rows, cols) = shape, pads
    dx = np.zeros((n, h + sum(rows), w + sum(cols), c), dcol.dtype)
    _, oh, ow, kh, kw, _ = dcol.shape
    for p, q in np.ndindex(oh, ow):
        dx[:, p * stride : p * stride + kh, q * stride : q * stride + kw] += dcol[:, p, q]
    return np.ascontiguousarray(dx[:, rows[0] : rows[0] + h, cols[0] : cols[0] + w])


def by_add_at(dcol: Array, shape: tuple[int, int, int, int], stride: int, pads: Pads) -> Array:
    """The same by scattering to row and column numbers, in float64; what falls outside x is left out by a mask."""
    (_, h, w, _), (_, oh, ow, kh, kw, _) = shape, dcol.shape
    rows = (stride * np.arange(oh)[:, None] + np.arange(kh) - pads[0][0])[:, None, :, None]
    cols = (stride * np.arange(ow)[:, None] + np.arange(kw) - pads[1][0])[None, :, None, :]
    inside = (rows >= 0) & (rows < h) & (cols >= 0) & (cols < w)
    rows, cols = np.broadcast_arrays(rows, cols)
    dx = np.zeros(shape)
    where: Any = (slice(None), rows[inside], cols[inside])
    np.add.at(dx, where, dcol[:, inside])
    return dx.astype(dcol.dtype)


def by_gathering(dcol: Array, shape: tuple[int, int, int, int], stride: int, pads: Pads) -> Array:
    """The same pixel by pixel: which windows saw this one?"""
    (_, h, w, _), (_, oh, ow, kh, kw, _) = shape, dcol.shape
    dx = np.zeros(shape, dcol.dtype)
    for row, col in np.ndindex(h, w):
        for i, j in np.ndindex(kh, kw):
            p, down = divmod(row + pads[0][0] - i, stride)
            q, over = divmod(col + pads[1][0] - j, stride)
            if down == over == 0 and 0 <= p < oh and 0 <= q < ow:
                dx[:, row, col] += dcol[:, p, q, i, j]
    return dx


def cases(rng: Rng, dtype: Any) -> Iterator[Case]:
    """Windows that overlap, paddings that differ on all sides, rows that no window saw, and a row to read by eye."""
    yield _case(rng, dtype, (2, 4, 3, 2), (3, 3), 1, ((1, 1), (1, 1)), Text("3x3 windows, padding 1", "3x3，填充 1"))
    about = Text("3x3 windows, stride 2, unequal padding, a row left over", "3x3，步长 2，各边填充不等，剩下一行")
    yield _case(rng, dtype, (2, 5, 3, 2), (3, 3), 2, ((1, 0), (0, 2)), about)
    about = Text("a kernel 2x3, stride 2, no padding, a column left over", "2x3 卷积核，步长 2，不填充，剩下一列")
    yield _case(rng, dtype, (2, 4, 6, 1), (2, 3), 2, ((0, 0), (0, 0)), about)
    dcol = np.arange(1, 10).astype(dtype).reshape(1, 1, 3, 1, 3, 1)
    dx = np.array([2, 3 + 4, 5, 6 + 7, 8], dtype).reshape(1, 1, 5, 1)
    about = Text(
        "a row of 5 pixels, windows of 3, stride 2, padding 1; dcol = 1 2 3 | 4 5 6 | 7 8 9",
        "一行 5 个像素，窗口 3，步长 2，填充 1；dcol = 1 2 3 | 4 5 6 | 7 8 9",
    )
    args = (dcol, (1, 1, 5, 1), 2, ((0, 0), (1, 1)))
    yield Case(about, args, expected=(dx,), source="added up by hand")


def _case(rng: Rng, dtype: Any, shape: tuple[int, ...], kernel: Pair, stride: int, pads: Pads, about: Text) -> Case:
    def forward(x: Array) -> Array:
        return windows_of(x, kernel, stride, pads)

    x = rng.standard_normal(shape).astype(dtype)
    dcol = rng.standard_normal(forward(x).shape).astype(dtype)
    return Case(about, (dcol, shape, stride, pads), forward=forward, arrays=(x,))


def attempt(wrong: frozenset[str], dcol: Array, shape: tuple[int, int, int, int], stride: int, pads: Pads) -> Array:
    """`answer` with these mistakes made."""
    (n, h, w, c), ((top, bottom), (left, right)) = shape, pads
    if "kernel_flipped" in wrong:
        dcol = dcol[:, :, :, ::-1, ::-1]
    if "kh_kw_swapped" in wrong and dcol.shape[3] == dcol.shape[4]:
        dcol = dcol.swapaxes(3, 4)
    _, oh, ow, kh, kw, _ = dcol.shape
    high, wide = top + h + bottom, left + w + right
    if "leftover_rows_cut" in wrong:
        high, wide = (oh - 1) * stride + kh, (ow - 1) * stride + kw
    dx = np.zeros((n, high, wide, c), dcol.dtype)
    times = np.zeros((high, wide, 1), dcol.dtype)
    step = 1 if "stride_ignored" in wrong else stride
    overwritten = bool(wrong & {"overlaps_overwritten", "last_window_wins"})
    for i, j in list(np.ndindex(kh, kw))[:: -1 if "last_window_wins" in wrong else 1]:
        to = (slice(i, i + step * (oh - 1) + 1, step), slice(j, j + step * (ow - 1) + 1, step))
        times[to] += 1
        if overwritten:
            dx[:, *to] = dcol[:, :, :, i, j]
        else:
            dx[:, *to] += dcol[:, :, :, i, j]
    if "overlaps_averaged" in wrong:
        dx = dx / np.maximum(times, 1)
    if "first_image_only" in wrong:
        dx[1:] = 0
    if "padding_kept" in wrong:
        return dx
    if "crop_to_minus_zero" in wrong:
        return dx[:, top:-bottom, left:-right]
    if "leftover_rows_cut" in wrong:
        return dx[:, top : high - bottom, left : wide - right]
    if "crop_off_by_one" in wrong:
        top, left = 0, 0
    if "crop_one_late" in wrong:
        top, left, dx = top + 1, left + 1, np.pad(dx, ((0, 0), (0, 1), (0, 1), (0, 0)))
    if "crop_on_the_wrong_side" in wrong:
        top, left = high - h - top, wide - w - left
    return dx[:, top : top + h, left : left + w]


_LINE = Text(
    "dx[:, i : i + stride*(OH-1) + 1 : stride, j : j + stride*(OW-1) + 1 : stride] += dcol[:, :, :, i, j]",
    "dx[:, i : i + stride*(OH-1) + 1 : stride, j : j + stride*(OW-1) + 1 : stride] += dcol[:, :, :, i, j]",
)
_CROP_LINE = Text(
    "dx = np.zeros((N, top + H + bottom, left + W + right, C)); ...; return dx[:, top : top + H, left : left + W]",
    "dx = np.zeros((N, top + H + bottom, left + W + right, C)); ...; return dx[:, top : top + H, left : left + W]",
)
_CONCEPT = Text(
    "A pixel that k windows saw acts on k entries of col, so its gradient is the sum of theirs. Write im2col's line with "
    "the two sides interchanged, and with += for =.",
    "被 k 个窗口看到的像素影响 col 的 k 个元素，梯度是它们的梯度之和。把 im2col 那一行的左右两边对调，并把 = 换成 +=。",
)
_CROP = Text(
    "Work on the padded picture, where the windows lie as they did going forward, and cut the padding off at the end: x "
    "began at (top, left).",
    "在填充后的图上累加，窗口的位置就与前向时一样，最后再切掉填充：x 从 (top, left) 开始。",
)

MISTAKES = (
    Mistake(
        "overlaps_overwritten",
        Text(
            "= in the place of += in a loop over the taps: where windows overlap, only the last tap counts.",
            "在遍历 (i, j) 的循环里写成了 = 而不是 +=：窗口重叠处只剩最后一个位置的贡献。",
        ),
        _LINE,
    ),
    Mistake(
        "last_window_wins",
        Text(
            "Where windows overlap, only the last window counts: = in the place of += in a loop over the windows, or "
            "dx[index] += ... with repeated indices, which NumPy carries out once an index (np.add.at carries out all).",
            "窗口重叠处只剩最后一个窗口的贡献：在遍历窗口的循环里写成了 = 而不是 +=，或者用了下标重复的 dx[index] += ...，"
            "NumPy 对每个下标只执行一次（np.add.at 才会逐个累加）。",
        ),
        _LINE,
    ),
    Mistake(
        "overlaps_averaged",
        Text(
            "What overlaps is averaged, as one puts a picture together from patches. A gradient adds up.",
            "重叠处取了平均，像用图块拼回图像那样；而梯度应当相加。",
        ),
        _LINE,
    ),
    Mistake(
        "stride_ignored",
        Text(
            "The windows are put back one pixel apart and not stride pixels apart.",
            "放回时窗口之间只隔一个像素，而不是 stride 个像素。",
        ),
        _LINE,
    ),
    Mistake(
        "kernel_flipped",
        Text(
            "The taps go back in reverse order: dcol[..., KH-1-i, KW-1-j, :] for dcol[..., i, j, :].",
            "窗口内的位置次序颠倒了：用了 dcol[..., KH-1-i, KW-1-j, :]，应为 dcol[..., i, j, :]。",
        ),
        _LINE,
    ),
    Mistake(
        "kh_kw_swapped",
        Text(
            "The window's rows and columns are interchanged: dcol[..., j, i, :] for dcol[..., i, j, :].",
            "窗口的行与列互换了：用了 dcol[..., j, i, :]，应为 dcol[..., i, j, :]。",
        ),
        _LINE,
    ),
    Mistake(
        "crop_off_by_one",
        Text(
            "The padding is cut off at the end only: the crop begins at 0 and not at (top, left).",
            "只在末尾切掉了填充：裁剪从 0 开始，而不是从 (top, left) 开始。",
        ),
        _CROP_LINE,
        _CROP,
    ),
    Mistake(
        "crop_on_the_wrong_side",
        Text(
            "The crop begins at (bottom, right) and not at (top, left). With equal padding nobody notices.",
            "裁剪从 (bottom, right) 开始，而不是 (top, left)。两侧填充相等时看不出来。",
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
        "leftover_rows_cut",
        Text(
            "The size is computed back from the windows: (OH - 1)*stride + KH - top - bottom. Where the stride does not "
            "divide evenly that is less than H. dx has x's shape, and a row that no window reached has gradient 0.",
            "大小由窗口反推：(OH - 1)*stride + KH - top - bottom，除不尽时它小于 H。dx 的形状与 x 相同，没有窗口到达的行梯度为 0。",
        ),
        _CROP_LINE,
        _CROP,
    ),
    Mistake(
        "first_image_only",
        Text("Only the first image of the batch gets a gradient.", "只有批次中的第一幅图像得到了梯度。"),
        _LINE,
    ),
    Mistake(
        "crop_one_late",
        Text(
            "The crop begins one pixel late, at (top + 1, left + 1): it counts from 1.",
            "裁剪晚了一个像素，从 (top + 1, left + 1) 开始：是从 1 数起的。",
        ),
        _CROP_LINE,
        _CROP,
    ),
)

EXERCISE = Exercise(
    name="col2im",
    title=Text("col2im: the way back", "col2im：回程"),
    task=TASK,
    equation="dx[n,h,w,c] = sum of dcol[n,p,q,i,j,c] over p*stride + i - top = h, q*stride + j - left = w",
    presupposes=("im2col",),
    notebook="05",
    minutes=20,
    stub=col2im,
    answer=answer,
    also_right=(window_by_window, by_add_at, by_gathering),
    outputs=(Output("dx", "NHWC", _CONCEPT, _LINE),),
    cases=cases,
    attempt=attempt,
    mistakes=MISTAKES,
)
