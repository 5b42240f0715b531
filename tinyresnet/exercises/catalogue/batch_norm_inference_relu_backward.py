"""batch_norm_inference_relu_backward: batch norm by moving averages and the ReLU after it, back through both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ... import ops
from ...backend import Array
from ...ops import BatchNormInferenceReluSaved
from ..exercise import Case, Exercise, Mistake, Output, Rng
from ..language import Text
from .batch_norm_relu_backward import beta_in_a_gap

TASK = Text(
    en="""\
Batch norm by moving averages, and the ReLU that follows it:

    xhat = (x - mean) / sqrt(variance + epsilon)
    y = max(gamma * xhat + beta, 0)

Write the backward pass of both together. mean and variance are constants here. (dx comes out right even if the two go back in the wrong
order. Do dgamma and dbeta?)

- `dy` [..., C]: the gradient of the loss with respect to y, after the ReLU; usually [N, H, W, C], but [N, C] must work too.
- `saved.relu.y` [..., C]: what came out of the ReLU.
- `saved.batch_norm.x` [..., C], and `.gamma`, `.mean` (the moving one), `.inv_std` [C]: of the batch norm before it.
- Return dx [..., C], dgamma [C], dbeta [C], of dy's dtype.
""",
    zh="""\
使用滑动平均的批归一化，后面接 ReLU：

    xhat = (x - mean) / sqrt(variance + epsilon)
    y = max(gamma * xhat + beta, 0)

请写出两者合在一起的反向传播。这里 mean 与 variance 都是常数。（即使两者传回的次序反了，dx 也是对的。dgamma 与 dbeta 呢？）

- `dy` [..., C]：损失对 y（ReLU 之后）的梯度；通常是 [N, H, W, C]，但 [N, C] 也要能用。
- `saved.relu.y` [..., C]：ReLU 的输出。
- `saved.batch_norm.x` [..., C]，以及 `.gamma`、`.mean`（滑动平均）、`.inv_std` [C]：属于前面的批归一化。
- 返回 dx [..., C]、dgamma [C]、dbeta [C]，数据类型与 dy 相同。
""",
)


def batch_norm_inference_relu_backward(dy: Array, saved: BatchNormInferenceReluSaved) -> tuple[Array, Array, Array]:
    """dy [..., C] -> dx [..., C], dgamma [C], dbeta [C]"""
    raise NotImplementedError("batch_norm_inference_relu_backward is not written yet")


def answer(dy: Array, saved: BatchNormInferenceReluSaved) -> tuple[Array, Array, Array]:
    """d = dy where y > 0, else 0; dx = gamma * inv_std * d; dgamma = sum(d * xhat); dbeta = sum(d)."""
    over = tuple(range(dy.ndim - 1))
    x, gamma, mean, inv_std = saved.batch_norm
    d = dy * (saved.relu.y > 0)
    xhat = (x - mean) * inv_std
    return d * (gamma * inv_std), (d * xhat).sum(over), d.sum(over)


def by_the_two_ops(dy: Array, saved: BatchNormInferenceReluSaved) -> tuple[Array, Array, Array]:
    """The same by the backward passes of the two parts."""
    return ops.batch_norm_inference_backward(ops.relu_backward(dy, saved.relu), saved.batch_norm)


def value_by_value(dy: Array, saved: BatchNormInferenceReluSaved) -> tuple[Array, Array, Array]:
    """The same on plain numbers: what the ReLU cut off is passed over."""
    x, gamma, mean, inv_std = saved.batch_norm
    dx, dgamma, dbeta = np.zeros_like(dy), np.zeros_like(gamma), np.zeros_like(gamma)
    for index in np.ndindex(dy.shape):
        if saved.relu.y[index] > 0:
            c = index[-1]
            dx[index] = dy[index] * gamma[c] * inv_std[c]
            dgamma[c] += dy[index] * (x[index] - mean[c]) * inv_std[c]
            dbeta[c] += dy[index]
    return dx, dgamma, dbeta


def cases(rng: Rng, dtype: Any) -> Iterator[Case]:
    """Images, a matrix and a single picture; averages unlike those of x, some of each channel cut off by the ReLU."""
    for shape, about in (
        ((3, 2, 2, 3), Text("images", "图像")),
        ((8, 4), Text("a matrix [N, C]", "矩阵 [N, C]")),
        ((1, 4, 2, 2), Text("a single picture", "单张图片")),
    ):
        c = shape[-1]
        x = 1 + rng.uniform(0.5, 2, c) * rng.standard_normal(shape)
        gamma = rng.uniform(1.5, 3, c) * np.where(np.arange(c) % 2, -1.0, 1.0)  # of both signs
        mean, variance = rng.uniform(0.3, 0.8, c), rng.uniform(0.2, 0.7, c)
        beta = beta_in_a_gap(ops.batch_norm_inference_forward(x, gamma, np.zeros(c), mean, variance)[0])
        x, gamma, beta, mean, variance = (a.astype(dtype) for a in (x, gamma, beta, mean, variance))
        dy = (0.5 + rng.standard_normal(shape)).astype(dtype)

        def forward(x: Array, gamma: Array, beta: Array, mean: Array = mean, variance: Array = variance) -> Array:
            return ops.batch_norm_inference_relu_forward(x, gamma, beta, mean, variance)[0]

        saved = ops.batch_norm_inference_relu_forward(x, gamma, beta, mean, variance)[1]
        yield Case(about, (dy, saved), forward=forward, arrays=(x, gamma, beta))


def attempt(wrong: frozenset[str], dy: Array, saved: BatchNormInferenceReluSaved) -> tuple[Array, Array, Array]:
    """`answer` with these mistakes made."""
    x, gamma, mean, inv_std = saved.batch_norm
    over = tuple(range(dy.ndim - 1))
    n = dy.size // dy.shape[-1]
    xhat = (x - mean) * inv_std
    mask: Array = saved.relu.y > 0
    for name, other in (("mask_from_x", x), ("mask_from_xhat", xhat), ("mask_from_dy", dy)):
        if name in wrong:
            mask = other > 0
    d = dy.copy() if "mask_forgotten" in wrong else dy * mask
    if "times_y" in wrong:
        d = dy * saved.relu.y
    of_parameters = dy if "mask_after" in wrong else d
    of_gamma = xhat
    for name, other in (("dgamma_of_x", x), ("dgamma_of_centred", x - mean), ("output_for_xhat", saved.relu.y)):
        if name in wrong:
            of_gamma = other
    dgamma, dbeta = (of_parameters * of_gamma).sum(over), of_parameters.sum(over)
    dx = d
    if "training_terms" in wrong:
        dx = dx - d.mean(over) - xhat * (d * xhat).mean(over)
    if "gamma_forgotten" not in wrong:
        dx = dx * gamma
    if "inv_std_forgotten" not in wrong:
        dx = dx * inv_std
    if "averaged_not_summed" in wrong:
        dgamma, dbeta = dgamma / n, dbeta / n
    return (dx, dbeta, dgamma) if "outputs_swapped" in wrong else (dx, dgamma, dbeta)


_MASK = Text(
    "d = dy * (saved.relu.y > 0), and from here on d stands in the place of dy",
    "d = dy * (saved.relu.y > 0)，此后一律用 d 代替 dy",
)
_DX = Text(
    "dx = d * (gamma * inv_std), with d = dy * (saved.relu.y > 0)",
    "dx = d * (gamma * inv_std)，其中 d = dy * (saved.relu.y > 0)",
)
_DX_CONCEPT = Text(
    "ReLU came last and goes back first: it turns dy into d. Batch norm by constants then multiplies d by the slope of its straight line.",
    "ReLU 最后做，最先传回：它把 dy 变成 d。使用常数的批归一化再把 d 乘以它那条直线的斜率。",
)
_DGAMMA = Text(
    "dgamma = (d * xhat).sum(over), with xhat = (x - mean) * inv_std",
    "dgamma = (d * xhat).sum(over)，其中 xhat = (x - mean) * inv_std",
)
_DBETA = Text("dbeta = d.sum(over)", "dbeta = d.sum(over)")
_SUM = Text(
    "gamma and beta stand before the ReLU: where it was closed they had no influence, so only d's open entries count.",
    "gamma 与 beta 在 ReLU 之前：在它截断的地方，它们没有影响，所以只有 d 中导通的元素起作用。",
)
_WHERE_OPEN = Text(
    "ReLU's derivative asks for the sign of its own input, gamma * xhat + beta. y > 0 says the same.",
    "ReLU 的导数取决于它自己的输入 gamma * xhat + beta 的符号。y > 0 说的是同一件事。",
)

MISTAKES = (
    Mistake(
        "mask_forgotten",
        Text(
            "This is batch norm's backward pass alone: the ReLU is left out.", "这只是批归一化的反向传播：漏了 ReLU。"
        ),
        _MASK,
    ),
    Mistake(
        "mask_after",
        Text(
            "dgamma and dbeta are made with dy: the mask was applied to dx alone, after batch norm. dx does not show it here, as in "
            "inference batch norm treats every value by itself.",
            "dgamma 与 dbeta 用了 dy：掩码只在批归一化之后乘到了 dx 上。推理时批归一化对每个值单独处理，所以 dx 看不出这个错误。",
        ),
        _MASK,
    ),
    Mistake(
        "mask_from_x",
        Text(
            "The mask is x > 0. The ReLU saw x only after batch norm had shifted and scaled it.",
            "掩码取了 x > 0。ReLU 看到的是经批归一化平移和缩放之后的 x。",
        ),
        _MASK,
        _WHERE_OPEN,
    ),
    Mistake(
        "mask_from_xhat",
        Text(
            "The mask is xhat > 0: beta, which moves the threshold, is left out.",
            "掩码取了 xhat > 0：漏了会移动阈值的 beta。",
        ),
        _MASK,
        _WHERE_OPEN,
    ),
    Mistake(
        "mask_from_dy",
        Text(
            "The mask is taken from the sign of dy, which says nothing about where the ReLU was open.",
            "掩码取自 dy 的符号，而它与 ReLU 在哪里导通无关。",
        ),
        _MASK,
        _WHERE_OPEN,
    ),
    Mistake(
        "times_y",
        Text(
            "dy is multiplied by y and not by y > 0: the value in the place of the derivative.",
            "dy 乘的是 y 而不是 y > 0：把函数值当成了导数。",
        ),
        _MASK,
        _WHERE_OPEN,
    ),
    Mistake(
        "training_terms",
        Text(
            "dx has training's terms, - mean(d) - xhat * mean(d * xhat). They are there when mean and variance are made of x; here they "
            "are not.",
            "dx 中有训练模式的两项 - mean(d) - xhat * mean(d * xhat)。它们来自均值和方差由 x 算出，而这里并非如此。",
        ),
        _DX,
    ),
    Mistake("gamma_forgotten", Text("dx lacks the factor gamma.", "dx 缺少因子 gamma。"), _DX),
    Mistake(
        "inv_std_forgotten",
        Text("dx lacks the factor 1 / sqrt(variance + epsilon).", "dx 缺少因子 1 / sqrt(variance + epsilon)。"),
        _DX,
    ),
    Mistake(
        "dgamma_of_x",
        Text("dgamma is made with x, not with the normalised xhat.", "dgamma 用的是 x，而不是归一化后的 xhat。"),
        _DGAMMA,
    ),
    Mistake(
        "output_for_xhat",
        Text(
            "The ReLU's output stands in the place of xhat. It has gamma and beta in it.",
            "把 ReLU 的输出当成了 xhat。它含有 gamma 和 beta。",
        ),
        _DGAMMA,
    ),
    Mistake(
        "averaged_not_summed",
        Text(
            "The gradient of gamma or of beta is averaged over the values of a channel, not summed.",
            "gamma 或 beta 的梯度对通道的值取了平均，而不是求和。",
        ),
        Text(
            "dgamma = (d * xhat).sum(over); dbeta = d.sum(over)", "dgamma = (d * xhat).sum(over)；dbeta = d.sum(over)"
        ),
    ),
    Mistake(
        "outputs_swapped",
        Text("dgamma and dbeta are returned in the wrong order.", "dgamma 与 dbeta 返回的次序反了。"),
        Text("return dx, dgamma, dbeta", "return dx, dgamma, dbeta"),
    ),
    Mistake(
        "dgamma_of_centred",
        Text(
            "dgamma is made with x - mean, which is not divided by the standard deviation.",
            "dgamma 用的是 x - mean，没有除以标准差。",
        ),
        _DGAMMA,
    ),
)

EXERCISE = Exercise(
    name="batch_norm_inference_relu_backward",
    title=Text("Batch norm in inference and ReLU, backward", "推理模式批归一化加 ReLU 的反向传播"),
    task=TASK,
    equation="d = dy where y > 0 else 0; dx = gamma * inv_std * d; dgamma = sum(d * xhat); dbeta = sum(d)",
    presupposes=("batch_norm_inference_backward", "batch_norm_relu_backward"),
    notebook="07",
    minutes=5,
    stub=batch_norm_inference_relu_backward,
    answer=answer,
    also_right=(by_the_two_ops, value_by_value),
    outputs=(
        Output("dx", "...C", _DX_CONCEPT, _DX),
        Output("dgamma", "C", _SUM, _DGAMMA),
        Output("dbeta", "C", _SUM, _DBETA),
    ),
    cases=cases,
    attempt=attempt,
    mistakes=MISTAKES,
    op="batch_norm_inference_relu_backward",
)
