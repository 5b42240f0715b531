"""Bad input to a layer, a unit or a net: one error that names the argument, what came and what is allowed; nothing stays behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.nets.specs import SMALL, NetSpec
from tinyresnet import Variables, resnet_utils, resnet_v2, slim
from tinyresnet.slim import variable_scope

SPEC = NetSpec((2, 33, 33, 3), SMALL, 5)


def refused(action: Callable[[Variables], Any], *says: str, error: type[Exception] = ValueError) -> None:
    variables = Variables()
    with pytest.raises(error) as caught:
        action(variables)
    missing = [part for part in says if part not in str(caught.value)]
    assert not missing, f"the message lacks {missing}: {caught.value}"
    assert not variables and not variables.gradients, "half of the variables stayed behind"
    assert slim.current_scope() is None and not slim.current_arg_scope(), "a scope was left open"


def images(backend: Any, *shape: int, dtype: str = "float32") -> Any:
    return backend.array(np.ones(shape or SPEC.images, dtype))


NETS: dict[str, Callable[..., Any]] = {
    "resnet_v2": lambda x, **k: resnet_v2.resnet_v2(x, SPEC.ours(), **{"num_classes": 5, "scope": "resnet", **k}),
    "resnet_v2_50": lambda x, **k: resnet_v2.resnet_v2_50(x, **{"num_classes": 5, **k}),
}
every_net = pytest.mark.parametrize("net", NETS.values(), ids=NETS.keys())


def in_scope(layer: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, variables: Variables, **options: Any) -> Any:
        with variable_scope("net", variables=variables):
            return layer(*arguments, **options)

    return call


LAYERS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "conv2d": (in_scope(slim.conv2d), {"num_outputs": 4, "kernel_size": 3}),
    "conv2d_same": (in_scope(resnet_utils.conv2d_same), {"num_outputs": 4, "kernel_size": 3, "stride": 2}),
    "max_pool2d": (in_scope(slim.max_pool2d), {"kernel_size": 3}),
    "subsample": (in_scope(resnet_utils.subsample), {"factor": 2}),
    "bottleneck": (in_scope(resnet_v2.bottleneck), {"depth": 8, "depth_bottleneck": 2, "stride": 2}),
}
every_layer = pytest.mark.parametrize("name", LAYERS)


# ---- images ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("shape", [(33, 33, 3), (1, 2, 33, 33, 3), (3,), ()], ids=str)
@every_net
def test_the_rank_of_the_images(net: Callable[..., Any], shape: tuple[int, ...], backend: Any) -> None:
    x = backend.array(np.ones(shape, "float32"))
    refused(lambda v: net(x, variables=v), "inputs", "4", "[N, H, W, C]", str(list(shape)))


@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool", "float16", "complex64"])
@every_net
def test_the_dtype_of_the_images(net: Callable[..., Any], dtype: str, backend: Any) -> None:
    x = images(backend, dtype=dtype)
    refused(lambda v: net(x, variables=v), "inputs", dtype, "float32", "float64")


@pytest.mark.parametrize("value", [None, 3.0, "images", [[[[1.0]]]]], ids=["None", "number", "str", "list"])
@every_net
def test_images_that_are_no_array(net: Callable[..., Any], value: Any, backend: Any) -> None:
    refused(lambda v: net(value, variables=v), "inputs", type(value).__name__, error=TypeError)


@pytest.mark.parametrize("shape", [(0, 33, 33, 3), (2, 0, 33, 3), (2, 33, 0, 3), (2, 33, 33, 0)], ids=str)
@pytest.mark.parametrize("is_training", [True, False], ids=["training", "inference"])
@every_net
def test_an_empty_batch_and_images_without_pixels(
    net: Callable[..., Any], is_training: bool, shape: tuple[int, ...], backend: Any
) -> None:
    x = images(backend, *shape)
    refused(lambda v: net(x, is_training=is_training, variables=v), "inputs", "at least", str(list(shape)))


@every_layer
def test_the_images_of_a_layer(name: str, backend: Any) -> None:
    layer, options = LAYERS[name]
    refused(lambda v: layer(images(backend, 33, 33, 3), variables=v, **options), "inputs", "4", "[33, 33, 3]")
    refused(lambda v: layer(images(backend, dtype="int32"), variables=v, **options), "inputs", "int32", "float32")
    refused(lambda v: layer([1.0], variables=v, **options), "inputs", "list", error=TypeError)


def test_batch_norm_wants_a_value(backend: Any) -> None:
    """In training there is no mean of nothing; in inference nothing is normalised to nothing."""
    layer = in_scope(slim.batch_norm)
    refused(lambda v: layer(images(backend, 0, 3, 3, 2), variables=v), "inputs", "[0, 3, 3, 2]")
    y, _ = layer(images(backend, 0, 3, 3, 2), is_training=False, variables=Variables())
    assert y.shape == (0, 3, 3, 2)


# ---- whole numbers --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("bad", [0, -1, 1.5, "2", True, None], ids=repr)
@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("conv2d", "stride"), ("conv2d", "rate"), ("conv2d", "kernel_size"), ("conv2d", "num_outputs"),
        ("conv2d_same", "stride"), ("conv2d_same", "rate"), ("conv2d_same", "kernel_size"), ("conv2d_same", "num_outputs"),
        ("max_pool2d", "kernel_size"), ("max_pool2d", "stride"), ("subsample", "factor"),
        ("bottleneck", "stride"), ("bottleneck", "rate"), ("bottleneck", "depth"), ("bottleneck", "depth_bottleneck"),
    ],
)  # fmt: skip
def test_integers_from_1(name: str, argument: str, bad: Any, backend: Any) -> None:
    layer, options = LAYERS[name]
    known_as = {"depth": "num_outputs", "depth_bottleneck": "num_outputs"}.get(argument, argument)
    options = {**options, argument: bad}
    with pytest.raises(ValueError) as caught:
        layer(images(backend), variables=Variables(), **options)
    message = str(caught.value)
    assert (
        any(name in message for name in (argument, known_as, "factor"))
        and "integer >= 1" in message
        and repr(bad) in message
    )


@pytest.mark.parametrize("bad", [0, -4, 1.5, "2", None], ids=repr)
@pytest.mark.parametrize("argument", ["base_depth", "num_units", "stride"])
def test_a_block(argument: str, bad: Any) -> None:
    with pytest.raises(ValueError) as caught:
        resnet_v2.resnet_v2_block("block1", **{"base_depth": 1, "num_units": 2, "stride": 2, argument: bad})
    assert all(part in str(caught.value) for part in (argument, "integer >= 1", repr(bad)))


@pytest.mark.parametrize("bad", [-1, 2.5, 10.0, "10", True], ids=repr)
@every_net
def test_num_classes(net: Callable[..., Any], bad: Any, backend: Any) -> None:
    x = images(backend)
    refused(lambda v: net(x, num_classes=bad, variables=v), "num_classes", "integer >= 0 or None", repr(bad))


@pytest.mark.parametrize("padding", ["same", "FULL", 1, ((1, -1), (0, 0))], ids=repr)
@pytest.mark.parametrize("name", ["conv2d", "max_pool2d"])
def test_padding(name: str, padding: Any, backend: Any) -> None:
    layer, options = LAYERS[name]
    refused(
        lambda v: layer(images(backend), variables=v, padding=padding, **options),
        "padding",
        repr(padding),
        '"SAME"',
        '"VALID"',
    )


@pytest.mark.parametrize("data_format", ["NCHW", "nhwc", 3], ids=repr)
@pytest.mark.parametrize("name", ["conv2d", "max_pool2d"])
def test_data_format(name: str, data_format: Any, backend: Any) -> None:
    layer, options = LAYERS[name]
    refused(
        lambda v: layer(images(backend), variables=v, data_format=data_format, **options),
        "data_format",
        repr(data_format),
        '"NHWC"',
    )


@pytest.mark.parametrize("decay", [-0.1, 1.1, float("nan")])
def test_decay_and_epsilon(decay: float, backend: Any) -> None:
    layer = in_scope(slim.batch_norm)
    refused(lambda v: layer(images(backend), decay=decay, variables=v), "decay", "0 to 1", repr(decay))
    refused(lambda v: layer(images(backend), epsilon=-abs(decay), variables=v), "epsilon", ">= 0", repr(-abs(decay)))


# ---- sizes ----------------------------------------------------------------------------------------------------------------
def test_a_kernel_larger_than_its_images(backend: Any) -> None:
    layer, options = LAYERS["conv2d"]
    x = images(backend, 1, 2, 4, 3)
    refused(lambda v: layer(x, padding="VALID", variables=v, **options), "[1, 2, 4, 3]", "3x3", "small")


def test_images_too_small_for_a_net(backend: Any) -> None:
    """With SAME padding a net takes every size from 1x1; with VALID pooling it does not, and says so."""
    net = NETS["resnet_v2"]
    assert net(images(backend, 1, 1, 1, 3), variables=Variables())[0].shape == (1, 5)
    with slim.arg_scope([slim.max_pool2d], padding="VALID"), pytest.raises(ValueError) as caught:
        net(images(backend, 1, 4, 4, 3), variables=Variables())
    assert all(part in str(caught.value) for part in ("[1, 2, 2, 64]", "small", "3x3"))


@every_net
def test_spatial_squeeze_of_a_map(net: Callable[..., Any], backend: Any) -> None:
    x = images(backend, 1, 65, 33, 3)
    refused(
        lambda v: net(x, global_pool=False, is_training=False, variables=v),
        "spatial_squeeze",
        "they are [1, ",
        "spatial_squeeze=False",
    )


def test_spatial_squeeze_of_a_1x1_map_is_fine(backend: Any) -> None:
    logits, _, _ = NETS["resnet_v2"](images(backend, 2, 9, 9, 3), global_pool=False, variables=Variables())
    assert logits.shape == (2, 5)


# ---- output_stride: TF-Slim's two messages -------------------------------------------------------------------------------
@pytest.mark.parametrize("output_stride", [1, 2, 3, 6, 10, 18])
@every_net
def test_output_stride_must_be_a_multiple_of_4(net: Callable[..., Any], output_stride: int, backend: Any) -> None:
    x = images(backend)
    refused(
        lambda v: net(x, output_stride=output_stride, variables=v), "The output_stride needs to be a multiple of 4."
    )


@pytest.mark.parametrize("output_stride", [12, 20, 24, 64, 128])
@every_net
def test_output_stride_must_be_reachable(net: Callable[..., Any], output_stride: int, backend: Any) -> None:
    """12 lies between 8 and 16; 64 lies beyond the net's nominal stride of 16 or 32."""
    x = images(backend)
    refused(lambda v: net(x, output_stride=output_stride, variables=v), "The target output_stride cannot be reached.")


@pytest.mark.parametrize("output_stride", [3, 5, 8, 16])
def test_output_stride_without_a_root(output_stride: int, backend: Any) -> None:
    """Then it need not be a multiple of 4, but must still be a product of the first strides: 1, 2 or 4 here."""
    net, x = NETS["resnet_v2"], images(backend, 1, 16, 16, 4)
    refused(
        lambda v: net(x, output_stride=output_stride, include_root_block=False, variables=v),
        "The target output_stride cannot be reached.",
    )
    for possible in (1, 2, 4, None):
        net(x, output_stride=possible, include_root_block=False, variables=Variables())


@pytest.mark.parametrize("bad", [0, -4, 8.0, "8", True], ids=repr)
@every_net
def test_output_stride_must_be_an_integer(net: Callable[..., Any], bad: Any, backend: Any) -> None:
    x = images(backend)
    refused(lambda v: net(x, output_stride=bad, variables=v), "output_stride", "integer >= 1", repr(bad))


def test_a_stride_that_jumps_over_the_target_in_the_last_unit(backend: Any) -> None:
    """Strides 1, 3 with a target of 2."""
    blocks = [resnet_v2.resnet_v2_block("a", 1, 2, 3)]
    with (
        variable_scope("net", variables=Variables()),
        pytest.raises(ValueError, match=r"^The target output_stride cannot be reached\.$"),
    ):
        resnet_utils.stack_blocks_dense(images(backend, 1, 8, 8, 3), blocks, output_stride=2)


# ---- functions and blocks that a caller passes in ------------------------------------------------------------------------
@pytest.mark.parametrize("blocks", [None, 3, [1, 2], [("block1", None, [])], "ab"], ids=repr)
def test_blocks(blocks: Any, backend: Any) -> None:
    x = images(backend)
    says = ("blocks", "Block(scope, unit_fn, args)", repr(blocks))
    refused(lambda v: resnet_v2.resnet_v2(x, blocks, variables=v), *says, error=TypeError)


@pytest.mark.parametrize(
    "wrong", [lambda net: net, lambda net: (net, 1), lambda net: None], ids=["array", "number", "None"]
)
@pytest.mark.parametrize("argument", ["activation_fn", "normalizer_fn"])
def test_a_function_that_is_no_layer(argument: str, wrong: Callable[..., Any], backend: Any) -> None:
    """numpy.tanh, say: an activation without a way back."""
    layer, options = LAYERS["conv2d"]
    x = images(backend)
    refused(lambda v: layer(x, variables=v, **options, **{argument: wrong}), argument, "(net, back)", error=TypeError)


# ---- and what is not an error --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("classes", [None, 0])
def test_no_classes_are_features(classes: int | None, backend: Any) -> None:
    variables = Variables()
    features, end_points, _ = NETS["resnet_v2"](images(backend), num_classes=classes, variables=variables)
    assert features.shape == (2, 1, 1, 16) and "predictions" not in end_points
    assert not any("logits" in name for name in variables)


def test_a_scope_of_no_name_is_the_nets_own(backend: Any) -> None:
    variables = Variables()
    resnet_v2.resnet_v2(images(backend), SPEC.ours(), variables=variables)
    assert {name.split("/")[0] for name in variables} == {"resnet_v2"}
    variables = Variables()
    with variable_scope("net", variables=variables):
        resnet_v2.bottleneck(images(backend), 4, 1, 1)
    assert {name.split("/")[1] for name in variables} == {"bottleneck_v2"}


def test_numpy_integers_will_do(backend: Any) -> None:
    net, _, _ = NETS["resnet_v2"](
        images(backend), num_classes=np.int64(5), output_stride=np.int32(8), variables=Variables()
    )
    assert net.shape == (2, 5)


def test_a_dumb_message_is_seen() -> None:
    """Planted: an error that does not say what came, another kind of error, a variable left behind, none at all."""

    def dumb(variables: Variables) -> None:
        raise ValueError("num_classes is wrong")

    def half_done(variables: Variables) -> None:
        variables["w"] = np.ones(1)
        raise ValueError("num_classes must be an integer >= 0 or None, not -1")

    def another(variables: Variables) -> None:
        raise KeyError("num_classes -1")

    for mistake, error, match in (
        (dumb, AssertionError, "lacks"), (half_done, AssertionError, "stayed behind"), (another, KeyError, "num_classes"),
        (lambda variables: None, pytest.fail.Exception, "DID NOT RAISE"),
    ):  # fmt: skip
        with pytest.raises(error, match=match):
            refused(mistake, "num_classes", "-1")
