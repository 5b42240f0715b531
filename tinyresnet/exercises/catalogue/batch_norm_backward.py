"""batch_norm_backward: three paths from y back to x, because the mean and the variance are made of x as well."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ... import ops
from ...backend import Array
from ...ops import BatchNormSaved
from ..diagnosis.batch_norm import explain_dx
from ..exercise import Case, Exercise, Mistake, Output, Rng
from ..language import Text

TASK = Text(
    en="""\
Batch norm in training: for each channel, with mean and var over all n = N*H*W values of the batch,

    xhat = (x - mean) / sqrt(var + epsilon)
    y = gamma * xhat + beta

Write its backward pass. mean and var are made of x, so x reaches y by three paths.

- `dy` [..., C]: the gradient of the loss with respect to y; usually [N, H, W, C], but [N, C] must work too.
- `saved.x` [..., C], `saved.gamma`, `saved.mean`, `saved.var`, `saved.inv_std` [C]; inv_std = 1 / sqrt(var + epsilon), and var
  is biased (divided by n).
- Return dx [..., C], dgamma [C], dbeta [C], of dy's dtype.
""",
    zh="""\
训练模式的批归一化：对每个通道，mean 与 var 取自整个批次的 n = N*H*W 个值，

    xhat = (x - mean) / sqrt(var + epsilon)
    y = gamma * xhat + beta

请写出它的反向传播。mean 与 var 都由 x 算出，所以 x 经三条路径影响 y。

- `dy` [..., C]：损失对 y 的梯度；通常是 [N, H, W, C]，但 [N, C] 也要能用。
- `saved.x` [..., C]，`saved.gamma`、`saved.mean`、`saved.var`、`saved.inv_std` [C]；inv_std = 1 / sqrt(var + epsilon)，
  var 是有偏方差（除以 n）。
- 返回 dx [..., C]、dgamma [C]、dbeta [C]，数据类型与 dy 相同。
""",
)


def batch_norm_backward(dy: Array, saved: BatchNormSaved) -> tuple[Array, Array, Array]:
    """dy [..., C] -> dx [..., C], dgamma [C], dbeta [C]"""
    raise NotImplementedError("batch_norm_backward is not written yet")


def answer(dy: Array, saved: BatchNormSaved) -> tuple[Array, Array, Array]:
    """dx = gamma * inv_std * (dy - mean(dy) - xhat * mean(dy * xhat))."""
    over = tuple(range(dy.ndim - 1))  # all axes but the channels'
    xhat = (saved.x - saved.mean) * saved.inv_std
    dbeta = dy.sum(over)
    dgamma = (dy * xhat).sum(over)
    n = dy.size // dy.shape[-1]
    dx = saved.gamma * saved.inv_std * (dy - dbeta / n - xhat * dgamma / n)
    return dx, dgamma, dbeta


def through_the_graph(dy: Array, saved: BatchNormSaved) -> tuple[Array, Array, Array]:
    """The same path by path: through xhat, through var, through mean (the paper's own equations)."""
    over = tuple(range(dy.ndim - 1))
    n = dy.size // dy.shape[-1]
    centred = saved.x - saved.mean
    dxhat = dy * saved.gamma
    dvar = (dxhat * centred).sum(over) * -0.5 * saved.inv_std**3
    dmean = -(dxhat * saved.inv_std).sum(over) - 2 * dvar * centred.mean(over)
    dx = dxhat * saved.inv_std + dvar * 2 * centred / n + dmean / n
    return dx, (dy * centred * saved.inv_std).sum(over), dy.sum(over)


def as_a_projection(dy: Array, saved: BatchNormSaved) -> tuple[Array, Array, Array]:
    """The same as geometry: what is left of dy at right angles to the ones and to xhat."""
    xhat = ((saved.x - saved.mean) * saved.inv_std).reshape(-1, dy.shape[-1])
    d = dy.reshape(xhat.shape)
    dgamma, dbeta = np.einsum("nc,nc->c", d, xhat), np.einsum("nc->c", d)
    left = len(d) * d - dbeta - xhat * dgamma
    return (left * (saved.gamma * saved.inv_std / len(d))).reshape(dy.shape).astype(dy.dtype), dgamma, dbeta


def _gamma(rng: Rng, c: int) -> Array:
    """[c], of both signs: a channel may be turned over."""
    return rng.uniform(0.5, 2, c) * np.where(np.arange(c) % 2, -1.0, 1.0)


def cases(rng: Rng, dtype: Any) -> Iterator[Case]:
    """Images and a matrix, away from mean 0 and variance 1, few values, and a channel so quiet that epsilon counts."""
    for shape, about in (((3, 2, 2, 3), Text("images", "图像")), ((6, 4), Text("a matrix [N, C]", "矩阵 [N, C]"))):
        c = shape[-1]
        x = 1 + rng.uniform(0.5, 2, c) * rng.standard_normal(shape)
        x[..., 0] = 1 + 0.03 * rng.standard_normal(shape[:-1])
        x, gamma, beta = (a.astype(dtype) for a in (x, _gamma(rng, c), rng.standard_normal(c)))
        dy = (0.5 + rng.standard_normal(shape)).astype(dtype)

        def forward(x: Array, gamma: Array, beta: Array) -> Array:
            return ops.batch_norm_forward(x, gamma, beta, epsilon=1e-3)[0]

        saved = ops.batch_norm_forward(x, gamma, beta, epsilon=1e-3)[1]
        yield Case(about, (dy, saved), forward=forward, arrays=(x, gamma, beta))


def attempt(wrong: frozenset[str], dy: Array, saved: BatchNormSaved) -> tuple[Array, Array, Array]:
    """`answer` with these mistakes made."""
    x, gamma, mean, var, inv_std = saved
    over: tuple[int, ...] = tuple(range(dy.ndim - 1))
    n = dy.size // dy.shape[-1]
    if "unbiased_variance" in wrong:
        inv_std = 1 / np.sqrt((1 / inv_std**2 - var) + var * n / (n - 1))
    if "epsilon_forgotten" in wrong:
        inv_std = 1 / np.sqrt(var)
    if "epsilon_of_its_own" in wrong:
        inv_std = 1 / np.sqrt(var + 1e-5)
    if "epsilon_outside_the_root" in wrong:
        inv_std = 1 / (np.sqrt(var) + (1 / inv_std**2 - var))
    if "variance_not_rooted" in wrong:
        inv_std = inv_std**2
    xhat = (x - mean) * inv_std
    of_gamma = x if "dgamma_of_x" in wrong else x - mean if "dgamma_of_centred" in wrong else xhat
    dbeta, dgamma = dy.sum(over), (dy * of_gamma).sum(over)
    if "parameters_through_gamma" in wrong:
        dbeta, dgamma = dbeta * gamma, dgamma * gamma
    if "averaged_not_summed" in wrong:
        dbeta, dgamma = dbeta / n, dgamma / n
    terms = (0,) if "batch_axis_only" in wrong else over
    counted = len(dy) if "pixels_not_counted" in wrong else dy.size if "channels_counted" in wrong else n
    if "divided_by_n_minus_1" in wrong:
        counted -= 1
    few = n if "sums_not_averaged" in wrong else n / counted
    dx = dy.copy()
    if "mean_term_forgotten" not in wrong:
        dx = dx - few * dy.mean(terms, keepdims=True)
    if "variance_term_forgotten" not in wrong:
        sign = -1 if "variance_term_sign" in wrong else 1
        unbiased: Any = n / (n - 1) if "variance_term_unbiased" in wrong else 1
        if "inv_std_squared" in wrong:
            unbiased = unbiased / saved.inv_std
        inside = outside = x if "x_for_xhat" in wrong else x - mean if "centred_for_xhat" in wrong else xhat
        if "mean_of_dy_x" in wrong:
            inside = x
        dx = dx - few * sign * unbiased * outside * (dy * inside).mean(terms, keepdims=True)
    if "gamma_forgotten" not in wrong:
        dx = dx * gamma
    if "inv_std_forgotten" not in wrong:
        dx = dx * inv_std
    dx = dx * (-1 if "sign_flipped" in wrong else 1)
    return (dx, dbeta, dgamma) if "outputs_swapped" in wrong else (dx, dgamma, dbeta)


_DX = Text(
    "dx = saved.gamma * saved.inv_std * (dy - dy.mean(over) - xhat * (dy * xhat).mean(over)), with over = all axes but the last",
    "dx = saved.gamma * saved.inv_std * (dy - dy.mean(over) - xhat * (dy * xhat).mean(over))，其中 over 是除最后一轴外的所有轴",
)
_DX_CONCEPT = Text(
    "x reaches y by three paths: directly, through the mean and through the variance. Every x of a channel moves the mean and the "
    "variance, and these move every y of the channel: so each dx has two terms that sum over the whole channel.",
    "x 经三条路径影响 y：直接、经过均值、经过方差。通道中每个 x 都会改变均值和方差，而它们又改变该通道的每个 y，"
    "所以每个 dx 都含有两个对整个通道求和的项。",
)
_DGAMMA = Text("dgamma = (dy * xhat).sum(over)", "dgamma = (dy * xhat).sum(over)")
_DBETA = Text("dbeta = dy.sum(over)", "dbeta = dy.sum(over)")
_SUM = Text(
    "One gamma and one beta serve all n values of a channel: their gradients add up over all of them.",
    "一个通道的 n 个值共用一个 gamma 和一个 beta：它们的梯度要对所有这些值求和。",
)
_INV_STD = Text(
    "inv_std = saved.inv_std, as the forward pass computed it", "inv_std = saved.inv_std，即前向传播算出的那个"
)

MISTAKES = (
    Mistake(
        "mean_term_forgotten",
        Text(
            "The path through the mean is missing: dx lacks - mean(dy). The mean is taken for a constant.",
            "漏掉了经过均值的路径：dx 缺少 - mean(dy)，把均值当成了常数。",
        ),
        _DX,
    ),
    Mistake(
        "variance_term_forgotten",
        Text(
            "The path through the variance is missing: dx lacks - xhat * mean(dy * xhat). A check with dy = 1 cannot see it.",
            "漏掉了经过方差的路径：dx 缺少 - xhat * mean(dy * xhat)。用 dy = 1 的检查看不出来。",
        ),
        _DX,
    ),
    Mistake(
        "x_for_xhat",
        Text(
            "The variance's term has x in the place of xhat: - x * mean(dy * x). x is neither centred nor scaled.",
            "方差项中用了 x 而不是 xhat：- x * mean(dy * x)。x 既没有减去均值，也没有缩放。",
        ),
        _DX,
    ),
    Mistake(
        "mean_of_dy_x",
        Text(
            "The mean in the variance's term is that of dy * x, not of dy * xhat.",
            "方差项中的均值取的是 dy * x，而不是 dy * xhat。",
        ),
        _DX,
    ),
    Mistake(
        "centred_for_xhat",
        Text(
            "The variance's term has x - mean in the place of xhat: it lacks 1 / (var + epsilon).",
            "方差项中用了 x - mean 而不是 xhat：缺少 1 / (var + epsilon)。",
        ),
        _DX,
    ),
    Mistake(
        "variance_term_sign",
        Text(
            "The variance's term is added, not subtracted: the minus of d(v^-1/2) = -1/2 v^-3/2 dv got lost.",
            "方差项加了而不是减：丢掉了 d(v^-1/2) = -1/2 v^-3/2 dv 中的负号。",
        ),
        _DX,
    ),
    Mistake(
        "variance_term_unbiased",
        Text(
            "The variance's term has a factor n / (n - 1). It belongs there if the forward pass divides its variance by n - 1, as in "
            "Karpathy's makemore; here it divides by n.",
            "方差项多了因子 n / (n - 1)。若前向传播的方差除以 n - 1（如 Karpathy 的 makemore），才应当有它；这里除以的是 n。",
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
        "variance_not_rooted",
        Text("Divided by var + epsilon, not by its square root.", "除以了 var + epsilon，而不是它的平方根。"),
        _INV_STD,
    ),
    Mistake(
        "unbiased_variance",
        Text(
            "The variance is divided by n - 1 here (ddof=1, as PyTorch's x.var() does) and by n in the forward pass.",
            "这里方差除以 n - 1（ddof=1，PyTorch 的 x.var() 就是如此），而前向传播除以 n。",
        ),
        _INV_STD,
    ),
    Mistake(
        "epsilon_forgotten",
        Text("inv_std is made anew from var, without epsilon.", "重新由 var 计算 inv_std 时漏了 epsilon。"),
        _INV_STD,
    ),
    Mistake(
        "epsilon_of_its_own",
        Text(
            "inv_std is made anew with epsilon 1e-5. The forward pass had another epsilon: it is in saved.inv_std.",
            "重新计算 inv_std 时用了 epsilon = 1e-5。前向传播用的是另一个 epsilon，它已含在 saved.inv_std 中。",
        ),
        _INV_STD,
    ),
    Mistake(
        "epsilon_outside_the_root",
        Text(
            "epsilon is added to the standard deviation, not to the variance.", "epsilon 加在了标准差上，而不是方差上。"
        ),
        _INV_STD,
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
        "dgamma_of_x",
        Text("dgamma is made with x, not with the normalised xhat.", "dgamma 用的是 x，而不是归一化后的 xhat。"),
        _DGAMMA,
        _SUM,
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
    Mistake("sign_flipped", Text("The sign of dx is the wrong way round.", "dx 的符号反了。"), _DX),
    Mistake(
        "pixels_not_counted",
        Text(
            "n is the number of images only. On pictures a channel has N*H*W values, and n counts them all.",
            "n 只取了图像的个数。对图像来说，一个通道有 N*H*W 个值，n 要把它们都数进去。",
        ),
        _DX,
    ),
    Mistake(
        "channels_counted",
        Text(
            "n counts the values of all channels (dy.size). Each channel has a mean of its own, so n is the values "
            "of one.",
            "n 把所有通道的值都数了进去（dy.size）。每个通道有自己的均值，n 只是一个通道的值的个数。",
        ),
        _DX,
    ),
    Mistake(
        "inv_std_squared",
        Text(
            "The gradient of the variance has inv_std**2 and not inv_std**3: that is the derivative of 1 / std by "
            "std. By var there is another 1 / (2 std).",
            "方差的梯度里是 inv_std**2 而不是 inv_std**3：那是 1 / std 对 std 的导数；对 var 求导还要再乘 1 / (2 "
            "std)。",
        ),
        _DX,
    ),
    Mistake(
        "dgamma_of_centred",
        Text(
            "dgamma is made with x - mean, which is not divided by the standard deviation.",
            "dgamma 用的是 x - mean，没有除以标准差。",
        ),
        _DGAMMA,
        _SUM,
    ),
    Mistake(
        "parameters_through_gamma",
        Text(
            "dgamma or dbeta is made with gamma * dy, the gradient of xhat. gamma and beta act on y directly: dy "
            "itself is what they get.",
            "dgamma 或 dbeta 用了 gamma * dy，那是 xhat 的梯度。gamma 与 beta 直接作用于 y，它们得到的是 dy 本身。",
        ),
        Text(
            "dgamma = (dy * xhat).sum(over); dbeta = dy.sum(over)",
            "dgamma = (dy * xhat).sum(over)；dbeta = dy.sum(over)",
        ),
        _SUM,
    ),
    Mistake(
        "divided_by_n_minus_1",
        Text(
            "The means in dx are divided by n - 1. mean and var are divided by n here, so these means are too.",
            "dx 中的两个平均除以了 n - 1。这里的均值和方差除以的是 n，所以这两个平均也除以 n。",
        ),
        _DX,
    ),
    Mistake(
        "sums_not_averaged",
        Text(
            "The two terms are sums, dbeta and dgamma themselves, and not divided by n.",
            "这两项是和（就是 dbeta 与 dgamma），没有除以 n。",
        ),
        _DX,
    ),
)

EXERCISE = Exercise(
    name="batch_norm_backward",
    title=Text("Batch norm, backward", "批归一化的反向传播"),
    task=TASK,
    equation="dx = gamma * inv_std * (dy - mean(dy) - xhat * mean(dy * xhat)); dgamma = sum(dy * xhat); dbeta = sum(dy)",
    presupposes=("batch_norm_graph",),
    notebook="06",
    minutes=25,
    stub=batch_norm_backward,
    answer=answer,
    also_right=(through_the_graph, as_a_projection),
    outputs=(
        Output("dx", "...C", _DX_CONCEPT, _DX),
        Output("dgamma", "C", _SUM, _DGAMMA),
        Output("dbeta", "C", _SUM, _DBETA),
    ),
    cases=cases,
    attempt=attempt,
    mistakes=MISTAKES,
    op="batch_norm_backward",
    explain=(explain_dx,),
)
