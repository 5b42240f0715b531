"""Bad input to an op gives one error that names the argument, what came and what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.ops.cases import CASES, Case, backward, forward, upstream
from tinyresnet import ops


def ones(*shape: int, dtype: str = "float64") -> np.ndarray:
    return np.ones(shape, dtype)


IMAGES, KERNEL = ones(2, 5, 6, 3), ones(3, 3, 3, 4)
C3 = ones(3)


def refused(
    backend: Any, op: str, *arguments: Any, error: type[Exception] = ValueError, says: tuple[str, ...], **options: Any
) -> None:
    """The op raises just this error, and its message has all these parts. NumPy arrays go to the back end first."""
    on_backend = [backend.array(a) if isinstance(a, np.ndarray) else a for a in arguments]
    with pytest.raises(error) as caught:
        getattr(ops, op)(*on_backend, **options)
    missing = [part for part in says if part not in str(caught.value)]
    assert not missing, f"the message lacks {missing}: {caught.value}"


# ---- arrays: rank, dtype, channels, and what is no array -----------------------------------------------------------------
ARRAYS: dict[str, tuple[Any, ...]] = {  # the first argument and its letters; then what else the op needs
    "conv2d_forward": ("x", 4, KERNEL),
    "conv2d_bias_add_forward": ("x", 4, KERNEL, C3),
    "bias_add_forward": ("x", None, C3),
    "batch_norm_forward": ("x", None, C3, C3),
    "batch_norm_relu_forward": ("x", None, C3, C3),
    "batch_norm_inference_forward": ("x", None, C3, C3, C3, C3),
    "batch_norm_inference_relu_forward": ("x", None, C3, C3, C3, C3),
    "max_pool2d_forward": ("x", 4, 2),
    "subsample_forward": ("x", 4, 2),
    "global_avg_pool_forward": ("x", 4),
    "squeeze_forward": ("x", 4),
    "resize_bilinear_forward": ("x", 4, 2),
    "relu_forward": ("x", None),
    "softmax": ("x", None),
    "add": ("a", None, IMAGES),
    "softmax_cross_entropy_forward": ("logits", None, np.zeros(2, "int64")),
}
every_array_op = pytest.mark.parametrize("op", ARRAYS)


def test_every_forward_is_in_the_table_of_arrays() -> None:
    assert {name for name in ops.__all__ if name.endswith("_forward")} | {"add", "softmax"} == set(ARRAYS)


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool", "complex128", "float16"])
@every_array_op
def test_the_dtype_must_be_float32_or_float64(op: str, dtype: str, backend: Any) -> None:
    name, _, *rest = ARRAYS[op]
    refused(backend, op, IMAGES.astype(dtype), *rest, says=(name, dtype, "float32", "float64"))


@pytest.mark.parametrize("value", [[[1.0, 2.0]], 3.0, None, "x"], ids=["list", "number", "None", "str"])
@every_array_op
def test_what_is_no_array_is_a_type_error(op: str, value: Any, backend: Any) -> None:
    name, _, *rest = ARRAYS[op]
    refused(backend, op, value, *rest, error=TypeError, says=(name, type(value).__name__))


@pytest.mark.parametrize("shape", [(5,), (5, 3), (5, 6, 3), (1, 2, 5, 6, 3)], ids=str)
@pytest.mark.parametrize("op", [op for op, (_, rank, *_) in ARRAYS.items() if rank == 4])
def test_images_have_rank_4(op: str, shape: tuple[int, ...], backend: Any) -> None:
    name, _, *rest = ARRAYS[op]
    refused(backend, op, ones(*shape), *rest, says=(name, "4", str(list(shape))))


@pytest.mark.parametrize(
    "op", ["bias_add_forward", "batch_norm_forward", "batch_norm_relu_forward", "batch_norm_inference_forward"]
)
def test_channels_need_an_axis_before_them(op: str, backend: Any) -> None:
    refused(backend, op, C3, *ARRAYS[op][2:], says=("x", "[3]"))


PER_CHANNEL = {
    "bias_add_forward": ["b"],
    "batch_norm_forward": ["gamma", "beta"],
    "batch_norm_relu_forward": ["gamma", "beta"],
    "batch_norm_inference_forward": ["gamma", "beta", "moving_mean", "moving_variance"],
    "batch_norm_inference_relu_forward": ["gamma", "beta", "moving_mean", "moving_variance"],
}


@pytest.mark.parametrize(
    ("bad", "error", "says"),
    [
        (ones(4), ValueError, ("[4]", "[3]")),
        (ones(3, 1), ValueError, ("[3, 1]", "[3]")),
        (ones(), ValueError, ("[]", "[3]")),
        (ones(3, dtype="float32"), ValueError, ("float32", "float64")),
        (ones(3, dtype="int64"), ValueError, ("int64", "float64")),
        ([1.0, 1.0, 1.0], TypeError, ("list", "[3]")),
    ],
    ids=["length", "rank2", "0-d", "float32", "int64", "list"],
)
@pytest.mark.parametrize(
    ("op", "position", "name"), [(op, i, n) for op, names in PER_CHANNEL.items() for i, n in enumerate(names)]
)
def test_one_number_for_each_channel(
    op: str, position: int, name: str, bad: Any, error: type[Exception], says: tuple[str, ...], backend: Any
) -> None:
    rest = [C3] * len(PER_CHANNEL[op])
    rest[position] = bad
    refused(backend, op, IMAGES, *rest, error=error, says=(name, *says))


@pytest.mark.parametrize(
    ("w", "error", "says"),
    [
        (ones(3, 3, 2, 4), ValueError, ("w", "2", "3", "channels")),
        (ones(3, 3, 3), ValueError, ("w", "[3, 3, 3]", "4")),
        (KERNEL.astype("float32"), ValueError, ("w", "float32", "float64")),
        (KERNEL.astype("int32"), ValueError, ("w", "int32", "float")),
        (ones(0, 3, 3, 4), ValueError, ("w", "[0, 3, 3, 4]", "at least one entry")),
        (ones(3, 3, 3, 0), ValueError, ("w", "[3, 3, 3, 0]", "at least one entry")),
        ([[[[1.0]]]], TypeError, ("w", "list")),
    ],
    ids=["channels", "rank", "float32", "int32", "no kernel", "no outputs", "list"],
)
def test_weights(w: Any, error: type[Exception], says: tuple[str, ...], backend: Any) -> None:
    refused(backend, "conv2d_forward", IMAGES, w, error=error, says=says)


@pytest.mark.parametrize("b", [ones(2, 5, 6, 1), ones(3), ones(5, 6, 3)], ids=["channels", "vector", "rank3"])
def test_add_does_not_broadcast(b: np.ndarray, backend: Any) -> None:
    refused(backend, "add", IMAGES, b, says=("b", str(list(b.shape)), "[2, 5, 6, 3]"))


def test_add_wants_one_dtype(backend: Any) -> None:
    refused(backend, "add", IMAGES, IMAGES.astype("float32"), says=("b", "float32", "float64"))


# ---- integers: stride, rate, kernel_size, factor -------------------------------------------------------------------------
BAD_INTEGERS: list[Any] = [0, -1, 1.5, 2.0, "2", None, True, (1, 0), (2, 1.5), (1, 2, 3), (1,), (), [1, "2"]]
as_repr = pytest.mark.parametrize("bad", BAD_INTEGERS, ids=repr)


@as_repr
@pytest.mark.parametrize("name", ["stride", "rate"])
def test_stride_and_rate_of_a_convolution(name: str, bad: Any, backend: Any) -> None:
    refused(backend, "conv2d_forward", IMAGES, KERNEL, says=(name, "integer", "1", repr(worst(bad))), **{name: bad})


@as_repr
@pytest.mark.parametrize("name", ["kernel_size", "stride"])
def test_kernel_and_stride_of_a_pool(name: str, bad: Any, backend: Any) -> None:
    refused(
        backend,
        "max_pool2d_forward",
        IMAGES,
        says=(name, "integer", "1", repr(worst(bad))),
        **{"kernel_size": 2, name: bad},
    )


@as_repr
def test_factor_of_a_subsample(bad: Any, backend: Any) -> None:
    refused(backend, "subsample_forward", IMAGES, bad, says=("factor", "integer", "1", repr(bad)))


@as_repr
def test_size_of_a_resize(bad: Any, backend: Any) -> None:
    refused(backend, "resize_bilinear_forward", IMAGES, bad, says=("size", "integer", "1", repr(worst(bad))))


def test_a_resize_has_the_dtype_of_its_gradient(backend: Any) -> None:
    _, saved = ops.resize_bilinear_forward(backend.array(IMAGES), 3)
    refused(
        backend, "resize_bilinear_backward", ones(2, 3, 3, 3, dtype="float32"), saved, says=("dy", "float32", "float64")
    )


def worst(bad: Any) -> Any:
    """Of a pair the member that is wrong, else the value: what a message must show."""
    if isinstance(bad, (tuple, list)) and len(bad) == 2:
        return next(b for b in bad if isinstance(b, bool) or not isinstance(b, int) or b < 1)
    return bad


# ---- padding ------------------------------------------------------------------------------------------------------------
BAD_PADDINGS: list[Any] = [
    "same", "FULL", "", 1, None, (1, 1), ((1, 1),), ((1, 1), (1, 1), (1, 1)), ((1, 1, 1), (1, 1)), ((0.5, 1), (0, 0)),
    (("1", 1), (0, 0)), (None, None), ((1, -1), (0, 0)), ((-1, 1), (0, 0)), ((0, 0), (2, -1)), ((0, 0), (-1, 2)),
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD_PADDINGS, ids=repr)
@pytest.mark.parametrize(("op", "rest"), [("conv2d_forward", (KERNEL,)), ("max_pool2d_forward", (2,))])
def test_padding(op: str, rest: tuple[Any, ...], bad: Any, backend: Any) -> None:
    refused(backend, op, IMAGES, *rest, padding=bad, says=("padding", repr(bad), '"SAME"', '"VALID"', "(top, bottom)"))


# ---- sizes --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kernel", "options"),
    [
        ((6, 3), {"padding": "VALID"}),
        ((3, 7), {"padding": "VALID"}),
        ((3, 3), {"padding": "VALID", "rate": 3}),
        ((8, 1), {"padding": ((1, 1), (0, 0))}),
    ],
    ids=str,
)
def test_a_kernel_larger_than_the_padded_images(kernel: tuple[int, int], options: dict[str, Any], backend: Any) -> None:
    refused(
        backend,
        "conv2d_forward",
        IMAGES,
        ones(*kernel, 3, 2),
        says=("x", "[2, 5, 6, 3]", f"{kernel[0]}x{kernel[1]}", "small"),
        **options,
    )


def test_a_pool_larger_than_the_images(backend: Any) -> None:
    refused(backend, "max_pool2d_forward", IMAGES, (6, 2), says=("x", "[2, 5, 6, 3]", "6x2", "small"))


@pytest.mark.parametrize("shape", [(2, 0, 6, 3), (2, 5, 0, 3)], ids=str)
@pytest.mark.parametrize("padding", ["SAME", "VALID", ((2, 2), (2, 2))], ids=str)
def test_images_without_pixels(shape: tuple[int, ...], padding: Any, backend: Any) -> None:
    """Not even where padding would let a window fit: a net would go on with constants."""
    refused(backend, "conv2d_forward", ones(*shape), KERNEL, padding=padding, says=("x", str(list(shape)), "small"))
    refused(backend, "max_pool2d_forward", ones(*shape), 2, padding=padding, says=("x", str(list(shape)), "small"))
    refused(backend, "global_avg_pool_forward", ones(*shape), says=("x", str(list(shape)), "pixel"))
    refused(backend, "resize_bilinear_forward", ones(*shape), 3, says=("x", str(list(shape)), "pixel"))


@pytest.mark.parametrize("shape", [(2, 1, 2, 3), (2, 5, 1, 3)], ids=str)
def test_squeeze_of_a_map(shape: tuple[int, ...], backend: Any) -> None:
    refused(backend, "squeeze_forward", ones(*shape), says=("x", str(list(shape)), "[N, 1, 1, C]"))


# ---- the loss -----------------------------------------------------------------------------------------------------------
LOGITS = ones(4, 5)


@pytest.mark.parametrize(
    ("labels", "error", "says"),
    [
        (np.array([0.0, 1, 2, 3]), ValueError, ("integers", "float64")),
        (np.array([True, False, True, True]), ValueError, ("integers", "bool")),
        (np.array([0, 1, 2]), ValueError, ("[3]", "[4]")),
        (np.array([[0], [1], [2], [3]]), ValueError, ("[4, 1]", "[4]")),
        (np.array(0), ValueError, ("[]", "[4]")),
        ([0, 1, 2, 3], TypeError, ("list", "array")),
        (None, TypeError, ("NoneType", "array")),
    ],
    ids=["float", "bool", "short", "rank2", "0-d", "list", "None"],
)
def test_labels(labels: Any, error: type[Exception], says: tuple[str, ...], backend: Any) -> None:
    refused(backend, "softmax_cross_entropy_forward", LOGITS, labels, error=error, says=("labels", *says))


@pytest.mark.host_only  # on a device, to look at the labels would mean to wait for them: there the loss is NaN
@pytest.mark.parametrize(("labels", "came"), [([0, 1, 2, 5], "0 to 5"), ([-1, 0, 1, 4], "-1 to 4")])
def test_labels_out_of_range(labels: list[int], came: str, backend: Any) -> None:
    refused(
        backend, "softmax_cross_entropy_forward", LOGITS, np.array(labels), says=("labels", "0 to 4", "5 classes", came)
    )


@pytest.mark.parametrize("bad", [-0.1, 1.5, float("nan")])
def test_label_smoothing(bad: float, backend: Any) -> None:
    says = ("label_smoothing", repr(bad), "0 to 1")
    refused(backend, "softmax_cross_entropy_forward", LOGITS, np.array([0, 1, 2, 3]), label_smoothing=bad, says=says)


# ---- the upstream gradient ----------------------------------------------------------------------------------------------
one_case_an_op = pytest.mark.parametrize("case", {case.op: case for case in CASES}.values(), ids=lambda case: case.op)


def wrong_gradients(dy: np.ndarray) -> list[np.ndarray]:
    """An axis too many, and, where there are axes, an axis too few and twice the batch."""
    return [dy[None], *([dy.sum(0), np.concatenate([dy, dy])] if dy.ndim else [])]


@one_case_an_op
def test_dy_of_a_wrong_shape(case: Case, backend: Any) -> None:
    y, saved = forward(case, backend)
    dy = upstream(case, backend.host(y).shape)
    wanted = str(list(dy.shape)) if dy.ndim else "number"
    for wrong in wrong_gradients(dy):
        with pytest.raises(ValueError) as caught:
            backward(case, backend.array(wrong), saved)
        assert all(part in str(caught.value) for part in ("dy", str(list(wrong.shape)), wanted)), caught.value


@one_case_an_op
def test_dy_that_is_no_array(case: Case, backend: Any) -> None:
    y, saved = forward(case, backend)
    wrong: Any = "1" if case.op == "softmax_cross_entropy" else upstream(case, backend.host(y).shape).tolist()
    with pytest.raises(TypeError) as caught:
        backward(case, wrong, saved)
    assert all(part in str(caught.value) for part in ("dy", type(wrong).__name__)), caught.value


@one_case_an_op
def test_dy_must_be_of_floats(case: Case, backend: Any) -> None:
    y, saved = forward(case, backend)
    for dtype in ("int64", "complex128"):
        with pytest.raises(ValueError) as caught:
            backward(case, backend.array(np.ones(backend.host(y).shape, dtype)), saved)
        assert all(part in str(caught.value) for part in ("dy", dtype, "float")), caught.value


# ---- these checks can fail ----------------------------------------------------------------------------------------------
def test_a_missing_check_or_a_dumb_message_is_seen(backend: Any) -> None:
    """Planted: no error at all; another error; a message that leaves out what came."""
    from tinyresnet import use

    def quiet(x: Any, factor: Any) -> Any:
        return x, None

    def wrong_kind(x: Any, factor: Any) -> Any:
        raise IndexError("factor must be an integer >= 1, not 0")

    def dumb(x: Any, factor: Any) -> Any:
        raise ValueError("bad factor")

    planted: list[tuple[Callable[..., Any], type[BaseException], str]] = [
        (quiet, pytest.fail.Exception, "DID NOT RAISE"), (wrong_kind, IndexError, "factor"), (dumb, AssertionError, "lacks")
    ]  # fmt: skip
    for mistake, error, match in planted:
        with use(subsample_forward=mistake), pytest.raises(error, match=match):
            refused(backend, "subsample_forward", IMAGES, 0, says=("factor", "integer", "1", "0"))
