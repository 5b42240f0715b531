"""CIFAR-10's archives and folders in the published layouts, hostile archives, and pickles that would do harm."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.small_sources import (
    BATCHES,
    cifar_batch,
    cifar_files,
    python2_batch,
    python3_batch,
    tar_gz,
    write_cifar_folder,
)
from tinyresnet.data import Dataset, cifar10, load, plain_pickle
from tinyresnet.data.cifar10 import CIFAR10_CLASSES
from tinyresnet.data.plain_pickle import read_plain_pickle


def check_whole(dataset: Dataset) -> None:
    images, labels = zip(*(cifar_batch(i) for i in range(6)), strict=True)
    np.testing.assert_array_equal(dataset.train.images, np.concatenate(images[:5]))
    np.testing.assert_array_equal(dataset.train.labels, np.concatenate(labels[:5]))
    np.testing.assert_array_equal(dataset.test.images, images[5])
    np.testing.assert_array_equal(dataset.test.labels, labels[5])
    assert dataset.class_names == CIFAR10_CLASSES
    assert CIFAR10_CLASSES[3] == "cat"


@pytest.mark.parametrize("version", ["binary", "python"])
def test_archive_and_folder(version: str, tmp_path: Path) -> None:
    (tmp_path / "cifar.tar.gz").write_bytes(tar_gz(cifar_files(version)))
    check_whole(load(tmp_path / "cifar.tar.gz"))
    assert [path.name for path in tmp_path.iterdir()] == ["cifar.tar.gz"]
    check_whole(load(write_cifar_folder(tmp_path, version)))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_batches_dumped_again_by_python_3(protocol: int, tmp_path: Path) -> None:
    folder = write_cifar_folder(tmp_path, "python")
    for i, name in enumerate(BATCHES):
        (folder / name).write_bytes(python3_batch(i, protocol))
    check_whole(load(folder))


def test_the_synthetic_pickle_is_what_pythons_own_reader_takes() -> None:
    batch = pickle.loads(python2_batch(0), encoding="bytes")
    np.testing.assert_array_equal(batch[b"data"], cifar_batch(0)[0].transpose(0, 3, 1, 2).reshape(-1, 3072))
    assert batch[b"labels"] == cifar_batch(0)[1]


# ---- pickles -----------------------------------------------------------------------------------------------------------
class Calls:
    """Pickled as a call of function(*arguments)."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self) -> Any:
        return self.reduced


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("function", [os.system, os.mkdir, eval, exec, getattr, __import__, open, np.load, np.zeros])
def test_no_call_is_made(
    function: Callable[..., Any], protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    argument = "__import__('os').mkdir('made')" if function in (eval, exec) else "mkdir made"
    data = pickle.dumps({"data": Calls(function, argument), "labels": []}, protocol=protocol)
    folder = write_cifar_folder(tmp_path, "python")
    before = sorted(tmp_path.rglob("*"))
    (folder / "data_batch_3").write_bytes(data)
    with pytest.raises(ValueError, match=r"data_batch_3 cannot be read as a batch of CIFAR-10: .* it was not run"):
        load(folder)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_planted_call_would_have_done_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Calls(os.mkdir, "made")))
    assert (tmp_path / "made").exists()


STRING = b"X\x04\0\0\0abcd"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b".",
        b"N",
        b"cnumpy\nndarray\n)R.",  # the class itself is not called
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\ndtype\n\x85R.",
        b"cnumpy\ndtype\n)R.",
        b"\x80\x02cos\nsystem\n.",
        b"ios\nsystem\n.",
        b"(cos\nsystem\no.",
        b"\x82\x01.",  # an extension of copyreg
        b"ccopyreg\n_reconstructor\n.",
        b"Pname\n.",  # persistent id
        b"]]b.",
        b"}]Ns.",  # a list as a key
        b"}))\x86Ns.",  # a tuple as a key
        b"a.",
        b"K\x01K\x02a.",
        b"h\x01.",
        b"t.",
        b"((\x85.",
        b"T\xff\xff\xff\x7fabc.",
        b"\x8e" + b"\xff" * 8 + b"abc.",
        b"\x8b\xff\xff\xff\x7f.",
        b"\x96" + b"\xff" * 7 + b"\x7f.",
        b"c_codecs\nencode\nX\x03\0\0\0\xe2\x82\xacX\x06\0\0\0latin1\x86R.",  # the euro sign is not Latin-1
        b"c_codecs\nencode\n" + STRING + b"X\x03\0\0\0hex\x86R.",
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n\x85RNb.",
        b"I" + b"9" * 5000 + b"\n.",
        b"S'\\xff'\n.",
    ],
)
def test_other_pickles_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read_plain_pickle(data)


def test_a_strange_escape_gives_no_warning() -> None:
    assert read_plain_pickle(b"S'\\e'\n.") == "\\e"


def test_time_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_pickle, "MOST_INSTRUCTIONS", 1000)
    assert read_plain_pickle(b"]" * 999 + b".") == []
    with pytest.raises(ValueError, match="more than 1000 instructions"):
        read_plain_pickle(b"]" * 1000 + b".")


def test_deep_nesting_does_no_harm() -> None:
    read_plain_pickle(b"(" * 100_000 + b"N" + b"t" * 100_000 + b".")
    with pytest.raises(ValueError, match="short strings"):
        read_plain_pickle(b"}" + b"(" * 10_000 + b"N" + b"t" * 10_000 + b"Ns.")


@pytest.mark.parametrize(
    "again",
    [
        b"c_codecs\nencode\nh\x01X\x06\0\0\0latin1\x86R",  # one string turned into bytes over and over
        b"}h\x01Ns",  # or into keys
    ],
)
def test_memory_is_bounded_by_the_file(again: bytes) -> None:
    data = b"T\x00\x00\x10\x00" + bytes(2**20) + b"q\x01" + again * 300 + b"."
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="more memory than its file|short strings"):
            read_plain_pickle(data)
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        ([1, 2], "not of a dict with data and labels"),
        ({"data": np.zeros((2, 3072), np.uint8)}, "not of a dict with data and labels"),
        ({"data": np.zeros((2, 3071), np.uint8), "labels": [1, 2]}, r"data must be an array uint8 \[N, 3072\]"),
        ({"data": np.zeros((0, 3072), np.uint8), "labels": []}, r"data must be an array uint8 \[N, 3072\]"),
        ({"data": np.zeros((2, 3072), np.float32), "labels": [1, 2]}, "array must be of uint8"),
        ({"data": np.zeros((2, 3072), np.uint8, order="F"), "labels": [1, 2]}, "row by row"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [1]}, "there are 2 pictures, but 1 labels"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [1, 10]}, "integers from 0 to 9"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [1, True]}, "integers from 0 to 9"),
        ({"data": b"x" * 3072, "labels": [1]}, r"data must be an array uint8"),
    ],
)
def test_other_contents_are_refused(batch: Any, said: str, tmp_path: Path) -> None:
    folder = write_cifar_folder(tmp_path, "python")
    (folder / "test_batch").write_bytes(pickle.dumps(batch, protocol=3))
    with pytest.raises(ValueError, match=said) as caught:
        load(folder)
    assert str(folder / "test_batch") in str(caught.value)


# ---- the binary version ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "but is of 0 bytes"), (bytes(3072), "but is of 3072 bytes"), (b"\x0a" + bytes(3072), "one is 10")],
)
def test_bad_binary_batches(content: bytes, said: str, tmp_path: Path) -> None:
    folder = write_cifar_folder(tmp_path, "binary")
    (folder / "data_batch_2.bin").write_bytes(content)
    with pytest.raises(ValueError, match=rf"data_batch_2\.bin cannot be read as a batch of CIFAR-10: .*{said}"):
        load(folder)
    (folder / "data_batch_2.bin").unlink()
    with pytest.raises(ValueError, match=r"has no data_batch_2\.bin"):
        load(folder)


# ---- archives ----------------------------------------------------------------------------------------------------------
def link(name: str, target: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_a_batch_must_be_a_plain_file(kind: bytes, tmp_path: Path) -> None:
    files = cifar_files("binary")
    del files["cifar-10-batches-bin/test_batch.bin"]
    info = link("cifar-10-batches-bin/test_batch.bin", "/etc/passwd", kind)
    (tmp_path / "a.tar.gz").write_bytes(tar_gz(files, (info,)))
    with pytest.raises(ValueError, match=r"test_batch\.bin in it is not a plain file|has no"):
        load(tmp_path / "a.tar.gz")


def test_strange_paths_are_not_looked_at(tmp_path: Path) -> None:
    files = {
        **cifar_files("python"),
        "../test_batch": b"x",
        "/cifar-10-batches-py/test_batch": b"x",
        "cifar-10-batches-py/../cifar-10-batches-py/test_batch": b"x",
        "other/cifar-10-batches-py/data_batch_1": b"x",
    }
    (tmp_path / "a.tar.gz").write_bytes(tar_gz(files, (link("cifar-10-batches-py/out", "/etc", tarfile.SYMTYPE),)))
    check_whole(load(tmp_path / "a.tar.gz"))
    assert len(list(tmp_path.iterdir())) == 1


def test_archives_that_are_refused(tmp_path: Path) -> None:
    whole = cifar_files("binary")
    packed = tar_gz(whole)
    damaged = bytearray(packed)
    damaged[-6] ^= 1  # of gzip's checksum
    huge = tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin")
    huge.size = 100 * 2**20
    too_large = gzip.compress(huge.tobuf(tarfile.USTAR_FORMAT) + bytes(1024))
    huge.size = 7 * 2**30
    larger = gzip.compress(huge.tobuf(tarfile.USTAR_FORMAT) + bytes(1024))
    cases = {
        "has no cifar-10-batches-bin/data_batch_4": tar_gz({name: c for name, c in whole.items() if "4" not in name}),
        "is in it twice": tar_gz({**whole, "./cifar-10-batches-bin/test_batch.bin": b""}),
        "CRC check failed": bytes(damaged),
        "ended before": packed[:-20],
        "no tar file": gzip.compress(b"x" * 2000),
        "is larger than 67108864 bytes": too_large,
        "is larger than 536870912 bytes": larger,
        "data_batch_1.bin: it must be records": tar_gz({**whole, "cifar-10-batches-bin/data_batch_1.bin": b"x"}),
    }
    for said, content in cases.items():
        (tmp_path / "a.tar.gz").write_bytes(content)
        with pytest.raises(ValueError, match=said) as caught:
            load(tmp_path / "a.tar.gz")
        assert str(tmp_path / "a.tar.gz") in str(caught.value)


def test_a_bomb_behind_the_archive_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar10, "ARCHIVE_AT_MOST", 4 * 2**20)
    tar = gzip.decompress(tar_gz(cifar_files("binary")))
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1) as file:
        file.write(tar)
        file.write(bytes(32 * 2**20))
    (tmp_path / "a.tar.gz").write_bytes(packed.getvalue())
    with pytest.raises(ValueError, match="unpacked it is larger than 4194304 bytes"):
        load(tmp_path / "a.tar.gz")
