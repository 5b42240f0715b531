"""The file that a learner begins with: the task as its docstring, what is given, and the stub."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from pathlib import Path

from .check import get
from .exercise import Exercise
from .language import Text, language


def starting_file(exercise: Exercise, speaking: str | None = None) -> str:
    """The text of NAME.py. speaking: "en" or "zh"; the reader's language by default."""
    given = [bare(inspect.getsource(thing)) for thing in exercise.given]
    head = [_docstring(exercise, speaking or language()), "\n".join(exercise.imports)]
    return "\n\n".join(filter(None, head)) + "\n\n\n" + "\n\n\n".join([*given, stub_of(exercise)]) + "\n"


def stub_of(exercise: Exercise) -> str:
    """The stub, as it goes into the learner's file."""
    return bare(exercise.stub_source())


def bare(source: str) -> str:
    """A function without annotations, or a class with NumPy's names in them: a learner's file has no need of our types."""
    source = textwrap.dedent(source).strip()
    function = ast.parse(source).body[0]
    if not isinstance(function, ast.FunctionDef):
        return re.sub(r"\bArray\b", "np.ndarray", source)
    for argument in ast.walk(function.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    body = source.splitlines()[function.body[0].lineno - 1 :]
    return "\n".join([f"def {function.name}({ast.unparse(function.args)}):", *body])


def about(exercise: Exercise) -> Text:
    """Where it is explained, how long it takes, what comes before it: a line."""
    before = ", ".join(exercise.presupposes)
    return Text(
        f"Notebook {exercise.notebook}, about {exercise.minutes} minutes{f'; presupposes {before}' if before else ''}.",
        f"笔记本 {exercise.notebook}，约 {exercise.minutes} 分钟{f'；先修 {before}' if before else ''}。",
    )


def _docstring(exercise: Exercise, speaking: str) -> str:
    text = Text(
        f"{exercise.title.en}\n\n{exercise.task.en.strip()}\n\n{_indented(exercise.equation)}\n\n{about(exercise).en}\n"
        f"Try it:  tinyresnet exercise check {exercise.name}.py\n",
        f"{exercise.title.zh}\n\n{exercise.task.zh.strip()}\n\n{_indented(exercise.equation)}\n\n{about(exercise).zh}\n"
        f"检查：tinyresnet exercise check {exercise.name}.py\n",
    )
    said = text.zh if speaking == "zh" else text.en
    return f'{"r" if chr(92) in said else ""}"""{said}"""'


def _indented(equation: str) -> str:
    return textwrap.indent(equation.strip(), "    ")


def start(name: str, folder: str | Path = ".") -> Path:
    """Writes NAME.py into the folder, which is made if need be. Raises FileExistsError: a file is never written over."""
    text = starting_file(get(name))
    path = Path(folder) / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "x", encoding="utf-8") as file:
        file.write(text)
    return path
