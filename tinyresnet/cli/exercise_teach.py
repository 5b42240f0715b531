"""The teacher's half of `tinyresnet exercise`: pack, grade."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from ..exercises.grading.grade import NOT_GRADED, Mark, grade, weaknesses
from ..exercises.grading.sandbox import Limits
from ..exercises.grading.table import as_csv
from ..exercises.language import Text, language
from ..exercises.limits import MEMORY, SECONDS
from ..exercises.pack import LANGUAGES, notebooks_folder, pack
from ..report.class_page import class_page
from ..report.write import put

TABLE, PAGE = "results.csv", "class.html"


def add(actions: Any) -> list[argparse.ArgumentParser]:
    """Two actions."""
    return [_add_pack(actions), _add_grade(actions)]


# ---- pack --------------------------------------------------------------------------------------------------------------
def _add_pack(actions: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser("pack", help="a zip of stubs and notebooks for a class")
    parser.add_argument("--out", metavar="FILE.zip", default="tinyresnet-exercises.zip", help="(default: %(default)s)")
    parser.add_argument("--language", choices=LANGUAGES, help="of tasks and notebooks (default: yours)")
    parser.set_defaults(act=pack_exercises)
    return parser


def pack_exercises(arguments: argparse.Namespace) -> int:
    """Writes the zip; 0."""
    files = pack(arguments.out, arguments.language or language())
    stubs = sum(path.startswith("exercises/") for path in files)
    notebooks = sum(path.startswith("notebooks/") for path in files)
    said = Text(f"{stubs} exercises, {notebooks} notebook files", f"{stubs} 个练习，{notebooks} 个笔记本文件")
    print(f"{arguments.out}: {said}")
    if notebooks_folder() is None:
        note = Text(
            "note: without notebooks, which are not part of the installed package: run this in a checkout",
            "注意：未含笔记本，安装包中没有它们；请在源码目录中运行本命令",
        )
        print(note, file=sys.stderr)
    return 0


# ---- grade -------------------------------------------------------------------------------------------------------------
def _add_grade(actions: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser("grade", help="grade the submissions of a class")
    parser.add_argument("folder", metavar="FOLDER", help="with a folder, a file or a zip for each student")
    parser.add_argument("--out", metavar="DIR", help=f"for {TABLE} and {PAGE} (default: FOLDER-grades)")
    parser.add_argument("--seed", type=int, metavar="N", default=1, help="of the inputs (default: %(default)s)")
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="how many at a time (default: a processor each, 4 at most)"
    )
    parser.add_argument(
        "--seconds", type=float, metavar="S", default=SECONDS, help="for each exercise (default: %(default)s)"
    )
    parser.add_argument(
        "--memory", type=int, metavar="MIB", default=MEMORY >> 20, help="for each exercise (default: %(default)s)"
    )
    parser.set_defaults(act=grade_class)
    return parser


def grade_class(arguments: argparse.Namespace) -> int:
    """Grades, and writes the table and the page; 0 whatever the marks."""
    folder = Path(arguments.folder)
    out = Path(arguments.out) if arguments.out else folder.resolve().with_name(f"{folder.resolve().name}-grades")
    jobs = arguments.jobs if arguments.jobs is not None else min(4, os.cpu_count() or 1)
    _refuse_bad(arguments, folder, out, jobs)
    for weakness in weaknesses():
        print(Text(f"note: {weakness}", f"注意：{weakness}"), file=sys.stderr)
    graded = grade(
        folder,
        seed=arguments.seed,
        jobs=jobs,
        limits=Limits(arguments.seconds, arguments.memory << 20),
        told=_tell,
    )
    out.mkdir(parents=True, exist_ok=True)
    put(out / TABLE, as_csv(graded).encode("utf-8-sig"))  # with its mark, so that a spreadsheet reads it as UTF-8
    put(out / PAGE, class_page(graded).encode())
    if ungraded := sum(mark.status == NOT_GRADED for mark in graded.marks):
        why = next(mark.symptom for mark in graded.marks if mark.status == NOT_GRADED)
        print(Text(f"note: {ungraded} answers: {why}", f"注意：{ungraded} 份答案：{why}"), file=sys.stderr)
    print(out / TABLE)
    print(out / PAGE)
    return 0


def _tell(student: str, marks: list[Mark]) -> None:
    right = sum(mark.passed for mark in marks)
    shown = "".join(c if c.isprintable() else "?" for c in student)  # a name may be made to move the cursor
    print(Text(f"{shown}: {right} of {len(marks)} right", f"{shown}：{right}/{len(marks)} 正确"), flush=True)


def _refuse_bad(arguments: argparse.Namespace, folder: Path, out: Path, jobs: int) -> None:
    """Before anything runs."""
    for name, value in (("--jobs", jobs), ("--seconds", arguments.seconds), ("--memory", arguments.memory)):
        if not value > 0:
            raise ValueError(f"{name} must be positive, not {value}")
    if arguments.seed < 0:
        raise ValueError(f"--seed must be an integer >= 0, not {arguments.seed}")
    if not folder.exists():
        raise FileNotFoundError(f"there is no folder {folder}")
    if out.resolve() == folder.resolve() or folder.resolve() in out.resolve().parents:
        raise ValueError(f"--out must be outside {folder}: the grades would be a student the next time")
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"--out must be a folder, and {out} is none")
