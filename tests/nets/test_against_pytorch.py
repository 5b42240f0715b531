"""Whole nets against PyTorch: every end point, every gradient, the moving averages, and several steps of training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.nets.block_spec import BlockSpec
from tests.nets.specs import SCOPE, SMALL, NetSpec, assert_same, on_host, random_store
from tests.nets.torch_twin import F, Twin, torch
from tests.nets.twins import run_ours, run_twin
from tinyresnet import Variables, ops, use
from tinyresnet.resnet_utils import Block, conv2d_same, resnet_arg_scope, subsample
from tinyresnet.resnet_v2 import resnet_v2
from tinyresnet.slim import arg_scope, batch_norm, conv2d, max_pool2d, relu, variable_scope

NETS: dict[str, NetSpec] = {
    "classifier": NetSpec((2, 33, 30, 3), SMALL),
    "even-sizes": NetSpec((3, 32, 48, 1), SMALL, 4),
    "without-squeeze": NetSpec((2, 33, 33, 3), SMALL, 5, {"spatial_squeeze": False}),
    "features": NetSpec((2, 33, 33, 3), SMALL, None),
    "dense-features": NetSpec((2, 49, 34, 3), SMALL, None, {"global_pool": False}),
    "dense-classes": NetSpec((2, 49, 34, 3), SMALL, 6, {"global_pool": False, "spatial_squeeze": False}),
    "output-stride-8": NetSpec((2, 41, 40, 3), SMALL, 5, {"output_stride": 8}),
    "output-stride-4": NetSpec((1, 33, 35, 3), SMALL, None, {"output_stride": 4, "global_pool": False}),
    "rootless": NetSpec((2, 9, 12, 5), SMALL, 5, {"include_root_block": False}),
    "rootless-identity": NetSpec(
        (2, 9, 12, 8), SMALL, 5, {"include_root_block": False}
    ),  # 8 = 4 * 2: no projection at first
    "rootless-output-stride-2": NetSpec((2, 12, 11, 5), SMALL, 5, {"include_root_block": False, "output_stride": 2}),
    "stride-3": NetSpec(
        (2, 13, 14, 4), (BlockSpec("a", 2, 1, 3), BlockSpec("b", 2, 3, 2)), 3, {"include_root_block": False}
    ),
}
every_net = pytest.mark.parametrize("spec", NETS.values(), ids=NETS.keys())


@pytest.mark.parametrize("is_training", [True, False], ids=["training", "inference"])
@every_net
def test_everything(spec: NetSpec, is_training: bool, backend: Any) -> None:
    """Forward, all end points and the gradients there, d(images), all gradients, moving averages: within 1e-9 in float64."""
    variables = random_store(backend, spec)
    before = on_host(backend, variables)
    ours = run_ours(backend, spec, variables, is_training=is_training)
    assert_same(ours, run_twin(spec, before, is_training=is_training))
    changed = {name for name in before if not np.array_equal(before[name], ours[f"variable {name}"])}
    assert changed == ({name for name in before if "moving_" in name} if is_training else set())


@st.composite
def nets(draw: st.DrawFn) -> NetSpec:
    """Any small net: its blocks, sizes, strides, and an output stride that it can reach."""
    numbers = st.integers(1, 3)
    blocks = [BlockSpec(f"block{i}", draw(numbers), draw(numbers), draw(numbers)) for i in range(draw(numbers))]
    reachable = [int(n) for n in np.cumprod([1, *(block.stride for block in blocks)])]
    root = draw(st.booleans())
    channels = draw(st.sampled_from([1, 3, 4 * blocks[0].base_depth]))
    output_stride = draw(st.sampled_from([None, *reachable]))
    options = {
        "include_root_block": root,
        "output_stride": output_stride * 4 if root and output_stride else output_stride,
        "global_pool": draw(st.booleans()),
        "spatial_squeeze": False,
    }
    size = st.integers(1, 40 if root else 14)
    return NetSpec(
        (draw(numbers), draw(size), draw(size), channels), tuple(blocks), draw(st.sampled_from([None, 0, 2])), options
    )


@given(nets(), st.integers(0, 1000))
@settings(max_examples=25)
def test_any_net(backend: Any, spec: NetSpec, seed: int) -> None:
    """In inference mode: with so few pixels a batch's own statistics would divide by almost nothing."""
    variables = random_store(backend, spec, seed)
    right = run_twin(spec, on_host(backend, variables), is_training=False, seed=seed)
    assert_same(run_ours(backend, spec, variables, is_training=False, seed=seed), right)


def test_float32(backend: Any) -> None:
    """The same net in float32 stays within 2e-4 of PyTorch's float64."""
    spec = NETS["classifier"]
    variables = random_store(backend, spec, dtype="float32")
    before = on_host(backend, variables)
    ours = run_ours(backend, spec, variables)
    assert {array.dtype for array in ours.values()} == {np.dtype("float32")}
    right = run_twin(spec, {name: array.astype("float64") for name, array in before.items()})
    assert_same({name: array.astype("float64") for name, array in ours.items()}, right, tolerance=2e-4)


def test_one_value_per_channel(backend: Any) -> None:
    """One image whose last maps are 1x1: the variance is 0, and its unbiased factor 1 rather than 1/0."""
    spec = NetSpec((1, 16, 16, 3), SMALL, 3)
    variables = random_store(backend, spec)
    twin = Twin(on_host(backend, variables))
    twin.resnet_v2(spec.random_images(), spec.blocks, 3, scope=SCOPE)
    net, _, _ = resnet_v2(backend.array(spec.random_images()), spec.ours(), 3, scope=SCOPE, variables=variables)
    assert np.isfinite(backend.host(net)).all()
    ours = on_host(backend, variables)
    for name, right in twin.arrays().items():
        np.testing.assert_allclose(ours[name], right, rtol=0, atol=1e-9, err_msg=name)


# ---- training -------------------------------------------------------------------------------------------------------------
RATE, MOMENTUM, DECAY = 0.05, 0.9, 0.01


def train_ours(backend: Any, spec: NetSpec, variables: Variables, steps: int) -> list[float]:
    """SGD with momentum on cross-entropy + L2; the loss of every step."""
    velocity: dict[str, Any] = {}
    losses = []
    for step in range(steps):
        labels = backend.array(np.random.default_rng([step, 4]).integers(0, spec.num_classes, spec.images[0]))
        with arg_scope(resnet_arg_scope(weight_decay=DECAY, batch_norm_decay=0.9)):
            logits, _, back = resnet_v2(
                backend.array(spec.random_images(step)), spec.ours(), spec.num_classes, scope=SCOPE, variables=variables,
                collect=False, input_gradient=False,
            )  # fmt: skip
        loss, saved = ops.softmax_cross_entropy_forward(logits, labels, label_smoothing=0.1)
        losses.append(float(backend.host(loss)) + float(variables.regularization_loss()))
        assert back(ops.softmax_cross_entropy_backward(1.0, saved)) is None
        for name in variables.trainable:
            gradient = variables.gradients[name] + (DECAY * variables[name] if name in variables.regularized else 0)
            velocity[name] = MOMENTUM * velocity[name] + gradient if step else gradient
            variables[name] = variables[name] - RATE * velocity[name]
        variables.gradients.clear()
    return losses


def train_twin(
    spec: NetSpec, variables: dict[str, np.ndarray], steps: int
) -> tuple[list[float], dict[str, np.ndarray]]:
    twin = Twin(variables, decay=0.9)
    weights = [t for name, t in twin.tensors.items() if name.endswith("/weights")]
    optimizer = torch.optim.SGD([t for t in twin.tensors.values() if t.requires_grad], lr=RATE, momentum=MOMENTUM)
    losses = []
    for step in range(steps):
        labels = torch.tensor(np.random.default_rng([step, 4]).integers(0, spec.num_classes, spec.images[0]))
        logits = twin.resnet_v2(spec.random_images(step), spec.blocks, spec.num_classes, scope=SCOPE)
        loss = F.cross_entropy(logits, labels, label_smoothing=0.1) + sum(DECAY / 2 * (w**2).sum() for w in weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, twin.arrays()


def compare_training(backend: Any) -> None:
    spec = NETS["even-sizes"]
    variables = random_store(backend, spec)
    right_losses, right = train_twin(spec, on_host(backend, variables), steps=5)
    losses = train_ours(backend, spec, variables, steps=5)
    np.testing.assert_allclose(losses, right_losses, rtol=1e-9)
    assert_same(on_host(backend, variables), right)


def test_five_steps_of_training(backend: Any) -> None:
    """Every loss, and at the end every variable, within 1e-9."""
    compare_training(backend)


# ---- planted: a wrong net does not pass -----------------------------------------------------------------------------------
def biased_moving_variance(x: Any, gamma: Any, beta: Any, epsilon: float = 1e-5) -> Any:
    y, saved = ops.batch_norm_forward(x, gamma, beta, epsilon=epsilon)
    n = x.size // x.shape[-1]
    return y, saved._replace(var=saved.var * ((n - 1) / n))


def tf_same_for_conv2d_same(x: Any, w: Any, stride: Any = 1, rate: Any = 1, padding: Any = "SAME") -> Any:
    return ops.conv2d_forward(x, w, stride=stride, rate=rate, padding="SAME")


def atrous_rate_forgotten(x: Any, w: Any, stride: Any = 1, rate: Any = 1, padding: Any = "SAME") -> Any:
    return ops.conv2d_forward(x, w, stride=stride, padding=padding)


def batch_norm_dx_without_the_variance(dy: Any, saved: Any) -> Any:
    _, dgamma, dbeta = ops.batch_norm_backward(dy, saved)
    return (dy - dbeta / (dy.size // dy.shape[-1])) * (saved.gamma * saved.inv_std), dgamma, dbeta


def subsampled_from_the_right(x: Any, factor: int) -> Any:
    y, saved = ops.subsample_forward(x[:, :, ::-1], factor)
    return y[:, :, ::-1], saved


OVERRIDES: list[tuple[str, dict[str, Callable[..., Any]], str]] = [
    ("even-sizes", {"batch_norm_forward": biased_moving_variance}, "moving_variance"),
    ("even-sizes", {"conv2d_forward": tf_same_for_conv2d_same}, "net"),
    ("output-stride-4", {"conv2d_forward": atrous_rate_forgotten}, "net"),
    ("classifier", {"batch_norm_backward": batch_norm_dx_without_the_variance}, "gradient|d images"),
    ("rootless-identity", {"subsample_forward": subsampled_from_the_right}, "net"),
    ("rootless", {"add": lambda a, b: ops.add(a, 0.5 * b)}, "net"),
]


@pytest.mark.parametrize(
    ("net", "overrides", "seen_at"), OVERRIDES, ids=lambda value: "-".join(value) if isinstance(value, dict) else None
)
def test_a_planted_wrong_op_is_seen(
    net: str, overrides: dict[str, Callable[..., Any]], seen_at: str, backend: Any
) -> None:
    spec = NETS[net]
    variables = random_store(backend, spec)
    right = run_twin(spec, on_host(backend, variables))
    with use(**overrides), pytest.raises(AssertionError, match=seen_at):
        assert_same(run_ours(backend, spec, variables), right)


@pytest.mark.parametrize("wrong", [
    ([max_pool2d], {"padding": "VALID"}), ([batch_norm], {"decay": 0.99}), ([batch_norm], {"epsilon": 0.001}),
], ids=["pool1-VALID", "decay", "epsilon"])  # fmt: skip
def test_a_planted_wrong_default_is_seen(wrong: tuple[Any, dict[str, Any]], backend: Any) -> None:
    spec = NETS["even-sizes"]
    variables = random_store(backend, spec)
    right = run_twin(spec, on_host(backend, variables))
    with arg_scope(wrong[0], **wrong[1]), pytest.raises(AssertionError):
        assert_same(run_ours(backend, spec, variables), right)


def test_a_planted_stride_in_the_first_unit_is_seen(backend: Any) -> None:
    """As torchvision and timm have it; the shapes at the end are the same."""
    spec = NETS["even-sizes"]
    variables = random_store(backend, spec)
    right = run_twin(spec, on_host(backend, variables))
    blocks = [block._replace(args=block.args[::-1]) for block in spec.ours()]
    with pytest.raises(AssertionError):
        assert_same(run_ours(backend, spec, variables, blocks=blocks), right)


@pytest.mark.parametrize("branch", ["shortcut", "residual"])
@pytest.mark.parametrize("net", ["rootless", "rootless-identity"])
def test_a_planted_forgotten_branch_is_seen_in_the_gradients_only(net: str, branch: str, backend: Any) -> None:
    """A unit whose `back` forgets one of its two branches: its forward pass is right."""
    spec = NETS[net]
    variables = random_store(backend, spec)
    right = run_twin(spec, on_host(backend, variables))
    blocks = [Block(b.scope, lambda *a, **k: forgetful_bottleneck(branch, *a, **k), b.args) for b in spec.ours()]
    ours = run_ours(backend, spec, variables, blocks=blocks)
    names = [name for name in right if name == "net" or name.startswith("variable")]
    assert_same({name: ours[name] for name in names}, {name: right[name] for name in names})
    gradients = [name for name in right if name.startswith("gradient resnet") and name in ours]
    for compared in (["d images"], gradients):
        with pytest.raises(AssertionError, match="d images|gradient"):
            assert_same({name: ours[name] for name in compared}, {name: right[name] for name in compared})


def forgetful_bottleneck(
    branch: str, inputs: Any, depth: int, depth_bottleneck: int, stride: int, rate: int = 1
) -> Any:
    with variable_scope(None, "bottleneck_v2"):
        identity = depth == inputs.shape[-1]
        preact, preact_back = batch_norm(inputs, activation_fn=relu, scope="preact")
        if identity:
            shortcut, shortcut_back = subsample(inputs, stride)
        else:
            shortcut, shortcut_back = conv2d(
                preact, depth, 1, stride, normalizer_fn=None, activation_fn=None, scope="shortcut"
            )
        net, conv1_back = conv2d(preact, depth_bottleneck, 1, scope="conv1")
        net, conv2_back = conv2d_same(net, depth_bottleneck, 3, stride, rate=rate, scope="conv2")
        net, conv3_back = conv2d(net, depth, 1, normalizer_fn=None, activation_fn=None, scope="conv3")

        def back(d: Any) -> Any:
            d_preact, d_shortcut = conv1_back(conv2_back(conv3_back(d))), shortcut_back(d)
            if identity:
                return preact_back(d_preact) if branch == "shortcut" else d_shortcut
            return preact_back(d_preact if branch == "shortcut" else d_shortcut)

        return ops.add(shortcut, net), back


def test_a_planted_gradient_that_is_never_cleared_is_seen(backend: Any) -> None:
    class Sticky(dict[str, Any]):
        def clear(self) -> None:
            pass

    spec = NETS["even-sizes"]
    variables = random_store(backend, spec)
    _, right = train_twin(spec, on_host(backend, variables), steps=2)
    variables.gradients = Sticky()
    train_ours(backend, spec, variables, steps=2)
    with pytest.raises(AssertionError, match="off by"):
        assert_same(on_host(backend, variables), right)
