"""The learner's half of `tinyresnet exercise`: list, show, start, check. What it prints is in the reader's language."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from .. import exercises
from ..exercises.catalogue import NAMES
from ..exercises.language import Text
from ..exercises.progress import read_progress
from ..exercises.result import CheckResult
from ..exercises.start import about, start, stub_of
from .exits import FAILED


def add(actions: Any) -> list[argparse.ArgumentParser]:
    """Four actions."""
    return [_add_list(actions), _add_show(actions), _add_start(actions), _add_check(actions)]


# ---- list --------------------------------------------------------------------------------------------------------------
def _add_list(actions: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser("list", help="all exercises, and which of them are done")
    parser.add_argument("--json", action="store_true", help="print one JSON array")
    parser.set_defaults(act=list_exercises)
    return parser


def list_exercises(arguments: argparse.Namespace) -> int:
    """A line an exercise, marked if it is passed; 0."""
    done, every = read_progress(), exercises.all()
    rows = [
        {
            "number": number,
            "name": exercise.name,
            "title": str(exercise.title),
            "minutes": exercise.minutes,
            "notebook": exercise.notebook,
            "presupposes": list(exercise.presupposes),
            "passed": bool(done.get(exercise.name, {}).get("passed")),
            "tries": int(done.get(exercise.name, {}).get("tries", 0)),
        }
        for number, exercise in enumerate(every, 1)
    ]
    if arguments.json:
        print(json.dumps(rows, ensure_ascii=False))
        return 0
    head = Text("    notebook  minutes  name", "    笔记本    分钟     名称")
    print(head)
    for row in rows:
        mark = "✓" if row["passed"] else "·" if row["tries"] else " "
        print(
            f"{mark} {row['number']:2}     {row['notebook']}  {row['minutes']:7}  {row['name']:<36}{row['title']}".rstrip()
        )
    passed = sum(bool(row["passed"]) for row in rows)
    print(Text(f"{passed} of {len(rows)} passed", f"已通过 {passed}/{len(rows)}"))
    return 0


# ---- show --------------------------------------------------------------------------------------------------------------
def _add_show(actions: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser("show", help="the task of an exercise, and its stub")
    parser.add_argument("name", metavar="NAME", help="of an exercise, as conv2d_backward")
    parser.set_defaults(act=show)
    return parser


def show(arguments: argparse.Namespace) -> int:
    """Title, task, equation, what it presupposes, stub; 0."""
    exercise = exercises.get(arguments.name)
    print(f"{exercise.name}: {exercise.title}\n\n{str(exercise.task).strip()}\n")
    print("\n".join(f"    {line}" for line in exercise.equation.strip().splitlines()))
    print(f"\n{about(exercise)}\n\n{stub_of(exercise)}\n")
    command = f"tinyresnet exercise start {exercise.name}"
    print(Text(f"`{command}` writes it into a file.", f"`{command}` 把它写成一个文件。"))
    return 0


# ---- start -------------------------------------------------------------------------------------------------------------
def _add_start(actions: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser("start", help="write the file of an exercise, to work in")
    parser.add_argument("names", nargs="*", metavar="NAME", help="of an exercise")
    parser.add_argument("--all", action="store_true", help="every exercise; files that are there are left alone")
    parser.add_argument("--folder", metavar="FOLDER", default=".", help="where to (default: the working folder)")
    parser.set_defaults(act=start_files)
    return parser


def start_files(arguments: argparse.Namespace) -> int:
    """Writes NAME.py for each; 0. If one that was named is there already, nothing is written."""
    folder, names = Path(arguments.folder), tuple(dict.fromkeys(arguments.names))
    if bool(names) == arguments.all:
        raise ValueError(
            str(Text("give the names of exercises, or --all and no names", "请给出练习名，或者只用 --all 而不给练习名"))
        )
    for name in names:
        exercises.get(name)
        if (folder / f"{name}.py").exists():
            path = folder / f"{name}.py"
            raise FileExistsError(
                str(Text(f"{path} is there already and is left as it is", f"{path} 已经存在，未作改动"))
            )
    for name in names or NAMES:
        try:
            print(start(name, folder))
        except FileExistsError:
            if names:  # made by somebody else a moment ago
                raise
            print(Text(f"{folder / f'{name}.py'} (left as it is)", f"{folder / f'{name}.py'}（已存在，未作改动）"))
    return 0


# ---- check -------------------------------------------------------------------------------------------------------------
def _add_check(actions: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        "check", help="is it right, and if not, what was done? 0 if everything is right, else 1"
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="a file with a function named after an exercise")
    parser.add_argument(
        "--hints",
        type=int,
        metavar="N",
        default=1,
        help="1 what was seen, 2 also the idea behind it, 3 also the line (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, metavar="N", default=0, help="of the inputs (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON array")
    parser.set_defaults(act=check)
    return parser


def check(arguments: argparse.Namespace) -> int:
    """Checks every exercise of every file. Files that cannot be read are told before any other runs."""
    if arguments.hints not in (1, 2, 3):
        raise ValueError(f"--hints must be 1, 2 or 3, not {arguments.hints}")
    if arguments.seed < 0:
        raise ValueError(f"--seed must be an integer >= 0, not {arguments.seed}")
    paths = [Path(name) for name in arguments.files]
    for path in paths:
        _readable(path)
    results = []
    for path in paths:
        for result in exercises.check_file(path, seed=arguments.seed):
            results.append(result)
            result.shown = arguments.hints
            if not arguments.json:
                print(as_text(result))
    if arguments.json:
        print(json.dumps([as_json(result) for result in results], ensure_ascii=False))
    return 0 if all(result.passed for result in results) else FAILED


def _readable(path: Path) -> None:
    from ..exercises.submission import exercises_in, read_source

    if not path.exists() and path.name in NAMES:
        raise FileNotFoundError(
            str(Text(f"there is no file {path}; did you mean {path}.py?", f"没有文件 {path}；是不是 {path}.py？"))
        )
    exercises_in(path, read_source(path))


def as_text(result: CheckResult) -> str:
    """As `check` shows it in Python, with the hints that were asked for."""
    hints = [] if result.passed else result.hints[1 : result.shown]
    more = "" if result.passed or result.shown > 2 else str(_MORE)
    parts = [_without_python_hint(result), *(f"  ? {hint}" for hint in hints), more]
    return "\n".join(part for part in parts if part)


_MORE = Text(
    "  --hints 2 adds the idea behind it, --hints 3 the line", "  --hints 2 给出背后的原理，--hints 3 再给出那一行代码"
)


def _without_python_hint(result: CheckResult) -> str:
    """`.hint()` is for Python; here it is an option."""
    shown, result.shown = result.shown, len(result.hints)
    try:
        return str(result)
    finally:
        result.shown = shown


def as_json(result: CheckResult) -> dict[str, Any]:
    """The same for a program. Numbers that are none are null."""
    return {
        "name": result.name,
        "passed": result.passed,
        "symptom": result.symptom,
        "diagnosis": result.diagnosis,
        "hints": result.hints[: result.shown],
        "error": result.error if result.error == result.error else None,
        "seconds": result.seconds,
    }
