"""`tinyresnet report`: writes the page and says where it is. What is on the page: tests/report."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.cli.outcome import Call, assert_refused
from tinyresnet.cli import report as command

pytest.importorskip("safetensors")
pytest.importorskip("tqdm")


def test_it_says_where_the_page_is(call: Call, tiny_run: Path) -> None:
    pytest.importorskip("matplotlib")
    shutil.copytree(tiny_run, "a run")
    code, out, err = call("report", "a run")
    assert (code, out, err) == (0, "report: a run/index.html\n", "")
    assert Path("a run/index.html").read_text(encoding="utf-8").rstrip().endswith("</html>")


def test_json(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "write_report", lambda folder, noticed: folder / "index.html")
    code, out, err = call("report", "运行", "--json")
    assert code == 0 and json.loads(out) == {"report": "运行/index.html"} and err == ""


def test_what_is_no_run(call: Call, empty_folder: Path) -> None:
    pytest.importorskip("matplotlib")
    assert_refused(call("report", "nowhere"), "nowhere is not the folder of a training run")
    assert list(empty_folder.iterdir()) == []


@pytest.mark.parametrize(("package", "extra"), [("matplotlib", "plot"), ("safetensors", "train")])
def test_a_missing_package_is_named(
    package: str, extra: str, call: Call, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(tiny_run.iterdir())
    monkeypatch.setitem(sys.modules, package, None)
    said = f'this needs {package}, which is not installed: pip install "tinyresnet[{extra}]"'
    assert_refused(call("report", tiny_run), said)
    assert sorted(tiny_run.iterdir()) == before
