"""Memory for results: arrays never share it while they live, what is dropped is used again, and what no one needs goes back."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("numba")

from tinyresnet import use_backend
from tinyresnet.kernels.cpu import memory
from tinyresnet.kernels.cpu.memory import LINE, Memory, Piece
from tinyresnet.ops import add

pytestmark = pytest.mark.host_only
FLOAT32 = np.dtype(np.float32)


def place(array: Any) -> int:
    return int(array.__array_interface__["data"][0])


def pieces_of(piece: Piece) -> list[Piece]:
    """All pieces of its block, in order."""
    while piece.before is not None:
        piece = piece.before
    found = [piece]
    while found[-1].after is not None:
        found.append(found[-1].after)
    return found


def check_order(room: Memory) -> None:
    """Pieces of a block lie end to end, and no two free ones side by side."""
    for free in room._free:
        row = pieces_of(free)
        for piece, after in zip(row, row[1:], strict=False):
            assert after.before is piece and piece.start + piece.size == after.start
            assert not (piece in room._free and after in room._free)


# ---- any order of requests and drops --------------------------------------------------------------------------------------
Actions = list[tuple[str, int]]
ACTIONS = st.lists(st.tuples(st.sampled_from(["take", "take", "drop", "view"]), st.integers(0, 4000)), max_size=60)


def live_through(room: Memory, actions: Actions) -> None:
    """Every array is filled with a number of its own when it is made, and must still hold it when it is dropped."""
    living: dict[int, Any] = {}
    for number, (what, amount) in enumerate(actions):
        if what == "take":
            array = room.empty((amount,), FLOAT32)
            assert array.shape == (amount,) and array.dtype == FLOAT32 and array.flags.writeable
            array[...] = number
            living[number] = array
        elif living:
            chosen = sorted(living)[amount % len(living)]
            assert (living[chosen] == chosen).all()
            if what == "drop":
                del living[chosen]
            else:  # the view alone keeps the memory
                living[chosen] = living[chosen][::2]
    assert all((array == number).all() for number, array in living.items())
    living.clear()
    array = None
    gc.collect()
    room._join_returned()
    assert all(piece.is_whole() for piece in room._free)
    room.give_back()
    assert not room._free


@given(ACTIONS)
def test_arrays_keep_what_is_theirs(actions: Actions) -> None:
    live_through(Memory(smallest=64), actions)


@given(ACTIONS)
def test_pieces_stay_in_order(actions: Actions) -> None:
    room, living = Memory(smallest=64), []
    for what, amount in actions:
        if what == "take":
            living.append(room.empty((amount,), FLOAT32))
        elif living:
            living.pop(amount % len(living))
            room._join_returned()
        check_order(room)


# ---- mistakes that these tests catch ----------------------------------------------------------------------------------------
def does_not_ask_whether_it_is_free(room: Memory) -> None:
    while room._returned:
        piece = room._returned.popleft()
        if piece.after is not None:
            room._swallow(piece, piece.after)
        room._free.add(piece)


def never_joins(room: Memory) -> None:
    while room._returned:
        room._free.add(room._returned.popleft())


def forgets_to_take_it_from_the_free(room: Memory, size: int) -> Piece:
    room._join_returned()
    for piece in room._free:
        if piece.size >= size:
            return piece
    return memory._new_block(size)


@pytest.mark.parametrize(
    ("method", "mistake"),
    [
        ("_join_returned", does_not_ask_whether_it_is_free),
        ("_join_returned", never_joins),
        ("_take", forgets_to_take_it_from_the_free),
        ("_drop_whole_blocks", lambda room: None),
    ],
)
def test_a_mistake_is_caught(method: str, mistake: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Memory, method, mistake)
    actions = [("take", 1000), ("drop", 0), ("take", 100), ("take", 200), ("take", 300), ("drop", 0), ("take", 700)]
    with pytest.raises(AssertionError):
        live_through(Memory(smallest=64), actions)


# ---- what it is for ---------------------------------------------------------------------------------------------------------
def test_what_was_dropped_is_used_again_whole_or_in_part() -> None:
    room = Memory(smallest=64)
    first = room.empty((1000,), FLOAT32)
    where = place(first)
    assert where % LINE == 0
    del first
    half, other = room.empty((500,), FLOAT32), room.empty((400,), FLOAT32)
    assert place(half) == where and where < place(other) < where + 4000
    del half, other
    assert place(room.empty((25, 40), FLOAT32)) == where


def test_the_smallest_piece_that_fits_is_taken() -> None:
    room = Memory(smallest=64)
    large, small = room.empty((4000,), FLOAT32), room.empty((1000,), FLOAT32)
    where = place(small)
    del large, small
    assert place(room.empty((900,), FLOAT32)) == where


def test_what_does_not_fit_goes_back_before_more_is_asked_for() -> None:
    room = Memory(smallest=64)
    room.empty((1000,), FLOAT32)
    kept = room.empty((1001,), FLOAT32)
    assert not room._free  # the block of 1000 did not fit
    assert kept.size == 1001


def test_small_arrays_are_the_systems() -> None:
    assert Memory().empty((8, 8), FLOAT32).base is None


def test_results_of_ops_come_from_here(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = (np.random.default_rng(seed).normal(size=(256, 1024)).astype(np.float32) for seed in range(2))
    with use_backend("numba"):
        total = add(a, b)
        where = place(total)
        del total
        again = add(b, b)
        assert place(again) == where
        np.testing.assert_array_equal(again, b + b)
        assert not np.shares_memory(add(a, b), again)


def test_the_tests_of_kernels_spoil_results_before() -> None:
    assert np.isnan(memory.MEMORY.empty((3,), FLOAT32)).all()


def test_threads_do_not_get_the_same_piece() -> None:
    room, errors = Memory(smallest=64), []

    def work(number: int) -> None:
        rng = np.random.default_rng(number)
        for i in range(300):
            array = room.empty((int(rng.integers(16, 3000)),), FLOAT32)
            array[...] = 1000 * number + i
            other = room.empty((int(rng.integers(16, 3000)),), FLOAT32)
            other[...] = -1
            if not (array == 1000 * number + i).all():
                errors.append((number, i))

    workers = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert errors == []


FORK = """
import os, signal
import numpy as np
from tinyresnet.kernels.cpu.memory import MEMORY
with MEMORY._lock:
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # else a lock that nobody opens would be waited for without end
        os._exit(0 if MEMORY.empty((1 << 20,), np.dtype(np.float32)).size == 1 << 20 else 1)
print(os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_a_forked_child_has_a_lock_of_its_own() -> None:
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "0\n"
