"""Sides that do not compute the same are told apart, each kind of difference by name, and nothing is timed then."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinyresnet.bench.compare import WrongResult, by_largest, by_norm, check_same
from tinyresnet.bench.options import Options
from tinyresnet.bench.results import OURS
from tinyresnet.bench.rounds import Side
from tinyresnet.bench.timed import Offer, Timed

pytestmark = pytest.mark.host_only


def drawn(seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {"y": rng.standard_normal((3, 5, 4)), "dw": 1e3 * rng.standard_normal((4, 2))}


def test_what_differs_by_less_than_the_tolerance_passes_and_the_worst_is_told() -> None:
    expected = drawn()
    found = {name: array.copy() for name, array in expected.items()}
    found["dw"][1, 1] += 0.5e-4 * np.abs(expected["dw"]).max()
    worst = check_same("case", "ours", found, "theirs", expected, by_largest(1e-4))
    assert worst.name == "dw" and worst.error == pytest.approx(0.5e-4, rel=1e-6) and worst.tolerance == 1e-4


@pytest.mark.parametrize("name", ["y", "dw"])
@pytest.mark.parametrize("wrong", [2e-4, np.nan, np.inf])
def test_one_wrong_number_is_found_in_any_output(name: str, wrong: float) -> None:
    expected = drawn()
    found = {key: array.copy() for key, array in expected.items()}
    found[name].flat[-1] += wrong * np.abs(expected[name]).max()
    with pytest.raises(
        WrongResult, match=rf"the case: nothing was timed, since ours and theirs .* {name} differs by .* 1e-04 is"
    ):
        check_same("the case", "ours", found, "theirs", expected, by_largest(1e-4))


def test_another_shape_and_other_outputs_are_found() -> None:
    expected = drawn()
    with pytest.raises(WrongResult, match=r"dw has shape \[2, 4\] from ours, but \[4, 2\] from theirs"):
        check_same("case", "ours", {**expected, "dw": expected["dw"].T}, "theirs", expected, by_largest(1.0))
    with pytest.raises(WrongResult, match="different outputs: dw"):
        check_same("case", "ours", {"y": expected["y"]}, "theirs", expected, by_largest(1.0))


def test_gradients_are_measured_by_length() -> None:
    """A single entry may be far off (a ReLU fell on the other side); a whole variable may not."""
    rng = np.random.default_rng(1)
    expected = {"loss": np.array(2.3), "w": rng.standard_normal((30, 40)), "tiny": 1e-9 * rng.standard_normal(7)}
    compare = by_norm(0.1, 1e-3)
    flipped = {**expected, "w": expected["w"].copy(), "tiny": -expected["tiny"]}  # `tiny` is zero but for rounding
    flipped["w"][0, 0] += 2.0
    check_same("case", "ours", flipped, "theirs", expected, compare)
    for name, wrong in (
        ("w", expected["w"] * 0.8),
        ("w", -expected["w"]),
        ("loss", np.array(2.31)),
        ("loss", np.array(np.nan)),
    ):
        with pytest.raises(WrongResult, match=f" {name} differs"):
            check_same("case", "ours", {**expected, name: wrong}, "theirs", expected, compare)


def side(name: str, factor: float, calls: list[str], counts_as: str | None = None) -> Side:
    def run(x: Any) -> Any:
        calls.append(name)
        return factor * x

    return Side(name, lambda x: x, run, lambda y: {"y": y}, counts_as or name)


def timed(sides: list[Side], reference: Side) -> Timed:
    return Timed(
        "a/case",
        "doubling",
        "ms/image",
        2,
        None,
        lambda rng: rng.standard_normal((2, 3)),
        lambda options: Offer(sides, {"Other": "not installed"}),
        lambda: reference,
        by_largest(1e-6),
    )


OPTIONS = Options(1, 3, gap=0.0, turn=0.0)


@pytest.mark.parametrize("wrong", ["first peer", "second peer", OURS])
def test_a_side_that_is_wrong_stops_the_case_before_anything_is_timed(wrong: str) -> None:
    calls: list[str] = []
    names = ("first peer", OURS, "second peer")
    sides = [side(name, 2.001 if name == wrong else 2.0, calls) for name in names]
    with pytest.raises(WrongResult, match=f"{OURS} and .*peer do not compute the same"):
        timed(sides, side("reference", 2.0, calls)).measure(OPTIONS)
    assert max(map(calls.count, names)) == 1
    result = timed([side(name, 2.0, []) for name in names], side("reference", 1.0, [])).measure(OPTIONS)
    assert [len(row.samples) for row in result.rows] == [3, 3, 3] and set(result.compared) == {
        "first peer",
        "second peer",
    }
    assert result.left_out == {"Other": "not installed"}


def test_a_side_that_is_alone_is_compared_with_the_plain_functions() -> None:
    with pytest.raises(WrongResult, match="tinyresnet and the plain one do not compute the same"):
        timed([side(OURS, 2.001, [])], side("the plain one", 2.0, [])).measure(OPTIONS)
    result = timed([side(OURS, 2.0, [])], side("the plain one", 2.0, [])).measure(OPTIONS)
    assert [row.side for row in result.rows] == [OURS] and not result.ratios()


def test_nobody_there_is_no_error() -> None:
    result = timed([], side("the plain one", 2.0, [])).measure(OPTIONS)
    assert result.rows == () and result.left_out == {"Other": "not installed"}
