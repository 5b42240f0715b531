"""Commands for the user to copy: they work as printed, whatever the folder is called and however this command was started."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path


def resuming(folder: Path) -> str:
    """tinyresnet train --resume FOLDER."""
    return f"{program()} train --resume {quoted(folder)}"


def reporting(folder: Path) -> str:
    """tinyresnet report FOLDER."""
    return f"{program()} report {quoted(folder)}"


def program() -> str:
    """`tinyresnet` as it was called: with its path if the shell would not find it, by Python if Python ran it."""
    ran = getattr(sys.modules["__main__"], "__spec__", None)
    if ran is not None and ran.name == "tinyresnet.__main__":  # python -m tinyresnet
        return f"{_named('python', sys.executable)} -m tinyresnet"
    started = Path(sys.argv[0])
    return _named("tinyresnet", started) if started.stem == "tinyresnet" else "tinyresnet"


def _named(name: str, path: str | Path) -> str:
    """The name alone, if a shell that is given it finds that very file; else the path."""
    found = shutil.which(name)
    if found is not None and os.path.abspath(found) == os.path.abspath(path):
        return name
    return quoted(path)


def quoted(path: str | Path) -> str:
    """For the shell. What the console cannot show is written in bytes, $'\\xe8\\xbf\\x90', as bash and zsh read it."""
    text = os.fspath(path)
    if text.startswith("-"):
        text = f"./{text}"  # else it would be an option
    if _can_be_shown(text):
        return shlex.quote(text)
    shown = {byte: f"\\x{byte:02x}" for byte in range(256) if not 32 <= byte < 127} | {39: "\\'", 92: "\\\\"}
    return "$'" + "".join(shown.get(byte, chr(byte)) for byte in os.fsencode(text)) + "'"


def _can_be_shown(text: str) -> bool:
    try:
        for stream in (sys.stdout, sys.stderr):
            text.encode(getattr(stream, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return text.isprintable()
