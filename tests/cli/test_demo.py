"""`tinyresnet demo`: the table, a net on real pictures, the report; refused in full before the first line is printed."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.cli.outcome import Call, assert_refused, numbers_in
from tinyresnet import get_backend, ops, use
from tinyresnet.cli import demo, train
from tinyresnet.training import Trainer, changed, open_run, recipe

for package in ("tqdm", "threadpoolctl", "matplotlib", "safetensors"):
    pytest.importorskip(package)


@pytest.fixture
def no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradient table has tests of its own; here it only costs time."""
    monkeypatch.setattr(demo, "gradient_table", lambda: SimpleNamespace(passed=True))


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_from_the_table_to_the_report(whole: bool, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    if not whole:  # without the report's own work
        monkeypatch.setattr(train, "write_report", lambda folder: folder / "index.html")
    code, out, err = call("demo", "--epochs", 1, "--limit", 128, "--out", "new/folder")
    lines = out.splitlines()
    assert code == 0 and err == ""
    assert lines[0].startswith("Every op's backward") and "conv2d" in out and " ok " in out
    assert lines.index("A ResNet v2 learns to tell clothes apart:") < lines.index("run: new/folder")
    assert re.search(r"\nepoch 1/1   loss \d\.\d{3}   accuracy train 0\.\d{3}   test 0\.\d{3}   best\n", out)
    assert "\nreport: new/folder/index.html\n" in out
    assert not whole or Path("new/folder/index.html").stat().st_size > 10_000
    assert re.fullmatch(r"test accuracy 0\.\d{4}", lines[-1])
    (epoch,) = [line for line in open_run("new/folder").metrics if line["kind"] == "epoch"]
    assert float(lines[-1].split()[-1]) == pytest.approx(epoch["test_accuracy"], abs=5e-5)


def test_it_is_the_fashion_recipe_with_fewer_epochs(
    no_table: None, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []

    def start(config: Any, folder: Path, *_: Any) -> Any:
        started.append((config, folder))
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "start", start)
    assert (
        call("demo").code == 130 and call("demo", "--seed", 5, "--limit", 99, "--epochs", 2, "--out", "x").code == 130
    )
    assert started == [
        (changed(recipe("fashion"), {"epochs": 15}), Path("runs/demo")),
        (changed(recipe("fashion"), {"epochs": 2, "seed": 5, "limit": 99}), Path("x")),
    ]


def test_a_second_time_it_takes_the_next_free_name(no_table: None, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "write_report", lambda folder: folder / "index.html")
    few = ("demo", "--epochs", 1, "--limit", 64)
    assert "run: runs/demo\n" in call(*few).out
    before = numbers_in(Path("runs/demo"))
    Path("runs/demo-2").mkdir()
    Path("runs/demo-2/notes.txt").touch()
    assert "run: runs/demo-3\n" in call(*few, "--seed", 1).out
    assert numbers_in(Path("runs/demo")) == before != numbers_in(Path("runs/demo-3"))


@pytest.mark.slow(seconds=130)
def test_the_whole_demo_is_as_good_as_the_readme_says(call: Call) -> None:
    code, out, _ = call("demo", "--seed", 1)
    assert code == 0 and float(out.splitlines()[-1].removeprefix("test accuracy ")) >= 0.86


# ---- the gradient table ------------------------------------------------------------------------------------------------------
def test_a_wrong_gradient_stops_it(call: Call, empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def doubled(dy: Any, saved: Any) -> Any:
        return 2 * ops.relu_backward(dy, saved)

    monkeypatch.setattr(demo, "use_backend", lambda name: use(relu_backward=doubled))
    code, out, err = call("demo")
    assert code == 1 and "WRONG" in out and "learns" not in out
    assert err.startswith("tinyresnet: a gradient check failed") and err.count("\n") == 1
    assert list(empty_folder.iterdir()) == []


def test_the_table_is_of_what_trains_with_blas_limited_and_given_back(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine two threads of OpenBLAS make a step ten times as long."""
    import threadpoolctl

    def threads() -> list[int]:
        return [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]

    inside: list[Any] = []

    def table() -> SimpleNamespace:
        inside.append((get_backend(), threads()))
        return SimpleNamespace(passed=False)

    monkeypatch.setattr(demo, "gradient_table", table)
    with threadpoolctl.threadpool_limits(limits=2, user_api="blas"):
        before = threads()
        assert call("demo").code == 1
        assert threads() == before
    assert inside == [("numpy", [1] * len(before))]


# ---- refused before anything happens -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--epochs", "0"], "epochs must be an integer >= 1, not 0"),
        (["--epochs", "1.5"], "argument --epochs: invalid int value: '1.5'"),
        (["--limit", "7000"], "limit must be at most 6000, the number of training pictures, not 7000"),
        (["--limit", "-1"], "limit must be an integer >= 0, not -1"),
        (["--seed", "-1"], "seed must be an integer >= 0, not -1"),
        (["--out", ""], "--out must be the path of a folder, not ''"),
        (["--out", "a_file"], "--out must be a folder, or a path at which one can be made, but a_file is none"),
        (["--out", "a_file/below"], "--out must be a folder, or a path at which one can be made"),
        (["--learning-rate", "1"], "tinyresnet demo: unrecognized arguments: --learning-rate 1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_arguments_that_cannot_be(arguments: list[str], said: str, call: Call, empty_folder: Path) -> None:
    Path("a_file").write_text("mine")
    assert_refused(call("demo", *arguments), said)
    assert Path("a_file").read_text() == "mine" and len(list(empty_folder.iterdir())) == 1


@pytest.mark.parametrize(
    ("package", "extra"),
    [("tqdm", "train"), ("threadpoolctl", "train"), ("safetensors", "train"), ("matplotlib", "plot")],
)
def test_a_missing_package_is_named(
    package: str, extra: str, call: Call, empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    said = f'this needs {package}, which is not installed: pip install "tinyresnet[{extra}]"'
    assert_refused(call("demo"), said)
    assert list(empty_folder.iterdir()) == []


def test_a_loss_that_is_no_number_stops_it(no_table: None, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    real = demo.on_recipe
    monkeypatch.setattr(demo, "on_recipe", lambda given: real({**given, "learning_rate": 1e30}))
    code, out, err = call("demo", "--limit", 256, "--out", "run")
    assert code == 1 and re.search(r"the loss became (nan|inf) at step \d+ \(epoch 1\), first in resnet_v2_small/", err)
    assert err.count("\n") == 1 and "test accuracy" not in out
