"""What the stand-in raises where CuPy would raise nothing."""

from __future__ import annotations


class UndefinedOnDevice(AssertionError):
    """CuPy would go on here and give something else than NumPy: no error that a program may catch, hence an AssertionError."""
