"""Commands that are printed to be copied: the shell reads them back as what they were."""

from __future__ import annotations

import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from tinyresnet.cli import shell

FOLDERS = [
    "runs/a", "a b", "it's", 'say "no"', "$HOME", "`ls`", "a;b", "a\\b", "*", "-x", "--out", "运行", "a\nb", "a\tb", "é", "~", "!1",
]  # fmt: skip


def read_by(program: str, command: str) -> list[str]:
    done = subprocess.run(
        [program, "-c", f"printf '%s\\0' {command}"], capture_output=True, check=True, env={"LC_ALL": "C", "PATH": ""}
    )
    return done.stdout.decode("utf-8").split("\0")[:-1]


def pretend(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    console = SimpleNamespace(encoding=encoding)
    monkeypatch.setattr(
        shell, "sys", SimpleNamespace(stdout=console, stderr=console, argv=["tinyresnet"], modules={"__main__": 0})
    )


@pytest.mark.parametrize("folder", FOLDERS, ids=repr)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_a_shell_reads_the_very_folder(folder: str, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, encoding)
    text = shell.quoted(Path(folder))
    text.encode(encoding)  # it can be printed
    program = "/bin/bash" if text.startswith("$'") else "/bin/sh"
    if not Path(program).exists():
        pytest.skip(f"this needs {program}")
    (read,) = read_by(program, text)
    assert Path(read) == Path(folder) and not read.startswith("-")
    assert "\n" not in text


def test_plain_names_stay_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "utf-8")
    assert shell.quoted("runs/demo-2") == "runs/demo-2" and shell.quoted("运行") == "'运行'"
    assert shell.resuming(Path("runs/a b")) == "tinyresnet train --resume 'runs/a b'"
    assert shell.reporting(Path("x")) == "tinyresnet report x"


def test_bytes_that_are_no_utf_8_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "utf-8")
    assert shell.quoted("a\udcff") == "$'a\\xff'"


# ---- how it was started --------------------------------------------------------------------------------------------------------
@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Where the shell would find which program."""
    table: dict[str, str] = {}
    monkeypatch.setattr(shell.shutil, "which", table.get)
    return table


@pytest.mark.parametrize(
    ("started", "on_the_path", "said"),
    [
        ("/usr/bin/tinyresnet", "/usr/bin/tinyresnet", "tinyresnet"),
        (".venv/bin/tinyresnet", None, ".venv/bin/tinyresnet"),
        ("my env/bin/tinyresnet", "/usr/bin/tinyresnet", "'my env/bin/tinyresnet'"),
        ("/usr/bin/jupyter", None, "tinyresnet"),
        ("", None, "tinyresnet"),
    ],
)
def test_by_its_own_name(
    started: str, on_the_path: str | None, said: str, found: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if on_the_path:
        found["tinyresnet"] = on_the_path
    monkeypatch.setattr(sys, "argv", [started])
    assert shell.program() == said


@pytest.mark.parametrize("on_the_path", [True, False])
def test_by_python(on_the_path: bool, found: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    main = ModuleType("__main__")
    main.__spec__ = ModuleSpec("tinyresnet.__main__", None)
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(sys, "executable", "/opt/py/bin/python")
    if on_the_path:
        found["python"] = "/opt/py/bin/python"
    assert shell.program() == ("python" if on_the_path else "/opt/py/bin/python") + " -m tinyresnet"
