"""All rungs of the ladder compute the same, a wrong one is found, and what the page shows is what was measured."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")

from tinyresnet.bench import ladder, rungs
from tinyresnet.bench.cases import all_cases
from tinyresnet.bench.compare import WrongResult
from tinyresnet.bench.ladder import Short, layer_case, loops_case, unit_case
from tinyresnet.bench.options import Options
from tinyresnet.bench.rungs import UNIT_RUNGS, Unit

pytestmark = pytest.mark.host_only

OPTIONS = Options(2, 2, ()).quick()
SMALL_UNIT = Unit(2, 9, 40, 20)
CASES: dict[str, Callable[[], Short]] = {
    "loops": lambda: loops_case(5, 4),
    "unit": lambda: unit_case(SMALL_UNIT),
    "layer": lambda: layer_case(2, 9, 24),
}
DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize(
    "kind", [pytest.param("unit", marks=pytest.mark.slow), *(kind for kind in CASES if kind != "unit")]
)
def test_all_rungs_compute_the_same(kind: str) -> None:
    result = CASES[kind]().measure(OPTIONS)
    rungs_there = [row.side for row in result.rows]
    assert len(rungs_there) == {"loops": 3, "unit": len(UNIT_RUNGS), "layer": 4}[kind]
    assert set(result.compared) == set(rungs_there[1:]), "a rung was not compared"
    assert all(finding.error < 1e-5 for finding in result.compared.values())


def test_a_unit_is_what_its_equations_say() -> None:
    """The first rung, which all others are compared with, against the sums written down in float64."""
    rng = np.random.default_rng(3)
    w, x = SMALL_UNIT.draw_weights(rng), SMALL_UNIT.draw_images(rng)
    first = rungs.unit_rung(rungs.COLUMNS, SMALL_UNIT, w)
    first.take(x)
    d = {name: array.astype(np.float64) for name, array in w.items()}
    net = np.maximum(x * d["scale"] + d["shift"], 0)
    net = np.maximum(net @ d["w1"][0, 0] + d["b1"], 0)
    padded = np.pad(net, ((0, 0), (1, 1), (1, 1), (0, 0)))
    net = sum(padded[:, i : i + 9, j : j + 9] @ d["w2"][i, j] for i in range(3) for j in range(3))
    expected = np.maximum(net + d["b2"], 0) @ d["w3"][0, 0] + d["b3"] + x
    assert np.abs(first() - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("rung", list(UNIT_RUNGS)[1:])
@pytest.mark.parametrize("wrong", ["b1", "w2", "scale"])
def test_a_wrong_rung_of_the_unit_is_found(rung: str, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One number of one array of one rung is another."""

    def planted(name: str, unit: Unit, weights: dict[str, Any]) -> Any:
        if name == rung:
            weights = {**weights, wrong: weights[wrong].copy()}
            weights[wrong].flat[7] += 0.5
        return rungs.unit_rung(name, unit, weights)

    monkeypatch.setattr(ladder, "unit_rung", planted)
    with pytest.raises(WrongResult, match=r"nothing was timed, since im2col and BLAS and .* do not compute the same"):
        unit_case(SMALL_UNIT).measure(OPTIONS)


def test_a_wrong_rung_of_a_layer_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    class Turned(rungs.ConvolutionPlan):
        def __init__(self, x: Any, w: Any, method: str) -> None:
            super().__init__(x, w[::-1].copy() if method == "winograd 2x2" else w, method)

    monkeypatch.setattr(ladder, "ConvolutionPlan", Turned)
    with pytest.raises(WrongResult, match=r"Winograd F\(2x2\)"):
        layer_case(2, 9, 24).measure(OPTIONS)


def test_wrong_loops_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder, "compiled_loops", lambda: lambda x, w: x @ w[1, 1])
    with pytest.raises(WrongResult, match="the loops, compiled"):
        loops_case(5, 4).measure(OPTIONS)


def test_the_bench_has_the_ladder() -> None:
    names = [case.name for case in all_cases()]
    for start in ("ladder/loops/", "ladder/unit/", "ladder/3x3/7-512/", "ladder/roofline", "ladder/time/training/"):
        assert any(name.startswith(start) for name in names), start


# ---- the page --------------------------------------------------------------------------------------------------------------
@pytest.fixture
def measure_speed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """docs/measure_speed.py as a module."""
    monkeypatch.syspath_prepend(str(DOCS))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, "measure_speed", raising=False)
    return importlib.import_module("measure_speed")


@pytest.mark.parametrize("tongue", ["en", "zh"])
def test_the_tables_of_the_page_are_those_that_were_measured(tongue: str, measure_speed: Any) -> None:
    data = json.loads(measure_speed.MEASURED.read_text(encoding="utf-8"))
    text = measure_speed.PAGES[tongue].read_text(encoding="utf-8")
    assert measure_speed.with_tables(text, data, tongue) == text, "run python docs/measure_speed.py --from-file"
    assert {name for _, name, _ in measure_speed.BETWEEN.findall(text)} == set(measure_speed.TABLES)
    data["roofline"]["bandwidth"] *= 2
    assert measure_speed.with_tables(text, data, tongue) != text
