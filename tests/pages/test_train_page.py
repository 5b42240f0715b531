"""docs/train.md: every command on it runs and says what the page shows; its tables have every option; its twin has the same.

The page begins in an empty folder and is gone through from top to bottom, as by a reader who copies everything:

    ```toml, ```python3     whose first line is `# NAME.ext`: a file of that name
    ```sh                   commands, one a line; `# exit code 2` says that it is not 0; the ```text under them is what they print
    ```python3              others: code that reads the runs that were made, which a plain ```python block, run by test_docs.py, has not
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

from docs import pages
from docs.pages import Page
from tinyresnet import cli
from tinyresnet.training import Config
from tinyresnet.training.config import SECTIONS, settings

ENGLISH, CHINESE = pages.read("docs/train.md"), pages.read("docs/zh/train.md")
BOTH = pytest.mark.parametrize("page", [ENGLISH, CHINESE], ids=lambda page: page.path)
CTRL_C = "^C\n"  # in what a command prints: there the reader, and the test, interrupts it
LONGEST = 300  # seconds: a command that takes longer hangs, and is ended


class Block(NamedTuple):
    """A fenced block; `line` of its first line in the page."""

    line: int
    tongue: str
    body: str


class Command(NamedTuple):
    """A line of a ```sh block; `exit_code` as its comment says."""

    words: list[str]
    exit_code: int


def page(text: str) -> Page:
    return Page("docs/page.md", text)


def blocks(page: Page) -> list[Block]:
    return [
        Block(page.text.count("\n", 0, found.start(2)) + 1, *found.groups())
        for found in pages.FENCE.finditer(page.text)
    ]


def file_in(block: Block) -> str | None:
    """The name of the file that a block is to be saved as."""
    named = re.match(r"# (\w+\.(?:py|toml))\n", block.body)
    return named.group(1) if named and block.tongue in ("python3", "toml") else None


def commands_in(block: Block) -> list[Command]:
    found = []
    for line in block.body.splitlines():
        code = re.search(r"#.*?(\d+)$", line)
        found.append(Command(shlex.split(line, comments=True), int(code.group(1)) if code else 0))
    return found


# ---- running a page ------------------------------------------------------------------------------------------------------
def run(command: Command, folder: Path, *, interrupt: bool) -> tuple[int, str]:
    """Exit code and all that it prints. `tinyresnet` is that of this Python. With `interrupt`, Ctrl-C after the first epoch."""
    program, *arguments = command.words
    python = [sys.executable, "-m", "tinyresnet"] if program == "tinyresnet" else [sys.executable]
    assert program in ("tinyresnet", "python"), f"{program} is no command that a reader has on every system"
    printed = []
    with subprocess.Popen(
        [*python, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
    ) as process:
        assert process.stdout is not None
        hanging = threading.Timer(LONGEST, process.kill)
        hanging.start()
        for line in process.stdout:
            if interrupt and line.startswith("epoch"):
                process.send_signal(signal.SIGINT)
                interrupt = False
            printed.append(line)
        code = process.wait()
        hanging.cancel()
    return code, re.sub(r"\S*python\S* -m tinyresnet", "tinyresnet", "".join(printed))


def form(text: str) -> str:
    """Without what may differ from machine to machine: numbers, how wide they are, which epoch was best, which class is least likely."""
    text = re.sub(r"\d+(\.\d+)?(e[-+]\d+)?", "0", text.replace(CTRL_C, "").replace("...\n", "..."))
    text = re.sub(r"(: \w+ 0, )(.+)$", lambda m: m[1] + ", ".join(sorted(m[2].split(", "))), text, flags=re.MULTILINE)
    return re.sub(r"[ \t]+", " ", re.sub(r" +best$", "", text, flags=re.MULTILINE)).strip()


def same_form(expected: str, got: str) -> bool:
    """Equal but for numbers, and for whatever stands where `expected` has `...`."""
    return pages.same_output(form(expected), form(got))


def follow(page: Page, folder: Path) -> list[str]:
    """Does in `folder` all that the page says; returns the problems, of which the first ends it."""
    found = blocks(page)
    for i, block in enumerate(found):
        name = file_in(block)
        if name is not None:
            (folder / name).write_text(block.body, encoding="utf-8")
        elif block.tongue == "sh":
            under = found[i + 1] if found[i + 1 :] and found[i + 1].tongue == "text" else None
            problem = run_block(block, under, folder)
            if problem:
                return [f"{page.path}:{block.line}: {problem}"]
    return []


def run_block(block: Block, under: Block | None, folder: Path) -> str | None:
    printed = ""
    for command in commands_in(block):
        code, said = run(command, folder, interrupt=under is not None and CTRL_C in under.body)
        printed += said
        if code != command.exit_code:
            return f"{shlex.join(command.words)} exits with {code}, not {command.exit_code}:\n{said}"
    if under is not None and not same_form(under.body, printed):
        return f"what is shown under it is not what it prints, which is\n{printed}"
    return None


def code_of(page: Page) -> Page:
    """The page with its ```python3 code, but for the files, as ```python, and what commands print as no output of that code."""
    found = iter(blocks(page))
    before = ""

    def renamed(fence: re.Match[str]) -> str:
        nonlocal before
        block = next(found)
        tongue = "python" if block.tongue == "python3" and not file_in(block) else block.tongue
        tongue = "shown" if tongue == "text" and before != "python" else tongue
        before = tongue
        return f"```{tongue}\n{block.body}```"

    return page._replace(text=pages.FENCE.sub(renamed, page.text))


@pytest.fixture
def needs_extras() -> None:
    for package in ("PIL", "tqdm", "threadpoolctl", "safetensors", "matplotlib"):
        pytest.importorskip(package)
    if os.name != "posix":
        pytest.skip("Ctrl-C cannot be sent to one process alone on Windows")


@pytest.mark.slow(seconds=90)
@pytest.mark.host_only
@pytest.mark.usefixtures("needs_extras")
def test_whoever_follows_the_page_sees_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert follow(ENGLISH, tmp_path) == []
    monkeypatch.chdir(tmp_path)
    code = code_of(ENGLISH)
    assert len(pages.snippets(code)) >= 4
    assert pages.run_snippets(code) == []


@pytest.mark.usefixtures("needs_extras")
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("```sh\ntinyresnet train nowhere\n```\n", "exits with 2, not 0"),
        ("```sh\ntinyresnet --version  # exit code 1\n```\n", "exits with 0, not 1"),
        ("```sh\ntinyresnet --version\n```\n\n```text\ntinyresnet version 0.1.0\n```\n", "not what it prints"),
        ("```sh\ntinyresnet --version\ntinyresnet --version\n```\n\n```text\ntinyresnet 0.1.0\n```\n", "not what it prints"),
        ("```toml\n# a.toml\n[training]\nepoch = 3\n```\n```sh\ntinyresnet train --config a.toml\n```\n", "no setting 'epoch'"),
        ("```python3\n# a.py\nprint(1 / 0)\n```\n```sh\npython a.py\n```\n", "ZeroDivisionError"),
    ],
)  # fmt: skip
def test_planted_commands_that_do_not_do_what_the_page_says(text: str, problem: str, tmp_path: Path) -> None:
    (found,) = follow(page(text), tmp_path)
    assert problem in found


def test_planted_code_that_fails_is_run() -> None:
    text = "```python3\n# a.py\n1 / 0\n```\n\n```python3\nx = 1\nprint(x)  # -> 2\n```\n\n```sh\ntinyresnet\n```\n```text\nshown\n```\n"
    assert len(pages.run_snippets(code_of(page(text)))) == 1
    assert pages.run_snippets(code_of(page(text.replace("-> 2", "-> 1")))) == []


def test_numbers_may_differ_and_words_may_not() -> None:
    shown = "epoch 1/9   loss 0.97   test 0.333   best\n^C\nstep 3 in a/b"
    assert same_form(shown, "epoch  1/10   loss 1e-05   test 1.0\nstep 41 in a/b\n")
    assert (
        same_form("a\n...\nb", "a\nb") and same_form("a\n...\nb", "a\n1\n2\nb") and not same_form("a\n...\nb", "a\nc")
    )
    assert same_form("p.jpg: boot 0.9, bag 0.1, cap 0.0", "p.jpg: boot 0.9, cap 0.1, bag 0.0")
    assert not same_form("p.jpg: boot 0.9, bag 0.1", "p.jpg: bag 0.9, boot 0.1")
    assert not same_form(shown, "epoch 1/9   loss 0.97   test 0.333   best\nstep 3 in a/c\n")
    assert not same_form(shown, "epoch 1/9   loss 0.97   test nan\nstep 3 in a/b\n")


# ---- its tables ----------------------------------------------------------------------------------------------------------
def written_settings() -> dict[str, dict[str, str]]:
    """section -> setting -> default, as a run's config.toml has it; `task`, which is in no section, by itself."""
    defaults = dict(re.findall(r"^(\w+) = (.*?) +# ", Config().to_toml(), re.MULTILINE))
    wanted: dict[str, dict[str, str]] = {name: {} for name in ("task", *SECTIONS)}
    for name, (section, _) in settings().items():
        wanted[section or "task"][name] = defaults[name]
    return wanted


@BOTH
def test_the_tables_have_every_setting_with_its_default_and_no_other(page: Page) -> None:
    wanted = written_settings()
    assert sum(map(len, wanted.values())) == len(settings()) > 30
    assert pages.check_arguments(page, wanted) == []
    rows = pages.argument_rows(page)
    assert {section: set(rows[section]) for section in wanted} == {section: set(wanted[section]) for section in wanted}


@pytest.mark.parametrize(
    ("old", "new"), [("| `momentum` | `0.9` |", "| `momentum` | `0.8` |"), ("| `crop` |", "| `cut` |")]
)
def test_planted_holes_in_the_tables(old: str, new: str) -> None:
    assert ENGLISH.text.count(old) == 1
    assert len(pages.check_arguments(page(ENGLISH.text.replace(old, new)), written_settings())) == 1


def options_of(command: str) -> set[str]:
    """All that --help lists, but for the settings, which have their tables."""
    commands = argparse.ArgumentParser().add_subparsers()
    parser = next(each for each in cli.COMMANDS if each.__name__.endswith(f".{command}")).add(commands)
    found = {option for action in parser._actions for option in action.option_strings if option.startswith("--")}
    ours = {f"--{prefix}{name.replace('_', '-')}" for name in settings() for prefix in ("", "no-")}
    return found - ours - {"--help"}


@BOTH
def test_the_options_of_the_commands_are_explained(page: Page) -> None:
    assert {"--out", "--config", "--resume"} <= options_of("train") and "--part" in options_of("evaluate")
    options = {f"{name} {option}" for name in ("train", "evaluate", "predict", "report") for option in options_of(name)}
    rows = re.findall(r"^\| `(\w+) (--[\w-]+)", page.text, re.MULTILINE)
    assert {f"{name} {option}" for name, option in rows} == options


# ---- its twin ------------------------------------------------------------------------------------------------------------
def without_comments(block: Block) -> object:
    """What two languages must have in common."""
    if block.tongue == "sh":
        return commands_in(block)
    if block.tongue == "toml":
        return tomllib.loads(block.body)
    if block.tongue == "python3":
        printed = [found.group(1) for line in block.body.splitlines() if (found := pages.EXPECTED.search(line))]
        return file_in(block), ast.dump(ast.parse(block.body)), printed
    return block.body if block.tongue in ("text", "json") else None


def test_the_chinese_page_has_the_same_commands_files_code_and_results() -> None:
    english, chinese = (
        [(block.tongue, without_comments(block)) for block in blocks(page)] for page in (ENGLISH, CHINESE)
    )
    assert len(english) > 20
    for ours, theirs in zip(english, chinese, strict=True):
        assert ours == theirs


@pytest.mark.parametrize(
    ("tongue", "ours", "theirs"),
    [
        ("sh", "tinyresnet info  # why", "tinyresnet info --json  # 为什么"),
        ("sh", "tinyresnet info", "tinyresnet info  # 退出码 2"),
        ("toml", "epochs = 3  # three", "epochs = 4  # 三"),
        ("python3", "x = 1", "x = 2"),
        ("python3", "print(1)  # -> 1", "print(1)  # -> 2"),
        ("text", "loss 1", "损失 1"),
    ],
)
def test_planted_differences_between_the_twins(tongue: str, ours: str, theirs: str) -> None:
    assert without_comments(Block(1, tongue, ours)) != without_comments(Block(1, tongue, theirs))


def test_json_on_the_page_is_json() -> None:
    for block in blocks(ENGLISH):
        if block.tongue == "json":
            assert all(json.loads(line) for line in block.body.splitlines())
