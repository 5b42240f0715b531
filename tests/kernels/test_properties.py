"""Every kernel against the plain function in float64, over whatever calls hypothesis draws; the bounds stand in bounds.py."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

from tests.kernels.bounds import HOT
from tests.kernels.calls import CALLS
from tests.kernels.checks import KERNELS, check, halves, reference_forward, upstream
from tests.kernels.layouts import LAYOUTS
from tinyresnet.backend import REFERENCE


def test_every_hot_op_is_drawn() -> None:
    assert {call.split()[0] for call in CALLS} == set(HOT)


@pytest.mark.parametrize("name", CALLS)
def test_forward_and_backward(name: str) -> None:
    @given(st.data())
    @settings(max_examples=60 if name.startswith("conv2d") else 40)
    def of_drawn_calls(data: st.DataObject) -> None:
        case = data.draw(CALLS[name])
        dy = upstream(case, reference_forward(case)[0])
        check(case, LAYOUTS[data.draw(st.sampled_from(("plain", *LAYOUTS)))](dy))

    of_drawn_calls()


@pytest.mark.parametrize("half", [half for op in HOT for half in halves(op)])
def test_a_kernel_has_the_signature_of_its_op(half: str) -> None:
    """Whoever calls with keywords, or without the optional ones, must not notice which one runs."""
    ours, right = (inspect.signature(f).parameters.values() for f in (KERNELS[half], REFERENCE[half]))
    assert [(p.name, p.kind, p.default) for p in ours] == [(p.name, p.kind, p.default) for p in right]
