"""One step: a batch in parts is the mean of its parts, and gradients go into the optimizer as long as they may be."""

from __future__ import annotations

import numpy as np
import pytest

from tests.training.runs import tiny_config, tiny_dataset
from tinyresnet import Variables
from tinyresnet.optimizers import SGD, global_norm
from tinyresnet.training import Net
from tinyresnet.training.step import compute_gradients, is_finite, train_step

NET = Net(tiny_config(weight_decay=0.01), 4)


def batch(n: int = 10) -> tuple[np.ndarray, np.ndarray]:
    images, labels = tiny_dataset().train
    return ((images[:n] - 80.0) / 60).astype(np.float64), labels[:n]


def store() -> Variables:
    return NET.create_variables((8, 8, 1), 1, np.float64)


def test_parts_add_up_to_the_mean_over_the_batch() -> None:
    x, labels = batch(10)
    together, apart = store(), store()
    loss, right = compute_gradients(NET, x, labels, together, micro_batch_size=4)
    sums = {name: np.zeros_like(together[name]) for name in together.trainable}
    expected_loss, expected_right = 0.0, 0
    for start, end in ((0, 4), (4, 8), (8, 10)):
        part_loss, part_right = compute_gradients(NET, x[start:end], labels[start:end], apart)
        expected_loss += part_loss * (end - start) / 10
        expected_right += part_right
        for name, gradient in apart.gradients.items():
            sums[name] += gradient * (end - start) / 10
    assert loss == pytest.approx(expected_loss, rel=1e-12) and right == expected_right
    for name, gradient in sums.items():
        np.testing.assert_allclose(together.gradients[name], gradient, rtol=1e-9, atol=1e-15, err_msg=name)


def test_planted_mistake_parts_that_weigh_the_same_are_noticed() -> None:
    x, labels = batch(10)
    variables = store()
    loss, _ = compute_gradients(NET, x, labels, variables, micro_batch_size=4)
    parts = [compute_gradients(NET, x[a:b], labels[a:b], store())[0] for a, b in ((0, 4), (4, 8), (8, 10))]
    assert abs(loss - np.mean(parts)) > 1e-4


def test_one_part_is_the_batch_itself() -> None:
    x, labels = batch(6)
    one, other = store(), store()
    assert compute_gradients(NET, x, labels, one) == compute_gradients(NET, x, labels, other, micro_batch_size=6)
    assert all((one.gradients[name] == other.gradients[name]).all() for name in one.trainable)


def test_a_step_goes_along_the_clipped_gradient_and_decays_weights_only() -> None:
    x, labels = batch(6)
    variables, before = store(), store()
    result = train_step(NET, x, labels, variables, SGD(momentum=0), 0.5, clip_norm=0.01)
    gradients = variables.gradients
    assert result.gradient_norm == pytest.approx(global_norm(gradients)) and result.gradient_norm > 0.02
    for name in before.trainable:
        decay = 0.01 * before[name] if name.endswith("/weights") else 0
        step = gradients[name] * (0.01 / result.gradient_norm) + decay
        np.testing.assert_allclose(variables[name], before[name] - 0.5 * step, rtol=1e-10, atol=1e-14, err_msg=name)


def test_a_step_that_is_not_finite_changes_nothing_that_is_trained() -> None:
    x, labels = batch(6)
    variables, optimizer = store(), SGD()
    broken = variables["resnet_v2_small/logits/weights"].copy()
    broken[0, 0, 0, 0] = np.inf
    variables.replace("resnet_v2_small/logits/weights", broken)
    before = {name: variables[name].tobytes() for name in variables.trainable}
    with np.errstate(all="ignore"):
        result = train_step(NET, x, labels, variables, optimizer, 0.1)
    assert not is_finite(result) and not optimizer.slots
    assert before == {name: variables[name].tobytes() for name in variables.trainable}
