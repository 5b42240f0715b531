"""Folders of IDX files: what is read, and what is refused."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.data.small_sources import idx, labels_of, pictures, write_idx_folder
from tinyresnet.data import FASHION_MNIST_CLASSES, load
from tinyresnet.data.idx import read_idx
from tinyresnet.data.make_fashion_subset import DEBIAN_FOLDER


@pytest.mark.parametrize("packed", [False, True])
def test_the_four_files_become_two_parts(packed: bool, tmp_path: Path) -> None:
    dataset = load(write_idx_folder(tmp_path / "mine", packed=packed))
    assert dataset.name == "mine"
    assert dataset.class_names == ("0", "1", "2")
    for part, n, seed in ((dataset.train, 9, 0), (dataset.test, 6, 1)):
        np.testing.assert_array_equal(part.images, pictures(n, seed=seed))
        np.testing.assert_array_equal(part.labels, labels_of(n))
        assert part.labels.dtype == np.int64


def test_names_with_a_dot_are_found(tmp_path: Path) -> None:
    folder = write_idx_folder(tmp_path)
    for path in list(folder.iterdir()):
        path.rename(folder / path.name.replace("-idx", ".idx"))
    assert len(load(folder).train.images) == 9


def test_class_names_beside_the_files(tmp_path: Path) -> None:
    folder = write_idx_folder(tmp_path)
    (folder / "classes.txt").write_text("猫\n dog \r\nbird\n\n", encoding="utf-8")
    assert load(folder).class_names == ("猫", "dog", "bird")
    (folder / "classes.txt").write_text("cat\ndog\n")
    with pytest.raises(
        ValueError, match=r"train labels must be from 0 to 1, as there are 2 classes, but are from 0 to 2"
    ):
        load(folder)
    (folder / "classes.txt").write_text("cat\ndog\ncat\n")
    with pytest.raises(ValueError, match="same name, 'cat'"):
        load(folder)
    (folder / "classes.txt").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ValueError, match=r"classes\.txt cannot be read as a UTF-8 text"):
        load(folder)


@pytest.mark.skipif(
    not (DEBIAN_FOLDER / "train-images-idx3-ubyte.gz").exists(),
    reason=f"Fashion-MNIST is not in {DEBIAN_FOLDER}: apt-get install dataset-fashion-mnist",
)
def test_the_full_fashion_mnist_is_known_in_any_folder(tmp_path: Path) -> None:
    (tmp_path / "x").symlink_to(DEBIAN_FOLDER)
    dataset = load(tmp_path / "x")
    assert dataset.class_names == FASHION_MNIST_CLASSES
    assert dataset.train.images.shape == (60000, 28, 28, 1)
    assert np.bincount(dataset.test.labels).tolist() == [1000] * 10
    assert (
        dataset.train.images[0, 10, 5:12, 0].tolist()
        == read_idx(DEBIAN_FOLDER / "train-images-idx3-ubyte.gz", 3)[0, 10, 5:12].tolist()
    )


IMAGES = idx(pictures(9)[..., 0])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda data: b"", "begins with nothing"),
        (lambda data: data[:10], "ends within its header"),
        (lambda data: data[:-1], "announces 324 bytes of values"),
        (lambda data: data + b"\0", "324 bytes of values, but there are more"),
        (lambda data: b"\0\0\x0d" + data[3:], "must begin with 00 00 08 03, but begins with 00 00 0d 03"),
        (lambda data: data[:3] + b"\x01" + data[4:], "must begin with 00 00 08 03, but begins with 00 00 08 01"),
        (lambda data: data[:4] + b"\xff" * 12 + data[16:], "GiB are held in memory"),
        (lambda data: data[:4] + b"\0\x40\0\0" + data[8:], "announces 150994944 bytes of values, which it cannot hold"),
        (lambda data: data[:4] + bytes(4) + data[8:], "announces 0 bytes"),
        (lambda data: b"GIF89a" + data, "must begin with"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_bad_file_is_named(spoil: Callable[[bytes], bytes], said: str, packed: bool, tmp_path: Path) -> None:
    path = write_idx_folder(tmp_path, packed=packed) / f"train-images-idx3-ubyte{'.gz' * packed}"
    content = spoil(IMAGES)
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(ValueError, match=said) as caught:
        load(tmp_path)
    assert str(path) in str(caught.value) or "GiB" in said


def test_a_gzip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """100 MB of zeros behind a header that announces 324 bytes: one byte more than that is unpacked."""
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(IMAGES + bytes(100 * 2**20), compresslevel=1))
    with pytest.raises(ValueError, match="324 bytes of values, but there are more"):
        read_idx(path, 3)


def test_missing_and_mismatched_files(tmp_path: Path) -> None:
    folder = write_idx_folder(tmp_path)
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx(labels_of(5)))
    with pytest.raises(ValueError, match="there are 6 t10k pictures, but 5 labels"):
        load(folder)
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(ValueError, match=r"has no t10k-labels-idx1-ubyte or t10k-labels-idx1-ubyte\.gz"):
        load(folder)


def test_parts_of_two_sizes_are_refused(tmp_path: Path) -> None:
    folder = write_idx_folder(tmp_path)
    (folder / "t10k-images-idx3-ubyte").write_bytes(idx(pictures(6, side=5)[..., 0]))
    with pytest.raises(ValueError, match=r"of one shape, but are \[6, 6, 1\] and \[5, 5, 1\]"):
        load(folder)
