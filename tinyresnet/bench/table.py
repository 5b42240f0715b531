"""Results as text, for a terminal."""

from __future__ import annotations

from .results import CaseResult, Row


def as_text(result: CaseResult) -> str:
    """A heading, a line a side, the ratios, and who was left out."""
    lines = [f"{result.name}: {result.about}", *_columns(result)] if result.rows else [f"{result.name}: {result.about}"]
    for peer, ratio in result.ratios().items():
        spread = f" ({ratio.low:.2f} - {ratio.high:.2f})" if ratio.low < ratio.high else ""
        lines.append(f"  ours takes {ratio.value:.2f} x {peer}{spread}")
    lines += [f"  {note}" for note in result.notes]
    lines += [f"  left out: {side}: {why}" for side, why in result.left_out.items()]
    return "\n".join(lines)


def _columns(result: CaseResult) -> list[str]:
    """The header and the rows; a column that is empty in every row is left out."""
    table = [
        ("", result.unit, "half of them", "GFLOP/s", "of peak"),
        *(_cells(row, result.unit) for row in result.rows),
    ]
    kept = [i for i in range(5) if i < 2 or any(cells[i] for cells in table[1:])]
    widths = [max(len(cells[i]) for cells in table) for i in range(5)]
    return ["  " + "  ".join(_aligned(cells[i], widths[i], i) for i in kept).rstrip() for cells in table]


def _cells(row: Row, unit: str) -> tuple[str, ...]:
    first, third = row.quartiles()
    between = f"{_number(first)} - {_number(third)}" if len(row.samples) > 1 else ""
    rate = "" if row.gflops is None or unit == "GFLOP/s" else f"{row.gflops:.0f}"
    share = "" if row.share is None else f"{row.share:.0%}"
    return row.side, _number(row.median), between, rate, share


def _aligned(text: str, width: int, column: int) -> str:
    return text.ljust(width) if column == 0 else text.center(width) if column == 2 else text.rjust(width)


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}" if value >= 1 else f"{value:.3f}"
