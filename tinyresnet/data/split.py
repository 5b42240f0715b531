"""Divides pictures into some to learn from and some to be tested on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backend import Array
from .dataset import Pictures


def stratified_split(
    where: Any, pictures: Pictures, class_names: Sequence[str], *, test_share: float, seed: int
) -> tuple[Pictures, Pictures]:
    """(train, test): of each class the same share is tested on, at least one picture and never all; the order is kept.

    The seed and the labels alone decide. Equal pictures count as different ones, and can end up one in each part.
    Raises ValueError for a class of fewer than two pictures; `where` names the source.
    """
    tested = np.zeros(len(pictures.labels), bool)
    for k, name in enumerate(class_names):
        places = np.flatnonzero(pictures.labels == k)
        if len(places) < 2:
            raise ValueError(
                f"{where}: class {name!r} has {len(places)} picture{'s' * (len(places) != 1)}, but needs 2 or more: "
                "one to learn from and one to be tested on"
            )
        count = min(max(round(len(places) * test_share), 1), len(places) - 1)
        tested[places[_permutation(len(places), seed, k)[:count]]] = True
    return (
        Pictures(pictures.images[~tested], pictures.labels[~tested]),
        Pictures(pictures.images[tested], pictures.labels[tested]),
    )


def _permutation(n: int, seed: int, k: int) -> Array:
    """The same one in every version of NumPy: RandomState's stream is the one that is promised never to change (NEP 19)."""
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence([seed, k]))).permutation(n)
