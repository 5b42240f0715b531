"""Every notebook runs from top to bottom without a warning, with the answers; some of the twins as the learner finds them.

That the twins have the same code is tested in test_sources.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from notebooks import build

pytest.importorskip("nbclient", reason="nbclient is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")
pytestmark = [pytest.mark.host_only, pytest.mark.slow]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TINYRESNET_PROGRESS", str(tmp_path / "progress.json"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("TINYRESNET_LANG", "en")
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):  # on busy cores its threads wait for each other
        monkeypatch.setenv(name, "1")


@pytest.mark.parametrize("source", build.sources("en"), ids=lambda path: path.stem)
def test_with_the_answers(source: Path) -> None:
    assert build.run(build.with_answers(build.notebook_of(source)), source.parent) == []


@pytest.mark.parametrize("source", build.sources("zh")[::3], ids=lambda path: path.stem)
def test_as_the_learner_finds_it(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYRESNET_LANG", "zh")
    notebook = build.notebook_of(source)
    assert build.run(notebook, source.parent) == []
    for cell in notebook.cells:
        if build.EXERCISE in cell.metadata.get("tags", []):
            shown = "".join(str(output.get("data", {}).get("text/plain", "")) for output in cell.outputs)
            assert "尚未编写" in shown, cell.source


def test_a_warning_and_an_error_are_found(tmp_path: Path) -> None:
    import nbformat
    from nbclient.exceptions import CellExecutionError

    warns = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import warnings; warnings.warn('here')")])
    assert "here" in build.run(warns, tmp_path)[0]
    wrong = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        build.run(wrong, tmp_path)
    source = tmp_path / "00_small.py"
    source.write_text(
        '# %% tags=["exercise"]\nfrom tinyresnet import exercises\n\n\ndef relu_backward(dy, saved):\n'
        '    raise NotImplementedError("no")\n\n\nexercises.check("relu_backward", relu_backward)\n'
    )
    answered = build.with_answers(build.notebook_of(source))
    answered.cells[0].source = answered.cells[0].source.replace("return exercises", "return 2 * exercises")
    with pytest.raises(CellExecutionError, match="not yet"):
        build.run(answered, tmp_path)
