"""moving_average: what a layer remembers of its batches, for the time when there is none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...backend import Array
from ..exercise import Case, Exercise, Mistake, Output, Rng
from ..language import Text

TASK = Text(
    en="""\
While it trains, batch norm keeps a moving average of each channel's mean and variance. A batch moves the average a little:

    new = decay * old + (1 - decay) * batch's

The moving variance takes the *unbiased* variance of the batch, sum((x - mean)^2) / (n - 1) over its n values (the batch itself is
normalised with the biased one, divided by n). With n = 1 there is nothing to correct: the factor n / (n - 1) is 1 then, so the variance
is the biased one, 0.

- `moving_mean`, `moving_variance` [C], `x` [..., C]: usually [N, H, W, C], but [N, C] must work too. `decay`: a number, such as 0.997.
- Return the new moving_mean and moving_variance [C], of x's dtype, as new arrays.

By hand: x = 1, 2, 3, 4 in one channel, old averages 0 and 1, decay 0.9. The mean is 2.5, the unbiased variance 5/3; the new averages
are 0.25 and 0.9 + 0.1 * 5/3 = 1.0667.
""",
    zh="""\
训练时，批归一化为每个通道的均值和方差各保存一个滑动平均。每个批次把它移动一点：

    新值 = decay * 旧值 + (1 - decay) * 批次的值

移动方差取批次的*无偏*方差：对 n 个值求 sum((x - mean)^2) / (n - 1)（批次自身的归一化用的是除以 n 的有偏方差）。
n = 1 时没有什么可修正的：因子 n / (n - 1) 取 1，方差就是有偏方差 0。

- `moving_mean`、`moving_variance` [C]，`x` [..., C]：通常是 [N, H, W, C]，但 [N, C] 也要能用。`decay`：一个数，例如 0.997。
- 返回新的 moving_mean 与 moving_variance [C]，数据类型与 x 相同，且是新数组。

手算一例：单通道 x = 1, 2, 3, 4，旧的平均值为 0 和 1，decay 为 0.9。均值 2.5，无偏方差 5/3；新的平均值为 0.25 和 0.9 + 0.1 * 5/3 = 1.0667。
""",
)


def moving_average(moving_mean: Array, moving_variance: Array, x: Array, decay: float) -> tuple[Array, Array]:
    """moving_mean, moving_variance [C], x [..., C] -> new moving_mean, moving_variance [C]"""
    raise NotImplementedError("moving_average is not written yet")


def answer(moving_mean: Array, moving_variance: Array, x: Array, decay: float) -> tuple[Array, Array]:
    """new = decay * old + (1 - decay) * batch's; the variance is that of the batch times n / (n - 1)."""
    over = tuple(range(x.ndim - 1))
    n = x.size // x.shape[-1]
    unbiased = x.var(over) * (n / max(n - 1, 1))
    return (
        decay * moving_mean + (1 - decay) * x.mean(over),
        decay * moving_variance + (1 - decay) * unbiased,
    )


def by_the_difference(moving_mean: Array, moving_variance: Array, x: Array, decay: float) -> tuple[Array, Array]:
    """The same as TensorFlow writes it: a step of 1 - decay towards the batch."""
    values = x.reshape(-1, x.shape[-1])
    mean = values.sum(0) / len(values)
    variance = np.square(values - mean).sum(0) / max(len(values) - 1, 1)
    step = 1 - decay
    return moving_mean - (moving_mean - mean) * step, moving_variance - (moving_variance - variance) * step


def channel_by_channel(moving_mean: Array, moving_variance: Array, x: Array, decay: float) -> tuple[Array, Array]:
    """The same with plain numbers, the variance from the squared distances of all pairs."""
    means, variances = moving_mean.copy(), moving_variance.copy()
    for c in range(len(means)):
        values = [float(v) for v in x[..., c].ravel()]
        n = len(values)
        pairs = sum((a - b) ** 2 for a in values for b in values)
        means[c] = decay * means[c] + (1 - decay) * sum(values) / n
        variances[c] = decay * variances[c] + (1 - decay) * (pairs / (2 * n * (n - 1)) if n > 1 else 0.0)
    return means, variances


def cases(rng: Rng, dtype: Any) -> Iterator[Case]:
    """Images, a matrix, one value a channel, and the example of the task."""
    for shape, decay, about in (
        ((3, 2, 1, 2), 0.75, Text("images", "图像")),
        ((4, 3), 0.6, Text("a matrix [N, C]", "矩阵 [N, C]")),
        ((1, 3), 0.6, Text("a batch of one value a channel, n = 1", "每个通道只有一个值，n = 1")),
    ):
        c = shape[-1]
        x = (2 + rng.uniform(1, 2, c) * rng.standard_normal(shape)).astype(dtype)
        means, variances = (rng.uniform(low, low + 1, c).astype(dtype) for low in (0.5, 2))
        yield Case(about, (means, variances, x, decay))
    x = np.array([[1.0], [2.0], [3.0], [4.0]], dtype)
    expected = np.array([0.25], dtype), np.array([0.9 + 0.1 * 5 / 3], dtype)
    about = Text("the example of the task", "题目中的例子")
    yield Case(about, (np.zeros(1, dtype), np.ones(1, dtype), x, 0.9), expected=expected, source="worked out by hand")


def attempt(
    wrong: frozenset[str], moving_mean: Array, moving_variance: Array, x: Array, decay: float
) -> tuple[Array, Array]:
    """`answer` with these mistakes made."""
    over: tuple[int, ...] = (0,) if "batch_axis_only" in wrong else tuple(range(x.ndim - 1))
    n = x.size if "channels_counted" in wrong else x.size // x.shape[-1]
    if "pixels_not_counted" in wrong:
        n = len(x)
    mean = x.mean(over)
    variance = np.square(x - (moving_mean if "around_the_moving_mean" in wrong else mean)).mean(over)
    if "around_the_new_mean" in wrong:
        variance = np.square(x - (decay * moving_mean + (1 - decay) * mean)).mean(over)
    if "squares_not_centred" in wrong:
        variance = np.square(x).mean(over)
    if "factor_upside_down" in wrong:
        variance = variance * (max(n - 1, 1) / n)
    elif "biased_variance" not in wrong:
        with np.errstate(all="ignore"):
            variance = variance * np.divide(n, n - 1 if "divided_by_zero" in wrong else max(n - 1, 1), dtype=x.dtype)
    if "standard_deviation" in wrong:
        variance = np.sqrt(variance)
    if "decay_swapped" in wrong:
        decay = 1 - decay
    keep = 1 if "old_not_shrunk" in wrong else decay
    new_mean = keep * moving_mean + (1 - decay) * mean
    new_variance = keep * moving_variance + (1 - decay) * variance
    if "variance_replaced" in wrong:
        new_variance = variance
    return new_mean, new_variance


_MEAN = Text(
    "moving_mean = decay * moving_mean + (1 - decay) * x.mean(over), with over = all axes but the last",
    "moving_mean = decay * moving_mean + (1 - decay) * x.mean(over)，其中 over 是除最后一轴外的所有轴",
)
_VARIANCE = Text(
    "moving_variance = decay * moving_variance + (1 - decay) * x.var(over) * n / max(n - 1, 1)",
    "moving_variance = decay * moving_variance + (1 - decay) * x.var(over) * n / max(n - 1, 1)",
)
_CONCEPT = Text(
    "A moving average is a weighted mean of old and new, and the weights add up to 1: decay (close to 1) stays with what is old.",
    "滑动平均是旧值与新值的加权平均，权重之和为 1：旧值的权重是 decay（接近 1）。",
)
_UNBIASED = Text(
    "The values of a batch lie closer to their own mean than to the true one, so their variance comes out too small, by (n - 1) / n on "
    "average. For the inference to come, that is corrected.",
    "批次的值离自己的均值比离真正的均值更近，所以方差平均偏小，为 (n - 1) / n 倍。为了以后的推理，要把它修正过来。",
)

MISTAKES = (
    Mistake(
        "biased_variance",
        Text(
            "The moving variance takes the biased variance, divided by n: that is np.var's own, and the one that normalises the batch.",
            "移动方差取了除以 n 的有偏方差：np.var 默认如此，批次的归一化用的也是它。",
        ),
        _VARIANCE,
        _UNBIASED,
    ),
    Mistake(
        "divided_by_zero",
        Text(
            "With n = 1 it divides by n - 1 = 0, as x.var(ddof=1) does: the moving variance is NaN and stays so for ever.",
            "n = 1 时除以了 n - 1 = 0，x.var(ddof=1) 就是如此：移动方差变成 NaN，而且再也恢复不了。",
        ),
        _VARIANCE,
        Text("A single value has no spread to correct: the factor is 1.", "只有一个值时没有离散程度可修正：因子取 1。"),
    ),
    Mistake(
        "channels_counted",
        Text(
            "n is x.size, which counts the values of all channels. Each channel has a mean of its own, so n is the values of one.",
            "n 取了 x.size，把所有通道的值都数了进去。每个通道有自己的均值，n 只是一个通道的值的个数。",
        ),
        _VARIANCE,
        _UNBIASED,
    ),
    Mistake(
        "decay_swapped",
        Text(
            "decay and 1 - decay are swapped. PyTorch's momentum=0.003 is TensorFlow's decay=0.997.",
            "decay 与 1 - decay 用反了。PyTorch 的 momentum=0.003 相当于 TensorFlow 的 decay=0.997。",
        ),
        _MEAN,
    ),
    Mistake(
        "old_not_shrunk",
        Text(
            "The batch's share is added to the whole of the old average, not to decay times it: the average grows without end.",
            "在整个旧值上加了批次的那一份，没有先乘 decay：平均值会无止境地增大。",
        ),
        _MEAN,
    ),
    Mistake(
        "around_the_moving_mean",
        Text(
            "The batch's variance is taken around the moving mean, not around the batch's own mean.",
            "批次的方差是围绕滑动平均算的，而不是围绕批次自己的均值。",
        ),
        _VARIANCE,
        Text("A variance is measured from the mean of the same values.", "方差是相对于同一组值的均值来计算的。"),
    ),
    Mistake(
        "standard_deviation",
        Text(
            "The standard deviation is averaged in the place of the variance.",
            "平均的是标准差，而不是方差。",
        ),
        _VARIANCE,
        Text(
            "What is kept is the variance; the root is taken when it is used, after epsilon is added.",
            "保存的是方差；使用时先加 epsilon，再开方。",
        ),
    ),
    Mistake(
        "variance_replaced",
        Text(
            "The batch's variance replaces the moving one; only the mean is averaged.",
            "移动方差被批次的方差直接取代了，只有均值做了平均。",
        ),
        _VARIANCE,
    ),
    Mistake(
        "batch_axis_only",
        Text(
            "Mean and variance are taken over the batch only, so that every pixel has its own. A channel has one, over all its pixels.",
            "均值和方差只在批次轴上取，于是每个像素各有一个。一个通道只有一个，要对所有像素取。",
        ),
        _MEAN,
    ),
    Mistake(
        "factor_upside_down",
        Text(
            "The factor is (n - 1) / n, upside down: the variance, too small already, is made smaller still.",
            "因子写成了 (n - 1) / n，上下颠倒：方差本来就偏小，这样更小了。",
        ),
        _VARIANCE,
        _UNBIASED,
    ),
    Mistake(
        "pixels_not_counted",
        Text(
            "n is the number of images only. On pictures a channel has N*H*W values, and n counts them all.",
            "n 只取了图像的个数。对图像来说，一个通道有 N*H*W 个值，n 要把它们都数进去。",
        ),
        _VARIANCE,
        _UNBIASED,
    ),
    Mistake(
        "squares_not_centred",
        Text(
            "The mean of the squares is taken for the variance: mean(x^2) is that only if the mean is 0.",
            "把平方的均值当成了方差：只有均值为 0 时 mean(x^2) 才等于方差。",
        ),
        _VARIANCE,
        Text("A variance is measured from the mean of the same values.", "方差是相对于同一组值的均值来计算的。"),
    ),
    Mistake(
        "around_the_new_mean",
        Text(
            "The batch's variance is taken around the new moving mean, not around the batch's own mean: x.mean was "
            "overwritten too early.",
            "批次的方差是围绕新的滑动平均算的，而不是围绕批次自己的均值：均值过早被覆盖了。",
        ),
        _VARIANCE,
        Text("A variance is measured from the mean of the same values.", "方差是相对于同一组值的均值来计算的。"),
    ),
)

EXERCISE = Exercise(
    name="moving_average",
    title=Text("Moving averages of batch norm", "批归一化的滑动平均"),
    task=TASK,
    equation="new mean = decay * mean + (1 - decay) * E[x]; new var = decay * var + (1 - decay) * Var[x] * n / (n - 1)",
    presupposes=(),
    notebook="06",
    minutes=10,
    stub=moving_average,
    answer=answer,
    also_right=(by_the_difference, channel_by_channel),
    outputs=(
        Output("moving_mean", "C", _CONCEPT, _MEAN),
        Output("moving_variance", "C", _CONCEPT, _VARIANCE),
    ),
    cases=cases,
    attempt=attempt,
    mistakes=MISTAKES,
)
