"""The command line, `tinyresnet COMMAND` or `python -m tinyresnet COMMAND`. Only here are arguments parsed and results printed.

A file a command: `add(commands)` says what it takes, `run(arguments)` does it and returns the exit code. Exit codes: 0; 1 a check
failed, or the loss is no longer a number; 2 usage, input, a missing package or back end; 130 interrupted (a training run has saved
itself). An error is one line on stderr; `--debug` shows the traceback instead.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence

from .. import __version__
from ..backend import BackendUnavailable
from ..extras import MissingExtra
from . import bench, demo, evaluate, exercise, gradcheck, info, predict, report, train
from .exits import FAILED, INTERRUPTED, USAGE, WrongGradient, said
from .parser import Parser

COMMANDS = (train, evaluate, predict, report, gradcheck, exercise, info, bench, demo)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="tinyresnet", description="ResNet v2 in NumPy, every forward and every backward written by hand."
    )
    parser.add_argument("--version", action="version", version=f"tinyresnet {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        added = command.add(commands)
        # Also after the command; no default of its own, which would undo a --debug that came before it.
        added.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        added.set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code. Raises SystemExit for --help, --version and arguments that it does not know."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # closed by whoever started it: nobody reads
    sys.stderr = sys.stderr or open(os.devnull, "w")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(
            stream, "reconfigure"
        ):  # a console that is not UTF-8 gets \u8fd0 for what it cannot show, not an error
            stream.reconfigure(errors="backslashreplace")
    arguments = _parser().parse_args(argv)
    try:
        code = int(arguments.run(arguments))
        sys.stdout.flush()  # here, where a reader that has gone is no surprise
        return code
    except BrokenPipeError:  # `tinyresnet gradcheck | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the interpreter's last flush is quiet
        return FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except (WrongGradient, FloatingPointError) as error:
        return _failed(error, FAILED, arguments.debug)
    except (BackendUnavailable, MissingExtra, ValueError, OSError, MemoryError) as error:
        return _failed(error, USAGE, arguments.debug)


def _failed(error: Exception, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    else:
        print(f"tinyresnet: {' '.join(said(error).splitlines())}", file=sys.stderr)
    return code
