"""Views of a picture: every one that there should be, no other, labels with their pixels; and pictures as numbers around 0."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinyresnet.data import augment, fashion_mnist
from tinyresnet.data.augment import Augmentation, Normalisation, cropped, normalisation_of

ONE = np.zeros(400, np.int64)  # labels that are not looked at


def picture(h: int = 5, w: int = 4, c: int = 1, seed: int = 0) -> Any:
    """No two rows or columns alike, and nowhere 0, which is what comes in at the border."""
    return np.random.default_rng(seed).integers(1, 256, (h, w, c), np.uint8)


# ---- shifts and flips ------------------------------------------------------------------------------------------------------
def every_view(image: Any) -> list[Any]:
    """The 18 that shifts of -1, 0, 1 rows and columns and a mirror make, on paper: shift first, then mirror."""
    h, w = image.shape[:2]
    views = []
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            view = np.zeros_like(image)
            for i in range(h):
                for j in range(w):
                    if 0 <= i - down < h and 0 <= j - right < w:
                        view[i, j] = image[i - down, j - right]
            views += [view, view[:, ::-1]]
    return views


def which_views(fn: Callable[..., Any], c: int = 1) -> list[int]:
    """Which of the 18 views `fn` made of 400 equal pictures; raises ValueError if it made another picture."""
    image = picture(c=c)
    views = [view.tobytes() for view in every_view(image)]
    before = np.repeat(image[None], 400, axis=0)
    made = fn(before, ONE, np.random.default_rng(1))[0]
    assert (before == image).all(), "it wrote to its input"
    assert made.dtype == np.uint8 and made.shape == before.shape
    return [views.index(one.tobytes()) for one in made]


@pytest.mark.parametrize("c", [1, 3])
def test_shifts_and_flips_make_all_18_views(c: int) -> None:
    made = which_views(Augmentation(shift=1, flip=True), c)
    counts = np.bincount(made, minlength=18)
    assert counts.min() > 0
    assert counts.max() < 45, "22 of each are expected: one of them comes far too often"


def test_flips_alone_and_shifts_alone() -> None:
    assert set(which_views(Augmentation(flip=True))) == {8, 9}  # neither down nor right: as it is, and mirrored
    assert set(which_views(Augmentation(shift=1))) == set(range(0, 18, 2))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda images, labels, rng: (np.roll(images, 1, axis=2), labels),
        lambda images, labels, rng: (images[:, ::-1], labels),
        lambda images, labels, rng: (np.pad(images, ((0, 0), (0, 0), (2, 0), (0, 0)))[:, :, :-2], labels),
    ],
    ids=["pixels that wrap around", "upside down", "a shift of two"],
)
def test_planted_mistake_another_picture_is_noticed(wrong: Any) -> None:
    with pytest.raises(ValueError, match="not in list"):
        which_views(wrong)


def test_nothing_to_do_changes_nothing() -> None:
    images, labels = np.stack([picture()] * 3), np.array([2, 0, 1])
    same, same_labels = Augmentation()(images, labels, np.random.default_rng(0))
    assert same is images and same_labels is labels


def test_a_shift_larger_than_the_picture() -> None:
    """Whatever is left of it comes with the right border; most are all black."""
    images = np.stack([picture(3, 2)] * 300)
    made = Augmentation(shift=4)(images, ONE[:300], np.random.default_rng(0))[0]
    assert made.shape == images.shape and 0 < (made.reshape(300, -1).max(1) == 0).sum() < 300


# ---- labels of pixels ------------------------------------------------------------------------------------------------------
def pixels_with_their_labels(n: int = 200) -> tuple[Any, Any]:
    """Pictures whose pixels tell their label: it is the pixel modulo 11 where the pixel is not 0."""
    images = np.random.default_rng(2).integers(1, 256, (n, 6, 5, 1), np.uint8)
    return images, (images[..., 0] % 11).astype(np.int64)


def labels_follow(fn: Callable[..., Any]) -> bool:
    images, labels = pixels_with_their_labels()
    moved, moved_labels = fn(images, labels, np.random.default_rng(3))
    assert (moved != images).any(), "nothing was moved"
    assert moved_labels.dtype == np.int64 and moved_labels.shape == labels.shape
    return bool((moved_labels == moved[..., 0] % 11).all())  # and 0 at the border that came in, where the pixel is 0


@pytest.mark.parametrize("augmentation", [Augmentation(2, True), Augmentation(1), Augmentation(0, True)])
def test_labels_of_pixels_move_with_them(augmentation: Augmentation) -> None:
    assert labels_follow(augmentation)


def test_planted_mistake_labels_that_stay_are_noticed() -> None:
    def forgetful(images: Any, labels: Any, rng: Any) -> Any:
        return Augmentation(1, True)(images, ONE[: len(images)], rng)[0], labels

    assert not labels_follow(forgetful)


def test_labels_of_whole_pictures_stay() -> None:
    labels = np.arange(400)
    images = np.repeat(picture()[None], 400, axis=0)
    assert (Augmentation(2, True, 0.5)(images, labels, np.random.default_rng(0))[1] == labels).all()


# ---- crops -------------------------------------------------------------------------------------------------------------------
class Told:
    """A generator that gives the numbers it was told."""

    def __init__(self, share: list[float], down: list[float], right: list[float]) -> None:
        self.shares, self.places = share, [down, right]

    def uniform(self, low: float, high: float, shape: tuple[int, int]) -> Any:
        assert shape == (len(self.shares), 1) and all(low <= share <= high for share in self.shares)
        return np.array(self.shares)[:, None]

    def random(self, shape: tuple[int, int]) -> Any:
        assert shape == (len(self.shares), 1)
        return np.array(self.places.pop(0))[:, None]


def crop_on_paper(image: Any, share: float, down: float, right: float) -> Any:
    """A window of `share` of the way from the first to the last pixel, pulled out to the full size: pixel by pixel."""
    h, w, c = image.shape
    made = np.zeros((h, w, c))
    for i in range(h):
        for j in range(w):
            y = down * (1 - share) * (h - 1) + share * i
            x = right * (1 - share) * (w - 1) + share * j
            y0, x0 = min(math.floor(y), h - 2), min(math.floor(x), w - 2)
            a, b = y - y0, x - x0
            for k in range(c):
                corner = image[y0 : y0 + 2, x0 : x0 + 2, k].astype(float)
                made[i, j, k] = (1 - a) * ((1 - b) * corner[0, 0] + b * corner[0, 1]) + a * (
                    (1 - b) * corner[1, 0] + b * corner[1, 1]
                )
    return made


def crop_error(crop: Callable[..., Any]) -> float:
    shares, down, right = [0.5, 0.73, 1.0, 0.6, 0.9], [0.0, 0.31, 0.5, 1.0, 0.2], [1.0, 0.77, 0.1, 0.0, 0.4]
    images = np.stack([picture(7, 5, 3, seed) for seed in range(5)])
    made = crop(images, 0.5, Told(shares, down, right))
    assert made.dtype == np.uint8 and made.shape == images.shape
    expected = np.stack([crop_on_paper(*each) for each in zip(images, shares, down, right, strict=True)])
    return float(abs(made - expected).max())


def test_a_crop_is_the_one_on_paper() -> None:
    assert crop_error(cropped) < 0.501  # rounded to whole numbers


def test_planted_mistake_the_nearest_pixel_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def nearest(images: Any, places: Any, axis: int) -> Any:
        shape = [1, 1, 1, 1]
        shape[0], shape[axis] = places.shape
        return np.take_along_axis(images, np.rint(places).astype(int).reshape(shape), axis).astype(np.float32)

    monkeypatch.setattr(augment, "_between", nearest)
    assert crop_error(cropped) > 5


def test_crops_differ_stay_inside_and_keep_a_flat_picture_flat() -> None:
    gradient = np.repeat(np.linspace(10, 250, 9).astype(np.uint8)[None, :, None, None], 9, axis=2)  # [1, 9, 9, 1]
    made = cropped(np.repeat(gradient, 50, axis=0), 0.4, np.random.default_rng(0)).astype(int)
    assert made.min() >= 10 and made.max() <= 250
    heights = made[:, -1, 0, 0] - made[:, 0, 0, 0]
    assert len(set(heights)) > 20 and heights.min() >= 0.4 * 240 - 2 and heights.max() <= 240
    flat = np.full((4, 6, 6, 1), 77, np.uint8)
    assert (cropped(flat, 0.5, np.random.default_rng(1)) == 77).all()


def test_a_picture_of_one_pixel_can_be_cropped() -> None:
    assert cropped(np.full((2, 1, 1, 1), 9, np.uint8), 0.5, np.random.default_rng(0)).tolist() == [[[[9]]]] * 2


# ---- chance comes from the generator alone -------------------------------------------------------------------------------------
def test_the_generator_decides_everything() -> None:
    images, labels = pixels_with_their_labels(30)
    chosen = Augmentation(2, True, 0.7)
    first, again, other = (chosen(images, labels[:, 0, 0], np.random.default_rng(seed))[0] for seed in (5, 5, 6))
    assert (first == again).all() and (first != other).any()


# ---- normalisation -----------------------------------------------------------------------------------------------------------
def test_the_formula() -> None:
    images = np.array([[[[0, 10], [255, 20]]]], np.uint8)  # [1, 1, 2, 2]
    x = Normalisation((100.0, 15.0), (50.0, 2.0))(images)
    assert x.dtype == np.float32 and x.shape == images.shape
    np.testing.assert_allclose(x, [[[[-2, -2.5], [3.1, 2.5]]]], rtol=1e-6)


@pytest.mark.parametrize("c", [1, 3])
def test_mean_0_and_deviation_1_in_each_channel(c: int) -> None:
    rng = np.random.default_rng(0)
    images = np.stack([rng.integers(10 * k, 100 + 50 * k, (40, 7, 6)) for k in range(c)], -1).astype(np.uint8)
    found = normalisation_of(images)
    for k in range(c):
        assert found.mean[k] == pytest.approx(images[..., k].astype(float).mean(), rel=1e-13)
        assert found.std[k] == pytest.approx(images[..., k].astype(float).std(), rel=1e-10)
    x = found(images).astype(np.float64)
    assert abs(x.mean((0, 1, 2))).max() < 1e-6 and abs(x.std((0, 1, 2)) - 1).max() < 1e-6


def test_a_channel_of_one_value_is_not_divided_by_0() -> None:
    images = np.full((3, 2, 2, 1), 200, np.uint8)
    found = normalisation_of(images)
    assert found == Normalisation((200.0,), (1.0,)) and (found(images) == 0).all()


def test_numbers_are_pythons_and_come_back_from_json_unchanged() -> None:
    found = normalisation_of(np.stack([picture(c=3)] * 2))
    told = json.loads(json.dumps([found.mean, found.std]))
    assert (tuple(told[0]), tuple(told[1])) == (found.mean, found.std)


def test_in_float64() -> None:
    images = np.stack([picture(c=3)] * 2)
    found = normalisation_of(images)._replace(dtype="float64")
    x = found(images)
    assert x.dtype == np.float64
    np.testing.assert_allclose(x, (images - np.array(found.mean)) / np.array(found.std), rtol=1e-14, atol=1e-14)


def test_the_clothes() -> None:
    x = normalisation_of(images := fashion_mnist()[0])(images)
    assert abs(x.mean(dtype=np.float64)) < 1e-6 and abs(x.std(dtype=np.float64) - 1) < 1e-6
