"""Measures what docs/speed.md shows, and puts it there: `python docs/measure_speed.py`, a minute or so on a machine that does nothing else.

    docs/figures/speed_measured.json             the numbers, the machine, the versions
    docs/figures/speed_{ladder,roofline,time}.svg  drawn from it
    docs/speed.md, docs/zh/speed.md              the tables between `<!-- measured: NAME -->` and `<!-- end -->`

With `--from-file` nothing is measured: pictures and tables are made again from the numbers that are there.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "docs" / "figures"
MEASURED = FIGURES / "speed_measured.json"
PAGES = {"en": ROOT / "docs" / "speed.md", "zh": ROOT / "docs" / "zh" / "speed.md"}
BETWEEN = re.compile(r"(<!-- measured: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
ROUNDS = 12

RUNGS = {  # as the bench calls them -> as the Chinese page does
    "loops on paper": "纸上的循环",
    "the loops, compiled": "编译后的循环",
    "im2col and BLAS": "im2col 与 BLAS",
    "our micro-kernel": "我们的微内核",
    "Winograd F(2x2)": "Winograd F(2×2)",
    "Winograd F(4x4)": "Winograd F(4×4)",
    "+ bias and ReLU": "＋偏置与 ReLU",
    "+ shortcut": "＋捷径",
    "+ preactivation": "＋预激活",
}
KINDS = {
    "1x1 convolution": "1×1 卷积",
    "3x3 convolution": "3×3 卷积",
    "3x3 convolution, stride 2": "3×3 卷积，步长 2",
    "7x7 convolution, stride 2": "7×7 卷积，步长 2",
    "batch norm, ReLU": "批归一化与 ReLU",
    "max pool": "最大池化",
    "residual addition": "残差相加",
    "bias": "偏置",
    "subsampled shortcut": "下采样的捷径",
    "global mean": "全局平均",
    "between the ops": "算子之间",
    "together": "合计",
}


# ---- measuring -------------------------------------------------------------------------------------------------------------
def measure() -> dict[str, Any]:
    """Everything, in ms an image (medians of the rounds) and GFLOP/s."""
    from tinyresnet.bench.ladder import ladder_cases
    from tinyresnet.bench.machine import machine
    from tinyresnet.bench.options import Options
    from tinyresnet.bench.roofline import measured as roofline
    from tinyresnet.bench.shares import shares_cases
    from tinyresnet.kernels.cpu.threads import get_num_threads

    began, options = time.perf_counter(), Options(get_num_threads(), ROUNDS, ())
    found = machine(options.threads)
    before = roofline(7)
    ladder, shares = (
        {case.name: case.measure(options) for case in cases} for cases in (ladder_cases(), shares_cases())
    )
    after = roofline(7)  # twice, as others may use the machine for seconds on end: the better one counts
    roof = max(before, after, key=lambda roof: roof.peak)
    load = found.pop("load")
    return {
        "made_by": "python docs/measure_speed.py",
        "machine": found,
        "load_before": load,
        "seconds": round(time.perf_counter() - began),
        "ladder": {name: {row.side: _summary(row) for row in result.rows} for name, result in ladder.items()},
        "time": {
            name.split("/")[2]: {row.side: _summary(row) for row in result.rows} for name, result in shares.items()
        },
        "roofline": {
            **{key: round(getattr(roof, key), 1) for key in ("numpy_gflops", "kernel_gflops", "bandwidth", "peak")},
            "points": [[p.kind, p.shape, round(p.intensity, 3), round(p.gflops, 2)] for p in roof.points],
        },
    }


def _summary(row: Any) -> dict[str, float]:
    first, third = row.quartiles()
    numbers = {"ms": row.median, "first_quartile": first, "third_quartile": third, "smallest": min(row.samples)}
    if row.gflops is not None:
        numbers["gflops"] = row.gflops
    return {name: float(f"{value:.4g}") for name, value in numbers.items()}


# ---- tables ----------------------------------------------------------------------------------------------------------------
def tables(data: dict[str, Any], tongue: str) -> dict[str, str]:
    """name -> a Markdown table."""
    return {name: make(data, tongue) for name, make in TABLES.items()}


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _case(data: dict[str, Any], start: str) -> dict[str, Any]:
    found: dict[str, Any] = next(rows for name, rows in data["ladder"].items() if name.startswith(f"ladder/{start}"))
    return found


def _word(words: dict[str, str], name: str, tongue: str) -> str:
    kind, _, half = name.rpartition(", ")
    if half in ("forward", "backward"):
        return f"{_word(words, kind, tongue)}{', ' + half if tongue == 'en' else '，' + {'forward': '前向', 'backward': '反向'}[half]}"
    return words[name] if tongue == "zh" else re.sub(r"(\d)x(\d)", r"\1×\2", name)


def _loops(data: dict[str, Any], tongue: str) -> str:
    rows = [
        [_word(RUNGS, rung, tongue), _number(1e3 * one["ms"]), _number(one["gflops"])]
        for rung, one in _case(data, "loops").items()
    ]
    return _table(["8×8, 32 → 32" if tongue == "en" else "8×8，32 → 32", "µs", "GFLOP/s"], rows)


def _unit(data: dict[str, Any], tongue: str) -> str:
    cases = _case(data, "unit")
    first, peak = next(iter(cases.values()))["ms"], data["roofline"]["peak"]
    rows = [
        [
            _word(RUNGS, rung, tongue),
            _number(one["ms"]),
            f"{first / one['ms']:.1f}×",
            f"{one['gflops']:.0f}",
            f"{one['gflops'] / peak:.0%}",
        ]
        for rung, one in cases.items()
    ]
    head = ["56×56, 256 → 64 → 64 → 256", "ms an image", "faster", "GFLOP/s", "of peak"]
    return _table(head if tongue == "en" else [head[0].replace(", ", "，"), "毫秒/图", "快", "GFLOP/s", "占峰值"], rows)


def _layers(data: dict[str, Any], tongue: str) -> str:
    cases = {name.split("/")[2]: rows for name, rows in data["ladder"].items() if name.startswith("ladder/3x3")}
    rungs = list(next(iter(cases.values())))
    rows = [
        [
            _word(RUNGS, rung, tongue),
            *(f"{rows[rung]['ms']:.2f} ({rows[rung]['gflops']:.0f})" for rows in cases.values()),
        ]
        for rung in rungs
    ]
    head = [f"{size}×{size}, {channels}" for size, channels in (name.split("-") for name in cases)]
    return _table(["ms an image (GFLOP/s)" if tongue == "en" else "毫秒/图（GFLOP/s）", *head], rows)


def _time(data: dict[str, Any], tongue: str) -> str:
    frozen, training = data["time"]["frozen"], data["time"]["training"]
    kinds = [kind for kind in KINDS if any(kind in name for name in (*frozen, *training))]
    rows = [_time_row(kind, frozen, training, tongue) for kind in kinds]
    rows.sort(key=lambda row: (row[0] in ("together", "合计"), -float(row[-1].partition(" ")[0])))
    head = ["ms an image", "frozen", "training: forward", "backward", "both"]
    return _table(head if tongue == "en" else ["毫秒/图", "冻结推理", "训练：前向", "反向", "一共"], rows)


def _time_row(kind: str, frozen: dict[str, Any], training: dict[str, Any], tongue: str) -> list[str]:
    halves = [training.get(f"{kind}, {half}", {}).get("ms", 0.0) for half in ("forward", "backward")]
    both = training.get(kind, {}).get("ms", sum(halves))
    inference = frozen.get(kind, {}).get("ms", 0.0)
    whole, all_of_it = frozen["together"]["ms"], training["together"]["ms"]
    cells = [
        _with_share(inference, whole),
        *(f"{ms:.2f}" if ms else "–" for ms in halves),
        _with_share(both, all_of_it),
    ]
    return [_word(KINDS, kind, tongue), *cells]


def _with_share(ms: float, whole: float) -> str:
    return f"{ms:.2f} ({ms / whole:.0%})" if ms else "–"


def _roof(data: dict[str, Any], tongue: str) -> str:
    roof = data["roofline"]
    names = {
        "en": [
            "matrix product by NumPy, 2048³",
            "our micro-kernel, in the cache",
            "memory, a + b of 64 MB each",
            "where roof and slope meet",
        ],
        "zh": ["NumPy 的矩阵乘积，2048³", "我们的微内核，数据在缓存里", "内存，a + b，各 64 MB", "屋顶与斜坡相交处"],
    }[tongue]
    values = [
        f"{roof['numpy_gflops']:.0f} GFLOP/s",
        f"{roof['kernel_gflops']:.0f} GFLOP/s",
        f"{roof['bandwidth']:.0f} GB/s",
    ]
    values.append(f"{roof['peak'] / roof['bandwidth']:.0f} FLOP/byte")
    return _table(
        ["this machine" if tongue == "en" else "这台机器", ""], [list(row) for row in zip(names, values, strict=True)]
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


TABLES = {"loops": _loops, "unit": _unit, "layers": _layers, "time": _time, "roof": _roof}


def with_tables(text: str, data: dict[str, Any], tongue: str) -> str:
    """The page with its tables made anew."""
    made = tables(data, tongue)
    return BETWEEN.sub(lambda match: match.group(1) + "\n" + made[match.group(2)] + "\n" + match.group(3), text)


def main() -> int:
    if "--from-file" not in sys.argv[1:]:
        MEASURED.write_text(json.dumps(measure(), indent=1) + "\n", encoding="utf-8")
    data = json.loads(MEASURED.read_text(encoding="utf-8"))
    sys.path.insert(0, str(FIGURES))
    drawing = importlib.import_module("drawing")
    for name in ("speed_ladder", "speed_roofline", "speed_time"):
        print(drawing.save(importlib.import_module(name).draw(), name).relative_to(ROOT))
    for tongue, page in PAGES.items():
        page.write_text(with_tables(page.read_text(encoding="utf-8"), data, tongue), encoding="utf-8")
        print(page.relative_to(ROOT))
    print(f"measured in {data['seconds']} s; load before: {data['load_before']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
