"""What students hand in, before anything of it runs: folders, zips, notebooks, and files made to be hard to read."""

from __future__ import annotations

import os
import stat
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.exercises.class_of import MASK_FROM_DY, RIGHT, STUB, notebook, write
from tinyresnet import exercises
from tinyresnet.exercises.grading.collect import Stage
from tinyresnet.exercises.grading.grade import hand_in
from tinyresnet.exercises.grading.notebook import source_of
from tinyresnet.exercises.grading.work import STUB as NOT_WRITTEN
from tinyresnet.exercises.grading.work import TRY, one_each, works_in
from tinyresnet.exercises.submission import MOST_BYTES

pytestmark = pytest.mark.host_only


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYRESNET_LANG", "en")


def staged(path: Path, tmp_path: Path) -> Stage:
    stage = Stage(tmp_path / "stage")
    stage.take(path)
    return stage


def names_in(stage: Stage) -> list[str]:
    return sorted(path.relative_to(stage.folder).as_posix() for path in stage.folder.rglob("*") if not path.is_dir())


def zipped(path: Path, *files: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files:
            packed.writestr(name, content)
    return path


def test_a_zip_cannot_leave_its_folder(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link.py")
    link.external_attr, link.create_system = (stat.S_IFLNK | 0o777) << 16, 3
    names = ("/absolute.py", "../up.py", "a/../../up.py", "..\\up.py", "C:\\x.py", "c:x.py", "\\\\host\\x.py")
    bad = [(name, b"x = 1") for name in names]
    path = zipped(tmp_path / "z.zip", *bad, (link, b"/etc/passwd"), ("ok/good.py", b"x = 1"), ("a\\b.py", b"x = 1"))
    stage = staged(path, tmp_path)
    assert names_in(stage) == ["a/b.py", "ok/good.py"] and len(stage.left_out) == 5  # more are not listed
    assert {p.name for p in tmp_path.iterdir()} == {"z.zip", "stage"}


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    zeros = bytes(20 << 20)
    stage = staged(zipped(tmp_path / "z.zip", *((f"{n}.py", zeros) for n in range(9)), ("a.py", b"x = 1")), tmp_path)
    assert names_in(stage) == ["a.py"] or names_in(stage) == []
    assert sum(path.stat().st_size for path in stage.folder.rglob("*.py")) < 1 << 20
    assert any("too" in text.en for text in stage.left_out)


def test_more_files_than_anybody_writes_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinyresnet.exercises.grading.collect.MOST_FILES", 3)
    for n in range(5):
        write(tmp_path / "s", "x = 1", f"{n}.py")
    assert names_in(staged(tmp_path / "s", tmp_path)) == ["0.py", "1.py", "2.py"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", b"\0" * 1000])
def test_a_damaged_zip_is_said(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "z.zip").write_bytes(content)
    stage = staged(tmp_path / "z.zip", tmp_path)
    assert names_in(stage) == [] and "no zip that can be read" in stage.left_out[0].en


def test_a_damaged_stream_in_a_zip_costs_that_file(tmp_path: Path) -> None:
    path = zipped(tmp_path / "z.zip", ("a.py", RIGHT.encode() * 50), ("b.py", b"x = 1"))
    data = bytearray(path.read_bytes())
    data[60:70] = b"\xff" * 10
    path.write_bytes(data)
    stage = staged(path, tmp_path)
    assert "b.py" in names_in(stage) and "a.py" in stage.left_out[0].en


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
def test_links_and_pipes_in_a_folder_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "student"
    write(folder, RIGHT)
    (folder / "link.py").symlink_to("/etc/passwd")
    (folder / "up").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(folder / "pipe.py")  # opened as usual, it would wait for ever
    write(folder / "__pycache__", "x", "x.py")
    write(folder / ".hidden", "x", "x.py")
    stage = staged(folder, tmp_path)
    assert names_in(stage) == ["relu_backward.py"] and len(stage.left_out) == 3


def test_one_work_for_each_exercise(tmp_path: Path) -> None:
    write(tmp_path / "s" / "zh", STUB)
    write(tmp_path / "s", RIGHT, "all.py")
    write(tmp_path / "s", MASK_FROM_DY)
    stub = STUB.replace("relu_backward", "im2col").replace("(dy, saved)", "(x, kernel, stride, pads)")
    write(tmp_path / "s" / "only stubs", stub, "im2col.py")
    works = one_each(list(works_in(tmp_path / "s")))
    assert [(work.exercise, work.file, work.status) for work in works] == [
        ("im2col", "only stubs/im2col.py", NOT_WRITTEN),
        ("relu_backward", "relu_backward.py", TRY),
    ]
    assert "also in all.py" in works[1].notes[0].en


@pytest.mark.parametrize(
    "text",
    [
        b"x = " + b"(" * 100_000,
        b"x = " + b"-" * 100_000 + b"1",
        b"x = " + b"a." * 50_000 + b"b",
        b"x = " + b"+".join([b"1"] * 50_000),
        b"x = " + b"9" * 100_000,
        b"\xff\xfe\x00",
        b"# coding: no-such-coding\nx = 1",
        b"x = 1\0",
        b"#" * (MOST_BYTES + 1),
    ],
    ids=range(9),
)
def test_a_file_that_is_made_to_be_hard_to_read(text: bytes, tmp_path: Path) -> None:
    """Whatever the parser makes of it: this student has no right answer, the other one has."""
    (tmp_path / "class" / "evil").mkdir(parents=True)
    (tmp_path / "class" / "evil" / "relu_backward.py").write_bytes(text)
    write(tmp_path / "class" / "evil", MASK_FROM_DY, "second.py")
    handed = hand_in(tmp_path / "class" / "evil", tmp_path / "stage")
    assert all(work.status != TRY or work.file == "second.py" for work in handed.works)
    assert handed.works or handed.notes


# ---- notebooks -----------------------------------------------------------------------------------------------------------------
def test_a_notebooks_exercises_come_with_what_they_need_and_nothing_else(tmp_path: Path) -> None:
    cells = (
        "%matplotlib inline\nimport numpy as np\nimport no_such_module",
        "SCALE = 2 / 2\n\n\ndef half(x):\n    return x * SCALE\n",
        "while True:\n    pass",
        "this is not python",
        "from tinyresnet import exercises\n\n\n"
        "def relu_backward(dy, saved):\n    return half(np.where(saved.y > 0, dy, 0)).astype(dy.dtype)\n\n\n"
        "exercises.check('relu_backward', relu_backward)",
        "!ls\nhalf(3)",
    )
    source = source_of(notebook(tmp_path / "n.ipynb", *cells).read_bytes(), "n.ipynb").decode()
    assert source.startswith("import numpy as np\n") and "SCALE = 2 / 2" in source and "def half(x):" in source
    assert not any(word in source for word in ("while", "no_such_module", "check", "not python", "ls", "half(3)"))
    namespace: dict[str, Any] = {}
    exec(source, namespace)
    case = next(iter(exercises.get("relu_backward").cases(np.random.default_rng(0), np.float64)))
    dx = namespace["relu_backward"](*case.args)
    assert np.array_equal(dx, exercises.get("relu_backward").answer(*case.args))


def test_our_notebooks_have_stubs_alone(tmp_path: Path) -> None:
    written = Path(__file__).resolve().parents[2] / "notebooks" / "07_relu_pooling_cross_entropy.py"
    cells = [
        cell for cell in written.read_text(encoding="utf-8").split("# %%") if cell.startswith(' tags=["exercise"]')
    ]
    notebook(tmp_path / "s" / "07.ipynb", *(cell.partition("\n")[2] for cell in cells))
    works = list(works_in(tmp_path / "s"))
    assert len(works) == len(cells) > 1 and {work.status for work in works} == {NOT_WRITTEN}


@pytest.mark.parametrize("content", [b"", b"[]", b'{"cells": 3}', b'{"cells": [{}]}', b"[" * 100_000])
def test_what_is_no_notebook_is_said(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "n.ipynb").write_bytes(content)
    (work,) = works_in(tmp_path / "s")
    assert work.status == "unreadable" and work.problem is not None and "is no notebook" in work.problem.en
