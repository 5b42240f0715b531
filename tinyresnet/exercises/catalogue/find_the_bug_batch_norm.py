"""find_the_bug_batch_norm: somebody else's backward pass is wrong. What is the matter, and how should it be?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ... import ops
from ...backend import Array
from ...ops import BatchNormSaved
from ..exercise import Case, Exercise, Mistake, Output, Rng
from ..language import Text
from .batch_norm_backward import _gamma, through_the_graph

TASK = Text(
    en="""\
Above your function stands `suspect`, a batch_norm_backward that somebody wrote for a dense layer, where it passed every test. In a
convolutional net it does not train as it should. It has one mistake. Find it, name it, mend it.

Before you read it, try it: its signature is that of the op, so `tinyresnet.check_gradients` and `exercises.check("batch_norm_backward",
suspect)` will tell you what they see. Which shapes are right, which are not, and by how much?

- `dy` [..., C]; `saved.x` [..., C], `saved.gamma`, `saved.mean`, `saved.var`, `saved.inv_std` [C]: as in batch_norm_backward.
- Return the name of the mistake, and the right dx [..., C], dgamma [C], dbeta [C], of dy's dtype.

The name is one of these:

- "mean_term_forgotten": the path through the mean is missing
- "variance_term_forgotten": the path through the variance is missing
- "gamma_forgotten": dx lacks the factor gamma
- "inv_std_forgotten": dx lacks the factor inv_std
- "dgamma_of_x": dgamma is made with x and not with xhat
- "pixels_not_counted": n counts the batch, and not the pixels
- "channels_counted": n counts the channels too
- "unbiased_variance": a variance divided by n - 1 stands where it is divided by n
""",
    zh="""\
你的函数上方是 `suspect`，一个 batch_norm_backward，是别人为全连接层写的，在那里通过了所有测试。但在卷积网络里训练得不对。
它有一处错误。请找到它，说出它的名字，并改正它。

读代码之前先试一试：它的签名与算子相同，所以 `tinyresnet.check_gradients` 和 `exercises.check("batch_norm_backward", suspect)`
都能告诉你它们看到了什么。哪些形状下是对的，哪些不对，差多少？

- `dy` [..., C]；`saved.x` [..., C]，`saved.gamma`、`saved.mean`、`saved.var`、`saved.inv_std` [C]：同 batch_norm_backward。
- 返回错误的名字，以及正确的 dx [..., C]、dgamma [C]、dbeta [C]，数据类型与 dy 相同。

名字是以下之一：

- "mean_term_forgotten"：漏了经过均值的路径
- "variance_term_forgotten"：漏了经过方差的路径
- "gamma_forgotten"：dx 缺少因子 gamma
- "inv_std_forgotten"：dx 缺少因子 inv_std
- "dgamma_of_x"：dgamma 用的是 x，而不是 xhat
- "pixels_not_counted"：n 只数了批次，没有数像素
- "channels_counted"：n 把通道也数了进去
- "unbiased_variance"：该除以 n 的方差除以了 n - 1
""",
)


def suspect(dy: Array, saved: BatchNormSaved) -> tuple[Array, Array, Array]:
    """dy [..., C] -> dx [..., C], dgamma [C], dbeta [C], with one mistake"""
    over = tuple(range(dy.ndim - 1))
    n = len(dy)
    xhat = (saved.x - saved.mean) * saved.inv_std
    dbeta = dy.sum(over)
    dgamma = (dy * xhat).sum(over)
    dx = saved.gamma * saved.inv_std * (dy - dbeta / n - xhat * dgamma / n)
    return dx, dgamma, dbeta


def find_the_bug_batch_norm(dy: Array, saved: BatchNormSaved) -> tuple[str, Array, Array, Array]:
    """dy [..., C] -> the name of suspect's mistake, and the right dx [..., C], dgamma [C], dbeta [C]"""
    raise NotImplementedError("find_the_bug_batch_norm is not written yet")


def answer(dy: Array, saved: BatchNormSaved) -> tuple[str, Array, Array, Array]:
    """n = len(dy) counts the batch alone; a channel of images has N*H*W values."""
    over = tuple(range(dy.ndim - 1))
    n = dy.size // dy.shape[-1]
    xhat = (saved.x - saved.mean) * saved.inv_std
    dbeta = dy.sum(over)
    dgamma = (dy * xhat).sum(over)
    dx = saved.gamma * saved.inv_std * (dy - dbeta / n - xhat * dgamma / n)
    return "pixels_not_counted", dx, dgamma, dbeta


def as_a_matrix(dy: Array, saved: BatchNormSaved) -> tuple[str, Array, Array, Array]:
    """The same without touching it: in a matrix [N*H*W, C] the pixels are part of the batch, and suspect is right."""
    dx, dgamma, dbeta = suspect(dy.reshape(-1, dy.shape[-1]), saved._replace(x=saved.x.reshape(-1, dy.shape[-1])))
    return "pixels_not_counted", dx.reshape(dy.shape), dgamma, dbeta


def written_anew(dy: Array, saved: BatchNormSaved) -> tuple[str, Array, Array, Array]:
    """The same, path by path, where nothing is counted by hand but once."""
    return "pixels_not_counted", *through_the_graph(dy, saved)


def cases(rng: Rng, dtype: Any) -> Iterator[Case]:
    """Images of a few pixels, a matrix, and images of one pixel, which suspect gets right."""
    for shape, about in (
        ((3, 2, 2, 3), Text("images", "图像")),
        ((6, 4), Text("a matrix [N, C]", "矩阵 [N, C]")),
        ((5, 1, 1, 2), Text("images of one pixel", "只有一个像素的图像")),
    ):
        c = shape[-1]
        x = 1 + rng.uniform(0.5, 2, c) * rng.standard_normal(shape)
        x, gamma, beta = (a.astype(dtype) for a in (x, _gamma(rng, c), rng.standard_normal(c)))
        dy = (0.5 + rng.standard_normal(shape)).astype(dtype)
        yield Case(about, (dy, ops.batch_norm_forward(x, gamma, beta)[1]))


def attempt(wrong: frozenset[str], dy: Array, saved: BatchNormSaved) -> tuple[str, Array, Array, Array]:
    """`answer` with these mistakes made."""
    over: tuple[int, ...] = tuple(range(dy.ndim - 1))
    right_n = dy.size // dy.shape[-1]
    n = right_n
    if "not_mended" in wrong:
        n = len(dy)
    if "batch_not_counted" in wrong:
        n = n // len(dy)
    if "channels_counted_too" in wrong:
        n = dy.size
    xhat = (saved.x - saved.mean) * saved.inv_std
    dbeta, dgamma = dy.sum(over), (dy * xhat).sum(over)
    along_ones, along_xhat = dbeta / n, dgamma / n
    if "mended_in_one_place" in wrong:
        along_ones, along_xhat = dbeta / right_n, dgamma / len(dy)
    if "summed_over_the_batch_only" in wrong:
        along_ones, along_xhat = dy.mean(0), (dy * xhat).mean(0)
    if "averaged_not_summed" in wrong:
        dbeta, dgamma = dbeta / right_n, dgamma / right_n
    dx = saved.gamma * saved.inv_std * (dy - along_ones - xhat * along_xhat)
    return "variance_term_forgotten" if "misnamed" in wrong else "pixels_not_counted", dx, dgamma, dbeta


_LINE = Text(
    "n = dy.size // dy.shape[-1], in the place of n = len(dy); the name is pixels_not_counted",
    "把 n = len(dy) 改成 n = dy.size // dy.shape[-1]；名字是 pixels_not_counted",
)
_NAME = Text(
    "It is right for [N, C] and for images of one pixel, and wrong for all others: so it has to do with the pixels.",
    "对 [N, C] 和只有一个像素的图像都对，其他都错：所以与像素有关。",
)
_CONCEPT = Text(
    "The two terms are means over all values that mean and var were made of: N*H*W in a channel of images.",
    "这两项是对算出均值和方差的所有值取平均：图像的一个通道有 N*H*W 个值。",
)
_SUMS = Text(
    "dgamma and dbeta are sums, and suspect has them right: only what dx is made with was divided wrongly.",
    "dgamma 与 dbeta 是和，suspect 里是对的：错的只是 dx 中除的数。",
)

MISTAKES = (
    Mistake(
        "misnamed",
        Text(
            "The gradients are right, the name is not. Try suspect on [N, C] and on images: what do they differ in?",
            "梯度都对，但名字不对。请在 [N, C] 和图像上分别试试 suspect：两者有什么不同？",
        ),
        _LINE,
        _NAME,
    ),
    Mistake(
        "not_mended",
        Text(
            "The name may be right, but dx is still suspect's own, with n = len(dy).",
            "名字也许对，但 dx 还是 suspect 的，n 仍是 len(dy)。",
        ),
        _LINE,
    ),
    Mistake(
        "batch_not_counted",
        Text(
            "Now n is H*W: the pixels are counted, and the pictures are not.",
            "现在 n 是 H*W：数了像素，却没有数图片。",
        ),
        _LINE,
    ),
    Mistake(
        "channels_counted_too",
        Text(
            "Now n is dy.size, which counts the values of all channels. A mean is over one channel.",
            "现在 n 是 dy.size，把所有通道的值都数了进去。均值是对一个通道取的。",
        ),
        _LINE,
    ),
    Mistake(
        "mended_in_one_place",
        Text(
            "The mean's term has the right n, the variance's term still has len(dy).",
            "均值项的 n 改对了，方差项的 n 仍是 len(dy)。",
        ),
        _LINE,
    ),
    Mistake(
        "summed_over_the_batch_only",
        Text(
            "The sums in dx were made to fit n, over the batch only; but n should have been made to fit the sums.",
            "让 dx 中的求和去迁就 n，只对批次求和了；应当让 n 去配合求和。",
        ),
        _LINE,
    ),
    Mistake(
        "averaged_not_summed",
        Text(
            "dgamma and dbeta were divided by n in the place of their use in dx, so that means are returned.",
            "除以 n 放到了 dgamma 与 dbeta 本身，而不是它们在 dx 中使用的地方，于是返回的是平均值。",
        ),
        _LINE,
        _SUMS,
    ),
)

EXERCISE = Exercise(
    name="find_the_bug_batch_norm",
    title=Text("Find the bug: batch norm", "找错误：批归一化"),
    task=TASK,
    equation="dx = gamma * inv_std * (dy - sum(dy) / n - xhat * sum(dy * xhat) / n), n = the number of values of a channel",
    presupposes=("batch_norm_backward", "fool_all_ones"),
    notebook="06",
    minutes=10,
    stub=find_the_bug_batch_norm,
    answer=answer,
    also_right=(as_a_matrix, written_anew),
    outputs=(
        Output("name", "", _NAME, _LINE, kind="text"),
        Output("dx", "...C", _CONCEPT, _LINE),
        Output("dgamma", "C", _SUMS, Text("dgamma = (dy * xhat).sum(over)", "dgamma = (dy * xhat).sum(over)")),
        Output("dbeta", "C", _SUMS, Text("dbeta = dy.sum(over)", "dbeta = dy.sum(over)")),
    ),
    cases=cases,
    attempt=attempt,
    mistakes=MISTAKES,
    given=(suspect,),
)
