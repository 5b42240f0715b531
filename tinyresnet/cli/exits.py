"""Exit codes, the errors that only commands raise, and an error in words."""

from __future__ import annotations

import os

FAILED, USAGE, INTERRUPTED = 1, 2, 130


class WrongGradient(RuntimeError):
    """The gradient check failed: training would follow a gradient that is not one."""


def said(error: Exception) -> str:
    """What the system says of a file is "[Errno 2] No such file or directory: 'x'": without the number, the file first."""
    if isinstance(error, OSError) and error.strerror:  # without the number; the file first, where the system names one
        return f"{os.fsdecode(error.filename)}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return f"not enough memory: {str(error) or 'a smaller batch, smaller pictures or a smaller net need less'}"
    return str(error) or type(error).__name__
