"""`tinyresnet gradcheck`: every op's backward against finite differences."""

from __future__ import annotations

import argparse
import json
from contextlib import nullcontext
from typing import Any

from ..backend import BACKENDS, get_backend, use_backend
from ..gradcheck_table import GradientTable, gradient_table
from .exits import FAILED


def add(commands: Any) -> argparse.ArgumentParser:
    """Its arguments."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "gradcheck", help="check the gradient of every op against finite differences"
    )
    parser.add_argument("ops", nargs="*", metavar="OP", help="names of ops, as conv2d or batch_norm (default: all)")
    parser.add_argument(
        "--full", action="store_true", help="every entry instead of one random direction, and say where the worst is"
    )
    parser.add_argument(
        "--seed", type=int, metavar="N", default=0, help="of inputs and upstream gradients (default: %(default)s)"
    )
    parser.add_argument("--backend", choices=BACKENDS, help="check that back end's ops (default: the process's)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """0 if every gradient is right, else 1."""
    if arguments.seed < 0:
        raise ValueError(f"--seed must be an integer >= 0, not {arguments.seed}")
    with use_backend(arguments.backend) if arguments.backend else nullcontext():
        table = gradient_table(
            tuple(arguments.ops) or None, mode="full" if arguments.full else "projection", seed=arguments.seed
        )
        print(json.dumps(_as_json(table)) if arguments.json else table)
    return 0 if table.passed else FAILED


def _as_json(table: GradientTable) -> dict[str, Any]:
    return {
        "passed": table.passed,
        "backend": get_backend(),
        "ops": [
            {
                "op": name,
                "passed": report.passed,
                "seconds": table.seconds[name],
                "gradients": [
                    {"of": argument.name, "status": argument.status, "error": argument.error}
                    for argument in report.arguments
                ],
            }
            for name, report in table.reports.items()
        ],
    }
