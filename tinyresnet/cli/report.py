"""`tinyresnet report RUN`: the page of a run, written anew."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ..report import write_report


def add(commands: Any) -> argparse.ArgumentParser:
    """Its arguments."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "report", help="write the page of a run: curves, mistakes, filters, Grad-CAM"
    )
    parser.add_argument("run_folder", metavar="RUN", help="the folder of a run, finished or not")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Prints where the page is; 0."""
    page = write_report(Path(arguments.run_folder), noticed=lambda text: print(f"note: {text}", file=sys.stderr))
    print(json.dumps({"report": str(page)}) if arguments.json else f"report: {page}")
    return 0
