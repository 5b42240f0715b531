"""Floor 6: the report of a run, a page in English and Chinese: `write_report("runs/mine")` makes runs/mine/index.html."""

from .write import write_report

__all__ = ["write_report"]
