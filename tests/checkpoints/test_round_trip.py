"""What goes in comes out, bit for bit; and what cannot go in is refused before anything is written."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinyresnet
from tinyresnet.checkpoints import checkpoint, load, restore, save
from tinyresnet.extras import MissingExtra
from tinyresnet.slim import Variables

safetensors = pytest.importorskip("safetensors")

DTYPES = ["<f4", "<f8", ">f4", ">f8", "<i4", ">i4", "<i8", "|u1", "|b1"]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))  # no half of a surrogate pair, which is no text
NAMES = TEXTS.filter(lambda name: name not in ("", "__metadata__"))


def transposed(array: Any) -> Any:
    return array.T


def every_other(array: Any) -> Any:
    return array[::2] if array.ndim else array


def backwards(array: Any) -> Any:
    return array[..., ::-1] if array.ndim else array


def broadcast(array: Any) -> Any:
    return np.broadcast_to(array, (2, *array.shape))


def as_it_is(array: Any) -> Any:
    return array


VIEWS = [as_it_is, transposed, every_other, backwards, broadcast]


@st.composite
def any_arrays(draw: st.DrawFn) -> Any:
    """Every bit pattern, NaN with a payload too; rank 0 to 4, axes of length 0, views that are not contiguous."""
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    length = int(np.prod(shape)) * dtype.itemsize
    data = draw(st.binary(min_size=length, max_size=length))
    if dtype.kind == "b":
        data = bytes(byte % 2 for byte in data)
    return draw(st.sampled_from(VIEWS))(np.frombuffer(data, dtype).reshape(shape))


def bits(array: Any) -> Any:
    """Shape, type, and the bits of the numbers in this machine's byte order."""
    native = array if array.dtype.isnative else array.byteswap().view(array.dtype.newbyteorder())
    return array.shape, native.dtype, native.tobytes()


def assert_same(found: Any, saved: Any) -> None:
    assert sorted(found) == sorted(saved)
    for name, array in saved.items():
        assert bits(found[name]) == bits(array), name


@given(arrays=st.dictionaries(NAMES, any_arrays(), max_size=4), metadata=st.dictionaries(TEXTS, TEXTS, max_size=4))
def test_bit_for_bit(tmp_path: Path, arrays: dict[str, Any], metadata: dict[str, str]) -> None:
    path = tmp_path / "any.safetensors"
    save(path, arrays, metadata)
    found = load(str(path))
    assert found.path == path and os.listdir(tmp_path) == [path.name]
    assert_same(found.arrays, arrays)
    assert all(array.dtype.isnative and array.flags.c_contiguous for array in found.arrays.values())
    ours = {"format", "format_version", "tinyresnet_version", "checksum"}
    assert {key: text for key, text in found.metadata.items() if key not in ours} == {
        key: text for key, text in metadata.items() if key not in ours
    }
    assert found.metadata["format"] == "tinyresnet-checkpoint" and found.metadata["format_version"] == "1"
    assert found.metadata["tinyresnet_version"] == tinyresnet.__version__


ARRAYS: dict[str, Any] = {
    "net/conv1/weights": np.random.default_rng(0).standard_normal((3, 2)).astype("float32").T,
    "net/step": np.array(7),
}


@pytest.mark.parametrize(
    "mistake",
    [
        lambda array: array.astype("float64"),
        lambda array: np.ascontiguousarray(array).reshape(array.shape[::-1]).T,  # memory taken as it lies
        lambda array: np.atleast_1d(array),
        lambda array: array + 0 * array - array,
    ],
)
def test_a_mistake_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: Any) -> None:
    monkeypatch.setattr(checkpoint, "_host_array", lambda name, array: np.asarray(mistake(array), order="C"))
    save(tmp_path / "file", ARRAYS, {})
    with pytest.raises(AssertionError):
        assert_same(load(tmp_path / "file").arrays, ARRAYS)


def test_any_reader_of_safetensors_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    save(path, ARRAYS, {"config": "Größe = 3 # 大小"})
    with safetensors.safe_open(path, framework="numpy") as file:
        assert_same({name: file.get_tensor(name) for name in file.keys()}, ARRAYS)
        assert file.metadata()["config"] == "Größe = 3 # 大小"


def test_what_was_loaded_can_be_saved_again(tmp_path: Path) -> None:
    save(tmp_path / "a", ARRAYS, {"config": "x"})
    first = load(tmp_path / "a")
    save(tmp_path / "b", first.arrays, first.metadata)
    second = load(tmp_path / "b")
    assert second.metadata == first.metadata
    assert_same(second.arrays, ARRAYS)


def test_from_the_device_and_back(tmp_path: Path, backend: Any) -> None:
    host = {name: array for name, array in ARRAYS.items() if array.dtype == np.float32}
    variables = Variables({name: backend.array(array) for name, array in host.items()})
    save(tmp_path / "file", variables, {})
    again = Variables({name: backend.array(np.zeros_like(array)) for name, array in host.items()})
    restore(again, load(tmp_path / "file").arrays, path="file")
    assert tinyresnet.get_array_module(*again.values()) is tinyresnet.get_array_module()
    assert_same(backend.host(dict(again)), host)


# ---- bad arguments --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arrays", "metadata", "error", "message"),
    [
        ({"a": np.ones(2), "": np.ones(2)}, {}, ValueError, "the name of an array must be a string, not empty"),
        (
            {"__metadata__": np.ones(2)},
            {},
            ValueError,
            "the name of an array must be a string, not empty and not '__metadata__'",
        ),
        ({3: np.ones(2)}, {}, ValueError, "the name of an array must be a string, .* but one is 3"),
        ({"a\ud800": np.ones(2)}, {}, ValueError, "surrogates not allowed"),
        ({"a": [1.0, 2.0]}, {}, TypeError, "array a must be an array, not list"),
        ({"a": None}, {}, TypeError, "array a must be an array, not NoneType"),
        (
            {"a": np.ones(2, "complex64")},
            {},
            ValueError,
            "array a must be of dtype float32, .* to be saved, not complex64",
        ),
        ({"a": np.ones(2, "float16")}, {}, ValueError, "not float16"),
        ({"a": np.array(["x"])}, {}, ValueError, "array a must be of dtype"),
        ({"a": np.array([None])}, {}, ValueError, "array a must be of dtype float32, .* not object"),
        ({"a": np.ones(2)}, {"epoch": 3}, TypeError, "metadata must be texts by name, but has 'epoch': 3"),
        ({"a": np.ones(2)}, {3: "epoch"}, TypeError, "metadata must be texts by name, but has 3: 'epoch'"),
        ({"a": np.ones(2)}, {"epoch": "\ud800"}, ValueError, "surrogates not allowed"),
    ],
)
def test_what_cannot_be_saved_leaves_the_old_file(
    tmp_path: Path, arrays: Any, metadata: Any, error: type[Exception], message: str
) -> None:
    path = tmp_path / "file"
    save(path, ARRAYS, {})
    with pytest.raises(error, match=message):
        save(path, arrays, metadata)
    assert_same(load(path).arrays, ARRAYS)
    assert os.listdir(tmp_path) == ["file"]


def test_without_safetensors_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    save(path, ARRAYS, {})
    before = path.read_bytes()
    monkeypatch.setitem(sys.modules, "safetensors", None)
    for use in (lambda: save(path, {}, {}), lambda: load(path)):
        with pytest.raises(MissingExtra, match=r'this needs safetensors, .*: pip install "tinyresnet\[train\]"'):
            use()
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["file"]
