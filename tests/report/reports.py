"""Composing a report quickly, for the tests that look at one."""

from __future__ import annotations

from typing import Any, NamedTuple

import tinyresnet
from tests.report.html_page import Element, read


class Report(NamedTuple):
    """A composed report."""

    text: str
    page: Element  # the same as a tree
    files: dict[str, bytes]  # the pictures by their paths


def compose(run: Any) -> tuple[str, dict[str, bytes]]:
    """As the report does it, in plain NumPy: nothing here is about speed, and no kernel need be compiled."""
    from tinyresnet.report.page import compose as compose_report

    with tinyresnet.use_backend("numpy"):
        return compose_report(run)


def report_of(run: Any) -> Report:
    """The same with the page as a tree."""
    text, files = compose(run)
    return Report(text, read(text), files)
