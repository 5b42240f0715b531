"""batch_norm_relu_backward: two pullbacks in a row, the last op first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ... import ops
from ...backend import Array
from ...ops import BatchNormReluSaved
from ..exercise import Case, Exercise, Mistake, Output, Rng
from ..language import Text

TASK = Text(
    en="""\
Every unit of a pre-activation ResNet starts with batch norm and ReLU:

    xhat = (x - mean) / sqrt(var + epsilon)
    normed = gamma * xhat + beta
    y = max(normed, 0)

Write the backward pass of both together. Where the order matters, think of the chain rule: what came last goes back first.

- `dy` [..., C]: the gradient of the loss with respect to y, after the ReLU; usually [N, H, W, C], but [N, C] must work too.
- `saved.relu.y` [..., C]: what came out of the ReLU. (`saved.beta` is None: leave it alone.)
- `saved.batch_norm.x` [..., C], and `.gamma`, `.mean`, `.var`, `.inv_std` [C]: of the batch norm before it.
- Return dx [..., C], dgamma [C], dbeta [C], of dy's dtype.
""",
    zh="""\
预激活 ResNet 的每个单元都以批归一化和 ReLU 开头：

    xhat = (x - mean) / sqrt(var + epsilon)
    normed = gamma * xhat + beta
    y = max(normed, 0)

请写出两者合在一起的反向传播。关于次序，请想想链式法则：最后做的最先传回。

- `dy` [..., C]：损失对 y（ReLU 之后）的梯度；通常是 [N, H, W, C]，但 [N, C] 也要能用。
- `saved.relu.y` [..., C]：ReLU 的输出。（`saved.beta` 是 None，不必理会。）
- `saved.batch_norm.x` [..., C]，以及 `.gamma`、`.mean`、`.var`、`.inv_std` [C]：属于前面的批归一化。
- 返回 dx [..., C]、dgamma [C]、dbeta [C]，数据类型与 dy 相同。
""",
)


def batch_norm_relu_backward(dy: Array, saved: BatchNormReluSaved) -> tuple[Array, Array, Array]:
    """dy [..., C] -> dx [..., C], dgamma [C], dbeta [C]"""
    raise NotImplementedError("batch_norm_relu_backward is not written yet")


def answer(dy: Array, saved: BatchNormReluSaved) -> tuple[Array, Array, Array]:
    """d = dy where y > 0, else 0; then batch norm's own: dx = gamma * inv_std * (d - mean(d) - xhat * mean(d * xhat))."""
    over = tuple(range(dy.ndim - 1))
    x, gamma, mean, _, inv_std = saved.batch_norm
    d = dy * (saved.relu.y > 0)
    xhat = (x - mean) * inv_std
    dx = gamma * inv_std * (d - d.mean(over) - xhat * (d * xhat).mean(over))
    return dx, (d * xhat).sum(over), d.sum(over)


def by_the_two_ops(dy: Array, saved: BatchNormReluSaved) -> tuple[Array, Array, Array]:
    """The same by the backward passes of the two parts."""
    return ops.batch_norm_backward(ops.relu_backward(dy, saved.relu), saved.batch_norm)


def channel_by_channel(dy: Array, saved: BatchNormReluSaved) -> tuple[Array, Array, Array]:
    """The same a channel at a time; the sums run over the open entries alone, the divisor is still all of them."""
    x, gamma, mean, _, inv_std = saved.batch_norm
    dx, dgamma, dbeta = np.empty_like(dy), np.empty_like(gamma), np.empty_like(gamma)
    for c in range(dy.shape[-1]):
        xhat = (x[..., c] - mean[c]) * inv_std[c]
        is_open = np.nonzero(saved.relu.y[..., c])
        dgamma[c] = np.dot(dy[..., c][is_open], xhat[is_open])
        dbeta[c] = dy[..., c][is_open].sum()
        spread = -(dbeta[c] + xhat * dgamma[c]) / xhat.size
        spread[is_open] += dy[..., c][is_open]
        dx[..., c] = spread * gamma[c] * inv_std[c]
    return dx, dgamma, dbeta


def beta_in_a_gap(scaled: Array) -> Array:
    """[..., C] of gamma * xhat -> beta [C]: some entries of each channel come out negative, and none of them near 0, where ReLU has a kink.

    The kink goes into the widest gap between neighbours in the second quarter of a channel's sorted values.
    """
    values = np.sort(scaled.reshape(-1, scaled.shape[-1]), axis=0)  # [n, C]
    first, last = len(values) // 5, len(values) // 2
    below = first + np.diff(values[first : last + 1], axis=0).argmax(0)
    channels = np.arange(values.shape[1])
    middle: Array = (values[below, channels] + values[below + 1, channels]) / 2
    return -middle


def cases(rng: Rng, dtype: Any) -> Iterator[Case]:
    """Images and a matrix, away from mean 0, with some of each channel cut off by the ReLU."""
    for shape, about in (((3, 2, 2, 3), Text("images", "图像")), ((10, 3), Text("a matrix [N, C]", "矩阵 [N, C]"))):
        c = shape[-1]
        x = 1 + rng.uniform(0.5, 2, c) * rng.standard_normal(shape)
        gamma = rng.uniform(1.5, 3, c) * np.where(np.arange(c) % 2, -1.0, 1.0)  # of both signs
        beta = beta_in_a_gap(ops.batch_norm_forward(x, gamma, np.zeros(c))[0])
        x, gamma, beta = (a.astype(dtype) for a in (x, gamma, beta))
        dy = (0.5 + rng.standard_normal(shape)).astype(dtype)

        def forward(x: Array, gamma: Array, beta: Array) -> Array:
            return ops.batch_norm_relu_forward(x, gamma, beta)[0]

        saved = ops.batch_norm_relu_forward(x, gamma, beta)[1]
        yield Case(about, (dy, saved), forward=forward, arrays=(x, gamma, beta))


def attempt(wrong: frozenset[str], dy: Array, saved: BatchNormReluSaved) -> tuple[Array, Array, Array]:
    """`answer` with these mistakes made."""
    x, gamma, mean, _, inv_std = saved.batch_norm
    over = tuple(range(dy.ndim - 1))
    n: Any = dy.size // dy.shape[-1]
    xhat = (x - mean) * inv_std
    mask: Array = saved.relu.y > 0
    for name, other in (("mask_from_x", x), ("mask_from_xhat", xhat), ("mask_from_dy", dy)):
        if name in wrong:
            mask = other > 0
    d = dy if wrong & {"mask_forgotten", "mask_after"} else dy * mask
    if "times_y" in wrong:
        d = dy * saved.relu.y
    if "pixels_not_counted" in wrong:
        n = len(dy)
    if "open_ones_counted" in wrong:
        n = mask.sum(over).astype(dy.dtype)
    if "output_for_xhat" in wrong:
        xhat = saved.relu.y
    in_terms = dy if "means_unmasked" in wrong else d
    dx = d
    if "mean_term_forgotten" not in wrong:
        dx = dx - in_terms.sum(over) / n
    if "variance_term_forgotten" not in wrong:
        dx = dx - xhat * ((in_terms * xhat).sum(over) / n)
    if "batch_axis_only" in wrong:
        dx = d - d.mean(0) - xhat * (d * xhat).mean(0)
    if "gamma_forgotten" not in wrong:
        dx = dx * gamma
    if "inv_std_forgotten" not in wrong:
        dx = dx * inv_std
    if wrong & {"mask_after", "mask_at_both_ends"}:
        dx = dx * mask
    of_parameters = dy if "parameters_unmasked" in wrong else d
    dgamma, dbeta = (of_parameters * xhat).sum(over), of_parameters.sum(over)
    if "averaged_not_summed" in wrong:
        dgamma, dbeta = dgamma / dy[..., 0].size, dbeta / dy[..., 0].size
    return (dx, dbeta, dgamma) if "outputs_swapped" in wrong else (dx, dgamma, dbeta)


_MASK = Text(
    "d = dy * (saved.relu.y > 0), and from here on d stands in the place of dy",
    "d = dy * (saved.relu.y > 0)，此后一律用 d 代替 dy",
)
_DX = Text(
    "dx = gamma * inv_std * (d - d.mean(over) - xhat * (d * xhat).mean(over)), with d = dy * (saved.relu.y > 0)",
    "dx = gamma * inv_std * (d - d.mean(over) - xhat * (d * xhat).mean(over))，其中 d = dy * (saved.relu.y > 0)",
)
_DX_CONCEPT = Text(
    "ReLU came last, so it goes back first: it turns dy into d, the gradient with respect to normed. Batch norm's backward pass then "
    "sees d alone, and spreads it over the whole channel: also to values that the ReLU cut off.",
    "ReLU 最后做，所以最先传回：它把 dy 变成 d，即对 normed 的梯度。此后批归一化的反向传播只看 d，并把它分散到整个通道，"
    "包括被 ReLU 截断的那些值。",
)
_DGAMMA = Text("dgamma = (d * xhat).sum(over)", "dgamma = (d * xhat).sum(over)")
_DBETA = Text("dbeta = d.sum(over)", "dbeta = d.sum(over)")
_SUM = Text(
    "gamma and beta stand before the ReLU: where it was closed they had no influence, so only d's open entries count.",
    "gamma 与 beta 在 ReLU 之前：在它截断的地方，它们没有影响，所以只有 d 中导通的元素起作用。",
)
_WHERE_OPEN = Text(
    "ReLU's derivative asks for the sign of its own input, normed. y > 0 says the same.",
    "ReLU 的导数取决于它自己的输入 normed 的符号。y > 0 说的是同一件事。",
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
            "The mask is applied to dx, after batch norm: the two go back in the order in which they went forward.",
            "掩码乘在 dx 上，放到了批归一化之后：反向传播时用了与前向相同的次序。",
        ),
        _MASK,
    ),
    Mistake(
        "mask_at_both_ends",
        Text(
            "dx is masked once more at the end. A value that the ReLU cut off still moves the mean and the variance, so its dx is not 0.",
            "最后又给 dx 乘了一次掩码。被 ReLU 截断的值仍会影响均值和方差，所以它的 dx 不为 0。",
        ),
        _DX,
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
        "means_unmasked",
        Text(
            "The two means in dx are made with dy, not with the masked d.",
            "dx 中的两个均值用了 dy，而不是乘过掩码的 d。",
        ),
        _DX,
    ),
    Mistake(
        "parameters_unmasked",
        Text(
            "dgamma and dbeta are made with dy, not with the masked d.",
            "dgamma 与 dbeta 用了 dy，而不是乘过掩码的 d。",
        ),
        _DGAMMA,
    ),
    Mistake(
        "open_ones_counted",
        Text(
            "The means in dx are divided by the number of open entries. mean and var were made of all n values, open or not.",
            "dx 中的均值除以了导通元素的个数。而均值和方差由全部 n 个值算出，不论导通与否。",
        ),
        _DX,
    ),
    Mistake(
        "output_for_xhat",
        Text(
            "The ReLU's output stands in the place of xhat. It has gamma and beta in it, and zeros.",
            "把 ReLU 的输出当成了 xhat。它含有 gamma、beta，还有截断出来的零。",
        ),
        Text(
            "xhat = (x - mean) * inv_std, of saved.batch_norm", "xhat = (x - mean) * inv_std，各量取自 saved.batch_norm"
        ),
    ),
    Mistake(
        "mean_term_forgotten",
        Text("dx lacks - mean(d): the mean is taken for a constant.", "dx 缺少 - mean(d)：把均值当成了常数。"),
        _DX,
    ),
    Mistake(
        "variance_term_forgotten",
        Text(
            "dx lacks - xhat * mean(d * xhat): the variance is taken for a constant.",
            "dx 缺少 - xhat * mean(d * xhat)：把方差当成了常数。",
        ),
        _DX,
    ),
    Mistake(
        "gamma_forgotten",
        Text("dx lacks the factor gamma.", "dx 缺少因子 gamma。"),
        _DX,
    ),
    Mistake(
        "inv_std_forgotten",
        Text("dx lacks the factor 1 / sqrt(var + epsilon).", "dx 缺少因子 1 / sqrt(var + epsilon)。"),
        _DX,
    ),
    Mistake(
        "outputs_swapped",
        Text("dgamma and dbeta are returned in the wrong order.", "dgamma 与 dbeta 返回的次序反了。"),
        Text("return dx, dgamma, dbeta", "return dx, dgamma, dbeta"),
    ),
    Mistake(
        "pixels_not_counted",
        Text(
            "The means in dx are sums over all pixels, divided by the number of images only: n is N*H*W.",
            "dx 中的均值对所有像素求了和，却只除以图像的个数：n 应为 N*H*W。",
        ),
        _DX,
    ),
    Mistake(
        "batch_axis_only",
        Text(
            "The means in dx are taken over the batch only, as in a dense layer, and not over the pixels too.",
            "dx 中的均值只在批次轴上取，像全连接层那样，没有对像素取。",
        ),
        _DX,
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
)

EXERCISE = Exercise(
    name="batch_norm_relu_backward",
    title=Text("Batch norm and ReLU, backward", "批归一化加 ReLU 的反向传播"),
    task=TASK,
    equation=(
        "d = dy where y > 0 else 0; dx = gamma * inv_std * (d - mean(d) - xhat * mean(d * xhat)); "
        "dgamma = sum(d * xhat); dbeta = sum(d)"
    ),
    presupposes=("batch_norm_backward", "relu_backward"),
    notebook="07",
    minutes=10,
    stub=batch_norm_relu_backward,
    answer=answer,
    also_right=(by_the_two_ops, channel_by_channel),
    outputs=(
        Output("dx", "...C", _DX_CONCEPT, _DX),
        Output("dgamma", "C", _SUM, _DGAMMA),
        Output("dbeta", "C", _SUM, _DBETA),
    ),
    cases=cases,
    attempt=attempt,
    mistakes=MISTAKES,
    op="batch_norm_relu_backward",
)
