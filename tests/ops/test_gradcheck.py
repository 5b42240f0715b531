"""check_gradients itself: what it finds, what it leaves out, and when it says that it cannot tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinyresnet import check_gradients, ops
from tinyresnet.gradcheck_table import CASES, gradient_table, op_pairs

RNG = np.random.default_rng(11)
MODES = pytest.mark.parametrize("mode", ["projection", "full"])


def relu(factor: float = 1.0) -> Callable[[Any], Any]:
    def fn(x: Any) -> Any:
        y, saved = ops.relu_forward(x)
        return y, lambda dy: factor * ops.relu_backward(dy, saved)

    return fn


@MODES
def test_entries_at_a_kink_are_left_out_and_counted(mode: str) -> None:
    x = np.array([[0.0, 1.0, -1.0, 0.0, 2.0]])
    (report,) = check_gradients(relu(), x, mode=mode).arguments
    assert report.status == "ok" and report.kinks == 2
    (wrong,) = check_gradients(relu(1.5), x, mode=mode).arguments
    assert wrong.status == "WRONG" and wrong.kinks == 2


@MODES
def test_a_kink_at_any_distance_gives_no_false_alarm(mode: str) -> None:
    for distance in 10.0 ** -np.arange(2, 9, 0.5):
        x = np.array([[distance, -distance, 1.0, -1.0]])
        assert check_gradients(relu(), x, mode=mode).passed, distance


@MODES
def test_where_the_true_gradient_is_zero_it_is_powerless_and_does_not_pass(mode: str) -> None:
    x = -1 - RNG.random((3, 4))
    report = check_gradients(relu(), x, mode=mode)
    assert report.arguments[0].status == "powerless here" and not report.passed and report.wrong == ()
    assert "about zero" in str(report)


@MODES
def test_a_gradient_where_there_is_none_is_wrong(mode: str) -> None:
    def fn(x: Any) -> Any:
        return 0 * x + 1, lambda dy: dy

    assert check_gradients(fn, RNG.standard_normal((3, 4)), mode=mode).wrong == ("argument 0",)


def test_the_report_points_at_the_worst_entry_with_the_ratio() -> None:
    def fn(x: Any) -> Any:
        def back(dy: Any) -> Any:
            dx = 3 * dy
            dx[1, 2] *= -1
            return dx

        return 3 * x, back

    (report,) = check_gradients(fn, RNG.standard_normal((2, 4)), mode="full", names=("x",)).arguments
    assert report.worst == (1, 2) and report.ratio == pytest.approx(-1, abs=1e-6)
    assert "x: WRONG" in str(report) and "at [1, 2]" in str(report) and "ratio -1" in str(report)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_size_of_the_argument_does_not_matter(scale: float) -> None:
    def fn(factor: float) -> Callable[[Any], Any]:
        return lambda x: (np.sin(x / scale), lambda dy: factor * dy * np.cos(x / scale) / scale)

    x = scale * RNG.standard_normal((3, 4))
    assert check_gradients(fn(1), x).passed
    assert not check_gradients(fn(1.001), x).passed


@pytest.mark.parametrize(
    ("gradient", "message"),
    [
        (lambda dy: None, "back gave NoneType"),
        (lambda dy: dy[:1], "its gradient has shape [1, 4], but must have [3, 4]"),
        (lambda dy: dy * np.nan, "not finite"),
    ],
)
def test_gradients_that_are_none(gradient: Callable[[Any], Any], message: str) -> None:
    report = check_gradients(lambda x: (2 * x, gradient), RNG.standard_normal((3, 4)))
    assert not report.passed and message in str(report)


def test_an_input_written_to_is_said() -> None:
    def fn(x: Any) -> Any:
        y = 2 * x
        x += 1
        return y, lambda dy: 2 * dy

    assert "wrote into this argument" in str(check_gradients(fn, RNG.standard_normal((3, 4))))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: check_gradients(relu(), x, mode="half"), "mode must be"),
        (lambda x: check_gradients(relu(), x, tolerance=float("nan")), "tolerance must be a number between 0 and 1"),
        (lambda x: check_gradients(relu(), x * np.nan), "argument 0 must have real, finite entries"),
        (lambda x: check_gradients(relu(), x * 1j), "argument 0 must have real, finite entries"),
        (lambda x: check_gradients(lambda a: (a * np.inf, lambda dy: dy), x), "fn must give a y of"),
        (lambda x: check_gradients(relu()), "at least one array"),
        (lambda x: check_gradients(relu(), x[:0]), "empty array"),
        (lambda x: check_gradients(relu(), x, names=("a", "b")), "names must have one name for each of the 1 arrays"),
        (lambda x: check_gradients(lambda a: (a, lambda dy: (dy, dy)), x), "one gradient for each of the 1 arrays"),
        (lambda x: check_gradients(lambda a: 2 * a, x), r"fn must return \(y, back\)"),
        (lambda x: check_gradients(lambda a: (a, None), x), r"fn must return \(y, back\)"),
    ],
)
def test_bad_input(call: Callable[[Any], Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        call(RNG.standard_normal((3, 4)))


def test_the_table_has_every_op_and_is_stable_over_seeds() -> None:
    assert set(CASES) >= {name for name in op_pairs() if "test" not in name}
    for seed in range(10):
        table = gradient_table(tuple(CASES), seed=seed)
        assert table.passed, table
