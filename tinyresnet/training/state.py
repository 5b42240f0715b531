"""All that a run is in the middle of, to a checkpoint and back: weights, momentum, averages, and where in which epoch it is.

Order, shifts and flips are functions of (seed, epoch, batch), so that these two numbers are their whole state.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import checkpoints
from ..backend import Array, to_device
from ..data import Dataset
from ..data.augment import Normalisation
from ..optimizers import SGD, ExponentialMovingAverage
from ..slim import Variables
from .config import Config, from_toml
from .nets import Net

MOMENTUM, AVERAGE = "Momentum", "ExponentialMovingAverage"  # the names of TensorFlow's slots


@dataclass
class Progress:
    """Where a run is. Sums are of the epoch that it is in."""

    epoch: int = 1  # the one it is in, from 1
    batch: int = 0  # batches of this epoch that are done
    step: int = 0  # steps since the beginning
    loss_sum: float = 0.0  # loss of each batch times its labels
    right: int = 0
    labels: int = 0
    seconds: float = 0.0  # of training, breaks not counted
    value: float | None = (
        None  # test accuracy, or for task segment mean intersection over union, of the last epoch that ended
    )
    best_value: float | None = None  # the best so far
    best_loss: float = 0.0  # the test loss then, which decides between equals
    best_epoch: int = 0
    metrics_bytes: int = 0  # length of metrics.jsonl up to here
    finished: bool = False

    @property
    def loss(self) -> float:
        """The mean over the epoch so far, each label as the net was when it saw it."""
        return self.loss_sum / max(self.labels, 1)

    @property
    def accuracy(self) -> float:
        """Likewise."""
        return self.right / max(self.labels, 1)

    def next_epoch(self) -> None:
        """At the end of an epoch."""
        self.epoch, self.batch, self.loss_sum, self.right, self.labels = self.epoch + 1, 0, 0.0, 0, 0


@dataclass(frozen=True)
class About:
    """What a checkpoint says of itself beside its arrays: enough to use the net without the data that it was trained on."""

    config: Config
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    normalisation: Normalisation
    fingerprint: str  # of the data set
    environment: dict[str, Any]

    def metadata(self, progress: Progress) -> dict[str, str]:
        """As texts, for the checkpoint's header."""
        return {
            "config": self.config.to_toml(),
            "class_names": json.dumps(self.class_names, ensure_ascii=False),
            "image_shape": json.dumps(self.image_shape),
            "normalisation": json.dumps(self.normalisation),
            "data_fingerprint": self.fingerprint,
            "environment": json.dumps(self.environment),
            "progress": json.dumps(asdict(progress)),
        }

    def check_data(self, dataset: Dataset) -> None:
        """Raises ValueError unless it is the data set of this run."""
        if dataset.fingerprint() != self.fingerprint:
            raise ValueError(
                f"the data set {self.config.data.source!r} is not the one that the run was trained on: "
                "its pictures, labels or classes have changed since"
            )

    @classmethod
    def read(cls, checkpoint: checkpoints.Checkpoint) -> tuple[About, Progress]:
        """Back from the header. Raises ValueError if it lacks something or has something else in its place."""
        told = checkpoint.metadata
        try:
            mean, std, dtype = json.loads(told["normalisation"])
            height, width, channels = json.loads(told["image_shape"])
            about = cls(
                config=from_toml(told["config"]),
                class_names=tuple(json.loads(told["class_names"])),
                image_shape=(int(height), int(width), int(channels)),
                normalisation=Normalisation(tuple(mean), tuple(std), dtype),
                fingerprint=told["data_fingerprint"],
                environment=json.loads(told["environment"]),
            )
            return about, Progress(**json.loads(told["progress"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{checkpoint.path} is no checkpoint of a training run: {error!r}") from error


class TrainingState:
    """The arrays of a run: `variables`, the optimizer's momentum, the averages (if the config has an ema_decay)."""

    def __init__(self, config: Config, variables: Variables) -> None:
        training = config.training
        self.variables = variables
        self.optimizer = SGD(momentum=training.momentum, nesterov=training.nesterov)
        self.averages = ExponentialMovingAverage(training.ema_decay) if training.ema_decay else None

    def for_evaluation(self) -> Variables:
        """The averages if there are any, else the variables themselves."""
        return self.averages.variables(self.variables) if self.averages else self.variables

    def save(self, path: Path, about: About, progress: Progress) -> None:
        """The whole state, atomically."""
        slots = {MOMENTUM: self.optimizer.slots}
        if self.averages:
            slots[AVERAGE] = self.averages.averages
        checkpoints.save(path, checkpoints.join_slots(self.variables, slots), about.metadata(progress))

    def save_for_evaluation(self, path: Path, about: About, progress: Progress) -> None:
        """The variables to evaluate with, under their own names, and nothing else."""
        checkpoints.save(path, self.for_evaluation(), about.metadata(progress))

    def load(self, checkpoint: checkpoints.Checkpoint, steps: int) -> None:
        """Everything as it was saved after `steps` steps.

        Raises CheckpointMismatch, which lists what does not fit, and changes nothing then.
        """
        arrays, slots = checkpoints.split_slots(checkpoint.arrays)
        momentum, averages = slots.get(MOMENTUM, {}), slots.get(AVERAGE, {})
        if steps:  # before the first step there are none
            trained = {name: self.variables[name] for name in self.variables.trainable}
            checkpoints.check_fit(
                momentum, trained if self.optimizer.momentum else {}, path=f"{checkpoint.path}, momentum,"
            )
            checkpoints.check_fit(
                averages, self.variables if self.averages else {}, path=f"{checkpoint.path}, averages,"
            )
        checkpoints.restore(self.variables, arrays, path=checkpoint.path)
        self.optimizer.slots = _on_device(momentum)
        if self.averages:
            self.averages.averages = _on_device(averages)


def _on_device(arrays: dict[str, Array]) -> dict[str, Array]:
    return {name: to_device(array) for name, array in arrays.items()}


def variables_of(checkpoint: checkpoints.Checkpoint, about: About) -> tuple[Net, Variables]:
    """The net of a checkpoint and its variables for evaluation: of best.safetensors as they are, of last.safetensors the averages.

    Raises CheckpointMismatch if they are not those of the net that its config describes.
    """
    net = Net(about.config, len(about.class_names))
    training = about.config.training
    variables = net.create_variables(about.image_shape, training.seed, training.dtype)
    arrays, slots = checkpoints.split_slots(checkpoint.arrays)
    checkpoints.restore(variables, {**arrays, **slots.get(AVERAGE, {})}, path=checkpoint.path)
    return net, variables
