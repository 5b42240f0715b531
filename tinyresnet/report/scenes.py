"""Of a net that names each pixel: its predictions beside the truth, the IoU of each class, and the geometry of a dense net."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backend import Array
from ..explain import Field
from ..metrics import intersection_over_union, mean_iou
from ..plotting import heat_over, pixels_png, ruler_png
from .classes import by_class
from .elements import Album, Section, card, cards, paragraph, scrolled
from .findings import Findings, heat
from .words import Words, both, listed, number, percent, same

BACKGROUND = "#20262E"
# Sasha Trubetskoy's list of distinct colours, the ones that are told apart best first.
COLOURS = (
    "#E6194B", "#3CB44B", "#FFE119", "#4363D8", "#F58231", "#42D4F4",
    "#F032E6", "#FABED4", "#BFEF45", "#9A6324", "#DCBEFF", "#469990",
)  # fmt: skip
RIGHT, WRONG = np.array([235, 238, 241], np.uint8), np.array([213, 94, 0], np.uint8)


def colour_of(k: int) -> str:
    """Of class k; class 0 is the background. After the last one they begin again."""
    return BACKGROUND if k == 0 else COLOURS[(k - 1) % len(COLOURS)]


def coloured(labels: Array, classes: int) -> Array:
    """[H, W] labels -> uint8 [H, W, 3]."""
    palette = np.array([[int(colour_of(k)[i : i + 2], 16) for i in (1, 3, 5)] for k in range(classes)], np.uint8)
    return np.asarray(palette[labels])


def legend(names: Sequence[str]) -> str:
    """Which colour is which class."""
    keys = "".join(
        f'<li><span class="swatch" style="background:{colour_of(k)}" aria-hidden="true"></span>{both(same(name))}</li>'
        for k, name in enumerate(names)
    )
    return f'<ul class="legend">{keys}</ul>'


# ---- numbers -------------------------------------------------------------------------------------------------------------
def ious(found: Findings, names: Sequence[str]) -> Section:
    """Mean IoU and each class's."""
    of_class = intersection_over_union(found.confusion)
    mean = mean_iou(found.confusion)
    best, worst = int(np.nanargmax(of_class)), int(np.nanargmin(of_class))
    text = Words(
        "Intersection over union of a class: the pixels that are it and were named so, over those that are it or were named so. The mean "
        "over the classes is {mean}; highest for “{best}” ({high}), lowest for “{worst}” ({low}).",
        "某一类别的交并比（IoU）：真实属于且判为该类的像素数，除以真实属于或判为该类的像素数。各类别的平均值为 {mean}；"
        "最高的是“{best}”（{high}），最低的是“{worst}”（{low}）。",
    ).format(
        mean=f"{mean:.3f}",
        best=names[best],
        high=f"{of_class[best]:.3f}",
        worst=names[worst],
        low=f"{of_class[worst]:.3f}",
    )
    return Section(
        "iou", Words("IoU of each class", "各类别的交并比"), paragraph(text) + by_class(found.confusion, names)
    )


# ---- scenes --------------------------------------------------------------------------------------------------------------
def beside_the_truth(album: Album, found: Findings, names: Sequence[str]) -> Section:
    """The first test scenes: the picture, its true classes, the predicted ones, and where the two differ."""
    shown = [_scene(album, i, found, names) for i in range(len(found.labels))]
    text = Words(
        "The first {n} test scenes, not chosen. Each: the picture, the true classes, the predicted ones, and in orange the pixels "
        "that were named wrong.",
        "测试集的前 {n} 个场景，未经挑选。依次为：图片、真实类别、预测类别，以及判断错误的像素（橙色）。",
    ).format(n=len(shown))
    body = f"{paragraph(text)}{legend(names)}{cards(shown, kind='wider')}"
    return Section("scenes", Words("Predictions beside the truth", "预测与真值对照"), body)


def _scene(album: Album, i: int, found: Findings, names: Sequence[str]) -> str:
    truth, said = found.labels[i], found.predicted[i]
    wrong = np.where((truth == said)[..., None], RIGHT, WRONG)
    share = float((truth == said).mean())
    parts: list[tuple[str, Array, Words]] = [
        ("picture", found.images[i], Words("Scene {n}.", "场景 {n}。").format(n=i + 1)),
        (
            "truth",
            coloured(truth, len(names)),
            Words("What it is: {seen}.", "真实类别：{seen}。").format(seen=_seen(truth, names)),
        ),
        (
            "said",
            coloured(said, len(names)),
            Words("What was predicted: {seen}.", "预测类别：{seen}。").format(seen=_seen(said, names)),
        ),
        (
            "wrong",
            wrong,
            Words("{n} pixels named wrong.", "{n} 个像素判断错误。").format(n=number(int((truth != said).sum()))),
        ),
    ]
    images = "".join(
        album.image(f"scene_{i + 1}_{part}", pixels_png(np.asarray(image), at_least=130), alt, kind="pixels")
        for part, image, alt in parts
    )
    caption = Words("scene {n}: {share} of the pixels named right", "场景 {n}：{share} 的像素判断正确").format(
        n=i + 1, share=percent(share)
    )
    return card(f'<div class="row">{images}</div>', caption)


def _seen(labels: Array, names: Sequence[str]) -> Words:
    """The classes of a scene with their shares of its pixels, the largest first."""
    counts = np.bincount(labels.ravel(), minlength=len(names))
    order = np.argsort(-counts, kind="stable")
    return listed(same(f"{names[k]} {percent(counts[k] / labels.size, 0)}") for k in order if counts[k])


def where_it_looked(album: Album, run: Any, found: Findings, names: Sequence[str]) -> Section:
    """For the largest object of each of the first scenes, what spoke for its class, summed over the pixels named so."""
    shown = []
    for i, said in enumerate(found.predicted):
        objects = np.bincount(said.ravel(), minlength=len(names)) * (np.arange(len(names)) > 0)
        if not objects.any():
            continue  # all of it was taken for background
        k = int(objects.argmax())
        image = np.repeat(np.repeat(found.images[i], 3, 0), 3, 1)
        glow = heat_over(image, heat(run, found.images[i], k, image.shape[:2]))
        alt = Words(
            "Scene {n} with a glow where the last block spoke for “{name}”.",
            "场景 {n}，亮处是最后一个残差块中支持“{name}”的位置。",
        ).format(n=i + 1, name=names[k])
        caption = Words("scene {n}: {name}", "场景 {n}：{name}").format(n=i + 1, name=names[k])
        shown.append(card(album.image(f"scene_{i + 1}_heat", pixels_png(glow), alt), caption))
    text = Words(
        "The glow, red to yellow, is where the last block spoke for the class, summed over all pixels that were given it (Grad-CAM, "
        "Selvaraju et "
        "al. 2017, by the hand-written backward).",
        "由红到黄的亮处是最后一个残差块中支持该类别的位置，对判为该类的所有像素求和（Grad-CAM，Selvaraju 等，2017；"
        "梯度来自手写的反向传播）。",
    )
    if not shown:
        text = Words("No pixel of these scenes was named anything but background.", "这些场景的像素全部判为背景。")
    return Section(
        "gradcam", Words("Grad-CAM: where it looked", "Grad-CAM：网络在看哪里"), paragraph(text) + cards(shown)
    )


# ---- geometry ------------------------------------------------------------------------------------------------------------
def geometry(album: Album, side: int, fields: dict[str, Field]) -> Section:
    """Where the features of this run's pictures lie, why sides of the form n * step + 1 are good, and what the rate changes."""
    last = list(fields.values())[-1]
    step = last.step
    places = -(-side // step)
    fits = side % step == 1
    other = side - 1 if fits else (side // step) * step + 1
    values = {
        "side": side,
        "step": step,
        "places": places,
        "n": places - 1,
        "far": (places - 1) * step,
        "edge": side - 1,
        "other": other,
    }
    alt = Words(
        "Two rulers of {side} and {other} pixels. Triangles below: the features, every {step} pixels. Dots on them: where upsampling "
        "with aligned corners puts these features.",
        "两把尺子，分别有 {side} 和 {other} 个像素。下方三角：特征的位置，每 {step} 个像素一个。圆点：按角对齐上采样时特征被放到的位置。",
    ).format(**values)
    rulers = ruler_png([_ruler(side, step), _ruler(other, step)])
    parts = [paragraph(_why(fits).format(**values)), _ruled(album.image("sizes", rulers, alt, kind="rulers"))]
    key = Words(
        "Blue triangles: the pixels at which the features lie. Orange dots: where upsampling with its corners on the picture's puts "
        "them.",
        "蓝色三角：特征所在的像素。橙色圆点：按角对齐上采样把特征放到的位置。",
    )
    parts += [paragraph(key, kind="note"), *_atrous(album, side, last)]
    title = Words("Sizes, output stride and atrous convolution", "尺寸、输出步幅与空洞卷积")
    return Section("geometry", title, "".join(parts))


def _ruler(side: int, step: int) -> tuple[int, list[float], list[float]]:
    places = -(-side // step)
    return side, [float(i * step) for i in range(places)], [float(x) for x in np.linspace(0, side - 1, places)]


def _why(fits: bool) -> Words:
    if fits:
        return Words(
            "One feature for every {step} pixels, the first at pixel 0. A picture of {side} = {n} × {step} + 1 pixels has its "
            "last feature at pixel {far}, just on its edge: upsampling with aligned corners puts every feature back where it was "
            "seen. One pixel "
            "less, and the last feature, {step} pixels before the old edge, is pulled to the new one; all between shift with it.",
            "每 {step} 个像素一个特征，第一个在像素 0。边长 {side} = {n} × {step} + 1 的图片，最后一个特征正好在边缘像素 {far} 上，"
            "角对齐的上采样会把每个特征放回原处。少一个像素，最后一个特征就落在边缘之前，却被拉到边缘，中间的特征也随之错位。",
        )
    return Words(
        "One feature for every {step} pixels, the first at pixel 0, the last of {places} at pixel {far}. The edge of these pictures "
        "is at pixel "
        "{edge}, and upsampling with aligned corners pulls the last feature there, and all others with it. A side of {other}, of "
        "the form "
        "n × {step} + 1, would put each back where it was seen.",
        "每 {step} 个像素一个特征，第一个在像素 0，{places} 个中的最后一个在像素 {far}。图片的边缘在像素 {edge}，"
        "角对齐的上采样会把最后一个特征拉到那里，"
        "其他特征也随之错位。边长取 {other}（n × {step} + 1 的形式）时，每个特征都会回到原处。",
    )


def _atrous(album: Album, side: int, last: Field) -> list[str]:
    """The taps of a 3x3 convolution of the last block: without atrous, and as this net has them."""
    step, nominal = last.step, last.step * last.rate
    values = {
        "step": step,
        "nominal": nominal,
        "rate": last.rate,
        "side": -(-side // step),
        "coarse": -(-side // nominal),
    }
    middle = (side // 2) // nominal * nominal
    taps = [float(middle + d * nominal) for d in (-1, 0, 1) if 0 <= middle + d * nominal < side]
    coarse, dense = ([float(x) for x in range(0, side, each)] for each in (nominal, step))
    if last.rate == 1:
        text = Words(
            "This net needs no atrous convolution: with its strides as they are one feature stands for {step} pixels, so the map is "
            "{side}×{side}.",
            "这个网络不需要空洞卷积：按原本的步幅，每 {step} 个像素一个特征，特征图为 {side}×{side}。",
        )
        return [paragraph(text.format(**values))]
    text = Words(
        "With all its strides the net would have one feature for {nominal} pixels, {coarse}×{coarse} of them (above). From output_stride "
        "{step} on a stride is left out, and the taps of the 3×3 convolutions after it move {rate} places apart instead (rate "
        "{rate}, below): "
        "they see the same pixels, but at {side}×{side} places. The weights and the receptive field stay as they are, and the map is "
        "{rate} times as dense.",
        "若保留全部步幅，每 {nominal} 个像素才有一个特征，共 {coarse}×{coarse} 个（上图）。达到输出步幅 {step} 之后不再下采样，"
        "改为让其后 3×3 卷积的采样点相隔 {rate} 格（空洞率 {rate}，下图）：看到的像素不变，却在 {side}×{side} 个位置上计算。"
        "权重和感受野都不变，特征图密了 {rate} 倍。",
    ).format(**values)
    alt = Words(
        "Two rulers of {pixels} pixels. Above, a feature every {nominal} pixels; below, every {step}. The three taps of a convolution, "
        "as dots, lie on the same pixels of both.",
        "两把 {pixels} 个像素的尺子。上面每 {nominal} 个像素一个特征，下面每 {step} 个像素一个。"
        "卷积的三个采样点（圆点）落在相同的像素上。",
    ).format(pixels=side, **values)
    image = album.image("atrous", ruler_png([(side, coarse, taps), (side, dense, taps)]), alt, kind="rulers")
    key = Words(
        "Blue triangles: the features. Orange dots: the taps of one 3×3 convolution in the last block.",
        "蓝色三角：特征的位置。橙色圆点：最后一个残差块中一个 3×3 卷积的采样点。",
    )
    return [paragraph(text), _ruled(image), paragraph(key, kind="note")]


def _ruled(image: str) -> str:
    return scrolled(f"<figure>{image}</figure>", Words("Rulers", "标尺"))
