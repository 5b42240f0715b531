"""Several Python threads, several numbers of threads, a fork: the same numbers each time."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")

from tests.kernels.at_once import AT_ONCE, at_once
from tests.kernels.bounds import RESULTS, allowed
from tests.kernels.examples import EXAMPLES, numbered
from tests.kernels.processes import run, said
from tests.kernels.program import assert_equal, results
from tests.ops.cases import Case
from tinyresnet.kernels.cpu.threads import default_threads

NAMES = [
    "conv2d-3x3-tiles", "conv2d-3x3-many-tiles", "conv2d-1x1-many-pixels", "conv2d-3x3-stride", "conv2d-3x3-atrous", "conv2d-root",
    "batch_norm-blocks", "batch_norm_relu-blocks", "max_pool2d-pool1", "global_avg_pool-blocks", "relu-blocks",
]  # fmt: skip


def work_of(i: int) -> list[Case]:
    """Every op of NAMES with the numbers of thread i, each thread beginning with another one."""
    cases = [numbered(EXAMPLES[name].astype("float32"), i) for name in NAMES]
    return cases[i:] + cases[:i]


# ---- Python threads -----------------------------------------------------------------------------------------------------
def test_eight_threads_at_once_give_the_numbers_of_each_alone() -> None:
    alone = [[results(case) for case in work_of(i)] for i in range(AT_ONCE)]
    for _ in range(2):  # the second time in threads started anew
        together = at_once(lambda i: [results(case) for case in work_of(i)])
        for ours, right in zip(together, alone, strict=True):
            assert_equal(ours, right)


def test_the_same_op_on_eight_threads() -> None:
    """All in one kernel, with sizes that differ, so that each has buffers of its own."""
    names = ["conv2d-3x3-odd", "conv2d-3x3-many-tiles", "conv2d-3x3-valid", "conv2d-3x3-many-channels"]
    cases = [numbered(EXAMPLES[names[i % len(names)]].astype("float32"), i) for i in range(AT_ONCE)]
    alone = [results(case) for case in cases]
    together = at_once(lambda i: [results(cases[i]) for _ in range(5)])
    for ours, right in zip(together, alone, strict=True):
        assert_equal(ours, [right] * 5)


def test_a_thread_that_ends_takes_nothing_along() -> None:
    case = EXAMPLES["conv2d-3x3-tiles"].astype("float32")
    alone = results(case)
    for _ in range(20):
        assert_equal(at_once(lambda i: results(case), count=1), [alone])


def test_from_run_to_run() -> None:
    for name in NAMES:
        case = EXAMPLES[name].astype("float32")
        first = results(case)
        assert_equal([results(case) for _ in range(5)], [first] * 5)


def test_a_race_is_seen() -> None:
    """Planted: one buffer for all threads, with a wait between filling it and reading it."""
    shared, filled = np.zeros(3), threading.Barrier(2)

    def racing(i: int) -> list[np.ndarray]:
        shared[:] = i
        filled.wait(60)
        return [shared.copy()]

    found = at_once(racing, count=2)
    with pytest.raises(AssertionError):
        assert_equal(found, [[np.full(3, float(i))] for i in range(2)])


# ---- the number of the kernels' threads ---------------------------------------------------------------------------------
@pytest.mark.slow(seconds=25)
def test_one_two_and_three_threads(tmp_path: Path) -> None:
    """Within rounding across numbers of threads; bit for bit between two processes with one number."""
    saved = {}
    for name, count in (("1", "1"), ("2", "2"), ("3", "3"), ("3 again", "3"), ("default", "")):
        path = tmp_path / f"{name}.npz"
        process = run("save", str(path), TINYRESNET_NUM_THREADS=count)
        assert process.returncode == 0, said(process)
        with np.load(path) as arrays:
            saved[name] = dict(arrays)
    for key, again in saved["3 again"].items():
        np.testing.assert_array_equal(again, saved["3"][key], key)
    for name in ("2", "3", "default"):
        assert_near_enough(saved[name], saved["1"])


def assert_near_enough(ours: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> None:
    """Twice the bound of the results: each may be off by it."""
    assert list(ours) == list(right)
    for key, a in ours.items():
        b, case = right[key], EXAMPLES[key.split()[0]]
        dtype = np.dtype(key.split()[1])
        named = ("y", "var", *RESULTS.get(case.op, ()))
        bound = max(allowed(case.op, result, dtype, case.arrays, case.options) for result in named)
        scale = max(float(np.abs(b[np.isfinite(b)]).max(initial=0)), 1.0)
        np.testing.assert_allclose(a, b, rtol=0, atol=2 * bound * scale, err_msg=key)


CONV = "import numpy, tinyresnet as t; t.set_backend('numba'); t.ops.conv2d_forward(numpy.ones((1, 4, 4, 3)), numpy.ones((3, 3, 3, 2)))"


@pytest.mark.parametrize("bad", ["0", "-1", "two", "1.5", " ", "1 2", "1025", "99999999999999999999"])
def test_a_number_of_threads_that_is_none(bad: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYRESNET_NUM_THREADS", bad)
    with pytest.raises(ValueError, match="TINYRESNET_NUM_THREADS") as caught:
        default_threads()
    assert repr(bad) in str(caught.value)


def test_a_first_call_says_what_is_wrong_with_the_number_of_threads() -> None:
    process = run("-c", CONV, TINYRESNET_NUM_THREADS="two")
    assert process.returncode != 0
    assert (
        process.stderr.strip().splitlines()[-1].startswith("ValueError: environment variable TINYRESNET_NUM_THREADS")
    ), said(process)


def test_a_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    for good in ("1", "2", "64"):
        monkeypatch.setenv("TINYRESNET_NUM_THREADS", good)
        assert default_threads() == int(good)
    monkeypatch.setenv("TINYRESNET_NUM_THREADS", "")
    assert 1 <= default_threads() <= (os.cpu_count() or 1)
    process = run("-c", CONV, TINYRESNET_NUM_THREADS="64")  # more than there are cores
    assert process.returncode == 0, said(process)


# ---- the first call -----------------------------------------------------------------------------------------------------
@pytest.mark.slow(seconds=50)
def test_eight_threads_make_the_first_call_at_once(tmp_path: Path) -> None:
    """Nothing is compiled yet, and the pool does not exist."""
    process = run("at-once", NUMBA_CACHE_DIR=str(tmp_path))
    assert process.returncode == 0, said(process)


@pytest.mark.slow(seconds=50)
def test_two_processes_fill_one_cache(tmp_path: Path) -> None:
    """Both find it empty and write to it; a third one reads what they left."""
    processes = at_once(lambda i: run("at-once", NUMBA_CACHE_DIR=str(tmp_path)), count=2)
    for process in (*processes, run("at-once", NUMBA_CACHE_DIR=str(tmp_path))):
        assert process.returncode == 0, said(process)


# ---- fork ---------------------------------------------------------------------------------------------------------------
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.skipif(
    sys.platform == "darwin", reason="on macOS a forked child of a threaded process is not safe, whoever made it"
)
@pytest.mark.parametrize("count", ["1", "2"])
def test_a_forked_child_computes_too(count: str) -> None:
    process = run("fork", "60", TINYRESNET_NUM_THREADS=count)
    assert process.returncode == 0, said(process)
