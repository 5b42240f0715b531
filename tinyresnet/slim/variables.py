"""The store of a net's variables: TF-Slim's names -> arrays, and what belongs to a name."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

import numpy as np

from ..backend import Array, get_array_module, to_device
from ..ops.checks import FLOATS, check_like, shape_text
from .initializers import Initializer, L2Regularizer, Shape

NOT_TRAINED = ("/moving_mean", "/moving_variance")


def _copied(name: str, value: Any) -> Array:
    """A copy where `value` lives (host or device); what is no array is read as NumPy reads it."""
    array: Array = value if hasattr(value, "dtype") else np.asarray(value)
    if not isinstance(name, str) or not name:
        raise ValueError(f"the name of a variable must be a string that is not empty, not {name!r}")
    if array.dtype.name not in FLOATS:
        raise ValueError(f"variable {name} must be float32 or float64, not {array.dtype}")
    return get_array_module(array).array(array, copy=True)  # type: ignore[no-any-return]


class Variables(MutableMapping[str, Array]):
    """A mapping name -> array, in order of creation: `variables["resnet_v2_50/conv1/weights"]`.

    Variables(dict_of_arrays=None, *, seed=0) copies what it is given, as does `variables[name] = array`: the caller's arrays and
    the store's never share memory. Arrays in the store are replaced, not written in place; do the same. A net creates what is
    missing on first use: each variable has a random stream of its own, from its name and `seed`, so the order does not matter.

    gradients    name -> array; a pair of forward and back adds to it, until `variables.gradients.clear()`. Without the L2 part.
    trainable    the names that have gradients; regularized: the names that carry L2.
    One training thread a store. Raises ValueError for an array that is not float32 or float64.
    """

    def __init__(self, dict_of_arrays: Mapping[str, Any] | None = None, *, seed: int = 0) -> None:
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
            raise ValueError(f"seed must be an integer >= 0, not {seed!r}")
        if dict_of_arrays is not None and not isinstance(dict_of_arrays, Mapping):
            raise TypeError(f"dict_of_arrays must be a mapping name -> array, not {type(dict_of_arrays).__name__}")
        self.seed = int(seed)
        self.gradients: dict[str, Array] = {}
        self.regularizers: dict[str, L2Regularizer] = {}
        self._untrained: set[str] = set()
        self._arrays: dict[str, Array] = {}
        for name, value in (dict_of_arrays or {}).items():
            self[name] = value

    def __getitem__(self, name: str) -> Array:
        return self._arrays[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self.replace(name, _copied(name, value))

    def __delitem__(self, name: str) -> None:
        del self._arrays[name]
        self._untrained.discard(name)
        self.regularizers.pop(name, None)
        self.gradients.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        numbers = sum(array.size for array in self._arrays.values())
        return f"<Variables: {len(self)} arrays, {numbers:,} numbers, seed {self.seed}>"

    @property
    def trainable(self) -> tuple[str, ...]:
        """The names that training changes by their gradient: all but moving averages and layers with trainable=False."""
        return tuple(name for name in self._arrays if name not in self._untrained)

    @property
    def regularized(self) -> tuple[str, ...]:
        """The names that a layer gave an L2 regularizer to, in order of creation."""
        return tuple(name for name in self._arrays if name in self.regularizers)

    def regularization_loss(self) -> float:
        """The sum of scale * sum(w^2) / 2 over the regularized variables, in float64. TF-Slim: get_regularization_losses."""
        return sum(self.regularizers[name].loss(self[name]) for name in self.regularized)

    def replace(self, name: str, array: Array) -> None:
        """`variables[name] = array` without the copy: for a new array that nobody else holds (an optimizer's result)."""
        if name not in self._arrays and name.endswith(NOT_TRAINED):
            self._untrained.add(name)
        self._arrays[name] = array

    def describe(self, name: str, *, trainable: bool, regularizer: L2Regularizer | None) -> Callable[[], None]:
        """What the layer that uses the variable says about it. Returns a function that takes it back.

        Raises TypeError for a regularizer that is none.
        """
        if not (regularizer is None or hasattr(regularizer, "loss")):
            raise TypeError(f"the regularizer of {name} must be None or l2_regularizer(scale), not {regularizer!r}")
        trained, before = name not in self._untrained, self.regularizers.get(name)

        def take_back() -> None:
            (self._untrained.discard if trained else self._untrained.add)(name)
            if before is None:
                self.regularizers.pop(name, None)
            else:
                self.regularizers[name] = before

        (self._untrained.discard if trainable else self._untrained.add)(name)
        if regularizer is not None:
            self.regularizers[name] = regularizer
        return take_back

    def create(self, name: str, shape: Shape, initializer: Initializer, dtype: Any) -> None:
        """A new variable, drawn on the host and put where the back end works."""
        rng = np.random.default_rng([zlib.crc32(name.encode()), self.seed])
        value = np.asarray(initializer(shape, rng), dtype)
        if value.shape != tuple(shape):
            raise ValueError(
                f"the initializer of {name} gave shape {shape_text(value.shape)}, but was asked for {shape_text(shape)}"
            )
        self.replace(name, to_device(value))

    def add_gradient(self, name: str, gradient: Array) -> None:
        """Adds up; a variable that is not trained takes none. Raises for a gradient that is not of the variable's shape and dtype."""
        if name not in self._untrained:
            variable = self._arrays[name]
            check_like(f"the gradient of {name}", gradient, variable.shape, variable.dtype, "as the variable")
            before = self.gradients.get(name)
            self.gradients[name] = gradient if before is None else before + gradient


_process_store = Variables()


def default_variables() -> Variables:
    """The store of nets and layers that are given none: one for the whole process, as TensorFlow's default graph."""
    return _process_store


def reset_default_variables(*, seed: int = 0) -> Variables:
    """Starts a new, empty default store and returns it. TensorFlow: tf.reset_default_graph."""
    global _process_store
    _process_store = Variables(seed=seed)
    return _process_store
