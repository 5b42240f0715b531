"""momentum_step: one step of gradient descent with momentum, as TensorFlow takes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...backend import Array
from ..exercise import Case, Exercise, Mistake, Output, Rng
from ..language import Text

TASK = Text(
    en="""\
A ball that rolls downhill does not turn at every stone: it keeps most of its speed, and the slope adds to that. TensorFlow's
MomentumOptimizer keeps a speed `accum` for each variable:

    accum <- momentum * accum + dw
    w     <- w - learning_rate * accum

Take one such step. The second line uses the new accum.

- `w`, `accum`, `dw`, all of one shape: the variable, its speed (zeros before the first step) and the gradient.
- `learning_rate`, `momentum`: numbers.
- Return the new w and the new accum, of w's shape and dtype, as new arrays: the old ones stay as they are.

By hand: w = 1, dw = 0.1, learning rate 2, momentum 0.9. The first step gives accum 0.1, w 0.8; the second accum 0.19, w 0.42.
""",
    zh="""\
滚下山的球不会因为每块石头就转向：它保持大部分速度，再加上坡度的作用。TensorFlow 的 MomentumOptimizer 为每个变量保存一个速度 `accum`：

    accum <- momentum * accum + dw
    w     <- w - learning_rate * accum

请走这样的一步。第二行用的是新的 accum。

- `w`、`accum`、`dw`，形状都相同：变量、它的速度（第一步之前为零）和梯度。
- `learning_rate`、`momentum`：两个数。
- 返回新的 w 和新的 accum，形状与数据类型同 w，且是新数组：旧数组保持不变。

手算一例：w = 1，dw = 0.1，学习率 2，动量 0.9。第一步得到 accum 0.1、w 0.8；第二步得到 accum 0.19、w 0.42。
""",
)


def momentum_step(w: Array, accum: Array, dw: Array, learning_rate: float, momentum: float) -> tuple[Array, Array]:
    """w, accum, dw of any shape -> new w, new accum of this shape"""
    raise NotImplementedError("momentum_step is not written yet")


def answer(w: Array, accum: Array, dw: Array, learning_rate: float, momentum: float) -> tuple[Array, Array]:
    """accum = momentum * accum + dw; w = w - learning_rate * accum."""
    accum = momentum * accum + dw
    return w - learning_rate * accum, accum


def in_two_parts(w: Array, accum: Array, dw: Array, learning_rate: float, momentum: float) -> tuple[Array, Array]:
    """The same: w coasts on with its old speed, then the gradient pushes it."""
    coasted = w - (learning_rate * momentum) * accum
    speed = accum.copy()
    speed *= momentum
    speed += dw
    return coasted - learning_rate * dw, speed


def entry_by_entry(w: Array, accum: Array, dw: Array, learning_rate: float, momentum: float) -> tuple[Array, Array]:
    """The same with the step itself as speed, v = -learning_rate * accum (Sutskever et al. 2013), a number at a time."""
    new_w, new_accum = np.empty_like(w), np.empty_like(w)
    for index in np.ndindex(w.shape):
        v = momentum * (-learning_rate * float(accum[index])) - learning_rate * float(dw[index])
        new_w[index] = float(w[index]) + v
        new_accum[index] = v / -learning_rate
    return new_w, new_accum


def cases(rng: Rng, dtype: Any) -> Iterator[Case]:
    """In the middle of a training, at its first step, and two steps that TensorFlow's own test has."""
    for shape, start, about in (
        ((2, 3, 2, 3), 1, Text("a step in the middle of a training", "训练途中的一步")),
        ((5,), 0, Text("the first step, where accum is zeros", "第一步：accum 全为零")),
    ):
        w, accum, dw = ((size * (0.5 + rng.standard_normal(shape))).astype(dtype) for size in (1, start, 1))
        yield Case(about, (w, accum, dw, 0.3, 0.8))
    about = Text("two steps of TensorFlow's own test", "TensorFlow 自己的测试中的两步")
    source = "TensorFlow, momentum_test.py, testBasic"
    values = (([1, 2], [0, 0], [0.8, 1.8], [0.1, 0.1]), ([0.8, 1.8], [0.1, 0.1], [0.42, 1.42], [0.19, 0.19]))
    for numbers in values:
        w, accum, new_w, new_accum = (np.array(a, dtype) for a in numbers)
        yield Case(about, (w, accum, np.full(2, 0.1, dtype), 2.0, 0.9), expected=(new_w, new_accum), source=source)


def attempt(
    wrong: frozenset[str], w: Array, accum: Array, dw: Array, learning_rate: float, momentum: float
) -> tuple[Array, Array]:
    """`answer` with these mistakes made."""
    if "rate_and_momentum_swapped" in wrong:
        learning_rate, momentum = momentum, learning_rate
    push, keep = dw, momentum
    if "gradient_damped" in wrong:
        push = (1 - momentum) * dw
    if "learning_rate_in_accum" in wrong:
        push = learning_rate * push
    if "learning_rate_in_accum_alone" in wrong:
        push, learning_rate = learning_rate * push, 1
    if "momentum_on_the_gradient" in wrong:
        push, keep = momentum * dw, 1
    if "accum_not_shrunk" in wrong:
        keep = 1
    if "momentum_on_both" in wrong:
        push = momentum * push
    new = keep * accum + (-push if "gradient_subtracted" in wrong else push)
    speed = new
    if "old_accum_used" in wrong:
        speed = accum
    if "momentum_unused" in wrong:
        speed = dw
    if "nesterov" in wrong:
        speed = dw + momentum * new
    if "speed_of_the_other_sign" in wrong:
        new = momentum * accum - learning_rate * dw
        speed = new / -learning_rate
    kept = accum.copy() if "accum_not_kept" in wrong else new
    new_w = w - learning_rate * speed * (-1 if "uphill" in wrong else 1)
    return (kept, new_w) if "outputs_swapped" in wrong else (new_w, kept)


_ACCUM = Text("accum = momentum * accum + dw", "accum = momentum * accum + dw")
_W = Text("w = w - learning_rate * accum, with the new accum", "w = w - learning_rate * accum，用新的 accum")
_ACCUM_CONCEPT = Text(
    "accum is a sum of all gradients so far, older ones weaker by a factor of momentum a step. The learning rate is no part of it: it may "
    "change from step to step.",
    "accum 是迄今所有梯度之和，每过一步旧梯度就乘一次 momentum 而变弱。学习率不在其中：它可以每步不同。",
)
_W_CONCEPT = Text(
    "The step goes against the speed, and the speed is what this very step has just made of it.",
    "更新沿速度的反方向走，而速度是这一步刚刚算出的那个。",
)

MISTAKES = (
    Mistake(
        "gradient_damped",
        Text(
            "The gradient comes in with 1 - momentum, as in a moving average (Adam's, or dampening in PyTorch). TensorFlow adds all of it.",
            "梯度乘了 1 - momentum，像滑动平均那样（Adam，或 PyTorch 的 dampening）。TensorFlow 加的是整个梯度。",
        ),
        _ACCUM,
    ),
    Mistake(
        "learning_rate_in_accum",
        Text(
            "The gradient is multiplied by the learning rate on its way into accum, and again in the step.",
            "梯度进入 accum 时乘了一次学习率，更新时又乘了一次。",
        ),
        _ACCUM,
    ),
    Mistake(
        "learning_rate_in_accum_alone",
        Text(
            "accum holds learning_rate * dw, and w gets accum as it is (Sutskever's form): the same only while the learning rate stays "
            "the same.",
            "accum 里存的是 learning_rate * dw，w 直接减去 accum（Sutskever 的形式）。学习率一变，两者就不同了。",
        ),
        _ACCUM,
    ),
    Mistake(
        "speed_of_the_other_sign",
        Text(
            "This is v = momentum * v - learning_rate * dw, w = w + v, as in Sutskever's paper and CS231n. TensorFlow's accum points "
            "uphill, as the gradient does, and has no learning rate in it.",
            "这是 v = momentum * v - learning_rate * dw、w = w + v，出自 Sutskever 的论文和 CS231n。TensorFlow 的 accum 与梯度同向，"
            "而且不含学习率。",
        ),
        _ACCUM,
    ),
    Mistake(
        "accum_not_shrunk",
        Text(
            "The old accum is not multiplied by momentum: it never forgets.",
            "旧的 accum 没有乘 momentum：它永远不会遗忘。",
        ),
        _ACCUM,
    ),
    Mistake(
        "momentum_on_the_gradient",
        Text(
            "momentum multiplies the gradient, not the old accum.",
            "momentum 乘在了梯度上，而不是旧的 accum 上。",
        ),
        _ACCUM,
    ),
    Mistake(
        "old_accum_used",
        Text(
            "w is moved by the old accum, before the gradient came in: the first step goes nowhere.",
            "w 用的是加入梯度之前的旧 accum：第一步原地不动。",
        ),
        _W,
    ),
    Mistake(
        "momentum_unused",
        Text(
            "w is moved by the gradient alone: accum is made, but not used.",
            "w 只按梯度移动：算出了 accum，却没有用。",
        ),
        _W,
    ),
    Mistake(
        "nesterov",
        Text(
            "w is moved by dw + momentum * accum: that is Nesterov's momentum (use_nesterov=True), another method.",
            "w 按 dw + momentum * accum 移动：这是 Nesterov 动量（use_nesterov=True），是另一种方法。",
        ),
        _W,
    ),
    Mistake(
        "uphill",
        Text(
            "w goes with the gradient and not against it: the loss would grow.",
            "w 沿梯度方向走，而不是反方向：损失会增大。",
        ),
        _W,
    ),
    Mistake(
        "accum_not_kept",
        Text(
            "The old accum is returned: the next step starts without this one.",
            "返回的是旧的 accum：下一步就丢掉了这一步。",
        ),
        _ACCUM,
    ),
    Mistake(
        "outputs_swapped",
        Text("accum and w are returned in the wrong order.", "accum 与 w 返回的次序反了。"),
        Text("return w, accum", "return w, accum"),
    ),
    Mistake(
        "momentum_on_both",
        Text(
            "momentum multiplies the sum, accum and gradient: momentum * (accum + dw). Only what is old is made weaker.",
            "momentum 乘在了 accum 与梯度之和上：momentum * (accum + dw)。变弱的只应是旧的部分。",
        ),
        _ACCUM,
    ),
    Mistake(
        "gradient_subtracted",
        Text(
            "The gradient is subtracted from accum, and the step subtracts accum: the two minus signs make w go uphill.",
            "accum 中减去了梯度，更新时又减去 accum：负负得正，w 就往上坡走了。",
        ),
        _ACCUM,
    ),
    Mistake(
        "rate_and_momentum_swapped",
        Text("The learning rate and momentum are exchanged.", "学习率与 momentum 用反了。"),
        Text(
            "accum = momentum * accum + dw; w = w - learning_rate * accum",
            "accum = momentum * accum + dw；w = w - learning_rate * accum",
        ),
    ),
)

EXERCISE = Exercise(
    name="momentum_step",
    title=Text("A step with momentum", "带动量的一步"),
    task=TASK,
    equation="accum = momentum * accum + dw; w = w - learning_rate * accum",
    presupposes=(),
    notebook="11",
    minutes=5,
    stub=momentum_step,
    answer=answer,
    also_right=(in_two_parts, entry_by_entry),
    outputs=(
        Output("w", "...", _W_CONCEPT, _W),
        Output("accum", "...", _ACCUM_CONCEPT, _ACCUM),
    ),
    cases=cases,
    attempt=attempt,
    mistakes=MISTAKES,
)
