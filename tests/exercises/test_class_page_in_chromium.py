"""The page of a class in a real browser: silent, asks nobody, fits a phone, and can be used by everybody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.report import axe
from tests.report.browser import Browser, chromium
from tinyresnet.exercises.catalogue import NAMES, load
from tinyresnet.exercises.grading.grade import Graded, Mark
from tinyresnet.report.class_page import class_page

pytestmark = [pytest.mark.slow, pytest.mark.host_only]

STATUSES = ("right", "wrong", "not written", "refused", "broken", "not graded")
STUDENTS = ("Ada", "李雷", "<script>document.title = 'owned'</script>", "x" * 200, "Émile Borel")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if chromium() is None:
        pytest.skip("Chromium is not installed")
    with Browser(tmp_path_factory.mktemp("profile")) as running:
        yield running


def full_class() -> Graded:
    """Everybody has handed in everything, and everything that can happen has happened."""
    marks = []
    for i, student in enumerate(STUDENTS):
        for j, name in enumerate(NAMES):
            mistake = load(name).mistakes[(i * j) % len(load(name).mistakes)]
            status = STATUSES[(i + j) % len(STATUSES)]
            symptom = "" if status == "right" else f"<img src=x onerror=\"document.title='owned'\"> {'long' * 60}"
            named = (mistake.name,) if status == "wrong" else ()
            marks.append(Mark(student, name, status, symptom, named, (mistake.why.en,) * len(named), 0.1, ("note",)))
    return Graded("a class", dict.fromkeys([*STUDENTS, "nobody"], ("no exercise",)), marks, 1, ("no Landlock",))


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("width", [360, 1200])
def test_the_page_of_a_class(
    width: int, language: str, browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYRESNET_LANG", language)
    (tmp_path / "class.html").write_text(class_page(full_class()), encoding="utf-8")
    page = browser.open((tmp_path / "class.html").as_uri(), width=width)
    page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true })")
    assert page.complaints == [] and page.evaluate("document.title") in ("Class: a class", "班级：a class")
    assert [url for url in page.requests if not url.startswith(("data:", tmp_path.as_uri()))] == []
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert page.evaluate("document.querySelectorAll('.signs tbody tr').length") == len(STUDENTS) + 1


@pytest.mark.parametrize("language", ["en", "zh"])
def test_axe_finds_no_serious_fault(
    language: str, browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYRESNET_LANG", language)
    without_policy = class_page(full_class()).replace(
        'http-equiv="Content-Security-Policy"', 'name="x"'
    )  # axe is a script
    (tmp_path / "class.html").write_text(without_policy, encoding="utf-8")
    page = browser.open((tmp_path / "class.html").as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true })")
    assert axe.faults(page) == []
