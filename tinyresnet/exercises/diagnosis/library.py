"""Is it one of the mistakes we know? Each is made on purpose, on the same inputs, and its numbers are laid beside the learner's.

The mistakes of an exercise are switches of one function, so combinations cost nothing to write: an output that no single mistake
explains is held against pairs of them, and against three at once where few concern it.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from ...backend import Array, use_backend
from ..calls import as_output, copied, split
from ..exercise import NOTHING_WRONG, Case, Exercise

CLOSE = 1e-6  # of the largest entry: another order of the same sums, or float32 somewhere on the way
FEW = 8  # mistakes: three of these at a time are 56 combinations
Names = frozenset[str]


def close(a: Any, b: Any) -> bool:
    """The same text, or the same shape and the same numbers within rounding."""
    if not (isinstance(a, np.ndarray) and isinstance(b, np.ndarray)):
        return type(a) is type(b) and bool(a == b)
    if a.shape != b.shape:
        return False
    if not a.size:
        return True
    with np.errstate(all="ignore"):
        largest = np.abs(np.where(np.isfinite(b), b, 0)).max()
        return bool(np.allclose(a, b, rtol=0, atol=CLOSE * (largest or 1), equal_nan=True))


class Library:
    """The wrong answers of an exercise on these cases, made when they are asked for."""

    def __init__(self, exercise: Exercise, cases: list[Case]) -> None:
        self.exercise, self.cases = exercise, cases
        self._made: dict[Names, list[tuple[Any, ...]] | None] = {}

    def outputs(self, wrong: Names) -> list[tuple[Any, ...]] | None:
        """What `attempt` gives with these mistakes, case by case; None if they cannot be made together."""
        if wrong not in self._made:
            self._made[wrong] = self._make(wrong)
        return self._made[wrong]

    def _make(self, wrong: Names) -> list[tuple[Any, ...]] | None:
        made = []
        with use_backend("numpy"), np.errstate(all="ignore"):
            for case in self.cases:
                try:
                    value = self.exercise.attempt(wrong, *copied(case.args), **copied(dict(case.kwargs)))
                except Exception:  # two mistakes at once may not even fit
                    if case.raises is None:
                        return None
                    value = None
                made.append(() if value is None else tuple(map(as_output, split(self.exercise, value))))
        return made

    def explains(self, wrong: Names, came: list[tuple[Any, ...]], output: int) -> bool:
        """Whether these mistakes give the learner's numbers for this output, on every case."""
        made = self.outputs(wrong)
        return made is not None and all(
            (len(ours) > output and len(theirs) > output and close(theirs[output], ours[output]))
            or not (ours or theirs)  # a call that both refuse
            for ours, theirs in zip(made, came, strict=True)
        )

    def concerns(self, output: int) -> list[str]:
        """The mistakes that change this output at all."""
        right = self.outputs(NOTHING_WRONG)
        assert right is not None
        return [m.name for m in self.exercise.mistakes if not self.explains(frozenset({m.name}), right, output)]


def recognise(library: Library, came: list[tuple[Any, ...]], wrong_outputs: list[int]) -> tuple[list[str], list[int]]:
    """The names of the mistakes that give just these numbers, and the outputs that none of them explains."""
    everything = range(len(library.exercise.outputs))
    singles = [frozenset({m.name}) for m in library.exercise.mistakes]
    whole = [wrong for wrong in singles if all(library.explains(wrong, came, j) for j in everything)]
    if whole:
        return _names(library, whole[:1]), []
    found = {j: _explanations(library, came, j) for j in wrong_outputs}
    often = Counter(wrong for explanations in found.values() for wrong in explanations)
    best = [max(found[j], key=lambda wrong: often[wrong]) for j in wrong_outputs if found[j]]
    return _names(library, best), [j for j in wrong_outputs if not found[j]]


def _explanations(library: Library, came: list[tuple[Any, ...]], output: int) -> list[Names]:
    """The smallest sets of mistakes that explain this output."""
    names = library.concerns(output)
    nothing = not any(np.any(outputs[output]) for outputs in came if len(outputs) > output)
    most = 1 if nothing else 3 if len(names) <= FEW else 2  # zeros are what many mistakes end in, two at a time
    for size in range(1, most + 1):
        sets = [frozenset(chosen) for chosen in itertools.combinations(names, size)]
        if explaining := [wrong for wrong in sets if library.explains(wrong, came, output)]:
            return explaining
    return []


def _names(library: Library, sets: Iterable[Names]) -> list[str]:
    """In the order in which the exercise lists them."""
    chosen = frozenset().union(*sets)
    return [m.name for m in library.exercise.mistakes if m.name in chosen]


def swapped(came: list[tuple[Any, ...]], right: list[tuple[Any, ...]]) -> bool:
    """Whether the right outputs were returned in another order."""
    some = [(a, b) for a, b in zip(came, right, strict=True) if b]
    orders = itertools.islice(itertools.permutations(range(len(some[0][1]) if some else 0)), 1, 120)
    return any(all(close(a[j], b[k]) for a, b in some for j, k in enumerate(order)) for order in orders)


def in_column(came: list[tuple[Any, ...]], output: int) -> list[Array] | None:
    """One output over all cases, where each of them is an array."""
    column = [outputs[output] if len(outputs) > output else None for outputs in came]
    return column if all(isinstance(a, np.ndarray) for a in column) else None  # type: ignore[return-value]
