"""`tinyresnet info`: what computes here, and why something else does not; also when the process's own back end is the trouble."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.outcome import Call, in_a_child
from tinyresnet import BackendUnavailable, __version__, get_backend
from tinyresnet.backend import BACKENDS
from tinyresnet.cli import info


def as_json(call: Call) -> dict[str, Any]:
    code, out, err = call("info", "--json")
    assert code == 0 and err == ""
    told = json.loads(out)
    assert isinstance(told, dict)
    return told


def test_versions_threads_blas_and_back_ends(call: Call) -> None:
    told = as_json(call)
    assert told["tinyresnet"] == __version__ and told["python"] == platform.python_version()
    assert told["packages"]["numpy"] == np.__version__ and told["cpus"] >= 1
    assert told["blas"]["name"] and told["backend"] == get_backend() and told["backend_error"] is None
    assert list(told["backends"]) == list(BACKENDS) and told["backends"]["numpy"] is None
    code, out, err = call("info")
    assert code == 0 and err == ""
    for words in (
        __version__,
        platform.python_version(),
        np.__version__,
        told["blas"]["name"],
        "numpy         available",
    ):
        assert words in out
    (default,) = [line for line in out.splitlines() if line.endswith(", the default")]
    assert default.split()[0] == get_backend()


def test_threads_are_told(call: Call) -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl")
    with threadpoolctl.threadpool_limits(limits=1, user_api="blas"):
        assert as_json(call)["blas"]["threads"] == 1


def test_why_a_back_end_is_not_available(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def only_numpy(name: str) -> Any:
        if name != "numpy":
            raise BackendUnavailable(f"{name} needs a card")
        return use_backend(name)

    use_backend = info.use_backend
    monkeypatch.setattr(info, "use_backend", only_numpy)
    assert as_json(call)["backends"] == {"numpy": None, "numba": "numba needs a card", "cupy": "cupy needs a card"}
    assert "  cupy          not available: cupy needs a card\n" in call("info").out


def test_settings_that_matter_are_told(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("SECRET", "not this")
    assert as_json(call)["settings"]["OMP_NUM_THREADS"] == "3"
    assert "OMP_NUM_THREADS=3" in call("info").out and "not this" not in call("info").out


def test_a_default_back_end_that_is_none_is_told_and_not_an_end(empty_folder: Path) -> None:
    told = in_a_child("info", "--json", cwd=empty_folder, TINYRESNET_BACKEND="abacus")
    found = json.loads(told.out)
    assert told.code == 0 and found["backend"] is None and "'abacus' is no back end" in found["backend_error"]
    assert found["backends"]["numpy"] is None
