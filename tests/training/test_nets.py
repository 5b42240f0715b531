"""The net of a config: TF-Slim's names, whatever its widths, depths and task; and its gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.training.runs import tiny_config
from tinyresnet import Variables, ops
from tinyresnet.resnet_v2 import resnet_v2_50
from tinyresnet.training import Config, Net, changed


def segmenting(**changes: Any) -> Config:
    return tiny_config(task="segment", source="scenes", root_stride=2, strides=(2, 2), output_stride=4, **changes)


def images(n: int, side: int, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, side, side, channels)).astype(np.float32)


def test_names_are_tf_slims_and_widths_and_depths_the_configs() -> None:
    net = Net(tiny_config(base_depths=(2, 3), units=(2, 1), root_channels=5), 7)
    variables = net.create_variables((8, 8, 3), seed=0)
    assert variables["resnet_v2_small/conv1/weights"].shape == (3, 3, 3, 5)
    assert variables["resnet_v2_small/block1/unit_2/bottleneck_v2/conv2/weights"].shape == (3, 3, 2, 2)
    assert variables["resnet_v2_small/block2/unit_1/bottleneck_v2/shortcut/weights"].shape == (1, 1, 8, 12)
    assert variables["resnet_v2_small/logits/weights"].shape == (1, 1, 12, 7)
    units = {name.split("/bottleneck_v2")[0] for name in variables if "bottleneck_v2" in name}
    assert units == {f"resnet_v2_small/{unit}" for unit in ("block1/unit_1", "block1/unit_2", "block2/unit_1")}


def test_a_member_of_the_family_is_that_member() -> None:
    net = Net(changed(Config(), {"name": "resnet_v2_50", "weight_decay": 0.003}), 4)
    variables = net.create_variables((32, 32, 3), seed=5)
    right = Variables(seed=5)
    logits, _, _ = resnet_v2_50(images(1, 32, 3), 4, is_training=False, variables=right)
    assert set(variables) == set(right)
    assert all((variables[name] == right[name]).all() for name in right)
    np.testing.assert_array_equal(net(images(1, 32, 3), variables, is_training=False)[0], logits)
    assert {variables.regularizers[name].scale for name in variables.regularized} == {0.003}
    assert net.num_blocks == 4


@pytest.mark.parametrize("config", [tiny_config(), segmenting()], ids=["classify", "segment"])
def test_back_fills_the_gradient_of_every_variable(config: Config) -> None:
    net = Net(config, 5)
    x = images(3, 17)
    variables = net.create_variables((17, 17, 1), seed=0)
    logits, end_points, back = net(x, variables, is_training=True)
    assert logits.shape == ((3, 17, 17, 5) if config.task == "segment" else (3, 5)) and end_points == {}
    assert back is not None
    back(np.random.default_rng(1).standard_normal(logits.shape).astype(np.float32))
    assert set(variables.gradients) == set(variables.trainable)
    assert all(np.abs(g).max() > 0 for name, g in variables.gradients.items() if name.endswith("weights"))


def test_the_gradient_is_that_of_the_loss() -> None:
    """A step of one weight, in float64, against the gradient; through the upsampling too."""
    net, rng = Net(segmenting(), 3), np.random.default_rng(2)
    x, labels = images(2, 9).astype(np.float64), rng.integers(0, 3, (2, 9, 9))
    variables = net.create_variables((9, 9, 1), 0, np.float64)

    def loss_of() -> float:
        logits, _, back = net(x, variables, is_training=True)
        value, saved = ops.softmax_cross_entropy_forward(logits, labels)
        variables.gradients.clear()
        assert back is not None
        back(ops.softmax_cross_entropy_backward(1.0, saved))
        return float(value)

    loss_of()
    for name in ("conv1/weights", "block2/unit_1/bottleneck_v2/conv2/weights", "logits/biases"):
        loss_of()
        full = f"resnet_v2_small/{name}"
        w, direction = variables[full], rng.standard_normal(variables[full].shape)
        slope, h, found = float((variables.gradients[full] * direction).sum()), 1e-6, []
        for sign in (1, -1):
            variables.replace(full, w + sign * h * direction)
            found.append(loss_of())
        variables.replace(full, w)
        assert (found[0] - found[1]) / (2 * h) == pytest.approx(slope, rel=1e-5, abs=1e-8), name


def test_a_denser_map_has_the_same_variables_and_sees_more() -> None:
    stores, maps = [], []
    for output_stride in (2, 4, 8):
        net = Net(changed(segmenting(), {"output_stride": output_stride}), 3)
        stores.append(net.create_variables((33, 33, 1), seed=0))
        _, end_points, _ = net(images(1, 33), stores[0], is_training=False, collect=["resnet_v2_small/block2"])
        maps.append(end_points["resnet_v2_small/block2"].shape[1])
    assert maps == [17, 9, 5]  # 32 / stride + 1: corners on corners
    assert len({tuple((name, array.tobytes()) for name, array in store.items()) for store in stores}) == 1


def test_without_gradients_there_is_no_back_and_with_them_in_inference_there_is() -> None:
    net = Net(tiny_config(), 3)
    variables = net.create_variables((8, 8, 1), seed=0)
    assert net(images(2, 8), variables, is_training=False)[2] is None
    before = {name: array.tobytes() for name, array in variables.items()}
    logits, _, back = net(images(2, 8), variables, is_training=False, gradients=True)
    assert back is not None
    back(np.random.default_rng(1).standard_normal(logits.shape).astype(np.float32))
    assert set(variables.gradients) == set(variables.trainable)
    assert before == {name: array.tobytes() for name, array in variables.items()}
