"""Planted: kernels with mistakes of every kind, each of which checks.py must refuse. (In machine code: test_altered_kernels.py.)"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")

from tests.kernels.checks import KERNELS, check
from tests.kernels.examples import EXAMPLES
from tinyresnet.backend import REFERENCE

MISTAKES: list[tuple[str, str, Callable[..., Any]]] = []  # (example, the half that is replaced, what replaces it)


def planted(example: str, half: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(mistake: Callable[..., Any]) -> Callable[..., Any]:
        MISTAKES.append((example, half, mistake))
        return mistake

    return register


def right(half: str, *args: Any, **options: Any) -> Any:
    return REFERENCE[half](*args, **options)


# ---- wrong numbers ------------------------------------------------------------------------------------------------------
@planted("conv2d-3x3-odd", "conv2d_forward")
def last_channel_left_out(x: Any, w: Any, **options: Any) -> Any:
    y, saved = right("conv2d_forward", x, w, **options)
    y[..., -1] = 0
    return y, saved


@planted("conv2d-3x3-odd", "conv2d_forward")
def last_row_of_the_last_image_dropped(x: Any, w: Any, **options: Any) -> Any:
    y, saved = right("conv2d_forward", x, w, **options)
    y[-1, -1] = 0
    return y, saved


@planted("conv2d-1x1", "conv2d_forward")
def one_pixel_off_by_a_tenth_of_a_percent(x: Any, w: Any, **options: Any) -> Any:
    y, saved = right("conv2d_forward", x, w, **options)
    y[1, 3, 2] *= 1.001
    return y, saved


@planted("conv2d-1x1", "conv2d_backward")
def weights_in_half_precision(dy: Any, saved: Any) -> Any:
    return right("conv2d_backward", dy, saved._replace(w=saved.w.astype("float16").astype(saved.w.dtype)))


@planted("conv2d-3x3-stride", "conv2d_backward")
def dw_without_the_last_image(dy: Any, saved: Any) -> Any:
    dx, dw = right("conv2d_backward", dy, saved)
    return dx, dw - right("conv2d_backward", dy[-1:], saved._replace(x=saved.x[-1:]))[1]


@planted("batch_norm-odd", "batch_norm_forward")
def unbiased_variance(x: Any, gamma: Any, beta: Any, epsilon: float = 1e-5) -> Any:
    y, saved = right("batch_norm_forward", x, gamma, beta, epsilon)
    n = x.size // x.shape[-1]
    return y, saved._replace(var=saved.var * (n / (n - 1)))


@planted("batch_norm-blocks", "batch_norm_backward")
def dbeta_without_one_row(dy: Any, saved: Any) -> Any:
    dx, dgamma, dbeta = right("batch_norm_backward", dy, saved)
    return dx, dgamma, dbeta - dy[0, 0].sum(0)


@planted("max_pool2d-pool1-ties", "max_pool2d_forward")
def the_last_of_a_tie_wins(x: Any, kernel_size: Any, stride: Any = 2, padding: Any = "VALID") -> Any:
    y, saved = right("max_pool2d_forward", x, kernel_size, stride, padding)
    turned = right("max_pool2d_forward", x[:, ::-1, ::-1].copy(), kernel_size, stride, ((1, 0), (1, 1)))[1].winner
    return y, saved._replace(winner=np.ascontiguousarray(8 - turned[:, ::-1, ::-1]).astype("uint8"))


@planted("max_pool2d-pool1", "max_pool2d_forward")
def padding_with_zeros(x: Any, kernel_size: Any, stride: Any = 2, padding: Any = "VALID") -> Any:
    y, saved = right("max_pool2d_forward", x, kernel_size, stride, padding)
    y[:, -1] = np.maximum(y[:, -1], 0)
    return y, saved


# ---- wrong arrays -------------------------------------------------------------------------------------------------------
@planted("relu-odd", "relu_forward")
def in_place(x: Any) -> Any:
    np.maximum(x, 0, out=x)
    return right("relu_forward", x)


@planted("subsample-1-odd", "subsample_forward")
def a_view_of_the_input(x: Any, factor: int) -> Any:
    return x[:, ::factor, ::factor], right("subsample_forward", x, factor)[1]


@planted("add-odd", "add")
def not_contiguous(a: Any, b: Any) -> Any:
    return np.asfortranarray(a + b)


@planted("global_avg_pool-odd", "global_avg_pool_backward")
def read_only(dy: Any, saved: Any) -> Any:
    dx = right("global_avg_pool_backward", dy, saved)
    dx.flags.writeable = False
    return dx


@planted("relu-odd", "relu_backward")
def in_float64(dy: Any, saved: Any) -> Any:
    return right("relu_backward", dy, saved).astype("float64")


@planted("bias_add-odd", "bias_add_backward")
def dx_copied(dy: Any, saved: Any) -> Any:
    dx, db = right("bias_add_backward", dy, saved)
    return dx.copy(), db


@planted("conv2d-1x1", "conv2d_forward")
def saved_as_a_plain_tuple(x: Any, w: Any, **options: Any) -> Any:
    y, saved = right("conv2d_forward", x, w, **options)
    return y, tuple(saved)


@planted("conv2d-1x1", "conv2d_forward")
def saved_with_numpy_integers(x: Any, w: Any, **options: Any) -> Any:
    y, saved = right("conv2d_forward", x, w, **options)
    return y, saved._replace(stride=np.array(saved.stride))


@pytest.mark.parametrize(("example", "half", "mistake"), MISTAKES, ids=lambda value: getattr(value, "__name__", None))
def test_a_planted_mistake_is_caught(
    example: str, half: str, mistake: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = EXAMPLES[example].astype("float32")
    check(case)
    monkeypatch.setitem(KERNELS, half, mistake)  # type: ignore[arg-type]
    with pytest.raises((AssertionError, ValueError)):
        check(case)
