"""Files that are damaged, foreign, newer or no files: a ValueError that names the file, and no wrong number ever."""

from __future__ import annotations

import json
import os
import pickle
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyresnet.checkpoints import Checkpoint, checkpoint, load, save

numpy_format = pytest.importorskip("safetensors.numpy")

RNG = np.random.default_rng(0)
ARRAYS = {
    "net/conv1/weights": RNG.standard_normal((3, 5)).astype("float32"),
    "net/conv1/biases": RNG.standard_normal(5),
    "net/empty": np.zeros((0, 3), "float32"),
    "net/step": np.array(7),
}
METADATA = {"config": 'task = "classify"  # 分类', "progress": '{"step": 7}'}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a good checkpoint."""
    path = tmp_path_factory.mktemp("whole") / "file"
    save(path, ARRAYS, METADATA)
    return path.read_bytes()


def numbers(found: Checkpoint) -> Any:
    """All that it says, in an order that does not depend on the file."""
    arrays = [(name, array.shape, array.dtype.str, array.tobytes()) for name, array in found.arrays.items()]
    return sorted(arrays), sorted(found.metadata.items())


def assert_refused_or_equal(path: Path, data: bytes, right: Any) -> bool:
    """Whether it was refused, by a ValueError that names the file."""
    path.unlink(missing_ok=True)  # quicker than to overwrite it, on some file systems
    path.write_bytes(data)
    try:
        found = load(path)
    except ValueError as error:
        assert str(error).startswith(str(path))
        return True
    assert numbers(found) == right
    return False


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory, whole: bytes) -> Any:
    path = tmp_path_factory.mktemp("right") / "file"
    path.write_bytes(whole)
    return numbers(load(path))


def header_length(data: bytes) -> int:
    return 8 + int.from_bytes(data[:8], "little")


# ---- damage ---------------------------------------------------------------------------------------------------------------
def test_cut_off_anywhere(tmp_path: Path, whole: bytes, right: Any) -> None:
    for length in range(len(whole)):
        assert assert_refused_or_equal(tmp_path / "file", whole[:length], right), (
            f"{length} bytes were taken for the whole"
        )


def test_something_behind_it(tmp_path: Path, whole: bytes, right: Any) -> None:
    assert assert_refused_or_equal(tmp_path / "file", whole + b"\0", right)
    assert assert_refused_or_equal(tmp_path / "file", whole + whole, right)


@pytest.mark.parametrize("flip", [0x01, 0x20, 0x80])
def test_any_byte_changed(tmp_path: Path, whole: bytes, right: Any, flip: int) -> None:
    for i in range(len(whole)):
        data = bytearray(whole)
        data[i] ^= flip
        refused = assert_refused_or_equal(tmp_path / "file", bytes(data), right)
        assert refused or i < header_length(whole), f"byte {i}, of the numbers, was changed, and nobody saw it"


@given(start=st.integers(0, 800), other=st.binary(min_size=1, max_size=30))
def test_a_stretch_overwritten(tmp_path: Path, whole: bytes, right: Any, start: int, other: bytes) -> None:
    start %= len(whole)
    data = (whole[:start] + other + whole[start + len(other) :])[: len(whole)]
    assert_refused_or_equal(tmp_path / "file", data, right)


@given(start=st.integers(0, 800), length=st.integers(1, 40), other=st.binary(max_size=40))
def test_a_stretch_lost_or_put_in(
    tmp_path: Path, whole: bytes, right: Any, start: int, length: int, other: bytes
) -> None:
    start %= len(whole)
    assert_refused_or_equal(tmp_path / "file", whole[:start] + other + whole[start + length :], right)


def test_two_arrays_of_one_shape_exchanged(tmp_path: Path) -> None:
    """As a header that was edited by hand has it: a good file for safetensors."""
    path = tmp_path / "file"
    save(path, {"net/a": np.zeros(3), "net/b": np.ones(3)}, {})
    data = path.read_bytes()
    path.write_bytes(data.replace(b"net/a", b"net/c").replace(b"net/b", b"net/a").replace(b"net/c", b"net/b"))
    assert numpy_format.load_file(path)["net/a"].all()
    with pytest.raises(ValueError, match="file is damaged: .* checksum"):
        load(path)


def test_without_a_checksum_a_flipped_bit_would_not_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted mistake for the tests above."""
    monkeypatch.setattr(checkpoint, "_checksum", lambda arrays, metadata: "0")
    save(tmp_path / "file", ARRAYS, METADATA)
    data, right = bytearray((tmp_path / "file").read_bytes()), numbers(load(tmp_path / "file"))
    data[-1] ^= 1
    with pytest.raises(AssertionError):
        assert_refused_or_equal(tmp_path / "file", bytes(data), right)


@pytest.mark.parametrize("left_out", ["shape", "dtype", "name", "texts", "numbers"])
def test_a_checksum_that_leaves_something_out_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left_out: str
) -> None:
    def partial(arrays: Any, metadata: Any) -> str:
        parts = [
            ("name", sorted(arrays)),
            ("shape", [arrays[name].shape for name in sorted(arrays)]),
            ("dtype", [arrays[name].dtype.str for name in sorted(arrays)]),
            ("texts", sorted(item for item in metadata.items() if item[0] != "checksum")),
            ("numbers", sorted(array.tobytes().hex() for array in arrays.values())),
        ]
        return f"{zlib.crc32(repr([part for name, part in parts if name != left_out]).encode()):08x}"

    monkeypatch.setattr(checkpoint, "_checksum", partial)
    path, changed = tmp_path / "file", {
        "shape": (b"[2,3]", b"[3,2]"),
        "dtype": (b'"F32"', b'"I32"'),
        "name": (b'"a"', b'"b"'),
        "texts": (b"123", b"124"),
        "numbers": (b"\x80?", b"\x81?"),
    }[left_out]  # fmt: skip
    save(path, {"a": np.ones((2, 3), "float32")}, {"step": "123"})
    right, data = numbers(load(path)), path.read_bytes()
    assert changed[0] in data
    with pytest.raises(AssertionError):
        assert_refused_or_equal(path, data.replace(*changed), right)


# ---- files of others ------------------------------------------------------------------------------------------------------
def with_header(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


OURS = {"format": "tinyresnet-checkpoint", "format_version": "1", "checksum": "00000000"}
FOREIGN = {
    "empty": b"",
    "seven bytes": b"1234567",
    "a text": b"task = 'classify'\n" * 20,
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "a zip": b"PK\x03\x04" + bytes(100),
    "a pickle": pickle.dumps({"a": [1, 2, 3]}),
    "zeros": bytes(100),
    "JSON that is no table": with_header([1, 2]),
    "no JSON": with_header(b"{'a': 1}"),
    "no text": with_header(b"\xff\xfe\xfd"),
    "texts that are no table": with_header({"__metadata__": [1]}),
    "another's": numpy_format.save({"a": np.ones(3)}),
    "another's with texts": numpy_format.save({"a": np.ones(3)}, {"format": "pt"}),
    "numbers for texts": with_header({"__metadata__": {**OURS, "epoch": 3}}),
    "format is a number": with_header({"__metadata__": {"format": 1}}),
    "format is a list": with_header({"__metadata__": {"format": ["tinyresnet-checkpoint"]}}),
    "a type that NumPy lacks": with_header(
        {"__metadata__": OURS, "a": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}, b"12"
    ),
    "a type that nobody has": with_header(
        {"__metadata__": OURS, "a": {"dtype": "F3", "shape": [1], "data_offsets": [0, 2]}}, b"12"
    ),
    "overlapping arrays": with_header(
        {"__metadata__": OURS, **{name: {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]} for name in "ab"}}, b"12"
    ),
    "a shape beyond all memory": with_header(
        {"__metadata__": OURS, "a": {"dtype": "F32", "shape": [0, 2**63 - 1], "data_offsets": [0, 0]}}
    ),
    "a negative shape": with_header(
        {"__metadata__": OURS, "a": {"dtype": "F32", "shape": [-1, 0], "data_offsets": [0, 0]}}
    ),
    "an axis too many": with_header(
        {"__metadata__": OURS, "a": {"dtype": "F32", "shape": [1] * 70 + [0], "data_offsets": [0, 0]}}
    ),
    "brackets without end": with_header(b"[" * 200_000),
    "tables without end": with_header(b'{"a":' * 200_000),
    "a number of a million digits": with_header(b'{"a":' + b"9" * 1_000_000 + b"}"),
    "no checksum": with_header({"__metadata__": {key: OURS[key] for key in ("format", "format_version")}}),
}  # fmt: skip


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(FOREIGN[kind])
    with pytest.raises(ValueError, match="^" + re.escape(str(path))):
        load(path)


def test_the_good_one_is_none_of_them(tmp_path: Path) -> None:
    """What those with our format lack is what their name says."""
    path, arrays = tmp_path / "file", {"a": np.array([1, 2], "uint8")}
    metadata = {**OURS, "checksum": checkpoint._checksum(arrays, OURS)}
    path.write_bytes(
        with_header({"__metadata__": metadata, "a": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}}, b"\1\2")
    )
    assert load(path).arrays["a"].tolist() == [1, 2]


def test_what_it_is_said_to_be(tmp_path: Path) -> None:
    def message(data: bytes) -> str:
        (tmp_path / "file").write_bytes(data)
        with pytest.raises(ValueError) as caught:
            load(tmp_path / "file")
        return str(caught.value).removeprefix(f"{tmp_path / 'file'} ")

    assert message(FOREIGN["seven bytes"]).startswith("is no safetensors file, or not the whole of one: it has 7 bytes")
    assert message(FOREIGN["no JSON"]).startswith("is no safetensors file: ")
    assert message(FOREIGN["another's with texts"]) == (
        "is a safetensors file, but no checkpoint of tinyresnet: its metadata has no format 'tinyresnet-checkpoint'"
    )
    newer = {**OURS, "format_version": "2", "tinyresnet_version": "9.1"}
    assert message(with_header({"__metadata__": newer})) == (
        "is of format version 2, written by tinyresnet 9.1; this version reads 1"
    )


class Counting:
    """A file for reading that counts the bytes it is asked for, and has only one beginning."""

    def __init__(self, path: Path) -> None:
        self.file, self.asked = path.open("rb", buffering=0), 0

    def __enter__(self) -> Counting:
        return self

    def __exit__(self, *args: Any) -> None:
        self.file.close()

    def fileno(self) -> int:
        return self.file.fileno()

    def seek(self, place: int) -> None:
        raise AssertionError("it begins to read the whole file")

    def read(self, length: int) -> bytes:
        self.asked += length
        return self.file.read(length)


@pytest.mark.parametrize("start", [(10**9).to_bytes(8, "little"), FOREIGN["another's with texts"]])
def test_a_huge_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: bytes) -> None:
    """4 GiB, of holes: one that announces a header too long, and one of somebody else's."""
    path = tmp_path / "huge"
    path.write_bytes(start)
    os.truncate(path, 4 * 2**30)
    file = Counting(path)
    monkeypatch.setattr(Path, "open", lambda path, mode: file)
    with pytest.raises(ValueError, match="^" + re.escape(str(path))):
        load(path)
    assert 8 <= file.asked < 1000


# ---- no files -------------------------------------------------------------------------------------------------------------
def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing"):
        load(tmp_path / "nothing")


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(f"{tmp_path} must be a file, a checkpoint")):
        load(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX's")
def test_a_named_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe must be a file, a checkpoint"):
        load(tmp_path / "pipe")
