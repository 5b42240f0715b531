"""The `backend` fixture, which runs a test once under every chosen back end; what a skip means; how hypothesis runs.

    pytest                                  back ends numpy and numba
    pytest --backend strict                 the stand-in for CuPy (tests/strict_device): everything that takes the fixture
    pytest --backend numpy --backend cupy   several
    pytest --require-all                    a skip is a failure, unless it says that it needs a GPU

A test that does not take the fixture works on the host by nature: it is left out where only devices are chosen. So is a test
marked `host_only` that takes it. The last lines of a run say what was skipped, how often and why.
"""

from __future__ import annotations

import os
import pathlib
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import tinyresnet

BACKENDS = ("numpy", "numba", "strict", "cupy")
DEVICES = ("strict", "cupy")
NEEDS_GPU = re.compile(r"\bneeds an? (NVIDIA )?GPU\b")  # the one reason to skip that --require-all lets pass

# No clock anywhere: a slow machine finds no errors that a fast one does not. In CI the examples are the same in every run.
settings.register_profile(
    "tinyresnet",
    deadline=None,
    database=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("tinyresnet")


# ---- options ------------------------------------------------------------------------------------------------------------
def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("tinyresnet")
    group.addoption(
        "--backend",
        action="append",
        choices=BACKENDS,
        help="run the tests that take the `backend` fixture under this back end; can be given several times (default: numpy and numba)",
    )
    group.addoption(
        "--require-all", action="store_true", help="a skipped test fails, unless its reason says that it needs a GPU"
    )


def chosen_backends(config: pytest.Config) -> list[str]:
    return list(dict.fromkeys(config.getoption("--backend") or ["numpy", "numba"]))


def pytest_report_header(config: pytest.Config) -> str:
    return f"tinyresnet back ends: {', '.join(chosen_backends(config))}"


# ---- the fixture --------------------------------------------------------------------------------------------------------
class BackendUnderTest(NamedTuple):
    """What the fixture gives. `name` is numpy, numba, strict or cupy; the back end is active while the test runs."""

    name: str

    def array(self, host: Any) -> Any:
        """The array where the back end works; dtype and shape as NumPy reads them."""
        return tinyresnet.to_device(np.asarray(host))

    def host(self, value: Any) -> Any:
        """The same as NumPy arrays: an array, also a 0-d one, or a tuple, list or dict of such; anything else as it is."""
        if isinstance(value, dict):
            return {key: self.host(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            items = [self.host(item) for item in value]
            return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
        return tinyresnet.to_host(value) if hasattr(value, "dtype") else value


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" in metafunc.fixturenames:
        metafunc.parametrize("backend", chosen_backends(metafunc.config), indirect=True)


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Iterator[BackendUnderTest]:
    """The test runs on this back end; `backend.array(host)` and `backend.host(device)` bring arrays there and back."""
    with ExitStack() as stack:
        if request.param == "strict":
            from tests import strict_device

            stack.enter_context(strict_device.installed())
        try:
            stack.enter_context(tinyresnet.use_backend("cupy" if request.param == "strict" else request.param))
        except tinyresnet.BackendUnavailable as error:
            pytest.skip(str(error))
        yield BackendUnderTest(request.param)


# ---- what runs where ----------------------------------------------------------------------------------------------------
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    on_host = [name for name in chosen_backends(config) if name not in DEVICES]
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        callspec = getattr(item, "callspec", None)
        name = callspec.params.get("backend") if callspec is not None else None
        belongs = bool(on_host) if name is None else name not in DEVICES or item.get_closest_marker("host_only") is None
        (kept if belongs else left_out).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
    items[:] = longest_files_first(kept)


def longest_files_first(items: list[pytest.Item]) -> list[pytest.Item]:
    """Files by the seconds that their slow tests say they take: begun last, a long one would keep one process busy alone."""
    seconds = Counter[pathlib.Path]()
    for item in items:
        for mark in item.iter_markers("slow"):
            seconds[item.path] += mark.kwargs.get("seconds", 0)
    return sorted(items, key=lambda item: -seconds[item.path])  # stable: the rest stays in order


# ---- skips --------------------------------------------------------------------------------------------------------------
def skip_reason(report: Any) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


def fail_if_all_is_required(report: Any, config: pytest.Config) -> None:
    """--require-all: an expected failure (xfail) is no skip, a missing GPU is allowed; any other skip fails."""
    if not config.getoption("--require-all") or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = skip_reason(report)
    if not NEEDS_GPU.search(reason):
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} was skipped, and --require-all allows no skip: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report: Any = yield
    fail_if_all_is_required(report, item.config)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    report: Any = yield
    fail_if_all_is_required(report, collector.config)
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    counts = Counter(skip_reason(report) for report in terminalreporter.stats.get("skipped", []))
    if not counts:
        terminalreporter.write_line("nothing was skipped")
        return
    terminalreporter.section("skipped")
    for reason, count in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])):
        terminalreporter.write_line(f"{count:5} x {reason}")
