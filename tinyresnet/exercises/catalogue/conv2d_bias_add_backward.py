"""conv2d_bias_add_backward: two operations in a row, and so two backward passes in the opposite order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ... import ops
from ...backend import Array
from ...ops import Conv2DBiasAddSaved
from ..exercise import Case, Exercise, Mistake, Output, Rng
from ..language import Text
from . import bias_add_backward as of_bias
from . import conv2d_backward as of_convolution
from . import conv2d_input_gradient as of_input
from . import conv2d_weights_gradient as of_weights

TASK = Text(
    en="""\
A convolution and then a bias for every channel, as one operation: y = conv2d(x, w) + b. A fused kernel adds b while the sums
are still in registers; the gradient does not notice.

Write its backward pass. In the place of a convolution of your own you may call
`ops.conv2d_backward(d_convolved, saved.conv2d)`, which returns dx and dw.

- `dy` [N, OH, OW, K]: the gradient of the loss with respect to y.
- `saved.conv2d.x` [N, H, W, C], `saved.conv2d.w` [KH, KW, C, K], and beside them `stride`, `rate` (pairs) and `pads`,
  ((top, bottom), (left, right)).
- `saved.bias_add.shape`: the shape of the convolution's result, which is dy's.
- Return dx [N, H, W, C], dw [KH, KW, C, K] and db [K], of dy's dtype.
""",
    zh="""\
先卷积，再给每个通道加一个偏置，合成一个运算：y = conv2d(x, w) + b。融合的内核在和还留在寄存器里时就加上 b，梯度却不受影响。

请写出它的反向传播。卷积部分可以自己写，也可以调用 `ops.conv2d_backward(d_convolved, saved.conv2d)`，它返回 dx 与 dw。

- `dy` [N, OH, OW, K]：损失对 y 的梯度。
- `saved.conv2d.x` [N, H, W, C]、`saved.conv2d.w` [KH, KW, C, K]，以及其中的 `stride`、`rate`（二元组）与 `pads`，
  即 ((top, bottom), (left, right))。
- `saved.bias_add.shape`：卷积结果的形状，与 dy 的形状相同。
- 返回 dx [N, H, W, C]、dw [KH, KW, C, K] 与 db [K]，数据类型与 dy 相同。
""",
)


def conv2d_bias_add_backward(dy: Array, saved: Conv2DBiasAddSaved) -> tuple[Array, Array, Array]:
    """dy [N, OH, OW, K] -> dx [N, H, W, C], dw [KH, KW, C, K], db [K]"""
    raise NotImplementedError("conv2d_bias_add_backward is not written yet")


def answer(dy: Array, saved: Conv2DBiasAddSaved) -> tuple[Array | None, Array, Array]:
    """The bias lets the gradient pass and takes its sum; the convolution goes on from there."""
    dx, dw = ops.conv2d_backward(dy, saved.conv2d)
    return dx, dw, dy.sum(axis=(0, 1, 2))


def bias_as_a_weight(dy: Array, saved: Conv2DBiasAddSaved) -> tuple[Array, Array, Array]:
    """The same with b as one more weight, of an input that is always 1: [X 1]^T dY holds dw and db."""
    k = dy.shape[-1]
    ones = np.ones((dy.size // k, 1), dy.dtype)
    db = (ones.T @ dy.reshape(-1, k))[0]
    return of_input.as_a_convolution(dy, saved.conv2d), of_weights.as_one_product(dy, saved.conv2d), db


def pixel_by_pixel(dy: Array, saved: Conv2DBiasAddSaved) -> tuple[Array, Array, Array]:
    """The same with a loop over the output's pixels, in float64."""
    db = np.zeros(dy.shape[-1])
    for n, p, q in np.ndindex(*dy.shape[:3]):
        db += dy[n, p, q]
    return (*of_convolution.window_by_window(dy, saved.conv2d), db.astype(dy.dtype))


def cases(rng: Rng, dtype: Any) -> Iterator[Case]:
    """The geometries of the convolution, C = K and not; dy has a mean, so that no channel's sum is near zero."""
    for geometry in of_weights.GEOMETRIES:
        yield _case(rng, dtype, geometry)


def _case(rng: Rng, dtype: Any, geometry: of_weights.Geometry) -> Case:
    def forward(x: Array, w: Array, b: Array) -> Array:
        return ops.conv2d_bias_add_forward(x, w, b, geometry.stride, geometry.rate, geometry.pads)[0]

    dy, conv = of_weights.problem(rng, dtype, geometry)
    b = rng.standard_normal((dy.shape[-1],)).astype(dtype)
    dy = dy + np.arange(1.5, dy.shape[-1] + 1).astype(dtype)
    saved = ops.conv2d_bias_add_forward(conv.x, conv.w, b, geometry.stride, geometry.rate, geometry.pads)[1]
    return Case(geometry.about, (dy, saved), forward=forward, arrays=(conv.x, conv.w, b))


def attempt(wrong: frozenset[str], dy: Array, saved: Conv2DBiasAddSaved) -> tuple[Array, Array, Array]:
    """`answer` with these mistakes made."""
    d_convolved, db = of_bias.attempt(wrong, dy, saved.bias_add)
    if "db_handed_to_the_convolution" in wrong:
        d_convolved = np.broadcast_to(dy.sum(axis=(0, 1, 2)), dy.shape)
    dx, dw = of_convolution.attempt(wrong, d_convolved, saved.conv2d)
    if "db_of_dw" in wrong:
        db = dw.sum(axis=(0, 1, 2))
    if "db_of_dx" in wrong:
        db = dx.sum(axis=(0, 1, 2))
    return (dx, db, dw) if "outputs_swapped" in wrong else (dx, dw, db)


_DB = Text("db = dy.sum(axis=(0, 1, 2))", "db = dy.sum(axis=(0, 1, 2))")
_CONVOLUTION = Text("dx, dw = ops.conv2d_backward(dy, saved.conv2d)", "dx, dw = ops.conv2d_backward(dy, saved.conv2d)")
_RETURN = Text("return dx, dw, db", "return dx, dw, db")
_ORDER = Text(
    "Forward it is first the convolution, then the bias; backward first the bias, then the convolution. A bias shifts, "
    "so the gradient that reaches the convolution is dy itself.",
    "前向先卷积、后加偏置；反向先过偏置、后过卷积。偏置只是平移，所以到达卷积的梯度就是 dy 本身。",
)
_DB_CONCEPT = Text(
    "b[k] was added to every output pixel of channel k, so its gradient is the sum of dy over all images and pixels of "
    "that channel. The convolution plays no part in it.",
    "b[k] 加到了第 k 通道的每个输出像素上，所以它的梯度是 dy 在该通道所有图像、所有像素上的总和，与卷积无关。",
)

MISTAKES = (
    Mistake(
        "db_of_dx",
        Text(
            "db sums dx, the gradient before the convolution, and not dy: it has C entries and not K.",
            "db 是对 dx 求的和，那是卷积之前的梯度，而不是对 dy：它有 C 个元素，而不是 K 个。",
        ),
        _DB,
        _DB_CONCEPT,
    ),
    Mistake(
        "db_of_dw",
        Text(
            "db sums dw over the kernel. The weights are multiplied by x on the way, the bias is not.",
            "db 是对 dw 在卷积核上求的和。权重乘过 x，偏置没有。",
        ),
        _DB,
        _DB_CONCEPT,
    ),
    *(
        of_bias.EXERCISE.mistake(name)
        for name in (
            "db_is_a_mean",
            "batch_axis_only",
            "pixel_axes_only",
            "all_axes_summed",
            "axes_kept",
            "dy_forgotten",
        )
    ),
    Mistake(
        "db_handed_to_the_convolution",
        Text(
            "The convolution gets the bias' gradient, spread over the pixels, and not dy.",
            "传给卷积的是偏置的梯度（再广播到各像素），而不是 dy。",
        ),
        _CONVOLUTION,
        _ORDER,
    ),
    Mistake(
        "outputs_swapped",
        Text("db and dw are returned in the wrong order.", "返回时 db 与 dw 的顺序反了。"),
        _RETURN,
        _ORDER,
    ),
    Mistake(
        "first_image_only",
        Text("Only the first image of the batch is looked at.", "只处理了批次中的第一幅图像。"),
        _DB,
        _DB_CONCEPT,
    ),
    *(
        of_convolution.EXERCISE.mistake(name)
        for name in (
            "kernel_flipped",
            "weights_not_transposed",
            "overlaps_overwritten",
            "crop_off_by_one",
            "dw_flipped",
        )
    ),
)

EXERCISE = Exercise(
    name="conv2d_bias_add_backward",
    title=Text("Convolution and bias, backward", "卷积加偏置的反向传播"),
    task=TASK,
    equation="db[k] = sum_{n,p,q} dy[n,p,q,k]; dx, dw = the convolution's, of the same dy",
    presupposes=("conv2d_backward", "bias_add_backward"),
    notebook="05",
    minutes=10,
    stub=conv2d_bias_add_backward,
    answer=answer,
    also_right=(bias_as_a_weight, pixel_by_pixel),
    outputs=(
        Output("dx", "NHWC", _ORDER, _CONVOLUTION),
        Output("dw", "IJCK", _ORDER, _CONVOLUTION),
        Output("db", "K", _DB_CONCEPT, _DB),
    ),
    cases=cases,
    attempt=attempt,
    mistakes=MISTAKES,
    op="conv2d_bias_add_backward",
    imports=("import numpy as np", "from tinyresnet import ops"),
)
