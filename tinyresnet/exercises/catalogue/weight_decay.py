"""weight_decay: what L2 adds to the loss and to the gradient of a variable, if it is one that decays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...backend import Array
from ..exercise import Case, Exercise, Mistake, Output, Rng
from ..language import Text

TASK = Text(
    en="""\
Weight decay keeps weights small: the loss gets a term that grows with them. TensorFlow's l2_regularizer adds, for each variable w,

    rate / 2 * sum(w^2)

to the loss; work out what that adds to the gradient of w. Only `weights` decay: those of convolutions. Biases, gamma and beta do not
(a gamma pulled to 0 would switch its channel off). Go by the name: it decays if its last part is `weights`.

- `name`: a variable's name, such as "resnet_v2_50/block1/unit_1/bottleneck_v2/conv1/weights".
- `w`, `dw`, of any shape: the variable, and the gradient of the loss so far with respect to it.
- `loss`: the loss so far, a number; `rate`: a number, such as 0.0001.
- Return the new dw, of w's shape and dtype, and the new loss, a number.

By hand: w = 3, 4 with rate 0.1 adds 0.05 * 25 = 1.25 to the loss.
""",
    zh="""\
权重衰减让权重保持较小：损失中加入一项，权重越大它越大。TensorFlow 的 l2_regularizer 对每个变量 w 在损失上加

    rate / 2 * sum(w^2)

请推出这给 w 的梯度加上什么。只有 `weights`（卷积的权重）参与衰减；偏置、gamma、beta 都不参与（gamma 若被拉向 0，整个通道就关闭了）。
根据名字判断：最后一段是 `weights` 的才衰减。

- `name`：变量名，例如 "resnet_v2_50/block1/unit_1/bottleneck_v2/conv1/weights"。
- `w`、`dw`，任意形状：变量，以及到目前为止的损失对它的梯度。
- `loss`：到目前为止的损失，一个数；`rate`：一个数，例如 0.0001。
- 返回新的 dw（形状与数据类型同 w）和新的 loss（一个数）。

手算一例：w = 3, 4，rate 为 0.1，损失增加 0.05 * 25 = 1.25。
""",
)


def weight_decay(name: str, w: Array, dw: Array, loss: float, rate: float) -> tuple[Array, float]:
    """w, dw of any shape -> new dw of this shape, new loss"""
    raise NotImplementedError("weight_decay is not written yet")


def answer(name: str, w: Array, dw: Array, loss: float, rate: float) -> tuple[Array, float]:
    """dw + rate * w and loss + rate / 2 * sum(w^2) for what is called weights; else both as they are."""
    if name.split("/")[-1] != "weights":
        return dw, loss
    return dw + rate * w, loss + rate / 2 * np.square(w).sum()


def by_its_share(name: str, w: Array, dw: Array, loss: float, rate: float) -> tuple[Array, float]:
    """The same with a rate of 0 for what does not decay, and the sum as a product of w with itself."""
    rate = rate if name.endswith("/weights") else 0.0
    flat = w.ravel()
    new_dw: Array = w * rate + dw
    return new_dw, float(flat @ flat) * (0.5 * rate) + loss


def entry_by_entry(name: str, w: Array, dw: Array, loss: float, rate: float) -> tuple[Array, float]:
    """The same a number at a time, in plain floats."""
    total, out = float(loss), dw.copy()
    if name.rpartition("/")[2] == "weights":
        for index in np.ndindex(w.shape):
            out[index] += rate * w[index]
            total += rate * float(w[index]) ** 2 / 2
    return out, w.dtype.type(total)


def cases(rng: Rng, dtype: Any) -> Iterator[Case]:
    """What decays: weights of a convolution, of a dense layer; what does not: biases, gamma, a bias in a scope called weights."""
    decays, stays = (
        Text("weights, which decay", "参与衰减的权重"),
        Text("a variable that does not decay", "不参与衰减的变量"),
    )
    for name, shape, about in (
        ("resnet_v2_50/conv1/weights", (2, 3, 2, 4), decays),
        ("logits/weights", (3, 5), decays),
        ("resnet_v2_50/conv1/biases", (4,), stays),
        ("resnet_v2_50/postnorm/gamma", (5,), stays),
        ("separable/depthwise_weights", (3, 2), stays),
        (
            "head/weights/biases",
            (3,),
            Text("biases, in a scope whose name holds weights", "偏置，所在作用域的名字含有 weights"),
        ),
    ):
        w, dw = ((0.5 + rng.standard_normal(shape)).astype(dtype) for _ in range(2))
        yield Case(about, (name, w, dw, dtype(rng.uniform(1, 2)), 0.1))
    w, dw = np.array([3, 4], dtype), np.array([1, -1], dtype)
    expected = (np.array([1.3, -0.6], dtype), dtype(2.25))
    about = Text("the example of the task", "题目中的例子")
    yield Case(about, ("conv1/weights", w, dw, dtype(1), 0.1), expected=expected, source="worked out by hand")


def attempt(wrong: frozenset[str], name: str, w: Array, dw: Array, loss: Any, rate: float) -> tuple[Array, Any]:
    """`answer` with these mistakes made."""
    decays = name.split("/")[-1] == "weights"
    if "name_contains_weights" in wrong:
        decays = "weights" in name
    if "ends_in_weights" in wrong:
        decays = name.endswith("weights")
    if "gamma_decays_too" in wrong:
        decays = decays or name.endswith("/gamma")
    if "everything_decays" in wrong:
        decays = True
    if not decays:
        return dw.copy(), loss
    added = np.square(w).sum() * (rate if "half_forgotten" in wrong else rate / 2)
    if "sum_then_square" in wrong:
        added = rate / 2 * np.square(w.sum())
    if "norm_not_squared" in wrong:
        added = rate / 2 * np.sqrt(np.square(w).sum())
    if "mean_of_squares" in wrong:
        added = rate / 2 * np.square(w).mean()
    step = rate * w * (2 if "half_forgotten" in wrong else 0.5 if "half_kept" in wrong else 1)
    if "absolute_value" in wrong:
        added, step = rate * np.abs(w).sum(), rate * np.sign(w)
    if "rate_forgotten_in_gradient" in wrong:
        step = w
    new_dw = dw - step if "decay_subtracted" in wrong else dw + step
    if "gradient_untouched" in wrong:
        new_dw = dw.copy()
    if "gradient_replaced" in wrong:
        new_dw = step
    if "loss_untouched" in wrong:
        return new_dw, loss
    return new_dw, added if "loss_replaced" in wrong else loss + added


_DW = Text("dw = dw + rate * w", "dw = dw + rate * w")
_LOSS = Text("loss = loss + rate / 2 * np.square(w).sum()", "loss = loss + rate / 2 * np.square(w).sum()")
_NAME = Text(
    'if name.split("/")[-1] != "weights": return dw, loss', 'if name.split("/")[-1] != "weights": return dw, loss'
)
_DW_CONCEPT = Text(
    "The derivative of rate / 2 * w^2 is rate * w: the 2 that comes down cancels the 1/2. It is added, as the "
    "loss's terms are.",
    "rate / 2 * w^2 的导数是 rate * w：落下来的 2 与 1/2 抵消。损失的各项相加，梯度也相加。",
)
_LOSS_CONCEPT = Text(
    "The term is half of the rate times the sum of all squares, added to the loss there is.",
    "这一项是 rate 的一半乘以所有元素的平方和，加到已有的损失上。",
)
_WHICH = Text(
    "Weight decay is for weights that features are multiplied and summed by. A bias, gamma or beta has no such "
    "fan-in: L2 only moves it "
    "away from where it should be.",
    "权重衰减针对与特征相乘再求和的权重。偏置、gamma、beta 没有这样的扇入，L2 只会让它们偏离应有的值。",
)

MISTAKES = (
    Mistake(
        "half_forgotten",
        Text(
            "The term is taken as rate * sum(w^2), without the 1/2 (as Keras has it): the loss's part or the "
            "gradient's is twice as large.",
            "把这一项当成了 rate * sum(w^2)，漏了 1/2：于是损失或梯度中的这部分大了一倍（Keras 就是这样定义的）。",
        ),
        Text(
            "dw = dw + rate * w; loss = loss + rate / 2 * np.square(w).sum()",
            "dw = dw + rate * w；loss = loss + rate / 2 * np.square(w).sum()",
        ),
    ),
    Mistake(
        "half_kept",
        Text(
            "The gradient gets rate / 2 * w: the 2 of (w^2)' = 2 w, which cancels the 1/2, is missing.",
            "梯度加上的是 rate / 2 * w：漏了 (w^2)' = 2 w 中与 1/2 抵消的 2。",
        ),
        _DW,
    ),
    Mistake(
        "everything_decays",
        Text(
            "Every variable decays, whatever its name: biases, gamma and beta too.",
            "不看名字，所有变量都衰减了：偏置、gamma、beta 也不例外。",
        ),
        _NAME,
        _WHICH,
    ),
    Mistake(
        "gamma_decays_too",
        Text("gamma decays as well, not weights alone.", "除了 weights，gamma 也衰减了。"),
        _NAME,
        _WHICH,
    ),
    Mistake(
        "name_contains_weights",
        Text(
            'What has "weights" anywhere in its name decays, a bias in such a scope too. The last part alone says what it is.',
            '名字里任何地方有 "weights" 的都衰减了，连这种作用域里的偏置也算。应当只看名字的最后一段。',
        ),
        _NAME,
        _WHICH,
    ),
    Mistake(
        "decay_subtracted",
        Text(
            "rate * w is subtracted from the gradient. A step goes against the gradient, so the weights would grow.",
            "从梯度中减去了 rate * w。更新是沿梯度的反方向走的，这样权重反而会增大。",
        ),
        _DW,
    ),
    Mistake(
        "rate_forgotten_in_gradient",
        Text("The gradient gets w itself, without the rate.", "梯度加上的是 w 本身，没有乘 rate。"),
        _DW,
    ),
    Mistake(
        "gradient_untouched",
        Text(
            "The loss has the term, the gradient does not: the number is printed, and nothing decays.",
            "损失里有这一项，梯度里却没有：数值显示出来了，权重却没有衰减。",
        ),
        _DW,
    ),
    Mistake(
        "absolute_value",
        Text(
            "This is L1: |w| in the loss, the sign of w in the gradient.",
            "这是 L1：损失里是 |w|，梯度里是 w 的符号。",
        ),
        _LOSS,
    ),
    Mistake(
        "sum_then_square",
        Text("The sum is squared, and not the squares summed.", "先求和再平方了，而不是先平方再求和。"),
        _LOSS,
    ),
    Mistake(
        "norm_not_squared",
        Text(
            "The norm itself is added: np.linalg.norm(w) takes a root, which L2 regularization does not have.",
            "加的是范数本身：np.linalg.norm(w) 开了方，而 L2 正则项没有开方。",
        ),
        _LOSS,
    ),
    Mistake(
        "mean_of_squares",
        Text(
            "The squares are averaged, not summed: a large layer would then decay less than a small one.",
            "对平方取了平均，而不是求和：这样大的层反而衰减得比小的层少。",
        ),
        _LOSS,
    ),
    Mistake(
        "loss_replaced",
        Text("The loss so far is lost: the term replaces it.", "原来的损失丢了：被这一项取代了。"),
        _LOSS,
    ),
    Mistake(
        "loss_untouched",
        Text(
            "The gradient has the term, the loss does not: the loss that is printed is not the one that is made smaller.",
            "梯度里有这一项，损失里却没有：显示的损失不是真正在减小的那个。",
        ),
        _LOSS,
    ),
    Mistake(
        "gradient_replaced",
        Text(
            "The gradient so far is lost: rate * w replaces it, and is not added.",
            "原来的梯度丢了：被 rate * w 取代了，而不是加上它。",
        ),
        _DW,
    ),
    Mistake(
        "ends_in_weights",
        Text(
            'Whatever ends in "weights" decays, "depthwise_weights" too: the last part of the name, after the slash, has to be weights.',
            '凡是以 "weights" 结尾的都衰减了，连 "depthwise_weights" 也算：名字的最后一段（斜杠之后）必须恰好是 weights。',
        ),
        _NAME,
        _WHICH,
    ),
)

EXERCISE = Exercise(
    name="weight_decay",
    title=Text("Weight decay", "权重衰减"),
    task=TASK,
    equation="loss' = loss + rate / 2 * sum(w^2)  =>  dw' = dw + rate * w",
    presupposes=(),
    notebook="11",
    minutes=8,
    stub=weight_decay,
    answer=answer,
    also_right=(by_its_share, entry_by_entry),
    outputs=(
        Output("dw", "...", _DW_CONCEPT, _DW, may_be_input=True),
        Output("loss", "", _LOSS_CONCEPT, _LOSS),
    ),
    cases=cases,
    attempt=attempt,
    mistakes=MISTAKES,
)
