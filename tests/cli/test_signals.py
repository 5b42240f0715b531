"""Ctrl-C and SIGTERM, in a process of its own: it saves itself, prints how to go on, and ends as if there had been no break.

The child sends the signal to itself at a step that is chosen, so that nothing here waits for a clock; once, it comes from outside.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.outcome import TINY, Call, Outcome, child_command, in_a_child, numbers_in
from tests.training.runs import metrics_of
from tinyresnet import checkpoints
from tinyresnet.training import Trainer

pytest.importorskip("safetensors")
pytest.importorskip("tqdm")
pytest.importorskip("threadpoolctl")
SLOW = pytest.mark.slow
pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")

RUN = [*TINY, "--seed", "3", "--no-report"]  # as the fixture tiny_run: steps 1 to 4 and 5 to 8, a test after each four

AT_A_STEP = """
import os, signal
from tinyresnet.cli.progress import Bar
stepped = Bar.stepped
def stop_here(bar, progress, result, pictures):
    stepped(bar, progress, result, pictures)
    if progress.step == {step}:
        for name in {signals}:
            os.kill(os.getpid(), getattr(signal, name))
Bar.stepped = stop_here
"""

IN_A_TEST = """
import os, signal
from tinyresnet.training.evaluation import Predictor
forward, calls = Predictor._forward, []
def stop_here(predictor, x):
    calls.append(None)
    if len(calls) == {test}:
        os.kill(os.getpid(), signal.SIGTERM)
    return forward(predictor, x)
Predictor._forward = stop_here
"""


def command_in(outcome: Outcome) -> str:
    """The line below "To go on:"."""
    (command,) = re.findall(r"To go on:\n  (.+)\n", outcome.out + outcome.err)
    return str(command)


def run_as_printed(command: str, cwd: Path, shell: str = "sh") -> subprocess.CompletedProcess[str]:
    """By a shell, letter for letter."""
    return subprocess.run([shell, "-c", command], cwd=cwd, capture_output=True, text=True, check=False, timeout=300)


def progress_in(folder: Path) -> tuple[int, int]:
    _, progress = numbers_in(folder)
    return progress["step"], progress["batch"]


# ---- one signal ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "step"),
    [pytest.param("SIGINT", 1, marks=SLOW), ("SIGTERM", 4), ("SIGINT", 6), pytest.param("SIGTERM", 8, marks=SLOW)],
)
def test_a_signal_saves_and_the_printed_command_goes_on_bit_for_bit(
    name: str, step: int, tiny_run: Path, empty_folder: Path
) -> None:
    """Step 4 and 8 are the last of their epochs: the test that follows is made after the break."""
    folder = 'it\'s "数据" $x'
    stopped = in_a_child(
        "train", *RUN, "--out", folder, before=AT_A_STEP.format(step=step, signals=[name]), cwd=empty_folder
    )
    assert stopped.code == 130 and stopped.err == ""
    assert f"interrupted ({name}) after step {step}; everything is saved." in stopped.out
    assert "test accuracy" not in stopped.out and progress_in(empty_folder / folder)[0] == step
    assert numbers_in(empty_folder / folder) != numbers_in(tiny_run)

    resumed = run_as_printed(command_in(stopped) + " --no-report", empty_folder)
    assert resumed.returncode == 0 and resumed.stderr == ""
    assert f"at step {step}, epoch {1 if step <= 4 else 2}\n" in resumed.stdout
    assert numbers_in(empty_folder / folder) == numbers_in(tiny_run)
    assert metrics_of(empty_folder / folder) == metrics_of(tiny_run)
    best = "best.safetensors"
    assert _arrays(empty_folder / folder / best) == _arrays(tiny_run / best)


def _arrays(path: Path) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in checkpoints.load(path).arrays.items()}


@pytest.mark.parametrize("test", [pytest.param(1, marks=SLOW), 2])
def test_a_signal_during_an_epochs_test(test: int, call: Call, tiny_run: Path, empty_folder: Path) -> None:
    stopped = in_a_child("train", *RUN, "--out", "run", before=IN_A_TEST.format(test=test), cwd=empty_folder)
    assert stopped.code == 130 and f"interrupted (SIGTERM) after step {4 * test}" in stopped.out
    assert f"epoch {test}/2" not in stopped.out, "the test did not come to its end"
    assert call("train", "--resume", "run", "--no-report").code == 0
    assert numbers_in(empty_folder / "run") == numbers_in(tiny_run)
    assert metrics_of(empty_folder / "run") == metrics_of(tiny_run)


def test_the_printed_command_works_where_the_console_is_ascii(tiny_run: Path, empty_folder: Path) -> None:
    bash = "/bin/bash"
    if not Path(bash).exists():
        pytest.skip("this needs bash")
    folder = "it's 运行\\"
    stopped = in_a_child(
        "train", *RUN, "--out", folder, cwd=empty_folder, PYTHONIOENCODING="ascii",
        before=AT_A_STEP.format(step=3, signals=["SIGTERM"]),
    )  # fmt: skip
    assert stopped.code == 130 and command_in(stopped).isascii()
    assert run_as_printed(command_in(stopped) + " --no-report", empty_folder, bash).returncode == 0
    assert numbers_in(empty_folder / folder) == numbers_in(tiny_run)


def test_json_says_that_it_is_not_finished(empty_folder: Path) -> None:
    stopped = in_a_child(
        "train", *RUN, "--json", "--out", "run", cwd=empty_folder, before=AT_A_STEP.format(step=3, signals=["SIGINT"])
    )
    assert stopped.code == 130 and "To go on:" in stopped.err
    told = json.loads(stopped.out)
    assert told["finished"] is False and told["step"] == 3 and told["value"] is None and told["folder"] == "run"


def test_a_signal_during_the_report_comes_too_late(tiny_run: Path, empty_folder: Path) -> None:
    """The run has come to its end: there is nothing to save, and nothing to go on with."""
    late = """
import os, signal
from tinyresnet.cli import train
def write_report(folder):
    os.kill(os.getpid(), signal.SIGTERM)
    return folder / "index.html"
train.write_report = write_report
"""
    done = in_a_child("train", *RUN[:-1], "--out", "run", before=late, cwd=empty_folder)
    assert done.code == 0 and done.err == "" and "report: run/index.html\n" in done.out
    assert done.out.splitlines()[-1].startswith("test accuracy") and "To go on" not in done.out
    assert numbers_in(empty_folder / "run") == numbers_in(tiny_run)


@pytest.mark.parametrize("name", ["SIGINT", pytest.param("SIGTERM", marks=SLOW)])
def test_a_signal_from_outside_at_whatever_moment(name: str, call: Call, empty_folder: Path) -> None:
    many = [*RUN, "--epochs", "20"]
    process = subprocess.Popen(
        child_command("train", *many, "--out", "run"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=empty_folder
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(b"epoch  1/20"):
            break
    process.send_signal(getattr(signal, name))
    out, err = (part.decode() for part in process.communicate(timeout=300))
    assert process.returncode == 130 and err == ""
    assert command_in(Outcome(130, out, err)).endswith(" train --resume run")
    assert call("train", "--resume", "run", "--no-report").code == 0
    assert call("train", *many, "--out", "whole").code == 0
    assert numbers_in(empty_folder / "run") == numbers_in(empty_folder / "whole")


# ---- two signals -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("signals", [["SIGINT", "SIGTERM"], pytest.param(["SIGTERM", "SIGINT"], marks=SLOW)])
def test_a_second_signal_stops_at_once_and_the_checkpoint_before_it_is_whole(
    signals: list[str], call: Call, tiny_run: Path, empty_folder: Path
) -> None:
    stopped = in_a_child(
        "train", *RUN, "--out", "run", cwd=empty_folder, before=AT_A_STEP.format(step=6, signals=signals)
    )
    assert stopped.code == 130 and "everything is saved" not in stopped.out and "Traceback" not in stopped.err
    assert "stopped at once" in stopped.err
    assert progress_in(empty_folder / "run") == (4, 0), "the checkpoint of the epoch before; step 6 was not saved"
    assert not list((empty_folder / "run").glob(".*")), "something half-written was left"
    assert command_in(stopped).endswith(" train --resume run")
    assert call("train", "--resume", "run", "--no-report").code == 0
    assert numbers_in(empty_folder / "run") == numbers_in(tiny_run)
    assert metrics_of(empty_folder / "run") == metrics_of(tiny_run)


# ---- the check itself ----------------------------------------------------------------------------------------------------------
def test_planted_mistake_a_run_that_begins_its_epoch_anew_is_noticed(
    call: Call, tiny_run: Path, empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = in_a_child(
        "train", *RUN, "--out", "run", cwd=empty_folder, before=AT_A_STEP.format(step=6, signals=["SIGTERM"])
    )
    assert stopped.code == 130
    announce = Trainer._announce

    def forgetful(trainer: Trainer) -> None:
        trainer.progress.batch = 0
        announce(trainer)

    monkeypatch.setattr(Trainer, "_announce", forgetful)
    assert call("train", "--resume", "run", "--no-report").code == 0
    assert numbers_in(empty_folder / "run") != numbers_in(tiny_run)


def test_the_handlers_that_were_there_are_given_back(call: Call) -> None:
    """After the run Ctrl-C is Ctrl-C again, for a program that calls it."""

    def handlers() -> list[object]:
        return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    before = handlers()
    assert call("train", *RUN).code == 0
    assert handlers() == before
