"""What the net makes of the pictures it was tested on: everything that the report draws, as arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import ops
from ..backend import Array, to_device, to_host
from ..data import Dataset
from ..explain import grad_cam
from ..extras import MissingExtra
from ..metrics import confusion_matrix

PIXELS_AT_ONCE = 100_000  # of the pictures whose probabilities are held at a time
SCENES = 6  # shown of a data set whose pixels have classes


class Findings(NamedTuple):
    """What was found on the test part; of a net that names pixels, labels and probabilities of the first scenes only."""

    dataset: Dataset
    confusion: Array  # [K, K] counts over all of it: rows what it is, columns what it was taken for
    labels: Array  # [N], or [N, H, W]
    probabilities: Array  # [N, K], or [N, H, W, K]

    @property
    def predicted(self) -> Array:
        """As labels."""
        return np.asarray(self.probabilities.argmax(-1))

    @property
    def sureness(self) -> Array:
        """The probability of what was predicted, shape as labels."""
        return np.asarray(self.probabilities.max(-1))

    @property
    def images(self) -> Array:
        """uint8 [N, H, W, C]."""
        images: Array = self.dataset.test.images
        return images


def find(run: Any) -> Findings:
    """Reads the run's data set again and predicts its test part. Raises ValueError, OSError, MissingExtra if it is gone."""
    dataset: Dataset = run.dataset()
    images, labels = dataset.test
    k, segmenting = len(run.class_names), run.config.task == "segment"
    confusion, kept, shown = np.zeros((k, k), np.int64), [], SCENES if segmenting else len(images)
    size = max(1, PIXELS_AT_ONCE // (images.shape[1] * images.shape[2]))
    for start in range(0, len(images), size):
        probabilities = run.predict(images[start : start + size])
        confusion += confusion_matrix(labels[start : start + size], probabilities.argmax(-1), k)
        kept.append(probabilities[: max(0, shown - start)])
    return Findings(dataset, confusion, labels[:shown], np.concatenate(kept))


def find_or_why_not(run: Any) -> tuple[Findings | None, str]:
    """The findings and "", or None and the one line that says what is missing."""
    try:
        return find(run), ""
    except (OSError, ValueError, MissingExtra) as error:
        return None, str(error) or type(error).__name__


def last_end_point(run: Any) -> str:
    """Of the last block, where Grad-CAM looks: the last place that still has places."""
    return f"{run.net.scope}/block{run.net.num_blocks}"


def heat(run: Any, image: Array, class_index: int, size: tuple[int, int]) -> Array:
    """Grad-CAM at the last block, for one picture uint8 [H, W, C], brought to `size`: [h, w], >= 0."""
    found = grad_cam(run.net, run.variables, run.normalised(image[None])[0], class_index, last_end_point(run))
    return upsampled(found, size)


def upsampled(values: Array, size: tuple[int, int]) -> Array:
    """[h, w] -> [H, W], linear between the places, corners on corners."""
    y, _ = ops.resize_bilinear_forward(to_device(np.ascontiguousarray(values[None, :, :, None])), size)
    return to_host(y)[0, :, :, 0]
