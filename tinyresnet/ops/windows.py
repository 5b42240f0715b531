"""Which input pixels lie under which output pixel: the geometry that convolution and pooling share."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

from .checks import Pair, positive_pair, shape_text

Pads: TypeAlias = tuple[Pair, Pair]  # ((top, bottom), (left, right))
NO_PADS: Pads = ((0, 0), (0, 0))


class Windows(NamedTuple):
    """Output pixel (p, q) sees input pixels (p*stride + i*rate - top, q*stride + j*rate - left), i < KH, j < KW."""

    kernel: Pair
    stride: Pair
    rate: Pair
    pads: Pads
    size: Pair  # OH, OW

    def taps(self) -> Iterator[tuple[int, int, slice, slice]]:
        """For each (i, j): the rows and columns of the *padded* input that all output pixels see through it."""
        (kh, kw), (sh, sw), (rh, rw), (oh, ow) = self.kernel, self.stride, self.rate, self.size
        for i in range(kh):
            for j in range(kw):
                rows = slice(i * rh, i * rh + sh * (oh - 1) + 1, sh)
                cols = slice(j * rw, j * rw + sw * (ow - 1) + 1, sw)
                yield i, j, rows, cols

    def inside(self, h: int, w: int) -> tuple[slice, slice]:
        """Where the input lies in its padded self."""
        (top, _), (left, _) = self.pads
        return slice(top, top + h), slice(left, left + w)


def same_pads(size: int, kernel: int, stride: int, rate: int = 1) -> Pair:
    """TensorFlow's SAME along one axis: the output has ceil(size / stride) pixels, and the odd pixel of padding goes after.

    So the padding depends on the size: 3x3, stride 2 gives (0, 1) on an even size and (1, 1) on an odd one.
    """
    extent = (kernel - 1) * rate + 1
    total = max((-(-size // stride) - 1) * stride + extent - size, 0)
    return total // 2, total - total // 2


def _explicit_pads(padding: Any) -> Pads:
    error = ValueError(
        f'padding must be "SAME", "VALID" or ((top, bottom), (left, right)) with integers >= 0, not {padding!r}'
    )
    try:
        (top, bottom), (left, right) = padding
        pads = ((operator.index(top), operator.index(bottom)), (operator.index(left), operator.index(right)))
    except (TypeError, ValueError):
        raise error from None
    if isinstance(padding, str) or min(*pads[0], *pads[1]) < 0:
        raise error
    return pads


def windows(shape: tuple[int, ...], kernel: Pair, stride: Any, rate: Any, padding: Any) -> Windows:
    """The windows of a kernel (KH, KW) over an image [N, H, W, C] of this shape.

    stride, rate: an integer >= 1, or a pair (height, width). padding: "SAME" (TensorFlow's), "VALID" (none) or
    ((top, bottom), (left, right)). Raises ValueError, also if not a single window fits.
    """
    stride, rate = positive_pair("stride", stride), positive_pair("rate", rate)
    hw = (shape[1], shape[2])
    if isinstance(padding, str) and padding == "SAME":
        pads = (same_pads(hw[0], kernel[0], stride[0], rate[0]), same_pads(hw[1], kernel[1], stride[1], rate[1]))
    else:
        pads = NO_PADS if isinstance(padding, str) and padding == "VALID" else _explicit_pads(padding)
    extent = ((kernel[0] - 1) * rate[0] + 1, (kernel[1] - 1) * rate[1] + 1)
    padded = (hw[0] + sum(pads[0]), hw[1] + sum(pads[1]))
    if min(hw) < 1 or padded[0] < extent[0] or padded[1] < extent[1]:
        raise ValueError(
            f"x of shape {shape_text(shape)} is too small: with padding {padding!r} it has {padded[0]}x{padded[1]} pixels, "
            f"and a kernel {kernel[0]}x{kernel[1]} at rate {rate[0]}x{rate[1]} needs at least {extent[0]}x{extent[1]}"
        )
    size = ((padded[0] - extent[0]) // stride[0] + 1, (padded[1] - extent[1]) // stride[1] + 1)
    return Windows(kernel, stride, rate, pads, size)
