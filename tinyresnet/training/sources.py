"""The data set of a config."""

from __future__ import annotations

import numpy as np

from ..data import Dataset, load
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


def limited(dataset: Dataset, limit: int, seed: int) -> Dataset:
    """The data set with `limit` pictures of its training part, drawn at random. Raises ValueError if it has fewer."""
    images, labels = dataset.train
    if limit > len(images):
        raise ValueError(f"limit must be at most {len(images)}, the number of training pictures, not {limit}")
    kept = np.sort(np.random.default_rng([seed, LIMITED]).permutation(len(images))[:limit])
    return dataset._replace(train=type(dataset.train)(images[kept], labels[kept]))
