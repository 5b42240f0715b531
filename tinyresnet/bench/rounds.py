"""Timing sides against each other: warmed up, in turns, in random order, on inputs that are new in each round."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .compare import Outputs
from .options import Options

WAKING = 0.5  # a call that takes less is made once before the clock starts: its threads were asleep and its memory has gone cold
MOST_CALLS = 100


class Side(NamedTuple):
    """One of those that are compared."""

    name: str
    prepare: Callable[[Any], Any]  # inputs -> what `run` takes; not timed
    run: Callable[[Any], Any]  # what is timed
    outputs: Callable[[Any], Outputs]  # what `run` returned -> arrays; not timed
    counts_as: str  # of the sides that count as the same, the fastest counts


class Turn(NamedTuple):
    """How a side is timed: so many calls, and whether one that is not timed goes before them."""

    calls: int
    waking: bool


def alternate(
    sides: Sequence[Side], inputs: Callable[[np.random.Generator], Any], options: Options, seed: int = 0
) -> dict[str, list[float]]:
    """Seconds of a call, by side: one number a round, the mean over the calls of its turn."""
    order, rng = random.Random(seed), np.random.default_rng(seed + 1)
    turns = {side.name: _warmed_up(side, inputs(rng), options.turn) for side in sides}
    times: dict[str, list[float]] = {side.name: [] for side in sides}
    for _ in range(options.rounds):
        fresh = inputs(rng)
        gc.collect()
        for side in order.sample(list(sides), len(sides)):
            times[side.name].append(_seconds(side, fresh, turns[side.name], options.gap))
    return times


def _warmed_up(side: Side, fresh: Any, least: float) -> Turn:
    prepared = side.prepare(fresh)
    side.run(prepared)
    began = time.perf_counter()
    side.run(prepared)
    seconds = time.perf_counter() - began
    return Turn(max(1, min(MOST_CALLS, round(least / max(seconds, 1e-9)))), seconds < WAKING)


def _seconds(side: Side, fresh: Any, turn: Turn, gap: float) -> float:
    prepared = side.prepare(fresh)
    time.sleep(gap)
    if turn.waking:
        side.run(prepared)
    began = time.perf_counter()
    for _ in range(turn.calls):
        side.run(prepared)
    return (time.perf_counter() - began) / turn.calls
