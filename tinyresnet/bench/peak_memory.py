"""The most memory that this process has held at a time, as the system counts it."""

from __future__ import annotations

import sys
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory:
    """`growth()`: by how many bytes the peak is above what was resident when this was made.

    Linux forgets the peak so far on request. Elsewhere a peak from before may hide some of the growth, which is then too small.
    Raises OSError where the system does not say.
    """

    def __init__(self) -> None:
        if STATUS.exists():
            CLEAR.write_text("5")  # the peak begins anew, from what is resident now
            self.before = _linux("VmRSS")
        else:
            self.before = _peak()

    def growth(self) -> int:
        """In bytes."""
        return (_linux("VmHWM") if STATUS.exists() else _peak()) - self.before


def _linux(field: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def _peak() -> int:
    try:
        import resource
    except ImportError:
        raise OSError("this system does not tell how much memory a process has held") from None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024)
