"""`tinyresnet bench`, its small version: it fails on wrong results, never on time."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.outcome import Call, assert_refused
from tinyresnet import use_backend
from tinyresnet.bench import quick_cases
from tinyresnet.ops import conv2d_forward

pytestmark = pytest.mark.host_only

LAYER = "layer/3x3/9-12/b2/forward"


@pytest.fixture(autouse=True)
def packages() -> None:
    for package in ("matplotlib", "threadpoolctl"):
        pytest.importorskip(package)


def complaints(err: str) -> list[str]:
    """What is on stderr, but for the line that says that kernels are being compiled."""
    return [line for line in err.splitlines() if "compiling" not in line]


def told(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / "results.json").read_text())
    assert isinstance(found, dict)
    return found


def test_the_small_version_measures_beside_every_peer(call: Call, empty_folder: Path) -> None:
    for package in ("torch", "onnx", "onnxruntime", "openvino", "numba"):
        pytest.importorskip(package)
    names = ["peak/gemm", "frozen/resnet_v2_tiny/33/b2", "training/resnet_v2_tiny/64/b4", LAYER]
    code, out, err = call("bench", "--quick", "--only", *names)
    assert code == 0 and not complaints(err)
    assert out.splitlines()[-3:] == [
        str(Path("runs", "bench", name)) for name in ("results.json", "chart.png", "layers.png")
    ]
    found = told(empty_folder / "runs" / "bench")
    results = {case["case"]: case for case in found["cases"]}
    assert list(results) == names
    for name, case in results.items():
        assert name in out and not (name != "peak/gemm" and case["left_out"]), (name, case["left_out"])
        assert all(sample > 0 for side in case["sides"] for sample in side["samples"])
    frozen = results["frozen/resnet_v2_tiny/33/b2"]
    assert set(frozen["ratios"]) == {"PyTorch", "ONNX Runtime", "OpenVINO"} and len(frozen["compared"]) == 4
    assert set(results["training/resnet_v2_tiny/64/b4"]["ratios"]) == set(results[LAYER]["ratios"]) == {"PyTorch"}
    assert found["peak_gflops"] > 0 and frozen["sides"][0]["share_of_peak"] > 0
    assert found["machine"]["threads"] >= 1 and found["machine"]["features"] and found["machine"]["blas"]["name"]
    for line in ("BLAS of NumPy: ", "onnxruntime ", "threads a side"):
        assert line in out


@pytest.mark.slow(seconds=50)
def test_the_whole_small_version(call: Call, empty_folder: Path) -> None:
    for package in ("torch", "onnx", "onnxruntime", "openvino", "numba"):
        pytest.importorskip(package)
    code, _, err = call("bench", "--quick", "--out", "all")
    assert code == 0 and not complaints(err)
    results = {case["case"]: case for case in told(empty_folder / "all")["cases"]}
    assert list(results) == [case.name for case in quick_cases()]
    assert set(results["demo/training"]["ratios"]) == {"NumPy"}
    assert all(case["sides"] and (case["ratios"] or name == "peak/gemm") for name, case in results.items())


@pytest.mark.slow
def test_a_kernel_that_is_wrong_stops_it(call: Call, empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("torch", "numba"):
        pytest.importorskip(package)
    from tinyresnet.ops.compiled import KERNELS

    def wrong(x: Any, w: Any, **geometry: Any) -> Any:
        with use_backend("numpy"):
            y, saved = conv2d_forward(x, w, **geometry)
        y[-1, -1, -1, -1] += 1
        return y, saved

    arguments = (
        "bench",
        "--quick",
        "--peers",
        "pytorch",
        "--only",
        "layer/1x1/*/backward",
        LAYER,
        "layer/max-pool/*",
        "--out",
    )
    monkeypatch.setitem(KERNELS, "conv2d_forward", wrong)
    code, out, err = call(*arguments, "wrong")
    (line,) = complaints(err)
    assert code == 1 and "layer/max-pool" not in out
    assert line.startswith(
        f"tinyresnet: {LAYER}: nothing was timed, since tinyresnet, numba and PyTorch, channels_last"
    )
    assert LAYER not in [case["case"] for case in told(empty_folder / "wrong")["cases"]]
    monkeypatch.undo()
    monkeypatch.chdir(empty_folder)
    assert call(*arguments, "right").code == 0
    assert LAYER in [case["case"] for case in told(empty_folder / "right")["cases"]]


@pytest.mark.slow
def test_alone_it_is_compared_with_the_plain_functions(call: Call, empty_folder: Path) -> None:
    pytest.importorskip("numba")
    code, out, err = call(
        "bench", "--quick", "--peers", "--only", LAYER, "--out", "alone", "--threads", 1, "--rounds", 4
    )
    assert code == 0 and not complaints(err) and "PyTorch" not in out.split(LAYER)[1]
    (peak, layer) = told(empty_folder / "alone")["cases"]  # what has GFLOP/s is a share of the peak
    assert peak["case"] == "peak/gemm" and layer["sides"][0]["gflops"] > 0
    assert [len(side["samples"]) for side in layer["sides"]] == [4] and list(layer["compared"]) == ["tinyresnet, numpy"]
    assert sorted(path.name for path in (empty_folder / "alone").iterdir()) == ["results.json"]


def test_a_peer_that_is_not_installed_is_left_out(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setitem(sys.modules, "torch", None)
    only = "frozen/resnet_v2_tiny/33/b2"
    code, out, err = call("bench", "--quick", "--only", only, "--peers", "pytorch", "onnxruntime")
    assert code == 0 and not complaints(err)
    for name, package in (("PyTorch", "torch"), ("ONNX Runtime", "onnxruntime")):
        assert (
            f'  left out: {name}: this needs {package}, which is not installed: pip install "tinyresnet[bench]"\n'
            in out
        )


@pytest.mark.slow
def test_a_second_run_gets_a_folder_of_its_own(call: Call, empty_folder: Path) -> None:
    arguments = "bench", "--quick", "--peers", "--only", "peak/gemm", "--rounds", 1
    assert call(*arguments).code == call(*arguments).code == 0
    assert sorted(path.name for path in (empty_folder / "runs").iterdir()) == ["bench", "bench-2"]


def test_the_list(call: Call, empty_folder: Path) -> None:
    code, out, err = call("bench", "--list", "--only", "frozen/resnet_v2_50/*", "demo/*")
    assert code == 0 and not complaints(err) and len(out.splitlines()) == 10
    assert out.startswith("frozen/resnet_v2_50/224/b1 ") and "demo/training " in out
    assert list(empty_folder.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "frozen/*", "sparse/*"], "--only must name cases, and 'sparse/*' fits none"),
        (["--only", "frozen/resnet_v2_50/224/b9"], "did you mean frozen/resnet_v2_50/224/b"),
        (["--threads", "0"], "--threads must be an integer >= 1, not 0"),
        (["--rounds", "-1"], "--rounds must be an integer >= 1, not -1"),
        (["--peers", "tensorflow"], "invalid choice: 'tensorflow'"),
        (["--out", ""], "--out must be the path of a folder"),
    ],
)
def test_wrong_arguments_are_told_and_nothing_is_made(
    arguments: list[str], said: str, call: Call, empty_folder: Path
) -> None:
    assert_refused(call("bench", *arguments), said)
    assert list(empty_folder.iterdir()) == []


def test_without_the_extra_it_says_what_to_install(
    call: Call, empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    assert_refused(call("bench", "--quick"), 'pip install "tinyresnet[bench]"')
    assert list(empty_folder.iterdir()) == []
