"""The script that drew the shipped pictures: it makes the same file again, and refuses other sources."""

from __future__ import annotations

import gzip
import io
import zlib
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

import tinyresnet.data
from tinyresnet.data import FASHION_MNIST_FILE, fashion_mnist, make_fashion_subset
from tinyresnet.data.make_fashion_subset import DEBIAN_FOLDER, SHA256, main, pack, read_idx, stratified_subset

needs_debian_files = pytest.mark.skipif(
    not all((DEBIAN_FOLDER / f"{name}.gz").exists() for name in SHA256),
    reason=f"Fashion-MNIST is not in {DEBIAN_FOLDER}: apt-get install dataset-fashion-mnist",
)


@needs_debian_files
def test_the_shipped_pictures_come_out_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = tmp_path / "made.npz"
    assert main([str(DEBIAN_FOLDER), "--out", str(made)]) == 0
    assert "bytes, SHA-256" in capsys.readouterr().out
    shipped = files(tinyresnet.data).joinpath(FASHION_MNIST_FILE).read_bytes()
    with np.load(made) as again, np.load(io.BytesIO(shipped)) as before:
        assert again.files == before.files
        for name in before.files:
            np.testing.assert_array_equal(again[name], before[name])
    if "ng" not in zlib.ZLIB_RUNTIME_VERSION:  # zlib-ng finds other, equally good ways to say the same
        assert made.read_bytes() == shipped


@needs_debian_files
def test_the_licence_is_debians_copy() -> None:
    debian = Path("/usr/share/doc/dataset-fashion-mnist/copyright")
    if not debian.exists():
        pytest.skip(f"{debian} was not installed")
    wanted = (
        debian.read_text(encoding="utf-8").partition("License: Expat\n Permission")[2].replace("\n .\n", "\n\n").split()
    )
    ours = files(tinyresnet.data).joinpath("FASHION_MNIST_LICENSE.txt").read_text(encoding="utf-8").split()
    assert ours[-len(wanted) :] == wanted
    assert len(wanted) > 100


def test_equal_arrays_give_equal_bytes() -> None:
    arrays = {"a": np.arange(6, dtype=np.uint8), "b": np.zeros((2, 3), np.uint8)}
    assert pack(arrays) == pack({name: array.copy() for name, array in arrays.items()})
    assert pack(arrays) != pack({**arrays, "b": np.ones((2, 3), np.uint8)})
    with np.load(io.BytesIO(pack(arrays)), allow_pickle=False) as back:
        np.testing.assert_array_equal(back["a"], arrays["a"])
        np.testing.assert_array_equal(back["b"], arrays["b"])


def test_a_subset_is_stratified_shuffled_and_seeded() -> None:
    labels = np.repeat(np.arange(10, dtype=np.uint8), np.arange(20, 40, 2))  # 20 of class 0, ..., 38 of class 9
    chosen = stratified_subset(labels, per_class=7, seed=3)
    assert np.bincount(labels[chosen]).tolist() == [7] * 10
    assert len(set(chosen.tolist())) == 70
    assert (np.diff(labels[chosen].astype(int)) < 0).any(), "sorted by label"
    np.testing.assert_array_equal(chosen, stratified_subset(labels, per_class=7, seed=3))
    assert set(chosen.tolist()) != set(stratified_subset(labels, per_class=7, seed=4).tolist())


def test_idx_is_read_as_its_header_says() -> None:
    data = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(read_idx(data), [[1, 2, 3], [4, 5, 6]])
    with pytest.raises(ValueError, match="begins with 00 00 08, this one with 00 00 0d"):
        read_idx(bytes([0, 0, 13]) + data[3:])  # 13: floats


def test_other_pictures_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in SHA256:
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 1, 7])))
    assert main([str(tmp_path), "--out", str(tmp_path / "made.npz")]) == 1
    assert "is not Fashion-MNIST's: its SHA-256 is" in capsys.readouterr().err
    assert not (tmp_path / "made.npz").exists()


def test_missing_files_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--out", str(tmp_path / "made.npz")]) == 1
    said = capsys.readouterr().err
    assert "train-images-idx3-ubyte.gz" in said
    assert "apt-get install dataset-fashion-mnist" in said


def test_a_damaged_gz_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(1000))[:-9])
    assert main([str(tmp_path), "--out", str(tmp_path / "made.npz")]) == 1
    assert capsys.readouterr().err.startswith("make_fashion_subset: ")


def test_the_draw_would_notice_a_class_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """make_subset checks its result as the loader does; here one class has 3 pictures only."""
    labels = np.concatenate([np.repeat(np.arange(9), 700), [9, 9, 9]]).astype(np.uint8)
    images = np.zeros((len(labels), 28, 28), np.uint8)
    monkeypatch.setattr(make_fashion_subset, "read_source", lambda folder, name: images if "images" in name else labels)
    with pytest.raises(ValueError, match="train_images must be uint8"):
        make_fashion_subset.make_subset(Path())


def test_the_shipped_file_is_small() -> None:
    assert sum(array.nbytes for array in fashion_mnist()) > 5e6
    assert len(files(tinyresnet.data).joinpath(FASHION_MNIST_FILE).read_bytes()) < 3.2e6
