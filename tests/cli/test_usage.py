"""What all commands have in common: exit codes, errors of one line, --debug, and a console or a pipe that is not as one likes."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cli.outcome import TINY, Call, assert_refused, child_command, in_a_child
from tinyresnet import __version__
from tinyresnet.cli import COMMANDS, gradcheck, info

NAMES = ("train", "evaluate", "predict", "report", "gradcheck", "exercise", "info", "bench", "demo")


def raises(error: BaseException) -> Any:
    def raising(*_: Any, **__: Any) -> Any:
        raise error

    return raising


# ---- arguments ---------------------------------------------------------------------------------------------------------------
def test_help_names_every_command_and_every_command_has_help(call: Call) -> None:
    assert len(COMMANDS) == len(NAMES)
    listed = call("--help")
    assert listed.code == 0 and [line.split()[0] for line in listed.out.splitlines() if re.match(r" {4}\w", line)] == [
        *NAMES
    ]
    for name in NAMES:
        told = call(name, "--help")
        assert told.code == 0 and told.out.startswith(f"usage: tinyresnet {name} ") and told.err == ""


def test_version(call: Call) -> None:
    assert call("--version") == (0, f"tinyresnet {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "the following arguments are required: COMMAND. See tinyresnet --help"),
        (["fly"], "invalid choice: 'fly' (choose from "),
        (["info", "--jsn"], "tinyresnet info: unrecognized arguments: --jsn; did you mean --json?"),
        (["info", "more"], "unrecognized arguments: more. See tinyresnet info --help"),
        (["train", "digits", "--epohcs", "3"], "did you mean --epochs"),
        (["train", "digits", "--lr=3"], "unrecognized arguments: --lr=3"),
        (["train", "digits", "--learning_rate", "3"], "did you mean --learning-rate?"),
        (["train", "--epoch", "3"], "unrecognized arguments: --epoch; did you mean --epochs or "),  # no abbreviations
        (["train", "--epochs"], "argument --epochs: expected one argument"),
        (["evaluate"], "the following arguments are required: RUN"),
        (["evaluate", "run", "--part", "half"], "invalid choice: 'half'"),
        (["predict", "run"], "the following arguments are required: PICTURE"),
        (["predict", "run", "x.png", "--top", "two"], "argument --top: invalid int value: 'two'"),
        (["gradcheck", "--backend", "tpu"], "invalid choice: 'tpu'"),
        (["gradcheck", "conv3d"], "'conv3d' is no op"),
        (["gradcheck", "--seed", "-1"], "--seed must be an integer >= 0, not -1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_arguments_are_one_line_and_exit_code_2(
    arguments: list[str], said: str, call: Call, empty_folder: Path
) -> None:
    assert_refused(call(*arguments), said)
    assert list(empty_folder.iterdir()) == []


def test_python_m_is_the_command(empty_folder: Path) -> None:
    assert_refused(in_a_child("fly", cwd=empty_folder), "invalid choice: 'fly'")


# ---- errors --------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("where", ["before", "after"])
def test_debug_shows_the_traceback_and_keeps_the_exit_code(where: str, call: Call) -> None:
    arguments = ["--debug", "gradcheck", "conv3d"] if where == "before" else ["gradcheck", "conv3d", "--debug"]
    code, out, err = call(*arguments)
    assert code == 2 and out == ""
    assert err.startswith("Traceback") and "gradcheck.py" in err and "'conv3d' is no op" in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ValueError("two\nlines"), 2, "tinyresnet: two lines\n"),
        (FileNotFoundError(2, "No such file or directory", "a  b.png"), 2, "a  b.png: No such file or directory\n"),
        (OSError("no disk"), 2, "tinyresnet: no disk\n"),
        (MemoryError(), 2, "tinyresnet: not enough memory: a smaller batch"),
        (MemoryError("Unable to allocate 3 GiB"), 2, "tinyresnet: not enough memory: Unable to allocate 3 GiB\n"),
        (ValueError(), 2, "tinyresnet: ValueError\n"),
        (FloatingPointError("the loss became nan"), 1, "tinyresnet: the loss became nan\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
    ids=lambda value: repr(value) if isinstance(value, BaseException) else "",
)
def test_each_kind_of_error_has_its_exit_code_and_a_line(
    error: BaseException, code: int, said: str, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(info, "environment", raises(error))
    found = call("info")
    assert found.code == code and said in found.err and found.err.count("\n") == 1 and found.out == ""


def test_a_mistake_in_the_program_is_not_hidden(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradcheck, "gradient_table", raises(KeyError("a bug")))
    with pytest.raises(KeyError, match="a bug"):
        call("gradcheck")


# ---- consoles and pipes --------------------------------------------------------------------------------------------------------
def test_what_an_ascii_console_cannot_show_is_written_in_escapes(
    chinese_run: Path, chinese_pictures: Path, empty_folder: Path
) -> None:
    picture = chinese_pictures / "运动鞋" / "图0.png"
    ascii_only = {"PYTHONIOENCODING": "ascii", "cwd": empty_folder}
    predicted = in_a_child("predict", chinese_run, picture, **ascii_only)  # type: ignore[arg-type]
    assert predicted.code == 0 and "\\u8fd0\\u52a8\\u978b 0." in predicted.out and "\\u56fe0.png: " in predicted.out
    assert predicted.err == ""
    tested = in_a_child("evaluate", chinese_run, **ascii_only)  # type: ignore[arg-type]
    assert tested.code == 0 and "\\u5305" in tested.out and tested.err == ""
    missing = in_a_child("predict", chinese_run, "没有.png", **ascii_only)  # type: ignore[arg-type]
    assert_refused(missing, "\\u6ca1\\u6709.png: No such file or directory")


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_run_survives_other_consoles(encoding: str, chinese_pictures: Path, empty_folder: Path) -> None:
    small = [*TINY[3:], "--batch-size", "4", "--no-report", "--out", "运行"]
    done = subprocess.run(
        child_command("train", chinese_pictures, *small),
        cwd=empty_folder,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0 and done.stderr == b""
    assert "test accuracy" in done.stdout.decode(encoding) and (empty_folder / "运行" / "best.safetensors").exists()


def test_a_reader_that_has_gone_is_no_traceback(empty_folder: Path) -> None:
    """`tinyresnet info | head -0`: what it prints is less than a buffer, and goes out only at its end."""
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = subprocess.Popen(
        child_command("info"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=empty_folder, env=buffered
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait() == 1


def test_a_run_whose_reader_has_gone_goes_on(call: Call, empty_folder: Path) -> None:
    pytest.importorskip("safetensors")
    process = subprocess.Popen(
        child_command("train", *TINY, "--epochs", "12", "--out", "run", "--no-report"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=empty_folder,
    )
    assert process.stdout is not None and process.stderr is not None
    assert b"resnet_v2_small" in process.stdout.readline()
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait() == 0  # nobody looks: that is no reason to stop learning
    resumed = call("train", "--resume", "run", "--no-report")
    assert resumed.code == 0 and resumed.out.splitlines()[-1].startswith("test accuracy 0.")


def test_the_core_is_imported_without_any_extra(empty_folder: Path) -> None:
    """Every command says what it needs; none needs it before it is asked for."""
    without = "import sys\nfor name in ('tqdm', 'PIL', 'matplotlib', 'safetensors', 'threadpoolctl', 'numba'): sys.modules[name] = None"
    told = in_a_child("--help", before=without, cwd=empty_folder)
    assert told.code == 0 and "gradcheck" in told.out and told.err == ""
    table = in_a_child("gradcheck", "relu", before=without, cwd=empty_folder)
    assert table.code == 0 and "relu" in table.out and table.err == ""
    listed = in_a_child("info", before=without, cwd=empty_folder)
    assert listed.code == 0 and "not available: " in listed.out and listed.err == ""
