"""Batches: which pictures in which order, as a function of (seed, epoch, batch) alone; and the thread that makes them ahead."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tinyresnet.data import Pictures
from tinyresnet.data.augment import Augmentation, Normalisation
from tinyresnet.data.batches import Batches, ahead

PLAIN, STILL = Normalisation((0.0,), (1.0,)), Augmentation()
PATIENCE = 30.0  # seconds, for what comes at once unless it never comes


def numbered(n: int, size: int, seed: int = 0, augmentation: Augmentation = STILL) -> Batches:
    """Pictures that are told apart by their first pixel, which is their label, too."""
    images = np.random.default_rng(9).integers(0, 256, (n, 3, 4, 1), np.uint8)
    images[:, 0, 0, 0] = np.arange(n)
    return Batches(Pictures(images, np.arange(n)), size, PLAIN, augmentation, seed)


def labels_of(batches: Batches, epoch: int, start: int = 0) -> list[list[int]]:
    return [labels.tolist() for _, labels in batches.epoch(epoch, start)]


def same(first: Any, second: Any) -> bool:
    first, second = list(first), list(second)
    return len(first) == len(second) and all(
        (x == y).all() and (a == b).all() for (x, a), (y, b) in zip(first, second, strict=True)
    )


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before, "a thread outlived its block"


# ---- an epoch ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("n", "size", "sizes"), [(10, 4, [4, 4, 2]), (8, 4, [4, 4]), (3, 5, [3]), (1, 1, [1]), (5, 1, [1] * 5)]
)
def test_every_picture_once_an_epoch_with_its_label(n: int, size: int, sizes: list[int]) -> None:
    batches = numbered(n, size)
    made = list(batches.epoch(1))
    assert [len(x) for x, _ in made] == sizes and len(batches) == len(sizes)
    assert sorted(label for _, labels in made for label in labels) == list(range(n))
    for x, labels in made:
        assert x.dtype == np.float32 and x.shape == (len(labels), 3, 4, 1)
        assert (x == batches.pictures.images[labels]).all()


def test_they_are_normalised_after_they_were_moved() -> None:
    """What comes in at the border is black like a black pixel, not grey like the mean."""
    images = np.full((6, 3, 3, 1), 100, np.uint8)
    batches = Batches(Pictures(images, np.arange(6)), 6, Normalisation((100.0,), (50.0,)), Augmentation(shift=2), 0)
    ((x, _),) = batches.epoch(1)
    assert set(np.unique(x)) == {-2.0, 0.0}


def test_seed_and_epoch_decide_the_order() -> None:
    order = labels_of(numbered(50, 8), 1)
    assert order == labels_of(numbered(50, 8), 1)
    assert order != labels_of(numbered(50, 8), 2)
    assert order != labels_of(numbered(50, 8, seed=1), 1)
    assert order != [list(range(50))[i : i + 8] for i in range(0, 50, 8)], "not shuffled"


def test_the_views_differ_between_epochs_batches_and_seeds() -> None:
    """One batch of the same picture each: what differs is its view."""

    def views(seed: int, epoch: int) -> list[bytes]:
        images = np.repeat(np.random.default_rng(1).integers(1, 256, (1, 9, 9, 1), np.uint8), 6, axis=0)
        batches = Batches(Pictures(images, np.zeros(6, np.int64)), 3, PLAIN, Augmentation(4, True), seed)
        return [x.tobytes() for x, _ in batches.epoch(epoch)]

    assert views(0, 1) == views(0, 1)
    assert len({*views(0, 1), *views(0, 2), *views(1, 1), *views(1, 2)}) == 8


@pytest.mark.parametrize("start", [0, 1, 4, 6, 7])
def test_beginning_at_a_batch_is_leaving_out_those_before_it(start: int) -> None:
    batches = numbered(50, 8, augmentation=Augmentation(1, True, 0.8))
    assert len(batches) == 7
    assert same(batches.epoch(3, start), list(batches.epoch(3))[start:])


def test_planted_mistake_one_stream_for_the_whole_epoch_is_noticed() -> None:
    """A generator that goes on from batch to batch is not where it was when a run begins in the middle."""

    class Onward(Batches):
        def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
            rng = np.random.default_rng([self.seed, epoch])
            order = rng.permutation(len(self.pictures.images))
            for number in range(start, len(self)):
                chosen = order[number * self.batch_size : (number + 1) * self.batch_size]
                images, labels = self.augmentation(self.pictures.images[chosen], self.pictures.labels[chosen], rng)
                yield self.normalisation(images), labels

    batches = Onward(numbered(50, 8).pictures, 8, PLAIN, Augmentation(1, True), seed=0)
    assert same(batches.epoch(3), batches.epoch(3))
    assert not same(batches.epoch(3, 2), list(batches.epoch(3))[2:])


def test_pictures_are_never_written_to() -> None:
    batches = numbered(20, 6, augmentation=Augmentation(1, True, 0.6))
    before = batches.pictures.images.copy()
    for x, labels in batches.epoch(1):
        x += 1
        labels += 1
    assert (batches.pictures.images == before).all() and (batches.pictures.labels == np.arange(20)).all()


# ---- ahead -------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("depth", [1, 2, 50])
def test_it_gives_what_the_iterator_gives_in_its_order(depth: int) -> None:
    batches = numbered(30, 4, augmentation=Augmentation(1))
    with ahead(batches.epoch(2), depth) as prepared:
        made = list(prepared)
    assert same(made, batches.epoch(2))


def test_nothing_gives_nothing() -> None:
    with ahead(iter(())) as prepared:
        assert list(prepared) == []


def test_none_is_an_item_like_any_other() -> None:
    with ahead(iter([None, 0, None])) as prepared:
        assert list(prepared) == [None, 0, None]


class Steps:
    """An iterator that says when it has begun to make an item, and makes it when it may."""

    def __init__(self, count: int) -> None:
        self.begun = [threading.Event() for _ in range(count)]
        self.may = [threading.Event() for _ in range(count)]
        self.thread: threading.Thread | None = None

    def __iter__(self) -> Iterator[int]:
        self.thread = threading.current_thread()
        for i, (begun, may) in enumerate(zip(self.begun, self.may, strict=True)):
            begun.set()
            assert may.wait(PATIENCE)
            yield i


def test_it_works_ahead_on_a_thread_of_its_own_but_not_too_far() -> None:
    """A slow consumer: before it takes anything, `depth` items are made and the next one waits in the thread's hand."""
    steps = Steps(9)
    for may in steps.may:
        may.set()
    with ahead(iter(steps), depth=2) as prepared:
        assert steps.begun[2].wait(PATIENCE), "it did not work ahead"
        assert steps.thread not in (None, threading.current_thread())
        assert not steps.begun[3].is_set(), "it worked too far ahead"
        assert next(prepared) == 0
        assert steps.begun[3].wait(PATIENCE), "it did not go on when there was room"
        assert list(prepared) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_slow_producer_is_waited_for() -> None:
    steps, taken = Steps(3), []
    with ahead(iter(steps)) as prepared:
        for i in range(3):
            assert steps.begun[i].wait(PATIENCE)
            assert taken == list(range(i))
            steps.may[i].set()
            taken.append(next(prepared))
        assert list(prepared) == []
    assert taken == [0, 1, 2]


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, MemoryError])
def test_an_error_comes_out_where_the_items_are_taken_after_those_before_it(kind: type[BaseException]) -> None:
    class Broken:
        made = 0

        def __iter__(self) -> Broken:
            return self

        def __next__(self) -> int:
            self.made += 1
            if self.made == 3:
                raise kind("the third")
            return self.made

    taken = []
    with ahead(iter(Broken())) as prepared:
        with pytest.raises(kind, match="the third"):
            for item in prepared:
                taken.append(item)  # one by one: those before the error count
    assert taken == [1, 2]


def test_a_picture_that_fails_in_the_thread_is_told() -> None:
    pictures = Pictures(numbered(8, 4).pictures.images, np.arange(5))
    batches = Batches(pictures, 4, PLAIN, STILL, seed=0)
    with ahead(batches.epoch(1)) as prepared, pytest.raises(IndexError, match="out of bounds"):
        list(prepared)


@pytest.mark.parametrize("way", ["break", "error", "not begun"])
def test_leaving_early_ends_the_thread(way: str) -> None:
    def endless() -> Iterator[int]:
        i = 0
        while True:
            yield i
            i += 1

    with pytest.raises(LookupError) if way == "error" else ahead(iter(())), ahead(endless()) as prepared:
        if way == "break":
            for item in prepared:
                if item == 5:
                    break
        elif way == "error":
            next(prepared)
            raise LookupError
    # the fixture looks for a thread that is left


def test_a_generator_that_was_left_is_closed() -> None:
    """A file that it holds open is closed then."""
    closed = threading.Event()

    def holding() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    with ahead(holding()) as prepared:
        next(prepared)
    assert closed.wait(PATIENCE)


def test_two_at_once_do_not_mix() -> None:
    a, b = numbered(12, 5), numbered(12, 5, seed=7)
    with ahead(a.epoch(1)) as first, ahead(b.epoch(1)) as second:
        pairs = list(zip(first, second, strict=True))
    assert [x[1].tolist() for x, _ in pairs] == labels_of(a, 1)
    assert [y[1].tolist() for _, y in pairs] == labels_of(b, 1)
