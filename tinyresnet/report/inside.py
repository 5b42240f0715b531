"""Inside the net: its first filters, what its blocks put out for one picture, and where Grad-CAM says that it looked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backend import Array
from ..explain import activations, first_filters, receptive_fields
from ..plotting import heat_over, pixels_png, shaded, tiles
from .elements import Album, Section, card, cards, paragraph
from .findings import Findings, heat
from .words import Words, number, percent

CHANNELS = 16  # of an end point that are shown
EACH = 4  # pictures named right, and named wrong, under Grad-CAM
SIDE = 160  # pixels a side of a heat map, at least


# ---- filters -------------------------------------------------------------------------------------------------------------
def filters(album: Album, run: Any) -> Section:
    """The first convolution's weights: as colours where the picture has colours, else red above zero and blue below."""
    weights = first_filters(run.variables, run.net.scope).astype(np.float64)  # [KH, KW, C, F]
    kh, kw, c, f = weights.shape
    if c == 3:
        scaled = weights / (2 * np.abs(weights).max((0, 1, 2), keepdims=True) + 1e-12) + 0.5
        maps = np.asarray(np.rint(255 * scaled), np.uint8).transpose(3, 0, 1, 2)
        colours = Words("grey is zero, and a colour is what the filter looks for", "灰色为零，颜色表示卷积核寻找的颜色")
    else:
        each = weights / (np.abs(weights).max((0, 1), keepdims=True) + 1e-12)
        maps = shaded(each.transpose(3, 2, 0, 1).reshape(f * c, kh, kw), signed=True)
        colours = Words(
            "red weights are above zero, blue ones below, white is zero", "红色为正权重，蓝色为负权重，白色为零"
        )
    alt = Words(
        "{f} filters of {kh} by {kw} weights, each drawn as a small square of coloured cells.",
        "{f} 个 {kh} × {kw} 的卷积核，每个画成一小块彩色方格。",
    ).format(f=len(maps), kh=kh, kw=kw)
    text = Words(
        "The weights of `{name}`: {f} filters of {kh}×{kw} over {c} {channels}; {colours}. Stripes look for edges of that direction, "
        "a spot amid its opposite for dots, one colour throughout for brightness. Each is scaled to its own largest weight.",
        "`{name}` 的权重：{f} 个 {kh}×{kw} 的卷积核，作用于 {c} 个{channels}；{colours}。条纹状的卷积核检测相应方向的边缘，"
        "中心与四周相反的检测斑点，整片同色的检测亮度。每个卷积核按自身的最大权重缩放。",
    ).format(
        name=f"{run.net.scope}/conv1/weights",
        f=f,
        kh=kh,
        kw=kw,
        c=c,
        channels=Words("channel" if c == 1 else "channels", "通道"),
        colours=colours,
    )
    sheet = tiles(
        framed(enlarged(maps, -(-60 // min(kh, kw)))), columns=min(len(maps), 8 if len(maps) <= 32 else 16), gap=8
    )
    image = album.image("filters", pixels_png(sheet, at_least=1), alt)
    return Section(
        "filters", Words("First-layer filters", "第一层卷积核"), paragraph(text) + f"<figure>{image}</figure>"
    )


def enlarged(maps: Array, factor: int) -> Array:
    """uint8 [n, h, w, 3]: each pixel as a square of that many."""
    return np.repeat(np.repeat(maps, factor, 1), factor, 2)


def framed(maps: Array) -> Array:
    """A grey line around each map: a white filter on white paper would have no edge."""
    return np.pad(maps, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=150)


# ---- activations ---------------------------------------------------------------------------------------------------------
def features(album: Album, run: Any, found: Findings, names: Sequence[str]) -> Section:
    """The first test picture, and what the blocks make of it: of each the channels that are most alive."""
    image = found.images[0]
    x = run.normalised(image[None])[0]
    every, fields = activations(run.net, run.variables, x), receptive_fields(run.net, run.variables, x)
    blocks = [f"{run.net.scope}/block{i}" for i in range(1, run.net.num_blocks + 1)]
    first = Words("the first test picture", "第一张测试图片")
    if run.config.task == "classify":
        first = Words("the first test picture: {name}", "第一张测试图片：{name}").format(
            name=names[int(found.labels[0])]
        )
    shown = [card(album.image("picture", pixels_png(image), first, kind="pixels"), first)]
    shown += [_block(album, name, every[name], fields[name].side) for name in blocks]
    text = Words(
        "What the blocks put out for one picture: of each block the {n} channels that vary most over it, each scaled to its own largest "
        "value, bright is high. Early blocks keep edges and surfaces in place; later ones have fewer places and a wider receptive field, "
        "and each channel says that something is there rather than how it looks.",
        "各个残差块对同一张图片的输出：每块选出变化最大的 {n} 个通道，各按自身最大值缩放，越亮数值越大。"
        "靠前的块保留边缘和表面的位置；靠后的块位置更少、感受野更大，通道表示“有什么”，而不再是“长什么样”。",
    ).format(n=CHANNELS)
    return Section("activations", Words("Activations", "特征图"), paragraph(text) + cards(shown, kind="large"))


def _block(album: Album, name: str, values: Array, field: int) -> str:
    h, w, c = values.shape
    varying = np.argsort(-values.std((0, 1)), kind="stable")[:CHANNELS]
    low = values.min((0, 1), keepdims=True)
    maps = np.stack([shaded((values - low)[..., i]) for i in varying])
    columns = int(np.ceil(np.sqrt(len(maps))))
    caption = Words(
        "`{name}`: {c} maps of {h}×{w}, receptive field {field}×{field}",
        "`{name}`：{c} 张 {h}×{w} 的特征图，感受野 {field}×{field}",
    ).format(name=name.partition("/")[2], c=c, h=h, w=w, field=field)
    alt = Words(
        "{n} of the {c} feature maps of {name}, in a grid.", "{name} 的 {c} 张特征图中的 {n} 张，排成网格。"
    ).format(n=len(maps), c=c, name=name.partition("/")[2])
    sheet = tiles(enlarged(maps, max(1, 96 // max(h, w))), columns, gap=5)
    return card(album.image(f"activations_{name.rpartition('/')[2]}", pixels_png(sheet, at_least=1), alt), caption)


# ---- Grad-CAM ------------------------------------------------------------------------------------------------------------
def where_it_looked(album: Album, run: Any, found: Findings, names: Sequence[str]) -> Section:
    """Pictures named right with the heat map of their class; named wrong with that of what was said and of what it is."""
    right, wrong = chosen(found)
    shown = [_right(album, run, found, i, names) for i in right] + [_wrong(album, run, found, i, names) for i in wrong]
    text = Words(
        "The glow, red to yellow, is where the last block spoke for the class: its maps, each weighted with the gradient of the "
        "class's logit, "
        "summed, and what is below zero left out (Grad-CAM, Selvaraju et al. 2017). The gradient is this project's own, written by hand. "
        "For a wrong picture the middle is what spoke for the answer, the right side what spoke for the truth.",
        "由红到黄的亮处是最后一个残差块中支持该类别的位置：用该类别 logit 的梯度给每张特征图加权求和，再去掉负值"
        "（Grad-CAM，Selvaraju 等，2017）。梯度来自本项目手写的反向传播。判断错误的图片，中间是支持错误答案的位置，"
        "右边是支持真实类别的位置。",
    )
    return Section(
        "gradcam",
        Words("Grad-CAM: where it looked", "Grad-CAM：网络在看哪里"),
        paragraph(text) + cards(shown, kind="wide"),
    )


def chosen(found: Findings) -> tuple[list[int], list[int]]:
    """The surest pictures named right and wrong, each of another true class as far as there are enough of them."""
    order = np.argsort(-found.sureness, kind="stable")
    hit = found.predicted[order] == found.labels[order]
    return _of_many_classes(order[hit], found.labels), _of_many_classes(order[~hit], found.labels)


def _of_many_classes(order: Array, labels: Array) -> list[int]:
    firsts = [i for place, i in enumerate(order.tolist()) if labels[i] not in labels[order[:place]]][:EACH]
    others = [i for i in order.tolist() if i not in firsts]
    return firsts + others[: EACH - len(firsts)]


def _heated(album: Album, name: str, run: Any, image: Array, k: int, of: Words) -> str:
    factor = max(1, -(-SIDE // min(image.shape[:2])))
    large = np.repeat(np.repeat(image, factor, 0), factor, 1)
    values = heat(run, image, k, large.shape[:2])
    if not values.max() > 0:
        alt = Words("Nowhere did anything speak for {of}.", "没有任何位置支持{of}。").format(of=of)
    else:
        y, x = np.unravel_index(values.argmax(), values.shape)
        alt = Words(
            "What spoke for {of}: the glow covers {share} of the picture and is strongest {place}.",
            "支持{of}的位置：亮区占图片的 {share}，最强处在{place}。",
        ).format(
            of=of,
            share=percent(float((values > values.max() / 2).mean()), 0),
            place=_place(y / large.shape[0], x / large.shape[1]),
        )
    return album.image(name, pixels_png(heat_over(large, values)), alt)


def _place(down: float, across: float) -> Words:
    rows = (Words("at the top", "上部"), Words("in the middle", "中部"), Words("at the bottom", "下部"))
    columns = (Words(" left", "左侧"), Words("", ""), Words(" right", "右侧"))
    row, column = rows[min(int(3 * down), 2)], columns[min(int(3 * across), 2)]
    return Words(row.en + column.en, row.zh + column.zh)


def _right(album: Album, run: Any, found: Findings, i: int, names: Sequence[str]) -> str:
    k = int(found.labels[i])
    truth = Words("“{name}”", "“{name}”").format(name=names[k])
    values = {"truth": names[k], "share": percent(float(found.sureness[i]))}
    picture = album.image(
        f"right_{i}",
        pixels_png(found.images[i]),
        Words("A picture of class {of}.", "一张类别为{of}的图片。").format(of=truth),
        kind="pixels",
    )
    images = picture + _heated(album, f"right_{i}_heat", run, found.images[i], k, truth)
    caption = Words("right: {truth}, {share}", "判断正确：{truth}（{share}）").format(**values)
    order = Words("the picture · what spoke for {truth}", "图片 · 支持{truth}的位置").format(truth=truth)
    return card(f'<div class="row">{images}</div>', caption, order)


def _wrong(album: Album, run: Any, found: Findings, i: int, names: Sequence[str]) -> str:
    k, said = int(found.labels[i]), int(found.predicted[i])
    values = {"truth": names[k], "said": names[said], "share": percent(float(found.sureness[i])), "n": number(i)}
    truth, answer = (Words("“{name}”", "“{name}”").format(name=names[which]) for which in (k, said))
    picture = album.image(
        f"wrong_{i}",
        pixels_png(found.images[i]),
        Words("A picture of class {of}.", "一张类别为{of}的图片。").format(of=truth),
        kind="pixels",
    )
    images = picture + _heated(album, f"wrong_{i}_said", run, found.images[i], said, answer)
    images += _heated(album, f"wrong_{i}_is", run, found.images[i], k, truth)
    caption = Words(
        "wrong: said {said}, {share}; is {truth}", "判断错误：判断为{said}（{share}），实际是{truth}"
    ).format(**values)
    order = Words(
        "the picture · what spoke for {answer} · for {truth}", "图片 · 支持{answer}的位置 · 支持{truth}的位置"
    )
    return card(f'<div class="row">{images}</div>', caption, order.format(answer=answer, truth=truth))
