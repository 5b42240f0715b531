"""What an exercise is made of. Each stands in a file of its own in `catalogue/`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..backend import Array
from .language import Text

Rng: TypeAlias = np.random.Generator
Function: TypeAlias = Callable[..., Any]
NOTHING_WRONG: frozenset[str] = frozenset()


class Mistake(NamedTuple):
    """A mistake that people make. `attempt` of its exercise makes it on purpose."""

    name: str  # "mean_term_forgotten": stands in a result's diagnosis
    why: Text  # what was done, and how one comes to do it
    line: Text  # the third hint: the line as it should be
    concept: Text | None = None  # the second hint, where the output's own does not fit


class Output(NamedTuple):
    """One of the values that the learner's function returns."""

    name: str  # "dx"
    axes: str  # a letter an axis, "NHWC"; "" for a single number
    concept: Text  # the second hint: the idea behind it
    line: Text  # the third hint, for a mistake that nobody foresaw
    kind: str = "array"  # "array" of the case's dtype; "integers"; "text"
    may_be_input: bool = False  # whether an input may be handed on as it is, or a view of it


class Case(NamedTuple):
    """One call of the learner's function. For a gradient, also the function that it is the gradient of.

    `forward(*arrays) -> y`; then args[0] is dy, a random upstream gradient of y's shape, and the outputs are the gradients with respect
    to `arrays`, in this order.
    """

    about: Text  # "stride 2, even side": said when it goes wrong here
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = MappingProxyType({})
    forward: Callable[..., Array] | None = None
    arrays: tuple[Array, ...] = ()
    expected: tuple[Any, ...] | None = None  # a golden: what somebody else computed (gradients are blind to padding)
    source: str = ""  # of the golden: "TF-Slim, resnet_v2_test.py, testConv2DSameEven"
    raises: type[Exception] | None = None  # the error that bad input must raise


class Finding(NamedTuple):
    """What a search through the numbers of one output found: names for the diagnosis, and what was seen."""

    names: tuple[str, ...]
    seen: Text


Explain: TypeAlias = Callable[[int, list[Case], list[Array]], "Finding | None"]
Verdict: TypeAlias = "tuple[bool, Text, tuple[str, ...]]"


@dataclass(frozen=True)
class Exercise:
    """A function to write: the task, the stub, the answer, the inputs it is tried on, and what goes wrong with it."""

    name: str
    title: Text
    task: Text  # Markdown: what to write, shapes, dtypes; 5 to 30 lines of work
    equation: str  # as in the paper, plain text
    presupposes: tuple[str, ...]  # names of exercises
    notebook: str  # "06": where it is explained
    minutes: int  # of a student's time
    stub: Function  # raises NotImplementedError; carries the name, the signature and the docstring
    answer: Function
    also_right: tuple[Function, ...]  # differently written right answers, two at least
    outputs: tuple[Output, ...]
    cases: Callable[[Rng, Any], Iterable[Case]]  # (generator, dtype) -> the calls it is tried on, a few small ones
    attempt: Function  # attempt(wrong, *args): the answer with these mistakes made, `wrong` a frozenset of their names
    mistakes: tuple[Mistake, ...]
    op: str | None = None  # the op that the learner's function can stand for: `use(op=mine)`
    explain: tuple[Explain, ...] = ()  # searches that know more than the library: (output, cases, what came) -> Finding
    judge: Callable[[list[Case], list[Any]], Verdict] | None = None  # for a task with no single right answer
    imports: tuple[str, ...] = ("import numpy as np",)  # of the learner's file
    given: tuple[Function, ...] = field(default=())  # functions that stand above the stub in the learner's file

    def mistake(self, name: str) -> Mistake:
        """The mistake of this name. Raises KeyError."""
        return {mistake.name: mistake for mistake in self.mistakes}[name]

    def stub_source(self) -> str:
        """The source of the stub, as it goes into the learner's file."""
        return inspect.getsource(self.stub)
