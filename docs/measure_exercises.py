"""Makes the tables of docs/exercises.md: `python docs/measure_exercises.py`, a minute.

    docs/exercises.md, docs/zh/exercises.md    the tables between `<!-- measured: NAME -->` and `<!-- end -->`

`power`: every planted mistake of every exercise handed in. `list`: the exercises. `time`: what one check takes.
"""

from __future__ import annotations

import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = {"en": ROOT / "docs" / "exercises.md", "zh": ROOT / "docs" / "zh" / "exercises.md"}
BETWEEN = re.compile(r"(<!-- measured: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
sys.path.insert(0, str(ROOT))

from tinyresnet import exercises  # noqa: E402
from tinyresnet.exercises.power import Power, planted, power_table  # noqa: E402

HEADS = {
    "en": {
        "list": "| exercise | what it is about | minutes | notebook | presupposes |\n|---|---|---|---|---|",
        "power": "| exercise | planted | rejected | named | of these, a check with ones passes |\n|---|---|---|---|---|",
        "together": "together",
    },
    "zh": {
        "list": "| 练习 | 内容 | 分钟 | 笔记本 | 先做 |\n|---|---|---|---|---|",
        "power": "| 练习 | 埋入 | 拒绝 | 叫出名字 | 其中全 1 检查放行的 |\n|---|---|---|---|---|",
        "together": "合计",
    },
}


def list_table(language: str) -> str:
    """A row an exercise."""
    rows = [HEADS[language]["list"]]
    for e in exercises.all():
        title = e.title.zh if language == "zh" else e.title.en
        before = ", ".join(f"`{name}`" for name in e.presupposes) or "–"
        rows.append(f"| `{e.name}` | {title} | {e.minutes} | {e.notebook} | {before} |")
    return "\n".join(rows) + "\n"


def power_rows(table: list[Power], language: str) -> str:
    """A row an exercise, and the sums. A dash where there is no upstream gradient that could be ones."""
    rows = [HEADS[language]["power"]]
    for row in table:
        ones = str(len(row.accepted_by_ones)) if row.has_gradient else "–"
        rows.append(f"| `{row.name}` | {row.planted} | {row.rejected} | {row.named} | {ones} |")
    planted_, rejected, named = (sum(getattr(row, key) for row in table) for key in ("planted", "rejected", "named"))
    ones = sum(len(row.accepted_by_ones) for row in table)
    with_gradient = sum(row.planted for row in table if row.has_gradient)
    sums = f"**{planted_}** | **{rejected}** | **{named}** ({named / planted_:.0%}) | **{ones} of {with_gradient}**"
    rows.append(f"| **{HEADS[language]['together']}** | {sums} |")
    return "\n".join(rows) + "\n"


def written(text: str, tables: dict[str, str]) -> str:
    """The page with these tables in their places."""
    return BETWEEN.sub(lambda found: found[1] + "\n" + tables[found[2]] + "\n" + found[3], text)


def seconds_of_checks() -> dict[str, tuple[float, float]]:
    """Exercise -> seconds of `check` for a right answer, and the longest for any of its planted mistakes."""

    def took(call: Callable[[], object]) -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    found = {}
    for e in exercises.all():
        right = [took(lambda e=e: exercises.check(e.name, e.also_right[0], progress=False)) for _ in range(5)]
        wrong = [took(lambda e=e, m=m: exercises.check(e.name, planted(e, m.name), progress=False)) for m in e.mistakes]
        found[e.name] = (statistics.median(right), max(wrong))
    return found


def main() -> None:
    """Writes the tables and prints the times."""
    table = power_table()
    for language, path in PAGES.items():
        tables = {"list": list_table(language), "power": power_rows(table, language)}
        path.write_text(written(path.read_text(encoding="utf-8"), tables), encoding="utf-8")
    times = seconds_of_checks()
    for name, (right, wrong) in times.items():
        print(f"{name:<40} right {right:6.3f} s, slowest diagnosis {wrong:6.3f} s")
    print(
        f"slowest right {max(r for r, _ in times.values()):.3f} s, slowest diagnosis {max(w for _, w in times.values()):.3f} s"
    )
    for row in table:
        if row.accepted_by_ones:
            print(row.name, "ones accept:", ", ".join(row.accepted_by_ones))
        if row.named < row.planted or row.rejected < row.planted:
            print("NOT ALL", row)


if __name__ == "__main__":
    main()
