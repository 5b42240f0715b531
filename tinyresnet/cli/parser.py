"""argparse in this house's manner: an error is one line, and an option that is spelled wrong is told, not guessed."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from typing import Any, NoReturn

from .exits import USAGE


class Parser(argparse.ArgumentParser):
    """Options are written in full: `--epoch` would mean something else on the day on which there is an `--epoch-length`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})

    def parse_known_args(  # type: ignore[override]  # argparse's stubs have three overloads of it
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse does, but each command refuses by itself what it does not know: it knows its options."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            options = [flag for flag in self._option_string_actions if flag.startswith("--")]
            near = difflib.get_close_matches(unknown[0].partition("=")[0], options, n=2)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """One line on stderr instead of the whole usage; exit code 2."""
        said = " ".join(message.split())
        self.exit(USAGE, f"{self.prog}: {said}{'' if said.endswith('?') else '.'} See {self.prog} --help\n")
