"""Which classes are taken for which, and the mistakes the net was surest of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..backend import Array
from ..metrics import intersection_over_union
from ..plotting import NAMED, Mistake, confusion_png, pixels_png, surest_mistakes
from .elements import Album, Cell, Section, beside, card, cards, fold, paragraph, table
from .findings import Findings
from .words import Words, number, percent, same

TABLE = 128  # classes up to which every count stands in a table
PAIRS = 12  # confusions that are listed


def confusion(album: Album, found: Findings, names: Sequence[str], pixels: bool) -> Section:
    """The matrix as a picture and as a table, the commonest confusions, and each class's recall and precision."""
    counts = found.confusion
    right, total = int(np.trace(counts)), int(counts.sum())
    unit = Words("pixels", "个像素") if pixels else Words("pictures", "张图片")
    alt = Words(
        "A matrix of {k} by {k} classes. {right} of {total} {unit} ({share}) lie on the diagonal, where they were named right. {worst}",
        "{k} × {k} 的矩阵。{total} {unit}中有 {right} {unit}（{share}）落在对角线上，即判断正确。{worst}",
    ).format(
        k=len(counts),
        right=number(right),
        total=number(total),
        unit=unit,
        share=percent(right / max(total, 1)),
        worst=_worst(counts, names),
    )
    reading = Words(
        "Each row is what a {one} is, each column what the net took it for: what lies off the diagonal is a mistake. "
        "The shade is the share of the row.",
        "每一行是{one}的真实类别，每一列是网络的判断；不在对角线上的都是错误。颜色深浅表示占该行的比例。",
    ).format(one=Words("pixel", "像素") if pixels else Words("picture", "图片"))
    picture = f"<figure>{album.image('confusion', confusion_png(counts, names), alt, kind='matrix')}</figure>"
    matrix = picture if len(counts) > NAMED else beside(picture, _pairs(counts, names))
    numbered = Words(
        "The numbers count the classes from 0, in the order of the table below.",
        "数字为类别编号，从 0 起，顺序同下表。",
    )
    parts = [paragraph(reading), matrix] + ([paragraph(numbered, kind="note")] if len(counts) > NAMED else [])
    parts += [_pairs(counts, names)] if len(counts) > NAMED else []
    parts += [] if pixels else [by_class(counts, names)]  # of pixels it has a section of its own
    parts += [fold(Words("All counts as a table", "全部计数（表格）"), _counts(counts, names))]
    return Section("confusion", Words("Confusion matrix", "混淆矩阵"), "".join(parts))


def _confused(counts: Array) -> list[tuple[int, int, int]]:
    """(count, what it is, what it was taken for) off the diagonal, the most frequent first."""
    off = counts - np.diag(np.diag(counts))
    order = np.argsort(-off, axis=None, kind="stable")[:PAIRS]
    found = [(int(off.flat[i]), int(i) // len(off), int(i) % len(off)) for i in order]
    return [pair for pair in found if pair[0]]


def _worst(counts: Array, names: Sequence[str]) -> Words:
    pairs = _confused(counts)
    if not pairs:
        return Words("Nothing was taken for anything else.", "没有任何混淆。")
    count, label, said = pairs[0]
    return Words(
        "The most frequent confusion: “{label}” taken for “{said}”, {n} times.",
        "最常见的混淆：把“{label}”认成“{said}”，共 {n} 次。",
    ).format(label=names[label], said=names[said], n=number(count))


def _pairs(counts: Array, names: Sequence[str]) -> str:
    pairs = _confused(counts)
    if not pairs:
        return paragraph(_worst(counts, names))
    sums = counts.sum(1)
    rows: list[list[Words | Cell]] = [
        [
            same(names[label]),
            same(names[said]),
            Cell(same(number(n)), right=True),
            Cell(same(percent(n / sums[label])), right=True),
        ]
        for n, label, said in pairs
    ]
    header: list[Words | Cell] = [
        Words("is", "真实类别"),
        Words("was taken for", "被认成"),
        Cell(Words("times", "次数"), right=True),
        Cell(Words("of its class", "占该类别"), right=True),
    ]
    return table(Words("The most frequent confusions", "最常见的混淆"), header, rows)


def by_class(counts: Array, names: Sequence[str]) -> str:
    """Recall, precision and IoU of each class; a share of nothing is a dash."""
    right, is_it, said = np.diag(counts), counts.sum(1), counts.sum(0)
    ious = intersection_over_union(counts)
    rows: list[list[Words | Cell]] = []
    for i, name in enumerate(names):
        recall = right[i] / is_it[i] if is_it[i] else np.nan
        precision = right[i] / said[i] if said[i] else np.nan
        cells = [
            _share(recall, percent(recall)),
            _share(precision, percent(precision)),
            _share(ious[i], f"{ious[i]:.3f}"),
        ]
        rows.append([Cell(same(name), heads_row=True), Cell(same(number(int(is_it[i]))), right=True), *cells])
    header: list[Words | Cell] = [
        Words("class", "类别"),
        Cell(Words("test count", "测试数量"), right=True),
        Cell(Words("recall", "召回率"), right=True),
        Cell(Words("precision", "精确率"), right=True),
        Cell(Words("IoU", "交并比"), right=True),
    ]
    meaning = Words(
        "Recall: of what is of this class, how much was found. Precision: of what was said to be of it, how much is. "
        "IoU: what is both, over what is either.",
        "召回率：真实属于该类的，找出了多少。精确率：判为该类的，有多少正确。交并比：两者的交集除以并集。",
    )
    caption = Words("Recall, precision and IoU of each class", "各类别的召回率、精确率与交并比")
    return table(caption, header, rows) + paragraph(meaning, kind="note")


def _share(share: float, shown: str) -> Cell:
    there = not np.isnan(share)
    return Cell(same(shown if there else "–"), right=True, shade=0.55 * share if there else None)


def _counts(counts: Array, names: Sequence[str]) -> str:
    if len(counts) > TABLE:
        return paragraph(
            Words(
                "With {k} classes the table would have {cells} cells; the most frequent confusions stand above.",
                "共 {k} 个类别，表格会有 {cells} 格，因此只在上方列出最常见的混淆。",
            ).format(k=len(counts), cells=number(len(counts) ** 2))
        )
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    shaded = len(counts) <= 40  # of more the shades alone would be most of the page
    rows: list[list[Words | Cell]] = [
        [
            Cell(same(name), heads_row=True),
            *(
                Cell(same(str(n)), shade=float(share) if shaded and n else None)
                for n, share in zip(counts[i].tolist(), shares[i].tolist(), strict=True)
            ),
        ]
        for i, name in enumerate(names)
    ]
    header = [Words("is ↓ / taken for →", "真实 ↓ / 判断 →"), *map(same, names)]
    return table(
        Words("Counts: rows what it is, columns what it was taken for", "计数：行为真实类别，列为判断结果"),
        header,
        rows,
        kind="counts",
    )


# ---- mistakes ------------------------------------------------------------------------------------------------------------
def mistakes(album: Album, found: Findings, names: Sequence[str]) -> Section:
    """The wrong predictions of highest probability, each with what it was said to be and what it is."""
    worst = surest_mistakes(found.images, found.labels, found.probabilities)
    title = Words("The surest mistakes", "最有把握的错误")
    if not worst:
        return Section(
            "mistakes", title, paragraph(Words("Every test picture was named right.", "测试图片全部判断正确。"))
        )
    wrong = int((found.predicted != found.labels).sum())
    text = Words(
        "{wrong} of {total} test pictures were named wrong; these are the ones that the net was surest of. Some show where it fails, "
        "and some that the label is wrong or that the picture cannot be told even by eye.",
        "{total} 张测试图片中有 {wrong} 张判断错误；下面是网络最有把握却判断错了的几张。"
        "有的暴露了网络的弱点，有的其实是标签有误，或者连人眼也难以分辨。",
    ).format(wrong=number(wrong), total=number(len(found.labels)))
    return Section(
        "mistakes", title, paragraph(text) + cards([_mistake(album, i, m, names) for i, m in enumerate(worst, 1)])
    )


def _mistake(album: Album, place: int, mistake: Mistake, names: Sequence[str]) -> str:
    values = {
        "said": names[mistake.predicted],
        "truth": names[mistake.label],
        "share": percent(mistake.probability),
    }
    alt = Words("A picture of class “{truth}”.", "一张类别为“{truth}”的图片。").format(**values)
    said = Words("said {said}, {share}", "判断：{said}，{share}").format(**values)
    truth = Words("is {truth}", "实际：{truth}").format(**values)
    return card(album.image(f"mistake_{place:02}", pixels_png(mistake.image), alt, kind="pixels"), said, truth)
