"""conv2d_input_gradient: dx alone. Every output pixel sends its gradient back to the pixels that it saw."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ...backend import Array
from ...ops import Conv2DSaved
from ..exercise import Case, Exercise, Mistake, Output, Rng
from ..language import Text
from .conv2d_weights_gradient import GEOMETRIES, ROOM, convolve, mistakes_of_axes, of_other_axis, problem

TASK = Text(
    en="""\
A convolution, with stride and rate:

    y[n, p, q, k] = sum over i, j, c of  x[n, p*stride + i*rate - top, q*stride + j*rate - left, c] * w[i, j, c, k]

Write the gradient with respect to the images x.

- `dy` [N, OH, OW, K]: the gradient of the loss with respect to y.
- `saved.x` [N, H, W, C] and `saved.w` [KH, KW, C, K], of dy's dtype.
- `saved.stride`, `saved.rate`: pairs (height, width). `saved.pads`: ((top, bottom), (left, right)), zeros on each side of x.
- Return dx [N, H, W, C] of dy's dtype. Pixels that no window saw have gradient 0.

One way: for each tap (i, j), add dy times the transpose of w[i, j] to the pixels that lay under this tap; at the end cut the padding off.
""",
    zh="""\
带步长与空洞率的卷积：

    y[n, p, q, k] = 对 i, j, c 求和  x[n, p*stride + i*rate - top, q*stride + j*rate - left, c] * w[i, j, c, k]

请写出损失对图像 x 的梯度。

- `dy` [N, OH, OW, K]：损失对 y 的梯度。
- `saved.x` [N, H, W, C] 与 `saved.w` [KH, KW, C, K]，数据类型与 dy 相同。
- `saved.stride`、`saved.rate`：二元组（高, 宽）。`saved.pads`：((top, bottom), (left, right))，x 四边填充的 0 的个数。
- 返回 dx [N, H, W, C]，数据类型与 dy 相同。没有任何窗口看到的像素，梯度为 0。

一种做法：对卷积核的每个位置 (i, j)，把 dy 乘以 w[i, j] 的转置，加到该位置当时所对的像素上；最后切掉填充。
""",
)


def conv2d_input_gradient(dy: Array, saved: Conv2DSaved) -> Array:
    """dy [N, OH, OW, K] -> dx [N, H, W, C]"""
    raise NotImplementedError("conv2d_input_gradient is not written yet")


def answer(dy: Array, saved: Conv2DSaved) -> Array:
    """dx at the pixels under tap (i, j) += dy w[i, j]^T."""
    (n, h, v, c), (kh, kw, _, _) = saved.x.shape, saved.w.shape
    ((top, bottom), (left, right)) = saved.pads
    (sh, sw), (rh, rw), (_, oh, ow, _) = saved.stride, saved.rate, dy.shape
    dx = np.zeros((n, top + h + bottom, left + v + right, c), dy.dtype)
    for i in range(kh):
        for j in range(kw):
            rows = slice(i * rh, i * rh + sh * (oh - 1) + 1, sh)
            cols = slice(j * rw, j * rw + sw * (ow - 1) + 1, sw)
            dx[:, rows, cols] += dy @ saved.w[i, j].T
    return dx[:, top : top + h, left : left + v]


def as_a_convolution(dy: Array, saved: Conv2DSaved) -> Array:
    """The same as a convolution of dy, stride - 1 zeros between its pixels, with the flipped, spread kernel, at stride 1."""
    (n, h, v, c), (kh, kw, _, k) = saved.x.shape, saved.w.shape
    (sh, sw), (rh, rw), (_, oh, ow, _) = saved.stride, saved.rate, dy.shape
    kernel = np.zeros(((kh - 1) * rh + 1, (kw - 1) * rw + 1, c, k), dy.dtype)
    kernel[::rh, ::rw] = saved.w
    eh, ew = kernel.shape[:2]
    ((top, bottom), (left, right)) = saved.pads
    spread = np.zeros((n, top + h + bottom + eh - 1, left + v + right + ew - 1, k), dy.dtype)
    spread[:, eh - 1 : eh - 1 + sh * oh : sh, ew - 1 : ew - 1 + sw * ow : sw][:, :oh, :ow] = dy
    seen = sliding_window_view(spread, (eh, ew), axis=(1, 2))[:, top : top + h, left : left + v]  # [N, H, W, K, EH, EW]
    dx: Array = np.einsum("nhvkij,ijck->nhvc", seen, kernel[::-1, ::-1])
    return dx


def window_by_window(dy: Array, saved: Conv2DSaved) -> Array:
    """The same with the loops over the output's pixels, each adding its whole window; in float64."""
    rows, cols = saved.pads
    dx = np.pad(np.zeros(saved.x.shape), ((0, 0), rows, cols, (0, 0)))
    (sh, sw), (rh, rw), (kh, kw, _, _) = saved.stride, saved.rate, saved.w.shape
    for n, p, q in np.ndindex(*dy.shape[:3]):
        window = dx[n, p * sh : p * sh + kh * rh : rh, q * sw : q * sw + kw * rw : rw]
        window += saved.w @ dy[n, p, q]  # [KH, KW, C]
    h, v = saved.x.shape[1:3]
    return dx[:, rows[0] : rows[0] + h, cols[0] : cols[0] + v].astype(dy.dtype)


def by_index(dy: Array, saved: Conv2DSaved) -> Array:
    """The same by one scatter: all columns at once, np.add.at, one index past the end for what lay on the padding."""
    (n, h, v, c), (kh, kw, _, _) = saved.x.shape, saved.w.shape
    (sh, sw), (rh, rw), (_, oh, ow, _) = saved.stride, saved.rate, dy.shape
    rows = sh * np.arange(oh)[:, None] + rh * np.arange(kh) - saved.pads[0][0]  # [OH, KH]
    cols = sw * np.arange(ow)[:, None] + rw * np.arange(kw) - saved.pads[1][0]
    rows, cols = np.where((rows >= 0) & (rows < h), rows, h), np.where((cols >= 0) & (cols < v), cols, v)
    dx = np.zeros((n, h + 1, v + 1, c), dy.dtype)
    dcol = np.einsum("npqk,ijck->npqijc", dy, saved.w)
    where: Any = (slice(None), rows[:, None, :, None], cols[None, :, None, :])
    np.add.at(dx, where, dcol)
    return np.ascontiguousarray(dx[:, :h, :v])


def cases(rng: Rng, dtype: Any) -> Iterator[Case]:
    """Stride, rate, paddings that differ, a row left over; C = K and not."""
    for geometry in GEOMETRIES:
        dy, saved = problem(rng, dtype, geometry)
        yield Case(
            geometry.about,
            (dy, saved),
            forward=lambda x, saved=saved: convolve(x, saved.w, saved),
            arrays=(saved.x,),
        )


def attempt(wrong: frozenset[str], dy: Array, saved: Conv2DSaved) -> Array:
    """`answer` with these mistakes made."""
    (n, h, v, c), w = saved.x.shape, _kernel(wrong, saved.w)
    stride, (rh, rw), ((top, bottom), (left, right)) = of_other_axis(wrong, saved)
    if "rate_ignored" in wrong:
        rh = rw = 1
    if "dy_repeated" in wrong:
        dy, stride = dy.repeat(stride[0], axis=1).repeat(stride[1], axis=2), (1, 1)
    sh, sw = (1, 1) if "stride_ignored" in wrong else stride
    if "leftover_rows_cut" in wrong:
        h, v = (sh * (dy.shape[1] - 1) + (w.shape[0] - 1) * rh + 1, sw * (dy.shape[2] - 1) + (w.shape[1] - 1) * rw + 1)
        h, v = h - top - bottom, v - left - right
    rows, cols = sh * np.arange(dy.shape[1])[:, None], sw * np.arange(dy.shape[2])
    dx = np.zeros((n, top + h + bottom + ROOM, left + v + right + ROOM, c), dy.dtype)
    overwritten = bool(wrong & {"overlaps_overwritten", "last_window_wins"})
    for i, j in list(np.ndindex(*w.shape[:2]))[:: -1 if "last_window_wins" in wrong else 1]:
        to = (slice(None), rows + i * rh, cols + j * rw)
        dx[to] = dy @ w[i, j].T + (0 if overwritten else dx[to])
    if "first_image_only" in wrong:
        dx[1:] = 0
    if "padding_kept" in wrong:
        return dx[:, : top + h + bottom, : left + v + right]
    if "crop_to_minus_zero" in wrong:
        return dx[:, : top + h + bottom, : left + v + right][:, top:-bottom, left:-right]
    if "crop_off_by_one" in wrong:
        top, left = 0, 0
    if "crop_on_the_wrong_side" in wrong:
        top, left = bottom, right
    if "crop_one_early" in wrong:
        top, left = max(top - 1, 0), max(left - 1, 0)
    if "crop_one_late" in wrong:
        top, left = top + 1, left + 1
    return dx[:, top : top + h, left : left + v]


def _kernel(wrong: frozenset[str], w: Array) -> Array:
    """w with these mistakes made, where they give no error of shapes."""
    if "kernel_flipped" in wrong:
        w = w[::-1, ::-1]
    if "kh_kw_swapped" in wrong and w.shape[0] == w.shape[1]:
        w = w.swapaxes(0, 1)
    return w.swapaxes(2, 3) if "weights_not_transposed" in wrong and w.shape[2] == w.shape[3] else w


LINE = Text(
    "dx[:, i*rh : i*rh + sh*(OH-1) + 1 : sh, j*rw : j*rw + sw*(OW-1) + 1 : sw] += dy @ w[i, j].T",
    "dx[:, i*rh : i*rh + sh*(OH-1) + 1 : sh, j*rw : j*rw + sw*(OW-1) + 1 : sw] += dy @ w[i, j].T",
)
_CROP_LINE = Text(
    "dx = np.zeros((N, top + H + bottom, left + W + right, C)); ...; return dx[:, top : top + H, left : left + W]",
    "dx = np.zeros((N, top + H + bottom, left + W + right, C)); ...; return dx[:, top : top + H, left : left + W]",
)
CONCEPT = Text(
    "Going forward, y[n, p, q] took from the pixels p*stride + i*rate - top. Going back, dy[n, p, q] gives to those very "
    "pixels, through the transpose of the same w[i, j]; where several output pixels saw one, what they give adds up.",
    "前向时，y[n, p, q] 取自像素 p*stride + i*rate - top。回程时，"
    "dy[n, p, q] 经同一个 w[i, j] 的转置交还给这些像素；一个像素被多个输出看到时，各份梯度相加。",
)
_CROP = Text(
    "Work on the padded picture, where the windows lie as they did going forward, and cut the padding off at the end: x "
    "began at (top, left).",
    "在填充后的图上累加，窗口的位置就与前向时一样，最后再切掉填充：x 从 (top, left) 开始。",
)
_SPREAD = Text(
    "Stride 2 is stride 1 with every other output pixel thrown away. What is thrown away has gradient zero: going back, "
    "these are the zeros between the pixels of dy.",
    "步长 2 就是步长 1 再每隔一个丢掉一个输出像素。丢掉的像素梯度为 0：回程时，它们就是 dy 各像素之间的 0。",
)

MISTAKES = (
    Mistake(
        "kernel_flipped",
        Text(
            "The kernel is turned by 180 degrees though dy is scattered: the flip belongs to the other view, where dx "
            "gathers from dy. One or the other.",
            "把 dy 散布回去时还把卷积核旋转了 180 度：翻转属于另一种写法，即 dx 从 dy 收集。两者只取其一。",
        ),
        LINE,
    ),
    Mistake(
        "weights_not_transposed",
        Text(
            "dy is multiplied by w[i, j] and not by its transpose. Where C = K the shapes do not complain.",
            "dy 乘的是 w[i, j]，而不是它的转置。C = K 时形状不会报错。",
        ),
        LINE,
    ),
    Mistake(
        "kh_kw_swapped",
        Text(
            "The kernel's rows and columns are interchanged: w[j, i] for w[i, j].",
            "卷积核的行与列互换了：应是 w[i, j]，写成了 w[j, i]。",
        ),
        LINE,
    ),
    Mistake(
        "overlaps_overwritten",
        Text(
            "= in the place of += in a loop over the taps: where windows overlap, only the last tap counts.",
            "在遍历 (i, j) 的循环里写成了 = 而不是 +=：窗口重叠处只剩最后一个位置的贡献。",
        ),
        LINE,
    ),
    Mistake(
        "last_window_wins",
        Text(
            "Where windows overlap, only the last window counts: = in the place of += in a loop over the windows, or "
            "dx[index] += ... with repeated indices, which NumPy carries out once an index (np.add.at carries out all).",
            "窗口重叠处只剩最后一个窗口的贡献：在遍历窗口的循环里写成了 = 而不是 +=，或者用了下标重复的 dx[index] += ...，"
            "NumPy 对每个下标只执行一次（np.add.at 才会逐个累加）。",
        ),
        LINE,
    ),
    Mistake(
        "stride_ignored",
        Text(
            "dy goes back to neighbouring pixels, as at stride 1: no zeros stand between its pixels.",
            "dy 被还给了相邻的像素，好像步长为 1：各像素之间没有补 0。",
        ),
        LINE,
        _SPREAD,
    ),
    Mistake(
        "dy_repeated",
        Text(
            "dy is enlarged by repeating its pixels (np.repeat, nearest neighbour) where zeros belong between them.",
            "放大 dy 时重复了像素（np.repeat，最近邻），而各像素之间应当是 0。",
        ),
        LINE,
        _SPREAD,
    ),
    Mistake(
        "rate_ignored",
        Text(
            "The taps give back to neighbouring pixels; they lie rate apart.",
            "卷积核各位置还给了相邻的像素，而它们应当相隔 rate。",
        ),
        LINE,
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
            "The size is computed back from dy: (OH - 1)*stride + extent - top - bottom. Where the stride does not "
            "divide evenly (ResNet's stem on 224 pixels) that is less than H. dx has x's shape.",
            "大小由 dy 反推：(OH - 1)*stride + extent - top - bottom。除不尽时（如 224 像素上 ResNet 的首层）它小于 H。"
            "dx 的形状应与 x 相同。",
        ),
        _CROP_LINE,
        _CROP,
    ),
    Mistake(
        "first_image_only",
        Text("Only the first image of the batch gets a gradient.", "只有批次中的第一幅图像得到了梯度。"),
        LINE,
    ),
    Mistake(
        "crop_one_early",
        Text(
            "The crop begins one pixel early, at (top - 1, left - 1).",
            "裁剪早了一个像素，从 (top - 1, left - 1) 开始。",
        ),
        _CROP_LINE,
        _CROP,
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
    *mistakes_of_axes(LINE),
)

EXERCISE = Exercise(
    name="conv2d_input_gradient",
    title=Text("Convolution, the input's gradient", "卷积：输入的梯度"),
    task=TASK,
    equation="dx[n,h,v,c] = sum of dy[n,p,q,k] * w[i,j,c,k] over p*stride + i*rate - top = h, q*stride + j*rate - left = v, all k",
    presupposes=("col2im",),
    notebook="05",
    minutes=25,
    stub=conv2d_input_gradient,
    answer=answer,
    also_right=(as_a_convolution, window_by_window, by_index),
    outputs=(Output("dx", "NHWC", CONCEPT, LINE),),
    cases=cases,
    attempt=attempt,
    mistakes=MISTAKES,
)
