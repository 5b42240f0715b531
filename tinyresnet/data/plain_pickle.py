"""Reads pickles of plain data without executing them.

A pickle is a program; Python's own reader runs it, and it may call any function there is. This one knows the instructions that
build dicts, lists, tuples, strings and integers, and four calls by their names, which are looked at and never made: NumPy's
for arrays and their dtype, and the one by which Python 3 writes bytes for Python 2. Everything else is refused.
"""

from __future__ import annotations

import math
import pickletools
import warnings
from typing import Any, NamedTuple

MOST_INSTRUCTIONS = 1_000_000  # a batch of CIFAR-10 has about 40 thousand
LONGEST_KEY = 100

ARRAY, FILLED, DTYPE, ENCODE, NDARRAY = "an empty array", "an array", "a dtype", "bytes", "ndarray"
NAMES = {
    "numpy.core.multiarray _reconstruct": ARRAY,
    "numpy._core.multiarray _reconstruct": ARRAY,
    "numpy.core.numeric _frombuffer": FILLED,
    "numpy._core.numeric _frombuffer": FILLED,
    "numpy ndarray": NDARRAY,
    "numpy dtype": DTYPE,
    "_codecs encode": ENCODE,
}


class Name(NamedTuple):
    """One of the known functions and classes: a word, nothing that can be called."""

    meaning: str


class Dtype(NamedTuple):
    """numpy.dtype(code)."""

    code: Any


class ByteArray:
    """An array of uint8: `shape` and `data`, row by row."""

    shape: tuple[int, ...] = ()
    data: bytes | bytearray = b""


def read_plain_pickle(data: bytes) -> Any:
    """What it holds: str (also where it says bytes of ASCII), bytes, int, bool, None, list, tuple, dict, ByteArray.

    Memory and time are bounded by the length of `data`. Raises ValueError for anything else.
    """
    machine = _Machine(len(data))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in strings that Python does not know
            for count, (instruction, argument, _) in enumerate(pickletools.genops(data)):
                if count == MOST_INSTRUCTIONS:
                    raise ValueError(f"it is a pickle of more than {MOST_INSTRUCTIONS} instructions")
                machine.step(instruction.name, argument)
        return machine.stack.pop()
    except (LookupError, TypeError, OverflowError) as error:
        raise ValueError(f"it is no pickle of plain data: {error}") from error


class _Machine:
    """The stack and the memo that a pickle works on."""

    def __init__(self, budget: int) -> None:
        self.budget = budget  # bytes that may still be made of strings
        self.stack: list[Any] = []
        self.marks: list[int] = []  # heights of the stack
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """One instruction. Raises ValueError for an unknown one; LookupError, TypeError for one that finds something else."""
        if name in VALUES:
            self.stack.append(argument)
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name])
        elif name in EMPTY:
            self.stack.append(EMPTY[name]())
        elif name == "MARK":
            self.marks.append(len(self.stack))
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name in ("LIST", "TUPLE", "DICT", "APPENDS", "SETITEMS"):
            self.collect(name)
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            self.stack.append(tuple(self.pop(int(name[-1]))))
        elif name == "APPEND":
            self.extend(self.pop(1))
        elif name == "SETITEM":
            self.update(self.pop(2))
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            self.stack.append(_known(argument if name == "GLOBAL" else " ".join(self.pop(2))))
        elif name == "REDUCE":
            self.stack.append(self.made(*self.pop(2)))
        elif name == "BUILD":
            state = self.pop(1)[0]
            self.fill(self.stack[-1], state)
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise ValueError(
                f"it is a pickle with the instruction {name}, which plain data has no need of; it was not run"
            )

    def pop(self, count: int) -> list[Any]:
        """The topmost values, lowest first."""
        if not 0 <= count <= len(self.stack):
            raise ValueError("it is no pickle: it takes what is not there")
        values = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return values

    def collect(self, name: str) -> None:
        """What lies above the last mark becomes a collection, or goes into the one below the mark."""
        values = self.pop(len(self.stack) - self.marks.pop())
        if name == "APPENDS":
            self.extend(values)
        elif name == "SETITEMS":
            self.update(values)
        elif name == "DICT":
            self.stack.append({})
            self.update(values)
        else:
            self.stack.append(values if name == "LIST" else tuple(values))

    def extend(self, values: list[Any]) -> None:
        """The list on top."""
        if type(self.stack[-1]) is not list:
            raise ValueError("it is no pickle: it appends to what is no list")
        self.stack[-1].extend(values)

    def update(self, values: list[Any]) -> None:
        """The dict on top, by keys and values in turn."""
        if type(self.stack[-1]) is not dict or len(values) % 2:
            raise ValueError("it is no pickle: it puts keys and values into what is no dict")
        for key, value in zip(values[::2], values[1::2], strict=True):
            text = key.decode("latin-1") if isinstance(key, bytes) else key
            if (
                not isinstance(text, str) or len(text) > LONGEST_KEY
            ):  # a tuple in a tuple in a tuple ... could not be hashed
                raise ValueError("it is a pickle of a dict whose keys are no short strings")
            self.stack[-1][text] = value

    def made(self, function: Any, arguments: Any) -> Any:
        """What the call would have made. Raises ValueError for any call but the four."""
        if isinstance(function, Name) and type(arguments) is tuple:
            if function.meaning == ARRAY and arguments[:1] == (Name(NDARRAY),):
                return ByteArray()  # _reconstruct(ndarray, (0,), b"b"): empty, until BUILD fills it
            if function.meaning == FILLED and len(arguments) == 4 and arguments[3] == "C":  # protocol 5
                array = ByteArray()
                self.fill(array, (1, arguments[2], arguments[1], False, arguments[0]))
                return array
            if function.meaning == DTYPE and arguments:
                return Dtype(arguments[0])
            if function.meaning == ENCODE and len(arguments) == 2 and arguments[1] == "latin1":
                return self.as_bytes(arguments[0])
        raise ValueError("it is a pickle that makes a call which plain data has no need of; it was not run")

    def fill(self, target: Any, state: Any) -> None:
        """ndarray.__setstate__((version, shape, dtype, in Fortran's order, data)); of a dtype's state nothing matters for single bytes."""
        if isinstance(target, Dtype):
            return
        if not isinstance(target, ByteArray) or type(state) is not tuple or len(state) != 5:
            raise ValueError("it is a pickle that sets the state of what has none; it was not run")
        _, shape, dtype, fortran, data = state
        values = self.as_bytes(data)
        if not isinstance(dtype, Dtype) or dtype.code not in ("u1", b"u1") or fortran:
            raise ValueError("its array must be of uint8, row by row")
        if type(shape) is not tuple or not all(type(size) is int and size >= 0 for size in shape) or len(shape) > 32:
            raise ValueError("the shape of its array is none")
        if math.prod(shape) != len(values):
            raise ValueError(f"its array has {len(values)} values, which do not fit its shape")
        target.shape, target.data = shape, values

    def as_bytes(self, text: Any) -> bytes | bytearray:
        """pickletools gives the strings of Python 2 as text in Latin-1."""
        if isinstance(text, str):
            self.budget -= len(text)
            if self.budget < 0:  # the same string over and over
                raise ValueError("it is a pickle that would take more memory than its file")
            return text.encode("latin-1")
        if isinstance(text, (bytes, bytearray)):
            return text
        raise ValueError("it is a pickle with something else where bytes should be")


VALUES = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 "
    "UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8".split()
)
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
EMPTY: dict[str, Any] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}


def _known(name: str) -> Name:
    if name not in NAMES:
        raise ValueError(
            f"it is a pickle that would use {name[:80]!r}, which plain data has no need of; it was not run"
        )
    return Name(NAMES[name])
