"""Which activations a net keeps (`collect`), and the gradients at them (`watch`)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.nets.specs import SCOPE, SMALL, NetSpec, on_host, random_store
from tinyresnet import Variables, watch
from tinyresnet.resnet_v2 import resnet_v2
from tinyresnet.slim import collect_named_outputs, conv2d, relu, variable_scope

SPEC = NetSpec((2, 33, 30, 3), SMALL, 4)
UNIT = f"{SCOPE}/block1/unit_2/bottleneck_v2"


def forward(backend: Any, variables: Variables, **options: Any) -> Any:
    images = backend.array(SPEC.random_images())
    return resnet_v2(images, SPEC.ours(), 4, scope=SCOPE, variables=variables, gradients=True, **options)


def upstream(backend: Any, net: Any, seed: int = 0) -> Any:
    return backend.array(np.random.default_rng([seed, 6]).standard_normal(net.shape))


# ---- collect --------------------------------------------------------------------------------------------------------------
def test_true_false_and_names(backend: Any) -> None:
    variables = random_store(backend, SPEC)
    net, everything, _ = forward(backend, variables, is_training=False)
    assert type(everything) is dict and len(everything) > 20
    for names in (
        [UNIT],
        ["predictions", f"{SCOPE}/conv1", f"{SCOPE}/block2"],
        (f"{SCOPE}/spatial_squeeze",),
        {"global_pool"},
        [],
    ):
        same, some, _ = forward(backend, variables, is_training=False, collect=names)
        assert list(some) == [name for name in everything if name in set(names)]  # in the net's order
        for name in names:
            np.testing.assert_array_equal(backend.host(some[name]), backend.host(everything[name]))
        np.testing.assert_array_equal(backend.host(same), backend.host(net))
    assert forward(backend, variables, is_training=False, collect=False)[1] == {}


def test_an_unknown_name_is_an_error_that_helps(backend: Any) -> None:
    variables = random_store(backend, SPEC)
    before = on_host(backend, variables)
    with pytest.raises(ValueError) as caught:
        forward(backend, variables, collect=[f"{SCOPE}/block2", f"{SCOPE}/blok1", "nothing at all"])
    message = str(caught.value)
    assert all(part in message for part in ("collect", f"'{SCOPE}/blok1'", f"'{SCOPE}/block1'", "'nothing at all'"))
    assert f"'{SCOPE}/block2'," not in message.split("did you mean")[0]
    for name, array in on_host(backend, variables).items():  # as after every failed forward pass
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("bad", ["predictions", None, 1, object()], ids=["str", "None", "1", "object"])
def test_what_collect_can_be(bad: Any, backend: Any) -> None:
    with pytest.raises(ValueError, match="collect must be True, False or a list of end-point names") as caught:
        forward(backend, random_store(backend, SPEC), collect=bad)
    assert repr(bad) in str(caught.value)


def test_predictions_are_the_softmax_of_the_logits(backend: Any) -> None:
    net, end_points, _ = forward(backend, random_store(backend, SPEC))
    z = backend.host(net)
    right = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    np.testing.assert_allclose(backend.host(end_points["predictions"]), right, rtol=1e-12)
    np.testing.assert_array_equal(backend.host(end_points[f"{SCOPE}/logits"])[:, 0, 0], z)


def test_the_collection_is_a_plain_dict_of_ones_own(backend: Any) -> None:
    """Layers put themselves into whatever dict they are given; two nets share none."""
    mine: dict[str, Any] = {}
    x = backend.array(np.ones((1, 4, 4, 2)))
    with variable_scope("net", variables=Variables()):
        net, _ = conv2d(x, 3, 1, outputs_collections=mine)
        collect_named_outputs(mine, "by hand", *relu(net))
    assert list(mine) == ["net/Conv", "by hand"] and mine["net/Conv"] is net
    variables = random_store(backend, SPEC)
    first, second = (forward(backend, variables)[1] for _ in range(2))
    assert first is not second and first.keys() == second.keys()


# ---- watch ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("is_training", [True, False], ids=["training", "inference"])
def test_watched_gradients_against_pytorch(is_training: bool, backend: Any) -> None:
    """Grad-CAM's question: d(one class) / d(an activation). All end points at once are tests/nets/test_against_pytorch.py's."""
    from tests.nets.torch_twin import Twin, nhwc, torch

    names = (f"{SCOPE}/block3", f"{UNIT}/conv1", f"{SCOPE}/conv1")
    variables = random_store(backend, SPEC)
    twin = Twin(on_host(backend, variables), is_training=is_training)
    right_net = twin.resnet_v2(SPEC.random_images(), SPEC.blocks, 4, scope=SCOPE)
    class_1 = np.zeros((2, 4))
    class_1[:, 1] = [1.0, -0.5]
    right_net.backward(torch.tensor(class_1))
    _, end_points, back = forward(backend, variables, is_training=is_training)
    with watch(*names) as at:
        back(backend.array(class_1))
    assert set(at) == set(names)
    rights = {name: nhwc(twin.end_points[name].grad) for name in names}
    for name, right in rights.items():
        np.testing.assert_allclose(backend.host(at[name]), right, rtol=0, atol=1e-9 * np.abs(right).max(), err_msg=name)
    # planted: the gradient before the activation's ReLU instead of after it
    name = f"{UNIT}/conv1"
    before_relu = backend.host(at[name]) * (backend.host(end_points[name]) > 0)
    assert np.abs(before_relu - rights[name]).max() > 1e-3 * np.abs(rights[name]).max()


def test_an_addition_hands_on_its_gradient(backend: Any) -> None:
    net, _, back = forward(backend, random_store(backend, SPEC))
    earlier = f"{SCOPE}/block1/unit_1/bottleneck_v2"
    with watch(earlier, f"{UNIT}/conv3", UNIT) as at:
        back(upstream(backend, net))
    np.testing.assert_array_equal(backend.host(at[UNIT]), backend.host(at[f"{UNIT}/conv3"]))
    assert at[earlier].shape != at[UNIT].shape


def test_several_backs_add_up(backend: Any) -> None:
    variables = random_store(backend, SPEC)
    singles = []
    for seed in (0, 1):
        net, _, back = forward(backend, variables, is_training=False)
        with watch(UNIT) as at:
            back(upstream(backend, net, seed))
        singles.append(backend.host(at[UNIT]))
    with watch(UNIT) as at:
        for seed in (0, 1):
            net, _, back = forward(backend, variables, is_training=False)
            back(upstream(backend, net, seed))
    np.testing.assert_allclose(backend.host(at[UNIT]), singles[0] + singles[1], rtol=0, atol=1e-12)


def test_watches_nest(backend: Any) -> None:
    net, _, back = forward(backend, random_store(backend, SPEC))
    with watch(UNIT, f"{SCOPE}/block2") as outer, watch(UNIT) as inner:
        back(upstream(backend, net))
    assert set(outer) == {UNIT, f"{SCOPE}/block2"} and set(inner) == {UNIT}
    np.testing.assert_array_equal(backend.host(outer[UNIT]), backend.host(inner[UNIT]))


def test_watching_changes_nothing(backend: Any) -> None:
    variables = random_store(backend, SPEC)
    found = []
    for names in ((), (UNIT, f"{SCOPE}/block1")):
        variables.gradients.clear()
        net, _, back = forward(backend, variables, is_training=False)
        with watch(*names):
            found.append(backend.host(back(upstream(backend, net))))
    np.testing.assert_array_equal(found[0], found[1])


def test_a_name_that_no_gradient_comes_past(backend: Any) -> None:
    """Misspelt, not on the way, or no back ran at all."""
    net, _, back = forward(backend, random_store(backend, SPEC))
    with pytest.raises(ValueError) as caught, watch(f"{SCOPE}/blok2"):
        back(upstream(backend, net))
    assert all(part in str(caught.value) for part in ("watch", f"'{SCOPE}/blok2'", f"'{SCOPE}/block2'"))
    with pytest.raises(ValueError, match="predictions"), watch("predictions"):
        net, _, back = forward(backend, random_store(backend, SPEC))
        back(upstream(backend, net))
    with pytest.raises(ValueError, match="block1"), watch(f"{SCOPE}/block1"):
        pass


def test_an_error_inside_is_not_hidden_by_watch(backend: Any) -> None:
    with pytest.raises(ZeroDivisionError), watch(UNIT):
        raise ZeroDivisionError
