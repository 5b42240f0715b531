"""Medians, ratios, the table, the JSON and the picture of numbers that are known."""

from __future__ import annotations

import json

import pytest

from tinyresnet.bench.chart import bars_png, layer_groups, net_groups
from tinyresnet.bench.compare import Finding
from tinyresnet.bench.results import OURS, CaseResult, Row
from tinyresnet.bench.run import draw
from tinyresnet.bench.table import as_text

pytestmark = pytest.mark.host_only

NET = CaseResult(
    "frozen/net/b8",
    "a net",
    "ms/image",
    (
        Row(f"{OURS}, frozen", (30.0, 31.0, 29.0, 90.0, 30.0), OURS, 200.0, 1.25),
        Row("PyTorch, channels_last", (60.0, 62.0, 58.0, 90.0, 60.0), "PyTorch"),
        Row("PyTorch, contiguous", (70.0, 80.0, 75.0, 71.0, 72.0), "PyTorch"),
        Row("OpenVINO", (40.0, 40.0, 40.0, 40.0, 40.0), "OpenVINO"),
        Row(f"{OURS}, from a file", (3.0, 3.0, 3.0, 3.0, 3.0), f"{OURS}, from a file"),
    ),
    {"ONNX Runtime": "not installed"},
    {"OpenVINO": Finding("logits", 2e-6, 1e-3)},
    ("a note",),
)


def test_the_median_and_the_quartiles() -> None:
    row = NET.rows[0]
    assert row.median == 30.0 and row.quartiles() == (30.0, 31.0)
    assert Row("x", (4.0,), "x").quartiles() == (4.0, 4.0)


def test_ours_over_the_better_of_each_peer() -> None:
    ratios = NET.ratios()
    assert set(ratios) == {"PyTorch", "OpenVINO"}, "a row of ours that counts for nobody is no peer"
    assert ratios["PyTorch"] == pytest.approx((0.5, 0.5, 0.5)) and ratios["OpenVINO"] == pytest.approx(
        (0.75, 0.75, 0.775)
    )
    assert CaseResult("x", "", "GFLOP/s", NET.rows).ratios() == {}
    assert CaseResult("x", "", "MB", NET.rows[1:]).ratios() == {}, "without ours there is no ratio"


def test_json_has_every_sample_and_what_was_compared() -> None:
    told = json.loads(json.dumps(NET.as_json()))
    assert told["case"] == "frozen/net/b8" and told["unit"] == "ms/image" and told["notes"] == ["a note"]
    assert [side["samples"] for side in told["sides"]] == [list(row.samples) for row in NET.rows]
    assert told["sides"][0]["median"] == 30.0 and told["sides"][0]["share_of_peak"] == 1.25
    assert told["ratios"]["PyTorch"]["value"] == 0.5 and told["left_out"] == {"ONNX Runtime": "not installed"}
    assert told["compared"] == {"OpenVINO": {"name": "logits", "error": 2e-6, "tolerance": 1e-3}}


def test_the_table_says_it_in_lines() -> None:
    lines = as_text(NET).splitlines()
    assert lines[0] == "frozen/net/b8: a net" and lines[1].split() == "ms/image half of them GFLOP/s of peak".split()
    assert lines[2].split() == "tinyresnet, frozen 30 30 - 31 200 125%".split()
    assert "  ours takes 0.50 x PyTorch" in lines and "  ours takes 0.75 x OpenVINO (0.75 - 0.78)" in lines
    assert lines[-2:] == ["  a note", "  left out: ONNX Runtime: not installed"]


def layer(half: str, ours: float) -> CaseResult:
    rows = (Row(OURS, (ours,), OURS), Row("PyTorch, contiguous", (2.0,), "PyTorch"))
    return CaseResult(f"layer/3x3/56-64/b8/{half}", "a layer", "ms/image", rows)


def test_pictures_show_nets_by_peer_and_layers_by_half(tmp_path: object) -> None:
    pytest.importorskip("matplotlib")
    results = [NET, layer("forward", 1.0), layer("backward", 3.0)]
    assert net_groups(results) == {"frozen/net/b8": {"PyTorch": 0.5, "OpenVINO": 0.75}}
    assert layer_groups(results) == {"3x3/56-64/b8": {"forward": 0.5, "backward": 1.5}}
    one, two = bars_png(net_groups(results), "title", "axis"), bars_png(layer_groups(results), "title", "axis")
    assert one != two and all(picture.startswith(b"\x89PNG\r\n") for picture in (one, two))
    assert one == bars_png(net_groups(results), "title", "axis"), "the same numbers make the same file"


def test_only_what_can_be_compared_is_drawn(tmp_path_factory: pytest.TempPathFactory) -> None:
    pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("drawn")
    assert draw([CaseResult("peak/gemm", "", "GFLOP/s", NET.rows)], folder, "") == [] and not list(folder.iterdir())
    assert [path.name for path in draw([NET], folder, "")] == ["chart.png"]
    assert [path.name for path in draw([NET, layer("forward", 1.0)], folder, "")] == ["chart.png", "layers.png"]
