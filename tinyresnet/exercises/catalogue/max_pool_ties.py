"""max_pool_ties: after a ReLU many pixels are equal (0), and yet only one of a window may have the gradient."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...backend import Array
from ..exercise import Case, Exercise, Mistake, Output, Rng
from ..language import Text

TASK = Text(
    en="""\
Max pooling by yourself, forward and backward, with windows of 2x2 pixels that do not overlap (stride 2). Here many pixels are equal,
as they are after a ReLU: on a tie the *first* maximum takes the whole gradient, the window being read row by row, as in PyTorch.

- `x` [N, H, W, C], H and W even; any numbers, negative ones too. `dy` [N, H/2, W/2, C]: the gradient of the loss with respect to y.
- Return y [N, H/2, W/2, C] and dx [N, H, W, C], of x's dtype.

By hand, for one channel:

    x = 0 0 | 2 1    dy = 10 | 20    y = 0 | 2    dx = 10  0 | 20  0
        0 0 | 2 2         ---+---        --+--          0  0 |  0  0
        ----+----         30 | 40        3 | 5         ------+------
        3 1 | 0 5                                      30  0 |  0 40
        3 3 | 5 5                                       0  0 |  0  0
""",
    zh="""\
自己写最大池化的前向与反向：窗口 2x2，互不重叠（步长 2）。这里有许多像素相等，就像 ReLU 之后那样。
最大值不止一个时，按行读窗口，*第一个*最大值得到全部梯度。PyTorch 就是这样。

- `x` [N, H, W, C]，H 和 W 都是偶数；任意的数，也可以是负数。`dy` [N, H/2, W/2, C]：损失对 y 的梯度。
- 返回 y [N, H/2, W/2, C] 和 dx [N, H, W, C]，数据类型与 x 相同。

手算一个通道：

    x = 0 0 | 2 1    dy = 10 | 20    y = 0 | 2    dx = 10  0 | 20  0
        0 0 | 2 2         ---+---        --+--          0  0 |  0  0
        ----+----         30 | 40        3 | 5         ------+------
        3 1 | 0 5                                      30  0 |  0 40
        3 3 | 5 5                                       0  0 |  0  0
""",
)


def max_pool_ties(x: Array, dy: Array) -> tuple[Array, Array]:
    """x [N, H, W, C], dy [N, H/2, W/2, C] -> y [N, H/2, W/2, C], dx [N, H, W, C]"""
    raise NotImplementedError("max_pool_ties is not written yet")


def answer(x: Array, dy: Array) -> tuple[Array, Array]:
    """y = the largest of a window; dx = dy at the first pixel that is as large, else 0. The four pixels are an axis of their own."""
    n, h, w, c = x.shape
    windows = x.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 5, 2, 4).reshape(*dy.shape, 4)
    first = windows.argmax(-1)  # argmax takes the first one
    dx = dy[..., None] * (np.arange(4) == first[..., None])
    dx = dx.reshape(n, h // 2, w // 2, c, 2, 2).transpose(0, 1, 4, 2, 5, 3).reshape(x.shape)
    return windows.max(-1), dx


def tap_by_tap(x: Array, dy: Array) -> tuple[Array, Array]:
    """The same in four strided pictures: a gradient that is taken is taken off what is left."""
    corners = [(i, j) for i in range(2) for j in range(2)]
    y = np.maximum.reduce([x[:, i::2, j::2] for i, j in corners])
    dx, left = np.zeros_like(x), dy.copy()
    for i, j in corners:
        won = x[:, i::2, j::2] == y
        dx[:, i::2, j::2] = np.where(won, left, 0)
        left[won] = 0
    return y, dx


def by_loops(x: Array, dy: Array) -> tuple[Array, Array]:
    """The same, window by window."""
    y, dx = np.empty_like(dy), np.zeros_like(x)
    for n, p, q, c in np.ndindex(*dy.shape):
        window = x[n, 2 * p : 2 * p + 2, 2 * q : 2 * q + 2, c].tolist()
        y[n, p, q, c] = best = max(window[0] + window[1])
        i = 0 if best in window[0] else 1
        dx[n, 2 * p + i, 2 * q + window[i].index(best), c] = dy[n, p, q, c]
    return y, dx


def cases(rng: Rng, dtype: Any) -> Iterator[Case]:
    """The one worked out by hand, then small integers: most windows tie."""
    by_hand = np.array([[0, 0, 2, 1], [0, 0, 2, 2], [3, 1, 0, 5], [3, 3, 5, 5]], dtype).reshape(1, 4, 4, 1)
    dy = np.array([[10, 20], [30, 40]], dtype).reshape(1, 2, 2, 1)
    y = np.array([[0, 2], [3, 5]], dtype).reshape(1, 2, 2, 1)
    dx = np.array([[10, 0, 20, 0], [0, 0, 0, 0], [30, 0, 0, 40], [0, 0, 0, 0]], dtype).reshape(1, 4, 4, 1)
    about = Text("the picture of the task", "题目中的那幅图")
    yield Case(about, (by_hand, dy), expected=(y, dx), source="worked out by hand, in the task")
    for shape, low, high, about in (
        ((2, 2, 6, 2), -1, 2, Text("integers from -1 to 1", "-1 到 1 的整数")),
        ((1, 6, 4, 2), -3, 0, Text("all numbers negative", "全是负数")),
    ):
        n, h, w, c = shape
        x = rng.integers(low, high, shape).astype(dtype)
        x[0, :2, :2, 0], x[0, :2, :2, 1] = [[low, high - 1], [high - 1, low]], [[low, low], [high - 1, high - 1]]
        size = (n, h // 2, w // 2, c)
        yield Case(about, (x, (rng.uniform(0.5, 2, size) * rng.choice((-1, 1), size)).astype(dtype)))


def attempt(wrong: frozenset[str], x: Array, dy: Array) -> tuple[Array, Array]:
    """`answer` with these mistakes made."""
    n, h, w, c = x.shape
    to_windows, to_pixels = (0, 1, 3, 5, 2, 4), (0, 1, 4, 2, 5, 3)
    if "columns_first" in wrong:
        to_windows, to_pixels = (0, 1, 3, 5, 4, 2), (0, 1, 5, 2, 4, 3)
    if "axes_not_transposed" in wrong:  # four pixels in the order of memory
        windows = x.reshape(n, h // 2, w // 2, 4, c).transpose(0, 1, 2, 4, 3)
    else:
        windows = x.reshape(n, h // 2, 2, w // 2, 2, c).transpose(to_windows).reshape(*dy.shape, 4)
    y = windows.max(-1)
    first = windows.argmax(-1)
    if "last_takes_all" in wrong:
        first = 3 - windows[..., ::-1].argmax(-1)
    if "channel_0_decides" in wrong:
        first = np.broadcast_to(first[..., :1], first.shape)
        y = np.take_along_axis(windows, first[..., None], -1)[..., 0]
    if "starts_at_zero" in wrong:
        first = np.where(y > 0, first, 0)
        y = np.maximum(y, 0)
    won = (np.arange(4) == first[..., None]).astype(x.dtype)
    if "all_of_them_take_it" in wrong or "shared_by_ties" in wrong:
        won = (windows == y[..., None]).astype(x.dtype)
    if "shared_by_ties" in wrong:
        won = won / np.maximum(won.sum(-1, keepdims=True), 1)
    if "shared_by_all" in wrong:
        won = np.full_like(won, 0.25)
    dx = won if "dy_forgotten" in wrong else dy[..., None] * won
    if "axes_not_transposed" in wrong:
        return y, dx.transpose(0, 1, 2, 4, 3).reshape(x.shape)
    return y, dx.reshape(n, h // 2, w // 2, c, 2, 2).transpose(to_pixels).reshape(x.shape)


_Y_CONCEPT = Text(
    "Each window of each channel is pooled by itself: four pixels, two of one row and the two below them.",
    "每个通道的每个窗口各自池化：四个像素，同一行的两个和它们正下方的两个。",
)
_Y = Text(
    "y = max of x[:, 0::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 0::2], x[:, 1::2, 1::2]",
    "y 是 x[:, 0::2, 0::2]、x[:, 0::2, 1::2]、x[:, 1::2, 0::2]、x[:, 1::2, 1::2] 中的最大值",
)
_DX_CONCEPT = Text(
    "y is a copy of one pixel. Where several are equal any one would do, but only one: dy arrives once, and dx has dy's sum.",
    "y 是其中一个像素的拷贝。几个像素相等时选哪个都行，但只有一个：dy 只到达一次，dx 的总和等于 dy 的总和。",
)
_DX = Text(
    "Reading row by row, remember the place of x only where it is > the best so far (strictly); dx there is dy",
    "按行读取，只有当 x 严格大于（>）目前的最大值时才记住它的位置；dx 在该处等于 dy",
)

MISTAKES = (
    Mistake(
        "all_of_them_take_it",
        Text(
            "Every pixel that equals the maximum gets the whole dy (the mask is x == y): on a tie it is handed out several times.",
            "凡是等于最大值的像素都得到了全部 dy（掩码是 x == y）：出现并列时梯度被重复发放。",
        ),
        _DX,
    ),
    Mistake(
        "shared_by_ties",
        Text(
            "dy is shared among those that tie. That is a subgradient too, and what reduce_max does in TensorFlow, "
            "but pooling gives it to the first.",
            "dy 由并列者平分。这也是一种次梯度，TensorFlow 的 reduce_max 就这样做，但池化把它给第一个。",
        ),
        _DX,
    ),
    Mistake(
        "last_takes_all",
        Text(
            "The last maximum of the window takes the gradient: >= in the place of >, or the loop runs backwards.",
            "窗口中最后一个最大值得到了梯度：把 > 写成了 >=，或循环是倒着走的。",
        ),
        _DX,
    ),
    Mistake(
        "columns_first",
        Text(
            "The window is read column by column: of (0, 1) and (1, 0) the second was taken for the first.",
            "窗口是按列读的：(0, 1) 与 (1, 0) 并列时选了后者。",
        ),
        Text("Read (0, 0), (0, 1), (1, 0), (1, 1)", "读取顺序：(0, 0), (0, 1), (1, 0), (1, 1)"),
    ),
    Mistake(
        "starts_at_zero",
        Text(
            "The best so far starts at 0 and not at -inf: in a window of negative numbers nobody wins.",
            "最大值的初值取了 0 而不是 -inf：全是负数的窗口里没有胜者。",
        ),
        Text("best = -np.inf, or the window's first pixel", "best = -np.inf，或窗口的第一个像素"),
        Text(
            "The first pixel of a window must win against whatever the search starts with.",
            "查找的初值必须不大于任何像素，否则窗口里可能没有胜者。",
        ),
    ),
    Mistake(
        "channel_0_decides",
        Text(
            "The winner of channel 0 is taken for all channels: y is no maximum in the others.",
            "所有通道都用了第 0 个通道的胜者：在其他通道中 y 并不是最大值。",
        ),
        Text("argmax over the four pixels, for each channel", "对每个通道，在四个像素上取 argmax"),
    ),
    Mistake(
        "axes_not_transposed",
        Text(
            "reshape cut the rows into runs of four pixels. A window's pixels lie in two rows: reshape to six axes first, then transpose.",
            "reshape 把图按四个连续像素切开了。一个窗口的像素分在两行：应先 reshape 成六个轴，再转置。",
        ),
        Text(
            "x.reshape(N, H // 2, 2, W // 2, 2, C).transpose(0, 1, 3, 5, 2, 4)",
            "x.reshape(N, H // 2, 2, W // 2, 2, C).transpose(0, 1, 3, 5, 2, 4)",
        ),
    ),
    Mistake(
        "shared_by_all",
        Text(
            "dy is shared by all four pixels, large or small: that is average pooling's gradient.",
            "dy 由四个像素平分，不论大小：那是平均池化的梯度。",
        ),
        _DX,
    ),
    Mistake(
        "dy_forgotten",
        Text(
            "dx is the mask itself, 1 at the winners: the upstream gradient dy is missing.",
            "dx 只是掩码本身，胜者处为 1：没有乘上游梯度 dy。",
        ),
        _DX,
    ),
)

EXERCISE = Exercise(
    name="max_pool_ties",
    title=Text("Max pooling with ties", "最大值并列时的最大池化"),
    task=TASK,
    equation="y[n,p,q,c] = max_{i,j<2} x[n,2p+i,2q+j,c]",
    presupposes=("max_pool2d_backward",),
    notebook="07",
    minutes=20,
    stub=max_pool_ties,
    answer=answer,
    also_right=(tap_by_tap, by_loops),
    outputs=(Output("y", "NHWC", _Y_CONCEPT, _Y), Output("dx", "NHWC", _DX_CONCEPT, _DX)),
    cases=cases,
    attempt=attempt,
    mistakes=MISTAKES,
)
