"""conv2d_weights_gradient: dw alone. A weight serves every output pixel, so its gradient sums over all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ... import ops
from ...backend import Array
from ...ops import Conv2DSaved
from ...ops.checks import Pair
from ...ops.windows import Pads
from ..exercise import Case, Exercise, Mistake, Output, Rng
from ..language import Text

TASK = Text(
    en="""\
A convolution, with stride and rate:

    y[n, p, q, k] = sum over i, j, c of  x[n, p*stride + i*rate - top, q*stride + j*rate - left, c] * w[i, j, c, k]

Write the gradient with respect to the weights w.

- `dy` [N, OH, OW, K]: the gradient of the loss with respect to y.
- `saved.x` [N, H, W, C] and `saved.w` [KH, KW, C, K], of dy's dtype.
- `saved.stride`, `saved.rate`: pairs (height, width). `saved.pads`: ((top, bottom), (left, right)), zeros on each side of x.
- Return dw [KH, KW, C, K] of dy's dtype.

Look at one weight: which products in the sum above contain w[i, j, c, k]?
""",
    zh="""\
带步长与空洞率的卷积：

    y[n, p, q, k] = 对 i, j, c 求和  x[n, p*stride + i*rate - top, q*stride + j*rate - left, c] * w[i, j, c, k]

请写出损失对权重 w 的梯度。

- `dy` [N, OH, OW, K]：损失对 y 的梯度。
- `saved.x` [N, H, W, C] 与 `saved.w` [KH, KW, C, K]，数据类型与 dy 相同。
- `saved.stride`、`saved.rate`：二元组（高, 宽）。`saved.pads`：((top, bottom), (left, right))，x 四边填充的 0 的个数。
- 返回 dw [KH, KW, C, K]，数据类型与 dy 相同。

盯住一个权重：上面的求和里，哪些乘积含有 w[i, j, c, k]？
""",
)


def conv2d_weights_gradient(dy: Array, saved: Conv2DSaved) -> Array:
    """dy [N, OH, OW, K] -> dw [KH, KW, C, K]"""
    raise NotImplementedError("conv2d_weights_gradient is not written yet")


def answer(dy: Array, saved: Conv2DSaved) -> Array:
    """dw[i, j] = (what tap (i, j) saw)^T dy, summed over images and pixels."""
    x = np.pad(saved.x, ((0, 0), *saved.pads, (0, 0)))
    (sh, sw), (rh, rw), (_, oh, ow, _) = saved.stride, saved.rate, dy.shape
    dw = np.empty_like(saved.w)
    for i in range(dw.shape[0]):
        for j in range(dw.shape[1]):
            rows = slice(i * rh, i * rh + sh * (oh - 1) + 1, sh)
            cols = slice(j * rw, j * rw + sw * (ow - 1) + 1, sw)
            dw[i, j] = np.tensordot(x[:, rows, cols], dy, axes=((0, 1, 2), (0, 1, 2)))  # [C, K]
    return dw


def as_one_product(dy: Array, saved: Conv2DSaved) -> Array:
    """The same as X^T dY, with a row of X for every window."""
    x = np.pad(saved.x, ((0, 0), *saved.pads, (0, 0)))
    (sh, sw), (rh, rw), (_, oh, ow, k) = saved.stride, saved.rate, dy.shape
    kh, kw, c, _ = saved.w.shape
    wide = ((kh - 1) * rh + 1, (kw - 1) * rw + 1)
    every = sliding_window_view(x, wide, axis=(1, 2))[:, ::sh, ::sw, :, ::rh, ::rw][:, :oh, :ow]  # [N,OH,OW,C,KH,KW]
    rows = every.transpose(4, 5, 3, 0, 1, 2).reshape(kh * kw * c, -1)
    return (rows @ dy.reshape(-1, k)).reshape(kh, kw, c, k)


def pixel_by_pixel(dy: Array, saved: Conv2DSaved) -> Array:
    """The same from the side of the output: every output pixel adds its window times its gradient."""
    x = np.pad(saved.x.astype(np.float64), ((0, 0), *saved.pads, (0, 0)))
    (sh, sw), (rh, rw), (kh, kw, _, _) = saved.stride, saved.rate, saved.w.shape
    dw = np.zeros(saved.w.shape)
    for n, p, q in np.ndindex(*dy.shape[:3]):
        window = x[n, p * sh : p * sh + kh * rh : rh, q * sw : q * sw + kw * rw : rw]  # [KH, KW, C]
        dw += window[..., None] * dy[n, p, q]
    return dw.astype(dy.dtype)


def as_a_convolution(dy: Array, saved: Conv2DSaved) -> Array:
    """The same as a convolution of x by dy: dy with stride - 1 zeros between its pixels is the kernel, and it moves by the rate."""
    x = np.pad(saved.x, ((0, 0), *saved.pads, (0, 0)))
    (sh, sw), (rh, rw), (n, oh, ow, k) = saved.stride, saved.rate, dy.shape
    spread = np.zeros((n, (oh - 1) * sh + 1, (ow - 1) * sw + 1, k), dy.dtype)
    spread[:, ::sh, ::sw] = dy
    places = sliding_window_view(x, spread.shape[1:3], axis=(1, 2))[:, ::rh, ::rw]  # [N, .., .., C, a, b]
    kh, kw = saved.w.shape[:2]
    dw: Array = np.einsum("nijcab,nabk->ijck", places[:, :kh, :kw], spread)
    return dw


class Geometry(NamedTuple):
    """A convolution small enough to be differentiated number by number."""

    x: tuple[int, int, int, int]
    w: tuple[int, int, int, int]
    stride: Pair
    rate: Pair
    pads: Pads
    about: Text


# C = K first: there, a forgotten transpose is a wrong number and not an error of shapes.
GEOMETRIES = (
    Geometry(
        (2, 4, 3, 2),
        (3, 3, 2, 2),
        (2, 2),
        (1, 1),
        ((1, 1), (1, 1)),
        Text("images of even height, stride 2, C = K", "高为偶数的图像，步长 2，C = K"),
    ),
    Geometry(
        (2, 4, 3, 2),
        (3, 3, 2, 3),
        (1, 1),
        (2, 2),
        ((2, 2), (2, 2)),
        Text("images with rate 2, C not K", "图像，空洞率 2，C 不等于 K"),
    ),
    Geometry(
        (2, 4, 5, 1),
        (3, 2, 1, 2),
        (1, 2),
        (1, 1),
        ((1, 0), (0, 2)),
        Text(
            "a kernel 3x2, stride (1, 2), unequal padding, a column that no window sees",
            "3x2 卷积核，步长 (1, 2)，各边填充不等，有一列没有窗口看到",
        ),
    ),
    Geometry(
        (2, 5, 3, 1),
        (2, 2, 1, 2),
        (1, 1),
        (1, 2),
        ((1, 1), (0, 1)),
        Text("images with rate (1, 2), another one down than across", "图像，空洞率 (1, 2)，纵向与横向不同"),
    ),
)


def problem(rng: Rng, dtype: Any, geometry: Geometry) -> tuple[Array, Conv2DSaved]:
    """Random x, w and dy of this geometry: dy and what the forward pass saved."""
    x, w = (rng.standard_normal(shape).astype(dtype) for shape in (geometry.x, geometry.w))
    y, saved = ops.conv2d_forward(x, w, geometry.stride, geometry.rate, geometry.pads)
    return rng.standard_normal(y.shape).astype(dtype), saved


def convolve(x: Array, w: Array, saved: Conv2DSaved) -> Array:
    """The forward pass of this geometry."""
    return ops.conv2d_forward(x, w, saved.stride, saved.rate, saved.pads)[0]


def cases(rng: Rng, dtype: Any) -> Iterator[Case]:
    """Stride, rate, paddings that differ, a row left over; C = K and not."""
    for geometry in GEOMETRIES:
        dy, saved = problem(rng, dtype, geometry)
        yield Case(
            geometry.about,
            (dy, saved),
            forward=lambda w, saved=saved: convolve(saved.x, w, saved),
            arrays=(saved.w,),
        )


ROOM = 4  # pixels behind the padding: a window in the wrong place may reach so far


def of_other_axis(wrong: frozenset[str], saved: Conv2DSaved) -> tuple[Pair, Pair, Pads]:
    """Stride, rate and pads, with those of one axis used for the other."""
    stride, rate, pads = saved.stride, saved.rate, saved.pads
    if "stride_of_rows_for_both" in wrong:
        stride = (stride[0], stride[0])
    if "rate_of_rows_for_both" in wrong:
        rate = (rate[0], rate[0])
    if "rows_and_columns_padded_alike" in wrong:
        pads = (pads[0], pads[0])
    return stride, rate, pads[::-1] if "pads_exchanged" in wrong else pads


def attempt(wrong: frozenset[str], dy: Array, saved: Conv2DSaved) -> Array:
    """`answer` with these mistakes made."""
    (sh, sw), (rh, rw), pads = of_other_axis(wrong, saved)
    if "pads_swapped" in wrong:
        pads = (pads[0][::-1], pads[1][::-1])
    x = np.pad(saved.x, ((0, 0), *pads, (0, 0)), mode="edge" if "edges_repeated" in wrong else "constant")
    x = np.pad(x, ((0, 0), (0, ROOM), (0, ROOM), (0, 0)))
    if "stride_ignored" in wrong:
        sh = sw = 1
    if "rate_ignored" in wrong:
        rh = rw = 1
    if "first_image_only" in wrong:
        x, dy = x[:1], dy[:1]
    if "last_image_only" in wrong:
        x, dy = x[-1:], dy[-1:]
    dw = np.empty_like(saved.w)
    rows, cols = sh * np.arange(dy.shape[1]), sw * np.arange(dy.shape[2])
    for i, j in np.ndindex(*dw.shape[:2]):
        seen = x[:, (rows + i * rh)[:, None], cols + j * rw]  # [N, OH, OW, C]
        if "last_pixel_only" in wrong:
            dw[i, j] = seen[-1, -1, -1][:, None] * dy[-1, -1, -1]
        else:
            dw[i, j] = np.tensordot(seen, dy, axes=((0, 1, 2), (0, 1, 2)))
    if "dw_batch_mean" in wrong:
        dw /= len(saved.x)
    if "dw_flipped" in wrong:
        dw = dw[::-1, ::-1]
    if "kh_kw_swapped" in wrong and dw.shape[0] == dw.shape[1]:
        dw = dw.swapaxes(0, 1)
    return dw.swapaxes(2, 3) if "channels_swapped" in wrong else dw


LINE = Text(
    "dw[i, j] = np.tensordot(x[:, i*rh : i*rh + sh*(OH-1) + 1 : sh, j*rw : j*rw + sw*(OW-1) + 1 : sw], dy, ((0, 1, 2), (0, 1, 2)))",
    "dw[i, j] = np.tensordot(x[:, i*rh : i*rh + sh*(OH-1) + 1 : sh, j*rw : j*rw + sw*(OW-1) + 1 : sw], dy, ((0, 1, 2), (0, 1, 2)))",
)
_PAD_LINE = Text(
    "x = np.pad(saved.x, ((0, 0), saved.pads[0], saved.pads[1], (0, 0)))",
    "x = np.pad(saved.x, ((0, 0), saved.pads[0], saved.pads[1], (0, 0)))",
)
CONCEPT = Text(
    "w[i, j, c, k] takes part in every output pixel of channel k, of every image, each time multiplied by the pixel that "
    "lies under it there. So its gradient is the sum over n, p, q of that pixel times dy[n, p, q, k].",
    "w[i, j, c, k] 参与了每幅图像、第 k 通道的每个输出像素，每次都乘以当时在它下面的那个输入像素。"
    "所以它的梯度是对 n, p, q 求和：该像素乘以 dy[n, p, q, k]。",
)
_PAD_CONCEPT = Text(
    "The windows must lie where they lay in the forward pass: over the same padding.",
    "窗口的位置必须与前向传播时一样：用同样的填充。",
)


def mistakes_of_axes(line: Text) -> tuple[Mistake, ...]:
    """Those of `of_other_axis`. A square picture with a square kernel shows none of them."""
    said = (
        ("stride_of_rows_for_both", "stride[0], that of the height, is", "高的 stride[0]"),
        ("rate_of_rows_for_both", "rate[0], that of the height, is", "高的 rate[0]"),
        ("rows_and_columns_padded_alike", "pads[0], those of the height, are", "高的 pads[0]"),
    )
    both = tuple(
        Mistake(
            name,
            Text(f"{en} used for the width too.", f"宽也用了{zh}。"),
            line,
            _BOTH_AXES,
        )
        for name, en, zh in said
    )
    exchanged = Text(
        "pads[0] and pads[1] are exchanged: (top, bottom) is height's, (left, right) is width's.",
        "pads[0] 与 pads[1] 用反了：(top, bottom) 属于高，(left, right) 属于宽。",
    )
    return (*both, Mistake("pads_exchanged", exchanged, line, _BOTH_AXES))


_BOTH_AXES = Text(
    "Height and width have a stride, a rate and paddings each: (sh, sw), (rh, rw), ((top, bottom), (left, right)).",
    "高与宽各有自己的步长、空洞率和填充：(sh, sw)、(rh, rw)、((top, bottom), (left, right))。",
)

MISTAKES = (
    Mistake(
        "dw_batch_mean",
        Text(
            "dw is divided by the number of images. The loss has taken its mean already: dy contains it.",
            "dw 除以了图像的个数。取平均是损失函数的事，dy 里已经包含了。",
        ),
        LINE,
    ),
    Mistake(
        "first_image_only",
        Text("Only the first image of the batch contributes.", "只有批次中的第一幅图像起作用。"),
        LINE,
    ),
    Mistake(
        "last_pixel_only",
        Text(
            "= in the place of += in the loop over pixels: only the last pixel of the last image is left.",
            "在遍历像素的循环里写成了 = 而不是 +=：只剩下最后一幅图像的最后一个像素。",
        ),
        LINE,
    ),
    Mistake(
        "dw_flipped",
        Text(
            "dw is turned by 180 degrees. It is the view of dx as a convolution that needs a flipped kernel; dw needs none.",
            "dw 旋转了 180 度。需要翻转卷积核的是把 dx 写成卷积的做法，dw 不需要。",
        ),
        LINE,
    ),
    Mistake(
        "kh_kw_swapped",
        Text(
            "The kernel's rows and columns are interchanged in dw: dw[j, i] for dw[i, j].",
            "dw 中卷积核的行与列互换了：应是 dw[i, j]，写成了 dw[j, i]。",
        ),
        LINE,
    ),
    Mistake(
        "channels_swapped",
        Text(
            "dw has its channels the wrong way round, [KH, KW, K, C]: dY^T X in the place of X^T dY.",
            "dw 的两个通道轴反了，成了 [KH, KW, K, C]：算的是 dY^T X，而不是 X^T dY。",
        ),
        LINE,
    ),
    Mistake(
        "stride_ignored",
        Text(
            "Neighbouring output pixels are given neighbouring pixels of x: the step between them is stride, not 1.",
            "相邻的输出像素对上了 x 中相邻的像素：它们之间应当相隔 stride，而不是 1。",
        ),
        LINE,
    ),
    Mistake(
        "rate_ignored",
        Text(
            "Neighbouring taps of the kernel are given neighbouring pixels of x: they lie rate apart.",
            "卷积核相邻的位置对上了 x 中相邻的像素：它们应当相隔 rate。",
        ),
        LINE,
    ),
    Mistake(
        "pads_swapped",
        Text(
            "x is padded with (bottom, top) and (right, left): before and after are interchanged.",
            "x 按 (bottom, top)、(right, left) 填充：前后弄反了。",
        ),
        _PAD_LINE,
        _PAD_CONCEPT,
    ),
    Mistake(
        "edges_repeated",
        Text(
            "The padding repeats the pixels at the edge (mode='edge'); the forward pass pads with zeros.",
            "填充时重复了边缘像素（mode='edge'），而前向传播填充的是 0。",
        ),
        _PAD_LINE,
        _PAD_CONCEPT,
    ),
    Mistake(
        "last_image_only",
        Text(
            "= in the place of += in the loop over images: only the last image is left.",
            "在遍历图像的循环里写成了 = 而不是 +=：只剩下最后一幅图像。",
        ),
        LINE,
    ),
    *mistakes_of_axes(LINE),
)

EXERCISE = Exercise(
    name="conv2d_weights_gradient",
    title=Text("Convolution, the weights' gradient", "卷积：权重的梯度"),
    task=TASK,
    equation="dw[i,j,c,k] = sum_{n,p,q} x[n, p*stride + i*rate - top, q*stride + j*rate - left, c] * dy[n,p,q,k]",
    presupposes=("im2col",),
    notebook="05",
    minutes=20,
    stub=conv2d_weights_gradient,
    answer=answer,
    also_right=(as_one_product, pixel_by_pixel, as_a_convolution),
    outputs=(Output("dw", "IJCK", CONCEPT, LINE),),
    cases=cases,
    attempt=attempt,
    mistakes=MISTAKES,
)
