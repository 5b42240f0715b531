"""batch_norm_graph: batch norm backward in nine small steps, so that every chain rule is a single one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ...backend import Array
from ..exercise import Case, Exercise, Mistake, Output, Rng
from ..language import Text

TASK = Text(
    en="""\
Batch norm in training is a chain of small steps; over = all axes but the last, n = how many values a channel has:

    mean = x.mean(over)
    centred = x - mean
    sq = centred**2
    var = sq.mean(over)
    inv_std = (var + epsilon) ** -0.5
    xhat = centred * inv_std
    y = gamma * xhat + beta

Go through it backwards, a line at a time, and return the gradient of the loss with respect to each of them. A value that is used
twice (which one is?) gets the sum of two gradients; a value that serves many (by broadcasting) gets the sum over them.

- `dy` [..., C]: the gradient with respect to y. `gamma` [C].
- `steps.centred`, `steps.sq`, `steps.xhat` [..., C], `steps.mean`, `steps.var`, `steps.inv_std` [C].
- Return d_xhat [..., C], d_gamma [C], d_beta [C], d_inv_std [C], d_var [C], d_sq [..., C], d_centred [..., C], d_mean [C], dx [..., C].
""",
    zh="""\
训练模式的批归一化是一连串小步骤；over 是除最后一轴外的所有轴，n 是一个通道中值的个数：

    mean = x.mean(over)
    centred = x - mean
    sq = centred**2
    var = sq.mean(over)
    inv_std = (var + epsilon) ** -0.5
    xhat = centred * inv_std
    y = gamma * xhat + beta

请从后往前，一行一行地走，返回损失对其中每个量的梯度。一个量若被用了两次（是哪一个？），它的梯度是两份之和；
一个量若通过广播服务于许多元素，它的梯度要对这些元素求和。

- `dy` [..., C]：对 y 的梯度。`gamma` [C]。
- `steps.centred`、`steps.sq`、`steps.xhat` [..., C]，`steps.mean`、`steps.var`、`steps.inv_std` [C]。
- 返回 d_xhat [..., C]、d_gamma [C]、d_beta [C]、d_inv_std [C]、d_var [C]、d_sq [..., C]、d_centred [..., C]、d_mean [C]、dx [..., C]。
""",
)


class BatchNormSteps(NamedTuple):
    """What the forward pass computed on its way from x to y, in order."""

    mean: Array  # [C]
    centred: Array  # [..., C]
    sq: Array  # [..., C]
    var: Array  # [C]
    inv_std: Array  # [C]
    xhat: Array  # [..., C]


def batch_norm_graph(dy: Array, gamma: Array, steps: BatchNormSteps) -> tuple[Array, ...]:
    """dy [..., C], gamma [C] -> d_xhat, d_gamma, d_beta, d_inv_std, d_var, d_sq, d_centred, d_mean, dx"""
    raise NotImplementedError("batch_norm_graph is not written yet")


def answer(dy: Array, gamma: Array, steps: BatchNormSteps) -> tuple[Array, ...]:
    """One chain rule a line: y, xhat, inv_std, var, sq, centred (used twice), mean, x (used twice)."""
    over = tuple(range(dy.ndim - 1))
    n = dy.size // dy.shape[-1]
    d_xhat = dy * gamma
    d_gamma = (dy * steps.xhat).sum(over)
    d_beta = dy.sum(over)
    d_inv_std = (d_xhat * steps.centred).sum(over)
    d_var = d_inv_std * -0.5 * steps.inv_std**3
    d_sq = np.full_like(steps.sq, d_var / n)
    d_centred = d_xhat * steps.inv_std + d_sq * 2 * steps.centred
    d_mean = -d_centred.sum(over)
    dx = d_centred + d_mean / n
    return d_xhat, d_gamma, d_beta, d_inv_std, d_var, d_sq, d_centred, d_mean, dx


def channel_by_channel(dy: Array, gamma: Array, steps: BatchNormSteps) -> tuple[Array, ...]:
    """The same, a channel at a time: then everything is a number or a list of n numbers."""
    like_x, like_c = steps.xhat, steps.var
    d_xhat, d_sq, d_centred, dx = (np.empty_like(like_x) for _ in range(4))
    d_gamma, d_beta, d_inv_std, d_var, d_mean = (np.empty_like(like_c) for _ in range(5))
    for c in range(len(gamma)):
        d, xhat, centred, inv_std = dy[..., c], steps.xhat[..., c], steps.centred[..., c], steps.inv_std[c]
        d_gamma[c], d_beta[c] = np.vdot(d, xhat), np.sum(d)
        d_xhat[..., c] = gamma[c] * d
        d_inv_std[c] = gamma[c] * np.vdot(d, centred)
        d_var[c] = -d_inv_std[c] * inv_std**3 / 2
        d_sq[..., c] = d_var[c] / d.size
        d_centred[..., c] = gamma[c] * d * inv_std + 2 * d_sq[..., c] * centred
        d_mean[c] = -np.sum(d_centred[..., c])
        dx[..., c] = d_centred[..., c] + d_mean[c] / d.size
    return d_xhat, d_gamma, d_beta, d_inv_std, d_var, d_sq, d_centred, d_mean, dx


def from_the_short_form(dy: Array, gamma: Array, steps: BatchNormSteps) -> tuple[Array, ...]:
    """Every step's gradient from the two sums, d_gamma and d_beta, alone; what cancels is cancelled on paper."""
    c = dy.shape[-1]
    n = dy.size // c
    d_beta = np.ones(n, dy.dtype) @ dy.reshape(n, c)
    d_gamma = np.einsum("nc,nc->c", dy.reshape(n, c), steps.xhat.reshape(n, c))
    d_inv_std = gamma * d_gamma / steps.inv_std
    d_var = gamma * d_gamma * steps.inv_std**2 / -2
    d_sq = np.ones_like(dy) * d_var / n
    d_centred = gamma * steps.inv_std * (dy - steps.xhat * d_gamma / n)
    d_mean = -gamma * steps.inv_std * d_beta  # the other path sums centred, which is 0
    return dy * gamma, d_gamma, d_beta, d_inv_std, d_var, d_sq, d_centred, d_mean, d_centred + d_mean / n


def batch_norm_steps(x: Array, gamma: Array, beta: Array, epsilon: float = 1e-3) -> tuple[Array, BatchNormSteps]:
    """The forward pass, x [..., C] -> y [..., C], which keeps every step."""
    over = tuple(range(x.ndim - 1))
    mean = x.mean(over)
    centred = x - mean
    sq = centred**2
    var = sq.mean(over)
    inv_std = (var + epsilon) ** -0.5
    xhat = centred * inv_std
    return gamma * xhat + beta, BatchNormSteps(mean, centred, sq, var, inv_std, xhat)


def _gamma(rng: Rng, c: int) -> Array:
    """[c], of both signs: a channel may be turned over."""
    return rng.uniform(0.5, 2, c) * np.where(np.arange(c) % 2, -1.0, 1.0)


def cases(rng: Rng, dtype: Any) -> Iterator[Case]:
    """Images and a matrix, away from mean 0 and variance 1. The forward pass takes every step as an argument of its own."""
    for shape, about in (((3, 2, 2, 3), Text("images", "图像")), ((6, 4), Text("a matrix [N, C]", "矩阵 [N, C]"))):
        c = shape[-1]
        x = 1 + rng.uniform(0.3, 2, c) * rng.standard_normal(shape)
        x, gamma, beta = (a.astype(dtype) for a in (x, _gamma(rng, c), rng.standard_normal(c)))
        dy = (0.5 + rng.standard_normal(shape)).astype(dtype)
        _, steps = batch_norm_steps(x, gamma, beta)

        def forward(*nudged: Array, kept: BatchNormSteps = steps) -> Array:
            return _with_nudges(kept, *nudged)

        arrays = (steps.xhat, gamma, beta, steps.inv_std, steps.var, steps.sq, steps.centred, steps.mean, x)
        yield Case(about, (dy, gamma, steps), forward=forward, arrays=arrays)


def _with_nudges(
    kept: BatchNormSteps,
    xhat: Array,
    gamma: Array,
    beta: Array,
    inv_std: Array,
    var: Array,
    sq: Array,
    centred: Array,
    mean: Array,
    x: Array,
) -> Array:
    """The forward pass, where every step is moved by what its argument differs from the one that was kept: so each has a slope."""
    over = tuple(range(x.ndim - 1))
    moved_mean = x.mean(over) + (mean - kept.mean)
    moved_centred = x - moved_mean + (centred - kept.centred)
    moved_sq = moved_centred**2 + (sq - kept.sq)
    moved_var = moved_sq.mean(over) + (var - kept.var)
    moved_inv_std = (moved_var + 1e-3) ** -0.5 + (inv_std - kept.inv_std)
    y: Array = gamma * (moved_centred * moved_inv_std + (xhat - kept.xhat)) + beta
    return y


def attempt(wrong: frozenset[str], dy: Array, gamma: Array, steps: BatchNormSteps) -> tuple[Array, ...]:
    """`answer` with these mistakes made."""
    over = tuple(range(dy.ndim - 1))
    n = dy.size // dy.shape[-1]
    d_xhat = dy.copy() if "gamma_forgotten" in wrong else dy * gamma
    d_gamma = (dy * (steps.centred if "dgamma_of_centred" in wrong else steps.xhat)).sum(over)
    d_beta = dy.copy() if "dbeta_not_summed" in wrong else dy.sum(over)
    factor = steps.xhat if "inv_std_of_xhat" in wrong else steps.centred
    d_inv_std = (d_xhat * factor).sum((0,) if "batch_axis_only" in wrong else over)
    power = 1 if "power_not_lowered" in wrong else 2 if "inv_std_squared" in wrong else 3
    d_var = d_inv_std * -0.5 * steps.inv_std**power
    d_sq = np.zeros_like(steps.sq) + d_var / (1 if "var_not_averaged" in wrong else n)
    by_xhat = d_xhat * steps.inv_std
    by_sq = d_sq * steps.centred * (1 if "two_forgotten" in wrong else 2)
    d_centred = by_xhat + by_sq
    if "square_path_forgotten" in wrong:
        d_centred = by_xhat
    if "first_path_overwritten" in wrong:
        d_centred = by_sq
    d_mean = d_centred.sum(over) * (1 if "mean_sign" in wrong else -1)
    dx = d_centred + d_mean / (1 if "mean_not_averaged" in wrong else n)
    if "mean_path_forgotten" in wrong:
        dx = d_centred.copy()
    if "outputs_swapped" in wrong:
        d_gamma, d_beta = d_beta, d_gamma
    return d_xhat, d_gamma, d_beta, d_inv_std, d_var, d_sq, d_centred, d_mean, dx


_XHAT = Text("d_xhat = dy * gamma", "d_xhat = dy * gamma")
_GAMMA = Text("d_gamma = (dy * steps.xhat).sum(over)", "d_gamma = (dy * steps.xhat).sum(over)")
_BETA = Text("d_beta = dy.sum(over)", "d_beta = dy.sum(over)")
_INV_STD = Text("d_inv_std = (d_xhat * steps.centred).sum(over)", "d_inv_std = (d_xhat * steps.centred).sum(over)")
_VAR = Text("d_var = d_inv_std * -0.5 * steps.inv_std**3", "d_var = d_inv_std * -0.5 * steps.inv_std**3")
_SQ = Text("d_sq = np.full_like(steps.sq, d_var / n)", "d_sq = np.full_like(steps.sq, d_var / n)")
_CENTRED = Text(
    "d_centred = d_xhat * steps.inv_std + d_sq * 2 * steps.centred",
    "d_centred = d_xhat * steps.inv_std + d_sq * 2 * steps.centred",
)
_MEAN = Text("d_mean = -d_centred.sum(over)", "d_mean = -d_centred.sum(over)")
_X = Text("dx = d_centred + d_mean / n", "dx = d_centred + d_mean / n")

_PRODUCT = Text(
    "In a product each factor's gradient is the upstream gradient times the other factor.",
    "乘积中，每个因子的梯度等于上游梯度乘以另一个因子。",
)
_BROADCAST = Text(
    "[C] was broadcast to [..., C]: one number served all n values of its channel, so its gradient is the sum over all n.",
    "[C] 被广播成 [..., C]：一个数服务于该通道的 n 个值，所以它的梯度是对这 n 个值求和。",
)
_POWER = Text(
    "The derivative of v^(-1/2) is -1/2 v^(-3/2): the exponent goes down by one. In terms of inv_std = v^(-1/2) that is -1/2 inv_std^3.",
    "v^(-1/2) 的导数是 -1/2 v^(-3/2)：指数减一。用 inv_std = v^(-1/2) 表示，就是 -1/2 inv_std^3。",
)
_AVERAGE = Text(
    "A mean spreads its gradient evenly over what it was made of: each of the n values gets 1/n of it.",
    "平均值把它的梯度平均分给各个成分：n 个值各得 1/n。",
)
_TWICE = Text(
    "Two later lines use it. Each sends a gradient back, and the two add up.",
    "后面有两行用到它。每一行都传回一份梯度，两份相加。",
)

MISTAKES = (
    Mistake(
        "gamma_forgotten",
        Text(
            "d_xhat is dy itself: the factor gamma of y = gamma * xhat + beta is missing.",
            "d_xhat 就是 dy：漏了 y = gamma * xhat + beta 中的因子 gamma。",
        ),
        _XHAT,
    ),
    Mistake(
        "dgamma_of_centred",
        Text(
            "d_gamma is made with centred. gamma multiplies xhat, which is divided by the standard deviation as well.",
            "d_gamma 用了 centred。与 gamma 相乘的是 xhat，它还除以了标准差。",
        ),
        _GAMMA,
    ),
    Mistake(
        "dbeta_not_summed",
        Text(
            "d_beta is dy, unsummed. A gradient has the shape of what it belongs to, and beta is [C].",
            "d_beta 就是 dy，没有求和。梯度的形状与对应的量相同，而 beta 是 [C]。",
        ),
        _BETA,
    ),
    Mistake(
        "inv_std_of_xhat",
        Text(
            "d_inv_std is made with xhat, the product, and not with centred, the other factor.",
            "d_inv_std 用了乘积 xhat，而不是另一个因子 centred。",
        ),
        _INV_STD,
        _PRODUCT,
    ),
    Mistake(
        "batch_axis_only",
        Text(
            "d_inv_std is summed over the batch only, as in a dense layer. On images it also serves all pixels.",
            "d_inv_std 只在批次轴上求和，像全连接层那样。对图像来说它还服务于所有像素。",
        ),
        _INV_STD,
    ),
    Mistake(
        "power_not_lowered",
        Text(
            "d_var has the factor -1/2, but times inv_std and not inv_std**3: the exponent -1/2 stayed as it was.",
            "d_var 有因子 -1/2，但乘的是 inv_std 而不是 inv_std**3：指数 -1/2 没有减一。",
        ),
        _VAR,
    ),
    Mistake(
        "var_not_averaged",
        Text(
            "Every sq gets the whole of d_var. var is a mean, so each of the n squares has a share of 1/n in it.",
            "每个 sq 都得到了整个 d_var。var 是平均值，n 个平方各占 1/n。",
        ),
        _SQ,
    ),
    Mistake(
        "two_forgotten",
        Text(
            "The 2 of (centred**2)' = 2 * centred is missing in d_centred.",
            "d_centred 中漏了 (centred**2)' = 2 * centred 的 2。",
        ),
        _CENTRED,
        Text("The derivative of a square is twice what was squared.", "平方的导数是被平方数的两倍。"),
    ),
    Mistake(
        "square_path_forgotten",
        Text(
            "d_centred has only what comes back from xhat. centred was also squared, for the variance.",
            "d_centred 只有从 xhat 传回的一份。centred 还曾被平方，用来算方差。",
        ),
        _CENTRED,
    ),
    Mistake(
        "first_path_overwritten",
        Text(
            "d_centred has only what comes back from sq: the second gradient was assigned over the first (= for +=).",
            "d_centred 只有从 sq 传回的一份：第二份梯度把第一份覆盖了（+= 写成了 =）。",
        ),
        _CENTRED,
    ),
    Mistake(
        "mean_sign",
        Text(
            "d_mean lacks the minus of centred = x - mean.",
            "d_mean 缺少 centred = x - mean 中的负号。",
        ),
        _MEAN,
        Text(
            "mean is subtracted from n values: its gradient is minus the sum of theirs.",
            "mean 从 n 个值中减去，它的梯度是这 n 个梯度之和的相反数。",
        ),
    ),
    Mistake(
        "mean_path_forgotten",
        Text(
            "dx is d_centred: the path through the mean is missing, as if the mean were a constant.",
            "dx 就是 d_centred：漏了经过均值的路径，好像均值是常数。",
        ),
        _X,
    ),
    Mistake(
        "mean_not_averaged",
        Text(
            "Every x gets the whole of d_mean, and not 1/n of it.",
            "每个 x 都得到了整个 d_mean，而不是它的 1/n。",
        ),
        _X,
        _AVERAGE,
    ),
    Mistake(
        "inv_std_squared",
        Text(
            "d_var has inv_std**2 and not inv_std**3: that is the derivative of 1 / std by std. By var there is another "
            "1 / (2 std).",
            "d_var 里是 inv_std**2 而不是 inv_std**3：那是 1 / std 对 std 的导数；对 var 求导还要再乘 1 / (2 std)。",
        ),
        _VAR,
    ),
    Mistake(
        "outputs_swapped",
        Text("d_gamma and d_beta are returned in the wrong order.", "d_gamma 与 d_beta 返回的次序反了。"),
        Text("return d_xhat, d_gamma, d_beta, …", "return d_xhat, d_gamma, d_beta, …"),
    ),
)

EXERCISE = Exercise(
    name="batch_norm_graph",
    title=Text("Batch norm, backward in small steps", "批归一化的反向传播：分成小步"),
    task=TASK,
    equation="each line's gradient = the gradients of the lines that use it, times their derivatives, added up",
    presupposes=("relu_backward", "bias_add_backward"),
    notebook="06",
    minutes=25,
    stub=batch_norm_graph,
    answer=answer,
    also_right=(channel_by_channel, from_the_short_form),
    outputs=(
        Output("d_xhat", "...C", _PRODUCT, _XHAT),
        Output("d_gamma", "C", _BROADCAST, _GAMMA),
        Output("d_beta", "C", _BROADCAST, _BETA),
        Output("d_inv_std", "C", _BROADCAST, _INV_STD),
        Output("d_var", "C", _POWER, _VAR),
        Output("d_sq", "...C", _AVERAGE, _SQ),
        Output("d_centred", "...C", _TWICE, _CENTRED),
        Output("d_mean", "C", _BROADCAST, _MEAN),
        Output("dx", "...C", _TWICE, _X),
    ),
    cases=cases,
    attempt=attempt,
    mistakes=MISTAKES,
    imports=("from typing import NamedTuple", "import numpy as np"),
    given=(BatchNormSteps, batch_norm_steps),
)
