"""stack_blocks_dense: who gets which stride and rate, and the activations before a block's stride."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.nets.specs import assert_same
from tinyresnet import Variables, check_gradients
from tinyresnet.resnet_utils import Block, resnet_arg_scope, stack_blocks_dense, subsample
from tinyresnet.resnet_v2 import resnet_v2_block
from tinyresnet.slim import arg_scope, batch_norm, current_scope, relu, variable_scope

BLOCKS = [resnet_v2_block("block1", 1, 2, 2), resnet_v2_block("block2", 2, 1, 2), resnet_v2_block("block3", 2, 2, 1)]


def images(backend: Any, *shape: int) -> Any:
    return backend.array(np.random.default_rng(list(shape)).standard_normal(shape))


# ---- strides and rates ----------------------------------------------------------------------------------------------------
def strides_and_rates(
    backend: Any, strides: list[list[int]], output_stride: int | None, **options: Any
) -> list[tuple[int, int]]:
    """What each unit was asked for, and what it would amount to: units that only take notes and subsample."""
    asked = []

    def unit(net: Any, stride: int = 1, rate: int = 1) -> Any:
        asked.append((stride, rate))
        return subsample(net, stride)

    blocks = [
        Block(f"block{i}", unit, [{"stride": s} if s > 1 else {} for s in units]) for i, units in enumerate(strides)
    ]
    net = images(backend, 1, 48, 50, 1)
    with variable_scope("net", variables=Variables()):
        out, _ = stack_blocks_dense(net, blocks, output_stride, **options)
    total = int(np.prod([s for units in strides for s in units]))
    reached = total if output_stride is None else output_stride
    np.testing.assert_array_equal(backend.host(out), backend.host(net)[:, ::reached, ::reached])
    return asked


TF_SLIMS = [[1, 2], [1, 3], [4, 1]]  # the example of its docstring: 1, 2, 6, 24 are the possible output strides


@pytest.mark.parametrize(
    ("output_stride", "asked"),
    [
        (None, [(1, 1), (2, 1), (1, 1), (3, 1), (4, 1), (1, 1)]),
        (24, [(1, 1), (2, 1), (1, 1), (3, 1), (4, 1), (1, 24 // 24)]),
        (6, [(1, 1), (2, 1), (1, 1), (3, 1), (1, 1), (1, 4)]),
        (2, [(1, 1), (2, 1), (1, 1), (1, 1), (1, 3), (1, 12)]),
        (1, [(1, 1), (1, 1), (1, 2), (1, 2), (1, 6), (1, 24)]),
    ],
)
def test_the_example_of_tf_slims_docstring(
    output_stride: int | None, asked: list[tuple[int, int]], backend: Any
) -> None:
    assert strides_and_rates(backend, TF_SLIMS, output_stride) == asked


@pytest.mark.parametrize("output_stride", [3, 4, 5, 8, 12, 48])
def test_the_output_strides_in_between_cannot_be_reached(output_stride: int, backend: Any) -> None:
    with pytest.raises(ValueError, match=r"^The target output_stride cannot be reached\.$"):
        strides_and_rates(backend, TF_SLIMS, output_stride)


@pytest.mark.parametrize(
    ("output_stride", "asked"),
    [
        (
            None,
            [(1, 1), (1, 1), (1, 1), (1, 1), (4, 1), (1, 1)],
        ),  # the strides 2 and 3 come at the ends of their blocks
        (6, [(1, 1), (1, 1), (1, 1), (1, 1), (1, 1), (1, 4)]),
        (2, [(1, 1), (1, 1), (1, 1), (1, 1), (1, 3), (1, 12)]),
        (1, [(1, 1), (1, 1), (1, 2), (1, 2), (1, 6), (1, 24)]),
    ],
)
def test_storing_non_strided_activations_moves_the_strides(
    output_stride: int | None, asked: list[tuple[int, int]], backend: Any
) -> None:
    assert strides_and_rates(backend, TF_SLIMS, output_stride, store_non_strided_activations=True) == asked


# ---- store_non_strided_activations on real units --------------------------------------------------------------------------
def run(backend: Any, store: bool, output_stride: int | None) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """In inference: everything that must be the same with and without, and the end points, which must not."""
    variables, end_points = Variables(), {}
    with (
        arg_scope(resnet_arg_scope()),
        arg_scope([batch_norm], is_training=False),
        variable_scope("net", variables=variables),
    ):
        net, back = stack_blocks_dense(images(backend, 2, 12, 13, 3), BLOCKS, output_stride, store, end_points)
    d_images = back(backend.array(np.random.default_rng(1).standard_normal(net.shape)))
    same = {"net": net, "d images": d_images, **{f"gradient {name}": g for name, g in variables.gradients.items()}}
    return backend.host(same), backend.host(end_points)


@pytest.mark.parametrize("output_stride", [1, 2, 4, None])
def test_a_block_ends_before_its_stride(output_stride: int | None, backend: Any) -> None:
    """The net is the same; its end points have the higher resolution: subsampled, they are the usual ones.

    (In training batch norm would see more pixels in the last units, so that the two are different nets.)
    """
    usual, usual_points = run(backend, False, output_stride)
    stored, stored_points = run(backend, True, output_stride)
    assert_same(stored, usual, tolerance=1e-12)
    assert list(usual_points) == list(stored_points) == ["net/block1", "net/block2", "net/block3"]
    so_far = 1
    for name, stride in zip(usual_points, (2, 2, 1), strict=True):
        before, after = stored_points[name], usual_points[name]
        assert before.shape[1:3] == (-(-12 // so_far), -(-13 // so_far))
        so_far *= stride if output_stride is None or so_far < output_stride else 1
        assert after.shape[1:3] == (-(-12 // so_far), -(-13 // so_far))
        step = before.shape[1] // after.shape[1]
        np.testing.assert_allclose(before[:, ::step, ::step], after, rtol=0, atol=1e-12)


def test_its_gradients_by_finite_differences(backend: Any) -> None:
    variables = Variables(seed=1)

    def stack(x: Any) -> Any:
        with arg_scope(resnet_arg_scope()), variable_scope("net", variables=variables):
            return stack_blocks_dense(x, BLOCKS, 2, store_non_strided_activations=True)

    report = check_gradients(stack, np.random.default_rng(2).standard_normal((2, 7, 6, 3)))
    assert report.passed, report


# ---- the rest -------------------------------------------------------------------------------------------------------------
def test_blocks_of_any_unit(backend: Any) -> None:
    """A unit is any function net -> (net, back) with `rate`; a block without a name is `block`, then `block_1`."""
    scopes = []

    def unit(net: Any, factor: float, stride: int = 1, rate: int = 1) -> Any:
        scopes.append(current_scope().name)  # type: ignore[union-attr]
        return relu(net * factor)

    end_points: dict[str, Any] = {}
    blocks = [Block(None, unit, [{"factor": 2.0}, {"factor": -1.0}]), Block(None, unit, [{"factor": 1.0}])]  # type: ignore[arg-type]
    x = images(backend, 1, 3, 3, 2)
    with variable_scope("net", variables=Variables()):
        net, back = stack_blocks_dense(x, blocks, outputs_collections=end_points)
    assert scopes == ["net/block/unit_1", "net/block/unit_2", "net/block_1/unit_1"]
    assert list(end_points) == ["net/block", "net/block_1"] and not backend.host(net).any()
    with pytest.raises(ValueError, match=r"gradient given to back.*\[1, 3, 3\]"):
        back(backend.array(np.ones((1, 3, 3))))


def test_no_blocks_at_all(backend: Any) -> None:
    x = images(backend, 1, 3, 3, 2)
    with variable_scope("net", variables=Variables()):
        net, back = stack_blocks_dense(x, [])
    assert net is x
    d = images(backend, 1, 3, 3, 2)
    np.testing.assert_array_equal(backend.host(back(d)), backend.host(d))


@pytest.mark.parametrize("bad", [0, -1, 1.5, "2"], ids=repr)
def test_a_unit_with_a_bad_stride(bad: Any, backend: Any) -> None:
    blocks = [
        Block("block1", resnet_v2_block("x", 1, 1, 1).unit_fn, [{"depth": 4, "depth_bottleneck": 1, "stride": bad}])
    ]
    variables = Variables()
    with (
        variable_scope("net", variables=variables),
        pytest.raises(ValueError, match="stride must be an integer >= 1") as caught,
    ):
        stack_blocks_dense(images(backend, 1, 4, 4, 2), blocks)
    assert repr(bad) in str(caught.value)
