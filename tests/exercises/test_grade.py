"""`tinyresnet exercise grade`: a class with honest and hostile students. What one does costs nobody else anything."""

from __future__ import annotations

import csv
import io
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cli.outcome import Call, assert_refused
from tests.exercises.class_of import MASK_FROM_DY, RIGHT, STUB, caller, graded_of, notebook, write
from tests.exercises.hostile import MORE, PYTHON, Student
from tests.report.html_page import read
from tinyresnet import exercises
from tinyresnet.exercises.grading import sandbox
from tinyresnet.exercises.grading.grade import Graded, Limits, Mark, grade
from tinyresnet.exercises.grading.sandbox import Ran
from tinyresnet.exercises.grading.table import as_csv, harmless
from tinyresnet.report.class_page import class_page, mistakes_of

pytestmark = pytest.mark.host_only
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="limits and locks are Linux's")
LIMITS = Limits(seconds=3, memory=256 << 20)
SECRET = "a-secret-that-no-mark-may-show"


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    return caller(capsys)


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYRESNET_LANG", "en")


# ---- a class ---------------------------------------------------------------------------------------------------------------
class Class(NamedTuple):
    """A class that has been graded."""

    graded: Graded
    outside: Path
    told: list[str]

    def mark(self, student: str) -> Mark:
        (mark,) = [mark for mark in self.graded.marks if mark.student == student]
        return mark


@pytest.fixture(scope="module")
def a_class(tmp_path_factory: pytest.TempPathFactory) -> Class:
    folder = tmp_path_factory.mktemp("graded") / "class"
    write(folder / "helper", "def mask(y):\n    return y > 0\n", "helper.py")
    notebook(folder / "notebook" / "07.ipynb", RIGHT)
    with zipfile.ZipFile(folder / "zipped.zip", "w") as packed:
        packed.writestr("deep/down/relu_backward.py", RIGHT)
        packed.writestr("../../escaped.py", RIGHT)
    write(folder, RIGHT, "alone.py")
    (folder / "empty").mkdir()
    found = graded_class(folder, PYTHON)
    assert not list(folder.parent.rglob("escaped.py"))
    return found


@pytest.fixture(scope="module")
def another_class(tmp_path_factory: pytest.TempPathFactory) -> Class:
    return graded_class(tmp_path_factory.mktemp("graded") / "class", MORE)


def graded_class(folder: Path, students: dict[str, Student]) -> Class:
    """Beside the class lies a file with a secret, which students know as OUTSIDE."""
    outside = folder.parent / "outside.txt"
    for student, (text, _, _) in students.items():
        write(folder / student, text.replace("OUTSIDE", repr(str(outside))))
    outside.write_text(SECRET)
    told: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINYRESNET_LANG", "en")
        graded = grade(folder, seed=1, jobs=2, limits=LIMITS, told=lambda student, marks: told.append(student))
    return Class(graded, outside, told)


@on_linux
@pytest.mark.parametrize("student", PYTHON)
def test_every_student_gets_their_own_mark(student: str, a_class: Class) -> None:
    mark, (_, status, diagnosis) = a_class.mark(student), PYTHON[student]
    assert (mark.status, mark.diagnosis) == (status, diagnosis), mark
    assert mark.exercise == "relu_backward" and mark.passed == (status == "right")


@on_linux
@pytest.mark.slow
@pytest.mark.parametrize("student", MORE)
def test_so_does_whoever_takes_longer(student: str, another_class: Class) -> None:
    mark, (_, status, diagnosis) = another_class.mark(student), MORE[student]
    assert (mark.status, mark.diagnosis) == (status, diagnosis), mark


@on_linux
@pytest.mark.parametrize("student", ["notebook", "zipped", "alone"])
def test_a_notebook_a_zip_and_a_single_file_are_submissions(student: str, a_class: Class) -> None:
    assert a_class.mark(student).status == "right"
    assert student != "notebook" or "from 07.ipynb" in a_class.mark(student).notes
    left_out = any("leads out of the zip" in note for note in a_class.graded.students[student])
    assert left_out == (student == "zipped")


@on_linux
def test_nothing_outside_was_read_or_written(a_class: Class) -> None:
    everything = as_csv(a_class.graded) + class_page(a_class.graded)
    assert "I have read: Outside; Outside" in a_class.mark("reader").symptom
    assert SECRET not in everything and "root:x:" not in everything
    assert a_class.outside.read_text() == SECRET and not Path("/tmp/tinyresnet-was-here").exists()
    assert not list(a_class.outside.parent.rglob("beside")) and not list(a_class.outside.parent.rglob("inside.txt"))


@on_linux
def test_what_the_text_shows_is_noted(a_class: Class) -> None:
    notes = {student: " ".join(a_class.mark(student).notes) for student in PYTHON}
    assert "calls our answer: relu_backward" in notes["wrapper"]
    assert "uses ctypes, os, signal" in notes["killer"] and "uses os, open" in notes["writer"]
    assert notes["right"] == notes["helper"] == notes["wrong"] == ""


@on_linux
def test_students_without_an_exercise_are_listed_and_all_are_told_in_order(a_class: Class) -> None:
    assert a_class.graded.students["empty"] == ("no exercise was found in it",)
    assert a_class.told == list(a_class.graded.students) and set(PYTHON) < set(a_class.told)


@on_linux
def test_the_mistakes_of_the_class_with_who_made_them(a_class: Class) -> None:
    by_name = {mistake.name: mistake for mistake in mistakes_of(a_class.graded)}
    assert by_name["mask_from_dy"].who == {s: ["relu_backward"] for s in ("patcher", "wrong", "wrong as well")}
    assert list(by_name)[:2] == ["mask_from_dy", "raises"] and set(by_name["raises"].who) == {
        "deep",
        "forker",
        "reader",
    }
    assert by_name["mask_from_dy"].why == exercises.get("relu_backward").mistake("mask_from_dy").why.en
    assert not {"not_written", "our_answer"} & set(by_name)


@on_linux
def test_the_table_and_the_page_hold_every_mark(a_class: Class) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(a_class.graded))))
    assert {row["student"]: row["status"] for row in rows if row["exercise"]} == {
        mark.student: mark.status for mark in a_class.graded.marks
    }
    assert sum(int(row["passed"] or 0) for row in rows) == sum(mark.passed for mark in a_class.graded.marks)
    page = class_page(a_class.graded)
    read(page)  # every element is closed
    for mark in a_class.graded.marks:
        assert mark.student in page
    assert "http" not in page.replace('http-equiv="Content', "") and "<script" not in page


@on_linux
def test_whoever_is_interrupted_leaves_nothing_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "class" / "a", RIGHT)
    write(tmp_path / "class" / "b", f"while True:\n    pass\n{RIGHT}")
    ended: list[Ran] = []
    real = sandbox.run
    monkeypatch.setattr(sandbox, "run", lambda *arguments: ended.append(real(*arguments)) or ended[-1])

    def interrupt(student: str, marks: list[Mark]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        grade(tmp_path / "class", seed=1, jobs=2, limits=Limits(30, 256 << 20), told=interrupt)
    assert [ran.reason for ran in ended] == ["", "stopped"]


# ---- words from outside ------------------------------------------------------------------------------------------------------
def test_what_students_write_is_text_in_the_page() -> None:
    evil = '<img src=x onerror=alert(1)>"&'
    mark = Mark(evil, "relu_backward", "wrong", evil, ("mask_from_dy",), (evil,), 0.1, (evil,))
    page = class_page(graded_of(mark, **{"<u>": ("<s>note</s>",)}))
    assert not any(tag in page for tag in ("<img", "<b>", "<i>", "<u>", "<s>"))
    assert page.count("&lt;img src=x onerror=alert(1)&gt;&quot;&amp;") >= 5
    read(page)


def test_the_page_is_in_the_teachers_language(monkeypatch: pytest.MonkeyPatch) -> None:
    graded = graded_of(Mark("阮", "relu_backward", "right"))
    assert 'lang="en"' in class_page(graded) and "One by one" in class_page(graded)
    monkeypatch.setenv("TINYRESNET_LANG", "zh")
    assert 'lang="zh-CN"' in class_page(graded) and "逐个学生" in class_page(graded)
    assert "One by one" not in class_page(graded)


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "  =1", "＝1", "－1"])
def test_no_cell_is_a_formula(cell: str) -> None:
    assert harmless(cell) == f"'{cell}" and harmless(f"a{cell}") == f"a{cell}"
    mark = Mark(cell, "relu_backward", "wrong", cell, (), (), 0.1, (cell,))
    (row,) = csv.DictReader(io.StringIO(as_csv(graded_of(mark))))
    assert [row[column][0] for column in ("student", "symptom", "note")] == ["'"] * 3


def test_names_that_are_no_unicode_can_be_written() -> None:
    assert b"caf?" in as_csv(graded_of(Mark("caf\udce9", "relu_backward", "right"))).encode()


# ---- the command ---------------------------------------------------------------------------------------------------------------
def test_the_command_writes_both_files_and_is_0_whatever_the_marks(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "class" / "阮", MASK_FROM_DY)
    code, out, err = call("exercise", "grade", "class", "--jobs", 1)
    grades = tmp_path / "class-grades"
    assert code == 0 and "阮: 0 of 1 right" in out and str(grades / "class.html") in out
    assert sorted(path.name for path in grades.iterdir()) == ["class.html", "results.csv"]
    (row,) = csv.DictReader(io.StringIO((grades / "results.csv").read_text(encoding="utf-8-sig")))
    assert (row["student"], row["passed"], row["diagnosis"]) == ("阮", "0", "mask_from_dy")
    assert sys.platform != "linux" or err == ""
    assert list(tmp_path.iterdir()) == [grades, tmp_path / "class"] or len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing"], "there is no folder missing"),
        (["file.py"], "must be a folder with a folder, a file or a zip"),
        (["none"], "has no folder, .py, .ipynb or .zip in it"),
        (["one"], "holds relu_backward.py itself; give the folder above"),
        (["class", "--out", "class/grades"], "--out must be outside class"),
        (["class", "--out", "class"], "--out must be outside class"),
        (["class", "--out", "file.py"], "--out must be a folder"),
        (["class", "--seconds", "0"], "--seconds must be positive, not 0"),
        (["class", "--memory", "-1"], "--memory must be positive"),
        (["class", "--jobs", "0"], "--jobs must be positive"),
        (["class", "--seed", "-1"], "--seed must be an integer >= 0"),
    ],
)
def test_what_cannot_be_graded_is_one_line_and_writes_nothing(
    arguments: list[str], said: str, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, RIGHT, "file.py")
    write(tmp_path / "one", RIGHT)
    write(tmp_path / "class" / "student", RIGHT)
    (tmp_path / "none").mkdir()
    before = sorted(tmp_path.rglob("*"))
    assert_refused(call("exercise", "grade", *arguments), said)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_machine_without_locks_is_told(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "class" / "student", STUB)
    monkeypatch.setattr("tinyresnet.exercises.grading.landlock.version", lambda: 0)
    monkeypatch.setattr("tinyresnet.exercises.grading.seccomp.architecture", lambda: None)
    code, _, err = call("exercise", "grade", "class")
    assert code == 0 and err.count("note: ") == 2 and "no Landlock" in err and "no seccomp" in err
    assert "no Landlock" in (tmp_path / "class-grades" / "class.html").read_text(encoding="utf-8")
