"""A frozen net as a file: the same net comes back, and nothing that is none."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinyresnet
from tests.conftest import BackendUnderTest
from tests.frozen.nets import OWN_NETS, nothing, pictures, small_resnet, store_for
from tests.frozen.random_nets import random_net
from tinyresnet import Variables, freeze, load_frozen
from tinyresnet.extras import MissingExtra
from tinyresnet.frozen import Frozen, file
from tinyresnet.frozen.graph import Conv2D, Graph, Node
from tinyresnet.frozen.weights import Weights

safetensors = pytest.importorskip("safetensors.numpy")
pytestmark = pytest.mark.host_only

SHAPE = (2, 33, 33, 3)


@pytest.fixture(scope="module")
def frozen() -> Frozen:
    with tinyresnet.use_backend("numpy"):
        return freeze(small_resnet, store_for(small_resnet, SHAPE), input_shape=SHAPE)


def same_graph(one: Graph, other: Graph) -> bool:
    """Node by node, field by field, bit by bit."""
    if replace(one, nodes=()) != replace(other, nodes=()) or len(one.nodes) != len(other.nodes):
        return False
    return all(_same_node(a, b) for a, b in zip(one.nodes, other.nodes, strict=True))


def _same_node(a: Node, b: Node) -> bool:
    bare = [replace(node, **dict.fromkeys(node.constants)) for node in (a, b)]
    return bare[0] == bare[1] and all(np.array_equal(_array(a, name), _array(b, name)) for name in a.constants)


def _array(node: Node, name: str) -> Any:
    value = node.constants[name]
    return value.get() if isinstance(value, Weights) else value


def test_the_same_net_comes_back(frozen: Frozen, tmp_path: Path, backend: BackendUnderTest) -> None:
    frozen.save(tmp_path / "net")
    loaded = load_frozen(tmp_path / "net")
    images = pictures(SHAPE)
    assert np.array_equal(loaded(images), frozen(images))
    assert repr(loaded) == repr(frozen)
    assert same_graph(loaded._graph, frozen._graph)


@pytest.mark.parametrize("name", OWN_NETS)
def test_own_nets_come_back(name: str, tmp_path: Path) -> None:
    before = freeze(OWN_NETS[name], store_for(OWN_NETS[name], SHAPE), input_shape=SHAPE)
    before.save(tmp_path / "net")
    assert same_graph(load_frozen(str(tmp_path / "net"))._graph, before._graph)


def test_random_nets_come_back(tmp_path: Path) -> None:
    for seed in range(40):
        net = random_net(seed)
        before = freeze(net, Variables(), input_shape=net.input_shape, dtype=net.dtype)
        before.save(tmp_path / "net")
        after = load_frozen(tmp_path / "net")
        assert same_graph(after._graph, before._graph)
        assert np.array_equal(after(net.images(1)), before(net.images(1)))


def test_a_failed_writing_leaves_the_old_file(frozen: Frozen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net"
    frozen.save(path)
    before = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        freeze(nothing, Variables(), input_shape=SHAPE).save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["net"]


def test_reading_needs_numpy_alone(frozen: Frozen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frozen.save(tmp_path / "net")
    for module in ("safetensors", "safetensors.numpy"):
        monkeypatch.setitem(sys.modules, module, None)
    assert same_graph(load_frozen(tmp_path / "net")._graph, frozen._graph)
    with pytest.raises(MissingExtra, match=r'pip install "tinyresnet\[train\]"'):
        frozen.save(tmp_path / "other")
    assert os.listdir(tmp_path) == ["net"]


# ---- what is no frozen net -----------------------------------------------------------------------------------------------
def test_every_kind_of_damage_is_noticed(frozen: Frozen, tmp_path: Path) -> None:
    """One bit anywhere, and an end that comes too soon."""
    path = tmp_path / "net"
    frozen.save(path)
    data = path.read_bytes()
    rng = np.random.default_rng(5)
    header = int.from_bytes(data[:8], "little")
    for place in [*range(8), *rng.integers(8, header, 60), *rng.integers(header, len(data), 30)]:
        broken = bytearray(data)
        broken[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(broken)
        with pytest.raises(ValueError, match="net"):
            load_frozen(path)
    for length in [0, 1, 7, 8, 9, header // 2, header + 8, len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(ValueError, match="net is"):
            load_frozen(path)


def test_more_than_the_file_speaks_of(frozen: Frozen, tmp_path: Path) -> None:
    path = tmp_path / "net.frozen"
    frozen.save(path)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ValueError, match="damaged.*its header speaks of"):
        load_frozen(path)


def test_a_place_that_cannot_be_written_is_named_as_it_was_given(frozen: Frozen, tmp_path: Path) -> None:
    path = tmp_path / "no such folder" / "net.frozen"
    with pytest.raises(FileNotFoundError) as caught:
        frozen.save(path)
    assert caught.value.filename == str(path) and "tmp" not in Path(caught.value.filename).name


def test_foreign_files(tmp_path: Path) -> None:
    path = tmp_path / "net"
    with pytest.raises(FileNotFoundError):
        load_frozen(path)
    with pytest.raises(ValueError, match="must be a file"):
        load_frozen(tmp_path)
    path.write_bytes(b"\x89PNG and so on, for more than eight bytes")
    with pytest.raises(ValueError, match="no safetensors file"):
        load_frozen(path)
    tinyresnet.checkpoints.save(path, {"a": np.ones(3)}, {})
    with pytest.raises(ValueError, match="no frozen net of tinyresnet"):
        load_frozen(path)
    path.write_bytes(safetensors.save({"a": np.ones(3)}, {"note": file.FORMAT}))
    with pytest.raises(ValueError, match="no frozen net of tinyresnet: its format is None"):
        load_frozen(path)


def rewritten(path: Path, change: Any) -> Path:
    """The file with its graph (as JSON) and arrays changed, and a checksum that fits: what a wrong program would write."""
    data = path.read_bytes()
    arrays = dict(safetensors.load(data))
    texts = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    graph = json.loads(texts["graph"])
    change(texts, graph, arrays)
    texts["graph"] = json.dumps(graph)
    texts["checksum"] = file._checksum(arrays, file._crcs(arrays), texts)
    path.write_bytes(safetensors.save(arrays, texts))
    return path


def test_a_newer_format(frozen: Frozen, tmp_path: Path) -> None:
    frozen.save(tmp_path / "net")
    rewritten(tmp_path / "net", lambda texts, graph, arrays: texts.update(format_version="2", tinyresnet_version="9.9"))
    with pytest.raises(ValueError, match="of format version 2, written by tinyresnet 9.9; this version reads 1"):
        load_frozen(tmp_path / "net")


def _node_with(graph: Any, field: str) -> Any:
    return next(node for node in graph["nodes"] if node.get(field) is not None)


def _number_with(arrays: Any, field: str) -> str:
    return next(name for name in arrays if name.endswith("." + field))


def _shorten(field: str) -> Any:
    def change(texts: Any, graph: Any, arrays: Any) -> None:
        name = _number_with(arrays, field)
        arrays[name] = np.ascontiguousarray(arrays[name][..., :1])

    return change


WRONG_GRAPHS: dict[str, Any] = {
    "an unknown step": lambda texts, graph, arrays: graph["nodes"][0].update(kind="Deconv2D"),
    "a step that reads what is not there": lambda texts, graph, arrays: graph["nodes"][0].update(x=99),
    "steps in another order": lambda texts, graph, arrays: graph["nodes"].insert(0, graph["nodes"].pop(3)),
    "a result that nobody makes": lambda texts, graph, arrays: graph.update(output=12345),
    "a result of another shape": lambda texts, graph, arrays: graph.update(output_shape=[2, 6]),
    "a value of another shape": lambda texts, graph, arrays: graph["shapes"][3].__setitem__(1, [1000, 1000, 1000]),
    "a batch of none": lambda texts, graph, arrays: graph.update(input_shape=[0, 33, 33, 3]),
    "images of another size": lambda texts, graph, arrays: graph.update(input_shape=[2, 34, 33, 3]),
    "a dtype that is none": lambda texts, graph, arrays: graph.update(dtype="int8"),
    "another dtype": lambda texts, graph, arrays: graph.update(dtype="float64"),
    "a residual of another shape": lambda texts, graph, arrays: _node_with(graph, "residual").update(residual=0),
    "too few weights": _shorten("w"),
    "too few biases": _shorten("bias"),
    "too few scales": _shorten("scale"),
    "no shift": lambda texts, graph, arrays: arrays.pop(_number_with(arrays, "shift")),
    "no weights": lambda texts, graph, arrays: arrays.pop(_number_with(arrays, "w")),
    "a stride of 0": lambda texts, graph, arrays: graph["nodes"][0].update(stride=[0, 2]),
    "a negative padding": lambda texts, graph, arrays: graph["nodes"][0].update(pads=[[-3, 3], [3, 3]]),
    "an unknown field": lambda texts, graph, arrays: graph["nodes"][0].update(colour="red"),
    "words for a list": lambda texts, graph, arrays: graph.update(nodes="none"),
    "a value made twice": lambda texts, graph, arrays: graph["nodes"].append(graph["nodes"][-1]),
}


@pytest.mark.parametrize("what", WRONG_GRAPHS)
def test_a_graph_that_is_none(frozen: Frozen, tmp_path: Path, what: str) -> None:
    """The checksum fits, so only the graph itself can show it: a kernel must not be sent beyond the end of an array."""
    frozen.save(tmp_path / "net")
    assert same_graph(load_frozen(rewritten(tmp_path / "net", lambda *_: None))._graph, frozen._graph)
    with pytest.raises(ValueError, match="no frozen net that this version can run"):
        load_frozen(rewritten(tmp_path / "net", WRONG_GRAPHS[what]))


def test_planted_difference_between_graphs(frozen: Frozen) -> None:
    graph = frozen._graph
    node = next(node for node in graph.nodes if isinstance(node, Conv2D))
    for other in (
        replace(node, relu=not node.relu),
        replace(node, w=Weights(node.w.get() + 1)),
        replace(node, stride=(1, 3)),
    ):
        assert not same_graph(graph, replace(graph, nodes=(other, *graph.nodes[1:])))
    assert not same_graph(graph, replace(graph, output=graph.output - 1))
