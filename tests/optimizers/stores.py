"""A store like a small net's, and gradients for it."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyresnet.slim import Variables, l2_regularizer

SHAPES = {
    "net/conv1/weights": (3, 3, 2, 4),
    "net/conv1/biases": (4,),
    "net/BatchNorm/gamma": (4,),
    "net/BatchNorm/moving_mean": (4,),
    "net/frozen/weights": (2, 3),
    "net/logits/weights": (4, 3),
}
REGULARIZED = ("net/conv1/weights", "net/logits/weights")
UNTRAINED = ("net/BatchNorm/moving_mean", "net/frozen/weights")
TRAINED = tuple(name for name in SHAPES if name not in UNTRAINED)
DECAY = 0.3  # large, so that one forgotten is seen


def store(dtype: str = "float64", seed: int = 0, array: Any = np.asarray) -> Variables:
    """Random values; L2 on two of the weights; a moving average and a frozen layer, which gradients leave alone."""
    rng = np.random.default_rng(seed)
    variables = Variables({name: array(rng.standard_normal(shape).astype(dtype)) for name, shape in SHAPES.items()})
    for name in (*REGULARIZED, "net/frozen/weights"):
        regularizer = l2_regularizer(DECAY) if name in REGULARIZED else None
        variables.describe(name, trainable=name in TRAINED, regularizer=regularizer)
    return variables


def gradients(seed: int, dtype: str = "float64", array: Any = np.asarray) -> dict[str, Any]:
    """Random ones, of the trained variables."""
    rng = np.random.default_rng([seed, 1])
    return {name: array(rng.standard_normal(SHAPES[name]).astype(dtype)) for name in TRAINED}


def copies(arrays: Any) -> dict[str, Any]:
    """What they are now, to compare with later."""
    return {name: array.copy() for name, array in arrays.items()}


def assert_equal(ours: Any, theirs: Any) -> None:
    """The same names and the same arrays, bit for bit."""
    assert list(ours) == list(theirs)
    for name, array in ours.items():
        assert array.dtype == theirs[name].dtype
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)
