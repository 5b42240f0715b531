"""The pool of threads by itself: every task of every step is done once, after the step before it; whoever calls, however many at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")

from tests.kernels.at_once import at_once
from tinyresnet.kernels.cpu.steps import as_step, kernel, new_steps, read_integer, write_integer
from tinyresnet.kernels.cpu.threads import Pool, get_num_threads, set_num_threads

F32 = np.dtype("float32")


@kernel
def count(step: Any, task: Any, scratch: Any, like: Any) -> None:
    """y[task] += 1, after as many turns of a loop as s.a says; the loop goes through scratch, s.b integers of it."""
    s = as_step(step)
    for i in range(s.a):
        write_integer(scratch + 8 * (i % s.b), task)
    write_integer(s.y + 8 * task, read_integer(s.y + 8 * task) + 1)


@kernel
def add_neighbours(step: Any, task: Any, scratch: Any, like: Any) -> None:
    """y[task] = x[task - 1] + x[task] + x[task + 1], round the end: wrong if a task of the step before is not finished."""
    s = as_step(step)
    total = 0
    for shift in (-1, 0, 1):
        total += read_integer(s.x + 8 * ((task + shift + s.tasks) % s.tasks))
    write_integer(s.y + 8 * task, total)


@pytest.fixture(params=[1, 2, 3, 5])
def pool(request: pytest.FixtureRequest) -> Iterator[Pool]:
    pool = Pool(request.param)
    yield pool
    pool.stop()


def counting_steps(rng: np.random.Generator, lists: int) -> tuple[Any, list[np.ndarray]]:
    """Steps of all sizes, empty ones too, and the counters that they count in."""
    steps = new_steps(lists)
    counters = [np.zeros(int(tasks), np.int64) for tasks in rng.choice([0, 1, 2, 3, 7, 40, 300], lists)]
    for step, counter in zip(steps, counters, strict=True):
        step["kernel"], step["tasks"], step["y"] = count.address(F32), counter.size, counter.ctypes.data
        step["a"], step["b"] = rng.choice([0, 1, 50, 3000]), 16
    return steps, counters


def run_counting(pool: Pool, seed: int, lists: int = 12) -> None:
    steps, counters = counting_steps(np.random.default_rng(seed), lists)
    pool.run(steps, 16 * 8)
    for counter in counters:
        assert (counter == 1).all(), f"tasks were done {np.unique(counter)} times"


def test_every_task_is_done_once(pool: Pool) -> None:
    for seed in range(300):
        run_counting(pool, seed)


def test_from_eight_threads(pool: Pool) -> None:
    at_once(lambda i: [run_counting(pool, 1000 * i + seed) for seed in range(60)])


def test_a_step_begins_when_the_one_before_it_is_finished(pool: Pool) -> None:
    """30 steps, each reading what its neighbours wrote in the step before."""
    size, depth = 37, 30
    buffers = [np.random.default_rng(1).integers(0, 9, size), np.zeros(size, np.int64)]
    for _ in range(50):
        right = buffers[0].copy()
        steps = new_steps(depth)
        for i, step in enumerate(steps):
            step["kernel"], step["tasks"] = add_neighbours.address(F32), size
            step["x"], step["y"] = buffers[i % 2].ctypes.data, buffers[1 - i % 2].ctypes.data
            right = np.roll(right, 1) + right + np.roll(right, -1)
        pool.run(steps, 0)
        np.testing.assert_array_equal(buffers[depth % 2], right)
        buffers[0] %= 9


def test_room_grows_with_what_a_list_asks_for(pool: Pool) -> None:
    """Small lists and large ones in turn: no task may be handed less than it writes to."""
    for size in (1, 10, 100_000, 10, 1_000_000, 3):
        steps, counters = counting_steps(np.random.default_rng(size), 6)
        steps["a"], steps["b"] = size, size
        pool.run(steps, 8 * size)
        assert all((counter == 1).all() for counter in counters)


def test_helpers_that_slept_wake_up() -> None:
    """After a pause the same pool works on: the pause here is another pool's work."""
    first, second = Pool(3), Pool(2)
    for seed in range(40):
        run_counting(first, seed)
        for more in range(10):
            run_counting(second, 100 * seed + more)
    first.stop()
    second.stop()


def test_a_stopped_pool_has_no_threads_left() -> None:
    before = set(threading.enumerate())
    pool = Pool(4)
    run_counting(pool, 3)
    helpers = [thread for thread in threading.enumerate() if thread not in before]
    pool.stop()
    for helper in helpers:
        helper.join(60)
    assert len(helpers) == 3 and not any(helper.is_alive() for helper in helpers)


def test_the_number_of_threads_can_be_set() -> None:
    was = get_num_threads()
    try:
        for threads in (1, 3, 2):
            set_num_threads(threads)
            assert get_num_threads() == threads
        for bad in (0, -1, 1025, 1.5, "2", None, True):
            with pytest.raises(ValueError, match="threads"):
                set_num_threads(bad)  # type: ignore[arg-type]
    finally:
        set_num_threads(was)


def test_a_task_done_twice_is_seen() -> None:
    """Planted: the list is run again."""
    pool = Pool(2)
    steps, counters = counting_steps(np.random.default_rng(0), 4)
    pool.run(steps, 128)
    pool.run(steps, 128)
    assert any((counter == 2).any() for counter in counters)
    pool.stop()
