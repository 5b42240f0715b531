"""`tinyresnet exercise list | show | start | check`: what a learner types, and what comes back in both languages."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

import pytest

from tests.cli.outcome import Call, assert_refused
from tests.exercises.class_of import COPY, MASK_FROM_DY, RIGHT, STUB, caller, write
from tinyresnet import exercises
from tinyresnet.exercises.catalogue import NAMES
from tinyresnet.exercises.progress import read_progress
from tinyresnet.exercises.start import starting_file, stub_of
from tinyresnet.exercises.submission import exercises_in, functions_in, parsed

pytestmark = pytest.mark.host_only


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    return caller(capsys)


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TINYRESNET_LANG", "en")
    monkeypatch.delenv("TINYRESNET_PROGRESS", raising=False)
    return tmp_path


# ---- list and show -------------------------------------------------------------------------------------------------------
def test_list_names_every_exercise_and_marks_those_that_are_done(call: Call, empty_folder: Path) -> None:
    done = {name: {"passed": name == "im2col", "tries": 1, "mistakes": {}} for name in ("im2col", "col2im")}
    (empty_folder / "tinyresnet-progress.json").write_text(json.dumps(done))
    code, out, err = call("exercise", "list")
    lines = out.splitlines()
    assert code == 0 and err == "" and len(lines) == len(NAMES) + 2 and lines[-1] == f"1 of {len(NAMES)} passed"
    marks = {
        line.split()[-1 - line.split()[::-1].index(name)]: line[0]
        for line in lines
        for name in NAMES
        if f"  {name} " in line
    }
    assert marks.pop("im2col") == "✓" and marks.pop("col2im") == "·" and set(marks.values()) == {" "}
    told = json.loads(call("exercise", "list", "--json").out)
    assert [row["name"] for row in told] == list(NAMES)
    assert [row["name"] for row in told if row["passed"]] == ["im2col"]
    assert all(row["minutes"] > 0 and len(row["notebook"]) == 2 and row["title"] for row in told)


def test_list_tells_of_a_progress_file_that_is_none(call: Call, empty_folder: Path) -> None:
    (empty_folder / "tinyresnet-progress.json").write_text("[1]")
    assert_refused(call("exercise", "list"), "tinyresnet-progress.json", "move it away")


@pytest.mark.parametrize(("language", "word"), [("en", "Notebook 07"), ("zh", "笔记本 07")])
def test_show_has_task_equation_and_stub(language: str, word: str, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYRESNET_LANG", language)
    exercise = exercises.get("relu_backward")
    code, out, err = call("exercise", "show", "relu_backward")
    assert code == 0 and err == "" and word in out
    for text in (str(exercise.title), str(exercise.task).strip(), exercise.equation, "def relu_backward(dy, saved):"):
        assert text in out


def test_show_of_no_exercise_says_what_is_near(call: Call) -> None:
    assert_refused(call("exercise", "show", "relu_backwards"), "did you mean relu_backward")


# ---- start ---------------------------------------------------------------------------------------------------------------
def test_start_writes_the_stub_and_never_over_a_file(call: Call, empty_folder: Path) -> None:
    code, out, err = call("exercise", "start", "relu_backward", "--folder", "mine")
    path = empty_folder / "mine" / "relu_backward.py"
    assert (code, out, err) == (0, f"{Path('mine') / 'relu_backward.py'}\n", "")
    found = functions_in(ast.parse(path.read_text(encoding="utf-8")))
    assert list(found) == ["relu_backward"] and found["relu_backward"].is_stub(exercises.get("relu_backward"))
    path.write_text("mine = 1\n")
    assert_refused(call("exercise", "start", "im2col", "relu_backward", "--folder", "mine"), "is there already")
    assert path.read_text() == "mine = 1\n" and list(path.parent.iterdir()) == [path]


def test_start_all_leaves_what_is_there(call: Call, empty_folder: Path) -> None:
    write(empty_folder / "mine", "mine = 1")
    code, out, err = call("exercise", "start", "--all", "--folder", "mine")
    assert code == 0 and err == "" and out.count("left as it is") == 1
    assert (empty_folder / "mine" / "relu_backward.py").read_text() == "mine = 1"
    assert {path.stem for path in (empty_folder / "mine").glob("*.py")} == set(NAMES)


@pytest.mark.parametrize("arguments", [(), ("--all", "im2col")])
def test_start_wants_names_or_all(arguments: tuple[str, ...], call: Call) -> None:
    assert_refused(call("exercise", "start", *arguments), "names of exercises, or --all")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_starting_file_runs_and_holds_the_stub_alone(name: str, language: str) -> None:
    """It defines nothing but what it needs: no name of ours is missing when it runs."""
    exercise, text = exercises.get(name), starting_file(exercises.get(name), language)
    namespace: dict[str, object] = {}
    exec(compile(text, name, "exec", dont_inherit=True), namespace)
    assert callable(namespace[name]) and stub_of(exercise) in text
    found = exercises_in(Path(f"{name}.py"), text.encode())
    assert list(found) == [name] and found[name].is_stub(exercise)
    assert str(exercise.task[language == "zh"]).strip() in text


# ---- check ---------------------------------------------------------------------------------------------------------------
def test_check_says_what_is_wrong_then_more_then_the_line(call: Call, empty_folder: Path) -> None:
    path = write(empty_folder, MASK_FROM_DY)
    exercise = exercises.get("relu_backward")
    told = [call("exercise", "check", path, "--hints", n) for n in (1, 2, 3)]
    assert [code for code, _, _ in told] == [1, 1, 1] and all(err == "" for *_, err in told)
    concept, line = exercise.outputs[0].concept.en, exercise.mistake("mask_from_dy").line.en
    assert all("✗ relu_backward" in out and "→ mask_from_dy" in out and ".hint()" not in out for _, out, _ in told)
    assert [concept in out for _, out, _ in told] == [False, True, True]
    assert [f"? {line}" in out for _, out, _ in told] == [False, False, True]
    assert ["--hints" in out for _, out, _ in told] == [True, True, False]
    assert read_progress()["relu_backward"] == {"passed": False, "tries": 3, "mistakes": {"mask_from_dy": 3}}


def test_check_of_a_right_file_is_0_and_noted(call: Call, empty_folder: Path) -> None:
    path = write(empty_folder, RIGHT)
    code, out, err = call("exercise", "check", path)
    assert code == 0 and "✓ relu_backward" in out and err == "" and read_progress()["relu_backward"]["passed"]
    told = json.loads(call("exercise", "check", path, "--json").out)
    assert [(row["name"], row["passed"], row["diagnosis"]) for row in told] == [("relu_backward", True, [])]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (STUB, "not_written"),
        (COPY, "our_answer"),
        ("from tinyresnet.ops import relu_backward\n", "our_answer"),
        ("from tinyresnet import exercises\nrelu_backward = exercises.get('relu_backward').answer\n", "our_answer"),
    ],
)
def test_the_stub_and_a_copy_of_ours_are_refused(text: str, name: str, empty_folder: Path) -> None:
    (result,) = exercises.check_file(write(empty_folder, text))
    assert not result.passed and result.diagnosis == [name]


def test_every_exercise_of_every_file_is_checked(call: Call, empty_folder: Path) -> None:
    bias = "def bias_add_backward(dy, saved):\n    return dy, dy.sum((0, 1, 2)).astype(dy.dtype)\n"
    both = write(empty_folder, f"{MASK_FROM_DY}\n{bias}", "work.py")
    code, out, _ = call("exercise", "check", both, write(empty_folder, RIGHT))
    assert code == 1
    assert [line.split()[1].rstrip(":") for line in out.splitlines() if line[0] in "✓✗"] == [
        "relu_backward",
        "bias_add_backward",
        "relu_backward",
    ]


def test_a_file_finds_its_neighbours_and_this_process_does_not(empty_folder: Path) -> None:
    write(empty_folder / "work", "def mask(y):\n    return (y > 0).astype(y.dtype)\n", "helpers.py")
    text = "from helpers import mask\n\ndef relu_backward(dy, saved):\n    return mask(saved.y) * dy\n"
    (result,) = exercises.check_file(write(empty_folder / "work", text))
    assert result.passed, result
    with pytest.raises(ModuleNotFoundError):
        __import__("helpers")


def test_without_limits_a_file_runs_here_and_leaves_no_trace(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """macOS and Windows: the same process, so that its imports would stay."""
    for module in ("limits", "check_file"):  # by sys.modules: the package has a function check_file
        monkeypatch.setattr(sys.modules[f"tinyresnet.exercises.{module}"], "HAS_LIMITS", False)
    text = "from helpers import K\n\ndef relu_backward(dy, saved):\n    import late\n    return K * dy * (saved.y > late.ZERO)\n"
    path = write(empty_folder / "work", text)
    write(empty_folder / "work", "ZERO = 0", "late.py")
    before, modules = list(sys.path), set(sys.modules)
    for k, passed in ((1, True), (2, False)):  # what is beside it is read anew each time
        write(empty_folder / "work", f"K = {k}\n{'#' * k}", "helpers.py")
        (result,) = exercises.check_file(path)
        assert result.passed == passed, result
    assert sys.path == before and not {"helpers", "late", "relu_backward"} & (set(sys.modules) - modules)


def test_a_check_at_the_end_of_the_file_is_not_run_again(empty_folder: Path) -> None:
    text = f"{RIGHT}\nfrom tinyresnet import exercises\nassert exercises.check('relu_backward', relu_backward).passed\n"
    (result,) = exercises.check_file(write(empty_folder, text))
    assert result.passed and read_progress()["relu_backward"]["tries"] == 1


def test_a_file_whose_top_level_loops_for_ever_is_stopped(empty_folder: Path) -> None:
    path = write(empty_folder, f"{RIGHT}\nwhile True:\n    pass\n")
    (result,) = exercises.check_file(path, seconds=0.5)
    assert result.diagnosis == ["too_slow"]


def test_an_error_while_the_file_runs_is_told_with_its_line(empty_folder: Path) -> None:
    folder = empty_folder / "tinyresnet"  # a learner's folder may well be called so
    (result,) = exercises.check_file(write(folder, f"{RIGHT}\nimport no_such_module\n"))
    assert result.diagnosis == ["raises"] and "no_such_module" in result.symptom and "line 6" in result.symptom


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("relu_backward.py", "def relu_backward(dy, saved:\n", "relu_backward.py, line 1 is not Python"),
        ("relu_backward.py", "x = '\0'\n", "relu_backward.py"),
        ("relu_backward.py", "x = " + "(" * 500 + ")" * 500, "is not Python"),
        ("relu_backward.py", "def relu_backwards(dy, saved):\n    pass\n", "no function relu_backward; is relu_backwards it?"),
        ("work.py", "def f():\n    pass\n", "work.py has no function with the name of an exercise"),
        ("work.py", "", "`tinyresnet exercise list` lists them"),
    ],
)  # fmt: skip
def test_a_file_with_nothing_to_check_is_one_line(
    name: str, text: str, said: str, call: Call, empty_folder: Path
) -> None:
    good = write(empty_folder / "good", RIGHT)
    assert_refused(call("exercise", "check", good, write(empty_folder, text, name)), said)  # before any file runs
    assert not (empty_folder / "tinyresnet-progress.json").exists()


def test_paths_that_are_no_files_are_one_line(call: Call, empty_folder: Path) -> None:
    assert_refused(call("exercise", "check", empty_folder), "is a folder; give the files")
    assert_refused(call("exercise", "check", "missing.py"), "missing.py: No such file or directory")
    assert_refused(call("exercise", "check", "relu_backward"), "did you mean relu_backward.py?")
    large = empty_folder / "relu_backward.py"
    large.write_bytes(b"#" * ((1 << 20) + 1))
    assert_refused(call("exercise", "check", large), "larger than a mebibyte")


def test_wrong_numbers_are_refused(call: Call, empty_folder: Path) -> None:
    path = write(empty_folder, RIGHT)
    assert_refused(call("exercise", "check", path, "--hints", 4), "--hints must be 1, 2 or 3, not 4")
    assert_refused(call("exercise", "check", path, "--seed", -1), "--seed must be an integer >= 0, not -1")


def test_what_is_found_in_a_file_is_read_off_its_text() -> None:
    text = """
if True:
    def im2col(x): ...
try:
    from fast import col2im
except ImportError:
    pass
def relu_backward(dy, saved): return 1
relu_backward = relu_backward
class softmax: ...
def helper():
    def momentum_step(): ...
"""
    found = functions_in(parsed(text.encode(), "work.py"))
    assert list(found) == [name for name in NAMES if name in {"im2col", "col2im", "relu_backward", "softmax"}]
    assert found["im2col"].function is not None and found["relu_backward"].function is None
