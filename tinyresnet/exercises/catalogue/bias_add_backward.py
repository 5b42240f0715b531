"""bias_add_backward: a bias is added to every pixel, so its gradient sums over every pixel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ... import ops
from ...backend import Array
from ...ops import BiasAddSaved
from ..exercise import Case, Exercise, Mistake, Output, Rng
from ..language import Text

TASK = Text(
    en="""\
A bias for every channel: y = x + b, where NumPy spreads b over all images and pixels. Write the backward pass.

- `dy` [..., C]: the gradient of the loss with respect to y; usually [N, H, W, C], but [N, C] must work too.
- `saved.shape`: the shape of x, which is that of dy.
- Return dx [..., C] and db [C], of dy's dtype. dx may be dy itself.
""",
    zh="""\
每个通道一个偏置：y = x + b，NumPy 把 b 广播到所有图像和像素。请写出它的反向传播。

- `dy` [..., C]：损失对 y 的梯度；通常是 [N, H, W, C]，但 [N, C] 也要能用。
- `saved.shape`：x 的形状，与 dy 的形状相同。
- 返回 dx [..., C] 与 db [C]，数据类型与 dy 相同。dx 可以就是 dy 本身。
""",
)


def bias_add_backward(dy: Array, saved: BiasAddSaved) -> tuple[Array, Array]:
    """dy [..., C] -> dx [..., C], db [C]"""
    raise NotImplementedError("bias_add_backward is not written yet")


def answer(dy: Array, saved: BiasAddSaved) -> tuple[Array, Array]:
    """dx = dy; db = the sum over all axes but the channels'."""
    return dy, dy.sum(axis=tuple(range(dy.ndim - 1)))


def as_rows(dy: Array, saved: BiasAddSaved) -> tuple[Array, Array]:
    """The same as a product: a row of ones times dy as a matrix."""
    rows = dy.reshape(-1, dy.shape[-1])
    return dy.copy(), np.ones(len(rows), dy.dtype) @ rows


def channel_by_channel(dy: Array, saved: BiasAddSaved) -> tuple[Array, Array]:
    """The same with a loop, summed in Python's floats."""
    db = [sum(float(value) for value in dy[..., c].flat) for c in range(dy.shape[-1])]
    return np.array(dy), np.array(db, dy.dtype)


def axis_by_axis(dy: Array, saved: BiasAddSaved) -> tuple[Array, Array]:
    """The same one axis after the other, in float64, until only the channels are left."""
    db = dy.astype(np.float64)
    while db.ndim > 1:
        db = db.sum(axis=0)
    return dy, db.astype(dy.dtype)


def cases(rng: Rng, dtype: Any) -> Iterator[Case]:
    """Images and a matrix; dy has a mean, so that no channel's sum is near zero."""
    for shape, about in (((2, 3, 2, 4), Text("images", "图像")), ((5, 3), Text("a matrix [N, C]", "矩阵 [N, C]"))):
        x, b = rng.standard_normal(shape).astype(dtype), rng.standard_normal(shape[-1]).astype(dtype)
        dy = (rng.uniform(0.5, 1.5, shape) * rng.choice([-1, 1], shape[-1])).astype(dtype)
        yield Case(
            about,
            (dy, ops.bias_add_forward(x, b)[1]),
            forward=lambda x, b: ops.bias_add_forward(x, b)[0],
            arrays=(x, b),
        )


def attempt(wrong: frozenset[str], dy: Array, saved: BiasAddSaved) -> tuple[Array, Array]:
    """`answer` with these mistakes made."""
    over: tuple[int, ...] = tuple(range(dy.ndim - 1))
    pixels = dy.size // dy.shape[-1]
    if "batch_axis_only" in wrong:
        over = (0,)
    if "pixel_axes_only" in wrong:
        over = tuple(range(1, dy.ndim - 1))
    if "channel_axis_summed" in wrong:
        over = tuple(range(1, dy.ndim))
    if "all_axes_summed" in wrong:
        over = tuple(range(dy.ndim))
    counted = dy
    if "dy_forgotten" in wrong:
        counted = np.ones_like(dy)
    if "first_image_only" in wrong:
        counted = counted[:1]
    db = counted.sum(axis=over, keepdims="axes_kept" in wrong)
    if "db_is_a_mean" in wrong:
        db = db / pixels
    if "dx_is_db" in wrong:
        return np.broadcast_to(dy.sum(tuple(range(dy.ndim - 1))), dy.shape).copy(), np.asarray(db)
    return np.ones_like(dy) if "dx_is_one" in wrong else dy, np.asarray(db)


_DX = Text("dx = dy", "dx = dy")
_DB = Text("db = dy.sum(axis=tuple(range(dy.ndim - 1)))", "db = dy.sum(axis=tuple(range(dy.ndim - 1)))")
_DX_CONCEPT = Text(
    "x is shifted, nothing more: a change of x changes y by as much. So the gradient passes as it is.",
    "x 只是平移了：x 变多少，y 就变多少。所以梯度原样通过。",
)
_DB_CONCEPT = Text(
    "What is spread going forward is summed going back: b[c] was added to every image and every pixel of channel c, so "
    "its gradient is the sum of dy over all of them.",
    "前向时广播，反向时求和：b[c] 加到了第 c 通道的每幅图像、每个像素上，所以它的梯度是 dy 在这些位置上的总和。",
)

MISTAKES = (
    Mistake(
        "db_is_a_mean",
        Text("dy is averaged over the pixels, not summed.", "对 dy 在像素上取了平均，而不是求和。"),
        _DB,
    ),
    Mistake(
        "batch_axis_only",
        Text(
            "dy is summed over the batch only, as in a dense layer: the pixels' axes are left.",
            "只在批次轴上求和，像全连接层那样：像素的轴还在。",
        ),
        _DB,
    ),
    Mistake(
        "pixel_axes_only",
        Text(
            "dy is summed over the pixels only: every image has a bias gradient of its own.",
            "只在像素轴上求和：每幅图像各有一份偏置梯度。",
        ),
        _DB,
    ),
    Mistake(
        "channel_axis_summed",
        Text(
            "dy is summed over the channels, and the batch is left: axis=(1, 2, 3) where axis=(0, 1, 2) is meant.",
            "对通道求了和，却留下了批次轴：应是 axis=(0, 1, 2)，写成了 axis=(1, 2, 3)。",
        ),
        _DB,
    ),
    Mistake(
        "all_axes_summed",
        Text(
            "dy is summed to a single number; each channel has its own bias.",
            "dy 被加成了一个数，而每个通道有自己的偏置。",
        ),
        _DB,
    ),
    Mistake(
        "axes_kept",
        Text(
            "The summed axes are kept (keepdims=True): db has shape [1, 1, 1, C] and not [C].",
            "求和后保留了各轴（keepdims=True）：db 的形状是 [1, 1, 1, C]，而不是 [C]。",
        ),
        _DB,
    ),
    Mistake(
        "first_image_only",
        Text("Only the first image of the batch is summed.", "只对批次中的第一幅图像求了和。"),
        _DB,
    ),
    Mistake(
        "dy_forgotten",
        Text(
            "db counts the pixels: the local derivative 1 is summed without dy.",
            "db 数的是像素的个数：只对局部导数 1 求和，没有乘 dy。",
        ),
        _DB,
    ),
    Mistake(
        "dx_is_one",
        Text(
            "dx is the local derivative 1, without dy: the chain rule's other factor is missing.",
            "dx 只是局部导数 1，没有乘 dy：缺少链式法则的另一个因子。",
        ),
        _DX,
    ),
    Mistake(
        "dx_is_db",
        Text(
            "dx is the bias gradient, spread over the pixels. Only b is shared by the pixels; every x has its own y.",
            "dx 用了偏置的梯度再广播到各像素。各像素共用的只有 b，每个 x 有自己的 y。",
        ),
        _DX,
    ),
)

EXERCISE = Exercise(
    name="bias_add_backward",
    title=Text("Adding a bias, backward", "加偏置的反向传播"),
    task=TASK,
    equation="dx = dy; db[c] = sum_{n,p,q} dy[n,p,q,c]",
    presupposes=(),
    notebook="02",
    minutes=5,
    stub=bias_add_backward,
    answer=answer,
    also_right=(as_rows, channel_by_channel, axis_by_axis),
    outputs=(
        Output("dx", "...C", _DX_CONCEPT, _DX, may_be_input=True),
        Output("db", "C", _DB_CONCEPT, _DB),
    ),
    cases=cases,
    attempt=attempt,
    mistakes=MISTAKES,
    op="bias_add_backward",
)
