"""Learning rates by hand and PyTorch's, and mistakes of one step that the comparison must catch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinyresnet.optimizers import PiecewiseConstant, WarmupCosine

Schedule = Callable[[int], float]


def assert_rates(schedule: Schedule, rates: list[float]) -> None:
    """At steps 0, 1, 2, ..."""
    np.testing.assert_allclose([schedule(step) for step in range(len(rates))], rates, rtol=1e-12, atol=1e-15)


def torchs(name: str, base: float, steps: int, **options: Any) -> list[float]:
    """The rate of each step by one of PyTorch's schedulers."""
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=base)
    scheduler, rates = getattr(torch.optim.lr_scheduler, name)(optimizer, **options), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


# ---- by hand --------------------------------------------------------------------------------------------------------------
COSINE = [0.1, 0.2, 0.3, 0.4, 0.4, 0.1 + 0.15 * (1 + math.sqrt(0.5)), 0.25, 0.1 + 0.15 * (1 - math.sqrt(0.5)), 0.1, 0.1]
PIECEWISE = [0.2, 0.4, 0.4, 0.04, 0.04, 0.004, 0.004]


def test_cosine_by_hand() -> None:
    assert_rates(WarmupCosine(peak=0.4, steps=8, warmup_steps=4, final=0.1), COSINE)


def test_piecewise_by_hand() -> None:
    assert_rates(PiecewiseConstant((3, 5), (0.4, 0.04, 0.004), warmup_steps=2), PIECEWISE)


def test_without_boundaries_it_is_one_rate() -> None:
    assert_rates(PiecewiseConstant((), (0.3,)), [0.3] * 4)


def test_warm_up_over_a_boundary_multiplies() -> None:
    assert_rates(PiecewiseConstant((2,), (0.4, 0.04), warmup_steps=4), [0.1, 0.2, 0.03, 0.04, 0.04])


def test_long_after_the_end() -> None:
    assert WarmupCosine(0.4, 8, final=0.1)(10**9) == pytest.approx(0.1, rel=1e-14)
    assert WarmupCosine(0.4, 8)(10**9) == 0
    assert PiecewiseConstant((3,), (0.4, 0.04))(10**9) == 0.04


# ---- PyTorch's ------------------------------------------------------------------------------------------------------------
def assert_is_cosine_annealing(schedule: Schedule) -> None:
    assert_rates(schedule, torchs("CosineAnnealingLR", 0.7, 13, T_max=12, eta_min=0.02))


def assert_is_multi_step(schedule: Schedule) -> None:
    assert_rates(schedule, torchs("MultiStepLR", 0.5, 12, milestones=[4, 9], gamma=0.1))


def test_cosine_is_pytorchs() -> None:
    assert_is_cosine_annealing(WarmupCosine(0.7, 12, final=0.02))


def test_piecewise_is_pytorchs() -> None:
    assert_is_multi_step(PiecewiseConstant((4, 9), (0.5, 0.05, 0.005)))


# ---- planted mistakes -----------------------------------------------------------------------------------------------------
def tensorflows(step: int) -> float:
    """One step later."""
    return (0.5, 0.05, 0.005)[(step > 4) + (step > 9)]


def one_step_early(step: int) -> float:
    return (0.5, 0.05, 0.005)[(step >= 3) + (step >= 8)]


@pytest.mark.parametrize("mistake", [tensorflows, one_step_early])
def test_a_switch_one_step_off_is_seen(mistake: Schedule) -> None:
    with pytest.raises(AssertionError):
        assert_is_multi_step(mistake)


def ends_a_step_early(step: int) -> float:
    return WarmupCosine(0.7, 11, final=0.02)(step)


def sinks_to_zero(step: int) -> float:
    return WarmupCosine(0.7, 12)(step)


def a_whole_cosine(step: int) -> float:
    return 0.02 + 0.68 * (1 + math.cos(2 * math.pi * step / 12)) / 2


@pytest.mark.parametrize("mistake", [ends_a_step_early, sinks_to_zero, a_whole_cosine])
def test_another_cosine_is_seen(mistake: Schedule) -> None:
    with pytest.raises(AssertionError):
        assert_is_cosine_annealing(mistake)


def warm_up_from_zero(step: int) -> float:
    return WarmupCosine(0.4, 8, 4, 0.1)(step) if step >= 4 else 0.4 * step / 4


def cosine_that_begins_with_the_warm_up(step: int) -> float:
    return min(1, (step + 1) / 4) * WarmupCosine(0.4, 8, 0, 0.1)(step)


@pytest.mark.parametrize("mistake", [warm_up_from_zero, cosine_that_begins_with_the_warm_up])
def test_another_warm_up_is_seen(mistake: Schedule) -> None:
    with pytest.raises(AssertionError):
        assert_rates(mistake, COSINE)


# ---- bad arguments --------------------------------------------------------------------------------------------------------
BAD_COUNTS = [-1, 1.5, 2.0, float("nan"), "3", None, True]


@pytest.mark.parametrize("bad", BAD_COUNTS)
def test_counts_are_integers(bad: Any) -> None:
    with pytest.raises(ValueError, match="^steps must be an integer >= 1, not "):
        WarmupCosine(0.1, bad)
    with pytest.raises(ValueError, match="^warmup_steps must be an integer >= 0, not "):
        WarmupCosine(0.1, 9, bad)
    with pytest.raises(ValueError, match="^warmup_steps must be an integer >= 0, not "):
        PiecewiseConstant((3,), (0.1, 0.01), bad)
    with pytest.raises(ValueError, match=r"^boundaries\[1\] must be an integer >= 1, not "):
        PiecewiseConstant((3, bad), (0.1, 0.01, 0.001))


@pytest.mark.parametrize("bad", [-0.1, float("nan"), float("inf"), "0.1", None, True, 0.1j])
def test_rates_are_numbers(bad: Any) -> None:
    with pytest.raises(ValueError, match="^peak must be a number >= 0, not "):
        WarmupCosine(bad, 9)
    with pytest.raises(ValueError, match="^final must be a number >= 0, not "):
        WarmupCosine(0.1, 9, final=bad)
    with pytest.raises(ValueError, match=r"^values\[1\] must be a number >= 0, not "):
        PiecewiseConstant((3,), (0.1, bad))


@pytest.mark.parametrize(("steps", "warmup_steps"), [(1, 1), (5, 5), (5, 6)])
def test_a_warm_up_longer_than_the_training(steps: int, warmup_steps: int) -> None:
    with pytest.raises(ValueError, match=f"^warmup_steps must be less than steps, {steps}, not {warmup_steps}$"):
        WarmupCosine(0.1, steps, warmup_steps)


@pytest.mark.parametrize(
    ("boundaries", "values", "message"),
    [
        ((0,), (0.1, 0.01), r"boundaries\[0\] must be an integer >= 1, not 0"),
        ((3,), (0.1,), "values must be one more than boundaries, but there are 1 values and 1 boundaries"),
        ((), (), "values must be one more than boundaries, but there are 0 values and 0 boundaries"),
        ((3,), (0.1, 0.01, 0.001), "values must be one more than boundaries, but there are 3 values and 1 boundaries"),
        ((5, 3), (1, 2, 3), r"boundaries must rise, but are \[5, 3\]"),
        ((3, 3), (1, 2, 3), r"boundaries must rise, but are \[3, 3\]"),
    ],
)
def test_boundaries_and_values_that_do_not_go_together(
    boundaries: tuple[int, ...], values: tuple[float, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        PiecewiseConstant(boundaries, values)
