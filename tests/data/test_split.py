"""Stratified splits, and the shipped digits that are split by one."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyresnet.data
from tinyresnet.data import DIGITS_CLASSES, Pictures, digits, load, shipped_digits
from tinyresnet.data.split import stratified_split


def numbered(labels: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Pictures:
    """Pictures of one pixel, each with its place as its value (less than 256 of them)."""
    return Pictures(np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1), labels)


@given(
    counts=st.lists(st.integers(2, 20), min_size=1, max_size=6),
    share=st.floats(0.001, 0.999),
    seed=st.integers(0, 2**40),
    order=st.randoms(use_true_random=False),
)
def test_every_class_is_in_both_parts(counts: list[int], share: float, seed: int, order: object) -> None:
    shuffled = [k for k, count in enumerate(counts) for _ in range(count)]
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    pictures = numbered(np.array(shuffled, np.int64))
    names = [str(k) for k in range(len(counts))]
    train, test = stratified_split("x", pictures, names, test_share=share, seed=seed)
    assert sorted([*train.images.ravel(), *test.images.ravel()]) == list(range(len(shuffled)))
    for k, count in enumerate(counts):
        in_test = int((test.labels == k).sum())
        assert 1 <= in_test <= count - 1
        assert abs(in_test - count * share) <= 1
    for part in (train, test):
        assert (np.diff(part.images.ravel().astype(int)) > 0).all()
        assert part.labels.tolist() == [shuffled[i] for i in part.images.ravel()]


def test_the_seed_decides() -> None:
    pictures = numbered(np.repeat(np.arange(4), 30))
    drawn = [
        stratified_split("x", pictures, "abcd", test_share=0.2, seed=seed)[1].images.ravel().tolist()
        for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    # The draw of seed 0, so that no version of NumPy or of this code changes it unseen.
    assert drawn[0][:6] == [0, 1, 4, 10, 13, 27]
    assert len({tuple(i % 30 for i in drawn[0][6 * k : 6 * k + 6]) for k in range(4)}) == 4, "classes are drawn alike"


def test_a_class_too_small_is_named() -> None:
    with pytest.raises(ValueError, match="mine: class 'b' has 1 picture, but needs 2 or more"):
        stratified_split("mine", numbered(np.array([0, 0, 1])), "ab", test_share=0.5, seed=0)
    with pytest.raises(ValueError, match="mine: class 'c' has 0 pictures"):
        stratified_split("mine", numbered(np.array([0, 0, 1, 1])), "abc", test_share=0.5, seed=0)


# ---- digits ------------------------------------------------------------------------------------------------------------
def test_digits() -> None:
    arrays = digits()
    assert [array.shape for array in arrays] == [(1438, 8, 8, 1), (1438,), (359, 8, 8, 1), (359,)]
    assert {array.dtype for array in arrays} == {np.dtype(np.uint8)}
    counts = [np.bincount(labels) for labels in arrays[1::2]]
    assert (counts[0] + counts[1]).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert counts[1].tolist() == [36, 36, 35, 37, 36, 36, 36, 36, 35, 36]
    first = shipped_digits.all_digits().images[0, :, :, 0]  # a zero
    assert first[0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]  # 0, 0, 5, 13, 9, 1, 0, 0 sixteenths
    assert first.max() == 239


def test_load_draws_other_digits() -> None:
    dataset = load("digits")
    np.testing.assert_array_equal(dataset.test.images, digits()[2])
    np.testing.assert_array_equal(dataset.train.labels, digits()[1])
    assert dataset.class_names == DIGITS_CLASSES
    assert load("digits", seed=1).fingerprint() != dataset.fingerprint()
    assert len(load("digits", test_share=0.5).test.images) == pytest.approx(1797 / 2, abs=5)


def test_whose_the_digits_are_stands_beside_them() -> None:
    text = files(tinyresnet.data).joinpath("DIGITS_LICENSE.txt").read_text(encoding="utf-8")
    for words in (
        "E. Alpaydin and C. Kaynak",
        "CC BY 4.0",
        "BSD 3-Clause License",
        "The scikit-learn developers",
        "AS IS",
    ):
        assert words in text


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-10], lambda data: data[:1000] + b"?" + data[1001:], lambda data: b""]
)
def test_a_damaged_file_is_refused(damage: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = files(tinyresnet.data).joinpath("digits.csv.gz").read_bytes()
    (tmp_path / "digits.csv.gz").write_bytes(damage(whole))  # type: ignore[operator]
    monkeypatch.setattr(shipped_digits, "files", lambda package: tmp_path)
    with pytest.raises(ValueError, match=r"digits\.csv\.gz is damaged, install tinyresnet again"):
        digits()
