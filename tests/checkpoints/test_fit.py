"""Arrays of another net: everything that does not fit is told at once, and nothing is restored."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinyresnet.checkpoints import CheckpointMismatch, check_fit, restore
from tinyresnet.slim import Variables


def net(scope: str = "net", classes: int = 10) -> dict[str, Any]:
    rng = np.random.default_rng(len(scope) + classes)
    return {
        f"{scope}/conv1/weights": rng.standard_normal((3, 3, 1, 4)).astype("float32"),
        f"{scope}/conv1/biases": rng.standard_normal(4).astype("float32"),
        f"{scope}/logits/weights": rng.standard_normal((4, classes)).astype("float32"),
        f"{scope}/logits/biases": rng.standard_normal(classes).astype("float32"),
    }


def mismatch(arrays: dict[str, Any], wanted: dict[str, Any]) -> CheckpointMismatch:
    """What `restore` has against them; the store is as it was."""
    variables = Variables(wanted)
    before = dict(variables)
    with pytest.raises(CheckpointMismatch) as caught:
        restore(variables, arrays, path="runs/x/best.safetensors")
    assert list(variables) == list(before) and all(variables[name] is before[name] for name in before)
    assert str(caught.value).startswith("runs/x/best.safetensors does not fit the net: ")
    return caught.value


def test_what_fits_is_restored() -> None:
    variables, arrays = Variables(net()), {name: -array for name, array in reversed(net().items())}
    variables.describe("net/conv1/weights", trainable=False, regularizer=None)
    restore(variables, arrays, path="file")
    assert list(variables) == list(net())
    for name, array in net().items():
        np.testing.assert_array_equal(variables[name], -array)
    assert variables.trainable == tuple(net())[1:]


def test_all_kinds_are_told_at_once() -> None:
    arrays = net()
    arrays["net/more"] = arrays.pop("net/conv1/biases")
    arrays["net/conv1/weights"] = np.zeros((3, 3, 3, 4), "float32")
    arrays["net/logits/biases"] = arrays["net/logits/biases"].astype("float64")
    error = mismatch(arrays, net())
    assert (error.missing, error.extra) == (["net/conv1/biases"], ["net/more"])
    assert error.misshaped == {
        "net/conv1/weights": "is float32 [3, 3, 3, 4] and should be float32 [3, 3, 1, 4]",
        "net/logits/biases": "is float64 [10] and should be float32 [10]",
    }
    assert str(error).endswith(
        "the net: 1 missing: net/conv1/biases; 1 that the net does not have: net/more; 2 of another shape or dtype: "
        "net/conv1/weights is float32 [3, 3, 3, 4] and should be float32 [3, 3, 1, 4], "
        "net/logits/biases is float64 [10] and should be float32 [10]"
    )
    assert isinstance(error, ValueError)


@pytest.mark.parametrize("kind", ["missing", "extra", "shape", "dtype", "rank"])
def test_one_of_a_kind_is_enough(kind: str) -> None:
    """A check of names alone, or of one direction, or one that lets [4, 1] pass for [4], would be seen here."""
    arrays, name = net(), "net/conv1/biases"
    if kind == "missing":
        del arrays[name]
    elif kind == "extra":
        arrays["net/more"] = np.ones(1, "float32")
    else:
        arrays[name] = {"shape": np.ones(1, "float32"), "dtype": np.ones(4), "rank": np.ones((4, 1), "float32")}[kind]
    error = mismatch(arrays, net())
    found = {"missing": error.missing, "extra": error.extra}.get(kind, list(error.misshaped))
    assert found == [{"extra": "net/more"}.get(kind, name)]
    assert len(error.missing) + len(error.extra) + len(error.misshaped) == 1
    with pytest.raises(CheckpointMismatch):
        check_fit(arrays, net(), path="file")


def test_twenty_are_named_and_all_are_counted() -> None:
    wanted = {f"net/conv{i:02}/weights": np.ones(i + 1, "float32") for i in range(23)}
    arrays = {name: np.ones(100, "float32") for name in list(wanted)[:21]} | {
        "other/x": np.ones(1),
        "net/y": np.ones(1),
    }
    error = mismatch(arrays, wanted)
    assert (len(error.missing), len(error.extra), len(error.misshaped)) == (2, 2, 21)
    message = str(error)
    assert (
        "2 missing: net/conv21/weights, net/conv22/weights; 2 that the net does not have: other/x, net/y; 21 of"
        in message
    )
    assert "net/conv19/weights is" in message and message.endswith(" and 1 more") and "net/conv20" not in message


def test_another_number_of_classes_is_recognised() -> None:
    error = mismatch(net(classes=7), net(classes=10))
    assert list(error.misshaped) == ["net/logits/weights", "net/logits/biases"]
    assert str(error).endswith(". Only the logits differ: the number of classes is another one")
    assert "Only the logits" not in str(mismatch({**net(classes=7), "net/more": np.ones(1)}, net()))


def test_another_net_is_recognised() -> None:
    error = mismatch(net("resnet_v2_101"), net("resnet_v2_50"))
    assert len(error.missing) == len(error.extra) == 4
    assert str(error).endswith(". The file is of net 'resnet_v2_101', and this one is 'resnet_v2_50'")
    assert "is of net" not in str(mismatch({**net("resnet_v2_101"), "other/x": np.ones(1)}, net()))


def test_a_device_that_is_full_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The third array finds no room."""
    from tinyresnet.checkpoints import fit

    placed: list[Any] = []

    def to_device(array: Any) -> Any:
        if len(placed) == 2:
            raise MemoryError
        placed.append(array)
        return array

    variables = Variables(net())
    before = dict(variables)
    monkeypatch.setattr(fit, "to_device", to_device)
    with pytest.raises(MemoryError):
        restore(variables, {name: -array for name, array in net().items()}, path="file")
    assert len(placed) == 2 and all(variables[name] is before[name] for name in before)
