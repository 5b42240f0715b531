"""softmax: numbers into probabilities, also where the numbers are large."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ...backend import Array
from ..exercise import Case, Exercise, Mistake, Output, Rng
from ..language import Text

TASK = Text(
    en="""\
Softmax makes probabilities of a net's logits: all positive, and each row (the last axis) adds up to 1.

    p[..., k] = exp(x[..., k]) / sum_l exp(x[..., l])

- `x` [..., K], of any number of axes: [N, K] for pictures, [N, H, W, K] for pixels. The logits may be as large as 1000 or as small as
  -1000, and exp(1000) is more than a float can hold: the result must be right all the same, without overflow. (Softmax does not change
  when the same number is subtracted from a whole row.)
- Return p, of x's shape and dtype.
""",
    zh="""\
softmax 把网络的 logits 变成概率：都是正数，每一行（最后一轴）之和为 1。

    p[..., k] = exp(x[..., k]) / sum_l exp(x[..., l])

- `x` [..., K]，轴数任意：图像是 [N, K]，像素是 [N, H, W, K]。logits 可以大到 1000、小到 -1000，
  而 exp(1000) 超出了浮点数的范围：结果仍须正确，不得溢出。（整行减去同一个数，softmax 不变。）
- 返回 p，形状与数据类型都与 x 相同。
""",
)


def softmax(x: Array) -> Array:
    """x [..., K] -> p [..., K]"""
    raise NotImplementedError("softmax is not written yet")


def answer(x: Array) -> Array:
    """p = exp(x - m) / sum(exp(x - m)), m the largest of the row: the largest exponent is 0, so nothing overflows."""
    e = np.exp(x - x.max(-1, keepdims=True))
    p: Array = e / e.sum(-1, keepdims=True)
    return p


def by_the_logarithm(x: Array) -> Array:
    """The same as exp(x - log(sum(exp(x)))), the logarithm taken stably."""
    log_p: Array = x - np.logaddexp.reduce(x, axis=-1, keepdims=True)
    return np.exp(log_p)


def by_loops(x: Array) -> Array:
    """The same, row by row, in Python's own numbers."""
    p = np.empty_like(x)
    for where in np.ndindex(*x.shape[:-1]):
        row = x[where].tolist()
        e = [math.exp(number - max(row)) for number in row]
        p[where] = [number / math.fsum(e) for number in e]
    return p


_A, _B, _C = (
    0.25949646034241913,
    0.7053845126982412,
    0.03511902695933973,
)  # exp(-1), 1, exp(-3), each divided by their sum


def cases(rng: Rng, dtype: Any) -> Iterator[Case]:
    """A few rows, a single row, pixels; then rows with large numbers, far from each other."""
    for shape, about in (
        ((4, 4), Text("4 rows of 4 logits", "4 行，每行 4 个 logits")),
        ((1, 5), Text("a single row", "只有一行")),
        ((3, 3, 3), Text("pixels, three axes", "像素：三个轴")),
    ):
        yield Case(about, ((2 * rng.standard_normal(shape) + np.arange(shape[-1])).astype(dtype),))
    large = np.array([[1000, 1001, 998], [-1000, -1001, -1003], [0, 1000, 5]], dtype)
    expected = np.array([[_A, _B, _C], [_B, _A, _C], [0, 1, 0]], dtype)
    about = Text("logits from -1003 to 1001", "logits 从 -1003 到 1001")
    yield Case(about, (large,), expected=(expected,), source="worked out by hand: of exp(-1), 1, exp(-3)")
    mixed = np.array([[0, 1, -2], [900, 901, 898], [-1, -2, -4]], dtype)
    expected = np.array([[_A, _B, _C], [_A, _B, _C], [_B, _A, _C]], dtype)
    about = Text("a row of large logits among small ones", "几行小的 logits 中有一行很大")
    yield Case(about, (mixed,), expected=(expected,), source="worked out by hand: of exp(-1), 1, exp(-3)")


def attempt(wrong: frozenset[str], x: Array) -> Array:
    """`answer` with these mistakes made."""
    axis = 0 if "first_axis" in wrong else 1 if "second_axis" in wrong else -1
    with np.errstate(all="ignore"):
        if "sigmoid" in wrong:
            return 1 / (1 + np.exp(-x))
        largest = x.max() if "one_maximum_for_all" in wrong else x.max(axis, keepdims=True)
        if "keepdims_forgotten_twice" in wrong:
            largest = x.max(axis)
        if "absolute_maximum_subtracted" in wrong:
            largest = np.abs(x).max(axis, keepdims=True)
        if "minimum_subtracted" in wrong:
            largest = x.min(axis, keepdims=True)
        z = x if "nothing_subtracted" in wrong else x - largest
        e = np.exp(z)
        summed = np.exp(x) if "denominator_not_shifted" in wrong else e
        if "one_sum_for_all" in wrong:
            total = summed.sum(keepdims=True)
        else:
            total = summed.sum(axis, keepdims=not wrong & {"keepdims_forgotten", "keepdims_forgotten_twice"})
        if "not_normalised" in wrong:
            total = np.ones_like(total)
        p: Array = z - np.log(total) if "logarithm_returned" in wrong else e / total
    return p


_LINE = Text(
    "e = np.exp(x - x.max(-1, keepdims=True)); p = e / e.sum(-1, keepdims=True)",
    "e = np.exp(x - x.max(-1, keepdims=True)); p = e / e.sum(-1, keepdims=True)",
)
_CONCEPT = Text(
    "Each row is a distribution of its own: the exponentials of the row, divided by their sum. Whatever is subtracted from a whole row "
    "cancels between the numerator and the denominator.",
    "每一行是一个独立的分布：该行的指数除以它们的和。从整行减去的数，会在分子与分母之间约掉。",
)
_STABLE = Text(
    "exp overflows above 709 (88 in float32), and then inf / inf is nan; a sum of exponentials that are all 0 gives 0 / 0. So the largest "
    "exponent of every row should be 0.",
    "指数超过 709（float32 为 88）就溢出，inf / inf 得 nan；若一行的指数全为 0，则得 0 / 0。所以每行最大的指数应当是 0。",
)
_AXIS = Text(
    "The classes are the last axis, however many axes there are: axis=-1.",
    "类别是最后一轴，不论共有几个轴：axis=-1。",
)

MISTAKES = (
    Mistake(
        "nothing_subtracted",
        Text(
            "exp is taken of x itself, as the formula has it: for a logit of 1000 it overflows, and the row is nan.",
            "照公式直接对 x 取 exp：logit 为 1000 时溢出，整行成了 nan。",
        ),
        _LINE,
        _STABLE,
    ),
    Mistake(
        "one_maximum_for_all",
        Text(
            "One maximum is subtracted from all rows: a row far below it becomes exp(-2000) = 0 everywhere, and 0 / 0.",
            "所有行减去了同一个最大值：比它小很多的行全部变成 exp(-2000) = 0，得到 0 / 0。",
        ),
        _LINE,
        _STABLE,
    ),
    Mistake(
        "minimum_subtracted",
        Text(
            "The row's smallest is subtracted, not its largest: a row from 0 to 1000 still overflows.",
            "减去的是该行的最小值而不是最大值：从 0 到 1000 的一行仍会溢出。",
        ),
        _LINE,
        _STABLE,
    ),
    Mistake(
        "denominator_not_shifted",
        Text(
            "The maximum is subtracted in the numerator only, so it does not cancel.",
            "只在分子中减去了最大值，所以约不掉。",
        ),
        _LINE,
    ),
    Mistake(
        "first_axis",
        Text(
            "The sum runs over the first axis, the pictures of the batch: the columns add up to 1, not the rows.",
            "沿第一个轴（批次中的图像）求了和：每列之和为 1，而不是每行。",
        ),
        _LINE,
        _AXIS,
    ),
    Mistake(
        "second_axis",
        Text(
            "axis=1: right for [N, K], but with pixels the classes are not the second axis.",
            "axis=1：对 [N, K] 是对的，但逐像素时类别不是第二个轴。",
        ),
        _LINE,
        _AXIS,
    ),
    Mistake(
        "one_sum_for_all",
        Text(
            "Divided by the sum over everything: all rows together add up to 1. That is right for a single row only.",
            "除以了所有元素之和：全部行合起来才等于 1。只有一行时才对。",
        ),
        _LINE,
        _AXIS,
    ),
    Mistake(
        "keepdims_forgotten",
        Text(
            "The sum has lost its last axis and is broadcast along the rows: [N, K] / [N] divides column k by the sum of row k. "
            "With N = K no error tells.",
            "求和后丢了最后一轴，于是沿行广播：[N, K] / [N] 把第 k 列除以第 k 行的和。N = K 时不会报错。",
        ),
        _LINE,
        _AXIS,
    ),
    Mistake(
        "not_normalised",
        Text(
            "The exponentials are not divided by their sum: positive, but they do not add up to 1.",
            "指数没有除以它们的和：虽为正数，但和不为 1。",
        ),
        _LINE,
    ),
    Mistake(
        "logarithm_returned",
        Text("This is log p (log_softmax), not p.", "这是 log p（log_softmax），不是 p。"),
        _LINE,
    ),
    Mistake(
        "sigmoid",
        Text(
            "This is the sigmoid, 1 / (1 + exp(-x)): each class for itself, as if several could be right at once.",
            "这是 sigmoid，1 / (1 + exp(-x))：各类别互不相干，好像可以同时属于几类。",
        ),
        _LINE,
    ),
    Mistake(
        "absolute_maximum_subtracted",
        Text(
            "The largest absolute value is subtracted, not the largest value. In a row of large negative numbers "
            "every exponent then underflows: 0 / 0.",
            "减去的是绝对值的最大值，而不是最大值。一行都是很大的负数时，所有指数都下溢成 0：0 / 0。",
        ),
        _LINE,
        _STABLE,
    ),
    Mistake(
        "keepdims_forgotten_twice",
        Text(
            "keepdims=True is missing in the maximum and in the sum: NumPy lines both up with the columns, so that "
            "column j gets those of row j.",
            "求最大值与求和时都漏了 keepdims=True：NumPy 把两者都与列对齐，第 j 列用的是第 j 行的最大值与和。",
        ),
        _LINE,
    ),
)

EXERCISE = Exercise(
    name="softmax",
    title=Text("Softmax, stable", "数值稳定的 softmax"),
    task=TASK,
    equation="p[k] = exp(x[k]) / sum_l exp(x[l])",
    presupposes=(),
    notebook="07",
    minutes=10,
    stub=softmax,
    answer=answer,
    also_right=(by_the_logarithm, by_loops),
    outputs=(Output("p", "...K", _CONCEPT, _LINE),),
    cases=cases,
    attempt=attempt,
    mistakes=MISTAKES,
    op="softmax",
)
