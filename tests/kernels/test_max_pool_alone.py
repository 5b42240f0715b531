"""Max pooling where nobody asks who won, as a frozen net has it: the y of the op, of every example."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

from tests.kernels.examples import EXAMPLES
from tests.ops.cases import Case
from tinyresnet.backend import REFERENCE
from tinyresnet.kernels.cpu import pooling
from tinyresnet.kernels.cpu.plan import Plan

NAMES = [name for name in EXAMPLES if name.startswith("max_pool2d-") and not name.startswith("max_pool2d-289")]


def alone(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """y of the kernel without winners, and of the plain op."""
    (x,) = case.arrays
    right, saved = REFERENCE["max_pool2d_forward"](x, **case.options)
    win, (n, h, width, c) = saved.windows, x.shape
    (kh, kw), (sh, sw), (oh, ow) = win.kernel, win.stride, win.size
    y, plan = np.full_like(right, np.nan), Plan(x.dtype)
    places = dict(x=x, y=y, n=n, h=h, width=width, c=c, oh=oh, ow=ow)
    places |= dict(kh=kh, kw=kw, sh=sh, sw=sw, top=win.pads[0][0], left=win.pads[1][0])
    plan.add(pooling.max_pool, tasks=min(3, n * oh), **places)
    plan.run()
    return y, right


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_the_largest_of_each_window(name: str, dtype: str) -> None:
    y, right = alone(EXAMPLES[name].astype(dtype))
    np.testing.assert_array_equal(y, right)


def test_a_number_that_is_none_stays() -> None:
    """Whichever place of the window it has."""
    case = EXAMPLES["max_pool2d-pool1"].astype("float32")
    x = case.arrays[0].copy()
    x[0, 3:6, 4:7, ::2] = np.nan
    x[1, 5, 5, 7] = np.nan
    y, right = alone(case._replace(arrays=(x,)))
    assert np.isnan(right).any()
    np.testing.assert_array_equal(np.isnan(y), np.isnan(right))
    np.testing.assert_array_equal(y, right)
