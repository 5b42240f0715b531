"""axe-core, which finds faults of accessibility: one pinned version, fetched by npm once into the environment that runs the tests."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.report.browser import Page

VERSION = "4.14.1"
SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"  # of axe.min.js
FOLDER = Path(sys.prefix) / "axe-core"
FILE = FOLDER / "node_modules" / "axe-core" / "axe.min.js"
BAD = ("serious", "critical")


def fetched() -> bool:
    """Whether the right file is there."""
    return FILE.is_file() and hashlib.sha256(FILE.read_bytes()).hexdigest() == SHA256


def axe_core() -> str:
    """The script's text. Skips the test if it is not there and npm cannot bring it."""
    if not fetched():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("axe-core is not here, and npm, which would bring it, is not installed")
        FOLDER.mkdir(parents=True, exist_ok=True)
        (FOLDER / "package.json").write_text("{}", encoding="utf-8")  # else npm looks for one in the folders above
        options = ["--no-audit", "--no-fund", "--ignore-scripts", "--no-save", "--no-package-lock"]
        done = subprocess.run(
            [npm, "install", *options, f"axe-core@{VERSION}"], cwd=FOLDER, capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"npm could not bring axe-core {VERSION}: {done.stderr.strip().splitlines()[-1:]}")
    assert fetched(), f"{FILE} is not axe-core {VERSION}"
    return FILE.read_text(encoding="utf-8")


def faults(page: Page) -> list[str]:
    """The serious and critical ones on the page as it is shown now, with the element that has each."""
    page.evaluate(axe_core())
    found: Any = json.loads(page.evaluate("axe.run(document).then(found => JSON.stringify(found.violations))"))
    return [
        f"{fault['id']} ({fault['impact']}): {node['html'][:120]}"
        for fault in found
        if fault["impact"] in BAD
        for node in fault["nodes"]
    ]
