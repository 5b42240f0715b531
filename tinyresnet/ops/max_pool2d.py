"""Max pooling. The gradient goes to the pixel that won."""

from __future__ import annotations

from typing import NamedTuple

from ..backend import Array, get_array_module, op
from .checks import IMAGES, Pair, check_array, check_gradient, positive_pair
from .windows import NO_PADS, Windows, windows


class MaxPool2DSaved(NamedTuple):
    """What max_pool2d_backward needs: who won in each window, not the images."""

    winner: Array  # [N, OH, OW, C] integers: i * KW + j of the first maximum
    shape: tuple[int, ...]  # of x
    windows: Windows


@op
def max_pool2d_forward(
    x: Array, kernel_size: int | Pair, stride: int | Pair = 2, padding: str = "VALID"
) -> tuple[Array, MaxPool2DSaved]:
    """y[n,p,q,c] = max_{i,j} x[n, p*stride + i - top, q*stride + j - left, c]; padding never wins (it is -inf).

    x [N, H, W, C], float32 or float64. kernel_size, stride: an integer >= 1 or a pair. padding: "SAME", "VALID" or explicit.
    Returns y [N, OH, OW, C]. Raises ValueError. TensorFlow: tf.nn.max_pool2d.
    """
    check_array("x", x, IMAGES)
    win = windows(x.shape, positive_pair("kernel_size", kernel_size), stride, 1, padding)
    xp = get_array_module(x)
    padded = x if win.pads == NO_PADS else xp.pad(x, ((0, 0), *win.pads, (0, 0)), constant_values=-xp.inf)
    dtype = "uint8" if win.kernel[0] * win.kernel[1] <= 256 else "int32"
    (_, _, rows, cols), *others = win.taps()
    y = padded[:, rows, cols].copy()
    winner = xp.zeros(y.shape, dtype)
    for i, j, rows, cols in others:
        candidate = padded[:, rows, cols]
        winner = xp.where(
            candidate > y, winner.dtype.type(i * win.kernel[1] + j), winner
        )  # strictly: on a tie the first one stays
        xp.maximum(y, candidate, out=y)
    return y, MaxPool2DSaved(winner, x.shape, win)


@op
def max_pool2d_backward(dy: Array, saved: MaxPool2DSaved) -> Array:
    """dy [N, OH, OW, C] -> dx [N, H, W, C]. On a tie the first maximum in row order takes all, as in PyTorch."""
    winner, (n, h, w, c), win = saved
    check_gradient(dy, winner.shape)
    (top, bottom), (left, right) = win.pads
    dx = get_array_module(dy).zeros((n, top + h + bottom, left + w + right, c), dy.dtype)
    for i, j, rows, cols in win.taps():
        dx[:, rows, cols] += dy * (winner == i * win.kernel[1] + j)
    return dx[:, *win.inside(h, w)]  # type: ignore[no-any-return]
