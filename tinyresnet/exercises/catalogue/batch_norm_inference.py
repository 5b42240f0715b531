"""batch_norm_inference: with the averages that training left behind, batch norm is one scale and one shift a channel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...backend import Array
from ..exercise import Case, Exercise, Mistake, Output, Rng
from ..language import Text

TASK = Text(
    en="""\
A trained net must say the same of a picture whatever other pictures are in the batch. So in inference batch norm looks at no batch: it
takes the moving averages that training left behind.

    y = gamma * (x - moving_mean) / sqrt(moving_variance + epsilon) + beta

- `x` [..., C]: usually [N, H, W, C], but [N, C] must work too. `gamma`, `beta`, `moving_mean`, `moving_variance` [C], `epsilon` a number.
- Return y [..., C], of x's dtype.

By hand: x = 7 and 4, gamma 2, beta 1, moving mean 3, moving variance 3, epsilon 1. Then y = 2 * (7 - 3) / sqrt(3 + 1) + 1 = 5, and 2.
""",
    zh="""\
训练好的网络对一张图片的判断，不应随同批的其他图片而变。所以在推理模式下，批归一化不看批次，而用训练留下的滑动平均。

    y = gamma * (x - moving_mean) / sqrt(moving_variance + epsilon) + beta

- `x` [..., C]：通常是 [N, H, W, C]，但 [N, C] 也要能用。`gamma`、`beta`、`moving_mean`、`moving_variance` [C]，`epsilon` 是一个数。
- 返回 y [..., C]，数据类型与 x 相同。

手算一例：x = 7 和 4，gamma 为 2，beta 为 1，移动均值 3，移动方差 3，epsilon 为 1。于是 y = 2 * (7 - 3) / sqrt(3 + 1) + 1 = 5，另一个为 2。
""",
)


def batch_norm_inference(
    x: Array, gamma: Array, beta: Array, moving_mean: Array, moving_variance: Array, epsilon: float
) -> Array:
    """x [..., C]; gamma, beta, moving_mean, moving_variance [C] -> y [..., C]"""
    raise NotImplementedError("batch_norm_inference is not written yet")


def answer(x: Array, gamma: Array, beta: Array, moving_mean: Array, moving_variance: Array, epsilon: float) -> Array:
    """y = gamma * (x - moving_mean) / sqrt(moving_variance + epsilon) + beta."""
    y: Array = gamma * (x - moving_mean) / np.sqrt(moving_variance + epsilon) + beta
    return y


def folded(x: Array, gamma: Array, beta: Array, moving_mean: Array, moving_variance: Array, epsilon: float) -> Array:
    """The same as one scale and one shift, in float64: what is left of it when a net is frozen."""
    scale = gamma.astype(np.float64) * np.power(moving_variance.astype(np.float64) + epsilon, -0.5)
    shift = beta - moving_mean * scale
    return (x * scale + shift).astype(x.dtype)


def channel_by_channel(
    x: Array, gamma: Array, beta: Array, moving_mean: Array, moving_variance: Array, epsilon: float
) -> Array:
    """The same a channel at a time, with plain numbers for what a channel has."""
    y = np.empty_like(x)
    for c in range(x.shape[-1]):
        std = float(moving_variance[c] + epsilon) ** 0.5
        y[..., c] = (x[..., c] - moving_mean[c]) * (float(gamma[c]) / std) + beta[c]
    return y


def cases(rng: Rng, dtype: Any) -> Iterator[Case]:
    """Images, a matrix, a single picture; averages unlike those of x; variances so small that epsilon counts."""
    for shape, about in (
        ((2, 3, 2, 3), Text("images", "图像")),
        ((4, 5), Text("a matrix [N, C]", "矩阵 [N, C]")),
        ((1, 3, 3, 2), Text("a single picture", "单张图片")),
    ):
        c = shape[-1]
        x = 1 + 0.5 * rng.standard_normal(shape)
        turned = np.where(np.arange(c) % 2, -1.0, 1.0)
        of_a_channel = (
            rng.uniform(1.5, 3, c) * turned,
            rng.uniform(0.5, 2, c) * turned,
            rng.uniform(-2, -1, c),
            rng.uniform(0.1, 0.4, c),
        )
        args = tuple(a.astype(dtype) for a in (x, *of_a_channel))
        yield Case(about, (*args, 0.05))
    x = np.array([[7], [4]], dtype)
    gamma, beta, mean, variance = (np.array([v], dtype) for v in (2, 1, 3, 3))
    about = Text("the example of the task", "题目中的例子")
    expected = (np.array([[5], [2]], dtype),)
    yield Case(about, (x, gamma, beta, mean, variance, 1.0), expected=expected, source="worked out by hand")


def attempt(
    wrong: frozenset[str],
    x: Array,
    gamma: Array,
    beta: Array,
    moving_mean: Array,
    moving_variance: Array,
    epsilon: float,
) -> Array:
    """`answer` with these mistakes made."""
    over, n = tuple(range(x.ndim - 1)), x.size // x.shape[-1]
    mean, variance = moving_mean, moving_variance
    if "batch_statistics" in wrong:
        mean, variance = x.mean(over), x.var(over)
    if "corrected_twice" in wrong:
        variance = variance * (n / max(n - 1, 1))
    if "gamma_and_beta_swapped" in wrong:
        gamma, beta = beta, gamma
    if "epsilon_of_its_own" in wrong:
        epsilon = 1e-5
    std = np.sqrt(variance + (0 if "epsilon_forgotten" in wrong else epsilon))
    if "epsilon_outside_the_root" in wrong:
        std = np.sqrt(variance) + x.dtype.type(epsilon)
    if "variance_not_rooted" in wrong:
        std = std**2
    if "mean_not_subtracted" in wrong:
        mean = np.zeros_like(mean)
    if "multiplied_by_the_root" in wrong:
        std = 1 / std
    if "gamma_forgotten" in wrong:
        gamma = np.ones_like(gamma)
    if "mean_not_divided" in wrong:
        xhat = x / std - mean
    elif "only_the_mean_divided" in wrong:
        xhat = x - mean / std
    else:
        xhat = (x - mean) / std
    y: Array = gamma * (xhat + beta) if "gamma_times_beta" in wrong else gamma * xhat + beta
    return gamma * xhat if "beta_forgotten" in wrong else y


_LINE = Text(
    "y = gamma * (x - moving_mean) / np.sqrt(moving_variance + epsilon) + beta",
    "y = gamma * (x - moving_mean) / np.sqrt(moving_variance + epsilon) + beta",
)
_CONCEPT = Text(
    "In inference everything but x is a constant: for each channel y is a straight line in x, of the slope "
    "gamma / sqrt(moving_variance + epsilon).",
    "推理时除 x 外都是常数：对每个通道，y 是 x 的一次函数，斜率为 gamma / sqrt(moving_variance + epsilon)。",
)
_EPSILON = Text(
    "epsilon is added to the variance, under the root, in training and in inference alike: else the net sees another scale than it "
    "learned with.",
    "epsilon 加在根号下的方差上，训练和推理都一样，否则网络看到的尺度与学习时不同。",
)

MISTAKES = (
    Mistake(
        "batch_statistics",
        Text(
            "x is normalised by its own mean and variance, as in training. The answer for a picture then depends on the rest of the batch.",
            "x 用自身的均值和方差归一化，像训练时那样。这样一张图片的结果就会取决于同批的其他图片。",
        ),
        _LINE,
    ),
    Mistake("epsilon_forgotten", Text("epsilon is left out.", "漏了 epsilon。"), _LINE, _EPSILON),
    Mistake(
        "epsilon_outside_the_root",
        Text(
            "epsilon is added to the standard deviation, not to the variance.", "epsilon 加在了标准差上，而不是方差上。"
        ),
        _LINE,
        _EPSILON,
    ),
    Mistake(
        "variance_not_rooted",
        Text("Divided by variance + epsilon, not by its square root.", "除以了方差 + epsilon，而不是它的平方根。"),
        _LINE,
    ),
    Mistake(
        "corrected_twice",
        Text(
            "The moving variance is multiplied by n / (n - 1). It was unbiased already when it was averaged.",
            "移动方差又乘了 n / (n - 1)。做平均时它已经是无偏的了。",
        ),
        _LINE,
    ),
    Mistake(
        "gamma_and_beta_swapped",
        Text(
            "gamma and beta are swapped: gamma is the scale, beta the shift.",
            "gamma 与 beta 用反了：gamma 是缩放，beta 是平移。",
        ),
        _LINE,
    ),
    Mistake(
        "gamma_times_beta",
        Text(
            "beta is added before gamma multiplies, so that it is multiplied too: a bracket in the wrong place.",
            "beta 在乘 gamma 之前就加上了，于是也被乘了：括号放错了位置。",
        ),
        _LINE,
    ),
    Mistake(
        "mean_not_divided",
        Text(
            "The mean is subtracted without being divided by the standard deviation: the shift of the folded form is beta - mean * scale, "
            "and scale holds the standard deviation too.",
            "减去的均值没有除以标准差：合并形式中的平移是 beta - mean * scale，而 scale 里也含有标准差。",
        ),
        _LINE,
    ),
    Mistake("beta_forgotten", Text("beta is left out.", "漏了 beta。"), _LINE),
    Mistake(
        "gamma_forgotten",
        Text(
            "gamma is left out: x is normalised and shifted, but not scaled.",
            "漏了 gamma：x 归一化并平移了，却没有缩放。",
        ),
        _LINE,
    ),
    Mistake(
        "mean_not_subtracted",
        Text("The moving mean is not subtracted: x is only scaled.", "没有减去移动均值：x 只做了缩放。"),
        _LINE,
    ),
    Mistake(
        "multiplied_by_the_root",
        Text(
            "Multiplied by the root of variance + epsilon, where it has to be divided: the spread grows, and does "
            "not become 1.",
            "乘了方差 + epsilon 的平方根，而应当除以它：离散程度反而变大，而不是变成 1。",
        ),
        _LINE,
    ),
    Mistake(
        "epsilon_of_its_own",
        Text(
            "epsilon is 1e-5 whatever is asked for. The net was trained with the epsilon that is handed in.",
            "不管传入什么，epsilon 都用了 1e-5。网络训练时用的是传入的那个 epsilon。",
        ),
        _LINE,
        _EPSILON,
    ),
    Mistake(
        "only_the_mean_divided",
        Text(
            "Only the mean is divided by the standard deviation: x - mean / std lacks its brackets.",
            "只有均值除以了标准差：x - mean / std 漏了括号。",
        ),
        _LINE,
    ),
)

EXERCISE = Exercise(
    name="batch_norm_inference",
    title=Text("Batch norm in inference", "推理模式的批归一化"),
    task=TASK,
    equation="y = gamma * (x - moving_mean) / sqrt(moving_variance + epsilon) + beta",
    presupposes=("moving_average",),
    notebook="06",
    minutes=5,
    stub=batch_norm_inference,
    answer=answer,
    also_right=(folded, channel_by_channel),
    outputs=(Output("y", "...C", _CONCEPT, _LINE),),
    cases=cases,
    attempt=attempt,
    mistakes=MISTAKES,
)
