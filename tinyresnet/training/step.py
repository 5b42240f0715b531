"""One step: forward, loss, backward, downhill."""

from __future__ import annotations

from typing import NamedTuple

from .. import ops
from ..backend import Array, to_device
from ..optimizers import SGD, clip_by_global_norm, global_norm
from ..slim import Variables
from .nets import Net


class StepResult(NamedTuple):
    """What a step saw. If loss or gradient_norm is not finite, no weight was changed."""

    loss: float  # mean cross-entropy over the batch's labels, without L2
    right: int  # labels named right, by the net as it was before the step
    labels: int  # how many there were: pictures, or pixels
    gradient_norm: float  # of all gradients together, before clipping, without L2


def compute_gradients(
    net: Net,
    images: Array,
    labels: Array,
    variables: Variables,
    *,
    micro_batch_size: int = 0,
    label_smoothing: float = 0.0,
) -> tuple[float, int]:
    """Fills variables.gradients with those of the batch's mean loss; returns that loss, and how many labels were named right.

    images [N, H, W, C] float32, labels [N] or [N, H, W]. With a micro_batch_size the batch goes through in parts, whose gradients
    add up to the same mean. (Batch norm normalises each part by itself and moves its averages once a part.)
    """
    variables.gradients.clear()
    count, size = len(images), micro_batch_size or len(images)
    total_loss, right = 0.0, 0
    for start in range(0, count, size):
        x, truth = to_device(images[start : start + size]), to_device(labels[start : start + size])
        share = len(x) / count
        logits, _, back = net(x, variables, is_training=True)
        assert back is not None  # a net in training has one
        loss, saved = ops.softmax_cross_entropy_forward(logits, truth, label_smoothing=label_smoothing)
        back(ops.softmax_cross_entropy_backward(share, saved))
        total_loss += float(loss) * share
        right += int((logits.argmax(-1) == truth).sum())
    return total_loss, right


def train_step(
    net: Net,
    images: Array,
    labels: Array,
    variables: Variables,
    optimizer: SGD,
    learning_rate: float,
    *,
    micro_batch_size: int = 0,
    label_smoothing: float = 0.0,
    clip_norm: float = 0.0,
) -> StepResult:
    """compute_gradients, then one step of the optimizer with gradients no longer than clip_norm (0: of any length)."""
    loss, right = compute_gradients(
        net, images, labels, variables, micro_batch_size=micro_batch_size, label_smoothing=label_smoothing
    )
    gradients = variables.gradients
    if clip_norm:
        gradients, norm = clip_by_global_norm(gradients, clip_norm)
    else:
        norm = global_norm(gradients)
    result = StepResult(loss, right, labels.size, norm)
    if is_finite(result):
        optimizer.apply(variables, gradients, learning_rate)
    return result


def is_finite(result: StepResult) -> bool:
    """Whether the step's loss and gradients were numbers (a sum with NaN or infinity in it is none)."""
    return abs(result.loss) < float("inf") and result.gradient_norm < float("inf")
