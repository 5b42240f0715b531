"""`tinyresnet gradcheck`: 0 if every gradient is right, 1 if one is not, and which."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.outcome import Call, assert_refused
from tinyresnet import BackendUnavailable, get_backend, ops, use
from tinyresnet.cli import gradcheck


def doubled(dy: Any, saved: Any) -> Any:
    return 2 * ops.relu_backward(dy, saved)


def test_all_ops_pass(call: Call) -> None:
    code, out, err = call("gradcheck")
    assert code == 0 and err == ""
    assert out.count(" ok ") >= 19 and "conv2d" in out and "resize_bilinear" in out and "WRONG" not in out


def test_a_wrong_backward_exits_with_1_and_is_shown(call: Call) -> None:
    with use(relu_backward=doubled):
        code, out, _ = call("gradcheck", "relu", "--full")
    assert code == 1 and "relu: x: WRONG" in out and "ratio 2" in out


def test_json_says_the_same(call: Call) -> None:
    code, out, err = call("gradcheck", "relu", "conv2d", "--json")
    told = json.loads(out)
    assert code == 0 and err == "" and told["passed"] is True and told["backend"] == get_backend()
    assert {op["op"]: [g["of"] for g in op["gradients"]] for op in told["ops"]} == {"relu": ["x"], "conv2d": ["x", "w"]}
    assert all(0 < g["error"] < 1e-6 and g["status"] == "ok" for op in told["ops"] for g in op["gradients"])
    with use(relu_backward=doubled):
        code, out, _ = call("gradcheck", "relu", "bias_add", "--json")
    told = json.loads(out)
    assert code == 1 and told["passed"] is False and [op["passed"] for op in told["ops"]] == [False, True]
    assert told["ops"][0]["gradients"][0]["status"] == "WRONG"


@pytest.mark.parametrize("seed", [0, 1])
def test_the_seed_decides_the_numbers(seed: int, call: Call) -> None:
    def errors(seed: int) -> list[float]:
        told = json.loads(call("gradcheck", "conv2d", "--seed", seed, "--json").out)
        return [gradient["error"] for gradient in told["ops"][0]["gradients"]]

    assert errors(seed) == errors(seed) != errors(2)


def test_a_back_end_by_name(call: Call) -> None:
    assert json.loads(call("gradcheck", "relu", "--backend", "numpy", "--json").out)["backend"] == "numpy"


def test_a_back_end_that_cannot_run_here(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(name: str) -> Any:
        raise BackendUnavailable(f"back end {name!r} needs what is not here")

    monkeypatch.setattr(gradcheck, "use_backend", unavailable)
    assert_refused(call("gradcheck", "relu", "--backend", "cupy"), "back end 'cupy' needs what is not here")
