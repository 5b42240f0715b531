"""Calling the learner's function: what it is given, what came back, and how that travels out of the process it ran in.

The process that runs the function makes its own inputs, from the exercise's name and the seed, and sends nothing but numbers and
texts back. So whoever judges needs to trust nothing that the function did to the process around it.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import inspect
import io
import json
import math
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..backend import Array, use_backend
from .exercise import Case, Exercise, Function
from .limits import TimeIsOver

DTYPES = (np.float64, np.float32)
MOST_BYTES = 256 << 10  # of one output: the cases are small
MOST_PRINTED = 4000  # characters
_OURS = str(Path(__file__).resolve().parents[1])  # its lines, and those of installed packages, are not the learner's


class Other(NamedTuple):
    """Something that was returned and is neither numbers nor a text."""

    what: str


class Outcome(NamedTuple):
    """What one call gave."""

    outputs: tuple[Any, ...]  # arrays, texts, `Other`
    raised: str = ""  # "ValueError: ...", with the learner's own lines
    error: str = ""  # the error's class
    overwritten: tuple[str, ...] = ()  # inputs that have other numbers now: "saved.x"
    shared: tuple[tuple[int, str], ...] = ()  # (output, input that it shares memory with)
    printed: str = ""
    seconds: float = 0.0


def cases_of(exercise: Exercise, seed: int) -> list[tuple[Case, Any]]:
    """Every call with its dtype: first all in float64, then all in float32. The same in every process."""
    with use_backend("numpy"):
        return [(case, dtype) for dtype in DTYPES for case in exercise.cases(np.random.default_rng(seed), dtype)]


def arrays_in(value: Any, path: str) -> Iterator[tuple[str, Array]]:
    """Every array of an argument, with its name: "saved.x"."""
    if isinstance(value, np.ndarray):
        yield path, value
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        for field, item in zip(value._fields, value, strict=True):
            yield from arrays_in(item, f"{path}.{field}")
    elif isinstance(value, (tuple, list)):
        for i, item in enumerate(value):
            yield from arrays_in(item, f"{path}[{i}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from arrays_in(item, f"{path}[{key!r}]")


def copied(value: Any) -> Any:
    """An argument whose arrays may be written to."""
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(copied, value))
    if isinstance(value, (tuple, list)):
        return type(value)(map(copied, value))
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    return value


def argument_names(exercise: Exercise) -> list[str]:
    """Of the function to write."""
    return list(inspect.signature(exercise.stub).parameters)


def as_output(value: Any) -> Any:
    """Numbers as an array, a text as it is, anything else as `Other`."""
    if isinstance(value, str):
        return value
    try:
        array = np.asarray(value)
    except ValueError:
        return Other(f"a {type(value).__name__} whose rows differ in length")
    except Exception:  # whatever a learner's object does when it is looked at
        return Other(type(value).__name__)
    if array.dtype.kind not in "biufc":
        if isinstance(value, int):
            return Other("an int too large for 64 bits")
        many = isinstance(value, (np.ndarray, list, tuple))
        return Other(f"a {type(value).__name__} of dtype {array.dtype}" if many else type(value).__name__)
    if array.nbytes > MOST_BYTES:
        return Other(f"an array of shape {array.shape}, far larger than any input")
    return array


def split(exercise: Exercise, value: Any) -> tuple[Any, ...]:
    """The outputs that a function of this exercise returned."""
    if len(exercise.outputs) == 1 and exercise.outputs[0].kind == "integers":
        return (value,)  # the value itself may be a tuple
    if (
        len(exercise.outputs) > 1
        and isinstance(value, np.ndarray)
        and value.ndim
        and len(value) == len(exercise.outputs)
    ):
        return tuple(value)  # stacked: each can still be told from the others
    several = (tuple, list) if len(exercise.outputs) > 1 else tuple
    return tuple(value) if isinstance(value, several) else (value,)


class _Printed(io.StringIO):
    """The beginning of what is printed; a loop that prints for ever fills no memory."""

    def write(self, text: str) -> int:
        room = MOST_PRINTED - self.tell()
        if room > 0:
            super().write(text[:room])
        return len(text)


def call(exercise: Exercise, mine: Function, case: Case) -> Outcome:
    """One call on this case."""
    names = argument_names(exercise)
    inputs = [
        found
        for name, value in [*zip(names, case.args, strict=False), *case.kwargs.items()]
        for found in arrays_in(value, name)
    ]
    before = [(path, array, array.copy()) for path, array in inputs]
    printed = _Printed()
    start = time.perf_counter()
    try:
        quiet = contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed)
        # NumPy's own way with overflow and the like, whatever the process around has set.
        with quiet[0], quiet[1], use_backend("numpy"), np.errstate(all="warn", under="ignore"):
            value = mine(*case.args, **case.kwargs)
    except TimeIsOver:
        raise
    except BaseException as error:  # SystemExit and KeyboardInterrupt of the function too: it alone fails
        return Outcome((), raised=_told(error), error=_kind(error), printed=printed.getvalue())
    seconds = time.perf_counter() - start
    values = split(exercise, value)
    overwritten = tuple(path for path, array, old in before if not np.array_equal(array, old, equal_nan=True))
    shared = tuple(
        (i, path)
        for i, output in enumerate(values)
        for path, array in inputs
        if isinstance(output, np.ndarray) and np.may_share_memory(output, array)
    )
    return Outcome(
        tuple(map(as_output, values)),
        overwritten=overwritten,
        shared=shared,
        printed=printed.getvalue(),
        seconds=seconds,
    )


def _kind(error: BaseException) -> str:
    """The name of the nearest class that Python knows: a subclass of ValueError is a ValueError."""
    if type(error).__module__.startswith("tinyresnet.exercises"):  # ours: it is our own answer
        return type(error).__name__
    return next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins")


def _told(error: BaseException) -> str:
    """The error in a line, and the lines of the learner's code that led to it."""
    frames = [
        f
        for f in traceback.extract_tb(error.__traceback__)[1:]
        if not f.filename.startswith(_OURS) and "site-packages" not in Path(f.filename).parts
    ]
    where = "".join(f"\n  line {frame.lineno}, in {frame.name}: {frame.line or ''}" for frame in frames[-3:])
    try:
        said = str(error)
    except Exception:
        said = "(an error that cannot be printed)"
    return f"{type(error).__name__}: {said[:500]}{where[:1000]}"


def call_all(exercise: Exercise, load: Callable[[], Function], seed: int, send: Callable[[bytes], None]) -> None:
    """Every call of this seed, each sent as soon as it is done. An error while loading is sent as the outcome of the first."""
    printed = _Printed()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            mine = load()
    except TimeIsOver:
        raise
    except BaseException as error:
        send(encode(Outcome((), raised=_told(error), error=_kind(error), printed=printed.getvalue())))
        return
    calls = cases_of(exercise, seed)
    for case, _ in calls:
        outcome = call(exercise, mine, case)
        send(encode(outcome))
        if outcome.error and case.raises is None:
            return
    with contextlib.redirect_stdout(_Printed()), contextlib.redirect_stderr(_Printed()):
        send(encode(Outcome((), seconds=quickest(mine, calls[0][0]))))


def quickest(function: Function, case: Case) -> float:
    """Seconds of one call, the best of a few, within a fiftieth of a second; nan for a call that raises."""
    best, until = math.inf, time.perf_counter() + 0.02
    with use_backend("numpy"), contextlib.suppress(Exception):
        while time.perf_counter() < until:
            arguments = copied(case.args)
            start = time.perf_counter()
            function(*arguments, **case.kwargs)
            best = min(time.perf_counter() - start, best)
        return best
    return math.nan


# ---- as bytes: JSON, and the arrays' bytes in it. No pickle: who reads this need not trust who wrote it ------------------------
def encode(outcome: Outcome) -> bytes:
    """An outcome as one line of JSON."""
    return json.dumps({**outcome._asdict(), "outputs": list(map(_encoded, outcome.outputs))}).encode()


def _encoded(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        return {"text": value[:1000]}
    if isinstance(value, Other):
        return {"other": value.what}
    data = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
    return {"dtype": value.dtype.str, "shape": value.shape, "data": data}


def decode(line: bytes) -> Outcome:
    """The outcome that `encode` wrote. Raises ValueError for anything else."""
    try:
        read = json.loads(line)
        return Outcome(
            tuple(map(_decoded, read["outputs"])),
            raised=str(read["raised"]),
            error=str(read["error"]),
            overwritten=tuple(map(str, read["overwritten"])),
            shared=tuple((int(i), str(path)) for i, path in read["shared"]),
            printed=str(read["printed"])[:MOST_PRINTED],
            seconds=float(read["seconds"]),
        )
    except (TypeError, KeyError, AttributeError, RecursionError, binascii.Error, json.JSONDecodeError) as error:
        raise ValueError(f"not an outcome: {error}") from error


def _decoded(value: dict[str, Any]) -> Any:
    if "text" in value:
        return str(value["text"])
    if "other" in value:
        return Other(str(value["other"]))
    dtype, shape = np.dtype(str(value["dtype"])), tuple(map(int, value["shape"]))
    data = base64.b64decode(value["data"], validate=True)
    if dtype.kind not in "biufc" or min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError("not an outcome: an array whose shape does not fit its bytes")
    return np.frombuffer(data, dtype).reshape(shape)
