"""The exercises of a notebook as the source of a file: the functions, and whatever at the notebook's top level they need.

The rest of the notebook (figures, training, `check` itself) is left out: it would run again for every exercise.
"""

from __future__ import annotations

import ast
import json
import re

from ..catalogue import NAMES
from ..language import Text
from ..submission import Unreadable, bound_by, parsed

_MAGIC = re.compile(r"^(\s*)[%!?].*$", re.MULTILINE)  # lines for Jupyter, not for Python


def source_of(notebook: bytes, name: str) -> bytes:
    """The code cells -> what the exercises in them need. Raises Unreadable for what is no notebook."""
    cells = [_MAGIC.sub(r"\1pass", cell) for cell in _code_cells(notebook, name)]
    statements = [(cell, s) for cell in cells if (tree := _tree(cell, name)) is not None for s in tree.body]
    kept = needed([statement for _, statement in statements])
    parts = [_text_of(cell, statement) for cell, statement in statements if id(statement) in kept]
    return ("\n\n\n".join(parts) + "\n").encode("utf-8", "replace")


def needed(statements: list[ast.stmt]) -> set[int]:
    """The ids of the definitions of exercises, and of every name that is used in what is kept."""
    names, kept = set(NAMES), set[int]()
    while True:
        more = [s for s in statements if id(s) not in kept and names.intersection(bound_by(s))]
        if not more:
            return kept
        kept.update(map(id, more))
        names |= {node.id for s in more for node in ast.walk(s) if isinstance(node, ast.Name)}


def _text_of(cell: str, statement: ast.stmt) -> str:
    """Its lines, decorators included."""
    first = min([statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", []))])
    return "\n".join(cell.splitlines()[first - 1 : statement.end_lineno])


def _code_cells(notebook: bytes, name: str) -> list[str]:
    try:
        cells = json.loads(notebook)["cells"]
        sources = [cell["source"] for cell in cells if cell["cell_type"] == "code"]
        return ["".join(source) if isinstance(source, list) else str(source) for source in sources]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Unreadable(Text(f"{name} is no notebook ({error})", f"{name} 不是笔记本文件（{error}）")) from error


def _tree(cell: str, name: str) -> ast.Module | None:
    """None for a cell that is not Python and holds no exercise: it is not asked for."""
    try:
        return parsed(cell.encode("utf-8", "replace"), name)
    except Unreadable:
        if any(f"def {exercise}" in cell for exercise in NAMES):
            raise
        return None
