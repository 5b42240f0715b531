"""The notebooks' other forms: `python notebooks/build.py` writes the .ipynb beside each source, `... html FOLDER` runs them into pages.

A notebook's source is a Python file in the percent format (NN_name.py, its Chinese twin in zh/). jupytext pairs it with an .ipynb without
outputs, which is committed so that Jupyter, Colab and GitHub open it; both are the same cells, and a test says so.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LANGUAGES = {"en": HERE, "zh": HERE / "zh"}
EXERCISE = "exercise"  # the tag of a cell with a stub and its check
SECONDS = 240  # that a cell may take


def sources(language: str | None = None) -> list[Path]:
    """The notebooks' sources in their order; of both languages if none is given."""
    folders = LANGUAGES.values() if language is None else [LANGUAGES[language]]
    return [path for folder in folders for path in sorted(folder.glob("[0-9][0-9]_*.py"))]


def notebook_of(source: Path) -> Any:
    """The notebook of a source, without outputs. A cell's id is its number, so that it is the same each time it is made."""
    import jupytext

    notebook = jupytext.read(source)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:02d}"
    return notebook


def as_text(notebook: Any) -> str:
    """As it stands in the file."""
    import nbformat

    text: str = nbformat.writes(notebook)
    return text + "\n"


def write_all() -> list[Path]:
    """Writes every .ipynb whose source has changed; returns these."""
    written = []
    for source in sources():
        path, text = source.with_suffix(".ipynb"), as_text(notebook_of(source))
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            written.append(path)
    return written


# ---- exercises in them ------------------------------------------------------------------------------------------------------
def exercise_in(code: str) -> tuple[str, str]:
    """The name and the source of the stub in an exercise cell: the function whose name is checked in the last line."""
    checked = re.findall(r'exercises\.check\("(\w+)", (\w+)', code)
    if len(checked) != 1 or checked[0][0] != checked[0][1]:
        raise ValueError(f'an exercise cell must end with one exercises.check("NAME", NAME), but has {checked}')
    name = checked[0][0]
    found = [node for node in ast.parse(code).body if isinstance(node, ast.FunctionDef) and node.name == name]
    if len(found) != 1:
        raise ValueError(f"an exercise cell must define {name} once")
    source = ast.get_source_segment(code, found[0])
    assert source is not None
    return name, source


def with_answers(notebook: Any) -> Any:
    """The notebook as a learner has it in the end: each stub calls the answer, and its check must pass."""
    for cell in notebook.cells:
        if EXERCISE in cell.metadata.get("tags", []):
            name, stub = exercise_in(cell.source)
            head = stub.partition("raise NotImplementedError")[0].rstrip()
            names = ", ".join(argument.arg for argument in ast.parse(stub).body[0].args.args)  # type: ignore[attr-defined]
            answered = f'{head}\n    return exercises.get("{name}").answer({names})'
            passed = f'\n_result = exercises.check("{name}", {name}, progress=False)\nassert _result.passed, str(_result)\n_result'
            cell.source = (
                re.sub(r'\nexercises\.check\("\w+", \w+.*\)\s*$', "", cell.source.replace(stub, answered)) + passed
            )
    return notebook


def run(notebook: Any, folder: Path) -> list[str]:
    """Runs it from top to bottom, in `folder`, and puts the outputs in. Returns what it wrote to stderr: warnings, if any.

    (Not that kernels are being compiled, which is said where the cache is cold.)
    """
    from nbclient import NotebookClient

    NotebookClient(
        notebook,
        timeout=SECONDS,
        startup_timeout=180,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    ).execute()
    return [
        output["text"]
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "stream" and output.name == "stderr" and "compiling kernels" not in output["text"]
    ]


def write_pages(folder: Path) -> None:
    """Every notebook, run, as folder/NAME.html and folder/zh/NAME.html, and as .ipynb with its outputs."""
    import nbformat
    from nbconvert import HTMLExporter

    for source in sources():
        target = folder / source.relative_to(HERE).with_suffix(".html")
        target.parent.mkdir(parents=True, exist_ok=True)
        print(f"running {source.relative_to(HERE.parent)}", flush=True)
        notebook = notebook_of(source)
        for warning in run(notebook, source.parent):
            print(warning, file=sys.stderr)
        nbformat.write(notebook, target.with_suffix(".ipynb"))
        page, _ = HTMLExporter().from_notebook_node(notebook, resources={"metadata": {"name": source.stem}})
        target.write_text(page, encoding="utf-8")


def main(arguments: list[str]) -> int:
    """`build.py` pairs; `build.py html FOLDER` runs."""
    if not arguments:
        for path in write_all():
            print(f"written: {path.relative_to(HERE.parent)}")
        return 0
    if len(arguments) == 2 and arguments[0] == "html":
        write_pages(Path(arguments[1]))
        return 0
    print("usage: build.py | build.py html FOLDER", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
