"""A small ResNet learns to tell clothes apart, in plain NumPy: the shortest training loop that is a real one.

Read it from the top: `small_resnet` is the net, `training_step` teaches it one batch, `train` goes through
the pictures again and again, and `run` is the command `tinyresnet demo`: it checks every gradient first and draws the result last.
"""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import ops
from .backend import Array, use_backend
from .data import FASHION_MNIST_CLASSES, fashion_mnist
from .extras import require
from .gradcheck_table import gradient_table
from .ops.checks import positive_int
from .plotting import save_training_picture, surest_mistakes
from .resnet_utils import resnet_arg_scope
from .resnet_v2 import resnet_v2, resnet_v2_block
from .slim import Variables, arg_scope, conv2d, variable_scope

PICTURE = "training.png"


class WrongGradient(RuntimeError):
    """The gradient check failed: training would follow a gradient that is not one."""


class Recipe(NamedTuple):
    """How to train; `run` explains each."""

    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float
    seed: int


class Epoch(NamedTuple):
    """What one pass through the pictures came to."""

    loss: float  # mean over the pictures, each as the net was when it saw it
    train_accuracy: float  # likewise
    test_accuracy: float  # of the net at the end of the epoch


# ---- the net -----------------------------------------------------------------------------------------------------------
def small_resnet(images: Array, variables: Variables, is_training: bool) -> tuple[Array, Callable[[Array], None]]:
    """images [N, 28, 28, 1] float32 -> logits [N, 10], and back(d_logits), which fills variables.gradients.

    Three stages of bottleneck units after one 3x3 convolution: 200 thousand weights where ResNet-50 has 25 million.
    """
    blocks = [
        resnet_v2_block("block1", base_depth=16, num_units=1, stride=2),  # 14x14 -> 7x7, 64 channels
        resnet_v2_block("block2", base_depth=32, num_units=1, stride=2),  # 7x7 -> 4x4, 128 channels
        resnet_v2_block("block3", base_depth=64, num_units=2, stride=1),  # 4x4, 256 channels
    ]
    with (
        # Nobody needs the gradient of the images themselves.
        variable_scope("demo", variables=variables, gradients=is_training, stop_gradient=images),
        # Moving averages that follow within 10 batches: ImageNet's decay, 0.997, takes 300, which are more than three epochs here.
        # And 20 times its weight decay: 6000 pictures are sooner known by heart than a million.
        arg_scope(resnet_arg_scope(weight_decay=0.002, batch_norm_decay=0.9)),
    ):
        # 28x28 -> 14x14. No batch norm and no ReLU yet: each unit of a ResNet v2 begins with both.
        net, root_back = conv2d(images, 16, 3, stride=2, normalizer_fn=None, activation_fn=None, scope="root")
        logits, _, resnet_back = resnet_v2(
            net,
            blocks,
            num_classes=10,
            is_training=is_training,
            include_root_block=False,
            collect=False,
            gradients=is_training,
        )

    def back(d_logits: Array) -> None:
        if root_back is None or resnet_back is None:
            raise RuntimeError("small_resnet(..., is_training=False) makes no gradients")
        root_back(resnet_back(d_logits))

    return logits, back


# ---- the pictures ------------------------------------------------------------------------------------------------------
def normalised(pixels: Array) -> Array:
    """uint8 0 to 255 -> float32 of about mean 0 and standard deviation 1, as Fashion-MNIST's 73 and 90 make it."""
    return (pixels.astype(np.float32) - 73) / 90


def shifted_and_flipped(images: Array, rng: np.random.Generator) -> Array:
    """Each picture moved by up to one pixel each way, half of them mirrored: a shirt stays a shirt. images [N, H, W, C]."""
    n, h, w, _ = images.shape
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))  # 0 is the background
    rows = rng.integers(0, 3, (n, 1)) + np.arange(h)  # [N, H]: which rows of `padded` each picture takes
    columns = rng.integers(0, 3, (n, 1)) + np.arange(w)  # [N, W]
    columns = np.where(rng.random((n, 1)) < 0.5, columns[:, ::-1], columns)
    return padded[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]  # type: ignore[no-any-return]


# ---- learning ----------------------------------------------------------------------------------------------------------
def training_step(
    images: Array,
    labels: Array,
    variables: Variables,
    velocity: dict[str, Array],
    learning_rate: float,
    momentum: float,
) -> tuple[float, int]:
    """Forward, backward, one step downhill. Returns the batch's mean loss and how many of its pictures were named right."""
    logits, back = small_resnet(images, variables, is_training=True)
    loss, saved = ops.softmax_cross_entropy_forward(logits, labels)

    variables.gradients.clear()
    back(ops.softmax_cross_entropy_backward(1.0, saved))

    for name in variables.trainable:
        gradient = variables.gradients[name]
        if name in variables.regularizers:  # weight decay: L2 on `weights`, not on biases, gamma and beta
            gradient = gradient + variables.regularizers[name].gradient(variables[name])
        velocity[name] = momentum * velocity.get(name, 0) + gradient
        variables.replace(name, variables[name] - learning_rate * velocity[name])
    return float(loss), int((logits.argmax(-1) == labels).sum())


def predict(images: Array, variables: Variables) -> Array:
    """uint8 images [N, 28, 28, 1] -> probabilities [N, 10], by the moving averages that training left.

    The mean over each picture and its mirror image: the net has learnt that they are the same, but not perfectly.
    """

    def probabilities(batch: Array) -> Array:
        return ops.softmax(small_resnet(batch, variables, is_training=False)[0])

    batches = [normalised(images[start : start + 250]) for start in range(0, len(images), 250)]
    return np.concatenate([(probabilities(batch) + probabilities(batch[:, :, ::-1])) / 2 for batch in batches])


def train(
    recipe: Recipe, images: Array, labels: Array, test_images: Array, test_labels: Array, variables: Variables
) -> list[Epoch]:
    """Trains `variables` on images [N, 28, 28, 1] uint8 and labels [N]; shows a progress bar, and a line for each epoch.

    Raises FloatingPointError when the loss is no longer a number, MissingExtra without tqdm.
    """
    rng = np.random.default_rng(recipe.seed)  # the only source of chance: order, shifts and flips
    starts = range(0, len(images), recipe.batch_size)
    steps_done, steps = 0, recipe.epochs * len(starts)
    velocity: dict[str, Array] = {}
    history = []
    tqdm = require("tqdm", "train").tqdm
    with tqdm(total=recipe.epochs * len(images), unit=" pictures", dynamic_ncols=True, mininterval=0.3) as bar:
        for epoch in range(1, recipe.epochs + 1):
            loss_sum, right, seen = 0.0, 0, 0
            order = rng.permutation(len(images))
            for start in starts:
                batch = order[start : start + recipe.batch_size]
                downhill = (1 + math.cos(math.pi * steps_done / steps)) / 2  # from 1 to 0
                x = normalised(shifted_and_flipped(images[batch], rng))
                loss, named_right = training_step(
                    x, labels[batch], variables, velocity, recipe.learning_rate * downhill, recipe.momentum
                )
                if not math.isfinite(loss):
                    raise FloatingPointError(
                        f"the loss became {loss} in epoch {epoch}: try a smaller learning_rate than {recipe.learning_rate}"
                    )

                steps_done, seen = steps_done + 1, seen + len(batch)
                loss_sum, right = loss_sum + loss * len(batch), right + named_right
                bar.set_postfix_str(f"loss {loss_sum / seen:.3f}, accuracy {right / seen:.3f}", refresh=False)
                bar.update(len(batch))
            test_right = predict(test_images, variables).argmax(-1) == test_labels
            history.append(Epoch(loss_sum / seen, right / seen, float(test_right.mean())))
            bar.write(
                "epoch {:2}/{}   loss {:.3f}   accuracy train {:.3f}   test {:.3f}".format(
                    epoch, recipe.epochs, *history[-1]
                )
            )
    return history


# ---- the command -------------------------------------------------------------------------------------------------------
def run(
    *,
    epochs: int = 15,
    batch_size: int = 64,
    learning_rate: float = 0.1,
    momentum: float = 0.9,
    seed: int = 0,
    out: str | Path = "runs/demo",
    limit: int | None = None,
) -> float:
    """Checks every gradient, trains the small ResNet on Fashion-MNIST, draws a picture of it. Returns the test accuracy, 0 to 1.

    It runs on back end "numpy" and prints: the gradient table, a line an epoch, where the picture is, the test accuracy.

    epochs         passes through the pictures, >= 1
    batch_size     pictures a step, 1 to the number of pictures
    learning_rate  of the first step, > 0; it falls along a cosine
    momentum       0 to less than 1
    seed           an integer >= 0: initial weights, order, shifts and flips. The same seed gives the same net on one machine
    out            a folder, made if it is missing; `training.png` in it is replaced
    limit          train on the first so many of the 6000 pictures only (None: all)

    Raises ValueError for other arguments and MissingExtra if tqdm, threadpoolctl or matplotlib is missing, both before anything
    is printed or made; WrongGradient if a gradient check fails; FloatingPointError if the loss is no longer a number.
    """
    train_images, train_labels, test_images, test_labels = fashion_mnist()
    count = len(train_images) if limit is None else _integer_up_to("limit", limit, len(train_images))
    recipe = _recipe(epochs, _integer_up_to("batch_size", batch_size, count), learning_rate, momentum)
    variables = Variables(seed=seed)
    recipe, folder = recipe._replace(seed=variables.seed), _folder(out)
    require("tqdm", "train")
    require("matplotlib", "plot")
    threadpoolctl = require("threadpoolctl", "train")

    # One thread: those of OpenBLAS wait for each other in a busy loop. At these sizes a second one gains 5 %; on a machine
    # that has something else to do as well, it makes a step ten times as long.
    with use_backend("numpy"), threadpoolctl.threadpool_limits(limits=1, user_api="blas"):
        print("Every op's backward against finite differences:")
        table = gradient_table()
        print(table, flush=True)
        if not table.passed:
            raise WrongGradient("a gradient check failed (see the table): the net is not trained on a wrong gradient")
        print(f"\nA ResNet v2 learns from {count} pictures of Fashion-MNIST, {recipe.epochs} times each:", flush=True)
        history = train(recipe, train_images[:count], train_labels[:count], test_images, test_labels, variables)
        probabilities = predict(test_images, variables)

    accuracy = history[-1].test_accuracy
    losses, train_accuracies, test_accuracies = zip(*history, strict=True)
    save_training_picture(
        folder / PICTURE,
        losses=losses,
        train_accuracies=train_accuracies,
        test_accuracies=test_accuracies,
        mistakes=surest_mistakes(test_images, test_labels, probabilities),
        class_names=FASHION_MNIST_CLASSES,
        title=f"a small ResNet v2 in plain NumPy, seed {recipe.seed}: test accuracy {accuracy:.4f}",
    )
    print(f"curves and mistakes: {folder / PICTURE}")
    print(f"test accuracy {accuracy:.4f}", flush=True)
    return accuracy


def _integer_up_to(name: str, value: int, most: int) -> int:
    number = positive_int(name, value)
    if number > most:
        raise ValueError(f"{name} must be an integer from 1 to {most}, the number of pictures, not {number}")
    return number


def _recipe(epochs: int, batch_size: int, learning_rate: float, momentum: float) -> Recipe:
    for name, value, allowed, fits in (
        ("learning_rate", learning_rate, "> 0", lambda number: 0 < number < math.inf),
        ("momentum", momentum, "from 0 to less than 1", lambda number: 0 <= number < 1),
    ):
        if not isinstance(value, numbers.Real) or isinstance(value, bool) or not fits(value):
            raise ValueError(f"{name} must be a number {allowed}, not {value!r}")
    # As Python's floats: NumPy's float64 numbers would turn the float32 weights into float64.
    return Recipe(positive_int("epochs", epochs), batch_size, float(learning_rate), float(momentum), seed=0)


def _folder(out: str | Path) -> Path:
    """`out` as a path, if a file can be written there; nothing is made yet."""
    if not isinstance(out, (str, os.PathLike)) or not str(out):
        raise ValueError(f"out must be the path of a folder, not {out!r}")
    folder = Path(out)
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise ValueError(f"out must be a folder or a path at which one can be made, but {nearest} is a file")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ValueError(f"out must be a folder that can be written to, but {nearest} cannot")
    if (folder / PICTURE).is_dir():
        raise ValueError(f"out must be a folder in which {PICTURE} can be written, but {folder / PICTURE} is a folder")
    return folder
