"""The pictures of an epoch, batch by batch, prepared on a thread of their own while the net computes.

Everything is a function of (seed, epoch, number of the batch): a run that goes on after a break sees just the pictures that it
would have seen without, and how far ahead the thread was does not matter.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from ..backend import Array
from .augment import Augmentation, Normalisation
from .dataset import Pictures

T = TypeVar("T")
ORDER, VIEWS = 0, 1  # two streams a seed: the order of an epoch, and the views of a batch


@dataclass(frozen=True)
class Batches:
    """How the pictures of a part become batches."""

    pictures: Pictures
    batch_size: int
    normalisation: Normalisation
    augmentation: Augmentation
    seed: int

    def __len__(self) -> int:
        """Batches an epoch; the last one may be smaller."""
        return -(-len(self.pictures.images) // self.batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Array, Array]]:
        """(images float32 [N, H, W, C], labels) of each batch from number `start` on."""
        order = np.random.default_rng([self.seed, ORDER, epoch]).permutation(len(self.pictures.images))
        for number in range(start, len(self)):
            chosen = order[number * self.batch_size : (number + 1) * self.batch_size]
            rng = np.random.default_rng([self.seed, VIEWS, epoch, number])
            images, labels = self.augmentation(self.pictures.images[chosen], self.pictures.labels[chosen], rng)
            yield self.normalisation(images), labels


@contextmanager
def ahead(items: Iterator[T], depth: int = 2) -> Iterator[Iterator[T]]:
    """`with ahead(batches.epoch(3)) as prepared: for images, labels in prepared: ...`

    A thread makes up to `depth` items before they are asked for. An error in it is raised where the items are taken. When the
    block ends, for whatever reason, the thread does as well.
    """
    made: queue.Queue[Any] = queue.Queue(depth)
    over = threading.Event()

    def offer(item: Any) -> bool:
        while not over.is_set():
            try:
                made.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not offer((item, None)):
                    return
            offer((None, StopIteration()))
        except BaseException as error:  # it is raised again where somebody waits
            offer((None, error))

    def taken() -> Iterator[T]:
        while True:
            item, error = made.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item

    thread = threading.Thread(target=work, name="tinyresnet-batches", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        over.set()
        thread.join()
