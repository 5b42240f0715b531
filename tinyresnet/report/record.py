"""What the run was: in big numbers and in small print, its configuration, its versions, and the check of every gradient."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..gradcheck_table import GradientTable
from .elements import Cell, Section, big_numbers, facts, marked, paragraph, table
from .progress import of_kind
from .words import Words, duration, number, percent, same, scientific


# ---- the summary ---------------------------------------------------------------------------------------------------------
def weights_of(run: Any) -> int:
    """How many numbers training changes."""
    return sum(int(np.size(run.variables[name])) for name in run.variables.trainable)


def lead(run: Any) -> Words:
    """One sentence that says what this is."""
    values = {
        "weights": number(weights_of(run)),
        "k": len(run.class_names),
        "source": Path(run.config.data.source).name,
        "net": run.config.net.name,
    }
    if run.config.task == "segment":
        return Words(
            "`{net}`, a ResNet v2 of {weights} weights, learned on “{source}” to give each pixel one of {k} classes.",
            "`{net}`（{weights} 个权重的 ResNet v2）在“{source}”上学习把每个像素归入 {k} 个类别之一。",
        ).format(**values)
    return Words(
        "`{net}`, a ResNet v2 of {weights} weights, learned on “{source}” to tell {k} classes of pictures apart.",
        "`{net}`（{weights} 个权重的 ResNet v2）在“{source}”上学习区分 {k} 类图片。",
    ).format(**values)


def numbers(run: Any) -> str:
    """The few that one asks for first."""
    epochs, planned = of_kind(run.metrics, "epoch"), run.config.training.epochs
    shown = _results(epochs, planned, segmenting=run.config.task == "segment")
    done = Words("{done} of {planned} epochs", "已完成 {done}/{planned} 轮").format(done=len(epochs), planned=planned)
    shown.append((Words("Training time", "训练用时"), duration(seconds_of(run.metrics)), done))
    variables = Words("in {n} variables", "分布在 {n} 个变量中").format(n=len(run.variables.trainable))
    shown.append((Words("Weights", "权重数"), same(number(weights_of(run))), variables))
    return f'<div class="numbers">{big_numbers(shown)}</div>'


def _results(epochs: Sequence[dict[str, Any]], planned: int, *, segmenting: bool) -> list[tuple[Words, Words, Words]]:
    if not epochs:
        none = Words("no epoch has ended yet", "还没有完成一轮训练")
        return [(Words("Test accuracy", "测试准确率"), same("–"), none)]
    after = Words("after epoch {n}", "第 {n} 轮之后")
    last = epochs[-1]
    shown = []
    wanted = [("test_mean_iou", Words("Mean IoU, best", "平均交并比，最佳"))] if segmenting else []
    for name, title in [*wanted, ("test_accuracy", _accuracy_title(segmenting))]:
        best = max((line for line in epochs if name in line), key=lambda line: line[name], default=None)
        if best is not None:
            value = f"{best[name]:.3f}" if name == "test_mean_iou" else percent(best[name], 2)
            shown.append((title, same(value), after.format(n=best["epoch"])))
    final = Words("{accuracy} right, after epoch {n}", "准确率 {accuracy}，第 {n} 轮之后")
    values = {"accuracy": percent(last["test_accuracy"], 2), "n": last["epoch"]}
    shown.append(
        (Words("Test loss, last", "测试损失，最后一轮"), same(f"{last['test_loss']:.4f}"), final.format(**values))
    )
    return shown


def _accuracy_title(segmenting: bool) -> Words:
    if segmenting:
        return Words("Pixels right, best", "像素准确率，最佳")
    return Words("Test accuracy, best", "测试准确率，最佳")


def seconds_of(metrics: Sequence[dict[str, Any]]) -> float:
    """Training time so far."""
    return max((float(line["seconds"]) for line in metrics if "seconds" in line), default=0.0)


def what(run: Any, pictures: tuple[int, int] | None) -> str:
    """Data, net and state, one a line. pictures: how many to train on and to test on, if the data set is there."""
    h, w, c = run.image_shape
    rows = [(Words("Data", "数据"), same(Path(run.config.data.source).name))]
    if pictures is not None:
        counts = Words("{train} to train on, {test} to test on", "训练 {train} 张，测试 {test} 张")
        rows.append((Words("Pictures", "图片"), counts.format(train=number(pictures[0]), test=number(pictures[1]))))
    shape = Words("{h}×{w} pixels, {c}", "{h}×{w} 像素，{c}").format(h=h, w=w, c=_channels(c))
    names = list(run.class_names)
    rows += [
        (Words("Size of a picture", "图片尺寸"), shape),
        (Words("Classes", "类别"), same(", ".join(names[:30]) + (", …" if len(names) > 30 else ""))),
        (Words("Net", "网络"), _net(run)),
        (Words("Learned with", "训练方法"), _method(run.config.training)),
        (Words("State", "状态"), _state(run)),
    ]
    return facts(rows)


def _channels(c: int) -> Words:
    if c == 1:
        return Words("grey", "灰度")
    return Words("colour", "彩色") if c == 3 else Words("{c} channels", "{c} 个通道").format(c=c)


def _net(run: Any) -> Words:
    net = run.config.net
    if net.name != "resnet_v2_small":
        return same(net.name)
    stride = (
        Words(", output stride {n}", "，输出步幅 {n}").format(n=net.output_stride) if net.output_stride else same("")
    )
    return Words(
        "{name}: {root} channels after the first convolution (stride {stride}), then blocks of {units} units with base depths "
        "{depths}{dense}",
        "{name}：第一层卷积 {root} 个通道（步幅 {stride}），之后各残差块的单元数为 {units}，基础深度为 {depths}{dense}",
    ).format(
        name=net.name,
        root=net.root_channels,
        stride=net.root_stride,
        units=", ".join(map(str, net.units)),
        depths=", ".join(map(str, net.base_depths)),
        dense=stride,
    )


def _method(training: Any) -> Words:
    schedule = {"cosine": Words("cosine", "余弦"), "piecewise": Words("piecewise", "分段常数")}[training.schedule]
    return Words(
        "SGD with {momentum}, learning rate up to {rate} ({schedule} schedule), batches of {batch}, weight decay {decay}",
        "{momentum} SGD，学习率最高 {rate}（{schedule}调度），批大小 {batch}，权重衰减 {decay}",
    ).format(
        momentum=_momentum(training),
        rate=f"{training.learning_rate:g}",
        schedule=schedule,
        batch=training.batch_size,
        decay=f"{training.weight_decay:g}",
    )


def _momentum(training: Any) -> Words:
    if training.nesterov:
        return Words("Nesterov momentum {m}", "带 Nesterov 动量（{m}）的").format(m=f"{training.momentum:g}")
    return Words("momentum {m}", "带动量（{m}）的").format(m=f"{training.momentum:g}")


def _state(run: Any) -> Words:
    steps, epochs = of_kind(run.metrics, "step"), of_kind(run.metrics, "epoch")
    values = {"steps": number(steps[-1]["step"]) if steps else "0", "resumed": len(of_kind(run.metrics, "resume"))}
    if of_kind(run.metrics, "diverged"):
        text = Words(
            "stopped after step {steps}: the loss was no longer a number", "第 {steps} 步后停止：损失不再是有限的数"
        )
    elif of_kind(run.metrics, "end"):
        text = Words("finished after {steps} steps", "已完成，共 {steps} 步")
    else:
        text = Words("not finished: {steps} steps so far", "未完成：目前 {steps} 步")
    weights = Words("; the weights shown are those of the last checkpoint", "；本页使用最后一个检查点的权重")
    if epochs:
        weights = Words("; the weights shown are those that tested best", "；本页使用测试成绩最好的权重")
    again = Words("; breaks on the way: {resumed}", "；中途中断 {resumed} 次") if values["resumed"] else same("")
    return Words("{a}{b}{c}", "{a}{b}{c}").format(a=text.format(**values), b=again.format(**values), c=weights)


# ---- the gradient check --------------------------------------------------------------------------------------------------
def gradients(found: GradientTable) -> Section:
    """Every op's backward against finite differences, as just now checked."""
    rows: list[list[Words | Cell]] = []
    for name, report in found.reports.items():
        for i, argument in enumerate(report.arguments):
            rows.append(
                [
                    Cell(same(name if i == 0 else ""), heads_row=i == 0),
                    same(argument.name),
                    Cell(same(scientific(argument.error)), right=True),
                    Words("right", "正确") if argument.status == "ok" else Words("WRONG", "错误"),
                ]
            )
    header: list[Words | Cell] = [
        Words("op", "运算"),
        Words("gradient of", "求导对象"),
        Cell(Words("error ÷ largest", "误差 ÷ 最大梯度"), right=True),
        Words("verdict", "结论"),
    ]
    text = Words(
        "Each backward against finite differences in float64, with a random upstream gradient, when this report was made. "
        "{verdict}",
        "生成本报告时，对每个运算的反向传播做梯度检验：float64 有限差分，上游梯度取随机数。{verdict}",
    ).format(
        verdict=Words("Every one is right.", "全部正确。")
        if found.passed
        else Words("Not every one is right.", "并非全部正确。")
    )
    caption = Words("The gradient check of every op", "每个运算的梯度检验")
    return Section("gradients", Words("Gradient check", "梯度检验"), paragraph(text) + table(caption, header, rows))


# ---- small print ---------------------------------------------------------------------------------------------------------
def configuration(toml: str) -> Section:
    """The effective configuration, as it can be used again."""
    text = Words(
        "All settings of this run, also the ones that were left at their defaults. The same file is `config.toml` beside this page: "
        "`tinyresnet train --config config.toml` trains such a net again.",
        "本次训练的全部设置，包括保持默认值的。同样的内容在本页旁边的 `config.toml` 里：`tinyresnet train --config config.toml` "
        "可以重新训练。",
    )
    label = Words("The configuration as TOML", "TOML 格式的配置")
    return Section("config", Words("Configuration", "配置"), paragraph(text) + marked(toml, label))


def versions(run: Any) -> Section:
    """What it was trained on, and how long it took."""
    rows = [(same(name), same(value)) for name, value in _flat(run.environment)]
    rows.append((Words("training time", "训练用时"), duration(seconds_of(run.metrics))))
    steps = of_kind(run.metrics, "step")
    if len(steps) > 1 and steps[-1]["step"]:
        each = 1000 * seconds_of(run.metrics) / steps[-1]["step"]
        rows.append(
            (
                Words("a step, tests included", "每步用时（含测试）"),
                Words("{ms} ms", "{ms} 毫秒").format(ms=f"{each:.0f}"),
            )
        )
    return Section("versions", Words("Versions and time", "版本与用时"), facts(rows))


def _flat(found: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """{"blas": {"name": "openblas"}} -> [("blas name", "openblas")]; the packages go by their own names."""
    rows: list[tuple[str, str]] = []
    for name, value in found.items():
        if isinstance(value, dict):
            rows += _flat(value, "" if name == "packages" else f"{name} ")
        else:
            rows.append((prefix + name, str(value)))
    return rows
