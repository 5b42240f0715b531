"""What is recorded: plain data, kept beside the numbers in each fixture as its `meta`. Nothing here knows TensorFlow.

A net's case names the function, its blocks as `resnet_v2_block(scope, base_depth, num_units, stride)`, its arguments, those of
`resnet_arg_scope`, and the shape of the images. Functions stand as their names ("relu", "batch_norm").
"""

from __future__ import annotations

from typing import Any

Case = dict[str, Any]

# resnet_v2_small of TF-Slim's resnet_v2_test.py, and a net wide enough for a mistake between channels to show.
SMALL = [["block1", 1, 3, 2], ["block2", 2, 3, 2], ["block3", 4, 3, 2], ["block4", 8, 2, 1]]
WIDE = [["block1", 8, 2, 2], ["block2", 16, 2, 1]]
TINY = [["block1", 2, 2, 2], ["block2", 4, 2, 2]]


def _net(images: list[int], blocks: list[list[Any]] | None = None, **arguments: Any) -> Case:
    arguments.setdefault("scope", "resnet")
    return {"function": "resnet_v2", "blocks": blocks or SMALL, "images": images, "arguments": arguments}


def _tiny(is_training: bool = True, **arguments: Any) -> Case:
    return _net([2, 48, 48, 3], TINY, num_classes=6, is_training=is_training, **arguments)


def _dense(size: int, output_stride: int | None, is_training: bool, batch: int = 1) -> Case:
    return _net(
        [batch, size, size, 3],
        num_classes=5,
        is_training=is_training,
        global_pool=False,
        output_stride=output_stride,
        spatial_squeeze=False,
    )


def _family(depth: int, images: list[int], **arguments: Any) -> Case:
    return {"function": f"resnet_v2_{depth}", "blocks": None, "images": images, "arguments": arguments}


INSIDE = [  # end points whose gradients are recorded too
    "resnet/block1/unit_2/bottleneck_v2/conv1",
    "resnet/block1",
    "resnet/block2/unit_3/bottleneck_v2",
    "resnet/block4",
    "global_pool",
]

# ---- nets whose numbers are recorded -----------------------------------------------------------------------------------
# `seed` makes the images, the variables and the upstream gradient. record.py finds one at which rounding cannot decide: the thin
# nets need a search, as batch norm over few values magnifies rounding.
NETS: dict[str, Case] = {
    "small, training, odd": {
        **_net([2, 65, 65, 3], num_classes=10, is_training=True),
        "gradients_at": INSIDE,
        "whole": 10_000,
        "seed": 839,
    },
    "small, training, even": {**_net([3, 64, 64, 3], num_classes=10, is_training=True), "seed": 1239},
    "small, inference": {**_net([2, 64, 64, 3], num_classes=10, is_training=False), "whole": 2_000, "seed": 29},
    "wide, training": {**_net([3, 48, 48, 3], WIDE, num_classes=7, is_training=True), "whole": 2_000, "seed": 2},
    "wide, inference": {**_net([2, 40, 57, 3], WIDE, num_classes=7, is_training=False), "seed": 1},
    "output_stride 8, training, even": {**_dense(64, 8, True), "seed": 35},
    "output_stride 8, training, odd": {**_dense(65, 8, True), "seed": 173},
    "output_stride 8, inference, odd": {**_dense(65, 8, False), "seed": 54},
    "output_stride 16, training, odd": {**_dense(65, 16, True), "seed": 169},
    "output_stride 16, inference, even": {**_dense(64, 16, False), "seed": 18},
    "output_stride 4, inference, odd": {**_dense(33, 4, False), "seed": 1},
    "output_stride 32, inference, odd": {**_dense(65, 32, False), "seed": 4},
    "nominal stride, dense, training": {**_dense(65, None, True, batch=2), "seed": 98},
    "rootless, no classes, even": {
        **_net([2, 32, 32, 3], TINY, num_classes=None, is_training=True, include_root_block=False),
        "seed": 1,
    },
    "rootless, no classes, dense, output_stride 2, odd": {
        **_net(
            [2, 17, 21, 4],
            TINY,
            num_classes=None,
            is_training=True,
            include_root_block=False,
            global_pool=False,
            output_stride=2,
        ),
        "seed": 0,
    },
    "rootless, inference, identity shortcut into block1": {
        **_net([2, 16, 16, 8], TINY, num_classes=3, is_training=False, include_root_block=False),
        "seed": 0,
    },
    "no classes": {**_net([2, 48, 48, 3], TINY, num_classes=None, is_training=True), "seed": 1},
    "not squeezed": {**_tiny(spatial_squeeze=False), "seed": 0},
    "weight_decay, decay, epsilon": {
        **_tiny(),
        "arg_scope": {"weight_decay": 0.01, "batch_norm_decay": 0.9, "batch_norm_epsilon": 0.001},
        "seed": 0,
    },
    "no gamma, training": {**_tiny(), "arg_scope": {"batch_norm_scale": False}, "seed": 0},
    "no gamma, inference": {
        **_tiny(is_training=False),
        "arg_scope": {"batch_norm_scale": False, "batch_norm_epsilon": 0.01},
        "seed": 0,
    },
    "use_batch_norm=False": {**_tiny(), "arg_scope": {"use_batch_norm": False}, "seed": 0},
    "tanh": {**_tiny(), "arg_scope": {"activation_fn": "tanh"}, "seed": 125},
    "no activation": {**_tiny(), "arg_scope": {"activation_fn": None}, "seed": 1},
    "no weight decay": {**_tiny(), "arg_scope": {"weight_decay": 0.0}, "seed": 0},
}

# In float64 no ReLU is near enough to 0 for rounding to decide, so everything can be held to 1e-9. The moving averages are left
# out: TensorFlow's batch norm for float64 averages the biased variance, unlike the one for float32.
_FLOAT64: Case = {"dtype": "float64", "groups": ["end_points", "gradients", "gradients_at"]}

NETS_FLOAT64: dict[str, Case] = {
    "small, training": {**_FLOAT64, **_net([2, 64, 64, 3], num_classes=10, is_training=True), "gradients_at": INSIDE},
    "wide, training": {**_FLOAT64, **_net([3, 49, 40, 3], WIDE, num_classes=7, is_training=True)},
    "wide, inference": {**_FLOAT64, **_net([3, 49, 40, 3], WIDE, num_classes=7, is_training=False)},
    "output_stride 8, training": {**_FLOAT64, **_dense(64, 8, True)},
    "output_stride 16, training": {**_FLOAT64, **_dense(65, 16, True)},
}

# A ResNet-50 has 14 million ReLU inputs in this batch. In float32 some twenty of them are so near 0 that rounding decides, and
# TF-Slim's own gradients are off by up to 2 % of their largest entry. So float32 settles what follows from the forward pass
# and how large such an error is, and float64 settles the gradients.
_RESNET_50: Case = {**_family(50, [2, 224, 224, 3], num_classes=1000, is_training=True), "whole": 60}
RESNET_50: dict[str, Case] = {
    "float32, training": {**_RESNET_50, "groups": ["gradients", "moving"]},
    "float64, training": {**_RESNET_50, **_FLOAT64},
}

# ---- nets of which only names and shapes are recorded (the graph is built, not run) -----------------------------------
STRUCTURE: dict[str, Case] = {
    "resnet_v2_50": _family(50, [1, 64, 64, 3], num_classes=1000),
    "resnet_v2_101": _family(101, [1, 64, 64, 3], num_classes=1000),
    "resnet_v2_152": _family(152, [1, 64, 64, 3], num_classes=1000),
    "resnet_v2_200": _family(200, [1, 64, 64, 3], num_classes=1000),
    "resnet_v2_50 at 224": _family(50, [1, 224, 224, 3], num_classes=1000),
    "resnet_v2_50 at 225": _family(50, [1, 225, 225, 3], num_classes=None, global_pool=False),
    "resnet_v2_50 at 321, output_stride 16": _family(
        50, [1, 321, 321, 3], num_classes=21, global_pool=False, output_stride=16, spatial_squeeze=False
    ),
    "small at 224": _net([2, 224, 224, 3], num_classes=10),
    "small at 321, nominal stride": _dense(321, None, True, batch=2),
    "small at 321, output_stride 8": _dense(321, 8, True, batch=2),
    "small at 321, output_stride 16": _dense(321, 16, True, batch=2),
    "small at 320, output_stride 16": _dense(320, 16, True, batch=2),
    "small at 128, rootless": _net([2, 128, 128, 3], include_root_block=False),
    "small at 128, rootless, dense": _net(
        [2, 128, 128, 3], num_classes=10, include_root_block=False, global_pool=False, spatial_squeeze=False
    ),
}

# ---- what TF-Slim refuses ----------------------------------------------------------------------------------------------
ERRORS: dict[str, Case] = {
    "output_stride 6": _dense(65, 6, True),
    "output_stride 9": _dense(65, 9, True),
    "output_stride 12": _dense(65, 12, True),
    "output_stride 64": _dense(65, 64, True),
    "rootless, output_stride 3": _net(
        [1, 33, 33, 3], num_classes=5, global_pool=False, include_root_block=False, output_stride=3
    ),
    "rootless, output_stride 16": _net(
        [1, 33, 33, 3], num_classes=5, global_pool=False, include_root_block=False, output_stride=16
    ),
}


# ---- single layers -----------------------------------------------------------------------------------------------------
def _layer(function: str, shape: list[int], numbers: str = "uniform", low: float = -1.0, **arguments: Any) -> Case:
    return {"function": function, "input": shape, "numbers": numbers, "low": low, "arguments": arguments}


def _tables() -> dict[str, Case]:
    cases = {
        "table: subsample 3x3": _layer("subsample", [1, 3, 3, 1], "count", factor=2),
        "table: subsample 4x4": _layer("subsample", [1, 4, 4, 1], "count", factor=2),
    }
    for name, size in ("even", 4), ("odd", 5):
        for function, stride in ("conv2d_same", 1), ("conv2d_same", 2), ("conv2d", 2):
            cases[f"table: {name}, {function} stride {stride}"] = _layer(
                function, [1, size, size, 1], "mesh", num_outputs=1, kernel_size=3, stride=stride, scope="Conv"
            )
        cases[f"table: {name}, subsample of conv2d_same stride 1"] = _layer(
            "conv2d_same then subsample",
            [1, size, size, 1],
            "mesh",
            num_outputs=1,
            kernel_size=3,
            stride=2,
            scope="Conv",
        )
    return cases


def _convolutions() -> dict[str, Case]:
    cases = {}
    for kernel, stride, rate, height, width in (
        (3, 1, 1, 8, 8), (3, 2, 1, 8, 8), (3, 2, 1, 9, 9), (3, 3, 1, 8, 11), (3, 1, 2, 8, 9), (3, 1, 4, 9, 7),
        (7, 2, 1, 12, 15), (5, 2, 1, 10, 10), (2, 2, 1, 7, 8), (4, 2, 1, 8, 9), (1, 2, 1, 6, 7), (1, 1, 1, 5, 6),
    ):  # fmt: skip
        cases[f"conv2d_same {kernel}x{kernel}, stride {stride}, rate {rate}, {height}x{width}"] = _layer(
            "conv2d_same",
            [2, height, width, 3],
            num_outputs=4,
            kernel_size=kernel,
            stride=stride,
            rate=rate,
            scope="Conv",
        )
    for kernel, stride, rate, height, width in (3, 2, 2, 9, 10), (3, 3, 2, 11, 12), (5, 2, 3, 14, 13):
        # tf-slim refuses stride and rate together; its docstring says what conv2d_same with both is equal to.
        cases[f"conv2d_same {kernel}x{kernel}, stride {stride} and rate {rate}, {height}x{width}"] = _layer(
            "conv2d_same then subsample", [2, height, width, 3],
            num_outputs=4, kernel_size=kernel, stride=stride, rate=rate, scope="Conv",
        )  # fmt: skip
    for padding in "SAME", "VALID":
        for kernel, stride, rate, height, width in (
            ([3, 3], 2, 1, 8, 9), ([3, 2], [1, 2], 1, 7, 8), ([1, 5], 1, 1, 6, 9), ([3, 3], 1, [2, 1], 9, 8), ([2, 4], [3, 2], 1, 10, 11),
        ):  # fmt: skip
            cases[f"conv2d {padding} {kernel}, stride {stride}, rate {rate}, {height}x{width}"] = _layer(
                "conv2d", [2, height, width, 3], num_outputs=4, kernel_size=kernel, stride=stride, rate=rate,
                padding=padding, activation_fn=None, scope="Conv",
            )  # fmt: skip
    cases["conv2d, its defaults"] = _layer("conv2d", [2, 6, 7, 3], num_outputs=5, kernel_size=[3, 3])
    cases["conv2d, tanh and L2"] = _layer(
        "conv2d", [2, 6, 7, 3], num_outputs=5, kernel_size=3, activation_fn="tanh", weights_regularizer=0.05
    )
    cases["conv2d, no biases"] = _layer("conv2d", [2, 6, 7, 3], num_outputs=5, kernel_size=3, biases_initializer=None)
    cases["conv2d, batch_norm with its defaults"] = _layer(
        "conv2d", [2, 6, 7, 3], num_outputs=5, kernel_size=3, normalizer_fn="batch_norm"
    )
    cases["conv2d, batch_norm with parameters"] = _layer(
        "conv2d", [2, 6, 7, 3], num_outputs=5, kernel_size=3, stride=2, normalizer_fn="batch_norm",
        normalizer_params={"decay": 0.8, "scale": True, "epsilon": 0.01},
    )  # fmt: skip
    return cases


def _others() -> dict[str, Case]:
    cases = {}
    for padding in "SAME", "VALID":
        for kernel, stride, height, width in (
            ([3, 3], 2, 8, 8), ([3, 3], 2, 9, 7), ([2, 2], 2, 7, 8), ([3, 2], [1, 2], 6, 7), ([2, 2], 3, 9, 10), ([1, 1], 2, 7, 8),
        ):  # fmt: skip
            # Numbers below zero only: a border padded with zeros would win.
            cases[f"max_pool2d {padding} {kernel}, stride {stride}, {height}x{width}"] = {
                **_layer("max_pool2d", [2, height, width, 3], kernel_size=kernel, stride=stride, padding=padding),
                "low": -2.0,
                "high": -1.0,
            }
    cases["max_pool2d, its defaults"] = _layer("max_pool2d", [2, 7, 8, 3], kernel_size=3)
    cases["subsample by 3"] = _layer("subsample", [2, 7, 9, 3], factor=3)
    for is_training in True, False:
        mode = "training" if is_training else "inference"
        for name, arguments in {
            "its defaults": {},
            "gamma": {"scale": True, "decay": 0.9},
            "no beta": {"center": False, "scale": True, "epsilon": 0.1},
            "neither": {"center": False, "decay": 0.5},
            "relu": {"scale": True, "activation_fn": "relu", "epsilon": 1e-5, "decay": 0.997},
        }.items():
            cases[f"batch_norm, {mode}, {name}"] = _layer(
                "batch_norm", [3, 3, 2, 4], low=-3.0, is_training=is_training, **arguments
            )
    cases["batch_norm, training, two values a channel"] = _layer("batch_norm", [2, 1, 1, 4], scale=True, decay=0.9)
    cases["batch_norm, training, one value a channel"] = _layer("batch_norm", [1, 1, 1, 4], scale=True, decay=0.9)
    cases["softmax"] = _layer("softmax", [3, 7], low=-6.0)
    return cases


LAYERS: dict[str, Case] = {**_tables(), **_convolutions(), **_others()}
