"""conv2d_loops: a convolution as it stands in the equation, one number at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ...backend import Array
from ...ops.windows import Pads
from ..exercise import Case, Exercise, Mistake, Output, Rng
from ..language import Text

TASK = Text(
    en="""\
The convolution of neural networks: put the kernel on the picture, multiply what lies on each other, add up.

    y[n, p, q, k] = sum over i, j, c of  x[n, p*stride + i - top, q*stride + j - left, c] * w[i, j, c, k]

with zeros where that is outside x. The kernel is not flipped. Write it with loops, as slowly as you like.

- `x` [N, H, W, C], images; `w` [KH, KW, C, K], a kernel for each of the K outputs; of one dtype.
- `stride`: an integer, for both axes.
- `pads`: ((top, bottom), (left, right)), how many zeros stand on each side.
- Return y [N, OH, OW, K] of x's dtype, with OH = (H + top + bottom - KH) // stride + 1 and OW likewise.
""",
    zh="""\
神经网络中的卷积：把卷积核放在图上，重叠的数相乘，再全部相加。

    y[n, p, q, k] = 对 i, j, c 求和  x[n, p*stride + i - top, q*stride + j - left, c] * w[i, j, c, k]

落在 x 之外的位置当作 0。卷积核不翻转。请用循环写出来，多慢都可以。

- `x` [N, H, W, C]：图像；`w` [KH, KW, C, K]：K 个输出通道各有一个卷积核；数据类型相同。
- `stride`：整数，两个轴相同。
- `pads`：((top, bottom), (left, right))，四边各填充多少个 0。
- 返回 y [N, OH, OW, K]，数据类型与 x 相同，其中 OH = (H + top + bottom - KH) // stride + 1，OW 同理。
""",
)


def conv2d_loops(x: Array, w: Array, stride: int, pads: Pads) -> Array:
    """x [N, H, W, C], w [KH, KW, C, K] -> y [N, OH, OW, K]"""
    raise NotImplementedError("conv2d_loops is not written yet")


def answer(x: Array, w: Array, stride: int, pads: Pads) -> Array:
    """y[n, p, q, k] = the sum of the window at (p, q), times kernel k."""
    padded = np.pad(x, ((0, 0), *pads, (0, 0)))
    n, h, v, _ = padded.shape
    kh, kw, _, k = w.shape
    oh, ow = (h - kh) // stride + 1, (v - kw) // stride + 1
    y = np.zeros((n, oh, ow, k), x.dtype)
    for image in range(n):
        for p in range(oh):
            for q in range(ow):
                window = padded[image, p * stride : p * stride + kh, q * stride : q * stride + kw]  # [KH, KW, C]
                for out in range(k):
                    y[image, p, q, out] = (window * w[:, :, :, out]).sum()
    return y


def by_taps(x: Array, w: Array, stride: int, pads: Pads) -> Array:
    """The same with the kernel's loop outside: each tap is a matrix product of a shifted, strided picture."""
    padded = np.pad(x, ((0, 0), *pads, (0, 0)))
    oh, ow = ((padded.shape[1 + axis] - w.shape[axis]) // stride + 1 for axis in (0, 1))
    y = np.zeros((len(x), oh, ow, w.shape[3]), x.dtype)
    for i, j in np.ndindex(*w.shape[:2]):
        y += padded[:, i : i + stride * oh : stride, j : j + stride * ow : stride][:, :oh, :ow] @ w[i, j]
    return y


def by_views(x: Array, w: Array, stride: int, pads: Pads) -> Array:
    """The same with one product over all windows."""
    padded = np.pad(x, ((0, 0), *pads, (0, 0)))
    every = sliding_window_view(padded, w.shape[:2], axis=(1, 2))[:, ::stride, ::stride]  # [N, OH, OW, C, KH, KW]
    y: Array = np.einsum("npqcij,ijck->npqk", every, w)
    return y


def one_number_at_a_time(x: Array, w: Array, stride: int, pads: Pads) -> Array:
    """The same without an array that is padded: what is outside is left out."""
    (n, h, v, c), (kh, kw, _, k), ((top, bottom), (left, right)) = x.shape, w.shape, pads
    oh, ow = (h + top + bottom - kh) // stride + 1, (v + left + right - kw) // stride + 1
    y = np.zeros((n, oh, ow, k))
    for a, p, q, out, i, j, ch in np.ndindex(n, oh, ow, k, kh, kw, c):
        row, col = p * stride + i - top, q * stride + j - left
        if 0 <= row < h and 0 <= col < v:
            y[a, p, q, out] += float(x[a, row, col, ch]) * float(w[i, j, ch, out])
    return y.astype(x.dtype)


def cases(rng: Rng, dtype: Any) -> Iterator[Case]:
    """Odd and even sizes, strides, paddings that differ on all sides, and TF-Slim's own tables."""
    for shape, kernel, stride, pads, about in (
        ((2, 4, 3, 2), (3, 3, 2, 3), 1, ((1, 1), (1, 1)), Text("a 3x3 kernel, padding 1", "3x3，填充 1")),
        (
            (2, 4, 6, 1),
            (3, 3, 1, 2),
            2,
            ((0, 1), (2, 0)),
            Text("a 3x3 kernel, stride 2, unequal padding", "步长 2，各边填充不等"),
        ),
        ((2, 3, 5, 2), (2, 3, 2, 2), 1, ((0, 0), (0, 0)), Text("a kernel 2x3, no padding", "2x3 卷积核，不填充")),
    ):
        x, w = (rng.standard_normal(s).astype(dtype) for s in (shape, kernel))
        yield Case(about, (x, w, stride, pads))
    image, ones = (np.add.outer(np.arange(n), np.arange(n)).astype(dtype)[:, :, None] for n in (4, 3))
    for pads, table, name in (
        (((1, 1), (1, 1)), [[14, 43], [43, 84]], "conv2d_same"),
        (((0, 1), (0, 1)), [[48, 37], [37, 22]], "SAME"),
    ):
        y = np.array(table, dtype)[None, :, :, None]
        about = Text(f"TF-Slim's 4x4 table of {name}, stride 2", f"TF-Slim 的 4x4 表：{name}，步长 2")
        source = "TF-Slim, resnet_v2_test.py, testConv2DSameEven"
        yield Case(about, (image[None], ones[..., None], 2, pads), expected=(y,), source=source)


def attempt(wrong: frozenset[str], x: Array, w: Array, stride: int, pads: Pads) -> Array:
    """`answer` with these mistakes made."""
    if "kernel_flipped" in wrong:
        w = w[::-1, ::-1]
    if "kh_kw_swapped" in wrong and w.shape[0] == w.shape[1]:
        w = w.transpose(1, 0, 2, 3)
    if "pads_swapped" in wrong:
        pads = (pads[0][::-1], pads[1][::-1])
    if "rows_and_columns_padded_alike" in wrong:
        pads = (pads[0], pads[0])
    if "pads_exchanged" in wrong:
        pads = pads[::-1]
    if "pads_ignored" in wrong:
        pads = ((0, 0), (0, 0))
    padded = np.pad(x, ((0, 0), *pads, (0, 0)), mode="edge" if "edges_repeated" in wrong else "constant")
    kh, kw, _, k = w.shape
    one = 0 if "plus_one_forgotten" in wrong else 1
    oh, ow = ((padded.shape[1 + axis] - w.shape[axis]) // stride + one for axis in (0, 1))
    step = 1 if "stride_ignored" in wrong else stride
    y = np.zeros((len(x), oh, ow, k), x.dtype)
    for i, j in np.ndindex(kh, kw):
        rows, cols = i + step * np.arange(oh), j + step * np.arange(ow)
        seen = padded[:, rows[:, None], cols]  # [N, OH, OW, C]
        if "negative_index_wraps" in wrong:
            seen = _from_the_other_end(x, rows - pads[0][0], cols - pads[1][0])
        tap = seen[..., -1:] * w[i, j, -1] if "last_channel_only" in wrong else seen @ w[i, j]
        y = tap if "overlaps_overwritten" in wrong else y + tap
    if "first_image_only" in wrong:
        y[1:] = 0
    return y


def _from_the_other_end(x: Array, rows: Array, cols: Array) -> Array:
    """The pixels of x at these places, 0 behind its end. NumPy counts a negative place from the end."""
    inside = (rows < x.shape[1])[:, None] & (cols < x.shape[2])  # [OH, OW]
    seen: Array = x[:, (rows % x.shape[1])[:, None], cols % x.shape[2]] * inside[:, :, None].astype(x.dtype)
    return seen


_LINE = Text(
    "y[n, p, q, k] = (padded[n, p*stride : p*stride + KH, q*stride : q*stride + KW] * w[:, :, :, k]).sum()",
    "y[n, p, q, k] = (padded[n, p*stride : p*stride + KH, q*stride : q*stride + KW] * w[:, :, :, k]).sum()",
)
_PAD_LINE = Text(
    "padded = np.pad(x, ((0, 0), pads[0], pads[1], (0, 0)))    # zeros; the batch and the channels get none",
    "padded = np.pad(x, ((0, 0), pads[0], pads[1], (0, 0)))    # 填 0；批次轴与通道轴不填充",
)
_SIZE_LINE = Text("OH = (H + top + bottom - KH) // stride + 1", "OH = (H + top + bottom - KH) // stride + 1")
_CONCEPT = Text(
    "One output pixel is the product of one window with one kernel: the window begins at (p*stride - top, q*stride - "
    "left), and the sum runs over rows, columns and channels of the window.",
    "一个输出像素是一个窗口与一个卷积核的乘积：窗口从 (p*stride - top, q*stride - left) 开始，求和遍及窗口的行、列和通道。",
)
_PAD_CONCEPT = Text(
    "Padding moves the picture: row h of x is row h + top of the padded one. Right sums with a wrong padding are sums of "
    "the wrong windows, and no check of gradients would see it.",
    "填充会移动图像：x 的第 h 行是填充后的第 h + top 行。填充错了，求和再对也是别的窗口的和，而梯度检验看不出来。",
)

MISTAKES = (
    Mistake(
        "kernel_flipped",
        Text(
            "The kernel is turned by 180 degrees, as mathematics and scipy.signal.convolve do. Neural networks do not turn it.",
            "卷积核旋转了 180 度，这是数学和 scipy.signal.convolve 的定义；神经网络不翻转。",
        ),
        _LINE,
    ),
    Mistake(
        "kh_kw_swapped",
        Text(
            "The kernel's rows and columns are interchanged: w[j, i] for w[i, j].",
            "卷积核的行与列互换了：应是 w[i, j]，写成了 w[j, i]。",
        ),
        _LINE,
    ),
    Mistake(
        "stride_ignored",
        Text(
            "The output has the right size, but its windows lie one pixel apart: p in place of p*stride.",
            "输出大小正确，但窗口之间只隔一个像素：写成了 p 而不是 p*stride。",
        ),
        _LINE,
    ),
    Mistake(
        "overlaps_overwritten",
        Text(
            "= in the place of += inside the loop: only the last tap of the kernel is left.",
            "循环里写成了 = 而不是 +=：只剩下卷积核最后一个位置的贡献。",
        ),
        _LINE,
    ),
    Mistake(
        "last_channel_only",
        Text(
            "The sum does not run over the input channels: only the last one counts.",
            "没有对输入通道求和：只有最后一个通道起作用。",
        ),
        _LINE,
    ),
    Mistake(
        "first_image_only",
        Text("Only the first image of the batch is computed.", "只计算了批次中的第一幅图像。"),
        _LINE,
    ),
    Mistake(
        "pads_ignored",
        Text("x is not padded at all.", "完全没有对 x 填充。"),
        _PAD_LINE,
        _PAD_CONCEPT,
    ),
    Mistake(
        "pads_swapped",
        Text(
            "The zeros for after stand before, and the other way round: (bottom, top) for (top, bottom).",
            "前后两侧的填充弄反了：把 (top, bottom) 当成了 (bottom, top)。",
        ),
        _PAD_LINE,
        _PAD_CONCEPT,
    ),
    Mistake(
        "rows_and_columns_padded_alike",
        Text(
            "Rows and columns get the same padding, pads[0]. The columns have their own, pads[1].",
            "行与列用了同样的填充 pads[0]，而列应当用 pads[1]。",
        ),
        _PAD_LINE,
        _PAD_CONCEPT,
    ),
    Mistake(
        "edges_repeated",
        Text(
            "The padding repeats the pixels at the edge (mode='edge'), where zeros are asked for.",
            "填充时重复了边缘像素（mode='edge'），而这里要求填 0。",
        ),
        _PAD_LINE,
        _PAD_CONCEPT,
    ),
    Mistake(
        "plus_one_forgotten",
        Text(
            "The output is a row and a column short: the + 1 of its size is missing.",
            "输出少了一行一列：计算大小时漏了 + 1。",
        ),
        _SIZE_LINE,
    ),
    Mistake(
        "pads_exchanged",
        Text(
            "pads[0] and pads[1] are exchanged: (top, bottom) is height's, (left, right) is width's.",
            "pads[0] 与 pads[1] 用反了：(top, bottom) 属于高，(left, right) 属于宽。",
        ),
        _PAD_LINE,
        _PAD_CONCEPT,
    ),
    Mistake(
        "negative_index_wraps",
        Text(
            "A row or column before the first one was not caught: x[-1] is the last row, not a zero. Both ends have "
            "to be tested, or x padded.",
            "没有排除第一行、第一列之前的下标：x[-1] 是最后一行，而不是 0。两端都要判断，或者先填充 x。",
        ),
        _PAD_LINE,
        _PAD_CONCEPT,
    ),
)

EXERCISE = Exercise(
    name="conv2d_loops",
    title=Text("A convolution by loops", "用循环写卷积"),
    task=TASK,
    equation="y[n,p,q,k] = sum_{i,j,c} x[n, p*stride + i - top, q*stride + j - left, c] * w[i,j,c,k]",
    presupposes=("feature_map_sizes",),
    notebook="03",
    minutes=20,
    stub=conv2d_loops,
    answer=answer,
    also_right=(by_taps, by_views, one_number_at_a_time),
    outputs=(Output("y", "NHWK", _CONCEPT, _LINE),),
    cases=cases,
    attempt=attempt,
    mistakes=MISTAKES,
)
