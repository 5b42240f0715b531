"""Confusion, accuracy and intersection over union: numbers by hand, a count in plain Python, and wrong formulas that are seen."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyresnet.metrics import accuracy, confusion_matrix, intersection_over_union, mean_iou

LABELS, PREDICTED = np.array([[0, 0, 0, 1], [1, 1, 3, 0]]), np.array([[0, 0, 1, 1], [3, 1, 3, 0]])
CONFUSION = [[3, 1, 0, 0], [0, 2, 0, 1], [0, 0, 0, 0], [0, 0, 0, 1]]  # of these eight pixels
IOU = [3 / 4, 2 / 4, math.nan, 1 / 2]  # class 2 is in neither
ZEROS = np.zeros((3, 3), np.int64)


def check(
    confusion_of: Callable[..., Any] = confusion_matrix,
    accuracy_of: Callable[..., Any] = accuracy,
    iou_of: Callable[..., Any] = intersection_over_union,
    mean_of: Callable[..., Any] = mean_iou,
) -> None:
    confusion = confusion_of(LABELS, PREDICTED, 4)
    np.testing.assert_array_equal(confusion, CONFUSION)
    assert accuracy_of(confusion) == 6 / 8
    np.testing.assert_allclose(iou_of(confusion), IOU, rtol=1e-12)
    assert mean_of(confusion) == pytest.approx((3 / 4 + 1 / 2 + 1 / 2) / 3, rel=1e-12)


def test_eight_pixels_by_hand() -> None:
    check()


def test_types() -> None:
    confusion = confusion_matrix(LABELS.astype(np.uint8), PREDICTED.astype(np.int32), 4)
    assert confusion.dtype == np.int64 and confusion.shape == (4, 4)
    assert type(accuracy(confusion)) is float and type(mean_iou(confusion)) is float
    assert intersection_over_union(confusion).dtype == np.float64


def test_small_integers_do_not_overflow() -> None:
    """200 * 201 + 3 does not fit into a byte."""
    confusion = confusion_matrix(np.array([200], np.uint8), np.array([3], np.uint8), 201)
    assert confusion[200, 3] == 1 == confusion.sum()


def test_no_label_at_all_and_a_class_never_found() -> None:
    """A class that is predicted but never right, or right but never predicted, counts as 0; one that is nowhere does not count."""
    assert (
        math.isnan(accuracy(ZEROS)) and math.isnan(mean_iou(ZEROS)) and np.isnan(intersection_over_union(ZEROS)).all()
    )
    confusion = np.array([[2, 3, 0], [0, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(intersection_over_union(confusion), [2 / 5, 0, math.nan])
    assert mean_iou(confusion) == pytest.approx(1 / 5) and accuracy(confusion) == 2 / 5
    empty = confusion_matrix(np.zeros(0, np.int64), np.zeros(0, np.int64), 3)
    np.testing.assert_array_equal(empty, ZEROS)


@given(st.integers(1, 6), st.lists(st.integers(0, 5), max_size=3), st.integers(0, 2**32))
@settings(max_examples=40)
def test_against_a_count_in_plain_python(k: int, shape: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, predicted = rng.integers(0, k, shape), rng.integers(0, k, shape)
    pairs = list(zip(labels.ravel().tolist(), predicted.ravel().tolist(), strict=True))
    confusion = confusion_matrix(labels, predicted, k)
    assert confusion.tolist() == [[pairs.count((row, column)) for column in range(k)] for row in range(k)]
    for c, found in enumerate(intersection_over_union(confusion)):
        union = sum(c in pair for pair in pairs)
        assert found == pairs.count((c, c)) / union if union else math.isnan(found)


@pytest.mark.parametrize(
    ("labels", "predicted", "classes", "says"),
    [
        ([0, 1], [0, 1, 1], 3, r"predicted must have the shape of labels, \[2\], but has \[3\]"),
        ([[0, 1]], [0, 1], 3, r"\[1, 2\], but has \[2\]"),
        ([0, 3], [0, 1], 3, "labels must be 0 to 2, but go from 0 to 3"),
        ([0, 1], [-1, 1], 3, "predicted must be 0 to 2, but go from -1 to 1"),
        ([0.0, 1.0], [0, 1], 3, "labels must be integers, not float64"),
        ([0, 1], [False, True], 3, "predicted must be integers, not bool"),
        ([0, 1], [0, 1], 0, "num_classes must be an integer >= 1, not 0"),
        ([0, 1], [0, 1], 2.0, "num_classes must be an integer >= 1, not 2.0"),
    ],
)
def test_bad_input(labels: Any, predicted: Any, classes: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        confusion_matrix(np.array(labels), np.array(predicted), classes)


# ---- planted ------------------------------------------------------------------------------------------------------------
def dice(confusion: Any) -> Any:
    """The overlap counted twice: 2 |A and B| / (|A| + |B|)."""
    with np.errstate(invalid="ignore"):
        return 2 * confusion.diagonal() / (confusion.sum(0) + confusion.sum(1))


def recall(confusion: Any) -> Any:
    with np.errstate(invalid="ignore"):
        return confusion.diagonal() / confusion.sum(1)


MISTAKES: dict[str, dict[str, Callable[..., Any]]] = {
    "rows and columns swapped": {"confusion_of": lambda labels, predicted, k: confusion_matrix(predicted, labels, k)},
    "accuracy averaged over the classes": {"accuracy_of": lambda c: np.nanmean(recall(c))},
    "dice": {"iou_of": dice},
    "recall": {"iou_of": recall},
    "absent classes count as 0": {"mean_of": lambda c: np.nan_to_num(intersection_over_union(c)).mean()},
    "absent classes count as 1": {"mean_of": lambda c: np.nan_to_num(intersection_over_union(c), nan=1.0).mean()},
    "pixel accuracy": {"mean_of": accuracy},
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_wrong_formula_is_seen(name: str) -> None:
    with pytest.raises(AssertionError):
        check(**MISTAKES[name])
