"""What preparing batches on a thread costs a training step: steps that are handed finished batches against steps that are not.

    python tests/bench/input_thread.py            the recipe `fashion`, one BLAS thread
    python tests/bench/input_thread.py scenes

Both sides take turns in one process, in random order, with the same batches. Printed: the median of a step of each, their ratio, and what
preparing a batch takes by itself (which is what a step would wait without the thread).
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from tinyresnet.data.batches import ahead
from tinyresnet.training import Trainer, environment, recipe
from tinyresnet.training.loop import _computing
from tinyresnet.training.step import train_step

ROUNDS, STEPS = 21, 12


def seconds_a_step(trainer: Trainer, batches: Any) -> float:
    """The mean over a round, from the first batch asked for to the last step done."""
    began = time.perf_counter()
    count = 0
    for images, labels in batches:
        train_step(trainer.net, images, labels, trainer.state.variables, trainer.state.optimizer, 1e-3)
        count += 1
        if count == STEPS:
            break
    return (time.perf_counter() - began) / count


def rounds(trainer: Trainer) -> Iterator[tuple[float, float, float]]:
    """(finished batches, the thread, preparing alone), in seconds a batch."""
    rng = random.Random(0)
    for epoch in range(1, ROUNDS + 1):
        began = time.perf_counter()
        finished = [batch for batch, _ in zip(trainer.batches.epoch(epoch), range(STEPS), strict=False)]
        preparing = (time.perf_counter() - began) / STEPS
        times = {}
        for threaded in rng.sample([True, False], 2):
            source = ahead(trainer.batches.epoch(epoch)) if threaded else nullcontext(iter(finished))
            with source as batches:
                times[threaded] = seconds_a_step(trainer, batches)
        if epoch > 1:  # the first round warms up
            yield times[False], times[True], preparing


def main() -> None:
    config = recipe(sys.argv[1] if len(sys.argv) > 1 else "fashion")
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer.start(config, Path(folder) / "run")
        with _computing(config):
            print(environment()["blas"])
            finished, threaded, preparing = zip(*rounds(trainer), strict=True)
    ratios = [a / b for a, b in zip(threaded, finished, strict=True)]
    for name, times in (("finished batches", finished), ("with the thread", threaded), ("preparing alone", preparing)):
        print(
            f"{name:<18}{statistics.median(times) * 1e3:8.2f} ms a step ({min(times) * 1e3:.2f} to {max(times) * 1e3:.2f})"
        )
    print(f"the thread costs {statistics.median(ratios) - 1:+.1%} of a step (median of {len(ratios)} rounds)")


if __name__ == "__main__":
    main()
