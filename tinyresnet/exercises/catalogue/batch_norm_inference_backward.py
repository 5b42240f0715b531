"""batch_norm_inference_backward: the averages are constants, so only the direct path is left."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ... import ops
from ...backend import Array
from ...ops import BatchNormInferenceSaved
from ..exercise import Case, Exercise, Mistake, Output, Rng
from ..language import Text

TASK = Text(
    en="""\
In inference batch norm uses averages that training left behind:

    xhat = (x - mean) / sqrt(variance + epsilon)
    y = gamma * xhat + beta

Write its backward pass; one needs it to fine-tune a net whose statistics are frozen, or to see what a pixel does to the output. mean and
variance are constants here. How many of batch norm's three paths from x to y are left?

- `dy` [..., C]: the gradient of the loss with respect to y; usually [N, H, W, C], but [N, C] must work too.
- `saved.x` [..., C], `saved.gamma`, `saved.mean` (the moving one), `saved.inv_std` [C]; inv_std = 1 / sqrt(moving variance + epsilon).
- Return dx [..., C], dgamma [C], dbeta [C], of dy's dtype.
""",
    zh="""\
推理模式的批归一化使用训练留下的平均值：

    xhat = (x - mean) / sqrt(variance + epsilon)
    y = gamma * xhat + beta

请写出它的反向传播；冻结统计量来微调网络，或者想知道一个像素对输出有什么影响时，就要用到它。这里 mean 与 variance 都是常数。
批归一化从 x 到 y 的三条路径还剩几条？

- `dy` [..., C]：损失对 y 的梯度；通常是 [N, H, W, C]，但 [N, C] 也要能用。
- `saved.x` [..., C]，`saved.gamma`、`saved.mean`（滑动平均）、`saved.inv_std` [C]；inv_std = 1 / sqrt(移动方差 + epsilon)。
- 返回 dx [..., C]、dgamma [C]、dbeta [C]，数据类型与 dy 相同。
""",
)


def batch_norm_inference_backward(dy: Array, saved: BatchNormInferenceSaved) -> tuple[Array, Array, Array]:
    """dy [..., C] -> dx [..., C], dgamma [C], dbeta [C]"""
    raise NotImplementedError("batch_norm_inference_backward is not written yet")


def answer(dy: Array, saved: BatchNormInferenceSaved) -> tuple[Array, Array, Array]:
    """dx = gamma * inv_std * dy; dgamma = sum(dy * xhat); dbeta = sum(dy)."""
    over = tuple(range(dy.ndim - 1))
    xhat = (saved.x - saved.mean) * saved.inv_std
    return dy * (saved.gamma * saved.inv_std), (dy * xhat).sum(over), dy.sum(over)


def by_sums_of_x(dy: Array, saved: BatchNormInferenceSaved) -> tuple[Array, Array, Array]:
    """The same from sum(dy) and sum(dy * x) alone: xhat is never made."""
    d, x = dy.reshape(-1, dy.shape[-1]), saved.x.reshape(-1, dy.shape[-1])
    dbeta = np.ones(len(d), d.dtype) @ d
    dgamma = saved.inv_std * (np.einsum("nc,nc->c", d, x) - saved.mean * dbeta)
    dx = d @ np.diag(saved.gamma * saved.inv_std)
    return dx.reshape(dy.shape), dgamma, dbeta


def channel_by_channel(dy: Array, saved: BatchNormInferenceSaved) -> tuple[Array, Array, Array]:
    """The same a channel at a time, summed in float64."""
    dx, dgamma, dbeta = np.empty_like(dy), np.empty_like(saved.gamma), np.empty_like(saved.gamma)
    for c in range(dy.shape[-1]):
        d, x = dy[..., c].astype(np.float64), saved.x[..., c].astype(np.float64)
        dx[..., c] = d * saved.gamma[c] * saved.inv_std[c]
        dgamma[c] = np.sum(d * (x - saved.mean[c])) * saved.inv_std[c]
        dbeta[c] = np.sum(d)
    return dx, dgamma, dbeta


def cases(rng: Rng, dtype: Any) -> Iterator[Case]:
    """Images, a matrix and a single picture; averages unlike those of x."""
    for shape, about in (
        ((3, 2, 2, 3), Text("images", "图像")),
        ((5, 4), Text("a matrix [N, C]", "矩阵 [N, C]")),
        ((1, 3, 2, 2), Text("a single picture", "单张图片")),
    ):
        c = shape[-1]
        x = 1 + rng.uniform(0.5, 2, c) * rng.standard_normal(shape)
        x, gamma, beta, mean, variance = (
            a.astype(dtype)
            for a in (
                x,
                rng.uniform(1.5, 3, c) * np.where(np.arange(c) % 2, -1.0, 1.0),  # of both signs
                rng.standard_normal(c),
                rng.uniform(-2, -1, c),
                rng.uniform(0.2, 0.7, c),
            )
        )
        dy = (0.5 + rng.standard_normal(shape)).astype(dtype)

        def forward(x: Array, gamma: Array, beta: Array, mean: Array = mean, variance: Array = variance) -> Array:
            return ops.batch_norm_inference_forward(x, gamma, beta, mean, variance)[0]

        saved = ops.batch_norm_inference_forward(x, gamma, beta, mean, variance)[1]
        yield Case(about, (dy, saved), forward=forward, arrays=(x, gamma, beta))


def attempt(wrong: frozenset[str], dy: Array, saved: BatchNormInferenceSaved) -> tuple[Array, Array, Array]:
    """`answer` with these mistakes made."""
    x, gamma, mean, inv_std = saved
    over = tuple(range(dy.ndim - 1))
    n = dy.size // dy.shape[-1]
    xhat = (x - mean) * inv_std
    of_gamma = x if "dgamma_of_x" in wrong else xhat
    if "mean_not_subtracted" in wrong:
        of_gamma = x * inv_std
    if "dgamma_of_centred" in wrong:
        of_gamma = x - mean
    if "batch_statistics" in wrong:
        of_gamma = (x - x.mean(over)) / (x.std(over) + x.dtype.type(1e-5))
    dgamma, dbeta = (dy * of_gamma).sum(over), dy.sum(over)
    dx = dy.copy()
    if "training_terms" in wrong:
        dx = dx - dbeta / n - xhat * ((dy * xhat).sum(over) / n)
    if "gamma_forgotten" not in wrong:
        dx = dx * gamma
    if "inv_std_forgotten" not in wrong:
        dx = dx * inv_std * (inv_std if "variance_not_rooted" in wrong else 1)
    if "beta_through_gamma" in wrong:
        dbeta = dbeta * gamma
    if "averaged_not_summed" in wrong:
        dgamma, dbeta = dgamma / n, dbeta / n
    return (dx, dbeta, dgamma) if "outputs_swapped" in wrong else (dx, dgamma, dbeta)


_DX = Text("dx = dy * (saved.gamma * saved.inv_std)", "dx = dy * (saved.gamma * saved.inv_std)")
_DX_CONCEPT = Text(
    "With mean and variance constant, y is a straight line in x for each channel. The derivative of a straight line is its slope.",
    "mean 与 variance 为常数时，对每个通道 y 是 x 的一次函数。一次函数的导数就是它的斜率。",
)
_DGAMMA = Text(
    "dgamma = (dy * xhat).sum(over), with xhat = (saved.x - saved.mean) * saved.inv_std",
    "dgamma = (dy * xhat).sum(over)，其中 xhat = (saved.x - saved.mean) * saved.inv_std",
)
_DBETA = Text("dbeta = dy.sum(over)", "dbeta = dy.sum(over)")
_SUM = Text(
    "One gamma and one beta serve all n values of a channel: their gradients add up over all of them.",
    "一个通道的 n 个值共用一个 gamma 和一个 beta：它们的梯度要对所有这些值求和。",
)

MISTAKES = (
    Mistake(
        "training_terms",
        Text(
            "dx has training's terms, - mean(dy) - xhat * mean(dy * xhat). They are there when mean and variance are made of x; here they "
            "are not.",
            "dx 中有训练模式的两项 - mean(dy) - xhat * mean(dy * xhat)。它们来自均值和方差由 x 算出，而这里并非如此。",
        ),
        _DX,
    ),
    Mistake("gamma_forgotten", Text("dx lacks the factor gamma.", "dx 缺少因子 gamma。"), _DX),
    Mistake(
        "inv_std_forgotten",
        Text(
            "dx lacks the factor 1 / sqrt(variance + epsilon). A constant that is divided by stays in the derivative.",
            "dx 缺少因子 1 / sqrt(variance + epsilon)。被除的常数在导数中仍然保留。",
        ),
        _DX,
    ),
    Mistake(
        "variance_not_rooted",
        Text(
            "dx is divided by variance + epsilon, not by its square root: inv_std stands in it twice.",
            "dx 除以了 variance + epsilon，而不是它的平方根：inv_std 乘了两次。",
        ),
        _DX,
    ),
    Mistake(
        "dgamma_of_x",
        Text("dgamma is made with x, not with the normalised xhat.", "dgamma 用的是 x，而不是归一化后的 xhat。"),
        _DGAMMA,
    ),
    Mistake(
        "mean_not_subtracted",
        Text(
            "dgamma is made with x * inv_std: x is scaled, but not centred.",
            "dgamma 用的是 x * inv_std：x 缩放了，却没有减去均值。",
        ),
        _DGAMMA,
    ),
    Mistake(
        "batch_statistics",
        Text(
            "For dgamma, x is normalised by its own mean and variance. The forward pass normalised it by the moving ones.",
            "计算 dgamma 时用 x 自身的均值和方差做了归一化。前向传播用的是滑动平均。",
        ),
        _DGAMMA,
    ),
    Mistake(
        "beta_through_gamma",
        Text(
            "dbeta has a factor gamma. beta is added after gamma has multiplied, so gamma does not touch it.",
            "dbeta 多了因子 gamma。beta 是在乘 gamma 之后加上的，与 gamma 无关。",
        ),
        _DBETA,
    ),
    Mistake(
        "averaged_not_summed",
        Text(
            "The gradient of gamma or of beta is averaged over the values of a channel, not summed.",
            "gamma 或 beta 的梯度对通道的值取了平均，而不是求和。",
        ),
        Text(
            "dgamma = (dy * xhat).sum(over); dbeta = dy.sum(over)",
            "dgamma = (dy * xhat).sum(over)；dbeta = dy.sum(over)",
        ),
        _SUM,
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
    name="batch_norm_inference_backward",
    title=Text("Batch norm in inference, backward", "推理模式批归一化的反向传播"),
    task=TASK,
    equation="dx = gamma * inv_std * dy; dgamma = sum(dy * xhat); dbeta = sum(dy)",
    presupposes=("batch_norm_inference", "batch_norm_backward"),
    notebook="06",
    minutes=5,
    stub=batch_norm_inference_backward,
    answer=answer,
    also_right=(by_sums_of_x, channel_by_channel),
    outputs=(
        Output("dx", "...C", _DX_CONCEPT, _DX),
        Output("dgamma", "C", _SUM, _DGAMMA),
        Output("dbeta", "C", _SUM, _DBETA),
    ),
    cases=cases,
    attempt=attempt,
    mistakes=MISTAKES,
    op="batch_norm_inference_backward",
)
