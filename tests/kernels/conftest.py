"""Results are full of NaN before a kernel writes them: what it leaves out shows, and is not what another result left there by chance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def spoilt_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = pytest.importorskip("tinyresnet.kernels.cpu.memory", reason="the kernels need Numba").MEMORY
    empty = memory.empty

    def spoilt(shape: tuple[int, ...], dtype: Any) -> Any:
        array = empty(shape, dtype)
        array.fill(np.nan)
        return array

    monkeypatch.setattr(memory, "empty", spoilt)
