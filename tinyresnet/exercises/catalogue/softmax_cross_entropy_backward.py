"""softmax_cross_entropy_backward: two unpleasant derivatives whose product is a difference."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from ... import ops
from ...backend import Array
from ...ops import SoftmaxCrossEntropySaved
from ..exercise import Case, Exercise, Mistake, Output, Rng
from ..language import Text

TASK = Text(
    en="""\
The loss of a classifier: with p = softmax(logits) and the targets t (a row's t adds up to 1),

    loss = -1/rows * sum_rows sum_k t[k] * log(p[k])

Write its backward pass with respect to the logits.

- `dy`, a single number: the gradient with respect to the loss. Mostly 1, but not when the loss is scaled or one of several.
- `saved.probabilities` [..., K]: p. `saved.targets` [..., K]: t, one-hot rows, perhaps smoothed: (1 - s) * onehot + s / K.
  [N, K] for pictures, [N, H, W, K] for pixels; a row is whatever lies along the last axis.
- Return dlogits [..., K], of p's dtype.
""",
    zh="""\
分类器的损失：p = softmax(logits)，t 是目标（每行的 t 之和为 1），

    loss = -1/rows * sum_rows sum_k t[k] * log(p[k])

请写出它对 logits 的反向传播。

- `dy`，一个数：对 loss 的梯度。多半是 1，但若损失乘了系数，或只是几个损失之一，就不是 1。
- `saved.probabilities` [..., K]：p。`saved.targets` [..., K]：t，one-hot 的行，可能平滑过：(1 - s) * onehot + s / K。
  图像是 [N, K]，像素是 [N, H, W, K]；最后一轴上的一排数就是一行。
- 返回 dlogits [..., K]，数据类型与 p 相同。
""",
)


def softmax_cross_entropy_backward(dy: Any, saved: SoftmaxCrossEntropySaved) -> Array:
    """dy, a number -> dlogits [..., K]"""
    raise NotImplementedError("softmax_cross_entropy_backward is not written yet")


def answer(dy: Any, saved: SoftmaxCrossEntropySaved) -> Array:
    """dlogits = (p - t) * dy / rows."""
    p, t = saved
    rows = p.size // p.shape[-1]
    dlogits: Array = (p - t) * (float(dy) / rows)
    return dlogits


def by_the_chain_rule(dy: Any, saved: SoftmaxCrossEntropySaved) -> Array:
    """The same in two steps: dp = -t / p, then softmax's backward, p * (dp - sum(p * dp))."""
    p, t = saved
    dp = -t / p * (float(dy) / p[..., 0].size)
    dlogits: Array = p * (dp - (p * dp).sum(-1, keepdims=True))
    return dlogits


def by_jacobians(dy: Any, saved: SoftmaxCrossEntropySaved) -> Array:
    """The same with softmax's whole Jacobian, dp[k] / dx[l] = p[k] * (k == l) - p[k] * p[l], row by row in float64."""
    p, t = (a.reshape(-1, a.shape[-1]).astype(np.float64) for a in saved)
    jacobian = np.einsum("rk,kl->rkl", p, np.eye(p.shape[1])) - np.einsum("rk,rl->rkl", p, p)
    dlogits: Array = np.einsum("rkl,rk->rl", jacobian, -t / p) * float(dy) / len(p)
    return dlogits.reshape(saved.probabilities.shape).astype(saved.probabilities.dtype)


def cases(rng: Rng, dtype: Any) -> Iterator[Case]:
    """Hard labels, smoothed ones, and pixels; the upstream gradient is not 1."""
    for shape, smoothing, about in (
        ((3, 4), 0.0, Text("hard labels", "硬标签")),
        ((4, 3), 0.2, Text("smoothed labels", "平滑的标签")),
        ((2, 2, 2, 3), 0.0, Text("pixels", "像素")),
    ):
        logits = rng.standard_normal(shape).astype(dtype)
        labels = rng.integers(0, shape[-1], shape[:-1])
        loss, saved = ops.softmax_cross_entropy_forward(logits, labels, smoothing)
        dy = np.array(rng.uniform(1.5, 3) * rng.choice((-1, 1)), dtype)
        yield Case(about, (dy, saved), forward=partial(_loss, labels=labels, smoothing=smoothing), arrays=(logits,))


def _loss(logits: Array, labels: Array, smoothing: float) -> Array:
    return ops.softmax_cross_entropy_forward(logits, labels, smoothing)[0]


def attempt(wrong: frozenset[str], dy: Any, saved: SoftmaxCrossEntropySaved) -> Array:
    """`answer` with these mistakes made."""
    p, t = saved
    hard = (t == t.max(-1, keepdims=True)).astype(t.dtype)
    if "softmax_twice" in wrong:
        e = np.exp(p - p.max(-1, keepdims=True))
        p = e / e.sum(-1, keepdims=True)
    if "smoothing_forgotten" in wrong:
        t = hard
    if "only_the_logarithm" in wrong:
        dlogits = -t / p
    elif "diagonal_only" in wrong:
        dlogits = -t / p * (p * (1 - p))
    else:
        dlogits = p if "targets_forgotten" in wrong else p - t
    if "only_the_label" in wrong:
        dlogits = dlogits * hard
    if "sign_flipped" in wrong:
        dlogits = -dlogits
    scale = 1.0 if "dy_forgotten" in wrong else float(dy)
    if "rows_forgotten" not in wrong:
        scale /= len(p) if "pictures_for_rows" in wrong else p.size // p.shape[-1]
    return dlogits * scale


_LINE = Text(
    "dlogits = (p - t) * dy / rows, with rows = p.size // p.shape[-1]",
    "dlogits = (p - t) * dy / rows，其中 rows = p.size // p.shape[-1]",
)
_CONCEPT = Text(
    "Through the logarithm comes -t / p, and through softmax, where every logit moves every probability of its row, the p cancels: "
    "what is left is how much too large each probability is.",
    "经过对数得到 -t / p；再经过 softmax（每个 logit 都会影响该行的每个概率），p 就约掉了：剩下的是每个概率比目标大多少。",
)
_MEAN = Text(
    "The loss is a mean over rows, and dy is what comes from above: both are factors of every entry.",
    "损失是对各行取的平均，dy 来自上游：两者都是每个元素的因子。",
)

MISTAKES = (
    Mistake(
        "sign_flipped",
        Text("t - p: the minus of the logarithm is counted twice or lost.", "写成了 t - p：负对数的负号多算或漏算了。"),
        _LINE,
    ),
    Mistake(
        "rows_forgotten",
        Text(
            "Not divided by the number of rows: that is the gradient of a sum, and the loss is a mean.",
            "没有除以行数：那是求和的梯度，而损失是平均。",
        ),
        _LINE,
        _MEAN,
    ),
    Mistake(
        "pictures_for_rows",
        Text(
            "Divided by the number of pictures. With pixels there are N * H * W rows, not N.",
            "除以了图像数。逐像素时共有 N * H * W 行，而不是 N 行。",
        ),
        _LINE,
        _MEAN,
    ),
    Mistake(
        "dy_forgotten",
        Text(
            "dy is taken to be 1. It is the chain rule's other factor, whatever the loss is multiplied by later.",
            "把 dy 当成了 1。它是链式法则的另一个因子：损失之后乘了什么，它就是什么。",
        ),
        _LINE,
        _MEAN,
    ),
    Mistake(
        "targets_forgotten",
        Text(
            "The targets are missing: dlogits is p, and pushes every class down, the right one too.",
            "漏了目标：dlogits 就是 p，把所有类别（包括正确的）都往下压。",
        ),
        _LINE,
    ),
    Mistake(
        "only_the_logarithm",
        Text(
            "-t / p is the gradient with respect to the probabilities. It has yet to go through softmax.",
            "-t / p 是对概率的梯度，还要再经过 softmax。",
        ),
        _LINE,
    ),
    Mistake(
        "diagonal_only",
        Text(
            "Softmax's derivative is taken as p * (1 - p), its Jacobian's diagonal. Each logit moves the row's other probabilities too.",
            "把 softmax 的导数当成了 p * (1 - p)，那只是雅可比矩阵的对角线。每个 logit 还会影响该行其他的概率。",
        ),
        _LINE,
    ),
    Mistake(
        "only_the_label",
        Text(
            "Only the label's own entry has a gradient. The other logits stand in the denominator, and have one as well.",
            "只有标签那一项有梯度。其他 logit 在分母里，也有梯度。",
        ),
        _LINE,
    ),
    Mistake(
        "smoothing_forgotten",
        Text(
            "The targets are made hard again: the label gets 1 and the others 0, though the loss used smoothed targets.",
            "目标又变回了硬标签：标签处为 1，其余为 0，但损失用的是平滑后的目标。",
        ),
        Text("t = saved.targets, as it is", "t = saved.targets，原样使用"),
    ),
    Mistake(
        "softmax_twice",
        Text(
            "Softmax is applied to what are probabilities already.",
            "对已经是概率的数又做了一次 softmax。",
        ),
        Text("p = saved.probabilities, as it is", "p = saved.probabilities，原样使用"),
    ),
)

EXERCISE = Exercise(
    name="softmax_cross_entropy_backward",
    title=Text("Cross-entropy of softmax, backward", "softmax 交叉熵的反向传播"),
    task=TASK,
    equation="d log(p[k]) / d logits[l] = (1 if k == l else 0) - p[l]",
    presupposes=("softmax",),
    notebook="07",
    minutes=15,
    stub=softmax_cross_entropy_backward,
    answer=answer,
    also_right=(by_the_chain_rule, by_jacobians),
    outputs=(Output("dlogits", "...K", _CONCEPT, _LINE),),
    cases=cases,
    attempt=attempt,
    mistakes=MISTAKES,
    op="softmax_cross_entropy_backward",
)
