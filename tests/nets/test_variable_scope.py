"""Scopes: the names of variables, default names and their numbers, reuse, and that a failed forward pass leaves nothing behind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.nets.specs import SMALL, NetSpec, on_host
from tinyresnet import Variables, slim, use
from tinyresnet.resnet_v2 import bottleneck, resnet_v2
from tinyresnet.slim import batch_norm, conv2d, max_pool2d, relu, variable_scope

SPEC = NetSpec((2, 33, 33, 3), SMALL, 5)


def images(backend: Any, *shape: int, seed: int = 0, dtype: str = "float32") -> Any:
    return backend.array(np.random.default_rng(seed).standard_normal(shape or (2, 6, 6, 3)).astype(dtype))


# ---- names ----------------------------------------------------------------------------------------------------------------
def test_names_and_their_order(backend: Any) -> None:
    variables = Variables()
    with variable_scope("net", variables=variables) as net:
        with variable_scope("block1/unit_1") as unit:
            bottleneck(images(backend), 4, 1, stride=1)
            conv2d(images(backend), 2, 3, normalizer_fn=batch_norm)
    assert (net.name, unit.name) == ("net", "net/block1/unit_1")
    norm = ("beta", "moving_mean", "moving_variance")  # slim.batch_norm has no gamma of its own accord
    unit_names = [
        *(f"preact/{leaf}" for leaf in norm), "shortcut/weights", "shortcut/biases", "conv1/weights", "conv1/biases",
        "conv2/weights", "conv2/biases", "conv3/weights", "conv3/biases",
    ]  # fmt: skip
    assert list(variables) == [
        *(f"net/block1/unit_1/bottleneck_v2/{name}" for name in unit_names),
        "net/block1/unit_1/Conv/weights",
        *(f"net/block1/unit_1/Conv/BatchNorm/{leaf}" for leaf in norm),
    ]


def test_default_names_are_counted_within_one_entry(backend: Any) -> None:
    """Conv, Conv_1, Conv_2; each function counts for itself; a name that was given is not counted."""
    variables = Variables()
    x = images(backend)
    for _ in range(2):  # a second entry counts from the start and so finds the same variables
        with variable_scope("net", variables=variables):
            conv2d(x, 2, 1)
            batch_norm(x)
            conv2d(x, 2, 1)
            conv2d(x, 2, 1, scope="mine")
            with variable_scope("inner"):
                conv2d(x, 2, 1)
            conv2d(x, 2, 1)
    scopes = list(dict.fromkeys(name.rpartition("/")[0] for name in variables))
    assert scopes == ["net/Conv", "net/BatchNorm", "net/Conv_1", "net/mine", "net/inner/Conv", "net/Conv_2"]


def test_a_default_name_at_the_top_is_not_counted(backend: Any) -> None:
    store = slim.reset_default_variables()
    try:
        for _ in range(3):
            conv2d(images(backend), 2, 1)
            resnet_v2(images(backend, 1, 9, 9, 3), SPEC.ours())
        assert {name.split("/")[0] for name in store} == {"Conv", "resnet_v2"}
    finally:
        slim.reset_default_variables()


def test_a_second_call_of_a_net_finds_the_same_variables(backend: Any) -> None:
    variables = Variables()
    x = backend.array(SPEC.random_images(dtype="float32"))
    first, _, _ = resnet_v2(x, SPEC.ours(), 5, variables=variables)
    names = list(variables)
    second, _, _ = resnet_v2(x, SPEC.ours(), 5, variables=variables)
    assert list(variables) == names
    np.testing.assert_array_equal(backend.host(first), backend.host(second))


def test_nets_inside_one_scope_are_numbered(backend: Any) -> None:
    """Two nets in one entry of an outer scope are two nets: resnet_v2 and resnet_v2_1."""
    variables = Variables()
    x = images(backend, 1, 9, 9, 3)
    with variable_scope("siamese", variables=variables):
        for _ in range(2):
            resnet_v2(x, SPEC.ours(), include_root_block=False)
    assert {"/".join(name.split("/")[:2]) for name in variables} == {"siamese/resnet_v2", "siamese/resnet_v2_1"}


def test_pools_have_names_but_no_variables(backend: Any) -> None:
    variables, collected = Variables(), {}
    with variable_scope("net", variables=variables):
        max_pool2d(images(backend), 2, outputs_collections=collected)
        max_pool2d(images(backend), 2, outputs_collections=collected)
    assert list(collected) == ["net/MaxPool2D", "net/MaxPool2D_1"] and not variables


@pytest.mark.parametrize("scope", ["", "/", 3, ["net"]], ids=repr)
def test_a_scope_that_is_no_name(scope: Any) -> None:
    with pytest.raises(ValueError, match="scope must be a string") as caught:
        with variable_scope(scope):
            pass
    assert repr(scope) in str(caught.value)


def test_a_scope_without_any_name() -> None:
    with pytest.raises(ValueError, match="default_name"):
        with variable_scope(None):
            pass


def test_variables_must_be_a_store(backend: Any) -> None:
    with pytest.raises(TypeError, match="variables must be a tinyresnet.Variables, not dict"):
        resnet_v2(images(backend, 1, 9, 9, 3), SPEC.ours(), variables={})


# ---- reuse ----------------------------------------------------------------------------------------------------------------
def test_reuse(backend: Any) -> None:
    """True wants what is there, False what is not; None takes both."""
    variables = Variables()
    x = images(backend)

    def layer(reuse: Any) -> None:
        with variable_scope("net", reuse=reuse, variables=variables):
            conv2d(x, 2, 1, scope="conv1")

    with pytest.raises(ValueError, match=r"net/conv1/weights does not exist.*reuse=True"):
        layer(True)
    assert not variables
    layer(False)
    layer(None)
    layer(True)
    with pytest.raises(ValueError, match=r"net/conv1/weights exists already.*reuse=False"):
        layer(False)
    assert list(variables) == ["net/conv1/weights", "net/conv1/biases"]


def test_reuse_of_a_net_and_of_a_layer(backend: Any) -> None:
    variables = Variables()
    x = backend.array(SPEC.random_images(dtype="float32"))
    with pytest.raises(ValueError, match="resnet/conv1/weights does not exist"):
        resnet_v2(x, SPEC.ours(), 5, scope="resnet", reuse=True, variables=variables)
    resnet_v2(x, SPEC.ours(), 5, scope="resnet", reuse=False, variables=variables)
    with pytest.raises(ValueError, match="exists already"):
        resnet_v2(x, SPEC.ours(), 5, scope="resnet", reuse=False, variables=variables)
    with (
        variable_scope("resnet", variables=variables),
        pytest.raises(ValueError, match="resnet/new/weights does not exist"),
    ):
        conv2d(x, 2, 1, reuse=True, scope="new")


def test_the_inner_scope_takes_reuse_from_the_outer(backend: Any) -> None:
    variables = Variables()
    with variable_scope("net", reuse=True, variables=variables), pytest.raises(ValueError, match="does not exist"):
        with variable_scope("inner"):
            conv2d(images(backend), 2, 1)


@pytest.mark.parametrize("reuse", ["yes", 2, "True"], ids=repr)
def test_reuse_must_be_one_of_three(reuse: Any) -> None:
    with pytest.raises(ValueError, match="reuse must be None, True or False") as caught:
        with variable_scope("net", reuse=reuse):
            pass
    assert repr(reuse) in str(caught.value)


# ---- variables that do not fit -------------------------------------------------------------------------------------------
def test_a_misshaped_variable(backend: Any) -> None:
    variables = Variables({"net/conv1/weights": backend.array(np.ones((3, 3, 3, 2), "float32"))})
    with variable_scope("net", variables=variables):
        with pytest.raises(
            ValueError, match=r"net/conv1/weights has shape \[3, 3, 3, 2\], but this layer needs \[1, 1, 3, 2\]"
        ):
            conv2d(images(backend), 2, 1, scope="conv1")


def test_channels_that_changed_since_the_net_was_made(backend: Any) -> None:
    variables = Variables()
    resnet_v2(images(backend, 1, 33, 33, 3), SPEC.ours(), scope="resnet", variables=variables)
    before = on_host(backend, variables)
    with pytest.raises(
        ValueError, match=r"resnet/conv1/weights has shape \[7, 7, 3, 64\], but this layer needs \[7, 7, 1, 64\]"
    ):
        resnet_v2(images(backend, 1, 33, 33, 1), SPEC.ours(), scope="resnet", variables=variables)
    after = on_host(backend, variables)
    assert all(np.array_equal(after[name], before[name]) for name in before) and set(after) == set(before)


def test_float64_variables_with_float32_images(backend: Any) -> None:
    variables = Variables()
    resnet_v2(images(backend, 1, 33, 33, 3, dtype="float64"), SPEC.ours(), scope="resnet", variables=variables)
    with pytest.raises(ValueError, match=r"resnet/conv1/weights is float64.*float32"):
        resnet_v2(images(backend, 1, 33, 33, 3), SPEC.ours(), scope="resnet", variables=variables)


# ---- nothing half-done stays behind --------------------------------------------------------------------------------------
def failing_relu(x: Any) -> Any:
    raise ArithmeticError("planted")


def test_a_failed_forward_pass_creates_nothing(backend: Any) -> None:
    """The logits' weights do not fit: all that was created before them goes again."""
    wrong = backend.array(np.ones((1, 1, 7, 5), "float32"))
    variables = Variables({"resnet/logits/weights": wrong})
    with pytest.raises(ValueError, match="resnet/logits/weights has shape"):
        resnet_v2(
            backend.array(SPEC.random_images(dtype="float32")), SPEC.ours(), 5, scope="resnet", variables=variables
        )
    assert list(variables) == ["resnet/logits/weights"]
    assert not variables.regularized and not variables.gradients


def test_a_failed_forward_pass_puts_the_moving_averages_back(backend: Any) -> None:
    variables = Variables()
    x = backend.array(SPEC.random_images(dtype="float32"))
    resnet_v2(x, SPEC.ours(), 5, scope="resnet", variables=variables)
    before = on_host(backend, variables)
    with pytest.raises(ValueError, match="spatial_squeeze"):
        resnet_v2(x, SPEC.ours(), 5, global_pool=False, scope="resnet", variables=variables)
    after = on_host(backend, variables)
    assert list(after) == list(before)
    for name in before:
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)


def test_only_the_block_that_failed_is_undone(backend: Any) -> None:
    """Inside a `try`, what was made before it stays."""
    variables = Variables()
    x = images(backend)
    with variable_scope("net", variables=variables):
        conv2d(x, 2, 1, scope="before")
        with pytest.raises(ArithmeticError), variable_scope("failed"):
            conv2d(x, 2, 1, scope="conv1")
            conv2d(x, 2, 1, activation_fn=failing_relu, scope="conv2")
        conv2d(x, 2, 1, scope="after")
    assert {name.split("/")[1] for name in variables} == {"before", "after"}


def test_the_scope_and_the_arguments_are_left_when_a_forward_pass_fails(backend: Any) -> None:
    """The next layer is not inside the net that failed."""
    with (
        pytest.raises(ArithmeticError),
        use(relu_forward=failing_relu, batch_norm_relu_forward=lambda *a, **k: failing_relu(a)),
    ):
        resnet_v2(images(backend, 1, 33, 33, 3), SPEC.ours(), variables=Variables())
    assert slim.current_scope() is None and not slim.current_arg_scope()


def test_two_stores_at_once_are_both_put_back(backend: Any) -> None:
    first, second = Variables(), Variables()
    x = images(backend)
    with pytest.raises(ArithmeticError), variable_scope("a", variables=first):
        conv2d(x, 2, 1)
        with variable_scope("b", variables=second):
            conv2d(x, 2, 1)
        failing_relu(x)
    assert not first and not second


def test_a_layer_alone_is_undone_too(backend: Any) -> None:
    store = slim.reset_default_variables()
    with pytest.raises(ArithmeticError):
        conv2d(images(backend), 2, 1, activation_fn=failing_relu)
    assert not store


def test_the_default_store_is_the_processs(backend: Any) -> None:
    store = slim.reset_default_variables(seed=3)
    try:
        net, _ = conv2d(images(backend), 2, 1, activation_fn=relu, scope="here")
        assert list(slim.default_variables()) == ["here/weights", "here/biases"] and slim.default_variables() is store
        with variable_scope("inner", variables=Variables()):
            conv2d(net, 2, 1)
        assert len(store) == 2
    finally:
        slim.reset_default_variables()
