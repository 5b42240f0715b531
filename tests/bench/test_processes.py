"""What is measured in processes of their own: peak memory and first calls."""

from __future__ import annotations

import json
import mmap

import numpy as np
import pytest

from tinyresnet.bench.architecture import architecture
from tinyresnet.bench.child import in_a_child
from tinyresnet.bench.first_call import FirstCallCase
from tinyresnet.bench.memory import Drawn, MemoryCase, shapes_of
from tinyresnet.bench.options import Options
from tinyresnet.bench.peak_memory import PeakMemory
from tinyresnet.bench.results import OURS

pytestmark = pytest.mark.host_only


def test_a_peak_is_seen_after_what_made_it_has_gone() -> None:
    peak = PeakMemory()
    before = peak.growth()
    memory = mmap.mmap(-1, 64_000_000)  # new pages, whatever memory earlier tests have left behind
    for place in range(0, 64_000_000, 4096):
        memory[place] = 1
    memory.close()
    assert peak.growth() - before > 60e6


def test_a_child_gives_its_result_or_the_last_line_of_its_error() -> None:
    assert in_a_child("json", "dumps", {"obj": [1, "图"]}, 1) == json.dumps([1, "图"])
    with pytest.raises(
        OSError, match=r"tinyresnet.bench.peak.no_such_name ended early: AttributeError: .*no_such_name"
    ):
        in_a_child("tinyresnet.bench.peak", "no_such_name", {}, 1)


def test_weights_are_drawn_alike_each_time() -> None:
    drawn = Drawn(shapes_of(architecture("resnet_v2_tiny")))
    assert len(drawn) == len(list(drawn)) and all(drawn[name].dtype == np.float32 for name in drawn)
    name = "resnet_v2_tiny/conv1/weights"
    assert drawn[name].shape == (7, 7, 3, 64) and (drawn[name] == drawn[name]).all() and drawn[name].std() > 0.05


@pytest.mark.slow
def test_memory_of_each_side() -> None:
    for package in ("torch", "numba"):
        pytest.importorskip(package)
    result = MemoryCase("resnet_v2_tiny", "training", 128, 8).measure(Options(1, 1, ("pytorch",)).quick())
    assert [row.counts_as for row in result.rows] == [OURS, "PyTorch", "PyTorch"] and not result.left_out
    stem = 8 * 64 * 64 * 64 * 4 / 1e6  # the output of conv1 alone
    assert all(row.median > stem for row in result.rows)


@pytest.mark.slow
def test_first_calls_with_a_cold_and_a_warm_cache() -> None:
    pytest.importorskip("numba")
    result = FirstCallCase("resnet_v2_tiny", "unfrozen", 33).measure(Options(1, 1))
    states = [
        f"{state} cache, {what}"
        for state in ("cold", "warm")
        for what in ("kernels imported", "first call", "second call")
    ]
    assert [row.side for row in result.rows] == states and result.notes[0].startswith("compiled code on disk: ")
