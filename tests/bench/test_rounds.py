"""Who is timed when, and on what."""

from __future__ import annotations

from typing import Any

import pytest

from tinyresnet.bench.options import Options
from tinyresnet.bench.rounds import Side, alternate

pytestmark = pytest.mark.host_only

NAMES, ROUNDS = ("a", "b", "c"), 8


def log_of(turn: float) -> tuple[list[tuple[str, str, float]], dict[str, list[float]]]:
    log: list[tuple[str, str, float]] = []

    def side(name: str) -> Side:
        def prepare(x: Any) -> float:
            log.append((name, "prepare", float(x[0])))
            return float(x[0])

        def run(first: float) -> None:
            log.append((name, "run", first))

        return Side(name, prepare, run, lambda _: {}, name)

    times = alternate(
        [side(name) for name in NAMES],
        lambda rng: rng.standard_normal(3),
        Options(1, ROUNDS, gap=0.0, turn=turn),
    )
    return log, times


def test_every_side_has_a_turn_in_every_round_on_the_same_new_inputs_in_changing_order() -> None:
    log, times = log_of(turn=0.0)
    turns = [(name, x) for name, what, x in log if what == "prepare"][len(NAMES) :]  # after the warm-up
    assert len(turns) == ROUNDS * len(NAMES)
    rounds = [turns[i : i + len(NAMES)] for i in range(0, len(turns), len(NAMES))]
    assert all(sorted(name for name, _ in each) == list(NAMES) for each in rounds)
    assert all(len({x for _, x in each}) == 1 for each in rounds), "one side got other inputs than another"
    assert len({each[0][1] for each in rounds}) == ROUNDS, "inputs were used twice"
    assert len({tuple(name for name, _ in each) for each in rounds}) > 2, "the order is always the same"
    assert {name: len(samples) for name, samples in times.items()} == dict.fromkeys(NAMES, ROUNDS)
    assert all(sample >= 0 for samples in times.values() for sample in samples)


@pytest.mark.parametrize(("turn", "calls"), [(0.0, 1), (1e6, 100)])
def test_a_short_call_is_repeated_and_one_more_wakes_the_side_up(turn: float, calls: int) -> None:
    log, _ = log_of(turn)
    runs = [name for name, what, _ in log if what == "run"]
    warm_up = 2
    assert {name: runs.count(name) for name in NAMES} == dict.fromkeys(NAMES, warm_up + ROUNDS * (1 + calls))
