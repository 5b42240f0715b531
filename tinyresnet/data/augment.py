"""Another view of each picture every time it is seen: shifted, mirrored, cut out and enlarged. And pictures as numbers around 0.

The only source of chance is the generator that is passed in. Labels of pixels move with their pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..backend import Array


class Normalisation(NamedTuple):
    """x = (pixel - mean) / std, with one mean and one std a channel, in pixel units (0 to 255)."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    dtype: str = "float32"  # of x

    def __call__(self, images: Array) -> Array:
        """uint8 [N, H, W, C] -> x of the same shape."""
        scale = np.array([1 / std for std in self.std], self.dtype)
        x: Array = images.astype(self.dtype)
        x -= np.array(self.mean, self.dtype)
        x *= scale
        return x


def normalisation_of(images: Array) -> Normalisation:
    """The one that gives these pictures mean 0 and standard deviation 1 in each channel; std 1 for a channel of one value."""
    counts = np.stack([np.bincount(images[..., c].ravel(), minlength=256) for c in range(images.shape[-1])])  # [C, 256]
    values, total = np.arange(256), counts.sum(1)  # exact sums of integers, whatever the number of pixels
    mean = counts @ values / total
    variance = counts @ values**2 / total - mean**2
    std = np.sqrt(np.maximum(variance, 0))
    return Normalisation(tuple(mean.tolist()), tuple(np.where(std > 0, std, 1.0).tolist()))


class Augmentation(NamedTuple):
    """What is done to each picture of a batch.

    shift  by up to so many pixels each way; what comes in at the border is 0, as are the labels there
    flip   left and right changed, for half of them
    crop   a square of at least this share of the side is cut out and enlarged; 1: none. For pictures with one label
    """

    shift: int = 0
    flip: bool = False
    crop: float = 1.0

    def __call__(self, images: Array, labels: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """images uint8 [N, H, W, C], labels [N] or [N, H, W] -> the same shapes; new arrays if anything is changed."""
        if self.crop < 1:
            images = cropped(images, self.crop, rng)
        if self.shift or self.flip:
            rows, columns = _places(len(images), images.shape[1:3], self.shift, self.flip, rng)
            images = _moved(images, rows, columns, self.shift)
            if labels.ndim == 3:
                labels = _moved(labels[..., None], rows, columns, self.shift)[..., 0]
        return images, labels


def _places(n: int, size: tuple[int, int], shift: int, flip: bool, rng: np.random.Generator) -> tuple[Array, Array]:
    """Which rows [N, H] and columns [N, W] of the padded pictures each picture takes."""
    h, w = size
    rows = rng.integers(0, 2 * shift + 1, (n, 1)) + np.arange(h)
    columns = rng.integers(0, 2 * shift + 1, (n, 1)) + np.arange(w)
    if flip:
        columns = np.where(rng.random((n, 1)) < 0.5, columns[:, ::-1], columns)
    return rows, columns


def _moved(images: Array, rows: Array, columns: Array, shift: int) -> Array:
    padded = np.pad(images, ((0, 0), (shift, shift), (shift, shift), (0, 0))) if shift else images
    moved: Array = padded[np.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved


def cropped(images: Array, least: float, rng: np.random.Generator) -> Array:
    """A square of `least` to 1 of the side, at a random place, brought back to full size bilinearly. uint8 [N, H, W, C]."""
    n, h, w, _ = images.shape
    share = rng.uniform(least, 1, (n, 1))
    rows = rng.random((n, 1)) * (1 - share) * (h - 1) + share * np.arange(h)  # [N, H], from 0 to h - 1, not whole
    columns = rng.random((n, 1)) * (1 - share) * (w - 1) + share * np.arange(w)
    return np.rint(_between(_between(images, rows, 1), columns, 2)).astype(np.uint8)


def _between(images: Array, places: Array, axis: int) -> Array:
    """Linear interpolation along one axis at places [N, L]; float32."""
    low = np.minimum(places.astype(np.intp), images.shape[axis] - 1)
    high = np.minimum(low + 1, images.shape[axis] - 1)
    shape = [1, 1, 1, 1]
    shape[0], shape[axis] = places.shape
    share = (places - low).astype(np.float32).reshape(shape)
    below, above = (np.take_along_axis(images, index.reshape(shape), axis) for index in (low, high))
    mixed: Array = below * (1 - share) + above * share
    return mixed
