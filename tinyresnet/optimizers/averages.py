"""Averages of the weights over the last steps: they often test better than the weights themselves."""

from __future__ import annotations

from ..backend import Array
from ..ops.checks import not_negative_int
from ..slim import Variables
from .checks import check_kept, share


class ExponentialMovingAverage:
    """average <- decay * average + (1 - decay) * variable, with decay no more than (1 + step) / (10 + step), so that it begins quickly.

    Over all variables, batch norm's moving averages too, so that both lag alike. TensorFlow: tf.train.ExponentialMovingAverage with
    num_updates, over slim.get_model_variables(), as TF-Slim's train_image_classifier has it; there it begins at the initial values,
    here at those after the first step. Polyak & Juditsky 1992.
    averages    variable name -> array. Raises ValueError for a decay that is not from 0 to less than 1.
    """

    def __init__(self, decay: float) -> None:
        self.decay = share("decay", decay)
        self.averages: dict[str, Array] = {}

    def update(self, variables: Variables, step: int) -> None:
        """Takes in the variables as they are after `step` steps (from 1); the first time it begins at them.

        Arrays are replaced, not written to. Raises ValueError if there is an average of another shape or dtype than its variable, or
        of one that is not in the store; nothing is changed then.
        """
        check_kept("the average", self.averages, variables)
        steps = not_negative_int("step", step)
        keep = min(self.decay, (1 + steps) / (10 + steps))
        for name, variable in variables.items():
            average = self.averages.get(name)
            self.averages[name] = variable if average is None else average - (average - variable) * (1 - keep)

    def variables(self, variables: Variables) -> Variables:
        """A store to evaluate with: each variable's average, or itself where there is none yet. Raises as `update`."""
        check_kept("the average", self.averages, variables)
        averaged = Variables(seed=variables.seed)
        for name, variable in variables.items():
            averaged.replace(name, self.averages.get(name, variable))
        return averaged
