"""Scenes to segment: clothes of Fashion-MNIST laid out on a black canvas, so that the class of every pixel is known exactly.

What makes the task honest: test scenes are made of test items only; items overlap, and the later one hides what it lies on, so a net
sees sleeves and heels without the rest; there is no hint but the shape, for a shirt is as bright as a coat. What makes it small:
the canvas is black, so that telling *where* something lies is easy, and *what* it is has to be learnt, from a field of view of 28 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..backend import Array
from ..ops.checks import positive_int, shape_text
from .dataset import Dataset, Pictures
from .shipped_fashion import FASHION_MNIST_CLASSES, fashion_mnist

SCENE_CLASSES = ("background", *FASHION_MNIST_CLASSES)
COUNT = (2, 4)  # items a scene, the fewest and the most
THRESHOLD = 16  # of 255: leaves out the grey fringe, 4 to 11 % of an item's pixels with ink, of a sandal with its thin straps 18 %


def scene(
    items: Array,
    labels: Array,
    rng: np.random.Generator,
    *,
    side: int,
    count: tuple[int, int] = COUNT,
    threshold: int = THRESHOLD,
) -> tuple[Array, Array]:
    """One scene: image [side, side, 1] uint8 and the class of each pixel, label [side, side] int64.

    items [M, h, w, 1] uint8 of labels [M] (k = 0, 1, ...). count[0] to count[1] of them are drawn, each as likely, and laid at places
    inside the canvas. Where an item's ink is above the threshold, image takes its ink and label its k + 1, and both forget what lay there;
    elsewhere the item is not there at all. The canvas is 0 in both. Raises ValueError for items, a side or a count that do not fit.
    """
    _check(items, labels, side, count)
    image, label = np.zeros((side, side, 1), np.uint8), np.zeros((side, side), np.int64)
    chosen = rng.integers(len(items), size=rng.integers(count[0], count[1], endpoint=True))
    h, w = items.shape[1:3]
    places = rng.integers((side - h + 1, side - w + 1), size=(len(chosen), 2))
    for k, (top, left) in zip(chosen, places, strict=True):
        here = slice(top, top + h), slice(left, left + w)
        ink = items[k, :, :, 0] > threshold  # [h, w]
        image[here][ink] = items[k][ink]
        label[here][ink] = labels[k] + 1
    return image, label


def scenes(items: Array, labels: Array, number: int, seed: int | Sequence[int], *, side: int) -> Pictures:
    """`number` scenes: images [number, side, side, 1], labels [number, side, side]. Scene i depends on items, seed, side and i only.

    So a hundred scenes are the first hundred of a thousand. seed: an integer >= 0 or several. Raises ValueError as `scene`.
    """
    number, side = positive_int("number", number), positive_int("side", side)
    images, classes = np.empty((number, side, side, 1), np.uint8), np.empty((number, side, side), np.int64)
    stem = [seed] if isinstance(seed, int) else list(seed)
    for i in range(number):
        images[i], classes[i] = scene(items, labels, np.random.default_rng([*stem, i]), side=side)
    return Pictures(images, classes)


def scene_dataset(*, side: int = 65, train: int = 2000, test: int = 200, seed: int = 0) -> Dataset:
    """Scenes from the Fashion-MNIST items that come with the package; classes: SCENE_CLASSES, 0 is the background.

    Train scenes are made of the 6000 train items, test scenes of the 1000 test items. side: 32 n + 1 pixels, so that the net's maps lie
    corner on corner with the image. Raises ValueError.
    """
    if positive_int("side", side) % 32 != 1 or side < 33:
        raise ValueError(f"side must be 32 n + 1 pixels, such as 65 or 97, not {side}")
    train_items, train_labels, test_items, test_labels = fashion_mnist()
    return Dataset(
        f"fashion scenes {side}x{side}",
        scenes(train_items, train_labels, train, (seed, 0), side=side),
        scenes(test_items, test_labels, test, (seed, 1), side=side),
        SCENE_CLASSES,
    )


def _check(items: Array, labels: Array, side: int, count: tuple[int, int]) -> None:
    if items.ndim != 4 or items.shape[3] != 1 or items.dtype != np.uint8 or not items.size:
        raise ValueError(f"items must be uint8 [M, h, w, 1], but are {items.dtype} {shape_text(items.shape)}")
    if labels.shape != items.shape[:1] or labels.dtype.kind not in "iu":
        raise ValueError(
            f"labels must be integers [{len(items)}], one an item, but are {labels.dtype} {shape_text(labels.shape)}"
        )
    if side < max(items.shape[1:3]):
        raise ValueError(f"side must be at least {max(items.shape[1:3])} pixels, so that an item fits, not {side}")
    if not 1 <= count[0] <= count[1]:
        raise ValueError(f"count must be (fewest, most) items with 1 <= fewest <= most, not {count}")
