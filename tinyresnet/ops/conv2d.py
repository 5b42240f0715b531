"""Convolution as one matrix product: im2col lays under every output pixel the input pixels its kernel touches."""

from __future__ import annotations

from typing import NamedTuple

from ..backend import Array, get_array_module, op
from .checks import IMAGES, Pair, check_array, check_gradient, shape_text
from .windows import NO_PADS, Pads, Windows, windows


class Conv2DSaved(NamedTuple):
    """What conv2d_backward needs. `input_gradient=False` allows it to give None for dx (training never asks for d(images))."""

    x: Array  # [N, H, W, C]
    w: Array  # [KH, KW, C, K]
    stride: Pair
    rate: Pair
    pads: Pads  # ((top, bottom), (left, right))
    input_gradient: bool = True

    def windows(self) -> Windows:
        """The geometry of the forward pass."""
        return windows(self.x.shape, self.w.shape[:2], self.stride, self.rate, self.pads)


def pad(x: Array, pads: Pads) -> Array:
    """Zeros around the images; `x` itself where there is nothing to add."""
    return x if pads == NO_PADS else get_array_module(x).pad(x, ((0, 0), *pads, (0, 0)))


def im2col(x: Array, win: Windows) -> Array:
    """[N, H, W, C] -> [N, OH, OW, KH, KW, C]: a row of the matrix product for every output pixel."""
    x = pad(x, win.pads)
    if win.kernel == (1, 1):  # every pixel once: no copy unless the stride skips some
        return x[:, :: win.stride[0], :: win.stride[1], None, None, :]
    (n, _, _, c), (oh, ow) = x.shape, win.size
    col: Array = get_array_module(x).empty((n, oh, ow, *win.kernel, c), x.dtype)
    for i, j, rows, cols in win.taps():
        col[:, :, :, i, j] = x[:, rows, cols]
    return col


def col2im(dcol: Array, shape: tuple[int, ...], win: Windows) -> Array:
    """The transpose of im2col: every input pixel collects from all the output pixels that saw it. `shape`: [N, H, W, C]."""
    if win.kernel == win.stride == (1, 1) and win.pads == NO_PADS:
        return dcol.reshape(shape)
    (n, h, w, c), ((top, bottom), (left, right)) = shape, win.pads
    dx = get_array_module(dcol).zeros((n, top + h + bottom, left + w + right, c), dcol.dtype)
    for i, j, rows, cols in win.taps():
        dx[:, rows, cols] += dcol[:, :, :, i, j]
    return dx[:, *win.inside(h, w)]  # type: ignore[no-any-return]


def check_conv2d(x: Array, w: Array, stride: int | Pair, rate: int | Pair, padding: str | Pads) -> Windows:
    """x [N, H, W, C] and w [KH, KW, C, K] of one dtype, and a geometry that fits: where the windows lie. Raises ValueError."""
    check_array("x", x, IMAGES)
    check_array("w", w, ("KH", "KW", "C", "K"))
    kh, kw, c, _ = w.shape
    if c != x.shape[3]:
        raise ValueError(
            f"w has {c} input channels (shape {shape_text(w.shape)}), but x has {x.shape[3]} (shape {shape_text(x.shape)}): "
            "they must be equal"
        )
    if w.dtype != x.dtype:
        raise ValueError(f"w is {w.dtype}, but x is {x.dtype}: they must be of one dtype")
    if min(w.shape) < 1:
        raise ValueError(f"w must have at least one entry along each axis, but its shape is {shape_text(w.shape)}")
    return windows(x.shape, (kh, kw), stride, rate, padding)


@op
def conv2d_forward(
    x: Array, w: Array, stride: int | Pair = 1, rate: int | Pair = 1, padding: str | Pads = "SAME"
) -> tuple[Array, Conv2DSaved]:
    """y[n,p,q,k] = sum_{i,j,c} x[n, p*stride + i*rate - top, q*stride + j*rate - left, c] * w[i,j,c,k]; zeros outside x.

    x: images [N, H, W, C], float32 or float64. w: weights [KH, KW, C, K] of the same dtype.
    stride, rate (atrous, 1 = dense): an integer >= 1 or a pair (height, width). padding: "SAME" (TensorFlow's: OH = ceil(H / stride)),
    "VALID" (none) or ((top, bottom), (left, right)).
    Returns y [N, OH, OW, K] and what conv2d_backward needs. Raises ValueError. TensorFlow: tf.nn.conv2d (a cross-correlation).
    """
    win = check_conv2d(x, w, stride, rate, padding)
    kh, kw, c, k = w.shape
    col = im2col(x, win)  # [N, OH, OW, KH, KW, C]
    y = col.reshape(-1, kh * kw * c) @ w.reshape(-1, k)  # [N*OH*OW, K]
    return y.reshape(x.shape[0], *win.size, k), Conv2DSaved(x, w, win.stride, win.rate, win.pads)


@op
def conv2d_backward(dy: Array, saved: Conv2DSaved) -> tuple[Array | None, Array]:
    """dy [N, OH, OW, K] -> dx [N, H, W, C], dw [KH, KW, C, K].

    With Y = X W as matrices: dW = X^T dY, dX = dY W^T; then dX goes back from columns to images.
    """
    x, w = saved.x, saved.w
    kh, kw, c, k = w.shape
    win = saved.windows()
    check_gradient(dy, (x.shape[0], *win.size, k), x.dtype)
    dy2 = dy.reshape(-1, k)  # [N*OH*OW, K]
    col = im2col(x, win)  # made again rather than kept: it is KH*KW times as large as x
    dw = (col.reshape(-1, kh * kw * c).T @ dy2).reshape(w.shape)
    del col
    if not saved.input_gradient:
        return None, dw
    dcol = (dy2 @ w.reshape(-1, k).T).reshape(x.shape[0], *win.size, kh, kw, c)
    return col2im(dcol, x.shape, win), dw
