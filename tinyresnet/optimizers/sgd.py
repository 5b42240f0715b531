"""Stochastic gradient descent with momentum, and Nesterov's."""

from __future__ import annotations

from collections.abc import Mapping

from ..backend import Array
from ..ops.checks import check_like
from ..slim import Variables
from .checks import check_kept, not_negative, share, some


class SGD:
    """v <- momentum * v + g;  w <- w - learning_rate * v, or with Nesterov's momentum  w - learning_rate * (g + momentum * v).

    g is the gradient plus that of L2 where a layer asked for it (`variables.regularizers`: TF-Slim gives it to `weights` alone).
    TensorFlow: MomentumOptimizer(use_nesterov); PyTorch: torch.optim.SGD. Sutskever et al. 2013, section 2, has Nesterov's.
    slots    variable name -> v, made at the first step; none with momentum 0.
    Raises ValueError for a momentum that is not from 0 to less than 1, and for Nesterov's without any.
    """

    def __init__(self, momentum: float = 0.9, nesterov: bool = False) -> None:
        self.momentum, self.nesterov = share("momentum", momentum), bool(nesterov)
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0, but it is 0")
        self.slots: dict[str, Array] = {}

    def apply(self, variables: Variables, gradients: Mapping[str, Array], learning_rate: float) -> None:
        """One step for every trainable variable; arrays are replaced, not written to.

        Raises ValueError if a variable has no gradient, if a gradient or a slot is of another shape or dtype than its variable, for
        slots of variables that are not in the store, and for a learning rate that is not a number >= 0; nothing is changed then.
        """
        rate, momentum = not_negative("learning_rate", learning_rate), self.momentum
        _check_gradients(gradients, variables)
        check_kept("the momentum", self.slots, variables)
        for name in variables.trainable:
            w, g = variables[name], gradients[name]
            if name in variables.regularizers:
                g = g + variables.regularizers[name].gradient(w)
            if not momentum:
                variables.replace(name, w - rate * g)
                continue
            v = momentum * self.slots[name] + g if name in self.slots else g
            self.slots[name] = v
            variables.replace(name, w - rate * (g + momentum * v if self.nesterov else v))


def _check_gradients(gradients: Mapping[str, Array], variables: Variables) -> None:
    missing = [name for name in variables.trainable if name not in gradients]
    if missing:
        raise ValueError(
            f"gradients lack {len(missing)} of {len(variables.trainable)} trainable variables: {some(missing)}; run the net's back first"
        )
    for name in variables.trainable:
        check_like(
            f"the gradient of {name}", gradients[name], variables[name].shape, variables[name].dtype, "as the variable"
        )
