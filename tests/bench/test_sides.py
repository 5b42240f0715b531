"""Every peer computes what tinyresnet computes, and a peer with another weight is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from tinyresnet import Variables
from tinyresnet.backend import Array
from tinyresnet.bench import nets, ours
from tinyresnet.bench.architecture import Architecture, architecture
from tinyresnet.bench.cases import all_cases, quick_cases
from tinyresnet.bench.compare import WrongResult, by_largest, by_norm, check_same
from tinyresnet.bench.options import Options
from tinyresnet.bench.peers import offered, onnx_runtime, openvino, pytorch
from tinyresnet.bench.peers.onnx_graph import onnx_model
from tinyresnet.bench.rounds import Side
from tinyresnet.bench.timed import Timed
from tinyresnet.bench.weights import variables_for
from tinyresnet.extras import MissingExtra

pytestmark = pytest.mark.host_only

Shape = tuple[int, int, int, int]
OPTIONS = Options(2, 1).quick()


def torch_side(net: Architecture, variables: Mapping[str, Array], shape: Shape) -> Side:
    pytest.importorskip("torch")
    return pytorch.inference(net, variables, 2)[1]


def onnx_runtime_side(net: Architecture, variables: Mapping[str, Array], shape: Shape) -> Side:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    return onnx_runtime.inference(onnx_model(net, variables, shape), 2)[0]


def openvino_side(net: Architecture, variables: Mapping[str, Array], shape: Shape) -> Side:
    pytest.importorskip("onnx")
    pytest.importorskip("openvino")
    return openvino.inference(onnx_model(net, variables, shape), 2)[0]


PEERS = [torch_side, onnx_runtime_side, openvino_side]
Build = Callable[[Architecture, Mapping[str, Array], Shape], Side]


def outputs(side: Side, inputs: Any) -> Mapping[str, Array]:
    return side.outputs(side.run(side.prepare(inputs)))


@pytest.mark.parametrize("build", PEERS)
@pytest.mark.parametrize(("output_stride", "size"), [(None, (33, 46)), (8, (50, 49)), (4, (33, 34))])
def test_inference_of_each_peer(build: Build, output_stride: int | None, size: tuple[int, int]) -> None:
    net, shape = architecture("resnet_v2_tiny", output_stride), (2, *size, 3)
    variables = variables_for(net, seed=3)
    images = np.random.default_rng(5).standard_normal(shape, np.float32)
    expected = outputs(ours.unfrozen(net, variables, "numpy"), images)
    assert expected["logits"].ndim == (2 if output_stride is None else 4)
    check_same("case", "ours", expected, "peer", outputs(build(net, variables, shape), images), by_largest(1e-4))


@pytest.mark.parametrize("build", PEERS)
@pytest.mark.parametrize(
    "changed",
    ["block1/unit_2/bottleneck_v2/conv2/weights", "conv1/biases", "block3/unit_1/bottleneck_v2/preact/moving_variance"],
)
def test_a_peer_with_another_weight_is_told(build: Build, changed: str) -> None:
    net, shape = architecture("resnet_v2_tiny"), (2, 33, 33, 3)
    variables = variables_for(net)
    others = Variables(variables)
    wrong = others[f"{net.scope}/{changed}"].copy()
    wrong.flat[1] += 0.3
    others[f"{net.scope}/{changed}"] = wrong
    images = np.random.default_rng(5).standard_normal(shape, np.float32)
    found = outputs(ours.unfrozen(net, variables, "numpy"), images)
    with pytest.raises(WrongResult, match="logits differs by"):
        check_same("case", "ours", found, "peer", outputs(build(net, others, shape), images), by_largest(nets.LOGITS))


def test_a_training_step_and_one_with_a_wrong_gradient() -> None:
    pytest.importorskip("torch")
    net = architecture("resnet_v2_tiny")
    variables = variables_for(net)
    rng = np.random.default_rng(2)
    inputs = rng.standard_normal((4, 64, 64, 3), np.float32), rng.integers(0, net.num_classes, 4)
    found = outputs(ours.training(net, Variables(variables), "numpy"), inputs)
    assert set(found) == {"loss", *(name for name in variables if "/moving_" not in name)}
    for side in pytorch.training(net, variables, 2):
        expected = outputs(side, inputs)
        check_same("case", "ours", found, side.name, expected, by_norm(nets.GRADIENTS, nets.LOSS))
    name = f"{net.scope}/block2/unit_1/bottleneck_v2/conv2/BatchNorm/gamma"
    for wrong in (0 * found[name], -found[name]):
        with pytest.raises(WrongResult, match=f"{name} differs by"):
            check_same("case", "ours", {**found, name: wrong}, "peer", expected, by_norm(nets.GRADIENTS, nets.LOSS))


def quick(pattern: str) -> list[Timed]:
    return [case for case in quick_cases() if isinstance(case, Timed) and case.name.startswith(pattern)]


@pytest.mark.parametrize("case", quick("layer/"), ids=lambda case: case.name)
def test_each_layer_beside_pytorch_and_with_a_wrong_argument(case: Timed) -> None:
    """The offer's sides agree; PyTorch beside a layer of ours with one number wrong does not."""
    pytest.importorskip("torch")
    offer = case.offer(OPTIONS._replace(peers=("pytorch",)))
    fresh = case.inputs(np.random.default_rng(1))
    first, *others = [outputs(side, fresh) for side in [*offer.sides, case.reference()]]
    assert len(others) == 3 and not offer.left_out
    for other in others:
        check_same(case.name, "ours", first, "other", other, case.compare)
    arrays, dy = fresh
    x = arrays[0].copy()
    x[-1, -2, -2, 0] += 3.0
    dy = dy.copy()
    dy[-1, -2, -2, 0] += 3.0
    with pytest.raises(WrongResult, match="differs by"):
        wrong = outputs(case.reference(), ((x, *arrays[1:]), dy))
        check_same(case.name, "ours", wrong, "other", others[0], case.compare)


def test_names_are_unique_and_say_what_is_asked_for() -> None:
    names = [case.name for case in all_cases()]
    assert len(set(names)) == len(names)
    for wanted in (
        *(f"frozen/resnet_v2_50/224/b{batch}" for batch in (1, 8, 32)),
        *(f"frozen/resnet_v2_50/321-os{stride}/b{batch}" for stride in (8, 16) for batch in (1, 8, 32)),
        "frozen/resnet_v2_101/224/b1",
        "training/resnet_v2_50/224/b32",
        "unfrozen/resnet_v2_50/224/b8",
        "layer/3x3-rate4/41-512/b1/backward",
        "memory/training/resnet_v2_50/224/b8",
    ):
        assert wanted in names
    assert all(case.about for case in all_cases())


def test_what_is_not_installed_is_left_out_with_the_line_that_brings_it() -> None:
    def missing() -> list[Side]:
        raise MissingExtra("bench", "openvino")

    def broken() -> list[Side]:
        raise RuntimeError("no C++ compiler\nand more")

    builders = {"openvino": missing, "torch.compile": broken, "pytorch": broken}
    offer = offered(builders, OPTIONS._replace(peers=("openvino", "torch.compile")))
    assert offer.sides == [] and offer.left_out == {
        "OpenVINO": 'this needs openvino, which is not installed: pip install "tinyresnet[bench]"',
        "torch.compile": "it does not work here (RuntimeError: no C++ compiler)",
    }
    with pytest.raises(RuntimeError, match=r"no C\+\+ compiler"):  # a mistake in a peer's net is not hidden
        offered(builders, OPTIONS)
