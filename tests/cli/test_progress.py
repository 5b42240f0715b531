"""The bar on a terminal: rate, loss, accuracy, time left. Where there is no terminal there is none (test_train)."""

from __future__ import annotations

import os
import re
import struct
import subprocess
from pathlib import Path

import pytest

from tests.cli.outcome import TINY, child_command

pytest.importorskip("safetensors")
pytest.importorskip("threadpoolctl")
pytest.importorskip("tqdm")
fcntl, pty, termios = (
    pytest.importorskip(name, reason="terminals are POSIX's") for name in ("fcntl", "pty", "termios")
)


def on_a_terminal(*arguments: str, cwd: Path) -> str:
    """What a terminal of 100 columns is sent."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen(child_command(*arguments), stdout=theirs, stderr=theirs, stdin=theirs, cwd=cwd)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux' way of saying that nobody writes any more
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert process.wait() == 0
    return shown.decode()


def test_the_bar(empty_folder: Path) -> None:
    shown = on_a_terminal("train", *TINY, "--no-report", cwd=empty_folder)
    bars = re.findall(r"(\d+)%\|.*?\| (\d+)/240 \[(\S+)<(\S+), +(\S+) (pictures/s|s/ pictures)(.*?)\]", shown)
    assert bars, shown
    percent, done, passed, left, rate, _, told = bars[-1]
    assert (percent, done) == ("100", "240"), "it did not come to its end"
    assert re.fullmatch(r"\d\d:\d\d", passed) and left == "00:00" and float(rate) > 0
    assert re.fullmatch(r", loss \d\.\d{3}, accuracy 0\.\d{3}", told)
    lines = [line.split("\r")[-1] for line in shown.split("\r\n")]
    assert [line[:9] for line in lines if line.startswith("epoch")] == ["epoch 1/2", "epoch 2/2"], "a bar in a line"
    assert lines[-2].startswith("test accuracy 0.")
