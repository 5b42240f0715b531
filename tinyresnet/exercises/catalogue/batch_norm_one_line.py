"""batch_norm_one_line: the small steps put together, and what cancels is gone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ... import ops
from ...backend import Array
from ...ops import BatchNormSaved
from ..diagnosis.batch_norm import explain_dx
from ..exercise import Case, Exercise, Finding, Mistake, Output, Rng
from ..language import Text

TASK = Text(
    en="""\
Put the small steps of batch_norm_graph into one another. Two things happen on paper: the path from the variance to the mean is a sum of
centred values, which is 0; and what is left can be written in one line with xhat, inv_std and two means. Write that line.

- `dy`, `xhat` [..., C]: usually [N, H, W, C], but [N, C] must work too. `gamma`, `inv_std` [C]; inv_std = 1 / sqrt(var + epsilon).
- Return dx [..., C], of dy's dtype. (You may use more lines than one.)
""",
    zh="""\
把 batch_norm_graph 的小步骤代入、合并。在纸上会发生两件事：从方差到均值的那条路径是中心化之后的值之和，等于 0；
剩下的部分用 xhat、inv_std 和两个均值就能写成一行。请写出这一行。

- `dy`、`xhat` [..., C]：通常是 [N, H, W, C]，但 [N, C] 也要能用。`gamma`、`inv_std` [C]；inv_std = 1 / sqrt(var + epsilon)。
- 返回 dx [..., C]，数据类型与 dy 相同。（不止一行也可以。）
""",
)


def batch_norm_one_line(dy: Array, xhat: Array, gamma: Array, inv_std: Array) -> Array:
    """dy, xhat [..., C], gamma, inv_std [C] -> dx [..., C]"""
    raise NotImplementedError("batch_norm_one_line is not written yet")


def answer(dy: Array, xhat: Array, gamma: Array, inv_std: Array) -> Array:
    """dx = gamma * inv_std * (dy - mean(dy) - xhat * mean(dy * xhat))."""
    over = tuple(range(dy.ndim - 1))
    dx: Array = gamma * inv_std * (dy - dy.mean(over) - xhat * (dy * xhat).mean(over))
    return dx


def by_the_jacobian(dy: Array, xhat: Array, gamma: Array, inv_std: Array) -> Array:
    """The same with the matrix dy/dx of a channel, [n, n], written out: 1 on the diagonal, -1/n - xhat xhat^T / n everywhere."""
    d, h = dy.reshape(-1, dy.shape[-1]).T, xhat.reshape(-1, dy.shape[-1]).T  # [C, n]
    n = d.shape[1]
    jacobian = np.eye(n) - (1 + np.einsum("ci,cj->cij", h, h)) / n
    dx: Array = np.einsum("c,cij,ci->jc", gamma * inv_std, jacobian, d)
    return dx.reshape(dy.shape).astype(dy.dtype)


def term_by_term(dy: Array, xhat: Array, gamma: Array, inv_std: Array) -> Array:
    """The same in place: the part along the ones is taken out of dy, then the part along xhat."""
    dx: Array = (dy * (gamma * inv_std)).reshape(-1, dy.shape[-1])
    h = xhat.reshape(dx.shape)
    along_xhat = np.sum(dx * h, axis=0, keepdims=True) / len(h)
    dx -= np.average(dx, axis=0)
    dx -= along_xhat * h
    return dx.reshape(dy.shape)


def _gamma(rng: Rng, c: int) -> Array:
    """[c], of both signs: a channel may be turned over."""
    return rng.uniform(1.5, 3, c) * np.where(np.arange(c) % 2, -1.0, 1.0)


def cases(rng: Rng, dtype: Any) -> Iterator[Case]:
    """Images and a matrix, of channels unlike in mean, spread and gamma."""
    for shape, about in (((2, 3, 2, 3), Text("images", "图像")), ((6, 4), Text("a matrix [N, C]", "矩阵 [N, C]"))):
        c = shape[-1]
        x = 1 + rng.uniform(0.3, 2, c) * rng.standard_normal(shape)
        x, gamma, beta = (a.astype(dtype) for a in (x, _gamma(rng, c), rng.standard_normal(c)))
        dy = (0.5 + rng.standard_normal(shape)).astype(dtype)
        saved = ops.batch_norm_forward(x, gamma, beta, epsilon=1e-3)[1]

        def forward(x: Array, gamma: Array = gamma, beta: Array = beta) -> Array:
            return ops.batch_norm_forward(x, gamma, beta, epsilon=1e-3)[0]

        xhat = (x - saved.mean) * saved.inv_std
        yield Case(about, (dy, xhat, gamma, saved.inv_std), forward=forward, arrays=(x,))


def attempt(wrong: frozenset[str], dy: Array, xhat: Array, gamma: Array, inv_std: Array) -> Array:
    """`answer` with these mistakes made."""
    over = (0,) if "batch_axis_only" in wrong else tuple(range(dy.ndim - 1))
    along_ones, along_xhat = dy.mean(over, keepdims=True), (dy * xhat).mean(over, keepdims=True)
    if "channels_averaged_too" in wrong:
        along_ones, along_xhat = dy.mean(keepdims=True), (dy * xhat).mean(keepdims=True)
    n = dy.size // dy.shape[-1]
    if "sums_not_averaged" in wrong:
        along_ones, along_xhat = along_ones * n, along_xhat * n
    counted = len(dy) if "pixels_not_counted" in wrong else dy.size if "channels_counted" in wrong else n
    if "divided_by_n_minus_1" in wrong:
        counted -= 1
    along_ones, along_xhat = along_ones * n / counted, along_xhat * n / counted
    if "variance_term_unbiased" in wrong:
        along_xhat = along_xhat * n / (n - 1)
    if "brackets_forgotten" in wrong:
        along: Array = along_ones + xhat * along_xhat
        return gamma * inv_std * dy - along
    gamma_at_dy: Any = 1
    if "gamma_on_dy_only" in wrong:
        gamma_at_dy, gamma = gamma, np.ones_like(gamma)
    dx: Array = gamma_at_dy * dy
    if "mean_term_forgotten" not in wrong:
        dx = dx - along_ones * (-1 if "mean_term_sign" in wrong else 1)
    if "variance_term_forgotten" not in wrong:
        sign = -1 if "variance_term_sign" in wrong else 1
        dx = dx - sign * along_xhat * (1 if "xhat_forgotten" in wrong else xhat)
    if "gamma_forgotten" not in wrong:
        dx = dx * gamma
    if "inv_std_forgotten" not in wrong:
        dx = dx * inv_std
    return dx


def explained(output: int, cases: list[Case], came: list[Array]) -> Finding | None:
    """The search of batch_norm_backward, on an x of mean 0 that has this xhat."""
    return explain_dx(output, [case._replace(args=_as_saved(*case.args)) for case in cases], came)


def _as_saved(dy: Array, xhat: Array, gamma: Array, inv_std: Array) -> tuple[Array, BatchNormSaved]:
    return dy, BatchNormSaved(xhat / inv_std, gamma, np.zeros_like(gamma), inv_std**-2, inv_std)


_LINE = Text(
    "dx = gamma * inv_std * (dy - dy.mean(over) - xhat * (dy * xhat).mean(over)), with over = all axes but the last",
    "dx = gamma * inv_std * (dy - dy.mean(over) - xhat * (dy * xhat).mean(over))，其中 over 是除最后一轴外的所有轴",
)
_CONCEPT = Text(
    "xhat has mean 0 and mean square 1 whatever x is. So a dy that pushes along the ones, or along xhat, changes nothing: dx is what is "
    "left of dy when these two directions are taken out of it, times gamma * inv_std.",
    "无论 x 是什么，xhat 的均值都是 0，平方的均值都是 1。所以沿全 1 方向或沿 xhat 方向的 dy 不起作用："
    "从 dy 中去掉这两个方向，再乘 gamma * inv_std，就是 dx。",
)
_FACTOR = Text(
    "The line stands in brackets: x is multiplied by gamma * inv_std on each of the three paths, so all three terms have that factor.",
    "整行在括号里：三条路径上 x 都乘了 gamma * inv_std，所以三项都有这个因子。",
)
_MEANS = Text(
    "mean and var are means over the n values of a channel, so both terms are means over just these: all axes but the last.",
    "mean 与 var 是一个通道的 n 个值的平均，所以这两项也正好对这些值取平均：除最后一轴外的所有轴。",
)

MISTAKES = (
    Mistake(
        "mean_term_forgotten",
        Text(
            "- mean(dy) is missing: the mean is taken for a constant.",
            "缺少 - mean(dy)：把均值当成了常数。",
        ),
        _LINE,
    ),
    Mistake(
        "variance_term_forgotten",
        Text(
            "- xhat * mean(dy * xhat) is missing: the variance is taken for a constant.",
            "缺少 - xhat * mean(dy * xhat)：把方差当成了常数。",
        ),
        _LINE,
    ),
    Mistake(
        "variance_term_sign",
        Text(
            "The variance's term is added, not subtracted: the minus of d(v^-1/2) = -1/2 v^-3/2 dv got lost.",
            "方差项加了而不是减：丢掉了 d(v^-1/2) = -1/2 v^-3/2 dv 中的负号。",
        ),
        _LINE,
    ),
    Mistake(
        "variance_term_unbiased",
        Text(
            "The variance's term has a factor n / (n - 1). It belongs there if the forward pass divides its variance by n - 1, as in "
            "Karpathy's makemore; here it divides by n.",
            "方差项多了因子 n / (n - 1)。若前向传播的方差除以 n - 1（如 Karpathy 的 makemore），才应当有它；这里除以的是 n。",
        ),
        _LINE,
    ),
    Mistake(
        "xhat_forgotten",
        Text(
            "mean(dy * xhat) is subtracted from every value alike, without the factor xhat. A value far from the mean moves the variance "
            "more.",
            "从每个值中减去了同样的 mean(dy * xhat)，漏了因子 xhat。离均值越远的值对方差的影响越大。",
        ),
        _LINE,
    ),
    Mistake(
        "sums_not_averaged",
        Text(
            "The two terms are sums, dbeta and dgamma themselves, and not divided by n.",
            "这两项是和（就是 dbeta 与 dgamma），没有除以 n。",
        ),
        _LINE,
        _MEANS,
    ),
    Mistake(
        "batch_axis_only",
        Text(
            "The means are taken over the batch only, as in a dense layer, and not over the pixels too.",
            "均值只在批次轴上取，像全连接层那样，没有对像素取。",
        ),
        _LINE,
        _MEANS,
    ),
    Mistake(
        "channels_averaged_too",
        Text(
            "The means are taken over the channels too: .mean() without axes. Each channel is normalised by itself.",
            "均值连通道也平均了：.mean() 没有写轴。每个通道是各自归一化的。",
        ),
        _LINE,
        _MEANS,
    ),
    Mistake(
        "gamma_on_dy_only",
        Text(
            "gamma multiplies dy only, and not the two means: d_xhat = gamma * dy was put into one place of three.",
            "gamma 只乘了 dy，没有乘两个均值：d_xhat = gamma * dy 只代入了三处中的一处。",
        ),
        _LINE,
        _FACTOR,
    ),
    Mistake("gamma_forgotten", Text("dx lacks the factor gamma.", "dx 缺少因子 gamma。"), _LINE, _FACTOR),
    Mistake(
        "inv_std_forgotten",
        Text("dx lacks the factor 1 / sqrt(var + epsilon).", "dx 缺少因子 1 / sqrt(var + epsilon)。"),
        _LINE,
        _FACTOR,
    ),
    Mistake(
        "mean_term_sign",
        Text(
            "The mean's term is added, not subtracted: the minus of x - mean got lost.",
            "均值项加了而不是减：丢掉了 x - mean 中的负号。",
        ),
        _LINE,
    ),
    Mistake(
        "pixels_not_counted",
        Text(
            "n is the number of images only. On pictures a channel has N*H*W values, and n counts them all.",
            "n 只取了图像的个数。对图像来说，一个通道有 N*H*W 个值，n 要把它们都数进去。",
        ),
        _LINE,
        _MEANS,
    ),
    Mistake(
        "channels_counted",
        Text(
            "n counts the values of all channels (dy.size). Each channel has a mean of its own, so n is the values "
            "of one.",
            "n 把所有通道的值都数了进去（dy.size）。每个通道有自己的均值，n 只是一个通道的值的个数。",
        ),
        _LINE,
        _MEANS,
    ),
    Mistake(
        "divided_by_n_minus_1",
        Text(
            "Both terms are divided by n - 1. mean and var are divided by n here, so these means are too.",
            "两项都除以了 n - 1。这里的均值和方差除以的是 n，所以这两个平均也除以 n。",
        ),
        _LINE,
        _MEANS,
    ),
    Mistake(
        "brackets_forgotten",
        Text(
            "The brackets are missing: gamma * inv_std multiplies dy alone, and the two other terms are subtracted "
            "as they are.",
            "缺少括号：gamma * inv_std 只乘了 dy，另外两项原样减去。",
        ),
        _LINE,
        _FACTOR,
    ),
)

EXERCISE = Exercise(
    name="batch_norm_one_line",
    title=Text("Batch norm, dx in one line", "批归一化：一行写出 dx"),
    task=TASK,
    equation="dx = gamma * inv_std * (dy - mean(dy) - xhat * mean(dy * xhat))",
    presupposes=("batch_norm_graph",),
    notebook="06",
    minutes=15,
    stub=batch_norm_one_line,
    answer=answer,
    also_right=(by_the_jacobian, term_by_term),
    outputs=(Output("dx", "...C", _CONCEPT, _LINE),),
    cases=cases,
    attempt=attempt,
    mistakes=MISTAKES,
    explain=(explained,),
)
