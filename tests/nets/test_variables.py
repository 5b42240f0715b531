"""The store: a mapping that copies, initial values that do not depend on the order, and what it says about each name."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tests.nets.specs import SMALL, NetSpec, on_host
from tinyresnet import Variables
from tinyresnet.resnet_utils import resnet_arg_scope
from tinyresnet.resnet_v2 import resnet_v2
from tinyresnet.slim import arg_scope, conv2d, l2_regularizer, variable_scope, variance_scaling_initializer

SPEC = NetSpec((2, 33, 33, 3), SMALL, 5)


def net_store(backend: Any, seed: int = 0, dtype: str = "float32") -> Variables:
    variables = Variables(seed=seed)
    resnet_v2(backend.array(SPEC.random_images(dtype=dtype)), SPEC.ours(), 5, scope="resnet", variables=variables)
    return variables


# ---- the mapping ----------------------------------------------------------------------------------------------------------
def test_it_copies_what_it_is_given(backend: Any) -> None:
    array = backend.array(np.ones(3))
    variables = Variables({"a": array})
    variables["b"] = array
    array[...] = 7
    assert {name: float(backend.host(value).sum()) for name, value in variables.items()} == {"a": 3, "b": 3}


def test_it_is_a_mapping_in_order_of_creation() -> None:
    variables = Variables({"b": np.ones(2)})
    variables["a"] = np.zeros(3, "float32")
    assert list(variables) == ["b", "a"] and len(variables) == 2 and "a" in variables and "c" not in variables
    assert dict(variables).keys() == {"a", "b"} and variables.get("c") is None
    del variables["b"]
    assert list(variables) == ["a"]
    with pytest.raises(KeyError, match="nothing"):
        variables["nothing"]
    again = Variables(variables)
    assert list(again) == ["a"] and again["a"] is not variables["a"]


def test_lists_and_numbers_are_read_as_numpy_reads_them() -> None:
    assert Variables({"a": [1.0, 2.0]})["a"].dtype == np.float64


@pytest.mark.parametrize("bad", [np.ones(2, "int32"), np.ones(2, "complex64"), np.array(["a"]), [1, 2], True], ids=str)
def test_only_floats(bad: Any) -> None:
    variables = Variables()
    for give in (lambda: variables.__setitem__("w", bad), lambda: Variables({"w": bad})):
        with pytest.raises(ValueError, match="variable w must be float32 or float64, not"):
            give()
    assert not variables


@pytest.mark.parametrize("name", ["", 3, None], ids=repr)
def test_a_name_is_a_string(name: Any) -> None:
    with pytest.raises(ValueError, match="name of a variable"):
        Variables()[name] = np.ones(2)


@pytest.mark.parametrize("seed", [-1, 1.5, "0", None, True], ids=repr)
def test_the_seed_is_an_integer_from_0(seed: Any) -> None:
    with pytest.raises(ValueError, match="seed must be an integer >= 0") as caught:
        Variables(seed=seed)
    assert repr(seed) in str(caught.value)


@pytest.mark.parametrize("bad", [[("a", np.ones(2))], 3, "abc"], ids=["pairs", "number", "str"])
def test_what_is_no_mapping(bad: Any) -> None:
    with pytest.raises(TypeError, match="dict_of_arrays must be a mapping"):
        Variables(bad)


def test_a_loaded_store_knows_which_are_trainable(backend: Any) -> None:
    """From the names alone, before any net was run on it."""
    made = net_store(backend)
    loaded = Variables(dict(made))
    assert loaded.trainable == made.trainable
    assert [name for name in loaded if name not in loaded.trainable] == [name for name in loaded if "moving_" in name]


# ---- initial values -------------------------------------------------------------------------------------------------------
def test_gamma_beta_biases_and_moving_averages(backend: Any) -> None:
    variables = Variables()
    images = backend.array(SPEC.random_images(dtype="float32"))
    resnet_v2(images, SPEC.ours(), 5, is_training=False, scope="resnet", variables=variables)
    start = {"gamma": 1, "beta": 0, "biases": 0, "moving_mean": 0, "moving_variance": 1}
    for name, array in on_host(backend, variables).items():
        leaf = name.rpartition("/")[2]
        assert leaf == "weights" or np.all(array == start[leaf]), name
        assert array.dtype == np.float32


TRUNCATED = 0.8796256610342398  # the standard deviation of a normal number that is drawn again beyond 2


def check_weights(weights: np.ndarray, fan_in: int, factor: float = 2.0) -> None:
    std = math.sqrt(1.3 * factor / fan_in)
    assert np.abs(weights).max() <= 2 * std * (1 + 1e-6), "not truncated at 2"
    assert np.abs(weights).max() > 1.9 * std, "truncated too early"
    assert abs(weights.std() / (TRUNCATED * std) - 1) < 0.02, "wrong standard deviation"
    assert abs(weights.mean()) < 0.02 * std, "not centred"


def test_the_weights_of_a_net(backend: Any) -> None:
    """Truncated normal, standard deviation sqrt(1.3 * 2 / fan_in) before truncation, fan_in = KH * KW * C."""
    variables = Variables()
    x = backend.array(np.ones((1, 4, 4, 64), "float32"))
    with variable_scope("net", variables=variables), arg_scope(resnet_arg_scope()):
        conv2d(x, 96, [5, 3], scope="conv")
    check_weights(backend.host(variables["net/conv/weights"]), 5 * 3 * 64)


def test_the_factor_of_the_initializer() -> None:
    for factor in (1.0, 2.0, 3.0):
        check_weights(variance_scaling_initializer(factor)((3, 3, 32, 300), np.random.default_rng(0)), 288, factor)


@pytest.mark.parametrize("wrong", ["untruncated", "fan_out", "factor"])
def test_a_planted_wrong_initializer_is_seen(wrong: str) -> None:
    rng = np.random.default_rng(0)
    shape = (3, 3, 32, 300)
    right = variance_scaling_initializer()(shape, rng)
    planted = {
        "untruncated": rng.standard_normal(shape) * math.sqrt(2.6 / 288),
        "fan_out": right * math.sqrt(32 / 300),
        "factor": right / math.sqrt(1.3),
    }
    check_weights(right, 288)
    with pytest.raises(AssertionError):
        check_weights(planted[wrong], 288)


def test_a_bare_convolution_starts_as_tf_slims_does(backend: Any) -> None:
    """Xavier: uniform within sqrt(6 / (fan_in + fan_out)); biases zero; no regularizer."""
    variables = Variables()
    with variable_scope("net", variables=variables):
        conv2d(backend.array(np.ones((1, 4, 4, 50), "float32")), 70, 3, scope="conv")
    weights = backend.host(variables["net/conv/weights"])
    limit = math.sqrt(6 / (9 * (50 + 70)))
    assert 0.99 * limit < np.abs(weights).max() <= limit * (1 + 1e-6)
    assert abs(weights.std() * math.sqrt(3) / limit - 1) < 0.02
    assert variables.regularized == ()


def test_the_order_of_creation_does_not_matter(backend: Any) -> None:
    """Each variable draws from a stream of its own, named by it and the seed."""
    x = backend.array(np.ones((1, 4, 4, 8), "float32"))
    stores = []
    for order in (("a", "b", "c"), ("c", "a", "b"), ("b",)):
        variables = Variables(seed=5)
        with variable_scope("net", variables=variables):
            for name in order:
                conv2d(x, 4, 3, scope=name)
        stores.append(on_host(backend, variables))
    for name in stores[0]:
        for store in stores[1:]:
            if name in store:
                np.testing.assert_array_equal(store[name], stores[0][name])
    assert not np.array_equal(stores[0]["net/a/weights"], stores[0]["net/b/weights"])


def test_the_seed(backend: Any) -> None:
    one, same, other = (on_host(backend, net_store(backend, seed)) for seed in (1, 1, 2))
    weights = [name for name in one if name.endswith("weights")]
    assert all(np.array_equal(one[name], same[name]) for name in one)
    assert not any(np.array_equal(one[name], other[name]) for name in weights)


def test_float64_draws_the_same_numbers(backend: Any) -> None:
    single, double = (on_host(backend, net_store(backend, dtype=dtype)) for dtype in ("float32", "float64"))
    for name in (name for name in single if name.endswith("weights")):
        assert double[name].dtype == np.float64
        np.testing.assert_array_equal(double[name].astype("float32"), single[name])


# ---- regularization -------------------------------------------------------------------------------------------------------
def test_regularization_loss_against_pytorch(backend: Any) -> None:
    """TF-Slim's sum of scale * sum(w^2) / 2 over `weights`, and not over biases, gamma or beta."""
    from tests.nets.torch_twin import torch

    variables = net_store(backend)
    weights = [
        torch.tensor(array, dtype=torch.float64)
        for name, array in on_host(backend, variables).items()
        if name.endswith("weights")
    ]
    right = sum(1e-4 * torch.linalg.vector_norm(w) ** 2 / 2 for w in weights).item()
    assert float(variables.regularization_loss()) == pytest.approx(right, rel=1e-6)
    assert len(variables.regularized) == len(weights) and Variables().regularization_loss() == 0


def test_the_gradients_exclude_it(backend: Any) -> None:
    """back gives the gradient of the loss alone, whatever the weight decay."""
    found = []
    for decay in (0.0, 0.5):
        variables = Variables()
        with arg_scope(resnet_arg_scope(weight_decay=decay)):
            images = backend.array(SPEC.random_images())
            net, _, back = resnet_v2(images, SPEC.ours(), 5, scope="resnet", variables=variables)
        back(backend.array(np.random.default_rng(0).standard_normal(net.shape)))
        found.append(backend.host(dict(variables.gradients)))
    assert found[0].keys() == found[1].keys()
    for name in found[0]:
        np.testing.assert_array_equal(found[0][name], found[1][name])


def test_l2_regularizer(backend: Any) -> None:
    w = np.random.default_rng(0).standard_normal((3, 2))
    regularizer = l2_regularizer(0.25)
    assert regularizer is not None and l2_regularizer(0) is None
    assert float(regularizer.loss(backend.array(w))) == pytest.approx(0.125 * (w**2).sum(), rel=1e-12)
    np.testing.assert_allclose(backend.host(regularizer.gradient(backend.array(w))), 0.25 * w)


# ---- what is trained ------------------------------------------------------------------------------------------------------
def test_a_frozen_layer_has_no_gradient_and_passes_it_on(backend: Any) -> None:
    """trainable=False: not among the trainable ones, and back adds nothing for it."""
    variables = Variables()
    x = backend.array(np.random.default_rng(0).standard_normal((2, 5, 5, 3)))
    with variable_scope("net", variables=variables):
        net, first = conv2d(x, 4, 3, scope="free")
        net, second = conv2d(net, 4, 3, trainable=False, scope="frozen")
    dx = first(second(backend.array(np.random.default_rng(1).standard_normal(net.shape))))
    assert (
        variables.trainable
        == ("net/free/weights", "net/free/biases")
        == tuple(sorted(variables.gradients, reverse=True))
    )
    assert np.abs(backend.host(dx)).max() > 0


def test_deleting_a_variable_forgets_all_about_it(backend: Any) -> None:
    variables = net_store(backend)
    name = variables.regularized[0]
    variables.gradients[name] = variables[name]
    del variables[name]
    assert name not in variables.regularized and name not in variables.trainable and name not in variables.gradients
