"""Random nets: the frozen one gives what the net gives, and no buffer is used too early. And mistakes planted in both are noticed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import tinyresnet
from tests.conftest import BackendUnderTest
from tests.frozen.memory import problems_of
from tests.frozen.random_nets import RandomNet, random_net
from tinyresnet.frozen import buffers, fold, trace
from tinyresnet.frozen.graph import IMAGES, Affine, Conv2D, Graph

BOUND = {"float32": 1e-4, "float64": 1e-12}  # of the largest value
SEEDS = range(100)


def error_of(net: RandomNet, n: int) -> float:
    """The largest difference between frozen and unfrozen, as a share of the largest value."""
    frozen = tinyresnet.freeze(net, tinyresnet.Variables(), input_shape=net.input_shape, dtype=net.dtype)
    images = net.images(n)
    wanted, got = net(images)[0], frozen(images)
    assert got.shape == wanted.shape
    assert got.dtype == wanted.dtype
    return float(np.abs(got - wanted).max() / max(np.abs(wanted).max(), 1e-30))


def graph_of(net: RandomNet) -> Graph:
    return fold.fold(trace.trace(net, net.input_shape, net.dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.host_only
def test_frozen_gives_what_the_net_gives(backend: BackendUnderTest, dtype: str) -> None:
    for seed in SEEDS:
        net = random_net(seed, dtype)
        for n in {1, net.input_shape[0]}:
            assert error_of(net, n) <= BOUND[dtype], (seed, n, net.words)


def test_no_value_is_overwritten_while_it_is_needed() -> None:
    for seed in range(250):
        net = random_net(seed)
        graph = graph_of(net)
        for n in {1, net.input_shape[0]}:
            assert problems_of(graph, buffers.plan(graph, n), n) == [], (seed, net.words)


def test_the_random_nets_have_what_they_are_there_for() -> None:
    """Each kind of fold and of sharing happens among them, and each that must not be done is offered."""
    nodes = [(node, graph) for graph in map(graph_of, map(random_net, SEEDS)) for node in graph.nodes]
    kinds = {type(node).__name__ for node, _ in nodes}
    assert len(kinds) == 9
    convolutions = [node for node, _ in nodes if isinstance(node, Conv2D)]
    assert any(node.residual is not None and node.relu and node.bias is not None for node in convolutions)
    assert any(node.scale is not None and node.residual is not None for node in convolutions)
    assert any(node.residual == node.x for node in convolutions)
    assert any(not node.is_per_pixel for node in convolutions)
    assert any(isinstance(node, Affine) and node.y == graph.output for node, graph in nodes)
    assert all(node.is_per_pixel for node in convolutions if node.scale is not None)


def test_memory_is_used_again() -> None:
    shared = 0
    for graph in map(graph_of, map(random_net, SEEDS)):
        plan = buffers.plan(graph, 2)
        shared += sum(place.size for place in plan.places.values()) > plan.size
    assert shared > len(SEEDS) // 3


# ---- planted mistakes ----------------------------------------------------------------------------------------------------
def _without_epsilon(saved: Any, *, epsilon: float, **others: Any) -> Any:
    return trace._batch_norm(saved, epsilon=0.0, **others)


def _everything_is_used_once(nodes: Any, output: int) -> dict[int, int]:
    return {value: 1 for node in nodes for value in (node.y, *node.reads)} | {output: 1}


MISTAKES_IN_FOLDING: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "epsilon is missing": lambda patch: patch.setitem(trace.NODE_OF, "batch_norm_inference_forward", _without_epsilon),
    "the bias is not scaled": lambda patch: patch.setattr(fold, "_scaled", lambda array, scale: array),
    "a value that others read is folded away": lambda patch: patch.setattr(
        fold, "count_uses", _everything_is_used_once
    ),
    "an affine without ReLU is given on as if it had one": lambda patch: patch.setattr(
        fold, "_is_activation", lambda node: isinstance(node, (Affine, fold.Relu))
    ),
    "readers that cannot activate are not asked": lambda patch: patch.setattr(
        fold, "_can_activate", lambda reader, value: hasattr(reader, "scale") and not isinstance(reader, Affine)
    ),
    "the shift of an activation is lost": lambda patch: patch.setattr(
        fold,
        "_with_activation",
        lambda reader, activation, graph, right=fold._with_activation: replace(
            right(reader, activation, graph), shift=np.zeros(graph.shapes[activation.y][-1])
        ),
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES_IN_FOLDING)
def test_planted_mistakes_in_folding(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MISTAKES_IN_FOLDING[mistake](monkeypatch)
    with tinyresnet.use_backend("numpy"):
        assert any(_is_wrong(random_net(seed)) for seed in SEEDS)


def _is_wrong(net: RandomNet) -> bool:
    try:
        return error_of(net, net.input_shape[0]) > BOUND[net.dtype]
    except (KeyError, ValueError):
        return True


def _one_node_early(graph: Graph) -> dict[int, int]:
    return {value: max(i - 1, 0) for value, i in buffers_last_reads(graph).items()}


buffers_last_reads = buffers.last_reads


def _residual_whatever_reads_it_later(node: Any, i: int, last: Any, graph: Graph) -> int | None:
    residual = getattr(node, "residual", None)
    return residual if residual not in (None, IMAGES, graph.output, getattr(node, "x", None)) else None


def _residual_that_is_read_as_x(node: Any, i: int, last: Any, graph: Graph) -> int | None:
    residual = getattr(node, "residual", None)
    return residual if residual not in (None, IMAGES, graph.output) and last[residual] == i else None


def _convolution_over_its_input(node: Any, i: int, last: Any, graph: Graph) -> int | None:
    return node.x if isinstance(node, Conv2D) and last[node.x] == i and node.x not in (IMAGES, graph.output) else None


@pytest.mark.parametrize(
    ("name", "mistake"),
    [
        ("last_reads", _one_node_early),
        ("overwritten", _residual_whatever_reads_it_later),
        ("overwritten", _residual_that_is_read_as_x),
        ("overwritten", _convolution_over_its_input),
    ],
)
def test_planted_mistakes_in_the_plan(name: str, mistake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffers, name, mistake)
    graphs = list(map(graph_of, map(random_net, SEEDS)))
    assert any(problems_of(graph, buffers.plan(graph, 2), 2) for graph in graphs)
