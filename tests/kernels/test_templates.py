"""Steps that are kept from call to call: each call's own arrays, whatever ran before or runs beside it, and nothing of a caller kept."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("numba")

from tests.kernels.at_once import at_once
from tinyresnet import ops, use_backend
from tinyresnet.kernels.cpu import elementwise as kernels
from tinyresnet.kernels.cpu.plan import Plan
from tinyresnet.kernels.cpu.template import Operand, Template
from tinyresnet.kernels.cpu.threads import get_num_threads, set_num_threads
from tinyresnet.ops.compiled import elementwise
from tinyresnet.ops.compiled.arrays import KEPT

RNG = np.random.default_rng(7)


@pytest.fixture(autouse=True)
def on_numba() -> Iterator[None]:
    with use_backend("numba"):
        yield


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape, np.float32)


def convolved(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The same by the plain op."""
    with use_backend("numpy"):
        return ops.conv2d_forward(x, w)[0]


def test_weights_that_changed_are_seen() -> None:
    x, w = normal(2, 9, 9, 16), normal(3, 3, 16, 24)
    ops.conv2d_forward(x, w)
    w *= -2  # in place: the address stays
    np.testing.assert_allclose(ops.conv2d_forward(x, w)[0], convolved(x, w), atol=1e-3)


def test_arrays_with_gaps_after_arrays_without() -> None:
    """Of one geometry, and so of one template: what lies in between must not be read."""
    x, w, wide = normal(2, 7, 6, 8), normal(1, 1, 8, 8), normal(2, 7, 12, 16)
    ops.conv2d_forward(x, w)
    gaps = wide[:, :, ::2, 3:11]
    np.testing.assert_allclose(ops.conv2d_forward(gaps, w)[0], convolved(gaps, w), atol=1e-4)
    np.testing.assert_array_equal(ops.add(gaps, x), gaps + x)


def test_another_epsilon_dtype_or_number_of_threads_is_another_template() -> None:
    x = normal(40, 8)
    gamma, beta, before = normal(8), normal(8), get_num_threads()
    try:
        for threads in (1, 3, before):
            set_num_threads(threads)
            for epsilon in (1e-5, 0.5):
                for dtype in (np.float32, np.float64):
                    arrays = [a.astype(dtype) for a in (x, gamma, beta)]
                    y, _ = ops.batch_norm_forward(*arrays, epsilon=epsilon)
                    with use_backend("numpy"):
                        right, _ = ops.batch_norm_forward(*arrays, epsilon=epsilon)
                    np.testing.assert_allclose(y, right, atol=1e-5)
    finally:
        set_num_threads(before)


def test_two_threads_in_one_template_and_two_in_others() -> None:
    """Each with its own numbers; the rooms between a template's steps are the thread's."""
    calls = [(normal(2, n, 8, 16), normal(3, 3, 16, 32)) for n in (8, 8, 11, 5)]
    alone = [ops.conv2d_forward(*call)[0] for call in calls]

    def work(i: int) -> list[np.ndarray]:
        with use_backend("numba"):
            return [ops.conv2d_forward(*calls[i])[0] for _ in range(30)]

    for results, right in zip(at_once(work, count=4), alone, strict=True):
        for result in results:
            np.testing.assert_array_equal(result, right)


def test_no_array_is_kept_alive() -> None:
    x, w = normal(1, 6, 6, 8), normal(3, 3, 8, 8)
    y, saved = ops.conv2d_forward(x, w)
    dx, dw = ops.conv2d_backward(y, saved)
    held = [weakref.ref(a) for a in (x, w, y, dx, dw)]
    del x, w, y, dx, dw, saved
    gc.collect()
    assert [ref() is None for ref in held] == [True] * 5


def test_there_are_not_more_than_so_many() -> None:
    for n in range(1, KEPT + 30):
        ops.relu_forward(np.ones(n, np.float32))
    assert elementwise._elementwise.cache_info().currsize == KEPT
    np.testing.assert_array_equal(ops.relu_forward(np.array([-1, 2], np.float32))[0], [0, 2])  # one that was dropped


def test_a_template_is_the_plan_with_other_addresses() -> None:
    """And stays so, after it has run."""
    x, y, right = normal(100), np.empty(100, np.float32), np.empty(100, np.float32)
    template, plan = Template("float32"), Plan("float32")
    template.add(kernels.elementwise, n=99, b=kernels.RELU_FORWARD, tasks=3, x=Operand(0, 4), y=Operand(1) + 4)
    plan.add(kernels.elementwise, n=99, b=kernels.RELU_FORWARD, tasks=3, x=x[1:], y=right[1:])
    template.close()
    before = template._written.copy()
    template.run(x, y)
    plan.run()
    np.testing.assert_array_equal(y[1:], right[1:])
    np.testing.assert_array_equal(template._written, before)


def test_a_template_of_another_size_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: one template for all sizes."""
    real = elementwise._elementwise
    monkeypatch.setattr(elementwise, "_elementwise", lambda count, *others: real(3, *others))
    x = normal(50)
    assert not np.array_equal(ops.relu_forward(x)[0], np.maximum(x, 0))
