"""`tinyresnet exercise pack`: everything for a class in one file, and no answers in it."""

from __future__ import annotations

import ast
import io
import json
import zipfile
from pathlib import Path

import pytest

from tests.cli.outcome import Call, assert_refused
from tests.exercises.class_of import caller
from tinyresnet import exercises
from tinyresnet.exercises import pack
from tinyresnet.exercises.catalogue import NAMES
from tinyresnet.exercises.start import starting_file
from tinyresnet.exercises.submission import functions_in

pytestmark = pytest.mark.host_only
CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    return caller(capsys)


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TINYRESNET_LANG", "en")
    return tmp_path


def answers_in(files: dict[str, bytes]) -> list[str]:
    """Functions in it that are our answer, or a written one under an exercise's name in a stub."""
    found = []
    for path, content in files.items():
        if path.endswith(".py"):
            for name, its in functions_in(ast.parse(content)).items():
                exercise = exercises.get(name)
                if its.is_ours(exercise) or (path.startswith("exercises/") and not its.is_stub(exercise)):
                    found.append(f"{path}: {name}")
    return found


def test_the_zip_has_stubs_notebooks_a_page_and_an_empty_progress_file(call: Call, empty_folder: Path) -> None:
    code, out, err = call("exercise", "pack")
    with zipfile.ZipFile(empty_folder / "tinyresnet-exercises.zip") as packed:
        assert packed.testzip() is None
        files = {name: packed.read(name) for name in packed.namelist()}
    notebooks = sorted(path for path in files if path.startswith("notebooks/"))
    assert code == 0 and err == "" and f"{len(NAMES)} exercises, {len(notebooks)} notebook files" in out
    assert {path for path in files if path.startswith("exercises/")} == {f"exercises/{name}.py" for name in NAMES}
    assert files["exercises/relu_backward.py"].decode() == starting_file(exercises.get("relu_backward"), "en")
    assert json.loads(files["tinyresnet-progress.json"]) == {}
    assert "tinyresnet exercise check" in files["README.md"].decode()
    assert {path for path in notebooks if path.endswith(".py")} == {
        f"notebooks/{path.name}" for path in (CHECKOUT / "notebooks").glob("[0-9]*.py")
    }
    assert len(files) == len(NAMES) + len(notebooks) + 2


def test_no_answer_is_in_it_and_one_would_be_found() -> None:
    files = pack.contents("both")
    assert answers_in(files) == []
    ours = "def relu_backward(dy, saved):\n    '''dx = dy where y > 0, else 0.'''\n    return dy * (saved.y > 0)\n"
    planted = {"exercises/relu_backward.py": ours.encode(), "notebooks/07.py": ours.encode()}
    assert answers_in(files | planted) == [
        "exercises/relu_backward.py: relu_backward",
        "notebooks/07.py: relu_backward",
    ]


@pytest.mark.parametrize(
    ("speaking", "english", "chinese"),
    [
        ("en", "exercises/im2col.py", None),
        ("zh", None, "exercises/im2col.py"),
        ("both", "exercises/im2col.py", "exercises/zh/im2col.py"),
    ],
)
def test_the_language_of_tasks_and_notebooks(speaking: str, english: str | None, chinese: str | None) -> None:
    files, task = pack.contents(speaking), exercises.get("im2col").task
    for path, text in ((english, task.en), (chinese, task.zh)):
        assert path is None or text.strip() in files[path].decode()
    assert ("notebooks/00_shapes.py" in files) == (english is not None)
    assert ("notebooks/zh/00_shapes.py" in files) == (chinese is not None)
    assert any(path.startswith("exercises/zh/") for path in files) == (speaking == "both")


def test_the_same_bytes_twice_whatever_the_clock_says(
    call: Call, empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("exercise", "pack", "--out", "a.zip").code == 0
    monkeypatch.setattr("time.time", lambda: 2e9)
    assert call("exercise", "pack", "--out", "b.zip").code == 0
    assert (empty_folder / "a.zip").read_bytes() == (empty_folder / "b.zip").read_bytes()
    shuffled = dict(reversed(pack.contents("en").items()))
    assert pack.as_zip(shuffled) == (empty_folder / "a.zip").read_bytes()


def test_it_does_not_write_over_a_file_and_leaves_nothing_half_written(
    call: Call, empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (empty_folder / "mine.zip").write_bytes(b"mine")
    assert_refused(call("exercise", "pack", "--out", "mine.zip"), "mine.zip is there already")
    assert_refused(call("exercise", "pack", "--out", "no/such/folder.zip"), "No such file or directory")

    def disk_is_full(_: dict[str, bytes]) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pack, "as_zip", disk_is_full)
    assert_refused(call("exercise", "pack", "--out", "new.zip"), "No space left")
    assert [(path.name, path.read_bytes()) for path in empty_folder.iterdir()] == [("mine.zip", b"mine")]


def test_a_file_that_somebody_puts_there_meanwhile_is_left_alone(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = pack.as_zip

    def slow(files: dict[str, bytes]) -> bytes:
        (empty_folder / "new.zip").write_bytes(b"somebody's")
        return real(files)

    monkeypatch.setattr(pack, "as_zip", slow)
    with pytest.raises(FileExistsError, match="new.zip is there already"):
        pack.pack(empty_folder / "new.zip", "en")
    assert [(path.name, path.read_bytes()) for path in empty_folder.iterdir()] == [("new.zip", b"somebody's")]


def test_without_a_checkout_it_says_that_notebooks_are_missing(
    call: Call, empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "ROOT", empty_folder)
    code, out, err = call("exercise", "pack")
    assert code == 0 and "0 notebook files" in out and "without notebooks" in err and err.count("\n") == 1


def test_an_unpacked_stub_can_be_checked(call: Call, empty_folder: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(pack.as_zip(pack.contents("en")))) as packed:
        packed.extractall(empty_folder)
    code, out, _ = call("exercise", "check", "exercises/relu_backward.py")
    assert code == 1 and "not written yet" in out
    assert json.loads((empty_folder / "tinyresnet-progress.json").read_text())["relu_backward"]["tries"] == 1
