"""A learner's path in a real browser: open a notebook in JupyterLab, run it, do an exercise wrong, read what is said, do it right."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from notebooks import build
from tests.notebooks.lab import Lab
from tests.report.browser import Browser, Page, chromium

pytest.importorskip("jupyterlab", reason="jupyterlab is not installed")
pytestmark = [
    pytest.mark.host_only,
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="Chromium is not installed"),
]
NOTEBOOK = "07_relu_pooling_cross_entropy"
WRONG = "def relu_backward(dy, saved):\n    return dy * (dy > 0)\n"
RIGHT = "def relu_backward(dy, saved):\n    return dy * (saved.y > 0)\n"
READY = "window.jupyterapp?.shell.currentWidget?.context?.isReady"
CELLS = "jupyterapp.shell.currentWidget.content.widgets"
EVERY_CELL_HAS_RUN = f"{CELLS}.every(c => c.model.type !== 'code' || Number.isInteger(c.model.executionCount))"
IDLE = "jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status === 'idle'"


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """The notebook, in JupyterLab, in a folder of the learner's."""
    work = tmp_path / "work"
    work.mkdir()
    shutil.copy(build.HERE / f"{NOTEBOOK}.ipynb", work)
    for name in ("home", "profile"):
        (tmp_path / name).mkdir()
    with Lab(work, tmp_path / "home") as lab, Browser(tmp_path / "profile") as browser:
        page = browser.open(lab.url(f"{NOTEBOOK}.ipynb"), width=1400, height=1000)
        page.until(READY)
        page.until(IDLE)
        yield page


def picture(page: Page, name: str) -> None:
    """Kept where TINYRESNET_SCREENSHOTS names a folder: to be looked at."""
    if folder := os.environ.get("TINYRESNET_SCREENSHOTS"):
        shot = page._browser.call("Page.captureScreenshot", page._session, format="png")
        Path(folder, f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


def cell_of(page: Page, text: str) -> int:
    """The number of the code cell with this text."""
    found = page.evaluate(
        "jupyterapp.shell.currentWidget.content.widgets.findIndex("
        f"c => c.model.type === 'code' && c.model.sharedModel.getSource().includes({json.dumps(text)}))"
    )
    assert isinstance(found, int) and found >= 0
    return found


def write_and_run(page: Page, cell: int, source: str) -> None:
    """The whole of a cell is typed anew, as from a keyboard, and run with Shift and Enter."""
    page.evaluate(
        f"""(async () => {{
        const content = jupyterapp.shell.currentWidget.content;
        content.activeCellIndex = {cell};
        await content.scrollToItem({cell}, 'center');
        content.activeCell.editor.focus();
        content.mode = 'edit';
        await jupyterapp.commands.execute('notebook:enter-edit-mode');
        const editor = content.activeCell.editor;
        const last = editor.lineCount - 1;
        editor.setSelection({{start: {{line: 0, column: 0}}, end: {{line: last, column: editor.getLine(last).length}}}});
        }})()"""
    )
    page._browser.call("Input.insertText", page._session, text=source)
    typed = page.evaluate(f"jupyterapp.shell.currentWidget.content.widgets[{cell}].model.sharedModel.getSource()")
    assert typed.split() == source.split()
    page.evaluate(
        f"(async () => {{ jupyterapp.shell.currentWidget.content.activeCellIndex = {cell};"
        " await jupyterapp.commands.execute('notebook:run-cell'); })()"
    )
    page.until(IDLE)


def shown(page: Page, cell: int) -> str:
    """What stands under a cell."""
    text = page.evaluate(f"jupyterapp.shell.currentWidget.content.widgets[{cell}].outputArea.node.innerText")
    assert isinstance(text, str)
    return text


def until_shown(page: Page, cell: int, words: str) -> None:
    """Waits until these words stand under a cell: the kernel may be called idle before it has begun."""
    node = f"jupyterapp.shell.currentWidget.content.widgets[{cell}].outputArea.node"
    page.until(f"{node}.innerText.includes({json.dumps(words)})")


def test_an_exercise_done_wrong_and_then_right(page: Page) -> None:
    page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
    page.until(EVERY_CELL_HAS_RUN)
    page.until(IDLE)
    faults = page.evaluate(
        "jupyterapp.shell.currentWidget.content.widgets.filter(c => c.model.type === 'code')"
        ".flatMap(c => c.model.outputs.toJSON()).filter(o => o.output_type === 'error' || o.name === 'stderr').length"
    )
    assert faults == 0
    cell = cell_of(page, 'exercises.check("relu_backward"')
    until_shown(page, cell, "not yet")
    assert "not yet" in shown(page, cell) and "not written" in shown(page, cell)
    picture(page, "stub")

    check = '\n\nexercises.check("relu_backward", relu_backward)'
    write_and_run(page, cell, WRONG + check)
    until_shown(page, cell, "mask_from_dy")
    said = shown(page, cell)
    assert "not yet" in said and "mask_from_dy" in said and "2 more hints" in said
    colours = page.evaluate(
        f"jupyterapp.shell.currentWidget.content.widgets[{cell}].outputArea.node.querySelectorAll('td[style]').length"
    )
    assert colours > 4  # the heat map
    picture(page, "wrong")

    write_and_run(page, cell, RIGHT + check)
    until_shown(page, cell, "relu_backward: right")
    said = shown(page, cell)
    assert "relu_backward: right" in said and "train a ResNet on it" in said and "not yet" not in said
    picture(page, "right")
