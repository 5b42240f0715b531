"""`tinyresnet bench`: tinyresnet beside PyTorch, ONNX Runtime and OpenVINO; times, GFLOP/s, memory, first calls."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from ..bench import PEERS, CaseResult, Options, WrongResult, all_cases, chosen, draw, quick_cases, run_cases
from ..bench.machine import as_text as machine_as_text
from ..bench.machine import machine
from ..bench.run import CHART, LAYERS, RESULTS
from ..bench.table import as_text
from ..extras import require
from .exits import FAILED
from .folders import free_folder, new_folder

ROUNDS, QUICK_ROUNDS = 15, 2


def add(commands: Any) -> argparse.ArgumentParser:
    """Its arguments."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "bench",
        help="measure speed and memory beside PyTorch, ONNX Runtime and OpenVINO",
        description="Measures tinyresnet and its peers in one process, in turns and in random order, on new inputs in each round. "
        "Outputs are compared first: sides that do not compute the same are not timed (exit code 1). Whatever is not installed is "
        "left out. All cases take an hour or two, much of it torch.compile's; --only takes some of them.",
    )
    parser.add_argument("--list", action="store_true", help="print the names of all cases and what they are")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="these cases; * stands for any letters, as in 'frozen/*/b8'"
    )
    parser.add_argument("--quick", action="store_true", help="small nets and layers: seconds instead of an hour")
    parser.add_argument("--threads", type=int, metavar="N", help="of each side (default: one a CPU)")
    parser.add_argument(
        "--rounds", type=int, metavar="N", help=f"turns of each side (default: {ROUNDS}; with --quick: {QUICK_ROUNDS})"
    )
    parser.add_argument(
        "--peers",
        nargs="*",
        choices=tuple(PEERS),
        metavar="PEER",
        help=f"some of {', '.join(PEERS)}; none: tinyresnet alone (default: all; with --quick not torch.compile)",
    )
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        default="runs/bench",
        help=f"gets {RESULTS}, {CHART} and {LAYERS}; if it holds something, the next free name (default: %(default)s)",
    )
    return parser


def run(arguments: argparse.Namespace) -> int:
    """0; 1 if two sides do not compute the same."""
    cases = quick_cases() if arguments.quick else all_cases()
    if arguments.only is not None:
        cases = chosen(cases, arguments.only)
    if arguments.list:
        print("\n".join(f"{case.name:<44}{case.about}" for case in cases))
        return 0
    options = _options(arguments)
    for module in ("threadpoolctl", "matplotlib"):  # before anything is printed or made
        require(module, "bench")
    folder = new_folder(arguments.out and free_folder(Path(arguments.out)))
    found = machine(options.threads)
    print(machine_as_text(found), flush=True)
    try:
        results = run_cases(cases, options, folder, _say)
    except WrongResult as error:
        print(f"tinyresnet: {error}", file=sys.stderr)
        return FAILED
    title = f"{found['processor']}, {options.threads} threads, float32, {options.rounds} rounds"
    print(f"\n{folder / RESULTS}", *draw(results, folder, title), sep="\n")
    return 0


def _options(arguments: argparse.Namespace) -> Options:
    threads = _cpus() if arguments.threads is None else arguments.threads
    rounds = (QUICK_ROUNDS if arguments.quick else ROUNDS) if arguments.rounds is None else arguments.rounds
    for flag, value, most in (("--threads", threads, 1024), ("--rounds", rounds, 10_000)):
        if not 1 <= value <= most:
            raise ValueError(
                f"{flag} must be an integer >= 1, not {value}" + (f": at most {most}" if value > most else "")
            )
    peers = arguments.peers
    if peers is None:  # compiling the small net takes longer than all the rest of --quick
        peers = [peer for peer in PEERS if not (arguments.quick and peer == "torch.compile")]
    options = Options(threads, rounds, tuple(peers))
    return options.quick() if arguments.quick else options


def _cpus() -> int:
    """Those that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _say(result: CaseResult) -> None:
    print(f"\n{as_text(result)}", flush=True)
