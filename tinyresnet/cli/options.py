"""The options of a config: one for each of its settings, made of the setting's own words."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..training import Config, changed, read_config, recipe
from ..training.config import settings

POSITIONAL = "source"  # SOURCE is an argument of its own


def add_settings(parser: argparse.ArgumentParser) -> None:
    """--epochs, --learning-rate, --flip and --no-flip, --units 1,1,2 and all others; what is not given is not in the namespace."""
    groups = {"": parser.add_argument_group("the task")}
    for name, (section, option) in settings().items():
        if name == POSITIONAL:
            continue
        group = groups.setdefault(section, parser.add_argument_group(f"[{section}]"))
        flag, about = flag_of(name), _about(option)
        if isinstance(option.default, bool):
            group.add_argument(flag, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=about)
        else:
            group.add_argument(
                flag, type=_reader(name, option), default=argparse.SUPPRESS, metavar=_metavar(option), help=about
            )


def flag_of(name: str) -> str:
    """learning_rate -> --learning-rate."""
    return "--" + name.replace("_", "-")


def _about(option: Any) -> str:
    """What it does, which words it takes, its default."""
    default = option.default
    if isinstance(default, tuple):
        default = ",".join(map(str, default)) or "none"
    elif isinstance(default, bool):
        default = "yes" if default else "no"
    choices = f": {option.metadata['allowed']}" if isinstance(option.default, str) else ""
    return f"{option.metadata['about']}{choices} (default: {default})".replace("%", "%%")


def _metavar(option: Any) -> str:
    return {int: "N", float: "X", str: "NAME", tuple: "A,B,..."}[type(option.default)]


def _reader(name: str, option: Any) -> Callable[[str], Any]:
    """text -> value, as a TOML file would have it; what is no number stays text, and the config's check names it."""
    item: Callable[[str], Any] = float if name in ("boundaries", "factors") else int

    def number(text: str, kind: Callable[[str], Any]) -> Any:
        try:
            return kind(text)
        except ValueError:
            return text

    def read(text: str) -> Any:
        if isinstance(option.default, tuple):
            return tuple(number(part, item) for part in text.split(",")) if text.strip() else ()
        return text if isinstance(option.default, str) else number(text, type(option.default))

    return read


def config_of(arguments: argparse.Namespace) -> Config:
    """The config: the recipe of the source, then the file of --config, then the options. Raises ValueError, OSError."""
    given = {name: getattr(arguments, name) for name in settings() if name != POSITIONAL and name in arguments}
    if arguments.source is not None:
        given[POSITIONAL] = _in_unicode(arguments.source)
    if arguments.config is not None:
        base = _of_file(Path(arguments.config))
    else:
        base = recipe(given.get(POSITIONAL), given.get("task"))
    return changed(base, with_warmup(base, given))


def with_warmup(base: Config, given: dict[str, Any]) -> dict[str, Any]:
    """`given`; if that shortens the run to less than its warm-up, and says nothing of it, with one of half the epochs."""
    epochs = given.get("epochs")
    if not isinstance(epochs, int) or "warmup_epochs" in given or base.training.warmup_epochs < epochs:
        return given
    return {**given, "warmup_epochs": max(epochs, 0) / 2}


def _in_unicode(source: str) -> str:
    """A path that is not valid UTF-8 could not be written into the run's config."""
    try:
        source.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"SOURCE must be a path in UTF-8, not {source!r}: rename it, or link to it") from error
    return source


def _of_file(path: Path) -> Config:
    try:
        return read_config(path)
    except RecursionError as error:
        raise ValueError(f"{path}: its lists or tables are nested too deeply") from error
