"""max_pool2d_backward: the gradient goes to the pixel that won, and windows that overlap may share a winner."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from ... import ops
from ...backend import Array
from ...ops import MaxPool2DSaved
from ..exercise import Case, Exercise, Mistake, Output, Rng
from ..language import Text

TASK = Text(
    en="""\
Max pooling keeps the largest number of each window; output pixel (p, q) of an image and a channel sees the KH x KW pixels
(p*SH + i - top, q*SW + j - left), 0 <= i < KH, 0 <= j < KW. Write its backward pass.

- `dy` [N, OH, OW, C]: the gradient of the loss with respect to y.
- `saved.winner` [N, OH, OW, C], integers: which pixel of its window was the largest, as the number i*KW + j; never one of the padding.
- `saved.shape`: x's, (N, H, W, C). `saved.windows`: `.kernel` = (KH, KW), `.stride` = (SH, SW),
  `.pads` = ((top, bottom), (left, right)), `.size` = (OH, OW).
- Return dx [N, H, W, C], of dy's dtype.

ResNet's own has 3x3 windows and stride 2: neighbours overlap, and one pixel can win in as many as four.
""",
    zh="""\
最大池化保留每个窗口中最大的数；对每幅图像、每个通道，输出像素 (p, q) 看到 KH x KW 个像素
(p*SH + i - top, q*SW + j - left)，0 <= i < KH，0 <= j < KW。请写出它的反向传播。

- `dy` [N, OH, OW, C]：损失对 y 的梯度。
- `saved.winner` [N, OH, OW, C]，整数：窗口中哪个像素最大，记作 i*KW + j。填充的像素永远不会胜出。
- `saved.shape`：x 的形状 (N, H, W, C)。`saved.windows`：`.kernel` = (KH, KW)，`.stride` = (SH, SW)，
  `.pads` = ((top, bottom), (left, right))，`.size` = (OH, OW)。
- 返回 dx [N, H, W, C]，数据类型与 dy 相同。

ResNet 用的是 3x3 窗口、步长 2：相邻窗口重叠，一个像素最多可以在四个窗口中胜出。
""",
)


def max_pool2d_backward(dy: Array, saved: MaxPool2DSaved) -> Array:
    """dy [N, OH, OW, C] -> dx [N, H, W, C]"""
    raise NotImplementedError("max_pool2d_backward is not written yet")


def answer(dy: Array, saved: MaxPool2DSaved) -> Array:
    """dx[n, p*SH + i - top, q*SW + j - left, c] += dy[n,p,q,c], with i*KW + j = winner[n,p,q,c]; tap by tap on the padded map."""
    (n, h, w, c), win = saved.shape, saved.windows
    (kh, kw), (sh, sw), (oh, ow) = win.kernel, win.stride, win.size
    (top, bottom), (left, right) = win.pads
    padded = np.zeros((n, top + h + bottom, left + w + right, c), dy.dtype)
    for i in range(kh):
        for j in range(kw):
            rows, columns = slice(i, i + sh * (oh - 1) + 1, sh), slice(j, j + sw * (ow - 1) + 1, sw)
            padded[:, rows, columns] += dy * (saved.winner == i * kw + j)
    return padded[:, top : top + h, left : left + w].copy()


def by_add_at(dy: Array, saved: MaxPool2DSaved) -> Array:
    """The same as a scatter: where each winner is, then np.add.at, which adds up what meets at one place."""
    win = saved.windows
    n, p, q, c = np.indices(dy.shape)
    i, j = np.divmod(saved.winner.astype(int), win.kernel[1])
    dx = np.zeros(saved.shape, dy.dtype)
    np.add.at(dx, (n, p * win.stride[0] + i - win.pads[0][0], q * win.stride[1] + j - win.pads[1][0], c), dy)
    return dx


def by_loops(dy: Array, saved: MaxPool2DSaved) -> Array:
    """The same, window by window, added up in float64."""
    win = saved.windows
    dx = np.zeros(saved.shape)
    for n, p, q, c in np.ndindex(*dy.shape):
        i, j = divmod(int(saved.winner[n, p, q, c]), win.kernel[1])
        dx[n, p * win.stride[0] + i - win.pads[0][0], q * win.stride[1] + j - win.pads[1][0], c] += dy[n, p, q, c]
    return dx.astype(dy.dtype)


def cases(rng: Rng, dtype: Any) -> Iterator[Case]:
    """ResNet's windows on an odd and an even side; a row left over; a window that is not square. No ties: see max_pool_ties."""
    for shape, kernel, stride, padding, about in (
        (
            (1, 5, 6, 2),
            (3, 3),
            (2, 2),
            "SAME",
            Text("3x3 windows, stride 2, SAME, 5x6 pixels", "3x3，步长 2，SAME，5x6 像素"),
        ),
        (
            (2, 5, 4, 2),
            (2, 2),
            (2, 2),
            "VALID",
            Text("2x2 windows, stride 2, a row left over", "2x2，步长 2，剩下一行"),
        ),
        ((2, 4, 5, 2), (3, 2), (1, 2), "VALID", Text("3x2 windows, stride (1, 2)", "3x2，步长 (1, 2)")),
    ):
        size = int(np.prod(shape))
        x = ((rng.permutation(size) - size // 2) * 0.1).reshape(shape).astype(dtype)  # all different
        rising = 0.1 * (
            size + np.arange(shape[2])
        )  # row 1 is above all and seen by several windows, in the channels the other way round
        x[:, 1, :, 0], x[:, 1, :, 1] = rising, rising[::-1]
        y, saved = ops.max_pool2d_forward(x, kernel, stride, padding)
        dy = (rng.uniform(0.5, 2, y.shape) * rng.choice((-1, 1), y.shape)).astype(dtype)
        forward = partial(_forward, options=(kernel, stride, padding))
        yield Case(about, (dy, saved), forward=forward, arrays=(x,))


def _forward(x: Array, options: tuple[Any, ...]) -> Array:
    return ops.max_pool2d_forward(x, *options)[0]


def attempt(wrong: frozenset[str], dy: Array, saved: MaxPool2DSaved) -> Array:
    """`answer` with these mistakes made."""
    (n, h, w, c), win = saved.shape, saved.windows
    (kh, kw), (sh, sw), (oh, ow) = win.kernel, win.stride, win.size
    (top, bottom), (left, right) = win.pads
    if "leftover_rows_lost" in wrong:
        h, w = sh * (oh - 1) + kh - top - bottom, sw * (ow - 1) + kw - left - right
    winner = saved.winner[..., :1] if "winner_of_first_channel" in wrong else saved.winner
    order = [(i, j, p, q) for i, j, p, q in np.ndindex(kh, kw, oh, ow)]  # tap by tap
    if "taps_overwritten" not in wrong:
        order.sort(key=lambda spot: spot[2:])  # window by window
    if "stride_of_rows_for_both" in wrong:
        sw = sh
    if "strides_exchanged" in wrong:
        sh, sw = sw, sh
    if "pads_exchanged" in wrong:
        top, bottom, left, right = left, right, top, bottom
    if "stride_ignored" in wrong:
        sh = sw = 1
    if "dy_forgotten" in wrong:
        dy = np.ones_like(dy)
    if "crop_on_the_wrong_side" in wrong:
        top, bottom, left, right = bottom, top, right, left
    room = max(kh, kw)  # a pixel in the wrong place may lie behind the padding
    padded = np.zeros((n, top + h + bottom + room, left + w + right + room, c), dy.dtype)
    for i, j, p, q in order:
        code = i * (kh if "kh_kw_swapped" in wrong else kw) + j
        row, column = (j, i) if "row_column_swapped" in wrong else (i, j)
        if "divided_by_kh" in wrong:
            row, column = divmod(code, kh)
        won = winner[:, p, q] == code
        if "every_pixel_wins" in wrong or "shared_equally" in wrong:
            won = np.ones_like(won)
        share = dy[:, p, q] * won / (kh * kw if "shared_equally" in wrong else 1)
        spot = padded[:, p * sh + row, q * sw + column]  # a view
        if "taps_overwritten" in wrong or "windows_overwritten" in wrong:
            spot[:] = share
        elif "overlaps_overwritten" in wrong:
            spot[:] = np.where(won, share, spot)
        else:
            spot += share
    if "crop_off_by_one" in wrong:
        return padded[:, :h, :w].copy()
    return padded[:, top : top + h, left : left + w].copy()


_CONCEPT = Text(
    "y of a window is a copy of one pixel: dy goes to that pixel and to no other. A pixel that was copied into several windows "
    "gets the sum of their dy.",
    "窗口的 y 是其中一个像素的拷贝：dy 只传给那个像素。若一个像素被拷贝进了几个窗口，它的梯度就是这些窗口的 dy 之和。",
)
_LINE = Text(
    "row = p * SH + i - top; column = q * SW + j - left; dx[n, row, column, c] += dy[n, p, q, c], "
    "with i, j = divmod(winner[n, p, q, c], KW)",
    "row = p * SH + i - top; column = q * SW + j - left; dx[n, row, column, c] += dy[n, p, q, c]，"
    "其中 i, j = divmod(winner[n, p, q, c], KW)",
)
_ADD = Text(
    "dx[n, row, column, c] += dy[n, p, q, c]: += and not = (and for arrays of indices np.add.at, since dx[index] += adds only once)",
    "dx[n, row, column, c] += dy[n, p, q, c]：是 += 而不是 =（用下标数组时要用 np.add.at，因为 dx[index] += 对重复的下标只加一次）",
)
_DECODE = Text(
    "i, j = divmod(winner, KW): the winner's number is i * KW + j", "i, j = divmod(winner, KW)：胜者的编号是 i * KW + j"
)
_SUM = Text(
    "Windows overlap where the stride is smaller than the kernel. Whatever was used several times gets the sum of all its gradients.",
    "步长小于窗口时，窗口彼此重叠。一个值被用了几次，它的梯度就是几处梯度之和。",
)
_GEOMETRY = Text(
    "Backward must meet the same pixels as forward did: the same window, the same stride, the same padding, and x's own size.",
    "反向传播碰到的必须是前向传播用过的那些像素：同样的窗口、步长、填充，以及 x 本来的大小。",
)

MISTAKES = (
    Mistake(
        "overlaps_overwritten",
        Text(
            "A winner's gradient is written (=) and not added (+=): a pixel that won in several windows keeps the last one's only.",
            "胜者的梯度是写入（=）而不是累加（+=）：在几个窗口中都胜出的像素只留下最后一个窗口的梯度。",
        ),
        _ADD,
        _SUM,
    ),
    Mistake(
        "windows_overwritten",
        Text(
            "Window by window, the whole window of dx is written (=): its zeros wipe out what its neighbours had put there.",
            "逐个窗口处理时把 dx 的整个窗口都覆盖了（=）：其中的零抹掉了相邻窗口已写入的梯度。",
        ),
        _ADD,
        _SUM,
    ),
    Mistake(
        "taps_overwritten",
        Text(
            "Tap by tap (i, j), the strided slice of dx is written (=): each tap wipes out what earlier taps had put there.",
            "按窗口内位置 (i, j) 逐个处理时，对 dx 的切片用了赋值（=）：后面的位置抹掉了前面已写入的梯度。",
        ),
        _ADD,
        _SUM,
    ),
    Mistake(
        "every_pixel_wins",
        Text(
            "Every pixel of a window gets dy: the mask of the winner is missing.",
            "窗口中的每个像素都得到了 dy：漏了胜者的掩码。",
        ),
        _LINE,
    ),
    Mistake(
        "shared_equally",
        Text(
            "dy is shared equally among the pixels of a window: that is average pooling's gradient.",
            "dy 平均分给了窗口中的所有像素：那是平均池化的梯度。",
        ),
        _LINE,
    ),
    Mistake(
        "winner_of_first_channel",
        Text(
            "The winner of channel 0 is used for all channels. Each channel is pooled by itself and has winners of its own.",
            "所有通道都用了第 0 个通道的胜者。各通道分别池化，各有各的胜者。",
        ),
        Text("winner[n, p, q, c]: with the channel's index too", "winner[n, p, q, c]：通道的下标也要带上"),
    ),
    Mistake(
        "kh_kw_swapped",
        Text(
            "The winner is compared with i * KH + j, and not with i * KW + j. It makes no difference for square windows.",
            "比较胜者编号时用了 i * KH + j，而不是 i * KW + j。窗口是正方形时没有差别。",
        ),
        _DECODE,
    ),
    Mistake(
        "row_column_swapped",
        Text(
            "i and j are the wrong way round: the remainder was taken for the row. The numbers go along a row first.",
            "i 与 j 弄反了：把余数当成了行。编号是先沿着一行递增的。",
        ),
        _DECODE,
    ),
    Mistake(
        "stride_ignored",
        Text(
            "Window (p, q) is taken to begin at pixel (p, q), not at (p * SH, q * SW).",
            "以为窗口 (p, q) 从像素 (p, q) 开始，其实是从 (p * SH, q * SW) 开始。",
        ),
        _LINE,
        _GEOMETRY,
    ),
    Mistake(
        "crop_off_by_one",
        Text(
            "The padding is not taken off: dx is cut out of the padded map from its corner, and so lies shifted.",
            "没有减去填充：从带填充的图的左上角开始裁剪 dx，于是整体错位。",
        ),
        Text("dx = padded[:, top : top + H, left : left + W]", "dx = padded[:, top : top + H, left : left + W]"),
        _GEOMETRY,
    ),
    Mistake(
        "leftover_rows_lost",
        Text(
            "dx is as large as the windows reach. Rows that no window saw are missing, and x's shape with them.",
            "dx 的大小只到窗口所及之处：没有被任何窗口看到的行丢了，形状也就与 x 不同。",
        ),
        Text(
            "dx = np.zeros(saved.shape, dy.dtype): what no window saw gets 0",
            "dx = np.zeros(saved.shape, dy.dtype)：没有窗口看到的像素梯度为 0",
        ),
        _GEOMETRY,
    ),
    Mistake(
        "divided_by_kh",
        Text(
            "The winner's number is taken apart with KH and not with KW. It makes no difference for square windows, "
            "so it goes unnoticed.",
            "拆分胜者编号时用了 KH 而不是 KW。窗口是正方形时没有差别，所以不易察觉。",
        ),
        _DECODE,
    ),
    Mistake(
        "crop_on_the_wrong_side",
        Text(
            "The padding that is taken off is (bottom, right), not (top, left). With equal padding nobody notices.",
            "减去的填充是 (bottom, right)，而不是 (top, left)。两侧填充相等时看不出来。",
        ),
        Text(
            "row = p * SH + i - top; column = q * SW + j - left", "row = p * SH + i - top; column = q * SW + j - left"
        ),
        _GEOMETRY,
    ),
    Mistake(
        "dy_forgotten",
        Text(
            "Each winner gets a 1 a window: the mask stands in the place of mask times dy.",
            "每个窗口给胜者的都是 1：只用了掩码，没有乘 dy。",
        ),
        _LINE,
    ),
    Mistake(
        "stride_of_rows_for_both",
        Text("stride[0], that of the height, is used for the width too.", "宽也用了高的 stride[0]。"),
        _LINE,
        _GEOMETRY,
    ),
    Mistake(
        "strides_exchanged",
        Text(
            "stride[0] and stride[1] are exchanged: rows move by SH, columns by SW.",
            "stride[0] 与 stride[1] 用反了：行按 SH 移动，列按 SW 移动。",
        ),
        _LINE,
        _GEOMETRY,
    ),
    Mistake(
        "pads_exchanged",
        Text(
            "pads[0] and pads[1] are exchanged: (top, bottom) is height's, (left, right) is width's.",
            "pads[0] 与 pads[1] 用反了：(top, bottom) 属于高，(left, right) 属于宽。",
        ),
        _LINE,
        _GEOMETRY,
    ),
)

EXERCISE = Exercise(
    name="max_pool2d_backward",
    title=Text("Max pooling, backward", "最大池化的反向传播"),
    task=TASK,
    equation="dx[n,h,w,c] = sum_{p,q} dy[n,p,q,c] if (h, w) == winner(n,p,q,c) else 0",
    presupposes=("relu_backward", "col2im"),
    notebook="07",
    minutes=20,
    stub=max_pool2d_backward,
    answer=answer,
    also_right=(by_add_at, by_loops),
    outputs=(Output("dx", "NHWC", _CONCEPT, _LINE),),
    cases=cases,
    attempt=attempt,
    mistakes=MISTAKES,
    op="max_pool2d_backward",
)
