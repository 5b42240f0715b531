"""A net as its peers build it has the same convolutions as ours."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from tinyresnet import ops, use, use_backend
from tinyresnet.bench.architecture import Convolution, architecture
from tinyresnet.bench.weights import variables_for
from tinyresnet.slim import Variables

pytestmark = pytest.mark.host_only


@pytest.mark.parametrize(("output_stride", "size"), [(None, 33), (None, 64), (8, 49), (4, 50), (16, 97)])
def test_the_convolutions_and_their_operations_are_those_that_are_run(output_stride: int | None, size: int) -> None:
    net = architecture("resnet_v2_tiny", output_stride)
    run: list[tuple[Convolution, int]] = []

    def noted(x: Any, w: Any, **geometry: Any) -> Any:
        y, saved = ops.conv2d_forward(x, w, **geometry)
        kernel, _, channels, outputs = w.shape
        run.append((Convolution(kernel, channels, outputs, y.shape[1]), 2 * w.size * y[0, :, :, 0].size))
        return y, saved

    with use_backend("numpy"), use(conv2d_forward=noted):
        net(np.zeros((1, size, size, 3), np.float32), Variables(), is_training=False)
    assert Counter(each for each, _ in run) == Counter(net.convolutions(size))
    assert net.flops(size) == sum(flops for _, flops in run)
    assert net.training_flops(size) == 3 * net.flops(size) - run[0][1]


def test_resnet_v2_50_takes_as_many_operations_as_published() -> None:
    """He et al. 2015, table 1: 3.8e9 multiply-adds for v1, whose strides are in other places: here 3.48e9."""
    assert architecture("resnet_v2_50").flops(224) / 2 == pytest.approx(3.48e9, rel=1e-3)
    assert architecture("resnet_v2_101").flops(224) / 2 == pytest.approx(7.2e9, rel=2e-2)


def test_no_weight_is_one_that_could_be_forgotten() -> None:
    variables = variables_for(architecture("resnet_v2_tiny"))
    for name, value in variables.items():
        neutral = 1.0 if name.endswith(("/gamma", "/moving_variance")) else 0.0
        assert np.isfinite(value).all() and value.dtype == np.float32
        assert np.abs(value - neutral).max() > 1e-3, f"a side that ignores {name} would not be noticed"
