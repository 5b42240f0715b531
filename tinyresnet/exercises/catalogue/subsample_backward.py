"""subsample_backward: a pixel that was dropped gets no gradient."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ... import ops
from ...backend import Array
from ...ops import SubsampleSaved
from ..exercise import Case, Exercise, Mistake, Output, Rng
from ..language import Text

TASK = Text(
    en="""\
Where a unit of a ResNet has a stride, its identity shortcut keeps every f-th pixel: y = x[:, ::f, ::f]. Write the backward pass of this.

- `dy` [N, ceil(H/f), ceil(W/f), C]: the gradient of the loss with respect to y.
- `saved.shape`: x's, (N, H, W, C); H and W need not be multiples of f. `saved.factor`: f.
- Return dx [N, H, W, C], of dy's dtype.
""",
    zh="""\
残差单元带步长时，它的恒等捷径每 f 个像素取一个：y = x[:, ::f, ::f]。请写出它的反向传播。

- `dy` [N, ceil(H/f), ceil(W/f), C]：损失对 y 的梯度。
- `saved.shape`：x 的形状 (N, H, W, C)；H 和 W 不一定是 f 的倍数。`saved.factor`：f。
- 返回 dx [N, H, W, C]，数据类型与 dy 相同。
""",
)


def subsample_backward(dy: Array, saved: SubsampleSaved) -> Array:
    """dy [N, ceil(H/f), ceil(W/f), C] -> dx [N, H, W, C]"""
    raise NotImplementedError("subsample_backward is not written yet")


def answer(dy: Array, saved: SubsampleSaved) -> Array:
    """dx[:, ::f, ::f] = dy, and 0 elsewhere."""
    dx = np.zeros(saved.shape, dy.dtype)
    dx[:, :: saved.factor, :: saved.factor] = dy
    return dx


def by_matrices(dy: Array, saved: SubsampleSaved) -> Array:
    """The same as a linear map's transpose: row p of the matrix has its 1 at p * f."""
    _, h, w, _ = saved.shape
    rows, columns = np.eye(h)[:: saved.factor], np.eye(w)[:: saved.factor]
    dx: Array = np.einsum("ph,npqc,qw->nhwc", rows, dy, columns).astype(dy.dtype)
    return dx


def by_loops(dy: Array, saved: SubsampleSaved) -> Array:
    """The same, pixel by pixel of dx."""
    f = saved.factor
    dx = np.empty(saved.shape, dy.dtype)
    for h in range(saved.shape[1]):
        for w in range(saved.shape[2]):
            dx[:, h, w] = dy[:, h // f, w // f] if h % f == 0 and w % f == 0 else 0
    return dx


def cases(rng: Rng, dtype: Any) -> Iterator[Case]:
    """Sides that are multiples of the factor and sides that are not; a factor with a pixel in the middle."""
    for shape, factor, about in (
        ((2, 5, 4, 2), 2, Text("a map of 5x4 pixels, factor 2", "5x4 像素的图，因子 2")),
        ((1, 6, 7, 2), 3, Text("a map of 6x7 pixels, factor 3", "6x7 像素的图，因子 3")),
    ):
        x = rng.standard_normal(shape).astype(dtype)
        y, saved = ops.subsample_forward(x, factor)
        dy = (rng.uniform(0.5, 2, y.shape) * rng.choice((-1, 1), y.shape)).astype(dtype)
        yield Case(about, (dy, saved), forward=lambda x, f=factor: ops.subsample_forward(x, f)[0], arrays=(x,))


def attempt(wrong: frozenset[str], dy: Array, saved: SubsampleSaved) -> Array:
    """`answer` with these mistakes made."""
    (n, h, w, c), f = saved
    _, oh, ow, _ = dy.shape
    if "scaled_up" in wrong:
        dy = dy * f * f
    if "averaged_over_block" in wrong:
        dy = dy / (f * f)
    whole = np.zeros((n, oh * f, ow * f, c), dy.dtype)  # whole blocks of f x f pixels, a little beyond the edge of x
    if "spread_over_block" in wrong or "averaged_over_block" in wrong:
        whole += dy.repeat(f, 1).repeat(f, 2)
    elif "stride_ignored" in wrong:
        whole[:, :oh, :ow] = dy
    elif "columns_not_spread" in wrong:
        whole[:, ::f, :ow] = dy
    else:
        first = f - 1 if "last_of_block" in wrong else f // 2 if "middle_of_block" in wrong else 0
        whole[:, first::f, first::f] = dy
    return whole if "shape_from_dy" in wrong else whole[:, :h, :w].copy()


_LINE = Text(
    "dx = np.zeros(saved.shape, dy.dtype); dx[:, ::f, ::f] = dy",
    "dx = np.zeros(saved.shape, dy.dtype); dx[:, ::f, ::f] = dy",
)
_CONCEPT = Text(
    "Only the pixels (p*f, q*f) of x are in y, each once and unchanged. The others have no influence on the loss: their gradient is 0.",
    "x 中只有像素 (p*f, q*f) 进入 y，各一次且不变。其余像素不影响损失：它们的梯度为 0。",
)

MISTAKES = (
    Mistake(
        "spread_over_block",
        Text(
            "dy is repeated over the f x f pixels, as when a picture is made larger. But the pixels that were dropped are not in y.",
            "dy 被重复填到 f x f 个像素上，像放大图像那样。但被丢掉的像素与 y 无关。",
        ),
        _LINE,
    ),
    Mistake(
        "averaged_over_block",
        Text(
            "dy is shared among the f x f pixels: that is average pooling's gradient. Subsampling takes one pixel and averages nothing.",
            "dy 平分给了 f x f 个像素：那是平均池化的梯度。下采样只取一个像素，不做平均。",
        ),
        _LINE,
    ),
    Mistake(
        "shape_from_dy",
        Text(
            "dx has the shape of dy times f. If the side is no multiple of f, that is more than x has.",
            "dx 的大小是 dy 的 f 倍。边长不是 f 的倍数时，就比 x 大了。",
        ),
        Text("dx = np.zeros(saved.shape, dy.dtype)", "dx = np.zeros(saved.shape, dy.dtype)"),
        Text(
            "A gradient has the shape of what it is the gradient of: ceil forgets how large x was, so forward has saved it.",
            "梯度的形状与它所对应的量相同：向上取整丢掉了 x 的大小，所以前向传播把它保存了下来。",
        ),
    ),
    Mistake(
        "last_of_block",
        Text(
            "The gradient goes to the last pixel of each block, f - 1, 2f - 1, …; forward kept the first.",
            "梯度传给了每块的最后一个像素 f - 1、2f - 1……；前向传播保留的是第一个。",
        ),
        _LINE,
    ),
    Mistake(
        "middle_of_block",
        Text(
            "The gradient goes to the middle of each block, as if the shortcut took the centre; forward kept the first pixel.",
            "梯度传给了每块的中间像素，好像捷径取的是中心；前向传播保留的是第一个。",
        ),
        _LINE,
    ),
    Mistake(
        "stride_ignored",
        Text(
            "dy is laid into the corner of dx as it is, without the gaps: dx[:, :OH, :OW] = dy.",
            "dy 被原样放进 dx 的左上角，没有间隔：dx[:, :OH, :OW] = dy。",
        ),
        _LINE,
    ),
    Mistake(
        "columns_not_spread",
        Text(
            "The rows are spread and the columns are not: the factor holds along both axes.",
            "行拉开了，列没有：两个轴都要用因子 f。",
        ),
        _LINE,
    ),
    Mistake(
        "scaled_up",
        Text(
            "dy is multiplied by f * f, to make up for the pixels that were dropped. The gradient of a copy is the gradient itself.",
            "dy 乘了 f * f，想补偿丢掉的像素。拷贝的梯度就是梯度本身。",
        ),
        _LINE,
    ),
)

EXERCISE = Exercise(
    name="subsample_backward",
    title=Text("Subsampling, backward", "下采样的反向传播"),
    task=TASK,
    equation="y[n,p,q,c] = x[n,p*f,q*f,c]",
    presupposes=(),
    notebook="07",
    minutes=5,
    stub=subsample_backward,
    answer=answer,
    also_right=(by_matrices, by_loops),
    outputs=(Output("dx", "NHWC", _CONCEPT, _LINE),),
    cases=cases,
    attempt=attempt,
    mistakes=MISTAKES,
    op="subsample_backward",
)
