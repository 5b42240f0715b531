"""The notebooks as texts: twins with the same code, the catalogue's stubs, .ipynb that are their sources, nothing left in English."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

from docs.pages import BANNED
from notebooks import build
from tinyresnet.exercises.catalogue import NAMES, load

pytest.importorskip("jupytext", reason="jupytext is not installed")
pytestmark = pytest.mark.host_only
ENGLISH, CHINESE = build.sources("en"), build.sources("zh")
PREDICT = {"en": re.compile(r"\bPredict\b"), "zh": re.compile("预测")}
GOAL = {"en": re.compile(r"\*\*Goal"), "zh": re.compile(r"\*\*目标")}
CHINESE_LETTER = re.compile("[\u4e00-\u9fff]")


def stem(path: Path) -> str:
    return path.stem


def markdown(path: Path) -> list[str]:
    return [cell.source for cell in build.notebook_of(path).cells if cell.cell_type == "markdown"]


def code(path: Path) -> list[tuple[str, tuple[str, ...]]]:
    cells = build.notebook_of(path).cells
    return [(cell.source, tuple(cell.metadata.get("tags", ()))) for cell in cells if cell.cell_type == "code"]


def paragraphs(path: Path) -> list[str]:
    return [part for text in markdown(path) for part in re.split(r"\n\s*\n", text) if part.strip()]


def headings(path: Path) -> list[str]:
    return [match[1] for text in markdown(path) for match in re.finditer(r"^(#{1,6}) ", text, re.MULTILINE)]


def test_there_are_fourteen_and_each_has_a_twin() -> None:
    assert [path.stem[:2] for path in ENGLISH] == [f"{i:02d}" for i in range(14)]
    assert [path.name for path in ENGLISH] == [path.name for path in CHINESE]


@pytest.mark.parametrize("source", build.sources(), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_ipynb_is_its_source_without_outputs(source: Path) -> None:
    text = source.with_suffix(".ipynb").read_text(encoding="utf-8")
    assert text == build.as_text(build.notebook_of(source)), "run python notebooks/build.py"
    assert '"outputs": []' in text and '"output_type"' not in text and '"execution_count": null' in text


@pytest.mark.parametrize("english", ENGLISH, ids=stem)
def test_twins_have_the_same_code_headings_and_as_many_paragraphs(english: Path) -> None:
    chinese = build.LANGUAGES["zh"] / english.name
    assert code(english) == code(chinese)
    assert headings(english) == headings(chinese)
    kinds = [[cell.cell_type for cell in build.notebook_of(path).cells] for path in (english, chinese)]
    assert kinds[0] == kinds[1]
    assert len(paragraphs(chinese)) >= len(paragraphs(english))


def untranslated(paragraph: str) -> bool:
    """A paragraph of words without a Chinese letter; formulas, code, links' addresses and numbers are not words."""
    bare = re.sub(r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\]\([^)]*\)|<[^>]*>", "", paragraph, flags=re.DOTALL)
    return len(re.findall(r"[A-Za-z]{3,}", bare)) > 3 and not CHINESE_LETTER.search(bare)


@pytest.mark.parametrize("chinese", CHINESE, ids=stem)
def test_no_english_paragraph_is_left_and_no_machines_words(chinese: Path) -> None:
    assert [p for p in paragraphs(chinese) if untranslated(p)] == []
    text = "\n".join(markdown(chinese))
    assert [word for word in (*BANNED, "步幅", "移动平均", "批量归一化") if word in text] == []
    assert not any(CHINESE_LETTER.search(source) for source, _ in code(chinese))


@pytest.mark.parametrize("text", ["This was left in English by somebody.", "## Goal of this notebook and more"])
def test_a_paragraph_left_in_english_is_found(text: str) -> None:
    assert untranslated(text)
    assert not untranslated("$x = y$ `some code here and more`") and not untranslated("这里 use the word gamma here")


@pytest.mark.parametrize("source", build.sources(), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_each_states_its_goal_asks_for_predictions_and_ends_with_exercises(source: Path) -> None:
    language = "zh" if source.parent.name == "zh" else "en"
    text, cells = "\n".join(markdown(source)), code(source)
    assert text.startswith(f"# {source.stem[:2]}") and GOAL[language].search(text)
    assert len(PREDICT[language].findall(text)) >= 3
    assert "%pip install" in cells[0][0] and "setup" in cells[0][1]
    assert sum(build.EXERCISE in tags for _, tags in cells) >= 2
    assert any("plt." in body for body, _ in cells)


def test_the_first_cell_is_the_same_but_for_the_packages_it_asks_for() -> None:
    heads = {re.sub(r"for name in \([^)]*\)", "", code(path)[0][0]) for path in ENGLISH}
    assert len(heads) <= 2, heads


@pytest.mark.parametrize("source", ENGLISH, ids=stem)
def test_the_stubs_are_those_of_the_catalogue(source: Path) -> None:
    for body, tags in code(source):
        if build.EXERCISE in tags:
            name, stub = build.exercise_in(body)
            wanted = ast.parse(inspect.getsource(load(name).stub)).body[0]
            found = ast.parse(stub).body[0]
            assert isinstance(wanted, ast.FunctionDef) and isinstance(found, ast.FunctionDef)
            assert [a.arg for a in found.args.args] == [a.arg for a in wanted.args.args], name
            assert "raise NotImplementedError" in stub


def test_most_exercises_stand_in_the_notebook_that_they_name() -> None:
    standing = {
        build.exercise_in(body)[0]: path.stem[:2]
        for path in ENGLISH
        for body, tags in code(path)
        if build.EXERCISE in tags
    }
    assert set(standing) <= set(NAMES)
    assert all(load(name).notebook in {path.stem[:2] for path in ENGLISH} for name in NAMES)
    assert len(standing) >= 24, sorted(set(NAMES) - set(standing))
