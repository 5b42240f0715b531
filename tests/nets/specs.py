"""Small nets, their variables with nothing left at its initial value, and how two results are compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from tests.nets.block_spec import BlockSpec
from tinyresnet import Variables
from tinyresnet.resnet_utils import Block
from tinyresnet.resnet_v2 import resnet_v2, resnet_v2_block

SCOPE = "resnet"
Result = dict[str, np.ndarray]


class NetSpec(NamedTuple):
    """A net both sides can build; `options` are resnet_v2's own keywords."""

    images: tuple[int, int, int, int]
    blocks: tuple[BlockSpec, ...]
    num_classes: int | None = 5
    options: dict[str, Any] = {}

    def random_images(self, seed: int = 0, dtype: str = "float64") -> np.ndarray:
        return np.random.default_rng([seed, 1]).standard_normal(self.images).astype(dtype)

    def ours(self) -> list[Block]:
        return [resnet_v2_block(*spec) for spec in self.blocks]


SMALL = (BlockSpec("block1", 2, 2, 2), BlockSpec("block2", 3, 2, 2), BlockSpec("block3", 4, 1, 1))


def random_store(backend: Any, spec: NetSpec, seed: int = 0, dtype: str = "float64") -> Variables:
    """The net's variables with nothing left at 0 or 1, where a forgotten gamma or bias would not show."""
    variables = Variables(seed=seed)
    images = backend.array(spec.random_images(dtype=dtype))
    resnet_v2(
        images, spec.ours(), spec.num_classes, is_training=False, scope=SCOPE, variables=variables, **spec.options
    )
    rng = np.random.default_rng([seed, 2])
    for name in list(variables):
        array = np.array(backend.host(variables[name]))
        noise = rng.standard_normal(array.shape).astype(dtype)
        if name.endswith(("gamma", "beta", "biases", "moving_mean")):
            variables[name] = backend.array(array + 0.3 * noise)
        elif name.endswith("moving_variance"):
            variables[name] = backend.array(0.5 + noise**2)
    return variables


def on_host(backend: Any, variables: Mapping[str, Any]) -> Result:
    return {name: np.array(array) for name, array in backend.host(dict(variables)).items()}


def named(kind: str, arrays: Mapping[str, np.ndarray]) -> Result:
    return {f"{kind} {name}": array for name, array in arrays.items()}


def kind_of(name: str) -> str:
    return name.rpartition(" ")[0]


def assert_same(ours: Result, right: Result, tolerance: float = 1e-9) -> None:
    """The same names; each array within the tolerance, relative to its largest entry.

    A bias just before a batch norm has no gradient but rounding errors, so an array counts as at least a thousandth of the
    largest one of its kind.
    """
    assert set(ours) == set(right), f"only one side has {sorted(set(ours) ^ set(right))}"
    largest: dict[str, float] = {}
    for name, array in right.items():
        largest[kind_of(name)] = max(largest.get(kind_of(name), 1e-12), float(np.abs(array).max()))
    for name, array in right.items():
        assert ours[name].shape == array.shape, f"{name}: shape {ours[name].shape}, should be {array.shape}"
        assert ours[name].dtype == array.dtype, f"{name}: dtype {ours[name].dtype}, should be {array.dtype}"
        scale = max(float(np.abs(array).max()), 1e-3 * largest[kind_of(name)])
        error = float(np.abs(ours[name] - array).max()) / scale
        assert error <= tolerance, f"{name}: off by {error:.3g} of the largest entry, allowed is {tolerance:g}"
