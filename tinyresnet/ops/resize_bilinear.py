"""A map made larger or smaller, its corners staying at its corners: how a net's coarse logits come back to the pixels."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..backend import Array, get_array_module, op
from .checks import IMAGES, Pair, check_array, check_gradient, positive_pair, shape_text


class ResizeBilinearSaved(NamedTuple):
    """What resize_bilinear_backward needs."""

    shape: tuple[int, ...]  # of x
    rows: Array  # A [OH, H]
    columns: Array  # B [OW, W]


@op
def resize_bilinear_forward(x: Array, size: int | Pair) -> tuple[Array, ResizeBilinearSaved]:
    """y = A x B^T for each image and channel. x [N, H, W, C] -> y [N, OH, OW, C], size = (OH, OW). Raises ValueError.

    Output pixel i lies at i (H - 1) / (OH - 1) of the input, so that the corners fall on each other (a single one lies at 0), and mixes
    its two neighbours there by their nearness: row i of A [OH, H] holds these two weights, B [OW, W] the same along the columns.
    Rows and columns do not mix, so two small products of matrices do it all; and since it is linear, backward is exactly the transpose.
    TensorFlow: tf.compat.v1.image.resize_bilinear(align_corners=True), as DeepLab uses it (Chen et al. 2017, section 4.1); the other
    alignments are not here: with images of 32 n + 1 pixels this one lays a map's pixels where the net's kernels were centred.
    """
    check_array("x", x, IMAGES)
    oh, ow = positive_pair("size", size)
    n, h, w, c = x.shape
    if min(h, w) < 1:
        raise ValueError(f"x must have at least one pixel to be resized, but its shape is {shape_text(x.shape)}")
    rows, columns = _weights(x, oh, h), _weights(x, ow, w)
    y = _along_rows(rows, _along_columns(columns, x))
    return y, ResizeBilinearSaved(x.shape, rows, columns)


@op
def resize_bilinear_backward(dy: Array, saved: ResizeBilinearSaved) -> Array:
    """dy [N, OH, OW, C] -> dx = A^T dy B [N, H, W, C]: each input pixel collects from where it was given to."""
    (n, _, _, c), rows, columns = saved
    check_gradient(dy, (n, len(rows), len(columns), c), rows.dtype)
    return _along_columns(columns.T, _along_rows(rows.T, dy))


def _weights(x: Array, out: int, size: int) -> Any:
    """[out, size]: 1 - share at the neighbour below, share at the one above; in integers until the last division, so exact."""
    xp = get_array_module(x)
    place = xp.arange(out)[:, None] * (size - 1)  # in units of 1 / (out - 1) of a pixel
    below, share = place // max(out - 1, 1), (place % max(out - 1, 1)).astype(x.dtype) / max(out - 1, 1)
    pixel = xp.arange(size)
    return (pixel == below) * (1 - share) + (pixel == below + 1) * share


def _along_rows(weights: Array, x: Array) -> Array:
    """[P, H] times x [N, H, W, C] -> [N, P, W, C]: one product of matrices an image."""
    n, h, w, c = x.shape
    return get_array_module(x).matmul(weights, x.reshape(n, h, w * c)).reshape(n, len(weights), w, c)  # type: ignore[no-any-return]


def _along_columns(weights: Array, x: Array) -> Array:
    """[Q, W] times x [N, H, W, C] -> [N, H, Q, C]."""
    return get_array_module(x).matmul(weights, x)  # type: ignore[no-any-return]
