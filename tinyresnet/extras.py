"""Packages that only some commands need: NumPy is the one that tinyresnet always has."""

from __future__ import annotations

import importlib
from typing import Any

PACKAGE_OF = {"PIL": "pillow"}  # module -> package, where the two names differ


class MissingExtra(ImportError):
    """A package of an extra is not installed; the message is the one line that brings it.

    package   as pip calls it, "matplotlib"
    extra     of setup.py, "plot": pip install "tinyresnet[plot]"
    """

    def __init__(self, extra: str, package: str) -> None:
        super().__init__(f'this needs {package}, which is not installed: pip install "tinyresnet[{extra}]"')
        self.extra, self.package = extra, package


def require(module: str, extra: str) -> Any:
    """The imported module: `require("matplotlib.figure", "plot")`. Raises MissingExtra if its package is not installed.

    A package that is installed and cannot be imported for another reason raises its own error: pip would not mend that.
    """
    top = module.partition(".")[0]
    try:
        importlib.import_module(top)
    except ModuleNotFoundError as error:
        if error.name != top:
            raise
        raise MissingExtra(extra, PACKAGE_OF.get(top, top)) from error
    return importlib.import_module(module)
