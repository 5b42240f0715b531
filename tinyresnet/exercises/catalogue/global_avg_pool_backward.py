"""global_avg_pool_backward: each pixel has an equal share in the mean, and so an equal share of its gradient."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ... import ops
from ...backend import Array
from ...ops import GlobalAvgPoolSaved
from ..exercise import Case, Exercise, Mistake, Output, Rng
from ..language import Text

TASK = Text(
    en="""\
At its end a ResNet makes one number of each feature map: y[n,0,0,c] is the mean of x[n,:,:,c]. Write the backward pass of this.

- `dy` [N, 1, 1, C]: the gradient of the loss with respect to y.
- `saved.shape`: x's, (N, H, W, C).
- Return dx [N, H, W, C], of dy's dtype.
""",
    zh="""\
ResNet 在末尾把每张特征图变成一个数：y[n,0,0,c] 是 x[n,:,:,c] 的平均值（全局平均池化）。请写出它的反向传播。

- `dy` [N, 1, 1, C]：损失对 y 的梯度。
- `saved.shape`：x 的形状 (N, H, W, C)。
- 返回 dx [N, H, W, C]，数据类型与 dy 相同。
""",
)


def global_avg_pool_backward(dy: Array, saved: GlobalAvgPoolSaved) -> Array:
    """dy [N, 1, 1, C] -> dx [N, H, W, C]"""
    raise NotImplementedError("global_avg_pool_backward is not written yet")


def answer(dy: Array, saved: GlobalAvgPoolSaved) -> Array:
    """dx[n,h,w,c] = dy[n,0,0,c] / (H * W)."""
    _, h, w, _ = saved.shape
    return np.broadcast_to(dy / (h * w), saved.shape).copy()


def by_ones(dy: Array, saved: GlobalAvgPoolSaved) -> Array:
    """The same as the product with the local derivative, 1 / (H * W) everywhere."""
    return dy * np.full(saved.shape, 1 / np.prod(saved.shape[1:3]), dy.dtype)


def by_repeating(dy: Array, saved: GlobalAvgPoolSaved) -> Array:
    """The same by repeating along both axes, in float64."""
    _, h, w, _ = saved.shape
    return (dy.astype(np.float64).repeat(h, axis=1).repeat(w, axis=2) / h / w).astype(dy.dtype)


def cases(rng: Rng, dtype: Any) -> Iterator[Case]:
    """Maps that are not square; more channels than images and fewer."""
    for shape in ((2, 3, 4, 3), (3, 4, 2, 2)):
        x = rng.standard_normal(shape).astype(dtype)
        y, saved = ops.global_avg_pool_forward(x)
        dy = (np.arange(1, y.size + 1) * rng.uniform(0.5, 1, y.size) * rng.choice((-1, 1), y.size)).reshape(y.shape)
        about = Text(f"maps of {shape[1]}x{shape[2]} pixels", f"{shape[1]}x{shape[2]} 像素")
        yield Case(about, (dy.astype(dtype), saved), forward=lambda x: ops.global_avg_pool_forward(x)[0], arrays=(x,))


def attempt(wrong: frozenset[str], dy: Array, saved: GlobalAvgPoolSaved) -> Array:
    """`answer` with these mistakes made."""
    n, h, w, c = saved.shape
    if "height_width_swapped" in wrong:
        h, w = w, h
    if "summed_over_the_batch" in wrong:
        dy = dy.sum(0, keepdims=True)
    if "one_number_an_image" in wrong:
        dy = dy.mean(-1, keepdims=True)
    if "not_divided" not in wrong:
        dy = dy / (h * w)
    if "not_spread" in wrong:
        return dy * 1
    dy = np.broadcast_to(dy, (n, 1, 1, c))
    if "channels_first" in wrong:
        return dy.repeat(h * w).reshape(n, h, w, c)
    dx = np.zeros((n, h, w, c), dy.dtype)
    if "one_pixel_only" in wrong:
        dx[:, :1, :1] = dy
    elif "first_row_only" in wrong:
        dx[:, :1] = dy
    else:
        dx += dy
    return dx


_LINE = Text(
    "dx = np.broadcast_to(dy / (H * W), (N, H, W, C)).copy()", "dx = np.broadcast_to(dy / (H * W), (N, H, W, C)).copy()"
)
_CONCEPT = Text(
    "y is a sum over H * W pixels, each with the factor 1 / (H * W). A sum in the forward pass is a copying in the backward pass, "
    "and the factor stays.",
    "y 是 H * W 个像素之和，每个都带因子 1 / (H * W)。前向传播中的求和，在反向传播中就是复制；因子不变。",
)

MISTAKES = (
    Mistake(
        "not_divided",
        Text(
            "Every pixel gets the whole dy: the 1 / (H * W) of the mean is missing. That is the gradient of a sum.",
            "每个像素都得到了全部 dy：漏了平均的 1 / (H * W)。那是求和的梯度。",
        ),
        _LINE,
    ),
    Mistake(
        "not_spread",
        Text(
            "dx has dy's shape, [N, 1, 1, C]. It broadcasts, so it looks right until somebody needs the pixels.",
            "dx 的形状还是 dy 的 [N, 1, 1, C]。它可以广播，所以在用到各个像素之前看似没错。",
        ),
        _LINE,
    ),
    Mistake(
        "one_pixel_only",
        Text(
            "Only the first pixel gets a gradient, as if y had been taken from there. All pixels are in the mean.",
            "只有第一个像素得到梯度，好像 y 只取自那里。其实所有像素都参与了平均。",
        ),
        _LINE,
    ),
    Mistake(
        "first_row_only",
        Text(
            "Only the first row gets a gradient: the spreading along the height is missing.",
            "只有第一行得到梯度：漏了沿高度方向的复制。",
        ),
        _LINE,
    ),
    Mistake(
        "channels_first",
        Text(
            "Each number is repeated H * W times in a row and all of it reshaped: right for [N, C, H, W], but here the channels "
            "are the last axis.",
            "把每个数连续重复 H * W 次再 reshape：对 [N, C, H, W] 是对的，但这里通道是最后一轴。",
        ),
        Text("np.broadcast_to, or dy.repeat(H, 1).repeat(W, 2)", "np.broadcast_to，或 dy.repeat(H, 1).repeat(W, 2)"),
    ),
    Mistake(
        "height_width_swapped",
        Text("dx is [N, W, H, C]: height and width are the wrong way round.", "dx 成了 [N, W, H, C]：高和宽弄反了。"),
        _LINE,
    ),
    Mistake(
        "summed_over_the_batch",
        Text(
            "dy is summed over the batch first, as for a bias. Every image has pixels of its own: nothing is shared here.",
            "先把 dy 对批次求了和，像偏置那样。但每幅图像有自己的像素，这里没有共用的东西。",
        ),
        _LINE,
    ),
    Mistake(
        "one_number_an_image",
        Text(
            "dy is averaged over the channels too. The mean is over height and width; each channel keeps its own.",
            "dy 对通道也取了平均。平均只对高和宽，每个通道各有自己的梯度。",
        ),
        _LINE,
    ),
)

EXERCISE = Exercise(
    name="global_avg_pool_backward",
    title=Text("Global average pooling, backward", "全局平均池化的反向传播"),
    task=TASK,
    equation="y[n,0,0,c] = sum_{h,w} x[n,h,w,c] / (H * W)",
    presupposes=("bias_add_backward",),
    notebook="07",
    minutes=5,
    stub=global_avg_pool_backward,
    answer=answer,
    also_right=(by_ones, by_repeating),
    outputs=(Output("dx", "NHWC", _CONCEPT, _LINE),),
    cases=cases,
    attempt=attempt,
    mistakes=MISTAKES,
    op="global_avg_pool_backward",
)
