"""What a command did: in this process, or in one of its own where signals, pipes and consoles are real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tinyresnet import checkpoints

TINY = (
    "digits --limit 120 --epochs 2 --batch-size 32 --root-channels 4 --base-depths 4 --units 1 --strides 2 --shift 1"
).split()  # four steps an epoch


class Outcome(NamedTuple):
    """The exit code, and what was printed where."""

    code: int
    out: str
    err: str


Call = Callable[..., Outcome]


def assert_refused(outcome: Outcome, *said: str, code: int = 2) -> None:
    """One line on stderr that says `said`, nothing on stdout, exit code 2."""
    assert outcome.code == code and outcome.out == "", outcome
    assert outcome.err.count("\n") == 1 and outcome.err.startswith("tinyresnet"), outcome.err
    assert "Traceback" not in outcome.err and "Errno" not in outcome.err
    for words in said:
        assert words in outcome.err, outcome.err


def in_a_child(*arguments: object, before: str = "", cwd: Path, check: bool = False, **settings: str) -> Outcome:
    """`python -m tinyresnet ARGUMENTS`, with the code `before` run first; settings are environment variables."""
    done = subprocess.run(
        child_command(*arguments, before=before),
        capture_output=True,
        cwd=cwd,
        env={**os.environ, **settings},
        check=check,
        timeout=300,
    )
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


def child_command(*arguments: object, before: str = "") -> list[str]:
    if not before:
        return [sys.executable, "-m", "tinyresnet", *map(str, arguments)]
    code = f"{before}\nimport runpy\nrunpy.run_module('tinyresnet', run_name='__main__', alter_sys=True)"
    return [sys.executable, "-c", code, *map(str, arguments)]


def numbers_in(folder: Path) -> tuple[dict[str, bytes], dict[str, Any]]:
    """All arrays of last.safetensors bit for bit, and where the run was; without what depends on the clock and on breaks."""
    saved = checkpoints.load(folder / "last.safetensors")
    progress = json.loads(saved.metadata["progress"])
    told = {name: value for name, value in progress.items() if name not in ("seconds", "metrics_bytes")}
    return {name: array.tobytes() for name, array in saved.arrays.items()}, told
