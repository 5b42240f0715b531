"""The published nets: names, order and shapes as recorded from TF-Slim; resnet_v2_50 against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.nets.block_spec import BlockSpec
from tests.nets.specs import SCOPE, NetSpec, assert_same, on_host, random_store
from tinyresnet import Variables, resnet_v2

UNITS = {
    resnet_v2.resnet_v2_50: (3, 4, 6, 3),
    resnet_v2.resnet_v2_101: (3, 4, 23, 3),
    resnet_v2.resnet_v2_152: (3, 8, 36, 3),
    resnet_v2.resnet_v2_200: (3, 24, 36, 3),
}
BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
DEPTHS, STRIDES = (256, 512, 1024, 2048), (2, 2, 2, 1)


def expected_variables(scope: str, units: tuple[int, ...], classes: int) -> dict[str, tuple[int, ...]]:
    """name -> shape, in TF-Slim's order of creation."""

    def norm(prefix: str, c: int) -> None:
        names.update({f"{prefix}/{leaf}": (c,) for leaf in BATCH_NORM})

    def with_bias(prefix: str, *shape: int) -> None:
        names.update({f"{prefix}/weights": shape, f"{prefix}/biases": shape[-1:]})

    def with_norm(prefix: str, *shape: int) -> None:
        names[f"{prefix}/weights"] = shape
        norm(f"{prefix}/BatchNorm", shape[-1])

    names: dict[str, tuple[int, ...]] = {}
    with_bias(f"{scope}/conv1", 7, 7, 3, 64)
    depth_in = 64
    for block, (count, depth) in enumerate(zip(units, DEPTHS, strict=True), start=1):
        for unit in range(1, count + 1):
            prefix = f"{scope}/block{block}/unit_{unit}/bottleneck_v2"
            norm(f"{prefix}/preact", depth_in)
            if depth_in != depth:
                with_bias(f"{prefix}/shortcut", 1, 1, depth_in, depth)
            with_norm(f"{prefix}/conv1", 1, 1, depth_in, depth // 4)
            with_norm(f"{prefix}/conv2", 3, 3, depth // 4, depth // 4)
            with_bias(f"{prefix}/conv3", 1, 1, depth // 4, depth)
            depth_in = depth
    norm(f"{scope}/postnorm", depth_in)
    if classes:
        with_bias(f"{scope}/logits", 1, 1, depth_in, classes)
    return names


def expected_end_points(scope: str, units: tuple[int, ...], size: int, classes: int) -> dict[str, tuple[int, ...]]:
    """name -> shape for one square image, in order."""
    half = -(-size // 2)
    side = -(-half // 2)
    names: dict[str, tuple[int, ...]] = {f"{scope}/conv1": (1, half, half, 64)}
    for block, (count, depth, stride) in enumerate(zip(units, DEPTHS, STRIDES, strict=True), start=1):
        for unit in range(1, count + 1):
            prefix = f"{scope}/block{block}/unit_{unit}/bottleneck_v2"
            if unit == 1:
                names[f"{prefix}/shortcut"] = (1, side, side, depth)
            names[f"{prefix}/conv1"] = (1, side, side, depth // 4)
            side = -(-side // stride) if unit == count else side  # the stride sits in the last unit
            names[f"{prefix}/conv2"] = (1, side, side, depth // 4)
            names[f"{prefix}/conv3"] = names[prefix] = (1, side, side, depth)
        names[f"{scope}/block{block}"] = (1, side, side, depth)
    tail = {"global_pool": (1, 1, 1, 2048), f"{scope}/logits": (1, 1, 1, classes)}
    return {**names, **tail, f"{scope}/spatial_squeeze": (1, classes), "predictions": (1, classes)}


def test_resnet_v2_50_at_224_is_what_was_recorded(backend: Any) -> None:
    """77 end points, 272 variables (174 trainable, 54 with L2): names, order and shapes."""
    variables = Variables()
    images = backend.array(np.random.default_rng(0).standard_normal((1, 224, 224, 3)).astype("float32"))
    logits, end_points, back = resnet_v2.resnet_v2_50(images, 1000, is_training=False, variables=variables)
    assert logits.shape == (1, 1000) and back is None
    assert list({name: x.shape for name, x in end_points.items()}.items()) == list(
        expected_end_points("resnet_v2_50", (3, 4, 6, 3), 224, 1000).items()
    )
    assert len(end_points) == 77
    shapes = {name: tuple(array.shape) for name, array in variables.items()}
    assert list(shapes.items()) == list(expected_variables("resnet_v2_50", (3, 4, 6, 3), 1000).items())
    assert (len(variables), len(variables.trainable), len(variables.regularized)) == (272, 174, 54)
    assert not any("moving_" in name for name in variables.trainable)
    assert all(name.endswith("/weights") for name in variables.regularized)
    assert np.isfinite(backend.host(logits)).all()
    np.testing.assert_allclose(backend.host(end_points["predictions"]).sum(), 1, rtol=1e-5)


@pytest.mark.parametrize("net", UNITS, ids=lambda net: net.__name__)
def test_every_depth(net: Callable[..., Any], backend: Any) -> None:
    """Names, order and shapes of all variables, from a 1x1 image; default scope and default image size."""
    variables = Variables()
    features, end_points, _ = net(
        backend.array(np.ones((1, 1, 1, 3), "float32")), is_training=False, variables=variables
    )
    assert features.shape == (1, 1, 1, 2048)
    shapes = {name: tuple(array.shape) for name, array in variables.items()}
    assert list(shapes.items()) == list(expected_variables(net.__name__, UNITS[net], 0).items())
    assert list(end_points)[-1] == "global_pool" and len(end_points) == 4 * sum(UNITS[net]) + 4 + 4 + 2
    assert net.default_image_size == resnet_v2.resnet_v2.default_image_size == 224


def test_scope_none_is_the_functions_name(backend: Any) -> None:
    """For resnet_v2_50 as for resnet_v2, whose default name is its own too."""
    variables = Variables()
    images = backend.array(np.ones((1, 32, 32, 3), "float32"))
    resnet_v2.resnet_v2_50(images, is_training=False, scope=None, variables=variables)
    assert {name.split("/")[0] for name in variables} == {"resnet_v2_50"}


def fifty(size: int) -> NetSpec:
    blocks = [
        BlockSpec(f"block{i}", 32 << i, n, s)
        for i, (n, s) in enumerate(zip((3, 4, 6, 3), STRIDES, strict=True), start=1)
    ]
    return NetSpec((2, size, size, 3), tuple(blocks), 10)


def test_resnet_v2_50_is_made_of_these_blocks(backend: Any) -> None:
    spec = fifty(32)
    assert [(b.scope, len(b.args), *b.args[-1].values()) for b in spec.ours()] == [
        ("block1", 3, 256, 64, 2), ("block2", 4, 512, 128, 2), ("block3", 6, 1024, 256, 2), ("block4", 3, 2048, 512, 1),
    ]  # fmt: skip
    variables = random_store(backend, spec, dtype="float32")
    images = backend.array(spec.random_images(dtype="float32"))
    by_blocks, _, _ = resnet_v2.resnet_v2(images, spec.ours(), 10, False, scope=SCOPE, variables=variables)
    by_name, _, _ = resnet_v2.resnet_v2_50(images, 10, False, scope=SCOPE, reuse=True, variables=variables)
    np.testing.assert_array_equal(backend.host(by_name), backend.host(by_blocks))


@pytest.mark.parametrize("size", [64, pytest.param(97, marks=pytest.mark.slow)])
def test_resnet_v2_50_against_pytorch(size: int, backend: Any) -> None:
    """Everything in float64, training mode, batch 2: within 1e-9."""
    from tests.nets.twins import run_ours, run_twin

    spec = fifty(size)
    variables = random_store(backend, spec)
    right = run_twin(spec, on_host(backend, variables))
    assert_same(run_ours(backend, spec, variables), right)
