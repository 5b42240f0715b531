"""The command line: exit codes, one-line errors, and defaults that are those of the functions."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import Any

import pytest

from tinyresnet import cli, demo, ops, use


def test_gradcheck_of_all_ops_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["gradcheck"]) == 0
    table = capsys.readouterr().out
    assert table.count(" ok ") >= 19 and "conv2d" in table and "WRONG" not in table


def test_a_wrong_backward_exits_with_1_and_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    def doubled(dy: Any, saved: Any) -> Any:
        return 2 * ops.relu_backward(dy, saved)

    with use(relu_backward=doubled):
        assert cli.main(["gradcheck", "relu", "--full"]) == cli.FAILED
    printed = capsys.readouterr().out
    assert "relu: x: WRONG" in printed and "ratio 2" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gradcheck", "conv3d"], "'conv3d' is no op"),
        (["gradcheck", "--seed", "-1"], "--seed must be an integer >= 0, not -1"),
        (["demo", "--epochs", "0"], "epochs must be an integer >= 1, not 0"),
        (["demo", "--limit", "7000"], "limit must be an integer from 1 to 6000"),
        (["demo", "--seed", "-1"], "seed must be an integer >= 0"),
    ],
)
def test_bad_input_exits_with_2_and_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == cli.USAGE
    printed = capsys.readouterr()
    assert message in printed.err and printed.err.count("\n") == 1 and printed.out == ""


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(ValueError, match="no op"):
        cli.main(["--debug", "gradcheck", "conv3d"])


def test_an_interrupted_command_exits_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(**_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run", interrupted)
    assert cli.main(["demo"]) == cli.INTERRUPTED
    assert capsys.readouterr().err == "interrupted\n"


def test_the_commands_defaults_are_the_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(demo, "run", lambda **arguments: given.update(arguments))
    assert cli.main(["demo"]) == 0
    monkeypatch.undo()
    assert given == {name: p.default for name, p in inspect.signature(demo.run).parameters.items()}


def test_python_m_and_a_wrong_command() -> None:
    done = subprocess.run([sys.executable, "-m", "tinyresnet", "fly"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "invalid choice: 'fly'" in done.stderr
