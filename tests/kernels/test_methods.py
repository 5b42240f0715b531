"""Every way to convolve, whichever would be chosen: the choice is by estimated time, so most sizes never see most of the ways.

Also in float64, where a wrong constant or tile shows in the first digits and a rounding in the last ones only.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

from tests.kernels.calls import convolutions, convolutions_3x3
from tests.kernels.checks import check, reference_forward, upstream
from tests.kernels.layouts import LAYOUTS
from tinyresnet.kernels.cpu import plan_convolution
from tinyresnet.kernels.cpu.plan_convolution import DIRECT, LAID_OUT, LONGEST_PATCH, WINOGRAD_2, WINOGRAD_4, Geometry
from tinyresnet.ops.compiled import conv2d


def possible(method: str, g: Geometry, backward: bool) -> bool:
    """Whether this way can compute this convolution."""
    if method == LAID_OUT:
        return not backward and g.kh * g.kw * g.c <= LONGEST_PATCH
    return method == DIRECT or (g.kh, g.kw, g.sh, g.sw) == (3, 3, 1, 1)


def forced(method: str) -> Any:
    """Always this way, where it is possible."""

    def choose(g: Geometry, size: int, prepared: bool, backward: bool = False) -> str:
        return method if possible(method, g, backward) else DIRECT

    return choose


@pytest.mark.parametrize("calls", ["any", "3x3"])
@pytest.mark.parametrize("method", [DIRECT, LAID_OUT, WINOGRAD_2, WINOGRAD_4])
def test_forward_and_backward(method: str, calls: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if calls == "any" and method in (WINOGRAD_2, WINOGRAD_4):
        return  # these are 3x3
    for module in (plan_convolution, conv2d):
        monkeypatch.setattr(module, "choose", forced(method))

    @given(st.data())
    @settings(max_examples=40)
    def of_drawn_calls(data: st.DataObject) -> None:
        case = data.draw(convolutions_3x3() if calls == "3x3" else convolutions())
        dy = upstream(case, reference_forward(case)[0])
        check(case, LAYOUTS[data.draw(st.sampled_from(("plain", "plain", *LAYOUTS)))](dy))

    of_drawn_calls()
