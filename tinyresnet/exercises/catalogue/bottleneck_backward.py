"""bottleneck_backward: two branches leave from one place and meet in an addition. Backward, they part and add up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial, reduce
from typing import Any, TypeAlias

import numpy as np

from ...backend import Array
from ..exercise import Case, Exercise, Mistake, Output, Rng
from ..language import Text

Pullback: TypeAlias = Callable[[Array], Array]

TASK = Text(
    en="""\
A unit of ResNet v2 adds two branches:

    preact = relu(batch_norm(inputs))
    shortcut = conv(preact) if projection else subsample(inputs)
    output = shortcut + conv3(conv2(conv1(preact)))

Write its backward pass. Each step has its pullback, a function that makes the gradient of the step's input from that of its output:
`conv3_back(d)` and so on. Call them in the right order, each once, and add where branches meet. Mind where the shortcut leaves: at `preact`
if it is a projection, and before it, at `inputs`, if it is the identity.

- `d_output` [N, H, W, C]: the gradient of the loss with respect to output.
- `preact_back`, `conv1_back`, `conv2_back`, `conv3_back`, `shortcut_back`: the pullbacks, array -> array. As in the net, each
  may be called only once: what it kept of the forward pass is gone then. So add the gradients first.
- `projection`: True or False.
- Return d_inputs [N, H, W, C].
""",
    zh="""\
ResNet v2 的残差单元把两条分支相加：

    preact = relu(batch_norm(inputs))
    shortcut = conv(preact) if projection else subsample(inputs)
    output = shortcut + conv3(conv2(conv1(preact)))

请写出它的反向传播。每一步都有自己的 pullback：由该步输出的梯度求输入的梯度的函数，如 `conv3_back(d)`。
请按正确的顺序调用它们，并在分支相会处把梯度相加。注意捷径从哪里分出：投影捷径从 `preact` 分出，恒等捷径从它之前的 `inputs` 分出。

- `d_output` [N, H, W, C]：损失对 output 的梯度。
- `preact_back`、`conv1_back`、`conv2_back`、`conv3_back`、`shortcut_back`：各个 pullback，数组 -> 数组。与网络中一样，
  每个只能调用一次：调用后，它为反向保存的东西就没有了。所以要先把梯度加起来。
- `projection`：True 或 False。
- 返回 d_inputs [N, H, W, C]。
""",
)


def bottleneck_backward(
    d_output: Array,
    preact_back: Pullback,
    conv1_back: Pullback,
    conv2_back: Pullback,
    conv3_back: Pullback,
    shortcut_back: Pullback,
    projection: bool,
) -> Array:
    """d_output [N, H, W, C] -> d_inputs [N, H, W, C]"""
    raise NotImplementedError("bottleneck_backward is not written yet")


def answer(
    d_output: Array,
    preact_back: Pullback,
    conv1_back: Pullback,
    conv2_back: Pullback,
    conv3_back: Pullback,
    shortcut_back: Pullback,
    projection: bool,
) -> Array:
    """d_inputs = preact'(conv1' conv2' conv3' d_output) + shortcut' d_output; of a projection, both go through preact'."""
    d_preact = conv1_back(conv2_back(conv3_back(d_output)))
    d_shortcut = shortcut_back(d_output)
    if projection:
        return preact_back(d_preact + d_shortcut)
    return preact_back(d_preact) + d_shortcut


def by_places(d_output: Array, preact_back: Pullback, *backs: Any) -> Array:
    """The same as sums kept for the two places where branches may part."""
    conv1_back, conv2_back, conv3_back, shortcut_back, projection = backs
    at = {"inputs": np.zeros_like(d_output), "preact": np.zeros_like(d_output)}
    at["preact" if projection else "inputs"] += shortcut_back(d_output)
    at["preact"] += reduce(lambda d, back: back(d), (conv3_back, conv2_back, conv1_back), d_output)
    return at["inputs"] + preact_back(at["preact"])


def shortcut_first(
    d_output: Array,
    preact_back: Pullback,
    conv1_back: Pullback,
    conv2_back: Pullback,
    conv3_back: Pullback,
    shortcut_back: Pullback,
    projection: bool,
) -> Array:
    """The same line by line, the shortcut before the residual, with masks for the two kinds of unit."""
    d_shortcut = shortcut_back(d_output)
    d = conv3_back(d_output)
    d = conv2_back(d)
    d = conv1_back(d) + projection * d_shortcut
    d_inputs: Array = preact_back(d) + (not projection) * d_shortcut
    return d_inputs


def cases(rng: Rng, dtype: Any) -> Iterator[Case]:
    """Both kinds of unit. Each step is a random matrix over the channels, so that any two of them exchanged show."""
    for projection, about in (
        (False, Text("an identity shortcut", "恒等捷径")),
        (True, Text("a projection shortcut", "投影捷径")),
    ):
        steps = [(rng.standard_normal((3, 3)) + np.eye(3)).astype(dtype) for _ in range(5)]
        inputs, d_output = (rng.standard_normal((2, 3, 2, 3)).astype(dtype) for _ in range(2))
        backs = tuple(map(OnceOnly, steps))
        forward = partial(_forward, steps=steps, projection=projection)
        yield Case(about, (d_output, *backs, projection), forward=forward, arrays=(inputs,))


def _forward(inputs: Array, steps: list[Array], projection: bool) -> Array:
    """The unit with a matrix [C, C] for each step: preact, conv1, conv2, conv3, shortcut."""
    preact = inputs @ steps[0]
    output: Array = (preact if projection else inputs) @ steps[4] + preact @ steps[1] @ steps[2] @ steps[3]
    return output


class OnceOnly:
    """The pullback of one step, a matrix [C, C]. As in the net it takes one gradient: another one it refuses.

    The same gradient may come again, as when one looks how long the function takes. Raises RuntimeError.
    """

    def __init__(self, step: Array) -> None:
        self.step = step
        self.taken: Array | None = None

    def __call__(self, d: Array) -> Array:
        if self.taken is not None and not np.array_equal(self.taken, d):
            raise RuntimeError("a pullback may be called only once: add the gradients first, then call it")
        self.taken = np.array(d)
        return self.again(d)

    def again(self, d: Array) -> Array:
        """Any number of gradients."""
        return d @ self.step.T


def attempt(wrong: frozenset[str], d_output: Array, preact_back: Pullback, *backs: Any) -> Array:
    """`answer` with these mistakes made."""
    *conv_backs, shortcut_back, projection = backs
    *conv_backs, shortcut_back, preact_back = (back.again for back in (*conv_backs, shortcut_back, preact_back))
    if "halved_by_the_addition" in wrong:
        d_output = d_output / 2
    conv_backs = conv_backs if "order_not_reversed" in wrong else conv_backs[::-1]
    if "conv2_forgotten" in wrong:
        del conv_backs[1]
    d_preact = reduce(lambda d, back: back(d), conv_backs, d_output)
    d_shortcut = backs[2].again(d_output) if "shortcut_after_conv3" in wrong else d_output
    d_shortcut = d_preact if "d_output_overwritten" in wrong else d_shortcut
    for_projections_only = "identity_needs_no_shortcut_back" in wrong and not projection
    if "shortcut_back_forgotten" not in wrong and not for_projections_only:
        d_shortcut = shortcut_back(d_shortcut)
    if "shortcut_subtracted" in wrong:
        d_shortcut = -d_shortcut
    if "identity_shortcut_forgotten" in wrong and not projection:
        d_shortcut = np.zeros_like(d_shortcut)
    if "shortcut_forgotten" in wrong:
        d_shortcut = np.zeros_like(d_shortcut)
    if "residual_forgotten" in wrong:
        d_preact = np.zeros_like(d_preact)
    at_preact = projection
    if "identity_through_preact" in wrong:
        at_preact = True
    if "projection_past_preact" in wrong:
        at_preact = False if projection else at_preact
    if "preact_back_forgotten" in wrong:
        return d_preact + d_shortcut
    return preact_back(d_preact + d_shortcut) if at_preact else preact_back(d_preact) + d_shortcut


_LINE = Text(
    "d_inputs = preact_back(d_preact + d_shortcut) if projection else preact_back(d_preact) + d_shortcut",
    "d_inputs = preact_back(d_preact + d_shortcut) if projection else preact_back(d_preact) + d_shortcut",
)
_RESIDUAL = Text(
    "d_preact = conv1_back(conv2_back(conv3_back(d_output)))", "d_preact = conv1_back(conv2_back(conv3_back(d_output)))"
)
_SHORTCUT = Text("d_shortcut = shortcut_back(d_output)", "d_shortcut = shortcut_back(d_output)")
_CONCEPT = Text(
    "The backward pass is the forward pass in a mirror: an addition hands its gradient to both branches "
    "unchanged, and where a value was "
    "used twice its two gradients are added, at the very place where the branches parted.",
    "反向传播是前向传播的镜像：加法把梯度原样交给两条分支；一个值用了两次，两份梯度就相加，而且恰在分支分开的地方相加。",
)

MISTAKES = (
    Mistake(
        "shortcut_forgotten",
        Text(
            "Only the residual branch is there. The shortcut is what lets a gradient through a hundred units: "
            "it must be added.",
            "只有残差分支。捷径正是让梯度穿过上百个单元的那条路，必须加上。",
        ),
        _LINE,
    ),
    Mistake(
        "residual_forgotten",
        Text(
            "Only the shortcut is there: the three convolutions' gradient is not added.",
            "只有捷径：没有加上经过三个卷积的梯度。",
        ),
        _LINE,
    ),
    Mistake(
        "identity_through_preact",
        Text(
            "The identity shortcut's gradient went through preact_back. That shortcut leaves at inputs, before "
            "batch norm and ReLU.",
            "恒等捷径的梯度也经过了 preact_back。恒等捷径从 inputs 分出，在批归一化和 ReLU 之前。",
        ),
        _LINE,
    ),
    Mistake(
        "projection_past_preact",
        Text(
            "The projection's gradient was added at inputs. A projection reads preact: it has to go through "
            "preact_back as well.",
            "投影捷径的梯度加在了 inputs 处。投影读的是 preact，它的梯度也要经过 preact_back。",
        ),
        _LINE,
    ),
    Mistake(
        "order_not_reversed",
        Text(
            "The pullbacks run in the forward pass's order, conv1 first. Backward begins at the end.",
            "pullback 按前向的顺序调用了，先是 conv1。反向应从末尾开始。",
        ),
        _RESIDUAL,
    ),
    Mistake(
        "conv2_forgotten",
        Text(
            "conv2_back is left out: only two of the three convolutions are on the way back.",
            "漏了 conv2_back：返回的路上只有两个卷积。",
        ),
        _RESIDUAL,
    ),
    Mistake(
        "preact_back_forgotten",
        Text(
            "preact_back is never called: the gradient stops at preact and is returned as that of inputs.",
            "没有调用 preact_back：把对 preact 的梯度当成了对 inputs 的梯度。",
        ),
        _LINE,
    ),
    Mistake(
        "shortcut_back_forgotten",
        Text(
            "d_output is added as it is. Even the identity shortcut has a pullback: subsampling's, or that of a "
            "1x1 convolution.",
            "直接加上了 d_output。捷径也有 pullback：下采样的，或 1x1 卷积的。",
        ),
        _SHORTCUT,
    ),
    Mistake(
        "identity_needs_no_shortcut_back",
        Text(
            "shortcut_back is called for projections only. With a stride the identity shortcut subsamples, and "
            "so has a pullback.",
            "只对投影捷径调用了 shortcut_back。带步长时恒等捷径要下采样，所以也有 pullback。",
        ),
        _SHORTCUT,
    ),
    Mistake(
        "d_output_overwritten",
        Text(
            "The name of d_output was used again on the way (d = conv3_back(d) …), and shortcut_back got what was left at the end.",
            "途中重用了 d_output 的名字（d = conv3_back(d) ……），于是 shortcut_back 拿到的是最后剩下的值。",
        ),
        _SHORTCUT,
    ),
    Mistake(
        "shortcut_after_conv3",
        Text(
            "shortcut_back was given the gradient behind conv3. The addition comes after conv3: both branches get d_output.",
            "交给 shortcut_back 的是经过 conv3 之后的梯度。加法在 conv3 之后，两条分支得到的都是 d_output。",
        ),
        _SHORTCUT,
    ),
    Mistake(
        "halved_by_the_addition",
        Text(
            "Each branch got half of d_output. The derivative of a + b is 1 for a and 1 for b.",
            "两条分支各得到一半 d_output。a + b 对 a 和对 b 的导数都是 1。",
        ),
        Text(
            "conv3_back(d_output) and shortcut_back(d_output), both of it whole",
            "conv3_back(d_output) 与 shortcut_back(d_output)，都用完整的 d_output",
        ),
    ),
    Mistake(
        "shortcut_subtracted",
        Text(
            "The shortcut's gradient is subtracted. The branches are added, so both of their gradients come with a plus.",
            "减去了捷径的梯度。两条分支是相加的，两份梯度都取正号。",
        ),
        _LINE,
    ),
    Mistake(
        "identity_shortcut_forgotten",
        Text(
            "The shortcut is added for a projection only. The identity has a gradient too, and it is the one "
            "that goes through the net unhindered.",
            "只对投影捷径加上了梯度。恒等捷径也有梯度，而且正是它畅通无阻地穿过整个网络。",
        ),
        _LINE,
    ),
)

EXERCISE = Exercise(
    name="bottleneck_backward",
    title=Text("A bottleneck unit, backward", "瓶颈单元的反向传播"),
    task=TASK,
    equation="x[l+1] = h(x[l]) + F(x[l]); dL/dx[l] = dL/dx[l+1] * (dh/dx[l] + dF/dx[l])",
    presupposes=("conv2d_backward", "batch_norm_relu_backward", "subsample_backward"),
    notebook="08",
    minutes=15,
    stub=bottleneck_backward,
    answer=answer,
    also_right=(by_places, shortcut_first),
    outputs=(Output("d_inputs", "NHWC", _CONCEPT, _LINE),),
    cases=cases,
    attempt=attempt,
    mistakes=MISTAKES,
)
