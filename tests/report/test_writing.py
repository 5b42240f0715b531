"""Writing a report: at every moment the folder has one that is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.report.reports import compose
from tests.report.runs import fake_run, log
from tinyresnet.report import write

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def old_and_new(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """Two reports of one run, (page, pictures) each; all pictures of curves differ."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    return compose(fake_run(folder)), compose(fake_run(folder, metrics=log(30, 3)))


def test_a_new_report_replaces_the_old_one_whole(old_and_new: tuple[Any, Any], tmp_path: Path) -> None:
    folder, ((text, files), (again, other)) = tmp_path / "mine", old_and_new
    page = write.place(folder, text, files)
    assert page == folder / "index.html"
    foreign = folder / "pictures" / "mine.png"
    foreign.write_bytes(b"a user's own")
    (folder / "pictures" / ".loss.0123456789.png.abc_1.part").write_bytes(b"left by a report that was killed")
    write.place(folder, again, other)
    there = {f"pictures/{path.name}" for path in (folder / "pictures").iterdir()}
    assert there == {*other, "pictures/mine.png"}
    assert set(files) != set(other)
    assert page.read_text(encoding="utf-8") == again
    assert all((folder / file).read_bytes() == png for file, png in other.items())


@pytest.mark.parametrize("fails_at", [0, 3, -1])
def test_a_report_that_is_interrupted_leaves_the_old_one_whole(
    fails_at: int, old_and_new: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder, ((text, files), (again, other)) = tmp_path / "mine", old_and_new
    page = write.place(folder, text, files)
    replace, calls = write.os.replace, []

    def failing(source: Any, target: Any) -> None:
        if len(calls) == fails_at % (len(other) + 1):
            raise OSError("no space left on device")
        calls.append(target)
        replace(source, target)

    monkeypatch.setattr(write.os, "replace", failing)
    with pytest.raises(OSError, match="no space"):
        write.place(folder, again, other)
    assert page.read_text(encoding="utf-8") == text
    assert all((folder / file).read_bytes() == png for file, png in files.items())
    assert not list(folder.rglob("*.part"))


def test_the_same_run_gives_the_same_report(old_and_new: tuple[Any, Any], tmp_path: Path) -> None:
    assert compose(fake_run(tmp_path / "mine")) == old_and_new[0]
