"""stack_blocks_rates: how stack_blocks_dense keeps a map dense. A stride not taken becomes a rate for all that follows."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from math import prod
from typing import Any

from ..exercise import Case, Exercise, Mistake, Output, Rng
from ..language import Text

TASK = Text(
    en="""\
A ResNet's map shrinks with every stride. For labels of pixels it should not shrink by more than `output_stride`, and yet the weights should
see the same pixels: so a stride that is no longer taken becomes an atrous rate. Write the arithmetic of stack_blocks_dense.

The units stand in a row. `current`, the product of the strides taken, begins at 1, and so does `rate`. For each unit, asking for stride s:

- if current has reached output_stride: the unit gets stride 1 and the present rate; *after* it, rate is multiplied by s;
- else: the unit gets stride s and rate 1, and current is multiplied by s. More than output_stride is a ValueError.

At the end current must be output_stride: else a ValueError. With output_stride None all strides are taken, and there is no error.

- `strides`, a list of integers: what each unit asks for. `output_stride`: an integer or None.
- Return a list of pairs (stride, rate), one for each unit.

Example: stack_blocks_rates([1, 2, 2, 1], 2) is [(1, 1), (2, 1), (1, 1), (1, 2)].
""",
    zh="""\
ResNet 的特征图每遇到一个步长就缩小一次。给像素分类时，缩小的倍数不应超过 `output_stride`，而权重看到的像素应当不变：
于是不再使用的步长就变成空洞率（rate）。请写出 stack_blocks_dense 的这段算术。

各单元排成一列。`current` 是已用步长的乘积，从 1 开始；`rate` 也从 1 开始。对每个要求步长 s 的单元：

- 若 current 已达到 output_stride：该单元用步长 1 和当前的 rate；*在它之后*，rate 乘以 s；
- 否则：该单元用步长 s，rate 为 1，current 乘以 s。若超过 output_stride，则抛出 ValueError。

最后 current 必须等于 output_stride，否则抛出 ValueError。output_stride 为 None 时使用所有步长，不报错。

- `strides`：整数列表，各单元要求的步长。`output_stride`：整数或 None。
- 返回 (stride, rate) 的列表，每个单元一对。

例：stack_blocks_rates([1, 2, 2, 1], 2) 等于 [(1, 1), (2, 1), (1, 1), (1, 2)]。
""",
)

Pairs = list[tuple[int, int]]


def stack_blocks_rates(strides: list[int], output_stride: int | None) -> list[tuple[int, int]]:
    """The strides that units ask for -> (stride, rate) of each"""
    raise NotImplementedError("stack_blocks_rates is not written yet")


def answer(strides: list[int], output_stride: int | None) -> Pairs:
    """Each stride goes into `current` until that is output_stride, and into `rate` from there on."""
    current, rate, units = 1, 1, []
    for stride in strides:
        if current == output_stride:
            units.append((1, rate))
            rate *= stride
        else:
            units.append((stride, 1))
            current *= stride
            if output_stride is not None and current > output_stride:
                raise ValueError("output_stride cannot be reached")
    if output_stride is not None and current != output_stride:
        raise ValueError("output_stride cannot be reached")
    return units


def by_products(strides: list[int], output_stride: int | None) -> Pairs:
    """The same from the products of all strides before each unit: the rate is what of it is more than output_stride."""
    before = list(accumulate(strides, lambda a, b: a * b, initial=1))
    if output_stride is None:
        return [(stride, 1) for stride in strides]
    if output_stride not in before:
        raise ValueError(f"the strides' products are {before}, and none of them is {output_stride}")
    return [
        (1, product // output_stride) if product >= output_stride else (stride, 1)
        for stride, product in zip(strides, before, strict=False)
    ]


def in_two_parts(strides: list[int], output_stride: int | None) -> Pairs:
    """The same by looking first for the unit where to stop."""
    if output_stride is None:
        output_stride, stop = prod(strides), len(strides)
    else:
        stop = 0
        while stop < len(strides) and prod(strides[:stop]) < output_stride:
            stop += 1
    if prod(strides[:stop]) != output_stride:
        raise ValueError(f"no first units have strides whose product is {output_stride}")
    dense = range(stop, len(strides))
    return [(stride, 1) for stride in strides[:stop]] + [(1, prod(strides[stop:unit])) for unit in dense]


_RESNET_50 = [
    1,
    1,
    2,
    1,
    1,
    1,
    2,
    1,
    1,
    1,
    1,
    1,
    2,
    1,
    1,
    1,
]  # units of the four blocks; the last of a block has the stride


def cases(rng: Rng, dtype: Any) -> Iterator[Case]:
    """ResNet-50 as DeepLab uses it, random strides, no output_stride, and two that cannot be reached."""
    expected = [(1, 1), (1, 1), (2, 1)] + [(1, 1)] * 4 + [(1, 2)] * 6 + [(1, 4)] * 3
    about = Text("ResNet-50, a quarter of output_stride 8", "ResNet-50，output_stride 8 的四分之一")
    source = "Chen et al. 2017, DeepLab v3: rates 2 and 4 in blocks 3 and 4"
    yield Case(about, (_RESNET_50, 2), expected=(expected,), source=source)
    strides = [*rng.permutation([1, 2, 3]).tolist(), 1, *rng.permutation([2, 2, 3]).tolist(), 1, 1]
    yield Case(Text("units of strides 1, 2 and 3", "步长有 1、2、3"), (strides, 6))
    yield Case(Text("output_stride 1, no stride at all", "output_stride 1：不用任何步长"), ([2, 1, 3, 1], 1))
    yield Case(Text("output_stride None", "output_stride 为 None"), ([2, 1, 2], None))
    yield Case(
        Text("[2, 2, 1], which jumps over output_stride 3", "[2, 2, 1] 越过了 output_stride 3"),
        ([2, 2, 1], 3),
        raises=ValueError,
    )
    yield Case(Text("[1, 2, 1], which never reaches 4", "[1, 2, 1] 达不到 4"), ([1, 2, 1], 4), raises=ValueError)


def attempt(wrong: frozenset[str], strides: list[int], output_stride: int | None) -> Pairs:
    """`answer` with these mistakes made."""
    if output_stride is None and "none_is_one" in wrong:
        output_stride = 1
    limit = float("inf") if output_stride is None else output_stride
    current, rate, units = 1, 1, []
    for stride in strides:
        reached = current >= limit
        if "one_stride_too_many" in wrong:
            reached = current > limit
        if "next_product_tested" in wrong:
            reached = current * stride > limit
        if not reached:
            units.append((stride, 1))
            current *= stride
            continue
        applied = rate * stride if "rate_grows_too_early" in wrong else rate
        kept = stride if "stride_kept" in wrong else 1
        units.append((kept, 1 if "rate_forgotten" in wrong else applied))
        if "rate_is_the_last_stride" in wrong:
            rate = stride if stride > 1 else rate
        elif "rate_for_one_unit" in wrong:
            rate = stride
        elif "rates_added" in wrong:
            rate = rate + stride if stride > 1 else rate
        else:
            rate *= stride
    short = output_stride is not None and current < output_stride and "end_not_checked" not in wrong
    over = current > limit and not {"jump_not_refused", "one_stride_too_many"} & wrong
    if short or over:
        raise ValueError("output_stride cannot be reached")
    return [pair[::-1] for pair in units] if "pairs_turned_round" in wrong else units


_LINE = Text(
    "if current == output_stride: units.append((1, rate)); rate *= stride",
    "if current == output_stride: units.append((1, rate)); rate *= stride",
)
_CONCEPT = Text(
    "Had the stride been taken, the kernels behind it would see every s-th pixel of what they see now. With rate s they do, and "
    "no pixel is dropped: so the rate holds for what comes after the unit, and for all of it, and strides multiply.",
    "如果用了步长，它后面的卷积核看到的就是每隔 s 个的像素。用空洞率 s 可以看到同样的像素而不丢掉任何一个："
    "所以空洞率作用于该单元之后的所有单元，而且步长是相乘的。",
)
_REFUSED = Text(
    "output_stride has to be a product of the first strides. If it is jumped over, or never reached, no dense net does what was asked.",
    "output_stride 必须是前几个步长的乘积。若越过它或达不到它，就无法满足要求。",
)
_CHECK = Text(
    "at the end: if output_stride is not None and current != output_stride: raise ValueError",
    "最后：if output_stride is not None and current != output_stride: raise ValueError",
)

MISTAKES = (
    Mistake(
        "rate_grows_too_early",
        Text(
            "The unit that gives up its stride has the new rate already. A stride thins out a unit's output: it concerns later units only.",
            "放弃步长的那个单元自己就用了新的 rate。它的步长作用于它的输出，受影响的只是后面的单元。",
        ),
        _LINE,
    ),
    Mistake(
        "rate_forgotten",
        Text(
            "The strides are dropped, but the rate stays 1: the kernels then see smaller surroundings than they were trained for.",
            "去掉了步长，rate 却一直是 1：卷积核的感受野就比训练时小了。",
        ),
        _LINE,
    ),
    Mistake(
        "stride_kept",
        Text(
            "The rate grows, but the stride is taken as well: both, where it should be one or the other.",
            "rate 增大了，步长却也照用：两者只能取其一。",
        ),
        _LINE,
    ),
    Mistake(
        "rate_is_the_last_stride",
        Text(
            "The rate is set to the last stride given up, not multiplied by it: after 2 and 2 it must be 4.",
            "rate 被设成了最后放弃的那个步长，而不是乘上它：放弃 2 和 2 之后应为 4。",
        ),
        _LINE,
    ),
    Mistake(
        "rate_for_one_unit",
        Text(
            "The rate holds for the next unit only and then falls back to 1. It holds for all that follow.",
            "rate 只对下一个单元有效，然后又回到 1。它应对后面所有单元有效。",
        ),
        _LINE,
    ),
    Mistake(
        "rates_added",
        Text(
            "The strides given up are added to the rate and not multiplied into it.",
            "放弃的步长加到了 rate 上，而不是乘上去。",
        ),
        _LINE,
    ),
    Mistake(
        "one_stride_too_many",
        Text(
            "The test is current > output_stride: one stride more is taken before it stops.",
            "判断写成了 current > output_stride：停下之前多用了一个步长。",
        ),
        _LINE,
        _REFUSED,
    ),
    Mistake(
        "next_product_tested",
        Text(
            "The test is current * stride > output_stride. A later unit of stride 1 does not pass it, and gets rate 1.",
            "判断写成了 current * stride > output_stride。后面步长为 1 的单元通不过这个判断，rate 就成了 1。",
        ),
        _LINE,
    ),
    Mistake(
        "none_is_one",
        Text(
            "None was taken for 1 (output_stride or 1): no stride was taken at all. None means that all are.",
            "把 None 当成了 1（output_stride or 1），结果一个步长都没用。None 的意思是全部使用。",
        ),
        Text("if output_stride is None, take every stride", "output_stride 为 None 时使用所有步长"),
    ),
    Mistake(
        "jump_not_refused",
        Text(
            "Nothing is said when current jumps over output_stride, as 2 * 2 does over 3: >= is no proof of having reached it.",
            "current 越过 output_stride 时没有报错，例如 2 * 2 越过 3：>= 并不说明恰好达到。",
        ),
        _CHECK,
        _REFUSED,
    ),
    Mistake(
        "end_not_checked",
        Text(
            "Nothing is said when the strides are over and output_stride has not been reached.",
            "步长用完而 output_stride 还没有达到时没有报错。",
        ),
        _CHECK,
        _REFUSED,
    ),
    Mistake(
        "pairs_turned_round",
        Text(
            "The pairs are (rate, stride), and should be (stride, rate).",
            "返回的是 (rate, stride)，应为 (stride, rate)。",
        ),
        Text("units.append((stride, rate))", "units.append((stride, rate))"),
    ),
)

EXERCISE = Exercise(
    name="stack_blocks_rates",
    title=Text("From strides to rates", "从步长到空洞率"),
    task=TASK,
    equation="P[i] = s[0] * ... * s[i-1]; (stride, rate)[i] = (s[i], 1) if P[i] < output_stride else (1, P[i] / output_stride)",
    presupposes=("atrous_conv2d",),
    notebook="09",
    minutes=15,
    stub=stack_blocks_rates,
    answer=answer,
    also_right=(by_products, in_two_parts),
    outputs=(Output("units", "", _CONCEPT, _LINE, kind="integers"),),
    cases=cases,
    attempt=attempt,
    mistakes=MISTAKES,
)
