"""Progress is a JSON file in the folder one works in; it never costs a result, and no file of somebody else's is written over."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tinyresnet import exercises
from tinyresnet.exercises.progress import FILE, read_progress, record

pytestmark = pytest.mark.host_only


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TINYRESNET_PROGRESS", raising=False)
    return tmp_path


def right(dy: Any, saved: Any) -> Any:
    return dy * (saved.y > 0)


def test_tries_and_mistakes_are_kept(folder: Path) -> None:
    exercises.check("relu_backward", lambda dy, saved: dy * (dy > 0))
    assert read_progress()["relu_backward"] == {"passed": False, "tries": 1, "mistakes": {"mask_from_dy": 1}}
    exercises.check("relu_backward", right)
    exercises.check("relu_backward", lambda dy, saved: dy * (dy > 0))  # passed once is passed
    assert json.loads((folder / FILE).read_text()) == {
        "relu_backward": {"passed": True, "tries": 3, "mistakes": {"mask_from_dy": 2}}
    }
    assert [path.name for path in folder.iterdir()] == [FILE]


def test_no_try_is_lost_among_threads(folder: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: record("relu_backward", True, []), range(64)))
    assert read_progress()["relu_backward"]["tries"] == 64
    assert [path.name for path in folder.iterdir()] == [FILE]


def test_none_is_kept_where_none_is_wanted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exercises.check("relu_backward", right, progress=False)
    monkeypatch.setenv("TINYRESNET_PROGRESS", "")
    exercises.check("relu_backward", right)
    assert list(folder.iterdir()) == []
    monkeypatch.setenv("TINYRESNET_PROGRESS", "mine.json")
    exercises.check("relu_backward", right)
    assert [path.name for path in folder.iterdir()] == ["mine.json"]


@pytest.mark.parametrize(
    "text", ["not JSON", "[1, 2]", '{"relu_backward": 3}', '{"relu_backward": {"passed": 1}}', "\xff"]
)
def test_a_file_that_is_something_else_is_left_alone(folder: Path, text: str) -> None:
    (folder / FILE).write_bytes(text.encode("latin-1"))
    result = exercises.check("relu_backward", right)
    assert result.passed and "progress was not kept" in str(result) and "move it away" in str(result)
    assert (folder / FILE).read_bytes() == text.encode("latin-1")
    with pytest.raises(ValueError, match="move it away to begin anew"):
        read_progress()


def test_a_folder_that_cannot_be_written_costs_no_result(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYRESNET_PROGRESS", str(folder / "nowhere" / "progress.json"))
    assert exercises.check("relu_backward", right).passed
    with pytest.raises(OSError, match="nowhere"):
        record("relu_backward", True, [])
