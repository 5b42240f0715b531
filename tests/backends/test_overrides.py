"""`use`: which implementation runs. Nesting, the one below, composites, and forward and back in different contexts."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import tinyresnet
from tinyresnet import backend as backend_module
from tinyresnet import ops, slim, use, use_backend
from tinyresnet.backend import Layer, op
from tinyresnet.resnet_v2 import resnet_v2, resnet_v2_block

RNG = np.random.default_rng(3)
X = RNG.standard_normal((2, 5, 4, 3))


def labelled(label: str, calls: list[str], fn: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        calls.append(label)
        return fn(*args, **kwargs)

    return run


def test_an_override_runs_and_ends_with_its_block() -> None:
    def doubled(x: Any) -> Any:
        y, saved = ops.relu_forward(x)
        return 2 * y, saved

    plain = ops.relu_forward(X)[0]
    with use(relu_forward=doubled):
        np.testing.assert_array_equal(ops.relu_forward(X)[0], 2 * plain)
    np.testing.assert_array_equal(ops.relu_forward(X)[0], plain)


def test_nested_overrides_each_reach_the_one_below() -> None:
    calls: list[str] = []

    def outer(x: Any) -> Any:
        calls.append("outer")
        y, saved = ops.relu_forward(x)
        return y + 1, saved

    def inner(x: Any) -> Any:
        calls.append("inner")
        y, saved = ops.relu_forward(x)
        return y * 10, saved

    plain = ops.relu_forward(X)[0]
    with use(relu_forward=outer), use(relu_forward=inner):
        np.testing.assert_allclose(ops.relu_forward(X)[0], (plain + 1) * 10)
    assert calls == ["inner", "outer"]


def test_inside_an_override_nearer_layers_are_out_of_sight() -> None:
    """`mine` of the outer layer calls another op: it must not meet the inner layer's override of it."""
    calls: list[str] = []

    def outer(dy: Any, saved: Any) -> Any:
        calls.append("outer")
        return ops.add(dy, dy) * (saved.y > 0)

    with use(relu_backward=outer), use(add=labelled("inner add", calls, lambda a, b: a - b)):
        _, saved = ops.relu_forward(X)
        dx = ops.relu_backward(X, saved)
    np.testing.assert_array_equal(dx, 2 * X * (X > 0))
    assert calls == ["outer"]


def test_an_override_that_raises_leaves_the_table_as_it_was() -> None:
    def broken(x: Any) -> Any:
        raise ZeroDivisionError

    with use(relu_forward=broken):
        with pytest.raises(ZeroDivisionError):
            ops.relu_forward(X)
        with pytest.raises(ZeroDivisionError):  # still there, and not the one below
            ops.relu_forward(X)
    assert (ops.relu_forward(X)[0] >= 0).all()


def test_a_back_end_entered_inside_use_hides_it() -> None:
    calls: list[str] = []
    with use(relu_forward=labelled("mine", calls, ops.relu_forward)):
        with use_backend("numpy"):
            ops.relu_forward(X)
        assert calls == []
        ops.relu_forward(X)
    assert calls == ["mine"]


def test_unknown_names_and_things_that_cannot_be_called_are_refused() -> None:
    with (
        pytest.raises(ValueError, match=r"no op named 'conv2d_backwards'.*conv2d_backward"),
        use(conv2d_backwards=print),
    ):
        pass
    with pytest.raises(TypeError, match="relu_forward must be a function, not int"), use(relu_forward=3):  # type: ignore[arg-type]
        pass


def small_net(x: Any, variables: Any) -> Any:
    return resnet_v2(x, [resnet_v2_block("block1", 2, 2, 2)], 3, variables=variables, scope="net")


def test_the_whole_resnet_trains_on_an_override() -> None:
    images = RNG.standard_normal((2, 32, 32, 3))
    calls: list[str] = []
    with use(conv2d_backward=labelled("mine", calls, lambda dy, saved: ops.conv2d_backward(dy, saved))):
        net, _, back = small_net(images, tinyresnet.Variables())
        back(RNG.standard_normal(net.shape))
    assert len(calls) == 9  # conv1, the shortcut, three a unit, logits


@pytest.mark.parametrize("dw", [None, np.ones(3), np.ones((7, 7, 3, 64), "float32")])
def test_a_gradient_that_does_not_fit_its_variable_is_refused_and_nothing_is_kept(dw: Any) -> None:
    def wrong(dy: Any, saved: Any) -> Any:
        dx, right = ops.conv2d_backward(dy, saved)
        return (dx, dw) if right.shape == (7, 7, 3, 64) else (dx, right)

    variables = tinyresnet.Variables()
    with use(conv2d_backward=wrong):
        net, _, back = small_net(RNG.standard_normal((2, 32, 32, 3)), variables)
        with pytest.raises(
            (TypeError, ValueError), match=r"the gradient of net/conv1/weights .*\[7, 7, 3, 64\]|float64"
        ):
            back(RNG.standard_normal(net.shape))
    assert variables.gradients == {}


# ---- forward inside `use`, back outside --------------------------------------------------------------------------------
def test_back_outside_the_use_of_its_forward_is_noticed_and_said_once() -> None:
    images = RNG.standard_normal((2, 32, 32, 3))
    with use(conv2d_backward=lambda dy, saved: ops.conv2d_backward(dy, saved)):
        net, _, back = small_net(images, tinyresnet.Variables())
    with pytest.warns(tinyresnet.EndedUseWarning, match=r"use\(conv2d_backward=...\).*back.*inside the same") as said:
        back(RNG.standard_normal(net.shape))
    assert len(said) == 1
    assert said[0].filename == __file__ and "back(RNG" in Path(__file__).read_text().splitlines()[said[0].lineno - 1]


def test_a_bare_layer_notices_too_and_a_nearer_use_does_not_excuse_it() -> None:
    with use(relu_backward=lambda dy, saved: dy):
        _, back = slim.relu(X)
    with use(relu_backward=lambda dy, saved: 2 * dy), pytest.warns(tinyresnet.EndedUseWarning):
        back(X)


@pytest.mark.parametrize("name", ["relu_forward", "add"])
def test_an_override_of_no_backward_may_end_before_back(name: str) -> None:
    original = getattr(ops, name)
    with use(**{name: lambda *args: original(*args)}):
        net, _, back = small_net(RNG.standard_normal((1, 32, 32, 3)), tinyresnet.Variables())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        back(RNG.standard_normal(net.shape))


def test_back_inside_a_use_that_began_after_the_forward_runs_it() -> None:
    calls: list[str] = []
    _, back = slim.relu(X)
    with use(relu_backward=labelled("mine", calls, ops.relu_backward)):
        back(X)
    assert calls == ["mine"]


# ---- composites --------------------------------------------------------------------------------------------------------
class SquareSaved(NamedTuple):
    x: Any


@pytest.fixture
def composite() -> Iterator[tuple[Callable[..., Any], list[str]]]:
    """add_relu = relu(add), with a fused kernel in a back end's table; every run of either leaves its label."""
    calls: list[str] = []

    @op(parts=("add", "relu_forward"))
    def add_relu_test_forward(a: Any, b: Any) -> Any:
        calls.append("plain body")
        return ops.relu_forward(ops.add(a, b))

    fused = labelled("fused", calls, lambda a, b: (np.maximum(a + b, 0), ops.ReluSaved(np.maximum(a + b, 0))))
    kernels = backend_module.Backend("numpy", np, {"add_relu_test_forward": fused})
    token = backend_module._context_layer.set(Layer(kernels.kernels, None, kernels))
    yield add_relu_test_forward, calls
    backend_module._context_layer.reset(token)
    del backend_module.REFERENCE["add_relu_test_forward"]


def test_a_composites_fused_kernel_runs_unless_a_part_is_overridden(composite: Any) -> None:
    add_relu, calls = composite
    expected = np.maximum(X + 2 * X, 0)
    np.testing.assert_array_equal(add_relu(X, 2 * X)[0], expected)
    assert calls == ["fused"]
    with use(add=labelled("my add", calls, lambda a, b: a - b)):
        np.testing.assert_array_equal(add_relu(X, 2 * X)[0], np.maximum(-X, 0))
    assert calls == ["fused", "plain body", "my add"]
    np.testing.assert_array_equal(add_relu(X, 2 * X)[0], expected)  # the kernel is on again
    assert calls[3:] == ["fused"]


def test_a_nearer_override_of_the_composite_wins_over_one_of_its_part(composite: Any) -> None:
    add_relu, calls = composite
    with use(add=labelled("my add", calls, ops.add)), use(add_relu_test_forward=lambda a, b: ("mine", None)):
        assert add_relu(X, X)[0] == "mine"
    with use(add_relu_test_forward=lambda a, b: ("mine", None)), use(add=labelled("my add", calls, lambda a, b: a + b)):
        add_relu(X, X)
    assert calls == ["plain body", "my add"]


def test_an_override_of_another_op_leaves_the_fused_kernel_on(composite: Any) -> None:
    add_relu, calls = composite
    with use(softmax=lambda x: x):
        add_relu(X, X)
    assert calls == ["fused"]


def test_batch_norm_relu_is_such_a_composite() -> None:
    gamma, beta = RNG.standard_normal(3), RNG.standard_normal(3)
    dy = RNG.standard_normal(X.shape)
    y, saved = ops.batch_norm_relu_forward(X, gamma, beta)
    z, batch_norm_saved = ops.batch_norm_forward(X, gamma, beta)
    relu, relu_saved = ops.relu_forward(z)
    np.testing.assert_array_equal(y, relu)
    expected = ops.batch_norm_backward(ops.relu_backward(dy, relu_saved), batch_norm_saved)
    for ours, theirs in zip(ops.batch_norm_relu_backward(dy, saved), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    calls: list[str] = []
    with use(relu_backward=labelled("mine", calls, lambda dy, saved: 0 * dy)):
        dx, dgamma, dbeta = ops.batch_norm_relu_backward(dy, saved)
    assert calls == ["mine"] and not dbeta.any() and not dgamma.any() and not dx.any()
