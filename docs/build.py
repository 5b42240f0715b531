"""Draws the figures anew, checks every page, and writes the site: `python docs/build.py`, or `make docs`.

    docs/figures/*.svg     drawn by the scripts beside them
    site/                  every page as HTML, and every source file that a page links to; open site/index.html

Exits with 1, after all problems are named, if a snippet fails, a link or picture is missing, a picture has no alt text, or the English
and the Chinese page differ in anything but words. Needs the extra `docs` (markdown-it-py, Pygments, matplotlib).
"""

from __future__ import annotations

import html
import importlib
import os
import re
import shutil
import sys
from pathlib import Path

import pages
from markdown_it import MarkdownIt
from markdown_it.token import Token
from pages import ROOT, Page
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import TextLexer, get_lexer_by_name, guess_lexer_for_filename
from pygments.util import ClassNotFound

SITE = ROOT / "site"
FIGURES = ROOT / "docs" / "figures"

STYLE = """
body { margin: 0 auto; max-width: 52rem; padding: 1rem 1.2rem 4rem; color: #222; background: #fff; line-height: 1.6;
       font-family: system-ui, "Noto Sans CJK SC", "Source Han Sans SC", "Microsoft YaHei", "PingFang SC", sans-serif; }
h1, h2, h3 { line-height: 1.25; } h2 { margin-top: 2.6rem; border-bottom: 1px solid #ddd; padding-bottom: .2rem; }
a { color: #0059a8; } img { max-width: 100%; }
code, pre { font-family: ui-monospace, "DejaVu Sans Mono", Consolas, monospace; font-size: .88em; }
code { background: #f3f5f7; padding: .1em .25em; border-radius: 3px; } pre code { padding: 0; background: none; }
pre { background: #f3f5f7; padding: .8rem 1rem; overflow-x: auto; border-radius: 5px; line-height: 1.45; }
.table { overflow-x: auto; margin: 1em 0; } table { border-collapse: collapse; }
th, td { border: 1px solid #d5d9dd; padding: .3rem .6rem; text-align: left; vertical-align: top; }
th { background: #f3f5f7; }
"""


# ---- figures -------------------------------------------------------------------------------------------------------------
def draw_figures() -> list[Path]:
    """Runs every script of docs/figures that has a `draw`; returns the pictures' paths."""
    sys.path.insert(0, str(FIGURES))
    drawing = importlib.import_module("drawing")
    names = sorted(path.stem for path in FIGURES.glob("*.py") if path.stem != "drawing")
    return [drawing.save(importlib.import_module(name).draw(), name) for name in names]


# ---- checks --------------------------------------------------------------------------------------------------------------
def problems_of(page: Page) -> list[str]:
    """All that is wrong with a page. A Chinese page's code is its English twin's, and runs there."""
    found = [*pages.check_links(page), *pages.check_words(page), *pages.check_quotes(page)]
    chinese = page.path.startswith("docs/zh/") or page.path == "README.zh-CN.md"
    if pages.has_running_code(page) and not chinese:
        found += pages.run_snippets(page)
    twin = pages.twin_of(page)
    if twin is not None and not (ROOT / twin).exists():
        found.append(f"{page.path} has no Chinese twin {twin}")
    elif twin is not None:
        found += pages.check_twins(page, pages.read(twin))
    return found


# ---- HTML ----------------------------------------------------------------------------------------------------------------
def coloured(code: str, tongue: str) -> str:
    """Code as HTML; a tongue that Pygments does not know is plain text."""
    try:
        lexer = get_lexer_by_name(tongue) if tongue else TextLexer()
    except ClassNotFound:
        lexer = TextLexer()
    return str(highlight(code, lexer, HtmlFormatter(nowrap=True)))


def target_in_site(page: Page, target: str) -> str:
    """A link's target as it is in the site: pages and source files have become .html."""
    file, hash_sign, anchor = target.partition("#")
    if pages.is_external(target) or not file or (ROOT / pages.resolve(page, file)).suffix in (".svg", ".png"):
        return target
    return (file.removesuffix(".md") if file.endswith(".md") else file) + ".html" + hash_sign + anchor


def page_as_html(page: Page) -> str:
    parser = MarkdownIt("commonmark", {"highlight": lambda code, tongue, _: coloured(code, tongue)}).enable("table")
    tokens = parser.parse(page.text)
    names = iter(pages.anchors(page))
    for token in tokens:
        if token.type == "heading_open":
            token.attrSet("id", next(names))
        for child in token.children or []:
            redirect(child, page)
    body = parser.renderer.render(tokens, parser.options, {})
    body = body.replace("<table>", '<div class="table"><table>').replace("</table>", "</table></div>")
    title = pages.headings(page)[0][1] if pages.headings(page) else page.path
    return document(title.replace("`", ""), body, "zh-CN" if "zh" in page.path else "en")


def redirect(token: Token, page: Page) -> None:
    for attribute in ("href", "src"):
        if attribute in token.attrs:
            token.attrSet(attribute, target_in_site(page, str(token.attrs[attribute])))


def source_as_html(path: str) -> str:
    text = (ROOT / path).read_text(encoding="utf-8")
    try:
        lexer = guess_lexer_for_filename(path, text)
    except ClassNotFound:
        lexer = TextLexer()
    body = highlight(text, lexer, HtmlFormatter(linenos="inline", lineanchors="L", anchorlinenos=True))
    return document(path, f"<h1><code>{html.escape(path)}</code></h1>{body}", "en")


def document(title: str, body: str, tongue: str) -> str:
    colours = HtmlFormatter(style="friendly").get_style_defs("pre")
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title>'
    )
    return f'<!doctype html>\n<html lang="{tongue}"><head>{head}<style>{STYLE}{colours}</style></head>\n<body>\n{body}</body></html>\n'


def write(path: str, text: str) -> None:
    (SITE / path).parent.mkdir(parents=True, exist_ok=True)
    (SITE / path).write_text(text, encoding="utf-8")


def write_site(every: list[Page]) -> None:
    """Every page, every picture, and every other file that a page links to. Notebooks, if `make notebooks` wrote them, stay."""
    others: set[str] = set()
    for page in every:
        write(page.path.removesuffix(".md") + ".html", page_as_html(page))
        for target in [*pages.links(page), *(target for _, target in pages.images(page))]:
            path = pages.resolve(page, target.partition("#")[0])
            if not pages.is_external(target) and not path.endswith(".md") and (ROOT / path).is_file():
                others.add(path)
    for path in sorted(others):
        if path.endswith((".svg", ".png")):
            (SITE / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, SITE / path)
        else:
            write(path + ".html", source_as_html(path))
    write(
        "index.html",
        '<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url=docs/README.html">\n',
    )


def dead_links() -> list[str]:
    """What the HTML of the site points to and the site does not have."""
    found = []
    for path in sorted(SITE.rglob("*.html")):
        for target in re.findall(r'(?:href|src)="([^"]*)"', path.read_text(encoding="utf-8")):
            file = target.partition("#")[0]
            if file and not pages.is_external(target) and not (path.parent / file).exists():
                found.append(f"{path.relative_to(ROOT)}: {target} is not in the site")
    return found


def main() -> int:
    os.chdir(ROOT)
    print(f"{len(draw_figures())} figures drawn")
    every = pages.all_pages()
    problems = [problem for page in every for problem in problems_of(page)]
    print(*problems, sep="\n", end="\n" if problems else "")
    if problems:
        print(f"{len(problems)} problems in {len(every)} pages; no site written")
        return 1
    write_site(every)
    problems = dead_links()
    print(*problems, sep="\n", end="\n" if problems else "")
    print(f"{len(every)} pages checked and written; open {(SITE / 'index.html').relative_to(ROOT)}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
