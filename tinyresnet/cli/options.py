"""The options of a config: one for each of its settings, made of the setting's own words."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..training import Config, changed, read_config
from ..training.config import RECIPES, on_recipe, settings

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
        given[POSITIONAL] = _source(arguments.source)
    if arguments.config is not None:
        config = _of_file(Path(arguments.config), given)
        return changed(config, {POSITIONAL: _source(config.data.source)})  # the file's, too
    return on_recipe(given)


def _source(text: str) -> str:
    """A path is made absolute, so that the run can be resumed from anywhere; one that is not UTF-8 could not be written into its config."""
    if not text.strip():
        raise ValueError("SOURCE must be fashion, digits, scenes or a path, not empty")
    source = text if text in RECIPES else os.path.abspath(text)
    try:
        source.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"SOURCE must be a path in UTF-8, not {text!r}: rename it, or link to it") from error
    return source


def _of_file(path: Path, given: dict[str, Any]) -> Config:
    try:
        return read_config(path, given)
    except RecursionError as error:
        raise ValueError(f"{path}: its lists or tables are nested too deeply") from error
