"""squeeze_backward: a change of shape has a change of shape for its gradient."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ... import ops
from ...backend import Array
from ...ops import SqueezeSaved
from ..exercise import Case, Exercise, Mistake, Output, Rng
from ..language import Text

TASK = Text(
    en="""\
A ResNet's logits come out of a 1x1 convolution as [N, 1, 1, C]; squeeze makes [N, C] of them. Write the backward pass of this.

- `dy` [N, C]: the gradient of the loss with respect to y.
- `saved.shape`: x's, (N, 1, 1, C).
- Return dx [N, 1, 1, C], of dy's dtype. A view of dy is fine.
""",
    zh="""\
ResNet 的 logits 由 1x1 卷积给出，形状为 [N, 1, 1, C]；squeeze 把它变成 [N, C]。请写出它的反向传播。

- `dy` [N, C]：损失对 y 的梯度。
- `saved.shape`：x 的形状 (N, 1, 1, C)。
- 返回 dx [N, 1, 1, C]，数据类型与 dy 相同。可以是 dy 的视图。
""",
)


def squeeze_backward(dy: Array, saved: SqueezeSaved) -> Array:
    """dy [N, C] -> dx [N, 1, 1, C]"""
    raise NotImplementedError("squeeze_backward is not written yet")


def answer(dy: Array, saved: SqueezeSaved) -> Array:
    """dx[n,0,0,c] = dy[n,c]."""
    return dy.reshape(saved.shape)


def by_new_axes(dy: Array, saved: SqueezeSaved) -> Array:
    """The same by putting in two axes of length 1."""
    return np.expand_dims(dy, (1, 2)).copy()


def by_writing(dy: Array, saved: SqueezeSaved) -> Array:
    """The same by writing into an array of x's shape."""
    dx = np.zeros(saved.shape, dy.dtype)
    dx[:, 0, 0, :] = dy
    return dx


def cases(rng: Rng, dtype: Any) -> Iterator[Case]:
    """More classes than images, as many, and a single image."""
    for n, c, about in (
        (2, 5, Text("2 images, 5 classes", "2 幅图像，5 个类别")),
        (3, 3, Text("as many images as classes", "图像数与类别数相同")),
        (1, 4, Text("a single image", "只有一幅图像")),
    ):
        x = rng.standard_normal((n, 1, 1, c)).astype(dtype)
        dy = (np.arange(1, n * c + 1) * rng.uniform(0.5, 1) * rng.choice((-1, 1), n * c)).reshape(n, c).astype(dtype)
        saved = ops.squeeze_forward(x)[1]
        yield Case(about, (dy, saved), forward=lambda x: ops.squeeze_forward(x)[0], arrays=(x,))


def attempt(wrong: frozenset[str], dy: Array, saved: SqueezeSaved) -> Array:
    """`answer` with these mistakes made."""
    n, _, _, c = saved.shape
    dx = np.ones_like(dy) if "dy_forgotten" in wrong else dy.copy()
    if "summed_over_the_batch" in wrong:
        dx, n = dx.sum(0, keepdims=True), 1
    if "transposed" in wrong:
        dx = np.ascontiguousarray(dx.T).reshape(n, c)
    if "not_reshaped" in wrong:
        return dx
    if "one_axis_only" in wrong:
        return dx.reshape(n, 1, c)
    if "channels_first" in wrong:
        return dx.reshape(n, c, 1, 1)
    if "axes_in_front" in wrong:
        return dx.reshape(1, 1, n, c)
    if "batch_last" in wrong:
        return dx.T.reshape(c, 1, 1, n)
    return dx.reshape(n, 1, 1, c)


_LINE = Text("dx = dy.reshape(saved.shape)", "dx = dy.reshape(saved.shape)")
_CONCEPT = Text(
    "Squeeze moves no number and changes none: each y is one x under another index. So each dx is one dy, in x's shape.",
    "squeeze 不移动也不改变任何数：每个 y 就是换了下标的一个 x。所以每个 dx 就是一个 dy，只是形状与 x 相同。",
)

MISTAKES = (
    Mistake(
        "not_reshaped",
        Text(
            "dy is handed on as [N, C]. A gradient has the shape of what it is the gradient of: x was [N, 1, 1, C].",
            "dy 以 [N, C] 原样传回。梯度的形状要与它所对应的量相同：x 是 [N, 1, 1, C]。",
        ),
        _LINE,
    ),
    Mistake(
        "one_axis_only",
        Text(
            "Only one axis came back: [N, 1, C]. Squeeze had taken two.",
            "只补回了一个轴：[N, 1, C]。squeeze 去掉的是两个。",
        ),
        _LINE,
    ),
    Mistake(
        "channels_first",
        Text(
            "The two axes came back at the end, [N, C, 1, 1], as in PyTorch's layout. Here the channels are last.",
            "两个轴补在了末尾，成了 [N, C, 1, 1]，那是 PyTorch 的布局。这里通道在最后。",
        ),
        _LINE,
    ),
    Mistake(
        "axes_in_front",
        Text(
            "The two axes came back in front, [1, 1, N, C]: dy[None, None] puts them there.",
            "两个轴补在了最前面，成了 [1, 1, N, C]：dy[None, None] 就是这样。",
        ),
        _LINE,
    ),
    Mistake(
        "batch_last",
        Text(
            "dy was transposed: dx is [C, 1, 1, N]. The batch is the first axis before and after.",
            "dy 被转置了：dx 成了 [C, 1, 1, N]。批次前后都是第一个轴。",
        ),
        _LINE,
    ),
    Mistake(
        "transposed",
        Text(
            "dy was transposed and then reshaped: the shape is right and the numbers are in the wrong places.",
            "dy 先转置再 reshape：形状对了，数却放错了位置。",
        ),
        _LINE,
    ),
    Mistake(
        "summed_over_the_batch",
        Text(
            "dy is summed over the batch, as for a bias. Every image has logits of its own.",
            "dy 对批次求了和，像偏置那样。每幅图像有自己的 logits。",
        ),
        _LINE,
    ),
    Mistake(
        "dy_forgotten",
        Text(
            "dx is all ones: that is the local derivative, and the upstream gradient dy is missing.",
            "dx 全是 1：那只是局部导数，没有乘上游梯度 dy。",
        ),
        _LINE,
    ),
)

EXERCISE = Exercise(
    name="squeeze_backward",
    title=Text("Squeeze, backward", "squeeze 的反向传播"),
    task=TASK,
    equation="y[n,c] = x[n,0,0,c]",
    presupposes=(),
    notebook="07",
    minutes=3,
    stub=squeeze_backward,
    answer=answer,
    also_right=(by_new_axes, by_writing),
    outputs=(Output("dx", "NHWC", _CONCEPT, _LINE, may_be_input=True),),
    cases=cases,
    attempt=attempt,
    mistakes=MISTAKES,
    op="squeeze_backward",
)
