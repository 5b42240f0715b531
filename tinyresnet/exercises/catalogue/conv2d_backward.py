"""conv2d_backward: the whole backward pass of a convolution, dx and dw."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ...backend import Array
from ...ops import Conv2DSaved
from ..diagnosis.convolution import explain_dw, explain_dx
from ..exercise import Case, Exercise, Mistake, Output, Rng
from ..language import Text
from . import conv2d_input_gradient as of_input
from . import conv2d_weights_gradient as of_weights

TASK = Text(
    en="""\
A convolution, with stride and rate:

    y[n, p, q, k] = sum over i, j, c of  x[n, p*stride + i*rate - top, q*stride + j*rate - left, c] * w[i, j, c, k]

Write its backward pass. As matrices, with a row of X for every window (im2col), it is Y = X W; so dW = X^T dY, dX = dY W^T,
and dX goes back from windows to images (col2im).

- `dy` [N, OH, OW, K]: the gradient of the loss with respect to y.
- `saved.x` [N, H, W, C] and `saved.w` [KH, KW, C, K], of dy's dtype.
- `saved.stride`, `saved.rate`: pairs (height, width). `saved.pads`: ((top, bottom), (left, right)), zeros on each side of x.
- Return dx [N, H, W, C] and dw [KH, KW, C, K], of dy's dtype. (`saved.input_gradient` says that dx may be None; you need not look at it.)
""",
    zh="""\
带步长与空洞率的卷积：

    y[n, p, q, k] = 对 i, j, c 求和  x[n, p*stride + i*rate - top, q*stride + j*rate - left, c] * w[i, j, c, k]

请写出它的反向传播。写成矩阵，每个窗口是 X 的一行（im2col），就是 Y = X W；于是 dW = X^T dY，dX = dY W^T，再把 dX 从窗口放回图像（col2im）。

- `dy` [N, OH, OW, K]：损失对 y 的梯度。
- `saved.x` [N, H, W, C] 与 `saved.w` [KH, KW, C, K]，数据类型与 dy 相同。
- `saved.stride`、`saved.rate`：二元组（高, 宽）。`saved.pads`：((top, bottom), (left, right))，x 四边填充的 0 的个数。
- 返回 dx [N, H, W, C] 与 dw [KH, KW, C, K]，数据类型与 dy 相同。（`saved.input_gradient` 表示 dx 可以是 None，不必理会。）
""",
)


def conv2d_backward(dy: Array, saved: Conv2DSaved) -> tuple[Array, Array]:
    """dy [N, OH, OW, K] -> dx [N, H, W, C], dw [KH, KW, C, K]"""
    raise NotImplementedError("conv2d_backward is not written yet")


def answer(dy: Array, saved: Conv2DSaved) -> tuple[Array, Array]:
    """Tap by tap: dw[i, j] = seen^T dy, and dx under the tap += dy w[i, j]^T."""
    (_, h, v, c), w = saved.x.shape, saved.w
    ((top, _), (left, _)), (sh, sw), (rh, rw), (_, oh, ow, k) = saved.pads, saved.stride, saved.rate, dy.shape
    x = np.pad(saved.x, ((0, 0), *saved.pads, (0, 0)))
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for i, j in np.ndindex(*w.shape[:2]):
        rows = slice(i * rh, i * rh + sh * (oh - 1) + 1, sh)
        cols = slice(j * rw, j * rw + sw * (ow - 1) + 1, sw)
        dw[i, j] = x[:, rows, cols].reshape(-1, c).T @ dy.reshape(-1, k)
        dx[:, rows, cols] += dy @ w[i, j].T
    return dx[:, top : top + h, left : left + v], dw


def as_matrices(dy: Array, saved: Conv2DSaved) -> tuple[Array, Array]:
    """The same as X^T dY and dY W^T, whole; the way back by np.add.at, with the same numbers of rows and columns."""
    x = np.pad(saved.x, ((0, 0), *saved.pads, (0, 0)))
    (_, h, v, c), (kh, kw, _, k), ((top, _), (left, _)) = saved.x.shape, saved.w.shape, saved.pads
    (sh, sw), (rh, rw), (n, oh, ow, _) = saved.stride, saved.rate, dy.shape
    rows = (sh * np.arange(oh)[:, None] + rh * np.arange(kh))[:, None, :, None]
    cols = (sw * np.arange(ow)[:, None] + rw * np.arange(kw))[None, :, None, :]
    col = x[:, rows, cols].reshape(-1, kh * kw * c)
    dy2 = dy.reshape(-1, k)
    dcol = (dy2 @ saved.w.reshape(-1, k).T).reshape(n, oh, ow, kh, kw, c)
    dx = np.zeros_like(x)
    where: Any = (slice(None), rows, cols)
    np.add.at(dx, where, dcol)
    return np.ascontiguousarray(dx[:, top : top + h, left : left + v]), (col.T @ dy2).reshape(saved.w.shape)


def as_two_convolutions(dy: Array, saved: Conv2DSaved) -> tuple[Array, Array]:
    """The same as convolutions at stride 1: dx of dy spread out, by the flipped kernel; dw of x, by dy spread out."""
    return of_input.as_a_convolution(dy, saved), of_weights.as_a_convolution(dy, saved)


def window_by_window(dy: Array, saved: Conv2DSaved) -> tuple[Array, Array]:
    """The same from the side of the output's pixels, through views that can be written to; in float64."""
    x = np.pad(saved.x.astype(np.float64), ((0, 0), *saved.pads, (0, 0)))
    dx, dw = np.zeros_like(x), np.zeros(saved.w.shape)
    (sh, sw), (rh, rw), (kh, kw, _, _) = saved.stride, saved.rate, saved.w.shape
    wide = ((kh - 1) * rh + 1, (kw - 1) * rw + 1)
    seen, back = (
        sliding_window_view(a, wide, axis=(1, 2), writeable=True)[:, ::sh, ::sw, :, ::rh, ::rw] for a in (x, dx)
    )
    for n, p, q in np.ndindex(*dy.shape[:3]):
        dw += np.einsum("cij,k->ijck", seen[n, p, q], dy[n, p, q])
        back[n, p, q] += np.einsum("ijck,k->cij", saved.w, dy[n, p, q])
    (top, bottom), (left, right) = saved.pads
    inside = dx[:, top : dx.shape[1] - bottom, left : dx.shape[2] - right]
    return inside.astype(dy.dtype), dw.astype(dy.dtype)


def cases(rng: Rng, dtype: Any) -> Iterator[Case]:
    """Stride, rate, paddings that differ, a row left over; C = K and not."""
    for geometry in of_weights.GEOMETRIES:
        dy, saved = of_weights.problem(rng, dtype, geometry)
        yield Case(
            geometry.about,
            (dy, saved),
            forward=lambda x, w, saved=saved: of_weights.convolve(x, w, saved),
            arrays=(saved.x, saved.w),
        )


def attempt(wrong: frozenset[str], dy: Array, saved: Conv2DSaved) -> tuple[Array, Array]:
    """`answer` with these mistakes made."""
    return of_input.attempt(wrong, dy, saved), of_weights.attempt(wrong, dy, saved)


_BOTH = Text(f"{of_input.LINE.en}\n{of_weights.LINE.en}", f"{of_input.LINE.zh}\n{of_weights.LINE.zh}")
_SAME_WINDOWS = Text(
    "Backward, the windows lie where they lay forward: output pixel p and tap i meet at p*stride + i*rate - top, in dx and in dw alike.",
    "反向时窗口的位置与前向时相同：输出像素 p 与卷积核位置 i 在 p*stride + i*rate - top 处相遇，dx 与 dw 都如此。",
)


def _of(module: Any, *names: str) -> tuple[Mistake, ...]:
    """These mistakes of the exercise on dx, or on dw, alone."""
    return tuple(module.EXERCISE.mistake(name) for name in names)


MISTAKES = (
    *_of(
        of_input, "kernel_flipped", "weights_not_transposed", "overlaps_overwritten", "last_window_wins", "dy_repeated"
    ),
    *_of(
        of_input, "crop_off_by_one", "crop_on_the_wrong_side", "crop_to_minus_zero", "padding_kept", "leftover_rows_cut"
    ),
    *_of(of_input, "crop_one_early", "crop_one_late"),
    *_of(of_weights, "last_image_only"),
    *_of(of_weights, "dw_batch_mean", "last_pixel_only", "dw_flipped", "channels_swapped", "pads_swapped"),
    Mistake(
        "kh_kw_swapped",
        Text(
            "The kernel's rows and columns are interchanged: [j, i] for [i, j].",
            "卷积核的行与列互换了：应是 [i, j]，写成了 [j, i]。",
        ),
        _BOTH,
    ),
    Mistake(
        "stride_ignored",
        Text(
            "Neighbouring pixels of dy are matched with neighbouring pixels of x: the step between them is stride, not 1.",
            "dy 中相邻的像素对上了 x 中相邻的像素：它们之间应当相隔 stride，而不是 1。",
        ),
        _BOTH,
        _SAME_WINDOWS,
    ),
    Mistake(
        "rate_ignored",
        Text(
            "Neighbouring taps of the kernel are matched with neighbouring pixels: they lie rate apart.",
            "卷积核相邻的位置对上了相邻的像素：它们应当相隔 rate。",
        ),
        _BOTH,
        _SAME_WINDOWS,
    ),
    Mistake(
        "first_image_only",
        Text("Only the first image of the batch is looked at.", "只处理了批次中的第一幅图像。"),
        _BOTH,
    ),
    *of_weights.mistakes_of_axes(_BOTH),
)

EXERCISE = Exercise(
    name="conv2d_backward",
    title=Text("Convolution, backward", "卷积的反向传播"),
    task=TASK,
    equation="dW = X^T dY; dX = dY W^T, with X = im2col(x) and dx = col2im(dX)",
    presupposes=("conv2d_weights_gradient", "conv2d_input_gradient"),
    notebook="05",
    minutes=25,
    stub=conv2d_backward,
    answer=answer,
    also_right=(as_matrices, as_two_convolutions, window_by_window),
    outputs=(
        Output("dx", "NHWC", of_input.CONCEPT, of_input.LINE),
        Output("dw", "IJCK", of_weights.CONCEPT, of_weights.LINE),
    ),
    cases=cases,
    attempt=attempt,
    mistakes=MISTAKES,
    op="conv2d_backward",
    explain=(explain_dx, explain_dw),
)
