"""Bad input gets the same exception with the same words from a kernel as from the plain function.

The bad values are those of tests/ops/test_bad_input.py, which reads the words; here the two back ends are compared.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")

from tests.kernels.bounds import HOT
from tests.kernels.checks import KERNELS, forward, halves, upstream
from tests.kernels.examples import EXAMPLES
from tests.ops.test_bad_input import (
    ARRAYS,
    BAD_INTEGERS,
    BAD_PADDINGS,
    C3,
    IMAGES,
    KERNEL,
    PER_CHANNEL,
    ones,
    wrong_gradients,
)
from tinyresnet import ops, use_backend

HOT_ARRAYS = {half: row for half, row in ARRAYS.items() if half.removesuffix("_forward") in HOT}
NO_ARRAYS: list[Any] = [[[1.0, 2.0]], 3.0, None, "x"]
WRONG_WEIGHTS: list[Any] = [
    ones(3, 3, 2, 4), ones(3, 3, 3), KERNEL.astype("float32"), KERNEL.astype("int32"), ones(0, 3, 3, 4), ones(3, 3, 3, 0),
    [[[[1.0]]]], None,
]  # fmt: skip
WRONG_PER_CHANNEL: list[Any] = [
    ones(4), ones(3, 1), ones(), ones(3, dtype="float32"), ones(3, dtype="int64"), [1.0, 1.0, 1.0], None,
]  # fmt: skip
TOO_SMALL: list[tuple[tuple[int, int], dict[str, Any]]] = [
    ((6, 3), {"padding": "VALID"}), ((3, 7), {"padding": "VALID"}), ((3, 3), {"padding": "VALID", "rate": 3}),
    ((8, 1), {"padding": ((1, 1), (0, 0))}),
]  # fmt: skip


def outcome(back_end: str, half: str, *arguments: Any, **options: Any) -> tuple[type[BaseException] | None, str]:
    """What was raised, and its words; (None, "") if nothing was."""
    with use_backend(back_end):
        try:
            getattr(ops, half)(*arguments, **options)
        except Exception as error:
            return type(error), str(error)
    return None, ""


def refused_alike(half: str, *arguments: Any, **options: Any) -> None:
    """The reference refuses it, and the kernel does so with the same words."""
    right = outcome("numpy", half, *arguments, **options)
    assert right[0] in (ValueError, TypeError), f"the reference takes it: {right}"
    assert outcome("numba", half, *arguments, **options) == right


# ---- arrays -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("half", HOT_ARRAYS)
def test_the_first_array(half: str) -> None:
    _, rank, *rest = HOT_ARRAYS[half]
    wrong_types: list[Any] = [IMAGES.astype(d) for d in ("int64", "uint8", "bool", "complex128", "float16")]
    wrong_ranks = [ones(5), ones(5, 3), ones(5, 6, 3), ones(1, 2, 5, 6, 3)] if rank == 4 else []
    for wrong in (*wrong_types, *NO_ARRAYS, *wrong_ranks):
        refused_alike(half, wrong, *rest)


@pytest.mark.parametrize("half", [half for half in PER_CHANNEL if half in HOT_ARRAYS])
def test_one_number_for_each_channel(half: str) -> None:
    names = PER_CHANNEL[half]
    refused_alike(half, C3, *[C3] * len(names))  # no axis before the channels
    for position in range(len(names)):
        for wrong in WRONG_PER_CHANNEL:
            rest: list[Any] = [C3] * len(names)
            rest[position] = wrong
            refused_alike(half, IMAGES, *rest)


def test_weights() -> None:
    for wrong in WRONG_WEIGHTS:
        refused_alike("conv2d_forward", IMAGES, wrong)


def test_add() -> None:
    for wrong in (ones(2, 5, 6, 1), C3, ones(5, 6, 3), IMAGES.astype("float32"), IMAGES.astype("int64"), [1.0], None):
        refused_alike("add", IMAGES, wrong)


# ---- options ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("bad", BAD_INTEGERS, ids=repr)
def test_integers(bad: Any) -> None:
    for name in ("stride", "rate"):
        refused_alike("conv2d_forward", IMAGES, KERNEL, **{name: bad})
        refused_alike("conv2d_forward", IMAGES, ones(1, 1, 3, 2), **{name: bad})
    for name in ("kernel_size", "stride"):
        refused_alike("max_pool2d_forward", IMAGES, **{"kernel_size": 2, name: bad})
    refused_alike("subsample_forward", IMAGES, bad)


@pytest.mark.parametrize("bad", BAD_PADDINGS, ids=repr)
def test_padding(bad: Any) -> None:
    refused_alike("conv2d_forward", IMAGES, KERNEL, padding=bad)
    refused_alike("conv2d_forward", IMAGES, ones(1, 1, 3, 2), padding=bad)
    refused_alike("max_pool2d_forward", IMAGES, 2, padding=bad)


@pytest.mark.parametrize("bad", ["x", None, [1.0], 1j], ids=repr)
@pytest.mark.parametrize("half", PER_CHANNEL)
def test_epsilon(half: str, bad: Any) -> None:
    if half != "bias_add_forward":
        refused_alike(half, IMAGES, *[C3] * len(PER_CHANNEL[half]), epsilon=bad)


@pytest.mark.parametrize("half", HOT_ARRAYS)
def test_arguments_that_there_are_not(half: str) -> None:
    for options in ({"momentum": 1}, {"name": "conv1"}):
        right, ours = (outcome(name, half, IMAGES, *HOT_ARRAYS[half][2:], **options) for name in ("numpy", "numba"))
        assert ours[0] is right[0] is TypeError


# ---- sizes --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("kernel", "options"), TOO_SMALL, ids=str)
def test_a_kernel_larger_than_the_padded_images(kernel: tuple[int, int], options: dict[str, Any]) -> None:
    refused_alike("conv2d_forward", IMAGES, ones(*kernel, 3, 2), **options)


def test_images_without_pixels() -> None:
    for shape in ((2, 0, 6, 3), (2, 5, 0, 3), (0, 0, 6, 3)):
        for padding in ("SAME", "VALID", ((2, 2), (2, 2))):
            refused_alike("conv2d_forward", ones(*shape), KERNEL, padding=padding)
            refused_alike("conv2d_forward", ones(*shape), ones(1, 1, 3, 2), padding=padding)
            refused_alike("max_pool2d_forward", ones(*shape), 2, padding=padding)
        refused_alike("global_avg_pool_forward", ones(*shape))
    refused_alike("max_pool2d_forward", IMAGES, (6, 2))


@pytest.mark.parametrize("half", HOT_ARRAYS)
def test_what_the_reference_takes_without_a_pixel_or_channel(half: str) -> None:
    """No channels, no rows: whatever the reference makes of it, an error or an empty array, the kernel makes of it too."""
    _, rank, *rest = HOT_ARRAYS[half]
    for shape in ((2, 5, 6, 0), (0, 5, 6, 3), (2, 0, 6, 3), *([] if rank == 4 else [(0, 3), (0, 0)])):
        others = [np.ones(shape) if a is IMAGES else a[: shape[-1]] if a is C3 else a for a in rest]
        right, ours = (outcome(name, half, np.ones(shape), *others) for name in ("numpy", "numba"))
        assert ours == right, shape


# ---- the upstream gradient ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("op", [op for op in HOT if op != "add"])
def test_dy(op: str) -> None:
    case = next(case for case in EXAMPLES.values() if case.op == op and case.arrays[0].shape[0] == 2)
    y, saved = forward(case)
    dy = upstream(case, y)
    half = halves(op)[1]
    for wrong in (
        *wrong_gradients(dy),
        dy.tolist(),
        None,
        "1",
        np.ones(dy.shape, "int64"),
        np.ones(dy.shape, "complex128"),
    ):
        refused_alike(half, wrong, saved)
    right, ours = (outcome(name, half, dy.astype("float32"), saved) for name in ("numpy", "numba"))
    assert ours == right  # the other float dtype: refused where saved holds floats, else taken


# ---- these checks can fail ----------------------------------------------------------------------------------------------
def test_other_words_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a kernel that takes everything, one that says something else, one that raises another kind of error."""

    def says(error: Exception | None) -> Any:
        def kernel(x: Any, factor: Any) -> Any:
            if error is not None:
                raise error
            return x, None

        return kernel

    for error in (None, ValueError("bad factor"), IndexError("factor must be an integer >= 1, not 0")):
        monkeypatch.setitem(KERNELS, "subsample_forward", says(error))  # type: ignore[arg-type]
        with pytest.raises(AssertionError):
            refused_alike("subsample_forward", IMAGES, 0)
