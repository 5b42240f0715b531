"""tests/conftest.py: the `backend` fixture, the options and what is said of skips. Small test runs in processes of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

import tinyresnet

ROOT = Path(__file__).resolve().parents[2]
INNER = """
import numpy as np
import pytest
import tinyresnet

def test_takes_it(backend):
    assert tinyresnet.get_backend() == {"strict": "cupy"}.get(backend.name, backend.name)

def test_takes_it_not():
    assert tinyresnet.get_backend() in ("numpy", "numba")

@pytest.mark.host_only
def test_marked(backend):
    assert backend.name == "numpy"

def test_of_a_gpu():
    pytest.skip("this needs a GPU, and there is none")

def test_of_a_browser():
    pytest.skip("there is no browser here")

@pytest.mark.xfail(strict=True)
def test_expected_failure():
    assert False
"""
WHOLE_FILE = 'import pytest\npytest.importorskip("no_such_package", reason="no_such_package is not installed")\n'


def run_pytest(folder: Path, *options: str, **files: str) -> tuple[int, str]:
    (folder / "pytest.ini").write_text(
        "[pytest]\naddopts = --import-mode=importlib --strict-markers\nmarkers = host_only: x\n"
    )
    for name, text in files.items():
        (folder / f"test_{name}.py").write_text(text)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tests.conftest",
        "-p",
        "no:cacheprovider",
        "-v",
        "-c",
        str(folder / "pytest.ini"),
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TINYRESNET", "PYTEST"))}
    done = subprocess.run(
        [*command, *options, str(folder)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def outcome(output: str, test: str) -> str:
    found = re.search(rf"::{re.escape(test)} (\w+)", output)
    return found.group(1) if found else "left out"


@pytest.fixture
def inner(tmp_path: Path) -> Any:
    return lambda *options, **files: run_pytest(tmp_path, *options, **(files or {"inner": INNER}))


def test_it_runs_a_test_on_every_chosen_back_end(inner: Any) -> None:
    code, output = inner("--backend", "numpy", "--backend", "strict")
    assert code == 0, output
    assert "tinyresnet back ends: numpy, strict" in output
    for test in ("test_takes_it[numpy]", "test_takes_it[strict]", "test_takes_it_not", "test_marked[numpy]"):
        assert outcome(output, test) == "PASSED", output
    assert outcome(output, "test_marked[strict]") == "left out"
    assert outcome(output, "test_of_a_browser") == "SKIPPED"
    assert "    1 x there is no browser here\n" in output and "    1 x this needs a GPU" in output


def test_on_a_device_alone_it_leaves_out_what_needs_the_host(inner: Any) -> None:
    code, output = inner("--backend", "strict")
    assert code == 0, output
    assert outcome(output, "test_takes_it[strict]") == "PASSED"
    for test in ("test_takes_it[numpy]", "test_takes_it_not", "test_marked[strict]", "test_of_a_browser"):
        assert outcome(output, test) == "left out", output
    assert "nothing was skipped" in output


def test_require_all_makes_a_failure_of_a_skip_but_not_of_a_missing_gpu(inner: Any) -> None:
    code, output = inner("--require-all", "--backend", "numpy")
    assert code == 1, output
    assert outcome(output, "test_of_a_browser") == "FAILED"
    assert outcome(output, "test_of_a_gpu") == "SKIPPED"
    assert outcome(output, "test_expected_failure") == "XFAIL"
    assert "--require-all allows no skip: there is no browser here" in output


def test_require_all_holds_for_a_whole_file_as_well(inner: Any) -> None:
    assert inner(whole_file=WHOLE_FILE)[0] == 5  # everything skipped: "no tests collected"
    code, output = inner("--require-all", whole_file=WHOLE_FILE)
    assert code not in (0, 5), output
    assert "no_such_package is not installed" in output


def test_an_unknown_back_end_is_an_error_of_usage(inner: Any) -> None:
    code, output = inner("--backend", "torch")
    assert code == 4 and "invalid choice: 'torch'" in output


def test_it_brings_arrays_there_and_back(backend: Any) -> None:
    host = np.arange(6, dtype="float32").reshape(2, 3)
    x = backend.array(host)
    assert tinyresnet.get_array_module(x) is tinyresnet.get_array_module()
    back = backend.host({"pair": (x, [x.sum()]), "number": 3, "none": None})
    assert isinstance(back["pair"][0], np.ndarray) and back["number"] == 3 and back["none"] is None
    np.testing.assert_array_equal(back["pair"][0], host)
    (total,) = back["pair"][1]
    assert isinstance(total, np.ndarray) and total.shape == () and total == 15


def test_hypothesis_has_no_clock_and_no_database() -> None:
    now = settings()
    assert now.deadline is None and now.database is None
    assert now.derandomize == bool(os.environ.get("CI"))
