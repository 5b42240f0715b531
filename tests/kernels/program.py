"""What the tests of this folder run in a process of its own. Every command prints which copy of the package it works with, and how wide.

The status is 1, and what is wrong is printed, if an example fails or numbers differ that should not.

    python tests/kernels/program.py check [EXAMPLE ...]   checks these examples, or all
    python tests/kernels/program.py save FILE.npz         writes what every example gives
    python tests/kernels/program.py at-once               makes the first calls from 8 threads, and again from one
    python tests/kernels/program.py fork SECONDS          computes, and again in a forked child
"""

from __future__ import annotations

import multiprocessing
import sys
from typing import Any

import numpy as np

import tinyresnet
from tests.kernels.at_once import at_once
from tests.kernels.checks import away_from_the_kink, backward, check, forward, leaves, upstream
from tests.kernels.examples import EXAMPLES
from tests.ops.cases import Case


def register_bits() -> Any:
    """How wide the kernels' vectors are; None while there are no kernels."""
    try:
        from tinyresnet.kernels.cpu.vectors import register_bits as bits
    except ImportError:
        return None
    return bits()


def cases(names: list[str]) -> list[Case]:
    """The examples of these names, in both dtypes."""
    return [EXAMPLES[name].astype(dtype) for name in names or EXAMPLES for dtype in ("float32", "float64")]


def results(case: Case) -> list[np.ndarray]:
    """y, every array that is saved, every gradient. No gradient comes in where a ReLU hangs on the last digit."""
    y, saved = forward(case)
    found = [y, *(value for _, value in leaves(saved) if isinstance(value, np.ndarray))]
    if case.op == "add":
        return found
    dy = away_from_the_kink(case, upstream(case, y), saved)
    return [*found, *backward(case, dy, saved)]


def check_all(names: list[str]) -> int:
    """Every failure, one line each; 1 if there is any."""
    failed = 0
    for case in cases(names):
        try:
            check(case)
        except Exception as error:
            failed += 1
            print(f"FAILED {case.name} {case.arrays[0].dtype}: {type(error).__name__}: {str(error)[:400]}")
    print(f"{len(cases(names)) - failed} right, {failed} wrong")
    return int(failed > 0)


def save(path: str) -> int:
    arrays = {f"{case.name} {case.arrays[0].dtype} {i}": a for case in cases([]) for i, a in enumerate(results(case))}
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return 0


def assert_equal(ours: list[list[np.ndarray]], right: list[list[np.ndarray]]) -> None:
    """Bit for bit."""
    for mine, theirs in zip(ours, right, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(a, b, strict=True)


def first_calls_at_once() -> int:
    names = [
        "conv2d-3x3-tiles",
        "conv2d-1x1-many-pixels",
        "conv2d-3x3-stride",
        "batch_norm_relu-blocks",
        "max_pool2d-pool1",
    ]
    together = at_once(lambda i: [results(case) for case in cases(names)])
    alone = [results(case) for case in cases(names)]
    for ours in together:
        assert_equal(ours, alone)
    print("eight threads give the same numbers")
    return 0


def in_child(pipe: Any, names: list[str]) -> None:
    pipe.send([results(case) for case in cases(names)])
    pipe.close()


def fork(seconds: float) -> int:
    """The threads of the parent do not exist in the child, whatever the parent's kernels left behind."""
    names = ["conv2d-3x3-tiles", "conv2d-1x1-many-pixels", "conv2d-3x3-stride", "batch_norm-blocks"]
    before = [results(case) for case in cases(names)]
    context: Any = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=in_child, args=(theirs, names), daemon=True)
    child.start()
    theirs.close()
    try:
        if not ours.poll(seconds):
            print(f"the child said nothing for {seconds:g} seconds")
            return 1
        after = ours.recv()
    finally:
        child.join(5)
        if child.is_alive():
            child.kill()
    again = [results(case) for case in cases(names)]  # and the parent goes on
    assert_equal(after, before)
    assert_equal(again, before)
    print("the child gives the same numbers")
    return 0


def main() -> int:
    command, *arguments = sys.argv[1:]
    print(f"package {tinyresnet.__file__}", f"width {register_bits()}", sep="\n", flush=True)
    if command == "check":
        return check_all(arguments)
    if command == "at-once":
        return first_calls_at_once()
    return save(arguments[0]) if command == "save" else fork(float(arguments[0]))


if __name__ == "__main__":
    sys.exit(main())
