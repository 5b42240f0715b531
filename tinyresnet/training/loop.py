"""Training: epoch after epoch, with a test after each, and a checkpoint whenever it may stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np

from .. import checkpoints
from ..backend import get_array_module, get_backend, use_backend
from ..data import Dataset
from ..data.augment import Augmentation, normalisation_of
from ..data.batches import Batches, ahead
from ..extras import require
from ..optimizers import PiecewiseConstant, WarmupCosine
from .config import Config, changed, read_config
from .diverged import Diverged, first_not_finite
from .environment import differences, environment
from .evaluation import Evaluation, Predictor, evaluate
from .nets import Net
from .run import BEST, CONFIG, LAST, METRICS, MetricsLog
from .sources import check_dataset, dataset_of
from .state import About, Progress, TrainingState
from .step import StepResult, is_finite, train_step


class Listener:
    """Is told how a run goes; does nothing. A progress bar, or a test, overrides what it wants to hear."""

    def began(self, trainer: Trainer) -> None:
        """Before the first step, or before the first one after a break."""

    def stepped(self, progress: Progress, result: StepResult, pictures: int) -> None:
        """After each step; `pictures` were in its batch."""

    def epoch_ended(self, progress: Progress, test: Evaluation, is_best: bool) -> None:
        """After each epoch's test."""

    def noticed(self, text: str) -> None:
        """Something that the user should know."""


class Clock:
    """`with clock:` counts as training time, in progress.seconds."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.began: float | None = None

    def __enter__(self) -> None:
        self.began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self.tick()
        self.began = None

    def seconds(self) -> float:
        """Up to now."""
        return self.progress.seconds + (0.0 if self.began is None else time.monotonic() - self.began)

    def tick(self) -> None:
        """Brings progress.seconds up to date."""
        self.progress.seconds = self.seconds()
        self.began = None if self.began is None else time.monotonic()


class _Stopped(Exception):
    """Somebody asked to stop; everything is saved."""


class Trainer:
    """A run that is under way in `folder`. `start` begins one, `resume` goes on with one; both return a Trainer to `run`."""

    def __init__(self, config: Config, folder: Path, dataset: Dataset, progress: Progress, listener: Listener) -> None:
        training, data = config.training, config.data
        self.config, self.folder, self.dataset = config, folder, dataset
        self.progress, self.listener = progress, listener
        images = dataset.train.images
        if data.shift >= min(images.shape[1:3]):
            raise ValueError(
                f"shift must be less than the side of a picture, {min(images.shape[1:3])}, not {data.shift}"
            )
        normalisation = normalisation_of(images)._replace(dtype=training.dtype)
        self.batches = Batches(
            dataset.train, training.batch_size, normalisation, Augmentation(data.shift, data.flip, data.crop), training.seed
        )  # fmt: skip
        self.learning_rate = schedule_of(config, len(self.batches))
        with _computing(config):
            self.net = Net(config, len(dataset.class_names))
            self.state = TrainingState(
                config, self.net.create_variables(images.shape[1:], training.seed, training.dtype)
            )
            self.about = About(
                config, dataset.class_names, images.shape[1:], normalisation, dataset.fingerprint(), environment()
            )
        self.log: MetricsLog | None = None
        self.clock = Clock(progress)
        self._saved_at, self._saved_step = time.monotonic(), progress.step

    # ---- beginning -----------------------------------------------------------------------------------------------------
    @classmethod
    def start(
        cls, config: Config, folder: str | Path, listener: Listener | None = None, dataset: Dataset | None = None
    ) -> Trainer:
        """A new run: reads the data set, makes the folder, writes the config and a first checkpoint.

        A `dataset` of your own is trained on in the place of the config's; of pictures with a class each, its name becomes the source.
        Raises FileExistsError if a run is in the folder, before anything is made; else as `dataset_of`.
        """
        folder = Path(folder)
        if any((folder / name).exists() for name in (LAST, BEST, METRICS)):
            raise FileExistsError(f"{folder} holds a run already: resume it, remove it, or give another folder")
        if dataset is None:
            _check_outside(folder, config.data.source)
            dataset = dataset_of(config.data, config.training.seed)
        else:
            check_dataset(dataset, config.task)
            if (
                config.task == "classify"
            ):  # for task segment the source stays "scenes", the only one that a config can name
                config = changed(config, {"source": dataset.name})
        trainer = cls(config, folder, dataset, Progress(), listener or Listener())
        folder.mkdir(parents=True, exist_ok=True)
        checkpoints.write_atomically(folder / CONFIG, config.to_toml().encode())
        trainer.save()
        return trainer

    @classmethod
    def resume(cls, folder: str | Path, listener: Listener | None = None, dataset: Dataset | None = None) -> Trainer:
        """Goes on with the run in `folder` from its last checkpoint, with the config in the checkpoint.

        Raises FileNotFoundError without a checkpoint, CheckpointMismatch, ValueError if the data set has changed since.
        """
        folder = Path(folder)
        checkpoint = checkpoints.load(folder / LAST)
        about, progress = About.read(checkpoint)
        config = about.config
        dataset = dataset or dataset_of(config.data, config.training.seed)
        about.check_data(dataset)
        trainer = cls(config, folder, dataset, progress, listener or Listener())
        with _computing(config):
            trainer.state.load(checkpoint, progress.step)
        trainer._notice_changes()
        for text in differences(about.environment, trainer.about.environment):
            trainer.listener.noticed(f"the last bits of the results may differ from a run without a break: {text}")
        return trainer

    def _notice_changes(self) -> None:
        """What somebody did to the folder since."""
        try:
            same = read_config(self.folder / CONFIG) == self.config
        except (ValueError, OSError):
            same = False
        if not same:
            self.listener.noticed(
                f"{self.folder / CONFIG} is not the config that the run began with, which goes on to count"
            )
        if self.progress.best_epoch and not (self.folder / BEST).exists():
            self.listener.noticed(
                f"{self.folder / BEST} is gone: the best of the epochs to come, if any, takes its place"
            )
            if not self.progress.finished:
                self.progress.best_value = None

    # ---- the loop ------------------------------------------------------------------------------------------------------
    def run(self, stop: Callable[[], bool] = lambda: False) -> bool:
        """Trains to the end and returns True; or, once `stop()` is true, finishes the step, saves, and returns False.

        Inside `with use_backend(...), use(conv2d_backward=mine)` of the run's own back end it trains on `mine`.
        Raises Diverged if the loss is no longer a number; the last checkpoint is then the last good one. Raises BlockingIOError if
        another process trains in the folder.
        """
        self.log = MetricsLog(self.folder / METRICS, self.progress.metrics_bytes)
        try:
            with _computing(self.config), np.errstate(all="ignore"):  # what is not finite is looked for, and named
                self._announce()
                while not self.progress.finished:
                    self._epoch(stop)
                    self._test(stop)
            return True
        except _Stopped:
            return False
        finally:
            self.log.close()
            self.log = None

    def _announce(self) -> None:
        progress, training = self.progress, self.config.training
        if progress.step:
            self._write("resume", step=progress.step)
        else:
            self._write("start", versions=self.about.environment, backend=training.backend, threads=training.threads)
        self.listener.began(self)

    def _epoch(self, stop: Callable[[], bool]) -> None:
        """The batches of the epoch that are still to do."""
        progress = self.progress
        with ahead(self.batches.epoch(progress.epoch, progress.batch)) as prepared, self.clock:
            for images, labels in prepared:
                self._step(images, labels)
                if stop():
                    self.save()
                    raise _Stopped
                if time.monotonic() - self._saved_at > self.config.training.checkpoint_seconds:
                    self.save()

    def _step(self, images: np.ndarray, labels: np.ndarray) -> None:
        progress, training = self.progress, self.config.training
        learning_rate = self.learning_rate(progress.step)
        result = train_step(
            self.net,
            images,
            labels,
            self.state.variables,
            self.state.optimizer,
            learning_rate,
            micro_batch_size=training.micro_batch_size,
            label_smoothing=training.label_smoothing,
            clip_norm=training.clip_norm,
        )
        if not is_finite(result):
            self._diverge(result, images, labels)
        progress.step, progress.batch = progress.step + 1, progress.batch + 1
        progress.loss_sum += result.loss * result.labels
        progress.right, progress.labels = progress.right + result.right, progress.labels + result.labels
        if self.state.averages:
            self.state.averages.update(self.state.variables, progress.step)
        self._write(
            "step",
            epoch=progress.epoch,
            step=progress.step,
            loss=result.loss,
            accuracy=result.right / result.labels,
            learning_rate=learning_rate,
            gradient_norm=result.gradient_norm,
            seconds=round(self.clock.seconds(), 3),
        )
        self.listener.stepped(progress, result, len(images))

    def _test(self, stop: Callable[[], bool]) -> None:
        """The end of an epoch: test, log, best checkpoint, and a last one that begins the next epoch."""
        progress, segmenting = self.progress, self.config.task == "segment"

        def between() -> None:
            if stop():
                self.save()  # the epoch's steps are done; its test is made again on resuming
                raise _Stopped

        with self.clock:
            test = evaluate(self.predictor(), self.dataset.test, between)
        if not np.isfinite(test.loss):
            self._diverge_in_test()
        value = test.mean_iou if segmenting else test.accuracy
        progress.value = value
        # Of equals the one with the lower loss: on few pictures the share named right is the same for many nets.
        is_best = progress.best_value is None or (value, -test.loss) > (progress.best_value, -progress.best_loss)
        if is_best:
            progress.best_value, progress.best_loss, progress.best_epoch = value, test.loss, progress.epoch
        self._write(
            "epoch",
            epoch=progress.epoch,
            step=progress.step,
            loss=progress.loss,
            accuracy=progress.accuracy,
            test_loss=test.loss,
            test_accuracy=test.accuracy,
            **({"test_mean_iou": value} if segmenting else {}),
            learning_rate=self.learning_rate(max(progress.step - 1, 0)),
            seconds=round(progress.seconds, 3),
        )
        if is_best:
            self.state.save_for_evaluation(self.folder / BEST, self.about, progress)
        self.listener.epoch_ended(progress, test, is_best)
        progress.finished = progress.epoch >= self.config.training.epochs
        if progress.finished:
            self._write("end", step=progress.step, seconds=round(progress.seconds, 3))
        else:
            progress.next_epoch()
        self.save()

    def predictor(self) -> Predictor:
        """The net with the variables that are tested."""
        return Predictor(
            self.net, self.state.for_evaluation(), self.batches.normalisation, self.config.data.mirror_test
        )

    # ---- saving, time, and what can go wrong ---------------------------------------------------------------------------
    def save(self) -> None:
        """last.safetensors: everything up to here, and how much of metrics.jsonl belongs to it. Raises Diverged for what is not finite."""
        broken = [name for name, w in self.state.variables.items() if not get_array_module(w).isfinite(w).all()]
        if broken:  # the loss was finite, but the step from it was not
            self._raise_diverged("a weight is no longer a number", self.progress.step, broken[0])
        if self.log is not None:
            self.progress.metrics_bytes = self.log.saved()
        self.clock.tick()
        self.state.save(self.folder / LAST, self.about, self.progress)
        self._saved_at, self._saved_step = time.monotonic(), self.progress.step

    def _write(self, kind: str, **values: object) -> None:
        if self.log is not None:
            self.log.write(kind, **values)

    def _diverge(self, result: StepResult, images: np.ndarray, labels: np.ndarray) -> None:
        what = (
            f"the loss became {result.loss}" if not np.isfinite(result.loss) else "the gradient is no longer a number"
        )
        where = first_not_finite(
            self.net, images, labels, self.state.variables, label_smoothing=self.config.training.label_smoothing
        )
        self._raise_diverged(what, self.progress.step + 1, where)

    def _diverge_in_test(self) -> None:
        images, labels = self.dataset.test.images[:64], self.dataset.test.labels[:64]
        where = first_not_finite(
            self.net, self.batches.normalisation(images), labels, self.state.for_evaluation(), is_training=False
        )
        self._raise_diverged("the loss on the test pictures is no longer a number", self.progress.step, where)

    def _raise_diverged(self, what: str, step: int, where: str | None) -> None:
        self._write("diverged", epoch=self.progress.epoch, step=step, where=where)
        advice = (
            f"try a learning_rate smaller than {self.config.training.learning_rate:g}, warmup_epochs, clip_norm, or less weight_decay; "
            f"the last good checkpoint, of step {self._saved_step}, is {self.folder / LAST}"
        )
        raise Diverged(what, step, self.progress.epoch, where, advice)


def _check_outside(folder: Path, source: str) -> None:
    """A run inside its own data set would be read as a class the next time."""
    if Path(source).is_dir() and folder.resolve().is_relative_to(Path(source).resolve()):
        raise ValueError(f"the run's folder must not be inside its data set, but {folder} is in {source}")


def schedule_of(config: Config, steps_an_epoch: int) -> WarmupCosine | PiecewiseConstant:
    """step (from 0) -> learning rate. Raises ValueError for boundaries that are nearer to each other than a step."""
    training = config.training
    steps = training.epochs * steps_an_epoch
    warmup = min(round(training.warmup_epochs * steps_an_epoch), steps - 1)
    if training.schedule == "cosine":
        return WarmupCosine(training.learning_rate, steps, warmup)
    boundaries = tuple(round(epoch * steps_an_epoch) for epoch in training.boundaries)
    if 0 in boundaries or len(set(boundaries)) < len(boundaries):
        raise ValueError(
            f"boundaries must be at least a step apart, and from the beginning: {list(training.boundaries)} epochs "
            f"are steps {list(boundaries)}, as an epoch has {steps_an_epoch}"
        )
    return PiecewiseConstant(boundaries, tuple(training.learning_rate * f for f in training.factors), warmup)


@contextmanager
def _computing(config: Config) -> Iterator[None]:
    """The config's back end and number of BLAS threads.

    A back end that is in force already is not entered again: it would hide the caller's `use(conv2d_backward=mine)`.
    """
    threads = require("threadpoolctl", "train").threadpool_limits(limits=config.training.threads, user_api="blas")
    name = config.training.backend
    with threads, nullcontext() if get_backend() == name else use_backend(name):
        yield
