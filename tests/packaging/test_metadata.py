"""What setup.py says, and whether the pages at the top of the repository agree with it and with the Makefile."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

import tinyresnet

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", "README.zh-CN.md", "CONTRIBUTING.md"]
READMES = PAGES[:2]
TARGETS = {"help", "demo", "test", "test-slow", "lint", "format", "bench", "docs", "notebooks", "peers", "clean"}

pytestmark = pytest.mark.host_only


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def code_blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text_of(page), re.MULTILINE | re.DOTALL)


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The arguments with which setup.py calls setup()."""
    setuptools = pytest.importorskip("setuptools")
    taken: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, "setup", taken.update)
    monkeypatch.chdir(ROOT)
    runpy.run_path(str(ROOT / "setup.py"), run_name="__main__")
    return taken


def test_one_version_everywhere(metadata: dict[str, Any]) -> None:
    newest = re.search(r"^## (\S+)", text_of("CHANGELOG.md"), re.MULTILINE)
    assert newest is not None
    assert tinyresnet.__version__ == metadata["version"] == newest.group(1)


def test_numpy_is_the_only_hard_dependency(metadata: dict[str, Any]) -> None:
    assert metadata["install_requires"] == ["numpy>=2.0"]
    assert metadata["python_requires"] == ">=3.11"


def test_extras(metadata: dict[str, Any]) -> None:
    extras: dict[str, list[str]] = metadata["extras_require"]
    names = {"numba", "train", "plot", "cuda12", "cuda13", "notebooks", "docs", "bench", "test", "dev", "all"}
    assert set(extras) == names
    assert extras["cuda12"] == ["cupy-cuda12x[ctk]>=14"]
    assert extras["cuda13"] == ["cupy-cuda13x[ctk]>=14"]
    light = [*extras["train"], *extras["plot"]]
    assert not any("torch" in line for line in light), "`make demo` would wait for PyTorch"
    assert set(extras["notebooks"]) < set(extras["test"]) < set(extras["dev"]) == set(extras["all"])


def cupy_packages(lines: list[str]) -> set[str]:
    return {found.group() for line in lines if (found := re.match(r"cupy[\w-]*", line))}


def test_no_extra_brings_two_cupys(metadata: dict[str, Any]) -> None:
    extras: dict[str, list[str]] = metadata["extras_require"]
    for name, lines in extras.items():
        assert len(cupy_packages(lines)) <= 1, f"{name} brings {cupy_packages(lines)}"
        assert "cupy" not in cupy_packages(lines), f"{name} brings the CuPy that is compiled on the spot"
    assert cupy_packages(extras["all"]) == cupy_packages(extras["cuda13"])
    both = cupy_packages([*extras["cuda12"], *extras["cuda13"]])
    assert both == {"cupy-cuda12x", "cupy-cuda13x"}, "this test would not see two"


def test_kernels_are_packaged_inside(metadata: dict[str, Any]) -> None:
    packages = metadata["packages"]
    assert {"tinyresnet.kernels", "tinyresnet.kernels.cpu", "tinyresnet.kernels.cuda"} <= set(packages)
    assert {name.partition(".")[0] for name in packages} == {"tinyresnet"}
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "tinyresnet").rglob("*.py")}
    assert {".".join(folder.parts) for folder in folders} <= set(packages), "a folder lacks its __init__.py"


def test_makefile_has_its_targets() -> None:
    rules = set(re.findall(r"^([a-z][a-z-]*):.*## ", text_of("Makefile"), re.MULTILINE))
    phony = re.search(r"^\.PHONY: (.*)$", text_of("Makefile"), re.MULTILINE)
    assert phony is not None
    assert rules == set(phony.group(1).split()) == TARGETS


@pytest.mark.parametrize("page", PAGES)
def test_commands_on_the_pages_exist(page: str, metadata: dict[str, Any]) -> None:
    shell = "\n".join([*code_blocks(page, "sh"), *re.findall(r"`(make [^`]*)`", text_of(page))])
    made = set(re.findall(r"\bmake ([a-z][a-z-]*)", shell))
    assert made, f"{page} names no make command"
    assert made <= TARGETS
    groups = re.findall(r"(?:tinyresnet|\"\.)\[([\w,]+)\]", text_of(page))
    extras = {extra for group in groups for extra in group.split(",")}
    assert extras and extras <= set(metadata["extras_require"])


def test_both_readmes_give_the_same_commands() -> None:
    english, chinese = (code_blocks(page, "sh") for page in READMES)
    assert english == chinese
