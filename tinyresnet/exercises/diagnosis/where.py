"""Where is an output wrong, and how? What can be said of any mistake, whether or not somebody has made it before."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from ...backend import Array
from ..language import Text

NAMES = {
    "N": Text("image", "图像"),
    "H": Text("row", "行"),
    "W": Text("column", "列"),
    "C": Text("channel", "通道"),
    "K": Text("output channel", "输出通道"),
    "I": Text("kernel row", "卷积核的行"),
    "J": Text("kernel column", "卷积核的列"),
}
SAME = 1e-6


def patterns(came: Array, right: Array, axes: str, tolerance: float) -> list[Text]:
    """What strikes one about the wrong entries, the most telling first. Both arrays have the same shape and finite entries."""
    largest = float(np.abs(right).max()) or 1.0
    wrong = np.abs(came - right) > tolerance * largest
    if not wrong.any():
        return []
    found = [
        *_zeros(came, right, wrong, largest),
        *_ratio(came, right, axes, largest),
        *_difference(came - right, axes, largest),
        *_signs(came, right, largest),
        *_concentrated(wrong, axes),
        *_total(came, right, largest),
    ]
    return [*found, _share(wrong)]


def letters(ndim: int, axes: str) -> list[str]:
    """A letter an axis: "...C" is filled up from the left with N, H, W."""
    if axes in ("...", "...C"):
        axes = {4: "NHWC", 3: "NWC", 2: "NC", 1: "i"}.get(ndim, "")
    return list(axes) if len(axes) == ndim else [f"axis {i}" for i in range(ndim)]


def _share(wrong: Array) -> Text:
    count, size = int(wrong.sum()), wrong.size
    if size == 1:
        return Text("the number is wrong", "这个数不对")
    if count == size:
        return Text("every entry is wrong", "所有元素都不对")
    return Text(f"{count} of {size} entries {'is' if count == 1 else 'are'} wrong", f"{size} 个元素中有 {count} 个不对")


def _zeros(came: Array, right: Array, wrong: Array, largest: float) -> Iterator[Text]:
    small = SAME * largest
    lost, extra = (np.abs(came) <= small) & wrong, (np.abs(right) <= small) & wrong
    if lost.sum() == wrong.sum() and lost.any():
        yield Text(
            f"what is wrong is zero: {int(lost.sum())} of {wrong.size} entries got nothing at all",
            f"不对的元素都是零：{wrong.size} 个元素中有 {int(lost.sum())} 个什么也没得到",
        )
    elif extra.sum() == wrong.sum() and extra.any():
        yield Text(
            "an entry that should be zero is not; the others are right"
            if extra.sum() == 1
            else f"{int(extra.sum())} entries that should be zero are not; the others are right",
            f"有 {int(extra.sum())} 个应为零的元素不是零；其余都对",
        )
    elif (lost | extra).sum() == wrong.sum() and wrong.any():
        yield Text(
            f"it came to the wrong places: zero where it should not be ({int(lost.sum())}), and not where it should ({int(extra.sum())})",
            f"落到了错误的位置：不该为零的为零（{int(lost.sum())} 个），该为零的不为零（{int(extra.sum())} 个）",
        )


def _ratio(came: Array, right: Array, axes: str, largest: float) -> Iterator[Text]:
    """Is yours / right the same number all over, or along some axes?"""
    safe = np.abs(right) > 1e-3 * largest
    ratio = np.where(safe, came / np.where(safe, right, 1), np.nan)
    size = SAME * max(1.0, float(np.nanmax(np.abs(ratio), initial=0.0)))
    for over in _subsets(right.ndim):
        if np.prod([right.shape[i] for i in over]) == 1:
            continue  # one entry has one ratio
        low, high = _extremes(ratio, over)
        if np.nanmax(high - low, initial=0.0) <= size:
            values = low.ravel()
            if np.abs(values - 1).max() <= SAME or np.abs(values).max() <= SAME:
                return  # right, or zero, wherever it should not be zero: said elsewhere
            if safe.sum(over).max() < 2:
                return  # one entry in each group always has one ratio
            if len(over) == right.ndim:
                yield Text(
                    f"yours / right is {values[0] + 0.0:.4g} in every entry",
                    f"你的 / 正确的 处处等于 {values[0] + 0.0:.4g}",
                )
            else:
                within = _within(right.ndim, axes, over)
                shown = ", ".join(f"{v + 0.0:.3g}" for v in values[:6]) + (", …" if values.size > 6 else "")
                yield Text(
                    f"{within.en} yours / right is one number: {shown}",
                    f"{within.zh}“你的 / 正确的”是同一个数：{shown}",
                )
            return


def _difference(difference: Array, axes: str, largest: float) -> Iterator[Text]:
    """Is yours - right the same number along some axes?"""
    for over in _subsets(difference.ndim):
        low, high = _extremes(difference, over)
        if (high - low).max() <= SAME * largest and np.prod([difference.shape[i] for i in over]) > 1:
            within = _within(difference.ndim, axes, over)
            yield Text(
                f"{within.en} the error (yours - right) is one number",
                f"{within.zh}误差（你的 - 正确的）是同一个数",
            )
            return


def _subsets(ndim: int) -> Iterator[tuple[int, ...]]:
    """Axes to look along, all of them first."""
    for size in range(ndim, 0, -1):
        yield from itertools.combinations(range(ndim), size)


def _extremes(a: Array, over: tuple[int, ...]) -> tuple[Array, Array]:
    with np.errstate(invalid="ignore"):
        empty = np.isnan(a).all(over, keepdims=True)
        filled = np.where(empty, 0, a)
        return np.nanmin(filled, over), np.nanmax(filled, over)


def _within(ndim: int, axes: str, over: tuple[int, ...]) -> Text:
    """In each channel (over N, H, W)."""
    named = letters(ndim, axes)
    along = ", ".join(named[i] for i in over)
    rest = [named[i] for i in range(ndim) if i not in over]
    if not rest:
        return Text("everywhere", "处处")
    each = Text(
        " and ".join(f"each {NAMES[r].en}" if r in NAMES else f"each {r}" for r in rest),
        "、".join(f"每个{NAMES[r].zh}" if r in NAMES else f"每个 {r}" for r in rest),
    )
    return Text(f"in {each.en} (over {along})", f"在{each.zh}内（沿 {along}）")


def _signs(came: Array, right: Array, largest: float) -> Iterator[Text]:
    if np.abs(np.abs(came) - np.abs(right)).max() <= SAME * largest:
        count = int((np.sign(came) != np.sign(right)).sum())
        yield Text(
            f"the sizes are right, but {count} sign{'s are' if count > 1 else ' is'} not",
            f"绝对值都对，但有 {count} 个符号不对",
        )


def _concentrated(wrong: Array, axes: str) -> Iterator[Text]:
    """Wrong only at some places along an axis, or right only there."""
    named = letters(wrong.ndim, axes)
    for i, letter in enumerate(named):
        length = wrong.shape[i]
        others = tuple(k for k in range(wrong.ndim) if k != i)
        at = np.flatnonzero(wrong.any(others))
        if 0 < len(at) < length:
            noun = NAMES.get(letter, Text(f"index along {letter}", f"{letter} 轴下标"))
            yield Text(f"only at {noun.en} {_places(at, length).en}", f"只在{noun.zh} {_places(at, length).zh} 处不对")


def _places(at: Array, length: int) -> Text:
    listed = ", ".join(map(str, at[:8])) + (", …" if len(at) > 8 else "")
    steps = set(np.diff(at).tolist())
    if list(at) == [0] and length > 1:
        return Text("0 (the first)", "0（第一个）")
    if list(at) == [length - 1]:
        return Text(f"{length - 1} (the last)", f"{length - 1}（最后一个）")
    if set(at.tolist()) <= {0, length - 1}:
        return Text(f"{listed} (the border)", f"{listed}（边缘）")
    if len(at) > 2 and steps == {2}:
        return Text(f"{listed} (every second one)", f"{listed}（每隔一个）")
    return Text(f"{listed} of 0 to {length - 1}", f"{listed}（共 0 到 {length - 1}）")


def _total(came: Array, right: Array, largest: float) -> Iterator[Text]:
    if right.ndim > 1 and np.ptp(right.sum(-1)) <= SAME * largest:
        return  # probabilities: any of them add up
    if (
        came.size > 1
        and abs(came.sum() - right.sum()) <= SAME * largest * came.size
        and abs(right.sum()) > 1e-3 * largest
    ):
        yield Text(
            "the sum over all entries is right: it is the places that are wrong",
            "所有元素之和是对的：错的是位置",
        )


def heat_map(came: Array, right: Array, axes: str) -> tuple[Array, str, str]:
    """Error / largest entry as a matrix, and the letters of its rows and columns: H and W of images, else the two longest axes."""
    error = np.abs(np.asarray(came, np.float64) - right) / (float(np.abs(right).max()) or 1.0)
    if error.ndim == 0:
        return error.reshape(1, 1), "", ""
    named = letters(error.ndim, axes)
    if error.ndim == 1:
        return error[None], "", named[0]
    if "H" in named and "W" in named:
        rows, columns = named.index("H"), named.index("W")
    else:
        rows, columns = sorted(np.argsort(error.shape, kind="stable")[-2:].tolist())
    others = tuple(i for i in range(error.ndim) if i not in (rows, columns))
    return error.max(others), named[rows], named[columns]
