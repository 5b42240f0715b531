"""fool_all_ones: a wrong backward pass that a checker with dy = 1 calls right."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np

from ... import ops
from ...backend import Array
from ...ops import BatchNormSaved
from ..exercise import Case, Exercise, Mistake, Output, Rng, Verdict
from ..language import Text
from .batch_norm_backward import answer as right
from .batch_norm_backward import through_the_graph

TASK = Text(
    en="""\
Many a gradient check sums the output of an op up and takes the gradient of that sum: its upstream gradient dy is all ones. For batch norm
this checks next to nothing. Prove it: write a batch_norm_backward that is *wrong*, and that such a checker accepts all the same.

Yours is called with dy = 1 everywhere, where dx, dgamma and dbeta must come out right (within 1e-6); and with a random dy, where one of
them must be off by a hundredth of the largest gradient or more. A backward pass is linear in dy, and so are those that people get wrong:
yours must be linear too (it is called with dy = -3 as well, and with the sum of several dy, which must give the sum of what these gave),
and looking at what dy is is no way out.

- `dy` [..., C]; `saved.x` [..., C], `saved.gamma`, `saved.mean`, `saved.var`, `saved.inv_std` [C]: as in batch_norm_backward.
- Return your wrong dx [..., C], dgamma [C], dbeta [C], of dy's dtype.

There are many ways. What is the right dx when dy is 1? How little is needed to get that right?
""",
    zh="""\
许多梯度检验把算子的输出加起来，再对这个和求梯度：也就是说上游梯度 dy 全为 1。对批归一化来说，这几乎什么也没检验。请证明这一点：
写一个*错误的* batch_norm_backward，却能让这种检验判为正确。

你的函数会在 dy 全为 1 时被调用，此时 dx、dgamma、dbeta 必须都对（误差在 1e-6 以内）；也会在 dy 随机时被调用，
此时其中之一的误差必须达到最大梯度的百分之一以上。反向传播对 dy 是线性的，人们写错的反向传播也是线性的，你的也必须是：
还会用 dy = -3 来调用，并用几个 dy 之和来调用（结果必须等于各自结果之和），靠判断 dy 是什么样子是行不通的。

- `dy` [..., C]；`saved.x` [..., C]，`saved.gamma`、`saved.mean`、`saved.var`、`saved.inv_std` [C]：同 batch_norm_backward。
- 返回你那错误的 dx [..., C]、dgamma [C]、dbeta [C]，数据类型与 dy 相同。

办法很多。dy 为 1 时正确的 dx 是什么？要得到它，最少需要做些什么？
""",
)

ACCEPTED = 1e-6  # an all-ones checker compares numbers as they are: many of the true ones are 0
REFUSED = 1e-2  # of the largest gradient: more than any checker lets pass


def fool_all_ones(dy: Array, saved: BatchNormSaved) -> tuple[Array, Array, Array]:
    """dy [..., C] -> a wrong dx [..., C], dgamma [C], dbeta [C]"""
    raise NotImplementedError("fool_all_ones is not written yet")


def answer(dy: Array, saved: BatchNormSaved) -> tuple[Array, Array, Array]:
    """The variance's term is left out: dx = gamma * inv_std * (dy - mean(dy)). With dy = 1 it is 0, as the right one is."""
    over = tuple(range(dy.ndim - 1))
    xhat = (saved.x - saved.mean) * saved.inv_std
    dx = saved.gamma * saved.inv_std * (dy - dy.mean(over))
    return dx, (dy * xhat).sum(over), dy.sum(over)


def nothing_at_all(dy: Array, saved: BatchNormSaved) -> tuple[Array, Array, Array]:
    """dx and dgamma are zeros, always: with dy = 1 they should be."""
    return np.zeros_like(dy), np.zeros_like(saved.gamma), dy.sum(tuple(range(dy.ndim - 1)))


def upside_down(dy: Array, saved: BatchNormSaved) -> tuple[Array, Array, Array]:
    """dx has the wrong sign, and neither gamma nor inv_std: -0 is 0 too."""
    dx, dgamma, dbeta = through_the_graph(dy, saved)
    return -dx / (saved.gamma * saved.inv_std), dgamma, dbeta


def cases(rng: Rng, dtype: Any) -> Iterator[Case]:
    """The same batch under dy = 1, dy = -3, two random dy, and the sum of these two and of 1."""
    shape, c = (3, 2, 2, 3), 3
    x = 1 + rng.uniform(0.5, 2, c) * rng.standard_normal(shape)
    x, gamma, beta = (a.astype(dtype) for a in (x, rng.uniform(1.5, 3, c), rng.standard_normal(c)))
    saved = ops.batch_norm_forward(x, gamma, beta)[1]
    random, other = (0.5 + rng.standard_normal(shape) for _ in range(2))
    for dy, about in (
        (np.ones(shape), Text("dy = 1 everywhere", "dy 全为 1")),
        (np.full(shape, -3.0), Text("dy = -3 everywhere", "dy 全为 -3")),
        (random, Text("a random dy", "随机的 dy")),
        (other, Text("another random dy", "另一个随机的 dy")),
        (1 + random + other, Text("the sum of 1 and the two random dy", "1 与两个随机 dy 之和")),
    ):
        yield Case(about, (dy.astype(dtype), saved))


def attempt(wrong: frozenset[str], dy: Array, saved: BatchNormSaved) -> tuple[Array, Array, Array]:
    """`answer`, made so that it fools nobody."""
    over: tuple[int, ...] = tuple(range(dy.ndim - 1))
    xhat = (saved.x - saved.mean) * saved.inv_std
    dbeta, dgamma = dy.sum(over), (dy * (saved.x if "dgamma_of_x" in wrong else xhat)).sum(over)
    if "averaged_not_summed" in wrong:
        dbeta = dy.mean(over)
    if "sign_flipped" in wrong:
        dbeta = -dbeta
    if "dbeta_forgotten" in wrong:
        dbeta = np.zeros_like(dbeta)
    n = dy.size // dy.shape[-1]
    dx = dy.copy()
    if "mean_term_forgotten" not in wrong:
        dx = dx - dy.sum(over) / (1 if "sums_not_averaged" in wrong else n)
    if wrong & {"it_is_right", "batch_axis_only"}:
        terms = (0,) if "batch_axis_only" in wrong else over
        dx = dx - xhat * (dy * xhat).mean(terms)
    dx = saved.gamma * saved.inv_std * dx
    if "looks_for_ones" in wrong:
        dx = np.zeros_like(dx) if (dy == 1).all() else 2 * dy
    if "dy_handed_on" in wrong:
        dx = dy.copy()
    if "not_linear" in wrong:
        dx = dx**2
    return dx, dgamma, dbeta


def judge(cases: list[Case], came: list[Any]) -> Verdict:
    """Passed if all ones and -3 find nothing, the random dy does, and a sum of dy gives the sum of the results."""
    ones, threes, random = (_errors(case, outputs) for case, outputs in zip(cases[:3], came[:3], strict=True))
    seen = max(random, key=lambda name: random[name])
    caught = [name for name, error in ones.items() if not error <= ACCEPTED]
    if not caught and any(not error <= 3 * ACCEPTED for error in threes.values()):
        said = Text(
            "With dy = 1 it is right, and with dy = -3 it is not: it is not linear in dy, so it looks at the numbers of dy.",
            "dy = 1 时正确，dy = -3 时却不对：它对 dy 不是线性的，也就是说它在看 dy 的数值。",
        )
    elif caught:
        said = Text(
            f"The all-ones checker is not fooled: with dy = 1, {', '.join(caught)} is off by {max(ones.values()):.2g}.",
            f"全 1 检验没有上当：dy = 1 时 {'、'.join(caught)} 的误差为 {max(ones.values()):.2g}。",
        )
    elif bent := _not_linear(came):
        said = Text(
            f"It is not linear in dy: under the sum of three dy, {bent} is not the sum of what it is under each.",
            f"它对 dy 不是线性的：用三个 dy 之和调用时，{bent} 不等于分别调用的结果之和。",
        )
    elif ACCEPTED < random[seen] < REFUSED:
        said = Text(
            f"All ones do not see it, but hardly anybody would: with a random dy it is off by {random[seen]:.2g} of the largest entry. "
            "Make it more wrong.",
            f"全 1 看不出来，但错得也太少：dy 随机时误差只有最大元素的 {random[seen]:.2g}。请错得更多一些。",
        )
    elif random[seen] <= ACCEPTED:
        said = Text(
            "Nobody is fooled, since it is right: with a random dy it is right as well. Make it wrong.",
            "没有谁上当，因为它是对的：dy 随机时也是对的。请把它写错。",
        )
    else:
        said = Text(
            f"Fooled: with dy = 1 all is right within {ACCEPTED:g}, and yet with a random dy {seen} is off by {random[seen]:.0%} of its "
            "largest entry. sum(xhat) does not depend on x, so under dy = 1 the right dx is 0, and whatever "
            "makes a constant 0 passes.",
            f"上当了：dy = 1 时一切都在 {ACCEPTED:g} 以内，而 dy 随机时 {seen} 的误差达到最大元素的 {random[seen]:.0%}。"
            "xhat 之和与 x 无关，所以 dy = 1 时正确的 dx 是 0，凡是能把常数变成 0 的都能通过。",
        )
        return True, said, ()
    return False, said, _named(cases, came)


def _errors(case: Case, outputs: Any) -> dict[str, float]:
    """Each output's largest error; under a random dy as a share of the largest entry."""
    wanted = right(*case.args)
    errors = {
        name: float(np.abs(a - b).max()) for name, a, b in zip(("dx", "dgamma", "dbeta"), outputs, wanted, strict=True)
    }
    if np.ptp(case.args[0]) == 0:
        return errors
    return {name: error / float(np.abs(b).max()) for (name, error), b in zip(errors.items(), wanted, strict=True)}


def _not_linear(came: list[Any]) -> str:
    """The first output that a sum of dy does not give the sum of; empty if there is none."""
    ones, _, random, other, together = came
    for name, a, b, c, total in zip(("dx", "dgamma", "dbeta"), ones, random, other, together, strict=True):
        largest = max(float(np.abs(v).max()) for v in (a, b, c, total))
        if not float(np.abs(a + b + c - total).max()) <= ACCEPTED * largest:
            return name
    return ""


def _named(cases: list[Case], came: list[Any]) -> tuple[str, ...]:
    """The mistakes that explain what all ones caught; the other outputs may be as wrong as one likes."""
    errors = [_errors(case, outputs) for case, outputs in zip(cases, came, strict=True)]
    if all(error <= ACCEPTED for of_case in errors for error in of_case.values()):
        return ("it_is_right",)
    caught = [j for j, error in enumerate(errors[0].values()) if not error <= ACCEPTED]
    if not caught and any(not error <= 3 * ACCEPTED for error in errors[1].values()):
        return ("looks_for_ones",)
    if not caught:
        return ("not_linear",) if _not_linear(came) else ()
    found = {name for j in caught for name in _explanation(cases, came, j)}
    return tuple(mistake.name for mistake in MISTAKES if mistake.name in found)


def _explanation(cases: list[Case], came: list[Any], j: int) -> tuple[str, ...]:
    """The mistake, or the two, that give output j just these numbers on every case."""
    names = [mistake.name for mistake in MISTAKES]
    for chosen in [*combinations(names, 1), *combinations(names, 2)]:
        made = [attempt(frozenset(chosen), *case.args)[j] for case in cases]
        pairs = zip(made, (outputs[j] for outputs in came), strict=True)
        if all(np.allclose(theirs, ours, rtol=0, atol=ACCEPTED * np.abs(ours).max()) for ours, theirs in pairs):
            return tuple(name for name in chosen if name != "it_is_right")
    return ()


_WAY_OUT = Text(
    "dx = saved.gamma * saved.inv_std * (dy - dy.mean(over)), dgamma = (dy * xhat).sum(over), dbeta = "
    "dy.sum(over): no variance term",
    "dx = saved.gamma * saved.inv_std * (dy - dy.mean(over))，dgamma = (dy * xhat).sum(over)，dbeta = dy.sum(over)：没有方差项",
)
_CONCEPT = Text(
    "The values of a channel of xhat add up to 0 whatever x is. So the gradient of their sum is 0: with dy = 1 "
    "the right dx is 0, and "
    "dgamma is 0 too. Anything may be wrong in them that 0 does not show.",
    "无论 x 是什么，xhat 一个通道的值之和都是 0，所以这个和的梯度为 0：dy = 1 时正确的 dx 是 0，正确的 dgamma 也是 0。"
    "凡是在 0 上看不出来的错误都可以犯。",
)
_BETA = Text(
    "dbeta is the one that all ones do check: it is n there. Leave it right.",
    "全 1 真正检验得了的只有 dbeta：此时它等于 n。别动它。",
)

MISTAKES = (
    Mistake(
        "it_is_right",
        Text(
            "This is the right backward pass: no checker is wrong to accept it.",
            "这就是正确的反向传播：检验接受它并没有错。",
        ),
        _WAY_OUT,
    ),
    Mistake(
        "mean_term_forgotten",
        Text(
            "dx lacks - mean(dy). That is what turns dy = 1 into 0, so all ones do see it: the one term they check.",
            "dx 缺少 - mean(dy)。正是这一项把 dy = 1 变成 0，所以全 1 看得出来：它是唯一被检验到的项。",
        ),
        _WAY_OUT,
    ),
    Mistake(
        "sums_not_averaged",
        Text(
            "dx has the sum of dy, not its mean: with dy = 1 that is 1 - n, not 0.",
            "dx 中减去的是 dy 的和而不是均值：dy = 1 时得到 1 - n，不是 0。",
        ),
        _WAY_OUT,
    ),
    Mistake(
        "batch_axis_only",
        Text(
            "The variance term's mean is over the batch only. The xhat of one pixel do not add up to 0 over the "
            "batch: all ones see it.",
            "方差项的均值只在批次轴上取。同一像素的 xhat 在批次上之和不为 0：全 1 看得出来。",
        ),
        _WAY_OUT,
    ),
    Mistake(
        "dgamma_of_x",
        Text(
            "dgamma is made with x: its sum is not 0, so all ones see it.",
            "dgamma 用了 x：x 之和不为 0，所以全 1 看得出来。",
        ),
        _WAY_OUT,
    ),
    Mistake(
        "averaged_not_summed",
        Text("dbeta is a mean: 1 in the place of n.", "dbeta 取了平均：得到 1 而不是 n。"),
        _WAY_OUT,
        _BETA,
    ),
    Mistake(
        "sign_flipped",
        Text("dbeta has the wrong sign: -n in the place of n.", "dbeta 的符号反了：得到 -n 而不是 n。"),
        _WAY_OUT,
        _BETA,
    ),
    Mistake(
        "dbeta_forgotten",
        Text(
            "dbeta is 0 as well. dx and dgamma may be, with dy = 1; dbeta is n there.",
            "dbeta 也是 0。dy = 1 时 dx 与 dgamma 可以是 0，dbeta 却等于 n。",
        ),
        _WAY_OUT,
        _BETA,
    ),
    Mistake(
        "looks_for_ones",
        Text(
            "It looks at dy's numbers and does something else where they are 1. No backward pass does that: it "
            "is linear in dy.",
            "它看 dy 的数值，在全为 1 时另作处理。没有哪个反向传播是这样的：它对 dy 是线性的。",
        ),
        _WAY_OUT,
    ),
    Mistake(
        "not_linear",
        Text(
            "It is not linear in dy: it squares, takes absolute values, or looks whether all entries are the "
            "same. A backward pass multiplies dy by the derivative, which does not depend on dy.",
            "它对 dy 不是线性的：取了平方、绝对值，或者在判断 dy 各元素是否相同。反向传播是把 dy 乘以导数，而导数与 dy 无关。",
        ),
        _WAY_OUT,
    ),
    Mistake(
        "dy_handed_on",
        Text(
            "dx is dy itself. With dy = 1 it should be 0, so all ones see it.",
            "dx 就是 dy。dy = 1 时它应为 0，所以全 1 看得出来。",
        ),
        _WAY_OUT,
    ),
)

EXERCISE = Exercise(
    name="fool_all_ones",
    title=Text("Fool a weak checker", "骗过一个薄弱的检验"),
    task=TASK,
    equation="sum(xhat) = 0 whatever x is  =>  with dy = 1: dx = 0, dgamma = 0, dbeta = n",
    presupposes=("batch_norm_backward",),
    notebook="06",
    minutes=10,
    stub=fool_all_ones,
    answer=answer,
    also_right=(nothing_at_all, upside_down),
    outputs=(
        Output("dx", "...C", _CONCEPT, _WAY_OUT),
        Output("dgamma", "C", _CONCEPT, _WAY_OUT),
        Output("dbeta", "C", _BETA, _WAY_OUT),
    ),
    cases=cases,
    attempt=attempt,
    mistakes=MISTAKES,
    judge=judge,
)
