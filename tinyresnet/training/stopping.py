"""Ctrl-C, SIGTERM and a closed terminal: the step is finished and saved first. A second one stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Calling it says whether somebody asked to stop; `signal` is by what, as "SIGTERM"."""

    def __init__(self) -> None:
        self.signal: str | None = None

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.signal is not None


@contextmanager
def stopping_by_signal() -> Iterator[Stop]:
    """`with stopping_by_signal() as stop: train(..., stop=stop)`: the first SIGINT, SIGTERM or SIGHUP only sets `stop`, the second raises.

    In a thread other than the main one Python allows no handlers: nothing is changed there.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def note(number: int, frame: FrameType | None) -> None:
        if stop():
            raise KeyboardInterrupt
        stop.signal = signal.Signals(number).name

    numbers = [signal.SIGINT, signal.SIGTERM]
    # A terminal that is closed, unless it was said (by nohup) that this does not matter.
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
