"""What is special about running a frozen net on kernels: memory that is used again, weights in another order, addresses in Steps."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")

import tinyresnet
from tests.frozen.nets import OWN_NETS, pictures, relative_error, small_resnet, store_for
from tests.frozen.random_nets import random_net
from tinyresnet import Variables, freeze, load_frozen
from tinyresnet.frozen import buffers, compiled
from tinyresnet.frozen.fold import fold
from tinyresnet.frozen.graph import Conv2D, Graph
from tinyresnet.frozen.plain import Plain
from tinyresnet.frozen.trace import trace
from tinyresnet.kernels.cpu import threads
from tinyresnet.slim import conv2d, variable_scope

pytestmark = pytest.mark.host_only

SEEDS = range(50)


@pytest.fixture(autouse=True)
def on_kernels() -> Iterator[None]:
    with tinyresnet.use_backend("numba"):
        yield


def graph_of(seed: int, dtype: str = "float32") -> Graph:
    net = random_net(seed, dtype)
    return fold(trace(net, net.input_shape, net.dtype))


def ran(run: Any, graph: Graph, n: int) -> Any:
    images = pictures((n, *graph.input_shape[1:]), graph.dtype)
    out = np.full((n, *graph.output_shape[1:]), np.nan, graph.dtype)
    run(images, out)
    return out


def difference(one: Any, other: Any) -> float:
    """As a share of the largest value; infinite where there is no number."""
    share = np.abs(one - other).max() / max(np.abs(other).max(), 1e-30)
    return float(share) if np.isfinite(share) else np.inf


def differs_somewhere() -> bool:
    for seed in SEEDS:
        graph = graph_of(seed)
        if difference(ran(compiled.Compiled(graph), graph, graph.batch), ran(Plain(graph), graph, graph.batch)) > 1e-4:
            return True
    return False


def poisoned(size: int, right: Any = compiled._aligned) -> Any:
    """Memory full of what is no number."""
    memory = right(size)
    memory[...] = 0xFF
    return memory


def test_nothing_is_read_before_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_aligned", poisoned)
    assert not differs_somewhere()


def test_planted_buffers_that_are_used_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    right = buffers.last_reads
    monkeypatch.setattr(
        buffers, "last_reads", lambda graph: {value: max(i - 1, 0) for value, i in right(graph).items()}
    )
    assert differs_somewhere()


def test_planted_residuals_that_are_written_over_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no other node would read them after the convolution that adds to them."""
    monkeypatch.setattr(
        buffers,
        "overwritten",
        lambda node, i, last, graph: (
            None if getattr(node, "residual", None) in (None, 0, graph.output) else node.residual
        ),
    )
    assert differs_somewhere()


def test_weights_come_back_from_the_kernels_order() -> None:
    for seed in SEEDS:
        for dtype in ("float32", "float64"):
            before, after = graph_of(seed, dtype), graph_of(seed, dtype)
            compiled.Compiled(after)
            for a, b in zip(before.nodes, after.nodes, strict=True):
                if isinstance(a, Conv2D) and isinstance(b, Conv2D):
                    assert np.array_equal(a.w.get(), b.w.get())


def _wide(images: Any, variables: Variables, is_training: bool = False) -> Any:
    """With a convolution that Winograd's way is the quickest for: its transformed weights cannot be brought back exactly."""
    with variable_scope("wide", variables=variables):
        net, _ = conv2d(images, 32, 1, scope="a")
        return conv2d(net, 32, 3, scope="b")


def test_transformed_weights_are_got_again_from_the_file(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    shape = (2, 24, 24, 8)
    frozen = freeze(_wide, store_for(_wide, shape), input_shape=shape)
    assert any(packed.method not in ("direct", "patches") for packed in frozen._executors["numba"]._packed.values())
    frozen.save(tmp_path / "one")
    loaded, images = load_frozen(tmp_path / "one"), pictures(shape)
    wanted = frozen(images)
    loaded.save(tmp_path / "two")
    with tinyresnet.use_backend("numpy"):
        plain = frozen(images)
        assert np.array_equal(load_frozen(tmp_path / "two")(images), plain)
    data = bytearray((tmp_path / "one").read_bytes())
    data[-5] ^= 1  # in the weights of the last convolution
    (tmp_path / "one").write_bytes(data)
    with pytest.raises(ValueError, match="one has changed since the frozen net was loaded from it: load it again"):
        loaded.save(tmp_path / "three")
    freeze(lambda x: x, Variables(), input_shape=shape).save(tmp_path / "one")
    assert np.array_equal(loaded(images), wanted)
    with pytest.raises(ValueError, match="one has changed since the frozen net was loaded from it: load it again"):
        loaded.save(tmp_path / "three")
    os.remove(tmp_path / "one")
    with pytest.raises(FileNotFoundError):
        loaded.save(tmp_path / "three")
    assert sorted(os.listdir(tmp_path)) == ["two"]


@pytest.mark.parametrize("name", OWN_NETS)
def test_one_net_on_both_back_ends(name: str) -> None:
    """In either order: the second executor gets its weights from the first."""
    shape = (3, 17, 21, 2)
    variables, images = store_for(OWN_NETS[name], shape), pictures(shape)
    frozen = freeze(OWN_NETS[name], variables, input_shape=shape)
    fast = frozen(images)
    with tinyresnet.use_backend("numpy"):
        plain = frozen(images)
        other = freeze(OWN_NETS[name], variables, input_shape=shape)
        assert np.array_equal(other(images), plain)
    assert np.array_equal(other(images), fast)
    assert relative_error(fast, plain) <= 1e-4


def test_batch_sizes_take_turns() -> None:
    shape = (5, 33, 33, 3)
    frozen = freeze(small_resnet, store_for(small_resnet, shape), input_shape=shape)
    images = pictures(shape)
    first = {n: frozen(images[:n]) for n in (5, 1, 4, 2, 3)}
    for n in (2, 5, 1, 3, 1, 4, 5):
        assert np.array_equal(frozen(images[:n]), first[n])


def test_a_call_allocates_nothing_but_its_result() -> None:
    """Less than one of its maps, with the result's place given."""
    shape = (2, 65, 65, 3)
    frozen = freeze(small_resnet, store_for(small_resnet, shape), input_shape=shape)
    images, out = pictures(shape), np.empty((2, 5), np.float32)
    frozen(images, out=out)
    tracemalloc.start()
    try:
        frozen(images, out=out)
        compiled_peak = tracemalloc.get_traced_memory()[1]
        with tinyresnet.use_backend("numpy"):
            frozen(images, out=out)
        plain_peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert compiled_peak < 20_000
    assert plain_peak > 1_000_000  # which shows that the measure sees arrays


def test_as_many_buffers_as_calls_at_a_time() -> None:
    shape = (2, 17, 17, 3)
    run = compiled.Compiled(fold(trace(_net(shape), shape, "float32")))
    images = pictures(shape)
    wanted = ran_with(run, images)
    with ThreadPoolExecutor(4) as pool:
        assert all(np.array_equal(got, wanted) for got in pool.map(lambda _: ran_with(run, images), range(40)))
    assert 1 <= len(run._free) <= 4


def _net(shape: tuple[int, ...]) -> Any:
    variables = store_for(small_resnet, shape)
    return lambda images: small_resnet(images, is_training=False, gradients=False, variables=variables)


def ran_with(run: compiled.Compiled, images: Any) -> Any:
    out = np.empty((len(images), 5), np.float32)
    run(images, out)
    return out


def test_another_number_of_threads() -> None:
    shape = (2, 33, 33, 3)
    frozen = freeze(small_resnet, store_for(small_resnet, shape), input_shape=shape)
    images, before = pictures(shape), threads.get_num_threads()
    wanted = frozen(images)
    try:
        for count in (1, 3):
            threads.set_num_threads(count)
            assert relative_error(frozen(images), wanted) <= 1e-5
    finally:
        threads.set_num_threads(before)


def test_a_net_without_nodes() -> None:
    images = pictures((2, 3, 3, 2))
    assert np.array_equal(freeze(lambda x: x, Variables(), input_shape=(2, 3, 3, 2))(images), images)
