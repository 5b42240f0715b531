"""NumPy's archives: what is read, and what is refused."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.small_sources import labels_of, pictures, write_npz
from tinyresnet.data import load


def test_one_part_is_split(tmp_path: Path) -> None:
    dataset = load(write_npz(tmp_path / "mine.npz", class_names=np.array(["cat", "狗", "bird"])), test_share=0.25)
    assert (dataset.name, dataset.class_names) == ("mine.npz", ("cat", "狗", "bird"))
    assert np.bincount(dataset.train.labels).tolist() == [3, 3, 3]
    assert np.bincount(dataset.test.labels).tolist() == [1, 1, 1]
    both = {image.tobytes() for image in (*dataset.train.images, *dataset.test.images)}
    assert both == {image.tobytes() for image in pictures(12)}


@pytest.mark.parametrize(
    "names",
    [("x_train", "y_train", "x_test", "y_test"), ("train_images", "train_labels", "test_images", "test_labels")],
)
def test_two_parts_stay(names: tuple[str, ...], tmp_path: Path) -> None:
    arrays = (
        pictures(6, channels=3),
        labels_of(6)[:, None],
        np.asfortranarray(pictures(3, channels=3, seed=1)),
        labels_of(3).astype(">i4"),
    )
    np.savez(tmp_path / "mine.npz", **dict(zip(names, arrays, strict=True)))
    dataset = load(tmp_path / "mine.npz")
    np.testing.assert_array_equal(dataset.train.images, arrays[0])
    np.testing.assert_array_equal(dataset.train.labels, [0, 1, 2, 0, 1, 2])
    np.testing.assert_array_equal(dataset.test.images, arrays[2])
    assert dataset.test.labels.tolist() == [0, 1, 2]
    assert dataset.class_names == ("0", "1", "2")


def test_byte_strings_are_names_too(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "mine.npz", class_names=np.array([b"a", b"bb", b"ccc"]))
    assert load(path).class_names == ("a", "bb", "ccc")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": None}, "must hold train_images, .* it holds images"),
        (
            {"images": pictures(12).astype(np.float32)},
            r"images must be uint8, 0 to 255, but is float32; if it goes from 0 to 1",
        ),
        ({"images": pictures(12).astype(np.int64)}, "images must be uint8, 0 to 255, but is int64"),
        ({"images": pictures(12).reshape(12, 36)}, r"must be \[N, H, W\] or \[N, H, W, C\], but is \[12, 36\]"),
        ({"images": pictures(12, channels=4)}, r"C 1 or 3, but are uint8 \[12, 6, 6, 4\]"),
        ({"images": pictures(0)}, "there are 0 images, but 12 labels"),
        ({"labels": labels_of(11)}, "there are 12 images, but 11 labels"),
        ({"labels": np.eye(12, dtype=np.int64)}, r"labels must be integers \[N\], but is int64 \[12, 12\]"),
        ({"labels": labels_of(12) / 2}, "labels must be integers"),
        ({"labels": labels_of(12).astype(np.int64) - 1}, "labels must be from 0 to 99999, but are from -1 to 1"),
        ({"labels": np.full(12, 2**63, np.uint64)}, "labels must be from 0 to 99999"),
        ({"labels": labels_of(12).astype(object)}, "labels is not an array of plain numbers or strings"),
        ({"labels": np.zeros(12, np.int64)}, "must be two classes or more, but only '0' is there"),
        ({"labels": np.array([0, 1] * 5 + [2, 4])}, "class '2' has 1 picture, but needs 2 or more"),
        ({"class_names": np.array(["a", "b"])}, "labels must be from 0 to 1, as there are 2 classes"),
        ({"class_names": np.array([["a", "b", "c"]])}, r"class_names must be strings \[K\]"),
        ({"class_names": np.arange(3)}, r"class_names must be strings \[K\], but is int64"),
        ({"labels": np.zeros(12, [("a", "i4")])}, "labels is not an array of plain numbers"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = write_npz(tmp_path / "mine.npz", **changes)
    with pytest.raises(ValueError, match=said) as caught:
        load(path)
    assert str(path) in str(caught.value)


def npy(header: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little") + header.encode() + b"\n"


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 1000, 1000), }", "GiB are held in memory"),
        (
            "{'descr': '|u1', 'fortran_order': False, 'shape': (1000, 1000, 1000), }",
            "announces 1000000000 bytes of values, but has 8",
        ),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 2, 2), }", "not an array of plain numbers"),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", "not an array of plain numbers"),
        ("{'descr': '|q7', 'fortran_order': False, 'shape': (1,), }", "a type that NumPy does not know"),
        ("__import__('os').system('exit')", "not an array of plain numbers"),
        ("(" * 5000, "not an array of plain numbers"),
    ],
)
def test_headers_are_not_believed(header: str, said: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "mine.npz", "w") as archive:
        archive.writestr("images.npy", npy(header) + bytes(8))
        archive.writestr("labels.npy", b"")
    with pytest.raises(ValueError, match=said):
        load(tmp_path / "mine.npz")


def test_a_bomb_is_seen_in_the_directory(tmp_path: Path) -> None:
    """200 MB of zeros in 200 kB, behind a header that tells of 8 bytes: they do not agree, so nothing is unpacked."""
    header = npy("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2, 2), }")
    with zipfile.ZipFile(tmp_path / "mine.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("images.npy", header + bytes(200 * 2**20))
        archive.writestr("labels.npy", b"")
    with pytest.raises(ValueError, match="images announces 8 bytes of values, but has 209715200"):
        load(tmp_path / "mine.npz")


def test_other_files_are_refused(tmp_path: Path) -> None:
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("images.npy", bytes(100))
        archive.writestr("labels.npy", bytes(100))
    for content, said in (
        (b"", "not a zip"),
        (b"PK", "not a zip"),
        (other.getvalue(), "compressed as NumPy never does"),
    ):
        (tmp_path / "mine.npz").write_bytes(content)
        with pytest.raises(ValueError, match=said):
            load(tmp_path / "mine.npz")
