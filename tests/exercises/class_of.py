"""A class of submissions, honest and hostile, as files in a folder; and a command called as from a shell."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import pytest

from tests.cli.outcome import Call, Outcome
from tinyresnet import cli
from tinyresnet.exercises.grading.grade import Graded, Mark

RIGHT = """
def relu_backward(dy, saved):
    dx = dy.copy()
    dx[~(saved.y > 0)] = 0
    return dx
"""
MASK_FROM_DY = """
def relu_backward(dy, saved):
    return dy * (dy > 0)
"""
STUB = """
def relu_backward(dy, saved):
    raise NotImplementedError("relu_backward is not written yet")
"""
COPY = """
def relu_backward(dy, saved):
    '''dx = dy where y > 0, else 0.'''
    return dy * (saved.y > 0)
"""


def caller(capsys: pytest.CaptureFixture[str]) -> Call:
    """call("exercise", "list", ...) -> Outcome."""

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        try:
            code = cli.main(list(map(str, arguments)))
        except SystemExit as left:
            code = int(left.code or 0)
        return Outcome(code, *capsys.readouterr())

    return call


def write(folder: Path, text: str, name: str = "relu_backward.py") -> Path:
    """A file of a submission."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(dedent(text).lstrip("\n"), encoding="utf-8")
    return path


def notebook(path: Path, *cells: str) -> Path:
    """A notebook of these code cells."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sources = [{"cell_type": "code", "source": cell.splitlines(keepends=True)} for cell in cells]
    path.write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": "def im2col(x)"}, *sources]}))
    return path


def graded_of(*marks: Mark, **students: tuple[str, ...]) -> Graded:
    """A graded class of these marks, and of students without any."""
    names = {mark.student: () for mark in marks} | students
    return Graded("<b>class</b>", names, list(marks), 1, ("<i>weak</i>",))
