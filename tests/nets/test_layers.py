"""Bare layers have TF-Slim's defaults, not ResNet's; each option does what TF-Slim's does."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

from tinyresnet import Variables, slim, watch
from tinyresnet.ops import naive
from tinyresnet.slim import (
    arg_scope,
    batch_norm,
    bias_add,
    conv2d,
    global_avg_pool,
    max_pool2d,
    relu,
    resize_bilinear,
    softmax,
    squeeze,
    variable_scope,
)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def host_store(backend: Any, **arrays: np.ndarray) -> Variables:
    """Keywords with __ for /: net__Conv__weights."""
    return Variables({name.replace("__", "/"): backend.array(array) for name, array in arrays.items()})


def close(backend: Any, ours: Any, right: np.ndarray) -> None:
    np.testing.assert_allclose(backend.host(ours), right, rtol=0, atol=1e-9 * max(1, np.abs(right).max(initial=0)))


# ---- conv2d ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("activation_fn", [relu, None], ids=["relu", "None"])
def test_conv2d_is_convolution_bias_activation(activation_fn: Any, backend: Any) -> None:
    """Forward and all gradients against PyTorch."""
    from tests.nets.torch_twin import F, nhwc, torch

    x, w, b = (torch.tensor(a, requires_grad=True) for a in (normal(2, 6, 5, 3), normal(3, 3, 3, 4), normal(4)))
    y = F.conv2d(x.permute(0, 3, 1, 2), w.permute(3, 2, 0, 1), b, padding=1)
    y = y if activation_fn is None else F.relu(y)
    y.backward(torch.tensor(normal(2, 4, 6, 5, seed=1)))
    variables = host_store(backend, net__Conv__weights=w.detach().numpy(), net__Conv__biases=b.detach().numpy())
    with variable_scope("net", reuse=True, variables=variables):
        net, back = conv2d(
            backend.array(x.detach().numpy()), 4, 3, **({} if activation_fn else {"activation_fn": None})
        )
    close(backend, net, nhwc(y))
    close(backend, back(backend.array(np.moveaxis(normal(2, 4, 6, 5, seed=1), 1, -1))), x.grad.numpy())
    close(backend, variables.gradients["net/Conv/weights"], w.grad.numpy())
    close(backend, variables.gradients["net/Conv/biases"], b.grad.numpy())


@pytest.mark.parametrize(
    "options",
    [{"stride": 2}, {"rate": (2, 1)}, {"padding": "VALID"}, {"padding": ((2, 0), (1, 1)), "stride": (1, 3)}],
    ids=str,
)
def test_stride_rate_and_padding_reach_the_op(options: dict[str, Any], backend: Any) -> None:
    x, w = normal(1, 7, 8, 2), normal(3, 2, 2, 3)
    variables = host_store(backend, net__Conv__weights=w)
    with variable_scope("net", variables=variables):
        net, _ = conv2d(backend.array(x), 3, [3, 2], biases_initializer=None, activation_fn=None, **options)
    close(backend, net, naive.conv2d_forward(x, w, **options))
    assert list(variables) == ["net/Conv/weights"]


def test_the_order_of_arguments_is_tf_slims() -> None:
    """What TF-Slim takes and makes no sense here is missing; the rest stands in its order, with its names."""
    slims = [
        "inputs", "num_outputs", "kernel_size", "stride", "padding", "data_format", "rate", "activation_fn", "normalizer_fn",
        "normalizer_params", "weights_initializer", "weights_regularizer", "biases_initializer", "biases_regularizer", "reuse",
        "variables_collections", "outputs_collections", "trainable", "scope",
    ]  # fmt: skip
    ours = list(inspect.signature(conv2d).parameters)
    assert ours == [name for name in slims if name in ours] and set(slims) - set(ours) == {"variables_collections"}
    slims = [
        "inputs", "decay", "center", "scale", "epsilon", "activation_fn", "param_initializers", "param_regularizers",
        "updates_collections", "is_training", "reuse", "variables_collections", "outputs_collections", "trainable", "batch_weights",
        "fused", "data_format", "zero_debias_moving_mean", "scope",
    ]  # fmt: skip
    ours = list(inspect.signature(batch_norm).parameters)
    assert ours == [name for name in slims if name in ours] and {"decay", "is_training", "outputs_collections"} < set(
        ours
    )
    pool = list(inspect.signature(max_pool2d).parameters)
    assert pool == ["inputs", "kernel_size", "stride", "padding", "data_format", "outputs_collections", "scope"]


def test_a_normalizer_takes_the_place_of_the_biases(backend: Any) -> None:
    calls = []

    def double(net: Any, factor: float) -> Any:
        calls.append(factor)
        return net * factor, lambda d: d * factor

    x, w = normal(1, 4, 4, 2), normal(1, 1, 2, 3)
    variables = host_store(backend, net__Conv__weights=w)
    with variable_scope("net", variables=variables):
        net, back = conv2d(backend.array(x), 3, 1, normalizer_fn=double, normalizer_params={"factor": 2.0})
    close(backend, net, np.maximum(2 * x @ w[0, 0], 0))
    assert calls == [2.0] and list(variables) == ["net/Conv/weights"]
    d_net = normal(1, 4, 4, 3, seed=1)
    close(backend, back(backend.array(d_net)), 2 * (d_net * (x @ w[0, 0] > 0)) @ w[0, 0].T)


def test_a_normalizer_with_an_activation_of_its_own_keeps_it(backend: Any) -> None:
    """As in TF-Slim conv2d's activation_fn comes after it, and does not replace it."""
    x = normal(2, 5, 4, 3)
    for scope in (
        arg_scope([batch_norm], activation_fn=relu),
        arg_scope([conv2d], normalizer_params={"activation_fn": relu}),
    ):
        with variable_scope("net", variables=Variables()), scope:
            net, _ = conv2d(backend.array(x), 6, 3, activation_fn=None, normalizer_fn=batch_norm)
        assert backend.host(net).min() == 0 < backend.host(net).max()


def test_the_end_point_of_a_normalizer_lies_before_the_activation(backend: Any) -> None:
    collected: dict[str, Any] = {}
    with variable_scope("net", variables=Variables()), arg_scope([conv2d, batch_norm], outputs_collections=collected):
        net, back = conv2d(backend.array(normal(2, 5, 4, 3)), 6, 3, normalizer_fn=batch_norm)
    assert list(collected) == ["net/Conv/BatchNorm", "net/Conv"]
    assert backend.host(collected["net/Conv/BatchNorm"]).min() < 0
    close(backend, net, np.maximum(backend.host(collected["net/Conv/BatchNorm"]), 0))
    with watch("net/Conv/BatchNorm") as at:
        back(backend.array(normal(*net.shape, seed=1)))
    close(backend, at["net/Conv/BatchNorm"], normal(*net.shape, seed=1) * (backend.host(net) > 0))


# ---- batch_norm -----------------------------------------------------------------------------------------------------------
def test_batch_norm_has_tf_slims_defaults(backend: Any) -> None:
    """No gamma, a beta, epsilon 0.001, decay 0.999, training mode, no activation."""
    x = 0.05 * normal(3, 4, 5, 2) - 1  # a variance of 0.0025, beside which 0.001 counts
    variables = Variables()
    with variable_scope("net", variables=variables):
        net, _ = batch_norm(backend.array(x))
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    close(backend, net, (x - mean) / np.sqrt(var + 0.001))
    assert list(variables) == ["net/BatchNorm/beta", "net/BatchNorm/moving_mean", "net/BatchNorm/moving_variance"]
    close(backend, variables["net/BatchNorm/moving_mean"], 0.001 * mean)
    close(backend, variables["net/BatchNorm/moving_variance"], 0.999 + 0.001 * var * 60 / 59)


@pytest.mark.parametrize("is_training", [True, False])
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("scale", [True, False])
def test_batch_norm_with_and_without_scale_and_centre(
    scale: bool, center: bool, is_training: bool, backend: Any
) -> None:
    names = [leaf for leaf, there in (("gamma", scale), ("beta", center)) if there]
    values = {
        "gamma": normal(2, seed=1),
        "beta": normal(2, seed=2),
        "moving_mean": normal(2, seed=3),
        "moving_variance": normal(2, seed=4) ** 2,
    }
    variables = Variables(
        {f"net/bn/{leaf}": backend.array(values[leaf]) for leaf in (*names, "moving_mean", "moving_variance")}
    )
    gamma, beta = values["gamma"] if scale else np.ones(2), values["beta"] if center else np.zeros(2)
    x, d_net = normal(4, 3, 3, 2), normal(4, 3, 3, 2, seed=5)
    with variable_scope("net", reuse=True, variables=variables):
        net, back = batch_norm(
            backend.array(x), 0.9, center, scale, 0.01, is_training=is_training, activation_fn=relu, scope="bn"
        )
    if is_training:
        y, _, _ = naive.batch_norm_forward(x, gamma, beta, 0.01)
        dx, dgamma, dbeta = naive.batch_norm_backward(d_net * (y > 0), x, gamma, 0.01)
    else:
        moving = values["moving_mean"], values["moving_variance"]
        y = naive.batch_norm_inference_forward(x, gamma, beta, *moving, 0.01)
        dx, dgamma, dbeta = naive.batch_norm_inference_backward(d_net * (y > 0), x, gamma, *moving, 0.01)
    close(backend, net, np.maximum(y, 0))
    close(backend, back(backend.array(d_net)), dx)
    assert set(variables.gradients) == {f"net/bn/{leaf}" for leaf in names}
    for leaf, right in (("gamma", dgamma), ("beta", dbeta)):
        if leaf in names:
            close(backend, variables.gradients[f"net/bn/{leaf}"], right)


def test_inference_reads_the_moving_averages_and_training_replaces_them(backend: Any) -> None:
    """Replaced, not written to: who held the old array still has the old values."""
    variables = host_store(backend, net__bn__moving_mean=np.zeros(2), net__bn__moving_variance=np.ones(2))
    x = 3 * normal(8, 2) + 5
    held = variables["net/bn/moving_mean"]
    for step in range(200):
        with variable_scope("net", variables=variables):
            batch_norm(backend.array(x), decay=0.9, scope="bn")
        assert not backend.host(held).any(), step
    close(backend, variables["net/bn/moving_mean"], x.mean(0) * (1 - 0.9**200))
    close(backend, variables["net/bn/moving_variance"], x.var(0, ddof=1) * (1 - 0.9**200) + 0.9**200)
    with variable_scope("net", variables=variables):
        net, _ = batch_norm(backend.array(x), is_training=False, epsilon=0.0, scope="bn")
    np.testing.assert_allclose(backend.host(net).std(0, ddof=1), 1, rtol=1e-6)


def test_decay_0_and_1(backend: Any) -> None:
    x = normal(8, 2)
    for decay, mean, var in ((0.0, x.mean(0), x.var(0, ddof=1)), (1.0, np.full(2, 3.0), np.full(2, 4.0))):
        variables = host_store(backend, net__bn__moving_mean=np.full(2, 3.0), net__bn__moving_variance=np.full(2, 4.0))
        with variable_scope("net", variables=variables):
            batch_norm(backend.array(x), decay=decay, scope="bn")
        close(backend, variables["net/bn/moving_mean"], mean)
        close(backend, variables["net/bn/moving_variance"], var)


def test_moving_averages_in_float32_stay_float32(backend: Any) -> None:
    variables = Variables()
    with variable_scope("net", variables=variables):
        batch_norm(backend.array(normal(8, 2).astype("float32")), decay=np.float64(0.9), scale=True)
    assert {str(array.dtype) for array in variables.values()} == {"float32"}


# ---- the small ones -------------------------------------------------------------------------------------------------------
def test_max_pool2d_has_tf_slims_defaults(backend: Any) -> None:
    """Stride 2, VALID; under resnet_arg_scope SAME."""
    from tinyresnet.resnet_utils import resnet_arg_scope

    x = normal(1, 6, 7, 2)
    net, back = max_pool2d(backend.array(x), [3, 3])
    close(backend, net, naive.max_pool2d_forward(x, 3, 2, "VALID"))
    dy = normal(*net.shape, seed=1)
    close(backend, back(backend.array(dy)), naive.max_pool2d_backward(dy, x, 3, 2, "VALID"))
    with arg_scope(resnet_arg_scope()):
        net, _ = max_pool2d(backend.array(x), [3, 3])
    close(backend, net, naive.max_pool2d_forward(x, 3, 2, "SAME"))


def test_relu_pool_squeeze_softmax(backend: Any) -> None:
    x = normal(2, 3, 4, 5)
    net, back = relu(backend.array(x))
    close(backend, net, np.maximum(x, 0))
    close(backend, back(backend.array(normal(*x.shape, seed=1))), normal(*x.shape, seed=1) * (x > 0))
    net, pool_back = global_avg_pool(backend.array(x))
    close(backend, net, x.mean((1, 2), keepdims=True))
    net, squeeze_back = squeeze(net)
    close(backend, net, x.mean((1, 2)))
    d = normal(2, 5, seed=2)
    close(backend, pool_back(squeeze_back(backend.array(d))), np.broadcast_to(d[:, None, None] / 12, x.shape))
    close(backend, softmax(net), np.exp(x.mean((1, 2))) / np.exp(x.mean((1, 2))).sum(-1, keepdims=True))


def test_bias_add_belongs_to_a_scope(backend: Any) -> None:
    with pytest.raises(ValueError, match="variable_scope"):
        bias_add(backend.array(normal(2, 3)))
    variables = host_store(backend, net__biases=normal(3, seed=1))
    with variable_scope("net", variables=variables):
        net, back = bias_add(backend.array(normal(2, 3)))
    close(backend, net, normal(2, 3) + normal(3, seed=1))
    d = normal(2, 3, seed=2)
    close(backend, back(backend.array(d)), d)
    close(backend, variables.gradients["net/biases"], d.sum(0))


def test_a_layers_name_is_exported() -> None:
    assert {"conv2d", "batch_norm", "max_pool2d", "softmax", "arg_scope", "add_arg_scope", "variable_scope", "l2_regularizer",
            "variance_scaling_initializer", "collect_named_outputs"} <= set(slim.__all__)  # fmt: skip


def test_a_regularizer_that_is_none_is_refused_and_leaves_nothing() -> None:
    variables = Variables()
    with (
        pytest.raises(
            TypeError, match=r"regularizer of outer/net/weights must be None or l2_regularizer\(scale\), not 0.1"
        ),
        variable_scope("outer", variables=variables),
    ):
        conv2d(np.zeros((1, 3, 3, 2), "float32"), 2, 1, weights_regularizer=0.1, scope="net")  # type: ignore[arg-type]
    assert not variables


def test_a_forward_that_fails_late_leaves_loaded_variables_without_regularizers() -> None:
    """What the layers before the failure said of their variables is taken back too."""
    images = normal(1, 4, 4, 2)
    loaded = Variables({"net/a/weights": normal(1, 1, 2, 2), "net/b/weights": normal(1, 1, 9, 9)})
    with pytest.raises(ValueError, match="net/b/weights has shape"), variable_scope("net", variables=loaded):
        net, _ = conv2d(images, 2, 1, weights_regularizer=slim.l2_regularizer(0.1), trainable=False, scope="a")
        conv2d(net, 2, 1, scope="b")
    assert list(loaded) == ["net/a/weights", "net/b/weights"] == list(loaded.trainable)
    assert loaded.regularized == () and loaded.regularization_loss() == 0


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("activation_fn", "relu", "activation_fn must be a function or None, not 'relu'"),
        ("normalizer_fn", "bn", "normalizer_fn must be a function or None, not 'bn'"),
        ("weights_initializer", 0.1, "weights_initializer must be a function or None, not 0.1"),
        ("weights_initializer", lambda shape, rng: np.zeros(3), r"initializer of outer/net/weights gave shape \[3\]"),
    ],
)
def test_functions_that_are_none_are_refused_and_leave_nothing(argument: str, value: Any, message: str) -> None:
    variables = Variables()
    with pytest.raises((TypeError, ValueError), match=message), variable_scope("outer", variables=variables):
        conv2d(normal(1, 3, 3, 2), 2, 1, scope="net", **{argument: value})
    assert not variables


@pytest.mark.parametrize("functions", [None, conv2d, "conv2d"])
def test_arg_scope_wants_a_list(functions: Any) -> None:
    with pytest.raises(TypeError, match="give a list of functions"), arg_scope(functions, stride=2):
        pass


@pytest.mark.parametrize("scope", ["", "/", "net/", "/net", 3])
def test_a_scope_is_a_name(scope: Any) -> None:
    with pytest.raises(ValueError, match="scope must be a string"), variable_scope(scope):
        pass


def test_watch_says_what_it_waited_for() -> None:
    with pytest.raises(TypeError, match="the name of an end point is a string, not 3"), watch(3):  # type: ignore[arg-type]
        pass
    with pytest.raises(ValueError, match="no gradient came past 'net'; no back ran inside the block"), watch("net"):
        pass


def test_resize_bilinear_is_the_op_and_its_way_back(backend: Any) -> None:
    """Against the loops; it has no variables and needs no scope."""
    x, d_net = normal(2, 3, 4, 2), normal(2, 9, 5, 2, seed=1)
    net, back = resize_bilinear(backend.array(x), (9, 5))
    close(backend, net, naive.resize_bilinear_forward(x, (9, 5)))
    close(backend, back(backend.array(d_net)), naive.resize_bilinear_backward(d_net, x, (9, 5)))
