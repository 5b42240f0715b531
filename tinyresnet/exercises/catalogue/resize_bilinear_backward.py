"""resize_bilinear_backward: each input pixel collects from where it was given to, which is the transpose and not the inverse."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from ... import ops
from ...backend import Array
from ...ops import ResizeBilinearSaved
from ..exercise import Case, Exercise, Mistake, Output, Rng
from ..language import Text

TASK = Text(
    en="""\
A net that labels every pixel makes its coarse map as large as the picture again, bilinearly. For each image and channel that is

    y = A x B^T

where row p of A [OH, H] holds the weights with which y's row p is mixed of x's rows: two numbers at most, which add up to 1, the rest 0
(corners fall on corners). B [OW, W] is the same for the columns. Write the backward pass.

- `dy` [N, OH, OW, C]: the gradient of the loss with respect to y.
- `saved.shape`: x's, (N, H, W, C). `saved.rows`: A. `saved.columns`: B.
- Return dx [N, H, W, C], of dy's dtype.
""",
    zh="""\
给每个像素分类的网络，要用双线性插值把粗糙的特征图放大回图像的大小。对每幅图像、每个通道，

    y = A x B^T

其中 A [OH, H] 的第 p 行是由 x 的各行混合出 y 的第 p 行所用的权重：至多两个数，和为 1，其余为 0（角点与角点对齐）。
B [OW, W] 是列方向的权重。请写出反向传播。

- `dy` [N, OH, OW, C]：损失对 y 的梯度。
- `saved.shape`：x 的形状 (N, H, W, C)。`saved.rows`：A。`saved.columns`：B。
- 返回 dx [N, H, W, C]，数据类型与 dy 相同。
""",
)


def resize_bilinear_backward(dy: Array, saved: ResizeBilinearSaved) -> Array:
    """dy [N, OH, OW, C] -> dx [N, H, W, C]"""
    raise NotImplementedError("resize_bilinear_backward is not written yet")


def answer(dy: Array, saved: ResizeBilinearSaved) -> Array:
    """dx = A^T dy B for each image and channel."""
    dx: Array = np.einsum("ph,npqc,qw->nhwc", saved.rows, dy, saved.columns)
    return dx


def by_products(dy: Array, saved: ResizeBilinearSaved) -> Array:
    """The same as products of matrices, the channels moved out of the way."""
    planes = saved.rows.T @ dy.transpose(0, 3, 1, 2) @ saved.columns  # [N, C, H, W]
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1))


def by_scatter(dy: Array, saved: ResizeBilinearSaved) -> Array:
    """The same pixel by pixel: each y gives its gradient back to the pixels it was mixed of, by their weights. In float64."""
    dx = np.zeros(saved.shape)
    for p, q in np.ndindex(*dy.shape[1:3]):
        for h in np.flatnonzero(saved.rows[p]):
            for w in np.flatnonzero(saved.columns[q]):
                dx[:, h, w] += saved.rows[p, h] * saved.columns[q, w] * dy[:, p, q]
    return dx.astype(dy.dtype)


def cases(rng: Rng, dtype: Any) -> Iterator[Case]:
    """Larger and smaller, by other factors in height than in width."""
    for shape, size, about in (
        ((2, 3, 2, 2), (5, 4), Text("a map of 3x2 resized to 5x4", "从 3x2 放大到 5x4 像素")),
        ((1, 4, 5, 3), (3, 4), Text("a map of 4x5 resized to 3x4", "从 4x5 缩小到 3x4 像素")),
    ):
        x = rng.standard_normal(shape).astype(dtype)
        y, saved = ops.resize_bilinear_forward(x, size)
        dy = (rng.uniform(0.5, 2, y.shape) * rng.choice((-1, 1), y.shape)).astype(dtype)
        yield Case(about, (dy, saved), forward=partial(_forward, size=size), arrays=(x,))


def _forward(x: Array, size: tuple[int, int]) -> Array:
    return ops.resize_bilinear_forward(x, size)[0]


def attempt(wrong: frozenset[str], dy: Array, saved: ResizeBilinearSaved) -> Array:
    """`answer` with these mistakes made."""
    rows, columns = (_weights(wrong, a) for a in saved[1:])
    dx: Array = np.einsum("ph,npqc,qw->nhwc", rows, dy, columns).astype(dy.dtype)
    if "overlaps_overwritten" not in wrong:
        return dx
    dx = np.zeros(saved.shape, dy.dtype)
    for p, q in np.ndindex(*dy.shape[1:3]):
        for h in np.flatnonzero(rows[p]):
            for w in np.flatnonzero(columns[q]):
                dx[:, h, w] = rows[p, h] * columns[q, w] * dy[:, p, q]
    return dx


def _weights(wrong: frozenset[str], a: Array) -> Array:
    """`a` [out, size] as these mistakes have it."""
    out, size = a.shape
    near = a == a.max(1, keepdims=True)
    place = np.arange(out) * ((size - 1) / (out - 1))
    if "corners_not_aligned" in wrong:  # pixel centres at 1/2, as PyTorch has it unless told otherwise
        place = np.clip((np.arange(out) + 0.5) * size / out - 0.5, 0, size - 1)
    below = np.floor(place + 1e-9)
    share = (place - below)[:, None]
    first = np.arange(size) == below[:, None]
    second = np.arange(size) == below[:, None] + 1
    if "corners_not_aligned" in wrong:
        a = first * (1 - share) + second * share
    if "weights_swapped" in wrong:
        a = first * share + second * (1 - share)
    if "second_neighbour_forgotten" in wrong:
        a = a * first
    if "nearest_takes_all" in wrong:
        a = (near & (near.cumsum(1) == 1)).astype(a.dtype)
    if "interpolated_back" in wrong:
        back = np.arange(size)[:, None] * ((out - 1) / (size - 1)) - np.arange(out)
        a = np.maximum(1 - abs(back), 0).T
    if "inverse_for_transpose" in wrong:
        a = np.linalg.pinv(a).T
    if "averaged_not_summed" in wrong:
        a = a / np.maximum(a.sum(0), 1e-9)
    if "scaled_by_area" in wrong:
        a = a * (size / out)
    return a


_LINE = Text(
    'dx = np.einsum("ph,npqc,qw->nhwc", saved.rows, dy, saved.columns)',
    'dx = np.einsum("ph,npqc,qw->nhwc", saved.rows, dy, saved.columns)',
)
_CONCEPT = Text(
    "Forward is a linear map: y[p] = sum_h A[p,h] * x[h]. So x[h] is in every y[p] with the weight A[p,h], and collects "
    "from each: dx[h] = sum_p A[p,h] * dy[p], the same weights summed over the other index.",
    "前向是线性映射：y[p] = sum_h A[p,h] * x[h]。x[h] 以权重 A[p,h] 出现在每个 y[p] 中，于是从每个 y[p] 收回梯度："
    "dx[h] = sum_p A[p,h] * dy[p]，权重不变，只是对另一个下标求和。",
)
_WEIGHTS = Text(
    "Use saved.rows and saved.columns as they are: forward used these weights",
    "原样使用 saved.rows 和 saved.columns：前向传播用的就是这些权重",
)
_SAME = Text(
    "A gradient goes back along the paths by which the value came, with the weights that it came with.",
    "梯度沿着数值来时的路径返回，权重也是来时的权重。",
)

MISTAKES = (
    Mistake(
        "interpolated_back",
        Text(
            "dy is resized to x's size by the same interpolation. That makes another picture of dy; the gradient is the transpose.",
            "用同样的插值把 dy 缩放到了 x 的大小。那只是 dy 的缩略图；梯度要用转置把贡献收集回来。",
        ),
        _LINE,
    ),
    Mistake(
        "inverse_for_transpose",
        Text(
            "The (pseudo-)inverse of A and B is used: that leads from y back to x, not from dy to dx. The gradient wants the transpose.",
            "用了 A 与 B 的（伪）逆：那是由 y 求回 x，不是由 dy 求 dx。梯度要的是转置。",
        ),
        _LINE,
    ),
    Mistake(
        "averaged_not_summed",
        Text(
            "Each pixel of dx is a weighted mean of dy: the weights were made to add up to 1. But a pixel used often has a large gradient.",
            "dx 的每个像素成了 dy 的加权平均：权重被归一了。用得多的像素，梯度本来就大。",
        ),
        _LINE,
    ),
    Mistake(
        "scaled_by_area",
        Text(
            "dx is multiplied by H * W / (OH * OW), as if the sum had to be made a mean.",
            "dx 乘了 H * W / (OH * OW)，好像要把求和变成平均。",
        ),
        _LINE,
    ),
    Mistake(
        "overlaps_overwritten",
        Text(
            "In the loop dx[:, h, w] is written (=) and not added to (+=): each pixel keeps what it got last.",
            "循环中对 dx[:, h, w] 用了赋值（=）而不是累加（+=）：每个像素只留下最后一次得到的。",
        ),
        Text(
            "dx[:, h, w] += A[p, h] * B[q, w] * dy[:, p, q]",
            "dx[:, h, w] += A[p, h] * B[q, w] * dy[:, p, q]",
        ),
    ),
    Mistake(
        "nearest_takes_all",
        Text(
            "The nearest pixel gets the whole gradient: that is nearest-neighbour interpolation. y was mixed of two rows and two columns.",
            "梯度全给了最近的像素：那是最近邻插值。y 是由两行两列混合而成的。",
        ),
        _WEIGHTS,
        _SAME,
    ),
    Mistake(
        "second_neighbour_forgotten",
        Text(
            "Only the neighbour at the rounded-down place gets its share; those in the next row and in the next column get nothing.",
            "只有向下取整的那个相邻像素得到了它的一份，后一行和后一列的相邻像素什么也没得到。",
        ),
        _WEIGHTS,
        _SAME,
    ),
    Mistake(
        "weights_swapped",
        Text(
            "The two weights are the wrong way round: the nearer pixel got the smaller one.",
            "两个权重弄反了：较近的像素反而权重较小。",
        ),
        _WEIGHTS,
        _SAME,
    ),
    Mistake(
        "corners_not_aligned",
        Text(
            "The weights were worked out anew with pixel centres at 1/2 (align_corners=False). Here corners fall on corners.",
            "重新计算权重时把像素中心放在了 1/2 处（align_corners=False）。这里角点与角点对齐。",
        ),
        _WEIGHTS,
        _SAME,
    ),
)

EXERCISE = Exercise(
    name="resize_bilinear_backward",
    title=Text("Bilinear resizing, backward", "双线性插值的反向传播"),
    task=TASK,
    equation="y[n,p,q,c] = sum_{h,w} A[p,h] * B[q,w] * x[n,h,w,c]",
    presupposes=("subsample_backward",),
    notebook="09",
    minutes=10,
    stub=resize_bilinear_backward,
    answer=answer,
    also_right=(by_products, by_scatter),
    outputs=(Output("dx", "NHWC", _CONCEPT, _LINE),),
    cases=cases,
    attempt=attempt,
    mistakes=MISTAKES,
    op="resize_bilinear_backward",
)
