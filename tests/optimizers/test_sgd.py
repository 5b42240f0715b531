"""SGD against torch.optim.SGD, and mistakes that the comparison must catch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.optimizers.stores import (
    DECAY,
    REGULARIZED,
    SHAPES,
    TRAINED,
    UNTRAINED,
    assert_equal,
    copies,
    gradients,
    store,
)
from tinyresnet.optimizers import SGD

RATES = (0.1, 0.05, 0.2, 0.01, 0.3)  # another one each step: a rate that is part of the velocity is seen
KINDS = {"plain": (0.0, False), "momentum": (0.9, False), "nesterov": (0.8, True)}


def after_each_step(optimizer: SGD, dtype: str = "float64") -> list[dict[str, Any]]:
    """The variables after each of five steps."""
    variables, found = store(dtype), []
    for step, rate in enumerate(RATES):
        optimizer.apply(variables, gradients(step, dtype), rate)
        found.append(dict(variables))
    return found


def torchs(momentum: float, nesterov: bool) -> list[dict[str, Any]]:
    """The same by PyTorch."""
    torch = pytest.importorskip("torch")
    variables = {name: torch.tensor(array, requires_grad=name in TRAINED) for name, array in store().items()}
    plain = [name for name in TRAINED if name not in REGULARIZED]
    groups: list[dict[str, Any]] = [
        {"params": [variables[name] for name in REGULARIZED], "weight_decay": DECAY},
        {"params": [variables[name] for name in plain], "weight_decay": 0.0},
    ]
    optimizer, found = torch.optim.SGD(groups, lr=1.0, momentum=momentum, nesterov=nesterov), []
    for step, rate in enumerate(RATES):
        for group in optimizer.param_groups:
            group["lr"] = rate
        for name, gradient in gradients(step).items():
            variables[name].grad = torch.tensor(gradient)
        optimizer.step()
        found.append({name: value.detach().numpy().copy() for name, value in variables.items()})
    return found


def assert_follows_torch(optimizer: SGD) -> None:
    for ours, theirs in zip(after_each_step(optimizer), torchs(optimizer.momentum, optimizer.nesterov), strict=True):
        for name in SHAPES:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_five_steps_are_pytorchs(kind: str) -> None:
    assert_follows_torch(SGD(*KINDS[kind]))


def test_one_step_by_hand() -> None:
    """g = 2 + 0.3 * 1 = 2.3; v = 0.5 * 4 + 2.3 = 4.3; w = 1 - 0.1 * (2.3 + 0.5 * 4.3) = 0.555."""
    variables, name = store(), "net/conv1/weights"
    variables[name] = np.ones(SHAPES[name])
    optimizer = SGD(0.5, nesterov=True)
    optimizer.slots[name] = np.full(SHAPES[name], 4.0)
    optimizer.apply(variables, {**gradients(0), name: np.full(SHAPES[name], 2.0)}, 0.1)
    np.testing.assert_allclose(optimizer.slots[name], 4.3, rtol=1e-14)
    np.testing.assert_allclose(variables[name], 0.555, rtol=1e-14)


# ---- planted mistakes -----------------------------------------------------------------------------------------------------
Rule = Callable[
    [Any, Any, Any, float, float, float, bool], tuple[Any, Any]
]  # w, g, v, rate, m, decay, regularized -> w, v


def right(w: Any, g: Any, v: Any, rate: float, m: float, decay: float, regularized: bool) -> tuple[Any, Any]:
    g = g + decay * w * regularized
    v = m * v + g
    return w - rate * (g + m * v), v


def no_look_ahead(w: Any, g: Any, v: Any, rate: float, m: float, decay: float, regularized: bool) -> tuple[Any, Any]:
    v = m * v + g + decay * w * regularized
    return w - rate * v, v


def look_ahead_of_the_old_velocity(
    w: Any, g: Any, v: Any, rate: float, m: float, decay: float, regularized: bool
) -> tuple[Any, Any]:
    g = g + decay * w * regularized
    return w - rate * (g + m * v), m * v + g


def decay_on_biases_too(
    w: Any, g: Any, v: Any, rate: float, m: float, decay: float, regularized: bool
) -> tuple[Any, Any]:
    return right(w, g, v, rate, m, decay, True)


def no_decay(w: Any, g: Any, v: Any, rate: float, m: float, decay: float, regularized: bool) -> tuple[Any, Any]:
    return right(w, g, v, rate, m, decay, False)


def decay_beside_the_velocity(
    w: Any, g: Any, v: Any, rate: float, m: float, decay: float, regularized: bool
) -> tuple[Any, Any]:
    moved, v = right(w, g, v, rate, m, decay, False)
    return moved - rate * decay * w * regularized, v


def decay_of_twice_the_scale(
    w: Any, g: Any, v: Any, rate: float, m: float, decay: float, regularized: bool
) -> tuple[Any, Any]:
    return right(w, g, v, rate, m, 2 * decay, regularized)


def rate_in_the_velocity(
    w: Any, g: Any, v: Any, rate: float, m: float, decay: float, regularized: bool
) -> tuple[Any, Any]:
    step = rate * (g + decay * w * regularized)
    v = m * v + step
    return w - (step + m * v), v


def dampened(w: Any, g: Any, v: Any, rate: float, m: float, decay: float, regularized: bool) -> tuple[Any, Any]:
    g = g + decay * w * regularized
    v = m * v + (1 - m) * g
    return w - rate * (g + m * v), v


def velocity_forgotten(
    w: Any, g: Any, v: Any, rate: float, m: float, decay: float, regularized: bool
) -> tuple[Any, Any]:
    return right(w, g, 0 * v, rate, m, decay, regularized)


def uphill(w: Any, g: Any, v: Any, rate: float, m: float, decay: float, regularized: bool) -> tuple[Any, Any]:
    return right(w, g, v, -rate, m, decay, regularized)


def following(rule: Rule) -> SGD:
    """An optimizer with Nesterov's momentum whose step is this rule."""

    class Following(SGD):
        def apply(self, variables: Any, gradients: Any, learning_rate: float) -> None:
            for name in variables.trainable:
                v = self.slots.get(name, np.zeros_like(gradients[name]))
                w, self.slots[name] = rule(
                    variables[name], gradients[name], v, learning_rate, self.momentum, DECAY, name in REGULARIZED
                )
                variables.replace(name, w)

    return Following(0.8, nesterov=True)


def test_the_right_rule_passes() -> None:
    assert_follows_torch(following(right))


@pytest.mark.parametrize(
    "mistake",
    [
        no_look_ahead,
        look_ahead_of_the_old_velocity,
        decay_on_biases_too,
        no_decay,
        decay_beside_the_velocity,
        decay_of_twice_the_scale,
        rate_in_the_velocity,
        dampened,
        velocity_forgotten,
        uphill,
    ],
)
def test_a_mistake_is_seen(mistake: Rule) -> None:
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_follows_torch(following(mistake))


# ---- what it does to arrays -----------------------------------------------------------------------------------------------
def assert_stays_float32(optimizer: SGD, rate: Any) -> None:
    variables = store("float32")
    for step in range(2):
        optimizer.apply(variables, gradients(step, "float32"), rate)
    arrays = [*variables.values(), *optimizer.slots.values()]
    assert len(arrays) > len(SHAPES) and {array.dtype.name for array in arrays} == {"float32"}


@pytest.mark.parametrize("rate", [0.1, 1, np.float64(0.1), np.float32(0.1), np.int64(1)])
def test_float32_stays_float32(rate: Any) -> None:
    assert_stays_float32(SGD(np.float64(0.9), nesterov=True), rate)


def test_a_rate_of_float64_that_widens_is_seen() -> None:
    with pytest.raises(AssertionError):
        assert_stays_float32(following(right), np.float64(0.1))


def test_float32_is_near_float64() -> None:
    for ours, wide in zip(after_each_step(SGD(), "float32"), after_each_step(SGD(), "float64"), strict=True):
        for name in SHAPES:
            np.testing.assert_allclose(ours[name], wide[name], rtol=0, atol=1e-5, err_msg=name)


def assert_writes_to_no_array(optimizer: SGD) -> None:
    variables = store()
    optimizer.apply(variables, gradients(0), 0.1)
    given, before = gradients(1), {**variables}
    slots = dict(optimizer.slots)
    was = copies(given), copies(before), copies(slots)
    optimizer.apply(variables, given, 0.1)
    for now, then in zip((given, before, slots), was, strict=True):
        assert_equal(now, then)
    for name in TRAINED:
        assert (variables[name] != before[name]).any() and (optimizer.slots[name] != slots[name]).any()


@pytest.mark.parametrize("nesterov", [False, True])
def test_arrays_are_replaced_and_not_written_to(nesterov: bool) -> None:
    assert_writes_to_no_array(SGD(0.9, nesterov))


@pytest.mark.parametrize("written", ["weights", "velocity", "gradient"])
def test_writing_in_place_is_seen(written: str) -> None:
    def rule(w: Any, g: Any, v: Any, rate: float, m: float, decay: float, regularized: bool) -> tuple[Any, Any]:
        moved, velocity = right(w, g, v, rate, m, decay, regularized)
        target, value = {"weights": (w, moved), "velocity": (v, velocity), "gradient": (g, moved)}[written]
        target[...] = value
        return (w if written == "weights" else moved), (v if written == "velocity" else velocity)

    with pytest.raises(AssertionError):
        assert_writes_to_no_array(following(rule))


def test_what_is_not_trained_stays() -> None:
    variables = store()
    before = dict(variables)
    SGD().apply(variables, {**gradients(0), **{name: np.ones(SHAPES[name]) for name in UNTRAINED}}, 0.1)
    assert [name for name in SHAPES if variables[name] is before[name]] == list(UNTRAINED)


def test_without_momentum_nothing_is_kept() -> None:
    variables, optimizer = store(), SGD(0.0)
    optimizer.apply(variables, gradients(0), 0.1)
    assert optimizer.slots == {}


# ---- bad arguments --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("momentum", [-0.1, 1, 1.5, float("nan"), float("inf"), "0.9", None, True])
def test_a_bad_momentum(momentum: Any) -> None:
    with pytest.raises(ValueError, match=r"^momentum must be a number from 0 to less than 1, not "):
        SGD(momentum)


def test_nesterov_without_momentum() -> None:
    with pytest.raises(ValueError, match="nesterov needs a momentum above 0"):
        SGD(0, nesterov=True)


def without(*names: str) -> Callable[[SGD, dict[str, Any]], float]:
    def spoil(optimizer: SGD, given: dict[str, Any]) -> float:
        for name in names:
            del given[name]
        return 0.1

    return spoil


def gradient_is(value: Any) -> Callable[[SGD, dict[str, Any]], float]:
    def spoil(optimizer: SGD, given: dict[str, Any]) -> float:
        given["net/logits/weights"] = value  # the last one: those before it must not have moved
        return 0.1

    return spoil


def slot_is(name: str, value: Any) -> Callable[[SGD, dict[str, Any]], float]:
    def spoil(optimizer: SGD, given: dict[str, Any]) -> float:
        optimizer.slots[name] = value
        return 0.1

    return spoil


def rate_is(rate: Any) -> Callable[[SGD, dict[str, Any]], float]:
    return lambda optimizer, given: rate


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (
            without("net/logits/weights"),
            ValueError,
            "gradients lack 1 of 4 trainable variables: net/logits/weights; run",
        ),
        (without(*TRAINED), ValueError, "gradients lack 4 of 4 trainable variables: net/conv1/weights, "),
        (
            gradient_is(np.ones(3)),
            ValueError,
            r"the gradient of net/logits/weights has shape \[3\], but must have \[4, 3\]",
        ),
        (
            gradient_is(np.ones((4, 3), "float32")),
            ValueError,
            "the gradient of net/logits/weights is float32, but must be float64",
        ),
        (gradient_is(1.0), TypeError, "the gradient of net/logits/weights must be an array"),
        (slot_is("net/logits/weights", np.ones(3)), ValueError, r"the momentum of net/logits/weights has shape \[3\]"),
        (slot_is("net/conv1/biases", np.ones(4, "float32")), ValueError, "the momentum of net/conv1/biases is float32"),
        (
            slot_is("other/weights", np.ones(4)),
            ValueError,
            "the momentum is kept for other/weights, which 6 variables do not",
        ),
        (rate_is(-0.1), ValueError, "learning_rate must be a number >= 0, not -0.1"),
        (rate_is(float("nan")), ValueError, "learning_rate must be a number >= 0, not nan"),
        (rate_is(float("inf")), ValueError, "learning_rate must be a number >= 0, not inf"),
        (rate_is(None), ValueError, "learning_rate must be a number >= 0, not None"),
        (rate_is(np.full(4, 0.1)), ValueError, "learning_rate must be a number >= 0, not array"),
    ],
)
def test_what_does_not_fit_changes_nothing(
    spoil: Callable[[SGD, dict[str, Any]], float], error: type[Exception], message: str
) -> None:
    variables, optimizer = store(), SGD()
    optimizer.apply(variables, gradients(0), 0.1)
    given = gradients(1)
    rate = spoil(optimizer, given)
    before, slots = dict(variables), dict(optimizer.slots)
    with pytest.raises(error, match="^" + message):
        optimizer.apply(variables, given, rate)
    assert all(variables[name] is before[name] for name in before)
    assert all(optimizer.slots[name] is slots[name] for name in slots) and len(optimizer.slots) == len(slots)


def test_many_missing_gradients_are_counted_and_some_named() -> None:
    variables = store()
    for i in range(7):
        variables[f"net/more{i}/weights"] = np.ones(2)
    with pytest.raises(
        ValueError, match=r"gradients lack 11 of 11 .*net/more0/weights and 6 more; run the net's back first$"
    ):
        SGD().apply(variables, {}, 0.1)
