"""How many labels were named right, and which were taken for which. Everything is read off the confusion matrix."""

from __future__ import annotations

import numpy as np

from .backend import Array
from .ops.checks import positive_int


def confusion_matrix(labels: Array, predicted: Array, num_classes: int) -> Array:
    """[K, K] int64: how often label `row` was taken for `column`. labels, predicted: integers 0 to K-1, of one shape, any.

    Raises ValueError for other shapes, dtypes and numbers.
    """
    k = positive_int("num_classes", num_classes)
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    if labels.shape != predicted.shape:
        raise ValueError(
            f"predicted must have the shape of labels, {list(labels.shape)}, but has {list(predicted.shape)}"
        )
    for name, array in (("labels", labels), ("predicted", predicted)):
        if array.dtype.kind not in "iu":
            raise ValueError(f"{name} must be integers, not {array.dtype}")
        if array.size and not (0 <= array.min() and array.max() < k):
            raise ValueError(f"{name} must be 0 to {k - 1}, but go from {array.min()} to {array.max()}")
    pairs = labels.astype(np.int64) * k + predicted.astype(np.int64)
    return np.bincount(pairs.ravel(), minlength=k * k).reshape(k, k)


def accuracy(confusion: Array) -> float:
    """The share named right; NaN without any label."""
    total = int(confusion.sum())
    return float(confusion.diagonal().sum() / total) if total else float("nan")


def intersection_over_union(confusion: Array) -> Array:
    """[K]: for each class, labels named right / labels that are it or were taken for it; NaN for a class that is in neither.

    Long, Shelhamer and Darrell 2015, section 5.
    """
    right = confusion.diagonal()
    union = confusion.sum(0) + confusion.sum(1) - right
    found: Array = np.divide(right, union, out=np.full(len(union), np.nan), where=union > 0)
    return found


def mean_iou(confusion: Array) -> float:
    """The mean of intersection_over_union over the classes that occur, in labels or in predictions; NaN if none does.

    Of the counts of all pictures together, not a mean over pictures. Long et al. 2015; TensorFlow: tf.metrics.mean_iou.
    """
    found = intersection_over_union(confusion)
    return float(np.nanmean(found)) if np.isfinite(found).any() else float("nan")
