"""Floor 6: the command line, `tinyresnet COMMAND` or `python -m tinyresnet COMMAND`. Only here are arguments parsed and errors printed.

Exit codes: 0; 1 a check failed; 2 usage, input, a missing package or back end; 130 interrupted. An error is one line on stderr;
`--debug` shows the traceback instead.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from . import __version__, demo
from .backend import BACKENDS, BackendUnavailable, use_backend
from .extras import MissingExtra
from .gradcheck_table import gradient_table

FAILED, USAGE, INTERRUPTED = 1, 2, 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tinyresnet", description="ResNet v2 in NumPy, every forward and every backward written by hand."
    )
    parser.add_argument("--version", action="version", version=f"tinyresnet {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    check = commands.add_parser("gradcheck", help="check the gradient of every op against finite differences")
    check.add_argument("ops", nargs="*", metavar="OP", help="names of ops, as conv2d or batch_norm (default: all)")
    check.add_argument(
        "--full", action="store_true", help="every entry instead of one random direction, and say where the worst is"
    )
    check.add_argument("--seed", type=int, default=0, help="of inputs and upstream gradients (default: %(default)s)")
    check.add_argument("--backend", choices=BACKENDS, help="check that back end's ops (default: the process's)")
    check.set_defaults(run=_gradcheck)

    show = commands.add_parser(
        "demo", help="check every gradient, train a small ResNet on Fashion-MNIST, draw curves and mistakes"
    )
    show.add_argument("--epochs", type=int, default=15, help="passes through the pictures (default: %(default)s)")
    show.add_argument("--batch-size", type=int, default=64, help="pictures a step (default: %(default)s)")
    show.add_argument("--learning-rate", type=float, default=0.1, help="of the first step (default: %(default)s)")
    show.add_argument("--momentum", type=float, default=0.9, help="0 to less than 1 (default: %(default)s)")
    show.add_argument("--seed", type=int, default=0, help="of weights, order and augmentation (default: %(default)s)")
    show.add_argument("--limit", type=int, help="train on the first LIMIT pictures only")
    show.add_argument("--out", default="runs/demo", help="folder for the picture (default: %(default)s)")
    show.set_defaults(run=_demo)
    return parser


def _gradcheck(arguments: argparse.Namespace) -> int:
    if arguments.backend is None:
        return _print_gradient_table(arguments)
    with use_backend(arguments.backend):
        return _print_gradient_table(arguments)


def _print_gradient_table(arguments: argparse.Namespace) -> int:
    if arguments.seed < 0:
        raise ValueError(f"--seed must be an integer >= 0, not {arguments.seed}")
    table = gradient_table(
        tuple(arguments.ops) or None, mode="full" if arguments.full else "projection", seed=arguments.seed
    )
    print(table)
    return 0 if table.passed else FAILED


def _demo(arguments: argparse.Namespace) -> int:
    demo.run(
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        momentum=arguments.momentum,
        seed=arguments.seed,
        limit=arguments.limit,
        out=arguments.out,
    )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    arguments = _parser().parse_args(argv)
    for stream in (
        sys.stdout,
        sys.stderr,
    ):  # a console that is not UTF-8 gets "?" for what it cannot show, not an error
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        return int(arguments.run(arguments))
    except BrokenPipeError:  # `tinyresnet gradcheck | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the interpreter's last flush is quiet
        return FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except (demo.WrongGradient, FloatingPointError) as error:
        return _failed(error, FAILED, arguments.debug)
    except (BackendUnavailable, MissingExtra, ValueError, OSError) as error:
        return _failed(error, USAGE, arguments.debug)


def _failed(error: Exception, code: int, debug: bool) -> int:
    if debug:
        raise error
    print(f"tinyresnet: {' '.join(str(error).split())}", file=sys.stderr)
    return code
