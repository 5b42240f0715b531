"""What `check` says: to a program as attributes, to a reader as text or, in a notebook, as HTML."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ..backend import Array
from .language import Text

SHADES = " .:-=+*#%@"


class HeatMap(NamedTuple):
    """Where an output is wrong: error / largest entry, [rows, columns], and the letters of the two axes."""

    error: Array
    rows: str
    columns: str

    def _axes(self) -> Text:
        if not self.rows:
            return Text(f"{self.columns} across", f"横轴 {self.columns}")
        return Text(f"{self.rows} down, {self.columns} across", f"纵轴 {self.rows}，横轴 {self.columns}")

    def __str__(self) -> str:
        lines = []
        for row in self.error:
            cells = [SHADES[0] if not e > 1e-6 else SHADES[1 + min(8, int(min(e, 1.0) * 9))] for e in row]
            lines.append("  |" + "".join(cell * 2 for cell in cells) + "|")
        axes = Text(
            f"  {self._axes().en}; blank: right, @: wrong by the largest entry or more",
            f"  {self._axes().zh}；空白：正确，@：误差达到最大元素或更大",
        )
        return "\n".join([*lines, str(axes)])

    def _repr_html_(self) -> str:
        rows = []
        for row in self.error:
            cells = []
            for e in row:
                share = 1.0 if not np.isfinite(e) else min(1.0, float(e))
                color = (
                    "#e8f3ec"
                    if e <= 1e-6
                    else f"rgb({255 - int(20 * share)},{225 - int(150 * share)},{205 - int(165 * share)})"
                )
                cells.append(f'<td style="background:{color};width:1.6em;height:1.6em;padding:0" title="{e:.2g}"></td>')
            rows.append("<tr>" + "".join(cells) + "</tr>")
        caption = Text(f"error: {self._axes().en}", f"误差：{self._axes().zh}")
        table = '<table style="border-collapse:collapse;margin:0.3em 0">' + "".join(rows) + "</table>"
        return f"{table}<small>{html.escape(str(caption))}</small>"


def _marked(text: str) -> str:
    """As HTML, with what stands in backquotes as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


@dataclass
class CheckResult:
    """The result of `check`.

    name        of the exercise
    passed      whether the answer is right
    symptom     what was seen, in a sentence; "" when it passed
    diagnosis   names of the mistakes that were recognised
    hints       three steps: symptom, concept, line; `hint()` gives the next one
    error       the largest |yours - right| / largest entry over all outputs; nan if it did not come to numbers
    tolerance   what `error` may be
    """

    name: str
    passed: bool
    symptom: str = ""
    diagnosis: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    error: float = float("nan")
    tolerance: float = float("nan")
    explanations: list[str] = field(default_factory=list)  # of the diagnosis, a sentence each
    details: list[str] = field(default_factory=list)  # the worst entry, the finite difference there, ...
    notes: list[str] = field(default_factory=list)
    heat_map: HeatMap | None = None
    printed: str = ""  # what the function printed
    seconds: float = float("nan")  # that checking took
    shown: int = 1  # hints given so far: the symptom is the first

    def hint(self) -> str:
        """The next hint: the idea behind it, then the line. After the last, the last again."""
        if not self.hints:
            return str(Text("No hint is needed: it is right.", "不需要提示：答案是对的。"))
        self.shown = min(self.shown + 1, len(self.hints))
        return self.hints[self.shown - 1]

    def __bool__(self) -> bool:
        return self.passed

    def lines(self) -> list[str]:
        """The text, without the heat map and what the function printed."""
        if self.passed:
            head = Text(f"{self.name}: right", f"{self.name}：正确")
            return [f"✓ {head}", *(f"  {line}" for line in [*self.details, *self.notes])]
        head = Text(f"{self.name}: not yet", f"{self.name}：还不对")
        found, told = [], {self.symptom}
        for name, why in zip(self.diagnosis, self.explanations, strict=True):
            found.append(f"  → {name}" if why in told else f"  → {name}: {why}")
            told.add(why)
        return [f"✗ {head}", f"  {self.symptom}", *found, *(f"  {line}" for line in [*self.details, *self.notes])]

    def _more(self, how: str = ".hint()") -> str:
        left = len(self.hints) - self.shown
        if self.passed or left < 1:
            return ""
        return str(
            Text(
                f"  {left} more hint{'s' * (left > 1)}: .hint() gives the next",
                f"  还有 {left} 条提示：.hint() 给出下一条",
            )
        )

    def __str__(self) -> str:
        parts = ["\n".join(self.lines())]
        if self.heat_map is not None and not self.passed:
            parts.append(str(self.heat_map))
        if self.printed:
            parts.append(
                str(Text("  it printed:", "  它打印了：")) + "\n    " + self.printed.rstrip().replace("\n", "\n    ")
            )
        if more := self._more():
            parts.append(more)
        return "\n".join(parts)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        color = "#1b7f4d" if self.passed else "#b3261e"
        head, *rest = map(_marked, self.lines())
        body = "".join(f'<div style="white-space:pre-wrap;margin-left:0.4em">{line.strip()}</div>' for line in rest)
        heat = self.heat_map._repr_html_() if self.heat_map is not None and not self.passed else ""
        printed = f"<pre>{html.escape(self.printed)}</pre>" if self.printed else ""
        left = self._more("`_.hint()`").strip()  # _ is what a notebook calls the last result
        more = f"<div><small>{_marked(left)}</small></div>" if left else ""
        return (
            f'<div style="border-left:4px solid {color};padding:0.2em 0.8em;max-width:60em">'
            f'<div style="color:{color};font-weight:600">{head}</div>{body}{heat}{printed}{more}</div>'
        )
