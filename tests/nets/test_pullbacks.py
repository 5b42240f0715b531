"""`back`: when there is one, what it gives, that it runs once, and that it lets go of activations on its way."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.nets.specs import SMALL, NetSpec, assert_same, on_host, random_store
from tinyresnet import Variables, check_gradients, ops, use
from tinyresnet.resnet_utils import subsample
from tinyresnet.resnet_v2 import bottleneck, resnet_v2
from tinyresnet.slim import batch_norm, conv2d, global_avg_pool, max_pool2d, relu, squeeze, variable_scope

SPEC = NetSpec((2, 33, 30, 3), SMALL, 4)


def forward(
    backend: Any, variables: Variables, seed: int = 0, scope: str = "resnet", **options: Any
) -> tuple[Any, Any]:
    """net, back"""
    dtype = str(next(iter(variables.values())).dtype) if variables else "float64"
    images = backend.array(SPEC.random_images(seed, dtype))
    net, _, back = resnet_v2(images, SPEC.ours(), SPEC.num_classes, scope=scope, variables=variables, **options)
    return net, back


def random_like(backend: Any, net: Any, seed: int = 0) -> Any:
    return backend.array(np.random.default_rng([seed, 5]).standard_normal(net.shape).astype(str(net.dtype)))


# ---- when there is one ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("is_training", "gradients", "outer", "there_is_one"),
    [
        (True, None, None, True), (False, None, None, False),  # by default as is_training says
        (True, False, None, False), (False, True, None, True),  # the argument wins
        (True, None, False, False), (False, None, True, True),  # else the enclosing scope
        (True, True, False, True), (False, False, True, False),
    ],
)  # fmt: skip
def test_gradients(
    is_training: bool, gradients: bool | None, outer: bool | None, there_is_one: bool, backend: Any
) -> None:
    with variable_scope("outer", gradients=outer, variables=Variables()) as sc:
        net, _, back = resnet_v2(
            backend.array(SPEC.random_images()),
            SPEC.ours(),
            4,
            is_training,
            scope="resnet",
            variables=sc.variables,
            gradients=gradients,
        )
    assert callable(back) if there_is_one else back is None


def test_a_bare_layer_records_unless_its_scope_says_no(backend: Any) -> None:
    x = backend.array(np.ones((1, 4, 4, 2)))
    with variable_scope("net", variables=Variables()):
        assert all(
            callable(back)
            for _, back in (
                conv2d(x, 2, 1),
                batch_norm(x),
                max_pool2d(x, 2),
                relu(x),
                subsample(x, 2),
                global_avg_pool(x),
            )
        )
        with variable_scope("inner", gradients=False):
            made = (
                conv2d(x, 2, 1),
                batch_norm(x),
                max_pool2d(x, 2),
                relu(x),
                subsample(x, 2),
                subsample(x, 1),
                global_avg_pool(x),
            )
            assert all(back is None for _, back in (*made, bottleneck(x, 8, 2, 1), squeeze(global_avg_pool(x)[0])))
    assert callable(relu(x)[1])


def test_without_gradients_the_forward_pass_is_the_same(backend: Any) -> None:
    variables = random_store(backend, SPEC)
    before = dict(variables)
    found = []
    for gradients in (True, False):
        net, _ = forward(backend, variables, gradients=gradients)
        found.append((backend.host(net), on_host(backend, variables)))
        for name, array in before.items():
            variables[name] = array
    np.testing.assert_array_equal(found[0][0], found[1][0])
    assert_same(found[0][1], found[1][1], tolerance=0)
    assert not variables.gradients


# ---- what it gives --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("root", [True, False], ids=["root", "rootless"])
def test_input_gradient_false_gives_none_and_the_same_gradients(root: bool, backend: Any) -> None:
    spec = SPEC if root else NetSpec((2, 8, 9, 5), SMALL, 4, {"include_root_block": False})
    found = []
    for input_gradient in (True, False):
        variables = random_store(backend, spec)
        images = backend.array(spec.random_images())
        net, _, back = resnet_v2(
            images, spec.ours(), 4, scope="resnet", variables=variables, input_gradient=input_gradient, **spec.options
        )
        d_images = back(random_like(backend, net))
        assert (d_images is None) is not input_gradient
        found.append(backend.host(dict(variables.gradients)))
    assert_same(found[0], found[1], tolerance=0)


def test_input_gradient_false_saves_the_work(backend: Any) -> None:
    """Of the first convolution alone, dx is not computed."""
    skipped = []

    def spy(dy: Any, saved: Any) -> Any:
        skipped.append(not saved.input_gradient)
        return ops.conv2d_backward(dy, saved)

    variables = random_store(backend, SPEC)
    with use(conv2d_backward=spy):
        net, back = forward(backend, variables, input_gradient=False)
        back(random_like(backend, net))
    assert skipped == [False] * (len(skipped) - 1) + [True] and len(skipped) > 10


def test_gradients_add_up_until_they_are_cleared(backend: Any) -> None:
    """Two pairs of forward and back: the sum of what PyTorch gives for each, whichever back runs first."""
    from tests.nets.twins import run_twin

    variables = random_store(backend, SPEC)
    fresh = on_host(backend, variables)
    rights = [run_twin(SPEC, fresh, seed=seed) for seed in (0, 1)]
    pairs = [forward(backend, variables, seed) for seed in (0, 1)]
    for seed in (1, 0):
        net, back = pairs[seed]
        back(backend.array(np.random.default_rng([seed, 3]).standard_normal(net.shape)))
    names = [name for name in rights[0] if name.startswith("gradient resnet")]
    ours = backend.host({f"gradient {name}": g for name, g in variables.gradients.items()})
    assert_same(ours, {name: rights[0][name] + rights[1][name] for name in names})
    variables.gradients.clear()
    net, back = forward(backend, variables)
    back(backend.array(np.random.default_rng([0, 3]).standard_normal(net.shape)))
    ours = backend.host({f"gradient {name}": g for name, g in variables.gradients.items()})
    assert_same(ours, {name: rights[0][name] for name in names})


def test_two_uses_of_one_scope_add_their_gradients(backend: Any) -> None:
    """A Siamese pair: one set of weights reads two images; finite differences say what the sum is."""
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((2, 2, 5, 4, 3))

    def pair(weights: Any, biases: Any) -> tuple[Any, Callable[[Any], Any]]:
        variables = Variables({"net/Conv/weights": weights, "net/Conv/biases": biases})
        nets, backs = [], []
        for images in (left, right):
            with variable_scope("net", reuse=True, variables=variables):
                net, back = conv2d(backend.array(images), 2, 3, activation_fn=None)
            nets.append(net)
            backs.append(back)

        def back_both(dy: Any) -> tuple[Any, Any]:
            for back in backs:
                back(dy)
            return variables.gradients["net/Conv/weights"], variables.gradients["net/Conv/biases"]

        return ops.add(*nets), back_both

    report = check_gradients(pair, rng.standard_normal((3, 3, 3, 2)), rng.standard_normal(2), mode="full")
    assert report.passed, report


@pytest.mark.parametrize(("depth", "stride"), [(8, 1), (8, 2), (4, 1), (4, 2), (4, 3)])
def test_a_unit_by_finite_differences(depth: int, stride: int, backend: Any) -> None:
    """d(inputs) of a bottleneck, with and without a projection."""
    rng = np.random.default_rng(depth + stride)
    variables = Variables(seed=1)

    def unit(x: Any) -> Any:
        with variable_scope("net", variables=variables):
            return bottleneck(x, depth, 2, stride)

    report = check_gradients(unit, rng.standard_normal((2, 5, 6, 4)), mode="full")
    assert report.passed, report


# ---- it runs once ---------------------------------------------------------------------------------------------------------
def test_back_twice(backend: Any) -> None:
    variables = random_store(backend, SPEC)
    net, back = forward(backend, variables)
    d_net = random_like(backend, net)
    back(d_net)
    once = backend.host(dict(variables.gradients))
    with pytest.raises(RuntimeError, match="called before.*run the forward pass again"):
        back(d_net)
    assert_same(backend.host(dict(variables.gradients)), once, tolerance=0)


def test_the_back_of_a_layer_twice(backend: Any) -> None:
    x = backend.array(np.ones((1, 4, 4, 2)))
    with variable_scope("net", variables=Variables()):
        for net, back in (
            conv2d(x, 2, 1),
            batch_norm(x),
            max_pool2d(x, 2),
            relu(x),
            subsample(x, 2),
            subsample(x, 1),
            global_avg_pool(x),
        ):
            back(random_like(backend, net))
            with pytest.raises(RuntimeError, match="called before"):
                back(random_like(backend, net))


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (lambda b, d: d[None], ValueError, ("[1, 2, 4]", "[2, 4]")),
        (lambda b, d: d[:1], ValueError, ("[1, 4]", "[2, 4]")),
        (lambda b, d: d.astype("float32"), ValueError, ("float32", "float64")),
        (lambda b, d: d.astype("int64"), ValueError, ("int64", "float64")),
        (lambda b, d: b.host(d).tolist(), TypeError, ("list", "[2, 4]")),
        (lambda b, d: None, TypeError, ("NoneType", "[2, 4]")),
    ],
    ids=["rank", "batch", "float32", "int64", "list", "None"],
)
def test_a_wrong_gradient_given_to_back(
    change: Callable[[Any, Any], Any], error: type[Exception], says: tuple[str, ...], backend: Any
) -> None:
    """It is refused at the door: nothing is added, and back can still be called with the right one."""
    variables = random_store(backend, SPEC)
    net, back = forward(backend, variables)
    right = random_like(backend, net)
    with pytest.raises(error) as caught:
        back(change(backend, right))
    assert all(part in str(caught.value) for part in ("gradient given to back", *says)), caught.value
    assert not variables.gradients
    back(right)
    assert set(variables.gradients) == set(variables.trainable)


def test_a_back_that_fails_on_its_way_adds_nothing(backend: Any) -> None:
    """The gradients are as they were, even those of layers that it had passed."""
    variables = random_store(backend, SPEC)
    net, back = forward(backend, variables)
    back(random_like(backend, net))
    before = backend.host(dict(variables.gradients))
    calls = []

    def fails_at_the_fifth(dy: Any, saved: Any) -> Any:
        calls.append(1)
        if len(calls) == 5:
            raise MemoryError("planted")
        return ops.conv2d_backward(dy, saved)

    with use(conv2d_backward=fails_at_the_fifth):
        net, back = forward(backend, variables, seed=1)
        with pytest.raises(MemoryError, match="planted"):
            back(random_like(backend, net, seed=1))
    assert len(calls) == 5
    assert_same(backend.host(dict(variables.gradients)), before, tolerance=0)


# ---- and lets go on its way -----------------------------------------------------------------------------------------------
def alive_at_each_convolution(backend: Any, hold: Any = None, **options: Any) -> list[int]:
    """How many of the convolutions' inputs are still alive when each conv2d_backward starts, from the last to the first.

    Without the garbage collector's help: an activation must go when its last user lets go of it.
    """
    inputs: list[weakref.ref[Any]] = []
    alive: list[int] = []

    def forward_spy(x: Any, w: Any, **kwargs: Any) -> Any:
        y, saved = ops.conv2d_forward(x, w, **kwargs)
        inputs.append(weakref.ref(saved.x))
        return y, saved

    def backward_spy(dy: Any, saved: Any) -> Any:
        alive.append(sum(ref() is not None for ref in inputs))
        return ops.conv2d_backward(dy, saved)

    variables = random_store(backend, SPEC)
    with use(conv2d_forward=forward_spy, conv2d_backward=backward_spy):
        images = backend.array(SPEC.random_images())
        net, end_points, back = resnet_v2(images, SPEC.ours(), 4, scope="resnet", variables=variables, **options)
        if hold is not None:
            hold(back)
        d_net = random_like(backend, net)
        del net
        back(d_net)
    return alive


@pytest.mark.host_only
def test_activations_are_freed_while_back_goes(backend: Any) -> None:
    """At the last convolution all inputs are alive, at the first hardly more than its own, and never more than just before."""
    alive = alive_at_each_convolution(backend, collect=False)
    assert alive[0] == len(alive) > 10
    assert all(later <= earlier for earlier, later in zip(alive, alive[1:], strict=False))
    assert all(count <= len(alive) - position + 2 for position, count in enumerate(alive)), alive
    assert alive[-1] <= 2


@pytest.mark.host_only
def test_holding_on_to_activations_is_seen(backend: Any) -> None:
    """Planted: end points that the caller keeps, as collect=True has them."""
    alive = alive_at_each_convolution(backend, collect=True)
    assert alive[-1] > 10


@pytest.mark.host_only
def test_a_net_that_is_not_walked_back_frees_all_when_it_is_dropped(backend: Any) -> None:
    """No cycle of references keeps a forward pass alive: it goes without the garbage collector."""
    inputs: list[weakref.ref[Any]] = []

    def spy(x: Any, w: Any, **kwargs: Any) -> Any:
        y, saved = ops.conv2d_forward(x, w, **kwargs)
        inputs.append(weakref.ref(saved.x))
        return y, saved

    variables = random_store(backend, SPEC)
    gc.collect()
    gc.disable()
    try:
        with use(conv2d_forward=spy):
            net, back = forward(backend, variables, collect=False)
        assert sum(ref() is not None for ref in inputs) >= len(inputs) - 1  # the images were ours alone
        del net, back
        assert not any(ref() is not None for ref in inputs)
    finally:
        gc.enable()


@pytest.mark.host_only
def test_without_gradients_nothing_is_kept(backend: Any) -> None:
    inputs: list[weakref.ref[Any]] = []
    most = []

    def spy(x: Any, w: Any, **kwargs: Any) -> Any:
        y, saved = ops.conv2d_forward(x, w, **kwargs)
        inputs.append(weakref.ref(saved.x))
        most.append(sum(ref() is not None for ref in inputs))
        return y, saved

    variables = random_store(backend, SPEC)
    with use(conv2d_forward=spy):
        forward(backend, variables, is_training=False, collect=False)
    assert len(inputs) > 10 and max(most) <= 4
