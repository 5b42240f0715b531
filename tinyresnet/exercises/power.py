"""How good is the checker? Every planted mistake of every exercise is handed in, and one looks which are rejected, and which are named.

Beside it the check that most courses use, an upstream gradient of ones, on the same mistakes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..backend import use_backend
from .calls import call, cases_of, copied, decode, encode, split
from .catalogue import NAMES, load
from .check import judged
from .exercise import Case, Exercise, Function
from .result import CheckResult

ONES_TOLERANCE = 1e-6


class Power(NamedTuple):
    """What the checker makes of one exercise's planted mistakes."""

    name: str
    planted: int
    rejected: int
    named: int
    has_gradient: bool  # whether an upstream gradient of ones can be tried at all
    accepted_by_ones: tuple[str, ...]  # mistakes that such a check lets pass


def hand_in(exercise: Exercise, function: Function, seed: int = 0) -> CheckResult:
    """What `check` says to a function that can be trusted: in this process, without limits and refusals."""
    outcomes = [decode(encode(call(exercise, function, case))) for case, _ in cases_of(exercise, seed)]
    return judged(exercise, outcomes, seed)


def planted(exercise: Exercise, mistake: str) -> Function:
    """The exercise's answer with this mistake made."""
    wrong = frozenset({mistake})

    def function(*args: Any, **kwargs: Any) -> Any:
        with np.errstate(all="ignore"):
            return exercise.attempt(wrong, *args, **kwargs)

    return function


def power_of(exercise: Exercise, seed: int = 0) -> Power:
    """Hands in every planted mistake."""
    results = {m.name: hand_in(exercise, planted(exercise, m.name), seed) for m in exercise.mistakes}
    gradients = [case for case, dtype in cases_of(exercise, seed) if case.forward is not None and dtype is np.float64]
    blind = [
        m.name for m in exercise.mistakes if gradients and _passes_ones(exercise, planted(exercise, m.name), gradients)
    ]
    return Power(
        exercise.name,
        len(results),
        sum(not result.passed for result in results.values()),
        sum(name in result.diagnosis for name, result in results.items()),
        bool(gradients),
        tuple(blind),
    )


def power_table(seed: int = 0) -> list[Power]:
    """Every exercise's."""
    return [power_of(load(name), seed) for name in NAMES]


def _passes_ones(exercise: Exercise, function: Function, cases: list[Case]) -> bool:
    """Whether a check with dy = 1 in every entry lets it pass, on every case."""
    for case in cases:
        dy = np.ones_like(case.args[0])
        with use_backend("numpy"):
            args = copied(case.args[1:])
            right = split(exercise, exercise.answer(dy.copy(), *args, **case.kwargs))
            came = split(exercise, function(dy.copy(), *args, **case.kwargs))
        if not all(_close(a, b) for a, b in zip(came, right, strict=True)):
            return False
    return True


def _close(came: Any, right: Any) -> bool:
    if np.shape(came) != np.shape(right):
        return False
    return bool(np.abs(came - right).max() <= ONES_TOLERANCE * max(1.0, float(np.abs(right).max())))
