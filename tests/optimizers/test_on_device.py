"""The whole step on every back end: the same numbers, and on a device one wait for it, that for the norm."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests import strict_device
from tests.optimizers.stores import SHAPES, gradients, store
from tinyresnet import use_backend
from tinyresnet.optimizers import SGD, ExponentialMovingAverage, clip_by_global_norm

STEPS = 3


def train(array: Any, dtype: str, clip: Any = clip_by_global_norm) -> tuple[Any, dict[str, dict[str, Any]], list[Any]]:
    """Three steps. (what happened on the device, arrays by kind and name, norms)."""
    variables, optimizer, average = store(dtype, array=array), SGD(0.9, nesterov=True), ExponentialMovingAverage(0.9)
    given, norms = [gradients(step, dtype, array) for step in range(STEPS)], []
    with strict_device.recording() as seen:
        for step, each in enumerate(given):
            clipped, norm = clip(each, 2.0)
            optimizer.apply(variables, clipped, 0.1)
            average.update(variables, step + 1)
            norms.append(norm)
        evaluated = average.variables(variables)
    return seen, {"w": dict(variables), "v": optimizer.slots, "average": dict(evaluated)}, norms


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_numbers_are_numpys(backend: Any, dtype: str) -> None:
    _, arrays, norms = train(backend.array, dtype)
    found = backend.host(arrays)
    with use_backend("numpy"):
        _, wanted, wanted_norms = train(np.asarray, dtype)
    np.testing.assert_allclose(norms, wanted_norms, rtol=1e-6)
    for kind, by_name in wanted.items():
        for name, array in by_name.items():
            assert found[kind][name].dtype == array.dtype == dtype
            np.testing.assert_allclose(found[kind][name], array, rtol=1e-5, atol=1e-6, err_msg=f"{kind} {name}")


def assert_waits_once_a_step(seen: Any) -> None:
    assert (seen.syncs, seen.uploads) == (STEPS, 0), "\n".join(seen.where)


def test_it_waits_once_a_step(backend: Any) -> None:
    seen, arrays, norms = train(backend.array, "float32")
    assert len(arrays["average"]) == len(SHAPES) and all(type(norm) is float for norm in norms)
    if backend.name == "strict":  # nothing is counted on other back ends
        assert_waits_once_a_step(seen)
        assert not [line for line in seen.where if "float64" in line and "optimizers.clipping" not in line]


def test_a_wait_for_each_variable_is_seen() -> None:
    def clip(given: dict[str, Any], clip_norm: float) -> tuple[dict[str, Any], float]:
        norm = sum(float((g * g).sum()) for g in given.values()) ** 0.5
        return {name: g * (clip_norm / norm) for name, g in given.items()}, norm

    with strict_device.installed() as cupy, use_backend("cupy"):
        seen, _, _ = train(cupy.asarray, "float32", clip)
        with pytest.raises(AssertionError, match="sync"):
            assert_waits_once_a_step(seen)
