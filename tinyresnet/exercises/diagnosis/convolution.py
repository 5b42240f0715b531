"""Is a wrong gradient of a convolution the right one of something else? Of a flipped kernel, of another rate, cut out at another place?

All of these are tried, and together with a factor, so that two or three mistakes at once show as well.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...backend import Array
from ...ops.conv2d import im2col
from ...ops.windows import windows
from ..exercise import Case, Finding
from ..language import Text
from .library import close

Kernel = Callable[[Array], Array]
Names = tuple[str, ...]
DW_NAMES = {"kernel_flipped": "dw_flipped", "batch_mean": "dw_batch_mean"}  # as the exercises call them there
Hypotheses = Callable[[Array, Array, Any], Iterator[tuple[Names, Text]]]
KERNELS: tuple[tuple[tuple[str, ...], Text, Kernel], ...] = (
    ((), Text("", ""), lambda w: w),
    (
        ("kernel_flipped",),
        Text("a kernel flipped in both directions", "上下左右都翻转的卷积核"),
        lambda w: w[::-1, ::-1],
    ),
    (("kernel_flipped_vertically",), Text("a kernel flipped upside down", "上下翻转的卷积核"), lambda w: w[::-1]),
    (
        ("kernel_flipped_horizontally",),
        Text("a kernel flipped left to right", "左右翻转的卷积核"),
        lambda w: w[:, ::-1],
    ),
    (
        ("kh_kw_swapped",),
        Text("a kernel with rows and columns swapped", "行列互换的卷积核"),
        lambda w: w.swapaxes(0, 1),
    ),
    (
        ("kernel_flipped", "kh_kw_swapped"),
        Text("a kernel flipped, with rows and columns swapped", "翻转且行列互换的卷积核"),
        lambda w: w[::-1, ::-1].swapaxes(0, 1),
    ),
)


def explain_dx(output: int, cases: list[Case], came: list[Array]) -> Finding | None:
    """The finding about dx, in an exercise whose arguments are (dy, Conv2DSaved)."""
    return _explained(cases, came, "x", _dx_hypotheses)


def explain_dw(output: int, cases: list[Case], came: list[Array]) -> Finding | None:
    """The finding about dw, in an exercise whose arguments are (dy, Conv2DSaved)."""
    return _explained(cases, came, "w", _dw_hypotheses)


def _explained(cases: list[Case], came: list[Array], of: str, hypotheses: Hypotheses) -> Finding | None:
    """The shortest hypothesis that fits every case. Rows and columns of a kernel that is not square cannot be swapped: it fits there."""
    fitting: list[tuple[bool, dict[Names, Text]]] = []  # (square kernel, hypothesis -> words) for each case
    for case, gradient in zip(cases, came, strict=True):
        dy, saved = case.args[:2]
        if gradient.shape != getattr(saved, of).shape or not np.isfinite(gradient).all() or not gradient.any():
            return None
        square = saved.w.shape[0] == saved.w.shape[1]
        fitting.append((square, dict(hypotheses(gradient, dy, saved))))
    every = {names: text for _, here in fitting for names, text in here.items()}
    whole = [
        names
        for names in every
        if all(names in here or ("kh_kw_swapped" in names and not square) for square, here in fitting)
    ]
    names = min(whole, key=len, default=())
    return Finding(names, every[names]) if names else None


def _dx_hypotheses(dx: Array, dy: Array, saved: Any) -> Iterator[tuple[tuple[str, ...], Text]]:
    (top, bottom), (left, right) = saved.pads
    h, w = saved.x.shape[1:3]
    for transposed, rate in itertools.product((False, True), dict.fromkeys((saved.rate, (1, 1)))):
        for names, kernel_text, of in KERNELS:
            kernel = of(saved.w)
            if kernel.shape[:2] != saved.w.shape[:2] or (transposed and kernel.shape[2] != kernel.shape[3]):
                continue
            padded = _scattered(dy, kernel.swapaxes(2, 3) if transposed else kernel, saved, rate)
            for i, j in itertools.product(range(top + bottom + 1), range(left + right + 1)):
                factor = _factor(dx, padded[:, i : i + h, j : j + w], len(dy))
                if factor is None:
                    continue
                said, texts = list(names), [kernel_text] if names else []
                if transposed:
                    said.append("weights_not_transposed")
                    texts.append(Text("w in the place of its transpose", "没有转置的 w"))
                if rate != saved.rate:
                    said.append("rate_ignored")
                    texts.append(Text("rate 1", "空洞率 1"))
                if (i, j) != (top, left):
                    crops = {(0, 0): "crop_off_by_one", (bottom, right): "crop_on_the_wrong_side"}
                    said.append(crops.get((i, j), "crop_shifted"))
                    texts.append(
                        Text(
                            f"a crop that starts at ({i}, {j}) and not at ({top}, {left})",
                            f"从 ({i}, {j}) 而不是 ({top}, {left}) 开始的裁剪",
                        )
                    )
                if said or not factor:
                    yield (*said, *factor), _sentence("dx", texts, factor)


def _dw_hypotheses(dw: Array, dy: Array, saved: Any) -> Iterator[tuple[tuple[str, ...], Text]]:
    for rate in dict.fromkeys((saved.rate, (1, 1))):
        right = _correlated(dy, saved, rate)
        for names, kernel_text, of in KERNELS:
            for transposed in (False, True):
                made = of(right).swapaxes(2, 3) if transposed else of(right)
                factor = _factor(dw, made, len(dy))
                if factor is None:
                    continue
                said, texts = [DW_NAMES.get(name, name) for name in names], [kernel_text] if names else []
                if transposed:
                    said.append("channels_swapped")
                    texts.append(Text("input and output channels swapped", "输入输出通道互换"))
                if rate != saved.rate:
                    said.append("rate_ignored")
                    texts.append(Text("rate 1", "空洞率 1"))
                if said or not factor:  # a mere factor is looked for elsewhere, with names for more of them
                    yield (*said, *(DW_NAMES.get(name, name) for name in factor)), _sentence("dw", texts, factor)


def _sentence(name: str, texts: list[Text], factor: list[str]) -> Text:
    if factor:
        texts = [*texts, Text("a factor (" + factor[0] + ")", "一个因子（" + factor[0] + "）")]
    return Text(
        f"{name} is the right answer for " + ", and ".join(text.en for text in texts),
        f"{name} 恰好等于采用下列做法的结果：" + "，".join(text.zh for text in texts),
    )


def _factor(came: Array, made: Array, n: int) -> list[str] | None:
    """The names that `came = factor * made` needs; None if there is no such factor."""
    if came.shape != made.shape:
        return None
    size = float((made * made).sum())
    factor = float((came * made).sum()) / size if size else 0.0
    if not factor or not close(came, factor * made):
        return None
    for value, names in ((1.0, []), (-1.0, ["sign_flipped"]), (1 / n, ["batch_mean"])):
        if abs(factor / value - 1) < 1e-6:
            return list(names)
    return ["scaled"]


def _scattered(dy: Array, w: Array, saved: Any, rate: tuple[int, int]) -> Array:
    """The gradient of the padded images: each output pixel gives to those that it saw."""
    (top, bottom), (left, right) = saved.pads
    n, h, width, c = saved.x.shape
    padded = np.zeros((n, top + h + bottom, left + width + right, c))
    (oh, ow), (sh, sw) = dy.shape[1:3], saved.stride
    for i, j in np.ndindex(*w.shape[:2]):
        rows = slice(i * rate[0], i * rate[0] + sh * (oh - 1) + 1, sh)
        cols = slice(j * rate[1], j * rate[1] + sw * (ow - 1) + 1, sw)
        padded[:, rows, cols] += dy @ w[i, j].T
    return padded


def _correlated(dy: Array, saved: Any, rate: tuple[int, int]) -> Array:
    """dw, as if the forward pass had had this rate."""
    win = windows(saved.x.shape, saved.w.shape[:2], saved.stride, rate, saved.pads)
    oh, ow = dy.shape[1:3]
    col = im2col(saved.x, win)[:, :oh, :ow]
    correlated: Array = np.einsum("nhwijc,nhwk->ijck", col, dy)
    return correlated
