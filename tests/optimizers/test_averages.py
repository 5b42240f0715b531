"""Moving averages by hand, and mistakes that the numbers must catch."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from tests.optimizers.stores import SHAPES, assert_equal, copies, store
from tinyresnet.optimizers import ExponentialMovingAverage
from tinyresnet.slim import Variables

Average = type[ExponentialMovingAverage]
VALUES = [3, -5, 11, 2, 7, -1]


def by_hand(decay: Fraction) -> list[Fraction]:
    """Keeps 3/12, 4/13, 5/14, ... of the average from the second step on, until that is more than `decay`."""
    average, found = Fraction(VALUES[0]), [Fraction(VALUES[0])]
    for step, value in enumerate(VALUES[1:], start=2):
        keep = min(decay, Fraction(1 + step, 10 + step))
        average = keep * average + (1 - keep) * value
        found.append(average)
    return found


def assert_averages(kind: Average, decay: Fraction) -> None:
    average, variables = kind(float(decay)), store()
    names = [name for name in SHAPES if name != "net/conv1/biases"]  # these stay as they are
    for step, (value, wanted) in enumerate(zip(VALUES, by_hand(decay), strict=True), start=1):
        for name in names:
            variables[name] = np.full(SHAPES[name], value, "float64")
        average.update(variables, step)
        evaluated = average.variables(variables)
        assert list(evaluated) == list(variables) == list(average.averages)
        for name in names:
            np.testing.assert_allclose(evaluated[name], np.full(SHAPES[name], float(wanted)), rtol=1e-12, err_msg=name)
        np.testing.assert_array_equal(evaluated["net/conv1/biases"], variables["net/conv1/biases"])
        np.testing.assert_array_equal(variables["net/logits/weights"], value)


def test_two_steps_in_numbers() -> None:
    """3/12 of 3 and 9/12 of -5 are -3."""
    assert [float(value) for value in by_hand(Fraction(9, 10))][:2] == [3.0, -3.0]


@pytest.mark.parametrize("decay", [Fraction(0), Fraction(3, 10), Fraction(9, 10), Fraction(9999, 10000)])
def test_by_hand(decay: Fraction) -> None:
    assert_averages(ExponentialMovingAverage, decay)


def test_after_many_steps_the_decay_holds() -> None:
    average, variables = ExponentialMovingAverage(0.75), Variables({"a": np.zeros(2)})
    average.update(variables, 1)
    variables["a"] = np.ones(2)
    average.update(variables, 10**6)
    np.testing.assert_allclose(average.averages["a"], 0.25, rtol=1e-14)


# ---- planted mistakes -----------------------------------------------------------------------------------------------------
class NoEarlyDecay(ExponentialMovingAverage):
    def update(self, variables: Variables, step: int) -> None:
        super().update(variables, 10**9)


class StepsFromZero(ExponentialMovingAverage):
    def update(self, variables: Variables, step: int) -> None:
        super().update(variables, step - 1)


class DecayOfTheNewValue(ExponentialMovingAverage):
    def update(self, variables: Variables, step: int) -> None:
        keep = min(self.decay, (1 + step) / (10 + step))
        for name, variable in variables.items():
            average = self.averages.get(name, variable)
            self.averages[name] = (1 - keep) * average + keep * variable


class BeginsAtZero(ExponentialMovingAverage):
    def update(self, variables: Variables, step: int) -> None:
        self.averages = self.averages or {name: 0 * array for name, array in variables.items()}
        super().update(variables, step)


class OfTrainedOnly(ExponentialMovingAverage):
    def update(self, variables: Variables, step: int) -> None:
        trained = Variables({name: variables[name] for name in variables.trainable})
        super().update(trained, step)


class EvaluatesTheWeights(ExponentialMovingAverage):
    def variables(self, variables: Variables) -> Variables:
        return variables


class ChangesTheWeights(ExponentialMovingAverage):
    def update(self, variables: Variables, step: int) -> None:
        super().update(variables, step)
        for name, average in self.averages.items():
            variables.replace(name, average)


@pytest.mark.parametrize(
    "mistake",
    [
        NoEarlyDecay,
        StepsFromZero,
        DecayOfTheNewValue,
        BeginsAtZero,
        OfTrainedOnly,
        EvaluatesTheWeights,
        ChangesTheWeights,
    ],
)
def test_a_mistake_is_seen(mistake: Average) -> None:
    with pytest.raises(AssertionError):
        assert_averages(mistake, Fraction(9, 10))


# ---- arrays ---------------------------------------------------------------------------------------------------------------
def assert_writes_to_no_array(kind: Average) -> None:
    average, variables = kind(0.9), store()
    average.update(variables, 1)
    older = dict(average.averages)
    variables = store(seed=1)
    was, weights = copies(older), copies(variables)
    average.update(variables, 2)
    assert_equal(older, was)
    assert_equal(variables, weights)
    assert all((average.averages[name] != older[name]).any() for name in SHAPES)


class InPlace(ExponentialMovingAverage):
    def update(self, variables: Variables, step: int) -> None:
        before = dict(self.averages)
        super().update(variables, step)
        for name, array in before.items():
            array[...] = self.averages[name]


def test_arrays_are_replaced_and_not_written_to() -> None:
    assert_writes_to_no_array(ExponentialMovingAverage)
    with pytest.raises(AssertionError):
        assert_writes_to_no_array(InPlace)


def test_float32_stays_float32() -> None:
    average = ExponentialMovingAverage(np.float64(0.9))
    for step in (1, 2):
        average.update(store("float32", seed=step), np.int64(step))
    arrays = [*average.averages.values(), *average.variables(store("float32")).values()]
    assert len(arrays) == 2 * len(SHAPES) and {array.dtype.name for array in arrays} == {"float32"}


def test_the_evaluated_store_is_another_one() -> None:
    average, variables = ExponentialMovingAverage(0.9), store()
    average.update(variables, 1)
    weights = variables["net/logits/weights"]
    evaluated = average.variables(variables)
    evaluated["net/logits/weights"] = np.zeros((4, 3))
    assert variables["net/logits/weights"] is weights and (average.averages["net/logits/weights"] != 0).all()
    assert "net/BatchNorm/moving_mean" not in evaluated.trainable and evaluated.seed == variables.seed


def test_a_variable_that_came_later_is_itself() -> None:
    average = ExponentialMovingAverage(0.9)
    average.update(Variables({"a": np.ones(2)}), 1)
    variables = Variables({"a": np.zeros(2), "b": np.full(3, 5.0)})
    assert_equal(average.variables(variables), {"a": np.ones(2), "b": np.full(3, 5.0)})


# ---- bad arguments --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("decay", [-0.1, 1, 1.5, float("nan"), "0.9", None, True])
def test_a_bad_decay(decay: Any) -> None:
    with pytest.raises(ValueError, match=r"^decay must be a number from 0 to less than 1, not "):
        ExponentialMovingAverage(decay)


@pytest.mark.parametrize("step", [-1, 1.5, None, True])
def test_a_bad_step(step: Any) -> None:
    average = ExponentialMovingAverage(0.9)
    with pytest.raises(ValueError, match="^step must be an integer >= 0, not "):
        average.update(store(), step)
    assert average.averages == {}


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        (
            "net/logits/weights",
            np.ones(3),
            r"the average of net/logits/weights has shape \[3\], but must have \[4, 3\]",
        ),
        ("net/logits/weights", np.ones((1, 1)), r"the average of net/logits/weights has shape \[1, 1\]"),
        (
            "net/logits/weights",
            np.ones((4, 3), "float32"),
            "the average of net/logits/weights is float32, but must be float64",
        ),
        ("other/weights", np.ones(3), "the average is kept for other/weights, which 6 variables do not have"),
    ],
)
def test_averages_of_another_net_change_nothing(name: str, array: Any, message: str) -> None:
    """[3] and [1, 1] would broadcast."""
    average, variables = ExponentialMovingAverage(0.9), store()
    average.update(variables, 1)
    average.averages[name] = array
    before = dict(average.averages)
    for use in (lambda: average.update(store(seed=1), 2), lambda: average.variables(variables)):
        with pytest.raises(ValueError, match="^" + message):
            use()
    assert all(average.averages[name] is before[name] for name in before)
