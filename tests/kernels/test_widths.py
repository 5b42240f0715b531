"""The examples on narrower machines: a process in which Numba compiles for another CPU than this one has.

What this machine cannot run is printed as "not run" and passes: a green test here speaks only of the widths that it lists (`pytest -rP`).
"""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

pytest.importorskip("numba")

from tests.kernels.processes import run, said

NO_AVX512 = ",".join(f"-avx512{part}" for part in "f bw cd dq vl vnni ifma vbmi vbmi2 bitalg vpopcntdq bf16".split())
SSE = "+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt"
X86 = {  # name: (NUMBA_CPU_NAME, NUMBA_CPU_FEATURES, what the machine must have, the width in bits)
    "AVX-512": (
        "skylake-avx512",
        "+avx512f,+avx512bw,+avx512cd,+avx512dq,+avx512vl,+avx2,+fma,+bmi,+bmi2",
        "avx512vl",
        512,
    ),
    "AVX2": ("haswell", f"+avx,+avx2,+fma,+bmi,+bmi2,+f16c,{NO_AVX512}", "avx2", 256),
    "AVX without FMA": ("sandybridge", f"{SSE},+avx,-avx2,-fma,{NO_AVX512}", "avx", 256),
    "SSE4.2": ("nehalem", f"{SSE},-avx,-avx2,-fma,{NO_AVX512}", "sse4.2", 128),
    "generic": ("generic", "", "", 128),
}


def host_features() -> set[str]:
    import llvmlite.binding as llvm

    return {name for name, has in llvm.get_host_cpu_features().items() if has}


def width_of(output: str) -> str:
    return next(line.removeprefix("width ") for line in output.splitlines() if line.startswith("width "))


@pytest.mark.slow(seconds=55)
@pytest.mark.parametrize("target", X86)
def test_a_narrower_target(target: str, tmp_path: Path) -> None:
    name, features, needed, bits = X86[target]
    if platform.machine().lower() not in ("x86_64", "amd64"):
        print(f"{target}: not run (this is {platform.machine()})")
        return
    if needed and needed not in host_features():
        print(f"{target}: not run (this machine has no {needed})")
        return
    process = run("check", NUMBA_CPU_NAME=name, NUMBA_CPU_FEATURES=features, NUMBA_CACHE_DIR=str(tmp_path))
    assert process.returncode == 0, said(process)
    assert width_of(process.stdout) == str(bits), said(process)
    print(f"{target}: run, with vectors of {bits} bits")


@pytest.mark.slow(seconds=65)
def test_this_machine_from_an_empty_cache(tmp_path: Path) -> None:
    """And a second process, which finds the first one's machine code, gives the same."""
    for which in ("empty", "warm"):
        process = run("check", NUMBA_CACHE_DIR=str(tmp_path))
        assert process.returncode == 0, f"{which} cache: {said(process)}"
        print(f"this machine, {which} cache: run, with vectors of {width_of(process.stdout)} bits")
