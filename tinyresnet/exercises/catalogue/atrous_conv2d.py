"""atrous_conv2d: a kernel with holes, which sees further with the same weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ...backend import Array
from ..exercise import Case, Exercise, Mistake, Output, Rng
from ..language import Text

TASK = Text(
    en="""\
An atrous convolution (à trous, with holes; also called dilated): the taps of the kernel lie `rate` pixels apart. At rate 1
it is the ordinary one.

    y[n, p, q, k] = sum over i, j, c of  x[n, p + i*rate - top, q + j*rate - left, c] * w[i, j, c, k]

with zeros where that is outside x. The stride is 1 and the padding SAME: y is as large as x, so (KH - 1) * rate rows of
zeros are needed in all, half of them (rounded down) on top, and columns likewise. Write the forward pass, by loops or tap by
tap.

- `x` [N, H, W, C], images; `w` [KH, KW, C, K] of the same dtype; `rate`: an integer >= 1, for both axes.
- Return y [N, H, W, K] of x's dtype.
""",
    zh="""\
空洞卷积（à trous，也叫膨胀卷积）：卷积核相邻位置之间相隔 `rate` 个像素。空洞率为 1 时就是普通卷积。

    y[n, p, q, k] = 对 i, j, c 求和  x[n, p + i*rate - top, q + j*rate - left, c] * w[i, j, c, k]

落在 x 之外的位置当作 0。步长为 1，填充为 SAME：y 与 x 一样大，所以总共要填充 (KH - 1) * rate 行 0，其中一半（向下取整）在上方，列同理。
请写出前向传播，用循环或逐个位置累加都可以。

- `x` [N, H, W, C]：图像；`w` [KH, KW, C, K]：数据类型与 x 相同；`rate`：>= 1 的整数，两个轴相同。
- 返回 y [N, H, W, K]，数据类型与 x 相同。
""",
)


def atrous_conv2d(x: Array, w: Array, rate: int) -> Array:
    """x [N, H, W, C], w [KH, KW, C, K] -> y [N, H, W, K]"""
    raise NotImplementedError("atrous_conv2d is not written yet")


def answer(x: Array, w: Array, rate: int) -> Array:
    """Tap by tap: y += the picture shifted by (i*rate - top, j*rate - left), times w[i, j]."""
    (n, h, v, _), (kh, kw, _, k) = x.shape, w.shape
    padded = _padded(x, w, rate)
    y = np.zeros((n, h, v, k), x.dtype)
    for i in range(kh):
        for j in range(kw):
            y += padded[:, i * rate : i * rate + h, j * rate : j * rate + v] @ w[i, j]
    return y


def _padded(x: Array, w: Array, rate: int) -> Array:
    """x with SAME's zeros around it."""
    rows, cols = ((size - 1) * rate for size in w.shape[:2])
    return np.pad(x, ((0, 0), (rows // 2, rows - rows // 2), (cols // 2, cols - cols // 2), (0, 0)))


def with_holes(x: Array, w: Array, rate: int) -> Array:
    """The same as an ordinary convolution with a larger kernel, whose new entries are zero."""
    (kh, kw, c, k) = w.shape
    large = np.zeros(((kh - 1) * rate + 1, (kw - 1) * rate + 1, c, k), w.dtype)
    large[::rate, ::rate] = w
    seen = sliding_window_view(_padded(x, w, rate), large.shape[:2], axis=(1, 2))  # [N, H, W, C, KH', KW']
    y: Array = np.einsum("nhvcij,ijck->nhvk", seen, large)
    return y


def phase_by_phase(x: Array, w: Array, rate: int) -> Array:
    """The same as TensorFlow once did it (space_to_batch): cut into rate*rate coarse pictures, convolve each, put them together."""
    y = np.empty((*x.shape[:3], w.shape[3]), x.dtype)
    for a, b in np.ndindex(min(rate, x.shape[1]), min(rate, x.shape[2])):
        coarse = _padded(x, w, rate)[:, a::rate, b::rate]
        seen = sliding_window_view(coarse, w.shape[:2], axis=(1, 2))
        phase = y[:, a::rate, b::rate]
        phase[...] = np.tensordot(seen, w, axes=((4, 5, 3), (0, 1, 2)))[:, : phase.shape[1], : phase.shape[2]]
    return y


def one_number_at_a_time(x: Array, w: Array, rate: int) -> Array:
    """The same from the equation, in float64, without padding anything."""
    (n, h, v, _), (kh, kw, _, k) = x.shape, w.shape
    y = np.zeros((n, h, v, k))
    for a, p, q, i, j in np.ndindex(n, h, v, kh, kw):
        row, col = p + i * rate - (kh - 1) * rate // 2, q + j * rate - (kw - 1) * rate // 2
        if 0 <= row < h and 0 <= col < v:
            y[a, p, q] += x[a, row, col].astype(np.float64) @ w[i, j]
    return y.astype(x.dtype)


def cases(rng: Rng, dtype: Any) -> Iterator[Case]:
    """Odd and even kernels, three rates, and a row that was computed by hand."""
    for shape, kernel, rate, about in (
        ((2, 6, 5, 2), (3, 3, 2, 3), 2, Text("a 3x3 kernel, rate 2", "3x3，空洞率 2")),
        ((2, 5, 7, 1), (2, 2, 1, 2), 3, Text("a 2x2 kernel, rate 3, an odd padding", "2x2，空洞率 3：填充总数为奇数")),
        ((2, 4, 3, 2), (3, 3, 2, 2), 1, Text("rate 1, the ordinary convolution", "空洞率 1：普通卷积")),
    ):
        x, w = (rng.standard_normal(s).astype(dtype) for s in (shape, kernel))
        yield Case(about, (x, w, rate))
    row = np.arange(1, 8).astype(dtype).reshape(1, 1, 7, 1)
    w = np.array([1, 10, 100], dtype).reshape(1, 3, 1, 1)
    y = np.array([310, 420, 531, 642, 753, 64, 75], dtype).reshape(1, 1, 7, 1)
    about = Text("the row 1 2 3 4 5 6 7, kernel 1 10 100, rate 2", "一行 1 2 3 4 5 6 7，卷积核 1 10 100，空洞率 2")
    yield Case(about, (row, w, 2), expected=(y,), source="worked out by hand")


def attempt(wrong: frozenset[str], x: Array, w: Array, rate: int) -> Array:
    """`answer` with these mistakes made."""
    (n, h, v, _), step = x.shape, rate
    if "kernel_flipped" in wrong:
        w = w[::-1, ::-1]
    if "kh_kw_swapped" in wrong and w.shape[0] == w.shape[1]:
        w = w.swapaxes(0, 1)
    if "holes_filled" in wrong:
        w, rate, step = w.repeat(rate, axis=0).repeat(rate, axis=1), 1, 1
    if "rate_counts_the_holes" in wrong:
        rate = step = rate + 1
    if "rate_ignored" in wrong:
        rate = step = 1
    if "one_phase_only" in wrong:
        x = x[:, ::rate, ::rate]
        step = 1
    padded = _wrongly_padded(wrong, x, w, step)
    if "rate_only_in_the_padding" in wrong:
        step = 1
    kh, kw, _, k = w.shape
    oh, ow = padded.shape[1] - (kh - 1) * step, padded.shape[2] - (kw - 1) * step
    if wrong & {"rate_only_in_the_padding", "half_the_kernel", "padding_of_a_3x3"}:
        oh, ow = min(oh, x.shape[1]), min(ow, x.shape[2])
    y = np.zeros((n, max(oh, 0), max(ow, 0), k), x.dtype)
    for i, j in np.ndindex(kh, kw):
        seen = padded[:, i * step : i * step + oh, j * step : j * step + ow][:, : len(y[0]), : y.shape[2]]
        tap = seen[..., -1:] * w[i, j, -1] if "last_channel_only" in wrong else seen @ w[i, j]
        y = tap if "overlaps_overwritten" in wrong else y + tap
    if "one_phase_only" in wrong:
        y = y.repeat(rate, axis=1).repeat(rate, axis=2)[:, :h, :v]
    if "first_image_only" in wrong:
        y[1:] = 0
    return y[:, ::rate, ::rate] if "rate_is_a_stride" in wrong else y


def _wrongly_padded(wrong: frozenset[str], x: Array, w: Array, rate: int) -> Array:
    """`_padded` with these mistakes made."""
    if "rate_not_in_the_padding" in wrong or "rate_is_a_stride" in wrong:
        rate = 1
    pads = [(0, 0)]
    for size in w.shape[:2]:
        total = (size - 1) * rate
        before = total // 2
        if "padding_after_only" in wrong:
            before = 0
        if "odd_pixel_before" in wrong:
            before = total - total // 2
        if "padding_before_only" in wrong:
            before = total
        after = total - before
        if "half_the_kernel" in wrong:
            before = after = size // 2 * rate
        if "padding_of_a_3x3" in wrong:
            before = after = rate
        pads.append((before, after))
    return np.pad(x, (*pads, (0, 0)), mode="edge" if "edges_repeated" in wrong else "constant")


_LINE = Text(
    "y += padded[:, i*rate : i*rate + H, j*rate : j*rate + W] @ w[i, j]",
    "y += padded[:, i*rate : i*rate + H, j*rate : j*rate + W] @ w[i, j]",
)
_PAD_LINE = Text(
    "total = (KH - 1) * rate; np.pad(x, ((0, 0), (total // 2, total - total // 2), ..., (0, 0)))",
    "total = (KH - 1) * rate；np.pad(x, ((0, 0), (total // 2, total - total // 2), ..., (0, 0)))",
)
_CONCEPT = Text(
    "The weights stay, only where they look changes: tap (i, j) looks i*rate rows and j*rate columns away from tap (0, "
    "0). Every pixel of the picture still gets an output.",
    "权重不变，变的只是看哪里：位置 (i, j) 离位置 (0, 0) 有 i*rate 行、j*rate 列。图中每个像素仍然有一个输出。",
)
_PAD_CONCEPT = Text(
    "The kernel with its holes reaches over (KH - 1)*rate + 1 rows: so much more zeros does it take for y to be as large "
    "as x and to lie on it centre on centre.",
    "带空洞的卷积核覆盖 (KH - 1)*rate + 1 行：要让 y 与 x 一样大、中心对中心，就要相应地多填充 0。",
)

MISTAKES = (
    Mistake(
        "rate_ignored",
        Text("The rate is left out: this is the ordinary convolution.", "没有用到空洞率：这是普通卷积。"),
        _LINE,
    ),
    Mistake(
        "rate_is_a_stride",
        Text(
            "The rate was used as a stride: it thins out the output. It should spread the kernel and keep every output pixel.",
            "把空洞率当成了步长：输出变稀了。空洞率应当拉开卷积核，而保留每个输出像素。",
        ),
        _LINE,
    ),
    Mistake(
        "rate_counts_the_holes",
        Text(
            "The rate is taken for the number of zeros between two taps; it is the distance, so there are rate - 1 zeros.",
            "把空洞率当成了相邻位置之间 0 的个数；它其实是距离，中间只有 rate - 1 个 0。",
        ),
        _LINE,
    ),
    Mistake(
        "holes_filled",
        Text(
            "The kernel was enlarged by repeating its entries (np.repeat). Between the taps belong zeros.",
            "放大卷积核时重复了元素（np.repeat）。各位置之间应当是 0。",
        ),
        _LINE,
    ),
    Mistake(
        "one_phase_only",
        Text(
            "Every rate-th pixel of x was convolved and the result repeated. That is one of rate*rate coarse pictures; "
            "the others have to be convolved too.",
            "只对每隔 rate 取一个的像素做了卷积，再把结果重复。这只是 rate*rate 幅粗图中的一幅，其余的也要算。",
        ),
        _LINE,
    ),
    Mistake(
        "rate_only_in_the_padding",
        Text(
            "The padding knows the rate, but the taps lie one pixel apart.",
            "填充考虑了空洞率，卷积核各位置却只相隔一个像素。",
        ),
        _LINE,
    ),
    Mistake(
        "rate_not_in_the_padding",
        Text(
            "The padding is that of rate 1, KH - 1 in all: y is smaller than x.",
            "填充仍按空洞率 1 计算（总共 KH - 1）：y 比 x 小。",
        ),
        _PAD_LINE,
        _PAD_CONCEPT,
    ),
    Mistake(
        "half_the_kernel",
        Text(
            "KH // 2 * rate zeros stand on both sides, PyTorch's habit. That is right for odd kernels only.",
            "两侧各填充 KH // 2 * rate 个 0（PyTorch 的习惯）。只有奇数大小的卷积核才对。",
        ),
        _PAD_LINE,
        _PAD_CONCEPT,
    ),
    Mistake(
        "padding_of_a_3x3",
        Text(
            "rate zeros stand on every side (padding=dilation in PyTorch). That is right for a 3x3 only.",
            "四边各填充 rate 个 0（即 PyTorch 的 padding=dilation）。只有 3x3 的卷积核才对。",
        ),
        _PAD_LINE,
        _PAD_CONCEPT,
    ),
    Mistake(
        "padding_after_only",
        Text(
            "All zeros stand after the picture. Half of them belong before it.",
            "0 全部填在了图像之后，其中一半应当在前。",
        ),
        _PAD_LINE,
        _PAD_CONCEPT,
    ),
    Mistake(
        "odd_pixel_before",
        Text(
            "Where the number of zeros is odd, the odd one stands before. TensorFlow puts it after.",
            "填充总数为奇数时，多出的一个放在了前面。TensorFlow 放在后面。",
        ),
        _PAD_LINE,
        _PAD_CONCEPT,
    ),
    Mistake(
        "kernel_flipped",
        Text(
            "The kernel is turned by 180 degrees, as mathematics does. Neural networks do not turn it.",
            "卷积核旋转了 180 度，这是数学的定义；神经网络不翻转。",
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
        "padding_before_only",
        Text(
            "All of the padding lies before the picture, above and left of it. Half of it belongs behind.",
            "填充全放在了图像之前（上方和左方），其中一半应当放在后面。",
        ),
        _PAD_LINE,
        _PAD_CONCEPT,
    ),
    Mistake(
        "edges_repeated",
        Text(
            "The padding repeats the pixels at the edge (mode='edge'). SAME pads with zeros.",
            "填充时重复了边缘像素（mode='edge'）。SAME 填充的是 0。",
        ),
        _PAD_LINE,
        _PAD_CONCEPT,
    ),
)

EXERCISE = Exercise(
    name="atrous_conv2d",
    title=Text("Atrous convolution", "空洞卷积"),
    task=TASK,
    equation="y[n,p,q,k] = sum_{i,j,c} x[n, p + i*rate - top, q + j*rate - left, c] * w[i,j,c,k]",
    presupposes=("conv2d_loops", "conv2d_same_padding"),
    notebook="09",
    minutes=15,
    stub=atrous_conv2d,
    answer=answer,
    also_right=(with_holes, phase_by_phase, one_number_at_a_time),
    outputs=(Output("y", "NHWK", _CONCEPT, _LINE),),
    cases=cases,
    attempt=attempt,
    mistakes=MISTAKES,
)
