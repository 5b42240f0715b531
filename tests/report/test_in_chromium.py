"""The report in a real browser: it is silent, asks nobody for anything, fits a phone, and can be used by everybody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.report import axe
from tests.report.browser import Browser, Page, chromium
from tests.report.reports import compose
from tests.report.runs import ODD, fake_run, log
from tinyresnet.report.write import place

pytestmark = [pytest.mark.slow, pytest.mark.host_only]

KINDS: dict[str, dict[str, Any]] = {
    "classify": {},
    "segment": {"task": "segment", "shape": (33, 33, 1)},
    "odd names": {"names": ODD, "shape": (12, 8, 3)},
    "many classes": {"names": tuple(f"class number {i}" for i in range(40))},
    "unfinished, data gone": {"metrics": log(3, 0, ended=False), "missing": OSError("a/very/long/path/" * 20)},
}
UNDECODED = "[...document.images].filter(i => !(i.complete && i.naturalWidth > 0)).map(i => i.src)"
TOO_WIDE = "document.documentElement.scrollWidth - innerWidth"
LANG = "document.documentElement.lang"
SHOWN = "document.querySelector('main').innerText"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if chromium() is None:
        pytest.skip("Chromium is not installed")
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(running: Browser) -> Iterator[Browser]:
    yield running
    running.close_pages()


@pytest.fixture(scope="module", params=KINDS)
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("runs") / "a run"
    return place(folder, *compose(fake_run(folder, **KINDS[request.param])))


def asked_others(page: Page, folder: Path) -> list[str]:
    own = (folder.as_uri() + "/", "data:")
    return [url for url in page.requests if not url.startswith(own)]


# ---- the report ---------------------------------------------------------------------------------------------------------
def test_it_is_silent_and_whole_and_asks_nobody(browser: Browser, report: Path) -> None:
    page = browser.open(report.as_uri())
    assert page.complaints == []
    assert page.evaluate(UNDECODED) == []
    assert page.evaluate("document.images.length") > 0
    assert asked_others(page, report.parent) == []
    assert len(page.requests) > page.evaluate("document.images.length") / 2


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("width", [360, 1200])
def test_it_fits_and_axe_finds_no_serious_fault(width: int, language: str, browser: Browser, report: Path) -> None:
    page = browser.open(f"{report.as_uri()}#{language}", width=width)
    assert page.evaluate("innerWidth") == width
    page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true })")
    assert page.evaluate(TOO_WIDE) <= 0
    assert axe.faults(page) == []


def test_the_keyboard_changes_the_language(browser: Browser, report: Path) -> None:
    page = browser.open(report.as_uri())
    assert page.evaluate(LANG) == "en"
    assert "学习" not in page.evaluate(SHOWN)
    for _ in range(10):
        page.press("Tab")
        if page.evaluate("document.activeElement.hash") == "#zh":
            break
    page.press("Enter")
    page.until(f"{LANG} === 'zh-CN'")
    assert "学习曲线" in page.evaluate(SHOWN)
    assert "Learning curves" not in page.evaluate(SHOWN)
    assert page.evaluate("document.title").startswith("训练报告")
    assert page.evaluate("[...document.images].every(i => /[\\u4e00-\\u9fff]/.test(i.alt))")
    assert page.evaluate("document.querySelector('.languages [aria-current]').hash") == "#zh"
    assert page.complaints == []


def test_the_address_remembers_the_language(browser: Browser, report: Path) -> None:
    page = browser.open(report.as_uri() + "#zh-curves")
    assert page.evaluate(LANG) == "zh-CN"
    top = "document.getElementById('zh-curves').getBoundingClientRect().top"
    assert abs(page.evaluate(top)) < 100, "the section is not at the top of the window"
    links = page.evaluate(
        "[...document.querySelectorAll('nav.contents a')].filter(a => a.offsetParent).map(a => a.hash)"
    )
    assert links
    assert all(link.startswith("#zh-") for link in links)


def test_the_first_thing_the_keyboard_reaches_skips_to_the_contents(browser: Browser, report: Path) -> None:
    page = browser.open(report.as_uri())
    page.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip en"
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0, (
        "it has the focus and cannot be seen"
    )
    page.press("Enter")
    page.until("document.activeElement.tagName === 'MAIN'")


# ---- planted faults -----------------------------------------------------------------------------------------------------
GOOD = "<!doctype html><html lang='en'><title>t</title><main><h1>words</h1>{}</main></html>"


def planted(browser: Browser, tmp_path: Path, body: str, width: int = 360) -> Page:
    file = tmp_path / "page.html"
    file.write_text(GOOD.format(body), encoding="utf-8")
    return browser.open(file.as_uri(), width=width)


def test_planted_faults_are_noticed(browser: Browser, tmp_path: Path) -> None:
    assert planted(browser, tmp_path, "<script>console.error('x')</script>").complaints != []
    assert planted(browser, tmp_path, "<script>nothing.there()</script>").complaints != []
    page = planted(browser, tmp_path, "<img src='none.png' alt='x'>")
    assert page.evaluate(UNDECODED) != []
    page = planted(browser, tmp_path, "<img src='http://127.0.0.1:9/x.png' alt='x'>")
    assert asked_others(page, tmp_path) == ["http://127.0.0.1:9/x.png"]
    assert planted(browser, tmp_path, "<div style='width: 400px'>wide</div>").evaluate(TOO_WIDE) > 0
    assert planted(browser, tmp_path, "<div>narrow</div>").evaluate(TOO_WIDE) <= 0


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("<p style='color:#999'>grey on white</p>", "color-contrast"),
        ("<img src='data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA='>", "image-alt"),
        ("<a href='#x'></a>", "link-name"),
        ("<p>fine</p>", ""),
    ],
)
def test_planted_faults_are_found_by_axe(body: str, fault: str, browser: Browser, tmp_path: Path) -> None:
    found = axe.faults(planted(browser, tmp_path, body))
    assert any(text.startswith(fault) for text in found) if fault else found == []
