"""A frozen net gives what the net gives: the family, its options, and nets of one's own."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

import tinyresnet
from tests.conftest import BackendUnderTest
from tests.frozen.nets import (
    OWN_NETS,
    nothing,
    only_relu,
    pictures,
    randomized,
    relative_error,
    small_resnet,
    store_for,
    thin,
)
from tinyresnet import Variables, freeze, resnet_v2
from tinyresnet.frozen.graph import Affine, Conv2D, GlobalAvgPool, MaxPool2D, Subsample
from tinyresnet.slim import conv2d, default_variables, reset_default_variables, variable_scope
from tinyresnet.training.config import recipe
from tinyresnet.training.nets import Net

pytestmark = pytest.mark.host_only

BOUND = 1e-4  # of the largest value
OPTIONS: list[dict[str, Any]] = [
    {},
    {"num_classes": None},
    {"num_classes": 0, "global_pool": False},
    {"spatial_squeeze": False},
    {"global_pool": False, "spatial_squeeze": False},
    {"global_pool": False, "spatial_squeeze": False, "output_stride": 4},
    {"output_stride": 8},
    {"output_stride": 16},
    {"include_root_block": False},
    {"units": 1},  # each shortcut has the stride
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("size", [(33, 33), (30, 47)])
def test_a_small_resnet(backend: BackendUnderTest, options: dict[str, Any], size: tuple[int, int]) -> None:
    shape = (3, *size, 3)
    variables = store_for(small_resnet, shape, **options)
    frozen = freeze(small_resnet, variables, input_shape=shape, **options)
    for n in (1, 2, 3):
        images = pictures((n, *shape[1:]), seed=n)
        wanted = small_resnet(images, is_training=False, variables=variables, **options)[0]
        assert relative_error(frozen(images), wanted) <= BOUND
        assert frozen.output_shape == (3, *wanted.shape[1:])


@pytest.mark.parametrize("name", ["resnet_v2_50", "resnet_v2_101", "resnet_v2_152", "resnet_v2_200"])
def test_every_member_of_the_family(backend: BackendUnderTest, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all its units, thin ones."""
    monkeypatch.setattr(resnet_v2, "_four_blocks", thin)
    net, shape = getattr(resnet_v2, name), (2, 33, 33, 3)
    variables = store_for(net, shape, num_classes=7)
    images = pictures(shape)
    for options in ({}, {"output_stride": 8, "global_pool": False, "spatial_squeeze": False}):
        frozen = freeze(net, variables, input_shape=shape, num_classes=7, **options)
        wanted = net(images, 7, is_training=False, variables=variables, **options)[0]
        assert relative_error(frozen(images), wanted) <= BOUND


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet_v2_50", "resnet_v2_101", "resnet_v2_152", "resnet_v2_200"])
def test_the_family_at_full_width(backend: BackendUnderTest, name: str) -> None:
    net, shape = getattr(resnet_v2, name), (2, 65, 65, 3)
    variables = store_for(net, (1, 33, 33, 3), num_classes=10)
    frozen = freeze(net, variables, input_shape=shape, num_classes=10)
    images = pictures(shape)
    assert relative_error(frozen(images), net(images, 10, is_training=False, variables=variables)[0]) <= BOUND


@pytest.mark.parametrize("name", OWN_NETS)
@pytest.mark.parametrize(("dtype", "bound"), [("float32", BOUND), ("float64", 1e-12)])
def test_nets_of_ones_own(backend: BackendUnderTest, name: str, dtype: str, bound: float) -> None:
    net, shape = OWN_NETS[name], (4, 33, 21, 2)
    variables = store_for(net, shape, dtype)
    frozen = freeze(net, variables, input_shape=shape, dtype=dtype)
    for n in (1, 4):
        images = pictures((n, *shape[1:]), dtype)
        wanted = net(images, variables=variables)
        wanted = wanted[0] if isinstance(wanted, tuple) else wanted
        assert relative_error(frozen(images), wanted) <= bound


@pytest.mark.parametrize("net", [only_relu, nothing])
def test_a_net_that_is_hardly_one(backend: BackendUnderTest, net: Any) -> None:
    images = pictures((2, 5, 4, 3))
    frozen = freeze(net, Variables(), input_shape=(2, 5, 4, 3))
    wanted = np.maximum(images, 0) if net is only_relu else images
    assert np.array_equal(frozen(images), wanted)
    assert not np.shares_memory(frozen(images), images)


@pytest.mark.parametrize("name", ["digits", "scenes"])
def test_the_net_of_a_run(backend: BackendUnderTest, name: str) -> None:
    """A classifier, and a segmentation net, as `tinyresnet train` makes them."""
    net = Net(recipe(name), 4)
    variables = randomized(net.create_variables((32, 32, 3), seed=0))
    images = pictures((2, 32, 32, 3))
    frozen = freeze(net, variables, input_shape=images.shape)
    assert relative_error(frozen(images), net(images, variables, is_training=False)[0]) <= BOUND


# ---- what is folded ------------------------------------------------------------------------------------------------------
def test_nothing_is_left_of_a_resnet_but_convolutions_and_pools() -> None:
    shape = (1, 33, 33, 3)
    frozen = freeze(small_resnet, store_for(small_resnet, shape), input_shape=shape)
    nodes = frozen._graph.nodes
    assert {type(node) for node in nodes} == {Conv2D, MaxPool2D, Subsample, GlobalAvgPool}
    convolutions = [node for node in nodes if isinstance(node, Conv2D)]
    assert (
        len(convolutions) == 1 + 6 * 3 + 2 + 1
    )  # root, three a unit, two shortcuts (block3 has the depth of block2), logits
    assert sum(node.residual is not None for node in convolutions) == 6
    assert sum(node.scale is not None for node in convolutions) == 6 + 2  # conv1 and shortcut read preact
    assert sum(node.relu for node in convolutions) == 12  # conv1 and conv2


def test_a_value_that_others_need_is_not_folded_away() -> None:
    """Batch norm whose ReLU goes to a 3x3 convolution as well stays a step of its own."""

    def net(images: Any, variables: Variables, is_training: bool) -> Any:
        with variable_scope("mine", variables=variables):
            preact, _ = tinyresnet.slim.batch_norm(
                images, is_training=is_training, activation_fn=tinyresnet.slim.relu, scope="preact"
            )
            a, _ = conv2d(preact, 4, 1, scope="a")
            b, _ = conv2d(preact, 4, 3, scope="b")
            return tinyresnet.ops.add(a, b)

    variables = store_for(net, (1, 7, 7, 3))
    frozen = freeze(net, variables, input_shape=(1, 7, 7, 3))
    assert [type(node) for node in frozen._graph.nodes] == [Affine, Conv2D, Conv2D, tinyresnet.frozen.graph.Add]


# ---- the store and the function ------------------------------------------------------------------------------------------
def _snapshot(variables: Variables) -> dict[str, Any]:
    return {name: array.copy() for name, array in variables.items()}


def _is_unchanged(variables: Variables, before: dict[str, Any]) -> bool:
    return list(variables) == list(before) and all(np.array_equal(variables[name], before[name]) for name in before)


def test_the_store_is_left_as_it_is() -> None:
    shape = (1, 33, 33, 3)
    variables = store_for(small_resnet, shape)
    before, regularized, trainable = _snapshot(variables), variables.regularized, variables.trainable
    freeze(small_resnet, variables, input_shape=shape)
    assert _is_unchanged(variables, before)
    assert (variables.regularized, variables.trainable) == (regularized, trainable)


def test_later_changes_do_not_reach_the_frozen_net() -> None:
    shape = (1, 33, 33, 3)
    variables = store_for(small_resnet, shape)
    frozen, images = freeze(small_resnet, variables, input_shape=shape), pictures(shape)
    before = frozen(images).copy()
    for name in variables:
        variables[name][...] = 7  # in place, as nobody should
    assert np.array_equal(frozen(images), before)


def test_a_missing_variable_is_named_and_not_created() -> None:
    shape = (1, 33, 33, 3)
    variables = store_for(small_resnet, shape)
    del variables["small/logits/biases"]
    before = _snapshot(variables)
    with pytest.raises(ValueError, match=r"asks for the variable small/logits/biases, which `variables` does not have"):
        freeze(small_resnet, variables, input_shape=shape)
    assert _is_unchanged(variables, before)


def test_a_closure_with_the_store_in_it() -> None:
    shape = (1, 33, 33, 3)
    variables = store_for(small_resnet, shape)
    closure = lambda images: small_resnet(images, is_training=False, variables=variables)  # noqa: E731
    images = pictures(shape)
    assert relative_error(freeze(closure, variables, input_shape=shape)(images), closure(images)[0]) <= BOUND
    del variables["small/logits/biases"]
    before = _snapshot(variables)
    with pytest.raises(ValueError, match="asks for the variable small/logits/biases"):
        freeze(closure, variables, input_shape=shape)
    assert _is_unchanged(variables, before)


def test_another_store_is_noticed_and_left_as_it_was() -> None:
    other = Variables()
    closure = lambda images: small_resnet(images, is_training=False, variables=other)  # noqa: E731
    with pytest.raises(ValueError, match="small/conv1 takes its variables from another store"):
        freeze(closure, store_for(small_resnet, (1, 33, 33, 3)), input_shape=(1, 33, 33, 3))
    assert len(other) == 0


def _says_nothing_of_a_store(images: Any) -> Any:
    """Two layers without a name, which outside any scope are one and the same, and two in a scope, which are two."""
    net, _ = conv2d(images, 2, 3)
    net, _ = conv2d(net, 2, 3)
    with variable_scope("mine"):
        net, _ = conv2d(net, 3, 3)
        return conv2d(net, 3, 3)


def test_a_net_that_says_nothing_of_a_store() -> None:
    """It is given the one of freeze, under the names that it has outside any scope."""
    images = pictures((1, 5, 5, 2))
    default = reset_default_variables()
    try:
        _says_nothing_of_a_store(images)
        names = ["Conv/weights", "Conv/biases"]
        assert list(default) == [
            *names,
            *("mine/" + name for name in names),
            *("mine/" + name.replace("Conv", "Conv_1") for name in names),
        ]
        randomized(default)
        wanted = _says_nothing_of_a_store(images)[0]
        variables = Variables(default)
        assert (
            relative_error(freeze(_says_nothing_of_a_store, default, input_shape=images.shape)(images), wanted) <= BOUND
        )
        reset_default_variables()
        assert (
            relative_error(freeze(_says_nothing_of_a_store, variables, input_shape=images.shape)(images), wanted)
            <= BOUND
        )
        del variables["mine/Conv_1/biases"]
        with pytest.raises(
            ValueError, match="asks for the variable mine/Conv_1/biases, which .*did you mean mine/Conv/biases"
        ):
            freeze(_says_nothing_of_a_store, variables, input_shape=images.shape)
        assert len(default_variables()) == 0
    finally:
        reset_default_variables()


def test_a_scope_around() -> None:
    images, outer = pictures((1, 5, 5, 2)), Variables()
    with variable_scope("outer", variables=outer):
        wanted = _says_nothing_of_a_store(images)[0]
    with variable_scope("outer", variables=outer):
        assert (
            relative_error(freeze(_says_nothing_of_a_store, outer, input_shape=images.shape)(images), wanted) <= BOUND
        )
        with pytest.raises(ValueError, match="the layer outer/Conv_2 takes its variables from another store"):
            freeze(_says_nothing_of_a_store, Variables(outer), input_shape=images.shape)


def test_keywords_and_partial_functions() -> None:
    shape = (1, 33, 33, 3)
    variables = store_for(small_resnet, shape, num_classes=3)
    images = pictures(shape)
    frozen = freeze(functools.partial(small_resnet, num_classes=3), variables, input_shape=shape)
    assert frozen(images).shape == (1, 3)
    assert "small_resnet" in repr(frozen)
    assert np.array_equal(frozen(images), freeze(small_resnet, variables, input_shape=shape, num_classes=3)(images))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"input_shape": (8, 33, 33)}, r"input_shape must be \(N, H, W, C\)"),
        ({"input_shape": (0, 33, 33, 3)}, r"input_shape\[0\] must be an integer >= 1"),
        ({"input_shape": 224}, "input_shape must be"),
        ({"dtype": "float16"}, "dtype must be float32 or float64, not 'float16'"),
        ({"dtype": np.int32}, "dtype must be float32 or float64"),
        ({"is_training": True}, "is_training must be False"),
        ({"collect": True}, "collect must be False"),
        ({"gradients": True}, "gradients must be False"),
        ({"dtype": "float64"}, "small/conv1/weights is float32"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], words: str) -> None:
    variables = store_for(small_resnet, (1, 33, 33, 3))
    with pytest.raises(ValueError, match=words):
        freeze(small_resnet, variables, **{"input_shape": (1, 33, 33, 3), **arguments})


def test_what_is_no_store_or_no_function() -> None:
    with pytest.raises(TypeError, match="variables must be a tinyresnet.Variables, not dict"):
        freeze(only_relu, {}, input_shape=(1, 3, 3, 1))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="net_fn must be a function of images"):
        freeze(np.zeros(3), Variables(), input_shape=(1, 3, 3, 1))  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [np.float64, np.dtype("float64"), "float64"])
def test_a_dtype_as_numpy_says_it(dtype: Any) -> None:
    assert freeze(only_relu, Variables(), input_shape=(1, 3, 3, 1), dtype=dtype).dtype == np.float64
