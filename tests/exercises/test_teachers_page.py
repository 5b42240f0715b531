"""docs/teachers.md: its timetable has every exercise once, in an order that can be taught, and its commands are ours."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tinyresnet import cli, exercises
from tinyresnet.exercises.catalogue import NAMES
from tinyresnet.exercises.grading.table import COLUMNS

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = (DOCS / "teachers.md", DOCS / "zh" / "teachers.md")
pytestmark = [pytest.mark.host_only, pytest.mark.parametrize("page", PAGES, ids=["en", "zh"])]

ROW = re.compile(r"^\| (\d+) \| (\d\d) [^|]+\| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def timetable(text: str) -> list[tuple[int, str, list[str], str]]:
    """(session, notebook, exercises, minutes) of each row."""
    return [(int(s), n, list(re.findall(r"`(\w+)`", names)), m) for s, n, names, m in ROW.findall(text)]


def problems(text: str) -> list[str]:
    """What is wrong with the timetable."""
    rows = timetable(text)
    taught = [name for _, _, names, _ in rows for name in names]
    found = [f"{name}: {taught.count(name)} times" for name in NAMES if taught.count(name) != 1]
    if [(s, n) for s, n, _, _ in rows] != [(k + 1, f"{k:02}") for k in range(14)]:
        found.append("not the fourteen notebooks in their order")
    for session, _, names, minutes in rows:
        total = sum(exercises.get(name).minutes for name in names)
        if minutes != (str(total) if total else "–"):
            found.append(f"session {session}: {minutes} minutes, and its exercises take {total}")
    for at, name in enumerate(taught):
        found += [f"{name} before {o}" for o in exercises.get(name).presupposes if o not in taught[:at]]
    return found


def test_the_timetable_can_be_taught(page: Path) -> None:
    assert problems(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("`im2col`", "`col2im`", "im2col: 0 times"),
        ("| 10 |\n", "| 11 |\n", "11 minutes, and its exercises take 10"),
        ("`relu_backward`", "`batch_norm_graph`", "batch_norm_graph before bias_add_backward"),
        ("| 3 | 02", "| 3 | 03", "fourteen notebooks"),
    ],
)
def test_planted_mistakes_in_the_timetable(old: str, new: str, said: str, page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert old in text and any(said in problem for problem in problems(text.replace(old, new, 1)))


def test_its_commands_and_columns_are_ours(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    commands = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    assert len(commands) == 2
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "tinyresnet" and cli._parser().parse_args(arguments).command == "exercise"
    table = text.partition("results.csv** ")[2]
    assert re.findall(
        r"`(\w+)`", " ".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))
    ) == list(COLUMNS)
