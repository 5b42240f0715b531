"""relu_backward: the gradient passes where the input was positive."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ... import ops
from ...backend import Array
from ...ops import ReluSaved
from ..exercise import Case, Exercise, Mistake, Output, Rng
from ..language import Text

TASK = Text(
    en="""\
ReLU cuts off what is negative: y = max(x, 0). Write its backward pass.

- `dy`, an array of any shape: the gradient of the loss with respect to y.
- `saved.y`, of the same shape: the output of the forward pass (y > 0 just where x > 0, so x itself need not be kept).
- Return dx, of the same shape and dtype. At x = 0 take the derivative as 0.
""",
    zh="""\
ReLU 把负数截断为零：y = max(x, 0)。请写出它的反向传播。

- `dy`：任意形状的数组，损失对 y 的梯度。
- `saved.y`：形状相同，前向传播的输出（y > 0 当且仅当 x > 0，因此不必保存 x）。
- 返回 dx，形状与数据类型都与 dy 相同。在 x = 0 处导数取 0。
""",
)


def relu_backward(dy: Array, saved: ReluSaved) -> Array:
    """dy [...], saved.y [...] -> dx [...]"""
    raise NotImplementedError("relu_backward is not written yet")


def answer(dy: Array, saved: ReluSaved) -> Array:
    """dx = dy where y > 0, else 0."""
    return dy * (saved.y > 0)


def by_where(dy: Array, saved: ReluSaved) -> Array:
    """The same by choosing."""
    return np.where(saved.y > 0, dy, 0).astype(dy.dtype)


def by_index(dy: Array, saved: ReluSaved) -> Array:
    """The same by writing zeros into a copy."""
    dx = dy.copy()
    dx[saved.y <= 0] = 0
    return dx


def cases(rng: Rng, dtype: Any) -> Iterator[Case]:
    """Images and a flat array away from zero, and an x that is exactly zero."""
    for shape, about in (
        ((2, 3, 4, 3), Text("images", "图像")),
        ((7,), Text("a flat array", "一维数组")),
    ):
        x = rng.standard_normal(shape)
        x = (x + 0.1 * np.sign(x)).astype(dtype)  # away from the kink, where a finite difference means nothing
        x.flat[:4] = (0.5, -0.75, 0.25, -1)  # both signs in both, in every combination
        dy = rng.standard_normal(shape).astype(dtype)
        dy.flat[:4] = (1.5, 1.25, -0.75, -2)
        saved = ops.relu_forward(x)[1]
        yield Case(about, (dy, saved), forward=lambda x: ops.relu_forward(x)[0], arrays=(x,))
    zero, dy = np.zeros(3, dtype), np.array([1.0, -2.0, 3.0], dtype)
    about = Text("an x of exactly 0, where the derivative is taken as 0", "x 恰好为 0：此处导数取 0")
    yield Case(about, (dy, ops.relu_forward(zero)[1]), expected=(zero,), source="TensorFlow, tf.nn.relu")


def attempt(wrong: frozenset[str], dy: Array, saved: ReluSaved) -> Array:
    """`answer` with these mistakes made."""
    y = saved.y
    mask: Array = y > 0
    if "mask_from_dy" in wrong:
        mask = dy > 0
    if "mask_inverted" in wrong:
        mask = ~mask
    if "mask_forgotten" in wrong:
        mask = np.ones_like(mask)
    if "dy_forgotten" in wrong:
        return mask.astype(dy.dtype)
    if "times_y" in wrong:
        return dy * y
    if "dy_clipped_too" in wrong:
        return np.maximum(dy, 0) * mask
    if "half_at_zero" in wrong:
        mask = np.where(mask, 1, 0.5).astype(dy.dtype)
    if "batch_mean" in wrong:
        return dy * mask / len(dy)
    return dy * mask * (-1 if "sign_flipped" in wrong else 1)


_LINE = Text("dx = dy * (saved.y > 0)", "dx = dy * (saved.y > 0)")
_CONCEPT = Text(
    "The derivative of max(x, 0) is 1 where x > 0 and 0 elsewhere. Each entry of dx depends on one entry of dy and on the sign of x there.",
    "max(x, 0) 的导数在 x > 0 处为 1，其余为 0。dx 的每个元素只取决于 dy 的同一元素和该处 x 的符号。",
)

MISTAKES = (
    Mistake(
        "mask_from_dy",
        Text(
            "The mask is taken from the sign of dy. The gradient's sign says nothing about where ReLU was open: that is x's sign.",
            "掩码取自 dy 的符号。梯度的符号与 ReLU 在哪里导通无关，应当看 x 的符号。",
        ),
        _LINE,
    ),
    Mistake(
        "mask_forgotten",
        Text(
            "dy is handed on everywhere, as if ReLU were the identity. (saved.y >= 0 does that too: y is never negative.)",
            "dy 被原样传回，好像 ReLU 是恒等映射。（saved.y >= 0 也是如此：y 从不为负。）",
        ),
        _LINE,
    ),
    Mistake(
        "mask_inverted",
        Text(
            "The gradient passes where x was negative: the comparison is the wrong way round.",
            "梯度在 x 为负的地方通过：比较的方向写反了。",
        ),
        _LINE,
    ),
    Mistake(
        "dy_forgotten",
        Text(
            "The local derivative (0 or 1) is returned without dy: the chain rule's second factor is missing.",
            "只返回了局部导数（0 或 1），没有乘 dy：缺少链式法则的另一个因子。",
        ),
        _LINE,
    ),
    Mistake(
        "times_y",
        Text(
            "dy is multiplied by y and not by y > 0: the value in the place of the derivative.",
            "dy 乘的是 y 而不是 y > 0：把函数值当成了导数。",
        ),
        _LINE,
    ),
    Mistake(
        "dy_clipped_too",
        Text(
            "Negative gradients are cut off as well (that is guided backpropagation, used for pictures, not the gradient).",
            "负的梯度也被截断了（那是用于可视化的 guided backpropagation，不是梯度）。",
        ),
        _LINE,
    ),
    Mistake(
        "half_at_zero",
        Text(
            "Where y is 0, half of the gradient passes: np.heaviside(y, 0.5) or (1 + np.sign(y)) / 2. y is 0 wherever x <= 0.",
            "y 为 0 处梯度通过了一半：np.heaviside(y, 0.5) 或 (1 + np.sign(y)) / 2。而凡 x <= 0 处 y 都是 0。",
        ),
        _LINE,
    ),
    Mistake(
        "sign_flipped",
        Text("The sign is the wrong way round.", "符号反了。"),
        _LINE,
    ),
    Mistake(
        "batch_mean",
        Text(
            "dx is divided by the length of the first axis, the number of images. The loss has taken its mean already: "
            "dy contains it.",
            "dx 除以了第一个轴的长度，即图像的个数。取平均是损失函数的事，dy 里已经包含了。",
        ),
        _LINE,
    ),
)

EXERCISE = Exercise(
    name="relu_backward",
    title=Text("ReLU, backward", "ReLU 的反向传播"),
    task=TASK,
    equation="dx[i] = dy[i] if x[i] > 0 else 0",
    presupposes=(),
    notebook="07",
    minutes=5,
    stub=relu_backward,
    answer=answer,
    also_right=(by_where, by_index),
    outputs=(Output("dx", "...", _CONCEPT, _LINE),),
    cases=cases,
    attempt=attempt,
    mistakes=MISTAKES,
    op="relu_backward",
)
