"""How good a net is on pictures that it has not learnt from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from .. import ops
from ..backend import Array, to_device, to_host
from ..data import Pictures
from ..data.augment import Normalisation
from ..metrics import accuracy, confusion_matrix, mean_iou
from ..slim import Variables
from .nets import Net

PIXELS_AT_ONCE = 200_000  # of pictures in a batch: 255 of 28x28, 47 of 65x65, 3 of 224x224


class Evaluation(NamedTuple):
    """What `evaluate` found."""

    loss: float  # mean cross-entropy over the labels
    confusion: Array  # [K, K] int64: rows what it is, columns what it was taken for

    @property
    def accuracy(self) -> float:
        """Share of the labels named right."""
        return accuracy(self.confusion)

    @property
    def mean_iou(self) -> float:
        """Intersection over union, mean over the classes."""
        return mean_iou(self.confusion)


class Predictor(NamedTuple):
    """pictures -> probabilities: net, weights, normalisation, and whether a picture's mirror image is asked as well."""

    net: Net
    variables: Variables
    normalisation: Normalisation
    mirror: bool

    def __call__(self, images: Array) -> Array:
        """uint8 [N, H, W, C] -> float32 [N, K], or [N, H, W, K] for task segment, on the host; any N."""
        parts = [self._probabilities(images[part]) for part in _parts(images)]
        if parts:
            return np.concatenate(parts)
        pixels = images.shape[1:3] if self.net.config.task == "segment" else ()
        return np.zeros((0, *pixels, self.net.num_classes), np.float32)

    def _probabilities(self, images: Array) -> Array:
        x = self.normalisation(images)
        found = self._forward(x)
        if not self.mirror:
            return found
        mirrored = self._forward(np.ascontiguousarray(x[:, :, ::-1]))
        return (found + (mirrored[:, :, ::-1] if mirrored.ndim == 4 else mirrored)) / 2

    def _forward(self, x: Array) -> Array:
        return to_host(ops.softmax(self.net(to_device(x), self.variables, is_training=False)[0]))


def _parts(images: Array) -> Iterator[slice]:
    size = max(1, PIXELS_AT_ONCE // max(1, images.shape[1] * images.shape[2]))
    return (slice(start, start + size) for start in range(0, len(images), size))


def evaluate(predictor: Predictor, pictures: Pictures, between: Callable[[], None] | None = None) -> Evaluation:
    """Loss and confusion matrix over `pictures`. `between` is called after each batch; what it raises ends the evaluation."""
    k = predictor.net.num_classes
    confusion, loss = np.zeros((k, k), np.int64), 0.0
    for part in _parts(pictures.images):
        probabilities, labels = predictor(pictures.images[part]), pictures.labels[part]
        confusion += confusion_matrix(labels, probabilities.argmax(-1), k)
        of_truth = np.take_along_axis(probabilities, labels[..., None], -1)
        loss -= float(np.log(np.maximum(of_truth, np.finfo(np.float32).tiny)).sum(dtype=np.float64))
        if between is not None:
            between()
    return Evaluation(loss / pictures.labels.size, confusion)
