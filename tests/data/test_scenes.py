"""Scenes: exact labels, the same for the same seed, and no item on both sides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinyresnet.data import FASHION_MNIST_CLASSES, Dataset, fashion_mnist
from tinyresnet.data.scenes import COUNT, SCENE_CLASSES, THRESHOLD, scene, scene_dataset, scenes


class Rigged:
    """A generator that draws what it is told: how many, which, where."""

    def __init__(self, chosen: list[int], places: list[tuple[int, int]]) -> None:
        self.answers: list[Any] = [len(chosen), np.array(chosen), np.array(places)]
        self.asked: list[tuple[Any, ...]] = []

    def integers(self, *bounds: Any, **_: Any) -> Any:
        self.asked.append(bounds)
        return self.answers.pop(0)


INK = np.array([[[200, 10], [90, 17]], [[50, 60], [16, 70]]], np.uint8)[..., None]  # two items of 2x2


def on_paper(make: Callable[..., tuple[np.ndarray, np.ndarray]] = scene) -> None:
    """Item 0 (class 4) at the top left, then item 1 (class 0) one pixel further down and right, on a canvas of 4x4."""
    image, label = make(INK, np.array([4, 0]), Rigged([0, 1], [(0, 0), (1, 1)]), side=4)
    np.testing.assert_array_equal(image[..., 0], [[200, 0, 0, 0], [90, 50, 60, 0], [0, 0, 70, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(label, [[5, 0, 0, 0], [5, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]])


def test_a_composition_on_paper() -> None:
    """10 and 16 are below the threshold: there lies nothing; 17 was there and is hidden."""
    on_paper()


def test_what_is_drawn() -> None:
    """2 to 4 of the items, each at a place where it fits; so also at the very edge."""
    rng = Rigged([1], [(2, 2)])
    _, label = scene(INK, np.array([4, 0]), rng, side=4)  # type: ignore[arg-type]
    assert rng.asked == [COUNT, (2,), ((3, 3),)] and COUNT == (2, 4)
    np.testing.assert_array_equal(label[2:, 2:], [[1, 1], [0, 1]])
    _, label = scene(INK, np.array([4, 0]), Rigged([0], [(0, 0)]), side=2, threshold=100)  # type: ignore[arg-type]
    np.testing.assert_array_equal(label, [[5, 0], [0, 0]])


def test_the_number_of_items_is_from_fewest_to_most() -> None:
    """Items of one pixel, each of a class of its own, on a canvas where they rarely meet."""
    dots, classes = np.full((50, 1, 1, 1), 255, np.uint8), np.arange(50)
    seen = {
        int((scene(dots, classes, np.random.default_rng(i), side=60, count=(1, 3))[1] > 0).sum()) for i in range(60)
    }
    assert seen == {1, 2, 3}


def test_where_there_is_ink_there_is_a_label() -> None:
    dataset = scene_dataset(train=20, test=20)
    for images, labels in (dataset.train, dataset.test):
        np.testing.assert_array_equal(images[..., 0] > THRESHOLD, labels > 0)
        np.testing.assert_array_equal(images[..., 0] > 0, labels > 0)
        assert 0.05 < (labels > 0).mean() < 0.5


def test_shapes_types_names_and_classes() -> None:
    dataset = scene_dataset(side=97, train=30, test=25)
    assert isinstance(dataset, Dataset) and dataset.class_names == SCENE_CLASSES
    assert SCENE_CLASSES == ("background", *FASHION_MNIST_CLASSES)
    for part, number in ((dataset.train, 30), (dataset.test, 25)):
        assert part.images.shape == (number, 97, 97, 1) and part.images.dtype == np.uint8
        assert part.labels.shape == (number, 97, 97) and part.labels.dtype == np.int64
        assert np.unique(part.labels).tolist() == list(range(11))


def test_a_scene_depends_on_seed_part_and_number_alone() -> None:
    few, many = scene_dataset(train=3, test=2, seed=5), scene_dataset(train=6, test=4, seed=5)
    for part in (1, 2):
        for a, b in zip(few[part], many[part], strict=True):
            np.testing.assert_array_equal(a, b[: len(a)])
    assert scene_dataset(train=3, test=2, seed=5).fingerprint() == few.fingerprint()
    assert scene_dataset(train=3, test=2, seed=6).fingerprint() != few.fingerprint()
    assert len({image.tobytes() for image in (*many.train.images, *many.test.images)}) == 10


def test_one_scene_is_that_of_the_many() -> None:
    items, labels, _, _ = fashion_mnist()
    image, label = scene(items, labels, np.random.default_rng([7, 2]), side=65)
    many = scenes(items, labels, 3, 7, side=65)
    np.testing.assert_array_equal(image, many.images[2])
    np.testing.assert_array_equal(label, many.labels[2])


def owners(part: Any, items: np.ndarray) -> int:
    """How many scenes have a pixel-exact row of 28 of one of these items, of the bright middle rows."""
    rows = {row.tobytes() for row in items[:, 14, :, 0] if (row > THRESHOLD).sum() > 16}
    return sum(
        any(image[y, x : x + 28, 0].tobytes() in rows for y in range(65) for x in range(38)) for image in part.images
    )


def test_parts_never_share_items() -> None:
    """The middle rows of train items are found in train scenes, and those of test items in test scenes, and not the other way."""
    train_items, _, test_items, _ = (np.where(a > THRESHOLD, a, 0).astype(np.uint8) for a in fashion_mnist())
    dataset = scene_dataset(train=20, test=20)
    assert owners(dataset.train, train_items) > 10 and owners(dataset.test, test_items) > 10
    assert owners(dataset.train, test_items) == owners(dataset.test, train_items) == 0


ITEMS, LABELS = np.full((3, 5, 4, 1), 99, np.uint8), np.array([0, 1, 2])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"items": ITEMS[..., 0]}, r"items must be uint8 \[M, h, w, 1\], but are uint8 \[3, 5, 4\]"),
        ({"items": ITEMS.astype(np.float32)}, r"but are float32 \[3, 5, 4, 1\]"),
        ({"items": ITEMS[:0], "labels": LABELS[:0]}, r"but are uint8 \[0, 5, 4, 1\]"),
        ({"labels": LABELS[:2]}, r"labels must be integers \[3\], one an item, but are int64 \[2\]"),
        ({"labels": LABELS / 1}, r"but are float64 \[3\]"),
        ({"side": 4}, "side must be at least 5 pixels, so that an item fits, not 4"),
        ({"count": (0, 2)}, r"1 <= fewest <= most, not \(0, 2\)"),
        ({"count": (3, 2)}, r"1 <= fewest <= most, not \(3, 2\)"),
    ],
)
def test_what_does_not_fit_is_refused(wrong: dict[str, Any], says: str) -> None:
    arguments = {"items": ITEMS, "labels": LABELS, "rng": np.random.default_rng(0), "side": 9, **wrong}
    with pytest.raises(ValueError, match=says):
        scene(**arguments)


@pytest.mark.parametrize("side", [64, 66, 1, 0, -31, 65.0])
def test_the_side_is_32n_plus_1(side: Any) -> None:
    with pytest.raises(ValueError, match=rf"side must be .*not {side}"):
        scene_dataset(side=side, train=1, test=1)


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_part_has_scenes(part: str) -> None:
    with pytest.raises(ValueError, match="number must be an integer >= 1, not 0"):
        scene_dataset(**{"train": 1, "test": 1, part: 0})


# ---- planted ------------------------------------------------------------------------------------------------------------
def first_on_top(items: Any, labels: Any, rng: Any, *, side: int) -> Any:
    """The earlier item hides the later one."""
    rng.answers[1:] = [answer[::-1] for answer in rng.answers[1:]]
    return scene(items, labels, rng, side=side)


def whole_boxes(items: Any, labels: Any, rng: Any, *, side: int) -> Any:
    """Black corners of an item count as it and wipe out what lies beneath."""
    return scene(np.maximum(items, 1), labels, rng, side=side, threshold=0)


def rows_for_columns(items: Any, labels: Any, rng: Any, *, side: int) -> Any:
    image, label = scene(items, labels, rng, side=side)
    return image, label.T


def classes_from_zero(items: Any, labels: Any, rng: Any, *, side: int) -> Any:
    return scene(items, labels - 1, rng, side=side)


@pytest.mark.parametrize("mistake", [first_on_top, whole_boxes, rows_for_columns, classes_from_zero])
def test_a_wrong_composition_is_seen(mistake: Callable[..., Any]) -> None:
    with pytest.raises(AssertionError):
        on_paper(mistake)
