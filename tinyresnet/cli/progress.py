"""How a training run shows itself: a bar with rate, loss, accuracy and time left, and a line an epoch."""

from __future__ import annotations

import os
import sys
from typing import Any, TextIO

from ..extras import require
from ..training import Evaluation, Listener, Progress, StepResult, Trainer


class Bar(Listener):
    """The bar is on stderr (on a terminal only); lines go to `out`."""

    def __init__(self, out: TextIO | None = None) -> None:
        self.tqdm = require("tqdm", "train").tqdm
        self.out = out or sys.stdout
        self.bar: Any = None
        self.epochs, self.segmenting = 0, False

    def began(self, trainer: Trainer) -> None:
        """Opens the bar where the run is."""
        self.epochs, progress = trainer.config.training.epochs, trainer.progress
        self.segmenting = trainer.config.task == "segment"
        pictures = len(trainer.dataset.train.images)
        done = (progress.epoch - 1) * pictures + progress.batch * trainer.config.training.batch_size
        self.bar = self.tqdm(
            total=self.epochs * pictures,
            initial=min(done, self.epochs * pictures),
            unit=" pictures",
            dynamic_ncols=True,
            mininterval=0.3,
            disable=None,  # not in a file or a pipe
        )

    def stepped(self, progress: Progress, result: StepResult, pictures: int) -> None:
        """Moves the bar."""
        self.bar.set_postfix_str(f"loss {progress.loss:.3f}, accuracy {progress.accuracy:.3f}", refresh=False)
        self.bar.update(pictures)

    def epoch_ended(self, progress: Progress, test: Evaluation, is_best: bool) -> None:
        """A line."""
        iou = f"   mean IoU {test.mean_iou:.3f}" if self.segmenting else ""
        self.write(
            f"epoch {progress.epoch:{len(str(self.epochs))}}/{self.epochs}   loss {progress.loss:.3f}   "
            f"accuracy train {progress.accuracy:.3f}   test {test.accuracy:.3f}{iou}{'   best' if is_best else ''}"
        )

    def noticed(self, text: str) -> None:
        """A line on stderr."""
        self.tqdm.write(f"note: {text}", file=sys.stderr)

    def write(self, text: str) -> None:
        """A line above the bar."""
        try:
            self.tqdm.write(text, file=self.out)
            self.out.flush()
        except OSError:  # nobody reads any more (`| head`), or the console is full: that must not end a training
            self.out = open(os.devnull, "w")

    def close(self) -> None:
        """Leaves the bar where it is."""
        if self.bar is not None:
            self.bar.close()
