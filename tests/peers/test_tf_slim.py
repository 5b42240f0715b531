"""tinyresnet against what live TF-Slim computed (tf_slim/record.py): numbers, gradients, names, order, shapes, messages."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest

from tests.peers.tf_slim import ours, seeded
from tests.peers.tf_slim.compare import ALLOWED, compare, compare_group, failed_groups, failures
from tinyresnet import get_array_module, ops, resnet_utils, resnet_v2, slim, to_device, use, use_backend

FIXTURES = pathlib.Path(__file__).parent / "tf_slim" / "fixtures"


def load(name: str) -> dict[str, np.ndarray]:
    with np.load(FIXTURES / f"{name}.npz") as fixture:
        return dict(fixture)


def case_names(fixture: dict[str, np.ndarray]) -> list[str]:
    return [key.removesuffix("/meta") for key in fixture if key.endswith("/meta")]


NETS, NETS_FLOAT64, LAYERS, STRUCTURE, ERRORS, RESNET_50 = (
    load(name) for name in ("nets", "nets_float64", "layers", "structure", "errors", "resnet_v2_50")
)


def meta_of(fixture: dict[str, np.ndarray], case: str) -> dict[str, Any]:
    return seeded.unpack_json(fixture[f"{case}/meta"])


# ---- nets: numbers -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("case", case_names(NETS))
def test_net(case: str, backend: Any) -> None:
    meta = meta_of(NETS, case)
    result = ours.run_net(meta)
    looser = (
        1.5 if backend.name == "numba" else 1.0
    )  # Winograd's float32 rounds more; the fixtures' seeds were chosen with plain sums
    assert failures(compare(result, meta, seeded.unpack(NETS, case)), gradients=looser) == []
    assert result.end_points == meta["end_points"]
    assert result.variables == meta["variables"]
    assert sorted(result.groups["gradients"]) == sorted(
        ["inputs", *(name for name, _, trains, _ in meta["variables"] if trains)]
    )


@pytest.mark.parametrize("case", case_names(NETS_FLOAT64))
def test_net_in_float64(case: str, backend: Any) -> None:
    meta = meta_of(NETS_FLOAT64, case)
    assert failures(compare(ours.run_net(meta), meta, seeded.unpack(NETS_FLOAT64, case))) == []


@pytest.mark.slow
def test_resnet_v2_50_in_float64(backend: Any) -> None:
    meta = meta_of(RESNET_50, "float64, training")
    result = ours.run_net(meta)
    assert failures(compare(result, meta, seeded.unpack(RESNET_50, "float64, training"))) == []
    assert result.end_points == meta["end_points"]
    assert result.variables == meta["variables"]


@pytest.mark.slow
def test_resnet_v2_50_in_float32(backend: Any) -> None:
    """Logits, moving averages and regularization loss; and gradients off by no more than twice what TF-Slim's own are.

    Some twenty of 14 million ReLU inputs are so near 0 that rounding decides whether they pass. That makes up to 2 % of a
    gradient, in TF-Slim as here, so the float64 run is what both are measured by; the next test takes the cause away.
    """
    meta, recorded = meta_of(RESNET_50, "float32, training"), seeded.unpack(RESNET_50, "float32, training")
    result, theirs = ours.run_net(meta), recorded.pop("gradients")
    assert failures(compare(result, meta, recorded)) == []
    exact = seeded.unpack(RESNET_50, "float64, training")["gradients"]
    top = max(entry.largest for entry in exact.values())
    errors = np.array(
        [
            np.abs(
                np.stack([entry.entries_of(result.groups["gradients"][name]), theirs[name].entries]) - entry.entries
            ).max(1)
            / seeded.scale("gradients", entry.largest, top)
            for name, entry in exact.items()
        ]
    )
    our_error, their_error = np.median(errors, axis=0)
    assert our_error < 2 * their_error


@pytest.mark.slow
def test_resnet_v2_50_gradients_in_float32_once_the_relus_decide_alike(backend: Any) -> None:
    """With the float64 run's decisions at every ReLU, the float32 gradients keep to what float32 is allowed."""
    meta, passes = meta_of(RESNET_50, "float64, training"), []

    def remember(x: Any) -> Any:
        passes.append(x > 0)
        return ops.relu_forward(x)

    def repeat(x: Any) -> Any:
        xp, tiny = get_array_module(x), np.finfo(np.float32).tiny
        return ops.relu_forward(xp.where(passes.pop(0), xp.maximum(x, tiny), xp.minimum(x, 0)).astype(x.dtype))

    with use(relu_forward=remember):
        ours.run_net(meta)
    assert len(passes) == 49  # three a unit, and postnorm
    with use(relu_forward=repeat):
        result = ours.run_net({**meta, "dtype": "float32"})
    exact = seeded.unpack(RESNET_50, "float64, training")["gradients"]
    # Fifty layers deep, the order in which BLAS adds decides: 0.5e-4 with OpenBLAS's AVX-512 kernel, up to 1.13e-4 with its
    # others. numba has 13 layers by Winograd: 2.6e-4.
    looser = 4.0 if backend.name == "numba" else 2.0
    assert failures(compare_group("gradients", result.groups["gradients"], exact), gradients=looser) == []


def test_inference_leaves_the_moving_averages_alone() -> None:
    meta = meta_of(NETS, "small, inference")
    moving = ours.run_net(meta).groups["moving"]
    assert moving
    for name, array in moving.items():
        np.testing.assert_array_equal(array, seeded.variable(name, array.shape, meta["seed"]))


# ---- nets: names, order, shapes ----------------------------------------------------------------------------------------
def check_structure(meta: dict[str, Any]) -> None:
    net, end_points, variables = ours.run_structure(meta)
    assert net == meta["net"]
    assert end_points == meta["end_points"]
    assert variables == meta["variables"]  # in order of creation


def is_quick(case: str) -> bool:
    return case == "resnet_v2_50" or (case.startswith("small") and "320" not in case and "321" not in case)


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=() if is_quick(case) else pytest.mark.slow) for case in case_names(STRUCTURE)]
)
def test_structure(case: str, backend: Any) -> None:
    check_structure(meta_of(STRUCTURE, case))


@pytest.mark.parametrize("case", case_names(NETS))
def test_structure_of_a_net_with_variables_of_its_own(case: str) -> None:
    check_structure(meta_of(NETS, case))


# ---- what TF-Slim refuses ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("case", case_names(ERRORS))
def test_the_same_error(case: str) -> None:
    meta = meta_of(ERRORS, case)
    variables = slim.Variables()
    with pytest.raises(ValueError) as caught:
        ours.call_net(meta, to_device(np.zeros(meta["images"], np.float32)), variables, gradients=False)
    assert str(caught.value) == meta["error"]
    assert len(variables) == 0


# ---- layers ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("case", case_names(LAYERS))
def test_layer(case: str, backend: Any) -> None:
    meta, recorded = meta_of(LAYERS, case), seeded.unpack(LAYERS, case)
    if case == "softmax":
        del recorded["gradients"]  # slim.softmax here only looks at the net: it has no pullback
    for layer in ours.LAYERS[meta["function"]]:
        result = ours.run_layer(meta, layer)
        assert failures(compare(result, meta, recorded)) == []
        assert result.variables == meta["variables"]


# What resnet_v2_test.py prints: ResnetUtilsTest.testSubsampleThreeByThree to testConv2DSameOdd.
PUBLISHED = {
    "table: subsample 3x3": [[0, 2], [6, 8]],
    "table: subsample 4x4": [[0, 2], [8, 10]],
    "table: even, conv2d_same stride 1": [[14, 28, 43, 26], [28, 48, 66, 37], [43, 66, 84, 46], [26, 37, 46, 22]],
    "table: even, subsample of conv2d_same stride 1": [[14, 43], [43, 84]],
    "table: even, conv2d_same stride 2": [[14, 43], [43, 84]],
    "table: even, conv2d stride 2": [[48, 37], [37, 22]],
    "table: odd, conv2d_same stride 1": [
        [14, 28, 43, 58, 34],
        [28, 48, 66, 84, 46],
        [43, 66, 84, 102, 55],
        [58, 84, 102, 120, 64],
        [34, 46, 55, 64, 30],
    ],
    "table: odd, subsample of conv2d_same stride 1": [[14, 43, 34], [43, 84, 55], [34, 55, 30]],
    "table: odd, conv2d_same stride 2": [[14, 43, 34], [43, 84, 55], [34, 55, 30]],
    "table: odd, conv2d stride 2": [[14, 43, 34], [43, 84, 55], [34, 55, 30]],
}


@pytest.mark.parametrize("case", PUBLISHED)
def test_the_recorder_and_tinyresnet_give_tf_slims_published_table(case: str) -> None:
    table = np.array(PUBLISHED[case], np.float32)
    np.testing.assert_array_equal(seeded.unpack(LAYERS, case)["net"]["net"].entries.reshape(table.shape), table)
    meta = meta_of(LAYERS, case)
    for layer in ours.LAYERS[meta["function"]]:
        np.testing.assert_array_equal(ours.run_layer(meta, layer).groups["net"]["net"][0, :, :, 0], table)


# ---- planted mistakes --------------------------------------------------------------------------------------------------
EVEN, DENSE, ODD = "small, training, even", "output_stride 8, training, even", "small, training, odd"


def failing(case: str, patch: dict[str, Any] | None = None, make_block: Any = None, **changed: Any) -> set[str]:
    """The groups that a case fails in, once with the mistake; `changed` replaces entries of the case's `meta`."""
    meta = meta_of(NETS, case)
    with use_backend("numpy"), use(**(patch or {})):
        result = ours.run_net({**meta, **changed}, make_block=make_block)
    return failed_groups(compare(result, meta, seeded.unpack(NETS, case)))


@pytest.mark.parametrize("case", [EVEN, DENSE, ODD])
def test_without_a_mistake_nothing_fails(case: str) -> None:
    assert failing(case) == set()


def test_a_wrong_decay_is_seen_in_the_moving_averages_only() -> None:
    assert failing(EVEN, arg_scope={"batch_norm_decay": 0.99}) == {"moving"}


def test_a_wrong_weight_decay_is_seen_in_the_regularization_loss_only() -> None:
    assert failing(EVEN, arg_scope={"weight_decay": 0.0002}) == {"regularization_loss"}


def test_a_wrong_epsilon_is_seen() -> None:
    assert {"net", "gradients"} <= failing(EVEN, arg_scope={"batch_norm_epsilon": 0.001})
    assert {"net", "gradients"} <= failing(ODD, arg_scope={"batch_norm_epsilon": 2e-4})


def test_a_biased_moving_variance_is_seen() -> None:
    def forward(x: Any, gamma: Any, beta: Any, epsilon: float = 1e-5) -> Any:
        y, saved = ops.batch_norm_forward(x, gamma, beta, epsilon=epsilon)
        n = x.size // x.shape[-1]
        return y, saved._replace(var=saved.var * ((n - 1) / n))  # so that its unbiased value is the biased one

    assert "moving" in failing(EVEN, {"batch_norm_forward": forward})
    assert "net" not in failing(EVEN, {"batch_norm_forward": forward})


def test_a_missing_bias_is_seen() -> None:
    def forward(x: Any, b: Any) -> Any:
        return ops.bias_add_forward(x, np.zeros_like(b))

    assert "net" in failing(EVEN, {"bias_add_forward": forward})


def test_a_batch_norm_backward_without_the_mean_is_seen_in_the_gradients_only() -> None:
    def backward(dy: Any, saved: Any) -> Any:
        dx, dgamma, dbeta = ops.batch_norm_backward(dy, saved)
        return dx + 1e-3 * dy.mean((0, 1, 2)), dgamma, dbeta

    assert failing(ODD, {"batch_norm_backward": backward}) == {"gradients", "gradients_at"}


def test_a_lost_shortcut_gradient_is_seen_in_the_gradients_only() -> None:
    def backward(dy: Any, saved: Any) -> Any:
        return np.zeros_like(ops.subsample_backward(dy, saved))

    assert "gradients" in failing(EVEN, {"subsample_backward": backward}) <= {"gradients", "gradients_at"}


def test_a_pool_padded_with_zeros_is_seen() -> None:
    def forward(x: Any, kernel_size: Any, stride: Any = 2, padding: Any = "VALID") -> Any:
        if padding == "SAME":  # one pixel after the last one, and before the first where the size is odd
            odd = x.shape[1] % 2
            x, padding = np.pad(x, ((0, 0), (odd, 1), (odd, 1), (0, 0))), "VALID"
        return ops.max_pool2d_forward(x, kernel_size, stride=stride, padding=padding)

    meta = meta_of(NETS, ODD)
    with use_backend("numpy"), use(max_pool2d_forward=forward):
        net, _, _ = ours.call_net(meta, images_of(meta), ours.seeded_variables(meta), gradients=False)
    assert [c.failed for c in compare_group("net", {"net": net}, seeded.unpack(NETS, ODD)["net"])] == [True]


def images_of(meta: dict[str, Any]) -> Any:
    return to_device(seeded.uniform("images", meta["seed"], tuple(meta["images"])))


def test_the_stride_in_the_first_unit_is_seen() -> None:
    def block(scope: str, base_depth: int, num_units: int, stride: int) -> resnet_utils.Block:
        units = resnet_v2.resnet_v2_block(scope, base_depth, num_units, stride)
        return units._replace(args=[units.args[-1], *units.args[:-1]])

    assert {"net", "end_points"} <= failing(EVEN, make_block=block)


def test_same_padding_in_place_of_conv2d_same_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def same(inputs: Any, num_outputs: int, kernel_size: int, stride: int, rate: int = 1, scope: Any = None) -> Any:
        return slim.conv2d(inputs, num_outputs, kernel_size, stride=stride, rate=rate, padding="SAME", scope=scope)

    monkeypatch.setattr(resnet_v2, "conv2d_same", same)
    assert "net" in failing(EVEN)
    assert failing(ODD) == set()  # the two agree on odd sizes, which is why even ones are recorded


def test_a_forgotten_rate_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_atrous(*args: Any, rate: int = 1, **kwargs: Any) -> Any:
        return resnet_utils.conv2d_same(*args, **kwargs)

    monkeypatch.setattr(resnet_v2, "conv2d_same", not_atrous)
    assert "net" in failing(DENSE)


def test_a_misnamed_end_point_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def misname(collection: Any, alias: str, output: Any, back: Any) -> Any:
        return slim.collect_named_outputs(collection, alias.replace("global_pool", "pool5"), output, back)

    monkeypatch.setattr(resnet_v2, "collect_named_outputs", misname)
    with pytest.raises(AssertionError):
        check_structure(meta_of(STRUCTURE, "small at 224"))


def test_regularized_biases_are_seen() -> None:
    meta = meta_of(STRUCTURE, "small at 128, rootless")
    with slim.arg_scope([slim.conv2d], biases_regularizer=slim.l2_regularizer(1e-4)), pytest.raises(AssertionError):
        check_structure(meta)


def test_entries_that_no_sample_sees_are_in_the_projection() -> None:
    array = seeded.uniform("array", 0, (100, 100))
    recorded = seeded.unpack(seeded.pack("case", {"net": {"net": array}}, whole=50), "case")["net"]
    assert recorded["net"].entries.size == 50
    wrong = array.copy()
    seen = set(seeded.sample_indices("net", array.size, 50).tolist())
    wrong.reshape(-1)[[i for i in range(array.size) if i not in seen][:20]] += 0.01
    (right_one,) = compare_group("net", {"net": array}, recorded)
    (wrong_one,) = compare_group("net", {"net": wrong}, recorded)
    assert right_one.error == 0
    assert wrong_one.error > ALLOWED["net"]


@pytest.mark.parametrize("name", ["missing", "misshaped", "not a number"])
def test_an_array_that_cannot_be_compared_fails(name: str) -> None:
    array = seeded.uniform("array", 0, (3, 4))
    recorded = seeded.unpack(seeded.pack("case", {"net": {"net": array}}), "case")["net"]
    given = {"missing": {}, "misshaped": {"net": array.T}, "not a number": {"net": array * np.nan}}[name]
    assert [c.failed for c in compare_group("net", given, recorded)] == [True]
    assert [c.failed for c in compare_group("net", {"net": array, "one more": array}, recorded)] == [True, False]
