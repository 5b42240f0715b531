"""Variables and slots in one dict, and apart again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyresnet.checkpoints import join_slots, split_slots

Arrays = dict[str, Any]
PARTS = st.lists(
    st.sampled_from(["a", "b", "Momentum", "ExponentialMovingAverage", "momentum"]), min_size=1, max_size=4
)
NAMES = st.lists(PARTS.map("/".join), unique=True, max_size=6)


def numbered(names: Any, start: int = 0) -> Arrays:
    """Another number for each."""
    return {name: np.array([start + i]) for i, name in enumerate(names)}


def assert_same(found: Arrays, wanted: Arrays) -> None:
    assert sorted(found) == sorted(wanted) and all(found[name] is wanted[name] for name in wanted)


def test_tensorflows_names() -> None:
    variables = numbered(["net/conv1/weights", "net/bn/moving_mean"])
    slots = {"Momentum": numbered(["net/conv1/weights"], 10), "ExponentialMovingAverage": numbered(variables, 20)}
    joined = join_slots(variables, slots)
    assert {name: int(array[0]) for name, array in joined.items()} == {
        "net/conv1/weights": 0,
        "net/bn/moving_mean": 1,
        "net/conv1/weights/Momentum": 10,
        "net/conv1/weights/ExponentialMovingAverage": 20,
        "net/bn/moving_mean/ExponentialMovingAverage": 21,
    }
    apart, found = split_slots(joined)
    assert_same(apart, variables)
    assert list(found) == ["Momentum", "ExponentialMovingAverage"]
    for slot, arrays in slots.items():
        assert_same(found[slot], arrays)


@given(names=NAMES, with_momentum=st.lists(st.booleans(), min_size=6, max_size=6), order=st.randoms())
def test_what_can_be_joined_comes_apart_again(names: list[str], with_momentum: list[bool], order: Any) -> None:
    """Whatever the variables are called; the order in the file is safetensors' own."""
    variables = numbered(names)
    momentum = numbered([name for name, has in zip(names, with_momentum, strict=False) if has], 100)
    slots = {"Momentum": momentum, "ExponentialMovingAverage": numbered(names, 200)}
    try:
        joined = join_slots(variables, slots)
    except ValueError as error:
        assert "has the name of a slot" in str(error)
        assert any(name.endswith(("/Momentum", "/ExponentialMovingAverage")) for name in names)
        return
    mixed = list(joined.items())
    order.shuffle(mixed)
    apart, found = split_slots(dict(mixed))
    assert_same(apart, variables)
    for slot, arrays in slots.items():
        assert_same(found.get(slot, {}), arrays)


def test_a_variable_called_as_a_slot_is_kept_apart() -> None:
    variables = numbered(["net/Momentum", "Momentum", "net/conv1/Momentum"])
    momentum = numbered(variables, 10)
    joined = join_slots(variables, {"Momentum": momentum})
    assert len(joined) == 6
    apart, found = split_slots(joined)
    assert_same(apart, variables)
    assert_same(found["Momentum"], momentum)


@pytest.mark.parametrize(
    ("names", "with_momentum", "told"),
    [
        (["a", "a/Momentum"], [], "variable a/Momentum has the name of a slot, of a: "),
        (["a", "a/Momentum"], ["a"], "variable a/Momentum has the name of a slot, of a: "),
        (["a/ExponentialMovingAverage", "a"], [], "variable a/ExponentialMovingAverage has the name of a slot, of a: "),
        (["a", "a/Momentum/Momentum"], ["a"], "variable a/Momentum/Momentum has the name of a slot, of a/Momentum: "),
    ],
)
def test_a_variable_that_could_be_a_slot_is_refused(names: list[str], with_momentum: list[str], told: str) -> None:
    with pytest.raises(ValueError, match="^" + told):
        join_slots(numbered(names), {"Momentum": numbered(with_momentum, 10)})


def test_a_slot_that_is_none() -> None:
    with pytest.raises(ValueError, match="^slot must be one of Momentum, ExponentialMovingAverage, not 'Adam'$"):
        join_slots(numbered("ab"), {"Adam": numbered("a")})


def test_slots_of_variables_that_are_not_there() -> None:
    with pytest.raises(ValueError, match="^slot Momentum is of variables that are not there: c, d$"):
        join_slots(numbered("ab"), {"Momentum": numbered("acd")})


def test_a_slot_without_its_variable_is_not_lost() -> None:
    """It comes out as a variable, so that a comparison with the net's names tells of it."""
    variables, slots = split_slots(numbered(["a", "a/Momentum", "b/Momentum"]))
    assert sorted(variables) == ["a", "b/Momentum"] and sorted(slots["Momentum"]) == ["a"]


def test_nothing() -> None:
    assert join_slots({}, {}) == {} and split_slots({}) == ({}, {})
    variables = numbered("ab")
    joined = join_slots(variables, {"Momentum": {}})
    assert joined is not variables
    assert_same(joined, variables)
    assert split_slots(joined)[1] == {}


def test_splitting_at_every_slash_is_seen() -> None:
    """The planted mistake: every name that ends as a slot's is one."""
    variables = numbered(["net/Momentum"])
    joined = join_slots(variables, {"Momentum": numbered(variables, 10)})
    apart = {name: array for name, array in joined.items() if not name.endswith("/Momentum")}
    with pytest.raises(AssertionError):
        assert_same(apart, variables)
