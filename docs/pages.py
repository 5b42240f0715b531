"""What the pages of this project must keep to: code that runs, links that lead somewhere, twins that agree.

Each checker takes a page (or two) and returns a list of problems, one sentence each; an empty list is a good page. docs/build.py
and tests/pages/test_docs.py use them. Standard library only, but for the snippets themselves.
"""

from __future__ import annotations

import ast
import itertools
import re
import sys
import warnings
from collections.abc import Iterator
from contextvars import copy_context
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
ENGLISH_ONLY = ("docs/design.md", "docs/results.md")
BANNED = (
    "剩余",
    "快捷键",
    "快捷方式",
    "全球平均",
    "频道",
    "要素地图",
    "批量范数",
    "身份映射",
)  # what machines make of the terms

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
HEADING = re.compile(r"^(#{1,6}) (.+)$", re.MULTILINE)
TABLE_ROW = re.compile(r"^\|.*\|$")
EXPECTED = re.compile(r"#\s*->\s?(.*)$")
WARNS = re.compile(r"#.*\bwarns (\w+)")


class Page(NamedTuple):
    """A Markdown file: its path from the root of the repository, and its text."""

    path: str  # "docs/zh/backends.md"
    text: str

    @property
    def prose(self) -> str:
        """The text with all code blanked out, line for line: what links, headings and words are looked for in."""
        blank = FENCE.sub(lambda m: "\n" * m.group(0).count("\n"), self.text)
        return re.sub(r"`[^`\n]*`", lambda m: "`" + "x" * (len(m.group(0)) - 2) + "`", blank)


class Snippet(NamedTuple):
    """A ```python block; `output` is the ```text block right under it, which then must be all that it prints."""

    line: int  # of its first line of code in the page
    code: str
    output: str | None


def read(path: str, root: Path = ROOT) -> Page:
    return Page(path, (root / path).read_text(encoding="utf-8"))


def all_pages(root: Path = ROOT) -> list[Page]:
    """Every page a reader may open, the front pages first."""
    found = [
        *sorted(root.glob("*.md")),
        *sorted((root / "docs").rglob("*.md")),
        *sorted((root / "notebooks").glob("*.md")),
    ]
    return [read(path.relative_to(root).as_posix(), root) for path in found]


def has_running_code(page: Page) -> bool:
    """CONTRIBUTING shows skeletons, CHANGELOG nothing: docs/ and the READMEs promise that their code runs."""
    return page.path.startswith(("docs/", "README"))


# ---- snippets ------------------------------------------------------------------------------------------------------------
def snippets(page: Page) -> list[Snippet]:
    found: list[Snippet] = []
    end = -1  # where the fence before ended
    for match in FENCE.finditer(page.text):
        tongue, body = match.groups()
        if tongue == "python":
            found.append(Snippet(page.text.count("\n", 0, match.start(2)) + 1, body, None))
        elif tongue == "text" and found and not page.text[end : match.start()].strip():
            found[-1] = found[-1]._replace(output=body)
        end = match.end()
    return found


def _plain(text: str) -> str:
    """Without what may differ from machine to machine: rounding errors, milliseconds, spaces at the ends of lines."""
    text = re.sub(r"\d(?:\.\d+)?e-(?:0[89]|[1-9]\d)\b", "tiny", text)
    text = re.sub(r" *\d+\.\d+ ms\b", " ? ms", text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def same_output(expected: str, got: str) -> bool:
    """Equal but for rounding errors (1.2e-11), times (0.3 ms) and whatever stands where `expected` has `...`."""
    pattern = ".*".join(map(re.escape, _plain(expected).split("...")))
    return re.fullmatch(pattern, _plain(got), re.DOTALL) is not None


def run_snippets(page: Page) -> list[str]:
    """Runs the page's code from top to bottom, each snippet on top of those before it, and compares what it prints."""
    import tinyresnet
    from tinyresnet.slim import reset_default_variables

    backend = tinyresnet.get_backend()
    try:
        return copy_context().run(_run, page)
    finally:
        tinyresnet.set_backend(backend)
        reset_default_variables()


def _run(page: Page) -> list[str]:
    namespace: dict[str, Any] = {"__name__": "snippet"}
    for snippet in snippets(page):
        problems = _run_one(page, snippet, namespace)
        if problems:
            return problems  # the snippets below build on this one
    return []


def _run_one(page: Page, snippet: Snippet, namespace: dict[str, Any]) -> list[str]:
    printed: list[tuple[int, str]] = []
    namespace["print"] = lambda *values: printed.append((sys._getframe(1).f_lineno, " ".join(map(str, values))))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            # The empty lines make errors and `f_lineno` name the line of the page.
            exec(compile("\n" * (snippet.line - 1) + snippet.code, page.path, "exec"), namespace)
        except Exception as error:
            return [f"{page.path}:{_line_of(error, page, snippet)}: {type(error).__name__}: {error}"]
    return [f"{page.path}:{problem}" for problem in _compare(snippet, printed, [w.category.__name__ for w in caught])]


def _line_of(error: Exception, page: Page, snippet: Snippet) -> int:
    if isinstance(error, SyntaxError) and error.lineno is not None:
        return error.lineno
    frames, traceback = [], error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == page.path:
            frames.append(traceback.tb_lineno)
        traceback = traceback.tb_next
    return frames[-1] if frames else snippet.line


def _compare(snippet: Snippet, printed: list[tuple[int, str]], warned: list[str]) -> Iterator[str]:
    """What the snippet says it prints and warns of, against what it did."""
    for number, line in enumerate(snippet.code.splitlines(), snippet.line):
        expected = EXPECTED.search(line)
        if expected:
            got = "\n".join(text for where, text in printed if where == number)
            if not same_output(expected.group(1), got):
                yield f"{number}: says it prints {expected.group(1)!r}, but prints {got!r}"
    if snippet.output is not None and not same_output(snippet.output, got := "\n".join(text for _, text in printed)):
        yield f"{snippet.line}: the output under it is not what it prints, which is\n{got}"
    announced = WARNS.findall(snippet.code)
    if announced != warned:
        yield f"{snippet.line}: says it warns of {announced}, but warns of {warned}"


def check_quotes(page: Page, root: Path = ROOT) -> list[str]:
    """A ```py block is quoted from our own code, and must stand there still, word for word (spaces and line ends apart)."""
    quotes = [
        (page.text.count("\n", 0, m.start()) + 1, m.group(2)) for m in FENCE.finditer(page.text) if m.group(1) == "py"
    ]
    if not quotes:
        return []
    code = ["".join(path.read_text(encoding="utf-8").split()) for path in sorted((root / "tinyresnet").rglob("*.py"))]
    missing = [line for line, quote in quotes if not any("".join(quote.split()) in text for text in code)]
    return [f"{page.path}:{line}: what is quoted here does not stand in tinyresnet/" for line in missing]


# ---- links and images ----------------------------------------------------------------------------------------------------
def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading, and that docs/build.py gives it as well."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
    return re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")


def headings(page: Page) -> list[tuple[int, str]]:
    """(level, text) of each heading, in order."""
    text = FENCE.sub(lambda m: "\n" * m.group(0).count("\n"), page.text)
    return [(len(level), title.strip()) for level, title in HEADING.findall(text)]


def anchors(page: Page) -> list[str]:
    """Of each heading, in order; a second one of the same text gets -1, as on GitHub."""
    seen: dict[str, int] = {}
    found = []
    for _, title in headings(page):
        name = slug(title)
        count = seen.get(name, 0)
        seen[name] = count + 1
        found.append(f"{name}-{count}" if count else name)
    return found


def images(page: Page) -> list[tuple[str, str]]:
    """(alt text, target) of each image."""
    return IMAGE.findall(page.prose)


def links(page: Page) -> list[str]:
    """The targets of all links."""
    return [target for _, target in LINK.findall(page.prose)]


def is_external(target: str) -> bool:
    return re.match(r"[a-z]+:", target) is not None


def resolve(page: Page, target: str) -> str:
    """A relative target as a path from the root of the repository; "" for one that leaves it."""
    parts: list[str] = list(Path(page.path).parent.parts)
    for part in target.split("/"):
        if part == ".." and not parts:
            return ""
        if part == "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def check_links(page: Page, root: Path = ROOT) -> list[str]:
    """Every relative link and image exists, also the heading after a #, and every image has an alt text that says something."""
    problems = []
    for target in [*links(page), *(target for _, target in images(page))]:
        if is_external(target):
            continue
        file, _, anchor = target.partition("#")
        path = resolve(page, file) if file else page.path
        if file and not (path and (root / path).exists()):
            problems.append(f"{page.path}: {target} does not exist")
        elif anchor and path.endswith(".md"):
            aim = page if path == page.path else read(path, root)
            if anchor not in anchors(aim):
                problems.append(f"{page.path}: {target}: {path} has no heading with the anchor #{anchor}")
    for alt, target in images(page):
        if len(alt.split()) < 4 and len(re.findall(r"[\u4e00-\u9fff]", alt)) < 8:
            problems.append(f"{page.path}: the image {target} has no alt text that says what it shows")
    return problems


# ---- twins ---------------------------------------------------------------------------------------------------------------
def twin_of(page: Page) -> str | None:
    """The path of the Chinese twin that an English page must have; None for a page that needs none."""
    if page.path == "README.md":
        return "README.zh-CN.md"
    name = page.path.removeprefix("docs/")
    if name == page.path or name.startswith("zh/") or page.path in ENGLISH_ONLY:
        return None
    return f"docs/zh/{name}"


def _shape_of_tables(page: Page) -> list[list[int]]:
    """For each table, how many cells each of its rows has (a | in code does not count)."""
    tables: list[list[int]] = []
    before = False
    for line in page.prose.splitlines():
        row = TABLE_ROW.match(line.strip()) is not None
        if row:
            if not before:
                tables.append([])
            tables[-1].append(line.strip().strip("|").count("|") + 1)
        before = row
    return tables


def _expected(page: Page) -> list[tuple[list[str], str | None]]:
    return [
        ([m.group(1).strip() for line in s.code.splitlines() if (m := EXPECTED.search(line))], s.output)
        for s in snippets(page)
    ]


def check_twins(english: Page, chinese: Page) -> list[str]:
    """Same headings, code, results, tables and pictures; only the words differ, and all of them do."""
    problems = []
    ours, theirs = headings(english), headings(chinese)
    if [level for level, _ in ours] != [level for level, _ in theirs]:
        problems.append(f"the headings differ: {[t for _, t in ours]} and {[t for _, t in theirs]}")
    code = [[ast.dump(ast.parse(s.code)) for s in snippets(page)] for page in (english, chinese)]
    if code[0] != code[1]:
        problems.append("the code differs (comments apart)")
    if _expected(english) != _expected(chinese):
        problems.append("the results that the code is said to print differ")
    if _shape_of_tables(english) != _shape_of_tables(chinese):
        problems.append(f"the tables differ: {_shape_of_tables(english)} and {_shape_of_tables(chinese)} cells")
    pictures = [[resolve(page, target) for _, target in images(page)] for page in (english, chinese)]
    if pictures[0] != pictures[1]:
        problems.append(f"the pictures differ: {pictures[0]} and {pictures[1]}")
    untranslated = _sentences(english) & _sentences(chinese)
    problems += [f"not translated: {text!r}" for text in sorted(untranslated)]
    return [f"{english.path} and {chinese.path}: {problem}" for problem in problems]


def _sentences(page: Page) -> set[str]:
    """The lines of prose and the cells of tables that have words in them: four English ones in a row at least."""
    cells = (cell.strip() for line in page.prose.splitlines() for cell in line.split("|"))
    return {cell for cell in cells if re.search(r"(\b[a-z]+\b[ ,]+){4}", cell)}


def check_words(page: Page) -> list[str]:
    """No machine translations of the terms, in any page."""
    return [f"{page.path}: {word} is not how this project calls it" for word in BANNED if word in page.text]


# ---- the table of TF-Slim's arguments --------------------------------------------------------------------------------------
def argument_rows(page: Page) -> dict[str, dict[str, str]]:
    """For each heading made of `functions`, the first two cells of its table: argument -> default."""
    found: dict[str, dict[str, str]] = {}
    names: list[str] = []
    for line in page.text.splitlines():
        heading = HEADING.match(line)
        if heading:
            names = re.findall(r"`([\w.]+)`", heading.group(2))
        elif names and TABLE_ROW.match(line.strip()):
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            for name, argument in itertools.product(names, re.findall(r"`(\w+)`", cells[0])):
                found.setdefault(name, {})[argument] = cells[1].strip("`")
    return found


def check_arguments(page: Page, wanted: dict[str, dict[str, str]]) -> list[str]:
    """`wanted`: function -> argument -> default as written in Python ("" for none). Every one must have its row, with that default."""
    rows, problems = argument_rows(page), []
    for function, arguments in wanted.items():
        if function not in rows:
            problems.append(f"{page.path}: no table under a heading `{function}`")
            continue
        for argument, default in arguments.items():
            if argument not in rows[function]:
                problems.append(f"{page.path}: {function} has no row for its argument {argument}")
            elif rows[function][argument] != default:
                problems.append(
                    f"{page.path}: {function}: {argument} is {default or 'without a default'}, not {rows[function][argument]!r}"
                )
    return problems
