"""Planted mistakes in the machine code: a copy of the package with one line of a kernel altered must fail the example named for it.

A mistake is one exchange of text. The old text must occur exactly once in its file; if not, the table is out of date.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

pytest.importorskip("numba")

from tests.kernels.processes import ROOT, run, said


class Mistake(NamedTuple):
    what: str
    file: str  # below kernels/ or tinyresnet/
    old: str
    new: str
    example: str  # of examples.py: the one that has to catch it


MISTAKES = [
    Mistake(
        "a constant of the input transform",
        "kernels/cpu/winograd.py", "v.fma(v.constant(-5), d[2], d[4])", "v.fma(v.constant(-4), d[2], d[4])",
        "conv2d-3x3-many-tiles",
    ),
    Mistake(
        "a constant of the weight transform",
        "kernels/cpu/winograd.py", "(1 / 24, 1 / 12, 1 / 6)", "(1 / 24, 1 / 12, 1 / 5)",
        "conv2d-3x3-many-tiles",
    ),
    Mistake(
        "a constant of the output transform",
        "kernels/cpu/winograd.py", "v.add(v.fma(v.constant(8), difference2", "v.add(v.fma(v.constant(4), difference2",
        "conv2d-3x3-many-tiles",
    ),
    Mistake(
        "a constant of the gradient's transform",
        "kernels/cpu/winograd_weights.py", "(1, 2, 4, 8)", "(1, 2, 4, 4)",
        "conv2d-3x3-many-tiles",
    ),
    Mistake(
        "padding off by one",
        "kernels/cpu/winograd.py", "top, left = row - s.top, column - s.left", "top, left = row - s.top + 1, column - s.left",
        "conv2d-3x3-uneven-padding",
    ),
    Mistake(
        "the last channel left out",
        "kernels/cpu/convolution.py", "for j in range(columns):", "for j in range(columns - 1):",
        "conv2d-1x1-odd",
    ),
    Mistake(
        "a task's last row of pixels dropped",
        "kernels/cpu/convolution.py", "* TILE, pixels) - first", "* TILE, pixels - 1) - first",
        "conv2d-1x1-many-pixels",
    ),
    Mistake(
        "a part's last pixel left out of dw",
        "kernels/cpu/outer.py", "share(pixels, s.split, part + 1)", "share(pixels, s.split, part + 1) - 1",
        "conv2d-1x1-many-pixels",
    ),
    Mistake(
        "a tile's last channel not copied for dw",
        "kernels/cpu/outer.py", "copy(like, channels - last * WHOLE, (room", "copy(like, channels - last * WHOLE - 1, (room",
        "conv2d-1x1-odd",
    ),
    Mistake(
        "the channels of one tile dealt to the next",
        "kernels/cpu/outer.py", "x + t * WHOLE * size)", "x + (t + 1) * WHOLE * size)",
        "conv2d-1x1-odd",
    ),
    Mistake(
        "statistics of a part's last block lost",
        "kernels/cpu/batch_norm.py", "range(start, end, BLOCK)", "range(start, end - BLOCK, BLOCK)",
        "batch_norm-blocks",
    ),
    Mistake(
        "ReLU before beta is added",
        "kernels/cpu/batch_norm.py",
        "y.store(v.max(v.fma(scale.load(), v.sub(x.load(), mean.load()), beta.load()), v.zero))",
        "y.store(v.add(v.max(v.mul(scale.load(), v.sub(x.load(), mean.load())), v.zero), beta.load()))",
        "batch_norm_relu-odd",
    ),
    Mistake(
        "the gradient passes where ReLU is 0",
        "kernels/cpu/rows.py", "v.where(v.greater(y, v.zero), dy, v.zero)", "v.where(v.greater(y, v.constant(-1)), dy, v.zero)",
        "relu-odd",
    ),
    Mistake(
        "the last of a tie wins",
        "kernels/cpu/pooling.py", "larger = v.greater(candidate, best)", 'larger = v.builder.fcmp_ordered(">=", candidate, best)',
        "max_pool2d-pool1-ties",
    ),
    Mistake(
        "neighbours instead of every second pixel",
        "kernels/cpu/elementwise.py", "source + q * s.sh * pixel", "source + q * pixel",
        "subsample-2-odd",
    ),
    Mistake(
        "the mean over one pixel too many",
        "kernels/cpu/pooling.py", "read_double(sums + 8 * i) / s.h", "read_double(sums + 8 * i) / (s.h + 1)",
        "global_avg_pool-odd",
    ),
    Mistake(
        "a part's last pixel left out of the bias gradient",
        "kernels/cpu/elementwise.py", "end = share(s.n, s.tasks, task + 1)", "end = share(s.n, s.tasks, task + 1) - 1",
        "bias_add-blocks",
    ),
]  # fmt: skip


def copy_of_the_package(folder: Path) -> Path:
    """tinyresnet/ as a wheel has it, with kernels/ inside."""
    no_caches = shutil.ignore_patterns("__pycache__", "*.npz", "*.csv.gz")
    shutil.copytree(ROOT / "tinyresnet", folder / "tinyresnet", ignore=no_caches)
    shutil.copytree(ROOT / "kernels", folder / "tinyresnet" / "kernels", ignore=no_caches)
    return folder


def alter(package: Path, mistake: Mistake) -> None:
    inside = "tinyresnet" if mistake.file.startswith("kernels/") else ""
    path = package / inside / mistake.file
    text = path.read_text(encoding="utf-8")
    count = text.count(mistake.old)
    assert count == 1, f"the table is out of date: {mistake.file} has {mistake.old!r} {count} times"
    path.write_text(text.replace(mistake.old, mistake.new), encoding="utf-8")


def check_copy(package: Path, *examples: str) -> tuple[int, str]:
    """The status of the check of these examples with this copy and a cache of its own; and all that it said."""
    process = run("check", *examples, package=package, NUMBA_CACHE_DIR=str(package / "cache"))
    assert f"package {package}" in process.stdout, f"another copy was checked: {said(process)}"
    return process.returncode, said(process)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.what)
def test_the_table_is_up_to_date(mistake: Mistake) -> None:
    assert (ROOT / mistake.file).read_text(encoding="utf-8").count(mistake.old) == 1, f"{mistake.file}: {mistake.old!r}"


@pytest.mark.slow(seconds=55)
def test_an_unaltered_copy_passes(tmp_path: Path) -> None:
    """Else any copy would fail, and every mistake would seem caught."""
    examples = sorted({mistake.example for mistake in MISTAKES}) or ["relu-odd"]
    status, output = check_copy(copy_of_the_package(tmp_path), *examples)
    assert status == 0, output


@pytest.mark.slow(seconds=25)
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.what)
def test_a_mistake_in_a_kernel_is_caught(mistake: Mistake, tmp_path: Path) -> None:
    package = copy_of_the_package(tmp_path)
    alter(package, mistake)
    status, output = check_copy(package, mistake.example)
    assert status == 1 and "FAILED" in output, f"not caught: {output}"
    assert "AssertionError" in output, f"it does not compute wrongly, it does not compute: {output}"
