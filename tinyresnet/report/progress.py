"""How training went: the curves of metrics.jsonl."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backend import Array
from ..plotting import Line, chart_png
from .elements import Album, Section, chart, paragraph
from .words import Words, number, percent

MOST = 3000  # points of a line: more cannot be told apart
STEP, EPOCH = Words("step", "步"), Words("epoch", "轮次（epoch）")


def of_kind(metrics: Sequence[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The lines of one kind, in order."""
    return [line for line in metrics if line.get("kind") == kind]


def curves(album: Album, metrics: Sequence[dict[str, Any]]) -> Section:
    """Loss and learning rate over the steps, accuracies over the epochs; what has not happened yet is said."""
    steps, epochs = of_kind(metrics, "step"), of_kind(metrics, "epoch")
    charts = []
    if steps:
        charts.append(_loss(album, steps, epochs))
    if epochs:
        charts.append(_accuracy(album, epochs))
        charts += [_mean_iou(album, epochs)] if "test_mean_iou" in epochs[-1] else []
    if steps:
        charts.append(_learning_rate(album, steps))
        charts += [_gradient_norm(album, steps)] if "gradient_norm" in steps[-1] else []
    missing = "" if steps and epochs else paragraph(_not_yet(bool(steps)), kind="missing")
    hint = paragraph(
        Words(
            "A loss that no longer falls says that the learning rate is too high or that the net has learned what it can. "
            "Where the training curve keeps rising and the test curve does not, the net is learning its pictures by heart.",
            "损失不再下降，说明学习率偏高，或者网络已经学到了极限。训练曲线仍在上升而测试曲线停住不动，"
            "说明网络正在死记训练图片（过拟合）。",
        )
    )
    body = missing + f'<div class="charts">{"".join(charts)}</div>' + (hint if charts else "")
    return Section("curves", Words("Learning curves", "学习曲线"), body)


def _not_yet(begun: bool) -> Words:
    if begun:
        return Words(
            "No epoch has ended yet, so the net has not been tested. Make the report again later on.",
            "还没有完成一轮训练，网络尚未测试。请稍后重新生成本报告。",
        )
    return Words(
        "No step has been logged yet: there are no curves to draw.", "还没有记录到任何训练步，暂时没有曲线可画。"
    )


def column(lines: Sequence[dict[str, Any]], name: str) -> Array:
    """One value of each line; not a number where a line lacks it."""
    return np.array([float(line.get(name, np.nan)) for line in lines])


def smoothed(values: Array, window: int) -> Array:
    """The mean over the last `window` values, or as many as there are yet."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return np.asarray((sums[ends] - sums[starts]) / (ends - starts))


def thinned(line: Line) -> Line:
    """Every n-th point, and the last one."""
    stride = -(-len(line.x) // MOST)
    keep = sorted({*range(0, len(line.x), stride), len(line.x) - 1})
    return Line([line.x[i] for i in keep], [line.y[i] for i in keep], line.style)


def _raw_and_smooth(x: Array, raw: Array, smooth: Array, window: int) -> tuple[list[Line], list[tuple[str, Words]]]:
    """Both lines and what they are; of few steps the line itself alone."""
    each = Words("training, each step", "训练，每一步")
    if window == 1:
        return [Line(list(x), list(raw), "train")], [("train", each)]
    mean = Words("training, mean over {n} steps", "训练，{n} 步的平均").format(n=window)
    lines = [thinned(Line(list(x), list(raw), "faint")), thinned(Line(list(x), list(smooth), "train"))]
    return lines, [("faint", each), ("train", mean)]


def _loss(album: Album, steps: list[dict[str, Any]], epochs: list[dict[str, Any]]) -> str:
    x, losses = column(steps, "step"), column(steps, "loss")
    window = max(1, len(losses) // 50)
    smooth = smoothed(losses, window)
    lines, legend = _raw_and_smooth(x, losses, smooth, window)
    alt = Words(
        "The cross-entropy while training goes from {first} in the first step to {last}, the mean over the last {n} steps.",
        "训练时的交叉熵从第一步的 {first} 变为 {last}（最后 {n} 步的平均）。",
    ).format(first=number(losses[0]), last=number(float(smooth[-1])), n=min(window, len(losses)))
    if epochs:
        test = column(epochs, "test_loss")
        lines.append(thinned(Line(list(column(epochs, "step")), list(test), "test")))
        legend.append(("test", Words("test, after each epoch", "测试，每轮之后")))
        more = Words(" On the test pictures it is {last} after the last epoch.", "测试集上，最后一轮之后为 {last}。")
        more = more.format(last=number(float(test[-1])))
        alt = Words(alt.en + more.en, alt.zh + more.zh)
    # The first steps may be many times as high as all that follow: the chart shows what follows.
    top = 1.1 * float(np.nanmax([smooth.max(), *lines[-1].y])) if np.isfinite(smooth).all() else None
    png = chart_png(lines, bottom=0, top=top)
    return chart(Words("Loss: cross-entropy", "损失：交叉熵"), STEP, album.image("loss", png, alt), legend)


def _pair(
    album: Album, name: str, title: Words, epochs: list[dict[str, Any]], columns: tuple[str, ...], alt: Words
) -> str:
    """A chart of a share over the epochs; columns: of the training pictures, of the test pictures (or the latter alone)."""
    x = list(column(epochs, "epoch"))
    styles = ("train", "test")[-len(columns) :]
    lines = [
        Line(x, list(column(epochs, column_name)), style) for column_name, style in zip(columns, styles, strict=True)
    ]
    words = {"train": Words("training, while it learned", "训练集，学习过程中"), "test": Words("test", "测试集")}
    png = chart_png(lines, top=1.0 if max(max(line.y) for line in lines) > 0.9 else None)
    return chart(title, EPOCH, album.image(name, png, alt), [(style, words[style]) for style in styles])


def _accuracy(album: Album, epochs: list[dict[str, Any]]) -> str:
    test = column(epochs, "test_accuracy")
    best = int(np.nanargmax(test))
    alt = Words(
        "The test accuracy goes from {first} after the first epoch to {last} after epoch {n}; the highest is {top}, after epoch {at}. "
        "The training accuracy ends at {train}.",
        "测试准确率从第一轮后的 {first} 变为第 {n} 轮后的 {last}，最高为第 {at} 轮后的 {top}；训练准确率最终为 {train}。",
    ).format(
        first=percent(test[0]),
        last=percent(test[-1]),
        n=epochs[-1]["epoch"],
        top=percent(test[best]),
        at=epochs[best]["epoch"],
        train=percent(epochs[-1]["accuracy"]),
    )
    title = Words("Accuracy: the share named right", "准确率：判断正确的比例")
    return _pair(album, "accuracy", title, epochs, ("accuracy", "test_accuracy"), alt)


def _mean_iou(album: Album, epochs: list[dict[str, Any]]) -> str:
    test = column(epochs, "test_mean_iou")
    alt = Words(
        "The mean IoU on the test scenes goes from {first} after the first epoch to {last} after the last; the highest is {top}.",
        "测试场景上的平均交并比从第一轮后的 {first} 变为最后一轮后的 {last}，最高为 {top}。",
    ).format(first=f"{test[0]:.3f}", last=f"{test[-1]:.3f}", top=f"{np.nanmax(test):.3f}")
    title = Words("Mean IoU: intersection over union", "平均交并比（IoU）")
    return _pair(album, "mean_iou", title, epochs, ("test_mean_iou",), alt)


def _learning_rate(album: Album, steps: list[dict[str, Any]]) -> str:
    rates = column(steps, "learning_rate")
    alt = Words(
        "The learning rate starts at {first}, is {top} at its highest, and {last} in the last step.",
        "学习率从 {first} 开始，最高为 {top}，最后一步为 {last}。",
    ).format(first=f"{rates[0]:.3g}", top=f"{np.nanmax(rates):.3g}", last=f"{rates[-1]:.3g}")
    png = chart_png([thinned(Line(list(column(steps, "step")), list(rates), "train"))], bottom=0)
    legend = [("train", Words("learning rate of each step", "每一步的学习率"))]
    return chart(Words("Learning rate", "学习率"), STEP, album.image("learning_rate", png, alt), legend)


def _gradient_norm(album: Album, steps: list[dict[str, Any]]) -> str:
    x, norms = column(steps, "step"), column(steps, "gradient_norm")
    window = max(1, len(norms) // 50)
    smooth = smoothed(norms, window)
    alt = Words(
        "The length of the gradient is {first} in the first step; at the end its mean over {n} steps is {last}.",
        "第一步的梯度长度为 {first}，结束时 {n} 步的平均为 {last}。",
    ).format(first=number(float(norms[0])), last=number(float(smooth[-1])), n=window)
    lines, legend = _raw_and_smooth(x, norms, smooth, window)
    png = chart_png(lines, bottom=0)
    return chart(
        Words("Length of the gradient", "梯度的长度（范数）"), STEP, album.image("gradient_norm", png, alt), legend
    )
