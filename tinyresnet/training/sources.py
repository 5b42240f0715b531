"""The data set of a config."""

from __future__ import annotations

import numpy as np

from ..data import Dataset, load
from ..data.checks import check_found
from ..data.dataset import Found
from ..data.scenes import scene_dataset
from .config import DataConfig

SCENES, TEST_SCENES, SIDE = 2000, 200, 65
LIMITED = 2  # the stream of a seed that chooses the pictures of `limit`


def dataset_of(data: DataConfig, seed: int) -> Dataset:
    """Reads or composes it, and keeps `limit` pictures of its training part. Raises ValueError, OSError, MissingExtra."""
    if data.source == "scenes":
        return scene_dataset(side=data.image_size or SIDE, train=data.limit or SCENES, test=TEST_SCENES, seed=seed)
    found = load(
        data.source,
        image_size=data.image_size or None,
        channels=data.channels or None,
        test_share=data.test_share,
        seed=seed,
    )
    return limited(found, data.limit, seed) if data.limit else found


def check_dataset(dataset: Dataset, task: str) -> None:
    """Raises ValueError for a data set of the caller's that no net could learn from, or whose parts do not go together."""
    if task == "classify":
        check_found(dataset.name, Found(dataset.train, dataset.test, dataset.class_names))
        return
    for name, (images, labels) in (("train", dataset.train), ("test", dataset.test)):
        if images.dtype != np.uint8 or images.ndim != 4 or 0 in images.shape or labels.shape != images.shape[:3]:
            raise ValueError(
                f"{dataset.name}: {name} pictures must be uint8 [N, H, W, C] and labels [N, H, W], "
                f"but are {images.dtype} {list(images.shape)} and {list(labels.shape)}"
            )
        if labels.dtype.kind not in "iu" or not 0 <= labels.min() <= labels.max() < len(dataset.class_names):
            raise ValueError(f"{dataset.name}: {name} labels must be integers from 0 to {len(dataset.class_names) - 1}")


def limited(dataset: Dataset, limit: int, seed: int) -> Dataset:
    """The data set with `limit` pictures of its training part, drawn at random. Raises ValueError if it has fewer."""
    images, labels = dataset.train
    if limit > len(images):
        raise ValueError(f"limit must be at most {len(images)}, the number of training pictures, not {limit}")
    kept = np.sort(np.random.default_rng([seed, LIMITED]).permutation(len(images))[:limit])
    return dataset._replace(train=type(dataset.train)(images[kept], labels[kept]))
