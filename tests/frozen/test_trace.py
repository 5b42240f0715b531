"""What cannot be frozen is refused, with one error that says where and what to do. Each net here does one thing wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinyresnet
from tests.frozen.nets import pictures, small_resnet
from tinyresnet import Variables, freeze, ops
from tinyresnet.frozen.trace import Traced, trace
from tinyresnet.slim import batch_norm, conv2d, relu, variable_scope

pytestmark = pytest.mark.host_only

SHAPE = (2, 7, 5, 3)


def _convolved(images: Any) -> Any:
    return ops.conv2d_forward(images, np.ones((1, 1, 3, 3), np.float32))[0]


OUTSIDE_THE_OPS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "arithmetic": (lambda y: y + 1, "numpy.add was called"),
    "arithmetic from the left": (lambda y: 2 * y, "numpy.multiply was called"),
    "arithmetic of two": (lambda y: y * y, "numpy.multiply was called"),
    "a product of matrices": (lambda y: y @ np.ones((3, 2), np.float32), "numpy.matmul was called"),
    "a function": (lambda y: np.tanh(y), "numpy.tanh was called"),
    "a function of arrays": (lambda y: np.concatenate([y, y]), "numpy.concatenate was called"),
    "a method": (lambda y: y.mean((1, 2)), "numpy.add was called"),
    "dropout": (lambda y: np.where(np.random.default_rng(0).random(y.shape) < 0.5, y, 0), "numpy.where was called"),
    "a slice": (lambda y: y[:, 1:], "a view or a copy was made"),
    "another shape": (lambda y: y.reshape(2, -1), "a view or a copy was made"),
    "a copy": (lambda y: y.copy(), "a view or a copy was made"),
    "another dtype": (lambda y: y.astype(np.float64), "a view or a copy was made"),
    "a look at a number": (lambda y: relu(y)[0] if y.max() > 0 else y, "numpy.maximum was called"),
    "a loop over images": (lambda y: np.stack(list(y)), "a view or a copy was made"),
}


@pytest.mark.parametrize("what", OUTSIDE_THE_OPS)
def test_numpy_between_the_ops(what: str) -> None:
    wrong, words = OUTSIDE_THE_OPS[what]

    def net(images: Any) -> Any:
        with variable_scope("mine"):
            return relu(wrong(_convolved(images)))

    with pytest.raises(
        ValueError, match=rf"freeze: {words} on the result of conv2d in net/mine \(\[2, 7, 5, 3\]\)"
    ) as info:
        freeze(net, Variables(), input_shape=SHAPE)
    assert "use ops.add" in str(info.value)


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (
            lambda images: ops.relu_forward(np.asarray(images)),
            r"relu is given x \(float32 \[2, 7, 5, 3\]\) that no op has made",
        ),
        (
            lambda images: ops.add(images, np.ones(SHAPE, np.float32)),
            r"add is given b \(float32 \[2, 7, 5, 3\]\) that no op",
        ),
        (lambda images: ops.add(np.ones(SHAPE, np.float32), images), r"add is given a \(float32"),
        (lambda images: ops.relu_forward([1, 2]), r"relu is given x \(list\)"),
        (
            lambda images: ops.bias_add_forward(images, ops.global_avg_pool_forward(images)[0]),
            "as b, which has to be the same",
        ),
        (lambda images: np.ones(3), r"the net's result \(float64 \[3\]\) is not made by an op"),
        (lambda images: None, r"the net's result \(NoneType\)"),
        (lambda images: (), r"the net's result \(tuple\)"),
    ],
)
def test_arrays_from_elsewhere(net: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        freeze(net, Variables(), input_shape=SHAPE)


def test_an_array_of_another_freezing() -> None:
    kept: list[Any] = []

    def keep(images: Any) -> Any:
        kept.append(images)
        return images

    freeze(keep, Variables(), input_shape=SHAPE)
    with pytest.raises(ValueError, match="add is given b"):
        freeze(lambda images: ops.add(images, kept[0]), Variables(), input_shape=SHAPE)


def _trains(images: Any, activation: Any, variables: Variables) -> Any:
    with variable_scope("mine", variables=variables):
        net, _ = conv2d(images, 4, 3, normalizer_fn=None, scope="a")
        return batch_norm(net, activation_fn=activation, scope="norm")


@pytest.mark.parametrize(("activation", "op"), [(None, "batch_norm"), (relu, "batch_norm_relu")])
def test_batch_norm_in_training_mode(activation: Any, op: str) -> None:
    variables = Variables()
    _trains(pictures(SHAPE), activation, variables)
    before = {name: array.copy() for name, array in variables.items()}
    with pytest.raises(ValueError, match=rf"{op} in mine/norm \({op}_forward\) belongs to training.*is_training=False"):
        freeze(_trains, variables, input_shape=SHAPE, activation=activation)
    assert all(np.array_equal(variables[name], before[name]) for name in before)


def test_a_loss_or_a_backward_pass_inside() -> None:
    def with_back(images: Any, variables: Variables) -> Any:
        with variable_scope("mine", variables=variables):
            net, back = relu(images)
            return back(net)

    def with_loss(images: Any) -> Any:
        return ops.softmax_cross_entropy_forward(images, np.zeros(SHAPE[:3], int))

    with pytest.raises(ValueError, match="relu_backward in mine"):
        freeze(with_back, Variables(), input_shape=SHAPE)
    with pytest.raises(ValueError, match="softmax_cross_entropy"):
        freeze(with_loss, Variables(), input_shape=SHAPE)


def test_errors_of_the_net_and_of_its_ops_come_through() -> None:
    with pytest.raises(ValueError, match="w has 4 input channels"):
        freeze(
            lambda images: ops.conv2d_forward(images, np.ones((1, 1, 4, 2), np.float32)), Variables(), input_shape=SHAPE
        )
    with pytest.raises(ValueError, match="output_stride needs to be a multiple of 4"):
        freeze(small_resnet, Variables(), input_shape=SHAPE, output_stride=3)
    with pytest.raises(TypeError, match="no_such_argument"):
        freeze(small_resnet, Variables(), input_shape=SHAPE, no_such_argument=3)


def test_tracing_computes_nothing_and_takes_no_memory() -> None:
    """Images of a thousand gigabytes, and an op below that is never given more than none of them."""
    seen: list[Any] = []

    def net(images: Any) -> Any:
        y = _convolved(images)
        assert isinstance(y, Traced)
        assert y.shape == (100_000, 1_000, 1_000, 3)
        seen.append(y)
        return ops.squeeze_forward(ops.global_avg_pool_forward(y)[0])

    graph = trace(net, (100_000, 1_000, 1_000, 3), "float32")
    assert len(seen) == 2  # the second time to see whether the numbers count
    assert graph.output_shape == (100_000, 3)
    assert repr(seen[0]) == "<traced: the result of conv2d, [100000, 1000, 1000, 3] float32>"


def test_an_op_of_ones_own_is_seen_through() -> None:
    """A composite that the tracer does not know calls its parts, and those it does know."""

    def bias_and_relu(x: Any, b: Any) -> Any:
        return ops.relu_forward(ops.bias_add_forward(x, b)[0])

    bias = np.array([1, -2, 0.5], np.float32)
    frozen = freeze(lambda images: bias_and_relu(images, bias), Variables(), input_shape=SHAPE)
    images = pictures(SHAPE)
    assert np.array_equal(frozen(images), np.maximum(images + bias, 0))


def test_weights_may_be_computed_from_variables() -> None:
    """NumPy on constants is nobody's business: the result is one more constant."""
    w = np.random.default_rng(3).standard_normal((3, 3, 3, 4)).astype(np.float32)
    net = lambda images: ops.conv2d_forward(images, w - w.mean((0, 1, 2)))  # noqa: E731
    images = pictures(SHAPE)
    assert np.allclose(freeze(net, Variables(), input_shape=SHAPE)(images), net(images)[0], rtol=0, atol=1e-5)


def test_freezing_does_not_run_on_an_override() -> None:
    with tinyresnet.use(relu_forward=lambda x: (x * 0, None)):
        frozen = freeze(relu, Variables(), input_shape=SHAPE)
        images = pictures(SHAPE)
        assert np.array_equal(frozen(images), np.maximum(images, 0))


def test_a_net_whose_way_depends_on_the_numbers_is_refused() -> None:
    def net(images: Any, variables: Any = None) -> Any:
        with variable_scope("net", variables=variables):
            result, _ = conv2d(images, 4, 3)
            if float(np.asarray(images).mean()) > 0:
                result = ops.softmax(result)
            return result

    variables = Variables(seed=0)
    net(np.zeros((1, 5, 5, 2), np.float32), variables)
    with pytest.raises(ValueError, match="looks at the numbers"):
        freeze(net, variables, input_shape=(1, 5, 5, 2))


def test_a_constant_made_of_the_images_is_refused() -> None:
    def net(images: Any, variables: Any = None) -> Any:
        with variable_scope("net", variables=variables):
            result, _ = conv2d(images, 4, 3)
            return ops.bias_add_forward(result, np.array(np.asarray(result)[0, 0, 0]))[0]

    variables = Variables(seed=0)
    net(np.zeros((1, 5, 5, 2), np.float32), variables)
    with pytest.raises(ValueError, match="looks at the numbers"):
        freeze(net, variables, input_shape=(1, 5, 5, 2))
