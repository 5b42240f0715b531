"""`tinyresnet exercise list | show | start | check | pack | grade`: for a learner, and for a teacher."""

from __future__ import annotations

import argparse
from typing import Any

from . import exercise_learn, exercise_teach


def add(commands: Any) -> argparse.ArgumentParser:
    """Its actions and their arguments."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "exercise", help="exercises that say what you did wrong: list, show, start, check; for teachers: pack, grade"
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for added in (*exercise_learn.add(actions), *exercise_teach.add(actions)):
        added.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Does the action and returns its exit code."""
    return int(arguments.act(arguments))
