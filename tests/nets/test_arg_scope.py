"""arg_scope the TF-Slim way, and resnet_v2's own defaults, which stand under the caller's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.nets.specs import SCOPE, SMALL, NetSpec, on_host, random_store
from tinyresnet import Variables
from tinyresnet.resnet_utils import resnet_arg_scope
from tinyresnet.resnet_v2 import bottleneck, resnet_v2
from tinyresnet.slim import (
    add_arg_scope,
    arg_scope,
    batch_norm,
    conv2d,
    l2_regularizer,
    max_pool2d,
    relu,
    variable_scope,
)

SPEC = NetSpec((2, 33, 30, 3), SMALL, 4)


@add_arg_scope
def layer(inputs: Any, depth: int, stride: int = 1, padding: str = "SAME") -> tuple[Any, ...]:
    return inputs, depth, stride, padding


@add_arg_scope
def other(inputs: Any, stride: int = 7) -> tuple[Any, ...]:
    return inputs, stride


# ---- the mechanism --------------------------------------------------------------------------------------------------------
def test_defaults_hold_inside_and_what_is_written_out_wins() -> None:
    with arg_scope([layer], stride=2, padding="VALID"):
        assert layer(0, 5) == (0, 5, 2, "VALID")
        assert layer(0, 5, stride=3) == (0, 5, 3, "VALID")
    assert layer(0, 5) == (0, 5, 1, "SAME")


def test_inner_scopes_add_to_outer_ones() -> None:
    with arg_scope([layer, other], stride=2):
        with arg_scope([layer], padding="VALID"):
            assert layer(0, 5) == (0, 5, 2, "VALID") and other(0) == (0, 2)
            with arg_scope([layer], stride=9):
                assert layer(0, 5) == (0, 5, 9, "VALID") and other(0) == (0, 2)
        assert layer(0, 5) == (0, 5, 2, "SAME")


def test_an_argument_without_a_default_can_be_given_one() -> None:
    with arg_scope([layer], depth=8):
        assert layer(0) == (0, 8, 1, "SAME")


def test_a_scope_can_be_kept_and_entered_again() -> None:
    with arg_scope([layer], stride=2) as kept, arg_scope([other], stride=5):
        pass
    assert layer(0, 5) == (0, 5, 1, "SAME")
    with arg_scope([layer], padding="VALID"):
        with arg_scope(kept):
            assert layer(0, 5) == (0, 5, 2, "SAME")  # it replaces what was in force, as TF-Slim's does
            assert other(0) == (0, 7)
        assert layer(0, 5) == (0, 5, 1, "VALID")


def test_the_defaults_end_with_an_exception() -> None:
    with pytest.raises(KeyError), arg_scope([layer], stride=2):
        raise KeyError
    assert layer(0, 5) == (0, 5, 1, "SAME")


def test_an_argument_that_the_function_does_not_have() -> None:
    with pytest.raises(ValueError) as caught, arg_scope([layer], stridee=2):
        pass
    assert all(part in str(caught.value) for part in ("layer", "stridee", "padding", "stride"))


def test_a_function_that_is_not_decorated() -> None:
    def plain(x: Any, stride: int = 1) -> None: ...

    with pytest.raises(ValueError) as caught, arg_scope([layer, plain], stride=2):
        pass
    assert all(part in str(caught.value) for part in ("plain", "add_arg_scope"))
    assert layer(0, 5) == (0, 5, 1, "SAME"), "half of the list must not be in force"


def test_a_kept_scope_takes_no_further_arguments() -> None:
    with pytest.raises(ValueError, match="stride"), arg_scope({}, stride=2):
        pass


def test_the_signature_and_the_name_of_a_layer_stay_readable() -> None:
    import inspect

    assert layer.__name__ == "layer" and list(inspect.signature(layer).parameters) == [
        "inputs",
        "depth",
        "stride",
        "padding",
    ]
    names = list(inspect.signature(conv2d).parameters)
    assert names[:3] == ["inputs", "num_outputs", "kernel_size"]
    assert list(inspect.signature(bottleneck).parameters) == [
        "inputs", "depth", "depth_bottleneck", "stride", "rate", "outputs_collections", "scope",
    ]  # fmt: skip


# ---- resnet_arg_scope under the caller's ---------------------------------------------------------------------------------
def forward(backend: Any, variables: Variables, **options: Any) -> np.ndarray:
    images = backend.array(SPEC.random_images())
    net, _, _ = resnet_v2(images, SPEC.ours(), SPEC.num_classes, scope=SCOPE, variables=variables, **options)
    return backend.host(net)


def test_without_any_arg_scope_a_net_has_resnets_defaults(backend: Any) -> None:
    """With resnet_arg_scope() around it or not: the same net, variables and regularizers."""
    bare, wrapped = Variables(), Variables()
    net = forward(backend, bare)
    with arg_scope(resnet_arg_scope()):
        np.testing.assert_array_equal(forward(backend, wrapped), net)
    assert list(bare) == list(wrapped) and bare.regularized == wrapped.regularized
    for name in bare:
        np.testing.assert_array_equal(backend.host(bare[name]), backend.host(wrapped[name]))
    assert float(bare.regularization_loss()) == pytest.approx(float(wrapped.regularization_loss()), rel=1e-12) != 0


@pytest.mark.parametrize("way", ["resnet_arg_scope", "batch_norm", "decay-alone"])
def test_the_callers_batch_norm_wins(way: str, backend: Any) -> None:
    """However the caller says it, decay 0.5 and epsilon 0.1 reach the batch norms inside and outside the convolutions."""
    from tests.nets.torch_twin import Twin, nhwc

    epsilon = 1e-5 if way == "decay-alone" else 0.1
    scope = {
        "resnet_arg_scope": lambda: arg_scope(resnet_arg_scope(batch_norm_decay=0.5, batch_norm_epsilon=0.1)),
        "batch_norm": lambda: arg_scope([batch_norm], decay=0.5, epsilon=0.1),
        "decay-alone": lambda: arg_scope([batch_norm], decay=0.5),
    }[way]
    variables = random_store(backend, SPEC)
    twin = Twin(on_host(backend, variables), decay=0.5, epsilon=epsilon)
    right = nhwc(twin.resnet_v2(SPEC.random_images(), SPEC.blocks, SPEC.num_classes, scope=SCOPE))
    with scope():
        np.testing.assert_allclose(forward(backend, variables), right, rtol=0, atol=1e-9)
    for name, array in twin.arrays().items():
        np.testing.assert_allclose(backend.host(variables[name]), array, rtol=0, atol=1e-9, err_msg=name)


def test_the_callers_regularizer_and_pool_win(backend: Any) -> None:
    variables = Variables()
    with arg_scope([conv2d], weights_regularizer=l2_regularizer(0.5)), arg_scope([max_pool2d], padding="VALID"):
        images = backend.array(SPEC.random_images())
        _, end_points, _ = resnet_v2(images, SPEC.ours(), scope=SCOPE, variables=variables)
    half = sum(float((backend.host(variables[name]) ** 2).sum()) for name in variables if name.endswith("weights"))
    assert float(variables.regularization_loss()) == pytest.approx(0.25 * half, rel=1e-9)
    assert end_points[f"{SCOPE}/block1/unit_1/bottleneck_v2"].shape[1:3] == (8, 7)  # 17x15 pooled VALID; SAME gives 9x8


def test_is_training_of_the_call_reaches_every_batch_norm(backend: Any) -> None:
    """The net sets it innermost, as TF-Slim's does: what a caller's arg_scope says about it does not count."""
    variables = random_store(backend, SPEC)
    before = on_host(backend, variables)
    with arg_scope([batch_norm], is_training=True):
        forward(backend, variables, is_training=False)
    for name, array in before.items():
        np.testing.assert_array_equal(backend.host(variables[name]), array, err_msg=name)


def test_without_batch_norm_the_convolutions_have_biases(backend: Any) -> None:
    variables = Variables()
    with arg_scope(resnet_arg_scope(use_batch_norm=False)):
        forward(backend, variables)
    unit = f"{SCOPE}/block1/unit_1/bottleneck_v2"
    assert f"{unit}/conv1/biases" in variables and f"{unit}/conv1/BatchNorm/gamma" not in variables
    assert f"{unit}/preact/gamma" in variables  # the pre-activation's batch norm is the unit's own


def test_without_scale_there_is_no_gamma(backend: Any) -> None:
    variables = Variables()
    with arg_scope(resnet_arg_scope(batch_norm_scale=False)):
        forward(backend, variables)
    assert not any(name.endswith("gamma") for name in variables) and any(name.endswith("beta") for name in variables)


def test_weight_decay_zero_regularizes_nothing(backend: Any) -> None:
    variables = Variables()
    with arg_scope(resnet_arg_scope(weight_decay=0)):
        forward(backend, variables)
    assert variables.regularized == () and variables.regularization_loss() == 0


@pytest.mark.parametrize("bad", [-1e-4, "0.1", None, float("nan")], ids=repr)
def test_weight_decay_must_be_a_number_from_0(bad: Any) -> None:
    with pytest.raises(ValueError) as caught:
        resnet_arg_scope(weight_decay=bad)
    assert repr(bad) in str(caught.value) and "weight" in str(caught.value)


def test_another_activation(backend: Any) -> None:
    """activation_fn is the one after the convolutions; preact and postnorm keep their ReLU."""
    calls = []

    def leaky(net: Any) -> Any:
        calls.append(net.shape)
        return relu(net)

    with arg_scope(resnet_arg_scope(activation_fn=leaky)):
        forward(backend, Variables())
    units = sum(block.num_units for block in SPEC.blocks)
    assert len(calls) == 2 * units


def test_resnet_arg_scope_holds_for_bare_layers_inside_it_only(backend: Any) -> None:
    x, variables = backend.array(np.ones((1, 4, 4, 2), "float32")), Variables()
    with variable_scope("net", variables=variables):
        with arg_scope(resnet_arg_scope()):
            conv2d(x, 2, 1, scope="inside")
        conv2d(x, 2, 1, scope="outside")
    assert [name for name in variables if "/outside/" in name] == ["net/outside/weights", "net/outside/biases"]
    assert variables.regularized == ("net/inside/weights",)
    assert "net/inside/BatchNorm/gamma" in variables
