"""kill -9 at any moment: what is on the disk is a run that goes on and ends with the numbers of one that was never touched."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.training.runs import metrics_of
from tinyresnet import checkpoints
from tinyresnet.training import open_run
from tinyresnet.training.run import BEST, CONFIG, LAST

pytest.importorskip("safetensors")
pytest.importorskip("threadpoolctl")
pytest.importorskip("tqdm")

RUNS = 20
OPTIONS = (
    "--limit 400 --epochs 12 --batch-size 32 --base-depths 4,6 --units 1,1 --shift 1 --flip --ema-decay 0.9 --clip-norm 2 "
    "--label-smoothing 0.1 --micro-batch-size 20 --checkpoint-seconds 0.02 --no-report"
).split()


def command(folder: Path) -> list[str]:
    """What begins the run, or goes on with it."""
    program = [sys.executable, "-m", "tinyresnet", "train"]
    if (folder / LAST).exists() or (folder / CONFIG).exists():
        return [*program, "--resume", str(folder)]
    return [*program, "digits", "--out", str(folder), *OPTIONS]


def run_to_the_end(folder: Path) -> float:
    """Seconds that it took."""
    began = time.monotonic()
    subprocess.run(command(folder), check=True, capture_output=True)
    return time.monotonic() - began


def killed_after(seconds: float, folder: Path) -> bool:
    """Whether the kill came before the end."""
    with subprocess.Popen(command(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            process.wait(timeout=seconds)  # the moment of the kill is what is random; nothing waits for anything else
        except subprocess.TimeoutExpired:
            process.kill()
    return process.returncode == -signal.SIGKILL


def everything(folder: Path) -> tuple[object, ...]:
    """Weights, momentum, averages of the last and of the best checkpoint, and all metrics."""
    arrays = [
        {name: array.tobytes() for name, array in checkpoints.load(folder / file).arrays.items()}
        for file in (LAST, BEST)
    ]
    return (*arrays, metrics_of(folder))


@pytest.mark.slow(seconds=220)
@pytest.mark.host_only
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_twenty_killed_runs_end_bit_for_bit_as_one_that_was_left_alone(tmp_path: Path) -> None:
    seconds = min(run_to_the_end(tmp_path / name) for name in ("first", "whole"))  # the first has to find everything
    right = everything(tmp_path / "whole")
    rng = random.Random(0)
    killed, in_the_middle = 0, 0
    for number in range(3 * RUNS):  # a run that ends before its kill is checked as well, and does not count
        folder = tmp_path / f"run-{number}"
        # Stratified over the whole run, from before its folder is there to its last checkpoint; some are killed again.
        was_killed = killed_after(seconds * (killed + rng.random()) / RUNS, folder)
        if number % 4 == 0:
            was_killed = killed_after(seconds * rng.random(), folder) or was_killed
        killed += was_killed
        if (folder / LAST).exists():
            in_the_middle += was_killed and 0 < open_run(folder, "last").progress.step < 156  # loadable
        run_to_the_end(folder)
        assert everything(folder) == right, f"run {number} ended differently"
        assert not list(folder.glob(".*tmp")), "a temporary file was left"
        if killed == RUNS:
            break
    print(f"{killed} of {number + 1} runs were killed, {in_the_middle} of them between steps")
    assert killed == RUNS and in_the_middle > RUNS // 4
