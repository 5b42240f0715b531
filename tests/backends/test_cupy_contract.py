"""A float32 training step on the stand-in: nothing waits, nothing is copied over, nothing is float64, and CuPy has all it calls.

The real CuPy is asked without a GPU: it looks at names and arguments before it looks for a device (tests/strict_device/snapshot.py).
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinyresnet
from tests import strict_device
from tests.ops.cases import CASES, Case, as_tuple
from tests.strict_device import Call, Recording, api, idioms, snapshot
from tinyresnet import ops
from tinyresnet.resnet_v2 import resnet_v2, resnet_v2_block

RNG = np.random.default_rng(7)
IMAGES = RNG.standard_normal((3, 33, 33, 3)).astype("float32")
LABELS = np.array([4, 0, 2])
BLOCKS = [
    resnet_v2_block("block1", base_depth=2, num_units=2, stride=2),
    resnet_v2_block("block2", base_depth=3, num_units=1, stride=1),
]
Outcome = dict[str, np.ndarray]


# ---- a training step and an inference pass --------------------------------------------------------------------------------
def host(arrays: Any) -> Outcome:
    return {name: tinyresnet.to_host(array) for name, array in arrays.items()}


def training_step() -> tuple[Outcome, Recording]:
    """Forward, loss, backward, weight decay and update. The variables are there, as in all steps but the first."""
    variables = tinyresnet.Variables(seed=3)
    images, labels = tinyresnet.to_device(IMAGES), tinyresnet.to_device(LABELS)
    resnet_v2(images, BLOCKS, num_classes=5, variables=variables, collect=False)
    with strict_device.recording() as seen:
        logits, _, back = resnet_v2(images, BLOCKS, num_classes=5, variables=variables, collect=False)
        loss, saved = ops.softmax_cross_entropy_forward(logits, labels, label_smoothing=0.1)
        d_images = back(ops.softmax_cross_entropy_backward(1.0, saved))
        for name in variables.trainable:
            gradient = variables.gradients[name]
            if name in variables.regularized:
                gradient = ops.add(gradient, variables.regularizers[name].gradient(variables[name]))
            variables.replace(name, variables[name] - 0.1 * gradient)
    gradients = {f"d {name}": gradient for name, gradient in variables.gradients.items()}
    assert set(variables.gradients) == set(variables.trainable)
    return host({"loss": loss, "logits": logits, "d images": d_images, **gradients, **variables}), seen


def inference() -> tuple[Outcome, Recording]:
    variables = tinyresnet.Variables(seed=3)
    images = tinyresnet.to_device(IMAGES)
    resnet_v2(images, BLOCKS, num_classes=5, is_training=False, variables=variables)
    with strict_device.recording() as seen:
        logits, end_points, back = resnet_v2(
            images, BLOCKS, num_classes=5, is_training=False, output_stride=4, variables=variables
        )
    assert back is None
    return host({"logits": logits, **end_points}), seen


def on_stand_in(run: Callable[[], tuple[Outcome, Recording]]) -> tuple[Outcome, Recording]:
    with strict_device.installed(), tinyresnet.use_backend("cupy"):
        return run()


def check_nothing_hidden(seen: Recording) -> None:
    assert seen.calls, "nothing ran on the device"
    assert (seen.syncs, seen.uploads, seen.float64) == (0, 0, 0), "\n".join(seen.where)


@pytest.mark.parametrize("run", [training_step, inference])
def test_a_pass_hides_nothing_and_gives_what_numpy_gives(run: Callable[[], tuple[Outcome, Recording]]) -> None:
    device, seen = on_stand_in(run)
    check_nothing_hidden(seen)
    with tinyresnet.use_backend("numpy"):
        numpys, _ = run()
    assert device.keys() == numpys.keys()
    for name, right in numpys.items():
        assert device[name].dtype == right.dtype == np.float32, name
        np.testing.assert_allclose(device[name], right, rtol=0, atol=1e-6 * np.abs(right).max(), err_msg=name)


def run_case(case: Case) -> tuple[list[np.ndarray], Recording]:
    """Forward and backward of one op in float32."""
    case = case.astype("float32")
    arrays = [tinyresnet.to_device(a) for a in (*case.arrays, *case.constants)]
    with strict_device.recording() as seen:
        y, saved = getattr(ops, f"{case.op}_forward")(*arrays, **case.options)
    dy = tinyresnet.to_device(np.random.default_rng(1).standard_normal(y.shape).astype("float32"))
    with strict_device.recording() as back:
        gradients = as_tuple(getattr(ops, f"{case.op}_backward")(dy, saved))
    for counter in ("syncs", "uploads", "float64"):
        setattr(seen, counter, getattr(seen, counter) + getattr(back, counter))
    seen.calls |= back.calls
    seen.where += back.where
    return [tinyresnet.to_host(array) for array in (y, *gradients)], seen


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_op_hides_nothing_and_gives_what_numpy_gives(case: Case) -> None:
    with strict_device.installed(), tinyresnet.use_backend("cupy"):
        device, seen = run_case(case)
    check_nothing_hidden(seen)
    with tinyresnet.use_backend("numpy"):
        numpys, _ = run_case(case)
    for ours, right in zip(device, numpys, strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_array_equal(ours, right)


# ---- planted mistakes -------------------------------------------------------------------------------------------------------
def with_mistake(**overrides: Callable[..., Any]) -> Recording:
    def run() -> tuple[Outcome, Recording]:
        with tinyresnet.use(**overrides):
            return training_step()

    return on_stand_in(run)[1]


def reads_its_loss(logits: Any, labels: Any, label_smoothing: float) -> Any:
    loss, saved = ops.softmax_cross_entropy_forward(logits, labels, label_smoothing)
    if not np.isfinite(float(loss)):
        raise FloatingPointError(loss)
    return loss, saved


def works_in_float64(x: Any) -> Any:
    y, saved = ops.relu_forward((x * np.float64(1)).astype("float32"))
    return y, saved


def asks_for_a_keyword(x: Any) -> Any:
    return ops.relu_forward(x - x.min(axis=-1, keepdims=True, initial=0.0))


def mixes_in_a_host_array(x: Any) -> Any:
    return ops.relu_forward(x + np.zeros(x.shape[-1], "float32"))


def makes_constants_anew(x: Any) -> Any:
    return ops.relu_forward(x + tinyresnet.get_array_module(x).asarray(np.zeros(x.shape[-1], "float32")))


def picks_by_mask(dy: Any, saved: Any) -> Any:
    dx = dy.copy()
    dx[saved.y <= 0] = 0
    return dx


@pytest.mark.parametrize(
    ("mistake", "counted", "says"),
    [
        ({"softmax_cross_entropy_forward": reads_its_loss}, "syncs", "sync: float"),
        ({"relu_backward": picks_by_mask}, "syncs", "sync: a boolean mask"),
        ({"relu_forward": works_in_float64}, "float64", "float64: operator __mul__"),
        ({"relu_forward": makes_constants_anew}, "uploads", "upload: cupy.array or cupy.asarray"),
    ],
)
def test_a_mistake_is_counted_and_its_line_named(
    mistake: dict[str, Callable[..., Any]], counted: str, says: str
) -> None:
    seen = with_mistake(**mistake)
    assert getattr(seen, counted) > 0
    with pytest.raises(AssertionError, match=f"{says}.* in {__name__}, line "):
        check_nothing_hidden(seen)


@pytest.mark.parametrize(
    ("mistake", "says"),
    [
        (asks_for_a_keyword, "unexpected keyword argument 'initial'"),
        (mixes_in_a_host_array, "host and device arrays cannot be mixed"),
    ],
)
def test_a_mistake_is_refused(mistake: Callable[..., Any], says: str) -> None:
    with pytest.raises(TypeError, match=says):
        with_mistake(relu_forward=mistake)


# ---- the real CuPy ----------------------------------------------------------------------------------------------------------
@functools.cache
def real_cupy() -> Any:
    return pytest.importorskip(
        "cupy", reason="CuPy, which is asked for its signatures (no GPU needed), is not installed"
    )


def problem(cupy: Any, call: Call) -> str | None:
    """What the real CuPy has against a call of this form."""
    target = cupy
    for part in call.name.split("."):
        target = getattr(target, part, None)
        if target is None:
            return f"{call.name}: CuPy {cupy.__version__} has no {part}"
    if isinstance(target, cupy.ufunc):  # it has no signature: it is called
        x = snapshot.array(cupy, (2, 3), "int32")
        values = {"out": x, "dtype": "int32", "casting": "same_kind"}
        keywords = {name: values.get(name, True) for name in call.keywords}
        error = snapshot.refusal(cupy, lambda: target(*[x] * call.positional, **keywords))
        return f"{call.name}: {error}" if isinstance(error, (TypeError, ValueError)) else None
    text = snapshot.signature_text(target, call.name)
    if text is None or call.name.startswith("ndarray.__"):
        return None  # an operator: that it is there is all there is to ask
    takes = api.parameters(text)
    unknown = [name for name in call.keywords if name not in takes.keywords]
    too_many = call.positional > len(takes.positional) and not takes.rest
    return (
        f"{call.name}({text}): called with {call.positional} by position and {call.keywords}"
        if unknown or too_many
        else None
    )


def problems(calls: set[Call]) -> list[str]:
    return sorted(filter(None, (problem(real_cupy(), call) for call in calls)))


def test_cupy_has_every_name_and_keyword_that_was_used() -> None:
    calls = on_stand_in(training_step)[1].calls | on_stand_in(inference)[1].calls
    for case in CASES:
        with strict_device.installed(), tinyresnet.use_backend("cupy"):
            calls |= run_case(case)[1].calls
    assert len(calls) > 20 and {"ndarray.__matmul__", "maximum", "ndarray.sum", "pad"} <= {call.name for call in calls}
    assert problems(calls) == []


@pytest.mark.parametrize(
    "call",
    [
        Call("block", 1, ()),
        Call("ndarray.itemset", 1, ()),
        Call("sum", 1, ("where",)),
        Call("ndarray.max", 0, ("initial",)),
        Call("ndarray.sum", 5, ()),
        Call("maximum", 2, ("where",)),
        Call("add", 5, ()),
        Call("pad", 2, ("bogus",)),
        Call("lib.stride_tricks.as_strided", 3, ("writeable",)),
        Call("random.Generator.normal", 0, ("size",)),
    ],
    ids=lambda call: call.name,
)
def test_a_planted_call_is_a_problem(call: Call) -> None:
    assert len(problems({call})) == 1


def test_the_table_is_this_cupys() -> None:
    """cupy_api.json was read off some CuPy; where the same one is installed, it must say the same."""
    cupy = real_cupy()
    if cupy.__version__ != api.VERSION:
        return  # another CuPy: what the package uses of it is tested above
    now = snapshot.read(cupy)
    assert now.keys() == api.TABLE.keys()
    for part, entries in now.items():
        assert entries == api.TABLE[part], f"{part} differs: run python -m tests.strict_device.snapshot"


def test_keywords_that_no_signature_shows_stand_in_cupys_source() -> None:
    for name, keywords in snapshot.BEHIND_KWARGS.items():
        source = inspect.getsource(getattr(real_cupy(), name))
        for keyword in keywords.split(", "):
            assert f"'{keyword}'" in source, f"cupy.{name} does not know {keyword}"


def real_arrays(cupy: Any) -> idioms.Arrays:
    return idioms.arrays(cupy, lambda array: snapshot.array(cupy, array.shape, array.dtype.name))


def test_cupy_refuses_what_the_stand_in_refuses() -> None:
    """As far as it can be seen here: some it would refuse only after it had found a device. Never may it return a result."""
    cupy = real_cupy()
    seen = {
        name: snapshot.refusal(cupy, lambda bug=bug: bug.run(real_arrays(cupy))) for name, bug in idioms.BUGS.items()
    }
    refused = {name for name, error in seen.items() if error is not None}
    expected = {name for name, bug in idioms.BUGS.items() if bug.cupy == "refuses"}
    assert refused <= expected, "CuPy refuses more than the table says"
    assert len(refused) >= (45 if not snapshot.has_gpu(cupy) else len(expected))


@pytest.mark.parametrize("name", idioms.IDIOMS)
def test_cupy_has_nothing_against_an_idiom(name: str) -> None:
    cupy = real_cupy()
    error = snapshot.refusal(cupy, lambda: idioms.IDIOMS[name](real_arrays(cupy)))
    assert error is None, repr(error)


VIEWS: dict[str, Callable[[idioms.Arrays], Any]] = {
    "columns to rows": lambda a: a.x.reshape(-1, 4),
    "transposed": lambda a: a.x.transpose(2, 0, 1),
    "steps": lambda a: a.x[:, ::2, 1:3],
    "backwards": lambda a: a.x[::-1, :, ::-2],
    "new axes": lambda a: a.x[:, ::1, None, None, :],
    "starred slices": lambda a: a.x[:, *(slice(1, 2), slice(0, 2))],
    "an element": lambda a: a.x[1, 2, -1],
    "one column": lambda a: a.x[..., 1],
    "T of a matrix": lambda a: a.x.reshape(6, 4).T,
    "broadcast": lambda a: a.xp.broadcast_to(a.v, (2, 3, 4)),
    "as_strided": lambda a: a.xp.lib.stride_tricks.as_strided(a.x, (2, 2, 2), (48, 16, 4)),
    "squeezed": lambda a: a.x[:, :1].squeeze(1),
    "moved": lambda a: a.xp.moveaxis(a.xp.expand_dims(a.x, 0), 1, 3),
    "swapped": lambda a: a.x.swapaxes(0, 2),
}


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_has_the_layout_that_cupys_has(name: str) -> None:
    """Views need no device: here the real CuPy answers in full."""
    theirs = VIEWS[name](real_arrays(real_cupy()))
    with strict_device.installed() as stand_in:
        ours = VIEWS[name](idioms.arrays(stand_in, stand_in.asarray))
    assert (ours.shape, ours.strides, ours.dtype) == (theirs.shape, theirs.strides, theirs.dtype)
    assert ours.flags.c_contiguous == theirs.flags.c_contiguous


@pytest.mark.parametrize("shape", [(0, 4), (3, 0, 2), (0,)])
def test_empty_arrays_are_reshaped_as_cupy_reshapes_them(shape: tuple[int, ...]) -> None:
    theirs = snapshot.array(real_cupy(), shape)
    with strict_device.installed() as stand_in:
        ours = stand_in.zeros(shape, "float32")
    for target in ((-1, 4), (0, -1), (0,), (-1,), (2, 0)):
        shapes = []
        for array in (ours, theirs):
            try:
                shapes.append(array.reshape(target).shape)
            except ValueError:
                shapes.append("ValueError")
        assert shapes[0] == shapes[1], target


def test_the_stand_in_is_not_the_real_one() -> None:
    cupy = real_cupy()
    with strict_device.installed() as stand_in:
        assert importlib.import_module("cupy") is stand_in is not cupy
    assert importlib.import_module("cupy") is cupy
