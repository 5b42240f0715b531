"""What TF-Slim publishes about its own ResNet: the tables of numbers, names and shapes in its resnet_v2_test.py, test by test.

Each test names its counterpart there. The images are TF-Slim's: pixel (h, v) has the value h + v in every channel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinyresnet import Variables
from tinyresnet.resnet_utils import conv2d_same, resnet_arg_scope, stack_blocks_dense, subsample
from tinyresnet.resnet_v2 import resnet_v2, resnet_v2_block
from tinyresnet.slim import arg_scope, batch_norm, conv2d, variable_scope


def mesh(batch: int, height: int, width: int, channels: int) -> np.ndarray:
    plane = np.add.outer(np.arange(height), np.arange(width)).astype("float32")
    return np.tile(plane[None, :, :, None], (batch, 1, 1, channels))


# ---- numbers --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("size", "right"), [(3, [[0, 2], [6, 8]]), (4, [[0, 2], [8, 10]])])
def test_subsample(size: int, right: list[list[int]], backend: Any) -> None:
    """testSubsampleThreeByThree, testSubsampleFourByFour."""
    x = np.arange(size * size, dtype="float32").reshape(1, size, size, 1)
    y, _ = subsample(backend.array(x), 2)
    np.testing.assert_array_equal(backend.host(y)[0, :, :, 0], right)


STRIDE_1 = {
    4: [[14, 28, 43, 26], [28, 48, 66, 37], [43, 66, 84, 46], [26, 37, 46, 22]],
    5: [
        [14, 28, 43, 58, 34],
        [28, 48, 66, 84, 46],
        [43, 66, 84, 102, 55],
        [58, 84, 102, 120, 64],
        [34, 46, 55, 64, 30],
    ],
}
SUBSAMPLED = {4: [[14, 43], [43, 84]], 5: [[14, 43, 34], [43, 84, 55], [34, 55, 30]]}
SLIM_STRIDE_2 = {4: [[48, 37], [37, 22]], 5: [[14, 43, 34], [43, 84, 55], [34, 55, 30]]}  # on an even size another one


@pytest.mark.parametrize("size", [4, 5])
def test_conv2d_same(size: int, backend: Any) -> None:
    """testConv2DSameEven, testConv2DSameOdd: all four tables of each, with one set of variables."""
    variables = Variables(
        {"table/Conv/weights": mesh(1, 3, 3, 1).reshape(3, 3, 1, 1), "table/Conv/biases": np.zeros(1, "float32")}
    )
    variables = Variables({name: backend.array(array) for name, array in variables.items()})
    x = backend.array(mesh(1, size, size, 1))
    with variable_scope("table", reuse=True, variables=variables):
        y1, _ = conv2d(x, 1, [3, 3], stride=1, scope="Conv")
        y2, _ = subsample(y1, 2)
        y3, _ = conv2d_same(x, 1, 3, stride=2, scope="Conv")
        y4, _ = conv2d(x, 1, [3, 3], stride=2, scope="Conv")
    for y, right in ((y1, STRIDE_1), (y2, SUBSAMPLED), (y3, SUBSAMPLED), (y4, SLIM_STRIDE_2)):
        np.testing.assert_array_equal(backend.host(y)[0, :, :, 0], right[size])


@pytest.mark.parametrize("rate", [1, 2, 3])
@pytest.mark.parametrize("stride", [2, 3, 4])
@pytest.mark.parametrize("size", [7, 8, 9, 10])
def test_conv2d_same_is_stride_1_subsampled(size: int, stride: int, rate: int, backend: Any) -> None:
    """What the docstring of conv2d_same promises, for odd and even kernels at every rate."""
    x = backend.array(np.random.default_rng(size).standard_normal((2, size, size + 3, 2)))
    for kernel in (1, 2, 3, 4, 5):
        with variable_scope("net", variables=Variables()):
            right, _ = subsample(conv2d(x, 3, kernel, rate=rate, scope="Conv")[0], stride)
            y, _ = conv2d_same(x, 3, kernel, stride, rate=rate, scope="Conv")
        np.testing.assert_allclose(backend.host(y), backend.host(right), rtol=0, atol=1e-12)


# ---- names ----------------------------------------------------------------------------------------------------------------
def test_end_points_of_a_stack(backend: Any) -> None:
    """testEndPointsV2: only the convolutions collect here."""
    blocks = [
        resnet_v2_block("block1", base_depth=1, num_units=2, stride=2),
        resnet_v2_block("block2", base_depth=2, num_units=2, stride=1),
    ]
    end_points: dict[str, Any] = {}
    with (
        variable_scope("tiny", variables=Variables()),
        arg_scope(resnet_arg_scope()),
        arg_scope([conv2d], outputs_collections=end_points),
    ):
        stack_blocks_dense(backend.array(mesh(2, 32, 16, 3)), blocks)
    assert list(end_points) == [
        f"tiny/block{block}/unit_{unit}/bottleneck_v2/{conv}"
        for block in (1, 2)
        for unit in (1, 2)
        for conv in (["shortcut"] if unit == 1 else []) + ["conv1", "conv2", "conv3"]
    ]


SMALL = [(1, 3, 2), (2, 3, 2), (4, 3, 2), (8, 2, 1)]  # base_depth, num_units, stride of block1 to block4


def small_net(backend: Any, images: np.ndarray, num_classes: int | None = 10, **options: Any) -> Any:
    blocks = [resnet_v2_block(f"block{i}", *arguments) for i, arguments in enumerate(SMALL, start=1)]
    options = {"scope": "resnet", "variables": Variables(), "gradients": False, **options}
    return resnet_v2(backend.array(images), blocks, num_classes, **options)


def expected_names(
    root: bool = True, tail: tuple[str, ...] = ("global_pool", "resnet/logits", "resnet/spatial_squeeze", "predictions")
) -> list[str]:
    names = ["resnet/conv1"] if root else []
    for block, (_, units, _) in enumerate(SMALL, start=1):
        for unit in range(1, units + 1):
            scope = f"resnet/block{block}/unit_{unit}/bottleneck_v2"
            names += [f"{scope}/shortcut"] if unit == 1 else []
            names += [f"{scope}/conv1", f"{scope}/conv2", f"{scope}/conv3", scope]
        names.append(f"resnet/block{block}")
    return [*names, *tail]


@pytest.mark.parametrize(
    ("options", "root", "tail"),
    [
        ({}, True, ("global_pool", "resnet/logits", "resnet/spatial_squeeze", "predictions")),
        ({"spatial_squeeze": False}, True, ("global_pool", "resnet/logits", "predictions")),
        ({"num_classes": None}, True, ("global_pool",)),
        ({"num_classes": 0}, True, ("global_pool",)),
        ({"num_classes": None, "global_pool": False, "include_root_block": False}, False, ()),
    ],
    ids=["default", "no-squeeze", "None", "0", "bare"],
)
def test_end_point_names_in_order(options: dict[str, Any], root: bool, tail: tuple[str, ...], backend: Any) -> None:
    """testEndpointNames, and the order that a recording of TF-Slim shows."""
    _, end_points, _ = small_net(backend, mesh(1, 33, 33, 3), **options)
    assert list(end_points) == expected_names(root, tail)


# ---- shapes ---------------------------------------------------------------------------------------------------------------
def test_classification_end_points(backend: Any) -> None:
    """testClassificationEndPoints."""
    logits, end_points, back = small_net(backend, mesh(2, 224, 224, 3), spatial_squeeze=False)
    assert logits.shape == end_points["predictions"].shape == end_points["resnet/logits"].shape == (2, 1, 1, 10)
    assert end_points["global_pool"].shape == (2, 1, 1, 32)
    assert back is None


SHAPES: list[tuple[str, int, dict[str, Any], list[tuple[int, ...]]]] = [
    ("testClassificationShapes", 224, {}, [(28, 4), (14, 8), (7, 16), (7, 32)]),
    ("testFullyConvolutionalEndpointShapes", 321, {"global_pool": False}, [(41, 4), (21, 8), (11, 16), (11, 32)]),
    (
        "testRootlessFullyConvolutionalEndpointShapes", 128, {"global_pool": False, "include_root_block": False},
        [(64, 4), (32, 8), (16, 16), (16, 32)],
    ),
    (
        "testAtrousFullyConvolutionalEndpointShapes", 321, {"global_pool": False, "output_stride": 8},
        [(41, 4), (41, 8), (41, 16), (41, 32)],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("size", "options", "shapes"), [row[1:] for row in SHAPES], ids=[row[0] for row in SHAPES])
def test_block_shapes(size: int, options: dict[str, Any], shapes: list[tuple[int, int]], backend: Any) -> None:
    logits, end_points, _ = small_net(backend, mesh(2, size, size, 3), spatial_squeeze=False, **options)
    assert [end_points[f"resnet/block{i}"].shape for i in range(1, 5)] == [
        (2, side, side, depth) for side, depth in shapes
    ]
    assert logits.shape == (2, *((shapes[-1][0],) * 2 if options else (1, 1)), 10)


@pytest.mark.parametrize(("size", "out"), [(224, 7), (225, 8), (193, 7), (65, 3), (32, 1), (33, 2), (1, 1)])
def test_sides_at_stride_32(size: int, out: int, backend: Any) -> None:
    """ceil(size / 32), so that 32 n + 1 aligns the corners: 224 -> 7, 225 -> 8."""
    features, _, _ = small_net(backend, mesh(1, size, 33, 3), None, global_pool=False)
    assert features.shape == (1, out, 2, 32)


# ---- sizes unknown beforehand: one store serves every batch size and image size ------------------------------------------
def test_one_store_for_every_batch_size(backend: Any) -> None:
    """testUnknownBatchSize."""
    variables = Variables()
    for reuse, batch in ((False, 2), (True, 1), (True, 5)):
        logits, _, _ = small_net(
            backend, mesh(batch, 65, 65, 3), spatial_squeeze=False, variables=variables, reuse=reuse
        )
        assert logits.shape == (batch, 1, 1, 10)


@pytest.mark.parametrize(("output_stride", "stride"), [(None, 32), (8, 8)])
def test_one_store_for_every_image_size(output_stride: int | None, stride: int, backend: Any) -> None:
    """testFullyConvolutionalUnknownHeightWidth (65 -> 3), testAtrousFullyConvolutionalUnknownHeightWidth (65 -> 9)."""
    variables = Variables()
    for reuse, height, width in ((False, 65, 65), (True, 48, 97), (True, 33, 31)):
        images = mesh(2, height, width, 3)
        net, _, _ = small_net(
            backend, images, None, global_pool=False, output_stride=output_stride, variables=variables, reuse=reuse
        )
        assert net.shape == (2, -(-height // stride), -(-width // stride), 32)
    assert (-(-65 // 32), -(-65 // 8)) == (3, 9)


# ---- atrous convolution ---------------------------------------------------------------------------------------------------
def check_atrous_values(backend: Any, output_stride: int | None, images: np.ndarray) -> None:
    variables = Variables()
    options: dict[str, Any] = {"is_training": False, "global_pool": False, "variables": variables}
    dense, _, _ = small_net(backend, images, None, output_stride=output_stride, **options)
    dense, _ = subsample(dense, 32 // (output_stride or 32))
    nominal, _, _ = small_net(backend, images, None, reuse=True, **options)
    np.testing.assert_allclose(backend.host(dense), backend.host(nominal), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("output_stride", [4, 8, 16, 32, None])
def test_atrous_values(output_stride: int | None, backend: Any) -> None:
    """testAtrousFullyConvolutionalValues: the dense net, subsampled, is the net at its nominal stride of 32."""
    check_atrous_values(backend, output_stride, mesh(2, 81, 81, 3))
    random = np.random.default_rng(0).standard_normal((2, 81, 65, 3)).astype("float32")
    check_atrous_values(backend, output_stride, random)


def stack_at_nominal_stride(net: Any, blocks: Any) -> Any:
    """_stack_blocks_nondense: no control of the output stride."""
    for block in blocks:
        with variable_scope(block.scope):
            for i, unit in enumerate(block.args, start=1):
                with variable_scope(f"unit_{i}"):
                    net, _ = block.unit_fn(net, rate=1, **unit)
    return net


@pytest.mark.parametrize("output_stride", [1, 2, 4, 8, None])
def test_atrous_values_of_a_stack(output_stride: int | None, backend: Any) -> None:
    """testAtrousValuesBottleneck: odd and even sides, nominal stride 8."""
    blocks = [
        resnet_v2_block(f"block{i}", depth, 2, stride)
        for i, (depth, stride) in enumerate([(1, 2), (2, 2), (4, 2), (8, 1)], start=1)
    ]
    images, variables = backend.array(mesh(1, 30, 31, 3)), Variables()
    with (
        variable_scope("net", variables=variables),
        arg_scope(resnet_arg_scope()),
        arg_scope([batch_norm], is_training=False),
    ):
        dense, _ = stack_blocks_dense(images, blocks, output_stride)
        dense, _ = subsample(dense, 8 // (output_stride or 8))
    with (
        variable_scope("net", reuse=True, variables=variables),
        arg_scope(resnet_arg_scope()),
        arg_scope([batch_norm], is_training=False),
    ):
        nominal = stack_at_nominal_stride(images, blocks)
    np.testing.assert_allclose(backend.host(dense), backend.host(nominal), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("output_stride", [4, 8, 16])
def test_a_planted_forgotten_rate_fails_the_atrous_values(output_stride: int, backend: Any) -> None:
    from tinyresnet import ops, use

    def dense_only(x: Any, w: Any, stride: Any = 1, rate: Any = 1, padding: Any = "SAME") -> Any:
        return ops.conv2d_forward(x, w, stride=stride, padding=padding)

    with use(conv2d_forward=dense_only), pytest.raises(AssertionError):
        check_atrous_values(
            backend, output_stride, np.random.default_rng(1).standard_normal((2, 81, 81, 3)).astype("float32")
        )
